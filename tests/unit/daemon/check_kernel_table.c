/* SPDX-License-Identifier: Apache-2.0 */

/* The wrappers that find a mount by its id: statmount(2) and mountinfo. */

#include "tests/unit/daemon/kernel_fixture.h"

/* ---- what is mounted ---- */

SANDBOX_TEST(statmount_returns_the_parent_and_the_magic) {
        FD_AUTO int base = open_path(sandbox_path(".")), mount = mounted("a"), free = detached(0);
        struct kernel_mount facts = {.parent = 4711};

        if (!is_linux(6, 8)) {
                ck_assert_int_eq(kernel_statmount(old_id(mount), &facts), -ENOSYS);
                ck_assert_uint_eq(facts.parent, 4711);
                return;
        }
        ck_assert_int_eq(kernel_statmount(NOWHERE_UNIQUE, &facts), -ENOENT);
        ck_assert_int_eq(kernel_statmount(unique_id(free), &facts), -ENOENT);
        ck_assert_uint_eq(facts.parent, 4711);
        ck_assert_int_eq(kernel_statmount(unique_id(mount), &facts), 0);
        ck_assert_uint_eq(facts.parent, unique_id(base));
        ck_assert_uint_eq(facts.parent_old, old_id(base));
        ck_assert_uint_eq(facts.magic, TMPFS_MAGIC);
}

static void ask_from_elsewhere(void *argument) {
        const struct visit *mount = argument;
        struct kernel_mount facts;
        char path[PATH_MAX];

        ck_assert_int_eq(unshare(CLONE_NEWNS), 0);
        ck_assert_int_eq(kernel_statmount(mount->id, &facts), -ENOENT);
        ck_assert_int_eq(kernel_statmount_place(mount->id, 0, path, sizeof(path)), -ENOENT);
}

SANDBOX_TEST(statmount_finds_only_mounts_of_its_own_namespace) {
        FD_AUTO int mount = mounted("a");
        struct visit visit = {.id = unique_id(mount)};

        if (!is_linux(6, 8))
                test_skip("impossible here: it takes Linux 6.8");
        in_child(ask_from_elsewhere, &visit);
}

SANDBOX_TEST(statmount_returns_a_path_that_fits) {
        FD_AUTO int mount = mounted("a b\n");
        const char *expected = sandbox_path("a b\n");
        size_t size = strlen(expected) + 1;
        char path[PATH_MAX] = "unchanged";

        if (!is_linux(6, 8)) {
                ck_assert_int_eq(kernel_statmount_place(1, 0, path, size), -ENOSYS);
                return;
        }
        ck_assert_int_eq(kernel_statmount_place(unique_id(mount), 0, path, size - 1), -EOVERFLOW);
        ck_assert_int_eq(kernel_statmount_place(NOWHERE_UNIQUE, 0, path, size), -ENOENT);
        ck_assert_str_eq(path, "unchanged");
        ck_assert_int_eq(kernel_statmount_place(unique_id(mount), 0, path, size), 0);
        ck_assert_str_eq(path, expected);
}

static void mount_in_there(void *argument) {
        const struct visit *visit = argument;
        FD_AUTO int mount = -EBADF;
        uint64_t id;

        ck_assert_int_eq(kernel_unshare_fs(), 0);
        ck_assert_int_eq(kernel_setns(visit->fd, CLONE_NEWNS), 0);
        mount = mounted("inside");
        id = unique_id(mount);
        ck_assert_int_eq(write(visit->result, &id, sizeof(id)), sizeof(id));
}

SANDBOX_TEST(statmount_returns_paths_in_another_namespace_since_6_11) {
        pid_t pid = asleep_in(CLONE_NEWNS);
        FD_AUTO int mounts = namespace_of(pid, "mnt");
        int told[2];
        uint64_t namespace_id = 0, id = 0;
        char path[PATH_MAX] = "";

        ck_assert_int_eq(pipe2(told, O_CLOEXEC), 0);
        in_child(mount_in_there, &(struct visit){.fd = mounts, .result = told[1]});
        ck_assert_int_eq(read(told[0], &id, sizeof(id)), sizeof(id));
        ck_assert_int_eq(kernel_mount_namespace_id(mounts, &namespace_id), 0);
        if (is_linux(6, 11)) {
                ck_assert_int_eq(kernel_statmount_place(id, 0, path, sizeof(path)), -ENOENT);
                ck_assert_int_eq(kernel_statmount_place(id, namespace_id, path, sizeof(path)), 0);
                /* Empty on 6.12 in a machine that booted from an initramfs. */
                if (path[0] || is_linux(6, 18))
                        ck_assert_str_eq(path, sandbox_path("inside"));
        } else
                ck_assert_int_lt(kernel_statmount_place(id, namespace_id, path, sizeof(path)), 0);
        sandbox_kill(pid);
}

/* ---- the table ---- */

SANDBOX_TEST(mountinfo_returns_the_line_of_a_mount) {
        FD_AUTO int base = open_path(sandbox_path(".")), mount = mounted("a \t\n\\#040"),
                    free = detached(0);
        struct kernel_mountinfo info;

        ck_assert_int_eq(kernel_prepare(), 0);
        ck_assert_int_eq(kernel_mountinfo(old_id(mount), &info), 0);
        ck_assert_uint_eq(info.parent, old_id(base));
        ck_assert_str_eq(info.place, sandbox_path("a \t\n\\#040"));
        ck_assert_str_eq(info.file_system, "tmpfs");
        ck_assert_str_eq(info.source, "check");
        ck_assert_int_eq(kernel_mountinfo(NOWHERE, &info), -ENOENT);
        ck_assert_int_eq(kernel_mountinfo(old_id(free), &info), -ENOENT);
}

/* The table has four bytes for each space. */
SANDBOX_TEST(mountinfo_returns_the_longest_path_unabridged) {
        char path[PATH_MAX], name[NAME_MAX + 1];
        FD_AUTO int at = open_path(sandbox_path(".")), mount = -EBADF;
        struct kernel_mountinfo info;
        size_t length;

        ck_assert_int_eq(kernel_prepare(), 0);
        strcpy(path, sandbox_path("%s", ""));
        path[length = strlen(path) - 1] = '\0';
        while (length + 2 < sizeof(path)) {
                size_t more = sizeof(path) - length - 2;
                int next;

                more = more < NAME_MAX ? more : NAME_MAX;
                memset(name, ' ', more);
                name[more] = '\0';
                ck_assert_int_eq(mkdirat(at, name, 0755), 0);
                next = openat(at, name, O_PATH | O_CLOEXEC);
                ck_assert_int_ge(next, 0);
                fd_close(at);
                at = next;
                length += sprintf(path + length, "/%s", name);
        }
        mount = detached(0);
        ck_assert_int_eq(kernel_move_mount(mount, at), 0);
        ck_assert_int_eq(kernel_mountinfo(old_id(mount), &info), 0);
        ck_assert(strcmp(info.place, path) == 0); /* too long for Check to print */
        ck_assert_str_eq(info.source, "check");
}

SANDBOX_TEST(mountinfo_returns_no_path_that_does_not_fit) {
        char name[NAME_MAX + 1];
        FD_AUTO int at = open_path(sandbox_path(".")), mount = detached(0);
        struct kernel_mountinfo info;

        ck_assert_int_eq(kernel_prepare(), 0);
        memset(name, 'a', NAME_MAX);
        name[NAME_MAX] = '\0';
        for (size_t length = 0; length <= PATH_MAX; length += sizeof(name)) {
                int next;

                ck_assert_int_eq(mkdirat(at, name, 0755), 0);
                next = openat(at, name, O_PATH | O_CLOEXEC);
                ck_assert_int_ge(next, 0);
                fd_close(at);
                at = next;
        }
        ck_assert_int_eq(kernel_move_mount(mount, at), 0);
        ck_assert_int_eq(kernel_mountinfo(old_id(mount), &info), 0);
        ck_assert_str_eq(info.place, "");
        ck_assert_str_eq(info.source, "check");
}

SANDBOX_TEST(mountinfo_truncates_a_long_source) {
        struct kernel_mountinfo info;
        char source[100], expected[sizeof(info.source)];
        FD_AUTO int at = -EBADF;

        memset(source, ' ', sizeof(source));
        source[sizeof(source) - 1] = '\0';
        memcpy(expected, source, sizeof(expected));
        expected[sizeof(expected) - 1] = '\0';
        ck_assert_int_eq(kernel_prepare(), 0);
        sandbox_make_directory(0, 0755, "a");
        ck_assert_int_eq(mount(source, sandbox_path("a"), "tmpfs", 0, NULL), 0);
        at = open_path(sandbox_path("a"));
        ck_assert_int_eq(kernel_mountinfo(old_id(at), &info), 0);
        ck_assert_str_eq(info.source, expected);
        ck_assert_str_eq(info.file_system, "tmpfs");
}

SANDBOX_TEST(mountinfo_returns_an_empty_source) {
        FD_AUTO int at = -EBADF;
        struct kernel_mountinfo info;

        ck_assert_int_eq(kernel_prepare(), 0);
        sandbox_make_directory(0, 0755, "a");
        ck_assert_int_eq(mount("", sandbox_path("a"), "tmpfs", 0, "size=4096"), 0);
        at = open_path(sandbox_path("a"));
        ck_assert_int_eq(kernel_mountinfo(old_id(at), &info), 0);
        ck_assert_str_eq(info.place, sandbox_path("a"));
        ck_assert_str_eq(info.file_system, "tmpfs");
        ck_assert_str_eq(info.source, "");
}

static void read_elsewhere(void *argument) {
        const struct visit *visit = argument;
        struct kernel_mountinfo info;
        FD_AUTO int own = -EBADF;

        ck_assert_int_eq(unshare(CLONE_NEWNS), 0);
        ck_assert_int_eq(mount("none", "/proc", "tmpfs", 0, NULL), 0);
        ck_assert_int_eq(kernel_mountinfo(visit->id, &info), -ENOENT);
        own = open_path(sandbox_path("a"));
        ck_assert_int_eq(kernel_mountinfo(old_id(own), &info), 0);
        ck_assert_str_eq(info.place, sandbox_path("a"));
}

/* Read through the /proc opened at the start, whatever is mounted on /proc by now. */
SANDBOX_TEST(mountinfo_is_that_of_the_threads_namespace) {
        FD_AUTO int mount = mounted("a");

        ck_assert_int_eq(kernel_prepare(), 0);
        in_child(read_elsewhere, &(struct visit){.id = old_id(mount)});
}

static void look_without_proc(void *argument) {
        struct kernel_mountinfo info;

        (void)argument;
        ck_assert_int_eq(kernel_mountinfo(1, &info), -EBADF);
        ck_assert_int_eq(chroot(sandbox_path("a")), 0);
        ck_assert_int_eq(kernel_prepare(), -ENOENT);
        ck_assert_int_eq(kernel_mountinfo(1, &info), -EBADF);
}

SANDBOX_TEST(start_without_proc_fails) {
        sandbox_make_directory(0, 0755, "a");
        in_child(look_without_proc, NULL);
}

int main(void) {
        TCase *tests = tcase_create("kernel_table");

        tcase_add_test(tests, statmount_returns_the_parent_and_the_magic);
        tcase_add_test(tests, statmount_finds_only_mounts_of_its_own_namespace);
        tcase_add_test(tests, statmount_returns_a_path_that_fits);
        tcase_add_test(tests, statmount_returns_paths_in_another_namespace_since_6_11);
        tcase_add_test(tests, mountinfo_returns_the_line_of_a_mount);
        tcase_add_test(tests, mountinfo_returns_the_longest_path_unabridged);
        tcase_add_test(tests, mountinfo_returns_no_path_that_does_not_fit);
        tcase_add_test(tests, mountinfo_truncates_a_long_source);
        tcase_add_test(tests, mountinfo_returns_an_empty_source);
        tcase_add_test(tests, mountinfo_is_that_of_the_threads_namespace);
        tcase_add_test(tests, start_without_proc_fails);
        return sandbox_run(tests);
}
