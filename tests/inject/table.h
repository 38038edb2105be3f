/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Which errors a call is made to fail with: those that its manual page names and that can happen to
 * a call of the daemon's, and shortage of memory, of descriptors and of space, and interruption,
 * where the call takes such a thing or can sleep. Or why it isn't made to fail at all.
 */

#include "tests/inject/trap.h"

enum {
        TABLE_ERRORS_MAX = 12,
};

struct table_row {
        const char *name;
        struct trap_call call;
        int errors[TABLE_ERRORS_MAX]; /* 0 ends them */
        const char *never;            /* why it has none */
};

/* NULL: the table doesn't know the call. */
const struct table_row *table_find(struct trap_call call);

/* The row's name, or the number. The buffer is used again by the next call. */
const char *table_name(struct trap_call call);
