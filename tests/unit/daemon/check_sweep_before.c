/* SPDX-License-Identifier: Apache-2.0 */

/* mountatd --sweep, before an instance starts and with root's rights. */

#include "tests/unit/daemon/sweep_fixture.h"

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
        return SUITE_RUN("sweep_before", file_keeps_what_was_kept_for_a_user,
                         file_loses_what_nobody_can_adopt,
                         file_keeps_what_may_appear_or_is_out_of_reach, file_is_swept_quickly_first,
                         damaged_record_is_left_alone);
}
