/* SPDX-License-Identifier: Apache-2.0 */

/*
 * However the daemon was started, it serves with one capability in each thread; or it doesn't
 * serve.
 */

#include "common/fd.h"
#include "tests/test.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
        CLIENTS = 16,
};

#define SYS_ADMIN_ALONE "-all,+sys_admin"
#define SECUREBITS "+noroot,+noroot_locked,+no_setuid_fixup,+no_setuid_fixup_locked"

/* The value of "NAME:\tVALUE" in a thread's status. */
static void read_status(const char *path, const char *name, char *value, size_t size) {
        FILE *status = fopen(path, "re");
        size_t length = strlen(name);
        char line[256];

        ck_assert_msg(status != NULL, "%s: %s", path, strerror(errno));
        value[0] = '\0';
        while (fgets(line, sizeof(line), status))
                if (strncmp(line, name, length) == 0 && line[length] == ':')
                        snprintf(value, size, "%.*s", (int)strcspn(line + length + 2, "\n"),
                                 line + length + 2);
        fclose(status);
}

static void expect_thread_is_confined(const char *status) {
        static const struct {
                const char *name, *value;
        } lines[] = {
                {"CapPrm", "0000000000200000"}, {"CapEff", "0000000000200000"},
                {"CapBnd", "0000000000200000"}, {"CapInh", "0000000000000000"},
                {"CapAmb", "0000000000000000"}, {"NoNewPrivs", "1"},
        };
        char value[64];

        for (unsigned i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
                read_status(status, lines[i].name, value, sizeof(value));
                ck_assert_msg(strcmp(value, lines[i].value) == 0, "%s: %s is %s", status,
                              lines[i].name, value);
        }
}

static void expect_confined(const struct service *service, unsigned at_least) {
        char path[64], status[512];
        unsigned threads = 0;
        DIR *tasks;

        snprintf(path, sizeof(path), "/proc/%d/task", service->pid);
        tasks = opendir(path);
        ck_assert_ptr_nonnull(tasks);
        for (struct dirent *entry; (entry = readdir(tasks));) {
                if (entry->d_name[0] == '.')
                        continue;
                snprintf(status, sizeof(status), "%s/%s/status", path, entry->d_name);
                expect_thread_is_confined(status);
                threads++;
        }
        closedir(tasks);
        ck_assert_uint_ge(threads, at_least);
}

static void expect_confined_and_serving(struct service *service) {
        enum { THREADS = 2 + CLIENTS }; /* at least */
        int clients[CLIENTS];
        uint64_t lease;

        sandbox_make_root(USER_ALICE, "root");
        expect_confined(service, SERVICE_THREADS_MIN);
        for (unsigned i = 0; i < CLIENTS; i++) { /* this creates their threads */
                clients[i] = client_connect(service, USER_ALICE);
                client_hello(clients[i]);
        }
        expect_confined(service, THREADS);
        lease = client_hold_root(clients[0], USER_ALICE, sandbox_path("root"));
        expect_confined(service, THREADS);
        client_expect(client_unmount(clients[0], lease), STATUS_OK, 0, STATUS_NO_TARGET);
        client_hold_root(clients[1], USER_ALICE, sandbox_path("root"));
        for (unsigned i = 0; i < CLIENTS; i++)
                close(clients[i]);
        service_await_rest(service);
        expect_confined(service, SERVICE_THREADS_MIN);
        service_stop(service);
}

SANDBOX_TEST(root_with_all_capabilities_keeps_one) {
        struct service service = service_start_with("a", NULL);

        expect_confined_and_serving(&service);
}

/* As in the unit: the service manager has dropped all that it has settings for. */
SANDBOX_TEST(root_with_the_one_capability_keeps_it) {
        struct service service = service_start(&(struct service_plan){
                .name = "a",
                .wrapper = {"setpriv", "--bounding-set", SYS_ADMIN_ALONE, "--inh-caps",
                            SYS_ADMIN_ALONE, "--ambient-caps", SYS_ADMIN_ALONE, "--securebits",
                            SECUREBITS},
        });

        expect_confined_and_serving(&service);
}

SANDBOX_TEST(another_user_with_the_one_capability_keeps_it) {
        struct service service = service_start(&(struct service_plan){
                .name = "a",
                .uid = USER_DAEMON,
                .wrapper = {"setpriv", "--reuid", "60003", "--regid", "60003", "--clear-groups",
                            "--bounding-set", SYS_ADMIN_ALONE, "--inh-caps", SYS_ADMIN_ALONE,
                            "--ambient-caps", SYS_ADMIN_ALONE, "--securebits", SECUREBITS},
        });
        char path[64], uids[64];

        snprintf(path, sizeof(path), "/proc/%d/status", service.pid);
        read_status(path, "Uid", uids, sizeof(uids));
        ck_assert_str_eq(uids, "60003\t60003\t60003\t60003");
        expect_confined_and_serving(&service);
}

/* The daemon's own user is as foreign to it as any other. */
SANDBOX_TEST(daemon_of_another_user_goes_by_the_client_not_by_itself) {
        struct service service = service_start(&(struct service_plan){
                .name = "a",
                .uid = USER_DAEMON,
                .wrapper = {"setpriv", "--reuid", "60003", "--regid", "60003", "--clear-groups",
                            "--bounding-set", SYS_ADMIN_ALONE, "--inh-caps", SYS_ADMIN_ALONE,
                            "--ambient-caps", SYS_ADMIN_ALONE, "--securebits", SECUREBITS},
        });
        FD_AUTO int client = client_connect(&service, USER_ALICE), target = -EBADF;

        sandbox_make_root(USER_DAEMON, "root");
        target = sandbox_open(USER_DAEMON, sandbox_path("root/proc"));
        client_expect(client_mount(client, PROTOCOL_PROC, 0, target), STATUS_NOT_AUTHORISED, 0, 0);
        service_stop(&service);
}

/* ---- where that is impossible ---- */

static void expect_refused(const struct service_plan *plan, const char *text) {
        struct service service = service_spawn(plan);
        FD_AUTO int client = client_connect(&service, USER_ALICE);

        service_expect_refusal(&service, text);
        client_expect_closed(client);
}

SANDBOX_TEST(root_without_the_one_capability_is_refused) {
        expect_refused(
                &(struct service_plan){
                        .name = "a",
                        .wrapper = {"setpriv", "--bounding-set", "-sys_admin"},
                },
                "CAP_SYS_ADMIN");
}

SANDBOX_TEST(user_without_any_capability_is_refused) {
        expect_refused(
                &(struct service_plan){
                        .name = "a",
                        .uid = USER_DAEMON,
                        .wrapper = {"setpriv", "--reuid", "60003", "--regid", "60003",
                                    "--clear-groups", "--inh-caps", "-all"},
                },
                "CAP_SYS_ADMIN");
}

/* The daemon could write root's files, and without CAP_SETPCAP it can't change that. */
SANDBOX_TEST(root_with_the_one_capability_but_no_securebits_is_refused) {
        expect_refused(
                &(struct service_plan){
                        .name = "a",
                        .wrapper = {"setpriv", "--bounding-set", SYS_ADMIN_ALONE},
                },
                "securebits");
}

SANDBOX_TEST(bounding_set_that_cannot_be_shrunk_is_refused) {
        expect_refused(
                &(struct service_plan){
                        .name = "a",
                        .wrapper = {"setpriv", "--bounding-set", "-setpcap", "--securebits",
                                    "+noroot,+noroot_locked,+no_setuid_fixup,+no_setuid_fixup_"
                                    "locked",
                                    "--inh-caps", SYS_ADMIN_ALONE, "--ambient-caps",
                                    SYS_ADMIN_ALONE},
                },
                "bounding set");
}

int main(void) {
        TCase *tests = tcase_create("privileges");

        tcase_add_test(tests, root_with_all_capabilities_keeps_one);
        tcase_add_test(tests, root_with_the_one_capability_keeps_it);
        tcase_add_test(tests, another_user_with_the_one_capability_keeps_it);
        tcase_add_test(tests, daemon_of_another_user_goes_by_the_client_not_by_itself);
        tcase_add_test(tests, root_without_the_one_capability_is_refused);
        tcase_add_test(tests, user_without_any_capability_is_refused);
        tcase_add_test(tests, root_with_the_one_capability_but_no_securebits_is_refused);
        tcase_add_test(tests, bounding_set_that_cannot_be_shrunk_is_refused);
        return sandbox_run(tests);
}
