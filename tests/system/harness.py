# SPDX-License-Identifier: GPL-2.0-or-later
"""What the system tests share: a guest driven through pipes, and small checks."""
import atexit, gzip, hashlib, http.client, json, os, re, select, socket, subprocess, sys, tempfile, time

VISOR = os.environ["VISOR"]
GUESTS = os.environ["GUESTS"]
TMP = os.environ["TMP"]
TOP = os.environ["TOP"]
RUNDIR = os.path.join(os.environ["XDG_RUNTIME_DIR"], "visor")
# A loaded machine and the sanitizers are slow; how much longer than usual everything may take.
PATIENCE = float(os.environ.get("TEST_PATIENCE", "4"))
# Not tied to the line's end, where a late message of the kernel may follow it.
PROMPT = r"visor:\S+# (\x1b\[6n)?"
# What no kernel says unless something is wrong.
BAD = re.compile(r"WARNING: |BUG: |Oops|Call Trace|unhandled|soft lockup|rcu.*stall|Kernel panic|segfault|general protection", re.I)


def fail(text):
    print("FAIL:", text)
    sys.exit(1)


def check(condition, text):
    if not condition:
        fail(text)


def prepare(*names):
    """The folders of these guests, made when missing or out of date; the test is skipped when they cannot be had."""
    r = subprocess.run([os.path.join(TOP, "tools", "guest.sh"), "-d", GUESTS, *names], capture_output=True, text=True)
    if r.returncode:
        print(f"cannot prepare {names}: {r.stderr.strip()}")
        sys.exit(77)
    return [os.path.join(GUESTS, n) for n in names]


def visor(*arguments, status=0, timeout=60, **more):
    """Runs visor to its end and checks its status; the finished process with stdout and stderr."""
    r = subprocess.run([VISOR, *map(str, arguments)], capture_output=True, text=True, timeout=timeout * PATIENCE,
                       stdin=more.pop("stdin", subprocess.DEVNULL), errors="replace", **more)
    if status is not None and r.returncode != status:
        fail(f"visor {' '.join(map(str, arguments))}: status {r.returncode} instead of {status}\n{r.stdout[-2000:]}\n{r.stderr}")
    return r


def random_file(name, size):
    path = os.path.join(TMP, name)
    with open(path, "wb") as f:
        f.write(os.urandom(size))
    return path


def md5(path):
    with open(path, "rb") as f:
        return hashlib.md5(f.read()).hexdigest()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def kvm_works():
    """Whether engine kvm works on this host; says why not."""
    kvm = next(e for e in json.loads(visor("doctor", "--json").stdout)["engines"] if e["engine"] == "kvm")
    if not kvm["works"]:
        print("engine kvm is skipped:", kvm["text"])
    return kvm["works"]


def kvm_shim():
    """What is to be preloaded for a KVM that is less than the host's (kvm_shim.c)."""
    shim = os.path.join(TMP, "kvm_shim.so")
    r = subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", shim, os.path.join(TOP, "tests", "system", "kvm_shim.c")], capture_output=True, text=True)
    check(r.returncode == 0, r.stderr)
    return shim


class Guest:
    """visor run, or another program with a guest, with its console on pipes."""

    def __init__(self, *arguments, program=(VISOR, "run"), **more):
        self.log = ""
        self.at = 0
        self.errors = tempfile.NamedTemporaryFile("w+", prefix="stderr-", dir=TMP, delete=False)
        self.process = subprocess.Popen([*program, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=self.errors, **more)
        atexit.register(self.process.kill)

    def stderr(self):
        with open(self.errors.name) as f:
            return f.read()

    def read(self, timeout):
        if not select.select([self.process.stdout], [], [], max(timeout, 0))[0]:
            return False
        data = os.read(self.process.stdout.fileno(), 65536)
        self.log += data.decode(errors="replace")
        return bool(data)

    def expect(self, pattern, timeout=30):
        """Waits until the pattern comes in what was not matched yet; the match."""
        end = time.monotonic() + timeout * PATIENCE
        while True:
            m = re.search(pattern, self.log[self.at:], re.M)
            if m:
                self.at += m.end()
                return m
            left = end - time.monotonic()
            if left <= 0 or (not self.read(left) and self.process.poll() is not None):
                fail(f"'{pattern}' did not come; status {self.process.poll()}\n{self.log[-3000:]}\n{self.stderr()}")

    def send(self, text):
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def command(self, line, timeout=30):
        """A shell command in the guest; its output."""
        # The shell's echo of the line breaks where the terminal ends: markers, not lines, tell what is output.
        self.send(f"echo be''gin=; {line}; echo do''ne=$?=\n")
        self.expect(r"^begin=\r?$", timeout)
        start = self.at
        m = self.expect(r"^done=(\d+)=\r?$", timeout)
        check(m[1] == "0", f"'{line}' failed in the guest:\n{self.log[start:]}")
        text = self.log[start:self.at - len(m[0])].replace("\r", "")
        self.expect(PROMPT)
        return text.lstrip("\n")

    def wait(self, status=0, timeout=30):
        end = time.monotonic() + timeout * PATIENCE
        while self.read(end - time.monotonic()):
            pass
        got = self.process.wait(max(end - time.monotonic(), 1))
        check(got == status, f"status {got} instead of {status}\n{self.log[-2000:]}\n{self.stderr()}")

    def power_off(self):
        self.send("poweroff\n")
        self.wait(0)

    def check_log(self):
        bad = [line for line in self.log.splitlines() if BAD.search(line)]
        check(not bad, "the kernel's log has\n" + "\n".join(bad))


def with_programs(initrd, **sources):
    """An initrd with statically linked C programs in /bin besides; NAME=source file."""
    root = tempfile.mkdtemp(prefix="programs-", dir=TMP)
    os.mkdir(os.path.join(root, "bin"))
    for name, source in sources.items():
        r = subprocess.run(["gcc", "-O2", "-static", "-o", os.path.join(root, "bin", name), os.path.join(TOP, source)], capture_output=True,
                           text=True)
        check(r.returncode == 0, f"{source}: {r.stderr}")
    names = "".join(f"bin/{name}\n" for name in sources)
    more = subprocess.run(["cpio", "--quiet", "-o", "-H", "newc", "-R", "0:0"], cwd=root, input=names.encode(), capture_output=True, check=True)
    path = os.path.join(root, "initrd.gz")
    with open(path, "wb") as new, open(initrd, "rb") as old:
        new.write(old.read())
        new.write(gzip.compress(more.stdout, 1))
    return path


def linux(name, *arguments, append="", initrd=None):
    """A prepared guest, booted to its shell."""
    folder, = prepare(name)
    g = Guest("--kernel", f"{folder}/vmlinuz", "--initrd", initrd or f"{folder}/initrd.gz", "--append", f"console=ttyS0 {append}".strip(),
              *arguments)
    g.expect(PROMPT, 60)
    return g


class Unix(http.client.HTTPConnection):
    """HTTP over a machine's control socket."""

    def __init__(self, machine):
        super().__init__("visor", timeout=20 * PATIENCE)
        self.path = f"{RUNDIR}/{machine}.sock"

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def control(machine, method, path, body=None):
    """(status, JSON) of one request."""
    c = Unix(machine)
    c.request(method, path, body if body is None or isinstance(body, (str, bytes)) else json.dumps(body))
    r = c.getresponse()
    return r.status, json.loads(r.read())
