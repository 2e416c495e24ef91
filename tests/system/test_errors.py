#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What the host can refuse: memory, files, disks, descriptors, room on a disk, a killed process. Each error names its object
and its cause, with status 1, or 2 for a usage error; nothing is left behind and a running machine goes on."""
import os, resource, shutil, signal, struct, threading
from harness import *

sanitized = subprocess.run(["grep", "-q", "__asan_init", VISOR]).returncode == 0
# 4 MiB of numbers that do not compress into guest memory, then a character to COM1 now and then.
CODE = bytes.fromhex("bf00002000b90000100069c00d661900055ff36e3cabe2f266baf803b058eeb900002000e2feebf6")
HEADER = (0x1badb002, 0x10000, -(0x1badb002 + 0x10000) & 0xffffffff, 0x100000, 0x100000, 0, 0, 0x100040)
kernel, disk = f"{TMP}/kernel", f"{TMP}/disk"
with open(kernel, "wb") as f:
    f.write(struct.pack("<8I", *HEADER).ljust(64, b"\0") + CODE.ljust(448, b"\0"))
# The same, with 8 MiB of zeroed memory behind it.
large = f"{TMP}/large-kernel"
with open(large, "wb") as f:
    f.write(struct.pack("<8I", *HEADER[:5], 0x100000 + 512, 0x900000, HEADER[7]).ljust(64, b"\0") + CODE.ljust(448, b"\0"))
with open(disk, "wb") as f:
    f.truncate(1 << 20)


def expect(words, *arguments, status=1, **more):
    r = visor(*arguments, status=status, **more)
    for word in words:
        check(str(word) in r.stderr, f"visor {' '.join(map(str, arguments))}: '{word}' is not in:\n{r.stderr}")
    check(not r.stdout, f"visor {' '.join(map(str, arguments))}: an error's text on standard output")
    check("Sanitizer" not in r.stderr and r.stderr.count("visor: error") <= 2, r.stderr)
    return r


def limit(what, value):
    def apply():
        resource.setrlimit(what, (value, value))
    return {"preexec_fn": apply}


def run(*arguments, **more):
    return ("run", "--kernel", kernel, "--memory", "16M", "--console", "none", "--time-limit", "20", *arguments)


class Machine:
    """One that runs until it is ended; its output counts characters."""

    def __init__(self, name, *arguments, prefix=(), **more):
        self.name, self.out, self.err = name, f"{TMP}/{name}.out", f"{TMP}/{name}.err"
        self.process = subprocess.Popen([*prefix, VISOR, "run", "--kernel", kernel, "--memory", "16M", "--name", name, "--console",
                                         f"file:{self.out}", *arguments], stdin=subprocess.DEVNULL, stderr=open(self.err, "w"), **more)
        atexit.register(self.process.kill)
        self.goes_on()

    def goes_on(self):
        """More output comes."""
        begin = self.size()
        end = time.monotonic() + 10 * PATIENCE
        while self.size() <= begin:
            check(self.process.poll() is None and time.monotonic() < end, f"{self.name} stands still:\n{open(self.err).read()}")
            time.sleep(0.05)

    def size(self):
        return os.path.getsize(self.out) if os.path.exists(self.out) else 0

    def stop(self):
        visor("stop", "--force", self.name)
        check(self.process.wait(10 * PATIENCE) == 0, f"{self.name} ends with {self.process.returncode}")


def usage():
    expect(["--memory", "1X"], "run", "--memory", "1X", status=2)
    expect(["--memory", "1M"], "run", "--memory", "1M", status=2)
    expect(["--cpus", "17"], *run("--cpus", "17"), status=2)
    expect(["nothing to start"], "run", status=2)
    expect(["--gdb", "65535"], *run("--gdb", "70000"))


def memory():
    expect(["host has", "--memory"], *run("--memory", "1T"))
    if not sanitized:
        expect(["4144 MiB", "memory"], *run("--memory", "4G"), **limit(resource.RLIMIT_AS, 2 << 30))
    expect([large, "--memory"], "run", "--kernel", large, "--memory", "2M", "--console", "none")
    expect(["ulimit -f"], *run(), **limit(resource.RLIMIT_FSIZE, 65536))


def descriptors():
    for n in range(4, 14):
        r = visor(*run("--time-limit", "1"), status=None, **limit(resource.RLIMIT_NOFILE, n))
        check(r.returncode == 1 and ("open files" in r.stderr or "library" in r.stderr or "libraries" in r.stderr) or r.returncode in (4, 127),
              f"{n} descriptors: status {r.returncode}\n{r.stderr}")


def files():
    missing = f"{TMP}/missing"
    for flag in ("--kernel", "--initrd", "--bios", "--disk", "--restore"):
        base = ("run", "--console", "none") if flag in ("--kernel", "--bios", "--restore") else run()
        expect([missing, "No such file"], *base, flag, missing)
        expect([TMP, "directory"], *base, flag, TMP)
    expect(["/dev/null", "regular"], "run", "--kernel", "/dev/null", "--console", "none")
    empty = f"{TMP}/empty"
    open(empty, "w").close()
    expect([empty], "run", "--kernel", empty, "--console", "none")
    expect([empty, "empty", "truncate"], *run("--disk", empty))
    expect([empty], "run", "--restore", empty)
    for flag, value in (("--console", f"file:{missing}/x"), ("--trace", f"{missing}/x"), ("--stats", f"{missing}/x"),
                        ("--debugcon", f"{missing}/x")):
        expect([flag, missing], *run(flag, value))
    if os.geteuid():
        os.chmod(empty, 0)
        expect([empty, "denied"], "run", "--kernel", empty, "--console", "none")
        expect([empty, "denied"], *run("--disk", empty))
    expect([f"{missing}/visor", "XDG_RUNTIME_DIR"], *run(), env=dict(os.environ, XDG_RUNTIME_DIR=missing))
    # Output that gets lost makes a failure of a success.
    r = visor(*run("--console", "file:/dev/full", "--name", "full", "--time-limit", "2"), status=None)
    check("/dev/full" in r.stderr and "No space" in r.stderr, r.stderr)


def damaged_kernels():
    folder, = prepare("cloud-amd64")
    with open(f"{folder}/vmlinuz", "rb") as f:
        whole = f.read()
    cut = f"{TMP}/cut"
    # Behind what the header announces, there is but a signature.
    end = (whole[0x1f1] + 1) * 512 + struct.unpack_from("<I", whole, 0x1f4)[0] * 16
    for size in (1, 511, 0x1f1, 0x202, 0x264, 0x268, 1024, 16384, end // 2, end - 16):
        with open(cut, "wb") as f:
            f.write(whole[:size])
        expect([cut], "run", "--kernel", cut, "--console", "none", "--time-limit", "20")


def locked_disk():
    m = Machine("first", "--disk", disk)
    expect([disk, "in use", "copy"], *run("--disk", disk))
    expect([disk, "in use"], *run("--disk", f"{disk},ro"))
    expect(["first", "running"], *run("--name", "first"))
    m.goes_on()
    m.stop()
    visor(*run("--disk", disk, "--time-limit", "1"), status=4)


def full_disk():
    """A save that has no room: the machine goes on, the file of that name stays, no other one is left."""
    room = f"{TMP}/room"
    os.mkdir(room)
    script = f"mount -t tmpfs -o size=1m none {room} && echo before >{room}/saved && exec \"$@\""
    private = ["unshare", "-m"] if not os.geteuid() else ["unshare", "-rm"]
    if subprocess.run([*private, "true"], capture_output=True).returncode:
        print("no mount name space: the test with a full disk is left out")
        return
    m = Machine("full", prefix=(*private, "sh", "-c", script, "sh"))
    inside = f"/proc/{m.process.pid}/root{room}"
    for _ in range(2):
        expect(["full", f"{room}/saved", "No space left"], "save", "full", f"{room}/saved")
        check(os.listdir(inside) == ["saved"] and open(f"{inside}/saved").read() == "before\n", f"left: {os.listdir(inside)}")
        m.goes_on()
    expect(["No such file"], "save", "full", f"{room}/none/saved")
    expect([room, "irectory"], "save", "full", room)
    expect(["No space left"], "save", "--stop", "full", f"{room}/saved")
    m.goes_on()
    m.stop()


def file_limit():
    m = Machine("limited", "--jit-cache", "16M", **limit(resource.RLIMIT_FSIZE, 80 << 20))
    visor("save", "limited", f"{TMP}/saved")
    check(os.path.getsize(f"{TMP}/saved") > 4 << 20, "the guest's memory is not in the file")
    resource.prlimit(m.process.pid, resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    expect([f"{TMP}/other", "too large"], "save", "limited", f"{TMP}/other")
    check(not [n for n in os.listdir(TMP) if n.startswith("other")], "a part of a save file was left")
    m.goes_on()
    m.stop()


def damaged_saves():
    with open(f"{TMP}/saved", "rb") as f:
        whole = f.read()
    bad = f"{TMP}/bad"
    for size in (0, 7, 8, 15, 16, 33, 100, 5000, len(whole) // 2, len(whole) - 27, len(whole) - 1):
        with open(bad, "wb") as f:
            f.write(whole[:size])
        expect([bad], "run", "--restore", bad, "--time-limit", "20")
    for at in (0, 8, 17, 20, 25, 60, 3000, len(whole) // 2, len(whole) - 3):
        with open(bad, "wb") as f:
            f.write(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1:])
        expect([bad], "run", "--restore", bad, "--time-limit", "20")
    expect([kernel, "not a save file"], "run", "--restore", kernel)
    visor("run", "--restore", f"{TMP}/saved", "--console", "none", "--time-limit", "1", status=4)


def killed_worker():
    m = Machine("victim", "--disk", disk)
    m.process.send_signal(signal.SIGSTOP)
    # Who asks just now learns that it has ended.
    asked = threading.Timer(1, m.process.kill)
    asked.start()
    expect(["victim", "ended"], "stats", "victim")
    m.process.wait(10)
    expect(["victim", "no machine"], "stats", "victim")
    check("victim" not in visor("list").stdout, "a killed machine is listed")
    again = Machine("victim", "--disk", disk)
    again.stop()


for part in (usage, memory, descriptors, files, damaged_kernels, locked_disk, full_disk, file_limit, damaged_saves, killed_worker):
    part()
    print(f"{part.__name__}: as expected", flush=True)
