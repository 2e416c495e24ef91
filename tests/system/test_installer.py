#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The text-mode Debian installer shows its first dialogue on the serial console and takes keys."""
from harness import *

folder, = prepare("installer-amd64")
g = Guest("--memory", "1G", "--kernel", f"{folder}/vmlinuz", "--initrd", f"{folder}/initrd.gz", "--append", "console=ttyS0")
g.expect(r"Select a language", 120)
g.expect(r"English", 30)
g.send("\r")  # English, the default
g.expect(r"Select your location", 60)
g.send("\x1b\x1b")  # back
g.check_log()
