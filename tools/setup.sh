#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# tools/setup.sh SET...: installs the Debian packages of these sets (build, test, bench, interp) that are missing.
# As root by apt-get; else it says what to install and fails.
set -eu

build="gcc meson ninja-build pkg-config libc6-dev libjansson-dev libzstd-dev zlib1g-dev libmicrohttpd-dev liburing-dev libslirp-dev"
build="$build libpng-dev libvncserver-dev libarchive-dev liblzma-dev liblz4-dev libbz2-dev libcurl4-gnutls-dev nettle-dev libfuse3-dev"
# Guests are unpacked from packages on the way; SeaBIOS is the firmware of a machine without a kernel.
build="$build apt dpkg cpio gzip util-linux seabios"
test="qemu-system-x86 qemu-utils iproute2 ipxe-qemu ovmf mtools libcmocka-dev libzydis-dev libdrm-dev python3 gdb curl e2fsprogs fdisk fuse3 fuse2fs grub-common grub-pc-bin lz4 xz-utils"
# visor image build, and what a machine made from its image is asked with.
test="$test mmdebstrap grub-efi-amd64-bin openssh-client"
bench="qemu-system-x86 e2fsprogs iperf3 python3 grub-common grub-pc-bin xorriso mtools"
interp="qemu-system-x86 bochs bochsbios vgabios grub-common grub-pc-bin xorriso mtools busybox-static python3"

missing=
for set; do
	case $set in
	build) packages=$build ;;
	test) packages=$test ;;
	bench) packages=$bench ;;
	interp) packages=$interp ;; # bench/interp.py
	*) echo "usage: tools/setup.sh build|test|bench|interp..." >&2; exit 2 ;;
	esac
	for package in $packages; do
		dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q ' installed$' || missing="$missing $package"
	done
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null; then
	echo "setup.sh: this system is not Debian; install what these packages of Debian 12 have:$missing" >&2
	exit 1
fi
if [ "$(id -u)" != 0 ]; then
	echo "setup.sh: packages are missing; install them with: sudo apt-get install$missing" >&2
	exit 1
fi
echo "setup.sh: installing$missing" >&2
export DEBIAN_FRONTEND=noninteractive
apt-get -q -y install --no-install-recommends $missing >/tmp/visor-setup.$$ 2>&1 || {
	# The package lists may be missing or old.
	apt-get -q update && apt-get -q -y install --no-install-recommends $missing
} >/tmp/visor-setup.$$ 2>&1 || {
	cat /tmp/visor-setup.$$ >&2
	rm -f /tmp/visor-setup.$$
	echo "setup.sh: cannot install$missing; see above" >&2
	exit 1
}
rm -f /tmp/visor-setup.$$
