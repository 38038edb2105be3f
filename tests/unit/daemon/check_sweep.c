/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What the previous instance left, in every state of the records and their mounts: our mounts go,
 * others stay, and no mount that may still exist is forgotten.
 */

#include "daemon/sweep.h"

#include "daemon/lease.h"
#include "daemon/log.h"
#include "tests/test.h"
#include "tests/unit/daemon/fake_context.h"
#include "tests/unit/daemon/feature_sets.h"

#include <errno.h>
#include <sched.h>
#include <sys/wait.h>

static const enum record_state states[] = {RECORD_ATTACHING, RECORD_LIVE, RECORD_RELEASING};

enum {
        N_LEFT_MAX = 3,
        COUNT = 2, /* mounts of a lease */
};

#undef FOR_ALL
#define FOR_ALL(f, s) FOR_ALL_OF(f, s, 3) /* states */

/*
 * Leases of the previous instance, at the indices 10, 11, …, each with mounts on its own
 * directories.
 */
static struct {
        struct fake_context fake;
        unsigned features;
        uint64_t in; /* the mount namespace of the next lease */
        struct instance self;
        unsigned n_left;
        struct record left[N_LEFT_MAX];
        int directories[N_LEFT_MAX][COUNT];
        const struct fake_mount *mounts[N_LEFT_MAX][COUNT];
        FILE *log; /* the log's lines */
} predecessor;

static void predecessor_leave(enum record_state state, unsigned flags) {
        static char paths[N_LEFT_MAX][COUNT][32];
        unsigned n = predecessor.n_left++;

        for (unsigned i = 0; i < COUNT; i++) {
                snprintf(paths[n][i], sizeof(paths[n][i]), "/left%u/%s", n, i ? "sys" : "proc");
                predecessor.directories[n][i] =
                        fake_directory(&(struct fake_directory){.path = paths[n][i],
                                                                .owner = 1000,
                                                                .flags = flags,
                                                                .mount_namespace = predecessor.in});
        }
        predecessor.left[n] = fake_context_left(predecessor.features, 10 + n, 1000, state,
                                                predecessor.directories[n], COUNT);
        /* By a process that had our pid before us, and is gone. */
        predecessor.left[n].writer_pid = predecessor.self.pid;
        predecessor.left[n].writer_start_time = predecessor.self.start_time - 1;
        predecessor.left[n].mount_namespace = predecessor.in;
        for (unsigned i = 0; i < COUNT; i++)
                predecessor.mounts[n][i] = fake_mount_on(predecessor.directories[n][i]);
}

/* Before predecessor_start(): creates what is left. */
static void predecessor_begin(unsigned features) {
        predecessor.features = features;
        predecessor.n_left = 0;
        predecessor.in = 0;
        ck_assert_int_eq(instance_self(&predecessor.self), 0);
}

static void predecessor_start(void) {
        if (!predecessor.log) {
                predecessor.log = tmpfile();
                ck_assert_ptr_nonnull(predecessor.log);
                ck_assert_int_eq(dup2(fileno(predecessor.log), STDERR_FILENO), STDERR_FILENO);
                log_open(LOG_DEBUG);
        }
        ck_assert_int_eq(ftruncate(fileno(predecessor.log), 0), 0);
        ck_assert_int_eq(lseek(fileno(predecessor.log), 0, SEEK_SET), 0);
        fake_context_start_as(&predecessor.fake,
                              &(struct fake_setup){.features = predecessor.features,
                                                   .left = predecessor.left,
                                                   .n_left = predecessor.n_left});
}

/* Everything has been swept, or `expected` more descriptors are open. */
static void predecessor_end(void) {
        predecessor.fake.descriptors -= predecessor.n_left * COUNT;
        predecessor.fake.descriptors_before -= predecessor.n_left * COUNT;
        for (unsigned n = 0; n < predecessor.n_left; n++)
                for (unsigned i = 0; i < COUNT; i++)
                        fd_close(predecessor.directories[n][i]);
        fake_context_end(&predecessor.fake);
}

static void start_with(unsigned features, enum record_state state, unsigned flags) {
        predecessor_begin(features);
        predecessor_leave(state, flags);
        predecessor_start();
}

static void sweep(enum sweep_scope scope, enum sweep_patience patience) {
        unsigned before = descriptors_count();

        sweep_leases(predecessor.fake.context.leases, &predecessor.self, scope, patience);
        ck_assert_uint_eq(descriptors_count(), before);
        ck_assert(fake_is_in_root());
}

static unsigned left(void) {
        struct leases_counts counts = leases_count(predecessor.fake.context.leases);

        ck_assert_uint_eq(counts.leases, counts.left);
        ck_assert_uint_eq(fake_context_records(&predecessor.fake), counts.left);
        return counts.left;
}

/* Reads and writes the record in the file. */
static struct record read_record(unsigned n) {
        return fake_context_record(&predecessor.fake, 10 + n);
}

static void write_record(unsigned n, const struct record *record) {
        char path[128];
        FILE *file;

        snprintf(path, sizeof(path), "%s/" FAKE_CONTEXT_STATE, predecessor.fake.directory);
        file = fopen(path, "r+e");
        ck_assert_int_eq(fseek(file, STATE_HEADER_SIZE + (10 + n) * sizeof(*record), SEEK_SET), 0);
        ck_assert_uint_eq(fwrite(record, sizeof(*record), 1, file), 1);
        ck_assert_int_eq(fclose(file), 0);
}

/* The number of log lines that contain `text`. */
static unsigned logged(const char *text) {
        char line[1024];
        unsigned lines = 0;
        FILE *file;

        fflush(stderr);
        snprintf(line, sizeof(line), "/proc/self/fd/%d", fileno(predecessor.log));
        file = fopen(line, "re");
        ck_assert_ptr_nonnull(file);
        while (fgets(line, sizeof(line), file))
                lines += strstr(line, text) != NULL;
        fclose(file);
        return lines;
}

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
        write_record(0, &record);
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
START_TEST(mount_that_we_hold_stays) {
        for (unsigned f = 0; f < N_FEATURE_SETS; f++) {
                struct holder holder = {.subject = {.uid = 1000}};
                struct lease_orders orders = {.count = 1};
                struct target_facts facts;
                struct lease_remains remains;
                struct leases *leases;
                struct record record;
                uint64_t id = 0;
                int directory;

                start_with(feature_sets[f], RECORD_LIVE, 0);
                leases = predecessor.fake.context.leases;
                directory = fake_directory(&(struct fake_directory){.path = "/x/proc"});
                ck_assert_int_eq(target_inspect(directory, predecessor.fake.context.proc,
                                                predecessor.features, &facts),
                                 0);
                orders.orders[0] = (struct lease_order){.kind = TEMPLATE_PROC,
                                                        .file_system = PROTOCOL_PROC,
                                                        .target = directory,
                                                        .facts = &facts};
                ck_assert_uint_eq(lease_grant(leases, &holder, &orders, &id).status, STATUS_OK);
                fake_uncover(predecessor.directories[0][0]);
                record = read_record(0);
                record.mounts[0] = fake_context_id(predecessor.features, fake_mount_on(directory));
                write_record(0, &record);

                sweep(SWEEP_UNCLAIMED, SWEEP_PATIENTLY);
                ck_assert_uint_eq(leases_count(leases).left, 0);
                ck_assert_uint_eq(fake_mounts(), 1);
                ck_assert_ptr_nonnull(fake_mount_on(directory));
                ck_assert_uint_eq(lease_release(leases, &holder, id, &remains).status, STATUS_OK);
                lease_dispose(&remains);
                directory = fd_close(directory);
                predecessor_end();
        }
}
END_TEST

/* ---- leases kept for users ---- */

static void start_kept(unsigned features, enum record_state state, unsigned flags) {
        predecessor_begin(features);
        predecessor_leave(state, flags);
        predecessor.left[0].kept = 1;
        predecessor_start();
}

static void keep(enum sweep_patience patience) {
        sweep_keep(predecessor.fake.context.leases, patience);
        ck_assert(fake_is_in_root());
}

/* Its user releases it, over a new connection. */
static enum status unmount_as(uid_t uid) {
        struct holder holder = {.subject = {.uid = uid}};
        struct lease_remains remains;
        enum status status = lease_release(predecessor.fake.context.leases, &holder,
                                           predecessor.left[0].lease, &remains)
                                     .status;

        lease_dispose(&remains);
        return status;
}

/* Only its user can release it; `count` of its mounts exist. */
static void expect_kept(unsigned count) {
        struct leases *leases = predecessor.fake.context.leases;

        ck_assert_uint_eq(leases_count(leases).left, 0);
        ck_assert_uint_eq(leases_count(leases).leases, 1);
        ck_assert_uint_eq(read_record(0).state, RECORD_LIVE);
        ck_assert_uint_eq(read_record(0).kept, 1);
        ck_assert_uint_eq(fake_mounts(), count);
        ck_assert_uint_eq(descriptors_count(), predecessor.fake.descriptors + count);
        ck_assert_uint_eq(unmount_as(1001), STATUS_NO_SUCH_LEASE);
        ck_assert_uint_eq(unmount_as(1000), STATUS_OK);
        ck_assert_uint_eq(fake_mounts(), 0);
}

START_TEST(what_was_kept_is_kept_on) {
        for (unsigned patience = SWEEP_QUICKLY; patience <= SWEEP_PATIENTLY; patience++)
                for (unsigned f = 0; f < N_FEATURE_SETS; f++) {
                        start_kept(feature_sets[f], RECORD_LIVE, 0);
                        ck_assert_uint_eq(unmount_as(1000), STATUS_NO_SUCH_LEASE); /* not yet */
                        keep(patience);
                        keep(patience); /* the second call does nothing */
                        ck_assert_uint_eq(logged(""), 0);
                        expect_kept(COUNT);
                        predecessor_end();
                }
}
END_TEST

START_TEST(what_was_held_or_not_live_is_not_kept_on) {
        FOR_ALL(f, s) {
                start_with(feature_sets[f], states[s], 0); /* a connection's */
                keep(SWEEP_PATIENTLY);
                ck_assert_uint_eq(left(), 1);
                ck_assert_uint_eq(read_record(0).state, states[s]);
                sweep(SWEEP_UNCLAIMED, SWEEP_QUICKLY);
                predecessor_end();
                if (states[s] == RECORD_LIVE)
                        continue;
                start_kept(feature_sets[f], states[s], 0);
                keep(SWEEP_PATIENTLY);
                ck_assert_uint_eq(left(), 1);
                sweep(SWEEP_UNADOPTABLE, SWEEP_QUICKLY);
                ck_assert_uint_eq(left(), 0);
                predecessor_end();
        }
}
END_TEST

/* Nobody adopts it, and it has no time limit. */
START_TEST(what_was_kept_is_swept_in_the_end_alone) {
        for (unsigned f = 0; f < N_FEATURE_SETS; f++) {
                start_kept(feature_sets[f], RECORD_LIVE, 0);
                sweep(SWEEP_UNADOPTABLE, SWEEP_PATIENTLY);
                sweep(SWEEP_UNCLAIMED, SWEEP_PATIENTLY);
                ck_assert_uint_eq(left(), 1);
                ck_assert_uint_eq(read_record(0).state, RECORD_LIVE);
                ck_assert_uint_eq(fake_mounts(), COUNT);
                sweep(SWEEP_FINALLY, SWEEP_PATIENTLY);
                ck_assert_uint_eq(left(), 0);
                ck_assert_uint_eq(fake_mounts(), 0);
                predecessor_end();
        }
}
END_TEST

START_TEST(what_was_kept_and_is_gone_is_forgotten) {
        for (unsigned f = 0; f < N_FEATURE_SETS; f++)
                for (unsigned gone = 1; gone < 1 << COUNT; gone++) {
                        start_kept(feature_sets[f], RECORD_LIVE, 0);
                        for (unsigned i = 0; i < COUNT; i++)
                                if (gone & (1 << i))
                                        fake_uncover(predecessor.directories[0][i]);
                        keep(SWEEP_QUICKLY);
                        if (gone == (1 << COUNT) - 1) {
                                ck_assert_uint_eq(left(), 0);
                                ck_assert_uint_eq(
                                        leases_count(predecessor.fake.context.leases).leases, 0);
                        } else
                                expect_kept(COUNT - 1); /* with the mounts that exist */
                        predecessor_end();
                }
}
END_TEST

START_TEST(what_was_kept_and_is_out_of_reach_is_told_of_once) {
        for (unsigned f = 0; f < N_FEATURE_SETS; f++)
                for (unsigned which = 0; which < COUNT; which++) {
                        start_kept(feature_sets[f], RECORD_LIVE, 0);
                        fake_cover(predecessor.directories[0][which]);
                        for (unsigned i = 0; i < 3; i++) {
                                keep(i % 2 ? SWEEP_QUICKLY : SWEEP_PATIENTLY);
                                ck_assert_uint_eq(left(), 1);
                                ck_assert_uint_eq(read_record(0).state, RECORD_LIVE);
                                ck_assert_uint_eq(fake_mounts(), COUNT);
                                ck_assert_uint_eq(descriptors_count(),
                                                  predecessor.fake.descriptors);
                        }
                        ck_assert_uint_eq(logged(""), 1);
                        ck_assert_uint_eq(logged("/left0/"), 1);
                        fake_uncover(predecessor.directories[0][which]);
                        keep(SWEEP_QUICKLY);
                        expect_kept(COUNT);
                        predecessor_end();
                }
}
END_TEST

START_TEST(what_was_kept_and_takes_patience_waits_for_it) {
        for (unsigned f = 0; f < N_FEATURE_SETS; f++) {
                start_kept(feature_sets[f], RECORD_LIVE, FAKE_IS_REMOTE);
                keep(SWEEP_QUICKLY);
                ck_assert_uint_eq(left(), 1);
                ck_assert_uint_eq(logged(""), 0);
                keep(SWEEP_PATIENTLY);
                expect_kept(COUNT);
                predecessor_end();
        }
}
END_TEST

START_TEST(each_call_that_fails_loses_nothing_that_was_kept) {
        static const int errors[] = {EPERM, EIO, ENOMEM, EMFILE, EACCES};

        for (unsigned f = 0; f < N_FEATURE_SETS; f++) {
                unsigned calls;

                start_kept(feature_sets[f], RECORD_LIVE, 0);
                fake_calls_reset();
                keep(SWEEP_QUICKLY);
                calls = fake_calls(FAKE_ANY);
                ck_assert_uint_ge(calls, COUNT * 2);
                expect_kept(COUNT);
                predecessor_end();

                for (unsigned n = 1; n <= calls; n++)
                        for (size_t e = 0; e < sizeof(errors) / sizeof(errors[0]); e++) {
                                start_kept(feature_sets[f], RECORD_LIVE, 0);
                                fake_calls_reset();
                                fake_fail(FAKE_ANY, n, 1, errors[e]);
                                keep(SWEEP_QUICKLY);
                                ck_assert_uint_eq(fake_mounts(), COUNT);
                                ck_assert_uint_eq(fake_calls(FAKE_UMOUNT), 0);
                                ck_assert_uint_eq(
                                        leases_count(predecessor.fake.context.leases).leases, 1);
                                fake_calls_reset();
                                keep(SWEEP_QUICKLY);
                                expect_kept(COUNT);
                                predecessor_end();
                        }
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

/* ---- before an instance starts ---- */

/* The previous instance's leases in a file of their own, unknown to the running table. */
static unsigned sweep_left_file(char *directory, struct record *after) {
        struct state_found found = {0};
        struct state state;
        unsigned swept, before = descriptors_count();
        char path[128];

        fake_context_leave(directory, 64, predecessor.left, predecessor.n_left);
        ck_assert_int_eq(state_open_left(directory, &state, &found), 0);
        swept = sweep_state(&state, templates_setup(predecessor.fake.context.templates),
                            &predecessor.self);
        for (unsigned n = 0; n < predecessor.n_left; n++)
                after[n] = state.records[10 + n];
        state_close_left(&state);
        ck_assert_uint_eq(descriptors_count(), before);
        ck_assert(fake_is_in_root());
        snprintf(path, sizeof(path), "%s/" FAKE_CONTEXT_STATE, directory);
        ck_assert_int_eq(unlink(path), 0);
        return swept;
}

static void file_start(unsigned features, char *directory) {
        predecessor.features = features;
        predecessor.n_left = 0;
        predecessor_start();
        ck_assert_int_eq(instance_self(&predecessor.self), 0);
        strcpy(directory, "/tmp/mountatd-check-XXXXXX");
        ck_assert_ptr_nonnull(mkdtemp(directory));
}

static void file_end(const char *directory) {
        ck_assert_int_eq(rmdir(directory), 0);
        for (unsigned n = 0; n < predecessor.n_left; n++)
                for (unsigned i = 0; i < COUNT; i++) {
                        while (fake_mount_on(predecessor.directories[n][i]))
                                fake_uncover(predecessor.directories[n][i]);
                        fd_close(predecessor.directories[n][i]);
                }
        fake_context_end(&predecessor.fake);
}

static pid_t dead_pid(void) {
        pid_t pid = fork();

        if (pid == 0)
                _exit(0);
        ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
        return pid;
}

START_TEST(file_loses_what_nobody_can_adopt) {
        struct record after[N_LEFT_MAX];
        char directory[64];

        FOR_ALL(f, s) {
                enum { ALIVE, UNSEEN, DEAD };

                file_start(feature_sets[f], directory);
                for (unsigned n = 0; n < 3; n++)
                        predecessor_leave(states[s], 0);
                predecessor.left[ALIVE].pid = getpid();
                predecessor.left[UNSEEN].pid = 0; /* in a pid namespace that we can't see */
                predecessor.left[DEAD].pid = dead_pid();

                if (states[s] == RECORD_LIVE) {
                        ck_assert_uint_eq(sweep_left_file(directory, after), 1);
                        ck_assert_mem_eq(&after[ALIVE], &predecessor.left[ALIVE], sizeof(after[0]));
                        ck_assert_mem_eq(&after[UNSEEN], &predecessor.left[UNSEEN],
                                         sizeof(after[0]));
                        ck_assert_uint_eq(after[DEAD].state, RECORD_FREE);
                        ck_assert_uint_eq(fake_mounts(), 2 * COUNT);
                        ck_assert_ptr_null(fake_mount_on(predecessor.directories[DEAD][0]));
                } else {
                        ck_assert_uint_eq(sweep_left_file(directory, after), 3);
                        for (unsigned n = 0; n < 3; n++)
                                ck_assert_uint_eq(after[n].state, RECORD_FREE);
                        ck_assert_uint_eq(fake_mounts(), 0);
                }
                ck_assert_uint_eq(logged(""), 0);
                file_end(directory);
        }
}
END_TEST

/* Its user's next connection can release it. */
START_TEST(file_keeps_what_was_kept_for_a_user) {
        struct record after[N_LEFT_MAX];
        char directory[64];

        FOR_ALL(f, s) {
                bool live = states[s] == RECORD_LIVE;

                file_start(feature_sets[f], directory);
                predecessor_leave(states[s], 0);
                predecessor.left[0].pid = dead_pid();
                predecessor.left[0].kept = 1;
                ck_assert_uint_eq(sweep_left_file(directory, after), !live);
                ck_assert_uint_eq(fake_mounts(), live ? COUNT : 0);
                ck_assert_uint_eq(after[0].state, live ? RECORD_LIVE : RECORD_FREE);
                file_end(directory);
        }
}
END_TEST

START_TEST(file_keeps_what_may_appear_or_is_out_of_reach) {
        struct record after[N_LEFT_MAX];
        char directory[64];

        for (unsigned f = 0; f < N_FEATURE_SETS; f++) {
                file_start(feature_sets[f], directory);
                predecessor_leave(RECORD_ATTACHING, 0);
                predecessor.left[0].writer_start_time = predecessor.self.start_time;
                fake_uncover(predecessor.directories[0][0]);
                predecessor_leave(RECORD_RELEASING, 0);
                fake_cover(predecessor.directories[1][1]);
                ck_assert_uint_eq(sweep_left_file(directory, after), 0);
                ck_assert_mem_eq(&after[0], &predecessor.left[0], sizeof(after[0]));
                ck_assert_mem_eq(&after[1], &predecessor.left[1], sizeof(after[1]));
                ck_assert_uint_eq(fake_mounts(), 1);
                ck_assert_uint_ge(logged("/left1/"), 1);
                ck_assert_uint_eq(logged("/left0/"), 0);
                file_end(directory);
        }
}
END_TEST

/* When a file system that doesn't answer stops it, all others are done. */
START_TEST(file_is_swept_quickly_first) {
        struct record after[N_LEFT_MAX];
        char directory[64];

        file_start(FAKE_ALL_FEATURES, directory);
        predecessor_leave(RECORD_RELEASING, FAKE_IS_REMOTE);
        predecessor_leave(RECORD_RELEASING, 0);
        fake_calls_reset();
        fake_fail(FAKE_OPEN_PLACE, (SWEEP_TRIES_MAX + 1) * COUNT + 1, 100,
                  EIO); /* it never answers */
        ck_assert_uint_eq(sweep_left_file(directory, after), 1);
        ck_assert_uint_eq(after[0].state, RECORD_RELEASING);
        ck_assert_uint_eq(after[1].state, RECORD_FREE);
        ck_assert_uint_eq(fake_mounts(), COUNT);
        fake_calls_reset();
        predecessor.left[1].state = RECORD_FREE;
        ck_assert_uint_eq(sweep_left_file(directory, after), 1);
        ck_assert_uint_eq(fake_mounts(), 0);
        file_end(directory);
}
END_TEST

START_TEST(damaged_record_is_left_alone) {
        struct record after[N_LEFT_MAX];
        char directory[64];

        file_start(FAKE_ALL_FEATURES, directory);
        predecessor_leave(RECORD_RELEASING, 0);
        predecessor.left[0].count = PROTOCOL_TARGETS_MAX + 1;
        predecessor_leave(RECORD_RELEASING, 0);
        predecessor.left[1].file_systems[1] = 4;
        predecessor_leave(4, 0);
        fake_calls_reset();
        ck_assert_uint_eq(sweep_left_file(directory, after), 0);
        ck_assert_mem_eq(after, predecessor.left, sizeof(after));
        ck_assert_uint_eq(fake_calls(FAKE_ANY), 0);
        file_end(directory);
}
END_TEST

int main(void) {
        return SUITE_RUN(
                "sweep", what_is_attached_is_detached,
                what_is_in_another_namespace_is_detached_in_there,
                what_was_in_a_namespace_that_has_ended_is_forgotten, what_is_gone_is_forgotten,
                what_can_be_adopted_is_left_until_it_is_time,
                what_may_yet_be_attached_stays_until_its_writer_is_gone,
                what_turns_up_late_is_detached, mount_that_has_no_id_yet_may_get_one,
                other_states_do_not_wait_for_their_writer, zombie_is_not_gone,
                what_is_below_a_closed_directory_stays_on_record,
                what_others_have_covered_stays_on_record, what_could_not_be_swept_can_be_adopted,
                what_no_path_leads_to_stays_on_record,
                what_is_out_of_reach_is_told_of_beside_what_is_pending,
                what_takes_patience_is_left_out_quickly, what_seems_to_take_patience_is_tried_again,
                one_that_stays_keeps_no_other, mount_that_is_not_what_the_record_says_stays,
                mount_that_we_hold_stays, what_was_kept_is_kept_on,
                what_was_held_or_not_live_is_not_kept_on, what_was_kept_is_swept_in_the_end_alone,
                what_was_kept_and_is_gone_is_forgotten,
                what_was_kept_and_is_out_of_reach_is_told_of_once,
                what_was_kept_and_takes_patience_waits_for_it,
                each_call_that_fails_loses_nothing_that_was_kept,
                each_call_that_fails_forgets_nothing, file_keeps_what_was_kept_for_a_user,
                file_loses_what_nobody_can_adopt, file_keeps_what_may_appear_or_is_out_of_reach,
                file_is_swept_quickly_first, damaged_record_is_left_alone);
}
