#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# tools/initramfs.sh KERNEL-TREE BUSYBOX OUTPUT [MODULE...]: a gzipped initramfs that boots to a
# shell with job control on the console. KERNEL-TREE is an unpacked Debian kernel
# package (lib/modules/VERSION); BUSYBOX a static busybox of the guest's architecture; MODULEs are loaded besides the usual ones.
set -eu

tree=$1 busybox=$2 output=$3
shift 3
# What the guest's devices and a disk's file system want; what a kernel has built in is simply not found.
wanted="virtio_pci virtio_blk virtio_console virtio-rng virtio_net e1000 pcnet32 af_packet ext4 crc32c_generic"

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"
for folder in bin sbin etc proc sys dev tmp root mnt usr/bin usr/sbin lib/modules; do
	mkdir -p "$root/$folder"
done
cp "$busybox" "$root/bin/busybox"
chmod 755 "$root/bin/busybox"

# Copies the wanted modules and what they depend on; etc/modules lists them in an order in which insmod can load them.
modules=$(echo "$tree"/lib/modules/*)
# The "depends" line of .modinfo separates by commas; names have _ where the file may have -.
depends_of() { tr '\0' '\n' <"$1" | sed -n 's/^depends=//p' | head -n 1 | tr ',' ' '; }
find_module() { find "$modules" -name "$(echo "$1" | sed 's/[-_]/[-_]/g').ko" | head -n 1; }
load() {
	set -- "$(find_module "$1")" # its own variable in each level of the recursion
	[ -n "$1" ] || return 0
	case " $seen " in *" $1 "*) return 0 ;; esac
	seen="$seen $1"
	for dependency in $(depends_of "$1"); do
		load "$dependency"
	done
	cp "$1" "$root/lib/modules/"
	basename "$1" >>"$root/etc/modules"
}
seen=
: >"$root/etc/modules"
for module in $wanted "$@"; do
	load "$module"
done

cat >"$root/init" <<'INIT'
#!/bin/busybox sh
# Runs as process 1: mounts, loads the modules, then hands over to busybox init.
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox --install -s
mkdir -p /dev/pts
mount -t devpts devpts /dev/pts
while read -r module; do
	insmod "/lib/modules/$module" 2>/dev/null
done </etc/modules
hostname visor
console=$(sed 's/.* //' /sys/class/tty/console/active)
cat >/etc/inittab <<INITTAB
${console:-console}::respawn:-/bin/sh
::ctrlaltdel:/sbin/reboot
::shutdown:/bin/sync
INITTAB
exec /sbin/init
INIT
chmod 755 "$root/init"
cat >"$root/etc/profile" <<'PROFILE'
export HOME=/root PATH=/bin:/sbin:/usr/bin:/usr/sbin TERM=${TERM:-linux} PS1='\h:\w# '
cd
if [ ! -e /tmp/.greeted ]; then
	: >/tmp/.greeted
	echo
	echo "Welcome: $(uname -srm), $(nproc) processor(s), $(sed -n 's/MemTotal: *//p' /proc/meminfo) of memory."
	echo "This is a shell in the guest. 'poweroff' ends the machine; Ctrl-] then q quits visor."
fi
PROFILE
echo 'root::0:0:root:/root:/bin/sh' >"$root/etc/passwd"
# What udhcpc learns: `ip link set eth0 up; udhcpc -i eth0 -n -q` gives the guest a network.
mkdir -p "$root/etc/udhcpc"
cat >"$root/etc/udhcpc/default.script" <<'DHCP'
#!/bin/sh
case $1 in
deconfig)
	ip addr flush dev "$interface" scope global
	ip link set "$interface" up ;;
renew | bound)
	ip addr add "$ip/${mask:-24}" dev "$interface" 2>/dev/null
	for gateway in $router; do
		ip route replace default via "$gateway" dev "$interface"
	done
	: >/etc/resolv.conf
	for server in $dns; do
		echo "nameserver $server" >>/etc/resolv.conf
	done ;;
esac
DHCP
chmod 755 "$root/etc/udhcpc/default.script"
(cd "$root" && find . | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0) | gzip -9n >"$output.new"
mv "$output.new" "$output"
