/* SPDX-License-Identifier: Apache-2.0 */

#include "tests/unit/client/bus_peer.h"

#include "tests/unit/client/scripted.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t bus_peer;

void bus_peer_set_address(void) {
        char address[128];

        snprintf(address, sizeof(address), "unix:path=%s/bus", scripted.dir);
        ck_assert_int_eq(setenv("DBUS_SYSTEM_BUS_ADDRESS", address, 1), 0);
}

static int bus_peer_on_message(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        bus_peer_serve *const *serve = userdata;
        int r;

        (void)error;
        /* sd-bus itself emits Disconnected when the client hangs up. */
        if (sd_bus_message_is_signal(message, NULL, NULL))
                return 0;
        if (sd_bus_message_is_method_call(message, "org.freedesktop.DBus", "Hello"))
                r = sd_bus_reply_method_return(message, "s", ":1.1");
        else
                r = (*serve)(message);
        peer_check(r >= 0);
        return 1;
}

/* Serves one client until it hangs up. */
static void bus_peer_converse(int connection, bus_peer_serve *serve) {
        sd_id128_t id = SD_ID128_NULL;
        sd_bus *bus;
        int r;

        peer_check(sd_bus_new(&bus) >= 0 && sd_id128_randomize(&id) >= 0);
        peer_check(sd_bus_set_fd(bus, connection, connection) >= 0);
        peer_check(sd_bus_set_server(bus, true, id) >= 0);
        peer_check(sd_bus_add_filter(bus, NULL, bus_peer_on_message, &serve) >= 0);
        peer_check(sd_bus_start(bus) >= 0);
        do {
                r = sd_bus_process(bus, NULL);
                if (r == 0)
                        r = sd_bus_wait(bus, UINT64_MAX);
        } while (r >= 0);
        sd_bus_close_unref(bus);
}

static int bus_peer_append_lease(sd_bus_message *reply, const struct manager_lease *lease) {
        char names[sizeof(lease->file_systems)], *rest = names, *name;
        int r = sd_bus_message_open_container(reply, 'r', "tuussasta{sv}");

        snprintf(names, sizeof(names), "%s", lease->file_systems);
        if (r >= 0)
                r = sd_bus_message_append(reply, "tuuss", lease->lease, lease->uid, lease->pid,
                                          lease->place, lease->origin);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "s");
        while (r >= 0 && *names && (name = strsep(&rest, ",")))
                r = sd_bus_message_append(reply, "s", name);
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        if (r >= 0)
                r = sd_bus_message_append(reply, "t", lease->age);
        if (r >= 0)
                r = lease->elsewhere
                            ? sd_bus_message_append(reply, "a{sv}", 2, "Later", "as", 1, "x",
                                                    "MountNamespace", "t", lease->namespace)
                            : sd_bus_message_append(reply, "a{sv}", 1, "Later", "u", 1);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

int bus_peer_reply_leases(sd_bus_message *call, const struct manager_lease *leases, size_t n) {
        MANAGER_MESSAGE_AUTO sd_bus_message *reply = NULL;
        int r = sd_bus_message_new_method_return(call, &reply);

        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "(tuussasta{sv})");
        for (size_t i = 0; r >= 0 && i < n; i++)
                r = bus_peer_append_lease(reply, &leases[i]);
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

void bus_peer_start(bus_peer_serve *serve) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        bus_peer_stop();
        bus_peer_set_address();
        snprintf(address.sun_path, sizeof(address.sun_path), "%s/bus", scripted.dir);
        unlink(address.sun_path);
        ck_assert_int_eq(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
        ck_assert_int_eq(listen(listener, 5), 0);
        bus_peer = fork();
        ck_assert_int_ge(bus_peer, 0);
        if (bus_peer == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                for (;;)
                        bus_peer_converse(accept4(listener, NULL, NULL, SOCK_CLOEXEC), serve);
        }
        close(listener);
}

void bus_peer_stop(void) {
        if (bus_peer <= 0)
                return;
        kill(bus_peer, SIGKILL);
        waitpid(bus_peer, NULL, 0);
        bus_peer = 0;
}
