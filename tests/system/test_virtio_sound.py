#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Linux's driver (built from Debian's source: its kernels leave it out) plays by the virtio sound card: the WAV file has the very samples; a save
in the middle; what is recorded is silence."""
from harness import *
from wav import *

(folder,) = prepare("media-amd64")
NAME = f"sound-{os.getpid()}"
heard, heard2 = os.path.join(TMP, "heard.wav"), os.path.join(TMP, "heard2.wav")
bytes_ = [128] * SILENCE + noise(9000, 0, 255)
words = [0] * SILENCE + noise(100000, -32768, 32767)
initrd = with_player(f"{folder}/initrd.gz", bytes=("B", bytes_), words=("h", words))


def boot(path):
    g = linux("media-amd64", "--name", NAME, "--memory", "256M", "--audio", f"wav:{path}", initrd=initrd)
    g.command("insmod /lib/modules/virtio_snd.ko")
    return g


g = boot(heard)
cards = g.command("cat /proc/asound/cards /proc/asound/pcm")
check("VirtIO SoundCard" in cards and "playback 1 : capture 1" in cards, cards)
begin = time.monotonic()
g.command("/play 8 1 8000 </bytes")
took = time.monotonic() - begin
check(took >= len(bytes_) / 8000 * 0.9, f"{len(bytes_) / 8000:.2f} s of sound took {took:.2f} s")
begin = time.monotonic()
check(g.command("head -c 4000 /dev/dsp | tr -d '\\200' | wc -c").strip() == "0", "there is something in the silence")
check(time.monotonic() - begin >= 0.4, "half a second was recorded too fast")
g.check_log()
g.power_off()
rate, left, right = samples(heard)
check(rate == 8000, f"rate {rate}")
find(left, [(b - 128) * 256 for b in bytes_[SILENCE:]], "8 bits, left")
find(right, [(b - 128) * 256 for b in bytes_[SILENCE:]], "8 bits, right")
print("passed: 8 bits, mono")

# 16 bits, stereo; the machine is saved while it plays, and another goes on.
g = boot(heard)
saved = os.path.join(TMP, "saved")
g.command("/play 16 2 22050 </words & true")
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
check(rate == 22050 and len(left2) > 1000, f"rate {rate}, {len(left2)} frames after the restore")
find(left + left2, words[SILENCE::2], "16 bits, left")
find(right + right2, words[SILENCE + 1::2], "16 bits, right")
print("passed: 16 bits, stereo, save and restore")
