/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The job server of the make(1) or cargo that started this process: a pipe, whose descriptor
 * numbers are in MAKEFLAGS or CARGO_MAKEFLAGS ("POSIX Jobserver" in make's manual).
 */

#include <stddef.h>

enum {
        JOBSERVER_FDS_MAX = 4, /* two per variable */
};

struct jobserver {
        size_t count;
        int fds[JOBSERVER_FDS_MAX]; /* borrowed; may contain duplicates */
};

/*
 * Finds the named descriptors, in pairs of which both must be pipes. Must be called before this
 * process opens anything, or a number could be one of its own. Finds none without such a make, or
 * if its job server is a named FIFO, which needs no inherited descriptor.
 */
void jobserver_find(struct jobserver *jobserver);

/* Clears close-on-exec on them. 0 or a negative errno. */
int jobserver_pass(const struct jobserver *jobserver);
