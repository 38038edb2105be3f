/* SPDX-License-Identifier: Apache-2.0 */

#include "client/namespaces.h"

#include "common/fd.h"
#include "tests/test.h"
#include "tests/unit/client/scripted.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct {
        enum protocol_namespace kind;
        const char *name;
} known[NAMESPACES_MAX] = {
        {PROTOCOL_NAMESPACE_MOUNT, "mnt"},
        {PROTOCOL_NAMESPACE_PID, "pid"},
        {PROTOCOL_NAMESPACE_NETWORK, "net"},
};

static struct wire_request request;
static int fds[NAMESPACES_MAX];

static void close_all(void) {
        for (uint32_t i = 0; i < request.n_targets; i++)
                close(fds[i]);
}

/* Of the process, whatever the thread has. */
static bool is_own(int fd, const char *name) {
        struct stat opened, own;
        char path[64];

        snprintf(path, sizeof(path), "/proc/%d/ns/%s", getpid(), name);
        ck_assert_int_eq(fstat(fd, &opened), 0);
        ck_assert_int_eq(stat(path, &own), 0);
        return opened.st_dev == own.st_dev && opened.st_ino == own.st_ino;
}

static void expect_all(void) {
        ck_assert_uint_eq(request.n_targets, NAMESPACES_MAX);
        for (uint32_t i = 0; i < NAMESPACES_MAX; i++) {
                ck_assert_uint_eq(request.targets[i].file_system, known[i].kind);
                ck_assert(is_own(fds[i], known[i].name));
        }
}

START_TEST(the_request_has_them_all_in_order_and_nothing_else) {
        memset(&request, 'x', sizeof(request));
        ck_assert_int_eq(namespaces_open(&request, fds), 0);
        expect_all();
        ck_assert_uint_eq(request.operation, PROTOCOL_ENTER);
        ck_assert_uint_eq(request.lease, 0);
        ck_assert_uint_eq(request.flags, 0);
        for (uint32_t i = 0; i < NAMESPACES_MAX; i++) {
                ck_assert_uint_eq(request.targets[i].options, 0);
                ck_assert_int_eq(fcntl(fds[i], F_GETFD), FD_CLOEXEC);
                /* Not O_PATH: the daemon enters it. */
                ck_assert_int_eq(fcntl(fds[i], F_GETFL) & (O_ACCMODE | O_PATH), O_RDONLY);
        }
        close_all();
}
END_TEST

static void *open_elsewhere(void *userdata) {
        int *result = userdata;

        *result = unshare(CLONE_NEWNS | CLONE_NEWNET);
        if (*result == 0)
                *result = namespaces_open(&request, fds);
        return NULL;
}

START_TEST(they_are_those_of_the_process_on_any_thread) {
        pthread_t thread;
        int result;

        ck_assert_int_eq(pthread_create(&thread, NULL, open_elsewhere, &result), 0);
        pthread_join(thread, NULL);
        ck_assert_int_eq(result, 0);
        expect_all();
        close_all();
}
END_TEST

START_TEST(a_shortage_is_the_callers_and_leaves_none_open) {
        const int *filled = descriptors_leave((unsigned)_i, scripted.root);
        const int before[NAMESPACES_MAX] = {77, 78, 79};

        memcpy(fds, before, sizeof(fds));
        ck_assert_int_eq(namespaces_open(&request, fds), -EMFILE);
        ck_assert_mem_eq(fds, before, sizeof(fds));
        for (int i = 0; i < _i; i++) { /* as many as before can be opened */
                fds[i] = fcntl(scripted.root, F_DUPFD_CLOEXEC, 0);
                ck_assert_int_ge(fds[i], 0);
        }
        for (int i = 0; i < _i; i++)
                close(fds[i]);
        descriptors_give_back(filled);
}
END_TEST

/* What /proc has of the files, and what is made of that. */
static const struct {
        const char *there[NAMESPACES_MAX + 1];
        int result;
        uint32_t n;
        enum protocol_namespace kinds[NAMESPACES_MAX];
} views[] = {
        {{"mnt"}, 0, 1, {PROTOCOL_NAMESPACE_MOUNT}},
        {{"mnt", "pid"}, 0, 2, {PROTOCOL_NAMESPACE_MOUNT, PROTOCOL_NAMESPACE_PID}},
        {{"mnt", "net"}, 0, 2, {PROTOCOL_NAMESPACE_MOUNT, PROTOCOL_NAMESPACE_NETWORK}},
        {{"pid", "net"}, -ENOENT, 0, {0}},
        {{NULL}, -ENOENT, 0, {0}},
};

START_TEST(all_but_the_mount_namespace_may_be_missing) {
        if (!cover_proc(views[_i].there))
                test_skip("impossible here: there is no mount namespace to be had");
        ck_assert_int_eq(namespaces_open(&request, fds), views[_i].result);
        uncover_proc();
        if (views[_i].result == 0) {
                ck_assert_uint_eq(request.n_targets, views[_i].n);
                for (uint32_t i = 0; i < request.n_targets; i++)
                        ck_assert_uint_eq(request.targets[i].file_system, views[_i].kinds[i]);
                close_all();
        }
}
END_TEST

int main(void) {
        Suite *suite = suite_create("namespaces");
        TCase *tests = scripted_case(suite, "namespaces");

        tcase_add_test(tests, the_request_has_them_all_in_order_and_nothing_else);
        tcase_add_test(tests, they_are_those_of_the_process_on_any_thread);
        tcase_add_loop_test(tests, a_shortage_is_the_callers_and_leaves_none_open, 0,
                            NAMESPACES_MAX);
        tcase_add_loop_test(tests, all_but_the_mount_namespace_may_be_missing, 0,
                            N_ELEMENTS(views));
        return suite_run_all(suite);
}
