/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Fields are read and written at the offsets of the tables in doc/protocol.md, one by one: no
 * struct is laid over the bytes, so neither alignment nor padding can differ between compilers.
 */

#include "common/wire.h"

#include "common/file_system.h"
#include "common/text.h"

#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

static uint16_t read16(const uint8_t *p) {
        uint16_t v;

        memcpy(&v, p, sizeof(v));
        return le16toh(v);
}

static uint32_t read32(const uint8_t *p) {
        uint32_t v;

        memcpy(&v, p, sizeof(v));
        return le32toh(v);
}

static uint64_t read64(const uint8_t *p) {
        uint64_t v;

        memcpy(&v, p, sizeof(v));
        return le64toh(v);
}

static void write16(uint8_t *p, uint16_t v) {
        v = htole16(v);
        memcpy(p, &v, sizeof(v));
}

static void write32(uint8_t *p, uint32_t v) {
        v = htole32(v);
        memcpy(p, &v, sizeof(v));
}

static void write64(uint8_t *p, uint64_t v) {
        v = htole64(v);
        memcpy(p, &v, sizeof(v));
}

/* Which operations have targets, and which a lease. */
static bool wire_has_targets(uint16_t operation) {
        return operation == PROTOCOL_MOUNT || operation == PROTOCOL_ADOPT ||
               operation == PROTOCOL_ENTER;
}

static bool wire_has_lease(uint16_t operation) {
        return operation == PROTOCOL_UNMOUNT || operation == PROTOCOL_ADOPT;
}

static bool wire_knows_kind(uint16_t operation, const struct wire_target *target) {
        if (operation == PROTOCOL_ENTER)
                return target->file_system >= PROTOCOL_NAMESPACE_MOUNT &&
                       target->file_system <= PROTOCOL_NAMESPACE_NETWORK;
        return file_system_name(target->file_system);
}

static bool wire_knows_options(uint16_t operation, const struct wire_target *target) {
        uint32_t known = PROTOCOL_READ_ONLY;

        if (operation == PROTOCOL_ENTER)
                known = 0;
        else if (target->file_system == PROTOCOL_PROC)
                known |= PROTOCOL_PIDS_ONLY;
        return !(target->options & ~known);
}

static struct verdict wire_judge_kind(uint16_t operation, const struct wire_target *target,
                                      uint32_t index) {
        if (wire_knows_kind(operation, target))
                return VERDICT_OK;
        if (operation == PROTOCOL_ENTER)
                return verdict_explain(STATUS_UNSUPPORTED_FILE_SYSTEM, index,
                                       "no kind of namespace that mountatd enters: those are "
                                       "mount (1), pid (2) and network (3)");
        return verdict_refuse(STATUS_UNSUPPORTED_FILE_SYSTEM, index);
}

static struct verdict wire_refuse_namespaces(uint32_t index) {
        return verdict_explain(STATUS_MALFORMED, index,
                               "enter takes the mount namespace, and each kind once");
}

/* Each kind at most once, and the mount namespace always. */
static struct verdict wire_judge_namespaces(const struct wire_request *request) {
        uint32_t seen = 0;

        for (uint32_t i = 0; i < request->n_targets; i++) {
                uint32_t kind = 1U << request->targets[i].file_system;

                if (seen & kind)
                        return wire_refuse_namespaces(i);
                seen |= kind;
        }
        return seen & 1U << PROTOCOL_NAMESPACE_MOUNT ? VERDICT_OK
                                                     : wire_refuse_namespaces(STATUS_NO_TARGET);
}

static bool wire_knows_flags(const struct wire_request *request) {
        if (request->operation != PROTOCOL_MOUNT)
                return !request->flags;
        return !request->flags || request->flags == PROTOCOL_KEEP ||
               request->flags == PROTOCOL_CHECK;
}

/* The order of the checks is part of the protocol. */
static struct verdict wire_judge(const struct wire_request *request, size_t size) {
        bool targets = wire_has_targets(request->operation);

        if (request->version != PROTOCOL_VERSION)
                return verdict_refuse(STATUS_UNSUPPORTED_VERSION, STATUS_NO_TARGET);
        if (request->operation < PROTOCOL_HELLO || request->operation > PROTOCOL_ENTER)
                return verdict_refuse(STATUS_UNKNOWN_OPERATION, STATUS_NO_TARGET);
        if (!wire_knows_flags(request) || (request->lease && !wire_has_lease(request->operation)))
                return verdict_refuse(STATUS_MALFORMED, STATUS_NO_TARGET);
        if (size != WIRE_REQUEST_HEADER + (size_t)WIRE_TARGET * request->n_targets)
                return verdict_refuse(STATUS_MALFORMED, STATUS_NO_TARGET);
        if (targets != (request->n_targets > 0) || request->n_targets > PROTOCOL_TARGETS_MAX)
                return verdict_refuse(STATUS_MALFORMED, STATUS_NO_TARGET);

        for (uint32_t i = 0; i < request->n_targets; i++) {
                struct verdict verdict =
                        wire_judge_kind(request->operation, &request->targets[i], i);

                if (verdict.status != STATUS_OK)
                        return verdict;
        }
        for (uint32_t i = 0; i < request->n_targets; i++)
                if (!wire_knows_options(request->operation, &request->targets[i]))
                        return verdict_refuse(STATUS_MALFORMED, i);
        return request->operation == PROTOCOL_ENTER ? wire_judge_namespaces(request) : VERDICT_OK;
}

int wire_decode_request(const void *bytes, size_t size, struct wire_request *request,
                        struct verdict *verdict) {
        const uint8_t *p = bytes;
        size_t readable = size < WIRE_REQUEST_MAX ? size : WIRE_REQUEST_MAX;

        if (size < WIRE_REQUEST_HEADER || memcmp(p, PROTOCOL_MAGIC, 4) != 0)
                return -EBADMSG;

        *request = (struct wire_request){
                .version = read16(p + 4),
                .operation = read16(p + 6),
                .cookie = read64(p + 8),
                .lease = read64(p + 16),
                .n_targets = read32(p + 24),
                .flags = read32(p + 28),
        };

        for (uint32_t i = 0; WIRE_REQUEST_HEADER + (size_t)(i + 1) * WIRE_TARGET <= readable; i++) {
                const uint8_t *q = p + WIRE_REQUEST_HEADER + (size_t)i * WIRE_TARGET;

                request->targets[i] =
                        (struct wire_target){.file_system = read32(q), .options = read32(q + 4)};
        }

        *verdict = wire_judge(request, size);
        return 0;
}

size_t wire_encode_request(const struct wire_request *request, void *bytes) {
        uint8_t *p = bytes;

        memcpy(p, PROTOCOL_MAGIC, 4);
        write16(p + 4, request->version);
        write16(p + 6, request->operation);
        write64(p + 8, request->cookie);
        write64(p + 16, request->lease);
        write32(p + 24, request->n_targets);
        write32(p + 28, request->flags);

        for (uint32_t i = 0; i < request->n_targets; i++) {
                uint8_t *q = p + WIRE_REQUEST_HEADER + (size_t)i * WIRE_TARGET;

                write32(q, request->targets[i].file_system);
                write32(q + 4, request->targets[i].options);
        }
        return WIRE_REQUEST_HEADER + (size_t)WIRE_TARGET * request->n_targets;
}

size_t wire_encode_reply(const struct wire_reply *reply, void *bytes) {
        uint8_t *p = bytes;
        size_t length = text_cut(reply->text, PROTOCOL_TEXT_MAX);

        memcpy(p, PROTOCOL_MAGIC, 4);
        write16(p + 4, PROTOCOL_VERSION);
        write16(p + 6, reply->operation | PROTOCOL_REPLY_BIT);
        write64(p + 8, reply->cookie);
        write64(p + 16, reply->lease);
        write32(p + 24, reply->status);
        write32(p + 28, reply->error);
        write32(p + 32, reply->target);
        write32(p + 36, reply->flags);
        memcpy(p + WIRE_REPLY_HEADER, reply->text, length);
        return WIRE_REPLY_HEADER + length;
}

int wire_decode_reply(const void *bytes, size_t size, struct wire_reply *reply) {
        const uint8_t *p = bytes;
        uint16_t operation;

        if (size < WIRE_REPLY_HEADER || size > WIRE_REPLY_MAX ||
            memcmp(p, PROTOCOL_MAGIC, 4) != 0 || read16(p + 4) != PROTOCOL_VERSION)
                return -EBADMSG;

        operation = read16(p + 6);
        if (!(operation & PROTOCOL_REPLY_BIT) ||
            memchr(p + WIRE_REPLY_HEADER, '\0', size - WIRE_REPLY_HEADER))
                return -EBADMSG;

        *reply = (struct wire_reply){
                .operation = operation & ~PROTOCOL_REPLY_BIT,
                .cookie = read64(p + 8),
                .lease = read64(p + 16),
                .status = read32(p + 24),
                .error = read32(p + 28),
                .target = read32(p + 32),
                .flags = read32(p + 36),
        };
        memcpy(reply->text, p + WIRE_REPLY_HEADER, size - WIRE_REPLY_HEADER);
        return 0;
}
