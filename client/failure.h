/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The last error of a connection: what mountat.h's accessors read. Here a status of the daemon
 * becomes an errno, and a failure of this process a sentence.
 */

#include "common/wire.h"

#include <stdint.h>

struct failure {
        int32_t status; /* enum mountat_status */
        int error;      /* positive errno */
        uint32_t target;
        char text[640];
};

/* As after a success. */
void failure_clear(struct failure *failure);

/*
 * This process failed with the positive errno `error`; `target` is an index or STATUS_NO_TARGET.
 * Strings in the text must be escaped already. Returns -error.
 */
int failure_client(struct failure *failure, int error, uint32_t target, const char *format, ...)
        __attribute__((format(printf, 4, 5)));

/* The same with a status of the daemon's, where this process sees what the daemon would. */
int failure_status(struct failure *failure, uint32_t status, uint32_t target, const char *format,
                   ...) __attribute__((format(printf, 4, 5)));

/* The daemon's "no" to a request of `n_targets`. Returns the negative errno of its status. */
int failure_reply(struct failure *failure, const struct wire_reply *reply, uint32_t n_targets);

/* What the status is called. */
const char *failure_name(const struct failure *failure);
