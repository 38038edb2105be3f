/* SPDX-License-Identifier: Apache-2.0 */

#include "daemon/policy.h"

#include "common/protocol.h"
#include "tests/test.h"

#include <errno.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>

enum {
        EXT4 = 0xef53,
        FUSE = 0x65735546,
        US = 1000,
};

enum row_flag {
        DELETED = 1 << 0,
        ROOT = 1 << 1,
        FOREIGN = 1 << 2,
};

/*
 * In each row /srv/build is open to everybody, /srv/mine to uid 1000, /srv/theirs to uids 100 (a
 * prefix of 1000) and 10001 (1000 is a prefix of it), /srv/deep/a/b to everybody.
 */
static const struct {
        enum status wanted;
        enum target_type type;
        uid_t owner;
        uint64_t magic;
        uint32_t file_system;
        const char *path;
        unsigned flags;
} rows[] = {
        /* Own directories, on a local file system. */
        {STATUS_OK, TARGET_DIRECTORY, US, EXT4, PROTOCOL_PROC, "/home/a/proc", 0},
        {STATUS_OK, TARGET_DIRECTORY, US, EXT4, PROTOCOL_SYSFS, "/home/a/sys", 0},
        {STATUS_OK, TARGET_DIRECTORY, US, EXT4, PROTOCOL_PROC, "/proc", 0},
        {STATUS_OK, TARGET_DIRECTORY, US, EXT4, PROTOCOL_PROC, "/a b\n/proc", 0},

        /* Another user's. */
        {STATUS_NOT_AUTHORISED, TARGET_DIRECTORY, 0, EXT4, PROTOCOL_PROC, "/home/a/proc", 0},
        {STATUS_NOT_AUTHORISED, TARGET_DIRECTORY, 1001, EXT4, PROTOCOL_PROC, "/home/a/proc", 0},
        {STATUS_NOT_AUTHORISED, TARGET_DIRECTORY, 100, EXT4, PROTOCOL_PROC, "/home/a/proc", 0},
        {STATUS_NOT_AUTHORISED, TARGET_DIRECTORY, 10001, EXT4, PROTOCOL_PROC, "/home/a/proc", 0},
        {STATUS_NOT_AUTHORISED, TARGET_DIRECTORY, (uid_t)-1, EXT4, PROTOCOL_PROC, "/a/proc", 0},

        /* Names. */
        {STATUS_WRONG_NAME, TARGET_DIRECTORY, US, EXT4, PROTOCOL_PROC, "/home/a/sys", 0},
        {STATUS_WRONG_NAME, TARGET_DIRECTORY, US, EXT4, PROTOCOL_SYSFS, "/home/a/proc", 0},
        {STATUS_WRONG_NAME, TARGET_DIRECTORY, US, EXT4, PROTOCOL_SYSFS, "/home/a/sysfs", 0},
        {STATUS_WRONG_NAME, TARGET_DIRECTORY, US, EXT4, PROTOCOL_PROC, "/home/a/procs", 0},
        {STATUS_WRONG_NAME, TARGET_DIRECTORY, US, EXT4, PROTOCOL_PROC, "/home/a/xproc", 0},
        {STATUS_WRONG_NAME, TARGET_DIRECTORY, US, EXT4, PROTOCOL_PROC, "/home/a/Proc", 0},
        {STATUS_WRONG_NAME, TARGET_DIRECTORY, US, EXT4, PROTOCOL_PROC, "/home/proc/a", 0},
        {STATUS_WRONG_NAME, TARGET_DIRECTORY, US, EXT4, PROTOCOL_PROC, "/home/a/pro", 0},
        {STATUS_WRONG_NAME, TARGET_DIRECTORY, US, EXT4, PROTOCOL_PROC, "/home/a/proc ", 0},
        {STATUS_WRONG_NAME, TARGET_DIRECTORY, US, EXT4, PROTOCOL_PROC, "/", 0},
        {STATUS_WRONG_NAME, TARGET_DIRECTORY, US, EXT4, PROTOCOL_PROC, "", 0},
        {STATUS_WRONG_NAME, TARGET_DIRECTORY, US, EXT4, PROTOCOL_PROC, "proc", 0},
        {STATUS_WRONG_NAME, TARGET_DIRECTORY, US, FUSE, PROTOCOL_PROC, "/srv/build/a/dev", 0},

        /* Not text for sd-bus, and so for systemd's list of all mounts; and text. */
        {STATUS_WRONG_NAME, TARGET_DIRECTORY, US, EXT4, PROTOCOL_PROC, "/home/\xe9/proc", 0},
        {STATUS_WRONG_NAME, TARGET_DIRECTORY, US, EXT4, PROTOCOL_PROC, "/\xed\xa0\x80/proc", 0},
        {STATUS_WRONG_NAME, TARGET_DIRECTORY, US, EXT4, PROTOCOL_PROC, "/\xef\xbf\xbf/proc", 0},
        {STATUS_WRONG_NAME, TARGET_DIRECTORY, US, EXT4, PROTOCOL_PROC, "/\xef\xb7\x90/proc", 0},
        {STATUS_WRONG_NAME, TARGET_DIRECTORY, 0, FUSE, PROTOCOL_PROC, "/srv/build/\xff/proc", 0},
        {STATUS_WRONG_NAME, TARGET_HIDDEN, 0, FUSE, PROTOCOL_PROC, "/srv/build/\xff/proc", 0},
        {STATUS_OK, TARGET_DIRECTORY, US, EXT4, PROTOCOL_PROC, "/home/\xc3\xa9/proc", 0},
        {STATUS_OK, TARGET_DIRECTORY, US, EXT4, PROTOCOL_PROC, "/home/\xe2\x80\xae/proc", 0},

        /* Below a build directory: any owner, any file system. */
        {STATUS_OK, TARGET_DIRECTORY, 0, EXT4, PROTOCOL_PROC, "/srv/build/proc", 0},
        {STATUS_OK, TARGET_DIRECTORY, 0, FUSE, PROTOCOL_PROC, "/srv/build/1/root/proc", 0},
        {STATUS_OK, TARGET_DIRECTORY, 1001, 0x6969, PROTOCOL_SYSFS, "/srv/build/1/sys", 0},
        {STATUS_OK, TARGET_DIRECTORY, 0, FUSE, PROTOCOL_PROC, "/srv/deep/a/b/proc", 0},

        /* Its neighbours, which differ by one byte. */
        {STATUS_NOT_AUTHORISED, TARGET_DIRECTORY, 0, EXT4, PROTOCOL_PROC, "/srv/build2/proc", 0},
        {STATUS_NOT_AUTHORISED, TARGET_DIRECTORY, 0, EXT4, PROTOCOL_PROC, "/srv/buil/proc", 0},
        {STATUS_NOT_AUTHORISED, TARGET_DIRECTORY, 0, EXT4, PROTOCOL_PROC, "/srv/build /proc", 0},
        {STATUS_NOT_AUTHORISED, TARGET_DIRECTORY, 0, EXT4, PROTOCOL_PROC, "/srv/Build/proc", 0},
        {STATUS_NOT_AUTHORISED, TARGET_DIRECTORY, 0, EXT4, PROTOCOL_PROC, "/srv/deep/a/proc", 0},
        {STATUS_NOT_AUTHORISED, TARGET_DIRECTORY, 0, EXT4, PROTOCOL_PROC, "/srv/proc", 0},
        {STATUS_NOT_AUTHORISED, TARGET_DIRECTORY, 0, EXT4, PROTOCOL_PROC, "/x/srv/build/proc", 0},
        {STATUS_NOT_AUTHORISED, TARGET_DIRECTORY, 0, EXT4, PROTOCOL_PROC, "/srv/proc", 0},
        /* A build directory named proc isn't below itself. */
        {STATUS_WRONG_NAME, TARGET_DIRECTORY, 0, EXT4, PROTOCOL_PROC, "/srv/build", 0},
        {STATUS_NOT_AUTHORISED, TARGET_DIRECTORY, 0, EXT4, PROTOCOL_PROC, "/srv/named/proc", 0},
        {STATUS_OK, TARGET_DIRECTORY, 0, EXT4, PROTOCOL_PROC, "/srv/named/proc/proc", 0},

        /* USER. */
        {STATUS_OK, TARGET_DIRECTORY, 0, FUSE, PROTOCOL_PROC, "/srv/mine/proc", 0},
        {STATUS_NOT_AUTHORISED, TARGET_DIRECTORY, 0, EXT4, PROTOCOL_PROC, "/srv/theirs/proc", 0},
        {STATUS_NOT_AUTHORISED, TARGET_DIRECTORY, 0, FUSE, PROTOCOL_PROC, "/srv/theirs/proc", 0},
        /* Own directories are allowed there as well. */
        {STATUS_OK, TARGET_DIRECTORY, US, EXT4, PROTOCOL_PROC, "/srv/theirs/proc", 0},

        /* Not a directory comes first, whatever else applies. */
        {STATUS_NOT_A_DIRECTORY, TARGET_OTHER, US, EXT4, PROTOCOL_PROC, "/srv/build/proc", 0},
        {STATUS_NOT_A_DIRECTORY, TARGET_OTHER, 0, FUSE, PROTOCOL_PROC, "/x",
         DELETED | ROOT | FOREIGN},

        /* Then a removed directory, */
        {STATUS_TARGET_VANISHED, TARGET_DIRECTORY, US, EXT4, PROTOCOL_PROC,
         "/home/a/proc (deleted)", DELETED},
        {STATUS_TARGET_VANISHED, TARGET_DIRECTORY, 0, FUSE, PROTOCOL_PROC,
         "/srv/build/proc (deleted)", DELETED | ROOT | FOREIGN},
        /* (if the removal was not noticed, the name is wrong anyway) */
        {STATUS_WRONG_NAME, TARGET_DIRECTORY, US, EXT4, PROTOCOL_PROC, "/home/a/proc (deleted)", 0},

        /* then the root of a mount, */
        {STATUS_ALREADY_MOUNTED, TARGET_DIRECTORY, US, EXT4, PROTOCOL_PROC, "/home/a/proc", ROOT},
        {STATUS_ALREADY_MOUNTED, TARGET_DIRECTORY, 0, PROC_SUPER_MAGIC, PROTOCOL_PROC,
         "/srv/build/proc", ROOT},
        {STATUS_ALREADY_MOUNTED, TARGET_DIRECTORY, 0, FUSE, PROTOCOL_PROC, "/home/a/dev",
         ROOT | FOREIGN},

        /* then the name, then the namespace, even for an allowed directory. */
        {STATUS_WRONG_NAME, TARGET_DIRECTORY, US, 0, PROTOCOL_PROC, "/home/a/dev", FOREIGN},
        {STATUS_FOREIGN_NAMESPACE, TARGET_DIRECTORY, US, 0, PROTOCOL_PROC, "/home/a/proc", FOREIGN},
        {STATUS_FOREIGN_NAMESPACE, TARGET_DIRECTORY, 0, 0, PROTOCOL_PROC, "/srv/build/proc",
         FOREIGN},

        /* The file system comes before the owner. */
        {STATUS_NOT_AUTHORISED, TARGET_DIRECTORY, US, FUSE, PROTOCOL_PROC, "/home/a/proc", 0},
        {STATUS_NOT_AUTHORISED, TARGET_DIRECTORY, 0, FUSE, PROTOCOL_PROC, "/home/a/proc", 0},

        /* Hidden: the owner is unknown; below a build directory it doesn't matter. */
        {STATUS_OK, TARGET_HIDDEN, 0, FUSE, PROTOCOL_PROC, "/srv/build/1/proc", 0},
        {STATUS_OK, TARGET_HIDDEN, 0, FUSE, PROTOCOL_PROC, "/srv/mine/1/proc", 0},
        {STATUS_NOT_AUTHORISED, TARGET_HIDDEN, US, FUSE, PROTOCOL_PROC, "/home/a/proc", 0},
        {STATUS_NOT_AUTHORISED, TARGET_HIDDEN, 0, FUSE, PROTOCOL_PROC, "/srv/build2/proc", 0},
        {STATUS_NOT_AUTHORISED, TARGET_HIDDEN, US, EXT4, PROTOCOL_PROC, "/home/a/proc", 0},
        {STATUS_WRONG_NAME, TARGET_HIDDEN, 0, FUSE, PROTOCOL_PROC, "/srv/build/1/dev", 0},
        {STATUS_OK, TARGET_HIDDEN, 0, FUSE, PROTOCOL_DEV, "/srv/build/1/dev", 0},
        {STATUS_OK, TARGET_DIRECTORY, US, EXT4, PROTOCOL_DEV, "/home/a/dev", 0},
        {STATUS_NOT_AUTHORISED, TARGET_DIRECTORY, US, FUSE, PROTOCOL_DEV, "/home/a/dev", 0},
        {STATUS_NOT_AUTHORISED, TARGET_DIRECTORY, 0, EXT4, PROTOCOL_DEV, "/dev", 0},
        {STATUS_WRONG_NAME, TARGET_DIRECTORY, US, EXT4, PROTOCOL_DEV, "/home/a/proc", 0},
        {STATUS_WRONG_NAME, TARGET_DIRECTORY, US, EXT4, PROTOCOL_DEV, "/home/a/devs", 0},
        {STATUS_WRONG_NAME, TARGET_DIRECTORY, US, EXT4, PROTOCOL_SYSFS, "/home/a/dev", 0},
        {STATUS_ALREADY_MOUNTED, TARGET_HIDDEN, 0, FUSE, PROTOCOL_PROC, "/srv/build/1/proc", ROOT},
        {STATUS_TARGET_VANISHED, TARGET_HIDDEN, 0, FUSE, PROTOCOL_PROC, "/srv/build/1/proc",
         DELETED},
};

static struct policy *policy_of_rows(void) {
        struct policy *policy = policy_new();

        ck_assert_ptr_nonnull(policy);
        ck_assert_int_eq(policy_add_build_directory(policy, "/srv/build", POLICY_ANY_USER), 0);
        ck_assert_int_eq(policy_add_build_directory(policy, "/srv/mine", US), 0);
        ck_assert_int_eq(policy_add_build_directory(policy, "/srv/theirs", 100), 0);
        ck_assert_int_eq(policy_add_build_directory(policy, "/srv/theirs", 10001), 0);
        ck_assert_int_eq(policy_add_build_directory(policy, "/srv/deep/a/b/", POLICY_ANY_USER), 0);
        ck_assert_int_eq(policy_add_build_directory(policy, "/srv/named/proc", POLICY_ANY_USER), 0);
        return policy;
}

/* Valid until the next call. */
static const struct target_facts *facts_like(enum target_type type, uid_t owner, uint64_t magic,
                                             const char *path, unsigned flags) {
        static struct target_facts facts;

        facts = (struct target_facts){
                .type = type,
                .owner = owner,
                .deleted = flags & DELETED,
                .mount_root = flags & ROOT,
                .foreign = flags & FOREIGN,
                .magic = magic,
                .mount_id = 1,
        };
        strcpy(facts.path, path);
        return &facts;
}

static const struct target_facts *facts_of_row(size_t i) {
        return facts_like(rows[i].type, rows[i].owner, rows[i].magic, rows[i].path, rows[i].flags);
}

static enum status judge(const struct policy *policy, uid_t uid, uint32_t file_system,
                         enum target_type type, uid_t owner, uint64_t magic, const char *path,
                         unsigned flags) {
        return policy_judge(policy, &(struct subject){.uid = uid}, file_system,
                            facts_like(type, owner, magic, path, flags))
                .status;
}

START_TEST(judges_every_row) {
        struct policy *policy = policy_of_rows();

        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                enum status status = policy_judge(policy, &(struct subject){.uid = US},
                                                  rows[i].file_system, facts_of_row(i))
                                             .status;

                ck_assert_msg(status == rows[i].wanted, "row %zu, %s: %s", i, rows[i].path,
                              status_name(status));
        }
        ck_assert_ptr_null(policy_free(policy));
        ck_assert_ptr_null(policy_free(NULL));
}
END_TEST

START_TEST(empty_policy_opens_nothing_but_ones_own) {
        struct policy *policy = policy_new();

        ck_assert_uint_eq(
                judge(policy, US, PROTOCOL_PROC, TARGET_DIRECTORY, 0, EXT4, "/srv/build/proc", 0),
                STATUS_NOT_AUTHORISED);
        ck_assert_uint_eq(
                judge(policy, US, PROTOCOL_PROC, TARGET_DIRECTORY, US, EXT4, "/srv/build/proc", 0),
                STATUS_OK);
        ck_assert(!policy_allows_writable_proc(policy, US));
        ck_assert(!policy_allows_writable_proc(policy, 0));
        policy_free(policy);
}
END_TEST

/* Root is a peer like any other. */
START_TEST(root_needs_to_own_it_too) {
        struct policy *policy = policy_new();

        ck_assert_uint_eq(judge(policy, 0, PROTOCOL_PROC, TARGET_DIRECTORY, US, EXT4, "/a/proc", 0),
                          STATUS_NOT_AUTHORISED);
        ck_assert_uint_eq(judge(policy, 0, PROTOCOL_PROC, TARGET_DIRECTORY, 0, EXT4, "/a/proc", 0),
                          STATUS_OK);
        policy_free(policy);
}
END_TEST

static const struct {
        uint64_t magic;
        bool local;
} magics[] = {
        {EXT4_SUPER_MAGIC, true},
        {0x58465342, true}, /* xfs */
        {BTRFS_SUPER_MAGIC, true},
        {TMPFS_MAGIC, true},
        {OVERLAYFS_SUPER_MAGIC, true},
        {F2FS_SUPER_MAGIC, true},
        {0x2fc12fc1, true}, /* zfs */
        {0xca451a4e, true}, /* bcachefs */
        {FUSE, false},
        {NFS_SUPER_MAGIC, false},
        {PROC_SUPER_MAGIC, false},
        {SYSFS_MAGIC, false},
        {CGROUP2_SUPER_MAGIC, false},
        {DEVPTS_SUPER_MAGIC, false},
        {RAMFS_MAGIC, false},
        {SQUASHFS_MAGIC, false},
        {ISOFS_SUPER_MAGIC, false},
        {MSDOS_SUPER_MAGIC, false},
        {0xff534d42, false}, /* cifs */
        {0xfe534d42, false}, /* smb2 */
        {V9FS_MAGIC, false},
        {CEPH_SUPER_MAGIC, false},
        {AFS_SUPER_MAGIC, false},
        {0x0bd00bd0, false}, /* lustre */
        {0x01161970, false}, /* gfs2 */
        {OCFS2_SUPER_MAGIC, false},
        {ECRYPTFS_SUPER_MAGIC, false},
        {HOSTFS_SUPER_MAGIC, false},
        {0, false},
        {1, false},
        {0xffffffff, false},
};

START_TEST(takes_exactly_the_local_file_systems) {
        struct policy *policy = policy_of_rows();

        for (size_t i = 0; i < sizeof(magics) / sizeof(magics[0]); i++) {
                enum status own = judge(policy, US, PROTOCOL_PROC, TARGET_DIRECTORY, US,
                                        magics[i].magic, "/a/proc", 0);

                ck_assert_int_eq(policy_is_local(magics[i].magic), magics[i].local);
                ck_assert_msg(own == (magics[i].local           ? STATUS_OK
                                      : magics[i].magic == FUSE ? STATUS_NOT_AUTHORISED
                                                                : STATUS_UNSUPPORTED_FILE_SYSTEM),
                              "magic 0x%llx: %s", (unsigned long long)magics[i].magic,
                              status_name(own));
                ck_assert_uint_eq(judge(policy, US, PROTOCOL_PROC, TARGET_DIRECTORY, 0,
                                        magics[i].magic, "/srv/build/proc", 0),
                                  STATUS_OK);
        }
        policy_free(policy);
}
END_TEST

static const struct {
        const char *path;
        int result;
} build_directories[] = {
        {"/a", 0},           {"/a/", 0},           {"/a/b", 0},
        {"/a/.b", 0},        {"/a/..b", 0},        {"/a/...", 0},
        {"/a b", 0},         {"/proc", 0},         {"/\xc3\xa9", 0},
        {"/\xe9", -EINVAL}, /* nothing is ever mounted below it */
        {"", -EINVAL},       {"/", -EINVAL},       {"//", -EINVAL},
        {"///", -EINVAL},    {"a", -EINVAL},       {"a/b", -EINVAL},
        {"./a", -EINVAL},    {".", -EINVAL},       {"..", -EINVAL},
        {"/.", -EINVAL},     {"/..", -EINVAL},     {"/./a", -EINVAL},
        {"/../a", -EINVAL},  {"/a/.", -EINVAL},    {"/a/..", -EINVAL},
        {"/a/./b", -EINVAL}, {"/a/../b", -EINVAL}, {"//a", -EINVAL},
        {"/a//b", -EINVAL},  {"/a//", -EINVAL},
};

START_TEST(takes_only_paths_as_the_kernel_spells_them) {
        for (size_t i = 0; i < sizeof(build_directories) / sizeof(build_directories[0]); i++) {
                struct policy *policy = policy_new();
                int r = policy_add_build_directory(policy, build_directories[i].path,
                                                   POLICY_ANY_USER);

                ck_assert_msg(r == build_directories[i].result, "%s: %d", build_directories[i].path,
                              r);
                /* A refused directory opens nothing. */
                if (r < 0)
                        ck_assert_uint_eq(judge(policy, US, PROTOCOL_PROC, TARGET_DIRECTORY, 0,
                                                EXT4, "/a/b/c/proc", 0),
                                          STATUS_NOT_AUTHORISED);
                policy_free(policy);
        }
}
END_TEST

START_TEST(many_build_directories_are_all_open) {
        struct policy *policy = policy_new();
        char path[64];

        for (unsigned i = 0; i < 1000; i++) {
                snprintf(path, sizeof(path), "/srv/%u", i);
                ck_assert_int_eq(policy_add_build_directory(policy, path, i), 0);
        }
        for (unsigned i = 0; i < 1000; i++) {
                snprintf(path, sizeof(path), "/srv/%u/proc", i);
                ck_assert_uint_eq(
                        judge(policy, i, PROTOCOL_PROC, TARGET_DIRECTORY, 5000, EXT4, path, 0),
                        STATUS_OK);
                ck_assert_uint_eq(
                        judge(policy, i + 1, PROTOCOL_PROC, TARGET_DIRECTORY, 5000, EXT4, path, 0),
                        STATUS_NOT_AUTHORISED);
        }
        policy_free(policy);
}
END_TEST

START_TEST(joining_is_for_the_named_alone) {
        struct policy *policy = policy_new();

        ck_assert(!policy_joins(policy));
        ck_assert(!policy_allows_join(policy, 0));
        ck_assert_int_eq(policy_add_join(policy, 100), 0);
        ck_assert_int_eq(policy_add_join(policy, 0), 0);
        ck_assert(policy_joins(policy));
        ck_assert(policy_allows_join(policy, 100));
        ck_assert(policy_allows_join(policy, 0));
        ck_assert(!policy_allows_join(policy, 10));
        ck_assert(!policy_allows_join(policy, POLICY_ANY_USER));
        ck_assert(!policy_allows_writable_proc(policy, 100));
        policy_free(policy);
}
END_TEST

START_TEST(writable_proc_is_for_the_named_alone) {
        struct policy *policy = policy_new();

        ck_assert_int_eq(policy_add_writable_proc(policy, 100), 0);
        ck_assert_int_eq(policy_add_writable_proc(policy, 0), 0);
        ck_assert(policy_allows_writable_proc(policy, 100));
        ck_assert(policy_allows_writable_proc(policy, 0));
        ck_assert(!policy_allows_writable_proc(policy, 10));
        ck_assert(!policy_allows_writable_proc(policy, 1000));
        ck_assert(!policy_allows_writable_proc(policy, POLICY_ANY_USER));
        policy_free(policy);
}
END_TEST

/* ---- reasons ---- */

enum { LONG = 3000 };

static const struct {
        uid_t uid, owner;
        uint64_t magic;
        const char *path, *text;
} reasons[] = {
        {US, 0, EXT4, "/home/a/proc",
         "/home/a/proc is owned by uid 0, not 1000, and not below /srv/build or 3 more: see "
         "--build-directory in mountatd(8)"},
        {US, US, FUSE, "/home/a/proc",
         "/home/a/proc is on FUSE, and not below /srv/build or 3 more: see "
         "--build-directory in mountatd(8)"},
        {100, US, EXT4, "/srv/mine/proc",
         "/srv/mine/proc is owned by uid 1000, not 100, and not below /srv/build or 3 more: see "
         "--build-directory in mountatd(8)"},
        {US, US, RAMFS_MAGIC, "/home/a/proc",
         "the directory is on ramfs: mountatd only mounts onto ext4, xfs, btrfs, tmpfs, overlayfs, "
         "f2fs, zfs and bcachefs, or below a build directory: see --build-directory in "
         "mountatd(8)"},
        {US, US, 0xabcd, "/home/a/proc",
         "the directory is on type 0xabcd: mountatd only mounts onto ext4, xfs, btrfs, tmpfs, "
         "overlayfs, f2fs, zfs and bcachefs, or below a build directory: see "
         "--build-directory in mountatd(8)"},
        {US, US, EXT4, "/home/\xe9/proc",
         "the directory's path is not UTF-8 text at byte 7 (e9), and a mount there would break "
         "systemctl list-units for everybody: rename that directory"},
        {US, US, EXT4, "/home/\xf4\x8f\xbf\xbf\x80/proc",
         "the directory's path is not UTF-8 text at byte 7 (f4 8f bf bf), and a mount there would "
         "break systemctl list-units for everybody: rename that directory"},
        {US, US, EXT4, "/home/a/dev", ""}, /* the status's own sentence is enough */
};

START_TEST(refusal_names_what_was_compared) {
        struct policy *policy = policy_of_rows();

        for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
                struct verdict verdict = policy_judge(
                        policy, &(struct subject){.uid = reasons[i].uid}, PROTOCOL_PROC,
                        facts_like(TARGET_DIRECTORY, reasons[i].owner, reasons[i].magic,
                                   reasons[i].path, 0));

                ck_assert_str_eq(verdict.text, reasons[i].text);
        }
        policy_free(policy);
}
END_TEST

/* However long the paths, the advice is complete. */
START_TEST(long_paths_leave_room_for_the_advice) {
        static const uint64_t kinds[] = {EXT4, FUSE};
        char path[LONG + 8], directory[LONG + 8];
        struct verdict verdict;

        memset(path, '\n', LONG);
        memset(directory, 'x', LONG);
        path[0] = directory[0] = '/';
        directory[LONG] = '\0';
        strcpy(path + LONG, "/proc");
        for (unsigned given = 0; given < 2; given++) {
                struct policy *policy = policy_new();

                if (given)
                        ck_assert_int_eq(
                                policy_add_build_directory(policy, directory, POLICY_ANY_USER), 0);
                for (unsigned m = 0; m < 2; m++) {
                        const char *advice;

                        verdict = policy_judge(
                                policy, &(struct subject){.uid = 4294967294}, PROTOCOL_PROC,
                                facts_like(TARGET_DIRECTORY, 4294967293, kinds[m], path, 0));
                        ck_assert_uint_eq(verdict.status, STATUS_NOT_AUTHORISED);
                        advice = strstr(verdict.text, "see --build-directory in mountatd(8)");
                        ck_assert_ptr_nonnull(advice);
                        ck_assert_str_eq(advice, "see --build-directory in mountatd(8)");
                        ck_assert_ptr_null(strchr(verdict.text, '\n'));
                }
                policy_free(policy);
        }
}
END_TEST

START_TEST(no_build_directory_is_said_to_be_none) {
        struct policy *policy = policy_new();
        struct verdict verdict =
                policy_judge(policy, &(struct subject){.uid = US}, PROTOCOL_PROC,
                             facts_like(TARGET_DIRECTORY, 0, EXT4, "/home/a/proc", 0));

        ck_assert_str_eq(verdict.text,
                         "/home/a/proc is owned by uid 0, not 1000, and no build directory is open "
                         "to you: see --build-directory in mountatd(8)");
        policy_free(policy);
}
END_TEST

/* ---- trust ---- */

/* An administrator may mount on any user's directory; all other rules apply. */
START_TEST(administrator_needs_no_ownership_but_all_else) {
        struct policy *policy = policy_of_rows();

        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                const struct subject administrator = {.uid = US, .trust = TRUST_ADMINISTRATOR};
                bool visible = rows[i].type == TARGET_DIRECTORY;
                enum status wanted = rows[i].wanted, status;

                if (wanted == STATUS_NOT_AUTHORISED && rows[i].magic == FUSE)
                        wanted = STATUS_UNSUPPORTED_FILE_SYSTEM;
                else if (wanted == STATUS_NOT_AUTHORISED && visible)
                        wanted = STATUS_OK;
                status = policy_judge(policy, &administrator, rows[i].file_system, facts_of_row(i))
                                 .status;
                ck_assert_msg(status == wanted, "row %zu, %s: %s", i, rows[i].path,
                              status_name(status));
        }
        policy_free(policy);
}
END_TEST

/* In a user namespace that doesn't map everybody, somebody else's directory may look like nobody's.
 */
START_TEST(owner_that_may_be_anybody_is_nobodys) {
        struct policy *policy = policy_new();
        const struct subject nobody = {.uid = 65534};
        const struct subject administrator = {.uid = 65534, .trust = TRUST_ADMINISTRATOR};
        const struct target_facts *facts =
                facts_like(TARGET_DIRECTORY, 65534, EXT4, "/home/x/proc", 0);
        struct verdict verdict;

        ck_assert_uint_eq(policy_judge(policy, &nobody, PROTOCOL_PROC, facts).status, STATUS_OK);
        policy_distrust_owner(policy, 65534);
        verdict = policy_judge(policy, &nobody, PROTOCOL_PROC, facts);
        ck_assert_uint_eq(verdict.status, STATUS_NOT_AUTHORISED);
        ck_assert_ptr_nonnull(strstr(verdict.text, "unmapped"));
        ck_assert_uint_eq(policy_judge(policy, &administrator, PROTOCOL_PROC, facts).status,
                          STATUS_OK);
        ck_assert_int_eq(policy_add_build_directory(policy, "/home", 65534), 0);
        ck_assert_uint_eq(policy_judge(policy, &nobody, PROTOCOL_PROC, facts).status, STATUS_OK);
        policy_free(policy);
}
END_TEST

/* The pid is only for the log. */
START_TEST(pid_makes_no_difference) {
        struct policy *policy = policy_of_rows();
        static const pid_t pids[] = {0, 1, 4711, -1};

        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
                for (size_t p = 0; p < sizeof(pids) / sizeof(pids[0]); p++) {
                        const struct subject subject = {.uid = US, .pid = pids[p]};

                        ck_assert_uint_eq(
                                policy_judge(policy, &subject, rows[i].file_system, facts_of_row(i))
                                        .status,
                                rows[i].wanted);
                }
        policy_free(policy);
}
END_TEST

static const struct {
        uid_t uid;
        const char *path;
        bool is;
} whole_paths[] = {
        {US, "/srv/build", true},
        {0, "/srv/build", true},
        {US, "/srv/mine", true},
        {0, "/srv/mine", false}, /* another user's, even for root */
        {US + 1, "/srv/mine", false},
        {US, "/srv/theirs", false},
        {100, "/srv/theirs", true},
        {10001, "/srv/theirs", true},
        {US, "/srv/deep/a/b", true}, /* given with a trailing slash */
        {US, "/srv/deep/a", false},
        {US, "/srv/named/proc", true},
        {US, "/srv/build/1/root", true}, /* a directory below it is open as well */
        {US, "/srv/build/proc", true},
        {US, "/srv/build2", false},
        {US, "/srv/buil", false},
        {US, "/srv/Build", false},
        {US, "/srv", false},
        {US, "/", false},
        {US, "", false},
        {US, "srv/build", false},
        {US, "/srv/build (deleted)", false},
        {US, "/x/srv/build", false},
};

START_TEST(check_knows_a_build_directory_by_its_whole_path) {
        static const enum status refused[] = {
                [TRUST_USER] = STATUS_NOT_AUTHORISED,
                [TRUST_ADMINISTRATOR] = STATUS_UNSUPPORTED_FILE_SYSTEM,
        };
        struct policy *policy = policy_of_rows(), *empty = policy_new();

        for (size_t i = 0; i < sizeof(whole_paths) / sizeof(whole_paths[0]); i++) {
                struct subject subject = {.uid = whole_paths[i].uid};
                const struct target_facts *facts =
                        facts_like(TARGET_DIRECTORY, 5000, FUSE, whole_paths[i].path, 0);

                /* An administrator vouches for a directory's owner, but not for its path. */
                for (subject.trust = TRUST_USER; subject.trust <= TRUST_ADMINISTRATOR;
                     subject.trust++)
                        ck_assert_msg(
                                policy_judge_check(policy, &subject, PROTOCOL_PROC, facts).status ==
                                        (whole_paths[i].is ? STATUS_OK : refused[subject.trust]),
                                "row %zu, uid %u, %s", i, whole_paths[i].uid, whole_paths[i].path);
                subject.trust = TRUST_USER;
                ck_assert_uint_eq(policy_judge_check(empty, &subject, PROTOCOL_PROC, facts).status,
                                  STATUS_NOT_AUTHORISED);
        }
        policy_free(empty);
        policy_free(policy);
}
END_TEST

/* Judged like a mountpoint of the same owner directly below. */
static const struct {
        enum status wanted;
        enum target_type type;
        uid_t owner;
        uint64_t magic;
        const char *path;
        unsigned flags;
} places[] = {
        {STATUS_OK, TARGET_DIRECTORY, US, EXT4, "/home/build", 0},
        {STATUS_OK, TARGET_DIRECTORY, US, EXT4, "/home/build", ROOT},
        {STATUS_OK, TARGET_DIRECTORY, US, EXT4, "/", ROOT},
        {STATUS_OK, TARGET_DIRECTORY, 0, FUSE, "/srv/build", ROOT},
        {STATUS_OK, TARGET_HIDDEN, 0, FUSE, "/srv/build", ROOT},
        {STATUS_OK, TARGET_DIRECTORY, US, EXT4, "/srv/theirs", 0},

        {STATUS_NOT_A_DIRECTORY, TARGET_OTHER, 0, 0, "", 0},
        {STATUS_TARGET_VANISHED, TARGET_DIRECTORY, US, EXT4, "/home/build (deleted)",
         DELETED | ROOT | FOREIGN},
        {STATUS_WRONG_NAME, TARGET_DIRECTORY, US, EXT4, "/home/\xe9", 0},
        {STATUS_UNSUPPORTED_FILE_SYSTEM, TARGET_DIRECTORY, US, RAMFS_MAGIC, "/home/build", 0},
        {STATUS_FOREIGN_NAMESPACE, TARGET_DIRECTORY, US, 0, "/home/build", FOREIGN},
        {STATUS_FOREIGN_NAMESPACE, TARGET_DIRECTORY, 0, 0, "/srv/build", ROOT | FOREIGN},
        {STATUS_NOT_AUTHORISED, TARGET_DIRECTORY, US, FUSE, "/srv/theirs", ROOT},
        {STATUS_NOT_AUTHORISED, TARGET_HIDDEN, 0, FUSE, "/srv/theirs", ROOT},
        {STATUS_NOT_AUTHORISED, TARGET_HIDDEN, US, EXT4, "/home/build", 0},
        {STATUS_NOT_AUTHORISED, TARGET_DIRECTORY, 0, EXT4, "/srv/theirs", 0},
        {STATUS_NOT_AUTHORISED, TARGET_DIRECTORY, 0, EXT4, "/", ROOT},

        /* With these names it is itself a mountpoint, */
        {STATUS_OK, TARGET_DIRECTORY, US, EXT4, "/home/proc", 0},
        {STATUS_ALREADY_MOUNTED, TARGET_DIRECTORY, US, EXT4, "/home/proc", ROOT},
        {STATUS_WRONG_NAME, TARGET_DIRECTORY, US, EXT4, "/home/sys", 0},
        {STATUS_WRONG_NAME, TARGET_DIRECTORY, 0, FUSE, "/srv/build/1/sys", 0},
        /* and a build directory is one whatever its name. */
        {STATUS_OK, TARGET_DIRECTORY, 0, FUSE, "/srv/named/proc", ROOT},
};

START_TEST(check_judges_a_place_as_a_mountpoint_in_it) {
        struct policy *policy = policy_of_rows();

        for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
                enum status status =
                        policy_judge_check(policy, &(struct subject){.uid = US}, PROTOCOL_PROC,
                                           facts_like(places[i].type, places[i].owner,
                                                      places[i].magic, places[i].path,
                                                      places[i].flags))
                                .status;

                ck_assert_msg(status == places[i].wanted, "row %zu, %s: %s", i, places[i].path,
                              status_name(status));
        }
        policy_free(policy);
}
END_TEST

START_TEST(check_of_a_mountpoint_is_judged_as_its_mount) {
        struct policy *policy = policy_of_rows();
        const struct subject subject = {.uid = US};

        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                const struct target_facts *facts = facts_of_row(i);
                const char *name = strrchr(facts->path, '/');

                /*
                 * All others are parents of mounts to come; /srv/named/proc is a build directory.
                 */
                if (!name || (strcmp(name, "/proc") != 0 && strcmp(name, "/sys") != 0) ||
                    strcmp(facts->path, "/srv/named/proc") == 0)
                        continue;
                ck_assert_msg(
                        policy_judge_check(policy, &subject, rows[i].file_system, facts).status ==
                                rows[i].wanted,
                        "row %zu, %s", i, facts->path);
        }
        policy_free(policy);
}
END_TEST

START_TEST(build_directories_can_be_walked) {
        struct policy *policy = policy_new();
        size_t cursor = 0;
        const char *path = NULL;
        uid_t uid = 0;

        ck_assert(!policy_next_build_directory(policy, &cursor, &path, &uid));
        ck_assert_ptr_null(path);
        ck_assert_int_eq(policy_add_build_directory(policy, "/a/", US), 0);
        ck_assert_int_eq(policy_add_build_directory(policy, "/b", POLICY_ANY_USER), 0);
        cursor = 0;
        ck_assert(policy_next_build_directory(policy, &cursor, &path, &uid));
        ck_assert_str_eq(path, "/a");
        ck_assert_uint_eq(uid, US);
        ck_assert(policy_next_build_directory(policy, &cursor, &path, &uid));
        ck_assert_str_eq(path, "/b");
        ck_assert_uint_eq(uid, POLICY_ANY_USER);
        ck_assert(!policy_next_build_directory(policy, &cursor, &path, &uid));
        policy_free(policy);
}
END_TEST

int main(void) {
        return SUITE_RUN(
                "policy", judges_every_row, empty_policy_opens_nothing_but_ones_own,
                root_needs_to_own_it_too, takes_exactly_the_local_file_systems,
                refusal_names_what_was_compared, long_paths_leave_room_for_the_advice,
                no_build_directory_is_said_to_be_none, takes_only_paths_as_the_kernel_spells_them,
                many_build_directories_are_all_open, writable_proc_is_for_the_named_alone,
                joining_is_for_the_named_alone, administrator_needs_no_ownership_but_all_else,
                owner_that_may_be_anybody_is_nobodys, pid_makes_no_difference,
                check_knows_a_build_directory_by_its_whole_path,
                check_judges_a_place_as_a_mountpoint_in_it,
                check_of_a_mountpoint_is_judged_as_its_mount, build_directories_can_be_walked);
}
