/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "host/tracee.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/util.h"
#include "host/file.h"

#define PAGE 4096u
#define COMMANDS 4      /* descriptors in the tracee, behind TRACEE_MEMORY */
#define IMAGE 5
#define USER_END 0x7ffffffff000ull
#define OWN_LOWEST (1ull << 44)

struct tracee {
	pid_t pid;
	clockid_t clock;    /* of its processor time */
	uint64_t own;       /* the page of its code; behind it is the one of its calls */
	struct tracee_call *calls;
	int processor;
	bool gone;
};

/* --- its program --- */

/*
 * One page: the head of an ELF file, and code that executes the calls at RBX, EBP of them, up to the first that fails. It uses
 * no memory besides, and is only ever entered by the tracer.
 */
#define CODE_ONE 0x80u    /* one call, with the registers as they are */
#define CODE_LOOP 0x83u

static const uint8_t program[] = {
	0x0f, 0x05, 0xcc,                   /* syscall; int3 */
	0x8b, 0x03,                         /* mov eax, [rbx] */
	0x48, 0x8b, 0x7b, 0x08,             /* mov rdi, [rbx + 8] */
	0x48, 0x8b, 0x73, 0x10,             /* mov rsi, [rbx + 16] */
	0x48, 0x8b, 0x53, 0x18,             /* mov rdx, [rbx + 24] */
	0x4c, 0x8b, 0x53, 0x20,             /* mov r10, [rbx + 32] */
	0x4c, 0x8b, 0x43, 0x28,             /* mov r8, [rbx + 40] */
	0x4c, 0x8b, 0x4b, 0x30,             /* mov r9, [rbx + 48] */
	0x0f, 0x05,                         /* syscall */
	0x48, 0x3d, 0x01, 0xf0, 0xff, 0xff, /* cmp rax, -4095 */
	0x73, 0x08,                         /* jae to the end */
	0x48, 0x83, 0xc3, 0x38,             /* add rbx, 56 */
	0xff, 0xcd,                         /* dec ebp */
	0x75, 0xd4,                         /* jnz to the loop's start */
	0xcc,                               /* int3 */
};
_Static_assert(sizeof(struct tracee_call) == 56, "as the program counts");

static void fill_image(uint8_t page[PAGE], uint64_t at)
{
	const Elf64_Ehdr head = {
		.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT }, .e_type = ET_EXEC, .e_machine = EM_X86_64,
		.e_version = EV_CURRENT, .e_entry = at + CODE_ONE, .e_phoff = sizeof(head), .e_ehsize = sizeof(head), .e_phentsize = sizeof(Elf64_Phdr), .e_phnum = 1,
	};
	const Elf64_Phdr load = { .p_type = PT_LOAD, .p_flags = PF_R | PF_X, .p_vaddr = at, .p_filesz = PAGE, .p_memsz = PAGE, .p_align = PAGE };
	_Static_assert(sizeof(head) + sizeof(load) <= CODE_ONE, "the code is behind both");
	memset(page, 0, PAGE);
	memcpy(page, &head, sizeof(head));
	memcpy(page + sizeof(head), &load, sizeof(load));
	memcpy(page + CODE_ONE, program, sizeof(program));
}

static int make_image(uint64_t at)
{
	uint8_t page[PAGE];
	fill_image(page, at);
	int fd = memfd_create("visor-guest", MFD_CLOEXEC);
	if (fd >= 0 && write(fd, page, sizeof(page)) != sizeof(page)) {
		close(fd);
		return -1;
	}
	return fd;
}

static int make_calls(struct tracee *t)
{
	int fd = memfd_create("visor-guest-calls", MFD_CLOEXEC);
	if (fd < 0)
		return -1;
	void *calls = ftruncate(fd, PAGE) == 0 ? mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
	if (calls == MAP_FAILED) {
		close(fd);
		return -1;
	}
	t->calls = calls;
	return fd;
}

/* --- starting --- */

/* The three calls of the vsyscall page, which the host's kernel carries out without asking the tracer, raise a signal. */
static struct sock_filter filter[] = {
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_gettimeofday, 2, 0),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_time, 1, 0),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getcpu, 0, 1),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
};

/* In the child, which shares the parent's memory until it executes the image. */
static _Noreturn void become_tracee(int memory, int calls, int image)
{
	static char *const arguments[] = { "visor-guest", NULL }, *const none[] = { NULL };
	const struct sock_fprog all = { ARRAY_SIZE(filter), filter };
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &all, 0, 0) == 0 && (memory == TRACEE_MEMORY || dup2(memory, TRACEE_MEMORY) >= 0) &&
	    dup2(calls, COMMANDS) >= 0 && dup3(image, IMAGE, O_CLOEXEC) >= 0 && syscall(SYS_close_range, IMAGE + 1, ~0u, 0) == 0)
		syscall(SYS_execveat, IMAGE, "", arguments, none, AT_EMPTY_PATH);
	_exit(1);
}

/* Descriptors above those that the tracee has them as. */
static int copy_above(int fd)
{
	return fcntl(fd, F_DUPFD_CLOEXEC, IMAGE + 1);
}

static int raise_fd(int fd)
{
	int high = copy_above(fd);
	if (fd >= 0)
		close(fd);
	return high;
}

static pid_t spawn(int memory, int calls, int image)
{
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before); /* the handlers are the parent's */
	pid_t pid = vfork();
	if (pid == 0)
		become_tracee(memory, calls, image);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return pid;
}

static bool wait_stop(struct tracee *t, int *status)
{
	while (waitpid(t->pid, status, __WALL) < 0)
		if (errno != EINTR)
			return false;
	t->gone = !WIFSTOPPED(*status);
	return !t->gone;
}

/* Lets the tracer's own code run to its INT3. */
static bool run_program(struct tracee *t, struct user_regs_struct *regs)
{
	int status;
	regs->orig_rax = ~0ull;
	if (ptrace(PTRACE_SETREGS, t->pid, NULL, regs) < 0)
		return false;
	do {
		if (ptrace(PTRACE_CONT, t->pid, NULL, NULL) < 0 || !wait_stop(t, &status))
			return false;
	} while (WSTOPSIG(status) != SIGTRAP); /* signals from outside are nothing to it */
	return ptrace(PTRACE_GETREGS, t->pid, NULL, regs) == 0;
}

/* Before it has its page of calls. */
static bool map_calls(struct tracee *t)
{
	struct user_regs_struct regs = {
		.rip = t->own + CODE_ONE, .cs = TRACEE_CS, .ss = TRACEE_SS, .rax = SYS_mmap,
		.rdi = t->own + PAGE, .rsi = PAGE, .rdx = PROT_READ, .r10 = MAP_SHARED | MAP_FIXED, .r8 = COMMANDS,
	};
	return run_program(t, &regs) && regs.rax == t->own + PAGE;
}

/* Nothing stays of what the kernel has given it, and RDTSC raises a signal. (CPUID could, too, but to switch that at each change of the
 * process takes two exits to whoever virtualizes the host.) */
static bool empty(struct tracee *t)
{
	const struct tracee_call calls[] = {
		{ SYS_munmap, { 0, t->own } },
		{ SYS_munmap, { t->own + TRACEE_OWN, USER_END - t->own - TRACEE_OWN } },
		{ SYS_prctl, { PR_SET_TSC, PR_TSC_SIGSEGV } },
		{ SYS_close, { COMMANDS } },
	};
	return tracee_calls(t, calls, ARRAY_SIZE(calls)) == ARRAY_SIZE(calls);
}

static bool attach(struct tracee *t)
{
	int status;
	uint64_t none = 0;
	return wait_stop(t, &status) && ptrace(PTRACE_SETOPTIONS, t->pid, NULL, PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD) == 0 &&
	       ptrace(PTRACE_SETSIGMASK, t->pid, sizeof(none), &none) == 0 && map_calls(t) && empty(t);
}

/* Its stops are waited for: signals for them would wake another thread each time. */
static void no_signals_for_stops(void)
{
	struct sigaction action;
	if (sigaction(SIGCHLD, NULL, &action) == 0 && !(action.sa_flags & SA_NOCLDSTOP)) {
		action.sa_flags |= SA_NOCLDSTOP;
		sigaction(SIGCHLD, &action, NULL);
	}
}

static bool start(struct tracee *t, int memory)
{
	no_signals_for_stops();
	uint64_t random = 0;
	if (getrandom(&random, sizeof(random), GRND_NONBLOCK) < 0)
		return false;
	t->own = OWN_LOWEST + ALIGN_DOWN(random % OWN_LOWEST, (uint64_t)PAGE);
	cleanup_close int image = raise_fd(make_image(t->own)), calls = raise_fd(make_calls(t)), copy = copy_above(memory);
	if (image >= 0 && calls >= 0 && copy >= 0)
		t->pid = spawn(copy, calls, image);
	return t->pid > 0 && clock_getcpuclockid(t->pid, &t->clock) == 0 && attach(t);
}

struct tracee *tracee_new(int memory, struct error *err)
{
	struct tracee *t = calloc(1, sizeof(*t));
	if (t)
		t->processor = -1;
	if (t && start(t, memory))
		return t;
	error_set(err, errno, "no process for guest programs: %s", strerror(errno));
	tracee_free(t);
	return NULL;
}

void tracee_free(struct tracee *t)
{
	if (!t)
		return;
	if (t->pid > 0 && !t->gone) {
		kill(t->pid, SIGKILL);
		waitpid(t->pid, NULL, __WALL);
	}
	if (t->calls)
		munmap(t->calls, PAGE);
	free(t);
}

uint64_t tracee_own(const struct tracee *t)
{
	return t->own;
}

/* --- running --- */

unsigned tracee_calls(struct tracee *t, const struct tracee_call *calls, unsigned count)
{
	struct user_regs_struct regs = { .rip = t->own + CODE_LOOP, .rbx = t->own + PAGE, .rbp = count, .cs = TRACEE_CS, .ss = TRACEE_SS };
	if (!count || t->gone)
		return 0;
	memcpy(t->calls, calls, count * sizeof(*calls));
	return run_program(t, &regs) ? count - (uint32_t)regs.rbp : 0;
}

bool tracee_poke(struct tracee *t, uint64_t address, uint8_t byte)
{
	const uint64_t at = ALIGN_DOWN(address, 8ull);
	errno = 0;
	long word = ptrace(PTRACE_PEEKTEXT, t->pid, at, NULL);
	memcpy((uint8_t *)&word + (address & 7), &byte, 1);
	return !errno && ptrace(PTRACE_POKETEXT, t->pid, at, word) == 0;
}

/* orig_rax: no system call is to be restarted. */
static void give(struct user_regs_struct *r, const struct tracee_registers *from)
{
	const uint64_t *g = from->gpr;
	*r = (struct user_regs_struct){
		.rax = g[0], .rcx = g[1], .rdx = g[2], .rbx = g[3], .rsp = g[4], .rbp = g[5], .rsi = g[6], .rdi = g[7],
		.r8 = g[8], .r9 = g[9], .r10 = g[10], .r11 = g[11], .r12 = g[12], .r13 = g[13], .r14 = g[14], .r15 = g[15],
		.rip = from->rip, .eflags = from->rflags, .cs = TRACEE_CS, .ss = TRACEE_SS, .fs_base = from->fs_base, .gs_base = from->gs_base,
		.es = from->selector[0], .ds = from->selector[3],
		.orig_rax = ~0ull,
	};
}

static void take(struct tracee_registers *to, const struct user_regs_struct *r, bool call)
{
	*to = (struct tracee_registers){
		.gpr = { call ? r->orig_rax : r->rax, r->rcx, r->rdx, r->rbx, r->rsp, r->rbp, r->rsi, r->rdi, r->r8, r->r9, r->r10, r->r11, r->r12, r->r13, r->r14, r->r15 },
		.rip = r->rip, .rflags = r->eflags, .fs_base = r->fs_base, .gs_base = r->gs_base,
		.selector = { (uint16_t)r->es, (uint16_t)r->cs, (uint16_t)r->ss, (uint16_t)r->ds, (uint16_t)r->fs, (uint16_t)r->gs },
	};
}

static enum tracee_stop signalled(struct tracee *t, int signal, uint64_t *address)
{
	siginfo_t info;
	switch (signal) {
	case SIGSEGV:
		if (ptrace(PTRACE_GETSIGINFO, t->pid, NULL, &info) < 0)
			return TRACEE_GONE;
		*address = (uintptr_t)info.si_addr;
		return info.si_code == SEGV_MAPERR || info.si_code == SEGV_ACCERR ? TRACEE_PAGE : TRACEE_EXCEPTION;
	case SIGTRAP:
		return TRACEE_TRAP;
	case SIGBUS: case SIGFPE: case SIGILL: case SIGSYS:
		return TRACEE_EXCEPTION;
	default: /* from outside: it is not for what runs there */
		return TRACEE_INTERRUPTED;
	}
}

enum tracee_stop tracee_run(struct tracee *t, struct tracee_registers *registers, uint64_t *address)
{
	int status;
	struct user_regs_struct regs;
	give(&regs, registers);
	if (t->gone || ptrace(PTRACE_SETREGS, t->pid, NULL, &regs) < 0 || ptrace(PTRACE_SYSEMU, t->pid, NULL, NULL) < 0 || !wait_stop(t, &status) ||
	    ptrace(PTRACE_GETREGS, t->pid, NULL, &regs) < 0)
		return TRACEE_GONE;
	bool call = WSTOPSIG(status) == (SIGTRAP | 0x80);
	take(registers, &regs, call);
	return call ? TRACEE_CALL : signalled(t, WSTOPSIG(status), address);
}

int tracee_id(const struct tracee *t)
{
	return t->pid;
}

void tracee_interrupt(int id)
{
	syscall(SYS_tgkill, id, id, SIGUSR1);
}

uint64_t tracee_time(const struct tracee *t)
{
	struct timespec now = { 0 };
	clock_gettime(t->clock, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

bool tracee_get_xstate(const struct tracee *t, void *area, size_t *size)
{
	struct iovec part = { area, *size };
	bool done = ptrace(PTRACE_GETREGSET, t->pid, NT_X86_XSTATE, &part) == 0;
	*size = part.iov_len;
	return done;
}

bool tracee_set_xstate(const struct tracee *t, void *area, size_t size)
{
	struct iovec part = { area, size };
	return ptrace(PTRACE_SETREGSET, t->pid, NT_X86_XSTATE, &part) == 0;
}

void tracee_stay(struct tracee *t, int processor)
{
	cpu_set_t one;
	if (t->processor == processor)
		return;
	CPU_ZERO(&one);
	CPU_SET(processor, &one);
	if (sched_setaffinity(t->pid, sizeof(one), &one) == 0)
		t->processor = processor;
}
