#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest tests of tests/guest, built here, each under visor; `smp` with 1, 2 and 4 processors.

GUEST_TESTS names some; GUEST_ENGINES the engines to run them with. A test NAME that ends in a way of its own says so in
ENDS; all others write their verdict to the debug-exit port.
"""
import shutil
from harness import *

PASSED = 0x10 << 1 | 1
CPUS = {"smp": (1, 2, 4)}
# Guests that end otherwise: status, and what visor says of it.
ENDS = {"triple": (3, r"triple fault"), "triple32": (3, r"triple fault")}

if not shutil.which("gcc") or not shutil.which("ld") or not shutil.which("objcopy"):
    print("no compiler; install gcc and binutils")
    sys.exit(77)
build = os.path.join(TMP, "guest")
r = subprocess.run([os.path.join(TOP, "tests", "guest", "build.sh"), build], capture_output=True, text=True)
check(r.returncode == 0, f"tests/guest/build.sh: {r.stderr}")
names = sorted(f[:-4] for f in os.listdir(build) if f.endswith(".elf"))
names = os.environ.get("GUEST_TESTS", " ".join(names)).split()
failed = 0
for engine in os.environ.get("GUEST_ENGINES", "interp").split():
    for name in names:
        for cpus in CPUS.get(name, (1,)):
            status, text = ENDS.get(name, (PASSED, ""))
            start = time.monotonic()
            try:
                r = visor("run", "--engine", engine, "--memory", "64M", "--cpus", cpus, "--kernel", os.path.join(build, name + ".elf"),
                          "--debug-exit", "--no-reboot", status=None, timeout=30)
            except subprocess.TimeoutExpired as late:
                r = subprocess.CompletedProcess(late.args, "no end", (late.stdout or b"").decode(errors="replace"), "")
            ok = r.returncode == status and re.search(text, r.stderr)
            failed += not ok
            print(f"{'passed' if ok else 'failed'}: {name}, {engine}, {cpus} cpu(s), {time.monotonic() - start:.1f} s")
            if not ok:
                print(f"status {r.returncode} instead of {status}\n{r.stdout[-3000:]}{r.stderr[-1000:]}")
check(not failed, f"{failed} guest tests failed")
