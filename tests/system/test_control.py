#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The control socket and the commands that use it, also with requests that make no sense."""
import os
from harness import *

g = linux("cloud-amd64", "--name", "ctl", "--stats", os.path.join(TMP, "stats.json"))
status, m = control("ctl", "GET", "/machine")
check(status == 200 and m["name"] == "ctl" and m["state"] == "running" and m["pid"] == g.process.pid, f"/machine: {m}")
check(json.loads(visor("list", "--json").stdout)[0]["name"] == "ctl", "list --json")
check("ctl" in visor("list").stdout, "list")
check(visor("run", "--name", "ctl", "--kernel", f"{GUESTS}/cloud-amd64/vmlinuz", status=1).stderr.count("ctl"), "two of one name")

# While paused, no instruction runs and no time passes.
begin, before = time.monotonic(), float(g.command("cut -d' ' -f1 /proc/uptime"))
visor("pause", "ctl")
visor("pause", "ctl")
a = json.loads(visor("stats", "ctl").stdout)["instructions"]
check("paused" in visor("list").stdout, "the state is not paused")
time.sleep(3)
b = json.loads(visor("stats", "ctl").stdout)["instructions"]
check(a == b, f"{b - a} instructions ran while paused")
visor("resume", "ctl")
visor("resume", "ctl")
after, end = float(g.command("cut -d' ' -f1 /proc/uptime")), time.monotonic()
check(after - before < end - begin - 2.9, f"time went on while paused: {before} {after}, {end - begin} outside")

for method, path, body, want in (
        ("GET", "/", None, 404), ("GET", "/../stats", None, 404), ("POST", "/machine", "{}", 405), ("GET", "/stop", None, 405),
        ("DELETE", "/save", None, 405), ("POST", "/save", None, 400), ("POST", "/save", "{", 400), ("POST", "/save", "[]", 400),
        ("POST", "/save", '{"file": 5}', 400), ("POST", "/save", '{"file": "relative"}', 400),
        ("POST", "/save", '{"file": "/tmp/x", "stop": 1}', 400), ("POST", "/save", b"\xff\xfe\x00", 400),
        ("POST", "/save", "[" * 50000, 400), ("POST", "/save", "x" * 70000, 413), ("GET", "/x" * 3000, None, 404)):
    status, answer = control("ctl", method, path, body)
    check(status == want and answer.get("error"), f"{method} {path[:40]}: {status} {answer}")

for raw in (b"\r\n\r\n", b"GET\r\n\r\n", b"\0" * 1000, os.urandom(5000), b"GET /machine HTTP/9.9\r\n\r\n", b"A" * 100000,
            b"POST /save HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
            b"POST /save HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20000):
    with socket.socket(socket.AF_UNIX) as c:
        c.settimeout(30 * PATIENCE)
        c.connect(f"{RUNDIR}/ctl.sock")
        try:
            c.sendall(raw)
            c.shutdown(socket.SHUT_WR)
            answer = c.recv(100)
            check(not answer.startswith(b"HTTP/1.1 2"), f"{raw[:40]}: {answer}")
        except OSError:
            pass
# More connections than it takes, all silent; when they are gone it takes others.
silent = [socket.socket(socket.AF_UNIX) for _ in range(30)]
for c in silent:
    c.settimeout(1)
    try:
        c.connect(f"{RUNDIR}/ctl.sock")
    except OSError:
        pass
for c in silent:
    c.close()
for _ in range(int(20 * PATIENCE)):
    try:
        check(control("ctl", "GET", "/machine")[0] == 200, "it does not answer any more")
        break
    except OSError:
        time.sleep(0.5)
else:
    fail("it takes no connections any more")

visor("reset", "ctl")
g.expect(r"Linux version", 30)
g.expect(PROMPT, 60)
# Nothing in this guest listens to the power button.
check("--force" in visor("stop", "ctl", "--timeout", "1", status=1).stderr, "stop gives no hint of --force")
visor("stop", "--force", "ctl")
g.wait(0)
check(not os.listdir(RUNDIR), f"left behind: {os.listdir(RUNDIR)}")
