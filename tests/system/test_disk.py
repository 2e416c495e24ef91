#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Disk images: what qemu-img makes reads right here, what is made here passes qemu-img's checks, damaged ones give clear errors,
and two machines cannot write one disk."""
import random, shutil, struct
from harness import *

if not shutil.which("qemu-img") or not shutil.which("qemu-io"):
    print("qemu-img and qemu-io are not installed")
    sys.exit(77)
os.chdir(TMP)
rng = random.Random(4)
MB = 1 << 20
SIZE = 70 * MB


def run(*command):
    r = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    check(r.returncode == 0, f"{' '.join(map(str, command))}: status {r.returncode}\n{r.stdout}{r.stderr}")
    return r.stdout


def result(*arguments, **more):
    return json.loads(visor("disk", *arguments, "--json", **more).stdout)


def same(a, b, *formats):
    check(result("compare", a, b, *formats)["equal"], f"{a} and {b} are not the same")


def make_raw(path, size=SIZE):
    """Data, zeros and holes of many lengths."""
    with open(path, "wb") as f:
        f.truncate(size)
        for _ in range(60):
            f.seek(rng.randrange(size // 512) * 512)
            length = rng.choice((512, 4096, 65536, 300000 // 512 * 512))
            data = rng.randbytes(length) if rng.randrange(4) else bytes(length)
            f.write((data if rng.randrange(3) else b"some text that shrinks " * (length // 16))[:length])
        f.truncate(size)


def part(name):
    print(f"passed: {name}", flush=True)


# --- read what QEMU makes ---

make_raw("base.raw")
FOREIGN = [
    ("qcow2", ""), ("qcow2", "compat=0.10"), ("qcow2", "cluster_size=512"), ("qcow2", "cluster_size=2M"), ("qcow2", "refcount_bits=1"),
    ("qcow2", "refcount_bits=64,lazy_refcounts=on"), ("qcow2", "preallocation=metadata"), ("vdi", ""), ("vdi", "static=on"), ("vpc", "force_size=on"),
    ("vpc", "subformat=fixed,force_size=on"), ("vmdk", ""), ("vmdk", "subformat=monolithicFlat"), ("vmdk", "subformat=streamOptimized"),
    ("vmdk", "subformat=twoGbMaxExtentSparse"), ("vmdk", "subformat=twoGbMaxExtentFlat"), ("vmdk", "zeroed_grain=on"), ("vhdx", ""),
    ("vhdx", "block_size=1M"), ("vhdx", "subformat=fixed"),
]
for number, (format, options) in enumerate(FOREIGN):
    name = f"foreign{number}.{format}"
    run("qemu-img", "convert", "-f", "raw", "-O", format, *(["-o", options] if options else []), "base.raw", name)
    found = result("info", name)
    check(found["format"] == {"vpc": "vhd"}.get(format, format) and found["size"] == SIZE, f"{name} ({options}): {found}")
    same(name, "base.raw")
for options in ("compression_type=zlib", "compression_type=zstd", "cluster_size=4096,compression_type=zstd"):
    run("qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", "-o", options, "base.raw", "packed.qcow2")
    same("packed.qcow2", "base.raw")
    check(result("check", "packed.qcow2")["compressed"] > MB, "nothing is compressed")
part("images of other programs")

# --- make what QEMU reads ---

OWN = [
    ("qcow2",), ("qcow2", "--qcow2-version", "2"), ("qcow2", "--cluster-size", "512"), ("qcow2", "--cluster-size", "2M"),
    ("qcow2", "--lazy-refcounts"), ("qcow2", "--compress"), ("qcow2", "--compress", "--compression", "zstd"), ("vdi",), ("vdi", "--fixed"),
    ("vhd",), ("vhd", "--fixed"), ("vmdk",), ("vmdk", "--fixed"), ("raw",),
]
for number, (format, *options) in enumerate(OWN):
    name, other = f"own{number}.{format}", {"vhd": "vpc"}.get(format, format)
    visor("disk", "convert", "foreign0.qcow2", name, "--format", format, *options)
    run("qemu-img", "compare", "-f", "raw", "-F", other, "base.raw", name)
    same(name, "base.raw", *(("--format", "raw") if format == "raw" else ()))
    if format in ("qcow2", "vdi"):
        run("qemu-img", "check", "-f", format, name)
    if format in ("qcow2", "vdi", "vhd", "vmdk"):
        found = result("check", name)
        check(found["errors"] == found["leaks"] == 0, f"{name}: {found}")
    # QEMU goes on with what was made here, and this with what QEMU wrote.
    run("qemu-io", "-f", other, "-c", "write -P 7 33M 3M", "-c", "write -P 8 1M 513", "-c", "write -P 9 69M 512", name)
    run("qemu-img", "convert", "-f", other, "-O", "raw", name, "after.raw")
    same(name, "after.raw", *(("--format", "raw") if format == "raw" else ()))
    os.remove("after.raw")
part("images for other programs")

# --- chains, snapshots ---

run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", "foreign0.qcow2", "top.qcow2", SIZE + 5 * MB)
run("qemu-io", "-c", "write -P 1 3M 1M", "-c", "write -z 10M 2M", "-c", "write -P 2 72M 1k", "top.qcow2")
run("qemu-img", "convert", "-O", "raw", "top.qcow2", "top.raw")
same("top.qcow2", "top.raw")
run("qemu-img", "snapshot", "-c", "before", "top.qcow2")
run("qemu-io", "-c", "write -P 3 2M 9M", "top.qcow2")
check([s["name"] for s in result("info", "top.qcow2")["snapshots"]] == ["before"], "the snapshot is missing")
visor("disk", "convert", "top.qcow2", "snapshot.raw", "--snapshot", "before")
same("snapshot.raw", "top.raw", "--format", "raw")
check(result("check", "top.qcow2")["errors"] == 0, "a snapshot is an error")
visor("disk", "create", "over.qcow2", "--backing", "top.qcow2")
run("qemu-io", "-c", "write -P 4 20M 100k", "over.qcow2")
run("qemu-img", "convert", "-O", "raw", "over.qcow2", "over.raw")
same("over.qcow2", "over.raw")
visor("disk", "rebase", "over.qcow2", "--backing", "foreign1.qcow2")
same("over.qcow2", "over.raw")
run("qemu-img", "check", "over.qcow2")
run("qemu-img", "compare", "over.qcow2", "over.raw")
visor("disk", "commit", "over.qcow2")
same("foreign1.qcow2", "over.raw")
same("over.qcow2", "over.raw")
run("qemu-img", "check", "foreign1.qcow2")
visor("disk", "rebase", "over.qcow2", "--none")
os.rename("foreign1.qcow2", "moved.qcow2")
same("over.qcow2", "over.raw")
for format in ("vdi", "vhd", "vmdk"):
    visor("disk", "convert", "base.raw", f"parent.{format}", "--from", "raw")
    visor("disk", "create", f"child.{format}", "--backing", f"parent.{format}")
    same(f"child.{format}", "base.raw")
run("qemu-img", "compare", "-f", "vmdk", "-F", "raw", "child.vmdk", "base.raw")
part("chains and snapshots")

# --- sizes ---

for name in ("own0.qcow2", "own1.qcow2", "own2.qcow2", "own9.vhd", "own10.vhd"):
    run("qemu-img", "convert", "-O", "raw", *(("-f", "vpc") if name.endswith("vhd") else ()), name, "before.raw")
    visor("disk", "resize", name, "+3G" if name != "own10.vhd" else "+7M")
    same(name, "before.raw")
    check(result("check", name)["errors"] == 0, f"{name} has errors after resize")
    if name.endswith("qcow2"):
        run("qemu-img", "check", name)
        visor("disk", "resize", name, "8M", status=1)
        visor("disk", "resize", name, "8M", "--shrink")
        run("qemu-img", "check", name)
        check(json.loads(run("qemu-img", "info", "--output=json", name))["virtual-size"] == 8 * MB, "QEMU sees another size")
    os.remove("before.raw")
part("sizes")

# --- repair ---


def poke(path, at, data):
    with open(path, "r+b") as f:
        f.seek(at)
        f.write(data)


def peek(path, at, count):
    with open(path, "rb") as f:
        f.seek(at)
        return f.read(count)


shutil.copy("foreign0.qcow2", "wrong.qcow2")
table, = struct.unpack(">Q", peek("wrong.qcow2", 48, 8))
block, = struct.unpack(">Q", peek("wrong.qcow2", table, 8))
poke("wrong.qcow2", block + 2 * 8, b"\0\0\0\0\0\5")
found = result("check", "wrong.qcow2", status=1)
check(found["errors"] == 2 and found["leaks"] == 1, f"{found}")
found = result("check", "wrong.qcow2", "--repair")
check(found["errors_fixed"] >= 2 and found["leaks_fixed"] == 1 and not found["errors"] and not found["leaks"], f"{found}")
run("qemu-img", "check", "wrong.qcow2")
same("wrong.qcow2", "base.raw")
# Marked as dirty: a writer makes the counts anew.
shutil.copy("foreign0.qcow2", "dirty.qcow2")
poke("dirty.qcow2", 79, b"\1")
poke("dirty.qcow2", block, bytes(512))
visor("disk", "resize", "dirty.qcow2", "+1M")
run("qemu-img", "check", "dirty.qcow2")
same("dirty.qcow2", "base.raw")
# Marked as damaged: read only.
shutil.copy("foreign0.qcow2", "corrupt.qcow2")
poke("corrupt.qcow2", 79, b"\2")
same("corrupt.qcow2", "base.raw")
check("--repair" in visor("disk", "resize", "corrupt.qcow2", "+1M", status=1).stderr, "no remedy")
visor("disk", "check", "corrupt.qcow2", "--repair")
visor("disk", "resize", "corrupt.qcow2", "+1M")
part("repair")

# --- a VHDX that was not closed ---


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


# QEMU's log has what it wrote last; a header that names the log makes it count, and what stands at its place does not.
run("qemu-img", "create", "-q", "-f", "vhdx", "-o", "block_size=1M", "log.vhdx", SIZE)
run("qemu-io", "-f", "vhdx", "-c", "write -P 5 0 5M", "log.vhdx")
shutil.copy("log.vhdx", "clean.vhdx")
entries = [n for n in range(1 << 20, 2 << 20, 4096) if peek("log.vhdx", n, 4) == b"loge"]
headers = [bytearray(peek("log.vhdx", at, 4096)) for at in (0x10000, 0x20000)]
newer = max((0, 1), key=lambda i: struct.unpack_from("<Q", headers[i], 8))
h = headers[newer]
h[48:64] = peek("log.vhdx", entries[-1] + 32, 16)
h[4:8] = bytes(4)
h[4:8] = struct.pack("<I", crc32c(h))
pages = [n for n in range(2 << 20, os.path.getsize("log.vhdx"), 4096)
         if [e & 7 == 6 for e in struct.unpack("<6Q", peek("log.vhdx", n, 48))] == [True] * 5 + [False]]
check(len(pages) == 1, f"the table of blocks is at {pages}")
poke("log.vhdx", 0x10000 * (1 + newer), h)
poke("log.vhdx", pages[0], bytes(4096))
check(result("info", "log.vhdx")["log_replayed"], "the log is not used")
same("log.vhdx", "clean.vhdx")
poke("log.vhdx", entries[-1] + 4096 + 100, b"x")
check("log" in visor("disk", "convert", "log.vhdx", "never.raw", status=1).stderr, "a damaged log is used")
part("log of a VHDX")

# --- errors ---

for name, at, data, words in (
    ("foreign0.qcow2", 4, b"\0\0\0\7", ["version 7"]), ("foreign0.qcow2", 20, b"\0\0\0\60", ["cluster size"]),
    ("foreign0.qcow2", 32, b"\0\0\0\2", ["encrypted"]), ("foreign0.qcow2", 79, b"\4", ["another file"]), ("foreign0.qcow2", 79, b"\20", ["extended L2"]),
    ("foreign0.qcow2", 72, b"\1", ["newer"]), ("foreign0.qcow2", 36, b"\0\0\0\0", ["L1 table"]), ("foreign0.qcow2", 40, b"\1", ["L1 table"]),
    ("foreign7.vdi", 0x180, b"\0\0\0\0", ["size"]), ("foreign7.vdi", 0x178, b"\3", ["blocks of"]), ("foreign7.vdi", 0x4c, b"\11", ["type 9"]),
    ("foreign9.vpc", 512, b"x", ["header"]), ("foreign11.vmdk", 20, b"\0\0\0\0", ["grains"]), ("foreign11.vmdk", 57, b"\377\377\377\377\377", ["directory"]),
    ("foreign17.vhdx", 0x10000, bytes(0x20000), ["headers"]), ("foreign17.vhdx", 0x30000, bytes(0x20000), ["region"]),
):
    shutil.copy(name, "bad")
    poke("bad", at, data)
    text = visor("disk", "convert", "bad", "never.raw", status=1).stderr
    for word in ["bad", *words]:
        check(word in text, f"{name}, {at:#x}: '{word}' is not in: {text}")
    check(text.count("\n") == 1 and not os.path.exists("never.raw"), text)
visor("disk", "convert", "foreign17.vhdx", "never.vhdx", status=1)
os.rename("top.qcow2", "hidden.qcow2")
visor("disk", "create", "orphan.qcow2", "--backing", "hidden.qcow2")
os.rename("hidden.qcow2", "top.qcow2")
text = visor("disk", "convert", "orphan.qcow2", "never.raw", status=1).stderr
check("hidden.qcow2" in text and "behind" in text, text)
check(result("info", "orphan.qcow2")["backing"] == "hidden.qcow2", "info needs the image behind")
check("exists" in visor("disk", "create", "base.raw", "1G", status=1).stderr, "an existing file is overwritten")
visor("disk", "create", "x.qcow2", status=2)
visor("disk", "create", "x.qcow2", "much", status=2)
visor("disk", "frobnicate", status=2)
visor("disk", "rebase", "over.qcow2", status=2)
part("errors")

# --- one writer ---

CODE = bytes.fromhex("f4ebfd")  # hlt; jmp
HEADER = (0x1badb002, 0x10000, -(0x1badb002 + 0x10000) & 0xffffffff, 0x100000, 0x100000, 0, 0, 0x100040)
with open("kernel", "wb") as f:
    f.write(struct.pack("<8I", *HEADER).ljust(64, b"\0") + CODE.ljust(448, b"\0"))
machine = subprocess.Popen([VISOR, "run", "--kernel", "kernel", "--memory", "16M", "--console", "none", "--name", "holder", "--time-limit", "100",
                            "--disk", "over.qcow2"], stdin=subprocess.DEVNULL)
atexit.register(machine.kill)
deadline = time.monotonic() + 10 * PATIENCE
while "holder" not in visor("list").stdout and time.monotonic() < deadline:
    time.sleep(0.1)
for arguments in (("run", "--kernel", "kernel", "--memory", "16M", "--console", "none", "--time-limit", "5", "--disk", "over.qcow2"),
                  ("disk", "check", "over.qcow2"), ("disk", "resize", "over.qcow2", "+1G")):
    text = visor(*arguments, status=1).stderr
    check("in use by process" in text and "--name holder" in text and str(machine.pid) in text, f"the holder is not named: {text}")
check(result("info", "over.qcow2")["format"] == "qcow2", "info on a disk in use")
qemu = subprocess.run(["qemu-img", "resize", "over.qcow2", "+1G"], capture_output=True, text=True)
check(qemu.returncode and "lock" in qemu.stderr, f"QEMU writes to a disk in use: {qemu.stderr}")
visor("stop", "--force", "holder")
machine.wait()
same("over.qcow2", "over.raw")
part("one writer")
