#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's BusLogic driver, the SCSI disks and CD-ROM drives of classic: transfers with checksums, many at once, a read-only disk, a save, discs that
change, a disk that two machines share."""
from harness import *

(folder,) = prepare("pc-amd64")
NAME = f"scsi-{os.getpid()}"


disks = [random_file(f"disk{i}", (8 + 4 * i) << 20) for i in range(3)]
discs = [random_file(f"disc{i}", (3 + i) << 20) for i in range(2)]
shared = os.path.join(TMP, "shared.vhd")
visor("disk", "create", shared, "8M", "--fixed")
initrd = with_programs(f"{folder}/initrd.gz", scsi_command="tests/system/scsi_command.c")
sums = [md5(d) for d in disks]
r = visor("run", "--kernel", f"{folder}/vmlinuz", "--disk", f"{disks[0]},scsi", status=1)
check("only a machine of type classic has a SCSI adapter" in r.stderr, r.stderr)
MACHINE = ("--machine", "classic", "--kernel", f"{folder}/vmlinuz", "--initrd", initrd, "--append", "console=ttyS0", "--memory", "512M")
g = Guest("--name", NAME, *MACHINE, "--cpus", "2", "--disk", f"{disks[0]},scsi", "--disk", f"{disks[1]},ro,scsi",
          "--disk", f"{disks[2]},scsi", "--disk", f"{shared},scsi,shared", "--cdrom", f"{discs[0]},scsi", "--cdrom", "none,scsi")
g.expect(PROMPT, 60)
log = g.command("dmesg | grep -e scsi -e 'sd '")
check("BusLogic BT-958 Initialized Successfully" in log and log.count("Direct-Access     VISOR") == 4, log)


def names():
    """Of the disks by their IDs: Linux finds them all at once and names them as they come."""
    return [g.command(f"ls /sys/bus/scsi/devices/*:0:{i}:0/block").split()[-1] for i in range(3)]


def guest_sums(devices):
    """All at once."""
    text = g.command("echo 3 >/proc/sys/vm/drop_caches; " + " ".join(f"md5sum /dev/{d} & " for d in devices) + " wait", 60)
    found = dict(reversed(line.split()[:2]) for line in text.split("\n") if "/dev/sd" in line and len(line.split()[0]) == 32)
    return [found.get(f"/dev/{d}") for d in devices]


a, b, c = names()
check(f"[{b}] Write Protect is on" in log and f"[{a}] Write Protect is off" in log, log)
check(guest_sums([a, b, c]) == sums, "the disks do not read as their images")
check("BusLogic" in g.command("cat /proc/interrupts"), "no interrupts")
g.command(f"! dd if=/dev/zero of=/dev/{b} bs=4k count=1 conv=fsync 2>/dev/null")
g.command(f"dd if=/dev/urandom of=/tmp/x bs=1k count=3000 && dd if=/tmp/x of=/dev/{a} bs=1k seek=4000 conv=fsync && "
          f"dd if=/tmp/x of=/dev/{c} bs=3k seek=100 conv=fsync")
check(md5(disks[1]) == sums[1], "the read-only disk was written")
check(guest_sums([a, c]) == [md5(disks[0]), md5(disks[2])], "what was written")
check(md5(disks[0]) != sums[0], "nothing was written")
print("passed: transfers")

# The CD-ROM drives.
TOC = "43 02 00 00 00 00 00 00 ff 00"


def scsi(guest, device, bytes):
    """Status, sense key and code, data."""
    m = re.search(r"scsi: status (\w+) sense (\S+) data(.*)", guest.command(f"scsi_command {device} {bytes}"))
    return int(m[1], 16), m[2], bytearray.fromhex(m[3])


def disc_sum(device):
    return re.search(r"^[0-9a-f]{32}\b", g.command(f"md5sum {device}", 60), re.M)[0]  # messages of the kernel may come before


log = g.command("dmesg | grep -e 'sr [0-9]' -e CD-ROM; cat /proc/sys/dev/cdrom/info")
check(":0:5:0: [sr0]" in log and ":0:6:0: [sr1]" in log and re.search(r"Can lock tray:\s+1\s+1", log), log)
check(disc_sum("/dev/sr0") == md5(discs[0]), "the disc does not read as its image")
status, sense, data = scsi(g, "/dev/sr0", "12 00 00 00 ff 00")
check(status == 0 and data[0] == 5 and data[1] == 0x80 and data[2] == 4 and data[3] == 2 and data[8:13] == b"VISOR", data)
status, sense, data = scsi(g, "/dev/sr0", "1a 00 2a 00 ff 00")  # MODE SENSE (6), which ATAPI drives do not have
check(status == 0 and data[0] == 23 and data[4] == 0x2a and data[5] == 18, data)
frames = (3 << 20) // 2048 + 150
status, sense, data = scsi(g, "/dev/sr0", TOC)
data = data[:2 + int.from_bytes(data[:2], "big")]
check(status == 0 and data[2:4] == b"\1\1" and list(data[-3:]) == [frames // 4500, frames // 75 % 60, frames % 75], data)
status, sense, data = scsi(g, "/dev/sr0", "28 00 7f ff ff ff 00 00 01 00")
check(status == 2 and sense == "5/21", f"a read past the end: {status} {sense}")
check(scsi(g, "/dev/sr1", "00 00 00 00 00 00")[:2] == (2, "2/3a"), "an empty drive is ready")
visor("insert", NAME, "cdrom1", discs[1])
check(disc_sum("/dev/sr1") == md5(discs[1]), "the second disc")
g.command("exec 3</dev/sr0")  # Linux locks the tray of what is open
r = visor("eject", NAME, "cdrom0", status=1)
check("locked the tray" in r.stderr, r.stderr)
g.command("exec 3<&-")
visor("eject", NAME, "cdrom0")
g.command("! dd if=/dev/sr0 of=/dev/null count=1 2>/dev/null")
visor("insert", NAME, "cdrom0", discs[1])
check(disc_sum("/dev/sr0") == md5(discs[1]), "the disc that came later")
g.command("eject /dev/sr1 2>/dev/null || scsi_command /dev/sr1 1b 00 00 00 02 00")
check(scsi(g, "/dev/sr1", "00 00 00 00 00 00")[1] == "2/3a", "the tray is open")
check(scsi(g, "/dev/sr1", "1b 00 00 00 03 00")[0] == 0, "LOAD")
print("passed: CD-ROM drives")

# The driver goes, and comes again by way of the adapter's reset.
g.command("rmmod BusLogic && insmod /lib/modules/BusLogic.ko && sleep 1", 60)
a, b, c = names()
check(guest_sums([a]) == [md5(disks[0])], "after a reset of the adapter")
print("passed: reset")

g.command(f"(while :; do dd if=/dev/{a} of=/dev/null bs=256k; dd if=/dev/{c} of=/dev/null bs=16k iflag=direct; done) >/dev/null 2>&1 & "
          f"(while :; do dd if=/tmp/x of=/dev/{c} bs=3k seek=100 conv=fsync; done) >/dev/null 2>&1 & sleep 1")
saved = os.path.join(TMP, "saved")
visor("save", NAME, saved, "--stop")
g.wait(0)
g = Guest("--restore", saved)
g.send("\n")
g.expect(PROMPT, 60)
g.command("sleep 1; kill %1 %2; wait; sync", 60)
check(guest_sums([a, b, c]) == [md5(d) for d in disks], "the disks after a restore")
check(disc_sum("/dev/sr0") == md5(discs[1]), "the disc after a restore")
print("passed: save and restore")

# Another machine writes the shared disk, too; nobody else may have it, nor may images with tables be shared.
for disk, text in ((f"{shared},scsi", "in use by"), (f"{shared},scsi,ro", "in use by"), (f"{disks[0]},scsi,shared", "share it")):
    r = visor("run", *MACHINE, "--disk", disk, "--time-limit", "1", status=1)
    check(text in r.stderr, r.stderr)
visor("disk", "create", "with-tables.qcow2", "8M")
r = visor("run", *MACHINE, "--disk", "with-tables.qcow2,scsi,shared", "--time-limit", "1", status=1)
check("cannot be shared" in r.stderr and "visor disk convert" in r.stderr, r.stderr)
other = Guest("--name", NAME + "b", *MACHINE, "--disk", f"{shared},scsi,shared")
other.expect(PROMPT, 60)
mine, its = g.command("ls /sys/bus/scsi/devices/*:0:3:0/block").split()[-1], "sda"
for writer, device, reader, seen, at in ((g, mine, other, its, 5), (other, its, g, mine, 9)):
    sent = writer.command(f"dd if=/dev/urandom of=/tmp/y bs=64k count=16 2>/dev/null && "
                          f"dd if=/tmp/y of=/dev/{device} bs=64k seek={at} conv=fsync 2>/dev/null && md5sum /tmp/y")
    got = reader.command(f"echo 3 >/proc/sys/vm/drop_caches; dd if=/dev/{seen} bs=64k skip={at} count=16 2>/dev/null | md5sum")
    check(re.search(r"^[0-9a-f]{32}\b", sent, re.M)[0] in got, f"one machine wrote {sent}, the other one reads {got}")
RESERVE, RELEASE, READY = "16 00 00 00 00 00", "17 00 00 00 00 00", "00 00 00 00 00 00"
check(scsi(g, f"/dev/{mine}", RESERVE)[0] == 0 and scsi(g, f"/dev/{mine}", READY)[0] == 0, "RESERVE")
check(scsi(other, f"/dev/{its}", READY)[0] == 0x18 and scsi(other, f"/dev/{its}", RESERVE)[0] == 0x18, "no RESERVATION CONFLICT")
check(scsi(other, f"/dev/{its}", "12 00 00 00 ff 00")[0] == 0, "INQUIRY of a reserved disk")
check(scsi(other, f"/dev/{its}", RELEASE)[0] == 0 and scsi(other, f"/dev/{its}", READY)[0] == 0x18, "RELEASE by another one")
check(scsi(g, f"/dev/{mine}", RELEASE)[0] == 0 and scsi(other, f"/dev/{its}", RESERVE)[0] == 0, "RELEASE")
other.process.kill()  # and with it goes what it had reserved
other.process.wait()
check(scsi(g, f"/dev/{mine}", READY)[0] == 0, "a machine that is gone has the disk reserved")
g.power_off()
g.check_log()
print("passed: sharing")
