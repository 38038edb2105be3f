/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What calls do is call.h's matter. Signals are sent from the tick, not from where a lease comes or
 * goes: a mount costs the workers a few stores for it, and the bus a bounded number of messages.
 */

#include "daemon/bus.h"

#include "daemon/call.h"
#include "daemon/log.h"
#include "daemon/object.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-bus.h>

#define BUS_NAME "org.mountat1"
#define BUS_ADDRESS_DEFAULT "unix:path=/run/dbus/system_bus_socket"

enum {
        BUS_SECOND = 1000000,
        BUS_RETRY = BUS_SECOND, /* after a bus that has gone away, or refused us */
        BUS_FLUSH_ROUNDS = 10,
        BUS_FLUSH_PAUSE = BUS_SECOND / 10,
        BUS_CHANGES_PER_TICK = 128,
};

struct bus {
        struct bus_setup setup;
        sd_bus *bus; /* NULL: between two attempts */
        sd_event_source *retry;
        struct call_desk desk;
        bool complained; /* about this absence of the bus */
        struct ledger_counts told;
        uint64_t last_told; /* CLOCK_MONOTONIC */
};

/* ---- the connection ---- */

static void bus_retry_later(struct bus *bus) {
        uint64_t now;

        sd_event_now(bus->setup.event, CLOCK_MONOTONIC, &now);
        sd_event_source_set_time(bus->retry, now + BUS_RETRY);
        sd_event_source_set_enabled(bus->retry, SD_EVENT_ONESHOT);
}

static void bus_complain(struct bus *bus, int error, const char *what) {
        if (!bus->complained)
                log_write(LOG_WARNING, &(struct log_subject){.error = error},
                          "%s: trying again each second", what);
        bus->complained = true;
}

static int bus_on_disconnected(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        struct bus *bus = userdata;

        (void)message;
        (void)error;
        bus_complain(bus, -ENOTCONN, "the system bus has gone away");
        ledger_watch(bus->setup.gate->ledger, false);
        bus_retry_later(bus);
        return 0;
}

static int bus_on_named(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        struct bus *bus = userdata;

        (void)error;
        if (sd_bus_message_is_method_error(reply, NULL)) {
                bus_complain(bus, -sd_bus_message_get_errno(reply),
                             "the system bus refuses the name " BUS_NAME);
                bus_retry_later(bus);
                return 0;
        }
        bus->complained = false;
        log_write(LOG_DEBUG, NULL, "on the system bus as " BUS_NAME);
        ledger_watch(bus->setup.gate->ledger, true);
        return 0;
}

static int bus_publish(struct bus *bus, sd_bus *connection) {
        int r = object_publish(connection, &bus->desk);

        if (r >= 0)
                r = sd_bus_match_signal_async(connection, NULL, "org.freedesktop.DBus.Local",
                                              "/org/freedesktop/DBus/Local",
                                              "org.freedesktop.DBus.Local", "Disconnected",
                                              bus_on_disconnected, NULL, bus);
        return r;
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

static int bus_start(sd_bus *connection) {
        const char *address = secure_getenv("DBUS_SYSTEM_BUS_ADDRESS");
        int r = sd_bus_set_address(connection, address ?: BUS_ADDRESS_DEFAULT);

        if (r >= 0)
                r = sd_bus_set_bus_client(connection, true);
        if (r >= 0)
                r = sd_bus_negotiate_fds(connection, true);
        if (r >= 0)
                r = sd_bus_set_exit_on_disconnect(connection, false);
        if (r >= 0)
                r = sd_bus_set_close_on_exit(connection, false); /* bus_free() has yet to tell */
        if (r >= 0)
                r = sd_bus_set_watch_bind(connection, true); /* waits for a bus to be there */
        return r < 0 ? r : sd_bus_start(connection);
}

static int bus_connect(struct bus *bus) {
        sd_bus *connection = NULL;
        int r = sd_bus_new(&connection);

        if (r >= 0)
                r = bus_start(connection);
        if (r >= 0)
                r = bus_publish(bus, connection);
        if (r >= 0)
                r = bus_claim(bus, connection);
        if (r >= 0)
                r = sd_bus_attach_event(connection, bus->setup.event, SD_EVENT_PRIORITY_NORMAL);
        if (r < 0) {
                sd_bus_close_unref(connection);
                return r;
        }
        bus->bus = connection;
        return 0;
}

static void bus_disconnect(struct bus *bus) {
        if (!bus->bus)
                return;
        ledger_watch(bus->setup.gate->ledger, false);
        sd_bus_detach_event(bus->bus);
        bus->bus = sd_bus_close_unref(bus->bus);
}

static int bus_on_retry(sd_event_source *source, uint64_t usec, void *userdata) {
        struct bus *bus = userdata;
        int r;

        (void)source;
        (void)usec;
        bus_disconnect(bus);
        r = bus_connect(bus);
        if (r < 0) {
                bus_complain(bus, r, "connecting to the system bus");
                bus_retry_later(bus);
        }
        return 0;
}

int bus_new(const struct bus_setup *setup, struct bus **ret) {
        struct bus *bus = calloc(1, sizeof(*bus));
        int r;

        if (!bus)
                return -ENOMEM;
        bus->setup = *setup;
        bus->desk = (struct call_desk){.gate = setup->gate,
                                       .crew = setup->crew,
                                       .busy = setup->busy,
                                       .userdata = setup->userdata};
        r = sd_event_add_time(setup->event, &bus->retry, CLOCK_MONOTONIC, 0, 0, bus_on_retry, bus);
        if (r < 0) {
                free(bus);
                return r;
        }
        *ret = bus;
        return 0;
}

/* ---- telling ---- */

static const char *bus_reason(enum change change) {
        switch (change) {
        case CHANGE_DISCONNECTED:
                return "disconnected";
        case CHANGE_VANISHED:
                return "vanished";
        case CHANGE_STOPPED:
                return "stopped";
        default:
                return "unmounted";
        }
}

static void bus_tell_change(struct bus *bus, const struct change_event *event) {
        const char *origin = event->origin == RECORD_BUS ? "bus" : "socket";
        uint32_t uid = event->uid;

        if (event->change == CHANGE_ADDED)
                sd_bus_emit_signal(bus->bus, OBJECT_PATH, OBJECT_INTERFACE, "LeaseAdded", "tus",
                                   event->lease, uid, origin);
        else
                sd_bus_emit_signal(bus->bus, OBJECT_PATH, OBJECT_INTERFACE, "LeaseRemoved", "tuss",
                                   event->lease, uid, origin, bus_reason(event->change));
}

static void bus_tell_changes(struct bus *bus) {
        struct change_event event;

        for (int i = 0; i < BUS_CHANGES_PER_TICK; i++) {
                if (!ledger_next_change(bus->setup.gate->ledger, &event))
                        return;
                bus_tell_change(bus, &event);
        }
}

static void bus_tell_counts(struct bus *bus) {
        struct ledger_counts counts = ledger_count(bus->setup.gate->ledger);
        const struct ledger_counts *told = &bus->told;
        uint64_t now;

        sd_event_now(bus->setup.event, CLOCK_MONOTONIC, &now);
        if (now - bus->last_told < BUS_SECOND ||
            (counts.leases == told->leases && counts.connections == told->connections &&
             counts.lost_workers == told->lost_workers))
                return;
        if (counts.missed != told->missed)
                log_write(LOG_NOTICE, NULL, "%llu changes of leases came too fast for the bus",
                          (unsigned long long)(counts.missed - told->missed));
        bus->told = counts;
        bus->last_told = now;
        sd_bus_emit_properties_changed_strv(bus->bus, OBJECT_PATH, OBJECT_INTERFACE,
                                            object_changing());
}

void bus_tick(struct bus *bus) {
        if (!bus)
                return;
        call_desk_watch(&bus->desk);
        if (!bus->bus || sd_bus_is_ready(bus->bus) <= 0)
                return;
        bus_tell_changes(bus);
        bus_tell_counts(bus);
}

/* What is still to be sent, if the bus takes it in a second. */
static void bus_flush(struct bus *bus) {
        for (int i = 0; i < BUS_FLUSH_ROUNDS; i++) {
                while (sd_bus_process(bus->bus, NULL) > 0)
                        continue;
                if (!(sd_bus_get_events(bus->bus) & POLLOUT))
                        return;
                sd_bus_wait(bus->bus, BUS_FLUSH_PAUSE);
        }
}

struct bus *bus_free(struct bus *bus) {
        if (!bus)
                return NULL;
        call_desk_close(&bus->desk);
        if (bus->bus && sd_bus_is_ready(bus->bus) > 0) {
                bus_tell_changes(bus);
                bus_flush(bus);
        }
        bus_disconnect(bus);
        sd_event_source_disable_unref(bus->retry);
        free(bus);
        return NULL;
}
