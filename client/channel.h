/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The socket to the daemon: one request and its reply at a time, within a deadline. It closes
 * itself as soon as what comes next could not be told from what should have come before, and
 * remembers why.
 */

#include "common/wire.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct channel {
        atomic_int fd;       /* owned; -EBADF when closed; read by other threads */
        int watch;           /* owned epoll(7), readable when the peer hangs up; -EBADF for none */
        int interrupt;       /* borrowed; when readable, waits end with -ECANCELED; or -EBADF */
        int64_t deadline;    /* nanoseconds of CLOCK_MONOTONIC, for all below */
        uint64_t cookie;     /* of the last request */
        bool delivered;      /* the last request reached the socket */
        const char *closing; /* why it is closed, for a sentence; static */
};

#define CHANNEL_CLOSED                                                                             \
        { .fd = -EBADF, .watch = -EBADF, .interrupt = -EBADF, .closing = "was never opened" }

/* The clock of deadlines. */
int64_t channel_now(void);
int64_t channel_after(uint32_t milliseconds);

/* Closes it; `why` is static and completes "the connection …". */
void channel_close(struct channel *channel, const char *why);

/* Closes it and its watch. */
void channel_free(struct channel *channel);

/*
 * Makes the watch, if there is none yet. It is the same through all connections, so that whoever
 * polls it need not know of them.
 */
int channel_watch(struct channel *channel);

/*
 * Connects a closed channel to the socket at `path`, and watches it. The errnos of connect(2), with
 * -ETIMEDOUT for a backlog that stayed full, and -ENAMETOOLONG.
 */
int channel_connect(struct channel *channel, const char *path);

/* Closes the channel if the peer has hung up. For times when no answer is expected. */
void channel_check(struct channel *channel);

/*
 * Sends `request` with its borrowed fds, as many as it has targets, and waits for the answer to
 * it; version and cookie are filled in. 0: `*reply` answers this request, or is the daemon's
 * unasked refusal of the whole connection (then the channel is closed).
 *
 * -ETIMEDOUT, -ECONNRESET (the peer went away), -ECANCELED, -EPROTO and whatever a receive fails
 * with: the channel is closed. With an open channel a negative errno means that nothing was sent
 * (-EBADF: one of `fds` is none, -ETOOMANYREFS: too many of this user's are under way).
 */
int channel_exchange(struct channel *channel, struct wire_request *request, const int *fds,
                     struct wire_reply *reply);

/* Sleeps, for no longer than there is. 0, -ETIMEDOUT, -ECANCELED. */
int channel_pause(const struct channel *channel, uint32_t milliseconds);
