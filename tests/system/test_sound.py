#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's own driver plays by the Sound Blaster 16 of classic: the WAV file has the very samples; a save in the middle."""
from harness import *
from wav import *

(folder,) = prepare("pc-i386")
NAME = f"sound-{os.getpid()}"
heard = os.path.join(TMP, "heard.wav")


bytes_ = [128] * SILENCE + noise(9000, 0, 255)
words = [0] * SILENCE + noise(100000, -32768, 32767)

initrd = with_player(f"{folder}/initrd.gz", "play", "fm", bytes=("B", bytes_), words=("h", words))


def boot():
    g = Guest("--name", NAME, "--machine", "classic", "--kernel", f"{folder}/vmlinuz", "--initrd", initrd, "--append", "console=ttyS0",
              "--memory", "256M", "--audio", f"wav:{heard}")
    g.expect(PROMPT, 60)
    g.command("rmmod snd-sb16 2>/dev/null; insmod /lib/modules/snd-sb16.ko isapnp=0 port=0x220 irq=5 dma8=1 dma16=5 mpu_port=0x330 "
              "fm_port=0x388")
    # The driver begins with silence: at full volume samples are heard as they are.
    port = "dd of=/dev/port bs=1 2>/dev/null seek="
    g.command(f"for r in 0 1 2 3 4 5; do printf \\\\x3$r | {port}548; printf '\\xf8' | {port}549; done")
    return g


g = boot()
cards = g.command("cat /proc/asound/cards /proc/asound/devices")
check("Sound Blaster 16" in cards, cards)
check("raw midi" in cards, f"no MPU-401:\n{cards}")
hwdep = g.command("cat /proc/asound/hwdep; ls /dev/snd")
check("OPL3 FM" in hwdep and "hwC0D0" in hwdep, hwdep)
begin = time.monotonic()
g.command("/play 8 1 8000 </bytes")
took = time.monotonic() - begin
check(took >= len(bytes_) / 8000 * 0.9, f"{len(bytes_) / 8000:.2f} s of sound took {took:.2f} s")
interrupts = g.command("grep '^ *5:' /proc/interrupts")
check(int(interrupts.split()[1]) > 0, interrupts)
g.command("/fm 580 4")
visor("stop", NAME, "--force")
g.wait(0)
rate, left, right = samples(heard)
check(rate == 8000, f"rate {rate}")
end = find(left, [(b - 128) * 256 for b in bytes_[SILENCE:]], "8 bits, left") + len(bytes_)
find(right, [(b - 128) * 256 for b in bytes_[SILENCE:]], "8 bits, right")
print("passed: 8 bits, mono")
# The driver sets the synthesizer's own rate aside: the file has that of what came first.
for channel in left[end:], right[end:]:
    check(abs(pitch(channel, rate) - 440) < 1, f"{pitch(channel, rate)} Hz, not 440")
    check(3500 < max(channel) <= 4084 and len(channel) > rate // 3, f"{len(channel)} frames up to {max(channel)}")
print("passed: FM synthesis")

play_over_save(boot(), NAME, heard, words, 11025)
