#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest that writes random values everywhere (tests/guest/hostile.c): the machine answers on its control socket all the
time, does not grow, and ends with a status that says how. HOSTILE_SECONDS: how long in all, 12."""
import os, random, signal
from harness import *

SECONDS = float(os.environ.get("HOSTILE_SECONDS", "12"))
MEMORY = 64
sanitized = subprocess.run(["grep", "-q", "__asan_init", VISOR]).returncode == 0
# The monitor's own: threads, TLBs, decoded code, stubs. A sanitizer keeps freed memory and a shadow. Translated code, of which there
# is a lot when the guest runs the frame buffer and what lies behind it, has a limit of its own.
OWN_MIB = 600 if sanitized else 48

r = subprocess.run([f"{TOP}/tests/guest/build.sh", TMP, "hostile"], capture_output=True, text=True)
check(r.returncode == 0, f"the guest does not compile:\n{r.stderr}")


def resident(pid):
    with open(f"/proc/{pid}/status") as f:
        return int(re.search(r"VmRSS:\s+(\d+) kB", f.read())[1]) / 1024


def one(seed, seconds, cpus, *more, options=""):
    disk = f"{TMP}/disk"
    with open(disk, "wb") as f:
        f.truncate(2 << 20)
    g = subprocess.Popen([VISOR, "run", "--name", "hostile", "--memory", f"{MEMORY}M", "--cpus", str(cpus), "--kernel", f"{TMP}/hostile.elf",
                          "--append", f"seed={seed} ops=0 {options}", "--disk", disk, "--virtio-console", "none", "--console", "none",
                          "--stats", f"{TMP}/stats", "--jit-cache", "8M", "--time-limit", str(max(1, int(seconds))), *more],
                         stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=open(f"{TMP}/err", "w"))
    atexit.register(g.kill)
    end = time.monotonic() + seconds + 30 * PATIENCE
    answers = largest = 0
    while g.poll() is None:
        check(time.monotonic() < end, f"seed {seed}: it does not end at its time limit")
        try:
            begin = time.monotonic()
            status, m = control("hostile", "GET", "/stats" if answers % 2 else "/machine")
            took = time.monotonic() - begin
            if status == 503 and "has ended" in m["error"]:
                end = min(end, time.monotonic() + 10 * PATIENCE)
                time.sleep(0.1)
                continue
            check(status == 200 and took < 5 * PATIENCE, f"seed {seed}: answer {status} after {took:.1f} s")
            answers += 1
            largest = max(largest, resident(g.pid))
        except (OSError, http.client.HTTPException, TypeError):
            pass  # it has not begun, or is at its end
        time.sleep(0.1)
    with open(f"{TMP}/err") as f:
        errors = f.read()
    bad = re.search(r"ERROR: .*Sanitizer|runtime error", errors)
    check(g.returncode in (0, 3, 4) and not bad, f"seed {seed}: status {g.returncode}\n{errors[-3000:]}")
    check(answers or g.returncode != 4, f"seed {seed}: no answer on the control socket")
    check(largest < MEMORY + OWN_MIB, f"seed {seed}: visor has grown to {largest:.0f} MiB")
    check(len(errors) < 20000, f"seed {seed}: the log has {len(errors)} bytes")
    with open(f"{TMP}/stats") as f:
        s = json.load(f)
    print(f"seed {seed}, {cpus} cpus: status {g.returncode}, {s['instructions'] / 1e6:.0f} M instructions, {answers} answers, "
          f"{largest:.0f} MiB", flush=True)
    return s


first = int(os.environ.get("HOSTILE_SEED", "1"))
left, n = SECONDS, 0
# What it must have reached in all its runs together; a slow host gets more of them.
missing = {"pit", "rtc", "uart0", "pm", "pci-config", "ioapic", "hpet", "pci-virtio-blk0", "pci-virtio-rng", "pci-virtio-console"}
while left > 0 or (missing and left > -20 * PATIENCE):
    seconds = min(max(SECONDS / 10, 4), max(left, 4))
    begin = time.monotonic()
    stats = one(first + n, seconds, 1 + n % 2, *(("--no-reboot",) if n % 3 == 2 else ()), options="polite=0" if n % 3 else "")
    left -= max(time.monotonic() - begin, 1)
    missing -= {name for name, d in stats["devices"].items() if d["reads"] + d["writes"] > 100}
    n += 1
check(not missing, f"not reached: {missing}")
