/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The last error of a connection, as mountat.h's accessors return it. Turns the daemon's statuses
 * into errnos, and failures of this process into text.
 */

#include "common/wire.h"

#include <stdint.h>

struct failure {
        int32_t status; /* enum mountat_status */
        int error;      /* positive errno */
        uint32_t target;
        char text[640];
};

/* Sets the state after a success. */
void failure_clear(struct failure *failure);

/*
 * Records a failure of this process with the positive errno `error`; `target` is an index or
 * STATUS_NO_TARGET. Strings in the text must be escaped already. Returns -error.
 */
int failure_client(struct failure *failure, int error, uint32_t target, const char *format, ...)
        __attribute__((format(printf, 4, 5)));

/* The same with one of the daemon's statuses, for what this process detects in its place. */
int failure_status(struct failure *failure, uint32_t status, uint32_t target, const char *format,
                   ...) __attribute__((format(printf, 4, 5)));

/* Records the daemon's refusal of a request with `n_targets`. Returns its status as -errno. */
int failure_reply(struct failure *failure, const struct wire_reply *reply, uint32_t n_targets);

/* The name of the status, such as "not-authorised". */
const char *failure_name(const struct failure *failure);
