/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Many simultaneous clients, each on its own connection, compared with as many threads that make
 * the calls directly.
 */

#include "tests/bench/compare.h"
#include "tests/bench/report.h"
#include "tests/bench/sandbox.h"
#include "tests/bench/sweep.h"

#include <err.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { CLIENTS_MAX = 32, CLIENTS_FIRST_ROOT = 100 };

struct clients_thread {
        pthread_t thread;
        const struct route *route;
        struct route_user user;
        uint64_t until;
        struct samples cycles;
};

static pthread_barrier_t clients_barrier;

static void *clients_run(void *argument) {
        struct clients_thread *self = argument;
        uint64_t start, end;

        self->route->begin(&self->user);
        self->route->mount(&self->user); /* warm */
        self->route->unmount(&self->user);
        pthread_barrier_wait(&clients_barrier);
        start = samples_now();
        self->until += start;
        while (start < self->until) {
                self->route->mount(&self->user);
                self->route->unmount(&self->user);
                end = samples_now();
                samples_add(&self->cycles, end - start);
                start = end;
        }
        self->route->end(&self->user);
        return NULL;
}

struct clients_result {
        double throughput; /* cycles a second */
        struct samples cycles;
};

static struct clients_result clients_measure(const struct route *route, unsigned count,
                                             uint64_t duration, const int *roots,
                                             struct service *service) {
        struct clients_thread threads[CLIENTS_MAX] = {0};
        struct clients_result result = {0};

        pthread_barrier_init(&clients_barrier, NULL, count);
        for (unsigned i = 0; i < count; i++) {
                threads[i].route = route;
                threads[i].user = (struct route_user){.root = roots[i], .service = service};
                threads[i].until = duration;
                if (pthread_create(&threads[i].thread, NULL, clients_run, &threads[i]) != 0)
                        errx(EXIT_FAILURE, "no thread");
        }
        for (unsigned i = 0; i < count; i++) {
                pthread_join(threads[i].thread, NULL);
                samples_append(&result.cycles, &threads[i].cycles);
                samples_free(&threads[i].cycles);
        }
        pthread_barrier_destroy(&clients_barrier);
        result.throughput = (double)result.cycles.count * 1e9 / (double)duration;
        return result;
}

static void clients_summarise(unsigned count, struct clients_result *direct,
                              struct clients_result *daemon) {
        if (count != 12)
                return;
        report_figure("throughput of 12 clients, to that of 12 threads", "x",
                      daemon->throughput / direct->throughput);
        report_figure("p99 of 12 clients, to their p50", "x",
                      (double)samples_quantile(&daemon->cycles, 0.99) /
                              (double)samples_quantile(&daemon->cycles, 0.5));
}

static void clients_row(struct table *table, unsigned count, const char *name, unsigned runs,
                        struct clients_result *sum, const struct clients_result *direct) {
        table_number(table, count, 0);
        table_text(table, "%s", name);
        table_number(table, sum->throughput / runs, 0);
        table_number(table, sum->throughput / direct->throughput, 2);
        table_number(table, (double)samples_quantile(&sum->cycles, 0.5) / 1000, 1);
        table_number(table, (double)samples_quantile(&sum->cycles, 0.95) / 1000, 1);
        table_number(table, (double)samples_quantile(&sum->cycles, 0.99) / 1000, 1);
        table_number(table, (double)samples_quantile(&sum->cycles, 1) / 1000, 1);
}

static void clients_add(struct clients_result *sum, struct clients_result *result) {
        sum->throughput += result->throughput;
        samples_append(&sum->cycles, &result->cycles);
        samples_free(&result->cycles);
}

/* For each number of clients, in each run. */
static unsigned clients_milliseconds(const struct sweep_plan *plan) {
        return plan->quick ? 5 : 300;
}

static void clients_summarise_against(unsigned count, const struct clients_result *daemon,
                                      const struct clients_result *against) {
        char name[64];

        if (count < 12)
                return;
        snprintf(name, sizeof(name), "throughput of %u clients, to the other daemon's", count);
        report_figure(name, "x", daemon->throughput / against->throughput);
}

static void clients_level(const struct sweep_plan *plan, struct table *table, unsigned count,
                          const int *roots) {
        uint64_t duration = clients_milliseconds(plan) * 1000000;
        struct clients_result direct = {0}, daemon = {0}, against = {0};

        for (unsigned run = 0; run < plan->runs; run++) {
                struct clients_result a, b, c;

                a = clients_measure(&route_direct, count, duration, roots, plan->service);
                b = clients_measure(&route_mountatd, count, duration, roots, plan->service);
                clients_summarise(count, &a, &b);
                if (plan->against) {
                        c = clients_measure(&route_mountatd, count, duration, roots, plan->against);
                        clients_summarise_against(count, &b, &c);
                        clients_add(&against, &c);
                }
                clients_add(&direct, &a);
                clients_add(&daemon, &b);
        }
        clients_row(table, count, route_direct.name, plan->runs, &direct, &direct);
        clients_row(table, count, route_mountatd.name, plan->runs, &daemon, &direct);
        if (plan->against)
                clients_row(table, count, "against", plan->runs, &against, &direct);
        samples_free(&direct.cycles);
        samples_free(&daemon.cycles);
        samples_free(&against.cycles);
}

void sweep_clients(const struct sweep_plan *plan) {
        static const unsigned sizes[] = {1, 2, 4, 8, 12, 32};
        static const char *const columns[] = {"clients", "route", "cycles/s", "x direct",
                                              "p50",     "p95",   "p99",      "max"};
        struct table *table = table_new("clients", "Clients at once, without pauses");
        int roots[CLIENTS_MAX];

        for (unsigned i = 0; i < sizeof(columns) / sizeof(columns[0]); i++)
                table_column(table, columns[i]);
        for (unsigned i = 0; i < CLIENTS_MAX; i++)
                roots[i] = sandbox_make_root(CLIENTS_FIRST_ROOT + i);
        for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
                clients_level(plan, table, sizes[i], roots);
        table_note(
                table,
                "Microseconds of a cycle, in %u ms each. Direct: as many threads of this process.",
                clients_milliseconds(plan));
        report_table(table);
        for (unsigned i = 0; i < CLIENTS_MAX; i++)
                close(roots[i]);
}
