/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_VM_ARCH_CAPABILITIES_H
#define VISOR_VM_ARCH_CAPABILITIES_H

#include <stdbool.h>
#include <stdint.h>

/* The guest's IA32_ARCH_CAPABILITIES: what it need not guard against, for its kernel pays dearly where it does. own_privilege:
 * struct engine_type's; without it no page of the guest is the host's supervisor's, and what reads such pages reads none of it. */
uint64_t arch_capabilities(bool own_privilege);

#endif
