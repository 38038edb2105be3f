/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The listening sockets: passed by the service manager (sd_listen_fds(3)), or bound here for a
 * daemon that is run by hand. Clients of all sockets are served alike. On the main thread.
 */

#include <stdio.h>
#include <sys/types.h>

/* One for the host, one for its containers, and a few to spare. */
enum { LISTENER_MAX = 8 };

struct listener_set {
        unsigned count;
        int fds[LISTENER_MAX];           /* non-blocking, close-on-exec; stay open until the end */
        const char *paths[LISTENER_MAX]; /* where it was bound, borrowed; NULL: passed */
        ino_t inodes[LISTENER_MAX];      /* of the paths */
};

/*
 * Takes the sockets that the service manager passed, or binds one with mode 0660 at each of `paths`
 * (up to a NULL, at most LISTENER_MAX). At start. Negative errno: a message with the cause and the
 * remedy has been written to `errors`, and `set` has the sockets opened so far.
 */
int listener_open(const char *const *paths, struct listener_set *set, FILE *errors);

/* Removes the files of the sockets bound here, unless somebody has replaced them since. */
void listener_unlink(const struct listener_set *set);
