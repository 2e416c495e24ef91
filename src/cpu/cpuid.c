/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <cpuid.h>

#include "cpu/cpuid.h"
#include "cpu/system.h"

/*
 * The guest's CPUID (SDM 2A, CPUID; AMD64 APM 3, appendix E): the vendor, family
 * and caches of the host, and of its features those that the model has and
 * visor executes. cpu_init_cpuid builds the leaves; what depends on the moment
 * (OSXSAVE, XSAVE sizes) is put in by cpu_cpuid.
 */

enum { EAX, EBX, ECX, EDX }; /* places in cpuid_leaf.reg */

/* The first model that has a feature; and whether visor provides it without the host's help. */
enum { V1 = CPU_V1, V2, V3, V4, HOST_ONLY, SOFT = 0x80 };

struct feature_bit {
	uint8_t feature;    /* enum isa_feature; FEATURE_BASE: shown, nothing decoded depends on it */
	uint8_t level;
	uint32_t leaf;
	uint8_t subleaf, reg, bit;
};

static const struct feature_bit feature_bits[] = {
	{ FEATURE_FPU, V1, 1, 0, EDX, 0 },
	{ FEATURE_BASE, V1 | SOFT, 1, 0, EDX, 2 },  /* DE */
	{ FEATURE_BASE, V1 | SOFT, 1, 0, EDX, 3 },  /* PSE */
	{ FEATURE_BASE, V1, 1, 0, EDX, 4 },         /* TSC */
	{ FEATURE_BASE, V1 | SOFT, 1, 0, EDX, 5 },  /* MSR */
	{ FEATURE_BASE, V1 | SOFT, 1, 0, EDX, 6 },  /* PAE */
	{ FEATURE_BASE, V1 | SOFT, 1, 0, EDX, 7 },  /* MCE */
	{ FEATURE_CX8, V1, 1, 0, EDX, 8 },
	{ FEATURE_BASE, V1 | SOFT, 1, 0, EDX, 9 },  /* APIC */
	{ FEATURE_SEP, V1 | SOFT, 1, 0, EDX, 11 },
	{ FEATURE_BASE, V1 | SOFT, 1, 0, EDX, 12 }, /* MTRR */
	{ FEATURE_PGE, V1 | SOFT, 1, 0, EDX, 13 },
	{ FEATURE_BASE, V1 | SOFT, 1, 0, EDX, 14 }, /* MCA */
	{ FEATURE_CMOV, V1, 1, 0, EDX, 15 },
	{ FEATURE_BASE, V1 | SOFT, 1, 0, EDX, 16 }, /* PAT */
	{ FEATURE_BASE, V1 | SOFT, 1, 0, EDX, 17 }, /* PSE-36 */
	{ FEATURE_CLFLUSH, V1, 1, 0, EDX, 19 },
	{ FEATURE_MMX, V1, 1, 0, EDX, 23 },
	{ FEATURE_FXSR, V1, 1, 0, EDX, 24 },
	{ FEATURE_SSE, V1, 1, 0, EDX, 25 },
	{ FEATURE_SSE2, V1, 1, 0, EDX, 26 },
	{ FEATURE_SSE3, V2, 1, 0, ECX, 0 },
	{ FEATURE_PCLMUL, HOST_ONLY, 1, 0, ECX, 1 },
	{ FEATURE_SSSE3, V2, 1, 0, ECX, 9 },
	{ FEATURE_FMA, V3, 1, 0, ECX, 12 },
	{ FEATURE_CX16, V2, 1, 0, ECX, 13 },
	{ FEATURE_PCID, V1 | SOFT, 1, 0, ECX, 17 },
	{ FEATURE_SSE41, V2, 1, 0, ECX, 19 },
	{ FEATURE_SSE42, V2, 1, 0, ECX, 20 },
	{ FEATURE_CRC32, V2, 1, 0, ECX, 20 },
	{ FEATURE_X2APIC, V1 | SOFT, 1, 0, ECX, 21 },
	{ FEATURE_MOVBE, V3, 1, 0, ECX, 22 },
	{ FEATURE_POPCNT, V2, 1, 0, ECX, 23 },
	{ FEATURE_TSCDEADLINE, V1 | SOFT, 1, 0, ECX, 24 },
	{ FEATURE_AES, HOST_ONLY, 1, 0, ECX, 25 },
	{ FEATURE_XSAVE, V3, 1, 0, ECX, 26 },
	{ FEATURE_AVX, V3, 1, 0, ECX, 28 },
	{ FEATURE_F16C, V3, 1, 0, ECX, 29 },
	{ FEATURE_RDRAND, HOST_ONLY, 1, 0, ECX, 30 },
	{ FEATURE_BASE, V1 | SOFT, 1, 0, ECX, 31 }, /* hypervisor */
	{ FEATURE_BASE, V1 | SOFT, 6, 0, EAX, 2 },  /* ARAT: the APIC timer never stops */
	{ FEATURE_FSGSBASE, V1 | SOFT, 7, 0, EBX, 0 },
	{ FEATURE_BASE, V1 | SOFT, 7, 0, EBX, 1 },  /* TSC_ADJUST */
	{ FEATURE_BMI1, V3, 7, 0, EBX, 3 },
	{ FEATURE_AVX2, V3, 7, 0, EBX, 5 },
	{ FEATURE_SMEP, V1 | SOFT, 7, 0, EBX, 7 },
	{ FEATURE_BMI2, V3, 7, 0, EBX, 8 },
	{ FEATURE_ERMS, HOST_ONLY, 7, 0, EBX, 9 },
	{ FEATURE_INVPCID, V1 | SOFT, 7, 0, EBX, 10 },
	{ FEATURE_AVX512F, V4, 7, 0, EBX, 16 },
	{ FEATURE_AVX512DQ, V4, 7, 0, EBX, 17 },
	{ FEATURE_RDSEED, HOST_ONLY, 7, 0, EBX, 18 },
	{ FEATURE_ADX, HOST_ONLY, 7, 0, EBX, 19 },
	{ FEATURE_SMAP, V1 | SOFT, 7, 0, EBX, 20 },
	{ FEATURE_AVX512IFMA, HOST_ONLY, 7, 0, EBX, 21 },
	{ FEATURE_CLFLUSHOPT, HOST_ONLY, 7, 0, EBX, 23 },
	{ FEATURE_CLWB, HOST_ONLY, 7, 0, EBX, 24 },
	{ FEATURE_AVX512CD, V4, 7, 0, EBX, 28 },
	{ FEATURE_SHA, HOST_ONLY, 7, 0, EBX, 29 },
	{ FEATURE_AVX512BW, V4, 7, 0, EBX, 30 },
	{ FEATURE_AVX512VL, V4, 7, 0, EBX, 31 },
	{ FEATURE_AVX512VBMI, HOST_ONLY, 7, 0, ECX, 1 },
	{ FEATURE_UMIP, V1 | SOFT, 7, 0, ECX, 2 },
	{ FEATURE_AVX512VBMI2, HOST_ONLY, 7, 0, ECX, 6 },
	{ FEATURE_GFNI, HOST_ONLY, 7, 0, ECX, 8 },
	{ FEATURE_VAES, HOST_ONLY, 7, 0, ECX, 9 },
	{ FEATURE_VPCLMUL, HOST_ONLY, 7, 0, ECX, 10 },
	{ FEATURE_AVX512VNNI, HOST_ONLY, 7, 0, ECX, 11 },
	{ FEATURE_AVX512BITALG, HOST_ONLY, 7, 0, ECX, 12 },
	{ FEATURE_AVX512VPOPCNTDQ, HOST_ONLY, 7, 0, ECX, 14 },
	{ FEATURE_RDPID, HOST_ONLY | SOFT, 7, 0, ECX, 22 },
	{ FEATURE_FSRM, HOST_ONLY, 7, 0, EDX, 4 },
	{ FEATURE_AVX512VP2INTERSECT, HOST_ONLY, 7, 0, EDX, 8 },
	{ FEATURE_AVX512FP16, HOST_ONLY, 7, 0, EDX, 23 },
	{ FEATURE_AVXVNNI, HOST_ONLY, 7, 1, EAX, 4 },
	{ FEATURE_AVX512BF16, HOST_ONLY, 7, 1, EAX, 5 },
	{ FEATURE_XSAVEOPT, V3, 0xd, 1, EAX, 0 },
	{ FEATURE_XSAVEC, V3, 0xd, 1, EAX, 1 },
	{ FEATURE_XGETBV1, V3, 0xd, 1, EAX, 2 },
	{ FEATURE_XSAVES, V3, 0xd, 1, EAX, 3 },
	{ FEATURE_LAHF64, V2, 0x80000001, 0, ECX, 0 },
	{ FEATURE_LZCNT, V3, 0x80000001, 0, ECX, 5 },
	{ FEATURE_SSE4A, HOST_ONLY, 0x80000001, 0, ECX, 6 },
	{ FEATURE_PREFETCHW, HOST_ONLY, 0x80000001, 0, ECX, 8 },
	{ FEATURE_SYSCALL, V1 | SOFT, 0x80000001, 0, EDX, 11 },
	{ FEATURE_NX, V1 | SOFT, 0x80000001, 0, EDX, 20 },
	{ FEATURE_PDPE1GB, V1 | SOFT, 0x80000001, 0, EDX, 26 },
	{ FEATURE_RDTSCP, V1 | SOFT, 0x80000001, 0, EDX, 27 },
	{ FEATURE_LM, V1 | SOFT, 0x80000001, 0, EDX, 29 },
	{ FEATURE_BASE, V1 | SOFT, 0x80000007, 0, EDX, 8 }, /* invariant TSC */
	{ FEATURE_CLZERO, HOST_ONLY, 0x80000008, 0, EBX, 0 },
	{ FEATURE_WBNOINVD, HOST_ONLY | SOFT, 0x80000008, 0, EBX, 9 },
};

/* A feature is of no use without these. */
static const uint8_t needs[][2] = {
	{ FEATURE_AVX, FEATURE_XSAVE }, { FEATURE_XSAVEOPT, FEATURE_XSAVE }, { FEATURE_XSAVEC, FEATURE_XSAVE },
	{ FEATURE_XGETBV1, FEATURE_XSAVE }, { FEATURE_XSAVES, FEATURE_XSAVEC },
	{ FEATURE_AVX2, FEATURE_AVX }, { FEATURE_FMA, FEATURE_AVX }, { FEATURE_F16C, FEATURE_AVX },
	{ FEATURE_VAES, FEATURE_AVX },
	{ FEATURE_VPCLMUL, FEATURE_AVX }, { FEATURE_AVXVNNI, FEATURE_AVX2 }, { FEATURE_AVX512F, FEATURE_AVX2 },
	{ FEATURE_AVX512CD, FEATURE_AVX512F }, { FEATURE_AVX512BW, FEATURE_AVX512F }, { FEATURE_AVX512DQ, FEATURE_AVX512F },
	{ FEATURE_AVX512VL, FEATURE_AVX512F }, { FEATURE_AVX512IFMA, FEATURE_AVX512F },
	{ FEATURE_AVX512VBMI, FEATURE_AVX512F },
	{ FEATURE_AVX512VBMI2, FEATURE_AVX512F }, { FEATURE_AVX512VNNI, FEATURE_AVX512F },
	{ FEATURE_AVX512BITALG, FEATURE_AVX512F },
	{ FEATURE_AVX512VPOPCNTDQ, FEATURE_AVX512F }, { FEATURE_AVX512BF16, FEATURE_AVX512F },
	{ FEATURE_AVX512VP2INTERSECT, FEATURE_AVX512F }, { FEATURE_AVX512FP16, FEATURE_AVX512BW },
};

static struct cpuid_leaf read_host_leaf(uint32_t leaf, uint32_t subleaf)
{
	struct cpuid_leaf l = { .leaf = leaf, .subleaf = subleaf };
	uint32_t max, *r = l.reg;
	__cpuid(leaf & 0xffff0000, max, r[EBX], r[ECX], r[EDX]);
	memset(l.reg, 0, sizeof(l.reg));
	if (leaf <= max)
		__cpuid_count(leaf, subleaf, r[EAX], r[EBX], r[ECX], r[EDX]);
	return l;
}

/* In a virtual machine, where visor mostly runs, a CPUID takes microseconds, and we want some leaves a hundred times. */
static struct cpuid_leaf host_leaf(uint32_t leaf, uint32_t subleaf)
{
	static _Thread_local struct cpuid_leaf known[48];
	static _Thread_local unsigned count;
	for (unsigned i = 0; i < count; i++)
		if (known[i].leaf == leaf && known[i].subleaf == subleaf)
			return known[i];
	struct cpuid_leaf l = read_host_leaf(leaf, subleaf);
	if (count < ARRAY_SIZE(known))
		known[count++] = l;
	return l;
}

/* State components that the host's kernel lets us use. */
static uint64_t host_xcr0(void)
{
	uint32_t low, high;
	if (!(host_leaf(1, 0).reg[ECX] >> 27 & 1))
		return 0;
	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	return low | (uint64_t)high << 32;
}

static void set_feature(uint64_t features[2], unsigned feature, bool on)
{
	uint64_t bit = BIT64(feature & 63);
	features[feature >> 6] = on ? features[feature >> 6] | bit : features[feature >> 6] & ~bit;
}

static bool host_has_bit(const struct feature_bit *f)
{
	return host_leaf(f->leaf, f->subleaf).reg[f->reg] >> f->bit & 1;
}

static bool level_includes(enum cpu_model model, unsigned level)
{
	return model == CPU_HOST || (level & ~(unsigned)SOFT) <= (unsigned)model;
}

static void drop_dependents(uint64_t features[2])
{
	uint64_t xcr0 = host_xcr0();
	if ((xcr0 & 6) != 6)
		set_feature(features, FEATURE_AVX, false);
	if ((xcr0 & 0xe6) != 0xe6)
		set_feature(features, FEATURE_AVX512F, false);
	for (unsigned i = 0; i < ARRAY_SIZE(needs); i++)
		if (!cpu_feature_among(features, needs[i][1]))
			set_feature(features, needs[i][0], false);
}

static void choose_features(uint64_t features[2], enum cpu_model model)
{
	memset(features, 0, 2 * sizeof(features[0]));
	set_feature(features, FEATURE_BASE, true);
	for (unsigned i = 0; i < ARRAY_SIZE(feature_bits); i++) {
		const struct feature_bit *f = &feature_bits[i];
		if (f->feature != FEATURE_BASE && level_includes(model, f->level) && ((f->level & SOFT) || host_has_bit(f)))
			set_feature(features, f->feature, true);
	}
	drop_dependents(features);
}

static int check_level(const struct cpu *c, enum cpu_model model, struct error *err)
{
	for (unsigned i = 0; model != CPU_HOST && i < ARRAY_SIZE(feature_bits); i++) {
		const struct feature_bit *f = &feature_bits[i];
		bool optional = f->leaf == 0xd || (f->level & SOFT); /* not in the levels of the psABI */
		if (!optional && level_includes(model, f->level) && !cpu_has(c, f->feature))
			return error_set(err, 0, "cpu x86-64-v%d: this host, or the engine, lacks CPUID leaf %#x bit %u, which the model needs; "
					 "choose a lower level or \"host\"", (int)model - CPU_V1 + 1, f->leaf, f->bit);
	}
	return 0;
}

static struct cpuid_leaf *add_leaf(struct cpu *c, struct cpuid_leaf leaf)
{
	struct cpuid_leaf *l = &c->cpuid[c->cpuid_count++];
	*l = leaf;
	return l;
}

static struct cpuid_leaf *find_leaf(const struct cpu *c, uint32_t leaf, uint32_t subleaf)
{
	for (unsigned i = 0; i < c->cpuid_count; i++)
		if (c->cpuid[i].leaf == leaf && c->cpuid[i].subleaf == subleaf)
			return &c->cpuid[i];
	return NULL;
}

static struct cpuid_leaf *get_leaf(struct cpu *c, uint32_t leaf, uint32_t subleaf)
{
	struct cpuid_leaf *l = find_leaf(c, leaf, subleaf);
	return l ? l : add_leaf(c, (struct cpuid_leaf){ .leaf = leaf, .subleaf = subleaf });
}

static void set_leaf(struct cpu *c, uint32_t leaf, uint32_t subleaf, uint32_t eax, uint32_t ebx, uint32_t ecx,
		     uint32_t edx)
{
	struct cpuid_leaf *l = get_leaf(c, leaf, subleaf);
	l->reg[EAX] = eax;
	l->reg[EBX] = ebx;
	l->reg[ECX] = ecx;
	l->reg[EDX] = edx;
}

static unsigned cpu_count(const struct cpu *c)
{
	return c->count ? c->count : 1;
}

/* Bits of an APIC ID that tell cores apart. */
static unsigned core_bits(const struct cpu *c)
{
	unsigned bits = 0;
	while (BIT(bits) < cpu_count(c))
		bits++;
	return bits;
}

/* Feature bits go to leaves that are there already. */
static void add_feature_bits(struct cpu *c)
{
	for (unsigned i = 0; i < ARRAY_SIZE(feature_bits); i++) {
		const struct feature_bit *f = &feature_bits[i];
		if (cpu_has(c, f->feature) && ((f->level & SOFT) || host_has_bit(f)))
			get_leaf(c, f->leaf, f->subleaf)->reg[f->reg] |= BIT(f->bit);
	}
	if (c->amd) /* AMD repeats the bits that were there before the leaf */
		get_leaf(c, 0x80000001, 0)->reg[EDX] |= get_leaf(c, 1, 0)->reg[EDX] & 0x0183f3ff;
}

static void add_basic(struct cpu *c)
{
	struct cpuid_leaf id = host_leaf(0, 0), version = host_leaf(1, 0);
	set_leaf(c, 0, 0, c->amd ? 0xd : 0x16, id.reg[EBX], id.reg[ECX], id.reg[EDX]);
	set_leaf(c, 1, 0, version.reg[EAX], 8 << 8 | cpu_count(c) << 16 | c->index << 24, 0, cpu_count(c) > 1 ? BIT(28) : 0);
	get_leaf(c, 7, 0)->reg[EAX] = 1;
	if (!c->amd) {
		get_leaf(c, 7, 0)->reg[EDX] = BIT(29); /* IA32_ARCH_CAPABILITIES */
		add_leaf(c, host_leaf(2, 0));
		if (host_leaf(0, 0).reg[EAX] >= 0x16 && !c->tsc_scale) { /* frequencies of this host */
			add_leaf(c, host_leaf(0x15, 0));
			add_leaf(c, host_leaf(0x16, 0));
		}
	}
}

/* Who shares a cache: the last level serves the socket, the others one core (leaves 4 and 0x8000001d, EAX). */
static uint32_t cache_sharing(const struct cpu *c, uint32_t eax)
{
	unsigned level = eax >> 5 & 7, cores = (1u << core_bits(c)) - 1;
	eax &= 0x3fff;
	if (level >= 3)
		eax |= (c->amd ? cpu_count(c) - 1 : cores) << 14;
	return c->amd ? eax : eax | cores << 26;
}

static void add_caches(struct cpu *c)
{
	uint32_t leaf = c->amd ? 0x8000001d : 4;
	for (unsigned i = 0; i < 8; i++) {
		struct cpuid_leaf l = host_leaf(leaf, i);
		if (!(l.reg[EAX] & 0x1f))
			break;
		l.reg[EAX] = cache_sharing(c, l.reg[EAX]);
		add_leaf(c, l);
	}
}

static void add_topology(struct cpu *c)
{
	set_leaf(c, 0xb, 0, 0, 1, 1 << 8, c->index);
	set_leaf(c, 0xb, 1, core_bits(c), cpu_count(c), 2 << 8 | 1, c->index);
	set_leaf(c, 0xb, 2, 0, 0, 2, c->index);
	if (!c->amd)
		return;
	set_leaf(c, 0x8000001e, 0, c->index, c->index, 0, 0);
	struct cpuid_leaf *extended = get_leaf(c, 0x80000001, 0);
	extended->reg[ECX] |= BIT(22); /* leaves 0x8000001d and 0x8000001e */
	if (cpu_count(c) > 1)
		extended->reg[ECX] |= BIT(1); /* CmpLegacy: logical processors are cores */
}

static void add_xsave(struct cpu *c)
{
	c->xcr0_allowed = 1;
	if (!cpu_has(c, FEATURE_XSAVE))
		return;
	c->xcr0_allowed = cpu_has(c, FEATURE_AVX512F) ? 0xe7 : cpu_has(c, FEATURE_AVX) ? 7 : 3;
	uint32_t size = 576; /* legacy area and header */
	for (unsigned i = 2; i < 8; i++) {
		if (!(c->xcr0_allowed >> i & 1))
			continue;
		struct cpuid_leaf l = host_leaf(0xd, i);
		l.reg[ECX] &= 2; /* aligned in the compacted format; no supervisor state */
		l.reg[EDX] = 0;
		size = MAX(size, l.reg[EAX] + l.reg[EBX]);
		add_leaf(c, l);
	}
	set_leaf(c, 0xd, 0, (uint32_t)c->xcr0_allowed, 576, size, 0);
	get_leaf(c, 0xd, 1);
}

static void add_brand(struct cpu *c)
{
	if (c->model == CPU_HOST) {
		for (uint32_t i = 0x80000002; i <= 0x80000004; i++)
			add_leaf(c, host_leaf(i, 0));
		return;
	}
	char brand[48] = "visor x86-64-v1 processor";
	brand[14] = (char)('1' + c->model - CPU_V1);
	for (uint32_t i = 0; i < 3; i++)
		memcpy(get_leaf(c, 0x80000002 + i, 0)->reg, brand + 16 * i, 16);
}

/* As many as memory and devices need, and no less than 40: UEFI maps all that can be addressed in pages of 2 MiB, for which 46 bits
 * would take 256 MiB of tables. */
static unsigned address_bits(const struct cpu *c)
{
	unsigned bits = 40;
	while (c->memory && bits < 46 && (MEMORY_HIGH_BASE + c->memory->ram_size) >> bits)
		bits++;
	return bits;
}

static void add_extended(struct cpu *c)
{
	struct cpuid_leaf id = host_leaf(0x80000000, 0), sizes = host_leaf(0x80000008, 0);
	unsigned physical = sizes.reg[EAX] & 0xff;
	c->physical_bits = (uint8_t)MIN(physical ? physical : 36, address_bits(c));
	set_leaf(c, 0x80000000, 0, c->amd ? 0x80000021 : 0x80000008, id.reg[EBX], id.reg[ECX], id.reg[EDX]);
	set_leaf(c, 0x80000001, 0, c->amd ? host_leaf(0x80000001, 0).reg[EAX] : 0,
		 c->amd ? host_leaf(0x80000001, 0).reg[EBX] : 0, 0, 0);
	add_brand(c);
	if (c->amd) {
		add_leaf(c, host_leaf(0x80000005, 0));
		add_leaf(c, host_leaf(0x80000021, 0));
		/* LFENCE serializes as the host's does; a null selector clears the base. */
		set_leaf(c, 0x80000021, 0, (get_leaf(c, 0x80000021, 0)->reg[EAX] & 4) | 0x40, 0, 0, 0);
	}
	add_leaf(c, host_leaf(0x80000006, 0));
	set_leaf(c, 0x80000008, 0, c->physical_bits | 48 << 8, 0, c->amd ? (cpu_count(c) - 1) | core_bits(c) << 12 : 0, 0);
}

#define KVM_FEATURE_CLOCKSOURCE BIT(0)
#define KVM_FEATURE_NOP_IO_DELAY BIT(1)
#define KVM_FEATURE_CLOCKSOURCE2 BIT(3)
#define KVM_FEATURE_CLOCKSOURCE_STABLE BIT(24)

static void add_kvm(struct cpu *c)
{
	set_leaf(c, 0x40000000, 0, 0x40000001, 0x4b4d564b, 0x564b4d56, 0x4d); /* "KVMKVMKVM" */
	set_leaf(c, 0x40000001, 0, KVM_FEATURE_CLOCKSOURCE | KVM_FEATURE_NOP_IO_DELAY | KVM_FEATURE_CLOCKSOURCE2 |
		 KVM_FEATURE_CLOCKSOURCE_STABLE, 0, 0, 0);
}

#define CPUID_MAX_LEAVES 64

/* Each XSAVE asks for them. */
static void note_xsave(struct cpu *c)
{
	for (unsigned i = 2; i < ARRAY_SIZE(c->xsave_place); i++) {
		const struct cpuid_leaf *l = find_leaf(c, 0xd, i);
		c->xsave_place[i] = l ? (struct xsave_place){ l->reg[EBX], l->reg[ECX] & 2 } : (struct xsave_place){ 0 };
	}
}

static void build_leaves(struct cpu *c)
{
	add_basic(c);
	add_extended(c);
	add_caches(c);
	add_topology(c);
	add_xsave(c);
	add_feature_bits(c);
	add_kvm(c);
	note_xsave(c);
}

int cpu_init_cpuid(struct cpu *c, enum cpu_model model, struct error *err)
{
	struct cpuid_leaf id = host_leaf(0, 0);
	bool hygon = !memcmp(&id.reg[EBX], "Hygo", 4);
	choose_features(c->features, model);
	if (check_level(c, model, err) < 0)
		return -1;
	cpu_free_cpuid(c);
	c->cpuid = calloc(CPUID_MAX_LEAVES, sizeof(*c->cpuid));
	if (!c->cpuid)
		return error_set(err, 12, "cpu %u: no memory for its CPUID leaves", c->index);
	c->amd = c->saved_amd = hygon || !memcmp(&id.reg[EBX], "Auth", 4);
	c->model = (uint8_t)model;
	memcpy(c->saved_features, c->features, sizeof(c->features));
	build_leaves(c);
	return 0;
}

void cpuid_features(const struct cpuid_leaf *leaves, unsigned count, uint64_t features[2])
{
	memset(features, 0, 2 * sizeof(features[0]));
	for (unsigned i = 0; i < ARRAY_SIZE(feature_bits); i++) {
		const struct feature_bit *f = &feature_bits[i];
		for (unsigned n = 0; n < count; n++)
			if (leaves[n].leaf == f->leaf && leaves[n].subleaf == f->subleaf && (leaves[n].reg[f->reg] >> f->bit & 1))
				features[f->feature >> 6] |= BIT64(f->feature & 63);
	}
}

void cpu_hidden_features(const struct cpu *c, uint64_t hidden[2])
{
	uint64_t host[2];
	choose_features(host, CPU_HOST);
	memset(hidden, 0, 2 * sizeof(hidden[0]));
	for (unsigned i = 0; i < ARRAY_SIZE(feature_bits); i++) {
		const struct feature_bit *f = &feature_bits[i];
		if (!(f->level & SOFT) && !cpu_has(c, f->feature))
			hidden[f->feature >> 6] |= host[f->feature >> 6] & BIT64(f->feature & 63);
	}
}

int cpu_limit_features(struct cpu *c, const uint64_t features[2], struct error *err)
{
	cpuid_keep_features(c, features);
	memcpy(c->saved_features, c->features, sizeof(c->features));
	return check_level(c, c->model, err);
}

void cpuid_keep_features(struct cpu *c, const uint64_t features[2])
{
	for (unsigned i = 0; i < ARRAY_SIZE(c->features); i++)
		c->features[i] &= features[i];
	set_feature(c->features, FEATURE_BASE, true);
	drop_dependents(c->features);
	memset(c->cpuid, 0, CPUID_MAX_LEAVES * sizeof(*c->cpuid));
	c->cpuid_count = 0;
	build_leaves(c);
}

void cpu_free_cpuid(struct cpu *c)
{
	free(c->cpuid);
	c->cpuid = NULL;
	c->cpuid_count = 0;
}

/* Bytes of an XSAVE area for these components, standard or compacted (SDM 1, 13.4). */
static uint32_t xsave_size(const struct cpu *c, uint64_t components, bool compacted)
{
	uint32_t size = 576;
	for (unsigned i = 2; i < 8; i++) {
		const struct cpuid_leaf *l = components >> i & 1 ? find_leaf(c, 0xd, i) : NULL;
		if (!l)
			continue;
		if (!compacted)
			size = MAX(size, l->reg[EAX] + l->reg[EBX]);
		else
			size = (l->reg[ECX] & 2 ? ALIGN_UP(size, 64u) : size) + l->reg[EAX];
	}
	return size;
}

static bool has_subleaves(uint32_t leaf)
{
	return leaf == 4 || leaf == 7 || leaf == 0xb || leaf == 0xd || leaf == 0x8000001d;
}

void cpu_cpuid(struct cpu *c, uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
	memset(out, 0, 4 * sizeof(*out));
	const struct cpuid_leaf *l = find_leaf(c, leaf, has_subleaves(leaf) ? subleaf : 0);
	if (l)
		memcpy(out, l->reg, sizeof(l->reg));
	if (leaf == 1 && (c->cr4 & CR4_OSXSAVE))
		out[ECX] |= BIT(27);
	if (leaf == 0xb) { /* beyond the last level: the level asked for, and the ID */
		out[ECX] = (out[ECX] & ~0xffu) | (subleaf & 0xff);
		out[EDX] = c->index;
	}
	if (leaf == 0xd && l && subleaf == 0)
		out[EBX] = xsave_size(c, c->xcr0, false);
	if (leaf == 0xd && l && subleaf == 1 && cpu_has(c, FEATURE_XSAVEC))
		out[EBX] = xsave_size(c, c->xcr0 | c->xss, true);
}
