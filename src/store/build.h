/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_STORE_BUILD_H
#define VISOR_STORE_BUILD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/*
 * A bootable disk of Debian from packages: GPT with a partition for the BIOS's GRUB, an EFI system partition, and ext4 with a
 * system that has systemd, cloud-init (NoCloud), OpenSSH's server, DHCP on all network cards and a console on the first serial port. Needs
 * mmdebstrap and apt with the host's configuration, mke2fs and GRUB; no loop device, and root only where user namespaces are forbidden.
 */
struct build {
	const char *release;       /* "bookworm" */
	uint64_t size;             /* bytes of the disk, a multiple of 1 MiB */
	const char *kernel;        /* package */
	const char *const *packages; /* further ones, NULL at the end */
	const char *path;          /* the raw image, which is made new */
	bool verbose;              /* what programs print goes to standard error, too */
	void (*stage)(void *opaque, const char *text); /* what begins now; may be NULL */
	void *opaque;
};

#define BUILD_MIN_SIZE (1536ull << 20)

int build_debian(const struct build *build, struct error *err);

#endif
