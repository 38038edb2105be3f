/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The errors that a call is made to fail with: those that its manual page lists and that a call of
 * the daemon's can meet; and shortage of memory, of descriptors and of space, and interruption,
 * according to its traits. A row without a trait isn't made to fail in that way. A row can also
 * give the reason why its call isn't made to fail at all.
 */

#include "tests/faults/inject/trap.h"

enum table_trait {
        TABLE_OPENS = 1 << 0,     /* creates a descriptor: EMFILE, ENFILE, ENOMEM */
        TABLE_ALLOCATES = 1 << 1, /* allocates memory in the kernel: ENOMEM */
        TABLE_FILLS = 1 << 2,     /* fills a file system or uses up a counted resource (mounts,
                                     watches): ENOSPC */
        TABLE_SLEEPS = 1 << 3,    /* a handled signal interrupts it: EINTR */
};

enum {
        TABLE_ERRORS_MAX = 16, /* with the 0 that ends them */
};

struct table_row {
        const char *name;
        struct trap_call call;
        unsigned traits;
        int errors[TABLE_ERRORS_MAX]; /* further ones, up to a 0 */
        const char *never;            /* why it has none */
};

/* NULL: the call isn't in the table. */
const struct table_row *table_find(struct trap_call call);

/* Writes all of its errors, at most TABLE_ERRORS_MAX. */
void table_errors(const struct table_row *row, int *errors);

/* The row's name, or the number. The next call reuses the buffer. */
const char *table_name(struct trap_call call);
