/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_TESTS_SYSTEM_MACHINE_H
#define VISOR_TESTS_SYSTEM_MACHINE_H

#include "cpu/cpu.h"

/*
 * One processor over 4 MiB of memory with a GDT, IDT, LDT and TSS, in whatever
 * mode a test wants, and a step function that decodes, selects and executes as an
 * engine does. Paging, when on, maps linear to physical one to one for all levels.
 */
extern struct cpu m;
extern struct guest_memory ram;

/* Where the tables are. */
enum { GDT = 0x1000, IDT = 0x2000, TSS = 0x3000, TSS2 = 0x3200, LDT = 0x3800, CODE = 0x10000, HANDLER = 0x20000,
       STACK0 = 0x31000, STACK1 = 0x32000, STACK3 = 0x33000, STACK_IST = 0x34000, DATA = 0x40000, TABLES = 0x100000 };

/* Selectors of the GDT that machine_protected and machine_long lay out. */
enum {
	CODE32 = 0x08, DATA32 = 0x10, UCODE32 = 0x18, UDATA32 = 0x20, CODE64 = 0x28, UCODE64 = 0x30, CONFORMING = 0x38,
	ABSENT_DATA = 0x40, EXECUTE_ONLY = 0x48, READ_ONLY = 0x50, EXPAND_DOWN = 0x58, CODE16 = 0x60, DATA16 = 0x68,
	CODE1 = 0x70, DATA1 = 0x78, ABSENT_CODE = 0x80, ABSENT_STACK = 0x88, GATE = 0x90 /* 16 bytes */,
	TSS_SEL = 0xa0 /* 16 bytes */,
	LDT_SEL = 0xb0 /* 16 bytes */, TSS2_SEL = 0xc0, TASK_GATE_SEL = 0xc8, SCRATCH = 0xd0 /* 16 bytes */, GDT_SIZE = 0xe0,
};

enum { ACC_PRESENT = 0x80, ACC_CODE = 0x1b, ACC_DATA = 0x13 };
void gdt_set(unsigned selector, uint32_t base, uint32_t limit, unsigned access, unsigned flags);
void gdt_raw(unsigned selector, uint64_t descriptor);
uint64_t gdt_get(unsigned selector);
/* A call, task, interrupt or trap gate; in long mode 16 bytes. low: parameter count or IST. */
void gate_set(uint32_t address, uint64_t offset, unsigned selector, unsigned type, unsigned dpl, unsigned low);
void idt_set(unsigned vector, unsigned selector, unsigned type, unsigned dpl, unsigned ist);

void machine_real(void);
void machine_protected(unsigned cpl); /* 32-bit, no paging */
void machine_long(unsigned cpl);      /* 64-bit code */
void machine_compat(unsigned cpl);    /* 32-bit code in long mode */
void machine_v86(unsigned iopl);      /* virtual-8086 code at CODE */
void machine_paging32(void);

uint32_t peek32(uint32_t address);
uint64_t peek64(uint32_t address);
void poke32(uint32_t address, uint32_t value);
void poke64(uint32_t address, uint64_t value);

enum { OK = -1 };
/* Lays the bytes at CS:RIP and executes them: OK, or the vector of the fault they raised (not delivered). */
int run_bytes(const uint8_t *bytes, unsigned length);
#define RUN(...) run_bytes((const uint8_t[]){ __VA_ARGS__ }, sizeof((uint8_t[]){ __VA_ARGS__ }))
/* One round of an engine's loop: events, then the instruction at CS:RIP; faults are delivered. */
void step(void);
void lay(uint32_t address, const uint8_t *bytes, unsigned length);
/* Calls fn with faults caught: OK or the vector. */
int catching(void (*fn)(void));
/* The error code of the last fault, and of what it was. */
#define LAST_ERROR (m.fault_error)

#define expect_fault(vector, error, run) \
	do { \
		int got_ = (run); \
		assert_int_equal(got_, vector); \
		assert_int_equal(LAST_ERROR, error); \
	} while (0)
#define expect_ok(run) assert_int_equal(run, OK)

#endif
