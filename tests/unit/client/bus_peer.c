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
        if (sd_bus_message_is_method_call(message, "org.freedesktop.DBus", "Hello"))
                r = sd_bus_reply_method_return(message, "s", ":1.1");
        else
                r = (*serve)(message);
        peer_check(r >= 0);
        return 1;
}

/* Until the client hangs up. */
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
