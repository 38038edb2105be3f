/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Log lines: to the journal with their fields where standard error is connected to it, else to
 * standard error as text. A failure is logged once, by the layer that knows the client. Any thread;
 * may block as long as the journal or standard error does.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <syslog.h>

enum {
        /* A longer text is cut; with its final NUL. */
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
};

/* What a line is about. Zero or NULL: not known; the field is left out. */
struct log_subject {
        enum log_event event;
        bool has_peer;
        uid_t uid;
        pid_t pid;
        const char *operation;
        const char *target; /* bytes of a client's: copied, and escaped here */
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

/* `subject` may be NULL. */
void log_write(int priority, const struct log_subject *subject, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

/* As log_write(), for what clients can cause at will: beyond 50 lines in 10 seconds, and 50 of
 * warnings and worse, they are counted, and the count is written when the 10 seconds are over and
 * there is another line. */
void log_write_limited(int priority, const struct log_subject *subject, const char *format, ...)
        __attribute__((format(printf, 3, 4)));
