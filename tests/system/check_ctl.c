/* SPDX-License-Identifier: Apache-2.0 */

/* mountatctl with a daemon and a bus, as people and scripts use it. */

#include "tests/test.h"

#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

struct outcome {
        int status;
        char output[8192]; /* both streams */
};

/* Runs "mountatctl …" as `uid`. */
static struct outcome __attribute__((format(printf, 2, 3)))
ctl(uid_t uid, const char *format, ...) {
        char command[4096] = MOUNTATCTL_PROGRAM " ";
        struct outcome outcome = {0};
        va_list arguments;
        int pipes[2], status;
        size_t used = 0;
        ssize_t n;
        pid_t pid;

        va_start(arguments, format);
        vsnprintf(command + strlen(command), sizeof(command) - strlen(command), format, arguments);
        va_end(arguments);
        ck_assert_int_eq(pipe(pipes), 0);
        pid = fork();
        ck_assert_int_ge(pid, 0);
        if (pid == 0) {
                sandbox_become(uid);
                dup2(pipes[1], STDOUT_FILENO);
                dup2(pipes[1], STDERR_FILENO);
                close_range(STDERR_FILENO + 1, ~0U, 0);
                execl("/bin/sh", "sh", "-c", command, NULL);
                _exit(127);
        }
        close(pipes[1]);
        while ((n = read(pipes[0], outcome.output + used, sizeof(outcome.output) - 1 - used)) > 0)
                used += n;
        close(pipes[0]);
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert(WIFEXITED(status));
        outcome.status = WEXITSTATUS(status);
        return outcome;
}

static struct outcome expect(struct outcome outcome, int status, const char *text) {
        ck_assert_msg(outcome.status == status, "exit status %d: %s", outcome.status,
                      outcome.output);
        ck_assert_msg(strstr(outcome.output, text) != NULL, "no \"%s\" in: %s", text,
                      outcome.output);
        return outcome;
}

static void expect_silence(struct outcome outcome) {
        ck_assert_str_eq(outcome.output, "");
        ck_assert_int_eq(outcome.status, 0);
}

/* A fixture with the socket that mountatctl connects to. */
static struct bus_fixture ctl_stage_open(void) {
        struct bus_fixture fixture = bus_fixture_open();

        ck_assert_int_eq(setenv("MOUNTATD_SOCKET", fixture.service.socket, 1), 0);
        return fixture;
}

/* Mounts below that root, which must succeed; returns the printed lease. */
static const char *ctl_mount(uid_t uid, const char *root) {
        static struct outcome outcome;

        outcome = expect(ctl(uid, "mount '%s'", root), 0, "\n");
        ck_assert_uint_eq(strlen(outcome.output), 17);
        outcome.output[16] = '\0';
        return outcome.output;
}

/* The number of the first lease in the list. */
static const char *ctl_list_first(uid_t uid) {
        static struct outcome outcome;

        outcome = expect(ctl(uid, "list --no-legend"), 0, " ");
        outcome.output[16] = '\0';
        return outcome.output;
}

BUS_TEST(mounts_lists_and_unmounts_a_root_of_mode_0700) {
        struct bus_fixture fixture = ctl_stage_open();
        const char *lease;

        sandbox_make_root(USER_ALICE, "root");
        lease = ctl_mount(USER_ALICE, sandbox_path("root"));
        ck_assert_uint_eq(sandbox_count_mounts(0, "mountatd"), 2);
        expect(ctl(USER_ALICE, "list"), 0, lease);
        expect(ctl(USER_ALICE, "list"), 0, "LEASE");
        expect(ctl(USER_ALICE, "list"), 0, "1 leases.");
        expect(ctl(USER_ALICE, "list"), 0, "proc,sysfs");
        expect(ctl(USER_BOB, "list --no-legend; echo $?"), 0, "0\n");
        expect(ctl(USER_ALICE, "unmount %s", sandbox_path("root")), 0, "");
        ck_assert_uint_eq(sandbox_count_mounts(0, "mountatd"), 0);
        bus_fixture_close(&fixture);
}

/* One lease for all three, which D-Bus finds by the root. */
BUS_TEST(mounts_lists_and_unmounts_a_dev) {
        struct bus_fixture fixture = ctl_stage_open();
        struct sandbox_mount found;
        const char *root;

        root = sandbox_make_root(USER_ALICE, "root");
        expect(ctl(USER_ALICE, "mount --dev %s", root), 1, "cannot mount dev below");
        expect(ctl(USER_ALICE, "mount --create --dev %s", root), 0, "\n");
        ck_assert(sandbox_find_mount(0, sandbox_path("root/dev/null"), &found));
        expect(ctl(USER_ALICE, "list"), 0, " proc,sysfs,dev ");
        expect(ctl(USER_ALICE, "list"), 0, "1 leases.");
        expect(ctl(USER_ALICE, "list --json=short"), 0, "[\"proc\",\"sysfs\",\"dev\"]");
        expect(ctl(USER_ALICE, "status --json=short"), 0, "\"dev\"");
        expect(ctl(USER_ALICE, "hello"), 0, "\ndev\n");
        expect_silence(ctl(USER_ALICE, "unmount %s", root));
        ck_assert(!sandbox_find_mount(0, sandbox_path("root/dev/null"), &found));
        ck_assert_uint_eq(sandbox_count_mounts(0, "mountatd"), 0);

        expect(ctl(USER_ALICE, "mount --file-system dev %s", root), 0, "\n");
        expect(ctl(USER_ALICE, "list"), 0, " dev ");
        expect_silence(ctl(0, "unmount %s", root));
        ck_assert_uint_eq(sandbox_count_mounts(0, "mountatd"), 0);
        bus_fixture_close(&fixture);
}

BUS_TEST(features_lack_the_dev_that_isn_t_offered) {
        struct bus_fixture fixture = ctl_stage_open();

        sandbox_make_root(USER_ALICE, "root");
        service_stop(&fixture.service);
        fixture.service = service_start(&(struct service_plan){
                .name = "a", .start = SERVICE_LISTENS, .unnamed = true, .options = {"--no-dev"}});
        system_bus_wait_for("org.mountat1");
        ck_assert_ptr_null(strstr(expect(ctl(0, "status"), 0, "keep").output, "dev,"));
        ck_assert_ptr_null(strstr(expect(ctl(0, "hello"), 0, "keep").output, "dev"));
        expect(ctl(USER_ALICE, "mount --create --dev %s", sandbox_path("root")), 1, "--no-dev");
        expect(ctl(USER_ALICE, "mount %s", sandbox_path("root")), 0, "\n");
        bus_fixture_close(&fixture);
}

/* As in scripts for systemd's tools. */
BUS_TEST(knows_quiet_and_no_pager) {
        struct bus_fixture fixture = ctl_stage_open();

        sandbox_make_root(USER_ALICE, "root");
        expect_silence(ctl(USER_ALICE, "mount -q --no-pager %s", sandbox_path("root")));
        ck_assert_uint_eq(sandbox_count_mounts(0, "mountatd"), 2);
        expect(ctl(USER_ALICE, "list --no-pager"), 0, "1 leases.");
        expect_silence(ctl(USER_ALICE, "unmount --no-pager --quiet %s", sandbox_path("root")));
        expect_silence(ctl(USER_ALICE, "hold --quiet %s </dev/null", sandbox_path("root")));
        expect(ctl(USER_ALICE, "list --quiet=1"), 2, "--quiet=1");
        expect(ctl(USER_ALICE, "list -x"), 2, "-x");
        bus_fixture_close(&fixture);
}

/* Only the user, from any process, can unmount the user's own, and root over D-Bus. */
BUS_TEST(unmounts_by_lease_ones_own_and_as_root_anybodys) {
        struct bus_fixture fixture = ctl_stage_open();
        const char *lease;

        sandbox_make_root(USER_ALICE, "root");
        lease = ctl_mount(USER_ALICE, sandbox_path("root"));
        expect(ctl(USER_BOB, "unmount %s", lease), 1, "only root");
        ck_assert_uint_eq(sandbox_count_mounts(0, "mountatd"), 2);
        expect_silence(ctl(USER_ALICE, "unmount %s", lease));
        ck_assert_uint_eq(sandbox_count_mounts(0, "mountatd"), 0);

        lease = ctl_mount(USER_ALICE, sandbox_path("root"));
        expect_silence(ctl(0, "unmount %s", lease));
        ck_assert_uint_eq(sandbox_count_mounts(0, "mountatd"), 0);
        bus_fixture_close(&fixture);
}

BUS_TEST(unmounts_below_a_directory_as_root_for_another_user) {
        struct bus_fixture fixture = ctl_stage_open();

        sandbox_make_root(USER_ALICE, "root");
        ctl_mount(USER_ALICE, sandbox_path("root"));
        expect(ctl(USER_BOB, "unmount %s", sandbox_path(".")), 1, "you have no lease there");
        expect_silence(ctl(0, "unmount %s", sandbox_path("root")));
        ck_assert_uint_eq(sandbox_count_mounts(0, "mountatd"), 0);
        bus_fixture_close(&fixture);
}

/* As for a service with PrivateTmp=, or one that only has a namespace of its own. */
BUS_TEST(unmounts_below_a_directory_only_where_the_mounts_are) {
        static const char in_there[] =
                "--version >/dev/null && unshare -m --propagation %s sh -c '%s " MOUNTATCTL_PROGRAM
                " unmount %s'";
        struct bus_fixture fixture = ctl_stage_open();
        char cover[1024], root[256];

        sandbox_make_directory(0, 0755, "there");
        sandbox_make_root(USER_ALICE, "there/root");
        snprintf(root, sizeof(root), "%s", sandbox_path("there/root"));
        snprintf(cover, sizeof(cover), "mount -t tmpfs none %s && mkdir -p %s/proc %s/sys &&",
                 sandbox_path("there"), root, root);
        ctl_mount(USER_ALICE, root);
        expect(ctl(0, in_there, "private", cover, root), 1, "aren't seen from here");
        ck_assert_uint_eq(sandbox_count_mounts(0, "mountatd"), 2);
        expect_silence(ctl(0, in_there, "slave", "", root));
        ck_assert_uint_eq(sandbox_count_mounts(0, "mountatd"), 0);
        bus_fixture_close(&fixture);
}

/* For own leases, neither needs a bus. */
BUS_TEST(mounts_and_unmounts_without_a_bus) {
        struct bus_fixture fixture = ctl_stage_open();
        const char *lease;

        sandbox_make_root(USER_ALICE, "root");
        ck_assert_int_eq(setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nowhere", 1), 0);
        lease = ctl_mount(USER_ALICE, sandbox_path("root"));
        expect(ctl(USER_ALICE, "unmount %s", sandbox_path("root")), 1, "give the lease's number");
        expect(ctl(USER_BOB, "unmount %s", lease), 1, "no-such-lease");
        ck_assert_uint_eq(sandbox_count_mounts(0, "mountatd"), 2);
        expect_silence(ctl(USER_ALICE, "unmount %s", lease));
        ck_assert_uint_eq(sandbox_count_mounts(0, "mountatd"), 0);
        bus_fixture_close(&fixture);
}

BUS_TEST(root_is_told_how_to_mount_for_another_user) {
        struct bus_fixture fixture = ctl_stage_open();

        sandbox_make_root(USER_ALICE, "root");
        expect(ctl(0, "mount --file-system proc --pids-only %s", sandbox_path("root")), 1,
               "MountPath");
        bus_fixture_close(&fixture);
}

/* As printed by busctl. */
BUS_TEST(unmounts_by_decimal_lease) {
        struct bus_fixture fixture = ctl_stage_open();
        unsigned long long lease;

        sandbox_make_root(0, "root");
        lease = system_bus_mount_path(fixture.root, sandbox_path("root"));
        ck_assert_uint_eq(sandbox_count_mounts(0, "mountatd"), 2);
        expect_silence(ctl(0, "unmount %llu", lease));
        ck_assert_uint_eq(sandbox_count_mounts(0, "mountatd"), 0);
        bus_fixture_close(&fixture);
}

/* Such a place is cut in the list, and any of several leases could be meant. */
BUS_TEST(unmounts_below_a_long_path_by_lease) {
        struct bus_fixture fixture = ctl_stage_open();
        char root[2048] = "", name[201];
        const char *lease;

        memset(name, 'a', sizeof(name) - 1);
        name[sizeof(name) - 1] = '\0';
        strcat(root, sandbox_path("."));
        for (int i = 0; i < 6; i++) {
                strcat(strcat(root, "/"), name);
                ck_assert_int_eq(mkdir(root, 0755), 0);
        }
        expect(ctl(0, "mount %s", root), 1, "--create");
        expect(ctl(0, "mount --quiet --create %s", root), 0, "");
        expect(ctl(0, "unmount %s", root), 1, "give the lease's number");
        expect(ctl(0, "unmount %.*s", (int)strlen(root) - 1, root), 1, "No such file");
        expect(ctl(0, "unmount %s", sandbox_path(".")), 1, "you have no lease there");
        lease = ctl_list_first(0);
        expect_silence(ctl(0, "unmount %s", lease));
        ck_assert_uint_eq(sandbox_count_mounts(0, "mountatd"), 0);
        bus_fixture_close(&fixture);
}

#define PYTHON(expression)                                                                         \
        " | python3 -c 'import json,sys; d=json.load(sys.stdin); print(" expression ")'"

BUS_TEST(writes_json_that_a_parser_accepts) {
        struct bus_fixture fixture = ctl_stage_open();

        sandbox_make_root(USER_ALICE, "q\"\\\t");
        ctl_mount(USER_ALICE, sandbox_path("q\"\\\t"));
        expect(ctl(0, "list --json=short" PYTHON(
                              "d[0][\"origin\"], d[0][\"file_systems\"], len(d[0][\"lease\"])")),
               0, "kept ['proc', 'sysfs'] 16");
        expect(ctl(0, "list --json=pretty" PYTHON("d[0][\"place\"]")), 0, "q\"\\x5c\\x09");
        expect(ctl(0, "list --json=off"), 0, "LEASE");
        expect(ctl(0, "status --json=pretty" PYTHON("d[\"Leases\"], d[\"MaxTargets\"]")), 0,
               "1 16");
        expect(ctl(0, "status --json=short" PYTHON("d[\"Features\"]")), 0, "adopt");
        expect(ctl(USER_MALLORY, "status"), 0, "Version: " MOUNTATD_VERSION);
        expect(ctl(USER_MALLORY, "list --json=short"), 0, "[]");
        bus_fixture_close(&fixture);
}

/* A mount can be refused for its path, but the directories above it can still be renamed. */
BUS_TEST(lists_a_mount_below_what_is_no_text_any_more) {
        static const char *const names[] = {"latin1-\xe9", "nonchar-\xef\xbf\xbf",
                                            "right-to-left-\xe2\x80\xae"};
        static const char *const escaped[] = {"latin1-\\xe9", "nonchar-\\xef\\xbf\\xbf",
                                              "right-to-left-\\xe2\\x80\\xae"};
        struct bus_fixture fixture = ctl_stage_open();
        char before[256];

        snprintf(before, sizeof(before), "%s", sandbox_make_root(USER_ALICE, "root"));
        ctl_mount(USER_ALICE, before);
        for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
                ck_assert_int_eq(rename(before, sandbox_path("%s", names[i])), 0);
                snprintf(before, sizeof(before), "%s", sandbox_path("%s", names[i]));
                expect(ctl(0, "list"), 0, escaped[i]);
                expect(ctl(0, "list --json=short" PYTHON("len(d)")), 0, "1");
        }
        bus_fixture_close(&fixture);
}

BUS_TEST(status_shows_build_directories_that_are_not_there) {
        struct bus_fixture fixture = ctl_stage_open();
        char text[1024], directory[256];

        expect(ctl(0, "status"), 0, "Build directories: none");
        service_stop(&fixture.service);
        snprintf(directory, sizeof(directory), "%s", sandbox_make_directory(0, 0755, "build"));
        snprintf(text, sizeof(text), "--build-directory=%s", directory);
        fixture.service = service_start(&(struct service_plan){
                .name = "a",
                .start = SERVICE_LISTENS,
                .unnamed = true,
                .options = {text, "--build-directory", sandbox_path("late:60001")},
        });
        system_bus_wait_for("org.mountat1");
        snprintf(text, sizeof(text), "%s, %s:60001 (missing here)", directory,
                 sandbox_path("late"));
        expect(ctl(0, "status"), 0, text);
        expect(ctl(0, "status --json=short" PYTHON("d[\"BuildDirectories\"]")), 0, text);
        bus_fixture_close(&fixture);
}

/* A password is asked for only if the user wants to see others' leases. */
BUS_TEST(lists_those_of_others_with_consent) {
        struct bus_fixture fixture = ctl_stage_open();
        pid_t polkit = system_bus_start_polkit("org.mountat1.list-others", true);

        sandbox_make_root(USER_ALICE, "root");
        ctl_mount(USER_ALICE, sandbox_path("root"));
        expect(ctl(USER_BOB, "list"), 0, "0 leases.");
        expect(ctl(USER_BOB, "list --all"), 0, "1 leases.");
        expect(ctl(0, "list"), 0, "1 leases.");
        expect(ctl(USER_BOB, "status --all"), 2, "has no option");
        sandbox_kill(polkit);
        bus_fixture_close(&fixture);
}

/* ---- leases in containers ---- */

struct contained {
        struct container container;
        uint64_t inode; /* of its mount namespace */
        pid_t holder;   /* the parent of a mountatctl hold inside */
        int pipe[2];    /* its input */
        int output[2];
};

static struct bus_fixture join_stage_open(const char *option) {
        struct bus_fixture fixture = ctl_stage_open();

        service_stop(&fixture.service);
        fixture.service = service_start(&(struct service_plan){
                .name = "a",
                .start = SERVICE_LISTENS,
                .unnamed = true,
                .options = {"--join=60001", option},
        });
        system_bus_wait_for("org.mountat1");
        return fixture;
}

/* Inside, as root: a file system with a root of Alice's that exists only there. */
static void make_root_in(const struct container *container) {
        pid_t pid = fork();

        ck_assert_int_ge(pid, 0);
        if (pid == 0) {
                int fd = container_open(container, "mnt");

                prctl(PR_SET_PDEATHSIG, SIGKILL);
                ck_assert_int_eq(unshare(CLONE_FS), 0);
                ck_assert_int_eq(setns(fd, CLONE_NEWNS), 0);
                ck_assert_int_eq(mount("none", sandbox_path("there"), "tmpfs", 0, "mode=0755"), 0);
                sandbox_make_root(USER_ALICE, "there/root");
                _exit(EXIT_SUCCESS);
        }
        sandbox_join(pid);
}

static void hold_in_there(void *argument) {
        const struct contained *contained = argument;

        dup2(contained->pipe[0], STDIN_FILENO);
        dup2(contained->output[1], STDOUT_FILENO);
        execl(MOUNTATCTL_PROGRAM, "mountatctl", "hold", sandbox_path("there/root"), NULL);
        _exit(127);
}

static struct contained contain(enum container_kind kind) {
        struct contained contained = {0};
        char path[64], byte;
        struct stat stat_of_namespace;

        sandbox_make_directory(0, 0755, "there");
        contained.container = container_start(kind);
        make_root_in(&contained.container);
        snprintf(path, sizeof(path), "/proc/%d/ns/mnt", contained.container.init);
        ck_assert_int_eq(stat(path, &stat_of_namespace), 0);
        contained.inode = stat_of_namespace.st_ino;
        ck_assert_int_eq(pipe2(contained.pipe, O_CLOEXEC), 0);
        ck_assert_int_eq(pipe2(contained.output, O_CLOEXEC), 0);
        contained.holder = container_spawn(&contained.container, hold_in_there, &contained);
        close(contained.output[1]);
        /* It says so when the lease is listed, which is a moment after the mounts. */
        ck_assert_int_eq(read(contained.output[0], &byte, 1), 1);
        ck_assert_uint_eq(sandbox_count_mounts(contained.container.init, "mountatd"), 2);
        ck_assert_uint_eq(sandbox_count_mounts(0, "mountatd"), 0);
        return contained;
}

static void contained_end(struct contained *contained) {
        container_kill(&contained->container);
        sandbox_kill(contained->holder);
        close(contained->pipe[0]);
        close(contained->pipe[1]);
        close(contained->output[0]);
}

/* The output of that command. */
static const char *__attribute__((format(printf, 1, 2))) told(const char *format, ...) {
        static char text[1024];
        char command[512];
        va_list arguments;
        FILE *pipe;

        va_start(arguments, format);
        vsnprintf(command, sizeof(command), format, arguments);
        va_end(arguments);
        pipe = popen(command, "re");
        ck_assert_ptr_nonnull(pipe);
        text[fread(text, 1, sizeof(text) - 1, pipe)] = '\0';
        pclose(pipe);
        return text;
}

/* The inode of the container's namespace, and the place as named inside. */
static void expect_listed(const struct contained *contained, uid_t uid) {
        char text[512];

        snprintf(text, sizeof(text), "socket 0 proc,sysfs %" PRIu64 " %s\n", contained->inode,
                 sandbox_path("there/root"));
        expect(ctl(uid, "list --no-legend | sed 's/socket *[0-9]*/socket 0/'"), 0, text);
        snprintf(text, sizeof(text), "%" PRIu64 " %s", contained->inode,
                 sandbox_path("there/root"));
        expect(ctl(uid, "list --json=short" PYTHON("d[0][\"mount_namespace\"], "
                                                   "d[0][\"place\"]")),
               0, text);
}

/* As other programs show it. */
static void expect_found(const struct contained *contained) {
        char text[512];

        snprintf(text, sizeof(text), "%s\n%s\n", sandbox_path("there/root/proc"),
                 sandbox_path("there/root/sys"));
        ck_assert_str_eq(
                told("findmnt -N %d --source mountatd -rno TARGET", contained->container.init),
                text);
        ck_assert_str_eq(told("findmnt --source mountatd -rno TARGET"), "");
        snprintf(text, sizeof(text), "%" PRIu64 "\n", contained->inode);
        ck_assert_str_eq(told("lsns -t mnt -p %d -rno NS", contained->container.init), text);
}

static void list_in(enum container_kind kind) {
        struct bus_fixture fixture = join_stage_open(NULL);
        struct contained contained = contain(kind);
        struct system_bus_lease lease;

        expect_listed(&contained, USER_ALICE);
        expect_listed(&contained, 0);
        expect(ctl(USER_BOB, "list"), 0, "0 leases.");
        expect_found(&contained);
        ck_assert_uint_eq(system_bus_list(fixture.root, &lease, 1), 1);
        ck_assert_str_eq(lease.place, sandbox_path("there/root"));
        ck_assert_uint_eq(system_bus_list_ex(fixture.root, &lease, 1), 1);
        ck_assert_str_eq(lease.place, sandbox_path("there/root"));
        ck_assert(lease.elsewhere);
        ck_assert_uint_eq(lease.mount_namespace, contained.inode);
        contained_end(&contained);
        sandbox_wait_for(system_bus_list(fixture.root, NULL, 0) == 0);
        bus_fixture_close(&fixture);
}

BUS_TEST(lists_a_lease_in_a_container) {
        list_in(CONTAINER_ROOTFUL);
}

BUS_TEST(lists_a_lease_in_a_rootless_container) {
        const char *lacking = container_lacks(CONTAINER_ROOTLESS);

        if (lacking)
                test_skip_report("lists_a_lease_in_a_rootless_container", lacking);
        else
                list_in(CONTAINER_ROOTLESS);
}

BUS_TEST(place_in_a_container_is_not_that_of_the_same_name_here) {
        struct bus_fixture fixture = join_stage_open(NULL);
        struct contained contained = contain(CONTAINER_ROOTFUL);

        sandbox_make_root(USER_ALICE, "there/root");
        expect(ctl(0, "unmount %s", sandbox_path("there/root")), 1, "no lease");
        ctl_mount(USER_ALICE, sandbox_path("there/root"));
        expect(ctl(0, "list --json=short" PYTHON("len(d), None in [l[\"mount_namespace\"] for l "
                                                 "in d]")),
               0, "2 True");
        expect(ctl(0, "list"), 0, " - ");
        expect_silence(ctl(0, "unmount %s", sandbox_path("there/root")));
        ck_assert_uint_eq(sandbox_count_mounts(0, "mountatd"), 0);
        ck_assert_uint_eq(sandbox_count_mounts(contained.container.init, "mountatd"), 2);
        expect_listed(&contained, 0);
        contained_end(&contained);
        bus_fixture_close(&fixture);
}

/* Whether the kernel has ids of mount namespaces, which its queries take. */
static bool kernel_identifies_namespaces(void) {
        int fd = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
        uint64_t id;
        bool known = ioctl(fd, _IOR(0xb7, 5, uint64_t), &id) == 0; /* NS_GET_MNTNS_ID */

        close(fd);
        return known;
}

/* No process has it open: shown as recorded. */
BUS_TEST(lists_what_a_dead_daemon_left_in_a_container) {
        struct bus_fixture fixture = join_stage_open(NULL);
        struct contained contained = contain(CONTAINER_ROOTFUL);
        struct system_bus_lease lease;

        sandbox_kill(fixture.service.pid);
        sandbox_kill(contained.holder);
        fixture.service = service_start(&(struct service_plan){
                .name = "a",
                .start = SERVICE_LISTENS,
                .unnamed = true,
                .options = {"--join=60001", "--adopt-timeout=3600"},
        });
        system_bus_wait_for("org.mountat1");
        if (kernel_identifies_namespaces())
                expect_listed(&contained, 0);
        ck_assert_uint_eq(system_bus_list_ex(fixture.root, &lease, 1), 1);
        ck_assert(lease.elsewhere);
        ck_assert_uint_eq(lease.mount_namespace, contained.inode);
        contained.holder = 0;
        container_kill(&contained.container);
        bus_fixture_close(&fixture);
}

/* ---- an older daemon ---- */

/* All that 0.1 knows of it. */
static int on_list_of_old(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        (void)userdata;
        (void)error;
        return sd_bus_reply_method_return(call, "a(tuussast)", 1, (uint64_t)0xabc, 60001, 7,
                                          "/srv/root", "socket", 1, "proc", (uint64_t)5);
}

static const sd_bus_vtable old_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD("ListLeases", "", "a(tuussast)", on_list_of_old, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_VTABLE_END,
};

static void serve_as_old(void *argument) {
        sd_bus *bus = system_bus_connect(0);

        (void)argument;
        ck_assert_int_ge(sd_bus_add_object_vtable(bus, NULL, "/org/mountat1",
                                                  "org.mountat1.Manager", old_vtable, NULL),
                         0);
        ck_assert_int_ge(sd_bus_request_name(bus, "org.mountat1", 0), 0);
        for (;;)
                if (sd_bus_process(bus, NULL) == 0)
                        sd_bus_wait(bus, UINT64_MAX);
}

BUS_TEST(lists_what_an_older_daemon_tells) {
        pid_t bus, old;

        system_bus_prepare();
        bus = system_bus_start();
        old = sandbox_spawn(0, serve_as_old, NULL);
        system_bus_wait_for("org.mountat1");
        expect(ctl(0, "list --no-legend"), 0,
               "0000000000000abc 60001 7 socket 5 proc - /srv/root\n");
        expect(ctl(USER_ALICE, "list --json=short"), 0, "\"mount_namespace\":null");
        sandbox_kill(old);
        sandbox_kill(bus);
}

BUS_TEST(says_what_is_wrong) {
        struct bus_fixture fixture = ctl_stage_open();

        sandbox_make_root(USER_ALICE, "root");
        sandbox_make_root(USER_MALLORY, "outside");
        sandbox_make_directory(USER_ALICE, 0755, "empty");
        expect(ctl(USER_ALICE, "mount"), 2, "usage");
        expect(ctl(USER_ALICE, "unmount"), 2, "usage");
        expect(ctl(USER_ALICE, "list --json=loud"), 2, "short, pretty or off");
        expect(ctl(USER_ALICE, "list --create"), 2, "has no option");
        expect(ctl(USER_ALICE, "mount %s", sandbox_path("no")), 1, "No such file");
        expect(ctl(USER_ALICE, "mount %s", sandbox_path("empty")), 1, "--create");
        expect(ctl(USER_ALICE, "unmount %s", sandbox_path("root")), 1, "no lease");
        expect(ctl(USER_ALICE, "unmount 0000000000000001"), 1, "no such lease");
        expect(ctl(USER_MALLORY, "mount %s", sandbox_path("outside")), 1, "group");
        expect(ctl(USER_ALICE, "mount --create %s", sandbox_path("empty")), 0, "\n");
        expect(ctl(USER_ALICE, "mount %s", sandbox_path("empty")), 1, "mounted");
        service_stop(&fixture.service);
        sandbox_wait_for(ctl(USER_ALICE, "status").status == 1);
        expect(ctl(USER_ALICE, "status"), 1, "not on the system bus");
        expect(ctl(USER_ALICE, "mount %s", sandbox_path("root")), 1, "mountatd.socket");
        sd_bus_close_unref(fixture.root);
        sandbox_kill(fixture.bus);
        expect(ctl(USER_ALICE, "status"), 1, "system bus");
}

int main(void) {
        TCase *tests = tcase_create("ctl");

        tcase_add_test(tests, mounts_lists_and_unmounts_a_root_of_mode_0700);
        tcase_add_test(tests, mounts_lists_and_unmounts_a_dev);
        tcase_add_test(tests, features_lack_the_dev_that_isn_t_offered);
        tcase_add_test(tests, knows_quiet_and_no_pager);
        tcase_add_test(tests, unmounts_by_lease_ones_own_and_as_root_anybodys);
        tcase_add_test(tests, unmounts_below_a_directory_as_root_for_another_user);
        tcase_add_test(tests, unmounts_below_a_directory_only_where_the_mounts_are);
        tcase_add_test(tests, mounts_and_unmounts_without_a_bus);
        tcase_add_test(tests, root_is_told_how_to_mount_for_another_user);
        tcase_add_test(tests, unmounts_by_decimal_lease);
        tcase_add_test(tests, unmounts_below_a_long_path_by_lease);
        tcase_add_test(tests, writes_json_that_a_parser_accepts);
        tcase_add_test(tests, lists_a_mount_below_what_is_no_text_any_more);
        tcase_add_test(tests, status_shows_build_directories_that_are_not_there);
        tcase_add_test(tests, lists_those_of_others_with_consent);
        tcase_add_test(tests, lists_a_lease_in_a_container);
        tcase_add_test(tests, lists_a_lease_in_a_rootless_container);
        tcase_add_test(tests, place_in_a_container_is_not_that_of_the_same_name_here);
        tcase_add_test(tests, lists_what_a_dead_daemon_left_in_a_container);
        tcase_add_test(tests, lists_what_an_older_daemon_tells);
        tcase_add_test(tests, says_what_is_wrong);
        return sandbox_run(tests);
}
