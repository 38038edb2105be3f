/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Which methods exist and who may call them, how arguments are checked before they are copied, the
 * limits on calls, scheduling, and places in lists. Includes the module's source.
 */

#include "daemon/manager.c"
#include "tests/test.h"

/* ---- the table ---- */

START_TEST(refuses_method_without_a_row) {
        static const char *const names[] = {"",           "Hello", "mount",    "Mount", "MountPat",
                                            "MountPathX", "Adopt", "Unmount ", "Get"};

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
                ck_assert_ptr_null(manager_method(names[i]));
}
END_TEST

START_TEST(asks_for_consent_as_the_table_says) {
        static const struct {
                const char *member, *action;
                enum consent consent;
        } rows[] = {
                {"MountPath", "org.mountat1.mount", CONSENT_NEEDED},
                {"UnmountPath", "org.mountat1.unmount", CONSENT_NEEDED},
                {"Unmount", "org.mountat1.unmount-others", CONSENT_NEEDED_FOR_OTHERS},
                {"ListLeases", "org.mountat1.list-others", CONSENT_SHOWS_OTHERS},
                {"ListLeasesEx", "org.mountat1.list-others", CONSENT_SHOWS_OTHERS},
        };

        ck_assert_uint_eq(sizeof(rows) / sizeof(rows[0]),
                          sizeof(manager_methods) / sizeof(manager_methods[0]));
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                const struct method *method = manager_method(rows[i].member);

                ck_assert_ptr_nonnull(method);
                ck_assert_str_eq(method->action, rows[i].action);
                ck_assert_int_eq(method->consent, rows[i].consent);
                ck_assert(method->run != NULL);
        }
}
END_TEST

/* ---- arguments ---- */

START_TEST(takes_absolute_paths_without_dots_alone) {
        static const char *const good[] = {"/",      "/srv",  "/srv/root/", "/srv/..no", "/...",
                                           "/a/b..", "/a/.b", "/a/./b",     "//a"};
        static const char *const bad[] = {"",         "srv",     ".",        "..",
                                          "/..",      "/a/..",   "/../a",    "/a/../b",
                                          "/a//../b", "/a/b/..", "/..a/../b"};

        for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
                ck_assert_msg(!manager_path_fault(good[i]), "%s", good[i]);
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
                ck_assert_msg(manager_path_fault(bad[i]) != NULL, "%s", bad[i]);
}
END_TEST

START_TEST(takes_paths_that_the_kernel_would_take) {
        static char path[32 * 1024 * 1024];

        memset(path, 'a', sizeof(path) - 1);
        path[0] = '/';
        ck_assert_ptr_nonnull(strstr(manager_path_fault(path), "too long"));
        path[PATH_MAX] = '\0';
        ck_assert_ptr_nonnull(manager_path_fault(path));
        path[PATH_MAX - 1] = '\0';
        ck_assert_ptr_null(manager_path_fault(path));
}
END_TEST

/* As over the socket. */
START_TEST(judges_requests_as_the_decoder_does) {
        struct wire_request wire = {.operation = PROTOCOL_MOUNT,
                                    .flags = PROTOCOL_KEEP,
                                    .n_targets = 1,
                                    .targets = {{.file_system = PROTOCOL_PROC}}};

        ck_assert_int_eq(manager_judge_request(&wire).status, STATUS_OK);
        ck_assert_uint_eq(wire.flags, PROTOCOL_KEEP);
        wire.targets[0].file_system = 0;
        ck_assert_int_eq(manager_judge_request(&wire).status, STATUS_UNSUPPORTED_FILE_SYSTEM);
        wire.n_targets = 0;
        ck_assert_int_eq(manager_judge_request(&wire).status, STATUS_MALFORMED);
        wire = (struct wire_request){.operation = PROTOCOL_UNMOUNT, .lease = UINT64_MAX};
        ck_assert_int_eq(manager_judge_request(&wire).status, STATUS_OK);
        ck_assert_uint_eq(wire.lease, UINT64_MAX);
}
END_TEST

/* ---- limits ---- */

static struct context context;
static struct manager *manager;
static sd_bus *bus;

/* A connection that is never made: messages need one to belong to. */
static void setup(void) {
        ck_assert_int_ge(sd_bus_new(&bus), 0);
        ck_assert_int_ge(sd_bus_set_address(bus, "unix:path=/dev/null/nowhere"), 0);
        ck_assert_int_ge(sd_bus_set_watch_bind(bus, true), 0);
        sd_bus_start(bus);
        manager = manager_new(&context, NULL);
        ck_assert_ptr_nonnull(manager);
}

/* Adds a call; the name of the user's only connection is the user's. */
static struct call *add(const char *member, enum call_state state, uid_t uid) {
        struct call *call = call_new(manager, manager_method(member));
        char sender[16];

        ck_assert_ptr_nonnull(call);
        snprintf(sender, sizeof(sender), ":1.%u", uid);
        ck_assert_int_ge(sd_bus_message_new_method_call(bus, &call->asked, NULL, "/", NULL, "X"),
                         0);
        ck_assert_int_ge(sd_bus_message_set_sender(call->asked, sender), 0);
        call->state = state;
        call->holder.subject.uid = uid;
        return call;
}

static void add_many(unsigned count, const char *member, enum call_state state, uid_t uid) {
        for (unsigned i = 0; i < count; i++)
                add(member, state, uid);
}

static void teardown(void) {
        struct call *call;

        while ((call = TAILQ_FIRST(&manager->calls))) {
                call->state = CALL_IDENTIFYING; /* nothing was charged */
                call_end(call);
        }
        ck_assert(manager_is_idle(manager));
        ck_assert_ptr_null(manager_free(manager));
        sd_bus_close_unref(bus);
}

START_TEST(admits_32_calls_of_a_sender) {
        setup();
        add_many(CALLS_PER_SENDER_MAX - 1, "Unmount", CALL_IDENTIFYING, 1);
        ck_assert_int_eq(manager_admit(manager, ":1.1").status, STATUS_OK);
        add("Unmount", CALL_RUNNING, 1);
        ck_assert_int_eq(manager_admit(manager, ":1.1").status, STATUS_LIMIT_EXCEEDED);
        ck_assert_int_eq(manager_admit(manager, ":1.11").status, STATUS_OK);
        ck_assert_uint_eq(CALLS_PER_SENDER_MAX, 32);
        teardown();
}
END_TEST

START_TEST(admits_no_more_than_can_be_identified) {
        setup();
        for (uid_t uid = 0; uid < 8; uid++)
                add_many(CALLS_UNIDENTIFIED_MAX / 8, "Unmount", CALL_IDENTIFYING, uid);
        ck_assert_int_eq(manager_admit(manager, ":1.9").status, STATUS_LIMIT_EXCEEDED);
        TAILQ_FIRST(&manager->calls)->state = CALL_WAITING; /* from now on counted by the quota */
        ck_assert_int_eq(manager_admit(manager, ":1.9").status, STATUS_OK);
        teardown();
}
END_TEST

START_TEST(admits_none_when_closed) {
        setup();
        manager_close(manager);
        ck_assert_int_eq(manager_admit(manager, ":1.1").status, STATUS_SHUTTING_DOWN);
        teardown();
}
END_TEST

START_TEST(nobodys_questions_use_up_everybodys) {
        setup();
        for (unsigned i = 0; i < QUESTIONS_PER_USER_MAX; i++) {
                ck_assert_int_eq(manager_admit_question(manager, 1).status, STATUS_OK);
                add("MountPath", CALL_AUTHORISING, 1);
        }
        ck_assert_int_eq(manager_admit_question(manager, 1).status, STATUS_LIMIT_EXCEEDED);
        ck_assert_int_eq(manager_admit_question(manager, 2).status, STATUS_OK);
        teardown();
}
END_TEST

/* Any number of users ask as often as they may, and another one asks once. */
START_TEST(users_who_ask_often_leave_questions_for_others) {
        setup();
        for (uid_t uid = 1; uid <= 16; uid++)
                for (unsigned i = 0; i < CALLS_PER_SENDER_MAX; i++)
                        if (manager_admit_question(manager, uid).status == STATUS_OK)
                                add("MountPath", CALL_AUTHORISING, uid);
        for (uid_t uid = 1; uid <= 16; uid++) {
                ck_assert_uint_ge(manager_count(manager, CALL_AUTHORISING, uid), 1);
                ck_assert_int_eq(manager_admit_question(manager, uid).status,
                                 STATUS_LIMIT_EXCEEDED);
        }
        ck_assert_int_eq(manager_admit_question(manager, 17).status, STATUS_OK);
        teardown();
}
END_TEST

/* Otherwise the bus refuses them, which would look like a missing polkit. */
START_TEST(asks_fewer_questions_than_the_bus_lets_wait) {
        setup();
        for (uid_t uid = 0; uid < QUESTIONS_MAX; uid++)
                add("MountPath", CALL_AUTHORISING, uid);
        ck_assert_int_eq(manager_admit_question(manager, 999).status, STATUS_LIMIT_EXCEEDED);
        TAILQ_FIRST(&manager->calls)->state = CALL_WAITING; /* answered */
        ck_assert_int_eq(manager_admit_question(manager, 999).status, STATUS_OK);
        ck_assert_uint_lt(QUESTIONS_MAX, 128);
        teardown();
}
END_TEST

/* ---- scheduling ---- */

START_TEST(runs_nothing_that_does_not_wait) {
        setup();
        ck_assert_ptr_null(manager_next(manager));
        add("Unmount", CALL_IDENTIFYING, 1);
        add("MountPath", CALL_AUTHORISING, 1);
        add("MountPath", CALL_RUNNING, 1);
        ck_assert_ptr_null(manager_next(manager));
        teardown();
}
END_TEST

START_TEST(runs_the_oldest_first) {
        struct call *first;

        setup();
        first = add("Unmount", CALL_WAITING, 1);
        add("MountPath", CALL_WAITING, 1);
        add("Unmount", CALL_WAITING, 2);
        ck_assert_ptr_eq(manager_next(manager), first);
        teardown();
}
END_TEST

START_TEST(a_user_leaves_threads_for_others) {
        struct call *other;

        setup();
        add_many(20, "MountPath", CALL_WAITING, 1);
        other = add("MountPath", CALL_WAITING, 2);
        for (unsigned i = 0; i < RUNNING_PER_USER_MAX; i++) {
                ck_assert_uint_eq(manager_next(manager)->holder.subject.uid, 1);
                manager_next(manager)->state = CALL_RUNNING;
        }
        ck_assert_ptr_eq(manager_next(manager), other);
        other->state = CALL_RUNNING;
        ck_assert_ptr_null(manager_next(manager)); /* all of user 1's */
        ck_assert_uint_lt(2 * RUNNING_PER_USER_MAX, RUNNING_MAX);
        teardown();
}
END_TEST

START_TEST(runs_eight_in_all) {
        setup();
        for (uid_t uid = 1; uid <= RUNNING_MAX; uid++)
                add("MountPath", CALL_RUNNING, uid);
        add("Unmount", CALL_WAITING, 15);
        ck_assert_ptr_null(manager_next(manager));
        TAILQ_FIRST(&manager->calls)->state = CALL_IDENTIFYING;
        ck_assert_ptr_nonnull(manager_next(manager));
        ck_assert_uint_eq(RUNNING_MAX, 8);
        teardown();
}
END_TEST

START_TEST(makes_one_list_at_a_time) {
        struct call *first, *second, *other;

        setup();
        first = add("ListLeases", CALL_WAITING, 1);
        second = add("ListLeasesEx", CALL_WAITING, 2);
        other = add("Unmount", CALL_WAITING, 3);
        ck_assert_ptr_eq(manager_next(manager), first);
        first->state = CALL_RUNNING;
        ck_assert_ptr_eq(manager_next(manager), other);
        other->state = CALL_RUNNING;
        ck_assert_ptr_null(manager_next(manager));
        first->state = CALL_IDENTIFYING; /* nothing was charged */
        call_end(first);
        ck_assert_ptr_eq(manager_next(manager), second);
        teardown();
}
END_TEST

START_TEST(is_null_safe) {
        ck_assert_ptr_null(manager_free(NULL));
}
END_TEST

int main(void) {
        return SUITE_RUN(
                "manager", refuses_method_without_a_row, asks_for_consent_as_the_table_says,
                takes_absolute_paths_without_dots_alone, takes_paths_that_the_kernel_would_take,
                judges_requests_as_the_decoder_does,

                admits_32_calls_of_a_sender, admits_no_more_than_can_be_identified,
                admits_none_when_closed, nobodys_questions_use_up_everybodys,
                users_who_ask_often_leave_questions_for_others,
                asks_fewer_questions_than_the_bus_lets_wait, runs_nothing_that_does_not_wait,
                runs_the_oldest_first, a_user_leaves_threads_for_others, runs_eight_in_all,
                makes_one_list_at_a_time, is_null_safe);
}
