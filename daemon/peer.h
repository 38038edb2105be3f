/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * One connection: who is at its other end, and its requests one after the other, each from start
 * to end in straight-line code. Served by one worker at a time.
 */

#include "daemon/request.h"

struct peer;

/*
 * Takes the accepted `fd`; on failure it stays the caller's, to be closed where that may block. A
 * connection beyond the limits is told so, unasked: -EDQUOT. Other negative errnos: nothing can be
 * said. `*owner` says who it is as soon as that is known. Main thread; doesn't block.
 */
int peer_new(int fd, struct request_gate *gate, struct peer **peer, struct ledger_owner *owner);

/* Releases what the connection holds, then closes it, which can block. On a worker. */
struct peer *peer_free(struct peer *peer);

/*
 * The client is gone, but a worker is stuck in its request: releases all else that it holds. The
 * stuck worker, when it comes back, publishes nothing. On another worker.
 */
void peer_abandon(struct peer *peer);

/* Who is at the other end, for the ledger; borrowed. */
const struct ledger_owner *peer_owner(const struct peer *peer);

/* The connection's descriptor, for epoll and shutdown(2); borrowed. */
int peer_fd(const struct peer *peer);

/*
 * Receives and serves one request. 0: there may be more, wait for them. Negative: the connection is
 * at its end, free it. On a worker.
 */
int peer_serve(struct peer *peer);
