/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/text.h"

#include <stddef.h>

const char text_description[] =
	"visor runs virtual machines on Linux: unmodified operating systems for x86 PCs, on a host that needs no hardware "
	"virtualization.\n\n"
	"Each running machine is a process of its own, with a control socket in the run-time directory. Data goes to standard "
	"output, everything else to standard error.";

const struct text_section text_sections[] = {
	{ "KEYS", {
		{ NULL, "With the console on a terminal, Ctrl-] is the escape key. After it:" },
		{ "q", "ends the machine at once, as pulling the plug does; visor ends with status 0." },
		{ "p", "presses the power button: the guest is asked to shut down." },
		{ "r", "presses the reset button." },
		{ "?", "shows the keys." },
		{ "Ctrl-]", "sends Ctrl-] to the guest." },
	} },
	{ "EXIT STATUS", {
		{ "0", "The guest powered off, was stopped, or reset itself under --no-reboot; the command did its work." },
		{ "1", "Failure; a message on standard error says what failed." },
		{ "2", "The command line is wrong." },
		{ "3", "The guest's processor shut down after a triple fault, and --no-reboot was given." },
		{ "4", "The time of --time-limit was over." },
		{ "(v << 1) | 1", "The guest wrote v to port 0xf4, and --debug-exit was given." },
		{ "128 + n", "visor was ended by signal n (SIGHUP, SIGINT, SIGTERM); the terminal is as it was." },
	} },
	{ "FILES", {
		{ "$XDG_RUNTIME_DIR/visor/NAME.sock",
		  "The control socket of a running machine: HTTP/1.1 with JSON. /run/visor for root, /tmp/visor-UID where "
		  "XDG_RUNTIME_DIR is not set." },
		{ "/usr/share/seabios/bios-256k.bin", "The firmware of a machine without --kernel and of --bios without a file." },
	} },
	{ "CONTROL SOCKET", {
		{ NULL, "Requests and answers are JSON objects. An answer with a status of 400 or more has a member \"error\"." },
		{ "GET /machine", "Name, process, state (running or paused) and configuration." },
		{ "GET /stats", "The statistics of --stats." },
		{ "POST /pause, /resume", "Stop and start processors and clock." },
		{ "POST /save", "{\"file\": PATH, \"stop\": BOOL}: saves the machine; with stop it ends afterwards." },
		{ "POST /stop", "Ends the machine at once." },
		{ "POST /reset, /powerbutton", "The two buttons of a PC." },
	} },
	{ "EXAMPLES", {
		{ "visor run \\-\\-cpus 2 \\-\\-kernel vmlinuz \\-\\-initrd initrd.gz \\-\\-append console=ttyS0 \\-\\-disk disk.img",
		  "Boots a kernel to its console, with two processors and a disk." },
		{ "visor save vm\\-1234 sleep.visor \\-\\-stop; visor run \\-\\-restore sleep.visor",
		  "Puts a machine into a file and goes on with it later." },
	} },
	{ NULL, { { NULL, NULL } } },
};
