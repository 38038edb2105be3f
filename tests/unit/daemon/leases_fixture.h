/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A table of leases over a state file, and their holders. */

#include "daemon/leases.h"

#include "tests/test.h"
#include "tests/unit/daemon/fake_context.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static struct fake_context fake;
static struct leases *leases; /* the fake context's */

static inline void start_after(unsigned mounts, unsigned mounts_per_user, const struct record *left,
                               size_t n_left) {
        struct quota_limit quota[QUOTA_KINDS] = {[QUOTA_MOUNTS] = {mounts, mounts_per_user}};

        fake_context_start_as(&fake, &(struct fake_setup){.features = FAKE_ALL_FEATURES,
                                                          .quota = quota,
                                                          .left = left,
                                                          .n_left = n_left});
        leases = fake.context.leases;
}

static inline void start(unsigned mounts, unsigned mounts_per_user) {
        start_after(mounts, mounts_per_user, NULL, 0);
}

/* Without any lease held. */
static inline void end(void) {
        fake_context_end(&fake);
}

static inline struct holder administrator(void) {
        return (struct holder){.subject = {.pid = 1, .trust = TRUST_ADMINISTRATOR},
                               .socket = -EBADF};
}

static inline struct lease_orders orders_for(unsigned count, bool keep) {
        struct lease_orders orders = {.keep = keep, .count = count};

        for (unsigned i = 0; i < count; i++)
                orders.orders[i] = (struct lease_order){
                        .file_system = i % 2 ? PROTOCOL_SYSFS : PROTOCOL_PROC, .target = -EBADF};
        return orders;
}

static inline struct lease *reserve_as(struct holder *holder, unsigned count, bool keep) {
        struct lease_orders orders = orders_for(count, keep);
        struct lease *lease = NULL;

        ck_assert_uint_eq(leases_reserve(leases, holder, &orders, &lease).status, STATUS_OK);
        ck_assert_ptr_nonnull(lease);
        ck_assert_uint_ne(lease->record->lease, 0);
        return lease;
}

static inline struct lease *reserve(struct holder *holder, unsigned count) {
        return reserve_as(holder, count, false);
}

/* Grants a live lease; returns its id. */
static inline uint64_t grant_as(struct holder *holder, unsigned count, bool keep) {
        struct lease *lease = reserve_as(holder, count, keep);
        uint64_t id = lease->record->lease;

        ck_assert(leases_publish(leases, lease));
        return id;
}

static inline uint64_t grant(struct holder *holder, unsigned count) {
        return grant_as(holder, count, false);
}

static inline void take_and_drop(struct holder *holder, uint64_t id) {
        struct lease *lease = leases_take(leases, holder, id);

        ck_assert_ptr_nonnull(lease);
        ck_assert_uint_eq(lease->record->lease, id);
        leases_drop(leases, lease);
}

static inline bool may_take(struct holder *holder, uint64_t id) {
        struct lease *lease = leases_take(leases, holder, id);

        if (lease)
                leases_give_back(leases, lease);
        return lease;
}

static inline void refuses_mounts(struct holder *holder, unsigned count, const char *option) {
        struct leases_counts before = leases_count(leases), after;
        unsigned used = quota_used(fake.context.quota, QUOTA_MOUNTS);
        struct lease_orders orders = orders_for(count, false);
        struct lease *lease = NULL;
        struct verdict verdict = leases_reserve(leases, holder, &orders, &lease);

        after = leases_count(leases);
        ck_assert_uint_eq(verdict.status, STATUS_LIMIT_EXCEEDED);
        ck_assert_uint_eq(verdict.target, STATUS_NO_TARGET);
        ck_assert_ptr_nonnull(strstr(verdict.text, option));
        ck_assert_ptr_null(lease);
        ck_assert_mem_eq(&before, &after, sizeof(before));
        ck_assert_uint_eq(quota_used(fake.context.quota, QUOTA_MOUNTS), used);
}

static inline enum record_state state_of(uint64_t id) {
        return fake_context_record(&fake, id).state;
}

static inline void counts_are(unsigned live, unsigned left, unsigned orphans, unsigned mounts) {
        struct leases_counts counts = leases_count(leases);

        ck_assert_uint_eq(counts.leases, live);
        ck_assert_uint_eq(counts.left, left);
        ck_assert_uint_eq(counts.orphans, orphans);
        ck_assert_uint_eq(quota_used(fake.context.quota, QUOTA_MOUNTS), mounts);
}

/* As a sweep that finds none of its mounts. */
static inline void forget_left(void) {
        uint32_t cursor = 0;
        struct record record;

        while (leases_take_left(leases, LEASES_LEFT_ALL, &cursor, &record))
                leases_forget(leases, record.lease);
}

static inline struct record left_at(uint32_t index, uid_t uid, enum record_state state,
                                    unsigned count) {
        struct record record = fake_context_left_at(index, uid, state, count);

        record.writer_pid = 1;
        record.mounted = count; /* so that each counts as one */
        return record;
}

static inline struct record kept_at(uint32_t index, uid_t uid, enum record_state state,
                                    unsigned count) {
        struct record record = left_at(index, uid, state, count);

        record.kept = 1;
        return record;
}

enum { LEFT_MOUNTS = 20, LEFT_MOUNTS_PER_USER = 9 };

static inline void start_with(const struct record *left, size_t n_left) {
        start_after(LEFT_MOUNTS, LEFT_MOUNTS_PER_USER, left, n_left);
}

/* The client's side of an adoption. */
struct roots {
        int fds[PROTOCOL_TARGETS_MAX];
        unsigned count;
};

static inline struct roots open_roots(unsigned count) {
        struct roots roots = {.count = count};

        for (unsigned i = 0; i < count; i++) {
                roots.fds[i] = open("/", O_PATH | O_CLOEXEC);
                ck_assert_int_ge(roots.fds[i], 0);
        }
        return roots;
}

static inline void close_roots(int *fds, unsigned count) {
        for (unsigned i = 0; i < count; i++)
                fds[i] = fd_close(fds[i]);
}

/* As lease.c does after identifying the descriptors. All are taken, or none. */
static inline bool adopt(struct holder *holder, const struct record *record) {
        struct roots roots = open_roots(record->count <= 16 ? record->count : 0);
        struct lease_claim claim = {.id = record->lease, .count = record->count};
        bool adopted;

        memcpy(claim.file_systems, record->file_systems, sizeof(claim.file_systems));
        adopted = leases_hand_over(leases, holder, &claim,
                                   &(struct lease_roots){record->mounts, roots.fds});
        for (unsigned i = 0; i < roots.count; i++)
                ck_assert_int_eq(roots.fds[i] < 0, adopted);
        close_roots(roots.fds, roots.count);
        return adopted;
}

/* Adopted and kept leases have descriptors. */
static inline void close_and_drop(struct lease *lease) {
        close_roots(lease->fds, lease->record->count);
        leases_drop(leases, lease);
}
