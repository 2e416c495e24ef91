# SPDX-License-Identifier: GPL-2.0-or-later
"""Where workloads run: the bare host (a chroot), visor with any of its engines, QEMU without KVM.

Each is one process whose standard input and output are the serial console; the host's clock times lines that
begin with BENCH (see guest/agent).
"""
import os
import re
import select
import shutil
import signal
import subprocess
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SCRATCH = 1 << 30 # bytes of the disk to write
LINE = re.compile(rb"BENCH (\w+) (\w+) ?([^\r\n]*)\r?\n")


class Failure(Exception):
    """A workload or a machine did not do what it should; the text says what."""


class Machine:
    """A started process. Lines before a BENCH marker, on the same line as well, are the kernel's and not ours."""

    def __init__(self, name, command):
        self.name, self.buffer, self.started = name, b"", time.monotonic()
        self.errors = tempfile.TemporaryFile()
        # A session of its own: what a workload has started natively ends with it.
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors,
                                        start_new_session=True)

    def marker(self, subject, verbs, deadline):
        """Waits for a line 'BENCH subject verb text' with one of these verbs; (seconds since the start, verb, text)."""
        while True:
            m = LINE.search(self.buffer)
            if m:
                now = time.monotonic() - self.started
                self.buffer = self.buffer[m.end():]
                if m[1].decode() == subject and m[2].decode() in verbs:
                    return now, m[2].decode(), m[3].decode(errors="replace")
                continue
            left = deadline - time.monotonic()
            if left <= 0:
                raise Failure("timeout")
            if select.select([self.process.stdout], [], [], left)[0]:
                data = os.read(self.process.stdout.fileno(), 65536)
                if not data:
                    raise Failure(f"the machine ended with status {self.process.wait()}: {self.last_words()}")
                self.buffer += data

    def last_words(self):
        self.errors.seek(0)
        errors = self.errors.read().decode(errors="replace").strip()
        text = errors or self.buffer.decode(errors="replace").strip()
        return text.splitlines()[-1] if text else "without a word"

    def send(self, line):
        try:
            self.process.stdin.write(line.encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise Failure("the machine is gone") from None

    def workload(self, name, permille, limit):
        """Runs one; {"seconds", "sum"}. After a Failure the machine is of no use any more."""
        deadline = time.monotonic() + limit
        self.send(f"{name} {permille}")
        start, _, _ = self.marker(name, ("start",), deadline)
        end, _, status = self.marker(name, ("end",), deadline)
        result, notes, verb = {"seconds": end - start}, "", ""
        while verb != "done":
            _, verb, text = self.marker(name, ("sum", "note", "done"), deadline)
            if verb == "sum":
                result["sum"] = text
            elif verb == "note":
                notes = ": " + text
        if status != "0":
            result["error"] = f"status {status}{notes}"
        return result

    def stop(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for file in (self.process.stdin, self.process.stdout, self.errors):
            try:
                file.close()
            except BrokenPipeError:
                pass


class Native:
    """The tree in a chroot on the bare host."""
    name = "native"

    def __init__(self, root):
        self.root = root

    def start(self, cpus):
        return Machine(self.name, ["taskset", "-c", processors(cpus), os.path.join(HERE, "enter.sh"),
                                   os.path.join(self.root, "root"), "/bench/agent"])


def processors(count):
    """As many of the host's processors as the guest has, so that the bare host is not at an advantage."""
    return ",".join(map(str, sorted(os.sched_getaffinity(0))[:count]))


class Monitor:
    """What starts a guest: subclasses give the command line."""

    def __init__(self, name, kernel, initrd, root):
        self.name, self.kernel, self.initrd = name, kernel, initrd
        self.disk, self.nano = os.path.join(root, "root.img"), os.path.join(root, "nano", "nano.elf")
        self.scratch = os.path.join(root, f"scratch-{name}.img")

    append = "console=ttyS0 quiet rdinit=/bench-init"

    def start(self, cpus, port=None):
        """With a port: also with a disk to write and the user network, where a server of iperf3 is at the host's port."""
        append = self.append + (f" bench_port={port}" if port else "")
        if port:
            with open(self.scratch, "wb") as f:
                f.truncate(SCRATCH)
        command = self.command(cpus, "1G", self.kernel, append, initrd=self.initrd, disk=self.disk)
        return Machine(self.name, command + (self.io_devices() if port else self.no_devices))

    def start_guest(self, port, server=False):
        """One of two on a network of their own; the server has the address that the host has on the user network."""
        append = self.append + f" bench_port={port}" + (" bench_address=10.0.2.2" if server else "")
        command = self.command(1, "512M", self.kernel, append, initrd=self.initrd, disk=self.disk)
        return Machine(self.name, command + self.peer_devices(server))

    def boot(self):
        """Debian's kernel and the initramfs, without a disk."""
        return Machine(self.name, self.command(1, "512M", self.kernel, self.append, initrd=self.initrd))

    def start_up(self, profile, boot_disk):
        """The same kernel as the machine types start it: micro at once, pc by its firmware and GRUB from a disk."""
        return Machine(self.name, self.micro() if profile == "micro" else self.from_disk(boot_disk))

    def start_nano(self, append):
        return Machine(self.name, self.command(1, "64M", self.nano, append))


class Visor(Monitor):
    no_devices = ["--net", "none"]

    def io_devices(self):
        return ["--disk", self.scratch, "--net", "user"]

    def peer_devices(self, server):
        return ["--net", f"switch:bench-{os.getpid()}"]

    def __init__(self, binary, engine, *more):
        super().__init__(engine, *more)
        self.binary = binary

    def command(self, cpus, memory, kernel, append, initrd=None, disk=None):
        c = [self.binary, "run", "--engine", self.name, "--cpus", str(cpus), "--memory", memory,
             "--kernel", kernel, "--append", append]
        c += ["--initrd", initrd] if initrd else ["--debug-exit"]
        return c + (["--disk", disk + ",ro"] if disk else [])

    def micro(self):
        return self.command(1, "512M", self.kernel, self.append, initrd=self.initrd) + ["--machine", "micro"]

    def from_disk(self, disk):
        return [self.binary, "run", "--engine", self.name, "--memory", "512M", "--disk", disk + ",ro", "--net", "none"]


class Qemu(Monitor):
    no_devices = []

    def io_devices(self):
        return ["-drive", f"file={self.scratch},if=virtio,format=raw", "-nic", "user,model=virtio-net-pci"]

    def peer_devices(self, server):
        # The fastest that it has without privileges; the server listens.
        path = os.path.join(os.path.dirname(self.initrd), "guests")
        if server and os.path.exists(path):
            os.remove(path)
        return ["-netdev", f"stream,id=n,server={'on' if server else 'off'},addr.type=unix,addr.path={path}",
                "-device", f"virtio-net-pci,netdev=n,mac=52:54:00:12:34:{57 if server else 56}"]

    def command(self, cpus, memory, kernel, append, initrd=None, disk=None):
        c = ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", str(cpus), "-m", memory,
             "-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot", "-kernel", kernel, "-append", append]
        c += ["-initrd", initrd] if initrd else ["-device", "isa-debug-exit,iobase=0xf4,iosize=1"]
        # visor's lock on the whole file, for reading, would look to QEMU like a writer's.
        return c + (["-drive", f"file={disk},if=virtio,format=raw,readonly=on,file.locking=off"] if disk else [])

    def micro(self):
        return self.command(1, "512M", self.kernel, self.append, initrd=self.initrd) # by its pc

    def from_disk(self, disk):
        return ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-m", "512M", "-nodefaults", "-display", "none", "-serial", "stdio",
                "-no-reboot", "-drive", f"file={disk},if=virtio,format=raw,readonly=on,file.locking=off"]


def own_memory(pid):
    """MB of a monitor that are not its guest's RAM, where that is shared memory (as visor's is)."""
    with open(f"/proc/{pid}/status") as f:
        fields = dict(line.split(":", 1) for line in f if line.startswith("Rss"))
    return sum(int(fields[name].split()[0]) for name in ("RssAnon", "RssFile")) / 1024


def engines_of(visor):
    """The names that visor's --engine takes."""
    r = subprocess.run([visor, "run", "--engine", "?"], capture_output=True, text=True)
    m = re.search(r"choose from: (.*)", r.stderr)
    return [e for e in m[1].split(", ") if e != "auto"] if m else ["interp"]


def make_initrd(guest, folder, name, output):
    """The guest's own initramfs with one more archive behind it, that holds the file `name` of `folder`."""
    archive = subprocess.run(["cpio", "-o", "-H", "newc", "-R", "0:0", "--quiet"], cwd=folder, check=True,
                             input=name.encode() + b"\n", stdout=subprocess.PIPE).stdout
    with open(os.path.join(guest, "initrd.gz"), "rb") as f, open(output, "wb") as out:
        data = f.read()
        out.write(data + b"\0" * (-len(data) % 4) + archive)
    return output


def make_boot_disk(kernel, initrd, append, output):
    """A disk from which SeaBIOS starts GRUB, and GRUB that kernel, without waiting for anybody."""
    with tempfile.TemporaryDirectory(prefix="visor-bench-") as tree:
        os.makedirs(os.path.join(tree, "boot", "grub"))
        shutil.copy(kernel, os.path.join(tree, "boot", "vmlinuz"))
        shutil.copy(initrd, os.path.join(tree, "boot", "initrd"))
        with open(os.path.join(tree, "boot", "grub", "grub.cfg"), "w") as f:
            f.write(f"set timeout=0\nmenuentry kernel {{\n\tlinux /boot/vmlinuz {append}\n\tinitrd /boot/initrd\n}}\n")
        subprocess.run(["grub-mkrescue", "-o", output, tree], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return output
