# SPDX-License-Identifier: GPL-2.0-or-later
# Floating point, scalar and what gcc -O2 makes of loops.

matrix_prepare() { warm matrix; }
matrix_run() { matrix 200 "$(n 120)"; }

fft_prepare() { warm fft; }
fft_run() { fft 14 "$(n 600)"; }

awk_prepare() { warm awk; }
awk_run() {
	awk -v rows="$(n 6000)" 'BEGIN {
		for (row = 0; row < rows; row++) {
			line = ""
			for (column = 0; column < 100; column++) {
				x = y = 0; cx = column / 40 - 2; cy = row / 40 - 1.25
				for (i = 0; i < 60 && x * x + y * y < 4; i++) { t = x * x - y * y + cx; y = 2 * x * y + cy; x = t }
				line = line sprintf("%d:%.9g ", i, x)
			}
			print line
		}
	}'
}

nbody_prepare() { warm python3; }
nbody_run() { python3 /bench/programs/nbody.py "$(n 60000)"; }
