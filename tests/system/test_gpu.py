#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The virtio GPU: Debian's driver with its console, a picture, a cursor and another size that a VNC viewer asks for, pixel by pixel; a save in
the middle. The VGA adapter in it with GRUB by its VESA BIOS; OVMF; micro, which has no other screen."""
import random
from harness import *
from picture import *
from vnc import *

folder, grub = prepare("media-amd64", "grub-rescue")
NAME = f"gpu-{os.getpid()}"
WIDTH, HEIGHT = 1024, 768  # at first
GREY = b"\xaa\xaa\xaa"


def modeset_picture(width, height, left, top):
    """What modeset.c shows: its picture, and its cursor where it is."""
    rows = []
    for y in range(height):
        row = bytearray(3 * width)
        row[0::3] = bytes(3 * x & 255 for x in range(width))
        row[1::3] = bytes([5 * y & 255]) * width
        row[2::3] = bytes((x ^ y) & 255 for x in range(width))
        rows.append(row)
    for y in range(64):
        for x in range(64):
            if 0 <= left + x < width and 0 <= top + y < height:
                at, alpha = 3 * (left + x), 4 * x
                pixel = rows[top + y][at:at + 3]
                rows[top + y][at:at + 3] = bytes(min(255, c * (255 - alpha) // 255 + (2 * y * alpha // 255 if i == 1 else 0)) for i, c in enumerate(pixel))
    return [bytes(row) for row in rows]


def console_problem(width, height, shown):
    if (width, height) != (WIDTH, HEIGHT):
        return f"{width} x {height} pixels"
    letters = [tuple(shown[y][24 * i:24 * i + 24] for y in range(16)) for i in range(13)]
    colors = {row[x:x + 3] for row in shown for x in range(0, len(row), 3)}
    if colors != {bytes(3), GREY} or letters[:6] != letters[6:12] or letters[1] != letters[4] or len(set(letters)) != 6:
        return f"colours {len(colors)}, {len(set(letters))} letters"
    return "" if not any(any(row[288:]) for row in shown[:16]) and not any(any(row) for row in shown[16:]) else "something is behind the text"


def expect_console():
    """Each of the same letters looks the same, and not like another one."""
    g.command("printf '\\033[?25l\\033[2J\\033[Hvirtiovirtio' >/dev/tty0")
    expect_screen(NAME, console_problem, "the console")


kernel = ("--kernel", f"{folder}/vmlinuz")
for arguments, text in ((("--machine", "classic", "--gpu", "virtio"), "VMware's SVGA"), (("--machine", "micro", "--vnc", "0"), "--gpu virtio"),
                        (("--gpu", "voodoo"), "voodoo")):
    r = visor("run", *kernel, *arguments, status=2)
    check(text in r.stderr, f"{arguments}: {r.stderr}")

# A random picture comes into the guest as a disk.
r = random.Random(1)
rows = [r.randbytes(3 * WIDTH) for _ in range(HEIGHT)]
port = free_port()
initrd = with_programs(f"{folder}/initrd.gz", modeset="tests/system/modeset.c")
picture = os.path.join(TMP, "picture")
with open(picture, "wb") as f:
    for row in rows:
        line = bytearray(4 * WIDTH)
        line[2::4], line[1::4], line[0::4] = row[0::3], row[1::3], row[2::3]
        f.write(line)
g = linux("media-amd64", "--name", NAME, "--gpu", "virtio", "--memory", "512M", "--vnc", str(port), "--disk", f"{picture},ro,format=raw", initrd=initrd)
check("virtio_gpudrmfb" in g.command("cat /proc/fb"), "the driver has no frame buffer")
check(g.command("wc -c </sys/class/drm/card0-Virtual-1/edid").strip() == "128", "no EDID")
modes = g.command("cat /sys/class/drm/card0-Virtual-1/modes").split()
check(modes[0] == f"{WIDTH}x{HEIGHT}", f"modes {modes}")

expect_console()
print("passed: console")

g.command("for v in /sys/class/vtconsole/*; do echo 0 >$v/bind; done 2>/dev/null; cat /dev/vda >/dev/fb0")
expect_picture(NAME, rows, "the picture")
viewer = Vnc(port)
viewer.start((DESKTOP_SIZE, EXTENDED_DESKTOP_SIZE))
check([bytes(row) for row in viewer.picture(WIDTH, HEIGHT)] == rows, "VNC shows another picture")
print("passed: picture")

saved = os.path.join(TMP, "saved")
visor("save", NAME, saved, "--stop")
g.wait(0)
g = Guest("--name", NAME, "--restore", saved, "--vnc", str(port))
g.send("\n")
g.expect(PROMPT, 60)
expect_picture(NAME, rows, "the picture after a restore")
print("passed: save and restore")

# A viewer asks for another size: the driver finds it, and a program takes it.
viewer = Vnc(port)
viewer.start((DESKTOP_SIZE, EXTENDED_DESKTOP_SIZE))
viewer.ask_size(1280, 720)
g.command("cd /sys/class/drm/card0-Virtual-1; until echo detect >status; head -n 1 modes | grep -q 1280x720; do sleep 0.1; done")
for left, top in (100, 50), (-10, 700):
    g.command(f"(modeset {left} {top} & echo $! >/tmp/pid) >/tmp/mode; until grep -q x /tmp/mode; do sleep 0.1; done")
    check(g.command("cat /tmp/mode").strip() == "1280 x 720", "another mode")
    wanted = modeset_picture(1280, 720, left, top)
    expect_picture(NAME, wanted, f"picture and cursor at {left}, {top}")
    check([bytes(row) for row in viewer.picture(1280, 720)] == wanted and not viewer.refused, "VNC shows another picture")
    g.command("kill $(cat /tmp/pid)")
g.power_off()
g.check_log()
print("passed: size and cursor")

# Without VGA.
g = linux("media-amd64", "--name", NAME, "--machine", "micro", "--gpu", "virtio", "--memory", "256M")
expect_console()
g.power_off()
g.check_log()
print("passed: micro")

# The VGA adapter in it: text, and a mode by the VESA BIOS.
g = Guest("--name", NAME, "--gpu", "virtio", "--memory", "128M", "--cdrom", f"{grub}/grub-rescue-cdrom.iso")
expect_grub_graphics(NAME, 800, 600)
visor("stop", NAME, "--force")
g.wait(0)
print("passed: BIOS")

if not os.path.exists("/usr/share/OVMF/OVMF_VARS_4M.fd"):
    print("no OVMF; install ovmf")
    sys.exit(0)
g = Guest("--name", NAME, "--gpu", "virtio", "--firmware", "uefi", "--memory", "256M", "--net", "none", "--boot", "network")
g.expect("BdsDxe", 120)
expect_screen(NAME, lambda width, height, shown: "" if (width, height) != (720, 400) and any(any(row) for row in shown) else
              f"{width} x {height} pixels, all dark or text", "what OVMF says", 60)
visor("stop", NAME, "--force")
g.wait(0)
print("passed: UEFI")
