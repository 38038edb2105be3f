/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * One connection: who is at its other end, and its requests one after the other, each from start
 * to end in straight-line code. Served by one worker at a time.
 */

#include "daemon/request.h"

#include <stdbool.h>

struct peer;

/*
 * Takes the accepted `fd`; on failure it stays the caller's, to be closed where that may block. A
 * connection beyond the limits is told so, unasked: -EDQUOT. Other negative errnos: nothing can be
 * said. Main thread; doesn't block.
 */
int peer_new(int fd, struct request_gate *gate, struct peer **peer);

/* Closes a connection that peer_new() would not have, which can block. On a worker. */
void peer_dismiss(int fd);

/* Releases what the connection holds, then closes it. On a worker: what the client has sent and
 * nobody has received is closed as well, which can take its time. */
void peer_close(struct peer *peer);

/* After peer_close(). Doesn't block. */
struct peer *peer_free(struct peer *peer);

/*
 * The client is gone, but a worker is stuck in its request: releases all else that it holds. The
 * stuck worker, when it comes back, publishes nothing. On another worker.
 */
void peer_abandon(struct peer *peer);

/* Who is at the other end, for the ledger; borrowed. */
struct ledger_owner *peer_owner(struct peer *peer);

/* The connection's descriptor, for epoll and shutdown(2); borrowed. */
int peer_fd(const struct peer *peer);

/* Whether the client has sent more already, or is gone. Doesn't block. */
bool peer_has_more(const struct peer *peer);

enum peer_progress {
        PEER_ENDED, /* close it */
        PEER_GOES_ON,
        PEER_MUST_WAIT, /* for ledger_begin_attempt(): nothing has been received */
};

/* Receives and serves one request. On a worker. */
enum peer_progress peer_serve(struct peer *peer);
