/* SPDX-License-Identifier: Apache-2.0 */

#include "client/keeper.h"

#include "common/fd.h"
#include "tests/test.h"

#include <errno.h>
#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

static struct keeper keeper = KEEPER_NONE;
static int watch = -EBADF; /* an eventfd: the keeper's to watch */
static sem_t tended;       /* once for each call */
static atomic_int pause_after = -1;
static unsigned descriptors;

static int tend(struct keeper *self) {
        eventfd_t ignored;

        ck_assert_ptr_eq(self, &keeper);
        eventfd_read(watch, &ignored);
        sem_post(&tended);
        return pause_after;
}

static void setup(void) {
        watch = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        ck_assert_int_ge(watch, 0);
        sem_init(&tended, 0, 0);
        descriptors = descriptors_count();
}

static void teardown(void) {
        ck_assert_uint_eq(descriptors_count(), descriptors);
        watch = fd_close(watch);
        sem_destroy(&tended);
}

static void await_call(void) {
        ck_assert_int_eq(sem_wait(&tended), 0);
}

static void start(int (*how)(struct keeper *self)) {
        ck_assert_int_eq(keeper_start(&keeper, watch, how), 0);
        ck_assert(keeper.running);
}

START_TEST(it_calls_once_at_first_and_whenever_there_is_something) {
        start(tend);
        await_call();
        for (int i = 0; i < 3; i++) {
                ck_assert_int_eq(eventfd_write(watch, 1), 0);
                await_call();
        }
        keeper_stop(&keeper);
        ck_assert(!keeper.running);
        ck_assert_int_lt(sem_trywait(&tended), 0); /* and no more often */
}
END_TEST

START_TEST(it_calls_again_after_the_pause_it_is_told) {
        pause_after = 1;
        start(tend);
        for (int i = 0; i < 5; i++)
                await_call();
        pause_after = -1;
        keeper_stop(&keeper);
}
END_TEST

START_TEST(what_hangs_up_is_something_too) {
        int ends[2];

        ck_assert_int_eq(pipe(ends), 0);
        ck_assert_int_eq(keeper_start(&keeper, ends[0], tend), 0);
        await_call();
        close(ends[1]);
        await_call();
        keeper_stop(&keeper);
        close(ends[0]);
}
END_TEST

/* As a recovery that waits for the daemon. */
static int wait_for_the_end(struct keeper *self) {
        struct pollfd poller = {.fd = self->stop, .events = POLLIN};

        sem_post(&tended);
        poll(&poller, 1, -1);
        return -1;
}

START_TEST(what_it_calls_hears_of_the_end) {
        start(wait_for_the_end);
        await_call();
        keeper_stop(&keeper);
}
END_TEST

static sigset_t blocked;

static int note_mask(struct keeper *self) {
        (void)self;
        pthread_sigmask(SIG_BLOCK, NULL, &blocked);
        sem_post(&tended);
        return -1;
}

START_TEST(its_thread_has_all_signals_blocked_and_the_caller_has_not) {
        sigset_t own;

        start(note_mask);
        await_call();
        keeper_stop(&keeper);
        pthread_sigmask(SIG_BLOCK, NULL, &own);
        for (int number = 1; number < SIGRTMAX; number++) {
                bool possible = number != SIGKILL && number != SIGSTOP &&
                                (number <= SIGSYS || number >= SIGRTMIN);

                if (possible)
                        ck_assert_int_eq(sigismember(&blocked, number), 1);
                ck_assert_int_eq(sigismember(&own, number), 0);
        }
}
END_TEST

START_TEST(it_starts_again_after_it_was_stopped) {
        for (int i = 0; i < 3; i++) {
                start(tend);
                await_call();
                keeper_stop(&keeper);
                keeper_stop(&keeper); /* fine without one */
        }
}
END_TEST

START_TEST(stopping_without_one_is_fine) {
        keeper_stop(&keeper);
        ck_assert(!keeper.running);
        ck_assert_int_lt(keeper.stop, 0);
}
END_TEST

START_TEST(without_a_descriptor_it_does_not_start) {
        const int *filled = descriptors_leave(0, watch);

        ck_assert_int_eq(keeper_start(&keeper, watch, tend), -EMFILE);
        ck_assert(!keeper.running);
        descriptors_give_back(filled);
        keeper_stop(&keeper);
        ck_assert_int_lt(sem_trywait(&tended), 0);
}
END_TEST

/* With a stack that no address space has room for. */
START_TEST(without_a_thread_it_does_not_start_and_leaves_no_descriptor) {
        pthread_attr_t usual, vast;

        ck_assert_int_eq(pthread_getattr_default_np(&usual), 0);
        ck_assert_int_eq(pthread_attr_init(&vast), 0);
        ck_assert_int_eq(pthread_attr_setstacksize(&vast, (size_t)1 << 50), 0);
        ck_assert_int_eq(pthread_setattr_default_np(&vast), 0);
        ck_assert_int_eq(keeper_start(&keeper, watch, tend), -EAGAIN);
        ck_assert(!keeper.running);
        ck_assert_uint_eq(descriptors_count(), descriptors);

        ck_assert_int_eq(pthread_setattr_default_np(&usual), 0);
        start(tend);
        keeper_stop(&keeper);
}
END_TEST

/* The child has its memory and descriptors, and not the thread. */
START_TEST(a_forked_childs_stop_leaves_the_parents_alone) {
        pid_t child;
        int status;

        start(tend);
        await_call();
        child = fork();
        ck_assert_int_ge(child, 0);
        if (child == 0) {
                keeper_stop(&keeper);
                _exit(keeper.stop < 0 && !keeper.running ? EXIT_SUCCESS : EXIT_FAILURE);
        }
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS);
        ck_assert_int_eq(eventfd_write(watch, 1), 0);
        await_call();
        keeper_stop(&keeper);
}
END_TEST

int main(void) {
        return SUITE_RUN_WITH(setup, teardown, "keeper",
                              it_calls_once_at_first_and_whenever_there_is_something,
                              it_calls_again_after_the_pause_it_is_told,
                              what_hangs_up_is_something_too, what_it_calls_hears_of_the_end,
                              its_thread_has_all_signals_blocked_and_the_caller_has_not,
                              it_starts_again_after_it_was_stopped, stopping_without_one_is_fine,
                              without_a_descriptor_it_does_not_start,
                              without_a_thread_it_does_not_start_and_leaves_no_descriptor,
                              a_forked_childs_stop_leaves_the_parents_alone);
}
