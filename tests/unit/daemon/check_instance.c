/* SPDX-License-Identifier: Apache-2.0 */

#include "daemon/instance.h"

#include "tests/fixtures/suite.h"

#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

static struct instance self(void) {
        struct instance instance;

        ck_assert_int_eq(instance_self(&instance), 0);
        return instance;
}

/* A child that tells who it is and then waits to be killed, or ends at once. */
static struct instance spawn(bool stays, pid_t *pid) {
        struct instance instance = {0};
        int told[2];

        ck_assert_int_eq(pipe(told), 0);
        *pid = fork();
        if (*pid == 0) {
                struct instance me = self();

                if (write(told[1], &me, sizeof(me)) != sizeof(me))
                        _exit(1);
                while (stays)
                        pause();
                _exit(0);
        }
        ck_assert_int_eq(read(told[0], &instance, sizeof(instance)), sizeof(instance));
        close(told[0]);
        close(told[1]);
        return instance;
}

START_TEST(knows_itself) {
        struct instance me = self(), again = self();

        ck_assert_int_eq(me.pid, getpid());
        ck_assert_uint_eq(strlen(me.boot_id), 36);
        ck_assert_uint_gt(me.start_time, 0);
        ck_assert_mem_eq(&me, &again, sizeof(me));
        ck_assert(instance_is_alive(&me, &me));
}
END_TEST

START_TEST(other_process_is_alive_until_it_dies) {
        struct instance me = self(), other;
        pid_t pid;

        other = spawn(true, &pid);
        ck_assert_int_eq(other.pid, pid);
        ck_assert(instance_is_alive(&other, &me));
        ck_assert_int_eq(kill(pid, SIGKILL), 0);
        ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
        ck_assert(!instance_is_alive(&other, &me));
}
END_TEST

START_TEST(zombie_is_dead) {
        struct instance me = self(), other;
        siginfo_t info;
        pid_t pid;

        other = spawn(false, &pid);
        ck_assert_int_eq(waitid(P_PID, pid, &info, WEXITED | WNOWAIT), 0);
        ck_assert_int_eq(kill(pid, 0), 0); /* the pid is still taken */
        ck_assert(!instance_is_alive(&other, &me));
        waitpid(pid, NULL, 0);
}
END_TEST

/*
 * A child that is stuck in the kernel when it is killed, as a daemon's thread on a FUSE that doesn't
 * answer: the tracer of a process that ends keeps it there (PTRACE_EVENT_EXIT) with SIGKILL pending.
 */
START_TEST(process_that_will_not_come_back_from_the_kernel_is_dead) {
        struct instance me = self(), other;
        int status;
        pid_t pid;

        other = spawn(true, &pid);
        ck_assert_int_eq(ptrace(PTRACE_SEIZE, pid, NULL, PTRACE_O_TRACEEXIT), 0);
        ck_assert(instance_is_alive(&other, &me));
        ck_assert_int_eq(kill(pid, SIGKILL), 0);
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert(WIFSTOPPED(status)); /* on its way out, and neither gone nor a zombie */
        ck_assert(!instance_is_gone(&other, &me));
        ck_assert(instance_process_is_dead(pid));
        ck_assert(!instance_is_alive(&other, &me));
        ptrace(PTRACE_CONT, pid, NULL, NULL);
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert(instance_is_gone(&other, &me));
}
END_TEST

START_TEST(reused_pid_is_another_process) {
        struct instance me = self(), other = me;

        other.start_time--;
        ck_assert(!instance_is_alive(&other, &me));
        other.start_time = me.start_time + 1;
        ck_assert(!instance_is_alive(&other, &me));
}
END_TEST

START_TEST(other_boot_has_other_processes) {
        struct instance me = self(), other = me;

        other.boot_id[35] = other.boot_id[35] == '0' ? '1' : '0';
        ck_assert(!instance_is_alive(&other, &me));
        other.boot_id[0] = '\0';
        ck_assert(!instance_is_alive(&other, &me));
        memset(other.boot_id, 'x', sizeof(other.boot_id)); /* not terminated */
        ck_assert(!instance_is_alive(&other, &me));
}
END_TEST

START_TEST(pid_that_is_none_is_dead) {
        static const int32_t pids[] = {0, -1, INT32_MIN, INT32_MAX};
        struct instance me = self(), other = me;

        for (size_t i = 0; i < sizeof(pids) / sizeof(pids[0]); i++) {
                other.pid = pids[i];
                ck_assert(!instance_is_alive(&other, &me));
        }
}
END_TEST

/* The name stands in the line that is parsed. */
START_TEST(name_of_a_process_can_not_mislead) {
        static const char *const names[] = {") Z 0 0 0 0", "a b) R 1", "((", "", "\n", ")"};
        struct instance me = self();

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
                struct instance again;

                ck_assert_int_eq(prctl(PR_SET_NAME, names[i]), 0);
                ck_assert_int_eq(instance_self(&again), 0);
                ck_assert_uint_eq(again.start_time, me.start_time);
                ck_assert(instance_is_alive(&me, &me));
        }
}
END_TEST

int main(void) {
        return SUITE_RUN("instance", knows_itself, other_process_is_alive_until_it_dies,
                         zombie_is_dead, process_that_will_not_come_back_from_the_kernel_is_dead,
                         reused_pid_is_another_process,
                         other_boot_has_other_processes, pid_that_is_none_is_dead,
                         name_of_a_process_can_not_mislead);
}
