#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Shared folders, with Linux's own 9P client: all that it does with files, a tree of some thousand of them there and back, and no way out."""
import hashlib, os, random, shutil, stat, subprocess, threading, time
from harness import *

FILES = int(os.environ.get("SHARE_FILES", "3000"))
MOUNT = "mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000{more} {tag} {at}"
shared = os.path.join(TMP, "shared")
outside = os.path.join(TMP, "outside")
SECRET = "what-nobody-shared"


def make_tree(root):
    """Files of many sizes, folders, links: some of them lead out of the folder."""
    r = random.Random(1)
    for i in range(FILES):
        folder = os.path.join(root, f"d{i % 37}", f"e{i % 11}")
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, f"file-{i}"), "wb") as f:
            f.write(r.randbytes(r.choice([0, 1, 17, 100, 1000, 4096, 5000, 20000])))
        if i % 100 == 0:
            os.symlink(f"file-{i}", os.path.join(folder, f"link-{i}"))
            os.chmod(os.path.join(folder, f"file-{i}"), 0o751)
    os.symlink("../../outside/secret", os.path.join(root, "up"))
    os.symlink("/nowhere/else", os.path.join(root, "absolute"))


def digest(root):
    """{path: what is there}"""
    found = {}
    for folder, folders, files in os.walk(root):
        for name in folders + files:
            path = os.path.join(folder, name)
            st = os.lstat(path)
            content = ""
            if stat.S_ISLNK(st.st_mode):
                content = os.readlink(path)
            elif stat.S_ISREG(st.st_mode):
                with open(path, "rb") as f:
                    content = hashlib.md5(f.read()).hexdigest()
            found[os.path.relpath(path, root)] = (oct(st.st_mode), content)
    return found


def there_and_back(g):
    g.command("cd /tmp && tar cf t.tar -C /mnt tree && rm -rf /mnt/back && mkdir /mnt/back && tar xf t.tar -C /mnt/back && rm t.tar; cd /", 120)
    check(digest(f"{shared}/back/tree") == digest(f"{shared}/tree"), "the tree that went through the guest is another one")
    names = int(g.command("find /mnt/back | wc -l", 60))
    check(names == len(digest(f"{shared}/back")) + 1, f"the guest finds {names} names")
    g.command("rm -r /mnt/back", 60)
    check(not os.path.exists(f"{shared}/back"), "the guest's rm left something")


def large(g):
    sums = g.command("dd if=/dev/urandom of=/mnt/big bs=1M count=96 2>/dev/null && md5sum /mnt/big", 120).split()[0]
    check(sums == md5(f"{shared}/big"), "what the guest wrote is not what the host reads")
    with open(f"{shared}/host-big", "wb") as f:
        for i in range(24):
            f.write(os.urandom(1 << 22))
    check(g.command("dd if=/mnt/host-big bs=333333 2>/dev/null | md5sum", 120).split()[0] == md5(f"{shared}/host-big"),
          "what the host wrote is not what the guest reads")
    for name in ("big", "host-big"):
        os.unlink(f"{shared}/{name}")


def operations(g):
    g.command("cd /mnt && mkdir -p a/b && echo one >a/b/f && mv a c && cat c/b/f && echo two >>c/b/f && ln c/b/f hard && ln -s c/b/f soft")
    check(open(f"{shared}/hard").read() == "one\ntwo\n" and os.readlink(f"{shared}/soft") == "c/b/f", "links")
    check(os.stat(f"{shared}/hard").st_nlink == 2, "no hard link")
    check(g.command("cat soft").split() == ["one", "two"], "by the link")
    # Open files that are renamed and removed.
    text = g.command("exec 3<hard 4>>hard; mv hard moved; rm moved c/b/f; echo three >&4; cat <&3; stat -L -c %s /proc/self/fd/3; exec 3<&- 4>&-")
    check(text.split() == ["one", "two", "three", "14"], f"an unlinked file: {text}")
    g.command("rm soft; rmdir c/b c; mkfifo pipe && test -p pipe && ! mknod null c 1 3 && ! mknod disk b 8 0 && rm pipe")
    check(not os.path.exists(f"{shared}/null"), "the guest made a device on the host")
    g.command("echo x >times && touch -d '2001-02-03 04:05:06' times && chmod 6751 times && truncate -s 12345 times && chown 12:34 times")
    st = os.stat(f"{shared}/times")
    check(st.st_size == 12345 and stat.S_IMODE(st.st_mode) == 0o751, f"attributes: {st}")
    if os.geteuid() == 0:
        check((st.st_uid, st.st_gid) == (12, 34), "the owner")
    check(g.command("touch -d '2001-02-03 04:05:06' times; stat -c '%y %s' times").startswith("2001-02-03 04:05:06"), "times")
    g.command("rm times; echo a >r1; echo b >r2; mv r2 r1; test $(cat r1) = b; rm r1; ! rmdir tree; ! rm -r nothing; ! cat nothing")
    g.command("for i in $(seq 300); do : >many-$i; done; test $(ls | grep -c many-) = 300; rm many-*")
    check("9p" in g.command("df -T /mnt"), "df")
    g.command("echo text >locked; exec 5<>locked; flock -x 5; ! flock -n -x locked true; exec 5<&-; flock -n -x locked true; rm locked")
    g.command("echo s >synced; sync; rm synced; cd /")


def locks_of_the_host(g):
    import fcntl
    with open(f"{shared}/lock", "w") as f:
        fcntl.lockf(f, fcntl.LOCK_EX)
        g.command("! flock -n -x /mnt/lock true")
        fcntl.lockf(f, fcntl.LOCK_UN)
        g.command("flock -n -x /mnt/lock true; rm /mnt/lock")


def no_way_out(g):
    text = g.command("cat /mnt/tree/up; ls /mnt/tree/..; cat /mnt/../secret; ls -a /mnt/.. | head -50; cd /mnt; ls -di ..; cd /; true")
    check(SECRET not in text, "the secret came to the guest by a link")
    # A folder that somebody on the host changes into a link out of it, again and again.
    real, link, name = f"{shared}/.real", f"{shared}/.link", f"{shared}/race"
    os.mkdir(real)
    with open(f"{real}/secret", "w") as f:
        f.write("shared")
    os.symlink(outside, link)
    os.rename(real, name)
    stop = threading.Event()

    def swap():
        while not stop.is_set():
            os.rename(name, real)
            os.rename(link, name)
            time.sleep(0.001)
            os.rename(name, link)
            os.rename(real, name)
            time.sleep(0.001)
    thread = threading.Thread(target=swap)
    thread.start()
    try:
        text = g.command("i=0; while [ $i -lt 400 ]; do i=$((i+1)); cat /mnt/race/secret; echo; done 2>/dev/null | sort | uniq -c; "
                         "for i in $(seq 50); do (echo made >/mnt/race/made-$i) 2>/dev/null; done; true", 120)
    finally:
        stop.set()
        thread.join()
    check(SECRET not in text, "the secret came to the guest while its folder became a link")
    check("shared" in text, f"the guest never saw the folder itself: {text}")
    check(os.listdir(outside) == ["secret"], f"the guest wrote outside of the folder: {os.listdir(outside)}")
    # A folder that leaves while the guest stands in it.
    os.mkdir(f"{shared}/leaves")
    g.command("cd /mnt/leaves; ls")
    os.rename(f"{shared}/leaves", f"{TMP}/left")
    with open(f"{TMP}/left/secret", "w") as f:
        f.write(SECRET)
    check(SECRET not in g.command("cat secret; cat /mnt/leaves/secret; ls -la; echo x >y; cd /; true"), "the guest left with its folder")
    check(os.listdir(f"{TMP}/left") == ["secret"], "the guest wrote into a folder that had left")


def read_only(g):
    g.command("mkdir -p /ro && " + MOUNT.format(tag="fixed", at="/ro", more=""))
    check(g.command("cat /ro/file").strip() == "fixed", "reading")
    g.command("! (echo x >/ro/new) && ! rm /ro/file && ! mkdir /ro/d && ! mv /ro/file /ro/g && ! chmod 600 /ro/file && ! (echo y >>/ro/file) && "
              "! ln -s a /ro/l && ! touch /ro/file; umount /ro")
    check(os.listdir(f"{TMP}/fixed") == ["file"] and open(f"{TMP}/fixed/file").read() == "fixed\n", "the guest changed it")


def save(g, arguments):
    r = visor("save", "share", f"{TMP}/saved", "--stop", status=1)
    check("'files' mounted" in r.stderr and "unmount" in r.stderr, f"the save's error: {r.stderr}")
    g.command("umount /mnt")
    g.send("echo mark\n")
    g.expect(r"^mark\r?$")
    visor("save", "share", f"{TMP}/saved", "--stop", timeout=120)
    g.wait(0)
    g = Guest("--restore", f"{TMP}/saved", "--name", "share")
    g.send("\n")
    g.expect(PROMPT)
    g.command(MOUNT.format(tag="files", at="/mnt", more=""))
    g.command("test -f /mnt/tree/d0/e0/file-0 && test -L /mnt/tree/up")
    return g


def as_nobody():
    """Everything belongs to whoever runs visor."""
    folder, run = os.path.join(TMP, "nobodys"), os.path.join(TMP, "run")
    for path in (folder, run):
        os.mkdir(path)
        os.chown(path, 65534, 65534)
    os.chmod(TMP, 0o755)
    probe = subprocess.run([VISOR, "version"], user=65534, capture_output=True, cwd="/") if os.access(VISOR, os.X_OK) else None
    guest, = prepare("devices-amd64")
    if not probe or probe.returncode or subprocess.run(["test", "-r", f"{guest}/vmlinuz"], user=65534).returncode:
        print("not as nobody: the program or the guest is out of its reach")
        return
    os.environ["XDG_RUNTIME_DIR"] = run
    g = Guest("--memory", "256M", "-v", f"{folder}:files", "--kernel", f"{guest}/vmlinuz", "--initrd", f"{guest}/initrd.gz", "--append",
              "console=ttyS0", program=("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", VISOR, "run"))
    g.expect(PROMPT, 60)
    g.command(MOUNT.format(tag="files", at="/mnt", more=""))
    g.command("cd /mnt && mkdir d && echo text >d/f && chown 5:6 d/f && chmod 640 d/f && mv d e && ln -s f e/l && cat e/l && "
              "tar cf /tmp/t e && rm -r e && tar xf /tmp/t && cat e/f; cd /")
    st = os.stat(f"{folder}/e/f")
    check((st.st_uid, stat.S_IMODE(st.st_mode)) == (65534, 0o640), f"owner and mode as nobody: {st}")
    g.power_off()


def main():
    os.mkdir(shared)
    os.mkdir(outside)
    os.mkdir(f"{TMP}/fixed")
    with open(f"{outside}/secret", "w") as f:
        f.write(SECRET)
    with open(f"{TMP}/fixed/file", "w") as f:
        f.write("fixed\n")
    make_tree(f"{shared}/tree")
    r = visor("run", "-v", "nothing", "--kernel", "x", status=2)
    check("HOSTDIR:TAG" in r.stderr, r.stderr)
    r = visor("run", "--share", f"{TMP}/missing:files", "--bios", status=1)
    check("missing" in r.stderr, r.stderr)
    arguments = ("--name", "share", "--memory", "512M", "-v", f"{shared}:files", "--share", f"{TMP}/fixed:fixed:ro")
    g = linux("devices-amd64", *arguments)
    g.command(MOUNT.format(tag="files", at="/mnt", more=""))
    parts = [there_and_back, large, operations, locks_of_the_host, no_way_out, read_only]
    for part in parts:
        part(g)
        print(f"passed: {part.__name__}", flush=True)
    g.command("umount /mnt && " + MOUNT.format(tag="files", at="/mnt", more=",cache=loose"))
    there_and_back(g)
    print("passed: cached", flush=True)
    g = save(g, arguments)
    print("passed: save", flush=True)
    g.check_log()
    g.power_off()
    if os.geteuid() == 0:
        as_nobody()
        print("passed: as_nobody", flush=True)


main()
