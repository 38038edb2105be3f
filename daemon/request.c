/* SPDX-License-Identifier: Apache-2.0 */

/*
 * An operation that isn't in the table doesn't exist, even if the decoder accepts it. The checks
 * come in this order: the bytes (wire), the descriptors, each target (policy), the quotas (leases),
 * the kernel.
 */

#include "daemon/request.h"

#include "common/fd.h"
#include "daemon/log.h"
#include "daemon/namespaces.h"
#include "daemon/target.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/param.h>
#include <time.h>

enum {
        REQUEST_LEAVING_MS = 1000, /* longest wait for a client's own mount to go */
        REQUEST_LEAVING_PAUSE_MAX_MS = 32,
};

/* A request that is being served. */
struct service {
        struct context *context;
        struct holder *holder;
        struct request *request;
        const char *place; /* path of the target at hand, for the log */
        struct target_facts facts[PROTOCOL_TARGETS_MAX];
};

unsigned context_features(const struct context *context) {
        return templates_setup(context->templates)->features | PROTOCOL_FEATURE_ADOPT |
               PROTOCOL_FEATURE_KEEP | PROTOCOL_FEATURE_CHECK;
}

static struct verdict request_hello(struct service *service) {
        const struct context *context = service->context;
        struct wire_reply *reply = &service->request->reply;

        reply->flags = context_features(context);
        if (policy_allows_join(context->policy, service->holder->subject.uid))
                reply->flags |= PROTOCOL_FEATURE_ENTER;
        snprintf(reply->text, sizeof(reply->text), "mountatd %s", MOUNTATD_VERSION);
        return VERDICT_OK;
}

/* ---- mount: checks ---- */

/* The same directory twice, a client's mistake, would pass target by target. */
static bool request_is_repeated(const struct service *service, uint32_t index) {
        const struct target_facts *facts = &service->facts[index];

        for (uint32_t i = 0; i < index; i++)
                if (service->facts[i].mount_id == facts->mount_id &&
                    strcmp(service->facts[i].path, facts->path) == 0)
                        return true;
        return false;
}

static struct verdict request_ask_policy(const struct service *service, uint32_t i) {
        const struct wire_request *wire = &service->request->wire;
        const struct policy *policy = service->context->policy;
        const struct subject *subject = &service->holder->subject;
        const struct target_facts *facts = &service->facts[i];
        struct verdict verdict;

        verdict = wire->flags & PROTOCOL_CHECK
                          ? policy_judge_check(policy, subject, wire->targets[i].file_system, facts)
                          : policy_judge(policy, subject, wire->targets[i].file_system, facts);
        verdict.target = verdict.status == STATUS_OK ? STATUS_NO_TARGET : i;
        return verdict;
}

/*
 * A client that releases a lease by closing its connection, and reconnects at once, finds its own
 * mounts. Waits for them to go, so that it can open the directory again.
 */
static void request_await_leaving(const struct service *service, uint64_t mount) {
        struct leases *leases = service->context->leases;
        uid_t uid = service->holder->subject.uid;

        for (unsigned waited = 0, pause = 1;
             waited < REQUEST_LEAVING_MS && leases_is_leaving(leases, uid, mount);
             waited += pause, pause = MIN(2 * pause, REQUEST_LEAVING_PAUSE_MAX_MS))
                nanosleep(&(struct timespec){.tv_nsec = pause * 1000000}, NULL);
}

static struct verdict request_judge_target(struct service *service, uint32_t i) {
        const struct context *context = service->context;
        struct target_facts *facts = &service->facts[i];
        int fd = service->request->fds.fds[i];
        struct verdict verdict =
                templates_judge(context->templates, service->request->wire.targets[i].file_system);
        int r;

        if (verdict.status != STATUS_OK) {
                verdict.target = i;
                return verdict;
        }
        r = target_inspect(fd, context->proc, templates_setup(context->templates)->features, facts);
        if (r < 0)
                return verdict_host_failed(r, i);
        service->place = facts->path;
        if (facts->type != TARGET_OTHER && !facts->deleted && request_is_repeated(service, i))
                return verdict_explain(STATUS_ALREADY_MOUNTED, i,
                                       "the request has this directory twice");

        verdict = request_ask_policy(service, i);
        if (verdict.status == STATUS_ALREADY_MOUNTED)
                request_await_leaving(service, facts->mount_id);
        return verdict;
}

static struct verdict request_judge_count(const struct service *service) {
        struct verdict verdict = VERDICT_OK;

        if (service->request->wire.n_targets > service->context->max_targets) {
                verdict = verdict_refuse(STATUS_LIMIT_EXCEEDED, STATUS_NO_TARGET);
                snprintf(verdict.text, sizeof(verdict.text),
                         "the limit of %u targets per request is reached: send fewer, or raise "
                         "mountatd's --max-targets",
                         service->context->max_targets);
        }
        return verdict;
}

static struct verdict request_judge(struct service *service) {
        for (uint32_t i = 0; i < service->request->wire.n_targets; i++) {
                struct verdict verdict = request_judge_target(service, i);

                if (verdict.status != STATUS_OK)
                        return verdict;
        }
        return request_judge_count(service);
}

/* ---- mount: execution ---- */

static enum template_kind request_kind(const struct service *service, uint32_t i) {
        const struct wire_target *target = &service->request->wire.targets[i];
        bool pids = target->options & PROTOCOL_PIDS_ONLY;
        bool writable =
                !(target->options & PROTOCOL_READ_ONLY) &&
                policy_allows_writable_proc(service->context->policy, service->holder->subject.uid);

        if (target->file_system == PROTOCOL_SYSFS)
                return TEMPLATE_SYSFS;
        if (target->file_system == PROTOCOL_DEV)
                return TEMPLATE_DEV;
        if (writable)
                return pids ? TEMPLATE_PROC_WRITABLE_PIDS : TEMPLATE_PROC_WRITABLE;
        return pids ? TEMPLATE_PROC_PIDS : TEMPLATE_PROC;
}

static struct verdict request_grant(struct service *service) {
        struct request *request = service->request;
        struct lease_orders orders = {
                .keep = request->wire.flags & PROTOCOL_KEEP,
                .count = request->wire.n_targets,
        };

        for (uint32_t i = 0; i < orders.count; i++)
                orders.orders[i] = (struct lease_order){
                        .kind = request_kind(service, i),
                        .file_system = request->wire.targets[i].file_system,
                        .target = request->fds.fds[i],
                        .facts = &service->facts[i],
                };
        return lease_grant(service->context->leases, service->holder, &orders,
                           &request->reply.lease);
}

static bool request_is_too_late(const struct service *service) {
        return atomic_load(&service->context->stopping);
}

/* Whether the client is in another mount namespace than ours. */
static bool request_is_away(const struct service *service) {
        return namespaces_id(service->holder->namespaces) != 0;
}

static struct verdict request_mount(struct service *service) {
        struct verdict verdict;

        if (request_is_too_late(service))
                return verdict_refuse(STATUS_SHUTTING_DOWN, STATUS_NO_TARGET);
        if ((service->request->wire.flags & PROTOCOL_KEEP) && request_is_away(service))
                return verdict_explain(
                        STATUS_FOREIGN_NAMESPACE, STATUS_NO_TARGET,
                        "only a lease in mountatd's own mount namespace can be kept beyond its "
                        "connection");
        verdict = request_judge(service);
        if (verdict.status == STATUS_OK && !(service->request->wire.flags & PROTOCOL_CHECK))
                verdict = request_grant(service);
        if (verdict.status == STATUS_FOREIGN_NAMESPACE && !verdict.text[0] &&
            request_is_away(service))
                return verdict_explain(
                        verdict.status, verdict.target,
                        "the directory is not in the mount namespace that this connection has "
                        "entered, or is in a detached tree");
        /*
         * The daemon began to stop during the grant, which was undone: not a failure of the host.
         */
        if (verdict.error == ECONNRESET && request_is_too_late(service))
                return verdict_refuse(STATUS_SHUTTING_DOWN, STATUS_NO_TARGET);
        return verdict;
}

/* ---- unmount, adopt ---- */

static struct verdict request_unmount(struct service *service) {
        struct request *request = service->request;
        struct verdict verdict = lease_release(service->context->leases, service->holder,
                                               request->wire.lease, &request->remains);

        if (request->remains.strangers > 0)
                log_write_limited(LOG_NOTICE, NULL,
                                  "also detached %u mounts that others had stacked on the lease's",
                                  request->remains.strangers);
        return verdict;
}

static struct verdict request_adopt(struct service *service) {
        struct request *request = service->request;
        const struct wire_request *wire = &request->wire;
        struct lease_claim claim = {.id = wire->lease, .count = wire->n_targets};
        struct verdict verdict;

        if (request_is_too_late(service))
                return verdict_refuse(STATUS_SHUTTING_DOWN, STATUS_NO_TARGET);

        for (uint32_t i = 0; i < wire->n_targets; i++)
                claim.file_systems[i] = wire->targets[i].file_system;
        verdict = lease_adopt(service->context->leases, service->holder, &claim, request->fds.fds);
        if (verdict.status == STATUS_OK)
                request->reply.lease = wire->lease;
        return verdict;
}

/* ---- enter ---- */

void request_leave(struct context *context, struct holder *holder) {
        if (!holder->namespaces)
                return;
        holder->templates = templates_free(holder->templates);
        holder->namespaces = namespaces_free(holder->namespaces);
        quota_return(context->quota, holder->subject.uid, QUOTA_NAMESPACES, 1);
}

/*
 * Counts connections, not namespaces: each connection has descriptors and superblocks of its own.
 */
static struct verdict request_join(struct service *service, int fds[static NAMESPACES_KINDS]) {
        struct context *context = service->context;
        struct holder *holder = service->holder;
        const struct ucred peer = {
                .pid = holder->subject.pid, .uid = holder->subject.uid, .gid = holder->subject.gid};
        struct verdict verdict =
                quota_charge(context->quota, holder->subject.uid, QUOTA_NAMESPACES, 1);

        if (verdict.status != STATUS_OK)
                return verdict;
        verdict = namespaces_enter(fds, &peer, &holder->namespaces);
        if (verdict.status != STATUS_OK) {
                quota_return(context->quota, holder->subject.uid, QUOTA_NAMESPACES, 1);
                return verdict;
        }
        holder->templates = templates_derive(context->templates, holder->namespaces);
        if (holder->templates)
                return verdict;
        request_leave(context, holder);
        return verdict_host_failed(-ENOMEM, STATUS_NO_TARGET);
}

/* Once, and before any mount: all leases of a connection are in one namespace. */
static struct verdict request_enter(struct service *service) {
        struct request *request = service->request;
        struct holder *holder = service->holder;
        int fds[NAMESPACES_KINDS] = {-EBADF, -EBADF, -EBADF, -EBADF};
        struct verdict verdict;

        if (!policy_allows_join(service->context->policy, holder->subject.uid))
                return verdict_explain(
                        STATUS_FOREIGN_NAMESPACE, STATUS_NO_TARGET,
                        "mountatd doesn't enter your user's mount namespaces, such as "
                        "containers': see --join in mountatd(8)");
        if (holder->namespaces || leases_are_held(service->context->leases, holder))
                return verdict_explain(STATUS_MALFORMED, STATUS_NO_TARGET,
                                       "enter only once on a connection, before the first mount");
        for (uint32_t i = 0; i < request->wire.n_targets; i++)
                fds[request->wire.targets[i].file_system] = fd_take(&request->fds.fds[i]);
        verdict = request_join(service, fds);
        for (unsigned i = 0; i < NAMESPACES_KINDS; i++)
                fd_close(fds[i]);
        return verdict;
}

/* ---- the table ---- */

static const struct request_operation {
        const char *name;
        struct verdict (*act)(struct service *service);
} request_operations[] = {
        [PROTOCOL_HELLO] = {"hello", request_hello},
        [PROTOCOL_MOUNT] = {"mount", request_mount},
        [PROTOCOL_UNMOUNT] = {"unmount", request_unmount},
        [PROTOCOL_ADOPT] = {"adopt", request_adopt},
        [PROTOCOL_ENTER] = {"enter", request_enter},
};

static const struct request_operation *request_operation(uint16_t operation) {
        if (operation >= sizeof(request_operations) / sizeof(request_operations[0]) ||
            !request_operations[operation].act)
                return NULL;
        return &request_operations[operation];
}

static struct verdict request_act(struct service *service) {
        const struct request *request = service->request;
        const struct request_operation *operation = request_operation(request->wire.operation);
        int r;

        if (request->decoded.status != STATUS_OK)
                return request->decoded;
        if (!operation)
                return verdict_refuse(STATUS_UNKNOWN_OPERATION, STATUS_NO_TARGET);
        if (request->fds.starved)
                return verdict_host_failed(-EMFILE, STATUS_NO_TARGET);
        if (request->fds.count != request->wire.n_targets)
                return verdict_refuse(STATUS_WRONG_FD_COUNT, STATUS_NO_TARGET);
        /*
         * Into the namespace of its mounts, if the thread failed to return there after the last
         * request.
         */
        r = namespaces_go(namespaces_id(service->holder->namespaces));
        return r < 0 ? verdict_host_failed(r, STATUS_NO_TARGET) : operation->act(service);
}

/* ---- the outcome ---- */

/*
 * This is how a client finds out that it is in another mount namespace: not a failure, until it has
 * entered.
 */
static bool request_is_to_enter(const struct service *service, const struct verdict *verdict) {
        const struct holder *holder = service->holder;

        return verdict->status == STATUS_FOREIGN_NAMESPACE && !holder->namespaces &&
               service->request->wire.operation != PROTOCOL_ENTER &&
               policy_allows_join(service->context->policy, holder->subject.uid);
}

static void request_count(const struct service *service, const struct verdict *verdict) {
        struct context *context = service->context;

        if (request_is_to_enter(service, verdict))
                return;
        if (verdict->status != STATUS_OK)
                atomic_fetch_add_explicit(&context->failures_total, 1, memory_order_relaxed);
        else if (service->request->wire.operation == PROTOCOL_MOUNT &&
                 service->request->reply.lease)
                atomic_fetch_add_explicit(&context->mounts_total, service->request->wire.n_targets,
                                          memory_order_relaxed);
}

/* The client itself has chosen a path that is too long, or left during the grant. */
static bool request_is_hosts_fault(const struct verdict *verdict) {
        return verdict->status == STATUS_HOST_FAILED && verdict->error != ENAMETOOLONG &&
               verdict->error != ECONNRESET;
}

static enum log_event request_event(const struct verdict *verdict) {
        if (verdict->status == STATUS_OK)
                return LOG_EVENT_GRANTED;
        return request_is_hosts_fault(verdict) ? LOG_EVENT_HOST_FAILED : LOG_EVENT_REFUSED;
}

/* Warnings for the host's failures, info for clients' mistakes, debug for successes. */
static void request_log(const struct service *service, const struct verdict *verdict) {
        const struct request *request = service->request;
        const struct request_operation *operation = request_operation(request->wire.operation);
        struct log_subject subject = {
                .event = request_event(verdict),
                .has_peer = true,
                .uid = service->holder->subject.uid,
                .pid = service->holder->subject.pid,
                .operation = operation ? operation->name : "unknown",
                .target = verdict->status == STATUS_OK ? NULL : service->place,
                .lease = request->reply.lease ?: request->wire.lease,
                .error = -verdict->error,
        };

        if (verdict->status == STATUS_OK)
                log_write(LOG_DEBUG, &subject, "done");
        else if (request_is_to_enter(service, verdict))
                log_write(LOG_DEBUG, &subject, "%s", status_name(verdict->status));
        else
                log_write_limited(request_is_hosts_fault(verdict) ? LOG_WARNING : LOG_INFO,
                                  &subject, "%s", status_name(verdict->status));
}

static void request_answer(struct wire_reply *reply, const struct verdict *verdict) {
        reply->status = verdict->status;
        reply->error = verdict->error;
        reply->target = verdict->target;
        if (verdict->status == STATUS_OK)
                return;
        snprintf(reply->text, sizeof(reply->text), "%s",
                 verdict->text[0] ? verdict->text : status_sentence(verdict->status));
}

void request_serve(struct context *context, struct holder *holder, struct request *request) {
        struct service service; /* large; mostly touched only if there are targets */
        struct verdict verdict;

        service.context = context;
        service.holder = holder;
        service.request = request;
        service.place = NULL;
        request->remains.strangers = request->remains.count = 0;
        request->reply = (struct wire_reply){
                .operation = request->wire.operation,
                .cookie = request->wire.cookie,
        };

        verdict = request_act(&service);
        request_answer(&request->reply, &verdict);
        request_count(&service, &verdict);
        request_log(&service, &verdict);
}

void request_take_back(struct context *context, struct holder *holder, struct request *request) {
        bool kept = request->wire.operation == PROTOCOL_MOUNT && request->reply.lease &&
                    (request->wire.flags & PROTOCOL_KEEP);

        /*
         * A lease that the host fails to unmount stays the table's, as requested: it ends with the
         * daemon.
         */
        if (kept)
                lease_release(context->leases, holder, request->reply.lease, &request->remains);
}

void request_finish(struct context *context, struct request *request) {
        lease_dispose(&request->remains);
        /*
         * Before the close, which may take its time: clones must not use up the descriptors that
         * clients' targets need.
         */
        templates_replenish(context->templates);
        fdpass_set_close(&request->fds);
}
