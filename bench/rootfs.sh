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
. "$here/../tools/tree.sh"

packages="dash coreutils findutils diffutils tar sed grep gzip xz-utils zstd bzip2 perl-base python3-minimal lua5.4
 sqlite3 mawk openssl gcc libc6-dev libssl-dev libc-bin fio iperf3"

unpack() {
	echo "rootfs.sh: fetching and unpacking Debian packages" >&2
	unpack_tree amd64 "$root" "$out" $packages
	ln -sf mawk "$root/usr/bin/awk"
	rm -f "$root/usr/lib/x86_64-linux-gnu/libcrypto.a"
	"$here/enter.sh" "$root" /usr/bin/python3 -m compileall -q /usr/lib/python3.11 >/dev/null
}

# What the workloads read: text and machine code out of the packages, a C source of our own making.
inputs() {
	mkdir -p "$root/bench/input"
	find "$root/usr/lib/python3.11" "$root/usr/lib/x86_64-linux-gnu/perl-base" "$root/usr/include" \
		-name '*.py' -o -name '*.p[lm]' -o -name '*.h' | LC_ALL=C sort | xargs cat 2>/dev/null |
		head -c 40000000 >"$root/bench/input/text"
	head -c 24000000 "$root/usr/lib/gcc/x86_64-linux-gnu/12/cc1" >"$root/bench/input/code"
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
	tree_image "$root" "$out/root.img" "$out/mkfs.log"
	echo "$want" >"$out/bench.stamp"
	echo "rootfs.sh: $out/root.img is ready" >&2
}
