/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * How much there may be, of all users and of one: charged before anything is allocated, returned
 * when it is gone. One mutex, never held across a call that can block. Any thread.
 */

#include "common/status.h"

#include <sys/types.h>

enum quota_kind {
        QUOTA_CONNECTIONS, /* that are served */
        QUOTA_REFUSALS,    /* threads that close refused ones */
        QUOTA_MOUNTS,
        QUOTA_CALLS,      /* over D-Bus, under way */
        QUOTA_NAMESPACES, /* connections that have entered those of their clients */
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
 * Charges `amount` to the user. STATUS_LIMIT_EXCEEDED, with a text that names the limit and what
 * raises it; STATUS_HOST_FAILED: out of memory. Then nothing is charged.
 */
struct verdict quota_charge(struct quota *quota, uid_t uid, enum quota_kind kind, unsigned amount);

/* The same, beyond the limits if need be: for what exists already. -ENOMEM. */
int quota_charge_anyway(struct quota *quota, uid_t uid, enum quota_kind kind, unsigned amount);

/* Gives back what was charged. */
void quota_return(struct quota *quota, uid_t uid, enum quota_kind kind, unsigned amount);

/* What all users have. */
unsigned quota_used(struct quota *quota, enum quota_kind kind);
