/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The limits, of all users together and of each: charged before anything is allocated, returned
 * when it is gone. One mutex, never held across a call that can block. Any thread.
 */

#include "common/status.h"

#include <sys/types.h>

enum quota_kind {
        QUOTA_CONNECTIONS, /* being served */
        QUOTA_REFUSALS,    /* threads that close refused connections */
        QUOTA_MOUNTS,
        QUOTA_CALLS,      /* pending calls over D-Bus */
        QUOTA_NAMESPACES, /* connections in mount namespaces of clients */
        QUOTA_KINDS,
};

struct quota_limit {
        unsigned total;
        unsigned per_user;
};

struct quota;

/* NULL: out of memory. */
struct quota *quota_new(const struct quota_limit limits[QUOTA_KINDS]);
struct quota *quota_free(struct quota *quota);

const struct quota_limit *quota_limit(const struct quota *quota, enum quota_kind kind);

/*
 * Charges `amount` to the user. STATUS_LIMIT_EXCEEDED, with a text that names the limit and how to
 * raise it; STATUS_HOST_FAILED: out of memory. On failure nothing is charged.
 */
struct verdict quota_charge(struct quota *quota, uid_t uid, enum quota_kind kind, unsigned amount);

/* The same, even beyond the limits: for what already exists. -ENOMEM. */
int quota_charge_anyway(struct quota *quota, uid_t uid, enum quota_kind kind, unsigned amount);

/* Returns a charge. */
void quota_return(struct quota *quota, uid_t uid, enum quota_kind kind, unsigned amount);

/* The total of all users. */
unsigned quota_used(struct quota *quota, enum quota_kind kind);
