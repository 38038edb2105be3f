/* SPDX-License-Identifier: Apache-2.0 */

/* The real kernel's answers about real objects, with statmount and without. */

#include "daemon/target.h"

#include "common/fd.h"
#include "common/protocol.h"
#include "daemon/kernel.h"
#include "tests/test.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>

static char base[64]; /* of this test, with directories proc and sys, a file and a link */
static struct target_facts facts;

static int open_path(const char *path, int flags) {
        int fd = open(path, O_PATH | O_CLOEXEC | flags);

        ck_assert_msg(fd >= 0, "%s: %s", path, strerror(errno));
        return fd;
}

static int open_below(const char *name, int flags) {
        char path[128];

        snprintf(path, sizeof(path), "%s/%s", base, name);
        return open_path(path, flags);
}

static void start(void) {
        FD_AUTO int fd = -EBADF;

        strcpy(base, "/tmp/mountatd-check-XXXXXX");
        ck_assert_ptr_nonnull(mkdtemp(base));
        fd = open_path(base, O_DIRECTORY);
        ck_assert_int_eq(mkdirat(fd, "proc", 0755), 0);
        ck_assert_int_eq(mkdirat(fd, "sys", 0700), 0);
        ck_assert_int_eq(mknodat(fd, "file", S_IFREG | 0644, 0), 0);
        ck_assert_int_eq(mknodat(fd, "fifo", S_IFIFO | 0644, 0), 0);
        ck_assert_int_eq(symlinkat("proc", fd, "link"), 0);
}

static void end(void) {
        static const char *const names[] = {"proc", "sys", "file", "fifo", "link"};
        FD_AUTO int fd = open_path(base, O_DIRECTORY);

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
                if (unlinkat(fd, names[i], i < 2 ? AT_REMOVEDIR : 0) < 0)
                        ck_assert_int_eq(errno, ENOENT);
        ck_assert_int_eq(rmdir(base), 0);
}

/* The features of this kernel: statmount and unique ids come together. */
static unsigned real_features(void) {
        FD_AUTO int root = open_path("/", O_DIRECTORY);
        struct kernel_mount mount;
        struct statx stat;

        if (kernel_statx(root, KERNEL_STATX_MNT_ID_UNIQUE, &stat) < 0 ||
            !(stat.stx_mask & KERNEL_STATX_MNT_ID_UNIQUE) ||
            kernel_statmount(stat.stx_mnt_id, &mount) < 0)
                return 0;
        return PROTOCOL_FEATURE_STATMOUNT | PROTOCOL_FEATURE_UNIQUE_IDS;
}

static int inspect(int fd, unsigned features) {
        int proc, prepared = kernel_prepare(), r;
        unsigned descriptors = descriptors_count();

        ck_assert_int_eq(prepared, 0);
        proc = target_open_proc();
        ck_assert_int_ge(proc, 0);
        memset(&facts, 0x5a, sizeof(facts));
        r = target_inspect(fd, proc, features, &facts);
        close(proc);
        ck_assert_uint_eq(descriptors_count(), descriptors);
        return r;
}

/* Both ways must agree, so the expectation is written once. */
#define BOTH_WAYS(features)                                                                        \
        for (unsigned features = 0, way = 0; way < 2; way++, features = real_features())

START_TEST(sees_a_directory_as_it_is) {
        BOTH_WAYS(features) {
                char path[128];
                struct statfs stat;
                FD_AUTO int fd = -EBADF;

                start();
                fd = open_below("proc", O_DIRECTORY);
                ck_assert_int_eq(fchownat(fd, "", getuid() ? getuid() : 1234, -1, AT_EMPTY_PATH),
                                 0);
                ck_assert_int_eq(inspect(fd, features), 0);
                ck_assert_uint_eq(facts.type, TARGET_DIRECTORY);
                ck_assert_uint_eq(facts.owner, getuid() ? getuid() : 1234);
                ck_assert(!facts.deleted);
                ck_assert(!facts.mount_root);
                ck_assert(!facts.foreign);
                snprintf(path, sizeof(path), "%s/proc", base);
                ck_assert_str_eq(facts.path, path);
                ck_assert_int_eq(statfs(path, &stat), 0);
                ck_assert_uint_eq(facts.magic, (uint64_t)stat.f_type);
                ck_assert_uint_gt(facts.mount_id, 0);
                ck_assert_int_eq(facts.mount_id_unique, features != 0);
                end();
        }
}
END_TEST

START_TEST(sees_what_is_no_directory) {
        BOTH_WAYS(features) {
                int sockets[2], pipes[2];

                start();
                ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
                ck_assert_int_eq(pipe2(pipes, O_CLOEXEC), 0);
                const int fds[] = {
                        open_below("file", 0),
                        open_below("fifo", 0),
                        open_below("link", O_NOFOLLOW),
                        open_path("/dev/null", 0),
                        open("/dev/null", O_RDWR | O_CLOEXEC),
                        sockets[0],
                        sockets[1],
                        pipes[0],
                        pipes[1],
                };

                for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
                        ck_assert_msg(inspect(fds[i], features) == 0, "descriptor %zu", i);
                        ck_assert_msg(facts.type == TARGET_OTHER, "descriptor %zu", i);
                        close(fds[i]);
                }
                end();
        }
}
END_TEST

START_TEST(sees_a_directory_that_is_open_for_reading) {
        BOTH_WAYS(features) {
                char path[128];
                FD_AUTO int fd = -EBADF;

                start();
                snprintf(path, sizeof(path), "%s/sys", base);
                fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                ck_assert_int_eq(inspect(fd, features), 0);
                ck_assert_uint_eq(facts.type, TARGET_DIRECTORY);
                ck_assert_str_eq(facts.path, path);
                end();
        }
}
END_TEST

START_TEST(sees_that_a_directory_was_removed) {
        BOTH_WAYS(features) {
                char path[128];
                FD_AUTO int fd = -EBADF;

                start();
                fd = open_below("proc", O_DIRECTORY);
                snprintf(path, sizeof(path), "%s/proc", base);
                ck_assert_int_eq(rmdir(path), 0);
                ck_assert_int_eq(inspect(fd, features), 0);
                ck_assert_uint_eq(facts.type, TARGET_DIRECTORY);
                ck_assert(facts.deleted);
                /* Even if there is another one with that name. */
                ck_assert_int_eq(mkdir(path, 0755), 0);
                ck_assert_int_eq(inspect(fd, features), 0);
                ck_assert(facts.deleted);
                end();
        }
}
END_TEST

START_TEST(follows_a_directory_that_is_renamed) {
        BOTH_WAYS(features) {
                char from[128], to[128];
                FD_AUTO int fd = -EBADF;

                start();
                fd = open_below("proc", O_DIRECTORY);
                snprintf(from, sizeof(from), "%s/proc", base);
                snprintf(to, sizeof(to), "%s/elsewhere", base);
                ck_assert_int_eq(rename(from, to), 0);
                ck_assert_int_eq(inspect(fd, features), 0);
                ck_assert_str_eq(facts.path, to);
                ck_assert(!facts.deleted);
                ck_assert_int_eq(rename(to, from), 0);
                end();
        }
}
END_TEST

START_TEST(sees_the_root_of_a_mount) {
        BOTH_WAYS(features) {
                static const struct {
                        const char *path;
                        bool root;
                } places[] = {
                        {"/proc", true}, {"/", true}, {"/proc/sys", false}, {"/dev/..", true}};

                for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
                        FD_AUTO int fd = open_path(places[i].path, O_DIRECTORY);

                        ck_assert_int_eq(inspect(fd, features), 0);
                        ck_assert_msg(facts.mount_root == places[i].root, "%s", places[i].path);
                        ck_assert_uint_eq(facts.type, TARGET_DIRECTORY);
                }
        }
}
END_TEST

START_TEST(sees_other_file_systems) {
        BOTH_WAYS(features) {
                FD_AUTO int fd = open_path("/proc/sys", O_DIRECTORY);

                ck_assert_int_eq(inspect(fd, features), 0);
                ck_assert_uint_eq(facts.magic, PROC_SUPER_MAGIC);
                ck_assert_str_eq(facts.path, "/proc/sys");
        }
}
END_TEST

/* A name is bytes. */
START_TEST(path_is_given_as_it_is) {
        BOTH_WAYS(features) {
                char path[128];
                FD_AUTO int fd = -EBADF;

                start();
                snprintf(path, sizeof(path), "%s/proc/a\n\xff (deleted)", base);
                ck_assert_int_eq(mkdir(path, 0755), 0);
                fd = open_path(path, O_DIRECTORY);
                ck_assert_int_eq(inspect(fd, features), 0);
                ck_assert_str_eq(facts.path, path);
                ck_assert(facts.deleted); /* a false alarm rather than a miss */
                ck_assert_int_eq(rmdir(path), 0);
                end();
        }
}
END_TEST

/* The kernel's paths end at a page. */
START_TEST(path_that_is_too_long_is_an_errno) {
        BOTH_WAYS(features) {
                char name[251];
                int fds[20];

                memset(name, 'd', sizeof(name) - 1);
                name[250] = '\0';
                start();
                fds[0] = open_below("proc", O_DIRECTORY);
                for (unsigned i = 1; i < 20; i++) {
                        ck_assert_int_eq(mkdirat(fds[i - 1], name, 0755), 0);
                        fds[i] = openat(fds[i - 1], name, O_PATH | O_DIRECTORY | O_CLOEXEC);
                        ck_assert_int_ge(fds[i], 0);
                }
                ck_assert_int_eq(inspect(fds[10], features), 0);
                ck_assert_uint_gt(strlen(facts.path), 2500);
                ck_assert_int_eq(inspect(fds[19], features), -ENAMETOOLONG);
                for (unsigned i = 20; i-- > 1;) {
                        close(fds[i]);
                        ck_assert_int_eq(unlinkat(fds[i - 1], name, AT_REMOVEDIR), 0);
                }
                close(fds[0]);
                end();
        }
}
END_TEST

/* The descriptor is enough: no right to search or read is needed. */
START_TEST(needs_no_right_to_the_directory) {
        unsigned features = 0;
        FD_AUTO int fd = -EBADF;
        char path[128];

        if (getuid() != 0)
                test_skip("becoming another user needs root");
        start();
        ck_assert_int_eq(chmod(base, 0700), 0);
        fd = open_below("sys", O_DIRECTORY);
        snprintf(path, sizeof(path), "%s/sys", base);
        ck_assert_int_eq(setresuid(65534, 65534, 0), 0);
        ck_assert_int_eq(prctl(PR_SET_DUMPABLE, 1), 0); /* otherwise /proc/self is root's */
        ck_assert_int_eq(access(path, F_OK), -1);
        for (unsigned way = 0; way < 2; way++, features = real_features()) {
                ck_assert_int_eq(inspect(fd, features), 0);
                ck_assert_str_eq(facts.path, path);
                ck_assert_uint_eq(facts.owner, 0);
                ck_assert_uint_eq(facts.type, TARGET_DIRECTORY);
        }
        ck_assert_int_eq(setresuid(0, 0, 0), 0);
        end();
}
END_TEST

START_TEST(sees_another_mount_namespace) {
        FD_AUTO int fd = -EBADF;

        start();
        fd = open_below("proc", O_DIRECTORY);
        BOTH_WAYS(features) {
                ck_assert_int_eq(inspect(fd, features), 0);
                ck_assert(!facts.foreign);
        }
        if (unshare(CLONE_NEWNS) < 0) {
                end();
                test_skip("a mount namespace of its own needs CAP_SYS_ADMIN");
        }
        BOTH_WAYS(features) {
                ck_assert_int_eq(inspect(fd, features), 0);
                ck_assert(facts.foreign);
                ck_assert_uint_eq(facts.magic, 0);
        }
        end();
}
END_TEST

START_TEST(sees_a_detached_tree_as_foreign) {
        FD_AUTO int tree = -EBADF, fd = -EBADF;

        start();
        tree = open_tree(AT_FDCWD, base, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
        if (tree < 0) {
                end();
                test_skip("a detached tree needs CAP_SYS_ADMIN");
        }
        fd = openat(tree, "proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
        BOTH_WAYS(features) {
                ck_assert_int_eq(inspect(fd, features), 0);
                ck_assert(facts.foreign);
                ck_assert(!facts.deleted);
        }
        end();
}
END_TEST

/* The names in /proc/filesystems, which the mount table uses too. */
START_TEST(file_systems_have_the_names_of_the_kernel) {
        static const struct {
                const char *name;
                uint64_t magic;
        } systems[] = {
                {"ext4", EXT4_SUPER_MAGIC},   {"xfs", XFS_SUPER_MAGIC},
                {"btrfs", BTRFS_SUPER_MAGIC}, {"tmpfs", TMPFS_MAGIC},
                {"fuse", 0x65735546},         {"overlay", OVERLAYFS_SUPER_MAGIC},
                {"f2fs", F2FS_SUPER_MAGIC},   {"nfs", NFS_SUPER_MAGIC},
                {"ramfs", RAMFS_MAGIC},       {"proc", PROC_SUPER_MAGIC},
                {"sysfs", SYSFS_MAGIC},       {"squashfs", SQUASHFS_MAGIC},
        };

        for (size_t i = 0; i < sizeof(systems) / sizeof(systems[0]); i++)
                ck_assert_str_eq(target_file_system(systems[i].magic), systems[i].name);
        ck_assert_ptr_null(target_file_system(0));
        ck_assert_ptr_null(target_file_system(0xabcd));
}
END_TEST

/*
 * In another namespace the directory is the root of a mount, here it isn't: the descriptor decides.
 */
START_TEST(covered_directory_is_no_mount_root_itself) {
        char path[128];
        FD_AUTO int fd = -EBADF, top = -EBADF;

        if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0)
                test_skip("a mount namespace of its own needs CAP_SYS_ADMIN");
        start();
        snprintf(path, sizeof(path), "%s/proc", base);
        fd = open_path(path, O_DIRECTORY);
        ck_assert_int_eq(mount("none", path, "tmpfs", 0, NULL), 0);
        top = open_path(path, O_DIRECTORY);
        BOTH_WAYS(features) {
                uint64_t below;

                ck_assert_int_eq(inspect(fd, features), 0);
                ck_assert(!facts.mount_root);
                below = facts.mount_id;
                ck_assert_int_eq(inspect(top, features), 0);
                ck_assert(facts.mount_root);
                ck_assert_uint_eq(facts.magic, TMPFS_MAGIC);
                ck_assert_uint_ne(facts.mount_id, below);
        }
        ck_assert_int_eq(umount2(path, MNT_DETACH), 0);
        end();
}
END_TEST

START_TEST(checks_that_proc_is_procfs) {
        int fd = target_open_proc();

        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
        close(fd);

        if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0)
                test_skip("a mount namespace of its own needs CAP_SYS_ADMIN");
        ck_assert_int_eq(mount("none", "/proc", "tmpfs", 0, NULL), 0);
        ck_assert_int_eq(target_open_proc(), -ENOENT);
        ck_assert_int_eq(mkdir("/proc/self", 0755), 0);
        ck_assert_int_eq(mkdir("/proc/self/fd", 0755), 0);
        ck_assert_int_eq(target_open_proc(), -EXDEV);
        ck_assert_int_eq(umount2("/proc", MNT_DETACH), 0);
}
END_TEST

int main(void) {
        return SUITE_RUN("target", sees_a_directory_as_it_is, sees_what_is_no_directory,
                         sees_a_directory_that_is_open_for_reading,
                         sees_that_a_directory_was_removed, follows_a_directory_that_is_renamed,
                         sees_the_root_of_a_mount, sees_other_file_systems, path_is_given_as_it_is,
                         path_that_is_too_long_is_an_errno, needs_no_right_to_the_directory,
                         sees_another_mount_namespace, file_systems_have_the_names_of_the_kernel,
                         sees_a_detached_tree_as_foreign, covered_directory_is_no_mount_root_itself,
                         checks_that_proc_is_procfs);
}
