/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The listening sockets: handed over by the service manager (sd_listen_fds(3)), or bound here for a
 * daemon that is run by hand. Clients of all of them are served alike. On the main thread.
 */

#include <stdio.h>

/* One for the host, one for its containers, and a few to spare. */
enum { LISTENER_MAX = 8 };

struct listener_set {
        unsigned count;
        int fds[LISTENER_MAX];           /* non-blocking, close-on-exec; stay open until the end */
        const char *paths[LISTENER_MAX]; /* where each was bound, borrowed; NULL: it was passed */
};

/*
 * Takes the sockets that the service manager passed, or binds one at each of `paths`, of which
 * there are LISTENER_MAX at most, up to a NULL; mode 0660. At start. -EINVAL and the like: a
 * sentence about what is wrong and what to do has been written to `errors`; in `set` is what was
 * opened before.
 */
int listener_open(const char *const *paths, struct listener_set *set, FILE *errors);

/* Removes the names of those that were bound here. */
void listener_unlink(const struct listener_set *set);
