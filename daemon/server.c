/* SPDX-License-Identifier: Apache-2.0 */

/*
 * One timer does what no descriptor tells. While something is held or under way, and a little
 * longer, it ticks, to look after the workers and to refresh the STATUS line; then it waits for the
 * end of the idle timeout, or not at all.
 */

#include "daemon/server.h"

#include "common/fd.h"
#include "daemon/bus.h"
#include "daemon/lease.h"
#include "daemon/log.h"
#include "daemon/sweep.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-event.h>
#include <time.h>
#include <unistd.h>

enum {
        SERVER_SECOND = 1000000, /* in the microseconds of sd-event */
        SERVER_TICK = SERVER_SECOND / 10,
        SERVER_AFTERMATH = 2 * SERVER_SECOND, /* what is told once a second has been told by then */
        SERVER_READY_TIMEOUT = SERVER_SECOND, /* without a bus, or with one that is slow */
        SERVER_SWEEP_PAUSE = SERVER_SECOND,
        SERVER_SWEEP_REPEAT = 10 * SERVER_SECOND, /* of what could not be reached in time */
        /* With BUS_END_MS, CREW_STOP_SECONDS and LOG_STOP_MS less than the 5 s of the unit's
         * TimeoutStopSec=. */
        SERVER_DRAIN_TIMEOUT = SERVER_SECOND * 3 / 2,
        SERVER_ORPHANS_PAUSE = SERVER_SECOND, /* between tries to release them */
        SERVER_ACCEPT_BATCH = 64,
        SERVER_ACCEPT_PAUSE = SERVER_SECOND / 10,
        SERVER_FLOOD_PAUSE = SERVER_SECOND / 1000, /* others wait behind who floods */
};

struct server_sweep {
        struct crew_job job; /* first: a job is its sweep */
        struct server *server;
        atomic_bool running; /* or waiting to */
};

struct server_orphans {
        struct crew_job job; /* first, as above */
        struct server *server;
        atomic_bool running;
};

struct server {
        struct server_setup setup;
        sd_event *event;
        struct bus *bus; /* NULL: not wanted */
        sd_event_source *listening;
        sd_event_source *tick;
        sd_event_source *resume;
        uint64_t last_busy; /* CLOCK_MONOTONIC */
        uint64_t last_told;
        uint64_t ready_by; /* 0: that has been told */
        uint64_t watchdog; /* microseconds between signs of life, 0: none are asked for */
        struct ledger_counts told;
        bool stopping;
        struct server_sweep quick_sweep, patient_sweep; /* one starts the other */
        atomic_int scope;                               /* enum sweep_scope */
        uint64_t next_sweep;
        struct server_orphans orphans;
        uint64_t next_release;
        uint64_t adopt_until;
};

/* Started by the bus or by hand, it is ready when it can be called; clients of the socket are
 * served meanwhile. */
static void server_notify_ready(struct server *server, uint64_t now) {
        if (server->ready_by == 0 || server->stopping ||
            (now < server->ready_by && !bus_has_settled(server->bus)))
                return;
        server->ready_by = 0;
        sd_notify(0, "READY=1");
}

static void server_notify_status(struct server *server, uint64_t now,
                                 const struct ledger_counts *counts) {
        if (now - server->last_told < SERVER_SECOND ||
            memcmp(counts, &server->told, sizeof(*counts)) == 0)
                return;
        server->last_told = now;
        server->told = *counts;
        sd_notifyf(0, "STATUS=%u leases, %u mounts, %u connections, %u lost workers",
                   counts->leases, counts->mounts, counts->connections, counts->lost_workers);
}

/* ---- what a predecessor left ---- */

/* What calls over D-Bus were granted outlives a predecessor, but not the end for good. */
static void server_look_after_kept(const struct request_gate *gate, enum sweep_scope scope,
                                   enum sweep_patience patience) {
        int r;

        if (scope != SWEEP_FINALLY) {
                sweep_keep(gate->ledger, gate->templates, patience);
                return;
        }
        r = lease_release_all(gate->templates, gate->ledger, ledger_kept(gate->ledger));
        if (r < 0)
                log_write(LOG_ERR, &(struct log_subject){.error = r, .operation = "stop"},
                          "mounts are left, to be tried again at the end");
}

/* Quickly: what a path through file systems of users leads to is for the patient one. */
static void server_sweep_with(struct server_sweep *sweep, enum sweep_patience patience) {
        const struct server_setup *setup = &sweep->server->setup;
        int scope;

        do {
                atomic_store(&sweep->running, true);
                scope = atomic_load(&sweep->server->scope);
                server_look_after_kept(setup->gate, scope, patience);
                sweep_ledger(setup->gate->ledger, setup->gate->templates, setup->self, scope,
                             patience);
                atomic_store(&sweep->running, false);
                /* Whoever widened the scope meanwhile has seen us running, or submits a job. */
        } while (scope != atomic_load(&sweep->server->scope) &&
                 !atomic_exchange(&sweep->running, true));
}

static void server_start_sweep(struct server_sweep *sweep) {
        if (!atomic_exchange(&sweep->running, true))
                crew_submit(sweep->server->setup.crew, &sweep->job);
}

static void server_sweep_patiently(struct crew_job *job) {
        server_sweep_with((struct server_sweep *)job, SWEEP_PATIENTLY);
}

static void server_sweep_quickly(struct crew_job *job) {
        struct server *server = ((struct server_sweep *)job)->server;

        server_sweep_with(&server->quick_sweep, SWEEP_QUICKLY);
        server_start_sweep(&server->patient_sweep);
}

static void server_look_after_left(struct server *server, uint64_t now) {
        if (now < server->next_sweep || server->stopping)
                return;
        server->next_sweep = now + SERVER_SWEEP_PAUSE;
        if (now >= server->adopt_until) {
                atomic_store(&server->scope, SWEEP_UNCLAIMED);
                server->next_sweep = now + SERVER_SWEEP_REPEAT;
        }
        server_start_sweep(&server->quick_sweep);
}

/* ---- what nobody holds, and the host would not let go ---- */

static void server_release_orphans(struct crew_job *job) {
        struct server_orphans *orphans = (struct server_orphans *)job;
        const struct request_gate *gate = orphans->server->setup.gate;

        /* Refused again: it has been logged, and is tried again. */
        lease_release_all(gate->templates, gate->ledger, ledger_orphans(gate->ledger));
        atomic_store(&orphans->running, false);
}

static void server_look_after_orphans(struct server *server, uint64_t now) {
        if (now < server->next_release || server->stopping)
                return;
        server->next_release = now + SERVER_ORPHANS_PAUSE;
        if (!atomic_exchange(&server->orphans.running, true))
                crew_submit(server->setup.crew, &server->orphans.job);
}

/* ---- the loop's handlers ---- */

static void server_arm(sd_event_source *timer, uint64_t when) {
        sd_event_source_set_time(timer, when);
        sd_event_source_set_enabled(timer, SD_EVENT_ONESHOT);
}

static bool server_is_busy(const struct server *server, const struct ledger_counts *counts) {
        return server->ready_by > 0 || counts->connections > 0 || counts->leases > 0 ||
               counts->lost_workers > 0 || !crew_is_idle(server->setup.crew);
}

static int server_on_tick(sd_event_source *source, uint64_t usec, void *userdata) {
        struct server *server = userdata;
        uint64_t idle = (uint64_t)server->setup.idle_timeout * SERVER_SECOND;
        struct ledger_counts counts = ledger_count(server->setup.gate->ledger);
        uint64_t now;

        (void)usec;
        sd_event_now(server->event, CLOCK_MONOTONIC, &now);
        counts.attempts = counts.lost_attempts = 0; /* come and go too quickly to be told */
        server_notify_ready(server, now);
        server_notify_status(server, now, &counts);
        crew_watch(server->setup.crew);
        bus_tick(server->bus);
        if (counts.left > 0)
                server_look_after_left(server, now);
        if (counts.orphans > 0)
                server_look_after_orphans(server, now);

        if (server_is_busy(server, &counts))
                server->last_busy = now;
        else if (idle > 0 && now - server->last_busy >= idle) {
                log_write(LOG_INFO, &(struct log_subject){.event = LOG_EVENT_IDLE},
                          "idle for %u s: exiting", server->setup.idle_timeout);
                sd_notify(0, "STOPPING=1\nSTATUS=Idle");
                return sd_event_exit(server->event, 0);
        }
        if (now - server->last_busy < SERVER_AFTERMATH)
                server_arm(source, now + SERVER_TICK);
        else if (idle > 0)
                server_arm(source, server->last_busy + idle);
        return 0;
}

/* A tick that comes soon enough is not put off: connections may come without a pause. */
static void server_touch(struct server *server) {
        uint64_t due = UINT64_MAX;

        sd_event_now(server->event, CLOCK_MONOTONIC, &server->last_busy);
        if (sd_event_source_get_enabled(server->tick, NULL) > 0)
                sd_event_source_get_time(server->tick, &due);
        if (due > server->last_busy + SERVER_TICK)
                server_arm(server->tick, server->last_busy + SERVER_TICK);
}

/* For honest reasons: the loop turns, and there is a worker to serve. */
static int server_on_watchdog(sd_event_source *source, uint64_t usec, void *userdata) {
        struct server *server = userdata;

        (void)usec;
        if (crew_is_able(server->setup.crew))
                sd_notify(0, "WATCHDOG=1");
        sd_event_source_set_time_relative(source, server->watchdog);
        return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

/* Out of descriptors or memory: the queue stays readable, so look away for a while. */
static void server_pause_accepting(struct server *server, int error, uint64_t pause) {
        uint64_t now;

        log_write_limited(LOG_WARNING, &(struct log_subject){.error = error}, "accept");
        sd_event_now(server->event, CLOCK_MONOTONIC, &now);
        sd_event_source_set_enabled(server->listening, SD_EVENT_OFF);
        server_arm(server->resume, now + pause);
}

static int server_on_resume(sd_event_source *source, uint64_t usec, void *userdata) {
        struct server *server = userdata;

        /* epoll_ctl(2) wants memory for it, and may not get it yet. */
        if (!server->stopping && sd_event_source_set_enabled(server->listening, SD_EVENT_ON) < 0)
                server_arm(source, usec + SERVER_ACCEPT_PAUSE);
        return 0;
}

static bool server_accept(struct server *server, int socket) {
        int fd, r;

        if (crew_is_flooded(server->setup.crew)) {
                server_pause_accepting(server, -EUSERS, SERVER_FLOOD_PAUSE);
                return false;
        }
        fd = accept4(socket, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0) {
                if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR)
                        server_pause_accepting(server, -errno, SERVER_ACCEPT_PAUSE);
                return false;
        }
        r = crew_add(server->setup.crew, fd);
        if (r < 0 && r != -EDQUOT)
                log_write_limited(LOG_WARNING, &(struct log_subject){.error = r},
                                  "a connection could not be served");
        return true;
}

static int server_on_connection(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        struct server *server = userdata;

        (void)source;
        (void)events;
        server_touch(server);
        for (int i = 0; i < SERVER_ACCEPT_BATCH; i++)
                if (!server_accept(server, fd))
                        break;
        return 0;
}

static int server_on_signal(sd_event_source *source, const struct signalfd_siginfo *info,
                            void *userdata) {
        struct server *server = userdata;
        uint64_t now;

        (void)source;
        if (server->stopping)
                return 0;
        server->stopping = true;
        log_write(LOG_INFO, &(struct log_subject){.event = LOG_EVENT_STOPPING},
                  "signal %u: stopping", info->ssi_signo);
        sd_notify(0, "STOPPING=1\nSTATUS=Releasing every lease");

        atomic_store(&server->setup.gate->stopping, true);
        ledger_stop(server->setup.gate->ledger);
        sd_event_source_set_enabled(server->listening, SD_EVENT_OFF);
        atomic_store(&server->scope, SWEEP_FINALLY);
        server_start_sweep(&server->quick_sweep);
        crew_drain(server->setup.crew);

        sd_event_now(server->event, CLOCK_MONOTONIC, &now);
        return sd_event_add_time(server->event, NULL, CLOCK_MONOTONIC, now + SERVER_DRAIN_TIMEOUT,
                                 1, NULL, NULL);
}

/*
 * A restart: crash-only. Clients come back to the next instance and adopt their leases, as they
 * would after a kill, so there is nothing to do here that a crash could do without. But for hanging
 * up: a thread that is stuck in the kernel would keep the connections open, the bus's as well.
 */
static int server_on_restart(sd_event_source *source, const struct signalfd_siginfo *info,
                             void *userdata) {
        struct server *server = userdata;

        (void)source;
        log_write(LOG_INFO, &(struct log_subject){.event = LOG_EVENT_RESTARTING},
                  "signal %u: leaving the leases to the next instance", info->ssi_signo);
        sd_notify(0, "STOPPING=1\nSTATUS=Restarting");
        log_stop(); /* first: between hanging up and the end nothing takes time */
        crew_hang_up(server->setup.crew);
        bus_hang_up(server->bus);
        _exit(EXIT_SUCCESS);
}

static int server_on_crew(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        struct server *server = userdata;

        uint64_t count;

        (void)source;
        (void)events;
        if (read(fd, &count, sizeof(count)) < 0 && errno != EAGAIN && errno != EINTR)
                return -errno;
        server_touch(server);
        server_notify_ready(server, server->last_busy);
        if (server->stopping && crew_is_idle(server->setup.crew))
                return sd_event_exit(server->event, 0);
        return 0;
}

static int server_add_signals(struct server *server) {
        int r = sd_event_add_signal(server->event, NULL, SIGTERM, server_on_signal, server);

        if (r >= 0)
                r = sd_event_add_signal(server->event, NULL, SIGINT, server_on_signal, server);
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

static int server_add_sources(struct server *server) {
        const struct server_setup *setup = &server->setup;
        int r = sd_event_add_io(server->event, &server->listening, setup->socket, EPOLLIN,
                                server_on_connection, server);

        if (r >= 0)
                r = sd_event_add_io(server->event, NULL, crew_fd(setup->crew), EPOLLIN,
                                    server_on_crew, server);
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
                .gate = server->setup.gate,
                .crew = server->setup.crew,
        };

        return server->setup.on_bus ? bus_new(&setup, &server->bus) : 0;
}

/* A call over D-Bus that came as we were about to leave may have been granted a lease: left to the
 * next instance, as by a crash. */
static void server_leave_last_lease(const struct server *server) {
        if (server->stopping || ledger_count(server->setup.gate->ledger).leases == 0)
                return;
        log_write(LOG_INFO, &(struct log_subject){.event = LOG_EVENT_RESTARTING},
                  "a last call was granted a lease: leaving it to the next instance");
        log_stop();
        _exit(EXIT_SUCCESS);
}

int server_run(const struct server_setup *setup) {
        /* Static: a worker that is lost in a sweep comes back to it whenever it can. */
        static struct server server;
        int r = sd_event_default(&server.event);

        if (r < 0)
                return r;
        server.setup = *setup;
        server.quick_sweep =
                (struct server_sweep){.job.run = server_sweep_quickly, .server = &server};
        server.patient_sweep =
                (struct server_sweep){.job.run = server_sweep_patiently, .server = &server};
        server.orphans =
                (struct server_orphans){.job.run = server_release_orphans, .server = &server};

        r = server_add_sources(&server);
        if (r >= 0)
                r = server_add_bus(&server);
        if (r >= 0) {
                server.ready_by = server.last_busy + SERVER_READY_TIMEOUT;
                sd_notify(0, "STATUS=0 leases");
                server_notify_ready(&server, server.last_busy);
                r = sd_event_loop(server.event);
        }
        bus_free(server.bus);
        if (r >= 0)
                server_leave_last_lease(&server);
        sd_event_source_unref(server.listening);
        sd_event_source_unref(server.tick);
        sd_event_source_unref(server.resume);
        sd_event_unref(server.event);
        return r;
}
