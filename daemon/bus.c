/* SPDX-License-Identifier: Apache-2.0 */

#include "daemon/bus.h"

#include "daemon/call.h"
#include "daemon/log.h"
#include "daemon/manager.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>
#include <time.h>

#define BUS_NAME "org.mountat1"
#define BUS_GONE "the system bus has gone away"
#define BUS_ADDRESS_DEFAULT "unix:path=/run/dbus/system_bus_socket"

enum {
        BUS_SECOND = 1000000, /* in the microseconds of sd-event */
        BUS_RETRY = BUS_SECOND,
        BUS_FLUSH = BUS_SECOND / 2,
        BUS_LARGE = 1024 * 1024, /* bytes */
};

enum bus_state {
        BUS_CONNECTING, /* up to the answer about the name */
        BUS_NAMED,
        BUS_LOST,    /* refused, or gone: until the next attempt */
        BUS_LEAVING, /* the name is being given back */
        BUS_LEFT,
};

struct bus {
        struct bus_setup setup;
        struct calls *calls;
        sd_bus *connection; /* NULL: between two attempts */
        sd_event_source *attempt;
        sd_event_source *turn;
        enum bus_state state;
        bool settled;
        bool complained; /* about this absence of the bus */
};

/* CLOCK_MONOTONIC, now: sd_event_now() says when the loop has last woken. */
static uint64_t bus_now(void) {
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * BUS_SECOND + now.tv_nsec / 1000;
}

static void bus_attempt_later(struct bus *bus) {
        sd_event_source_set_time_relative(bus->attempt, BUS_RETRY);
        sd_event_source_set_enabled(bus->attempt, SD_EVENT_ONESHOT);
}

static bool bus_is_to_stay(const struct bus *bus) {
        return bus->state < BUS_LEAVING;
}

/* ---- what the bus says ---- */

static void bus_lose(struct bus *bus, int error, const char *why) {
        if (!bus_is_to_stay(bus)) {
                bus->state = BUS_LEFT;
                return;
        }
        bus->state = BUS_LOST;
        bus->settled = true;
        if (!bus->complained)
                log_write(LOG_WARNING,
                          &(struct log_subject){.event = LOG_EVENT_NO_BUS, .error = error},
                          "%s: trying again each second", why);
        bus->complained = true;
        bus_attempt_later(bus);
}

static int bus_on_disconnected(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        (void)message;
        (void)error;
        bus_lose(userdata, -ENOTCONN, BUS_GONE);
        return 0;
}

static int bus_on_named(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        struct bus *bus = userdata;

        (void)error;
        if (bus->state != BUS_CONNECTING)
                return 0;
        if (sd_bus_message_is_method_error(reply, NULL)) {
                bus_lose(bus, -sd_bus_message_get_errno(reply),
                         "the system bus refuses the name " BUS_NAME);
                return 0;
        }
        bus->state = BUS_NAMED;
        bus->settled = true;
        bus->complained = false;
        log_write(LOG_DEBUG, NULL, "on the system bus as " BUS_NAME);
        return 0;
}

/* By now what was called by the name is here. */
static int bus_on_unnamed(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        struct bus *bus = userdata;

        (void)reply;
        (void)error;
        bus->state = BUS_LEFT;
        return 0;
}

/* ---- connecting ---- */

static int bus_start(sd_bus *connection) {
        const char *address = secure_getenv("DBUS_SYSTEM_BUS_ADDRESS");
        int r = sd_bus_set_address(connection, address ?: BUS_ADDRESS_DEFAULT);

        if (r >= 0)
                r = sd_bus_set_bus_client(connection, true);
        if (r >= 0)
                r = sd_bus_negotiate_fds(connection, false);
        if (r >= 0)
                r = sd_bus_set_exit_on_disconnect(connection, false);
        if (r >= 0)
                r = sd_bus_set_close_on_exit(connection, false); /* bus_free() has yet to answer */
        if (r >= 0)
                r = sd_bus_set_watch_bind(connection, true); /* waits for a bus to be there */
        return r < 0 ? r : sd_bus_start(connection);
}

/*
 * Replacing and replaceable: a predecessor that was killed with a thread stuck in the kernel still
 * has its connection open, and with it the name. The bus policy lets nobody else have it.
 */
static int bus_claim(struct bus *bus, sd_bus *connection) {
        return sd_bus_request_name_async(
                connection, NULL, BUS_NAME,
                SD_BUS_NAME_ALLOW_REPLACEMENT | SD_BUS_NAME_REPLACE_EXISTING, bus_on_named, bus);
}

static int bus_connect(struct bus *bus) {
        sd_bus *connection = NULL;
        int r = sd_bus_new(&connection);

        if (r >= 0)
                r = bus_start(connection);
        if (r >= 0)
                r = manager_publish(connection, bus->calls);
        if (r >= 0)
                r = sd_bus_match_signal_async(connection, NULL, "org.freedesktop.DBus.Local",
                                              "/org/freedesktop/DBus/Local",
                                              "org.freedesktop.DBus.Local", "Disconnected",
                                              bus_on_disconnected, NULL, bus);
        if (r >= 0)
                r = bus_claim(bus, connection);
        if (r >= 0)
                r = sd_bus_attach_event(connection, bus->setup.event, SD_EVENT_PRIORITY_NORMAL);
        if (r < 0) {
                sd_bus_close_unref(connection);
                return r;
        }
        bus->connection = connection;
        bus->state = BUS_CONNECTING;
        return 0;
}

static void bus_disconnect(struct bus *bus) {
        if (!bus->connection)
                return;
        calls_forget(bus->calls);
        sd_bus_detach_event(bus->connection);
        bus->connection = sd_bus_close_unref(bus->connection);
}

static bool bus_is_closed(const struct bus *bus) {
        return !bus->connection || sd_bus_is_open(bus->connection) <= 0;
}

/*
 * Once a second until we have the name. sd-bus closes a connection whose descriptor it can't watch
 * (epoll_ctl(2) wants memory), and says so in the next turn of the loop, which nothing else may
 * bring about.
 */
static int bus_on_attempt(sd_event_source *source, uint64_t usec, void *userdata) {
        struct bus *bus = userdata;
        int r;

        (void)source;
        (void)usec;
        if (bus->state == BUS_LOST || (bus->state == BUS_CONNECTING && bus_is_closed(bus))) {
                bus_disconnect(bus);
                r = bus_connect(bus);
                if (r < 0)
                        bus_lose(bus, r, "connecting to the system bus");
        }
        if (bus->state == BUS_CONNECTING)
                bus_attempt_later(bus);
        return 0;
}

/* Behind all that the loop has done in one turn, the writing of replies included. */
static int bus_on_turn(sd_event_source *source, void *userdata) {
        struct bus *bus = userdata;

        (void)source;
        calls_turn(bus->calls);
        return 0;
}

/* ---- for the server ---- */

static struct bus *bus_destroy(struct bus *bus) {
        sd_event_source_disable_unref(bus->attempt);
        sd_event_source_disable_unref(bus->turn);
        calls_free(bus->calls);
        free(bus);
        return NULL;
}

int bus_new(const struct bus_setup *setup, struct bus **ret) {
        struct bus *bus = calloc(1, sizeof(*bus));
        int r;

        if (!bus)
                return -ENOMEM;
        /* What a large message took goes back to the system when it is freed. As long as nobody
         * says so, malloc(3) begins to keep what is as large as what has been freed once. */
        mallopt(M_MMAP_THRESHOLD, BUS_LARGE);
        bus->setup = *setup;
        bus->state = BUS_LOST;
        bus->calls = calls_new(setup->context, setup->threads);
        r = bus->calls ? 0 : -ENOMEM;
        if (r >= 0)
                r = sd_event_add_post(setup->event, &bus->turn, bus_on_turn, bus);
        if (r >= 0)
                r = sd_event_add_time(setup->event, &bus->attempt, CLOCK_MONOTONIC, 0, 0,
                                      bus_on_attempt, bus);
        if (r < 0) {
                bus_destroy(bus);
                return r;
        }
        *ret = bus;
        return 0;
}

bool bus_has_settled(const struct bus *bus) {
        return !bus || bus->settled;
}

bool bus_is_idle(const struct bus *bus) {
        return !bus || (bus->state != BUS_LEAVING && calls_are_none(bus->calls));
}

void bus_tick(struct bus *bus) {
        if (!bus)
                return;
        calls_tick(bus->calls);
        if (bus->state == BUS_NAMED && bus_is_closed(bus))
                bus_lose(bus, -ENOTCONN, BUS_GONE);
}

void bus_leave(struct bus *bus) {
        bool named;

        if (!bus || !bus_is_to_stay(bus))
                return;
        named = bus->state == BUS_NAMED;
        bus->state = BUS_LEFT;
        if (named &&
            sd_bus_release_name_async(bus->connection, NULL, BUS_NAME, bus_on_unnamed, bus) >= 0)
                bus->state = BUS_LEAVING;
}

static void bus_flush(struct bus *bus) {
        const uint64_t deadline = bus_now() + BUS_FLUSH;
        uint64_t queued, now;

        while (sd_bus_is_ready(bus->connection) > 0 && (now = bus_now()) < deadline &&
               sd_bus_get_n_queued_write(bus->connection, &queued) >= 0 && queued > 0)
                if (sd_bus_process(bus->connection, NULL) == 0)
                        sd_bus_wait(bus->connection, deadline - now);
}

struct bus *bus_free(struct bus *bus) {
        if (!bus)
                return NULL;
        bus->state = BUS_LEFT;
        calls_close(bus->calls);
        if (bus->connection)
                bus_flush(bus);
        bus_disconnect(bus);
        return bus_destroy(bus);
}

void bus_hang_up(struct bus *bus) {
        if (bus && bus->state == BUS_NAMED)
                shutdown(sd_bus_get_fd(bus->connection), SHUT_RDWR);
}
