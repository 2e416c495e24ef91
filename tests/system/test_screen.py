#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""GRUB's rescue disks on the VGA screen, from a CD-ROM and from a floppy: text, pictures, keys, and the same by VNC."""
from harness import *
from picture import *
from vnc import *

(folder,) = prepare("grub-rescue")
ISO, FLOPPY = f"{folder}/grub-rescue-cdrom.iso", f"{folder}/grub-rescue-floppy.img"
NAME = f"screen-{os.getpid()}"


def differences(a, b):
    return sum(p != q for p, q in zip(a, b))


# From the CD-ROM: the menu, a picture of it, the command line.
port = free_port()
g = Guest("--name", NAME, "--cdrom", ISO, "--memory", "128M", "--vnc", str(port))
wait_for(NAME, "highlighted entry")
visor("key", NAME, "c")
shown = wait_for(NAME, "grub>")
visor("type", NAME, "ls (cd)/boot/grub\nset A=\"Aa_(1);~|\"\necho $A\n")
shown = wait_for(NAME, "i386-pc/")
shown = wait_for(NAME, "\nAa_(1);~|\n")
width, height, rows = screenshot(NAME)
check((width, height) == (720, 400), f"the picture has {width} x {height} pixels")
colors = {bytes(row[x:x + 3]) for row in rows for x in range(0, len(row), 3)}
check(colors == {b"\0\0\0", b"\xaa\xaa\xaa"}, f"colours of the text: {colors}")
lit = sum(row.count(b"\xaa\xaa\xaa") for row in rows)
check(1000 < lit < 20000, f"{lit} pixels are lit")

# A client sees the same, but for the cursor, and its keys arrive.
vnc = Vnc(port)
vnc.start()
check(vnc.title == f"visor: {NAME}", vnc.title)
picture = vnc.picture(width, height)
changed = sum(differences(a, b) for a, b in zip(rows, picture))
check(changed <= 3 * 9 * 4, f"{changed} bytes differ from the screenshot")
for character in "echo vnc":
    vnc.key(ord(character))
vnc.key(0xff0d)
wait_for(NAME, "\nvnc\n")
visor("key", NAME, "ctrl-alt-delete")
wait_for(NAME, "SeaBIOS")
wait_for(NAME, "highlighted entry")
visor("stop", NAME, "--force")
g.wait(0)

# From the floppy; a password is asked for when there is one.
password = os.path.join(TMP, "password")
with open(password, "w") as f:
    f.write("secret\n")
g = Guest("--name", NAME, "--floppy", f"{FLOPPY},ro", "--memory", "128M", "--vnc", str(port), "--vnc-password", password)
wait_for(NAME, "highlighted entry", 60)
visor("key", NAME, "c")
wait_for(NAME, "grub>")
visor("type", NAME, "ls (fd0)/\n")
wait_for(NAME, "boot.catalog")
vnc = Vnc(port)
check(list(vnc.security) == [2], f"security types {list(vnc.security)}")
vnc.sock.sendall(b"\x02")
vnc.take(16)
vnc.sock.sendall(bytes(16)) # not the challenge encrypted by the password
check(vnc.take(4) == b"\0\0\0\1", "a wrong password is accepted")
visor("stop", NAME, "--force")
g.wait(0)
