/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The protocol's statuses, with their names and sentences. A status is a normal result; a failure
 * of the host is passed as errno, and becomes STATUS_HOST_FAILED only when a reply is made.
 */

#include <stdint.h>

enum status {
        STATUS_OK = 0,
        STATUS_MALFORMED = 1,
        STATUS_UNSUPPORTED_VERSION = 2,
        STATUS_UNKNOWN_OPERATION = 3,
        STATUS_WRONG_FD_COUNT = 4,
        STATUS_NOT_A_DIRECTORY = 5,
        STATUS_NOT_AUTHORISED = 6,
        STATUS_WRONG_NAME = 7,
        STATUS_ALREADY_MOUNTED = 8,
        STATUS_FOREIGN_NAMESPACE = 9,
        STATUS_LIMIT_EXCEEDED = 10,
        STATUS_NO_SUCH_LEASE = 11,
        STATUS_HOST_FAILED = 12,
        STATUS_SHUTTING_DOWN = 13,
        STATUS_TARGET_VANISHED = 14,
        STATUS_UNSUPPORTED_FILE_SYSTEM = 15,
        STATUS_MAX,
};

/* Instead of a target's index: no target is at fault. */
#define STATUS_NO_TARGET UINT32_MAX

/* The name in the documentation, "not-authorised"; "unknown-status" for an unknown number. */
const char *status_name(uint32_t status);

/* One sentence for people: what is wrong and what to do. Static, never NULL. */
const char *status_sentence(uint32_t status);

/*
 * The answer to one request. With STATUS_OK the other fields are meaningless. `error` is the
 * positive errno of a failing host, otherwise 0. `text` is the sentence for the client; if empty,
 * the status's own is used.
 */
struct verdict {
        enum status status;
        int error;
        uint32_t target;
        char text[217];
};

#define VERDICT_OK                                                                                 \
        (struct verdict) {                                                                         \
                .status = STATUS_OK, .target = STATUS_NO_TARGET                                    \
        }

/* A refusal with the status's own sentence; `target` is an index or STATUS_NO_TARGET. */
struct verdict verdict_refuse(enum status status, uint32_t target);

/* The same with another sentence. */
struct verdict verdict_explain(enum status status, uint32_t target, const char *text);

/* STATUS_HOST_FAILED; `error` is a negative errno, which makes the text. */
struct verdict verdict_host_failed(int error, uint32_t target);
