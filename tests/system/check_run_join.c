/* SPDX-License-Identifier: Apache-2.0 */

/*
 * mountatctl in a container, by an unprivileged user, with the daemon outside: what is mounted
 * inside and which processes it shows, what survives a restart, and the messages where it can't
 * work. mountatctl enters as with "docker exec".
 */

#include "tests/test.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

#define JOIN "--join=60001" /* USER_ALICE */
#define ADOPT_SECONDS "2"

/* ---- the container ---- */

static struct container container;

static void become_alice_in_there(void) {
        container_go_in(&container);
        CTL_BECOME_USUALLY();
}

static void become_alice_who_may_chroot_in_there(void) {
        container_go_in(&container);
        ctl_become_alice_who_may_chroot();
}

/* As in an image without a mounted procfs. */
static void become_alice_without_proc(void) {
        container_go_in(&container);
        if (unshare(CLONE_NEWNS) < 0 || mount("none", "/proc", "tmpfs", 0, NULL) < 0)
                _exit(98);
        CTL_BECOME_USUALLY();
}

/* Only in its own mount namespace: it shares the pid namespace. */
static void become_alice_apart(void) {
        if (unshare(CLONE_NEWNS) < 0)
                _exit(98);
        CTL_BECOME_USUALLY();
}

/* As RUN_TEST, with a container. */
#define JOIN_TEST(name)                                                                            \
        static void name##_contained(void);                                                        \
        RUN_TEST(name) {                                                                           \
                container = container_start(CONTAINER_ROOTFUL);                                    \
                name##_contained();                                                                \
                if (container.init > 0)                                                            \
                        container_kill(&container);                                                \
        }                                                                                          \
        static void name##_contained(void)

/* The same, with a pid namespace of its own. */
#define JOIN_TEST_WITH_PIDS(name)                                                                  \
        static void name##_apart(void);                                                            \
        JOIN_TEST(name) {                                                                          \
                if (container_has_pids())                                                          \
                        name##_apart();                                                            \
                else                                                                               \
                        test_skip_report(#name, "impossible here: it takes Linux 6.17");           \
        }                                                                                          \
        static void name##_apart(void)

static struct ctl in_there(struct ctl ctl) {
        ctl.become = become_alice_in_there;
        return ctl;
}

static struct ctl hold_of(const struct service *service, const char *root) {
        return in_there((struct ctl){.service = service, .arguments = {"hold", root}});
}

static struct program hold(const struct service *service, const char *root) {
        struct ctl ctl = hold_of(service, root);
        struct program program = ctl_start(&ctl);

        program_await(&program, "mounted proc and sys");
        ck_assert_uint_eq(sandbox_count_mounts(container.init, service->source), 2);
        ck_assert_uint_eq(sandbox_count_mounts(0, service->source), 0);
        return program;
}

static void expect_bare(const struct service *service) {
        ck_assert_uint_eq(sandbox_count_mounts(container.init, service->source), 0);
}

static void await_bare(const struct service *service) {
        sandbox_wait_for(sandbox_count_mounts(container.init, service->source) == 0);
}

static void replace(struct service *service, int signal, const char *option) {
        ck_assert_int_eq(kill(service->pid, signal), 0);
        service_wait(service);
        *service = service_spawn(&(struct service_plan){
                .name = "join",
                .options = {"--adopt-timeout=" ADOPT_SECONDS, option},
        });
}

/* ---- what is mounted ---- */

/* Alice sees her own processes; those in a user namespace see only each other. */
JOIN_TEST_WITH_PIDS(run_mounts_in_the_container_and_shows_its_processes) {
        static const char script[] = "cat /proc/1/comm /proc/$$/comm; test -d /sys/kernel && "
                                     "echo /proc/[0-9]* are those beside $$";
        struct service service = service_start_with("join", JOIN);
        struct ctl ctl = in_there(ctl_shell(&service, ctl_make_root(USER_ALICE), script));
        struct program program;
        char expected[64];

        ctl.become = become_alice_who_may_chroot_in_there;
        program = ctl_run(&ctl, 0);
        snprintf(expected, sizeof(expected), "%.15s\nsh\n/proc/1 ", program_invocation_short_name);
        program_expect(&program, expected);
        ck_assert_uint_le(program_count(&program, "/proc/"), 3);
        expect_bare(&service);
        service_stop(&service);
}

JOIN_TEST(run_makes_its_user_namespace_in_there) {
        struct service service = service_start_with("join", JOIN);
        struct ctl ctl = in_there(ctl_shell(&service, ctl_make_root(USER_ALICE),
                                            "cat /proc/$$/comm; id -u; cat /proc/self/uid_map"));
        struct program program = ctl_run(&ctl, 0);

        program_expect(&program, "sh\n60001\n");
        expect_bare(&service);
        service_stop(&service);
}

JOIN_TEST(missing_directories_are_made_and_removed_in_there) {
        struct service service = service_start_with("join", JOIN);
        struct ctl ctl = in_there((struct ctl){
                .service = &service,
                .arguments = {"run", "--create", "--dev", "--pids-only",
                              ctl_make_bare_root(USER_ALICE), "--", "sh", "-c",
                              "test -d /proc/$$ && test ! -e /proc/sys && test -c /dev/null"},
        });

        ctl_run(&ctl, 0);
        expect_bare(&service);
        ck_assert_int_lt(access(sandbox_path("root/proc"), F_OK), 0);
        ck_assert_int_lt(access(sandbox_path("root/dev"), F_OK), 0);
        service_stop(&service);
}

/* For example a unit with PrivateMounts=. */
JOIN_TEST(a_mount_namespace_alone_is_entered_too) {
        struct service service = service_start_with("join", JOIN);
        struct ctl ctl = ctl_shell(&service, ctl_make_root(USER_ALICE),
                                   "cat /proc/$$/comm; test -d /sys/kernel");
        struct program program;

        ctl.become = become_alice_apart;
        program = ctl_run(&ctl, 0);
        program_expect(&program, "sh\n");
        service_stop(&service);
}

JOIN_TEST(hold_releases_in_there_however_it_ends) {
        struct service service = service_start_with("join", JOIN);
        const char *root = ctl_make_root(USER_ALICE);
        struct program program = hold(&service, root);
        char path[64];
        FILE *children;
        int pid;

        program_expect_exit(&program, &service, 0);
        expect_bare(&service);

        program = hold(&service, root);
        snprintf(path, sizeof(path), "/proc/%d/task/%d/children", program.pid, program.pid);
        children = fopen(path, "re");
        ck_assert_ptr_nonnull(children);
        ck_assert_int_eq(fscanf(children, "%d", &pid), 1);
        fclose(children);
        ck_assert_int_eq(kill(pid, SIGKILL), 0);
        program_expect_exit(&program, &service, CONTAINER_KILLED);
        await_bare(&service);
        service_stop(&service);
}

JOIN_TEST_WITH_PIDS(the_end_of_the_container_is_the_end_of_its_leases) {
        struct service service = service_start_with("join", JOIN);
        struct program program = hold(&service, ctl_make_root(USER_ALICE));

        container_kill(&container);
        program_expect_exit(&program, &service, CONTAINER_KILLED);
        sandbox_wait_for(service_count_fds(&service) == service.fds);
        service_stop(&service);
}

/* ---- restarts ---- */

JOIN_TEST(hold_comes_through_restarts) {
        static const int deaths[] = {SIGUSR1, SIGKILL};
        struct service service = service_start_with("join", JOIN);
        struct program program = hold(&service, ctl_make_root(USER_ALICE));

        for (size_t i = 0; i < sizeof(deaths) / sizeof(deaths[0]); i++) {
                replace(&service, deaths[i], JOIN);
                if (i == 0)
                        program_await(&program, "the mounts stay");
                sleep(atoi(ADOPT_SECONDS) + 1); /* leases not adopted by then are unmounted */
                ck_assert_uint_eq(sandbox_count_mounts(container.init, service.source), 2);
        }
        program_expect_exit(&program, &service, 0);
        expect_bare(&service);
        service_stop(&service);
}

JOIN_TEST(a_next_daemon_that_does_not_enter_is_named_as_the_reason) {
        struct service service = service_start_with("join", JOIN);
        struct program program = hold(&service, ctl_make_root(USER_ALICE));

        replace(&service, SIGUSR1, NULL);
        program_await(&program, "was lost");
        program_expect_exit(&program, &service, 1);
        program_expect(&program, "--join in mountatd(8)");
        container_kill(&container);
        service_stop(&service);
}

/* ---- refusals ---- */

JOIN_TEST(without_the_option_the_message_names_it) {
        static const char *const options[] = {"--join=60002", NULL};
        const char *root = ctl_make_root(USER_ALICE);

        for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
                struct service service = service_start_with("join", options[i]);
                struct ctl ctls[] = {
                        in_there(ctl_shell(&service, root, "exit 0")),
                        hold_of(&service, root),
                };

                for (size_t k = 0; k < sizeof(ctls) / sizeof(ctls[0]); k++) {
                        struct program program = ctl_run(&ctls[k], k == 0 ? 125 : 1);

                        program_expect(&program, "foreign-namespace");
                        program_expect(&program, "containers");
                        program_expect(&program, "--join in mountatd(8)");
                        expect_bare(&service);
                }
                ck_assert(!service_has_logged(&service, "enter"));
                service_stop(&service);
        }
}

JOIN_TEST(a_mount_that_nobody_holds_is_refused_in_there) {
        struct service service = service_start_with("join", JOIN);
        struct ctl ctl = in_there((struct ctl){
                .service = &service,
                .arguments = {"mount", ctl_make_root(USER_ALICE)},
        });
        struct program program = ctl_run(&ctl, 1);

        program_expect(&program, "kept beyond its connection");
        program_expect(&program, "use mountatctl run or mountatctl hold");
        expect_bare(&service);
        service_stop(&service);
}

JOIN_TEST(a_container_without_proc_is_told_so) {
        struct service service = service_start_with("join", JOIN);
        struct ctl ctl = hold_of(&service, ctl_make_root(USER_ALICE));
        struct program program;

        ctl.become = become_alice_without_proc;
        program = ctl_run(&ctl, 1);
        program_expect(&program, "/proc/self/ns/mnt");
        program_expect(&program, "mount a procfs on /proc");
        service_stop(&service);
}

/* The daemon is in a sibling pid namespace, as in a container of its own. */
JOIN_TEST(a_daemon_that_cannot_see_the_container_says_where_to_run_it) {
        struct service service = service_spawn(&(struct service_plan){
                .name = "join",
                .start = SERVICE_LISTENS,
                .options = {JOIN},
                .wrapper = {"unshare", "--pid", "--fork", "--kill-child"},
        });
        struct ctl ctl = hold_of(&service, ctl_make_root(USER_ALICE));
        struct program program = ctl_run(&ctl, 1);

        program_expect(&program, "mountatd cannot see your processes");
        program_expect(&program, "hostPID");
        expect_bare(&service);
        ck_assert_int_eq(kill(service.pid, SIGKILL), 0);
        service_wait(&service);
}

JOIN_TEST(hello_tells_whether_it_enters) {
        static const struct {
                const char *option;
                bool enters;
        } cases[] = {{JOIN, true}, {"--join=60002", false}, {NULL, false}};

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                struct service service = service_start_with("join", cases[i].option);
                struct ctl ctl = in_there((struct ctl){
                        .service = &service,
                        .arguments = {"hello"},
                });
                struct program program = ctl_run(&ctl, 0);

                ck_assert(cases[i].enters == (strstr(program.said, "\nenter\n") != NULL));
                ck_assert_ptr_null(strstr(program.said, "unknown"));
                service_stop(&service);
        }
}

int main(void) {
        TCase *tests = tcase_create("run_join");

        tcase_add_test(tests, run_mounts_in_the_container_and_shows_its_processes);
        tcase_add_test(tests, run_makes_its_user_namespace_in_there);
        tcase_add_test(tests, missing_directories_are_made_and_removed_in_there);
        tcase_add_test(tests, a_mount_namespace_alone_is_entered_too);
        tcase_add_test(tests, hold_releases_in_there_however_it_ends);
        tcase_add_test(tests, the_end_of_the_container_is_the_end_of_its_leases);
        tcase_add_test(tests, hold_comes_through_restarts);
        tcase_add_test(tests, a_next_daemon_that_does_not_enter_is_named_as_the_reason);
        tcase_add_test(tests, without_the_option_the_message_names_it);
        tcase_add_test(tests, a_mount_that_nobody_holds_is_refused_in_there);
        tcase_add_test(tests, a_container_without_proc_is_told_so);
        tcase_add_test(tests, a_daemon_that_cannot_see_the_container_says_where_to_run_it);
        tcase_add_test(tests, hello_tells_whether_it_enters);
        return sandbox_run(tests);
}
