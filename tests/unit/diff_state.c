/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "diff_state.h"

#include <cpuid.h>
#include <stdio.h>

#include "cpu/flags.h"
#include "cpu/fpu.h"

static uint64_t components; /* XCR0 & what visor knows */
static unsigned component_offset[8], vector_size;

uint64_t diff_components(void)
{
	if (components)
		return components;
	uint32_t a, b, cx, d;
	__cpuid_count(0xd, 0, a, b, cx, d);
	components = a & (XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_AVX512);
	for (unsigned n = 2; n < 8; n++) {
		__cpuid_count(0xd, n, a, b, cx, d);
		component_offset[n] = b;
	}
	vector_size = components & XCR0_AVX512 ? 64 : components & XCR0_AVX ? 32 : 16;
	return components;
}

/* --- random contents --- */

static uint64_t special_integer(void)
{
	static const uint64_t values[] = { 0, 1, 2, ~0ull, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000,
					   0xffffffff,
					   0x7fffffffffffffff, 0x8000000000000000, 31, 32, 63, 64 };
	return values[diff_below(ARRAY_SIZE(values))];
}

/* A floating-point number of any format by its fields. */
static uint64_t random_real(unsigned exponent_bits, unsigned fraction_bits)
{
	uint64_t fraction = diff_random() & (BIT64(fraction_bits) - 1), top = BIT64(exponent_bits) - 1, exponent;
	switch (diff_below(10)) {
	case 0: exponent = 0; break;
	case 1: exponent = top; break;
	case 2: exponent = 0; fraction = 0; break;
	case 3: exponent = top; fraction = 0; break;
	case 4: exponent = top >> 1; fraction = 0; break;
	case 5: exponent = diff_random() & top; break;
	case 6: exponent = (top >> 1) + diff_below(fraction_bits + 2); fraction &= ~0ull << diff_below(fraction_bits); break;
	case 7: exponent = (diff_below(2) ? 0 : top - 2) + diff_below(3); break;
	default: exponent = (top >> 1) - 8 + diff_below(16); break;
	}
	return (diff_random() & BIT64(exponent_bits)) << fraction_bits | (exponent & top) << fraction_bits | fraction;
}

void diff_random_bytes(uint8_t *to, unsigned size)
{
	unsigned kind = diff_below(8);
	for (unsigned n = 0; n < size; n += 8) {
		uint64_t v = diff_random();
		if (kind < 3)
			v = random_real(11, 52);
		else if (kind < 5)
			v = random_real(8, 23) | random_real(8, 23) << 32;
		else if (kind == 5)
			v = random_real(5, 10) | random_real(5, 10) << 16 | random_real(8, 7) << 32 | random_real(8, 7) << 48;
		else if (kind == 6)
			v = special_integer();
		memcpy(to + n, &v, MIN(8u, size - n));
	}
}

static void random_st(uint8_t *st)
{
	unsigned kind = diff_below(12);
	uint64_t significand = diff_random() | BIT64(63);
	unsigned exponent = 16383 - 40 + diff_below(80);
	switch (kind) {
	case 0: exponent = 0; significand = 0; break;
	case 1: exponent = 0; significand &= ~BIT64(63); break;
	case 2: exponent = 0; break; /* pseudo-denormal */
	case 3: exponent = 0x7fff; significand = BIT64(63); break;
	case 4: exponent = 0x7fff; break;
	case 5: exponent = 0x7fff; significand &= ~BIT64(62); break;
	case 6: significand &= ~BIT64(63); break; /* unnormal */
	case 7: exponent = diff_below(32768); break;
	case 8: significand &= ~0ull << diff_below(64); exponent = 16383; break;
	default: break;
	}
	store_le64(st, significand);
	store_le16(st + 8, (uint16_t)(exponent | diff_below(2) << 15));
}

static void random_x87(struct diff_state *s, bool x87)
{
	for (unsigned n = 0; n < 8; n++)
		random_st(s->st[n]);
	s->fcw = (uint16_t)((diff_random() & 0x0f00) | 0x7f);
	if (diff_chance(10))
		s->fcw = (uint16_t)((s->fcw & ~0x3fu) | diff_below(64));
	s->fsw = (uint16_t)(diff_random() & 0x7f00);
	if (diff_chance(20))
		s->fsw |= (uint16_t)diff_below(128);
	if (s->fsw & ~s->fcw & 0x3f && diff_chance(x87 ? 80 : 100)) /* a pending exception, now and then */
		s->fsw &= 0x7f00;
	s->tags = (uint8_t)(diff_chance(70) ? 0xff : diff_random());
}

uint64_t diff_random_gpr(void)
{
	switch (diff_below(4)) {
	case 0: return special_integer();
	case 2: return diff_random() >> diff_below(64);
	default: return diff_random();
	}
}
/* MXCSR: any rounding, DAZ and FTZ; now and then exceptions unmasked. */
static uint32_t random_mxcsr(void)
{
	uint32_t mxcsr = (diff_random() & 0xe040) | MXCSR_MASKS;
	if (diff_chance(30))
		mxcsr |= diff_below(64);
	if (diff_chance(10))
		mxcsr ^= diff_below(64) << 7;
	return mxcsr;
}

static uint64_t random_mask(void)
{
	switch (diff_below(5)) {
	case 0: return 0;
	case 1: return ~0ull;
	case 2: return diff_random() & diff_random() & diff_random();
	default: return diff_random();
	}
}
void diff_state_fill(struct diff_state *s, bool x87)
{
	diff_components();
	memset(s, 0, sizeof *s);
	for (unsigned n = 0; n < 16; n++)
		s->gpr[n] = diff_random_gpr();
	s->rflags = diff_random() & (FLAG_ARITH | FLAG_DF);
	for (unsigned n = 0; n < 32; n++)
		if (n < 16 || vector_size == 64)
			diff_random_bytes(s->vec[n], vector_size);
	for (unsigned n = 0; n < 8 && vector_size == 64; n++)
		s->k[n] = random_mask();
	s->mxcsr = random_mxcsr();
	random_x87(s, x87);
}

/* --- between the forms of state --- */

void diff_state_to_cpu(const struct diff_state *s, struct cpu *c)
{
	memcpy(c->gpr, s->gpr, sizeof s->gpr);
	c->rflags = (c->rflags & ~(FLAG_DF | FLAG_ARITH)) | (s->rflags & FLAG_DF);
	c->cc = cc_from_rflags(s->rflags);
	memcpy(c->vec, s->vec, sizeof s->vec);
	memcpy(c->k, s->k, sizeof s->k);
	c->mxcsr = s->mxcsr;
	c->x87[X87_FTW] = s->tags;
	x87_set_control(c, s->fcw, s->fsw);
	for (unsigned n = 0; n < 8; n++)
		memcpy(x87_st(c, n), s->st[n], 10);
}

void diff_state_from_cpu(struct diff_state *s, const struct cpu *c)
{
	memcpy(s->gpr, c->gpr, sizeof s->gpr);
	s->rflags = (c->rflags & FLAG_DF) | (cc_to_rflags(c->cc) & FLAG_ARITH);
	memcpy(s->vec, c->vec, sizeof s->vec);
	memcpy(s->k, c->k, sizeof s->k);
	s->mxcsr = c->mxcsr;
	s->fcw = x87_fcw(c);
	s->fsw = x87_fsw(c);
	s->tags = x87_tags(c);
	for (unsigned n = 0; n < 8; n++)
		memcpy(s->st[n], c->x87 + X87_ST + 16 * n, 10);
}

static _Alignas(64) uint8_t area[4096];

void *diff_state_to_xsave(const struct diff_state *s, uint64_t *mask)
{
	memset(area, 0, sizeof area);
	store_le16(area, s->fcw);
	store_le16(area + X87_FSW, s->fsw);
	area[X87_FTW] = s->tags;
	store_le32(area + X87_MXCSR, s->mxcsr);
	for (unsigned n = 0; n < 8; n++)
		memcpy(area + X87_ST + 16 * n, s->st[n], 10);
	for (unsigned n = 0; n < 16; n++) {
		memcpy(area + 160 + 16 * n, s->vec[n], 16);
		if (components & XCR0_AVX)
			memcpy(area + component_offset[2] + 16 * n, s->vec[n] + 16, 16);
		if (components & XCR0_ZMM_HI256)
			memcpy(area + component_offset[6] + 32 * n, s->vec[n] + 32, 32);
		if (components & XCR0_HI16_ZMM)
			memcpy(area + component_offset[7] + 64 * n, s->vec[16 + n], 64);
	}
	if (components & XCR0_OPMASK)
		memcpy(area + component_offset[5], s->k, 64);
	store_le64(area + 512, components);
	*mask = components;
	return area;
}

/* XSAVE need not store what is in its initial state, which XSTATE_BV shows. */
void diff_state_from_xsave(struct diff_state *s, const void *from)
{
	static const uint8_t zeros[64];
	const uint8_t *a = from;
	uint64_t present = load_le64(a + 512);
	memset(s->vec, 0, sizeof s->vec);
	memset(s->k, 0, sizeof s->k);
	s->fcw = present & 1 ? load_le16(a) : X87_FCW_INIT;
	s->fsw = present & 1 ? load_le16(a + X87_FSW) : 0;
	s->tags = present & 1 ? a[X87_FTW] : 0;
	s->mxcsr = load_le32(a + X87_MXCSR);
	for (unsigned n = 0; n < 8; n++)
		memcpy(s->st[n], present & 1 ? a + X87_ST + 16 * n : zeros, 10);
	for (unsigned n = 0; n < 16; n++) {
		if (present & XCR0_SSE)
			memcpy(s->vec[n], a + 160 + 16 * n, 16);
		if (present & XCR0_AVX)
			memcpy(s->vec[n] + 16, a + component_offset[2] + 16 * n, 16);
		if (present & XCR0_ZMM_HI256)
			memcpy(s->vec[n] + 32, a + component_offset[6] + 32 * n, 32);
		if (present & XCR0_HI16_ZMM)
			memcpy(s->vec[16 + n], a + component_offset[7] + 64 * n, 64);
	}
	if (present & XCR0_OPMASK)
		memcpy(s->k, a + component_offset[5], 64);
}

/* --- comparing --- */

static bool same_number(const char *name, uint64_t host, uint64_t guest, uint64_t before, bool print)
{
	if (host != guest && print)
		printf("  %s: host %llx visor %llx, before %llx\n", name, (unsigned long long)host, (unsigned long long)guest,
		       (unsigned long long)before);
	return host == guest;
}

static void print_bytes(const char *who, const uint8_t *bytes, unsigned size)
{
	printf("    %-6s ", who);
	for (unsigned n = size; n-- > 0;)
		printf("%02x%s", bytes[n], n % 8 == 0 && n ? "_" : "");
	printf("\n");
}

static bool same_bytes(const char *name, unsigned number, const uint8_t *host, const uint8_t *guest,
		       const uint8_t *before, unsigned size, bool print)
{
	if (memcmp(host, guest, size) == 0)
		return true;
	if (print) {
		printf("  %s%u\n", name, number);
		print_bytes("host", host, size);
		print_bytes("visor", guest, size);
		print_bytes("before", before, size);
	}
	return false;
}

static bool same_x87(const struct diff_state *h, const struct diff_state *g, const struct diff_state *s, bool print)
{
	bool same = same_number("fcw", h->fcw, g->fcw, s->fcw, print);
	same &= same_number("fsw", h->fsw, g->fsw, s->fsw, print);
	same &= same_number("tags", h->tags, g->tags, s->tags, print);
	for (unsigned n = 0; n < 8; n++)
		same &= same_bytes("st", n, h->st[n], g->st[n], s->st[n], 10, print);
	return same;
}

bool diff_state_equal(const struct diff_state *h, const struct diff_state *g, const struct diff_state *s,
		      uint64_t undefined, bool print)
{
	static const char *const names[16] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
					       "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15" };
	bool same = same_number("flags", h->rflags & ~undefined, g->rflags & ~undefined, s->rflags, print);
	same &= same_number("mxcsr", h->mxcsr, g->mxcsr, s->mxcsr, print);
	for (unsigned n = 0; n < 16; n++)
		same &= same_number(names[n], h->gpr[n], g->gpr[n], s->gpr[n], print);
	for (unsigned n = 0; n < 32; n++)
		same &= same_bytes("vec", n, h->vec[n], g->vec[n], s->vec[n], 64, print);
	for (unsigned n = 0; n < 8; n++)
		same &= same_number("k", h->k[n], g->k[n], s->k[n], print);
	same &= same_x87(h, g, s, print);
	return same;
}
