/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The operation table over the fake kernel: the order of the checks, the answers, and what is left
 * after each failing call.
 */

#include "daemon/request.h"

#include "daemon/lease.h"
#include "daemon/log.h"
#include "tests/test.h"
#include "tests/unit/daemon/fake_context.h"
#include "tests/unit/daemon/feature_sets.h"
#include "tests/unit/daemon/log_capture.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>

enum { US = 1000 };

static struct fake_context fake;
static struct holder holders[2]; /* two connections of one user */
static struct holder *holder = &holders[0];
static struct request request;
static struct wire_request *const wire = &request.wire;
static struct fdpass_set *const fds = &request.fds; /* what came with it */
static struct wire_reply *const reply = &request.reply;

static void hold(void) {
        holder = &holders[0];
        for (unsigned i = 0; i < 2; i++)
                holders[i] = holder_of(US);
        request = (struct request){.decoded = VERDICT_OK};
}

static void start(unsigned features) {
        log_open(LOG_EMERG);
        fake_context_start(&fake, features);
        hold();
}

/* After an instance that left a lease of so many mounts, whose roots are sent to adopt it. */
static int left_on[PROTOCOL_TARGETS_MAX];
static struct record left;

static void ask(uint16_t operation, uint64_t lease);

static void ask_adopt(void) {
        fdpass_set_close(fds);
        ask(PROTOCOL_ADOPT, left.lease);
        for (unsigned i = 0; i < left.count; i++) {
                wire->targets[wire->n_targets++].file_system = left.file_systems[i];
                fds->fds[fds->count++] = fake_open_mount(left_on[i]);
        }
}

static void start_after(unsigned features, unsigned count, uid_t uid) {
        log_open(LOG_EMERG);
        for (unsigned i = 0; i < count; i++)
                left_on[i] = fake_directory(&(struct fake_directory){.path = "/r/x", .owner = US});
        left = fake_context_left(features, 3, uid, RECORD_LIVE, left_on, count);
        fake_context_start_as(
                &fake, &(struct fake_setup){.features = features, .left = &left, .n_left = 1});
        hold();
        ask_adopt();
        fake_calls_reset();
}

/* Somebody else detaches the rest, and a sweep forgets it. */
static void forget_left(void) {
        for (unsigned i = 0; i < left.count; i++) {
                while (fake_mount_on(left_on[i]))
                        fake_uncover(left_on[i]);
                fd_close(left_on[i]);
        }
        fake.descriptors -= left.count;
        fake.descriptors_before -= left.count;
        if (leases_count(fake.context.leases).left > 0) {
                struct record record;
                uint32_t cursor = 0;

                ck_assert(leases_take_left(fake.context.leases, LEASES_LEFT_ALL, &cursor, &record));
                leases_forget(fake.context.leases, record.lease);
        }
}

static void end(void) {
        fdpass_set_close(fds);
        ck_assert(LIST_EMPTY(&holders[0].leases) && LIST_EMPTY(&holders[1].leases));
        fake_context_end(&fake);
}

static void serve(void) {
        unsigned before = descriptors_count(), mounts = fake_mounts();
        int kept[FDPASS_MAX];

        memcpy(kept, fds->fds, sizeof(kept));
        memset(reply, 0x5a, sizeof(*reply));
        memset(&request.remains, 0x5a, sizeof(request.remains));
        request_serve(&fake.context, holder, &request);
        lease_dispose(&request.remains); /* without new clones, so that descriptors equal mounts */
        ck_assert_uint_eq(reply->operation, wire->operation);
        ck_assert_uint_eq(reply->cookie, wire->cookie);
        ck_assert(fake_is_in_root());
        /* Borrowed, except by an adoption that succeeds, which takes them. */
        if (wire->operation == PROTOCOL_ADOPT && reply->status == STATUS_OK) {
                for (unsigned i = 0; i < wire->n_targets; i++)
                        ck_assert_int_lt(fds->fds[i], 0);
                ck_assert_uint_eq(descriptors_count(), before);
        } else
                ck_assert_mem_eq(kept, fds->fds, sizeof(kept));
        /* Only mounts have descriptors, one each; an unmount may stop half way. */
        if (wire->operation != PROTOCOL_UNMOUNT)
                ck_assert_uint_eq(descriptors_count() - before, fake_mounts() - mounts);
        if (reply->status != STATUS_OK) {
                ck_assert_uint_eq(reply->lease, 0);
                ck_assert_uint_eq(reply->flags, 0);
                ck_assert_uint_gt(strlen(reply->text), 0);
        } else {
                ck_assert_uint_eq(reply->error, 0);
                ck_assert_uint_eq(reply->target, STATUS_NO_TARGET);
        }
        if (reply->status != STATUS_HOST_FAILED)
                ck_assert_uint_eq(reply->error, 0);
}

static void ask(uint16_t operation, uint64_t lease) {
        *wire = (struct wire_request){
                .version = PROTOCOL_VERSION,
                .operation = operation,
                .cookie = 0x1122334455667788,
                .lease = lease,
        };
}

/* Adds a target, and its directory. */
static void ask_target(uint32_t file_system, uint32_t options,
                       const struct fake_directory *directory) {
        wire->targets[wire->n_targets++] =
                (struct wire_target){.file_system = file_system, .options = options};
        fds->fds[fds->count++] = fake_directory(directory);
}

/* Adds `count` valid targets, each in a place of its own. */
static void ask_good(unsigned count) {
        static char paths[PROTOCOL_TARGETS_MAX][32];

        fdpass_set_close(fds);
        ask(PROTOCOL_MOUNT, 0);
        for (unsigned i = 0; i < count; i++) {
                snprintf(paths[i], sizeof(paths[i]), "/r%u/%s", i / 2, i % 2 ? "sys" : "proc");
                ask_target(i % 2 ? PROTOCOL_SYSFS : PROTOCOL_PROC, 0,
                           &(struct fake_directory){.path = paths[i], .owner = US});
        }
}

static enum status unmount(uint64_t lease) {
        struct fdpass_set saved = *fds;

        *fds = (struct fdpass_set){0};
        ask(PROTOCOL_UNMOUNT, lease);
        serve();
        *fds = saved;
        return reply->status;
}

START_TEST(hello_tells_features_and_version) {
        for (unsigned f = 0; f < N_FEATURE_SETS; f++) {
                start(feature_sets[f]);
                ask(PROTOCOL_HELLO, 0);
                serve();
                ck_assert_uint_eq(reply->status, STATUS_OK);
                ck_assert_uint_eq(reply->flags,
                                  feature_sets[f] | PROTOCOL_FEATURE_ADOPT | PROTOCOL_FEATURE_KEEP |
                                          PROTOCOL_FEATURE_DEV | PROTOCOL_FEATURE_CHECK);
                ck_assert_uint_eq(reply->lease, 0);
                ck_assert_str_eq(reply->text, "mountatd " MOUNTATD_VERSION);
                end();
        }
}
END_TEST

START_TEST(mounts_and_unmounts) {
        FOR_ALL(f, s) {
                uint64_t lease;

                start(feature_sets[f]);
                ask_good(sizes[s]);
                serve();
                ck_assert_uint_eq(reply->status, STATUS_OK);
                ck_assert_uint_ne(reply->lease, 0);
                ck_assert_str_eq(reply->text, "");
                ck_assert_uint_eq(reply->flags, 0);
                ck_assert_uint_eq(fake_mounts(), sizes[s]);
                lease = reply->lease;
                ck_assert_uint_eq(unmount(lease), STATUS_OK);
                ck_assert_uint_eq(unmount(lease), STATUS_NO_SUCH_LEASE);
                end();
        }
}
END_TEST

START_TEST(decoders_refusal_is_the_answer) {
        start(FAKE_ALL_FEATURES);
        ask(77, 0);
        wire->n_targets = 0xffffffff;
        fds->starved = true; /* checked later */
        request.decoded = verdict_refuse(STATUS_MALFORMED, 3);
        serve();
        ck_assert_uint_eq(reply->status, STATUS_MALFORMED);
        ck_assert_uint_eq(reply->target, 3);
        ck_assert_uint_eq(reply->operation, 77);
        ck_assert_str_eq(reply->text, status_sentence(STATUS_MALFORMED));
        ck_assert_uint_eq(fake_calls(FAKE_ANY), 0);
        end();
}
END_TEST

START_TEST(operation_that_is_not_in_the_table_does_not_exist) {
        static const uint16_t operations[] = {0, 6, 7, 0x7fff, 0x8001, 0xffff};

        start(FAKE_ALL_FEATURES);
        for (size_t i = 0; i < sizeof(operations) / sizeof(operations[0]); i++) {
                ask(operations[i], 0);
                serve();
                ck_assert_uint_eq(reply->status, STATUS_UNKNOWN_OPERATION);
        }
        end();
}
END_TEST

static const struct {
        uint16_t operation;
        unsigned targets, descriptors;
} counts[] = {
        {PROTOCOL_HELLO, 0, 1},   {PROTOCOL_HELLO, 0, 18},  {PROTOCOL_UNMOUNT, 0, 1},
        {PROTOCOL_UNMOUNT, 0, 2}, {PROTOCOL_MOUNT, 1, 0},   {PROTOCOL_MOUNT, 1, 2},
        {PROTOCOL_MOUNT, 2, 1},   {PROTOCOL_MOUNT, 16, 0},  {PROTOCOL_MOUNT, 16, 15},
        {PROTOCOL_MOUNT, 16, 17}, {PROTOCOL_MOUNT, 16, 18}, {PROTOCOL_ADOPT, 1, 0},
        {PROTOCOL_ADOPT, 1, 2},   {PROTOCOL_ADOPT, 16, 15}, {PROTOCOL_ADOPT, 16, 17},
};

START_TEST(wants_one_descriptor_per_target) {
        start(FAKE_ALL_FEATURES);
        for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
                ask_good(counts[i].targets);
                wire->operation = counts[i].operation;
                while (fds->count > counts[i].descriptors)
                        fd_close(fds->fds[--fds->count]);
                while (fds->count < counts[i].descriptors)
                        fds->fds[fds->count++] = fake_directory(
                                &(struct fake_directory){.path = "/x/proc", .owner = US});
                serve();
                ck_assert_msg(reply->status == STATUS_WRONG_FD_COUNT, "row %zu: %s", i,
                              status_name(reply->status));
                ck_assert_uint_eq(reply->target, STATUS_NO_TARGET);
        }
        ck_assert_uint_eq(fake_calls(FAKE_ANY), 0);
        end();
}
END_TEST

START_TEST(our_own_lack_of_descriptors_is_not_the_clients_fault) {
        start(FAKE_ALL_FEATURES);
        ask_good(3);
        fd_close(fds->fds[--fds->count]);
        fds->starved = true;
        serve();
        ck_assert_uint_eq(reply->status, STATUS_HOST_FAILED);
        ck_assert_uint_eq(reply->error, EMFILE);
        ck_assert_uint_eq(reply->target, STATUS_NO_TARGET);
        fds->starved = false;
        end();
}
END_TEST

/* Each row's target follows a valid one; rows are in the order of the checks. */
static const struct {
        enum status status;
        uint32_t file_system;
        struct fake_directory directory;
} bad[] = {
        {STATUS_NOT_A_DIRECTORY, PROTOCOL_SYSFS, {"/r0/sys", US, 0, FAKE_IS_FILE}},
        {STATUS_TARGET_VANISHED, PROTOCOL_SYSFS, {"/r0/sys", US, 0, FAKE_IS_DELETED}},
        {STATUS_TARGET_VANISHED, PROTOCOL_SYSFS, {"/r0/proc", US, 0, FAKE_IS_DELETED}},
        {STATUS_ALREADY_MOUNTED, PROTOCOL_SYSFS, {"/r0/sys", US, 0, FAKE_IS_ROOT}},
        {STATUS_ALREADY_MOUNTED, PROTOCOL_PROC, {"/r0/proc", US, 0, 0}}, /* the valid one's */
        {STATUS_ALREADY_MOUNTED, PROTOCOL_SYSFS, {"/r0/proc", US, 0, 0}},
        {STATUS_WRONG_NAME, PROTOCOL_SYSFS, {"/r1/proc", US, 0, 0}},
        {STATUS_WRONG_NAME, PROTOCOL_PROC, {"/r0/sys", 0, FAKE_FUSE, 0}},
        {STATUS_WRONG_NAME, PROTOCOL_DEV, {"/r0/sys", US, 0, 0}},
        {STATUS_NOT_A_DIRECTORY, PROTOCOL_DEV, {"/r0/dev", US, 0, FAKE_IS_FILE}},
        {STATUS_NOT_AUTHORISED, PROTOCOL_DEV, {"/r0/dev", US, FAKE_FUSE, 0}},
        {STATUS_NOT_AUTHORISED, PROTOCOL_SYSFS, {"/r0/sys", US, FAKE_FUSE, FAKE_IS_HIDDEN}},
        {STATUS_NOT_AUTHORISED, PROTOCOL_SYSFS, {"/r0/sys", US + 1, 0, 0}},
        {STATUS_NOT_AUTHORISED, PROTOCOL_SYSFS, {"/r0/sys", 0, 0, 0}},
        {STATUS_FOREIGN_NAMESPACE, PROTOCOL_SYSFS, {"/r0/sys", US, 0, FAKE_IS_FOREIGN}},
        {STATUS_FOREIGN_NAMESPACE, PROTOCOL_SYSFS, {"/r0/sys", US, 0, FAKE_IS_DETACHED}},
        {STATUS_FOREIGN_NAMESPACE,
         PROTOCOL_SYSFS,
         {"/r0/sys", US, FAKE_FUSE, FAKE_IS_DETACHED | FAKE_IS_HIDDEN}},
        {STATUS_TARGET_VANISHED, PROTOCOL_SYSFS, {"/r0/sys", US, 0, FAKE_VANISHES}},
        {STATUS_OK, PROTOCOL_SYSFS, {"/r0/sys", US, 0, 0}},
        {STATUS_OK, PROTOCOL_DEV, {"/r0/dev", US, 0, 0}},
};

START_TEST(judges_each_target_and_tells_which) {
        for (unsigned f = 0; f < N_FEATURE_SETS; f++) {
                start(feature_sets[f]);
                for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                        ask_good(1);
                        ask_target(bad[i].file_system, 0, &bad[i].directory);
                        serve();
                        ck_assert_msg(reply->status == bad[i].status, "row %zu: %s", i,
                                      status_name(reply->status));
                        if (bad[i].status == STATUS_OK) {
                                ck_assert_uint_eq(unmount(reply->lease), STATUS_OK);
                                continue;
                        }
                        ck_assert_uint_eq(reply->target, 1);
                        if (bad[i].status == STATUS_NOT_AUTHORISED)
                                ck_assert_ptr_nonnull(strstr(reply->text, "--build-directory"));
                        else
                                ck_assert_str_eq(reply->text, status_sentence(bad[i].status));
                        fake_context_is_clean(&fake, 2);
                }
                end();
        }
}
END_TEST

START_TEST(other_file_system_is_refused_without_a_mount) {
        for (unsigned f = 0; f < N_FEATURE_SETS; f++) {
                start(feature_sets[f]);
                ask(PROTOCOL_MOUNT, 0);
                ask_target(PROTOCOL_PROC, 0, &(struct fake_directory){"/r/proc", US, FAKE_FUSE, 0});
                serve();
                ck_assert_uint_eq(reply->status, STATUS_NOT_AUTHORISED);
                ck_assert_uint_eq(fake_calls(FAKE_MOVE_MOUNT), 0);
                end();
        }
}
END_TEST

/* A bad last target is found before the first mount is made. */
START_TEST(judges_all_targets_before_it_mounts_one) {
        start(FAKE_ALL_FEATURES);
        ask_good(15);
        ask_target(PROTOCOL_SYSFS, 0, &(struct fake_directory){"/z/sys", 0, 0, 0});
        serve();
        ck_assert_uint_eq(reply->status, STATUS_NOT_AUTHORISED);
        ck_assert_uint_eq(reply->target, 15);
        ck_assert_uint_eq(fake_calls(FAKE_OPEN_TREE), 0);
        ck_assert_uint_eq(fake_calls(FAKE_MOVE_MOUNT), 0);
        end();
}
END_TEST

START_TEST(build_directory_opens_what_is_hidden) {
        for (unsigned f = 0; f < N_FEATURE_SETS; f++) {
                start(feature_sets[f]);
                ck_assert_int_eq(policy_add_build_directory(fake.policy, "/build", US), 0);
                ask(PROTOCOL_MOUNT, 0);
                ask_target(PROTOCOL_PROC, 0,
                           &(struct fake_directory){"/build/1/proc", 0, FAKE_FUSE, FAKE_IS_HIDDEN});
                ask_target(PROTOCOL_SYSFS, 0,
                           &(struct fake_directory){"/build/1/sys", 0, FAKE_FUSE, 0});
                serve();
                ck_assert_uint_eq(reply->status, STATUS_OK);
                ck_assert_uint_eq(unmount(reply->lease), STATUS_OK);
                end();
        }
}
END_TEST

static void ask_elsewhere(unsigned flags) {
        fdpass_set_close(fds);
        ask(PROTOCOL_MOUNT, 0);
        ask_target(PROTOCOL_PROC, 0,
                   &(struct fake_directory){"/build/1/proc", 0, FAKE_FUSE, flags});
        serve();
        ck_assert_uint_eq(reply->status, STATUS_FOREIGN_NAMESPACE);
        ck_assert_uint_eq(fake_calls(FAKE_MOVE_MOUNT), 0);
}

/* A path doesn't tell its namespace, and a mount in another one would stay there. */
START_TEST(build_directory_elsewhere_is_refused_before_anything_is_mounted) {
        static const unsigned elsewhere[] = {
                FAKE_IS_FOREIGN,
                FAKE_IS_FOREIGN | FAKE_IS_HIDDEN,
                FAKE_IS_DETACHED,
                FAKE_IS_DETACHED | FAKE_IS_HIDDEN,
        };

        for (unsigned f = 0; f < N_FEATURE_SETS; f++) {
                start(feature_sets[f]);
                ck_assert_int_eq(policy_add_build_directory(fake.policy, "/build", US), 0);
                for (unsigned i = 0; i < sizeof(elsewhere) / sizeof(elsewhere[0]); i++) {
                        ask_elsewhere(elsewhere[i]);
                        fake_fail(FAKE_NAME_TO_HANDLE, 1, 1, EINVAL); /* before Linux 6.12 */
                        ask_elsewhere(elsewhere[i]);
                        fake_calls_reset();
                }
                end();
        }
}
END_TEST

static const struct {
        bool writable; /* by policy */
        uint32_t file_system;
        uint32_t options;
        bool read_only, pids_only;
} options[] = {
        {false, PROTOCOL_PROC, 0, true, false},
        {false, PROTOCOL_PROC, PROTOCOL_READ_ONLY, true, false},
        {false, PROTOCOL_PROC, PROTOCOL_PIDS_ONLY, true, true},
        {false, PROTOCOL_PROC, PROTOCOL_PIDS_ONLY | PROTOCOL_READ_ONLY, true, true},
        {true, PROTOCOL_PROC, 0, false, false},
        {true, PROTOCOL_PROC, PROTOCOL_READ_ONLY, true, false},
        {true, PROTOCOL_PROC, PROTOCOL_PIDS_ONLY, false, true},
        {true, PROTOCOL_PROC, PROTOCOL_PIDS_ONLY | PROTOCOL_READ_ONLY, true, true},
        {false, PROTOCOL_SYSFS, 0, true, false},
        {true, PROTOCOL_SYSFS, 0, true, false}, /* never writable */
        {true, PROTOCOL_SYSFS, PROTOCOL_READ_ONLY, true, false},
};

/* Its server could make those who ask wait. */
START_TEST(file_system_is_never_asked_what_it_is) {
        for (unsigned f = 0; f < N_FEATURE_SETS; f++) {
                start(feature_sets[f]);
                fake_calls_reset();
                ask_good(2);
                serve();
                ck_assert_uint_eq(reply->status, STATUS_OK);
                ck_assert_uint_eq(unmount(reply->lease), STATUS_OK);
                ask(PROTOCOL_MOUNT, 0);
                fdpass_set_close(fds);
                ask_target(PROTOCOL_PROC, 0, &(struct fake_directory){"/r/proc", US, FAKE_FUSE, 0});
                serve();
                ck_assert_uint_eq(reply->status, STATUS_NOT_AUTHORISED);
                ck_assert_uint_eq(fake_calls(FAKE_FSTATFS), 0);
                end();
        }
}
END_TEST

START_TEST(options_take_away_and_never_add) {
        for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
                bool proc = options[i].file_system == PROTOCOL_PROC;
                const struct fake_mount *mount;

                start(FAKE_ALL_FEATURES);
                if (options[i].writable)
                        ck_assert_int_eq(policy_add_writable_proc(fake.policy, US), 0);
                ask(PROTOCOL_MOUNT, 0);
                ask_target(options[i].file_system, options[i].options,
                           &(struct fake_directory){proc ? "/r/proc" : "/r/sys", US, 0, 0});
                serve();
                ck_assert_uint_eq(reply->status, STATUS_OK);
                mount = fake_mount_on(fds->fds[0]);
                ck_assert_msg(!(mount->attributes & 1 /* MOUNT_ATTR_RDONLY */) ==
                                      !options[i].read_only,
                              "row %zu", i);
                ck_assert_uint_eq(mount->attributes & 0xe, 0xe); /* nosuid, nodev, noexec */
                if (proc) {
                        ck_assert_ptr_nonnull(strstr(mount->options, ",hidepid=ptraceable"));
                        ck_assert(!strstr(mount->options, ",ro") == !options[i].read_only);
                        ck_assert(!strstr(mount->options, ",subset=pid") == !options[i].pids_only);
                }
                ck_assert_uint_eq(unmount(reply->lease), STATUS_OK);
                end();
        }
}
END_TEST

START_TEST(limit_of_targets_is_judged_after_the_targets) {
        start(FAKE_ALL_FEATURES);
        fake.context.max_targets = 2;
        ask_good(2);
        serve();
        ck_assert_uint_eq(reply->status, STATUS_OK);
        ck_assert_uint_eq(unmount(reply->lease), STATUS_OK);

        ask_good(3);
        serve();
        ck_assert_uint_eq(reply->status, STATUS_LIMIT_EXCEEDED);
        ck_assert_ptr_nonnull(strstr(reply->text, "--max-targets"));

        ask_good(2);
        ask_target(PROTOCOL_PROC, 0, &(struct fake_directory){"/z/proc", 0, 0, 0});
        serve();
        ck_assert_uint_eq(reply->status, STATUS_NOT_AUTHORISED);
        end();
}
END_TEST

START_TEST(limit_of_mounts_is_refused_and_leaves_the_others) {
        uint64_t leases[4];

        start(FAKE_ALL_FEATURES);
        for (unsigned i = 0; i < 4; i++) {
                ask_good(16);
                serve();
                ck_assert_uint_eq(reply->status, STATUS_OK);
                leases[i] = reply->lease;
        }
        ask_good(1);
        serve();
        ck_assert_uint_eq(reply->status, STATUS_LIMIT_EXCEEDED);
        ck_assert_uint_eq(reply->target, STATUS_NO_TARGET);
        ck_assert_ptr_nonnull(strstr(reply->text, "--max-mounts"));
        ck_assert_uint_eq(fake_mounts(), 64);
        for (unsigned i = 0; i < 4; i++)
                ck_assert_uint_eq(unmount(leases[i]), STATUS_OK);
        end();
}
END_TEST

START_TEST(daemon_that_stops_mounts_no_more_but_unmounts) {
        uint64_t lease;

        start(FAKE_ALL_FEATURES);
        ask_good(1);
        serve();
        lease = reply->lease;
        atomic_store(&fake.context.stopping, true);
        ask_good(1);
        fake_calls_reset();
        serve();
        ck_assert_uint_eq(reply->status, STATUS_SHUTTING_DOWN);
        ck_assert_uint_eq(fake_calls(FAKE_ANY), 0);
        ck_assert_uint_eq(unmount(lease), STATUS_OK);
        fdpass_set_close(fds);
        ask(PROTOCOL_HELLO, 0);
        serve();
        ck_assert_uint_eq(reply->status, STATUS_OK);
        end();
}
END_TEST

START_TEST(lease_that_is_not_held_is_unknown) {
        uint64_t lease;

        start(FAKE_ALL_FEATURES);
        ask_good(1);
        serve();
        lease = reply->lease;
        ck_assert_uint_eq(unmount(0), STATUS_NO_SUCH_LEASE);
        ck_assert_uint_eq(unmount(UINT64_MAX), STATUS_NO_SUCH_LEASE);
        ck_assert_uint_eq(unmount(lease + 1), STATUS_NO_SUCH_LEASE);

        /* Another connection of the same user. */
        holder = &holders[1];
        ck_assert_uint_eq(unmount(lease), STATUS_NO_SUCH_LEASE);
        holder = &holders[0];
        ck_assert_uint_eq(fake_mounts(), 1);
        ck_assert_uint_eq(unmount(lease), STATUS_OK);
        end();
}
END_TEST

START_TEST(unmount_that_fails_keeps_the_lease_and_tells_where) {
        uint64_t lease;

        start(FAKE_ALL_FEATURES);
        ask_good(16);
        serve();
        lease = reply->lease;
        fake_calls_reset();
        fake_fail(FAKE_UMOUNT, 4, 1, EPERM);
        ck_assert_uint_eq(unmount(lease), STATUS_HOST_FAILED);
        ck_assert_uint_eq(reply->error, EPERM);
        ck_assert_uint_eq(reply->target, 3);
        ck_assert_uint_eq(fake_mounts(), 13);
        ck_assert_uint_eq(unmount(lease), STATUS_OK);
        end();
}
END_TEST

/* ---- adoption ---- */

START_TEST(adopts_and_unmounts) {
        FOR_ALL(f, s) {
                start_after(feature_sets[f], sizes[s], US);
                serve();
                ck_assert_uint_eq(reply->status, STATUS_OK);
                ck_assert_uint_eq(reply->lease, left.lease);
                ck_assert_uint_eq(reply->flags, 0);
                ck_assert_str_eq(reply->text, "");
                ck_assert_uint_eq(fake_mounts(), sizes[s]);
                ck_assert_uint_eq(leases_count(fake.context.leases).left, 0);
                ck_assert_uint_eq(fake_calls(FAKE_MOVE_MOUNT) + fake_calls(FAKE_UMOUNT), 0);
                wire->flags = PROTOCOL_KEEP; /* which the decoder never accepts */
                request_take_back(&fake.context, holder, &request);
                ck_assert_uint_eq(fake_mounts(), sizes[s]);
                ask_adopt();
                serve(); /* only once */
                ck_assert_uint_eq(reply->status, STATUS_NO_SUCH_LEASE);
                ck_assert_uint_eq(unmount(left.lease), STATUS_OK);
                ck_assert_uint_eq(fake_mounts(), 0);
                forget_left();
                end();
        }
}
END_TEST

START_TEST(adoption_of_what_is_not_ours_is_refused_alike) {
        char text[PROTOCOL_TEXT_MAX + 1];

        start_after(FAKE_ALL_FEATURES, 2, US + 1); /* another user's */
        serve();
        ck_assert_uint_eq(reply->status, STATUS_NO_SUCH_LEASE);
        ck_assert_uint_eq(reply->target, STATUS_NO_TARGET);
        strcpy(text, reply->text);
        for (unsigned bit = 0; bit < 64; bit++) {
                ask_adopt();
                wire->lease ^= 1ULL << bit;
                serve();
                ck_assert_uint_eq(reply->status, STATUS_NO_SUCH_LEASE);
                ck_assert_uint_eq(reply->target, STATUS_NO_TARGET);
                ck_assert_str_eq(reply->text, text);
        }
        ask_adopt();
        wire->lease = 0;
        serve();
        ck_assert_uint_eq(reply->status, STATUS_NO_SUCH_LEASE);
        ck_assert_uint_eq(fake_mounts(), 2);
        ck_assert_uint_eq(leases_count(fake.context.leases).left, 1);
        fdpass_set_close(fds);
        forget_left();
        end();
}
END_TEST

START_TEST(daemon_that_stops_adopts_no_more) {
        start_after(FAKE_ALL_FEATURES, 1, US);
        atomic_store(&fake.context.stopping, true);
        serve();
        ck_assert_uint_eq(reply->status, STATUS_SHUTTING_DOWN);
        ck_assert_uint_eq(fake_calls(FAKE_ANY), 0);
        ck_assert_uint_eq(leases_count(fake.context.leases).left, 1);
        fdpass_set_close(fds);
        forget_left();
        end();
}
END_TEST

/* Limits are for new mounts: this lease is already counted. */
START_TEST(adoption_needs_no_room) {
        static const struct quota_limit quota[QUOTA_KINDS] = {{4, 4}, {4, 4}, {4, 4}, {4, 4}};

        log_open(LOG_EMERG);
        for (unsigned i = 0; i < 16; i++)
                left_on[i] = fake_directory(&(struct fake_directory){.path = "/r/x", .owner = US});
        left = fake_context_left(FAKE_ALL_FEATURES, 3, US, RECORD_LIVE, left_on, 16);
        fake_context_start_as(&fake, &(struct fake_setup){.features = FAKE_ALL_FEATURES,
                                                          .quota = quota,
                                                          .left = &left,
                                                          .n_left = 1});
        fake.context.max_targets = 1;
        hold();
        ask_adopt();
        serve();
        ck_assert_uint_eq(reply->status, STATUS_OK);
        ck_assert_uint_eq(unmount(left.lease), STATUS_OK);
        forget_left();
        end();
}
END_TEST

START_TEST(each_call_of_an_adoption_that_fails_loses_nothing) {
        static const int errors[] = {EPERM, ENOMEM, EMFILE, EIO, ENOENT};

        FOR_ALL(f, s) {
                unsigned calls;

                start_after(feature_sets[f], sizes[s], US);
                serve();
                ck_assert_uint_eq(reply->status, STATUS_OK);
                calls = fake_calls(FAKE_ANY);
                ck_assert_uint_eq(unmount(left.lease), STATUS_OK);
                forget_left();
                end();

                start_after(feature_sets[f], sizes[s], US);
                for (unsigned n = 1; n <= calls; n++)
                        for (unsigned e = 0; e < 5; e++) {
                                fake_calls_reset();
                                fake_fail(FAKE_ANY, n, 1, errors[e]);
                                serve();
                                ck_assert_uint_eq(reply->status, errors[e] == ENOENT
                                                                         ? STATUS_NO_SUCH_LEASE
                                                                         : STATUS_HOST_FAILED);
                                ck_assert_uint_lt(reply->target, sizes[s]);
                                ck_assert_uint_eq(fake_mounts(), sizes[s]);
                                ck_assert_uint_eq(leases_count(fake.context.leases).left, 1);
                                ck_assert_uint_eq(fake_context_records(&fake), 1);
                        }
                fake_calls_reset();
                serve();
                ck_assert_uint_eq(reply->status, STATUS_OK);
                ck_assert_uint_eq(unmount(left.lease), STATUS_OK);
                forget_left();
                end();
        }
}
END_TEST

/* Each call of a mount fails once, including those that examine its targets. */
START_TEST(each_call_that_fails_is_answered_and_leaves_nothing) {
        static const int errors[] = {EPERM, ENOMEM, EMFILE, EIO};
        static enum fake_call log[2048];

        FOR_ALL(f, s) {
                unsigned calls, questions;

                start(feature_sets[f]);
                ask_good(sizes[s]);
                fake_calls_reset();
                serve();
                ck_assert_uint_eq(reply->status, STATUS_OK);
                calls = fake_calls(FAKE_ANY);
                ck_assert_uint_le(calls, 2048);
                for (unsigned n = 1; n <= calls; n++)
                        log[n - 1] = fake_call_at(n);
                questions = sizes[s] * 3; /* statx, readlink, statmount or the table */
                ck_assert_uint_eq(unmount(reply->lease), STATUS_OK);

                for (unsigned n = 1; n <= calls; n++)
                        for (unsigned e = 0; e < 4; e++) {
                                ask_good(sizes[s]);
                                fake_calls_reset();
                                fake_fail(FAKE_ANY, n, 1, errors[e]);
                                serve();
                                ck_assert_uint_eq(reply->status, STATUS_HOST_FAILED);
                                ck_assert_uint_eq(reply->error, errors[e]);
                                ck_assert_str_eq(reply->text,
                                                 log[n - 1] == FAKE_FSCONFIG
                                                         ? "the fake kernel refuses"
                                                         : verdict_host_failed(-errors[e], 0).text);
                                if (n <= questions)
                                        ck_assert_uint_eq(reply->target, (n - 1) / 3);
                                ck_assert_uint_lt(reply->target, sizes[s]);
                                fake_context_is_clean(&fake, sizes[s]);
                        }
                end();
        }
}
END_TEST

START_TEST(path_that_is_too_long_is_answered) {
        static char path[PATH_MAX + 16];

        memset(path, 'a', sizeof(path) - 1);
        memcpy(path + PATH_MAX, "/proc", 6);
        path[0] = '/';
        start(FAKE_ALL_FEATURES);
        ask(PROTOCOL_MOUNT, 0);
        ask_target(PROTOCOL_PROC, 0, &(struct fake_directory){path, US, 0, 0});
        serve();
        ck_assert_uint_eq(reply->status, STATUS_HOST_FAILED);
        ck_assert_uint_eq(reply->error, ENAMETOOLONG);
        ck_assert_uint_eq(reply->target, 0);
        end();
}
END_TEST

/* No bytes of the client's are sent back, or into a terminal by way of the answer. */
START_TEST(answer_has_no_bytes_of_the_clients) {
        start(FAKE_ALL_FEATURES);
        ask(PROTOCOL_MOUNT, 0);
        ask_target(PROTOCOL_PROC, 0, &(struct fake_directory){"/secret\x1b[31m/dev", US, 0, 0});
        serve();
        ck_assert_uint_eq(reply->status, STATUS_WRONG_NAME);
        ck_assert_ptr_null(strstr(reply->text, "secret"));
        end();
}
END_TEST

/* ---- check only ---- */

/* The answer to the request, as a check; the descriptors stay. */
static void serve_check(void) {
        unsigned used = quota_used(fake.context.quota, QUOTA_MOUNTS), mounts = fake_mounts();
        uint64_t total = fake.context.mounts_total;

        wire->flags = PROTOCOL_CHECK;
        fake_calls_reset();
        serve();
        ck_assert_uint_eq(reply->lease, 0);
        ck_assert_uint_eq(reply->flags, 0);
        ck_assert_uint_eq(fake_mounts(), mounts);
        ck_assert_uint_eq(fake_calls(FAKE_MOVE_MOUNT) + fake_calls(FAKE_OPEN_TREE) +
                                  fake_calls(FAKE_FSOPEN) + fake_calls(FAKE_UMOUNT),
                          0);
        ck_assert_uint_eq(quota_used(fake.context.quota, QUOTA_MOUNTS), used);
        ck_assert_uint_eq(fake.context.mounts_total, total);
        wire->flags = 0;
}

/* Requested with others, it is the one at fault; the others are mounted as usual. */
START_TEST(dev_that_is_not_offered_is_refused_with_the_reason) {
        for (unsigned f = 0; f < N_FEATURE_SETS; f++) {
                log_open(LOG_EMERG);
                fake_context_start_as(
                        &fake, &(struct fake_setup){.features = feature_sets[f], .no_dev = true});
                hold();
                ask(PROTOCOL_HELLO, 0);
                serve();
                ck_assert_uint_eq(reply->flags & PROTOCOL_FEATURE_DEV, 0);
                ask_good(2);
                ask_target(PROTOCOL_DEV, 0, &(struct fake_directory){"/r/dev", US, 0, 0});
                for (unsigned check = 0; check < 2; check++) {
                        if (check)
                                serve_check();
                        else
                                serve();
                        ck_assert_uint_eq(reply->status, STATUS_UNSUPPORTED_FILE_SYSTEM);
                        ck_assert_uint_eq(reply->target, 2);
                        ck_assert_ptr_nonnull(strstr(reply->text, "--no-dev"));
                        fake_context_is_clean(&fake, 3);
                }
                ask_good(2);
                serve();
                ck_assert_uint_eq(reply->status, STATUS_OK);
                ck_assert_uint_eq(unmount(reply->lease), STATUS_OK);
                end();
        }
}
END_TEST

START_TEST(check_is_answered_as_the_mount_would_be) {
        for (unsigned f = 0; f < N_FEATURE_SETS; f++) {
                start(feature_sets[f]);
                for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                        struct wire_reply checked;

                        ask_good(1);
                        ask_target(bad[i].file_system, 0, &bad[i].directory);
                        serve_check();
                        checked = *reply;
                        fake_context_is_clean(&fake, 2);

                        serve();
                        if (bad[i].directory.flags & FAKE_VANISHES) { /* too late for a check */
                                ck_assert_uint_eq(checked.status, STATUS_OK);
                                continue;
                        }
                        ck_assert_msg(checked.status == reply->status, "row %zu: %s, %s", i,
                                      status_name(checked.status), status_name(reply->status));
                        ck_assert_uint_eq(checked.status, bad[i].status);
                        ck_assert_uint_eq(checked.target, reply->target);
                        ck_assert_str_eq(checked.text, reply->text);
                        if (reply->status == STATUS_OK)
                                ck_assert_uint_eq(unmount(reply->lease), STATUS_OK);
                }
                end();
        }
}
END_TEST

START_TEST(check_can_be_repeated_and_is_no_claim) {
        FOR_ALL(f, s) {
                start(feature_sets[f]);
                ask_good(sizes[s]);
                for (unsigned i = 0; i < 3; i++) {
                        serve_check();
                        ck_assert_uint_eq(reply->status, STATUS_OK);
                        ck_assert_str_eq(reply->text, "");
                }
                serve();
                ck_assert_uint_eq(reply->status, STATUS_OK);
                ck_assert_uint_eq(fake_mounts(), sizes[s]);
                ck_assert_uint_eq(unmount(reply->lease), STATUS_OK);
                end();
        }
}
END_TEST

/* A check is about the place, not about the room at this moment. */
START_TEST(check_needs_no_room_but_for_its_targets) {
        uint64_t leases[4];

        start(FAKE_ALL_FEATURES);
        for (unsigned i = 0; i < 4; i++) {
                ask_good(16);
                serve();
                leases[i] = reply->lease;
        }
        ask_good(1);
        serve();
        ck_assert_uint_eq(reply->status, STATUS_LIMIT_EXCEEDED);
        serve_check();
        ck_assert_uint_eq(reply->status, STATUS_OK);
        fake.context.max_targets = 1;
        ask_good(2);
        serve_check();
        ck_assert_uint_eq(reply->status, STATUS_LIMIT_EXCEEDED);
        ck_assert_ptr_nonnull(strstr(reply->text, "--max-targets"));
        for (unsigned i = 0; i < 4; i++)
                ck_assert_uint_eq(unmount(leases[i]), STATUS_OK);
        end();
}
END_TEST

/*
 * A runner has only this before its first action: the directory below which its roots will be. A
 * mount on it is refused nevertheless.
 */
static const struct {
        struct fake_directory directory;
        enum status checked, mounted;
} build_directories[] = {
        {{"/build", US, 0, 0}, STATUS_OK, STATUS_WRONG_NAME},
        {{"/build", 0, 0, 0}, STATUS_OK, STATUS_WRONG_NAME},
        {{"/build", 0, 0, FAKE_IS_ROOT}, STATUS_OK, STATUS_ALREADY_MOUNTED},
        {{"/build", 0, FAKE_FUSE, FAKE_IS_ROOT}, STATUS_OK, STATUS_ALREADY_MOUNTED},
        {{"/build", 0, FAKE_FUSE, FAKE_IS_ROOT | FAKE_IS_HIDDEN},
         STATUS_OK,
         STATUS_ALREADY_MOUNTED},
        {{"/build", 0, FAKE_FUSE, FAKE_IS_HIDDEN}, STATUS_OK, STATUS_WRONG_NAME},
        {{"/build/1/proc", 0, FAKE_FUSE, 0}, STATUS_OK, STATUS_OK},
        /* A mount root below it means that something is already mounted. */
        {{"/build/1/proc", 0, FAKE_FUSE, FAKE_IS_ROOT},
         STATUS_ALREADY_MOUNTED,
         STATUS_ALREADY_MOUNTED},
        {{"/build/1", 0, FAKE_FUSE, 0}, STATUS_OK, STATUS_WRONG_NAME},
        {{"/build", 0, 0, FAKE_IS_FILE}, STATUS_NOT_A_DIRECTORY, STATUS_NOT_A_DIRECTORY},
        {{"/build", 0, 0, FAKE_IS_DELETED}, STATUS_TARGET_VANISHED, STATUS_TARGET_VANISHED},
        {{"/build", 0, 0, FAKE_IS_FOREIGN}, STATUS_FOREIGN_NAMESPACE, STATUS_WRONG_NAME},
        /* Not opened to anybody: judged like a mountpoint of the same owner inside. */
        {{"/theirs", US, 0, 0}, STATUS_OK, STATUS_WRONG_NAME},
        {{"/theirs", 0, 0, FAKE_IS_ROOT}, STATUS_NOT_AUTHORISED, STATUS_ALREADY_MOUNTED},
        {{"/build2", US, 0, 0}, STATUS_OK, STATUS_WRONG_NAME},
        {{"/build2", 0, 0, 0}, STATUS_NOT_AUTHORISED, STATUS_WRONG_NAME},
        {{"/build2", US, 0, FAKE_IS_FOREIGN}, STATUS_FOREIGN_NAMESPACE, STATUS_WRONG_NAME},
        {{"/build2", US, FAKE_FUSE, FAKE_IS_ROOT}, STATUS_NOT_AUTHORISED, STATUS_ALREADY_MOUNTED},
        {{"/build2", 0, FAKE_FUSE, FAKE_IS_ROOT | FAKE_IS_HIDDEN},
         STATUS_NOT_AUTHORISED,
         STATUS_ALREADY_MOUNTED},
        {{"/", 0, 0, FAKE_IS_ROOT}, STATUS_NOT_AUTHORISED, STATUS_ALREADY_MOUNTED},
        {{"/home/proc", US, FAKE_FUSE, 0}, STATUS_NOT_AUTHORISED, STATUS_NOT_AUTHORISED},
};

START_TEST(build_directory_itself_can_be_checked) {
        for (unsigned f = 0; f < N_FEATURE_SETS; f++) {
                start(feature_sets[f]);
                ck_assert_int_eq(policy_add_build_directory(fake.policy, "/build", US), 0);
                ck_assert_int_eq(policy_add_build_directory(fake.policy, "/theirs", US + 1), 0);
                for (size_t i = 0; i < sizeof(build_directories) / sizeof(build_directories[0]);
                     i++) {
                        fdpass_set_close(fds);
                        ask(PROTOCOL_MOUNT, 0);
                        ask_target(PROTOCOL_PROC, 0, &build_directories[i].directory);
                        serve_check();
                        ck_assert_msg(reply->status == build_directories[i].checked, "row %zu: %s",
                                      i, status_name(reply->status));
                        serve();
                        ck_assert_msg(reply->status == build_directories[i].mounted, "row %zu: %s",
                                      i, status_name(reply->status));
                        if (reply->status == STATUS_OK)
                                ck_assert_uint_eq(unmount(reply->lease), STATUS_OK);
                }
                end();
        }
}
END_TEST

START_TEST(build_directory_is_checked_for_either_file_system_and_beside_others) {
        start(FAKE_ALL_FEATURES);
        ck_assert_int_eq(policy_add_build_directory(fake.policy, "/build", POLICY_ANY_USER), 0);
        ask_good(1);
        ask_target(PROTOCOL_SYSFS, 0, &(struct fake_directory){"/build", 0, FAKE_FUSE, 0});
        serve_check();
        ck_assert_uint_eq(reply->status, STATUS_OK);
        ask_target(PROTOCOL_PROC, 0, &(struct fake_directory){"/build", 0, FAKE_FUSE, 0});
        serve_check(); /* a repeated directory is the client's mistake in a check as well */
        ck_assert_uint_eq(reply->status, STATUS_ALREADY_MOUNTED);
        ck_assert_uint_eq(reply->target, 2);
        end();
}
END_TEST

START_TEST(daemon_that_stops_checks_no_more) {
        start(FAKE_ALL_FEATURES);
        ask_good(1);
        atomic_store(&fake.context.stopping, true);
        serve_check();
        ck_assert_uint_eq(reply->status, STATUS_SHUTTING_DOWN);
        end();
}
END_TEST

START_TEST(each_call_of_a_check_that_fails_is_answered) {
        FOR_ALL(f, s) {
                unsigned calls;

                start(feature_sets[f]);
                ask_good(sizes[s]);
                serve_check();
                calls = fake_calls(FAKE_ANY);
                ck_assert_uint_ge(calls, sizes[s] * 2);
                for (unsigned n = 1; n <= calls; n++) {
                        wire->flags = PROTOCOL_CHECK;
                        fake_calls_reset();
                        fake_fail(FAKE_ANY, n, 1, EIO);
                        serve();
                        ck_assert_uint_eq(reply->status, STATUS_HOST_FAILED);
                        ck_assert_uint_eq(reply->error, EIO);
                        ck_assert_uint_lt(reply->target, sizes[s]);
                }
                end();
        }
}
END_TEST

/* ---- kept ---- */

static uint64_t mount_kept(unsigned count) {
        ask_good(count);
        wire->flags = PROTOCOL_KEEP;
        serve();
        ck_assert_uint_eq(reply->status, STATUS_OK);
        ck_assert_uint_ne(reply->lease, 0);
        return reply->lease;
}

START_TEST(kept_lease_is_the_users) {
        FOR_ALL(f, s) {
                uint64_t lease;

                start(feature_sets[f]);
                lease = mount_kept(sizes[s]);
                ck_assert(LIST_EMPTY(&holder->leases));
                ck_assert_uint_eq(fake_context_record(&fake, lease).kept, 1);
                ck_assert_uint_eq(fake_context_record(&fake, lease).state, RECORD_LIVE);
                ck_assert_uint_eq(quota_used(fake.context.quota, QUOTA_MOUNTS), sizes[s]);

                /* The connection ends, and another user's connection can't find the lease. */
                leases_abandon(fake.context.leases, holder);
                ck_assert_int_eq(lease_release_held(fake.context.leases, holder), 0);
                ck_assert_uint_eq(fake_mounts(), sizes[s]);
                holder = &holders[1];
                holder->subject.uid = US + 1;
                ck_assert_uint_eq(unmount(lease), STATUS_NO_SUCH_LEASE);

                /* Any connection of the same user can release it, once. */
                holder->subject.uid = US;
                ck_assert_uint_eq(unmount(lease), STATUS_OK);
                ck_assert_uint_eq(fake_mounts(), 0);
                ck_assert_uint_eq(unmount(lease), STATUS_NO_SUCH_LEASE);
                end();
        }
}
END_TEST

START_TEST(kept_lease_that_is_not_let_go_stays_the_users) {
        uint64_t lease;

        start(FAKE_ALL_FEATURES);
        lease = mount_kept(4);
        holder = &holders[1];
        fake_calls_reset();
        fake_fail(FAKE_UMOUNT, 3, 1, EPERM);
        ck_assert_uint_eq(unmount(lease), STATUS_HOST_FAILED);
        ck_assert_uint_eq(reply->target, 2);
        ck_assert_uint_eq(fake_context_record(&fake, lease).state, RECORD_LIVE);
        holder = &holders[0];
        ck_assert_uint_eq(unmount(lease), STATUS_OK);
        end();
}
END_TEST

START_TEST(administrator_ends_anybodys_lease) {
        uint64_t lease, kept;

        start(FAKE_ALL_FEATURES);
        ask_good(2);
        serve();
        lease = reply->lease;
        kept = mount_kept(1);
        holder = &holders[1];
        holder->subject = (struct subject){.uid = 0};
        ck_assert_uint_eq(unmount(lease), STATUS_NO_SUCH_LEASE); /* root has no special rights */
        ck_assert_uint_eq(unmount(kept), STATUS_NO_SUCH_LEASE);
        holder->subject.trust = TRUST_ADMINISTRATOR;
        ck_assert_uint_eq(unmount(lease), STATUS_OK);
        ck_assert_uint_eq(unmount(kept), STATUS_OK);
        end();
}
END_TEST

START_TEST(what_is_kept_can_not_be_adopted) {
        uint64_t lease;

        start(FAKE_ALL_FEATURES);
        lease = mount_kept(1);
        wire->operation = PROTOCOL_ADOPT;
        wire->flags = 0;
        wire->lease = lease;
        left_on[0] = fds->fds[0];
        fds->fds[0] = fake_open_mount(left_on[0]);
        serve();
        ck_assert_uint_eq(reply->status, STATUS_NO_SUCH_LEASE);
        fd_close(left_on[0]);
        ck_assert_uint_eq(unmount(lease), STATUS_OK);
        end();
}
END_TEST

/* ---- not delivered ---- */

START_TEST(kept_lease_whose_reply_is_lost_is_released) {
        start(FAKE_ALL_FEATURES);
        for (unsigned s = 0; s < N_SIZES; s++) {
                mount_kept(sizes[s]);
                request_take_back(&fake.context, holder, &request);
                ck_assert_uint_eq(fake_mounts(), 0);
                ck_assert_uint_eq(leases_count(fake.context.leases).leases, 0);
                lease_dispose(&request.remains);
                ck_assert(fake_is_in_root());
                fake_context_is_clean(&fake, sizes[s]);
        }
        end();
}
END_TEST

/* The lease ends with its connection, or there is none. */
START_TEST(other_replies_that_are_lost_change_nothing) {
        uint64_t lease, kept;

        start(FAKE_ALL_FEATURES);
        kept = mount_kept(1);
        ask_good(1);
        serve();
        ck_assert_uint_eq(reply->status, STATUS_OK);
        lease = reply->lease;
        request_take_back(&fake.context, holder, &request);
        ck_assert_uint_eq(fake_mounts(), 2);

        serve(); /* refused: already mounted on */
        ck_assert_uint_ne(reply->status, STATUS_OK);
        wire->flags = PROTOCOL_KEEP;
        request_take_back(&fake.context, holder, &request);
        serve_check();
        request_take_back(&fake.context, holder, &request);

        ck_assert_uint_eq(unmount(0), STATUS_NO_SUCH_LEASE);
        wire->lease = kept;
        request_take_back(&fake.context, holder, &request);
        ck_assert_uint_eq(fake_mounts(), 2);
        ck_assert_uint_eq(unmount(lease), STATUS_OK);
        ck_assert_uint_eq(unmount(kept), STATUS_OK);
        end();
}
END_TEST

START_TEST(kept_lease_that_can_not_be_taken_back_stays) {
        uint64_t lease;

        start(FAKE_ALL_FEATURES);
        lease = mount_kept(1);
        fake_calls_reset();
        fake_fail(FAKE_UMOUNT, 1, 1, EPERM);
        request_take_back(&fake.context, holder, &request);
        lease_dispose(&request.remains);
        ck_assert_uint_eq(fake_mounts(), 1);
        ck_assert_uint_eq(fake_context_record(&fake, lease).state, RECORD_LIVE);
        ck_assert_uint_eq(unmount(lease), STATUS_OK);
        end();
}
END_TEST

START_TEST(what_came_is_closed_and_clones_are_made_when_nobody_waits) {
        start(FAKE_ALL_FEATURES);
        request_finish(&fake.context, &request); /* the clones exist now */
        fake.descriptors = descriptors_count();
        ask_good(16);
        request_serve(&fake.context, holder, &request);
        ck_assert_uint_eq(reply->status, STATUS_OK);
        request_finish(&fake.context, &request);
        ck_assert_uint_eq(fds->count, 0);
        ck_assert_uint_eq(descriptors_count(), fake.descriptors + 16); /* the mounts' */
        ask_good(1);
        fake_calls_reset();
        request_serve(&fake.context, holder, &request);
        ck_assert_uint_eq(reply->status, STATUS_OK);
        ck_assert_uint_eq(fake_calls(FAKE_OPEN_TREE), 0);
        ck_assert_int_eq(lease_release_held(fake.context.leases, holder), 0);
        request_finish(&fake.context, &request);
        end();
}
END_TEST

/* ---- concurrent events ---- */

static enum status served;

static void *serve_elsewhere(void *unused) {
        (void)unused;
        ck_assert_int_eq(unmount_isolate(), 0);
        request_serve(&fake.context, holder, &request);
        lease_dispose(&request.remains);
        served = reply->status;
        return NULL;
}

static const struct {
        bool keep, stops, leaves;
        enum status status;
        unsigned error;
} meanwhile[] = {
        {false, false, false, STATUS_OK, 0},
        {true, false, false, STATUS_OK, 0},
        /* Its connection will release it: */
        {false, true, false, STATUS_OK, 0},
        /* nobody would release it: */
        {true, true, false, STATUS_SHUTTING_DOWN, 0},
        /* nobody is waiting for it: */
        {false, false, true, STATUS_HOST_FAILED, ECONNRESET},
        {true, false, true, STATUS_HOST_FAILED, ECONNRESET},
        {false, true, true, STATUS_SHUTTING_DOWN, 0},
        {true, true, true, STATUS_SHUTTING_DOWN, 0},
};

START_TEST(stop_and_the_clients_end_are_seen_after_the_mount) {
        for (size_t i = 0; i < sizeof(meanwhile) / sizeof(meanwhile[0]); i++) {
                pthread_t thread;

                start(FAKE_ALL_FEATURES);
                ask_good(2);
                wire->flags = meanwhile[i].keep ? PROTOCOL_KEEP : 0;
                fake_block(FAKE_MOVE_MOUNT, 1);
                ck_assert_int_eq(pthread_create(&thread, NULL, serve_elsewhere, NULL), 0);
                while (fake_blocked() == 0)
                        usleep(1000);
                if (meanwhile[i].stops) {
                        atomic_store(&fake.context.stopping, true);
                        leases_stop(fake.context.leases);
                }
                if (meanwhile[i].leaves)
                        leases_abandon(fake.context.leases, holder);
                fake_unblock();
                ck_assert_int_eq(pthread_join(thread, NULL), 0);
                ck_assert_msg(served == meanwhile[i].status, "row %zu: %s", i, status_name(served));
                ck_assert_uint_eq(reply->error, meanwhile[i].error);
                ck_assert_uint_eq(fake_mounts(), served == STATUS_OK ? 2 : 0);
                if (served == STATUS_OK)
                        ck_assert_uint_eq(unmount(reply->lease), STATUS_OK);
                end();
        }
}
END_TEST

/* ---- counters and log ---- */

START_TEST(mounts_and_failures_are_counted) {
        uint64_t lease;

        start(FAKE_ALL_FEATURES);
        ask(PROTOCOL_HELLO, 0);
        serve();
        ask_good(3);
        serve_check();
        ck_assert_uint_eq(fake.context.mounts_total, 0);
        serve();
        lease = reply->lease;
        ck_assert_uint_eq(fake.context.mounts_total, 3);
        ck_assert_uint_eq(unmount(lease), STATUS_OK);
        ck_assert_uint_eq(unmount(mount_kept(2)), STATUS_OK);
        ck_assert_uint_eq(fake.context.mounts_total, 5);
        ck_assert_uint_eq(fake.context.failures_total, 0);
        ck_assert_uint_eq(unmount(lease), STATUS_NO_SUCH_LEASE);
        ask_good(1);
        fake_calls_reset();
        fake_fail(FAKE_MOVE_MOUNT, 1, 1, EIO);
        serve();
        ck_assert_uint_eq(fake.context.failures_total, 2);
        ck_assert_uint_eq(fake.context.mounts_total, 5);
        end();
}
END_TEST

static const struct {
        uint16_t operation;
        const char *name;
} names[] = {
        {PROTOCOL_HELLO, "hello"},       {PROTOCOL_MOUNT, "mount"}, {PROTOCOL_UNMOUNT, "unmount"},
        {PROTOCOL_ADOPT, "adopt"},       {77, "unknown"},           {0, "unknown"},
        {PROTOCOL_ENTER + 1, "unknown"},
};

START_TEST(each_request_has_one_line_of_the_log_with_its_name) {
        int log = capture();

        start(FAKE_ALL_FEATURES);
        log_set_level(LOG_DEBUG);
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
                const char *line;

                ask(names[i].operation, 0);
                if (names[i].operation == PROTOCOL_MOUNT || names[i].operation == PROTOCOL_ADOPT)
                        ask_target(PROTOCOL_PROC, 0, &(struct fake_directory){"/x/dev", US, 0, 0});
                serve();
                fdpass_set_close(fds);
                line = captured(log);
                ck_assert_uint_eq(count_lines(line), 1);
                ck_assert_ptr_nonnull(strstr(line, names[i].name));
                ck_assert_ptr_nonnull(strstr(line, "1000"));
                ck_assert_ptr_nonnull(strstr(
                        line, reply->status == STATUS_OK ? "done" : status_name(reply->status)));
        }

        /* Successes are for debugging, failures for everybody. */
        log_set_level(LOG_INFO);
        ask(PROTOCOL_HELLO, 0);
        serve();
        ck_assert_str_eq(captured(log), "");
        ask(PROTOCOL_MOUNT, 0);
        ask_target(PROTOCOL_PROC, 0, &(struct fake_directory){"/x\x1b[31m/dev", US, 0, 0});
        serve();
        ck_assert_ptr_nonnull(strstr(captured(log), "/x\\x1b"));
        log_set_level(LOG_WARNING);
        serve();
        ck_assert_str_eq(captured(log), "");
        ask_good(1);
        fake_calls_reset();
        fake_fail(FAKE_MOVE_MOUNT, 1, 1, EIO);
        serve();
        ck_assert_uint_eq(count_lines(captured(log)), 1);
        end();
}
END_TEST

/* ---- enter ---- */

enum { CONTAINER = 7 }; /* the id of each of the client's namespaces */

static void ask_enter(void) {
        static const int kinds[] = {CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWNET};

        fdpass_set_close(fds);
        ask(PROTOCOL_ENTER, 0);
        for (unsigned i = 0; i < 3; i++) {
                wire->targets[wire->n_targets++].file_system = PROTOCOL_NAMESPACE_MOUNT + i;
                fds->fds[fds->count++] = fake_namespace(kinds[i], CONTAINER);
        }
}

static enum status enter(void) {
        ask_enter();
        request_serve(&fake.context, holder, &request);
        fdpass_set_close(fds);
        return reply->status;
}

static void leave(void) {
        request_leave(&fake.context, holder);
        request_leave(&fake.context, holder); /* without namespaces: does nothing */
}

static void start_joining(unsigned features) {
        start(features);
        ck_assert_int_eq(policy_add_join(fake.policy, US), 0);
}

/* `count` targets in the container. */
static void ask_inside(unsigned count) {
        ask_good(count);
        fdpass_set_close(fds);
        for (unsigned i = 0; i < count; i++)
                fds->fds[fds->count++] = fake_directory(
                        &(struct fake_directory){.path = i % 2 ? "/r/sys" : "/r/proc",
                                                 .owner = US,
                                                 .mount_namespace = CONTAINER});
}

static void serve_inside(void) {
        request_serve(&fake.context, holder, &request);
        lease_dispose(&request.remains);
        ck_assert_uint_eq(fake_where(), CONTAINER);
}

static uint64_t mount_inside(void) {
        ask_inside(2);
        serve_inside();
        ck_assert_msg(reply->status == STATUS_OK, "%s", reply->text);
        ck_assert_uint_eq(fake_mounts(), 2);
        return reply->lease;
}

static unsigned hello_flags(void) {
        ask(PROTOCOL_HELLO, 0);
        request_serve(&fake.context, holder, &request);
        return reply->flags;
}

START_TEST(enter_is_for_those_who_may_join) {
        start(FAKE_ALL_FEATURES);
        ck_assert_int_eq(policy_add_join(fake.policy, US + 1), 0);
        ck_assert_uint_eq(hello_flags() & PROTOCOL_FEATURE_ENTER, 0);
        fake_calls_reset();
        ck_assert_uint_eq(enter(), STATUS_FOREIGN_NAMESPACE);
        ck_assert_ptr_nonnull(strstr(reply->text, "--join"));
        ck_assert_ptr_null(holder->namespaces);
        ck_assert_uint_eq(fake_calls(FAKE_ANY), 0);

        ck_assert_int_eq(policy_add_join(fake.policy, US), 0);
        ck_assert_uint_ne(hello_flags() & PROTOCOL_FEATURE_ENTER, 0);
        ck_assert_uint_eq(enter(), STATUS_OK);
        ck_assert_uint_eq(fake_where(), CONTAINER);
        leave();
        end();
}
END_TEST

START_TEST(mounts_are_made_where_the_client_is) {
        int log = capture();

        for (unsigned f = 0; f < N_FEATURE_SETS; f++) {
                uint64_t lease;

                start_joining(feature_sets[f]);
                log_set_level(LOG_INFO);
                ask_inside(2);
                serve(); /* as a client that may enter finds out that it has to */
                ck_assert_uint_eq(reply->status, STATUS_FOREIGN_NAMESPACE);
                ck_assert_str_eq(captured(log), "");
                ck_assert_uint_eq(fake.context.failures_total, 0);
                ck_assert_uint_eq(enter(), STATUS_OK);
                for (unsigned twice = 0; twice < 2; twice++) {
                        lease = mount_inside();
                        ck_assert_ptr_nonnull(
                                strstr(fake_mount_on(fds->fds[0])->options, ",pidns=7"));
                        ck_assert_ptr_nonnull(
                                strstr(fake_mount_on(fds->fds[1])->options, ",net=7"));
                        ck_assert_uint_eq(fake_context_record(&fake, lease).mount_namespace,
                                          CONTAINER);
                        ck_assert_uint_eq(fake_context_record(&fake, lease).namespace_inode,
                                          FAKE_INODE(CONTAINER));
                        fdpass_set_close(fds);
                        ask(PROTOCOL_UNMOUNT, lease);
                        serve_inside();
                        ck_assert_uint_eq(reply->status, STATUS_OK);
                        ck_assert_uint_eq(fake_mounts(), 0);
                }
                ask_good(1); /* at home, which is foreign now */
                serve_inside();
                ck_assert_uint_eq(reply->status, STATUS_FOREIGN_NAMESPACE);
                ck_assert_ptr_nonnull(strstr(captured(log), "foreign-namespace"));
                ck_assert_ptr_nonnull(strstr(reply->text, "has entered"));
                ck_assert_uint_eq(fake.context.failures_total, 1);
                leave();
                end();
        }
}
END_TEST

/* An administrator must fix that, by running mountatd in another pid namespace. */
START_TEST(enter_without_a_process_to_be_seen_is_a_failure) {
        int log = capture();

        start_joining(FAKE_ALL_FEATURES);
        log_set_level(LOG_INFO);
        holder->subject.pid = 0;
        ck_assert_uint_eq(enter(), STATUS_FOREIGN_NAMESPACE);
        ck_assert_ptr_nonnull(strstr(reply->text, "cannot see your processes"));
        ck_assert_ptr_nonnull(strstr(captured(log), "enter: foreign-namespace"));
        ck_assert_uint_eq(fake.context.failures_total, 1);
        end();
}
END_TEST

START_TEST(enters_once_and_before_the_first_mount) {
        uint64_t lease;

        start_joining(FAKE_ALL_FEATURES);
        ask_good(1);
        serve();
        ck_assert_uint_eq(reply->status, STATUS_OK);
        lease = reply->lease;
        ck_assert_uint_eq(enter(), STATUS_MALFORMED);
        ck_assert_ptr_nonnull(strstr(reply->text, "before the first mount"));
        ck_assert_uint_eq(fake_where(), 0);
        ck_assert_uint_eq(unmount(lease), STATUS_OK);

        ck_assert_uint_eq(enter(), STATUS_OK);
        ck_assert_uint_eq(enter(), STATUS_MALFORMED);
        ck_assert_uint_eq(fake_where(), CONTAINER);
        leave();
        end();
}
END_TEST

/* Per user, whatever others have; other refusals aren't counted. */
START_TEST(so_many_of_a_user_are_inside) {
        static const struct quota_limit quota[QUOTA_KINDS] = {
                [QUOTA_MOUNTS] = {8, 8}, [QUOTA_NAMESPACES] = {64, 2}};
        struct quota *counted;

        log_open(LOG_EMERG);
        fake_context_start_as(&fake,
                              &(struct fake_setup){.features = FAKE_ALL_FEATURES, .quota = quota});
        hold();
        ck_assert_int_eq(policy_add_join(fake.policy, US), 0);
        counted = fake.context.quota;
        ck_assert_uint_eq(quota_charge(counted, US, QUOTA_NAMESPACES, 1).status, STATUS_OK);
        ck_assert_uint_eq(quota_charge(counted, US + 1, QUOTA_NAMESPACES, 2).status, STATUS_OK);

        ask_enter();
        fd_close(fds->fds[1]);
        fds->fds[1] = fake_namespace(CLONE_NEWNET, CONTAINER);
        request_serve(&fake.context, holder, &request);
        ck_assert_uint_eq(reply->status, STATUS_MALFORMED);
        fdpass_set_close(fds);
        ck_assert_uint_eq(quota_used(counted, QUOTA_NAMESPACES), 3);
        ck_assert_uint_eq(enter(), STATUS_OK);
        ck_assert_uint_eq(quota_used(counted, QUOTA_NAMESPACES), 4);
        leave();
        ck_assert_uint_eq(quota_used(counted, QUOTA_NAMESPACES), 3);

        ck_assert_uint_eq(quota_charge(counted, US, QUOTA_NAMESPACES, 1).status, STATUS_OK);
        fake_calls_reset();
        ck_assert_uint_eq(enter(), STATUS_LIMIT_EXCEEDED);
        ck_assert_ptr_nonnull(strstr(reply->text, "--max-namespaces-per-user"));
        ck_assert_uint_eq(fake_calls(FAKE_SETNS), 0);
        ck_assert_uint_eq(fake_where(), 0);
        quota_return(counted, US, QUOTA_NAMESPACES, 1);
        ck_assert_uint_eq(enter(), STATUS_OK);
        leave();
        quota_return(counted, US, QUOTA_NAMESPACES, 1);
        quota_return(counted, US + 1, QUOTA_NAMESPACES, 2);
        end();
}
END_TEST

START_TEST(what_is_to_be_kept_is_mounted_at_home_alone) {
        start_joining(FAKE_ALL_FEATURES);
        ck_assert_uint_eq(enter(), STATUS_OK);
        ask_inside(2);
        wire->flags = PROTOCOL_KEEP;
        serve_inside();
        ck_assert_uint_eq(reply->status, STATUS_FOREIGN_NAMESPACE);
        ck_assert_ptr_nonnull(strstr(reply->text, "kept"));
        ck_assert_uint_eq(fake_mounts(), 0);
        leave();
        end();
}
END_TEST

START_TEST(what_is_kept_at_home_is_released_from_inside) {
        uint64_t kept;

        start_joining(FAKE_ALL_FEATURES);
        ask_good(2);
        wire->flags = PROTOCOL_KEEP;
        serve();
        ck_assert_uint_eq(reply->status, STATUS_OK);
        kept = reply->lease;
        ck_assert_uint_eq(enter(), STATUS_OK);
        ask(PROTOCOL_UNMOUNT, kept);
        request_serve(&fake.context, holder, &request);
        lease_dispose(&request.remains);
        ck_assert_uint_eq(reply->status, STATUS_OK);
        ck_assert_uint_eq(fake_mounts(), 0);

        ask(PROTOCOL_UNMOUNT, mount_inside());
        fdpass_set_close(fds);
        serve_inside();
        ck_assert_uint_eq(reply->status, STATUS_OK);
        leave();
        end();
}
END_TEST

/* Otherwise it would look for its client's mounts at home, and take them for gone. */
START_TEST(thread_that_did_not_get_back_does_so_for_the_next_request) {
        enum { TRIES = 8 };
        uint64_t lease;

        start_joining(FAKE_ALL_FEATURES);
        ck_assert_uint_eq(enter(), STATUS_OK);
        lease = mount_inside();
        ask_inside(1);
        wire->targets[0].options = PROTOCOL_PIDS_ONLY; /* without a template so far */
        fake_calls_reset();
        fake_fail(FAKE_SETNS, 2, TRIES, ENOMEM); /* after the one that leads home */
        request_serve(&fake.context, holder, &request);
        ck_assert_uint_eq(reply->status, STATUS_HOST_FAILED);
        ck_assert_uint_eq(fake_where(), CONTAINER); /* to undo the mounts there */

        ask(PROTOCOL_UNMOUNT, lease);
        fdpass_set_close(fds);
        serve_inside();
        ck_assert_uint_eq(reply->status, STATUS_OK);
        ck_assert_uint_eq(fake_mounts(), 0);
        leave();
        end();
}
END_TEST

/* By any thread, from home. */
START_TEST(lease_is_released_in_its_namespace) {
        struct holder admin = {.subject = {.pid = 1, .trust = TRUST_ADMINISTRATOR}};
        struct lease_remains remains;

        for (unsigned is_orphan = 0; is_orphan < 2; is_orphan++) {
                uint64_t lease;
                int container;

                start_joining(FAKE_ALL_FEATURES);
                container = fake_namespace(CLONE_NEWNS, CONTAINER);
                ck_assert_uint_eq(enter(), STATUS_OK);
                lease = mount_inside();
                if (is_orphan)
                        leases_abandon(fake.context.leases, holder);
                leave();
                if (is_orphan)
                        ck_assert_int_eq(lease_release_held(fake.context.leases,
                                                            leases_orphans(fake.context.leases)),
                                         0);
                else {
                        ck_assert_uint_eq(
                                lease_release(fake.context.leases, &admin, lease, &remains).status,
                                STATUS_OK);
                        lease_dispose(&remains);
                }
                ck_assert_uint_eq(fake_mounts(), 0);
                ck_assert(namespaces_return());
                fd_close(container);
                end();
        }
}
END_TEST

START_TEST(lease_that_an_administrator_can_not_get_at_stays_its_holders) {
        struct holder admin = {.subject = {.pid = 1, .trust = TRUST_ADMINISTRATOR}};
        struct lease_remains remains;
        uint64_t lease;

        start_joining(FAKE_ALL_FEATURES);
        ck_assert_uint_eq(enter(), STATUS_OK);
        lease = mount_inside();
        fdpass_set_close(fds);
        ck_assert_int_eq(namespaces_go(0), 0); /* as another thread, which isn't in there */
        holder->namespaces->id++;
        fake_calls_reset();
        fake_fail(FAKE_NAMESPACE, 1, 1, EPERM);
        ck_assert_uint_eq(lease_release(fake.context.leases, &admin, lease, &remains).status,
                          STATUS_HOST_FAILED);
        holder->namespaces->id--;
        ask(PROTOCOL_UNMOUNT, lease);
        serve_inside();
        ck_assert_uint_eq(reply->status, STATUS_OK);
        ck_assert_uint_eq(fake_mounts(), 0);
        leave();
        end();
}
END_TEST

START_TEST(lease_ends_with_its_namespace_and_not_before) {
        int container;

        start_joining(FAKE_ALL_FEATURES);
        ck_assert_uint_eq(enter(), STATUS_OK);
        mount_inside();
        leases_abandon(fake.context.leases, holder);
        leave();
        container = fake_namespace(CLONE_NEWNS, CONTAINER);
        fake_calls_reset();
        fake_fail(FAKE_NAMESPACE, 1, 1, EPERM);
        ck_assert_int_eq(
                lease_release_held(fake.context.leases, leases_orphans(fake.context.leases)),
                -EPERM);
        ck_assert_uint_eq(leases_count(fake.context.leases).orphans, 1);
        for (unsigned i = 0; i < 2; i++)
                fake_uncover(fds->fds[i]);
        fake_end_namespace(CONTAINER);
        ck_assert_int_eq(
                lease_release_held(fake.context.leases, leases_orphans(fake.context.leases)), 0);
        fd_close(container);
        end();
}
END_TEST

START_TEST(lease_is_adopted_where_it_is) {
        log_open(LOG_EMERG);
        for (unsigned i = 0; i < 2; i++)
                left_on[i] = fake_directory(&(struct fake_directory){
                        .path = "/r/x", .owner = US, .mount_namespace = CONTAINER});
        left = fake_context_left(FAKE_ALL_FEATURES, 3, US, RECORD_LIVE, left_on, 2);
        left.mount_namespace = CONTAINER;
        fake_context_start_as(
                &fake,
                &(struct fake_setup){.features = FAKE_ALL_FEATURES, .left = &left, .n_left = 1});
        hold();
        ck_assert_int_eq(policy_add_join(fake.policy, US), 0);
        ask_adopt();
        serve();
        ck_assert_uint_eq(reply->status, STATUS_NO_SUCH_LEASE);
        ck_assert_uint_eq(enter(), STATUS_OK);
        ask_adopt();
        serve_inside();
        ck_assert_msg(reply->status == STATUS_OK, "%s", reply->text);
        ck_assert_uint_eq(fake_context_record(&fake, left.lease).namespace_inode,
                          FAKE_INODE(CONTAINER)); /* the instance that left it didn't know */
        ck_assert_int_eq(lease_release_held(fake.context.leases, holder), 0);
        ck_assert_uint_eq(fake_mounts(), 0);
        leave();
        forget_left();
        end();
}
END_TEST

int main(void) {
        return SUITE_RUN(
                "request", hello_tells_features_and_version, mounts_and_unmounts,
                decoders_refusal_is_the_answer, operation_that_is_not_in_the_table_does_not_exist,
                wants_one_descriptor_per_target,
                our_own_lack_of_descriptors_is_not_the_clients_fault,
                judges_each_target_and_tells_which,
                dev_that_is_not_offered_is_refused_with_the_reason,
                other_file_system_is_refused_without_a_mount,
                judges_all_targets_before_it_mounts_one, build_directory_opens_what_is_hidden,
                build_directory_elsewhere_is_refused_before_anything_is_mounted,
                file_system_is_never_asked_what_it_is, options_take_away_and_never_add,
                limit_of_targets_is_judged_after_the_targets,
                limit_of_mounts_is_refused_and_leaves_the_others,
                daemon_that_stops_mounts_no_more_but_unmounts, lease_that_is_not_held_is_unknown,
                unmount_that_fails_keeps_the_lease_and_tells_where,
                each_call_that_fails_is_answered_and_leaves_nothing, adopts_and_unmounts,
                adoption_of_what_is_not_ours_is_refused_alike, daemon_that_stops_adopts_no_more,
                adoption_needs_no_room, each_call_of_an_adoption_that_fails_loses_nothing,
                path_that_is_too_long_is_answered, answer_has_no_bytes_of_the_clients,
                check_is_answered_as_the_mount_would_be, check_can_be_repeated_and_is_no_claim,
                check_needs_no_room_but_for_its_targets, build_directory_itself_can_be_checked,
                build_directory_is_checked_for_either_file_system_and_beside_others,
                daemon_that_stops_checks_no_more, each_call_of_a_check_that_fails_is_answered,
                kept_lease_is_the_users, kept_lease_that_is_not_let_go_stays_the_users,
                administrator_ends_anybodys_lease, what_is_kept_can_not_be_adopted,
                kept_lease_whose_reply_is_lost_is_released,
                other_replies_that_are_lost_change_nothing,
                kept_lease_that_can_not_be_taken_back_stays,
                what_came_is_closed_and_clones_are_made_when_nobody_waits,
                stop_and_the_clients_end_are_seen_after_the_mount, mounts_and_failures_are_counted,
                each_request_has_one_line_of_the_log_with_its_name, enter_is_for_those_who_may_join,
                mounts_are_made_where_the_client_is,
                enter_without_a_process_to_be_seen_is_a_failure,
                enters_once_and_before_the_first_mount, so_many_of_a_user_are_inside,
                what_is_to_be_kept_is_mounted_at_home_alone,
                what_is_kept_at_home_is_released_from_inside,
                thread_that_did_not_get_back_does_so_for_the_next_request,
                lease_is_released_in_its_namespace,
                lease_that_an_administrator_can_not_get_at_stays_its_holders,
                lease_ends_with_its_namespace_and_not_before, lease_is_adopted_where_it_is);
}
