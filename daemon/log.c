/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The level and the rate limit are the only state, both atomic: losing a count to a race costs a
 * line, a lock here could cost a worker.
 */

#include "daemon/log.h"

#include "daemon/log_line.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

enum {
        LOG_WINDOW_SECONDS = 10,
        LOG_WINDOW_LINES = 50,
};

static atomic_int log_max_level = LOG_INFO;

void log_open(int level) {
        log_set_target("auto");
        log_set_level(level);
}

int log_level(void) {
        return atomic_load_explicit(&log_max_level, memory_order_relaxed);
}

void log_set_level(int level) {
        atomic_store_explicit(&log_max_level, level, memory_order_relaxed);
}

static const char *const log_names[] = {
        [LOG_EMERG] = "emerg", [LOG_ALERT] = "alert",     [LOG_CRIT] = "crit",
        [LOG_ERR] = "err",     [LOG_WARNING] = "warning", [LOG_NOTICE] = "notice",
        [LOG_INFO] = "info",   [LOG_DEBUG] = "debug",
};

int log_level_from_name(const char *name) {
        for (int i = LOG_EMERG; i <= LOG_DEBUG; i++)
                if (strcmp(name, log_names[i]) == 0)
                        return i;
        return -EINVAL;
}

const char *log_level_name(int level) {
        return log_names[level];
}

static void __attribute__((format(printf, 3, 0)))
log_writev(int priority, const struct log_subject *subject, const char *format, va_list arguments) {
        struct log_line line = {.priority = priority};

        if (priority > log_level())
                return;
        log_line_compose(&line, subject, format, arguments);
        log_line_write(&line);
}

void log_write(int priority, const struct log_subject *subject, const char *format, ...) {
        va_list arguments;

        va_start(arguments, format);
        log_writev(priority, subject, format, arguments);
        va_end(arguments);
}

struct log_budget {
        atomic_long window_start, lines, suppressed;
};

/* Whether one more line may be written in this window. */
static bool log_admit(struct log_budget *budget) {
        struct timespec now;
        long start = atomic_load(&budget->window_start), missed;

        clock_gettime(CLOCK_MONOTONIC, &now);
        if (now.tv_sec - start >= LOG_WINDOW_SECONDS &&
            atomic_compare_exchange_strong(&budget->window_start, &start, now.tv_sec)) {
                atomic_store(&budget->lines, 0);
                missed = atomic_exchange(&budget->suppressed, 0);
                if (missed > 0)
                        log_write(LOG_NOTICE, NULL, "%ld lines about clients were left out",
                                  missed);
        }
        if (atomic_fetch_add(&budget->lines, 1) < LOG_WINDOW_LINES)
                return true;
        atomic_fetch_add(&budget->suppressed, 1);
        return false;
}

void log_write_limited(int priority, const struct log_subject *subject, const char *format, ...) {
        /* Apart, so that nobody's mistakes hide what the host does wrong. */
        static struct log_budget clients, host;
        va_list arguments;

        if (priority > log_level() || !log_admit(priority <= LOG_WARNING ? &host : &clients))
                return;
        va_start(arguments, format);
        log_writev(priority, subject, format, arguments);
        va_end(arguments);
}
