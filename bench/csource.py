#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""bench/csource.py N: a C file for the compiler workload, of N groups of functions of about 30 lines each.

Always the same for the same N. Loops, switches, structures, strings and calls between the groups, so that
gcc's inliner, loop passes and register allocator have something to do.
"""
import random
import sys

HEAD = """#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct node {
	struct node *left, *right;
	uint64_t key;
	int32_t values[8];
	char name[24];
};
"""

GROUP = """
static uint64_t mix_{i}(uint64_t x, unsigned rounds)
{{
	for (unsigned i = 0; i < rounds; i++) {{
		x ^= x >> {a};
		x *= {c}ull;
		x ^= x {op} (uint64_t)i * {b};
	}}
	return x;
}}

int classify_{i}(const char *text, size_t length)
{{
	int state = {a};
	for (size_t i = 0; i < length; i++) {{
		switch ((unsigned char)text[i] {op} state) {{
{cases}
		default:
			state = (state * {b} + text[i]) & 255;
		}}
	}}
	return state;
}}

struct node *insert_{i}(struct node *root, struct node *new)
{{
	struct node **at = &root;
	while (*at) {{
		if ((*at)->key == new->key)
			break;
		at = new->key < (*at)->key ? &(*at)->left : &(*at)->right;
	}}
	new->key = mix_{i}(new->key, {rounds}) + (uint64_t)classify_{j}(new->name, sizeof(new->name));
	for (int k = 0; k < 8; k++)
		new->values[k] = (int32_t)(new->key >> k) {op} new->values[(k * {b}) & 7];
	snprintf(new->name, sizeof(new->name), "n%d-%llu", {i}, (unsigned long long)new->key);
	*at = new;
	return root;
}}

double smooth_{i}(double *restrict out, const double *restrict in, size_t n)
{{
	double sum = 0;
	for (size_t k = 1; k + 1 < n; k++) {{
		out[k] = in[k - 1] * {f1} + in[k] * {f2} + in[k + 1] * {f3};
		sum += out[k] {fop} in[k];
	}}
	return sum;
}}
"""

CASE = """\t\tcase {value}:
\t\t\tstate = state {op} {by};
\t\t\tbreak;"""


def group(i, rnd):
    values = rnd.sample(range(32, 127), rnd.randint(6, 14))
    cases = "\n".join(CASE.format(value=v, op=rnd.choice("+-^"), by=rnd.randint(1, 99)) for v in values)
    return GROUP.format(i=i, j=rnd.randint(0, i), a=rnd.randint(3, 31), b=rnd.randint(3, 61), c=rnd.getrandbits(62) | 1,
                        op=rnd.choice("+^-|"), cases=cases, rounds=rnd.randint(2, 9), f1=round(rnd.random(), 3),
                        f2=round(rnd.random(), 3), f3=round(rnd.random(), 3), fop=rnd.choice("+-*"))


def main():
    rnd = random.Random(1)
    sys.stdout.write(HEAD)
    for i in range(int(sys.argv[1])):
        sys.stdout.write(group(i, rnd))


if __name__ == "__main__":
    main()
