#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest tests of tests/guest, built here, each under visor; some with 1, 2 and 4 processors.

GUEST_TESTS names some; GUEST_ENGINES the engines to run them with; `kvm` is left away where the host has none, `kvm-all` is engine kvm that gives KVM
kernel code even where that emulates it, with the tests that such a KVM gets right; `jit-direct` is engine jit that has user code executed by the
processor whenever it can be, with the tests that have some; `qemu` is QEMU's TCG, to judge a test itself. A test NAME that ends in a way of its own says so in
ENDS; all others write their verdict to the debug-exit port.
"""
import shutil
from harness import *

PASSED = 0x10 << 1 | 1
CPUS = {"smp": (1, 2, 4), "smcsmp": (1, 2, 4), "planar": (1, 2)}
DISK = {"smcdma", "notify"}
NET = {"ping"}
# Of these user code is executed directly; what else they do depends on how they set the processor up.
DIRECT = {"crossing", "debug", "direct", "irqs", "lazy", "paging", "remap", "tight", "traps", "vectors", "wild"}
# Guests that end otherwise: status, and what visor says of it.
ENDS = {"triple": (3, r"triple fault"), "triple32": (3, r"triple fault")}

# Long, and of nothing that is KVM's.
NOT_KVM = {"hostile", "regen", "narrow32", "codecache"}
KVM_ALL = {"edges", "mixed", "smc", "smp", "triple", "notify", "ping", "planar", "wide"}
KVM_ALL_CPUS = {"smp": (1, 2), "planar": (1, 2)}
# There the notifications of this device come by eventfd, or so many writes at least are posted.
RINGS = {"notify": "pci-virtio-blk0", "ping": "pci-virtio-net0"}
POSTED = {"planar": 5000}
# Where KVM emulates kernel code: what it cannot is little, or too much for it to go on.
HANDED_OVER = {"smp": True, "wide": False}

if not shutil.which("gcc") or not shutil.which("ld") or not shutil.which("objcopy"):
    print("no compiler; install gcc and binutils")
    sys.exit(77)
build = os.path.join(TMP, "guest")
r = subprocess.run([os.path.join(TOP, "tests", "guest", "build.sh"), build], capture_output=True, text=True)
check(r.returncode == 0, f"tests/guest/build.sh: {r.stderr}")
disk = os.path.join(TMP, "disk")
stats = os.path.join(TMP, "stats")
names = sorted(f[:-4] for f in os.listdir(build) if f.endswith(".elf"))
names = os.environ.get("GUEST_TESTS", " ".join(names)).split()
engines = os.environ.get("GUEST_ENGINES", "interp jit jit-direct kvm kvm-all").split()
if any(e.startswith("kvm") for e in engines) and not kvm_works():
    engines = [e for e in engines if not e.startswith("kvm")]
SOFTWARE = not json.loads(visor("doctor", "--json").stdout)["engines"][0]["fast"]
failed = 0


def command(engine, name, cpus):
    kernel = os.path.join(build, name + ".elf")
    if engine == "qemu":
        return ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-m", "64M", "-smp", str(cpus), "-display", "none", "-serial", "stdio",
                "-monitor", "none", "-no-reboot", "-kernel", kernel, "-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-device", "virtio-rng-pci",
                *(("-drive", f"file={disk},if=virtio,format=raw") if name in DISK else ()),
                "-nic", "user,model=virtio-net-pci" if name in NET else "none"]
    return [VISOR, "run", "--engine", engine.split("-")[0], "--memory", "64M", "--cpus", str(cpus), "--kernel", kernel, "--debug-exit", "--no-reboot",
            "--no-balloon",  # a wild driver gives its own tables away by it
            "--stats", stats, *(("--append", "direct=1") if engine == "jit-direct" else ()), *(("--disk", disk) if name in DISK else ()), *(("--net", "user") if name in NET else ())]


def spared(engine, name, said):
    """What KVM can spare the guest of exits was none; what it cannot execute was handed over, and given back unless that was too much. What is to be
    executed directly was."""
    if engine == "jit-direct":
        with open(stats) as f:
            return json.load(f)["cpus"][0]["jit"]["direct"]["stops"] > 0
    if engine != "kvm-all" or name not in {*RINGS, *POSTED, *HANDED_OVER}:
        return True
    with open(stats) as f:
        all = json.load(f)
    if name in HANDED_OVER:
        count, stays = sum(c["handovers"] for c in all["cpus"]), "kvm" in all["cpus"][0]
        print(f"{name}: {count} hand-overs, at the end of them {'kvm' if stays else 'jit'}")
        return not SOFTWARE or (count and stays == HANDED_OVER[name] and said.count("engine jit goes on") == (not stays))
    runs = all["cpus"][0]["kvm"]["runs"]
    if name in POSTED:
        print(f"{name}: {all['cpus'][0]['kvm']['posted']} posted writes, {runs} exits")
        return all["cpus"][0]["kvm"]["posted"] > POSTED[name]
    device = all["devices"][RINGS[name]]
    print(f"{name}: {device['rings']} notifications by eventfd, {device['writes']} other writes, {runs} exits")
    return device["rings"] > device["writes"]


for engine in engines:
    environment = dict(os.environ, **{"kvm-all": {"VISOR_KVM_KERNEL": "1"}, "jit-direct": {"VISOR_DIRECT": "always"}}.get(engine, {}))
    for name in names:
        if (engine == "kvm" and name in NOT_KVM) or (engine == "kvm-all" and name not in KVM_ALL) or (engine == "jit-direct" and name not in DIRECT):
            continue
        for cpus in (KVM_ALL_CPUS if engine == "kvm-all" else CPUS).get(name, (1,)):
            status, text = ENDS.get(name, (PASSED, ""))
            start = time.monotonic()
            try:
                with open(disk, "wb") as f:
                    f.truncate(1 << 20)
                r = subprocess.run(command(engine, name, cpus), stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                                   timeout=30 * PATIENCE, env=environment)
            except subprocess.TimeoutExpired as late:
                r = subprocess.CompletedProcess(late.args, "no end", (late.stdout or b"").decode(errors="replace"), "")
            ok = r.returncode == status and re.search(text, r.stderr) and spared(engine, name, r.stderr)
            failed += not ok
            print(f"{'passed' if ok else 'failed'}: {name}, {engine}, {cpus} cpu(s), {time.monotonic() - start:.1f} s")
            if not ok:
                print(f"status {r.returncode} instead of {status}\n{r.stdout[-3000:]}{r.stderr[-1000:]}")
check(not failed, f"{failed} guest tests failed")
