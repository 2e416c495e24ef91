#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian 12 installs itself from the network onto a disk, and runs from it, by SeaBIOS and by OVMF.

The netboot installer takes its answers and all packages from a mirror on the host's loopback, over the user network, which passes
on the archive that the host's own apt uses. Its disk has a boot loader for both kinds of firmware. Where that archive has no
installer components (udebs), which many partial mirrors leave out, the installer cannot go on after its answers: then a
script among those partitions the disk and installs the system with debootstrap and apt, which is what those components do.
INSTALL_FORMATS names the disk formats (qcow2), of which each takes 6 to 15 minutes; INSTALL_WAY, components or script, asks for one of both ways.
"""
import resource, shutil
from harness import *
from mirror import Mirror, apt_archive

FORMATS = os.environ.get("INSTALL_FORMATS", "qcow2").split(",")
ENGINE = os.environ.get("INSTALL_ENGINE", "jit")
SUITE, PASSWORD, HOST = "bookworm", "visor-test", "installed"
GREETING = b"hello from the host\n"

if not apt_archive(SUITE):
    print(f"the host's apt has no source of Debian's {SUITE}, which the mirror passes on")
    sys.exit(77)
folder, = prepare("installer-amd64")

# One partition for each kind of firmware's boot loader. /boot/efi is mounted by name of a file system alone, since the installer,
# which was started without firmware, knows no EFI partitions; sfdisk gives it the type.
RECIPE = """both :: 1 1 1 free method{ biosgrub } .
  40 40 40 fat32 method{ format } format{ } use_filesystem{ } filesystem{ fat32 } mountpoint{ /boot/efi } .
  1200 2000 -1 ext4 method{ format } format{ } use_filesystem{ } filesystem{ ext4 } mountpoint{ / } ."""
LATE = """in-target apt-get install -y --no-install-recommends grub-efi-amd64-bin;
  in-target grub-install --target=x86_64-efi --efi-directory=/boot/efi --removable --no-nvram;
  in-target sfdisk --part-type /dev/vda 2 U --force --no-reread"""


def preseed(port):
    def line(text):
        return " ".join(text.split())
    return f"""# What Debian's installer would ask (Debian's installation guide, appendix B).
d-i debian-installer/language string en
d-i debian-installer/country string US
d-i debian-installer/locale string C
d-i keyboard-configuration/xkb-keymap select us
d-i netcfg/choose_interface select auto
d-i netcfg/get_hostname string {HOST}
d-i netcfg/get_domain string test
d-i hw-detect/load_firmware boolean false
d-i mirror/country string manual
d-i mirror/protocol string http
d-i mirror/http/hostname string 10.0.2.2:{port}
d-i mirror/http/directory string /debian
d-i mirror/http/proxy string
d-i mirror/suite string {SUITE}
d-i passwd/root-login boolean true
d-i passwd/root-password password {PASSWORD}
d-i passwd/root-password-again password {PASSWORD}
d-i passwd/make-user boolean false
d-i clock-setup/utc boolean true
d-i clock-setup/ntp boolean false
d-i time/zone string UTC
d-i partman-auto/disk string /dev/vda
d-i partman-auto/method string regular
d-i partman-partitioning/default_label string gpt
d-i partman-auto/expert_recipe string {line(RECIPE)}
d-i partman-basicfilesystems/no_swap boolean false
d-i partman-partitioning/confirm_write_new_label boolean true
d-i partman/choose_partition select finish
d-i partman/confirm boolean true
d-i partman/confirm_nooverwrite boolean true
d-i base-installer/install-recommends boolean false
d-i base-installer/kernel/image string linux-image-amd64
d-i base-installer/initramfs-tools/driver-policy select dep
d-i apt-setup/services-select multiselect
d-i apt-setup/non-free-firmware boolean false
d-i apt-setup/enable-source-repositories boolean false
d-i pkgsel/run_tasksel boolean false
d-i pkgsel/upgrade select none
d-i pkgsel/update-policy select none
popularity-contest popularity-contest/participate boolean false
d-i grub-installer/only_debian boolean true
d-i grub-installer/with_other_os boolean false
d-i grub-installer/bootdev string /dev/vda
d-i preseed/late_command string {line(LATE)}
d-i finish-install/reboot_in_progress note
d-i cdrom-detect/eject boolean false
d-i debian-installer/exit/poweroff boolean true
"""


# What the installer's own system has not, from the packages that have it.
TOOLS = """e2fsprogs libext2fs2 libcom-err2 libss2 libblkid1 libuuid1 dosfstools fdisk libfdisk1 libmount1 libsmartcols1 libselinux1
  libpcre2-8-0 debootstrap perl-base libcrypt1 libreadline8 libtinfo6 libncursesw6 xz-utils liblzma5""".split()
MODULES = ["virtio_blk.ko", "ext4.ko", "jbd2.ko"]
SCRIPT = f"""#!/bin/sh
exec >/dev/console 2>&1 </dev/null
host=http://10.0.2.2:PORT
trap 'echo "the installation failed in: $step"; sleep 2; poweroff -f' EXIT
# What it configures must not ask the installer's debconf.
unset DEBIAN_HAS_FRONTEND DEBCONF_FRONTEND DEBCONF_REDIR DEBCONF_OLD_FD_BASE
export DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true
exec 3>&- 4>&- 5>&- 6>&-
set -e
next() {{ step=$1; echo; echo "step: $step"; }}
next tools
for tool in TOOLS; do
	wget -q -O /tmp/tool.deb $host/debian/$tool
	case $(ar t /tmp/tool.deb) in *data.tar.gz*) ar p /tmp/tool.deb data.tar.gz | zcat ;; *) ar p /tmp/tool.deb data.tar.xz | xzcat ;; esac |
		tar -x -C /
done
wget -q -O - $host/modules.tar | tar -x -C /tmp
for module in virtio_blk mbcache jbd2 crc16 ext4 fat vfat nls_cp437 nls_ascii; do
	if [ -e /tmp/$module.ko ]; then insmod /tmp/$module.ko; else modprobe $module; fi
done
next partitions
udevadm settle
printf '%s\\n' 'label: gpt' 'size=1MiB, type=21686148-6449-6E6F-744E-656564454649' 'size=40MiB, type=U' 'type=L' | sfdisk /dev/vda
udevadm settle
mkfs.vfat /dev/vda2
mkfs.ext4 -q -F /dev/vda3
mkdir -p /target
mount -t ext4 /dev/vda3 /target
mkdir -p /target/boot/efi
mount -t vfat /dev/vda2 /target/boot/efi
next base
mkdir -p /target/etc/dpkg/dpkg.cfg.d /target/etc/initramfs-tools/conf.d
echo force-unsafe-io >/target/etc/dpkg/dpkg.cfg.d/installer
echo MODULES=dep >/target/etc/initramfs-tools/conf.d/driver-policy
debootstrap --arch=amd64 --keyring=/usr/share/keyrings/debian-archive-keyring.gpg {SUITE} /target $host/debian
next settings
for place in dev proc sys; do mount -o bind /$place /target/$place 2>/dev/null || mount --bind /$place /target/$place; done
echo "deb $host/debian {SUITE} main" >/target/etc/apt/sources.list
echo {HOST} >/target/etc/hostname
printf '127.0.0.1 localhost {HOST}\\n' >/target/etc/hosts
printf '/dev/vda3 / ext4 errors=remount-ro 0 1\\n/dev/vda2 /boot/efi vfat umask=0077 0 1\\n' >/target/etc/fstab
for card in /sys/class/net/e*; do card=${{card##*/}}; printf 'auto %s\\niface %s inet dhcp\\n' $card $card; done >>/target/etc/network/interfaces
echo root:{PASSWORD} | chroot /target chpasswd
next packages
chroot /target apt-get -q -o Acquire::Languages=none update
chroot /target apt-get -q -y --no-install-recommends install linux-image-amd64 grub-pc-bin grub-efi-amd64-bin grub2-common
next loader
printf 'GRUB_CMDLINE_LINUX=console=ttyS0\\nGRUB_TIMEOUT=1\\n' >>/target/etc/default/grub
chroot /target grub-install --target=i386-pc /dev/vda
chroot /target grub-install --target=x86_64-efi --efi-directory=/boot/efi --removable --no-nvram
chroot /target update-grub
next end
rm /target/etc/dpkg/dpkg.cfg.d/installer
sync
umount /target/boot/efi /target/dev /target/proc /target/sys
umount /target
trap - EXIT
echo "the installation is complete"
sleep 1
poweroff -f
"""
WAYS = {
    # What comes on the console, and how many seconds it may take until then.
    "components": (("Starting system log daemon", 60), ("Loading additional components", 120), ("Partitions formatting", 300),
                   ("Installing the base system", 120), ("Select and install software", 900), ("Installing GRUB boot loader", 300),
                   ("Finishing the installation", 300)),
    "script": (("Starting system log daemon", 60), ("^step: tools", 120), ("^step: partitions", 120), ("^step: base", 60),
               ("^step: settings", 900), ("^step: packages", 30), ("^step: loader", 600), ("^the installation is complete", 120)),
}


def archive_paths(*packages):
    """Where the packages' versions of SUITE are in the archive: newer ones, of security updates, are in another one."""
    r = subprocess.run(["apt-get", "download", "--print-uris", "-q", *(f"{p}:amd64/{SUITE}" for p in packages)], capture_output=True, text=True)
    uris = re.findall(r"^'(\S+)'", r.stdout, re.M)
    check(len(uris) == len(packages), f"apt-get download --print-uris: {r.stdout}{r.stderr}")
    return [uri[uri.index("/pool/") + 1:] for uri in uris]


def kernel_version():
    """Of the installer (Linux's boot protocol, kernel_version)."""
    with open(f"{folder}/vmlinuz", "rb") as f:
        data = f.read(0x10000)
    at = int.from_bytes(data[0x20e:0x210], "little") + 0x200
    return data[at:data.index(b" ", at)].decode()


def kernel_modules():
    """A tar archive of MODULES, of the installer's kernel."""
    path, = archive_paths(f"linux-image-{kernel_version()}")
    package = mirror.fetch(path)
    check(package, f"{path} is not in the archive")
    root = tempfile.mkdtemp(dir=TMP)
    unpacked = subprocess.run(f"dpkg-deb --fsys-tarfile {package} | tar -x -C {root} --wildcards " + " ".join(f"'*/{m}'" for m in MODULES), shell=True)
    check(unpacked.returncode == 0, f"{path} has not {MODULES}")
    for top, _, names in os.walk(root):
        for name in names:
            os.rename(os.path.join(top, name), os.path.join(root, name))
    return subprocess.run(["tar", "-c", "-C", root, *MODULES], capture_output=True, check=True).stdout


def has_components():
    """Whether the archive has the files that its list of udebs names: some stand for all. Partial mirrors have a few."""
    index = mirror.fetch(f"dists/{SUITE}/main/debian-installer/binary-amd64/Packages.gz")
    if not index:
        return False
    with gzip.open(index, "rt") as f:
        paths = re.findall(r"^Filename: (.*/(?:libparted2-udeb|apt-setup-udeb|partman-target|grub-installer|finish-install)_.*)$", f.read(), re.M)
    return len(paths) == 5 and all(mirror.fetch(path) for path in paths)


mirror = Mirror(os.path.join(GUESTS, "mirror"), SUITE, {"greeting": GREETING})
if not mirror.fetch(f"dists/{SUITE}/main/binary-amd64/Packages.xz"):
    print(f"{mirror.origin}, where the host's apt has {SUITE} from, does not answer or has no list of packages")
    sys.exit(77)
way = os.environ.get("INSTALL_WAY") or ("components" if has_components() else "script")
answers = preseed(mirror.port)
if way == "script":
    print("the archive has no installer components: a script installs", flush=True)
    mirror.files["modules.tar"] = kernel_modules()
    script = SCRIPT.replace("PORT", str(mirror.port)).replace("in TOOLS", "in " + " ".join(archive_paths(*TOOLS)))
    mirror.files["install.sh"] = script.encode()
    answers += f"d-i preseed/early_command string wget -O /tmp/install.sh http://10.0.2.2:{mirror.port}/install.sh && sh /tmp/install.sh\n"
mirror.files["preseed.cfg"] = answers.encode()


def install(disk):
    g = Guest("--engine", ENGINE, "--memory", "2G", "--kernel", f"{folder}/vmlinuz", "--initrd", f"{folder}/initrd.gz", "--disk", disk,
              "--append", "console=ttyS0 DEBIAN_FRONTEND=text auto=true priority=critical "
              f"url=http://10.0.2.2:{mirror.port}/preseed.cfg")
    for step, seconds in WAYS[way]:
        g.expect(step, seconds)
        print(f"{time.monotonic() - start:6.1f} s: {step.lstrip('^')}", flush=True)
    g.wait(0, 300)


def boots(disk, *firmware):
    g = Guest("--engine", ENGINE, "--memory", "1G", "--disk", disk, *firmware)
    g.expect(f"{HOST} login: ", 240)
    g.send("root\n")
    g.expect("Password: ")
    g.send(PASSWORD + "\n")
    g.expect(f"root@{HOST}:~# ", 60)
    # The shell's echo has no such line.
    g.send(f"exec 3<>/dev/tcp/10.0.2.2/{mirror.port}; printf 'GET /greeting HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3\n")
    g.expect("^" + GREETING.decode().strip(), 60)
    g.send("[ -d /sys/firmware/efi ] && echo by-''efi || echo by-''bios; df / | tail -n 1; systemctl is-system-running --wait\n")
    g.expect("by-efi" if firmware else "by-bios")
    g.expect("^/dev/vda3 ")
    g.expect("^running", 60)
    g.send("poweroff\n")
    g.wait(0, 60)
    return g


def verify(disk, format):
    """The image as another program sees it: no errors, and the same content as our own raw copy."""
    if not shutil.which("qemu-img"):
        print("qemu-img is not installed: the image was not looked at with it")
        return
    names = {"vhd": "vpc"}
    raw = os.path.join(TMP, "copy.raw")
    visor("disk", "check", disk, timeout=120)
    visor("disk", "convert", "--format", "raw", disk, raw, timeout=300)
    for command in ([] if format == "vhd" else ["check", "-f", format, disk]), ["compare", "-f", names.get(format, format), "-F", "raw", disk, raw]:
        if not command:  # qemu-img has no check for VHD
            continue
        r = subprocess.run(["qemu-img", *command], capture_output=True, text=True)
        check(r.returncode == 0, f"qemu-img {' '.join(command)}: {r.stdout}{r.stderr}")
    os.remove(raw)


for format in FORMATS:
    start = time.monotonic()
    disk = os.path.join(TMP, f"disk.{format}")
    visor("disk", "create", disk, "3G")
    install(disk)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"{format}: installed in {time.monotonic() - start:.0f} s, {used.ru_utime + used.ru_stime:.0f} s of processor time; {mirror.asked}", flush=True)
    boots(disk).check_log()
    print(f"passed: {format}, from SeaBIOS", flush=True)
    boots(disk, "--firmware", "uefi").check_log()
    print(f"passed: {format}, from OVMF", flush=True)
    verify(disk, format)
    print(f"passed: {format}, qemu-img", flush=True)
    os.remove(disk)
