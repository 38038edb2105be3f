/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The table of operations, and for each request: authorise, act, answer. Doesn't know how a request
 * arrived or how the reply is sent.
 */

#include "common/fdpass.h"
#include "common/wire.h"
#include "daemon/lease.h"

#include <stdatomic.h>
#include <stdbool.h>

/* Shared by all requests. Borrowed parts; built before the first thread. */
struct context {
        const struct policy *policy;
        struct templates *templates;
        struct leases *leases;
        struct quota *quota;
        int proc;                             /* target_open_proc() */
        unsigned max_targets;                 /* per request, at most PROTOCOL_TARGETS_MAX */
        atomic_bool stopping;                 /* no new mounts */
        atomic_uint_least64_t mounts_total;   /* since the start */
        atomic_uint_least64_t failures_total; /* requests refused or failed */
};

struct request {
        struct wire_request wire;
        struct verdict decoded; /* from wire_decode_request(), or why the request can't be served */
        struct fdpass_set fds;  /* owned; those that are kept are taken */
        struct wire_reply reply;
        struct lease_remains remains; /* for request_finish() */
};

/*
 * Serves the request of `holder`: fills in the reply, and writes at most one log line. In an
 * isolated thread; can block, unkillable, on a hostile FUSE.
 */
void request_serve(struct context *context, struct holder *holder, struct request *request);

/*
 * For a reply that could not be delivered: releases a lease to be kept, which nobody knows about.
 * On the same thread, before request_finish().
 */
void request_take_back(struct context *context, struct holder *holder, struct request *request);

/*
 * The part that the client need not wait for: after the reply, on the same thread. Closes the
 * descriptors that the client sent, which can take its time.
 */
void request_finish(struct context *context, struct request *request);

/*
 * Takes the thread out of the namespaces that the holder has entered, if any, and closes what was
 * kept of them; on its thread, once it holds no lease any more.
 */
void request_leave(struct context *context, struct holder *holder);

/* PROTOCOL_FEATURE_* bits of this daemon on this kernel. */
unsigned context_features(const struct context *context);
