/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/options.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"

#define NAME_MAX_LENGTH 32

/* Edits (insert, delete, replace, swap of neighbours) that turn a into b. */
static unsigned distance(const char *a, const char *b)
{
	unsigned rows[3][NAME_MAX_LENGTH + 1];
	size_t la = strlen(a), lb = strlen(b);
	if (la > NAME_MAX_LENGTH || lb > NAME_MAX_LENGTH)
		return NAME_MAX_LENGTH;
	for (size_t j = 0; j <= lb; j++)
		rows[0][j] = (unsigned)j;
	for (size_t i = 1; i <= la; i++) {
		unsigned *row = rows[i % 3], *above = rows[(i + 2) % 3], *above2 = rows[(i + 1) % 3];
		row[0] = (unsigned)i;
		for (size_t j = 1; j <= lb; j++) {
			unsigned best = above[j - 1] + (a[i - 1] != b[j - 1]);
			best = MIN(best, MIN(above[j], row[j - 1]) + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				best = MIN(best, above2[j - 2] + 1);
			row[j] = best;
		}
	}
	return rows[la % 3][lb];
}

const char *options_nearest(const char *word, const char *(*name)(const void *table, unsigned index), const void *table,
			    unsigned count)
{
	const char *best = NULL;
	size_t length = strlen(word);
	unsigned limit = length > 5 ? 3 : length > 2 ? 2 : 1; /* farther away, a guess would be noise */
	for (unsigned i = 0; i < count; i++) {
		const char *candidate = name(table, i);
		unsigned d = distance(word, candidate);
		bool starts = length > 1 && !strncmp(word, candidate, length);
		if (starts)
			d = MIN(d, 1u);
		if (d <= limit && (!best || d < limit)) {
			best = candidate;
			limit = d;
		}
	}
	return best;
}

int options_parse_size(const char *text, uint64_t *bytes, struct error *err)
{
	static const char units[] = "KMGT";
	uint64_t value = 0;
	const char *p = text;
	for (; *p >= '0' && *p <= '9'; p++)
		if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, (uint64_t)(*p - '0'), &value))
			return error_set(err, ERANGE, "'%s' is too large", text);
	if (p == text)
		return error_set(err, EINVAL, "'%s' is not a size; write a number with K, M, G or T, as in 512M", text);
	unsigned shift = 0;
	if (*p) {
		const char *unit = strchr(units, *p & ~0x20);
		if (!unit || !*unit)
			return error_set(err, EINVAL, "'%s' is not a size; the units are K, M, G and T, as in 512M", text);
		shift = 10 * (unsigned)(unit - units + 1);
		p++;
		if ((*p & ~0x20) == 'B' || !strcmp(p, "iB"))
			p += strlen(p);
	}
	if (*p)
		return error_set(err, EINVAL, "'%s' is not a size; write it as in 512M", text);
	if (shift && value >> (64 - shift))
		return error_set(err, ERANGE, "'%s' is too large", text);
	*bytes = value << shift;
	return 0;
}

static int parse_number(const char *text, uint64_t *value, struct error *err)
{
	uint64_t v = 0;
	const char *p = text;
	for (; *p >= '0' && *p <= '9'; p++)
		if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v))
			return error_set(err, ERANGE, "'%s' is too large", text);
	if (p == text || *p)
		return error_set(err, EINVAL, "'%s' is not a number; write decimal digits", text);
	*value = v;
	return 0;
}

/* A size in the largest unit that gives a whole number. */
static const char *print_size(char *buffer, size_t room, uint64_t bytes)
{
	static const char units[] = "\0KMGT";
	unsigned u = 0;
	while (u < 4 && bytes && bytes % 1024 == 0) {
		bytes /= 1024;
		u++;
	}
	snprintf(buffer, room, "%llu%.1s", (unsigned long long)bytes, units + u);
	return buffer;
}

static int check_range(const struct option *o, uint64_t value, const char *text, struct error *err)
{
	char min[32], max[32];
	if (value >= o->min && value <= o->max)
		return 0;
	if (o->kind == OPTION_SIZE) {
		print_size(min, sizeof(min), o->min);
		print_size(max, sizeof(max), o->max);
	} else {
		snprintf(min, sizeof(min), "%llu", (unsigned long long)o->min);
		snprintf(max, sizeof(max), "%llu", (unsigned long long)o->max);
	}
	return error_set(err, ERANGE, "'%s' is out of range; give %s to %s", text, min, max);
}

static int parse_choice(const struct option *o, const char *text, unsigned *index, struct error *err)
{
	char all[256] = "";
	for (unsigned i = 0; o->choices[i]; i++) {
		if (!strcmp(text, o->choices[i])) {
			*index = i;
			return 0;
		}
		size_t n = strlen(all);
		snprintf(all + n, sizeof(all) - n, "%s%s", i ? ", " : "", o->choices[i]);
	}
	return error_set(err, EINVAL, "'%s' is not known; choose from: %s", text, all);
}

static int add_to_list(struct option_list *list, const char *text, struct error *err)
{
	if (list->count == OPTION_LIST_MAX)
		return error_set(err, E2BIG, "given more than %d times", OPTION_LIST_MAX);
	list->values[list->count++] = text;
	return 0;
}

static int store_number(const struct option *o, uint64_t *at, const char *text, struct error *err)
{
	uint64_t value;
	if ((o->kind == OPTION_SIZE ? options_parse_size : parse_number)(text, &value, err) < 0 ||
	    check_range(o, value, text, err) < 0)
		return -1;
	*at = value;
	return 0;
}

static int store_value(const struct option *o, void *values, const char *text, struct error *err)
{
	void *at = (char *)values + o->offset;
	int result = 0;
	switch (o->kind) {
	case OPTION_FLAG:
		*(bool *)at = true;
		break;
	case OPTION_STRING:
	case OPTION_OPTIONAL:
		*(const char **)at = text;
		break;
	case OPTION_LIST:
		result = add_to_list(at, text, err);
		break;
	case OPTION_SIZE:
	case OPTION_NUMBER:
		result = store_number(o, at, text, err);
		break;
	case OPTION_CHOICE:
		result = parse_choice(o, text, at, err);
		break;
	case OPTION_KIND_END:
		break;
	}
	return result < 0 ? error_prefix(err, "--%s", o->name) : 0;
}

static const char *option_name(const void *table, unsigned index)
{
	return ((const struct option *)table)[index].name;
}

static const struct option *find_option(const struct command *command, const char *name, size_t length, struct error *err)
{
	unsigned count = 0;
	for (const struct option *o = command->options; o->kind != OPTION_KIND_END; o++, count++)
		if (strlen(o->name) == length && !memcmp(o->name, name, length))
			return o;
	char word[NAME_MAX_LENGTH + 1];
	snprintf(word, sizeof(word), "%.*s", (int)MIN(length, sizeof(word) - 1), name);
	const char *near = options_nearest(word, option_name, command->options, count);
	if (near)
		error_set(err, EINVAL, "--%s: there is no such option; did you mean --%s?", word, near);
	else
		error_set(err, EINVAL, "--%s: there is no such option; 'visor help %s' lists all", word, command->name);
	return NULL;
}

/* One option at **p; moves *p past its value. */
static int parse_option(const struct command *command, char ***p, void *values, struct error *err)
{
	const char *name = **p + 2, *equals = strchr(name, '='), *next = (*p)[1];
	const struct option *o = find_option(command, name, equals ? (size_t)(equals - name) : strlen(name), err);
	if (!o)
		return -1;
	if (o->kind == OPTION_FLAG) {
		if (equals)
			return error_set(err, EINVAL, "--%s: takes no value; leave out '%s'", o->name, equals);
		return store_value(o, values, NULL, err);
	}
	if (equals)
		return store_value(o, values, equals + 1, err);
	/* Of a command with operands a path alone is the value: what else follows may be an operand. */
	if (o->kind == OPTION_OPTIONAL && (!next || *next == '-' || (command->max_operands && !strchr(next, '/'))))
		return store_value(o, values, "", err);
	if (!next)
		return error_set(err, EINVAL, "--%s: the value is missing; write --%s %s", o->name, o->name, o->argument);
	++*p;
	return store_value(o, values, next, err);
}

/* The same for -x VALUE and -xVALUE. */
static int parse_letter(const struct command *command, char ***p, void *values, struct error *err)
{
	const char *word = **p, *next = (*p)[1];
	const struct option *o = command->options;
	while (o->kind != OPTION_KIND_END && o->letter != word[1])
		o++;
	if (o->kind == OPTION_KIND_END)
		return error_set(err, EINVAL, "%s: is not one of the short options; 'visor help %s' lists all", word, command->name);
	if (o->kind == OPTION_FLAG && word[2])
		return error_set(err, EINVAL, "-%c: takes no value; leave out '%s'", o->letter, word + 2);
	if (o->kind == OPTION_FLAG || word[2])
		return store_value(o, values, word + 2, err);
	if (!next)
		return error_set(err, EINVAL, "-%c: the value is missing; write -%c %s", o->letter, o->letter, o->argument);
	++*p;
	return store_value(o, values, next, err);
}

static int check_operands(const struct command *command, const struct operands *operands, struct error *err)
{
	if (operands->count >= command->min_operands)
		return 0;
	return error_set(err, EINVAL, "'visor %s' wants %s%s; write: visor %s %s", command->name, command->operands,
			 operands->count ? ", and not all was given" : "", command->name, command->operands);
}

enum options_result options_parse(const struct command *command, char **arguments, void *values, struct operands *operands,
				  struct error *err)
{
	bool only_operands = false;
	if (command->defaults)
		memcpy(values, command->defaults, command->values_size);
	else if (command->values_size)
		memset(values, 0, command->values_size);
	memset(operands, 0, sizeof(*operands));
	for (char **p = arguments; *p; p++) {
		if (!only_operands && !strcmp(*p, "--")) {
			only_operands = true;
		} else if (!only_operands && (!strcmp(*p, "--help") || !strcmp(*p, "-h"))) {
			return OPTIONS_HELP;
		} else if (!only_operands && !strncmp(*p, "--", 2)) {
			if (parse_option(command, &p, values, err) < 0)
				return OPTIONS_ERROR;
		} else if (!only_operands && **p == '-' && (*p)[1]) {
			if (parse_letter(command, &p, values, err) < 0)
				return OPTIONS_ERROR;
		} else if (operands->count == command->max_operands) {
			error_set(err, EINVAL, "'%s' is one argument too many; 'visor help %s' shows the usage", *p, command->name);
			return OPTIONS_ERROR;
		} else {
			operands->values[operands->count++] = *p;
		}
	}
	return check_operands(command, operands, err) < 0 ? OPTIONS_ERROR : OPTIONS_OK;
}
