# SPDX-License-Identifier: GPL-2.0-or-later
# The compiler on a generated file (csource.py); cc1 and as work once before, on something small.

gcc_prepare() {
	warm gcc as
	cat "$(gcc -print-prog-name=cc1)" >/dev/null
	# Whole groups of functions only, each of which opens with "static uint64_t".
	awk -v groups="$(n 40)" '/^static uint64_t/ && groups-- == 0 { exit } { print }' /bench/input/source.c >source.c
	echo 'int main(void) { return 0; }' >small.c
	gcc -O2 -c small.c
}
gcc_run() { gcc -O2 -c source.c && cat source.o; }
