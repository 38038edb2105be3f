/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The program as a process: output, exit statuses, the order of its start, and the cleanup at its
 * end. No client mounts anything here.
 */

#include "common/fd.h"
#include "common/version.h"
#include "tests/test.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define N_ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))

enum {
        USAGE = 2,
        ARGUMENTS_MAX = 8,
};

struct outcome {
        int status; /* of the exit */
        char output[8192], errors[8192];
};

static void read_all(int fd, char *text, size_t size) {
        ssize_t length = pread(fd, text, size - 1, 0);

        ck_assert_int_ge(length, 0);
        text[length] = '\0';
        close(fd);
}

/* Runs it to its end with these arguments, up to a NULL. The child calls `enter` before execv(). */
static struct outcome run_as(void (*enter)(void), const char *const *arguments) {
        const char *argv[ARGUMENTS_MAX + 2] = {"mountatd"};
        int output = memfd_create("output", MFD_CLOEXEC),
            errors = memfd_create("errors", MFD_CLOEXEC);
        struct outcome outcome;
        pid_t pid;

        for (unsigned i = 0; arguments[i]; i++) {
                ck_assert_uint_lt(i, ARGUMENTS_MAX);
                argv[i + 1] = arguments[i];
        }
        pid = fork();
        ck_assert_int_ge(pid, 0);
        if (pid == 0) {
                dup2(output, STDOUT_FILENO);
                dup2(errors, STDERR_FILENO);
                if (enter)
                        enter();
                execv(MOUNTATD_PROGRAM, (char **)argv);
                _exit(127);
        }
        ck_assert_int_eq(waitpid(pid, &outcome.status, 0), pid);
        read_all(output, outcome.output, sizeof(outcome.output));
        read_all(errors, outcome.errors, sizeof(outcome.errors));
        ck_assert_msg(WIFEXITED(outcome.status), "it ended with 0x%x: %s", outcome.status,
                      outcome.errors);
        outcome.status = WEXITSTATUS(outcome.status);
        return outcome;
}

#define RUN_AS(enter, ...) run_as(enter, (const char *const[]){__VA_ARGS__, NULL})
#define RUN(...) RUN_AS(NULL, __VA_ARGS__)

/* ---- what it prints ---- */

START_TEST(prints_help) {
        struct outcome outcome = RUN("--help");

        ck_assert_int_eq(outcome.status, EXIT_SUCCESS);
        ck_assert_str_eq(outcome.errors, "");
        ck_assert_ptr_nonnull(strstr(outcome.output, "mountatd"));
        ck_assert_ptr_nonnull(strstr(outcome.output, "--listen"));
        ck_assert_ptr_nonnull(strstr(outcome.output, "--version"));
}
END_TEST

START_TEST(prints_version) {
        struct outcome outcome = RUN("--version");

        ck_assert_int_eq(outcome.status, EXIT_SUCCESS);
        ck_assert_str_eq(outcome.errors, "");
        ck_assert_ptr_eq(strstr(outcome.output, "mountatd " MOUNTATD_VERSION "\n"), outcome.output);
}
END_TEST

/* Before anything is started: the socket isn't bound. */
START_TEST(wrong_option_is_named_before_anything_is_started) {
        static const char *const wrong[] = {"--nonsense",     "--max-mounts=0",   "--max-mounts",
                                            "--instance=a/b", "--log-level=loud", "argument"};
        const char *socket = "/tmp/mountatd-check-main.socket";

        for (size_t i = 0; i < N_ELEMENTS(wrong); i++) {
                char name[32];
                struct outcome outcome = RUN("--listen", socket, wrong[i]);

                snprintf(name, sizeof(name), "%.*s", (int)strcspn(wrong[i], "="), wrong[i]);
                ck_assert_msg(outcome.status == USAGE, "%s: %d", wrong[i], outcome.status);
                ck_assert_str_eq(outcome.output, "");
                ck_assert_msg(strstr(outcome.errors, name) != NULL, "%s: %s", wrong[i],
                              outcome.errors);
                ck_assert_int_lt(access(socket, F_OK), 0);
        }
}
END_TEST

/* Nothing would ever match it. */
START_TEST(build_directory_through_a_link_is_a_usage_error) {
        char directory[] = "/tmp/mountatd-check-XXXXXX", link[64], option[96];
        struct outcome outcome;

        ck_assert_ptr_nonnull(mkdtemp(directory));
        snprintf(link, sizeof(link), "%s/link", directory);
        snprintf(option, sizeof(option), "--build-directory=%s", link);
        ck_assert_int_eq(symlink("/usr", link), 0);
        outcome = RUN(option);
        ck_assert_int_eq(outcome.status, USAGE);
        ck_assert_ptr_nonnull(strstr(outcome.errors, link));
        ck_assert_int_eq(unlink(link), 0);
        ck_assert_int_eq(rmdir(directory), 0);
}
END_TEST

/* ---- the order of the start ---- */

/* The steps that can be made to fail, in their order. */
enum step { SOCKETS, PRIVILEGES, DESCRIPTORS, PROBE, STATE, STEPS };

static const char *const complaints[STEPS] = {
        [SOCKETS] = "no socket",
        [PRIVILEGES] = "CAP_SYS_ADMIN",
        [DESCRIPTORS] = "--max-connections=60000",
        [PROBE] = "cannot make a procfs and a sysfs",
        [STATE] = "/file/run",
};

static unsigned faults; /* one bit per step that is to fail */

static bool is_faulty(enum step step) {
        return faults & 1U << step;
}

static void enter_faulty(void) {
        const struct rlimit few = {4096, 4096};

        if (is_faulty(DESCRIPTORS) && setrlimit(RLIMIT_NOFILE, &few) < 0)
                _exit(126);
        if (is_faulty(PROBE) && denial_of(SYS_fsopen, EPERM) < 0)
                _exit(126);
        if (is_faulty(PRIVILEGES))
                sandbox_become(USER_ALICE);
}

static struct outcome start_faulty(void) {
        char socket[300], runtime[300];

        snprintf(socket, sizeof(socket), "--listen=%s", sandbox_path("all/socket"));
        snprintf(runtime, sizeof(runtime), "--runtime-directory=%s",
                 sandbox_path(is_faulty(STATE) ? "file/run" : "all/run"));
        return RUN_AS(enter_faulty, "--instance=check", runtime,
                      is_faulty(DESCRIPTORS) ? "--max-connections=60000" : "--max-connections=16",
                      "--no-dev", is_faulty(SOCKETS) ? NULL : socket);
}

static void make_places(void) {
        int fd;

        sandbox_make_directory(0, 0777, "all");
        fd = open(sandbox_path("file"), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
        ck_assert_int_ge(fd, 0);
        close(fd);
}

SANDBOX_TEST(each_failed_step_ends_it_with_a_reason) {
        make_places();
        for (enum step step = 0; step < STEPS; step++) {
                struct outcome outcome;

                faults = 1U << step;
                outcome = start_faulty();
                ck_assert_msg(outcome.status == EXIT_FAILURE, "step %u: %d", step, outcome.status);
                ck_assert_msg(strstr(outcome.errors, complaints[step]) != NULL, "step %u: %s", step,
                              outcome.errors);
                ck_assert_str_eq(outcome.output, "");
                ck_assert_int_lt(access(sandbox_path("all/socket"), F_OK), 0);
                ck_assert_int_lt(access(sandbox_path("all/run/" SERVICE_STATE), F_OK), 0);
        }
}

/* Of two faults, only the first is reported, and nothing is done after it. */
SANDBOX_TEST(steps_are_taken_in_their_order) {
        make_places();
        for (enum step first = 0; first < STEPS; first++)
                for (enum step later = first + 1; later < STEPS; later++) {
                        struct outcome outcome;

                        faults = 1U << first | 1U << later;
                        outcome = start_faulty();
                        ck_assert_msg(strstr(outcome.errors, complaints[first]) != NULL &&
                                              strstr(outcome.errors, complaints[later]) == NULL,
                                      "steps %u and %u: %s", first, later, outcome.errors);
                }
        ck_assert_int_lt(access(sandbox_path("all/run"), F_OK), 0);
}

/* ---- the runtime directory ---- */

static void give_two_directories(void) {
        char list[600];

        snprintf(list, sizeof(list), "%s:%s", sandbox_path("given"), sandbox_path("other"));
        setenv("RUNTIME_DIRECTORY", list, 1);
}

static void cover_run(void) {
        if (mount("none", "/run", "tmpfs", 0, NULL) < 0)
                _exit(126);
}

static void give_no_directory(void) {
        unsetenv("RUNTIME_DIRECTORY");
        cover_run();
}

static void give_an_empty_list(void) {
        setenv("RUNTIME_DIRECTORY", "", 1);
        cover_run();
}

static void give_a_long_directory(void) {
        static char path[PATH_MAX + 2];

        memset(path, 'a', sizeof(path) - 1);
        path[0] = '/';
        setenv("RUNTIME_DIRECTORY", path, 1);
}

/* --sweep creates it, finds nothing in it, and prints nothing. */
SANDBOX_TEST(takes_the_first_runtime_directory) {
        struct outcome outcome = RUN_AS(give_two_directories, "--sweep");

        ck_assert_msg(outcome.status == EXIT_SUCCESS, "%s", outcome.errors);
        ck_assert_str_eq(outcome.errors, "");
        ck_assert_int_eq(rmdir(sandbox_path("given")), 0);
        ck_assert_int_lt(access(sandbox_path("other"), F_OK), 0);

        /* The option gives one, whatever is in its name. */
        outcome = RUN_AS(give_two_directories, "--sweep", "--runtime-directory",
                         sandbox_path("option:a"));
        ck_assert_int_eq(outcome.status, EXIT_SUCCESS);
        ck_assert_int_eq(rmdir(sandbox_path("option:a")), 0);
        ck_assert_int_lt(access(sandbox_path("given"), F_OK), 0);
}

SANDBOX_TEST(default_runtime_directory_is_below_run) {
        ck_assert_int_eq(RUN_AS(give_no_directory, "--sweep").status, EXIT_SUCCESS);
        ck_assert_int_eq(rmdir("/run/mountatd"), 0);
        ck_assert_int_eq(RUN_AS(give_an_empty_list, "--sweep", "--instance=check").status,
                         EXIT_SUCCESS);
        ck_assert_int_eq(rmdir("/run/mountatd-check"), 0);
        ck_assert_int_eq(umount2("/run", MNT_DETACH), 0);
        ck_assert_int_eq(umount2("/run", MNT_DETACH), 0);
}

SANDBOX_TEST(fails_without_a_runtime_directory) {
        struct outcome outcome = RUN_AS(give_a_long_directory, "--sweep");

        ck_assert_int_eq(outcome.status, EXIT_FAILURE);
        ck_assert_ptr_nonnull(strstr(outcome.errors, "the runtime directory"));
        outcome = RUN("--sweep", "--runtime-directory", sandbox_path("no/such"));
        ck_assert_int_eq(outcome.status, EXIT_FAILURE);
        ck_assert_ptr_nonnull(strstr(outcome.errors, sandbox_path("no/such")));
}

/* That can't be set aside; no process is to blame. */
SANDBOX_TEST(fails_at_a_state_file_that_is_a_mountpoint) {
        char path[300], option[300], socket[300];
        struct outcome outcome;
        int fd;

        sandbox_make_directory(0, 0755, "run");
        snprintf(path, sizeof(path), "%s/" SERVICE_STATE, sandbox_path("run"));
        fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        ck_assert_int_ge(fd, 0);
        close(fd);
        ck_assert_int_eq(mount(path, path, NULL, MS_BIND, NULL), 0);
        snprintf(option, sizeof(option), "--runtime-directory=%s", sandbox_path("run"));
        snprintf(socket, sizeof(socket), "--listen=%s", sandbox_path("socket"));
        outcome = RUN("--instance=check", option, socket);
        ck_assert_int_eq(outcome.status, EXIT_FAILURE);
        ck_assert_ptr_nonnull(strstr(outcome.errors, "cannot open the state file"));
        ck_assert_ptr_null(strstr(outcome.errors, "already running"));
        ck_assert_int_eq(umount2(path, MNT_DETACH), 0);
}

/* ---- a life ---- */

/* The signals that the main thread blocks. */
static uint64_t blocked_signals(pid_t pid) {
        char path[64], line[256];
        uint64_t blocked = 0;
        FILE *status;

        snprintf(path, sizeof(path), "/proc/%d/status", pid);
        status = fopen(path, "re");
        ck_assert_ptr_nonnull(status);
        while (fgets(line, sizeof(line), status))
                if (strncmp(line, "SigBlk:", strlen("SigBlk:")) == 0)
                        blocked = strtoull(line + strlen("SigBlk:"), NULL, 16);
        fclose(status);
        return blocked;
}

SANDBOX_TEST(stop_removes_the_socket_and_the_state_file) {
        static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGPIPE, SIGXFSZ};
        struct service service =
                service_start(&(struct service_plan){.name = "a", .start = SERVICE_LISTENS});

        for (size_t i = 0; i < N_ELEMENTS(signals); i++)
                ck_assert_msg(blocked_signals(service.pid) & UINT64_C(1) << (signals[i] - 1),
                              "signal %d isn't blocked", signals[i]);
        ck_assert(service_has_state(&service));
        ck_assert_int_eq(access(service.socket, F_OK), 0);
        service_stop(&service);
        ck_assert(service_has_logged(&service, "signal 15: stopping"));
        ck_assert(!service_has_state(&service));
        ck_assert_int_lt(access(service.socket, F_OK), 0);
}

/* A state file in use isn't swept, and that is no error. */
SANDBOX_TEST(sweep_leaves_a_running_instance_alone) {
        struct service service =
                service_start(&(struct service_plan){.name = "a", .start = SERVICE_LISTENS});
        struct outcome outcome = RUN("--sweep", "--runtime-directory", service.runtime);
        int client = client_connect(&service, USER_ALICE);

        ck_assert_msg(outcome.status == EXIT_SUCCESS, "%s", outcome.errors);
        ck_assert_str_eq(outcome.errors, "");
        client_hello(client);
        close(client);
        service_stop(&service);
}

SANDBOX_TEST(second_instance_names_the_first) {
        struct service service =
                service_start(&(struct service_plan){.name = "a", .start = SERVICE_LISTENS});
        struct outcome outcome =
                RUN("--runtime-directory", service.runtime, "--listen", sandbox_path("b.socket"));
        char pid[32];

        snprintf(pid, sizeof(pid), "as process %d", service.pid);
        ck_assert_int_eq(outcome.status, EXIT_FAILURE);
        ck_assert_ptr_nonnull(strstr(outcome.errors, pid));
        ck_assert_ptr_nonnull(strstr(outcome.errors, "--instance"));
        ck_assert_int_lt(access(sandbox_path("b.socket"), F_OK), 0);
        ck_assert(service_has_state(&service));
        service_stop(&service);
}

int main(void) {
        TCase *tests = tcase_create("main");

        tcase_add_test(tests, prints_help);
        tcase_add_test(tests, prints_version);
        tcase_add_test(tests, wrong_option_is_named_before_anything_is_started);
        tcase_add_test(tests, build_directory_through_a_link_is_a_usage_error);
        tcase_add_test(tests, each_failed_step_ends_it_with_a_reason);
        tcase_add_test(tests, steps_are_taken_in_their_order);
        tcase_add_test(tests, takes_the_first_runtime_directory);
        tcase_add_test(tests, default_runtime_directory_is_below_run);
        tcase_add_test(tests, fails_without_a_runtime_directory);
        tcase_add_test(tests, fails_at_a_state_file_that_is_a_mountpoint);
        tcase_add_test(tests, stop_removes_the_socket_and_the_state_file);
        tcase_add_test(tests, sweep_leaves_a_running_instance_alone);
        tcase_add_test(tests, second_instance_names_the_first);
        return sandbox_run(tests);
}
