#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""visor is killed at random moments while its guest (disk_writer.c) writes and flushes: what the guest was told to be flushed is there
as QEMU's tools read it, and the tables have leaks at worst.

KILL_TIMES: how often over all formats (10); KILL_SEED: of the moments.
"""
import array, random, shutil
from harness import *

PIECES, PIECE, MULTIPLIER = 2039, 4096, 1009  # as in disk_writer.c
FORMATS = ("raw", "qcow2", "vdi", "vhd", "vmdk")
TIMES = int(os.environ.get("KILL_TIMES", "10"))
seed = os.environ.get("KILL_SEED", str(time.time_ns()))
random.seed(seed)

for program in ("gcc", "qemu-img"):
    if not shutil.which(program):
        print(f"no {program}; install gcc and qemu-utils")
        sys.exit(77)
build = os.path.join(TMP, "guest")
r = subprocess.run([os.path.join(TOP, "tests", "guest", "build.sh"), build, os.path.join(TOP, "tests", "system", "disk_writer.c")],
                   capture_output=True, text=True)
check(r.returncode == 0, r.stderr)


def kill_once(disk):
    """The number up to which all is flushed."""
    g = Guest("--memory", "64M", "--kernel", os.path.join(build, "disk_writer.elf"), "--debug-exit", "--no-balloon", "--disk", disk)
    g.expect(r"^[0-9a-fx]+\r?\n")
    time.sleep(random.random() * 0.3)
    g.process.kill()
    g.process.wait()
    while g.read(1):
        pass
    return int(re.findall(r"^([0-9a-fx]+)\r?\n", g.log, re.M)[-1], 16)  # the last line may have been cut


def check_tables(disk, kind):
    if kind != "raw":
        found = json.loads(visor("disk", "check", disk, "--json").stdout)
        check(found["errors"] == 0, found)
    if kind in ("qcow2", "vdi", "vmdk"):
        r = subprocess.run(["qemu-img", "check", disk], capture_output=True, text=True)
        check(r.returncode in (0, 3), f"qemu-img check {disk}: {r.returncode}\n{r.stdout[-1000:]}{r.stderr[-1000:]}")


def check_pieces(disk, kind, flushed, lost):
    """lost: numbers that earlier kills were in the middle of: the guest goes on behind the largest that is there, of two at once maybe
    the only one. Those of this kill come to it."""
    raw = disk + ".copy"
    subprocess.run(["qemu-img", "convert", "-f", "vpc" if kind == "vhd" else kind, "-O", "raw", disk, raw], check=True)
    words = array.array("Q")
    with open(raw, "rb") as f:
        words.frombytes(f.read(PIECES * PIECE))
    last = {number * MULTIPLIER % PIECES: number for number in range(max(1, flushed - 2 * PIECES + 1), flushed + 1) if number not in lost}
    for sector in range(PIECES * PIECE // 512):
        at, piece = sector * 64, sector // 8
        number = words[at]
        check(number >= last.get(piece, 0), f"piece {piece} has write {number}, but {last.get(piece)} was flushed")
        if number:
            check(words[at + 1] == piece and number * MULTIPLIER % PIECES == piece, f"sector {sector} has another piece's data")
            inside = at % 512 + 63
            lost.update(range(flushed + 1, number + 1))
            check(words[at + 63] == (number * 0x9e3779b97f4a7c15 + inside) % 2**64, f"sector {sector} is not whole")


print(f"KILL_SEED={seed}")
for n, kind in enumerate(FORMATS):
    disk = os.path.join(TMP, f"disk.{kind}")
    visor("disk", "create", disk, "8M", "--format", kind)
    lost = set()
    for i in range(TIMES // len(FORMATS) + (n < TIMES % len(FORMATS))):
        flushed = kill_once(disk)
        check_tables(disk, kind)
        check_pieces(disk, kind, flushed, lost)
    print(f"passed: {kind}, {flushed} flushed writes")
