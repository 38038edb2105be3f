/* SPDX-License-Identifier: Apache-2.0 */

#include "daemon/instance.h"

#include "tests/test.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/fuse.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct instance self(void) {
        struct instance instance;

        ck_assert_int_eq(instance_self(&instance), 0);
        return instance;
}

/* A child that identifies itself and then waits to be killed, or exits at once. */
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

START_TEST(pid_alone_is_dead_only_if_it_is_there) {
        siginfo_t info;
        pid_t pid;

        ck_assert(!instance_pid_is_dead(getpid()));
        ck_assert(!instance_pid_is_dead(0)); /* in a pid namespace that we can't see */
        ck_assert(!instance_pid_is_dead(-1));
        ck_assert(!instance_pid_is_dead(INT32_MAX));
        spawn(false, &pid);
        ck_assert_int_eq(waitid(P_PID, pid, &info, WEXITED | WNOWAIT), 0);
        ck_assert(instance_pid_is_dead(pid));
        waitpid(pid, NULL, 0);
        ck_assert(!instance_pid_is_dead(pid));
}
END_TEST

/* The name is part of the line that is parsed. */
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

/* ---- stuck in the kernel: what can't return to user mode is dead, but not gone ---- */

/* Tells its id, then waits to be killed. */
static void *wait_in_thread(void *arg) {
        pid_t tid = gettid();

        if (write(*(int *)arg, &tid, sizeof(tid)) != sizeof(tid))
                _exit(1);
        for (;;)
                pause();
}

/* A child with two threads, which identifies itself, and then the second thread. */
static struct instance spawn_threads(pid_t *pid, pid_t *tid) {
        struct instance instance = {0};
        int told[2];

        ck_assert_int_eq(pipe(told), 0);
        *pid = fork();
        if (*pid == 0) {
                struct instance me = self();
                pthread_t thread;

                if (write(told[1], &me, sizeof(me)) != sizeof(me) ||
                    pthread_create(&thread, NULL, wait_in_thread, &told[1]) != 0)
                        _exit(1);
                for (;;)
                        pause();
        }
        ck_assert_int_eq(read(told[0], &instance, sizeof(instance)), sizeof(instance));
        ck_assert_int_eq(read(told[0], tid, sizeof(*tid)), sizeof(*tid));
        close(told[0]);
        close(told[1]);
        return instance;
}

/* Of a process or a thread: 'D', 'Z', 't', … */
static char state_of(pid_t pid) {
        char path[32], state = '?';
        FILE *file;

        snprintf(path, sizeof(path), "/proc/%d/stat", pid);
        file = fopen(path, "re");
        ck_assert_ptr_nonnull(file);
        ck_assert_int_eq(fscanf(file, "%*d (%*[^)]) %c", &state), 1);
        fclose(file);
        return state;
}

static void wait_for_state(pid_t pid, char state) {
        for (unsigned i = 0; i < 1000 && state_of(pid) != state; i++)
                poll(NULL, 0, 10);
        ck_assert_int_eq(state_of(pid), state);
}

static void is_dead_but_not_gone(const struct instance *instance) {
        struct instance me = self();

        ck_assert(!instance_is_alive(instance, &me));
        ck_assert(!instance_is_gone(instance, &me));
        ck_assert(instance_pid_is_dead(instance->pid));
}

static void is_alive(const struct instance *instance) {
        struct instance me = self();

        ck_assert(instance_is_alive(instance, &me));
        ck_assert(!instance_is_gone(instance, &me));
        ck_assert(!instance_pid_is_dead(instance->pid));
}

static void is_gone(const struct instance *instance) {
        struct instance me = self();

        ck_assert(!instance_is_alive(instance, &me));
        ck_assert(instance_is_gone(instance, &me));
        ck_assert(!instance_pid_is_dead(instance->pid));
}

/* Kills the process, while its tracer stops one thread in do_exit(). */
static void kill_and_hold(const struct instance *instance, pid_t tid) {
        int status;

        ck_assert_int_eq(ptrace(PTRACE_SEIZE, tid, 0, PTRACE_O_TRACEEXIT), 0);
        is_alive(instance);
        ck_assert_int_eq(kill(instance->pid, SIGKILL), 0);
        ck_assert_int_eq(waitpid(tid, &status, __WALL), tid);
        ck_assert_int_eq(status >> 8, SIGTRAP | PTRACE_EVENT_EXIT << 8);
        ck_assert_int_eq(state_of(tid), 't');
}

START_TEST(killed_process_that_is_held_is_dead) {
        struct instance other;
        pid_t pid;

        other = spawn(true, &pid);
        kill_and_hold(&other, pid);
        is_dead_but_not_gone(&other);
        ck_assert_int_eq(ptrace(PTRACE_DETACH, pid, 0, 0), 0);
        ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
        is_gone(&other);
}
END_TEST

START_TEST(zombie_with_a_thread_that_is_held_is_dead) {
        struct instance other;
        pid_t pid, tid;

        other = spawn_threads(&pid, &tid);
        kill_and_hold(&other, tid);
        wait_for_state(pid, 'Z');
        ck_assert_int_eq(waitpid(pid, NULL, WNOHANG), 0); /* not yet: one thread is left */
        is_dead_but_not_gone(&other);
        ck_assert_int_eq(ptrace(PTRACE_DETACH, tid, 0, 0), 0);
        ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
        is_gone(&other);
}
END_TEST

/* However it was stopped, it can be continued unless it has been killed. */
START_TEST(stopped_process_is_alive) {
        struct instance other;
        int status;
        pid_t pid;

        other = spawn(true, &pid);
        ck_assert_int_eq(kill(pid, SIGSTOP), 0);
        ck_assert_int_eq(waitpid(pid, &status, WUNTRACED), pid);
        is_alive(&other);
        ck_assert_int_eq(kill(pid, SIGTERM), 0); /* pending, but not SIGKILL */
        is_alive(&other);
        ck_assert_int_eq(kill(pid, SIGKILL), 0);
        ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
        is_gone(&other);
}
END_TEST

/* For a process in thousands of groups, the signals are far down in /proc/PID/status. */
START_TEST(many_groups_do_not_hide_that_it_is_killed) {
        enum { GROUPS = 5000 };
        static gid_t groups[GROUPS];
        struct instance other;
        pid_t pid;

        for (unsigned i = 0; i < GROUPS; i++)
                groups[i] = 1000000 + i;
        if (setgroups(GROUPS, groups) < 0)
                test_skip("groups need CAP_SETGID");
        other = spawn(true, &pid);
        kill_and_hold(&other, pid);
        is_dead_but_not_gone(&other);
        ck_assert_int_eq(ptrace(PTRACE_DETACH, pid, 0, 0), 0);
        ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}
END_TEST

/* ---- the real thing: a process ends while it waits for a FUSE server that doesn't answer ---- */

struct server {
        char directory[64], file[80];
        int fuse;
};

static void answer(int fuse, uint64_t unique, const void *body, size_t size) {
        struct {
                struct fuse_out_header header;
                char body[256];
        } reply = {.header = {.len = sizeof(reply.header) + size, .unique = unique}};

        memcpy(reply.body, body, size);
        ck_assert_int_eq(write(fuse, &reply, reply.header.len), reply.header.len);
}

/*
 * Serves a root directory in which each name is an empty file, until the request `question`
 * arrives.
 */
static void serve_until(int fuse, uint32_t question) {
        static char request[FUSE_MIN_READ_BUFFER * 32];
        const struct fuse_in_header *header = (const struct fuse_in_header *)request;

        for (;;) {
                ck_assert_int_ge(read(fuse, request, sizeof(request)), (int)sizeof(*header));
                if (header->opcode == question)
                        return;
                switch (header->opcode) {
                case FUSE_INIT:
                        answer(fuse, header->unique,
                               &(struct fuse_init_out){.major = FUSE_KERNEL_VERSION,
                                                       .minor = 31,
                                                       .max_write = 4096},
                               sizeof(struct fuse_init_out));
                        break;
                case FUSE_LOOKUP:
                        answer(fuse, header->unique,
                               &(struct fuse_entry_out){.nodeid = 2,
                                                        .attr = {.mode = S_IFREG | 0666}},
                               sizeof(struct fuse_entry_out));
                        break;
                case FUSE_OPEN:
                        answer(fuse, header->unique, &(struct fuse_open_out){.fh = 1},
                               sizeof(struct fuse_open_out));
                        break;
                default:
                        ck_abort_msg("FUSE operation %u", header->opcode);
                }
        }
}

/* False: the machine can't. */
static bool start_server(struct server *server) {
        char options[64];

        server->fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);
        if (server->fuse < 0 || unshare(CLONE_NEWNS) < 0 ||
            mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0)
                return false;
        strcpy(server->directory, "/tmp/mountatd-check-XXXXXX");
        ck_assert_ptr_nonnull(mkdtemp(server->directory));
        snprintf(server->file, sizeof(server->file), "%s/file", server->directory);
        snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0",
                 server->fuse);
        ck_assert_int_eq(mount("none", server->directory, "fuse", 0, options), 0);
        return true;
}

/* Pending requests fail. */
static void stop_server(struct server *server) {
        close(server->fuse);
        ck_assert_int_eq(umount2(server->directory, MNT_DETACH), 0);
        ck_assert_int_eq(rmdir(server->directory), 0);
}

static void *exit_in_thread(void *arg) {
        char byte;

        if (read(*(int *)arg, &byte, 1) != 1)
                pause();
        _exit(0);
}

/*
 * A child that opens the server's file and exits. With `ends`, a byte written to `*ends` makes its
 * second thread exit the process.
 */
static struct instance spawn_opener(const struct server *server, int *ends) {
        struct instance instance = {0};
        int told[2], end[2];
        pid_t pid;

        ck_assert_int_eq(pipe(told), 0);
        ck_assert_int_eq(pipe(end), 0);
        pid = fork();
        if (pid == 0) {
                struct instance me = self();
                pthread_t thread;

                close(server->fuse);
                close(end[1]);
                if ((ends && pthread_create(&thread, NULL, exit_in_thread, &end[0]) != 0) ||
                    write(told[1], &me, sizeof(me)) != sizeof(me) ||
                    open(server->file, O_RDONLY | O_CLOEXEC) < 0)
                        _exit(1);
                _exit(0); /* closes the file, which sends a request to the server */
        }
        ck_assert_int_eq(read(told[0], &instance, sizeof(instance)), sizeof(instance));
        close(told[0]);
        close(told[1]);
        close(end[0]);
        if (ends)
                *ends = end[1];
        else
                close(end[1]);
        return instance;
}

START_TEST(killed_process_that_is_stuck_in_the_kernel_is_dead) {
        struct server server;
        struct instance other;

        if (!start_server(&server))
                test_skip("a FUSE of its own needs /dev/fuse and CAP_SYS_ADMIN");
        other = spawn_opener(&server, NULL);
        serve_until(server.fuse, FUSE_LOOKUP);
        is_alive(&other);
        ck_assert_int_eq(kill(other.pid, SIGKILL), 0);
        wait_for_state(other.pid, 'D');
        is_dead_but_not_gone(&other);
        stop_server(&server);
        ck_assert_int_eq(waitpid(other.pid, NULL, 0), other.pid);
        is_gone(&other);
}
END_TEST

/* Nobody has killed the process: another thread has ended it. */
START_TEST(process_that_exits_around_a_stuck_leader_is_dead) {
        struct server server;
        struct instance other;
        int end;

        if (!start_server(&server))
                test_skip("a FUSE of its own needs /dev/fuse and CAP_SYS_ADMIN");
        other = spawn_opener(&server, &end);
        serve_until(server.fuse, FUSE_LOOKUP);
        is_alive(&other);
        ck_assert_int_eq(write(end, "", 1), 1);
        wait_for_state(other.pid, 'D');
        is_dead_but_not_gone(&other);
        stop_server(&server);
        ck_assert_int_eq(waitpid(other.pid, NULL, 0), other.pid);
        is_gone(&other);
}
END_TEST

START_TEST(process_that_is_stuck_as_it_exits_is_dead) {
        struct server server;
        struct instance other;

        if (!start_server(&server))
                test_skip("a FUSE of its own needs /dev/fuse and CAP_SYS_ADMIN");
        other = spawn_opener(&server, NULL);
        serve_until(server.fuse, FUSE_FLUSH);
        is_dead_but_not_gone(&other);
#ifndef __SANITIZE_THREAD__ /* whose own thread is the stuck one */
        ck_assert_int_ne(state_of(other.pid), 'Z');
#endif
        stop_server(&server);
        ck_assert_int_eq(waitpid(other.pid, NULL, 0), other.pid);
        is_gone(&other);
}
END_TEST

START_TEST(proc_that_shows_processes_alone_is_told) {
        struct instance instance = {.pid = 4711};

        if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0)
                test_skip("a mount namespace of its own needs CAP_SYS_ADMIN");
        if (mount("proc", "/proc", "proc", 0, "subset=pid") < 0)
                test_skip("impossible here: no procfs may be mounted");
        ck_assert_int_eq(instance_self(&instance), -EXDEV);
        ck_assert_int_eq(instance.pid, 4711);
        ck_assert_int_eq(umount2("/proc", MNT_DETACH), 0);
}
END_TEST

int main(void) {
        return SUITE_RUN(
                "instance", knows_itself, other_process_is_alive_until_it_dies, zombie_is_dead,
                reused_pid_is_another_process, other_boot_has_other_processes,
                pid_that_is_none_is_dead, pid_alone_is_dead_only_if_it_is_there,
                name_of_a_process_can_not_mislead, killed_process_that_is_held_is_dead,
                zombie_with_a_thread_that_is_held_is_dead, stopped_process_is_alive,
                many_groups_do_not_hide_that_it_is_killed,
                killed_process_that_is_stuck_in_the_kernel_is_dead,
                process_that_exits_around_a_stuck_leader_is_dead,
                process_that_is_stuck_as_it_exits_is_dead, proc_that_shows_processes_alone_is_told);
}
