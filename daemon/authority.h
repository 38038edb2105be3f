/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Who may call what over D-Bus: one table, and the question to polkit where it says so. What the
 * bus policy (org.mountat1.conf) lets through at all comes before, the rules for targets (policy.h)
 * come after. On the bus's thread; nothing here blocks.
 */

#include "daemon/ledger.h"

#include <stdbool.h>
#include <systemd/sd-bus.h>

enum authority_who {
        AUTHORITY_CALLER,        /* everybody whom the bus policy lets through */
        AUTHORITY_HOLDER,        /* who holds the lease; else as an administrator */
        AUTHORITY_ADMINISTRATOR, /* root, or who passes the polkit action */
        AUTHORITY_OWN,           /* everybody for his own; for all, as an administrator */
};

struct authority_rule {
        const char *member;
        enum authority_who who;
        const char *action; /* of polkit; NULL: root alone */
};

/* The rule of that method; NULL: there is none, so the call is refused. Pure. */
const struct authority_rule *authority_rule(const char *member);

enum authority_verdict {
        AUTHORITY_USER,    /* as the user who calls */
        AUTHORITY_TRUSTED, /* free of the owner's rule, and of whose lease it is */
        AUTHORITY_ASK,     /* polkit decides */
};

/* What the rule means for a caller; `holds`: the lease in question is the caller's own. Pure. */
enum authority_verdict authority_judge(const struct authority_rule *rule, uid_t uid, bool holds);

/* What polkit is told besides, for the administrator to read. */
struct authority_detail {
        const char *key;
        const char *value; /* UTF-8; NULL: none */
};

enum authority_answer {
        AUTHORITY_GRANTED,
        AUTHORITY_DENIED,
        AUTHORITY_CHALLENGE, /* denied, but an administrator could be asked: interaction */
        AUTHORITY_ABSENT,    /* nobody to ask: no polkit on this bus, or it failed */
};

/*
 * Asks polkit about the sender of `call`, by its bus name: never by a pid, which can be another
 * process' by the time of the question. `on_reply` gets the message for authority_read(). The
 * caller owns `*slot`; unreferencing it takes the question back. Negative errno: not asked.
 */
int authority_ask(sd_bus_message *call, const struct authority_rule *rule,
                  const struct authority_detail *detail, sd_bus_message_handler_t on_reply,
                  void *userdata, sd_bus_slot **slot);

enum authority_answer authority_read(sd_bus_message *reply);
