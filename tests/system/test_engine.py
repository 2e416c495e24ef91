#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A running guest changes its engine again and again, and state saved under one engine goes on under another: right results, no lost
character. Those with engine kvm where the host has it."""
import hashlib, os
from harness import *

BLOCKS = 20000
WANT = hashlib.sha256(bytes(1024 * BLOCKS)).hexdigest()
WORK = (f"for i in 1 2 3; do dd if=/dev/zero bs=1k count={BLOCKS} 2>/dev/null | sha256sum; done; "
        "i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo line $i; done; echo end of work")


def check_work(text):
    sums = re.findall(r"[0-9a-f]{64}", text)
    check(sums == [WANT] * 3, f"checksums: {sums}")
    lines = [int(n) for n in re.findall(r"line (\d+)", text)]
    check(lines == list(range(1, 3001)), f"lines that came: {len(lines)}, first gap at {next((i for i, n in enumerate(lines, 1) if i != n), None)}")


def changes(cpus, first, *cycle):
    g = linux("cloud-amd64", "--name", "engines", "--cpus", cpus, "--engine", first)
    g.send(WORK + "\n")
    done = 0
    while "\nend of work" not in g.log.replace("\r", ""):
        visor("engine", "engines", cycle[done % len(cycle)])
        done += 1
        g.read(0.3)
    check(done >= len(cycle), f"the engine was changed only {done} times")
    check_work(g.log[g.at:])
    g.power_off()
    g.check_log()
    print(f"{cpus} cpu(s): {first}, {done} changes to {', '.join(cycle)}")


def save_across(*engines):
    """Booted under the first, each of the others takes over from a file."""
    path = os.path.join(TMP, "engine.save")
    g = linux("cloud-amd64", "--name", "across", "--engine", engines[0])
    for engine in engines[1:]:
        g.send("i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; echo count $i\n")
        g.expect(r"echo count \$i", 60)  # what is still in the pipe when visor ends is nobody's
        g.read(0.2)
        visor("save", "across", path, "--stop")
        g.wait()
        early = "count 300000" in g.log[g.at:]  # a quick host: it was done before the save
        g = Guest("--restore", path, "--name", "across", "--engine", engine)
        if not early:
            g.expect(r"count 300000", timeout=60)
        g.command("echo alive")
    g.power_off()
    os.unlink(path)
    print(f"saved and went on under {', '.join(engines)}")


def levels():
    """--cpu under kvm: the guest's CPUID has what the level and KVM both have. Where KVM gets programs alone, which see the processor, it is refused."""
    built = os.path.join(TMP, "guest")
    r = subprocess.run([os.path.join(TOP, "tests", "guest", "build.sh"), built, os.path.join(TOP, "tests", "system", "levels.c")], capture_output=True, text=True)
    check(r.returncode == 0, r.stderr)

    def run(engine, level, status=33, **environment):
        return visor("run", "--engine", engine, "--cpu", level, "--memory", "64M", "--kernel", f"{built}/levels.elf", "--debug-exit", status=status,
                     env=dict(os.environ, **environment))

    def words(engine, level):
        return [int(word, 16) for word in re.findall(r"word 0x(\w+)", run(engine, level, VISOR_KVM_KERNEL="1").stdout)]

    model, kvm, masked = words("jit", "x86-64-v1"), words("kvm", "host"), words("kvm", "x86-64-v1")
    fast = json.loads(visor("doctor", "--json").stdout)["engines"][0]["fast"]
    if fast:
        check(len(model) == 9 and masked == [a & b for a, b in zip(model, kvm)], f"CPUID under kvm: {masked}, of {kvm} and {model}")
    else:  # it shows the processor's own words, but for some bits
        check((kvm[0] >> 13 & 1, masked[0] >> 13 & 1, kvm[7] & 1, masked[7] & 1) == (1, 0, 1, 0), f"CMPXCHG16B, LAHF: {kvm}, {masked}")
    text = run("kvm", "x86-64-v1", 33 if fast else 1).stderr
    check(fast or "cannot hide what this guest is not to have: " in text, text)
    print("levels of the processor under kvm: masked")


def refused():
    """A KVM that fails: at the second processor of a change, or later, for whatever reason; and one without what only makes it faster."""
    built, disk, stats = (os.path.join(TMP, n) for n in ("guest", "disk", "stats"))
    names = ("smp", "planar", "notify", os.path.join(TOP, "tests", "system", "clocks.c"))
    r = subprocess.run([os.path.join(TOP, "tests", "guest", "build.sh"), built, *names], capture_output=True, text=True)
    check(r.returncode == 0, r.stderr)
    with open(disk, "wb") as f:
        f.truncate(1 << 20)

    def run(name, *more, **environment):
        g = Guest("--memory", "64M", "--kernel", f"{built}/{name}.elf", "--debug-exit", "--stats", stats, *more, env=dict(
            os.environ, LD_PRELOAD=shim, VISOR_KVM_KERNEL="1", **environment))
        return g

    shim = kvm_shim()
    g = run("clocks", "--name", "refused", "--engine", "kvm", "--cpus", "2", KVM_REFUSES="KVM_CREATE_VCPU:5:12")
    g.expect("ready")
    visor("engine", "refused", "jit")
    text = visor("engine", "refused", "kvm", status=1).stderr
    check("processor 1: Cannot allocate memory" in text, text)
    g.send("c")
    g.expect("looked")
    g.send("q")
    g.wait(33)
    for request in "KVM_RUN:9", "KVM_SET_SREGS2:1", "KVM_SET_MSRS:2", "KVM_GET_REGS:2":
        g = run("smp", "--engine", "kvm", "--cpus", "2", KVM_REFUSES=f"{request}:22")
        g.wait(33)
        text = g.stderr()
        check(re.search(rf"engine kvm: {request.split(':')[0]}: Invalid argument; engine jit goes on\n", text), f"{request}: {text}")
    g = run("smp", "--engine", "kvm", KVM_REFUSES="KVM_GET_REGS:-2:22")
    g.wait(1)
    check(re.search(r"KVM_GET_REGS: Invalid argument on vCPU 0 .*; use --engine jit\n", g.stderr()), f"a state that is lost: {g.stderr()}")
    for name, capability in ("notify", 36), ("planar", 162):  # KVM_CAP_IOEVENTFD, KVM_CAP_COALESCED_PIO
        g = run(name, "--engine", "kvm", "--disk", disk, KVM_LACKS=str(capability))
        g.wait(33)
        with open(stats) as f:
            found = json.load(f)
        check(not found["cpus"][0]["kvm"]["posted"] and not found["devices"].get("pci-virtio-blk0", {}).get("rings"), f"{name}: used all the same")
    print("requests that KVM refuses: another engine goes on")


g = visor("engine", "nobody", "jit", status=1)
check("nobody" in g.stderr, g.stderr)
changes(1, "auto", "interp", "jit")
changes(2, "auto", "interp", "jit")
save_across("interp", "jit", "interp")
if kvm_works():
    changes(1, "kvm", "kvm", "jit", "interp", "jit", "kvm")
    changes(2, "kvm", "kvm", "jit", "interp", "jit", "kvm")
    save_across("kvm", "jit", "kvm")
    levels()
    refused()
