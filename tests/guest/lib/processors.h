/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PROCESSORS_H
#define PROCESSORS_H

/* Starts the other processors (SDM 3A, 8.4.4) in 64-bit mode with the first one's page tables; each calls processor_main(index from 1)
 * with interrupts off. For one source file of a test. */
#include "apic.h"
#include "guest.h"

#define TRAMPOLINE 0x8000
#define MAX_CPUS 16

static volatile uint32_t online;
static unsigned cpus = 1;
__attribute__((used)) static volatile uint32_t started __asm__("processors_started");
__attribute__((used)) static uint8_t stacks[MAX_CPUS][16384] __asm__("processor_stacks") __attribute__((aligned(16)));
__attribute__((used)) static void processor_entry(uint64_t index) __asm__("processor_entry");
static void processor_main(unsigned index);

extern uint8_t trampoline_start[], trampoline_end[];
__asm__(".pushsection .text\n"
	".code16\n"
	"trampoline_start: cli; cld; xorw %ax, %ax; movw %ax, %ds\n"
	"	lgdtl 0x8000 + (1f - trampoline_start)\n"
	"	movl %cr0, %eax; orb $1, %al; movl %eax, %cr0\n"
	"	ljmpl $0x18, $0x8000 + (2f - trampoline_start)\n"
	".balign 8\n"
	"1:	.word 0x47; .long gdt64\n"
	".code32\n"
	"2:	movw $0x10, %ax; movw %ax, %ds; movw %ax, %ss; movw %ax, %es\n"
	"	movl $0x620, %eax; movl %eax, %cr4; movl $page_pml4, %eax; movl %eax, %cr3\n"
	"	movl $0xc0000080, %ecx; rdmsr; orl $0x901, %eax; wrmsr\n"
	"	movl $0x80010033, %eax; movl %eax, %cr0\n"
	"	ljmp $0x08, $3f\n"
	"trampoline_end:\n"
	".code64\n"
	"3:	movl $1, %edi; lock xaddl %edi, processors_started(%rip); incl %edi\n"
	"	movl %edi, %eax; shll $14, %eax; movabsq $processor_stacks + 16384, %rsp; addq %rax, %rsp\n"
	"	movabsq $processor_entry, %rax; call *%rax\n"
	"4:	cli; hlt; jmp 4b\n"
	".popsection\n");

static void processor_entry(uint64_t index)
{
	__asm__ volatile("lidt %0" ::"m"(guest_idtr));
	apic_on();
	__atomic_fetch_add(&online, 1, __ATOMIC_SEQ_CST);
	processor_main((unsigned)index);
}

static inline void wait_for(volatile uint32_t *word, uint32_t value)
{
	while (*word < value)
		__asm__ volatile("pause");
}

static inline void start_processors(void)
{
	for (size_t i = 0; i < (size_t)(trampoline_end - trampoline_start); i++)
		((uint8_t *)TRAMPOLINE)[i] = trampoline_start[i];
	apic_on();
	LAPIC(0x300) = 0xc4500; /* INIT, all but self */
	for (int i = 0; i < 2000; i++)
		inb(0x80);
	LAPIC(0x300) = 0xc4600 | TRAMPOLINE >> 12;
	/* How many there are: item 5 of fw_cfg. */
	__asm__ volatile("outw %w0, %w1" ::"a"(5), "d"(0x510));
	cpus = inb(0x511);
	wait_for(&online, cpus - 1);
}

static inline void send_ipi_to_others(void)
{
	while (LAPIC(0x300) & 0x1000)
		;
	LAPIC(0x300) = 0xc0000 | IPI_VECTOR;
}

#endif
