/* SPDX-License-Identifier: Apache-2.0 */

/*
 * mountatctl run: exit statuses, the descriptors and signals of the command, errors of execve(2).
 * Includes the module to call its static functions.
 */

#include "client/run.c"
#include "tests/test.h"
#include "tests/unit/client/ctl_command.h"

#include "common/fd.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#define BUSYBOX "/bin/busybox"

/* ---- a command that can't be executed ---- */

START_TEST(finds_commands_like_execvp) {
        static const struct {
                const char *path, *command;
                bool there;
        } cases[] = {
                {"", "/dev/null", true},
                {"", "/dev/null/x", false}, /* ENOTDIR */
                {"", "/nowhere/x", false},
                {"", "./nowhere", false},
                {"/dev", "null", true},
                {"/nowhere:/dev", "null", true},
                {"/dev:/nowhere", "null", true},
                {"/nowhere:/proc:/sys", "null", false},
                {":/dev:", "null", true},
                {"", "null", false},
                {"/dev", "", false},
                {"", "", false},
                {NULL, "null", false},
                {"/", "dev", true},
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

START_TEST(tells_missing_from_not_executable) {
        ck_assert_int_eq(capture(explain, "/nowhere/\x1b"), COMMAND_RUN_NOT_FOUND);
        expect_errors("cannot find /nowhere/\\x1b in the root");
        ck_assert_int_eq(capture(explain, "/dev/null"), COMMAND_RUN_NOT_EXECUTABLE);
        expect_errors("cannot execute /dev/null in the root: Permission denied");
        ck_assert_int_eq(capture(explain_missing_loader, "/dev/null"), COMMAND_RUN_NOT_EXECUTABLE);
        expect_errors("its interpreter or ");
}
END_TEST

/* ---- what the command inherits ---- */

static bool is_passed(int fd) {
        int flags = fcntl(fd, F_GETFD);

        return flags >= 0 && !(flags & FD_CLOEXEC);
}

/* Descriptors open without FD_CLOEXEC, as a careless parent leaves them. */
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

/* In a process of its own, as it gives up what it could need later. */
static void confine(struct run *run) {
        open_carelessly();
        ck_assert_int_eq(setenv("MAKEFLAGS", "--jobserver-auth=31,32", 1), 0);
        ck_assert_int_eq(unsetenv("CARGO_MAKEFLAGS"), 0);
        jobserver_find(&run->jobserver);
        ck_assert_int_eq(run_confine(run, getppid()), 0);
}

static int confine_usually(const void *argument) {
        struct run run = {.arguments = &(struct arguments){0}};
        int death = 0;

        (void)argument;
        confine(&run);
        ck_assert(is_passed(STDOUT_FILENO) && is_passed(STDERR_FILENO));
        ck_assert(is_passed(PIPE_READER) && is_passed(PIPE_WRITER));
        ck_assert(!is_passed(DIRECTORY));

        ck_assert_int_eq(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1);
        ck_assert_int_eq(prctl(PR_GET_PDEATHSIG, &death), 0);
        ck_assert_int_eq(death, SIGKILL);
        /* The parent has died before PR_SET_PDEATHSIG. */
        ck_assert_int_eq(run_confine(&run, getpid()), -ESRCH);
        return 0;
}

static int confine_with_all_descriptors(const void *argument) {
        struct run run = {.arguments = &(struct arguments){.keep_fds = true}};

        (void)argument;
        confine(&run);
        ck_assert(is_passed(DIRECTORY) && is_passed(PIPE_READER) && is_passed(PIPE_WRITER));
        return 0;
}

START_TEST(command_gets_only_what_it_needs) {
        ck_assert_int_eq(capture(confine_usually, NULL), 0);
}
END_TEST

START_TEST(keep_fds_passes_all_descriptors) {
        ck_assert_int_eq(capture(confine_with_all_descriptors, NULL), 0);
}
END_TEST

/* ---- signals ---- */

/* The first signal that the child gets; SIGWINCH, sent last, if none was forwarded. */
static int forward(const struct signalfd_siginfo *info) {
        sigset_t all, before;
        int status, number;
        pid_t child;

        sigfillset(&all);
        ck_assert_int_eq(sigprocmask(SIG_BLOCK, &all, &before), 0);
        child = fork();
        ck_assert_int_ge(child, 0);
        if (child == 0)
                _exit(sigwait(&all, &number) == 0 ? number : 0);
        run_forward(child, info);
        ck_assert_int_eq(kill(child, SIGWINCH), 0);
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert_int_eq(sigprocmask(SIG_SETMASK, &before, NULL), 0);
        ck_assert(WIFEXITED(status));
        return WEXITSTATUS(status);
}

START_TEST(forwards_signals_except_keys_of_the_terminal) {
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

/* A process that executes mountatctl in its place may leave it other children. */
START_TEST(waits_for_the_command_only) {
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
        signals_restore(&signals);
}
END_TEST

/* ---- whole runs, in a root with busybox ---- */

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

/* Has a directory "mounted" while there is a lease. */
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

ROOT_TEST(exits_with_the_commands_status) {
        ctl_script(marking);
        ck_assert_int_eq(SHELL("exit 0"), 0);
        ck_assert_int_eq(SHELL("exit 3"), 3);
        ck_assert_int_eq(SHELL("exit 255"), 255);
        ck_assert_int_eq(SHELL("kill -TERM $$"), COMMAND_RUN_SIGNAL + SIGTERM);
        ck_assert_int_eq(SHELL("kill -KILL $$"), COMMAND_RUN_SIGNAL + SIGKILL);
        ck_assert_str_eq(captured.errors, "");
        ck_assert(!is_there("mounted") && !is_there("proc"));
}

ROOT_TEST(command_runs_in_the_mounted_root) {
        ctl_script(marking);
        ck_assert_int_eq(SHELL("cd /; busybox ls -d /* ; exec busybox pwd"), 0);
        ck_assert_str_eq(captured.output, "/bin\n/mounted\n/proc\n/sys\n/\n");
        ck_assert_str_eq(captured.errors, "");
}

static void make_file(const char *name, mode_t mode) {
        FD_AUTO int fd = openat(scripted.root, name, O_WRONLY | O_CREAT | O_CLOEXEC, mode);

        ck_assert_int_eq(write(fd, "#!/bin/nothing\n", 15), 15);
}

ROOT_TEST(own_failures_have_their_own_statuses) {
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
        ck_assert_int_eq(CTL(command_run, "--create", "root", "--", ""), COMMAND_RUN_NOT_FOUND);
        expect_errors("cannot find a command without a name in the root");
        ck_assert(!is_there("mounted") && !is_there("proc"));
        ck_assert_int_eq(CTL(command_run, "root", "sh"), COMMAND_RUN_FAILED);
        expect_errors("--create");
        ck_assert_int_eq(CTL(command_run, "nowhere", "sh"), COMMAND_RUN_FAILED);
        scripted_stop();
        ck_assert_int_eq(CTL(command_run, "--socket=nowhere", "root", "sh"), COMMAND_RUN_FAILED);
        expect_errors("nowhere");
}

/* With SIGCHLD ignored the kernel would discard the status. */
static int run_with_sigchld_ignored(const struct arguments *arguments) {
        signal(SIGCHLD, SIG_IGN);
        return command_run(arguments);
}

ROOT_TEST(command_gets_the_original_signal_mask) {
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

ROOT_TEST(command_outlives_the_loss_of_its_mounts) {
        ctl_script(dying_after_the_mount);
        CTL_START(command_run, "--create", "root", "--", "sh", "-c",
                  "echo ready; read line; exit 6");
        capture_await("ready\n");
        capture_await_errors("\n");
        ck_assert_int_eq(write(captured.input, "go\n", 3), 3);
        ck_assert_int_eq(capture_end(), 6);
}

ROOT_TEST(reports_a_failed_unmount_and_keeps_the_status) {
        ctl_script(peer_fails_to_unmount);
        ck_assert_int_eq(SHELL("exit 9"), 9);
        expect_errors("cannot unmount proc and sysfs below root: host-failed");
}

/* As main() starts it, with nobody to read its errors. */
static int run_without_reader(const struct arguments *arguments) {
        int fds[2];

        signal(SIGPIPE, SIG_DFL);
        signals_ignore_pipe();
        if (pipe2(fds, O_CLOEXEC) < 0 || dup2(fds[1], STDERR_FILENO) < 0)
                abort();
        close(fds[0]);
        return command_run(arguments);
}

/* On the loss of its mounts it handles the daemon first, then the signal. */
ROOT_TEST(command_outlives_the_reader_of_errors) {
        ctl_script(dying_after_the_mount);
        CTL_START(run_without_reader, "--create", "root", "--", "sh", "-c",
                  "trap 'exit 6' USR1; echo ready; while :; do busybox sleep 0.01; done");
        capture_await("ready\n");
        scripted_kill();
        scripted_start(dying_after_the_mount);
        ck_assert_int_eq(kill(captured.pid, SIGUSR1), 0);
        ck_assert_int_eq(capture_end(), 6);
}

ROOT_TEST(command_gets_the_original_sigpipe) {
        ctl_script(marking);
        ck_assert_int_eq(CTL(run_without_reader, "--create", "root", "--", "sh", "-c",
                             "kill -PIPE $$; exit 3"),
                         COMMAND_RUN_SIGNAL + SIGPIPE);
        ck_assert_int_eq(CTL(run_without_reader, "--create", "root", "nothing"),
                         COMMAND_RUN_NOT_FOUND);
}

/* Sends that often enough to leave no pause. */
static pid_t start_pest(pid_t victim) {
        pid_t pid = fork();

        ck_assert_int_ge(pid, 0);
        if (pid > 0)
                return pid;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        while (kill(victim, SIGUSR1) == 0)
                usleep(1000);
        _exit(0);
}

/* Without a free descriptor each attempt to reconnect fails at once. */
ROOT_TEST(signals_do_not_keep_it_from_recovery) {
        const struct rlimit limit = {3, 3};
        pid_t pest;

        ctl_script(marking);
        CTL_START(command_run, "--create", "--timeout=1", "root", "--", "sh", "-c",
                  "trap : USR1; echo ready; until read line; do :; done; exit 6");
        capture_await("ready\n");
        ck_assert_int_eq(prlimit(captured.pid, RLIMIT_NOFILE, &limit, NULL), 0);
        pest = start_pest(captured.pid);
        scripted_stop();
        capture_await_errors("\n");
        ck_assert_int_eq(kill(pest, SIGKILL), 0);
        ck_assert_int_eq(waitpid(pest, NULL, 0), pest);
        ck_assert_int_eq(write(captured.input, "go\n", 3), 3);
        ck_assert_int_eq(capture_end(), 6);
}

static int stream; /* to be a directory */

static int run_with_a_directory(const struct arguments *arguments) {
        FD_AUTO int directory = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
        FD_AUTO int errors = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
        int status;

        if (dup2(directory, stream) < 0)
                abort();
        status = command_run(arguments);
        if (stream == STDERR_FILENO && dup2(errors, STDERR_FILENO) >= 0)
                warnx("standard error is back");
        return status;
}

/* By openat(2) or /proc/self/fd/0/.. it would be a way out. */
ROOT_TEST(command_gets_no_directory_as_standard_stream) {
        static const char *const names[] = {"standard input is a directory",
                                            "standard output is a directory", "error is back"};

        ctl_script(marking);
        for (stream = STDIN_FILENO; stream <= STDERR_FILENO; stream++) {
                ck_assert_int_eq(
                        CTL(run_with_a_directory, "--create", "root", "--", "sh", "-c", "exit 3"),
                        COMMAND_RUN_FAILED);
                expect_errors(names[stream]);
                ck_assert_int_eq(CTL(run_with_a_directory, "--keep-fds", "--create", "root", "--",
                                     "sh", "-c", "exit 3"),
                                 3);
        }
}

int main(void) {
        Suite *suite = suite_create("run");
        TCase *tests = scripted_case(suite, "run");

        tcase_add_test(tests, finds_commands_like_execvp);
        tcase_add_test(tests, tells_missing_from_not_executable);
        tcase_add_test(tests, keep_fds_passes_all_descriptors);
        tcase_add_test(tests, command_gets_only_what_it_needs);
        tcase_add_test(tests, forwards_signals_except_keys_of_the_terminal);
        tcase_add_test(tests, waits_for_the_command_only);
        tcase_add_test(tests, exits_with_the_commands_status);
        tcase_add_test(tests, command_runs_in_the_mounted_root);
        tcase_add_test(tests, own_failures_have_their_own_statuses);
        tcase_add_test(tests, command_gets_the_original_signal_mask);
        tcase_add_test(tests, command_outlives_the_loss_of_its_mounts);
        tcase_add_test(tests, command_outlives_the_reader_of_errors);
        tcase_add_test(tests, command_gets_the_original_sigpipe);
        tcase_add_test(tests, signals_do_not_keep_it_from_recovery);
        tcase_add_test(tests, command_gets_no_directory_as_standard_stream);
        tcase_add_test(tests, reports_a_failed_unmount_and_keeps_the_status);
        return suite_run_all(suite);
}
