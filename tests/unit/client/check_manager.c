/* SPDX-License-Identifier: Apache-2.0 */

/* Calls of mountatd's methods: what is sent, how answers and errors are read. */

#include "client/manager.h"

#include "tests/test.h"
#include "tests/unit/client/bus_peer.h"
#include "tests/unit/client/capture.h"
#include "tests/unit/client/scripted.h"

#include <stdlib.h>
#include <string.h>

static bool is_call(sd_bus_message *call, const char *interface, const char *member,
                    const char *signature) {
        return sd_bus_message_is_method_call(call, interface, member) &&
               strcmp(sd_bus_message_get_destination(call), "org.mountat1") == 0 &&
               strcmp(sd_bus_message_get_path(call), "/org/mountat1") == 0 &&
               strcmp(sd_bus_message_get_signature(call, true), signature) == 0;
}

static bool is_manager_call(sd_bus_message *call, const char *member, const char *signature) {
        return is_call(call, "org.mountat1.Manager", member, signature);
}

/* Connects and calls `act`. 0, or 1 on failure. */
static int with_bus(int (*act)(sd_bus *bus)) {
        MANAGER_BUS_AUTO sd_bus *bus = NULL;

        return manager_open(&bus) < 0 || act(bus) < 0 ? 1 : 0;
}

/* ---- connecting ---- */

static int open_only(const void *argument) {
        MANAGER_BUS_AUTO sd_bus *bus = NULL;
        int interactive = 0;

        (void)argument;
        if (manager_open(&bus) < 0)
                return 1;
        return sd_bus_get_allow_interactive_authorization(bus) > interactive ? 0 : 2;
}

static int refuse_everything(sd_bus_message *call) {
        return sd_bus_reply_method_errorf(call, SD_BUS_ERROR_FAILED, "not for you");
}

START_TEST(allows_password_dialogs) {
        bus_peer_start(refuse_everything);
        ck_assert_int_eq(capture(open_only, NULL), 0);
        ck_assert_str_eq(captured.errors, "");
}
END_TEST

START_TEST(reports_a_missing_bus) {
        bus_peer_set_address();
        ck_assert_int_eq(capture(open_only, NULL), 1);
        expect_errors("system bus");
        expect_errors("No such file or directory");
}
END_TEST

/* ---- errors ---- */

static const struct {
        const char *name, *message;
        const char *told;
} errors[] = {
        {SD_BUS_ERROR_SERVICE_UNKNOWN, "who?", "systemctl status mountatd"},
        {SD_BUS_ERROR_NAME_HAS_NO_OWNER, "who?", "systemctl status mountatd"},
        {SD_BUS_ERROR_ACCESS_DENIED, "no", "of mountatd's group"},
        {"org.mountat1.Error.NoSuchLease", "there is no such lease", "there is no such lease\n"},
        {"org.mountat1.Error.NoSuchLease", "\x1b[2Ja\nb", "\\x1b[2Ja\\x0ab\n"},
        {"org.mountat1.Error.NoSuchLease", NULL, "org.mountat1.Error.NoSuchLease"},
};

static size_t error; /* the peer's answer */

static int answer_with_error(sd_bus_message *call) {
        const sd_bus_error answer = {errors[error].name, errors[error].message, 0};
        uint64_t lease;

        peer_check(is_manager_call(call, "Unmount", "t"));
        peer_check(sd_bus_message_read(call, "t", &lease) > 0 && lease == SCRIPTED_LEASE);
        peer_check(sd_bus_message_get_allow_interactive_authorization(call) > 0);
        return sd_bus_reply_method_error(call, &answer);
}

static int unmount_lease(sd_bus *bus) {
        return manager_unmount(bus, SCRIPTED_LEASE);
}

static int unmount(const void *argument) {
        (void)argument;
        return with_bus(unmount_lease);
}

START_TEST(error_says_what_failed_and_what_to_do) {
        for (error = 0; error < N_ELEMENTS(errors); error++) {
                bus_peer_start(answer_with_error);
                ck_assert_int_eq(capture(unmount, NULL), 1);
                expect_errors("cannot unmount lease 0000001234567890: ");
                expect_errors(errors[error].told);
        }
}
END_TEST

static int answer_unmount(sd_bus_message *call) {
        return is_manager_call(call, "Unmount", "t") ? sd_bus_reply_method_return(call, "")
                                                     : refuse_everything(call);
}

START_TEST(unmounts_silently) {
        bus_peer_start(answer_unmount);
        ck_assert_int_eq(capture(unmount, NULL), 0);
        ck_assert_str_eq(captured.errors, "");
}
END_TEST

static int hang_up(sd_bus_message *call) {
        sd_bus_close(sd_bus_message_get_bus(call));
        return 0;
}

START_TEST(reports_a_lost_bus) {
        bus_peer_start(hang_up);
        ck_assert_int_eq(capture(unmount, NULL), 1);
        expect_errors("cannot unmount lease 0000001234567890: ");
}
END_TEST

/* ---- properties ---- */

static int answer_properties(sd_bus_message *call) {
        const char *interface;

        peer_check(is_call(call, "org.freedesktop.DBus.Properties", "GetAll", "s"));
        peer_check(sd_bus_message_read(call, "s", &interface) > 0 &&
                   strcmp(interface, "org.mountat1.Manager") == 0);
        return sd_bus_reply_method_return(call, "a{sv}", 1, "Version", "s", "mountatd 1");
}

START_TEST(asks_for_the_managers_properties) {
        MANAGER_BUS_AUTO sd_bus *bus = NULL;
        MANAGER_MESSAGE_AUTO sd_bus_message *reply = NULL;

        bus_peer_start(answer_properties);
        ck_assert_int_eq(manager_open(&bus), 0);
        ck_assert_int_eq(manager_get_all(bus, &reply), 0);
        ck_assert_str_eq(sd_bus_message_get_signature(reply, true), "a{sv}");
}
END_TEST

/* ---- the list ---- */

static enum manager_scope scope;

/* A password dialog is allowed only for MANAGER_ALL. */
static bool is_list_call(sd_bus_message *call, const char *member) {
        return is_manager_call(call, member, "") &&
               !!sd_bus_message_get_allow_interactive_authorization(call) == (scope == MANAGER_ALL);
}

static int answer_list(sd_bus_message *call) {
        static const struct manager_lease leases[] = {
                {.lease = UINT64_MAX,
                 .uid = 1000,
                 .pid = 77,
                 .place = "/srv/a\\x0a",
                 .origin = "socket",
                 .file_systems = "proc,sysfs",
                 .age = 5},
                {.lease = 1,
                 .place = "",
                 .origin = "bus",
                 .elsewhere = true,
                 .namespace = 4026531841},
        };

        peer_check(is_list_call(call, "ListLeasesEx"));
        return bus_peer_reply_leases(call, leases, N_ELEMENTS(leases));
}

static int answer_older_list(sd_bus_message *call) {
        return sd_bus_reply_method_return(call, "a(tuussast)", 1, UINT64_C(9), 1, 2, "/srv", "kept",
                                          1, "dev", UINT64_C(3));
}

static sd_bus_message *list(sd_bus **bus, bus_peer_serve *serve) {
        sd_bus_message *reply = NULL;

        bus_peer_start(serve);
        ck_assert_int_eq(manager_open(bus), 0);
        ck_assert_int_eq(manager_list(*bus, scope, &reply), 0);
        return reply;
}

START_TEST(reads_each_lease) {
        MANAGER_BUS_AUTO sd_bus *bus = NULL;
        MANAGER_MESSAGE_AUTO sd_bus_message *reply = list(&bus, answer_list);
        struct manager_lease lease;

        ck_assert_int_eq(manager_next(reply, &lease), 1);
        ck_assert_uint_eq(lease.lease, UINT64_MAX);
        ck_assert_uint_eq(lease.uid, 1000);
        ck_assert_uint_eq(lease.pid, 77);
        ck_assert_str_eq(lease.place, "/srv/a\\x0a");
        ck_assert_str_eq(lease.origin, "socket");
        ck_assert_str_eq(lease.file_systems, "proc,sysfs");
        ck_assert_uint_eq(lease.age, 5);
        ck_assert(!lease.elsewhere);

        ck_assert_int_eq(manager_next(reply, &lease), 1);
        ck_assert_uint_eq(lease.lease, 1);
        ck_assert_str_eq(lease.file_systems, "");
        ck_assert(lease.elsewhere);
        ck_assert_uint_eq(lease.namespace, 4026531841);
        ck_assert_int_eq(manager_next(reply, &lease), 0);
        ck_assert_int_eq(manager_next(reply, &lease), 0);
}
END_TEST

START_TEST(allows_a_password_dialog_for_all_leases) {
        MANAGER_BUS_AUTO sd_bus *bus = NULL;
        MANAGER_MESSAGE_AUTO sd_bus_message *reply = NULL;

        scope = MANAGER_ALL;
        reply = list(&bus, answer_list);
        ck_assert_ptr_nonnull(reply);
}
END_TEST

static const char *refusal_of_later; /* an older daemon's, or its bus policy's */

static int answer_as_an_older_daemon(sd_bus_message *call) {
        if (is_list_call(call, "ListLeasesEx"))
                return sd_bus_reply_method_errorf(call, refusal_of_later, "no");
        peer_check(is_list_call(call, "ListLeases"));
        return answer_older_list(call);
}

START_TEST(falls_back_to_the_older_method) {
        static const char *const names[] = {SD_BUS_ERROR_UNKNOWN_METHOD,
                                            SD_BUS_ERROR_ACCESS_DENIED};

        for (size_t i = 0; i < 2 * N_ELEMENTS(names); i++) {
                MANAGER_BUS_AUTO sd_bus *bus = NULL;
                MANAGER_MESSAGE_AUTO sd_bus_message *reply = NULL;
                struct manager_lease lease;

                refusal_of_later = names[i / 2];
                scope = i % 2 ? MANAGER_ALL : MANAGER_OWN;
                reply = list(&bus, answer_as_an_older_daemon);
                ck_assert_int_eq(manager_next(reply, &lease), 1);
                ck_assert_uint_eq(lease.lease, 9);
                ck_assert_str_eq(lease.origin, "kept");
                ck_assert_str_eq(lease.file_systems, "dev");
                ck_assert_uint_eq(lease.age, 3);
                ck_assert(!lease.elsewhere);
                ck_assert_int_eq(manager_next(reply, &lease), 0);
        }
}
END_TEST

static int read_list(sd_bus *bus) {
        MANAGER_MESSAGE_AUTO sd_bus_message *reply = NULL;
        struct manager_lease lease;
        int r = manager_list(bus, MANAGER_OWN, &reply);

        while (r >= 0 && (r = manager_next(reply, &lease)) > 0)
                ;
        return r;
}

static int read_all(const void *argument) {
        (void)argument;
        return with_bus(read_list);
}

static int deny_everything(sd_bus_message *call) {
        return sd_bus_reply_method_errorf(call, SD_BUS_ERROR_ACCESS_DENIED, "no");
}

START_TEST(denial_names_who_may_list) {
        bus_peer_start(deny_everything);
        ck_assert_int_eq(capture(read_all, NULL), 1);
        expect_errors("cannot list the leases");
        expect_errors("mountatd's group");
        bus_peer_start(refuse_everything);
        ck_assert_int_eq(capture(read_all, NULL), 1);
        expect_errors("cannot list the leases: not for you");
}
END_TEST

static int answer_nonsense(sd_bus_message *call) {
        return sd_bus_reply_method_return(call, "as", 1, "lease");
}

static int answer_another_number(sd_bus_message *call) {
        return sd_bus_reply_method_return(call, "a(tuussasta{sv})", 1, UINT64_C(1), 0, 0, "", "bus",
                                          0, UINT64_C(0), 1, "MountNamespace", "s", "text");
}

START_TEST(refuses_a_malformed_list) {
        bus_peer_serve *const serves[] = {answer_nonsense, answer_another_number,
                                          answer_older_list};

        for (size_t i = 0; i < N_ELEMENTS(serves); i++) {
                bus_peer_start(serves[i]);
                ck_assert_int_eq(capture(read_all, NULL), 1);
                expect_errors("mountatd's list");
        }
}
END_TEST

static int answer_many_names(sd_bus_message *call) {
        sd_bus_message *reply;

        peer_check(sd_bus_message_new_method_return(call, &reply) >= 0);
        peer_check(sd_bus_message_open_container(reply, 'a', "s") >= 0);
        for (int i = 0; i < 1000; i++)
                peer_check(sd_bus_message_append(reply, "s", "name") >= 0);
        peer_check(sd_bus_message_close_container(reply) >= 0);
        peer_check(sd_bus_message_append(reply, "u", 7) >= 0);
        return sd_bus_send(NULL, reply, NULL);
}

START_TEST(truncates_strings_and_reads_on) {
        MANAGER_BUS_AUTO sd_bus *bus = NULL;
        MANAGER_MESSAGE_AUTO sd_bus_message *call = NULL, *reply = NULL;
        char text[13];
        uint32_t after;

        bus_peer_start(answer_many_names);
        ck_assert_int_eq(manager_open(&bus), 0);
        ck_assert_int_eq(manager_prepare(bus, &call, "Names"), 0);
        ck_assert_int_eq(manager_call(bus, call, "cannot ask", &reply), 0);
        ck_assert_int_ge(manager_read_strings(reply, text, sizeof(text)), 0);
        ck_assert_str_eq(text, "name,name,na");
        ck_assert_int_gt(sd_bus_message_read(reply, "u", &after), 0);
        ck_assert_uint_eq(after, 7);
}
END_TEST

int main(void) {
        Suite *suite = suite_create("manager");
        TCase *tests = scripted_case(suite, "manager");

        tcase_add_test(tests, allows_password_dialogs);
        tcase_add_test(tests, reports_a_missing_bus);
        tcase_add_test(tests, error_says_what_failed_and_what_to_do);
        tcase_add_test(tests, unmounts_silently);
        tcase_add_test(tests, reports_a_lost_bus);
        tcase_add_test(tests, asks_for_the_managers_properties);
        tcase_add_test(tests, reads_each_lease);
        tcase_add_test(tests, allows_a_password_dialog_for_all_leases);
        tcase_add_test(tests, falls_back_to_the_older_method);
        tcase_add_test(tests, denial_names_who_may_list);
        tcase_add_test(tests, refuses_a_malformed_list);
        tcase_add_test(tests, truncates_strings_and_reads_on);
        return suite_run_all(suite);
}
