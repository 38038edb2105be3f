/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The decoders of both directions. Nothing is read beyond the limit, and accepted input encodes to
 * the same bytes.
 */

#include "common/wire.h"
#include "tests/fuzz/script.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>

/* Exactly as long as what may be read, so that AddressSanitizer catches any further byte. */
static uint8_t *copy(const uint8_t *data, size_t size, size_t readable) {
        size_t length = size < readable ? size : readable;
        uint8_t *bytes = malloc(length ?: 1);

        ck_assert_ptr_nonnull(bytes);
        if (length > 0)
                memcpy(bytes, data, length);
        return bytes;
}

static void try_request(const uint8_t *data, size_t size) {
        uint8_t *bytes = copy(data, size, WIRE_REQUEST_MAX), again[WIRE_REQUEST_MAX];
        struct wire_request request;
        struct verdict verdict;
        int r = wire_decode_request(bytes, size, &request, &verdict);

        ck_assert(r == 0 || r == -EBADMSG);
        if (r == 0) {
                ck_assert_uint_lt(verdict.status, STATUS_MAX);
                ck_assert(verdict.target == STATUS_NO_TARGET || verdict.target < request.n_targets);
        }
        if (r == 0 && verdict.status == STATUS_OK) {
                ck_assert_uint_le(request.n_targets, PROTOCOL_TARGETS_MAX);
                ck_assert_uint_eq(wire_encode_request(&request, again), size);
                ck_assert_mem_eq(again, bytes, size);
        }
        free(bytes);
}

static void try_reply(const uint8_t *data, size_t size) {
        uint8_t *bytes = copy(data, size, size), again[WIRE_REPLY_MAX];
        struct wire_reply reply;
        int r = wire_decode_reply(bytes, size, &reply);

        ck_assert(r == 0 || r == -EBADMSG);
        if (r == 0) {
                /* The text may be cut where it isn't UTF-8: clients show it, and send none. */
                ck_assert_uint_le(strlen(reply.text), PROTOCOL_TEXT_MAX);
                ck_assert_uint_le(wire_encode_reply(&reply, again), size);
                ck_assert_mem_eq(again, bytes, WIRE_REPLY_HEADER);
        }
        free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        try_request(data, size);
        try_reply(data, size);
        return 0;
}
