/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The daemon confines its system calls, in each of its threads, as --system-calls says.
 * check_seccomp tests the list; here the daemon itself makes one call that isn't on it: ptrace(2)
 * replaces a thread's next call, and then repeats the original.
 */

#include "tests/test.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>

/* The sanitizers' runtime makes calls of its own, so such a build isn't confined. */
#ifdef MOUNTATD_SANITIZED
#define IS_CONFINED false
#else
#define IS_CONFINED true
#endif

enum {
        REFUSED = SYS_setns,
        CLIENTS = 16,
        THREADS = 2 + CLIENTS, /* at least: the main one, the log's, and one per client */
};

static int read_number(const char *path, const char *name) {
        FILE *status = fopen(path, "re");
        size_t length = strlen(name);
        char line[256];
        int number = -1;

        ck_assert_msg(status != NULL, "%s: %s", path, strerror(errno));
        while (fgets(line, sizeof(line), status))
                if (strncmp(line, name, length) == 0 && line[length] == ':')
                        number = strtol(line + length + 1, NULL, 10);
        fclose(status);
        return number;
}

/* ---- one thread ---- */

/* This process may itself be in a filter, for example in a container. */
static void expect_filters(pid_t thread, bool confined) {
        int inherited = read_number("/proc/self/status", "Seccomp_filters");
        int mode = read_number("/proc/self/status", "Seccomp");
        char path[64];

        snprintf(path, sizeof(path), "/proc/%d/status", thread);
        ck_assert_int_eq(read_number(path, "Seccomp"), confined ? 2 : mode);
        if (inherited >= 0) /* since Linux 5.9 */
                ck_assert_int_eq(read_number(path, "Seccomp_filters") > inherited, confined);
}

#ifdef __x86_64__
static void await_stop(pid_t thread) {
        int status;

        ck_assert_int_eq(waitpid(thread, &status, __WALL), thread);
        ck_assert(WIFSTOPPED(status));
}

static void go_on_to_call(pid_t thread) {
        ck_assert_int_eq(ptrace(PTRACE_SYSCALL, thread, 0, 0), 0);
        await_stop(thread);
}

/* The errno of that call, made with the replaced call's arguments, -1 where it matters. */
static int make_call(pid_t thread, long number) {
        struct user_regs_struct before, registers;

        ck_assert_int_eq(ptrace(PTRACE_SEIZE, thread, 0, PTRACE_O_TRACESYSGOOD), 0);
        ck_assert_int_eq(ptrace(PTRACE_INTERRUPT, thread, 0, 0), 0);
        await_stop(thread);
        go_on_to_call(thread);
        ck_assert_int_eq(ptrace(PTRACE_GETREGS, thread, 0, &before), 0);
        registers = before;
        registers.orig_rax = number;
        registers.rdi = -1;
        ck_assert_int_eq(ptrace(PTRACE_SETREGS, thread, 0, &registers), 0);
        go_on_to_call(thread);
        ck_assert_int_eq(ptrace(PTRACE_GETREGS, thread, 0, &registers), 0);

        before.rax = before.orig_rax; /* repeats what the thread was about to do */
        before.rip -= 2;
        before.orig_rax = -1;
        ck_assert_int_eq(ptrace(PTRACE_SETREGS, thread, 0, &before), 0);
        ck_assert_int_eq(ptrace(PTRACE_DETACH, thread, 0, 0), 0);
        return -(int)registers.rax;
}
#endif

static void expect_answer(pid_t thread, int answer) {
#ifdef __x86_64__
        ck_assert_int_eq(make_call(thread, REFUSED), answer);
#else
        (void)thread;
        (void)answer;
#endif
}

/* ---- all threads ---- */

static void expect_all(const struct service *service, unsigned at_least, bool confined,
                       int answer) {
        unsigned threads = 0;
        char path[64];
        DIR *tasks;

        snprintf(path, sizeof(path), "/proc/%d/task", service->pid);
        tasks = opendir(path);
        ck_assert_ptr_nonnull(tasks);
        for (struct dirent *entry; (entry = readdir(tasks));) {
                pid_t thread = strtol(entry->d_name, NULL, 10);

                if (thread == 0)
                        continue;
                expect_filters(thread, confined);
                expect_answer(thread, answer);
                threads++;
        }
        closedir(tasks);
        ck_assert_uint_ge(threads, at_least);
}

static void expect_confined_and_serving(const char *option, bool confined, int answer) {
        struct service service = service_start_with("a", option);
        int clients[CLIENTS];

        sandbox_make_root(USER_ALICE, "root");
        expect_all(&service, SERVICE_THREADS_MIN, confined, answer);
        for (unsigned i = 0; i < CLIENTS; i++) { /* this creates their threads */
                clients[i] = client_connect(&service, USER_ALICE);
                client_hello(clients[i]);
        }
        expect_all(&service, THREADS, confined, answer);
        client_hold_root(clients[0], USER_ALICE, sandbox_path("root"));
        expect_all(&service, THREADS, confined, answer);
        for (unsigned i = 0; i < CLIENTS; i++)
                close(clients[i]);
        service_await_rest(&service);
        expect_all(&service, SERVICE_THREADS_MIN, confined, answer);
        service_stop(&service);
}

SANDBOX_TEST(every_thread_is_confined_unless_it_is_told_otherwise) {
        expect_confined_and_serving(NULL, IS_CONFINED, IS_CONFINED ? EPERM : EBADF);
}

SANDBOX_TEST(every_thread_is_confined_when_it_is_told_so) {
        expect_confined_and_serving("--system-calls=enforce", IS_CONFINED,
                                    IS_CONFINED ? EPERM : EBADF);
}

SANDBOX_TEST(log_confines_and_lets_every_call_through) {
        expect_confined_and_serving("--system-calls=log", IS_CONFINED, EBADF);
}

SANDBOX_TEST(off_confines_nothing) {
        expect_confined_and_serving("--system-calls=off", false, EBADF);
}

int main(void) {
        TCase *tests = tcase_create("confinement");

        tcase_add_test(tests, every_thread_is_confined_unless_it_is_told_otherwise);
        tcase_add_test(tests, every_thread_is_confined_when_it_is_told_so);
        tcase_add_test(tests, log_confines_and_lets_every_call_through);
        tcase_add_test(tests, off_confines_nothing);
        return sandbox_run(tests);
}
