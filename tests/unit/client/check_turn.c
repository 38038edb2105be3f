/* SPDX-License-Identifier: Apache-2.0 */

#include "client/turn.h"

#include "client/channel.h"
#include "tests/test.h"

#include <errno.h>
#include <sched.h>
#include <stdatomic.h>

enum {
        THREADS = 4,
        ROUNDS = 500,
        LONG = 60 * 1000, /* milliseconds: never waited for */
        SHORT = 20,
};

/* One that takes the turn, and gives it back. */
struct taker {
        struct turn *turn;
        uint32_t patience;
        int result;
};

static void *take(void *userdata) {
        struct taker *taker = userdata;

        taker->result = turn_take(taker->turn, channel_after(taker->patience));
        if (taker->result == 0)
                turn_give(taker->turn);
        return NULL;
}

START_TEST(a_free_turn_is_taken_at_any_deadline) {
        struct turn turn;

        turn_init(&turn);
        for (int i = 0; i < 2; i++) {
                ck_assert_int_eq(turn_take(&turn, channel_after(LONG)), 0);
                turn_give(&turn);
        }
        ck_assert_int_eq(turn_take(&turn, 0), 0); /* long past */
        turn_give(&turn);
        turn_destroy(&turn);
}
END_TEST

START_TEST(a_taken_turn_is_waited_for_until_the_deadline) {
        struct turn turn;

        turn_init(&turn);
        ck_assert_int_eq(turn_take(&turn, channel_after(LONG)), 0);
        ck_assert_int_eq(turn_take(&turn, 0), -ETIMEDOUT);
        ck_assert_int_eq(turn_take(&turn, channel_after(SHORT)), -ETIMEDOUT);
        turn_give(&turn);
        turn_destroy(&turn);
}
END_TEST

/* To whom the clock of the day would be far beyond the deadline. */
START_TEST(a_turn_that_is_given_goes_to_one_who_waits) {
        struct turn turn;
        struct taker taker = {.turn = &turn, .patience = LONG, .result = 1};
        pthread_t thread;

        turn_init(&turn);
        ck_assert_int_eq(turn_take(&turn, channel_after(LONG)), 0);
        ck_assert_int_eq(pthread_create(&thread, NULL, take, &taker), 0);
        /* So that it waits, as a rule: nobody else takes the turn meanwhile. */
        ck_assert_int_eq(turn_take(&turn, channel_after(SHORT)), -ETIMEDOUT);
        turn_give(&turn);
        pthread_join(thread, NULL);
        ck_assert_int_eq(taker.result, 0);
        turn_destroy(&turn);
}
END_TEST

START_TEST(who_gave_up_waiting_keeps_it_from_nobody) {
        struct turn turn;
        struct taker takers[] = {
                {.turn = &turn, .patience = SHORT, .result = 1},
                {.turn = &turn, .patience = LONG, .result = 1},
        };
        pthread_t threads[2];

        turn_init(&turn);
        ck_assert_int_eq(turn_take(&turn, channel_after(LONG)), 0);
        for (int i = 0; i < 2; i++)
                ck_assert_int_eq(pthread_create(&threads[i], NULL, take, &takers[i]), 0);
        pthread_join(threads[0], NULL);
        ck_assert_int_eq(takers[0].result, -ETIMEDOUT);
        turn_give(&turn);
        pthread_join(threads[1], NULL);
        ck_assert_int_eq(takers[1].result, 0);
        turn_destroy(&turn);
}
END_TEST

static struct turn shared;
static atomic_int inside;
static unsigned rounds; /* of whoever has the turn */

static void *take_often(void *userdata) {
        (void)userdata;
        for (int i = 0; i < ROUNDS; i++) {
                if (turn_take(&shared, channel_after(LONG)) < 0 || inside++ != 0)
                        return &inside; /* it was another's turn */
                sched_yield();
                rounds++;
                inside--;
                turn_give(&shared);
        }
        return NULL;
}

START_TEST(it_is_one_threads_turn_at_a_time) {
        pthread_t threads[THREADS];

        turn_init(&shared);
        for (int i = 0; i < THREADS; i++)
                ck_assert_int_eq(pthread_create(&threads[i], NULL, take_often, NULL), 0);
        for (int i = 0; i < THREADS; i++) {
                void *problem;

                pthread_join(threads[i], &problem);
                ck_assert_ptr_null(problem);
        }
        ck_assert_uint_eq(rounds, THREADS * ROUNDS);
        turn_destroy(&shared);
}
END_TEST

int main(void) {
        return SUITE_RUN("turn", a_free_turn_is_taken_at_any_deadline,
                         a_taken_turn_is_waited_for_until_the_deadline,
                         a_turn_that_is_given_goes_to_one_who_waits,
                         who_gave_up_waiting_keeps_it_from_nobody,
                         it_is_one_threads_turn_at_a_time);
}
