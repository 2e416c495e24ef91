/* SPDX-License-Identifier: GPL-2.0-or-later */
#define _GNU_SOURCE
#include "store/build.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "host/file.h"
#include "store/build_boot.h"
#include "store/gpt.h"
#include "host/process.h"

#define SECTOR 512u
#define MIRROR "http://deb.debian.org/debian"

static const char packages[] =
	"systemd-sysv,systemd-resolved,dbus,udev,kmod,initramfs-tools,zstd,cloud-init,cloud-guest-utils,fdisk,e2fsprogs,openssh-server,sudo,"
	"iproute2,iputils-ping,curl,ca-certificates,netbase,procps,less,vim-tiny";

/* Run by mmdebstrap with the tree's folder as $1, as the user who owns it. It begins with a line that sets UUID. */
static const char customize[] =
	"set -eu\n"
	"root=$1\n"
	"echo \"UUID=$UUID / ext4 defaults 0 1\" >\"$root/etc/fstab\"\n"
	"echo debian >\"$root/etc/hostname\"\n"
	"printf '127.0.0.1\\tlocalhost\\n::1\\tlocalhost ip6-localhost ip6-loopback\\n' >\"$root/etc/hosts\"\n"
	"cat >\"$root/etc/systemd/network/80-dhcp.network\" <<'EOF'\n"
	"[Match]\n"
	"Type=ether\n"
	"\n"
	"[Network]\n"
	"DHCP=yes\n"
	"EOF\n"
	"cat >\"$root/etc/cloud/cloud.cfg.d/90-visor.cfg\" <<'EOF'\n"
	"# Networks are systemd-networkd's; what else is to be done comes on a disk labelled CIDATA.\n"
	"datasource_list: [ NoCloud, None ]\n"
	"network: { config: disabled }\n"
	"apt: { preserve_sources_list: true }\n"
	"locale: false\n"
	"manage_etc_hosts: localhost\n"
	"EOF\n"
	"echo LANG=C.UTF-8 >\"$root/etc/default/locale\"\n"
	"mkdir -p \"$root/boot/grub\"\n"
	"cat >\"$root/boot/grub/grub.cfg\" <<EOF\n"
	"# Written by visor. /vmlinuz and /initrd.img are kept up to date by the kernel's packages.\n"
	"serial --unit=0 --speed=115200\n"
	"terminal_input serial console\n"
	"terminal_output serial console\n"
	"set timeout=1\n"
	"menuentry 'Debian GNU/Linux' {\n"
	"\tlinux /vmlinuz root=UUID=$UUID ro console=tty0 console=ttyS0,115200\n"
	"\tinitrd /initrd.img\n"
	"}\n"
	"menuentry 'Debian GNU/Linux (kernel before)' {\n"
	"\tlinux /vmlinuz.old root=UUID=$UUID ro console=tty0 console=ttyS0,115200\n"
	"\tinitrd /initrd.img.old\n"
	"}\n"
	"EOF\n"
	"systemctl --root=\"$root\" enable systemd-networkd.service systemd-resolved.service ssh.service\n"
	"ln -sf ../run/systemd/resolve/stub-resolv.conf \"$root/etc/resolv.conf\"\n"
	/* Each machine makes its own. */
	"rm -f \"$root\"/etc/ssh/ssh_host_*\n"
	/* How this host fetches packages. */
	"rm -f \"$root/etc/apt/apt.conf.d/99mmdebstrap\"\n"
	": >\"$root/etc/machine-id\"\n"
	"rm -f \"$root/var/lib/dbus/machine-id\" \"$root/var/lib/systemd/random-seed\"\n"
	"rm -rf \"$root\"/var/log/apt \"$root\"/var/log/*.log\n";

struct work {
	const struct build *build;
	char folder[PATH_MAX / 2], log_path[PATH_MAX], sources[PATH_MAX];
	const char *log; /* NULL: everything is shown */
	char uuid[37];
	int disk;
};

static void begin(const struct build *b, const char *text)
{
	if (b->stage)
		b->stage(b->opaque, text);
}

/* --- what the host has --- */

static int check_tools(struct error *err)
{
	static const struct {
		const char *program, *package;
	} tools[] = {
		{ "mmdebstrap", "mmdebstrap" }, { "apt-get", "apt" }, { "dpkg", "dpkg" }, { "mke2fs", "e2fsprogs" }, { "tar", "tar" },
		{ "systemctl", "systemd" },
	};
	for (unsigned i = 0; i < ARRAY_SIZE(tools); i++)
		if (!process_exists(tools[i].program))
			return error_set(err, ENOENT, "%s is missing; install the package %s", tools[i].program, tools[i].package);
	return build_boot_check(err);
}

static bool belongs(const char *suite, const char *release)
{
	size_t length = strlen(release);
	if (strncmp(suite, release, length))
		return false;
	return !suite[length] || !strcmp(suite + length, "-updates") || !strcmp(suite + length, "-security");
}

/* Lines for sources.list: those of the host's that are this release's main part, else Debian's mirror. */
static int find_sources(struct work *w, struct error *err)
{
	const char *release = w->build->release;
	char uri[1000], suite[100], part[100], signed_by[1000], line[2400];
	bool found = false;
	FILE *out = fopen(w->sources, "we");
	FILE *in = popen("apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT) $(SIGNED_BY)' 'Created-By: Packages' 2>/dev/null", "re");
	while (in && out && fgets(line, sizeof(line), in)) {
		int fields = sscanf(line, "%999s %99s %99s %999s", uri, suite, part, signed_by);
		if (fields < 3 || !belongs(suite, release) || strcmp(part, "main"))
			continue;
		if (fields == 4 && *signed_by == '/')
			fprintf(out, "deb [signed-by=%s] %s %s main\n", signed_by, uri, suite);
		else
			fprintf(out, "deb %s %s main\n", uri, suite);
		found = true;
	}
	if (in)
		pclose(in);
	if (out && !found)
		fprintf(out, "deb " MIRROR " %s main\n", release);
	return out && fclose(out) == 0 ? 0 : error_set(err, errno, "%s: cannot write it: %s", w->sources, strerror(errno));
}

/* How the host's apt fetches (proxies above all), for that of the tree, which reads no configuration of the host's. */
static int find_settings(struct work *w, char option[PATH_MAX], struct error *err)
{
	static const char dump[] = "apt-config dump --no-empty --format '%f \"%v\";%n' Acquire::http Acquire::https Acquire::ftp Acquire::Retries "
				   "Acquire::Check-Valid-Until Acquire::Check-Date 2>/dev/null";
	char line[4096];
	snprintf(option, PATH_MAX, "--aptopt=%s/apt.conf", w->folder);
	FILE *out = fopen(strchr(option, '=') + 1, "we"), *in = popen(dump, "re");
	while (in && out && fgets(line, sizeof(line), in))
		fputs(line, out);
	if (in)
		pclose(in);
	return out && fclose(out) == 0 ? 0 : error_set(err, errno, "%s: cannot write it: %s", strchr(option, '=') + 1, strerror(errno));
}

/* --- steps --- */

static int write_script(struct work *w, char path[PATH_MAX], struct error *err)
{
	snprintf(path, PATH_MAX, "%s/customize", w->folder);
	cleanup_close int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
	char head[100];
	int length = snprintf(head, sizeof(head), "#!/bin/sh\nUUID=%s\n", w->uuid);
	if (fd >= 0 && file_write_all(fd, head, (size_t)length, NULL) == 0 && file_write_all(fd, customize, strlen(customize), NULL) == 0)
		return 0;
	return error_set(err, errno, "%s: cannot write it: %s", path, strerror(errno));
}

/* Before there is a kernel: its initial RAM disk cannot find out by a device for which file system it needs a fsck. */
static const char fsck[] = "--essential-hook=mkdir -p \"$1/etc/initramfs-tools/conf.d\"; echo FSTYPE=ext4 >\"$1/etc/initramfs-tools/conf.d/root\"";

/* The tree as a folder when it may be root's, else as an archive that is unpacked in a user namespace. */
static int make_tree(struct work *w, struct error *err)
{
	char include[8192], script[PATH_MAX], hook[PATH_MAX + 32], tree[PATH_MAX], settings[PATH_MAX];
	bool root = geteuid() == 0;
	int n = snprintf(include, sizeof(include), "--include=%s,%s", w->build->kernel, packages);
	for (const char *const *p = w->build->packages; p && *p && n < (int)sizeof(include); p++)
		n += snprintf(include + n, sizeof(include) - (size_t)n, ",%s", *p);
	if (n >= (int)sizeof(include))
		return error_set(err, E2BIG, "--package: too many packages");
	if (write_script(w, script, err) < 0 || find_sources(w, err) < 0 || find_settings(w, settings, err) < 0)
		return -1;
	snprintf(hook, sizeof(hook), "--customize-hook=%s", script);
	snprintf(tree, sizeof(tree), "%s/tree%s", w->folder, root ? "" : ".tar");
	const char *const make[] = { "mmdebstrap", "--variant=minbase", root ? "--mode=root" : "--mode=unshare",
				     root ? "--format=directory" : "--format=tar", settings, include, fsck, hook, w->build->release, tree, w->sources, NULL };
	begin(w->build, "fetching and installing packages (some minutes)");
	return process_run(make, w->log, err);
}

/* Without what GRUB 2.06 cannot read. */
#define FEATURES "^metadata_csum_seed,^orphan_file"

static int make_as_root(struct work *w, uint64_t first, const char *blocks, struct error *err)
{
	char extended[64], tree[PATH_MAX];
	snprintf(extended, sizeof(extended), "offset=%" PRIu64 ",root_owner=0:0", first);
	snprintf(tree, sizeof(tree), "%s/tree", w->folder);
	const char *const make[] = { "mke2fs", "-q", "-F", "-t", "ext4", "-L", "root", "-U", w->uuid, "-O", FEATURES, "-E", extended, "-d", tree,
				     w->build->path, blocks, NULL };
	return process_run(make, w->log, err);
}

/*
 * In a user namespace, whose root owns none of our files: it gets the tree's archive and the disk as open files. It may not make device
 * nodes, which no system needs on its disk.
 */
static int make_as_user(struct work *w, uint64_t first, const char *blocks, struct error *err)
{
	static const char outside[] = "tar=$1 disk=$2; shift 2; exec mmdebstrap --unshare-helper sh -c \"$@\" <\"$tar\" 1<>\"$disk\"";
	static const char inside[] =
		"set -e; d=$(mktemp -d); trap 'rm -rf \"$d\"' EXIT; mkdir \"$d/tree\"\n"
		"tar --numeric-owner --xattrs --xattrs-include='*' --exclude='./dev/*' -C \"$d/tree\" -xf -\n"
		"mke2fs -q -F -t ext4 -L root -U \"$2\" -O " FEATURES " -E root_owner=0:0 -d \"$d/tree\" \"$d/disk\" \"$3\" >&2\n"
		"dd if=\"$d/disk\" bs=64k seek=\"$1\" oflag=seek_bytes conv=sparse,notrunc status=none\n";
	char seek[32], archive[PATH_MAX];
	snprintf(seek, sizeof(seek), "%" PRIu64, first);
	snprintf(archive, sizeof(archive), "%s/tree.tar", w->folder);
	const char *const make[] = { "sh", "-c", outside, "sh", archive, w->build->path, inside, "sh", seek, w->uuid, blocks, NULL };
	return process_run(make, w->log, err);
}

static int make_file_system(struct work *w, struct error *err)
{
	uint64_t first = (uint64_t)BUILD_ROOT_FIRST * SECTOR;
	char blocks[32];
	snprintf(blocks, sizeof(blocks), "%" PRIu64 "k", (w->build->size - first - (1 << 20)) >> 10);
	begin(w->build, "making the file system");
	return geteuid() == 0 ? make_as_root(w, first, blocks, err) : make_as_user(w, first, blocks, err);
}

static int make_disk(struct work *w, struct error *err)
{
	struct build_boot boot = { w->folder, w->log, w->disk, w->build->size / SECTOR, "" };
	memcpy(boot.root_uuid, w->uuid, sizeof(boot.root_uuid));
	if (ftruncate(w->disk, (off_t)w->build->size) < 0)
		return error_set(err, errno, "%s: cannot give it its size: %s", w->build->path, strerror(errno));
	if (make_tree(w, err) < 0 || make_file_system(w, err) < 0)
		return -1;
	begin(w->build, "installing GRUB");
	return build_boot_write(&boot, err);
}

/* --- the whole --- */

/* Where the tree is for a while. Other users may pass through: apt fetches as one of its own. */
static int make_folder(struct work *w, struct error *err)
{
	const char *temporary = getenv("TMPDIR");
	snprintf(w->folder, sizeof(w->folder), "%s/visor-build-XXXXXX", temporary && *temporary == '/' ? temporary : "/var/tmp");
	if (!mkdtemp(w->folder))
		return error_set(err, errno, "%s: cannot make the folder: %s; set TMPDIR to one with room for some GB", w->folder, strerror(errno));
	chmod(w->folder, 0711);
	snprintf(w->log_path, sizeof(w->log_path), "%s/log", w->folder);
	snprintf(w->sources, sizeof(w->sources), "%s/sources.list", w->folder);
	w->log = w->build->verbose ? NULL : w->log_path;
	return 0;
}

static void remove_folder(struct work *w)
{
	const char *const argv[] = { "rm", "-rf", "--one-file-system", "--", w->folder, NULL };
	struct error err;
	if (process_run(argv, NULL, &err) < 0)
		log_warn("%s: cannot remove all of it: %s", w->folder, err.text);
}

int build_debian(const struct build *build, struct error *err)
{
	struct work w = { .build = build, .disk = -1 };
	uint8_t uuid[16];
	if (check_tools(err) < 0 || gpt_uuid(uuid, err) < 0 || make_folder(&w, err) < 0)
		return -1;
	gpt_uuid_text(uuid, w.uuid);
	w.disk = open(build->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int rc = w.disk < 0 ? error_set(err, errno, "%s: cannot create it: %s", build->path, strerror(errno)) : make_disk(&w, err);
	if (w.disk >= 0)
		close(w.disk);
	if (rc < 0 && w.disk >= 0)
		unlink(build->path);
	remove_folder(&w);
	return rc;
}
