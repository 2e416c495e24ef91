#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest saved in the middle of a busy loop and of disk I/O goes on in a new process; damaged files are refused."""
import os, random
from harness import *

MB = 12
ROUNDS = 30000
LOOP = f"i=0; s=1; while [ $i -lt {ROUNDS} ]; do s=$(((s*31+i)%1000003)); i=$((i+1)); done; echo sum=$s=; "
s = 1
for i in range(ROUNDS):
    s = (s * 31 + i) % 1000003
disk, other, save = f"{TMP}/disk", f"{TMP}/elsewhere", f"{TMP}/machine.visor"


def start_work(g):
    """A loop of the shell, and writes that each reach the disk; both report when they are done."""
    g.command(f"head -c {MB}m /dev/urandom >/tmp/data && sha256sum </tmp/data >/tmp/sum")
    g.command("echo 'for n in 1 2 3; do i=0; while [ $i -lt $1 ]; do dd if=/tmp/data of=/dev/vda bs=1M count=1 \\' >/tmp/work")
    g.command("echo '  skip=$i seek=$i conv=notrunc,fsync 2>/dev/null; i=$((i+1)); done; done; echo written' >>/tmp/work")
    g.send(f"sh /tmp/work {MB} & {LOOP}\n")


def hash_in(text):
    """The sum; the kernel may have said something in between."""
    return re.search(r"\b[0-9a-f]{64}\b", text)[0]


def finish_work(g):
    first = g.expect(rf"sum={s}=\r?$|written\r?$", 90)[0]
    g.expect(r"written\r?$" if "sum" in first else rf"sum={s}=\r?$", 90)
    g.send("\n")
    g.expect(PROMPT)
    want = hash_in(g.command("cat /tmp/sum"))
    got = hash_in(g.command(f"sync; echo 3 >/proc/sys/vm/drop_caches; dd if=/dev/vda bs=1M count={MB} 2>/dev/null | sha256sum", 60))
    check(want == got, "the disk's contents are wrong")


def restored_goes_on(cpus):
    with open(disk, "wb") as f:
        f.truncate((MB + 8) << 20)
    g = linux("cloud-amd64", "--name", "sleeper", "--memory", "256M", "--cpus", cpus, "--disk", disk)
    start_work(g)
    time.sleep(1.5)
    check("sum=" not in g.log[g.at:].replace("echo sum=", ""), "the loop was over before the save; make it longer")
    visor("save", "sleeper", save, "--stop")
    g.wait(0)
    check("written" not in g.log[g.at:].replace("echo written", ""), "the writes were over before the save; make them longer")
    size = os.path.getsize(save)
    check(size < 200 << 20, f"the file has {size} bytes")
    os.rename(disk, other)
    r = Guest("--restore", save, "--disk", other)
    finish_work(r)
    r.power_off()
    r.check_log()
    os.rename(other, disk)
    print(f"{cpus} cpu(s): went on")


def saved_goes_on():
    """A save without --stop does not disturb."""
    g = linux("cloud-amd64", "--name", "sleeper", "--memory", "256M", "--disk", disk)
    start_work(g)
    time.sleep(0.5)
    for _ in range(3):
        visor("save", "sleeper", save)
    check(visor("save", "sleeper", "/nonexistent/file", status=1).stderr.count("/nonexistent/file"), "the error lacks the name")
    finish_work(g)
    g.power_off()


def damaged_files_are_refused():
    with open(save, "rb") as f:
        data = f.read()
    rng, bad = random.Random(1), f"{TMP}/bad.visor"
    cuts = [data[:n] for n in [0, 1, 15, 16, 40, len(data) - 1] + [rng.randrange(len(data)) for _ in range(8)]]
    flips = []
    for position in [0, 9, 17, 20, 30, 100] + [rng.randrange(16, len(data)) for _ in range(12)]:
        flip = bytearray(data)
        flip[position] ^= 1 << rng.randrange(8)
        flips.append(bytes(flip))
    for damaged in cuts + flips + [data + b"x", os.urandom(5000)]:
        with open(bad, "wb") as f:
            f.write(damaged)
        r = visor("run", "--restore", bad, "--disk", disk, "--time-limit", "20", status=1)
        check("bad.visor" in r.stderr and r.stderr.count("\n") == 1, f"the message: {r.stderr}")


restored_goes_on(1)
restored_goes_on(2)
saved_goes_on()
damaged_files_are_refused()
