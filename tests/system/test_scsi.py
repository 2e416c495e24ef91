#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's BusLogic driver and the SCSI disks of classic: transfers with checksums, many at once, a read-only disk, a save."""
from harness import *

(folder,) = prepare("pc-amd64")
NAME = f"scsi-{os.getpid()}"


disks = [random_file(f"disk{i}", (8 + 4 * i) << 20) for i in range(3)]
sums = [md5(d) for d in disks]
r = visor("run", "--kernel", f"{folder}/vmlinuz", "--disk", f"{disks[0]},scsi", status=1)
check("only a machine of type classic has a SCSI adapter" in r.stderr, r.stderr)
g = Guest("--name", NAME, "--machine", "classic", "--kernel", f"{folder}/vmlinuz", "--initrd", f"{folder}/initrd.gz", "--append",
          "console=ttyS0", "--memory", "512M", "--cpus", "2", "--disk", f"{disks[0]},scsi", "--disk", f"{disks[1]},ro,scsi",
          "--disk", f"{disks[2]},scsi")
g.expect(PROMPT, 60)
log = g.command("dmesg | grep -e scsi -e 'sd '")
check("BusLogic BT-958 Initialized Successfully" in log and log.count("Direct-Access     VISOR") == 3, log)


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
g.power_off()
g.check_log()
print("passed: save and restore")
