/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef GUEST_H
#define GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A guest test: 64-bit, ring 0, no operating system. guest_main runs checks;
 * output goes to COM1 and port 0xe9, the verdict to the debug-exit port
 * (0x10: passed, so status 33; else failed).
 */
struct frame {
	uint64_t rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15;
	uint64_t vector, error, rip, cs, rflags, rsp, ss;
};

/* What stopped a guarded function. */
struct fault {
	bool happened;
	struct frame frame;
	uint64_t cr2;
};

int guest_main(void);
void guest_exit(int failures);
/* The number after NAME= on the command line (--append), or `otherwise`. */
uint64_t guest_option(const char *name, uint64_t otherwise);
void print(const char *text);
void print_hex(uint64_t value);
extern int failures;

/* Runs fn(arg); a fault in it ends it and is described in the result. */
struct fault guarded(void (*fn)(void *), void *arg);

/* A handler for one vector; returns true when it has dealt with the frame (IRET follows). */
typedef bool handler_fn(struct frame *frame);
extern handler_fn *handlers[256];

struct table_pointer {
	uint16_t limit;
	uint64_t base;
} __attribute__((packed));
extern struct table_pointer guest_idtr;

void check_(bool ok, const char *text, const char *file, int line);
#define check(condition) check_((condition), #condition, __FILE_NAME__, __LINE__)
void check_equal_(uint64_t got, uint64_t want, const char *text, const char *file, int line);
#define check_equal(got, want) check_equal_((uint64_t)(got), (uint64_t)(want), #got, __FILE_NAME__, __LINE__)
#define check_fault(f, v, e) \
	do { \
		struct fault f_ = (f); \
		check(f_.happened); \
		check_equal(f_.frame.vector, v); \
		check_equal(f_.frame.error, e); \
	} while (0)

/* Maps one 4 KiB page at a linear address above 4 GiB with the given entry bits; NULL-safe page-table pool. */
void map_page(uint64_t linear, uint64_t physical, uint64_t bits);
uint64_t *page_entry(uint64_t linear); /* of a page mapped by map_page */
/* The entry for an address in its table of this level: 1 page table ... 4 PML4; the tables above are made. */
uint64_t *table_entry(uint64_t linear, int level);
void *alloc_page(void);                /* zeroed, identity-mapped */
void set_gate(unsigned vector, void *entry, unsigned type_dpl, unsigned ist);

extern uint8_t vector_stubs[];
extern uint64_t gdt64[], gdt_spare[];
extern uint8_t tss64[], ring0_stack_top[], ist_stack_top[];

static inline void outb(uint16_t port, uint8_t v) { __asm__ volatile("outb %0, %1" ::"a"(v), "Nd"(port)); }
static inline uint8_t inb(uint16_t port) { uint8_t v; __asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port)); return v; }
static inline void outl(uint16_t port, uint32_t v) { __asm__ volatile("outl %0, %1" ::"a"(v), "Nd"(port)); }
static inline uint32_t inl(uint16_t port) { uint32_t v; __asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port)); return v; }
static inline uint64_t rdmsr(uint32_t msr)
{
	uint32_t lo, hi;
	__asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
	return lo | (uint64_t)hi << 32;
}
static inline void wrmsr(uint32_t msr, uint64_t v)
{
	__asm__ volatile("wrmsr" ::"c"(msr), "a"((uint32_t)v), "d"((uint32_t)(v >> 32)));
}
#define READ_CR(n) ({ uint64_t v_; __asm__ volatile("mov %%cr" #n ", %0" : "=r"(v_)); v_; })
#define WRITE_CR(n, value) __asm__ volatile("mov %0, %%cr" #n ::"r"((uint64_t)(value)) : "memory")
struct cpuid {
	uint32_t a, b, c, d;
};
static inline struct cpuid cpuid(uint32_t leaf, uint32_t sub)
{
	struct cpuid r;
	__asm__ volatile("cpuid" : "=a"(r.a), "=b"(r.b), "=c"(r.c), "=d"(r.d) : "a"(leaf), "c"(sub));
	return r;
}
static inline uint64_t rdtsc(void)
{
	uint32_t lo, hi;
	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return lo | (uint64_t)hi << 32;
}
static inline void invlpg(uint64_t a) { __asm__ volatile("invlpg (%0)" ::"r"(a) : "memory"); }

enum { PG_P = 1, PG_W = 2, PG_U = 4, PG_A = 0x20, PG_D = 0x40, PG_PS = 0x80, PG_G = 0x100 };
#define PG_NX (1ull << 63)
#define CR4_PGE 0x80ull
#define CR4_SMAP 0x200000ull
enum { VEC_DE, VEC_DB, VEC_NMI, VEC_BP, VEC_OF, VEC_BR, VEC_UD, VEC_NM, VEC_DF, VEC_TS = 10, VEC_NP, VEC_SS, VEC_GP, VEC_PF, VEC_MF = 16,
       VEC_AC, VEC_MC, VEC_XM };
enum { SEL_CODE64 = 0x08, SEL_DATA = 0x10, SEL_CODE32 = 0x18, SEL_USER32 = 0x23, SEL_USER_DATA = 0x2b, SEL_USER64 = 0x33, SEL_CODE16 = 0x38 };

/* Calls fn at CPL 3 on its own stack; comes back when it executes INT 0x80 or faults. Code, data and stack must be mapped for the user. */
struct fault run_user(uint64_t rip, uint64_t rsp, uint64_t argument);
/* Copies code that runs at any address to a page of the user's; run_user with it and the user's stack. */
struct fault run_user_code(const uint8_t *from, const uint8_t *to, uint64_t argument);
#define USER_CODE 0x60000000000ull
#define USER_STACK (USER_CODE + 0x10000) /* one page */
#define USER_STACK_TOP (USER_STACK + 4096)

#endif
