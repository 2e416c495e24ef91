// SPDX-License-Identifier: GPL-2.0-or-later
/* matrix SIZE ROUNDS: multiplies matrices of doubles, then solves a linear system by elimination. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static void fill(double *m, int n, unsigned seed)
{
	for (int i = 0; i < n * n; i++) {
		seed = seed * 1664525u + 1013904223u;
		m[i] = (double)(seed >> 8) / (1 << 24) - 0.5;
	}
}

static void multiply(double *c, const double *a, const double *b, int n)
{
	for (int i = 0; i < n; i++) {
		for (int j = 0; j < n; j++)
			c[i * n + j] = 0;
		for (int k = 0; k < n; k++)
			for (int j = 0; j < n; j++)
				c[i * n + j] += a[i * n + k] * b[k * n + j];
	}
}

/* Gaussian elimination with pivots in place; the determinant's logarithm. */
static double eliminate(double *m, int n)
{
	double log_det = 0;
	for (int k = 0; k < n; k++) {
		int pivot = k;
		for (int i = k + 1; i < n; i++)
			if (fabs(m[i * n + k]) > fabs(m[pivot * n + k]))
				pivot = i;
		for (int j = 0; j < n; j++) {
			double t = m[k * n + j];
			m[k * n + j] = m[pivot * n + j];
			m[pivot * n + j] = t;
		}
		log_det += log(fabs(m[k * n + k]));
		for (int i = k + 1; i < n; i++) {
			double f = m[i * n + k] / m[k * n + k];
			for (int j = k; j < n; j++)
				m[i * n + j] -= f * m[k * n + j];
		}
	}
	return log_det;
}

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	int n = atoi(argv[1]), rounds = atoi(argv[2]);
	size_t size = (size_t)n * (size_t)n * sizeof(double);
	double *a = malloc(size), *b = malloc(size), *c = malloc(size);
	if (!a || !b || !c)
		return 1;
	for (int r = 0; r < rounds; r++) {
		fill(a, n, 1 + (unsigned)r);
		fill(b, n, 1000 + (unsigned)r);
		multiply(c, a, b, n);
		printf("%.17g ", c[n + r % n]);
		printf("%.17g\n", eliminate(c, n));
	}
	return 0;
}
