/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_VM_SNAPSHOT_CONFIG_H
#define VISOR_VM_SNAPSHOT_CONFIG_H

#include <jansson.h>

#include "vm/machine.h"

/* The names of CPU models, as on the command line; NULL at the end, in the order of enum cpu_model. */
extern const char *const cpu_model_names[];

/* A machine's configuration: memory in bytes, cpus, cpu, engine, disks and so on. NULL: out of memory. */
json_t *machine_config_json(const struct machine *machine);

/* The text of the STREAM_INFO section: that configuration, and the program's version. NULL: out of memory. */
json_t *snapshot_make_info(const struct machine *machine);

#endif
