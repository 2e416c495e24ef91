/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One connection at a time. While the debugger holds the machine it is paused
 * (machine_pause, once); "continue" and "step" resume it, a stop pauses it again
 * and sends the stop reply. Breakpoints are addresses that the engine asks
 * about (cpu.debug_check), so guest memory is never patched.
 */
#define _GNU_SOURCE
#include "vm/gdb.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "vm/gdb_regs.h"

#define PACKET_MAX 16384
#define MAX_POINTS 64

enum point_kind { POINT_CODE, POINT_CODE_HARDWARE, POINT_WRITE, POINT_READ, POINT_ACCESS }; /* as in Z0..Z4 */

struct point {
	enum point_kind kind;
	uint64_t address;
	unsigned size;
};

struct gdb {
	struct machine *machine;
	int listener, client;
	char *unix_path;
	bool no_ack, holding; /* holding: the machine is paused on the debugger's behalf */
	unsigned thread;      /* of g, m, ...: vCPU index */
	struct point points[MAX_POINTS];
	unsigned point_count;
	/* RIP (linear) where each vCPU was resumed: the breakpoint there does not stop it again at once. */
	uint64_t resumed_at[MACHINE_MAX_CPUS];
	bool resumed[MACHINE_MAX_CPUS];
	/* Written by the vCPU that hit, read when the machine is paused. */
	struct { enum point_kind kind; uint64_t address; bool set; } hit;
	char in[PACKET_MAX];
	size_t in_length;
	char out[PACKET_MAX + 8];
	size_t out_length;
};

static struct cpu *current(struct gdb *g)
{
	return machine_cpu(g->machine, g->thread);
}

/* --- reply text --- */

static void put(struct gdb *g, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(struct gdb *g, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	size_t room = PACKET_MAX - g->out_length;
	int n = vsnprintf(g->out + g->out_length, room, format, args);
	va_end(args);
	if (n > 0)
		g->out_length += MIN((size_t)n, room - 1);
}

static void put_hex(struct gdb *g, const uint8_t *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++)
		put(g, "%02x", bytes[i]);
}

static void send_all(struct gdb *g, const char *data, size_t length)
{
	while (length && g->client >= 0) {
		ssize_t n = send(g->client, data, length, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			shutdown(g->client, SHUT_RDWR); /* whoever reads sees the end of the connection */
			return;
		}
		data += n;
		length -= (size_t)n;
	}
}

static void begin(struct gdb *g)
{
	g->out[0] = '$';
	g->out_length = 1;
}

static void finish(struct gdb *g)
{
	uint8_t sum = 0;
	for (size_t i = 1; i < g->out_length; i++)
		sum += (uint8_t)g->out[i];
	put(g, "#%02x", sum);
	send_all(g, g->out, g->out_length);
}

/* --- parsing --- */

static int hex_digit(char ch)
{
	return ch >= '0' && ch <= '9' ? ch - '0' : ch >= 'a' && ch <= 'f' ? ch - 'a' + 10 : ch >= 'A' && ch <= 'F' ? ch - 'A' + 10 : -1;
}

static uint64_t parse_hex(const char **at)
{
	uint64_t value = 0;
	for (int d; (d = hex_digit(**at)) >= 0; ++*at)
		value = value << 4 | (unsigned)d;
	return value;
}

static bool skip(const char **at, char ch)
{
	if (**at != ch)
		return false;
	++*at;
	return true;
}

/* Returns the number of bytes; stops at the first that is not two hex digits. */
static size_t parse_bytes(const char *text, uint8_t *to, size_t room)
{
	size_t n = 0;
	for (; n < room && hex_digit(text[0]) >= 0 && hex_digit(text[1]) >= 0; text += 2)
		to[n++] = (uint8_t)(hex_digit(text[0]) << 4 | hex_digit(text[1]));
	return n;
}

/* --- break- and watchpoints --- */

static unsigned point_access(const struct point *p)
{
	static const unsigned access[] = { [POINT_WRITE] = ACCESS_W, [POINT_READ] = ACCESS_R, [POINT_ACCESS] = ACCESS_RW };
	return p->kind <= POINT_CODE_HARDWARE ? 0 : access[p->kind];
}

static bool point_matches(const struct point *p, uint64_t linear, unsigned size, unsigned access)
{
	if (p->kind <= POINT_CODE_HARDWARE)
		return !access && p->address == linear;
	return (access & point_access(p)) && linear < p->address + p->size && p->address < linear + size;
}

/* On the vCPU's thread, while the list stands still. */
static bool check(void *opaque, struct cpu *c, uint64_t linear, unsigned size, unsigned access)
{
	struct gdb *g = opaque;
	if (!access && g->resumed[c->index]) {
		bool here = g->resumed_at[c->index] == linear;
		if (here) {
			g->resumed[c->index] = false;
			return false;
		}
	}
	for (unsigned i = 0; i < g->point_count; i++) {
		if (!point_matches(&g->points[i], linear, size, access))
			continue;
		g->hit.kind = g->points[i].kind;
		g->hit.address = g->points[i].address;
		g->hit.set = true;
		if (access)
			c->debug_hit = true;
		return true;
	}
	return false;
}

static void apply_points(struct gdb *g)
{
	bool code = false, data = false;
	for (unsigned i = 0; i < g->point_count; i++)
		*(g->points[i].kind <= POINT_CODE_HARDWARE ? &code : &data) = true;
	for (unsigned i = 0; i < machine_cpu_count(g->machine); i++) {
		struct cpu *c = machine_cpu(g->machine, i);
		c->debug_point_count = g->point_count;
		for (unsigned n = 0; n < MIN(g->point_count, ARRAY_SIZE(c->debug_point)); n++) {
			c->debug_point[n].address = g->points[n].address;
			c->debug_point[n].size = g->points[n].size;
			c->debug_point[n].access = point_access(&g->points[n]);
		}
		c->debug_check = check;
		c->debug_opaque = g;
		c->debug_breakpoints = code;
		c->debug_watchpoints = data;
		tlb_flush_all(c);
		cpu_attention(c, ATTN_STEP);
	}
}

static void command_point(struct gdb *g, const char *p, bool insert)
{
	struct point point = { .kind = (enum point_kind)(*p++ - '0') };
	skip(&p, ',');
	point.address = parse_hex(&p);
	skip(&p, ',');
	point.size = (unsigned)parse_hex(&p);
	if ((unsigned)point.kind > POINT_ACCESS)
		return; /* the empty reply: not supported */
	unsigned at = 0;
	while (at < g->point_count && (g->points[at].kind != point.kind || g->points[at].address != point.address))
		at++;
	if (insert && at == MAX_POINTS) {
		put(g, "E%02x", ENOSPC);
		return;
	}
	if (insert) {
		g->points[at] = point;
		if (at == g->point_count)
			g->point_count++;
	} else if (at < g->point_count) {
		g->points[at] = g->points[--g->point_count];
	}
	apply_points(g);
	put(g, "OK");
}

/* --- running and stopping --- */

static uint64_t linear_rip(const struct cpu *c)
{
	uint64_t linear = c->gpr[REG_RIP] + c->segment_base[SEG_CS];
	return c->code_mode == ISA_MODE_64 ? linear : (uint32_t)linear;
}

static void resume(struct gdb *g, int step_cpu)
{
	for (unsigned i = 0; i < machine_cpu_count(g->machine); i++) {
		struct cpu *c = machine_cpu(g->machine, i);
		g->resumed[i] = true;
		g->resumed_at[i] = linear_rip(c);
		c->debug_hit = false;
		c->debug_step = (int)i == step_cpu;
		if (c->debug_step)
			cpu_attention(c, ATTN_STEP);
	}
	g->hit.set = false;
	g->holding = false;
	machine_run_only(g->machine, step_cpu);
	machine_resume(g->machine);
}

static void stop_reply(struct gdb *g, int signal)
{
	static const char *const watch_names[] = { [POINT_WRITE] = "watch", [POINT_READ] = "rwatch", [POINT_ACCESS] = "awatch" };
	put(g, "T%02xthread:%x;", signal, g->thread + 1);
	if (g->hit.set && g->hit.kind >= POINT_WRITE)
		put(g, "%s:%llx;", watch_names[g->hit.kind], (unsigned long long)g->hit.address);
	g->hit.set = false;
}

/* The machine has been paused once for us. */
static void on_stopped(void *opaque, unsigned index)
{
	struct gdb *g = opaque;
	if (g->holding) {
		machine_resume(g->machine); /* a second vCPU stopped at the same moment; one pause is enough */
		return;
	}
	g->holding = true;
	g->thread = index;
	for (unsigned i = 0; i < machine_cpu_count(g->machine); i++)
		machine_cpu(g->machine, i)->debug_step = false;
	if (g->client < 0) {
		resume(g, -1);
		return;
	}
	begin(g);
	stop_reply(g, 5);
	finish(g);
}

static void interrupt(struct gdb *g)
{
	if (g->holding)
		return;
	machine_pause(g->machine);
	g->holding = true;
	begin(g);
	stop_reply(g, 2);
	finish(g);
}

static void detach(struct gdb *g)
{
	g->point_count = 0;
	if (!g->holding) {
		machine_pause(g->machine);
		g->holding = true;
	}
	apply_points(g);
	resume(g, -1);
}

/* --- memory --- */

static bool copy_memory(struct gdb *g, uint64_t linear, uint8_t *bytes, size_t length, bool write)
{
	struct guest_memory *memory = machine_memory(g->machine);
	while (length) {
		uint64_t gpa;
		size_t n = MIN(length, GUEST_PAGE_SIZE - (linear & GUEST_PAGE_MASK));
		if (!mmu_debug_translate(current(g), linear, &gpa))
			return false;
		if (!(write ? memory_write(memory, gpa, bytes, n) : memory_read(memory, gpa, bytes, n)))
			return false;
		linear += n;
		bytes += n;
		length -= n;
	}
	return true;
}

static void command_read_memory(struct gdb *g, const char *p)
{
	uint64_t linear = parse_hex(&p);
	skip(&p, ',');
	uint64_t length = parse_hex(&p);
	uint8_t bytes[PACKET_MAX / 2 - 64];
	length = MIN(length, sizeof(bytes));
	if (copy_memory(g, linear, bytes, length, false))
		put_hex(g, bytes, length);
	else
		put(g, "E%02x", EFAULT);
}

static void command_write_memory(struct gdb *g, const char *p)
{
	uint64_t linear = parse_hex(&p);
	skip(&p, ',');
	uint64_t length = parse_hex(&p);
	uint8_t bytes[PACKET_MAX / 2];
	bool ok = skip(&p, ':') && length <= sizeof(bytes) && parse_bytes(p, bytes, length) == length &&
		  copy_memory(g, linear, bytes, length, true);
	put(g, ok ? "OK" : "E0e");
}

/* --- registers --- */

static void command_read_registers(struct gdb *g)
{
	uint8_t bytes[16];
	for (unsigned n = 0; n < gdb_reg_count(); n++) {
		gdb_reg_read(current(g), n, bytes);
		put_hex(g, bytes, gdb_reg_size(n));
	}
}

static void command_write_registers(struct gdb *g, const char *p)
{
	uint8_t bytes[16];
	for (unsigned n = 0; n < gdb_reg_count(); n++) {
		unsigned size = gdb_reg_size(n);
		if (parse_bytes(p, bytes, size) != size)
			break;
		gdb_reg_write(current(g), n, bytes);
		p += 2 * size;
	}
	put(g, "OK");
}

static void command_one_register(struct gdb *g, const char *p, bool write)
{
	uint8_t bytes[16];
	unsigned n = (unsigned)parse_hex(&p), size = gdb_reg_size(n);
	if (!size) {
		put(g, "E%02x", EINVAL);
	} else if (!write) {
		gdb_reg_read(current(g), n, bytes);
		put_hex(g, bytes, size);
	} else {
		bool ok = skip(&p, '=') && parse_bytes(p, bytes, size) == size && gdb_reg_write(current(g), n, bytes);
		put(g, ok ? "OK" : "E16");
	}
}

/* --- queries --- */

static void query_features(struct gdb *g, const char *p)
{
	uint64_t offset = parse_hex(&p);
	skip(&p, ',');
	uint64_t length = parse_hex(&p), total = strlen(gdb_target_xml);
	offset = MIN(offset, total);
	length = MIN(MIN(length, total - offset), (uint64_t)PACKET_MAX / 2);
	put(g, "%c%.*s", offset + length < total ? 'm' : 'l', (int)length, gdb_target_xml + offset);
}

static void query_threads(struct gdb *g)
{
	for (unsigned i = 0; i < machine_cpu_count(g->machine); i++)
		put(g, "%c%x", i ? ',' : 'm', i + 1);
}

static const char *after(const char *text, const char *prefix)
{
	size_t n = strlen(prefix);
	return strncmp(text, prefix, n) ? NULL : text + n;
}

static void command_query(struct gdb *g, const char *p)
{
	const char *rest;
	if (after(p, "Supported")) {
		put(g, "PacketSize=%x;qXfer:features:read+;QStartNoAckMode+;vContSupported+", PACKET_MAX - 16);
	} else if ((rest = after(p, "Xfer:features:read:target.xml:"))) {
		query_features(g, rest);
	} else if (after(p, "fThreadInfo")) {
		query_threads(g);
	} else if (after(p, "sThreadInfo")) {
		put(g, "l");
	} else if ((rest = after(p, "ThreadExtraInfo,"))) {
		char text[40];
		unsigned index = (unsigned)parse_hex(&rest) - 1;
		struct cpu *c = machine_cpu(g->machine, index);
		snprintf(text, sizeof(text), "vCPU %u%s", index, c && c->halted ? " (halted)" : "");
		put_hex(g, (const uint8_t *)text, strlen(text));
	} else if (after(p, "C")) {
		put(g, "QC%x", g->thread + 1);
	} else if (after(p, "Attached")) {
		put(g, "1");
	}
}

static void command_thread(struct gdb *g, const char *p)
{
	if (*p == 'c') { /* which threads "c" and "s" mean: vCont says that better */
		put(g, "OK");
		return;
	}
	p++;
	uint64_t id = *p == '-' ? 0 : parse_hex(&p);
	if (id > machine_cpu_count(g->machine)) {
		put(g, "E%02x", EINVAL);
		return;
	}
	if (id)
		g->thread = (unsigned)id - 1;
	put(g, "OK");
}

/* vCont;s:2;c and the like: the first step wins, else all go on. Returns false when nothing was resumed. */
static bool command_vcont(struct gdb *g, const char *p)
{
	for (const char *action = strchr(p, ';'); action; action = strchr(action + 1, ';')) {
		if (action[1] != 's' && action[1] != 'S')
			continue;
		const char *id = strchr(action + 1, ':');
		const char *next = strchr(action + 1, ';');
		unsigned index = g->thread;
		if (id && (!next || id < next)) {
			id++;
			index = (unsigned)parse_hex(&id) - 1;
		}
		if (index >= machine_cpu_count(g->machine)) {
			put(g, "E%02x", EINVAL);
			return false;
		}
		g->thread = index;
		resume(g, (int)index);
		return true;
	}
	resume(g, -1);
	return true;
}

/* Returns false when no reply is due now: the machine runs, or the connection has ended. */
static bool command(struct gdb *g, const char *p)
{
	switch (*p++) {
	case '?': stop_reply(g, 5); return true;
	case 'g': command_read_registers(g); return true;
	case 'G': command_write_registers(g, p); return true;
	case 'p': command_one_register(g, p, false); return true;
	case 'P': command_one_register(g, p, true); return true;
	case 'm': command_read_memory(g, p); return true;
	case 'M': command_write_memory(g, p); return true;
	case 'Z': command_point(g, p, true); return true;
	case 'z': command_point(g, p, false); return true;
	case 'H': command_thread(g, p); return true;
	case 'T': put(g, parse_hex(&p) - 1 < machine_cpu_count(g->machine) ? "OK" : "E16"); return true;
	case 'q': command_query(g, p); return true;
	case 'Q':
		if (after(p, "StartNoAckMode")) {
			g->no_ack = true;
			put(g, "OK");
		}
		return true;
	case 'c': case 'C': resume(g, -1); return false;
	case 's': case 'S': resume(g, (int)g->thread); return false;
	case 'v':
		if (after(p, "Cont?"))
			put(g, "vCont;c;C;s;S");
		else if (after(p, "Cont"))
			return !command_vcont(g, p);
		return true;
	case 'D': put(g, "OK"); finish(g); detach(g); return false;
	case 'k': machine_request_stop(g->machine, 0); return false;
	default: return true;
	}
}

/* --- the connection --- */

static void drop_client(struct gdb *g)
{
	if (g->client < 0)
		return;
	loop_remove(machine_loop(g->machine), g->client);
	close(g->client);
	g->client = -1;
	g->in_length = 0;
	detach(g);
}

static void handle_packet(struct gdb *g, char *body)
{
	if (!g->no_ack)
		send_all(g, "+", 1);
	if (!g->holding)
		interrupt(g);
	begin(g);
	if (command(g, body) && g->client >= 0)
		finish(g);
}

/* Takes one packet or byte off the input; false when it is incomplete. */
static bool take_input(struct gdb *g)
{
	if (!g->in_length)
		return false;
	size_t used = 1;
	if (g->in[0] == 3) {
		interrupt(g);
	} else if (g->in[0] == '$') {
		char *end = memchr(g->in, '#', g->in_length);
		if (!end || (size_t)(end - g->in) + 3 > g->in_length)
			return false;
		used = (size_t)(end - g->in) + 3;
		uint8_t sum = 0;
		for (const char *p = g->in + 1; p < end; p++)
			sum += (uint8_t)*p;
		uint8_t given;
		bool good = parse_bytes(end + 1, &given, 1) == 1 && given == sum;
		*end = 0;
		if (good)
			handle_packet(g, g->in + 1);
		else
			send_all(g, "-", 1);
	}
	if (g->client < 0)
		return false;
	memmove(g->in, g->in + used, g->in_length - used);
	g->in_length -= used;
	return true;
}

static void on_client(void *opaque, uint32_t events)
{
	struct gdb *g = opaque;
	ssize_t n = recv(g->client, g->in + g->in_length, sizeof(g->in) - g->in_length, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) { /* closed, or a packet beyond all bounds filled the buffer */
		drop_client(g);
		return;
	}
	g->in_length += (size_t)n;
	while (take_input(g))
		;
}

static void on_listener(void *opaque, uint32_t events)
{
	struct gdb *g = opaque;
	int fd = accept4(g->listener, NULL, NULL, SOCK_CLOEXEC);
	if (fd < 0)
		return;
	if (g->client >= 0) {
		close(fd);
		return;
	}
	struct error err;
	if (loop_add(machine_loop(g->machine), fd, EPOLLIN, on_client, g, &err) < 0) {
		log_warn("debugger connection refused: %s", err.text);
		close(fd);
		return;
	}
	/* Replies are sent on the machine's loop: a debugger that does not read them must not hold it up for ever. */
	const struct timeval patience = { .tv_sec = 5 };
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	g->client = fd;
	g->no_ack = false;
	if (!g->holding) {
		machine_pause(g->machine);
		g->holding = true;
	}
}

static int listen_unix(struct gdb *g, const char *path, struct error *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof(address.sun_path))
		return error_set(err, ENAMETOOLONG, "--gdb unix:%s: the path is longer than %zu bytes", path,
				 sizeof(address.sun_path) - 1);
	strcpy(address.sun_path, path);
	g->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	/* The socket of a process that was killed is in the way: nobody listens there any more. */
	if (g->listener >= 0 && connect(g->listener, (struct sockaddr *)&address, sizeof(address)) == 0)
		return error_set(err, EADDRINUSE, "--gdb unix:%s: another program listens there; choose another path", path);
	if (errno == ECONNREFUSED)
		unlink(path);
	if (g->listener < 0 || bind(g->listener, (struct sockaddr *)&address, sizeof(address)) || listen(g->listener, 1))
		return error_set(err, errno, "--gdb unix:%s: %s", path, strerror(errno));
	g->unix_path = strdup(path);
	return 0;
}

static int listen_tcp(struct gdb *g, const char *text, struct error *err)
{
	char host[256] = "127.0.0.1";
	const char *colon = strrchr(text, ':');
	const char *port = colon ? colon + 1 : text;
	if (colon && colon != text)
		snprintf(host, sizeof(host), "%.*s", (int)(colon - text), text);
	char *end;
	unsigned long number = strtoul(port, &end, 10);
	if (*port < '0' || *port > '9' || *end || number > 65535)
		return error_set(err, EINVAL, "--gdb %s: the port is a number up to 65535; give PORT, HOST:PORT or unix:PATH", text);
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV }, *info;
	int rc = getaddrinfo(host, port, &hints, &info);
	if (rc)
		return error_set(err, EINVAL, "--gdb %s: %s; give PORT, HOST:PORT or unix:PATH", text, gai_strerror(rc));
	int one = 1;
	g->listener = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (g->listener >= 0)
		setsockopt(g->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	bool ok = g->listener >= 0 && !bind(g->listener, info->ai_addr, info->ai_addrlen) && !listen(g->listener, 1);
	if (!ok)
		error_set(err, errno, "--gdb %s: %s", text, strerror(errno));
	freeaddrinfo(info);
	return ok ? 0 : -1;
}

struct gdb *gdb_create(struct machine *machine, const char *address, struct error *err)
{
	struct gdb *g = calloc(1, sizeof(*g));
	if (!g) {
		error_set(err, ENOMEM, "no memory for the debugger");
		return NULL;
	}
	*g = (struct gdb){ .machine = machine, .listener = -1, .client = -1 };
	const char *path = after(address, "unix:");
	if ((path ? listen_unix(g, path, err) : listen_tcp(g, after(address, "tcp:") ? address + 4 : address, err)) < 0 ||
	    loop_add(machine_loop(machine), g->listener, EPOLLIN, on_listener, g, err) < 0) {
		gdb_destroy(g);
		return NULL;
	}
	machine_set_debugger(machine, on_stopped, g);
	machine_pause(machine);
	g->holding = true;
	return g;
}

void gdb_destroy(struct gdb *g)
{
	if (!g)
		return;
	if (g->client >= 0) {
		begin(g);
		put(g, "W00");
		finish(g);
		loop_remove(machine_loop(g->machine), g->client);
		close(g->client);
	}
	if (g->listener >= 0) {
		loop_remove(machine_loop(g->machine), g->listener);
		close(g->listener);
	}
	if (g->unix_path)
		unlink(g->unix_path);
	free(g->unix_path);
	free(g);
}
