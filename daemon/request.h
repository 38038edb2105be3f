/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The table of what may be asked, and for each request authorise, act, answer. It knows nothing of
 * how a request came or how the reply goes.
 */

#include "common/fdpass.h"
#include "common/wire.h"
#include "daemon/lease.h"

#include <stdatomic.h>
#include <stdbool.h>

/* What all requests are served from. Borrowed parts; built before the first thread. */
struct context {
        const struct policy *policy;
        struct templates *templates;
        struct leases *leases;
        struct quota *quota;
        int proc;                             /* target_open_proc() */
        unsigned max_targets;                 /* per request, at most PROTOCOL_TARGETS_MAX */
        atomic_bool stopping;                 /* no new mounts */
        atomic_uint_least64_t mounts_total;   /* since the start */
        atomic_uint_least64_t failures_total; /* requests that were refused, or failed */
};

struct request {
        struct wire_request wire;
        struct verdict decoded; /* as wire_decode_request() gave it, or why it can't be served */
        struct fdpass_set fds;  /* owned; what is kept of them is taken out */
        struct wire_reply reply;
        struct lease_remains remains; /* for request_finish() */
};

/*
 * Serves the request of `holder`: the reply is filled in, at most one log line is written. In an
 * isolated thread; can block, unkillable, on a hostile FUSE.
 */
void request_serve(struct context *context, struct holder *holder, struct request *request);

/*
 * Its reply could not be delivered: nobody knows of what is to be kept, so that is released. On the
 * same thread, before request_finish().
 */
void request_take_back(struct context *context, struct holder *holder, struct request *request);

/*
 * What its client need not wait for: when the reply is out, on the same thread. Closes what the
 * client sent, which can take its time.
 */
void request_finish(struct context *context, struct request *request);

/* Takes the thread out of the namespaces that the holder has entered, if it has, and closes what
 * was kept of them; on its thread, when it holds nothing any more. */
void request_leave(struct context *context, struct holder *holder);

/* PROTOCOL_FEATURE_* bits of this daemon on this kernel. */
unsigned context_features(const struct context *context);
