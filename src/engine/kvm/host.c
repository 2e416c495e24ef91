/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The host's KVM (Documentation/virt/kvm/api.rst). */
#include "engine/kvm/host.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/util.h"
#include "host/time.h"
#include "mem/memory.h"

#define DEVICE "/dev/kvm"

static const struct {
	int number;
	const char *name;
} needed[] = {
	{ KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY" },
	{ KVM_CAP_READONLY_MEM, "KVM_CAP_READONLY_MEM" },
	{ KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT" },
	{ KVM_CAP_USER_NMI, "KVM_CAP_USER_NMI" },
	{ KVM_CAP_VCPU_EVENTS, "KVM_CAP_VCPU_EVENTS" },
	{ KVM_CAP_DEBUGREGS, "KVM_CAP_DEBUGREGS" },
	{ KVM_CAP_XSAVE, "KVM_CAP_XSAVE" },
	{ KVM_CAP_XCRS, "KVM_CAP_XCRS" },
	{ KVM_CAP_SREGS2, "KVM_CAP_SREGS2" },
	{ KVM_CAP_X86_USER_SPACE_MSR, "KVM_CAP_X86_USER_SPACE_MSR" },
	{ KVM_CAP_X86_MSR_FILTER, "KVM_CAP_X86_MSR_FILTER" },
	{ KVM_CAP_VCPU_ATTRIBUTES, "KVM_CAP_VCPU_ATTRIBUTES" },
};

static const char *remedy(int code)
{
	switch (code) {
	case ENOENT: case ENXIO: case ENODEV:
		return "load the module (modprobe kvm_intel or kvm_amd), and switch virtualization on in the firmware's setup, or in the "
		       "settings of the virtual machine around; or use --engine jit";
	case EACCES: case EPERM:
		return "become a member of the group that owns it (usermod -aG kvm USER, then log in anew), or use --engine jit";
	default:
		return "use --engine jit";
	}
}

static bool module_has(const char *module, const char *parameter)
{
	char path[80], value = 0;
	snprintf(path, sizeof(path), "/sys/module/%s/parameters/%s", module, parameter);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	bool has = read(fd, &value, 1) == 1 && (value == 'Y' || value == '1');
	close(fd);
	return has;
}

static bool has(const struct kvm_host *host, int capability)
{
	return ioctl(host->fd, KVM_CHECK_EXTENSION, capability) > 0;
}

static int check(struct kvm_host *host, struct error *err)
{
	int version = ioctl(host->fd, KVM_GET_API_VERSION, 0);
	if (version != KVM_API_VERSION)
		return error_set(err, ENODEV, DEVICE " speaks no KVM of version %d; use --engine jit", KVM_API_VERSION);
	for (unsigned i = 0; i < ARRAY_SIZE(needed); i++)
		if (!has(host, needed[i].number))
			return error_set(err, ENOSYS, "the host's KVM lacks %s, which engine kvm needs; use a newer kernel (Linux 5.16 has "
					 "all), or --engine jit", needed[i].name);
	int size = ioctl(host->fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (size < (int)sizeof(struct kvm_run))
		return error_set(err, errno, DEVICE ": KVM_GET_VCPU_MMAP_SIZE: %s; use --engine jit", strerror(errno));
	host->run_size = (size_t)size;
	int vcpus = ioctl(host->fd, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS);
	host->ioeventfd = has(host, KVM_CAP_IOEVENTFD) && has(host, KVM_CAP_IOEVENTFD_ANY_LENGTH);
	int page = ioctl(host->fd, KVM_CHECK_EXTENSION, KVM_CAP_COALESCED_MMIO);
	if (page > 0 && ((size_t)page + 1) * GUEST_PAGE_SIZE <= host->run_size && has(host, KVM_CAP_COALESCED_PIO))
		host->ring_page = (unsigned)page;
	host->nested_paging = module_has("kvm_intel", "ept") || module_has("kvm_amd", "npt");
	host->max_vcpus = vcpus > 0 ? (unsigned)vcpus : 4;
	return 0;
}

int kvm_host_open(struct kvm_host *host, struct error *err)
{
	host->fd = open(DEVICE, O_RDWR | O_CLOEXEC);
	if (host->fd < 0)
		return error_set(err, errno, DEVICE ": %s; %s", strerror(errno), remedy(errno));
	if (check(host, err) < 0) {
		kvm_host_close(host);
		return -1;
	}
	return 0;
}

void kvm_host_close(struct kvm_host *host)
{
	if (host->fd >= 0)
		close(host->fd);
	host->fd = -1;
}

/* Intel processors that cannot run real mode need a page of tables and three of a TSS. */
void kvm_host_set_places(int vm)
{
	uint64_t identity = KVM_PLACES;
	ioctl(vm, KVM_SET_IDENTITY_MAP_ADDR, &identity);
	ioctl(vm, KVM_SET_TSS_ADDR, KVM_PLACES + 0x1000);
}

#define CPUID_ROOM 256u

struct kvm_cpuid2 *kvm_host_cpuid(const struct kvm_host *host)
{
	struct kvm_cpuid2 *list = calloc(1, sizeof(*list) + CPUID_ROOM * sizeof(list->entries[0]));
	if (!list)
		return NULL;
	list->nent = CPUID_ROOM;
	if (ioctl(host->fd, KVM_GET_SUPPORTED_CPUID, list) < 0)
		list->nent = 0;
	return list;
}

/* --- the probe --- */

#define PROBE_TURNS 2000u
/* Hardware takes 300 to 1000, and what a nested exit costs is no more than 50000 for each turn. */
#define SOFTWARE_PS 300000u
#define PROBE_MEMORY 4096u
#define PROBE_OFFSET (1ull << 60)

/* In real mode: hlt; mov ecx, TURNS; 1: dec ecx; jnz 1b; hlt; rdtsc; hlt. */
static const uint8_t probe_code[] = {
	0xf4, 0x66, 0xb9, PROBE_TURNS & 0xff, PROBE_TURNS >> 8, 0, 0, 0x66, 0x49, 0x75, 0xfc, 0xf4, 0x0f, 0x31, 0xf4,
};

struct bench {
	int vm, vcpu;
	struct kvm_run *run;
	uint8_t *memory;
};

static bool bench_open(struct bench *b, const struct kvm_host *host)
{
	struct kvm_sregs sregs;
	struct kvm_regs regs = { .rflags = 2 };
	b->vm = ioctl(host->fd, KVM_CREATE_VM, 0);
	b->memory = mmap(NULL, PROBE_MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (b->vm < 0 || b->memory == MAP_FAILED)
		return false;
	kvm_host_set_places(b->vm);
	memcpy(b->memory, probe_code, sizeof(probe_code));
	struct kvm_userspace_memory_region region = { .memory_size = PROBE_MEMORY, .userspace_addr = (uintptr_t)b->memory };
	b->vcpu = ioctl(b->vm, KVM_SET_USER_MEMORY_REGION, &region) < 0 ? -1 : ioctl(b->vm, KVM_CREATE_VCPU, 0);
	if (b->vcpu < 0)
		return false;
	b->run = mmap(NULL, host->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, b->vcpu, 0);
	if (b->run == MAP_FAILED || ioctl(b->vcpu, KVM_GET_SREGS, &sregs) < 0)
		return false;
	sregs.cs.base = sregs.cs.selector = 0;
	return ioctl(b->vcpu, KVM_SET_SREGS, &sregs) == 0 && ioctl(b->vcpu, KVM_SET_REGS, &regs) == 0;
}

static void bench_close(struct bench *b, const struct kvm_host *host)
{
	int code = errno;
	if (b->run != MAP_FAILED)
		munmap(b->run, host->run_size);
	if (b->vcpu >= 0)
		close(b->vcpu);
	if (b->vm >= 0)
		close(b->vm);
	if (b->memory != MAP_FAILED)
		munmap(b->memory, PROBE_MEMORY);
	errno = code;
}

/* Up to the next HLT. */
static bool bench_run(struct bench *b)
{
	int result;
	do
		result = ioctl(b->vcpu, KVM_RUN, 0);
	while (result < 0 && errno == EINTR);
	if (result == 0 && b->run->exit_reason != KVM_EXIT_HLT)
		errno = EPROTO;
	return result == 0 && b->run->exit_reason == KVM_EXIT_HLT;
}

static bool measure(struct bench *b, struct kvm_probe *probe)
{
	uint64_t offset = PROBE_OFFSET - host_tsc();
	struct kvm_device_attr attr = { .group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET, .addr = (uintptr_t)&offset };
	struct kvm_regs regs;
	if (!bench_run(b)) /* memory is shown to the guest */
		return false;
	uint64_t start = host_time_ns();
	if (!bench_run(b))
		return false;
	probe->loop_ps = (host_time_ns() - start) * 1000 / PROBE_TURNS;
	probe->hardware = probe->loop_ps < SOFTWARE_PS;
	bool set = ioctl(b->vcpu, KVM_SET_DEVICE_ATTR, &attr) == 0;
	if (!bench_run(b) || ioctl(b->vcpu, KVM_GET_REGS, &regs) < 0)
		return false;
	probe->tsc_offset = set && (uint32_t)regs.rdx >> 28 == PROBE_OFFSET >> 60;
	return true;
}

static int try_guest(const struct kvm_host *host, struct kvm_probe *probe, struct error *err)
{
	struct bench b = { .vm = -1, .vcpu = -1, .run = MAP_FAILED, .memory = MAP_FAILED };
	bool done = bench_open(&b, host) && measure(&b, probe);
	bench_close(&b, host);
	if (!done)
		return error_set(err, errno, "a trial of the host's KVM failed: %s; use --engine jit", strerror(errno));
	return 0;
}

int kvm_host_probe(const struct kvm_host *host, struct kvm_probe *probe, struct error *err)
{
	/* The host stays the same while we run. */
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static struct kvm_probe known;
	static bool is_known;
	int result = 0;
	pthread_mutex_lock(&lock);
	if (!is_known)
		result = try_guest(host, &known, err);
	is_known = result == 0;
	*probe = known;
	pthread_mutex_unlock(&lock);
	return result;
}
