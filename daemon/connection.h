/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * One client, one thread: each accepted connection has a thread of its own, from admission to its
 * last close, which receives, decodes, authorises, acts and replies in straight-line code. Whatever
 * a client makes its thread wait for (a file system that doesn't answer, the close of a queued
 * file) delays no other client. The main thread accepts, and never closes a client's file.
 *
 * A connection beyond the limits is refused: refusal.h.
 *
 * All functions are for the main thread; none blocks.
 */

#include "daemon/request.h"
#include "daemon/thread.h"

#include <stdbool.h>

struct connections;

/* Both are borrowed. NULL: out of memory. */
struct connections *connections_new(struct context *context, struct threads *threads);

/* After threads_free() has returned true. Accepts NULL. */
struct connections *connections_free(struct connections *connections);

/*
 * Accepts one connection from the listening `socket`, to serve or refuse it. -EAGAIN: none is
 * queued. -EUSERS: too many refused connections are waiting to be closed. Other negative errnos:
 * the host is short of a resource; pause before the next call.
 */
int connections_accept(struct connections *connections, int socket);

/*
 * To be called about every 100 ms: releases the leases of clients that have left while their
 * threads are stuck.
 */
void connections_watch(struct connections *connections);

/*
 * Ends the connections: requests that were already sent are served, then the threads see end of
 * file.
 */
void connections_drain(struct connections *connections);

/*
 * When the time for draining is over: hangs up on the remaining connections, and has another thread
 * release their leases.
 */
void connections_abandon(struct connections *connections);

/*
 * Freezes the leases and hangs up on every client, as the end of the process would if no thread,
 * stuck in the kernel, kept the descriptors open. Keeps its mutex locked: exit at once.
 */
void connections_hang_up(struct connections *connections);
