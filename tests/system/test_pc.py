#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's generic kernel drives the parts of a PC by its own drivers: IDE disk and CD-ROM, floppy, printer, network cards; media
change; a qcow2 image on IDE; UEFI."""
import shutil
from harness import *

NAME = f"pc-{os.getpid()}"


folder, grub = prepare("pc-amd64", "grub-rescue")
iso = f"{grub}/grub-rescue-cdrom.iso"
disk, disc, floppy, other = random_file("disk", 20 << 20), random_file("disc", 8 << 20), random_file("floppy", 1440 << 10), random_file("other", 720 << 10)
printed = os.path.join(TMP, "printed")
copy = os.path.join(TMP, "disk.qcow2") # the disk of the machine; the raw image is what it should be
visor("disk", "convert", disk, copy, "--format", "qcow2")
g = Guest("--name", NAME, "--machine", "classic", "--kernel", f"{folder}/vmlinuz", "--initrd", f"{folder}/initrd.gz", "--append",
          "console=ttyS0", "--memory", "512M", "--disk", copy, "--cdrom", iso, "--floppy", floppy, "--parallel", f"file:{printed}")
g.expect(PROMPT, 60)


def guest_md5(device):
    return g.command(f"echo 3 >/proc/sys/vm/drop_caches; md5sum {device}").split("\n")[-2].split()[0]


for device, path in ("/dev/sda", disk), ("/dev/sr0", iso), ("/dev/fd0", floppy):
    check(guest_md5(device) == md5(path), f"{device} does not read as {path}")
drivers = g.command("readlink /sys/bus/pci/devices/0000:00:01.1/driver")
check("ata_piix" in drivers, drivers)
interrupts = g.command("cat /proc/interrupts")
check(interrupts.count("ata_piix") == 2, f"interrupts of both channels:\n{interrupts}")
g.command("seq 100000 | head -c 307200 >/tmp/x && dd if=/tmp/x of=/dev/sda bs=1k seek=7000 conv=fsync && "
          "dd if=/tmp/x of=/dev/fd0 bs=1k seek=700 conv=fsync")
with open(disk, "r+b") as f:
    f.seek(7000 << 10)
    f.write("".join(f"{i}\n" for i in range(1, 100001)).encode()[:307200])
for device, path in ("/dev/sda", disk), ("/dev/fd0", floppy):
    check(guest_md5(device) == md5(path), f"{device} does not read as {path} after writing")
g.command("mount -t iso9660 /dev/sr0 /mnt && ls /mnt/boot/grub/grub.cfg")
g.command("seq 1000 >/dev/lp0")
paper = "".join(f"{i}\n" for i in range(1, 1001))
end = time.monotonic() + 10 * PATIENCE  # a thread of its own writes the file
while os.path.getsize(printed) < len(paper) and time.monotonic() < end:
    time.sleep(0.05)
with open(printed) as f:
    check(f.read() == paper, "what was printed")
print("passed: transfers")

# One of classic's three cards has a cable.
cards = g.command("ls -d /sys/bus/pci/drivers/pcnet32/0000:*")
check(cards.count("/0000:") == 3, f"cards that pcnet32 drives:\n{cards}")
g.command("for i in 0 1 2; do ip link set eth$i up; done; udhcpc -i eth0 -n -q; ping -c 2 -w 20 10.0.2.2")
carriers = g.command("cat /sys/class/net/eth?/carrier")
check(re.findall(r"^([01])\s*$", carriers, re.M) == ["1", "0", "0"], f"cables:\n{carriers}")
print("passed: network cards")

# The guest holds the disc while it is mounted.
r = visor("eject", NAME, "cdrom0", status=1)
check("locked" in r.stderr, r.stderr)
g.command("umount /mnt")
visor("eject", NAME, "cdrom0")
g.command("! dd if=/dev/sr0 of=/dev/null bs=2k count=1")
visor("insert", NAME, "cdrom0", disc)
check(guest_md5("/dev/sr0") == md5(disc), "the new disc")
visor("insert", NAME, "floppy0", other)
check(g.command("dd if=/dev/fd0 bs=18k count=1 2>/dev/null | md5sum").split()[0] ==
      hashlib.md5(open(other, "rb").read(18 << 10)).hexdigest(), "the new floppy disk")
r = visor("insert", NAME, "cdrom7", disc, status=1)
check("no drive" in r.stderr, r.stderr)
print("passed: media")

# A save in the middle of it all.
g.command("(while :; do dd if=/dev/sda of=/dev/null bs=64k; done) >/dev/null 2>&1 & cat /dev/sr0 >/dev/null")
saved = os.path.join(TMP, "saved")
visor("save", NAME, saved, "--stop")
g.wait(0)
r = visor("run", "--restore", saved, "--disk", copy, "--disk", copy, "--floppy", floppy, status=None)
check(r.returncode in (1, 2) and "of another kind (cdrom)" in r.stderr, f"a disk for a CD-ROM: {r.returncode} {r.stderr}")
g = Guest("--restore", saved, "--parallel", "none")
g.send("\n")
g.expect(PROMPT, 60)
g.command("kill %1; wait")
check(guest_md5("/dev/sda") == md5(disk), "the disk after a restore")
check(guest_md5("/dev/sr0") == md5(disc), "the disc after a restore")
g.power_off()
g.check_log()
visor("disk", "compare", disk, copy)
visor("disk", "check", copy)
r = subprocess.run(["qemu-img", "check", copy], capture_output=True, text=True)
check(r.returncode == 0, r.stdout + r.stderr)
print("passed: save and restore")

# OVMF starts an EFI program from the disk, writes its variables to the file, and finds them again.
if not (shutil.which("mformat") and os.path.exists("/usr/share/OVMF/OVMF_VARS_4M.fd")):
    print("no OVMF or no mtools; install ovmf and mtools")
    sys.exit(0)
esp, variables = os.path.join(TMP, "esp"), os.path.join(TMP, "variables")
for command in (["mformat", "-C", "-F", "-i", esp, "-T", "131072", "::"], ["mmd", "-i", esp, "::/EFI", "::/EFI/BOOT"],
                ["mcopy", "-i", esp, f"{folder}/vmlinuz", "::/EFI/BOOT/BOOTX64.EFI"]):
    subprocess.run(command, check=True)
for disk_flag in f"{esp},ide", esp:
    g = Guest("--firmware", "uefi", "--uefi-vars", variables, "--memory", "512M", "--disk", disk_flag, "--name", NAME)
    g.expect('BdsDxe: starting Boot.* from PciRoot', 120)
    visor("stop", NAME, "--force")
    g.wait(0)
    with open(variables, "rb") as f:
        kept = f.read()
    check("VISOR HARDDISK".encode("utf-16-le") in kept, "the boot option is not among the variables")
print("passed: UEFI")
