#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""visor doctor, and hosts where KVM is missing, forbidden, or lacks something: a clear line with the remedy, and --engine auto goes on without."""
import shutil
from harness import *

NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]

def run(*command, status, **more):
    r = subprocess.run([*command], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60 * PATIENCE, **more)
    check(r.returncode == status, f"{command}: status {r.returncode} instead of {status}\n{r.stdout}\n{r.stderr}")
    return r


def change(what, prefix, pattern, **more):
    """A running guest is refused the engine, and goes on with the one it has."""
    g = Guest("--name", "poor", *WAITING, program=[*prefix, VISOR, "run"], **more)
    g.expect("ready")
    r = run(*prefix, VISOR, "engine", "poor", "kvm", status=1, **more)
    check(re.search(pattern, r.stderr), f"{what}: {r.stderr}")
    g.send("q")
    g.wait(33)


def missing(what, prefix, pattern, **more):
    """--engine kvm fails with a line that matches; auto serves the guest; doctor says the same."""
    r = run(*prefix, VISOR, "run", *GUEST, "--engine", "kvm", status=1, **more)
    check(re.search(pattern, r.stderr) and r.stderr.count("\n") == 1, f"{what}: {r.stderr}")
    check("--engine jit" in r.stderr, f"{what}: no remedy: {r.stderr}")
    # Where there is a processor for it, somebody may want to know why it is not used.
    for hardware in False, True:
        environment = dict(more.get("env", os.environ), **({"VISOR_KVM_KERNEL": "1"} if hardware else {}))
        r = run(*prefix, VISOR, "run", *GUEST, status=33, **dict(more, env=environment))
        check(not hardware or re.search("engine jit runs the guest in place of kvm: .*" + pattern, r.stderr), f"{what}: {r.stderr}")
    change(what, prefix, pattern, **more)
    r = run(*prefix, VISOR, "doctor", status=0, **more)
    check(re.search(r"^engine kvm: does not work: .*" + pattern, r.stdout, re.M), f"{what}: {r.stdout}")
    check("--engine auto: jit" in r.stdout, f"{what}: {r.stdout}")
    print(f"{what}: passed")


build = os.path.join(TMP, "guest")
r = subprocess.run([os.path.join(TOP, "tests", "guest", "build.sh"), build, "smp", os.path.join(TOP, "tests", "system", "clocks.c")], capture_output=True, text=True)
check(r.returncode == 0, r.stderr)
WAITING = ["--engine", "jit", "--memory", "64M", "--kernel", os.path.join(build, "clocks.elf"), "--debug-exit"]
GUEST = ["--memory", "64M", "--kernel", os.path.join(build, "smp.elf"), "--debug-exit", "--no-reboot"]

found = json.loads(visor("doctor", "--json").stdout)
kvm = found["engines"][0]
check([e["engine"] for e in found["engines"]] == ["kvm", "jit", "interp"], found)
check(all(e["works"] for e in found["engines"][1:]), found)
check(found["auto"] == ("kvm" if kvm["works"] and kvm["fast"] else "jit"), found)
check(kvm["text"] and "processor:" in kvm["details"] and "modules:" in kvm["details"], found)
print(f"KVM here: {kvm['text']}")
jit = found["engines"][1]
check(re.search(r"^programs: (executed by the processor itself, .*; \d+\.\d us for a stop|translated, .* FSGSBASE)$", jit["details"], re.M), jit)
stats = os.path.join(TMP, "stats")
run(VISOR, "run", *GUEST, "--stats", stats, status=33)
with open(stats) as f:
    stats = json.load(f)
check(found["auto"] in stats["cpus"][0], "auto took another engine than doctor said")

if os.getuid() == 0 and shutil.which("unshare") and subprocess.run(["unshare", "-m", "true"]).returncode == 0:
    # A /dev of our own: without the device, with something else in its place, with one that is not for us.
    nodes = "mount -t tmpfs none /dev && mknod /dev/null c 1 3 && mknod /dev/urandom c 1 9 && chmod 666 /dev/null /dev/urandom"
    own = lambda more: ["unshare", "-m", "sh", "-c", f'{nodes}; {more}; exec "$@"', "sh"]
    missing("no device", own(":"), r"/dev/kvm: No such file.*modprobe")
    missing("no KVM behind the device", own("mknod /dev/kvm c 1 3"), r"/dev/kvm speaks no KVM")
    open_to_all = dict(os.environ, XDG_RUNTIME_DIR=tempfile.mkdtemp(prefix="run-", dir="/tmp"))
    os.chmod(open_to_all["XDG_RUNTIME_DIR"], 0o777)
    reach = subprocess.run([*NOBODY, VISOR, "version"], capture_output=True).returncode == 0 and \
        subprocess.run([*NOBODY, "test", "-r", GUEST[3]]).returncode == 0
    if reach:
        r = run(*NOBODY, "prlimit", "--nproc=1", VISOR, "doctor", status=0)
        check(re.search(r"^  programs: translated, .*: Resource temporarily unavailable; ", r.stdout, re.M) or "FSGSBASE" in jit["details"], r.stdout)
        missing("no permission", [*own("mknod -m 600 /dev/kvm c 1 3"), *NOBODY], r"/dev/kvm: Permission denied.*usermod -aG kvm", env=open_to_all)
    else:
        print("no permission: not tried, since another user cannot reach this folder")
    shutil.rmtree(open_to_all["XDG_RUNTIME_DIR"])
else:
    print("a /dev of our own: not tried, it takes root")

CAP_X86_USER_SPACE_MSR = "188"
missing("a capability that is missing", [], r"lacks KVM_CAP_X86_USER_SPACE_MSR.*newer kernel",
        env=dict(os.environ, LD_PRELOAD=kvm_shim(), KVM_FAKE="1", KVM_LACKS=CAP_X86_USER_SPACE_MSR))
