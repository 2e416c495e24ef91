#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The balloon and the reports of free pages, with Linux's driver: memory goes back to the host, and the guest goes on with what it has, under
both engines."""
import os
from harness import *

MIB = 1 << 20


def stats():
    status, answer = control("balloon", "GET", "/stats")
    check(status == 200, answer)
    return answer


def until(what, condition, seconds=30):
    end = time.monotonic() + seconds * PATIENCE
    while not condition(s := stats()):
        check(time.monotonic() < end, f"{what}: {s['guest_memory'] >> 20} MiB, {s.get('balloon')}")
        time.sleep(0.2)
    return s


def fill(g, mib):
    """A file in memory, and what it has to say."""
    return g.command(f"dd if=/dev/urandom of=/dev/shm/data bs=1M count={mib} 2>/dev/null; md5sum /dev/shm/data", 60).split()[0]


def reports(g):
    """What the guest's programs have used and freed."""
    total = fill(g, 160)
    full = stats()["guest_memory"]
    check(full > 160 * MIB, f"{full >> 20} MiB with a file of 160 MiB")
    check(g.command("md5sum /dev/shm/data").split()[0] == total, "the file has changed")
    g.command("rm /dev/shm/data")
    s = until("free pages do not come back", lambda s: s["guest_memory"] < full - 120 * MIB)
    check(s["balloon"]["reported"] >= 120 * MIB, s["balloon"])
    # The same pages again, many times, and nothing of the others' in them.
    g.command("for i in 1 2 3; do dd if=/dev/urandom of=/dev/shm/a bs=1M count=100 2>/dev/null; cp /dev/shm/a /dev/shm/b; cmp /dev/shm/a /dev/shm/b; "
              "rm /dev/shm/a /dev/shm/b; sleep 3; done", 120)


def balloon(g):
    total = fill(g, 40)
    before = int(g.command("sed -n 's/MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo"))
    visor("balloon", "balloon", "160M")
    s = until("the balloon does not grow", lambda s: s["balloon"]["memory"] == 160 * MIB)
    check(s["guest_memory"] < 200 * MIB, f"{s['guest_memory'] >> 20} MiB of memory for a guest of 160 MiB")
    # Its driver takes with DEFLATE_ON_OOM what it gives away out of what is free, not of the total.
    free = int(g.command("sed -n 's/MemFree: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo"))
    check(free < 160 << 10, f"{free} KiB free of {before}")
    check(g.command("md5sum /dev/shm/data").split()[0] == total, "the file has changed")
    until("no statistics", lambda s: 0 < s["balloon"]["guest"].get("available", 0) < 160 * MIB)
    # A program that needs more than there is gets it out of the balloon.
    g.command("dd if=/dev/zero of=/dev/shm/zero bs=1M count=60 2>/dev/null; dd if=/dev/zero bs=80M count=1 of=/dev/null 2>/dev/null; rm /dev/shm/zero", 60)
    visor("balloon", "balloon", "384M")
    until("the balloon does not shrink", lambda s: s["balloon"]["memory"] == 384 * MIB)
    check(g.command("md5sum /dev/shm/data").split()[0] == total, "the file has changed")
    g.command("rm /dev/shm/data")


def errors():
    r = visor("balloon", "balloon", "385M", status=1)
    check("384 MiB" in r.stderr, r.stderr)
    r = visor("balloon", "balloon", "1K", status=1)
    check("16 to 384" in r.stderr, r.stderr)
    visor("balloon", "balloon", "many", status=2)


def save(g):
    visor("balloon", "balloon", "256M")
    until("the balloon does not grow", lambda s: s["balloon"]["memory"] == 256 * MIB)
    g.send("echo mark\n")
    g.expect(r"^mark\r?$")
    visor("save", "balloon", f"{TMP}/saved", "--stop", timeout=120)
    g.wait(0)
    g = Guest("--restore", f"{TMP}/saved", "--name", "balloon")
    g.send("\n")
    g.expect(PROMPT)
    s = stats()
    check(s["balloon"]["memory"] == 256 * MIB and s["guest_memory"] < 290 * MIB, s["balloon"])
    until("no statistics after the restore", lambda s: s["balloon"]["guest"].get("total", 0) > 0)
    visor("balloon", "balloon", "384M")
    until("the balloon does not shrink after the restore", lambda s: s["balloon"]["memory"] == 384 * MIB)
    fill(g, 200)
    return g


def main():
    for engine in os.environ.get("BALLOON_ENGINES", "jit,interp").split(","):
        g = linux("devices-amd64", "--name", "balloon", "--memory", "384M", "--engine", engine)
        g.command("mkdir /dev/shm; mount -t tmpfs -o size=90% shm /dev/shm")
        parts = [reports, balloon] if engine == "jit" else [balloon]
        for part in parts:
            part(g)
            print(f"passed: {engine} {part.__name__}", flush=True)
        if engine == "jit":
            errors()
            g.check_log()
            g = save(g)
            print("passed: save", flush=True)
        g.check_log()
        g.power_off()
    g = linux("devices-amd64", "--name", "balloon", "--no-balloon")
    check("--no-balloon" in visor("balloon", "balloon", "256M", status=1).stderr, "no word of --no-balloon")
    check("balloon" not in stats(), "a balloon that was not wanted")
    g.power_off()


main()
