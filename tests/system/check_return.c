/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Clients that release leases by disconnecting, and reconnect at once: the daemon waits for the old
 * mounts to go.
 */

#include "common/fd.h"
#include "tests/test.h"

#include <fcntl.h>
#include <mountat.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

enum {
        ROUNDS = 500,
        KILLS = 100,
        DEATHS = 3,
        MEMORY = 256 << 20,
        BOTH = MOUNTAT_PROC | MOUNTAT_SYSFS,
};

struct visit {
        const struct service *service;
        const char *root;
        int told; /* pipe: the lease is held */
};

/* A connection with a lease on the root; the caller owns it. */
static struct mountat *visit_mount(const struct visit *visit) {
        FD_AUTO int root = open(visit->root, O_PATH | O_DIRECTORY | O_CLOEXEC);
        struct mountat *mountat = mountat_new();
        uint64_t lease;

        ck_assert_int_ge(root, 0);
        ck_assert_ptr_nonnull(mountat);
        ck_assert_int_eq(mountat_connect(mountat, visit->service->socket), 0);
        ck_assert_msg(mountat_mount_root(mountat, root, BOTH, &lease) == 0, "%s",
                      mountat_error_text(mountat));
        return mountat;
}

static void visit_again_and_again(void *argument) {
        for (unsigned i = 0; i < ROUNDS; i++)
                mountat_free(visit_mount(argument)); /* which closes the connection */
}

static void visit_and_stay(void *argument) {
        const struct visit *visit = argument;

        visit_mount(visit);
        ck_assert_int_eq(write(visit->told, "x", 1), 1);
        for (;;)
                pause();
}

/* The kernel frees its memory before it closes its connection. */
static void visit_with_much_memory(void *argument) {
        char *memory = malloc(MEMORY);

        ck_assert_ptr_nonnull(memory);
        memset(memory, 1, MEMORY);
        visit_and_stay(argument);
}

static void visit_once(void *argument) {
        mountat_free(visit_mount(argument));
}

static struct visit visit_prepare(const struct service *service) {
        return (struct visit){
                .service = service,
                .root = sandbox_make_root(USER_ALICE, "root"),
        };
}

SANDBOX_TEST(lease_of_a_closed_connection_is_waited_for) {
        struct service service = service_start_with("a", NULL);
        struct visit visit = visit_prepare(&service);

        sandbox_run_as(USER_ALICE, visit_again_and_again, &visit);
        service_stop(&service);
}

/* A process that holds a lease. */
static pid_t visit_start(struct visit *visit, void (*stay)(void *)) {
        int told[2];
        pid_t pid;
        char byte;

        ck_assert_int_eq(pipe2(told, O_CLOEXEC), 0);
        visit->told = told[1];
        pid = sandbox_spawn(USER_ALICE, stay, visit);
        ck_assert_int_eq(read(told[0], &byte, 1), 1);
        close(told[0]);
        close(told[1]);
        return pid;
}

SANDBOX_TEST(lease_of_a_killed_holder_is_waited_for) {
        struct service service = service_start_with("a", NULL);
        struct visit visit = visit_prepare(&service);

        for (unsigned i = 0; i < KILLS; i++) {
                sandbox_kill(visit_start(&visit, visit_and_stay));
                sandbox_run_as(USER_ALICE, visit_once, &visit);
        }
        service_stop(&service);
}

SANDBOX_TEST(lease_of_a_holder_that_is_still_dying_is_waited_for) {
        struct service service = service_start_with("a", NULL);
        struct visit visit = visit_prepare(&service);

        for (unsigned i = 0; i < DEATHS; i++) {
                pid_t pid = visit_start(&visit, visit_with_much_memory);

                ck_assert_int_eq(kill(pid, SIGKILL), 0);
                sandbox_run_as(USER_ALICE, visit_once, &visit);
                ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
        }
        service_stop(&service);
}

static void expect_refused(void *argument) {
        const struct visit *visit = argument;
        FD_AUTO int root = open(visit->root, O_PATH | O_DIRECTORY | O_CLOEXEC);
        struct mountat *mountat = mountat_new();
        uint64_t lease;

        ck_assert_int_eq(mountat_connect(mountat, visit->service->socket), 0);
        ck_assert_int_eq(mountat_mount_root(mountat, root, BOTH, &lease), -EBUSY);
        ck_assert_int_eq(mountat_error_status(mountat), MOUNTAT_STATUS_ALREADY_MOUNTED);
        mountat_free(mountat);
}

/* No waiting for a held lease, or another user's. */
SANDBOX_TEST(lease_that_is_held_is_refused) {
        struct service service = service_start_with("a", NULL);
        struct visit visit = visit_prepare(&service);
        int client = client_connect(&service, USER_ALICE);
        uint64_t lease = client_hold_root(client, USER_ALICE, visit.root);

        for (unsigned i = 0; i < 3; i++)
                sandbox_run_as(USER_ALICE, expect_refused, &visit);
        client_expect(client_unmount(client, lease), STATUS_OK, 0, STATUS_NO_TARGET);
        close(client);
        service_stop(&service);
}

int main(void) {
        TCase *tests = tcase_create("return");

        tcase_add_test(tests, lease_of_a_closed_connection_is_waited_for);
        tcase_add_test(tests, lease_of_a_killed_holder_is_waited_for);
        tcase_add_test(tests, lease_of_a_holder_that_is_still_dying_is_waited_for);
        tcase_add_test(tests, lease_that_is_held_is_refused);
        return sandbox_run(tests);
}
