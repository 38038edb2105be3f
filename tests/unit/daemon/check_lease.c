/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Every call that a grant or a release makes is made to fail once, for every number of targets and
 * every kind of kernel: what is left, and what is answered?
 */

#include "daemon/lease.h"

#include "tests/fixtures/suite.h"
#include "tests/unit/daemon/fake_gate.h"

#include <errno.h>

static const unsigned feature_sets[] = {
        0,
        PROTOCOL_FEATURE_CLONES,
        PROTOCOL_FEATURE_CLONES | PROTOCOL_FEATURE_UNIQUE_IDS | PROTOCOL_FEATURE_STATMOUNT,
        PROTOCOL_FEATURE_UNIQUE_IDS | PROTOCOL_FEATURE_STATMOUNT,
        FAKE_ALL_FEATURES,
};
static const unsigned sizes[] = {1, 2, 16};

enum {
        N_FEATURE_SETS = sizeof(feature_sets) / sizeof(feature_sets[0]),
        N_SIZES = sizeof(sizes) / sizeof(sizes[0]),
};

/* A connection with directories to mount on. */
struct scene {
        struct fake_gate fake;
        struct ledger_owner owner;
        unsigned features;
        unsigned count;
        int directories[PROTOCOL_TARGETS_MAX];
        struct target_facts facts[PROTOCOL_TARGETS_MAX];
        struct lease_order orders[PROTOCOL_TARGETS_MAX];
};

static struct scene scene; /* large */

static void scene_add_directory(unsigned i, unsigned flags) {
        struct fake_directory directory = {
                .path = i % 2 ? "/r/sys" : "/r/proc", .owner = 1000, .flags = flags};

        scene.directories[i] = fake_directory(&directory);
        ck_assert_int_eq(target_inspect(scene.directories[i], scene.fake.gate.proc, scene.features,
                                        &scene.facts[i]),
                         0);
        scene.orders[i] = (struct lease_order){
                .kind = i % 2 ? MOUNT_SYSFS : MOUNT_PROC,
                .file_system = i % 2 ? PROTOCOL_SYSFS : PROTOCOL_PROC,
                .target = scene.directories[i],
                .facts = &scene.facts[i],
        };
}

static void scene_start(unsigned features, unsigned count) {
        scene.features = features;
        scene.count = count;
        fake_gate_start(&scene.fake, features, &fake_gate_limits);
        ck_assert_uint_eq(ledger_connect(scene.fake.gate.ledger, 1000, 1, &scene.owner).status,
                          STATUS_OK);
        for (unsigned i = 0; i < count; i++)
                scene_add_directory(i, 0);
        fake_calls_reset();
}

static void scene_end(void) {
        for (unsigned i = 0; i < scene.count; i++)
                fd_close(scene.directories[i]);
        ledger_disconnect(scene.fake.gate.ledger, &scene.owner);
        fake_gate_end(&scene.fake);
}

static struct verdict grant(uint64_t *id) {
        return lease_grant(scene.fake.gate.templates, scene.fake.gate.ledger, &scene.owner,
                           scene.orders, scene.count, id);
}

static struct verdict release(uint64_t id, unsigned *strangers) {
        struct lease *ended = NULL;
        struct verdict verdict = lease_release(scene.fake.gate.templates, scene.fake.gate.ledger,
                                               &scene.owner, id, strangers, &ended);

        ck_assert_int_eq(verdict.status == STATUS_OK, ended != NULL);
        lease_free(ended);
        return verdict;
}

static int release_all(struct ledger_owner *owner) {
        return lease_release_all(scene.fake.gate.templates, scene.fake.gate.ledger, owner);
}

static void lease_holds(unsigned leases, unsigned mounts) {
        struct ledger_counts counts = ledger_count(scene.fake.gate.ledger);

        ck_assert_uint_eq(counts.leases, leases);
        ck_assert_uint_eq(counts.mounts, leases * scene.count);
        ck_assert_uint_eq(fake_gate_records(&scene.fake), leases);
        ck_assert_uint_eq(fake_mounts(), mounts);
        ck_assert(fake_is_in_root());
}

#define FOR_ALL(f, s)                                                                              \
        for (unsigned f = 0; f < N_FEATURE_SETS; f++)                                              \
                for (unsigned s = 0; s < N_SIZES; s++)

START_TEST(grants_and_releases) {
        FOR_ALL(f, s) {
                unsigned strangers = 99;
                uint64_t id = 0;

                scene_start(feature_sets[f], sizes[s]);
                ck_assert_uint_eq(grant(&id).status, STATUS_OK);
                ck_assert_uint_ne(id, 0);
                lease_holds(1, sizes[s]);
                for (unsigned i = 0; i < sizes[s]; i++)
                        ck_assert_int_eq(strncmp(fake_mount_on(scene.directories[i])->options,
                                                 i % 2 ? "sysfs," : "proc,", i % 2 ? 6 : 5),
                                         0);
                ck_assert_uint_eq(release(id, &strangers).status, STATUS_OK);
                ck_assert_uint_eq(strangers, 0);
                scene_end();
        }
}
END_TEST

/* All mounts are made before the first is attached, so that the ledger knows them by then. */
START_TEST(makes_all_before_it_attaches_one) {
        FOR_ALL(f, s) {
                unsigned strangers, calls, first = 0;
                uint64_t id = 0;

                scene_start(feature_sets[f], sizes[s]);
                ck_assert_uint_eq(grant(&id).status, STATUS_OK);
                calls = fake_calls(FAKE_ANY);
                for (unsigned n = 1; n <= calls; n++) {
                        enum fake_call call = fake_call_at(n);

                        if (call == FAKE_MOVE_MOUNT && !first)
                                first = n;
                        ck_assert(!first || (call != FAKE_FSMOUNT && call != FAKE_OPEN_TREE));
                }
                ck_assert_uint_gt(first, 0);
                release(id, &strangers);
                scene_end();
        }
}
END_TEST

START_TEST(record_has_the_ids_of_its_mounts) {
        FOR_ALL(f, s) {
                bool unique = feature_sets[f] & PROTOCOL_FEATURE_UNIQUE_IDS;
                unsigned strangers;
                struct record record;
                char path[128];
                uint64_t id = 0;
                FILE *file;

                scene_start(feature_sets[f], sizes[s]);
                ck_assert_uint_eq(grant(&id).status, STATUS_OK);
                snprintf(path, sizeof(path), "%s/ledger", scene.fake.directory);
                file = fopen(path, "re");
                fseek(file, RECORD_HEADER_SIZE + (id & 0xffff) * sizeof(record), SEEK_SET);
                ck_assert_uint_eq(fread(&record, sizeof(record), 1, file), 1);
                fclose(file);
                ck_assert_uint_eq(record.lease, id);
                ck_assert_uint_eq(record.state, RECORD_LIVE);
                ck_assert_uint_eq(record.count, sizes[s]);
                for (unsigned i = 0; i < sizes[s]; i++) {
                        const struct fake_mount *mount = fake_mount_on(scene.directories[i]);

                        ck_assert_uint_eq(record.mounts[i], unique ? mount->id : mount->id_old);
                        ck_assert_uint_eq(record.file_systems[i],
                                          i % 2 ? PROTOCOL_SYSFS : PROTOCOL_PROC);
                }
                release(id, &strangers);
                scene_end();
        }
}
END_TEST

/* ---- each call of a grant fails in turn ---- */

static const int errors[] = {EPERM, ENOENT, EINVAL, EBUSY, ENOSPC, ENOMEM, ENOTDIR, EMFILE};

enum { N_ERRORS = sizeof(errors) / sizeof(errors[0]) };

/* Which call of which target it was: a mount is made when it has been identified (statx), and
 * attaching begins with move_mount. */
struct place {
        enum fake_call call;
        bool attaching;
        unsigned target;
};

static unsigned find_places(struct place *places, unsigned max) {
        unsigned calls = fake_calls(FAKE_ANY), made = 0, moved = 0;

        ck_assert_uint_le(calls, max);
        for (unsigned n = 1; n <= calls; n++) {
                struct place *place = &places[n - 1];

                place->call = fake_call_at(n);
                moved += place->call == FAKE_MOVE_MOUNT;
                place->attaching = moved > 0;
                place->target = moved > 0 ? moved - 1 : made;
                made += moved == 0 && place->call == FAKE_STATX;
        }
        return calls;
}

static enum status wanted_status(const struct place *place, int error) {
        if (place->attaching && error == ENOENT)
                return STATUS_TARGET_VANISHED;
        if (place->call == FAKE_MOVE_MOUNT && error == EINVAL)
                return STATUS_FOREIGN_NAMESPACE;
        if (place->call == FAKE_MOVE_MOUNT && error == ENOTDIR)
                return STATUS_NOT_A_DIRECTORY;
        /* What verifies finds out that it is covered, and has no other way to say so. */
        if (place->attaching && place->call != FAKE_MOVE_MOUNT && error == EBUSY)
                return STATUS_ALREADY_MOUNTED;
        return STATUS_HOST_FAILED;
}

START_TEST(each_call_that_fails_undoes_the_grant) {
        static struct place places[1024];

        FOR_ALL(f, s) {
                unsigned strangers, calls;
                uint64_t id = 0;

                scene_start(feature_sets[f], sizes[s]);
                ck_assert_uint_eq(grant(&id).status, STATUS_OK);
                calls = find_places(places, 1024);
                ck_assert_uint_ge(calls, 4 * sizes[s]);
                ck_assert_uint_eq(release(id, &strangers).status, STATUS_OK);

                for (unsigned n = 1; n <= calls; n++)
                        for (unsigned e = 0; e < N_ERRORS; e++) {
                                enum status status = wanted_status(&places[n - 1], errors[e]);
                                struct verdict verdict;

                                id = 4711;
                                fake_calls_reset();
                                fake_fail(FAKE_ANY, n, 1, errors[e]);
                                verdict = grant(&id);
                                ck_assert_msg(verdict.status == status,
                                              "call %u of %u, errno %d: status %u", n, calls,
                                              errors[e], verdict.status);
                                ck_assert_int_eq(verdict.error,
                                                 status == STATUS_HOST_FAILED ? errors[e] : 0);
                                ck_assert_uint_eq(verdict.target, places[n - 1].target);
                                if (places[n - 1].call == FAKE_FSCONFIG)
                                        ck_assert_str_eq(verdict.text, "the fake kernel refuses");
                                ck_assert_uint_eq(id, 4711);
                                ck_assert(fake_is_in_root());
                                fake_gate_is_clean(&scene.fake, sizes[s]);
                        }
                scene_end();
        }
}
END_TEST

START_TEST(full_mount_table_names_the_sysctl) {
        uint64_t id;
        struct verdict verdict;

        scene_start(FAKE_ALL_FEATURES, 1);
        fake_fail(FAKE_MOVE_MOUNT, 1, 1, ENOSPC);
        verdict = grant(&id);
        ck_assert_uint_eq(verdict.status, STATUS_HOST_FAILED);
        ck_assert_int_eq(verdict.error, ENOSPC);
        ck_assert_ptr_nonnull(strstr(verdict.text, "fs.mount-max"));
        scene_end();
}
END_TEST

START_TEST(limit_is_refused_before_the_kernel_is_asked) {
        uint64_t ids[4] = {0}, id = 4711;
        unsigned strangers;

        scene_start(FAKE_ALL_FEATURES, 16);
        for (unsigned i = 0; i < 4; i++) {
                for (unsigned j = 0; j < 16; j++) {
                        fd_close(scene.directories[j]);
                        scene_add_directory(j, 0);
                }
                ck_assert_uint_eq(grant(&ids[i]).status, STATUS_OK);
        }
        fake_calls_reset();
        ck_assert_uint_eq(grant(&id).status, STATUS_LIMIT_EXCEEDED);
        ck_assert_uint_eq(id, 4711);
        ck_assert_uint_eq(fake_calls(FAKE_ANY), 0);
        for (unsigned i = 0; i < 4; i++)
                ck_assert_uint_eq(release(ids[i], &strangers).status, STATUS_OK);
        scene_end();
}
END_TEST

/* ---- what others do to a directory ---- */

START_TEST(directory_that_was_covered_is_refused_and_left_as_it_was) {
        FOR_ALL(f, s) {
                uint64_t id;

                scene_start(feature_sets[f], sizes[s]);
                fake_cover(scene.directories[sizes[s] - 1]);
                struct verdict verdict = grant(&id);

                ck_assert_uint_eq(verdict.status, STATUS_ALREADY_MOUNTED);
                ck_assert_uint_eq(verdict.target, sizes[s] - 1);
                ck_assert_uint_eq(fake_strangers(), 1);
                fake_gate_is_clean(&scene.fake, sizes[s]);
                fake_uncover(scene.directories[sizes[s] - 1]);
                scene_end();
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

                        scene_start(feature_sets[f], sizes[s]);
                        fd_close(scene.directories[last]);
                        scene_add_directory(last, kernel_says[row].flags);
                        struct verdict verdict = grant(&id);

                        ck_assert_uint_eq(verdict.status, kernel_says[row].status);
                        ck_assert_uint_eq(verdict.target, last);
                        fake_gate_is_clean(&scene.fake, sizes[s]);
                        scene_end();
                }
}
END_TEST

START_TEST(strangers_on_top_go_first_and_are_counted) {
        FOR_ALL(f, s) {
                unsigned strangers = 99;
                uint64_t id = 0;

                scene_start(feature_sets[f], sizes[s]);
                ck_assert_uint_eq(grant(&id).status, STATUS_OK);
                for (unsigned i = 0; i < sizes[s]; i++)
                        for (unsigned n = 0; n < i % 3; n++)
                                fake_cover(scene.directories[i]);
                unsigned there = fake_strangers();

                ck_assert_uint_eq(release(id, &strangers).status, STATUS_OK);
                ck_assert_uint_eq(strangers, there);
                ck_assert_uint_eq(fake_strangers(), 0);
                scene_end();
        }
}
END_TEST

START_TEST(mounts_that_are_gone_already_are_released) {
        FOR_ALL(f, s) {
                unsigned strangers = 99;
                uint64_t id = 0;

                scene_start(feature_sets[f], sizes[s]);
                ck_assert_uint_eq(grant(&id).status, STATUS_OK);
                for (unsigned i = 0; i < sizes[s]; i += 2)
                        fake_uncover(scene.directories[i]);
                ck_assert_uint_eq(release(id, &strangers).status, STATUS_OK);
                ck_assert_uint_eq(strangers, 0);
                scene_end();
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

                scene_start(feature_sets[f], sizes[s]);
                ck_assert_uint_eq(grant(&id).status, STATUS_OK);
                fake_calls_reset();
                ck_assert_uint_eq(release(id, &strangers).status, STATUS_OK);
                calls = fake_calls(FAKE_ANY);
                for (unsigned n = 1; n <= calls; n++)
                        log[n - 1] = fake_call_at(n);

                for (unsigned n = 1, target = -1; n <= calls; n++) {
                        target += log[n - 1] == FAKE_FCHDIR;
                        for (unsigned e = 0; e < 3; e++) {
                                /* What is asked to make sure may fail; so may going home. */
                                bool refused =
                                        log[n - 1] == FAKE_FCHDIR || (log[n - 1] == FAKE_UMOUNT);
                                struct verdict verdict;

                                ck_assert_uint_eq(grant(&id).status, STATUS_OK);
                                fake_calls_reset();
                                fake_fail(FAKE_ANY, n, 1, release_errors[e]);
                                verdict = release(id, &strangers);
                                if (!refused) {
                                        ck_assert_uint_eq(verdict.status, STATUS_OK);
                                        fake_gate_is_clean(&scene.fake, sizes[s]);
                                        continue;
                                }
                                ck_assert_uint_eq(verdict.status, STATUS_HOST_FAILED);
                                ck_assert_int_eq(verdict.error, release_errors[e]);
                                ck_assert_uint_eq(verdict.target, target);
                                ck_assert_uint_eq(ledger_count(scene.fake.gate.ledger).leases, 1);
                                ck_assert_uint_eq(fake_gate_records(&scene.fake), 1);
                                ck_assert(fake_is_in_root());

                                fake_calls_reset();
                                ck_assert_uint_eq(release(id, &strangers).status, STATUS_OK);
                                ck_assert_uint_eq(release(id, &strangers).status,
                                                  STATUS_NO_SUCH_LEASE);
                                fake_gate_is_clean(&scene.fake, sizes[s]);
                        }
                }
                scene_end();
        }
}
END_TEST

START_TEST(second_try_goes_on_where_the_first_stopped) {
        unsigned strangers;
        uint64_t id = 0;
        struct verdict verdict;

        scene_start(FAKE_ALL_FEATURES, 16);
        ck_assert_uint_eq(grant(&id).status, STATUS_OK);
        fake_calls_reset();
        fake_fail(FAKE_UMOUNT, 6, 1, EPERM);
        verdict = release(id, &strangers);
        ck_assert_uint_eq(verdict.target, 5);
        lease_holds(1, 11);
        fake_calls_reset();
        ck_assert_uint_eq(release(id, &strangers).status, STATUS_OK);
        ck_assert_uint_eq(fake_calls(FAKE_FCHDIR), 11);
        scene_end();
}
END_TEST

START_TEST(lease_is_its_owners_alone) {
        struct ledger_owner other;
        unsigned strangers = 99;
        uint64_t id = 0;

        scene_start(FAKE_ALL_FEATURES, 2);
        ck_assert_uint_eq(ledger_connect(scene.fake.gate.ledger, 1000, 2, &other).status,
                          STATUS_OK);
        ck_assert_uint_eq(grant(&id).status, STATUS_OK);
        fake_calls_reset();
        for (unsigned i = 0; i < 4; i++) {
                uint64_t ids[] = {id, 0, id ^ (1ULL << 63), UINT64_MAX};
                struct lease *ended = NULL;
                struct verdict verdict =
                        lease_release(scene.fake.gate.templates, scene.fake.gate.ledger,
                                      i == 0 ? &other : &scene.owner, ids[i], &strangers, &ended);

                ck_assert_ptr_null(ended);

                ck_assert_uint_eq(verdict.status, STATUS_NO_SUCH_LEASE);
                ck_assert_uint_eq(verdict.target, STATUS_NO_TARGET);
                ck_assert_uint_eq(strangers, 0);
        }
        ck_assert_uint_eq(fake_calls(FAKE_ANY), 0);
        lease_holds(1, 2);
        ck_assert_int_eq(release_all(&other), 0);
        lease_holds(1, 2);
        ledger_disconnect(scene.fake.gate.ledger, &other);
        ck_assert_uint_eq(release(id, &strangers).status, STATUS_OK);
        scene_end();
}
END_TEST

/* ---- disconnects ---- */

static void grant_three(void) {
        for (unsigned i = 0; i < 3; i++) {
                uint64_t id;

                for (unsigned j = 0; j < scene.count; j++) {
                        fd_close(scene.directories[j]);
                        scene_add_directory(j, 0);
                }
                ck_assert_uint_eq(grant(&id).status, STATUS_OK);
        }
}

START_TEST(disconnect_releases_all) {
        scene_start(FAKE_ALL_FEATURES, 2);
        grant_three();
        lease_holds(3, 6);
        ck_assert_int_eq(release_all(&scene.owner), 0);
        scene_end();
}
END_TEST

START_TEST(what_a_disconnect_can_not_release_becomes_an_orphan) {
        scene_start(FAKE_ALL_FEATURES, 2);
        grant_three();
        fake_calls_reset();
        fake_fail(FAKE_UMOUNT, 1, 2, EPERM); /* of the first two leases; the third is let go */
        ck_assert_int_eq(release_all(&scene.owner), -EPERM);
        lease_holds(2, 4);
        ck_assert_int_eq(release_all(&scene.owner), 0); /* nothing is its own any more */
        lease_holds(2, 4);
        ck_assert_int_eq(release_all(ledger_orphans(scene.fake.gate.ledger)), 0);
        scene_end();
}
END_TEST

START_TEST(orphans_that_stay_are_tried_once_each) {
        scene_start(FAKE_ALL_FEATURES, 2);
        grant_three();
        fake_calls_reset();
        fake_fail(FAKE_FCHDIR, 1, 1000, EIO);
        ck_assert_int_eq(release_all(&scene.owner), -EIO);
        ck_assert_int_eq(release_all(ledger_orphans(scene.fake.gate.ledger)), -EIO);
        ck_assert_uint_eq(fake_calls(FAKE_FCHDIR), 6);
        lease_holds(3, 6);
        fake_calls_reset();
        ck_assert_int_eq(release_all(ledger_orphans(scene.fake.gate.ledger)), 0);
        scene_end();
}
END_TEST

START_TEST(grant_that_can_not_be_undone_becomes_an_orphan) {
        struct verdict verdict;
        uint64_t id = 4711;

        scene_start(FAKE_ALL_FEATURES, 2);
        fd_close(scene.directories[1]);
        scene_add_directory(1, FAKE_VANISHES);
        fake_calls_reset();
        fake_fail(FAKE_UMOUNT, 1, 1, EPERM);
        verdict = grant(&id);
        ck_assert_uint_eq(verdict.status, STATUS_TARGET_VANISHED); /* what went wrong first */
        ck_assert_uint_eq(id, 4711);
        lease_holds(1, 1);
        ck_assert_int_eq(release_all(&scene.owner), 0);
        lease_holds(1, 1);
        ck_assert_int_eq(release_all(ledger_orphans(scene.fake.gate.ledger)), 0);
        scene_end();
}
END_TEST

/* Their owner's limit still counts them, and their owner can come and go meanwhile. */
START_TEST(orphan_outlives_its_connection) {
        scene_start(FAKE_ALL_FEATURES, 2);
        grant_three();
        fake_calls_reset();
        fake_fail(FAKE_UMOUNT, 1, 1, EPERM);
        ck_assert_int_eq(release_all(&scene.owner), -EPERM);
        ledger_disconnect(scene.fake.gate.ledger, &scene.owner);
        ck_assert_uint_eq(ledger_connect(scene.fake.gate.ledger, 1000, 1, &scene.owner).status,
                          STATUS_OK);
        lease_holds(1, 2);
        ck_assert_int_eq(release_all(ledger_orphans(scene.fake.gate.ledger)), 0);
        scene_end();
}
END_TEST

/* ---- adoption ---- */

/* What the client has of the mounts that a predecessor made. */
struct claim {
        struct record left;
        int fds[PROTOCOL_TARGETS_MAX];
};

static struct claim claim;

/* A lease of so many mounts was left, and its client has a descriptor of each. */
static void adoption_start(unsigned features, unsigned count) {
        scene.features = features;
        scene.count = count;
        for (unsigned i = 0; i < count; i++)
                scene.directories[i] =
                        fake_directory(&(struct fake_directory){.path = "/r/x", .owner = 1000});
        claim.left = fake_gate_left(features, 5, 1000, RECORD_LIVE, scene.directories, count);
        fake_gate_start_after(&scene.fake, features, &fake_gate_limits, &claim.left, 1);
        scene.fake.descriptors -= count; /* the directories, as scene_start() has it */
        scene.fake.descriptors_before -= count;
        ck_assert_uint_eq(ledger_connect(scene.fake.gate.ledger, 1000, 1, &scene.owner).status,
                          STATUS_OK);
        for (unsigned i = 0; i < count; i++)
                claim.fds[i] = fake_open_mount(scene.directories[i]);
        fake_calls_reset();
}

static struct verdict adopt_as(struct ledger_owner *owner, uint64_t id, unsigned count) {
        return lease_adopt(scene.fake.gate.templates, scene.fake.gate.ledger, owner, id,
                           claim.left.file_systems, claim.fds, count);
}

static struct verdict adopt(void) {
        return adopt_as(&scene.owner, claim.left.lease, claim.left.count);
}

/* Refused, with all descriptors still ours, and nobody the worse for it. */
static void adoption_is_refused_with(enum status status, struct verdict verdict, uint32_t target) {
        struct ledger_counts counts = ledger_count(scene.fake.gate.ledger);

        ck_assert_uint_eq(verdict.status, status);
        ck_assert_uint_eq(verdict.target, target);
        ck_assert_uint_eq(counts.left, 1);
        lease_holds(1, scene.count);
        ck_assert_uint_eq(descriptors_count(), scene.fake.descriptors + 2 * scene.count);
        for (unsigned i = 0; i < scene.count; i++)
                ck_assert_int_ge(fcntl(claim.fds[i], F_GETFD), 0);
}

static void adoption_is_refused(struct verdict verdict, uint32_t target) {
        adoption_is_refused_with(STATUS_NO_SUCH_LEASE, verdict, target);
}

/* After whatever was refused, it can still be adopted, and released. */
static void adoption_end(void) {
        unsigned strangers = 99;

        fake_calls_reset();
        ck_assert_uint_eq(adopt().status, STATUS_OK);
        for (unsigned i = 0; i < scene.count; i++)
                ck_assert_int_lt(claim.fds[i], 0); /* taken */
        ck_assert_uint_eq(ledger_count(scene.fake.gate.ledger).left, 0);
        lease_holds(1, scene.count);
        ck_assert_uint_eq(descriptors_count(), scene.fake.descriptors + 2 * scene.count);
        ck_assert_uint_eq(fake_calls(FAKE_MOVE_MOUNT) + fake_calls(FAKE_UMOUNT), 0);
        ck_assert_uint_eq(release(claim.left.lease, &strangers).status, STATUS_OK);
        ck_assert_uint_eq(strangers, 0);
        scene_end();
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
        ck_assert_int_eq(release_all(&scene.owner), 0);
        scene_end();
}
END_TEST

START_TEST(adopted_lease_that_is_gone_already_is_released) {
        unsigned strangers = 99;

        FOR_ALL(f, s) {
                adoption_start(feature_sets[f], sizes[s]);
                ck_assert_uint_eq(adopt().status, STATUS_OK);
                for (unsigned i = 0; i < sizes[s]; i++)
                        fake_uncover(scene.directories[i]);
                ck_assert_uint_eq(release(claim.left.lease, &strangers).status, STATUS_OK);
                scene_end();
        }
}
END_TEST

/* That the host fails is no answer to whether there is such a lease: a client would give it up. */
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
                scene_end();

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
                        struct ledger_owner other;

                        ck_assert_uint_eq(
                                ledger_connect(scene.fake.gate.ledger, others[i], 1, &other).status,
                                STATUS_OK);
                        adoption_is_refused(adopt_as(&other, claim.left.lease, claim.left.count),
                                            STATUS_NO_TARGET);
                        ledger_disconnect(scene.fake.gate.ledger, &other);
                }
                adoption_is_refused(adopt_as(&scene.owner, 0, sizes[s]), STATUS_NO_TARGET);
                adoption_is_refused(adopt_as(&scene.owner, UINT64_MAX, sizes[s]), STATUS_NO_TARGET);
                adoption_is_refused(adopt_as(&scene.owner, claim.left.lease + 1, sizes[s]),
                                    STATUS_NO_TARGET);
                if (sizes[s] > 1)
                        adoption_is_refused(adopt_as(&scene.owner, claim.left.lease, sizes[s] - 1),
                                            STATUS_NO_TARGET);
                adoption_end();
        }
}
END_TEST

START_TEST(adopted_lease_can_not_be_adopted_again) {
        struct ledger_owner other;
        unsigned strangers;
        int again;

        adoption_start(FAKE_ALL_FEATURES, 1);
        again = fake_open_mount(scene.directories[0]);
        ck_assert_uint_eq(adopt().status, STATUS_OK);
        ck_assert_uint_eq(ledger_connect(scene.fake.gate.ledger, 1000, 2, &other).status,
                          STATUS_OK);
        claim.fds[0] = again;
        ck_assert_uint_eq(adopt().status, STATUS_NO_SUCH_LEASE);
        ck_assert_uint_eq(adopt_as(&other, claim.left.lease, 1).status, STATUS_NO_SUCH_LEASE);
        ck_assert_int_eq(claim.fds[0], again);
        fd_close(again);
        ledger_disconnect(scene.fake.gate.ledger, &other);
        lease_holds(1, 1);
        ck_assert_uint_eq(release(claim.left.lease, &strangers).status, STATUS_OK);
        scene_end();
}
END_TEST

/* In place of the last mount's root, what the client sends instead. */
START_TEST(other_descriptors_are_not_adopted) {
        FOR_ALL(f, s) {
                bool exact = feature_sets[f] & PROTOCOL_FEATURE_STATMOUNT;
                unsigned last = sizes[s] - 1;
                const struct {
                        const char *options; /* of a mount, or NULL: a directory */
                        unsigned flags;
                        bool blamed; /* else it is only not the one that is on record */
                } others[] = {
                        {NULL, 0, true},
                        {NULL, FAKE_IS_FILE, true},
                        {NULL, FAKE_IS_ROOT, !exact},
                        {NULL, FAKE_IS_ROOT | FAKE_IS_FOREIGN, !exact},
                        {last % 2 ? "sysfs,source=mountatd" : "proc,source=mountatd", 0, false},
                        {last % 2 ? "proc,source=mountatd" : "sysfs,source=mountatd", 0, !exact},
                        {last % 2 ? "sysfs,source=mountatd:b" : "proc,source=mountatd:b", 0,
                         !exact},
                        {last % 2 ? "sysfs,source=sysfs" : "proc,source=proc", 0, !exact},
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

/* The client of a request that took too long is gone. */
START_TEST(abandoned_owner_adopts_nothing) {
        adoption_start(FAKE_ALL_FEATURES, 2);
        ledger_abandon(scene.fake.gate.ledger, &scene.owner);
        adoption_is_refused(adopt(), STATUS_NO_TARGET);
        ledger_disconnect(scene.fake.gate.ledger, &scene.owner);
        ck_assert_uint_eq(ledger_connect(scene.fake.gate.ledger, 1000, 1, &scene.owner).status,
                          STATUS_OK);
        adoption_end();
}
END_TEST

/* ---- abandoned owners ---- */

START_TEST(grant_of_an_abandoned_owner_is_undone) {
        FOR_ALL(f, s) {
                uint64_t id = 4711;

                scene_start(feature_sets[f], sizes[s]);
                ledger_abandon(scene.fake.gate.ledger, &scene.owner);
                struct verdict verdict = grant(&id);

                ck_assert_uint_eq(verdict.status, STATUS_HOST_FAILED);
                ck_assert_uint_eq(verdict.target, STATUS_NO_TARGET);
                ck_assert_uint_eq(id, 4711);
                ck_assert_uint_eq(fake_calls(FAKE_MOVE_MOUNT), sizes[s]); /* it went that far */
                fake_gate_is_clean(&scene.fake, sizes[s]);
                scene_end();
        }
}
END_TEST

START_TEST(release_that_fails_for_an_abandoned_owner_is_an_orphans) {
        unsigned strangers;
        uint64_t id = 0;

        scene_start(FAKE_ALL_FEATURES, 2);
        ck_assert_uint_eq(grant(&id).status, STATUS_OK);
        ledger_abandon(scene.fake.gate.ledger, &scene.owner);
        fake_calls_reset();
        fake_fail(FAKE_UMOUNT, 2, 1, EPERM);
        ck_assert_uint_eq(release(id, &strangers).status, STATUS_HOST_FAILED);
        ck_assert_uint_eq(release(id, &strangers).status, STATUS_NO_SUCH_LEASE);
        lease_holds(1, 1);
        ck_assert_int_eq(release_all(&scene.owner), 0);
        lease_holds(1, 1);
        ck_assert_int_eq(release_all(ledger_orphans(scene.fake.gate.ledger)), 0);
        scene_end();
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
                second_try_goes_on_where_the_first_stopped, lease_is_its_owners_alone,
                disconnect_releases_all, what_a_disconnect_can_not_release_becomes_an_orphan,
                orphans_that_stay_are_tried_once_each,
                grant_that_can_not_be_undone_becomes_an_orphan, orphan_outlives_its_connection,
                adopts_and_releases, adopted_lease_ends_with_its_connection,
                adopted_lease_that_is_gone_already_is_released,
                each_call_that_fails_undoes_the_adoption, adoption_is_for_who_had_it,
                adopted_lease_can_not_be_adopted_again, other_descriptors_are_not_adopted,
                mounts_in_another_order_are_not_adopted, file_systems_must_be_those_on_record,
                abandoned_owner_adopts_nothing, grant_of_an_abandoned_owner_is_undone,
                release_that_fails_for_an_abandoned_owner_is_an_orphans);
}
