/* SPDX-License-Identifier: Apache-2.0 */

/*
 * In place of a call's message, with its body of up to 32 MiB, a stand-in is kept: an empty call of
 * the same sender and cookie, to which a reply is made like to the other. It belongs to the same
 * connection, so that nobody is answered on the next one.
 */

#include "daemon/call.h"

#include "daemon/log.h"
#include "daemon/question.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CALL_STOPPING "mountatd is stopping"
#define CALL_UNIDENTIFIED ((uid_t)-1) /* whose call it is */

static time_t call_now(void) {
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return now.tv_sec;
}

static const struct subject *call_subject(const struct call *call) {
        return &call->task.holder.subject;
}

static struct verdict call_refusal(enum status status, const char *text) {
        struct verdict verdict = verdict_refuse(status, STATUS_NO_TARGET);

        snprintf(verdict.text, sizeof(verdict.text), "%s", text);
        return verdict;
}

/* ---- answering ---- */

/* "not-a-directory" becomes "org.mountat1.Error.NotADirectory". */
static void call_error_name(uint32_t status, char *name, size_t size) {
        size_t used = snprintf(name, size, "org.mountat1.Error.");
        bool upper = true;

        for (const char *from = status_name(status); *from && used + 1 < size; from++) {
                if (*from != '-')
                        name[used++] = upper ? toupper(*from) : *from;
                upper = *from == '-';
        }
        name[used] = '\0';
}

static const char *call_sentence(const struct verdict *verdict) {
        return verdict->text[0] ? verdict->text : status_sentence(verdict->status);
}

static void call_log(const struct call *call, const struct verdict *verdict) {
        const struct log_subject subject = {
                .event = LOG_EVENT_REFUSED,
                .has_peer = call_subject(call)->uid != CALL_UNIDENTIFIED,
                .uid = call_subject(call)->uid,
                .pid = call_subject(call)->pid,
                .operation = call->method->member,
                .lease = call->task.root ? 0 : call->task.request.wire.lease, /* the thread's */
                .target = call->task.root,
        };

        log_write_limited(verdict->status == STATUS_HOST_FAILED ? LOG_WARNING : LOG_INFO, &subject,
                          "%s", call_sentence(verdict));
}

/* What request_serve() has not refused. The bus may be gone by now: nobody is left to tell. */
static void call_refuse(struct call *call, const struct verdict *verdict) {
        char name[64];

        call_log(call, verdict);
        atomic_fetch_add_explicit(&call->calls->context->failures_total, 1, memory_order_relaxed);
        call_error_name(verdict->status, name, sizeof(name));
        sd_bus_reply_method_errorf(call->asked, name, "%s", call_sentence(verdict));
        call->answered = true;
}

static void call_answer_refusal(const struct call *call) {
        const struct request *request = &call->task.request;
        const char *target = "";
        char name[64];

        if (request->reply.target < request->wire.n_targets)
                target = request->wire.targets[request->reply.target].file_system == PROTOCOL_PROC
                                 ? "proc: "
                                 : "sys: ";
        call_error_name(request->reply.status, name, sizeof(name));
        sd_bus_reply_method_errorf(call->asked, name, "%s%s", target, request->reply.text);
}

static void call_answer(struct call *call) {
        sd_bus_message *reply = NULL;
        int r;

        call->answered = true;
        if (call->task.request.reply.status != STATUS_OK) {
                call_answer_refusal(call);
                return;
        }
        r = sd_bus_message_new_method_return(call->asked, &reply);
        if (r >= 0)
                r = call->method->reply(reply, &call->task);
        if (r >= 0)
                r = sd_bus_send(NULL, reply, NULL);
        if (r < 0)
                sd_bus_reply_method_errno(call->asked, r, NULL);
        sd_bus_message_unref(reply);
        call->told = r >= 0;
}

/* ---- a call's life ---- */

/* The original's sender, cookie and flags. */
static int call_stand_in(sd_bus_message *original, sd_bus_message **ret) {
        sd_bus_message *message = NULL;
        uint64_t cookie = 0;
        int r = sd_bus_message_get_cookie(original, &cookie);

        if (r >= 0)
                r = sd_bus_message_new_method_call(sd_bus_message_get_bus(original), &message, NULL,
                                                   sd_bus_message_get_path(original), NULL,
                                                   sd_bus_message_get_member(original));
        if (r >= 0)
                r = sd_bus_message_set_sender(message, sd_bus_message_get_sender(original));
        if (r >= 0)
                r = sd_bus_message_set_expect_reply(message,
                                                    sd_bus_message_get_expect_reply(original) > 0);
        if (r >= 0)
                r = sd_bus_message_set_allow_interactive_authorization(
                        message, sd_bus_message_get_allow_interactive_authorization(original) > 0);
        if (r >= 0)
                r = sd_bus_message_seal(message, cookie, 0);
        if (r < 0) {
                sd_bus_message_unref(message);
                return r;
        }
        *ret = message;
        return 0;
}

static int call_new(struct calls *calls, sd_bus_message *message, const struct call_method *method,
                    struct call **ret) {
        struct call *call = calloc(1, sizeof(*call));
        int r;

        if (!call)
                return -ENOMEM;
        r = call_stand_in(message, &call->asked);
        if (r < 0) {
                free(call);
                return r;
        }
        call->calls = calls;
        call->method = method;
        call->sender = sd_bus_message_get_sender(call->asked);
        call->task.context = calls->context;
        call->task.holder.subject.uid = CALL_UNIDENTIFIED;
        TAILQ_INSERT_TAIL(&calls->pending, call, entry);
        *ret = call;
        return 0;
}

static void call_end(struct call *call) {
        if (call->state == CALL_RUNNING)
                TAILQ_REMOVE(&call->calls->running, call, entry);
        else
                TAILQ_REMOVE(&call->calls->pending, call, entry);
        if (call->state > CALL_IDENTIFYING)
                quota_return(call->calls->context->quota, call_subject(call)->uid, QUOTA_CALLS, 1);
        method_task_clear(&call->task);
        sd_bus_slot_unref(call->question);
        sd_bus_message_unref(call->asked);
        free(call);
}

static void call_drop(struct call *call, const struct verdict *verdict) {
        if (!call->answered)
                call_refuse(call, verdict);
        call_end(call);
}

/* calls_turn() does the rest. */
static void call_wait(struct call *call) {
        call->state = CALL_WAITING;
        call->since = call_now();
}

/* ---- on a thread, and afterwards ---- */

static void call_run(struct job *job) {
        struct call *call = (struct call *)job;

        call->method->run(&call->task);
}

/* Granted after its caller was given up, or when the bus was gone: nobody knows the lease. */
static bool call_is_to_be_undone(const struct call *call) {
        const struct request *request = &call->task.request;

        return !call->told && request->wire.operation == PROTOCOL_MOUNT &&
               request->reply.status == STATUS_OK && request->reply.lease != 0;
}

static void call_undo(struct call *call) {
        static const struct call_method undo = {.member = "undo", .run = method_take_back};

        call->method = &undo;
        call->told = true; /* there will be nothing to undo of that */
        TAILQ_REMOVE(&call->calls->running, call, entry);
        TAILQ_INSERT_HEAD(&call->calls->pending, call, entry);
        call_wait(call);
}

static void call_done(struct job *job) {
        struct call *call = (struct call *)job;
        struct calls *calls = call->calls;

        if (job->error < 0 && !call->answered) {
                const struct verdict verdict = verdict_host_failed(job->error, STATUS_NO_TARGET);

                call_refuse(call, &verdict);
        } else if (!call->answered)
                call_answer(call);
        if (job->error == 0 && !calls->closed && call_is_to_be_undone(call))
                call_undo(call);
        else
                call_end(call);
        if (calls->freed)
                calls_free(calls);
}

/* ---- may the caller? ---- */

bool call_is_free(const struct call_method *method, uid_t uid, bool others) {
        return uid == 0 || ((method->traits & CALL_OWN_IS_FREE) && !others);
}

static void call_judge(struct call *call, const struct verdict *verdict, bool challenge) {
        if (verdict->status == STATUS_OK)
                call->task.holder.subject.trust = TRUST_ADMINISTRATOR;
        if (verdict->status == STATUS_OK || (call->method->traits & CALL_SHOWS_OWN)) {
                call_wait(call);
                return;
        }
        if (challenge) {
                call_log(call, verdict);
                sd_bus_reply_method_errorf(call->asked,
                                           SD_BUS_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED,
                                           "%s needs an administrator's consent: ask again, and "
                                           "allow interaction",
                                           call->method->action);
                call->answered = true;
        }
        call_drop(call, verdict);
}

static int call_on_consent(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        struct call *call = userdata;
        struct verdict verdict;
        bool challenge;

        (void)error;
        call->question = sd_bus_slot_unref(call->question);
        verdict = question_judge_polkit(reply, &challenge);
        call_judge(call, &verdict, challenge);
        return 0;
}

/* With what it is about, for an administrator to read: a directory or a lease; of a list, neither.
 */
static void call_ask_for_consent(struct call *call) {
        const struct question question = {call->asked, call_on_consent, call};
        struct question_action action = {call->method->action, "root", call->task.root};
        struct verdict verdict = calls_admit_question(call->calls, call_subject(call)->uid);
        char lease[17];
        int r;

        if (verdict.status != STATUS_OK) {
                call_judge(call, &verdict, false);
                return;
        }
        if (call->task.request.wire.lease != 0) {
                snprintf(lease, sizeof(lease), "%016" PRIx64, call->task.request.wire.lease);
                action.detail = "lease";
                action.value = lease;
        }
        r = question_ask_polkit(&question, &action, &call->question);
        if (r < 0) {
                verdict = verdict_host_failed(r, STATUS_NO_TARGET);
                call_judge(call, &verdict, false);
        }
}

static void call_authorise(struct call *call) {
        struct subject *subject = &call->task.holder.subject;
        /* What is nobody's is no secret: the method says so. */
        bool others = leases_is_others(call->calls->context->leases, call->task.request.wire.lease,
                                       subject->uid);

        subject->trust = subject->uid == 0 ? TRUST_ADMINISTRATOR : TRUST_USER;
        if (call_is_free(call->method, subject->uid, others))
                call_wait(call);
        else
                call_ask_for_consent(call);
}

/* ---- who is it? ---- */

static int call_on_credentials(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        struct call *call = userdata;
        struct verdict verdict;

        (void)error;
        call->question = sd_bus_slot_unref(call->question);
        if (question_read_bus(reply, &call->task.holder.subject) < 0)
                verdict = call_refusal(STATUS_NOT_AUTHORISED, "the bus doesn't say who you are");
        else
                verdict = quota_charge(call->calls->context->quota, call_subject(call)->uid,
                                       QUOTA_CALLS, 1);
        if (verdict.status != STATUS_OK) {
                call_drop(call, &verdict);
                return 0;
        }
        call->state = CALL_AUTHORISING;
        call_authorise(call);
        return 0;
}

/* ---- all calls ---- */

int call_begin(struct calls *calls, sd_bus_message *message, const struct call_method *method) {
        struct verdict verdict = calls_admit(calls, sd_bus_message_get_sender(message));
        struct question question;
        struct call *call;
        int r = call_new(calls, message, method, &call);

        if (r < 0)
                return r;
        if (verdict.status == STATUS_OK)
                r = method->read(message, &call->task, &verdict);
        if (r >= 0 && verdict.status == STATUS_OK) {
                question = (struct question){call->asked, call_on_credentials, call};
                r = question_ask_bus(&question, &call->question);
        }
        if (r < 0)
                call_end(call);
        else if (verdict.status != STATUS_OK)
                call_drop(call, &verdict);
        return r < 0 ? r : 1;
}

static void call_give_up(struct call *call, const struct verdict *verdict) {
        if (call->answered)
                return;
        call_refuse(call, verdict);
        leases_abandon(call->calls->context->leases, &call->task.holder);
}

void calls_tick(struct calls *calls) {
        const struct verdict verdict = call_refusal(
                STATUS_HOST_FAILED, "a file system doesn't answer, or mountatd is overloaded");
        time_t before = call_now() - CALL_SECONDS;
        struct call *call, *next;

        for (call = TAILQ_FIRST(&calls->pending); call; call = next) {
                next = TAILQ_NEXT(call, entry);
                if (call->state == CALL_WAITING && call->since <= before && !call->answered)
                        call_drop(call, &verdict);
        }
        TAILQ_FOREACH(call, &calls->running, entry)
        if (call->since <= before)
                call_give_up(call, &verdict);
}

/* But what is to be undone. */
void calls_forget(struct calls *calls) {
        struct call *call, *next;

        for (call = TAILQ_FIRST(&calls->pending); call; call = next) {
                next = TAILQ_NEXT(call, entry);
                if (!call->answered)
                        call_end(call);
        }
}

/* What is to be undone goes with all that is kept. */
static void calls_refuse_pending(struct calls *calls, const struct verdict *verdict) {
        struct call *call;

        calls->closed = true;
        while ((call = TAILQ_FIRST(&calls->pending)))
                call_drop(call, verdict);
}

void calls_close(struct calls *calls) {
        const struct verdict verdict = call_refusal(STATUS_SHUTTING_DOWN, CALL_STOPPING);
        struct call *call;

        calls_refuse_pending(calls, &verdict);
        TAILQ_FOREACH(call, &calls->running, entry)
        call_give_up(call, &verdict);
}

/* Whether all that was sent is the bus' by now, and no longer memory of ours. */
static bool call_bus_is_through(const struct call *call) {
        sd_bus *bus = sd_bus_message_get_bus(call->asked);
        uint64_t queued;

        return sd_bus_is_ready(bus) <= 0 || sd_bus_get_n_queued_write(bus, &queued) < 0 ||
               queued == 0;
}

static struct call *calls_find_next(const struct calls *calls) {
        struct call *call = calls_next(calls, 0);

        if (call && (call->method->traits & CALL_IS_LARGE) && !call_bus_is_through(call))
                call = calls_next(calls, CALL_IS_LARGE);
        return call;
}

void calls_turn(struct calls *calls) {
        const struct verdict stopping = call_refusal(STATUS_SHUTTING_DOWN, CALL_STOPPING);
        struct call *call;

        if (atomic_load(&calls->context->stopping))
                calls_refuse_pending(calls, &stopping);
        while ((call = calls_find_next(calls))) {
                call->job = (struct job){.run = call_run, .done = call_done};
                if (threads_run(calls->threads, &call->job, THREADS_KEEP_SPARE) < 0)
                        break; /* calls_tick() gives it up, if there is no thread in time */
                TAILQ_REMOVE(&calls->pending, call, entry);
                TAILQ_INSERT_TAIL(&calls->running, call, entry);
                call->state = CALL_RUNNING;
        }
}
