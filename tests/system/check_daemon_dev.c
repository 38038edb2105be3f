/* SPDX-License-Identifier: Apache-2.0 */

/* A /dev as seen inside. */

#include "common/fd.h"
#include "tests/test.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <termios.h>
#include <unistd.h>

static const char *const nodes[] = {"null", "zero", "full", "random", "urandom", "tty"};

enum {
        N_NODES = sizeof(nodes) / sizeof(nodes[0]),
        WHOLE = 1 + N_NODES + 2, /* mounts, with pts and shm */
};

/* The number of a complete dev's mounts that exist. */
static unsigned count_mounts(const char *dev) {
        struct sandbox_mount mount;
        char path[256];
        unsigned count = sandbox_find_mount(0, dev, &mount);

        for (unsigned i = 0; i < N_NODES; i++) {
                snprintf(path, sizeof(path), "%s/%s", dev, nodes[i]);
                count += sandbox_find_mount(0, path, &mount);
        }
        snprintf(path, sizeof(path), "%s/pts", dev);
        count += sandbox_find_mount(0, path, &mount);
        snprintf(path, sizeof(path), "%s/shm", dev);
        return count + sandbox_find_mount(0, path, &mount);
}

/* The user's directory to mount it on. The path is valid throughout the test. */
static const char *make_dev(uid_t uid, const char *root) {
        static char paths[8][256];
        static unsigned n_paths;
        char *path = paths[n_paths++ % 8], name[64];

        sandbox_make_root(uid, root);
        ck_assert_int_eq(chmod(sandbox_path("%s", root), 0755), 0);
        snprintf(name, sizeof(name), "%s/dev", root);
        snprintf(path, sizeof(paths[0]), "%s", sandbox_make_directory(uid, 0755, name));
        return path;
}

static uint64_t hold(int client, const char *dev) {
        return client_hold(client, USER_ALICE, dev, PROTOCOL_DEV, 0);
}

/* ---- complete, and gone at once ---- */

static void is_mounted(const char *path, const char *type, const char *options) {
        struct sandbox_mount mount;

        ck_assert_msg(sandbox_find_mount(0, path, &mount), "%s", path);
        ck_assert_str_eq(mount.type, type);
        ck_assert_msg(strcmp(mount.options, options) == 0, "%s: %s", path, mount.options);
}

/* Of the host's file system, whose time options vary. */
static void is_node(const char *path) {
        struct sandbox_mount mount;

        ck_assert_msg(sandbox_find_mount(0, path, &mount), "%s", path);
        ck_assert(sandbox_has_option(mount.options, "ro"));
        ck_assert(sandbox_has_option(mount.options, "nosuid"));
        ck_assert(sandbox_has_option(mount.options, "noexec"));
        ck_assert(!sandbox_has_option(mount.options, "nodev"));
}

SANDBOX_TEST(is_whole_and_ends_with_one_unmount) {
        struct service service = service_start_with("a", NULL);
        FD_AUTO int client = client_connect(&service, USER_ALICE);
        const char *dev = make_dev(USER_ALICE, "root");
        char path[256];

        for (unsigned i = 0; i < 3; i++) {
                uint64_t lease = hold(client, dev);

                ck_assert_uint_eq(count_mounts(dev), WHOLE);
                is_mounted(dev, "tmpfs", "ro,nosuid,nodev,noexec,relatime");
                for (unsigned n = 0; n < N_NODES; n++) {
                        snprintf(path, sizeof(path), "%s/%s", dev, nodes[n]);
                        is_node(path);
                }
                snprintf(path, sizeof(path), "%s/pts", dev);
                is_mounted(path, "devpts", "rw,nosuid,noexec,relatime");
                snprintf(path, sizeof(path), "%s/shm", dev);
                is_mounted(path, "tmpfs", "rw,nosuid,nodev,noexec,relatime");
                client_expect(client_unmount(client, lease), STATUS_OK, 0, STATUS_NO_TARGET);
                ck_assert_uint_eq(count_mounts(dev), 0);
        }
        ck_assert_int_eq(sandbox_rmdir(USER_ALICE, dev), 0);
        service_stop(&service);
}

SANDBOX_TEST(ends_with_its_connection_and_with_the_daemon) {
        struct service service = service_start_with("a", NULL);
        int client = client_connect(&service, USER_ALICE);
        const char *dev = make_dev(USER_ALICE, "root");

        hold(client, dev);
        close(client);
        sandbox_wait_for(count_mounts(dev) == 0);
        client = client_connect(&service, USER_ALICE);
        hold(client, dev);
        service_stop(&service);
        ck_assert_uint_eq(count_mounts(dev), 0);
        close(client);
}

SANDBOX_TEST(what_a_killed_daemon_left_is_adopted_or_swept) {
        static const int denied[] = {0, CALL_STATMOUNT};

        for (unsigned i = 0; i < 2; i++) {
                const struct service_plan plan = {
                        .name = "a", .options = {"--adopt-timeout=5"}, .denied = {denied[i]}};
                struct service service = service_start(&plan);
                FD_AUTO int client = client_connect(&service, USER_ALICE), again = -EBADF;
                const char *adopted = make_dev(USER_ALICE, i ? "c" : "a");
                const char *swept = make_dev(USER_ALICE, i ? "d" : "b");
                struct wire_request request = {
                        .operation = PROTOCOL_ADOPT,
                        .lease = hold(client, adopted),
                        .n_targets = 1,
                        .targets = {{PROTOCOL_DEV, 0}},
                };
                int root;

                hold(client, swept);
                sandbox_kill(service.pid);
                service = service_start(&plan);
                again = client_connect(&service, USER_ALICE);
                root = sandbox_open(USER_ALICE, adopted);
                client_expect(client_call(again, &request, &root, 1), STATUS_OK, 0,
                              STATUS_NO_TARGET);
                close(root);
                sandbox_wait_for(count_mounts(swept) == 0);
                ck_assert_uint_eq(count_mounts(adopted), WHOLE);
                client_expect(client_unmount(again, request.lease), STATUS_OK, 0, STATUS_NO_TARGET);
                ck_assert_uint_eq(count_mounts(adopted), 0);
                service_stop(&service);
        }
}

/* ---- the devices ---- */

static int open_in(const char *dev, const char *name, int flags) {
        char path[256];

        snprintf(path, sizeof(path), "%s/%s", dev, name);
        return open(path, flags | O_CLOEXEC | O_NOCTTY);
}

static void use_devices(void *argument) {
        const char *dev = argument;
        char bytes[16];
        int fd;

        fd = open_in(dev, "null", O_RDWR);
        ck_assert_int_eq(write(fd, "x", 1), 1);
        ck_assert_int_eq(read(fd, bytes, 1), 0);
        close(fd);
        fd = open_in(dev, "zero", O_RDONLY);
        memset(bytes, 1, sizeof(bytes));
        ck_assert_int_eq(read(fd, bytes, sizeof(bytes)), sizeof(bytes));
        ck_assert_int_eq(bytes[0] | bytes[15], 0);
        close(fd);
        fd = open_in(dev, "full", O_WRONLY);
        ck_assert(write(fd, "x", 1) < 0 && errno == ENOSPC);
        close(fd);
        fd = open_in(dev, "random", O_RDONLY);
        ck_assert_int_eq(read(fd, bytes, sizeof(bytes)), sizeof(bytes));
        close(fd);
        fd = open_in(dev, "urandom", O_RDONLY);
        ck_assert_int_eq(read(fd, bytes, sizeof(bytes)), sizeof(bytes));
        close(fd);
        ck_assert_int_ge(setsid(), 0); /* without a terminal, even if the test has one */
        ck_assert(open_in(dev, "tty", O_RDWR) < 0 && errno == ENXIO);
}

/* All ways to change a node or the directory. */
static void change_nodes(void *argument) {
        const struct timespec now[2] = {{.tv_nsec = UTIME_NOW}, {.tv_nsec = UTIME_NOW}};
        const char *dev = argument;
        char path[256], other[256];

        snprintf(other, sizeof(other), "%s/other", dev);
        for (unsigned i = 0; i < N_NODES; i++) {
                const struct {
                        const char *what;
                        int r;
                        int error;
                } tries[] = {
                        {"chmod",
                         (snprintf(path, sizeof(path), "%s/%s", dev, nodes[i]), errno = 0,
                          chmod(path, 0600)),
                         errno},
                        {"chown", chown(path, 1, 1), errno},
                        {"unlink", unlink(path), errno},
                        {"rename", rename(path, other), errno},
                        {"link", link(path, other), errno},
                        {"utimes", utimensat(AT_FDCWD, path, now, 0), errno},
                        {"umount", umount(path), errno},
                };

                for (size_t t = 0; t < sizeof(tries) / sizeof(tries[0]); t++)
                        ck_assert_msg(tries[t].r < 0 &&
                                              (tries[t].error == EROFS || tries[t].error == EPERM ||
                                               tries[t].error == EACCES ||
                                               tries[t].error == EXDEV || tries[t].error == EBUSY),
                                      "%s of %s: %d, %s", tries[t].what, nodes[i], tries[t].r,
                                      strerror(tries[t].error));
        }
        ck_assert(mknod(other, S_IFCHR | 0666, makedev(1, 1)) < 0 &&
                  (errno == EROFS || errno == EPERM));
        ck_assert(mkdir(other, 0755) < 0 && (errno == EROFS || errno == EACCES));
        ck_assert(symlink("x", other) < 0 && (errno == EROFS || errno == EACCES));
        ck_assert(open(other, O_CREAT | O_WRONLY | O_CLOEXEC, 0600) < 0 &&
                  (errno == EROFS || errno == EACCES));
        ck_assert(chmod(dev, 0777) < 0 && (errno == EROFS || errno == EPERM));
}

/* Like an action that is root in a container, without capabilities. */
static void lose_capabilities(void) {
        cap_t none = cap_init();

        for (int cap = 0; prctl(PR_CAPBSET_READ, cap) >= 0; cap++)
                ck_assert_int_eq(prctl(PR_CAPBSET_DROP, cap), 0);
        ck_assert_int_eq(cap_set_proc(none), 0);
        cap_free(none);
}

static void use_as_root(void *argument) {
        lose_capabilities();
        use_devices(argument);
        change_nodes(argument);
}

static void use_as_user(void *argument) {
        use_devices(argument);
        change_nodes(argument);
}

SANDBOX_TEST(devices_are_used_and_never_changed) {
        struct service service = service_start_with("a", NULL);
        FD_AUTO int client = client_connect(&service, USER_ALICE);
        const char *dev;
        struct stat before, after;
        char path[256];

        /* Like Buildbarn's FUSE: device nodes in the directory itself can't be opened. */
        sandbox_make_directory(0, 0755, "nodev");
        ck_assert_int_eq(mount("none", sandbox_path("nodev"), "tmpfs", MS_NODEV, "mode=0755"), 0);
        dev = make_dev(USER_ALICE, "nodev/root");
        ck_assert_int_eq(stat("/dev/null", &before), 0);
        hold(client, dev);
        sandbox_run_as(USER_ALICE, use_as_user, (void *)dev);
        sandbox_run_as(USER_BOB, use_as_user, (void *)dev);
        sandbox_run_as(0, use_as_root, (void *)dev);
        ck_assert_int_eq(stat("/dev/null", &after), 0);
        ck_assert_uint_eq(before.st_mode, after.st_mode);
        ck_assert_int_eq(before.st_ctim.tv_sec, after.st_ctim.tv_sec);
        snprintf(path, sizeof(path), "%s/kmsg", dev);
        ck_assert(access(path, F_OK) < 0 && errno == ENOENT);
        service_stop(&service);
}

SANDBOX_TEST(links_lead_to_descriptors_and_the_own_ptmx) {
        static const char *const links[][2] = {{"fd", "/proc/self/fd"},
                                               {"stdin", "/proc/self/fd/0"},
                                               {"stdout", "/proc/self/fd/1"},
                                               {"stderr", "/proc/self/fd/2"},
                                               {"ptmx", "pts/ptmx"}};
        struct service service = service_start_with("a", NULL);
        FD_AUTO int client = client_connect(&service, USER_ALICE);
        const char *dev = make_dev(USER_ALICE, "root");
        char path[256], target[64];

        hold(client, dev);
        for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++) {
                ssize_t length;

                snprintf(path, sizeof(path), "%s/%s", dev, links[i][0]);
                length = readlink(path, target, sizeof(target) - 1);
                ck_assert_int_gt(length, 0);
                target[length] = '\0';
                ck_assert_str_eq(target, links[i][1]);
        }
        service_stop(&service);
}

/* ---- private to a lease ---- */

struct pair {
        const char *own, *other;
};

static void use_pty(void *argument) {
        const struct pair *pair = argument;
        int master = open_in(pair->own, "ptmx", O_RDWR), unlock = 0, slave, number;
        struct stat stat;
        char name[16], path[256], byte;

        ck_assert_int_ge(master, 0);
        ck_assert_int_eq(ioctl(master, TIOCGPTN, &number), 0);
        ck_assert_int_eq(number, 0); /* its first pty */
        ck_assert_int_eq(ioctl(master, TIOCSPTLCK, &unlock), 0);
        snprintf(name, sizeof(name), "pts/%d", number);
        slave = open_in(pair->own, name, O_RDWR);
        ck_assert_int_ge(slave, 0);
        ck_assert_int_eq(write(slave, "x", 1), 1);
        ck_assert_int_eq(read(master, &byte, 1), 1);
        ck_assert_int_eq(byte, 'x');
        ck_assert_int_eq(fstat(slave, &stat), 0);
        ck_assert_uint_eq(stat.st_mode & 07777, 0620);
        ck_assert_uint_eq(stat.st_gid, 5);
        ck_assert_uint_eq(stat.st_uid, USER_ALICE);
        snprintf(path, sizeof(path), "%s/%s", pair->other, name);
        ck_assert(access(path, F_OK) < 0 && errno == ENOENT);
}

static void use_shm(void *argument) {
        const struct pair *pair = argument;
        static char block[64 * 1024];
        int fd = open_in(pair->own, "shm/x", O_CREAT | O_EXCL | O_RDWR);
        unsigned blocks = 0;
        char path[256];

        ck_assert_int_ge(fd, 0);
        while (write(fd, block, sizeof(block)) == (ssize_t)sizeof(block))
                blocks++;
        ck_assert_int_eq(errno, ENOSPC);
        ck_assert_uint_eq(blocks, 16); /* of the 1 MiB */
        snprintf(path, sizeof(path), "%s/shm/x", pair->other);
        ck_assert(access(path, F_OK) < 0 && errno == ENOENT);
}

/* Neither takes all that the machine has. */
static void use_up(void *argument) {
        const char *dev = argument;
        unsigned ptys = 0, files = 0;
        char name[16];

        setrlimit(RLIMIT_NOFILE, &(struct rlimit){1024, 1024});
        while (open_in(dev, "ptmx", O_RDWR) >= 0)
                ptys++;
        ck_assert_int_eq(errno, ENOSPC);
        ck_assert_uint_eq(ptys, 256);
        for (int fd = 0; fd >= 0; files++) {
                snprintf(name, sizeof(name), "shm/%u", files);
                fd = open_in(dev, name, O_CREAT | O_EXCL | O_RDWR);
                if (fd >= 0)
                        close(fd);
        }
        ck_assert_int_eq(errno, ENOSPC);
        ck_assert_uint_eq(
                files, 256 + 16); /* of 1 MiB; the directory is one of them, and the last failed */
}

SANDBOX_TEST(ptys_and_files_in_shared_memory_are_limited) {
        struct service service = service_start_with("a", "--dev-shm-size=1M");
        FD_AUTO int client = client_connect(&service, USER_ALICE);
        const char *dev = make_dev(USER_ALICE, "root");

        hold(client, dev);
        sandbox_run_as(USER_ALICE, use_up, (void *)dev);
        service_stop(&service);
}

SANDBOX_TEST(ptys_and_shared_memory_are_seen_by_no_other) {
        struct service service = service_start_with("a", "--dev-shm-size=1M");
        FD_AUTO int client = client_connect(&service, USER_ALICE);
        struct pair pair = {make_dev(USER_ALICE, "a"), make_dev(USER_ALICE, "b")};
        uint64_t lease = hold(client, pair.own);
        char path[256];

        hold(client, pair.other);
        sandbox_run_as(USER_ALICE, use_pty, &pair);
        sandbox_run_as(USER_ALICE, use_shm, &pair);
        client_expect(client_unmount(client, lease), STATUS_OK, 0, STATUS_NO_TARGET);
        hold(client, pair.own);
        snprintf(path, sizeof(path), "%s/shm/x", pair.own); /* gone with its lease */
        ck_assert(access(path, F_OK) < 0 && errno == ENOENT);
        service_stop(&service);
}

/* ---- limits and options ---- */

/* Each dev counts for as many mounts as the kernel holds. */
SANDBOX_TEST(limit_of_mounts_counts_all_of_them) {
        struct service service =
                service_start_with("a", "--max-mounts=10", "--max-mounts-per-user=10");
        FD_AUTO int client = client_connect(&service, USER_ALICE);
        const char *dev = make_dev(USER_ALICE, "a"), *other = make_dev(USER_ALICE, "b");
        FD_AUTO int target = sandbox_open(USER_ALICE, other);
        uint64_t lease = hold(client, dev);

        client_expect(client_mount(client, PROTOCOL_DEV, 0, target), STATUS_LIMIT_EXCEEDED, 0,
                      STATUS_NO_TARGET);
        client_hold(client, USER_ALICE, sandbox_path("a/proc"), PROTOCOL_PROC, 0);
        client_expect(client_unmount(client, lease), STATUS_OK, 0, STATUS_NO_TARGET);
        client_expect(client_mount(client, PROTOCOL_DEV, 0, target), STATUS_OK, 0,
                      STATUS_NO_TARGET);
        service_stop(&service);
}

SANDBOX_TEST(shm_can_be_left_out) {
        struct service service = service_start_with("a", "--dev-shm-size=0", "--max-mounts=8",
                                                    "--max-mounts-per-user=8");
        FD_AUTO int client = client_connect(&service, USER_ALICE);
        const char *dev = make_dev(USER_ALICE, "root");
        char path[256];

        hold(client, dev);
        ck_assert_uint_eq(count_mounts(dev), WHOLE - 1);
        snprintf(path, sizeof(path), "%s/shm", dev);
        ck_assert(access(path, F_OK) < 0 && errno == ENOENT);
        service_stop(&service);
}

static void expect_not_offered(struct service *service, const char *text) {
        FD_AUTO int client = client_connect(service, USER_ALICE);
        FD_AUTO int target = sandbox_open(USER_ALICE, make_dev(USER_ALICE, "root"));
        struct wire_request hello = {.operation = PROTOCOL_HELLO};
        struct wire_reply reply = client_call(client, &hello, NULL, 0);

        ck_assert_uint_eq(reply.flags & PROTOCOL_FEATURE_DEV, 0);
        reply = client_mount(client, PROTOCOL_DEV, 0, target);
        client_expect(reply, STATUS_UNSUPPORTED_FILE_SYSTEM, 0, 0);
        ck_assert_msg(strstr(reply.text, text), "%s", reply.text);
        client_hold_root(client, USER_ALICE, sandbox_path("root")); /* all else works as usual */
        service_stop(service);
}

SANDBOX_TEST(administrator_can_do_without) {
        struct service service = service_start_with("a", "--no-dev");

        expect_not_offered(&service, "--no-dev");
}

/* As container runtimes make it: a tmpfs with a mount for each node; never writable here. */
static void make_dev_of_a_container(const char *missing) {
        char from[32], to[256];

        sandbox_make_directory(0, 0755, "container");
        ck_assert_int_eq(mount("none", sandbox_path("container"), "tmpfs", MS_NOSUID, "mode=0755"),
                         0);
        for (unsigned i = 0; i < N_NODES; i++) {
                if (missing && strcmp(missing, nodes[i]) == 0)
                        continue;
                snprintf(from, sizeof(from), "/dev/%s", nodes[i]);
                snprintf(to, sizeof(to), "%s/%s", sandbox_path("container"), nodes[i]);
                close(open(to, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
                ck_assert_int_eq(mount(from, to, NULL, MS_BIND, NULL), 0);
                ck_assert_int_eq(mount(NULL, to, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL), 0);
        }
        ck_assert_int_eq(mount(sandbox_path("container"), "/dev", NULL, MS_BIND | MS_REC, NULL), 0);
}

SANDBOX_TEST(dev_of_a_container_will_do) {
        struct service service;
        int client;
        const char *dev;

        make_dev_of_a_container(NULL);
        service = service_start_with("a", NULL);
        client = client_connect(&service, USER_ALICE);
        dev = make_dev(USER_ALICE, "root");
        hold(client, dev);
        ck_assert_uint_eq(count_mounts(dev), WHOLE);
        sandbox_run_as(USER_ALICE, use_as_user, (void *)dev);
        service_stop(&service);
        close(client);
}

SANDBOX_TEST(node_that_the_host_lacks_is_named) {
        struct service service;

        make_dev_of_a_container("full");
        service = service_start_with("a", NULL);
        sandbox_wait_for(service_has_logged(&service, "not offering dev: cannot use /dev/full"));
        expect_not_offered(&service, "/dev/full");
}

/* ---- refusals ---- */

SANDBOX_TEST(target_is_judged_as_any_other) {
        struct service service = service_start_with("a", NULL);
        FD_AUTO int client = client_connect(&service, USER_ALICE);
        const char *dev = make_dev(USER_ALICE, "root"), *bobs = make_dev(USER_BOB, "bob");
        FD_AUTO int target = sandbox_open(USER_ALICE, dev), file = -EBADF;
        FD_AUTO int proc = sandbox_open(USER_ALICE, sandbox_path("root/proc"));
        FD_AUTO int other = sandbox_open(0, bobs);

        sandbox_make_directory(USER_ALICE, 0755, "files");
        file = open(sandbox_path("files/dev"), O_CREAT | O_RDONLY | O_CLOEXEC, 0644);
        client_expect(client_mount(client, PROTOCOL_DEV, 0, proc), STATUS_WRONG_NAME, 0, 0);
        client_expect(client_mount(client, PROTOCOL_PROC, 0, target), STATUS_WRONG_NAME, 0, 0);
        client_expect(client_mount(client, PROTOCOL_DEV, 0, file), STATUS_NOT_A_DIRECTORY, 0, 0);
        client_expect(client_mount(client, PROTOCOL_DEV, 0, other), STATUS_NOT_AUTHORISED, 0, 0);
        client_expect(client_mount(client, PROTOCOL_DEV, PROTOCOL_PIDS_ONLY, target),
                      STATUS_MALFORMED, 0, 0);
        hold(client, dev);
        client_expect(client_mount(client, PROTOCOL_DEV, 0, target), STATUS_ALREADY_MOUNTED, 0, 0);
        ck_assert_uint_eq(count_mounts(dev), WHOLE);
        service_stop(&service);
}

int main(void) {
        TCase *tests = tcase_create("dev");

        tcase_add_test(tests, is_whole_and_ends_with_one_unmount);
        tcase_add_test(tests, ends_with_its_connection_and_with_the_daemon);
        tcase_add_test(tests, what_a_killed_daemon_left_is_adopted_or_swept);
        tcase_add_test(tests, devices_are_used_and_never_changed);
        tcase_add_test(tests, links_lead_to_descriptors_and_the_own_ptmx);
        tcase_add_test(tests, ptys_and_shared_memory_are_seen_by_no_other);
        tcase_add_test(tests, ptys_and_files_in_shared_memory_are_limited);
        tcase_add_test(tests, limit_of_mounts_counts_all_of_them);
        tcase_add_test(tests, shm_can_be_left_out);
        tcase_add_test(tests, administrator_can_do_without);
        tcase_add_test(tests, dev_of_a_container_will_do);
        tcase_add_test(tests, node_that_the_host_lacks_is_named);
        tcase_add_test(tests, target_is_judged_as_any_other);
        return sandbox_run(tests);
}
