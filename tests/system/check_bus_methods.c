/* SPDX-License-Identifier: Apache-2.0 */

/* org.mountat1.Manager on a real bus: introspection, the methods, and bad input. */

#include "common/fd.h"
#include "daemon/manager.h"
#include "tests/test.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

/* The socket works as without a bus. */
static void expect_socket_works(const struct service *service) {
        int client = client_connect(service, USER_BOB);

        client_hello(client);
        close(client);
}

/* ---- introspection ---- */

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
        struct bus_fixture fixture = bus_fixture_open();
        char *text = introspect(fixture.root);
        char *manager = strstr(text, "org.mountat1.Manager"), member[64];
        unsigned methods = 0;

        ck_assert_ptr_nonnull(manager);
        for (char *at = manager; (at = strstr(at, "<method name=\"")); at++, methods++) {
                ck_assert_int_eq(sscanf(at, "<method name=\"%63[^\"]", member), 1);
                ck_assert_msg(manager_method(member) != NULL, "%s has no rule", member);
        }
        ck_assert_uint_eq(methods, 5);
        ck_assert_ptr_nonnull(strstr(manager, "name=\"file_systems\""));
        ck_assert_ptr_nonnull(strstr(manager, "name=\"root\""));
        ck_assert_ptr_null(strstr(manager, "<signal name=\"Lease"));
        for (char *at = manager; (at = strstr(at, "<arg ")); at++)
                ck_assert_msg(strstr(at, " name=\"") != NULL &&
                                      strstr(at, " name=\"") < strchr(at, '>'),
                              "an argument has no name");
        free(text);
        bus_fixture_close(&fixture);
}

/* As for every service on a bus, even for users outside the group. */
BUS_TEST(everybody_may_ping_and_read) {
        struct bus_fixture fixture = bus_fixture_open();
        sd_bus *mallory = system_bus_connect(USER_MALLORY);
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
        bus_fixture_close(&fixture);
}

static bool has(char *const *names, const char *name) {
        for (; *names; names++)
                if (strcmp(*names, name) == 0)
                        return true;
        return false;
}

BUS_TEST(properties_tell_version_counts_and_limits) {
        struct bus_fixture fixture = bus_fixture_open();
        sd_bus_error error = SD_BUS_ERROR_NULL;
        char *version = NULL, **features = NULL;

        sandbox_make_root(0, "root");
        ck_assert_int_ge(sd_bus_get_property_string(fixture.root, "org.mountat1", "/org/mountat1",
                                                    "org.mountat1.Manager", "Version", &error,
                                                    &version),
                         0);
        ck_assert_str_eq(version, MOUNTATD_VERSION);
        ck_assert_int_ge(sd_bus_get_property_strv(fixture.root, "org.mountat1", "/org/mountat1",
                                                  "org.mountat1.Manager", "Features", &error,
                                                  &features),
                         0);
        ck_assert(has(features, "adopt") && has(features, "keep") && has(features, "check"));
        ck_assert_uint_eq(system_bus_number(fixture.root, "Leases"), 0);
        ck_assert_uint_gt(system_bus_number(fixture.root, "MaxConnections"), 0);
        ck_assert_uint_eq(system_bus_number(fixture.root, "MaxConnectionsPerUser"), 512);
        ck_assert_uint_gt(system_bus_number(fixture.root, "MaxMounts"), 0);
        ck_assert_uint_eq(system_bus_number(fixture.root, "MaxNamespacesPerUser"), 256);
        ck_assert_uint_eq(system_bus_number(fixture.root, "MaxMountsPerUser"), 2048);
        ck_assert_uint_eq(system_bus_number(fixture.root, "MaxTargets"), 16);

        system_bus_mount_path(fixture.root, sandbox_path("root"));
        system_bus_expect(fixture.root, "AlreadyMounted", "MountPath", "sas", sandbox_path("root"),
                          1, "proc");
        ck_assert_uint_eq(system_bus_number(fixture.root, "Leases"), 1);
        ck_assert_uint_eq(system_bus_number(fixture.root, "MountsTotal"), 2);
        ck_assert_uint_eq(system_bus_number(fixture.root, "FailuresTotal"), 1);
        for (char **feature = features; *feature; feature++)
                free(*feature);
        free(features);
        free(version);
        bus_fixture_close(&fixture);
}

/* A client that relied on signals never sent would go on showing old values. */
BUS_TEST(no_property_promises_to_tell_changes) {
        struct bus_fixture fixture = bus_fixture_open();
        char *text = introspect(fixture.root);
        char *manager = strstr(text, "org.mountat1.Manager");
        static const char *const names[] = {"Leases", "Connections", "MountsTotal",
                                            "FailuresTotal"};

        ck_assert_ptr_nonnull(manager);
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
                char property[64], *at, *end;

                snprintf(property, sizeof(property), "<property name=\"%s\"", names[i]);
                at = strstr(manager, property);
                ck_assert_ptr_nonnull(at);
                end = strstr(at, "</property>");
                ck_assert_ptr_nonnull(end);
                at = strstr(at, "EmitsChangedSignal\" value=\"false\"");
                ck_assert_msg(at != NULL && at < end, "%s", names[i]);
        }
        free(text);
        bus_fixture_close(&fixture);
}

/* ---- the methods ---- */

/* Runs the lines of README.md that call the bus, as they are. */
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
        struct bus_fixture fixture = bus_fixture_open();
        struct sandbox_mount found;

        ck_assert_int_eq(mount("tmpfs", "/srv", "tmpfs", 0, NULL), 0);
        ck_assert_int_eq(mkdir("/srv/root", 0755) | mkdir("/srv/root/proc", 0755) |
                                 mkdir("/srv/root/sys", 0755),
                         0);
        run_readme_line(" MountPath ");
        ck_assert(sandbox_find_mount(0, "/srv/root/proc", &found));
        ck_assert_str_eq(found.source, "mountatd");
        ck_assert(sandbox_has_option(found.options, "nosuid"));
        ck_assert(sandbox_find_mount(0, "/srv/root/sys", &found));
        run_readme_line(" UnmountPath ");
        ck_assert_uint_eq(sandbox_count_mounts(0, "mountatd"), 0);
        bus_fixture_close(&fixture);
}

BUS_TEST(root_may_name_directories_of_other_users) {
        struct bus_fixture fixture = bus_fixture_open();
        sd_bus_error error = SD_BUS_ERROR_NULL;
        sd_bus_message *reply;
        struct system_bus_lease lease;

        sandbox_make_root(USER_ALICE, "root");
        ck_assert_int_eq(chmod(sandbox_path("root"), 0755), 0);
        system_bus_mount_path(fixture.root, sandbox_path("root"));
        ck_assert_uint_eq(system_bus_list(fixture.root, &lease, 1), 1);
        ck_assert_str_eq(lease.place, sandbox_path("root"));
        ck_assert_str_eq(lease.origin, "kept");
        ck_assert_uint_eq(lease.file_systems, 2);
        ck_assert_uint_eq(lease.uid, 0);
        ck_assert_uint_eq(lease.pid, getpid());
        ck_assert_uint_lt(lease.age, 60);
        ck_assert_uint_eq(system_bus_list_ex(fixture.root, &lease, 1), 1);
        ck_assert_str_eq(lease.place, sandbox_path("root"));
        ck_assert(!lease.elsewhere);
        reply = system_bus_call(fixture.root, &error, "UnmountPath", "s", sandbox_path("root"));
        ck_assert_msg(reply != NULL, "%s", error.message);
        sd_bus_message_unref(reply);
        ck_assert_uint_eq(system_bus_list(fixture.root, &lease, 1), 0);
        bus_fixture_close(&fixture);
}

/* The one capability doesn't open directories; descriptors need none. */
BUS_TEST(root_of_mode_0700_needs_descriptors) {
        struct bus_fixture fixture = bus_fixture_open();
        uint64_t lease;

        sandbox_make_root(USER_ALICE, "root");
        system_bus_expect(fixture.root, "NotAuthorised", "MountPath", "sas", sandbox_path("root"),
                          1, "proc");
        lease = client_keep_root(&fixture.service, USER_ALICE, sandbox_path("root"));
        ck_assert_uint_eq(sandbox_count_mounts(0, "mountatd"), 1);
        system_bus_unmount(fixture.root, lease);
        ck_assert_uint_eq(sandbox_count_mounts(0, "mountatd"), 0);
        bus_fixture_close(&fixture);
}

/* Over any connection, and without a question to polkit. */
BUS_TEST(kept_lease_is_its_users_to_unmount) {
        struct bus_fixture fixture = bus_fixture_open();
        sd_bus *alice = system_bus_connect(USER_ALICE);
        struct system_bus_lease listed;
        uint64_t lease;

        sandbox_make_root(USER_ALICE, "root");
        lease = client_keep_root(&fixture.service, USER_ALICE, sandbox_path("root"));
        ck_assert_uint_eq(system_bus_list(alice, &listed, 1), 1);
        ck_assert_str_eq(listed.origin, "kept");
        ck_assert_uint_eq(listed.uid, USER_ALICE);
        system_bus_unmount(alice, lease);
        ck_assert_uint_eq(sandbox_count_mounts(0, "mountatd"), 0);
        system_bus_expect(alice, "NoSuchLease", "Unmount", "t", lease);
        sd_bus_close_unref(alice);
        bus_fixture_close(&fixture);
}

BUS_TEST(lease_outlives_who_asked_for_it) {
        struct bus_fixture fixture = bus_fixture_open();
        sd_bus *root = system_bus_connect(0);
        uint64_t lease;

        sandbox_make_root(0, "root");
        lease = system_bus_mount_path(root, sandbox_path("root"));
        sd_bus_close_unref(root);
        usleep(300000);
        ck_assert_uint_eq(sandbox_count_mounts(0, "mountatd"), 2);
        system_bus_unmount(fixture.root, lease);
        bus_fixture_close(&fixture);
}

BUS_TEST(lease_of_another_user_is_safe) {
        struct bus_fixture fixture = bus_fixture_open();
        sd_bus *alice = system_bus_connect(USER_ALICE), *bob = system_bus_connect(USER_BOB);
        uint64_t lease;

        sandbox_make_root(USER_ALICE, "root");
        lease = client_keep_root(&fixture.service, USER_ALICE, sandbox_path("root"));
        system_bus_expect(bob, "NotAuthorised", "Unmount", "t", lease);
        ck_assert_uint_eq(system_bus_list(bob, NULL, 0), 0);
        ck_assert_uint_eq(system_bus_list(alice, NULL, 0), 1);
        ck_assert_uint_eq(system_bus_list(fixture.root, NULL, 0), 1);
        ck_assert_uint_eq(system_bus_list_ex(bob, NULL, 0), 0);
        ck_assert_uint_eq(system_bus_list_ex(alice, NULL, 0), 1);
        ck_assert_uint_eq(system_bus_list_ex(fixture.root, NULL, 0), 1);
        system_bus_unmount(fixture.root, lease);
        sd_bus_close_unref(alice);
        sd_bus_close_unref(bob);
        bus_fixture_close(&fixture);
}

/* Over the bus only root can take a connection's lease away, not its user. */
BUS_TEST(lease_of_a_connection_is_taken_by_root_alone) {
        struct bus_fixture fixture = bus_fixture_open();
        sd_bus *alice = system_bus_connect(USER_ALICE);
        int client = client_connect(&fixture.service, USER_ALICE);
        struct system_bus_lease listed;
        struct wire_reply reply;
        uint64_t lease;

        sandbox_make_root(USER_ALICE, "root");
        lease = client_hold_root(client, USER_ALICE, sandbox_path("root"));
        ck_assert_uint_eq(system_bus_list(alice, &listed, 1), 1);
        ck_assert_str_eq(listed.origin, "socket");
        ck_assert_uint_eq(listed.lease, lease);
        system_bus_expect(alice, "NotAuthorised", "Unmount", "t", lease);
        system_bus_unmount(fixture.root, lease);
        ck_assert_uint_eq(sandbox_count_mounts(0, "mountatd"), 0);
        reply = client_unmount(client, lease);
        client_expect(reply, STATUS_NO_SUCH_LEASE, 0, STATUS_NO_TARGET);
        close(client);
        expect_socket_works(&fixture.service);
        sd_bus_close_unref(alice);
        bus_fixture_close(&fixture);
}

BUS_TEST(outside_the_group_only_lists_are_free) {
        struct bus_fixture fixture = bus_fixture_open();
        sd_bus *mallory = system_bus_connect(USER_MALLORY);

        sandbox_make_root(USER_MALLORY, "root");
        system_bus_expect(mallory, SD_BUS_ERROR_ACCESS_DENIED, "Mount", "t", (uint64_t)1);
        system_bus_expect(mallory, "NoSuchLease", "Unmount", "t", (uint64_t)1);
        ck_assert_uint_eq(system_bus_list(mallory, NULL, 0), 0);
        ck_assert_uint_eq(system_bus_list_ex(mallory, NULL, 0), 0);
        system_bus_expect(mallory, "NotAuthorised", "MountPath", "sas", sandbox_path("root"), 1,
                          "proc");
        system_bus_expect(mallory, "NotAuthorised", "UnmountPath", "s", sandbox_path("root"));
        sandbox_wait_for(service_has_logged(&fixture.service, ": MountPath: only root"));
        sandbox_wait_for(service_has_logged(&fixture.service, ": UnmountPath: only root"));
        sd_bus_close_unref(mallory);
        bus_fixture_close(&fixture);
}

/* Trust lifts only the rule of ownership. */
BUS_TEST(trust_lifts_no_other_rule) {
        struct bus_fixture fixture = bus_fixture_open();

        sandbox_make_root(USER_ALICE, "root");
        ck_assert_int_eq(chmod(sandbox_path("root"), 0755), 0);
        ck_assert_int_eq(mount("ramfs", sandbox_path("root/proc"), "ramfs", 0, NULL), 0);
        system_bus_expect(fixture.root, "AlreadyMounted", "MountPath", "sas", sandbox_path("root"),
                          1, "proc");
        ck_assert_int_eq(mkdir(sandbox_path("remote"), 0755), 0);
        ck_assert_int_eq(mount("ramfs", sandbox_path("remote"), "ramfs", 0, NULL), 0);
        ck_assert_int_eq(mkdir(sandbox_path("remote/proc"), 0755), 0);
        system_bus_expect(fixture.root, "UnsupportedFileSystem", "MountPath", "sas",
                          sandbox_path("remote"), 1, "proc");
        bus_fixture_close(&fixture);
}

BUS_TEST(members_set_no_log_level) {
        struct bus_fixture fixture = bus_fixture_open();
        sd_bus *alice = system_bus_connect(USER_ALICE);
        sd_bus_error error = SD_BUS_ERROR_NULL;
        char *level = NULL;

        ck_assert_int_ge(sd_bus_set_property(
                                 fixture.root, "org.mountat1", "/org/freedesktop/LogControl1",
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
                sd_bus_set_property(fixture.root, "org.mountat1", "/org/freedesktop/LogControl1",
                                    "org.freedesktop.LogControl1", "LogLevel", &error, "s", "loud"),
                0);
        system_bus_judge(&error, SD_BUS_ERROR_INVALID_ARGS);
        sd_bus_error_free(&error);
        sd_bus_close_unref(alice);
        bus_fixture_close(&fixture);
}

/* ---- bad input ---- */

BUS_TEST(bad_paths_are_refused_by_name) {
        struct bus_fixture fixture = bus_fixture_open();
        const char *root = sandbox_path("root");
        char path[PATH_MAX + 1];

        sandbox_make_root(0, "root");
        ck_assert_int_eq(symlink(root, sandbox_path("link")), 0);
        ck_assert_int_eq(mkdir(sandbox_path("linked"), 0755), 0);
        ck_assert_int_eq(symlink(sandbox_path("root/proc"), sandbox_path("linked/proc")), 0);
        ck_assert_int_eq(mknod(sandbox_path("file"), S_IFREG | 0644, 0), 0);

        system_bus_expect(fixture.root, "TargetVanished", "MountPath", "sas", sandbox_path("no"), 1,
                          "proc");
        system_bus_expect(fixture.root, "Malformed", "MountPath", "sas", "root", 1, "proc");
        system_bus_expect(fixture.root, "Malformed", "MountPath", "sas", "", 1, "proc");
        system_bus_expect(fixture.root, "Malformed", "MountPath", "sas", "/srv/..", 1, "proc");
        system_bus_expect(fixture.root, "Malformed", "MountPath", "sas", "/srv/ci/../x", 1, "proc");
        memset(path, 'a', PATH_MAX);
        path[0] = '/';
        path[PATH_MAX] = '\0';
        system_bus_expect(fixture.root, "Malformed", "MountPath", "sas", path, 1, "proc");
        system_bus_expect(fixture.root, "Malformed", "UnmountPath", "s", path);
        system_bus_expect(fixture.root, "Malformed", "UnmountPath", "s", "/srv/..");
        system_bus_expect(fixture.root, "TargetVanished", "MountPath", "sas", "/srv/..no/...", 1,
                          "proc");
        system_bus_expect(fixture.root, "NotADirectory", "MountPath", "sas", sandbox_path("link"),
                          1, "proc");
        system_bus_expect(fixture.root, "NotADirectory", "MountPath", "sas", sandbox_path("link/."),
                          1, "proc");
        system_bus_expect(fixture.root, "NotADirectory", "MountPath", "sas", sandbox_path("linked"),
                          1, "proc");
        system_bus_expect(fixture.root, "NotADirectory", "MountPath", "sas", sandbox_path("file"),
                          1, "proc");
        system_bus_expect(fixture.root, "NotADirectory", "MountPath", "sas", "/proc/self/cwd", 1,
                          "proc");
        system_bus_expect(fixture.root, "Malformed", "MountPath", "sas", root, 0);
        system_bus_expect(fixture.root, "UnsupportedFileSystem", "MountPath", "sas", root, 1,
                          "tmpfs");
        system_bus_expect(fixture.root, "AlreadyMounted", "MountPath", "sas", root, 2, "proc",
                          "proc");
        system_bus_expect(fixture.root, "Malformed", "MountPath", "sas", root, 17, "proc", "proc",
                          "proc", "proc", "proc", "proc", "proc", "proc", "proc", "proc", "proc",
                          "proc", "proc", "proc", "proc", "proc", "proc");
        system_bus_expect(fixture.root, "NoSuchLease", "UnmountPath", "s", root);
        system_bus_expect(fixture.root, "TargetVanished", "UnmountPath", "s", sandbox_path("no"));
        system_bus_expect(fixture.root, "NoSuchLease", "Unmount", "t", (uint64_t)0);
        system_bus_expect(fixture.root, "NoSuchLease", "Unmount", "t", UINT64_MAX);
        ck_assert_uint_eq(sandbox_count_mounts(0, "mountatd"), 0);
        bus_fixture_close(&fixture);
}

BUS_TEST(wrong_signatures_are_refused) {
        struct bus_fixture fixture = bus_fixture_open();

        system_bus_expect(fixture.root, SD_BUS_ERROR_INVALID_ARGS, "MountPath", "s", "/srv/root");
        system_bus_expect(fixture.root, SD_BUS_ERROR_INVALID_ARGS, "Unmount", "s", "1");
        system_bus_expect(fixture.root, SD_BUS_ERROR_INVALID_ARGS, "ListLeases", "u", 1);
        system_bus_expect(fixture.root, SD_BUS_ERROR_INVALID_ARGS, "ListLeasesEx", "u", 1);
        system_bus_expect(fixture.root, SD_BUS_ERROR_UNKNOWN_METHOD, "Format", "s", "/");
        system_bus_expect(fixture.root, SD_BUS_ERROR_UNKNOWN_METHOD, "Mount", "s", "/");
        bus_fixture_close(&fixture);
}

/* The bus refuses them, so the daemon never closes a file that could block. */
BUS_TEST(descriptors_are_refused_by_the_bus) {
        struct bus_fixture fixture = bus_fixture_open();
        sd_bus *alice = system_bus_connect(USER_ALICE);
        FD_AUTO int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
        struct system_bus_answers answers = {0};

        system_bus_send(alice, &answers, "ListLeases", "h", null);
        system_bus_await(alice, &answers, 1);
        ck_assert_str_eq(answers.error, SD_BUS_ERROR_NOT_SUPPORTED);
        ck_assert_uint_eq(system_bus_list(alice, NULL, 0), 0);
        sd_bus_close_unref(alice);
        bus_fixture_close(&fixture);
}

/* Under a sanitizer, each part of a large message that arrives copies the whole. */
enum {
#ifndef MOUNTATD_SANITIZED
        LARGE_CALLS = 8, /* twice what the bus accepts at a time */
#else
        LARGE_CALLS = 2,
#endif
};

static char *make_large_path(size_t size) {
        char *path = malloc(size + 1);

        ck_assert_ptr_nonnull(path);
        memset(path, 'a', size);
        path[0] = '/';
        path[size] = '\0';
        return path;
}

static void find_owner(sd_bus *bus, char owner[static 64]) {
        sd_bus_message *reply = NULL;
        const char *name;

        ck_assert_int_ge(sd_bus_call_method(bus, "org.freedesktop.DBus", "/org/freedesktop/DBus",
                                            "org.freedesktop.DBus", "GetNameOwner", NULL, &reply,
                                            "s", "org.mountat1"),
                         0);
        ck_assert_int_ge(sd_bus_message_read(reply, "s", &name), 0);
        snprintf(owner, 64, "%s", name);
        sd_bus_message_unref(reply);
}

/* Resident now, in KiB. */
static unsigned resident_kib(const struct service *service) {
        char path[64], line[256];
        unsigned kib = 0;
        FILE *status;

        snprintf(path, sizeof(path), "/proc/%d/status", service->pid);
        status = fopen(path, "re");
        ck_assert_ptr_nonnull(status);
        while (kib == 0 && fgets(line, sizeof(line), status))
                sscanf(line, "VmRSS: %u", &kib);
        fclose(status);
        return kib;
}

/* For what any user can send: one message at a time, and only until it is checked. */
static void expect_little_memory_for_messages(const struct service *service) {
#ifndef MOUNTATD_SANITIZED
        ck_assert_uint_lt(service_peak_kib(service), 96 * 1024);
        ck_assert_uint_lt(resident_kib(service), 24 * 1024);
#else
        (void)service;
        (void)resident_kib;
#endif
}

/* The path was once part of the question to polkit, for whose length the bus hung up. */
BUS_TEST(path_of_32_mib_costs_its_sender_an_error) {
        struct bus_fixture fixture = bus_fixture_open();
        sd_bus *mallory = system_bus_connect(USER_MALLORY);
        char *path = make_large_path(32 * 1024 * 1024 - 300);
        char before[64], after[64];

        find_owner(fixture.root, before);
        system_bus_expect(mallory, "Malformed", "MountPath", "sas", path, 1, "proc");
        system_bus_expect(mallory, "Malformed", "UnmountPath", "s", path);
        system_bus_expect(mallory, "UnsupportedFileSystem", "MountPath", "sas", "/srv", 1, path);
        find_owner(fixture.root, after);
        ck_assert_str_eq(before, after);
        ck_assert_uint_eq(system_bus_list(fixture.root, NULL, 0), 0);
        expect_little_memory_for_messages(&fixture.service);
        free(path);
        sd_bus_close_unref(mallory);
        bus_fixture_close(&fixture);
}

/* A call for properties, with two strings if `second` isn't NULL: sd-bus itself refuses it. */
static void expect_no_property(sd_bus *bus, const char *expected, const char *member,
                               const char *first, const char *second) {
        sd_bus_error error = SD_BUS_ERROR_NULL;
        sd_bus_message *call = NULL;

        ck_assert_int_ge(sd_bus_message_new_method_call(bus, &call, "org.mountat1", "/org/mountat1",
                                                        "org.freedesktop.DBus.Properties", member),
                         0);
        ck_assert_int_ge(sd_bus_message_append(call, "s", first), 0);
        if (second)
                ck_assert_int_ge(sd_bus_message_append(call, "s", second), 0);
        ck_assert_int_lt(sd_bus_call(bus, call, 0, &error, NULL), 0);
        ck_assert_str_eq(error.name, expected);
        ck_assert_uint_lt(strlen(error.message), 256);
        sd_bus_error_free(&error);
        sd_bus_message_unref(call);
}

/* sd-bus repeats them in an error, and for one beyond 32 MiB the bus hung up. */
BUS_TEST(names_of_32_mib_are_not_repeated) {
        static const char manager[] = "org.mountat1.Manager", refused[] = SD_BUS_ERROR_INVALID_ARGS;
        struct bus_fixture fixture = bus_fixture_open();
        sd_bus *mallory = system_bus_connect(USER_MALLORY);
        char *name = make_large_path(32 * 1024 * 1024 - 300);
        char before[64], after[64];

        find_owner(fixture.root, before);
        expect_no_property(mallory, refused, "Get", manager, name);
        expect_no_property(mallory, refused, "Get", name, "Version");
        expect_no_property(mallory, refused, "GetAll", name, NULL);
        expect_no_property(mallory, refused, "GetAll", manager, name);
        find_owner(fixture.root, after);
        ck_assert_str_eq(before, after);
        system_bus_list(fixture.root, NULL, 0); /* by then the last message is freed */
        expect_little_memory_for_messages(&fixture.service);
        expect_no_property(mallory, SD_BUS_ERROR_UNKNOWN_PROPERTY, "Get", manager, "None");
        expect_no_property(mallory, SD_BUS_ERROR_UNKNOWN_INTERFACE, "GetAll", "org.none", NULL);
        free(name);
        sd_bus_close_unref(mallory);
        bus_fixture_close(&fixture);
}

BUS_TEST(large_calls_are_not_kept) {
        struct bus_fixture fixture = bus_fixture_open();
        sd_bus *mallory = system_bus_connect(USER_MALLORY);
        char *path = make_large_path(30 * 1024 * 1024);
        struct system_bus_answers answers = {0};

        for (int i = 0; i < LARGE_CALLS; i++) {
                system_bus_send(mallory, &answers, "MountPath", "sas", path, 1, "proc");
                sd_bus_flush(mallory);
        }
        free(path);
        system_bus_await(mallory, &answers, LARGE_CALLS);
        ck_assert_uint_eq(answers.done, 0);
        ck_assert_uint_eq(system_bus_list(fixture.root, NULL, 0), 0);
        expect_little_memory_for_messages(&fixture.service);
        sd_bus_close_unref(mallory);
        bus_fixture_close(&fixture);
}

BUS_TEST(name_with_control_characters_costs_nothing) {
        struct bus_fixture fixture = bus_fixture_open();
        sd_bus *alice = system_bus_connect(USER_ALICE);
        struct system_bus_lease lease;
        char expected[512];

        sandbox_make_root(USER_ALICE, "a\x7f\n");
        client_keep_root(&fixture.service, USER_ALICE, sandbox_path("a\x7f\n"));
        snprintf(expected, sizeof(expected), "%s", sandbox_path("a\\x7f\\x0a"));
        ck_assert_uint_eq(system_bus_list(alice, &lease, 1), 1);
        ck_assert_str_eq(lease.place, expected);
        ck_assert_uint_eq(system_bus_number(alice, "Leases"), 1);
        sd_bus_close_unref(alice);
        bus_fixture_close(&fixture);
}

/* ---- many calls, and large replies ---- */

/* A directory with the longest reported path, each byte of which takes four in a list. */
static int make_long_place(void) {
        char name[256];
        int at = open(sandbox_path("."), O_PATH | O_DIRECTORY | O_CLOEXEC);

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

/* Keeps a lease of the directory `index`, made there. */
static void keep_below(const struct service *service, int place, unsigned index) {
        char path[64];
        int fd;

        snprintf(path, sizeof(path), "%u", index);
        ck_assert_int_eq(mkdirat(place, path, 0755), 0);
        snprintf(path, sizeof(path), "%u/proc", index);
        ck_assert_int_eq(mkdirat(place, path, 0755), 0);
        fd = openat(place, path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        client_keep(service, 0, fd);
        close(fd);
}

/* The number of leases; MOUNTATD_LEASES=100 limits it where each is slow. */
static unsigned count_leases(unsigned wanted) {
        const char *given = getenv("MOUNTATD_LEASES");
        unsigned most = given ? strtoul(given, NULL, 10) : wanted;

        return most < wanted ? most : wanted;
}

/*
 * One list's message, its entries and their places: for one list at a time, whatever the number of
 * calls.
 */
static void expect_little_memory(const struct service *service) {
#ifndef MOUNTATD_SANITIZED
        unsigned kib = service_peak_kib(service);

        ck_assert_uint_gt(kib, 0);
        ck_assert_uint_lt(kib, 48 * 1024);
#else
        (void)service;
#endif
}

/* 32 MiB in one message would cost the daemon its connection to the bus. */
BUS_TEST(places_of_any_length_fit_a_list) {
        struct bus_fixture fixture = {0};
        struct system_bus_answers answers = {0};
        struct system_bus_lease lease;
        const unsigned leases = count_leases(2300); /* 15 kB each, if not cut */
        const unsigned lists = 30;
        int place;

        system_bus_prepare();
        fixture.bus = system_bus_start();
        fixture.service =
                service_start(&(struct service_plan){.name = "a",
                                                     .start = SERVICE_LISTENS,
                                                     .unnamed = true,
                                                     .options = {"--max-mounts-per-user=4096"}});
        system_bus_wait_for("org.mountat1");
        fixture.root = system_bus_connect(0);
        place = make_long_place();
        for (unsigned i = 0; i < leases; i++)
                keep_below(&fixture.service, place, i);
        close(place);

        ck_assert_uint_eq(system_bus_list(fixture.root, &lease, 1), leases);
        ck_assert_uint_gt(strlen(lease.place), 1000);
        ck_assert_uint_le(strlen(lease.place), 1024);
        ck_assert_str_eq(lease.place + strlen(lease.place) - 3, "...");
        for (unsigned i = 0; i < lists; i++)
                system_bus_send(fixture.root, &answers, i % 2 ? "ListLeases" : "ListLeasesEx", "");
        system_bus_await(fixture.root, &answers, lists);
        ck_assert_uint_eq(answers.done, lists);
        expect_little_memory(&fixture.service);
        bus_fixture_close(&fixture);
}

BUS_TEST(caller_that_leaves_before_the_answer_disturbs_nobody) {
        struct bus_fixture fixture = bus_fixture_open();
        struct system_bus_answers answers = {0};

        sandbox_make_root(0, "root");
        for (int i = 0; i < 50; i++) {
                sd_bus *hasty = system_bus_connect(0);

                system_bus_send(hasty, &answers, "MountPath", "sas", sandbox_path("root"), 2,
                                "proc", "sysfs");
                sd_bus_flush_close_unref(hasty);
        }
        expect_socket_works(&fixture.service);
        ck_assert_uint_le(system_bus_list(fixture.root, NULL, 0), 1);
        bus_fixture_close(&fixture);
}

/* The sleeping daemon finds them all when it wakes, before the bus can identify the callers. */
static struct system_bus_answers send_at_once(const struct bus_fixture *fixture, sd_bus *bus,
                                              unsigned count) {
        struct system_bus_answers answers = {0};

        ck_assert_int_eq(kill(fixture->service.pid, SIGSTOP), 0);
        for (unsigned i = 0; i < count; i++)
                system_bus_send(bus, &answers, "ListLeases", "");
        system_bus_pass_on(bus);
        ck_assert_int_eq(kill(fixture->service.pid, SIGCONT), 0);
        system_bus_await(bus, &answers, count);
        return answers;
}

BUS_TEST(thirty_two_calls_of_a_sender_are_served_at_a_time) {
        struct bus_fixture fixture = bus_fixture_open();
        sd_bus *alice = system_bus_connect(USER_ALICE);
        struct system_bus_answers answers = send_at_once(&fixture, alice, 32);

        ck_assert_msg(answers.done == 32, "%s: %s", answers.error, answers.text);
        answers = send_at_once(&fixture, alice, 33);
        ck_assert_uint_eq(answers.done, 32);
        ck_assert_uint_eq(answers.beyond_limits, 1);
        answers = send_at_once(&fixture, alice, 120); /* dbus-daemon itself allows 128 */
        ck_assert_uint_ge(answers.done, 32);
        ck_assert_uint_eq(answers.done + answers.beyond_limits, 120);
        ck_assert_ptr_nonnull(strstr(answers.text, "wait for their replies"));
        expect_socket_works(&fixture.service);
        ck_assert_uint_eq(system_bus_list(alice, NULL, 0), 0);
        sd_bus_close_unref(alice);
        bus_fixture_close(&fixture);
}

int main(void) {
        TCase *tests = tcase_create("bus_methods");

        tcase_add_test(tests, every_method_that_can_be_seen_has_a_rule_and_names);
        tcase_add_test(tests, everybody_may_ping_and_read);
        tcase_add_test(tests, properties_tell_version_counts_and_limits);
        tcase_add_test(tests, no_property_promises_to_tell_changes);
        tcase_add_test(tests, readme_lines_mount_and_unmount);
        tcase_add_test(tests, root_may_name_directories_of_other_users);
        tcase_add_test(tests, root_of_mode_0700_needs_descriptors);
        tcase_add_test(tests, kept_lease_is_its_users_to_unmount);
        tcase_add_test(tests, lease_outlives_who_asked_for_it);
        tcase_add_test(tests, lease_of_another_user_is_safe);
        tcase_add_test(tests, lease_of_a_connection_is_taken_by_root_alone);
        tcase_add_test(tests, outside_the_group_only_lists_are_free);
        tcase_add_test(tests, trust_lifts_no_other_rule);
        tcase_add_test(tests, members_set_no_log_level);
        tcase_add_test(tests, bad_paths_are_refused_by_name);
        tcase_add_test(tests, wrong_signatures_are_refused);
        tcase_add_test(tests, descriptors_are_refused_by_the_bus);
        tcase_add_test(tests, path_of_32_mib_costs_its_sender_an_error);
        tcase_add_test(tests, names_of_32_mib_are_not_repeated);
        tcase_add_test(tests, large_calls_are_not_kept);
        tcase_add_test(tests, name_with_control_characters_costs_nothing);
        tcase_add_test(tests, places_of_any_length_fit_a_list);
        tcase_add_test(tests, caller_that_leaves_before_the_answer_disturbs_nobody);
        tcase_add_test(tests, thirty_two_calls_of_a_sender_are_served_at_a_time);
        return sandbox_run(tests);
}
