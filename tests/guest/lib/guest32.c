/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest32.h"

static uint64_t idt[256] __attribute__((aligned(16)));
handler_fn *handlers[256];

struct guard {
	uint32_t esp;
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
	print(" eip ");
	print_hex(frame->eip);
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

void set_gate(unsigned vector, uint16_t selector, void *entry, unsigned type_dpl)
{
	uint32_t at = (uint32_t)entry;
	idt[vector] = (at & 0xffff) | (uint64_t)selector << 16 | (uint64_t)(0x80 | type_dpl) << 40 | (uint64_t)(at >> 16) << 48;
}

uint64_t descriptor(uint32_t base, uint32_t limit, unsigned access, unsigned flags)
{
	return (limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)access << 40 | (uint64_t)(limit >> 16 & 15) << 48 |
	       (uint64_t)flags << 52 | (uint64_t)(base >> 24) << 56;
}

void idt_setup(void)
{
	for (unsigned v = 0; v < 256; v++)
		set_gate(v, SEL_CODE, vector_stubs + 16 * v, v == 3 || v == 4 || v == 0x80 ? 0x6e : 0x0e);
	struct { uint16_t limit; uint32_t base; } __attribute__((packed)) pointer = { sizeof(idt) - 1, (uint32_t)idt };
	__asm__ volatile("lidt %0" ::"m"(pointer));
	outb(0x21, 0xff);
	outb(0xa1, 0xff);
}
