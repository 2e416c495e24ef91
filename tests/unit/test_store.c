/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The store of images: names, machines over images, seeds for cloud-init, imports, partition tables.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "base/util.h"
#include "block/image.h"
#include "host/file.h"
#include "host/process.h"
#include "store/build.h"
#include "store/digest.h"
#include "store/fetch.h"
#include "store/gpt.h"
#include "store/import.h"
#include "store/machine.h"
#include "store/seed.h"
#include "store/store.h"

static char folder[64];

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	return remove(path);
}

static int setup(void **state)
{
	strcpy(folder, "/tmp/test_store-XXXXXX");
	return mkdtemp(folder) && setenv("XDG_DATA_HOME", folder, 1) == 0 ? 0 : -1;
}

static int teardown(void **state)
{
	return nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static char *in_folder(const char *name)
{
	static char path[4][PATH_MAX];
	static unsigned turn;
	char *room = path[turn++ % 4];
	snprintf(room, PATH_MAX, "%s/%s", folder, name);
	return room;
}

static void write_file(const char *path, const void *data, size_t size)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, size), size);
	close(fd);
}

#define assert_says(err, what) \
	do { \
		if (!strstr((err).text, what)) \
			fail_msg("'%s' does not say '%s'", (err).text, what); \
	} while (0)

/* A raw image of 1 MiB with a pattern from the seed; its path. */
static char *raw_image(const char *name, unsigned seed)
{
	char *path = in_folder(name);
	uint8_t *data = calloc(1, 1 << 20);
	for (unsigned i = 0; i < 1 << 20; i += 4096)
		store_le32(data + i, seed + i);
	write_file(path, data, 1 << 20);
	free(data);
	return path;
}

static void import_as(const char *path, const char *name)
{
	const struct store_import import = { .source = path, .name = name };
	struct error err = { 0 };
	if (store_import(&import, &err) < 0)
		fail_msg("%s", err.text);
}

/* --- digests --- */

static void test_digest(void **state)
{
	/* FIPS 180-4's examples. */
	char text[DIGEST_TEXT];
	struct error err;
	digest_text("abc", 3, text);
	assert_string_equal(text, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	write_file(in_folder("empty"), "", 0);
	assert_int_equal(digest_file(in_folder("empty"), text, &err), 0);
	assert_string_equal(text, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	assert_int_equal(digest_check(text, &err), 0);
	assert_int_equal(digest_check("e3b0", &err), -1);
	text[5] = 'g';
	assert_int_equal(digest_check(text, &err), -1);
	assert_int_equal(digest_file(in_folder("none"), text, &err), -1);
}

/* --- seeds --- */

static json_t *parse_user_data(const struct seed *seed)
{
	char *text = seed_user_data(seed);
	assert_non_null(text);
	assert_memory_equal(text, "#cloud-config\n", 14);
	json_t *json = json_loads(text + 14, 0, NULL);
	assert_non_null(json);
	free(text);
	return json;
}

static void test_user_data(void **state)
{
	json_t *keys = json_pack("[s]", "ssh-ed25519 AAAA \"quoted\": \\ me@host");
	const struct seed with_user = { "web", "host", "ana", keys }, usual = { "web", "host", NULL, keys }, root = { "web", "host", "root", keys };
	json_t *json = parse_user_data(&with_user);
	json_t *user = json_array_get(json_object_get(json, "users"), 0);
	assert_int_equal(json_array_size(json_object_get(json, "users")), 1);
	assert_string_equal(json_string_value(json_object_get(user, "name")), "ana");
	assert_true(json_equal(json_object_get(user, "ssh_authorized_keys"), keys));
	assert_true(json_is_false(json_object_get(json, "ssh_pwauth")));
	assert_string_equal(json_string_value(json_object_get(json, "hostname")), "host");
	assert_null(json_object_get(json, "disable_root"));
	json_decref(json);
	json = parse_user_data(&usual);
	assert_null(json_object_get(json, "users"));
	assert_true(json_equal(json_object_get(json, "ssh_authorized_keys"), keys));
	json_decref(json);
	json = parse_user_data(&root);
	assert_true(json_is_false(json_object_get(json, "disable_root")));
	json_decref(json);
	json_decref(keys);
}

static void test_instance(void **state)
{
	const struct seed seed = { .machine = "web", .hostname = "host" };
	char *a = seed_meta_data(&seed, "one"), *same = seed_meta_data(&seed, "one"), *b = seed_meta_data(&seed, "two");
	assert_string_equal(a, same);
	assert_string_not_equal(a, b);
	json_t *json = json_loads(a, 0, NULL);
	assert_string_equal(json_string_value(json_object_get(json, "local-hostname")), "host");
	assert_non_null(json_object_get(json, "instance-id"));
	json_decref(json);
	free(a);
	free(same);
	free(b);
}

static void test_seed_image(void **state)
{
	const struct seed seed = { .machine = "web", .hostname = "host", .user = "ana" };
	char *path = in_folder("seed.iso"), *user_data = seed_user_data(&seed), text[4096];
	struct archive_entry *entry;
	struct error err;
	uint8_t *data;
	size_t size;
	unsigned found = 0;
	assert_int_equal(seed_write(&seed, path, &err), 0);
	data = file_read(path, 16 << 20, &size, &err);
	assert_non_null(data);
	assert_int_equal(size % 2048, 0);
	/* ECMA-119, 8.4: the primary volume descriptor is in sector 16, the volume identifier at 40. */
	assert_memory_equal(data + 16 * 2048, "\1CD001\1", 7);
	assert_memory_equal(data + 16 * 2048 + 40, "CIDATA                          ", 32);
	struct archive *iso = archive_read_new();
	archive_read_support_format_iso9660(iso);
	assert_int_equal(archive_read_open_memory(iso, data, size), ARCHIVE_OK);
	while (archive_read_next_header(iso, &entry) == ARCHIVE_OK) {
		if (strcmp(archive_entry_pathname(entry), "user-data"))
			continue;
		la_ssize_t length = archive_read_data(iso, text, sizeof(text));
		assert_int_equal(length, strlen(user_data));
		assert_memory_equal(text, user_data, (size_t)length);
		found++;
	}
	archive_read_free(iso);
	assert_int_equal(found, 1);
	free(user_data);
	free(data);
}

static void test_names(void **state)
{
	static const char *const users[] = { "ana", "_x", "a-b_9" }, *const no_users[] = { "", "Ana", "9a", "a b", "a:b", "../x" };
	static const char *const hosts[] = { "web", "a.b-c.d1", "9" }, *const no_hosts[] = { "", "-a", "a-", "a..b", "a_b", ".a", "a.", "a b" };
	struct error err;
	for (unsigned i = 0; i < ARRAY_SIZE(users); i++)
		assert_int_equal(seed_check_user(users[i], &err), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(no_users); i++)
		assert_int_equal(seed_check_user(no_users[i], &err), -1);
	for (unsigned i = 0; i < ARRAY_SIZE(hosts); i++)
		assert_int_equal(seed_check_hostname(hosts[i], &err), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(no_hosts); i++)
		assert_int_equal(seed_check_hostname(no_hosts[i], &err), -1);
}

static json_t *keys_of(const char *text, struct error *err)
{
	write_file(in_folder("keys"), text, strlen(text));
	return seed_keys(in_folder("keys"), err);
}

static void test_keys(void **state)
{
	struct error err;
	json_t *keys = keys_of("# mine\nssh-ed25519 AAAA me\r\n\n  ssh-rsa BBBB\n", &err);
	assert_int_equal(json_array_size(keys), 2);
	assert_string_equal(json_string_value(json_array_get(keys, 0)), "ssh-ed25519 AAAA me");
	assert_string_equal(json_string_value(json_array_get(keys, 1)), "ssh-rsa BBBB");
	json_decref(keys);
	assert_null(keys_of("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n", &err));
	assert_says(err, "private key");
	assert_null(keys_of("\n# nothing\n", &err));
	assert_says(err, "no public key");
	assert_null(keys_of("hello\n", &err));
	assert_null(seed_keys(in_folder("none"), &err));
}

/* --- imports --- */

static void import_name(const char *source, const char *want)
{
	char name[NAME_MAX + 1];
	store_import_name(source, name);
	assert_string_equal(name, want);
}

static void test_import_name(void **state)
{
	import_name("/a/b/debian.qcow2", "debian");
	import_name("x.VMDK", "x");
	import_name("https://host/p/debian-12.img?x=/y#z", "debian-12");
	import_name("http://host/a.b.raw/", "a.b");
	import_name("plain", "plain");
	import_name("release-1.2", "release-1.2");
	import_name(".qcow2", ".qcow2");
}

static json_t *image_entry(json_t *images, const char *name)
{
	json_t *image;
	size_t i;
	json_array_foreach(images, i, image)
		if (!strcmp(json_string_value(json_object_get(image, "name")), name))
			return image;
	return NULL;
}

static void test_import(void **state)
{
	char digest[DIGEST_TEXT], url[PATH_MAX + 8], path[PATH_MAX];
	const char *raw = raw_image("disk.img", 1);
	struct error err;
	uint32_t word;
	assert_int_equal(digest_file(raw, digest, &err), 0);
	struct store_import import = { .source = raw, .sha256 = digest };
	assert_int_equal(store_import(&import, &err), 0);
	assert_int_equal(store_import(&import, &err), -1);
	assert_int_equal(err.code, EEXIST);
	assert_says(err, "visor image rm disk");

	assert_int_equal(store_image("disk", path, &err), 0);
	const struct image_config config = { .path = path, .format = IMAGE_QCOW2, .read_only = true };
	struct image *image = image_open(&config, &err);
	assert_non_null(image);
	assert_int_equal(image_size(image), 1 << 20);
	uint8_t sector[512];
	assert_int_equal(image_read(image, sector, 8192, 512), 0);
	memcpy(&word, sector, 4);
	assert_int_equal(word, 1 + 8192);
	image_close(image);

	digest[0] = digest[0] == '0' ? '1' : '0';
	import.name = "other";
	assert_int_equal(store_import(&import, &err), -1);
	assert_says(err, "SHA-256");
	assert_int_equal(store_image("other", path, &err), -1);
	assert_int_equal(err.code, ENOENT);
	import.sha256 = NULL;
	snprintf(url, sizeof(url), "file://%s", raw);
	import.source = url;
	assert_int_equal(store_import(&import, &err), 0);
	import.name = "../x";
	assert_int_equal(store_import(&import, &err), -1);
	import.name = "third";
	import.source = "gopher://host/x";
	assert_int_equal(store_import(&import, &err), -1);

	json_t *images = store_images(&err);
	assert_int_equal(json_array_size(images), 2);
	assert_int_equal(json_integer_value(json_object_get(image_entry(images, "other"), "size")), 1 << 20);
	json_decref(images);
	assert_int_equal(store_remove_image("other", &err), 0);
	assert_int_equal(store_remove_image("other", &err), -1);
	assert_int_equal(err.code, ENOENT);
}

/* What comes from elsewhere names no files of this host. */
static void test_import_leads(void **state)
{
	static const char descriptor[] = "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\n"
					 "RW 2048 FLAT \"disk.img\" 0\n";
	char url[PATH_MAX + 8];
	struct error err;
	raw_image("disk.img", 3);
	const struct image_create create = { .path = in_folder("over.qcow2"), .format = IMAGE_QCOW2, .backing = "disk.img", .backing_format = "raw" };
	assert_int_equal(image_create(&create, &err), 0);
	snprintf(url, sizeof(url), "file://%s", in_folder("over.qcow2"));
	struct store_import import = { .source = url, .name = "x" };
	assert_int_equal(store_import(&import, &err), -1);
	assert_says(err, "differs from another image");
	write_file(in_folder("flat.vmdk"), descriptor, strlen(descriptor));
	snprintf(url, sizeof(url), "file://%s", in_folder("flat.vmdk"));
	assert_int_equal(store_import(&import, &err), -1);
	assert_says(err, "other files");
	/* A user's own chain becomes one image. */
	import.source = in_folder("over.qcow2");
	assert_int_equal(store_import(&import, &err), 0);
}

/* What a killed import left goes after a while, and nothing else does. */
static void test_sweep(void **state)
{
	static const char *const names[] = { ".new-a-999999999.qcow2", ".new-a-b-999999998.qcow2.raw", ".new-a-999999997.qcow2", ".part-0-999999999", "x-999999999" };
	const struct timespec old[2] = { { .tv_sec = 1000000000 }, { .tv_sec = 1000000000 } };
	char path[5][PATH_MAX], mine[PATH_MAX];
	struct error err;
	assert_int_equal(store_temporary("a", mine, &err), 0);
	write_file(mine, "x", 1);
	utimensat(AT_FDCWD, mine, old, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		assert_int_equal(store_path(path[i], &err, "images/%s", names[i]), 0);
		write_file(path[i], "x", 1);
		if (i != 2)
			utimensat(AT_FDCWD, path[i], old, 0);
	}
	char other[PATH_MAX];
	assert_int_equal(store_temporary("b", other, &err), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
		assert_int_equal(access(path[i], F_OK), i < 2 ? -1 : 0);
	assert_int_equal(access(mine, F_OK), 0);
}

/* --- machines --- */

static void write_word(const char *path, uint64_t offset, uint32_t word)
{
	const struct image_config config = { .path = path, .format = IMAGE_QCOW2 };
	struct error err = { 0 };
	uint8_t sector[512] = { 0 };
	struct image *image = image_open(&config, &err);
	if (!image)
		fail_msg("%s", err.text);
	store_le32(sector, word);
	assert_int_equal(image_write(image, sector, offset, 512), 0);
	assert_int_equal(image_close(image), 0);
}

static uint32_t read_word(const char *path, uint64_t offset)
{
	const struct image_config config = { .path = path, .format = IMAGE_QCOW2, .read_only = true };
	struct error err = { 0 };
	uint8_t sector[512];
	struct image *image = image_open(&config, &err);
	if (!image)
		fail_msg("%s", err.text);
	assert_int_equal(image_read(image, sector, offset, 512), 0);
	image_close(image);
	return load_le32(sector);
}

static void test_machines(void **state)
{
	const struct store_login none = { 0 };
	struct store_machine a, b;
	struct error err;
	import_as(raw_image("raw", 7), "base");
	import_as(raw_image("raw", 9), "base2");
	assert_int_equal(store_machine("a", "base", &none, &a, &err), 0);
	assert_true(a.made);
	assert_false(a.has_keys);
	assert_int_equal(store_machine("b", "base", &none, &b, &err), 0);
	write_word(a.disk, 4096, 77);
	assert_int_equal(read_word(a.disk, 4096), 77);
	assert_int_equal(read_word(a.disk, 8192), 7 + 8192);
	assert_int_equal(read_word(b.disk, 4096), 7 + 4096);
	assert_int_equal(store_machine("a", "base", &none, &a, &err), 0);
	assert_false(a.made);
	assert_int_equal(read_word(a.disk, 4096), 77);
	assert_int_equal(store_machine("a", "base2", &none, &a, &err), -1);
	assert_says(err, "made from the image 'base'");
	assert_int_equal(store_machine("c", "none", &none, &a, &err), -1);
	assert_int_equal(err.code, ENOENT);
	assert_int_equal(store_machine("../c", "base", &none, &a, &err), -1);

	json_t *images = store_images(&err), *users = json_object_get(image_entry(images, "base"), "machines");
	assert_int_equal(json_array_size(users), 2);
	assert_string_equal(json_string_value(json_array_get(users, 1)), "b");
	assert_int_equal(json_array_size(json_object_get(image_entry(images, "base2"), "machines")), 0);
	json_decref(images);
	assert_int_equal(store_remove_image("base", &err), -1);
	assert_says(err, "a, b");
	assert_int_equal(store_remove_machine("a", &err), 0);
	assert_int_equal(store_remove_image("base", &err), -1);
	assert_int_equal(store_remove_machine("b", &err), 0);
	assert_int_equal(store_remove_machine("b", &err), -1);
	assert_int_equal(err.code, ENOENT);
	assert_int_equal(store_remove_image("base", &err), 0);
}

static bool seed_has(const struct store_machine *m, const char *needle)
{
	size_t size;
	uint8_t *data = file_read(m->seed, 16 << 20, &size, NULL);
	assert_non_null(data);
	bool found = memmem(data, size, needle, strlen(needle));
	free(data);
	return found;
}

/* What was said once stays until something else is said. */
static void test_login(void **state)
{
	struct store_login login = { .user = "ana", .key_file = in_folder("key.pub") };
	const struct store_login none = { 0 };
	struct store_machine m;
	struct error err;
	import_as(raw_image("raw", 7), "base");
	write_file(in_folder("key.pub"), "ssh-ed25519 AAAAKEY me\n", 23);
	assert_int_equal(store_machine("my_web", "base", &login, &m, &err), 0);
	assert_true(m.has_keys);
	assert_true(seed_has(&m, "\"ana\""));
	assert_true(seed_has(&m, "AAAAKEY"));
	assert_true(seed_has(&m, "\"hostname\": \"my-web\""));
	assert_int_equal(store_machine("my_web", "base", &none, &m, &err), 0);
	assert_true(m.has_keys);
	assert_true(seed_has(&m, "AAAAKEY"));
	login = (struct store_login){ .hostname = "other" };
	assert_int_equal(store_machine("my_web", "base", &login, &m, &err), 0);
	assert_true(seed_has(&m, "\"hostname\": \"other\""));
	assert_true(seed_has(&m, "\"ana\""));
	login = (struct store_login){ .user = "Ana" };
	assert_int_equal(store_machine("my_web", "base", &login, &m, &err), -1);
	assert_says(err, "--user");
	/* A new machine with wrong flags leaves nothing. */
	assert_int_equal(store_machine("new", "base", &login, &m, &err), -1);
	assert_null(store_load_machine("new", &err));
	assert_int_equal(err.code, ENOENT);
}

/* A file that somebody damaged is an error that names it, and never takes the image away. */
static void test_damaged_machine(void **state)
{
	const struct store_login none = { 0 };
	struct store_machine m;
	struct error err;
	import_as(raw_image("raw", 7), "base");
	assert_int_equal(store_machine("a", "base", &none, &m, &err), 0);
	write_file(in_folder("visor/machines/a/machine.json"), "{\"image\":", 9);
	assert_int_equal(store_machine("a", "base", &none, &m, &err), -1);
	assert_says(err, "machine.json");
	assert_int_equal(store_remove_image("base", &err), -1);
	assert_says(err, "machine.json");
	write_file(in_folder("visor/machines/a/machine.json"), "[1]", 3);
	assert_int_equal(store_machine("a", "base", &none, &m, &err), -1);
	assert_int_equal(store_remove_machine("a", &err), 0);
}

/* --- downloads --- */

static void test_fetch_errors(void **state)
{
	struct error err;
	struct fetch fetch = { .url = "file:///nowhere/at/all", .path = in_folder("part") };
	assert_int_equal(fetch_file(&fetch, &err), -1);
	assert_says(err, "/nowhere/at/all");
	assert_true(fetch_is_url("http://x"));
	assert_false(fetch_is_url("/x/http:/y"));
}

/* --- partition tables --- */

static void test_gpt(void **state)
{
	enum { SECTORS = 8192 };
	const struct gpt_partition partitions[] = { { GPT_LINUX, 1, 2048, 4095, "root" }, { GPT_EFI_SYSTEM, 15, 64, 127, "efi" } };
	uint8_t boot[446], *disk = calloc(SECTORS, 512);
	struct error err;
	size_t size;
	memset(boot, 0x5a, sizeof(boot));
	memcpy(disk, boot, sizeof(boot));
	write_file(in_folder("disk"), disk, SECTORS * 512);
	free(disk);
	int fd = open(in_folder("disk"), O_RDWR);
	assert_int_equal(gpt_write(fd, SECTORS, partitions, 2, &err), 0);
	close(fd);
	disk = file_read(in_folder("disk"), SECTORS * 512, &size, &err);
	assert_memory_equal(disk, boot, sizeof(boot));
	assert_int_equal(disk[450], 0xee);
	assert_int_equal(load_le16(disk + 510), 0xaa55);
	for (unsigned copy = 0; copy < 2; copy++) {
		uint8_t *header = disk + (copy ? SECTORS - 1 : 1) * 512, *entries = disk + load_le64(header + 72) * 512;
		uint32_t crc = load_le32(header + 16);
		assert_memory_equal(header, "EFI PART", 8);
		assert_int_equal(load_le64(header + 24), copy ? SECTORS - 1 : 1);
		assert_int_equal(load_le64(header + 32), copy ? 1 : SECTORS - 1);
		assert_int_equal(load_le64(header + 48), SECTORS - 34);
		assert_int_equal(load_le32(header + 88), crc32(0, entries, 128 * 128));
		store_le32(header + 16, 0);
		assert_int_equal(crc, crc32(0, header, 92));
		assert_int_equal(load_le64(entries + 32), 2048);
		assert_int_equal(load_le64(entries + 40), 4095);
		assert_int_equal(load_le64(entries + 14 * 128 + 32), 64);
		assert_memory_equal(entries + 56, "r\0o\0o\0t\0\0", 9);
		/* C12A7328-F81F-11D2-BA4B-00A0C93EC93B */
		assert_memory_equal(entries + 14 * 128, "\x28\x73\x2a\xc1\x1f\xf8\xd2\x11\xba\x4b\x00\xa0\xc9\x3e\xc9\x3b", 16);
	}
	free(disk);
}

/* --- programs of the host --- */

static void test_process(void **state)
{
	const char *const good[] = { "sh", "-c", "echo out; echo err >&2", NULL }, *const bad[] = { "sh", "-c", "echo why >&2; exit 3", NULL };
	const char *const none[] = { "no-such-program-here", NULL };
	struct error err;
	size_t size;
	assert_int_equal(process_run(good, in_folder("log"), &err), 0);
	char *log = (char *)file_read(in_folder("log"), 100, &size, &err);
	assert_string_equal(log, "out\nerr\n");
	free(log);
	assert_int_equal(process_run(bad, in_folder("log"), &err), -1);
	assert_says(err, "status 3: why");
	assert_int_equal(process_run(none, in_folder("log"), &err), -1);
	assert_true(process_exists("sh"));
	assert_false(process_exists("no-such-program-here"));
}

/* Names the program that is missing, and its package. */
static void test_build_tools(void **state)
{
	const struct build build = { .release = "bookworm", .size = BUILD_MIN_SIZE, .path = in_folder("disk") };
	char *path = strdup(getenv("PATH"));
	struct error err;
	setenv("PATH", "/nowhere/usr/sbin", 1);
	assert_int_equal(build_debian(&build, &err), -1);
	assert_says(err, "install the package");
	setenv("PATH", path, 1);
	free(path);
	assert_int_equal(access(build.path, F_OK), -1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_digest), TEST(test_user_data), TEST(test_instance), TEST(test_seed_image), TEST(test_names), TEST(test_keys),
		TEST(test_import_name), TEST(test_import), TEST(test_import_leads), TEST(test_sweep), TEST(test_machines), TEST(test_login), TEST(test_damaged_machine),
		TEST(test_fetch_errors), TEST(test_gpt), TEST(test_process), TEST(test_build_tools),
	};
	return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
