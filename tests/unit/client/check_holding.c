/* SPDX-License-Identifier: Apache-2.0 */

/* How a lease's mounts are found again, in a mount namespace of the test's own. */

#include "client/holding.h"

#include "common/fd.h"
#include "tests/test.h"
#include "tests/unit/client/scripted.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BOTH = MOUNTAT_PROC | MOUNTAT_SYSFS };

static struct holding *holding;
static struct failure failure;

static void make(const char *name) {
        ck_assert_int_eq(mkdirat(scripted.root, name, 0755), 0);
}

static int open_below(const char *name) {
        int fd = openat(scripted.root, name, O_PATH | O_DIRECTORY | O_CLOEXEC);

        ck_assert_int_ge(fd, 0);
        return fd;
}

/* As mountat_mount_root() does it: the targets are below a root. */
static void hold_root(uint32_t flags) {
        struct root_targets targets;

        holding = holding_new();
        ck_assert_ptr_nonnull(holding);
        ck_assert_int_eq(root_open(&holding->root, scripted.root, flags, &failure), 0);
        ck_assert_int_eq(root_open_targets(&holding->root, &targets, &failure), 0);
        holding_note_targets(holding, targets.targets, targets.count);
        root_targets_close(&targets);
}

/* As mountat_mount() does it: each is a descriptor. */
static void hold_targets(const char *sys, const char *proc) {
        struct mountat_target targets[] = {
                {.fd = open_below(sys), .file_system = MOUNTAT_FILE_SYSTEM_SYSFS},
                {.fd = open_below(proc), .file_system = MOUNTAT_FILE_SYSTEM_PROC},
        };

        holding = holding_new();
        ck_assert_ptr_nonnull(holding);
        ck_assert_int_eq(holding_keep_targets(holding, targets, 2, &failure), 0);
        for (int i = 0; i < 2; i++)
                close(targets[i].fd);
}

static void mount_both(void) {
        mount_on("proc");
        mount_on("sys");
}

static void unmount_both(void) {
        unmount_from("proc");
        unmount_from("sys");
}

static bool is_same(int fd, const char *name) {
        struct stat here, there;

        ck_assert_int_eq(fstat(fd, &here), 0);
        ck_assert_int_eq(fstatat(scripted.root, name, &there, 0), 0);
        return here.st_dev == there.st_dev && here.st_ino == there.st_ino;
}

static void expect_opened(const char *first, const char *second) {
        const char *const names[] = {first, second};
        int fds[MOUNTAT_TARGETS_MAX];

        ck_assert_int_eq(holding_open_mounts(holding, fds), 0);
        for (int i = 0; i < 2; i++) {
                ck_assert(is_same(fds[i], names[i]));
                ck_assert_int_eq(fcntl(fds[i], F_GETFD), FD_CLOEXEC);
                close(fds[i]);
        }
        ck_assert_int_eq(holding_check_bare(holding), -EBUSY);
}

/* And nothing is left open or written. */
static void expect_not_opened(int error) {
        unsigned before = descriptors_count();
        int fds[MOUNTAT_TARGETS_MAX] = {77, 78};

        ck_assert_int_eq(holding_open_mounts(holding, fds), -error);
        ck_assert_uint_eq(descriptors_count(), before);
        ck_assert(fds[0] == 77 && fds[1] == 78);
}

/* ---- having ---- */

START_TEST(a_new_one_has_nothing) {
        holding = holding_new();
        ck_assert_ptr_nonnull(holding);
        ck_assert_uint_eq(holding->count, 0);
        ck_assert_int_eq(holding->fate, HOLDING_KEPT);
        ck_assert_int_lt(holding->root.fd, 0);
        ck_assert_ptr_null(holding_free(holding));
        ck_assert_ptr_null(holding_free(NULL));
}
END_TEST

START_TEST(below_a_root_one_descriptor_is_enough) {
        unsigned before = descriptors_count();

        make_mountpoints();
        hold_root(BOTH | MOUNTAT_READ_ONLY);
        ck_assert_uint_eq(descriptors_count(), before + 1);
        ck_assert_uint_eq(holding->count, 2);
        for (uint32_t i = 0; i < 2; i++) {
                ck_assert_int_lt(holding->targets[i].fd, 0);
                ck_assert_uint_eq(holding->targets[i].file_system, FLAG_FIRST + i);
        }
        holding_free(holding);
        ck_assert_uint_eq(descriptors_count(), before);
}
END_TEST

START_TEST(targets_are_kept_by_duplicates) {
        unsigned before = descriptors_count();

        make_mountpoints();
        hold_targets("sys", "proc");
        ck_assert_uint_eq(descriptors_count(), before + 2);
        ck_assert_uint_eq(holding->count, 2);
        ck_assert_uint_eq(holding->targets[0].file_system, MOUNTAT_FILE_SYSTEM_SYSFS);
        ck_assert(is_same(holding->targets[0].fd, "sys"));
        ck_assert(is_same(holding->targets[1].fd, "proc"));
        for (int i = 0; i < 2; i++) {
                ck_assert_int_ge(holding->targets[i].fd, 3);
                ck_assert_int_eq(fcntl(holding->targets[i].fd, F_GETFD), FD_CLOEXEC);
        }
        holding_free(holding);
        ck_assert_uint_eq(descriptors_count(), before);
}
END_TEST

START_TEST(a_target_that_cannot_be_kept_is_named_and_the_others_are_given_back) {
        struct mountat_target targets[] = {
                {.fd = scripted.root, .file_system = MOUNTAT_FILE_SYSTEM_PROC},
                {.fd = -1, .file_system = MOUNTAT_FILE_SYSTEM_SYSFS},
        };

        holding = holding_new();
        ck_assert_int_eq(holding_keep_targets(holding, targets, 2, &failure), -EBADF);
        ck_assert_int_eq(failure.status, MOUNTAT_STATUS_CLIENT_FAILED);
        ck_assert_uint_eq(failure.target, 1);
        ck_assert_str_eq(failure.text,
                         "cannot duplicate the directory's descriptor: Bad file descriptor");
        holding_free(holding);
}
END_TEST

START_TEST(freeing_removes_what_was_made_and_leaving_does_not) {
        hold_root(BOTH | MOUNTAT_CREATE);
        holding_free(holding);
        ck_assert(!is_there("proc") && !is_there("sys"));

        hold_root(BOTH | MOUNTAT_CREATE);
        ck_assert_ptr_null(holding_leave(holding));
        ck_assert(is_there("proc") && is_there("sys"));
}
END_TEST

/* ---- the mounts ---- */

MOUNT_TEST(mounts_below_a_root_are_opened_in_their_order) {
        make_mountpoints();
        hold_root(BOTH);
        mount_both();
        expect_opened("proc", "sys");
        unmount_both();
        holding_free(holding);
}

MOUNT_TEST(mounts_on_targets_are_opened_in_their_order) {
        make_mountpoints();
        hold_targets("sys", "proc");
        mount_both();
        expect_opened("sys", "proc");
        unmount_both();
        holding_free(holding);
}

MOUNT_TEST(a_mount_is_found_where_its_parent_was_moved_to) {
        make("old");
        make("old/proc");
        make("sys");
        hold_targets("sys", "old/proc");
        mount_on("sys");
        mount_on("old/proc");
        ck_assert_int_eq(renameat(scripted.root, "old", scripted.root, "new"), 0);
        make("old");
        make("old/proc"); /* another */
        expect_opened("sys", "new/proc");
        unmount_from("sys");
        unmount_from("new/proc");
        holding_free(holding);
}

/* Below a root, or each by itself; before they are mounted on. */
static void hold_both_by_root(void) {
        hold_root(BOTH);
}

static void hold_both_by_targets(void) {
        hold_targets("sys", "proc");
}

static void (*const holders[])(void) = {hold_both_by_root, hold_both_by_targets};

MOUNT_TEST(what_is_no_mount_any_more_is_not_there) {
        make_mountpoints();
        for (size_t i = 0; i < N_ELEMENTS(holders); i++) {
                static const char *const names[] = {"proc", "sys"};

                holders[i]();
                expect_not_opened(ENOENT);
                ck_assert_int_eq(holding_check_bare(holding), 0);
                for (int k = 0; k < 2; k++) { /* the first of them, or the second */
                        mount_on(names[k]);
                        expect_not_opened(ENOENT);
                        ck_assert_int_eq(holding_check_bare(holding), -EBUSY);
                        unmount_from(names[k]);
                }
                holding_free(holding);
        }
}

START_TEST(a_directory_that_is_gone_is_bare) {
        for (size_t i = 0; i < N_ELEMENTS(holders); i++) {
                make_mountpoints();
                holders[i]();
                ck_assert_int_eq(unlinkat(scripted.root, "proc", AT_REMOVEDIR), 0);
                ck_assert_int_eq(unlinkat(scripted.root, "sys", AT_REMOVEDIR), 0);
                expect_not_opened(ENOENT);
                ck_assert_int_eq(holding_check_bare(holding), 0);
                holding_free(holding);
        }
}
END_TEST

MOUNT_TEST(a_link_in_its_place_is_not_followed) {
        make_mountpoints();
        make("elsewhere");
        mount_on("elsewhere");
        for (size_t i = 0; i < N_ELEMENTS(holders); i++) {
                /* openat2(2) has another errno for it than openat(2) with O_NOFOLLOW. */
                const int error = holders[i] == hold_both_by_root ? ELOOP : ENOTDIR;

                holders[i]();
                ck_assert_int_eq(unlinkat(scripted.root, "proc", AT_REMOVEDIR), 0);
                ck_assert_int_eq(symlinkat("elsewhere", scripted.root, "proc"), 0);
                mount_on("sys");
                expect_not_opened(error);
                unmount_from("sys");
                ck_assert_int_eq(holding_check_bare(holding), error == ELOOP ? -ELOOP : 0);
                holding_free(holding);
                ck_assert_int_eq(unlinkat(scripted.root, "proc", 0), 0);
                make("proc");
        }
        unmount_from("elsewhere");
}

START_TEST(a_file_system_without_a_name_cannot_be_found) {
        const struct mountat_target target = {.fd = scripted.root, .file_system = 99};

        holding = holding_new();
        ck_assert_int_eq(holding_keep_targets(holding, &target, 1, &failure), 0);
        expect_not_opened(EOPNOTSUPP);
        ck_assert_int_eq(holding_check_bare(holding), -EOPNOTSUPP);
        holding_free(holding);
}
END_TEST

/* It takes one for each mount. */
MOUNT_TEST(a_shortage_is_neither_bare_nor_gone) {
        make_mountpoints();
        for (size_t i = 0; i < N_ELEMENTS(holders); i++) {
                holders[i]();
                mount_both();
                for (unsigned left = 0; left < 2; left++) {
                        const int *filled = descriptors_leave(left, scripted.root);
                        int fds[] = {77, 78};

                        ck_assert_int_eq(holding_open_mounts(holding, fds), -EMFILE);
                        ck_assert(fds[0] == 77 && fds[1] == 78);
                        if (left == 0)
                                ck_assert_int_eq(holding_check_bare(holding), -EMFILE);
                        descriptors_give_back(filled);
                }
                holding_free(holding);
                unmount_both();
        }
}

/* ---- losing ---- */

#define LOST "lease 0000001234567890 was lost with the connection to mountatd: "
#define RELEASED ": mountatd unmounts what is left of it within its --adopt-timeout"

static void expect_explanation(const char *text) {
        ck_assert_int_eq(holding_explain(holding, &failure), -ENOENT);
        ck_assert_int_eq(failure.status, MOUNTAT_STATUS_NO_SUCH_LEASE);
        ck_assert_int_eq(failure.error, ENOENT);
        ck_assert_uint_eq(failure.target, MOUNTAT_NO_TARGET);
        ck_assert_str_eq(failure.text, text);
}

static void have(void) {
        holding = holding_new();
        ck_assert_ptr_nonnull(holding);
        holding->id = SCRIPTED_LEASE;
}

START_TEST(a_loss_is_told_with_its_reason) {
        static const struct {
                enum holding_fate fate;
                int error;
                const char *text;
        } cases[] = {
                {HOLDING_BARE, 0, LOST "its mounts are gone" RELEASED},
                {HOLDING_UNREACHABLE, -EACCES,
                 LOST "its mounts cannot be opened: Permission denied" RELEASED},
                {HOLDING_REFUSED, 0, LOST "mountatd had released it already" RELEASED},
        };

        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                have();
                holding_lose(holding, cases[i].fate, cases[i].error);
                ck_assert_int_eq(holding->fate, cases[i].fate);
                expect_explanation(cases[i].text);
                holding_free(holding);
        }
}
END_TEST

START_TEST(a_refusal_is_told_in_the_daemons_words) {
        static const struct {
                struct wire_reply reply;
                const char *text;
        } cases[] = {
                {{.status = STATUS_NOT_AUTHORISED, .text = "it isn't\x1b yours"},
                 LOST "it isn't\\x1b yours" RELEASED},
                {{.status = STATUS_TARGET_VANISHED},
                 LOST "the directory has been removed" RELEASED},
                {{.status = UINT32_MAX}, LOST "unknown status" RELEASED},
                /* It says less than that it was lost. */
                {{.status = STATUS_NO_SUCH_LEASE, .text = "what lease?"},
                 LOST "mountatd had released it already" RELEASED},
        };

        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                have();
                holding_lose_refused(holding, &cases[i].reply);
                ck_assert_int_eq(holding->fate, HOLDING_REFUSED);
                expect_explanation(cases[i].text);
                holding_free(holding);
        }
}
END_TEST

START_TEST(the_longest_refusal_is_kept_whole) {
        struct wire_reply reply = {.status = STATUS_NOT_AUTHORISED};

        have();
        memset(reply.text, 'a', PROTOCOL_TEXT_MAX);
        holding_lose_refused(holding, &reply);
        ck_assert_str_eq(holding->refusal, reply.text);
        holding_explain(holding, &failure);
        ck_assert_ptr_nonnull(strstr(failure.text, reply.text));
        ck_assert_ptr_nonnull(strstr(failure.text, RELEASED));
        holding_free(holding);
}
END_TEST

/* To see when they are gone. */
MOUNT_TEST(what_leads_to_a_lost_leases_mounts_stays_open) {
        make_mountpoints();
        for (size_t i = 0; i < N_ELEMENTS(holders); i++) {
                holders[i]();
                mount_both();
                holding_lose_refused(holding, &(struct wire_reply){.status = STATUS_NO_SUCH_LEASE});
                ck_assert_int_eq(holding_check_bare(holding), -EBUSY);
                unmount_both();
                ck_assert_int_eq(holding_check_bare(holding), 0);
                holding_free(holding);
        }
}

int main(void) {
        Suite *suite = suite_create("holding");
        TCase *tests = scripted_case(suite, "holding");

        scripted_isolate();
        tcase_add_test(tests, a_new_one_has_nothing);
        tcase_add_test(tests, below_a_root_one_descriptor_is_enough);
        tcase_add_test(tests, targets_are_kept_by_duplicates);
        tcase_add_test(tests, a_target_that_cannot_be_kept_is_named_and_the_others_are_given_back);
        tcase_add_test(tests, freeing_removes_what_was_made_and_leaving_does_not);

        tcase_add_test(tests, mounts_below_a_root_are_opened_in_their_order);
        tcase_add_test(tests, mounts_on_targets_are_opened_in_their_order);
        tcase_add_test(tests, a_mount_is_found_where_its_parent_was_moved_to);
        tcase_add_test(tests, what_is_no_mount_any_more_is_not_there);
        tcase_add_test(tests, a_directory_that_is_gone_is_bare);
        tcase_add_test(tests, a_link_in_its_place_is_not_followed);
        tcase_add_test(tests, a_file_system_without_a_name_cannot_be_found);
        tcase_add_test(tests, a_shortage_is_neither_bare_nor_gone);

        tcase_add_test(tests, a_loss_is_told_with_its_reason);
        tcase_add_test(tests, a_refusal_is_told_in_the_daemons_words);
        tcase_add_test(tests, the_longest_refusal_is_kept_whole);
        tcase_add_test(tests, what_leads_to_a_lost_leases_mounts_stays_open);
        return suite_run_all(suite);
}
