/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/util.h"
#include "fuzz.h"
#include "small_machine.h"
#include "vm/gdb.h"

/*
 * What a debugger sends. Bodies of packets stand between '$' and '#' as in the protocol; the two
 * digits after '#' are put right when they are "xx", so that changed packets still are taken.
 */
static struct machine *m;
static struct gdb *gdb;
static char path[64];

static void make(void)
{
	struct error err;
	char address[80];
	gdb_destroy(gdb);
	small_machine_destroy(m);
	m = small_machine_create(2);
	snprintf(path, sizeof(path), "/tmp/visor-fuzz-gdb-%d", (int)getpid());
	snprintf(address, sizeof(address), "unix:%s", path);
	unlink(path);
	gdb = m ? gdb_create(m, address, &err) : NULL;
	fuzz_require(gdb);
}

static void remove_socket(void)
{
	gdb_destroy(gdb);
	small_machine_destroy(m);
	unlink(path);
}

static int connect_client(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	strcpy(address.sun_path, path);
	fuzz_require(fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
	return fd;
}

static void swallow(int fd)
{
	char reply[65536];
	while (recv(fd, reply, sizeof(reply), 0) > 0)
		;
}

static uint8_t *with_sums(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size + 1), *start = NULL, sum = 0;
	memcpy(copy, data, size);
	for (uint8_t *p = copy; p < copy + size; p++) {
		if (*p == '#' && start && p + 3 <= copy + size && p[1] == 'x' && p[2] == 'x') {
			char digits[3];
			snprintf(digits, sizeof(digits), "%02x", sum);
			memcpy(p + 1, digits, 2);
			start = NULL;
		} else if (*p == '$') {
			start = p;
			sum = 0;
		} else {
			sum = (uint8_t)(sum + *p);
		}
	}
	return copy;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!m)
		atexit(remove_socket);
	if (!m || m->ended)
		make();
	int fd = connect_client();
	uint8_t *text = with_sums(data, size);
	loop_once(m->loop, 0, NULL);
	for (size_t at = 0; at < size;) {
		ssize_t n = send(fd, text + at, MIN(size - at, (size_t)4096), MSG_NOSIGNAL);
		if (n < 0 && errno != EAGAIN)
			break;
		at += n > 0 ? (size_t)n : 0;
		loop_once(m->loop, 0, NULL);
		swallow(fd);
	}
	loop_once(m->loop, 0, NULL);
	small_machine_step(m, 3); /* break- and watchpoints are asked about; with the connection still there */
	loop_once(m->loop, 0, NULL);
	close(fd);
	for (unsigned i = 0; i < 3; i++)
		loop_once(m->loop, 0, NULL);
	free(text);
	return 0;
}

#define SEED(name, text) emit(opaque, name, text, sizeof(text) - 1)

void fuzz_seeds(fuzz_seed_fn *emit, void *opaque)
{
	SEED("hello", "+$qSupported:multiprocess+;swbreak+#xx+$QStartNoAckMode#xx+$qXfer:features:read:target.xml:0,ffb#xx$qfThreadInfo#xx"
	     "$qsThreadInfo#xx$qC#xx$qAttached#xx$qThreadExtraInfo,1#xx$vCont?#xx$?#xx");
	SEED("registers", "$QStartNoAckMode#xx$g#xx$p10#xx$P0=0011223344556677#xx$P18=00000000#xx$Hg2#xx$g#xx$G00112233445566778899#xx$T2#xx");
	SEED("memory", "$m100040,40#xx$M8000,4:01020304#xx$m8000,4#xx$mfffffffffffffff0,20#xx$m0,ffffffff#xx$X8000,2:ab#xx");
	SEED("points", "$Z0,100057,1#xx$Z2,8000,4#xx$Z3,8000,4#xx$Z4,8000,ffffffff#xx$Z1,ffffffffffffffff,1#xx$z2,8000,4#xx$c#xx");
	SEED("run", "$vCont;s:1;c#xx\003$s#xx$c#xx\003$vCont;c#xx$vCont;s:9#xx$D#xx");
	SEED("kill", "$k#xx$Hc-1#xx$Hg0#xx$qXfer:features:read:target.xml:ffffffffffffffff,ffffffffffffffff#xx");
}
