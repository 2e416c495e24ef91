/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_CLI_TEXT_H
#define VISOR_CLI_TEXT_H

/* What the manual page says beyond the table of commands. */
struct text_item {
	const char *term; /* may be NULL: a paragraph */
	const char *text; /* NULL ends the list */
};

struct text_section {
	const char *title; /* NULL ends the list */
	struct text_item items[21];
};

extern const char text_description[];
extern const struct text_section text_sections[];

#endif
