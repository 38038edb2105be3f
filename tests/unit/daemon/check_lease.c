/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Each call made by a grant or a release fails once, for every number of targets and every set of
 * kernel features: what is left, and what is the answer? Adoption: check_lease_adopt.
 */

#include "tests/unit/daemon/lease_fixture.h"

#include <pthread.h>

START_TEST(grants_and_releases) {
        FOR_ALL(f, s) {
                unsigned strangers = 99;
                uint64_t id = 0;

                client_start(feature_sets[f], sizes[s]);
                ck_assert_uint_eq(grant(&id).status, STATUS_OK);
                ck_assert_uint_ne(id, 0);
                lease_holds(1, sizes[s]);
                for (unsigned i = 0; i < sizes[s]; i++) {
                        const char *options = fake_mount_on(client.directories[i])->options;
                        size_t length = strlen(client_kinds[i % 3].type);

                        ck_assert_int_eq(strncmp(options, client_kinds[i % 3].type, length), 0);
                        ck_assert_int_eq(options[length], ',');
                }
                ck_assert_uint_eq(release(id, &strangers).status, STATUS_OK);
                ck_assert_uint_eq(strangers, 0);
                client_end();
        }
}
END_TEST

/* All mounts are made before the first is attached, so that the file has their ids by then. */
START_TEST(makes_all_before_it_attaches_one) {
        FOR_ALL(f, s) {
                unsigned strangers, calls, first = 0, made = 0;
                uint64_t id = 0;

                client_start(feature_sets[f], sizes[s]);
                ck_assert_uint_eq(grant(&id).status, STATUS_OK);
                calls = fake_calls(FAKE_ANY);
                for (unsigned n = 1; n <= calls; n++) {
                        enum fake_call call = fake_call_at(n);

                        if (call == FAKE_MOVE_MOUNT && !first)
                                first = n;
                        made += !first && call == FAKE_STATX;
                        if (feature_sets[f] & PROTOCOL_FEATURE_CLONES)
                                ck_assert(!first || call != FAKE_FSMOUNT);
                }
                ck_assert_uint_gt(first, 0);
                ck_assert_uint_eq(made, sizes[s]); /* a dev's parts may be attached later */
                release(id, &strangers);
                client_end();
        }
}
END_TEST

START_TEST(record_has_the_ids_of_its_mounts) {
        FOR_ALL(f, s) {
                bool unique = feature_sets[f] & PROTOCOL_FEATURE_UNIQUE_IDS;
                unsigned strangers;
                struct record record;
                uint64_t id = 0;

                client_start(feature_sets[f], sizes[s]);
                ck_assert_uint_eq(grant(&id).status, STATUS_OK);
                record = fake_context_record(&client.fake, id);
                ck_assert_uint_eq(record.lease, id);
                ck_assert_uint_eq(record.state, RECORD_LIVE);
                ck_assert_uint_eq(record.count, sizes[s]);
                ck_assert_uint_eq(record.mounted, client_weight());
                for (unsigned i = 0; i < sizes[s]; i++) {
                        const struct fake_mount *mount = fake_mount_on(client.directories[i]);

                        ck_assert_uint_eq(record.mounts[i], unique ? mount->id : mount->id_old);
                        ck_assert_uint_eq(record.file_systems[i], client_kinds[i % 3].file_system);
                }
                release(id, &strangers);
                client_end();
        }
}
END_TEST

/* ---- each call of a grant fails in turn ---- */

/*
 * The failing call and its target: a mount is complete once it has been identified (statx), and
 * attaching begins with move_mount.
 */
struct step {
        enum fake_call call;
        bool attaching;
        unsigned target;
};

static unsigned find_steps(struct step *steps, unsigned max) {
        unsigned calls = fake_calls(FAKE_ANY), made = 0, moved = 0;

        ck_assert_uint_le(calls, max);
        for (unsigned n = 1; n <= calls; n++) {
                struct step *step = &steps[n - 1];

                step->call = fake_call_at(n);
                moved += step->call == FAKE_MOVE_MOUNT;
                step->attaching = moved > 0;
                step->target = moved > 0 ? moved - 1 : made;
                made += moved == 0 && step->call == FAKE_STATX;
        }
        return calls;
}

/* An error that the kernel may return once for any directory counts only if it persists. */
static unsigned wanted_times(const struct step *step, int error) {
        return step->call == FAKE_MOVE_MOUNT && error == EINVAL ? MOUNT_ATTACH_TRIES : 1;
}

/* Attached mounts, and the parts that complete a dev, can be detached by others. */
static bool can_be_gone(const struct step *step, int error) {
        switch (step->call) {
        case FAKE_MOVE_BELOW:
                return step->attaching && (error == ENOENT || error == EINVAL);
        case FAKE_OPEN_TREE:
        case FAKE_SETATTR:
        case FAKE_FSOPEN:
        case FAKE_FSCONFIG:
        case FAKE_FSMOUNT:
                return false;
        default:
                return step->attaching && error == ENOENT;
        }
}

static enum status wanted_status(const struct step *step, int error) {
        if (can_be_gone(step, error))
                return STATUS_TARGET_VANISHED;
        if (step->call == FAKE_MOVE_MOUNT && error == EINVAL)
                return STATUS_FOREIGN_NAMESPACE;
        if (step->call == FAKE_MOVE_MOUNT && error == ENOTDIR)
                return STATUS_NOT_A_DIRECTORY;
        return STATUS_HOST_FAILED;
}

/* Under memcheck and ThreadSanitizer only a few of the calls fail. */
static unsigned find_stride(void) {
        return getenv("MOUNTATD_STRIDE") ? 11 : 1;
}

START_TEST(each_call_that_fails_undoes_the_grant) {
        static struct step steps[1024];

        FOR_ALL(f, s) {
                unsigned strangers, calls;
                uint64_t id = 0;

                client_start(feature_sets[f], sizes[s]);
                ck_assert_uint_eq(grant(&id).status, STATUS_OK);
                calls = find_steps(steps, 1024);
                ck_assert_uint_ge(calls, 4 * sizes[s]);
                ck_assert_uint_eq(release(id, &strangers).status, STATUS_OK);

                for (unsigned n = 1; n <= calls; n += find_stride())
                        for (unsigned e = 0; e < N_ERRORS; e++) {
                                enum status status = wanted_status(&steps[n - 1], errors[e]);
                                struct verdict verdict;

                                id = 4711;
                                fake_calls_reset();
                                fake_fail(FAKE_ANY, n, wanted_times(&steps[n - 1], errors[e]),
                                          errors[e]);
                                verdict = grant(&id);
                                ck_assert_msg(verdict.status == status,
                                              "call %u of %u, errno %d: status %u", n, calls,
                                              errors[e], verdict.status);
                                ck_assert_int_eq(verdict.error,
                                                 status == STATUS_HOST_FAILED ? errors[e] : 0);
                                ck_assert_uint_eq(verdict.target, steps[n - 1].target);
                                if (steps[n - 1].call == FAKE_FSCONFIG)
                                        ck_assert_str_eq(verdict.text, "the fake kernel refuses");
                                ck_assert_uint_eq(id, 4711);
                                ck_assert(fake_is_in_root());
                                fake_context_is_clean(&client.fake, sizes[s]);
                        }
                client_end();
        }
}
END_TEST

START_TEST(full_mount_table_names_the_sysctl) {
        uint64_t id;
        struct verdict verdict;

        client_start(FAKE_ALL_FEATURES, 1);
        fake_fail(FAKE_MOVE_MOUNT, 1, 1, ENOSPC);
        verdict = grant(&id);
        ck_assert_uint_eq(verdict.status, STATUS_HOST_FAILED);
        ck_assert_int_eq(verdict.error, ENOSPC);
        ck_assert_ptr_nonnull(strstr(verdict.text, "fs.mount-max"));
        client_end();
}
END_TEST

START_TEST(limit_is_refused_before_the_kernel_is_asked) {
        uint64_t ids[2] = {0}, id = 4711;
        unsigned strangers;

        client_start(FAKE_ALL_FEATURES, 16);
        for (unsigned i = 0; i < 2; i++) {
                client_renew_directories();
                ck_assert_uint_eq(grant(&ids[i]).status, STATUS_OK);
        }
        fake_calls_reset();
        ck_assert_uint_eq(grant(&id).status, STATUS_LIMIT_EXCEEDED);
        ck_assert_uint_eq(id, 4711);
        ck_assert_uint_eq(fake_calls(FAKE_ANY), 0);
        for (unsigned i = 0; i < 2; i++)
                ck_assert_uint_eq(release(ids[i], &strangers).status, STATUS_OK);
        client_end();
}
END_TEST

/* ---- what others do to a directory ---- */

START_TEST(directory_that_was_covered_is_refused_and_left_as_it_was) {
        FOR_ALL(f, s) {
                uint64_t id;

                client_start(feature_sets[f], sizes[s]);
                fake_cover(client.directories[sizes[s] - 1]);
                struct verdict verdict = grant(&id);

                ck_assert_uint_eq(verdict.status, STATUS_ALREADY_MOUNTED);
                ck_assert_uint_eq(verdict.target, sizes[s] - 1);
                ck_assert_uint_eq(fake_strangers(), 1);
                fake_context_is_clean(&client.fake, sizes[s]);
                fake_uncover(client.directories[sizes[s] - 1]);
                client_end();
        }
}
END_TEST

static const struct {
        unsigned flags;
        enum status status;
} kernel_says[] = {
        {FAKE_VANISHES, STATUS_TARGET_VANISHED},
        {FAKE_IS_FOREIGN, STATUS_FOREIGN_NAMESPACE},
        {FAKE_IS_FILE, STATUS_NOT_A_DIRECTORY},
};

START_TEST(what_the_kernel_says_of_a_directory_undoes_the_grant) {
        for (size_t row = 0; row < sizeof(kernel_says) / sizeof(kernel_says[0]); row++)
                FOR_ALL(f, s) {
                        unsigned last = sizes[s] - 1;
                        uint64_t id;

                        client_start(feature_sets[f], sizes[s]);
                        fd_close(client.directories[last]);
                        client_add_directory(last, kernel_says[row].flags);
                        struct verdict verdict = grant(&id);

                        ck_assert_uint_eq(verdict.status, kernel_says[row].status);
                        ck_assert_uint_eq(verdict.target, last);
                        fake_context_is_clean(&client.fake, sizes[s]);
                        client_end();
                }
}
END_TEST

START_TEST(strangers_on_top_go_first_and_are_counted) {
        FOR_ALL(f, s) {
                unsigned strangers = 99;
                uint64_t id = 0;

                client_start(feature_sets[f], sizes[s]);
                ck_assert_uint_eq(grant(&id).status, STATUS_OK);
                for (unsigned i = 0; i < sizes[s]; i++)
                        for (unsigned n = 0; n < i % 3; n++)
                                fake_cover(client.directories[i]);
                unsigned there = fake_strangers();

                ck_assert_uint_eq(release(id, &strangers).status, STATUS_OK);
                ck_assert_uint_eq(strangers, there);
                ck_assert_uint_eq(fake_strangers(), 0);
                client_end();
        }
}
END_TEST

START_TEST(mounts_that_are_gone_already_are_released) {
        FOR_ALL(f, s) {
                unsigned strangers = 99;
                uint64_t id = 0;

                client_start(feature_sets[f], sizes[s]);
                ck_assert_uint_eq(grant(&id).status, STATUS_OK);
                for (unsigned i = 0; i < sizes[s]; i += 2)
                        fake_uncover(client.directories[i]);
                ck_assert_uint_eq(release(id, &strangers).status, STATUS_OK);
                ck_assert_uint_eq(strangers, 0);
                client_end();
        }
}
END_TEST

/* ---- each call of a release fails in turn ---- */

START_TEST(each_call_that_fails_keeps_the_lease_for_a_second_try) {
        static const int release_errors[] = {EPERM, EIO, ENOMEM};
        static enum fake_call log[1024];

        FOR_ALL(f, s) {
                unsigned strangers, calls;
                uint64_t id = 0;

                client_start(feature_sets[f], sizes[s]);
                ck_assert_uint_eq(grant(&id).status, STATUS_OK);
                fake_calls_reset();
                ck_assert_uint_eq(release(id, &strangers).status, STATUS_OK);
                calls = fake_calls(FAKE_ANY);
                for (unsigned n = 1; n <= calls; n++)
                        log[n - 1] = fake_call_at(n);

                for (unsigned n = 1, target = -1; n <= calls; n++) {
                        target += log[n - 1] == FAKE_FCHDIR;
                        for (unsigned e = 0; e < 3; e++) {
                                /* A query to make sure may fail; so may returning home. */
                                bool refused =
                                        log[n - 1] == FAKE_FCHDIR || (log[n - 1] == FAKE_UMOUNT);
                                struct verdict verdict;

                                ck_assert_uint_eq(grant(&id).status, STATUS_OK);
                                fake_calls_reset();
                                fake_fail(FAKE_ANY, n, 1, release_errors[e]);
                                verdict = release(id, &strangers);
                                if (!refused) {
                                        ck_assert_uint_eq(verdict.status, STATUS_OK);
                                        fake_context_is_clean(&client.fake, sizes[s]);
                                        continue;
                                }
                                ck_assert_uint_eq(verdict.status, STATUS_HOST_FAILED);
                                ck_assert_int_eq(verdict.error, release_errors[e]);
                                ck_assert_uint_eq(verdict.target, target);
                                ck_assert_uint_eq(leases_count(leases).leases, 1);
                                ck_assert_uint_eq(fake_context_records(&client.fake), 1);
                                ck_assert(fake_is_in_root());

                                fake_calls_reset();
                                ck_assert_uint_eq(release(id, &strangers).status, STATUS_OK);
                                ck_assert_uint_eq(release(id, &strangers).status,
                                                  STATUS_NO_SUCH_LEASE);
                                fake_context_is_clean(&client.fake, sizes[s]);
                        }
                }
                client_end();
        }
}
END_TEST

START_TEST(second_try_goes_on_where_the_first_stopped) {
        unsigned strangers;
        uint64_t id = 0;
        struct verdict verdict;

        client_start(FAKE_ALL_FEATURES, 16);
        ck_assert_uint_eq(grant(&id).status, STATUS_OK);
        fake_calls_reset();
        fake_fail(FAKE_UMOUNT, 6, 1, EPERM);
        verdict = release(id, &strangers);
        ck_assert_uint_eq(verdict.target, 5);
        lease_holds(1, 11);
        fake_calls_reset();
        ck_assert_uint_eq(release(id, &strangers).status, STATUS_OK);
        ck_assert_uint_eq(fake_calls(FAKE_FCHDIR), 11);
        client_end();
}
END_TEST

START_TEST(lease_is_its_holders_alone) {
        struct holder other = holder_of(1000);
        unsigned strangers = 99;
        uint64_t id = 0;

        client_start(FAKE_ALL_FEATURES, 2);
        ck_assert_uint_eq(grant(&id).status, STATUS_OK);
        fake_calls_reset();
        for (unsigned i = 0; i < 4; i++) {
                uint64_t ids[] = {id, 0, id ^ (1ULL << 63), UINT64_MAX};
                struct verdict verdict =
                        release_as(i == 0 ? &other : &client.holder, ids[i], &strangers);

                ck_assert_uint_eq(verdict.status, STATUS_NO_SUCH_LEASE);
                ck_assert_uint_eq(verdict.target, STATUS_NO_TARGET);
                ck_assert_uint_eq(strangers, 0);
        }
        ck_assert_uint_eq(fake_calls(FAKE_ANY), 0);
        lease_holds(1, 2);
        ck_assert_int_eq(release_all(&other), 0);
        lease_holds(1, 2);
        ck_assert_uint_eq(release(id, &strangers).status, STATUS_OK);
        client_end();
}
END_TEST

/* ---- disconnects ---- */

static void grant_three(void) {
        for (unsigned i = 0; i < 3; i++) {
                uint64_t id;

                client_renew_directories();
                ck_assert_uint_eq(grant(&id).status, STATUS_OK);
        }
}

START_TEST(disconnect_releases_all) {
        client_start(FAKE_ALL_FEATURES, 2);
        grant_three();
        lease_holds(3, 6);
        ck_assert_int_eq(release_all(&client.holder), 0);
        client_end();
}
END_TEST

START_TEST(what_a_disconnect_can_not_release_becomes_an_orphan) {
        client_start(FAKE_ALL_FEATURES, 2);
        grant_three();
        fake_calls_reset();
        fake_fail(FAKE_UMOUNT, 1, 2, EPERM); /* of the first two leases; the third is released */
        ck_assert_int_eq(release_all(&client.holder), -EPERM);
        lease_holds(2, 4);
        ck_assert_int_eq(release_all(&client.holder), 0); /* it holds nothing any more */
        lease_holds(2, 4);
        ck_assert_int_eq(release_all(leases_orphans(leases)), 0);
        client_end();
}
END_TEST

START_TEST(orphans_that_stay_are_tried_once_each) {
        client_start(FAKE_ALL_FEATURES, 2);
        grant_three();
        fake_calls_reset();
        fake_fail(FAKE_FCHDIR, 1, 1000, EIO);
        ck_assert_int_eq(release_all(&client.holder), -EIO);
        ck_assert_int_eq(release_all(leases_orphans(leases)), -EIO);
        ck_assert_uint_eq(fake_calls(FAKE_FCHDIR), 6);
        lease_holds(3, 6);
        fake_calls_reset();
        ck_assert_int_eq(release_all(leases_orphans(leases)), 0);
        client_end();
}
END_TEST

START_TEST(grant_that_can_not_be_undone_becomes_an_orphan) {
        struct verdict verdict;
        uint64_t id = 4711;

        client_start(FAKE_ALL_FEATURES, 2);
        fd_close(client.directories[1]);
        client_add_directory(1, FAKE_VANISHES);
        fake_calls_reset();
        fake_fail(FAKE_UMOUNT, 1, 1, EPERM);
        verdict = grant(&id);
        ck_assert_uint_eq(verdict.status, STATUS_TARGET_VANISHED); /* the first failure */
        ck_assert_uint_eq(id, 4711);
        lease_holds(1, 1);
        ck_assert_uint_eq(leases_count(leases).orphans, 1);
        ck_assert_int_eq(release_all(&client.holder), 0);
        lease_holds(1, 1);
        ck_assert_int_eq(release_all(leases_orphans(leases)), 0);
        client_end();
}
END_TEST

/* The record also has the mounts that are yet to be attached: the next instance must know them. */
START_TEST(record_names_all_mounts_before_one_is_attached) {
        uint64_t id;
        struct record record;
        uint32_t cursor = 0;
        int root;

        client_start(FAKE_ALL_FEATURES, 16);
        fd_close(client.directories[1]);
        client_add_directory(1, FAKE_IS_FILE); /* the second is refused, */
        fake_fail(FAKE_UMOUNT, 1, 1, EPERM);   /* and the first can't be undone */
        ck_assert_uint_eq(grant(&id).status, STATUS_NOT_A_DIRECTORY);
        lease_holds(1, 1);
        ck_assert(leases_next(leases, &cursor, &record, &root));
        fd_close(root);
        record = fake_context_record(&client.fake, record.lease);
        ck_assert_uint_eq(record.state, RECORD_ATTACHING);
        ck_assert_uint_eq(record.mounts[0], fake_mount_on(client.directories[0])->id);
        for (unsigned i = 1; i < 16; i++)
                ck_assert_uint_gt(record.mounts[i], record.mounts[i - 1]);
        ck_assert_int_eq(release_all(leases_orphans(leases)), 0);
        client_end();
}
END_TEST

/* The user's limit still counts them, and the user's connections come and go meanwhile. */
START_TEST(orphan_outlives_its_connection) {
        client_start(FAKE_ALL_FEATURES, 2);
        grant_three();
        fake_calls_reset();
        fake_fail(FAKE_UMOUNT, 1, 1, EPERM);
        ck_assert_int_eq(release_all(&client.holder), -EPERM);
        client_reconnect();
        lease_holds(1, 2);
        ck_assert_int_eq(release_all(leases_orphans(leases)), 0);
        client_end();
}
END_TEST

/* ---- kept leases ---- */

START_TEST(kept_lease_outlives_its_connection_and_is_its_users) {
        FOR_ALL(f, s) {
                struct holder stranger = holder_of(1001), root = holder_of(0);
                unsigned strangers = 99;
                uint64_t id = 0;

                client_start(feature_sets[f], sizes[s]);
                client.orders.keep = true;
                ck_assert_uint_eq(grant(&id).status, STATUS_OK);
                leases_abandon(leases, &client.holder);
                ck_assert_int_eq(release_all(&client.holder), 0);
                lease_holds(1, sizes[s]);
                ck_assert_uint_eq(release_as(&stranger, id, &strangers).status,
                                  STATUS_NO_SUCH_LEASE);
                ck_assert_uint_eq(release_as(&root, id, &strangers).status, STATUS_NO_SUCH_LEASE);
                lease_holds(1, sizes[s]);
                client_reconnect();
                ck_assert_uint_eq(release(id, &strangers).status, STATUS_OK);
                ck_assert_uint_eq(strangers, 0);
                ck_assert_uint_eq(release(id, &strangers).status, STATUS_NO_SUCH_LEASE);
                client_end();
        }
}
END_TEST

START_TEST(kept_lease_that_can_not_be_released_stays_its_users) {
        unsigned strangers;
        uint64_t id = 0;

        client_start(FAKE_ALL_FEATURES, 2);
        client.orders.keep = true;
        ck_assert_uint_eq(grant(&id).status, STATUS_OK);
        fake_calls_reset();
        fake_fail(FAKE_UMOUNT, 2, 1, EPERM);
        ck_assert_uint_eq(release(id, &strangers).status, STATUS_HOST_FAILED);
        lease_holds(1, 1);
        ck_assert_uint_eq(leases_count(leases).orphans, 0);
        ck_assert_uint_eq(fake_context_record(&client.fake, id).state, RECORD_LIVE);
        leases_abandon(leases, &client.holder);
        client_reconnect();
        ck_assert_uint_eq(release(id, &strangers).status, STATUS_OK);
        client_end();
}
END_TEST

START_TEST(stop_releases_what_is_kept_and_keeps_no_more) {
        FOR_ALL(f, s) {
                uint64_t id = 0, late = 4711;
                struct verdict verdict;

                client_start(feature_sets[f], sizes[s]);
                client.orders.keep = true;
                ck_assert_uint_eq(grant(&id).status, STATUS_OK);
                client_renew_directories();
                leases_stop(leases);
                verdict = grant(&late);
                ck_assert_uint_eq(verdict.status, STATUS_HOST_FAILED);
                ck_assert_int_eq(verdict.error, ECONNRESET);
                ck_assert_uint_eq(late, 4711);
                lease_holds(1, sizes[s]);
                ck_assert_int_eq(release_all(leases_kept(leases)), 0);
                fake_context_is_clean(&client.fake, sizes[s]);

                /* A connection's lease ends with it, and so may still be granted. */
                client.orders.keep = false;
                ck_assert_uint_eq(grant(&id).status, STATUS_OK);
                ck_assert_int_eq(release_all(&client.holder), 0);
                client_end();
        }
}
END_TEST

/* A kept lease of the previous instance, of which somebody has unmounted a part. */
START_TEST(lease_that_is_kept_on_is_released_without_what_is_gone) {
        struct record left, record;
        unsigned strangers = 99;
        uint32_t cursor = 0;
        int fds[3];

        client.count = 3;
        for (unsigned i = 0; i < 3; i++)
                client.directories[i] =
                        fake_directory(&(struct fake_directory){.path = "/r/x", .owner = 1000});
        left = fake_context_left(FAKE_ALL_FEATURES, 5, 1000, RECORD_LIVE, client.directories, 3);
        left.kept = 1;
        fake_context_start_as(
                &client.fake,
                &(struct fake_setup){.features = FAKE_ALL_FEATURES, .left = &left, .n_left = 1});
        client.fake.descriptors -= 3;
        client.fake.descriptors_before -= 3;
        leases = client.fake.context.leases;
        client_reconnect();
        for (unsigned i = 0; i < 3; i++)
                fds[i] = i == 1 ? -EBADF : fake_open_mount(client.directories[i]);
        fake_uncover(client.directories[1]);

        ck_assert(leases_take_left(leases, LEASES_LEFT_KEPT, &cursor, &record));
        leases_keep(leases, left.lease, fds);
        fake_calls_reset();
        ck_assert_uint_eq(release(left.lease, &strangers).status, STATUS_OK);
        ck_assert_uint_eq(fake_calls(FAKE_FCHDIR), 2);
        ck_assert_uint_eq(strangers, 0);
        client_end();
}
END_TEST

/* ---- administrators ---- */

START_TEST(administrator_releases_what_another_holds) {
        struct holder admin = {.subject = {.pid = 1, .trust = TRUST_ADMINISTRATOR}};

        FOR_ALL(f, s) {
                unsigned strangers;
                uint64_t id = 0;

                client_start(feature_sets[f], sizes[s]);
                ck_assert_uint_eq(grant(&id).status, STATUS_OK);
                ck_assert_uint_eq(release_as(&admin, id, &strangers).status, STATUS_OK);
                ck_assert_uint_eq(release(id, &strangers).status, STATUS_NO_SUCH_LEASE);
                fake_context_is_clean(&client.fake, sizes[s]);
                client_end();
        }
}
END_TEST

/* Its connection may end meanwhile: the lease is an orphan until it is released. */
START_TEST(what_an_administrator_can_not_release_is_an_orphans) {
        struct holder admin = {.subject = {.pid = 1, .trust = TRUST_ADMINISTRATOR}};
        unsigned strangers;
        uint64_t id = 0;

        client_start(FAKE_ALL_FEATURES, 2);
        ck_assert_uint_eq(grant(&id).status, STATUS_OK);
        fake_calls_reset();
        fake_fail(FAKE_UMOUNT, 1, 1, EPERM);
        ck_assert_uint_eq(release_as(&admin, id, &strangers).status, STATUS_HOST_FAILED);
        lease_holds(1, 2);
        leases_abandon(leases, &client.holder);
        ck_assert_int_eq(release_all(&client.holder), 0);
        lease_holds(1, 2);
        client_reconnect();
        ck_assert_uint_eq(release(id, &strangers).status, STATUS_NO_SUCH_LEASE);
        ck_assert_int_eq(release_all(leases_orphans(leases)), 0);
        client_end();
}
END_TEST

/* ---- abandoned holders ---- */

START_TEST(grant_of_an_abandoned_holder_is_undone) {
        FOR_ALL(f, s) {
                uint64_t id = 4711;

                client_start(feature_sets[f], sizes[s]);
                leases_abandon(leases, &client.holder);
                struct verdict verdict = grant(&id);

                ck_assert_uint_eq(verdict.status, STATUS_HOST_FAILED);
                ck_assert_int_eq(verdict.error, ECONNRESET);
                ck_assert_uint_eq(verdict.target, STATUS_NO_TARGET);
                ck_assert_uint_eq(id, 4711);
                ck_assert_uint_eq(fake_calls(FAKE_MOVE_MOUNT), sizes[s]); /* it got that far */
                fake_context_is_clean(&client.fake, sizes[s]);
                client_end();
        }
}
END_TEST

START_TEST(what_an_abandoned_holder_held_is_an_orphans) {
        unsigned strangers;
        uint64_t id = 0;

        client_start(FAKE_ALL_FEATURES, 2);
        ck_assert_uint_eq(grant(&id).status, STATUS_OK);
        leases_abandon(leases, &client.holder);
        ck_assert_uint_eq(release(id, &strangers).status, STATUS_NO_SUCH_LEASE);
        ck_assert_int_eq(release_all(&client.holder), 0);
        lease_holds(1, 2);
        fake_calls_reset();
        fake_fail(FAKE_UMOUNT, 2, 1, EPERM);
        ck_assert_int_eq(release_all(leases_orphans(leases)), -EPERM);
        lease_holds(1, 1);
        ck_assert_int_eq(release_all(leases_orphans(leases)), 0);
        client_end();
}
END_TEST

/* ---- threads ---- */

enum { THREADS = 4, THREAD_ROUNDS = 200 };

/* One connection each; every second is abandoned during a request. */
static void *serve(void *argument) {
        unsigned number = (uintptr_t)argument;
        FD_AUTO int directory =
                fake_directory(&(struct fake_directory){.path = "/t/proc", .owner = 1000});
        struct target_facts facts;
        struct lease_orders orders = {
                .count = 1,
                .orders = {{TEMPLATE_PROC, PROTOCOL_PROC, directory, &facts}},
        };

        ck_assert_int_eq(unmount_isolate(), 0);
        ck_assert_int_eq(
                target_inspect(directory, client.fake.context.proc, FAKE_ALL_FEATURES, &facts), 0);
        for (unsigned round = 0; round < THREAD_ROUNDS; round++) {
                struct holder holder = holder_of(1000 + number % 2);
                struct lease_remains remains;
                struct record record;
                uint32_t cursor = 0;
                uint64_t id = 0;
                int root;

                ck_assert_uint_eq(lease_grant(leases, &holder, &orders, &id).status, STATUS_OK);
                while (leases_next(leases, &cursor, &record, &root))
                        fd_close(root);
                if (round % 2) {
                        ck_assert_uint_eq(lease_release(leases, &holder, id, &remains).status,
                                          STATUS_OK);
                        lease_dispose(&remains);
                        leases_abandon(leases, &holder);
                        ck_assert_uint_eq(lease_grant(leases, &holder, &orders, &id).status,
                                          STATUS_HOST_FAILED);
                } else
                        ck_assert_int_eq(lease_release_held(leases, &holder), 0);
                ck_assert(fake_is_in_root());
        }
        return NULL;
}

START_TEST(threads_at_once_leave_nothing) {
        pthread_t threads[THREADS];

        client_start(FAKE_ALL_FEATURES, 1);
        for (uintptr_t i = 0; i < THREADS; i++)
                ck_assert_int_eq(pthread_create(&threads[i], NULL, serve, (void *)i), 0);
        for (unsigned i = 0; i < THREADS; i++)
                ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
        client_end();
}
END_TEST

int main(void) {
        return SUITE_RUN(
                "lease", grants_and_releases, makes_all_before_it_attaches_one,
                record_has_the_ids_of_its_mounts, each_call_that_fails_undoes_the_grant,
                full_mount_table_names_the_sysctl, limit_is_refused_before_the_kernel_is_asked,
                directory_that_was_covered_is_refused_and_left_as_it_was,
                what_the_kernel_says_of_a_directory_undoes_the_grant,
                strangers_on_top_go_first_and_are_counted,
                mounts_that_are_gone_already_are_released,
                each_call_that_fails_keeps_the_lease_for_a_second_try,
                second_try_goes_on_where_the_first_stopped, lease_is_its_holders_alone,
                disconnect_releases_all, what_a_disconnect_can_not_release_becomes_an_orphan,
                orphans_that_stay_are_tried_once_each,
                grant_that_can_not_be_undone_becomes_an_orphan,
                record_names_all_mounts_before_one_is_attached, orphan_outlives_its_connection,
                kept_lease_outlives_its_connection_and_is_its_users,
                kept_lease_that_can_not_be_released_stays_its_users,
                stop_releases_what_is_kept_and_keeps_no_more,
                lease_that_is_kept_on_is_released_without_what_is_gone,
                administrator_releases_what_another_holds,
                what_an_administrator_can_not_release_is_an_orphans,
                grant_of_an_abandoned_holder_is_undone, what_an_abandoned_holder_held_is_an_orphans,
                threads_at_once_leave_nothing);
}
