/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_PC_PM_H
#define VISOR_DEV_PC_PM_H

#include "bus/clock.h"
#include "bus/device.h"
#include "bus/irq.h"
#include "bus/space.h"

/*
 * ACPI fixed hardware as in the PIIX4 (82371AB, 7.2; ACPI 6.4, 4.8): event block at
 * base + 0 (4 bytes), control at base + 4 (2), timer at base + 8 (4), GPE0 at
 * base + 0xc (4: status, enable), and the SMI command port 0xb2/0xb3.
 */
#define PM_BASE 0x600u
#define PM_SIZE 0x40u
#define PM_TIMER_HZ 3579545ull
#define PM_ACPI_ENABLE 0xf1u  /* FADT: ACPI_ENABLE, ACPI_DISABLE for SMI_CMD */
#define PM_ACPI_DISABLE 0xf0u
#define PM_SLP_TYP_S5 0u      /* DSDT: \_S5 */

struct pm_config {
	struct lock *lock;
	struct io_space *ports;
	struct irq_line sci;     /* IRQ9 */
	struct vclock *clock;
	bool timer_32bit;        /* FADT flag TMR_VAL_EXT */
	bool acpi_at_reset;      /* SCI_EN is set from the start, for boots without firmware */
	/* Soft off, on the vCPU's thread with the board's lock taken. */
	void (*power_off)(void *opaque);
	void *power_off_opaque;
};

struct pm;

/* Mapped at PM_BASE until pm_map says otherwise. */
struct pm *pm_create(const struct pm_config *config, struct error *err);

/* Moves the block (PIIX4 function 3, PMBASE); base 0 unmaps it. */
int pm_map(struct pm *pm, uint16_t base, struct error *err);

/* A press of the power button. Any thread. */
void pm_power_button(struct pm *pm);

/* Sets a status bit 0..15 of GPE0. Any thread. */
void pm_gpe(struct pm *pm, unsigned bit);

#endif
