/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/engine.h"

#include <cpuid.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct engine_type *engine_stand_in(const struct engine_type *engine)
{
	return engine == &engine_kvm ? &engine_jit : NULL;
}

void engine_kick(struct cpu *c)
{
	cpu_attention(c, ATTN_KICK);
	if (c->wake)
		c->wake(c->wake_opaque);
}

void engine_say(struct engine_report *report, const char *format, ...)
{
	size_t at = strlen(report->details);
	va_list args;
	va_start(args, format);
	vsnprintf(report->details + at, sizeof(report->details) - at, format, args);
	va_end(args);
}

const struct engine_type *const engine_list[] = { &engine_kvm, &engine_jit, &engine_interp, NULL };

const struct engine_type *engine_by_name(const char *name)
{
	for (unsigned i = 0; engine_list[i]; i++)
		if (!strcmp(engine_list[i]->name, name))
			return engine_list[i];
	return NULL;
}

bool engine_host_virtualizes(void)
{
	uint32_t a, b, c, d;
	if (getenv("VISOR_KVM_KERNEL")) /* for tests */
		return true;
	if (__get_cpuid(1, &a, &b, &c, &d) && (c & 1u << 5)) /* VMX */
		return true;
	return __get_cpuid(0x80000001, &a, &b, &c, &d) && (c & 1u << 2); /* SVM */
}

const struct engine_type *engine_choose(char *why, size_t size)
{
	struct engine_report report = { .text = "this processor shows no virtualization (VMX or SVM), so that KVM, if there is one, would "
						"execute guests' kernels in software" };
	if (engine_host_virtualizes())
		engine_kvm.examine(&report);
	snprintf(why, size, "%s", report.text);
	return report.works && report.fast ? &engine_kvm : &engine_jit;
}
