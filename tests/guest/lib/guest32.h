/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef GUEST32_H
#define GUEST32_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* As guest.h, in 32-bit protected mode without paging. */
struct frame {
	uint32_t edi, esi, ebp, esp_dummy, ebx, edx, ecx, eax, ds, es, fs, gs;
	uint32_t vector, error, eip, cs, eflags;
	uint32_t esp, ss;                 /* from an outer ring or V86 */
	uint32_t v_es, v_ds, v_fs, v_gs;  /* from V86 */
};

struct fault {
	bool happened;
	struct frame frame;
	uint32_t cr2;
};

int guest_main(void);
void guest_exit(int failures);
void print(const char *text);
void print_hex(uint64_t value);
extern int failures;
struct fault guarded(void (*fn)(void *), void *arg);
typedef bool handler_fn(struct frame *frame);
extern handler_fn *handlers[256];
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

struct tss32 {
	uint32_t link, esp0, ss0, esp1, ss1, esp2, ss2, cr3, eip, eflags, eax, ecx, edx, ebx, esp, ebp, esi, edi;
	uint32_t es, cs, ss, ds, fs, gs, ldt;
	uint16_t trap, iomap;
	uint8_t bitmap[36];
};

extern uint64_t gdt[];
extern uint8_t vector_stubs[], ring0_stack_top[];
extern struct tss32 tss_main;
void set_gate(unsigned vector, uint16_t selector, void *entry, unsigned type_dpl);
uint64_t descriptor(uint32_t base, uint32_t limit, unsigned access, unsigned flags); /* flags: G 8, D/B 4 */

static inline void outb(uint16_t port, uint8_t v) { __asm__ volatile("outb %0, %1" ::"a"(v), "Nd"(port)); }
static inline uint8_t inb(uint16_t port) { uint8_t v; __asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port)); return v; }
#define READ_CR(n) ({ uint32_t v_; __asm__ volatile("mov %%cr" #n ", %0" : "=r"(v_)); v_; })
#define WRITE_CR(n, value) __asm__ volatile("mov %0, %%cr" #n ::"r"((uint32_t)(value)) : "memory")

enum { VEC_DE, VEC_DB, VEC_NMI, VEC_BP, VEC_OF, VEC_BR, VEC_UD, VEC_NM, VEC_DF, VEC_TS = 10, VEC_NP, VEC_SS, VEC_GP, VEC_PF };
enum { SEL_CODE = 0x08, SEL_DATA = 0x10, SEL_USER_CODE = 0x1b, SEL_USER_DATA = 0x23, SEL_TSS = 0x28, SEL_CODE16 = 0x30, SEL_DATA16 = 0x38,
       SEL_SPARE = 0x40 };

#endif
