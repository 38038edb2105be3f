/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Log lines: to the journal with their fields where standard error is connected to it, else to
 * standard error as text, one write(2) per line. A failure is logged once, by the layer that knows
 * the client.
 *
 * log_write() and log_write_limited() run on any thread and never wait for a reader of the log,
 * also under a caller's lock: between log_start() and log_stop() they leave a copy of the line, and
 * one thread, the log's, writes. Lines of one thread are written in their order. Before
 * log_start(), and in a process that never calls it, the caller writes, and waits as long as the
 * journal or standard error does.
 *
 * What is not written is counted, and the count is written as LOG_EVENT_LINES_LOST:
 *
 * - While the log's thread writes, LOG_WAITING_MAX lines can wait. Of more, the newest are left
 * out, and their number stands where they would have stood.
 * - Limited lines share two budgets of LOG_WINDOW_LINES in LOG_WINDOW_SECONDS: warnings and worse
 *   have one, all others the other. The number beyond a budget is written when the time is over,
 *   whether or not another line comes, or by log_stop().
 *
 * So clients can't fill the log, and their mistakes don't hide the host's. They can hide each
 * other's: a user who uses a budget up leaves of the others' lines a number and no more. At the
 * level debug each request has a line that is not limited, and a flood of them can crowd out any
 * other.
 *
 * A crash loses the lines that wait.
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
        /* What is longer is cut; each with its final NUL. */
        LOG_MESSAGE_SIZE = 512,
        LOG_TARGET_SIZE = 512,
};

/* What administrators may search the journal for: each has a MESSAGE_ID, and an entry in
 * systemd/mountatd.catalog that says what it means and what to do. */
enum log_event {
        LOG_EVENT_NONE,
        LOG_EVENT_GRANTED,
        LOG_EVENT_REFUSED,
        LOG_EVENT_HOST_FAILED,
        LOG_EVENT_NO_REQUEST,
        LOG_EVENT_STUCK, /* a connection's thread, in the kernel, and its client has left */
        LOG_EVENT_LEASES_LEFT,
        LOG_EVENT_OUT_OF_REACH,
        LOG_EVENT_MOUNTS_LEFT,
        LOG_EVENT_STATE_SET_ASIDE, /* a state file that isn't understood */
        LOG_EVENT_NOT_SERVING,
        LOG_EVENT_RUNS_ALREADY,
        LOG_EVENT_STOPPING,
        LOG_EVENT_RESTARTING,
        LOG_EVENT_IDLE,
        LOG_EVENT_NO_BUS,
        LOG_EVENT_LINES_LOST,
};

/* What a line is about. Zero or NULL: not known; the field is left out. */
struct log_subject {
        enum log_event event;
        bool has_peer;
        uid_t uid;
        pid_t pid;
        const char *operation; /* static: the pointer is kept until the line is written */
        const char *target;    /* bytes of a client's: copied, and escaped here */
        uint64_t lease;
        int error; /* negative errno */
};

/* `level` is the least urgent LOG_* priority that is still written; default LOG_INFO. Once. */
void log_open(int level);
int log_level(void);
void log_set_level(int level);

/* The LOG_* priority called `name` ("debug" … "emerg"), or -EINVAL. */
int log_level_from_name(const char *name);

const char *log_level_name(int level);

/* Where lines go, "journal" or "console"; "auto" chooses as log_open() did, -EINVAL if it is none.
 */
const char *log_target(void);
int log_set_target(const char *name);

/*
 * Starts the log's thread, at most once; 0 or a negative errno, and then the caller goes on
 * writing. The thread inherits the signal mask, in which SIGPIPE must be blocked, and the
 * capabilities and system call filters of the calling thread. It is detached, and uses nothing that
 * is ever freed.
 */
int log_start(void);

/*
 * Writes what waits, and the counts, before an end of the process: waits for the log's thread, but
 * no longer than LOG_STOP_MS. What is logged afterwards is dropped, so that a log that nobody reads
 * can't keep the process from ending. Without log_start() the caller writes the counts.
 */
void log_stop(void);

/* `subject` may be NULL. */
void log_write(int priority, const struct log_subject *subject, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

/* As log_write(), for what clients can cause at will: within the budgets above. */
void log_write_limited(int priority, const struct log_subject *subject, const char *format, ...)
        __attribute__((format(printf, 3, 4)));
