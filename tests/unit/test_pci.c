/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "virtio_rig.h"

#include "dev/pci/i440fx.h"
#include "dev/pci/msi.h"
#include "dev/pci/piix3.h"
#include "dev/pci/piix4_pm.h"

/* A function with all kinds of BARs, MSI and MSI-X. */
struct thing {
	struct pci_function function;
	uint8_t bytes[256];
};

static uint64_t thing_read(void *opaque, uint64_t offset, unsigned size)
{
	struct thing *thing = opaque;
	return load_le(thing->bytes + offset, size);
}

static void thing_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct thing *thing = opaque;
	store_le(thing->bytes + offset, value, size);
}

static const struct io_ops thing_ops = { thing_read, thing_write, 4 };

static uint64_t table_read(void *opaque, uint64_t offset, unsigned size)
{
	struct thing *thing = opaque;
	uint64_t value;
	return pci_msix_read(&thing->function, offset, size, &value) ? value : UINT64_MAX;
}

static void table_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct thing *thing = opaque;
	pci_msix_write(&thing->function, offset, value, size);
}

static const struct io_ops table_ops = { table_read, table_write, 8 };

#define THING PCI_DEVFN(3, 0)

static void thing_init(struct thing *thing, struct rig *rig, uint8_t devfn, uint8_t pin)
{
	struct error err = { 0 };
	const struct pci_function_config config = {
		.bus = rig->bus, .name = "thing", .devfn = devfn, .vendor = 0x1234, .device = 0x5678,
		.class_code = 0x123456, .revision = 0x9a, .interrupt_pin = pin, .opaque = thing,
	};
	*thing = (struct thing){ 0 };
	assert_int_equal(pci_function_init(&thing->function, &config, &err), 0);
	assert_int_equal(pci_function_add_bar(&thing->function, 0, PCI_BAR_IO, 64, &thing_ops, thing, &err), 0);
	assert_int_equal(pci_function_add_bar(&thing->function, 1, PCI_BAR_MEMORY32, 256, &thing_ops, thing, &err), 0);
	assert_int_equal(pci_function_add_bar(&thing->function, 2, PCI_BAR_MEMORY64, 4096, &table_ops, thing, &err), 0);
	assert_int_equal(pci_msi_add(&thing->function, 4, &err), 0);
	assert_int_equal(pci_msix_add(&thing->function, 3, 2, 0, 0x800, &err), 0);
	pci_function_reset(&thing->function);
}

static void identity_and_absent_functions(void **state)
{
	struct rig rig;
	struct thing thing;
	rig_init(&rig);
	thing_init(&thing, &rig, THING, 1);
	assert_int_equal(cfg_read(&rig, THING, 0, 4), 0x56781234);
	assert_int_equal(cfg_read(&rig, THING, 2, 2), 0x5678);
	assert_int_equal(cfg_read(&rig, THING, 1, 1), 0x12);
	assert_int_equal(cfg_read(&rig, THING, 8, 4), 0x1234569a);
	assert_int_equal(cfg_read(&rig, PCI_DEVFN(5, 0), 0, 4), 0xffffffff);
	assert_int_equal(cfg_read(&rig, PCI_DEVFN(5, 0), 0, 1), 0xff);
	cfg_write(&rig, THING, 0, 0, 4);
	assert_int_equal(cfg_read(&rig, THING, 0, 4), 0x56781234);
	/* Not enabled, and another bus: nobody answers. */
	io_write(&rig.io, 0xcf8, (uint32_t)THING << 8, 4);
	assert_int_equal(io_read(&rig.io, 0xcfc, 4), 0xffffffff);
	io_write(&rig.io, 0xcf8, 0x80010000u | (uint32_t)THING << 8, 4);
	assert_int_equal(io_read(&rig.io, 0xcfc, 4), 0xffffffff);
	/* A byte at 0xcf8 is not CONFADD. */
	io_write(&rig.io, 0xcf8, 0x80001804, 4);
	io_write(&rig.io, 0xcf8, 0, 1);
	assert_int_equal(io_read(&rig.io, 0xcf8, 4), 0x80001804);
	/* The devfn is taken. */
	struct pci_function twin;
	struct error err = { 0 };
	const struct pci_function_config config = { .bus = rig.bus, .name = "twin", .devfn = THING };
	assert_int_equal(pci_function_init(&twin, &config, &err), -1);
	assert_non_null(strstr(err.text, "thing"));
	pci_function_destroy(&thing.function);
	rig_destroy(&rig);
}

static void bars_are_sized_moved_and_gated(void **state)
{
	struct rig rig;
	struct thing thing;
	rig_init(&rig);
	thing_init(&thing, &rig, THING, 1);
	for (unsigned n = 0; n < 4; n++)
		cfg_write(&rig, THING, PCI_BAR(n), 0xffffffff, 4);
	assert_int_equal(cfg_read(&rig, THING, PCI_BAR(0), 4), 0xffffffc1);
	assert_int_equal(cfg_read(&rig, THING, PCI_BAR(1), 4), 0xffffff00);
	assert_int_equal(cfg_read(&rig, THING, PCI_BAR(2), 4), 0xfffff004);
	assert_int_equal(cfg_read(&rig, THING, PCI_BAR(3), 4), 0xffffffff);
	assert_int_equal(cfg_read(&rig, THING, PCI_BAR(4), 4), 0);
	cfg_write(&rig, THING, PCI_BAR(0), 0xc000, 4);
	cfg_write(&rig, THING, PCI_BAR(1), 0xe0000000, 4);
	cfg_write(&rig, THING, PCI_BAR(2), 0x00001000, 4);
	cfg_write(&rig, THING, PCI_BAR(3), 0x10, 4);
	assert_false(io_space_claimed(&rig.io, 0xc000));
	cfg_write(&rig, THING, PCI_COMMAND, PCI_COMMAND_IO, 2);
	assert_true(io_space_claimed(&rig.io, 0xc000));
	assert_false(io_space_claimed(&rig.mmio, 0xe0000000));
	io_write(&rig.io, 0xc004, 0xdeadbeef, 4);
	cfg_write(&rig, THING, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	assert_false(io_space_claimed(&rig.io, 0xc000));
	assert_int_equal(io_read(&rig.mmio, 0xe0000004, 4), 0xdeadbeef);
	assert_int_equal(io_read(&rig.mmio, 0x1000001000 + 12, 4), 1); /* masked vector */
	cfg_write(&rig, THING, PCI_BAR(1), 0xe0010000, 4);
	assert_false(io_space_claimed(&rig.mmio, 0xe0000000));
	assert_int_equal(io_read(&rig.mmio, 0xe0010004, 4), 0xdeadbeef);
	/* Writing a byte of a BAR. */
	cfg_write(&rig, THING, PCI_BAR(1) + 1, 0x02, 1);
	assert_int_equal(io_read(&rig.mmio, 0xe0010204, 4), 0xdeadbeef);
	/* Learning the size with decoding on must not put the BAR over what lies below 4 GiB. */
	cfg_write(&rig, THING, PCI_BAR(1), 0xffffffff, 4);
	assert_false(io_space_claimed(&rig.mmio, 0xffffff00));
	cfg_write(&rig, THING, PCI_BAR(1), 0xe0010200, 4);
	assert_true(io_space_claimed(&rig.mmio, 0xe0010200));
	pci_function_destroy(&thing.function);
	assert_false(io_space_claimed(&rig.mmio, 0xe0010200));
	rig_destroy(&rig);
}

static void covered_bar_comes_back(void **state)
{
	struct rig rig;
	struct thing a, b;
	rig_init(&rig);
	thing_init(&a, &rig, THING, 1);
	thing_init(&b, &rig, PCI_DEVFN(3, 1), 2);
	a.bytes[0] = 0xaa;
	b.bytes[0] = 0xbb;
	cfg_write(&rig, THING, PCI_BAR(1), 0xe0000000, 4);
	cfg_write(&rig, THING, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	cfg_write(&rig, PCI_DEVFN(3, 1), PCI_BAR(1), 0xe0000000, 4);
	cfg_write(&rig, PCI_DEVFN(3, 1), PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	assert_int_equal(io_read(&rig.mmio, 0xe0000000, 1), 0xaa);
	cfg_write(&rig, THING, PCI_BAR(1), 0xe0100000, 4);
	assert_int_equal(io_read(&rig.mmio, 0xe0000000, 1), 0xbb);
	assert_int_equal(io_read(&rig.mmio, 0xe0100000, 1), 0xaa);
	pci_function_destroy(&a.function);
	pci_function_destroy(&b.function);
	rig_destroy(&rig);
}

static void intx_is_shared_and_disabled(void **state)
{
	struct rig rig;
	struct thing a, b;
	rig_init(&rig);
	thing_init(&a, &rig, PCI_DEVFN(3, 0), 1); /* (3 + 0 + 3) & 3 = 2: PIRQC */
	thing_init(&b, &rig, PCI_DEVFN(2, 0), 2); /* (2 + 1 + 3) & 3 = 2 */
	pci_intx_set(&a.function, true);
	assert_int_equal(rig.pirq[2], 1);
	assert_int_equal(cfg_read(&rig, PCI_DEVFN(3, 0), PCI_STATUS, 2) & PCI_STATUS_INTERRUPT, PCI_STATUS_INTERRUPT);
	pci_intx_set(&b.function, true);
	pci_intx_set(&a.function, false);
	assert_int_equal(rig.pirq[2], 1);
	cfg_write(&rig, PCI_DEVFN(2, 0), PCI_COMMAND, PCI_COMMAND_INTX_DISABLE, 2);
	assert_int_equal(rig.pirq[2], 0);
	assert_int_equal(cfg_read(&rig, PCI_DEVFN(2, 0), PCI_STATUS, 2) & PCI_STATUS_INTERRUPT, PCI_STATUS_INTERRUPT);
	cfg_write(&rig, PCI_DEVFN(2, 0), PCI_COMMAND, 0, 2);
	assert_int_equal(rig.pirq[2], 1);
	pci_function_reset(&b.function);
	assert_int_equal(rig.pirq[2], 0);
	pci_function_destroy(&a.function);
	pci_function_destroy(&b.function);
	rig_destroy(&rig);
}

static void msi_masks_and_pends(void **state)
{
	struct rig rig;
	struct thing thing;
	rig_init(&rig);
	thing_init(&thing, &rig, THING, 1);
	unsigned cap = cfg_find_capability(&rig, THING, 5, -1);
	assert_int_not_equal(cap, 0);
	assert_int_equal(cfg_read(&rig, THING, cap + 2, 2), 0x184);
	cfg_write(&rig, THING, PCI_COMMAND, PCI_COMMAND_MASTER, 2);
	cfg_write(&rig, THING, cap + 4, 0xfee01000, 4);
	cfg_write(&rig, THING, cap + 8, 0, 4);
	cfg_write(&rig, THING, cap + 12, 0x4051, 2);
	pci_msi_notify(&thing.function, 1);
	assert_int_equal(rig.msi_count, 0); /* not enabled */
	cfg_write(&rig, THING, cap + 2, 0x1 | 2 << 4, 2);
	pci_msi_notify(&thing.function, 2);
	assert_int_equal(rig.msi_count, 1);
	assert_int_equal(rig.msi_address, 0xfee01000);
	assert_int_equal(rig.msi_data, 0x4052);
	cfg_write(&rig, THING, cap + 16, 0x4, 4);
	pci_msi_notify(&thing.function, 2);
	assert_int_equal(rig.msi_count, 1);
	assert_int_equal(cfg_read(&rig, THING, cap + 20, 4), 4);
	cfg_write(&rig, THING, cap + 16, 0, 4);
	assert_int_equal(rig.msi_count, 2);
	assert_int_equal(cfg_read(&rig, THING, cap + 20, 4), 0);
	pci_function_destroy(&thing.function);
	rig_destroy(&rig);
}

static void msix_masks_and_pends(void **state)
{
	struct rig rig;
	struct thing thing;
	const uint64_t table = 0xe0000000;
	rig_init(&rig);
	thing_init(&thing, &rig, THING, 1);
	unsigned cap = cfg_find_capability(&rig, THING, 0x11, -1);
	assert_int_not_equal(cap, 0);
	assert_int_equal(cfg_read(&rig, THING, cap + 2, 2), 2);
	assert_int_equal(cfg_read(&rig, THING, cap + 4, 4), 2);
	assert_int_equal(cfg_read(&rig, THING, cap + 8, 4), 0x802);
	cfg_write(&rig, THING, PCI_BAR(2), (uint32_t)table, 4);
	cfg_write(&rig, THING, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
	cfg_write(&rig, THING, cap + 2, 0x8000, 2);
	io_write(&rig.mmio, table + 16, 0xfee02003, 4);
	io_write(&rig.mmio, table + 24, 0x1234567800000061ull & 0xffffffff, 4);
	pci_msix_notify(&thing.function, 1);
	assert_int_equal(rig.msi_count, 0); /* vectors start masked */
	assert_int_equal(io_read(&rig.mmio, table + 0x800, 8), 2);
	io_write(&rig.mmio, table + 28, 0, 4);
	assert_int_equal(rig.msi_count, 1);
	assert_int_equal(rig.msi_address, 0xfee02000);
	assert_int_equal(rig.msi_data, 0x61);
	assert_int_equal(io_read(&rig.mmio, table + 0x800, 4), 0);
	cfg_write(&rig, THING, cap + 2, 0xc000, 2);
	pci_msix_notify(&thing.function, 1);
	assert_int_equal(rig.msi_count, 1);
	cfg_write(&rig, THING, cap + 2, 0x8000, 2);
	assert_int_equal(rig.msi_count, 2);
	/* Without bus mastering a message waits. */
	cfg_write(&rig, THING, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	pci_msix_notify(&thing.function, 1);
	assert_int_equal(rig.msi_count, 2);
	cfg_write(&rig, THING, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
	assert_int_equal(rig.msi_count, 3);
	/* A qword writes data and control at once. */
	io_write(&rig.mmio, table + 8, 0x0000000000000077ull, 8);
	pci_msix_notify(&thing.function, 0);
	assert_int_equal(rig.msi_data, 0x77);
	pci_msix_notify(&thing.function, 3);
	assert_int_equal(rig.msi_count, 4);
	pci_function_destroy(&thing.function);
	rig_destroy(&rig);
}

static int isa_level[16];

static void isa_set(void *opaque, unsigned pin, int level)
{
	isa_level[pin] = level;
}

static unsigned resets;

static void on_reset(void *opaque)
{
	resets++;
}

static struct piix3 *make_piix3(struct rig *rig)
{
	struct error err = { 0 };
	struct piix3_config config = { .bus = rig->bus, .reset_request = on_reset };
	for (unsigned i = 0; i < 16; i++)
		config.irq[i] = (struct irq_line){ isa_set, NULL, i };
	struct piix3 *bridge = piix3_create(&config, &err);
	assert_non_null(bridge);
	device_reset((struct device *)bridge);
	memset(isa_level, 0, sizeof(isa_level));
	return bridge;
}

static void pirq_routing(void **state)
{
	struct rig rig;
	struct thing thing;
	rig_init(&rig);
	struct piix3 *bridge = make_piix3(&rig);
	const uint8_t isa = PCI_DEVFN(1, 0);
	assert_int_equal(cfg_read(&rig, isa, 0, 4), 0x70008086);
	assert_int_equal(cfg_read(&rig, isa, PCI_HEADER_TYPE, 1), 0x80);
	assert_int_equal(cfg_read(&rig, isa, 0x60, 4), 0x0b0b0a0a);
	thing_init(&thing, &rig, THING, 1); /* PIRQC */
	pci_intx_set(&thing.function, true);
	assert_int_equal(isa_level[11], 1);
	cfg_write(&rig, isa, 0x62, 5, 1);
	assert_int_equal(isa_level[11], 0);
	assert_int_equal(isa_level[5], 1);
	assert_int_equal(piix3_route(bridge, 2), 5);
	cfg_write(&rig, isa, 0x62, 0x80, 1);
	assert_int_equal(isa_level[5], 0);
	cfg_write(&rig, isa, 0x62, 2, 1); /* the cascade cannot be had */
	assert_int_equal(piix3_route(bridge, 2), -1);
	cfg_write(&rig, isa, 0x62, 9, 1);
	assert_int_equal(isa_level[9], 1);
	device_reset((struct device *)bridge);
	assert_int_equal(isa_level[9], 0);
	pci_intx_set(&thing.function, false);
	pci_function_destroy(&thing.function);
	/* 0xcf9 */
	io_write(&rig.io, 0xcf9, 0x02, 1);
	assert_int_equal(resets, 0);
	assert_int_equal(io_read(&rig.io, 0xcf9, 1), 0x02);
	io_write(&rig.io, 0xcf9, 0x06, 1);
	assert_int_equal(resets, 1);
	((struct device *)bridge)->type->destroy(bridge);
	rig_destroy(&rig);
}

static bool writable_at(struct rig *rig, uint64_t gpa)
{
	bool writable = false;
	assert_non_null(memory_page(&rig->memory, gpa, &writable));
	return writable;
}

static void pam_opens_shadow_memory(void **state)
{
	struct rig rig;
	struct error err = { 0 };
	rig_init(&rig);
	const struct i440fx_config config = { rig.bus, &rig.memory };
	struct i440fx *bridge = i440fx_create(&config, &err);
	assert_non_null(bridge);
	device_reset((struct device *)bridge);
	unsigned slots = rig.memory.slot_count;
	assert_int_equal(cfg_read(&rig, 0, 0, 4), 0x12378086);
	assert_false(writable_at(&rig, 0xf0000));
	cfg_write(&rig, 0, 0x59, 0x30, 1);
	assert_true(writable_at(&rig, 0xf0000));
	assert_true(writable_at(&rig, 0xfffff));
	assert_false(writable_at(&rig, 0xeffff));
	cfg_write(&rig, 0, 0x5a, 0x1102, 2); /* c0000 */
	cfg_write(&rig, 0, 0x5c, 0x1332, 2); /* d0000, d4000, d8000 */
	assert_true(writable_at(&rig, 0xc0000));
	assert_false(writable_at(&rig, 0xc4000));
	assert_false(writable_at(&rig, 0xc8000));
	assert_true(writable_at(&rig, 0xd0000));
	assert_true(writable_at(&rig, 0xd4000));
	assert_true(writable_at(&rig, 0xd8000));
	assert_false(writable_at(&rig, 0xdc000));
	/* DMA over segment borders, open and closed. */
	const struct dma dma = { &rig.memory };
	assert_non_null(dma_map(&dma, 0xd3ff0, 0x20, true));
	assert_non_null(dma_map(&dma, 0xdbff0, 0x20, false));
	assert_null(dma_map(&dma, 0xdbff0, 0x20, true));
	assert_null(dma_map(&dma, 0xbfff0, 0x20, false));
	assert_null(dma_map(&dma, UINT64_MAX - 7, 16, false));
	assert_null(dma_map(&dma, RIG_RAM - 8, 16, false));
	device_reset((struct device *)bridge);
	assert_false(writable_at(&rig, 0xd0000));
	assert_int_equal(rig.memory.slot_count, slots);
	((struct device *)bridge)->type->destroy(bridge);
	rig_destroy(&rig);
}

static int pm_enabled;
static uint16_t pm_base;

static void pm_map(void *opaque, bool enabled, uint16_t base)
{
	pm_enabled = enabled;
	pm_base = base;
}

static void pm_block_moves(void **state)
{
	struct rig rig;
	struct error err = { 0 };
	rig_init(&rig);
	const struct piix4_pm_config config = { .bus = rig.bus, .map = pm_map };
	struct piix4_pm *pm = piix4_pm_create(&config, &err);
	const uint8_t devfn = PCI_DEVFN(1, 3);
	assert_non_null(pm);
	device_reset((struct device *)pm);
	assert_int_equal(pm_enabled, 0);
	assert_int_equal(cfg_read(&rig, devfn, 0, 4), 0x71138086);
	assert_int_equal(cfg_read(&rig, devfn, 0x58, 4), 0x02000000);
	cfg_write(&rig, devfn, 0x40, 0x601, 4);
	assert_int_equal(pm_enabled, 0);
	cfg_write(&rig, devfn, 0x80, 1, 1);
	assert_int_equal(pm_enabled, 1);
	assert_int_equal(pm_base, 0x600);
	assert_int_equal(cfg_read(&rig, devfn, 0x40, 4), 0x601);
	device_reset((struct device *)pm);
	assert_int_equal(pm_enabled, 0);
	((struct device *)pm)->type->destroy(pm);
	rig_destroy(&rig);
}

static uint32_t random_state = 12345;

static uint32_t random32(void)
{
	random_state = random_state * 1664525u + 1013904223u;
	return random_state ^ random_state >> 16;
}

static void random_configuration_writes(void **state)
{
	struct rig rig;
	struct thing a, b;
	struct error err = { 0 };
	rig_init(&rig);
	struct piix3 *isa = make_piix3(&rig);
	const struct i440fx_config config = { rig.bus, &rig.memory };
	struct i440fx *host = i440fx_create(&config, &err);
	thing_init(&a, &rig, THING, 1);
	thing_init(&b, &rig, PCI_DEVFN(2, 0), 4);
	static const uint8_t targets[] = { 0, PCI_DEVFN(1, 0), PCI_DEVFN(2, 0), THING };
	for (unsigned i = 0; i < 200000; i++) {
		unsigned size = 1u << random32() % 3;
		uint8_t devfn = targets[random32() % ARRAY_SIZE(targets)];
		cfg_write(&rig, devfn, random32() % 256 & ~(size - 1), random32(), size);
		if (i % 16 == 0)
			pci_msix_notify(&a.function, random32() % 4);
		if (i % 16 == 8)
			pci_intx_set(&b.function, random32() & 1);
	}
	assert_int_equal(cfg_read(&rig, THING, 0, 4), 0x56781234);
	assert_int_equal(rig.memory.slot_count <= MEMORY_MAX_SLOTS, 1);
	pci_function_destroy(&a.function);
	pci_function_destroy(&b.function);
	((struct device *)host)->type->destroy(host);
	((struct device *)isa)->type->destroy(isa);
	rig_destroy(&rig);
}

/* What a save keeps: the writable registers; the others come from the program. */
static void load_restores_registers(void **state)
{
	struct rig rig;
	struct thing thing;
	rig_init(&rig);
	thing_init(&thing, &rig, THING, 1);
	cfg_write(&rig, THING, PCI_BAR(1), 0xe0000000, 4);
	cfg_write(&rig, THING, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	pci_intx_set(&thing.function, true);
	uint8_t saved[PCI_CONFIG_SIZE];
	memcpy(saved, thing.function.config, sizeof(saved));
	pci_function_reset(&thing.function);
	assert_false(io_space_claimed(&rig.mmio, 0xe0000000));
	memcpy(thing.function.config, saved, sizeof(saved));
	thing.function.config[PCI_VENDOR_ID] = 0x99;
	thing.function.intx = true;
	pci_function_loaded(&thing.function);
	assert_true(io_space_claimed(&rig.mmio, 0xe0000000));
	assert_int_equal(cfg_read(&rig, THING, 0, 4), 0x56781234);
	assert_int_equal(rig.pirq[2], 0); /* lines are not driven after a load */
	pci_intx_set(&thing.function, false);
	assert_int_equal(rig.bus->asserted[2], 0);
	pci_function_destroy(&thing.function);
	rig_destroy(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(identity_and_absent_functions),
		cmocka_unit_test(bars_are_sized_moved_and_gated),
		cmocka_unit_test(covered_bar_comes_back),
		cmocka_unit_test(intx_is_shared_and_disabled),
		cmocka_unit_test(msi_masks_and_pends),
		cmocka_unit_test(msix_masks_and_pends),
		cmocka_unit_test(pirq_routing),
		cmocka_unit_test(pam_opens_shadow_memory),
		cmocka_unit_test(pm_block_moves),
		cmocka_unit_test(random_configuration_writes),
		cmocka_unit_test(load_restores_registers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
