/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The job server of a make(1) or cargo that started this process: a pipe, of which it is told the
 * descriptors by number in MAKEFLAGS or CARGO_MAKEFLAGS ("POSIX Jobserver" in make's manual).
 */

#include <stddef.h>

enum {
        JOBSERVER_FDS_MAX = 4, /* two for each of the variables */
};

struct jobserver {
        size_t count;
        int fds[JOBSERVER_FDS_MAX]; /* borrowed; may have one twice */
};

/*
 * Finds the descriptors that are named and are pipes, both of them. To be called before this
 * process opens anything, or a number could be one of its own. None if there is no such make, or if
 * its job server is a FIFO with a path, of which nothing needs to be inherited.
 */
void jobserver_find(struct jobserver *jobserver);

/* Lets them survive execve(2). 0 or a negative errno. */
int jobserver_pass(const struct jobserver *jobserver);
