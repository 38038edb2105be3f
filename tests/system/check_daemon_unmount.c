/* SPDX-License-Identifier: Apache-2.0 */

/* Unmounting by identity: our mount goes, whatever has happened around it, and no other. */

#include "common/fd.h"
#include "tests/test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

SANDBOX_TEST(stranger_on_top_is_detached_with_ours_and_logged) {
        struct service service = service_start_with("a", NULL);
        FD_AUTO int client = client_connect(&service, USER_ALICE);
        struct sandbox_mount mount_on_proc;
        uint64_t lease;

        sandbox_make_root(USER_ALICE, "root");
        lease = client_hold_root(client, USER_ALICE, sandbox_path("root"));
        ck_assert_int_eq(mount("stranger", sandbox_path("root/proc"), "tmpfs", 0, NULL), 0);
        ck_assert(sandbox_find_mount(0, sandbox_path("root/proc"), &mount_on_proc));
        ck_assert_str_eq(mount_on_proc.source, "stranger");

        client_expect(client_unmount(client, lease), STATUS_OK, 0, STATUS_NO_TARGET);
        ck_assert(!sandbox_find_mount(0, sandbox_path("root/proc"), &mount_on_proc));
        ck_assert_uint_eq(sandbox_count_mounts(0, service.source), 0);
        sandbox_wait_for(service_has_logged(&service, "detached 1 mount"));
        service_stop(&service);
}

SANDBOX_TEST(stranger_on_top_goes_at_a_disconnect_as_well) {
        struct service service = service_start_with("a", NULL);
        struct sandbox_mount mount_on_proc;
        int client = client_connect(&service, USER_ALICE);

        sandbox_make_root(USER_ALICE, "root");
        client_hold_root(client, USER_ALICE, sandbox_path("root"));
        for (int i = 0; i < 3; i++)
                ck_assert_int_eq(mount("stranger", sandbox_path("root/proc"), "tmpfs", 0, NULL), 0);
        close(client);
        sandbox_wait_for(sandbox_count_mounts(0, service.source) == 0);
        ck_assert(!sandbox_find_mount(0, sandbox_path("root/proc"), &mount_on_proc));
        service_stop(&service);
}

/* Root's mounts below the mountpoint's own directory aren't ours. */
SANDBOX_TEST(neighbours_of_a_mount_stay) {
        struct service service = service_start_with("a", NULL);
        FD_AUTO int client = client_connect(&service, USER_ALICE);
        struct sandbox_mount neighbour;
        uint64_t lease;

        sandbox_make_root(USER_ALICE, "root");
        sandbox_make_directory(USER_ALICE, 0755, "root/dev");
        ck_assert_int_eq(mount("neighbour", sandbox_path("root/dev"), "tmpfs", 0, NULL), 0);
        lease = client_hold_root(client, USER_ALICE, sandbox_path("root"));
        client_expect(client_unmount(client, lease), STATUS_OK, 0, STATUS_NO_TARGET);
        ck_assert(sandbox_find_mount(0, sandbox_path("root/dev"), &neighbour));
        service_stop(&service);
}

SANDBOX_TEST(mount_that_root_has_unmounted_is_unmounted_already) {
        struct service service = service_start_with("a", NULL);
        FD_AUTO int client = client_connect(&service, USER_ALICE);
        uint64_t lease;

        sandbox_make_root(USER_ALICE, "root");
        lease = client_hold_root(client, USER_ALICE, sandbox_path("root"));
        ck_assert_int_eq(umount2(sandbox_path("root/proc"), MNT_DETACH), 0);
        client_expect(client_unmount(client, lease), STATUS_OK, 0, STATUS_NO_TARGET);
        ck_assert_uint_eq(sandbox_count_mounts(0, service.source), 0);
        client_expect(client_unmount(client, lease), STATUS_NO_SUCH_LEASE, 0, STATUS_NO_TARGET);
        service_stop(&service);
}

/* Ours was detached, and another of our mounts has taken its place: that one stays. */
SANDBOX_TEST(successor_on_the_same_directory_is_not_taken_for_ours) {
        struct service service = service_start_with("a", NULL);
        FD_AUTO int first = client_connect(&service, USER_ALICE),
                    second = client_connect(&service, USER_ALICE);
        uint64_t lease;

        sandbox_make_root(USER_ALICE, "root");
        lease = client_hold(first, USER_ALICE, sandbox_path("root/proc"), PROTOCOL_PROC, 0);
        ck_assert_int_eq(umount2(sandbox_path("root/proc"), MNT_DETACH), 0);
        client_hold(second, USER_ALICE, sandbox_path("root/proc"), PROTOCOL_PROC, 0);
        client_expect(client_unmount(first, lease), STATUS_OK, 0, STATUS_NO_TARGET);
        ck_assert_uint_eq(sandbox_count_mounts(0, service.source), 1);
        service_stop(&service);
}

SANDBOX_TEST(busy_mount_is_detached_and_lives_on_for_those_inside) {
        struct service service = service_start_with("a", NULL);
        FD_AUTO int client = client_connect(&service, USER_ALICE), file = -EBADF;
        uint64_t lease;
        char byte;

        sandbox_make_root(USER_ALICE, "root");
        lease = client_hold_root(client, USER_ALICE, sandbox_path("root"));
        file = open(sandbox_path("root/proc/self/status"), O_RDONLY | O_CLOEXEC);
        ck_assert_int_ge(file, 0);
        ck_assert_int_eq(chdir(sandbox_path("root/sys/kernel")), 0);

        client_expect(client_unmount(client, lease), STATUS_OK, 0, STATUS_NO_TARGET);
        ck_assert_uint_eq(sandbox_count_mounts(0, service.source), 0);
        ck_assert_int_eq(sandbox_rmdir(USER_ALICE, sandbox_path("root/proc")), 0);
        ck_assert_int_eq(sandbox_rmdir(USER_ALICE, sandbox_path("root/sys")), 0);
        ck_assert_int_eq(read(file, &byte, 1), 1);
        ck_assert_int_eq(chdir("/"), 0);
        service_stop(&service);
}

SANDBOX_TEST(workers_leave_the_mounts_that_they_have_detached) {
        struct service service = service_start_with("a", NULL);
        int client = client_connect(&service, USER_ALICE);
        uint64_t lease;

        sandbox_make_root(USER_ALICE, "root");
        ck_assert(!service_is_inside(&service));
        lease = client_hold_root(client, USER_ALICE, sandbox_path("root"));
        client_expect(client_unmount(client, lease), STATUS_OK, 0, STATUS_NO_TARGET);
        sandbox_wait_for(!service_is_inside(&service)); /* after the reply */
        client_hold_root(client, USER_ALICE, sandbox_path("root"));
        close(client);
        sandbox_wait_for(sandbox_count_mounts(0, service.source) == 0);
        sandbox_wait_for(!service_is_inside(&service));
        service_stop(&service);
}

SANDBOX_TEST(renamed_root_is_unmounted_all_the_same) {
        struct service service = service_start_with("a", NULL);
        FD_AUTO int client = client_connect(&service, USER_ALICE);
        uint64_t lease;

        sandbox_make_root(USER_ALICE, "root");
        lease = client_hold_root(client, USER_ALICE, sandbox_path("root"));
        ck_assert_int_eq(rename(sandbox_path("root"), sandbox_path("elsewhere")), 0);
        sandbox_make_root(USER_ALICE, "root");
        client_expect(client_unmount(client, lease), STATUS_OK, 0, STATUS_NO_TARGET);
        ck_assert_uint_eq(sandbox_count_mounts(0, service.source), 0);
        ck_assert_int_eq(sandbox_rmdir(USER_ALICE, sandbox_path("elsewhere/proc")), 0);
        service_stop(&service);
}

enum { RIVALS = 3, CYCLES = 4000 };

struct rival {
        struct service *service;
        const char *proc;
};

/* The second gets a mount on top of the first one's, which is undone at once. */
static void rival_mount_again_and_again(void *argument) {
        const struct rival *rival = argument;
        int client = client_connect(rival->service, geteuid());
        int target = open(rival->proc, O_PATH | O_DIRECTORY | O_CLOEXEC);

        ck_assert_int_ge(target, 0);
        for (unsigned i = 0; i < CYCLES; i++) {
                struct wire_reply reply = client_mount(client, PROTOCOL_PROC, 0, target);

                if (reply.status == STATUS_OK)
                        reply = client_unmount(client, reply.lease);
                /*
                 * The first one's unmount takes the mount on top with it: then the second one's has
                 * vanished.
                 */
                ck_assert_msg(reply.status == STATUS_OK || reply.status == STATUS_ALREADY_MOUNTED ||
                                      reply.status == STATUS_TARGET_VANISHED,
                              "%s", status_name(reply.status));
        }
}

/*
 * umount2(2) also returns EINVAL if the mount on top has just gone: ours must not be left behind.
 */
SANDBOX_TEST(rivals_on_one_directory_leave_nothing_behind) {
        struct service service = service_start_with("a", "--log-level=err");
        struct rival rival = {.service = &service};
        pid_t rivals[RIVALS];

        sandbox_make_root(USER_ALICE, "root");
        rival.proc = sandbox_path("root/proc");
        for (unsigned i = 0; i < RIVALS; i++)
                rivals[i] = sandbox_spawn(USER_ALICE, rival_mount_again_and_again, &rival);
        for (unsigned i = 0; i < RIVALS; i++)
                sandbox_join(rivals[i]);
        sandbox_wait_for(sandbox_count_mounts(0, service.source) == 0);
        service_stop(&service);
}

int main(void) {
        TCase *tests = tcase_create("unmount");

        tcase_add_test(tests, stranger_on_top_is_detached_with_ours_and_logged);
        tcase_add_test(tests, stranger_on_top_goes_at_a_disconnect_as_well);
        tcase_add_test(tests, neighbours_of_a_mount_stay);
        tcase_add_test(tests, mount_that_root_has_unmounted_is_unmounted_already);
        tcase_add_test(tests, successor_on_the_same_directory_is_not_taken_for_ours);
        tcase_add_test(tests, busy_mount_is_detached_and_lives_on_for_those_inside);
        tcase_add_test(tests, workers_leave_the_mounts_that_they_have_detached);
        tcase_add_test(tests, renamed_root_is_unmounted_all_the_same);
        tcase_add_test(tests, rivals_on_one_directory_leave_nothing_behind);
        return sandbox_run(tests);
}
