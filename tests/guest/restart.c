/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A page fault in the middle of every kind of instruction: the handler maps the page, the instruction goes on as if nothing
 * had been; and before that the registers in the frame are those of the instruction's start (or of the iteration). */
#include "guest.h"

#define AREA 0x30000000000ull
static uint64_t pages[4];
static unsigned faults;
static struct frame first;

static bool on_page_fault(struct frame *frame)
{
	uint64_t at = READ_CR(2);
	if (at < AREA || at >= AREA + sizeof(pages) / 8 * 4096)
		return false;
	if (!faults++)
		first = *frame;
	map_page(at & ~4095ull, pages[(at - AREA) >> 12], PG_P | PG_W);
	return true;
}

/* Both pages absent again; their contents stay. */
static void unmap_all(void)
{
	for (unsigned i = 0; i < 4; i++)
		map_page(AREA + i * 4096, 0, 0);
	faults = 0;
}

#define CROSS (AREA + 4096 - 4)
static uint64_t *direct(uint64_t at) { return (uint64_t *)(pages[(at - AREA) >> 12] + (at & 4095)); }

static void loads_and_stores(void)
{
	unmap_all();
	uint64_t v = 0x1122334455667788;
	__asm__ volatile("movq %1, (%0)" ::"r"(CROSS), "r"(v) : "memory");
	check_equal(faults, 2);
	unmap_all();
	uint64_t got;
	__asm__ volatile("movq (%1), %0" : "=r"(got) : "r"(CROSS));
	check_equal(got, v);
	check_equal(faults, 2);
	unmap_all();
	__asm__ volatile("addq %1, (%0)" ::"r"(CROSS), "r"(1ull) : "memory", "cc");
	__asm__ volatile("movq (%1), %0" : "=r"(got) : "r"(CROSS));
	check_equal(got, v + 1);
	unmap_all();
	uint64_t x = 99;
	__asm__ volatile("xchgq %0, (%1)" : "+r"(x) : "r"(AREA + 64) : "memory");
	check_equal(x, 0);
	check_equal(*direct(AREA + 64), 99);
	unmap_all();
	uint64_t old = 99;
	__asm__ volatile("lock cmpxchgq %2, (%1)" : "+a"(old) : "r"(AREA + 64), "r"(100ull) : "memory", "cc");
	check_equal(*direct(AREA + 64), 100);
	unmap_all();
	x = 5;
	__asm__ volatile("lock xaddq %0, (%1)" : "+r"(x) : "r"(AREA + 64) : "memory", "cc");
	check_equal(x, 100);
	check_equal(*direct(AREA + 64), 105);
	check_equal(faults, 1);
}

/* PUSH, POP, CALL, RET, ENTER and LEAVE with the stack pointer in the area. */
static void stack_instructions(void)
{
	uint64_t got, sp = AREA + 2 * 4096; /* pushes go down into page 1 */
	unmap_all();
	__asm__ volatile("movq %%rsp, %%r12; movq %1, %%rsp; pushq %2; popq %0; movq %%r12, %%rsp"
			 : "=&r"(got) : "r"(sp), "r"(0x1234ull) : "r12", "memory");
	check_equal(got, 0x1234);
	check_equal(faults, 1);
	check_equal(first.rsp, sp);
	unmap_all();
	__asm__ volatile("movq %%rsp, %%r12; movq %1, %%rsp; call 1f; 1: popq %0; movq %%r12, %%rsp" : "=&r"(got) : "r"(sp) : "r12", "memory");
	check_equal(faults, 1);
	unmap_all();
	__asm__ volatile("movq %%rsp, %%r12; movq %%rbp, %%r13; movq %1, %%rsp; enter $16, $0; movq %%rbp, %0; leave; movq %%r12, %%rsp; movq %%r13, %%rbp"
			 : "=&r"(got) : "r"(sp) : "r12", "r13", "memory");
	check_equal(got, sp - 8);
	check(faults >= 1);
	unmap_all();
	*direct(AREA + 128) = 77;
	__asm__ volatile("pushq (%1); popq %0" : "=r"(got) : "r"(AREA + 128) : "memory");
	check_equal(got, 77);
	unmap_all();
	__asm__ volatile("pushq $55; popq (%0)" ::"r"(AREA + 128) : "memory");
	check_equal(*direct(AREA + 128), 55);
}

static void strings(void)
{
	unmap_all();
	uint64_t di = AREA + 4096 - 100, cx = 200;
	__asm__ volatile("rep stosb" : "+D"(di), "+c"(cx) : "a"(0xab) : "memory");
	check_equal(faults, 2);
	check_equal(cx, 0);
	check_equal(di, AREA + 4096 + 100);
	/* The second fault came when 100 were left; the frame of the first shows 200. */
	check_equal(first.rcx, 200);
	check_equal(*direct(AREA + 4096 + 92), 0xabababababababab);
	unmap_all();
	uint64_t si = AREA + 4096 - 100, got = 0;
	di = AREA + 2 * 4096 + 8;
	cx = 25;
	__asm__ volatile("rep movsq" : "+S"(si), "+D"(di), "+c"(cx)::"memory");
	check_equal(faults, 3);
	check_equal(*direct(AREA + 2 * 4096 + 8 + 192), 0xabababababababab);
	unmap_all();
	si = AREA + 4096 - 100;
	cx = 200;
	__asm__ volatile("cld; repe scasb" : "+D"(si), "+c"(cx) : "a"(0xab) : "memory", "cc");
	check_equal(cx, 0);
	check_equal(faults, 2);
	unmap_all();
	si = AREA + 4096 + 99;
	cx = 150;
	__asm__ volatile("std; rep lodsb; cld" : "+S"(si), "+c"(cx), "=a"(got)::"memory");
	check_equal(cx, 0);
	check_equal(got & 0xff, 0xab);
	check_equal(faults, 2);
}

static bool cpu_has_avx2(void)
{
	uint32_t a = 1, b, c = 0, d;
	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	if (!(c & (1u << 26)) || !(c & (1u << 28)))
		return false;
	a = 7, c = 0;
	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	return b & (1u << 5);
}

/* AVX2 gather: elements on two pages; each fault keeps the elements done so far. */
static void gather(void)
{
	if (!cpu_has_avx2()) {
		print("no AVX2: gather not tested\n");
		return;
	}
	WRITE_CR(4, READ_CR(4) | 1u << 18);
	__asm__ volatile("xsetbv" ::"a"(7), "d"(0), "c"(0));
	static int32_t index[8] = { 0, 1, 1024, 1025, 2, 2048, 3, 2049 };
	static uint32_t out[8], mask_out[8];
	for (unsigned i = 0; i < 8; i++)
		*(uint32_t *)direct(AREA + 4u * (unsigned)index[i]) = 1000 + i;
	unmap_all();
	__asm__ volatile("vmovdqu (%0), %%ymm1; vpcmpeqd %%ymm2, %%ymm2, %%ymm2; vpxor %%xmm0, %%xmm0, %%xmm0;"
			 "vpgatherdd %%ymm2, (%1,%%ymm1,4), %%ymm0; vmovdqu %%ymm0, (%2); vmovdqu %%ymm2, (%3)"
			 ::"r"(index), "r"(AREA), "r"(out), "r"(mask_out) : "memory");
	check_equal(faults, 3);
	for (unsigned i = 0; i < 8; i++) {
		check_equal(out[i], 1000 + i);
		check_equal(mask_out[i], 0);
	}
	unmap_all();
	__asm__ volatile("vmovdqu %%ymm0, (%0)" ::"r"(AREA + 4096 - 16) : "memory");
	check_equal(faults, 2);
	check_equal(*(uint32_t *)direct(AREA + 4096), 1004);
	unmap_all();
	__asm__ volatile("fninit; fld1; fstpt (%0)" ::"r"(AREA + 4096 - 4) : "memory");
	check_equal(faults, 2);
	check_equal(*(uint16_t *)(direct(AREA + 4096 + 4)), 0x3fff);
}

/* IRET, LGDT, FXSAVE, CMPXCHG16B, BT with a far bit offset, LSL: operands in absent pages. */
static void system_operands(void)
{
	unmap_all();
	uint64_t bit = 8 * 4096 + 3;
	__asm__ volatile("btsq %1, (%0)" ::"r"(AREA), "r"(bit) : "memory", "cc");
	check_equal(faults, 1);
	check(*direct(AREA + 4096) & 8);
	unmap_all();
	__asm__ volatile("fxsave (%0)" ::"r"(AREA + 256) : "memory");
	check_equal(faults, 1);
	unmap_all();
	__asm__ volatile("fxrstor (%0)" ::"r"(AREA + 256) : "memory");
	check_equal(faults, 1);
	unmap_all();
	struct { uint16_t limit; uint64_t base; } __attribute__((packed)) gdtr;
	__asm__ volatile("sgdt %0; sgdt (%1); lgdt (%1)" : "=m"(gdtr) : "r"(AREA + 4096 - 5) : "memory");
	check_equal(faults, 2);
	unmap_all();
	uint64_t sp = AREA + 3 * 4096;
	__asm__ volatile("movq %%rsp, %%r12; movq %0, %%rsp; pushq $0x10; pushq %%r12; pushfq; pushq $0x08; leaq 1f(%%rip), %%rax; pushq %%rax\n"
			 "movq %%rsp, %%rdi; movq %1, %%rax; iretq\n1:" ::"r"(sp), "r"(0ull) : "rax", "rdi", "r12", "memory");
	check(faults >= 1);
}

int guest_main(void)
{
	for (unsigned i = 0; i < 4; i++)
		pages[i] = (uint64_t)alloc_page();
	handlers[VEC_PF] = on_page_fault;
	/* The stack itself is absent in some of the tests. */
	set_gate(VEC_PF, vector_stubs + 16 * VEC_PF, 0x0e, 1);
	loads_and_stores();
	stack_instructions();
	strings();
	gather();
	system_operands();
	return failures;
}
