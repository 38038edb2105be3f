/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * One line of the log: its contents, by value, so that it can wait for the thread that writes it;
 * and writing it to the journal or to standard error. Only log.c uses it.
 */

#include "daemon/log.h"

#include <stdarg.h>

struct log_line {
        int priority;
        struct log_subject subject;   /* without its target, which belongs to the caller */
        char target[LOG_TARGET_SIZE]; /* escaped; "": none */
        char message[LOG_MESSAGE_SIZE];
};

/* Sets all but the priority. `subject` may be NULL. Never blocks. */
void log_line_compose(struct log_line *line, const struct log_subject *subject, const char *format,
                      va_list arguments) __attribute__((format(printf, 3, 0)));

/*
 * Writes the line to log_target(), in one call. Blocks as long as the journal or standard error
 * does, even if standard error is non-blocking. A line that can't be written (EPIPE, ENOSPC) is
 * dropped: there is nowhere to report it.
 */
void log_line_write(const struct log_line *line);
