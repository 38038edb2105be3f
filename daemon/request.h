/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The gate: the table of what may be asked, and for each request authorise, act, answer. It knows
 * nothing of how a request came or how the reply goes.
 */

#include "common/fdpass.h"
#include "common/wire.h"
#include "daemon/ledger.h"
#include "daemon/mount.h"
#include "daemon/policy.h"

#include <stdatomic.h>
#include <stdbool.h>

/* What all requests are served from. Borrowed parts; built before the first worker. */
struct request_gate {
        const struct policy *policy;
        struct mount_templates *templates;
        struct ledger *ledger;
        int proc;                             /* target_open_proc() */
        unsigned max_targets;                 /* per request, at most PROTOCOL_TARGETS_MAX */
        atomic_bool stopping;                 /* no new mounts */
        atomic_uint_least64_t mounts_total;   /* since the start */
        atomic_uint_least64_t failures_total; /* requests that were refused, or failed */
};

/* What a request leaves to be done, for which its client need not wait. */
struct request_rest {
        struct lease *ended;
};

/*
 * Serves the request of `owner`, as wire_decode_request() gave it with its verdict. What
 * is kept of `fds` is taken out of it, the rest stays the caller's. Writes at most one log line. On
 * a worker; can block, unkillable, on a hostile FUSE. `*rest` is for request_finish().
 */
void request_serve(struct request_gate *gate, struct ledger_owner *owner,
                   const struct wire_request *request, const struct verdict *decoded,
                   struct fdpass_set *fds, struct wire_reply *reply, struct request_rest *rest);

/* When the reply is out, on the same worker. Doesn't block. */
void request_finish(struct request_gate *gate, const struct request_rest *rest);

/* "mount"; "unknown" for a number without one. */
const char *request_operation_name(uint16_t operation);
