/* SPDX-License-Identifier: Apache-2.0 */

/* The real daemon and a real bus: one that goes away, readiness, and the end of an instance. */

#include "tests/test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

/* The socket works as without a bus. */
static void expect_socket_works(const struct service *service) {
        int client = client_connect(service, USER_BOB);

        client_hello(client);
        close(client);
}

/* ---- the bus itself ---- */

BUS_TEST(bus_goes_away_and_comes_back) {
        struct bus_fixture fixture = bus_fixture_open();
        int client = client_connect(&fixture.service, USER_ALICE);

        sandbox_make_root(USER_ALICE, "root");
        sandbox_make_root(0, "kept");
        system_bus_mount_path(fixture.root, sandbox_path("kept"));
        client_hold_root(client, USER_ALICE, sandbox_path("root"));
        sd_bus_close_unref(fixture.root);
        sandbox_kill(fixture.bus);

        expect_socket_works(&fixture.service);
        usleep(1500000);
        client_hello(client);
        ck_assert_uint_eq(sandbox_count_mounts(0, "mountatd"), 4);

        fixture.bus = system_bus_start();
        system_bus_wait_for("org.mountat1");
        fixture.root = system_bus_connect(0);
        ck_assert_uint_eq(system_bus_list(fixture.root, NULL, 0), 2);
        close(client);
        bus_fixture_close(&fixture);
}

/* ---- the name ---- */

static const char *name_of(sd_bus *bus) {
        const char *name;

        ck_assert_int_eq(sd_bus_get_unique_name(bus, &name), 0);
        return name;
}

/* Whether it is the owner, as the bus says. */
static bool owns_the_name(sd_bus *bus) {
        sd_bus_message *reply = NULL;
        const char *owner;
        bool owns;

        ck_assert_int_ge(sd_bus_call_method(bus, "org.freedesktop.DBus", "/org/freedesktop/DBus",
                                            "org.freedesktop.DBus", "GetNameOwner", NULL, &reply,
                                            "s", "org.mountat1"),
                         0);
        ck_assert_int_ge(sd_bus_message_read(reply, "s", &owner), 0);
        owns = strcmp(owner, name_of(bus)) == 0;
        sd_bus_message_unref(reply);
        return owns;
}

/* As an instance without --instance= does that has another runtime directory. */
BUS_TEST(name_that_another_takes_is_not_taken_back_but_after_its_end) {
        struct bus_fixture fixture = bus_fixture_open();
        sd_bus *other = system_bus_connect(0);

        sandbox_make_root(0, "kept");
        system_bus_mount_path(fixture.root, sandbox_path("kept"));
        ck_assert_int_gt(
                sd_bus_request_name(other, "org.mountat1",
                                    SD_BUS_NAME_ALLOW_REPLACEMENT | SD_BUS_NAME_REPLACE_EXISTING),
                0);
        sandbox_wait_for(service_has_logged(&fixture.service, "another process has taken the name "
                                                              "org.mountat1"));
        usleep(2500000); /* two attempts */
        ck_assert(owns_the_name(other));
        expect_socket_works(&fixture.service);

        sd_bus_close_unref(other);
        system_bus_wait_for("org.mountat1");
        ck_assert_uint_eq(system_bus_list(fixture.root, NULL, 0), 1);
        bus_fixture_close(&fixture);
}

BUS_TEST(name_that_another_keeps_is_waited_for) {
        struct bus_fixture fixture;
        sd_bus *other;

        system_bus_prepare();
        fixture.bus = system_bus_start();
        other = system_bus_connect(0);
        ck_assert_int_gt(sd_bus_request_name(other, "org.mountat1", 0), 0);
        fixture.service = service_start(
                &(struct service_plan){.name = "a", .start = SERVICE_LISTENS, .unnamed = true});
        sandbox_wait_for(service_has_logged(&fixture.service, "another process owns the name "
                                                              "org.mountat1"));
        expect_socket_works(&fixture.service);

        sd_bus_close_unref(other);
        system_bus_wait_for("org.mountat1");
        fixture.root = system_bus_connect(0);
        ck_assert_uint_eq(system_bus_list(fixture.root, NULL, 0), 0);
        bus_fixture_close(&fixture);
}

/* ---- the start ---- */

BUS_TEST(daemon_starts_without_a_bus_and_finds_it_later) {
        struct bus_fixture fixture;

        system_bus_prepare();
        fixture.service = service_start(
                &(struct service_plan){.name = "a", .start = SERVICE_LISTENS, .unnamed = true});
        expect_socket_works(&fixture.service);
        fixture.bus = system_bus_start();
        system_bus_wait_for("org.mountat1");
        fixture.root = system_bus_connect(0);
        ck_assert_uint_eq(system_bus_list(fixture.root, NULL, 0), 0);
        bus_fixture_close(&fixture);
}

/* ---- readiness ---- */

/* A socket for notifications, as a service manager's. */
static int open_manager(const char *path) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

        snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
        ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
        return fd;
}

static bool is_ready(int manager) {
        char message[4096];
        ssize_t size;

        while ((size = recv(manager, message, sizeof(message) - 1, MSG_DONTWAIT)) > 0) {
                message[size] = '\0';
                if (strstr(message, "READY=1"))
                        return true;
        }
        return false;
}

static const struct service_plan ready_plan = {
        .name = "a", .start = SERVICE_LISTENS, .unnamed = true};

BUS_TEST(daemon_is_ready_when_it_has_its_name) {
        struct bus_fixture fixture = {0};
        struct service_plan plan = ready_plan;
        int manager;
        int64_t start;
        bool early, in_time;

        plan.notify = sandbox_path("notify");
        manager = open_manager(plan.notify);
        system_bus_prepare();
        fixture.bus = system_bus_start();
        fixture.root = system_bus_connect(0);
        ck_assert_int_eq(kill(fixture.bus, SIGSTOP), 0);
        start = sandbox_now_ms();
        fixture.service = service_spawn(&plan);
        expect_socket_works(&fixture.service);
        usleep(100000);
        early = is_ready(manager);
        in_time = sandbox_now_ms() - start < 1000; /* it doesn't wait longer for the bus */
        ck_assert_int_eq(kill(fixture.bus, SIGCONT), 0);
        ck_assert(!early || !in_time);
        if (!early)
                sandbox_wait_for(is_ready(manager));
        in_time = sandbox_now_ms() - start < 1000;
        ck_assert(system_bus_has("org.mountat1") || !in_time);
        system_bus_wait_for("org.mountat1");
        close(manager);
        bus_fixture_close(&fixture);
}

BUS_TEST(daemon_without_a_bus_serves_before_it_is_ready) {
        struct service_plan plan = ready_plan;
        struct service service;
        int64_t start;
        int manager;
        bool early;

        plan.notify = sandbox_path("notify");
        manager = open_manager(plan.notify);
        system_bus_prepare();
        start = sandbox_now_ms();
        service = service_spawn(&plan);
        expect_socket_works(&service);
        early = is_ready(manager);
        if (sandbox_now_ms() - start < 1000)
                ck_assert(!early);
        sandbox_wait_for(is_ready(manager));
        close(manager);
        service_stop(&service);
}

/* ---- the end of an instance ---- */

enum {
        LAST_CALLS = 10,
};

/* The sleeping daemon finds these when it wakes. */
static void send_last_calls(sd_bus *bus, struct system_bus_answers *last, bool mount) {
        *last = (struct system_bus_answers){0};
        for (int i = 0; i < LAST_CALLS; i++)
                if (mount)
                        system_bus_send(bus, last, "MountPath", "sas", sandbox_path("root%d", i), 1,
                                        "proc");
                else
                        system_bus_send(bus, last, "ListLeases", "");
        system_bus_pass_on(bus);
}

static void make_last_roots(void) {
        char name[16];

        for (int i = 0; i < LAST_CALLS; i++) {
                snprintf(name, sizeof(name), "root%d", i);
                sandbox_make_root(0, name);
        }
}

/*
 * The idle timeout has expired and the calls have arrived when the daemon wakes: which comes first
 * is chance.
 */
static void call_at_the_end_of_idleness(struct bus_fixture *fixture, bool mount) {
        struct system_bus_answers last;
        int client;

        fixture->service = service_start(&(struct service_plan){
                .name = "a", .unnamed = true, .options = {"--idle-timeout=2"}});
        client = client_connect(&fixture->service, USER_ALICE); /* until it is on the bus */
        system_bus_wait_for("org.mountat1");
        close(client);
        sandbox_wait_for(system_bus_number(fixture->root, "Connections") == 0);
        ck_assert_int_eq(kill(fixture->service.pid, SIGSTOP), 0);
        usleep(2300000);
        send_last_calls(fixture->root, &last, mount);
        ck_assert_int_eq(kill(fixture->service.pid, SIGCONT), 0);
        system_bus_await(fixture->root, &last, LAST_CALLS);
        ck_assert_msg(last.done == LAST_CALLS, "%s: %s", last.error, last.text);
}

BUS_TEST(calls_to_a_daemon_that_leaves_for_idleness_are_served) {
        struct bus_fixture fixture = {0};

        system_bus_prepare();
        fixture.bus = system_bus_start();
        fixture.root = system_bus_connect(0);
        make_last_roots();
        for (int i = 0; i < 3; i++) {
                call_at_the_end_of_idleness(&fixture, false);
                ck_assert_int_eq(service_wait(&fixture.service), 0);
        }
        call_at_the_end_of_idleness(&fixture, true);
        usleep(1000000);
        if (service_is_running(&fixture.service))
                sandbox_kill(fixture.service.pid); /* it was no longer idle */
        else
                ck_assert_int_eq(service_wait(&fixture.service), 0);
        ck_assert_uint_eq(sandbox_count_mounts(0, "mountatd"), LAST_CALLS);
        fixture.service = bus_fixture_start_service();
        ck_assert_uint_eq(system_bus_list(fixture.root, NULL, 0), LAST_CALLS);
        bus_fixture_close(&fixture);
}

BUS_TEST(calls_to_a_daemon_that_is_stopped_are_answered) {
        struct bus_fixture fixture = bus_fixture_open();

        make_last_roots();
        for (int i = 0; i < 6; i++) {
                struct system_bus_answers last;

                ck_assert_int_eq(kill(fixture.service.pid, SIGSTOP), 0);
                ck_assert_int_eq(kill(fixture.service.pid, SIGTERM), 0);
                send_last_calls(fixture.root, &last, i % 2);
                ck_assert_int_eq(kill(fixture.service.pid, SIGCONT), 0);
                system_bus_await(fixture.root, &last, LAST_CALLS);
                ck_assert_msg(last.done + last.shutting_down == LAST_CALLS, "%s: %s", last.error,
                              last.text);
                ck_assert_int_eq(service_wait(&fixture.service), 0);
                ck_assert_uint_eq(sandbox_count_mounts(0, "mountatd"), 0);
                fixture.service = bus_fixture_start_service();
        }
        bus_fixture_close(&fixture);
}

BUS_TEST(leases_of_the_bus_outlive_a_killed_instance) {
        struct bus_fixture fixture = bus_fixture_open();
        struct system_bus_lease lease;
        uint64_t id;

        sandbox_make_root(0, "root");
        ck_assert_int_eq(chmod(sandbox_path("root"), 0755), 0);
        id = system_bus_mount_path(fixture.root, sandbox_path("root"));
        sandbox_kill(fixture.service.pid);
        fixture.service = service_start(&(struct service_plan){.name = "a",
                                                               .start = SERVICE_LISTENS,
                                                               .unnamed = true,
                                                               .options = {"--adopt-timeout=1"}});
        system_bus_wait_for("org.mountat1");
        usleep(2500000);
        ck_assert_uint_eq(sandbox_count_mounts(0, "mountatd"), 2);
        ck_assert_uint_eq(system_bus_list(fixture.root, &lease, 1), 1);
        ck_assert_uint_eq(lease.lease, id);
        ck_assert_str_eq(lease.origin, "kept");
        ck_assert_str_eq(lease.place, sandbox_path("root"));
        system_bus_unmount(fixture.root, id);
        ck_assert_uint_eq(sandbox_count_mounts(0, "mountatd"), 0);
        bus_fixture_close(&fixture);
}

/* Below a directory of mode 0700: on record, until mountatd --sweep unmounts it. */
BUS_TEST(lease_out_of_reach_stays_on_record) {
        struct bus_fixture fixture = bus_fixture_open();
        struct system_bus_lease lease;
        const char *service = MOUNTATD_PROGRAM;
        char command[512];

        sandbox_make_root(USER_ALICE, "root");
        client_keep_root(&fixture.service, USER_ALICE, sandbox_path("root"));
        sandbox_kill(fixture.service.pid);
        fixture.service = bus_fixture_start_service();
        sandbox_wait_for(service_has_logged(&fixture.service, "cannot reach a mount"));
        ck_assert_uint_eq(sandbox_count_mounts(0, "mountatd"), 1);
        ck_assert_uint_eq(system_bus_list(fixture.root, &lease, 1), 1);
        ck_assert_str_eq(lease.origin, "kept");

        /* A sweep between two instances leaves it alone, one after a stop doesn't. */
        sandbox_kill(fixture.service.pid);
        snprintf(command, sizeof(command), "%s --sweep --runtime-directory=%s", service,
                 fixture.service.runtime);
        ck_assert_int_eq(system(command), 0);
        ck_assert_uint_eq(sandbox_count_mounts(0, "mountatd"), 1);
        fixture.service = bus_fixture_start_service();
        ck_assert_int_eq(kill(fixture.service.pid, SIGTERM), 0);
        ck_assert_int_eq(service_wait(&fixture.service), 0);
        ck_assert_int_eq(system(command), 0);
        ck_assert_uint_eq(sandbox_count_mounts(0, "mountatd"), 0);
        sd_bus_close_unref(fixture.root);
        sandbox_kill(fixture.bus);
}

/* ---- a stuck thread ---- */

/* A call that gets stuck at "h". */
static sd_bus *call_and_wedge(struct hostile *hostile, struct system_bus_answers *answers) {
        sd_bus *waiting = system_bus_connect(0);

        system_bus_send(waiting, answers, "MountPath", "sas", sandbox_path("h/stalled"), 1, "proc");
        sd_bus_flush(waiting);
        sandbox_wait_for(hostile_is_awaited(hostile));
        return waiting;
}

/* Blocks as long as the file system's server likes, but only the caller. */
BUS_HOSTILE_TEST(path_on_a_stalled_file_system_keeps_nobody_waiting) {
        struct hostile hostile = hostile_start_shared(0, "h");
        struct bus_fixture fixture = bus_fixture_open();
        struct system_bus_answers answers = {0};
        sd_bus *waiting = call_and_wedge(&hostile, &answers);

        expect_socket_works(&fixture.service);
        sandbox_make_root(0, "root");
        system_bus_mount_path(fixture.root, sandbox_path("root"));
        ck_assert_uint_eq(answers.count, 0);
        hostile_end(&hostile);
        system_bus_await(waiting, &answers, 1);
        ck_assert_uint_eq(answers.done, 0);
        ck_assert_str_eq(answers.error, "org.mountat1.Error.HostFailed");
        ck_assert_uint_eq(system_bus_list(fixture.root, NULL, 0), 1);
        ck_assert_uint_eq(sandbox_count_mounts(0, "mountatd"), 2);
        sd_bus_close_unref(waiting);
        bus_fixture_close(&fixture);
}

/*
 * A daemon with a build directory below the hostile file system, where a call waits for another's
 * lock.
 */
static struct bus_fixture open_and_block(struct hostile *hostile,
                                         struct system_bus_answers *answers) {
        struct bus_fixture fixture = {0};
        char build[300];

        system_bus_prepare();
        fixture.bus = system_bus_start();
        snprintf(build, sizeof(build), "--build-directory=%s", hostile->path);
        fixture.service = service_start(&(struct service_plan){
                .name = "a", .start = SERVICE_LISTENS, .unnamed = true, .options = {build}});
        system_bus_wait_for("org.mountat1");
        fixture.root = system_bus_connect(0);
        hostile_block(hostile, "a/proc", HOSTILE_LOOKUP);
        *answers = (struct system_bus_answers){0};
        system_bus_send(fixture.root, answers, "MountPath", "sas", sandbox_path("h/a"), 1, "proc");
        system_bus_pass_on(fixture.root);
        return fixture;
}

BUS_HOSTILE_TEST(mount_that_takes_its_time_is_answered) {
        struct hostile hostile = hostile_start_shared(0, "h");
        struct system_bus_answers answers;
        struct bus_fixture fixture = open_and_block(&hostile, &answers);

        sandbox_wait_for(service_count_stuck(&fixture.service) == 1);
        ck_assert_uint_eq(system_bus_number(fixture.root, "MountsTotal"), 0);
        hostile_let_go(&hostile);
        system_bus_await(fixture.root, &answers, 1);
        ck_assert_msg(answers.done == 1, "%s: %s", answers.error, answers.text);
        ck_assert_uint_eq(sandbox_count_mounts(0, "mountatd"), 1);
        ck_assert_uint_eq(system_bus_list(fixture.root, NULL, 0), 1);
        hostile_end(&hostile);
        bus_fixture_close(&fixture);
}

/* Granted after the caller's connection is gone. */
BUS_HOSTILE_TEST(mount_whose_caller_can_not_be_told_is_undone) {
        struct hostile hostile = hostile_start_shared(0, "h");
        struct system_bus_answers answers;
        struct bus_fixture fixture = open_and_block(&hostile, &answers);

        sandbox_wait_for(service_count_stuck(&fixture.service) == 1);
        sd_bus_close_unref(fixture.root);
        sandbox_kill(fixture.bus);
        fixture.bus = system_bus_start();
        system_bus_wait_for("org.mountat1");
        fixture.root = system_bus_connect(0);
        ck_assert_uint_eq(system_bus_number(fixture.root, "MountsTotal"), 0);
        hostile_let_go(&hostile);
        sandbox_wait_for(system_bus_number(fixture.root, "MountsTotal") == 1);
        sandbox_wait_for(system_bus_list(fixture.root, NULL, 0) == 0);
        ck_assert_uint_eq(sandbox_count_mounts(0, "mountatd"), 0);
        ck_assert_uint_eq(answers.count, 0);
        hostile_end(&hostile);
        bus_fixture_close(&fixture);
}

/* A user can have 32 pending calls, over any number of connections; nobody else is affected. */
BUS_HOSTILE_TEST(calls_of_a_user_that_are_stuck_are_his_own) {
        struct hostile hostile = hostile_start_shared(0, "h");
        struct bus_fixture fixture = bus_fixture_open();
        struct system_bus_answers answers[2] = {{0}};
        sd_bus *stuck[2] = {system_bus_connect(0), system_bus_connect(0)};
        sd_bus *alice = system_bus_connect(USER_ALICE);
        uint64_t lease;

        sandbox_make_root(USER_ALICE, "root");
        for (unsigned i = 0; i < 32; i++)
                system_bus_send(stuck[i % 2], &answers[i % 2], "MountPath", "sas",
                                sandbox_path("h/stalled"), 1, "proc");
        sd_bus_flush(stuck[0]);
        sd_bus_flush(stuck[1]);
        sandbox_wait_for(hostile_is_awaited(&hostile));
        system_bus_pass_on(stuck[0]);
        system_bus_pass_on(stuck[1]);
        usleep(200000); /* by then the callers are known */

        system_bus_expect(fixture.root, "LimitExceeded", "ListLeases", "");
        lease = client_keep_root(&fixture.service, USER_ALICE, sandbox_path("root"));
        ck_assert_uint_eq(system_bus_list(alice, NULL, 0), 1);
        system_bus_unmount(alice, lease);
        ck_assert_uint_eq(answers[0].count + answers[1].count, 0);

        hostile_end(&hostile);
        system_bus_await(stuck[0], &answers[0], 16);
        system_bus_await(stuck[1], &answers[1], 16);
        ck_assert_uint_eq(answers[0].done + answers[1].done, 0);
        ck_assert_uint_eq(system_bus_list(fixture.root, NULL, 0), 0);
        sd_bus_close_unref(stuck[0]);
        sd_bus_close_unref(stuck[1]);
        sd_bus_close_unref(alice);
        bus_fixture_close(&fixture);
}

/* The stuck thread would keep the bus connection open, but for the hang-up. */
BUS_HOSTILE_TEST(restart_beside_a_stuck_thread_is_known_to_the_bus) {
        struct hostile hostile = hostile_start_shared(0, "h");
        struct bus_fixture fixture = bus_fixture_open();
        struct system_bus_answers answers = {0};
        sd_bus *waiting = call_and_wedge(&hostile, &answers);

        ck_assert_int_eq(kill(fixture.service.pid, SIGUSR1), 0);
        system_bus_await(waiting, &answers, 1);
        ck_assert_str_eq(answers.error, "org.freedesktop.DBus.Error.NoReply");
        sandbox_wait_for(!system_bus_has("org.mountat1"));
        ck_assert(service_is_running(&fixture.service)); /* its remains */

        hostile_end(&hostile);
        ck_assert_int_eq(service_wait(&fixture.service), 0);
        sd_bus_close_unref(waiting);
        sd_bus_close_unref(fixture.root);
        sandbox_kill(fixture.bus);
}

/* The caller gets an answer before the connection is closed. */
BUS_HOSTILE_TEST(stop_beside_a_stuck_thread_answers_its_caller) {
        struct hostile hostile = hostile_start_shared(0, "h");
        struct bus_fixture fixture = bus_fixture_open();
        struct system_bus_answers answers = {0};
        sd_bus *waiting = call_and_wedge(&hostile, &answers);

        ck_assert_int_eq(kill(fixture.service.pid, SIGTERM), 0);
        system_bus_await(waiting, &answers, 1);
        ck_assert_str_eq(answers.error, "org.mountat1.Error.ShuttingDown");
        hostile_end(&hostile);
        ck_assert_int_eq(service_wait(&fixture.service), 0);
        sd_bus_close_unref(waiting);
        sd_bus_close_unref(fixture.root);
        sandbox_kill(fixture.bus);
}

int main(void) {
        TCase *tests = tcase_create("bus");

        tcase_add_test(tests, bus_goes_away_and_comes_back);
        tcase_add_test(tests, name_that_another_takes_is_not_taken_back_but_after_its_end);
        tcase_add_test(tests, name_that_another_keeps_is_waited_for);
        tcase_add_test(tests, daemon_starts_without_a_bus_and_finds_it_later);
        tcase_add_test(tests, daemon_is_ready_when_it_has_its_name);
        tcase_add_test(tests, daemon_without_a_bus_serves_before_it_is_ready);
        tcase_add_test(tests, calls_to_a_daemon_that_leaves_for_idleness_are_served);
        tcase_add_test(tests, calls_to_a_daemon_that_is_stopped_are_answered);
        tcase_add_test(tests, leases_of_the_bus_outlive_a_killed_instance);
        tcase_add_test(tests, lease_out_of_reach_stays_on_record);
        tcase_add_test(tests, path_on_a_stalled_file_system_keeps_nobody_waiting);
        tcase_add_test(tests, mount_that_takes_its_time_is_answered);
        tcase_add_test(tests, mount_whose_caller_can_not_be_told_is_undone);
        tcase_add_test(tests, calls_of_a_user_that_are_stuck_are_his_own);
        tcase_add_test(tests, restart_beside_a_stuck_thread_is_known_to_the_bus);
        tcase_add_test(tests, stop_beside_a_stuck_thread_answers_its_caller);
        return sandbox_run(tests);
}
