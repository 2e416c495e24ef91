#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's own driver plays by the Sound Blaster 16 of classic: the WAV file has the very samples; a save in the middle."""
import array, random, shutil, struct
from harness import *

(folder,) = prepare("pc-i386")
NAME = f"sound-{os.getpid()}"
heard, heard2 = os.path.join(TMP, "heard.wav"), os.path.join(TMP, "heard2.wav")


def noise(count, low, high):
    r = random.Random(count)
    return [r.randint(low, high) for _ in range(count)]


# Silence first: what is played before the buffer has been filled does not count.
SILENCE = 1024
bytes_ = [128] * SILENCE + noise(9000, 0, 255)
words = [0] * SILENCE + noise(100000, -32768, 32767)

# A player without a C library and the sounds become files of the guest by a second archive behind the first.
extra = os.path.join(TMP, "extra")
os.mkdir(extra)
r = subprocess.run(["gcc", "-m32", "-O1", "-static", "-nostdlib", "-ffreestanding", "-fno-pie", "-no-pie", "-fno-stack-protector", "-o",
                    f"{extra}/play", os.path.join(TOP, "tests/system/play.c")], capture_output=True, text=True)
if r.returncode:
    print("no compiler for i386:", r.stderr)
    sys.exit(77)
with open(f"{extra}/bytes", "wb") as f:
    f.write(bytes(bytes_))
with open(f"{extra}/words", "wb") as f:
    f.write(array.array("h", words).tobytes())
archive = subprocess.run(["cpio", "--quiet", "-o", "-H", "newc"], cwd=extra, input=b"play\nbytes\nwords\n", capture_output=True, check=True).stdout
initrd = os.path.join(TMP, "initrd")
with open(initrd, "wb") as to, open(f"{folder}/initrd.gz", "rb") as f:
    shutil.copyfileobj(f, to)
    to.write(b"\0" * (-to.tell() % 4) + archive)


def samples(path):
    """(rate, left, right) of a WAV file of 16 bits and two channels."""
    with open(path, "rb") as f:
        data = f.read()
    riff, size, wave, fmt, length, kind, channels, rate, _, _, bits, tag, count = struct.unpack("<4sI4s4sIHHIIHH4sI", data[:44])
    check((riff, wave, kind, channels, bits, tag) == (b"RIFF", b"WAVE", 1, 2, 16, b"data"), f"{path}: header {data[:44]}")
    check(size == len(data) - 8 and count == len(data) - 44, f"{path}: {len(data)} bytes, said {size} and {count}")
    both = array.array("h", data[44:])
    return rate, both[::2], both[1::2]


def find(channel, wanted, what):
    at = channel.tobytes().find(array.array("h", wanted).tobytes())
    check(at >= 0 and at % 2 == 0, f"{what}: what was played is not in what was heard")
    return at // 2




def boot():
    g = Guest("--name", NAME, "--machine", "classic", "--kernel", f"{folder}/vmlinuz", "--initrd", initrd, "--append", "console=ttyS0",
              "--memory", "256M", "--audio", f"wav:{heard}")
    g.expect(PROMPT, 60)
    g.command("rmmod snd-sb16 2>/dev/null; insmod /lib/modules/snd-sb16.ko isapnp=0 port=0x220 irq=5 dma8=1 dma16=5 mpu_port=0x330 "
              "fm_port=0x388")
    # The driver begins with silence: at full volume samples are heard as they are.
    port = "dd of=/dev/port bs=1 2>/dev/null seek="
    g.command(f"for r in 0 1 2 3; do printf \\\\x3$r | {port}548; printf '\\xf8' | {port}549; done")
    return g


g = boot()
cards = g.command("cat /proc/asound/cards /proc/asound/devices")
check("Sound Blaster 16" in cards, cards)
check("raw midi" in cards, f"no MPU-401:\n{cards}")
check("OPL" in g.command("cat /proc/asound/hwdep"), "no OPL3")
begin = time.monotonic()
g.command("/play 8 1 8000 </bytes")
took = time.monotonic() - begin
check(took >= len(bytes_) / 8000 * 0.9, f"{len(bytes_) / 8000:.2f} s of sound took {took:.2f} s")
interrupts = g.command("grep '^ *5:' /proc/interrupts")
check(int(interrupts.split()[1]) > 0, interrupts)
visor("stop", NAME, "--force")
g.wait(0)
rate, left, right = samples(heard)
check(rate == 8000, f"rate {rate}")
find(left, [(b - 128) * 256 for b in bytes_[SILENCE:]], "8 bits, left")
find(right, [(b - 128) * 256 for b in bytes_[SILENCE:]], "8 bits, right")
print("passed: 8 bits, mono")

# 16 bits, stereo; the machine is saved while it plays, and another goes on.
g = boot()
saved = os.path.join(TMP, "saved")
g.command("/play 16 2 11025 </words & true")
end = time.monotonic() + 20 * PATIENCE
while os.path.getsize(heard) < 4096 and time.monotonic() < end:
    time.sleep(0.05)
visor("save", NAME, saved, "--stop")
g.wait(0)
g = Guest("--restore", saved, "--audio", f"wav:{heard2}")
g.send("\n")
g.expect(PROMPT, 60)
g.command("wait")
g.power_off()
g.check_log()
_, left, right = samples(heard)
rate, left2, right2 = samples(heard2)
check(rate == 11025 and len(left2) > 1000, f"rate {rate}, {len(left2)} frames after the restore")
find(left + left2, words[SILENCE::2], "16 bits, left")
find(right + right2, words[SILENCE + 1::2], "16 bits, right")
print("passed: 16 bits, stereo, save and restore")
