#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""vsock with Linux's driver: both sides connect, much data both ways at once, flow control, refusals, many connections, save and restore."""
import hashlib, os, socket, subprocess, threading
from harness import *

HERE = os.path.dirname(os.path.abspath(__file__))
SIZE = int(os.environ.get("VSOCK_MIB", "100")) << 20
PATH = os.path.join(TMP, "v")
shared = os.path.join(TMP, "shared")


def listen(port):
    s = socket.socket(socket.AF_UNIX)
    s.bind(f"{PATH}_{port}")
    s.listen(256)
    s.settimeout(60 * PATIENCE)
    return s


def connect(port):
    """A connection to the guest's port; None: it was refused."""
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(60 * PATIENCE)
    s.connect(PATH)
    s.sendall(f"CONNECT {port}\n".encode())
    line = b""
    while not line.endswith(b"\n"):
        byte = s.recv(1)
        if not byte:
            return None
        line += byte
    check(re.fullmatch(rb"OK \d+\n", line), f"the answer is {line}")
    return s


def exchange(s, data):
    """Sends data and at the same time receives until the end; the md5 of what came."""
    def send():
        s.sendall(data)
        s.shutdown(socket.SHUT_WR)
    thread = threading.Thread(target=send)
    thread.start()
    got, size = hashlib.md5(), 0
    while chunk := s.recv(1 << 20):
        got.update(chunk)
        size += len(chunk)
    thread.join()
    s.close()
    return got.hexdigest(), size


def transfers(g, data, sums):
    """100 MB each way, at once."""
    server = listen(5000)
    result = []
    thread = threading.Thread(target=lambda: result.append(exchange(server.accept()[0], data)))
    thread.start()
    out = g.command("/mnt/vsock_peer connect 5000 </mnt/to-host | md5sum", 240)
    thread.join()
    check(result == [(sums["to-host"], SIZE)], f"the host got {result}, not {sums['to-host']}, {SIZE}")
    check(out.split()[0] == sums["to-guest"], "the guest got other bytes")
    g.command("/mnt/vsock_peer listen 6000 </mnt/to-host 2>/tmp/ready | md5sum >/tmp/sum & until grep -q listens /tmp/ready; do sleep 0.1; done")
    check(exchange(connect(6000), data) == (sums["to-host"], SIZE), "the host that connected got other bytes")
    check(g.command("wait; cat /tmp/sum", 60).split()[0] == sums["to-guest"], "the guest that listened got other bytes")


def refusals(g):
    out = g.command("/mnt/vsock_peer connect 7777 </dev/null 2>&1; true")
    check("reset" in out.lower() or "refused" in out.lower(), out)
    check(connect(7777) is None, "the host reached a port where nobody listens")
    for line in (b"hello\n", b"CONNECT\n", b"CONNECT -1\n", b"CONNECT 99999999999\n", b"x" * 40, b"CONNECT 1 2\n"):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(20 * PATIENCE)
        s.connect(PATH)
        s.sendall(line)
        try:
            check(s.recv(10) == b"", f"an answer to {line}")
        except ConnectionResetError: # it went without having read all of the line
            pass


def slow_reader(g, sums):
    """The guest sends until nothing goes any more; then the host reads all of it."""
    server = listen(5001)
    g.command("(/mnt/vsock_peer connect 5001 </mnt/to-host >/tmp/from-host; echo $? >/tmp/status) & sleep 2")
    s = server.accept()[0]
    time.sleep(1)
    check("status" not in g.command("ls /tmp"), "the guest sent all of it to nobody")
    got, size = exchange(s, b"few words\n")
    check((got, size) == (sums["to-host"], SIZE), f"{size} bytes came")
    check(g.command("wait; cat /tmp/status /tmp/from-host", 60).split() == ["0", "few", "words"], "the guest's side")


def many(g):
    server = listen(5002)

    def echo(c):
        while data := c.recv(100):
            c.sendall(data)
        c.close()

    def serve():
        for _ in range(200):
            threading.Thread(target=echo, args=(server.accept()[0],), daemon=True).start()
    threading.Thread(target=serve, daemon=True).start()
    check("all" in g.command("/mnt/vsock_peer many 5002 200", 60), "200 connections")


def ends(g):
    """A side that goes away in the middle."""
    server = listen(5003)
    g.command("(/mnt/vsock_peer connect 5003 </dev/zero >/dev/null 2>/tmp/err; echo $? >/tmp/status) & sleep 0.5")
    s = server.accept()[0]
    s.recv(1 << 20)
    s.close()
    g.command("wait; ! grep -q '^0' /tmp/status", 60)
    g.command("sleep 1000 | /mnt/vsock_peer connect 5003 >/dev/null 2>&1 & sleep 0.5")
    s = server.accept()[0]
    g.command("killall -9 vsock_peer")
    check(s.recv(10) == b"", "no end of a killed guest program's connection")
    s.close()
    g.command("killall sleep; wait; true")


def save(g):
    server = listen(5004)
    g.command("cp /mnt/vsock_peer /tmp; umount /mnt; rm -f /tmp/err")
    g.command("/tmp/vsock_peer connect 5004 </dev/null >/dev/null 2>/tmp/err & sleep 0.5")
    s = server.accept()[0]
    g.send("echo mark\n")
    g.expect(r"^mark\r?$")
    visor("save", "vsock", f"{TMP}/saved", "--stop", timeout=120)
    g.wait(0)
    try:
        s.sendall(b"x" * (1 << 20))
        fail("the host's side lives on without its machine")
    except (BrokenPipeError, ConnectionResetError):
        pass
    g = Guest("--restore", f"{TMP}/saved", "--name", "vsock")
    g.send("\n")
    g.expect(PROMPT)
    g.command("until [ -e /tmp/err ] && grep -q recv /tmp/err; do sleep 0.1; done; wait")
    server2 = listen(5005)
    result = []
    thread = threading.Thread(target=lambda: result.append(exchange(server2.accept()[0], b"again\n")))
    thread.start()
    check(g.command("echo hello | /tmp/vsock_peer connect 5005").strip().startswith("again"), "after the restore")
    thread.join()
    check(result == [(hashlib.md5(b"hello\n").hexdigest(), 6)], result)
    return g


def main():
    os.mkdir(shared)
    subprocess.run(["gcc", "-O1", "-static", "-o", f"{shared}/vsock_peer", f"{HERE}/vsock_peer.c"], check=True)
    data = {name: os.urandom(SIZE) for name in ("to-host", "to-guest")}
    sums = {name: hashlib.md5(d).hexdigest() for name, d in data.items()}
    with open(f"{shared}/to-host", "wb") as f:
        f.write(data["to-host"])
    for bad in ("2", "x", "4294967295", "5,"):
        check("CID" in visor("run", "--vsock", bad, "--bios", status=2).stderr, bad)
    g = linux("devices-amd64", "--name", "vsock", "--vsock", f"42,{PATH}", "-v", f"{shared}:files")
    g.command("mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000 files /mnt")
    r = visor("run", "--vsock", f"43,{PATH}", "--bios", "--time-limit", "5", status=1)
    check("another program answers" in r.stderr, r.stderr)
    for part in (lambda g: transfers(g, data["to-guest"], sums), refusals, lambda g: slow_reader(g, sums), many, ends):
        part(g)
    print("passed: streams", flush=True)
    g = save(g)
    print("passed: save", flush=True)
    g.check_log()
    g.power_off()
    check(not os.path.exists(PATH), "the socket is left over")


main()
