/* SPDX-License-Identifier: Apache-2.0 */

#include "daemon/template.h"

#include "common/fd.h"
#include "common/protocol.h"
#include "tests/test.h"
#include "tests/unit/daemon/fake_kernel.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

enum {
        FORCED = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC,
        KINDS = TEMPLATE_DEV, /* kinds with a single superblock: check_dev.c tests the other */
        AHEAD = 4,            /* clones of a usual kind, as template.c has it */
        USUAL = 2,            /* kinds of which clones are made ahead */
};

static const struct {
        enum template_kind kind;
        const char *options;
        unsigned attributes;
} kinds[KINDS] = {
        {TEMPLATE_PROC, "proc,source=label,hidepid=ptraceable,ro", FORCED | MOUNT_ATTR_RDONLY},
        {TEMPLATE_PROC_PIDS, "proc,source=label,hidepid=ptraceable,subset=pid,ro",
         FORCED | MOUNT_ATTR_RDONLY},
        {TEMPLATE_PROC_WRITABLE, "proc,source=label,hidepid=ptraceable", FORCED},
        {TEMPLATE_PROC_WRITABLE_PIDS, "proc,source=label,hidepid=ptraceable,subset=pid", FORCED},
        {TEMPLATE_SYSFS, "sysfs,source=label", FORCED | MOUNT_ATTR_RDONLY},
};

static const unsigned feature_sets[] = {
        0,
        PROTOCOL_FEATURE_PIDS_ONLY,
        PROTOCOL_FEATURE_CLONES | PROTOCOL_FEATURE_PIDS_ONLY,
        PROTOCOL_FEATURE_UNIQUE_IDS | PROTOCOL_FEATURE_STATMOUNT,
        FAKE_ALL_FEATURES,
};

enum { N_FEATURE_SETS = sizeof(feature_sets) / sizeof(feature_sets[0]) };

static struct templates *start(unsigned features) {
        struct templates *templates = NULL;

        fake_features(features);
        ck_assert_uint_eq(templates_new("label", &templates).status, STATUS_OK);
        return templates;
}

/* Obtains a clone, and closes it. */
static void obtain(struct templates *templates, enum template_kind kind) {
        struct template_clone clone;

        ck_assert_uint_eq(template_obtain(templates, kind, &clone).status, STATUS_OK);
        ck_assert_int_ge(clone.fd, 0);
        fd_close(clone.fd);
}

/* With the kernel's own words, if there are any. */
static void has_failed(struct verdict verdict, int error, bool in_words) {
        ck_assert_uint_eq(verdict.status, STATUS_HOST_FAILED);
        ck_assert_int_eq(verdict.error, error);
        ck_assert_uint_eq(verdict.target, STATUS_NO_TARGET);
        if (in_words)
                ck_assert_str_eq(verdict.text, "the fake kernel refuses");
        else
                ck_assert_ptr_nonnull(strstr(verdict.text, strerror(error)));
}

/* ---- probing the kernel ---- */

START_TEST(finds_out_what_the_kernel_can_do) {
        for (size_t i = 0; i < N_FEATURE_SETS; i++) {
                unsigned descriptors = descriptors_count();
                struct templates *templates = start(feature_sets[i]);

                ck_assert_uint_eq(templates_setup(templates)->features, feature_sets[i]);
                ck_assert_str_eq(templates_setup(templates)->source, "label");
                ck_assert_ptr_null(templates_free(templates));
                ck_assert_uint_eq(descriptors_count(), descriptors);
        }
        ck_assert_ptr_null(templates_free(NULL));
}
END_TEST

/* statmount takes unique ids, and nothing else finds a mount by one. */
START_TEST(unique_ids_and_statmount_are_of_use_together) {
        static const unsigned alone[] = {PROTOCOL_FEATURE_STATMOUNT, PROTOCOL_FEATURE_UNIQUE_IDS};

        for (size_t i = 0; i < 2; i++) {
                struct templates *templates = start(alone[i] | PROTOCOL_FEATURE_CLONES);

                ck_assert_uint_eq(templates_setup(templates)->features, PROTOCOL_FEATURE_CLONES);
                templates_free(templates);
        }
}
END_TEST

/* A seccomp filter may return EPERM or ENOSYS. */
START_TEST(takes_any_error_of_a_probe_for_no) {
        static const int errors[] = {EPERM, ENOSYS, EINVAL, EOPNOTSUPP};
        static const struct {
                enum fake_call call;
                unsigned lost;
        } probes[] = {
                {FAKE_OPEN_TREE, PROTOCOL_FEATURE_CLONES},
                {FAKE_STATX, PROTOCOL_FEATURE_UNIQUE_IDS | PROTOCOL_FEATURE_STATMOUNT},
                {FAKE_STATMOUNT, PROTOCOL_FEATURE_UNIQUE_IDS | PROTOCOL_FEATURE_STATMOUNT},
        };

        for (size_t i = 0; i < sizeof(probes) / sizeof(probes[0]); i++)
                for (size_t e = 0; e < sizeof(errors) / sizeof(errors[0]); e++) {
                        struct templates *templates;

                        fake_calls_reset();
                        fake_fail(probes[i].call, 1, 100, errors[e]);
                        templates = start(FAKE_ALL_FEATURES);
                        ck_assert_uint_eq(templates_setup(templates)->features,
                                          FAKE_ALL_FEATURES & ~probes[i].lost);
                        templates_free(templates);
                }
}
END_TEST

/* What the host lacks is the reason given to clients; a shortage must not disable dev for good. */
START_TEST(dev_that_can_not_be_had_is_told_from_a_shortage) {
        static const struct {
                int error;
                enum status status;
        } rows[] = {
                {ENOENT, STATUS_UNSUPPORTED_FILE_SYSTEM},
                {EPERM, STATUS_UNSUPPORTED_FILE_SYSTEM},
                {ENOMEM, STATUS_HOST_FAILED},
                {EMFILE, STATUS_HOST_FAILED},
                {ENFILE, STATUS_HOST_FAILED},
                {EINTR, STATUS_HOST_FAILED},
        };

        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct templates *templates = start(FAKE_ALL_FEATURES);
                struct verdict verdict, judged;

                ck_assert_uint_eq(templates_judge(templates, PROTOCOL_DEV).status,
                                  STATUS_UNSUPPORTED_FILE_SYSTEM);
                fake_calls_reset();
                fake_fail(FAKE_OPEN_NODE, 1, 1, rows[i].error);
                verdict = templates_offer_dev(templates, 1 << 20);
                ck_assert_uint_eq(verdict.status, rows[i].status);
                ck_assert_ptr_nonnull(strstr(verdict.text, "/dev/null"));
                ck_assert_uint_eq(templates_setup(templates)->features, FAKE_ALL_FEATURES);
                judged = templates_judge(templates, PROTOCOL_DEV);
                if (verdict.status == STATUS_UNSUPPORTED_FILE_SYSTEM)
                        ck_assert_str_eq(judged.text, verdict.text);
                ck_assert_uint_eq(templates_judge(templates, PROTOCOL_SYSFS).status, STATUS_OK);
                templates_free(templates);
        }
}
END_TEST

/*
 * The daemon would believe it for the rest of its life, and forget the previous instance's mounts.
 */
START_TEST(does_not_take_a_shortage_for_an_answer) {
        static const int errors[] = {ENOMEM, EMFILE, ENFILE, ENOSPC, EINTR, EAGAIN, EIO};
        static const enum fake_call probes[] = {FAKE_OPEN_TREE, FAKE_STATX, FAKE_STATMOUNT};
        unsigned descriptors = descriptors_count();

        fake_features(FAKE_ALL_FEATURES);
        for (size_t i = 0; i < sizeof(probes) / sizeof(probes[0]); i++)
                for (size_t e = 0; e < sizeof(errors) / sizeof(errors[0]); e++) {
                        struct templates *templates = NULL;

                        fake_calls_reset();
                        fake_fail(probes[i], 1, 1, errors[e]);
                        has_failed(templates_new("label", &templates), errors[e], false);
                        ck_assert_ptr_null(templates);
                        ck_assert_uint_eq(descriptors_count(), descriptors);
                }
}
END_TEST

START_TEST(does_not_start_without_procfs_and_sysfs) {
        unsigned descriptors = descriptors_count(), calls;

        templates_free(start(FAKE_ALL_FEATURES));
        calls = fake_calls(FAKE_ANY);
        for (unsigned n = 1; n <= calls; n++) {
                struct templates *templates = NULL;
                struct verdict verdict;

                fake_calls_reset();
                fake_fail(FAKE_ANY, n, 1, EMFILE);
                verdict = templates_new("label", &templates);
                ck_assert_uint_eq(verdict.status, STATUS_HOST_FAILED);
                ck_assert_int_eq(verdict.error, EMFILE);
                /* A failure during the probe is only an answer. */
                if (fake_call_at(n) == FAKE_FSCONFIG && fake_calls(FAKE_FSOPEN) <= 2)
                        ck_assert_str_eq(verdict.text, "the fake kernel refuses");
                ck_assert_ptr_null(templates);
                ck_assert_uint_eq(descriptors_count(), descriptors);
        }
}
END_TEST

/* ---- recipes ---- */

START_TEST(forces_options_and_attributes_on_every_kind) {
        for (size_t f = 0; f < N_FEATURE_SETS; f++) {
                struct templates *templates = start(feature_sets[f]);

                if (!(feature_sets[f] & PROTOCOL_FEATURE_PIDS_ONLY))
                        fake_features(feature_sets[f] | PROTOCOL_FEATURE_PIDS_ONLY);
                for (size_t i = 0; i < KINDS * 2; i++) {
                        FD_AUTO int directory =
                                fake_directory(&(struct fake_directory){.path = "/r/proc"});
                        struct template_clone clone;

                        if (i == KINDS) /* those made ahead are no different */
                                templates_replenish(templates);
                        ck_assert_uint_eq(
                                template_obtain(templates, kinds[i % KINDS].kind, &clone).status,
                                STATUS_OK);
                        ck_assert_uint_eq(mount_attach(clone.fd, directory).status, STATUS_OK);
                        ck_assert_str_eq(fake_mount_on(directory)->options,
                                         kinds[i % KINDS].options);
                        ck_assert_uint_eq(fake_mount_on(directory)->attributes,
                                          kinds[i % KINDS].attributes);
                        fd_close(clone.fd);
                }
                templates_free(templates);
        }
}
END_TEST

START_TEST(without_the_option_pids_only_is_the_kernels_error) {
        struct templates *templates = start(FAKE_ALL_FEATURES & ~PROTOCOL_FEATURE_PIDS_ONLY);
        struct template_clone clone = {.fd = 4711};

        has_failed(template_obtain(templates, TEMPLATE_PROC_PIDS, &clone), EINVAL, true);
        ck_assert_int_eq(clone.fd, 4711);
        templates_free(templates);
}
END_TEST

/* ---- one at a time ---- */

START_TEST(clones_one_template_per_kind) {
        unsigned descriptors = descriptors_count();
        struct templates *templates = start(FAKE_ALL_FEATURES);

        fake_calls_reset();
        for (unsigned round = 0; round < 5; round++)
                for (size_t i = 0; i < KINDS; i++)
                        obtain(templates, kinds[i].kind);
        ck_assert_uint_eq(fake_calls(FAKE_FSOPEN), 3); /* two were there from the start */
        ck_assert_uint_eq(fake_calls(FAKE_OPEN_TREE), 5 * KINDS);
        templates_free(templates);
        ck_assert_uint_eq(descriptors_count(), descriptors);
}
END_TEST

START_TEST(makes_a_superblock_each_where_it_can_not_clone) {
        struct templates *templates = start(FAKE_ALL_FEATURES & ~PROTOCOL_FEATURE_CLONES);

        fake_calls_reset();
        for (unsigned i = 0; i < 3; i++)
                obtain(templates, TEMPLATE_PROC);
        ck_assert_uint_eq(fake_calls(FAKE_FSOPEN), 3);
        ck_assert_uint_eq(fake_calls(FAKE_OPEN_TREE), 0);
        templates_free(templates);
}
END_TEST

START_TEST(clone_is_given_with_its_id) {
        for (size_t f = 0; f < N_FEATURE_SETS; f++) {
                struct templates *templates = start(feature_sets[f]);
                uint64_t last = 0;

                for (unsigned i = 0; i < 2 * AHEAD + 1; i++) {
                        struct template_clone clone = {0};
                        uint64_t id = 0;

                        if (i == 2)
                                templates_replenish(templates);
                        ck_assert_uint_eq(template_obtain(templates, TEMPLATE_PROC, &clone).status,
                                          STATUS_OK);
                        ck_assert_int_eq(mount_identify(feature_sets[f], clone.fd, &id), 0);
                        ck_assert_uint_eq(clone.id, id);
                        ck_assert_uint_ne(clone.id, last);
                        last = clone.id;
                        fd_close(clone.fd);
                }
                templates_free(templates);
        }
}
END_TEST

/* For a kind whose template exists, and for one whose template has yet to be made. */
START_TEST(failed_creation_leaves_nothing_and_tells_the_kernels_words) {
        static const enum template_kind tried[] = {TEMPLATE_PROC, TEMPLATE_PROC_WRITABLE};

        for (size_t f = 0; f < N_FEATURE_SETS * 2; f++) {
                enum template_kind kind = tried[f % 2];
                struct templates *templates = start(feature_sets[f / 2]);
                unsigned descriptors, calls;

                fake_calls_reset();
                obtain(templates, kind);
                calls = fake_calls(FAKE_ANY);
                ck_assert_uint_ge(calls, 2);
                for (unsigned n = 1; n <= calls; n++) {
                        struct template_clone clone = {.fd = 4711, .id = 4711};
                        struct verdict verdict;

                        templates_free(templates);
                        templates = start(feature_sets[f / 2]);
                        descriptors = descriptors_count();
                        fake_calls_reset();
                        fake_fail(FAKE_ANY, n, 1, EPERM);
                        verdict = template_obtain(templates, kind, &clone);
                        has_failed(verdict, EPERM, fake_call_at(n) == FAKE_FSCONFIG);
                        ck_assert_int_eq(clone.fd, 4711);
                        ck_assert_uint_eq(clone.id, 4711);
                        /* A template made before a later call failed is kept for the next. */
                        ck_assert_uint_le(descriptors_count(), descriptors + f % 2);
                        fake_calls_reset();
                        obtain(templates, kind);
                }
                templates_free(templates);
        }
}
END_TEST

/* ---- made ahead ---- */

START_TEST(clone_made_ahead_costs_no_call) {
        unsigned descriptors = descriptors_count();
        struct templates *templates = start(FAKE_ALL_FEATURES);

        templates_replenish(templates);
        ck_assert_uint_eq(descriptors_count(), descriptors + USUAL * (1 + AHEAD));
        fake_calls_reset();
        for (unsigned i = 0; i < AHEAD; i++) {
                obtain(templates, TEMPLATE_PROC);
                obtain(templates, TEMPLATE_SYSFS);
        }
        ck_assert_uint_eq(fake_calls(FAKE_ANY), 0);
        obtain(templates, TEMPLATE_PROC);
        ck_assert_uint_eq(fake_calls(FAKE_OPEN_TREE), 1);
        templates_free(templates);
        ck_assert_uint_eq(descriptors_count(), descriptors);
}
END_TEST

START_TEST(unusual_kinds_are_not_made_ahead) {
        static const enum template_kind unusual[] = {TEMPLATE_PROC_PIDS, TEMPLATE_PROC_WRITABLE,
                                                     TEMPLATE_PROC_WRITABLE_PIDS};
        struct templates *templates = start(FAKE_ALL_FEATURES);

        templates_replenish(templates);
        for (size_t i = 0; i < 3; i++) {
                fake_calls_reset();
                obtain(templates, unusual[i]);
                ck_assert_uint_eq(fake_calls(FAKE_OPEN_TREE), 1);
        }
        templates_free(templates);
}
END_TEST

START_TEST(replenishes_what_was_obtained_and_no_more) {
        struct templates *templates = start(FAKE_ALL_FEATURES);

        templates_replenish(templates);
        for (unsigned taken = 0; taken <= AHEAD; taken++) {
                for (unsigned i = 0; i < taken; i++)
                        obtain(templates, TEMPLATE_SYSFS);
                fake_calls_reset();
                templates_replenish(templates);
                ck_assert_uint_eq(fake_calls(FAKE_OPEN_TREE), taken);
                ck_assert_uint_eq(fake_calls(FAKE_FSOPEN), 0);
        }
        templates_free(templates);
}
END_TEST

START_TEST(nothing_is_made_ahead_where_it_can_not_clone) {
        unsigned descriptors;
        struct templates *templates = start(FAKE_ALL_FEATURES & ~PROTOCOL_FEATURE_CLONES);

        descriptors = descriptors_count();
        fake_calls_reset();
        templates_replenish(templates);
        ck_assert_uint_eq(fake_calls(FAKE_ANY), 0);
        ck_assert_uint_eq(descriptors_count(), descriptors);
        templates_free(templates);
}
END_TEST

/* Each call of a replenishment fails in turn: later callers don't notice. */
START_TEST(what_can_not_be_made_ahead_is_no_failure) {
        unsigned descriptors = descriptors_count(), calls;
        struct templates *templates = start(FAKE_ALL_FEATURES);

        fake_calls_reset();
        templates_replenish(templates);
        calls = fake_calls(FAKE_ANY);
        ck_assert_uint_eq(calls, USUAL * AHEAD * 2);
        templates_free(templates);

        for (unsigned n = 1; n <= calls; n++) {
                templates = start(FAKE_ALL_FEATURES);
                fake_calls_reset();
                fake_fail(FAKE_ANY, n, 1, EMFILE);
                templates_replenish(templates);
                ck_assert_uint_eq(fake_calls(FAKE_ANY), n); /* no immediate retry */
                /* Complete clones took two calls each. */
                ck_assert_uint_eq(descriptors_count(), descriptors + USUAL + (n - 1) / 2);
                obtain(templates, TEMPLATE_PROC);
                obtain(templates, TEMPLATE_SYSFS);
                templates_replenish(templates);
                ck_assert_uint_eq(descriptors_count(), descriptors + USUAL * (1 + AHEAD));
                templates_free(templates);
                ck_assert_uint_eq(descriptors_count(), descriptors);
        }
}
END_TEST

/* ---- threads ---- */

enum { THREADS = 4, ROUNDS = 1000 };

struct obtaining {
        struct templates *templates;
        enum template_kind kind;
        pthread_barrier_t *barrier;
        uint64_t ids[ROUNDS];
        unsigned mismatches;
};

static void *obtain_many(void *argument) {
        struct obtaining *obtaining = argument;

        pthread_barrier_wait(obtaining->barrier);
        for (unsigned i = 0; i < ROUNDS; i++) {
                struct template_clone clone = {.fd = -EBADF};
                struct verdict verdict =
                        template_obtain(obtaining->templates, obtaining->kind, &clone);
                uint64_t id = 0;

                obtaining->mismatches += verdict.status != STATUS_OK ||
                                         mount_identify(FAKE_ALL_FEATURES, clone.fd, &id) < 0 ||
                                         id != clone.id;
                obtaining->ids[i] = clone.id;
                fd_close(clone.fd);
                if (i % 3 == 0)
                        templates_replenish(obtaining->templates);
        }
        return NULL;
}

static int compare(const void *a, const void *b) {
        const uint64_t *x = a, *y = b;

        return (*x > *y) - (*x < *y);
}

/* A descriptor and its id belong together, and no clone is given out twice. */
static void obtain_at_once(enum template_kind kind) {
        static struct obtaining obtaining[THREADS];
        static uint64_t ids[THREADS * ROUNDS];
        struct templates *templates = start(FAKE_ALL_FEATURES);
        pthread_barrier_t barrier;
        pthread_t threads[THREADS];

        pthread_barrier_init(&barrier, NULL, THREADS);
        for (unsigned i = 0; i < THREADS; i++) {
                obtaining[i] = (struct obtaining){
                        .templates = templates, .kind = kind, .barrier = &barrier};
                ck_assert_int_eq(pthread_create(&threads[i], NULL, obtain_many, &obtaining[i]), 0);
        }
        for (unsigned i = 0; i < THREADS; i++) {
                ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
                ck_assert_uint_eq(obtaining[i].mismatches, 0);
                memcpy(&ids[i * ROUNDS], obtaining[i].ids, sizeof(obtaining[i].ids));
        }
        qsort(ids, THREADS * ROUNDS, sizeof(ids[0]), compare);
        for (unsigned i = 1; i < THREADS * ROUNDS; i++)
                ck_assert_uint_ne(ids[i - 1], ids[i]);
        pthread_barrier_destroy(&barrier);
        templates_free(templates);
}

START_TEST(threads_that_obtain_at_once_never_get_the_same) {
        unsigned descriptors = descriptors_count();

        obtain_at_once(TEMPLATE_PROC);
        ck_assert_uint_eq(descriptors_count(), descriptors);
}
END_TEST

/* The template of this kind doesn't exist when all begin: one is kept, the others are closed. */
START_TEST(threads_that_make_a_template_at_once_keep_one) {
        unsigned descriptors = descriptors_count();

        fake_calls_reset();
        obtain_at_once(TEMPLATE_PROC_WRITABLE);
        ck_assert_uint_le(fake_calls(FAKE_FSMOUNT), 3 + THREADS); /* 3 at the start */
        ck_assert_uint_eq(descriptors_count(), descriptors);
}
END_TEST

START_TEST(tells_how_many_mounts_each_is) {
        struct templates *templates = start(FAKE_ALL_FEATURES);

        for (enum template_kind kind = 0; kind < TEMPLATE_DEV; kind++) {
                ck_assert_uint_eq(templates_mounts(templates, kind), 1);
                /* And lacks nothing when it is attached. */
                fake_calls_reset();
                ck_assert_uint_eq(template_complete(templates, kind, -EBADF).status, STATUS_OK);
                ck_assert_uint_eq(fake_calls(FAKE_ANY), 0);
        }
        ck_assert_uint_eq(templates_offer_dev(templates, 64 << 20).status, STATUS_OK);
        ck_assert_uint_eq(templates_mounts(templates, TEMPLATE_DEV), 9);
        templates_free(templates);
        templates = start(FAKE_ALL_FEATURES);
        ck_assert_uint_eq(templates_offer_dev(templates, 0).status, STATUS_OK);
        ck_assert_uint_eq(templates_mounts(templates, TEMPLATE_DEV), 8); /* without shm */
        templates_free(templates);
}
END_TEST

int main(void) {
        return SUITE_RUN(
                "template", finds_out_what_the_kernel_can_do,
                unique_ids_and_statmount_are_of_use_together, takes_any_error_of_a_probe_for_no,
                dev_that_can_not_be_had_is_told_from_a_shortage,
                does_not_take_a_shortage_for_an_answer, does_not_start_without_procfs_and_sysfs,
                forces_options_and_attributes_on_every_kind,
                without_the_option_pids_only_is_the_kernels_error, clones_one_template_per_kind,
                makes_a_superblock_each_where_it_can_not_clone, clone_is_given_with_its_id,
                failed_creation_leaves_nothing_and_tells_the_kernels_words,
                clone_made_ahead_costs_no_call, unusual_kinds_are_not_made_ahead,
                replenishes_what_was_obtained_and_no_more,
                nothing_is_made_ahead_where_it_can_not_clone,
                what_can_not_be_made_ahead_is_no_failure,
                threads_that_obtain_at_once_never_get_the_same,
                threads_that_make_a_template_at_once_keep_one, tells_how_many_mounts_each_is);
}
