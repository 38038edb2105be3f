/* SPDX-License-Identifier: Apache-2.0 */

/*
 * mountatctl run and hold, by a user without privilege, in an input root with nothing but busybox:
 * what the command gets, how it ends, and that nothing is left of it.
 */

#include "tests/fixtures/client.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define BUSYBOX "/bin/busybox"
#define N_ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))

enum {
        ARGUMENTS_MAX = 16,
        OUTPUT_MAX = 8192,
};

/* ---- the input root ---- */

static const char *const applets[] = {"cat", "grep", "id", "ls", "sh", "sleep"};

static void copy(const char *from, const char *to, mode_t mode) {
        char bytes[1 << 16];
        FILE *in = fopen(from, "re"), *out = fopen(to, "wxe");
        size_t n;

        ck_assert_ptr_nonnull(in);
        ck_assert_ptr_nonnull(out);
        while ((n = fread(bytes, 1, sizeof(bytes), in)) > 0)
                ck_assert_uint_eq(fwrite(bytes, 1, n, out), n);
        fclose(in);
        ck_assert_int_eq(fclose(out), 0);
        ck_assert_int_eq(chmod(to, mode), 0);
}

static void write_file(const char *path, const char *text, mode_t mode) {
        FILE *file = fopen(path, "wxe");

        ck_assert_ptr_nonnull(file);
        fputs(text, file);
        ck_assert_int_eq(fclose(file), 0);
        ck_assert_int_eq(chmod(path, mode), 0);
}

/* Of mode 0700; proc and sys are yet to be made. */
static const char *make_bare_root(uid_t uid) {
        const char *root = world_make_directory(uid, 0700, "root");

        world_make_directory(uid, 0755, "root/bin");
        copy(BUSYBOX, world_path("root/bin/busybox"), 0755);
        for (size_t i = 0; i < N_ELEMENTS(applets); i++)
                ck_assert_int_eq(symlink("busybox", world_path("root/bin/%s", applets[i])), 0);
        return root;
}

static const char *make_root(uid_t uid) {
        const char *root = make_bare_root(uid);

        world_make_directory(uid, 0755, "root/proc");
        world_make_directory(uid, 0755, "root/sys");
        return root;
}

/* As WORLD_TEST, skipped as well where there is nothing to run. */
#define RUN_TEST(name)                                                                             \
        static void name##_run(void);                                                              \
        WORLD_TEST(name) {                                                                         \
                if (access(BUSYBOX, X_OK) < 0)                                                     \
                        test_skip_report(#name, "busybox is not installed");                       \
                else                                                                               \
                        name##_run();                                                              \
        }                                                                                          \
        static void name##_run(void)

/* ---- who runs it ---- */

static void become_alice(void) {
        world_become(WORLD_ALICE);
}

/* Alice, as a service manager starts her with AmbientCapabilities=CAP_SYS_CHROOT. */
static void become_alice_who_may_chroot(void) {
        const cap_value_t chroot = CAP_SYS_CHROOT;
        cap_t caps = cap_init();

        ck_assert_int_eq(prctl(PR_SET_KEEPCAPS, 1), 0);
        world_become(WORLD_ALICE);
        ck_assert_int_eq(cap_set_flag(caps, CAP_PERMITTED, 1, &chroot, CAP_SET), 0);
        ck_assert_int_eq(cap_set_flag(caps, CAP_INHERITABLE, 1, &chroot, CAP_SET), 0);
        ck_assert_int_eq(cap_set_proc(caps), 0);
        ck_assert_int_eq(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_SYS_CHROOT, 0, 0), 0);
        cap_free(caps);
}

static void stay_root(void) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
}

/* The sanitizer has a thread in mountatctl, with which there is no unshare(CLONE_NEWUSER). */
#if defined(__SANITIZE_THREAD__)
#define BECOME_USUALLY become_alice_who_may_chroot
#else
#define BECOME_USUALLY become_alice
#endif

/* ---- mountatctl ---- */

struct program {
        pid_t pid;
        int input;  /* the writing end */
        int output; /* both streams; ends when nobody has them any more */
        char said[OUTPUT_MAX];
        size_t length;
};

struct ctl {
        const struct service *service;
        const char *arguments[ARGUMENTS_MAX];
        const char *path;     /* of the environment, if not /bin */
        void (*become)(void); /* in its process, if it isn't to become Alice */
};

__attribute__((noreturn)) static void ctl_exec(const struct ctl *ctl) {
        const char *binary = getenv("MOUNTATCTL_BINARY") ?: MOUNTATCTL_BINARY;
        const char *arguments[ARGUMENTS_MAX + 2] = {"mountatctl"};

        memcpy(arguments + 1, ctl->arguments, sizeof(ctl->arguments));
        if (ctl->become)
                ctl->become();
        else
                BECOME_USUALLY();
        setrlimit(RLIMIT_CORE, &(struct rlimit){0});
        setenv("MOUNTATD_SOCKET", ctl->service->socket, 1);
        setenv("PATH", ctl->path ?: "/bin", 1);
        setenv("LC_ALL", "C.UTF-8", 1);
        execv(binary, (char **)arguments);
        perror(binary);
        _exit(99);
}

static struct program ctl_start(const struct ctl *ctl) {
        struct program program = {0};
        int input[2], output[2];

        ck_assert_int_eq(pipe2(input, O_CLOEXEC), 0);
        ck_assert_int_eq(pipe2(output, O_CLOEXEC), 0);
        program.pid = fork();
        ck_assert_int_ge(program.pid, 0);
        if (program.pid == 0) {
                dup2(input[0], STDIN_FILENO);
                dup2(output[1], STDOUT_FILENO);
                dup2(output[1], STDERR_FILENO);
                ctl_exec(ctl);
        }
        close(input[0]);
        close(output[1]);
        program.input = input[1];
        program.output = output[0];
        return program;
}

/* What it says next. False at the end. */
static bool program_listen(struct program *program) {
        struct pollfd readable = {.fd = program->output, .events = POLLIN};
        ssize_t n;

        ck_assert_uint_lt(program->length, OUTPUT_MAX - 1);
        ck_assert_msg(poll(&readable, 1, WORLD_PATIENCE_MS) == 1, "no end, and nothing after: %s",
                      program->said);
        n = read(program->output, program->said + program->length,
                 OUTPUT_MAX - 1 - program->length);
        if (n <= 0) /* EIO: the other side of a terminal */
                return false;
        program->length += n;
        return true;
}

static void program_await(struct program *program, const char *text) {
        while (!strstr(program->said, text))
                ck_assert_msg(program_listen(program), "no \"%s\" in: %s", text, program->said);
}

static void program_await_end(struct program *program) {
        while (program_listen(program))
                continue;
}

static void program_expect(const struct program *program, const char *text) {
        ck_assert_msg(strstr(program->said, text) != NULL, "no \"%s\" in: %s", text, program->said);
}

/* Its wait status. */
static int program_reap(struct program *program) {
        int status;

        close(program->input);
        program_await_end(program);
        close(program->output);
        ck_assert_int_eq(waitpid(program->pid, &status, 0), program->pid);
        return status;
}

/* It must exit by itself with that, and leave no mount. */
static void program_expect_exit(struct program *program, const struct service *service,
                                int expected) {
        int status = program_reap(program);

        ck_assert_msg(WIFEXITED(status), "ended with 0x%x: %s", status, program->said);
        ck_assert_msg(WEXITSTATUS(status) == expected, "exit status %d instead of %d: %s",
                      WEXITSTATUS(status), expected, program->said);
        ck_assert_uint_eq(world_count_mounts(0, service->source), 0);
}

/* Runs to its end: what it said, and its status. */
static struct program run(const struct ctl *ctl, int expected) {
        struct program program = ctl_start(ctl);

        program_expect_exit(&program, ctl->service, expected);
        return program;
}

/* "mountatctl run ROOT -- sh -c SCRIPT" */
static struct ctl shell(const struct service *service, const char *root, const char *script) {
        return (struct ctl){
                .service = service,
                .arguments = {"run", root, "--", "sh", "-c", script},
        };
}

/* ---- exit statuses ---- */

RUN_TEST(exit_status_is_the_command_s) {
        static const struct {
                const char *script;
                int status;
        } commands[] = {
                {"exit 0", 0},
                {"exit 1", 1},
                {"exit 42", 42},
                {"exit 124", 124},
                {"exit 125", 125},
                {"exit 255", 255},
                {"kill -HUP $$", 129},
                {"kill -KILL $$", 137},
                {"kill -SEGV $$", 139},
                {"kill -TERM $$", 143},
                {"no-such-program", 127},
        };
        struct service service = service_start_with("run", NULL);
        const char *root = make_root(WORLD_ALICE);

        for (size_t i = 0; i < N_ELEMENTS(commands); i++) {
                struct ctl ctl = shell(&service, root, commands[i].script);

                run(&ctl, commands[i].status);
        }
        service_stop(&service);
}

RUN_TEST(exit_status_tells_its_own_failures_apart) {
        struct service service = service_start_with("run", NULL);
        struct service nobody = {0};
        const char *root = make_root(WORLD_ALICE);
        const char *empty = world_make_directory(WORLD_ALICE, 0755, "empty");
        const char *bobs = world_make_root(WORLD_BOB, "bobs");

        ck_assert_int_eq(chmod(bobs, 0755), 0);
        strcpy(nobody.socket, world_path("nobody"));
        strcpy(nobody.source, service.source);
        write_file(world_path("root/data"), "data\n", 0644);
        write_file(world_path("root/script"), "#!/bin/no-such-shell\n", 0755);
        write_file(world_path("root/bin/text"), "data\n", 0644);
        world_make_directory(WORLD_ALICE, 0755, "root/closed");
        copy(BUSYBOX, world_path("root/closed/busybox"), 0755);
        ck_assert_int_eq(chmod(world_path("root/closed"), 0700), 0);
        ck_assert_int_eq(chown(world_path("root/closed"), 0, 0), 0);

        const struct {
                const char *arguments[8];
                int status;
                const char *text;
                bool unanswered; /* there is no daemon */
                const char *path;
        } attempts[] = {
                {{"run", root, "--", "/no"}, 127, "cannot find /no in the root"},
                {{"run", root, "--", "no"}, 127, "cannot find no in the root"},
                {{"run", root, "--", "/bin/no/no"}, 127, "cannot find"},
                {{"run", root, "--", "sh"}, 127, "cannot find sh", .path = "/closed:/no"},
                {{"run", root, "--", "/data"}, 126, "cannot execute /data"},
                {{"run", root, "--", "text"}, 126, "cannot execute text"},
                {{"run", root, "--", "/bin"}, 126, "cannot execute /bin"},
                {{"run", root, "--", "/closed/busybox"}, 126, "cannot execute /closed/busybox"},
                {{"run", root, "--", "/script"}, 126, "its interpreter or loader is not there"},
                {{"run", root, "--", "/bin/id"}, 125, "mountatd", .unanswered = true},
                {{"run"}, 125, "usage"},
                {{"run", root}, 125, "usage"},
                {{"run", root, "--"}, 125, "usage"},
                {{"run", "--no-such", root, "--", "id"}, 125, "no such option"},
                {{"run", "--all", root, "--", "id"}, 125, "no such option"},
                {{"run", "--timeout", "0", root, "--", "id"}, 125, "--timeout takes"},
                {{"run", "--file-system", "ext4", root, "--", "id"}, 125, "--file-system takes"},
                {{"run", world_path("no"), "--", "id"}, 125, "No such file"},
                {{"run", world_path("root/data"), "--", "id"}, 125, "Not a directory"},
                {{"run", empty, "--", "id"}, 125, "--create"},
                {{"run", bobs, "--", "id"}, 125, "not-authorised"},
                {{"hold"}, 2, "usage"},
                {{"hold", root, root}, 2, "usage"},
                {{"hold", world_path("no")}, 1, "No such file"},
                {{"hold", bobs}, 1, "not-authorised"},
                {{"hold", root}, 1, "mountatd", .unanswered = true},
        };

        for (size_t i = 0; i < N_ELEMENTS(attempts); i++) {
                struct ctl ctl = {
                        .service = attempts[i].unanswered ? &nobody : &service,
                        .path = attempts[i].path,
                };
                struct program program;

                memcpy(ctl.arguments, attempts[i].arguments, sizeof(attempts[i].arguments));
                program = run(&ctl, attempts[i].status);
                program_expect(&program, attempts[i].text);
        }
        service_stop(&service);
}

RUN_TEST(dashes_before_the_command_may_be_left_out) {
        struct service service = service_start_with("run", NULL);
        const char *root = make_root(WORLD_ALICE);
        struct ctl ctl = {
                .service = &service,
                .arguments = {"run", root, "sh"},
        };
        struct program program = ctl_start(&ctl);

        dprintf(program.input, "exit 7\n");
        program_expect_exit(&program, &service, 7);
        service_stop(&service);
}

/* ---- what the command gets ---- */

RUN_TEST(command_has_proc_and_sys_and_the_root_for_its_own) {
        static const char script[] = "pwd; ls -di / /..; test -e /proc/self/status && "
                                     "test -d /sys/kernel && id -u && cat && echo end";
        struct service service = service_start_with("run", NULL);
        const char *root = make_root(WORLD_ALICE);
        struct ctl ctl = shell(&service, root, script);
        struct program program = ctl_start(&ctl);
        char expected[64];
        struct stat stat;

        dprintf(program.input, "through the pipe\n");
        program_expect_exit(&program, &service, 0);
        ck_assert_int_eq(lstat(root, &stat), 0);
        snprintf(expected, sizeof(expected), "%lu /\n", (unsigned long)stat.st_ino);
        ck_assert_int_eq(strncmp(program.said, "/\n", 2), 0);
        program_expect(&program, expected);
        snprintf(expected, sizeof(expected), "%lu /..\n", (unsigned long)stat.st_ino);
        program_expect(&program, expected);
        snprintf(expected, sizeof(expected), "\n%u\nthrough the pipe\nend\n", WORLD_ALICE);
        program_expect(&program, expected);
        service_stop(&service);
}

static void leave_a_descriptor_open(void) {
        BECOME_USUALLY();
        ck_assert_int_eq(dup2(STDERR_FILENO, 77), 77);
}

RUN_TEST(command_has_no_descriptor_but_the_standard_ones) {
        struct service service = service_start_with("run", NULL);
        struct ctl ctl = shell(&service, make_root(WORLD_ALICE),
                               "for fd in /proc/$$/fd/*; do echo ${fd##*/}; done; echo end");
        struct program program;

        ctl.become = leave_a_descriptor_open;
        program = run(&ctl, 0);
        program_expect(&program, "0\n1\n2\n");
        ck_assert_ptr_null(strstr(program.said, "77"));
        service_stop(&service);
}

/* ---- capabilities ---- */

static const char read_capabilities[] = "grep -E '^(Cap|NoNewPrivs)' /proc/self/status; "
                                        "cat /proc/self/uid_map";

RUN_TEST(command_of_a_user_has_no_capability) {
        void (*const users[])(void) = {BECOME_USUALLY, become_alice_who_may_chroot};
        struct service service = service_start_with("run", NULL);
        struct ctl ctl = shell(&service, make_root(WORLD_ALICE), read_capabilities);

        for (size_t i = 0; i < N_ELEMENTS(users); i++) {
                struct program program;

                ctl.become = users[i];
                program = run(&ctl, 0);
                program_expect(&program, "CapPrm:\t0000000000000000\n");
                program_expect(&program, "CapEff:\t0000000000000000\n");
                program_expect(&program, "CapAmb:\t0000000000000000\n");
                program_expect(&program, "NoNewPrivs:\t1\n");
                /* With the capability there is no need of a namespace. */
                program_expect(&program, users[i] == become_alice ? " 1\n" : " 4294967295\n");
        }
        service_stop(&service);
}

/* As with chroot(8): it is root's affair what he runs. */
RUN_TEST(command_of_root_keeps_the_capabilities_and_gains_none) {
        struct service service = service_start_with("run", NULL);
        struct ctl ctl = shell(&service, make_root(0), read_capabilities);
        struct program program;

        ctl.become = stay_root;
        program = run(&ctl, 0);
        ck_assert_ptr_null(strstr(program.said, "CapEff:\t0000000000000000\n"));
        program_expect(&program, "CapAmb:\t0000000000000000\n");
        program_expect(&program, "NoNewPrivs:\t1\n");
        service_stop(&service);
}

/* ---- directories ---- */

static bool is_there(const char *path) {
        return access(path, F_OK) == 0;
}

RUN_TEST(missing_directories_are_made_and_removed) {
        static const struct {
                const char *there; /* before, and therefore afterwards */
                const char *file_system;
                const char *script;
                int status;
        } cases[] = {
                {NULL, NULL, "test -e /proc/self/status && test -d /sys/kernel", 0},
                {"proc", NULL, "test -e /proc/self/status && test -d /sys/kernel", 0},
                {"sys", NULL, "test -e /proc/self/status && test -d /sys/kernel", 0},
                {NULL, "proc", "test -e /proc/self/status && test ! -e /sys", 0},
                {NULL, "sysfs", "test -d /sys/kernel && test ! -e /proc", 0},
                {NULL, NULL, "exit 3", 3},
                {NULL, NULL, "kill -KILL $$", 137},
                {NULL, NULL, "exec /no", 127},
        };
        struct service service = service_start_with("run", NULL);
        const char *root = make_bare_root(WORLD_ALICE);

        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                const char *there = cases[i].there, *file_system = cases[i].file_system;
                struct ctl ctl = {
                        .service = &service,
                        .arguments = {"run", "--create", "--file-system", file_system ?: "proc",
                                      "--file-system", file_system ?: "sysfs", root, "--", "sh",
                                      "-c", cases[i].script},
                };

                if (there) {
                        char name[16];

                        snprintf(name, sizeof(name), "root/%s", there);
                        world_make_directory(WORLD_ALICE, 0755, name);
                }
                run(&ctl, cases[i].status);
                ck_assert_int_eq(is_there(world_path("root/proc")),
                                 there && strcmp(there, "proc") == 0);
                ck_assert_int_eq(is_there(world_path("root/sys")),
                                 there && strcmp(there, "sys") == 0);
                if (there)
                        ck_assert_int_eq(rmdir(world_path("root/%s", there)), 0);
        }
        service_stop(&service);
}

RUN_TEST(made_directories_are_removed_when_the_mount_fails) {
        struct service service = service_start_with("run", NULL);
        struct ctl ctl = {
                .service = &service,
                .arguments = {"run", "--create", make_bare_root(WORLD_ALICE), "--", "sh"},
        };
        struct program program;

        write_file(world_path("root/sys"), "", 0644);
        program = run(&ctl, 125);
        program_expect(&program, "not-a-directory");
        ck_assert(!is_there(world_path("root/proc")));
        service_stop(&service);
}

/* ---- signals ---- */

/* A shell that looks after its traps: a signal just before it reads doesn't interrupt that. */
#define SLEEP_FOR_EVER "echo ready; while :; do read -t 1 line; done"

static const int forwarded[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};

RUN_TEST(signals_reach_the_command_which_may_catch_them) {
        struct service service = service_start_with("run", NULL);
        const char *root = make_root(WORLD_ALICE);

        for (size_t i = 0; i < N_ELEMENTS(forwarded); i++) {
                char script[128];
                struct ctl ctl = shell(&service, root, script);
                struct program program;

                snprintf(script, sizeof(script),
                         "trap 'echo caught; exit 4%zu' %d; " SLEEP_FOR_EVER, i, forwarded[i]);
                program = ctl_start(&ctl);
                program_await(&program, "ready\n");
                ck_assert_int_eq(kill(program.pid, forwarded[i]), 0);
                program_await(&program, "caught\n");
                program_expect_exit(&program, &service, 40 + (int)i);
        }
        service_stop(&service);
}

RUN_TEST(signals_that_end_the_command_are_told_by_the_status) {
        struct service service = service_start_with("run", NULL);
        const char *root = make_bare_root(WORLD_ALICE);

        for (size_t i = 0; i < N_ELEMENTS(forwarded); i++) {
                /* No shell: those of busybox ignore SIGQUIT now and then. */
                struct ctl ctl = {
                        .service = &service,
                        .arguments = {"run", "--create", root, "--", "cat"},
                };
                struct program program = ctl_start(&ctl);

                dprintf(program.input, "ready\n");
                program_await(&program, "ready\n");
                ck_assert_int_eq(kill(program.pid, forwarded[i]), 0);
                program_await_end(&program);
                program_expect_exit(&program, &service, 128 + forwarded[i]);
                ck_assert(!is_there(world_path("root/proc")));
                ck_assert(!is_there(world_path("root/sys")));
        }
        service_stop(&service);
}

/* The terminal has told the command already. */
RUN_TEST(keys_of_a_terminal_reach_the_command_once) {
        struct service service = service_start_with("run", NULL);
        struct ctl ctl = shell(&service, make_root(WORLD_ALICE),
                               "trap 'n=$((n + 1)); echo interrupted' INT; "
                               "trap 'echo $n times; exit 9' USR1; " SLEEP_FOR_EVER);
        struct program program = {0};

        program.pid = forkpty(&program.output, NULL, NULL, NULL);
        ck_assert_int_ge(program.pid, 0);
        if (program.pid == 0)
                ctl_exec(&ctl);
        program.input = fcntl(program.output, F_DUPFD_CLOEXEC, 0);
        program_await(&program, "ready");
        /* Stopped, or a second one could come while the first one is still pending. */
        ck_assert_int_eq(kill(program.pid, SIGSTOP), 0);
        ck_assert_int_eq(write(program.input, "\003", 1), 1);
        program_await(&program, "interrupted");
        ck_assert_int_eq(kill(program.pid, SIGUSR1), 0);
        ck_assert_int_eq(kill(program.pid, SIGCONT), 0);
        program_await(&program, "1 times");
        program_expect_exit(&program, &service, 9);
        service_stop(&service);
}

/* ---- whoever is killed ---- */

RUN_TEST(command_and_mounts_go_when_mountatctl_is_killed) {
        struct service service = service_start_with("run", NULL);
        struct ctl ctl = shell(&service, make_root(WORLD_ALICE), "echo ready; exec sleep 1000");
        struct program program = ctl_start(&ctl);
        int status;

        program_await(&program, "ready\n");
        ck_assert_uint_eq(world_count_mounts(0, service.source), 2);
        ck_assert_int_eq(kill(program.pid, SIGKILL), 0);
        status = program_reap(&program); /* nobody has its output any more, the command neither */
        ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        world_wait_for(world_count_mounts(0, service.source) == 0);
        service_stop(&service);
}

RUN_TEST(command_goes_on_when_its_mounts_are_lost) {
        struct service service = service_start_with("run", NULL);
        struct ctl ctl = {
                .service = &service,
                .arguments = {"run", "--timeout", "1", make_root(WORLD_ALICE), "--", "sh", "-c",
                              "echo ready; read status; exit $status"},
        };
        struct program program = ctl_start(&ctl);
        int status;

        program_await(&program, "ready\n");
        ck_assert_int_eq(kill(service.pid, SIGKILL), 0);
        service_wait(&service);
        program_await(&program, "is mountatd stopped?");
        dprintf(program.input, "5\n");
        status = program_reap(&program);
        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 5, "0x%x", status);
}

/* ---- hold ---- */

static struct program hold(const struct service *service, const char *root) {
        struct ctl ctl = {.service = service, .arguments = {"hold", "--create", root}};
        struct program program = ctl_start(&ctl);

        program_await(&program, "mounted proc and sys");
        ck_assert_uint_eq(world_count_mounts(0, service->source), 2);
        return program;
}

RUN_TEST(hold_ends_with_its_input_or_a_signal) {
        static const int signals[] = {0, SIGHUP, SIGINT, SIGQUIT, SIGTERM};
        struct service service = service_start_with("run", NULL);
        const char *root = make_bare_root(WORLD_ALICE);

        for (size_t i = 0; i < N_ELEMENTS(signals); i++) {
                struct program program = hold(&service, root);

                dprintf(program.input, "not the end\n");
                if (signals[i]) {
                        ck_assert_int_eq(kill(program.pid, signals[i]), 0);
                        program_await_end(&program);
                }
                program_expect_exit(&program, &service, 0);
                ck_assert(!is_there(world_path("root/proc")));
                ck_assert(!is_there(world_path("root/sys")));
        }
        service_stop(&service);
}

RUN_TEST(mounts_go_when_hold_is_killed) {
        struct service service = service_start_with("run", NULL);
        struct program program = hold(&service, make_bare_root(WORLD_ALICE));
        int status;

        ck_assert_int_eq(kill(program.pid, SIGKILL), 0);
        status = program_reap(&program);
        ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        world_wait_for(world_count_mounts(0, service.source) == 0);
        service_stop(&service);
}

int main(void) {
        TCase *tests = tcase_create("run");

        tcase_add_test(tests, exit_status_is_the_command_s);
        tcase_add_test(tests, exit_status_tells_its_own_failures_apart);
        tcase_add_test(tests, dashes_before_the_command_may_be_left_out);
        tcase_add_test(tests, command_has_proc_and_sys_and_the_root_for_its_own);
        tcase_add_test(tests, command_has_no_descriptor_but_the_standard_ones);
        tcase_add_test(tests, command_of_a_user_has_no_capability);
        tcase_add_test(tests, command_of_root_keeps_the_capabilities_and_gains_none);
        tcase_add_test(tests, missing_directories_are_made_and_removed);
        tcase_add_test(tests, made_directories_are_removed_when_the_mount_fails);
        tcase_add_test(tests, signals_reach_the_command_which_may_catch_them);
        tcase_add_test(tests, signals_that_end_the_command_are_told_by_the_status);
        tcase_add_test(tests, keys_of_a_terminal_reach_the_command_once);
        tcase_add_test(tests, command_and_mounts_go_when_mountatctl_is_killed);
        tcase_add_test(tests, command_goes_on_when_its_mounts_are_lost);
        tcase_add_test(tests, hold_ends_with_its_input_or_a_signal);
        tcase_add_test(tests, mounts_go_when_hold_is_killed);
        return world_run(tests);
}
