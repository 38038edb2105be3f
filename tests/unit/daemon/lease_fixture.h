/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A client over the fake kernel: its directories, its leases, and what must hold after each grant
 * and release.
 */

#include "daemon/lease.h"

#include "tests/test.h"
#include "tests/unit/daemon/fake_context.h"
#include "tests/unit/daemon/feature_sets.h"

#include <errno.h>

enum { DEV_MOUNTS = 9 };

static const int errors[] = {EPERM, ENOENT, EINVAL, EBUSY, ENOSPC, ENOMEM, ENOTDIR, EMFILE};

enum { N_ERRORS = sizeof(errors) / sizeof(errors[0]) };

/* A connection with directories to mount on. */
struct client {
        struct fake_context fake;
        struct holder holder;
        unsigned features;
        unsigned count;
        int directories[PROTOCOL_TARGETS_MAX];
        struct target_facts facts[PROTOCOL_TARGETS_MAX];
        struct lease_orders orders;
};

/* Room for two of the largest leases. */
static const struct quota_limit client_quota[QUOTA_KINDS] = {
        {64, 64}, {64, 64}, {128, 128}, {64, 64}};

static struct client client;  /* large */
static struct leases *leases; /* the client's */

static const struct {
        const char *path, *type;
        enum template_kind kind;
        uint8_t file_system;
} client_kinds[] = {
        {"/r/proc", "proc", TEMPLATE_PROC, PROTOCOL_PROC},
        {"/r/sys", "sysfs", TEMPLATE_SYSFS, PROTOCOL_SYSFS},
        {"/r/dev", "tmpfs", TEMPLATE_DEV, PROTOCOL_DEV},
};

static inline void client_add_directory(unsigned i, unsigned flags) {
        struct fake_directory directory = {
                .path = client_kinds[i % 3].path, .owner = 1000, .flags = flags};

        client.directories[i] = fake_directory(&directory);
        ck_assert_int_eq(target_inspect(client.directories[i], client.fake.context.proc,
                                        client.features, &client.facts[i]),
                         0);
        client.orders.orders[i] = (struct lease_order){
                .kind = client_kinds[i % 3].kind,
                .file_system = client_kinds[i % 3].file_system,
                .target = client.directories[i],
                .facts = &client.facts[i],
        };
}

/* The number of mounts it makes: every third target is a dev. */
static inline unsigned client_weight(void) {
        return client.count + client.count / 3 * (DEV_MOUNTS - 1);
}

/* The connection ends, and the same user connects again. */
static inline void client_reconnect(void) {
        client.holder = holder_of(1000);
}

static inline void client_start(unsigned features, unsigned count) {
        client.features = features;
        client.count = client.orders.count = count;
        client.orders.keep = false;
        fake_context_start_as(&client.fake,
                              &(struct fake_setup){.features = features, .quota = client_quota});
        leases = client.fake.context.leases;
        client_reconnect();
        for (unsigned i = 0; i < count; i++)
                client_add_directory(i, 0);
        fake_calls_reset();
}

static inline void client_end(void) {
        for (unsigned i = 0; i < client.count; i++)
                fd_close(client.directories[i]);
        fake_context_end(&client.fake);
}

/* New ones, since directories with mounts would be refused. */
static inline void client_renew_directories(void) {
        for (unsigned i = 0; i < client.count; i++) {
                fd_close(client.directories[i]);
                client_add_directory(i, 0);
        }
}

static inline struct verdict grant(uint64_t *id) {
        return lease_grant(leases, &client.holder, &client.orders, id);
}

static inline struct verdict release_as(struct holder *holder, uint64_t id, unsigned *strangers) {
        struct lease_remains remains = {.count = 4711};
        struct verdict verdict = lease_release(leases, holder, id, &remains);

        ck_assert_uint_eq(remains.count, verdict.status == STATUS_OK ? client.count : 0);
        *strangers = remains.strangers;
        lease_dispose(&remains);
        return verdict;
}

static inline struct verdict release(uint64_t id, unsigned *strangers) {
        return release_as(&client.holder, id, strangers);
}

static inline int release_all(struct holder *holder) {
        return lease_release_held(leases, holder);
}

static inline void lease_holds(unsigned live, unsigned mounts) {
        ck_assert_uint_eq(leases_count(leases).leases, live);
        ck_assert_uint_eq(quota_used(client.fake.context.quota, QUOTA_MOUNTS),
                          live * client_weight());
        ck_assert_uint_eq(fake_context_records(&client.fake), live);
        ck_assert_uint_eq(fake_mounts(), mounts);
        ck_assert(fake_is_in_root());
}
