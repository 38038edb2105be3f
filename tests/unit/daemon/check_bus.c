/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The connection to a real bus, in the test's own event loop: acquiring the name, losing it and
 * releasing it. And the meaning of replies of the bus and of polkit: default deny, and "busy" isn't
 * "absent". Calls are served over the fake kernel. Includes the module, for its internals.
 */

#include "daemon/bus.c"

#include "tests/test.h"
#include "tests/unit/daemon/fake_context.h"
#include "tests/unit/daemon/log_capture.h"
#include "tests/unit/daemon/until.h"

#include <signal.h>
#include <stdatomic.h>
#include <sys/epoll.h>

static struct fake_context fake;
static struct threads *threads;
static sd_event *loop;
static struct bus *bus;
static sd_bus *client; /* NULL: none */
static struct system_bus_answers answers;
static int log_file;

/* ---- event loop ---- */

static int on_threads(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        (void)source;
        (void)fd;
        (void)events;
        (void)userdata;
        threads_collect(threads);
        return 0;
}

static void turn(void) {
        ck_assert_int_ge(sd_event_run(loop, 1000), 0);
        while (client && sd_bus_process(client, NULL) > 0)
                continue;
}

/* Runs the loop until the condition is true. */
#define UNTIL_TURNED(condition) UNTIL_BY(condition, turn())

/* Whether a line with that text has been logged. */
static bool has_logged(const char *text) {
        static char all[65536];
        const char *more = captured(log_file);

        ck_assert_uint_lt(strlen(all) + strlen(more), sizeof(all));
        return strstr(strcat(all, more), text);
}

static bool is_named(void) {
        return system_bus_has(BUS_NAME);
}

/* Begins to connect. Starts threads, so other processes must be forked before. */
static void begin(void) {
        struct bus_setup setup = {.context = &fake.context};

        log_open(LOG_INFO);
        log_file = capture();
        fake_context_start(&fake, FAKE_ALL_FEATURES);
        ck_assert_int_eq(threads_new(&threads), 0);
        ck_assert_int_ge(sd_event_new(&loop), 0);
        ck_assert_int_ge(
                sd_event_add_io(loop, NULL, threads_fd(threads), EPOLLIN, on_threads, NULL), 0);
        setup.threads = threads;
        setup.event = loop;
        ck_assert_int_eq(bus_new(&setup, &bus), 0);
        ck_assert(!bus_has_settled(bus));
}

static void begin_named(void) {
        begin();
        UNTIL_TURNED(bus_has_settled(bus));
        ck_assert(is_named());
        ck_assert(bus_is_idle(bus));
}

static void end(void) {
        client = sd_bus_close_unref(client);
        ck_assert_ptr_null(bus_free(bus));
        bus = NULL;
        UNTIL_TURNED(threads_are_idle(threads));
        loop = sd_event_unref(loop);
        ck_assert(threads_free(threads));
        fake_context_end(&fake);
}

/* Sends a call; it has reached the bus by the return. */
static void call_by(uid_t uid, const char *member) {
        client = system_bus_connect(uid);
        system_bus_send(client, &answers, member, "");
        system_bus_pass_on(client);
}

/* ---- the name ---- */

START_TEST(null_is_idle_and_settled) {
        ck_assert(bus_has_settled(NULL));
        ck_assert(bus_is_idle(NULL));
        bus_tick(NULL);
        bus_leave(NULL);
        bus_hang_up(NULL);
        ck_assert_ptr_null(bus_free(NULL));
}
END_TEST

BUS_TEST(owns_the_name_once_settled) {
        pid_t pid;

        system_bus_prepare();
        pid = system_bus_start();
        begin_named();
        bus_tick(bus);
        ck_assert(is_named());
        ck_assert(!has_logged("bus"));
        end();
        ck_assert(!is_named());
        sandbox_kill(pid);
}

BUS_TEST(waits_for_a_bus) {
        pid_t pid;

        system_bus_prepare();
        begin();
        for (unsigned i = 0; i < 20; i++)
                turn();
        ck_assert(!bus_has_settled(bus));
        ck_assert(bus_is_idle(bus));
        ck_assert(!has_logged("bus"));
        pid = system_bus_start();
        UNTIL_TURNED(bus_has_settled(bus));
        ck_assert(is_named());
        end();
        sandbox_kill(pid);
}

BUS_TEST(reconnects_when_the_bus_comes_back) {
        pid_t pid;

        system_bus_prepare();
        pid = system_bus_start();
        begin_named();
        sandbox_kill(pid);
        UNTIL_TURNED(has_logged(BUS_GONE));
        ck_assert(has_logged("retrying every second"));
        ck_assert(bus_has_settled(bus));
        ck_assert(bus_is_idle(bus));
        pid = system_bus_start();
        UNTIL_TURNED(is_named());
        end();
        sandbox_kill(pid);
}

/* As on a bus with another policy: retried, and logged only once. */
BUS_TEST(refused_name_is_requested_again) {
        unsigned attempts = 0;
        pid_t pid;

        system_bus_prepare();
        pid = system_bus_start();
        begin();
        sandbox_borrow(USER_MALLORY);
        while (attempts < 2) {
                UNTIL_TURNED(bus->state == BUS_LOST);
                attempts++;
                UNTIL_TURNED(bus->state == BUS_CONNECTING);
        }
        sandbox_return();
        ck_assert(bus_has_settled(bus));
        UNTIL_TURNED(is_named());
        ck_assert_uint_eq(count_lines(captured(log_file)), 1);
        end();
        sandbox_kill(pid);
}

/* sd-bus closes its connection silently when it runs out of memory. */
BUS_TEST(tick_detects_a_closed_connection) {
        pid_t pid;

        system_bus_prepare();
        pid = system_bus_start();
        begin_named();
        sd_bus_close(bus->connection);
        bus_tick(bus);
        ck_assert(has_logged(BUS_GONE));
        UNTIL_TURNED(is_named());
        end();
        sandbox_kill(pid);
}

static bool owns_the_name(sd_bus *connection) {
        const char *owner = "", *name;
        sd_bus_message *reply = NULL;
        bool owns;

        ck_assert_int_ge(sd_bus_get_unique_name(connection, &name), 0);
        ck_assert_int_ge(sd_bus_call_method(connection, "org.freedesktop.DBus",
                                            "/org/freedesktop/DBus", "org.freedesktop.DBus",
                                            "GetNameOwner", NULL, &reply, "s", BUS_NAME),
                         0);
        ck_assert_int_ge(sd_bus_message_read(reply, "s", &owner), 0);
        owns = strcmp(owner, name) == 0;
        sd_bus_message_unref(reply);
        return owns;
}

/* A killed instance with a stuck thread keeps its connection, and the name. */
BUS_TEST(replaces_the_previous_owner_and_can_be_replaced) {
        sd_bus *predecessor, *successor;
        pid_t pid;

        system_bus_prepare();
        pid = system_bus_start();
        predecessor = system_bus_connect(0);
        ck_assert_int_ge(sd_bus_request_name(predecessor, BUS_NAME, SD_BUS_NAME_ALLOW_REPLACEMENT),
                         0);
        begin_named();
        ck_assert(!owns_the_name(predecessor));
        successor = system_bus_connect(0);
        ck_assert_int_ge(sd_bus_request_name(successor, BUS_NAME, SD_BUS_NAME_REPLACE_EXISTING), 0);
        ck_assert(owns_the_name(successor));
        sd_bus_close_unref(successor);
        end();
        sd_bus_close_unref(predecessor);
        sandbox_kill(pid);
}

/* ---- the end ---- */

BUS_TEST(calls_are_served_while_the_name_is_released) {
        pid_t pid;

        system_bus_prepare();
        pid = system_bus_start();
        begin_named();
        call_by(0, "ListLeases");
        bus_leave(bus);
        ck_assert(!bus_is_idle(bus));
        bus_leave(bus); /* has no effect */
        UNTIL_TURNED(bus_is_idle(bus));
        ck_assert(!is_named());
        UNTIL_TURNED(answers.count == 1);
        ck_assert_msg(answers.done == 1, "%s: %s", answers.error, answers.text);
        end();
        sandbox_kill(pid);
}

BUS_TEST(calls_are_refused_when_stopping) {
        pid_t pid;

        system_bus_prepare();
        pid = system_bus_start();
        begin_named();
        call_by(0, "ListLeases");
        atomic_store(&fake.context.stopping, true);
        bus_leave(bus);
        UNTIL_TURNED(bus_is_idle(bus));
        UNTIL_TURNED(answers.count == 1);
        ck_assert_uint_eq(answers.shutting_down, 1);
        end();
        sandbox_kill(pid);
}

BUS_TEST(leaving_without_a_bus_takes_no_time) {
        pid_t pid;

        system_bus_prepare();
        begin();
        turn();
        bus_leave(bus);
        ck_assert(bus_is_idle(bus));
        pid = system_bus_start();
        for (unsigned i = 0; i < 20; i++)
                turn();
        end();
        ck_assert(!is_named());
        sandbox_kill(pid);
}

/* The bus may have given us the name before its reply has been read. */
BUS_TEST(name_is_released_before_its_reply_is_read) {
        pid_t pid;

        system_bus_prepare();
        pid = system_bus_start();
        ck_assert_int_eq(kill(pid, SIGSTOP), 0);
        begin();
        UNTIL_TURNED(bus_may_be_named(bus));
        ck_assert(!bus_has_settled(bus));
        bus_leave(bus);
        ck_assert(!bus_is_idle(bus));
        ck_assert_int_eq(kill(pid, SIGCONT), 0);
        UNTIL_TURNED(bus_is_idle(bus));
        ck_assert(!is_named());
        end();
        sandbox_kill(pid);
}

/* The call stays pending while polkit doesn't answer. */
static void start_with_a_pending_call(pid_t *pid, pid_t *polkit) {
        system_bus_prepare();
        *pid = system_bus_start();
        *polkit = system_bus_start_polkit("", false);
        ck_assert_int_eq(kill(*polkit, SIGSTOP), 0);
        begin_named();
        call_by(USER_ALICE, "ListLeases");
        UNTIL_TURNED(!bus_is_idle(bus));
        ck_assert_uint_eq(answers.count, 0);
}

BUS_TEST(free_refuses_pending_calls) {
        pid_t pid, polkit;

        start_with_a_pending_call(&pid, &polkit);
        ck_assert_ptr_null(bus_free(bus));
        bus = NULL;
        system_bus_await(client, &answers, 1);
        ck_assert_uint_eq(answers.shutting_down, 1);
        end();
        sandbox_kill(polkit);
        sandbox_kill(pid);
}

BUS_TEST(after_hang_up_the_bus_replies_for_the_daemon) {
        pid_t pid, polkit;

        start_with_a_pending_call(&pid, &polkit);
        bus_hang_up(bus);
        system_bus_await(client, &answers, 1); /* without running the loop */
        ck_assert_str_eq(answers.error, SD_BUS_ERROR_NO_REPLY);
        ck_assert(!is_named());
        end();
        sandbox_kill(polkit);
        sandbox_kill(pid);
}

/* ---- questions ---- */

static bool polkit_was_asked(const char *line) {
        FILE *log = fopen(sandbox_path("polkit.log"), "re");
        char read[256];
        bool found = false;

        while (log && fgets(read, sizeof(read), log))
                found |= strcmp(read, line) == 0;
        if (log)
                fclose(log);
        return found;
}

static void call_interactively(const char *member, bool interactive) {
        sd_bus_message *message = NULL;

        ck_assert_int_ge(sd_bus_message_new_method_call(client, &message, BUS_NAME, "/org/mountat1",
                                                        "org.mountat1.Manager", member),
                         0);
        ck_assert_int_ge(sd_bus_message_set_allow_interactive_authorization(message, interactive),
                         0);
        if (strcmp(member, "UnmountPath") == 0)
                ck_assert_int_ge(sd_bus_message_append(message, "s", "/srv/root"), 0);
        answers = (struct system_bus_answers){0};
        system_bus_send_call(client, &answers, message);
        UNTIL_TURNED(answers.count == 1);
}

/* The fake polkit checks that the subject is a bus name. */
BUS_TEST(asks_polkit_about_the_caller_and_the_action) {
        pid_t pid, polkit;

        system_bus_prepare();
        pid = system_bus_start();
        polkit = system_bus_start_polkit("org.mountat1.list-others", true);
        begin_named();
        client = system_bus_connect(USER_ALICE);
        call_interactively("ListLeases", false);
        ck_assert(polkit_was_asked("org.mountat1.list-others = 0\n"));
        call_interactively("ListLeases", true);
        ck_assert(polkit_was_asked("org.mountat1.list-others = 1\n"));
        ck_assert_uint_eq(answers.done, 1);
        call_interactively("UnmountPath", false);
        ck_assert(polkit_was_asked("org.mountat1.unmount root=/srv/root 0\n"));
        ck_assert_uint_eq(answers.done, 0);
        end();
        sandbox_kill(polkit);
        sandbox_kill(pid);
}

BUS_TEST(root_needs_no_polkit) {
        pid_t pid, polkit;

        system_bus_prepare();
        pid = system_bus_start();
        polkit = system_bus_start_polkit("", false);
        begin_named();
        client = system_bus_connect(0);
        call_interactively("ListLeases", false);
        ck_assert_uint_eq(answers.done, 1);
        ck_assert(access(sandbox_path("polkit.log"), F_OK) < 0);
        end();
        sandbox_kill(polkit);
        sandbox_kill(pid);
}

/* ---- replies ---- */

/* Never connected: messages need a bus to belong to. */
static sd_bus *nowhere;
static sd_bus_message *call;

static void setup(void) {
        ck_assert_int_ge(sd_bus_new(&nowhere), 0);
        ck_assert_int_ge(sd_bus_set_address(nowhere, "unix:path=/dev/null/nowhere"), 0);
        ck_assert_int_ge(sd_bus_set_watch_bind(nowhere, true), 0);
        sd_bus_start(nowhere);
        ck_assert_int_ge(sd_bus_message_new_method_call(nowhere, &call, NULL, "/", NULL, "X"), 0);
        ck_assert_int_ge(sd_bus_message_seal(call, 1, 0), 0);
}

static struct verdict judge(sd_bus_message *reply, bool *challenge) {
        struct verdict verdict;

        ck_assert_int_ge(sd_bus_message_seal(reply, 2, 0), 0);
        ck_assert_int_ge(sd_bus_message_rewind(reply, true), 0);
        verdict = bus_judge_polkit(reply, challenge);
        sd_bus_message_unref(reply);
        return verdict;
}

/* `sender` may be NULL. */
static struct verdict judge_error_of(const char *sender, const char *name, const char *message) {
        const sd_bus_error error = SD_BUS_ERROR_MAKE_CONST(name, message);
        sd_bus_message *reply = NULL;
        struct verdict verdict;
        bool challenge = true;

        ck_assert_int_ge(sd_bus_message_new_method_error(call, &reply, &error), 0);
        if (sender)
                ck_assert_int_ge(sd_bus_message_set_sender(reply, sender), 0);
        verdict = judge(reply, &challenge);
        ck_assert(!challenge);
        return verdict;
}

static struct verdict judge_error(const char *name, const char *message) {
        return judge_error_of(NULL, name, message);
}

static struct verdict judge_answer(int granted, int may_be_asked, bool *challenge) {
        sd_bus_message *reply = NULL;

        ck_assert_int_ge(sd_bus_message_new_method_return(call, &reply), 0);
        ck_assert_int_ge(
                sd_bus_message_append(reply, "(bba{ss})", granted, may_be_asked, 1, "a", "b"), 0);
        return judge(reply, challenge);
}

START_TEST(grants_what_polkit_grants_alone) {
        struct verdict verdict;
        bool challenge;

        setup();
        ck_assert_int_eq(judge_answer(1, 0, &challenge).status, STATUS_OK);
        ck_assert_int_eq(judge_answer(0, 0, &challenge).status, STATUS_NOT_AUTHORISED);
        ck_assert(!challenge);
        verdict = judge_answer(0, 1, &challenge);
        ck_assert_int_eq(verdict.status, STATUS_NOT_AUTHORISED);
        ck_assert_ptr_nonnull(strstr(verdict.text, "allow interactive authorisation"));
        ck_assert(challenge);
}
END_TEST

START_TEST(takes_no_other_answer_for_a_yes) {
        static const char *const types[] = {"", "b", "s", "bb"};
        bool challenge;

        setup();
        for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
                sd_bus_message *reply = NULL;

                ck_assert_int_ge(sd_bus_message_new_method_return(call, &reply), 0);
                if (strcmp(types[i], "s") == 0)
                        ck_assert_int_ge(sd_bus_message_append(reply, "s", "yes"), 0);
                else
                        ck_assert_int_ge(sd_bus_message_append(reply, types[i], 1, 1), 0);
                ck_assert_int_eq(judge(reply, &challenge).status, STATUS_HOST_FAILED);
                ck_assert(!challenge);
        }
}
END_TEST

static const struct {
        const char *name;
        enum status status;
        const char *text;
} errors[] = {
        {"org.freedesktop.DBus.Error.ServiceUnknown", STATUS_NOT_AUTHORISED,
         "polkit is not available"},
        {"org.freedesktop.DBus.Error.NameHasNoOwner", STATUS_NOT_AUTHORISED,
         "polkit is not available"},
        {"org.freedesktop.DBus.Error.Spawn.ServiceNotFound", STATUS_NOT_AUTHORISED,
         "polkit is not available"},
        {"org.freedesktop.systemd1.NoSuchUnit", STATUS_NOT_AUTHORISED, "polkit is not available"},
        {"org.freedesktop.systemd1.UnitMasked", STATUS_NOT_AUTHORISED, "polkit is not available"},
        {"org.freedesktop.DBus.Error.LimitsExceeded", STATUS_LIMIT_EXCEEDED, "busy"},
        {"org.freedesktop.DBus.Error.NoReply", STATUS_LIMIT_EXCEEDED, "try again"},
        {"org.freedesktop.DBus.Error.Timeout", STATUS_LIMIT_EXCEEDED, "try again"},
        {"org.freedesktop.DBus.Error.Disconnected", STATUS_LIMIT_EXCEEDED, "try again"},
        {"org.freedesktop.DBus.Error.NoMemory", STATUS_LIMIT_EXCEEDED, "try again"},
        {"org.freedesktop.DBus.Error.TimeoutX", STATUS_HOST_FAILED, "told\\x0a"},
        {"org.freedesktop.DBus.Error.Spawn", STATUS_HOST_FAILED, "told\\x0a"},
        {"org.freedesktop.PolicyKit1.Error.Failed", STATUS_HOST_FAILED, "told\\x0a"},
        {"org.freedesktop.PolicyKit1.Error.NotAuthorized", STATUS_HOST_FAILED, "told\\x0a"},
};

START_TEST(busy_is_not_absent) {
        setup();
        for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
                struct verdict verdict = judge_error(errors[i].name, "told\n");

                ck_assert_msg(verdict.status == errors[i].status, "%s: %d", errors[i].name,
                              verdict.status);
                ck_assert_msg(strstr(verdict.text, errors[i].text) != NULL, "%s: %s",
                              errors[i].name, verdict.text);
        }
}
END_TEST

/* By the same error the bus misses polkit, and polkit the caller. */
START_TEST(caller_that_left_is_no_absent_polkit) {
        struct verdict verdict;

        setup();
        verdict = judge_error_of("org.freedesktop.DBus", SD_BUS_ERROR_NAME_HAS_NO_OWNER, "gone");
        ck_assert_int_eq(verdict.status, STATUS_NOT_AUTHORISED);
        ck_assert_ptr_nonnull(strstr(verdict.text, "polkit is not available"));
        verdict = judge_error_of(":1.2", SD_BUS_ERROR_NAME_HAS_NO_OWNER, "gone");
        ck_assert_int_eq(verdict.status, STATUS_NOT_AUTHORISED);
        ck_assert_ptr_nonnull(strstr(verdict.text, "the caller left"));
        verdict = judge_error_of(":1.2", "org.freedesktop.PolicyKit1.Error.Failed", "gone");
        ck_assert_int_eq(verdict.status, STATUS_HOST_FAILED);
}
END_TEST

/* ---- the caller's credentials ---- */

static int read_credentials(struct subject *subject, const char *types, const char *key,
                            uint32_t value) {
        sd_bus_message *reply = NULL;
        int r;

        ck_assert_int_ge(sd_bus_message_new_method_return(call, &reply), 0);
        ck_assert_int_ge(sd_bus_message_append(reply, "a{sv}", 3, "LinuxSecurityLabel", "ay", 2, 1,
                                               2, "ProcessID", "u", 77, key, types, value),
                         0);
        ck_assert_int_ge(sd_bus_message_seal(reply, 2, 0), 0);
        r = bus_read_who(reply, subject);
        sd_bus_message_unref(reply);
        return r;
}

START_TEST(reads_who_it_is_from_the_bus) {
        struct subject subject = {.uid = 5};

        setup();
        ck_assert_int_lt(read_credentials(&subject, "u", "UnixUser", 1000), 0);
        ck_assert_int_lt(read_credentials(&subject, "i", "UnixUserID", 1000), 0);
        ck_assert_int_lt(read_credentials(&subject, "u", "UnixUserID", UINT32_MAX), 0);
        ck_assert_uint_eq(subject.uid, 5);
        ck_assert_int_eq(read_credentials(&subject, "u", "UnixUserID", 1000), 0);
        ck_assert_uint_eq(subject.uid, 1000);
        ck_assert_int_eq(subject.pid, 77);
        ck_assert_int_eq(subject.trust, TRUST_USER);
}
END_TEST

START_TEST(knows_nobody_by_an_error) {
        const sd_bus_error error =
                SD_BUS_ERROR_MAKE_CONST("org.freedesktop.DBus.Error.NameHasNoOwner", "gone");
        struct subject subject = {.uid = 5};
        sd_bus_message *reply = NULL;

        setup();
        ck_assert_int_ge(sd_bus_message_new_method_error(call, &reply, &error), 0);
        ck_assert_int_ge(sd_bus_message_seal(reply, 2, 0), 0);
        ck_assert_int_lt(bus_read_who(reply, &subject), 0);
        ck_assert_uint_eq(subject.uid, 5);
        sd_bus_message_unref(reply);
}
END_TEST

int main(void) {
        TCase *tests = tcase_create("bus");

        tcase_add_test(tests, null_is_idle_and_settled);
        tcase_add_test(tests, owns_the_name_once_settled);
        tcase_add_test(tests, waits_for_a_bus);
        tcase_add_test(tests, reconnects_when_the_bus_comes_back);
        tcase_add_test(tests, refused_name_is_requested_again);
        tcase_add_test(tests, tick_detects_a_closed_connection);
        tcase_add_test(tests, replaces_the_previous_owner_and_can_be_replaced);
        tcase_add_test(tests, calls_are_served_while_the_name_is_released);
        tcase_add_test(tests, calls_are_refused_when_stopping);
        tcase_add_test(tests, leaving_without_a_bus_takes_no_time);
        tcase_add_test(tests, name_is_released_before_its_reply_is_read);
        tcase_add_test(tests, free_refuses_pending_calls);
        tcase_add_test(tests, after_hang_up_the_bus_replies_for_the_daemon);
        tcase_add_test(tests, asks_polkit_about_the_caller_and_the_action);
        tcase_add_test(tests, root_needs_no_polkit);
        tcase_add_test(tests, grants_what_polkit_grants_alone);
        tcase_add_test(tests, takes_no_other_answer_for_a_yes);
        tcase_add_test(tests, busy_is_not_absent);
        tcase_add_test(tests, caller_that_left_is_no_absent_polkit);
        tcase_add_test(tests, reads_who_it_is_from_the_bus);
        tcase_add_test(tests, knows_nobody_by_an_error);
        return sandbox_run(tests);
}
