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
	{ "STATISTICS", {
		{ NULL, "What --stats and 'visor stats' give is one JSON object. Numbers of one processor are in \"cpus\", what its engine counts in "
			"a member with the engine's name." },
		{ "instructions, mips", "Guest instructions that were executed; millions of them a second while processors did not sleep. null for engine "
			"jit without --stats, since counting slows it down, and for kvm, which cannot count." },
		{ "efficiency", "The share of guest instructions that were executed without a call into the monitor (Popek and Goldberg's efficiency). "
			"Each time that translated code is left counts as one instruction that was not, whatever the reason, and so does each "
			"instruction that is interpreted: the true share is never less." },
		{ "start_ms", "Milliseconds from the start of the process to the first guest instruction." },
		{ "own_memory, page_tables", "Bytes of memory that the process has for itself: without the guest's memory and translated code; and the host "
			"kernel's tables for it." },
		{ "guest_memory", "Bytes of the host's memory that the guest's takes now." },
		{ "balloon", "driver: the guest has one; memory, wanted: bytes of its memory that the guest has, and is to have (visor balloon); given_back: "
			"bytes that went back to the host so far, reported: of them those that the guest left free; guest: what the guest's driver says of its memory, "
			"in bytes and counts, some seconds old." },
		{ "wall_ns, halted_ns", "Time that the machine ran; time that processors slept in HLT, of all together." },
		{ "interrupts, exceptions, exits", "Interrupts taken; exceptions by name; how often a processor's thread left its engine, and what for." },
		{ "handovers, handed_over", "Times that an engine left code to the interpreter which it cannot execute itself, and the instructions." },
		{ "kvm: runs, exits, state_out, state_in", "Times that KVM was entered, and came back, by reason; moves of a processor's whole state out of it and into it." },
		{ "kvm: posted, page_log", "Of the machine, with the first processor: writes that waited in KVM for somebody to ask for what they did; how often the "
			"display asked KVM which pages were written, and KVM knew." },
		{ "io_reads, io_writes, mmio_reads, mmio_writes, devices", "Accesses to ports and device memory, by processor and by device; rings: notifications "
			"that came without one." },
		{ "tlb_fills, tlb_flushes, blocks_decoded", "Pages that were looked up in the guest's page tables; flushes; runs of instructions decoded for the interpreter." },
		{ "jit: units, guest_bytes, code_bytes, code_bytes_per_guest_byte", "Runs of guest code that were translated, their size, the size of the "
			"translation, and what it takes for a byte of the guest's." },
		{ "jit: evictions", "How often the memory for translated code was full and all of it was thrown away (--jit-cache)." },
		{ "jit: exits", "Times that translated code was left: total, and by reason. link, cross_page, indirect: a branch whose target was not known "
			"or may have changed; attention: an interrupt or something else from outside; helper, helper_end: an instruction was left to "
			"its function in the monitor, which helped_by and missed_by tell apart; vector_load: the vector registers were wanted." },
		{ "jit: helped, helped_by, missed, missed_by", "Instructions that have no translation, and those whose translation found something "
			"that it is not made for, as a page not in the TLB; by mnemonic." },
		{ "jit: window_fills, window_pages, window_flushes, guard_faults", "Times that pages were shown in the windows on guest memory, the pages, flushes "
			"by kind; accesses of translated code that the host faulted." },
		{ "jit: interpreted_runs, links, retags, slow_sites, mispredicted, shapes, inherited", "Runs of instructions that were interpreted; jumps between units that "
			"were made direct; times that all remembered targets had to be looked up again; instructions that do without windows; memory "
			"operands that were not in the window that was guessed; address spaces that got one bias for most of their windows, and those that got it "
			"from a process that is gone, with what was translated for that one." },
		{ "jit: direct", "Programs' code that the processor executes as it is, in processes of the host's: how many of those were made (spaces), and how "
			"often one was given up for a while because its program called its kernel too often (left); times that a program stopped there (stops), for "
			"a system call (calls), and for pages that were shown to it then (fills). Not with --stats, which counts instructions." },
	} },
	{ "DISK IMAGES", {
		{ NULL, "visor run --disk and the commands of 'visor disk' know these formats by their content, unless they are told. Each image but a raw one may have "
			"another behind it, of which it holds only the changes; that one must not be written any more." },
		{ "raw", "The disk's bytes, or a block device. One that only looks like nothing else is taken for raw, but then refuses writes that would make it "
			 "look like another format: a guest could else have files of the host read at the next start. format=raw allows them." },
		{ "qcow2", "Versions 2 and 3, with zlib and zstd, internal snapshots to read; without encryption, data files and subclusters." },
		{ "vdi", "VirtualBox's: dynamic, fixed, differencing. The image behind is looked for by its UUID in the same folder." },
		{ "vhd", "Virtual PC's and Hyper-V's: dynamic, fixed, differencing." },
		{ "vmdk", "VMware's: sparse, flat, in one or several parts; those made for streaming can be read." },
		{ "vhdx", "Hyper-V's, to read; one that was not closed is read as its log says." },
	} },
	{ "FILES", {
		{ "$XDG_RUNTIME_DIR/visor/NAME.sock",
		  "The control socket of a running machine: HTTP/1.1 with JSON. /run/visor for root, /tmp/visor-UID where "
		  "XDG_RUNTIME_DIR is not set." },
		{ "$XDG_DATA_HOME/visor/images/NAME.qcow2",
		  "The images of 'visor image'. /var/lib/visor for root, ~/.local/share/visor for others where XDG_DATA_HOME is not set." },
		{ "$XDG_DATA_HOME/visor/machines/NAME/",
		  "Of a machine made from an image: disk.qcow2, which has the image behind it, seed.iso (what cloud-init is told), machine.json, "
		  "uefi-vars." },
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
		{ "visor image build debian; visor run debian \\-\\-name web \\-\\-ssh-key ~/.ssh/id_ed25519.pub \\-p 2222:22",
		  "Makes an image of Debian, and a machine from it; 'ssh \\-p 2222 debian@localhost' logs in." },
		{ "visor save vm\\-1234 sleep.visor \\-\\-stop; visor run \\-\\-restore sleep.visor",
		  "Puts a machine into a file and goes on with it later." },
	} },
	{ NULL, { { NULL, NULL } } },
};
