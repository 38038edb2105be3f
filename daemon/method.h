/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the methods of org.mountat1.Manager take, do and give, each a row of one table. Whatever
 * mounts or unmounts does so by request_serve(), as every request from the socket.
 */

#include "daemon/listing.h"
#include "daemon/request.h"

#include <systemd/sd-bus.h>

/* One call's share of it. */
struct method_task {
        struct request_gate *gate;  /* borrowed */
        struct ledger_owner *owner; /* borrowed */

        /* What is asked for. */
        struct wire_request wire;
        struct verdict decoded;
        struct fdpass_set fds; /* of Mount: the message's; of MountPath: the worker's */
        const char *path;      /* the message's; NULL: none */
        enum listing_scope scope;

        /* What came of it. */
        struct wire_reply answer;
        struct listing listing; /* owned */
};

enum method_turn {
        METHOD_AT_ONCE,
        METHOD_ATTEMPT, /* `run` can block on what the caller names: see ledger_begin_attempt() */
        METHOD_ALONE,   /* what comes of it can be large: of all such calls one at a time */
};

struct method {
        const char *member;
        enum method_turn turn; /* when it may be run */

        /*
         * The bus's thread: reads the arguments, of which strings and descriptors stay the
         * message's. What is malformed is a verdict; negative errno: the message can't be read.
         */
        int (*read)(struct method_task *task, sd_bus_message *message);
        /* On a worker, as request_serve(). */
        void (*run)(struct method_task *task);
        /* The bus's thread, after STATUS_OK. */
        int (*reply)(const struct method_task *task, sd_bus_message *reply);
};

/* NULL: there is none. */
const struct method *method_find(const char *member);

/* The task becomes that of unmounting `lease`, to be run by the method that is returned. */
const struct method *method_unmount(struct method_task *task, uint64_t lease);
