/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Questions about the caller of a method, over the connection of the call: who it is, answered by
 * the bus; whether it is authorised, answered by polkit(8). The caller is identified by its bus
 * name, since its pid may be reused. Main thread; nothing here blocks.
 */

#include "common/status.h"
#include "daemon/policy.h"

#include <stdbool.h>
#include <systemd/sd-bus.h>

struct bus_question {
        sd_bus_message *call; /* borrowed; says whether an administrator may be asked */
        sd_bus_message_handler_t on_reply; /* parses the reply with a function below */
        void *userdata;
        /*
         * For polkit only: the action, and a detail shown to the administrator, whose value is
         * UTF-8 of bounded length; NULL: no detail.
         */
        const char *action, *detail, *value;
};

/* The caller owns `*slot`; unreferencing it cancels the question. Negative errno: not asked. */
int bus_ask_who(const struct bus_question *question, sd_bus_slot **slot);

/* Returns uid and pid (0: unknown), as TRUST_USER. Negative errno: the bus doesn't know. */
int bus_read_who(sd_bus_message *reply, struct subject *subject);

/* As bus_ask_who(). Polkit has ten seconds to answer, or two minutes if it asks a person. */
int bus_ask_polkit(const struct bus_question *question, sd_bus_slot **slot);

/*
 * STATUS_OK: the caller is authorised. STATUS_NOT_AUTHORISED: it isn't, or there is no polkit.
 * STATUS_LIMIT_EXCEEDED: polkit is busy, or doesn't answer. STATUS_HOST_FAILED: polkit failed.
 * `*challenge`: it isn't, but an administrator could be asked if the call allowed interaction.
 */
struct verdict bus_judge_polkit(sd_bus_message *reply, bool *challenge);
