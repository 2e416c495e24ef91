#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""visor disk mount and unmount: partitions of all formats, files in them, writing, killed processes, another user, errors."""
import filecmp, hashlib, shutil, signal, stat
from harness import *

for program in ("sfdisk", "mke2fs", "debugfs", "qemu-img", "fuse2fs"):
    if not shutil.which(program):
        print(f"no {program}; install fdisk, e2fsprogs, qemu-utils and fuse2fs")
        sys.exit(77)
try:
    os.close(os.open("/dev/fuse", os.O_RDWR))
except OSError as e:
    print(f"/dev/fuse: {e.strerror}")
    sys.exit(77)
os.chdir(TMP)
START, SECTORS = 24576, 32768  # of the ext4 partition
MNT = os.path.join(TMP, "mnt")


def md5(path):
    with open(path, "rb") as f:
        return hashlib.md5(f.read()).hexdigest()


def tool(*command, **more):
    r = subprocess.run(command, capture_output=True, text=True, **more)
    check(r.returncode == 0, f"{r.stdout[-1000:]}{r.stderr[-1000:]}\n{command}")
    return r.stdout


def disk(*arguments, **more):
    return visor("disk", *arguments, **more)


def unmount_all():
    for folder in (MNT, MNT + "2"):
        subprocess.run([VISOR, "disk", "unmount", folder], capture_output=True)


def raw_disk(path, table):
    with open(path, "wb") as f:
        f.truncate(32 << 20)
    tool("sfdisk", "-q", path, input=table)
    tool("mke2fs", "-q", "-t", "ext4", "-d", "tree", "-E", f"offset={START * 512}", path, f"{SECTORS // 2}k")


os.mkdir("tree")
os.mkdir(MNT)
os.mkdir(MNT + "2")
atexit.register(unmount_all)
with open("tree/data", "wb") as f:
    f.write(os.urandom(2000000))
raw_disk("gpt.raw", f'label: gpt\nstart=2048, size=20480, name="fürst"\nstart={START}, size={SECTORS}, name="data"\n')
raw_disk("mbr.raw", f"label: dos\nstart=2048, size=2048, type=c\nstart=4096, size=60000, type=5\n"
         f"start=6144, size=2048, type=82\nstart={START}, size={SECTORS}, type=83\n")

r = visor("disk", "mount", "gpt.raw", MNT, "--read-only", status=None)
if r.returncode and "cannot mount there" in r.stderr:  # a container, say
    print(r.stderr.strip())
    sys.exit(77)
disk("unmount", MNT)

# The disk and its partitions, by name, of every format.
sums = {}
for kind in ("raw", "qcow2", "vdi", "vhd", "vmdk"):
    image = f"d.{kind}"
    if kind == "raw":
        shutil.copy("gpt.raw", image)
    else:
        disk("convert", "gpt.raw", image, "--format", kind)
    info = json.loads(disk("mount", image, MNT, "--json").stdout)
    parts = info["partitions"]
    check([p["number"] for p in parts] == [1, 2] and [p["name"] for p in parts] == ["fürst", "data"] and info["format"] == kind, info)
    check(parts[1]["offset"] == START * 512 and parts[1]["size"] == SECTORS * 512 and parts[1]["content"] == "ext4", info)
    check(sorted(os.listdir(MNT)) == ["disk", "p1", "p2"], os.listdir(MNT))
    check(stat.S_ISREG(os.stat(f"{MNT}/p2").st_mode) and os.stat(f"{MNT}/p2").st_size == SECTORS * 512, "p2")
    with open(f"{MNT}/disk", "rb") as shown, open("gpt.raw", "rb") as original:
        check(shown.read(32 << 20) == original.read(), f"{kind}: disk differs")
        shown.seek(START * 512 + 1000)  # a part of a sector, and over its border
        piece = shown.read(777)
    with open(f"{MNT}/p2", "rb") as f:
        f.seek(1000)
        check(f.read(777) == piece, f"{kind}: p2 is not that part of the disk")
    with open(f"{MNT}/p1", "r+b") as f:
        f.seek(1021)
        f.write(b"over the border")
        os.fsync(f.fileno())
    with open(f"{MNT}/disk", "rb") as f:
        f.seek(2048 * 512 + 1020)
        check(f.read(17) == b"\0over the border\0", f"{kind}: what was written to p1 is not on the disk")
    r = disk("check" if kind != "raw" else "resize", image, *(["33M", "--format", "raw"] if kind == "raw" else []), status=1)
    check("in use by process" in r.stderr, r.stderr)
    disk("unmount", MNT)
    check(not os.path.ismount(MNT) and os.listdir(MNT) == [], "still mounted")
    # The files, read and written; then what others find.
    info = json.loads(disk("mount", image, MNT, "--partition", 2, "--json").stdout)
    check(info["content"] == "ext4" and info["partition"] == 2, info)
    check(md5(f"{MNT}/data") == md5("tree/data"), f"{kind}: the file reads differently")
    with open(f"{MNT}/new", "w") as f:
        f.write(f"written into {kind}\n" * 1000)
    disk("unmount", MNT)
    if kind not in ("raw",):
        disk("check", image)
    if kind in ("qcow2", "vdi", "vmdk"):
        tool("qemu-img", "check", image)
    tool("qemu-img", "convert", "-f", "vpc" if kind == "vhd" else kind, "-O", "raw", image, "out.raw")
    at = f"out.raw?offset={START * 512}"
    check(tool("debugfs", "-R", "cat /new", at) == f"written into {kind}\n" * 1000, f"{kind}: the file is not there")
    tool("e2fsck", "-fn", at)
    print(f"passed: {kind}")

# The same disk in a VHDX image, which can only be read; and an MBR with logical partitions.
tool("qemu-img", "convert", "-f", "raw", "-O", "vhdx", "mbr.raw", "d.vhdx")
check("read" in disk("mount", "d.vhdx", MNT, status=1).stderr, "VHDX for writing")
info = json.loads(disk("mount", "d.vhdx", MNT, "--read-only", "--json").stdout)
check(info["table"] == "mbr" and [(p["number"], p["offset"], p["type"]) for p in info["partitions"]] ==
      [(1, 2048 * 512, "0x0c"), (5, 6144 * 512, "0x82"), (6, START * 512, "0x83")], info)
try:
    open(f"{MNT}/p6", "r+b")
    fail("p6 opens for writing")
except OSError as e:
    check(e.errno in (30, 13), e)
disk("unmount", MNT)
info = json.loads(disk("mount", "d.vhdx", MNT, "--read-only", "--files", "--json").stdout)
check(info["partition"] == 6 and info["read_only"] and md5(f"{MNT}/data") == md5("tree/data"), info)
disk("unmount", MNT)
print("passed: read-only")

# The table's second copy, and none that is right.
for sector, numbers in ((1, [1, 2]), ((32 << 20) // 512 - 1, [])):
    with open("gpt.raw", "r+b") as f:
        f.seek(sector * 512)
        f.write(b"EFI PARTY")
    info = json.loads(disk("mount", "gpt.raw", MNT, "--json").stdout)
    check([p["number"] for p in info["partitions"]] == numbers and info["damaged"] == (not numbers), info)
    disk("unmount", MNT)
print("passed: damaged tables")

# What differs from an image behind, an internal snapshot, and a file system without a partition table.
disk("create", "over.qcow2", "--backing", "d.vdi")
tool("qemu-img", "snapshot", "-c", "before", "over.qcow2")
disk("mount", "over.qcow2", MNT, "--partition", 2)
with open(f"{MNT}/over", "w") as f:
    f.write("over\n")
disk("unmount", MNT)
disk("mount", "over.qcow2", MNT, "--partition", 2, "--snapshot", "before")
check(not os.path.exists(f"{MNT}/over") and md5(f"{MNT}/data") == md5("tree/data"), "the snapshot")
disk("unmount", MNT)
disk("mount", "over.qcow2", MNT, "--partition", 2, "--read-only")
check(os.path.exists(f"{MNT}/over"), "the current state")
disk("unmount", MNT)
tool("mke2fs", "-q", "-d", "tree", "whole.raw", "8M")
info = json.loads(disk("mount", "whole.raw", MNT, "--files", "--json").stdout)
check(info["partition"] == 0 and info["content"] == "ext2" and md5(f"{MNT}/data") == md5("tree/data"), info)
disk("unmount", MNT)
print("passed: chains, whole disks")

# Holes, and zeros of any length.
disk("create", "empty.qcow2", "64M")
disk("mount", "empty.qcow2", MNT)
with open(f"{MNT}/disk", "r+b") as f:
    f.seek(10 << 20)
    f.write(os.urandom(1 << 20))
    check(os.lseek(f.fileno(), 0, os.SEEK_DATA) == 10 << 20 and os.lseek(f.fileno(), 10 << 20, os.SEEK_HOLE) == 11 << 20, "holes")
    tool("fallocate", "-p", "-o", str((10 << 20) + 100), "-l", str((1 << 20) - 300), f"{MNT}/disk")
    f.seek((10 << 20) + 50)
    left = f.read(1 << 20)
    check(any(left[:50]) and not any(left[50:(1 << 20) - 250]) and any(left[(1 << 20) - 250:]), "what was punched")
for refused in (lambda: os.truncate(f"{MNT}/disk", 100), lambda: open(f"{MNT}/new", "w"), lambda: os.unlink(f"{MNT}/disk")):
    try:
        refused()
        fail("a change of the folder was not refused")
    except OSError:
        pass
disk("unmount", MNT)
disk("check", "empty.qcow2")
print("passed: holes")


def processes(folder):
    """Those that serve this folder, the one with the image last."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline") as f:
                words = f.read().split("\0")
        except OSError:
            continue
        if words[1:3] == ["disk", "mount"] and folder in words:
            found.append(int(pid))
    return sorted(found)


def wait_until(condition, what):
    end = time.monotonic() + 10 * PATIENCE
    while not condition():
        check(time.monotonic() < end, what)
        time.sleep(0.02)


def mounted(folder):
    with open("/proc/self/mountinfo") as f:
        return any(line.split()[4] == folder for line in f)


# Killed: the one with the image, whose mount the other one removes; then both, which the next command does. What the killed leave of the file
# system is as after a power failure, so another image goes on.
shutil.copy("d.qcow2", "whole.qcow2")
disk("mount", "d.qcow2", MNT)
os.kill(processes(MNT)[-1], signal.SIGKILL)
wait_until(lambda: not mounted(MNT), "the dead mount stays")
wait_until(lambda: not processes(MNT), "the process that waits stays")
for command in (["unmount", MNT], ["mount", "d.qcow2", MNT]):
    disk("mount", "d.qcow2", MNT)
    for pid in processes(MNT):
        os.kill(pid, signal.SIGSTOP)
    for pid in processes(MNT):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not processes(MNT), "killed processes stay")
    check(mounted(MNT), "nothing is left that could be cleaned up")
    disk(*command)
disk("unmount", MNT)
disk("mount", "d.qcow2", MNT, "--files")
os.kill(processes(MNT)[-1], signal.SIGKILL)
wait_until(lambda: not mounted(MNT) and not processes(MNT), "the dead file system stays")
disk("check", "d.qcow2")
check(not [n for n in os.listdir(RUNDIR) if n.startswith("mount-")], os.listdir(RUNDIR))
print("passed: killed processes")

# A user, where one can be had: in a namespace where everybody may use /dev/fuse.
user = os.path.join(TMP, "user")
script = f"""set -e
mount --make-rprivate /; mknod {TMP}/fuse c 10 229; chmod 666 {TMP}/fuse; mount --bind {TMP}/fuse /dev/fuse
exec setpriv --reuid 65534 --regid 65534 --clear-groups env XDG_RUNTIME_DIR={user} HOME={user} sh -ec '
cd {user}
{VISOR} disk mount d.qcow2 m --files; cmp m/data {TMP}/tree/data; echo mine >m/mine
(cd m; ! {VISOR} disk unmount {user}/m 2>{user}/busy); grep -q "programs use it" busy
{VISOR} disk unmount m; test ! -e m/data
{VISOR} disk mount d.qcow2 m; test -f m/p2; {VISOR} disk unmount m; {VISOR} disk check d.qcow2'
"""
if os.geteuid() == 0 and shutil.which("fusermount3") and shutil.which("setpriv"):
    os.chmod(TMP, 0o755)
    os.makedirs(f"{user}/m")
    shutil.copy("whole.qcow2", f"{user}/d.qcow2")
    for name in (user, f"{user}/m", f"{user}/d.qcow2"):
        os.chown(name, 65534, 65534)
    if subprocess.run(["setpriv", "--reuid", "65534", "--clear-groups", VISOR, "version"], capture_output=True).returncode == 0:
        tool("unshare", "-m", "sh", "-c", script)
        print("passed: without root")

# Errors name what is wrong.
os.mkdir("full")
open("full/file", "w").close()
with open("damaged.qcow2", "wb") as f:
    f.write(b"QFI\xfb\0\0\0\3" + b"\xff" * 1000)
disk("create", "small.qcow2", "1M")
for arguments, status, text in (
        (["missing", MNT], 1, "missing: No such file"), (["damaged.qcow2", MNT], 1, "damaged.qcow2"), (["tree", MNT], 1, "tree"),
        (["d.qcow2", "nowhere"], 1, "nowhere: cannot find it"), (["d.qcow2", "full"], 1, "not empty"), (["d.qcow2", "tree/data"], 1, "no folder"),
        (["d.qcow2", MNT, "--partition", "7"], 1, "no partition 7"), (["d.qcow2", MNT, "--partition", "1"], 1, "no file system that is known"),
        (["small.qcow2", MNT, "--files"], 1, "no file system in it")):
    r = disk("mount", *arguments, status=status)
    check(text in r.stderr, f"{arguments}: {r.stderr}")
disk("mount", "d.qcow2", MNT)
check("mounted there already" in disk("mount", "small.qcow2", MNT, status=1).stderr, "two on one folder")
check("in use by process" in disk("mount", "d.qcow2", MNT + "2", status=1).stderr, "twice the same image")
check("in use by process" in visor("run", "--disk", "d.qcow2", "--time-limit", "1", status=1).stderr, "a machine takes a mounted image")
machine = Guest("--name", f"mount-{os.getpid()}", "--disk", "small.qcow2")
wait_until(lambda: f"mount-{os.getpid()}" in visor("list").stdout, "the machine does not run")
r = disk("mount", "small.qcow2", MNT + "2", status=1)
check("in use by process" in r.stderr and "visor run" in r.stderr, r.stderr)
machine.process.kill()
held = open(f"{MNT}/p1")
check("programs use it" in disk("unmount", MNT, status=1).stderr, "unmounted although it is used")
held.close()
check(json.loads(disk("unmount", MNT, "--json").stdout) == {"unmounted": True}, "--json")
check("nothing mounted there" in disk("unmount", MNT, status=1).stderr, "unmounted twice")
print("passed: errors")
