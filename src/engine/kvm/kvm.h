/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_ENGINE_KVM_KVM_H
#define VISOR_ENGINE_KVM_KVM_H

#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>

#include "cpu/cpu.h"
#include "engine/engine.h"
#include "engine/interpret.h"
#include "engine/kvm/host.h"
#include "engine/kvm/kick.h"

/*
 * The engine kvm. One virtual machine of the kernel's for all processors of a
 * machine, which the first processor's create makes; a processor's state is in
 * the kernel from its first KVM_RUN until somebody else is to see it (state.c).
 * The interrupt controllers are ours: the kernel is told of interrupts one by one.
 */
#define KVM_SLOTS (MEMORY_MAX_SLOTS + MEMORY_MAX_APERTURES)

struct kvm_slot {
	uint64_t gpa, size, offset; /* size 0: free */
	bool writable;
	bool logged;                /* the kernel notes which pages are written */
};

struct kvm_vm {
	struct kvm_host host;
	int fd;
	struct kvm_probe probe;
	unsigned users;             /* processors; under the lock, as all below */
	pthread_mutex_t lock;
	struct guest_memory *memory;
	struct kvm_slot slots[KVM_SLOTS];
	/* Posted writes (posted.c). */
	struct io_space *pio, *mmio;
	bool zones;                 /* the kernel has been told of them */
	struct lock ring_lock;      /* inside `engine_lock` of the machine, outside those of devices; never with `lock` */
	struct kvm_coalesced_mmio_ring *ring; /* the first processor's mapping of it; NULL: none */
	_Atomic uint64_t posted;    /* for --stats */
	bool log_lost;              /* with a slot that is gone */
	/* The interpreter's writes are nobody's to note. */
	_Atomic unsigned interpreting;
	_Atomic bool interpreted;   /* since kvm_vm_written was asked last */
	_Atomic uint64_t asked, known; /* for --stats: how often it was, and had an answer */
};

/* Why KVM_RUN came back, for --stats. */
struct kvm_counts {
	uint64_t runs, io, mmio, msr, halt, window, kicked, debug;
	uint64_t state_out, state_in;       /* moves of the whole state */
};

struct kvm_vcpu {
	struct cpu *cpu;
	struct kvm_vm *vm;
	int fd;
	struct kvm_run *run;
	size_t run_size;
	bool in_kernel;             /* where the state is: in the kernel, or in struct cpu */
	bool incomplete;            /* an access of the last exit is finished by the next KVM_RUN alone */
	struct kvm_guest_debug debug; /* as the kernel has it */
	bool resumed;               /* the interpreter has executed an instruction since others had the state */
	bool user_only;             /* user.c */
	bool cpuid_given;           /* once, when what was restored is known */
	bool stale;                 /* the guest has run since the interpreter's blocks were decoded */
	int64_t tsc_offset;         /* as the kernel has it */
	bool tsc_known;
	struct kvm_kick kick;
	/* What is between us and the processor's wake: ours also ends KVM_RUN. */
	void (*wake)(void *opaque);
	void *wake_opaque;
	struct interp interp;
	bool exception_due;         /* the kernel was about to deliver one when its state was taken */
	uint8_t exception_vector;
	bool exception_external;    /* it is an interrupt */
	uint32_t exception_error;
	/* Hand-over (handover.c). */
	unsigned stretch;           /* instructions that the next one is to execute */
	uint64_t last_handover_ns, window_ns, window_busy_ns, window_count;
	unsigned share;             /* of the last window, in percent */
	struct kvm_counts counts;
};

static inline struct kvm_vcpu *kvm_of(const struct cpu *c) { return c->engine; }

/* Writes cpu->exit_detail. */
void kvm_failed(struct kvm_vcpu *v, const char *what, int code);

/* --- vm.c --- */
/* The machine's VM, made by the first that asks. */
struct kvm_vm *kvm_vm_get(struct cpu *c, struct error *err);
void kvm_vm_put(struct kvm_vm *vm);
/* Makes the kernel's memory slots what the guest's memory map is. */
int kvm_vm_drop_shadows(struct kvm_vm *vm);
int kvm_vm_sync_memory(struct kvm_vm *vm, struct error *err);

/* --- posted.c --- */
/* The ring is in a processor's mapping that is there now, or about to go. */
void kvm_posted_open(struct kvm_vcpu *v);
void kvm_posted_close(struct kvm_vcpu *v);
/* The kernel's zones for what the spaces let wait, under the VM's lock. False: it refuses them. */
bool kvm_posted_zones(struct kvm_vm *vm, bool on);
/* engine_type.catch_up. */
void kvm_posted_catch_up(struct kvm_vm *vm);

/* engine_type.written. */
bool kvm_vm_written(struct kvm_vm *vm, const struct memory_aperture *aperture, uint64_t *pages);
/* engine_type.ring_by. */
bool kvm_vm_ring_by(struct kvm_vm *vm, uint64_t gpa, int eventfd, bool on);

/* --- examine.c --- */
/* engine_type.examine. */
void kvm_examine(struct engine_report *report);

/* --- features.c --- */
/* engine_type.limit. */
int kvm_limit_features(uint64_t features[2], struct error *err);
/* That KVM has what the guest was started with. */
int kvm_check_features(const struct kvm_host *host, const struct cpu *c, struct error *err);
/* Where KVM executes programs alone: that their CPUID, which is the processor's, shows no more than the guest has. */
int kvm_check_hidden(const struct cpu *c, struct error *err);
bool kvm_give_cpuid(struct kvm_vcpu *v);

/* --- state.c --- */
/* From the kernel to struct cpu, and the other way. Both do nothing where the state is there already. */
bool kvm_take_state(struct kvm_vcpu *v);
bool kvm_give_state(struct kvm_vcpu *v);
/* The time-stamp counter as cpu->tsc_offset has it. */
bool kvm_give_tsc(struct kvm_vcpu *v);

/* --- exits.c --- */
/* The largest access of 1, 2, 4 or 8 bytes that `left` bytes have. */
static inline unsigned kvm_piece(unsigned left) { return left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1; }

/* The access of the last exit is carried out by the machine's devices. */
void kvm_exit_io(struct kvm_vcpu *v);
void kvm_exit_mmio(struct kvm_vcpu *v);
void kvm_exit_msr(struct kvm_vcpu *v, bool write);
/* KVM_RUN for what it has not finished of the last access; false: the machine cannot go on. */
bool kvm_complete(struct kvm_vcpu *v);

/* --- handover.c --- */
/* Interprets from the next instruction on, for the state to be given back afterwards. LEAVE: run() is to return *reason. */
enum verdict kvm_hand_over(struct kvm_vcpu *v, enum exit_reason *reason);
/* The kernel could not execute the instruction: hands over, and finds out if that happens too often (EXIT_ENGINE). */
enum verdict kvm_stand_in(struct kvm_vcpu *v, enum exit_reason *reason);
/* Takes the state for others to see: an exception that the kernel had begun to deliver is delivered. */
bool kvm_settle(struct kvm_vcpu *v);

/* --- user.c: KVM executes user code alone --- */
bool kvm_user_only(const struct kvm_probe *probe);
/* With the state in the kernel: that nothing waits. */
bool kvm_user_may_run(struct kvm_vcpu *v);
/* What KVM is told instead of the guest's values. */
void kvm_user_hide_kernel(struct kvm_sregs2 *s);
uint64_t kvm_user_msr(uint32_t msr, uint64_t value);
/* After registers were taken; CS and SS as they were given. */
void kvm_user_came_back(struct cpu *c, const struct kvm_vcpu_events *events, const struct segment *code, const struct segment *stack);

/* --- debug.c --- */
/* A debugger wants to see what is executed. */
bool kvm_debug_observed(const struct cpu *c);
/* The processor's debug registers do for what it wants. */
bool kvm_debug_by_hardware(const struct kvm_vcpu *v);
/* Before KVM_RUN. */
bool kvm_debug_apply(struct kvm_vcpu *v);
/* After KVM_EXIT_DEBUG, with the state taken: that the debugger wants to stop here. */
bool kvm_debug_hit(struct kvm_vcpu *v);

/* --- stats.c --- */
unsigned kvm_counters(const struct cpu *c, struct engine_counter *list, unsigned room);

#endif
