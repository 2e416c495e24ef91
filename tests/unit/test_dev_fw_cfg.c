/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev_board.h"

#include "dev/pc/debugport.h"
#include "dev/pc/fw_cfg.h"
#include "mem/memory.h"

static struct board b;
static struct guest_memory memory;
static struct fw_cfg *fw_cfg;
static uint8_t writable[8];
static size_t written_at, written_length;

static void on_written(void *opaque, size_t offset, size_t length)
{
	written_at = offset;
	written_length = length;
}

static int setup(void **state)
{
	board_init(&b);
	assert_int_equal(memory_init(&memory, 4 << 20, NULL), 0);
	const struct fw_cfg_config config = { .lock = &b.lock, .ports = &b.ports, .memory = &memory };
	fw_cfg = fw_cfg_create(&config, NULL);
	assert_non_null(fw_cfg);
	device_reset((struct device *)fw_cfg);
	assert_int_equal(fw_cfg_add_item(fw_cfg, FW_CFG_NB_CPUS, "\x04", 2, NULL), 0);
	assert_int_equal(fw_cfg_add_file(fw_cfg, "etc/zebra", "stripes", 7, NULL), 0);
	assert_int_equal(fw_cfg_add_writable(fw_cfg, "etc/middle", writable, 8, on_written, NULL, NULL), 0);
	assert_int_equal(fw_cfg_add_file(fw_cfg, "bootorder", "hd", 3, NULL), 0);
	return 0;
}

static int teardown(void **state)
{
	board_end(fw_cfg);
	memory_destroy(&memory);
	board_destroy(&b);
	return 0;
}

static void pick(uint16_t key) { io_write(&b.ports, 0x510, key, 2); }

static void read_all(void *to, unsigned length)
{
	for (unsigned i = 0; i < length; i++)
		((uint8_t *)to)[i] = inb(&b, 0x511);
}

static void by_port(void **state)
{
	char text[9] = "";
	pick(0);
	read_all(text, 8);
	assert_memory_equal(text, "QEMU\0\0\0\0", 8); /* zeros beyond the end */
	pick(1);
	assert_int_equal(inb(&b, 0x511), 3);
	pick(FW_CFG_NB_CPUS);
	assert_int_equal(inb(&b, 0x511), 4);
	pick(0x1234);
	assert_int_equal(inb(&b, 0x511), 0);
}

static void directory_is_sorted(void **state)
{
	uint8_t dir[4 + 3 * 64];
	pick(FW_CFG_FILE_DIR);
	read_all(dir, sizeof(dir));
	assert_memory_equal(dir, "\0\0\0\x03", 4);
	assert_memory_equal(dir + 4, "\0\0\0\x03\0\x20\0\0", 8);
	assert_string_equal((char *)dir + 12, "bootorder");
	assert_string_equal((char *)dir + 12 + 64, "etc/middle");
	assert_memory_equal(dir + 4 + 128, "\0\0\0\x07\0\x22\0\0", 8);
	char text[7];
	pick(0x22);
	read_all(text, 7);
	assert_memory_equal(text, "stripes", 7);
}

static void refuses_what_cannot_be(void **state)
{
	char name[60];
	memset(name, 'x', sizeof(name));
	name[59] = 0;
	assert_int_equal(fw_cfg_add_file(fw_cfg, name, "", 0, NULL), -1);
	assert_int_equal(fw_cfg_add_file(fw_cfg, "bootorder", "", 0, NULL), -1);
	assert_int_equal(fw_cfg_add_item(fw_cfg, FW_CFG_NB_CPUS, "", 0, NULL), -1);
	assert_int_equal(fw_cfg_add_item(fw_cfg, FW_CFG_FILE_DIR, "", 0, NULL), -1);
	assert_int_equal(fw_cfg_add_item(fw_cfg, 0x8003, "e820", 4, NULL), 0);
	assert_int_equal(fw_cfg_add_item(fw_cfg, 0x30, "", 0, NULL), -1);
}

static void be(uint8_t *to, uint64_t value, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		to[i] = (uint8_t)(value >> 8 * (bytes - 1 - i));
}

static uint32_t swap(uint32_t value)
{
	return __builtin_bswap32(value);
}

/* Runs a transfer whose descriptor lies at 0x1000; returns the control field afterwards. */
static uint32_t dma(uint32_t control, uint32_t length, uint64_t address)
{
	uint8_t access[16];
	be(access, control, 4);
	be(access + 4, length, 4);
	be(access + 8, address, 8);
	assert_true(memory_write(&memory, 0x1000, access, 16));
	io_write(&b.ports, 0x514, 0, 4);
	io_write(&b.ports, 0x518, swap(0x1000), 4);
	uint32_t after;
	memory_read(&memory, 0x1000, &after, 4);
	return swap(after);
}

static void by_dma(void **state)
{
	char text[16];
	assert_int_equal(io_read(&b.ports, 0x514, 4), 0x554d4551); /* "QEMU CFG" in memory order */
	assert_int_equal(io_read(&b.ports, 0x518, 4), 0x47464320);
	memset(memory.host + 0x2000, 0xee, 16);
	assert_int_equal(dma(0x22u << 16 | 8 | 2, 10, 0x2000), 0);
	memory_read(&memory, 0x2000, text, 12);
	assert_memory_equal(text, "stripes\0\0\0\xee\xee", 12);
	assert_int_equal(dma(0x22u << 16 | 8 | 4, 3, 0), 0); /* skip */
	assert_int_equal(dma(2, 2, 0x2000), 0);
	memory_read(&memory, 0x2000, text, 2);
	assert_memory_equal(text, "ip", 2);
	memory_write(&memory, 0x3000, "abcd", 4);
	assert_int_equal(dma(0x21u << 16 | 8 | 4, 2, 0), 0);
	assert_int_equal(dma(0x10, 4, 0x3000), 0);
	assert_memory_equal(writable, "\0\0abcd\0\0", 8);
	assert_int_equal(written_at, 2);
	assert_int_equal(written_length, 4);
	assert_int_equal(dma(0x10, 4, 0x3000), 1); /* beyond its end */
	assert_int_equal(dma(0x22u << 16 | 8 | 0x10, 4, 0x3000), 1); /* not writable */
	assert_int_equal(dma(0x22u << 16 | 8 | 2, 4, 0x80000000), 1); /* no memory there */
	assert_int_equal(dma(0x22u << 16 | 8 | 2, 0xffffffff, 0x300000), 1); /* out of it */
	io_write(&b.ports, 0x514, 0xffffffff, 4);
	io_write(&b.ports, 0x518, 0xffffffff, 4); /* a descriptor nowhere */
}

static char output[8];
static size_t output_length;
static unsigned code;

static void on_output(void *opaque, const uint8_t *data, size_t length)
{
	memcpy(output + output_length, data, length);
	output_length += length;
}

static void on_exit_code(void *opaque, unsigned value)
{
	code = value;
}

static void debug_ports(void **state)
{
	const struct debugport_config config = {
		.lock = &b.lock, .ports = &b.ports, .output = { on_output, NULL }, .exit_code = on_exit_code,
	};
	struct debugport *port = debugport_create(&config, NULL);
	assert_non_null(port);
	device_reset((struct device *)port);
	outb(&b, 0xe9, 'a');
	outb(&b, 0x402, 'b');
	assert_memory_equal(output, "ab", 2);
	assert_int_equal(inb(&b, 0x402), 0xe9);
	outb(&b, 0x80, 0x42);
	assert_int_equal(inb(&b, 0x80), 0x42);
	outb(&b, 0xf4, 0x10);
	assert_int_equal(code, 0x21);
	io_write(&b.ports, 0xf4, 0, 4);
	assert_int_equal(code, 1);
	board_end(port);
	assert_int_equal(inb(&b, 0x402), 0xff);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(by_port, setup, teardown),
		cmocka_unit_test_setup_teardown(directory_is_sorted, setup, teardown),
		cmocka_unit_test_setup_teardown(refuses_what_cannot_be, setup, teardown),
		cmocka_unit_test_setup_teardown(by_dma, setup, teardown),
		cmocka_unit_test_setup_teardown(debug_ports, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
