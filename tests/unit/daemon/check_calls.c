/* SPDX-License-Identifier: Apache-2.0 */

/* How many calls there may be, and whose turn it is: nobody's keep everybody's waiting. */

#include "daemon/calls.h"
#include "tests/fixtures/suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct call_method quick = {.member = "Unmount"};
static const struct call_method path = {.member = "MountPath", .traits = CALL_FOLLOWS_PATH};
static const struct call_method large = {.member = "ListLeases", .traits = CALL_IS_LARGE};

static struct calls *calls;

static void setup(void) {
        calls = calls_new(NULL, NULL);
        ck_assert_ptr_nonnull(calls);
}

static struct call *add(const struct call_method *method, enum call_state state, uid_t uid) {
        static char senders[16][16];
        struct call *call = calloc(1, sizeof(*call));

        ck_assert_ptr_nonnull(call);
        ck_assert_uint_lt(uid, 16);
        snprintf(senders[uid], sizeof(senders[uid]), ":1.%u", uid);
        call->sender = senders[uid];
        call->method = method;
        call->state = state;
        call->task.holder.subject.uid = uid;
        TAILQ_INSERT_TAIL(state == CALL_RUNNING ? &calls->running : &calls->pending, call, entry);
        return call;
}

static void add_many(unsigned count, const struct call_method *method, enum call_state state,
                     uid_t uid) {
        for (unsigned i = 0; i < count; i++)
                add(method, state, uid);
}

static struct call *add_question(uid_t uid) {
        struct call *call = add(&path, CALL_AUTHORISING, uid);

        call->question = (struct sd_bus_slot *)call; /* anything but NULL */
        return call;
}

static void run(struct call *call) {
        ck_assert_ptr_nonnull(call);
        TAILQ_REMOVE(&calls->pending, call, entry);
        TAILQ_INSERT_TAIL(&calls->running, call, entry);
        call->state = CALL_RUNNING;
}

/* ---- how many ---- */

START_TEST(admits_32_calls_of_a_sender) {
        setup();
        add_many(CALLS_PER_SENDER_MAX - 1, &quick, CALL_IDENTIFYING, 1);
        ck_assert_int_eq(calls_admit(calls, ":1.1").status, STATUS_OK);
        add(&quick, CALL_RUNNING, 1);
        ck_assert_int_eq(calls_admit(calls, ":1.1").status, STATUS_LIMIT_EXCEEDED);
        ck_assert_int_eq(calls_admit(calls, ":1.11").status, STATUS_OK);
        ck_assert_uint_eq(CALLS_PER_SENDER_MAX, 32);
}
END_TEST

START_TEST(admits_no_more_than_can_be_identified) {
        setup();
        for (uid_t uid = 0; uid < 8; uid++)
                add_many(CALLS_UNIDENTIFIED_MAX / 8, &quick, CALL_IDENTIFYING, uid);
        ck_assert_int_eq(calls_admit(calls, ":1.9").status, STATUS_LIMIT_EXCEEDED);
        TAILQ_FIRST(&calls->pending)->state = CALL_WAITING; /* by then the quota counts it */
        ck_assert_int_eq(calls_admit(calls, ":1.9").status, STATUS_OK);
}
END_TEST

START_TEST(admits_none_when_closed) {
        setup();
        calls->closed = true;
        ck_assert_int_eq(calls_admit(calls, ":1.1").status, STATUS_SHUTTING_DOWN);
}
END_TEST

START_TEST(nobodys_questions_use_up_everybodys) {
        setup();
        for (unsigned i = 0; i < CALLS_QUESTIONS_PER_USER_MAX; i++) {
                ck_assert_int_eq(calls_admit_question(calls, 1).status, STATUS_OK);
                add_question(1);
        }
        ck_assert_int_eq(calls_admit_question(calls, 1).status, STATUS_LIMIT_EXCEEDED);
        ck_assert_int_eq(calls_admit_question(calls, 2).status, STATUS_OK);
}
END_TEST

/* Else the bus refuses them, and that would look like a polkit that can't be asked. */
START_TEST(asks_fewer_questions_than_the_bus_lets_wait) {
        setup();
        for (uid_t uid = 0; uid < CALLS_QUESTIONS_MAX / CALLS_QUESTIONS_PER_USER_MAX; uid++)
                for (unsigned i = 0; i < CALLS_QUESTIONS_PER_USER_MAX; i++)
                        add_question(uid);
        ck_assert_int_eq(calls_admit_question(calls, 9).status, STATUS_LIMIT_EXCEEDED);
        TAILQ_FIRST(&calls->pending)->question = NULL; /* answered */
        ck_assert_int_eq(calls_admit_question(calls, 9).status, STATUS_OK);
        ck_assert_uint_lt(CALLS_QUESTIONS_MAX, 128);
}
END_TEST

/* ---- whose turn ---- */

START_TEST(runs_nothing_that_does_not_wait) {
        setup();
        ck_assert_ptr_null(calls_next(calls, 0));
        add(&quick, CALL_IDENTIFYING, 1);
        add_question(1);
        ck_assert_ptr_null(calls_next(calls, 0));
}
END_TEST

START_TEST(runs_the_oldest_first) {
        struct call *first;

        setup();
        first = add(&quick, CALL_WAITING, 1);
        add(&path, CALL_WAITING, 1);
        add(&quick, CALL_WAITING, 2);
        ck_assert_ptr_eq(calls_next(calls, 0), first);
}
END_TEST

START_TEST(runs_first_whose_user_has_the_fewest_running) {
        struct call *other;

        setup();
        add_many(20, &quick, CALL_WAITING, 1);
        other = add(&quick, CALL_WAITING, 2);
        run(calls_next(calls, 0));
        ck_assert_ptr_eq(calls_next(calls, 0), other);
        run(other);
        for (unsigned i = 2; i < CALLS_RUNNING_MAX; i++)
                run(calls_next(calls, 0));
        ck_assert_ptr_null(calls_next(calls, 0));
}
END_TEST

START_TEST(paths_leave_threads_for_what_can_not_get_stuck) {
        struct call *one;

        setup();
        add_many(10, &path, CALL_WAITING, 1);
        for (unsigned i = 0; i < CALLS_ON_PATHS_PER_USER_MAX; i++)
                run(calls_next(calls, 0));
        ck_assert_ptr_null(calls_next(calls, 0)); /* all of this user's */
        add_many(10, &path, CALL_WAITING, 2);
        for (unsigned i = CALLS_ON_PATHS_PER_USER_MAX; i < CALLS_ON_PATHS_MAX; i++)
                run(calls_next(calls, 0));
        add(&path, CALL_WAITING, 3);
        ck_assert_ptr_null(calls_next(calls, 0)); /* all that there may be */
        one = add(&quick, CALL_WAITING, 1);
        ck_assert_ptr_eq(calls_next(calls, 0), one);
        run(one);
        one = add(&large, CALL_WAITING, 0);
        ck_assert_ptr_eq(calls_next(calls, 0), one);
}
END_TEST

START_TEST(runs_one_large_call_at_a_time) {
        struct call *first, *other;

        setup();
        first = add(&large, CALL_WAITING, 1);
        add(&large, CALL_WAITING, 2);
        other = add(&quick, CALL_WAITING, 3);
        ck_assert_ptr_eq(calls_next(calls, 0), first);
        ck_assert_ptr_eq(calls_next(calls, CALL_IS_LARGE), other);
        run(first);
        ck_assert_ptr_eq(calls_next(calls, 0), other);
        run(other);
        ck_assert_ptr_null(calls_next(calls, 0));
}
END_TEST

/* ---- all of them ---- */

START_TEST(stays_until_the_last_running_one_has_ended) {
        setup();
        ck_assert(calls_are_none(calls));
        add(&quick, CALL_RUNNING, 1);
        ck_assert(!calls_are_none(calls));
        ck_assert_ptr_null(calls_free(calls));
        ck_assert(calls->freed); /* not freed: the running one knows it */
        free(TAILQ_FIRST(&calls->running));
        TAILQ_INIT(&calls->running);
        ck_assert_ptr_null(calls_free(calls));
        ck_assert_ptr_null(calls_free(NULL));
}
END_TEST

int main(void) {
        return SUITE_RUN(
                "calls", admits_32_calls_of_a_sender, admits_no_more_than_can_be_identified,
                admits_none_when_closed, nobodys_questions_use_up_everybodys,
                asks_fewer_questions_than_the_bus_lets_wait, runs_nothing_that_does_not_wait,
                runs_the_oldest_first, runs_first_whose_user_has_the_fewest_running,
                paths_leave_threads_for_what_can_not_get_stuck, runs_one_large_call_at_a_time,
                stays_until_the_last_running_one_has_ended);
}
