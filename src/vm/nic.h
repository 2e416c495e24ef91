/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_VM_NIC_H
#define VISOR_VM_NIC_H

#include <jansson.h>

#include "vm/machine.h"

/*
 * A network interface as text, as --net has it:
 *
 *   user | switch:NAME | tap:IF | bridge:IF [,model=MODEL] [,mac=ADDRESS] [,mode=isolated|host|nat] [,tftp=FOLDER] [,bootfile=NAME]
 *
 * and as JSON, as the save file and the control socket have it.
 */

/* `model` is the card without a model=. Without a mac= *has_mac is false, and the address is the caller's to fill in. */
int nic_parse(const char *text, enum machine_nic_model model, struct machine_nic *nic, bool *has_mac, struct error *err);

json_t *nic_json(const struct machine_nic *nic);
int nic_from_json(const json_t *json, struct machine_nic *nic, struct error *err);

#endif
