/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * mountatctl's connection, and the root that it has mounts in. The functions print errors to
 * standard error; a negative return value only says that there was one.
 */

#include "client/arguments.h"
#include "client/mountat.h"

#include <stdbool.h>
#include <stdint.h>

enum {
        SESSION_FILE_SYSTEMS_MAX = 32,
};

struct session {
        struct mountat *mountat; /* owned */
        const char *path;        /* of the root, as the user gave it; for messages */
        int root;                /* owned, O_PATH */
        uint32_t flags;          /* of enum mountat_flag */
        uint64_t lease;          /* 0: nothing is mounted */
        uint32_t timeout;        /* milliseconds, 0: the library's default */
        int64_t lost_until;      /* milliseconds: when to give up a lost daemon; 0: it isn't lost */
        int64_t retry_at;        /* milliseconds: the next attempt, while the daemon is lost */
        bool told;               /* the restart of the daemon has been printed */
};

/* Closes the connection and the root: the daemon releases the lease, if there still is one. */
void session_close(struct session *session);

#define SESSION_AUTO __attribute__((cleanup(session_close)))
#define SESSION_NONE                                                                               \
        { .root = -EBADF }

/* Connects; `*session` must be SESSION_NONE. Uses the arguments' flags, socket and timeout. */
int session_connect(struct session *session, const struct arguments *arguments);

/* The same, but the caller prints the error. If `mountat` is NULL, memory ran out. */
int session_open(struct session *session, const struct arguments *arguments);

/* Mounts below `path`, which the session borrows. */
int session_mount(struct session *session, const char *path);

/* Does nothing when nothing is mounted. */
int session_unmount(struct session *session);

/*
 * The descriptor to poll for POLLIN, and poll(2)'s timeout in milliseconds: call session_tend() if
 * the one is readable or the other is 0, whatever else poll(2) returned for.
 */
int session_fd(const struct session *session);
int session_patience(const struct session *session);

/*
 * If the daemon is gone, has its next instance adopt the lease, and prints that once. Blocks for a
 * few seconds at most while the daemon is away. After the timeout the lease is lost: prints that
 * and returns a negative errno.
 */
int session_tend(struct session *session);

/* Writes the flags' file systems to `text`, as in "proc, sysfs and dev", and returns it. */
const char *session_file_systems(uint32_t flags, char text[static SESSION_FILE_SYSTEMS_MAX]);

/* Prints the library's last error after `what`, such as "cannot mount", already escaped. */
void session_complain(const struct session *session, const char *what);
