/* SPDX-License-Identifier: Apache-2.0 */

/* How the daemon starts, what it runs beside, and how it ends. */

#include "common/fd.h"
#include "tests/test.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

/* A Unix socket, bound to `path` or connected to it. */
static int make_socket(int type, const char *path, bool bound) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0), r;

        strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
        r = bound ? bind(fd, (struct sockaddr *)&address, sizeof(address))
                  : connect(fd, (struct sockaddr *)&address, sizeof(address));
        ck_assert_msg(r == 0, "%s: %s", path, strerror(errno));
        return fd;
}

/* ---- starting ---- */

SANDBOX_TEST(start_without_a_socket_is_refused) {
        struct service service =
                service_spawn(&(struct service_plan){.name = "a", .start = SERVICE_BARE});

        service_expect_refusal(&service, "no socket");
}

SANDBOX_TEST(start_with_a_stream_socket_is_refused) {
        struct service service = service_spawn(
                &(struct service_plan){.name = "a", .start = SERVICE_ACTIVATED_STREAM});
        int client = make_socket(SOCK_STREAM, service.socket, false);

        service_expect_refusal(&service, "SOCK_SEQPACKET");
        close(client);
}

SANDBOX_TEST(start_with_a_datagram_socket_is_refused) {
        struct service service = service_spawn(
                &(struct service_plan){.name = "a", .start = SERVICE_ACTIVATED_DATAGRAM});
        FD_AUTO int client = make_socket(SOCK_DGRAM, service.socket, false);

        ck_assert_int_eq(send(client, "x", 1, 0), 1);
        service_expect_refusal(&service, "SOCK_SEQPACKET");
}

SANDBOX_TEST(start_with_a_passed_socket_and_listen_is_refused) {
        struct service service = service_spawn(&(struct service_plan){
                .name = "a",
                .options = {"--listen", sandbox_path("other.socket")},
        });
        int client = client_connect(&service, USER_ALICE);

        service_expect_refusal(&service, "--listen");
        close(client);
        ck_assert_int_lt(access(sandbox_path("other.socket"), F_OK), 0);
}

SANDBOX_TEST(wrong_option_is_refused_by_name) {
        struct service service = service_spawn(&(struct service_plan){
                .name = "a", .start = SERVICE_BARE, .options = {"--max-mounts=many"}});

        service_expect_refusal(&service, "--max-mounts=many");
}

/* As a hardened host, or a container runtime, mounts it. */
static void mount_proc_of_processes_alone(void) {
        if (unshare(CLONE_NEWNS) < 0 || mount("proc", "/proc", "proc", 0, "subset=pid") < 0)
                _exit(99);
}

SANDBOX_TEST(proc_that_shows_processes_alone_is_named) {
        static const char *const options[] = {NULL, "--sweep"};

        for (unsigned i = 0; i < 2; i++) {
                struct service service = service_spawn(&(struct service_plan){
                        .name = "a",
                        .start = options[i] ? SERVICE_BARE : SERVICE_LISTENS,
                        .options = {options[i]},
                        .enter = mount_proc_of_processes_alone,
                });

                service_expect_refusal(&service, "mount a procfs without subset=pid on /proc");
        }
}

static void expect_refused_place(const char *place, const char *advice) {
        char option[300], text[600];
        struct service service;

        snprintf(option, sizeof(option), "--build-directory=%s", place);
        snprintf(text, sizeof(text), "%s: %s", option, advice);
        service = service_spawn(
                &(struct service_plan){.name = "a", .start = SERVICE_BARE, .options = {option}});
        service_expect_refusal(&service, text);
}

/* It would be compared with the kernel's path of a target, and never match. */
SANDBOX_TEST(build_directory_through_a_link_is_refused_with_what_it_leads_to) {
        char advice[300], link[256];

        sandbox_make_directory(0, 0755, "disk");
        sandbox_make_directory(0, 0755, "disk/build");
        snprintf(link, sizeof(link), "%s", sandbox_path("var"));
        ck_assert_int_eq(symlink(sandbox_path("disk"), link), 0);
        ck_assert_int_eq(symlink("nowhere", sandbox_path("dangling")), 0);
        ck_assert_int_eq(mknod(sandbox_path("file"), S_IFREG | 0644, 0), 0);

        snprintf(advice, sizeof(advice), "the path contains a symbolic link: give %s",
                 sandbox_path("disk/build"));
        expect_refused_place(sandbox_path("var/build"), advice);
        snprintf(advice, sizeof(advice), "the path contains a symbolic link: give %s",
                 sandbox_path("disk"));
        expect_refused_place(link, advice);
        expect_refused_place(sandbox_path("dangling"),
                             "the path contains a dangling symbolic link");
        expect_refused_place(sandbox_path("file"), "not a directory");
}

SANDBOX_TEST(build_directory_that_is_not_there_yet_is_logged_and_works_once_it_is) {
        char option[300];
        struct service service;
        int client;

        snprintf(option, sizeof(option), "--build-directory=%s:%d", sandbox_path("late"),
                 USER_ALICE);
        service = service_start_with("a", option);
        ck_assert(service_has_logged(&service, "no such directory: create it"));
        sandbox_make_directory(0, 0755, "late");
        sandbox_make_directory(0, 0755, "late/proc");
        client = client_connect(&service, USER_ALICE);
        client_hold(client, USER_ALICE, sandbox_path("late/proc"), PROTOCOL_PROC, 0);
        close(client);
        service_stop(&service);
}

/* Users of removed options must be told. */
SANDBOX_TEST(options_of_the_shared_workers_are_unknown) {
        static const char *const gone[] = {
                "--workers=8",
                "--max-lost-workers=16",
                "--max-lost-workers-per-user=4",
        };

        for (unsigned i = 0; i < sizeof(gone) / sizeof(gone[0]); i++) {
                struct service service = service_spawn(&(struct service_plan){
                        .name = "a", .start = SERVICE_BARE, .options = {gone[i]}});
                char text[64];

                snprintf(text, sizeof(text), "%s: no such option", gone[i]);
                service_expect_refusal(&service, text);
        }
}

/* ---- listening by itself ---- */

static struct service listen_at(const char *name, const char *socket) {
        return service_start(
                &(struct service_plan){.name = name, .start = SERVICE_LISTENS, .socket = socket});
}

SANDBOX_TEST(listening_daemon_serves_and_removes_its_socket_at_the_end) {
        struct service service = listen_at("a", NULL);
        FD_AUTO int client = client_connect(&service, USER_ALICE);

        sandbox_make_root(USER_ALICE, "root");
        client_hold_root(client, USER_ALICE, sandbox_path("root"));
        service_stop(&service);
        ck_assert_int_lt(access(sandbox_path("a.socket"), F_OK), 0);
        ck_assert_int_eq(errno, ENOENT);
}

/* Before anybody changes its group. */
SANDBOX_TEST(listening_daemons_socket_is_for_its_owner_and_group) {
        struct stat stat_before;
        struct service service = service_spawn(
                &(struct service_plan){.name = "a",
                                       .start = SERVICE_LISTENS,
                                       .wrapper = {"sh", "-c", "umask 0; exec \"$@\"", "sh"}});

        ck_assert_int_eq(stat(service.socket, &stat_before), 0);
        ck_assert_uint_eq(stat_before.st_mode & 07777, 0660);
        close(client_connect(&service, USER_ALICE));
        service_stop(&service);
}

SANDBOX_TEST(stale_socket_is_replaced) {
        struct service service;

        close(make_socket(SOCK_SEQPACKET, sandbox_path("a.socket"), true));
        ck_assert_int_eq(access(sandbox_path("a.socket"), F_OK), 0);
        service = listen_at("a", NULL);
        service_stop(&service);
}

SANDBOX_TEST(socket_in_use_is_refused_and_left_alone) {
        struct service first = listen_at("a", NULL);
        struct service second = service_spawn(&(struct service_plan){
                .name = "b", .start = SERVICE_LISTENS, .socket = first.socket});
        FD_AUTO int client = -EBADF;

        service_expect_refusal(&second, "in use");
        client = client_connect(&first, USER_ALICE);
        client_hello(client);
        service_stop(&first);
}

/* connect(2) returns the same error for it as for a stale socket. */
SANDBOX_TEST(file_that_is_no_socket_is_refused_and_left_alone) {
        const char *path = sandbox_path("a.socket");
        struct service service;
        struct stat file;

        close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
        service = service_spawn(&(struct service_plan){
                .name = "a", .start = SERVICE_BARE, .options = {"--listen", path}});
        service_expect_refusal(&service, path);
        ck_assert_int_eq(lstat(path, &file), 0);
        ck_assert(S_ISREG(file.st_mode));
}

/* ---- two sockets ---- */

#define SECOND sandbox_path("second.socket")

/* The same running daemon, through its other socket. */
static struct service at_second_socket(const struct service *service) {
        struct service second = *service;

        snprintf(second.socket, sizeof(second.socket), "%s", SECOND);
        ck_assert_int_eq(chown(second.socket, 0, GROUP_CLIENTS), 0);
        ck_assert_int_eq(chmod(second.socket, 0660), 0);
        return second;
}

static void expect_limit(struct wire_reply reply, const char *option) {
        client_expect(reply, STATUS_LIMIT_EXCEEDED, 0, STATUS_NO_TARGET);
        ck_assert_msg(strstr(reply.text, option), "%s isn't named in: %s", option, reply.text);
}

/* One lease at each socket, which together reach Alice's limit. */
static void use_all_that_is_allowed(const struct service *services, int *clients) {
        char name[] = "0";

        for (unsigned i = 0; i < 2; i++, name[0]++) {
                clients[i] = client_connect(&services[i], USER_ALICE);
                client_hold_root(clients[i], USER_ALICE, sandbox_make_root(USER_ALICE, name));
        }
        ck_assert_uint_eq(sandbox_count_mounts(0, services->source), 4);
        sandbox_make_root(USER_ALICE, "more");
        for (unsigned i = 0; i < 2; i++) {
                FD_AUTO int one_more = client_connect(&services[i], USER_ALICE), bob = -EBADF;

                expect_limit(client_receive(one_more), "--max-connections-per-user");
                expect_limit(client_mount_root(clients[i], USER_ALICE, sandbox_path("more")),
                             "--max-mounts-per-user");
                bob = client_connect(&services[i], USER_BOB);
                client_hello(bob);
        }
}

static void start_at_two(enum service_start start, struct service services[static 2]) {
        const char *const listen = start == SERVICE_LISTENS ? "--listen" : NULL;

        services[0] = service_start(
                &(struct service_plan){.name = "a",
                                       .start = start,
                                       .options = {"--max-connections-per-user=2",
                                                   "--max-mounts-per-user=4", listen, SECOND}});
        services[1] = at_second_socket(services);
}

static void serve_at_two(enum service_start start) {
        struct service services[2];
        int clients[2];

        start_at_two(start, services);
        use_all_that_is_allowed(services, clients);
        service_stop(services);
        for (unsigned i = 0; i < 2; i++) {
                client_expect_closed(clients[i]);
                close(clients[i]);
                /* Passed sockets are left to the service manager. */
                ck_assert_int_eq(access(services[i].socket, F_OK),
                                 start == SERVICE_LISTENS ? -1 : 0);
        }
}

SANDBOX_TEST(passed_sockets_are_served_alike) {
        serve_at_two(SERVICE_ACTIVATED_TWICE);
}

SANDBOX_TEST(sockets_of_its_own_are_served_alike) {
        serve_at_two(SERVICE_LISTENS);
}

SANDBOX_TEST(daemon_is_not_idle_while_a_lease_is_held_by_its_second_socket) {
        struct service service = service_spawn(
                               &(struct service_plan){.name = "a",
                                                      .start = SERVICE_ACTIVATED_TWICE,
                                                      .options = {"--idle-timeout=1"}}),
                       second;
        int client = client_connect(&service, USER_ALICE), held;

        client_hello(client);
        second = at_second_socket(&service);
        held = client_connect(&second, USER_ALICE);
        client_hold_root(held, USER_ALICE, sandbox_make_root(USER_ALICE, "root"));
        close(client);
        usleep(2500000);
        client_hello(held);
        close(held);
        ck_assert_int_eq(service_wait(&service), 0);
        ck_assert(service_has_logged(&service, "idle"));
}

static struct wire_reply adopt(int client, uint64_t lease, const char *root) {
        struct wire_request request = {.operation = PROTOCOL_ADOPT,
                                       .lease = lease,
                                       .n_targets = 2,
                                       .targets = {{PROTOCOL_PROC, 0}, {PROTOCOL_SYSFS, 0}}};
        int roots[2];
        struct wire_reply reply;

        roots[0] = sandbox_open(USER_ALICE, sandbox_path("%s/proc", root));
        roots[1] = sandbox_open(USER_ALICE, sandbox_path("%s/sys", root));
        reply = client_call(client, &request, roots, 2);
        close(roots[0]);
        close(roots[1]);
        return reply;
}

/*
 * Neither client notices the other's end; and a lease of one socket can be adopted through the
 * other.
 */
SANDBOX_TEST(restart_is_survived_at_both_sockets) {
        static const char *const names[] = {"0", "1"};
        struct service services[2];
        uint64_t leases[2];
        int clients[2];

        start_at_two(SERVICE_LISTENS, services);
        for (unsigned i = 0; i < 2; i++) {
                clients[i] = client_connect(&services[i], USER_ALICE);
                leases[i] = client_hold_root(clients[i], USER_ALICE,
                                             sandbox_make_root(USER_ALICE, names[i]));
        }
        ck_assert_int_eq(kill(services->pid, SIGUSR1), 0);
        for (unsigned i = 0; i < 2; i++) {
                client_expect_closed(clients[i]);
                close(clients[i]);
        }
        ck_assert_int_eq(service_wait(services), 0);
        ck_assert_uint_eq(sandbox_count_mounts(0, services->source), 4);

        start_at_two(SERVICE_LISTENS, services);
        for (unsigned i = 0; i < 2; i++) {
                clients[i] = client_connect(&services[1 - i], USER_ALICE);
                client_expect(adopt(clients[i], leases[i], names[i]), STATUS_OK, 0,
                              STATUS_NO_TARGET);
        }
        ck_assert_uint_eq(sandbox_count_mounts(0, services->source), 4);
        service_stop(services);
        for (unsigned i = 0; i < 2; i++)
                close(clients[i]);
}

/* ---- side by side ---- */

SANDBOX_TEST(instances_of_different_names_run_side_by_side) {
        struct service one = service_start_with("one", NULL), two = service_start_with("two", NULL);
        FD_AUTO int client_of_one = client_connect(&one, USER_ALICE),
                    client_of_two = client_connect(&two, USER_ALICE);
        uint64_t lease;

        sandbox_make_root(USER_ALICE, "1");
        sandbox_make_root(USER_ALICE, "2");
        lease = client_hold_root(client_of_one, USER_ALICE, sandbox_path("1"));
        client_hold_root(client_of_two, USER_ALICE, sandbox_path("2"));
        ck_assert_uint_eq(sandbox_count_mounts(0, "mountatd:test-one"), 2);
        ck_assert_uint_eq(sandbox_count_mounts(0, "mountatd:test-two"), 2);
        client_expect(client_unmount(client_of_two, lease), STATUS_NO_SUCH_LEASE, 0,
                      STATUS_NO_TARGET);
        client_expect(client_mount_root(client_of_two, USER_ALICE, sandbox_path("1")),
                      STATUS_ALREADY_MOUNTED, 0, 0);
        service_stop(&one);
        ck_assert_uint_eq(sandbox_count_mounts(0, "mountatd:test-two"), 2);
        service_stop(&two);
}

SANDBOX_TEST(second_instance_of_a_runtime_directory_is_refused_naming_the_first) {
        struct service first = service_start_with("a", NULL), second;
        FD_AUTO int client = client_connect(&first, USER_ALICE);
        char text[64];

        sandbox_make_root(USER_ALICE, "root");
        client_hold_root(client, USER_ALICE, sandbox_path("root"));
        second = service_spawn(&(struct service_plan){
                .name = "b", .start = SERVICE_LISTENS, .runtime = first.runtime});
        snprintf(text, sizeof(text), "process %d", first.pid);
        service_expect_refusal(&second, text);
        ck_assert_int_lt(access(second.socket, F_OK), 0);
        client_hello(client);
        ck_assert_uint_eq(sandbox_count_mounts(0, first.source), 2);
        service_stop(&first);
}

/* ---- ending ---- */

/* The client connects before the timeout starts. */
static struct service start_impatient(int *client) {
        struct service service =
                service_spawn(&(struct service_plan){.name = "a", .options = {"--idle-timeout=1"}});

        *client = client_connect(&service, USER_ALICE);
        client_hello(*client);
        return service;
}

SANDBOX_TEST(idle_daemon_exits_and_starts_again_at_the_next_connection) {
        for (unsigned i = 0; i < 2; i++) {
                int client;
                struct service service = start_impatient(&client);

                close(client);
                ck_assert_int_eq(service_wait(&service), 0);
                ck_assert(service_has_logged(&service, "idle"));
        }
}

SANDBOX_TEST(daemon_is_not_idle_while_a_lease_is_held) {
        int client;
        struct service service = start_impatient(&client);

        sandbox_make_root(USER_ALICE, "root");
        client_hold_root(client, USER_ALICE, sandbox_path("root"));
        usleep(2500000);
        client_hello(client);
        ck_assert_uint_eq(sandbox_count_mounts(0, service.source), 2);
        close(client);
        ck_assert_int_eq(service_wait(&service), 0);
}

SANDBOX_TEST(idle_timeout_0_is_never) {
        struct service service = service_start_with("a", "--idle-timeout=0");

        usleep(2500000);
        ck_assert(service_is_running(&service));
        service_stop(&service);
}

/* Nothing would start it again. */
SANDBOX_TEST(listening_daemon_never_exits_for_being_idle) {
        struct service service = service_start(&(struct service_plan){
                .name = "a", .start = SERVICE_LISTENS, .options = {"--idle-timeout=1"}});

        usleep(2500000);
        ck_assert(service_is_running(&service));
        service_stop(&service);
}

static void expect_released_by(int signal_number) {
        struct service service = service_start_with("a", NULL);
        int clients[4];
        char name[16];

        for (unsigned i = 0; i < 4; i++) {
                snprintf(name, sizeof(name), "%u", i);
                sandbox_make_root(USER_ALICE, name);
                clients[i] = client_connect(&service, USER_ALICE);
                client_hold_root(clients[i], USER_ALICE, sandbox_path("%u", i));
        }
        ck_assert_uint_eq(sandbox_count_mounts(0, service.source), 8);
        ck_assert_int_eq(kill(service.pid, signal_number), 0);
        ck_assert_int_eq(service_wait(&service), 0);
        ck_assert_uint_eq(sandbox_count_mounts(0, service.source), 0);
        ck_assert(!service_has_state(&service));
        for (unsigned i = 0; i < 4; i++) {
                client_expect_closed(clients[i]);
                close(clients[i]);
        }
}

SANDBOX_TEST(sigterm_releases_every_lease) {
        expect_released_by(SIGTERM);
}

SANDBOX_TEST(sigint_releases_every_lease) {
        expect_released_by(SIGINT);
}

/* So many that the last one released sees time pass. */
SANDBOX_TEST(sigterm_with_500_leases_releases_them_all) {
        struct service service = service_start_with("a", NULL);
        FD_AUTO int client = client_connect(&service, USER_ALICE);
        char name[16];

        for (unsigned i = 0; i < 500; i++) {
                snprintf(name, sizeof(name), "%u", i);
                sandbox_make_root(USER_ALICE, name);
                client_hold_root(client, USER_ALICE, sandbox_path("%u", i));
        }
        service_stop(&service);
}

enum {
        CONNECTIONS = 500, /* of one user; each has a thread, and all end at once */
};

static void hold_on_connections_of_their_own(const struct service *service, int *clients) {
        char name[16];

        descriptors_raise();
        for (unsigned i = 0; i < CONNECTIONS; i++) {
                snprintf(name, sizeof(name), "%u", i);
                clients[i] = client_connect(service, USER_ALICE);
                client_hold_root(clients[i], USER_ALICE, sandbox_make_root(USER_ALICE, name));
        }
}

static void expect_all_closed(const int *clients) {
        for (unsigned i = 0; i < CONNECTIONS; i++) {
                client_expect_closed(clients[i]);
                close(clients[i]);
        }
}

SANDBOX_TEST(sigterm_with_500_connections_releases_the_lease_of_each) {
        struct service service = service_start_with("a", NULL);
        static int clients[CONNECTIONS];

        hold_on_connections_of_their_own(&service, clients);
        service_stop(&service);
        expect_all_closed(clients);
        ck_assert(!service_has_state(&service));
}

/* Whatever their threads are doing: none unmounts. */
SANDBOX_TEST(sigusr1_leaves_the_leases_of_500_connections) {
        struct service service = service_start_with("a", NULL);
        static int clients[CONNECTIONS];

        hold_on_connections_of_their_own(&service, clients);
        ck_assert_int_eq(kill(service.pid, SIGUSR1), 0);
        expect_all_closed(clients);
        ck_assert_int_eq(service_wait(&service), 0);
        ck_assert_uint_eq(sandbox_count_mounts(0, service.source), 2 * CONNECTIONS);
        ck_assert(service_has_state(&service));
}

/* ---- after a killed instance ---- */

static void kill_service(struct service *service) {
        int status;

        ck_assert_int_eq(kill(service->pid, SIGKILL), 0);
        status = service_wait(service);
        ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

SANDBOX_TEST(successor_of_a_killed_daemon_tells_what_it_left_and_serves) {
        struct service service = service_start_with("a", NULL);
        FD_AUTO int client = client_connect(&service, USER_ALICE), again = -EBADF;
        struct sandbox_mount left;

        sandbox_make_root(USER_ALICE, "0");
        sandbox_make_root(USER_ALICE, "1");
        sandbox_make_root(USER_ALICE, "2");
        client_hold_root(client, USER_ALICE, sandbox_path("0"));
        client_hold_root(client, USER_ALICE, sandbox_path("1"));
        for (unsigned i = 0; i < 2; i++) /* reachable by path */
                ck_assert_int_eq(chmod(sandbox_path("%u", i), 0755), 0);
        kill_service(&service);
        client_expect_closed(client);

        service = service_start_with("a", "--adopt-timeout=6");
        sandbox_wait_for(service_has_logged(&service, "left 2 leases"));
        again = client_connect(&service, USER_ALICE);
        client_hold_root(again, USER_ALICE, sandbox_path("2"));
        /* Until the time for adoption is over, the mounts stay; then they are swept. */
        ck_assert(sandbox_find_mount(0, sandbox_path("0/proc"), &left));
        client_expect(client_mount_root(again, USER_ALICE, sandbox_path("0")),
                      STATUS_ALREADY_MOUNTED, 0, 0);
        sandbox_wait_for(sandbox_count_mounts(0, service.source) == 2);
        client_hold_root(again, USER_ALICE, sandbox_path("0"));
        client_hold_root(again, USER_ALICE, sandbox_path("1"));
        ck_assert_uint_eq(sandbox_count_mounts(0, service.source), 6);
        service_stop(&service);
        ck_assert(!service_has_state(&service));
}

SANDBOX_TEST(successor_that_is_stopped_at_once_sweeps_first) {
        struct service service = service_start_with("a", NULL);
        FD_AUTO int client = client_connect(&service, USER_ALICE);

        sandbox_make_root(USER_ALICE, "0");
        client_hold_root(client, USER_ALICE, sandbox_path("0"));
        ck_assert_int_eq(chmod(sandbox_path("0"), 0755), 0);
        kill_service(&service);
        ck_assert_uint_eq(sandbox_count_mounts(0, service.source), 2);

        service = service_start_with("a", "--adopt-timeout=3600");
        ck_assert_uint_eq(sandbox_count_mounts(0, service.source), 2);
        service_stop(&service);
        ck_assert_uint_eq(sandbox_count_mounts(0, service.source), 0);
        ck_assert(!service_has_state(&service));
}

/* Only root reaches mounts below a directory that the daemon may not enter. */
SANDBOX_TEST(lease_below_a_closed_root_is_told_of_and_left_for_root) {
        struct service service = service_start_with("a", NULL), sweeper;
        FD_AUTO int client = client_connect(&service, USER_ALICE);

        sandbox_make_root(USER_ALICE, "0"); /* of mode 0700 */
        client_hold_root(client, USER_ALICE, sandbox_path("0"));
        kill_service(&service);

        service = service_start_with("a", "--adopt-timeout=0");
        sandbox_wait_for(service_has_logged(&service, "cannot reach a mount"));
        sandbox_wait_for(service_has_logged(&service, sandbox_path("0/")));
        ck_assert_uint_eq(sandbox_count_mounts(0, service.source), 2);
        ck_assert_int_eq(kill(service.pid, SIGTERM), 0);
        ck_assert_int_eq(service_wait(&service), 0);
        ck_assert_uint_eq(sandbox_count_mounts(0, service.source), 2);
        ck_assert(service_has_state(&service));

        sweeper = service_spawn(
                &(struct service_plan){.name = "a", .start = SERVICE_BARE, .options = {"--sweep"}});
        ck_assert_int_eq(service_wait(&sweeper), 0);
        ck_assert(service_has_logged(&sweeper, "swept 1 leases"));
        ck_assert_uint_eq(sandbox_count_mounts(0, service.source), 0);

        /* Nothing is left for the next one. */
        service = service_start(&(struct service_plan){.name = "b", .runtime = service.runtime});
        service_stop(&service);
        ck_assert(!service_has_logged(&service, "left"));
}

static void run_beside(void *argument) {
        struct service *service = argument;
        struct service sweeper, stranger;

        ck_assert_int_eq(unshare(CLONE_NEWNS), 0);
        sweeper = service_spawn(
                &(struct service_plan){.name = "a", .start = SERVICE_BARE, .options = {"--sweep"}});
        ck_assert_int_eq(service_wait(&sweeper), 0);
        ck_assert(service_has_logged(&sweeper, "not sweeping"));
        ck_assert(service_has_state(service));
        stranger = service_start_with("a", NULL);
        sandbox_wait_for(service_has_logged(&stranger, "kept as state.unknown-1"));
        ck_assert_int_eq(kill(stranger.pid, SIGTERM), 0);
        ck_assert_int_eq(service_wait(&stranger), 0);
}

/* There, all mounts of the previous instance would seem to be gone: none may be forgotten. */
SANDBOX_TEST(instance_in_another_mount_namespace_forgets_nothing) {
        struct service service = service_start_with("a", NULL);
        FD_AUTO int client = client_connect(&service, USER_ALICE);
        char kept[PATH_MAX], state[PATH_MAX];

        client_hold_root(client, USER_ALICE, sandbox_make_root(USER_ALICE, "0"));
        ck_assert_int_eq(chmod(sandbox_path("0"), 0755), 0);
        kill_service(&service);
        sandbox_join(sandbox_spawn(0, run_beside, &service));
        ck_assert_uint_eq(sandbox_count_mounts(0, service.source), 2);

        snprintf(kept, sizeof(kept), "%s/state.unknown-1", service.runtime);
        snprintf(state, sizeof(state), "%s/state", service.runtime);
        ck_assert_int_eq(rename(kept, state), 0);
        service = service_start_with("a", NULL);
        sandbox_wait_for(service_has_logged(&service, "left 1 leases"));
        service_stop(&service);
}

SANDBOX_TEST(successor_of_a_daemon_killed_without_leases_has_nothing_to_tell) {
        struct service service = service_start_with("a", NULL);

        kill_service(&service);
        service = service_start_with("a", NULL);
        service_stop(&service);
        ck_assert(!service_has_logged(&service, "left"));
}

/* A dead process that hasn't been reaped still has its pid. */
SANDBOX_TEST(zombie_predecessor_counts_as_dead) {
        struct service first = service_start_with("a", NULL), second;
        siginfo_t info;

        ck_assert_int_eq(kill(first.pid, SIGKILL), 0);
        ck_assert_int_eq(waitid(P_PID, first.pid, &info, WEXITED | WNOWAIT), 0);
        second = service_start(&(struct service_plan){
                .name = "b", .start = SERVICE_LISTENS, .runtime = first.runtime});
        service_stop(&second);
        service_wait(&first);
}

static void expect_one_file_of(const char *pattern, const char *content) {
        char bytes[64] = "";
        glob_t found;
        FILE *file;

        ck_assert_int_eq(glob(sandbox_path("%s", pattern), 0, NULL, &found), 0);
        ck_assert_uint_eq(found.gl_pathc, 1);
        file = fopen(found.gl_pathv[0], "re");
        ck_assert_ptr_nonnull(file);
        ck_assert_uint_eq(fread(bytes, 1, sizeof(bytes) - 1, file), strlen(content));
        ck_assert_str_eq(bytes, content);
        fclose(file);
        globfree(&found);
}

SANDBOX_TEST(state_file_that_is_garbage_is_replaced_and_kept_beside) {
        struct service service;
        int file;

        sandbox_make_directory(0, 0755, "a.run");
        file = open(sandbox_path("a.run/" SERVICE_STATE), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
        ck_assert_int_eq(write(file, "garbage", 7), 7);
        close(file);
        service = service_start_with("a", NULL);
        service_stop(&service);
        ck_assert(service_has_logged(&service, "kept as"));
        expect_one_file_of("a.run/" SERVICE_STATE "?*", "garbage");
}

/* ---- the service manager ---- */

/* Whether a notification received so far, or now, contains `text`. */
static bool is_notified(int manager, const char *text) {
        static char heard[65536];
        char message[4096];
        ssize_t size;

        while ((size = recv(manager, message, sizeof(message) - 1, MSG_DONTWAIT)) > 0) {
                message[size] = '\0';
                ck_assert_uint_lt(strlen(heard) + size + 2, sizeof(heard));
                strcat(strcat(heard, message), "\n");
        }
        return strstr(heard, text);
}

SANDBOX_TEST(service_manager_is_told_of_start_leases_and_stop) {
        FD_AUTO int manager = make_socket(SOCK_DGRAM, sandbox_path("notify"), true),
                    client = -EBADF;
        struct service service = service_start(
                &(struct service_plan){.name = "a", .notify = sandbox_path("notify")});

        sandbox_wait_for(is_notified(manager, "READY=1"));
        sandbox_wait_for(is_notified(manager, "STATUS=0 leases"));
        ck_assert(!is_notified(manager, "STOPPING=1"));
        client = client_connect(&service, USER_ALICE);
        sandbox_make_root(USER_ALICE, "root");
        client_hold_root(client, USER_ALICE, sandbox_path("root"));
        sandbox_wait_for(is_notified(manager, "STATUS=1 leases, 2 mounts, 1 connections\n"));
        service_stop(&service);
        ck_assert(is_notified(manager, "STOPPING=1"));
}

/* As with `mountatd 2>&1 | logger` after logger has died. */
static void log_into_a_broken_pipe(void) {
        int ends[2];

        if (pipe(ends) < 0 || dup2(ends[1], STDERR_FILENO) < 0)
                _exit(127);
        close(ends[0]);
        close(ends[1]);
}

SANDBOX_TEST(log_that_nobody_reads_any_more_is_not_the_end) {
        struct service service = service_start(&(struct service_plan){
                .name = "a",
                .start = SERVICE_LISTENS,
                .options = {"--log-level=debug"}, /* a line for each request */
                .enter = log_into_a_broken_pipe,
        });
        int client = client_connect(&service, USER_ALICE);

        client_hello(client);
        sandbox_make_root(USER_ALICE, "root");
        client_hold_root(client, USER_ALICE, sandbox_path("root"));
        close(client);
        service_stop(&service);
}

/* As with a logger that hangs: the pipe fills up, and its other end stays open. */
static void log_into_a_pipe_that_nobody_reads(void) {
        int ends[2];

        if (pipe(ends) < 0 || dup2(ends[1], STDERR_FILENO) < 0 ||
            fcntl(STDERR_FILENO, F_SETPIPE_SZ, 4096) < 0)
                _exit(127);
        close(ends[1]);
}

SANDBOX_TEST(log_that_nobody_reads_holds_nobody_up) {
        static const int signals[] = {SIGTERM, SIGUSR1};

        for (unsigned i = 0; i < 2; i++) {
                struct service service = service_start(&(struct service_plan){
                        .name = i == 0 ? "a" : "b",
                        .start = SERVICE_LISTENS,
                        .options = {"--log-level=debug"},
                        .enter = log_into_a_pipe_that_nobody_reads,
                });
                FD_AUTO int client = client_connect(&service, USER_ALICE);

                for (unsigned j = 0; j < 1000; j++)
                        client_hello(client);
                sandbox_make_root(USER_ALICE, service.source);
                client_hold_root(client, USER_ALICE, sandbox_path("%s", service.source));
                ck_assert_int_eq(kill(service.pid, signals[i]), 0);
                ck_assert_int_eq(service_wait(&service), 0);
        }
}

int main(void) {
        TCase *tests = tcase_create("lifecycle");

        tcase_add_test(tests, start_without_a_socket_is_refused);
        tcase_add_test(tests, start_with_a_stream_socket_is_refused);
        tcase_add_test(tests, start_with_a_datagram_socket_is_refused);
        tcase_add_test(tests, start_with_a_passed_socket_and_listen_is_refused);
        tcase_add_test(tests, proc_that_shows_processes_alone_is_named);
        tcase_add_test(tests, build_directory_through_a_link_is_refused_with_what_it_leads_to);
        tcase_add_test(tests, build_directory_that_is_not_there_yet_is_logged_and_works_once_it_is);
        tcase_add_test(tests, wrong_option_is_refused_by_name);
        tcase_add_test(tests, options_of_the_shared_workers_are_unknown);
        tcase_add_test(tests, listening_daemon_serves_and_removes_its_socket_at_the_end);
        tcase_add_test(tests, listening_daemons_socket_is_for_its_owner_and_group);
        tcase_add_test(tests, stale_socket_is_replaced);
        tcase_add_test(tests, socket_in_use_is_refused_and_left_alone);
        tcase_add_test(tests, file_that_is_no_socket_is_refused_and_left_alone);
        tcase_add_test(tests, passed_sockets_are_served_alike);
        tcase_add_test(tests, sockets_of_its_own_are_served_alike);
        tcase_add_test(tests, daemon_is_not_idle_while_a_lease_is_held_by_its_second_socket);
        tcase_add_test(tests, restart_is_survived_at_both_sockets);
        tcase_add_test(tests, instances_of_different_names_run_side_by_side);
        tcase_add_test(tests, second_instance_of_a_runtime_directory_is_refused_naming_the_first);
        tcase_add_test(tests, idle_daemon_exits_and_starts_again_at_the_next_connection);
        tcase_add_test(tests, daemon_is_not_idle_while_a_lease_is_held);
        tcase_add_test(tests, idle_timeout_0_is_never);
        tcase_add_test(tests, listening_daemon_never_exits_for_being_idle);
        tcase_add_test(tests, sigterm_releases_every_lease);
        tcase_add_test(tests, sigint_releases_every_lease);
        tcase_add_test(tests, sigterm_with_500_leases_releases_them_all);
        tcase_add_test(tests, sigterm_with_500_connections_releases_the_lease_of_each);
        tcase_add_test(tests, sigusr1_leaves_the_leases_of_500_connections);
        tcase_add_test(tests, successor_of_a_killed_daemon_tells_what_it_left_and_serves);
        tcase_add_test(tests, successor_that_is_stopped_at_once_sweeps_first);
        tcase_add_test(tests, lease_below_a_closed_root_is_told_of_and_left_for_root);
        tcase_add_test(tests, instance_in_another_mount_namespace_forgets_nothing);
        tcase_add_test(tests, successor_of_a_daemon_killed_without_leases_has_nothing_to_tell);
        tcase_add_test(tests, zombie_predecessor_counts_as_dead);
        tcase_add_test(tests, state_file_that_is_garbage_is_replaced_and_kept_beside);
        tcase_add_test(tests, log_that_nobody_reads_any_more_is_not_the_end);
        tcase_add_test(tests, log_that_nobody_reads_holds_nobody_up);
        tcase_add_test(tests, service_manager_is_told_of_start_leases_and_stop);
        return sandbox_run(tests);
}
