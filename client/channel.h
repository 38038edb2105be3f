/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The socket to the daemon: one request and its reply at a time, within a deadline. It closes
 * itself as soon as what comes next could not be told from what should have come before, and
 * remembers why.
 */

#include "common/wire.h"

#include <stdint.h>

struct channel {
        int fd;              /* owned; -EBADF when closed */
        uint32_t timeout;    /* milliseconds, for each of the calls below */
        uint64_t cookie;     /* of the last request */
        const char *closing; /* why it is closed, for a sentence; static */
};

#define CHANNEL_CLOSED                                                                             \
        (struct channel) {                                                                         \
                .fd = -EBADF, .closing = "was never opened"                                        \
        }

/* Closes it; `why` is static and completes "the connection …". */
void channel_close(struct channel *channel, const char *why);

/*
 * Connects a closed channel to the socket at `path`. The errnos of connect(2), with -ETIMEDOUT for
 * a backlog that stayed full, and -ENAMETOOLONG.
 */
int channel_connect(struct channel *channel, const char *path);

/*
 * Sends `request` with its borrowed fds, as many as it has targets, and waits for the answer to
 * it; version and cookie are filled in. 0: `*reply` answers this request, or is the daemon's
 * unasked refusal of the whole connection (then the channel is closed).
 *
 * -ETIMEDOUT, -ECONNRESET, -EPROTO and whatever a receive fails with: the channel is closed. With
 * an open channel a negative errno means that nothing was sent (-EBADF: one of `fds` is none,
 * -ETOOMANYREFS: too many of this user's are under way).
 */
int channel_exchange(struct channel *channel, struct wire_request *request, const int *fds,
                     struct wire_reply *reply);
