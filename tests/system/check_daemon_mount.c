/* SPDX-License-Identifier: Apache-2.0 */

/* What a client gets in the normal case: which mounts, where, with which attributes. */

#include "common/fd.h"
#include "tests/test.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>

static void expect_mount(const char *path, const char *type, const char *source) {
        static const char *const forced[] = {"nosuid", "nodev", "noexec"};
        struct sandbox_mount mount;

        ck_assert_msg(sandbox_find_mount(0, path, &mount), "nothing is mounted on %s", path);
        ck_assert_str_eq(mount.type, type);
        ck_assert_str_eq(mount.source, source);
        for (unsigned i = 0; i < sizeof(forced) / sizeof(forced[0]); i++)
                ck_assert_msg(sandbox_has_option(mount.options, forced[i]), "%s: no %s in %s", path,
                              forced[i], mount.options);
}

static bool mount_has(const char *path, const char *option) {
        struct sandbox_mount mount;

        ck_assert(sandbox_find_mount(0, path, &mount));
        return sandbox_has_option(mount.options, option);
}

static bool superblock_has(const char *path, const char *option) {
        struct sandbox_mount mount;

        ck_assert(sandbox_find_mount(0, path, &mount));
        return sandbox_has_option(mount.super, option);
}

/* ---- the normal case ---- */

SANDBOX_TEST(hello_tells_version_and_features) {
        struct service service = service_start_with("a", NULL);
        struct wire_request request = {.operation = PROTOCOL_HELLO};
        FD_AUTO int client = client_connect(&service, USER_ALICE);
        struct wire_reply reply = client_call(client, &request, NULL, 0);

        client_expect(reply, STATUS_OK, 0, STATUS_NO_TARGET);
        ck_assert_str_eq(reply.text, "mountatd " MOUNTATD_VERSION);
        ck_assert_uint_eq(reply.lease, 0);
        ck_assert_uint_eq(reply.flags & ~0x1dfU, 0);
        ck_assert(reply.flags & PROTOCOL_FEATURE_KEEP);
        ck_assert(reply.flags & PROTOCOL_FEATURE_CHECK);
        ck_assert(reply.flags & PROTOCOL_FEATURE_PIDS_ONLY);
        ck_assert(reply.flags & PROTOCOL_FEATURE_ADOPT);
        service_stop(&service);
}

/* Everything in a process that never had a privilege. */
static void mount_and_unmount(void *argument) {
        const struct service *service = argument;
        const char *root = sandbox_path("root"), *proc = sandbox_path("root/proc");
        FD_AUTO int client = client_connect(service, USER_ALICE);
        struct wire_reply reply;
        uint64_t lease;

        ck_assert_int_eq(mkdir(root, 0700), 0);
        ck_assert_int_eq(mkdir(proc, 0755), 0);
        ck_assert_int_eq(mkdir(sandbox_path("root/sys"), 0755), 0);
        client_hello(client);
        lease = client_hold_root(client, USER_ALICE, root);
        expect_mount(proc, "proc", service->source);
        expect_mount(sandbox_path("root/sys"), "sysfs", service->source);
        ck_assert_int_eq(access(sandbox_path("root/proc/self/status"), F_OK), 0);
        ck_assert_int_eq(access(sandbox_path("root/sys/kernel"), F_OK), 0);

        reply = client_unmount(client, lease);
        client_expect(reply, STATUS_OK, 0, STATUS_NO_TARGET);
        ck_assert_int_eq(rmdir(proc), 0);
        ck_assert_int_eq(rmdir(sandbox_path("root/sys")), 0);
        ck_assert_int_eq(rmdir(root), 0);

        reply = client_unmount(client, lease);
        client_expect(reply, STATUS_NO_SUCH_LEASE, 0, STATUS_NO_TARGET);
}

SANDBOX_TEST(unprivileged_client_mounts_and_unmounts) {
        struct service service = service_start_with("a", NULL);

        ck_assert_int_eq(chmod(sandbox_path("."), 0777), 0);
        sandbox_run_as(USER_ALICE, mount_and_unmount, &service);
        service_stop(&service);
}

SANDBOX_TEST(proc_hides_other_users_and_is_read_only_twice) {
        struct service service = service_start_with("a", NULL);
        const char *proc = sandbox_path("root/proc");
        FD_AUTO int client = client_connect(&service, USER_ALICE);

        sandbox_make_root(USER_ALICE, "root");
        client_hold_root(client, USER_ALICE, sandbox_path("root"));
        expect_mount(proc, "proc", service.source);
        ck_assert(mount_has(proc, "ro"));
        ck_assert(superblock_has(proc, "ro"));
        ck_assert(superblock_has(proc, "hidepid=ptraceable"));
        service_stop(&service);
}

enum { READER = 65001 }; /* a user without any other process, also of tests that run beside */

/* A reader of our procfs; hidepid=invisible exempts the members of a group. */
struct reader {
        uid_t uid;
        gid_t group, supplementary;
        int proc;
        pid_t strangers[2];
};

static void reader_become(const struct reader *reader) {
        cap_t none = cap_init();

        ck_assert_int_eq(setgroups(1, &reader->supplementary), 0);
        ck_assert_int_eq(setresgid(reader->group, reader->group, reader->group), 0);
        ck_assert_int_eq(setresuid(reader->uid, reader->uid, reader->uid), 0);
        ck_assert_int_eq(cap_set_proc(none), 0); /* uid 0 would keep them */
        cap_free(none);
        ck_assert_int_eq(prctl(PR_SET_DUMPABLE, 1), 0);
}

static bool reader_sees(const struct reader *reader, pid_t pid) {
        char path[32];
        int fd;

        snprintf(path, sizeof(path), "%d/cmdline", pid);
        fd = openat(reader->proc, path, O_RDONLY | O_CLOEXEC);
        ck_assert(fd >= 0 || errno == ENOENT);
        fd_close(fd);
        return fd >= 0;
}

static void reader_read(void *argument) {
        const struct reader *reader = argument;
        DIR *directory;
        unsigned processes = 0;

        reader_become(reader);
        directory = fdopendir(openat(reader->proc, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        ck_assert_ptr_nonnull(directory);
        for (struct dirent *entry; (entry = readdir(directory));)
                processes += isdigit((unsigned char)entry->d_name[0]) != 0;
        closedir(directory);
        if (reader->uid == READER) /* root may have others without capabilities */
                ck_assert_uint_eq(processes, 1);
        ck_assert(reader_sees(reader, getpid()));
        for (unsigned i = 0; i < 2; i++)
                ck_assert(!reader_sees(reader, reader->strangers[i]));
}

static void sleep_until_killed(void *argument) {
        (void)argument;
        for (;;)
                pause();
}

SANDBOX_TEST(proc_shows_nobody_elses_processes_whatever_the_group) {
        static const struct reader readers[] = {
                {READER, READER, READER, 0, {0}},
                {READER, 0, READER, 0, {0}},
                {READER, READER, 0, 0, {0}},
                {0, 0, 0, 0, {0}},
        };
        struct service service = service_start_with("a", NULL);
        FD_AUTO int client = client_connect(&service, USER_ALICE), proc = -EBADF;
        pid_t bob = sandbox_spawn(USER_BOB, sleep_until_killed, NULL);

        sandbox_make_root(USER_ALICE, "root");
        client_hold_root(client, USER_ALICE, sandbox_path("root"));
        proc = open(sandbox_path("root/proc"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        ck_assert_int_ge(proc, 0);
        for (unsigned i = 0; i < sizeof(readers) / sizeof(readers[0]); i++) {
                struct reader reader = readers[i];

                reader.proc = proc;
                reader.strangers[0] = bob;
                reader.strangers[1] = getpid();
                sandbox_run_as(0, reader_read, &reader);
        }
        sandbox_kill(bob);
        service_stop(&service);
}

SANDBOX_TEST(sysfs_is_read_only_and_the_hosts_is_as_before) {
        struct service service = service_start_with("a", NULL);
        FD_AUTO int client = client_connect(&service, USER_ALICE);
        struct sandbox_mount before, after;
        bool host = sandbox_find_mount(0, "/sys", &before);

        sandbox_make_root(USER_ALICE, "root");
        client_hold_root(client, USER_ALICE, sandbox_path("root"));
        ck_assert(mount_has(sandbox_path("root/sys"), "ro"));
        if (host) {
                ck_assert(sandbox_find_mount(0, "/sys", &after));
                ck_assert_str_eq(before.options, after.options);
                ck_assert_str_eq(before.super, after.super);
        }
        service_stop(&service);
}

static int open_as_root_without_capabilities(int directory, const char *path) {
        cap_t before = cap_get_proc(), lowered = cap_dup(before);
        int fd;

        cap_clear_flag(lowered, CAP_EFFECTIVE);
        ck_assert_int_eq(cap_set_proc(lowered), 0);
        fd = openat(directory, path, O_WRONLY | O_CLOEXEC);
        fd = fd < 0 ? -errno : fd;
        ck_assert_int_eq(cap_set_proc(before), 0);
        cap_free(before);
        cap_free(lowered);
        return fd;
}

/* An action with uid 0 and no capability still owns the files of /proc/sys. */
SANDBOX_TEST(proc_sys_cannot_be_written_by_uid_0_without_capabilities) {
        struct service service = service_start_with("a", NULL);
        FD_AUTO int client = client_connect(&service, USER_ALICE), proc = -EBADF;

        sandbox_make_root(USER_ALICE, "root");
        client_hold_root(client, USER_ALICE, sandbox_path("root"));
        proc = open(sandbox_path("root/proc"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        ck_assert_int_ge(proc, 0);
        ck_assert_int_eq(open_as_root_without_capabilities(proc, "sys/kernel/core_pattern"),
                         -EROFS);
        service_stop(&service);
}

SANDBOX_TEST(pids_only_shows_only_processes) {
        struct service service = service_start_with("a", NULL);
        FD_AUTO int client = client_connect(&service, USER_ALICE);
        unsigned processes = 0;
        DIR *directory;

        sandbox_make_root(USER_ALICE, "root");
        client_hold(client, USER_ALICE, sandbox_path("root/proc"), PROTOCOL_PROC,
                    PROTOCOL_PIDS_ONLY);
        ck_assert(superblock_has(sandbox_path("root/proc"), "subset=pid"));
        ck_assert(superblock_has(sandbox_path("root/proc"), "hidepid=ptraceable"));
        ck_assert(superblock_has(sandbox_path("root/proc"), "ro"));

        directory = opendir(sandbox_path("root/proc"));
        ck_assert_ptr_nonnull(directory);
        for (struct dirent *entry; (entry = readdir(directory));) {
                processes += isdigit((unsigned char)entry->d_name[0]) != 0;
                ck_assert_msg(isdigit((unsigned char)entry->d_name[0]) || entry->d_name[0] == '.' ||
                                      strcmp(entry->d_name, "self") == 0 ||
                                      strcmp(entry->d_name, "thread-self") == 0,
                              "%s is no process", entry->d_name);
        }
        closedir(directory);
        ck_assert_uint_gt(processes, 0);
        service_stop(&service);
}

/* ---- policy ---- */

SANDBOX_TEST(nested_mountpoints_are_targets_like_others) {
        struct service service = service_start_with("a", NULL);
        FD_AUTO int client = client_connect(&service, USER_ALICE);
        uint64_t lease;

        sandbox_make_root(USER_ALICE, "root");
        sandbox_make_directory(USER_ALICE, 0700, "root/a");
        sandbox_make_directory(USER_ALICE, 0700, "root/a/b");
        sandbox_make_directory(USER_ALICE, 0700, "root/a/b/proc");
        client_hold_root(client, USER_ALICE, sandbox_path("root"));
        lease = client_hold(client, USER_ALICE, sandbox_path("root/a/b/proc"), PROTOCOL_PROC, 0);
        expect_mount(sandbox_path("root/proc"), "proc", service.source);
        expect_mount(sandbox_path("root/sys"), "sysfs", service.source);
        expect_mount(sandbox_path("root/a/b/proc"), "proc", service.source);

        client_expect(client_unmount(client, lease), STATUS_OK, 0, STATUS_NO_TARGET);
        ck_assert_int_eq(sandbox_rmdir(USER_ALICE, sandbox_path("root/a/b/proc")), 0);
        ck_assert_uint_eq(sandbox_count_mounts(0, service.source), 2);
        service_stop(&service);
}

SANDBOX_TEST(sixteen_targets_are_one_lease) {
        struct wire_request request = {.operation = PROTOCOL_MOUNT,
                                       .n_targets = PROTOCOL_TARGETS_MAX};
        struct service service = service_start_with("a", NULL);
        FD_AUTO int client = client_connect(&service, USER_ALICE);
        int targets[PROTOCOL_TARGETS_MAX];
        struct wire_reply reply;
        char name[16];

        for (unsigned i = 0; i < PROTOCOL_TARGETS_MAX; i++) {
                snprintf(name, sizeof(name), "%u", i);
                sandbox_make_root(USER_ALICE, name);
                targets[i] =
                        sandbox_open(USER_ALICE, sandbox_path("%u/%s", i, i % 2 ? "sys" : "proc"));
                request.targets[i].file_system = i % 2 ? PROTOCOL_SYSFS : PROTOCOL_PROC;
        }
        reply = client_call(client, &request, targets, PROTOCOL_TARGETS_MAX);
        client_expect(reply, STATUS_OK, 0, STATUS_NO_TARGET);
        ck_assert_uint_eq(sandbox_count_mounts(0, service.source), PROTOCOL_TARGETS_MAX);
        client_expect(client_unmount(client, reply.lease), STATUS_OK, 0, STATUS_NO_TARGET);
        ck_assert_uint_eq(sandbox_count_mounts(0, service.source), 0);
        for (unsigned i = 0; i < PROTOCOL_TARGETS_MAX; i++)
                close(targets[i]);
        service_stop(&service);
}

SANDBOX_TEST(build_directory_opens_what_others_own) {
        struct service service =
                service_start_with("a", "--build-directory", sandbox_path("build"));
        FD_AUTO int alice = client_connect(&service, USER_ALICE),
                    bob = client_connect(&service, USER_BOB), beside = -EBADF;

        sandbox_make_directory(0, 0755, "build");
        sandbox_make_root(USER_MALLORY, "build/root");
        sandbox_make_directory(USER_MALLORY, 0755, "buildings");
        sandbox_make_directory(USER_MALLORY, 0755, "buildings/proc");
        ck_assert_int_eq(chmod(sandbox_path("build/root"), 0755), 0);

        client_expect(client_mount_root(alice, USER_ALICE, sandbox_path("build/root")), STATUS_OK,
                      0, STATUS_NO_TARGET);
        close(fd_take(&alice));
        sandbox_wait_for(sandbox_count_mounts(0, service.source) == 0);
        client_expect(client_mount_root(bob, USER_BOB, sandbox_path("build/root")), STATUS_OK, 0,
                      STATUS_NO_TARGET);

        beside = sandbox_open(USER_BOB, sandbox_path("buildings/proc"));
        client_expect(client_mount(bob, PROTOCOL_PROC, 0, beside), STATUS_NOT_AUTHORISED, 0, 0);
        service_stop(&service);
}

SANDBOX_TEST(build_directory_with_a_user_is_open_to_that_user_alone) {
        const char *option = sandbox_path("build:%d", USER_BOB);
        struct service service = service_start_with("a", "--build-directory", option);
        FD_AUTO int alice = client_connect(&service, USER_ALICE),
                    bob = client_connect(&service, USER_BOB);

        sandbox_make_directory(0, 0755, "build");
        sandbox_make_root(0, "build/root");
        ck_assert_int_eq(chmod(sandbox_path("build/root"), 0755), 0);
        client_expect(client_mount_root(alice, USER_ALICE, sandbox_path("build/root")),
                      STATUS_NOT_AUTHORISED, 0, 0);
        client_expect(client_mount_root(bob, USER_BOB, sandbox_path("build/root")), STATUS_OK, 0,
                      STATUS_NO_TARGET);
        service_stop(&service);
}

SANDBOX_TEST(writable_proc_is_for_the_named_user_unless_asked_otherwise) {
        struct service service = service_start_with("a", "--writable-proc", "60001");
        const char *path = sandbox_path("alice/proc");
        FD_AUTO int alice = client_connect(&service, USER_ALICE),
                    bob = client_connect(&service, USER_BOB);
        uint64_t lease;

        sandbox_make_root(USER_ALICE, "alice");
        sandbox_make_root(USER_BOB, "bob");

        lease = client_hold(alice, USER_ALICE, path, PROTOCOL_PROC, 0);
        expect_mount(path, "proc", service.source);
        ck_assert(mount_has(path, "rw") && superblock_has(path, "rw"));
        ck_assert(superblock_has(path, "hidepid=ptraceable"));
        client_expect(client_unmount(alice, lease), STATUS_OK, 0, STATUS_NO_TARGET);

        lease = client_hold(alice, USER_ALICE, path, PROTOCOL_PROC, PROTOCOL_PIDS_ONLY);
        ck_assert(mount_has(path, "rw") && superblock_has(path, "rw"));
        ck_assert(superblock_has(path, "subset=pid"));
        client_expect(client_unmount(alice, lease), STATUS_OK, 0, STATUS_NO_TARGET);

        client_hold(alice, USER_ALICE, path, PROTOCOL_PROC, PROTOCOL_READ_ONLY);
        ck_assert(mount_has(path, "ro") && superblock_has(path, "ro"));

        client_hold_root(bob, USER_BOB, sandbox_path("bob"));
        ck_assert(mount_has(sandbox_path("bob/proc"), "ro"));
        ck_assert(superblock_has(sandbox_path("bob/proc"), "ro"));
        service_stop(&service);
}

/* ---- propagation ---- */

/* A process in a mount namespace that receives the mounts made here. */
static pid_t spawn_slave(void) {
        int ready[2];
        char byte;
        pid_t pid;

        ck_assert_int_eq(pipe2(ready, O_CLOEXEC), 0);
        pid = fork();
        ck_assert_int_ge(pid, 0);
        if (pid == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                ck_assert_int_eq(unshare(CLONE_NEWNS), 0);
                ck_assert_int_eq(mount("none", "/", NULL, MS_REC | MS_SLAVE, NULL), 0);
                ck_assert_int_eq(write(ready[1], "", 1), 1);
                pause();
                _exit(EXIT_FAILURE);
        }
        ck_assert_int_eq(read(ready[0], &byte, 1), 1);
        close(ready[0]);
        close(ready[1]);
        return pid;
}

SANDBOX_TEST(mounts_of_a_shared_tree_come_and_go_in_slaves_too) {
        struct service service;
        uint64_t lease;
        int client;
        pid_t slave;

        ck_assert_int_eq(mount("none", sandbox_path("."), NULL, MS_SHARED, NULL), 0);
        service = service_start_with("a", NULL);
        slave = spawn_slave();
        client = client_connect(&service, USER_ALICE);
        sandbox_make_root(USER_ALICE, "root");

        lease = client_hold_root(client, USER_ALICE, sandbox_path("root"));
        ck_assert_uint_eq(sandbox_count_mounts(slave, service.source), 2);
        client_expect(client_unmount(client, lease), STATUS_OK, 0, STATUS_NO_TARGET);
        ck_assert_uint_eq(sandbox_count_mounts(slave, service.source), 0);

        client_hold_root(client, USER_ALICE, sandbox_path("root"));
        ck_assert_uint_eq(sandbox_count_mounts(slave, service.source), 2);
        close(client);
        sandbox_wait_for(sandbox_count_mounts(slave, service.source) == 0);
        service_stop(&service);
        sandbox_kill(slave);
}

/* An open file in a slave doesn't hold up the unmount. */
SANDBOX_TEST(busy_copy_in_a_slave_is_detached_too) {
        struct service service;
        FD_AUTO int client = -EBADF, inside = -EBADF;
        char path[512];
        uint64_t lease;
        pid_t slave;

        ck_assert_int_eq(mount("none", sandbox_path("."), NULL, MS_SHARED, NULL), 0);
        service = service_start_with("a", NULL);
        slave = spawn_slave();
        client = client_connect(&service, USER_ALICE);
        sandbox_make_root(USER_ALICE, "root");
        lease = client_hold_root(client, USER_ALICE, sandbox_path("root"));

        snprintf(path, sizeof(path), "/proc/%d/root", slave);
        strcat(path, sandbox_path("root/proc/self"));
        inside = open(path, O_RDONLY | O_CLOEXEC);
        ck_assert_int_ge(inside, 0);

        client_expect(client_unmount(client, lease), STATUS_OK, 0, STATUS_NO_TARGET);
        ck_assert_uint_eq(sandbox_count_mounts(slave, service.source), 0);
        ck_assert_int_eq(sandbox_rmdir(USER_ALICE, sandbox_path("root/proc")), 0);
        service_stop(&service);
        sandbox_kill(slave);
}

int main(void) {
        TCase *tests = tcase_create("mount");

        tcase_add_test(tests, hello_tells_version_and_features);
        tcase_add_test(tests, unprivileged_client_mounts_and_unmounts);
        tcase_add_test(tests, proc_hides_other_users_and_is_read_only_twice);
        tcase_add_test(tests, proc_shows_nobody_elses_processes_whatever_the_group);
        tcase_add_test(tests, sysfs_is_read_only_and_the_hosts_is_as_before);
        tcase_add_test(tests, proc_sys_cannot_be_written_by_uid_0_without_capabilities);
        tcase_add_test(tests, pids_only_shows_only_processes);
        tcase_add_test(tests, nested_mountpoints_are_targets_like_others);
        tcase_add_test(tests, sixteen_targets_are_one_lease);
        tcase_add_test(tests, build_directory_opens_what_others_own);
        tcase_add_test(tests, build_directory_with_a_user_is_open_to_that_user_alone);
        tcase_add_test(tests, writable_proc_is_for_the_named_user_unless_asked_otherwise);
        tcase_add_test(tests, mounts_of_a_shared_tree_come_and_go_in_slaves_too);
        tcase_add_test(tests, busy_copy_in_a_slave_is_detached_too);
        return sandbox_run(tests);
}
