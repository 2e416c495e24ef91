/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_BASE_LOG_H
#define VISOR_BASE_LOG_H

enum log_level { LOG_QUIET = -1, LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* Messages above this level are dropped; LOG_WARN unless --verbose says otherwise. */
extern enum log_level log_threshold;

/* What ends a line: "\n", or "\r\n" while the terminal is in raw mode. */
extern const char *volatile log_line_end;

/* One line to standard error, "visor: ..."; the end of the line is added. Rate is the caller's care:
 * what a guest can provoke is logged once or counted. */
void log_message(enum log_level level, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

#define log_error(...) log_message(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_message(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_message(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_message(LOG_DEBUG, __VA_ARGS__)

/* Logs a warning the first time only: for what a guest can provoke without end. */
#define log_warn_once(...) \
	do { \
		static _Atomic int logged_; \
		if (!logged_++) \
			log_warn(__VA_ARGS__); \
	} while (0)

#endif
