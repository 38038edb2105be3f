/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Requests that are malformed, or have a wrong number of descriptors: each is answered, or ends the
 * connection, and leaves the daemon with as many descriptors as before.
 */

#include "tests/test.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum {
        MANY = 253, /* SCM_MAX_FD, the most that the kernel lets pass */
};

static int open_proc(void) {
        return sandbox_open(USER_ALICE, sandbox_path("root/proc"));
}

/* A request for `targets` procfs with one thing wrong, and `fds` descriptors. */
static const struct {
        const char *what;
        enum status status;
        uint16_t operation;
        uint32_t targets;
        size_t fds;
        /* the wrong thing: */
        uint16_t version;
        uint32_t flags;
        uint64_t lease;
        size_t size;        /* of the datagram */
        uint32_t announced; /* targets */
        bool blames;        /* the target that follows is at fault, not the request */
        uint32_t index;
        struct wire_target target;
} wrong_requests[] = {
        {"flags of hello", STATUS_MALFORMED, 1, 0, 0, .flags = 1},
        {"check of hello", STATUS_MALFORMED, 1, 0, 0, .flags = 2},
        {"flags of mount", STATUS_MALFORMED, 2, 1, 1, .flags = 1U << 31},
        {"a flag of mount beyond the last", STATUS_MALFORMED, 2, 1, 1, .flags = 4},
        {"keep and check", STATUS_MALFORMED, 2, 1, 1, .flags = 3},
        {"keep and a flag beyond the last", STATUS_MALFORMED, 2, 1, 1, .flags = 5},
        {"flags of unmount", STATUS_MALFORMED, 3, 0, 0, .flags = 1, .lease = 7},
        {"check of unmount", STATUS_MALFORMED, 3, 0, 0, .flags = 2, .lease = 7},
        {"keep and a lease", STATUS_MALFORMED, 2, 1, 1, .flags = 1, .lease = 7},
        {"keep without descriptors", STATUS_WRONG_FD_COUNT, 2, 1, 0, .flags = 1},
        {"check without descriptors", STATUS_WRONG_FD_COUNT, 2, 1, 0, .flags = 2},
        {"check with a descriptor too many", STATUS_WRONG_FD_COUNT, 2, 1, 2, .flags = 2},
        {"check of no target", STATUS_MALFORMED, 2, 0, 0, .flags = 2},
        {"check of file system 0", STATUS_UNSUPPORTED_FILE_SYSTEM, 2, 1, 1, .flags = 2,
         .blames = true},
        {"lease of hello", STATUS_MALFORMED, 1, 0, 0, .lease = 7},
        {"lease of mount", STATUS_MALFORMED, 2, 1, 1, .lease = 7},
        {"a byte too few", STATUS_MALFORMED, 2, 1, 1, .size = 39},
        {"a byte too many", STATUS_MALFORMED, 2, 1, 1, .size = 41},
        {"hello and a byte more", STATUS_MALFORMED, 1, 0, 0, .size = 33},
        {"hello of 4096 bytes", STATUS_MALFORMED, 1, 0, 0, .size = 4096},
        {"a target more than announced", STATUS_MALFORMED, 2, 2, 2, .announced = 1},
        {"a target less than announced", STATUS_MALFORMED, 2, 1, 1, .announced = 2},
        {"no target", STATUS_MALFORMED, 2, 0, 0},
        {"17 targets", STATUS_MALFORMED, 2, 16, 17, .announced = 17, .size = 168},
        {"2^32-1 targets", STATUS_MALFORMED, 2, 1, 1, .announced = UINT32_MAX},
        {"2^29 targets, 8 bytes each", STATUS_MALFORMED, 2, 0, 0, .announced = 1U << 29},
        {"targets of hello", STATUS_MALFORMED, 1, 1, 1},
        {"targets of unmount", STATUS_MALFORMED, 3, 1, 1, .lease = 7},
        {"unknown option", STATUS_MALFORMED, 2, 2, 2, .blames = true, .index = 1, .target = {1, 4}},
        {"pids-only on sysfs", STATUS_MALFORMED, 2, 1, 1, .blames = true, .target = {2, 2}},
        {"file system 0", STATUS_UNSUPPORTED_FILE_SYSTEM, 2, 1, 1, .blames = true},
        {"file system 4", STATUS_UNSUPPORTED_FILE_SYSTEM, 2, 3, 3, .blames = true, .index = 2,
         .target = {4, 0}},
        {"version 2", STATUS_UNSUPPORTED_VERSION, 1, 0, 0, .version = 2},
        {"version 2 before all else", STATUS_UNSUPPORTED_VERSION, 99, 0, 5, .version = 2,
         .flags = 1, .size = 77},
        {"version 65535", STATUS_UNSUPPORTED_VERSION, 2, 1, 1, .version = 0xffff},
        {"operation 0", STATUS_UNKNOWN_OPERATION, 0, 0, 0},
        {"adopt without targets", STATUS_MALFORMED, 4, 0, 0, .lease = 7},
        {"adopt with 17 targets", STATUS_MALFORMED, 4, 16, 17, .lease = 7, .announced = 17,
         .size = 168},
        {"adopt with flags", STATUS_MALFORMED, 4, 1, 1, .lease = 7, .flags = 1},
        {"check of adopt", STATUS_MALFORMED, 4, 1, 1, .lease = 7, .flags = 2},
        {"adopt of no lease", STATUS_NO_SUCH_LEASE, 4, 1, 1, .blames = true, .target = {1, 0}},
        {"adopt without descriptors", STATUS_WRONG_FD_COUNT, 4, 1, 0, .lease = 7},
        {"adopt with a descriptor too many", STATUS_WRONG_FD_COUNT, 4, 1, 2, .lease = 7},
        {"adopt what is no mount", STATUS_NO_SUCH_LEASE, 4, 1, 1, .lease = 7, .blames = true,
         .target = {1, 0}},
        {"enter of nothing", STATUS_MALFORMED, 5, 0, 0},
        {"enter without descriptors", STATUS_WRONG_FD_COUNT, 5, 1, 0},
        {"keep of enter", STATUS_MALFORMED, 5, 1, 1, .flags = 1},
        {"enter by whom it is not for", STATUS_FOREIGN_NAMESPACE, 5, 1, 1},
        {"operation 6", STATUS_UNKNOWN_OPERATION, 6, 0, 0},
        {"operation 6 and more", STATUS_UNKNOWN_OPERATION, 6, 0, 3, .flags = 1, .size = 90},
        {"operation of a reply", STATUS_UNKNOWN_OPERATION, 0x8001, 0, 0},
        {"mount without descriptors", STATUS_WRONG_FD_COUNT, 2, 1, 0},
        {"a descriptor too few", STATUS_WRONG_FD_COUNT, 2, 2, 1},
        {"a descriptor too many", STATUS_WRONG_FD_COUNT, 2, 1, 2},
        {"17 descriptors for 16 targets", STATUS_WRONG_FD_COUNT, 2, 16, 17},
        {"18 descriptors", STATUS_WRONG_FD_COUNT, 2, 1, 18},
        {"19 descriptors", STATUS_WRONG_FD_COUNT, 2, 1, 19},
        {"253 descriptors", STATUS_WRONG_FD_COUNT, 2, 1, MANY},
        {"hello with a descriptor", STATUS_WRONG_FD_COUNT, 1, 0, 1},
        {"hello with 253 descriptors", STATUS_WRONG_FD_COUNT, 1, 0, MANY},
        {"unmount with a descriptor", STATUS_WRONG_FD_COUNT, 3, 0, 1, .lease = 7},
        {"malformed with 253 descriptors", STATUS_MALFORMED, 1, 0, MANY, .flags = 2},
};

/* Encodes row `i`; returns the size. */
static size_t encode_wrong(unsigned i, uint8_t bytes[4096]) {
        struct wire_request request = {
                .version = wrong_requests[i].version ?: PROTOCOL_VERSION,
                .operation = wrong_requests[i].operation,
                .cookie = 1000 + i,
                .lease = wrong_requests[i].lease,
                .n_targets = wrong_requests[i].targets,
                .flags = wrong_requests[i].flags,
        };
        uint32_t announced = htole32(wrong_requests[i].announced);
        size_t size;

        for (uint32_t t = 0; t < request.n_targets; t++)
                request.targets[t].file_system = PROTOCOL_PROC;
        if (wrong_requests[i].blames)
                request.targets[wrong_requests[i].index] = wrong_requests[i].target;
        memset(bytes, 0, 4096);
        size = wire_encode_request(&request, bytes);
        if (announced)
                memcpy(bytes + 24, &announced, sizeof(announced));
        return wrong_requests[i].size ?: size;
}

SANDBOX_TEST(wrong_requests_are_answered_and_leave_nothing) {
        struct baseline baseline = baseline_open();
        int fds[MANY];

        for (unsigned i = 0; i < MANY; i++)
                fds[i] = open_proc();
        for (unsigned i = 0; i < sizeof(wrong_requests) / sizeof(wrong_requests[0]); i++) {
                uint8_t bytes[4096];
                size_t size = encode_wrong(i, bytes);
                struct wire_reply reply;

                client_send(baseline.alice, bytes, size, fds, wrong_requests[i].fds);
                reply = client_receive(baseline.alice);
                ck_assert_msg(reply.status == wrong_requests[i].status, "%s: status %u (%s)",
                              wrong_requests[i].what, reply.status, reply.text);
                ck_assert_uint_eq(reply.cookie, 1000 + i);
                ck_assert_uint_eq(reply.operation,
                                  wrong_requests[i].operation & ~PROTOCOL_REPLY_BIT);
                client_expect(reply, wrong_requests[i].status, 0,
                              wrong_requests[i].blames ? wrong_requests[i].index
                                                       : STATUS_NO_TARGET);
                baseline_expect_unharmed(&baseline);
        }
        for (unsigned i = 0; i < MANY; i++)
                close(fds[i]);
        baseline_close(&baseline);
}

/* ---- the connection ---- */

static void send_and_expect_closed(const struct baseline *baseline, const void *bytes, size_t size,
                                   size_t n_fds) {
        int client = client_connect(&baseline->service, USER_ALICE), fds[MANY];

        for (size_t i = 0; i < n_fds; i++)
                fds[i] = baseline->alice;
        client_hold_root(client, USER_ALICE, sandbox_path("root"));
        client_send(client, bytes, size, fds, n_fds);
        client_expect_closed(client);
        close(client);
        sandbox_wait_for(sandbox_count_mounts(0, baseline->service.source) == 0);
}

SANDBOX_TEST(what_is_no_request_ends_the_connection_and_its_leases) {
        static const uint8_t request[64] = "MNTA\1\0\1\0", other[64] = "mnta\1\0\1\0";
        struct baseline baseline = baseline_open();

        send_and_expect_closed(&baseline, request, 31, 0);
        send_and_expect_closed(&baseline, request, 31, MANY);
        send_and_expect_closed(&baseline, request, 1, 0);
        send_and_expect_closed(&baseline, request, 4, 1);
        send_and_expect_closed(&baseline, other, 32, 0);
        send_and_expect_closed(&baseline, other, 64, 3);
        baseline_close(&baseline);
}

SANDBOX_TEST(empty_datagram_ends_the_connection_with_or_without_descriptors) {
        struct baseline baseline = baseline_open();

        send_and_expect_closed(&baseline, "", 0, 0);
        send_and_expect_closed(&baseline, "", 0, 1);
        send_and_expect_closed(&baseline, "", 0, 17);
        send_and_expect_closed(&baseline, "", 0, MANY);
        baseline_close(&baseline);
}

SANDBOX_TEST(shutting_down_the_sending_side_is_a_disconnect) {
        struct baseline baseline = baseline_open();
        int client = client_connect(&baseline.service, USER_ALICE);

        client_hold_root(client, USER_ALICE, sandbox_path("root"));
        ck_assert_int_eq(shutdown(client, SHUT_WR), 0);
        client_expect_closed(client);
        sandbox_wait_for(sandbox_count_mounts(0, baseline.service.source) == 0);
        close(client);
        baseline_close(&baseline);
}

SANDBOX_TEST(client_that_never_reads_is_dropped_with_its_leases) {
        struct baseline baseline = baseline_open();
        struct wire_request request = {.version = 1, .operation = PROTOCOL_HELLO};
        int client = client_connect(&baseline.service, USER_ALICE), r;
        uint8_t bytes[WIRE_REQUEST_MAX];
        size_t size = wire_encode_request(&request, bytes);
        int64_t deadline = sandbox_now_ms() + SANDBOX_WAIT_MS;

        client_hold_root(client, USER_ALICE, sandbox_path("root"));
        do {
                r = client_try_send(client, bytes, size, NULL, 0);
                ck_assert_int_lt(sandbox_now_ms(), deadline);
        } while (r == 0 || r == -EAGAIN);
        ck_assert_msg(r == -EPIPE || r == -ECONNRESET, "%s", strerror(-r));
        sandbox_wait_for(sandbox_count_mounts(0, baseline.service.source) == 0);
        close(client);
        baseline_close(&baseline);
}

int main(void) {
        TCase *tests = tcase_create("bytes");

        tcase_add_test(tests, wrong_requests_are_answered_and_leave_nothing);
        tcase_add_test(tests, what_is_no_request_ends_the_connection_and_its_leases);
        tcase_add_test(tests, empty_datagram_ends_the_connection_with_or_without_descriptors);
        tcase_add_test(tests, shutting_down_the_sending_side_is_a_disconnect);
        tcase_add_test(tests, client_that_never_reads_is_dropped_with_its_leases);
        return sandbox_run(tests);
}
