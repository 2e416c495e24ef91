#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What Debian's own programs list of the hardware of classic: lspci, lsblk, ip link, aplay -l; and aplay plays."""
from harness import *
from wav import *

kernel, tools, grub = prepare("pc-i386", "tools-i386", "grub-rescue")
NAME = f"classic-{os.getpid()}"
RATE, MAC = 22050, "52:54:00:00:00:42"
heard, sound = os.path.join(TMP, "heard.wav"), os.path.join(TMP, "sound")
words = noise(40000, -32768, 32767)
played = array.array("h", [0] * 2 * SILENCE + words).tobytes()
with open(sound, "wb") as f:
    f.write(played)
    f.truncate(3 << 20)

g = Guest("--name", NAME, "--machine", "classic", "--kernel", f"{kernel}/vmlinuz", "--initrd", f"{kernel}/initrd.gz", "--append", "console=ttyS0",
          "--memory", "256M", "--disk", f"{tools}/root.img,ro", "--disk", f"{sound},scsi,ro", "--cdrom", f"{grub}/grub-rescue-cdrom.iso",
          "--floppy", f"{grub}/grub-rescue-floppy.img", "--net", f"user,mac={MAC}", "--audio", f"wav:{heard}")
g.expect(PROMPT, 60)
g.command("mount -t ext4 -o ro /dev/sda /mnt; for f in proc sys dev tmp; do mount -o bind /$f /mnt/$f; done; rmmod snd-sb16 2>/dev/null; "
          "insmod /lib/modules/snd-sb16.ko isapnp=0 port=0x220 irq=5 dma8=1 dma16=5")


def lists(what, *patterns):
    """Each pattern fits one line alone of what the guest's program says."""
    text = g.command(f"chroot /mnt {what}")
    for pattern in patterns:
        check(len(re.findall(pattern, text, re.M)) == 1, f"{what}: not one line like '{pattern}':\n{text}")
    return text


text = lists("lspci", r"^00:00.0 Host bridge: Intel Corporation 440FX", r"^00:01.0 ISA bridge: Intel Corporation 82371SB PIIX3 ISA",
             r"^00:01.1 IDE interface: Intel Corporation 82371SB PIIX3 IDE", r"^\S+ VGA compatible controller: VMware SVGA II Adapter",
             r"^\S+ SCSI storage controller: BusLogic BT-946C \(BA80C30\) \[MultiMaster 10\]")
cards = re.findall(r"^\S+ Ethernet controller: Advanced Micro Devices, Inc. \[AMD\] 79c970 \[PCnet32 LANCE\]", text, re.M)
check(len(cards) == 3, text)
size = os.path.getsize
lists("lsblk -bdnr -o NAME,SIZE,TYPE,RO,MODEL", rf"^sda {size(tools + '/root.img')} disk 0 ", rf"^sdb {size(sound)} disk 1 ",
      rf"^sr0 {size(grub + '/grub-rescue-cdrom.iso')} rom ", r"^fd0 \d+ disk ", r"^fd1 \d+ disk ")
lists("ip -o link", r"^1: lo: ", rf"^\d+: eth0: .* link/ether {MAC} ", r"^\d+: eth1: .* link/ether ", r"^\d+: eth2: .* link/ether ")
lists("aplay -l", r"^card 0: S16 \[Sound Blaster 16\], device 0: SB16 DSP \[DSP v4\.5\]")
print("passed: lists")

g.command("for c in Master PCM; do chroot /mnt amixer -q sset $c 100%; done")
g.command(f"head -c {len(played)} /dev/sdb | chroot /mnt aplay -q -D hw:0 -t raw -f S16_LE -c 2 -r {RATE}")
visor("stop", NAME, "--force")
g.wait(0)
g.check_log()
rate, left, right = samples(heard)
check(rate == RATE, f"rate {rate}")
check(find(left, words[::2], "left") == find(right, words[1::2], "right"), "left and right are not in step")
print("passed: aplay")
