// SPDX-License-Identifier: GPL-2.0-or-later
/* fft LOG2-SIZE ROUNDS: radix-2 Fourier transforms of a made-up signal and back; prints samples of the spectrum. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static void transform(double *re, double *im, int bits, int sign)
{
	int n = 1 << bits;
	for (int i = 0, j = 0; i < n; i++) {
		if (i < j) {
			double t = re[i];
			re[i] = re[j], re[j] = t;
			t = im[i];
			im[i] = im[j], im[j] = t;
		}
		int bit = n >> 1;
		for (; j & bit; bit >>= 1)
			j ^= bit;
		j |= bit;
	}
	for (int half = 1; half < n; half *= 2) {
		double step = sign * M_PI / half, wr = cos(step), wi = sin(step);
		for (int start = 0; start < n; start += 2 * half) {
			double cr = 1, ci = 0;
			for (int k = start; k < start + half; k++) {
				double tr = re[k + half] * cr - im[k + half] * ci, ti = re[k + half] * ci + im[k + half] * cr;
				re[k + half] = re[k] - tr;
				im[k + half] = im[k] - ti;
				re[k] += tr;
				im[k] += ti;
				double t = cr * wr - ci * wi;
				ci = cr * wi + ci * wr;
				cr = t;
			}
		}
	}
}

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	int bits = atoi(argv[1]), rounds = atoi(argv[2]), n = 1 << bits;
	double *re = calloc((size_t)n, sizeof(*re)), *im = calloc((size_t)n, sizeof(*im));
	if (!re || !im)
		return 1;
	for (int i = 0; i < n; i++)
		re[i] = sin(i * 0.01) + 0.5 * cos(i * i * 0.0001);
	for (int r = 0; r < rounds; r++) {
		transform(re, im, bits, -1);
		printf("%.17g %.17g\n", re[r % n], im[(r * 7) % n]);
		transform(re, im, bits, 1);
		for (int i = 0; i < n; i++)
			re[i] /= n, im[i] /= n;
	}
	return 0;
}
