#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""SeaBIOS from the reset vector shows its boot menu on the serial console; memtest86+ tests memory without error."""
from harness import *

prepare("seabios")
g = Guest("--bios", f"{GUESTS}/seabios/bios.bin", "--debugcon", f"{TMP}/debug")
g.expect(r"SeaBIOS \(version", 30)
g.expect(r"Press ESC for boot menu", 30)
g.send("\x1b")
g.expect(r"Select boot device", 30)
with open(f"{TMP}/debug") as f:
    check("SeaBIOS" in f.read(), "the debug port says nothing")
g.process.terminate()
g.wait(143)

folder, = prepare("memtest")
g = Guest("--memory", "64M", "--kernel", f"{folder}/vmlinuz", "--append", "console=ttyS0,115200")
g.expect(r"Memtest86\+", 30)
# The screen is drawn in pieces: the second test must begin, the count of errors stay 0.
g.expect(r"#[2-9] +\[", 120)
check(not re.search(r"Errors: *[1-9]", g.log), "memtest86+ found errors")
