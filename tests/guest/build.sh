#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# build.sh OUTPUT-DIR [NAME...]: compiles guest tests (all, or those named) to 32-bit ELF files that Multiboot loads.
# NAME.c is 64-bit, NAME32.c 32-bit. A name with a slash is the path of such a file that lives elsewhere.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=$1
shift
mkdir -p "$out"
CC=${CC:-gcc}
common="-std=gnu17 -Os -Wall -Wextra -Wno-unused-parameter -Wno-array-bounds -ffreestanding -fno-pic -no-pie -mgeneral-regs-only -fno-strict-aliasing
 -fno-stack-protector -fno-asynchronous-unwind-tables -fcf-protection=none -I$here/lib"
[ $# -gt 0 ] || set -- $(cd "$here" && ls ./*.c | sed 's,^\./,,; s,\.c$,,')

# compile BITS SOURCE OBJECT
compile() {
	case $1 in
	64) $CC $common -m64 -mno-red-zone -mcmodel=large -c "$2" -o "$3" ;;
	32) $CC $common -m32 -c "$2" -o "$3" ;;
	esac
}

for bits in 64 32; do
	[ $bits = 64 ] && suffix= || suffix=32
	compile $bits "$here/lib/start$bits.S" "$out/start$bits.o"
	compile $bits "$here/lib/guest$suffix.c" "$out/guest$bits.o"
	compile $bits "$here/lib/report.c" "$out/report$bits.o"
done
for name; do
	source=$here/$name.c
	case $name in */*) source=$name name=$(basename "$name" .c) ;; esac
	case $name in *32) bits=32 format=elf_i386 ;; *) bits=64 format=elf_x86_64 ;; esac
	compile $bits "$source" "$out/$name.o"
	ld -m $format -z noexecstack -z max-page-size=4096 --no-warn-rwx-segments -n -T "$here/lib/guest.ld" \
		"$out/start$bits.o" "$out/guest$bits.o" "$out/report$bits.o" "$out/$name.o" -o "$out/$name.native"
	objcopy -O elf32-i386 "$out/$name.native" "$out/$name.elf"
done
