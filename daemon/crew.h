/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The workers, and the connections that they serve: one epoll set, from which whichever worker is
 * free takes the next connection that has something to say. The only module with threads. Its
 * functions are for the main thread; none of them blocks but crew_free().
 */

#include "daemon/request.h"

struct crew;

/*
 * Starts `count` workers; each has a working directory of its own. `gate` is borrowed. Signals must
 * be blocked and privileges dropped before. Negative errno, with nothing running.
 */
int crew_new(struct request_gate *gate, unsigned count, struct crew **crew);

/*
 * Ends every connection and joins the workers, whose connections' leases are released on the way.
 */
struct crew *crew_free(struct crew *crew);

/* Takes an accepted connection, also on failure; errors as peer_new(). */
int crew_add(struct crew *crew, int fd);

/* Lets the connections end: what they have sent already is served, then they see end of file. */
void crew_drain(struct crew *crew);

/* An eventfd(2) that becomes readable when the last connection has gone; borrowed. */
int crew_fd(const struct crew *crew);

/* The number of connections, those that are just being freed among them. */
unsigned crew_connections(struct crew *crew);
