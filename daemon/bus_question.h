/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Questions about a caller, over the connection that the call came by: who he is, answered by the
 * bus; and whether he may, answered by polkit(8). He is named as on the bus: a pid could be another
 * process by then. Main thread; nothing here blocks.
 */

#include "common/status.h"
#include "daemon/policy.h"

#include <stdbool.h>
#include <systemd/sd-bus.h>

struct bus_question {
        sd_bus_message *call; /* borrowed; says whether an administrator may be asked */
        sd_bus_message_handler_t on_reply; /* reads the answer by one of the functions below */
        void *userdata;
        /* Of polkit alone: the action, and a detail for an administrator to read, whose value is
         * UTF-8 of bounded length; NULL: there is none. */
        const char *action, *detail, *value;
};

/* The caller owns `*slot`; unreferencing it withdraws the question. Negative errno: not asked. */
int bus_ask_who(const struct bus_question *question, sd_bus_slot **slot);

/* Uid and pid (0: unknown), TRUST_USER. Negative errno: the bus doesn't say. */
int bus_read_who(sd_bus_message *reply, struct subject *subject);

/* As bus_ask_who(). Polkit has ten seconds to answer, or two minutes if a person is asked. */
int bus_ask_polkit(const struct bus_question *question, sd_bus_slot **slot);

/*
 * STATUS_OK: the caller may. STATUS_NOT_AUTHORISED: he may not, or there is no polkit.
 * STATUS_LIMIT_EXCEEDED: polkit is busy, or doesn't answer. STATUS_HOST_FAILED: it can't tell.
 * `*challenge`: he may not, but if he allowed interaction, an administrator could be asked.
 */
struct verdict bus_judge_polkit(sd_bus_message *reply, bool *challenge);
