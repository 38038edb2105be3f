/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Every limit at its edge: that many succeed, one more is refused with the limit's name, and
 * succeeds after a release. Then the limits of the host, which are reported as its failures; and
 * requests to a stopping daemon.
 */

#include "common/fd.h"
#include "daemon/template.h"
#include "tests/test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

/* ---- connections ---- */

/* The daemon speaks first, only to say that. */
static void expect_refused_connection(const struct service *service, uid_t uid,
                                      const char *option) {
        FD_AUTO int client = client_connect(service, uid);
        struct wire_reply reply = client_receive(client);

        client_expect(reply, STATUS_LIMIT_EXCEEDED, 0, STATUS_NO_TARGET);
        ck_assert_uint_eq(reply.operation, PROTOCOL_UNASKED);
        ck_assert_uint_eq(reply.cookie, 0);
        ck_assert_msg(strstr(reply.text, option), "%s isn't named in: %s", option, reply.text);
        client_expect_closed(client);
}

static int try_to_connect(const struct service *service, uid_t uid) {
        struct wire_request request = {.version = PROTOCOL_VERSION, .operation = PROTOCOL_HELLO};
        FD_AUTO int client = client_connect(service, uid);
        uint8_t bytes[WIRE_REQUEST_MAX];

        /* Fails if the connection is already refused. */
        client_try_send(client, bytes, wire_encode_request(&request, bytes), NULL, 0);
        return client_receive(client).status == STATUS_OK ? fd_take(&client) : -EDQUOT;
}

/* Other clients' disconnects take a moment, so there may be no room yet. */
static int connect_when_there_is_room(const struct service *service, uid_t uid) {
        int client;

        sandbox_wait_for((client = try_to_connect(service, uid)) >= 0);
        return client;
}

SANDBOX_TEST(connections_per_user_are_limited) {
        struct service service = service_start_with("a", "--max-connections-per-user=3");
        int clients[3], bob;

        for (unsigned i = 0; i < 3; i++)
                clients[i] = connect_when_there_is_room(&service, USER_ALICE);
        for (unsigned i = 0; i < 3; i++)
                expect_refused_connection(&service, USER_ALICE, "--max-connections-per-user");
        bob = connect_when_there_is_room(&service, USER_BOB);

        client_hello(clients[0]);
        close(clients[1]);
        clients[1] = connect_when_there_is_room(&service, USER_ALICE);
        expect_refused_connection(&service, USER_ALICE, "--max-connections-per-user");
        for (unsigned i = 0; i < 3; i++)
                close(clients[i]);
        close(bob);
        service_stop(&service);
}

SANDBOX_TEST(connections_are_limited) {
        struct service service = service_start_with("a", "--max-connections=3");
        int clients[3];

        for (unsigned i = 0; i < 3; i++)
                clients[i] = connect_when_there_is_room(&service, i ? USER_ALICE : USER_BOB);
        expect_refused_connection(&service, USER_ALICE, "--max-connections");
        expect_refused_connection(&service, USER_BOB, "--max-connections");
        for (unsigned i = 0; i < 3; i++)
                client_hello(clients[i]);

        close(clients[0]);
        clients[0] = connect_when_there_is_room(&service, USER_ALICE);
        expect_refused_connection(&service, USER_BOB, "--max-connections");
        for (unsigned i = 0; i < 3; i++)
                close(clients[i]);
        service_stop(&service);
}

/* ---- the default limits ---- */

enum {
        PER_USER = 512,
        USERS = 4,
        FIRST_USER = 64000,
        BEYOND = 40, /* more than are refused at a time */
};

/* Whether a daemon started from now on may open that many descriptors. */
static bool allow_descriptors(rlim_t count) {
        struct rlimit limit;

        ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
        if (limit.rlim_max < count)
                limit.rlim_max = count;
        limit.rlim_cur = limit.rlim_max;
        return setrlimit(RLIMIT_NOFILE, &limit) == 0;
}

static void connect_all(const struct service *service, uid_t uid, int *clients) {
        for (unsigned i = 0; i < PER_USER; i++)
                clients[i] = connect_when_there_is_room(service, uid);
}

static void close_all(const int *clients, unsigned count) {
        for (unsigned i = 0; i < count; i++)
                close(clients[i]);
}

/* Fewer mounts leave more room for connections. */
SANDBOX_TEST(a_user_has_512_connections_by_default) {
        static int clients[PER_USER];
        struct service service;

        if (!allow_descriptors(16384)) {
                test_skip_report("a_user_has_512_connections_by_default",
                                 "impossible here: RLIMIT_NOFILE is below 16384");
                return;
        }
        service = service_start_with("a", "--max-mounts=2048");
        connect_all(&service, USER_ALICE, clients);
        for (unsigned i = 0; i < BEYOND; i++)
                expect_refused_connection(&service, USER_ALICE, "--max-connections-per-user");
        for (unsigned i = 0; i < PER_USER; i++)
                client_hello(clients[i]);
        close(connect_when_there_is_room(&service, USER_BOB));
        close(clients[0]);
        clients[0] = connect_when_there_is_room(&service, USER_ALICE);
        expect_refused_connection(&service, USER_ALICE, "--max-connections-per-user");

        close_all(clients, PER_USER);
        service_await_rest(&service);
        sandbox_wait_for(service_count_fds(&service) == service.fds);
        service_stop(&service);
}

SANDBOX_TEST(all_users_have_2048_connections_by_default) {
        static int clients[USERS * PER_USER];
        struct service service;

        if (!allow_descriptors(65536)) {
                test_skip_report("all_users_have_2048_connections_by_default",
                                 "impossible here: RLIMIT_NOFILE is below 65536");
                return;
        }
        service = service_start_with("a", NULL);
        for (unsigned i = 0; i < USERS; i++)
                connect_all(&service, FIRST_USER + i, clients + i * PER_USER);
        for (unsigned i = 0; i < BEYOND; i++)
                expect_refused_connection(&service, USER_ALICE, "connections is reached");
        expect_refused_connection(&service, FIRST_USER, "--max-connections-per-user");
        for (unsigned i = 0; i < USERS * PER_USER; i++)
                client_hello(clients[i]);
        close(clients[0]);
        clients[0] = connect_when_there_is_room(&service, USER_ALICE);
        expect_refused_connection(&service, USER_ALICE, "connections is reached");

        close_all(clients, USERS * PER_USER);
        service_await_rest(&service);
        sandbox_wait_for(service_count_fds(&service) == service.fds);
        service_stop(&service);
        ck_assert(!service_has_logged(&service, "LimitNOFILE="));
}

/* ---- mounts ---- */

static void expect_limit(struct wire_reply reply, const char *option) {
        client_expect(reply, STATUS_LIMIT_EXCEEDED, 0, STATUS_NO_TARGET);
        ck_assert_msg(strstr(reply.text, option), "%s isn't named in: %s", option, reply.text);
}

SANDBOX_TEST(mounts_per_user_are_limited) {
        struct service service = service_start_with("a", "--max-mounts-per-user=4");
        FD_AUTO int alice = client_connect(&service, USER_ALICE),
                    second = client_connect(&service, USER_ALICE),
                    bob = client_connect(&service, USER_BOB), third = -EBADF;
        uint64_t lease;

        for (char name[] = "0"; name[0] < '4'; name[0]++)
                sandbox_make_root(USER_ALICE, name);
        sandbox_make_root(USER_BOB, "bob");
        lease = client_hold_root(alice, USER_ALICE, sandbox_path("0"));
        client_hold_root(second, USER_ALICE, sandbox_path("1"));
        expect_limit(client_mount_root(alice, USER_ALICE, sandbox_path("2")),
                     "--max-mounts-per-user");
        client_hold_root(bob, USER_BOB, sandbox_path("bob"));

        client_expect(client_unmount(alice, lease), STATUS_OK, 0, STATUS_NO_TARGET);
        third = sandbox_open(USER_ALICE, sandbox_path("3/proc"));
        client_expect(client_mount(alice, PROTOCOL_PROC, 0, third), STATUS_OK, 0, STATUS_NO_TARGET);
        /* One is left, two are requested. */
        expect_limit(client_mount_root(alice, USER_ALICE, sandbox_path("2")),
                     "--max-mounts-per-user");
        ck_assert_uint_eq(sandbox_count_mounts(0, service.source), 5);

        /* A disconnect returns the charge, too. */
        close(fd_take(&second));
        sandbox_wait_for(client_mount_root(alice, USER_ALICE, sandbox_path("2")).status ==
                         STATUS_OK);
        service_stop(&service);
}

SANDBOX_TEST(mounts_are_limited) {
        struct service service = service_start_with("a", "--max-mounts=4");
        FD_AUTO int alice = client_connect(&service, USER_ALICE),
                    bob = client_connect(&service, USER_BOB);
        uint64_t lease;

        sandbox_make_root(USER_ALICE, "0");
        sandbox_make_root(USER_ALICE, "1");
        sandbox_make_root(USER_BOB, "bob");
        lease = client_hold_root(alice, USER_ALICE, sandbox_path("0"));
        client_hold_root(alice, USER_ALICE, sandbox_path("1"));
        expect_limit(client_mount_root(bob, USER_BOB, sandbox_path("bob")), "--max-mounts");
        client_expect(client_unmount(alice, lease), STATUS_OK, 0, STATUS_NO_TARGET);
        client_hold_root(bob, USER_BOB, sandbox_path("bob"));
        expect_limit(client_mount_root(alice, USER_ALICE, sandbox_path("0")), "--max-mounts");
        service_stop(&service);
}

SANDBOX_TEST(targets_per_request_are_limited) {
        struct service service = service_start_with("a", "--max-targets=2");
        FD_AUTO int client = client_connect(&service, USER_ALICE);
        struct wire_request request = {
                .operation = PROTOCOL_MOUNT,
                .n_targets = 3,
                .targets = {{PROTOCOL_PROC, 0}, {PROTOCOL_SYSFS, 0}, {PROTOCOL_PROC, 0}},
        };
        int targets[3];

        sandbox_make_root(USER_ALICE, "0");
        sandbox_make_root(USER_ALICE, "1");
        targets[0] = sandbox_open(USER_ALICE, sandbox_path("0/proc"));
        targets[1] = sandbox_open(USER_ALICE, sandbox_path("0/sys"));
        targets[2] = sandbox_open(USER_ALICE, sandbox_path("1/proc"));
        expect_limit(client_call(client, &request, targets, 3), "--max-targets");
        ck_assert_uint_eq(sandbox_count_mounts(0, service.source), 0);
        client_hold_root(client, USER_ALICE, sandbox_path("0"));
        for (unsigned i = 0; i < 3; i++)
                close(targets[i]);
        service_stop(&service);
}

SANDBOX_TEST(limits_that_the_host_cannot_hold_are_refused_at_start) {
        static const struct {
                const char *descriptors, *option, *text;
        } rows[] = {
                {"--nofile=1000:1000", NULL, "RLIMIT_NOFILE of 1000"},
                {"--nofile=9000:9000", "--max-mounts=9000", "--max-mounts=9000"},
                {"--nofile=9000:9000", "--max-connections=1000", "--max-connections=1000"},
        };

        for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct service service = service_spawn(&(struct service_plan){
                        .name = "a",
                        .start = SERVICE_LISTENS,
                        .wrapper = {"prlimit", rows[i].descriptors},
                        .options = {rows[i].option},
                });

                service_expect_refusal(&service, rows[i].text);
        }
}

/* The number after `text` in the only line that has it; 0: none. */
static unsigned read_log(const struct service *service, const char *text) {
        FILE *log = fopen(service->log, "re");
        unsigned number = 0, lines = 0;
        const char *found;
        char line[1024];

        ck_assert_ptr_nonnull(log);
        while (fgets(line, sizeof(line), log))
                if ((found = strstr(line, text))) {
                        number = strtoul(found + strlen(text), NULL, 10);
                        lines++;
                }
        fclose(log);
        ck_assert_uint_le(lines, 1);
        return number;
}

static struct service start_among_few_descriptors(const char *descriptors, const char *option) {
        struct service service = service_start(&(struct service_plan){
                .name = "a",
                .start = SERVICE_LISTENS,
                .wrapper = {"prlimit", descriptors},
                .options = {option},
        });

        sandbox_wait_for(service_has_logged(&service, "LimitNOFILE="));
        return service;
}

SANDBOX_TEST(mounts_that_nobody_asked_for_give_way_to_the_host) {
        struct service service =
                start_among_few_descriptors("--nofile=2048:2048", "--max-connections=16");
        int client = client_connect(&service, USER_ALICE), target;
        unsigned mounts = read_log(&service, "limited to 16 connections and ");

        ck_assert_uint_gt(mounts, 16);
        ck_assert_uint_lt(mounts, 2048);
        for (unsigned i = 0; i < mounts; i++) {
                char name[16];

                snprintf(name, sizeof(name), "%u", i);
                sandbox_make_root(USER_ALICE, name);
                client_hold(client, USER_ALICE, sandbox_path("%u/proc", i), PROTOCOL_PROC, 0);
        }
        sandbox_make_root(USER_ALICE, "root");
        target = sandbox_open(USER_ALICE, sandbox_path("root/proc"));
        expect_limit(client_mount(client, PROTOCOL_PROC, 0, target), "mounts is reached");
        close(target);
        close(client);
        service_stop(&service);
}

SANDBOX_TEST(limits_that_fit_are_not_told_of) {
        struct service service = service_start(&(struct service_plan){
                .name = "a",
                .start = SERVICE_LISTENS,
                .wrapper = {"prlimit", "--nofile=2048:2048"},
                .options = {"--max-connections=16", "--max-mounts=100"},
        });

        service_stop(&service);
        ck_assert(!service_has_logged(&service, "LimitNOFILE="));
}

/* And each of them can be served while all exist. */
SANDBOX_TEST(connections_that_nobody_asked_for_give_way_to_the_host) {
        struct service service =
                start_among_few_descriptors("--nofile=4096:4096", "--max-mounts=1000");
        unsigned count = read_log(&service, "limited to ");
        static int clients[PER_USER];
        char name[16];

        descriptors_raise();
        ck_assert_uint_gt(count, 16);
        ck_assert_uint_lt(count, PER_USER);
        for (unsigned i = 0; i < count; i++) {
                clients[i] = connect_when_there_is_room(&service, USER_ALICE);
                snprintf(name, sizeof(name), "%u", i);
                client_hold_root(clients[i], USER_ALICE, sandbox_make_root(USER_ALICE, name));
        }
        expect_refused_connection(&service, USER_ALICE, "connections is reached");
        close_all(clients, count);
        sandbox_wait_for(sandbox_count_mounts(0, service.source) == 0);
        service_stop(&service);
}

/* ---- the host ---- */

/* Lets the daemon open `more` descriptors than it has now. */
static struct rlimit starve(const struct service *service, unsigned more) {
        struct rlimit before, starved;

        ck_assert_int_eq(prlimit(service->pid, RLIMIT_NOFILE, NULL, &before), 0);
        starved = (struct rlimit){service_count_fds(service) + more, before.rlim_max};
        ck_assert_int_eq(prlimit(service->pid, RLIMIT_NOFILE, &starved, NULL), 0);
        return before;
}

/*
 * Clones made ahead need no further descriptor, and new ones can't be made: that many roots get
 * theirs, the next doesn't.
 */
static void expect_clones_then_starved(struct service *service, int client) {
        struct rlimit before = starve(service, 2);
        uint64_t leases[TEMPLATE_AHEAD];
        struct wire_reply reply;

        for (unsigned i = 0; i < TEMPLATE_AHEAD; i++) {
                char name[16];

                snprintf(name, sizeof(name), "ahead-%u", i);
                leases[i] =
                        client_hold_root(client, USER_ALICE, sandbox_make_root(USER_ALICE, name));
        }
        reply = client_mount_root(client, USER_ALICE, sandbox_path("root"));
        client_expect(reply, STATUS_HOST_FAILED, EMFILE, 0);
        ck_assert_uint_eq(sandbox_count_mounts(0, service->source), 2 * TEMPLATE_AHEAD);
        for (unsigned i = 0; i < TEMPLATE_AHEAD; i++)
                client_expect(client_unmount(client, leases[i]), STATUS_OK, 0, STATUS_NO_TARGET);
        ck_assert_int_eq(prlimit(service->pid, RLIMIT_NOFILE, &before, NULL), 0);
}

/* Alice requests proc and sys while the daemon can open only `more` descriptors. */
static void expect_starved(struct service *service, int client, unsigned more, uint32_t target) {
        struct rlimit before = starve(service, more);

        client_expect(client_mount_root(client, USER_ALICE, sandbox_path("root")),
                      STATUS_HOST_FAILED, EMFILE, target);
        ck_assert_uint_eq(sandbox_count_mounts(0, service->source), 0);
        client_hello(client);
        sandbox_wait_for(service_count_fds(service) == service->fds + 1);
        ck_assert_int_eq(prlimit(service->pid, RLIMIT_NOFILE, &before, NULL), 0);
}

SANDBOX_TEST(daemon_without_descriptors_says_so_and_recovers) {
        struct service service = service_start_with("a", NULL);
        struct wire_request request = {.operation = PROTOCOL_HELLO};
        FD_AUTO int client = client_connect(&service, USER_ALICE);
        bool clones = client_call(client, &request, NULL, 0).flags & PROTOCOL_FEATURE_CLONES;

        sandbox_make_root(USER_ALICE, "root");
        expect_starved(&service, client, 0, STATUS_NO_TARGET);
        expect_starved(&service, client, 1, STATUS_NO_TARGET);
        /*
         * The targets arrive. A mount that isn't cloned takes two descriptors, one of which stays.
         */
        if (clones)
                expect_clones_then_starved(&service, client);
        else {
                expect_starved(&service, client, 2, 0);
                expect_starved(&service, client, 4, 1);
        }
        client_hold_root(client, USER_ALICE, sandbox_path("root"));
        sandbox_wait_for(service_count_fds(&service) == service.fds + 1 + 2);
        service_stop(&service);
}

/* With one more descriptor each time, until they suffice. */
SANDBOX_TEST(dev_for_which_descriptors_do_not_suffice_leaves_nothing) {
        struct service service = service_start_with("a", NULL);
        FD_AUTO int client = client_connect(&service, USER_ALICE), dev = -EBADF;
        struct wire_reply reply = {.status = STATUS_HOST_FAILED};
        struct sandbox_mount mount;

        client_hello(client);
        sandbox_make_root(USER_ALICE, "root");
        sandbox_make_directory(USER_ALICE, 0755, "root/dev");
        dev = sandbox_open(USER_ALICE, sandbox_path("root/dev"));
        for (unsigned more = 0; reply.status != STATUS_OK; more++) {
                struct rlimit before = starve(&service, more);
                bool is_mounted;

                reply = client_mount(client, PROTOCOL_DEV, 0, dev);
                is_mounted = sandbox_find_mount(0, sandbox_path("root/dev"), &mount);
                ck_assert_int_eq(is_mounted, reply.status == STATUS_OK);
                if (!is_mounted) {
                        client_expect(reply, STATUS_HOST_FAILED, EMFILE,
                                      more == 0 ? STATUS_NO_TARGET : 0);
                        sandbox_wait_for(service_count_fds(&service) == service.fds + 1);
                }
                ck_assert_uint_le(more, 16);
                ck_assert_int_eq(prlimit(service.pid, RLIMIT_NOFILE, &before, NULL), 0);
        }
        client_expect(client_unmount(client, reply.lease), STATUS_OK, 0, STATUS_NO_TARGET);
        ck_assert(!sandbox_find_mount(0, sandbox_path("root/dev"), &mount));
        service_stop(&service);
}

SANDBOX_TEST(connection_that_finds_no_descriptor_waits_for_one) {
        struct service service = service_start_with("a", NULL);
        FD_AUTO int client = client_connect(&service, USER_ALICE), second = -EBADF;
        struct rlimit before;

        client_hello(client);
        before = starve(&service, 0);
        second = client_connect(&service, USER_ALICE);
        sandbox_wait_for(service_has_logged(&service, "cannot accept connections"));
        client_hello(client);
        ck_assert_int_eq(prlimit(service.pid, RLIMIT_NOFILE, &before, NULL), 0);
        client_hello(second);
        service_stop(&service);
}

/*
 * Fills the namespace: each recursive bind doubles what is below "fill", until that fails; then its
 * parts, each half as large as the last, fill the rest.
 */
static bool fill_mount_namespace(void) {
        const char *tree = sandbox_path("fill");
        int parts = 0;

        ck_assert_int_eq(mkdir(tree, 0755), 0);
        ck_assert_int_eq(mount("fill", tree, "tmpfs", 0, NULL), 0);
        for (; parts < 20; parts++) {
                const char *part = sandbox_path("fill/%d", parts);

                ck_assert_int_eq(mkdir(part, 0755), 0);
                if (mount(tree, part, NULL, MS_BIND | MS_REC, NULL) < 0)
                        break;
        }
        for (int i = parts; i-- > 0;) {
                const char *rest = sandbox_path("rest%d", i);

                ck_assert_int_eq(mkdir(rest, 0755), 0);
                if (mount(sandbox_path("fill/%d", i), rest, NULL, MS_BIND | MS_REC, NULL) < 0)
                        ck_assert_int_eq(errno, ENOSPC);
        }
        return parts < 20;
}

static void make_spare_mount(const char *name) {
        ck_assert_int_eq(mkdir(sandbox_path("%s", name), 0755), 0);
        ck_assert_int_eq(mount("spare", sandbox_path("%s", name), "tmpfs", 0, NULL), 0);
}

SANDBOX_TEST(full_mount_table_is_the_hosts_refusal_and_named) {
        struct service service = service_start_with("a", NULL);
        FD_AUTO int client = client_connect(&service, USER_ALICE);
        struct wire_reply reply;

        sandbox_make_root(USER_ALICE, "root");
        make_spare_mount("first");
        make_spare_mount("second");
        if (!fill_mount_namespace()) {
                test_skip_report("full_mount_table_is_the_hosts_refusal_and_named",
                                 "fs.mount-max is above a million");
                service_stop(&service);
                return;
        }
        reply = client_mount_root(client, USER_ALICE, sandbox_path("root"));
        client_expect(reply, STATUS_HOST_FAILED, ENOSPC, 0);
        ck_assert_msg(strstr(reply.text, "fs.mount-max"), "%s", reply.text);

        /* Room for one: the second is refused, and the first is undone. */
        ck_assert_int_eq(umount(sandbox_path("first")), 0);
        reply = client_mount_root(client, USER_ALICE, sandbox_path("root"));
        client_expect(reply, STATUS_HOST_FAILED, ENOSPC, 1);
        ck_assert_int_eq(sandbox_rmdir(USER_ALICE, sandbox_path("root/proc")), 0);
        sandbox_make_directory(USER_ALICE, 0755, "root/proc");

        ck_assert_int_eq(umount(sandbox_path("second")), 0);
        client_hold_root(client, USER_ALICE, sandbox_path("root"));
        service_stop(&service);
}

enum { DEV_MOUNTS = 9 };

/* A /dev has several mounts: whichever exceeds the limit, none is left. */
SANDBOX_TEST(dev_for_which_there_is_no_room_leaves_nothing) {
        struct service service = service_start_with("a", NULL);
        FD_AUTO int client = client_connect(&service, USER_ALICE), dev = -EBADF;

        sandbox_make_root(USER_ALICE, "root");
        sandbox_make_directory(USER_ALICE, 0755, "root/dev");
        dev = sandbox_open(USER_ALICE, sandbox_path("root/dev"));
        for (int i = 0; i < DEV_MOUNTS; i++) {
                char name[16];

                snprintf(name, sizeof(name), "spare%d", i);
                make_spare_mount(name);
        }
        if (!fill_mount_namespace()) {
                test_skip_report("dev_for_which_there_is_no_room_leaves_nothing",
                                 "fs.mount-max is above a million");
                service_stop(&service);
                return;
        }
        for (int i = 0; i < DEV_MOUNTS; i++) {
                struct wire_reply reply = client_mount(client, PROTOCOL_DEV, 0, dev);

                client_expect(reply, STATUS_HOST_FAILED, ENOSPC, 0);
                ck_assert_msg(strstr(reply.text, "fs.mount-max"), "%s", reply.text);
                ck_assert_int_eq(sandbox_rmdir(USER_ALICE, sandbox_path("root/dev")), 0);
                fd_close(dev);
                sandbox_make_directory(USER_ALICE, 0755, "root/dev");
                dev = sandbox_open(USER_ALICE, sandbox_path("root/dev"));
                ck_assert_int_eq(umount(sandbox_path("spare%d", i)), 0);
        }
        client_expect(client_mount(client, PROTOCOL_DEV, 0, dev), STATUS_OK, 0, STATUS_NO_TARGET);
        service_stop(&service);
}

/* ---- stopping ---- */

enum {
        STOPPING_CLIENTS = 4,
        STOPPING_REQUESTS = 150, /* of a client: what its socket holds without being read */
};

static void pipeline_mounts(int client, const int *targets) {
        struct wire_request request = {
                .version = PROTOCOL_VERSION,
                .operation = PROTOCOL_MOUNT,
                .n_targets = 1,
                .targets = {{PROTOCOL_PROC, 0}},
        };
        uint8_t bytes[WIRE_REQUEST_MAX];

        for (unsigned i = 0; i < STOPPING_REQUESTS; i++) {
                request.cookie = i;
                client_send(client, bytes, wire_encode_request(&request, bytes), &targets[i], 1);
        }
}

/* Replies in order, successes first. Returns the number of refusals. */
static unsigned read_replies(int client) {
        unsigned refused = 0;

        for (unsigned i = 0; i < STOPPING_REQUESTS; i++) {
                struct wire_reply reply = client_receive(client);

                ck_assert_uint_eq(reply.cookie, i);
                if (reply.status == STATUS_OK && refused == 0)
                        continue;
                client_expect(reply, STATUS_SHUTTING_DOWN, 0, STATUS_NO_TARGET);
                refused++;
        }
        client_expect_closed(client);
        return refused;
}

SANDBOX_TEST(stopping_daemon_answers_what_it_has_received_and_releases_all) {
        static int targets[STOPPING_CLIENTS * STOPPING_REQUESTS];
        struct service service = service_start_with("a", NULL);
        int clients[STOPPING_CLIENTS];
        unsigned refused = 0;
        char name[16];

        for (unsigned i = 0; i < STOPPING_CLIENTS * STOPPING_REQUESTS; i++) {
                snprintf(name, sizeof(name), "%u", i);
                sandbox_make_root(USER_ALICE, name);
                targets[i] = sandbox_open(USER_ALICE, sandbox_path("%u/proc", i));
        }
        for (unsigned c = 0; c < STOPPING_CLIENTS; c++) {
                clients[c] = client_connect(&service, USER_ALICE);
                client_hello(clients[c]);
        }
        ck_assert_int_eq(kill(service.pid, SIGSTOP), 0);
        for (unsigned c = 0; c < STOPPING_CLIENTS; c++)
                pipeline_mounts(clients[c], targets + c * STOPPING_REQUESTS);
        ck_assert_int_eq(kill(service.pid, SIGTERM), 0);
        ck_assert_int_eq(kill(service.pid, SIGCONT), 0);
        for (unsigned c = 0; c < STOPPING_CLIENTS; c++)
                refused += read_replies(clients[c]);
        ck_assert_uint_gt(refused, 0);

        ck_assert_int_eq(service_wait(&service), 0);
        ck_assert_uint_eq(sandbox_count_mounts(0, service.source), 0);
        for (unsigned c = 0; c < STOPPING_CLIENTS; c++)
                close(clients[c]);
        for (unsigned i = 0; i < STOPPING_CLIENTS * STOPPING_REQUESTS; i++)
                close(targets[i]);
}

int main(void) {
        TCase *tests = tcase_create("limits");

        tcase_add_test(tests, connections_per_user_are_limited);
        tcase_add_test(tests, connections_are_limited);
        tcase_add_test(tests, a_user_has_512_connections_by_default);
        tcase_add_test(tests, all_users_have_2048_connections_by_default);
        tcase_add_test(tests, mounts_per_user_are_limited);
        tcase_add_test(tests, mounts_are_limited);
        tcase_add_test(tests, targets_per_request_are_limited);
        tcase_add_test(tests, limits_that_the_host_cannot_hold_are_refused_at_start);
        tcase_add_test(tests, mounts_that_nobody_asked_for_give_way_to_the_host);
        tcase_add_test(tests, limits_that_fit_are_not_told_of);
        tcase_add_test(tests, connections_that_nobody_asked_for_give_way_to_the_host);
        tcase_add_test(tests, daemon_without_descriptors_says_so_and_recovers);
        tcase_add_test(tests, dev_for_which_descriptors_do_not_suffice_leaves_nothing);
        tcase_add_test(tests, connection_that_finds_no_descriptor_waits_for_one);
        tcase_add_test(tests, full_mount_table_is_the_hosts_refusal_and_named);
        tcase_add_test(tests, dev_for_which_there_is_no_room_leaves_nothing);
        tcase_add_test(tests, stopping_daemon_answers_what_it_has_received_and_releases_all);
        return sandbox_run(tests);
}
