/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Code at the edges: of the lower and upper half of the linear space, of 4 GiB in compatibility mode, of RAM, of 64 KiB in 16-bit
 * code; addresses that wrap. Option: eip_wraps=1, that 32-bit code runs on at 0 behind 4 GiB. */
#include "code.h"

extern uint64_t page_directories[], multiboot_info;
#define LOW_TOP 0x7ffffffff000ull
#define HIGH_TOP 0xfffffffffffff000ull
#define HIGH_BOTTOM 0xffff800000000000ull

static uint8_t *low, *high;

static void call_at(void *at) { __asm__ volatile("call *%0" ::"r"(at) : "rax", "memory"); }

/* The last bytes before the hole: a RET that ends there is fine; what goes on faults, at the address that is not canonical. */
static void lower_half(void)
{
	uint8_t *p = low + 4096 - 6;
	put_return(p, 0x1234);
	for (unsigned i = 0; i < 4; i++)
		check_equal(wrong_calls((void *)(LOW_TOP + 4096 - 6), HOT / 4, 0x1234), 0);
	p = low + 4096 - 3;
	PUT(p, 0x90, 0x90, 0x90);
	for (unsigned i = 0; i < 20; i++) {
		struct fault f = guarded(call_at, (void *)(LOW_TOP + 4096 - 3));
		check_equal(f.frame.vector, VEC_GP);
		check_equal(f.frame.error, 0);
		check_equal(f.frame.rip, 0x800000000000);
	}
	/* An instruction whose last bytes would lie beyond; a jump and a return there fault where they are. */
	p = low + 4096 - 3;
	PUT(p, 0xb8, 0x01, 0x02);
	struct fault f = guarded(call_at, (void *)(LOW_TOP + 4096 - 3));
	check_equal(f.frame.vector, VEC_GP);
	check_equal(f.frame.rip, LOW_TOP + 4096 - 3);
	p = low + 4096 - 16;
	PUT(p, 0xe9, 0x40, 0, 0, 0);
	for (unsigned i = 0; i < 20; i++) {
		f = guarded(call_at, (void *)(LOW_TOP + 4096 - 16));
		check_equal(f.frame.vector, VEC_GP);
		check_equal(f.frame.rip, LOW_TOP + 4096 - 16);
	}
	/* A loop in the last bytes, whose branch backwards ends at the edge. */
	p = low + 4096 - 9;
	PUT(p, 0xb9, 0x10, 0x27, 0, 0); /* mov ecx, 10000 */
	PUT(p, 0xff, 0xc9, 0x75, 0xfc); /* dec ecx; jnz */
	f = guarded(call_at, (void *)(LOW_TOP + 4096 - 9));
	check_equal(f.frame.vector, VEC_GP);
	check_equal(f.frame.rip, 0x800000000000);
	check_equal(f.frame.rcx, 0);
	/* Data by RIP beyond the edge, and a SYSCALL as the last instruction would return beyond it. */
	p = low + 4096 - 16;
	PUT(p, 0x48, 0x8b, 0x05, 0x40, 0, 0, 0, 0xc3); /* mov rax, [rip + 0x40] */
	f = guarded(call_at, (void *)(LOW_TOP + 4096 - 16));
	check_equal(f.frame.vector, VEC_GP);
	check_equal(f.frame.rip, LOW_TOP + 4096 - 16);
}

/* A REX that is not directly before the opcode counts for nothing (SDM 2A, 2.2.1). */
#define HOT_CODE(want, bytes) do { \
		uint64_t a = 0; \
		for (unsigned n = 0; n < HOT; n++) { \
			a = -1; \
			__asm__ volatile("jmp 1f; 1: .byte " bytes "; jmp 2f; 2:" : "+a"(a) : "S"(pair) : "memory", "cc"); \
		} \
		check_equal(a, want); \
	} while (0)
static void useless_prefixes(void)
{
	static uint64_t pair[2] = { 0x1122334455667788 };
	HOT_CODE(0x55667788, "0x48, 0x40, 0x8b, 0x06");                     /* mov eax, [rsi] */
	HOT_CODE(0xffffffff, "0x48, 0x40, 0x0b, 0x06");                     /* or eax, [rsi] */
	HOT_CODE(0x55667788, "0x48, 0x40, 0x23, 0x86, 0, 0, 0, 0");         /* and eax, [rsi + 0] */
	HOT_CODE(0xffffffffffff7788, "0x4c, 0x66, 0x8b, 0x06");             /* mov ax, [rsi] */
	HOT_CODE(0xffffffffffff7788, "0x4c, 0x66, 0x23, 0x86, 0, 0, 0, 0"); /* and ax, [rsi + 0] */
	HOT_CODE(0x88, "0x49, 0x3e, 0x0f, 0xb6, 0x06");                     /* movzx eax, byte [rsi] */
	HOT_CODE(0xffffffffffffffff, "0x4f, 0x48, 0x40, 0x89, 0x46, 0x08"); /* mov [rsi + 8], eax */
	check_equal(pair[1], 0xffffffff);
}

/* The very end: RIP wraps to 0, where there is a page; offsets by RIP wrap, too. */
static void upper_half(void)
{
	uint8_t *zero = (uint8_t *)0, *p = high + 4096 - 5, saved[64];
	/* The compiler takes a null pointer for an error. */
	__asm__("" : "+r"(zero));
	put_bytes(saved, zero, 64);
	put_bytes(zero, (const uint8_t[]){ 0x83, 0xc0, 0x07, 0xc3 }, 4); /* add eax, 7; ret */
	PUT(p, 0xb8, 0x10, 0, 0, 0); /* mov eax, 16: ends at the edge */
	uint64_t wrong = 0;
	for (unsigned i = 0; i < HOT; i++)
		wrong += call((void *)(HIGH_TOP + 4096 - 5), 0) != 23;
	check_equal(wrong, 0);
	p = high + 4096 - 32;
	PUT(p, 0x48, 0x8b, 0x05); /* mov rax, [rip + offset]: from the last page to address 0x20 */
	p = put32(p, 0x20 + 32 - 7);
	PUT(p, 0xc3);
	*(volatile uint64_t *)(zero + 0x20) = 0x600df00d;
	check_equal(wrong_calls((void *)(HIGH_TOP + 4096 - 32), 1000, 0x600df00d), 0);
	p = high + 4096 - 32;
	p = put_near(p, 0xe9, p); /* a jump to 0 */
	put32(high + 4096 - 31, 32 - 5);
	uint64_t eax;
	__asm__ volatile("call *%1" : "=a"(eax) : "r"(HIGH_TOP + 4096 - 32), "a"(5) : "memory", "cc");
	check_equal((uint32_t)eax, 12);
	put_bytes(zero, saved, 64);
	/* The first page of the upper half. */
	uint8_t *first = alloc_page();
	map_page(HIGH_BOTTOM, (uint64_t)first, PG_P | PG_W);
	put_return(first, 9);
	check_equal(wrong_calls((void *)HIGH_BOTTOM, HOT, 9), 0);
	p = first + 16;
	PUT(p, 0x8a, 0x05); /* mov al, [rip - 32]: below the half */
	p = put32(p, (uint64_t)-32);
	struct fault f = guarded(call_at, (void *)(HIGH_BOTTOM + 16));
	check_equal(f.frame.vector, VEC_GP);
	check_equal(f.frame.rip, HIGH_BOTTOM + 16);
}

/* --- compatibility mode: EIP and addresses wrap at 4 GiB, IP at 64 KiB (or the fault of a segment's limit) --- */

#define TOP32 0xfffff000ull
static void enter_mode(void *opaque)
{
	uint64_t *m = opaque;
	__asm__ volatile("xorl %%eax, %%eax; pushq %0; pushq %1; lretq" ::"r"(m[1]), "r"(m[0]) : "rax", "memory");
}

static void four_gib(void)
{
	uint8_t *page = alloc_page(), *p = page + 4096 - 8;
	page_directories[TOP32 >> 21] = 0;
	map_page(TOP32, (uint64_t)page, PG_P | PG_W);
	PUT(p, 0xb9, 0x10, 0x27, 0, 0, 0xe2, 0xfe, 0x90); /* mov ecx, 10000; loop self; nop: the last byte below 4 GiB */
	uint64_t m[2] = { TOP32 + 4096 - 8, SEL_CODE32 };
	/* Below the limit, which is 4 GiB: what comes next is at 0. An INT3 there. */
	uint8_t *zero = (uint8_t *)0, saved;
	__asm__("" : "+r"(zero));
	saved = *zero;
	*(volatile uint8_t *)zero = 0xcc;
	for (unsigned i = 0; i < 3 && guest_option("eip_wraps", 0); i++) {
		struct fault f = guarded(enter_mode, m);
		check_equal(f.frame.vector, VEC_BP);
		check_equal(f.frame.rip, 1);
		check_equal((uint32_t)f.frame.rcx, 0);
	}
	*(volatile uint8_t *)zero = saved;
	/* The same bytes in 64-bit code go on above 4 GiB. */
	m[1] = SEL_CODE64;
	struct fault f = guarded(enter_mode, m);
	check_equal(f.frame.vector, VEC_PF);
	check_equal(f.cr2, 0x100000000);
	check_equal(f.frame.rip, 0x100000000);
	/* 32-bit: an address that wraps reads at 0x10. */
	p = page + 64;
	PUT(p, 0xbe, 0x20, 0, 0, 0, 0x8b, 0x86, 0xf0, 0xff, 0xff, 0xff, 0xcc); /* mov esi, 0x20; mov eax, [esi - 0x10]; int3 */
	uint32_t *word = (uint32_t *)(zero + 16), old = *word;
	*word = 0x12348765;
	m[0] = TOP32 + 64, m[1] = SEL_CODE32;
	f = guarded(enter_mode, m);
	*word = old;
	check_equal(f.frame.vector, VEC_BP);
	check_equal((uint32_t)f.frame.rax, 0x12348765);
}

/* 16-bit code at the end of a segment of 64 KiB: the next instruction is beyond the limit. */
static void sixty_four_kib(void)
{
	uint64_t base = (uint64_t)alloc_page();
	for (unsigned i = 0; i < 16; i++)
		alloc_page();
	gdt_spare[2] = 0x00009a000000ffff | (base & 0xffffff) << 16 | (base >> 24) << 56;
	uint8_t *p = (uint8_t *)base + 0xfffa;
	PUT(p, 0xb9, 0xe8, 0x03, 0xe2, 0xfe, 0x40); /* mov cx, 1000; loop self; inc ax: the last byte */
	uint64_t m[2] = { 0xfffa, 0x60 };
	for (unsigned i = 0; i < 5; i++) {
		struct fault f = guarded(enter_mode, m);
		check_equal(f.frame.vector, VEC_GP);
		check_equal(f.frame.cs, 0x60);
		check_equal((uint16_t)f.frame.rax, 1);
		check_equal((uint16_t)f.frame.rcx, 0);
	}
	/* A jump that wraps IP: from the end to the beginning. */
	p = (uint8_t *)base + 0xfffe;
	PUT(p, 0xeb, 0x10); /* to 0x10010, that is 0x10 */
	p = (uint8_t *)base + 0x10;
	PUT(p, 0xb8, 0x22, 0x11, 0xcc);
	m[0] = 0xfffe;
	for (unsigned i = 0; i < 5; i++) {
		struct fault f = guarded(enter_mode, m);
		check_equal(f.frame.vector, VEC_BP);
		check_equal((uint16_t)f.frame.rax, 0x1122);
		check_equal(f.frame.rip, 0x14);
	}
}

/* A function that ends with RAM's last byte, code that writes there, and one that crosses from one end of RAM to the other by paging. */
static void end_of_ram(void)
{
	/* KiB above 1 MiB (Multiboot 0.6.96, 3.3). */
	uint32_t *info = (uint32_t *)multiboot_info;
	check(info[0] & 1);
	uint64_t end = ((uint64_t)info[2] + 1024) << 10;
	uint8_t *p = (uint8_t *)(end - 6);
	for (uint32_t i = 0; i < 20; i++) {
		put_return(p, i);
		check_equal(wrong_calls(p, i % 10 ? 200 : HOT, i), 0);
	}
	uint64_t at = 0x60000000000ull, page = (uint64_t)alloc_page();
	map_page(at, end - 4096, PG_P | PG_W);
	map_page(at + 4096, page, PG_P | PG_W);
	put_return((uint8_t *)at + 4096 - 3, 0x55667788);
	check_equal(wrong_calls((void *)(at + 4096 - 3), HOT, 0x55667788), 0);
	/* The last bytes of RAM before the first of the same, and the other way. */
	map_page(at, page, PG_P | PG_W);
	map_page(at + 4096, end - 4096, PG_P | PG_W);
	put_return((uint8_t *)at + 4096 - 3, 0x99aabbcc);
	check_equal(wrong_calls((void *)(at + 4096 - 3), HOT, 0x99aabbcc), 0);
}

int guest_main(void)
{
	low = alloc_page();
	high = alloc_page();
	map_page(LOW_TOP, (uint64_t)low, PG_P | PG_W);
	map_page(HIGH_TOP, (uint64_t)high, PG_P | PG_W);
	useless_prefixes();
	lower_half();
	upper_half();
	four_gib();
	sixty_four_kib();
	end_of_ram();
	return failures;
}
