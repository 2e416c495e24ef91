#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest saved in the middle of busy loops and of disk I/O goes on in a new process, many times over; damaged files are refused.

The guest works until it is told to end, so a save always falls into the work. SAVE_TIMES: how many saves in a row, 5;
SAVE_SEED: of the moments.
"""
import os, random
from harness import *

MB = 12
disk, other, save = f"{TMP}/disk", f"{TMP}/elsewhere", f"{TMP}/machine.visor"
TIMES = int(os.environ.get("SAVE_TIMES", "5"))
SEED = int(os.environ.get("SAVE_SEED", random.randrange(1 << 30)))
rng = random.Random(SEED)

# A loop of sums for each processor, and writes that each reach the disk.
WORK = r"""
(s=$1; i=0; while [ ! -e /tmp/enough ]; do
  n=0; while [ $n -lt 500 ]; do s=$(((s*31+i)%1000003)); i=$((i+1)); n=$((n+1)); done
  echo $i $s >/tmp/sum.$1; done) &
"""
WRITES = r"""
(n=0; while [ ! -e /tmp/enough ]; do i=0
  while [ $i -lt 12 ]; do dd if=/tmp/data of=/dev/vda bs=1M count=1 skip=$i seek=$i conv=notrunc,fsync 2>/dev/null; i=$((i+1)); done
  n=$((n+1)); echo $n >/tmp/passes; done) &
"""


def start_work(g, cpus):
    g.command(f"head -c {MB}m /dev/urandom >/tmp/data && sha256sum </tmp/data >/tmp/hash")
    for name, text in ("work", WORK), ("writes", WRITES):
        for line in text.strip().splitlines():
            g.command(f"echo '{line}' >>/tmp/{name}")
    for n in range(cpus):
        g.send(f"sh /tmp/work {n + 1}\n")
        g.expect(PROMPT)
    g.send("sh /tmp/writes\n")
    g.expect(PROMPT)
    g.command(f"until [ -s /tmp/sum.{cpus} ]; do sleep 1; done", 60)


def the_sum(s, rounds):
    for i in range(rounds):
        s = (s * 31 + i) % 1000003
    return s


def hash_in(text):
    """The sum; the kernel may have said something in between."""
    return re.search(r"\b[0-9a-f]{64}\b", text)[0]


def finish_work(g, cpus):
    g.send("\n")
    g.expect(PROMPT, 60)
    g.command("until [ -s /tmp/passes ]; do sleep 1; done; touch /tmp/enough", 120)
    g.command("while ps | grep -q '[s]h /tmp/w'; do sleep 1; done", 120)
    for n in range(cpus):
        rounds, s = map(int, re.search(r"^(\d+) (\d+)$", g.command(f"cat /tmp/sum.{n + 1}"), re.M).groups())
        check(rounds >= 500 and s == the_sum(n + 1, rounds), f"sum {n + 1} after {rounds} rounds is {s}")
    want = hash_in(g.command("cat /tmp/hash"))
    got = hash_in(g.command(f"sync; echo 3 >/proc/sys/vm/drop_caches; dd if=/dev/vda bs=1M count={MB} 2>/dev/null | sha256sum", 60))
    check(want == got, "the disk's contents are wrong")
    g.power_off()
    g.check_log()


def until_it_runs(g):
    """A restored machine says nothing by itself."""
    end = time.monotonic() + 30 * PATIENCE
    while True:
        try:
            status, m = control("sleeper", "GET", "/machine")
            if status == 200 and m["state"] == "running":
                return
        except (OSError, http.client.HTTPException):
            pass
        check(g.process.poll() is None and time.monotonic() < end, f"the restored machine does not run:\n{g.stderr()}")
        time.sleep(0.05)


def saved_and_restored(cpus, times):
    with open(disk, "wb") as f:
        f.truncate((MB + 8) << 20)
    g = linux("cloud-amd64", "--name", "sleeper", "--memory", "256M", "--cpus", cpus, "--disk", disk)
    start_work(g, cpus)
    for turn in range(times):
        time.sleep(rng.uniform(0, 1.5))
        visor("save", "sleeper", save, "--stop")
        g.wait(0)
        check(not BAD.search(g.log), f"after {turn} saves:\n{g.log[-3000:]}")
        size = os.path.getsize(save)
        check(size < 200 << 20, f"the file has {size} bytes")
        os.rename(disk, other)
        g = Guest("--restore", save, "--disk", other, "--name", "sleeper")
        until_it_runs(g)
        os.rename(other, disk)  # it is open
    finish_work(g, cpus)
    print(f"{cpus} cpu(s): went on after {times} saves", flush=True)


def saved_goes_on():
    """A save without --stop does not disturb."""
    g = linux("cloud-amd64", "--name", "sleeper", "--memory", "256M", "--disk", disk)
    start_work(g, 1)
    for _ in range(3):
        time.sleep(rng.uniform(0, 0.5))
        visor("save", "sleeper", save)
    check(visor("save", "sleeper", "/nonexistent/file", status=1).stderr.count("/nonexistent/file"), "the error lacks the name")
    finish_work(g, 1)
    print("went on after saves without --stop", flush=True)


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


print(f"SAVE_SEED={SEED}", flush=True)
saved_and_restored(1, 1)
saved_and_restored(2, 1)
saved_and_restored(4, TIMES)
saved_goes_on()
damaged_files_are_refused()
