#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Prepares stock guests from Debian's packages: tools/guest.sh [-d DIR] NAME...
# Each guest becomes DIR/NAME/ (vmlinuz and initrd.gz, a firmware image, or a disk: root.img, of the tree root/) and
# is made once, and again when the way in which it is made has changed (DIR/NAME/recipe is a checksum of that). Needs no
# root (see apt.sh), but for debian-amd64: a disk that 'visor image build' makes, by mmdebstrap. VISOR names the program;
# without it that of build/.
set -eu

dir=guest
here=$(cd "$(dirname "$0")" && pwd)
names="cloud-amd64 generic-amd64 i386-686 i386-686-pae installer-amd64 memtest seabios programs-amd64 pc-amd64 pc-i386 grub-rescue devices-amd64"
names="$names media-amd64 tools-i386"
# Not made by `all`, since they take minutes and need visor itself.
more="debian-amd64"

die() { echo "guest.sh: $*" >&2; exit 1; }

usage() {
	echo "usage: tools/guest.sh [-d DIR] NAME..."
	echo "NAME: $names, or all; $more"
}

. "$here/apt.sh"
. "$here/tree.sh"

# The newest package name behind a meta package: linux-image-amd64 -> linux-image-6.1.0-NN-amd64.
resolve() {
	apt_update "$1"
	apt "$1" apt-cache depends "$2" | sed -n 's/^ *Depends: \(linux-image-[0-9][^ ]*\)$/\1/p' | head -n 1
}

# unpack ARCH PACKAGE INTO
unpack() {
	apt_update "$1"
	mkdir -p "$dir/.deb" "$3"
	set -- "$1" "$2" "$3" "$(find "$dir/.deb" -name "$2_*_$1.deb" -o -name "$2_*_all.deb" | head -n 1)"
	if [ -z "$4" ]; then
		echo "guest.sh: fetching $2 ($1)" >&2
		(cd "$dir/.deb" && apt "$1" apt-get download "$2" >&2) || {
			rm -f "$dir/.apt/$1/updated" # the lists may be older than the archive
			die "cannot fetch the package $2 for $1; run the command again"
		}
		set -- "$1" "$2" "$3" "$(find "$dir/.deb" -name "$2_*_$1.deb" -o -name "$2_*_all.deb" | head -n 1)"
	fi
	dpkg-deb -x "$4" "$3"
}

# linux ARCH META INTO [MODULE...]: a kernel, and an initramfs with busybox and the modules that visor's devices want
linux() {
	package=$(resolve "$1" "$2")
	[ -n "$package" ] || die "$2 names no kernel package in Debian's lists for $1"
	unpack "$1" "$package" "$3/kernel"
	unpack "$1" busybox-static "$3/busybox"
	into=$3
	shift 3
	cp "$into"/kernel/boot/vmlinuz-* "$into/vmlinuz"
	"$here/initramfs.sh" "$into/kernel" "$into/busybox/bin/busybox" "$into/initrd.gz" "$@"
	echo "$package" >"$into/version"
	rm -rf "$into/kernel" "$into/busybox"
}

# Drivers of the parts of a PC that are not virtio.
pc_modules="ata_piix sd_mod sr_mod isofs floppy vfat nls_cp437 nls_ascii parport_pc ppdev lp psmouse bochs BusLogic pcnet32 e1000
	snd-sb16 snd-pcm-oss vmwgfx"

# Drivers of what a monitor offers its guests.
device_modules="9p 9pnet_virtio virtio_balloon vmw_vsock_virtio_transport i6300esb pvpanic-mmio virtio_input evdev"

# Drivers of a virtio GPU and of what the virtio sound card's, which Debian's kernel leaves out, wants.
media_modules="virtio_gpu virtio_input evdev snd-pcm snd-pcm-oss"

# add_driver FOLDER INTO: a driver that Debian does not build, made from Debian's source of the kernel that INTO has; as /lib/modules/NAME.ko in its initrd
add_driver() {
	version=$(sed 's/^linux-image-//' "$2/version")
	unpack amd64 "linux-headers-$version" "$2/work"
	unpack amd64 "linux-headers-${version%-amd64}-common" "$2/work"
	unpack amd64 linux-kbuild-6.1 "$2/work"
	unpack amd64 linux-source-6.1 "$2/work"
	sed -i "s,/usr/,$2/work/usr/,g" "$2/work/usr/src/linux-headers-$version/Makefile"
	tar -xJf "$2/work/usr/src/linux-source-6.1.tar.xz" -C "$2/work" "linux-source-6.1/$1"
	# The configuration says no; the makefiles of the headers take the host's compiler.
	option=$(sed -n 's/^obj-\$(\(CONFIG_[A-Z_]*\)).*/\1/p' "$2/work/linux-source-6.1/$1/Makefile" | head -n 1)
	make -C "$2/work/usr/src/linux-headers-$version" M="$2/work/linux-source-6.1/$1" "$option=m" CC=gcc modules >"$2/work/log" 2>&1 || {
		cat "$2/work/log" >&2
		die "cannot build the driver in $1"
	}
	mkdir -p "$2/work/root/lib/modules"
	cp "$2/work/linux-source-6.1/$1"/*.ko "$2/work/root/lib/modules/"
	strip -g "$2/work/root/lib/modules/"*.ko
	(cd "$2/work/root" && find lib -name '*.ko' | cpio --quiet -o -H newc -R 0:0) | gzip -9n >>"$2/initrd.gz"
	rm -rf "$2/work"
}

make_guest() {
	case $1 in
	cloud-amd64) linux amd64 linux-image-cloud-amd64 "$2" ;;
	generic-amd64) linux amd64 linux-image-amd64 "$2" ;;
	pc-amd64) linux amd64 linux-image-amd64 "$2" $pc_modules ;;
	devices-amd64) linux amd64 linux-image-amd64 "$2" $device_modules ;;
	media-amd64)
		linux amd64 linux-image-amd64 "$2" $media_modules
		add_driver sound/virtio "$2" ;;
	pc-i386) linux i386 linux-image-686 "$2" $pc_modules ;; # Debian builds drivers of ISA sound cards for i386 alone
	i386-686) linux i386 linux-image-686 "$2" ;;
	i386-686-pae) linux i386 linux-image-686-pae "$2" ;;
	installer-amd64)
		unpack amd64 debian-installer-12-netboot-amd64 "$2/deb"
		set -- "$1" "$2" "$2/deb/usr/lib/debian-installer/images/12/amd64/text/debian-installer/amd64"
		cp "$3/linux" "$2/vmlinuz"
		cp "$3/initrd.gz" "$2/initrd.gz"
		rm -rf "$2/deb" ;;
	memtest)
		unpack amd64 memtest86+ "$2/deb"
		cp "$2/deb/boot/memtest86+x64.bin" "$2/vmlinuz"
		cp "$2/deb/boot/memtest86+ia32.bin" "$2/vmlinuz-ia32"
		rm -rf "$2/deb" ;;
	grub-rescue)
		unpack amd64 grub-rescue-pc "$2/deb"
		cp "$2"/deb/usr/lib/grub-rescue/grub-rescue-cdrom.iso "$2"/deb/usr/lib/grub-rescue/grub-rescue-floppy.img "$2"
		rm -rf "$2/deb" ;;
	seabios)
		unpack amd64 seabios "$2/deb"
		cp "$2/deb/usr/share/seabios/bios-256k.bin" "$2/bios.bin"
		rm -rf "$2/deb" ;;
	debian-amd64)
		[ -x "${VISOR:=$here/../build/visor}" ] || die "debian-amd64: $VISOR is missing; build it first: make"
		"$VISOR" image build debian --output "$2/disk.qcow2" >&2 ;;
	programs-amd64)
		echo "guest.sh: fetching and unpacking a compiler and stress-ng" >&2
		mkdir "$2/work"
		unpack_tree amd64 "$2/root" "$2/work" dash coreutils gcc libc6-dev stress-ng
		tree_image "$2/root" "$2/root.img" "$2/work/mkfs.log"
		rm -rf "$2/work" ;;
	tools-i386)
		echo "guest.sh: fetching and unpacking programs that list and try devices" >&2
		mkdir "$2/work"
		unpack_tree i386 "$2/root" "$2/work" dash coreutils pciutils util-linux iproute2 alsa-utils
		tree_image "$2/root" "$2/root.img" "$2/work/mkfs.log"
		rm -rf "$2/work" ;;
	esac
}

# recipe NAME: a checksum of what make_guest does for it
recipe() {
	branch=$(sed -n "/^\t$1)/,/;;/p" "$here/guest.sh")
	{
		echo "$branch"
		case $branch in
		*pc_modules*) echo "$pc_modules" ;;
		*media_modules*) echo "$media_modules"; sed -n '/^add_driver()/,/^}/p' "$here/guest.sh" ;;
		esac
		case $branch in
		*" linux "*) sed -n '/^linux()/,/^}/p' "$here/guest.sh"; cat "$here/initramfs.sh" ;;
		*unpack_tree*) cat "$here/tree.sh" ;;
		*"image build"*) cat "$here"/../src/store/build.[ch] "$here"/../src/store/build_boot.[ch] "$here"/../src/store/gpt.c ;;
		esac
	} | cksum
}

while getopts d:h option; do
	case $option in
	d) dir=$OPTARG ;;
	h) usage; exit 0 ;;
	*) usage >&2; exit 2 ;;
	esac
done
shift $((OPTIND - 1))
[ $# -gt 0 ] || { usage >&2; exit 2; }
[ "$1" != all ] || set -- $names
for name; do
	case " $names $more " in
	*" $name "*) ;;
	*) echo "guest.sh: there is no guest '$name'; choose from: $names $more" >&2; exit 2 ;;
	esac
done
for tool in apt-get dpkg-deb cpio flock gzip; do
	command -v $tool >/dev/null || die "$tool is missing; install the packages apt, dpkg, cpio, util-linux and gzip"
done

mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
exec 9>"$dir/.lock"
flock 9
for name; do
	recipe=$(recipe "$name")
	[ ! -d "$dir/$name" ] || [ "$(cat "$dir/$name/recipe" 2>/dev/null)" != "$recipe" ] || continue
	rm -rf "$dir/.new-$name"
	mkdir "$dir/.new-$name"
	make_guest "$name" "$dir/.new-$name"
	echo "$recipe" >"$dir/.new-$name/recipe"
	rm -rf "$dir/$name"
	mv "$dir/.new-$name" "$dir/$name"
	echo "guest.sh: $dir/$name is ready" >&2
done
