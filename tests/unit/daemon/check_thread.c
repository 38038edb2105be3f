/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Threads of the real kernel. A user at RLIMIT_NPROC can't create any, so such tests change to a
 * uid without other processes.
 */

#include "daemon/thread.h"

#include "daemon/log.h"
#include "daemon/unmount.h"
#include "tests/test.h"
#include "tests/unit/daemon/no_threads.h"
#include "tests/unit/daemon/until.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
        IDLE_MAX = 4, /* THREADS_IDLE_MAX */
};

static struct threads *threads;
static unsigned before; /* threads of this process */

static unsigned count_threads(void) {
        DIR *directory = opendir("/proc/self/task");
        unsigned count = 0;

        ck_assert_ptr_nonnull(directory);
        for (struct dirent *entry; (entry = readdir(directory));)
                count += entry->d_name[0] != '.';
        closedir(directory);
        return count;
}

static void *count_from_thread(void *count) {
        *(unsigned *)count = count_threads() - 1;
        return NULL;
}

/* From within a thread: with the first one, a sanitizer creates one of its own. */
static void count_before(void) {
        pthread_t thread;

        ck_assert_int_eq(pthread_create(&thread, NULL, count_from_thread, &before), 0);
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
        UNTIL(count_threads() == before);
}

static void start(void) {
        log_open(LOG_EMERG);
        ck_assert_int_eq(unmount_prepare(), 0);
        count_before();
        ck_assert_int_eq(threads_new(&threads), 0);
        UNTIL(threads_are_idle(threads));
}

static void end(void) {
        ck_assert(threads_free(threads));
        threads = NULL;
        UNTIL(count_threads() == before);
}

/* ---- work ---- */

struct piece {
        struct work work;
        struct piece *next; /* run by the same thread */
        bool waits;         /* until released */
        sem_t let_go, begun, done;
        int error;
        pid_t thread;
        char directory[PATH_MAX]; /* the thread's, at the beginning */
};

static void piece_do(struct piece *piece, int error) {
        piece->error = error;
        piece->thread = gettid();
        ck_assert_ptr_nonnull(getcwd(piece->directory, sizeof(piece->directory)));
        sem_post(&piece->begun);
        if (piece->waits)
                sem_wait(&piece->let_go);
        sem_post(&piece->done);
}

static struct work *piece_run(struct work *work, int error) {
        struct piece *piece = (struct piece *)work, *next = piece->next;

        piece_do(piece, error);
        return next ? &next->work : NULL;
}

static struct piece *piece_new(bool waits) {
        struct piece *piece = calloc(1, sizeof(*piece));

        ck_assert_ptr_nonnull(piece);
        piece->work.run = piece_run;
        piece->waits = waits;
        sem_init(&piece->let_go, 0, 0);
        sem_init(&piece->begun, 0, 0);
        sem_init(&piece->done, 0, 0);
        return piece;
}

static int piece_start(struct piece *piece, enum threads_spare spare) {
        return threads_start(threads, &piece->work, spare);
}

static bool piece_has_begun(struct piece *piece) {
        return sem_trywait(&piece->begun) == 0;
}

/* Releases it, and waits until it is done. */
static void piece_free(struct piece *piece) {
        sem_post(&piece->let_go);
        UNTIL(sem_trywait(&piece->done) == 0);
        sem_destroy(&piece->let_go);
        sem_destroy(&piece->begun);
        sem_destroy(&piece->done);
        free(piece);
}

START_TEST(work_is_done_on_another_thread) {
        struct piece *piece = piece_new(false);

        start();
        ck_assert_int_eq(piece_start(piece, THREADS_KEEP_SPARE), 0);
        UNTIL(piece_has_begun(piece));
        ck_assert_int_eq(piece->error, 0);
        ck_assert_int_ne(piece->thread, gettid());
        piece_free(piece);
        end();
}
END_TEST

static struct work *go_to_tmp(struct work *work, int error) {
        ck_assert_int_eq(chdir("/tmp"), 0);
        return piece_run(work, error);
}

START_TEST(each_thread_has_a_directory_of_its_own) {
        struct piece *first = piece_new(true), *second = piece_new(true);
        char directory[PATH_MAX];

        ck_assert_int_eq(chdir("/proc"), 0);
        start();
        first->work.run = go_to_tmp;
        ck_assert_int_eq(piece_start(first, THREADS_KEEP_SPARE), 0);
        UNTIL(piece_has_begun(first));
        ck_assert_int_eq(piece_start(second, THREADS_KEEP_SPARE), 0);
        UNTIL(piece_has_begun(second));
        ck_assert_str_eq(first->directory, "/tmp");
        ck_assert_str_eq(second->directory, "/");
        ck_assert_ptr_nonnull(getcwd(directory, sizeof(directory)));
        ck_assert_str_eq(directory, "/proc");
        piece_free(first);
        piece_free(second);
        end();
}
END_TEST

START_TEST(what_work_returns_is_done_next_by_the_same_thread) {
        enum { CHAIN = 1000 };
        static struct piece *pieces[CHAIN];

        start();
        for (unsigned i = CHAIN; i-- > 0;) {
                pieces[i] = piece_new(false);
                pieces[i]->next = i + 1 < CHAIN ? pieces[i + 1] : NULL;
        }
        ck_assert_int_eq(piece_start(pieces[0], THREADS_KEEP_SPARE), 0);
        for (unsigned i = 0; i < CHAIN; i++) {
                UNTIL(piece_has_begun(pieces[i]));
                ck_assert_int_eq(pieces[i]->thread, pieces[0]->thread);
                ck_assert_int_eq(pieces[i]->error, 0);
        }
        for (unsigned i = 0; i < CHAIN; i++)
                piece_free(pieces[i]);
        end();
}
END_TEST

/* ---- the number of threads ---- */

START_TEST(few_threads_without_work_are_kept) {
        enum { MANY = 20 };
        struct piece *pieces[MANY];

        start();
        ck_assert_uint_eq(count_threads(), before + 1); /* the spare */
        for (unsigned i = 0; i < MANY; i++) {
                pieces[i] = piece_new(true);
                ck_assert_int_eq(piece_start(pieces[i], THREADS_KEEP_SPARE), 0);
        }
        for (unsigned i = 0; i < MANY; i++)
                UNTIL(piece_has_begun(pieces[i]));
        ck_assert_uint_eq(count_threads(), before + MANY + 1);
        for (unsigned i = 0; i < MANY; i++)
                piece_free(pieces[i]);
        UNTIL(threads_are_idle(threads));
        UNTIL(count_threads() == before + IDLE_MAX);
        end();
}
END_TEST

START_TEST(thread_without_work_is_taken_before_one_is_made) {
        start();
        for (unsigned i = 0; i < 100; i++) {
                struct piece *piece = piece_new(false);

                ck_assert_int_eq(piece_start(piece, THREADS_KEEP_SPARE), 0);
                piece_free(piece);
                UNTIL(threads_are_idle(threads));
                ck_assert_uint_eq(count_threads(), before + 2); /* and the spare */
        }
        end();
}
END_TEST

/* ---- when none can be created ---- */

START_TEST(spare_is_for_who_asks_for_it) {
        struct piece *refused, *taken;

        if (!become_somebody())
                test_skip("impossible here: needs root");
        start();
        limit_threads(true);
        for (unsigned i = 0; i < 3; i++) {
                refused = piece_new(false);
                taken = piece_new(true);
                ck_assert_int_eq(piece_start(refused, THREADS_KEEP_SPARE), -EAGAIN);
                ck_assert_int_eq(piece_start(taken, THREADS_TAKE_SPARE), 0);
                UNTIL(piece_has_begun(taken));
                ck_assert_int_eq(taken->error, 0);
                /* It is busy, so there is no spare. */
                ck_assert_int_eq(piece_start(refused, THREADS_TAKE_SPARE), -EAGAIN);
                ck_assert_int_eq(piece_start(refused, THREADS_KEEP_SPARE), -EAGAIN);
                piece_free(taken);
                UNTIL(threads_are_idle(threads));

                /* Refused work was never begun, and is still ours. */
                ck_assert(!piece_has_begun(refused));
                ck_assert_int_eq(piece_start(refused, THREADS_TAKE_SPARE), 0);
                piece_free(refused);
                UNTIL(threads_are_idle(threads));
        }
        ck_assert_uint_eq(count_threads(), before + 1);
        limit_threads(false); /* a sanitizer creates one at the end */
        end();
}
END_TEST

START_TEST(thread_is_made_again_when_it_can_be) {
        struct piece *piece;

        if (!become_somebody())
                test_skip("impossible here: needs root");
        start();
        piece = piece_new(true);
        limit_threads(true);
        ck_assert_int_eq(piece_start(piece, THREADS_KEEP_SPARE), -EAGAIN);
        limit_threads(false);
        ck_assert_int_eq(piece_start(piece, THREADS_KEEP_SPARE), 0);
        UNTIL(piece_has_begun(piece));
        ck_assert_uint_eq(count_threads(), before + 2);
        piece_free(piece);
        end();
}
END_TEST

START_TEST(without_a_spare_there_are_none) {
        struct threads *none = NULL;
        struct rlimit allowed, limits;
        unsigned descriptors;

        if (!become_somebody())
                test_skip("impossible here: needs root");
        log_open(LOG_EMERG);
        ck_assert_int_eq(unmount_prepare(), 0);
        descriptors = descriptors_count();
        limit_threads(true);
        ck_assert_int_eq(threads_new(&none), -EAGAIN);
        ck_assert_ptr_null(none);
        ck_assert_uint_eq(descriptors_count(), descriptors);

        limit_threads(false);
        ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &allowed), 0);
        limits = allowed;
        limits.rlim_cur = 0;
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limits), 0);
        ck_assert_int_eq(threads_new(&none), -EMFILE);
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &allowed), 0);
        ck_assert_ptr_null(none);
        ck_assert(threads_free(NULL));
}
END_TEST

/* ---- without a working directory of its own ---- */

START_TEST(work_is_told_that_its_thread_shares_a_directory) {
        struct piece *first, *second;

        ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0); /* not as root alone */
        ck_assert_int_eq(denial_of(SYS_unshare, ENOSPC), 0);
        start();
        first = piece_new(false);
        second = piece_new(false);
        first->next = second;
        ck_assert_int_eq(piece_start(first, THREADS_KEEP_SPARE), 0);
        UNTIL(piece_has_begun(first));
        UNTIL(piece_has_begun(second));
        ck_assert_int_eq(first->error, -ENOSPC);
        ck_assert_int_eq(second->error, -ENOSPC);
        piece_free(first);
        piece_free(second);
        end();
}
END_TEST

/* ---- jobs ---- */

struct task {
        struct job job;
        atomic_uint runs, dones;
        pid_t run_by, done_by;
        useconds_t takes;
        struct task *next; /* started when this one ends */
};

static struct task *last_done;

static void task_run(struct job *job) {
        struct task *task = (struct task *)job;

        usleep(task->takes);
        task->run_by = gettid();
        task->runs++;
}

static void task_done(struct job *job) {
        struct task *task = (struct task *)job;

        task->done_by = gettid();
        task->dones++;
        last_done = task;
        if (task->next)
                ck_assert_int_eq(threads_run(threads, &task->next->job, THREADS_KEEP_SPARE), 0);
}

static void task_start(struct task *task) {
        task->job.run = task_run;
        task->job.done = task_done;
        ck_assert_int_eq(threads_run(threads, &task->job, THREADS_KEEP_SPARE), 0);
}

static bool is_readable(int timeout) {
        struct pollfd poller = {.fd = threads_fd(threads), .events = POLLIN};

        return poll(&poller, 1, timeout) == 1;
}

START_TEST(end_of_a_job_is_heard_where_it_is_collected) {
        struct task task = {0};

        start();
        threads_collect(threads); /* notices that the spare is idle */
        ck_assert(!is_readable(0));
        task_start(&task);
        ck_assert(is_readable(UNTIL_PATIENCE * 1000));
        UNTIL(task.runs == 1);
        usleep(10000);
        ck_assert_uint_eq(task.dones, 0); /* only collected here */
        while (!task.dones) {
                ck_assert(is_readable(UNTIL_PATIENCE * 1000));
                threads_collect(threads);
        }
        ck_assert_int_eq(task.job.error, 0);
        ck_assert_int_ne(task.run_by, gettid());
        ck_assert_int_eq(task.done_by, gettid());
        UNTIL(threads_are_idle(threads));
        threads_collect(threads);
        ck_assert(!is_readable(0));
        ck_assert_uint_eq(task.runs, 1);
        ck_assert_uint_eq(task.dones, 1);
        end();
}
END_TEST

START_TEST(job_without_a_directory_of_its_own_is_not_run) {
        struct task task = {0};

        ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0); /* not as root alone */
        ck_assert_int_eq(denial_of(SYS_unshare, ENOSPC), 0);
        start();
        task_start(&task);
        while (!task.dones) {
                ck_assert(is_readable(UNTIL_PATIENCE * 1000));
                threads_collect(threads);
        }
        ck_assert_int_eq(task.job.error, -ENOSPC);
        ck_assert_uint_eq(task.runs, 0);
        end();
}
END_TEST

START_TEST(job_that_no_thread_can_be_made_for_is_never_done) {
        struct task task = {.job = {.run = task_run, .done = task_done}};

        if (!become_somebody())
                test_skip("impossible here: needs root");
        start();
        limit_threads(true);
        ck_assert_int_eq(threads_run(threads, &task.job, THREADS_KEEP_SPARE), -EAGAIN);
        usleep(10000);
        threads_collect(threads);
        ck_assert_uint_eq(task.runs + task.dones, 0);
        limit_threads(false);
        task_start(&task);
        while (!task.dones) {
                ck_assert(is_readable(UNTIL_PATIENCE * 1000));
                threads_collect(threads);
        }
        ck_assert_uint_eq(task.runs, 1);
        end();
}
END_TEST

/* As in the main loop: whenever the descriptor is readable. */
START_TEST(idleness_can_be_waited_for) {
        struct task second = {.takes = 1000}, first = {.next = &second, .takes = 1000};

        second.job = (struct job){.run = task_run, .done = task_done};
        start();
        ck_assert(threads_are_idle(threads));
        task_start(&first);
        ck_assert(!threads_are_idle(threads));
        UNTIL(first.runs == 1);
        usleep(10000);
        ck_assert(!threads_are_idle(threads)); /* something is left to collect */
        while (!threads_are_idle(threads)) {
                ck_assert(is_readable(UNTIL_PATIENCE * 1000));
                threads_collect(threads);
        }
        ck_assert_uint_eq(second.dones, 1);
        end();
}
END_TEST

START_TEST(idleness_after_work_can_be_waited_for) {
        start();
        for (unsigned i = 0; i < 200; i++) {
                unsigned n = 1 + i % 8;
                struct piece *pieces[8];

                for (unsigned k = 0; k < n; k++) {
                        pieces[k] = piece_new(true);
                        ck_assert_int_eq(piece_start(pieces[k], THREADS_KEEP_SPARE), 0);
                }
                ck_assert(!threads_are_idle(threads));
                threads_collect(threads);
                for (unsigned k = 0; k < n; k++)
                        sem_post(&pieces[k]->let_go);
                while (!threads_are_idle(threads)) {
                        ck_assert(is_readable(UNTIL_PATIENCE * 1000));
                        threads_collect(threads);
                }
                for (unsigned k = 0; k < n; k++)
                        piece_free(pieces[k]);
        }
        end();
}
END_TEST

START_TEST(can_be_woken_without_news) {
        start();
        threads_collect(threads);
        ck_assert(!is_readable(0));
        for (unsigned i = 0; i < 1000; i++)
                threads_wake(threads);
        ck_assert(is_readable(0));
        threads_collect(threads);
        ck_assert(!is_readable(0));
        end();
}
END_TEST

enum { SUBMITTERS = 4, TASKS = 200 };

static struct task tasks[SUBMITTERS][TASKS];

static void *submit(void *argument) {
        struct task *own = argument;

        for (unsigned i = 0; i < TASKS; i++) {
                own[i].takes = i % 3 * 100;
                task_start(&own[i]);
        }
        return NULL;
}

START_TEST(many_jobs_are_each_run_and_done_once) {
        pthread_t submitters[SUBMITTERS];
        unsigned done = 0;

        start();
        for (unsigned s = 0; s < SUBMITTERS; s++)
                ck_assert_int_eq(pthread_create(&submitters[s], NULL, submit, tasks[s]), 0);
        while (done < SUBMITTERS * TASKS) {
                ck_assert(is_readable(UNTIL_PATIENCE * 1000));
                threads_collect(threads);
                done = 0;
                for (unsigned i = 0; i < SUBMITTERS * TASKS; i++)
                        done += tasks[i / TASKS][i % TASKS].dones;
        }
        for (unsigned s = 0; s < SUBMITTERS; s++)
                ck_assert_int_eq(pthread_join(submitters[s], NULL), 0);
        for (unsigned i = 0; i < SUBMITTERS * TASKS; i++) {
                const struct task *task = &tasks[i / TASKS][i % TASKS];

                ck_assert_uint_eq(task->runs, 1);
                ck_assert_uint_eq(task->dones, 1);
                ck_assert_int_eq(task->done_by, gettid());
        }
        UNTIL(threads_are_idle(threads));
        UNTIL(count_threads() <= before + IDLE_MAX);
        end();
}
END_TEST

/* ---- the end ---- */

START_TEST(leaves_no_thread_and_no_descriptor) {
        unsigned descriptors;

        log_open(LOG_EMERG);
        ck_assert_int_eq(unmount_prepare(), 0);
        descriptors = descriptors_count();
        for (unsigned i = 0; i < 100; i++) {
                struct piece *piece = piece_new(false);

                count_before();
                ck_assert_int_eq(threads_new(&threads), 0);
                if (i % 2)
                        ck_assert_int_eq(piece_start(piece, THREADS_KEEP_SPARE), 0);
                else
                        sem_post(&piece->done);
                end();
                piece_free(piece);
                ck_assert_uint_eq(descriptors_count(), descriptors);
        }
}
END_TEST

static void *let_go_later(void *piece) {
        usleep(300000);
        sem_post(&((struct piece *)piece)->let_go);
        return NULL;
}

START_TEST(end_waits_for_work_that_ends_soon) {
        struct piece *piece = piece_new(true);
        pthread_t other;
        double begin;

        start();
        ck_assert_int_eq(piece_start(piece, THREADS_KEEP_SPARE), 0);
        UNTIL(piece_has_begun(piece));
        begin = until_now();
        ck_assert_int_eq(pthread_create(&other, NULL, let_go_later, piece), 0);
        ck_assert(threads_free(threads));
        ck_assert_double_ge(until_now() - begin, 0.2);
        piece_free(piece);
        ck_assert_int_eq(pthread_join(other, NULL), 0);
        UNTIL(count_threads() == before);
}
END_TEST

/* Nothing that it uses is freed: it continues when it can, and then ends. */
START_TEST(end_does_not_wait_for_a_thread_that_is_stuck) {
        struct piece *piece = piece_new(true);
        double begin;

        start();
        ck_assert_int_eq(piece_start(piece, THREADS_TAKE_SPARE), 0);
        UNTIL(piece_has_begun(piece));
        begin = until_now();
        ck_assert(!threads_free(threads));
        ck_assert_double_ge(until_now() - begin, 0.9);
        ck_assert_double_le(until_now() - begin, 5);
        piece_free(piece);
        end();
}
END_TEST

int main(void) {
        return SUITE_RUN(
                "thread", work_is_done_on_another_thread, each_thread_has_a_directory_of_its_own,
                what_work_returns_is_done_next_by_the_same_thread,
                few_threads_without_work_are_kept, thread_without_work_is_taken_before_one_is_made,
                spare_is_for_who_asks_for_it, thread_is_made_again_when_it_can_be,
                without_a_spare_there_are_none, work_is_told_that_its_thread_shares_a_directory,
                end_of_a_job_is_heard_where_it_is_collected,
                job_without_a_directory_of_its_own_is_not_run,
                job_that_no_thread_can_be_made_for_is_never_done, idleness_can_be_waited_for,
                idleness_after_work_can_be_waited_for, can_be_woken_without_news,
                many_jobs_are_each_run_and_done_once, leaves_no_thread_and_no_descriptor,
                end_waits_for_work_that_ends_soon, end_does_not_wait_for_a_thread_that_is_stuck);
}
