#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The log of instructions has one line for each that the statistics count."""
from harness import *

programs = f"{TMP}/programs"
subprocess.run([f"{TOP}/tests/guest/build.sh", programs, "shadow"], check=True)
trace, stats = f"{TMP}/trace", f"{TMP}/stats"
visor("run", "--memory", "64M", "--kernel", f"{programs}/shadow.elf", "--debug-exit", "--trace", trace, "--stats", stats, status=33)
with open(trace) as lines, open(stats) as f:
    text = lines.read().splitlines()
    counted = json.load(f)["instructions"]
check(len(text) == counted, f"{len(text)} lines of trace, {counted} instructions counted")
check(re.fullmatch(r"0 0010:000000000010000c cli", text[0]), f"the first line is '{text[0]}'")
