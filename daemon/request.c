/* SPDX-License-Identifier: Apache-2.0 */

/*
 * An operation that isn't in the table doesn't exist, whatever the decoder let through. Order of
 * the checks: the bytes (wire), the descriptors, the targets one by one (policy), the quotas
 * (ledger), the kernel.
 */

#include "daemon/request.h"

#include "daemon/lease.h"
#include "daemon/log.h"
#include "daemon/stall.h"
#include "daemon/target.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* One request on its way through the gate. */
struct request {
        struct request_gate *gate;
        struct ledger_owner *owner;
        const struct wire_request *wire;
        struct fdpass_set *fds;
        struct wire_reply *reply;
        struct request_rest *rest;
        bool local_only;   /* too many workers are stuck on file systems of users */
        const char *place; /* of the target that is being looked at, for the log */
        struct target_facts facts[PROTOCOL_TARGETS_MAX];
};

static struct verdict request_hello(struct request *request) {
        request->reply->flags = mount_features(request->gate->templates) | PROTOCOL_FEATURE_ADOPT;
        snprintf(request->reply->text, sizeof(request->reply->text), "mountatd %s",
                 MOUNTATD_VERSION);
        return VERDICT_OK;
}

/* The same directory twice would pass target by target, and is the client's mistake. */
static bool request_is_repeated(const struct request *request, uint32_t index) {
        const struct target_facts *facts = &request->facts[index];

        for (uint32_t i = 0; i < index; i++)
                if (request->facts[i].mount_id == facts->mount_id &&
                    strcmp(request->facts[i].path, facts->path) == 0)
                        return true;
        return false;
}

static struct verdict request_refuse_remote(uint32_t i) {
        struct verdict verdict = verdict_refuse(STATUS_LIMIT_EXCEEDED, i);

        snprintf(verdict.text, sizeof(verdict.text),
                 "too many workers are stuck on FUSE servers: until they return, only directories "
                 "on local file systems are accepted");
        return verdict;
}

static enum status request_ask_policy(const struct request *request, uint32_t i) {
        const struct ledger_owner *owner = request->owner;
        const struct policy_subject subject = {
                .uid = owner->uid,
                .trust = owner->standing == LEDGER_TRUSTED_CALL ? POLICY_TRUSTED : POLICY_USER,
        };

        return policy_judge(request->gate->policy, &subject, request->wire->targets[i].file_system,
                            &request->facts[i]);
}

/*
 * Before Linux 6.8 the file system must be asked what it is, and may be a client's that doesn't
 * answer. So that is done last, and only if the verdict depends on it: below a build directory,
 * where Buildbarn has its FUSE, it doesn't.
 */
static bool request_lacks_file_system(const struct request *request, uint32_t i,
                                      enum status status) {
        return status == STATUS_UNSUPPORTED_FILE_SYSTEM && request->facts[i].magic == 0;
}

static struct verdict request_judge_target(struct request *request, uint32_t i) {
        struct request_gate *gate = request->gate;
        struct target_facts *facts = &request->facts[i];
        enum status status;
        int r;

        stall_begin();
        r = target_inspect(request->fds->fds[i], gate->proc, mount_features(gate->templates),
                           facts);
        stall_end();
        if (r < 0)
                return verdict_host_failed(r, i);
        request->place = facts->path;
        if (facts->type != TARGET_OTHER && !facts->deleted && request_is_repeated(request, i))
                return verdict_refuse(STATUS_ALREADY_MOUNTED, i);

        status = request_ask_policy(request, i);
        if (request_lacks_file_system(request, i, status)) {
                stall_begin();
                r = target_ask_file_system(request->fds->fds[i], facts);
                stall_end();
                if (r < 0)
                        return verdict_host_failed(r, i);
                status = request_ask_policy(request, i);
        }
        if (status == STATUS_OK && request->local_only && !policy_is_local(facts->magic))
                return request_refuse_remote(i);
        return status == STATUS_OK ? VERDICT_OK : verdict_refuse(status, i);
}

static enum mount_kind request_kind(const struct request *request, uint32_t i) {
        const struct wire_target *target = &request->wire->targets[i];
        bool pids = target->options & PROTOCOL_PIDS_ONLY;
        bool writable = !(target->options & PROTOCOL_READ_ONLY) &&
                        policy_allows_writable_proc(request->gate->policy, request->owner->uid);

        if (target->file_system == PROTOCOL_SYSFS)
                return MOUNT_SYSFS;
        if (writable)
                return pids ? MOUNT_PROC_WRITABLE_PIDS : MOUNT_PROC_WRITABLE;
        return pids ? MOUNT_PROC_PIDS : MOUNT_PROC;
}

static struct verdict request_attempt(struct request *request) {
        struct request_gate *gate = request->gate;
        struct lease_order orders[PROTOCOL_TARGETS_MAX];
        struct verdict verdict;

        for (uint32_t i = 0; i < request->wire->n_targets; i++) {
                verdict = request_judge_target(request, i);
                if (verdict.status != STATUS_OK)
                        return verdict;
                orders[i] = (struct lease_order){
                        .kind = request_kind(request, i),
                        .file_system = request->wire->targets[i].file_system,
                        .target = request->fds->fds[i],
                        .facts = &request->facts[i],
                };
        }

        if (request->wire->n_targets > gate->max_targets) {
                verdict = verdict_refuse(STATUS_LIMIT_EXCEEDED, STATUS_NO_TARGET);
                snprintf(verdict.text, sizeof(verdict.text),
                         "the limit of %u targets per request is reached: send fewer, or raise "
                         "mountatd's --max-targets",
                         gate->max_targets);
                return verdict;
        }
        return lease_grant(gate->templates, gate->ledger, request->owner, orders,
                           request->wire->n_targets, &request->reply->lease);
}

static struct verdict request_mount(struct request *request) {
        struct request_gate *gate = request->gate;
        struct verdict verdict;

        if (atomic_load(&gate->stopping))
                return verdict_refuse(STATUS_SHUTTING_DOWN, STATUS_NO_TARGET);

        request->local_only = ledger_is_local_only(gate->ledger);
        verdict = request_attempt(request);
        /* The stop came while it was being granted, so it was undone: not the host's failure. */
        if (verdict.error == ECONNRESET && atomic_load(&gate->stopping))
                return verdict_refuse(STATUS_SHUTTING_DOWN, STATUS_NO_TARGET);
        return verdict;
}

static struct verdict request_unmount(struct request *request) {
        struct request_gate *gate = request->gate;
        unsigned strangers;
        struct verdict verdict;

        verdict = lease_release(gate->templates, gate->ledger, request->owner, request->wire->lease,
                                &strangers, &request->rest->ended);
        if (strangers > 0)
                log_write_limited(LOG_NOTICE, NULL,
                                  "detached %u mounts of others that were on top of ours",
                                  strangers);
        return verdict;
}

static struct verdict request_adopt(struct request *request) {
        struct request_gate *gate = request->gate;
        uint8_t file_systems[PROTOCOL_TARGETS_MAX];
        struct verdict verdict;

        if (atomic_load(&gate->stopping))
                return verdict_refuse(STATUS_SHUTTING_DOWN, STATUS_NO_TARGET);

        for (uint32_t i = 0; i < request->wire->n_targets; i++)
                file_systems[i] = request->wire->targets[i].file_system;
        verdict = lease_adopt(gate->templates, gate->ledger, request->owner, request->wire->lease,
                              file_systems, request->fds->fds, request->wire->n_targets);
        if (verdict.status == STATUS_OK)
                request->reply->lease = request->wire->lease;
        return verdict;
}

static const struct request_operation {
        const char *name;
        struct verdict (*act)(struct request *request);
} request_operations[] = {
        [PROTOCOL_HELLO] = {"hello", request_hello},
        [PROTOCOL_MOUNT] = {"mount", request_mount},
        [PROTOCOL_UNMOUNT] = {"unmount", request_unmount},
        [PROTOCOL_ADOPT] = {"adopt", request_adopt},
};

static const struct request_operation *request_operation(uint16_t operation) {
        if (operation >= sizeof(request_operations) / sizeof(request_operations[0]) ||
            !request_operations[operation].act)
                return NULL;
        return &request_operations[operation];
}

const char *request_operation_name(uint16_t operation) {
        const struct request_operation *entry = request_operation(operation);

        return entry ? entry->name : "unknown";
}

static struct verdict request_act(struct request *request) {
        const struct request_operation *operation = request_operation(request->wire->operation);

        if (!operation)
                return verdict_refuse(STATUS_UNKNOWN_OPERATION, STATUS_NO_TARGET);
        if (request->fds->starved)
                return verdict_host_failed(-EMFILE, STATUS_NO_TARGET);
        if (request->fds->count != request->wire->n_targets)
                return verdict_refuse(STATUS_WRONG_FD_COUNT, STATUS_NO_TARGET);
        return operation->act(request);
}

static enum log_event request_event(enum status status) {
        switch (status) {
        case STATUS_OK:
                return LOG_EVENT_GRANTED;
        case STATUS_HOST_FAILED:
                return LOG_EVENT_HOST_FAILED;
        default:
                return LOG_EVENT_REFUSED;
        }
}

static void request_count(const struct request *request, const struct verdict *verdict) {
        struct request_gate *gate = request->gate;

        if (verdict->status != STATUS_OK)
                atomic_fetch_add_explicit(&gate->failures_total, 1, memory_order_relaxed);
        else if (request->wire->operation == PROTOCOL_MOUNT)
                atomic_fetch_add_explicit(&gate->mounts_total, request->wire->n_targets,
                                          memory_order_relaxed);
}

/* The host's fault is a warning, the client's an information; what went well is for debugging. */
static void request_log(const struct request *request, const struct verdict *verdict) {
        struct log_subject subject = {
                .event = request_event(verdict->status),
                .has_peer = true,
                .uid = request->owner->uid,
                .pid = request->owner->pid,
                .operation = request_operation_name(request->wire->operation),
                .target = verdict->status == STATUS_OK ? NULL : request->place,
                .lease = request->reply->lease ?: request->wire->lease,
                .error = -verdict->error,
        };

        if (verdict->status == STATUS_OK)
                log_write(LOG_DEBUG, &subject, "done");
        else
                log_write_limited(verdict->status == STATUS_HOST_FAILED ? LOG_WARNING : LOG_INFO,
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

void request_serve(struct request_gate *gate, struct ledger_owner *owner,
                   const struct wire_request *wire, const struct verdict *decoded,
                   struct fdpass_set *fds, struct wire_reply *reply, struct request_rest *rest) {
        struct request request;
        struct verdict verdict;

        *rest = (struct request_rest){0};
        *reply = (struct wire_reply){.operation = wire->operation, .cookie = wire->cookie};
        request.gate = gate;
        request.owner = owner;
        request.wire = wire;
        request.fds = fds;
        request.reply = reply;
        request.rest = rest;
        request.place = NULL;

        verdict = decoded->status == STATUS_OK ? request_act(&request) : *decoded;
        request_answer(reply, &verdict);
        request_count(&request, &verdict);
        request_log(&request, &verdict);
}

void request_finish(struct request_gate *gate, const struct request_rest *rest) {
        lease_free(rest->ended);
        mount_restock(gate->templates);
}
