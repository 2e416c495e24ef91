#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Signals of the host at any instruction are no concern of the guest: thousands of them, to all threads, and stops, while guests compute what is
known. SIGNALS_SECONDS stretches the part under Linux."""
import ctypes, hashlib, random, shutil, signal, threading
from harness import *

if not shutil.which("gcc"):
    print("no compiler; install gcc")
    sys.exit(77)
if "asan" in subprocess.run(["ldd", VISOR], capture_output=True, text=True).stdout:
    print("the sanitizers want to be loaded first")
    sys.exit(77)
library, taken = os.path.join(TMP, "signals.so"), os.path.join(TMP, "taken")
subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", library, f"{TOP}/tests/system/signals.c", "-ldl"], check=True)
os.environ |= {"LD_PRELOAD": library, "SIGNALS_TAKEN": taken}
libc = ctypes.CDLL(None)
SYS_tgkill = 234
SECONDS = float(os.environ.get("SIGNALS_SECONDS", "15"))


class Sender(threading.Thread):
    """Sends to one process until it is told to end."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.over, self.stops = pid, False, 0
        self.start()

    def run(self):
        try:
            self.send(random.Random(self.pid))
        except (FileNotFoundError, ProcessLookupError):
            pass

    def send(self, source):
        while not self.over:
            threads = [int(t) for t in os.listdir(f"/proc/{self.pid}/task")]
            if len(threads) < 2:  # the handlers may not be there yet
                continue
            for _ in range(200):
                libc.syscall(SYS_tgkill, self.pid, source.choice(threads), signal.SIGUSR1)
                time.sleep(source.choice((0, 0, 0.00005, 0.0003)))
            os.kill(self.pid, signal.SIGSTOP)
            time.sleep(source.random() / 200)
            os.kill(self.pid, signal.SIGCONT)
            self.stops += 1

    def end(self):
        self.over = True
        self.join()


def counts():
    with open(taken) as f:
        return [int(n) for n in f.read().split()]


programs = os.path.join(TMP, "programs")
NAMES = ["codecache", "precise", "smchot", "mixed", "regen", "irqs"]
env = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
subprocess.run([f"{TOP}/tests/guest/build.sh", programs, *NAMES], check=True, env=env)
signals = guest = stops = 0
for name in 4 * NAMES:
    p = subprocess.Popen([VISOR, "run", "--engine", "jit", "--memory", "64M", "--kernel", f"{programs}/{name}.elf", "--debug-exit"],
                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    sender = Sender(p.pid)
    output = p.communicate(timeout=120 * PATIENCE)[0]
    sender.end()
    check(p.returncode == 33, f"{name}: status {p.returncode}\n{output[-2000:]}")
    signals, guest, stops = signals + counts()[0], guest + counts()[1], stops + sender.stops
print(f"programs: {signals} signals, {guest} of them in translated code, {stops} stops")
check(guest > 200, "too few to show anything")

BLOCKS = 4000
SUM = 0.0
for i in range(1, 30000):
    SUM += i / 7 * 1.5
WANT = hashlib.sha256(bytes(1024 * BLOCKS)).hexdigest()
g = linux("cloud-amd64", "--cpus", "2", "--engine", "jit")
sender = Sender(g.process.pid)
end = time.monotonic() + SECONDS
rounds = 0
while time.monotonic() < end:
    text = g.command(f"dd if=/dev/zero bs=1k count={BLOCKS} 2>/dev/null | sha256sum & for i in 1 2 3 4 5 6 7 8 9; do /bin/echo fork $i; done; "
                     "awk 'BEGIN { for (i = 1; i < 30000; i++) s += i / 7 * 1.5; printf \"%.6f\\n\", s }'; wait", timeout=60)
    check(WANT in text and re.findall(r"fork (\d)", text) == list("123456789"), f"round {rounds}: {text}")
    check(f"{SUM:.6f}" in text, f"round {rounds}: {text}")
    rounds += 1
sender.end()
g.command("echo alive")
g.check_log()
g.power_off()
signals, guest = counts()
print(f"Linux: {rounds} rounds, {signals} signals, {guest} of them in translated code, {sender.stops} stops")
check(guest > 1000, "too few to show anything")
