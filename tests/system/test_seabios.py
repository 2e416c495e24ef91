#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""SeaBIOS from the reset vector: its boot menu on the serial console; GRUB and Debian's kernel from a virtio disk."""
import shutil, struct
from harness import *

GRUB = "/usr/lib/grub/i386-pc"
SECTOR, PARTITION, DISK_MIB = 512, 2048, 48
CONFIG = """serial --unit=0 --speed=115200
terminal_input serial
terminal_output serial
linux (hd0,msdos1)/vmlinuz console=ttyS0
initrd (hd0,msdos1)/initrd.gz
echo GRUB has loaded the kernel
boot
"""
MODULES = "biosdisk part_msdos ext2 linux serial terminal echo normal minicmd".split()


def run(*command):
    r = subprocess.run(command, capture_output=True, text=True)
    check(r.returncode == 0, f"{command}: {r.stderr}")


def make_disk(path, kernel):
    """A disk with GRUB behind the boot sector and one ext2 partition with the kernel and its initrd."""
    root = os.path.join(TMP, "root")
    os.mkdir(root)
    for name in "vmlinuz", "initrd.gz":
        shutil.copy(os.path.join(kernel, name), root)
    config, core = os.path.join(TMP, "grub.cfg"), os.path.join(TMP, "core.img")
    with open(config, "w") as f:
        f.write(CONFIG)
    run("grub-mkimage", "-O", "i386-pc", "-o", core, "-p", "(hd0,msdos1)/", "-c", config, *MODULES)
    with open(path, "wb") as f:
        f.truncate(DISK_MIB << 20)
    run("mke2fs", "-q", "-t", "ext2", "-d", root, "-E", f"offset={PARTITION * SECTOR}", path, f"{DISK_MIB - 1}M")
    # boot.img reads the sectors from 1 on, where grub-mkimage's output expects to lie; so only the partition table is to be filled in.
    with open(os.path.join(GRUB, "boot.img"), "rb") as f:
        boot = f.read(446)
    far = b"\xfe\xff\xff"  # cylinder, head and sector: beyond what they can say
    entry = struct.pack("<B3sB3sII", 0x80, far, 0x83, far, PARTITION, (DISK_MIB << 11) - PARTITION)
    with open(path, "r+b") as f, open(core, "rb") as c:
        f.write(boot + entry + bytes(48) + b"\x55\xaa" + c.read())
    shutil.rmtree(root)


def boot_menu(bios, disk):
    g = Guest("--bios", bios, "--memory", "256M", "--disk", disk, "--boot", "menu", "--debugcon", os.path.join(TMP, "debugcon"))
    g.expect("SeaBIOS \\(version")
    g.expect("Press ESC for boot menu")
    g.send("\x1b")
    g.expect("Select boot device:")
    g.expect(r"^1\. Virtio disk PCI:")
    g.send("1")
    g.expect("Booting from Hard Disk")
    return g


def read(path):
    with open(path, errors="replace") as f:
        return f.read()


bios, kernel = prepare("seabios", "cloud-amd64")
bios = os.path.join(bios, "bios.bin")
if not (shutil.which("grub-mkimage") and os.path.exists(f"{GRUB}/boot.img") and shutil.which("mke2fs")):
    print("no GRUB for PC BIOS or no mke2fs; install grub-common, grub-pc-bin and e2fsprogs")
    sys.exit(77)
disk = os.path.join(TMP, "disk.img")
make_disk(disk, kernel)

# What the firmware found, by its own log: tables, disk, all processors.
g = boot_menu(bios, disk)
g.expect("GRUB has loaded the kernel", 30)
log = read(os.path.join(TMP, "debugcon"))
for line in "Running on QEMU (i440fx)", "QEMU fw_cfg DMA interface supported", "Copying SMBIOS", "ACPI: parse DSDT", "virtio mode":
    check(line in log, f"the firmware's log has no '{line}':\n{log}")
g.expect(PROMPT, 60)
check("vda" in g.command("cat /proc/partitions"), "the kernel does not see the disk")
check("RSDP" in g.command("dmesg | grep ACPI:"), "the kernel has no ACPI tables")
g.power_off()
g.check_log()
print("SeaBIOS: boot menu, GRUB and Linux from a virtio disk: ok")

# Several processors are brought up by the firmware and then by the kernel; a reset starts the firmware again.
g = boot_menu(bios, disk)
g.expect(PROMPT, 60)
g.send("reboot -f\n")
g.expect("Press ESC for boot menu", 60)
g.process.terminate()
g.process.wait()
print("SeaBIOS: reboot: ok")

g = Guest("--bios", bios, "--memory", "256M", "--cpus", "4", "--disk", disk, "--debugcon", os.path.join(TMP, "debugcon"))
g.expect(PROMPT, 90)
check("boot menu" not in g.log, "a menu, and a wait, that nobody asked for")
check(g.command("nproc").strip() == "4", "not all processors")
check("Found 4 cpu(s)" in read(os.path.join(TMP, "debugcon")), "the firmware did not find all processors")
g.power_off()
g.check_log()
print("SeaBIOS: 4 processors: ok")
