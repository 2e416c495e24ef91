/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * visor disk info, check, compare, commit, rebase.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/util.h"
#include "cli/commands.h"
#include "cli/disk.h"

/* --- info --- */

struct info_values {
	unsigned format;
	bool json;
};

static void print_snapshot(const json_t *s)
{
	char room[32], date[32] = "";
	time_t at = (time_t)json_integer_value(json_object_get(s, "time"));
	struct tm tm;
	if (localtime_r(&at, &tm))
		strftime(date, sizeof(date), "%F %T", &tm);
	printf("  snapshot %s: %s, %s, %s\n", json_string_value(json_object_get(s, "id")), json_string_value(json_object_get(s, "name")), date,
	       disk_size_text((uint64_t)json_integer_value(json_object_get(s, "size")), room));
}

static void print_member(const char *name, const json_t *value)
{
	char room[32];
	if (json_is_string(value))
		printf("  %s: %s\n", name, json_string_value(value));
	else if (json_is_boolean(value) && json_is_true(value))
		printf("  %s\n", name);
	else if (json_is_integer(value) && strstr(name, "size"))
		printf("  %s: %s\n", name, disk_size_text((uint64_t)json_integer_value(value), room));
	else if (json_is_integer(value))
		printf("  %s: %lld\n", name, (long long)json_integer_value(value));
}

static void print_info(json_t *info)
{
	char size[32], used[32];
	const char *name;
	json_t *value;
	size_t i;
	printf("%s: %s, %s, %s in use on the host\n", json_string_value(json_object_get(info, "path")),
	       json_string_value(json_object_get(info, "format")),
	       disk_size_text((uint64_t)json_integer_value(json_object_get(info, "size")), size),
	       disk_size_text((uint64_t)json_integer_value(json_object_get(info, "allocated")), used));
	json_object_foreach(info, name, value)
		if (strcmp(name, "path") && strcmp(name, "format") && strcmp(name, "size") && strcmp(name, "allocated"))
			print_member(name, value);
	json_array_foreach(json_object_get(info, "snapshots"), i, value)
		print_snapshot(value);
}

static int info_run(const void *values, const struct operands *operands)
{
	const struct info_values *v = values;
	const struct image_config config = {
		.path = operands->values[0], .format = disk_format(v->format), .read_only = true, .unlocked = true, .alone = true,
	};
	struct error err;
	struct image *image = image_open(&config, &err);
	if (!image)
		return disk_fail(&err);
	json_t *info = image_info(image);
	image_close(image);
	if (!info) {
		log_error("out of memory");
		return STATUS_FAILURE;
	}
	if (v->json) {
		disk_print_json(info);
		return STATUS_OK;
	}
	print_info(info);
	json_decref(info);
	return STATUS_OK;
}

static const struct option info_options[] = {
	FORMAT_OPTION(struct info_values),
	JSON_OPTION(struct info_values),
	OPTION_END
};

const struct command disk_info = {
	.name = "disk info",
	.operands = "FILE",
	.min_operands = 1,
	.max_operands = 1,
	.completion = { COMPLETE_FILE },
	.summary = "show what an image is",
	.options = info_options,
	.values_size = sizeof(struct info_values),
	.run = info_run,
};

/* --- check --- */

struct check_values {
	unsigned format;
	bool repair, json;
};

static void add_finding(void *opaque, const char *text)
{
	if (json_array_size(opaque) < 1000)
		json_array_append_new(opaque, json_string(text));
}

static void print_check(const char *path, const struct image_check *check, json_t *findings)
{
	size_t i;
	json_t *finding;
	json_array_foreach(findings, i, finding)
		printf("%s\n", json_string_value(finding));
	if (check->errors_fixed || check->leaks_fixed)
		printf("%s: %llu error(s) and %llu leak(s) mended\n", path, (unsigned long long)check->errors_fixed,
		       (unsigned long long)check->leaks_fixed);
	if (!check->errors && !check->leaks)
		printf("%s: no errors\n", path);
	else
		printf("%s: %llu error(s), %llu leak(s)%s\n", path, (unsigned long long)check->errors, (unsigned long long)check->leaks,
		       check->errors ? "" : "; leaks only take space");
}

static int check_run(const void *values, const struct operands *operands)
{
	const struct check_values *v = values;
	const struct image_config config = {
		.path = operands->values[0], .format = disk_format(v->format), .read_only = !v->repair, .repair = v->repair, .alone = true,
	};
	json_t *findings = json_array();
	struct image_check check = { .repair = v->repair, .report = add_finding, .opaque = findings };
	struct error err;
	struct image *image = image_open(&config, &err);
	int rc = image ? image_check(image, &check, &err) : -1;
	if (image_finish(image, rc, &err) < 0) {
		json_decref(findings);
		return disk_fail(&err);
	}
	if (v->json)
		disk_print_json(json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:O}", "errors", (json_int_t)check.errors, "leaks", (json_int_t)check.leaks,
					  "errors_fixed", (json_int_t)check.errors_fixed, "leaks_fixed", (json_int_t)check.leaks_fixed,
					  "allocated", (json_int_t)check.allocated, "compressed", (json_int_t)check.compressed, "findings", findings));
	else
		print_check(config.path, &check, findings);
	json_decref(findings);
	return check.errors ? STATUS_FAILURE : STATUS_OK;
}

static const struct option check_options[] = {
	{ .name = "repair", .kind = OPTION_FLAG, .offset = offsetof(struct check_values, repair), .help = "mend what can be mended" },
	FORMAT_OPTION(struct check_values),
	JSON_OPTION(struct check_values),
	OPTION_END
};

const struct command disk_check = {
	.name = "disk check",
	.operands = "FILE",
	.min_operands = 1,
	.max_operands = 1,
	.completion = { COMPLETE_FILE },
	.summary = "find and mend errors in an image's tables",
	.description = "Errors endanger data, and the status is 1 when there are any; leaks only take space.",
	.options = check_options,
	.values_size = sizeof(struct check_values),
	.run = check_run,
};

/* --- compare --- */

struct compare_values {
	unsigned format, format2;
	bool json;
};

static int compare_run(const void *values, const struct operands *operands)
{
	const struct compare_values *v = values;
	struct image_progress progress = disk_progress();
	struct error err;
	struct image *image[2] = { NULL };
	uint64_t differ = 0;
	int rc = 0;
	for (unsigned i = 0; i < 2 && rc == 0; i++) {
		const struct image_config config = { .path = operands->values[i], .format = disk_format(i ? v->format2 : v->format), .read_only = true };
		image[i] = image_open(&config, &err);
		rc = image[i] ? 0 : -1;
	}
	if (rc == 0)
		rc = image_compare(image[0], image[1], &differ, &progress, &err);
	image_close(image[0]);
	image_close(image[1]);
	if (rc < 0)
		return disk_fail(&err);
	disk_progress_end();
	bool equal = differ == UINT64_MAX;
	if (v->json)
		disk_print_json(equal ? json_pack("{s:b}", "equal", 1)
				      : json_pack("{s:b, s:I}", "equal", 0, "differ_at", (json_int_t)differ));
	else if (equal)
		puts("the disks are equal");
	else
		printf("the disks differ at byte %llu\n", (unsigned long long)differ);
	return equal ? STATUS_OK : STATUS_FAILURE;
}

static const struct option compare_options[] = {
	FORMAT_OPTION(struct compare_values),
	{ .name = "format2", .kind = OPTION_CHOICE, .offset = offsetof(struct compare_values, format2), .argument = "FORMAT",
	  .choices = disk_formats, .help = "the format of the second one" },
	JSON_OPTION(struct compare_values),
	OPTION_END
};

const struct command disk_compare = {
	.name = "disk compare",
	.operands = "FILE FILE",
	.min_operands = 2,
	.max_operands = 2,
	.completion = { COMPLETE_FILE, COMPLETE_FILE },
	.summary = "say whether two images hold the same disk",
	.description = "Formats do not matter, nor does which image of a chain has what; a larger disk is the same when the rest is zeros. The status is 1 "
		       "when they differ.",
	.options = compare_options,
	.values_size = sizeof(struct compare_values),
	.run = compare_run,
};

/* --- commit --- */

struct commit_values {
	unsigned format;
	bool keep, json;
};

/* The name of the image behind, as a path, and its format. */
static char *behind(struct image *image, int *format, struct error *err)
{
	json_t *info = image_info(image);
	const char *name = json_string_value(json_object_get(info, "backing")), *kind = json_string_value(json_object_get(info, "backing_format"));
	char *path = NULL;
	*format = kind ? image_format_by_name(kind, NULL) : IMAGE_BY_CONTENT;
	if (name)
		path = image_relative(image_path(image), name);
	if (!path)
		error_set(err, EINVAL, "%s has no image behind it that it could be put into", image_path(image));
	json_decref(info);
	return path;
}

static int commit_into(struct image *image, struct error *err)
{
	struct image_config config = { 0 };
	cleanup_free char *path = behind(image, &config.format, err);
	struct image_progress progress = disk_progress();
	const struct image_copy how = { 0 };
	config.path = path;
	struct image *base = path ? image_open(&config, err) : NULL;
	if (!base)
		return -1;
	int rc = image_size(image) > image_size(base) ? image_resize(base, image_size(image), err) : 0;
	if (rc == 0)
		rc = image_copy(image, base, &how, &progress, err);
	return image_finish(base, rc, err);
}

static int empty(struct image *image, struct error *err)
{
	int error = image_empty(image);
	if (error == ENOTSUP) /* what it has is what the other one has, too */
		return 0;
	return error ? error_set(err, error, "%s: cannot empty it: %s", image_path(image), strerror(error)) : 0;
}

static int commit_run(const void *values, const struct operands *operands)
{
	const struct commit_values *v = values;
	const struct image_config config = { .path = operands->values[0], .format = disk_format(v->format), .alone = true };
	struct error err;
	struct image *image = image_open(&config, &err);
	int rc = image ? commit_into(image, &err) : -1;
	if (rc == 0 && !v->keep)
		rc = empty(image, &err);
	if (image_finish(image, rc, &err) < 0)
		return disk_fail(&err);
	disk_progress_end();
	if (v->json)
		disk_print_json(json_pack("{s:b}", "committed", 1));
	else
		printf("%s: committed\n", config.path);
	return STATUS_OK;
}

static const struct option commit_options[] = {
	{ .name = "keep", .kind = OPTION_FLAG, .offset = offsetof(struct commit_values, keep),
	  .help = "leave FILE as it is; else it is emptied, and goes on as an image of what changes from now on" },
	FORMAT_OPTION(struct commit_values),
	JSON_OPTION(struct commit_values),
	OPTION_END
};

const struct command disk_commit = {
	.name = "disk commit",
	.operands = "FILE",
	.min_operands = 1,
	.max_operands = 1,
	.completion = { COMPLETE_FILE },
	.summary = "put an image's changes into the image behind it",
	.description = "Other images with the same one behind them become wrong by it.",
	.options = commit_options,
	.values_size = sizeof(struct commit_values),
	.run = commit_run,
};

/* --- rebase --- */

struct rebase_values {
	unsigned format, backing_format;
	const char *backing;
	bool none, unsafe, json;
};

/* The image then reads the same with the new one behind it. */
static int detach(struct image *image, const struct rebase_values *v, const char **format, struct error *err)
{
	const struct image_config config = { .path = v->backing, .format = disk_format(v->backing_format), .read_only = true };
	struct image_progress progress = disk_progress();
	struct image *backing = v->none ? NULL : image_open(&config, err);
	if (backing)
		*format = image_format_names[image_format(backing)];
	int rc = v->none || backing ? image_detach(image, backing, &progress, err) : -1;
	image_close(backing);
	return rc;
}

static int rebase(struct image *image, const struct rebase_values *v, struct error *err)
{
	cleanup_free char *name = v->none ? NULL : disk_backing_name(image_path(image), v->backing, err);
	const char *format = v->backing_format ? disk_formats[v->backing_format] : NULL;
	if ((!v->none && !name) || (!v->unsafe && detach(image, v, &format, err) < 0))
		return -1;
	return image_set_backing(image, name, format, err);
}

static int rebase_run(const void *values, const struct operands *operands)
{
	const struct rebase_values *v = values;
	const struct image_config config = { .path = operands->values[0], .format = disk_format(v->format), .alone = v->unsafe };
	struct error err;
	if (v->none == !!v->backing) {
		log_error("'visor disk rebase' wants either --backing FILE or --none");
		return STATUS_USAGE;
	}
	struct image *image = image_open(&config, &err);
	int rc = image ? rebase(image, v, &err) : -1;
	if (image_finish(image, rc, &err) < 0)
		return disk_fail(&err);
	disk_progress_end();
	if (v->json)
		disk_print_json(json_pack("{s:s*}", "backing", v->backing));
	else
		printf("%s: %s behind it\n", config.path, v->none ? "nothing is" : v->backing);
	return STATUS_OK;
}

static const struct option rebase_options[] = {
	{ .name = "backing", .kind = OPTION_STRING, .offset = offsetof(struct rebase_values, backing), .argument = "FILE",
	  .completion = COMPLETE_FILE, .help = "the image that is to be behind FILE" },
	{ .name = "none", .kind = OPTION_FLAG, .offset = offsetof(struct rebase_values, none), .help = "FILE is to stand alone" },
	{ .name = "backing-format", .kind = OPTION_CHOICE, .offset = offsetof(struct rebase_values, backing_format), .argument = "FORMAT",
	  .choices = disk_formats, .help = "the format of the image behind; without it the content says it" },
	{ .name = "unsafe", .kind = OPTION_FLAG, .offset = offsetof(struct rebase_values, unsafe),
	  .help = "change the name alone: for an image behind that was moved or renamed" },
	FORMAT_OPTION(struct rebase_values),
	JSON_OPTION(struct rebase_values),
	OPTION_END
};

const struct command disk_rebase = {
	.name = "disk rebase",
	.operands = "FILE",
	.min_operands = 1,
	.max_operands = 1,
	.completion = { COMPLETE_FILE },
	.summary = "put an image onto another one",
	.description = "What the new image behind has differently is copied into FILE first, so that it reads the same as before.",
	.options = rebase_options,
	.values_size = sizeof(struct rebase_values),
	.run = rebase_run,
};
