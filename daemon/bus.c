/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What calls do is call.h's matter. Signals are sent from the tick, not from where a lease comes or
 * goes: a mount costs the workers a few stores for it, and the bus a bounded number of messages.
 */

#include "daemon/bus.h"

#include "common/fd.h"
#include "daemon/call.h"
#include "daemon/impatience.h"
#include "daemon/log.h"
#include "daemon/object.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>
#include <time.h>

#define BUS_NAME "org.mountat1"
#define BUS_ADDRESS_DEFAULT "unix:path=/run/dbus/system_bus_socket"

enum {
        BUS_SECOND = 1000000,
        BUS_RETRY = BUS_SECOND, /* after a bus that has gone away, or refused us */
        /* All of leaving must fit into BUS_END_MS: to tell, to serve the last calls, to tell. */
        BUS_TELL_REST = BUS_SECOND / 2,
        BUS_SERVE_REST = BUS_SECOND * 3 / 5,
        BUS_LAST_CALLS_ROUNDS = 2,
        BUS_LAST_CALLS_MS = 100,
        BUS_QUEUE_MAX = 1024, /* signals that the bus hasn't taken yet; others wait in the ledger */
        BUS_BATCH = 64, /* messages between looks at the clock: others may send without a pause */
        BUS_PATIENCE = 10,            /* ticks */
        BUS_GLANCE = BUS_SECOND / 10, /* at a connection that sd-bus has closed by itself */
        BUS_END_MS = 2000,
};

struct bus {
        struct bus_setup setup;
        int poke;  /* eventfd: look what is to be done */
        int ended; /* eventfd: the thread has nothing more to do with this */
        atomic_bool stopping;
        atomic_int socket;    /* while the name is ours; else negative */
        atomic_bool settled;  /* the name is ours, or it isn't */
        atomic_uint asked;    /* pokes */
        atomic_uint answered; /* the last one that was seen */
        unsigned patience;    /* ticks without an answer; the main thread's */

        /* The thread's: */
        sd_event *event;
        sd_bus *bus; /* NULL: between two attempts */
        sd_event_source *retry;
        struct call_desk desk;
        bool complained; /* about this absence of the bus */
        bool leaving;
        bool nameless; /* nobody can call us by the name any more */
        struct ledger_counts told;
        uint64_t last_told; /* CLOCK_MONOTONIC */
};

/* CLOCK_MONOTONIC, now: sd_event_now() says when the loop has last woken. */
static uint64_t bus_now(void) {
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * BUS_SECOND + now.tv_nsec / 1000;
}

/* ---- the connection ---- */

static void bus_retry_later(struct bus *bus) {
        uint64_t now;

        sd_event_now(bus->event, CLOCK_MONOTONIC, &now);
        sd_event_source_set_time(bus->retry, now + BUS_RETRY);
        sd_event_source_set_enabled(bus->retry, SD_EVENT_ONESHOT);
}

static void bus_settle(struct bus *bus) {
        if (!atomic_exchange(&bus->settled, true))
                crew_wake(bus->setup.crew);
}

static void bus_complain(struct bus *bus, int error, const char *what) {
        bus_settle(bus);
        if (!bus->complained)
                log_write(LOG_WARNING,
                          &(struct log_subject){.event = LOG_EVENT_NO_BUS, .error = error},
                          "%s: trying again each second", what);
        bus->complained = true;
}

static int bus_on_disconnected(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        struct bus *bus = userdata;

        (void)message;
        (void)error;
        atomic_store(&bus->socket, -EBADF);
        if (bus->leaving)
                return sd_event_exit(bus->event, 0);
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
        bus_settle(bus);
        atomic_store(&bus->socket, sd_bus_get_fd(bus->bus));
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
                r = sd_bus_attach_event(connection, bus->event, SD_EVENT_PRIORITY_NORMAL);
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
        atomic_store(&bus->socket, -EBADF);
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

static bool bus_is_behind(struct bus *bus) {
        uint64_t queued;

        return sd_bus_get_n_queued_write(bus->bus, &queued) < 0 || queued >= BUS_QUEUE_MAX;
}

/* Whether that was all. */
static bool bus_tell_changes(struct bus *bus) {
        struct change_event event;

        while (!bus_is_behind(bus)) {
                if (!ledger_next_change(bus->setup.gate->ledger, &event))
                        return true;
                bus_tell_change(bus, &event);
        }
        return false;
}

static void bus_tell_counts(struct bus *bus) {
        struct ledger_counts counts = ledger_count(bus->setup.gate->ledger);
        const struct ledger_counts *told = &bus->told;
        uint64_t now;

        sd_event_now(bus->event, CLOCK_MONOTONIC, &now);
        if (now - bus->last_told < BUS_SECOND ||
            (counts.leases == told->leases && counts.connections == told->connections &&
             counts.lost_workers == told->lost_workers))
                return;
        if (counts.missed != told->missed)
                log_write(LOG_NOTICE, NULL, "%u changes of leases came too fast for the bus",
                          counts.missed - told->missed);
        bus->told = counts;
        bus->last_told = now;
        sd_bus_emit_properties_changed_strv(bus->bus, OBJECT_PATH, OBJECT_INTERFACE,
                                            object_changing());
}

static void bus_process(struct bus *bus) {
        impatience_begin();
        for (int i = 0; i < BUS_BATCH && sd_bus_process(bus->bus, NULL) > 0; i++)
                continue;
        impatience_end();
}

/* What is still to be told and sent, if the bus takes it in time. */
static void bus_tell_rest(struct bus *bus) {
        const uint64_t deadline = bus_now() + BUS_TELL_REST;
        uint64_t queued, now;
        bool all;

        while (sd_bus_is_ready(bus->bus) > 0 && (now = bus_now()) < deadline) {
                all = bus_tell_changes(bus);
                bus_process(bus);
                if (sd_bus_get_n_queued_write(bus->bus, &queued) < 0 || (all && queued == 0))
                        return;
                sd_bus_wait(bus->bus, deadline - now);
        }
}

/* ---- leaving ---- */

static int bus_on_unnamed(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        struct bus *bus = userdata;

        (void)reply;
        (void)error;
        bus->nameless = true;
        return 0;
}

/*
 * Whoever calls org.mountat1 is answered. The name goes first, and what came before that is known
 * has been read by then; a later call starts the next instance. An instance that is idle serves the
 * last calls, since it could not say why it didn't; one that is stopped refuses them.
 */
static int bus_begin_leaving(struct bus *bus) {
        int r;

        if (bus->leaving)
                return 0;
        bus->leaving = true;
        if (!bus->bus || sd_bus_is_ready(bus->bus) <= 0)
                return sd_event_exit(bus->event, 0);
        if (atomic_load(&bus->setup.gate->stopping))
                call_desk_close(&bus->desk);
        bus_tell_rest(bus); /* before the name goes, by which others know whose signals these are */
        r = sd_bus_release_name_async(bus->bus, NULL, BUS_NAME, bus_on_unnamed, bus);
        if (r >= 0) /* without a handler: ends the loop */
                r = sd_event_add_time(bus->event, NULL, CLOCK_MONOTONIC, bus_now() + BUS_SERVE_REST,
                                      1, NULL, NULL);
        return r < 0 ? sd_event_exit(bus->event, 0) : 0;
}

/* ---- the thread ---- */

static int bus_on_poke(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        struct bus *bus = userdata;
        uint64_t count;

        (void)source;
        (void)events;
        /* An error would switch this source off for good. */
        if (read(fd, &count, sizeof(count)) < 0 && errno != EAGAIN && errno != EINTR)
                return -errno;
        atomic_store(&bus->answered, atomic_load(&bus->asked));
        if (atomic_load(&bus->stopping))
                return bus_begin_leaving(bus);
        call_desk_watch(&bus->desk);
        if (bus->bus && sd_bus_is_ready(bus->bus) > 0) {
                bus_tell_changes(bus);
                bus_tell_counts(bus);
        }
        return 0;
}

/* Behind all that the loop has done in one turn, the writing of replies included. */
static int bus_on_turn(sd_event_source *source, void *userdata) {
        struct bus *bus = userdata;

        (void)source;
        call_desk_turn(&bus->desk);
        if (!bus->leaving && bus->bus && sd_bus_is_ready(bus->bus) > 0)
                bus_tell_changes(bus); /* those for which there was no room, too */
        if (bus->leaving)              /* there are no ticks any more */
                call_desk_watch(&bus->desk);
        return bus->nameless && bus->desk.count == 0 ? sd_event_exit(bus->event, 0) : 0;
}

static int bus_on_done(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        struct bus *bus = userdata;

        (void)source;
        (void)fd;
        (void)events;
        crew_collect(bus->setup.crew);
        return 0;
}

static int bus_open_loop(struct bus *bus) {
        int r = sd_event_new(&bus->event);

        if (r >= 0)
                r = sd_event_add_io(bus->event, NULL, bus->poke, EPOLLIN, bus_on_poke, bus);
        if (r >= 0)
                r = sd_event_add_io(bus->event, NULL, crew_done_fd(bus->setup.crew), EPOLLIN,
                                    bus_on_done, bus);
        if (r >= 0)
                r = sd_event_add_post(bus->event, NULL, bus_on_turn, bus);
        if (r >= 0)
                r = sd_event_add_time(bus->event, &bus->retry, CLOCK_MONOTONIC, 0, 0, bus_on_retry,
                                      bus);
        return r;
}

/*
 * sd-bus closes a connection whose descriptor it can't watch (epoll_ctl(2) wants memory), in the
 * loop's preparations, and tells of it by the next turn: which nothing else may bring about.
 */
static uint64_t bus_may_sleep(const struct bus *bus) {
        bool closed = bus->bus && sd_bus_is_open(bus->bus) <= 0;

        return closed && sd_event_source_get_enabled(bus->retry, NULL) == 0 ? BUS_GLANCE
                                                                            : UINT64_MAX;
}

/* As sd_event_loop(), but for the impatience: what messages brought is closed in there. */
static int bus_loop(struct bus *bus) {
        int r = 0;

        while (r >= 0 && sd_event_get_state(bus->event) != SD_EVENT_FINISHED) {
                r = sd_event_prepare(bus->event);
                if (r == 0)
                        r = sd_event_wait(bus->event, bus_may_sleep(bus));
                if (r > 0) {
                        impatience_begin();
                        r = sd_event_dispatch(bus->event);
                        impatience_end();
                }
        }
        return r;
}

static void bus_close_loop(struct bus *bus) {
        sd_event_source_disable_unref(bus->retry);
        sd_event_unref(bus->event);
}

/* Those that a worker has just been given: it hands them back in a moment, unless it is lost. */
static void bus_await_calls(struct bus *bus) {
        struct pollfd done = {.fd = crew_done_fd(bus->setup.crew), .events = POLLIN};

        for (int i = 0; bus->desk.count > 0 && i < BUS_LAST_CALLS_ROUNDS; i++) {
                poll(&done, 1, BUS_LAST_CALLS_MS);
                impatience_begin();
                crew_collect(bus->setup.crew);
                impatience_end();
        }
}

static void bus_leave(struct bus *bus) {
        call_desk_end(&bus->desk);
        bus_await_calls(bus);
        if (bus->bus)
                bus_tell_rest(bus);
        impatience_begin();
        bus_disconnect(bus);
        impatience_end();
        bus_close_loop(bus);
}

static void bus_signal(int fd) {
        const uint64_t one = 1;

        if (write(fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
                log_write(LOG_ERR, &(struct log_subject){.error = -errno}, "eventfd");
}

static void bus_run(void *argument) {
        struct bus *bus = argument;
        int r = bus_loop(bus);

        if (r < 0)
                log_write(LOG_ERR, &(struct log_subject){.error = r}, "the loop of D-Bus");
        bus_leave(bus);
        bus_signal(bus->ended);
}

/* ---- the main thread ---- */

static struct bus *bus_destroy(struct bus *bus) {
        fd_close(bus->poke);
        fd_close(bus->ended);
        free(bus);
        return NULL;
}

int bus_new(const struct bus_setup *setup, struct bus **ret) {
        struct bus *bus = calloc(1, sizeof(*bus));
        int r = 0;

        if (!bus)
                return -ENOMEM;
        bus->setup = *setup;
        bus->desk = (struct call_desk){.gate = setup->gate, .crew = setup->crew};
        bus->socket = -EBADF;
        bus->poke = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        bus->ended = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (bus->poke < 0 || bus->ended < 0)
                r = -errno;
        if (r == 0)
                r = bus_open_loop(bus); /* here: without it there is no start */
        if (r >= 0)
                r = crew_spawn(setup->crew, bus_run, bus);
        if (r < 0) {
                bus_close_loop(bus);
                bus_destroy(bus);
                return r;
        }
        *ret = bus;
        return 0;
}

bool bus_has_settled(const struct bus *bus) {
        return !bus || atomic_load(&bus->settled);
}

void bus_tick(struct bus *bus) {
        if (!bus)
                return;
        if (atomic_load(&bus->answered) != atomic_load(&bus->asked)) {
                if (++bus->patience == BUS_PATIENCE)
                        log_write(LOG_WARNING, NULL,
                                  "D-Bus is kept waiting by a descriptor of a client's");
                return;
        }
        bus->patience = 0;
        atomic_fetch_add(&bus->asked, 1);
        bus_signal(bus->poke);
}

void bus_hang_up(struct bus *bus) {
        if (bus)
                shutdown(atomic_load(&bus->socket), SHUT_RDWR);
}

struct bus *bus_free(struct bus *bus) {
        struct pollfd ended = {.events = POLLIN};
        uint64_t count;

        if (!bus)
                return NULL;
        ended.fd = bus->ended;
        atomic_store(&bus->stopping, true);
        bus_signal(bus->poke);
        /* It is the reading that orders what the thread did before what is done with it here. */
        if (poll(&ended, 1, BUS_END_MS) > 0 && read(bus->ended, &count, sizeof(count)) > 0)
                return bus_destroy(bus);
        return NULL; /* it stays, and what it uses */
}
