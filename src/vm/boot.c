/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vm/boot.h"

#include <errno.h>

#include "base/util.h"
#include "vm/boot_elf.h"

int boot_load(const struct boot_request *request, struct boot_entry *entry, struct error *err)
{
	const struct boot_image *kernel = &request->kernel;
	*entry = (struct boot_entry){ 0 };
	if (boot_is_linux(kernel))
		return boot_load_linux(request, entry, err);
	if (boot_is_pvh(kernel))
		return boot_load_pvh(request, entry, err);
	if (boot_is_multiboot(kernel))
		return boot_load_multiboot(request, entry, err);
	if (elf_magic(kernel))
		return error_set(err, ENOEXEC, "kernel '%s' is an ELF file without a PVH entry (Xen note 18) or a Multiboot header; "
				 "give the bzImage (/boot/vmlinuz-...) or build it with CONFIG_PVH", kernel->name);
	return error_set(err, ENOEXEC, "kernel '%s' is neither a Linux bzImage nor a PVH or Multiboot kernel; "
			 "to boot from a disk give --disk without --kernel", kernel->name);
}

static void flat_segments(struct cpu *cpu, uint16_t code_size)
{
	const struct segment code = { .limit = 0xffffffff, .selector = 0x10,
		.attributes = 0xb | SEGATTR_S | SEGATTR_P | SEGATTR_G | code_size };
	const struct segment data = { .limit = 0xffffffff, .selector = 0x18,
		.attributes = 0x3 | SEGATTR_S | SEGATTR_P | SEGATTR_G | SEGATTR_DB };
	for (unsigned i = 0; i < 6; i++)
		cpu->seg[i] = i == SEG_CS ? code : data;
	/* A busy 32-bit or 64-bit TSS, as PVH wants it; nobody reads it before the kernel loads its own. */
	cpu->seg[SEG_TR] = (struct segment){ .limit = 0x67, .selector = 0x20, .attributes = 0xb | SEGATTR_P };
	cpu->seg[SEG_LDTR] = (struct segment){ 0 };
}

void boot_enter(const struct boot_entry *entry, struct cpu *cpu)
{
	flat_segments(cpu, entry->mode == BOOT_FLAT64 ? SEGATTR_L : SEGATTR_DB);
	cpu->gdtr = (struct table_register){ .base = entry->gdt, .limit = entry->gdt_limit };
	cpu->idtr = (struct table_register){ 0 };
	for (unsigned i = 0; i < 16; i++)
		cpu->gpr[i] = 0;
	cpu->gpr[REG_RAX] = entry->rax;
	cpu->gpr[REG_RBX] = entry->rbx;
	cpu->gpr[REG_RSI] = entry->rsi;
	cpu->gpr[REG_RIP] = entry->rip;
	cpu->cr0 = CR0_PE | CR0_ET;
	if (entry->mode == BOOT_FLAT64) {
		cpu->cr0 |= CR0_PG;
		cpu->cr3 = entry->cr3;
		cpu->cr4 = CR4_PAE;
		cpu->efer = EFER_LME | EFER_LMA;
	}
	cpu->halted = cpu->wait_for_sipi = false;
	cpu_update_mode(cpu);
	tlb_flush_all(cpu);
}
