/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Help, manual page and shell completion: three views of the table of commands.
 */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/util.h"
#include "cli/commands.h"
#include "cli/text.h"

#define WIDTH 80
#define INDENT 26

/* Prints words wrapped at WIDTH; the cursor is at `column`, further lines start at `indent`. Ends the line. */
static void print_wrapped(const char *text, size_t length, unsigned column, unsigned indent)
{
	bool first = true;
	for (const char *p = text, *end = text + length; p < end;) {
		size_t word = 0;
		while (p + word < end && p[word] != ' ')
			word++;
		if (!first && column + 1 + word > WIDTH) {
			printf("\n%*s", (int)indent, "");
			column = indent;
		} else if (!first) {
			putchar(' ');
			column++;
		}
		printf("%.*s", (int)word, p);
		column += (unsigned)word;
		first = false;
		p += word;
		while (p < end && *p == ' ')
			p++;
	}
	putchar('\n');
}

static void print_paragraphs(const char *text)
{
	for (const char *p = text; p;) {
		const char *end = strstr(p, "\n\n");
		putchar('\n');
		print_wrapped(p, end ? (size_t)(end - p) : strlen(p), 0, 0);
		p = end ? end + 2 : NULL;
	}
}

/* "--memory SIZE"; returns its length. `dash` is what stands for "-". */
static unsigned print_option_usage(const struct option *o, const char *dash)
{
	int n = o->letter ? printf("%s%c, ", dash, o->letter) : 0;
	n += printf("%s%s%s", dash, dash, o->name);
	if (o->kind == OPTION_OPTIONAL)
		n += printf(" [%s]", o->argument);
	else if (o->kind != OPTION_FLAG)
		n += printf(" %s", o->argument);
	return (unsigned)n;
}

static void print_option(const struct option *o)
{
	fputs("  ", stdout);
	unsigned column = 2 + print_option_usage(o, "-");
	if (column + 2 > INDENT) {
		putchar('\n');
		column = 0;
	}
	printf("%*s", (int)(INDENT - column), "");
	print_wrapped(o->help, strlen(o->help), INDENT, INDENT);
}

static void print_usage(const struct command *c)
{
	printf("usage: visor %s%s%s%s\n", c->name, c->options->kind == OPTION_KIND_END ? "" : " [OPTION]...",
	       c->operands ? " " : "", c->operands ? c->operands : "");
}

static void print_overview(void)
{
	puts("visor runs virtual machines: stock operating systems, with or without hardware\nvirtualization.\n");
	puts("usage: visor COMMAND [OPTION]... [ARGUMENT]...\n");
	for (const struct command *const *c = commands; *c; c++)
		printf("  %-10s %s\n", (*c)->name, (*c)->summary);
	puts("\n'visor help COMMAND' shows a command's options. Start with:\n"
	     "  visor run --kernel vmlinuz --initrd initrd.gz --append console=ttyS0");
}

static void print_group(const struct command *group)
{
	printf("usage: visor %s COMMAND [OPTION]... [ARGUMENT]...\n", group->name);
	printf("\n%c%s.\n", group->summary[0] & ~0x20, group->summary + 1);
	if (group->description)
		print_paragraphs(group->description);
	putchar('\n');
	for (const struct command *const *c = group->commands; *c; c++)
		printf("  %-10s %s\n", command_word(*c), (*c)->summary);
	printf("\n'visor help %s COMMAND' shows a command's options.\n", group->name);
}

void help_print(const struct command *command)
{
	if (!command || command->commands) {
		command ? print_group(command) : print_overview();
		return;
	}
	print_usage(command);
	printf("\n%c%s.\n", command->summary[0] & ~0x20, command->summary + 1);
	if (command->description)
		print_paragraphs(command->description);
	if (command->options->kind != OPTION_KIND_END)
		puts("\nOptions:");
	for (const struct option *o = command->options; o->kind != OPTION_KIND_END; o++)
		print_option(o);
}

/* Text for troff: a backslash, a dash and a dot at the start of a line mean something else there. */
static void print_troff(const char *text)
{
	for (const char *p = text; *p; p++) {
		if (*p == '\\')
			fputs("\\e", stdout);
		else if (*p == '-')
			fputs("\\-", stdout);
		else if (*p == '\n' && p[1] == '\n')
			fputs("\n.PP", stdout);
		else if ((*p == '.' || *p == '\'') && (p == text || p[-1] == '\n'))
			printf("\\&%c", *p);
		else
			putchar(*p);
	}
	putchar('\n');
}

static void print_man_command(const struct command *c)
{
	if (c->commands) {
		for (const struct command *const *in = c->commands; *in; in++)
			print_man_command(*in);
		return;
	}
	fputs(".SS visor ", stdout);
	printf("%s", c->name);
	printf("%s%s%s\n", c->options->kind == OPTION_KIND_END ? "" : " [OPTION]...", c->operands ? " " : "",
	       c->operands ? c->operands : "");
	printf("%c", c->summary[0] & ~0x20);
	print_troff(c->summary + 1);
	puts(".PP");
	if (c->description)
		print_troff(c->description);
	for (const struct option *o = c->options; o->kind != OPTION_KIND_END; o++) {
		fputs(".TP\n.B ", stdout);
		print_option_usage(o, "\\-");
		putchar('\n');
		print_troff(o->help);
	}
}

static void print_man(void)
{
	puts(".\\\" made by 'visor help --man' from the table of commands");
	puts(".TH VISOR 1 \"\" \"visor " VISOR_VERSION "\" \"User Commands\"");
	puts(".SH NAME\nvisor \\- run virtual machines");
	puts(".SH SYNOPSIS\n.B visor\nCOMMAND [OPTION]... [ARGUMENT]...");
	puts(".SH DESCRIPTION");
	print_troff(text_description);
	puts(".SH COMMANDS");
	for (const struct command *const *c = commands; *c; c++)
		print_man_command(*c);
	for (const struct text_section *s = text_sections; s->title; s++) {
		printf(".SH %s\n", s->title);
		for (const struct text_item *i = s->items; i->text; i++) {
			if (i->term)
				printf(".TP\n.B %s\n", i->term);
			print_troff(i->text);
		}
	}
}

static void print_completion_values(const struct option *o)
{
	printf("\t\t--%s", o->name);
	if (o->letter)
		printf(" | -%c", o->letter);
	fputs(") ", stdout);
	if (o->kind == OPTION_OPTIONAL) /* the next word may be an option */
		fputs("[[ $cur = -* ]] || ", stdout);
	if (o->kind == OPTION_CHOICE) {
		fputs("COMPREPLY=($(compgen -W '", stdout);
		for (unsigned i = 0; o->choices[i]; i++)
			printf("%s%s", i ? " " : "", o->choices[i]);
		fputs("' -- \"$cur\"))", stdout);
	} else if (o->completion == COMPLETE_FILE) {
		fputs("_visor_files", stdout);
	} else {
		putchar(':');
	}
	puts(o->kind == OPTION_OPTIONAL ? " && return ;;" : "; return ;;");
}

static void print_completion_command(const struct command *c, unsigned words);

static void print_completion_group(const struct command *group, unsigned words)
{
	printf("\t%s)\n\tif [ $COMP_CWORD -eq %u ]; then COMPREPLY=($(compgen -W '", command_word(group), words);
	for (const struct command *const *c = group->commands; *c; c++)
		printf("%s%s", c == group->commands ? "" : " ", command_word(*c));
	printf("' -- \"$cur\")); return; fi\n\tcase ${COMP_WORDS[%u]} in\n", words);
	for (const struct command *const *c = group->commands; *c; c++)
		print_completion_command(*c, words + 1);
	puts("\tesac\n\t\t;;");
}

/* `words`: how many of the line come before the command's arguments. */
static void print_completion_command(const struct command *c, unsigned words)
{
	if (c->commands) {
		print_completion_group(c, words);
		return;
	}
	printf("\t%s)\n\t\tcase $prev in\n", command_word(c));
	for (const struct option *o = c->options; o->kind != OPTION_KIND_END; o++)
		if (o->kind != OPTION_FLAG)
			print_completion_values(o);
	fputs("\t\tesac\n\t\tcase $cur in -*) COMPREPLY=($(compgen -W '--help", stdout);
	for (const struct option *o = c->options; o->kind != OPTION_KIND_END; o++)
		printf(" --%s", o->name);
	puts("' -- \"$cur\")); return ;; esac");
	static const char *const what[] = {
		[COMPLETE_NOTHING] = ":",
		[COMPLETE_FILE] = "_visor_files",
		[COMPLETE_MACHINE] = "COMPREPLY=($(compgen -W \"$(visor list 2>/dev/null | sed 1d | cut -d' ' -f1)\" -- \"$cur\"))",
		[COMPLETE_IMAGE] = "COMPREPLY=($(compgen -W \"$(visor image list 2>/dev/null | sed 1d | cut -d' ' -f1)\" -- \"$cur\"))",
		[COMPLETE_COMMAND] = "COMPREPLY=($(compgen -W \"$commands\" -- \"$cur\"))",
	};
	for (unsigned i = 0; i < c->max_operands; i++)
		printf("\t\t[ $COMP_CWORD -eq %u ] && %s\n", i + words, what[c->completion[i]]);
	puts("\t\t;;");
}

static void print_completion(void)
{
	puts("# bash completion for visor, made by 'visor help --completion bash' from the table of commands");
	puts("_visor_files() { compopt -o filenames; COMPREPLY=($(compgen -f -- \"$cur\")); }");
	puts("_visor() {");
	puts("\tlocal cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}");
	fputs("\tlocal commands='", stdout);
	for (const struct command *const *c = commands; *c; c++)
		printf("%s%s", c == commands ? "" : " ", (*c)->name);
	puts("'\n\tCOMPREPLY=()");
	puts("\tif [ $COMP_CWORD -eq 1 ]; then COMPREPLY=($(compgen -W \"$commands\" -- \"$cur\")); return; fi");
	puts("\tcase ${COMP_WORDS[1]} in");
	for (const struct command *const *c = commands; *c; c++)
		print_completion_command(*c, 2);
	puts("\tesac\n\treturn 0\n}\ncomplete -F _visor visor");
}

enum { COMPLETION_NONE, COMPLETION_BASH };
static const char *const shells[] = { "none", "bash", NULL };

struct help_values {
	bool man;
	unsigned completion;
};

static int help_run(const void *values, const struct operands *operands)
{
	const struct help_values *v = values;
	const struct command *command = NULL;
	struct error err;
	for (unsigned i = 0; i < operands->count; i++) {
		if (command && !command->commands) {
			log_error("'%s' is one argument too many; 'visor %s' has no commands of its own", operands->values[i], command->name);
			return STATUS_USAGE;
		}
		command = need_command(command, operands->values[i], &err);
		if (!command) {
			log_error("%s", err.text);
			return STATUS_USAGE;
		}
	}
	if (v->man)
		print_man();
	else if (v->completion == COMPLETION_BASH)
		print_completion();
	else
		help_print(command);
	return STATUS_OK;
}

static const struct option help_options[] = {
	{ .name = "man", .kind = OPTION_FLAG, .offset = offsetof(struct help_values, man),
	  .help = "print the manual page instead, for man(1)" },
	{ .name = "completion", .kind = OPTION_CHOICE, .offset = offsetof(struct help_values, completion), .argument = "SHELL",
	  .choices = shells, .help = "print the completion script for a shell instead (bash)" },
	OPTION_END
};

const struct command command_help = {
	.name = "help",
	.operands = "[COMMAND]...",
	.max_operands = 2,
	.completion = { COMPLETE_COMMAND },
	.summary = "show how visor or one of its commands is used",
	.options = help_options,
	.values_size = sizeof(struct help_values),
	.run = help_run,
};

static int version_run(const void *values, const struct operands *operands)
{
	puts("visor " VISOR_VERSION);
	return STATUS_OK;
}

static const struct option no_options[] = { OPTION_END };

const struct command command_version = {
	.name = "version",
	.summary = "print the version",
	.options = no_options,
	.run = version_run,
};
