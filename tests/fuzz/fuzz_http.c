/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/util.h"
#include "fuzz.h"
#include "host/rundir.h"
#include "small_machine.h"
#include "vm/control.h"
#include "vm/snapshot.h"

/* Requests to the control socket: all bytes that a client sends. */
static struct machine *m;
static struct control *control;
static char directory[] = "/tmp/visor-fuzz-http-XXXXXX";

/* Linked in instead of the real one (--wrap): a request names the file, and this process may be root's. */
int __wrap_snapshot_save(struct machine *machine, const char *path, struct error *err);
int __wrap_snapshot_save(struct machine *machine, const char *path, struct error *err)
{
	fuzz_require(path[0] == '/');
	return path[1] ? error_set(err, ENOSPC, "%s: no saving here", path) : 0;
}

static void make(void)
{
	struct error err;
	control_destroy(control);
	small_machine_destroy(m);
	m = small_machine_create(1);
	control = m ? control_create(m, "fuzz", &err) : NULL;
	fuzz_require(control);
}

static void clean(void)
{
	char path[64];
	control_destroy(control);
	small_machine_destroy(m);
	snprintf(path, sizeof(path), "%s/visor", directory);
	rmdir(path);
	rmdir(directory);
}

static void start(void)
{
	fuzz_require(mkdtemp(directory));
	setenv("XDG_RUNTIME_DIR", directory, 1);
	atexit(clean);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char answer[4096];
	if (!m)
		start();
	if (!m || m->ended)
		make();
	int fd = rundir_connect("fuzz", NULL);
	fuzz_require(fd >= 0);
	for (size_t at = 0; at < size;) {
		ssize_t n = send(fd, data + at, size - at, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno != EAGAIN)
			break;
		at += n > 0 ? (size_t)n : 0;
	}
	shutdown(fd, SHUT_WR);
	/* Until the server closes; the machine's loop answers meanwhile. */
	for (;;) {
		struct pollfd wait = { fd, POLLIN, 0 };
		loop_once(m->loop, 0, NULL);
		if (poll(&wait, 1, 1) > 0 && recv(fd, answer, sizeof(answer), MSG_DONTWAIT) <= 0 && errno != EAGAIN)
			break;
	}
	close(fd);
	for (unsigned i = 0; i < 3; i++)
		loop_once(m->loop, 0, NULL);
	/* As if nothing had been. */
	while (!m->ended && machine_paused(m))
		machine_resume(m);
	return 0;
}

#define SEED(name, text) emit(opaque, name, text, sizeof(text) - 1)

void fuzz_seeds(fuzz_seed_fn *emit, void *opaque)
{
	SEED("machine", "GET /machine HTTP/1.1\r\nHost: visor\r\nConnection: close\r\n\r\n");
	SEED("stats", "GET /stats HTTP/1.1\r\nHost: visor\r\n\r\nGET /machine HTTP/1.1\r\nHost: visor\r\nConnection: close\r\n\r\n");
	SEED("pause", "POST /pause HTTP/1.1\r\nHost: visor\r\nContent-Length: 0\r\n\r\nPOST /resume HTTP/1.1\r\nHost: v\r\nContent-Length: 2\r\n\r\n{}");
	SEED("save", "POST /save HTTP/1.1\r\nHost: visor\r\nContent-Type: application/json\r\nContent-Length: 29\r\n\r\n{\"file\": \"/tmp/x\",\"stop\":true}");
	SEED("save-done", "POST /save HTTP/1.1\r\nHost: visor\r\nContent-Length: 12\r\n\r\n{\"file\":\"/\"}");
	SEED("reset", "POST /reset HTTP/1.0\r\nContent-Length: 20\r\n\r\n[[[[[[[[{\"a\":1e999}]]");
	SEED("button", "POST /powerbutton HTTP/1.1\r\nHost: visor\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"a\":\r\n3\r\n1}\n\r\n0\r\n\r\n");
	SEED("stop", "POST /stop HTTP/1.1\r\nHost: visor\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n{}");
	SEED("wrong", "DELETE /machine HTTP/1.1\r\nHost: visor\r\n\r\nPUT /nothing%00%2f?a=b&c HTTP/1.1\r\n\r\n");
}
