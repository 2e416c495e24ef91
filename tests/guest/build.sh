#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# build.sh OUTPUT-DIR [NAME...]: compiles guest tests (all, or those named) to 32-bit ELF files that Multiboot loads.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=$1
shift
mkdir -p "$out"
CC=${CC:-gcc}
flags="-std=gnu17 -Os -Wall -Wextra -Wno-unused-parameter -ffreestanding -fno-pic -no-pie -mno-red-zone -mgeneral-regs-only -fno-strict-aliasing
 -fno-stack-protector -fno-asynchronous-unwind-tables -fcf-protection=none -mcmodel=large -I$here/lib"
[ $# -gt 0 ] || set -- $(cd "$here" && ls ./*.c ./*.S 2>/dev/null | sed 's,^\./,,; s,\.[cS]$,,' | sort -u)
$CC $flags -c "$here/lib/start64.S" -o "$out/start64.o"
$CC $flags -c "$here/lib/guest.c" -o "$out/guest.o"
for name; do
	objects=
	for source in "$here/$name.c" "$here/$name.S"; do
		[ -f "$source" ] || continue
		object="$out/$name.$(echo "${source##*.}" | tr A-Z a-z).o"
		$CC $flags -c "$source" -o "$object"
		objects="$objects $object"
	done
	# A file that names its own multiboot_entry is a whole guest of its own.
	if nm $objects 2>/dev/null | grep -q ' T multiboot_entry'; then lib=; else lib="$out/start64.o $out/guest.o"; fi
	ld -m elf_x86_64 -z noexecstack -z max-page-size=4096 --no-warn-rwx-segments -n -T "$here/lib/guest.ld" $lib $objects -o "$out/$name.elf64" 2>/dev/null ||
	ld -m elf_x86_64 -z max-page-size=4096 -n -T "$here/lib/guest.ld" $lib $objects -o "$out/$name.elf64"
	objcopy -O elf32-i386 "$out/$name.elf64" "$out/$name.elf"
done
