/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Preloaded, a KVM that is less than the host's: without the capability KVM_LACKS, and a request that fails: KVM_REFUSES=NAME:N:ERRNO, the
 * Nth of its kind (-N: and all after it). With KVM_FAKE there is nothing behind /dev/kvm but a version.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static const struct {
	const char *name;
	unsigned long request;
} requests[] = {
	{ "KVM_CREATE_VM", KVM_CREATE_VM }, { "KVM_CREATE_VCPU", KVM_CREATE_VCPU }, { "KVM_RUN", KVM_RUN }, { "KVM_GET_REGS", KVM_GET_REGS },
	{ "KVM_SET_SREGS2", KVM_SET_SREGS2 }, { "KVM_SET_MSRS", KVM_SET_MSRS },
};

static int fake = -1;
static _Atomic long seen;

int open(const char *path, int flags, ...)
{
	va_list a;
	va_start(a, flags);
	int mode = va_arg(a, int);
	va_end(a);
	if (strcmp(path, "/dev/kvm") || !getenv("KVM_FAKE"))
		return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
	return fake = (int)syscall(SYS_openat, AT_FDCWD, "/dev/null", flags, mode);
}

int open64(const char *path, int flags, ...) __attribute__((alias("open")));

static bool count(long which)
{
	long n = atomic_fetch_add(&seen, 1) + 1;
	return which < 0 ? n >= -which : n == which;
}

static int refused(unsigned long request)
{
	char name[32];
	long which;
	int code;
	const char *text = getenv("KVM_REFUSES");
	if (!text || sscanf(text, "%31[^:]:%ld:%d", name, &which, &code) != 3)
		return 0;
	for (unsigned i = 0; i < sizeof(requests) / sizeof(requests[0]); i++)
		if (requests[i].request == request && !strcmp(requests[i].name, name))
			return count(which) ? code : 0;
	return 0;
}

int ioctl(int fd, unsigned long request, ...)
{
	va_list a;
	va_start(a, request);
	unsigned long argument = va_arg(a, unsigned long);
	va_end(a);
	const char *lacks = getenv("KVM_LACKS");
	if (request == KVM_CHECK_EXTENSION && lacks && argument == strtoul(lacks, NULL, 10))
		return 0;
	if (fd == fake && request == KVM_CHECK_EXTENSION)
		return 1;
	if (fd == fake && request == KVM_GET_API_VERSION)
		return KVM_API_VERSION;
	errno = refused(request);
	return errno ? -1 : (int)syscall(SYS_ioctl, fd, request, argument);
}
