#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""gdb on a running guest: registers, memory, breakpoints, watchpoints, steps, several vCPUs, interrupt, detach, reconnect."""
import shutil, socket
from harness import *

if not shutil.which("gdb"):
    print("gdb is not installed")
    sys.exit(77)
programs = f"{TMP}/programs"
subprocess.run([f"{TOP}/tests/guest/build.sh", programs, "smc", "smp", f"{TOP}/tests/system/clocks.c"], check=True)
ADDRESS = f"{TMP}/gdb.sock"


def start(program, *more):
    g = Guest("--memory", "64M", "--kernel", f"{programs}/{program}.elf", "--debug-exit", "--gdb", f"unix:{ADDRESS}", *more)
    end = time.monotonic() + 10 * PATIENCE
    while not os.path.exists(ADDRESS):
        check(time.monotonic() < end and g.process.poll() is None, f"the debugger's socket did not appear\n{g.stderr()}")
        time.sleep(0.05)
    return g


def gdb(program, *commands):
    arguments = [x for c in (f"target remote {ADDRESS}", *commands) for x in ("-ex", c)]
    r = subprocess.run(["gdb", "-nx", "-batch", f"{programs}/{program}.native", *arguments], capture_output=True, text=True,
                       timeout=60 * PATIENCE, errors="replace")
    return r.stdout + r.stderr


def want(output, *patterns):
    at = 0
    for pattern in patterns:
        m = re.compile(pattern, re.M).search(output, at)
        check(m, f"'{pattern}' is missing (in this order) in gdb's output:\n{output}")
        at = m.end()


def breakpoints_and_steps(*more):
    g = start("smc", *more)
    out = gdb("smc", "p/x $eflags & 0x200", "break guest_main", "continue", "p/x $rip == (long)&guest_main", "x/i $rip",
              "set $before = $rsp", "stepi", "p $before - $rsp", "p/x $cr0 & 0x80000001", "p/x *(unsigned *)0x100000",
              "set $rax = 0x1122334455667788", "p/x $rax", "p/x $eax", "set *(long *)0x8000 = 0x55aa", "p/x *(long *)0x8000",
              "delete", "hbreak print", "continue", "x/s $rdi", "backtrace", "detach")
    want(out, r"= 0x0$", r"Breakpoint 1, .*guest_main", r"= 0x1$", r"push", r"= 8$", r"= 0x80000001$", r"= 0x1badb002$",
         r"= 0x1122334455667788$", r"= 0x55667788$", r"= 0x55aa$", r"Breakpoint 2, .*print", r"PASSED", r"guest_exit")
    g.wait(33)


def watchpoints(*more):
    g = start("smc", *more)
    out = gdb("smc", "break guest_main", "continue", "delete", "watch *(unsigned long *)&next_page", "continue", "continue",
              "p *(unsigned long *)&next_page > 0", "delete", "rwatch *(unsigned long *)&next_page", "continue", "delete",
              "awatch *(unsigned long *)&next_page", "continue", "continue", "delete", "detach")
    want(out, r"Hardware watchpoint", r"Old value = 0", r"New value = [1-9]", r"New value = [1-9]", r"= 1$",
         r"Hardware read watchpoint", r"Value = [1-9]", r"Hardware access \(read/write\) watchpoint", r"[Vv]alue = [1-9]")
    g.wait(33)


def processors(*more):
    g = start("smp", "--cpus", "2", *more)
    out = gdb("smp", "info threads", "break ap_main", "continue", "info threads", "thread 1", "p/x $cs", "thread 2", "p/x $cs", "bt 1",
              "delete", "detach")
    want(out, r"vCPU 0", r"vCPU 1 \(halted\)|vCPU 1", r"hit Breakpoint|Breakpoint 1", r"ap_main", r"= 0x8$", r"= 0x8$", r"ap_main")
    g.wait(33)


def changes(first, *engines):
    """The engine changes while the debugger has the guest stopped: its points are there under the next one."""
    g = start("clocks", "--name", "changes", "--engine", first)
    commands, patterns = ["hbreak look", "continue"], []
    for engine in engines:
        commands += [f"shell {VISOR} engine changes {engine}", "stepi", "p $rip > (long)&look", "continue", "p $rip == (long)&look"]
        patterns += [r"= 1$", r"Breakpoint 1, ", r"= 1$"]
    want(gdb("clocks", *commands, "delete", "watch *(long *)&last_tsc", "continue", "delete", "detach"), *patterns, r"Old value = \d")
    g.send("q")
    g.wait(33)


class Raw:
    """The protocol by hand, for what gdb's batch mode cannot do."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20 * PATIENCE)
        self.socket.connect(ADDRESS)
        self.text = ""

    def send(self, body):
        self.socket.sendall(f"${body}#{sum(body.encode()) & 255:02x}".encode())

    def reply(self):
        while True:
            m = re.search(r"\$([^#]*)#..", self.text)
            if m:
                self.text = self.text[m.end():]
                self.socket.sendall(b"+")
                return m[1]
            data = self.socket.recv(65536)
            check(data, "the debugger's connection was closed")
            self.text += data.decode()

    def ask(self, body):
        self.send(body)
        return self.reply()


def interrupt_and_reconnect():
    folder, = prepare("cloud-amd64")
    g = Guest("--kernel", f"{folder}/vmlinuz", "--initrd", f"{folder}/initrd.gz", "--append", "console=ttyS0 quiet nokaslr", "--gdb",
              f"unix:{ADDRESS}", "--cpus", "2")
    end = time.monotonic() + 10 * PATIENCE
    while not os.path.exists(ADDRESS) and time.monotonic() < end:
        time.sleep(0.05)
    r = Raw()
    check(r.ask("?").startswith("T05"), "the machine waits for the debugger")
    r.send("c")
    g.expect(PROMPT, 90)
    r.socket.sendall(b"\x03")
    check(r.reply().startswith("T02"), "Ctrl-C stops the machine")
    rip = r.ask("p10")
    check(len(rip) == 16, f"RIP: {rip}")
    check(r.ask("mffffffff81000000,10").startswith("E") is False, "kernel memory can be read")
    check(r.ask("m800000000000,1").startswith("E"), "what is not mapped is an error")
    check(r.ask("qfThreadInfo") == "m1,2", "two threads")
    check(r.ask("Z9,0,1") == "", "an unknown packet gets the empty reply")
    r.socket.sendall(b"$m0,8#00")  # a wrong checksum: asks for it again
    time.sleep(0.2)
    check(r.ask("H g0".replace(" ", "")) == "OK", "the connection goes on after a damaged packet")
    r.socket.close()  # without a detach: the guest goes on
    g.send("echo still''here\n")
    g.expect("stillhere")
    again = Raw()
    check(again.ask("?").startswith("T"), "a second debugger gets in")
    check(again.ask("D") == "OK", "detach")
    again.socket.close()
    g.power_off()


breakpoints_and_steps()
watchpoints()
processors()
interrupt_and_reconnect()
changes("interp", "jit", "interp")
if kvm_works():
    watchpoints("--engine", "kvm")
    # The processor's debug registers, where KVM has kernel code, too; one that emulates that does not look at data.
    os.environ["VISOR_KVM_KERNEL"] = "1"
    breakpoints_and_steps("--engine", "kvm")
    processors("--engine", "kvm")
    changes("kvm", "jit", "kvm", "interp", "kvm", "jit")
    del os.environ["VISOR_KVM_KERNEL"]
r = visor("run", "--kernel", f"{programs}/smc.elf", "--gdb", "nohost.invalid:x", status=1)
check("--gdb" in r.stderr, "a wrong address is named")
