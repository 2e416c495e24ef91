/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "cpu/host.h"

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"
#include "cpu/host_signal.h"

/*
 * Where stubs live: a memfd mapped twice, once writable and once executable,
 * shared by all vCPUs of the process. Stubs are found by their code, which is
 * position-independent, and never freed: when the arena is full, a stub is
 * written to the last slot for each execution, under the lock.
 *
 * System calls: memfd_create, ftruncate, mmap, mprotect.
 */
#define ARENA_SIZE (4u << 20)
#define ARENA_UNIT 16u                           /* a stub's number counts in these; 0 is no stub */
#define ARENA_ONCE (ARENA_SIZE - HOST_CODE_MAX)  /* the slot for stubs that found no room */
#define TABLE_SIZE (1u << 17)                    /* more than stubs of the least possible size need */
#define WINDOW_PAGES 4

struct slot {
	uint32_t hash;
	uint32_t start; /* units; 0: free */
	uint32_t length;
};

static struct {
	pthread_mutex_t lock, window_lock;
	uint8_t *writable, *executable;
	uint32_t used;  /* bytes */
	unsigned room;  /* stubs that may still be made */
	struct slot *table;
	uint8_t *window;
	unsigned vector_size;
} arena = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.window_lock = PTHREAD_MUTEX_INITIALIZER,
	.used = ARENA_UNIT,
	.room = ~0u,
};

static pthread_once_t arena_once = PTHREAD_ONCE_INIT;

static void find_vector_size(void)
{
	__builtin_cpu_init();
	arena.vector_size = __builtin_cpu_supports("avx512f") ? 64 : __builtin_cpu_supports("avx") ? 32 : 16;
}

/* On failure there are no stubs, and what needs one is undefined to the guest. */
static void arena_init(void)
{
	find_vector_size();
	int fd = memfd_create("visor-stubs", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, ARENA_SIZE) < 0)
		goto fail;
	void *writable = mmap(NULL, ARENA_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	void *executable = mmap(NULL, ARENA_SIZE, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
	uint8_t *window = mmap(NULL, WINDOW_PAGES * GUEST_PAGE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct slot *table = calloc(TABLE_SIZE, sizeof *table);
	if (writable == MAP_FAILED || executable == MAP_FAILED || window == MAP_FAILED || !table ||
	    mprotect(window + GUEST_PAGE_SIZE, GUEST_PAGE_SIZE, PROT_READ | PROT_WRITE) < 0)
		goto fail;
	close(fd);
	arena.writable = writable;
	arena.executable = executable;
	arena.window = window;
	arena.table = table;
	host_signal_install((uintptr_t)executable, ARENA_SIZE);
	return;
fail:
	log_error("no memory for instruction stubs (4 MiB, writable and executable): vector and x87 instructions will not "
		  "work; raise the memory limit or allow executable memfd mappings");
}

static uint32_t hash_code(const struct host_code *code)
{
	uint64_t h = code->length;
	unsigned i;
	for (i = 0; i + 8 <= code->length; i += 8)
		h = (h ^ load_le64(code->bytes + i)) * 0x9e3779b97f4a7c15ull, h ^= h >> 29;
	for (; i < code->length; i++)
		h = (h ^ code->bytes[i]) * 0x9e3779b97f4a7c15ull;
	return (uint32_t)(h >> 32);
}

static uint32_t add_code(struct slot *slot, uint32_t hash, const struct host_code *code)
{
	uint32_t size = ALIGN_UP(code->length, ARENA_UNIT);
	if (arena.used + size > ARENA_ONCE || !arena.room)
		return 0;
	arena.room--;
	memcpy(arena.writable + arena.used, code->bytes, code->length);
	*slot = (struct slot){ .hash = hash, .start = arena.used / ARENA_UNIT, .length = code->length };
	arena.used += size;
	return slot->start;
}

static uint32_t find_code(const struct host_code *code)
{
	uint32_t hash = hash_code(code);
	for (uint32_t i = hash;; i++) {
		struct slot *slot = &arena.table[i & (TABLE_SIZE - 1)];
		if (!slot->start)
			return add_code(slot, hash, code);
		if (slot->hash == hash && slot->length == code->length &&
		    memcmp(arena.writable + slot->start * ARENA_UNIT, code->bytes, code->length) == 0)
			return slot->start;
	}
}

uint32_t host_arena_find(const struct insn *insn)
{
	struct host_code code;
	pthread_once(&arena_once, arena_init);
	if (!arena.executable || !host_emit(&code, insn))
		return 0;
	pthread_mutex_lock(&arena.lock);
	uint32_t number = find_code(&code);
	pthread_mutex_unlock(&arena.lock);
	return number;
}

host_stub *host_arena_stub(uint32_t number)
{
	return (host_stub *)(void *)(arena.executable + (size_t)number * ARENA_UNIT);
}

struct host_result host_arena_run_once(struct cpu *c, const struct insn *insn, void *memory, void *image)
{
	struct host_result result = { .fault = HOST_UNDEFINED };
	struct host_code code;
	if (!arena.executable || !host_emit(&code, insn))
		return result;
	pthread_mutex_lock(&arena.lock);
	memcpy(arena.writable + ARENA_ONCE, code.bytes, code.length);
	/* Code was written through another linear address: serialise before it runs (SDM 3A, 9.1.3). */
	uint32_t a = 0, b, cx = 0, d;
	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(cx), "=d"(d) : : "memory");
	result = host_arena_stub(ARENA_ONCE / ARENA_UNIT)(c, memory, image);
	pthread_mutex_unlock(&arena.lock);
	return result;
}

void host_arena_limit(unsigned stubs)
{
	pthread_mutex_lock(&arena.lock);
	arena.room = stubs;
	pthread_mutex_unlock(&arena.lock);
}

void host_arena_forget(void)
{
	pthread_mutex_lock(&arena.lock);
	if (arena.table)
		memset(arena.table, 0, TABLE_SIZE * sizeof *arena.table);
	arena.used = ARENA_UNIT;
	pthread_mutex_unlock(&arena.lock);
}

unsigned host_vector_size(void)
{
	pthread_once(&arena_once, arena_init);
	return arena.vector_size;
}

/* Pages: no access, read and write, no access, no access. */
uint8_t *host_window_open(bool first, bool second)
{
	pthread_mutex_lock(&arena.window_lock);
	return arena.window + GUEST_PAGE_SIZE * (first ? 1 : second ? 0 : 2);
}

void host_window_close(void)
{
	pthread_mutex_unlock(&arena.window_lock);
}
