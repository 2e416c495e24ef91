# SPDX-License-Identifier: GPL-2.0-or-later
"""What is on a machine's screen: the PNG files of visor screenshot, and the text of text modes."""
import struct, zlib
from harness import *


def unfilter(kind, line, above):
    """A row of 24 bits a pixel; above: the one over it (PNG, 9.2)."""
    if kind == 0:
        return bytes(line)
    if kind == 2:
        return bytes([(a + b) & 255 for a, b in zip(line, above)])
    row = bytearray(len(line))
    for color in range(3):
        left = corner = 0
        out = []
        for byte, up in zip(line[color::3], above[color::3]):
            if kind == 1:
                guess = left
            elif kind == 3:
                guess = left + up >> 1
            else:
                # The one of the three that is nearest to left + up - corner.
                a, b = up - corner, left - corner
                c = abs(a + b)
                a, b = abs(a), abs(b)
                guess = left if a <= b and a <= c else up if b <= c else corner
                corner = up
            left = byte + guess & 255
            out.append(left)
        row[color::3] = bytes(out)
    return bytes(row)


def decode(png):
    """(width, height, rows of RGB bytes) of a PNG file of 24 bits without interlace."""
    check(png.startswith(b"\x89PNG\r\n\x1a\n"), "no PNG file")
    at, data = 8, b""
    while at < len(png):
        size, kind = struct.unpack(">I4s", png[at:at + 8])
        body = png[at + 8:at + 8 + size]
        if kind == b"IHDR":
            width, height, depth, color = struct.unpack(">IIBB", body[:10])
        elif kind == b"IDAT":
            data += body
        at += size + 12
    check((depth, color) == (8, 2), f"PNG of another kind: {depth} {color}")
    data, rows, above = zlib.decompress(data), [], bytes(3 * width)
    for y in range(0, len(data), 3 * width + 1):
        above = unfilter(data[y], data[y + 1:y + 1 + 3 * width], above)
        rows.append(above)
    check(len(rows) == height, f"{len(rows)} rows instead of {height}")
    return width, height, rows


def screenshot(name):
    path = os.path.join(TMP, "screen.png")
    visor("screenshot", name, "--output", path)
    with open(path, "rb") as f:
        return decode(f.read())


def expect_screen(name, problem, what, seconds=20):
    """Waits until problem(width, height, rows) finds nothing to say about the screen."""
    end = time.monotonic() + seconds * PATIENCE
    while text := problem(*screenshot(name)):
        check(time.monotonic() < end, f"{what} is not on the screen: {text}")
        time.sleep(0.2)


def expect_picture(name, wanted, what, seconds=20):
    """Waits until the screen shows these rows; a row is bytes, or a list of pixels, of which None may be of any colour."""
    def problem(width, height, rows):
        size = (len(wanted[0]) // (3 if isinstance(wanted[0], bytes) else 1), len(wanted))
        if (width, height) != size:
            return f"{width} x {height} pixels instead of {size[0]} x {size[1]}"
        wrong = [y for y in range(height) if not same_row(wanted[y], rows[y])]
        return f"{len(wrong)} rows differ, the first is {wrong[0]}" if wrong else ""
    expect_screen(name, problem, what, seconds)


def same_row(wanted, shown):
    if isinstance(wanted, bytes):
        return wanted == shown
    return all(pixel is None or pixel == shown[3 * x:3 * x + 3] for x, pixel in enumerate(wanted))


def screen(name):
    """The text on the screen, "" in a graphics mode."""
    status, answer = control(name, "GET", "/screen")
    check(status == 200, f"/screen: {status} {answer}")
    return answer["text"] or ""


def wait_for(name, text, seconds=30):
    """Waits until the screen has this text; all of its text."""
    end = time.monotonic() + seconds * PATIENCE
    shown = ""
    while time.monotonic() < end:
        try:
            shown = screen(name)
        except OSError:  # the machine is not there yet
            pass
        if text in shown:
            return shown
        time.sleep(0.1)
    check(False, f"'{text}' does not come onto the screen:\n{shown}")


def expect_grub_graphics(name, width, height):
    """At the menu of grub-rescue: a graphics mode by the VESA BIOS, black, with letters in the console's grey."""
    wait_for(name, "highlighted entry", 60)
    visor("key", name, "c")
    wait_for(name, "grub>")
    visor("type", name, f"insmod all_video; set gfxmode={width}x{height}x32; loadfont unicode; terminal_output gfxterm\n")

    def problem(shown_width, shown_height, rows):
        letters = sum(row.count(b"\xa8\xa8\xa8") for row in rows)
        right = (shown_width, shown_height) == (width, height) and letters > 50
        return "" if right else f"{shown_width} x {shown_height} pixels, {letters} of them of letters"
    expect_screen(name, problem, "GRUB's graphics terminal", 30)
