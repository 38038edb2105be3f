/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Converts bytes to structs and back: only this module knows offsets and byte order. Pure, on any
 * thread; never reads beyond the given size.
 */

#include "common/protocol.h"
#include "common/status.h"

#include <stddef.h>
#include <stdint.h>

enum {
        WIRE_REQUEST_HEADER = 32,
        WIRE_TARGET = 8,
        WIRE_REQUEST_MAX = WIRE_REQUEST_HEADER + PROTOCOL_TARGETS_MAX * WIRE_TARGET,
        WIRE_REPLY_HEADER = 40,
        WIRE_REPLY_MAX = WIRE_REPLY_HEADER + PROTOCOL_TEXT_MAX,
};

struct wire_target {
        uint32_t file_system;
        uint32_t options;
};

struct wire_request {
        uint16_t version;
        uint16_t operation;
        uint64_t cookie;
        uint64_t lease;
        uint32_t n_targets;
        uint32_t flags; /* of enum protocol_flag */
        struct wire_target targets[PROTOCOL_TARGETS_MAX];
};

struct wire_reply {
        uint16_t operation; /* without the reply bit */
        uint64_t cookie;
        uint64_t lease;
        uint32_t status;
        uint32_t error; /* positive errno, or 0 */
        uint32_t target;
        uint32_t flags;
        char text[PROTOCOL_TEXT_MAX + 1];
};

/*
 * Decodes one datagram of `size` bytes, of which at most WIRE_REQUEST_MAX are read: for a longer
 * one pass its real size. -EBADMSG: no reply is possible, so close the connection; `*request` is
 * unchanged. Otherwise 0: operation and cookie can be echoed, and `*verdict` says whether the rest
 * is well-formed.
 */
int wire_decode_request(const void *bytes, size_t size, struct wire_request *request,
                        struct verdict *verdict);

/* Encodes to `bytes`, which has room for WIRE_REQUEST_MAX; returns the size. n_targets ≤ 16. */
size_t wire_encode_request(const struct wire_request *request, void *bytes);

/* Encodes to `bytes`, which has room for WIRE_REPLY_MAX; returns the size. */
size_t wire_encode_reply(const struct wire_reply *reply, void *bytes);

/*
 * -EBADMSG: the `size` bytes are no reply of this version, and `*reply` is unchanged. Otherwise 0.
 */
int wire_decode_reply(const void *bytes, size_t size, struct wire_reply *reply);
