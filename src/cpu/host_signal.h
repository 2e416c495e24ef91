/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_CPU_HOST_SIGNAL_H
#define VISOR_CPU_HOST_SIGNAL_H

#include <stdint.h>

/* How a stub (cpu/host.h) ended. */
enum host_fault {
	HOST_DONE,
	HOST_SIMD,      /* unmasked SIMD floating-point exception: `mxcsr` has the flags */
	HOST_UNDEFINED, /* the host does not know the instruction */
	HOST_MEMORY,    /* the memory operand: host_fault_address() */
	HOST_ALIGNMENT, /* #GP: the memory operand is misaligned */
};

/* From now on a SIGFPE, SIGILL, SIGSEGV or SIGBUS in the code at start..+size goes on at the address in R11, with an
 * enum host_fault in RAX; the others go where they went before. */
void host_signal_install(uintptr_t start, uintptr_t size);

/* After HOST_MEMORY on this thread: the address that the host refused. */
uintptr_t host_fault_address(void);

#endif
