/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Random 32-bit code runs in single steps and at full speed, in ring 0 and 3, with and without paging: registers, flags, memory and the
 * fault that ends it must be the same. All forms of addresses, also over 4 GiB, and segments with bases and limits. */
#include "guest32.h"

enum { ROUNDS = 600, DATA_SIZE = 8192, SEL_BASE = SEL_SPARE, SEL_LIMIT = SEL_SPARE + 8, SEL_FLAT3 = SEL_USER_DATA };
#define LIMIT 255u
#define WINDOW 0xe0000000u /* with paging: the data at another address, and nothing behind it */

static uint8_t code_area[3 * 4096 + 512] __attribute__((aligned(4096)));
static uint8_t data_area[DATA_SIZE] __attribute__((aligned(4096))), stack_area[4096] __attribute__((aligned(4096)));
static uint8_t data_seen[DATA_SIZE] __attribute__((aligned(4))), stack_seen[4096];
static uint32_t page_directory[1024] __attribute__((aligned(4096))), page_table[1024] __attribute__((aligned(4096)));
static uint32_t random_state = 0x2545f491;

static uint32_t rnd(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 17;
	random_state ^= random_state << 5;
	return random_state;
}

static uint32_t below(uint32_t n) { return (uint32_t)((uint64_t)rnd() * n >> 32); }
static bool chance(uint32_t n) { return below(n) == 0; }

/* --- what runs --- */

enum { EAX, ECX, EDX, EBX, ESP, EBP, ESI, EDI };
struct start {
	uint32_t reg[8], flags, eip;
} start;
void enter_ring0(void *), enter_ring3(void *);
#define LOAD_REGISTERS "movl start, %eax; movl start + 4, %ecx; movl start + 8, %edx; movl start + 12, %ebx; movl start + 20, %ebp; " \
	"movl start + 24, %esi; movl start + 28, %edi; iretl\n"
__asm__(".text\n.globl enter_ring0, enter_ring3\n"
	"enter_ring0: movw $0x23, %ax; movw %ax, %ds; movw %ax, %es; movl start + 16, %esp; pushl start + 32; pushl $0x08; pushl start + 36\n" LOAD_REGISTERS
	"enter_ring3: movw $0x23, %ax; movw %ax, %ds; movw %ax, %es; pushl $0x23; pushl start + 16; pushl start + 32; pushl $0x1b; pushl start + 36\n" LOAD_REGISTERS);

static bool on_step(struct frame *frame) { return true; }

/* --- making code --- */

static struct {
	uint8_t *at;
	uint32_t data, es_base;   /* linear address of the data; base of ES as it is there */
} g;

static void put(uint32_t byte) { *g.at++ = (uint8_t)byte; }
static void put4(uint32_t v)
{
	for (unsigned i = 0; i < 4; i++)
		put(v >> 8 * i);
}

static uint32_t immediate(void) { return chance(3) ? (uint32_t)(int8_t)rnd() : chance(4) ? 1u << below(32) : rnd(); }
static void put_immediate(unsigned size)
{
	uint32_t v = immediate();
	for (unsigned i = 0; i < size; i++)
		put(v >> 8 * i);
}

/* Of EAX, ECX and EDX, which code may change; with 8 bits AL to DL and AH to DH. */
static unsigned data_register(unsigned size)
{
	unsigned r = below(3);
	return size == 1 && chance(3) ? r + 4 : r;
}

/* Where an access goes: into the data, seldom to its end, behind which there may be nothing. */
static uint32_t target(void)
{
	uint32_t at = chance(20) ? 4092 + below(8) : g.data == WINDOW && chance(100) ? DATA_SIZE - below(6) : below(DATA_SIZE - 16);
	return g.data + at;
}

/* ModRM and what follows it, for this linear address less the segment's base. */
static void put_address(unsigned reg, uint32_t to)
{
	static const uint8_t index[] = { EBX, EBP, ESI, EDI };
	unsigned base = index[below(4)], other = index[below(4)], scale = below(4);
	switch (below(6)) {
	case 0:
		put(reg << 3 | 5);
		put4(to);
		break;
	case 1:
		put(0x80 | reg << 3 | base);
		put4(to - start.reg[base]);
		break;
	case 2:
		put(0x80 | reg << 3 | 4);
		put(scale << 6 | other << 3 | base);
		put4(to - start.reg[base] - (start.reg[other] << scale));
		break;
	case 3: /* index without base */
		put(reg << 3 | 4);
		put(scale << 6 | other << 3 | 5);
		put4(to - (start.reg[other] << scale));
		break;
	case 4: /* base by SIB */
		put(0x80 | reg << 3 | 4);
		put(0x20 | base);
		put4(to - start.reg[base]);
		break;
	default:
		put(reg << 3 | 4);
		put(0x25);
		put4(to);
	}
}

struct operand {
	unsigned reg;
	bool memory;
	uint8_t prefix;       /* of a segment */
	uint32_t base;
	bool near;            /* off EBX or ESI, with 8 bits or none; off ESP */
};

static struct operand choose(unsigned reg)
{
	struct operand o = { .reg = reg, .memory = !chance(3) };
	o.near = o.memory && chance(3);
	if (!o.memory || o.near || !chance(4))
		return o;
	static const uint8_t prefixes[] = { 0x26, 0x36, 0x3e, 0x64, 0x2e };
	o.prefix = prefixes[below(4)];
	o.base = o.prefix == 0x26 ? g.es_base : o.prefix == 0x64 ? (uint32_t)data_area - 0x1234 : 0;
	return o;
}

static void put_operand(const struct operand *o, unsigned register_)
{
	if (!o->memory) {
		put(0xc0 | o->reg << 3 | register_);
	} else if (!o->near) {
		put_address(o->reg, target() - o->base);
	} else if (chance(3)) {
		put(0x40 | o->reg << 3 | 4);
		put(0x24);
		put(below(32));
	} else {
		bool short_ = chance(2);
		put((short_ ? 0x40 : 0) | o->reg << 3 | (chance(2) ? EBX : ESI));
		if (short_)
			put(below(256));
	}
}

struct form {
	uint16_t opcode;      /* 0f00: two bytes */
	int8_t digit;         /* -1: a register */
	uint8_t size;         /* 1: bytes; 4: by 66 too; 8: 32 bits only */
	uint8_t immediate;    /* bytes; 4: 2 with 66 */
	bool to_register, lock;
};

static const struct form forms[] = {
	{ 0x00, -1, 1, 0, 0, 1 }, { 0x01, -1, 4, 0, 0, 1 }, { 0x02, -1, 1, 0, 1, 0 }, { 0x03, -1, 4, 0, 1, 0 }, { 0x09, -1, 4, 0, 0, 1 }, { 0x0b, -1, 4, 0, 1, 0 },
	{ 0x10, -1, 1, 0, 0, 1 }, { 0x11, -1, 4, 0, 0, 1 }, { 0x13, -1, 4, 0, 1, 0 }, { 0x19, -1, 4, 0, 0, 1 }, { 0x1b, -1, 4, 0, 1, 0 }, { 0x21, -1, 4, 0, 0, 1 },
	{ 0x23, -1, 4, 0, 1, 0 }, { 0x29, -1, 4, 0, 0, 1 }, { 0x2b, -1, 4, 0, 1, 0 }, { 0x31, -1, 4, 0, 0, 1 }, { 0x33, -1, 4, 0, 1, 0 }, { 0x38, -1, 1, 0, 0, 0 },
	{ 0x39, -1, 4, 0, 0, 0 }, { 0x3a, -1, 1, 0, 1, 0 }, { 0x3b, -1, 4, 0, 1, 0 }, { 0x84, -1, 1, 0, 0, 0 }, { 0x85, -1, 4, 0, 0, 0 }, { 0x86, -1, 1, 0, 0, 1 },
	{ 0x87, -1, 4, 0, 0, 1 }, { 0x88, -1, 1, 0, 0, 0 }, { 0x89, -1, 4, 0, 0, 0 }, { 0x8a, -1, 1, 0, 1, 0 }, { 0x8b, -1, 4, 0, 1, 0 }, { 0x8b, -1, 4, 0, 1, 0 },
	{ 0x80, 0, 1, 1, 0, 0 }, { 0x80, 7, 1, 1, 0, 0 }, { 0x82, 5, 1, 1, 0, 0 }, { 0x82, 4, 1, 1, 0, 0 }, { 0x81, 0, 4, 4, 0, 1 }, { 0x81, 3, 4, 4, 0, 0 },
	{ 0x83, 2, 4, 1, 0, 0 }, { 0x83, 5, 4, 1, 0, 1 }, { 0x83, 7, 4, 1, 0, 0 }, { 0x69, -1, 4, 4, 1, 0 }, { 0x6b, -1, 4, 1, 1, 0 }, { 0xc6, 0, 1, 1, 0, 0 },
	{ 0xc7, 0, 4, 4, 0, 0 }, { 0xc0, 4, 1, 1, 0, 0 }, { 0xc1, 0, 4, 1, 0, 0 }, { 0xc1, 2, 4, 1, 0, 0 }, { 0xc1, 5, 4, 1, 0, 0 }, { 0xd1, 3, 4, 0, 0, 0 },
	{ 0xd1, 7, 4, 0, 0, 0 }, { 0xd3, 4, 4, 0, 0, 0 }, { 0xd3, 7, 4, 0, 0, 0 }, { 0xd2, 1, 1, 0, 0, 0 }, { 0xf6, 0, 1, 1, 0, 0 }, { 0xf6, 2, 1, 0, 0, 1 },
	{ 0xf6, 4, 1, 0, 0, 0 }, { 0xf7, 0, 4, 4, 0, 0 }, { 0xf7, 3, 4, 0, 0, 1 }, { 0xf7, 4, 4, 0, 0, 0 }, { 0xf7, 5, 4, 0, 0, 0 }, { 0xfe, 0, 1, 0, 0, 1 },
	{ 0xfe, 1, 1, 0, 0, 0 }, { 0xff, 0, 4, 0, 0, 0 }, { 0xff, 1, 4, 0, 0, 1 }, { 0x0faf, -1, 4, 0, 1, 0 }, { 0x0fb6, -1, 8, 0, 1, 0 }, { 0x0fb7, -1, 8, 0, 1, 0 },
	{ 0x0fbe, -1, 8, 0, 1, 0 }, { 0x0fbf, -1, 8, 0, 1, 0 }, { 0x0f42, -1, 4, 0, 1, 0 }, { 0x0f45, -1, 4, 0, 1, 0 }, { 0x0f4c, -1, 4, 0, 1, 0 }, { 0x0f4a, -1, 4, 0, 1, 0 },
	{ 0x0f93, 0, 1, 0, 0, 0 }, { 0x0f98, 0, 1, 0, 0, 0 }, { 0x0f9f, 0, 1, 0, 0, 0 }, { 0x0fa4, -1, 4, 1, 0, 0 }, { 0x0fac, -1, 8, 1, 0, 0 }, { 0x0fba, 4, 4, 1, 0, 0 },
	{ 0x0fba, 7, 4, 1, 0, 1 }, { 0x0fb0, -1, 1, 0, 0, 1 }, { 0x0fb1, -1, 4, 0, 0, 1 }, { 0x0fc0, -1, 1, 0, 0, 1 }, { 0x0fc1, -1, 4, 0, 0, 1 }, { 0x0fbc, -1, 8, 0, 1, 0 },
	{ 0x0fbd, -1, 8, 0, 1, 0 }, { 0x8d, -1, 4, 0, 1, 0 }, { 0xf7, 6, 4, 0, 0, 0 },
};

/* CMP of bytes: all flags are defined behind it, whatever they were. */
static void define_flags(void)
{
	put(0x38);
	put(0xc0 | below(64));
}

static bool leaves_undefined_flags(const struct form *f)
{
	switch (f->opcode) {
	case 0x69: case 0x6b: case 0xc0: case 0xc1: case 0xd1: case 0xd2: case 0xd3: case 0x0faf: case 0x0fa4: case 0x0fac: case 0x0fba: case 0x0fbc: case 0x0fbd:
		return true;
	case 0xf6: case 0xf7:
		return f->digit >= 4;
	default:
		return false;
	}
}

static bool is_shift(unsigned opcode)
{
	return opcode == 0xc0 || opcode == 0xc1 || (opcode >= 0xd1 && opcode <= 0xd3) || opcode == 0x0fa4 || opcode == 0x0fac;
}

static void general(void)
{
	const struct form *f = &forms[below(sizeof(forms) / sizeof(forms[0]))];
	bool half = f->size == 4 && chance(5), shift = is_shift(f->opcode);
	struct operand o = choose(f->digit >= 0 ? (unsigned)f->digit : data_register(f->size));
	half &= !shift && f->opcode != 0x0fba;
	if (f->opcode == 0x8d) {
		o.memory = true;
		half = false;
	}
	if (f->opcode == 0xf7 && f->digit == 6 && !chance(8))
		return;
	if (o.prefix)
		put(o.prefix);
	if (half)
		put(0x66);
	if (f->lock && o.memory && chance(4))
		put(0xf0);
	if (f->opcode >> 8)
		put(0x0f);
	put(f->opcode);
	put_operand(&o, data_register(f->size));
	if (shift && f->immediate)
		put(1 + below(31) % 31);
	else
		put_immediate(f->immediate == 4 && half ? 2 : f->immediate);
	if (leaves_undefined_flags(f))
		define_flags();
}

/* BT and its kin on a string of bits: the offset may be negative. */
static void bits(void)
{
	static const uint8_t opcodes[] = { 0xa3, 0xab, 0xb3, 0xbb };
	put(0xb8 | EDX); /* mov edx, offset */
	uint32_t offset = below(8192) - 4096;
	put4(offset);
	unsigned n = below(4);
	if (n && chance(3))
		put(0xf0);
	put(0x0f);
	put(opcodes[n]);
	put_address(EDX, g.data + 1024 + below(2048));
	define_flags();
}

static void stack(void)
{
	unsigned r = below(8), to = data_register(4);
	switch (below(9)) {
	case 0: put(0x50 | r); break;
	case 1: put(0x68); put4(rnd()); put(0x58 | to); break;
	case 2: put(0x6a); put(rnd()); break;
	case 3: put(0xff); put_address(6, target()); break;
	case 4: define_flags(); put(0x9c); put(0x58); put(0x80); put(0xe4); put(0xfe); break; /* pushf; pop eax; and ah, 0xfe */
	case 5: put(0x50 | r); put(0x8f); put_address(0, target()); break;
	case 6: put(0x60); put(0x61); break;
	case 7: put(0x06); put(0x07); break;
	default: put(0x50 | r); put(0x66); put(0x50 | r); put(0x66); put(0x58 | to); break;
	}
}

static void small(void)
{
	static const uint8_t one[] = { 0x40, 0x41, 0x42, 0x48, 0x49, 0x4a, 0x98, 0x99, 0x9e, 0x9f, 0xf5, 0xf8, 0xf9, 0x27, 0x2f, 0x37, 0x3f, 0xd6, 0x90, 0x91, 0x92, 0xfc };
	unsigned n = below(sizeof(one) + 6);
	if (n < sizeof(one)) {
		if (one[n] < 0x50 && one[n] >= 0x40 && chance(4))
			put(0x66);
		/* AF is undefined behind AND, OR, XOR and TEST, and others behind BCD. */
		bool af = one[n] == 0x9f || one[n] == 0x27 || one[n] == 0x2f || one[n] == 0x37 || one[n] == 0x3f;
		if (af)
			define_flags();
		put(one[n]);
		if (af)
			define_flags();
	} else if (n == sizeof(one)) {
		put(0xd4), put(below(20)); /* by 0: a fault */
		define_flags();
	} else if (n == sizeof(one) + 1) {
		put(0x0f), put(0xc8 | below(3));
	} else if (n < sizeof(one) + 4) { /* the accumulator and a constant address */
		if (chance(4))
			put(0x66);
		put(0xa0 | below(4)), put4(target());
	} else if (n == sizeof(one) + 4) { /* 16-bit address */
		put(0x67), put(0x8b), put(0x06 | data_register(4) << 3), put(below(256)), put(0x70);
	} else {
		put(0x65), put(0x8b), put(0x05 | data_register(4) << 3), put4(chance(10) ? LIMIT - below(5) : below(LIMIT - 3));
	}
}

static void make_one(void);

/* Forward over one instruction, or to the next. */
static void branch(void)
{
	uint8_t *from;
	switch (below(6)) {
	case 0: case 1: put(0x70 | below(16)); put(0); break;
	case 2: put(0xe3); put(0); break;
	case 3: put(0xe2); put(0); break;
	case 4: /* call; pop */
		put(0xe8), put4(0), put(0x58 | data_register(4));
		return;
	default: /* push address behind; ret */
		put(0xe8), put4(5), put(0xe9), put4(1), put(0xc3); /* call the ret; jump over it */
		return;
	}
	from = g.at;
	uint32_t base = g.es_base;
	do
		make_one();
	while (g.es_base != base);
	from[-1] = (uint8_t)(g.at - from);
}

static void change_es(void)
{
	bool flat = chance(2);
	put(0x66), put(0xb8), put(flat ? SEL_FLAT3 : SEL_BASE + 3), put(0); /* mov ax; mov es, ax */
	put(0x8e), put(0xc0);
	g.es_base = flat ? 0 : (uint32_t)data_area - 0x1234;
}

static void strings(void)
{
	/* push esi; push edi; mov ecx, n; lea edi; lea esi; (rep) movs, stos, ...; pop edi; pop esi */
	static const uint8_t opcodes[] = { 0xa4, 0xa5, 0xaa, 0xab, 0xa6, 0xac, 0xae };
	put(0x56), put(0x57), put(0xb8 | ECX), put4(below(40));
	put(0xbe), put4(g.data + below(4096)), put(0xbf), put4(g.data - g.es_base + below(4096));
	if (chance(2))
		put(0xf3);
	put(opcodes[below(7)]);
	put(0x5f), put(0x5e);
}

static void make_one(void)
{
	switch (below(16)) {
	case 0: bits(); break;
	case 1: case 2: stack(); break;
	case 3: case 4: small(); break;
	case 5: strings(); break;
	default: general();
	}
}

static void make(void)
{
	unsigned count = 1 + below(20);
	for (unsigned i = 0; i < count; i++) {
		if (chance(6))
			branch();
		else if (chance(25))
			change_es();
		else
			make_one();
	}
	put(0xcd), put(0x80);
}

/* --- comparing --- */

static struct fault run(bool user, bool step)
{
	for (unsigned i = 0; i < DATA_SIZE; i += 4)
		*(uint32_t *)(data_area + i) = i * 0x9e3779b9u ^ i >> 3;
	for (unsigned i = 0; i < sizeof(stack_area); i += 4)
		*(uint32_t *)(stack_area + i) = i * 0x3f1d5a77u;
	start.flags = (start.flags & ~0x100u) | (step ? 0x100 : 0);
	__asm__ volatile("movw %w0, %%fs; movw %w1, %%gs" ::"r"(SEL_BASE + 3), "r"(SEL_LIMIT + 3));
	struct fault f = guarded(user ? enter_ring3 : enter_ring0, NULL);
	if (!user)
		f.frame.esp = (uint32_t)&f.frame.esp; /* not there */
	return f;
}

static uint32_t stack_of(const struct fault *f, bool user)
{
	/* Below: vector, error, EIP, CS, EFLAGS. */
	return user ? f->frame.esp : f->frame.esp_dummy + 16 + 20;
}

static bool same(const struct fault *a, const struct fault *b, bool user)
{
	uint32_t esp = stack_of(a, user), from = esp - (uint32_t)stack_area;
	bool good = a->frame.eax == b->frame.eax && a->frame.ecx == b->frame.ecx && a->frame.edx == b->frame.edx && a->frame.ebx == b->frame.ebx &&
		    a->frame.ebp == b->frame.ebp && a->frame.esi == b->frame.esi && a->frame.edi == b->frame.edi && (uint16_t)a->frame.es == (uint16_t)b->frame.es &&
		    a->frame.vector == b->frame.vector && a->frame.error == b->frame.error && a->frame.eip == b->frame.eip && a->frame.cs == b->frame.cs &&
		    !((a->frame.eflags ^ b->frame.eflags) & ~0x110u) && esp == stack_of(b, user) && (a->frame.vector != VEC_PF || a->cr2 == b->cr2);
	for (unsigned i = 0; i < DATA_SIZE; i += 4)
		good &= *(uint32_t *)(data_seen + i) == *(uint32_t *)(data_area + i);
	for (unsigned i = from; i < sizeof(stack_area); i++)
		good &= stack_seen[i] == stack_area[i];
	return good;
}

static unsigned ended[256];

static void put_byte(uint8_t byte)
{
	static const char digits[] = "0123456789abcdef";
	char text[] = { digits[byte >> 4], digits[byte & 15], 0 };
	print(text);
}

static bool one_round(uint32_t data)
{
	bool user = chance(2);
	g.data = data;
	g.es_base = 0;
	for (unsigned r = 0; r < 8; r++)
		start.reg[r] = chance(4) ? 0u - below(65536) : rnd();
	start.reg[EBX] = data + 256 + below(2048);
	start.reg[ESI] = data + 4096 - 128 + below(64);
	start.reg[ESP] = (uint32_t)stack_area + 2048;
	start.flags = 2 | (rnd() & 0x8d5);
	start.eip = (uint32_t)code_area + below(3 * 4096 - 600);
	g.at = (uint8_t *)start.eip;
	make();
	struct fault stepped = run(user, true);
	__builtin_memcpy(data_seen, data_area, DATA_SIZE);
	__builtin_memcpy(stack_seen, stack_area, sizeof(stack_area));
	bool good = true;
	for (unsigned n = 0; good && n < 2; n++) {
		struct fault f = run(user, false);
		good = same(&stepped, &f, user);
		if (!good) {
			print("code at "), print_hex(start.eip), print(" to "), print_hex((uint32_t)g.at), print(user ? " ring 3" : " ring 0"), print("\n");
			for (uint8_t *p = (uint8_t *)start.eip; p < g.at; p++)
				put_byte(*p);
			print("\nstepped, then not: vector eip flags eax ecx edx stack\n");
			const struct fault *both[] = { &stepped, &f };
			for (unsigned i = 0; i < 2; i++) {
				const struct frame *s = &both[i]->frame;
				const uint32_t list[] = { s->vector, s->eip, s->eflags, s->eax, s->ecx, s->edx, stack_of(both[i], user) };
				for (unsigned k = 0; k < 7; k++)
					print_hex(list[k]), print(" ");
				print("\n");
			}
		}
	}
	ended[stepped.frame.vector & 255]++;
	return good;
}

static void rounds(uint32_t data)
{
	unsigned wrong = 0;
	for (unsigned n = 0; n < ROUNDS && wrong < 3; n++)
		wrong += !one_round(data);
	check_equal(wrong, 0);
}

static void paging(void)
{
	for (uint32_t i = 0; i < 1024; i++)
		page_directory[i] = i << 22 | 0x87;
	page_directory[WINDOW >> 22] = (uint32_t)page_table | 7;
	for (uint32_t i = 0; i < DATA_SIZE / 4096; i++)
		page_table[i] = ((uint32_t)data_area + i * 4096) | 7;
	WRITE_CR(4, READ_CR(4) | 0x10);
	WRITE_CR(3, (uint32_t)page_directory);
	WRITE_CR(0, READ_CR(0) | 0x80010000u);
}

int guest_main(void)
{
	gdt[SEL_BASE >> 3] = descriptor((uint32_t)data_area - 0x1234, 0xfffff, 0xf2, 0xc);
	gdt[SEL_LIMIT >> 3] = descriptor((uint32_t)data_area, LIMIT, 0xf2, 4);
	handlers[VEC_DB] = on_step;
	rounds((uint32_t)data_area);
	paging();
	rounds(WINDOW);
	/* Most code ran to its end, some did not. */
	check(ended[0x80] > ROUNDS);
	check(ended[VEC_GP] && ended[VEC_PF] && ended[VEC_DE]);
	return failures;
}
