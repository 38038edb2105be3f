/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Requests of one user over the fake kernel: composing them, serving them, and what must hold for
 * every reply.
 */

#include "daemon/request.h"

#include "daemon/log.h"
#include "tests/test.h"
#include "tests/unit/daemon/fake_context.h"
#include "tests/unit/daemon/feature_sets.h"

#include <errno.h>

enum { US = 1000 };

static struct fake_context fake;
static struct holder holders[2]; /* two connections of one user */
static struct holder *holder = &holders[0];
static struct request request;
static struct wire_request *const wire = &request.wire;
static struct fdpass_set *const fds = &request.fds; /* what came with it */
static struct wire_reply *const reply = &request.reply;

static inline void hold(void) {
        holder = &holders[0];
        for (unsigned i = 0; i < 2; i++)
                holders[i] = holder_of(US);
        request = (struct request){.decoded = VERDICT_OK};
}

static inline void start(unsigned features) {
        log_open(LOG_EMERG);
        fake_context_start(&fake, features);
        hold();
}

/* After an instance that left a lease of so many mounts, whose roots are sent to adopt it. */
static int left_on[PROTOCOL_TARGETS_MAX];
static struct record left;

static inline void ask(uint16_t operation, uint64_t lease);

static inline void ask_adopt(void) {
        fdpass_set_close(fds);
        ask(PROTOCOL_ADOPT, left.lease);
        for (unsigned i = 0; i < left.count; i++) {
                wire->targets[wire->n_targets++].file_system = left.file_systems[i];
                fds->fds[fds->count++] = fake_open_mount(left_on[i]);
        }
}

static inline void start_after(unsigned features, unsigned count, uid_t uid) {
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
static inline void forget_left(void) {
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

static inline void end(void) {
        fdpass_set_close(fds);
        ck_assert(LIST_EMPTY(&holders[0].leases) && LIST_EMPTY(&holders[1].leases));
        fake_context_end(&fake);
}

static inline void serve(void) {
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

static inline void ask(uint16_t operation, uint64_t lease) {
        *wire = (struct wire_request){
                .version = PROTOCOL_VERSION,
                .operation = operation,
                .cookie = 0x1122334455667788,
                .lease = lease,
        };
}

/* Adds a target, and its directory. */
static inline void ask_target(uint32_t file_system, uint32_t options,
                              const struct fake_directory *directory) {
        wire->targets[wire->n_targets++] =
                (struct wire_target){.file_system = file_system, .options = options};
        fds->fds[fds->count++] = fake_directory(directory);
}

/* Adds `count` valid targets, each in a place of its own. */
static inline void ask_good(unsigned count) {
        static char paths[PROTOCOL_TARGETS_MAX][32];

        fdpass_set_close(fds);
        ask(PROTOCOL_MOUNT, 0);
        for (unsigned i = 0; i < count; i++) {
                snprintf(paths[i], sizeof(paths[i]), "/r%u/%s", i / 2, i % 2 ? "sys" : "proc");
                ask_target(i % 2 ? PROTOCOL_SYSFS : PROTOCOL_PROC, 0,
                           &(struct fake_directory){.path = paths[i], .owner = US});
        }
}

static inline enum status unmount(uint64_t lease) {
        struct fdpass_set saved = *fds;

        *fds = (struct fdpass_set){0};
        ask(PROTOCOL_UNMOUNT, lease);
        serve();
        *fds = saved;
        return reply->status;
}

static const struct {
        enum status status;
        uint32_t file_system;
        struct fake_directory directory;
        const char *text; /* in the refusal; NULL: the status's own */
} bad[] = {
        {STATUS_NOT_A_DIRECTORY, PROTOCOL_SYSFS, {"/r0/sys", US, 0, FAKE_IS_FILE}},
        {STATUS_TARGET_VANISHED, PROTOCOL_SYSFS, {"/r0/sys", US, 0, FAKE_IS_DELETED}},
        {STATUS_TARGET_VANISHED, PROTOCOL_SYSFS, {"/r0/proc", US, 0, FAKE_IS_DELETED}},
        {STATUS_ALREADY_MOUNTED, PROTOCOL_SYSFS, {"/r0/sys", US, 0, FAKE_IS_ROOT}},
        /* The valid one's. */
        {STATUS_ALREADY_MOUNTED, PROTOCOL_PROC, {"/r0/proc", US, 0, 0}, "twice"},
        {STATUS_ALREADY_MOUNTED, PROTOCOL_SYSFS, {"/r0/proc", US, 0, 0}, "twice"},
        {STATUS_WRONG_NAME, PROTOCOL_SYSFS, {"/r1/proc", US, 0, 0}},
        {STATUS_WRONG_NAME, PROTOCOL_PROC, {"/r0/sys", 0, FAKE_FUSE, 0}},
        {STATUS_WRONG_NAME, PROTOCOL_DEV, {"/r0/sys", US, 0, 0}},
        {STATUS_NOT_A_DIRECTORY, PROTOCOL_DEV, {"/r0/dev", US, 0, FAKE_IS_FILE}},
        {STATUS_NOT_AUTHORISED, PROTOCOL_DEV, {"/r0/dev", US, FAKE_FUSE, 0}, "--build-directory"},
        {STATUS_NOT_AUTHORISED,
         PROTOCOL_SYSFS,
         {"/r0/sys", US, FAKE_FUSE, FAKE_IS_HIDDEN},
         "--build-directory"},
        {STATUS_NOT_AUTHORISED, PROTOCOL_SYSFS, {"/r0/sys", US + 1, 0, 0}, "--build-directory"},
        {STATUS_NOT_AUTHORISED, PROTOCOL_SYSFS, {"/r0/sys", 0, 0, 0}, "--build-directory"},
        {STATUS_FOREIGN_NAMESPACE, PROTOCOL_SYSFS, {"/r0/sys", US, 0, FAKE_IS_FOREIGN}},
        {STATUS_FOREIGN_NAMESPACE, PROTOCOL_SYSFS, {"/r0/sys", US, 0, FAKE_IS_DETACHED}},
        {STATUS_FOREIGN_NAMESPACE,
         PROTOCOL_SYSFS,
         {"/r0/sys", US, FAKE_FUSE, FAKE_IS_DETACHED | FAKE_IS_HIDDEN}},
        {STATUS_TARGET_VANISHED, PROTOCOL_SYSFS, {"/r0/sys", US, 0, FAKE_VANISHES}},
        {STATUS_OK, PROTOCOL_SYSFS, {"/r0/sys", US, 0, 0}},
        {STATUS_OK, PROTOCOL_DEV, {"/r0/dev", US, 0, 0}},
};

/* The answer to the request, as a check; the descriptors stay. */
static inline void serve_check(void) {
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

static inline uint64_t mount_kept(unsigned count) {
        ask_good(count);
        wire->flags = PROTOCOL_KEEP;
        serve();
        ck_assert_uint_eq(reply->status, STATUS_OK);
        ck_assert_uint_ne(reply->lease, 0);
        return reply->lease;
}
