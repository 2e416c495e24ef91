/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_ENGINE_JIT_JIT_H
#define VISOR_ENGINE_JIT_JIT_H

#include "base/util.h"
#include "engine/interpret.h"
#include "engine/jit/direct.h"
#include "engine/jit/emit.h"
#include "engine/jit/pages.h"
#include "engine/jit/predict.h"
#include "engine/jit/returns.h"
#include "engine/jit/windows.h"

/*
 * The translator's data, one set per vCPU: no lock and no patching of code that
 * another thread runs.
 *
 * A unit is a translated run of guest instructions inside one page: one entry,
 * several exits. Guest registers are in the host registers of the same number,
 * but for R9, R10 and R11, whose place is cpu->gpr: those three host registers
 * are scratch. RSP is the guest's; in units that use windows it is the host address of
 * the guest's stack (stack.c). Signals are taken on a stack of their own. The GS
 * base is the bias of the user space's shape (windows.h), or 0. Arithmetic flags are in the host's flags, or in
 * cpu->cc where the code says so.
 *
 * Every way out of a unit that needs the monitor has a record. Translated code
 * leaves with the record's address in R11.
 */
enum record_kind {
	RECORD_LINK,    /* to `target`, in the same page but where windows are used; the rel32 at `site` is patched to lead there */
	RECORD_CROSS,   /* to cpu->gpr[RIP], in another page: `va`, `tag` and `code` hold what was found last */
	RECORD_FAR,     /* to cpu->gpr[RIP], where the privilege level has changed */
	RECORD_RIP,     /* to cpu->gpr[RIP]; an indirect branch, `undo` is added to RSP to take it back */
	RECORD_GO,      /* to `target` in the unit's page, not linked: attention, or code that is not translated */
	RECORD_HELPER,  /* insn is executed by its function, then `resume` */
	RECORD_STAY,    /* the same, but insn may have changed what code there is at `resume` */
	RECORD_END,     /* insn is executed by its function, which may have changed everything */
	RECORD_VECTOR,  /* vector state is wanted in the host's registers, then `again`; where it is not allowed, as HELPER */
	RECORD_KINDS
};

struct unit;

/* What code keeps in S_B, S_C and S_A (reuse.c): biases of the windows that general registers point into, or else the host
 * address of RIP's page or a segment's base, or the guest's register of the same number. */
enum { REUSE_COUNT = 3, REUSE_FS = 32, REUSE_GS, REUSE_SELF, REUSE_SEGMENT /* + enum isa_seg: its base, proven to be in the shape */,
       REUSE_WINDOW = REUSE_SEGMENT + 8 /* + index in unit->window_index */, REUSE_NONE = 0xff };
static inline bool reuse_is_segment(unsigned key) { return key >= REUSE_SEGMENT && key < REUSE_WINDOW; }
#define PROVEN_WINDOWS 3
#define HOISTED_MAX 4
#define PROOF_BYTES 14
/* base + (index << scale); base 4, which is RSP: index alone. */
#define PROVEN_SUMS 2
#define PROVEN_SUM(base, index, scale, number) ((base) | (index) << 4 | (scale) << 8 | (number) << 10)
#define PROVEN_SHAPED PROVEN_WINDOWS /* in units of a space with a shape (windows.h) not a window, but all that have its bias */
/* In units of such a space S_C holds its bias, but where it is needed otherwise: always where they are entered and where they go on to others. */
#define REUSE_BIAS (REUSE_WINDOW + PROVEN_SHAPED - 1)
static const uint8_t reuse_register[REUSE_COUNT] = { S_B, S_C, S_A };
enum { REUSE_OF_BIAS = 1 };

struct record {
	uint8_t kind;         /* enum record_kind */
	uint8_t set;          /* TLB set of the code at the target */
	bool window;          /* HELPER, END: the code uses windows */
	uint8_t faults;       /* that no window could prevent next time */
	bool miss;            /* HELPER, END: a check in the code failed */
	bool hoisted;         /* GO: from the proofs at the unit's start */
	bool polls;           /* LINK: a branch back, to the unit's `polled` */
	bool listed;          /* LINK: even in the same page, since code may come there when that has changed (pages.c) */
	bool memory_flags;    /* the site's flags are in cpu->cc */
	uint8_t executed;     /* guest instructions done and not counted before this point */
	int8_t undo;
	uint8_t vector;       /* VECTOR: VECTOR_* */
	/* And about general registers: two bits each, a number of one of the unit's windows, 0: nothing. LINK: a bit for each that is
	 * in the shape. */
	uint32_t proven;
	int32_t target;       /* guest address, from the start of the unit's page */
	struct unit *unit;
	union {
		uint8_t *again;
		/* RECORD_LINK; next: of those that lead to the same page from others. */
		struct {
			uint8_t *site, *thunk;
			struct record *next;
		};
		/* RECORD_CROSS; read by translated code. */
		struct {
			uint64_t va;
			uint8_t *code;
			uint32_t tag;
		};
		uint8_t length;  /* RECORD_RIP: of the branch */
	};
	/* Most records end here: record_is_short. */
	uint32_t sums;        /* as `proven` about sums of two registers: PROVEN_SUM, 12 bits each */
	uint8_t reuse[REUSE_COUNT]; /* what the code at `resume` or `again` expects in scratch registers: REUSE_*, a register, RIP */
	const struct insn *insn;
	uint8_t *resume;
	struct guard *guard;  /* made from it when it faulted (guard.c); NULL: made with the code */
};

/* Which are made without what follows in struct record. */
static inline bool record_is_short(const struct record *record)
{
	return record->kind == RECORD_LINK || record->kind == RECORD_RIP;
}

/* Vector instructions that may execute now, by what they use. */
enum { VECTOR_SSE = 1, VECTOR_AVX = 2, VECTOR_AVX512 = 4, VECTOR_X87 = 8, VECTOR_CLASSES = 4 };

struct unit {
	const uint8_t *host;  /* first guest byte */
	uint64_t page;        /* linear address of the code's page, or 0: code that serves at any address */
	uint32_t space;       /* code_space.id, for units that use windows; else 0 */
	const _Atomic uint32_t *generation_now, *tail_generation_now; /* of its page, and of the one that it ends in */
	uint32_t generation, tail_generation;
	struct unit *next_tail; /* of those that end in the same page, which is not their own */
	uint8_t set;          /* TLB set of the first instruction */
	uint8_t mode;         /* enum isa_mode of its code: 64, or 32 with flat segments (legacy.c) */
	bool window;          /* memory is reached by windows */
	bool retired;         /* its entries are jumps now: nothing may come back to where an instruction began */
	bool absolute;        /* addresses are constants in the code */
	uint8_t *entry;       /* flags in the host's flags */
	uint8_t *memory_entry; /* flags in cpu->cc */
	uint8_t *polled;      /* as `entry`, for branches back, but leaves where attention is asked for; NULL: not made yet */
	uint8_t *code, *code_end;
	uint8_t *pad, *pad_other; /* where indirect branches enter: pages.c */
	struct unit *next;    /* in its hash chain */
	struct guard *guards; /* host instructions that may fault */
	unsigned guard_count;
	unsigned bytes;
	uint16_t window_index[PROVEN_WINDOWS]; /* bits 32 to 47 of addresses that its code proves */
	uint8_t proven_windows; /* how many */
	uint64_t shape_bias;  /* 0: its space has no shape */
	/* Registers that it proves to be in the shape at its entry, PROOF_BYTES each; for which instructions, from the start of the page. */
	uint8_t hoisted, hoisted_reg[HOISTED_MAX];
	uint16_t hoisted_for[HOISTED_MAX];
	const uint8_t *tail;  /* host address of the page that it ends in; NULL: its own */
};

/* Whether what has this number in the unit's proofs is the shape. */
static inline bool unit_shaped(const struct unit *unit, unsigned number)
{
	return number == PROVEN_SHAPED && unit->shape_bias;
}

/* Where code enters that has proven these registers to be in the shape, of the flags it leaves: the proofs of the first ones are left out. */
static inline uint8_t *unit_entry(const struct unit *unit, uint32_t proven)
{
	unsigned n = 0;
	while (n < unit->hoisted && (proven >> unit->hoisted_reg[n] & 1))
		n++;
	return unit->entry + n * PROOF_BYTES;
}

/* Host instructions that may raise an exception: the signal handler goes on at `slow` instead, or, where that is NULL, with
 * the record that the rest says (as in struct record). There are so many that their size counts. */
#define GUARD_MORE 5u
struct guard {
	uint32_t at, slow;    /* from jit->code_x; slow: 0 for none */
	uint8_t more[GUARD_MORE]; /* of one guest instruction: how many bytes each comes behind the one before; 0: no more */
	uint16_t resume;      /* from `at` */
	int16_t target;
	uint8_t kind : 4, length : 4;
	uint8_t set : 2;
	bool memory_flags : 1, window : 1, hoisted : 1;
	uint8_t executed, faults;
	uint8_t reuse[REUSE_COUNT];
	uint32_t proven, sums;
};

/* Words that translated code uses, in cpu->engine_words. */
struct jit_words {
	uint64_t host_rsp;
	uint64_t code_page;   /* of the unit under way that is not absolute */
	uint64_t scratch, target;
	uint64_t reuse[REUSE_COUNT]; /* for reuse_register */
	uint64_t bias;        /* of the user space's shape, or 0: the host's GS base */
	uint64_t go;          /* where to enter */
	uint64_t saved_stack; /* host RSP while an instruction has the guest's */
	uint64_t stack;       /* guest RSP = host RSP + stack + 1: the complement of the window's bias, or of 0 */
	struct jump *jumps;
	uint32_t tag[4];      /* by TLB set: what addresses mean, see retag() */
	uint32_t vector;      /* VECTOR_* allowed while vector state is in the host's registers; 0: it is in struct cpu */
	uint32_t lacks[VECTOR_CLASSES]; /* by class: not 0 where its bit is not in `vector` */
	uint32_t vector_left; /* the same when translated code was left */
	uint32_t vector_used; /* XINUSE when vector state was stored last; ~0: it was changed since */
	/* VECTOR_* that user code which uses windows takes for granted (SSE, or SSE and AVX): it is never entered without them. */
	uint32_t assumed;
	uint32_t host_mxcsr;
	uint8_t user_window, kernel_window; /* code of this level runs on windows: its branches go by the space's table */
	uint8_t user_table;   /* so do branches to user code: also where none is to be found in it, since it is executed directly */
	uint32_t branch;      /* an indirect branch's record, from the start of jit->data */
};

/* Where an indirect branch led, by the low 16 bits of the address; a table of them for each mode, 64-bit code's first. */
struct jump {
	uint64_t va;
	uint32_t tag, unused;
	uint8_t *code;
	uint64_t unused2;
};
#define JUMP_COUNT 65536u
#define JUMP_TABLES 2u

/* Units of the same page are near one another: code that is looked for together stands together. */
#define UNIT_REGIONS 4096u
#define REGION_BUCKETS 128u
#define UNIT_BUCKETS (UNIT_REGIONS * REGION_BUCKETS)

struct jit_stats {
	uint64_t units, guest_bytes, code_bytes, flushes, retags, links, crosses, indirect, entries, guards, interpreted, vector_loads, fills, filled_pages, unlinked_pages, slow_sites, mispredicted, shapes, inherited, direct_spaces, direct_left, direct_stops, direct_calls, direct_fills, tlb_events[4], exits[RECORD_KINDS];
	uint32_t *helped, *missed; /* instructions executed by their functions, by row: always; when a check failed */
};

#define SLOW_SITES 4096u

/* Guest instructions by host address, 64 bytes of code together: most tables of sites have nothing for most code. */
struct site_filter {
	uint64_t bits[1024];
};

static inline uint64_t *site_filter_word(struct site_filter *filter, const void *host)
{
	return &filter->bits[((uintptr_t)host >> 12) % ARRAY_SIZE(filter->bits)];
}

static inline uint64_t site_filter_bit(const void *host) { return 1ull << ((uintptr_t)host >> 6 & 63); }

struct translator;

struct jit {
	struct interp interp;
	struct translator *translator; /* what a translation needs for a while */
	struct cpu *cpu;
	/* Shared memory: code, mapped writable and, elsewhere, executable. Right behind the executable mapping come records. */
	uint8_t *code_w, *code_x, *data;
	size_t total, code_size, data_size, data_used; /* total: bytes of both that may be used */
	size_t data_dirty; /* what had been used when all was thrown away: it does not read as zero */
	uint8_t *code_at, *cold_at; /* next free byte, as written: of what runs, and of what is seldom run (thunks), in the last part */
	uint8_t *code_floor;  /* behind the stubs */
	uint8_t *code_backed, *cold_backed; /* up to here the host has been asked for large pages */
	struct unit **buckets;
	struct unit **order;  /* units by ascending code address, for the signal handler */
	uint32_t *order_from; /* by 4 KiB of code: the first unit that begins there or behind */
	unsigned unit_count, unit_room, order_pages;
	/* Stubs. */
	struct record *(*enter)(struct cpu *cpu, const uint8_t *code);
	/* With the vector state: the first 16 registers whole, or XMM; the upper 16 and masks, or not; x87 state, or not. */
	struct record *(*enter_vector[2][2][2])(struct cpu *cpu, const uint8_t *code);
	uint8_t *leave, *leave_memory_flags;
	_Alignas(16) uint8_t x87[512]; /* x87 state on its way, as FXSAVE has it */
	uint8_t *syscall, *sysret, *iret, *go_user, *go_kernel; /* privilege.c */
	uint8_t *branch_miss; /* an indirect branch to the address in S_A leads nowhere yet */
	uint8_t *returns_none[2], *returns_other[2]; /* returns.c: where a RET goes that has no CALL, and the wrong one; by TLB set */
	bool assumed_known;   /* jit_words.assumed */
	uint32_t tags;        /* the last number given out */
	uint32_t epoch_seen[2];
	struct user_tag {
		uint32_t epoch, tag;
	} user_tags[16];      /* of address spaces, by cpu->code_epoch[0] */
	/* Code on windows by address: the kernel's, that of the current space (NULL: it has no windows). */
	struct code_space code_kernel, *code_user, code_space[CODE_SPACES];
	uint32_t much[MUCH_PAGES]; /* prints of the pages of programs with much code */
	uint32_t space_ids;
	uint64_t space_uses;
	const void *no_branches; /* a table in which nothing is found */
	/* Direct execution; `directly`: that is how user code of the current space goes on. */
	struct direct *direct;
	bool directly;
	void (*wake)(void *opaque); /* the processor's own */
	void *wake_opaque;
	/* Windows. */
	struct windows *windows; /* NULL: none on this host */
	struct space *space, *kernel;
	uint64_t root;        /* of `space` */
	uint64_t *table;      /* biases by bits 32..47 of an address: 65536 for user code, 65536 for supervisor code */
	struct installed {
		const struct space *space;
		unsigned version, count;
		struct window_bias list[SPACE_WINDOWS];
	} installed[2];
	bool window[2];       /* by TLB_USER, TLB_SUPERVISOR: its code runs on windows now */
	uint64_t since, tsc_ms; /* TSC: time charged up to; a millisecond */
	uint64_t wanted, wanted_rip; /* the page that the guest's last page fault was for, and where it was; RIP UINT64_MAX: none */
	bool faulted;         /* the signal handler led here */
	uintptr_t fault_address; /* of the access; 0: the host did not say */
	const uint8_t *fault_at; /* the host's instruction */
	const uint8_t *slow[SLOW_SITES]; /* guest instructions (host addresses) that windows do not serve: slow.c */
	struct site_filter slow_filter, proof_filter;
	uintptr_t *proof_sites;  /* guest instructions whose operands were guessed wrong (predict.h); NULL: operands' windows are not guessed */
	/* Where the guest's page faults come from. */
	struct fault_site {
		const void *site; /* a guard or a record */
		uint64_t since;
		unsigned count;
	} fault_sites[64];
	/* What leads to the unit that is wanted. */
	enum { LEADS_ANY, LEADS_INDIRECT, LEADS_BACK } leads;
	bool unserved;        /* the helper under way does what the host refused */
	bool local_kernel;    /* supervisor code was found through entries that are not global */
	struct record *current; /* helper under way */
	/* The record of a guard that faulted, at the start of `data`; its instruction; code that leaves with it, by memory_flags. */
	struct record *spare;
	struct insn spare_insn;
	uint8_t *spare_leave[2];
	const struct unit *entering;  /* the unit of the code that is about to run */
	unsigned pending;     /* instructions that this code will count, which were executed before it */
	struct jit_stats stats;
};

static inline struct jit_words *jit_words(struct cpu *c) { return (struct jit_words *)c->engine_words; }
#define WORD(field) CPU_OFFSET(offsetof(struct cpu, engine_words) + offsetof(struct jit_words, field))

/* What runs and what is seldom run have parts of their own, so that the former is dense. */
static inline uint8_t *jit_cold_floor(const struct jit *jit) { return jit->code_w + ALIGN_UP(jit->code_size / 16 * 9, 4096u); }
static inline size_t jit_code_room(const struct jit *jit) { return (size_t)(jit_cold_floor(jit) - jit->code_at); }

static inline intptr_t jit_delta(const struct jit *jit) { return jit->code_x - jit->code_w; }
static inline struct emitter jit_emitter(const struct jit *jit, uint8_t *at, uint8_t *end)
{
	return (struct emitter){ .at = at, .end = end, .delta = jit_delta(jit), .cpu = (int32_t)(uintptr_t)jit->cpu };
}

/* --- code.c: memory for code and records, units by guest address --- */
#define JIT_CACHE_MIN (2ull << 20)
/* total: bytes; less where the host does not grant as much, down to the least. */
int jit_memory_init(struct jit *jit, size_t total, struct error *err);
void jit_memory_destroy(struct jit *jit);
/* Forgets all units. */
void jit_flush(struct jit *jit);
/* Anonymous memory at a multiple of the alignment, of which the size is one, too; NULL: none. */
void *jit_map_aligned(size_t size, size_t alignment, int protection);
/* Zeroed memory that lives until the next flush; NULL: full. */
void *jit_alloc(struct jit *jit, size_t size);
/* A copy of it, no longer than it need be; NULL: full. */
struct record *jit_new_record(struct jit *jit, const struct record *record);
/* To be called before as many bytes are written to both parts of the code. */
void jit_back_code(struct jit *jit, size_t room);
/* linear: of the first byte, for units that are absolute. Those that use windows are of the current space. All are of the current mode. */
struct unit *jit_find(struct jit *jit, const uint8_t *host, uint64_t linear, unsigned set);
/* What a unit with this TLB set is like now: whether it is one for windows, what space it is of, its page or 0. */
bool jit_on_windows(const struct jit *jit, unsigned set);
uint32_t jit_space_id(const struct jit *jit, unsigned set);
uint64_t jit_unit_page(const struct jit *jit, uint64_t linear, unsigned set);
/* unit->polled, which is made if it is not there yet; NULL: there is no room. */
const uint8_t *jit_polled(struct jit *jit, struct unit *unit);
/* The unit is not to be found any more; who still enters it is led to the one that replaces it. */
void jit_retire(struct jit *jit, struct unit *unit);
void jit_insert(struct jit *jit, struct unit *unit);
/* The record's jump leads there from now on, unless it is gone: of a retired unit the first bytes have become another jump. */
void jit_link(const struct jit *jit, const struct record *record, const uint8_t *code);
/* The unit whose code holds this address, or NULL. */
struct unit *jit_unit_at(const struct jit *jit, const uint8_t *code);

static inline struct jump *jit_jump(struct cpu *c, uint64_t va)
{
	return &jit_words(c)->jumps[(c->code_mode == ISA_MODE_64 ? 0 : JUMP_COUNT) + (va & (JUMP_COUNT - 1))];
}

/* --- legacy.c --- */
/* Whether the code at `linear`, not of 64-bit mode, may be translated: 32-bit, with segments as legacy.c takes for granted. */
bool legacy_translatable(const struct cpu *c, uint64_t linear);
/* The same of the segments alone. */
bool legacy_flat(const struct cpu *c);

/* --- guard.c --- */
/* The record of a guard that has no code of its own; returns where to go on. For the signal handler. */
const uint8_t *guard_record(struct jit *jit, struct unit *unit, struct guard *guard);
/* Decodes the instruction of that length in front of `target` into spare_insn; false: its bytes have changed since the unit was made. */
bool guard_decode(struct jit *jit, const struct unit *unit, int target, unsigned length);
/* That of the host's instruction at code_x + at; NULL: it has none. */
struct guard *guard_at(const struct unit *unit, uint32_t at);

/* --- stubs.c --- */
void jit_make_stubs(struct jit *jit);

/* --- privilege.c --- */
void jit_make_privilege_stubs(struct jit *jit, struct emitter *e);

/* --- mirror.c --- */
/* False: no windows here. */
bool mirror_init(struct jit *jit);
void mirror_destroy(struct jit *jit);
/* The table of biases for code with this TLB set (USER or SUPERVISOR). */
uint64_t *mirror_table(const struct jit *jit, unsigned set);
/* To be called before guest code runs again after the guest flushed TLB entries or changed CR3. */
void mirror_sync(struct jit *jit);
/* Now and then: true when jit->window has changed. */
bool mirror_tick(struct jit *jit);
/* A window faulted where the guest has no page either: time lost. When the guest comes back to RIP, it has one. */
void mirror_faulted(struct jit *jit, uint64_t linear);
/* RIP is jit->wanted_rip. */
void mirror_fill_wanted(struct jit *jit);
/* Shows the page of `linear`, which the current code may read; false: windows cannot serve it. */
bool mirror_fill(struct jit *jit, uint64_t linear);

/* --- slow.c --- */
/* The guest instruction at this host address is not for windows. */
bool jit_slow_listed(const struct jit *jit, const uint8_t *host);

static inline bool jit_slow_site(struct jit *jit, const uint8_t *host)
{
	return unlikely(*site_filter_word(&jit->slow_filter, host) & site_filter_bit(host)) && jit_slow_listed(jit, host);
}

/* What the instruction is about to access: its addresses; returns how many. */
unsigned jit_addresses(struct cpu *c, const struct insn *insn, uint64_t linear[2]);
/* After a record's instruction was executed by its function because a window did not serve it. */
void jit_window_fault(struct jit *jit, struct record *record, uintptr_t address, const uint64_t *linear, unsigned count);

/* A guess of predict.h failed: at an access, or at a branch back to the unit's start. */
void jit_not_proven(struct jit *jit, struct record *record);

/* The instruction, by its function, raised an exception of the guest, and the host had one of its own before. */
void jit_guest_fault(struct jit *jit, struct record *record);

/* --- vector.c --- */
/* VECTOR_* that the guest's control registers allow. */
uint32_t vector_allowed(const struct cpu *c);
/* Which ones are allowed in the code that is about to run, which is to be entered with vector state. */
void vector_set(struct jit_words *words, uint32_t classes);
/* What user code which uses windows takes for granted. */
uint8_t vector_assumed(struct jit *jit);
/* The code of jit->entering is about to run: sees to it that it finds what it takes for granted. False: the guest does not allow
 * that any more; all translations are gone. */
bool vector_provide(struct jit *jit);
/* Vector state between struct cpu and the host's registers. */
/* x87: its state is in this image then; NULL: it stays where it is. */
void vector_emit_load(struct emitter *e, bool lower, bool upper, const uint8_t *x87);
/* Whether one of the first 16 registers is more than its XMM part; struct cpu has the state. */
bool vector_lower_used(struct cpu *c);
#define XINUSE_LOWER 0x44u /* AVX, ZMM_Hi256 */
void vector_emit_save(struct emitter *e, uint8_t *x87);

/* --- x87.c --- */
/* The image for code that is to have x87 state in the host's registers, and back. */
void x87_load(struct cpu *c, struct jit *jit);
void x87_store(struct cpu *c, const struct jit *jit);

/* --- translate.c --- */
/* False: no memory. */
bool jit_translator_init(struct jit *jit);
/* Translates the unit at host, which is the guest's `linear`. NULL: nothing there can be translated, or the memory is full
 * (then everything was flushed). memory_flags: who comes there has the flags in cpu->cc. */
struct unit *jit_translate(struct jit *jit, const uint8_t *host, uint64_t linear, bool memory_flags);

/* --- stats.c --- */
bool jit_stats_init(struct jit_stats *stats);
void jit_stats_destroy(struct jit_stats *stats);
unsigned jit_counters(const struct cpu *cpu, struct engine_counter *list, unsigned room);

#endif
