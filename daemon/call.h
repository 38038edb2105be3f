/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A call of a method of org.mountat1.Manager, on its way from the bus and back: who calls, and
 * whether he may, is asked asynchronously; then the method is run on a thread, and what came of it
 * is the reply. Nothing here waits; all functions are for the main thread.
 *
 * Arguments are judged before they are copied, and the message itself isn't kept: what a caller can
 * make the daemon remember is some kilobytes for each call, and calls are counted. As every request
 * a call is counted and logged once, by request_serve() or here.
 */

#include "daemon/calls.h"

enum {
        CALL_SECONDS = 20, /* since it is authorised; below the 25 that callers wait */
};

/* Whether that user may call it without being asked for consent; `others`: the lease in question is
 * somebody else's. Pure. */
bool call_is_free(const struct call_method *method, uid_t uid, bool others);

/* A call of that method has come: as a sd_bus_message_handler_t. */
int call_begin(struct calls *calls, struct sd_bus_message *message,
               const struct call_method *method);

/* Runs what may be run by now, and when the daemon is stopping refuses the others; after each turn
 * of the loop. */
void calls_turn(struct calls *calls);

/* Answers those that a file system keeps waiting; every 100 ms or so. What they do is undone. */
void calls_tick(struct calls *calls);

/* The connection is gone: forgets the calls that aren't being run. */
void calls_forget(struct calls *calls);

/* For the end: answers all calls, and any that come yet, with STATUS_SHUTTING_DOWN. */
void calls_close(struct calls *calls);
