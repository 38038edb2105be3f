/* SPDX-License-Identifier: Apache-2.0 */

/* Requests with the KEEP flag, and replies that can't be delivered. */

#include "tests/unit/daemon/request_fixture.h"

/* ---- kept ---- */

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

int main(void) {
        return SUITE_RUN("request_keep", kept_lease_is_the_users,
                         kept_lease_that_is_not_let_go_stays_the_users,
                         administrator_ends_anybodys_lease, what_is_kept_can_not_be_adopted,
                         kept_lease_whose_reply_is_lost_is_released,
                         other_replies_that_are_lost_change_nothing,
                         kept_lease_that_can_not_be_taken_back_stays,
                         what_came_is_closed_and_clones_are_made_when_nobody_waits);
}
