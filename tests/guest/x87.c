/* SPDX-License-Identifier: GPL-2.0-or-later */
/* x87 and MMX code that is hot: results, the pointers to the last instruction and its operand wherever they can be seen,
 * unmasked exceptions, page faults in the middle of a run. */
#include "code.h"

struct image {
	uint16_t control, status;
	uint8_t tags, reserved;
	uint16_t opcode;
	uint64_t ip, dp;
	uint8_t rest[488];
} __attribute__((aligned(16)));
static struct image image;
static double numbers[4] = { 1.5, 2.25, -3.0, 0.0 };
static uint64_t scratch[4];

#define ABSENT 0x31000000000ull

static void save_image(void) { __asm__ volatile("fxsave64 %0" : "=m"(image)); }

/* Runs `code`, whose last x87 instruction is at label 1; its FIP goes to `ip`. */
#define RUN(code, ip, ...) \
	__asm__ volatile("fninit; " code "; fxsave64 %0; leaq 1b(%%rip), %1" : "=m"(image), "=&r"(ip) : __VA_ARGS__ : "memory", "cc", "rax")

static void pointers(void)
{
	uint64_t ip, at = (uint64_t)numbers, wrong = 0;
	for (unsigned i = 0; i < 200; i++) {
		uint64_t n = i & 3;
		RUN("fldl (%2); 1: faddl 8(%2)", ip, "r"(numbers));
		wrong += image.ip != ip || image.dp != at + 8 || (image.opcode & 0x738) != 0x400;
		RUN("fldl (%2, %3, 8); fld1; 1: faddp", ip, "r"(numbers), "r"(n));
		wrong += image.ip != ip || image.dp != at + 8 * n || image.opcode != 0x6c1;
		RUN("fldl (%2); 1: fstpl (%3); fnstcw 8(%3); fnstsw %%ax; fwait", ip, "r"(numbers), "r"(scratch));
		wrong += image.ip != ip || image.dp != (uint64_t)scratch || scratch[0] != *(uint64_t *)numbers;
		/* The registers that indirect addressing has in memory, and the stack. */
		__asm__ volatile("mov %1, %%r9; mov $3, %%r10; pushq $5; fninit; fildll (%%rsp); 1: fldl -8(%%r9, %%r10, 8); fxsave64 %0;"
				 "popq %%r11" : "=m"(image) : "r"(numbers) : "r9", "r10", "r11", "memory");
		wrong += image.dp != at + 16;
		RUN("fildll (%2); mov $1, %%eax; test %%eax, %%eax; jz 2f; 1: fsqrt; 2:", ip, "r"(scratch));
		wrong += image.ip != ip || image.dp != (uint64_t)scratch || image.opcode != 0x1fa;
	}
	check_equal(wrong, 0);
}

/* --- a page fault within a run sees the instruction before it --- */

static uint64_t page, seen_ip, seen_dp, faults;
static bool on_page_fault(struct frame *frame)
{
	if (READ_CR(2) >> 12 != ABSENT >> 12)
		return false;
	save_image();
	seen_ip = image.ip;
	seen_dp = image.dp;
	faults++;
	map_page(ABSENT, page, PG_P | PG_W);
	return true;
}

static void faulting(void)
{
	uint64_t wrong = 0, ip;
	handlers[VEC_PF] = on_page_fault;
	*(double *)page = 4.0;
	for (unsigned i = 0; i < 300; i++) {
		double sum;
		map_page(ABSENT, 0, 0);
		__asm__ volatile("fninit; fldl 8(%3); 1: fld1; faddl (%2); faddp; fstpl %0; leaq 1b(%%rip), %1"
				 : "=m"(sum), "=&r"(ip) : "r"(ABSENT), "r"(numbers) : "memory");
		wrong += seen_ip != ip || seen_dp != (uint64_t)&numbers[1] || *(uint64_t *)&sum != 0x401d000000000000; /* 7.25 */
	}
	check_equal(wrong, 0);
	check_equal(faults, 300);
	handlers[VEC_PF] = NULL;
}

/* --- exceptions --- */

static void divide(void *control)
{
	__asm__ volatile("fninit; fldcw (%0); fld1; fldz; fdivrp; fld1" ::"r"(control) : "memory");
}

static void exceptions(void)
{
	static const uint16_t masked = 0x37f, unmasked = 0x37b;
	uint64_t wrong = 0;
	for (unsigned i = 0; i < 200; i++) {
		struct fault f = guarded(divide, (void *)(i % 3 ? &masked : &unmasked));
		wrong += f.happened != (i % 3 == 0) || (f.happened && f.frame.vector != VEC_MF);
		if (f.happened) { /* at FLD1; the exception is the two-byte FDIV's before it */
			save_image();
			wrong += image.ip != f.frame.rip - 2 || !(image.status & 0x84);
		}
		__asm__ volatile("fnclex; fninit");
	}
	check_equal(wrong, 0);
}

/* --- MMX --- */

static void mmx(void)
{
	uint64_t wrong = 0;
	static const uint64_t words[2] = { 0x0001000200030004, 0x0010002000300040 };
	for (unsigned i = 0; i < 200; i++) {
		uint64_t sum, low;
		__asm__ volatile("fninit; movq (%2), %%mm3; paddw 8(%2), %%mm3; movq %%mm3, %0; movd %%mm3, %k1; fxsave64 (%3); emms"
				 : "=m"(sum), "=&r"(low) : "r"(words), "r"(&image) : "memory");
		wrong += sum != 0x0011002200330044 || low != 0x330044 || image.tags != 0xff || (image.status >> 11 & 7);
		wrong += image.rest[8 + 16 * 3 + 8] != 0xff || image.rest[8 + 16 * 3 + 9] != 0xff;
		save_image();
		wrong += image.tags != 0;
	}
	check_equal(wrong, 0);
}

int guest_main(void)
{
	page = (uint64_t)alloc_page();
	WRITE_CR(0, READ_CR(0) | 0x20);
	pointers();
	faulting();
	exceptions();
	mmx();
	return failures;
}
