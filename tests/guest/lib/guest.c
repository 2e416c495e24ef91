/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest.h"

struct gate {
	uint16_t offset0, selector;
	uint8_t ist, type;
	uint16_t offset1;
	uint32_t offset2, zero;
} __attribute__((packed));

static struct gate idt[256] __attribute__((aligned(16)));
handler_fn *handlers[256];
struct table_pointer guest_idtr;

/* The innermost guarded call; its saved stack pointer comes first (see start64.S). */
struct guard {
	uint64_t rsp;
	struct guard *outer;
	struct fault fault;
};
static struct guard *guard;
bool guarded_call(void (*fn)(void *), void *arg, struct guard *guard);
_Noreturn void guarded_resume(struct guard *guard);
void vector_handler(struct frame *frame);
void idt_setup(void);

void vector_handler(struct frame *frame)
{
	if (handlers[frame->vector] && handlers[frame->vector](frame))
		return;
	if (guard) {
		struct guard *g = guard;
		g->fault = (struct fault){ .happened = true, .frame = *frame, .cr2 = READ_CR(2) };
		guarded_resume(g);
	}
	print("unexpected vector ");
	print_hex(frame->vector);
	print(" error ");
	print_hex(frame->error);
	print(" rip ");
	print_hex(frame->rip);
	print(" cr2 ");
	print_hex(READ_CR(2));
	print("\n");
	guest_exit(1);
}

struct fault guarded(void (*fn)(void *), void *arg)
{
	struct guard g = { .outer = guard };
	guard = &g;
	guarded_call(fn, arg, &g);
	guard = g.outer;
	return g.fault;
}

void set_gate(unsigned vector, void *entry, unsigned type_dpl, unsigned ist)
{
	uint64_t at = (uint64_t)entry;
	idt[vector] = (struct gate){ (uint16_t)at, SEL_CODE64, (uint8_t)ist, (uint8_t)(0x80 | type_dpl), (uint16_t)(at >> 16),
				     (uint32_t)(at >> 32), 0 };
}

/* As systems set a processor up, so that user code may be executed directly. */
static uint64_t user_flags = 2;

static void allow_direct(void)
{
	const uint64_t xcr0 = cpuid(0xd, 0).a;
	WRITE_CR(4, READ_CR(4) | 0x50600); /* OSXSAVE, FSGSBASE, OSXMMEXCPT, OSFXSR */
	__asm__ volatile("xsetbv" ::"a"((uint32_t)xcr0), "d"(0), "c"(0));
	user_flags |= 0x200;
}

void idt_setup(void)
{
	for (unsigned v = 0; v < 256; v++)
		set_gate(v, vector_stubs + 16 * v, v == 3 || v == 4 || v == 0x80 ? 0x6e : 0x0e, 0);
	guest_idtr.limit = sizeof(idt) - 1;
	guest_idtr.base = (uint64_t)idt;
	__asm__ volatile("lidt %0" ::"m"(guest_idtr));
	/* 8259s masked: tests that want them program them. */
	outb(0x21, 0xff);
	outb(0xa1, 0xff);
	if (guest_option("direct", 0))
		allow_direct();
}

/* --- command line --- */

extern uint64_t multiboot_info;

uint64_t guest_option(const char *name, uint64_t otherwise)
{
	const char *text = (const char *)(uint64_t)*(uint32_t *)(multiboot_info + 16);
	for (; *text; text++) {
		unsigned n = 0;
		while (name[n] && text[n] == name[n])
			n++;
		if (name[n] || text[n] != '=')
			continue;
		uint64_t value = 0;
		for (text += n + 1; *text >= '0' && *text <= '9'; text++)
			value = value * 10 + (uint64_t)(*text - '0');
		return value;
	}
	return otherwise;
}

/* --- memory: a bump allocator behind the program --- */

extern uint8_t guest_end[];
static uint64_t next_page;

void *alloc_page(void)
{
	if (!next_page)
		next_page = ((uint64_t)guest_end + 0xfffff) & ~0xfffffull;
	uint64_t *page = (uint64_t *)next_page;
	next_page += 4096;
	for (int i = 0; i < 512; i++)
		page[i] = 0;
	return page;
}

extern uint64_t page_pml4[];

uint64_t *table_entry(uint64_t linear, int level)
{
	uint64_t *table = page_pml4;
	for (int above = 4; above > level; above--) {
		uint64_t *entry = &table[linear >> (3 + 9 * above) & 511];
		if (!(*entry & PG_P))
			*entry = (uint64_t)alloc_page() | PG_P | PG_W | PG_U;
		table = (uint64_t *)(*entry & 0xffffffffff000);
	}
	return &table[linear >> (3 + 9 * level) & 511];
}

void map_page(uint64_t linear, uint64_t physical, uint64_t bits)
{
	*table_entry(linear, 1) = physical | bits;
	invlpg(linear);
}

uint64_t *page_entry(uint64_t linear)
{
	return table_entry(linear, 1);
}

/* --- user mode --- */

struct user_start {
	uint64_t rip, rsp, argument;
};

static void enter_user(void *opaque)
{
	struct user_start *s = opaque;
	__asm__ volatile("pushq %0; pushq %1; pushq %5; pushq %2; pushq %3; iretq" ::"i"((long)SEL_USER_DATA), "r"(s->rsp),
			 "i"((long)SEL_USER64), "r"(s->rip), "D"(s->argument), "r"(user_flags) : "memory");
}

struct fault run_user(uint64_t rip, uint64_t rsp, uint64_t argument)
{
	struct user_start s = { rip, rsp, argument };
	return guarded(enter_user, &s);
}

struct fault run_user_code(const uint8_t *from, const uint8_t *to, uint64_t argument)
{
	static uint8_t *page;
	if (!page) {
		page = alloc_page();
		map_page(USER_CODE, (uint64_t)page, PG_P | PG_U);
		map_page(USER_STACK, (uint64_t)alloc_page(), PG_P | PG_W | PG_U);
	}
	for (size_t i = 0; from + i < to; i++)
		page[i] = from[i];
	return run_user(USER_CODE, USER_STACK_TOP, argument);
}
