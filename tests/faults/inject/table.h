/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Which errors a call is made to fail with: those that its manual page names and that can happen to
 * a call of the daemon's; and shortage of memory, of descriptors and of space, and interruption, as
 * its traits say. A trait that a row lacks is the reason why it isn't made to fail so. Or why it
 * isn't made to fail at all.
 */

#include "tests/faults/inject/trap.h"

enum table_trait {
        TABLE_OPENS = 1 << 0,     /* makes a descriptor: EMFILE, ENFILE, ENOMEM */
        TABLE_ALLOCATES = 1 << 1, /* the kernel takes memory for it: ENOMEM */
        TABLE_FILLS = 1 << 2,     /* a file system, or what is counted: mounts, watches: ENOSPC */
        TABLE_SLEEPS = 1 << 3,    /* and a signal that is handled ends that: EINTR */
};

enum {
        TABLE_ERRORS_MAX = 16, /* with the 0 that ends them */
};

struct table_row {
        const char *name;
        struct trap_call call;
        unsigned traits;
        int errors[TABLE_ERRORS_MAX]; /* the others; 0 ends them */
        const char *never;            /* why it has none */
};

/* NULL: the table doesn't know the call. */
const struct table_row *table_find(struct trap_call call);

/* All of its errors: at most TABLE_ERRORS_MAX are written. */
void table_errors(const struct table_row *row, int *errors);

/* The row's name, or the number. The buffer is used again by the next call. */
const char *table_name(struct trap_call call);
