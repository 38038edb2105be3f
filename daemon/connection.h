/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * One client, one thread: each accepted connection has a thread of its own, from admission to its
 * last close, that receives, decodes, authorises, acts and replies in straight-line code. Whatever
 * a client makes its thread wait for (a file system that doesn't answer, the close of what it
 * queued), nobody else waits. The main thread accepts, and drops nothing of a client's.
 *
 * A connection beyond the limits is refused: refusal.h.
 *
 * The functions are for the main thread; none blocks.
 */

#include "daemon/request.h"
#include "daemon/thread.h"

#include <stdbool.h>

struct connections;

/* Both are borrowed. NULL: out of memory. */
struct connections *connections_new(struct context *context, struct threads *threads);

/* After threads_free(), if that has returned true. NULL-safe. */
struct connections *connections_free(struct connections *connections);

/*
 * Accepts one connection from the listening `socket`, and has it served or refused. -EAGAIN: there
 * is none. -EUSERS: too many refused ones wait to be closed. Other negative errnos: the host is
 * short of something, look away for a while.
 */
int connections_accept(struct connections *connections, int socket);

/* Every 100 ms or so: what a client that has left still holds goes, though its thread is stuck. */
void connections_watch(struct connections *connections);

/* Lets the connections end: what they have sent already is served, then they see end of file. */
void connections_drain(struct connections *connections);

/*
 * When the time for that is over: hangs up on those that are left, and has another thread release
 * what they hold.
 */
void connections_abandon(struct connections *connections);

/*
 * Freezes the leases and hangs up on every client, as the process's end would, but for a thread
 * that is stuck in the kernel and keeps the descriptors open. Keeps its mutex: exit at once.
 */
void connections_hang_up(struct connections *connections);
