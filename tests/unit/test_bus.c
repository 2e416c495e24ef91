/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <unistd.h>

#include "base/util.h"
#include "bus/clock.h"
#include "bus/space.h"

static uint64_t stepped_now;

static uint64_t stepped(void *opaque)
{
	return stepped_now;
}

static unsigned fired[3];

static void on_fire(void *opaque)
{
	++*(unsigned *)opaque;
}

static void timers_fire_in_order_and_cancel(void **state)
{
	struct vclock clock;
	struct timer t[3];
	const struct vclock_source source = { .now = stepped };
	vclock_init(&clock, &source);
	for (int i = 0; i < 3; i++) {
		timer_init(&t[i], &clock, NULL, on_fire, &fired[i]);
		timer_arm(&t[i], 100u * (3u - (unsigned)i));
	}
	assert_int_equal(vclock_run(&clock), UINT64_MAX); /* it stands still */
	vclock_start(&clock);
	assert_int_equal(vclock_run(&clock), 100);
	stepped_now = 150;
	assert_int_equal(vclock_run(&clock), 50);
	assert_int_equal(fired[2], 1);
	timer_cancel(&t[1]);
	stepped_now = 1000;
	assert_int_equal(vclock_run(&clock), UINT64_MAX);
	assert_int_equal(fired[0], 1);
	assert_int_equal(fired[1], 0);
	vclock_stop(&clock);
	stepped_now = 5000;
	assert_int_equal(vclock_now(&clock), 1000);
	vclock_destroy(&clock);
}

static void rearm(void *opaque)
{
	timer_arm(opaque, 0);
}

/* A timer that is due again at once must not keep its thread from other work. */
static void run_ends_when_a_timer_is_always_due(void **state)
{
	struct vclock clock;
	struct timer t;
	const struct vclock_source source = { .now = stepped };
	vclock_init(&clock, &source);
	timer_init(&t, &clock, NULL, rearm, &t);
	timer_arm(&t, 0);
	vclock_start(&clock);
	assert_int_equal(vclock_run(&clock), 0);
	timer_cancel(&t);
	vclock_destroy(&clock);
}

static uint8_t registers[8];

static uint64_t reg_read(void *opaque, uint64_t offset, unsigned size)
{
	return load_le(registers + offset, size);
}

static void reg_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	store_le(registers + offset, value, size);
}

static void space_splits_and_refuses_overlap(void **state)
{
	static const struct io_ops ops = { reg_read, reg_write, 1 };
	struct io_space space;
	struct io_region a = { .name = "a", .ops = &ops, .base = 0x10, .size = 8 };
	struct io_region b = { .name = "b", .ops = &ops, .base = 0x17, .size = 8 };
	struct error err;
	assert_int_equal(io_space_init(&space, 0x10000, &err), 0);
	assert_int_equal(io_space_map(&space, &a, &err), 0);
	assert_int_equal(io_space_map(&space, &b, &err), -1);
	io_write(&space, 0x12, 0x11223344, 4);
	assert_int_equal(registers[2], 0x44);
	assert_int_equal(registers[5], 0x11);
	assert_int_equal(io_read(&space, 0x12, 2), 0x3344);
	assert_int_equal(io_read(&space, 0x17, 2), 0xff00 | registers[7]);
	assert_int_equal(io_read(&space, 0x100, 4), 0xffffffff);
	io_space_unmap(&space, &a);
	assert_int_equal(io_space_map(&space, &b, &err), 0);
	io_space_destroy(&space);
}

/* Others look for what stays where it is while regions come and go around it. */
enum { COMERS = 100, ROUNDS = 300, FIXED = 0x8000 };

static uint64_t fixed_read(void *opaque, uint64_t offset, unsigned size)
{
	return 0x5a;
}

static const struct io_ops fixed_ops = { .read = fixed_read, .max_size = 1 };
static struct io_space busy;
static _Atomic bool done;

static void *look_for_fixed(void *wrong)
{
	while (!done)
		*(uint64_t *)wrong += io_read(&busy, FIXED, 1) != 0x5a || io_read(&busy, FIXED + 1, 1) != 0xff;
	return NULL;
}

static void regions_move_under_accesses(void **state)
{
	static struct io_region fixed = { .name = "fixed", .ops = &fixed_ops, .base = FIXED, .size = 1 }, comer[COMERS];
	struct error err;
	pthread_t looker;
	uint64_t wrong = 0;
	assert_int_equal(io_space_init(&busy, 0x10000, &err), 0);
	assert_int_equal(io_space_map(&busy, &fixed, &err), 0);
	assert_int_equal(pthread_create(&looker, NULL, look_for_fixed, &wrong), 0);
	for (unsigned round = 0; round < ROUNDS; round++) {
		for (unsigned i = 0; i < COMERS; i++) {
			comer[i] = (struct io_region){ .name = "comer", .ops = &fixed_ops, .base = FIXED - 8 * (COMERS / 2) + 8 * i + 4, .size = 4 };
			assert_int_equal(io_space_map(&busy, &comer[i], &err), 0);
		}
		assert_int_equal(io_read(&busy, comer[COMERS - 1].base + 3, 1), 0x5a);
		for (unsigned i = 0; i < COMERS; i++)
			io_space_unmap(&busy, &comer[i]);
		assert_int_equal(io_read(&busy, comer[COMERS - 1].base + 3, 1), 0xff);
	}
	done = true;
	pthread_join(looker, NULL);
	assert_int_equal(wrong, 0);
	io_space_destroy(&busy);
}

enum { TAKERS = 4, TAKES = 20000 };
static struct lock lock;
static unsigned taken;

/* Long enough now and then that the others go to sleep. */
static void *take(void *opaque)
{
	for (unsigned i = 0; i < TAKES; i++) {
		lock_take(&lock);
		lock_take(&lock);
		unsigned was = taken;
		if (i % 2000 == 0)
			usleep(500);
		lock_release(&lock);
		taken = was + 1;
		lock_release(&lock);
	}
	return NULL;
}

static void locks_exclude_and_recur(void **state)
{
	pthread_t taker[TAKERS];
	lock_init(&lock);
	for (unsigned i = 0; i < TAKERS; i++)
		assert_int_equal(pthread_create(&taker[i], NULL, take, NULL), 0);
	for (unsigned i = 0; i < TAKERS; i++)
		pthread_join(taker[i], NULL);
	assert_int_equal(taken, TAKERS * TAKES);
	assert_null(lock.owner);
	assert_int_equal(lock.sleepers, 0);
	lock_destroy(&lock);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(timers_fire_in_order_and_cancel),
		cmocka_unit_test(run_ends_when_a_timer_is_always_due),
		cmocka_unit_test(space_splits_and_refuses_overlap),
		cmocka_unit_test(regions_move_under_accesses),
		cmocka_unit_test(locks_exclude_and_recur),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
