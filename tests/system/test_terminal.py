#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""visor on a terminal: raw mode, the escape key, and the terminal as it was after every kind of end."""
import fcntl, os, pty, signal, termios
from harness import *

folder, = prepare("cloud-amd64")
RUN = ["visor", "run", "--name", "terminal", "--kernel", f"{folder}/vmlinuz", "--initrd", f"{folder}/initrd.gz", "--append",
       "console=ttyS0"]
master, slave = pty.openpty()
before = termios.tcgetattr(slave)


def start():
    pid = os.fork()
    if pid == 0:
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        for fd in range(3):
            os.dup2(slave, fd)
        os.execv(VISOR, RUN)
    expect(b"Linux version", 20)
    check(not termios.tcgetattr(slave)[3] & (termios.ICANON | termios.ECHO | termios.ISIG), "the terminal is not raw")
    return pid


def expect(text, timeout=10):
    seen, end = b"", time.monotonic() + timeout * PATIENCE
    while text not in seen:
        left = end - time.monotonic()
        check(left > 0 and select.select([master], [], [], left)[0], f"{text!r} did not come: {seen[-2000:]!r}")
        seen += os.read(master, 65536)


def ended(pid, what):
    # Someone must read the terminal, or the program's last words block it.
    end = time.monotonic() + 20 * PATIENCE
    while True:
        got, status = os.waitpid(pid, os.WNOHANG)
        if got:
            break
        check(time.monotonic() < end, f"{what}: it does not end")
        if select.select([master], [], [], 0.1)[0]:
            os.read(master, 65536)
    check(termios.tcgetattr(slave) == before, f"{what}: the terminal was not put back")
    return os.waitstatus_to_exitcode(status)


pid = start()
expect(b"visor:/root# ", 60)
os.write(master, b"\x1d?")
expect(b"quit")
os.write(master, b"cat -v\r")
expect(b"cat -v")
os.write(master, b"x\x1d\x1dy\r")  # the escape key twice is one for the guest
expect(b"x^]y")
os.write(master, b"\x03")  # Ctrl-C is the guest's
expect(b"visor:/root# ")
os.write(master, b"\x1dq")
check(ended(pid, "Ctrl-] q") == 0, "Ctrl-] q: the status is not 0")

for signo, status in ((signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)):
    pid = start()
    os.kill(pid, signo)
    got = ended(pid, signo.name)
    check(got == status, f"{signo.name}: status {got} instead of {status}")

pid = start()
os.kill(pid, signal.SIGABRT)
check(ended(pid, "SIGABRT") != 0, "SIGABRT: status 0")

pid = start()
raw = termios.tcgetattr(slave)
os.kill(pid, signal.SIGTSTP)
os.waitpid(pid, os.WUNTRACED)
check(termios.tcgetattr(slave) == before, "stopped: the terminal was not put back")
os.kill(pid, signal.SIGCONT)
for _ in range(100):
    if termios.tcgetattr(slave) == raw:
        break
    time.sleep(0.1)
check(termios.tcgetattr(slave) == raw, "after SIGCONT the terminal is not raw again")
os.write(master, b"\x1dq")
check(ended(pid, "after SIGCONT") == 0, "after SIGCONT: the status is not 0")
