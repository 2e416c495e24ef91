/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What bytes mean: data between instructions, jumps into the middle of an instruction, the same bytes in 16-, 32- and 64-bit
 * code; all of it hot. */
#include "code.h"

static uint8_t *page;

/* --- data in the page, and in the 64-byte line, of the code that writes it --- */

static void data_in_line(void)
{
	for (unsigned at = 0; at < 64; at += 7) {
		uint8_t *p = page + 256 + at, *end;
		volatile uint64_t *count = (uint64_t *)(p - 8);
		volatile uint16_t *after;
		*count = 0;
		PUT(p, 0x48, 0xff, 0x05, 0xf1, 0xff, 0xff, 0xff); /* inc qword [rip - 15]: 8 bytes before */
		PUT(p, 0x66, 0xff, 0x05, 0x04, 0, 0, 0);          /* inc word [rip + 4]: behind the RET and 3 bytes */
		PUT(p, 0x89, 0xf8, 0x40, 0xc3);                   /* mov eax, edi; (REX) ret */
		end = p;
		after = (uint16_t *)end;
		*after = 0;
		/* The word is at the end of the code: inc's rip + 4 skips mov and ret. */
		uint64_t wrong = 0;
		for (unsigned i = 0; i < HOT / 4; i++)
			wrong += call(page + 256 + at, i) != i;
		check_equal(wrong, 0);
		check_equal(*count, HOT / 4);
		check_equal(*after, HOT / 4);
	}
}

/* Each byte of the page but for those of the function is written between two calls. */
static void data_around(void)
{
	uint8_t *code = page + 0x700, *end = put_return(code, 0x12345678);
	uint64_t sum = 0, want = 0, wrong = 0;
	for (unsigned round = 1; round < 4; round++)
		for (unsigned i = 0; i < 4096; i++) {
			uint8_t *at = page + i;
			if (at >= code && at < end)
				continue;
			*(volatile uint8_t *)at = (uint8_t)(i * round);
			wrong += call(code, 0) != 0x12345678;
			want += (uint8_t)(i * round);
			sum += *(volatile uint8_t *)at;
		}
	check_equal(wrong, 0);
	check_equal(sum, want);
}

/* A loop that reads its own bytes and writes data beside itself all the time. */
static void loop_beside_data(void)
{
	uint8_t *p = page + 0x800;
	uint64_t *data = (uint64_t *)(page + 0x900);
	for (unsigned i = 0; i < 16; i++)
		data[i] = 0;
	PUT(p, 0xb9, 0x20, 0x4e, 0, 0);                   /* mov ecx, 20000 */
	PUT(p, 0x31, 0xc0);                               /* xor eax, eax */
	uint8_t *loop = p;
	PUT(p, 0x89, 0xca, 0x83, 0xe2, 0x0f);             /* mov edx, ecx; and edx, 15 */
	PUT(p, 0x4c, 0x8d, 0x05);                         /* lea r8, [rip + data] */
	p = put32(p, (uint64_t)((uint8_t *)data - (p + 4)));
	PUT(p, 0x49, 0x01, 0x0c, 0xd0);                   /* add [r8 + rdx * 8], rcx */
	PUT(p, 0x48, 0x03, 0x05);                         /* add rax, [rip + loop] */
	p = put32(p, (uint64_t)(loop - (p + 4)));
	PUT(p, 0xff, 0xc9, 0x0f, 0x85);                   /* dec ecx; jnz loop */
	p = put32(p, (uint64_t)(loop - (p + 4)));
	PUT(p, 0xc3);
	uint64_t word = *(volatile uint64_t *)loop, sum = 0;
	for (unsigned round = 0; round < 3; round++)
		check_equal(call(page + 0x800, 0), word * 20000);
	for (unsigned i = 0; i < 16; i++)
		sum += data[i];
	check_equal(sum, 3ull * 20000 * 20001 / 2);
}

/* --- into the middle of an instruction --- */

/* 20 bytes of 05 (add eax, imm32), entered at each: the longer the way in, the fewer of them. */
static void every_entry(void)
{
	uint8_t *p = page + 0xa00;
	for (unsigned i = 0; i < 20; i++)
		*p++ = 0x05;
	PUT(p, 0x90, 0x90, 0x90, 0x90, 0xc3);
	uint64_t wrong = 0;
	for (unsigned i = 0; i < HOT; i++) {
		unsigned entry = i % 20, at = entry;
		uint32_t want = 0;
		for (; page[0xa00 + at] == 0x05; at += 5)
			want += *(uint32_t *)(page + 0xa00 + at + 1);
		uint64_t got = 0;
		__asm__ volatile("call *%1" : "+a"(got) : "r"(page + 0xa00 + entry) : "memory", "cc");
		wrong += got != want;
	}
	check_equal(wrong, 0);
}

/* Both readings of five bytes, taken in turns by a loop. */
static void both_readings(void)
{
	uint64_t whole = 0, middle = 0, eax = 0;
	uint32_t turns = 2 * HOT;
	__asm__ volatile("1: testb $1, %b3; jnz 2f + 1\n"
			 "2: .byte 0xb8, 0xff, 0xc3, 0xeb, 0x02\n" /* mov eax, 0x02ebc3ff | inc ebx; jmp +2 */
			 "   incl %k1\n"                           /* two bytes, jumped over by the other reading */
			 "   decl %3; jnz 1b"
			 : "+b"(middle), "+d"(whole), "+a"(eax), "+c"(turns)::"cc");
	check_equal(whole, HOT);
	check_equal(middle, HOT);
	check_equal(eax, 0x02ebc3ff);
}

/* Jumps over a prefix: LOCK, REX.W, the operand size, REP. */
static void over_prefixes(void)
{
	static uint64_t memory[2];
	uint64_t wide = 0, narrow = 0, r;
	for (unsigned i = 0; i < HOT; i++) {
		/* With REX.W the upper half stays. */
		r = 0x100000000;
		__asm__ volatile("testb $1, %b1; jnz 1f + 1\n1: .byte 0x48, 0xff, 0xc0" : "+a"(r) : "r"(i) : "cc");
		*(i & 1 ? &narrow : &wide) += r;
		__asm__ volatile("testb $1, %b1; jnz 1f + 1\n1: .byte 0xf0, 0x48, 0xff, 0x07" ::"D"(memory), "r"(i) : "memory", "cc");
		__asm__ volatile("testb $1, %b1; jnz 1f + 1\n1: .byte 0x66, 0x81, 0xc7, 0x01, 0x00, 0x90, 0x90" : "+D"(r) : "r"(i) : "cc");
	}
	check_equal(wide, HOT / 2 * 0x100000001);
	check_equal(narrow, HOT / 2);
	check_equal(memory[0], HOT);
	uint8_t to[8] = { 0 };
	uint64_t left = 0;
	for (unsigned i = 0; i < HOT; i++) {
		uint64_t di = (uint64_t)to, cx = 8;
		__asm__ volatile("testb $1, %b3; jnz 1f + 1\n1: .byte 0xf3, 0xaa" : "+D"(di), "+c"(cx) : "a"(7), "r"(i) : "memory", "cc");
		left += cx;
	}
	check_equal(left, HOT / 2 * 8);
}

/* --- the same bytes in three modes --- */

#define LOW 0xc000 /* where 16-bit code reaches */

/* rdi: start, rsi: selector, rcx and rax for it. INT 0x81 in the code ends it. */
struct in_mode {
	uint64_t start, selector, rax, rbx, rcx;
};

static void enter_mode(void *opaque)
{
	struct in_mode *m = opaque;
	__asm__ volatile("pushq %0; pushq %1; xorl %%esi, %%esi; xorl %%edi, %%edi; lretq"
			 ::"r"(m->selector), "r"(m->start), "a"(m->rax), "b"(m->rbx), "c"(m->rcx) : "rsi", "rdi", "memory");
}

static struct frame run_mode(struct in_mode m)
{
	struct fault f = guarded(enter_mode, &m);
	if (f.frame.vector != 0x81)
		check_equal(f.frame.vector, 0x81);
	return f.frame;
}

static void three_modes(void)
{
	static const uint8_t bytes[] = {
		0x31, 0xc0,                         /* xor eax, eax */
		0x48, 0x05, 0x01, 0x01, 0x90, 0x90, /* 64: add rax, 0x90900101. 32: dec; add. 16: dec; add ax, 0x101; nop; nop */
		0xe2, 0xf8,                         /* loop, by the counter of the address size */
		0xcd, 0x81,
	};
	static const uint8_t moffs[] = {
		0xa1, 0x00, 0xd0, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, /* 8, 4 or 2 bytes of offset, then add [eax | bx + si], al */
		0x63, 0xc8,                                           /* movsxd ecx, eax | arpl ax, cx */
		0xcd, 0x81,
	};
	put_bytes((uint8_t *)LOW, bytes, sizeof(bytes));
	put_bytes((uint8_t *)LOW + 256, moffs, sizeof(moffs));
	/* The second 16-bit segment has another base: the same bytes at another IP. */
	gdt_spare[0] = 0x00009a000000ffff | (uint64_t)(LOW - 0x40) << 16;
	uint64_t wrong = 0;
	for (unsigned i = 0; i < 400; i++) {
		unsigned turns = 20 + i % 3;
		uint64_t other = 0x50 | 0, start = 0x40;
		struct frame f = run_mode((struct in_mode){ LOW, SEL_CODE64, 0, 0, turns });
		wrong += f.rax != turns * 0xffffffff90900101;
		f = run_mode((struct in_mode){ LOW, SEL_CODE32, 0, 0, turns });
		wrong += f.rax != (uint32_t)(turns * 0x90900100u);
		f = run_mode((struct in_mode){ i & 1 ? LOW : start, i & 1 ? SEL_CODE16 : other, 0xabcd0000, 0, turns });
		wrong += (uint32_t)f.rax != (0xabcd0000 | (uint16_t)(turns * 0x100)) || (uint16_t)f.rcx;
	}
	check_equal(wrong, 0);
	*(volatile uint32_t *)0xd000 = 0xe000;
	*(volatile uint32_t *)0xe000 = 0;
	for (unsigned i = 0; i < 400; i++) {
		struct frame f = run_mode((struct in_mode){ LOW + 256, SEL_CODE64, 0, 0, 3 });
		wrong += f.rax != 0xe000 || f.rcx != 0xe000;
		f = run_mode((struct in_mode){ LOW + 256, SEL_CODE32, 0, 0, 3 });
		wrong += f.rax != 0xe003 || f.rcx != 3;
		f = run_mode((struct in_mode){ LOW + 256, SEL_CODE16, 0, 0xe000, 2 });
		wrong += (uint16_t)f.rax != 0xe002 || f.rcx != 2;
	}
	check_equal(wrong, 0);
	check_equal(*(volatile uint32_t *)0xe000, 0);
}

int guest_main(void)
{
	page = alloc_page();
	data_in_line();
	data_around();
	loop_beside_data();
	every_entry();
	both_readings();
	over_prefixes();
	three_modes();
	return failures;
}
