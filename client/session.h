/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A connection of mountatctl and the root that it has mounts in. Failures are told on standard
 * error here; what is returned says only that there was one.
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
        int64_t lost_until; /* milliseconds: when a lost daemon is given up; 0: it isn't lost */
        bool told;          /* that the daemon was restarted */
};

/* Closes what is open: the daemon releases what was not unmounted. */
void session_close(struct session *session);

#define SESSION_AUTO __attribute__((cleanup(session_close)))
#define SESSION_NONE                                                                               \
        { .root = -EBADF }

/* `*session` is SESSION_NONE before; the arguments' flags and socket are used. */
int session_connect(struct session *session, const struct arguments *arguments);

/* The same, and the failure is the caller's to tell. -ENOMEM: there is no last error either. */
int session_open(struct session *session, const struct arguments *arguments);

/* Mounts below `path`, which the session borrows. */
int session_mount(struct session *session, const char *path);

/* Does nothing when nothing is mounted. */
int session_unmount(struct session *session);

/*
 * What poll(2) watches, with POLLIN, and for how long at most: session_tend() is to be called after
 * either.
 */
int session_fd(const struct session *session);
int session_patience(const struct session *session);

/*
 * If the daemon is gone, has its next instance adopt the lease: tells once that it did. Does not
 * keep the caller for longer than a few seconds while there is no next instance, and gives up after
 * the timeout: then the lease is lost, which is told and is a negative errno.
 */
int session_tend(struct session *session);

/* "proc, sysfs and dev", as far as the flags have them; `text` is filled in and returned. */
const char *session_file_systems(uint32_t flags, char text[static SESSION_FILE_SYSTEMS_MAX]);

/* Tells standard error that `what` (already escaped) failed, with the library's last error. */
void session_complain(const struct session *session, const char *what);
