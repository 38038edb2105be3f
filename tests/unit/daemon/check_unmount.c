/* SPDX-License-Identifier: Apache-2.0 */

#include "daemon/unmount.h"

#include "common/fd.h"
#include "daemon/template.h"
#include "tests/test.h"
#include "tests/unit/daemon/fake_kernel.h"

#include <errno.h>
#include <pthread.h>
#include <sys/resource.h>

static const unsigned feature_sets[] = {0, FAKE_ALL_FEATURES & ~PROTOCOL_FEATURE_STATMOUNT,
                                        FAKE_ALL_FEATURES};

enum { N_FEATURE_SETS = sizeof(feature_sets) / sizeof(feature_sets[0]) };

/* One mount of ours on one directory, in an isolated thread. */
struct mounted {
        struct templates *templates;
        unsigned features;
        int directory;
        struct template_clone mount;
};

/* Once in the process. */
static void prepare(void) {
        static bool prepared;

        if (!prepared)
                ck_assert_int_eq(unmount_prepare(), 0);
        prepared = true;
}

static struct mounted start_on(unsigned features, struct fake_directory directory) {
        struct mounted mounted = {.features = features};

        prepare();
        fake_features(features);
        ck_assert_uint_eq(templates_new("x", &mounted.templates).status, STATUS_OK);
        mounted.directory = fake_directory(&directory);
        ck_assert_uint_eq(template_obtain(mounted.templates, TEMPLATE_PROC, &mounted.mount).status,
                          STATUS_OK);
        ck_assert_uint_eq(mount_attach(mounted.mount.fd, mounted.directory).status, STATUS_OK);
        ck_assert_int_eq(unmount_isolate(), 0);
        fake_calls_reset();
        return mounted;
}

static struct mounted start(unsigned features) {
        return start_on(features, (struct fake_directory){.path = "/r/proc"});
}

static int detach(const struct mounted *mounted, unsigned *strangers) {
        return unmount_detach(mounted->features, mounted->mount.fd, mounted->mount.id, strangers);
}

static void end(struct mounted *mounted) {
        fd_close(mounted->mount.fd);
        fd_close(mounted->directory);
        templates_free(mounted->templates);
}

START_TEST(detaches_the_mount_and_leaves_it) {
        for (size_t f = 0; f < N_FEATURE_SETS; f++) {
                struct mounted mounted = start(feature_sets[f]);
                unsigned strangers = 99;

                ck_assert_int_eq(detach(&mounted, &strangers), 0);
                ck_assert_uint_eq(strangers, 0);
                ck_assert_uint_eq(fake_mounts(), 0);
                unmount_return();
                ck_assert(fake_is_in_root());
                end(&mounted);
        }
}
END_TEST

START_TEST(detaches_once_where_it_can_ask) {
        struct mounted mounted = start(FAKE_ALL_FEATURES);
        unsigned strangers;

        ck_assert_int_eq(detach(&mounted, &strangers), 0);
        ck_assert_uint_eq(fake_calls(FAKE_UMOUNT), 1);
        end(&mounted);
}
END_TEST

START_TEST(mount_that_is_gone_is_a_success) {
        for (size_t f = 0; f < N_FEATURE_SETS; f++) {
                struct mounted mounted = start(feature_sets[f]);
                unsigned strangers = 99;

                fake_uncover(mounted.directory);
                ck_assert_int_eq(detach(&mounted, &strangers), 0);
                ck_assert_uint_eq(strangers, 0);
                unmount_return();
                ck_assert(fake_is_in_root());
                end(&mounted);
        }
}
END_TEST

START_TEST(detaches_strangers_on_top_first_and_counts_them) {
        static const unsigned numbers[] = {1, 2, 7, 63};

        for (size_t f = 0; f < N_FEATURE_SETS; f++)
                for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
                        struct mounted mounted = start(feature_sets[f]);
                        unsigned strangers = 99, wanted = numbers[i];

                        for (unsigned n = 0; n < wanted; n++)
                                fake_cover(mounted.directory);
                        ck_assert_int_eq(detach(&mounted, &strangers), 0);
                        ck_assert_uint_eq(strangers, wanted);
                        ck_assert_uint_eq(fake_mounts(), 0);
                        ck_assert_uint_eq(fake_strangers(), 0);
                        unmount_return();
                        ck_assert(fake_is_in_root());
                        end(&mounted);
                }
}
END_TEST

/* Without an answer our mount must not be assumed to have gone with the other. */
START_TEST(question_that_fails_is_not_taken_for_gone) {
        static const int errors[] = {EPERM, ENOSYS, EIO, EINVAL};

        for (size_t e = 0; e < sizeof(errors) / sizeof(errors[0]); e++)
                for (unsigned n = 1; n <= 2; n++) {
                        struct mounted mounted = start(FAKE_ALL_FEATURES);
                        unsigned strangers = 99;

                        fake_cover(mounted.directory);
                        fake_fail(FAKE_STATMOUNT, n, 1, errors[e]);
                        ck_assert_int_eq(detach(&mounted, &strangers), 0);
                        ck_assert_uint_eq(strangers, 1);
                        ck_assert_uint_eq(fake_mounts(), 0);
                        end(&mounted);
                }
}
END_TEST

/* EINVAL also means that somebody else has just detached the mount on top. */
START_TEST(refusal_alone_is_not_taken_for_gone) {
        for (size_t f = 0; f < N_FEATURE_SETS; f++)
                for (unsigned times = 1; times <= 3; times++) {
                        struct mounted mounted = start(feature_sets[f]);
                        unsigned strangers = 99;

                        fake_fail(FAKE_UMOUNT, 1, times, EINVAL);
                        ck_assert_int_eq(detach(&mounted, &strangers), 0);
                        ck_assert_uint_eq(strangers, 0);
                        ck_assert_uint_eq(fake_mounts(), 0);
                        end(&mounted);
                }
}
END_TEST

/* The table of thousands of mounts isn't read if the mount itself shows that it is on no other. */
START_TEST(table_is_read_only_of_what_is_on_another_mount) {
        struct mounted mounted = start(0);
        unsigned strangers = 99;

        fake_cover(mounted.directory);
        ck_assert_int_eq(detach(&mounted, &strangers), 0);
        ck_assert_uint_eq(strangers, 1);
        ck_assert_uint_eq(fake_calls(FAKE_UMOUNT), 2);
        ck_assert_uint_eq(fake_calls(FAKE_MOUNTINFO), 1);
        end(&mounted);
}
END_TEST

/* On a mount that is on no other: neither is in the table. */
START_TEST(mount_in_a_detached_tree_is_gone) {
        struct mounted mounted =
                start_on(PROTOCOL_FEATURE_CLONES,
                         (struct fake_directory){.path = "/r/proc", .flags = FAKE_IS_DETACHED});
        unsigned strangers = 99;

        ck_assert_int_eq(detach(&mounted, &strangers), 0);
        ck_assert_uint_eq(strangers, 0);
        ck_assert_uint_eq(fake_calls(FAKE_MOUNTINFO), 1);
        end(&mounted);
}
END_TEST

/* A mount whose state is unknown may still be there. */
START_TEST(question_that_fails_is_asked_again) {
        static const enum fake_call calls[] = {FAKE_STATX, FAKE_STATX_ABOVE};

        for (unsigned c = 0; c < 2; c++) {
                struct mounted mounted = start(0);
                unsigned strangers;

                fake_fail(calls[c], 1, 1000, EMFILE);
                ck_assert_int_eq(detach(&mounted, &strangers), -EBUSY);
                fake_calls_reset();
                fake_fail(calls[c], 1, 1, EMFILE);
                ck_assert_int_eq(detach(&mounted, &strangers), 0);
                end(&mounted);
        }
}
END_TEST

START_TEST(leaves_what_lies_below_it_alone) {
        struct mounted mounted = start(FAKE_ALL_FEATURES);
        unsigned strangers;
        FD_AUTO int other = fake_directory(&(struct fake_directory){.path = "/other/proc"});

        fake_cover(other);
        ck_assert_int_eq(detach(&mounted, &strangers), 0);
        ck_assert_uint_eq(fake_strangers(), 1);
        end(&mounted);
}
END_TEST

START_TEST(gives_up_on_a_stack_that_does_not_end) {
        for (size_t f = 0; f < N_FEATURE_SETS; f++) {
                struct mounted mounted = start(feature_sets[f]);
                unsigned strangers;

                for (unsigned n = 0; n < 200; n++)
                        fake_cover(mounted.directory);
                ck_assert_int_eq(detach(&mounted, &strangers), -EBUSY);
                ck_assert_uint_eq(fake_mounts(), 1);
                unmount_return();
                ck_assert(fake_is_in_root());
                while (fake_mount_on(mounted.directory))
                        fake_uncover(mounted.directory);
                end(&mounted);
        }
}
END_TEST

static const struct {
        enum fake_call call;
        int error;
        int result;
        unsigned mounts_left;
} failures[] = {
        {FAKE_FCHDIR, EACCES, -EACCES, 1}, {FAKE_FCHDIR, EIO, -EIO, 1},
        {FAKE_UMOUNT, EPERM, -EPERM, 1},   {FAKE_UMOUNT, ENOMEM, -ENOMEM, 1},
        {FAKE_UMOUNT, EINVAL, 0, 0},   /* the mount on top was detached meanwhile */
        {FAKE_STATMOUNT, EPERM, 0, 0}, /* it is asked again */
        {FAKE_STATMOUNT, EIO, 0, 0},
};

START_TEST(what_the_kernel_refuses_is_an_errno_and_can_be_tried_again) {
        for (size_t i = 0; i < sizeof(failures) / sizeof(failures[0]); i++) {
                struct mounted mounted = start(FAKE_ALL_FEATURES);
                unsigned strangers = 99;

                fake_fail(failures[i].call, 1, 1, failures[i].error);
                ck_assert_int_eq(detach(&mounted, &strangers), failures[i].result);
                ck_assert_uint_eq(strangers, 0);
                ck_assert_uint_eq(fake_mounts(), failures[i].mounts_left);
                unmount_return();
                ck_assert(fake_is_in_root());
                ck_assert_int_eq(detach(&mounted, &strangers), 0);
                ck_assert_uint_eq(fake_mounts(), 0);
                end(&mounted);
        }
}
END_TEST

/*
 * A working directory pins its mount: no call of the way back may need a resource that can be
 * short.
 */
START_TEST(returns_by_one_call_that_names_no_path) {
        struct mounted mounted = start(FAKE_ALL_FEATURES);
        unsigned strangers;

        ck_assert_int_eq(detach(&mounted, &strangers), 0);
        ck_assert(!fake_is_in_root());
        fake_calls_reset();
        unmount_return();
        ck_assert(fake_is_in_root());
        ck_assert_uint_eq(fake_calls(FAKE_ANY), 1);
        ck_assert_int_eq(fake_call_at(1), FAKE_RETURN);
        end(&mounted);
}
END_TEST

START_TEST(isolation_that_fails_is_an_errno) {
        prepare();
        fake_fail(FAKE_UNSHARE, 1, 1, EPERM);
        ck_assert_int_eq(unmount_isolate(), -EPERM);
        fake_calls_reset();
        fake_fail(FAKE_RETURN, 1, 1, EACCES);
        ck_assert_int_eq(unmount_isolate(), -EACCES);
        ck_assert_int_eq(unmount_isolate(), 0);
        ck_assert(fake_is_in_root());
}
END_TEST

START_TEST(preparation_that_fails_is_an_errno) {
        struct rlimit limit, none;

        ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
        none = (struct rlimit){.rlim_max = limit.rlim_max};
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
        ck_assert_int_eq(unmount_prepare(), -EMFILE);
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}
END_TEST

static void *isolate(void *argument) {
        bool *in_root = argument;

        *in_root = unmount_isolate() == 0 && fake_is_in_root();
        return NULL;
}

START_TEST(each_thread_is_isolated_by_itself) {
        struct mounted mounted = start(FAKE_ALL_FEATURES);
        bool in_root = false;
        unsigned strangers;
        pthread_t thread;

        ck_assert_int_eq(detach(&mounted, &strangers), 0);
        ck_assert_int_eq(pthread_create(&thread, NULL, isolate, &in_root), 0);
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
        ck_assert(in_root);
        ck_assert(!fake_is_in_root()); /* this thread is still there */
        unmount_return();
        end(&mounted);
}
END_TEST

int main(void) {
        return SUITE_RUN(
                "unmount", detaches_the_mount_and_leaves_it, detaches_once_where_it_can_ask,
                mount_that_is_gone_is_a_success, detaches_strangers_on_top_first_and_counts_them,
                question_that_fails_is_not_taken_for_gone, refusal_alone_is_not_taken_for_gone,
                table_is_read_only_of_what_is_on_another_mount, mount_in_a_detached_tree_is_gone,
                question_that_fails_is_asked_again, leaves_what_lies_below_it_alone,
                gives_up_on_a_stack_that_does_not_end,
                what_the_kernel_refuses_is_an_errno_and_can_be_tried_again,
                returns_by_one_call_that_names_no_path, isolation_that_fails_is_an_errno,
                preparation_that_fails_is_an_errno, each_thread_is_isolated_by_itself);
}
