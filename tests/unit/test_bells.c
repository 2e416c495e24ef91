/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Doorbells under an engine that can have them counted: a table of who rings what takes the place of the kernel's. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <unistd.h>

#include "base/util.h"
#include "vm/bells.h"

#define BELLS 3u

static struct { uint64_t gpa; int fd; } table[16];
static unsigned room; /* how many the engine will take */

static bool ring_by(struct cpu *cpu, uint64_t gpa, int eventfd, bool on)
{
	for (unsigned i = 0; i < ARRAY_SIZE(table); i++) {
		if (on ? table[i].gpa == gpa : table[i].gpa == gpa && table[i].fd == eventfd) {
			assert_false(on); /* a place has one bell */
			table[i].gpa = 0;
			return true;
		}
	}
	if (!on || !room)
		return false;
	room--;
	for (unsigned i = 0; i < ARRAY_SIZE(table); i++) {
		if (!table[i].gpa) {
			table[i].gpa = gpa;
			table[i].fd = eventfd;
			return true;
		}
	}
	return false;
}

static const struct engine_type engine = { .name = "counting", .ring_by = ring_by }, plain = { .name = "plain" };

static unsigned held(void)
{
	unsigned count = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(table); i++)
		count += table[i].gpa != 0;
	return count;
}

/* As the kernel does. False: nobody would hear it but by an exit. */
static bool write_to(uint64_t gpa)
{
	const uint64_t one = 1;
	for (unsigned i = 0; i < ARRAY_SIZE(table); i++)
		if (table[i].gpa == gpa)
			return write(table[i].fd, &one, sizeof(one)) == sizeof(one);
	return false;
}

static unsigned rings[2][BELLS], writes;

static void ring(void *opaque, unsigned index)
{
	((unsigned *)opaque)[index]++;
}

static void region_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	writes++;
}

static const struct io_ops ops = { .write = region_write };

struct rig {
	struct loop *loop;
	struct io_space space;
	struct bells *bells;
	struct io_region region[2];
};

static int set_up(void **state)
{
	static struct rig r;
	struct error err;
	memset(&r, 0, sizeof(r));
	memset(table, 0, sizeof(table));
	memset(rings, 0, sizeof(rings));
	writes = 0;
	room = UINT32_MAX;
	*state = &r;
	r.loop = loop_create(&err);
	if (!r.loop || io_space_init(&r.space, 1 << 20, &err) < 0)
		return -1;
	r.bells = bells_create(r.loop, &r.space, &err);
	for (unsigned i = 0; i < 2; i++)
		r.region[i] = (struct io_region){
			.name = "device", .ops = &ops, .base = 0x1000 + 0x4000 * i, .size = 0x1000,
			.bells = { .offset = 0x800, .stride = 4, .count = BELLS, .ring = ring, .opaque = rings[i] },
		};
	return r.bells ? 0 : -1;
}

static int tear_down(void **state)
{
	struct rig *r = *state;
	bells_stop(r->bells);
	loop_drain(r->loop);
	bells_destroy(r->bells);
	loop_destroy(r->loop);
	io_space_destroy(&r->space);
	return held();
}

static void map(struct rig *r, unsigned i, uint64_t base)
{
	struct error err;
	io_space_unmap(&r->space, &r->region[i]);
	r->region[i].base = base;
	assert_int_equal(io_space_map(&r->space, &r->region[i], &err), 0);
}

static void round_of_loop(struct rig *r)
{
	struct error err;
	assert_int_equal(loop_once(r->loop, 0, &err), 0);
}

static void rung_by_the_loop(void **state)
{
	struct rig *r = *state;
	map(r, 0, 0x1000);
	assert_int_equal(held(), 0); /* nobody counts yet */
	bells_start(r->bells, &engine, NULL);
	assert_int_equal(held(), BELLS);
	map(r, 1, 0x5000);
	assert_int_equal(held(), 2 * BELLS);
	assert_true(write_to(0x1804)); /* before the loop knows of it */
	assert_int_equal(rings[0][1], 0);
	round_of_loop(r);
	assert_int_equal(rings[0][1], 1);
	for (unsigned i = 0; i < 3; i++)
		assert_true(write_to(0x5808));
	round_of_loop(r);
	assert_int_equal(rings[1][2], 1); /* of several one is heard, and none again */
	round_of_loop(r);
	assert_int_equal(rings[1][2], 1);
	assert_true(write_to(0x5808));
	round_of_loop(r);
	assert_int_equal(rings[1][2], 2);
	assert_int_equal(r->region[1].rings, 2);
	assert_int_equal(rings[0][1], 1);
	io_write(&r->space, 0x5808, 0, 2); /* others than the guest's processors write as ever */
	assert_int_equal(writes, 1);
}

static void move_with_the_region(void **state)
{
	struct rig *r = *state;
	bells_start(r->bells, &engine, NULL);
	map(r, 0, 0x1000);
	map(r, 1, 0x5000);
	round_of_loop(r);
	assert_true(write_to(0x1800)); /* and the loop comes too late to see it there */
	map(r, 0, 0x9000);
	assert_int_equal(rings[0][0], 1);
	assert_false(write_to(0x1800));
	assert_int_equal(held(), 2 * BELLS);
	round_of_loop(r);
	unsigned before = rings[0][0];
	assert_true(write_to(0x9800));
	round_of_loop(r);
	assert_int_equal(rings[0][0], before + 1);
	io_space_unmap(&r->space, &r->region[1]);
	assert_int_equal(held(), BELLS);
	unsigned last[BELLS];
	memcpy(last, rings[1], sizeof(last));
	round_of_loop(r);
	assert_memory_equal(rings[1], last, sizeof(last)); /* none rings after that */
}

static void change_of_engine(void **state)
{
	struct rig *r = *state;
	map(r, 0, 0x1000);
	bells_start(r->bells, &engine, NULL);
	assert_true(write_to(0x1808));
	bells_stop(r->bells);
	assert_int_equal(rings[0][2], 1); /* was not lost */
	assert_int_equal(held(), 0);
	bells_start(r->bells, &plain, NULL);
	map(r, 0, 0x2000);
	assert_int_equal(held(), 0);
	io_write(&r->space, 0x2808, 0, 2);
	assert_int_equal(writes, 1);
	bells_stop(r->bells);
	bells_start(r->bells, &engine, NULL);
	assert_true(write_to(0x2808));
	round_of_loop(r);
	assert_int_equal(rings[0][2], 2);
}

/* What the engine has no room for comes as an access. */
static void refusal(void **state)
{
	struct rig *r = *state;
	room = 2;
	bells_start(r->bells, &engine, NULL);
	map(r, 0, 0x1000);
	assert_int_equal(held(), 2);
	assert_true(write_to(0x1804));
	assert_false(write_to(0x1808));
	round_of_loop(r);
	assert_int_equal(rings[0][1], 1);
	room = 3;
	map(r, 0, 0x2000);
	assert_int_equal(held(), 3);
	assert_true(write_to(0x2808));
	round_of_loop(r);
	assert_int_equal(rings[0][2], 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(rung_by_the_loop, set_up, tear_down),
		cmocka_unit_test_setup_teardown(move_with_the_region, set_up, tear_down),
		cmocka_unit_test_setup_teardown(change_of_engine, set_up, tear_down),
		cmocka_unit_test_setup_teardown(refusal, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
