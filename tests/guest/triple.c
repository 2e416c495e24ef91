/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An exception without a gate, whose fault has none, nor its double fault: the processor shuts down. */
#include "guest.h"

int guest_main(void)
{
	struct table_pointer none = { 0, 0 };
	__asm__ volatile("lidt %0; ud2" ::"m"(none));
	check(!"the processor went on");
	return failures;
}
