/* SPDX-License-Identifier: Apache-2.0 */

/* Leases kept for a user: who may release them, what they survive, and what ends them. */

#include "common/fd.h"
#include "tests/test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* proc and sys of that root of Alice's. */
static struct wire_reply mount_kept(int client, const char *root) {
        struct wire_request request = {
                .operation = PROTOCOL_MOUNT,
                .flags = PROTOCOL_KEEP,
                .n_targets = 2,
                .targets = {{PROTOCOL_PROC, 0}, {PROTOCOL_SYSFS, 0}},
        };
        char proc[256], sys[256];
        int targets[2];
        struct wire_reply reply;

        snprintf(proc, sizeof(proc), "%s/proc", root);
        snprintf(sys, sizeof(sys), "%s/sys", root);
        targets[0] = sandbox_open(USER_ALICE, proc);
        targets[1] = sandbox_open(USER_ALICE, sys);
        reply = client_call(client, &request, targets, 2);
        close(targets[0]);
        close(targets[1]);
        return reply;
}

static uint64_t keep_on(int client, const char *root) {
        struct wire_reply reply = mount_kept(client, root);

        client_expect(reply, STATUS_OK, 0, STATUS_NO_TARGET);
        ck_assert_uint_ne(reply.lease, 0);
        return reply.lease;
}

/* By a client that has disconnected by the return. */
static uint64_t keep(const struct service *service, const char *root) {
        int client = client_connect(service, USER_ALICE);
        uint64_t lease = keep_on(client, root);

        close(client);
        sandbox_wait_for(service_count_fds(service) == service->fds + 2); /* of the two mounts */
        return lease;
}

static void expect_mounts(const struct service *service, unsigned count) {
        ck_assert_uint_eq(sandbox_count_mounts(0, service->source), count);
}

static uint32_t unmount_as(const struct service *service, uid_t uid, uint64_t lease) {
        FD_AUTO int client = client_connect(service, uid);

        return client_unmount(client, lease).status;
}

/* ---- whose they are ---- */

SANDBOX_TEST(kept_lease_outlives_its_connection_and_ends_by_another_of_its_user) {
        struct service service = service_start_with("a", NULL);
        uint64_t lease = keep(&service, sandbox_make_root(USER_ALICE, "root"));

        service_await_rest(&service);
        expect_mounts(&service, 2);
        ck_assert_uint_eq(unmount_as(&service, USER_ALICE, lease), STATUS_OK);
        expect_mounts(&service, 0);
        ck_assert_uint_eq(unmount_as(&service, USER_ALICE, lease), STATUS_NO_SUCH_LEASE);
        ck_assert_int_eq(sandbox_rmdir(USER_ALICE, sandbox_path("root/proc")), 0);
        sandbox_wait_for(service_count_fds(&service) == service.fds);
        service_stop(&service);
}

SANDBOX_TEST(kept_lease_ends_by_its_own_connection_as_well) {
        struct service service = service_start_with("a", NULL);
        FD_AUTO int client = client_connect(&service, USER_ALICE);
        uint64_t lease = keep_on(client, sandbox_make_root(USER_ALICE, "root"));

        client_expect(client_unmount(client, lease), STATUS_OK, 0, STATUS_NO_TARGET);
        expect_mounts(&service, 0);
        service_stop(&service);
}

SANDBOX_TEST(kept_lease_is_no_other_users) {
        struct service service = service_start_with("a", NULL);
        uint64_t lease = keep(&service, sandbox_make_root(USER_ALICE, "root"));

        ck_assert_uint_eq(unmount_as(&service, USER_BOB, lease), STATUS_NO_SUCH_LEASE);
        ck_assert_uint_eq(unmount_as(&service, 0, lease), STATUS_NO_SUCH_LEASE);
        expect_mounts(&service, 2);
        ck_assert_uint_eq(unmount_as(&service, USER_ALICE, lease), STATUS_OK);
        service_stop(&service);
}

SANDBOX_TEST(what_a_connection_holds_beside_it_ends_with_the_connection) {
        struct service service = service_start_with("a", NULL);
        FD_AUTO int client = client_connect(&service, USER_ALICE),
                    other = client_connect(&service, USER_ALICE);
        struct sandbox_mount found;
        uint64_t kept, held;

        kept = keep_on(client, sandbox_make_root(USER_ALICE, "kept"));
        held = client_hold_root(client, USER_ALICE, sandbox_make_root(USER_ALICE, "held"));
        client_expect(client_unmount(other, held), STATUS_NO_SUCH_LEASE, 0, STATUS_NO_TARGET);
        close(fd_take(&client));
        sandbox_wait_for(sandbox_count_mounts(0, service.source) == 2);
        ck_assert(sandbox_find_mount(0, sandbox_path("kept/proc"), &found));
        ck_assert(sandbox_find_mount(0, sandbox_path("kept/sys"), &found));
        client_expect(client_unmount(other, kept), STATUS_OK, 0, STATUS_NO_TARGET);
        service_stop(&service);
}

/* All its threads, for which kill(2) doesn't wait. */
static void suspend(const struct service *service) {
        int status;

        ck_assert_int_eq(kill(service->pid, SIGSTOP), 0);
        ck_assert_int_eq(waitpid(service->pid, &status, WUNTRACED), service->pid);
        ck_assert(WIFSTOPPED(status));
}

/* Then the client can't know its number. */
SANDBOX_TEST(lease_whose_reply_finds_no_reader_is_not_kept) {
        struct service service = service_start_with("a", "--max-mounts-per-user=2");
        struct wire_request request = {
                .version = PROTOCOL_VERSION,
                .operation = PROTOCOL_MOUNT,
                .flags = PROTOCOL_KEEP,
                .n_targets = 1,
                .targets = {{PROTOCOL_PROC, 0}},
        };
        FD_AUTO int target = -EBADF, other = client_connect(&service, USER_ALICE);
        uint8_t bytes[WIRE_REQUEST_MAX];

        sandbox_make_root(USER_ALICE, "root");
        client_hello(other);
        target = sandbox_open(USER_ALICE, sandbox_path("root/proc"));
        for (unsigned i = 0; i < 20; i++) {
                int client = client_connect(&service, USER_ALICE);

                client_hello(client);
                suspend(&service);
                client_send(client, bytes, wire_encode_request(&request, bytes), &target, 1);
                close(client);
                ck_assert_int_eq(kill(service.pid, SIGCONT), 0);
                sandbox_wait_for(service_count_fds(&service) == service.fds + 1);
                expect_mounts(&service, 0);
        }
        ck_assert_uint_ne(keep_on(other, sandbox_path("root")), 0);
        service_stop(&service);
}

SANDBOX_TEST(kept_lease_whose_mount_root_has_unmounted_ends_all_the_same) {
        struct service service = service_start_with("a", NULL);
        uint64_t lease = keep(&service, sandbox_make_root(USER_ALICE, "root"));

        ck_assert_int_eq(umount2(sandbox_path("root/proc"), MNT_DETACH), 0);
        ck_assert_uint_eq(unmount_as(&service, USER_ALICE, lease), STATUS_OK);
        expect_mounts(&service, 0);
        service_stop(&service);
}

/* ---- limits ---- */

SANDBOX_TEST(kept_leases_count_against_the_users_limit) {
        struct service service = service_start_with("a", "--max-mounts-per-user=4");
        FD_AUTO int client = client_connect(&service, USER_ALICE),
                    bob = client_connect(&service, USER_BOB);
        uint64_t lease = keep_on(client, sandbox_make_root(USER_ALICE, "0"));

        keep_on(client, sandbox_make_root(USER_ALICE, "1"));
        close(fd_take(&client));
        client = client_connect(&service, USER_ALICE);
        sandbox_make_root(USER_ALICE, "2");
        client_expect(mount_kept(client, sandbox_path("2")), STATUS_LIMIT_EXCEEDED, 0,
                      STATUS_NO_TARGET);
        client_expect(client_mount_root(client, USER_ALICE, sandbox_path("2")),
                      STATUS_LIMIT_EXCEEDED, 0, STATUS_NO_TARGET);
        client_hold_root(bob, USER_BOB, sandbox_make_root(USER_BOB, "bob"));

        client_expect(client_unmount(client, lease), STATUS_OK, 0, STATUS_NO_TARGET);
        keep_on(client, sandbox_path("2"));
        expect_mounts(&service, 6);
        service_stop(&service);
}

SANDBOX_TEST(daemon_is_not_idle_while_it_keeps_a_lease) {
        struct service service =
                service_spawn(&(struct service_plan){.name = "a", .options = {"--idle-timeout=1"}});
        int client = client_connect(&service, USER_ALICE);
        uint64_t lease = keep_on(client, sandbox_make_root(USER_ALICE, "root"));

        close(client);
        usleep(2500000);
        ck_assert(service_is_running(&service));
        expect_mounts(&service, 2);
        ck_assert_uint_eq(unmount_as(&service, USER_ALICE, lease), STATUS_OK);
        ck_assert_int_eq(service_wait(&service), 0);
        expect_mounts(&service, 0);
        ck_assert(!service_has_state(&service));
}

/* ---- what they survive ---- */

static const int deaths[] = {SIGUSR1, SIGKILL};

enum { DEATHS = sizeof(deaths) / sizeof(deaths[0]) };

/* As ExecStartPre= and ExecStopPost= of the unit, with root's rights. */
static void sweep(void) {
        struct service sweeper = service_spawn(
                &(struct service_plan){.name = "a", .start = SERVICE_BARE, .options = {"--sweep"}});

        ck_assert_int_eq(service_wait(&sweeper), 0);
}

/* As systemd does after a crash and on a restart. */
static void replace(struct service *service, int signal, const char *option) {
        int status;

        ck_assert_int_eq(kill(service->pid, signal), 0);
        status = service_wait(service);
        ck_assert(signal == SIGKILL ? WIFSIGNALED(status) : status == 0);
        sweep();
        *service = service_start_with("a", "--adopt-timeout=1", option);
}

static void await_sweep_of_unclaimed(void) {
        usleep(2500000);
}

SANDBOX_TEST(kept_lease_survives_a_restart_and_a_kill) {
        for (unsigned i = 0; i < DEATHS; i++) {
                struct service service = service_start_with("a", NULL);
                const char *root = sandbox_make_root(USER_ALICE, "root");
                uint64_t lease;

                ck_assert_int_eq(chmod(root, 0755), 0);
                lease = keep(&service, root);
                for (unsigned k = 0; k < DEATHS; k++) {
                        replace(&service, deaths[(i + k) % DEATHS], NULL);
                        expect_mounts(&service, 2);
                        await_sweep_of_unclaimed();
                        expect_mounts(&service, 2);
                        ck_assert_uint_eq(unmount_as(&service, USER_BOB, lease),
                                          STATUS_NO_SUCH_LEASE);
                }
                ck_assert_uint_eq(unmount_as(&service, USER_ALICE, lease), STATUS_OK);
                expect_mounts(&service, 0);
                service_stop(&service);
                ck_assert(!service_has_state(&service));
                ck_assert_int_eq(rmdir(sandbox_path("root/proc")), 0);
                ck_assert_int_eq(rmdir(sandbox_path("root/sys")), 0);
                ck_assert_int_eq(rmdir(root), 0);
        }
}

/* Its client, too, is gone: by the pid alone it can't be told from a lease's holder. */
SANDBOX_TEST(lease_that_was_held_beside_it_is_swept_and_it_is_not) {
        struct service service = service_start_with("a", NULL);
        int client = client_connect(&service, USER_ALICE);
        struct sandbox_mount found;
        uint64_t lease;

        ck_assert_int_eq(chmod(sandbox_make_root(USER_ALICE, "kept"), 0755), 0);
        ck_assert_int_eq(chmod(sandbox_make_root(USER_ALICE, "held"), 0755), 0);
        lease = keep_on(client, sandbox_path("kept"));
        client_hold_root(client, USER_ALICE, sandbox_path("held"));
        replace(&service, SIGKILL, NULL);
        close(client);
        sandbox_wait_for(sandbox_count_mounts(0, service.source) == 2);
        ck_assert(sandbox_find_mount(0, sandbox_path("kept/proc"), &found));
        sandbox_wait_for(unmount_as(&service, USER_ALICE, lease) == STATUS_OK);
        service_stop(&service);
}

SANDBOX_TEST(kept_lease_counts_after_a_restart_as_well) {
        for (unsigned i = 0; i < DEATHS; i++) {
                struct service service = service_start_with("a", NULL);
                FD_AUTO int client = -EBADF;
                char kept[16], next[16];
                uint64_t lease;

                snprintf(kept, sizeof(kept), "kept-%u", i);
                snprintf(next, sizeof(next), "next-%u", i);
                ck_assert_int_eq(chmod(sandbox_make_root(USER_ALICE, kept), 0755), 0);
                sandbox_make_root(USER_ALICE, next);
                lease = keep(&service, sandbox_path("%s", kept));
                replace(&service, deaths[i], "--max-mounts-per-user=2");
                client = client_connect(&service, USER_ALICE);
                client_expect(client_mount_root(client, USER_ALICE, sandbox_path("%s", next)),
                              STATUS_LIMIT_EXCEEDED, 0, STATUS_NO_TARGET);
                client_expect(client_unmount(client, lease), STATUS_OK, 0, STATUS_NO_TARGET);
                client_hold_root(client, USER_ALICE, sandbox_path("%s", next));
                service_stop(&service);
        }
}

SANDBOX_TEST(kept_lease_of_which_nothing_is_mounted_any_more_is_forgotten) {
        struct service service = service_start_with("a", NULL);
        uint64_t lease;

        ck_assert_int_eq(chmod(sandbox_make_root(USER_ALICE, "root"), 0755), 0);
        lease = keep(&service, sandbox_path("root"));
        ck_assert_int_eq(kill(service.pid, SIGKILL), 0);
        service_wait(&service);
        ck_assert_int_eq(umount2(sandbox_path("root/proc"), MNT_DETACH), 0);
        ck_assert_int_eq(umount2(sandbox_path("root/sys"), MNT_DETACH), 0);
        service = service_start_with("a", NULL);
        ck_assert_uint_eq(unmount_as(&service, USER_ALICE, lease), STATUS_NO_SUCH_LEASE);
        service_stop(&service);
        ck_assert(!service_has_state(&service));
}

/*
 * The next instance can't reach it, and no client can send it a descriptor: it stays until root's
 * sweep at the stop.
 */
SANDBOX_TEST(kept_lease_below_a_closed_root_is_told_of_and_ends_with_the_stop) {
        struct service service = service_start_with("a", NULL);

        keep(&service, sandbox_make_root(USER_ALICE, "root")); /* of mode 0700 */
        replace(&service, SIGKILL, NULL);
        sandbox_wait_for(service_has_logged(&service, "cannot reach a mount"));
        await_sweep_of_unclaimed();
        expect_mounts(&service, 2);
        ck_assert_int_eq(kill(service.pid, SIGTERM), 0);
        ck_assert_int_eq(service_wait(&service), 0);
        sweep();
        expect_mounts(&service, 0);
}

/* ---- what ends them ---- */

SANDBOX_TEST(kept_leases_end_with_the_stop) {
        static const int stops[] = {SIGTERM, SIGINT};

        for (unsigned i = 0; i < 2; i++) {
                struct service service = service_start_with("a", NULL);
                int client = client_connect(&service, USER_ALICE);
                char name[16];

                for (unsigned k = 0; k < 50; k++) {
                        snprintf(name, sizeof(name), "%u-%u", i, k);
                        keep_on(client, sandbox_make_root(USER_ALICE, name));
                }
                close(client);
                expect_mounts(&service, 100);
                ck_assert_int_eq(kill(service.pid, stops[i]), 0);
                ck_assert_int_eq(service_wait(&service), 0);
                expect_mounts(&service, 0);
                ck_assert(!service_has_state(&service));
        }
}

SANDBOX_TEST(kept_lease_of_a_predecessor_ends_with_the_stop) {
        struct service service = service_start_with("a", NULL);

        ck_assert_int_eq(chmod(sandbox_make_root(USER_ALICE, "root"), 0755), 0);
        keep(&service, sandbox_path("root"));
        replace(&service, SIGKILL, NULL);
        expect_mounts(&service, 2);
        service_stop(&service);
        expect_mounts(&service, 0);
        ck_assert(!service_has_state(&service));
}

int main(void) {
        TCase *tests = tcase_create("keep");

        tcase_add_test(tests, kept_lease_outlives_its_connection_and_ends_by_another_of_its_user);
        tcase_add_test(tests, kept_lease_ends_by_its_own_connection_as_well);
        tcase_add_test(tests, kept_lease_is_no_other_users);
        tcase_add_test(tests, what_a_connection_holds_beside_it_ends_with_the_connection);
        tcase_add_test(tests, lease_whose_reply_finds_no_reader_is_not_kept);
        tcase_add_test(tests, kept_lease_whose_mount_root_has_unmounted_ends_all_the_same);
        tcase_add_test(tests, kept_leases_count_against_the_users_limit);
        tcase_add_test(tests, daemon_is_not_idle_while_it_keeps_a_lease);
        tcase_add_test(tests, kept_lease_survives_a_restart_and_a_kill);
        tcase_add_test(tests, lease_that_was_held_beside_it_is_swept_and_it_is_not);
        tcase_add_test(tests, kept_lease_counts_after_a_restart_as_well);
        tcase_add_test(tests, kept_lease_of_which_nothing_is_mounted_any_more_is_forgotten);
        tcase_add_test(tests, kept_lease_below_a_closed_root_is_told_of_and_ends_with_the_stop);
        tcase_add_test(tests, kept_leases_end_with_the_stop);
        tcase_add_test(tests, kept_lease_of_a_predecessor_ends_with_the_stop);
        return sandbox_run(tests);
}
