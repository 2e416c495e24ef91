/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <unistd.h>

#include "base/util.h"
#include "host/time.h"
#include "vm/machine.h"

/*
 * The life of a machine, driven by guests of a few bytes: Multiboot images
 * with load addresses, 32-bit code at 1 MiB + 64.
 */
#define LOAD 0x100000u
#define CODE 64u
#define COUNTER 0x8000u

struct run {
	struct machine *machine;
	char output[64];
	unsigned resets;
	struct machine_event last;
	char text[256];
};

static struct run now;
static char kernel_path[] = "/tmp/visor-machine-XXXXXX";

static void write_kernel(const uint8_t *code, size_t size)
{
	uint8_t image[512] = { 0 };
	const uint32_t header[] = { 0x1badb002, 0x10000, -(0x1badb002u + 0x10000u), LOAD, LOAD, 0, 0, LOAD + CODE };
	memcpy(image, header, sizeof(header));
	memcpy(image + CODE, code, size);
	FILE *f = fopen(kernel_path, "wb");
	assert_non_null(f);
	assert_int_equal(fwrite(image, sizeof(image), 1, f), 1);
	fclose(f);
}

static void on_output(void *opaque, const uint8_t *data, size_t size)
{
	struct run *run = opaque;
	strncat(run->output, (const char *)data, MIN(size, sizeof(run->output) - 1 - strlen(run->output)));
}

static void on_event(void *opaque, const struct machine_event *event)
{
	struct run *run = opaque;
	run->resets += event->kind == MACHINE_WAS_RESET;
	run->last = *event;
	snprintf(run->text, sizeof(run->text), "%s", event->text);
}

static struct machine_config config_for(struct run *run)
{
	return (struct machine_config){
		.memory = 8u << 20, .kernel = kernel_path, .debug_exit = true, .event = on_event, .event_opaque = run,
		.console[MACHINE_SERIAL0] = { on_output, NULL, run },
	};
}

static int run_guest(const uint8_t *code, size_t size, const struct machine_config *config)
{
	struct error err = { 0 };
	write_kernel(code, size);
	now.machine = machine_create(config, &err);
	if (!now.machine)
		fail_msg("%s", err.text);
	int status = machine_run(now.machine, &err);
	return status;
}

static int clear(void **state)
{
	now = (struct run){ 0 };
	return 0;
}

static int destroy(void **state)
{
	machine_destroy(now.machine);
	return 0;
}

#define OUT_CHAR(c) 0x66, 0xba, 0xf8, 0x03, 0xb0, (c), 0xee                       /* mov dx, 0x3f8; mov al, c; out dx, al */
#define POWER_OFF 0x66, 0xba, 0x04, 0x06, 0x66, 0xb8, 0x00, 0x20, 0x66, 0xef     /* mov dx, 0x604; mov ax, 0x2000; out dx, ax */
#define STOP_HERE 0xf4, 0xeb, 0xfd                                               /* hlt; jmp -3 */

static void soft_off_ends_with_status_0(void **state)
{
	static const uint8_t code[] = { OUT_CHAR('h'), OUT_CHAR('i'), POWER_OFF, OUT_CHAR('!'), STOP_HERE };
	struct machine_config config = config_for(&now);
	assert_int_equal(run_guest(code, sizeof(code), &config), 0);
	assert_int_equal(now.last.kind, MACHINE_POWERED_OFF);
	assert_string_equal(now.output, "hi");
	json_t *stats = machine_stats_json(now.machine);
	assert_non_null(stats);
	assert_true(json_integer_value(json_object_get(stats, "instructions")) >= 9);
	json_t *uart = json_object_get(json_object_get(stats, "devices"), "uart0");
	assert_true(json_integer_value(json_object_get(uart, "writes")) >= 2);
	json_decref(stats);
}

static void debug_exit_gives_its_status(void **state)
{
	static const uint8_t code[] = { 0xb0, 21, 0xe6, 0xf4, STOP_HERE };
	struct machine_config config = config_for(&now);
	assert_int_equal(run_guest(code, sizeof(code), &config), 43);
	assert_int_equal(now.last.kind, MACHINE_DEBUG_EXIT);
	assert_int_equal(now.last.status, 43);
}

/* lidt of what the image is zero at; int3 */
static const uint8_t triple_fault[] = { 0x0f, 0x01, 0x1d, 0x00, 0x01, 0x10, 0x00, 0xcc, STOP_HERE };

static void triple_fault_without_reboot_says_where(void **state)
{
	struct machine_config config = config_for(&now);
	config.no_reboot = true;
	assert_int_equal(run_guest(triple_fault, sizeof(triple_fault), &config), 3);
	assert_int_equal(now.last.kind, MACHINE_SHUTDOWN);
	assert_non_null(strstr(now.text, "triple fault"));
	assert_non_null(strstr(now.text, "0010:"));
}

/* CMOS outlives a reset: the first round sets a byte of it and resets in the way given, the second powers off. */
#define TWO_ROUNDS(...) { \
	0xb0, 0x50, 0xe6, 0x70, 0xe4, 0x71, 0x3c, 0x77, 0x75, 20,  /* cmos[0x50] == 0x77? */ \
	OUT_CHAR('2'), POWER_OFF, STOP_HERE, \
	0xb0, 0x77, 0xe6, 0x71, OUT_CHAR('1'), __VA_ARGS__, STOP_HERE }

static void check_reset(const uint8_t *code, size_t size, unsigned cpus)
{
	struct machine_config config = config_for(&now);
	config.cpus = cpus;
	assert_int_equal(run_guest(code, size, &config), 0);
	assert_int_equal(now.resets, 1);
	assert_int_equal(now.last.kind, MACHINE_POWERED_OFF);
	assert_string_equal(now.output, "12");
}

static void reset_by_port_cf9(void **state)
{
	static const uint8_t code[] = TWO_ROUNDS(0x66, 0xba, 0xf9, 0x0c, 0xb0, 0x06, 0xee);
	check_reset(code, sizeof(code), 1);
}

static void reset_by_keyboard_controller(void **state)
{
	static const uint8_t code[] = TWO_ROUNDS(0xb0, 0xfe, 0xe6, 0x64);
	check_reset(code, sizeof(code), 3);
}

static void reset_by_triple_fault(void **state)
{
	static const uint8_t code[] = TWO_ROUNDS(0x0f, 0x01, 0x1d, 0x00, 0x01, 0x10, 0x00, 0xcc);
	check_reset(code, sizeof(code), 2);
}

/* --- pause, resume, requests from outside --- */

/* inc dword [COUNTER]; jmp */
static const uint8_t busy[] = { 0xff, 0x05, COUNTER & 0xff, COUNTER >> 8, 0, 0, 0xeb, 0xf8 };

static uint32_t counter(void)
{
	return __atomic_load_n((uint32_t *)memory_range(machine_memory(now.machine), COUNTER, 4, false), __ATOMIC_RELAXED);
}

static void wait_for_progress(void)
{
	uint32_t before = counter();
	for (unsigned i = 0; i < 5000 && counter() == before; i++)
		usleep(1000);
	assert_int_not_equal(counter(), before);
}

static uint64_t rest_time, rest_count, rest_tsc;

static void pause_and_resume(void *arg)
{
	struct machine *m = now.machine;
	wait_for_progress();
	machine_pause(m);
	machine_pause(m);
	assert_true(machine_paused(m));
	rest_count = counter();
	rest_time = vclock_now(machine_clock(m));
	rest_tsc = host_tsc() + (uint64_t)machine_cpu(m, 0)->tsc_offset;
	usleep(20000);
	machine_resume(m); /* they nest */
	assert_true(machine_paused(m));
	usleep(20000);
	assert_int_equal(counter(), rest_count);
	assert_int_equal(vclock_now(machine_clock(m)), rest_time);
	uint64_t resumed = host_tsc();
	machine_resume(m);
	uint64_t tsc = cpu_read_tsc(machine_cpu(m, 0));
	/* The guest's time-stamp counter stood still: 40 ms are missing, whatever the scheduler did on both sides. */
	assert_true(tsc - rest_tsc < host_tsc() - resumed + host_tsc_hz() / 100);
	wait_for_progress();
	assert_true(vclock_now(machine_clock(m)) > rest_time);
	machine_request_stop(m, 7);
}

static void pause_stops_guest_clock_and_counter(void **state)
{
	struct machine_config config = config_for(&now);
	struct error err;
	write_kernel(busy, sizeof(busy));
	now.machine = machine_create(&config, &err);
	assert_non_null(now.machine);
	loop_post(machine_loop(now.machine), pause_and_resume, NULL);
	assert_int_equal(machine_run(now.machine, &err), 7);
	assert_int_equal(now.last.kind, MACHINE_STOPPED);
}

static unsigned stress_left;

static void stress(void *arg)
{
	struct machine *m = now.machine;
	if (!stress_left--) {
		machine_request_stop(m, 0);
		return;
	}
	machine_pause(m);
	uint32_t before = counter();
	sched_yield();
	assert_int_equal(counter(), before);
	if (stress_left % 7 == 0)
		machine_request_reset(m);
	machine_resume(m);
	loop_post(machine_loop(m), stress, NULL);
}

/* Pauses and resets in quick succession with several vCPUs, the others waiting for their start. */
static void pauses_and_resets_in_quick_succession(void **state)
{
	struct machine_config config = config_for(&now);
	struct error err;
	config.cpus = 4;
	write_kernel(busy, sizeof(busy));
	now.machine = machine_create(&config, &err);
	assert_non_null(now.machine);
	stress_left = 300;
	loop_post(machine_loop(now.machine), stress, NULL);
	assert_int_equal(machine_run(now.machine, &err), 0);
	assert_true(now.resets >= 10);
}

/* --- debugger --- */

static uint64_t stops[3];
static unsigned stop_count;

static void on_stop(void *opaque, unsigned index)
{
	struct machine *m = opaque;
	assert_true(machine_paused(m));
	stops[stop_count++] = cpu_rip(machine_cpu(m, index));
	if (stop_count == 3)
		machine_request_stop(m, 0);
	machine_resume(m);
}

static void single_steps_stop_the_machine(void **state)
{
	struct machine_config config = config_for(&now);
	struct error err;
	write_kernel(busy, sizeof(busy));
	now.machine = machine_create(&config, &err);
	assert_non_null(now.machine);
	machine_set_debugger(now.machine, on_stop, now.machine);
	machine_cpu(now.machine, 0)->debug_step = true;
	assert_int_equal(machine_run(now.machine, &err), 0);
	assert_int_equal(stops[0], LOAD + CODE + 6);
	assert_int_equal(stops[1], LOAD + CODE);
	assert_int_equal(stops[2], LOAD + CODE + 6);
}

/* --- what cannot be made --- */

static void check_refusal(const struct machine_config *config, const char *word)
{
	struct error err = { 0 };
	assert_null(machine_create(config, &err));
	if (!strstr(err.text, word))
		fail_msg("'%s' does not say '%s'", err.text, word);
}

static void refusals_say_why(void **state)
{
	write_kernel(busy, sizeof(busy));
	struct machine_config config = config_for(&now);
	config.kernel = "/nonexistent/kernel";
	check_refusal(&config, "/nonexistent/kernel");
	config = config_for(&now);
	config.initrd = "/nonexistent/initrd";
	check_refusal(&config, "/nonexistent/initrd");
	config.kernel = NULL;
	check_refusal(&config, "--kernel");
	config = config_for(&now);
	config.cpus = 17;
	check_refusal(&config, "17");
	config = config_for(&now);
	config.memory = 12345;
	check_refusal(&config, "MiB");
	config = config_for(&now);
	config.disks[0].path = "/nonexistent/disk";
	config.disk_count = 1;
	check_refusal(&config, "/nonexistent/disk");
	config = config_for(&now);
	config.kernel = NULL;
	config.bios = kernel_path;
	check_refusal(&config, "64 KiB");
}

static void several_machines_in_one_process(void **state)
{
	static const uint8_t code[] = { 0xb0, 3, 0xe6, 0xf4, STOP_HERE };
	struct machine_config config = config_for(&now);
	struct error err;
	write_kernel(code, sizeof(code));
	struct machine *a = machine_create(&config, &err), *b = machine_create(&config, &err);
	assert_non_null(a);
	assert_non_null(b);
	assert_int_equal(machine_run(b, &err), 7);
	assert_int_equal(machine_run(a, &err), 7);
	machine_destroy(a);
	machine_destroy(b);
}

static int make_path(void **state)
{
	int fd = mkstemp(kernel_path);
	return fd < 0 ? -1 : close(fd);
}

static int remove_path(void **state)
{
	return unlink(kernel_path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(soft_off_ends_with_status_0, clear, destroy),
		cmocka_unit_test_setup_teardown(debug_exit_gives_its_status, clear, destroy),
		cmocka_unit_test_setup_teardown(triple_fault_without_reboot_says_where, clear, destroy),
		cmocka_unit_test_setup_teardown(reset_by_port_cf9, clear, destroy),
		cmocka_unit_test_setup_teardown(reset_by_keyboard_controller, clear, destroy),
		cmocka_unit_test_setup_teardown(reset_by_triple_fault, clear, destroy),
		cmocka_unit_test_setup_teardown(pause_stops_guest_clock_and_counter, clear, destroy),
		cmocka_unit_test_setup_teardown(pauses_and_resets_in_quick_succession, clear, destroy),
		cmocka_unit_test_setup_teardown(single_steps_stop_the_machine, clear, destroy),
		cmocka_unit_test_setup(refusals_say_why, clear),
		cmocka_unit_test_setup(several_machines_in_one_process, clear),
	};
	return cmocka_run_group_tests(tests, make_path, remove_path);
}
