/* SPDX-License-Identifier: Apache-2.0 */

/* Default deny: a method without a row, an answer that can't be read, a polkit that isn't there. */

#include "daemon/authority.h"

#include <string.h>

enum {
        AUTHORITY_ALLOW_INTERACTION = 1, /* CheckAuthorizationFlags of polkit */
};

/* For a person to type a password in; and for a program to answer. */
#define AUTHORITY_TIMEOUT_INTERACTIVE (120 * (uint64_t)1000000)
#define AUTHORITY_TIMEOUT (10 * (uint64_t)1000000)

static const struct authority_rule authority_rules[] = {
        {"Mount", AUTHORITY_CALLER, NULL},
        {"Unmount", AUTHORITY_HOLDER, "org.mountat1.unmount-others"},
        {"MountPath", AUTHORITY_ADMINISTRATOR, "org.mountat1.mount"},
        {"UnmountPath", AUTHORITY_ADMINISTRATOR, "org.mountat1.unmount"},
        {"ListLeases", AUTHORITY_OWN, "org.mountat1.list-others"},
};

const struct authority_rule *authority_rule(const char *member) {
        for (size_t i = 0; i < sizeof(authority_rules) / sizeof(authority_rules[0]); i++)
                if (strcmp(authority_rules[i].member, member) == 0)
                        return &authority_rules[i];
        return NULL;
}

enum authority_verdict authority_judge(const struct authority_rule *rule, uid_t uid, bool holds) {
        if (uid == 0)
                return AUTHORITY_TRUSTED;
        if (rule->who == AUTHORITY_CALLER || (rule->who == AUTHORITY_HOLDER && holds))
                return AUTHORITY_USER;
        return AUTHORITY_ASK;
}

static int authority_append(sd_bus_message *question, sd_bus_message *call,
                            const struct authority_rule *rule,
                            const struct authority_detail *detail) {
        bool interactive = sd_bus_message_get_allow_interactive_authorization(call) > 0;
        int r = sd_bus_message_append(question, "(sa{sv})s", "system-bus-name", 1, "name", "s",
                                      sd_bus_message_get_sender(call), rule->action);

        if (r >= 0 && detail->value)
                r = sd_bus_message_append(question, "a{ss}", 1, detail->key, detail->value);
        else if (r >= 0)
                r = sd_bus_message_append(question, "a{ss}", 0);
        if (r >= 0)
                r = sd_bus_message_append(question, "us",
                                          interactive ? AUTHORITY_ALLOW_INTERACTION : 0, "");
        return r;
}

int authority_ask(sd_bus_message *call, const struct authority_rule *rule,
                  const struct authority_detail *detail, sd_bus_message_handler_t on_reply,
                  void *userdata, sd_bus_slot **slot) {
        sd_bus *bus = sd_bus_message_get_bus(call);
        sd_bus_message *question = NULL;
        int r = sd_bus_message_new_method_call(bus, &question, "org.freedesktop.PolicyKit1",
                                               "/org/freedesktop/PolicyKit1/Authority",
                                               "org.freedesktop.PolicyKit1.Authority",
                                               "CheckAuthorization");

        if (r >= 0)
                r = authority_append(question, call, rule, detail);
        if (r >= 0)
                r = sd_bus_call_async(bus, slot, question, on_reply, userdata,
                                      sd_bus_message_get_allow_interactive_authorization(call) > 0
                                              ? AUTHORITY_TIMEOUT_INTERACTIVE
                                              : AUTHORITY_TIMEOUT);
        sd_bus_message_unref(question);
        return r < 0 ? r : 0;
}

enum authority_answer authority_read(sd_bus_message *reply) {
        int granted, challenge;

        if (sd_bus_message_is_method_error(reply, NULL) ||
            sd_bus_message_enter_container(reply, 'r', "bba{ss}") < 0 ||
            sd_bus_message_read(reply, "bb", &granted, &challenge) < 0)
                return AUTHORITY_ABSENT;
        if (granted)
                return AUTHORITY_GRANTED;
        return challenge ? AUTHORITY_CHALLENGE : AUTHORITY_DENIED;
}
