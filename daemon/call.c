/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A call counts as a connection of its caller while it is under way: it has an account with the
 * ledger, and a limit. Its messages are touched by the bus's thread alone; descriptors and strings
 * in them are borrowed by the worker until the job is done.
 */

#include "daemon/call.h"

#include "daemon/authority.h"
#include "daemon/log.h"
#include "daemon/method.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
        CALL_MAX_PER_USER = 32,
        CALL_SECONDS = 20, /* on a worker; below the 25 that callers wait */
};

#define CALL_STOPPING "mountatd is stopping"

struct call {
        struct crew_job job; /* first: the crew hands it back */
        struct call_desk *desk;
        struct call *next;
        const struct method *method;
        const struct authority_rule *rule;
        sd_bus_message *message;
        sd_bus_slot *question; /* what the bus or polkit is being asked */
        struct ledger_owner owner;
        bool connected; /* the owner is the ledger's */
        bool answered;
        bool told;        /* what came of it, not that it was given up */
        bool running;     /* the crew has it */
        time_t submitted; /* CLOCK_MONOTONIC; 0: not yet */
        struct method_task task;
};

static time_t call_now(void) {
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return now.tv_sec;
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

static void call_refuse(struct call *call, uint32_t status, const char *target, const char *text) {
        char name[64];

        call_error_name(status, name, sizeof(name));
        sd_bus_reply_method_errorf(call->message, name, "%s%s%s", target ?: "", target ? ": " : "",
                                   text);
        call->answered = true;
}

static const char *call_target(const struct call *call) {
        if (call->task.answer.target >= call->task.wire.n_targets)
                return NULL;
        return call->task.wire.targets[call->task.answer.target].file_system == PROTOCOL_SYSFS
                       ? "sys"
                       : "proc";
}

static void call_answer(struct call *call) {
        sd_bus_message *reply = NULL;
        int r;

        if (call->task.answer.status != STATUS_OK) {
                call_refuse(call, call->task.answer.status, call_target(call),
                            call->task.answer.text);
                return;
        }
        r = sd_bus_message_new_method_return(call->message, &reply);
        if (r >= 0)
                r = call->method->reply(&call->task, reply);
        if (r >= 0)
                r = sd_bus_send(NULL, reply, NULL);
        /* The bus may be gone by now: nobody is left to tell. */
        if (r < 0 && r != -ENOTCONN)
                sd_bus_reply_method_errno(call->message, r, NULL);
        sd_bus_message_unref(reply);
        call->answered = true;
        call->told = r >= 0;
}

static void call_log(const struct call *call, const char *what) {
        struct log_subject subject = {
                .event = LOG_EVENT_REFUSED,
                .has_peer = call->connected,
                .uid = call->owner.uid,
                .pid = call->owner.pid,
                .operation = call->method->member,
                .lease = call->task.wire.lease,
                .target = call->task.path,
        };

        log_write_limited(LOG_INFO, &subject, "%s", what);
}

/* ---- a call's life ---- */

static void call_free(struct call *call) {
        struct call **link = &call->desk->first;

        while (*link != call)
                link = &(*link)->next;
        *link = call->next;
        call->desk->count--;

        if (call->connected)
                ledger_disconnect(call->desk->gate->ledger, &call->owner);
        listing_free(&call->task.listing);
        sd_bus_slot_unref(call->question);
        sd_bus_message_unref(call->message);
        free(call);
}

static void call_drop(struct call *call, uint32_t status, const char *text) {
        call_log(call, text);
        call_refuse(call, status, NULL, text);
        call_free(call);
}

static void call_run(struct crew_job *job) {
        struct call *call = (struct call *)job;

        call->method->run(&call->task);
}

/* Granted after its caller was given up, or when the bus was gone: nobody knows the lease. */
static bool call_takes_back(struct call *call) {
        if (call->told || call->task.wire.operation != PROTOCOL_MOUNT ||
            call->task.answer.status != STATUS_OK || call->task.answer.lease == 0)
                return false;
        call->method = method_unmount(&call->task, call->task.answer.lease);
        call->owner.standing = LEDGER_TRUSTED_CALL;
        crew_submit(call->desk->crew, &call->job);
        return true;
}

static void call_done(struct crew_job *job) {
        struct call *call = (struct call *)job;

        if (!call->answered)
                call_answer(call);
        if (!call_takes_back(call))
                call_free(call);
}

static void call_start(struct call *call) {
        call->job = (struct crew_job){.run = call_run, .done = call_done, .owner = &call->owner};
        call->running = true;
        crew_submit(call->desk->crew, &call->job);
}

static void call_attempt(struct call *call) {
        struct verdict refusal;

        switch (ledger_begin_attempt(call->desk->gate->ledger, &call->owner, &refusal)) {
        case LEDGER_LATER:
                return;
        case LEDGER_NEVER:
                call_drop(call, refusal.status, refusal.text);
                return;
        default:
                call_start(call);
        }
}

/* The oldest that waits to be run alone; NULL: there is none, or one is being run. */
static struct call *call_next_alone(const struct call_desk *desk) {
        struct call *next = NULL;

        for (struct call *call = desk->first; call; call = call->next) {
                if (call->method->turn != METHOD_ALONE || !call->submitted)
                        continue;
                if (call->running)
                        return NULL;
                next = call; /* new ones come first */
        }
        return next;
}

/* Whether all that was sent is the bus' by now, and no longer memory of ours. */
static bool call_bus_is_through(const struct call *call) {
        sd_bus *bus = sd_bus_message_get_bus(call->message);
        uint64_t queued;

        return sd_bus_is_ready(bus) <= 0 || sd_bus_get_n_queued_write(bus, &queued) < 0 ||
               queued == 0;
}

void call_desk_turn(struct call_desk *desk) {
        struct call *call = call_next_alone(desk);

        if (call && call_bus_is_through(call))
                call_start(call);
}

/* Has a worker run the call, if its turn has come; else call_desk_turn() or call_desk_watch() will.
 */
static void call_try(struct call *call) {
        switch (call->method->turn) {
        case METHOD_ATTEMPT:
                call_attempt(call);
                break;
        case METHOD_ALONE:
                call_desk_turn(call->desk);
                break;
        default:
                call_start(call);
        }
}

static void call_submit(struct call *call, enum ledger_standing standing) {
        call->owner.standing = standing;
        call->task.scope = standing == LEDGER_TRUSTED_CALL ? LISTING_ALL : LISTING_OWN;
        call->submitted = call_now();
        call_try(call);
}

/* ---- may the caller? ---- */

static void call_refuse_authority(struct call *call, enum authority_answer answer) {
        if (answer == AUTHORITY_CHALLENGE) {
                call_log(call, "an administrator's consent is needed, and the caller can't wait");
                sd_bus_reply_method_errorf(call->message,
                                           SD_BUS_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED,
                                           "%s needs an administrator's consent: ask again, and "
                                           "allow interaction",
                                           call->rule->action);
                call_free(call);
        } else
                call_drop(call, STATUS_NOT_AUTHORISED,
                          answer == AUTHORITY_ABSENT
                                  ? "root alone may do this: there is no polkit to ask"
                                  : "polkit doesn't allow you to do this: ask an administrator");
}

static int call_on_authority(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        struct call *call = userdata;
        enum authority_answer answer = authority_read(reply);

        (void)error;
        call->question = sd_bus_slot_unref(call->question);
        if (answer == AUTHORITY_GRANTED)
                call_submit(call, LEDGER_TRUSTED_CALL);
        else if (call->rule->who == AUTHORITY_OWN)
                call_submit(call, LEDGER_CALL);
        else
                call_refuse_authority(call, answer);
        return 0;
}

/* What it is about, for an administrator to read: a directory or a lease; of a list, neither. */
static struct authority_detail call_detail(const struct call *call, char lease[static 17]) {
        if (call->task.path || call->task.wire.lease == 0)
                return (struct authority_detail){.key = "root", .value = call->task.path};
        snprintf(lease, 17, "%016" PRIx64, call->task.wire.lease);
        return (struct authority_detail){.key = "lease", .value = lease};
}

static void call_ask(struct call *call) {
        char lease[17];
        const struct authority_detail detail = call_detail(call, lease);
        int r = authority_ask(call->message, call->rule, &detail, call_on_authority, call,
                              &call->question);

        if (r < 0 && call->rule->who == AUTHORITY_OWN)
                call_submit(call, LEDGER_CALL);
        else if (r < 0)
                call_drop(call, STATUS_HOST_FAILED, strerrordesc_np(-r));
}

static void call_authorise(struct call *call) {
        /* What is nobody's is no secret: the worker says so. */
        bool holds =
                call->rule->who == AUTHORITY_HOLDER &&
                !ledger_is_others(call->desk->gate->ledger, call->task.wire.lease, call->owner.uid);

        switch (authority_judge(call->rule, call->owner.uid, holds)) {
        case AUTHORITY_TRUSTED:
                call_submit(call, LEDGER_TRUSTED_CALL);
                break;
        case AUTHORITY_USER:
                call_submit(call, LEDGER_CALL);
                break;
        default:
                call_ask(call);
        }
}

/* ---- who is it? ---- */

/* GetConnectionCredentials of the D-Bus specification: a{sv}. */
static int call_read_credentials(sd_bus_message *reply, uint32_t *uid, uint32_t *pid) {
        int r = sd_bus_message_enter_container(reply, 'a', "{sv}");
        bool known = false;
        const char *key;

        while (r >= 0 && (r = sd_bus_message_enter_container(reply, 'e', "sv")) > 0) {
                r = sd_bus_message_read(reply, "s", &key);
                if (r >= 0 && strcmp(key, "UnixUserID") == 0) {
                        r = sd_bus_message_read(reply, "v", "u", uid);
                        known = r >= 0;
                } else if (r >= 0 && strcmp(key, "ProcessID") == 0)
                        r = sd_bus_message_read(reply, "v", "u", pid);
                else if (r >= 0)
                        r = sd_bus_message_skip(reply, "v");
                if (r >= 0)
                        r = sd_bus_message_exit_container(reply);
        }
        if (r >= 0 && !known)
                r = -ENODATA;
        return r;
}

static unsigned call_count_of(const struct call_desk *desk, uid_t uid) {
        unsigned count = 0;

        for (const struct call *call = desk->first; call; call = call->next)
                count += call->connected && call->owner.uid == uid;
        return count;
}

static void call_connect(struct call *call, uid_t uid, pid_t pid) {
        struct verdict verdict;

        if (call_count_of(call->desk, uid) >= CALL_MAX_PER_USER) {
                call_drop(call, STATUS_LIMIT_EXCEEDED,
                          "too many of your calls are under way: wait for their answers");
                return;
        }
        verdict = ledger_connect(call->desk->gate->ledger, uid, pid, &call->owner);
        if (verdict.status != STATUS_OK) {
                call_drop(call, verdict.status, verdict.text);
                return;
        }
        call->connected = true;
        crew_wake(call->desk->crew); /* the main loop looks after what is under way */
        call_authorise(call);
}

static int call_on_credentials(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        struct call *call = userdata;
        uint32_t uid, pid = 0;

        (void)error;
        call->question = sd_bus_slot_unref(call->question);
        if (sd_bus_message_is_method_error(reply, NULL) ||
            call_read_credentials(reply, &uid, &pid) < 0)
                call_drop(call, STATUS_NOT_AUTHORISED, "the bus doesn't say who you are");
        else
                call_connect(call, uid, pid);
        return 0;
}

/* ---- the beginning ---- */

static int call_refuse_at_once(sd_bus_message *message, uint32_t status, const char *why) {
        char name[64];

        call_error_name(status, name, sizeof(name));
        return sd_bus_reply_method_errorf(message, name, "%s", why);
}

static unsigned call_count_from(const struct call_desk *desk, const char *sender) {
        unsigned count = 0;

        for (const struct call *call = desk->first; call; call = call->next)
                count += strcmp(sd_bus_message_get_sender(call->message), sender) == 0;
        return count;
}

/* A call of that method, in the desk's list. */
static struct call *call_new(struct call_desk *desk, sd_bus_message *message,
                             const struct method *method, const struct authority_rule *rule) {
        struct call *call = calloc(1, sizeof(*call));

        if (!call)
                return NULL;
        call->desk = desk;
        call->task.gate = desk->gate;
        call->task.owner = &call->owner;
        call->method = method;
        call->rule = rule;
        call->message = sd_bus_message_ref(message);
        call->next = desk->first;
        desk->first = call;
        desk->count++;
        return call;
}

int call_handle(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        struct call_desk *desk = userdata;
        const char *member = sd_bus_message_get_member(message);
        const char *sender = sd_bus_message_get_sender(message);
        const struct authority_rule *rule = authority_rule(member);
        const struct method *method = method_find(member);
        struct call *call;
        int r;

        if (!rule || !method || !sender)
                return sd_bus_error_setf(error, SD_BUS_ERROR_ACCESS_DENIED,
                                         "nobody may call this method");
        if (desk->closed)
                return call_refuse_at_once(message, STATUS_SHUTTING_DOWN, CALL_STOPPING);
        if (desk->count >= CALL_MAX)
                return call_refuse_at_once(message, STATUS_LIMIT_EXCEEDED,
                                           "too many calls are under way: try again");
        if (call_count_from(desk, sender) >= CALL_MAX_PER_USER)
                return call_refuse_at_once(
                        message, STATUS_LIMIT_EXCEEDED,
                        "too many of your calls are under way: wait for their answers");

        call = call_new(desk, message, method, rule);
        if (!call)
                return -ENOMEM;
        r = method->read(&call->task, message);
        if (r >= 0)
                r = sd_bus_call_method_async(sd_bus_message_get_bus(message), &call->question,
                                             "org.freedesktop.DBus", "/org/freedesktop/DBus",
                                             "org.freedesktop.DBus", "GetConnectionCredentials",
                                             call_on_credentials, call, "s", sender);
        if (r < 0) {
                call_free(call);
                return r;
        }
        crew_wake(desk->crew); /* nobody is idle who is asked */
        return 1;
}

/* ---- the desk ---- */

static void call_give_up(struct call *call, uint32_t status, const char *why) {
        if (!call->running) {
                call_drop(call, status, why);
                return;
        }
        call_log(call, why);
        call_refuse(call, status, NULL, why);
        ledger_abandon(call->desk->gate->ledger, &call->owner);
}

void call_desk_watch(struct call_desk *desk) {
        time_t now = call_now();
        struct call *next;

        for (struct call *call = desk->first; call; call = next) {
                next = call->next;
                if (!call->submitted || call->answered)
                        continue;
                if (now - call->submitted >= CALL_SECONDS)
                        call_give_up(call, STATUS_HOST_FAILED,
                                     "a file system doesn't answer, or mountatd is overloaded");
                else if (!call->running)
                        call_try(call);
        }
}

void call_desk_close(struct call_desk *desk) {
        struct call *next;

        desk->closed = true;
        for (struct call *call = desk->first; call; call = next) {
                next = call->next;
                if (!call->running)
                        call_drop(call, STATUS_SHUTTING_DOWN, CALL_STOPPING);
        }
}

void call_desk_end(struct call_desk *desk) {
        call_desk_close(desk);
        for (struct call *call = desk->first; call; call = call->next)
                if (!call->answered)
                        call_give_up(call, STATUS_SHUTTING_DOWN, CALL_STOPPING);
}
