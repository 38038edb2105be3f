/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the sender of a call may be asked about, over the connection that the call came by: who he
 * is, of the bus, and whether he may, of polkit(8). By his name on the bus: a pid could be another
 * process' by then. Answers come later. On the main thread; nothing here blocks.
 */

#include "common/status.h"
#include "daemon/policy.h"

#include <stdbool.h>
#include <systemd/sd-bus.h>

struct question {
        sd_bus_message *call;              /* borrowed */
        sd_bus_message_handler_t on_reply; /* gets the answer, to be read by the functions below */
        void *userdata;
};

/* The caller owns `*slot`; unreferencing it takes the question back. Negative errno: not asked. */
int question_ask_bus(const struct question *question, sd_bus_slot **slot);

/* The sender's uid and pid (0: unknown), not trusted. Negative errno: the bus doesn't say. */
int question_read_bus(sd_bus_message *reply, struct subject *subject);

struct question_action {
        const char *name;
        /* For the administrator to read; of NULL there is none. UTF-8 that has been judged: the bus
         * drops the connection of whoever sends more than 32 MiB. */
        const char *detail;
        const char *value;
};

/* As question_ask_bus(). A person who must type a password has two minutes. */
int question_ask_polkit(const struct question *question, const struct question_action *action,
                        sd_bus_slot **slot);

/*
 * STATUS_OK: the sender may. STATUS_NOT_AUTHORISED: he may not, or there is no polkit to ask.
 * STATUS_LIMIT_EXCEEDED: polkit is busy, or doesn't answer. STATUS_HOST_FAILED: it can't tell.
 * `*challenge`: he may not, but if he allowed interaction, an administrator could be asked.
 */
struct verdict question_judge_polkit(sd_bus_message *reply, bool *challenge);
