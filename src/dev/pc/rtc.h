/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_PC_RTC_H
#define VISOR_DEV_PC_RTC_H

#include "bus/clock.h"
#include "bus/device.h"
#include "bus/irq.h"
#include "bus/space.h"

/*
 * MC146818 real-time clock and 256 bytes of CMOS memory at ports 0x70..0x73.
 * The memory and the time outlive a reset of the machine.
 */
#define RTC_CMOS_SIZE 256u

struct rtc_config {
	struct lock *lock;
	struct io_space *ports;
	struct irq_line irq;     /* IRQ8 */
	struct vclock *clock;
	int64_t epoch;           /* what the clock shows at virtual time 0: seconds since 1970, in the zone wanted */
	/* Bit 7 of port 0x70: NMI is masked. May be NULL. */
	void (*nmi_mask)(void *opaque, bool masked);
	void *nmi_opaque;
};

struct rtc;

struct rtc *rtc_create(const struct rtc_config *config, struct error *err);

/* Sets a byte of CMOS memory before the machine runs; indices of the clock's own registers are ignored. */
void rtc_set_cmos(struct rtc *rtc, unsigned index, uint8_t value);

/* Where firmware looks for the machine's shape. */
struct rtc_shape {
	uint64_t ram_below_4g, ram_above_4g; /* bytes */
	unsigned cpus;
	unsigned floppies;       /* drives for 1.44 MB, 0 to 2 */
	uint8_t boot_order[3];   /* 1 floppy, 2 hard disk, 3 CD-ROM, 4 network; 0 ends */
};
/* Memory sizes (0x15..0x18, 0x30..0x31, 0x34..0x35, 0x5b..0x5d), processors (0x5f), boot order (0x3d, 0x38), equipment (0x10, 0x14). */
void rtc_describe(struct rtc *rtc, const struct rtc_shape *shape);

#endif
