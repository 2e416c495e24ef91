/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_HOST_TRACEE_H
#define VISOR_HOST_TRACEE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/*
 * A process of its own, traced (ptrace), in which there is nothing but what its tracer maps there: code that is not to be
 * trusted executes in it as it is. It cannot make a system call: each one stops it instead. The tracer is the thread that made
 * it, and all functions but tracee_interrupt are for that thread.
 */
struct tracee;

/* A system call of the tracee's, for the tracer. */
struct tracee_call {
	uint64_t number, argument[6];
};
#define TRACEE_CALLS 64u

/* The descriptor that it has for tracee_new's memory. */
#define TRACEE_MEMORY 3

/* It has, besides what is mapped, this many bytes at tracee_own(), for itself: they can be read, and there is nothing in them
 * to be found out. */
#define TRACEE_OWN (2 * 4096u)

struct tracee *tracee_new(int memory, struct error *err);
void tracee_free(struct tracee *t);
uint64_t tracee_own(const struct tracee *t);

/* Executes them in order up to the first that fails; returns how many did not. */
unsigned tracee_calls(struct tracee *t, const struct tracee_call *calls, unsigned count);

/* Writes a byte to what it has mapped as a copy, whatever it may do there itself. */
bool tracee_poke(struct tracee *t, uint64_t address, uint8_t byte);

enum tracee_stop {
	TRACEE_CALL,        /* behind a SYSCALL, which has changed RCX and R11 and done nothing else (INT 80H is not told from it) */
	TRACEE_PAGE,        /* at an access to `address` that is not mapped, or not that way */
	TRACEE_EXCEPTION,   /* at an instruction that raises another exception */
	TRACEE_TRAP,        /* behind one that traps */
	TRACEE_INTERRUPTED,
	TRACEE_GONE         /* it has ended: what it was doing is lost */
};
/* General registers in the order of their numbers, data segments in that of theirs (ES, CS, SS, DS, FS, GS). CS and SS are the host's. */
struct tracee_registers {
	uint64_t gpr[16], rip, rflags, fs_base, gs_base;
	uint16_t selector[6];
};
#define TRACEE_CS 0x33u
#define TRACEE_SS 0x2bu
/* Goes on with these registers until it stops, when they are as they were then. */
enum tracee_stop tracee_run(struct tracee *t, struct tracee_registers *registers, uint64_t *address);
/* Has the tracee of this id stop soon, or at once when it runs the next time. From any thread. */
int tracee_id(const struct tracee *t);
void tracee_interrupt(int id);
/* Nanoseconds for which processors have executed it, so far. */
uint64_t tracee_time(const struct tracee *t);

/* Its vector and x87 state: an XSAVE area of the standard form, as much of it as the host has. */
bool tracee_get_xstate(const struct tracee *t, void *area, size_t *size);
bool tracee_set_xstate(const struct tracee *t, void *area, size_t size);

/* Has the tracee stay on a processor, which should be its tracer's as well: a stop takes some microseconds there, else ten times that. */
void tracee_stay(struct tracee *t, int processor);

#endif
