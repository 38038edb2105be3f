/* SPDX-License-Identifier: Apache-2.0 */

/* Authorisation by polkit, and a polkit that is missing, busy, or doesn't answer. */

#include "tests/test.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static void expect_asked(const char *line) {
        FILE *log = fopen(sandbox_path("polkit.log"), "re");
        char text[512];
        bool found = false;

        ck_assert_ptr_nonnull(log);
        while (!found && fgets(text, sizeof(text), log))
                found = strncmp(text, line, strlen(line)) == 0;
        fclose(log);
        ck_assert_msg(found, "polkit wasn't asked: %s", line);
}

BUS_TEST(polkit_lets_a_user_mount_by_path) {
        struct bus_fixture fixture = bus_fixture_open();
        pid_t polkit = system_bus_start_polkit("org.mountat1.mount", false);
        sd_bus *mallory = system_bus_connect(USER_MALLORY);
        char line[512];

        sandbox_make_root(USER_ALICE, "root");
        ck_assert_int_eq(chmod(sandbox_path("root"), 0755), 0);
        system_bus_unmount(mallory, system_bus_mount_path(mallory, sandbox_path("root")));
        snprintf(line, sizeof(line), "org.mountat1.mount root=%s 0", sandbox_path("root"));
        expect_asked(line);
        sandbox_make_root(USER_ALICE, "\33]0;x");
        ck_assert_int_eq(chmod(sandbox_path("\33]0;x"), 0755), 0);
        system_bus_mount_path(mallory, sandbox_path("\33]0;x"));
        snprintf(line, sizeof(line), "org.mountat1.mount root=%s 0", sandbox_path("\\x1b]0;x"));
        expect_asked(line);
        system_bus_expect(mallory, "NotAuthorised", "UnmountPath", "s", sandbox_path("root"));
        expect_asked("org.mountat1.unmount ");
        sd_bus_close_unref(mallory);
        sandbox_kill(polkit);
        bus_fixture_close(&fixture);
}

BUS_TEST(polkit_lets_a_user_take_and_see_others_leases) {
        struct bus_fixture fixture = bus_fixture_open();
        sd_bus *bob = system_bus_connect(USER_BOB);
        char line[512];
        uint64_t lease;
        pid_t polkit;

        sandbox_make_root(0, "root");
        lease = system_bus_mount_path(fixture.root, sandbox_path("root"));
        polkit = system_bus_start_polkit("org.mountat1.list-others", false);
        ck_assert_uint_eq(system_bus_list(bob, NULL, 0), 1);
        expect_asked("org.mountat1.list-others = 0");
        ck_assert_uint_eq(system_bus_list_ex(bob, NULL, 0), 1);
        expect_asked("org.mountat1.list-others = 0");
        system_bus_expect(bob, "NotAuthorised", "Unmount", "t", lease);
        snprintf(line, sizeof(line), "org.mountat1.unmount-others lease=%016" PRIx64 " 0", lease);
        expect_asked(line);
        sandbox_kill(polkit);
        sandbox_wait_for(system_bus_list(bob, NULL, 0) == 0);
        polkit = system_bus_start_polkit("org.mountat1.unmount-others", false);
        system_bus_unmount(bob, lease);
        sandbox_kill(polkit);
        sd_bus_close_unref(bob);
        bus_fixture_close(&fixture);
}

BUS_TEST(consent_is_asked_for_where_the_caller_allows_it) {
        struct bus_fixture fixture = bus_fixture_open();
        pid_t polkit = system_bus_start_polkit("org.mountat1.mount", true);
        sd_bus *mallory = system_bus_connect(USER_MALLORY);

        sandbox_make_root(0, "root");
        ck_assert_int_eq(chmod(sandbox_path("root"), 0755), 0);
        system_bus_expect(mallory, SD_BUS_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED, "MountPath",
                          "sas", sandbox_path("root"), 2, "proc", "sysfs");
        ck_assert_int_ge(sd_bus_set_allow_interactive_authorization(mallory, true), 0);
        system_bus_mount_path(mallory, sandbox_path("root"));
        sd_bus_close_unref(mallory);
        sandbox_kill(polkit);
        bus_fixture_close(&fixture);
}

/* With the installed actions: this finds mistakes in their names or in the file. */
BUS_TEST(distributions_polkit_knows_the_actions) {
        static const char rule[] = "if (action.id == \"org.mountat1.mount\" && "
                                   "action.lookup(\"root\").slice(-5) == \"/root\" && "
                                   "subject.user == \"mallory\") return polkit.Result.YES; "
                                   "if (action.id == \"org.mountat1.list-others\") "
                                   "return polkit.Result.YES;";
        struct bus_fixture fixture = bus_fixture_open();
        pid_t polkit = system_bus_start_real_polkit(rule);
        sd_bus *mallory, *bob;

        if (polkit == 0) {
                test_skip_report("distributions_polkit_knows_the_actions",
                                 "polkitd is not installed");
                bus_fixture_close(&fixture);
                return;
        }
        mallory = system_bus_connect(USER_MALLORY);
        bob = system_bus_connect(USER_BOB);
        sandbox_make_root(0, "root");
        sandbox_make_root(0, "other");
        ck_assert_int_eq(chmod(sandbox_path("root"), 0755) | chmod(sandbox_path("other"), 0755), 0);
        system_bus_mount_path(mallory, sandbox_path("root"));
        ck_assert_uint_eq(system_bus_list(bob, NULL, 0), 1);
        system_bus_expect(mallory, "NotAuthorised", "MountPath", "sas", sandbox_path("other"), 1,
                          "proc");
        system_bus_expect(bob, "NotAuthorised", "MountPath", "sas", sandbox_path("root"), 1,
                          "proc");
        system_bus_expect(bob, "NotAuthorised", "UnmountPath", "s", sandbox_path("root"));
        sd_bus_close_unref(mallory);
        sd_bus_close_unref(bob);
        sandbox_kill(polkit);
        bus_fixture_close(&fixture);
}

/* ---- no polkit, and a busy one ---- */

/* A connection of the user's that allows interaction. */
static sd_bus *connect_patiently(uid_t uid) {
        sd_bus *bus = system_bus_connect(uid);

        ck_assert_int_ge(sd_bus_set_allow_interactive_authorization(bus, true), 0);
        return bus;
}

BUS_TEST(without_polkit_root_alone_may) {
        struct bus_fixture fixture = bus_fixture_open();
        sd_bus *mallory = connect_patiently(USER_MALLORY);
        struct system_bus_answers answers = {0};

        system_bus_send(mallory, &answers, "MountPath", "sas", "/srv", 1, "proc");
        system_bus_await(mallory, &answers, 1);
        ck_assert_str_eq(answers.error, "org.mountat1.Error.NotAuthorised");
        ck_assert_str_eq(answers.text, "only root may do this: polkit is not available");
        sd_bus_close_unref(mallory);
        bus_fixture_close(&fixture);
}

BUS_TEST(polkit_that_goes_without_an_answer_is_busy) {
        struct bus_fixture fixture = bus_fixture_open();
        pid_t polkit = system_bus_start_polkit("org.mountat1.mount", false);
        sd_bus *mallory = connect_patiently(USER_MALLORY);
        struct system_bus_answers answers = {0};

        ck_assert_int_eq(kill(polkit, SIGSTOP), 0);
        system_bus_send(mallory, &answers, "MountPath", "sas", "/srv", 1, "proc");
        system_bus_pass_on(mallory);
        system_bus_list(fixture.root, NULL, 0); /* by then it has been asked */
        sandbox_kill(polkit);
        system_bus_await(mallory, &answers, 1);
        ck_assert_str_eq(answers.error, "org.mountat1.Error.LimitExceeded");
        ck_assert_str_eq(answers.text, "polkit is busy or doesn't answer: try again");
        sd_bus_close_unref(mallory);
        bus_fixture_close(&fixture);
}

/* As with polkit's agent showing a password prompt, for two minutes. */
BUS_TEST(nobodys_questions_use_up_everybodys) {
        struct bus_fixture fixture = bus_fixture_open();
        pid_t polkit = system_bus_start_polkit("org.mountat1.mount", false);
        sd_bus *mallory = connect_patiently(USER_MALLORY), *bob = connect_patiently(USER_BOB);
        struct system_bus_answers many = {0}, one = {0};
        uint64_t lease;

        sandbox_make_root(0, "root");
        sandbox_make_root(USER_BOB, "his");
        ck_assert_int_eq(chmod(sandbox_path("root"), 0755), 0);
        ck_assert_int_eq(kill(polkit, SIGSTOP), 0);
        for (int i = 0; i < 12; i++)
                system_bus_send(mallory, &many, "MountPath", "sas", sandbox_path("no"), 1, "proc");
        system_bus_await(mallory, &many, 4);
        ck_assert_uint_eq(many.beyond_limits, 4);
        ck_assert_ptr_nonnull(strstr(many.text, "waiting for polkit"));

        /* Meanwhile everybody else is served, except by polkit. */
        system_bus_send(bob, &one, "MountPath", "sas", sandbox_path("root"), 1, "proc");
        lease = client_keep_root(&fixture.service, USER_BOB, sandbox_path("his"));
        system_bus_unmount(bob, lease);
        ck_assert_uint_eq(system_bus_list(fixture.root, NULL, 0), 0);
        ck_assert_uint_eq(one.count, 0);

        ck_assert_int_eq(kill(polkit, SIGCONT), 0);
        system_bus_await(bob, &one, 1);
        ck_assert_uint_eq(one.done, 1);
        system_bus_await(mallory, &many, 12);
        ck_assert_uint_eq(many.done, 0);
        ck_assert_str_eq(many.error, "org.mountat1.Error.TargetVanished");
        sd_bus_close_unref(mallory);
        sd_bus_close_unref(bob);
        sandbox_kill(polkit);
        bus_fixture_close(&fixture);
}

/* Each asks as often as a sender may. The bus wants users that exist: these are Debian's. */
BUS_TEST(many_users_leave_a_question_for_another) {
        static const uid_t uids[] = {1, 2, 3, 5, 6, 7, 8, 9};
        enum { USERS = sizeof(uids) / sizeof(uids[0]), CALLS = 32 };
        static struct system_bus_answers many[USERS];
        struct bus_fixture fixture = bus_fixture_open();
        pid_t polkit = system_bus_start_polkit("org.mountat1.mount", false);
        sd_bus *users[USERS], *bob = connect_patiently(USER_BOB);
        struct system_bus_answers one = {0};

        sandbox_make_root(0, "root");
        ck_assert_int_eq(chmod(sandbox_path("root"), 0755), 0);
        ck_assert_int_eq(kill(polkit, SIGSTOP), 0);
        for (unsigned i = 0; i < USERS; i++) {
                users[i] = connect_patiently(uids[i]);
                for (unsigned k = 0; k < CALLS; k++)
                        system_bus_send(users[i], &many[i], "MountPath", "sas", "/srv", 1, "proc");
                system_bus_await(users[i], &many[i], CALLS - 8); /* refused: eight wait, at most */
                ck_assert_uint_eq(many[i].beyond_limits, many[i].count);
        }
        system_bus_send(bob, &one, "MountPath", "sas", sandbox_path("root"), 1, "proc");
        ck_assert_uint_eq(system_bus_list(fixture.root, NULL, 0), 0);
        system_bus_pass_on(bob);
        ck_assert_uint_eq(one.count, 0);

        for (unsigned i = 0; i < USERS; i++)
                sd_bus_close_unref(users[i]);
        ck_assert_int_eq(kill(polkit, SIGCONT), 0);
        system_bus_await(bob, &one, 1);
        ck_assert_uint_eq(one.done, 1);
        sd_bus_close_unref(bob);
        sandbox_kill(polkit);
        bus_fixture_close(&fixture);
}

/* A list doesn't wait for polkit: without an answer it shows only own leases. */
BUS_TEST(list_is_of_ones_own_while_polkit_is_busy) {
        struct bus_fixture fixture = bus_fixture_open();
        pid_t polkit = system_bus_start_polkit("org.mountat1.list-others", false);
        sd_bus *bob = connect_patiently(USER_BOB);
        struct system_bus_answers many = {0};

        sandbox_make_root(0, "root");
        system_bus_mount_path(fixture.root, sandbox_path("root"));
        ck_assert_uint_eq(system_bus_list(bob, NULL, 0), 1);
        ck_assert_int_eq(kill(polkit, SIGSTOP), 0);
        for (int i = 0; i < 8; i++)
                system_bus_send(bob, &many, "MountPath", "sas", sandbox_path("no"), 1, "proc");
        system_bus_pass_on(bob);
        usleep(300000);
        ck_assert_uint_eq(system_bus_list(bob, NULL, 0), 0);
        ck_assert_int_eq(kill(polkit, SIGCONT), 0);
        system_bus_await(bob, &many, 8);
        sd_bus_close_unref(bob);
        sandbox_kill(polkit);
        bus_fixture_close(&fixture);
}

/* The caller is forgotten, and a late authorisation has no effect. */
BUS_TEST(stop_while_polkit_is_asked_refuses) {
        struct bus_fixture fixture = bus_fixture_open();
        pid_t polkit = system_bus_start_polkit("org.mountat1.mount", false);
        sd_bus *mallory = connect_patiently(USER_MALLORY);
        struct system_bus_answers answers = {0};

        ck_assert_int_eq(kill(polkit, SIGSTOP), 0);
        system_bus_send(mallory, &answers, "MountPath", "sas", "/srv", 1, "proc");
        system_bus_pass_on(mallory);
        usleep(300000);
        ck_assert_int_eq(kill(fixture.service.pid, SIGTERM), 0);
        system_bus_await(mallory, &answers, 1);
        ck_assert_str_eq(answers.error, "org.mountat1.Error.ShuttingDown");
        ck_assert_int_eq(service_wait(&fixture.service), 0);
        sd_bus_close_unref(mallory);
        sd_bus_close_unref(fixture.root);
        sandbox_kill(polkit);
        sandbox_kill(fixture.bus);
}

int main(void) {
        TCase *tests = tcase_create("polkit");

        tcase_add_test(tests, polkit_lets_a_user_mount_by_path);
        tcase_add_test(tests, polkit_lets_a_user_take_and_see_others_leases);
        tcase_add_test(tests, consent_is_asked_for_where_the_caller_allows_it);
        tcase_add_test(tests, distributions_polkit_knows_the_actions);
        tcase_add_test(tests, without_polkit_root_alone_may);
        tcase_add_test(tests, polkit_that_goes_without_an_answer_is_busy);
        tcase_add_test(tests, nobodys_questions_use_up_everybodys);
        tcase_add_test(tests, many_users_leave_a_question_for_another);
        tcase_add_test(tests, list_is_of_ones_own_while_polkit_is_busy);
        tcase_add_test(tests, stop_while_polkit_is_asked_refuses);
        return sandbox_run(tests);
}
