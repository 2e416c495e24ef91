#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""memtest86+ finishes a pass without error. MEMTEST=full: every test over 64 MB, which takes ten minutes and more each.

Else the long ones are left out, by memtest86+'s own menu on the serial console: 6 (half of all the work) and 10, which
only waits for bits to fade.
"""
from harness import *

FULL = os.environ.get("MEMTEST") == "full"
# image, processors, memory, tests left out
RUNS = [("vmlinuz", 1, "64M", ("6", "10")), ("vmlinuz", 2, "64M", ("6", "10")),
        ("vmlinuz-ia32", 2, "16M", ("6", "10"))]
if FULL:
    RUNS = [(image, cpus, "64M", ()) for image in ("vmlinuz", "vmlinuz-ia32") for cpus in (1, 2)]
SECONDS = 3000 if FULL else 150


def choose(g, without):
    """Digits are the menu's function keys: 1 settings, 1 test selection, 2 remove one test, 0 leave."""
    def key(text, answer):
        g.send(text)
        g.expect(answer)

    key("1", "Exit menu")
    key("1", "Current selection:")
    for number in without:
        key("2", "Enter test #")
        g.send(number)
        key("\r", "Current selection:")
    key("0", "CPU sequencing mode")
    key("0", "F1> Configuration")


(folder,) = prepare("memtest")
for image, cpus, memory, without in RUNS:
    g = Guest("--kernel", f"{folder}/{image}", "--append", "console=ttyS0", "--memory", memory, "--cpus", cpus)
    g.expect("F1> Configuration")
    g.expect("#0 ")
    if without:
        choose(g, without)
    start = time.monotonic()
    m = g.expect(r"Pass:  1 +Errors: (\d+)|Errors: ([1-9]\d*)", SECONDS)
    check(m[1] == "0", f"{image}: memory errors\n{g.log[-4000:]}")
    tests = {int(n) for n in re.findall(r"\[4;35H #(\d+) ", g.log)}
    # A test may be over before the screen is drawn again; but for the last, which waits for minutes.
    check(tests and not tests & {int(n) for n in without} and (without or 10 in tests), f"{image}: tests {sorted(tests)}, all but {without} wanted")
    if cpus > 1:
        check(f"{cpus} Cores" in g.log or f"{cpus} Threads" in g.log, f"{image}: not all processors:\n{g.log[:3000]}")
    g.process.terminate()
    g.process.wait()
    print(f"{image}, {cpus} cpu(s), {memory}: pass in {time.monotonic() - start:.0f} s")
