/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Default deny: a method has one row, with who may call it and what it does, and a method without a
 * row doesn't exist. The bus policy (org.mountat1.conf) applies before, the rules for targets
 * (policy.h) after.
 *
 * Arguments are checked before they are copied. A call's message, with its body of up to 32 MiB, is
 * replaced by a stand-in: an empty call with the same sender and cookie, which can be replied to
 * like the original. It belongs to the same connection, so a reply never goes out on the next one.
 *
 * Input roots are named by their paths, for callers that root or an administrator vouches for;
 * others open their directories themselves, and send them over the socket. No link is followed, and
 * the daemon can enter only what anybody can: it has no CAP_DAC_*.
 */

#include "daemon/manager.h"

#include "common/fd.h"
#include "common/file_system.h"
#include "common/text.h"
#include "daemon/bus_question.h"
#include "daemon/kernel.h"
#include "daemon/log.h"
#include "daemon/manager_list.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <systemd/sd-bus.h>

#define CALL_UNIDENTIFIED ((uid_t)-1) /* the caller isn't known yet */

enum {
        CALLS_PER_SENDER_MAX = 32,
        CALLS_UNIDENTIFIED_MAX = 256, /* of all senders; afterwards QUOTA_CALLS is the limit */
        QUESTIONS_MAX = 64, /* to polkit; dbus-daemon allows 128 unanswered calls per connection */
        QUESTIONS_PER_USER_MAX = 8,
        RUNNING_MAX = 8, /* threads */
        RUNNING_PER_USER_MAX = 3,
        NAME_MAX_DBUS = 255, /* bytes; D-Bus specification, "Valid Names" */
};

/* What callers other than root need an administrator's consent for. */
enum consent {
        CONSENT_NEEDED,
        CONSENT_NEEDED_FOR_OTHERS, /* not for a lease of the caller's own */
        CONSENT_SHOWS_OTHERS, /* without consent, the method shows only the caller's own leases */
};

struct call;

struct method {
        const char *member;
        const char *action; /* of polkit */
        enum consent consent;
        /*
         * Copies the arguments; a verdict other than STATUS_OK is the reply. Negative errno: the
         * message can't be read. NULL: no arguments.
         */
        int (*read)(struct call *call, sd_bus_message *message, struct verdict *verdict);
        /*
         * On a thread: serves the request and, on success, appends to `reply`. Negative errno: the
         * host failed.
         */
        int (*run)(struct call *call);
};

enum call_state {
        CALL_IDENTIFYING, /* waiting for the caller's credentials; afterwards charged to the user */
        CALL_AUTHORISING, /* waiting for polkit */
        CALL_WAITING,     /* waiting for a thread */
        CALL_RUNNING,     /* the fields from `holder` on are the thread's */
};

struct call {
        struct job job; /* first: a job is its call */
        TAILQ_ENTRY(call) entry;
        struct manager *manager;
        const struct method *method;
        sd_bus_message *asked; /* the stand-in; owned */
        sd_bus_slot *question; /* owned */
        enum call_state state;
        struct holder holder; /* the caller */
        char *root;           /* the path of an input root, or NULL; owned */
        struct request request;
        sd_bus_message *reply; /* used by no other thread; owned */
        int error;             /* what `run` returned */
};

struct manager {
        struct context *context;
        struct threads *threads;
        TAILQ_HEAD(, call) calls; /* in order of arrival; some hundreds at most */
        bool closed;              /* every call is refused */
};

/* ---- arguments ---- */

/*
 * Why the path of an input root is refused, or NULL. A path that begins with /srv/ci/ must not lead
 * out of it, since administrators' polkit rules compare it as text.
 */
static const char *manager_path_fault(const char *path) {
        if (path[0] != '/')
                return "give an absolute path";
        if (strnlen(path, PATH_MAX) >= PATH_MAX)
                return "the path is too long";
        for (const char *at = strstr(path, "/.."); at; at = strstr(at + 1, "/.."))
                if (at[3] == '/' || at[3] == '\0')
                        return "give a path without \"..\"";
        return NULL;
}

/* Judges the request as if it had come over the socket, in version 1. */
static struct verdict manager_judge_request(struct wire_request *wire) {
        uint8_t bytes[WIRE_REQUEST_MAX];
        struct verdict verdict;

        wire->version = PROTOCOL_VERSION;
        wire_decode_request(bytes, wire_encode_request(wire, bytes), wire, &verdict);
        return verdict;
}

static int call_read_root(struct call *call, sd_bus_message *message, struct verdict *verdict) {
        const char *path, *fault;
        int r = sd_bus_message_read(message, "s", &path);

        if (r < 0)
                return r;
        call->request.wire.operation = PROTOCOL_UNMOUNT;
        fault = manager_path_fault(path);
        if (fault) {
                *verdict = verdict_explain(STATUS_MALFORMED, STATUS_NO_TARGET, fault);
                return 0;
        }
        call->root = strdup(path);
        return call->root ? 0 : -ENOMEM;
}

static int call_read_mount(struct call *call, sd_bus_message *message, struct verdict *verdict) {
        struct wire_request *wire = &call->request.wire;
        int r = call_read_root(call, message, verdict);
        const char *name;

        if (r < 0 || verdict->status != STATUS_OK)
                return r;
        wire->operation = PROTOCOL_MOUNT;
        wire->flags = PROTOCOL_KEEP;
        r = sd_bus_message_enter_container(message, 'a', "s");
        while (r >= 0 && (r = sd_bus_message_read(message, "s", &name)) > 0) {
                if (wire->n_targets == PROTOCOL_TARGETS_MAX) {
                        *verdict = verdict_explain(STATUS_MALFORMED, STATUS_NO_TARGET,
                                                   "give at most 16 file systems");
                        return 0;
                }
                wire->targets[wire->n_targets++].file_system = file_system_from_name(name);
        }
        if (r >= 0)
                *verdict = manager_judge_request(wire);
        return r;
}

static int call_read_lease(struct call *call, sd_bus_message *message, struct verdict *verdict) {
        struct wire_request *wire = &call->request.wire;
        int r = sd_bus_message_read(message, "t", &wire->lease);

        wire->operation = PROTOCOL_UNMOUNT;
        if (r >= 0)
                *verdict = manager_judge_request(wire);
        return r;
}

/* ---- on a thread: mounting and unmounting ---- */

static bool call_serve(struct call *call, const struct verdict *decoded) {
        call->request.decoded = *decoded;
        request_serve(call->manager->context, &call->holder, &call->request);
        request_finish(call->manager->context, &call->request); /* another thread replies */
        return call->request.reply.status == STATUS_OK;
}

static struct verdict manager_judge_opening(int error, uint32_t target) {
        static const struct {
                int error;
                enum status status;
                const char *text;
        } known[] = {
                {-ENOENT, STATUS_TARGET_VANISHED, "no such directory"},
                {-ELOOP, STATUS_NOT_A_DIRECTORY,
                 "the path contains a symbolic link, and mountatd follows none: give the path "
                 "that realpath(1) prints"},
                {-ENOTDIR, STATUS_NOT_A_DIRECTORY, "not a directory"},
                {-EACCES, STATUS_NOT_AUTHORISED,
                 "mountatd itself may not enter the directory: use mountatctl, which opens it with "
                 "your rights and sends it to mountatd"},
        };

        for (unsigned i = 0; i < sizeof(known) / sizeof(known[0]); i++)
                if (known[i].error == error)
                        return verdict_explain(known[i].status, target, known[i].text);
        return verdict_host_failed(error, target);
}

static int manager_open_below(int root, uint32_t file_system) {
        return kernel_open_below(root, file_system_directory(file_system));
}

static struct verdict call_open_targets(struct call *call) {
        const struct wire_request *wire = &call->request.wire;
        struct fdpass_set *fds = &call->request.fds;
        FD_AUTO int root = kernel_open_place(call->root, 0);

        if (root < 0)
                return manager_judge_opening(root, STATUS_NO_TARGET);
        for (uint32_t i = 0; i < wire->n_targets; i++) {
                int fd = manager_open_below(root, wire->targets[i].file_system);

                if (fd < 0)
                        return manager_judge_opening(fd, i);
                fds->fds[fds->count++] = fd;
        }
        return VERDICT_OK;
}

static int call_mount_path(struct call *call) {
        const struct verdict opened = call_open_targets(call);

        if (!call_serve(call, &opened))
                return 0;
        return sd_bus_message_append(call->reply, "t", call->request.reply.lease);
}

static int call_unmount(struct call *call) {
        call_serve(call, &VERDICT_OK);
        return 0;
}

/* The lease of the mount on `proc`, `sys` or `dev` of the root; 0: there is none. */
static uint64_t call_find_lease(const struct call *call, int root, uint32_t file_system) {
        const struct context *context = call->manager->context;
        FD_AUTO int fd = manager_open_below(root, file_system);
        uint64_t id;

        if (fd < 0 || mount_identify(templates_setup(context->templates)->features, fd, &id) < 0)
                return 0;
        return leases_find_mount(context->leases, id);
}

/* One lease or more: once the one on `proc` is released, so are its mounts on the others. */
static int call_unmount_path(struct call *call) {
        FD_AUTO int root = kernel_open_place(call->root, 0);
        struct verdict verdict =
                root < 0
                        ? manager_judge_opening(root, STATUS_NO_TARGET)
                        : verdict_explain(STATUS_NO_SUCH_LEASE, STATUS_NO_TARGET,
                                          "mountatd has mounted nothing on proc, sys or dev there");

        for (uint32_t fs = PROTOCOL_PROC; root >= 0 && fs <= PROTOCOL_DEV; fs++) {
                uint64_t lease = call_find_lease(call, root, fs);

                if (lease == 0)
                        continue;
                call->request.wire.lease = lease;
                verdict = VERDICT_OK;
                if (!call_serve(call, &verdict))
                        return 0;
        }
        if (verdict.status != STATUS_OK)
                call_serve(call, &verdict);
        return 0;
}

static int call_list(struct call *call) {
        return manager_list_append(call->manager->context, &call->holder.subject,
                                   MANAGER_LIST_FIXED, call->reply);
}

static int call_list_extended(struct call *call) {
        return manager_list_append(call->manager->context, &call->holder.subject,
                                   MANAGER_LIST_EXTENDED, call->reply);
}

/* ---- the methods ---- */

static const struct method manager_methods[] = {
        {"MountPath", "org.mountat1.mount", CONSENT_NEEDED, call_read_mount, call_mount_path},
        {"UnmountPath", "org.mountat1.unmount", CONSENT_NEEDED, call_read_root, call_unmount_path},
        {"Unmount", "org.mountat1.unmount-others", CONSENT_NEEDED_FOR_OTHERS, call_read_lease,
         call_unmount},
        {"ListLeases", "org.mountat1.list-others", CONSENT_SHOWS_OTHERS, NULL, call_list},
        {"ListLeasesEx", "org.mountat1.list-others", CONSENT_SHOWS_OTHERS, NULL,
         call_list_extended},
};

const struct method *manager_method(const char *member) {
        for (size_t i = 0; i < sizeof(manager_methods) / sizeof(manager_methods[0]); i++)
                if (strcmp(manager_methods[i].member, member) == 0)
                        return &manager_methods[i];
        return NULL;
}

/* ---- limits and scheduling ---- */

static unsigned manager_count(const struct manager *manager, enum call_state state, uid_t uid) {
        const struct call *call;
        unsigned count = 0;

        TAILQ_FOREACH(call, &manager->calls, entry)
                count += call->state == state &&
                         (uid == POLICY_ANY_USER || call->holder.subject.uid == uid);
        return count;
}

/* Whether that sender may begin another call. */
static struct verdict manager_admit(const struct manager *manager, const char *sender) {
        const struct call *call;
        unsigned count = 0;

        if (manager->closed)
                return verdict_refuse(STATUS_SHUTTING_DOWN, STATUS_NO_TARGET);
        TAILQ_FOREACH(call, &manager->calls, entry)
                count += strcmp(sd_bus_message_get_sender(call->asked), sender) == 0;
        if (count >= CALLS_PER_SENDER_MAX ||
            manager_count(manager, CALL_IDENTIFYING, POLICY_ANY_USER) >= CALLS_UNIDENTIFIED_MAX)
                return verdict_explain(STATUS_LIMIT_EXCEEDED, STATUS_NO_TARGET,
                                       "too many calls are pending: wait for their replies, then "
                                       "try again");
        return VERDICT_OK;
}

/*
 * Whether polkit may be asked another question about that user. Half of the questions are left to
 * users without a pending one, so a few users can't keep all others from asking.
 */
static struct verdict manager_admit_question(const struct manager *manager, uid_t uid) {
        unsigned own = manager_count(manager, CALL_AUTHORISING, uid);
        unsigned all = manager_count(manager, CALL_AUTHORISING, POLICY_ANY_USER);

        if (own >= QUESTIONS_PER_USER_MAX || all >= (own > 0 ? QUESTIONS_MAX / 2 : QUESTIONS_MAX))
                return verdict_explain(STATUS_LIMIT_EXCEEDED, STATUS_NO_TARGET,
                                       "too many calls are waiting for polkit: wait for their "
                                       "replies, then try again");
        return VERDICT_OK;
}

static bool call_lists(const struct call *call) {
        return call->method->consent == CONSENT_SHOWS_OTHERS;
}

/* A list can be large: only one at a time, on a thread or on its way to the bus. */
static bool call_may_list(const struct call *call) {
        const struct call *other;
        uint64_t queued;

        TAILQ_FOREACH(other, &call->manager->calls, entry)
                if (other->state == CALL_RUNNING && call_lists(other))
                        return false;
        return sd_bus_get_n_queued_write(sd_bus_message_get_bus(call->asked), &queued) < 0 ||
               queued == 0;
}

/* The first that may run now, or NULL. */
static struct call *manager_next(const struct manager *manager) {
        struct call *call;

        if (manager_count(manager, CALL_RUNNING, POLICY_ANY_USER) >= RUNNING_MAX)
                return NULL;
        TAILQ_FOREACH(call, &manager->calls, entry)
                if (call->state == CALL_WAITING &&
                    manager_count(manager, CALL_RUNNING, call->holder.subject.uid) <
                            RUNNING_PER_USER_MAX &&
                    (!call_lists(call) || call_may_list(call)))
                        return call;
        return NULL;
}

/* ---- replies ---- */

/* The error "not-a-directory" is called org.mountat1.Error.NotADirectory. */
static void call_reply_error(const struct call *call, enum status status, const char *about,
                             const char *text) {
        char name[64] = "org.mountat1.Error.";
        size_t used = strlen(name);
        bool upper = true;

        for (const char *from = status_name(status); *from && used + 1 < sizeof(name); from++) {
                if (*from != '-')
                        name[used++] = upper ? toupper(*from) : *from;
                upper = *from == '-';
        }
        sd_bus_reply_method_errorf(call->asked, name, "%s%s", about, text);
}

/*
 * Counts, logs and answers a refusal that request_serve() didn't make. `error`: a D-Bus error name
 * to use instead of the status's, or NULL.
 */
static void call_refuse(const struct call *call, const struct verdict *verdict, const char *error) {
        const char *text = verdict->text[0] ? verdict->text : status_sentence(verdict->status);
        const struct log_subject subject = {
                .event = LOG_EVENT_REFUSED,
                .has_peer = call->holder.subject.uid != CALL_UNIDENTIFIED,
                .uid = call->holder.subject.uid,
                .pid = call->holder.subject.pid,
                .operation = call->method->member,
                .lease = call->root ? 0 : call->request.wire.lease, /* written by the thread */
                .target = call->root,
        };

        log_write_limited(verdict->status == STATUS_HOST_FAILED ? LOG_WARNING : LOG_INFO, &subject,
                          "%s", text);
        atomic_fetch_add_explicit(&call->manager->context->failures_total, 1, memory_order_relaxed);
        if (error)
                sd_bus_reply_method_errorf(call->asked, error, "%s", text);
        else
                call_reply_error(call, verdict->status, "", text);
}

static void call_pass_on_refusal(const struct call *call) {
        const struct wire_request *wire = &call->request.wire;
        const struct wire_reply *reply = &call->request.reply;
        const char *directory = NULL;
        char target[8] = "";

        if (reply->target < wire->n_targets)
                directory = file_system_directory(wire->targets[reply->target].file_system);
        if (directory)
                snprintf(target, sizeof(target), "%s: ", directory);
        call_reply_error(call, reply->status, target, reply->text);
}

/* ---- a call's life ---- */

static struct call *call_new(struct manager *manager, const struct method *method) {
        struct call *call = calloc(1, sizeof(*call));

        if (!call)
                return NULL;
        call->manager = manager;
        call->method = method;
        call->holder.subject.uid = CALL_UNIDENTIFIED;
        call->holder.socket = -EBADF;
        TAILQ_INSERT_TAIL(&manager->calls, call, entry);
        return call;
}

/* An empty call with the original's sender, cookie and flags. */
static int call_stand_in(struct call *call, sd_bus_message *original) {
        bool reply = sd_bus_message_get_expect_reply(original) > 0;
        bool interactive = sd_bus_message_get_allow_interactive_authorization(original) > 0;
        uint64_t cookie;
        int r = sd_bus_message_get_cookie(original, &cookie);

        if (r >= 0)
                r = sd_bus_message_new_method_call(sd_bus_message_get_bus(original), &call->asked,
                                                   NULL, sd_bus_message_get_path(original), NULL,
                                                   sd_bus_message_get_member(original));
        if (r >= 0)
                r = sd_bus_message_set_sender(call->asked, sd_bus_message_get_sender(original));
        if (r >= 0)
                r = sd_bus_message_set_expect_reply(call->asked, reply);
        if (r >= 0)
                r = sd_bus_message_set_allow_interactive_authorization(call->asked, interactive);
        if (r >= 0)
                r = sd_bus_message_seal(call->asked, cookie, 0);
        return r < 0 ? r : sd_bus_message_new_method_return(call->asked, &call->reply);
}

static void call_end(struct call *call) {
        struct context *context = call->manager->context;

        TAILQ_REMOVE(&call->manager->calls, call, entry);
        if (call->state > CALL_IDENTIFYING)
                quota_return(context->quota, call->holder.subject.uid, QUOTA_CALLS, 1);
        sd_bus_slot_unref(call->question);
        sd_bus_message_unref(call->reply);
        sd_bus_message_unref(call->asked);
        free(call->root);
        free(call);
}

static void call_drop(struct call *call, const struct verdict *verdict) {
        call_refuse(call, verdict, NULL);
        call_end(call);
}

static void call_run(struct job *job) {
        struct call *call = (struct call *)job;

        call->error = call->method->run(call);
}

static void call_undo_run(struct job *job) {
        struct call *call = (struct call *)job;

        request_take_back(call->manager->context, &call->holder, &call->request);
        request_finish(call->manager->context, &call->request);
}

static void call_undo_done(struct job *job) {
        call_end((struct call *)job);
}

/*
 * The caller can't be told of the lease: release it. If there is no thread for that, the lease is
 * kept, as requested.
 */
static void call_undo(struct call *call) {
        call->job = (struct job){.run = call_undo_run, .done = call_undo_done};
        if (threads_run(call->manager->threads, &call->job, THREADS_KEEP_SPARE) < 0)
                call_end(call);
}

static void call_done(struct job *job) {
        struct call *call = (struct call *)job;
        bool granted = call->request.reply.lease != 0;
        int r = job->error < 0 ? job->error : call->error;

        if (r >= 0 && call->request.reply.status != STATUS_OK)
                call_pass_on_refusal(call);
        else if (r >= 0)
                r = sd_bus_send(NULL, call->reply, NULL);
        if (r < 0) {
                const struct verdict verdict = verdict_host_failed(r, STATUS_NO_TARGET);

                call_refuse(call, &verdict, NULL);
        }
        if (r < 0 && granted)
                call_undo(call);
        else
                call_end(call);
}

static void call_start(struct call *call) {
        int r;

        call->job = (struct job){.run = call_run, .done = call_done};
        call->state = CALL_RUNNING;
        r = threads_run(call->manager->threads, &call->job, THREADS_KEEP_SPARE);
        if (r < 0) {
                call->job.error = r; /* as if the thread had failed */
                call_done(&call->job);
        }
}

/* manager_turn() does the rest. */
static void call_judge(struct call *call, const struct verdict *verdict, const char *error) {
        if (verdict->status == STATUS_OK)
                call->holder.subject.trust = TRUST_ADMINISTRATOR;
        if (verdict->status == STATUS_OK || call->method->consent == CONSENT_SHOWS_OTHERS) {
                call->state = CALL_WAITING;
                return;
        }
        call_refuse(call, verdict, error);
        call_end(call);
}

static int call_on_consent(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        struct call *call = userdata;
        struct verdict verdict;
        bool challenge;

        (void)error;
        call->question = sd_bus_slot_unref(call->question);
        verdict = bus_judge_polkit(reply, &challenge);
        call_judge(call, &verdict,
                   challenge ? SD_BUS_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED : NULL);
        return 0;
}

/*
 * With a detail for an administrator to read: a directory, a lease, or none. The text is part of a
 * prompt, which nothing in a path may change.
 */
static void call_ask_for_consent(struct call *call) {
        struct bus_question question = {
                .call = call->asked,
                .on_reply = call_on_consent,
                .userdata = call,
                .action = call->method->action,
                .detail = "root",
        };
        struct verdict verdict = manager_admit_question(call->manager, call->holder.subject.uid);
        char lease[17], root[4 * PATH_MAX];
        int r;

        if (call->root)
                question.value = text_escape(root, sizeof(root), call->root);
        if (call->request.wire.lease != 0) {
                snprintf(lease, sizeof(lease), "%016" PRIx64, call->request.wire.lease);
                question.detail = "lease";
                question.value = lease;
        }
        call->state = CALL_AUTHORISING;
        if (verdict.status == STATUS_OK) {
                r = bus_ask_polkit(&question, &call->question);
                if (r >= 0)
                        return;
                verdict = verdict_host_failed(r, STATUS_NO_TARGET);
        }
        call_judge(call, &verdict, NULL);
}

/*
 * Root counts as an administrator. A lease that doesn't exist isn't a secret: the method refuses
 * it.
 */
static void call_authorise(struct call *call) {
        const struct subject *subject = &call->holder.subject;
        bool others = leases_is_others(call->manager->context->leases, call->request.wire.lease,
                                       subject->uid);

        if (subject->uid == 0)
                call_judge(call, &VERDICT_OK, NULL);
        else if (call->method->consent == CONSENT_NEEDED_FOR_OTHERS && !others)
                call->state = CALL_WAITING;
        else
                call_ask_for_consent(call);
}

static int call_on_credentials(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        struct call *call = userdata;
        struct subject *subject = &call->holder.subject;
        struct verdict verdict = verdict_explain(STATUS_NOT_AUTHORISED, STATUS_NO_TARGET,
                                                 "cannot get your credentials from the bus");

        (void)error;
        call->question = sd_bus_slot_unref(call->question);
        if (bus_read_who(reply, subject) >= 0)
                verdict = quota_charge(call->manager->context->quota, subject->uid, QUOTA_CALLS, 1);
        if (verdict.status == STATUS_OK)
                call_authorise(call);
        else
                call_drop(call, &verdict);
        return 0;
}

static int manager_on_call(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        const struct method *method = manager_method(sd_bus_message_get_member(message));
        const char *sender = sd_bus_message_get_sender(message);
        struct verdict verdict;
        struct call *call;
        int r;

        if (!method || !sender)
                return sd_bus_error_setf(error, SD_BUS_ERROR_ACCESS_DENIED,
                                         "mountatd has no such method, or the call has no sender");
        verdict = manager_admit(userdata, sender);
        call = call_new(userdata, method);
        if (!call)
                return -ENOMEM;
        r = call_stand_in(call, message);
        if (r >= 0 && verdict.status == STATUS_OK && method->read)
                r = method->read(call, message, &verdict);
        if (r >= 0 && verdict.status == STATUS_OK)
                r = bus_ask_who(&(struct bus_question){call->asked, call_on_credentials, call},
                                &call->question);
        if (r < 0)
                call_end(call);
        else if (verdict.status != STATUS_OK)
                call_drop(call, &verdict);
        return r < 0 ? r : 1;
}

/* ---- properties ---- */

#define MANAGER_ACCESSOR(name)                                                                     \
        static int name(__attribute__((unused)) sd_bus *connection,                                \
                        __attribute__((unused)) const char *path,                                  \
                        __attribute__((unused)) const char *interface,                             \
                        __attribute__((unused)) const char *property, sd_bus_message *message,     \
                        __attribute__((unused)) void *userdata,                                    \
                        __attribute__((unused)) sd_bus_error *error)

/* All properties but two. */
MANAGER_ACCESSOR(manager_get) {
        const struct manager *manager = userdata;
        struct context *context = manager->context;
        const struct quota_limit *connections = quota_limit(context->quota, QUOTA_CONNECTIONS);
        const struct quota_limit *namespaces = quota_limit(context->quota, QUOTA_NAMESPACES);
        const struct quota_limit *mounts = quota_limit(context->quota, QUOTA_MOUNTS);
        const struct {
                const char *name;
                const char *text; /* NULL: a number, of 64 bits for totals */
                uint64_t number;
        } table[] = {
                {"Version", MOUNTATD_VERSION},
                {"Leases", NULL, leases_count(context->leases).leases},
                {"Connections", NULL, quota_used(context->quota, QUOTA_CONNECTIONS)},
                {"MountsTotal", NULL, atomic_load(&context->mounts_total)},
                {"FailuresTotal", NULL, atomic_load(&context->failures_total)},
                {"MaxConnections", NULL, connections->total},
                {"MaxConnectionsPerUser", NULL, connections->per_user},
                {"MaxNamespacesPerUser", NULL, namespaces->per_user},
                {"MaxMounts", NULL, mounts->total},
                {"MaxMountsPerUser", NULL, mounts->per_user},
                {"MaxTargets", NULL, context->max_targets},
                {"LogLevel", log_level_name(log_level())},
                {"LogTarget", log_target()},
                {"SyslogIdentifier", program_invocation_short_name},
        };
        unsigned i = 0;

        while (strcmp(table[i].name, property) != 0)
                i++;
        if (table[i].text)
                return sd_bus_message_append(message, "s", table[i].text);
        return strstr(property, "Total")
                       ? sd_bus_message_append(message, "t", table[i].number)
                       : sd_bus_message_append(message, "u", (uint32_t)table[i].number);
}

MANAGER_ACCESSOR(manager_get_features) {
        static const struct {
                unsigned bit;
                const char *name;
        } features[] = {
                {PROTOCOL_FEATURE_CLONES, "clones"},
                {PROTOCOL_FEATURE_STATMOUNT, "statmount"},
                {PROTOCOL_FEATURE_UNIQUE_IDS, "unique-ids"},
                {PROTOCOL_FEATURE_PIDS_ONLY, "pids-only"},
                {PROTOCOL_FEATURE_ADOPT, "adopt"},
                {PROTOCOL_FEATURE_ENTER, "enter"}, /* for some users */
                {PROTOCOL_FEATURE_KEEP, "keep"},
                {PROTOCOL_FEATURE_DEV, "dev"},
                {PROTOCOL_FEATURE_CHECK, "check"},
        };
        const struct manager *manager = userdata;
        unsigned known = context_features(manager->context) |
                         (policy_joins(manager->context->policy) ? PROTOCOL_FEATURE_ENTER : 0);
        int r = sd_bus_message_open_container(message, 'a', "s");

        for (unsigned i = 0; r >= 0 && i < sizeof(features) / sizeof(features[0]); i++)
                if (known & features[i].bit)
                        r = sd_bus_message_append(message, "s", features[i].name);
        return r < 0 ? r : sd_bus_message_close_container(message);
}

/* As given to --build-directory=; uid 4294967295 means any user. */
MANAGER_ACCESSOR(manager_get_build_directories) {
        const struct manager *manager = userdata;
        int r = sd_bus_message_open_container(message, 'a', "(su)");
        const char *directory;
        size_t cursor = 0;
        uid_t uid;

        while (r >= 0 &&
               policy_next_build_directory(manager->context->policy, &cursor, &directory, &uid))
                r = sd_bus_message_append(message, "(su)", directory, (uint32_t)uid);
        return r < 0 ? r : sd_bus_message_close_container(message);
}

/* org.freedesktop.LogControl1(5) */
MANAGER_ACCESSOR(manager_set_log) {
        bool level = strcmp(property, "LogLevel") == 0;
        const char *name;
        int r = sd_bus_message_read(message, "s", &name);

        if (r >= 0)
                r = level ? log_level_from_name(name) : log_set_target(name);
        if (r < 0)
                return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
                                         level ? "give a level from emerg to debug"
                                               : "give journal, console or auto");
        if (level) {
                log_set_level(r);
                log_write(LOG_NOTICE, NULL, "log level set to %s", log_level_name(r));
        }
        return 0;
}

/* UNPRIVILEGED: the table of methods decides who may call. */
static const sd_bus_vtable manager_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD_WITH_ARGS("MountPath", SD_BUS_ARGS("s", root, "as", file_systems),
                                SD_BUS_RESULT("t", lease), manager_on_call,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("UnmountPath", SD_BUS_ARGS("s", root), SD_BUS_NO_RESULT,
                                manager_on_call, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Unmount", SD_BUS_ARGS("t", lease), SD_BUS_NO_RESULT,
                                manager_on_call, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ListLeases", SD_BUS_NO_ARGS, SD_BUS_RESULT("a(tuussast)", leases),
                                manager_on_call, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ListLeasesEx", SD_BUS_NO_ARGS,
                                SD_BUS_RESULT("a(tuussasta{sv})", leases), manager_on_call,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_PROPERTY("Version", "s", manager_get, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Features", "as", manager_get_features, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Leases", "u", manager_get, 0, 0),
        SD_BUS_PROPERTY("Connections", "u", manager_get, 0, 0),
        SD_BUS_PROPERTY("MountsTotal", "t", manager_get, 0, 0),
        SD_BUS_PROPERTY("FailuresTotal", "t", manager_get, 0, 0),
        SD_BUS_PROPERTY("MaxConnections", "u", manager_get, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("MaxConnectionsPerUser", "u", manager_get, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("MaxNamespacesPerUser", "u", manager_get, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("MaxMounts", "u", manager_get, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("MaxMountsPerUser", "u", manager_get, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("MaxTargets", "u", manager_get, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("BuildDirectories", "a(su)", manager_get_build_directories, 0,
                        SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_VTABLE_END,
};

/*
 * The bus policy lets only root set properties. Without UNPRIVILEGED, sd-bus would check by a
 * synchronous call to the bus.
 */
static const sd_bus_vtable manager_log_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_WRITABLE_PROPERTY("LogLevel", "s", manager_get, manager_set_log, 0,
                                 SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_WRITABLE_PROPERTY("LogTarget", "s", manager_get, manager_set_log, 0,
                                 SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_PROPERTY("SyslogIdentifier", "s", manager_get, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_VTABLE_END,
};

/* ---- before sd-bus answers by itself ---- */

/* Whether the strings that the message begins with could be names of D-Bus. */
static bool manager_has_short_names(sd_bus_message *message) {
        const char *name;
        bool are_short = true;

        while (are_short && sd_bus_message_read_basic(message, 's', &name) > 0)
                are_short = strnlen(name, NAME_MAX_DBUS + 1) <= NAME_MAX_DBUS;
        sd_bus_message_rewind(message, true);
        return are_short;
}

/*
 * sd-bus refuses unknown interfaces and properties by errors that repeat their names. An error that
 * is longer than a message may be ends the connection, with everybody's calls. All else that it
 * repeats is short: D-Bus limits other names, and sd-bus drops calls with long paths.
 */
static int manager_on_message(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        (void)userdata;
        if (sd_bus_message_is_method_call(message, "org.freedesktop.DBus.Properties", NULL) <= 0 ||
            manager_has_short_names(message))
                return 0;
        return sd_bus_error_set(error, SD_BUS_ERROR_INVALID_ARGS,
                                "no interface or property has such a long name");
}

int manager_publish(sd_bus *connection, struct manager *manager) {
        int r = sd_bus_add_filter(connection, NULL, manager_on_message, NULL);

        if (r >= 0)
                r = sd_bus_add_object_vtable(connection, NULL, "/org/mountat1",
                                             "org.mountat1.Manager", manager_vtable, manager);
        return r < 0 ? r
                     : sd_bus_add_object_vtable(connection, NULL, "/org/freedesktop/LogControl1",
                                                "org.freedesktop.LogControl1", manager_log_vtable,
                                                manager);
}

/* ---- for the connection to the bus ---- */

struct manager *manager_new(struct context *context, struct threads *threads) {
        struct manager *manager = calloc(1, sizeof(*manager));

        if (!manager)
                return NULL;
        manager->context = context;
        manager->threads = threads;
        TAILQ_INIT(&manager->calls);
        return manager;
}

/* What threads still use is reachable from here: not a leak. */
static struct manager *volatile manager_left;

struct manager *manager_free(struct manager *manager) {
        if (manager && TAILQ_EMPTY(&manager->calls))
                free(manager);
        else
                manager_left = manager;
        return NULL;
}

bool manager_is_idle(const struct manager *manager) {
        return TAILQ_EMPTY(&manager->calls);
}

void manager_turn(struct manager *manager) {
        const struct verdict stopping = verdict_refuse(STATUS_SHUTTING_DOWN, STATUS_NO_TARGET);
        struct call *call, *next;

        if (atomic_load(&manager->context->stopping))
                manager->closed = true;
        for (call = TAILQ_FIRST(&manager->calls); call; call = next) {
                next = TAILQ_NEXT(call, entry);
                if (call->state == CALL_RUNNING)
                        continue;
                if (sd_bus_is_open(sd_bus_message_get_bus(call->asked)) <= 0)
                        call_end(call);
                else if (manager->closed)
                        call_drop(call, &stopping);
        }
        while ((call = manager_next(manager)))
                call_start(call);
}

void manager_close(struct manager *manager) {
        const struct verdict stopping = verdict_refuse(STATUS_SHUTTING_DOWN, STATUS_NO_TARGET);
        const struct call *call;

        manager->closed = true;
        manager_turn(manager);
        TAILQ_FOREACH(call, &manager->calls, entry) /* still on threads; nobody will collect them */
                call_refuse(call, &stopping, NULL);
}
