/* SPDX-License-Identifier: Apache-2.0 */

/* A lease left by a previous instance becomes a client's again, or nothing changes. */

#include "tests/unit/daemon/lease_fixture.h"

/* The client's side of the mounts that the previous instance made. */
struct claim {
        struct record left;
        int fds[PROTOCOL_TARGETS_MAX];
};

static struct claim claim;

/*
 * The previous instance left a lease with that many mounts, and the client has a descriptor of
 * each.
 */
static void adoption_start(unsigned features, unsigned count) {
        client.features = features;
        client.count = count;
        for (unsigned i = 0; i < count; i++)
                client.directories[i] =
                        fake_directory(&(struct fake_directory){.path = "/r/x", .owner = 1000});
        claim.left = fake_context_left(features, 5, 1000, RECORD_LIVE, client.directories, count);
        fake_context_start_as(
                &client.fake,
                &(struct fake_setup){.features = features, .left = &claim.left, .n_left = 1});
        leases = client.fake.context.leases;
        client.fake.descriptors -= count; /* the directories, as in client_start() */
        client.fake.descriptors_before -= count;
        client_reconnect();
        for (unsigned i = 0; i < count; i++)
                claim.fds[i] = fake_open_mount(client.directories[i]);
        fake_calls_reset();
}

static struct verdict adopt_as(struct holder *holder, uint64_t id, unsigned count) {
        struct lease_claim said = {.id = id, .count = count};

        memcpy(said.file_systems, claim.left.file_systems, sizeof(said.file_systems));
        return lease_adopt(leases, holder, &said, claim.fds);
}

static struct verdict adopt(void) {
        return adopt_as(&client.holder, claim.left.lease, claim.left.count);
}

/* Refused: all descriptors are still ours, and nothing has changed. */
static void adoption_is_refused_with(enum status status, struct verdict verdict, uint32_t target) {
        ck_assert_uint_eq(verdict.status, status);
        ck_assert_uint_eq(verdict.target, target);
        ck_assert_uint_eq(leases_count(leases).left, 1);
        lease_holds(1, client.count);
        ck_assert_uint_eq(descriptors_count(), client.fake.descriptors + 2 * client.count);
        for (unsigned i = 0; i < client.count; i++)
                ck_assert_int_ge(fcntl(claim.fds[i], F_GETFD), 0);
}

static void adoption_is_refused(struct verdict verdict, uint32_t target) {
        adoption_is_refused_with(STATUS_NO_SUCH_LEASE, verdict, target);
}

/* After any refusal the lease can still be adopted, and released. */
static void adoption_end(void) {
        unsigned strangers = 99;

        fake_calls_reset();
        ck_assert_uint_eq(adopt().status, STATUS_OK);
        for (unsigned i = 0; i < client.count; i++)
                ck_assert_int_lt(claim.fds[i], 0); /* taken */
        ck_assert_uint_eq(leases_count(leases).left, 0);
        lease_holds(1, client.count);
        ck_assert_uint_eq(descriptors_count(), client.fake.descriptors + 2 * client.count);
        ck_assert_uint_eq(fake_calls(FAKE_MOVE_MOUNT) + fake_calls(FAKE_UMOUNT), 0);
        ck_assert_uint_eq(release(claim.left.lease, &strangers).status, STATUS_OK);
        ck_assert_uint_eq(strangers, 0);
        client_end();
}

START_TEST(adopts_and_releases) {
        FOR_ALL(f, s) {
                adoption_start(feature_sets[f], sizes[s]);
                adoption_end();
        }
}
END_TEST

START_TEST(adopted_lease_ends_with_its_connection) {
        adoption_start(FAKE_ALL_FEATURES, 2);
        ck_assert_uint_eq(adopt().status, STATUS_OK);
        ck_assert_int_eq(release_all(&client.holder), 0);
        client_end();
}
END_TEST

START_TEST(adopted_lease_that_is_gone_already_is_released) {
        unsigned strangers = 99;

        FOR_ALL(f, s) {
                adoption_start(feature_sets[f], sizes[s]);
                ck_assert_uint_eq(adopt().status, STATUS_OK);
                for (unsigned i = 0; i < sizes[s]; i++)
                        fake_uncover(client.directories[i]);
                ck_assert_uint_eq(release(claim.left.lease, &strangers).status, STATUS_OK);
                client_end();
        }
}
END_TEST

/*
 * A failure of the host isn't an answer: a client told that there is no such lease would give it
 * up.
 */
static enum status status_of_failed_adoption(int error) {
        bool answered = error == EINVAL || error == ENOENT;

        return answered ? STATUS_NO_SUCH_LEASE : STATUS_HOST_FAILED;
}

START_TEST(each_call_that_fails_undoes_the_adoption) {
        FOR_ALL(f, s) {
                unsigned calls, strangers;

                adoption_start(feature_sets[f], sizes[s]);
                ck_assert_uint_eq(adopt().status, STATUS_OK);
                calls = fake_calls(FAKE_ANY);
                ck_assert_uint_ge(calls, sizes[s]);
                ck_assert_uint_eq(calls % sizes[s], 0);
                ck_assert_uint_eq(release(claim.left.lease, &strangers).status, STATUS_OK);
                client_end();

                adoption_start(feature_sets[f], sizes[s]);
                for (unsigned n = 1; n <= calls; n++)
                        for (unsigned e = 0; e < N_ERRORS; e++) {
                                fake_calls_reset();
                                fake_fail(FAKE_ANY, n, 1, errors[e]);
                                adoption_is_refused_with(status_of_failed_adoption(errors[e]),
                                                         adopt(), (n - 1) / (calls / sizes[s]));
                        }
                adoption_end();
        }
}
END_TEST

START_TEST(adoption_is_for_who_had_it) {
        static const uid_t others[] = {0, 1001};

        FOR_ALL(f, s) {
                adoption_start(feature_sets[f], sizes[s]);
                for (unsigned i = 0; i < 2; i++) {
                        struct holder other = holder_of(others[i]);

                        adoption_is_refused(adopt_as(&other, claim.left.lease, claim.left.count),
                                            STATUS_NO_TARGET);
                }
                adoption_is_refused(adopt_as(&client.holder, 0, sizes[s]), STATUS_NO_TARGET);
                adoption_is_refused(adopt_as(&client.holder, UINT64_MAX, sizes[s]),
                                    STATUS_NO_TARGET);
                adoption_is_refused(adopt_as(&client.holder, claim.left.lease + 1, sizes[s]),
                                    STATUS_NO_TARGET);
                if (sizes[s] > 1)
                        adoption_is_refused(
                                adopt_as(&client.holder, claim.left.lease, sizes[s] - 1),
                                STATUS_NO_TARGET);
                adoption_end();
        }
}
END_TEST

START_TEST(adopted_lease_can_not_be_adopted_again) {
        struct holder other = holder_of(1000);
        unsigned strangers;
        int again;

        adoption_start(FAKE_ALL_FEATURES, 1);
        again = fake_open_mount(client.directories[0]);
        ck_assert_uint_eq(adopt().status, STATUS_OK);
        claim.fds[0] = again;
        ck_assert_uint_eq(adopt().status, STATUS_NO_SUCH_LEASE);
        ck_assert_uint_eq(adopt_as(&other, claim.left.lease, 1).status, STATUS_NO_SUCH_LEASE);
        ck_assert_int_eq(claim.fds[0], again);
        fd_close(again);
        lease_holds(1, 1);
        ck_assert_uint_eq(release(claim.left.lease, &strangers).status, STATUS_OK);
        client_end();
}
END_TEST

/* Sent by the client instead of the last mount's root. */
/* Labelled as ours, as another instance's, and arbitrarily. */
static const char *const labelled[][3] = {
        {"proc,source=mountatd", "proc,source=mountatd:b", "proc,source=proc"},
        {"sysfs,source=mountatd", "sysfs,source=mountatd:b", "sysfs,source=sysfs"},
        {"tmpfs,source=mountatd", "tmpfs,source=mountatd:b", "tmpfs,source=tmpfs"},
};

START_TEST(other_descriptors_are_not_adopted) {
        FOR_ALL(f, s) {
                bool exact = feature_sets[f] & PROTOCOL_FEATURE_STATMOUNT;
                unsigned last = sizes[s] - 1;
                const struct {
                        const char *options; /* of a mount, or NULL: a directory */
                        unsigned flags;
                        bool blamed; /* otherwise it just isn't the recorded one */
                } others[] = {
                        {NULL, 0, true},
                        {NULL, FAKE_IS_FILE, true},
                        {NULL, FAKE_IS_ROOT, !exact},
                        {NULL, FAKE_IS_ROOT | FAKE_IS_FOREIGN, !exact},
                        {labelled[last % 3][0], 0, false},
                        {labelled[(last + 1) % 3][0], 0, !exact},
                        {labelled[last % 3][1], 0, !exact},
                        {labelled[last % 3][2], 0, !exact},
                        {"fuse,source=mountatd", 0, !exact},
                };

                for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
                        FD_AUTO int directory = -EBADF;
                        struct verdict verdict;
                        int mine, other;

                        adoption_start(feature_sets[f], sizes[s]);
                        mine = claim.fds[last];
                        directory = fake_directory(&(struct fake_directory){
                                .path = "/o/proc", .owner = 1000, .flags = others[i].flags});
                        if (others[i].options)
                                fake_mount_before(directory, others[i].options);
                        other = others[i].options ? fake_open_mount(directory) : dup(directory);
                        claim.fds[last] = other;
                        verdict = adopt();
                        ck_assert_int_eq(claim.fds[last], other);
                        fd_close(other);
                        if (others[i].options)
                                fake_uncover(directory);
                        directory = fd_close(directory);
                        claim.fds[last] = mine;
                        adoption_is_refused(verdict, others[i].blamed ? last : STATUS_NO_TARGET);
                        adoption_end();
                }
        }
}
END_TEST

START_TEST(mounts_in_another_order_are_not_adopted) {
        for (unsigned f = 0; f < N_FEATURE_SETS; f++)
                for (unsigned distance = 1; distance <= 2; distance++) {
                        int fd;

                        adoption_start(feature_sets[f], 16);
                        fd = claim.fds[0];
                        claim.fds[0] = claim.fds[distance];
                        claim.fds[distance] = fd;
                        ck_assert_uint_eq(adopt().status, STATUS_NO_SUCH_LEASE);
                        claim.fds[distance] = claim.fds[0];
                        claim.fds[0] = fd;
                        adoption_end();
                }
}
END_TEST

static uint64_t grant_to(struct holder *holder, int directory) {
        struct target_facts facts;
        struct lease_orders orders = {.count = 1};
        uint64_t id = 0;

        ck_assert_int_eq(
                target_inspect(directory, client.fake.context.proc, client.features, &facts), 0);
        orders.orders[0] = (struct lease_order){.kind = TEMPLATE_PROC,
                                                .file_system = PROTOCOL_PROC,
                                                .target = directory,
                                                .facts = &facts};
        ck_assert_uint_eq(lease_grant(leases, holder, &orders, &id).status, STATUS_OK);
        return id;
}

/* Without unique ids, a mount of this instance may have the id of one on record that is gone. */
START_TEST(mount_of_another_lease_is_not_adopted) {
        for (unsigned f = 0; f < N_FEATURE_SETS; f++) {
                struct holder victim = holder_of(1000);
                struct record record, reused;
                unsigned strangers;
                int directory, fd;
                uint64_t id;

                adoption_start(feature_sets[f], 1);
                directory =
                        fake_directory(&(struct fake_directory){.path = "/v/proc", .owner = 1000});
                id = grant_to(&victim, directory);
                record = reused = fake_context_record(&client.fake, claim.left.lease);
                reused.mounts[0] = fake_context_id(client.features, fake_mount_on(directory));
                fake_context_write(&client.fake, &reused);
                fd = claim.fds[0];
                claim.fds[0] = fake_open_mount(directory);
                ck_assert_uint_eq(adopt().status, STATUS_NO_SUCH_LEASE);
                ck_assert_uint_eq(leases_count(leases).left, 1);

                fd_close(claim.fds[0]);
                claim.fds[0] = fd;
                fake_context_write(&client.fake, &record);
                ck_assert_uint_eq(release_as(&victim, id, &strangers).status, STATUS_OK);
                fd_close(directory);
                adoption_end();
        }
}
END_TEST

START_TEST(file_systems_must_be_those_on_record) {
        for (unsigned f = 0; f < N_FEATURE_SETS; f++) {
                adoption_start(feature_sets[f], 2);
                claim.left.file_systems[1] = PROTOCOL_PROC;
                ck_assert_uint_eq(adopt().status, STATUS_NO_SUCH_LEASE);
                claim.left.file_systems[1] = PROTOCOL_SYSFS;
                adoption_end();
        }
}
END_TEST

/* The client whose request took too long is gone. */
START_TEST(abandoned_holder_adopts_nothing) {
        adoption_start(FAKE_ALL_FEATURES, 2);
        leases_abandon(leases, &client.holder);
        adoption_is_refused(adopt(), STATUS_NO_TARGET);
        client_reconnect();
        adoption_end();
}
END_TEST

int main(void) {
        return SUITE_RUN("lease_adopt", adopts_and_releases, adopted_lease_ends_with_its_connection,
                         adopted_lease_that_is_gone_already_is_released,
                         each_call_that_fails_undoes_the_adoption, adoption_is_for_who_had_it,
                         adopted_lease_can_not_be_adopted_again, other_descriptors_are_not_adopted,
                         mounts_in_another_order_are_not_adopted,
                         mount_of_another_lease_is_not_adopted,
                         file_systems_must_be_those_on_record, abandoned_holder_adopts_nothing);
}
