/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Log lines: to the journal, with their fields, if standard error is connected to it; otherwise to
 * standard error as text, one write(2) per line. A failure is logged once, by the layer that knows
 * the client.
 *
 * log_write() and log_write_limited() run on any thread, even under a caller's lock, and don't wait
 * for the log's reader: between log_start() and log_stop() they leave a copy of the line for the
 * log's thread to write. A thread's lines keep their order. Before log_start(), and in a process
 * that never calls it, the caller writes, and blocks as long as the journal or standard error does.
 *
 * Dropped lines are counted, and the count is logged as LOG_EVENT_LINES_LOST:
 *
 * - LOG_WAITING_MAX lines can wait behind those being written. Further ones are dropped, and the
 *   count is logged in their place.
 * - Limited lines have two budgets of LOG_WINDOW_LINES in LOG_WINDOW_SECONDS, one for warnings and
 *   errors, one for the rest. The number of lines beyond a budget is logged at the end of that
 *   time, or by log_stop(), even if no other line follows.
 *
 * So clients can't fill the log, and their mistakes don't hide the host's failures. But all clients
 * share a budget: one of them can use it up, and only a count remains of the others' lines. At the
 * level debug each request has a line that isn't limited, and a flood of requests can displace any
 * other line.
 *
 * A crash loses the waiting lines.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <syslog.h>

enum {
        LOG_WAITING_MAX = 256,
        LOG_WINDOW_SECONDS = 10,
        LOG_WINDOW_LINES = 50,
        LOG_STOP_MS = 200,
        /* including the NUL; longer texts are cut */
        LOG_MESSAGE_SIZE = 512,
        LOG_TARGET_SIZE = 512,
};

/*
 * Events for administrators to search the journal for: each has a MESSAGE_ID, and an entry in
 * systemd/mountatd.catalog with its meaning and what to do.
 */
enum log_event {
        LOG_EVENT_NONE,
        LOG_EVENT_GRANTED,
        LOG_EVENT_REFUSED,
        LOG_EVENT_HOST_FAILED,
        LOG_EVENT_NO_REQUEST,
        LOG_EVENT_STUCK, /* a connection's thread, in the kernel, after its client has left */
        LOG_EVENT_LEASES_LEFT,
        LOG_EVENT_OUT_OF_REACH,
        LOG_EVENT_MOUNTS_LEFT,
        LOG_EVENT_STATE_SET_ASIDE, /* a state file that wasn't understood */
        LOG_EVENT_NOT_SERVING,
        LOG_EVENT_RUNS_ALREADY,
        LOG_EVENT_STOPPING,
        LOG_EVENT_RESTARTING,
        LOG_EVENT_IDLE,
        LOG_EVENT_NO_BUS,
        LOG_EVENT_LINES_LOST,
};

/* The subject of a line. Zero or NULL: unknown; the field is omitted. */
struct log_subject {
        enum log_event event;
        bool has_peer;
        uid_t uid;
        pid_t pid;
        const char *operation; /* static string */
        const char *target;    /* may have a client's bytes: copied and escaped here */
        uint64_t lease;
        int error; /* negative errno */
};

/* `level` is the least urgent LOG_* priority to write; LOG_INFO by default. Once. */
void log_open(int level);
int log_level(void);
void log_set_level(int level);

/* The LOG_* priority called `name` ("debug" … "emerg"), or -EINVAL. */
int log_level_from_name(const char *name);

const char *log_level_name(int level);

/*
 * The destination of lines, "journal" or "console"; "auto" chooses as log_open() did. -EINVAL:
 * another name.
 */
const char *log_target(void);
int log_set_target(const char *name);

/*
 * Starts the log's thread, once. 0 or a negative errno; after a failure callers go on writing. The
 * thread inherits the caller's signal mask, in which SIGPIPE must be blocked, its capabilities and
 * its system call filters. It is detached, and uses no memory that is ever freed.
 */
int log_start(void);

/*
 * Before the end of the process: writes the waiting lines and all counts. Waits for the log's
 * thread for at most LOG_STOP_MS, and drops later lines: a log that nobody reads must not keep the
 * process from ending. Without log_start() the caller writes the counts, and later lines.
 */
void log_stop(void);

/* `subject` may be NULL. */
void log_write(int priority, const struct log_subject *subject, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

/* As log_write(), for what clients can cause at will: within the budgets above. */
void log_write_limited(int priority, const struct log_subject *subject, const char *format, ...)
        __attribute__((format(printf, 3, 4)));
