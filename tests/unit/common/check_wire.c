/* SPDX-License-Identifier: Apache-2.0 */

/* Replays vectors/ in both directions, and feeds the decoders what no file could list. */

#include "common/wire.h"
#include "tests/test.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum vector_key {
        KEY_MESSAGE,
        KEY_VERSION,
        KEY_OPERATION,
        KEY_COOKIE,
        KEY_LEASE,
        KEY_N_TARGETS,
        KEY_FLAGS,
        KEY_TARGET,
        KEY_STATUS,
        KEY_ERRNO,
        KEY_INDEX,
        KEY_ENCODES,
        KEY_TEXT,
        KEY_FULL_TEXT,
        KEY_BYTES,
        KEY_COUNT,
};

#define KEY_BIT(key) (1u << (key))
#define KEYS_BOTH                                                                                  \
        (KEY_BIT(KEY_MESSAGE) | KEY_BIT(KEY_OPERATION) | KEY_BIT(KEY_COOKIE) |                     \
         KEY_BIT(KEY_LEASE) | KEY_BIT(KEY_FLAGS) | KEY_BIT(KEY_STATUS) | KEY_BIT(KEY_INDEX) |      \
         KEY_BIT(KEY_BYTES))
#define KEYS_REQUEST                                                                               \
        (KEYS_BOTH | KEY_BIT(KEY_VERSION) | KEY_BIT(KEY_N_TARGETS) | KEY_BIT(KEY_ENCODES))
#define KEYS_REPLY (KEYS_BOTH | KEY_BIT(KEY_ERRNO) | KEY_BIT(KEY_TEXT))
#define KEYS_CLOSE (KEY_BIT(KEY_MESSAGE) | KEY_BIT(KEY_STATUS) | KEY_BIT(KEY_BYTES))

static const char *const key_names[KEY_COUNT] = {
        "message", "version", "operation", "cookie",  "lease", "n-targets", "flags", "target",
        "status",  "errno",   "index",     "encodes", "text",  "full-text", "bytes",
};

struct vector {
        char name[300];
        unsigned seen; /* KEY_BIT()s */
        bool is_reply;
        bool closes;
        bool encodes;
        unsigned n_targets_given;
        uint32_t index;
        uint32_t status;
        struct wire_request request;
        struct wire_reply reply; /* its text is what the bytes hold */
        char full_text[512];
        size_t size;
        uint8_t bytes[512];
};

static uint64_t vector_number(const struct vector *vector, const char *value) {
        char *end;
        uint64_t number = strtoull(value, &end, 0);

        ck_assert_msg(end != value && !*end, "%s: '%s' is no number", vector->name, value);
        return number;
}

static void vector_read_target(struct vector *vector, const char *value) {
        struct wire_target *target = &vector->request.targets[vector->n_targets_given++];

        ck_assert_uint_le(vector->n_targets_given, PROTOCOL_TARGETS_MAX);
        ck_assert_msg(sscanf(value, "%u %x", &target->file_system, &target->options) == 2,
                      "%s: '%s' is no target", vector->name, value);
}

static void vector_read_bytes(struct vector *vector, const char *value) {
        unsigned byte;
        int used;

        while (sscanf(value, " %2x%n", &byte, &used) == 1) {
                ck_assert_uint_lt(vector->size, sizeof(vector->bytes));
                vector->bytes[vector->size++] = byte;
                value += used;
        }
        ck_assert_msg(!*value, "%s: bytes: '%s'", vector->name, value);
}

static void vector_read_text(struct vector *vector, char *text, size_t size, const char *value) {
        ck_assert_msg(strlen(value) < size, "%s: the text is too long", vector->name);
        strcpy(text, value);
}

static void vector_read_value(struct vector *vector, enum vector_key key, const char *value) {
        struct wire_request *request = &vector->request;
        struct wire_reply *reply = &vector->reply;

        switch (key) {
        case KEY_MESSAGE:
                vector->is_reply = strcmp(value, "reply") == 0;
                ck_assert(vector->is_reply || strcmp(value, "request") == 0);
                break;
        case KEY_VERSION:
                request->version = vector_number(vector, value);
                break;
        case KEY_OPERATION:
                request->operation = reply->operation = vector_number(vector, value);
                break;
        case KEY_COOKIE:
                request->cookie = reply->cookie = vector_number(vector, value);
                break;
        case KEY_LEASE:
                request->lease = reply->lease = vector_number(vector, value);
                break;
        case KEY_N_TARGETS:
                request->n_targets = vector_number(vector, value);
                break;
        case KEY_FLAGS:
                request->flags = reply->flags = vector_number(vector, value);
                break;
        case KEY_TARGET:
                vector_read_target(vector, value);
                break;
        case KEY_STATUS:
                vector->closes = strcmp(value, "close") == 0;
                if (!vector->closes)
                        vector->status = reply->status = vector_number(vector, value);
                break;
        case KEY_ERRNO:
                reply->error = vector_number(vector, value);
                break;
        case KEY_INDEX:
                vector->index = strcmp(value, "none") == 0 ? STATUS_NO_TARGET
                                                           : vector_number(vector, value);
                reply->target = vector->index;
                break;
        case KEY_ENCODES:
                vector->encodes = strcmp(value, "yes") == 0;
                ck_assert(vector->encodes || strcmp(value, "no") == 0);
                break;
        case KEY_TEXT:
                vector_read_text(vector, reply->text, sizeof(reply->text), value);
                break;
        case KEY_FULL_TEXT:
                vector_read_text(vector, vector->full_text, sizeof(vector->full_text), value);
                break;
        case KEY_BYTES:
                vector_read_bytes(vector, value);
                break;
        case KEY_COUNT:
                ck_abort();
        }
}

static void vector_read_line(struct vector *vector, char *line) {
        char *colon = strchr(line, ':');
        const char *value;

        ck_assert_msg(colon && (colon[1] == ' ' || !colon[1]), "%s: '%s' is no key", vector->name,
                      line);
        *colon = '\0';
        value = colon[1] ? colon + 2 : colon + 1;
        for (unsigned key = 0; key < KEY_COUNT; key++) {
                if (strcmp(line, key_names[key]) != 0)
                        continue;
                ck_assert_msg(key == KEY_TARGET || !(vector->seen & KEY_BIT(key)),
                              "%s: %s stands twice", vector->name, line);
                vector->seen |= KEY_BIT(key);
                vector_read_value(vector, key, value);
                return;
        }
        ck_abort_msg("%s: unknown key '%s'", vector->name, line);
}

static void vector_read(struct vector *vector, FILE *file) {
        const unsigned optional = KEY_BIT(KEY_TARGET) | KEY_BIT(KEY_FULL_TEXT);
        char line[2048];
        unsigned wanted;

        while (fgets(line, sizeof(line), file)) {
                ck_assert_msg(strchr(line, '\n'), "%s: a line without end", vector->name);
                line[strcspn(line, "\n")] = '\0';
                if (line[0] && line[0] != '#')
                        vector_read_line(vector, line);
        }

        wanted = vector->closes ? KEYS_CLOSE : vector->is_reply ? KEYS_REPLY : KEYS_REQUEST;
        ck_assert_msg((vector->seen & ~optional) == wanted, "%s: keys are missing, or too many",
                      vector->name);
}

static void request_equals(const struct vector *vector, const struct wire_request *request) {
        const struct wire_request *wanted = &vector->request;

        ck_assert_uint_eq(request->version, wanted->version);
        ck_assert_uint_eq(request->operation, wanted->operation);
        ck_assert_uint_eq(request->cookie, wanted->cookie);
        ck_assert_uint_eq(request->lease, wanted->lease);
        ck_assert_uint_eq(request->n_targets, wanted->n_targets);
        ck_assert_uint_eq(request->flags, wanted->flags);
        for (unsigned i = 0; i < PROTOCOL_TARGETS_MAX; i++) {
                ck_assert_uint_eq(request->targets[i].file_system, wanted->targets[i].file_system);
                ck_assert_uint_eq(request->targets[i].options, wanted->targets[i].options);
        }
}

static void replay_request(const struct vector *vector) {
        struct wire_request request;
        struct verdict verdict;
        uint8_t bytes[WIRE_REQUEST_MAX];
        int r = wire_decode_request(vector->bytes, vector->size, &request, &verdict);

        ck_assert_msg(r == (vector->closes ? -EBADMSG : 0), "%s: %d", vector->name, r);
        if (vector->closes)
                return;

        request_equals(vector, &request);
        ck_assert_msg(verdict.status == vector->status, "%s: status %u", vector->name,
                      verdict.status);
        ck_assert_msg(verdict.target == vector->index, "%s: index %u", vector->name,
                      verdict.target);
        ck_assert_int_eq(verdict.error, 0);
        if (!vector->encodes)
                return;

        ck_assert_uint_eq(wire_encode_request(&vector->request, bytes), vector->size);
        ck_assert_mem_eq(bytes, vector->bytes, vector->size);
}

static void replay_reply(const struct vector *vector) {
        const struct wire_reply *wanted = &vector->reply;
        struct wire_reply reply, given = *wanted;
        uint8_t bytes[WIRE_REPLY_MAX];
        int r = wire_decode_reply(vector->bytes, vector->size, &reply);

        ck_assert_msg(r == (vector->closes ? -EBADMSG : 0), "%s: %d", vector->name, r);
        if (vector->closes)
                return;

        ck_assert_uint_eq(reply.operation, wanted->operation);
        ck_assert_uint_eq(reply.cookie, wanted->cookie);
        ck_assert_uint_eq(reply.lease, wanted->lease);
        ck_assert_uint_eq(reply.status, wanted->status);
        ck_assert_uint_eq(reply.error, wanted->error);
        ck_assert_uint_eq(reply.target, wanted->target);
        ck_assert_uint_eq(reply.flags, wanted->flags);
        ck_assert_str_eq(reply.text, wanted->text);

        /* Cut at a byte, as callers fill in the struct. */
        if (vector->full_text[0])
                memcpy(given.text, vector->full_text, PROTOCOL_TEXT_MAX);
        ck_assert_uint_eq(wire_encode_reply(&given, bytes), vector->size);
        ck_assert_mem_eq(bytes, vector->bytes, vector->size);
}

static void replay(const char *name) {
        static struct vector vector;
        char path[600];
        FILE *file;

        vector = (struct vector){0};
        snprintf(vector.name, sizeof(vector.name), "%s", name);
        snprintf(path, sizeof(path), "%s/vectors/%s", TESTS_SOURCE_DIR, name);
        file = fopen(path, "re");
        ck_assert_ptr_nonnull(file);
        vector_read(&vector, file);
        fclose(file);

        if (vector.is_reply)
                replay_reply(&vector);
        else
                replay_request(&vector);
}

/* Replays all files of vectors/ whose names begin so; returns their number. */
static unsigned replay_all(const char *prefix) {
        DIR *directory = opendir(TESTS_SOURCE_DIR "/vectors");
        unsigned count = 0;

        ck_assert_ptr_nonnull(directory);
        for (struct dirent *entry; (entry = readdir(directory));) {
                const char *dot = strrchr(entry->d_name, '.');

                if (entry->d_name[0] == '.' || strcmp(entry->d_name, "README.md") == 0)
                        continue;
                ck_assert_msg(dot && strcmp(dot, ".txt") == 0, "%s: no vector", entry->d_name);
                if (strncmp(entry->d_name, prefix, strlen(prefix)) != 0)
                        continue;
                replay(entry->d_name);
                count++;
        }
        closedir(directory);
        return count;
}

START_TEST(replays_requests) {
        ck_assert_uint_ge(replay_all("request-"), 12);
}
END_TEST

START_TEST(replays_replies_with_every_status) {
        ck_assert_uint_ge(replay_all("reply-"), STATUS_MAX);
        for (unsigned status = 0; status < STATUS_MAX; status++) {
                char name[64];

                snprintf(name, sizeof(name), "reply-%s.txt",
                         status == STATUS_OK ? "mount" : status_name(status));
                replay(name);
        }
}
END_TEST

START_TEST(replays_messages_without_an_answer) {
        ck_assert_uint_ge(replay_all("close-"), 8);
        ck_assert_uint_ge(replay_all("bad-reply-"), 8);
}
END_TEST

START_TEST(replays_every_vector) {
        ck_assert_uint_ge(replay_all(""), 90);
}
END_TEST

/* From a buffer of exactly that size on the heap, so that a sanitizer catches reads beyond it. */
static int decode_request(const void *bytes, size_t size, struct wire_request *request,
                          struct verdict *verdict) {
        uint8_t *exact = malloc(size ?: 1);
        int r;

        ck_assert_ptr_nonnull(exact);
        memcpy(exact, bytes, size);
        r = wire_decode_request(exact, size, request, verdict);
        free(exact);
        return r;
}

static size_t encode_largest(uint8_t *bytes) {
        struct wire_request request = {
                .version = PROTOCOL_VERSION,
                .operation = PROTOCOL_MOUNT,
                .n_targets = PROTOCOL_TARGETS_MAX,
        };

        for (unsigned i = 0; i < PROTOCOL_TARGETS_MAX; i++)
                request.targets[i].file_system = PROTOCOL_PROC;
        return wire_encode_request(&request, bytes);
}

START_TEST(refuses_every_other_length_of_the_largest_request) {
        uint8_t bytes[WIRE_REQUEST_MAX];
        size_t size = encode_largest(bytes);
        struct wire_request request;
        struct verdict verdict;

        ck_assert_uint_eq(size, WIRE_REQUEST_MAX);
        for (size_t n = 0; n < size; n++) {
                int r = decode_request(bytes, n, &request, &verdict);

                ck_assert_int_eq(r, n < WIRE_REQUEST_HEADER ? -EBADMSG : 0);
                if (r == 0)
                        ck_assert_uint_eq(verdict.status, STATUS_MALFORMED);
        }
        ck_assert_int_eq(decode_request(bytes, size, &request, &verdict), 0);
        ck_assert_uint_eq(verdict.status, STATUS_OK);
}
END_TEST

START_TEST(judges_a_request_that_was_cut_by_its_real_size) {
        uint8_t *bytes = malloc(WIRE_REQUEST_MAX);
        struct wire_request request;
        struct verdict verdict;

        ck_assert_ptr_nonnull(bytes);
        encode_largest(bytes);
        ck_assert_int_eq(wire_decode_request(bytes, WIRE_REQUEST_MAX + 1, &request, &verdict), 0);
        ck_assert_uint_eq(verdict.status, STATUS_MALFORMED);
        ck_assert_int_eq(wire_decode_request(bytes, 200000, &request, &verdict), 0);
        ck_assert_uint_eq(verdict.status, STATUS_MALFORMED);
        free(bytes);
}
END_TEST

START_TEST(leaves_its_output_alone_when_there_is_no_answer) {
        struct wire_request request, request_before;
        struct wire_reply reply, reply_before;
        struct verdict verdict;

        memset(&request, 0x5a, sizeof(request));
        memset(&reply, 0x5a, sizeof(reply));
        request_before = request;
        reply_before = reply;
        ck_assert_int_eq(wire_decode_request("MNTA", 4, &request, &verdict), -EBADMSG);
        ck_assert_int_eq(wire_decode_reply("MNTA", 4, &reply), -EBADMSG);
        ck_assert_mem_eq(&request, &request_before, sizeof(request));
        ck_assert_mem_eq(&reply, &reply_before, sizeof(reply));
}
END_TEST

/*
 * Changing any single byte of a valid request never gives another accepted one, except in the free
 * fields.
 */
START_TEST(accepts_no_other_byte_where_the_value_is_fixed) {
        static const struct { size_t first, last; } fixed[] = {{4, 7}, {24, 35}};
        uint8_t bytes[WIRE_REQUEST_MAX];
        struct wire_request request;
        struct verdict verdict;

        encode_largest(bytes);
        for (size_t f = 0; f < sizeof(fixed) / sizeof(fixed[0]); f++)
                for (size_t at = fixed[f].first; at <= fixed[f].last; at++)
                        for (unsigned flip = 1; flip < 256; flip++) {
                                bytes[at] ^= flip;
                                /* procfs becomes sysfs or dev, mount becomes adopt, a flag is set
                                 */
                                bool allowed = (at == 32 && bytes[at] == PROTOCOL_SYSFS) ||
                                               (at == 32 && bytes[at] == PROTOCOL_DEV) ||
                                               (at == 6 && bytes[at] == PROTOCOL_ADOPT) ||
                                               (at == 28 && bytes[at] == PROTOCOL_KEEP) ||
                                               (at == 28 && bytes[at] == PROTOCOL_CHECK);

                                ck_assert_int_eq(
                                        decode_request(bytes, sizeof(bytes), &request, &verdict),
                                        0);
                                ck_assert_msg((verdict.status == STATUS_OK) == allowed,
                                              "byte %zu is 0x%02x", at, bytes[at]);
                                bytes[at] ^= flip;
                        }
}
END_TEST

static enum status judge_flags(uint16_t operation, uint32_t flags) {
        struct wire_request request = {
                .version = PROTOCOL_VERSION,
                .operation = operation,
                .n_targets = operation >= PROTOCOL_MOUNT && operation != PROTOCOL_UNMOUNT,
                .flags = flags,
                .targets[0].file_system = PROTOCOL_PROC,
        };
        uint8_t bytes[WIRE_REQUEST_MAX];
        size_t size = wire_encode_request(&request, bytes);
        struct verdict verdict;

        ck_assert_int_eq(decode_request(bytes, size, &request, &verdict), 0);
        return verdict.status;
}

START_TEST(knows_the_flags_of_a_mount_one_at_a_time) {
        for (uint32_t bit = 1; bit; bit <<= 1) {
                bool known = bit == PROTOCOL_KEEP || bit == PROTOCOL_CHECK;

                ck_assert_uint_eq(judge_flags(PROTOCOL_MOUNT, bit),
                                  known ? STATUS_OK : STATUS_MALFORMED);
                for (uint32_t other = bit << 1; other; other <<= 1)
                        ck_assert_uint_eq(judge_flags(PROTOCOL_MOUNT, bit | other),
                                          STATUS_MALFORMED);
                ck_assert_uint_eq(judge_flags(PROTOCOL_HELLO, bit), STATUS_MALFORMED);
                ck_assert_uint_eq(judge_flags(PROTOCOL_UNMOUNT, bit), STATUS_MALFORMED);
                ck_assert_uint_eq(judge_flags(PROTOCOL_ADOPT, bit), STATUS_MALFORMED);
                ck_assert_uint_eq(judge_flags(PROTOCOL_ENTER, bit), STATUS_MALFORMED);
        }
}
END_TEST

int main(void) {
        return SUITE_RUN("wire", replays_requests, replays_replies_with_every_status,
                         replays_messages_without_an_answer, replays_every_vector,
                         refuses_every_other_length_of_the_largest_request,
                         judges_a_request_that_was_cut_by_its_real_size,
                         leaves_its_output_alone_when_there_is_no_answer,
                         accepts_no_other_byte_where_the_value_is_fixed,
                         knows_the_flags_of_a_mount_one_at_a_time);
}
