/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev/pci/msi.h"

#include <errno.h>
#include <string.h>

#include "base/util.h"

#define CAPABILITY_MSI 0x05
#define CAPABILITY_MSIX 0x11

/* MSI capability, 64-bit address and per-vector masking (6.8.1); offsets from its start. */
#define MSI_CONTROL 2
#define MSI_ADDRESS 4
#define MSI_DATA 12
#define MSI_MASK 16
#define MSI_PENDING 20
#define MSI_SIZE 24
#define MSI_ENABLE 0x1
#define MSI_CONTROL_FIXED 0x180 /* 64-bit, maskable */

/* MSI-X capability (6.8.2). */
#define MSIX_CONTROL 2
#define MSIX_TABLE 4
#define MSIX_PBA 8
#define MSIX_SIZE 12
#define MSIX_ENABLE 0x8000
#define MSIX_FUNCTION_MASK 0x4000
#define MSIX_ENTRY_SIZE 16
#define MSIX_ENTRY_CONTROL 3
#define MSIX_ENTRY_MASKED 1u

int pci_msi_add(struct pci_function *function, unsigned vectors, struct error *err)
{
	if (!vectors || vectors > 32 || vectors & (vectors - 1))
		return error_set(err, EINVAL, "%s: %u MSI vectors cannot be", function->name, vectors);
	int at = pci_function_add_capability(function, CAPABILITY_MSI, MSI_SIZE, err);
	if (at < 0)
		return -1;
	unsigned base = (unsigned)at, log2 = (unsigned)__builtin_ctz(vectors);
	uint32_t mask = (uint32_t)((1ull << vectors) - 1);
	pci_function_set_register(function, base + MSI_CONTROL, MSI_CONTROL_FIXED | log2 << 1, 0x70 | MSI_ENABLE, 2);
	pci_function_set_register(function, base + MSI_ADDRESS, 0, 0xfffffffc, 4);
	pci_function_set_register(function, base + MSI_ADDRESS + 4, 0, UINT32_MAX, 4);
	pci_function_set_register(function, base + MSI_DATA, 0, 0xffff, 2);
	pci_function_set_register(function, base + MSI_MASK, 0, mask, 4);
	function->msi = (struct pci_msi){ .capability = (uint8_t)base, .vectors = vectors };
	return 0;
}

int pci_msix_add(struct pci_function *function, unsigned vectors, unsigned bar, uint32_t table_offset,
		 uint32_t pba_offset, struct error *err)
{
	if (!vectors || vectors > PCI_MSIX_MAX || (table_offset | pba_offset) & 7 || bar >= PCI_BARS)
		return error_set(err, EINVAL, "%s: %u MSI-X vectors in BAR %u cannot be", function->name, vectors, bar);
	int at = pci_function_add_capability(function, CAPABILITY_MSIX, MSIX_SIZE, err);
	if (at < 0)
		return -1;
	unsigned base = (unsigned)at;
	pci_function_set_register(function, base + MSIX_CONTROL, vectors - 1, MSIX_ENABLE | MSIX_FUNCTION_MASK, 2);
	pci_function_set_register(function, base + MSIX_TABLE, table_offset | bar, 0, 4);
	pci_function_set_register(function, base + MSIX_PBA, pba_offset | bar, 0, 4);
	function->msix = (struct pci_msix){
		.capability = (uint8_t)base, .vectors = vectors, .bar = bar,
		.table_offset = table_offset, .pba_offset = pba_offset,
	};
	pci_msi_reset(function);
	return 0;
}

static uint16_t msi_control(const struct pci_function *function)
{
	return load_le16(function->config + function->msi.capability + MSI_CONTROL);
}

static uint16_t msix_control(const struct pci_function *function)
{
	return load_le16(function->config + function->msix.capability + MSIX_CONTROL);
}

bool pci_msi_enabled(const struct pci_function *function)
{
	return function->msi.capability && msi_control(function) & MSI_ENABLE;
}

bool pci_msix_enabled(const struct pci_function *function)
{
	return function->msix.capability && msix_control(function) & MSIX_ENABLE;
}

/* A message is a memory write, so only a bus master sends one. */
static bool send(struct pci_function *function, uint64_t address, uint32_t data)
{
	if (!(pci_function_command(function) & PCI_COMMAND_MASTER))
		return false;
	msi_send(&function->bus->msi, address, data);
	return true;
}

static void msi_show_pending(struct pci_function *function)
{
	if (function->msi.capability)
		store_le32(function->config + function->msi.capability + MSI_PENDING, function->msi.pending);
}

static void msi_set_pending(struct pci_function *function, unsigned vector, bool pending)
{
	function->msi.pending &= ~BIT(vector);
	function->msi.pending |= pending ? BIT(vector) : 0;
	msi_show_pending(function);
}

void pci_msi_notify(struct pci_function *function, unsigned vector)
{
	if (!pci_msi_enabled(function) || vector >= function->msi.vectors)
		return;
	const uint8_t *base = function->config + function->msi.capability;
	if (load_le32(base + MSI_MASK) & BIT(vector)) {
		msi_set_pending(function, vector, true);
		return;
	}
	/* The low bits of the data select the vector, as many as the guest enabled (6.8.1.3). */
	uint32_t enabled = MIN(1u << (msi_control(function) >> 4 & 7), function->msi.vectors);
	uint32_t data = (load_le16(base + MSI_DATA) & ~(enabled - 1)) | (vector & (enabled - 1));
	bool sent = send(function, load_le64(base + MSI_ADDRESS), data);
	msi_set_pending(function, vector, !sent);
}

void pci_msix_notify(struct pci_function *function, unsigned vector)
{
	struct pci_msix *msix = &function->msix;
	if (!pci_msix_enabled(function) || vector >= msix->vectors)
		return;
	const uint32_t *entry = msix->table + vector * 4;
	bool masked = msix_control(function) & MSIX_FUNCTION_MASK || entry[MSIX_ENTRY_CONTROL] & MSIX_ENTRY_MASKED;
	if (!masked && send(function, entry[0] | (uint64_t)entry[1] << 32, entry[2]))
		msix->pending &= ~BIT64(vector);
	else
		msix->pending |= BIT64(vector);
}

static void send_pending(struct pci_function *function)
{
	for (uint64_t rest = function->msix.pending; rest; rest &= rest - 1)
		pci_msix_notify(function, (unsigned)__builtin_ctzll(rest));
	if (!pci_msi_enabled(function))
		return;
	for (uint32_t rest = function->msi.pending; rest; rest &= rest - 1)
		pci_msi_notify(function, (unsigned)__builtin_ctz(rest));
}

static bool in_table(const struct pci_msix *msix, uint64_t offset)
{
	return msix->capability && offset - msix->table_offset < msix->vectors * MSIX_ENTRY_SIZE;
}

static bool in_pba(const struct pci_msix *msix, uint64_t offset)
{
	return msix->capability && offset - msix->pba_offset < 8;
}

bool pci_msix_read(struct pci_function *function, uint64_t offset, unsigned size, uint64_t *value)
{
	const struct pci_msix *msix = &function->msix;
	*value = 0;
	if (!in_table(msix, offset) && !in_pba(msix, offset))
		return false;
	if (size < 4 || offset & (size - 1))
		return true;
	if (in_table(msix, offset))
		*value = load_le((const uint8_t *)msix->table + (offset - msix->table_offset), size);
	else
		*value = msix->pending >> (8 * (offset - msix->pba_offset));
	return true;
}

bool pci_msix_write(struct pci_function *function, uint64_t offset, uint64_t value, unsigned size)
{
	struct pci_msix *msix = &function->msix;
	if (!in_table(msix, offset))
		return in_pba(msix, offset);
	if (size < 4 || offset & (size - 1))
		return true;
	unsigned word = (unsigned)(offset - msix->table_offset) / 4;
	for (unsigned i = 0; i < size / 4; i++, word++, value >>= 32) {
		static const uint32_t writable[] = { 0xfffffffc, UINT32_MAX, UINT32_MAX, MSIX_ENTRY_MASKED };
		msix->table[word] = (uint32_t)value & writable[word % 4];
	}
	unsigned vector = (unsigned)(offset - msix->table_offset) / MSIX_ENTRY_SIZE;
	if (msix->pending & BIT64(vector))
		pci_msix_notify(function, vector);
	return true;
}

/* All vectors start masked (6.8.2.9). */
void pci_msi_reset(struct pci_function *function)
{
	struct pci_msix *msix = &function->msix;
	memset(msix->table, 0, sizeof(msix->table));
	for (unsigned i = 0; i < msix->vectors; i++)
		msix->table[i * 4 + MSIX_ENTRY_CONTROL] = MSIX_ENTRY_MASKED;
	msix->pending = 0;
	function->msi.pending = 0;
}

void pci_msi_loaded(struct pci_function *function)
{
	struct pci_msix *msix = &function->msix;
	function->msi.pending &= (uint32_t)((1ull << function->msi.vectors) - 1);
	msi_show_pending(function);
	msix->pending &= msix->vectors >= 64 ? UINT64_MAX : BIT64(msix->vectors) - 1;
	for (unsigned i = 0; i < msix->vectors; i++)
		msix->table[i * 4 + MSIX_ENTRY_CONTROL] &= MSIX_ENTRY_MASKED;
}

void pci_msi_config_written(struct pci_function *function, unsigned offset, unsigned size)
{
	unsigned msi = function->msi.capability, msix = function->msix.capability;
	bool command = offset < PCI_STATUS && offset + size > PCI_COMMAND;
	if (command || (msi && offset + size > msi && offset < msi + MSI_SIZE) ||
	    (msix && offset + size > msix && offset < msix + MSIX_SIZE))
		send_pending(function);
}
