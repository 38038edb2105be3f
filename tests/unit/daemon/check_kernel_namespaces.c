/* SPDX-License-Identifier: Apache-2.0 */

/* The wrappers that ask about namespaces, enter them, and map owners. */

#include "tests/unit/daemon/kernel_fixture.h"

#include <sys/mman.h>

/* ---- namespaces ---- */

SANDBOX_TEST(returns_the_kind_of_a_namespace) {
        static const struct {
                const char *name;
                int kind;
        } rows[] = {{"mnt", CLONE_NEWNS},
                    {"pid", CLONE_NEWPID},
                    {"net", CLONE_NEWNET},
                    {"user", CLONE_NEWUSER}};
        FD_AUTO int other = file("f"), readable = open(sandbox_path("f"), O_RDONLY | O_CLOEXEC),
                    path = open("/proc/self/ns/mnt", O_PATH | O_CLOEXEC);

        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                FD_AUTO int fd = namespace_of(getpid(), rows[i].name);

                ck_assert_int_eq(kernel_namespace_kind(fd), rows[i].kind);
        }
        ck_assert_int_eq(kernel_namespace_kind(path), -EBADF);
        ck_assert_int_eq(kernel_namespace_kind(other), -EINVAL);
        ck_assert_int_eq(kernel_namespace_kind(readable), -EINVAL);
        ck_assert_int_eq(kernel_namespace_kind(-1), -EBADF);
}

SANDBOX_TEST(returns_the_id_of_a_mount_namespace) {
        pid_t pid = asleep_in(CLONE_NEWNS);
        FD_AUTO int own = namespace_of(getpid(), "mnt"), other = namespace_of(pid, "mnt"),
                    pids = namespace_of(getpid(), "pid");
        uint64_t own_id = 0, other_id = 0, inode = 0, id = 4711;
        char link[64], expected[64];

        ck_assert_int_eq(kernel_mount_namespace_id(own, &own_id), 0);
        ck_assert_int_eq(kernel_mount_namespace_id(other, &other_id), 0);
        ck_assert_uint_ne(own_id, other_id);
        ck_assert_int_eq(kernel_namespace_inode(own, &inode), 0);
        if (is_linux(6, 11)) {
                ck_assert_uint_ne(own_id, inode);
                ck_assert_int_eq(kernel_mount_namespace_id(pids, &id), -EINVAL);
                ck_assert_uint_eq(id, 4711);
        } else
                ck_assert_uint_eq(own_id, inode);

        ck_assert_int_gt(readlink("/proc/self/ns/mnt", strcpy(link, (char[64]){0}), 63), 0);
        snprintf(expected, sizeof(expected), "mnt:[%llu]", (unsigned long long)inode);
        ck_assert_int_eq(strncmp(link, expected, strlen(expected)), 0);
        ck_assert_int_eq(kernel_namespace_inode(-1, &inode), -EBADF);
        sandbox_kill(pid);
}

SANDBOX_TEST(compares_namespaces) {
        pid_t pid = asleep_in(CLONE_NEWNET);
        FD_AUTO int own = namespace_of(getpid(), "net"), again = namespace_of(getpid(), "net"),
                    other = namespace_of(pid, "net"), shared = namespace_of(pid, "mnt"),
                    mounts = namespace_of(getpid(), "mnt");

        ck_assert_int_eq(kernel_is_same_namespace(own, again), 1);
        ck_assert_int_eq(kernel_is_same_namespace(own, other), 0);
        ck_assert_int_eq(kernel_is_same_namespace(mounts, shared), 1);
        ck_assert_int_eq(kernel_is_same_namespace(own, -1), -EBADF);
        ck_assert_int_eq(kernel_is_same_namespace(-1, own), -EBADF);
        sandbox_kill(pid);
}

/* The init process of a pid namespace, and that of another one nested in it. */
struct nested {
        pid_t outer, inner;
};

static pid_t child_of(pid_t pid) {
        char path[64];
        FILE *children;
        pid_t child;

        snprintf(path, sizeof(path), "/proc/%d/task/%d/children", pid, pid);
        children = fopen(path, "re");
        ck_assert_ptr_nonnull(children);
        ck_assert_int_eq(fscanf(children, "%d", &child), 1);
        fclose(children);
        return child;
}

static struct nested nest(void) {
        struct nested nested;
        int pids[2];

        ck_assert_int_eq(pipe2(pids, O_CLOEXEC), 0);
        nested.outer = syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, NULL, NULL, NULL, NULL);
        ck_assert_int_ge(nested.outer, 0);
        if (nested.outer == 0) {
                if (write(pids[1], "", asleep_in(CLONE_NEWPID) > 0) == 1)
                        pause();
                _exit(EXIT_FAILURE);
        }
        close(pids[1]);
        ck_assert_int_eq(read(pids[0], &(char){0}, 1), 1);
        close(pids[0]);

        nested.inner = child_of(nested.outer);
        return nested;
}

/* In a child, whose uid_map its parent writes. */
static uid_t unmapped_with(const char *map) {
        uid_t *uid = mmap(NULL, sizeof(*uid), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                          -1, 0),
              found;
        pid_t child = fork();
        char path[64];
        int status, fd;

        ck_assert(uid != MAP_FAILED);
        ck_assert_int_ge(child, 0);
        if (child == 0)
                _exit(unshare(CLONE_NEWUSER) < 0 || raise(SIGSTOP) != 0 ||
                      kernel_unmapped_uid(uid) < 0);
        ck_assert_int_eq(waitpid(child, &status, WUNTRACED), child);
        ck_assert(WIFSTOPPED(status));
        snprintf(path, sizeof(path), "/proc/%d/uid_map", child);
        fd = open(path, O_WRONLY | O_CLOEXEC);
        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(write(fd, map, strlen(map)), (ssize_t)strlen(map));
        close(fd);
        ck_assert_int_eq(kill(child, SIGCONT), 0);
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert_int_eq(status, 0);
        found = *uid;
        munmap(uid, sizeof(*uid));
        return found;
}

SANDBOX_TEST(finds_the_uid_of_those_that_are_not_mapped) {
        const char *lacking = container_lacks(CONTAINER_ROOTLESS);

        if (lacking)
                test_skip(lacking);
        ck_assert_uint_eq(unmapped_with("0 0 1"), 65534);
        ck_assert_uint_eq(unmapped_with("0 0 65536"), 65534);
        ck_assert_uint_eq(unmapped_with("0 0 4294967294"), 65534);
        ck_assert_uint_eq(unmapped_with("0 0 4294967295"), (uid_t)-1);
        ck_assert_uint_eq(unmapped_with("0 1 1\n1 0 1\n2 2 4294967293"), (uid_t)-1);
}

SANDBOX_TEST(finds_processes_in_their_pid_namespace) {
        struct nested nested = nest();
        FD_AUTO int own = namespace_of(getpid(), "pid"), outer = namespace_of(nested.outer, "pid"),
                    inner = namespace_of(nested.inner, "pid");
        const struct {
                int fd;
                pid_t pid;
                int expected;
        } rows[] = {
                {own, getpid(), 0},
                {own, nested.outer, -ESRCH},
                {own, nested.inner, -ESRCH},
                {outer, getpid(), -ESRCH},
                {outer, nested.outer, 0},
                {outer, nested.inner, -ESRCH},
                {inner, nested.outer, -ESRCH},
                {inner, nested.inner, 0},
        };

        ck_assert_int_eq(kernel_prepare(), 0);
        for (size_t i = 0; i < N_ELEMENTS(rows); i++) {
                int r = kernel_pid_namespace_has(rows[i].fd, rows[i].pid);

                ck_assert_msg(r == (is_linux(6, 12) ? rows[i].expected : -ENOTTY), "row %zu: %d", i,
                              r);
        }
        sandbox_kill(nested.outer); /* ends the nested one too */
        ck_assert_int_eq(kernel_pid_namespace_has(own, nested.outer),
                         is_linux(6, 12) ? -ESRCH : -ENOTTY);
}

/* A /proc without any process. */
SANDBOX_TEST(process_hidden_by_proc_may_be_in_a_nested_namespace) {
        struct nested nested = nest();
        FD_AUTO int outer = namespace_of(nested.outer, "pid"),
                    inner = namespace_of(nested.inner, "pid"), own = namespace_of(getpid(), "pid");

        if (!is_linux(6, 12)) {
                sandbox_kill(nested.outer);
                test_skip("impossible here: it takes Linux 6.12");
        }
        ck_assert_int_eq(mount("none", "/proc", "tmpfs", 0, NULL), 0);
        ck_assert_int_eq(kernel_prepare(), 0);
        ck_assert_int_eq(kernel_pid_namespace_has(outer, nested.outer), 0);
        ck_assert_int_eq(kernel_pid_namespace_has(outer, nested.inner), 0);
        ck_assert_int_eq(kernel_pid_namespace_has(inner, nested.outer), -ESRCH);
        ck_assert_int_eq(kernel_pid_namespace_has(outer, getpid()), -ESRCH);
        ck_assert_int_eq(kernel_pid_namespace_has(own, getpid()), 0);
        sandbox_kill(nested.outer);
        ck_assert_int_eq(umount2("/proc", MNT_DETACH), 0);
}

/* Walks in that direction to the end; returns how often the id came up. */
static unsigned count_namespaces(enum kernel_direction direction, uint64_t wanted) {
        int fd = namespace_of(getpid(), "mnt"), next;
        unsigned found = 0;
        uint64_t id = 0;

        while ((next = kernel_open_mount_namespace(fd, direction, &id)) >= 0) {
                ck_assert(is_closed_on_exec(next));
                fd_close(fd);
                fd = next;
                found += id == wanted;
        }
        ck_assert_int_eq(next, -ENOENT);
        fd_close(fd);
        return found;
}

SANDBOX_TEST(lists_every_mount_namespace_once) {
        pid_t pid = asleep_in(CLONE_NEWNS);
        FD_AUTO int own = namespace_of(getpid(), "mnt"), other = namespace_of(pid, "mnt");
        uint64_t id = 4711;
        FD_AUTO int next = kernel_open_mount_namespace(own, KERNEL_NEXT, &id);

        if (next == -EPERM) {
                sandbox_kill(pid);
                test_skip("impossible here: it takes the first pid namespace");
        }
        id = 4711;
        if (is_linux(6, 12)) {
                ck_assert_int_eq(kernel_mount_namespace_id(other, &id), 0);
                ck_assert_uint_eq(count_namespaces(KERNEL_NEXT, id) +
                                          count_namespaces(KERNEL_PREVIOUS, id),
                                  1);
        } else {
                ck_assert_int_eq(kernel_open_mount_namespace(own, KERNEL_NEXT, &id), -ENOTTY);
                ck_assert_uint_eq(id, 4711);
        }
        sandbox_kill(pid);
}

static void check_owners(const struct container *container) {
        FD_AUTO int mounts = container_open(container, "mnt"),
                    users = container_open(container, "user"), own = namespace_of(getpid(), "user"),
                    owner = kernel_namespace_owner(mounts), parent = kernel_namespace_parent(users);
        uid_t maker = 0;

        ck_assert(owner >= 0 && parent >= 0);
        ck_assert(is_closed_on_exec(owner) && is_closed_on_exec(parent));
        ck_assert_int_eq(kernel_is_same_namespace(owner, users), 1);
        ck_assert_int_eq(kernel_is_same_namespace(parent, own), 1);
        ck_assert_int_eq(kernel_namespace_maker(users, &maker), 0);
        ck_assert_uint_eq(maker, USER_ALICE);
        ck_assert_int_eq(kernel_is_initial_user_namespace(users), 0);

        ck_assert_int_eq(kernel_namespace_parent(mounts),
                         -EINVAL);                              /* mount namespaces aren't nested */
        ck_assert_int_eq(kernel_namespace_parent(own), -EPERM); /* not ours to see, or none */
        ck_assert_int_eq(kernel_namespace_maker(mounts, &maker), -EINVAL);
        ck_assert_uint_eq(maker, USER_ALICE);
}

/* Uid 0 inside is Alice; apart from her, only the clients' group is mapped. */
static void check_mapping(const struct container *container) {
        FD_AUTO int users = container_open(container, "user"), mount = detached(0);
        struct statx stat;

        if (!is_linux(6, 3)) { /* tmpfs can't be mapped yet */
                ck_assert_int_eq(kernel_mount_setattr_idmap(mount, users), -EINVAL);
                return;
        }
        ck_assert_int_eq(kernel_mount_setattr_idmap(mount, users), 0);
        ck_assert_int_eq(kernel_statx(mount, STATX_UID, &stat), 0);
        ck_assert_uint_eq(stat.stx_uid, USER_ALICE); /* root on the file system */
        ck_assert_int_eq(kernel_fchownat(mount, USER_ALICE, -1), 0);
        ck_assert_int_eq(kernel_fchownat(mount, USER_BOB, -1), -EOVERFLOW);
        ck_assert_int_eq(kernel_fchownat(mount, -1, USER_BOB), -EOVERFLOW);
        ck_assert_int_eq(kernel_mount_setattr_idmap(mount, users), -EPERM); /* only once */
}

static void with_container(void (*judge)(const struct container *container)) {
        struct container container = container_start(CONTAINER_ROOTLESS);

        judge(&container);
        container_kill(&container);
}

SANDBOX_TEST(returns_the_owner_of_a_namespace) {
        const char *lacking = container_lacks(CONTAINER_ROOTLESS);

        if (lacking)
                test_skip(lacking);
        with_container(check_owners);
}

SANDBOX_TEST(owners_of_files_are_mapped_by_a_user_namespace) {
        const char *lacking = container_lacks(CONTAINER_ROOTLESS);

        if (lacking)
                test_skip(lacking);
        with_container(check_mapping);
}

SANDBOX_TEST(refuses_to_map_by_a_user_namespace_without_maps) {
        pid_t pid = asleep_in(CLONE_NEWUSER);
        FD_AUTO int users = namespace_of(pid, "user"), own = namespace_of(getpid(), "mnt"),
                    mount = detached(0);

        if (is_linux(6, 8))
                ck_assert_int_eq(kernel_mount_setattr_idmap(mount, users), -EINVAL);
        ck_assert_int_eq(kernel_mount_setattr_idmap(mount, own), -EINVAL);
        ck_assert_int_eq(kernel_mount_setattr_idmap(mount, -1), -EINVAL);
        sandbox_kill(pid);
}

SANDBOX_TEST(knows_the_initial_user_namespace) {
        FD_AUTO int own = namespace_of(getpid(), "user");
        struct stat stat;

        ck_assert_int_eq(fstat(own, &stat), 0);
        ck_assert_int_eq(kernel_is_initial_user_namespace(own), stat.st_ino == 0xeffffffd);
        ck_assert_int_eq(kernel_is_initial_user_namespace(-1), -EBADF);
}

static void enter_and_look(void *argument) {
        const struct visit *visit = argument;
        FD_AUTO int here = -EBADF, inside = -EBADF;
        uint64_t id;

        ck_assert_int_eq(kernel_unshare_fs(), 0); /* a sanitizer has a thread */
        ck_assert_int_eq(kernel_setns(visit->fd, CLONE_NEWNET), -EINVAL);
        ck_assert_int_eq(kernel_setns(-1, CLONE_NEWNS), -EBADF);
        ck_assert_int_eq(kernel_setns(visit->fd, CLONE_NEWNS), 0);
        here = namespace_of(getpid(), "mnt");
        ck_assert_int_eq(kernel_mount_namespace_id(here, &id), 0);
        ck_assert_uint_eq(id, visit->id);

        inside = open_path(sandbox_path("a"));
        ck_assert_int_eq(kernel_fchdir(inside), 0);
        ck_assert_int_eq(kernel_chroot_here(), 0);
        ck_assert_int_eq(access("/b", F_OK), 0);
}

SANDBOX_TEST(enters_a_mount_namespace_and_changes_its_root) {
        FD_AUTO int a = directory("a"), b = directory("a/b"), mounts = -EBADF;
        pid_t pid = asleep_in(CLONE_NEWNS);
        struct visit visit;

        ck_assert(a >= 0 && b >= 0);
        mounts = namespace_of(pid, "mnt");
        visit.fd = mounts;
        ck_assert_int_eq(kernel_mount_namespace_id(mounts, &visit.id), 0);
        in_child(enter_and_look, &visit);
        sandbox_kill(pid);
}

int main(void) {
        TCase *tests = tcase_create("kernel_namespaces");

        tcase_add_test(tests, returns_the_kind_of_a_namespace);
        tcase_add_test(tests, returns_the_id_of_a_mount_namespace);
        tcase_add_test(tests, compares_namespaces);
        tcase_add_test(tests, finds_the_uid_of_those_that_are_not_mapped);
        tcase_add_test(tests, finds_processes_in_their_pid_namespace);
        tcase_add_test(tests, process_hidden_by_proc_may_be_in_a_nested_namespace);
        tcase_add_test(tests, lists_every_mount_namespace_once);
        tcase_add_test(tests, returns_the_owner_of_a_namespace);
        tcase_add_test(tests, owners_of_files_are_mapped_by_a_user_namespace);
        tcase_add_test(tests, refuses_to_map_by_a_user_namespace_without_maps);
        tcase_add_test(tests, knows_the_initial_user_namespace);
        tcase_add_test(tests, enters_a_mount_namespace_and_changes_its_root);
        return sandbox_run(tests);
}
