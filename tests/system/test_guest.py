#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest tests (tests/guest) pass: each mode, exception, restart, self-modifying code, several processors."""
from harness import *

programs = f"{TMP}/programs"
subprocess.run([f"{TOP}/tests/guest/build.sh", programs], check=True)
names = sorted(f[:-4] for f in os.listdir(programs) if f.endswith(".elf"))
check("exceptions" in names and "smp" in names, f"programs are missing: {names}")
for name in names:
    for cpus in (1, 2, 4) if name == "smp" else (1,):
        r = visor("run", "--memory", "64M", "--cpus", cpus, "--kernel", f"{programs}/{name}.elf", "--debug-exit", status=None, timeout=60)
        check(r.returncode == 33, f"{name} with {cpus} processor(s): status {r.returncode}\n{r.stdout}\n{r.stderr}")
        check("PASSED" in r.stdout, f"{name} does not say PASSED")
        print(f"{name}, {cpus} cpu(s): ok")

# The log of instructions has one line for each that the statistics count.
trace, stats = f"{TMP}/trace", f"{TMP}/stats"
visor("run", "--memory", "64M", "--kernel", f"{programs}/shadow.elf", "--debug-exit", "--trace", trace, "--stats", stats, status=33)
with open(trace) as lines, open(stats) as f:
    text = lines.read().splitlines()
    counted = json.load(f)["instructions"]
check(len(text) == counted, f"{len(text)} lines of trace, {counted} instructions counted")
check(re.fullmatch(r"0 0010:000000000010000c cli", text[0]), f"the first line is '{text[0]}'")
print("trace and statistics agree")
