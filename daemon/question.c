/* SPDX-License-Identifier: Apache-2.0 */

/* Default deny: an answer that can't be read is none. */

#include "daemon/question.h"

#include "common/text.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum {
        QUESTION_ALLOW_INTERACTION = 1, /* CheckAuthorizationFlags of polkit */
};

/* For a person to type a password in; and for a program to answer. */
#define QUESTION_TIMEOUT_INTERACTIVE (120 * (uint64_t)1000000)
#define QUESTION_TIMEOUT (10 * (uint64_t)1000000)

/* ---- who is it? ---- */

int question_ask_bus(const struct question *question, sd_bus_slot **slot) {
        int r = sd_bus_call_method_async(sd_bus_message_get_bus(question->call), slot,
                                         "org.freedesktop.DBus", "/org/freedesktop/DBus",
                                         "org.freedesktop.DBus", "GetConnectionCredentials",
                                         question->on_reply, question->userdata, "s",
                                         sd_bus_message_get_sender(question->call));

        return r < 0 ? r : 0;
}

/* a{sv}, as the D-Bus specification has it. */
static int question_read_credential(sd_bus_message *reply, uint32_t *uid, uint32_t *pid) {
        const char *key;
        int r = sd_bus_message_read(reply, "s", &key);

        if (r < 0)
                return r;
        if (strcmp(key, "UnixUserID") == 0)
                return sd_bus_message_read(reply, "v", "u", uid);
        if (strcmp(key, "ProcessID") == 0)
                return sd_bus_message_read(reply, "v", "u", pid);
        return sd_bus_message_skip(reply, "v");
}

int question_read_bus(sd_bus_message *reply, struct subject *subject) {
        uint32_t uid = UINT32_MAX, pid = 0;
        int r;

        if (sd_bus_message_is_method_error(reply, NULL))
                return -sd_bus_message_get_errno(reply);
        r = sd_bus_message_enter_container(reply, 'a', "{sv}");
        while (r >= 0 && (r = sd_bus_message_enter_container(reply, 'e', "sv")) > 0) {
                r = question_read_credential(reply, &uid, &pid);
                if (r >= 0)
                        r = sd_bus_message_exit_container(reply);
        }
        if (r >= 0 && uid == UINT32_MAX)
                r = -ENODATA;
        if (r < 0)
                return r;
        *subject = (struct subject){.uid = uid, .pid = pid, .trust = TRUST_USER};
        return 0;
}

/* ---- may he? ---- */

static int question_append(sd_bus_message *message, const struct question *question,
                           const struct question_action *action, bool interactive) {
        int r = sd_bus_message_append(message, "(sa{sv})s", "system-bus-name", 1, "name", "s",
                                      sd_bus_message_get_sender(question->call), action->name);

        if (r >= 0 && action->value)
                r = sd_bus_message_append(message, "a{ss}", 1, action->detail, action->value);
        else if (r >= 0)
                r = sd_bus_message_append(message, "a{ss}", 0);
        if (r >= 0)
                r = sd_bus_message_append(message, "us",
                                          interactive ? QUESTION_ALLOW_INTERACTION : 0, "");
        return r;
}

int question_ask_polkit(const struct question *question, const struct question_action *action,
                        sd_bus_slot **slot) {
        sd_bus *bus = sd_bus_message_get_bus(question->call);
        bool interactive = sd_bus_message_get_allow_interactive_authorization(question->call) > 0;
        sd_bus_message *message = NULL;
        int r = sd_bus_message_new_method_call(bus, &message, "org.freedesktop.PolicyKit1",
                                               "/org/freedesktop/PolicyKit1/Authority",
                                               "org.freedesktop.PolicyKit1.Authority",
                                               "CheckAuthorization");

        if (r >= 0)
                r = question_append(message, question, action, interactive);
        if (r >= 0)
                r = sd_bus_call_async(bus, slot, message, question->on_reply, question->userdata,
                                      interactive ? QUESTION_TIMEOUT_INTERACTIVE
                                                  : QUESTION_TIMEOUT);
        sd_bus_message_unref(message);
        return r < 0 ? r : 0;
}

static struct verdict question_refuse(enum status status, const char *text) {
        struct verdict verdict = verdict_refuse(status, STATUS_NO_TARGET);

        snprintf(verdict.text, sizeof(verdict.text), "%s", text);
        return verdict;
}

/* Not on this bus, and can't be started. */
static bool question_finds_no_polkit(const sd_bus_error *error) {
        static const char spawn[] = "org.freedesktop.DBus.Error.Spawn.";
        static const char systemd[] = "org.freedesktop.systemd1."; /* NoSuchUnit, UnitMasked */

        return sd_bus_error_has_names(error, SD_BUS_ERROR_SERVICE_UNKNOWN,
                                      SD_BUS_ERROR_NAME_HAS_NO_OWNER) ||
               strncmp(error->name, spawn, sizeof(spawn) - 1) == 0 ||
               strncmp(error->name, systemd, sizeof(systemd) - 1) == 0;
}

/* Too many questions wait already, for the bus (max_replies_per_connection in dbus-daemon(1)), or
 * it leaves us without an answer. */
static bool question_finds_polkit_busy(const sd_bus_error *error) {
        return sd_bus_error_has_names(error, SD_BUS_ERROR_LIMITS_EXCEEDED, SD_BUS_ERROR_NO_REPLY,
                                      SD_BUS_ERROR_TIMEOUT, SD_BUS_ERROR_NO_MEMORY,
                                      SD_BUS_ERROR_DISCONNECTED);
}

static struct verdict question_judge_error(const sd_bus_error *error) {
        struct verdict verdict;
        char text[128];

        if (question_finds_no_polkit(error))
                return question_refuse(STATUS_NOT_AUTHORISED,
                                       "root alone may do this: there is no polkit to ask");
        if (question_finds_polkit_busy(error))
                return question_refuse(STATUS_LIMIT_EXCEEDED,
                                       "polkit is busy or doesn't answer: try again");
        verdict = verdict_refuse(STATUS_HOST_FAILED, STATUS_NO_TARGET);
        snprintf(verdict.text, sizeof(verdict.text), "polkit can't tell whether you may: %s",
                 text_abridge(text, sizeof(text), error->message ?: error->name));
        return verdict;
}

struct verdict question_judge_polkit(sd_bus_message *reply, bool *challenge) {
        const sd_bus_error *error = sd_bus_message_get_error(reply);
        int granted, may_be_asked;

        *challenge = false;
        if (error)
                return question_judge_error(error);
        if (sd_bus_message_enter_container(reply, 'r', "bba{ss}") < 0 ||
            sd_bus_message_read(reply, "bb", &granted, &may_be_asked) < 0)
                return question_refuse(STATUS_HOST_FAILED,
                                       "polkit's answer isn't to be understood");
        if (granted)
                return VERDICT_OK;
        *challenge = may_be_asked;
        return question_refuse(STATUS_NOT_AUTHORISED,
                               "polkit doesn't allow you to do this: ask an administrator");
}
