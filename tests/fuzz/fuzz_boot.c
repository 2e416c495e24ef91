/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stddef.h>
#include <stdint.h>

#include "base/log.h"
#include "vm/boot.h"

/* Kernel images of any bytes: an error or an entry, never a crash. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct guest_memory memory;
	static const uint8_t initrd[5000];
	if (!memory.host && memory_init(&memory, 8u << 20, NULL) < 0)
		return 0;
	log_threshold = LOG_ERROR;
	const struct boot_request request = {
		.memory = &memory, .kernel = { "fuzz", data, size }, .initrd = { "initrd", initrd, sizeof(initrd) },
		.cmdline = "console=ttyS0", .rsdp = 0xe0000,
	};
	struct boot_entry entry;
	struct error err;
	if (boot_load(&request, &entry, &err) == 0 && entry.rip >= 1ull << 32)
		__builtin_trap();
	return 0;
}
