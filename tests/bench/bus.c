/* SPDX-License-Identifier: Apache-2.0 */

/* By D-Bus calls to the daemon, over one connection to the bus, by path. */

#include "tests/bench/bus.h"

#include "tests/bench/route.h"
#include "tests/bench/samples.h"
#include "tests/bench/sandbox.h"

#include <err.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#define BUS_NAME "org.mountat1"
#define BUS_PATH "/org/mountat1"
#define BUS_INTERFACE "org.mountat1.Manager"

enum { BUS_PATIENCE = 500, BUS_LOOK_PAUSE = 10000 }; /* times; microseconds */

/* Every user here is root. */
static const char bus_config[] = "<busconfig><type>system</type><listen>unix:path=%s</listen>\n"
                                 "<policy context='default'><allow user='*'/><allow own='*'/>\n"
                                 "<allow send_destination='*'/><allow receive_sender='*'/>\n"
                                 "</policy></busconfig>\n";

static pid_t bus_pid;

static void bus_write_config(const char *path, const char *socket) {
        FILE *file = fopen(path, "we");

        if (!file || fprintf(file, bus_config, socket) < 0 || fclose(file) != 0)
                err(EXIT_FAILURE, "%s", path);
}

/*
 * The output matters if the bus doesn't start. Otherwise it says at most that it would like more
 * descriptors, where root can't raise their limit.
 */
static void bus_show_log(const char *path) {
        FILE *file = fopen(path, "re");
        char line[512];

        while (file && fgets(line, sizeof(line), file))
                fputs(line, stderr);
        if (file)
                fclose(file);
}

bool bus_start(void) {
        char *config = sandbox_path("bus.conf"), *socket = sandbox_path("bus"),
             *log = sandbox_path("bus.log");
        char address[256];
        bool there = access("/usr/bin/dbus-daemon", X_OK) == 0;

        bus_write_config(config, socket);
        /* Set even without a bus, so that no call ever reaches the machine's own. */
        snprintf(address, sizeof(address), "unix:path=%s", socket);
        setenv("DBUS_SYSTEM_BUS_ADDRESS", address, 1);
        bus_pid = there ? fork() : 0;
        if (there && bus_pid == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                if (!freopen(log, "w", stderr))
                        _exit(127);
                execl("/usr/bin/dbus-daemon", "dbus-daemon", "--nofork", "--nopidfile",
                      "--nosyslog", "--config-file", config, NULL);
                _exit(127);
        }
        for (int i = 0; there && i < BUS_PATIENCE && access(socket, F_OK) < 0; i++)
                usleep(BUS_LOOK_PAUSE);
        if (there && access(socket, F_OK) < 0) {
                bus_show_log(log);
                there = false;
        }
        free(config);
        free(socket);
        free(log);
        return there;
}

void bus_stop(void) {
        if (bus_pid <= 0)
                return;
        kill(bus_pid, SIGTERM);
        waitpid(bus_pid, NULL, 0);
        bus_pid = 0;
}

static const char *bus_missing(void) {
        return bus_pid > 0 ? NULL : "there is no dbus-daemon";
}

struct bus {
        sd_bus *connection;
        uint64_t lease;
};

static void bus_must(int result, const char *what) {
        if (result < 0)
                errx(EXIT_FAILURE, "D-Bus: %s: %s", what, strerror(-result));
}

/* The daemon acquires its name when it gets to it. */
static void bus_begin(struct route_user *user) {
        struct bus *bus = calloc(1, sizeof(*bus));
        int result = -ENOMEM;

        user->state = bus;
        if (bus)
                bus_must(sd_bus_open_system(&bus->connection), "connecting");
        for (int i = 0; bus && result < 0 && i < BUS_PATIENCE; i++) {
                result = sd_bus_call_method(bus->connection, BUS_NAME, BUS_PATH,
                                            "org.freedesktop.DBus.Peer", "Ping", NULL, NULL, "");
                if (result < 0)
                        usleep(BUS_LOOK_PAUSE);
        }
        bus_must(result, BUS_NAME);
}

static void bus_end(struct route_user *user) {
        struct bus *bus = user->state;

        sd_bus_flush_close_unref(bus->connection);
        free(bus);
}

static void bus_call(struct bus *bus, sd_bus_message *call, sd_bus_message **reply) {
        sd_bus_error error = SD_BUS_ERROR_NULL;
        int result = sd_bus_call(bus->connection, call, 0, &error, reply);

        if (result < 0)
                errx(EXIT_FAILURE, "D-Bus: %s", error.message);
        sd_bus_message_unref(call);
}

static sd_bus_message *bus_new_call(struct bus *bus, const char *member) {
        sd_bus_message *call = NULL;

        bus_must(sd_bus_message_new_method_call(bus->connection, &call, BUS_NAME, BUS_PATH,
                                                BUS_INTERFACE, member),
                 member);
        return call;
}

static void bus_mount(struct route_user *user) {
        struct bus *bus = user->state;
        sd_bus_message *call = bus_new_call(bus, "MountPath"), *reply = NULL;

        bus_must(sd_bus_message_append(call, "sas", user->path, 2, "proc", "sysfs"), "MountPath");
        bus_call(bus, call, &reply);
        bus_must(sd_bus_message_read(reply, "t", &bus->lease), "MountPath");
        sd_bus_message_unref(reply);
}

static void bus_unmount(struct route_user *user) {
        struct bus *bus = user->state;
        sd_bus_message *call = bus_new_call(bus, "Unmount"), *reply = NULL;

        bus_must(sd_bus_message_append(call, "t", bus->lease), "Unmount");
        bus_call(bus, call, &reply);
        sd_bus_message_unref(reply);
}

static uint64_t bus_cpu(void) {
        return samples_cpu_of(bus_pid);
}

const struct route route_bus = {
        .name = "D-Bus",
        .what = "org.mountat1.Manager.MountPath and Unmount on one connection to "
                "dbus-daemon, which is the other in processor time",
        .stride = 4,
        .missing = bus_missing,
        .begin = bus_begin,
        .end = bus_end,
        .mount = bus_mount,
        .unmount = bus_unmount,
        .others_cpu = bus_cpu,
};
