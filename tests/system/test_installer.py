#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's text-mode installer shows its first dialogue on the serial console and takes keys."""
from harness import *

DOWN, UP, ENTER = "\x1b[B", "\x1b[A", "\r"
# A cell of newt's list that is shown as chosen: red background.
CHOSEN = r"\x1b\[[0-9;]*41m\s*"

folder, = prepare("installer-amd64")
# With less than 1 GB it says so first, in a dialogue of its own, and does not ask for a language.
g = Guest("--kernel", f"{folder}/vmlinuz", "--initrd", f"{folder}/initrd.gz", "--append", "console=ttyS0", "--memory", "1G")
g.expect("Select a language", 90)
g.expect("Choose the language", 20)
g.expect(CHOSEN + "English", 20)
g.send(UP)
g.expect(CHOSEN + "C ", 20)
g.send(DOWN)
g.expect(CHOSEN + "English", 20)
g.send(ENTER)
g.expect("Select your location", 60)
g.expect(CHOSEN + "United States", 20)
g.check_log()
print("the installer's first two dialogues: ok")
