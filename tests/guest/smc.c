/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Self-modifying code: the same block, the next block, another page's alias, through a remap, and code that crosses pages. */
#include "guest.h"

typedef uint64_t code_fn(void);
static uint8_t *code;

/* mov eax, imm32; ret */
static void put_return(uint8_t *at, uint32_t value)
{
	at[0] = 0xb8;
	__builtin_memcpy(at + 1, &value, 4);
	at[5] = 0xc3;
}

static void other_block(void)
{
	for (uint32_t i = 0; i < 1000; i++) {
		put_return(code, i);
		check_equal(((code_fn *)code)(), i);
	}
}

/* The store changes the immediate of the instruction right behind it. */
static void same_block(void)
{
	uint64_t got;
	for (uint32_t i = 1; i < 100; i++) {
		__asm__ volatile("movl %1, 1f+1(%%rip)\n1: movl $0, %%eax" : "=a"(got) : "r"(i) : "memory");
		check_equal(got, i);
	}
}

/* A loop whose body is rewritten by each turn: adds 1 + 2 + ... + 10. */
static void own_loop(void)
{
	uint64_t sum = 0;
	__asm__ volatile("movl $10, %%ecx\n"
			 "1: incl 2f+3(%%rip)\n"
			 "2: .byte 0x48, 0x81, 0xc3, 0, 0, 0, 0\n" /* add $imm32, %rbx */
			 "loop 1b" : "+b"(sum)::"rcx", "memory");
	check_equal(sum, 55);
}

#define ALIAS 0x20000000000ull

static void through_alias(void)
{
	map_page(ALIAS, (uint64_t)code, PG_P | PG_W);
	for (uint32_t i = 0; i < 100; i++) {
		put_return((uint8_t *)ALIAS, i * 3);
		check_equal(((code_fn *)code)(), i * 3);
		put_return(code, i * 5);
		check_equal(((code_fn *)ALIAS)(), i * 5);
	}
}

static void remap(void)
{
	uint8_t *a = alloc_page(), *b = alloc_page();
	put_return(a, 111);
	put_return(b, 222);
	for (int i = 0; i < 50; i++) {
		map_page(ALIAS, (uint64_t)a, PG_P);
		check_equal(((code_fn *)ALIAS)(), 111);
		map_page(ALIAS, (uint64_t)b, PG_P);
		check_equal(((code_fn *)ALIAS)(), 222);
	}
}

/* An instruction over a page border: each half is changed, each page exchanged, the second page taken away. */
static void crossing(void)
{
	uint8_t *a = alloc_page(), *b = alloc_page(), *c = alloc_page();
	map_page(ALIAS + 0x10000, (uint64_t)a, PG_P | PG_W);
	map_page(ALIAS + 0x11000, (uint64_t)b, PG_P | PG_W);
	uint8_t *at = (uint8_t *)ALIAS + 0x10ffd;
	code_fn *fn = (code_fn *)at;
	put_return(at, 0x11223344);
	check_equal(fn(), 0x11223344);
	at[1] = 0x55; /* first page */
	check_equal(fn(), 0x11223355);
	at[4] = 0x66; /* second page */
	check_equal(fn(), 0x66223355);
	for (int i = 0; i < 4096; i++)
		c[i] = b[i];
	c[1] = 0x77;
	map_page(ALIAS + 0x11000, (uint64_t)c, PG_P | PG_W);
	check_equal(fn(), 0x77223355);
	map_page(ALIAS + 0x11000, 0, 0);
	struct fault f = guarded((void (*)(void *))(void *)fn, 0);
	check_equal(f.frame.vector, VEC_PF);
	check_equal(f.cr2, ALIAS + 0x11000);
	check_equal(f.frame.rip, (uint64_t)at);
}

/* Data beside code in one page: stores that miss the code must not disturb it, nor be lost. */
static void data_beside_code(void)
{
	uint64_t *data = (uint64_t *)(code + 2048);
	put_return(code, 7);
	for (int i = 0; i < 1000; i++) {
		data[i & 63] += (uint64_t)i;
		check_equal(((code_fn *)code)(), 7);
	}
	uint64_t sum = 0;
	for (int i = 0; i < 64; i++)
		sum += data[i];
	check_equal(sum, 499500);
}

/* REP STOS over code, and over the code that runs it. */
static void string_over_code(void)
{
	put_return(code + 256, 1);
	check_equal(((code_fn *)(code + 256))(), 1);
	__asm__ volatile("rep stosb" ::"D"(code + 128), "a"(0x90), "c"(128 + 0) : "memory");
	put_return(code + 256, 2);
	check_equal(((code_fn *)(code + 128))(), 2);
}

/* Jumping into the middle of an instruction: both readings stay right. */
static void overlapping(void)
{
	/* b8 b8 01 00 00 c3: mov eax, 0x000001b8 ... entered at +1: mov eax, 0xc3000001 is avoided by layout below */
	static const uint8_t bytes[] = { 0xb8, 0x31, 0xc0, 0xff, 0xc0, 0xc3 }; /* +0: mov eax, 0xc0ffc031; ret. +1: xor eax,eax; inc eax; ret */
	for (unsigned i = 0; i < sizeof(bytes); i++)
		code[i] = bytes[i];
	for (int i = 0; i < 10; i++) {
		check_equal(((code_fn *)code)(), 0xc0ffc031);
		check_equal(((code_fn *)(code + 1))(), 1);
	}
}

int guest_main(void)
{
	code = alloc_page();
	other_block();
	same_block();
	own_loop();
	through_alias();
	remap();
	crossing();
	data_beside_code();
	string_over_code();
	overlapping();
	return failures;
}
