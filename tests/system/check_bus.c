/* SPDX-License-Identifier: Apache-2.0 */

/* The real daemon on a real bus: every method, property and signal, and what must not disturb it.
 */

#include "common/fd.h"
#include "daemon/authority.h"
#include "tests/fixtures/bus_stage.h"
#include "tests/fixtures/client.h"
#include "tests/fixtures/stage.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

/* The socket side, as if there were no bus. */
static void expect_socket_works(const struct service *service) {
        int client = client_connect(service, WORLD_BOB);

        client_hello(client);
        close(client);
}

/* What was sent before is with the daemon, or in its socket: the bus takes one thing of a
 * connection after the other, and writes before it reads on. */
static void wait_until_the_bus_has_passed_on(sd_bus *bus) {
        for (int i = 0; i < 3; i++)
                ck_assert_int_ge(sd_bus_call_method(bus, "org.freedesktop.DBus",
                                                    "/org/freedesktop/DBus", "org.freedesktop.DBus",
                                                    "GetId", NULL, NULL, ""),
                                 0);
}

/* ---- what can be seen ---- */

static char *introspect(sd_bus *bus) {
        sd_bus_error error = SD_BUS_ERROR_NULL;
        sd_bus_message *reply = NULL;
        const char *text;
        char *copy;
        int r = sd_bus_call_method(bus, "org.mountat1", "/org/mountat1",
                                   "org.freedesktop.DBus.Introspectable", "Introspect", &error,
                                   &reply, "");

        ck_assert_msg(r >= 0, "%s", error.message);
        ck_assert_int_gt(sd_bus_message_read(reply, "s", &text), 0);
        copy = strdup(text);
        sd_bus_message_unref(reply);
        return copy;
}

BUS_TEST(every_method_that_can_be_seen_has_a_rule_and_names) {
        struct bus_stage stage = bus_stage_open();
        char *text = introspect(stage.root);
        char *manager = strstr(text, "org.mountat1.Manager"), member[64];
        unsigned methods = 0;

        ck_assert_ptr_nonnull(manager);
        for (char *at = manager; (at = strstr(at, "<method name=\"")); at++, methods++) {
                ck_assert_int_eq(sscanf(at, "<method name=\"%63[^\"]", member), 1);
                ck_assert_msg(authority_rule(member) != NULL, "%s has no rule", member);
        }
        ck_assert_uint_eq(methods, 5);
        ck_assert_ptr_nonnull(strstr(manager, "name=\"file_systems\""));
        ck_assert_ptr_nonnull(strstr(manager, "name=\"root\""));
        ck_assert_ptr_nonnull(strstr(manager, "name=\"reason\""));
        for (char *at = manager; (at = strstr(at, "<arg ")); at++)
                ck_assert_msg(strstr(at, " name=\"") != NULL &&
                                      strstr(at, " name=\"") < strchr(at, '>'),
                              "an argument has no name");
        free(text);
        bus_stage_close(&stage);
}

/* What every service on a bus has, for those outside the group too. */
BUS_TEST(everybody_may_ping_and_read) {
        struct bus_stage stage = bus_stage_open();
        sd_bus *mallory = system_bus_connect(WORLD_MALLORY);
        sd_bus_error error = SD_BUS_ERROR_NULL;
        sd_bus_message *reply = NULL;
        int r = sd_bus_call_method(mallory, "org.mountat1", "/org/mountat1",
                                   "org.freedesktop.DBus.Peer", "Ping", &error, NULL, "");

        ck_assert_msg(r >= 0, "%s", error.message);
        r = sd_bus_call_method(mallory, "org.mountat1", "/org/mountat1",
                               "org.freedesktop.DBus.Properties", "GetAll", &error, &reply, "s",
                               "org.mountat1.Manager");
        ck_assert_msg(r >= 0, "%s", error.message);
        ck_assert_str_eq(sd_bus_message_get_signature(reply, true), "a{sv}");
        sd_bus_message_unref(reply);
        ck_assert_int_lt(sd_bus_set_property(mallory, "org.mountat1", "/org/mountat1",
                                             "org.mountat1.Manager", "MaxMounts", &error, "u", 1),
                         0);
        system_bus_judge(&error, SD_BUS_ERROR_ACCESS_DENIED);
        sd_bus_error_free(&error);
        sd_bus_close_unref(mallory);
        bus_stage_close(&stage);
}

BUS_TEST(properties_tell_version_counts_and_limits) {
        struct bus_stage stage = bus_stage_open();
        sd_bus_error error = SD_BUS_ERROR_NULL;
        char *version = NULL, **features = NULL;

        world_make_root(0, "root");
        ck_assert_int_ge(sd_bus_get_property_string(stage.root, "org.mountat1", "/org/mountat1",
                                                    "org.mountat1.Manager", "Version", &error,
                                                    &version),
                         0);
        ck_assert_str_eq(version, MOUNTATD_VERSION);
        ck_assert_int_ge(sd_bus_get_property_strv(stage.root, "org.mountat1", "/org/mountat1",
                                                  "org.mountat1.Manager", "Features", &error,
                                                  &features),
                         0);
        ck_assert_ptr_nonnull(features[0]);
        ck_assert_uint_eq(system_bus_number(stage.root, "Leases"), 0);
        ck_assert_uint_eq(system_bus_number(stage.root, "MaxConnections"), 4096);
        ck_assert_uint_eq(system_bus_number(stage.root, "MaxConnectionsPerUser"), 1024);
        ck_assert_uint_gt(system_bus_number(stage.root, "MaxMounts"), 0);
        ck_assert_uint_eq(system_bus_number(stage.root, "MaxMountsPerUser"), 2048);
        ck_assert_uint_eq(system_bus_number(stage.root, "MaxTargets"), 16);
        ck_assert_uint_eq(system_bus_number(stage.root, "MaxLostWorkers"), 16);
        ck_assert_uint_eq(system_bus_number(stage.root, "MaxLostWorkersPerUser"), 4);
        ck_assert_uint_eq(system_bus_number(stage.root, "LostWorkers"), 0);

        system_bus_mount_path(stage.root, world_path("root"));
        system_bus_expect(stage.root, "AlreadyMounted", "MountPath", "sas", world_path("root"), 1,
                          "proc");
        ck_assert_uint_eq(system_bus_number(stage.root, "Leases"), 1);
        ck_assert_uint_eq(system_bus_number(stage.root, "MountsTotal"), 2);
        ck_assert_uint_eq(system_bus_number(stage.root, "FailuresTotal"), 1);
        for (char **feature = features; *feature; feature++)
                free(*feature);
        free(features);
        free(version);
        bus_stage_close(&stage);
}

/* ---- the methods ---- */

/* The lines of README.md that call the bus, run as they stand there. */
static void run_readme_line(const char *verb) {
        FILE *readme = fopen(MOUNTATD_README, "re");
        char line[512];
        unsigned found = 0;

        ck_assert_ptr_nonnull(readme);
        while (fgets(line, sizeof(line), readme)) {
                const char *start = line + strspn(line, " ");

                if (strncmp(start, "busctl call org.mountat1", 24) != 0 || !strstr(start, verb))
                        continue;
                found++;
                ck_assert_int_eq(system(start), 0);
        }
        ck_assert_uint_eq(found, 1);
        fclose(readme);
}

BUS_TEST(readme_lines_mount_and_unmount) {
        struct bus_stage stage = bus_stage_open();
        struct world_mount found;

        ck_assert_int_eq(mount("tmpfs", "/srv", "tmpfs", 0, NULL), 0);
        ck_assert_int_eq(mkdir("/srv/root", 0755) | mkdir("/srv/root/proc", 0755) |
                                 mkdir("/srv/root/sys", 0755),
                         0);
        run_readme_line(" MountPath ");
        ck_assert(world_find_mount(0, "/srv/root/proc", &found));
        ck_assert_str_eq(found.source, "mountatd");
        ck_assert(world_has_option(found.options, "nosuid"));
        ck_assert(world_find_mount(0, "/srv/root/sys", &found));
        run_readme_line(" UnmountPath ");
        ck_assert_uint_eq(world_count_mounts(0, "mountatd"), 0);
        bus_stage_close(&stage);
}

BUS_TEST(root_may_name_directories_of_other_users) {
        struct bus_stage stage = bus_stage_open();
        sd_bus_error error = SD_BUS_ERROR_NULL;
        sd_bus_message *reply;
        struct system_bus_lease lease;

        world_make_root(WORLD_ALICE, "root");
        ck_assert_int_eq(chmod(world_path("root"), 0755), 0);
        system_bus_mount_path(stage.root, world_path("root"));
        ck_assert_uint_eq(system_bus_list(stage.root, &lease, 1), 1);
        ck_assert_str_eq(lease.place, world_path("root"));
        ck_assert_str_eq(lease.origin, "bus");
        ck_assert_uint_eq(lease.file_systems, 2);
        ck_assert_uint_eq(lease.uid, 0);
        ck_assert_uint_eq(lease.pid, getpid());
        ck_assert_uint_lt(lease.age, 60);
        reply = system_bus_call(stage.root, &error, "UnmountPath", "s", world_path("root"));
        ck_assert_msg(reply != NULL, "%s", error.message);
        sd_bus_message_unref(reply);
        ck_assert_uint_eq(system_bus_list(stage.root, &lease, 1), 0);
        bus_stage_close(&stage);
}

/* The one capability opens no door; descriptors need none. */
BUS_TEST(root_of_mode_0700_needs_descriptors) {
        struct bus_stage stage = bus_stage_open();
        uint64_t lease;

        world_make_root(WORLD_ALICE, "root");
        system_bus_expect(stage.root, "NotAuthorised", "MountPath", "sas", world_path("root"), 1,
                          "proc");
        lease = system_bus_hold(stage.root, WORLD_ALICE, world_path("root"));
        ck_assert_uint_eq(world_count_mounts(0, "mountatd"), 2);
        system_bus_unmount(stage.root, lease);
        ck_assert_uint_eq(world_count_mounts(0, "mountatd"), 0);
        bus_stage_close(&stage);
}

BUS_TEST(group_member_mounts_on_own_directories_alone) {
        struct bus_stage stage = bus_stage_open();
        sd_bus *alice = system_bus_connect(WORLD_ALICE);
        sd_bus_error error = SD_BUS_ERROR_NULL;
        uint64_t lease;

        world_make_root(WORLD_ALICE, "hers");
        world_make_root(WORLD_BOB, "his");
        lease = system_bus_hold(alice, WORLD_ALICE, world_path("hers"));
        ck_assert_ptr_null(system_bus_mount(alice, &error, WORLD_BOB, world_path("his")));
        system_bus_judge(&error, "NotAuthorised");
        sd_bus_error_free(&error);
        ck_assert_uint_eq(system_bus_list(alice, NULL, 0), 1);
        system_bus_unmount(alice, lease);
        system_bus_expect(alice, "NoSuchLease", "Unmount", "t", lease);
        sd_bus_close_unref(alice);
        bus_stage_close(&stage);
}

BUS_TEST(lease_outlives_who_asked_for_it) {
        struct bus_stage stage = bus_stage_open();
        sd_bus *alice = system_bus_connect(WORLD_ALICE);
        uint64_t lease;

        world_make_root(WORLD_ALICE, "root");
        lease = system_bus_hold(alice, WORLD_ALICE, world_path("root"));
        sd_bus_close_unref(alice);
        usleep(300000);
        ck_assert_uint_eq(world_count_mounts(0, "mountatd"), 2);
        alice = system_bus_connect(WORLD_ALICE);
        system_bus_unmount(alice, lease);
        sd_bus_close_unref(alice);
        bus_stage_close(&stage);
}

BUS_TEST(lease_of_another_user_is_safe) {
        struct bus_stage stage = bus_stage_open();
        sd_bus *alice = system_bus_connect(WORLD_ALICE), *bob = system_bus_connect(WORLD_BOB);
        uint64_t lease;

        world_make_root(WORLD_ALICE, "root");
        lease = system_bus_hold(alice, WORLD_ALICE, world_path("root"));
        system_bus_expect(bob, "NotAuthorised", "Unmount", "t", lease);
        ck_assert_uint_eq(system_bus_list(bob, NULL, 0), 0);
        ck_assert_uint_eq(system_bus_list(alice, NULL, 0), 1);
        ck_assert_uint_eq(system_bus_list(stage.root, NULL, 0), 1);
        system_bus_unmount(stage.root, lease);
        sd_bus_close_unref(alice);
        sd_bus_close_unref(bob);
        bus_stage_close(&stage);
}

/* A connection's lease isn't its user's to take away by the bus, but root's. */
BUS_TEST(lease_of_a_connection_is_taken_by_root_alone) {
        struct bus_stage stage = bus_stage_open();
        sd_bus *alice = system_bus_connect(WORLD_ALICE);
        int client = client_connect(&stage.service, WORLD_ALICE);
        struct system_bus_lease listed;
        struct wire_reply reply;
        uint64_t lease;

        world_make_root(WORLD_ALICE, "root");
        lease = client_hold_root(client, WORLD_ALICE, world_path("root"));
        ck_assert_uint_eq(system_bus_list(alice, &listed, 1), 1);
        ck_assert_str_eq(listed.origin, "socket");
        ck_assert_uint_eq(listed.lease, lease);
        system_bus_expect(alice, "NotAuthorised", "Unmount", "t", lease);
        system_bus_unmount(stage.root, lease);
        ck_assert_uint_eq(world_count_mounts(0, "mountatd"), 0);
        reply = client_unmount(client, lease);
        client_expect(reply, STATUS_NO_SUCH_LEASE, 0, STATUS_NO_TARGET);
        close(client);
        expect_socket_works(&stage.service);
        sd_bus_close_unref(alice);
        bus_stage_close(&stage);
}

BUS_TEST(bus_refuses_mount_and_unmount_outside_the_group) {
        struct bus_stage stage = bus_stage_open();
        sd_bus *mallory = system_bus_connect(WORLD_MALLORY);
        sd_bus_error error = SD_BUS_ERROR_NULL;

        world_make_root(WORLD_MALLORY, "root");
        ck_assert_ptr_null(system_bus_mount(mallory, &error, WORLD_MALLORY, world_path("root")));
        system_bus_judge(&error, SD_BUS_ERROR_ACCESS_DENIED);
        sd_bus_error_free(&error);
        system_bus_expect(mallory, SD_BUS_ERROR_ACCESS_DENIED, "Unmount", "t", (uint64_t)1);
        ck_assert_uint_eq(system_bus_list(mallory, NULL, 0), 0);
        system_bus_expect(mallory, "NotAuthorised", "MountPath", "sas", world_path("root"), 1,
                          "proc");
        system_bus_expect(mallory, "NotAuthorised", "UnmountPath", "s", world_path("root"));
        world_wait_for(service_has_logged(&stage.service, ": MountPath: root alone"));
        world_wait_for(service_has_logged(&stage.service, ": UnmountPath: root alone"));
        sd_bus_close_unref(mallory);
        bus_stage_close(&stage);
}

BUS_TEST(members_set_no_log_level) {
        struct bus_stage stage = bus_stage_open();
        sd_bus *alice = system_bus_connect(WORLD_ALICE);
        sd_bus_error error = SD_BUS_ERROR_NULL;
        char *level = NULL;

        ck_assert_int_ge(sd_bus_set_property(
                                 stage.root, "org.mountat1", "/org/freedesktop/LogControl1",
                                 "org.freedesktop.LogControl1", "LogLevel", &error, "s", "debug"),
                         0);
        ck_assert_int_ge(sd_bus_get_property_string(
                                 alice, "org.mountat1", "/org/freedesktop/LogControl1",
                                 "org.freedesktop.LogControl1", "LogLevel", &error, &level),
                         0);
        ck_assert_str_eq(level, "debug");
        free(level);
        ck_assert_int_lt(sd_bus_set_property(alice, "org.mountat1", "/org/freedesktop/LogControl1",
                                             "org.freedesktop.LogControl1", "LogLevel", &error, "s",
                                             "info"),
                         0);
        system_bus_judge(&error, SD_BUS_ERROR_ACCESS_DENIED);
        sd_bus_error_free(&error);
        ck_assert_int_lt(
                sd_bus_set_property(stage.root, "org.mountat1", "/org/freedesktop/LogControl1",
                                    "org.freedesktop.LogControl1", "LogLevel", &error, "s", "loud"),
                0);
        system_bus_judge(&error, SD_BUS_ERROR_INVALID_ARGS);
        sd_bus_error_free(&error);
        sd_bus_close_unref(alice);
        bus_stage_close(&stage);
}

/* ---- signals ---- */

struct heard {
        unsigned added;
        char reasons[256];
};

static int on_signal(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        struct heard *heard = userdata;
        const char *origin, *reason;
        uint64_t lease;
        uint32_t uid;

        (void)error;
        if (sd_bus_message_is_signal(message, NULL, "LeaseAdded"))
                heard->added++;
        else if (sd_bus_message_is_signal(message, NULL, "LeaseRemoved") &&
                 sd_bus_message_read(message, "tuss", &lease, &uid, &origin, &reason) > 0)
                strcat(strcat(strcat(heard->reasons, origin), reason), " ");
        return 0;
}

static bool hears(sd_bus *bus, struct heard *heard, const char *reasons) {
        while (sd_bus_process(bus, NULL) > 0)
                continue;
        return strcmp(heard->reasons, reasons) == 0;
}

static bool has_counted(sd_bus *bus, const unsigned *counted, unsigned expected) {
        while (sd_bus_process(bus, NULL) > 0)
                continue;
        return *counted == expected;
}

static struct heard *listen_as(uid_t uid, sd_bus **bus) {
        static struct heard heard;

        *bus = system_bus_connect(uid);
        memset(&heard, 0, sizeof(heard));
        ck_assert_int_ge(sd_bus_match_signal(*bus, NULL, "org.mountat1", "/org/mountat1",
                                             "org.mountat1.Manager", NULL, on_signal, &heard),
                         0);
        return &heard;
}

BUS_TEST(signals_tell_of_each_lease_and_why_it_went) {
        struct bus_stage stage = bus_stage_open();
        sd_bus *ears;
        struct heard *heard = listen_as(WORLD_BOB, &ears);
        int client = client_connect(&stage.service, WORLD_ALICE);
        uint64_t lease;

        world_make_root(WORLD_ALICE, "root");
        lease = client_hold_root(client, WORLD_ALICE, world_path("root"));
        client_unmount(client, lease);
        world_wait_for(hears(ears, heard, "socketunmounted "));
        client_hold_root(client, WORLD_ALICE, world_path("root"));
        close(client);
        world_wait_for(hears(ears, heard, "socketunmounted socketdisconnected "));
        system_bus_hold(stage.root, WORLD_ALICE, world_path("root"));
        sd_bus_close_unref(stage.root);
        service_stop(&stage.service);
        world_wait_for(hears(ears, heard, "socketunmounted socketdisconnected busstopped "));
        ck_assert_uint_eq(heard->added, 3);
        sd_bus_close_unref(ears);
        world_kill(stage.bus);
}

/* A lease of the directory `index`, which is made there. */
static void hold_below(sd_bus *bus, int place, unsigned index) {
        char path[64];
        int fd;

        snprintf(path, sizeof(path), "%u", index);
        ck_assert_int_eq(mkdirat(place, path, 0755), 0);
        strcat(path, "/proc");
        ck_assert_int_eq(mkdirat(place, path, 0755), 0);
        fd = openat(place, path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        system_bus_mount_one(bus, fd);
        close(fd);
}

static int on_removal(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        unsigned *stopped = userdata;
        const char *origin, *reason;
        uint64_t lease;
        uint32_t uid;

        (void)error;
        ck_assert_int_gt(sd_bus_message_read(message, "tuss", &lease, &uid, &origin, &reason), 0);
        *stopped += strcmp(reason, "stopped") == 0;
        return 0;
}

/* How many leases; MOUNTATD_LEASES=100: at most, where each takes its time. */
static unsigned count_leases(unsigned wanted) {
        const char *given = getenv("MOUNTATD_LEASES");
        unsigned most = given ? strtoul(given, NULL, 10) : wanted;

        return most < wanted ? most : wanted;
}

/* More than one look at the changes tells, and than are noted between two looks. */
BUS_TEST(each_lease_of_a_daemon_that_stops_is_told) {
        struct bus_stage stage = bus_stage_open();
        sd_bus *ears = system_bus_connect(WORLD_BOB);
        const unsigned leases = count_leases(1000);
        unsigned stopped = 0;
        FD_AUTO int place = open(world_path("."), O_PATH | O_DIRECTORY | O_CLOEXEC);

        for (unsigned i = 0; i < leases; i++)
                hold_below(stage.root, place, i);
        ck_assert_int_ge(sd_bus_match_signal(ears, NULL, "org.mountat1", "/org/mountat1",
                                             "org.mountat1.Manager", "LeaseRemoved", on_removal,
                                             &stopped),
                         0);
        sd_bus_close_unref(stage.root);
        service_stop(&stage.service);
        ck_assert_uint_eq(world_count_mounts(0, "mountatd"), 0);
        world_wait_for(has_counted(ears, &stopped, leases));
        sd_bus_close_unref(ears);
        world_kill(stage.bus);
}

BUS_TEST(signals_are_not_for_those_outside_the_group) {
        struct bus_stage stage = bus_stage_open();
        sd_bus *ears;
        struct heard *heard = listen_as(WORLD_MALLORY, &ears);

        world_make_root(0, "root");
        system_bus_unmount(stage.root, system_bus_mount_path(stage.root, world_path("root")));
        usleep(500000);
        ck_assert(hears(ears, heard, ""));
        ck_assert_uint_eq(heard->added, 0);
        sd_bus_close_unref(ears);
        bus_stage_close(&stage);
}

/* ---- bad input ---- */

BUS_TEST(bad_paths_are_refused_by_name) {
        struct bus_stage stage = bus_stage_open();
        const char *root = world_path("root");

        world_make_root(0, "root");
        ck_assert_int_eq(symlink(root, world_path("link")), 0);
        ck_assert_int_eq(mkdir(world_path("linked"), 0755), 0);
        ck_assert_int_eq(symlink(world_path("root/proc"), world_path("linked/proc")), 0);
        ck_assert_int_eq(mknod(world_path("file"), S_IFREG | 0644, 0), 0);

        system_bus_expect(stage.root, "TargetVanished", "MountPath", "sas", world_path("no"), 1,
                          "proc");
        system_bus_expect(stage.root, "Malformed", "MountPath", "sas", "root", 1, "proc");
        system_bus_expect(stage.root, "Malformed", "MountPath", "sas", "", 1, "proc");
        system_bus_expect(stage.root, "Malformed", "MountPath", "sas", "/srv/..", 1, "proc");
        system_bus_expect(stage.root, "Malformed", "MountPath", "sas", "/srv/ci/../x", 1, "proc");
        system_bus_expect(stage.root, "TargetVanished", "MountPath", "sas", "/srv/..no/...", 1,
                          "proc");
        system_bus_expect(stage.root, "NotADirectory", "MountPath", "sas", world_path("link"), 1,
                          "proc");
        system_bus_expect(stage.root, "NotADirectory", "MountPath", "sas", world_path("link/."), 1,
                          "proc");
        system_bus_expect(stage.root, "NotADirectory", "MountPath", "sas", world_path("linked"), 1,
                          "proc");
        system_bus_expect(stage.root, "NotADirectory", "MountPath", "sas", world_path("file"), 1,
                          "proc");
        system_bus_expect(stage.root, "NotADirectory", "MountPath", "sas", "/proc/self/cwd", 1,
                          "proc");
        system_bus_expect(stage.root, "Malformed", "MountPath", "sas", root, 0);
        system_bus_expect(stage.root, "UnsupportedFileSystem", "MountPath", "sas", root, 1,
                          "tmpfs");
        system_bus_expect(stage.root, "AlreadyMounted", "MountPath", "sas", root, 2, "proc",
                          "proc");
        system_bus_expect(stage.root, "Malformed", "MountPath", "sas", root, 17, "proc", "proc",
                          "proc", "proc", "proc", "proc", "proc", "proc", "proc", "proc", "proc",
                          "proc", "proc", "proc", "proc", "proc", "proc");
        system_bus_expect(stage.root, "NoSuchLease", "UnmountPath", "s", root);
        system_bus_expect(stage.root, "TargetVanished", "UnmountPath", "s", world_path("no"));
        system_bus_expect(stage.root, "NoSuchLease", "Unmount", "t", (uint64_t)0);
        system_bus_expect(stage.root, "NoSuchLease", "Unmount", "t", UINT64_MAX);
        ck_assert_uint_eq(world_count_mounts(0, "mountatd"), 0);
        bus_stage_close(&stage);
}

BUS_TEST(bad_descriptors_and_options_are_refused_by_name) {
        struct bus_stage stage = bus_stage_open();
        FD_AUTO int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
        FD_AUTO int proc = -EBADF;

        world_make_root(0, "root");
        proc = world_open(0, world_path("root/proc"));
        system_bus_expect(stage.root, "NotADirectory", "Mount", "a(hsu)", 1, null, "proc", 0);
        system_bus_expect(stage.root, "WrongName", "Mount", "a(hsu)", 1, proc, "sysfs", 0);
        system_bus_expect(stage.root, "Malformed", "Mount", "a(hsu)", 1, proc, "proc", 8);
        system_bus_expect(stage.root, "UnsupportedFileSystem", "Mount", "a(hsu)", 1, proc, "", 0);
        system_bus_expect(stage.root, "Malformed", "Mount", "a(hsu)", 0);
        bus_stage_close(&stage);
}

BUS_TEST(wrong_signatures_are_refused) {
        struct bus_stage stage = bus_stage_open();

        system_bus_expect(stage.root, SD_BUS_ERROR_INVALID_ARGS, "MountPath", "s", "/srv/root");
        system_bus_expect(stage.root, SD_BUS_ERROR_INVALID_ARGS, "Unmount", "s", "1");
        system_bus_expect(stage.root, SD_BUS_ERROR_INVALID_ARGS, "ListLeases", "u", 1);
        system_bus_expect(stage.root, SD_BUS_ERROR_UNKNOWN_METHOD, "Format", "s", "/");
        bus_stage_close(&stage);
}

BUS_TEST(name_that_is_not_utf8_costs_nothing) {
        struct bus_stage stage = bus_stage_open();
        sd_bus *alice = system_bus_connect(WORLD_ALICE);
        struct system_bus_lease lease;
        char expected[512];

        world_make_root(WORLD_ALICE, "a\xff\n");
        system_bus_hold(alice, WORLD_ALICE, world_path("a\xff\n"));
        snprintf(expected, sizeof(expected), "%s", world_path("a\\xff\\x0a"));
        ck_assert_uint_eq(system_bus_list(alice, &lease, 1), 1);
        ck_assert_str_eq(lease.place, expected);
        ck_assert_uint_eq(system_bus_number(alice, "Leases"), 1);
        sd_bus_close_unref(alice);
        bus_stage_close(&stage);
}

static int on_flood_reply(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        unsigned *counts = userdata;
        const sd_bus_error *refusal = sd_bus_message_get_error(reply);

        (void)error;
        counts[0]++;
        if (refusal && strcmp(refusal->name, "org.mountat1.Error.LimitExceeded") == 0)
                counts[1]++;
        return 0;
}

/* A directory whose path is as long as can be told, each byte of which is four in a list. */
static int make_long_place(void) {
        char name[256];
        int at = open(world_path("."), O_PATH | O_DIRECTORY | O_CLOEXEC);

        memset(name, '\1', sizeof(name) - 1);
        name[sizeof(name) - 1] = '\0';
        for (int i = 0; i < 15; i++) {
                int below;

                ck_assert_int_eq(mkdirat(at, name, 0755), 0);
                below = openat(at, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
                ck_assert_int_ge(below, 0);
                close(at);
                at = below;
        }
        return at;
}

/* A listing's message, its entries and their places: of one at a time, however many ask. */
static void expect_little_memory(const struct service *service) {
#ifndef MOUNTATD_SANITIZED
        unsigned kib = service_peak_kib(service);

        ck_assert_uint_gt(kib, 0);
        ck_assert_uint_lt(kib, 48 * 1024);
#else
        (void)service;
#endif
}

/* 32 MiB in one message cost the daemon its connection to the bus. */
BUS_TEST(places_of_any_length_fit_a_list) {
        struct bus_stage stage = {0};
        struct system_bus_lease lease;
        const unsigned leases = count_leases(2300); /* of 15 kB each, if they weren't cut */
        const unsigned lists = 30;
        unsigned counts[2] = {0};
        int place;

        system_bus_prepare();
        stage.bus = system_bus_start();
        stage.service =
                service_start(&(struct service_plan){.name = "a",
                                                     .start = SERVICE_LISTENS,
                                                     .unnamed = true,
                                                     .options = {"--max-mounts-per-user=4096"}});
        system_bus_wait_for("org.mountat1");
        stage.root = system_bus_connect(0);
        place = make_long_place();
        for (unsigned i = 0; i < leases; i++)
                hold_below(stage.root, place, i);
        close(place);

        ck_assert_uint_eq(system_bus_list(stage.root, &lease, 1), leases);
        ck_assert_uint_gt(strlen(lease.place), 1000);
        ck_assert_uint_le(strlen(lease.place), 1024);
        ck_assert_str_eq(lease.place + strlen(lease.place) - 3, "...");
        for (unsigned i = 0; i < lists; i++)
                ck_assert_int_ge(sd_bus_call_method_async(stage.root, NULL, "org.mountat1",
                                                          "/org/mountat1", "org.mountat1.Manager",
                                                          "ListLeases", on_flood_reply, counts, ""),
                                 0);
        while (counts[0] < lists)
                if (sd_bus_process(stage.root, NULL) == 0)
                        ck_assert_int_gt(sd_bus_wait(stage.root, 30000000), 0);
        ck_assert_uint_eq(counts[1], 0);
        expect_little_memory(&stage.service);
        bus_stage_close(&stage);
}

BUS_TEST(caller_that_leaves_before_the_answer_disturbs_nobody) {
        struct bus_stage stage = bus_stage_open();

        world_make_root(0, "root");
        for (int i = 0; i < 50; i++) {
                sd_bus *hasty = system_bus_connect(0);
                sd_bus_message *call = NULL;

                ck_assert_int_ge(sd_bus_message_new_method_call(
                                         hasty, &call, "org.mountat1", "/org/mountat1",
                                         "org.mountat1.Manager", "MountPath"),
                                 0);
                ck_assert_int_ge(
                        sd_bus_message_append(call, "sas", world_path("root"), 2, "proc", "sysfs"),
                        0);
                ck_assert_int_ge(sd_bus_send(hasty, call, NULL), 0);
                sd_bus_message_unref(call);
                sd_bus_flush_close_unref(hasty);
        }
        expect_socket_works(&stage.service);
        ck_assert_uint_le(system_bus_list(stage.root, NULL, 0), 1);
        world_wait_for(system_bus_number(stage.root, "Connections") == 0);
        bus_stage_close(&stage);
}

BUS_TEST(flood_of_calls_is_answered_by_name) {
        struct bus_stage stage = bus_stage_open();
        sd_bus *flood = system_bus_connect(WORLD_ALICE);
        unsigned counts[2] = {0}, sent = 120; /* dbus-daemon itself allows 128 */

        ck_assert_int_eq(kill(stage.service.pid, SIGSTOP), 0);
        for (unsigned i = 0; i < sent; i++)
                ck_assert_int_ge(sd_bus_call_method_async(flood, NULL, "org.mountat1",
                                                          "/org/mountat1", "org.mountat1.Manager",
                                                          "ListLeases", on_flood_reply, counts, ""),
                                 0);
        wait_until_the_bus_has_passed_on(flood);
        ck_assert_int_eq(kill(stage.service.pid, SIGCONT), 0);
        while (counts[0] < sent)
                if (sd_bus_process(flood, NULL) == 0)
                        ck_assert_int_gt(sd_bus_wait(flood, 10000000), 0);
        ck_assert_uint_gt(counts[1], 0);
        ck_assert_uint_lt(counts[1], sent);
        expect_socket_works(&stage.service);
        ck_assert_uint_eq(system_bus_list(flood, NULL, 0), 0);
        world_wait_for(system_bus_number(stage.root, "Connections") == 0);
        sd_bus_close_unref(flood);
        bus_stage_close(&stage);
}

/* A TCP socket whose last close waits for the other end, which doesn't read. */
static int make_lingering(int *other) {
        const struct linger linger = {.l_onoff = 1, .l_linger = 3600};
        struct sockaddr_in address = {.sin_family = AF_INET,
                                      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t size = sizeof(address);
        FD_AUTO int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        static const char bytes[65536];

        ck_assert_int_eq(bind(listener, (struct sockaddr *)&address, size), 0);
        ck_assert_int_eq(listen(listener, 1), 0);
        ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&address, &size), 0);
        ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, size), 0);
        *other = accept(listener, NULL, NULL);
        ck_assert_int_ge(*other, 0);
        ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
        while (send(fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
                continue;
        return fd;
}

static int on_refusal(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        char *name = userdata;

        (void)error;
        snprintf(name, 128, "%s", (sd_bus_message_get_error(reply) ?: &SD_BUS_ERROR_NULL)->name);
        return 0;
}

static void wait_for_refusal(sd_bus *bus, const char *refusal) {
        while (refusal[0] == '\0')
                if (sd_bus_process(bus, NULL) == 0)
                        ck_assert_int_gt(sd_bus_wait(bus, 25000000), 0);
}

BUS_TEST(descriptor_that_is_slow_to_close_keeps_nobody_waiting) {
        struct bus_stage stage = bus_stage_open();
        sd_bus *alice = system_bus_connect(WORLD_ALICE);
        int other, slow = make_lingering(&other);
        sd_bus_message *call = NULL;
        char refusal[128] = "";

        ck_assert_int_ge(sd_bus_message_new_method_call(alice, &call, "org.mountat1",
                                                        "/org/mountat1", "org.mountat1.Manager",
                                                        "Mount"),
                         0);
        ck_assert_int_ge(sd_bus_message_append(call, "a(hsu)", 1, slow, "proc", 0), 0);
        close(slow);
        /* Ours and the bus' copies go before the daemon's: the last close is the slow one. */
        ck_assert_int_eq(kill(stage.service.pid, SIGSTOP), 0);
        ck_assert_int_ge(sd_bus_call_async(alice, NULL, call, on_refusal, refusal, 0), 0);
        sd_bus_message_unref(call);
        wait_until_the_bus_has_passed_on(alice);
        ck_assert_int_eq(kill(stage.service.pid, SIGCONT), 0);

        /* From its answer on the daemon closes it, for longer than any of these waits. */
        wait_for_refusal(alice, refusal);
        ck_assert_str_eq(refusal, "org.mountat1.Error.NotADirectory");
        for (int i = 0; i < 10; i++)
                expect_socket_works(&stage.service);
        ck_assert_uint_eq(system_bus_list(stage.root, NULL, 0), 0);
        close(other);
        sd_bus_close_unref(alice);
        bus_stage_close(&stage);
}

/* A call that loses its worker to what is at "h", and the connection that it came by. */
static sd_bus *call_and_wedge(const struct bus_stage *stage, char *refusal) {
        sd_bus *waiting = system_bus_connect(0);

        ck_assert_int_ge(sd_bus_call_method_async(waiting, NULL, "org.mountat1", "/org/mountat1",
                                                  "org.mountat1.Manager", "MountPath", on_refusal,
                                                  refusal, "sas", world_path("h/stalled"), 1,
                                                  "proc"),
                         0);
        sd_bus_flush(waiting);
        world_wait_for(system_bus_number(stage->root, "LostWorkers") == 1);
        return waiting;
}

/* A worker is lost for as long as the file system's server likes; who asked has his answer. */
HOSTILE_TEST(path_on_a_stalled_file_system_keeps_nobody_waiting) {
        struct hostile hostile;
        struct bus_stage stage;
        sd_bus *waiting;
        char refusal[128] = "";

        if (!system_bus_is_installed()) {
                test_skip_report("path_on_a_stalled_file_system_keeps_nobody_waiting",
                                 "dbus-daemon is not installed");
                return;
        }
        hostile = hostile_start_shared(0, "h");
        stage = bus_stage_open();
        waiting = call_and_wedge(&stage, refusal);
        expect_socket_works(&stage.service);
        world_make_root(0, "root");
        system_bus_mount_path(stage.root, world_path("root"));
        wait_for_refusal(waiting, refusal);
        ck_assert_str_eq(refusal, "org.mountat1.Error.HostFailed");
        hostile_end(&hostile);
        world_wait_for(system_bus_number(stage.root, "LostWorkers") == 0);
        world_wait_for(system_bus_number(stage.root, "Connections") == 0);
        ck_assert_uint_eq(world_count_mounts(0, "mountatd"), 2);
        sd_bus_close_unref(waiting);
        bus_stage_close(&stage);
}

/* Its connection to the bus stays open with the thread that is stuck, but for a hang-up. */
HOSTILE_TEST(restart_beside_a_stuck_worker_is_known_to_the_bus) {
        struct hostile hostile;
        struct bus_stage stage;
        sd_bus *waiting;
        char refusal[128] = "";

        if (!system_bus_is_installed()) {
                test_skip_report("restart_beside_a_stuck_worker_is_known_to_the_bus",
                                 "dbus-daemon is not installed");
                return;
        }
        hostile = hostile_start_shared(0, "h");
        stage = bus_stage_open();
        waiting = call_and_wedge(&stage, refusal);
        ck_assert_int_eq(kill(stage.service.pid, SIGUSR1), 0);
        wait_for_refusal(waiting, refusal);
        ck_assert_str_eq(refusal, "org.freedesktop.DBus.Error.NoReply");
        world_wait_for(!system_bus_has("org.mountat1"));
        ck_assert(service_is_running(&stage.service)); /* what is left of it */

        hostile_end(&hostile);
        ck_assert_int_eq(service_wait(&stage.service), 0);
        sd_bus_close_unref(waiting);
        sd_bus_close_unref(stage.root);
        world_kill(stage.bus);
}

/* ---- the bus itself ---- */

BUS_TEST(bus_goes_away_and_comes_back) {
        struct bus_stage stage = bus_stage_open();
        int client = client_connect(&stage.service, WORLD_ALICE);

        world_make_root(WORLD_ALICE, "root");
        world_make_root(0, "kept");
        system_bus_mount_path(stage.root, world_path("kept"));
        client_hold_root(client, WORLD_ALICE, world_path("root"));
        sd_bus_close_unref(stage.root);
        world_kill(stage.bus);

        expect_socket_works(&stage.service);
        usleep(1500000);
        client_hello(client);
        ck_assert_uint_eq(world_count_mounts(0, "mountatd"), 4);

        stage.bus = system_bus_start();
        system_bus_wait_for("org.mountat1");
        stage.root = system_bus_connect(0);
        ck_assert_uint_eq(system_bus_list(stage.root, NULL, 0), 2);
        close(client);
        bus_stage_close(&stage);
}

BUS_TEST(daemon_starts_without_a_bus_and_finds_it_later) {
        struct bus_stage stage;

        system_bus_prepare();
        stage.service = service_start(
                &(struct service_plan){.name = "a", .start = SERVICE_LISTENS, .unnamed = true});
        expect_socket_works(&stage.service);
        stage.bus = system_bus_start();
        system_bus_wait_for("org.mountat1");
        stage.root = system_bus_connect(0);
        ck_assert_uint_eq(system_bus_list(stage.root, NULL, 0), 0);
        bus_stage_close(&stage);
}

/* ---- readiness ---- */

/* Where the daemon tells of it, as to a service manager. */
static int open_manager(const char *path) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

        snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
        ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
        return fd;
}

static bool is_ready(int manager) {
        char message[4096];
        ssize_t size;

        while ((size = recv(manager, message, sizeof(message) - 1, MSG_DONTWAIT)) > 0) {
                message[size] = '\0';
                if (strstr(message, "READY=1"))
                        return true;
        }
        return false;
}

static const struct service_plan ready_plan = {
        .name = "a", .start = SERVICE_LISTENS, .unnamed = true};

BUS_TEST(daemon_is_ready_when_it_has_its_name) {
        struct bus_stage stage = {0};
        struct service_plan plan = ready_plan;
        int manager;
        int64_t start;
        bool early, in_time;

        plan.notify = world_path("notify");
        manager = open_manager(plan.notify);
        system_bus_prepare();
        stage.bus = system_bus_start();
        stage.root = system_bus_connect(0);
        ck_assert_int_eq(kill(stage.bus, SIGSTOP), 0);
        start = world_now_ms();
        stage.service = service_spawn(&plan);
        expect_socket_works(&stage.service);
        usleep(100000);
        early = is_ready(manager);
        in_time = world_now_ms() - start < 1000; /* it waits no longer for the bus */
        ck_assert_int_eq(kill(stage.bus, SIGCONT), 0);
        ck_assert(!early || !in_time);
        if (!early)
                world_wait_for(is_ready(manager));
        in_time = world_now_ms() - start < 1000;
        ck_assert(system_bus_has("org.mountat1") || !in_time);
        system_bus_wait_for("org.mountat1");
        close(manager);
        bus_stage_close(&stage);
}

BUS_TEST(daemon_without_a_bus_serves_before_it_is_ready) {
        struct service_plan plan = ready_plan;
        struct service service;
        int64_t start;
        int manager;

        plan.notify = world_path("notify");
        manager = open_manager(plan.notify);
        system_bus_prepare();
        start = world_now_ms();
        service = service_spawn(&plan);
        expect_socket_works(&service);
        if (world_now_ms() - start < 1000)
                ck_assert(!is_ready(manager));
        world_wait_for(is_ready(manager));
        close(manager);
        service_stop(&service);
}

/* ---- the end of an instance ---- */

enum {
        LAST_CALLS = 10,
};

struct last_calls {
        unsigned answered;
        unsigned done;
        unsigned refused; /* by the daemon, which is stopping */
};

static int on_last_reply(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        struct last_calls *last = userdata;
        const sd_bus_error *refusal = sd_bus_message_get_error(reply);

        (void)error;
        last->answered++;
        if (!refusal)
                last->done++;
        else if (strcmp(refusal->name, "org.mountat1.Error.ShuttingDown") == 0)
                last->refused++;
        else
                fprintf(stderr, "answered by %s: %s\n", refusal->name, refusal->message);
        return 0;
}

static void send_last_call(sd_bus *bus, struct last_calls *last, const char *member,
                           const char *types, ...) {
        sd_bus_message *call;
        va_list arguments;

        va_start(arguments, types);
        call = system_bus_message(bus, member, types, arguments);
        va_end(arguments);
        ck_assert_int_ge(sd_bus_call_async(bus, NULL, call, on_last_reply, last, 0), 0);
        sd_bus_message_unref(call);
}

/* The daemon, that sleeps, finds these when it wakes. */
static void send_last_calls(sd_bus *bus, struct last_calls *last, bool mount) {
        *last = (struct last_calls){0};
        for (int i = 0; i < LAST_CALLS; i++)
                if (mount)
                        send_last_call(bus, last, "MountPath", "sas", world_path("root%d", i), 1,
                                       "proc");
                else
                        send_last_call(bus, last, "ListLeases", "");
        wait_until_the_bus_has_passed_on(bus);
}

static void wait_for_last_replies(sd_bus *bus, const struct last_calls *last) {
        while (last->answered < LAST_CALLS)
                if (sd_bus_process(bus, NULL) == 0)
                        ck_assert_int_gt(sd_bus_wait(bus, 30000000), 0);
}

static void make_last_roots(void) {
        char name[16];

        for (int i = 0; i < LAST_CALLS; i++) {
                snprintf(name, sizeof(name), "root%d", i);
                world_make_root(0, name);
        }
}

/* The idle timeout has run out, and the calls are there, when the daemon wakes: which of them it
 * sees first is chance. */
static void call_at_the_end_of_idleness(struct bus_stage *stage, bool mount) {
        struct last_calls last;

        stage->service = service_start(&(struct service_plan){
                .name = "a", .unnamed = true, .options = {"--idle-timeout=2"}});
        system_bus_wait_for("org.mountat1");
        ck_assert_int_eq(kill(stage->service.pid, SIGSTOP), 0);
        usleep(2300000);
        send_last_calls(stage->root, &last, mount);
        ck_assert_int_eq(kill(stage->service.pid, SIGCONT), 0);
        wait_for_last_replies(stage->root, &last);
        ck_assert_uint_eq(last.done, LAST_CALLS);
}

BUS_TEST(calls_to_a_daemon_that_leaves_for_idleness_are_served) {
        struct bus_stage stage = {0};

        system_bus_prepare();
        stage.bus = system_bus_start();
        stage.root = system_bus_connect(0);
        make_last_roots();
        for (int i = 0; i < 3; i++) {
                call_at_the_end_of_idleness(&stage, false);
                ck_assert_int_eq(service_wait(&stage.service), 0);
        }
        call_at_the_end_of_idleness(&stage, true);
        usleep(1000000);
        if (service_is_running(&stage.service))
                world_kill(stage.service.pid); /* it wasn't idle any more */
        else
                ck_assert_int_eq(service_wait(&stage.service), 0);
        ck_assert_uint_eq(world_count_mounts(0, "mountatd"), LAST_CALLS);
        stage.service = bus_stage_start_service();
        ck_assert_uint_eq(system_bus_list(stage.root, NULL, 0), LAST_CALLS);
        bus_stage_close(&stage);
}

BUS_TEST(calls_to_a_daemon_that_is_stopped_are_answered) {
        struct bus_stage stage = bus_stage_open();

        make_last_roots();
        for (int i = 0; i < 6; i++) {
                struct last_calls last;

                ck_assert_int_eq(kill(stage.service.pid, SIGSTOP), 0);
                ck_assert_int_eq(kill(stage.service.pid, SIGTERM), 0);
                send_last_calls(stage.root, &last, i % 2);
                ck_assert_int_eq(kill(stage.service.pid, SIGCONT), 0);
                wait_for_last_replies(stage.root, &last);
                ck_assert_uint_eq(last.done + last.refused, LAST_CALLS);
                ck_assert_int_eq(service_wait(&stage.service), 0);
                ck_assert_uint_eq(world_count_mounts(0, "mountatd"), 0);
                stage.service = bus_stage_start_service();
        }
        bus_stage_close(&stage);
}

BUS_TEST(leases_of_the_bus_outlive_a_killed_instance) {
        struct bus_stage stage = bus_stage_open();
        struct system_bus_lease lease;
        uint64_t id;

        world_make_root(0, "root");
        ck_assert_int_eq(chmod(world_path("root"), 0755), 0);
        id = system_bus_mount_path(stage.root, world_path("root"));
        world_kill(stage.service.pid);
        stage.service = service_start(&(struct service_plan){.name = "a",
                                                             .start = SERVICE_LISTENS,
                                                             .unnamed = true,
                                                             .options = {"--adopt-timeout=1"}});
        system_bus_wait_for("org.mountat1");
        usleep(2500000);
        ck_assert_uint_eq(world_count_mounts(0, "mountatd"), 2);
        ck_assert_uint_eq(system_bus_list(stage.root, &lease, 1), 1);
        ck_assert_uint_eq(lease.lease, id);
        ck_assert_str_eq(lease.origin, "bus");
        ck_assert_str_eq(lease.place, world_path("root"));
        system_bus_unmount(stage.root, id);
        ck_assert_uint_eq(world_count_mounts(0, "mountatd"), 0);
        bus_stage_close(&stage);
}

/* Out of reach, below a directory of mode 0700: on record, and mountatd --sweep takes it. */
BUS_TEST(lease_out_of_reach_stays_on_record) {
        struct bus_stage stage = bus_stage_open();
        struct system_bus_lease lease;
        const char *service = MOUNTATD_PROGRAM;
        char command[512];

        world_make_root(WORLD_ALICE, "root");
        system_bus_hold(stage.root, WORLD_ALICE, world_path("root"));
        world_kill(stage.service.pid);
        stage.service = bus_stage_start_service();
        world_wait_for(service_has_logged(&stage.service, "out of reach"));
        ck_assert_uint_eq(world_count_mounts(0, "mountatd"), 2);
        ck_assert_uint_eq(system_bus_list(stage.root, &lease, 1), 1);
        ck_assert_str_eq(lease.origin, "bus");

        /* A sweep between two instances leaves it alone, one after a stop doesn't. */
        world_kill(stage.service.pid);
        snprintf(command, sizeof(command), "%s --sweep --runtime-directory=%s", service,
                 stage.service.runtime);
        ck_assert_int_eq(system(command), 0);
        ck_assert_uint_eq(world_count_mounts(0, "mountatd"), 2);
        stage.service = bus_stage_start_service();
        ck_assert_int_eq(kill(stage.service.pid, SIGTERM), 0);
        ck_assert_int_eq(service_wait(&stage.service), 0);
        ck_assert_int_eq(system(command), 0);
        ck_assert_uint_eq(world_count_mounts(0, "mountatd"), 0);
        sd_bus_close_unref(stage.root);
        world_kill(stage.bus);
}

/* ---- polkit ---- */

static void expect_asked(const char *line) {
        FILE *log = fopen(world_path("polkit.log"), "re");
        char text[512];
        bool found = false;

        ck_assert_ptr_nonnull(log);
        while (!found && fgets(text, sizeof(text), log))
                found = strncmp(text, line, strlen(line)) == 0;
        fclose(log);
        ck_assert_msg(found, "polkit wasn't asked: %s", line);
}

BUS_TEST(polkit_lets_a_user_mount_by_path) {
        struct bus_stage stage = bus_stage_open();
        pid_t polkit = system_bus_start_polkit("org.mountat1.mount", false);
        sd_bus *mallory = system_bus_connect(WORLD_MALLORY);
        char line[512];

        world_make_root(WORLD_ALICE, "root");
        ck_assert_int_eq(chmod(world_path("root"), 0755), 0);
        system_bus_mount_path(mallory, world_path("root"));
        snprintf(line, sizeof(line), "org.mountat1.mount root=%s 0", world_path("root"));
        expect_asked(line);
        system_bus_expect(mallory, "NotAuthorised", "UnmountPath", "s", world_path("root"));
        expect_asked("org.mountat1.unmount ");
        sd_bus_close_unref(mallory);
        world_kill(polkit);
        bus_stage_close(&stage);
}

BUS_TEST(polkit_lets_a_user_take_and_see_others_leases) {
        struct bus_stage stage = bus_stage_open();
        sd_bus *bob = system_bus_connect(WORLD_BOB);
        char line[512];
        uint64_t lease;
        pid_t polkit;

        world_make_root(0, "root");
        lease = system_bus_mount_path(stage.root, world_path("root"));
        polkit = system_bus_start_polkit("org.mountat1.list-others", false);
        ck_assert_uint_eq(system_bus_list(bob, NULL, 0), 1);
        expect_asked("org.mountat1.list-others = 0");
        system_bus_expect(bob, "NotAuthorised", "Unmount", "t", lease);
        snprintf(line, sizeof(line), "org.mountat1.unmount-others lease=%016" PRIx64 " 0", lease);
        expect_asked(line);
        world_kill(polkit);
        world_wait_for(system_bus_list(bob, NULL, 0) == 0);
        polkit = system_bus_start_polkit("org.mountat1.unmount-others", false);
        system_bus_unmount(bob, lease);
        world_kill(polkit);
        sd_bus_close_unref(bob);
        bus_stage_close(&stage);
}

BUS_TEST(consent_is_asked_for_where_the_caller_allows_it) {
        struct bus_stage stage = bus_stage_open();
        pid_t polkit = system_bus_start_polkit("org.mountat1.mount", true);
        sd_bus *mallory = system_bus_connect(WORLD_MALLORY);

        world_make_root(0, "root");
        ck_assert_int_eq(chmod(world_path("root"), 0755), 0);
        system_bus_expect(mallory, SD_BUS_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED, "MountPath",
                          "sas", world_path("root"), 2, "proc", "sysfs");
        ck_assert_int_ge(sd_bus_set_allow_interactive_authorization(mallory, true), 0);
        system_bus_mount_path(mallory, world_path("root"));
        sd_bus_close_unref(mallory);
        world_kill(polkit);
        bus_stage_close(&stage);
}

/* With the actions as they are installed: a mistake in their names or in the file is seen here. */
BUS_TEST(distributions_polkit_knows_the_actions) {
        static const char rule[] = "if (action.id == \"org.mountat1.mount\" && "
                                   "action.lookup(\"root\").slice(-5) == \"/root\" && "
                                   "subject.user == \"mallory\") return polkit.Result.YES; "
                                   "if (action.id == \"org.mountat1.list-others\") "
                                   "return polkit.Result.YES;";
        struct bus_stage stage = bus_stage_open();
        pid_t polkit = system_bus_start_real_polkit(rule);
        sd_bus *mallory, *bob;

        if (polkit == 0) {
                test_skip_report("distributions_polkit_knows_the_actions",
                                 "polkitd is not installed");
                bus_stage_close(&stage);
                return;
        }
        mallory = system_bus_connect(WORLD_MALLORY);
        bob = system_bus_connect(WORLD_BOB);
        world_make_root(0, "root");
        world_make_root(0, "other");
        ck_assert_int_eq(chmod(world_path("root"), 0755) | chmod(world_path("other"), 0755), 0);
        system_bus_mount_path(mallory, world_path("root"));
        ck_assert_uint_eq(system_bus_list(bob, NULL, 0), 1);
        system_bus_expect(mallory, "NotAuthorised", "MountPath", "sas", world_path("other"), 1,
                          "proc");
        system_bus_expect(bob, "NotAuthorised", "MountPath", "sas", world_path("root"), 1, "proc");
        system_bus_expect(bob, "NotAuthorised", "UnmountPath", "s", world_path("root"));
        sd_bus_close_unref(mallory);
        sd_bus_close_unref(bob);
        world_kill(polkit);
        bus_stage_close(&stage);
}

/* Trusted for whose directory it is, and nothing else. */
BUS_TEST(trust_lifts_no_other_rule) {
        struct bus_stage stage = bus_stage_open();

        world_make_root(WORLD_ALICE, "root");
        ck_assert_int_eq(chmod(world_path("root"), 0755), 0);
        ck_assert_int_eq(mount("ramfs", world_path("root/proc"), "ramfs", 0, NULL), 0);
        system_bus_expect(stage.root, "AlreadyMounted", "MountPath", "sas", world_path("root"), 1,
                          "proc");
        ck_assert_int_eq(mkdir(world_path("remote"), 0755), 0);
        ck_assert_int_eq(mount("ramfs", world_path("remote"), "ramfs", 0, NULL), 0);
        ck_assert_int_eq(mkdir(world_path("remote/proc"), 0755), 0);
        system_bus_expect(stage.root, "UnsupportedFileSystem", "MountPath", "sas",
                          world_path("remote"), 1, "proc");
        bus_stage_close(&stage);
}

int main(void) {
        TCase *tests = tcase_create("bus");

        tcase_add_test(tests, every_method_that_can_be_seen_has_a_rule_and_names);
        tcase_add_test(tests, everybody_may_ping_and_read);
        tcase_add_test(tests, properties_tell_version_counts_and_limits);
        tcase_add_test(tests, readme_lines_mount_and_unmount);
        tcase_add_test(tests, root_may_name_directories_of_other_users);
        tcase_add_test(tests, root_of_mode_0700_needs_descriptors);
        tcase_add_test(tests, group_member_mounts_on_own_directories_alone);
        tcase_add_test(tests, lease_outlives_who_asked_for_it);
        tcase_add_test(tests, lease_of_another_user_is_safe);
        tcase_add_test(tests, lease_of_a_connection_is_taken_by_root_alone);
        tcase_add_test(tests, bus_refuses_mount_and_unmount_outside_the_group);
        tcase_add_test(tests, members_set_no_log_level);
        tcase_add_test(tests, signals_tell_of_each_lease_and_why_it_went);
        tcase_add_test(tests, each_lease_of_a_daemon_that_stops_is_told);
        tcase_add_test(tests, signals_are_not_for_those_outside_the_group);
        tcase_add_test(tests, bad_paths_are_refused_by_name);
        tcase_add_test(tests, bad_descriptors_and_options_are_refused_by_name);
        tcase_add_test(tests, wrong_signatures_are_refused);
        tcase_add_test(tests, name_that_is_not_utf8_costs_nothing);
        tcase_add_test(tests, places_of_any_length_fit_a_list);
        tcase_add_test(tests, caller_that_leaves_before_the_answer_disturbs_nobody);
        tcase_add_test(tests, flood_of_calls_is_answered_by_name);
        tcase_add_test(tests, descriptor_that_is_slow_to_close_keeps_nobody_waiting);
        tcase_add_test(tests, path_on_a_stalled_file_system_keeps_nobody_waiting);
        tcase_add_test(tests, restart_beside_a_stuck_worker_is_known_to_the_bus);
        tcase_add_test(tests, bus_goes_away_and_comes_back);
        tcase_add_test(tests, daemon_starts_without_a_bus_and_finds_it_later);
        tcase_add_test(tests, daemon_is_ready_when_it_has_its_name);
        tcase_add_test(tests, daemon_without_a_bus_serves_before_it_is_ready);
        tcase_add_test(tests, calls_to_a_daemon_that_leaves_for_idleness_are_served);
        tcase_add_test(tests, calls_to_a_daemon_that_is_stopped_are_answered);
        tcase_add_test(tests, leases_of_the_bus_outlive_a_killed_instance);
        tcase_add_test(tests, lease_out_of_reach_stays_on_record);
        tcase_add_test(tests, polkit_lets_a_user_mount_by_path);
        tcase_add_test(tests, polkit_lets_a_user_take_and_see_others_leases);
        tcase_add_test(tests, consent_is_asked_for_where_the_caller_allows_it);
        tcase_add_test(tests, distributions_polkit_knows_the_actions);
        tcase_add_test(tests, trust_lifts_no_other_rule);
        return world_run(tests);
}
