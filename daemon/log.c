/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Two batches of lines. Callers append to the open one. The writer takes it, which opens the other,
 * and owns it until it is written. The mutex is held for a copy, never for a write. The writer is
 * the log's thread or, where there is none, the thread that has just appended.
 *
 * Two batches instead of a ring: a line that doesn't fit belongs right after the last one of the
 * full batch, so a count is enough to report it in its place, once per batch; and a quiet log
 * touches only the first entries.
 */

#include "daemon/log.h"

#include "daemon/log_line.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
        LOG_STACK_SIZE = 128 * 1024, /* sd_journal_sendv(3) has arrays there */
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

/* ---- waiting lines ---- */

enum log_omission {
        LOG_OMITTED_CLIENTS,
        LOG_OMITTED_HOST,
        LOG_BUDGETS, /* only the above have a budget */
        LOG_OMITTED_WAITING = LOG_BUDGETS,
        LOG_OMISSIONS,
};

struct log_batch {
        unsigned n_lines;
        struct log_line lines[LOG_WAITING_MAX];
        unsigned long omitted[LOG_OMISSIONS]; /* dropped after those lines */
};

struct log_budget {
        time_t window_end; /* CLOCK_MONOTONIC */
        unsigned lines;
        unsigned long omitted;
};

static struct {
        pthread_mutex_t mutex; /* guards all but the batch being written */
        pthread_cond_t filled, stopped;
        enum {
                LOG_DIRECT,
                LOG_THREADED,
                LOG_STOPPING,
                LOG_STOPPED,
        } phase;
        struct log_batch batches[2];
        unsigned open; /* index of a batch */
        bool writing;  /* the other one is being written */
        struct log_budget budgets[LOG_BUDGETS];
} log_queue = {
        .mutex = PTHREAD_MUTEX_INITIALIZER,
        .filled = PTHREAD_COND_INITIALIZER,
        .stopped = PTHREAD_COND_INITIALIZER,
};

/* The caller holds the mutex, as in log_take(), log_end_window(s)() and log_next_end(). */
static bool log_is_empty(void) {
        const struct log_batch *batch = &log_queue.batches[log_queue.open];

        for (int i = 0; i < LOG_OMISSIONS; i++)
                if (batch->omitted[i] > 0)
                        return false;
        return batch->n_lines == 0;
}

/*
 * Makes the caller the writer, until it clears `writing`. NULL: nothing is waiting, or there is a
 * writer already, which will find it.
 */
static struct log_batch *log_take(void) {
        struct log_batch *batch = &log_queue.batches[log_queue.open];

        if (log_queue.writing || log_is_empty())
                return NULL;
        log_queue.writing = true;
        log_queue.open = !log_queue.open;
        return batch;
}

/* At any level: it stands for lines that passed the level. */
static void log_write_omission(enum log_omission omission, unsigned long count) {
        static const char *const names[LOG_BUDGETS] = {
                [LOG_OMITTED_CLIENTS] = "lines about clients",
                [LOG_OMITTED_HOST] = "warnings and errors",
        };
        struct log_line line = {
                .priority = omission == LOG_OMITTED_CLIENTS ? LOG_NOTICE : LOG_WARNING,
                .subject = {.event = LOG_EVENT_LINES_LOST},
        };

        if (omission == LOG_OMITTED_WAITING)
                snprintf(line.message, sizeof(line.message),
                         "%lu lines dropped here: the log's reader is too slow", count);
        else
                snprintf(line.message, sizeof(line.message),
                         "%lu %s suppressed: at most %d are logged in %d s", count, names[omission],
                         LOG_WINDOW_LINES, LOG_WINDOW_SECONDS);
        log_line_write(&line);
}

/* Leaves the batch empty. */
static void log_write_batch(struct log_batch *batch) {
        for (unsigned i = 0; i < batch->n_lines; i++)
                log_line_write(&batch->lines[i]);
        for (int i = 0; i < LOG_OMISSIONS; i++)
                if (batch->omitted[i] > 0)
                        log_write_omission(i, batch->omitted[i]);
        batch->n_lines = 0;
        memset(batch->omitted, 0, sizeof(batch->omitted));
}

static void log_drain(void) {
        struct log_batch *batch;

        pthread_mutex_lock(&log_queue.mutex);
        while ((batch = log_take())) {
                pthread_mutex_unlock(&log_queue.mutex);
                log_write_batch(batch);
                pthread_mutex_lock(&log_queue.mutex);
                log_queue.writing = false;
        }
        pthread_mutex_unlock(&log_queue.mutex);
}

static void log_append(const struct log_line *line) {
        struct log_batch *batch;
        bool direct, stopped;

        pthread_mutex_lock(&log_queue.mutex);
        batch = &log_queue.batches[log_queue.open];
        direct = log_queue.phase == LOG_DIRECT;
        stopped = !direct && log_queue.phase != LOG_THREADED;
        if (!stopped && batch->n_lines < LOG_WAITING_MAX)
                batch->lines[batch->n_lines++] = *line;
        else if (!stopped)
                batch->omitted[LOG_OMITTED_WAITING]++;
        pthread_cond_signal(&log_queue.filled);
        pthread_mutex_unlock(&log_queue.mutex);
        if (direct)
                log_drain();
}

/* ---- the budgets ---- */

static time_t log_now(void) {
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return now.tv_sec;
}

static void log_end_window(enum log_omission budget) {
        log_queue.batches[log_queue.open].omitted[budget] += log_queue.budgets[budget].omitted;
        log_queue.budgets[budget].omitted = 0;
}

static void log_end_windows(time_t now) {
        for (int i = 0; i < LOG_BUDGETS; i++)
                if (now >= log_queue.budgets[i].window_end)
                        log_end_window(i);
}

/* The time of the next count; 0: none. */
static time_t log_next_end(void) {
        time_t next = 0;

        for (int i = 0; i < LOG_BUDGETS; i++) {
                const struct log_budget *budget = &log_queue.budgets[i];

                if (budget->omitted > 0 && (next == 0 || budget->window_end < next))
                        next = budget->window_end;
        }
        return next;
}

/* Whether one more line may be written in this window. */
static bool log_admit(enum log_omission which) {
        struct log_budget *budget = &log_queue.budgets[which];
        time_t now = log_now();
        bool admitted;

        pthread_mutex_lock(&log_queue.mutex);
        if (now >= budget->window_end) {
                log_end_window(which);
                budget->window_end = now + LOG_WINDOW_SECONDS;
                budget->lines = 0;
        }
        admitted = budget->lines < LOG_WINDOW_LINES;
        if (admitted)
                budget->lines++;
        else if (budget->omitted++ == 0)
                pthread_cond_signal(&log_queue.filled); /* there is a time to wait for now */
        pthread_mutex_unlock(&log_queue.mutex);
        return admitted;
}

/* ---- the log's thread ---- */

/* Waits for something to write. False: nothing is left, and log_stop() was called. */
static bool log_await(void) {
        bool more;

        pthread_mutex_lock(&log_queue.mutex);
        log_end_windows(log_now());
        while (log_is_empty() && log_queue.phase == LOG_THREADED) {
                const struct timespec end = {.tv_sec = log_next_end()};

                if (end.tv_sec == 0)
                        pthread_cond_wait(&log_queue.filled, &log_queue.mutex);
                else
                        pthread_cond_clockwait(&log_queue.filled, &log_queue.mutex, CLOCK_MONOTONIC,
                                               &end);
                log_end_windows(log_now());
        }
        more = !log_is_empty();
        if (!more) {
                log_queue.phase = LOG_STOPPED;
                pthread_cond_signal(&log_queue.stopped);
        }
        pthread_mutex_unlock(&log_queue.mutex);
        return more;
}

static void *log_run(void *unused) {
        (void)unused;
        do
                log_drain();
        while (log_await());
        return NULL;
}

int log_start(void) {
        pthread_attr_t attributes;
        pthread_t thread;
        int r;

        pthread_mutex_lock(&log_queue.mutex);
        log_queue.phase = LOG_THREADED;
        pthread_attr_init(&attributes);
        pthread_attr_setstacksize(&attributes, LOG_STACK_SIZE);
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        r = -pthread_create(&thread, &attributes, log_run, NULL);
        pthread_attr_destroy(&attributes);
        if (r < 0)
                log_queue.phase = LOG_DIRECT;
        pthread_mutex_unlock(&log_queue.mutex);
        return r;
}

static struct timespec log_stop_deadline(void) {
        struct timespec deadline;

        clock_gettime(CLOCK_MONOTONIC, &deadline);
        deadline.tv_nsec += LOG_STOP_MS * 1000000L;
        deadline.tv_sec += deadline.tv_nsec / 1000000000;
        deadline.tv_nsec %= 1000000000;
        return deadline;
}

void log_stop(void) {
        const struct timespec deadline = log_stop_deadline();
        bool direct;
        int r = 0;

        pthread_mutex_lock(&log_queue.mutex);
        direct = log_queue.phase == LOG_DIRECT;
        for (int i = 0; i < LOG_BUDGETS; i++)
                log_end_window(i);
        if (log_queue.phase == LOG_THREADED) {
                log_queue.phase = LOG_STOPPING;
                pthread_cond_signal(&log_queue.filled);
                while (r == 0 && log_queue.phase == LOG_STOPPING)
                        r = pthread_cond_clockwait(&log_queue.stopped, &log_queue.mutex,
                                                   CLOCK_MONOTONIC, &deadline);
        }
        pthread_mutex_unlock(&log_queue.mutex);
        if (direct)
                log_drain();
}

/* ---- logging ---- */

static void __attribute__((format(printf, 3, 0)))
log_writev(int priority, const struct log_subject *subject, const char *format, va_list arguments) {
        struct log_line line;

        line.priority = priority;
        log_line_compose(&line, subject, format, arguments);
        log_append(&line);
}

void log_write(int priority, const struct log_subject *subject, const char *format, ...) {
        va_list arguments;

        if (priority > log_level())
                return;
        va_start(arguments, format);
        log_writev(priority, subject, format, arguments);
        va_end(arguments);
}

void log_write_limited(int priority, const struct log_subject *subject, const char *format, ...) {
        va_list arguments;

        if (priority > log_level() ||
            !log_admit(priority <= LOG_WARNING ? LOG_OMITTED_HOST : LOG_OMITTED_CLIENTS))
                return;
        va_start(arguments, format);
        log_writev(priority, subject, format, arguments);
        va_end(arguments);
}
