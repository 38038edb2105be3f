/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The socket to the daemon: one request and its reply at a time, within a deadline. After an error
 * that leaves a reply unread it closes itself, and records why.
 */

#include "common/wire.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct channel {
        atomic_int fd;       /* owned; -EBADF when closed; read by other threads */
        int watch;           /* owned epoll(7), readable when the peer hangs up; -EBADF for none */
        int interrupt;       /* borrowed; when readable, waits end with -ECANCELED; or -EBADF */
        int64_t deadline;    /* nanoseconds of CLOCK_MONOTONIC, for every blocking call below */
        uint64_t cookie;     /* of the last request */
        bool delivered;      /* the last request was sent */
        const char *closing; /* why it is closed; completes "the connection …"; static */
};

#define CHANNEL_CLOSED                                                                             \
        { .fd = -EBADF, .watch = -EBADF, .interrupt = -EBADF, .closing = "was never opened" }

/* The clock of deadlines. */
int64_t channel_now(void);
int64_t channel_after(uint32_t milliseconds);

/* Closes the socket; `why` is static and completes "the connection …". */
void channel_close(struct channel *channel, const char *why);

/* Closes the socket and its watch. */
void channel_free(struct channel *channel);

/*
 * Creates the watch if there is none yet. It stays the same across reconnects, so that its user can
 * keep polling one descriptor.
 */
int channel_watch(struct channel *channel);

/*
 * Connects a closed channel to the socket at `path`, and watches it. Returns 0, an errno of
 * connect(2), -ETIMEDOUT if the backlog stayed full, -ENAMETOOLONG, or
 * -EINVAL for an empty path.
 */
int channel_connect(struct channel *channel, const char *path);

/* Closes the channel if the peer has hung up. To be called when no reply is expected. */
void channel_check(struct channel *channel);

/*
 * Sends `request` with one borrowed fd per target, and waits for its reply; fills in version and
 * cookie. On 0, `*reply` answers this request, or is the daemon's unsolicited refusal of the whole
 * connection (then the channel is closed).
 *
 * After -ETIMEDOUT, -ECONNRESET (the peer went away), -ECANCELED, -EPROTO or another error of
 * receiving, the channel is closed. If it is still open after an error, nothing was sent (-EBADF:
 * one of `fds` is invalid; -ETOOMANYREFS: too many descriptors of this user are in flight).
 */
int channel_exchange(struct channel *channel, struct wire_request *request, const int *fds,
                     struct wire_reply *reply);

/* Sleeps, at most until the deadline. Returns 0, -ETIMEDOUT or -ECANCELED. */
int channel_pause(const struct channel *channel, uint32_t milliseconds);
