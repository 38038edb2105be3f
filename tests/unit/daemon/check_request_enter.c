/* SPDX-License-Identifier: Apache-2.0 */

/* Requests of a client in a container, whose namespaces the thread enters. */

#include "tests/unit/daemon/log_capture.h"
#include "tests/unit/daemon/request_fixture.h"

#include <sched.h>

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
        return SUITE_RUN("request_enter", enter_is_for_those_who_may_join,
                         mounts_are_made_where_the_client_is,
                         enter_without_a_process_to_be_seen_is_a_failure,
                         enters_once_and_before_the_first_mount, so_many_of_a_user_are_inside,
                         what_is_to_be_kept_is_mounted_at_home_alone,
                         what_is_kept_at_home_is_released_from_inside,
                         thread_that_did_not_get_back_does_so_for_the_next_request,
                         lease_is_released_in_its_namespace,
                         lease_that_an_administrator_can_not_get_at_stays_its_holders,
                         lease_ends_with_its_namespace_and_not_before,
                         lease_is_adopted_where_it_is);
}
