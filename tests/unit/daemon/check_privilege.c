/* SPDX-License-Identifier: Apache-2.0 */

/* Each test is a process of its own, so it drops only its own privileges. */

#include "daemon/privilege.h"

#include "tests/test.h"

#include <errno.h>
#include <linux/securebits.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

static void drops_for(bool join) {
        const char *step = NULL;
        int r = privilege_drop(join, &step);

        ck_assert_msg(r == 0, "%s: %s", step, strerror(-r));
}

static void drops(void) {
        drops_for(false);
}

static void is_refused(const char *part) {
        const char *what = NULL;

        ck_assert_int_eq(privilege_check(&what), -EPERM);
        ck_assert_msg(what && strstr(what, part), "'%s' doesn't speak of '%s'", what, part);
}

/*
 * ThreadSanitizer has a thread of its own from the start of a forked process, such as Check's
 * tests, which keeps its capabilities and is rightly refused.
 */
static void is_accepted(void) {
        const char *what = NULL;
        int r = privilege_check(&what);

#if defined(__SANITIZE_THREAD__)
        ck_assert_int_eq(r, -EPERM);
        ck_assert_ptr_nonnull(strstr(what, "the permitted set"));
#else
        ck_assert_msg(r == 0, "%s", what);
#endif
}

static bool has(cap_value_t cap, cap_flag_t flag) {
        cap_flag_value_t value = CAP_CLEAR;
        cap_t caps = cap_get_proc();

        cap_get_flag(caps, cap, flag, &value);
        cap_free(caps);
        return value == CAP_SET;
}

#define NEEDS_FULL_CAPABILITIES                                                                    \
        do {                                                                                       \
                if (!has(CAP_SETPCAP, CAP_EFFECTIVE) || !has(CAP_SYS_ADMIN, CAP_EFFECTIVE))        \
                        test_skip("dropping capabilities needs them");                             \
        } while (0)

static void keeps(bool join) {
        drops_for(join);
        is_accepted();
        for (cap_value_t cap = 0; CAP_IS_SUPPORTED(cap); cap++) {
                bool kept = cap == CAP_SYS_ADMIN || (join && cap == CAP_SYS_CHROOT);

                ck_assert_int_eq(has(cap, CAP_PERMITTED), kept);
                ck_assert_int_eq(has(cap, CAP_EFFECTIVE), kept);
                ck_assert(!has(cap, CAP_INHERITABLE));
                ck_assert_int_eq(cap_get_bound(cap), kept);
                ck_assert_int_eq(cap_get_ambient(cap), 0);
        }
        ck_assert_int_eq(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1);
        ck_assert_uint_eq(cap_get_secbits(), 0xef);
}

START_TEST(keeps_exactly_one_capability) {
        NEEDS_FULL_CAPABILITIES;
        keeps(false);
}
END_TEST

START_TEST(keeps_a_second_one_to_join) {
        NEEDS_FULL_CAPABILITIES;
        keeps(true);
}
END_TEST

START_TEST(second_one_that_it_lacks_is_named) {
        const cap_value_t keep[] = {CAP_SYS_ADMIN, CAP_SETPCAP};
        const char *step = NULL;
        cap_t caps = cap_init();

        NEEDS_FULL_CAPABILITIES;
        cap_set_flag(caps, CAP_PERMITTED, 2, keep, CAP_SET);
        cap_set_flag(caps, CAP_EFFECTIVE, 2, keep, CAP_SET);
        ck_assert_int_eq(cap_set_proc(caps), 0);
        cap_free(caps);
        ck_assert_int_eq(privilege_drop(true, &step), -EPERM);
        ck_assert_ptr_nonnull(strstr(step, "CAP_SYS_CHROOT"));
}
END_TEST

START_TEST(can_be_done_twice) {
        NEEDS_FULL_CAPABILITIES;
        drops();
        drops();
        is_accepted();
}
END_TEST

START_TEST(nothing_can_be_had_back) {
        cap_t caps;
        const cap_value_t wanted = CAP_SETPCAP;

        NEEDS_FULL_CAPABILITIES;
        drops();
        caps = cap_get_proc();
        cap_set_flag(caps, CAP_PERMITTED, 1, &wanted, CAP_SET);
        ck_assert_int_eq(cap_set_proc(caps), -1);
        cap_free(caps);
        ck_assert_int_eq(cap_set_secbits(0), -1);
        ck_assert_int_eq(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_SYS_ADMIN, 0, 0), -1);
}
END_TEST

/* As under CapabilityBoundingSet=CAP_SYS_ADMIN, SecureBits= and AmbientCapabilities=. */
START_TEST(end_state_of_a_unit_is_accepted) {
        const cap_value_t keep = CAP_SYS_ADMIN;
        cap_t caps;

        NEEDS_FULL_CAPABILITIES;
        for (cap_value_t cap = 0; CAP_IS_SUPPORTED(cap); cap++)
                if (cap != CAP_SYS_ADMIN)
                        ck_assert_int_eq(cap_drop_bound(cap), 0);
        ck_assert_int_eq(cap_set_secbits(SECBIT_NOROOT | SECBIT_NOROOT_LOCKED |
                                         SECBIT_NO_SETUID_FIXUP | SECBIT_NO_SETUID_FIXUP_LOCKED),
                         0);
        caps = cap_init();
        cap_set_flag(caps, CAP_PERMITTED, 1, &keep, CAP_SET);
        cap_set_flag(caps, CAP_EFFECTIVE, 1, &keep, CAP_SET);
        cap_set_flag(caps, CAP_INHERITABLE, 1, &keep, CAP_SET);
        ck_assert_int_eq(cap_set_proc(caps), 0);
        cap_free(caps);
        ck_assert_int_eq(cap_set_ambient(CAP_SYS_ADMIN, CAP_SET), 0);
        is_refused("inheritable");

        drops();
        is_accepted();
        ck_assert_int_eq(cap_get_ambient(CAP_SYS_ADMIN), 0);
}
END_TEST

/*
 * Without CAP_SETPCAP from the start, and without securebits: it can't set them itself, but it
 * notices.
 */
START_TEST(bounding_set_that_it_can_not_drop_is_refused) {
        cap_t caps;
        const cap_value_t keep = CAP_SYS_ADMIN;

        NEEDS_FULL_CAPABILITIES;
        ck_assert_int_eq(cap_set_secbits(0xef), 0);
        caps = cap_init();
        cap_set_flag(caps, CAP_PERMITTED, 1, &keep, CAP_SET);
        cap_set_flag(caps, CAP_EFFECTIVE, 1, &keep, CAP_SET);
        ck_assert_int_eq(cap_set_proc(caps), 0);
        cap_free(caps);
        drops();
        is_refused("bounding");
}
END_TEST

START_TEST(securebits_that_it_can_not_lock_are_refused) {
        cap_t caps;
        const cap_value_t keep = CAP_SYS_ADMIN;

        NEEDS_FULL_CAPABILITIES;
        caps = cap_init();
        cap_set_flag(caps, CAP_PERMITTED, 1, &keep, CAP_SET);
        cap_set_flag(caps, CAP_EFFECTIVE, 1, &keep, CAP_SET);
        ck_assert_int_eq(cap_set_proc(caps), 0);
        cap_free(caps);
        drops();
        is_refused("securebits");
}
END_TEST

START_TEST(without_the_one_it_names_the_step) {
        const char *step = NULL;
        cap_t caps = cap_init();

        ck_assert_int_eq(cap_set_proc(caps), 0);
        cap_free(caps);
        ck_assert_int_eq(privilege_drop(false, &step), -EPERM);
        ck_assert_ptr_nonnull(strstr(step, "CAP_SYS_ADMIN"));
}
END_TEST

START_TEST(refuses_a_process_that_dropped_nothing) {
        is_refused("securebits");
}
END_TEST

/* Then one part after the other is made wrong. */
START_TEST(refuses_what_is_missing_by_its_name) {
        const cap_value_t none = CAP_SYS_ADMIN;
        cap_t caps;

        NEEDS_FULL_CAPABILITIES;
        ck_assert_int_eq(cap_set_secbits(0xef), 0);
        is_refused("permitted");
        drops();
        is_accepted();
        caps = cap_get_proc();
        cap_set_flag(caps, CAP_EFFECTIVE, 1, &none, CAP_CLEAR);
        ck_assert_int_eq(cap_set_proc(caps), 0);
        is_refused("effective");
        cap_set_flag(caps, CAP_PERMITTED, 1, &none, CAP_CLEAR);
        ck_assert_int_eq(cap_set_proc(caps), 0);
        is_refused("permitted");
        cap_free(caps);
}
END_TEST

/* ---- threads ---- */

static pthread_barrier_t barrier;

static void *wait_twice(void *argument) {
        pthread_barrier_wait(&barrier);
        pthread_barrier_wait(&barrier);
        return argument;
}

/* A joined thread stays in /proc for a moment; ThreadSanitizer's own threads stay for good. */
static void await_one_thread(void) {
#if !defined(__SANITIZE_THREAD__)
        struct stat tasks;

        do
                ck_assert_int_eq(stat("/proc/self/task", &tasks), 0);
        while (tasks.st_nlink > 3 && usleep(1000) == 0); /* ".", "..", and this thread */
#endif
}

START_TEST(thread_that_was_there_before_is_seen) {
        pthread_t thread;

        NEEDS_FULL_CAPABILITIES;
        pthread_barrier_init(&barrier, NULL, 2);
        ck_assert_int_eq(pthread_create(&thread, NULL, wait_twice, NULL), 0);
        pthread_barrier_wait(&barrier);
        /* It acts only on the calling thread (libpsx isn't linked). */
        drops();
        is_refused("set");
        pthread_barrier_wait(&barrier);
        pthread_join(thread, NULL);
        await_one_thread();
        is_accepted();
}
END_TEST

START_TEST(thread_that_is_made_afterwards_is_accepted) {
        pthread_t thread;

        NEEDS_FULL_CAPABILITIES;
        pthread_barrier_init(&barrier, NULL, 2);
        drops();
        ck_assert_int_eq(pthread_create(&thread, NULL, wait_twice, NULL), 0);
        pthread_barrier_wait(&barrier);
        is_accepted();
        pthread_barrier_wait(&barrier);
        pthread_join(thread, NULL);
}
END_TEST

int main(void) {
        return SUITE_RUN(
                "privilege", keeps_exactly_one_capability, keeps_a_second_one_to_join,
                second_one_that_it_lacks_is_named, can_be_done_twice, nothing_can_be_had_back,
                end_state_of_a_unit_is_accepted, bounding_set_that_it_can_not_drop_is_refused,
                securebits_that_it_can_not_lock_are_refused, without_the_one_it_names_the_step,
                refuses_a_process_that_dropped_nothing, refuses_what_is_missing_by_its_name,
                thread_that_was_there_before_is_seen, thread_that_is_made_afterwards_is_accepted);
}
