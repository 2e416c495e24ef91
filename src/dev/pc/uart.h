/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_DEV_PC_UART_H
#define VISOR_DEV_PC_UART_H

#include "bus/chardev.h"
#include "bus/clock.h"
#include "bus/device.h"
#include "bus/irq.h"
#include "bus/space.h"

/*
 * 16550A. Output leaves at once, whatever the baud rate says; input waits with
 * the back end until there is room, so that nothing is ever overrun.
 */
struct uart_config {
	const char *name;        /* "uart0" */
	struct lock *lock;
	struct io_space *ports;
	uint16_t base;           /* 0x3f8, 0x2f8 */
	struct irq_line irq;     /* IRQ4, IRQ3 */
	struct vclock *clock;
	struct char_backend output;
	struct char_room room;
};

struct uart;

struct uart *uart_create(const struct uart_config *config, struct error *err);

/* Offers input; returns how many bytes were taken. Takes the lock. When fewer than all, config.room is called later. */
size_t uart_receive(struct uart *uart, const uint8_t *data, size_t length);

/* A break condition on the line (SysRq over serial). */
void uart_break(struct uart *uart);

#endif
