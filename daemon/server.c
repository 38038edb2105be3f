/* SPDX-License-Identifier: Apache-2.0 */

/*
 * One timer does what no descriptor triggers. While anything is held or pending, and a little
 * longer, it ticks: it looks for clients that have left, retries leases of the previous instance
 * and orphans, and refreshes the STATUS line. Otherwise it waits for the end of the idle timeout,
 * if there is one. Work that may block is a job for a thread.
 */

#include "daemon/server.h"

#include "daemon/bus.h"
#include "daemon/log.h"
#include "daemon/sweep.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-event.h>
#include <unistd.h>

enum {
        SERVER_SECOND = 1000000, /* in the microseconds of sd-event */
        SERVER_TICK = SERVER_SECOND / 10,
        SERVER_AFTERMATH = 2 * SERVER_SECOND, /* for what is reported once a second */
        SERVER_READY_TIMEOUT = SERVER_SECOND, /* without a bus, or with one that is slow */
        SERVER_SWEEP_PAUSE = SERVER_SECOND,
        SERVER_SWEEP_REPEAT = 10 * SERVER_SECOND, /* for mounts that could not be reached in time */
        /*
         * Together with the waits in bus_free() and threads_free(), less than the unit's
         * TimeoutStopSec=5s.
         */
        SERVER_DRAIN_TIMEOUT = SERVER_SECOND * 3 / 2,
        SERVER_ABANDON_TIMEOUT = SERVER_SECOND / 2,
        SERVER_ACCEPT_BATCH = 64,
        SERVER_ACCEPT_PAUSE = SERVER_SECOND / 10,
        SERVER_FLOOD_PAUSE = SERVER_SECOND / 1000, /* others wait behind the flood */
};

struct server_sweep {
        struct job job; /* first: a job is its sweep */
        struct server *server;
        enum sweep_patience patience;
        enum sweep_scope scope; /* of the running sweep */
        bool running;
};

struct server_status {
        unsigned leases, mounts, connections;
};

struct server {
        struct server_setup setup;
        sd_event *event;
        struct bus *bus; /* NULL: not wanted */
        sd_event_source *listening[LISTENER_MAX];
        sd_event_source *tick;
        sd_event_source *resume;
        sd_event_source *deadline; /* of the shutdown */
        uint64_t last_busy;        /* CLOCK_MONOTONIC */
        uint64_t last_told;
        uint64_t ready_by; /* 0: READY=1 has been sent */
        uint64_t watchdog; /* microseconds between WATCHDOG=1, 0: not asked for */
        struct server_status told;
        bool ending;   /* for any reason */
        bool stopping; /* by a signal: no lease is left to a next instance */
        bool drained;  /* the time for draining is over */
        struct server_sweep quick_sweep, patient_sweep; /* one starts the other */
        enum sweep_scope scope;
        uint64_t next_sweep;
        struct job orphans;
        bool releasing_orphans;
        uint64_t adopt_until;
};

static void server_arm(sd_event_source *timer, uint64_t when) {
        sd_event_source_set_time(timer, when);
        sd_event_source_set_enabled(timer, SD_EVENT_ONESHOT);
}

/* Polls all of the sockets or none: a shortage of the host, or a limit, concerns them all. */
static int server_listen(struct server *server, int enabled) {
        int r = 0;

        for (unsigned i = 0; i < server->setup.listeners->count; i++) {
                int set = sd_event_source_set_enabled(server->listening[i], enabled);

                r = set < 0 ? set : r;
        }
        return r;
}

/* ---- notifications ---- */

static uint64_t server_now(const struct server *server) {
        uint64_t now;

        sd_event_now(server->event, CLOCK_MONOTONIC, &now);
        return now;
}

/*
 * Ready once the bus name is ours, so that the call that started the daemon can be delivered;
 * clients of the socket are served meanwhile.
 */
static void server_notify_ready(struct server *server, uint64_t now) {
        if (server->ready_by == 0 || server->ending ||
            (now < server->ready_by && !bus_has_settled(server->bus)))
                return;
        server->ready_by = 0;
        sd_notify(0, "READY=1");
}

static void server_notify_status(struct server *server, uint64_t now) {
        const struct context *context = server->setup.context;
        const struct server_status status = {
                .leases = leases_count(context->leases).leases,
                .mounts = quota_used(context->quota, QUOTA_MOUNTS),
                .connections = quota_used(context->quota, QUOTA_CONNECTIONS),
        };

        if (now - server->last_told < SERVER_SECOND ||
            memcmp(&status, &server->told, sizeof(status)) == 0)
                return;
        server->last_told = now;
        server->told = status;
        sd_notifyf(0, "STATUS=%u leases, %u mounts, %u connections", status.leases, status.mounts,
                   status.connections);
}

/* From the loop, so that it proves that the loop runs. */
static int server_on_watchdog(sd_event_source *source, uint64_t usec, void *userdata) {
        struct server *server = userdata;

        (void)usec;
        sd_notify(0, "WATCHDOG=1");
        sd_event_source_set_time_relative(source, server->watchdog);
        return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

/* During the shutdown no refusal needs the spare any more. */
static enum threads_spare server_spare(const struct server *server) {
        return server->ending ? THREADS_TAKE_SPARE : THREADS_KEEP_SPARE;
}

/* ---- leases of the previous instance ---- */

/* Kept leases outlive a restart, but not a stop. */
static void server_sweep_run(struct job *job) {
        const struct server_sweep *sweep = (struct server_sweep *)job;
        const struct server_setup *setup = &sweep->server->setup;
        struct leases *leases = setup->context->leases;
        int r = 0;

        if (sweep->scope == SWEEP_FINALLY)
                r = lease_release_held(leases, leases_kept(leases));
        else
                sweep_keep(leases, sweep->patience);
        if (r < 0)
                log_write(LOG_ERR, &(struct log_subject){.error = r, .operation = "stop"},
                          "cannot unmount everything, retrying before the exit");
        sweep_leases(leases, setup->self, sweep->scope, sweep->patience);
}

static void server_start_sweep(struct server_sweep *sweep) {
        if (sweep->running)
                return;
        sweep->scope = sweep->server->scope;
        sweep->running = threads_run(sweep->server->setup.threads, &sweep->job,
                                     server_spare(sweep->server)) == 0;
}

/* The quick sweep comes first; paths through users' file systems are left to the patient one. */
static void server_sweep_done(struct job *job) {
        struct server_sweep *sweep = (struct server_sweep *)job;
        struct server *server = sweep->server;

        sweep->running = false;
        if (sweep->scope != server->scope)
                server_start_sweep(sweep);
        else if (sweep == &server->quick_sweep)
                server_start_sweep(&server->patient_sweep);
}

static void server_look_after_left(struct server *server, uint64_t now) {
        if (now < server->next_sweep || server->ending)
                return;
        server->next_sweep = now + SERVER_SWEEP_PAUSE;
        if (now >= server->adopt_until) {
                server->scope = SWEEP_UNCLAIMED;
                server->next_sweep = now + SERVER_SWEEP_REPEAT;
        }
        server_start_sweep(&server->quick_sweep);
}

/* ---- orphans: nobody holds them, and the host failed to unmount them ---- */

static struct server *server_of_orphans(struct job *job) {
        return (struct server *)((char *)job - offsetof(struct server, orphans));
}

static void server_orphans_run(struct job *job) {
        struct leases *leases = server_of_orphans(job)->setup.context->leases;

        /* A failure has already been logged, and will be retried. */
        lease_release_held(leases, leases_orphans(leases));
}

static void server_orphans_done(struct job *job) {
        server_of_orphans(job)->releasing_orphans = false;
}

static void server_look_after_orphans(struct server *server) {
        if (!server->releasing_orphans)
                server->releasing_orphans = threads_run(server->setup.threads, &server->orphans,
                                                        server_spare(server)) == 0;
}

/* ---- shutdown ---- */

/*
 * First the connections of stuck threads are abandoned, so that their leases are released; the
 * second time the loop ends.
 */
static int server_on_deadline(sd_event_source *source, uint64_t usec, void *userdata) {
        struct server *server = userdata;

        if (server->drained)
                return sd_event_exit(server->event, 0);
        server->drained = true;
        connections_abandon(server->setup.connections);
        server_look_after_orphans(server);
        server_arm(source, usec + SERVER_ABANDON_TIMEOUT);
        return 0;
}

/* Pending requests are completed; new connections are left to the next instance. */
static void server_begin_to_end(struct server *server, const char *state) {
        server->ending = true;
        sd_notify(0, state);
        server_listen(server, SD_EVENT_OFF);
        bus_leave(server->bus);
        server_arm(server->deadline, server_now(server) + SERVER_DRAIN_TIMEOUT);
}

static int server_on_signal(sd_event_source *source, const struct signalfd_siginfo *info,
                            void *userdata) {
        struct server *server = userdata;
        struct context *context = server->setup.context;

        (void)source;
        if (server->stopping)
                return 0;
        server->stopping = true;
        log_write(LOG_INFO, &(struct log_subject){.event = LOG_EVENT_STOPPING},
                  "signal %u: stopping", info->ssi_signo);

        atomic_store(&context->stopping, true);
        leases_stop(context->leases);
        if (!server->ending)
                server_begin_to_end(server, "STOPPING=1\nSTATUS=Releasing every lease");
        server->scope = SWEEP_FINALLY;
        server_start_sweep(&server->quick_sweep);
        connections_drain(server->setup.connections);
        return 0;
}

/*
 * A restart is crash-only. Clients reconnect to the next instance and adopt their leases, as after
 * a kill, so nothing is done here that a crash could do without. Except hanging up: a thread that
 * is stuck in the kernel would keep connections open, the bus's as well. And then no thread may
 * unmount because its connection has ended.
 */
static int server_on_restart(sd_event_source *source, const struct signalfd_siginfo *info,
                             void *userdata) {
        struct server *server = userdata;

        (void)source;
        log_write(LOG_INFO, &(struct log_subject){.event = LOG_EVENT_RESTARTING},
                  "signal %u: leaving the leases to the next instance", info->ssi_signo);
        sd_notify(0, "STOPPING=1\nSTATUS=Restarting");
        log_stop(); /* before hanging up, since clients reconnect at once */
        connections_hang_up(server->setup.connections);
        bus_hang_up(server->bus);
        _exit(EXIT_SUCCESS);
}

/* ---- the loop's other handlers ---- */

static bool server_is_busy(const struct server *server) {
        return server->ready_by > 0 || leases_count(server->setup.context->leases).leases > 0 ||
               !threads_are_idle(server->setup.threads) || !bus_is_idle(server->bus);
}

static void server_look_after(struct server *server, uint64_t now) {
        struct leases_counts counts = leases_count(server->setup.context->leases);

        server_notify_ready(server, now);
        server_notify_status(server, now);
        if (!server->stopping) /* on a stop, requests already sent are still served */
                connections_watch(server->setup.connections);
        bus_tick(server->bus);
        if (counts.left > 0)
                server_look_after_left(server, now);
        if (counts.orphans > 0)
                server_look_after_orphans(server);
}

static int server_on_tick(sd_event_source *source, uint64_t usec, void *userdata) {
        struct server *server = userdata;
        uint64_t idle = (uint64_t)server->setup.idle_timeout * SERVER_SECOND;
        uint64_t now = server_now(server);

        (void)usec;
        server_look_after(server, now);
        if (server_is_busy(server))
                server->last_busy = now;
        if (idle > 0 && now - server->last_busy >= idle && !server->ending) {
                log_write(LOG_INFO, &(struct log_subject){.event = LOG_EVENT_IDLE},
                          "idle for %u s: exiting", server->setup.idle_timeout);
                server_begin_to_end(server, "STOPPING=1\nSTATUS=Idle");
        }
        if (now - server->last_busy < SERVER_AFTERMATH)
                server_arm(source, now + SERVER_TICK);
        else if (idle > 0)
                server_arm(source, server->last_busy + idle);
        return 0;
}

/* Doesn't postpone a tick that is soon enough: connections may keep coming. */
static void server_touch(struct server *server) {
        uint64_t due = UINT64_MAX;

        server->last_busy = server_now(server);
        if (sd_event_source_get_enabled(server->tick, NULL) > 0)
                sd_event_source_get_time(server->tick, &due);
        if (due > server->last_busy + SERVER_TICK)
                server_arm(server->tick, server->last_busy + SERVER_TICK);
}

/*
 * Out of descriptors or memory the queue stays readable, so stop polling for a while. Too many
 * refused connections are the clients' fault.
 */
static void server_pause_accepting(struct server *server, int error, uint64_t pause) {
        log_write_limited(error == -EUSERS ? LOG_INFO : LOG_WARNING,
                          &(struct log_subject){.error = error},
                          "cannot accept connections, pausing");
        server_listen(server, SD_EVENT_OFF);
        server_arm(server->resume, server_now(server) + pause);
}

static int server_on_resume(sd_event_source *source, uint64_t usec, void *userdata) {
        struct server *server = userdata;

        /* epoll_ctl(2) may still lack memory for it. */
        if (!server->ending && server_listen(server, SD_EVENT_ON) < 0)
                server_arm(source, usec + SERVER_ACCEPT_PAUSE);
        return 0;
}

static int server_on_connection(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        struct server *server = userdata;
        int r = 0;

        (void)source;
        (void)events;
        server_touch(server);
        for (int i = 0; i < SERVER_ACCEPT_BATCH && r == 0; i++)
                r = connections_accept(server->setup.connections, fd);
        if (r == -EUSERS)
                server_pause_accepting(server, r, SERVER_FLOOD_PAUSE);
        else if (r < 0 && r != -EAGAIN && r != -ECONNABORTED && r != -EINTR)
                server_pause_accepting(server, r, SERVER_ACCEPT_PAUSE);
        return 0;
}

static int server_on_threads(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        struct server *server = userdata;

        (void)source;
        (void)fd;
        (void)events;
        threads_collect(server->setup.threads);
        server_touch(server);
        return 0;
}

/* At the end of each iteration of the loop. */
static int server_on_turn(sd_event_source *source, void *userdata) {
        struct server *server = userdata;

        (void)source;
        server_notify_ready(server, server_now(server));
        if (!bus_is_idle(server->bus))
                server_touch(server);
        else if (server->ending && threads_are_idle(server->setup.threads))
                return sd_event_exit(server->event, 0);
        return 0;
}

/* ---- the whole ---- */

static int server_add_signals(struct server *server) {
        static const int ends[] = {SIGTERM, SIGINT, SIGHUP};
        int r = 0;

        for (size_t i = 0; r >= 0 && i < sizeof(ends) / sizeof(ends[0]); i++)
                r = sd_event_add_signal(server->event, NULL, ends[i], server_on_signal, server);
        if (r >= 0)
                r = sd_event_add_signal(server->event, NULL, SIGUSR1, server_on_restart, server);
        return r;
}

static int server_add_timers(struct server *server) {
        int r = sd_event_add_time(server->event, &server->tick, CLOCK_MONOTONIC, 0, SERVER_TICK,
                                  server_on_tick, server);

        if (r >= 0)
                r = sd_event_add_time(server->event, &server->resume, CLOCK_MONOTONIC, 0, 1,
                                      server_on_resume, server);
        if (r >= 0)
                r = sd_event_source_set_enabled(server->resume, SD_EVENT_OFF);
        if (r >= 0) /* made now: at the end it must not fail */
                r = sd_event_add_time(server->event, &server->deadline, CLOCK_MONOTONIC, 0, 1,
                                      server_on_deadline, server);
        if (r >= 0)
                r = sd_event_source_set_enabled(server->deadline, SD_EVENT_OFF);
        if (r >= 0) {
                server_touch(server);
                server->adopt_until =
                        server->last_busy + (uint64_t)server->setup.adopt_timeout * SERVER_SECOND;
        }
        return r;
}

static int server_add_watchdog(struct server *server) {
        int r = sd_watchdog_enabled(0, &server->watchdog);

        if (r <= 0)
                return r;
        server->watchdog /= 3;
        return sd_event_add_time(server->event, NULL, CLOCK_MONOTONIC, 0, 0, server_on_watchdog,
                                 server);
}

static int server_add_listeners(struct server *server) {
        const struct listener_set *set = server->setup.listeners;
        int r = 0;

        for (unsigned i = 0; r >= 0 && i < set->count; i++)
                r = sd_event_add_io(server->event, &server->listening[i], set->fds[i], EPOLLIN,
                                    server_on_connection, server);
        return r;
}

static int server_add_sources(struct server *server) {
        const struct server_setup *setup = &server->setup;
        int r = server_add_listeners(server);

        if (r >= 0)
                r = sd_event_add_io(server->event, NULL, threads_fd(setup->threads), EPOLLIN,
                                    server_on_threads, server);
        if (r >= 0)
                r = sd_event_add_post(server->event, NULL, server_on_turn, server);
        if (r >= 0)
                r = server_add_signals(server);
        if (r >= 0)
                r = server_add_timers(server);
        if (r >= 0)
                r = server_add_watchdog(server);
        return r;
}

static int server_add_bus(struct server *server) {
        const struct bus_setup setup = {
                .context = server->setup.context,
                .threads = server->setup.threads,
                .event = server->event,
        };

        return server->setup.on_bus ? bus_new(&setup, &server->bus) : 0;
}

/*
 * A D-Bus call that arrived during the idle exit may have been granted a lease: left to the next
 * instance, as after a crash.
 */
static void server_leave_last_lease(const struct server *server) {
        if (server->stopping || leases_count(server->setup.context->leases).leases == 0)
                return;
        log_write(LOG_INFO, &(struct log_subject){.event = LOG_EVENT_RESTARTING},
                  "a late D-Bus call was granted a lease: leaving it to the next instance");
        log_stop();
        _exit(EXIT_SUCCESS);
}

static void server_prepare(struct server *server, const struct server_setup *setup) {
        const struct job sweep = {.run = server_sweep_run, .done = server_sweep_done};

        server->setup = *setup;
        server->quick_sweep =
                (struct server_sweep){.job = sweep, .server = server, .patience = SWEEP_QUICKLY};
        server->patient_sweep =
                (struct server_sweep){.job = sweep, .server = server, .patience = SWEEP_PATIENTLY};
        server->orphans = (struct job){.run = server_orphans_run, .done = server_orphans_done};
}

int server_run(const struct server_setup *setup) {
        /* Static: a thread that is stuck in a sweep may return to it at any time. */
        static struct server server;
        int r = sd_event_default(&server.event);

        if (r < 0)
                return r;
        server_prepare(&server, setup);
        r = server_add_sources(&server);
        if (r >= 0)
                r = server_add_bus(&server);
        if (r >= 0) {
                server.ready_by = server.last_busy + SERVER_READY_TIMEOUT;
                sd_notify(0, "STATUS=0 leases");
                server_notify_ready(&server, server.last_busy);
                r = sd_event_loop(server.event);
        }
        server.bus = bus_free(server.bus);
        if (r >= 0)
                server_leave_last_lease(&server);
        for (unsigned i = 0; i < LISTENER_MAX; i++)
                sd_event_source_unref(server.listening[i]);
        sd_event_source_unref(server.tick);
        sd_event_source_unref(server.resume);
        sd_event_source_unref(server.deadline);
        sd_event_unref(server.event);
        return r;
}
