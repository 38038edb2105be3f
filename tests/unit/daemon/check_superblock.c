/* SPDX-License-Identifier: Apache-2.0 */

/*
 * How superblocks are created, over the fake kernel: from the recipe, in the daemon's own
 * namespaces, and without leftovers after a failure. Their contents on the real kernel:
 * check_superblock_shown.
 */

#include "daemon/superblock.h"

#include "common/fd.h"
#include "common/protocol.h"
#include "daemon/mount.h"
#include "daemon/namespaces.h"
#include "daemon/unmount.h"
#include "tests/test.h"
#include "tests/unit/daemon/fake_kernel.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>

enum {
        PID = PROTOCOL_NAMESPACE_PID,
        NETWORK = PROTOCOL_NAMESPACE_NETWORK,
        CONTAINER = 7, /* the id of each of the client's namespaces */
        TRIES = 8,     /* to change namespaces */
        UNTOUCHED = 4711,
};

static const struct superblock_recipe
        proc = {.file_system = "proc",
                .attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC,
                .options = {{"a", "1"}, {"b", NULL}, {"c", "3"}, {"d", NULL}, {"e", "5"}}},
        sysfs = {.file_system = "sysfs", .options = {{"ro", NULL}}},
        tmpfs = {.file_system = "tmpfs"};

static struct namespaces *entered;

static void prepare(void) {
        fake_features(FAKE_ALL_FEATURES);
        ck_assert_int_eq(unmount_prepare(), 0);
        ck_assert_int_eq(namespaces_prepare(false), 0);
        ck_assert_int_eq(unmount_isolate(), 0);
}

/* Enters a container that shares no namespace with the daemon. */
static void enter(void) {
        const struct ucred peer = {.pid = 4711, .uid = 1000, .gid = 1000};
        int fds[NAMESPACES_KINDS] = {-EBADF, fake_namespace(CLONE_NEWNS, CONTAINER),
                                     fake_namespace(CLONE_NEWPID, CONTAINER),
                                     fake_namespace(CLONE_NEWNET, CONTAINER)};

        prepare();
        ck_assert_uint_eq(namespaces_enter(fds, &peer, &entered).status, STATUS_OK);
        fake_calls_reset();
}

static void leave(void) {
        ck_assert_uint_eq(fake_where(), CONTAINER);
        entered = namespaces_free(entered);
}

/* Mounts it, checks it, and detaches it again. */
static void expect(int fd, const char *options, unsigned attributes) {
        uint64_t place = namespaces_here();
        FD_AUTO int directory =
                fake_directory(&(struct fake_directory){.path = "/r/x", .mount_namespace = place});

        ck_assert_uint_eq(mount_attach(fd, directory).status, STATUS_OK);
        ck_assert_str_eq(fake_mount_on(directory)->options, options);
        ck_assert_uint_eq(fake_mount_on(directory)->attributes, attributes);
        fake_uncover(directory);
        fd_close(fd);
}

static void makes(const struct superblock_recipe *recipe, const char *options) {
        int fd = -EBADF;

        ck_assert_uint_eq(superblock_make(recipe, "label", entered, &fd).status, STATUS_OK);
        expect(fd, options, recipe->attributes);
}

static struct verdict refuses(const struct superblock_recipe *recipe) {
        unsigned descriptors = descriptors_count();
        int fd = UNTOUCHED;
        struct verdict verdict = superblock_make(recipe, "label", entered, &fd);

        ck_assert_uint_ne(verdict.status, STATUS_OK);
        ck_assert_uint_eq(verdict.target, STATUS_NO_TARGET);
        ck_assert_int_eq(fd, UNTOUCHED);
        ck_assert_uint_eq(descriptors_count(), descriptors);
        return verdict;
}

/* ---- at home ---- */

START_TEST(applies_the_recipe) {
        prepare();
        makes(&tmpfs, "tmpfs,source=label");
        makes(&sysfs, "sysfs,source=label,ro");
        makes(&proc, "proc,source=label,a=1,b,c=3,d,e=5");
        ck_assert_uint_eq(sizeof(proc.options) / sizeof(proc.options[0]), SUPERBLOCK_OPTIONS_MAX);
}
END_TEST

/* fsopen, source, each option, create, fsmount: the kernel has a message for those in between. */
START_TEST(each_failed_call_is_reported_and_leaves_nothing) {
        unsigned calls;

        prepare();
        fake_calls_reset();
        makes(&proc, "proc,source=label,a=1,b,c=3,d,e=5");
        calls = 1 + 1 + SUPERBLOCK_OPTIONS_MAX + 1 + 1;
        for (unsigned n = 1; n <= calls; n++) {
                struct verdict verdict;
                bool configures = n > 1 && n < calls;

                fake_calls_reset();
                fake_fail(FAKE_ANY, n, 1, EPERM);
                verdict = refuses(&proc);
                ck_assert_uint_eq(verdict.status, STATUS_HOST_FAILED);
                ck_assert_int_eq(verdict.error, EPERM);
                ck_assert_int_eq(strcmp(verdict.text, "the fake kernel refuses") == 0, configures);
                ck_assert_uint_gt(strlen(verdict.text), 0);
                ck_assert_uint_eq(fake_calls(FAKE_FSMOUNT), n == calls);
        }
}
END_TEST

/* ---- for a client in a container ---- */

START_TEST(shows_the_clients_namespaces_and_returns_to_them) {
        unsigned descriptors;

        enter();
        descriptors = descriptors_count();
        makes(&proc, "proc,source=label,a=1,b,c=3,d,e=5,pidns=7");
        makes(&sysfs, "sysfs,source=label,ro,net=7");
        makes(&tmpfs, "tmpfs,source=label");
        ck_assert_uint_eq(descriptors_count(), descriptors);
        leave();
}
END_TEST

START_TEST(passes_none_of_our_own_namespaces) {
        enter();
        fake_forget_pidns();
        entered->ours[PID] = entered->ours[NETWORK] = true;
        makes(&proc, "proc,source=label,a=1,b,c=3,d,e=5");
        makes(&sysfs, "sysfs,source=label,ro");
        ck_assert_uint_eq(fake_calls(FAKE_FSCONFIG_FD), 0);
        leave();
}
END_TEST

START_TEST(refuses_a_client_that_sent_no_namespace) {
        static const struct {
                const struct superblock_recipe *recipe;
                unsigned kind;
                const char *text;
        } rows[] = {{&proc, PID, "needs your pid namespace: send it with enter"},
                    {&sysfs, NETWORK, "needs your network namespace: send it with enter"}};

        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct verdict verdict;

                enter();
                entered->fds[rows[i].kind] = fd_close(entered->fds[rows[i].kind]);
                verdict = refuses(rows[i].recipe);
                ck_assert_uint_eq(verdict.status, STATUS_FOREIGN_NAMESPACE);
                ck_assert_ptr_nonnull(strstr(verdict.text, rows[i].text));
                ck_assert_uint_eq(fake_calls(FAKE_FSOPEN), 0);
                leave();
        }
}
END_TEST

START_TEST(refuses_another_pid_namespace_on_older_kernels) {
        struct verdict verdict;

        enter();
        fake_forget_pidns();
        verdict = refuses(&proc);
        ck_assert_uint_eq(verdict.status, STATUS_FOREIGN_NAMESPACE);
        ck_assert_ptr_nonnull(strstr(verdict.text, "Linux 6.17"));
        makes(&sysfs, "sysfs,source=label,ro,net=7");
        leave();
}
END_TEST

/* EINVAL is about this namespace, any other error about the host. */
START_TEST(rejected_pid_namespace_is_the_clients_fault) {
        static const struct {
                int error;
                enum status status;
        } rows[] = {{EINVAL, STATUS_FOREIGN_NAMESPACE}, {ENOMEM, STATUS_HOST_FAILED}};

        enter();
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct verdict verdict;

                fake_calls_reset();
                fake_fail(FAKE_FSCONFIG_FD, 1, 1, rows[i].error);
                verdict = refuses(&proc);
                ck_assert_uint_eq(verdict.status, rows[i].status);
                ck_assert_str_eq(verdict.text,
                                 "the fake kernel refuses"); /* the kernel's message */
        }
        leave();
}
END_TEST

/* ---- going there and back ---- */

START_TEST(creates_nothing_if_the_thread_can_not_go_home) {
        static const struct superblock_recipe *const recipes[] = {&proc, &sysfs, &tmpfs};

        enter();
        for (size_t i = 0; i < sizeof(recipes) / sizeof(recipes[0]); i++) {
                struct verdict verdict;

                fake_calls_reset();
                fake_fail(FAKE_SETNS, 1, TRIES, ENOMEM);
                verdict = refuses(recipes[i]);
                ck_assert_uint_eq(verdict.status, STATUS_HOST_FAILED);
                ck_assert_int_eq(verdict.error, ENOMEM);
                ck_assert_uint_eq(fake_calls(FAKE_FSOPEN), 0);
                ck_assert_uint_eq(fake_where(), CONTAINER);
        }
        leave();
}
END_TEST

START_TEST(is_destroyed_if_the_thread_can_not_go_back) {
        struct verdict verdict;

        enter();
        fake_fail(FAKE_SETNS, 2, TRIES, ENOMEM); /* the first one goes home */
        verdict = refuses(&tmpfs);
        ck_assert_uint_eq(verdict.status, STATUS_HOST_FAILED);
        ck_assert_int_eq(verdict.error, ENOMEM);
        ck_assert_uint_eq(fake_where(), 0);
        ck_assert_uint_eq(namespaces_here(), 0);
        namespaces_free(entered);
}
END_TEST

START_TEST(sysfs_needs_the_clients_network_namespace) {
        struct verdict verdict;

        enter();
        fake_fail(FAKE_SETNS, 2, 1, EPERM);
        verdict = refuses(&sysfs);
        ck_assert_uint_eq(verdict.status, STATUS_HOST_FAILED);
        ck_assert_int_eq(verdict.error, EPERM);
        ck_assert_uint_eq(fake_calls(FAKE_FSOPEN), 0);
        leave();
}
END_TEST

int main(void) {
        return SUITE_RUN("superblock", applies_the_recipe,
                         each_failed_call_is_reported_and_leaves_nothing,
                         shows_the_clients_namespaces_and_returns_to_them,
                         passes_none_of_our_own_namespaces, refuses_a_client_that_sent_no_namespace,
                         refuses_another_pid_namespace_on_older_kernels,
                         rejected_pid_namespace_is_the_clients_fault,
                         creates_nothing_if_the_thread_can_not_go_home,
                         is_destroyed_if_the_thread_can_not_go_back,
                         sysfs_needs_the_clients_network_namespace);
}
