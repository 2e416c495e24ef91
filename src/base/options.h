/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_BASE_OPTIONS_H
#define VISOR_BASE_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/*
 * Commands and options as tables. One row gives parsing, the help text, usage
 * errors, shell completion and the manual page. A command's values are a struct
 * whose members the rows point into; what the user does not give keeps the value of
 * the command's defaults.
 */
enum option_kind {
	OPTION_KIND_END,
	OPTION_FLAG,     /* bool */
	OPTION_STRING,   /* const char *, pointing into argv */
	OPTION_OPTIONAL, /* const char *; without a value it becomes ""; where there are operands a value in a word of its own has a slash */
	OPTION_LIST,     /* struct option_list: each use adds one */
	OPTION_SIZE,     /* uint64_t, bytes: digits and K, M, G or T (powers of 1024; without one: bytes) */
	OPTION_NUMBER,   /* uint64_t */
	OPTION_CHOICE,   /* unsigned: index into `choices` */
};

#define OPTION_LIST_MAX 16
struct option_list {
	const char *values[OPTION_LIST_MAX];
	unsigned count;
};

/* What a shell offers for a value or an operand. */
enum option_completion { COMPLETE_NOTHING, COMPLETE_FILE, COMPLETE_MACHINE, COMPLETE_IMAGE, COMPLETE_COMMAND };

struct option {
	const char *name;     /* without the dashes */
	char letter;          /* the option as -x VALUE, too; 0: no such form */
	enum option_kind kind;
	size_t offset;        /* of the member in the command's values */
	const char *argument; /* what help calls the value: "SIZE" */
	uint64_t min, max;    /* for OPTION_SIZE and OPTION_NUMBER */
	const char *const *choices; /* for OPTION_CHOICE, NULL at the end */
	enum option_completion completion;
	const char *help;     /* sentences without the last full stop; the first one stands alone in the short help */
};

#define OPTION_END { .kind = OPTION_KIND_END }
#define OPTIONS_MAX_OPERANDS 4

struct operands {
	const char *values[OPTIONS_MAX_OPERANDS];
	unsigned count;
};

struct command {
	const char *name;
	const char *operands; /* what help calls them: "NAME FILE" */
	unsigned min_operands, max_operands;
	enum option_completion completion[OPTIONS_MAX_OPERANDS];
	const char *summary;     /* one line */
	const char *description; /* paragraphs for the long help and the manual page; may be NULL */
	const struct option *options; /* ends with OPTION_END */
	size_t values_size;      /* of the struct that the options point into; starts as a copy of `defaults` */
	const void *defaults;    /* NULL: zeroes */
	int (*run)(const void *values, const struct operands *operands); /* the exit status */
	bool hidden;
	const struct command *const *commands; /* a group of commands, NULL at the end; their names begin with the group's. Besides
						* it a group has name, summary and description */
};

enum options_result { OPTIONS_ERROR = -1, OPTIONS_OK = 0, OPTIONS_HELP = 1 };

/*
 * Reads a command's arguments (those after its name, NULL at the end) into `values` (values_size bytes, laid out from the
 * defaults first) and `operands`. Options are --name VALUE,
 * --name=VALUE or, with a letter, -x VALUE and -xVALUE; and, after "--", none any more. OPTIONS_HELP: --help or -h was among them.
 * An error names the flag, the cause and the remedy, with the nearest name for a mistyped one.
 */
enum options_result options_parse(const struct command *command, char **arguments, void *values, struct operands *operands,
				  struct error *err);

/* "512M" -> bytes. */
int options_parse_size(const char *text, uint64_t *bytes, struct error *err);

/* The name nearest to `word` out of `count` names, or NULL when none is near enough to be what was meant. */
const char *options_nearest(const char *word, const char *(*name)(const void *table, unsigned index), const void *table,
			    unsigned count);

#endif
