/* SPDX-License-Identifier: Apache-2.0 */

/* The program: choosing a command, and what happens before it starts. */

#include "tests/test.h"
#include "tests/unit/client/ctl_command.h"

#include "common/fd.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
        WORDS_MAX = 8,
        SOMEBODY = 60001,
};

extern char **environ;

/* "mountatctl WORD…" in the scripted directory. */
static int exec_mountatctl(const void *argument) {
        const char *const *words = argument;
        char *argv[WORDS_MAX + 2] = {(char *)"mountatctl"};
        FD_AUTO int program = open(MOUNTATCTL_PROGRAM, O_RDONLY | O_CLOEXEC);

        for (int i = 0; words[i]; i++)
                argv[i + 1] = (char *)words[i];
        bus_peer_set_address();
        if (chdir(scripted.dir) == 0 && setenv("MOUNTATD_SOCKET", scripted.path, 1) == 0)
                fexecve(program, argv, environ);
        return 77;
}

#define MOUNTATCTL(...) capture(exec_mountatctl, (const char *const[]){__VA_ARGS__, NULL})

static bool has_line(const char *text, const char *start) {
        const char *found = strstr(text, start);

        return found && (found == text || found[-1] == '\n');
}

static const struct {
        const char *name;
        int misuse;
        int operands_min, operands_max;
} commands[] = {
        {"run", COMMAND_RUN_FAILED, 2, WORDS_MAX}, {"hold", COMMAND_MISUSED, 1, 1},
        {"hello", COMMAND_MISUSED, 0, 0},          {"mount", COMMAND_MISUSED, 1, 1},
        {"unmount", COMMAND_MISUSED, 1, 1},        {"list", COMMAND_MISUSED, 0, 0},
        {"status", COMMAND_MISUSED, 0, 0},
};

/* ---- help and version ---- */

START_TEST(help_is_the_same_for_every_command) {
        char help[CAPTURE_MAX], line[64];

        ck_assert_int_eq(MOUNTATCTL("--help"), 0);
        ck_assert_str_eq(captured.errors, "");
        ck_assert(has_line(captured.output, "Usage: mountatctl run "));
        ck_assert(has_line(captured.output, "Exit status of run"));
        memcpy(help, captured.output, sizeof(help));
        for (size_t i = 0; i < N_ELEMENTS(commands); i++) {
                snprintf(line, sizeof(line), "  %-8s ", commands[i].name);
                ck_assert_msg(has_line(help, line), "%s is not in the help", commands[i].name);
                ck_assert_int_eq(MOUNTATCTL(commands[i].name, "--help"), 0);
                ck_assert_str_eq(captured.output, help);
        }
}
END_TEST

START_TEST(version_is_the_same_for_every_command) {
        char version[CAPTURE_MAX];

        ck_assert_int_eq(MOUNTATCTL("--version"), 0);
        ck_assert_str_eq(captured.errors, "");
        ck_assert(has_line(captured.output, "mountatctl " MOUNTATD_VERSION));
        memcpy(version, captured.output, sizeof(version));
        for (size_t i = 0; i < N_ELEMENTS(commands); i++) {
                ck_assert_int_eq(MOUNTATCTL(commands[i].name, "--version"), 0);
                ck_assert_str_eq(captured.output, version);
        }
}
END_TEST

/* ---- output that is lost ---- */

static int exec_to_full_device(const void *words) {
        int full = open("/dev/full", O_WRONLY | O_CLOEXEC);

        return full < 0 || dup2(full, STDOUT_FILENO) < 0 ? 77 : exec_mountatctl(words);
}

static int exec_to_broken_pipe(const void *words) {
        int fds[2];

        signal(SIGPIPE, SIG_DFL);
        if (pipe2(fds, O_CLOEXEC) < 0 || dup2(fds[1], STDOUT_FILENO) < 0)
                return 77;
        close(fds[0]);
        return exec_mountatctl(words);
}

static int exec_without_output(const void *words) {
        close(STDOUT_FILENO);
        return exec_mountatctl(words);
}

static const struct {
        int (*exec)(const void *words);
        const char *error;
} losses[] = {
        {exec_to_full_device, "No space left on device"},
        {exec_to_broken_pipe, "Broken pipe"},
        {exec_without_output, "Bad file descriptor"},
};

static int answer_list_or_status(sd_bus_message *call) {
        return sd_bus_message_is_method_call(call, NULL, "ListLeasesEx")
                       ? bus_peer_reply_leases(call, NULL, 0)
                       : sd_bus_reply_method_return(call, "a{sv}", 0);
}

/* Nothing stays mounted or created, except by mount: then the error names the lease. */
START_TEST(fails_if_it_cannot_print) {
        static const char *const lines[][4] = {
                {"--help"},
                {"--version"},
                {"list", "--help"},
                {"hello"},
                {"list"},
                {"list", "--json=short"},
                {"status"},
                {"status", "--json=pretty"},
                {"hold", "--create", "root"},
                {"mount", "--create", "root"},
        };

        bus_peer_start(answer_list_or_status);
        for (size_t i = 0; i < N_ELEMENTS(lines) * N_ELEMENTS(losses); i++) {
                const char *const *words = lines[i / N_ELEMENTS(losses)];
                bool mounts = strcmp(words[0], "mount") == 0;
                int status;

                scripted_start(peer_obliging);
                status = capture(losses[i % N_ELEMENTS(losses)].exec, words);
                scripted_kill();
                ck_assert_msg(status == COMMAND_FAILED, "%s: %d", words[0], status);
                expect_errors("cannot write to standard output: ");
                expect_errors(losses[i % N_ELEMENTS(losses)].error);
                ck_assert_ptr_eq(strchr(captured.errors, '\n'), strrchr(captured.errors, '\n'));
                ck_assert(is_there("proc") == mounts);
                if (mounts)
                        expect_errors("lease 0000001234567890 stays mounted");
        }
}
END_TEST

/* ---- a wrong command line ---- */

START_TEST(refuses_unknown_commands) {
        ck_assert_int_eq(MOUNTATCTL(NULL), COMMAND_MISUSED);
        expect_errors("mountatctl --help");
        ck_assert_int_eq(MOUNTATCTL("mounts\x1b"), COMMAND_MISUSED);
        expect_errors("mounts\\x1b");
        expect_errors("mountatctl --help");
        ck_assert_int_eq(MOUNTATCTL(""), COMMAND_MISUSED);
        ck_assert_int_eq(MOUNTATCTL("-q", "mount"), COMMAND_MISUSED);
        expect_errors("-q");
}
END_TEST

static void expect_misuse(size_t i, int n_operands) {
        const char *words[WORDS_MAX + 1] = {commands[i].name};
        char usage[64];

        for (int n = 1; n <= n_operands; n++)
                words[n] = "operand";
        ck_assert_msg(capture(exec_mountatctl, words) == commands[i].misuse, "%s: %s", words[0],
                      captured.errors);
        ck_assert_str_eq(captured.output, "");
        snprintf(usage, sizeof(usage), "usage: mountatctl %s ", commands[i].name);
        expect_errors(usage);
}

START_TEST(counts_operands) {
        for (size_t i = 0; i < N_ELEMENTS(commands); i++) {
                if (commands[i].operands_min > 0)
                        expect_misuse(i, commands[i].operands_min - 1);
                if (commands[i].operands_max < WORDS_MAX)
                        expect_misuse(i, commands[i].operands_max + 1);
        }
}
END_TEST

#define ALL " run hold hello mount unmount list status "

START_TEST(accepts_only_a_commands_own_options) {
        static const struct {
                const char *option;
                const char *of; /* commands between spaces */
        } options[] = {
                {"--socket=s", " run hold hello mount unmount "},
                {"--timeout=1", " run hold hello mount unmount "},
                {"--create", " run hold mount "},
                {"--dev", " run hold mount "},
                {"--file-system=proc", " run hold mount "},
                {"--pids-only", " run hold mount "},
                {"--read-only", " run hold mount "},
                {"--keep-fds", " run "},
                {"--json=off", " list status "},
                {"--no-legend", " list status "},
                {"--all", " list "},
                {"--no-pager", ALL},
                {"--quiet", ALL},
        };

        for (size_t i = 0; i < N_ELEMENTS(options) * N_ELEMENTS(commands); i++) {
                const char *option = options[i / N_ELEMENTS(commands)].option;
                const char *name = commands[i % N_ELEMENTS(commands)].name;
                int misuse = commands[i % N_ELEMENTS(commands)].misuse;
                char spaced[32], named[32];
                bool known;

                snprintf(spaced, sizeof(spaced), " %s ", name);
                known = strstr(options[i / N_ELEMENTS(commands)].of, spaced) != NULL;
                ck_assert_msg(MOUNTATCTL(name, option, "--version") == (known ? 0 : misuse),
                              "%s %s: %s", name, option, captured.errors);
                if (known)
                        continue;
                snprintf(named, sizeof(named), "%.*s:", (int)strcspn(option, "="), option);
                expect_errors(named);
        }
}
END_TEST

/* ---- run ROOT -- COMMAND ---- */

START_TEST(takes_dashes_before_the_command_of_run) {
        for (int i = 0; i < 2; i++) {
                if (i == 1)
                        ck_assert_int_eq(setenv("POSIXLY_CORRECT", "1", 1), 0);
                scripted_start(peer_obliging);
                ck_assert_int_eq(MOUNTATCTL("run", "nowhere", "--", "true", "--help"),
                                 COMMAND_RUN_FAILED);
                expect_errors("root directory nowhere: ");
                ck_assert_int_eq(MOUNTATCTL("run", "nowhere", "--"), COMMAND_RUN_FAILED);
                expect_errors("usage: mountatctl run ");
                scripted_kill();
        }
}
END_TEST

/* ---- before a command starts ---- */

static int exec_without_streams(const void *words) {
        for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
                close(fd);
        return exec_mountatctl(words);
}

/* Else the socket would get their number, and the daemon the output. */
START_TEST(opens_missing_standard_streams) {
        static const char *const hello[] = {"hello", NULL};
        static const char *const hold[] = {"hold", "-q", "--create", "root", NULL};

        scripted_start(peer_obliging);
        ck_assert_int_eq(capture(exec_without_streams, hello), COMMAND_FAILED);
        scripted_kill();
        scripted_start(peer_obliging);
        ck_assert_int_eq(capture(exec_without_streams, hold), 0);
        ck_assert(!is_there("proc"));
        ck_assert_str_eq(captured.output, "");
}
END_TEST

static int exec_as_somebody(const void *words) {
        if (geteuid() == 0 && setresuid(SOMEBODY, SOMEBODY, SOMEBODY) < 0)
                return 77;
        return exec_mountatctl(words);
}

/* root owns the /proc files of a non-dumpable process: proc(5). */
START_TEST(is_not_dumpable) {
        char path[64];
        struct stat stat_of_process;

        make_mountpoints();
        ck_assert_int_eq(chmod(scripted.path, 0666), 0);
        scripted_start(peer_obliging);
        capture_start(exec_as_somebody, (const char *const[]){"hold", "root", NULL});
        capture_await("mounted ");
        snprintf(path, sizeof(path), "/proc/%d/fd", captured.pid);
        ck_assert_int_eq(stat(path, &stat_of_process), 0);
        ck_assert_uint_eq(stat_of_process.st_uid, 0);
        ck_assert_int_eq(capture_end(), 0);
}
END_TEST

int main(void) {
        Suite *suite = suite_create("mountatctl");
        TCase *tests = scripted_case(suite, "mountatctl");

        tcase_add_test(tests, help_is_the_same_for_every_command);
        tcase_add_test(tests, version_is_the_same_for_every_command);
        tcase_add_test(tests, fails_if_it_cannot_print);
        tcase_add_test(tests, refuses_unknown_commands);
        tcase_add_test(tests, counts_operands);
        tcase_add_test(tests, accepts_only_a_commands_own_options);
        tcase_add_test(tests, takes_dashes_before_the_command_of_run);
        tcase_add_test(tests, opens_missing_standard_streams);
        tcase_add_test(tests, is_not_dumpable);
        return suite_run_all(suite);
}
