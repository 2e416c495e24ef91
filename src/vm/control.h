/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_VM_CONTROL_H
#define VISOR_VM_CONTROL_H

#include "base/error.h"
#include "vm/machine.h"

/*
 * A machine's control socket: HTTP and JSON over a UNIX socket in the run-time
 * directory. Requests arrive on threads of the server and are carried out, one
 * after the other, on the machine's loop.
 *
 *   GET  /machine      {"name", "pid", "state": "running" | "paused", "config": {...}}
 *   GET  /stats        machine_stats_json
 *   POST /pause        once, however often it is asked; /resume likewise
 *   POST /save         {"file": absolute path, "stop": bool}
 *   GET  /net          machine_nets_json
 *   POST /net/forward  {"forward": "[ADDRESS:]HOSTPORT:GUESTPORT[/udp]", "nic": index, else the first user network}
 *   POST /net/unforward  the same
 *   GET  /screenshot   what the screen shows, as image/png
 *   GET  /screen       {"text": the lines of a text mode, or null in a graphics mode}
 *   POST /media        {"drive": "cdrom0", "file": absolute path or null for none, "force": bool}
 *   POST /type         {"text": what to type on the keyboard}
 *   POST /key          {"keys": "ctrl-alt-delete"}
 *   POST /stop         ends the machine at once
 *   POST /reset, /powerbutton
 */
struct control;

/* Between machine_create and machine_run. EADDRINUSE: a machine of that name runs already. */
struct control *control_create(struct machine *machine, const char *name, struct error *err);
/* After machine_run, before machine_destroy. */
void control_destroy(struct control *control);

#endif
