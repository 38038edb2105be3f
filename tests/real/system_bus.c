/* SPDX-License-Identifier: Apache-2.0 */

#include "tests/real/system_bus.h"

#include "common/fd.h"

#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define POLKIT_PROGRAM "/usr/lib/polkit-1/polkitd"
#define POLKIT_ACTIONS "/usr/share/polkit-1/actions"
#define POLKIT_RULES "/etc/polkit-1/rules.d"

#define BUS_PROGRAM "/usr/bin/dbus-daemon"

static const char config[] =
        "<!DOCTYPE busconfig PUBLIC '-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN'\n"
        " 'http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd'>\n"
        "<busconfig><type>system</type><auth>EXTERNAL</auth><listen>%s</listen>\n"
        "<policy context='default'>\n"
        " <allow user='*'/><deny own='*'/><deny send_type='method_call'/>\n"
        " <allow send_type='signal'/>\n"
        " <allow send_requested_reply='true' send_type='method_return'/>\n"
        " <allow send_requested_reply='true' send_type='error'/>\n"
        " <allow receive_type='method_call'/><allow receive_type='method_return'/>\n"
        " <allow receive_type='error'/><allow receive_type='signal'/>\n"
        " <allow send_destination='org.freedesktop.DBus'/>\n"
        "</policy>\n"
        "<policy user='root'><allow own='org.freedesktop.PolicyKit1'/>\n"
        " <allow send_destination='org.freedesktop.PolicyKit1'/></policy>\n"
        "<policy user='polkitd'><allow own='org.freedesktop.PolicyKit1'/></policy>\n"
        "<include>%s</include></busconfig>\n";

static const char *system_bus_address(void) {
        return getenv("DBUS_SYSTEM_BUS_ADDRESS");
}

static void system_bus_write(const char *path, const char *before, const char *text) {
        FILE *from = before ? fopen(before, "re") : NULL, *to = fopen(path, "we");
        int byte;

        ck_assert_ptr_nonnull(to);
        while (from && (byte = fgetc(from)) != EOF)
                fputc(byte, to);
        fputs(text, to);
        ck_assert_int_eq(fclose(to), 0);
        if (from)
                fclose(from);
}

static void system_bus_cover(const char *file, const char *name, const char *text) {
        const char *path = world_path("%s", name);

        system_bus_write(path, file, text);
        ck_assert_int_eq(mount(path, file, NULL, MS_BIND, NULL), 0);
}

bool system_bus_is_installed(void) {
        return access(BUS_PROGRAM, X_OK) == 0;
}

void system_bus_prepare(void) {
        char address[256], text[4096];

        system_bus_cover("/etc/passwd", "passwd",
                         "alice:x:60001:60001::/:/bin/sh\nbob:x:60002:60002::/:/bin/sh\n"
                         "mallory:x:60004:60004::/:/bin/sh\n");
        system_bus_cover("/etc/group", "group", "mountat:x:60100:alice,bob\n");
        snprintf(address, sizeof(address), "unix:path=%s", world_path("bus"));
        ck_assert_int_eq(setenv("DBUS_SYSTEM_BUS_ADDRESS", address, 1), 0);
        snprintf(text, sizeof(text), config, address, MOUNTATD_BUS_POLICY);
        system_bus_write(world_path("bus.conf"), NULL, text);
}

static bool system_bus_is_there(pid_t pid) {
        sd_bus *bus = NULL;
        bool there = sd_bus_open_system(&bus) >= 0 && sd_bus_get_bus_id(bus, NULL) != -ENOTCONN &&
                     sd_bus_get_unique_name(bus, &(const char *){NULL}) >= 0;

        sd_bus_close_unref(bus);
        ck_assert_msg(waitpid(pid, NULL, WNOHANG) == 0, "the bus has ended");
        return there;
}

static pid_t system_bus_spawn(const char *log_name, const char *const *command) {
        char path[256];
        pid_t pid = fork();

        ck_assert_int_ge(pid, 0);
        if (pid == 0) {
                int log;

                world_log_path(path, sizeof(path), log_name);
                log = open(path, O_WRONLY | O_CREAT | O_APPEND, 0644);
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                dup2(log, STDOUT_FILENO);
                dup2(log, STDERR_FILENO);
                close_range(STDERR_FILENO + 1, ~0U, 0);
                execvp(command[0], (char *const *)command);
                _exit(127);
        }
        return pid;
}

pid_t system_bus_start(void) {
        char option[300];
        pid_t pid;

        unlink(world_path("bus"));
        snprintf(option, sizeof(option), "--config-file=%s", world_path("bus.conf"));
        pid = system_bus_spawn(
                "bus", (const char *const[]){BUS_PROGRAM, option, "--nofork", "--nopidfile", NULL});
        world_wait_for(system_bus_is_there(pid));
        return pid;
}

sd_bus *system_bus_connect(uid_t uid) {
        sd_bus *bus = NULL;
        int r;

        world_borrow(uid);
        r = sd_bus_new(&bus);
        if (r >= 0)
                r = sd_bus_set_address(bus, system_bus_address());
        if (r >= 0)
                r = sd_bus_set_bus_client(bus, true);
        if (r >= 0)
                r = sd_bus_negotiate_fds(bus, true);
        if (r >= 0)
                r = sd_bus_start(bus); /* connects */
        world_return();
        ck_assert_msg(r >= 0, "connecting to the bus: %s", strerror(-r));
        ck_assert_int_ge(sd_bus_get_unique_name(bus, &(const char *){NULL}), 0);
        return bus;
}

bool system_bus_has(const char *name) {
        sd_bus *bus = system_bus_connect(0);
        int has = 0;
        sd_bus_message *reply = NULL;

        ck_assert_int_ge(sd_bus_call_method(bus, "org.freedesktop.DBus", "/org/freedesktop/DBus",
                                            "org.freedesktop.DBus", "NameHasOwner", NULL, &reply,
                                            "s", name),
                         0);
        ck_assert_int_ge(sd_bus_message_read(reply, "b", &has), 0);
        sd_bus_message_unref(reply);
        sd_bus_close_unref(bus);
        return has;
}

void system_bus_wait_for(const char *name) {
        world_wait_for(system_bus_has(name));
}

/* ---- calls ---- */

sd_bus_message *system_bus_message(sd_bus *bus, const char *member, const char *types,
                                   va_list arguments) {
        sd_bus_message *call = NULL;

        ck_assert_int_ge(sd_bus_message_new_method_call(bus, &call, "org.mountat1", "/org/mountat1",
                                                        "org.mountat1.Manager", member),
                         0);
        ck_assert_int_ge(sd_bus_message_appendv(call, types, arguments), 0);
        return call;
}

sd_bus_message *system_bus_call(sd_bus *bus, sd_bus_error *error, const char *member,
                                const char *types, ...) {
        sd_bus_message *call, *reply = NULL;
        va_list arguments;

        va_start(arguments, types);
        call = system_bus_message(bus, member, types, arguments);
        va_end(arguments);
        sd_bus_call(bus, call, 0, error, &reply);
        sd_bus_message_unref(call);
        return reply;
}

void system_bus_judge(const sd_bus_error *error, const char *name) {
        char whole[128];

        snprintf(whole, sizeof(whole), "%s%s", strchr(name, '.') ? "" : "org.mountat1.Error.",
                 name);
        ck_assert_msg(strcmp(error->name, whole) == 0, "not %s, but %s: %s", whole, error->name,
                      error->message);
        ck_assert_msg(strlen(error->message) > 10, "%s has no sentence", whole);
}

static uint64_t system_bus_read_lease(sd_bus_message *reply, const sd_bus_error *error) {
        uint64_t lease;

        ck_assert_msg(reply != NULL, "%s: %s", error->name, error->message);
        ck_assert_int_gt(sd_bus_message_read(reply, "t", &lease), 0);
        ck_assert_uint_ne(lease, 0);
        sd_bus_message_unref(reply);
        return lease;
}

uint64_t system_bus_mount_path(sd_bus *bus, const char *root) {
        sd_bus_error error = SD_BUS_ERROR_NULL;

        return system_bus_read_lease(
                system_bus_call(bus, &error, "MountPath", "sas", root, 2, "proc", "sysfs"), &error);
}

sd_bus_message *system_bus_mount(sd_bus *bus, sd_bus_error *error, uid_t uid, const char *root) {
        char path[300];
        int proc, sys;
        sd_bus_message *reply;

        snprintf(path, sizeof(path), "%s/proc", root);
        proc = world_open(uid, path);
        snprintf(path, sizeof(path), "%s/sys", root);
        sys = world_open(uid, path);
        reply = system_bus_call(bus, error, "Mount", "a(hsu)", 2, proc, "proc", 0, sys, "sysfs", 0);
        close(proc);
        close(sys);
        return reply;
}

uint64_t system_bus_mount_one(sd_bus *bus, int proc) {
        sd_bus_error error = SD_BUS_ERROR_NULL;

        return system_bus_read_lease(
                system_bus_call(bus, &error, "Mount", "a(hsu)", 1, proc, "proc", 0), &error);
}

uint64_t system_bus_hold(sd_bus *bus, uid_t uid, const char *root) {
        sd_bus_error error = SD_BUS_ERROR_NULL;

        return system_bus_read_lease(system_bus_mount(bus, &error, uid, root), &error);
}

void system_bus_unmount(sd_bus *bus, uint64_t lease) {
        sd_bus_error error = SD_BUS_ERROR_NULL;
        sd_bus_message *reply = system_bus_call(bus, &error, "Unmount", "t", lease);

        ck_assert_msg(reply != NULL, "%s: %s", error.name, error.message);
        sd_bus_message_unref(reply);
}

static void system_bus_read_entry(sd_bus_message *reply, struct system_bus_lease *lease) {
        const char *place, *origin, *name;

        ck_assert_int_gt(sd_bus_message_read(reply, "tuuss", &lease->lease, &lease->uid,
                                             &lease->pid, &place, &origin),
                         0);
        snprintf(lease->place, sizeof(lease->place), "%s", place);
        snprintf(lease->origin, sizeof(lease->origin), "%s", origin);
        lease->file_systems = 0;
        ck_assert_int_gt(sd_bus_message_enter_container(reply, 'a', "s"), 0);
        while (sd_bus_message_read(reply, "s", &name) > 0)
                lease->file_systems++;
        ck_assert_int_ge(sd_bus_message_exit_container(reply), 0);
        ck_assert_int_gt(sd_bus_message_read(reply, "t", &lease->age), 0);
        ck_assert_int_ge(sd_bus_message_exit_container(reply), 0);
}

unsigned system_bus_list(sd_bus *bus, struct system_bus_lease *leases, unsigned max) {
        sd_bus_error error = SD_BUS_ERROR_NULL;
        sd_bus_message *reply = system_bus_call(bus, &error, "ListLeases", "");
        struct system_bus_lease spare;
        unsigned count = 0;

        ck_assert_msg(reply != NULL, "%s: %s", error.name, error.message);
        ck_assert_int_gt(sd_bus_message_enter_container(reply, 'a', "(tuussast)"), 0);
        while (sd_bus_message_enter_container(reply, 'r', "tuussast") > 0) {
                system_bus_read_entry(reply, count < max ? &leases[count] : &spare);
                count++;
        }
        sd_bus_message_unref(reply);
        return count;
}

uint64_t system_bus_number(sd_bus *bus, const char *property) {
        sd_bus_message *reply = NULL;
        sd_bus_error error = SD_BUS_ERROR_NULL;
        const char *type;
        uint64_t wide = 0;
        uint32_t narrow = 0;
        int r = sd_bus_call_method(bus, "org.mountat1", "/org/mountat1",
                                   "org.freedesktop.DBus.Properties", "Get", &error, &reply, "ss",
                                   "org.mountat1.Manager", property);

        ck_assert_msg(r >= 0, "%s: %s", error.name, error.message);
        ck_assert_int_gt(sd_bus_message_peek_type(reply, NULL, &type), 0);
        if (strcmp(type, "t") == 0)
                ck_assert_int_gt(sd_bus_message_read(reply, "v", "t", &wide), 0);
        else
                ck_assert_int_gt(sd_bus_message_read(reply, "v", "u", &narrow), 0);
        sd_bus_message_unref(reply);
        return wide + narrow;
}

/* ---- polkit ---- */

struct system_bus_polkit {
        const char *action;
        bool challenge;
};

static int system_bus_on_check(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        const struct system_bus_polkit *polkit = userdata;
        const char *kind, *key, *sender, *action, *detail_key = "", *detail = "";
        FILE *log = fopen(world_path("polkit.log"), "ae");
        uint32_t flags;
        bool asked, granted;

        (void)error;
        ck_assert_int_gt(
                sd_bus_message_read(call, "(sa{sv})s", &kind, 1, &key, "s", &sender, &action), 0);
        ck_assert_int_gt(sd_bus_message_enter_container(call, 'a', "{ss}"), 0);
        sd_bus_message_read(call, "{ss}", &detail_key, &detail);
        ck_assert_int_ge(sd_bus_message_exit_container(call), 0);
        ck_assert_int_gt(sd_bus_message_read(call, "u", &flags), 0);
        ck_assert_str_eq(kind, "system-bus-name");
        ck_assert_str_eq(key, "name");
        ck_assert(sender[0] == ':');
        fprintf(log, "%s %s=%s %u\n", action, detail_key, detail, flags);
        fclose(log);

        asked = strcmp(action, polkit->action) == 0;
        granted = asked && (!polkit->challenge || (flags & 1));
        return sd_bus_reply_method_return(call, "(bba{ss})", granted, asked && !granted, 0);
}

static const sd_bus_vtable system_bus_polkit_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD("CheckAuthorization", "(sa{sv})sa{ss}us", "(bba{ss})", system_bus_on_check,
                      SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_VTABLE_END,
};

static void system_bus_serve_polkit(struct system_bus_polkit *polkit) {
        sd_bus *bus = system_bus_connect(0);

        ck_assert_int_ge(sd_bus_add_object_vtable(bus, NULL,
                                                  "/org/freedesktop/PolicyKit1/Authority",
                                                  "org.freedesktop.PolicyKit1.Authority",
                                                  system_bus_polkit_vtable, polkit),
                         0);
        ck_assert_int_ge(sd_bus_request_name(bus, "org.freedesktop.PolicyKit1", 0), 0);
        for (;;)
                if (sd_bus_process(bus, NULL) == 0)
                        sd_bus_wait(bus, UINT64_MAX);
}

pid_t system_bus_start_polkit(const char *action, bool challenge) {
        struct system_bus_polkit polkit = {.action = action, .challenge = challenge};
        pid_t pid = fork();

        ck_assert_int_ge(pid, 0);
        if (pid == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                system_bus_serve_polkit(&polkit);
        }
        system_bus_wait_for("org.freedesktop.PolicyKit1");
        return pid;
}

pid_t system_bus_start_real_polkit(const char *rule) {
        char text[1024];
        pid_t pid;

        if (access(POLKIT_PROGRAM, X_OK) < 0)
                return 0;
        ck_assert_int_eq(mount("tmpfs", POLKIT_ACTIONS, "tmpfs", 0, "mode=0755"), 0);
        ck_assert_int_eq(mount("tmpfs", POLKIT_RULES, "tmpfs", 0, "mode=0755"), 0);
        system_bus_write(POLKIT_ACTIONS "/org.mountat1.policy", MOUNTATD_POLKIT_ACTIONS, "");
        snprintf(text, sizeof(text), "polkit.addRule(function(action, subject) {%s});\n", rule);
        system_bus_write(POLKIT_RULES "/50-test.rules", NULL, text);
        pid = system_bus_spawn("polkit", (const char *const[]){POLKIT_PROGRAM, NULL});
        system_bus_wait_for("org.freedesktop.PolicyKit1");
        return pid;
}
