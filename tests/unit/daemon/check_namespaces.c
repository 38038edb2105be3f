/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Where a thread is, and what it makes there, over the fake kernel: whatever fails, the thread
 * returns home, or reports that it can't.
 */

#include "daemon/namespaces.h"

#include "common/fd.h"
#include "common/protocol.h"
#include "daemon/kernel.h"
#include "daemon/template.h"
#include "daemon/unmount.h"
#include "tests/test.h"
#include "tests/unit/daemon/fake_kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

enum {
        MOUNT = PROTOCOL_NAMESPACE_MOUNT,
        PID = PROTOCOL_NAMESPACE_PID,
        NETWORK = PROTOCOL_NAMESPACE_NETWORK,
        CONTAINER = 7, /* the id of each of the client's namespaces */
        TRIES = 8,     /* to get home */
};

static const int kinds[NAMESPACES_KINDS] = {0, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWNET};
static const unsigned feature_sets[] = {0, FAKE_ALL_FEATURES};

static const struct ucred peer = {.pid = 4711, .uid = 1000, .gid = 1000};
static int fds[NAMESPACES_KINDS]; /* what the client sends */
static struct namespaces *entered;

/* This process is Check's, and is new for each test. */
static void prepare_to(bool search) {
        fake_features(FAKE_ALL_FEATURES);
        ck_assert_int_eq(unmount_prepare(), 0);
        ck_assert_int_eq(namespaces_prepare(search), 0);
        ck_assert_int_eq(unmount_isolate(), 0);
}

static void prepare(void) {
        prepare_to(false);
}

static void send_all(uint64_t id) {
        fds[0] = -EBADF;
        for (unsigned kind = MOUNT; kind < NAMESPACES_KINDS; kind++)
                fds[kind] = fake_namespace(kinds[kind], id);
}

static void close_all(void) {
        for (unsigned kind = 0; kind < NAMESPACES_KINDS; kind++)
                fds[kind] = fd_close(fds[kind]);
}

static void enter(void) {
        send_all(CONTAINER);
        ck_assert_uint_eq(namespaces_enter(fds, &peer, &entered).status, STATUS_OK);
}

static struct verdict refused(void) {
        struct verdict verdict;
        int before[NAMESPACES_KINDS];

        memcpy(before, fds, sizeof(fds));
        verdict = namespaces_enter(fds, &peer, &entered);
        ck_assert_uint_ne(verdict.status, STATUS_OK);
        ck_assert_uint_eq(verdict.target, STATUS_NO_TARGET);
        ck_assert_mem_eq(before, fds, sizeof(fds)); /* still the caller's */
        ck_assert_uint_eq(fake_where(), 0);
        return verdict;
}

/* ---- entering ---- */

START_TEST(enters_and_stays_until_it_is_freed) {
        unsigned descriptors;

        prepare();
        descriptors = descriptors_count();
        enter();
        ck_assert_uint_eq(entered->id, CONTAINER);
        ck_assert_uint_eq(entered->inode, FAKE_INODE(CONTAINER));
        ck_assert_uint_eq(fake_where(), CONTAINER);
        for (unsigned kind = 0; kind < NAMESPACES_KINDS; kind++)
                ck_assert_int_eq(fds[kind], -EBADF);
        ck_assert_ptr_null(namespaces_free(entered));
        ck_assert_uint_eq(fake_where(), 0);
        ck_assert_ptr_null(namespaces_free(NULL));
        ck_assert_uint_eq(descriptors_count(), descriptors);
}
END_TEST

START_TEST(needs_no_more_than_the_mount_namespace) {
        prepare();
        send_all(CONTAINER);
        fds[PID] = fd_close(fds[PID]);
        fds[NETWORK] = fd_close(fds[NETWORK]);
        ck_assert_uint_eq(namespaces_enter(fds, &peer, &entered).status, STATUS_OK);
        ck_assert_uint_eq(fake_where(), CONTAINER);
        namespaces_free(entered);
}
END_TEST

START_TEST(own_mount_namespace_is_no_other) {
        prepare();
        send_all(CONTAINER);
        fd_close(fds[MOUNT]);
        fds[MOUNT] = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
        ck_assert_uint_eq(namespaces_enter(fds, &peer, &entered).status, STATUS_OK);
        ck_assert_uint_eq(entered->id, 0);
        ck_assert_uint_eq(entered->inode, 0);
        ck_assert_uint_eq(fake_calls(FAKE_SETNS), 0);
        namespaces_free(entered);
        ck_assert_uint_eq(fake_calls(FAKE_SETNS), 0);
}
END_TEST

START_TEST(what_is_not_what_it_is_sent_as_is_named) {
        static const char *const names[] = {NULL, "ns/mnt", "ns/pid", "ns/net"};

        prepare();
        for (unsigned kind = MOUNT; kind < NAMESPACES_KINDS; kind++)
                for (unsigned i = 0; i < 3; i++) {
                        const int wrong[] = {
                                fake_namespace(CLONE_NEWUSER, CONTAINER),
                                fake_namespace(kinds[kind % 3 + 1], CONTAINER),
                                fake_directory(&(struct fake_directory){.path = "/x"}),
                        };
                        struct verdict verdict;

                        send_all(CONTAINER);
                        fd_close(fds[kind]);
                        fds[kind] = wrong[i];
                        verdict = refused();
                        ck_assert_uint_eq(verdict.status, STATUS_MALFORMED);
                        ck_assert_ptr_nonnull(strstr(verdict.text, names[kind]));
                        close_all();
                }
}
END_TEST

START_TEST(pid_namespace_must_have_the_peer_in_it) {
        const struct ucred unseen = {.uid = peer.uid, .gid = peer.gid};
        struct verdict verdict;

        prepare();
        send_all(CONTAINER);
        fake_hide_process(peer.pid);
        ck_assert_uint_eq(refused().status, STATUS_NOT_AUTHORISED);
        verdict = namespaces_enter(fds, &unseen, &entered); /* not visible from here */
        ck_assert_uint_eq(verdict.status, STATUS_FOREIGN_NAMESPACE);
        ck_assert_ptr_nonnull(strstr(verdict.text, "hostPID"));

        fake_hide_process(0);
        fake_calls_reset();
        fake_fail(FAKE_NAMESPACE, 4, 1, EPERM); /* after the three kinds */
        ck_assert_uint_eq(refused().status, STATUS_HOST_FAILED);
        /* Before Linux 6.12 that can't be checked. */
        fake_calls_reset();
        fake_fail(FAKE_NAMESPACE, 4, 1, ENOTTY);
        ck_assert_uint_eq(namespaces_enter(fds, &peer, &entered).status, STATUS_OK);
        namespaces_free(entered);
}
END_TEST

/* Whoever created the user namespace: only its mappings count. */
static const uid_t makers[] = {0, 1000};

START_TEST(user_namespace_without_root_is_entered) {
        prepare();
        for (unsigned i = 0; i < 2; i++) {
                unsigned descriptors;

                fake_own_by(makers[i], FAKE_MAPS_OTHERS);
                descriptors = descriptors_count();
                fake_calls_reset();
                enter();
                ck_assert_uint_eq(fake_calls(FAKE_FSOPEN), 1); /* one for both namespaces */
                namespaces_free(entered);
                ck_assert_uint_eq(descriptors_count(), descriptors);
        }
}
END_TEST

START_TEST(user_namespace_that_maps_root_is_refused) {
        static const unsigned maps[] = {
                FAKE_MAPS_UID_0 | FAKE_MAPS_OTHERS,
                FAKE_MAPS_GID_0 | FAKE_MAPS_OTHERS,
                FAKE_MAPS_UID_0 | FAKE_MAPS_GID_0 | FAKE_MAPS_OTHERS,
        };

        prepare();
        for (unsigned i = 0; i < 3 * 2 * 3; i++) {
                struct verdict verdict;

                fake_own_by(makers[i / 3 % 2], maps[i / 6]);
                send_all(CONTAINER);
                for (unsigned kind = PID; kind < PID + i % 3; kind++)
                        fds[kind] = fd_close(fds[kind]);
                verdict = refused();
                ck_assert_uint_eq(verdict.status, STATUS_NOT_AUTHORISED);
                ck_assert_ptr_nonnull(strstr(verdict.text, "is mapped in your user namespace"));
                close_all();
        }
}
END_TEST

/* Its maps can still be written: root has no mapping because there are no maps. */
START_TEST(user_namespace_without_maps_is_refused) {
        prepare();
        for (unsigned i = 0; i < 4; i++) {
                struct verdict verdict;

                fake_features(feature_sets[i / 2]);
                fake_own_by(makers[i % 2], 0);
                send_all(CONTAINER);
                verdict = refused();
                ck_assert_uint_eq(verdict.status, STATUS_NOT_AUTHORISED);
                ck_assert_ptr_nonnull(strstr(verdict.text, "gid_map"));
                close_all();
        }
}
END_TEST

START_TEST(peer_that_is_not_in_it_is_refused) {
        prepare();
        fake_own_by(0, FAKE_MAPS_UID_0 | FAKE_MAPS_GID_0);
        send_all(CONTAINER);
        ck_assert_ptr_nonnull(strstr(refused().text, "gid_map"));
        close_all();
}
END_TEST

START_TEST(where_ids_can_not_be_asked_for_the_maker_counts) {
        prepare();
        for (unsigned i = 0; i < 2; i++) {
                struct verdict verdict;

                if (i == 0)
                        fake_forget_noswap();
                else
                        fake_nest();
                fake_calls_reset();
                fake_own_by(1000, FAKE_MAPS_UID_0 | FAKE_MAPS_OTHERS);
                enter();
                namespaces_free(entered);
                fake_own_by(0, FAKE_MAPS_OTHERS);
                send_all(CONTAINER);
                verdict = refused();
                ck_assert_uint_eq(verdict.status, STATUS_NOT_AUTHORISED);
                ck_assert_ptr_nonnull(strstr(verdict.text, "Linux 6.4"));
                close_all();
                ck_assert_uint_eq(fake_calls(FAKE_CHOWN), 0);
        }
}
END_TEST

/* As by a system call filter: not the EPERM that means a mapped owner. */
START_TEST(chown_that_is_denied_shows_nothing) {
        struct verdict verdict;

        prepare();
        fake_own_by(1000, FAKE_MAPS_OTHERS);
        send_all(CONTAINER);
        fake_calls_reset();
        fake_fail(FAKE_CHOWN, 1, TRIES, EPERM);
        verdict = refused();
        ck_assert_uint_eq(verdict.status, STATUS_HOST_FAILED);
        ck_assert_int_eq(verdict.error, EPERM);
        ck_assert_ptr_nonnull(strstr(verdict.text, "join.conf"));
        ck_assert_uint_eq(fake_calls(FAKE_CHOWN), 1);
        close_all();
}
END_TEST

START_TEST(each_call_that_fails_leaves_the_thread_at_home) {
        unsigned descriptors, calls;

        prepare();
        fake_own_by(0, FAKE_MAPS_OTHERS);
        fake_calls_reset();
        enter();
        calls = fake_calls(FAKE_ANY);
        namespaces_free(entered);
        descriptors = descriptors_count();
        for (unsigned n = 1; n <= calls; n++) {
                send_all(CONTAINER);
                fake_calls_reset();
                fake_fail(FAKE_ANY, n, TRIES, ENOMEM);
                ck_assert_uint_eq(refused().status, STATUS_HOST_FAILED);
                close_all();
                ck_assert_uint_eq(descriptors_count(), descriptors);
        }
}
END_TEST

/* ---- going there for others' leases ---- */

START_TEST(finds_the_one_with_the_id) {
        int others[3];

        prepare();
        for (unsigned i = 0; i < 3; i++)
                others[i] = fake_namespace(CLONE_NEWNS, CONTAINER + i);
        fake_calls_reset();
        ck_assert_int_eq(namespaces_go(0), 0);
        ck_assert_uint_eq(fake_calls(FAKE_ANY), 0);
        for (unsigned i = 0; i < 6; i++) {
                ck_assert_int_eq(namespaces_go(CONTAINER + i % 3), 0);
                ck_assert_uint_eq(fake_where(), CONTAINER + i % 3);
        }
        fake_calls_reset();
        ck_assert_int_eq(namespaces_go(CONTAINER + 2), 0);
        ck_assert_uint_eq(fake_calls(FAKE_ANY), 0);
        ck_assert_int_eq(namespaces_go(0), 0);
        ck_assert_uint_eq(fake_where(), 0);

        fake_end_namespace(CONTAINER + 1);
        ck_assert_int_eq(namespaces_go(CONTAINER + 1), -ENOENT);
        ck_assert_uint_eq(fake_where(), 0);
        for (unsigned i = 0; i < 3; i++)
                fd_close(others[i]);
}
END_TEST

START_TEST(namespace_that_can_not_be_looked_for_is_not_gone) {
        int other;

        prepare();
        other = fake_namespace(CLONE_NEWNS, CONTAINER);
        fake_fail(FAKE_NAMESPACE, 1, 1, EPERM);
        ck_assert_int_eq(namespaces_go(CONTAINER), -EPERM);
        fake_calls_reset();
        fake_fail(FAKE_SETNS, 1, TRIES, ENOMEM);
        ck_assert_int_eq(namespaces_go(CONTAINER), -ENOMEM);
        ck_assert_uint_eq(fake_where(), 0);
        fd_close(other);
}
END_TEST

/*
 * Before Linux 6.12, and outside the first pid namespace: looks at processes, none of which is in
 * there.
 */
START_TEST(where_there_is_no_list_root_asks_each_process) {
        static const int errors[] = {ENOTTY, EPERM};
        int other, r;

        prepare_to(true);
        other = fake_namespace(CLONE_NEWNS, CONTAINER);
        for (unsigned i = 0; i < 2; i++) {
                fake_calls_reset();
                fake_fail(FAKE_NAMESPACE, 1, 1, errors[i]);
                r = namespaces_go(CONTAINER); /* root's rights differ from place to place */
                ck_assert_msg(r == -ENOENT || r == -EACCES, "%d", r);
                ck_assert_uint_gt(fake_calls(FAKE_NAMESPACE), 1);
        }
        fd_close(other);
}
END_TEST

START_TEST(where_there_is_no_list_nothing_is_gone) {
        static const int errors[] = {ENOTTY, EPERM};
        int other;

        prepare();
        other = fake_namespace(CLONE_NEWNS, CONTAINER);
        for (unsigned i = 0; i < 2; i++) {
                fake_calls_reset();
                fake_fail(FAKE_NAMESPACE, 1, 1, errors[i]);
                ck_assert_int_eq(namespaces_go(CONTAINER), -errors[i]);
                ck_assert_uint_eq(fake_calls(FAKE_NAMESPACE), 1);
        }
        fd_close(other);
}
END_TEST

START_TEST(daemon_that_does_not_join_says_so) {
        ck_assert_int_eq(namespaces_go(CONTAINER), -EOPNOTSUPP);
        ck_assert_int_eq(namespaces_go(0), 0);
        ck_assert(namespaces_return());
        ck_assert_uint_eq(fake_calls(FAKE_ANY), 0);
}
END_TEST

/* ---- returning home ---- */

START_TEST(thread_that_can_not_get_home_says_so) {
        static const enum fake_call calls[] = {FAKE_SETNS, FAKE_RETURN, FAKE_CHROOT};

        prepare();
        for (unsigned i = 0; i < 3; i++) {
                int other = fake_namespace(CLONE_NEWNS, CONTAINER + i);

                ck_assert_int_eq(namespaces_go(CONTAINER + i), 0);
                fake_calls_reset();
                fake_fail(calls[i], 1, TRIES, ENOMEM);
                ck_assert(!namespaces_return());
                ck_assert_int_eq(namespaces_go(0), 0); /* now it can */
                ck_assert_int_eq(namespaces_go(CONTAINER + i), 0);
                fake_calls_reset();
                fake_fail(calls[i], 1, TRIES - 1, ENOMEM);
                ck_assert(namespaces_return());
                ck_assert_uint_eq(fake_where(), 0);
                fd_close(other);
        }
}
END_TEST

START_TEST(comes_back_to_its_client) {
        prepare();
        enter();
        ck_assert_uint_eq(namespaces_here(), CONTAINER);
        ck_assert_int_eq(namespaces_go(0), 0);
        ck_assert_uint_eq(fake_where(), 0);
        fake_calls_reset();
        fake_fail(FAKE_SETNS, 1, TRIES, ENOMEM);
        ck_assert_int_eq(namespaces_go(CONTAINER), -ENOMEM);
        ck_assert_uint_eq(namespaces_here(), 0); /* and it knows */
        ck_assert_int_eq(namespaces_go(CONTAINER), 0);
        ck_assert_uint_eq(fake_where(), CONTAINER);
        ck_assert_uint_eq(fake_calls(FAKE_NAMESPACE), 0); /* without a search */
        namespaces_free(entered);
}
END_TEST

/* It would take its own mount namespace for the other, and the mounts there for gone. */
START_TEST(thread_that_is_half_way_home_is_nowhere) {
        prepare();
        enter();
        fake_calls_reset();
        fake_fail(FAKE_CHROOT, 1, TRIES, EPERM);
        ck_assert_int_eq(namespaces_go(0), -EPERM);
        ck_assert_uint_eq(fake_where(), 0);
        ck_assert_uint_ne(namespaces_here(), 0);
        ck_assert_uint_ne(namespaces_here(), CONTAINER);
        ck_assert_int_eq(namespaces_go(CONTAINER), 0);
        ck_assert_uint_eq(fake_where(), CONTAINER);
        namespaces_free(entered);
}
END_TEST

static void count(void *argument) {
        ++*(unsigned *)argument;
}

START_TEST(thread_that_is_left_in_another_network_takes_up_no_other_work) {
        unsigned runs = 0;

        prepare();
        enter();
        fake_calls_reset();
        fake_fail(FAKE_SETNS, 1, 1, ENOMEM);
        ck_assert_int_eq(namespaces_run_in_network(entered, count, &runs), -ENOMEM);
        ck_assert_uint_eq(runs, 0);
        fake_calls_reset();
        fake_fail(FAKE_SETNS, 2, TRIES - 1, ENOMEM);
        ck_assert_int_eq(namespaces_run_in_network(entered, count, &runs), 0);
        ck_assert_uint_eq(runs, 1);
        fake_calls_reset();
        fake_fail(FAKE_SETNS, 2, TRIES, ENOMEM);
        ck_assert_int_eq(namespaces_run_in_network(entered, count, &runs), 0);
        ck_assert_uint_eq(runs, 2);
        fake_calls_reset();
        namespaces_free(entered);
        ck_assert(!namespaces_return());
}
END_TEST

/* ---- mounts for a client ---- */

static struct templates *home, *derived;

static void derive(unsigned features) {
        fake_features(features);
        ck_assert_uint_eq(templates_new("label", &home).status, STATUS_OK);
        ck_assert_uint_eq(templates_offer_dev(home, 64 << 20).status, STATUS_OK);
        enter();
        derived = templates_derive(home, entered);
        ck_assert_ptr_nonnull(derived);
}

static void end_derived(void) {
        ck_assert_uint_eq(fake_where(), CONTAINER);
        ck_assert_ptr_null(templates_free(derived));
        namespaces_free(entered);
        ck_assert_ptr_null(templates_free(home));
}

/* Attaches a mount in the container, and checks what it shows. */
static void shows(enum template_kind kind, const char *what) {
        FD_AUTO int directory = fake_directory(
                &(struct fake_directory){.path = "/r/x", .mount_namespace = CONTAINER});
        struct template_clone clone;

        ck_assert_uint_eq(template_obtain(derived, kind, &clone).status, STATUS_OK);
        ck_assert_uint_eq(fake_where(), CONTAINER);
        ck_assert_uint_eq(mount_attach(clone.fd, directory).status, STATUS_OK);
        ck_assert_uint_eq(template_complete(derived, kind, clone.fd).status, STATUS_OK);
        ck_assert_ptr_nonnull(strstr(fake_mount_on(directory)->options, what));
        fake_uncover(directory);
        fd_close(clone.fd);
}

START_TEST(what_is_mounted_shows_the_namespaces_of_the_client) {
        prepare();
        for (unsigned f = 0; f < 2; f++) {
                unsigned descriptors = descriptors_count();

                derive(feature_sets[f]);
                for (unsigned twice = 0; twice < 2; twice++) {
                        shows(TEMPLATE_PROC, ",pidns=7");
                        shows(TEMPLATE_PROC_WRITABLE, ",pidns=7");
                        shows(TEMPLATE_SYSFS, ",net=7");
                        shows(TEMPLATE_DEV, "tmpfs,");
                }
                if (f)
                        shows(TEMPLATE_PROC_PIDS, ",pidns=7");
                end_derived();
                ck_assert_uint_eq(descriptors_count(), descriptors);
        }
}
END_TEST

/* Then no namespace is set, on any kernel. */
START_TEST(what_is_our_own_is_shown_as_at_home) {
        static const char *const paths[] = {NULL, NULL, "/proc/self/ns/pid", "/proc/self/ns/net"};

        prepare();
        fake_forget_pidns();
        ck_assert_uint_eq(templates_new("label", &home).status, STATUS_OK);
        send_all(CONTAINER);
        for (unsigned kind = PID; kind <= NETWORK; kind++) {
                fd_close(fds[kind]);
                fds[kind] = open(paths[kind], O_RDONLY | O_CLOEXEC);
        }
        ck_assert_uint_eq(namespaces_enter(fds, &peer, &entered).status, STATUS_OK);
        derived = templates_derive(home, entered);
        fake_calls_reset();
        shows(TEMPLATE_PROC, "proc,source=label,hidepid=ptraceable,ro");
        shows(TEMPLATE_SYSFS, "sysfs,source=label");
        ck_assert_uint_eq(fake_calls(FAKE_FSCONFIG_FD), 0);
        end_derived();
}
END_TEST

/* No process of ours enters a container to make one: the text says what to do instead. */
START_TEST(older_kernel_shows_no_other_pid_namespace) {
        struct template_clone clone;
        struct verdict verdict;

        prepare();
        derive(FAKE_ALL_FEATURES);
        fake_forget_pidns();
        verdict = template_obtain(derived, TEMPLATE_PROC, &clone);
        ck_assert_uint_eq(verdict.status, STATUS_FOREIGN_NAMESPACE);
        ck_assert_ptr_nonnull(strstr(verdict.text, "Linux 6.17"));
        shows(TEMPLATE_SYSFS, ",net=7");
        end_derived();
}
END_TEST

START_TEST(client_that_did_not_say_which_gets_none) {
        static const struct {
                unsigned kind;
                enum template_kind template;
        } lacks[] = {{PID, TEMPLATE_PROC}, {NETWORK, TEMPLATE_SYSFS}};

        prepare();
        for (unsigned i = 0; i < 2; i++) {
                struct template_clone clone;
                struct verdict verdict;

                derive(FAKE_ALL_FEATURES);
                entered->fds[lacks[i].kind] = fd_close(entered->fds[lacks[i].kind]);
                verdict = template_obtain(derived, lacks[i].template, &clone);
                ck_assert_uint_eq(verdict.status, STATUS_FOREIGN_NAMESPACE);
                ck_assert_ptr_nonnull(strstr(verdict.text, i ? "network" : "pid"));
                end_derived();
        }
}
END_TEST

static bool is_tried_again(enum fake_call call) {
        return call == FAKE_SETNS || call == FAKE_RETURN || call == FAKE_CHROOT ||
               call == FAKE_MESSAGE; /* which can't fail */
}

static void fails_at_each_call(enum template_kind kind) {
        struct template_clone clone;
        unsigned calls, descriptors;

        derived = templates_free(derived);
        descriptors = descriptors_count();
        derived = templates_derive(home, entered);
        fake_calls_reset();
        ck_assert_uint_eq(template_obtain(derived, kind, &clone).status, STATUS_OK);
        fd_close(clone.fd);
        calls = fake_calls(FAKE_ANY);
        for (unsigned n = 1; n <= calls; n++) {
                struct verdict verdict;

                derived = templates_free(derived);
                ck_assert_uint_eq(descriptors_count(), descriptors);
                derived = templates_derive(home, entered);
                fake_calls_reset();
                fake_fail(FAKE_ANY, n, 1, EIO);
                verdict = template_obtain(derived, kind, &clone);
                if (verdict.status == STATUS_OK) {
                        ck_assert(is_tried_again(fake_call_at(n)));
                        fd_close(clone.fd);
                } else {
                        ck_assert_uint_eq(verdict.status, STATUS_HOST_FAILED);
                        ck_assert_int_eq(verdict.error, EIO);
                }
                ck_assert_uint_eq(fake_where(), CONTAINER);
        }
}

START_TEST(each_call_that_fails_is_told) {
        prepare();
        for (unsigned f = 0; f < 2; f++) {
                derive(feature_sets[f]);
                fails_at_each_call(TEMPLATE_PROC);
                fails_at_each_call(TEMPLATE_SYSFS);
                end_derived();
        }
}
END_TEST

START_TEST(pid_namespace_that_is_not_below_ours_is_told) {
        struct template_clone clone;
        struct verdict verdict;

        prepare();
        derive(FAKE_ALL_FEATURES);
        fake_calls_reset();
        fake_fail(FAKE_FSCONFIG_FD, 1, 1, EINVAL);
        verdict = template_obtain(derived, TEMPLATE_PROC, &clone);
        ck_assert_uint_eq(verdict.status, STATUS_FOREIGN_NAMESPACE);
        ck_assert_str_eq(verdict.text, "the fake kernel refuses"); /* the kernel's own words */
        end_derived();
}
END_TEST

int main(void) {
        return SUITE_RUN(
                "namespaces", enters_and_stays_until_it_is_freed,
                needs_no_more_than_the_mount_namespace, own_mount_namespace_is_no_other,
                what_is_not_what_it_is_sent_as_is_named, pid_namespace_must_have_the_peer_in_it,
                user_namespace_without_root_is_entered, user_namespace_that_maps_root_is_refused,
                user_namespace_without_maps_is_refused, peer_that_is_not_in_it_is_refused,
                where_ids_can_not_be_asked_for_the_maker_counts, chown_that_is_denied_shows_nothing,
                each_call_that_fails_leaves_the_thread_at_home, finds_the_one_with_the_id,
                namespace_that_can_not_be_looked_for_is_not_gone,
                where_there_is_no_list_root_asks_each_process,
                where_there_is_no_list_nothing_is_gone, daemon_that_does_not_join_says_so,
                thread_that_can_not_get_home_says_so, comes_back_to_its_client,
                thread_that_is_half_way_home_is_nowhere,
                thread_that_is_left_in_another_network_takes_up_no_other_work,
                what_is_mounted_shows_the_namespaces_of_the_client,
                what_is_our_own_is_shown_as_at_home, older_kernel_shows_no_other_pid_namespace,
                client_that_did_not_say_which_gets_none, each_call_that_fails_is_told,
                pid_namespace_that_is_not_below_ours_is_told);
}
