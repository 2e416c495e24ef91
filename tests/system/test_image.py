#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Images: import by file and URL with interruptions, Debian built from packages, machines over its image.

The long form: IMAGE_BYTES=1G IMAGE_CONNECTIONS=500. Runs in namespaces of its own where the host allows it: then a name server on
the loopback's port 53 is what the host's resolver asks.
"""
import hashlib, http.server, shutil, signal, socketserver, threading
from harness import *

UNITS = {"K": 10, "M": 20, "G": 30}
text = os.environ.get("IMAGE_BYTES", "100M")
BYTES = int(text.rstrip("KMG")) << UNITS.get(text[-1], 0)
CONNECTIONS = int(os.environ.get("IMAGE_CONNECTIONS", "100"))
NAME = "server.visor.test"

if "IMAGE_INSIDE" not in os.environ:
    for tool in ("mmdebstrap", "ssh", "ssh-keygen", "qemu-img"):
        if not shutil.which(tool):
            print(f"{tool} is missing")
            sys.exit(77)
    prepare("debian-amd64")
    own = subprocess.run(["unshare", "-rmn", "true"], capture_output=True).returncode == 0
    inside = ["unshare", "-rmn"] if own else []
    sys.exit(subprocess.run([*inside, sys.executable, os.path.abspath(__file__)], env=dict(os.environ, IMAGE_INSIDE="1" if own else "0")).returncode)

OWN_NETWORK = os.environ["IMAGE_INSIDE"] == "1"
if OWN_NETWORK:
    resolv = os.path.join(TMP, "resolv.conf")
    with open(resolv, "w") as f:
        f.write("nameserver 127.0.0.1\n")
    for command in (["ip", "link", "set", "lo", "up"], ["mount", "--bind", resolv, os.path.realpath("/etc/resolv.conf")]):
        subprocess.run(command, check=True)

DATA = os.path.join(TMP, "data")
os.environ["XDG_DATA_HOME"] = DATA
socketserver.TCPServer.request_queue_size = 1024


def name_server():
    """Answers every question for an A record of NAME with 192.0.2.7 (RFC 1035, 4)."""
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("127.0.0.1", 53))
    question = b"".join(bytes([len(p)]) + p.encode() for p in NAME.split(".")) + b"\0"
    while True:
        data, peer = s.recvfrom(512)
        end = data.index(b"\0", 12) + 5
        known = data[12:end - 4].lower() == question
        answer = known and data[end - 4:end - 2] == b"\0\1"
        head = data[:2] + (b"\x81\x80" if known else b"\x81\x83") + b"\0\1" + bytes([0, answer]) + b"\0\0\0\0"
        s.sendto(head + data[12:end] + (b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + bytes([192, 0, 2, 7])) * answer, peer)


class Server(http.server.BaseHTTPRequestHandler):
    """Files by name; `cut` breaks the connection after so many bytes of the next answers, `hold` stops there instead."""
    protocol_version = "HTTP/1.1"
    files, etags, cut, requests, received = {}, {}, [], [], {}
    ranges = True
    holding, hold = threading.Event(), None

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        name = self.path[1:]
        Server.requests.append((name, self.headers.get("Range"), self.headers.get("If-Range")))
        data = Server.files.get(name)
        if data is None:
            self.send_error(404)
            return
        begin, asked, condition = 0, self.headers.get("Range"), self.headers.get("If-Range")
        etag = Server.etags.get(name)
        if asked and Server.ranges and (condition is None or condition == etag):
            begin = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
        else:
            self.send_response(200)
        if etag:
            self.send_header("ETag", etag)
        self.send_header("Content-Length", str(len(data) - begin))
        self.end_headers()
        limit = Server.cut.pop(0) if Server.cut else None
        try:
            self.wfile.write(data[begin:] if limit is None else data[begin:begin + limit])
        except ConnectionError:
            pass  # an answer that is of no use is not read to its end
        if limit is not None:
            self.wfile.flush()
            if Server.hold:
                Server.holding.set()
                Server.hold.wait(60 * PATIENCE)
            self.close_connection = True

    def do_PUT(self):
        left, digest = int(self.headers["Content-Length"]), hashlib.sha256()
        if "100-continue" in self.headers.get("Expect", ""):
            pass  # the base class has answered
        while left:
            data = self.rfile.read(min(left, 1 << 20))
            digest.update(data)
            left -= len(data)
        Server.received[self.path] = digest.hexdigest()
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()


class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        while line := self.rfile.readline():
            self.wfile.write(line)


if OWN_NETWORK:
    threading.Thread(target=name_server, daemon=True).start()
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
HOST_URL = f"http://127.0.0.1:{server.server_port}"


def images():
    return {i["name"]: i for i in json.loads(visor("image", "list", "--json").stdout)}


def sha256(data):
    return hashlib.sha256(data).hexdigest()


# --- imports ---

def make(name, kind, seed, *options):
    """An image with the same 8 MiB at its start for the same seed; its path and its bytes."""
    raw, path = os.path.join(TMP, "raw"), os.path.join(TMP, name)
    with open(raw, "wb") as f:
        f.write(hashlib.sha256(seed.encode()).digest() * (1 << 18))
        f.truncate(32 << 20)
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", kind, *options, raw, path], check=True)
    with open(path, "rb") as f:
        return path, f.read()


def same(name, path):
    r = subprocess.run(["qemu-img", "compare", images()[name]["path"], path], capture_output=True, text=True)
    check(r.returncode == 0, f"the image {name} is not as {path}: {r.stdout}{r.stderr}")


for kind, ending in (("raw", "img"), ("qcow2", "qcow2"), ("vmdk", "vmdk"), ("vdi", "vdi"), ("vpc", "vhd"), ("vhdx", "vhdx")):
    path, _ = make(f"by-{kind}.{ending}", kind, kind)
    check(visor("image", "import", path).stdout.strip() == f"by-{kind}", "the name of an import")
    r = subprocess.run(["qemu-img", "compare", images()[f"by-{kind}"]["path"], os.path.join(TMP, "raw")], capture_output=True, text=True)
    check("identical" in r.stdout, f"{kind}: {r.stdout}{r.stderr}")
    visor("image", "rm", f"by-{kind}")
check(images() == {}, "images that are gone are listed")
print("passed: import of every format", flush=True)

path, data = make("net.qcow2", "qcow2", "net")
Server.files["net.qcow2"], Server.etags["net.qcow2"] = data, '"one"'
url = f"{HOST_URL}/net.qcow2"
# A wrong checksum leaves nothing, the right one is good.
wrong = visor("image", "import", url, "--sha256", "0" * 64, status=1)
check(sha256(data) in wrong.stderr and images() == {}, f"a wrong checksum: {wrong.stderr}")
check("64" in visor("image", "import", url, "--sha256", "abc", status=2).stderr, "no checksum")
visor("image", "import", url, "--sha256", sha256(data).upper())
same("net", path)
check("already" in visor("image", "import", url, status=1).stderr, "an image twice")
visor("image", "rm", "net")

# Connections that break: the next request asks for the rest, of the same file.
Server.requests, Server.cut = [], [len(data) // 4, len(data) // 4]
visor("image", "import", url, "--name", "broken")
same("broken", path)
check(Server.requests == [("net.qcow2", None, None), ("net.qcow2", f"bytes={len(data) // 4}-", '"one"'),
                          ("net.qcow2", f"bytes={len(data) // 4 * 2}-", '"one"')], f"{Server.requests}")

# A killed import goes on in the next one; when the file is another by then, it comes whole.
other_path, other = make("other.qcow2", "qcow2", "other")
for change in (False, True):
    Server.requests, Server.cut, Server.hold = [], [len(data) // 2], threading.Event()
    Server.holding.clear()
    p = subprocess.Popen([VISOR, "image", "import", url, "--name", f"killed-{change}"], stdout=subprocess.DEVNULL)
    check(Server.holding.wait(30 * PATIENCE), "the import asks for nothing")
    parts = [n for n in os.listdir(f"{DATA}/visor/images") if n.startswith(".part-") and not n.endswith(".tag")]
    end = time.monotonic() + 30 * PATIENCE
    while os.path.getsize(f"{DATA}/visor/images/{parts[0]}") < len(data) // 2 and time.monotonic() < end:
        time.sleep(0.05)
    p.send_signal(signal.SIGKILL)
    p.wait()
    Server.hold.set()
    Server.hold = None
    if change:
        Server.files["net.qcow2"], Server.etags["net.qcow2"] = other, '"two"'
    visor("image", "import", url, "--name", f"killed-{change}")
    same(f"killed-{change}", other_path if change else path)
    check(Server.requests[1] == ("net.qcow2", f"bytes={len(data) // 2}-", '"one"'), f"{Server.requests}")
left = [n for n in os.listdir(f"{DATA}/visor/images") if n.startswith(".")]
check(not left, f"left behind: {left}")

# A server that knows no ranges or says nothing about its files.
for etag, ranges in ((None, True), ('"three"', False)):
    Server.files["plain.img"], Server.etags["plain.img"], Server.ranges, Server.cut = data, etag, ranges, [len(data) // 2]
    visor("image", "import", f"{HOST_URL}/plain.img", "--name", "plain")
    same("plain", path)
    visor("image", "rm", "plain")
Server.ranges = True
for what, text in ((f"{HOST_URL}/none.img", "404"), ("http://127.0.0.1:1/x.img", "127.0.0.1"), ("/nowhere.img", "/nowhere.img"), ("ftp://127.0.0.1/x", "ftp")):
    check(text in visor("image", "import", what, status=1).stderr, f"import {what}: the error does not say {text}")
subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", path, "-F", "qcow2", os.path.join(TMP, "over.qcow2")], check=True)
with open(os.path.join(TMP, "over.qcow2"), "rb") as f:
    Server.files["over.qcow2"] = f.read()
check("differs from another" in visor("image", "import", f"{HOST_URL}/over.qcow2", status=1).stderr, "an image that leads to a file of the host")
for name in images():
    visor("image", "rm", name)
print("passed: import by URL", flush=True)

# --- Debian ---

key, hosts = os.path.join(TMP, "key"), os.path.join(TMP, "known_hosts")
subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
disk = os.path.join(GUESTS, "debian-amd64", "disk.qcow2")
visor("image", "import", disk, "--name", "debian", timeout=300)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Machine(Guest):
    def __init__(self, name, *arguments):
        self.name, self.ssh_port, self.port = name, free_port(), free_port()
        super().__init__("debian", "--name", name, "--memory", "1G", "--cpus", "2", "-p", f"{self.ssh_port}:22", "-p", f"{self.port}:7000", *arguments)

    def wait_for_login(self):
        """The prompt comes on the serial line; SSH may be a moment later, and cloud-init starts it anew before it is done."""
        self.expect(rf"{self.name}-host login:", 240)
        end = time.monotonic() + 120 * PATIENCE
        while self.ssh("cloud-init status --wait", 240, status=None).returncode == 255:
            check(time.monotonic() < end and self.process.poll() is None, f"no SSH\n{self.log[-3000:]}\n{self.stderr()}")
            self.read(1)

    def ssh(self, line, timeout=60, status=0, user="tester"):
        r = subprocess.run(["ssh", "-F", "none", "-i", key, "-p", str(self.ssh_port), "-o", f"UserKnownHostsFile={hosts}", "-o", f"HostKeyAlias={self.name}",
                            "-o", "StrictHostKeyChecking=accept-new", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={int(20 * PATIENCE)}",
                            f"{user}@127.0.0.1", line], capture_output=True, text=True, timeout=timeout * PATIENCE, stdin=subprocess.DEVNULL)
        check(status is None or r.returncode == status, f"ssh '{line}': status {r.returncode}\n{r.stdout}\n{r.stderr}")
        return r if status is None else r.stdout.strip()

    def stop(self):
        visor("stop", self.name, "--timeout", int(60 * PATIENCE), timeout=90)
        self.wait(0)
        self.check_log()


web = Machine("web", "--user", "tester", "--ssh-key", f"{key}.pub", "--hostname", "web-host")
web.wait_for_login()
check(web.ssh("cloud-init status --wait", 240).endswith("status: done"), "cloud-init is not content")
check(web.ssh("hostname; id -un; sudo id -un").split() == ["web-host", "tester", "root"], "host name, user, sudo")
check(web.ssh("id", status=None, user="debian").returncode == 255, "another user may log in, too")
check("CIDATA" in web.ssh("lsblk -n -o LABEL /dev/vdb"), "the seed")
check(web.ssh("systemctl is-system-running --wait", status=None).stdout.strip() == "running", web.ssh("systemctl --failed"))
print("passed: Debian with cloud-init, SSH by a forwarded port", flush=True)

# Both ways, with checksums.
blob = os.urandom(1 << 20) * (BYTES >> 20)
Server.files["blob"] = blob
guest_url = f"http://10.0.2.2:{server.server_port}"
seconds = 60 + BYTES / (2 << 20)
web.ssh(f"curl -sS -f -o /tmp/blob {guest_url}/blob", seconds)
check(sha256(blob) in web.ssh("sha256sum /tmp/blob", seconds), "the file came damaged")
web.ssh(f"curl -sS -f -T /tmp/blob {guest_url}/up", seconds)
check(Server.received.get("/up") == sha256(blob), "what was sent arrived damaged")
web.ssh("rm /tmp/blob")
print(f"passed: {BYTES >> 20} MiB by curl both ways", flush=True)

if OWN_NETWORK:
    check("192.0.2.7" in web.ssh(f"getent ahostsv4 {NAME}"), "the name is not resolved")
    check(web.ssh(f"getent ahostsv4 other.visor.test", status=None).returncode == 2, "a name that is not there")
    print("passed: names by the user network", flush=True)

# Connections that are all open at once, to the host and to the guest; each has lines of its own to carry.
MANY = """
import resource, socket, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
host, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
all = [socket.create_connection((host, port), 240) for _ in range(count)]
for turn in range(3):
    for i, s in enumerate(all):
        s.sendall(b"%d %d\\n" % (turn, i))
    for i, s in enumerate(all):
        want, got = b"%d %d\\n" % (turn, i), b""
        while len(got) < len(want):
            part = s.recv(len(want) - len(got))
            assert part, (i, got)
            got += part
        assert got == want, (got, want)
print(count, "good")
"""
ECHO = """
import socketserver
class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        while line := self.rfile.readline():
            self.wfile.write(line)
socketserver.TCPServer.request_queue_size = 1024
s = socketserver.ThreadingTCPServer(("", 7000), Echo)
s.daemon_threads = True
print("ready", flush=True)
s.serve_forever()
"""
echo = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo)
echo.daemon_threads = True
threading.Thread(target=echo.serve_forever, daemon=True).start()
web.ssh(f"cat >many.py <<'EOF'{MANY}EOF")
web.ssh(f"cat >echo.py <<'EOF'{ECHO}EOF")
check(f"{CONNECTIONS} good" in web.ssh(f"python3 many.py 10.0.2.2 {echo.server_address[1]} {CONNECTIONS}", 240), "connections to the host")
# Who connects while the guest is busy waits in the port's queue.
queue = subprocess.run(["ss", "-Hltn", f"sport = :{web.port}"], capture_output=True, text=True, check=True).stdout.split()
check(int(queue[2]) >= CONNECTIONS, f"the forwarded port's queue: {queue}")
web.ssh("setsid python3 echo.py >echo.log 2>&1 </dev/null & until grep -q ready echo.log; do sleep 0.2; done")
r = subprocess.run([sys.executable, "-c", MANY, "127.0.0.1", str(web.port), str(CONNECTIONS)], capture_output=True, text=True, timeout=240 * PATIENCE)
check(f"{CONNECTIONS} good" in r.stdout, f"connections to the guest: {r.stdout}{r.stderr[-1000:]}")
print(f"passed: {CONNECTIONS} connections at once, each way", flush=True)

# What belongs to a machine, and stays with it.
FACTS = "cat /etc/machine-id /sys/class/net/e*/address; ssh-keygen -l -f /etc/ssh/ssh_host_ed25519_key.pub | cut -d' ' -f2"
web_facts = web.ssh(FACTS).split()
check(len(web_facts) == 3, f"{web_facts}")
web.ssh("echo of-web >marker; sync")
check("runs" in visor("rm", "web", status=1).stderr, "a machine that runs was removed")
web.stop()

# A second machine of the same image has nothing of the first; this one starts by UEFI where the host has it.
uefi = ("--firmware", "uefi") if os.path.exists("/usr/share/OVMF/OVMF_CODE.fd") and os.path.exists("/usr/lib/grub/x86_64-efi/moddep.lst") else ()
db = Machine("db", "--user", "tester", "--ssh-key", f"{key}.pub", "--hostname", "db-host", *uefi)
db.wait_for_login()
check(db.ssh("test ! -e marker; hostname") == "db-host", "the second machine")
check(("efi" in db.ssh("ls /sys/firmware")) == bool(uefi), "UEFI")
db_facts = db.ssh(FACTS).split()
check(len(db_facts) == 3 and not set(web_facts) & set(db_facts), f"the machines share {web_facts} {db_facts}")
check(images()["debian"]["machines"] == ["db", "web"], f"{images()}")
refused = visor("image", "rm", "debian", status=1).stderr
check("db" in refused and "web" in refused, f"the image is in use: {refused}")
db.stop()
check(os.path.getsize(f"{DATA}/visor/machines/db/disk.qcow2") < os.path.getsize(disk), "the machine's disk is as large as the image")
visor("rm", "db")
check("no machine" in visor("rm", "db", status=1).stderr, "a machine that is gone")
print(f"passed: a second machine{' by UEFI' if uefi else ''}", flush=True)

# The first again: without the flags, as it was.
machine_disk = f"{DATA}/visor/machines/web/disk.qcow2"
visor("disk", "resize", machine_disk, "6G")
web = Machine("web")
web.wait_for_login()
check(int(web.ssh("findmnt -n -b -o SIZE /", 60)) > 5 << 30, "the file system did not grow with the disk")
check(web.ssh("cat marker; hostname").split() == ["of-web", "web-host"], "what the first machine had")
check(web.ssh(FACTS).split() == web_facts, "the first machine is another")
web.stop()
check("No errors" in subprocess.run(["qemu-img", "check", machine_disk], capture_output=True, text=True).stdout, "qemu-img check")
visor("rm", "web")
visor("image", "rm", "debian")
check(not os.listdir(f"{DATA}/visor/machines") and images() == {}, "something is left")
print("passed: a machine keeps what is its own", flush=True)

for arguments, status, text in (
        (["run", "nowhere"], 1, "visor image list"), (["run", "--user", "x", "--disk", "y"], 2, "IMAGE"), (["run", "x", "--restore", "y"], 2, "leave the image"),
        (["image", "build", "windows"], 2, "only debian"), (["image", "build", "debian", "--size", "1G"], 2, "--size"),
        (["image", "build", "debian", "--package", "a;b"], 2, "--package"), (["image", "rm", "nowhere"], 1, "visor image list"),
        (["image", "build", "debian", "--output", disk], 1, "already")):
    check(text in visor(*arguments, status=status).stderr, f"{arguments}: the error does not say '{text}'")
