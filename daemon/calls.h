/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The calls of methods of org.mountat1.Manager that are under way: how many there may be, and whose
 * turn it is. What is done with one is call.h's matter. Main thread; nothing here blocks.
 */

#include "daemon/method.h"
#include "daemon/thread.h"

#include <stdbool.h>
#include <sys/queue.h>
#include <time.h>

struct sd_bus_message;
struct sd_bus_slot;

enum {
        CALLS_PER_SENDER_MAX = 32,
        CALLS_UNIDENTIFIED_MAX = 256, /* of all senders, while the bus is asked who they are; from
                                         then on QUOTA_CALLS is the limit */
        CALLS_QUESTIONS_MAX = 64, /* to polkit; dbus-daemon lets a connection have 128 unanswered */
        CALLS_QUESTIONS_PER_USER_MAX = 8,
        CALLS_RUNNING_MAX = 8, /* threads */
        /* Of those: that follow paths, perhaps to where they get stuck. Others can still be run. */
        CALLS_ON_PATHS_MAX = 6,
        CALLS_ON_PATHS_PER_USER_MAX = 3,
};

enum call_trait {
        CALL_OWN_IS_FREE = 1 << 0, /* no consent is needed for a lease that isn't somebody else's */
        CALL_SHOWS_OWN = 1 << 1,   /* without consent it is about the caller's own leases alone */
        CALL_FOLLOWS_PATH = 1 << 2,
        CALL_IS_LARGE = 1 << 3, /* its reply: one at a time */
};

/* What a method takes, who may call it, what it does and gives. */
struct call_method {
        const char *member;
        const char *action; /* of polkit, for callers other than root */
        unsigned traits;
        /* Copies the arguments; a verdict on them other than STATUS_OK is the reply. Negative
         * errno: the message can't be read. */
        int (*read)(struct sd_bus_message *message, struct method_task *task,
                    struct verdict *verdict);
        void (*run)(struct method_task *task); /* on a thread */
        int (*reply)(struct sd_bus_message *reply, const struct method_task *task);
};

enum call_state {
        CALL_IDENTIFYING, /* the bus is asked who calls */
        CALL_AUTHORISING, /* polkit is asked; from here on it is charged to the user */
        CALL_WAITING,     /* for a thread */
        CALL_RUNNING,     /* the task is the thread's, but for whose it is */
};

struct call {
        struct job job; /* first: a job is its call */
        TAILQ_ENTRY(call) entry;
        struct calls *calls;
        const struct call_method *method;
        struct sd_bus_message *asked; /* what is replied to; owned */
        const char *sender;           /* the message's */
        struct sd_bus_slot *question; /* to the bus or polkit; owned */
        enum call_state state;
        bool answered;
        bool told;    /* what came of it, not that it was given up */
        time_t since; /* CLOCK_MONOTONIC: that it waits or runs */
        struct method_task task;
};

TAILQ_HEAD(call_list, call);

struct calls {
        struct context *context;
        struct threads *threads;
        struct call_list pending; /* in the order in which they came */
        struct call_list running;
        bool closed; /* every call is refused */
        bool freed;  /* but for those that are being run */
};

/* Both are borrowed. NULL: out of memory. */
struct calls *calls_new(struct context *context, struct threads *threads);

/* None may be pending. Those that are being run stay behind, and the last frees the rest.
 * NULL-safe.
 */
struct calls *calls_free(struct calls *calls);

bool calls_are_none(const struct calls *calls);

/* Whether there may be one call more of that sender, on the bus. */
struct verdict calls_admit(const struct calls *calls, const char *sender);

/* Whether one question more may be asked of polkit, about that user. */
struct verdict calls_admit_question(const struct calls *calls, uid_t uid);

/*
 * The one to be run next: of those that wait and may be run, but for such as have one of the traits
 * `without`, the oldest one whose user has the fewest that are being run. NULL: none.
 */
struct call *calls_next(const struct calls *calls, unsigned without);
