#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# build.sh OUTPUT-DIR: assembles two 1.44 MB floppy images: lights.img, a game that is its boot sector alone, and dos.img, a small
# system in the manner of DOS with programs (disk.S has the layout).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
cd "$1"
CC=${CC:-gcc}

# assemble NAME ADDRESS OUTPUT
assemble() {
	$CC -m32 -I"$here" -I. -Wa,-I. -c "$here/$1.S" -o "$1.o"
	ld -m elf_i386 -z noexecstack -Ttext "$2" --oformat binary "$1.o" -o "$3"
}

assemble lights 0x7c00 lights.img
truncate -s 1440K lights.img
assemble boot 0x7c00 boot.bin
assemble dos 0 dos.sys
tr -d '\n' <"$here/dig.map" >map.txt
for program in dig planes sound music clock; do
	assemble $program 0x100 $program.com
done
printf 'This disk and all that is on it\r\nwas assembled for visor.\r\n' >readme.txt
printf '0 gems  \r\n' >score.dat
: >files.h
for file in dos.sys readme.txt score.dat dig.com planes.com sound.com music.com clock.com; do
	echo "$file" | tr a-z. A-Z\  | {
		read -r name extension
		printf 'file "%-8s", "%-3s", %d, "%s"\n' "$name" "$extension" "$(wc -c <"$file")" "$file"
	} >>files.h
done
assemble disk 0 dos.img
