#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The user network: DHCP, names, transfers both ways with checksums, port forwards, errors.

Runs in namespaces of its own where the host allows it: then a name server on the loopback's port 53 is
what the host's resolver asks.
"""
import socketserver
from blob import *

NAME = "server.visor.test"
SIZE = int(os.environ.get("NET_MEGABYTES", "100")) << 20

if "NET_INSIDE" not in os.environ:
    inside = ["unshare", "-rmn", sys.executable, os.path.abspath(__file__)]
    if subprocess.run(["unshare", "-rmn", "true"], capture_output=True).returncode:
        print("the host allows no namespaces: no name server of our own")
        sys.exit(77)
    sys.exit(subprocess.run(inside, env=dict(os.environ, NET_INSIDE="1")).returncode)

resolv = os.path.join(TMP, "resolv.conf")
with open(resolv, "w") as f:
    f.write("nameserver 127.0.0.1\n")
for command in (["ip", "link", "set", "lo", "up"], ["mount", "--bind", resolv, os.path.realpath("/etc/resolv.conf")]):
    subprocess.run(command, check=True)


def name_server():
    """Answers every question for an A record of NAME with 192.0.2.7 (RFC 1035, 4)."""
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("127.0.0.1", 53))
    question = b"".join(bytes([len(p)]) + p.encode() for p in NAME.split(".")) + b"\0"
    while True:
        data, peer = s.recvfrom(512)
        known, a = data[12:12 + len(question)].lower() == question, data[12 + len(question):14 + len(question)] == b"\0\1"
        answers = 1 if known and a else 0
        head = data[:2] + (b"\x81\x80" if known else b"\x81\x83") + b"\0\1" + bytes([0, answers]) + b"\0\0\0\0"
        end = data.index(b"\0", 12) + 5
        s.sendto(head + data[12:end] + (b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + bytes([192, 0, 2, 7])) * answers, peer)


# Listens for so many at once.
socketserver.TCPServer.request_queue_size = 512


class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        while line := self.rfile.readline():
            self.wfile.write(line)


def dial(port, what=b"", kind=socket.SOCK_STREAM, address="127.0.0.1"):
    """Sends to a port of the host; what comes back."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind) as c:
        c.settimeout(20 * PATIENCE)
        c.connect((address, port))
        c.sendall(what)
        if kind == socket.SOCK_DGRAM:
            return c.recv(65536)
        c.shutdown(socket.SHUT_WR)
        data = b""
        while part := c.recv(65536):
            data += part
        return data


blob = os.urandom(1 << 20) * (SIZE >> 20)
threading.Thread(target=name_server, daemon=True).start()
server = BlobServer(blob)

capture = os.path.join(TMP, "frames.pcap")
folder, = prepare("cloud-amd64")
initrd = with_programs(f"{folder}/initrd.gz", net_peer="tests/system/net_peer.c")
g = linux("cloud-amd64", "--name", "net", "--memory", "1G", "--cpus", "2", "-p", "8080:80", "--hostfwd", "127.0.0.1:8053:53/udp", "-p", "[::1]:8080:80",
          "--capture", capture, initrd=initrd)
g.command("ip link set eth0 up; udhcpc -i eth0 -n -q")
check("10.0.2.15/24" in g.command("ip addr show eth0"), "no address by DHCP")
check("192.0.2.7" in g.command(f"nslookup {NAME}"), "the name is not resolved")
check("NXDOMAIN" in g.command("nslookup other.visor.test || true"), "a name that is not there")
g.command("ping -c 3 -w 10 10.0.2.2")

# Down, into memory, with its checksum; and up again.
g.command("mount -t tmpfs -o size=600m tmpfs /mnt")
begin = time.monotonic()
server.down(g, "10.0.2.2", "/mnt/blob")
middle = time.monotonic()
server.check_file(g, "user network", "/mnt/blob")
start = time.monotonic()
server.up(g, "10.0.2.2", "up", "/mnt/blob")
print(f"down {8 * len(blob) / 1e9 / (middle - begin):.2f} Gbit/s, up {8 * len(blob) / 1e9 / (time.monotonic() - start):.2f} Gbit/s")
server.check_received("user network", "up")

# Many connections at once.
echo = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo)
echo.daemon_threads = True
threading.Thread(target=echo.serve_forever, daemon=True).start()
check("500 connections are good" in g.command(f"net_peer many 10.0.2.2 {echo.server_address[1]} 500", 60), "500 connections")

# Forwards: the first from the start, others while it runs.
g.command("mkdir -p /tmp/www; echo from-the-guest >/tmp/www/index.html; httpd -p 80 -h /tmp/www; net_peer udp 53 >/tmp/udp & sleep 1; cat /tmp/udp")
check(b"from-the-guest" in dial(8080, b"GET / HTTP/1.0\r\n\r\n"), "the forward of port 8080")
check(b"from-the-guest" in dial(8080, b"GET / HTTP/1.0\r\n\r\n", address="::1"), "the forward of port 8080 by IPv6")
check(dial(8053, b"echo", socket.SOCK_DGRAM) == b"echo", "the forward of UDP port 8053")
check(len(dial(8053, b"x" * 20000, socket.SOCK_DGRAM)) == 20000, "a large datagram")
visor("net", "net", "-p", "8081:80")
check(b"from-the-guest" in dial(8081, b"GET / HTTP/1.0\r\n\r\n"), "a forward that was added")
listing = json.loads(visor("net", "net", "--json").stdout)
check(listing[0]["forwards"] == ["127.0.0.1:8080:80/tcp", "127.0.0.1:8053:53/udp", "[::1]:8080:80/tcp", "127.0.0.1:8081:80/tcp"], f"{listing}")
check("8081:80" in visor("net", "net").stdout, "the list of forwards")
check("already" in visor("net", "net", "-p", "8081:81", status=1).stderr, "a port twice")
check(str(server.server_port) in visor("net", "net", "-p", f"{server.server_port}:80", status=1).stderr, "a port that is taken")
visor("net", "net", "--remove", "8081:80")
check("no forward" in visor("net", "net", "--remove", "8081:80", status=1).stderr, "a forward that is not there")
try:
    dial(8081)
    fail("the forward is still there")
except ConnectionRefusedError:
    pass
for body, want in (("{}", 400), ('{"forward": 5}', 400), ('{"forward": "80"}', 400), ('{"forward": "1:2", "nic": 1}', 400),
                   ('{"forward": "1:2", "nic": -1}', 400)):
    status, answer = control("net", "POST", "/net/forward", body)
    check(status == want and answer.get("error"), f"{body}: {status} {answer}")

# A saved machine has its network again, with its address and its forwards.
save = os.path.join(TMP, "net.save")
visor("save", "--stop", "net", save)
g.wait(0)
check(os.path.getsize(capture) > 2 * len(blob), "the capture is too small")
with open(capture, "rb") as f:
    check(f.read(4) == b"\x4d\x3c\xb2\xa1", "no pcap file")
g = Guest("--restore", save, "--name", "net")
g.send("\n")
g.expect(PROMPT)
check(b"from-the-guest" in dial(8080, b"GET / HTTP/1.0\r\n\r\n"), "the forward after a restore")
g.command("ping -c 1 -w 10 10.0.2.2")
g.command("rmmod virtio_net; insmod /lib/modules/virtio_net.ko; ip link set eth0 up; udhcpc -i eth0 -n -q")
g.command("ping -c 1 -w 10 10.0.2.2")
g.check_log()
g.power_off()

kernel = os.path.join(GUESTS, "cloud-amd64", "vmlinuz")
for arguments, status, text in (
        (["--net", "usr"], 2, "user, switch"), (["--net", "user:x"], 2, "leave out"), (["--net", "user,model=ne2000"], 2, "virtio"),
        (["--net", "user,mac=1"], 2, "52:54"), (["--net", "user,mac=01:00:00:00:00:01"], 2, "even"), (["--net", "none", "-p", "1:2"], 2, "--net user"),
        (["-p", "x"], 2, "HOSTPORT"), (["-p", f"{server.server_port}:80"], 1, str(server.server_port)), (["-p"], 2, "missing")):
    check(text in visor("run", "--kernel", kernel, *arguments, status=status).stderr, f"{arguments}: the error does not say '{text}'")
