/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev/pc/uart.h"

#include <errno.h>
#include <stdlib.h>

#include "base/util.h"

/* Registers (PC16550D data sheet, 8.0). */
enum { REG_DATA, REG_IER, REG_IIR_FCR, REG_LCR, REG_MCR, REG_LSR, REG_MSR, REG_SCR };

#define IER_RECEIVED 0x01u
#define IER_THRE 0x02u
#define IER_LINE 0x04u
#define IER_MODEM 0x08u

#define IIR_NONE 0x01u
#define IIR_MODEM 0x00u
#define IIR_THRE 0x02u
#define IIR_RECEIVED 0x04u
#define IIR_LINE 0x06u
#define IIR_TIMEOUT 0x0cu
#define IIR_FIFOS 0xc0u

#define FCR_ENABLE 0x01u
#define FCR_CLEAR_RECEIVER 0x02u
#define FCR_TRIGGER(fcr) ((fcr) >> 6 & 3)

#define LCR_DLAB 0x80u

#define MCR_DTR 0x01u
#define MCR_RTS 0x02u
#define MCR_OUT1 0x04u
#define MCR_OUT2 0x08u
#define MCR_LOOP 0x10u

#define LSR_READY 0x01u
#define LSR_OVERRUN 0x02u
#define LSR_BREAK 0x10u
#define LSR_ERRORS 0x1eu
#define LSR_THRE 0x20u
#define LSR_EMPTY 0x40u
#define LSR_FIFO_ERROR 0x80u

#define MSR_DELTA_CTS 0x01u
#define MSR_DELTA_DSR 0x02u
#define MSR_TRAILING_RI 0x04u
#define MSR_DELTA_DCD 0x08u
#define MSR_CTS 0x10u
#define MSR_DSR 0x20u
#define MSR_RI 0x40u
#define MSR_DCD 0x80u
#define MSR_CONNECTED (MSR_CTS | MSR_DSR | MSR_DCD)

#define FIFO_SIZE 16u
#define BAUD_CLOCK 1843200u
#define TIMEOUT_MAX_NS 40000000u

struct uart {
	struct device device;
	uint8_t fifo[FIFO_SIZE], errors[FIFO_SIZE]; /* the LSR's error bits of each character */
	uint8_t head, count;
	uint8_t ier, fcr, lcr, mcr, msr, scratch;
	uint8_t overrun;         /* LSR_OVERRUN or 0 */
	uint8_t top_errors;      /* errors of the character at the top, until the LSR is read */
	bool thre_pending;
	bool timeout_pending;
	uint16_t divisor;
	uint64_t timeout;        /* virtual time of the character timeout; 0: none under way */
	bool starved;            /* the back end has more than it could give */
	struct timer timer;
	struct vclock *clock;
	struct irq_line irq;
	struct char_backend output;
	struct char_room room;
	struct io_region region;
	struct io_space *ports;
};

static bool fifos_on(const struct uart *uart)
{
	return uart->fcr & FCR_ENABLE;
}

static unsigned capacity(const struct uart *uart)
{
	return fifos_on(uart) ? FIFO_SIZE : 1;
}

static unsigned trigger(const struct uart *uart)
{
	static const uint8_t levels[] = { 1, 4, 8, 14 };
	return fifos_on(uart) ? levels[FCR_TRIGGER(uart->fcr)] : 1;
}

/* The interrupt of highest priority that is enabled and pending (table II). */
static unsigned cause(const struct uart *uart)
{
	if (uart->ier & IER_LINE && (uart->overrun | uart->top_errors))
		return IIR_LINE;
	if (uart->ier & IER_RECEIVED && uart->count >= trigger(uart))
		return IIR_RECEIVED;
	if (uart->ier & IER_RECEIVED && uart->timeout_pending)
		return IIR_TIMEOUT;
	if (uart->ier & IER_THRE && uart->thre_pending)
		return IIR_THRE;
	if (uart->ier & IER_MODEM && uart->msr & 0x0f)
		return IIR_MODEM;
	return IIR_NONE;
}

/* OUT2 gates the interrupt line of a PC's serial ports; in loopback mode the pin is inactive. */
static void update(struct uart *uart)
{
	bool gate = uart->mcr & MCR_OUT2 && !(uart->mcr & MCR_LOOP);
	irq_set(&uart->irq, gate && cause(uart) != IIR_NONE);
}

/* Four characters' time at the programmed rate (8.4). */
static uint64_t timeout_ns(const struct uart *uart)
{
	uint64_t divisor = uart->divisor ? uart->divisor : 1;
	unsigned bits = 1 + 5 + (uart->lcr & 3) + (uart->lcr & 8 ? 1 : 0) + (uart->lcr & 4 ? 2 : 1);
	uint64_t ns = muldiv64(4 * bits * 16 * divisor, NS_PER_SEC, BAUD_CLOCK);
	return MIN(ns, TIMEOUT_MAX_NS);
}

/* Any traffic at the receiver FIFO starts the time again. */
static void restart_timeout(struct uart *uart)
{
	uart->timeout_pending = false;
	if (fifos_on(uart) && uart->count) {
		uart->timeout = vclock_now(uart->clock) + timeout_ns(uart);
		timer_arm(&uart->timer, uart->timeout);
	} else {
		uart->timeout = 0;
		timer_cancel(&uart->timer);
	}
}

static void on_timeout(void *opaque)
{
	struct uart *uart = opaque;
	uart->timeout = 0;
	uart->timeout_pending = uart->count != 0;
	update(uart);
}

static void show_top(struct uart *uart)
{
	if (uart->count)
		uart->top_errors |= uart->errors[uart->head];
}

/* False when it was full. The shift register's character is lost then, and noted. */
static bool push(struct uart *uart, uint8_t byte, uint8_t errors)
{
	if (uart->count >= capacity(uart)) {
		uart->overrun = LSR_OVERRUN;
		return false;
	}
	unsigned at = (uart->head + uart->count++) % FIFO_SIZE;
	uart->fifo[at] = byte;
	uart->errors[at] = errors;
	if (uart->count == 1)
		show_top(uart);
	restart_timeout(uart);
	return true;
}

static void tell_room(struct uart *uart)
{
	if (!uart->starved || uart->count >= capacity(uart))
		return;
	uart->starved = false;
	char_room_call(&uart->room);
}

static uint8_t pop(struct uart *uart)
{
	if (!uart->count)
		return uart->fifo[(uart->head + FIFO_SIZE - 1) % FIFO_SIZE];
	uint8_t byte = uart->fifo[uart->head];
	uart->head = (uart->head + 1) % FIFO_SIZE;
	uart->count--;
	show_top(uart);
	restart_timeout(uart);
	tell_room(uart);
	return byte;
}

size_t uart_receive(struct uart *uart, const uint8_t *data, size_t length)
{
	size_t taken = 0;
	lock_take(uart->device.lock);
	/* In loopback mode the receiver is cut off from the line: the sender waits. */
	while (!(uart->mcr & MCR_LOOP) && taken < length && uart->count < capacity(uart))
		push(uart, data[taken++], 0);
	uart->starved = taken < length;
	update(uart);
	lock_release(uart->device.lock);
	return taken;
}

void uart_break(struct uart *uart)
{
	lock_take(uart->device.lock);
	if (!(uart->mcr & MCR_LOOP))
		push(uart, 0, LSR_BREAK);
	update(uart);
	lock_release(uart->device.lock);
}

/* The modem inputs: a connected peer, or in loopback mode the own outputs. */
static void update_modem(struct uart *uart)
{
	uint8_t now = MSR_CONNECTED, mcr = uart->mcr;
	if (mcr & MCR_LOOP)
		now = (mcr & MCR_RTS ? MSR_CTS : 0) | (mcr & MCR_DTR ? MSR_DSR : 0) | (mcr & MCR_OUT1 ? MSR_RI : 0) |
		      (mcr & MCR_OUT2 ? MSR_DCD : 0);
	uint8_t changed = (now ^ uart->msr) & 0xf0;
	uint8_t deltas = changed >> 4 & (MSR_DELTA_CTS | MSR_DELTA_DSR | MSR_DELTA_DCD);
	if (changed & MSR_RI && !(now & MSR_RI))
		deltas |= MSR_TRAILING_RI;
	uart->msr = now | (uart->msr & 0x0f) | deltas;
}

static void transmit(struct uart *uart, uint8_t byte)
{
	uart->thre_pending = false;
	update(uart); /* the line falls, so that the next cause is an edge */
	if (uart->mcr & MCR_LOOP)
		push(uart, byte, 0);
	else
		char_write(&uart->output, &byte, 1);
	uart->thre_pending = true;
}

static void clear_receiver(struct uart *uart)
{
	uart->head = uart->count = 0;
	uart->top_errors = 0;
	restart_timeout(uart);
	tell_room(uart);
}

static void write_fcr(struct uart *uart, uint8_t value)
{
	bool toggled = (value ^ uart->fcr) & FCR_ENABLE;
	uart->fcr = value & FCR_ENABLE ? value & 0xc9 : 0;
	if (toggled || value & FCR_CLEAR_RECEIVER)
		clear_receiver(uart);
}

static void write_mcr(struct uart *uart, uint8_t value)
{
	bool left_loop = uart->mcr & MCR_LOOP && !(value & MCR_LOOP);
	uart->mcr = value & 0x1f;
	update_modem(uart);
	if (left_loop)
		tell_room(uart);
}

static void write_ier(struct uart *uart, uint8_t value)
{
	if (value & IER_THRE && !(uart->ier & IER_THRE))
		uart->thre_pending = true; /* the register is empty: enabling says so at once */
	uart->ier = value & 0x0f;
}

static void uart_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct uart *uart = opaque;
	uint8_t byte = (uint8_t)value;
	bool latch = uart->lcr & LCR_DLAB;
	switch (offset) {
	case REG_DATA:
		if (latch)
			uart->divisor = (uart->divisor & 0xff00) | byte;
		else
			transmit(uart, byte);
		break;
	case REG_IER:
		if (latch)
			uart->divisor = (uint16_t)(byte << 8 | (uart->divisor & 0xff));
		else
			write_ier(uart, byte);
		break;
	case REG_IIR_FCR: write_fcr(uart, byte); break;
	case REG_LCR: uart->lcr = byte; break;
	case REG_MCR: write_mcr(uart, byte); break;
	case REG_SCR: uart->scratch = byte; break;
	}
	update(uart);
}

static uint8_t read_lsr(struct uart *uart)
{
	uint8_t lsr = LSR_THRE | LSR_EMPTY | (uart->count ? LSR_READY : 0) | uart->overrun | uart->top_errors;
	for (unsigned i = 0; fifos_on(uart) && i < uart->count; i++)
		if (uart->errors[(uart->head + i) % FIFO_SIZE])
			lsr |= LSR_FIFO_ERROR;
	uart->overrun = uart->top_errors = 0;
	if (uart->count)
		uart->errors[uart->head] = 0; /* told once */
	return lsr;
}

static uint8_t read_iir(struct uart *uart)
{
	unsigned iir = cause(uart);
	if (iir == IIR_THRE)
		uart->thre_pending = false; /* reading it is the acknowledge */
	return (uint8_t)(iir | (fifos_on(uart) ? IIR_FIFOS : 0));
}

static uint64_t uart_read(void *opaque, uint64_t offset, unsigned size)
{
	struct uart *uart = opaque;
	bool latch = uart->lcr & LCR_DLAB;
	uint8_t value = 0;
	switch (offset) {
	case REG_DATA: value = latch ? (uint8_t)uart->divisor : pop(uart); break;
	case REG_IER: value = latch ? (uint8_t)(uart->divisor >> 8) : uart->ier; break;
	case REG_IIR_FCR: value = read_iir(uart); break;
	case REG_LCR: value = uart->lcr; break;
	case REG_MCR: value = uart->mcr; break;
	case REG_LSR: value = read_lsr(uart); break;
	case REG_MSR:
		value = uart->msr;
		uart->msr &= 0xf0;
		break;
	case REG_SCR: value = uart->scratch; break;
	}
	update(uart);
	return value;
}

static const struct io_ops uart_ops = { uart_read, uart_write, 1 };

static const struct field uart_fields[] = {
	FIELD_BYTES(struct uart, fifo),
	FIELD_BYTES(struct uart, errors),
	FIELD(struct uart, head),
	FIELD(struct uart, count),
	FIELD(struct uart, ier),
	FIELD(struct uart, fcr),
	FIELD(struct uart, lcr),
	FIELD(struct uart, mcr),
	FIELD_RESET(struct uart, msr, MSR_CONNECTED),
	FIELD(struct uart, scratch),
	FIELD(struct uart, overrun),
	FIELD(struct uart, top_errors),
	FIELD(struct uart, thre_pending),
	FIELD(struct uart, timeout_pending),
	FIELD_RESET(struct uart, divisor, 12),
	FIELD(struct uart, timeout),
	FIELD_END
};

static void uart_reset(void *device)
{
	struct uart *uart = device;
	timer_cancel(&uart->timer);
	irq_set(&uart->irq, 0);
	tell_room(uart);
}

static int uart_loaded(void *device, struct error *err)
{
	struct uart *uart = device;
	if (uart->head >= FIFO_SIZE || uart->count > FIFO_SIZE)
		return error_set(err, EINVAL, "%s: the receiver FIFO has an impossible place in the saved machine; "
				 "the file is damaged", uart->device.name);
	timer_cancel(&uart->timer);
	if (uart->timeout)
		timer_arm(&uart->timer, uart->timeout);
	return 0;
}

static void uart_destroy(void *device)
{
	struct uart *uart = device;
	timer_cancel(&uart->timer);
	io_space_unmap(uart->ports, &uart->region);
	free(uart);
}

static const struct device_type uart_type = {
	.name = "uart",
	.fields = uart_fields,
	.reset = uart_reset,
	.loaded = uart_loaded,
	.destroy = uart_destroy,
};

struct uart *uart_create(const struct uart_config *config, struct error *err)
{
	struct uart *uart = calloc(1, sizeof(*uart));
	if (!uart) {
		error_set(err, ENOMEM, "%s: out of memory", config->name);
		return NULL;
	}
	device_init(&uart->device, &uart_type, config->name, config->lock);
	uart->clock = config->clock;
	uart->irq = config->irq;
	uart->output = config->output;
	uart->room = config->room;
	uart->ports = config->ports;
	timer_init(&uart->timer, config->clock, config->lock, on_timeout, uart);
	uart->region = (struct io_region){ uart->device.name, &uart_ops, uart, config->lock, .base = config->base, .size = 8 };
	if (io_space_map(config->ports, &uart->region, err) < 0) {
		uart_destroy(uart);
		return NULL;
	}
	return uart;
}
