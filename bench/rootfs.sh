#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# bench/rootfs.sh GUESTS OUTPUT: the root file system that the bench runs natively and in every machine.
# OUTPUT/root is the tree (for the chroot), OUTPUT/root.img the same as an ext4 image. Made from Debian's packages,
# unpacked without their maintainer scripts, plus bench/'s own programs, compiled by the tree's own gcc.
# Needs root or user namespaces (see enter.sh). Nothing is done when nothing changed.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1" "$2"
dir=$(cd "$1" && pwd)
out=$(cd "$2" && pwd)
root=$out/root

die() { echo "rootfs.sh: $*" >&2; exit 1; }
. "$here/../tools/apt.sh"

packages="dash coreutils findutils diffutils tar sed grep gzip xz-utils zstd bzip2 perl-base python3-minimal lua5.4
 sqlite3 mawk openssl gcc libc6-dev libssl-dev libc-bin"

# The packages, into a new tree with Debian's merged /usr.
unpack() {
	echo "rootfs.sh: fetching and unpacking Debian packages" >&2
	apt_update amd64
	rm -rf "$root"
	mkdir -p "$root/usr/bin" "$root/usr/sbin" "$root/usr/lib" "$root/usr/lib64"
	for folder in bin sbin lib lib64; do
		ln -s "usr/$folder" "$root/$folder"
	done
	mkdir -p "$root/proc" "$root/sys" "$root/dev" "$root/tmp" "$root/bench" "$root/etc"
	# To a tree without a status file every dependency is new.
	# --print-uris leaves out what has been fetched: the list is made with an empty archive.
	mkdir -p "$out/empty/partial"
	apt amd64 apt-get -y --no-install-recommends -o Dir::Cache::archives="$out/empty" --print-uris install $packages \
		>"$out/uris" 2>"$out/apt.log" &&
		apt amd64 apt-get -y --no-install-recommends --download-only install $packages >"$out/apt.log" 2>&1 || {
		rm -f "$dir/.apt/amd64/updated" # the lists may be older than the archive
		cat "$out/apt.log" >&2
		die "cannot fetch the packages; run the command again"
	}
	sed -n "s/^'[^']*' \([^ ]*\.deb\) .*/\1/p" "$out/uris" | while read -r deb; do
		dpkg-deb --fsys-tarfile "$dir/.apt/amd64/cache/archives/$deb" |
			tar -x --keep-directory-symlink --no-same-owner -C "$root" || die "cannot unpack $deb"
	done
	ln -sf mawk "$root/usr/bin/awk"
	ln -sf dash "$root/usr/bin/sh"
	rm -rf "$root/usr/share/doc" "$root/usr/share/man" "$root/usr/share/locale" \
		"$root/usr/lib/x86_64-linux-gnu/libcrypto.a"
	"$here/enter.sh" "$root" /usr/bin/python3 -m compileall -q /usr/lib/python3.11 >/dev/null
}

# What the workloads read: text and machine code out of the packages, a C source of our own making.
inputs() {
	mkdir -p "$root/bench/input"
	find "$root/usr/lib/python3.11" "$root/usr/lib/x86_64-linux-gnu/perl-base" "$root/usr/include" \
		-name '*.py' -o -name '*.p[lm]' -o -name '*.h' | LC_ALL=C sort | head -n 3000 | xargs cat 2>/dev/null |
		head -c 12000000 >"$root/bench/input/text"
	head -c 12000000 "$root/usr/lib/gcc/x86_64-linux-gnu/12/cc1" >"$root/bench/input/code"
	python3 "$here/csource.py" 120 >"$root/bench/input/source.c"
}

install_bench() {
	rm -rf "$root/bench"
	mkdir -p "$root/bench/bin"
	cp -r "$here/programs" "$here/workloads" "$here/guest/agent" "$root/bench/"
	inputs
	for source in "$here"/programs/*.c; do
		name=$(basename "$source" .c)
		# -lcrypto is dropped where nothing wants it.
		"$here/enter.sh" "$root" /usr/bin/gcc -O2 -std=gnu17 -Wall -Wextra -pthread -Wl,--as-needed \
			"/bench/programs/$name.c" -o "/bench/bin/$name" -lcrypto -lm || die "cannot compile $name.c"
	done
}

# As sparse as it goes; it is only ever read.
image() {
	rm -f "$out/root.img" "$out/root.img.new"
	size=$(($(du -sm --apparent-size "$root" | cut -f 1) * 5 / 4 + 64))
	/sbin/mkfs.ext4 -q -O ^has_journal -m 0 -E root_owner=0:0 -d "$root" "$out/root.img.new" "${size}M" \
		>"$out/mkfs.log" 2>&1 || {
		cat "$out/mkfs.log" >&2
		die "mkfs.ext4 cannot make $out/root.img"
	}
	mv "$out/root.img.new" "$out/root.img"
}

exec 9>"$out/.lock"
flock 9
want=$(echo "$packages" | sha256sum)
[ "$(cat "$out/packages.stamp" 2>/dev/null)" = "$want" ] || {
	rm -f "$out/packages.stamp" "$out/bench.stamp"
	unpack
	echo "$want" >"$out/packages.stamp"
}
want=$(cat "$0" "$here/csource.py" "$here/guest/agent" "$here"/programs/* "$here"/workloads/* | sha256sum)
[ "$(cat "$out/bench.stamp" 2>/dev/null)" = "$want" ] || {
	rm -f "$out/bench.stamp"
	install_bench
	image
	echo "$want" >"$out/bench.stamp"
	echo "rootfs.sh: $out/root.img is ready" >&2
}
