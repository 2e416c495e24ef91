#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The SVGA adapter of classic: GRUB by its VGA BIOS, Debian's vmwgfx by its own mode, a screenshot pixel by pixel, a save."""
import random, shutil
from harness import *
from picture import *

folder, grub = prepare("pc-amd64", "grub-rescue")
NAME = f"svga-{os.getpid()}"
WIDTH, HEIGHT = 1280, 800


g = Guest("--name", NAME, "--machine", "classic", "--memory", "128M", "--cdrom", f"{grub}/grub-rescue-cdrom.iso")
expect_grub_graphics(NAME, 1024, 768)
visor("stop", NAME, "--force")
g.wait(0)
print("passed: BIOS")

# The picture comes into the guest by a second archive behind the first.
extra = os.path.join(TMP, "extra")
os.mkdir(extra)
r = random.Random(1)
rows = [bytes(r.getrandbits(8) for _ in range(3 * WIDTH)) for _ in range(HEIGHT)]
with open(f"{extra}/picture", "wb") as f:
    for row in rows:
        line = bytearray(4 * WIDTH)
        line[2::4], line[1::4], line[0::4] = row[0::3], row[1::3], row[2::3]
        f.write(line)
archive = subprocess.run(["cpio", "--quiet", "-o", "-H", "newc"], cwd=extra, input=b"picture\n", capture_output=True, check=True).stdout
initrd = os.path.join(TMP, "initrd")
with open(initrd, "wb") as to, open(f"{folder}/initrd.gz", "rb") as f:
    shutil.copyfileobj(f, to)
    to.write(b"\0" * (-to.tell() % 4) + archive)


g = Guest("--name", NAME, "--machine", "classic", "--kernel", f"{folder}/vmlinuz", "--initrd", initrd, "--append", "console=ttyS0", "--memory",
          "512M")
g.expect(PROMPT, 60)
modules = g.command("lsmod; cat /proc/fb")
check("vmwgfx" in modules, f"the guest has no vmwgfx: remove {folder} to have it made again\n{modules}")
check(g.command("cat /sys/class/graphics/fb0/stride").split()[-1] == str(4 * WIDTH), "another length of lines")
g.command("for v in /sys/class/vtconsole/*; do echo 0 >$v/bind; done 2>/dev/null; cat /picture >/dev/fb0")
expect_picture(NAME, rows, "the picture")
print("passed: picture")
saved = os.path.join(TMP, "saved")
visor("save", NAME, saved, "--stop")
g.wait(0)
g = Guest("--name", NAME, "--restore", saved)
g.send("\n")
g.expect(PROMPT, 60)
expect_picture(NAME, rows, "the picture")
# The driver goes on: the console comes back, which is dark but for some lines.
g.command("for v in /sys/class/vtconsole/*; do echo 1 >$v/bind; done 2>/dev/null; true")
expect_screen(NAME, lambda width, height, got: sum(not any(row) for row in got) <= HEIGHT // 2 and "it is not dark", "the console")
g.power_off()
g.check_log()
print("passed: save and restore")
