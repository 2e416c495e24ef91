/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_BASE_ERROR_H
#define VISOR_BASE_ERROR_H

/*
 * An error travels as the last argument of the function that can fail. The
 * function returns a negative number or NULL exactly when it has set the error;
 * on success the error is untouched. The text names the object, the cause and
 * the remedy. A NULL pointer means that the caller does not want the text.
 */
struct error {
	int code;       /* an errno value, or 0 when no error of the host lies behind it */
	char text[512]; /* one line, no trailing newline */
};

/* Sets *err (unless NULL) and returns -1, so that `return error_set(...)` reads well. */
int error_set(struct error *err, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Puts "prefix: " before the text of an error that is already set; returns -1. */
int error_prefix(struct error *err, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

#endif
