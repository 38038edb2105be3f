/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The operation table over the fake kernel: the order in which a request is judged, what is answered to it,
 * and for every call that fails on the way, what is left.
 */

#include "daemon/request.h"

#include "daemon/lease.h"
#include "daemon/log.h"
#include "tests/fixtures/suite.h"
#include "tests/unit/daemon/fake_context.h"

#include <errno.h>

enum { US = 1000 };

static const unsigned feature_sets[] = {
        0,
        PROTOCOL_FEATURE_CLONES,
        PROTOCOL_FEATURE_UNIQUE_IDS | PROTOCOL_FEATURE_STATMOUNT,
        FAKE_ALL_FEATURES,
};
static const unsigned sizes[] = {1, 2, 16};

enum {
        N_FEATURE_SETS = sizeof(feature_sets) / sizeof(feature_sets[0]),
        N_SIZES = sizeof(sizes) / sizeof(sizes[0]),
};

#define FOR_ALL(f, s)                                                                              \
        for (unsigned f = 0; f < N_FEATURE_SETS; f++)                                              \
                for (unsigned s = 0; s < N_SIZES; s++)

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
                holders[i] = (struct holder){.subject = {.uid = US, .pid = 1}};
        request = (struct request){.decoded = VERDICT_OK};
}

static void start(unsigned features) {
        log_open(LOG_EMERG);
        fake_context_start(&fake, features);
        hold();
}

/* After an instance that left a lease with that many mounts, of whose roots we ask for adoption. */
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

/* Whatever is left is detached by somebody else, and swept. */
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
        lease_dispose(&request.remains); /* without new clones: a descriptor is a mount */
        ck_assert_uint_eq(reply->operation, wire->operation);
        ck_assert_uint_eq(reply->cookie, wire->cookie);
        ck_assert(fake_is_in_root());
        /* Borrowed, but those of an adoption that succeeds are taken. */
        if (wire->operation == PROTOCOL_ADOPT && reply->status == STATUS_OK) {
                for (unsigned i = 0; i < wire->n_targets; i++)
                        ck_assert_int_lt(fds->fds[i], 0);
                ck_assert_uint_eq(descriptors_count(), before);
        } else
                ck_assert_mem_eq(kept, fds->fds, sizeof(kept));
        /* A mount has one descriptor, and nothing else has; an unmount may stop half way. */
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

/* One more target, and its directory. */
static void ask_target(uint32_t file_system, uint32_t options,
                       const struct fake_directory *directory) {
        wire->targets[wire->n_targets++] =
                (struct wire_target){.file_system = file_system, .options = options};
        fds->fds[fds->count++] = fake_directory(directory);
}

/* `count` targets that are right, each at a place of its own. */
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
                ck_assert_uint_eq(reply->flags, feature_sets[f] | PROTOCOL_FEATURE_ADOPT |
                                                        PROTOCOL_FEATURE_KEEP |
                                                        PROTOCOL_FEATURE_CHECK);
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
        fds->starved = true; /* judged later */
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
        static const uint16_t operations[] = {0, 5, 6, 0x7fff, 0x8001, 0xffff};

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

/* Each target in the row, after a good one, in this order of judgement. */
static const struct {
        enum status status;
        uint32_t file_system;
        struct fake_directory directory;
} bad[] = {
        {STATUS_NOT_A_DIRECTORY, PROTOCOL_SYSFS, {"/r0/sys", US, 0, FAKE_IS_FILE}},
        {STATUS_TARGET_VANISHED, PROTOCOL_SYSFS, {"/r0/sys", US, 0, FAKE_IS_DELETED}},
        {STATUS_TARGET_VANISHED, PROTOCOL_SYSFS, {"/r0/proc", US, 0, FAKE_IS_DELETED}},
        {STATUS_ALREADY_MOUNTED, PROTOCOL_SYSFS, {"/r0/sys", US, 0, FAKE_IS_ROOT}},
        {STATUS_ALREADY_MOUNTED, PROTOCOL_PROC, {"/r0/proc", US, 0, 0}}, /* as the good one */
        {STATUS_ALREADY_MOUNTED, PROTOCOL_SYSFS, {"/r0/proc", US, 0, 0}},
        {STATUS_WRONG_NAME, PROTOCOL_SYSFS, {"/r1/proc", US, 0, 0}},
        {STATUS_WRONG_NAME, PROTOCOL_PROC, {"/r0/dev", 0, FAKE_FUSE, 0}},
        {STATUS_UNSUPPORTED_FILE_SYSTEM, PROTOCOL_SYSFS, {"/r0/sys", US, 0, FAKE_IS_HIDDEN}},
        {STATUS_NOT_AUTHORISED, PROTOCOL_SYSFS, {"/r0/sys", US + 1, 0, 0}},
        {STATUS_NOT_AUTHORISED, PROTOCOL_SYSFS, {"/r0/sys", 0, 0, 0}},
        {STATUS_FOREIGN_NAMESPACE, PROTOCOL_SYSFS, {"/r0/sys", US, 0, FAKE_IS_FOREIGN}},
        {STATUS_TARGET_VANISHED, PROTOCOL_SYSFS, {"/r0/sys", US, 0, FAKE_VANISHES}},
        {STATUS_OK, PROTOCOL_SYSFS, {"/r0/sys", US, 0, 0}},
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
                ck_assert_uint_eq(reply->status, STATUS_UNSUPPORTED_FILE_SYSTEM);
                ck_assert_uint_eq(fake_calls(FAKE_MOVE_MOUNT), 0);
                end();
        }
}
END_TEST

/* A refusal of the last target is found before the first mount is made. */
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

static const struct {
        bool writable; /* the policy's */
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

/* The one call that asks a file system what it is. */
START_TEST(file_system_below_a_build_directory_is_not_asked) {
        start(0);
        ck_assert_int_eq(policy_add_build_directory(fake.policy, "/build", US), 0);
        ask(PROTOCOL_MOUNT, 0);
        ask_target(PROTOCOL_PROC, 0, &(struct fake_directory){"/build/proc", 0, FAKE_FUSE, 0});
        ask_target(PROTOCOL_SYSFS, 0, &(struct fake_directory){"/build/sys", 0, FAKE_FUSE, 0});
        fake_calls_reset();
        serve();
        ck_assert_uint_eq(reply->status, STATUS_OK);
        ck_assert_uint_eq(fake_calls(FAKE_FSTATFS), 0);
        ck_assert_uint_eq(unmount(reply->lease), STATUS_OK);

        ask_good(2);
        fake_calls_reset();
        serve();
        ck_assert_uint_eq(reply->status, STATUS_OK);
        ck_assert_uint_eq(fake_calls(FAKE_FSTATFS), 2);
        ck_assert_uint_eq(unmount(reply->lease), STATUS_OK);
        end();
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
                        ck_assert_ptr_nonnull(strstr(mount->options, ",hidepid=invisible"));
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
                ask_adopt();
                serve(); /* once */
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

/* Limits are for those who want more: this one counts already. */
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

/* Every call of a mount fails once, the questions about its targets among them. */
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
                questions = sizes[s] * 3; /* statx, readlink, statmount or fstatfs */
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

/* Nothing of the client's goes back to it, or into a terminal by way of it. */
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

int main(void) {
        return SUITE_RUN(
                "request", hello_tells_features_and_version, mounts_and_unmounts,
                decoders_refusal_is_the_answer, operation_that_is_not_in_the_table_does_not_exist,
                wants_one_descriptor_per_target,
                our_own_lack_of_descriptors_is_not_the_clients_fault,
                judges_each_target_and_tells_which, other_file_system_is_refused_without_a_mount,
                judges_all_targets_before_it_mounts_one, build_directory_opens_what_is_hidden,
                file_system_below_a_build_directory_is_not_asked, options_take_away_and_never_add,
                limit_of_targets_is_judged_after_the_targets,
                limit_of_mounts_is_refused_and_leaves_the_others,
                daemon_that_stops_mounts_no_more_but_unmounts, lease_that_is_not_held_is_unknown,
                unmount_that_fails_keeps_the_lease_and_tells_where,
                each_call_that_fails_is_answered_and_leaves_nothing, adopts_and_unmounts,
                adoption_of_what_is_not_ours_is_refused_alike, daemon_that_stops_adopts_no_more,
                adoption_needs_no_room, each_call_of_an_adoption_that_fails_loses_nothing,
                path_that_is_too_long_is_answered, answer_has_no_bytes_of_the_clients);
}
