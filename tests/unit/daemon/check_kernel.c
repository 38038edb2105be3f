/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The wrappers over the real kernel, in a private mount namespace: what each does, and the errors
 * that its callers distinguish. Those about namespaces: check_kernel_namespaces; those that find a
 * mount: check_kernel_table.
 */

#include "tests/unit/daemon/kernel_fixture.h"

/* ---- facts of descriptors ---- */

SANDBOX_TEST(statx_returns_facts_of_a_descriptor) {
        FD_AUTO int fd = directory("a");
        struct statx stat;

        ck_assert_int_eq(chown(sandbox_path("a"), 4711, 0), 0);
        ck_assert_int_eq(kernel_statx(fd, STATX_TYPE | STATX_UID, &stat), 0);
        ck_assert(S_ISDIR(stat.stx_mode));
        ck_assert_uint_eq(stat.stx_uid, 4711);
        ck_assert_int_eq(kernel_statx(-1, STATX_TYPE, &stat), -EBADF);
}

SANDBOX_TEST(statx_above_returns_the_mount_below) {
        FD_AUTO int base = open_path(sandbox_path(".")), mount = mounted("a"), free = detached(0);
        uint64_t id = 0;

        ck_assert_int_eq(kernel_statx_above(mount, &id), 0);
        ck_assert_uint_eq(id, old_id(base));
        ck_assert_int_eq(kernel_statx_above(free, &id), 0);
        ck_assert_uint_eq(id, old_id(free));
        ck_assert_int_eq(kernel_statx_above(-1, &id), -EBADF);
        ck_assert_uint_eq(id, old_id(free));
}

SANDBOX_TEST(name_to_handle_returns_the_unique_id) {
        FD_AUTO int mount = mounted("a");
        uint64_t id = 4711;

        if (!is_linux(6, 12)) {
                ck_assert_int_eq(kernel_name_to_handle(mount, &id), -EINVAL);
                ck_assert_uint_eq(id, 4711);
                return;
        }
        ck_assert_int_eq(kernel_name_to_handle(mount, &id), 0);
        ck_assert_uint_eq(id, unique_id(mount));
}

SANDBOX_TEST(name_to_handle_fails_on_some_file_systems) {
        FD_AUTO int proc = open_path("/proc");
        uint64_t id = 4711;

        ck_assert_int_eq(kernel_name_to_handle(proc, &id), is_linux(6, 12) ? -EOPNOTSUPP : -EINVAL);
        ck_assert_int_eq(kernel_name_to_handle(-1, &id), is_linux(6, 12) ? -EBADF : -EINVAL);
        ck_assert_uint_eq(id, 4711);
}

SANDBOX_TEST(fstatfs_returns_the_magic) {
        FD_AUTO int tmpfs = mounted("a"), proc = open_path("/proc");
        uint64_t magic = 0;

        ck_assert_int_eq(kernel_fstatfs(tmpfs, &magic), 0);
        ck_assert_uint_eq(magic, TMPFS_MAGIC);
        ck_assert_int_eq(kernel_fstatfs(proc, &magic), 0);
        ck_assert_uint_eq(magic, PROC_SUPER_MAGIC);
        ck_assert_int_eq(kernel_fstatfs(-1, &magic), -EBADF);
        ck_assert_uint_eq(magic, PROC_SUPER_MAGIC);
}

SANDBOX_TEST(readlink_returns_a_path_that_fits_with_its_nul) {
        FD_AUTO int proc = open("/proc/self/fd", O_PATH | O_CLOEXEC), fd = directory("a");
        const char *expected = sandbox_path("a");
        size_t size = strlen(expected) + 1;
        char path[PATH_MAX];

        memset(path, 'x', sizeof(path));
        ck_assert_int_eq(kernel_readlink(proc, fd, path, size), 0);
        ck_assert_str_eq(path, expected);
        ck_assert_int_eq(path[size], 'x');
        ck_assert_int_eq(kernel_readlink(proc, fd, path, size - 1), -ENAMETOOLONG);
        ck_assert_int_eq(kernel_readlink(proc, NOWHERE, path, size), -ENOENT);
        ck_assert_int_eq(rmdir(expected), 0);
        ck_assert_int_eq(kernel_readlink(proc, fd, path, sizeof(path)), 0);
        ck_assert_str_eq(path, strcat(strcpy((char[PATH_MAX]){0}, expected), " (deleted)"));
}

/* ---- a superblock ---- */

SANDBOX_TEST(fsopen_opens_only_existing_file_systems) {
        FD_AUTO int context = kernel_fsopen("tmpfs");

        ck_assert_int_ge(context, 0);
        ck_assert(is_closed_on_exec(context));
        ck_assert_int_eq(kernel_fsopen("nonsense"), -ENODEV);
}

SANDBOX_TEST(message_is_the_kernels_last_error) {
        FD_AUTO int context = kernel_fsopen("tmpfs");
        char text[64], tight[7];

        kernel_fscontext_message(context, text, sizeof(text));
        ck_assert_str_eq(text, "");
        ck_assert_int_eq(kernel_fsconfig(context, FSCONFIG_SET_FLAG, "first", NULL), -EINVAL);
        ck_assert_int_eq(kernel_fsconfig(context, FSCONFIG_SET_STRING, "second", "x"), -EINVAL);
        kernel_fscontext_message(context, text, sizeof(text));
        ck_assert_str_eq(text, "tmpfs: Unknown parameter 'second'");
        kernel_fscontext_message(context, text, sizeof(text));
        ck_assert_str_eq(text, "");

        ck_assert_int_eq(kernel_fsconfig(context, FSCONFIG_SET_FLAG, "third", NULL), -EINVAL);
        kernel_fscontext_message(context, tight, sizeof(tight));
        ck_assert_str_eq(tight, "tmpfs:");
        kernel_fscontext_message(-1, text, sizeof(text));
        ck_assert_str_eq(text, "");
}

SANDBOX_TEST(configures_by_strings_and_flags) {
        FD_AUTO int context = kernel_fsopen("tmpfs"), mount = -EBADF, target = directory("a");
        struct sandbox_mount found;

        ck_assert_int_eq(kernel_fsconfig(context, FSCONFIG_SET_STRING, "source", "check"), 0);
        ck_assert_int_eq(kernel_fsconfig(context, FSCONFIG_SET_STRING, "mode", "0711"), 0);
        ck_assert_int_eq(kernel_fsconfig(context, FSCONFIG_SET_FLAG, "ro", NULL), 0);
        ck_assert_int_lt(kernel_fsmount(context, 0), 0); /* there is no superblock yet */
        ck_assert_int_eq(kernel_fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL), 0);
        mount = kernel_fsmount(context, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
        ck_assert_int_ge(mount, 0);
        ck_assert(is_closed_on_exec(mount));

        ck_assert_int_eq(kernel_move_mount(mount, target), 0);
        ck_assert(sandbox_find_mount(0, sandbox_path("a"), &found));
        ck_assert_str_eq(found.type, "tmpfs");
        ck_assert_str_eq(found.source, "check");
        ck_assert(sandbox_has_option(found.options, "nosuid"));
        ck_assert(sandbox_has_option(found.options, "noexec"));
        ck_assert(!sandbox_has_option(found.options, "nodev"));
        ck_assert(sandbox_has_option(found.super, "ro"));
        ck_assert(sandbox_has_option(found.super, "mode=711"));
}

SANDBOX_TEST(closing_a_detached_mount_destroys_it) {
        FD_AUTO int target = directory("a"), other = -EBADF;
        int mount = detached(0);

        other = openat(mount, ".", O_PATH | O_CLOEXEC);
        ck_assert_int_ge(other, 0);
        fd_close(mount);
        ck_assert_int_eq(kernel_move_mount(other, target), -EINVAL);
}

SANDBOX_TEST(fsconfig_passes_descriptors) {
        FD_AUTO int context = kernel_fsopen("proc"), own = namespace_of(getpid(), "pid");

        ck_assert_int_eq(kernel_fsconfig_fd(context, "nonsense", own), -EINVAL);
        ck_assert_int_eq(kernel_fsconfig_fd(context, "pidns", own), is_linux(6, 17) ? 0 : -EINVAL);
        ck_assert_int_eq(kernel_fsconfig_fd(context, "pidns", -1), -EINVAL);
}

/* ---- clones ---- */

SANDBOX_TEST(clones_from_where_the_descriptor_is) {
        FD_AUTO int mount = mounted("a"), below = directory("a/b"), clone = -EBADF, inner = -EBADF;

        inner = directory("a/b/c");
        clone = kernel_open_tree_clone(below);
        ck_assert_int_ge(clone, 0);
        ck_assert(is_closed_on_exec(clone));
        ck_assert_uint_ne(old_id(clone), old_id(mount));
        ck_assert_int_eq(faccessat(clone, "c", F_OK, 0), 0);
        ck_assert_int_eq(kernel_open_tree_clone(-1), -EBADF);
        ck_assert_int_eq(kernel_open_tree_clone_all(-1), -EBADF);
}

SANDBOX_TEST(clones_submounts_only_on_request) {
        FD_AUTO int mount = mounted("a"), below = mounted("a/b"), inner = directory("a/b/c");
        FD_AUTO int one = kernel_open_tree_clone(mount), all = kernel_open_tree_clone_all(mount);

        ck_assert_int_ge(below, 0);
        ck_assert_int_ge(inner, 0);
        ck_assert_int_eq(faccessat(one, "b", F_OK, 0), 0);
        ck_assert_int_ne(faccessat(one, "b/c", F_OK, 0), 0);
        ck_assert_int_eq(faccessat(all, "b/c", F_OK, 0), 0);
        ck_assert(is_closed_on_exec(all));
}

SANDBOX_TEST(detached_mount_is_cloned_since_6_15) {
        FD_AUTO int mount = detached(0), clone = kernel_open_tree_clone(mount);

        if (is_linux(6, 15))
                ck_assert_int_ge(clone, 0);
        else
                ck_assert_int_eq(clone, -EINVAL);
}

/* ---- attributes ---- */

SANDBOX_TEST(sets_and_clears_attributes) {
        FD_AUTO int mount = mounted("a");
        struct sandbox_mount found;

        ck_assert_int_eq(kernel_mount_setattr(mount, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV, 0), 0);
        ck_assert(sandbox_find_mount(0, sandbox_path("a"), &found));
        ck_assert(sandbox_has_option(found.options, "ro"));
        ck_assert(sandbox_has_option(found.options, "nodev"));
        ck_assert_int_eq(kernel_mount_setattr(mount, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_RDONLY), 0);
        ck_assert(sandbox_find_mount(0, sandbox_path("a"), &found));
        ck_assert(sandbox_has_option(found.options, "rw"));
        ck_assert(sandbox_has_option(found.options, "noexec"));
        ck_assert(sandbox_has_option(found.options, "nodev"));
}

SANDBOX_TEST(setting_attributes_makes_a_mount_private) {
        FD_AUTO int shared = mounted("a"), target = directory("clone"), below = directory("a/b"),
                    clone = -EBADF, more = detached(0);

        ck_assert_int_eq(mount(NULL, sandbox_path("a"), NULL, MS_SHARED, NULL), 0);
        clone = kernel_open_tree_clone(shared); /* a peer */
        ck_assert_int_eq(kernel_move_mount(clone, target), 0);
        ck_assert_int_eq(kernel_mount_setattr(clone, 0, 0), 0);
        ck_assert_int_eq(kernel_move_mount(more, below), 0);
        ck_assert_uint_eq(sandbox_count_mounts(0, "check"), 3); /* a peer would make it four */
}

SANDBOX_TEST(attributes_need_the_root_of_a_mount) {
        FD_AUTO int mount = mounted("a"), below = directory("a/b");

        ck_assert_int_ge(mount, 0);
        ck_assert_int_eq(kernel_mount_setattr(below, MOUNT_ATTR_RDONLY, 0), -EINVAL);
        ck_assert_int_eq(kernel_mount_setattr(-1, MOUNT_ATTR_RDONLY, 0), -EBADF);
}

SANDBOX_TEST(superblock_is_read_only_on_each_of_its_mounts) {
        FD_AUTO int mount = mounted("a"), clone = kernel_open_tree_clone(mount), below = -EBADF;

        below = directory("a/b");
        ck_assert_int_eq(kernel_make_directory(clone, "c"), 0);
        ck_assert_int_eq(kernel_make_read_only(below), -EINVAL);
        ck_assert_int_eq(kernel_make_read_only(-1), -EBADF);
        ck_assert_int_eq(kernel_make_read_only(mount), 0);
        ck_assert_int_eq(kernel_make_directory(mount, "d"), -EROFS);
        ck_assert_int_eq(kernel_make_directory(clone, "d"), -EROFS);
}

SANDBOX_TEST(superblock_with_a_writer_stays_writable) {
        FD_AUTO int mount = mounted("a"),
                    writer = openat(mount, "f", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
        unsigned descriptors = descriptors_count();

        ck_assert_int_ge(writer, 0);
        ck_assert_int_eq(kernel_make_read_only(mount), -EBUSY);
        ck_assert_uint_eq(descriptors_count(), descriptors);
}

/* ---- files of our own ---- */

SANDBOX_TEST(refuses_to_create_a_file_twice) {
        FD_AUTO int mount = detached(0), target = directory("a");
        unsigned descriptors = descriptors_count();
        char link[16] = "";

        ck_assert_int_eq(kernel_make_file(mount, "f"), 0);
        ck_assert_int_eq(kernel_make_directory(mount, "d"), 0);
        ck_assert_int_eq(kernel_make_link(mount, "l", "to"), 0);
        ck_assert_uint_eq(descriptors_count(), descriptors);
        for (const char *name = "fdl"; *name; name++) {
                const char one[] = {*name, '\0'};

                ck_assert_int_eq(kernel_make_file(mount, one), -EEXIST);
                ck_assert_int_eq(kernel_make_directory(mount, one), -EEXIST);
                ck_assert_int_eq(kernel_make_link(mount, one, "to"), -EEXIST);
        }

        ck_assert_int_eq(kernel_move_mount(mount, target), 0);
        ck_assert_int_eq(readlink(sandbox_path("a/l"), link, sizeof(link) - 1), 2);
        ck_assert_str_eq(link, "to");
        ck_assert_int_eq(rmdir(sandbox_path("a/d")), 0);
        ck_assert_int_eq(access(sandbox_path("a/f"), R_OK), 0);
}

SANDBOX_TEST(opens_a_node_and_no_link_to_one) {
        FD_AUTO int null = kernel_open_node("/dev/null"), link = -EBADF;
        struct statx stat;

        ck_assert_int_ge(null, 0);
        ck_assert(is_closed_on_exec(null));
        ck_assert(fcntl(null, F_GETFL) & O_PATH);
        ck_assert_int_eq(kernel_statx(null, STATX_TYPE, &stat), 0);
        ck_assert(S_ISCHR(stat.stx_mode));

        ck_assert_int_eq(symlink("/dev/null", sandbox_path("link")), 0);
        link = kernel_open_node(sandbox_path("link"));
        ck_assert_int_eq(kernel_statx(link, STATX_TYPE, &stat), 0);
        ck_assert(S_ISLNK(stat.stx_mode));
        ck_assert_int_eq(kernel_open_node(sandbox_path("nothing")), -ENOENT);
}

SANDBOX_TEST(attaches_below_a_directory_by_name) {
        FD_AUTO int base = mounted("a"), on_directory = detached(0), on_file = detached(0);
        FD_AUTO int null = kernel_open_node("/dev/null"), node = kernel_open_tree_clone(null);
        struct sandbox_mount found;

        ck_assert_int_eq(kernel_make_directory(base, "d"), 0);
        ck_assert_int_eq(kernel_make_file(base, "f"), 0);
        ck_assert_int_eq(kernel_move_mount_below(on_directory, base, "nothing"), -ENOENT);
        ck_assert_int_eq(kernel_move_mount_below(on_file, base, "f"), -EINVAL);
        ck_assert_int_eq(kernel_move_mount_below(on_directory, base, "d"), 0);
        ck_assert_int_eq(kernel_move_mount_below(node, base, "f"), 0);
        ck_assert(sandbox_find_mount(0, sandbox_path("a/d"), &found));
        ck_assert(sandbox_find_mount(0, sandbox_path("a/f"), &found));
}

SANDBOX_TEST(attaches_below_a_detached_one_since_6_15) {
        FD_AUTO int base = detached(0), mount = detached(0);

        ck_assert_int_eq(kernel_make_directory(base, "d"), 0);
        ck_assert_int_eq(kernel_move_mount_below(mount, base, "d"), is_linux(6, 15) ? 0 : -EINVAL);
}

/* ---- clients' directories ---- */

SANDBOX_TEST(attaches_to_the_directory_itself) {
        FD_AUTO int target = directory("a"), mount = detached(0);
        struct sandbox_mount found;

        ck_assert_int_eq(rename(sandbox_path("a"), sandbox_path("moved")), 0);
        sandbox_make_directory(0, 0755, "a");
        ck_assert_int_eq(kernel_move_mount(mount, target), 0);
        ck_assert(sandbox_find_mount(0, sandbox_path("moved"), &found));
        ck_assert(!sandbox_find_mount(0, sandbox_path("a"), &found));
}

SANDBOX_TEST(refuses_to_attach_to_files_and_removed_directories) {
        FD_AUTO int removed = directory("a"), other = file("f"), mount = detached(0);

        ck_assert_int_eq(rmdir(sandbox_path("a")), 0);
        ck_assert_int_eq(kernel_move_mount(mount, removed), -ENOENT);
        ck_assert_int_eq(kernel_move_mount(mount, other), -EINVAL);
        ck_assert_uint_eq(sandbox_count_mounts(0, "check"), 0);
}

SANDBOX_TEST(attaches_to_a_detached_tree_since_6_15) {
        FD_AUTO int tree = detached(0), mount = detached(0);

        ck_assert_int_eq(kernel_move_mount(mount, tree), is_linux(6, 15) ? 0 : -EINVAL);
}

static void attach_from_elsewhere(void *target) {
        FD_AUTO int mount = detached(0);

        ck_assert_int_eq(unshare(CLONE_NEWNS), 0);
        ck_assert_int_eq(kernel_move_mount(mount, *(int *)target), -EINVAL);
}

SANDBOX_TEST(refuses_to_attach_in_another_mount_namespace) {
        FD_AUTO int target = directory("a");

        in_child(attach_from_elsewhere, &target);
        ck_assert_uint_eq(sandbox_count_mounts(0, "check"), 0);
}

/* In a child, since the working directory changes. */
static void detach_here(void *argument) {
        FD_AUTO int base = open_path(sandbox_path("a")), lower = -EBADF, upper = detached(0);

        (void)argument;
        lower = detached(0);
        ck_assert_int_eq(kernel_move_mount(lower, base), 0);
        ck_assert_int_eq(kernel_move_mount(upper, lower), 0);
        ck_assert_int_eq(kernel_fchdir(upper), 0);
        ck_assert_int_eq(kernel_umount_here(), 0);
        ck_assert_uint_eq(sandbox_count_mounts(0, "check"), 1);
        ck_assert_int_eq(kernel_umount_here(), -EINVAL);
        ck_assert_int_eq(kernel_fchdir(lower), 0);
        ck_assert_int_eq(kernel_umount_here(), 0);
        ck_assert_uint_eq(sandbox_count_mounts(0, "check"), 0);
}

SANDBOX_TEST(detaches_the_mount_of_the_working_directory) {
        sandbox_make_directory(0, 0755, "a");
        in_child(detach_here, NULL);
}

static void detach_from_below(void *argument) {
        FD_AUTO int below = open_path(sandbox_path("a/b"));

        (void)argument;
        ck_assert_int_eq(kernel_fchdir(below), 0);
        ck_assert_int_eq(kernel_umount_here(), -EINVAL);
}

SANDBOX_TEST(refuses_to_detach_from_below_the_root_of_a_mount) {
        FD_AUTO int mount = mounted("a"), below = directory("a/b");

        ck_assert_int_ge(mount, 0);
        ck_assert_int_ge(below, 0);
        in_child(detach_from_below, NULL);
        ck_assert_uint_eq(sandbox_count_mounts(0, "check"), 1);
}

static void *leave_the_others(void *fd) {
        ck_assert_int_eq(kernel_unshare_fs(), 0);
        ck_assert_int_eq(kernel_fchdir(*(int *)fd), 0);
        return NULL;
}

SANDBOX_TEST(thread_has_a_working_directory_of_its_own) {
        FD_AUTO int fd = directory("a"), other = file("f");
        char before[PATH_MAX], after[PATH_MAX];
        pthread_t thread;

        ck_assert_ptr_nonnull(getcwd(before, sizeof(before)));
        ck_assert_int_eq(pthread_create(&thread, NULL, leave_the_others, &fd), 0);
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
        ck_assert_ptr_nonnull(getcwd(after, sizeof(after)));
        ck_assert_str_eq(before, after);

        ck_assert_int_eq(kernel_fchdir(fd), 0);
        ck_assert_ptr_nonnull(getcwd(after, sizeof(after)));
        ck_assert_str_eq(after, sandbox_path("a"));
        ck_assert_int_eq(kernel_fchdir(other), -ENOTDIR);
        ck_assert_int_eq(kernel_fchdir(-1), -EBADF);
        ck_assert_int_eq(chdir("/"), 0);
}

/* ---- paths ---- */

SANDBOX_TEST(opens_directories_but_follows_no_link) {
        FD_AUTO int a = directory("a"), b = directory("a/b"), f = file("f"), fd = -EBADF;
        static const struct {
                const char *path;
                int error;
        } rows[] = {{"link", -ELOOP}, {"link/b", -ELOOP}, {"f", -ENOTDIR}, {"nothing", -ENOENT}};

        ck_assert(a >= 0 && b >= 0 && f >= 0);
        ck_assert_int_eq(symlink("a", sandbox_path("link")), 0);
        fd = kernel_open_place(sandbox_path("a/b"), 0);
        ck_assert_int_ge(fd, 0);
        ck_assert(is_closed_on_exec(fd));
        ck_assert(fcntl(fd, F_GETFL) & O_PATH);
        for (size_t i = 0; i < N_ELEMENTS(rows); i++)
                ck_assert_msg(kernel_open_place(sandbox_path("%s", rows[i].path), 0) ==
                                      rows[i].error,
                              "%s", rows[i].path);
}

/* Nothing of a new procfs is cached yet. */
SANDBOX_TEST(opens_only_cached_paths_on_request) {
        FD_AUTO int a = directory("a"), root = open_path("/"), fd = -EBADF, asked = -EBADF;

        ck_assert_int_eq(mount("proc", sandbox_path("a"), "proc", 0, NULL), 0);
        ck_assert_int_ge(a, 0);
        /* What is above may be on a file system that is always asked, such as overlayfs. */
        ck_assert_int_eq(chroot(sandbox_path(".")), 0);
        fd = kernel_open_place("/a", RESOLVE_CACHED);
        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(kernel_open_place("/a/sys/fs", RESOLVE_CACHED), -EAGAIN);
        asked = kernel_open_place("/a/sys/fs", 0);
        ck_assert_int_ge(asked, 0);
        ck_assert_int_eq(fchdir(root), 0); /* LeakSanitizer needs /proc at the end */
        ck_assert_int_eq(chroot("."), 0);
}

SANDBOX_TEST(opens_only_below_the_directory) {
        FD_AUTO int mount = mounted("a"), below = mounted("a/b"), f = file("a/f"), fd = -EBADF;
        static const struct {
                const char *name;
                int error;
        } rows[] = {{"link", -ELOOP}, {"f", -ENOTDIR}, {"nothing", -ENOENT},
                    {"..", -EXDEV},   {"/", -EXDEV},   {"b/../..", -EXDEV}};

        ck_assert_int_ge(f, 0);
        ck_assert_int_eq(symlink("b", sandbox_path("a/link")), 0);
        fd = kernel_open_below(mount, "b");
        ck_assert_int_ge(fd, 0);
        ck_assert(is_closed_on_exec(fd));
        ck_assert(fcntl(fd, F_GETFL) & O_PATH);
        ck_assert_uint_eq(old_id(fd), old_id(below));
        for (size_t i = 0; i < N_ELEMENTS(rows); i++)
                ck_assert_msg(kernel_open_below(mount, rows[i].name) == rows[i].error, "%s",
                              rows[i].name);
}

/* ---- kernels that lack a call ---- */

static int make_call(int call) {
        char text[64];

        switch (call) {
        case SYS_name_to_handle_at:
                return kernel_name_to_handle(-1, &(uint64_t){0});
        case SYS_fstatfs:
                return kernel_fstatfs(-1, &(uint64_t){0});
        case SYS_readlinkat:
                return kernel_readlink(-1, 0, text, sizeof(text));
        case SYS_fsopen:
                return kernel_fsopen("tmpfs");
        case SYS_fsconfig:
                return kernel_fsconfig(-1, FSCONFIG_CMD_CREATE, NULL, NULL);
        case SYS_fsmount:
                return kernel_fsmount(-1, 0);
        case SYS_open_tree:
                return kernel_open_tree_clone(-1);
        case SYS_mount_setattr:
                return kernel_mount_setattr(-1, 0, 0);
        case SYS_mkdirat:
                return kernel_make_directory(-1, "d");
        case SYS_symlinkat:
                return kernel_make_link(-1, "l", "to");
        case SYS_fspick:
                return kernel_make_read_only(-1);
        case SYS_move_mount:
                return kernel_move_mount(-1, -1);
        case SYS_umount2:
                return kernel_umount_here();
        case SYS_unshare:
                return kernel_unshare_fs();
        case SYS_fchdir:
                return kernel_fchdir(-1);
        case SYS_ioctl:
                return kernel_namespace_owner(-1);
        case SYS_fchownat:
                return kernel_fchownat(-1, 0, 0);
        case SYS_setns:
                return kernel_setns(-1, 0);
        case SYS_chroot:
                return kernel_chroot_here();
        case SYS_openat2:
                return kernel_open_place("/", 0);
        case KERNEL_SYS_STATMOUNT:
                return kernel_statmount(1, &(struct kernel_mount){0});
        }
        ck_abort_msg("no such row: %d", call);
}

struct lacking {
        int call, error;
};

static void lack(void *argument) {
        const struct lacking *lacking = argument;
        char path[64] = "unchanged";
        int r;

        ck_assert_int_eq(denial_of(lacking->call, lacking->error), 0);
        r = make_call(lacking->call);
        ck_assert_msg(r == -lacking->error, "call %d: %d", lacking->call, r);
        if (lacking->call == KERNEL_SYS_STATMOUNT) {
                r = kernel_statmount_place(1, 0, path, sizeof(path));
                ck_assert_int_eq(r, -lacking->error);
                ck_assert_str_eq(path, "unchanged");
        }
}

/*
 * A kernel without the call returns ENOSYS, a filter that doesn't know it EPERM: callers decide
 * what that means. Not statx(2), which the C library emulates.
 */
SANDBOX_TEST(returns_the_errno_of_a_missing_call) {
        static const int calls[] = {SYS_name_to_handle_at,
                                    SYS_fstatfs,
                                    SYS_readlinkat,
                                    SYS_fsopen,
                                    SYS_fsconfig,
                                    SYS_fsmount,
                                    SYS_open_tree,
                                    SYS_mkdirat,
                                    SYS_mount_setattr,
                                    SYS_symlinkat,
                                    SYS_fspick,
                                    SYS_umount2,
                                    SYS_move_mount,
                                    SYS_unshare,
                                    SYS_fchdir,
                                    SYS_fchownat,
                                    SYS_ioctl,
                                    SYS_setns,
                                    SYS_chroot,
                                    SYS_openat2,
                                    KERNEL_SYS_STATMOUNT};
        static const int errors[] = {ENOSYS, EPERM};

        for (size_t i = 0; i < N_ELEMENTS(calls); i++)
                for (size_t k = 0; k < N_ELEMENTS(errors); k++)
                        in_child(lack, &(struct lacking){calls[i], errors[k]});
}

int main(void) {
        TCase *tests = tcase_create("kernel");

        tcase_add_test(tests, statx_returns_facts_of_a_descriptor);
        tcase_add_test(tests, statx_above_returns_the_mount_below);
        tcase_add_test(tests, name_to_handle_returns_the_unique_id);
        tcase_add_test(tests, name_to_handle_fails_on_some_file_systems);
        tcase_add_test(tests, fstatfs_returns_the_magic);
        tcase_add_test(tests, readlink_returns_a_path_that_fits_with_its_nul);
        tcase_add_test(tests, fsopen_opens_only_existing_file_systems);
        tcase_add_test(tests, message_is_the_kernels_last_error);
        tcase_add_test(tests, configures_by_strings_and_flags);
        tcase_add_test(tests, closing_a_detached_mount_destroys_it);
        tcase_add_test(tests, fsconfig_passes_descriptors);
        tcase_add_test(tests, clones_from_where_the_descriptor_is);
        tcase_add_test(tests, clones_submounts_only_on_request);
        tcase_add_test(tests, detached_mount_is_cloned_since_6_15);
        tcase_add_test(tests, sets_and_clears_attributes);
        tcase_add_test(tests, setting_attributes_makes_a_mount_private);
        tcase_add_test(tests, attributes_need_the_root_of_a_mount);
        tcase_add_test(tests, superblock_is_read_only_on_each_of_its_mounts);
        tcase_add_test(tests, superblock_with_a_writer_stays_writable);
        tcase_add_test(tests, refuses_to_create_a_file_twice);
        tcase_add_test(tests, opens_a_node_and_no_link_to_one);
        tcase_add_test(tests, attaches_below_a_directory_by_name);
        tcase_add_test(tests, attaches_below_a_detached_one_since_6_15);
        tcase_add_test(tests, attaches_to_the_directory_itself);
        tcase_add_test(tests, refuses_to_attach_to_files_and_removed_directories);
        tcase_add_test(tests, attaches_to_a_detached_tree_since_6_15);
        tcase_add_test(tests, refuses_to_attach_in_another_mount_namespace);
        tcase_add_test(tests, detaches_the_mount_of_the_working_directory);
        tcase_add_test(tests, refuses_to_detach_from_below_the_root_of_a_mount);
        tcase_add_test(tests, thread_has_a_working_directory_of_its_own);
        tcase_add_test(tests, opens_directories_but_follows_no_link);
        tcase_add_test(tests, opens_only_cached_paths_on_request);
        tcase_add_test(tests, opens_only_below_the_directory);
        tcase_add_test(tests, returns_the_errno_of_a_missing_call);
        return sandbox_run(tests);
}
