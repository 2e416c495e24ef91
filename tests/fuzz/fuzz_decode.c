/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "cpu/cpu.h"
#include "fuzz.h"
#include "isa/insn.h"

/*
 * Instruction bytes: decoded in every mode, printed, given their function and
 * (inside cpu_select) their stub. First byte: the mode and the features.
 */
static struct cpu *cpu;

static void make_cpu(void)
{
	struct error err;
	cpu = aligned_alloc(64, ALIGN_UP(sizeof(*cpu), (size_t)64));
	memset(cpu, 0, sizeof(*cpu));
	if (cpu_init_cpuid(cpu, CPU_HOST, &err) < 0) {
		fprintf(stderr, "%s\n", err.text);
		__builtin_trap();
	}
}

static void check(const struct insn *insn, size_t size, int length)
{
	char text[128], little[8];
	fuzz_require(insn->length == length && length <= 15 && (size_t)length <= size);
	memset(text, 1, sizeof(text));
	isa_format(text, sizeof(text), insn, 0x1234);
	fuzz_require(memchr(text, 0, sizeof(text)));
	isa_format(little, sizeof(little), insn, 0xfffffffffffffff0);
	fuzz_require(memchr(little, 0, sizeof(little)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct insn insn;
	if (!cpu)
		make_cpu();
	if (!size)
		return 0;
	enum isa_mode mode = (enum isa_mode)(data[0] % 3);
	bool all = data[0] & 4;
	data++;
	size--;
	while (size) {
		int length = isa_decode(&insn, data, (unsigned)MIN(size, (size_t)64), mode);
		fuzz_require(length >= ISA_TOO_LONG && length);
		if (length < 0) {
			data++;
			size--;
			continue;
		}
		check(&insn, size, length);
		uint64_t features[2] = { cpu->features[0], cpu->features[1] };
		if (all)
			cpu->features[0] = cpu->features[1] = ~0ull;
		cpu_select(cpu, &insn);
		memcpy(cpu->features, features, sizeof(features));
		fuzz_require(insn.exec);
		data += insn.length;
		size -= insn.length;
	}
	return 0;
}

void fuzz_seeds(fuzz_seed_fn *emit, void *opaque)
{
	static const uint8_t code[][16] = {
		{ 2, 0x48, 0x8b, 0x84, 0xc8, 1, 2, 3, 4, 0x0f, 0x1f, 0x44, 0x00, 0x00, 0xc3 }, /* mov, nop, ret */
		{ 2, 0xf0, 0x48, 0x0f, 0xc7, 0x0f, 0xf3, 0x48, 0xa5, 0x48, 0xb8, 1, 2, 3, 4 }, /* cmpxchg16b, rep movsq, mov */
		{ 6, 0xc5, 0xf4, 0x58, 0x42, 0x10, 0xc4, 0xe2, 0xf9, 0x90, 0x04, 0x88, 0xd8, 0xc1 }, /* vaddps, vpgatherdq, fadd */
		{ 6, 0x62, 0xf1, 0x7c, 0x58, 0x58, 0x42, 0x10, 0x62, 0xf2, 0xfd, 0x49, 0xa0, 0x04, 0x88 }, /* vaddps zmm bcst, vpscatterdq */
		{ 1, 0x9a, 1, 2, 3, 4, 5, 6, 0xc8, 1, 2, 3, 0x66, 0xea, 1, 2 }, /* call far, enter, jmp far */
		{ 0, 0x67, 0x8b, 0x04, 0x8d, 1, 2, 3, 4, 0x2e, 0xf2, 0xae, 0x0f, 0x01, 0xf8, 0x90 },
		{ 6, 0x8f, 0xe9, 0x78, 0x81, 0xc0, 0x0f, 0x0f, 0xc1, 0x9e, 0x66, 0x0f, 0x3a, 0x63, 0xc1, 0x0c },
	};
	char name[] = "code0";
	for (unsigned i = 0; i < ARRAY_SIZE(code); i++, name[4]++)
		emit(opaque, name, code[i], sizeof(code[i]));
}
