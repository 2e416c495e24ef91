/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_CPU_CPU_H
#define VISOR_CPU_CPU_H

#include <setjmp.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "bus/clock.h"
#include "bus/intc.h"
#include "bus/irq.h"
#include "bus/space.h"
#include "isa/feature.h"
#include "isa/insn.h"
#include "mem/memory.h"
#include "state/field.h"

/*
 * Architectural state of one x86 processor, neutral to the engine, and the
 * meaning of instructions, once: an `insn_exec` function reads operands,
 * accesses memory (which may not return, see cpu_fault) and commits results
 * last, so that a fault leaves the state of the instruction's start. RIP is
 * already that of the next instruction; cpu_fault puts it back.
 */

/* RFLAGS bits. */
#define FLAG_CF 0x1ull
#define FLAG_PF 0x4ull
#define FLAG_AF 0x10ull
#define FLAG_ZF 0x40ull
#define FLAG_SF 0x80ull
#define FLAG_TF 0x100ull
#define FLAG_IF 0x200ull
#define FLAG_DF 0x400ull
#define FLAG_OF 0x800ull
#define FLAG_IOPL 0x3000ull
#define FLAG_NT 0x4000ull
#define FLAG_RF 0x10000ull
#define FLAG_VM 0x20000ull
#define FLAG_AC 0x40000ull
#define FLAG_VIF 0x80000ull
#define FLAG_VIP 0x100000ull
#define FLAG_ID 0x200000ull
#define FLAG_ARITH (FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF | FLAG_OF)

#define CR0_PE 0x1ull
#define CR0_MP 0x2ull
#define CR0_EM 0x4ull
#define CR0_TS 0x8ull
#define CR0_ET 0x10ull
#define CR0_NE 0x20ull
#define CR0_WP 0x10000ull
#define CR0_AM 0x40000ull
#define CR0_NW 0x20000000ull
#define CR0_CD 0x40000000ull
#define CR0_PG 0x80000000ull

#define CR3_PCID 0xfffull

#define CR4_VME 0x1ull
#define CR4_PVI 0x2ull
#define CR4_TSD 0x4ull
#define CR4_DE 0x8ull
#define CR4_PSE 0x10ull
#define CR4_PAE 0x20ull
#define CR4_MCE 0x40ull
#define CR4_PGE 0x80ull
#define CR4_PCE 0x100ull
#define CR4_OSFXSR 0x200ull
#define CR4_OSXMMEXCPT 0x400ull
#define CR4_UMIP 0x800ull
#define CR4_FSGSBASE 0x10000ull
#define CR4_PCIDE 0x20000ull
#define CR4_OSXSAVE 0x40000ull
#define CR4_SMEP 0x100000ull
#define CR4_SMAP 0x200000ull

#define EFER_SCE 0x1ull
#define EFER_LME 0x100ull
#define EFER_LMA 0x400ull
#define EFER_NXE 0x800ull

enum exception {
	EXC_DE, EXC_DB, EXC_NMI, EXC_BP, EXC_OF, EXC_BR, EXC_UD, EXC_NM, EXC_DF, EXC_TS = 10, EXC_NP, EXC_SS, EXC_GP, EXC_PF,
	EXC_MF = 16, EXC_AC, EXC_MC, EXC_XM,
};

/* Segment attributes, as in bits 8..23 of a descriptor's second word without the limit: type 0..3, S 4, DPL 5..6, P 7,
 * AVL 12, L 13, D/B 14, G 15 (the form that VMX and the PVH boot protocol use). An unusable segment has attributes 0. */
#define SEGATTR_TYPE 0xfu
#define SEGATTR_S 0x10u
#define SEGATTR_DPL(a) (((a) >> 5) & 3u)
#define SEGATTR_P 0x80u
#define SEGATTR_L 0x2000u
#define SEGATTR_DB 0x4000u
#define SEGATTR_G 0x8000u

struct segment {
	uint64_t base;
	uint32_t limit; /* bytes - 1, G applied */
	uint16_t selector;
	uint16_t attributes;
};

enum { SEG_LDTR = 6, SEG_TR = 7, SEG_COUNT = 8 };

struct table_register {
	uint64_t base;
	uint16_t limit;
};

/*
 * Software TLB. An entry serves one 4 KiB page: for each kind of access the
 * linear address of the page, or TLB_NONE when that access must take the slow
 * path. host = linear + addend.
 */
struct tlb_entry {
	uint64_t read, write, execute;
	uintptr_t addend;
};
enum tlb_event_kind { TLB_EVENT_ALL, TLB_EVENT_LOCAL /* all that is not global */, TLB_EVENT_ROOT /* not global, of one root */,
		      TLB_EVENT_PAGE /* global or of the root */ };
struct tlb_event {
	enum tlb_event_kind kind;
	uint64_t root, linear; /* root: address of the paging structures in CR3 */
	uint64_t size;         /* PAGE: bytes from `linear` on */
};
#define TLB_EVENTS 8u
/* What the TLB held for a PCID when another one became current: put back when it comes again unflushed (SDM 3A, 4.10.4.1). */
#define TLB_SHELVES 8u
#define TLB_SHELF_ROOM 256u
struct tlb_shelf {
	uint64_t space, last_use;   /* space: CR3, the PCID included */
	bool used;
	uint32_t code_epoch;
	unsigned count;
	struct {
		uint16_t slot;
		struct tlb_entry entry;
	} kept[TLB_SHELF_ROOM];
};
#define LARGE_BLOCK_SHIFT 21
#define LARGE_BLOCK_MAX (4ull << 20)

#define TLB_NONE 1ull /* never equals a page address */
#define TLB_BITS 10
#define TLB_SIZE (1u << TLB_BITS)
#define TLB_LOCAL_MAX 1024u
/* One TLB for each set of rights: user; supervisor under SMAP; supervisor that may touch user pages. TLB_USER_ALIGN is
 * never filled: with CR0.AM, RFLAGS.AC and CPL 3 every data access takes the slow path, which checks alignment. */
enum { TLB_USER, TLB_SUPERVISOR, TLB_SUPERVISOR_AC, TLB_USER_ALIGN, TLB_COUNT };

/* cpu.flush_request: nothing; write entries of pages that have code now; everything, since the memory map has changed. */
enum { FLUSH_NOTHING, FLUSH_WRITES, FLUSH_MAP };

/* Bits of cpu.attention: the engine's loop looks at the word after every instruction. */
enum {
	ATTN_KICK = 1,      /* leave run() */
	ATTN_INTR = 2,      /* an interrupt may be deliverable */
	ATTN_NMI = 4,
	ATTN_INIT = 8,
	ATTN_SIPI = 16,
	ATTN_STEP = 32,     /* TF, breakpoints or a debugger: one instruction at a time */
	ATTN_CODE = 64,     /* code that may be under way was changed */
	ATTN_FLUSH = 128,   /* another vCPU wants TLB entries dropped (cpu.flush_request) */
	ATTN_SHADOW = 256,  /* interrupt shadow: one instruction, then interrupts */
	ATTN_EXIT = 512,    /* an instruction asked the engine to leave run() with cpu.exit_reason */
	ATTN_SMI = 1024,
};

struct cpu_event; /* exceptions on their way, see cpu/exception.c */

struct cpu_stats {
	uint64_t instructions;
	uint64_t assisted; /* of those: executed with a call into the monitor, as all are that are interpreted */
	uint64_t handovers, handed_over; /* to the interpreter, by an engine that could not go on, and instructions it executed */
	uint64_t interrupts, exceptions[32], io_reads, io_writes, mmio_reads, mmio_writes, tlb_fills, tlb_flushes, blocks_decoded, halts;
};

struct cpu {
	/* gpr[REG_NONE] is always zero, gpr[REG_RIP] is RIP: an effective address needs no special case. */
	uint64_t gpr[18];
	/* Arithmetic flags as LAHF and SETO leave AX: bit 0 OF; bits 8..15 CF, 1, PF, 0, AF, 0, ZF, SF (see cpu/flags.h). */
	uint16_t cc;
	uint8_t cpl;
	uint8_t code_mode;          /* enum isa_mode, of CS */
	_Atomic uint32_t attention;
	uint64_t rflags;            /* all but the arithmetic flags; bit 1 set; DF, IF, TF, ... here */
	struct tlb_entry *tlb;      /* the set that data accesses use now */
	uint64_t segment_base[8];   /* by enum isa_seg: 0 in 64-bit mode but for FS and GS */
	uint8_t segment_check[8];   /* limit or type must be checked on access (never in 64-bit mode) */
	uint64_t stack_mask;        /* 0xffff, 0xffffffff or ~0 by SS.B and mode */
	const struct insn *insn;    /* the one under way, NULL between: a fault then leaves RIP alone */
	const struct insn *fault_insn; /* the one that the last fault cut short, or NULL */
	jmp_buf *fault_env;         /* where cpu_fault goes; the engine sets it */
	uint64_t engine_words[32];  /* the engine's own, near the registers */
	/* What tells translated code of user and of supervisor mode the table of where its indirect branches lead, the engine's, and
	 * memory that its loops read. cpu_attention puts no_branches and NULL in their place, so that code comes back to the
	 * engine's loop. */
	_Atomic uintptr_t branches[2];
	_Atomic(const void *) poll;
	uintptr_t no_branches;

	struct segment seg[SEG_COUNT]; /* by enum isa_seg, SEG_LDTR, SEG_TR */
	struct table_register gdtr, idtr;
	uint64_t cr0, cr2, cr3, cr4, efer, xcr0;
	uint64_t dr[8];
	uint64_t pdpte[4];          /* PAE paging: loaded with CR3 (SDM 3A, 4.4.1) */
	/* MSRs. */
	uint64_t star, lstar, cstar, sfmask, kernel_gs_base, tsc_aux, sysenter_cs, sysenter_esp, sysenter_eip;
	uint64_t pat, misc_enable, mtrr_def_type, mtrr_fixed[11], mtrr_variable[16], mcg_status, mcg_ctl, mc_bank[32 * 4], xss, spec_ctrl;
	uint64_t kvm_wall_clock, kvm_system_time, kvm_steal_time, kvm_async_pf, kvm_eoi, kvm_poll_control;
	uint64_t debugctl, msr_plain[32]; /* msr_plain: registers that only keep what was written, see cpu/msr.c */
	uint64_t kvm_clock_base_tsc, kvm_clock_base_ns; /* host TSC and virtual time that the clock page counts from */
	uint64_t tsc_hz;            /* the guest's, which stays when it is restored on another host */
	uint64_t tsc_scale;         /* guest ticks for 2^48 of the host's; 0: the host's rate */
	int64_t tsc_offset;         /* guest TSC = host TSC, scaled, + offset */
	bool tsc_of_host;           /* the engine shows the host's TSC as it is: no offset (the guest's jumps over pauses) */
	uint64_t tsc_jump;          /* by so much at the last start of time, then */
	uint64_t tsc_stopped;       /* guest TSC while time stands still (cpu_stop_time) */
	uint64_t tsc_adjust;

	/* Vector, mask and x87 state. x87: the legacy FXSAVE area's first 160 bytes (SDM 1, 10.5.1). */
	_Alignas(64) uint8_t vec[32][64];
	uint64_t k[8];
	uint32_t mxcsr;
	_Alignas(16) uint8_t x87[160];
	uint64_t x87_ip, x87_dp;
	uint16_t x87_opcode, x87_cs, x87_ds;

	/* Between instructions. */
	bool halted;
	bool wait_for_sipi;
	bool interrupt_shadow;
	bool nmi_blocked, nmi_pending, smi_pending;
	bool shutdown;              /* triple fault */
	uint8_t sipi_vector;
	uint64_t db_pending;        /* DR6 bits of a debug trap due after this instruction */
	bool rf_clear;
	bool step_armed;            /* the instruction under way began with TF set: a single-step trap follows it */
	unsigned pauses;            /* PAUSE instructions, for EXIT_SPIN */
	bool spinning;              /* enough of them: run() is to end with EXIT_SPIN */
	bool mov_ss_shadow;         /* with interrupt_shadow: debug traps wait too (SDM 3A, 6.8.3) */

	/* The fault that cpu_fault raised last, and what was under way (cpu/exception.c). */
	uint8_t fault_vector;
	uint8_t delivering;         /* vector + 1 of the exception being delivered; 0: none, or a benign event */
	uint8_t event_ext;          /* EXT bit for error codes of faults met during a delivery (SDM 3A, 6.13) */
	uint8_t borrowed_cpl;       /* CPL + 1 to go back to when an access with another CPL's rights faults; 0: none */
	uint32_t fault_error;
	bool bus_lock_held;         /* this vCPU is between access_bus_lock and access_bus_unlock */

	/* Signals from other threads. */
	_Atomic uint32_t signals;   /* ATTN_INTR, ATTN_NMI, ATTN_INIT, ATTN_SIPI until taken */
	_Atomic uint32_t flush_request; /* FLUSH_*: what ATTN_FLUSH is for */
	_Atomic bool running;       /* inside an engine's run() */
	void (*wake)(void *opaque); /* ends the vCPU thread's wait for an interrupt; may be called from any thread */
	void *wake_opaque;

	/* TLBs. */
	_Alignas(64) struct tlb_entry tlbs[TLB_COUNT][TLB_SIZE];
	bool tlb_global[TLB_COUNT][TLB_SIZE]; /* false: it is not, and tlb_local has it */
	/* Entries that are not global, by set * TLB_SIZE + index, so that a flush need not look for them: some twice, some that
	 * have become global since. More than there is room for: any. */
	uint16_t tlb_local[TLB_LOCAL_MAX];
	unsigned tlb_local_count;
	/* Those of PCIDs that were current before. */
	struct tlb_shelf tlb_shelf[TLB_SHELVES];
	uint64_t tlb_space;         /* CR3 that they were filled under, without bit 63 */
	uint64_t tlb_uses;
	uint32_t code_epoch_last;
	uint64_t intc_page;         /* guest-physical page of the xAPIC registers; taken anew at each flush */
	/* Counts up when pages of code that an engine looked up may have moved: [0] any of them, [1] global ones or those of
	 * all address spaces. [0] goes back to an older value with an address space that is current again and was not flushed, as
	 * long as [1] is the same. code_pages: a filter of the pages since, by tlb_note_code. */
	uint32_t code_epoch[2];
	/* Flushes that the guest asked for, for an engine that keeps translations elsewhere; it sets the count back to 0. More
	 * than there is room for: all. */
	struct tlb_event tlb_events[TLB_EVENTS];
	unsigned tlb_event_count;
	uint64_t code_pages[64];
	/* What large pages have served since the last flush: a filter of blocks, their size; from where to where with 1 GiB. */
	uint64_t large_blocks[64], large_block, huge_low, huge_high;

	/* Surroundings. */
	unsigned index, count;      /* this vCPU's number, which is its APIC ID, and how many there are */
	struct cpu **peers;
	struct guest_memory *memory;
	struct io_space *mmio, *pio;
	struct intc intc;
	struct irq_line ferr;       /* FERR#: x87 errors while CR0.NE is 0 (IRQ13); the boot processor's is connected */
	bool ferr_raised;
	_Atomic bool ignne;         /* IGNNE#: x87 errors are ignored while CR0.NE is 0; the board drives it by cpu_ignne */
	struct vclock *clock;
	uint64_t host_tsc_hz;
	/* What the TSC counts by in the host's stead, where two machines are to see the same time; NULL: the host's counter. An
	 * engine that reads the counter without cpu_read_tsc must not when it is set. */
	uint64_t (*tsc_source)(void *opaque);
	void *tsc_opaque;
	uint64_t features[2];       /* bit per enum isa_feature */
	uint64_t saved_features[2]; /* in a save file: what the guest was started with */
	bool saved_amd;
	uint8_t model;              /* enum cpu_model */
	uint64_t arch_capabilities; /* IA32_ARCH_CAPABILITIES after a reset */
	struct cpuid_leaf *cpuid;   /* the guest's leaves, cpu/cpuid.c */
	unsigned cpuid_count;
	struct xsave_place {
		uint32_t offset;    /* in the standard form of the XSAVE area */
		bool aligned;       /* to 64 bytes in the compacted one */
	} xsave_place[8];           /* by state component: what leaf 0DH says */
	uint64_t xcr0_allowed;
	bool amd;                   /* the CPUID vendor shown is AMD or Hygon: SYSCALL, SYSENTER and MSRs follow it */
	uint8_t physical_bits;      /* MAXPHYADDR */

	/* Engine and debugger. */
	void *engine;               /* engine's own per-vCPU data */
	int exit_reason;            /* enum exit_reason with ATTN_EXIT */
	char exit_detail[160];
	uint8_t *bounce;            /* cpu/access.h */
	_Alignas(64) uint8_t bounce_buffer[128];
	uint64_t bounce_linear;
	unsigned bounce_size;
	bool debug_step;            /* gdb: stop after one instruction */
	bool debug_hit;             /* gdb: debug_check has seen a watchpoint; ends run() with EXIT_DEBUG */
	bool debug_breakpoints;     /* gdb: breakpoints are set: debug_check is asked before each instruction */
	bool debug_watchpoints;     /* gdb: watchpoints are set: debug_check is told of every data access */
	/* gdb: the points themselves, for an engine that has the processor look for them; a count of more than there is room for: too many. */
	struct {
		uint64_t address, size;
		unsigned access;    /* 0: an instruction */
	} debug_point[4];
	unsigned debug_point_count;
	/* access 0: an instruction at `linear` is about to run, true stops before it. Else ACCESS_* of size bytes were
	 * accessed; it sets debug_hit to stop after the instruction. */
	bool (*debug_check)(void *opaque, struct cpu *cpu, uint64_t linear, unsigned size, unsigned access);
	void *debug_opaque;
	/* An event is about to be delivered (enum event_kind); arithmetic flags may still be changed. For tests; may be NULL. */
	void (*event_hook)(void *opaque, struct cpu *cpu, unsigned kind, unsigned vector);
	void *event_opaque;
	const char *code_dump;      /* names of translated code are wanted; of the guest kernel's functions from this file, unless "" */
	uint64_t code_cache;        /* bytes that the engines of all vCPUs together may use for translated code; 0: their own choice */
	bool count_instructions;    /* stats.instructions is wanted; without it engines that would have to pay for it do not count */
	struct cpu_stats stats;
};

extern const struct field cpu_fields[];

/* `feature`: a bit of that set, enum isa_feature. */
static inline bool cpu_feature_among(const uint64_t features[2], unsigned feature)
{
	return features[feature >> 6] >> (feature & 63) & 1;
}

static inline bool cpu_has(const struct cpu *c, enum isa_feature feature)
{
	return cpu_feature_among(c->features, feature);
}

static inline bool cpu_long_mode(const struct cpu *c) { return c->efer & EFER_LMA; }
static inline bool cpu_protected(const struct cpu *c) { return c->cr0 & CR0_PE; }
static inline bool cpu_v86(const struct cpu *c) { return c->rflags & FLAG_VM; }
/* Protected mode in the manual's sense of "not real-address and not virtual-8086". */
static inline bool cpu_protected_segments(const struct cpu *c) { return (c->cr0 & CR0_PE) && !(c->rflags & FLAG_VM); }
/* What names the address space in CR3, without a PCID. */
static inline uint64_t cpu_root(const struct cpu *c) { return c->cr3 & 0x000ffffffffff000ull; }
static inline unsigned cpu_iopl(const struct cpu *c) { return (unsigned)(c->rflags >> 12) & 3; }
static inline uint64_t cpu_rip(const struct cpu *c) { return c->gpr[REG_RIP]; }

/* Raises a fault: state goes back to the instruction's start, then the engine delivers the exception. Does not return.
 * error_code counts only for vectors that have one (SDM 3A, 6.3.1). */
_Noreturn void cpu_fault(struct cpu *c, enum exception vector, uint32_t error_code);
static inline _Noreturn void cpu_ud(struct cpu *c) { cpu_fault(c, EXC_UD, 0); }
static inline _Noreturn void cpu_gp(struct cpu *c, uint32_t error_code) { cpu_fault(c, EXC_GP, error_code); }
/* #PF with CR2. */
_Noreturn void cpu_page_fault(struct cpu *c, uint64_t linear, uint32_t error_code);

/* The IGNNE# pin; any thread. */
struct irq_line cpu_ignne(struct cpu *c);

/* Sets attention bits; from any thread. */
static inline void cpu_attention(struct cpu *c, uint32_t bits)
{
	atomic_fetch_or_explicit(&c->attention, bits, memory_order_release);
	for (unsigned i = 0; i < 2; i++)
		atomic_store_explicit(&c->branches[i], c->no_branches, memory_order_release);
	atomic_store_explicit(&c->poll, NULL, memory_order_release);
}

/* Sets RFLAGS.IF and wakes the interrupt check when it opens the window. */
static inline void cpu_set_if(struct cpu *c, bool on)
{
	if (!on) {
		c->rflags &= ~FLAG_IF;
		return;
	}
	c->rflags |= FLAG_IF;
	if (atomic_load_explicit(&c->signals, memory_order_relaxed) & ATTN_INTR)
		cpu_attention(c, ATTN_INTR);
}

/* --- cpu/mode.c: what follows from control registers, RFLAGS, CPL and segments --- */

/* Recomputes code_mode, tlb, segment_base, segment_check, stack_mask. Call after any change of CR0, CR4, EFER,
 * CPL, RFLAGS.VM or AC, or a segment register. */
void cpu_update_mode(struct cpu *c);
/* The state after power-on or INIT (SDM 3A, table 9-1). power_on false: INIT keeps the FPU, the MSRs and the TSC. */
void cpu_reset(struct cpu *c, bool power_on);

/* All 64 bits of RFLAGS, and its setting (every bit given; IF through cpu_set_if, TF and AC with their effects). */
uint64_t cpu_get_rflags(const struct cpu *c);
void cpu_set_rflags(struct cpu *c, uint64_t rflags);
/* The TLB for data accesses at this CPL. */
struct tlb_entry *cpu_tlb(struct cpu *c, unsigned cpl);

/* --- cpu/segment.c --- */

/* Loads a segment register by a MOV, POP or LDS, with all checks of the current mode (SDM 3A, 5.4, 5.7; 2A MOV). */
void cpu_load_segment(struct cpu *c, enum isa_seg seg, uint16_t selector);
/* Real-mode or V86 style load: base = selector << 4; limit stays in real mode. */
void cpu_load_segment_real(struct cpu *c, enum isa_seg seg, uint16_t selector);
/* Reads the 8-byte descriptor of a selector; false when it lies beyond its table. Faults are those of memory alone. */
bool cpu_read_descriptor(struct cpu *c, uint16_t selector, uint64_t *descriptor);
struct segment cpu_unpack_descriptor(uint16_t selector, uint64_t descriptor);
/* Far transfers: JMP, CALL (push return address), RET, IRET, task switches. */
void cpu_far_jump(struct cpu *c, uint16_t selector, uint64_t offset, unsigned opsize);
void cpu_far_call(struct cpu *c, uint16_t selector, uint64_t offset, unsigned opsize);
void cpu_far_return(struct cpu *c, unsigned opsize, uint16_t pop_bytes);
void cpu_iret(struct cpu *c, unsigned opsize);
/* IRETQ in the common case: 64-bit code of CPL 0 to 64-bit code of CPL 0 or 3. False: nothing was done, cpu_iret is to. Never faults. */
bool cpu_iret_common(struct cpu *c);
enum task_switch_kind { TASK_JUMP, TASK_CALL, TASK_IRET, TASK_GATE };
void cpu_task_switch(struct cpu *c, uint16_t tss_selector, enum task_switch_kind kind, bool has_error, uint32_t error_code);

/* --- cpu/exception.c --- */

enum event_kind { EVENT_EXTERNAL, EVENT_NMI, EVENT_EXCEPTION, EVENT_SOFT /* INT n, with DPL check */, EVENT_ICEBP };
/* Delivers through the IVT or IDT; RIP in the frame is the current RIP. May fault itself: double and triple faults are
 * worked out by cpu_deliver_fault. */
void cpu_deliver(struct cpu *c, enum event_kind kind, unsigned vector, uint32_t error_code);
/* After a longjmp to fault_env: takes the pending fault (cpu.fault_*) up to double fault or shutdown. The engine calls
 * it with fault_env set again, since delivery may fault in turn. */
void cpu_deliver_fault(struct cpu *c);

/* --- cpu/new.c --- */
/* Zeroed, in the low 2 GiB, where translated code names its fields by absolute addresses. NULL: no memory there. */
struct cpu *cpu_new(void);
void cpu_free(struct cpu *c);

/* --- cpu/msr.c, cpu/cpuid.c, cpu/control.c --- */
void cpu_read_msr(struct cpu *c, uint32_t msr, uint64_t *value);  /* #GP(0) for what does not exist */
void cpu_write_msr(struct cpu *c, uint32_t msr, uint64_t value);
void cpu_cpuid(struct cpu *c, uint32_t leaf, uint32_t subleaf, uint32_t out[4]);
enum cpu_model { CPU_HOST, CPU_V1, CPU_V2, CPU_V3, CPU_V4 };
/* Builds the guest's CPUID leaves and `features`: the model's level, and only what the host has and visor executes. */
int cpu_init_cpuid(struct cpu *c, enum cpu_model model, struct error *err);
/* Before the guest has run: takes away the features that are not in the mask. err: the model is not without them. */
int cpu_limit_features(struct cpu *c, const uint64_t features[2], struct error *err);
/* The instructions that the host's processor executes, and visor too, but not for this guest. */
void cpu_hidden_features(const struct cpu *c, uint64_t hidden[2]);
/* The names of features, for a message; those that `size` has room for. */
void cpu_list_features(char *text, size_t size, const uint64_t features[2]);
void cpu_set_cr0(struct cpu *c, uint64_t value);
void cpu_set_cr3(struct cpu *c, uint64_t value);
void cpu_set_cr4(struct cpu *c, uint64_t value);
void cpu_set_efer(struct cpu *c, uint64_t value);
uint64_t cpu_read_tsc(const struct cpu *c);
/* Nanoseconds until the guest's TSC shows `tsc`, rounded up; 0: it is there. */
uint64_t cpu_tsc_delay(const struct cpu *c, uint64_t tsc);
/* Stops and restarts guest TSC and KVM clock with the machine's virtual clock (pause, save, restore). host_tsc: one
 * reading for all vCPUs, so that their TSCs stay equal. To be called with the vCPU outside run(). */
void cpu_stop_time(struct cpu *c, uint64_t host_tsc);
void cpu_start_time(struct cpu *c, uint64_t host_tsc);
/* After cpu_fields were loaded: refuses what no processor can hold and what this host cannot go on with, rebuilds what is
 * derived, flushes the TLB. The guest keeps the features and the TSC frequency that it was started with. */
int cpu_loaded(struct cpu *c, struct error *err);
void cpu_free_cpuid(struct cpu *c);

/* --- cpu/tlb.c --- */
void tlb_flush_all(struct cpu *c);
void tlb_flush_non_global(struct cpu *c);
/* CR3 was loaded with PCIDs in use. flush: the entries of the new one go (SDM 3A, 4.10.4.1). */
void tlb_switch(struct cpu *c, bool flush);
void tlb_flush_page(struct cpu *c, uint64_t linear); /* INVLPG: global entries too */
/* The engine keeps what it found for code at `linear` until cpu->code_epoch changes. */
void tlb_note_code(struct cpu *c, uint64_t linear);
/* Drops fast-write entries for one page of the memfd in this vCPU's TLB. */
void tlb_protect_page(struct cpu *c, const uint8_t *host_page);

/* Translates the page of `linear` for instruction fetch with the rights of the CPL; faults as a fetch does. Returns the
 * host address of the byte, or NULL with *gpa for device space. */
const uint8_t *mmu_fetch(struct cpu *c, uint64_t linear, uint64_t *gpa);
/* For a debugger: linear -> guest-physical without side effects and rights; false when nothing is mapped there. */
bool mmu_debug_translate(struct cpu *c, uint64_t linear, uint64_t *gpa);
/* Announces decoded code at host..+length (inside one page): afterwards every vCPU's writes there are noticed. Read the
 * page's code_generation before, the bytes after. */
void mmu_mark_code(struct cpu *c, const uint8_t *host, unsigned length);
/* Answers a peer's ATTN_FLUSH; the engine calls it between instructions. */
void mmu_answer_flush(struct cpu *c);

/* --- cpu/signal.c: pins, INIT, SIPI, NMI; the engine calls it when attention asks --- */
extern const struct cpu_pins cpu_pins_template;
/* Takes what is due between two instructions: INIT, SIPI, NMI, SMI, external interrupts, debug traps. May fault
 * (delivery). Returns true when the vCPU may go on executing, false when it is halted or waits for SIPI. After true the
 * engine executes one instruction before it calls again (single step and interrupt shadows count on that); it leaves
 * run() for a kick before the call. */
bool cpu_take_events(struct cpu *c);

/* --- cpu/debug.c: debug registers (SDM 3B, 17.2) --- */
/* True when an enabled data breakpoint lies in the page: its accesses must take the slow path. */
bool cpu_debug_page(const struct cpu *c, uint64_t page);
/* A data access happened (or is about to): notes matching breakpoints for a trap after the instruction. */
void cpu_debug_data(struct cpu *c, uint64_t linear, unsigned size, unsigned access);
/* True when an instruction breakpoint matches, with its bits in db_pending: #DB fault before the instruction, unless RF. */
bool cpu_debug_code(struct cpu *c, uint64_t linear);
/* After a port access: notes an I/O breakpoint (CR4.DE). */
void cpu_debug_io(struct cpu *c, uint16_t port, unsigned size);

/* --- cpu/select.c: the function that executes an instruction --- */
/* Sets insn->exec (and aux). Never NULL: what may not execute gets a function that raises the exception. The choice
 * depends only on the decoded instruction and on cpu->features; state is checked at run time. */
void cpu_select(struct cpu *c, struct insn *insn);

#endif
