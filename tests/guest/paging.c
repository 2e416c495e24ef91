/* SPDX-License-Identifier: GPL-2.0-or-later */
/* 4-level paging: large pages, rights at every level, reserved bits, global pages, PCID, SMEP, SMAP, UMIP. */
#include "guest.h"

#define WINDOW 0x10000000000ull
#define CR4_UMIP 0x800ull
#define CR4_PCIDE 0x20000ull
#define CR4_SMEP 0x100000ull
#define RESERVED 8u

static uint64_t *page, *other;

static void read_at(void *p) { __asm__ volatile("movq (%0), %%rax" ::"r"(p) : "rax"); }
static void write_at(void *p) { __asm__ volatile("movq $1, (%0)" ::"r"(p) : "memory"); }
static void call_at(void *p) { __asm__ volatile("call *%0" ::"r"(p) : "memory"); }
static void fail_cmpxchg(void *p) { __asm__ volatile("cmpxchgq %%rbx, (%0)" ::"r"(p), "a"(0x123456) : "memory", "cc"); }
static void write_cr3(void *p) { WRITE_CR(3, p); }
static void write_cr4(void *p) { WRITE_CR(4, p); }
static void write_cr0(void *p) { WRITE_CR(0, p); }

/* The compiler has to look at the page tables again. */
static uint64_t value(uint64_t at)
{
	uint64_t v;
	__asm__ volatile("movq (%1), %0" : "=r"(v) : "r"(at) : "memory");
	return v;
}

static void check_page_fault_(struct fault f, uint64_t at, uint64_t error, int line)
{
	check_equal_(f.happened ? f.frame.vector : 0, VEC_PF, "vector", __FILE_NAME__, line);
	check_equal_(f.frame.error, error, "error code", __FILE_NAME__, line);
	check_equal_(f.cr2, at, "CR2", __FILE_NAME__, line);
}
#define check_page_fault(f, at, error) check_page_fault_(f, at, error, __LINE__)

static void large_pages(void)
{
	*page = 0x1111;
	uint64_t at = (uint64_t)page;
	/* 2 MB. */
	uint64_t *pde = table_entry(WINDOW, 2);
	*pde = (at & ~0x1fffffull) | PG_P | PG_W | PG_PS;
	check_equal(value(WINDOW + (at & 0x1fffff)), 0x1111);
	check_equal(*pde & (PG_A | PG_D), PG_A);
	check_page_fault(guarded(write_at, (void *)(WINDOW + 0x200000)), WINDOW + 0x200000, 2);
	*(volatile uint64_t *)(WINDOW + (at & 0x1fffff)) = 0x2222;
	check_equal(*pde & (PG_A | PG_D), PG_A | PG_D);
	check_equal(*page, 0x2222);
	*pde |= 1u << 13;
	invlpg(WINDOW);
	check_page_fault(guarded(read_at, (void *)WINDOW), WINDOW, PG_P | RESERVED);
	*pde = (at & ~0x1fffffull) | PG_P | PG_W | PG_PS | 1u << 12; /* PAT is not reserved */
	invlpg(WINDOW);
	check_equal(value(WINDOW + (at & 0x1fffff)), 0x2222);
	*pde = 0;
	invlpg(WINDOW);
	/* 1 GB. */
	uint64_t *pdpte = table_entry(WINDOW + (1ull << 38), 3);
	uint64_t big = WINDOW + (1ull << 38);
	*pdpte = PG_P | PG_W | PG_PS;
	check_equal(value(big + at), 0x2222);
	check_equal(*pdpte & (PG_A | PG_D), PG_A);
	*(volatile uint64_t *)(big + at) = 0x3333;
	check_equal(*pdpte & (PG_A | PG_D), PG_A | PG_D);
	check_equal(*page, 0x3333);
	*pdpte |= 1u << 20;
	invlpg(big);
	check_page_fault(guarded(read_at, (void *)(big + 8)), big + 8, PG_P | RESERVED);
	*pdpte = 0;
	invlpg(big);
	/* PS in a PML4E. */
	uint64_t *pml4e = table_entry(WINDOW, 4);
	*pml4e |= PG_PS;
	WRITE_CR(3, READ_CR(3));
	check_page_fault(guarded(read_at, (void *)WINDOW), WINDOW, PG_P | RESERVED);
	*pml4e &= ~(uint64_t)PG_PS;
	WRITE_CR(3, READ_CR(3));
}

static void rights_at_every_level(void)
{
	map_page(WINDOW, (uint64_t)page, PG_P | PG_W);
	for (int level = 1; level <= 4; level++) {
		uint64_t *entry = table_entry(WINDOW, level), saved = *entry;
		*entry = saved & ~(uint64_t)PG_W;
		invlpg(WINDOW);
		check_page_fault(guarded(write_at, (void *)WINDOW), WINDOW, PG_P | PG_W);
		*entry = saved | PG_NX;
		invlpg(WINDOW);
		check_page_fault(guarded(call_at, (void *)WINDOW), WINDOW, PG_P | 16);
		check(!guarded(write_at, (void *)WINDOW).happened);
		*entry = saved & ~(uint64_t)PG_P;
		invlpg(WINDOW);
		check_page_fault(guarded(read_at, (void *)WINDOW), WINDOW, 0);
		*entry = saved & ~(uint64_t)PG_A;
		invlpg(WINDOW);
		value(WINDOW);
		check(*entry & PG_A);
		*entry = saved | 1ull << 51;
		invlpg(WINDOW);
		check_page_fault(guarded(read_at, (void *)WINDOW), WINDOW, PG_P | RESERVED);
		*entry = saved;
		invlpg(WINDOW);
	}
	/* A locked compare that fails writes all the same. */
	*page_entry(WINDOW) &= ~(uint64_t)(PG_A | PG_D);
	invlpg(WINDOW);
	check(!guarded(fail_cmpxchg, (void *)WINDOW).happened);
	check_equal(*page_entry(WINDOW) & (PG_A | PG_D), PG_A | PG_D);
	map_page(WINDOW, (uint64_t)page, PG_P);
	check_page_fault(guarded(fail_cmpxchg, (void *)WINDOW), WINDOW, PG_P | PG_W);
	/* Without EFER.NXE the NX bit is reserved. */
	map_page(WINDOW, (uint64_t)page, PG_P | PG_NX);
	wrmsr(0xc0000080, rdmsr(0xc0000080) & ~0x800ull);
	check_page_fault(guarded(read_at, (void *)WINDOW), WINDOW, PG_P | RESERVED);
	wrmsr(0xc0000080, rdmsr(0xc0000080) | 0x800);
	check(!guarded(read_at, (void *)WINDOW).happened);
}

/* Each way of invalidating that must reach a global page does; CR3 must reach all others. */
static void global_pages(void)
{
	*page = 1, *other = 2;
	map_page(WINDOW, (uint64_t)page, PG_P | PG_W);
	check_equal(value(WINDOW), 1);
	*page_entry(WINDOW) = (uint64_t)other | PG_P;
	WRITE_CR(3, READ_CR(3));
	check_equal(value(WINDOW), 2);
	WRITE_CR(4, READ_CR(4) | CR4_PGE);
	map_page(WINDOW, (uint64_t)page, PG_P | PG_G);
	check_equal(value(WINDOW), 1);
	*page_entry(WINDOW) = (uint64_t)other | PG_P | PG_G;
	invlpg(WINDOW);
	check_equal(value(WINDOW), 2);
	*page_entry(WINDOW) = (uint64_t)page | PG_P | PG_G;
	WRITE_CR(4, READ_CR(4) & ~CR4_PGE);
	check_equal(value(WINDOW), 1);
	WRITE_CR(4, READ_CR(4) | CR4_PGE);
	*page_entry(WINDOW) = (uint64_t)other | PG_P | PG_G;
	WRITE_CR(4, READ_CR(4) & ~CR4_PGE);
	check_equal(value(WINDOW), 2);
	/* INVLPG of any address within a large page drops all of it. */
	uint64_t at = (uint64_t)page & ~0x1fffffull, *pde = table_entry(WINDOW + 0x40000000, 2);
	*pde = at | PG_P | PG_PS;
	value(WINDOW + 0x40000000);
	value(WINDOW + 0x40000000 + 0x5000);
	*pde = 0;
	invlpg(WINDOW + 0x40000000 + 0x1ff000);
	check(guarded(read_at, (void *)(WINDOW + 0x40000000 + 0x5000)).happened);
}

/* --- PCID and INVPCID (SDM 3A, 4.10; 2A INVPCID) --- */

struct invpcid {
	uint64_t pcid, linear;
};
static uint64_t invpcid_type;
static void invpcid(void *descriptor)
{
	__asm__ volatile("invpcid (%0), %1" ::"r"(descriptor), "r"(invpcid_type) : "memory");
}

static void invalidate(uint64_t type, uint64_t pcid, uint64_t linear)
{
	struct invpcid d = { pcid, linear };
	invpcid_type = type;
	invpcid(&d);
}

static struct fault bad_invpcid(uint64_t type, uint64_t pcid, uint64_t linear)
{
	struct invpcid d = { pcid, linear };
	invpcid_type = type;
	return guarded(invpcid, &d);
}

static void pcid(void)
{
	if (!(cpuid(1, 0).c >> 17 & 1)) {
		print("no PCID\n");
		return;
	}
	uint64_t cr3 = READ_CR(3), cr4 = READ_CR(4), no_flush = 1ull << 63;
	*page = 1, *other = 2;
	map_page(WINDOW, (uint64_t)page, PG_P);
	/* A second address space that differs in WINDOW alone. */
	uint64_t *second = alloc_page(), *first = (uint64_t *)cr3, index = WINDOW >> 39;
	for (unsigned i = 0; i < 512; i++)
		second[i] = first[i];
	uint64_t *pdpt = alloc_page(), *pd = alloc_page(), *pt = alloc_page();
	second[index] = (uint64_t)pdpt | 7;
	pdpt[WINDOW >> 30 & 511] = (uint64_t)pd | 7;
	pd[WINDOW >> 21 & 511] = (uint64_t)pt | 7;
	pt[0] = (uint64_t)other | PG_P;
	WRITE_CR(3, cr3 | 8); /* PCD: a nonzero PCID */
	check_fault(guarded(write_cr4, (void *)(cr4 | CR4_PCIDE)), VEC_GP, 0);
	WRITE_CR(3, cr3);
	check_fault(guarded(write_cr3, (void *)(cr3 | no_flush)), VEC_GP, 0);
	WRITE_CR(4, cr4 | CR4_PCIDE);
	check_fault(guarded(write_cr0, (void *)(READ_CR(0) & ~0x80000000ull)), VEC_GP, 0);
	for (int i = 0; i < 20; i++) {
		uint64_t flag = i & 2 ? no_flush : 0;
		WRITE_CR(3, (uint64_t)second | 5 | flag);
		check_equal(READ_CR(3), (uint64_t)second | 5);
		check_equal(value(WINDOW), 2);
		WRITE_CR(3, cr3 | 3 | flag);
		check_equal(value(WINDOW), 1);
	}
	if (cpuid(7, 0).b >> 10 & 1) {
		/* A mapping that is changed while its address space is away. */
		for (unsigned type = 0; type < 4; type++) {
			WRITE_CR(3, (uint64_t)second | 5 | no_flush);
			value(WINDOW);
			WRITE_CR(3, cr3 | 3 | no_flush);
			pt[0] = (uint64_t)(type & 1 ? other : page) | PG_P;
			invalidate(type, 5, WINDOW);
			WRITE_CR(3, (uint64_t)second | 5 | no_flush);
			check_equal(value(WINDOW), type & 1 ? 2 : 1);
		}
		WRITE_CR(3, cr3 | 3);
		/* The current one. */
		*page_entry(WINDOW) = (uint64_t)other | PG_P;
		invalidate(0, 3, WINDOW);
		check_equal(value(WINDOW), 2);
		*page_entry(WINDOW) = (uint64_t)page | PG_P;
		invalidate(1, 3, 0);
		check_equal(value(WINDOW), 1);
		check_fault(bad_invpcid(4, 0, 0), VEC_GP, 0);
		check_fault(bad_invpcid(0, 0x1000, WINDOW), VEC_GP, 0);
		check_fault(bad_invpcid(0, 3, 0x800000000000ull), VEC_GP, 0);
	} else {
		print("no INVPCID\n");
	}
	WRITE_CR(3, cr3);
	WRITE_CR(4, cr4);
	if (cpuid(7, 0).b >> 10 & 1) {
		check_fault(bad_invpcid(1, 3, 0), VEC_GP, 0);
		check(!bad_invpcid(1, 0, 0).happened);
	}
}

/* --- user and supervisor --- */

#define USER(name, ...) \
	__asm__(".text\n" #name "_: " __VA_ARGS__ "; int $0x80\n" #name "_end: .byte 0xcc\n"); \
	extern uint8_t name##_[], name##_end[]
#define RUN(name, argument) run_user_code(name##_, name##_end, argument)
USER(user_read, "movq (%rdi), %rax");
USER(user_write, "movq %rax, (%rdi)");
USER(user_jump, "jmp *%rdi");
USER(user_stac, "stac");
USER(user_sgdt, "sgdt -16(%rsp)");
USER(user_sidt, "sidt -16(%rsp)");
USER(user_sldt, "sldt %ax");
USER(user_str, "str %ax");
USER(user_smsw, "smsw %ax");
USER(user_hlt, "hlt");
USER(user_invlpg, "invlpg (%rdi)");
USER(user_rdmsr, "xorl %ecx, %ecx; rdmsr");
USER(user_cli, "cli");
USER(user_in, "inb $0x80, %al");
USER(user_lgdt, "lgdt (%rdi)");
USER(user_clts, "clts");

static void user_rights(void)
{
	map_page(WINDOW, (uint64_t)page, PG_P | PG_W);
	check_page_fault(RUN(user_read, WINDOW), WINDOW, 5);
	check_page_fault(RUN(user_write, WINDOW), WINDOW, 7);
	check_page_fault(RUN(user_jump, WINDOW), WINDOW, 0x15);
	check_page_fault(RUN(user_read, WINDOW + 0x1000), WINDOW + 0x1000, 4);
	map_page(WINDOW, (uint64_t)page, PG_P | PG_U);
	check_fault(RUN(user_read, WINDOW), 0x80, 0);
	check_page_fault(RUN(user_write, WINDOW), WINDOW, 7);
	for (int level = 2; level <= 4; level++) {
		*table_entry(WINDOW, level) &= ~(uint64_t)PG_U;
		WRITE_CR(3, READ_CR(3));
		check_page_fault(RUN(user_read, WINDOW), WINDOW, 5);
		*table_entry(WINDOW, level) |= PG_U;
		WRITE_CR(3, READ_CR(3));
	}
	check_fault(RUN(user_hlt, 0), VEC_GP, 0);
	check_fault(RUN(user_invlpg, 0), VEC_GP, 0);
	check_fault(RUN(user_rdmsr, 0), VEC_GP, 0);
	check_fault(RUN(user_cli, 0), VEC_GP, 0);
	check_fault(RUN(user_in, 0), 0x80, 0); /* by an I/O bitmap at the beginning of the TSS, which is all clear there */
	*(uint16_t *)(tss64 + 102) = 104;
	check_fault(RUN(user_in, 0), VEC_GP, 0);
	check_fault(RUN(user_lgdt, WINDOW), VEC_GP, 0);
	check_fault(RUN(user_clts, 0), VEC_GP, 0);
}

static void smep(void)
{
	if (!(cpuid(7, 0).b >> 7 & 1)) {
		print("no SMEP\n");
		return;
	}
	*(uint8_t *)page = 0xc3; /* RET */
	map_page(WINDOW, (uint64_t)page, PG_P | PG_W | PG_U);
	check(!guarded(call_at, (void *)WINDOW).happened);
	WRITE_CR(4, READ_CR(4) | CR4_SMEP);
	check_page_fault(guarded(call_at, (void *)WINDOW), WINDOW, 0x11);
	check_fault(RUN(user_read, WINDOW), 0x80, 0);
	WRITE_CR(4, READ_CR(4) & ~CR4_SMEP);
	check(!guarded(call_at, (void *)WINDOW).happened);
}

static void lldt(void *p) { __asm__ volatile("lldt %w0" ::"r"(p)); }
static void load_fs(void *p) { __asm__ volatile("movw %w0, %%fs" ::"r"(p)); }

static void smap(void)
{
	if (!(cpuid(7, 0).b >> 20 & 1)) {
		print("no SMAP\n");
		return;
	}
	map_page(WINDOW, (uint64_t)page, PG_P | PG_W | PG_U);
	WRITE_CR(4, READ_CR(4) | CR4_SMAP);
	check_page_fault(guarded(read_at, (void *)WINDOW), WINDOW, 1);
	check_page_fault(guarded(write_at, (void *)WINDOW), WINDOW, 3);
	__asm__ volatile("stac");
	check(!guarded(read_at, (void *)WINDOW).happened);
	__asm__ volatile("stac");
	check(!guarded(write_at, (void *)WINDOW).happened);
	/* The processor's own accesses fault whatever AC says: a descriptor in a page of the user's. */
	page[1] = 0x00cff2000000ffff;
	gdt_spare[2] = 0xffff | (WINDOW & 0xffffff) << 16 | 0x82ull << 40 | (WINDOW >> 24 & 0xff) << 56;
	gdt_spare[3] = WINDOW >> 32;
	check(!guarded(lldt, (void *)0x60).happened);
	__asm__ volatile("stac");
	check_page_fault(guarded(load_fs, (void *)0x0c), WINDOW + 8, 1);
	__asm__ volatile("clac");
	lldt(0);
	check_fault(RUN(user_read, WINDOW), 0x80, 0);
	check_fault(RUN(user_stac, 0), VEC_UD, 0);
	WRITE_CR(4, READ_CR(4) & ~CR4_SMAP);
	check(!guarded(read_at, (void *)WINDOW).happened);
}

static void umip(void)
{
	if (!(cpuid(7, 0).c >> 2 & 1)) {
		print("no UMIP\n");
		return;
	}
	static const struct {
		uint8_t *from, *to;
	} all[] = { { user_sgdt_, user_sgdt_end }, { user_sidt_, user_sidt_end }, { user_sldt_, user_sldt_end }, { user_str_, user_str_end },
		    { user_smsw_, user_smsw_end } };
	for (unsigned i = 0; i < 5; i++)
		check_fault(run_user_code(all[i].from, all[i].to, 0), 0x80, 0);
	WRITE_CR(4, READ_CR(4) | CR4_UMIP);
	for (unsigned i = 0; i < 5; i++)
		check_fault(run_user_code(all[i].from, all[i].to, 0), VEC_GP, 0);
	uint16_t tr;
	__asm__ volatile("str %0" : "=r"(tr));
	check_equal(tr, 0x40);
	WRITE_CR(4, READ_CR(4) & ~CR4_UMIP);
}

int guest_main(void)
{
	page = alloc_page();
	other = alloc_page();
	large_pages();
	rights_at_every_level();
	global_pages();
	pcid();
	user_rights();
	smep();
	smap();
	umip();
	return failures;
}
