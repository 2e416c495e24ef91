#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A running guest changes its engine again and again, and state saved under one engine goes on under another: right results, no lost
character. Those with engine kvm where the host has it."""
import hashlib, os
from harness import *

BLOCKS = 20000
WANT = hashlib.sha256(bytes(1024 * BLOCKS)).hexdigest()
WORK = (f"for i in 1 2 3; do dd if=/dev/zero bs=1k count={BLOCKS} 2>/dev/null | sha256sum; done; "
        "i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo line $i; done; echo end of work")


def check_work(text):
    sums = re.findall(r"[0-9a-f]{64}", text)
    check(sums == [WANT] * 3, f"checksums: {sums}")
    lines = [int(n) for n in re.findall(r"line (\d+)", text)]
    check(lines == list(range(1, 3001)), f"lines that came: {len(lines)}, first gap at {next((i for i, n in enumerate(lines, 1) if i != n), None)}")


def changes(cpus, first, *cycle):
    g = linux("cloud-amd64", "--name", "engines", "--cpus", cpus, "--engine", first)
    g.send(WORK + "\n")
    done = 0
    while "\nend of work" not in g.log.replace("\r", ""):
        visor("engine", "engines", cycle[done % len(cycle)])
        done += 1
        g.read(0.3)
    check(done >= len(cycle), f"the engine was changed only {done} times")
    check_work(g.log[g.at:])
    g.power_off()
    g.check_log()
    print(f"{cpus} cpu(s): {first}, {done} changes to {', '.join(cycle)}")


def save_across(*engines):
    """Booted under the first, each of the others takes over from a file."""
    path = os.path.join(TMP, "engine.save")
    g = linux("cloud-amd64", "--name", "across", "--engine", engines[0])
    for engine in engines[1:]:
        g.send("i=0; while [ $i -lt 800000 ]; do i=$((i+1)); done; echo count $i\n")
        g.expect(r"echo count \$i", 60)  # what is still in the pipe when visor ends is nobody's
        g.read(0.2)
        visor("save", "across", path, "--stop")
        g.wait()
        early = "count 800000" in g.log[g.at:]  # a quick host: it was done before the save
        g = Guest("--restore", path, "--name", "across", "--engine", engine)
        if not early:
            g.expect(r"count 800000", timeout=60)
        g.command("echo alive")
    g.power_off()
    os.unlink(path)
    print(f"saved and went on under {', '.join(engines)}")


g = visor("engine", "nobody", "jit", status=1)
check("nobody" in g.stderr, g.stderr)
changes(1, "auto", "interp", "jit")
changes(2, "auto", "interp", "jit")
save_across("interp", "jit", "interp")
if kvm_works():
    changes(1, "kvm", "kvm", "jit", "interp", "jit", "kvm")
    changes(2, "kvm", "kvm", "jit", "interp", "jit", "kvm")
    save_across("kvm", "jit", "kvm")
