/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What visor doctor says of KVM on this host, and what the choice of an engine goes by. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "engine/kvm/kvm.h"

static void say_modules(struct engine_report *r)
{
	static const char *const modules[] = { "kvm", "kvm_intel", "kvm_amd", "kvm_pvm" };
	unsigned found = 0;
	engine_say(r, "modules:");
	for (unsigned i = 0; i < ARRAY_SIZE(modules); i++) {
		char path[64];
		snprintf(path, sizeof(path), "/sys/module/%s", modules[i]);
		if (access(path, F_OK) == 0) {
			engine_say(r, " %s", modules[i]);
			found++;
		}
	}
	engine_say(r, "%s\n", found ? "" : " none loaded");
}

static void say_speed(struct engine_report *r, const struct kvm_host *host)
{
	struct kvm_probe probe;
	struct error err;
	r->works = kvm_host_probe(host, &probe, &err) == 0;
	if (!r->works) {
		snprintf(r->text, sizeof(r->text), "%s", err.text);
		return;
	}
	r->fast = probe.hardware;
	engine_say(r, "speed: %llu.%03llu ns for a turn of a loop of kernel code\n", (unsigned long long)probe.loop_ps / 1000,
		   (unsigned long long)probe.loop_ps % 1000);
	engine_say(r, "time-stamp counter: %s\n", probe.tsc_offset ? "the guest's own" : "guests see the host's as it is, and jumps of it");
	engine_say(r, "paging: %s\n", host->nested_paging ? "nested (EPT or NPT)" : "by shadows of the guest's tables");
	if (probe.hardware)
		snprintf(r->text, sizeof(r->text), "the processor executes guests itself");
	else
		snprintf(r->text, sizeof(r->text), "it works, but executes guests' kernels in software, some thousand times slower than hardware; "
			 "a processor with VMX or SVM, or nested virtualization switched on for this virtual machine, would help");
}

void kvm_examine(struct engine_report *r)
{
	struct kvm_host host;
	struct error err;
	*r = (struct engine_report){ 0 };
	engine_say(r, "processor: %s\n", engine_host_virtualizes() ? "has VMX or SVM" : "shows neither VMX nor SVM");
	say_modules(r);
	if (kvm_host_open(&host, &err) < 0) {
		snprintf(r->text, sizeof(r->text), "%s", err.text);
		return;
	}
	engine_say(r, "device: /dev/kvm can be opened, and has all capabilities that are needed\n");
	say_speed(r, &host);
	kvm_host_close(&host);
}
