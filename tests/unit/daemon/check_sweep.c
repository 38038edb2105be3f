/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What the previous instance left, in every state of the records and their mounts: our mounts go,
 * others stay, and no mount that may still exist is forgotten. Leases kept for users:
 * check_sweep_kept; before an instance starts: check_sweep_before.
 */

#include "tests/unit/daemon/sweep_fixture.h"

#include <pthread.h>

START_TEST(what_is_attached_is_detached) {
        for (unsigned patience = SWEEP_QUICKLY; patience <= SWEEP_PATIENTLY; patience++)
                FOR_ALL(f, s) {
                        start_with(feature_sets[f], states[s], 0);
                        ck_assert_uint_eq(fake_mounts(), COUNT);
                        sweep(SWEEP_UNCLAIMED, patience);
                        ck_assert_uint_eq(fake_mounts(), 0);
                        ck_assert_uint_eq(left(), 0);
                        ck_assert_uint_eq(logged(""), 0);
                        predecessor_end();
                }
}
END_TEST

/* Of a connection that had entered its client's namespaces. */
START_TEST(what_is_in_another_namespace_is_detached_in_there) {
        enum { CONTAINER = 7 };

        for (unsigned s = 0; s < 3; s++) {
                int container = fake_namespace(CLONE_NEWNS, CONTAINER);

                predecessor_begin(FAKE_ALL_FEATURES);
                predecessor.in = CONTAINER;
                predecessor_leave(states[s], 0);
                predecessor.in = 0;
                predecessor_leave(states[s], 0);
                predecessor_start();

                fake_fail(FAKE_NAMESPACE, 1, 1, EPERM);
                sweep(SWEEP_UNCLAIMED, SWEEP_QUICKLY);
                ck_assert_uint_eq(fake_mounts(), COUNT); /* they may still be there */
                ck_assert_uint_eq(left(), 1);
                fake_calls_reset();
                sweep(SWEEP_UNCLAIMED, SWEEP_QUICKLY);
                ck_assert_uint_eq(fake_mounts(), 0);
                ck_assert_uint_eq(left(), 0);
                ck_assert(namespaces_return());
                predecessor.fake.descriptors--;
                predecessor.fake.descriptors_before--;
                fd_close(container);
                predecessor_end();
        }
}
END_TEST

START_TEST(what_was_in_a_namespace_that_has_ended_is_forgotten) {
        predecessor_begin(FAKE_ALL_FEATURES);
        predecessor.in = 7;
        predecessor_leave(RECORD_LIVE, 0);
        predecessor_start();
        for (unsigned i = 0; i < COUNT; i++)
                fake_uncover(predecessor.directories[0][i]);
        sweep(SWEEP_UNCLAIMED, SWEEP_QUICKLY);
        ck_assert_uint_eq(left(), 0);
        predecessor_end();
}
END_TEST

START_TEST(what_is_gone_is_forgotten) {
        FOR_ALL(f, s)
        for (unsigned gone = 1; gone < 1 << COUNT; gone++) {
                start_with(feature_sets[f], states[s], 0);
                for (unsigned i = 0; i < COUNT; i++)
                        if (gone & (1 << i))
                                fake_uncover(predecessor.directories[0][i]);
                sweep(SWEEP_UNCLAIMED, SWEEP_QUICKLY);
                ck_assert_uint_eq(fake_mounts(), 0);
                ck_assert_uint_eq(left(), 0);
                predecessor_end();
        }
}
END_TEST

START_TEST(what_can_be_adopted_is_left_until_it_is_time) {
        FOR_ALL(f, s) {
                bool live = states[s] == RECORD_LIVE;

                start_with(feature_sets[f], states[s], 0);
                sweep(SWEEP_UNADOPTABLE, SWEEP_PATIENTLY);
                ck_assert_uint_eq(fake_mounts(), live ? COUNT : 0);
                ck_assert_uint_eq(left(), live);
                if (live)
                        ck_assert_uint_eq(read_record(0).state, RECORD_LIVE);
                sweep(SWEEP_FINALLY, SWEEP_PATIENTLY);
                predecessor_end();
        }
}
END_TEST

/* ---- mounts that may still appear ---- */

/* Its writer is a process with a thread left: we are one. */
static void start_pending(unsigned features, enum record_state state) {
        predecessor_begin(features);
        predecessor_leave(state, 0);
        predecessor.left[0].writer_start_time = predecessor.self.start_time;
        fake_uncover(predecessor.directories[0][0]);
        fake_uncover(predecessor.directories[0][1]);
        predecessor_start();
}

static void writer_goes(void) {
        struct record record = read_record(0);

        record.writer_start_time--;
        fake_context_write(&predecessor.fake, &record);
}

START_TEST(what_may_yet_be_attached_stays_until_its_writer_is_gone) {
        for (unsigned f = 0; f < N_FEATURE_SETS; f++)
                for (unsigned scope = SWEEP_UNADOPTABLE; scope <= SWEEP_FINALLY; scope++) {
                        start_pending(feature_sets[f], RECORD_ATTACHING);
                        for (unsigned i = 0; i < 2; i++) {
                                sweep(scope, SWEEP_PATIENTLY);
                                ck_assert_uint_eq(left(), 1);
                                ck_assert_uint_eq(read_record(0).state, RECORD_ATTACHING);
                        }
                        ck_assert_uint_eq(logged(""), 0);
                        writer_goes();
                        sweep(scope, SWEEP_PATIENTLY);
                        ck_assert_uint_eq(left(), 0);
                        predecessor_end();
                }
}
END_TEST

START_TEST(what_turns_up_late_is_detached) {
        for (unsigned f = 0; f < N_FEATURE_SETS; f++)
                for (unsigned first = 0; first < COUNT; first++) {
                        start_pending(feature_sets[f], RECORD_ATTACHING);
                        sweep(SWEEP_UNCLAIMED, SWEEP_QUICKLY);
                        fake_mount_again(predecessor.directories[0][first],
                                         predecessor.mounts[0][first]);
                        sweep(SWEEP_UNCLAIMED, SWEEP_QUICKLY);
                        ck_assert_uint_eq(fake_mounts(), 0);
                        ck_assert_uint_eq(left(), 1); /* the other may still appear */
                        fake_mount_again(predecessor.directories[0][!first],
                                         predecessor.mounts[0][!first]);
                        writer_goes();
                        sweep(SWEEP_UNCLAIMED, SWEEP_QUICKLY);
                        ck_assert_uint_eq(fake_mounts(), 0);
                        ck_assert_uint_eq(left(), 0);
                        predecessor_end();
                }
}
END_TEST

/* The thread was about to make the second mount when its process died. */
START_TEST(mount_that_has_no_id_yet_may_get_one) {
        for (unsigned f = 0; f < N_FEATURE_SETS; f++) {
                predecessor_begin(feature_sets[f]);
                predecessor_leave(RECORD_ATTACHING, 0);
                predecessor.left[0].writer_start_time = predecessor.self.start_time;
                fake_uncover(predecessor.directories[0][1]);
                predecessor.left[0].mounts[1] = 0;
                predecessor_start();
                sweep(SWEEP_UNCLAIMED, SWEEP_QUICKLY);
                ck_assert_uint_eq(fake_mounts(), 0);
                ck_assert_uint_eq(left(), 1);
                writer_goes();
                sweep(SWEEP_UNCLAIMED, SWEEP_QUICKLY);
                ck_assert_uint_eq(left(), 0);
                predecessor_end();
        }
}
END_TEST

/* No mount of a lease that was live, or being released, can still be attached. */
START_TEST(other_states_do_not_wait_for_their_writer) {
        for (unsigned f = 0; f < N_FEATURE_SETS; f++)
                for (unsigned s = 1; s < 3; s++) {
                        start_pending(feature_sets[f], states[s]);
                        sweep(SWEEP_UNCLAIMED, SWEEP_QUICKLY);
                        ck_assert_uint_eq(left(), 0);
                        predecessor_end();
                }
}
END_TEST

/* A zombie may have threads stuck in the kernel. */
START_TEST(zombie_is_not_gone) {
        struct instance *child = NULL;
        siginfo_t info;
        int pipes[2];
        pid_t pid;

        ck_assert_int_eq(pipe2(pipes, O_CLOEXEC), 0);
        pid = fork();
        if (pid == 0) {
                struct instance self;

                _exit(instance_self(&self) < 0 ||
                      write(pipes[1], &self, sizeof(self)) != sizeof(self));
        }
        child = malloc(sizeof(*child));
        ck_assert_int_eq(read(pipes[0], child, sizeof(*child)), sizeof(*child));
        ck_assert_int_eq(waitid(P_PID, pid, &info, WEXITED | WNOWAIT), 0);
        ck_assert_int_eq(close(pipes[0]) + close(pipes[1]), 0);

        predecessor_begin(FAKE_ALL_FEATURES);
        predecessor_leave(RECORD_ATTACHING, 0);
        predecessor.left[0].writer_pid = child->pid;
        predecessor.left[0].writer_start_time = child->start_time;
        fake_uncover(predecessor.directories[0][1]);
        predecessor_start();
        sweep(SWEEP_UNCLAIMED, SWEEP_QUICKLY);
        ck_assert_uint_eq(fake_mounts(), 0);
        ck_assert_uint_eq(left(), 1);
        ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
        sweep(SWEEP_UNCLAIMED, SWEEP_QUICKLY);
        ck_assert_uint_eq(left(), 0);
        predecessor_end();
        free(child);
}
END_TEST

/* ---- mounts out of reach ---- */

static void expect_out_of_reach(enum record_state before, const char *error) {
        for (unsigned i = 0; i < 3; i++) {
                sweep(SWEEP_UNCLAIMED, i % 2 ? SWEEP_QUICKLY : SWEEP_PATIENTLY);
                ck_assert_uint_eq(left(), 1);
                ck_assert_uint_eq(read_record(0).state, before);
        }
        /* Logged once, with the user, the error and the path. */
        ck_assert_uint_eq(logged(""), 1);
        ck_assert_uint_eq(logged("--sweep"), 1);
        ck_assert_uint_eq(logged("/left0/"), 1);
        ck_assert_uint_eq(logged("1000"), 1);
        ck_assert_uint_eq(logged(error), 1);

        /* The last sweep leaves no record that looks adoptable. */
        sweep(SWEEP_FINALLY, SWEEP_QUICKLY);
        ck_assert_uint_eq(left(), 1);
        ck_assert_uint_eq(read_record(0).state, before == RECORD_LIVE ? RECORD_RELEASING : before);
        ck_assert_uint_eq(logged(""), 1);
}

START_TEST(what_is_below_a_closed_directory_stays_on_record) {
        FOR_ALL(f, s) {
                start_with(feature_sets[f], states[s], FAKE_IS_PRIVATE);
                expect_out_of_reach(states[s], "Permission denied");
                ck_assert_uint_eq(fake_mounts(), COUNT);
                for (unsigned i = 0; i < COUNT; i++) /* root unmounts it */
                        fake_uncover(predecessor.directories[0][i]);
                sweep(SWEEP_UNCLAIMED, SWEEP_QUICKLY);
                predecessor_end();
        }
}
END_TEST

/* Another's mount on top isn't ours to detach: the path doesn't lead to ours. */
START_TEST(what_others_have_covered_stays_on_record) {
        for (unsigned which = 0; which < COUNT; which++)
                FOR_ALL(f, s) {
                        start_with(feature_sets[f], states[s], 0);
                        fake_cover(predecessor.directories[0][which]);
                        expect_out_of_reach(states[s], "busy");
                        ck_assert_uint_eq(fake_strangers(), 1);
                        ck_assert_uint_eq(fake_mounts(), 1); /* our other mount was detached */
                        fake_uncover(predecessor.directories[0][which]);
                        sweep(SWEEP_UNCLAIMED, SWEEP_QUICKLY);
                        ck_assert_uint_eq(fake_mounts(), 0);
                        predecessor_end();
                }
}
END_TEST

/* The kernel reports a path, but nothing is there: renamed meanwhile, or below a chroot's root. */
START_TEST(what_no_path_leads_to_stays_on_record) {
        FOR_ALL(f, s) {
                start_with(feature_sets[f], states[s], 0);
                fake_calls_reset();
                fake_fail(FAKE_OPEN_PLACE, 1, 100, ENOENT);
                expect_out_of_reach(states[s], "busy");
                ck_assert_uint_eq(fake_mounts(), COUNT);
                fake_calls_reset();
                sweep(SWEEP_UNCLAIMED, SWEEP_QUICKLY);
                ck_assert_uint_eq(fake_mounts(), 0);
                predecessor_end();
        }
}
END_TEST

/* One of its mounts may still appear: the other is logged nevertheless. */
START_TEST(what_is_out_of_reach_is_told_of_beside_what_is_pending) {
        for (unsigned f = 0; f < N_FEATURE_SETS; f++)
                for (unsigned covered = 0; covered < COUNT; covered++) {
                        start_pending(feature_sets[f], RECORD_ATTACHING);
                        fake_mount_again(predecessor.directories[0][covered],
                                         predecessor.mounts[0][covered]);
                        fake_cover(predecessor.directories[0][covered]);
                        sweep(SWEEP_UNCLAIMED, SWEEP_QUICKLY);
                        ck_assert_uint_eq(logged("cannot reach a mount"), 1);
                        ck_assert_uint_eq(left(), 1);
                        fake_uncover(predecessor.directories[0][covered]);
                        writer_goes();
                        sweep(SWEEP_UNCLAIMED, SWEEP_QUICKLY);
                        ck_assert_uint_eq(fake_mounts(), 0);
                        predecessor_end();
                }
}
END_TEST

/* Adopts the first lease. */
static void adopt(struct holder *holder, int *fds) {
        struct lease_claim claim = {.id = predecessor.left[0].lease, .count = COUNT};

        memcpy(claim.file_systems, predecessor.left[0].file_systems, sizeof(claim.file_systems));
        for (unsigned i = 0; i < COUNT; i++)
                fds[i] = fake_open_mount(predecessor.directories[0][i]);
        ck_assert_uint_eq(lease_adopt(predecessor.fake.context.leases, holder, &claim, fds).status,
                          STATUS_OK);
}

/* A lease that could not be swept during the time for adoption can still be adopted. */
START_TEST(what_could_not_be_swept_can_be_adopted) {
        struct holder holder = {.subject = {.uid = 1000}};
        struct leases *leases;
        int fds[COUNT];

        start_with(FAKE_ALL_FEATURES, RECORD_LIVE, FAKE_IS_PRIVATE);
        leases = predecessor.fake.context.leases;
        sweep(SWEEP_UNCLAIMED, SWEEP_PATIENTLY);
        adopt(&holder, fds);
        sweep(SWEEP_FINALLY, SWEEP_PATIENTLY);
        ck_assert_uint_eq(fake_mounts(), COUNT); /* it is held */
        ck_assert_int_eq(lease_release_held(leases, &holder), 0);
        predecessor_end();
}
END_TEST

START_TEST(what_takes_patience_is_left_out_quickly) {
        FOR_ALL(f, s) {
                start_with(feature_sets[f], states[s], FAKE_IS_REMOTE);
                sweep(SWEEP_UNCLAIMED, SWEEP_QUICKLY);
                sweep(SWEEP_UNCLAIMED, SWEEP_QUICKLY);
                ck_assert_uint_eq(fake_mounts(), COUNT);
                ck_assert_uint_eq(left(), 1);
                ck_assert_uint_eq(read_record(0).state, states[s]);
                ck_assert_uint_eq(logged(""), 0);
                sweep(SWEEP_UNCLAIMED, SWEEP_PATIENTLY);
                ck_assert_uint_eq(fake_mounts(), 0);
                ck_assert_uint_eq(left(), 0);
                predecessor_end();
        }
}
END_TEST

/* A concurrent change elsewhere looks the same for a moment. */
START_TEST(what_seems_to_take_patience_is_tried_again) {
        for (unsigned races = SWEEP_TRIES_MAX - 1; races <= SWEEP_TRIES_MAX; races++) {
                const unsigned stay = races == SWEEP_TRIES_MAX;

                start_with(FAKE_ALL_FEATURES, RECORD_LIVE, 0);
                fake_calls_reset();
                fake_fail(FAKE_OPEN_PLACE, 1, races, EAGAIN);
                sweep(SWEEP_UNCLAIMED, SWEEP_QUICKLY);
                ck_assert_uint_eq(fake_mounts(), stay);
                ck_assert_uint_eq(left(), stay);
                sweep(SWEEP_UNCLAIMED, SWEEP_QUICKLY);
                ck_assert_uint_eq(fake_mounts(), 0);
                ck_assert_uint_eq(left(), 0);
                ck_assert_uint_eq(logged(""), 0);
                predecessor_end();
        }
}
END_TEST

START_TEST(one_that_stays_keeps_no_other) {
        for (unsigned stays = 0; stays < N_LEFT_MAX; stays++) {
                predecessor_begin(FAKE_ALL_FEATURES);
                for (unsigned n = 0; n < N_LEFT_MAX; n++)
                        predecessor_leave(RECORD_LIVE, n == stays ? FAKE_IS_PRIVATE : 0);
                predecessor_start();
                sweep(SWEEP_UNCLAIMED, SWEEP_PATIENTLY);
                ck_assert_uint_eq(left(), 1);
                ck_assert_uint_eq(fake_mounts(), COUNT);
                ck_assert_uint_eq(read_record(stays).state, RECORD_LIVE);
                for (unsigned i = 0; i < COUNT; i++)
                        fake_uncover(predecessor.directories[stays][i]);
                sweep(SWEEP_UNCLAIMED, SWEEP_PATIENTLY);
                predecessor_end();
        }
}
END_TEST

/* ---- mounts that aren't ours ---- */

/* The recorded ids belong to others' mounts by now. */
START_TEST(mount_that_is_not_what_the_record_says_stays) {
        for (unsigned f = 0; f < N_FEATURE_SETS; f++) {
                bool exact = feature_sets[f] & PROTOCOL_FEATURE_STATMOUNT;
                static const struct {
                        const char
                                *options; /* of the mount with the first id, which is a procfs's */
                        bool by_table_alone; /* exact ids are never reused */
                } others[] = {
                        {"sysfs,source=mountatd", false}, {"ext4,source=mountatd", false},
                        {"proc,source=proc", true},       {"proc,source=mountatd:b", true},
                        {"proc,source=mountat", true},    {"proc", true},
                };

                for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
                        if (exact && others[i].by_table_alone)
                                continue;
                        predecessor_begin(feature_sets[f]);
                        predecessor_leave(RECORD_RELEASING, 0);
                        fake_uncover(predecessor.directories[0][0]);
                        predecessor.left[0].mounts[0] =
                                fake_context_id(predecessor.features,
                                                fake_mount_before(predecessor.directories[0][0],
                                                                  others[i].options));
                        predecessor_start();
                        sweep(SWEEP_UNCLAIMED, SWEEP_PATIENTLY);
                        ck_assert_uint_eq(left(), 0);
                        ck_assert_uint_eq(fake_mounts(), 1);
                        ck_assert_ptr_nonnull(fake_mount_on(predecessor.directories[0][0]));
                        fake_uncover(predecessor.directories[0][0]);
                        predecessor_end();
                }
        }
}
END_TEST

/* A lease of this instance has got the id of a mount that was left. */
/* A client's lease of this instance. */
struct held {
        struct holder holder;
        int directory;
        uint64_t id;
};

static void hold(struct held *held) {
        struct target_facts facts;
        struct lease_orders orders = {.count = 1};

        *held = (struct held){.holder = {.subject = {.uid = 1000}},
                              .directory =
                                      fake_directory(&(struct fake_directory){.path = "/x/proc"})};
        ck_assert_int_eq(target_inspect(held->directory, predecessor.fake.context.proc,
                                        predecessor.features, &facts),
                         0);
        orders.orders[0] = (struct lease_order){.kind = TEMPLATE_PROC,
                                                .file_system = PROTOCOL_PROC,
                                                .target = held->directory,
                                                .facts = &facts};
        ck_assert_uint_eq(
                lease_grant(predecessor.fake.context.leases, &held->holder, &orders, &held->id)
                        .status,
                STATUS_OK);
}

static void let_go(struct held *held) {
        struct lease_remains remains;

        ck_assert_uint_eq(
                lease_release(predecessor.fake.context.leases, &held->holder, held->id, &remains)
                        .status,
                STATUS_OK);
        lease_dispose(&remains);
        held->directory = fd_close(held->directory);
}

START_TEST(mount_that_we_hold_stays) {
        for (unsigned f = 0; f < N_FEATURE_SETS; f++) {
                struct record record;
                struct held held;

                start_with(feature_sets[f], RECORD_LIVE, 0);
                hold(&held);
                fake_uncover(predecessor.directories[0][0]);
                record = read_record(0);
                record.mounts[0] =
                        fake_context_id(predecessor.features, fake_mount_on(held.directory));
                fake_context_write(&predecessor.fake, &record);

                sweep(SWEEP_UNCLAIMED, SWEEP_PATIENTLY);
                ck_assert_uint_eq(leases_count(predecessor.fake.context.leases).left, 0);
                ck_assert_uint_eq(fake_mounts(), 1);
                ck_assert_ptr_nonnull(fake_mount_on(held.directory));
                let_go(&held);
                predecessor_end();
        }
}
END_TEST

/* The client's mount gets the id that the record has while the sweep is on its way to it. */
static void *reuse_the_id(void *data) {
        struct record record = *(const struct record *)data;

        while (fake_blocked() == 0)
                usleep(1000);
        record.mounts[0] = read_record(0).mounts[0];
        fake_context_write(&predecessor.fake, &record);
        fake_unblock();
        return NULL;
}

START_TEST(mount_that_we_hold_meanwhile_stays) {
        for (unsigned f = 0; f < N_FEATURE_SETS; f++) {
                struct record record;
                struct held held;
                pthread_t thread;

                start_with(feature_sets[f], RECORD_LIVE, 0);
                hold(&held);
                record = fake_context_record(&predecessor.fake, held.id);
                fake_block(FAKE_OPEN_PLACE, 1);
                ck_assert_int_eq(pthread_create(&thread, NULL, reuse_the_id, &record), 0);
                sweep_leases(predecessor.fake.context.leases, &predecessor.self, SWEEP_UNCLAIMED,
                             SWEEP_PATIENTLY);
                ck_assert_int_eq(pthread_join(thread, NULL), 0);
                ck_assert_ptr_nonnull(fake_mount_on(predecessor.directories[0][0]));
                ck_assert_uint_eq(leases_count(predecessor.fake.context.leases).left, 0);

                fake_uncover(predecessor.directories[0][0]);
                fake_context_write(&predecessor.fake, &record);
                let_go(&held);
                predecessor_end();
        }
}
END_TEST

/* ---- each call fails in turn ---- */

START_TEST(each_call_that_fails_forgets_nothing) {
        static const int errors[] = {EPERM, EIO, ENOMEM, EMFILE, EACCES};

        FOR_ALL(f, s) {
                unsigned calls;

                start_with(feature_sets[f], states[s], 0);
                fake_calls_reset();
                sweep(SWEEP_UNCLAIMED, SWEEP_PATIENTLY);
                calls = fake_calls(FAKE_ANY);
                ck_assert_uint_ge(calls, COUNT * 4);
                predecessor_end();

                for (unsigned n = 1; n <= calls; n++)
                        for (size_t e = 0; e < sizeof(errors) / sizeof(errors[0]); e++) {
                                start_with(feature_sets[f], states[s], 0);
                                fake_calls_reset();
                                fake_fail(FAKE_ANY, n, 1, errors[e]);
                                sweep(SWEEP_UNCLAIMED, SWEEP_PATIENTLY);
                                ck_assert_msg(fake_mounts() == 0 || left() == 1,
                                              "call %u of %u, errno %d: mounts are left", n, calls,
                                              errors[e]);
                                fake_calls_reset();
                                sweep(SWEEP_UNCLAIMED, SWEEP_PATIENTLY);
                                ck_assert_uint_eq(fake_mounts(), 0);
                                ck_assert_uint_eq(left(), 0);
                                predecessor_end();
                        }
        }
}
END_TEST

int main(void) {
        return SUITE_RUN("sweep", what_is_attached_is_detached,
                         what_is_in_another_namespace_is_detached_in_there,
                         what_was_in_a_namespace_that_has_ended_is_forgotten,
                         what_is_gone_is_forgotten, what_can_be_adopted_is_left_until_it_is_time,
                         what_may_yet_be_attached_stays_until_its_writer_is_gone,
                         what_turns_up_late_is_detached, mount_that_has_no_id_yet_may_get_one,
                         other_states_do_not_wait_for_their_writer, zombie_is_not_gone,
                         what_is_below_a_closed_directory_stays_on_record,
                         what_others_have_covered_stays_on_record,
                         what_could_not_be_swept_can_be_adopted,
                         what_no_path_leads_to_stays_on_record,
                         what_is_out_of_reach_is_told_of_beside_what_is_pending,
                         what_takes_patience_is_left_out_quickly,
                         what_seems_to_take_patience_is_tried_again, one_that_stays_keeps_no_other,
                         mount_that_is_not_what_the_record_says_stays, mount_that_we_hold_stays,
                         mount_that_we_hold_meanwhile_stays, each_call_that_fails_forgets_nothing);
}
