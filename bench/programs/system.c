// SPDX-License-Identifier: GPL-2.0-or-later
/* system WHAT COUNT: fork_exec, pipe, getpid, page_fault or files, that often. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int fail(const char *what)
{
	perror(what);
	return 1;
}

/* Every child executes this very program, which says "child" and so ends at once. */
static int fork_exec(long count)
{
	int sum = 0;
	for (long i = 0; i < count; i++) {
		pid_t child = fork();
		if (child < 0)
			return fail("fork");
		if (!child) {
			execl("/proc/self/exe", "system", "child", i & 1 ? "3" : "5", NULL);
			_exit(100);
		}
		int status;
		if (waitpid(child, &status, 0) != child || !WIFEXITED(status))
			return fail("waitpid");
		sum += WEXITSTATUS(status);
	}
	printf("%d\n", sum);
	return 0;
}

static int child(long count)
{
	return (int)count;
}

/* One byte to a child and back. */
static int ping_pong(long count)
{
	int there[2], back[2];
	if (pipe(there) || pipe(back))
		return fail("pipe");
	pid_t other = fork();
	if (other < 0)
		return fail("fork");
	int in = other ? back[0] : there[0], out = other ? there[1] : back[1];
	char byte = 0;
	for (long i = 0; i < count; i++) {
		if (other && write(out, &byte, 1) != 1)
			return fail("write");
		if (read(in, &byte, 1) != 1)
			return fail("read");
		byte++;
		if (!other && write(out, &byte, 1) != 1)
			_exit(1);
	}
	if (!other)
		_exit(0);
	waitpid(other, NULL, 0);
	printf("%d\n", byte);
	return 0;
}

static int getpids(long count)
{
	long differ = 0, pid = getpid();
	for (long i = 0; i < count; i++)
		differ += syscall(SYS_getpid) != pid;
	printf("%ld\n", differ);
	return 0;
}

/* Maps 16 MB, touches each 4 KB page, unmaps. */
static int page_faults(long count)
{
	enum { SIZE = 16 << 20 };
	long sum = 0;
	for (long i = 0; i < count; i++) {
		unsigned char *m = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (m == MAP_FAILED || madvise(m, SIZE, MADV_NOHUGEPAGE))
			return fail("mmap");
		for (long at = 0; at < SIZE; at += 4096)
			m[at] = (unsigned char)(at >> 12);
		for (long at = 0; at < SIZE; at += 4096)
			sum += m[at];
		munmap(m, SIZE);
	}
	printf("%ld\n", sum);
	return 0;
}

static int files(long count)
{
	char name[32];
	for (long i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "file-%ld", i);
		int fd = open(name, O_CREAT | O_EXCL | O_WRONLY, 0600);
		if (fd < 0 || write(fd, name, 16) != 16 || close(fd))
			return fail(name);
		if (i >= 16) {
			snprintf(name, sizeof(name), "file-%ld", i - 16);
			if (unlink(name))
				return fail(name);
		}
	}
	printf("%ld\n", count);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*run)(long count);
	} all[] = { { "fork_exec", fork_exec }, { "pipe", ping_pong }, { "getpid", getpids }, { "page_fault", page_faults },
		    { "files", files }, { "child", child } };
	for (unsigned i = 0; argc == 3 && i < sizeof(all) / sizeof(*all); i++)
		if (!strcmp(argv[1], all[i].name))
			return all[i].run(atol(argv[2]));
	return 2;
}
