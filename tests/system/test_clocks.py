#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest's clocks over changes of the engine, pauses, saves and restores: the KVM clock goes on as the virtual time of the HPET does, neither back nor ahead, even
where KVM shows the host's time-stamp counter as it is; and the counter never goes back."""
from harness import *

NAME = "clocks"
ENGINES = ("jit", "kvm", "interp", "kvm", "jit") if kvm_works() else ("jit", "interp", "jit")


def looks(g):
    g.send("c")
    g.expect("looked")


built = os.path.join(TMP, "guest")
r = subprocess.run([os.path.join(TOP, "tests", "guest", "build.sh"), built, os.path.join(TOP, "tests", "system", "clocks.c")], capture_output=True, text=True)
check(r.returncode == 0, f"clocks.c: {r.stderr}")
for first, *others in (ENGINES, ENGINES[1:] + ENGINES[1:2]):
    g = Guest("--name", NAME, "--engine", first, "--memory", "64M", "--kernel", f"{built}/clocks.elf", "--debug-exit")
    g.expect("ready")
    looks(g)
    for engine in others:
        visor("engine", NAME, engine)
        looks(g)
        visor("pause", NAME)
        time.sleep(0.2)
        visor("resume", NAME)
        looks(g)
    path, text = os.path.join(TMP, "clocks.save"), ""
    for engine in others:
        visor("save", NAME, path, "--stop")
        g.wait()
        text += g.log
        time.sleep(0.2)
        g = Guest("--restore", path, "--name", NAME, "--engine", engine)
        looks(g)
    g.send("q")
    g.wait(0x10 << 1 | 1)
    g.wait(0x10 << 1 | 1)
    check("behind" not in text + g.log and "ahead" not in text + g.log and "back" not in text + g.log, text + g.log)
    check("PASSED" in g.log, g.log)
    print(f"started under {first}, then {', '.join(others)}, twice: clocks went on")
