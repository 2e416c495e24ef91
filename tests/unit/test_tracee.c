/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <pthread.h>

#include <cmocka.h>

#include "host/tracee.h"

/* A tracee executes what is mapped into it and nothing else, stops at whatever leaves that, and can do nothing by itself. */

#define CODE 0x400000ull
#define DATA 0x7000000000ull

static int memory;
static uint8_t *code, *data;
static struct tracee *t;

static int set_up(void **state)
{
	struct error err;
	memory = memfd_create("test", MFD_CLOEXEC);
	if (memory < 0 || ftruncate(memory, 8192) < 0)
		return -1;
	code = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
	data = code + 4096;
	t = tracee_new(memory, &err);
	if (!t) {
		print_error("%s\n", err.text);
		return -1;
	}
	const struct tracee_call calls[] = {
		{ SYS_mmap, { CODE, 4096, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED, TRACEE_MEMORY, 0 } },
		{ SYS_mmap, { DATA, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, TRACEE_MEMORY, 4096 } },
	};
	return tracee_calls(t, calls, 2) == 2 ? 0 : -1;
}

static int tear_down(void **state)
{
	tracee_free(t);
	munmap(code, 8192);
	close(memory);
	return 0;
}

/* Even where the caller's is the very number that the tracee has it as. */
static void memory_has_any_descriptor(void **state)
{
	struct error err;
	const struct tracee_call map = { SYS_mmap, { CODE, 4096, PROT_READ, MAP_SHARED | MAP_FIXED, TRACEE_MEMORY, 0 } };
	int before = fcntl(TRACEE_MEMORY, F_DUPFD_CLOEXEC, 10);
	assert_int_equal(memory == TRACEE_MEMORY ? memory : dup3(memory, TRACEE_MEMORY, O_CLOEXEC), TRACEE_MEMORY);
	struct tracee *other = tracee_new(TRACEE_MEMORY, &err);
	assert_non_null(other);
	assert_int_equal(tracee_calls(other, &map, 1), 1);
	tracee_free(other);
	if (before >= 0 && memory != TRACEE_MEMORY)
		dup2(before, TRACEE_MEMORY);
	close(before);
}

static struct tracee_registers registers;
static uint64_t address;

#define RUN(...) run((const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))
static enum tracee_stop run(const uint8_t *bytes, size_t size)
{
	memcpy(code, bytes, size);
	registers.rip = CODE;
	registers.rflags = 0x202;
	address = 0;
	return tracee_run(t, &registers, &address);
}

static void registers_stay(void **state)
{
	for (unsigned i = 0; i < 16; i++)
		registers.gpr[i] = 0x1111111111111111ull * i + i;
	registers.fs_base = DATA;
	/* not each of them, then a system call */
	assert_int_equal(RUN(0x48, 0xf7, 0xd0, 0x48, 0xf7, 0xd3, 0x49, 0xf7, 0xd7, 0xfd, 0x0f, 0x05), TRACEE_CALL);
	assert_int_equal(registers.rip, CODE + 12);
	assert_true(registers.gpr[0] == ~0ull);
	assert_true(registers.gpr[3] == ~(0x1111111111111111ull * 3 + 3));
	assert_true(registers.gpr[4] == 0x1111111111111111ull * 4 + 4);
	assert_true(registers.gpr[15] == ~(0x1111111111111111ull * 15 + 15));
	assert_true(registers.rflags & 0x400); /* DF */
	assert_true(registers.fs_base == DATA);
}

static void system_calls_do_nothing(void **state)
{
	registers.gpr[0] = SYS_exit_group;
	assert_int_equal(RUN(0x0f, 0x05), TRACEE_CALL);
	assert_int_equal(registers.gpr[0], SYS_exit_group);
	registers.gpr[0] = SYS_getpid;
	assert_int_equal(RUN(0x0f, 0x05, 0x90), TRACEE_CALL);
	assert_int_equal(registers.gpr[0], SYS_getpid);
	/* gettimeofday of the vsyscall page, which no tracer is asked about */
	registers.gpr[0] = 0xffffffffff600000ull;
	registers.gpr[7] = DATA;
	registers.gpr[4] = DATA + 2048;
	memset(data, 0, 16);
	assert_int_not_equal(RUN(0xff, 0xd0, 0x0f, 0x0b), TRACEE_CALL);
	assert_int_equal(data[0] | data[1] | data[8] | data[9], 0);
}

static void exceptions_stop(void **state)
{
	registers.gpr[7] = DATA + 4096;
	assert_int_equal(RUN(0x90, 0x8a, 0x07), TRACEE_PAGE); /* mov al, [rdi] */
	assert_true(address == DATA + 4096);
	assert_true(registers.rip == CODE + 1);
	registers.gpr[7] = CODE;
	assert_int_equal(RUN(0x88, 0x07), TRACEE_PAGE); /* mov [rdi], al */
	assert_true(address == CODE);
	assert_int_equal(RUN(0x0f, 0x0b), TRACEE_EXCEPTION); /* ud2 */
	assert_int_equal(RUN(0xf4), TRACEE_EXCEPTION);       /* hlt */
	assert_int_equal(RUN(0x0f, 0x31), TRACEE_EXCEPTION); /* rdtsc */
	assert_int_equal(RUN(0xcc), TRACEE_TRAP);
	assert_true(registers.rip == CODE + 1);
	/* The page that it maps pages with is not the code's to use. */
	registers.gpr[0] = tracee_own(t) + 0x80;
	assert_int_equal(RUN(0xff, 0xe0), TRACEE_CALL); /* jmp rax: a system call there stops like any */
}

static void memory_is_shared(void **state)
{
	registers.gpr[7] = DATA;
	memcpy(data, "12345678", 8);
	assert_int_equal(RUN(0x48, 0x8b, 0x07, 0x48, 0xff, 0x07, 0x0f, 0x0b), TRACEE_EXCEPTION); /* mov rax, [rdi]; inc qword [rdi] */
	assert_memory_equal(&registers.gpr[0], "12345678", 8);
	assert_memory_equal(data, "22345678", 8);
	const struct tracee_call calls[] = {
		{ SYS_mmap, { CODE, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, TRACEE_MEMORY, 0 } },
		{ SYS_munmap, { 1, 4096 } },
		{ SYS_munmap, { DATA, 4096 } },
	};
	assert_int_equal(tracee_calls(t, calls, 3), 1); /* up to the one that fails */
	assert_true(tracee_poke(t, CODE + 1, 0xcc));
	assert_int_equal(RUN(0x90, 0x90, 0x90), TRACEE_TRAP);
	assert_true(registers.rip == CODE + 2);
	assert_int_equal(code[1], 0x90);
}

static void *interrupts(void *opaque)
{
	usleep(20000);
	tracee_interrupt(tracee_id(t));
	return NULL;
}

static void an_endless_loop_ends(void **state)
{
	pthread_t thread;
	const uint64_t before = tracee_time(t);
	pthread_create(&thread, NULL, interrupts, NULL);
	assert_int_equal(RUN(0xeb, 0xfe), TRACEE_INTERRUPTED);
	pthread_join(thread, NULL);
	assert_true(tracee_time(t) > before);
	assert_true(registers.rip == CODE);
}

static void vectors_go_over(void **state)
{
	static _Alignas(64) uint8_t area[16384];
	size_t size = sizeof(area);
	assert_true(tracee_get_xstate(t, area, &size));
	area[512] |= 3; /* XSTATE_BV */
	memcpy(area + 160 + 16, "vector register", 16); /* XMM1 */
	assert_true(tracee_set_xstate(t, area, size));
	registers.gpr[7] = DATA;
	assert_int_equal(RUN(0x0f, 0x11, 0x0f, 0x0f, 0x0b), TRACEE_EXCEPTION); /* movups [rdi], xmm1 */
	assert_string_equal((char *)data, "vector register");
}

static void one_that_is_killed_is_gone(void **state)
{
	kill(tracee_id(t), SIGKILL);
	assert_int_equal(RUN(0xeb, 0xfe), TRACEE_GONE);
	assert_int_equal(RUN(0xeb, 0xfe), TRACEE_GONE);
	assert_int_equal(tracee_calls(t, &(struct tracee_call){ .number = SYS_getpid }, 1), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(memory_has_any_descriptor), TEST(registers_stay), TEST(system_calls_do_nothing), TEST(exceptions_stop), TEST(memory_is_shared), TEST(an_endless_loop_ends),
		TEST(vectors_go_over), TEST(one_that_is_killed_is_gone),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
