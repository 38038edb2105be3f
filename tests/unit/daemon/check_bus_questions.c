/* SPDX-License-Identifier: Apache-2.0 */

/* The meaning of the replies of the bus and of polkit: default deny, and busy isn't absent. */

#include "daemon/bus_question.h"
#include "tests/test.h"

#include <errno.h>
#include <string.h>

/* Never connected: messages need a bus to belong to. */
static sd_bus *bus;
static sd_bus_message *call;

static void setup(void) {
        ck_assert_int_ge(sd_bus_new(&bus), 0);
        ck_assert_int_ge(sd_bus_set_address(bus, "unix:path=/dev/null/nowhere"), 0);
        ck_assert_int_ge(sd_bus_set_watch_bind(bus, true), 0);
        sd_bus_start(bus);
        ck_assert_int_ge(sd_bus_message_new_method_call(bus, &call, NULL, "/", NULL, "X"), 0);
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

static struct verdict judge_error(const char *name, const char *message) {
        const sd_bus_error error = SD_BUS_ERROR_MAKE_CONST(name, message);
        sd_bus_message *reply = NULL;
        struct verdict verdict;
        bool challenge = true;

        ck_assert_int_ge(sd_bus_message_new_method_error(call, &reply, &error), 0);
        verdict = judge(reply, &challenge);
        ck_assert(!challenge);
        return verdict;
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
        return SUITE_RUN("bus_questions", grants_what_polkit_grants_alone,
                         takes_no_other_answer_for_a_yes, busy_is_not_absent,
                         reads_who_it_is_from_the_bus, knows_nobody_by_an_error);
}
