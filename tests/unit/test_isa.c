/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/util.h"
#include "isa/insn.h"
#include "isa/op.h"
#include "isa/table.h"

struct text_case {
	enum isa_mode mode;
	const char *bytes; /* hexadecimal */
	const char *text;
};

static const struct text_case texts[] = {
	{ ISA_MODE_64, "015488f0", "add dword ptr [rax+rcx*4-0x10], edx" },
	{ ISA_MODE_64, "f0480fb10e", "lock cmpxchg qword ptr [rsi], rcx" },
	{ ISA_MODE_64, "488b0510000000", "mov rax, qword ptr [rip+0x10] <0x1017>" },
	{ ISA_MODE_64, "65488b042528000000", "mov rax, qword ptr gs:[0x28]" },
	{ ISA_MODE_64, "48a18877665544332211", "mov rax, qword ptr [0x1122334455667788]" },
	{ ISA_MODE_64, "e8fbffffff", "call 0x1000" },
	{ ISA_MODE_64, "7402", "je 0x1004" },
	{ ISA_MODE_64, "0f94c4", "sete ah" },
	{ ISA_MODE_64, "400f94c4", "sete spl" },
	{ ISA_MODE_64, "f348a5", "rep movsq" },
	{ ISA_MODE_64, "f2ae", "repne scasb" },
	{ ISA_MODE_64, "83c0ff", "add eax, -0x1" },
	{ ISA_MODE_64, "0f20d8", "mov rax, cr3" },
	{ ISA_MODE_64, "48cf", "iretq" },
	{ ISA_MODE_64, "c8100001", "enter 0x10, 0x1" },
	{ ISA_MODE_64, "f390", "pause" },
	{ ISA_MODE_64, "90", "nop" },
	{ ISA_MODE_64, "4190", "xchg r8d, eax" },
	{ ISA_MODE_64, "f30f1efa", "endbr64" },
	{ ISA_MODE_64, "480fae00", "fxsave64 [rax]" },
	{ ISA_MODE_64, "d8c1", "fadd st(0), st(1)" },
	{ ISA_MODE_64, "db28", "fld tbyte ptr [rax]" },
	{ ISA_MODE_64, "660f6fc1", "movdqa xmm0, xmm1" },
	{ ISA_MODE_64, "f20f10442408", "movsd xmm0, qword ptr [rsp+0x8]" },
	{ ISA_MODE_64, "c5f877", "vzeroupper" },
	{ ISA_MODE_64, "c5f458c2", "vaddps ymm0, ymm1, ymm2" },
	{ ISA_MODE_64, "62f174d958c2", "vaddps zmm0 {k1}{z}, zmm1, zmm2, {ru-sae}" },
	{ ISA_MODE_64, "62f17458584001", "vaddps zmm0, zmm1, dword ptr [rax+0x4]{1to16}" },
	{ ISA_MODE_64, "62f27d49900488", "vpgatherdd zmm0 {k1}, dword ptr [rax+zmm1*4]" },
	{ ISA_MODE_64, "62f27d41900480", "vpgatherdd zmm0 {k1}, dword ptr [rax+zmm16*4]" },
	{ ISA_MODE_64, "0f1f440000", "nop [rax+rax*1], eax" },
	{ ISA_MODE_32, "66ea00103412", "jmp far 0x1234:0x1000" },
	{ ISA_MODE_32, "8ed0", "mov ss, ax" },
	{ ISA_MODE_32, "60", "pushad" },
	{ ISA_MODE_32, "e3fe", "jecxz 0x1000" },
	{ ISA_MODE_16, "ea00f000f0", "jmp far 0xf000:0xf000" },
	{ ISA_MODE_16, "8b4204", "mov ax, word ptr [bp+si+0x4]" },
	{ ISA_MODE_16, "268807", "mov byte ptr es:[bx], al" },
	{ ISA_MODE_16, "67668b0424", "mov eax, dword ptr [esp]" },
	{ ISA_MODE_16, "ebfe", "jmp 0x1000" },
};

static unsigned unhex(const char *hex, uint8_t *out)
{
	unsigned n = 0;
	for (; hex[2 * n]; n++) {
		char digits[3] = { hex[2 * n], hex[2 * n + 1], 0 };
		out[n] = (uint8_t)strtoul(digits, NULL, 16);
	}
	return n;
}

static void known_texts(void **state)
{
	for (unsigned n = 0; n < ARRAY_SIZE(texts); n++) {
		uint8_t bytes[16];
		char text[128], small[8];
		struct insn insn;
		unsigned length = unhex(texts[n].bytes, bytes);
		assert_int_equal(isa_decode(&insn, bytes, length, texts[n].mode), length);
		int needed = isa_format(text, sizeof(text), &insn, 0x1000);
		assert_string_equal(text, texts[n].text);
		/* As snprintf: the whole length, and a text cut off to fit. */
		assert_int_equal(needed, strlen(text));
		assert_int_equal(isa_format(small, sizeof(small), &insn, 0x1000), needed);
		assert_true(strlen(small) < sizeof(small) && strncmp(small, text, strlen(small)) == 0);
	}
}

/* Results that are no instruction. */
static void refusals(void **state)
{
	static const struct {
		enum isa_mode mode;
		const char *bytes;
		int result;
	} cases[] = {
		{ ISA_MODE_64, "f001c0", ISA_INVALID },               /* LOCK without memory */
		{ ISA_MODE_64, "f08b00", ISA_INVALID },               /* LOCK on a load */
		{ ISA_MODE_64, "f03900", ISA_INVALID },               /* LOCK CMP */
		{ ISA_MODE_64, "06", ISA_INVALID },                   /* PUSH ES */
		{ ISA_MODE_64, "8ec8", ISA_INVALID },                 /* MOV CS */
		{ ISA_MODE_64, "0f20c8", ISA_INVALID },               /* CR1 */
		{ ISA_MODE_64, "8dc0", ISA_INVALID },                 /* LEA of a register */
		{ ISA_MODE_64, "66c5f458c2", ISA_INVALID },           /* VEX after 66 */
		{ ISA_MODE_64, "48c5f458c2", ISA_INVALID },           /* VEX after REX */
		{ ISA_MODE_64, "c5f451c2", ISA_INVALID },             /* VSQRTPS with vvvv */
		{ ISA_MODE_64, "c5fc51c2", 4 },
		{ ISA_MODE_64, "c4e279920488", ISA_INVALID },         /* gather: mask and destination are the same */
		{ ISA_MODE_64, "48", ISA_SHORT },
		{ ISA_MODE_64, "0f", ISA_SHORT },
		{ ISA_MODE_64, "8b", ISA_SHORT },
		{ ISA_MODE_64, "8b04", ISA_SHORT },
		{ ISA_MODE_64, "b8000000", ISA_SHORT },
		{ ISA_MODE_64, "6666666666666666666666666666666690", ISA_TOO_LONG },
		{ ISA_MODE_64, "66666666666666666666666666662e81", ISA_TOO_LONG },
		{ ISA_MODE_64, "6666666666666666666666666666", ISA_SHORT },
		{ ISA_MODE_64, "666666666666666666666666666690", 15 },
	};
	for (unsigned n = 0; n < ARRAY_SIZE(cases); n++) {
		uint8_t bytes[20];
		struct insn insn;
		unsigned length = unhex(cases[n].bytes, bytes);
		assert_int_equal(isa_decode(&insn, bytes, length, cases[n].mode), cases[n].result);
	}
}

/* Every prefix of a byte string, at the end of a page before an unmapped one: the whole decides, or it is too short. */
static void reads_no_further_than_available(void **state)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	uint8_t *map = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(map, MAP_FAILED);
	assert_int_equal(mprotect(map + page, page, PROT_NONE), 0);
	uint64_t r = 88172645463325252ull;
	for (unsigned n = 0; n < 60000; n++) {
		uint8_t bytes[16];
		struct insn whole, part;
		enum isa_mode mode = (enum isa_mode)(n % 3);
		for (unsigned k = 0; k < sizeof(bytes); k++) {
			r ^= r << 13;
			r ^= r >> 7;
			r ^= r << 17;
			bytes[k] = (uint8_t)(r >> 32);
		}
		if (n % 4)
			bytes[0] = "\x0f\xc5\x62"[n % 4 - 1];
		int length = isa_decode(&whole, bytes, sizeof(bytes), mode);
		for (unsigned available = 0; available <= sizeof(bytes); available++) {
			uint8_t *at = map + page - available;
			memcpy(at, bytes, available);
			int got = isa_decode(&part, at, available, mode);
			if (got == ISA_SHORT)
				assert_true(length < 0 || available < (unsigned)length);
			else
				assert_int_equal(got, length);
			if (got > 0)
				assert_memory_equal(&part, &whole, sizeof(whole));
		}
	}
	munmap(map, 2 * page);
}

/* The rows of an opcode stand together, agree on ModRM, and each can be found from the index. */
static void table_is_consistent(void **state)
{
	for (unsigned n = 1; n < isa_row_count; n++) {
		const struct isa_row *row = &isa_rows[n];
		unsigned last = isa_last_row[row->map][row->opcode];
		assert_in_range(last, n, isa_row_count - 1);
		for (unsigned k = n; k <= last; k++) {
			assert_int_equal(isa_rows[k].map, row->map);
			assert_int_equal(isa_rows[k].opcode, row->opcode);
			assert_int_equal(isa_rows[k].modrm, row->modrm);
		}
		assert_int_equal(row->match_value & ~row->match_mask, 0);
		assert_in_range(row->op, 1, OP_COUNT - 1);
		assert_non_null(row->mnemonic);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_texts),
		cmocka_unit_test(refusals),
		cmocka_unit_test(reads_no_further_than_available),
		cmocka_unit_test(table_is_consistent),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
