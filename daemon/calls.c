/* SPDX-License-Identifier: Apache-2.0 */

/* There are some hundreds at most, and counting them is cheaper than keeping counts right. */

#include "daemon/calls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct verdict calls_refuse(enum status status, const char *text) {
        struct verdict verdict = verdict_refuse(status, STATUS_NO_TARGET);

        snprintf(verdict.text, sizeof(verdict.text), "%s", text);
        return verdict;
}

struct verdict calls_admit(const struct calls *calls, const char *sender) {
        unsigned of_sender = 0, unidentified = 0;
        const struct call *call;

        if (calls->closed)
                return calls_refuse(STATUS_SHUTTING_DOWN, "mountatd is stopping");
        TAILQ_FOREACH(call, &calls->running, entry)
        of_sender += strcmp(call->sender, sender) == 0;
        TAILQ_FOREACH(call, &calls->pending, entry) {
                of_sender += strcmp(call->sender, sender) == 0;
                unidentified += call->state == CALL_IDENTIFYING;
        }
        if (of_sender >= CALLS_PER_SENDER_MAX)
                return calls_refuse(STATUS_LIMIT_EXCEEDED,
                                    "too many of your calls are under way: wait for their answers");
        if (unidentified >= CALLS_UNIDENTIFIED_MAX)
                return calls_refuse(STATUS_LIMIT_EXCEEDED,
                                    "too many calls are under way: try again");
        return VERDICT_OK;
}

static bool call_is_of(const struct call *call, uid_t uid) {
        return call->task.holder.subject.uid == uid;
}

struct verdict calls_admit_question(const struct calls *calls, uid_t uid) {
        unsigned count = 0, of_user = 0;
        const struct call *call;

        TAILQ_FOREACH(call, &calls->pending, entry)
        if (call->state == CALL_AUTHORISING && call->question) {
                count++;
                of_user += call_is_of(call, uid);
        }
        if (of_user >= CALLS_QUESTIONS_PER_USER_MAX)
                return calls_refuse(STATUS_LIMIT_EXCEEDED,
                                    "too many of your calls wait for polkit: wait for their "
                                    "answers");
        if (count >= CALLS_QUESTIONS_MAX)
                return calls_refuse(STATUS_LIMIT_EXCEEDED,
                                    "too many calls wait for polkit: try again");
        return VERDICT_OK;
}

/* ---- whose turn it is ---- */

static unsigned calls_count_running(const struct calls *calls, unsigned traits) {
        const struct call *call;
        unsigned count = 0;

        TAILQ_FOREACH(call, &calls->running, entry)
        count += (call->method->traits & traits) == traits;
        return count;
}

static unsigned calls_count_running_of(const struct calls *calls, unsigned traits, uid_t uid) {
        const struct call *call;
        unsigned count = 0;

        TAILQ_FOREACH(call, &calls->running, entry)
        count += (call->method->traits & traits) == traits && call_is_of(call, uid);
        return count;
}

static bool calls_may_run(const struct calls *calls, const struct call *call) {
        unsigned traits = call->method->traits;

        if (call->state != CALL_WAITING)
                return false;
        if ((traits & CALL_IS_LARGE) && calls_count_running(calls, CALL_IS_LARGE) > 0)
                return false;
        return !(traits & CALL_FOLLOWS_PATH) ||
               (calls_count_running(calls, CALL_FOLLOWS_PATH) < CALLS_ON_PATHS_MAX &&
                calls_count_running_of(calls, CALL_FOLLOWS_PATH, call->task.holder.subject.uid) <
                        CALLS_ON_PATHS_PER_USER_MAX);
}

struct call *calls_next(const struct calls *calls, unsigned without) {
        struct call *call, *next = NULL;
        unsigned fewest = CALLS_RUNNING_MAX;

        if (calls_count_running(calls, 0) >= CALLS_RUNNING_MAX)
                return NULL;
        TAILQ_FOREACH(call, &calls->pending, entry) {
                unsigned running;

                if ((call->method->traits & without) || !calls_may_run(calls, call))
                        continue;
                running = calls_count_running_of(calls, 0, call->task.holder.subject.uid);
                if (running < fewest) {
                        next = call;
                        fewest = running;
                }
        }
        return next;
}

/* ---- all of them ---- */

bool calls_are_none(const struct calls *calls) {
        return TAILQ_EMPTY(&calls->pending) && TAILQ_EMPTY(&calls->running);
}

struct calls *calls_new(struct context *context, struct threads *threads) {
        struct calls *calls = calloc(1, sizeof(*calls));

        if (!calls)
                return NULL;
        calls->context = context;
        calls->threads = threads;
        TAILQ_INIT(&calls->pending);
        TAILQ_INIT(&calls->running);
        return calls;
}

struct calls *calls_free(struct calls *calls) {
        static struct calls *left; /* what threads still use is no leak */

        if (!calls)
                return NULL;
        calls->freed = true;
        if (!TAILQ_EMPTY(&calls->running)) {
                left = calls;
                return NULL;
        }
        if (left == calls)
                left = NULL;
        free(calls);
        return NULL;
}
