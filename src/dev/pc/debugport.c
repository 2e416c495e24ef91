/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dev/pc/debugport.h"

#include <errno.h>
#include <stdlib.h>

#include "base/util.h"

#define PORT_BOCHS 0xe9u
#define PORT_SEABIOS 0x402u
#define PORT_POST 0x80u
#define PORT_EXIT 0xf4u
#define PRESENT 0xe9u

struct debugport {
	struct device device;
	uint8_t post;
	struct debugport_config handles;
	struct io_region bochs, seabios, post_region, exit;
};

static uint64_t present_read(void *opaque, uint64_t offset, unsigned size)
{
	return PRESENT;
}

static void output_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct debugport *port = opaque;
	uint8_t byte = (uint8_t)value;
	char_write(&port->handles.output, &byte, 1);
}

/* A byte that is only kept needs no lock, and kernels access this port to pass time. */
static uint64_t post_read(void *opaque, uint64_t offset, unsigned size)
{
	return __atomic_load_n(&((struct debugport *)opaque)->post, __ATOMIC_RELAXED);
}

static void post_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	__atomic_store_n(&((struct debugport *)opaque)->post, (uint8_t)value, __ATOMIC_RELAXED);
}

static uint64_t exit_read(void *opaque, uint64_t offset, unsigned size)
{
	return 0;
}

static void exit_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct debugport *port = opaque;
	if (!offset) /* the parts of a wide access above the first say nothing new */
		port->handles.exit_code(port->handles.exit_opaque, (unsigned)value << 1 | 1);
}

static const struct io_ops output_ops = { present_read, output_write, 1 };
static const struct io_ops post_ops = { post_read, post_write, 1 };
static const struct io_ops exit_ops = { exit_read, exit_write, 4 };

static const struct field debugport_fields[] = {
	FIELD(struct debugport, post),
	FIELD_END
};

static void debugport_destroy(void *device)
{
	struct debugport *port = device;
	io_space_unmap(port->handles.ports, &port->bochs);
	io_space_unmap(port->handles.ports, &port->seabios);
	io_space_unmap(port->handles.ports, &port->post_region);
	io_space_unmap(port->handles.ports, &port->exit);
	free(port);
}

static const struct device_type debugport_type = {
	.name = "debugport",
	.fields = debugport_fields,
	.destroy = debugport_destroy,
};

struct debugport *debugport_create(const struct debugport_config *config, struct error *err)
{
	struct debugport *port = calloc(1, sizeof(*port));
	if (!port) {
		error_set(err, ENOMEM, "debugport: out of memory");
		return NULL;
	}
	device_init(&port->device, &debugport_type, "debugport", config->lock);
	port->handles = *config;
	port->bochs = (struct io_region){ "debug e9", &output_ops, port, config->lock, .base = PORT_BOCHS, .size = 1 };
	port->seabios = (struct io_region){ "debug 402", &output_ops, port, config->lock, .base = PORT_SEABIOS, .size = 1 };
	port->post_region = (struct io_region){ "post", &post_ops, port, NULL, .base = PORT_POST, .size = 1 };
	port->exit = (struct io_region){ "debug exit", &exit_ops, port, config->lock, .base = PORT_EXIT, .size = 4 };
	if (io_space_map(config->ports, &port->bochs, err) < 0 || io_space_map(config->ports, &port->seabios, err) < 0 ||
	    io_space_map(config->ports, &port->post_region, err) < 0 ||
	    (config->exit_code && io_space_map(config->ports, &port->exit, err) < 0)) {
		debugport_destroy(port);
		return NULL;
	}
	return port;
}
