/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What run decides: what its exit status is, which descriptors and signals the command gets, what
 * it says of a command that can't be executed. Looks into the module.
 */

#include "client/run.c"
#include "tests/test.h"
#include "tests/unit/client/ctl_command.h"

#include "common/fd.h"

#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#define BUSYBOX "/bin/busybox"

/* ---- a command that can't be executed ---- */

START_TEST(a_command_is_looked_for_as_execvp_does) {
        static const struct {
                const char *path, *command;
                bool there;
        } cases[] = {
                {"", "/dev/null", true},         {"", "/dev/null/x", false}, /* ENOTDIR */
                {"", "/nowhere/x", false},       {"", "./nowhere", false},
                {"/dev", "null", true},          {"/nowhere:/dev", "null", true},
                {"/dev:/nowhere", "null", true}, {"/nowhere:/proc:/sys", "null", false},
                {":/dev:", "null", true},        {"", "null", false},
                {NULL, "null", false},           {"/", "dev", true},
        };

        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                if (cases[i].path)
                        ck_assert_int_eq(setenv("PATH", cases[i].path, 1), 0);
                else
                        ck_assert_int_eq(unsetenv("PATH"), 0);
                ck_assert_msg(run_is_there(cases[i].command) == cases[i].there, "%s in %s",
                              cases[i].command, cases[i].path ?: "none");
        }
}
END_TEST

static int explain(const void *argument) {
        return run_explain_exec(argument, EACCES);
}

static int explain_missing_loader(const void *argument) {
        return run_explain_exec(argument, ENOENT);
}

START_TEST(what_is_nowhere_is_told_from_what_cannot_be_executed) {
        ck_assert_int_eq(capture(explain, "/nowhere/\x1b"), COMMAND_RUN_NOT_FOUND);
        expect_errors("cannot find /nowhere/\\x1b in the root");
        ck_assert_int_eq(capture(explain, "/dev/null"), COMMAND_RUN_NOT_EXECUTABLE);
        expect_errors("cannot execute /dev/null in the root: Permission denied");
        ck_assert_int_eq(capture(explain_missing_loader, "/dev/null"), COMMAND_RUN_NOT_EXECUTABLE);
        expect_errors("interpreter or loader is not there");
}
END_TEST

/* ---- what the command inherits ---- */

static bool is_passed(int fd) {
        int flags = fcntl(fd, F_GETFD);

        return flags >= 0 && !(flags & FD_CLOEXEC);
}

/* Numbers that a test leaves open without FD_CLOEXEC, as a careless parent does. */
enum {
        DIRECTORY = 30,
        PIPE_READER,
        PIPE_WRITER,
};

static void open_carelessly(void) {
        FD_AUTO int directory = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int fds[2];

        ck_assert_int_eq(dup2(directory, DIRECTORY), DIRECTORY);
        ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
        ck_assert_int_eq(dup2(fds[0], PIPE_READER), PIPE_READER);
        ck_assert_int_eq(dup2(fds[1], PIPE_WRITER), PIPE_WRITER);
        fd_close(fds[0]);
        fd_close(fds[1]);
}

static void close_them(void) {
        for (int fd = DIRECTORY; fd <= PIPE_WRITER; fd++)
                fd_close(fd);
}

static void confine(struct run *run) {
        open_carelessly();
        ck_assert_int_eq(setenv("MAKEFLAGS", "--jobserver-auth=31,32", 1), 0);
        ck_assert_int_eq(unsetenv("CARGO_MAKEFLAGS"), 0);
        jobserver_find(&run->jobserver);
        ck_assert_int_eq(run_confine(run, getppid()), 0);
}

START_TEST(only_standard_descriptors_and_the_job_server_are_passed) {
        struct run run = {.arguments = &(struct arguments){0}};

        confine(&run);
        ck_assert(is_passed(STDOUT_FILENO) && is_passed(STDERR_FILENO));
        ck_assert(is_passed(PIPE_READER) && is_passed(PIPE_WRITER));
        ck_assert(!is_passed(DIRECTORY));
        close_them();
}
END_TEST

START_TEST(keep_fds_passes_all) {
        struct run run = {.arguments = &(struct arguments){.keep_fds = true}};

        confine(&run);
        ck_assert(is_passed(DIRECTORY) && is_passed(PIPE_READER) && is_passed(PIPE_WRITER));
        close_them();
}
END_TEST

START_TEST(the_command_gains_no_privilege_and_dies_with_its_parent) {
        struct run run = {.arguments = &(struct arguments){0}};
        int death = 0;

        confine(&run);
        ck_assert_int_eq(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1);
        ck_assert_int_eq(prctl(PR_GET_PDEATHSIG, &death), 0);
        ck_assert_int_eq(death, SIGKILL);
        /* The parent that forked it may be dead by now. */
        ck_assert_int_eq(run_confine(&run, getpid()), -ESRCH);
        close_them();
}
END_TEST

/* ---- signals ---- */

/* The signal that the child gets first: SIGWINCH, which comes last, if none is forwarded. */
static int forward(const struct signalfd_siginfo *info) {
        sigset_t all;
        int status, number;
        pid_t child;

        sigfillset(&all);
        ck_assert_int_eq(sigprocmask(SIG_BLOCK, &all, NULL), 0);
        child = fork();
        ck_assert_int_ge(child, 0);
        if (child == 0)
                _exit(sigwait(&all, &number) == 0 ? number : 0);
        run_forward(child, info);
        ck_assert_int_eq(kill(child, SIGWINCH), 0);
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert(WIFEXITED(status));
        return WEXITSTATUS(status);
}

START_TEST(signals_are_forwarded_but_keys_which_the_command_has_already) {
        static const struct {
                int number, code;
                bool forwarded;
        } cases[] = {
                {SIGINT, SI_KERNEL, false}, {SIGQUIT, SI_KERNEL, false}, {SIGINT, SI_USER, true},
                {SIGQUIT, SI_USER, true},   {SIGHUP, SI_KERNEL, true},   {SIGHUP, SI_USER, true},
                {SIGTERM, SI_USER, true},   {SIGUSR1, SI_TKILL, true},   {SIGUSR2, SI_QUEUE, true},
        };

        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                struct signalfd_siginfo info = {.ssi_signo = (uint32_t)cases[i].number,
                                                .ssi_code = cases[i].code};

                ck_assert_int_eq(forward(&info), cases[i].forwarded ? cases[i].number : SIGWINCH);
        }
}
END_TEST

/* Another child may come from whoever executed mountatctl in its own place. */
START_TEST(only_the_commands_end_is_its_end) {
        SIGNALS_AUTO struct signals signals = SIGNALS_NONE;
        struct pollfd poller = {.events = POLLIN};
        pid_t child, other;
        int status = -1;

        ck_assert_int_eq(signals_open(&signals, run_signals, N_ELEMENTS(run_signals)), 0);
        poller.fd = signals.fd;
        child = fork();
        if (child == 0) {
                signals_restore(&signals);
                pause();
                _exit(0);
        }
        ck_assert(!run_take_signals(&signals, child, &status));
        other = fork();
        if (other == 0)
                _exit(7);
        ck_assert_int_eq(poll(&poller, 1, -1), 1);
        ck_assert(!run_take_signals(&signals, child, &status));
        ck_assert_int_eq(waitpid(other, NULL, 0), other);

        ck_assert_int_eq(kill(getpid(), SIGTERM), 0);
        while (!run_take_signals(&signals, child, &status))
                ck_assert_int_eq(poll(&poller, 1, -1), 1);
        ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
}
END_TEST

/* ---- the whole, in a root with a busybox ---- */

static bool make_busybox(void) {
        FD_AUTO int from = open(BUSYBOX, O_RDONLY | O_CLOEXEC);
        FD_AUTO int to = -EBADF;
        ssize_t size;

        if (from < 0)
                return false;
        ck_assert_int_eq(mkdirat(scripted.root, "bin", 0755), 0);
        to = openat(scripted.root, "bin/busybox", O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
        do
                size = sendfile(to, from, NULL, 1 << 30);
        while (size > 0);
        ck_assert_int_eq(size, 0);
        ck_assert_int_eq(symlinkat("busybox", scripted.root, "bin/sh"), 0);
        ck_assert_int_eq(setenv("PATH", "/bin", 1), 0);
        return true;
}

#define ROOT_TEST(name)                                                                            \
        static void name##_body(void);                                                             \
        START_TEST(name) {                                                                         \
                if (geteuid() != 0)                                                                \
                        test_skip("chroot needs root");                                            \
                if (!make_busybox())                                                               \
                        test_skip("busybox is not installed");                                     \
                name##_body();                                                                     \
        }                                                                                          \
        END_TEST static void name##_body(void)

/* Keeps a file for as long as its lease is mounted. */
static void marking(int connection) {
        for (;;) {
                struct wire_request request = peer_receive_only(connection);
                struct wire_reply reply = {.flags = SCRIPTED_FEATURES};

                if (request.operation == PROTOCOL_MOUNT) {
                        peer_check(mkdirat(scripted.root, "mounted", 0755) == 0);
                        reply = (struct wire_reply){.lease = SCRIPTED_LEASE};
                }
                if (request.operation == PROTOCOL_UNMOUNT)
                        peer_check(unlinkat(scripted.root, "mounted", AT_REMOVEDIR) == 0);
                peer_answer(connection, &request, reply);
        }
}

#define SHELL(script) CTL(command_run, "--create", "root", "--", "sh", "-c", script)

ROOT_TEST(the_status_is_the_commands_own) {
        ctl_script(marking);
        ck_assert_int_eq(SHELL("exit 0"), 0);
        ck_assert_int_eq(SHELL("exit 3"), 3);
        ck_assert_int_eq(SHELL("exit 255"), 255);
        ck_assert_int_eq(SHELL("kill -TERM $$"), COMMAND_RUN_SIGNAL + SIGTERM);
        ck_assert_int_eq(SHELL("kill -KILL $$"), COMMAND_RUN_SIGNAL + SIGKILL);
        ck_assert_str_eq(captured.errors, "");
        ck_assert(!is_there("mounted") && !is_there("proc"));
}

ROOT_TEST(the_command_is_in_the_root_while_it_is_mounted) {
        ctl_script(marking);
        ck_assert_int_eq(SHELL("cd /; busybox ls -d /* ; exec busybox pwd"), 0);
        ck_assert_str_eq(captured.output, "/bin\n/mounted\n/proc\n/sys\n/\n");
        ck_assert_str_eq(captured.errors, "");
}

static void make_file(const char *name, mode_t mode) {
        FD_AUTO int fd = openat(scripted.root, name, O_WRONLY | O_CREAT | O_CLOEXEC, mode);

        ck_assert_int_eq(write(fd, "#!/bin/nothing\n", 15), 15);
}

ROOT_TEST(its_own_failures_have_statuses_of_their_own) {
        make_file("text", 0644);
        make_file("script", 0755);
        ctl_script(marking);
        ck_assert_int_eq(CTL(command_run, "--create", "root", "nothing"), COMMAND_RUN_NOT_FOUND);
        expect_errors("cannot find nothing in the root");
        ck_assert_int_eq(CTL(command_run, "--create", "root", "/text"), COMMAND_RUN_NOT_EXECUTABLE);
        expect_errors("cannot execute /text in the root: Permission denied");
        ck_assert_int_eq(CTL(command_run, "--create", "root", "/script"),
                         COMMAND_RUN_NOT_EXECUTABLE);
        expect_errors("interpreter");
        ck_assert(!is_there("mounted") && !is_there("proc"));
        ck_assert_int_eq(CTL(command_run, "root", "sh"), COMMAND_RUN_FAILED);
        expect_errors("--create");
        ck_assert_int_eq(CTL(command_run, "nowhere", "sh"), COMMAND_RUN_FAILED);
        scripted_stop();
        ck_assert_int_eq(CTL(command_run, "--socket=nowhere", "root", "sh"), COMMAND_RUN_FAILED);
        expect_errors("nowhere");
}

/* Its parent's mask and an ignored SIGCHLD would be inherited, or lose the status. */
static int run_with_sigchld_ignored(const struct arguments *arguments) {
        signal(SIGCHLD, SIG_IGN);
        return command_run(arguments);
}

ROOT_TEST(signals_reach_the_command_as_they_were) {
        ctl_script(marking);
        ck_assert_int_eq(
                CTL(run_with_sigchld_ignored, "--create", "root", "--", "sh", "-c", "exit 5"), 5);
        CTL_START(command_run, "--create", "root", "--", "sh", "-c",
                  "trap 'echo got; exit 4' TERM; echo ready; while :; do busybox sleep 0.01; done");
        capture_await("ready\n");
        ck_assert_int_eq(kill(captured.pid, SIGTERM), 0);
        capture_await_end();
        ck_assert_int_eq(capture_end(), 4);
        ck_assert_str_eq(captured.output, "ready\ngot\n");
}

static void dying_after_the_mount(int connection) {
        struct wire_request request;

        do {
                request = peer_receive_only(connection);
                peer_answer(connection, &request, (struct wire_reply){.lease = SCRIPTED_LEASE});
        } while (request.operation != PROTOCOL_MOUNT);
}

/* The command is told nothing, and goes on. */
ROOT_TEST(the_loss_of_its_mounts_does_not_end_the_command) {
        ctl_script(dying_after_the_mount);
        CTL_START(command_run, "--create", "root", "--", "sh", "-c",
                  "echo ready; read line; exit 6");
        capture_await("ready\n");
        capture_await_errors("\n");
        ck_assert_int_eq(write(captured.input, "go\n", 3), 3);
        ck_assert_int_eq(capture_end(), 6);
}

static void refusing_to_unmount(int connection) {
        for (;;) {
                struct wire_request request = peer_receive_only(connection);

                peer_answer(
                        connection, &request,
                        request.operation == PROTOCOL_UNMOUNT
                                ? (struct wire_reply){.status = STATUS_HOST_FAILED, .error = EIO}
                                : (struct wire_reply){.lease = SCRIPTED_LEASE});
        }
}

ROOT_TEST(a_failing_unmount_is_told_and_leaves_the_status) {
        ctl_script(refusing_to_unmount);
        ck_assert_int_eq(SHELL("exit 9"), 9);
        expect_errors("cannot unmount proc and sysfs below root: host-failed");
}

int main(void) {
        Suite *suite = suite_create("run");
        TCase *tests = scripted_case(suite, "run");

        tcase_add_test(tests, a_command_is_looked_for_as_execvp_does);
        tcase_add_test(tests, what_is_nowhere_is_told_from_what_cannot_be_executed);
        tcase_add_test(tests, only_standard_descriptors_and_the_job_server_are_passed);
        tcase_add_test(tests, keep_fds_passes_all);
        tcase_add_test(tests, the_command_gains_no_privilege_and_dies_with_its_parent);
        tcase_add_test(tests, signals_are_forwarded_but_keys_which_the_command_has_already);
        tcase_add_test(tests, only_the_commands_end_is_its_end);
        tcase_add_test(tests, the_status_is_the_commands_own);
        tcase_add_test(tests, the_command_is_in_the_root_while_it_is_mounted);
        tcase_add_test(tests, its_own_failures_have_statuses_of_their_own);
        tcase_add_test(tests, signals_reach_the_command_as_they_were);
        tcase_add_test(tests, the_loss_of_its_mounts_does_not_end_the_command);
        tcase_add_test(tests, a_failing_unmount_is_told_and_leaves_the_status);
        return suite_run_all(suite);
}
