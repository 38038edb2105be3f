/* SPDX-License-Identifier: Apache-2.0 */

#include "tests/bench/sweep.h"

#include "client/mountat.h"
#include "tests/bench/compare.h"
#include "tests/bench/report.h"
#include "tests/bench/sandbox.h"

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/types.h>
#include <unistd.h>

enum {
        SWEEP_PAUSE = 150, /* microseconds */
        SWEEP_SIZES = 3,
};

static const struct route *const sweep_routes[] = {&route_direct, &route_mountatd};

enum { SWEEP_ROUTES = sizeof(sweep_routes) / sizeof(sweep_routes[0]) };

/* ---- additional mounts and namespaces ---- */

struct sweep_series {
        const char *name;
        const char *title;
        const char *column;
        unsigned sizes[SWEEP_SIZES]; /* the others are compared with the first */
        unsigned quick_sizes[SWEEP_SIZES];
        void (*set)(unsigned size);
        const char
                *figure; /* of the summary: the daemon's cycle with the last size, to the first */
};

static const unsigned *sweep_sizes(const struct sweep_plan *plan,
                                   const struct sweep_series *series) {
        return plan->quick ? series->quick_sizes : series->sizes;
}

static void sweep_add(struct compare_result *sums, struct compare_result *results) {
        for (unsigned i = 0; i < SWEEP_ROUTES; i++)
                for (int step = 0; step < COMPARE_STEPS; step++)
                        samples_append(&sums[i].steps[step], &results[i].steps[step]);
}

static struct table *sweep_table(const struct sweep_series *series) {
        struct table *table = table_new(series->name, series->title);

        table_column(table, series->column);
        table_column(table, "route");
        table_column(table, "mount p50");
        table_column(table, "unmount p50");
        table_column(table, "cycle p50");
        table_column(table, "cycle p99");
        table_column(table, "x its own first");
        table_column(table, "x direct");
        return table;
}

static void sweep_print(const struct sweep_plan *plan, const struct sweep_series *series,
                        struct compare_result sums[][SWEEP_ROUTES]) {
        const unsigned *sizes = sweep_sizes(plan, series);
        struct table *table = sweep_table(series);

        for (unsigned size = 0; size < SWEEP_SIZES; size++)
                for (unsigned i = 0; i < SWEEP_ROUTES; i++) {
                        struct compare_result *sum = &sums[size][i];
                        double cycle = compare_microseconds(sum, COMPARE_CYCLE, 0.5);

                        table_number(table, sizes[size], 0);
                        table_text(table, "%s", sweep_routes[i]->name);
                        table_number(table, compare_microseconds(sum, COMPARE_MOUNT, 0.5), 1);
                        table_number(table, compare_microseconds(sum, COMPARE_UNMOUNT, 0.5), 1);
                        table_number(table, cycle, 1);
                        table_number(table, compare_microseconds(sum, COMPARE_CYCLE, 0.99), 1);
                        table_number(table,
                                     cycle / compare_microseconds(&sums[0][i], COMPARE_CYCLE, 0.5),
                                     2);
                        table_number(
                                table,
                                cycle / compare_microseconds(&sums[size][0], COMPARE_CYCLE, 0.5),
                                2);
                }
        table_note(table, "Microseconds; %u us of pause between the steps.", SWEEP_PAUSE);
        report_table(table);
}

static void sweep_summarise(const struct sweep_series *series, unsigned size, double ratio) {
        char name[128];

        snprintf(name, sizeof(name), "cycle with %u %s, to without", size, series->figure);
        report_figure(name, "x", ratio);
}

static void sweep_series(const struct sweep_plan *plan, const struct sweep_series *series) {
        const unsigned *sizes = sweep_sizes(plan, series);
        const struct compare_plan compare = {
                .rounds = plan->quick ? 2 : 30,
                .block = plan->quick ? 2 : 8,
                .warm_up = 2,
                .pause = SWEEP_PAUSE,
        };
        struct compare_result sums[SWEEP_SIZES][SWEEP_ROUTES] = {0}, results[SWEEP_ROUTES];

        for (unsigned run = 0; run < plan->runs; run++) {
                double cycles[SWEEP_SIZES]; /* of the daemon's */

                for (unsigned size = 0; size < SWEEP_SIZES; size++) {
                        series->set(sizes[size]);
                        compare_run(sweep_routes, SWEEP_ROUTES, &compare, plan->service, plan->root,
                                    plan->path, results);
                        cycles[size] = compare_microseconds(&results[1], COMPARE_CYCLE, 0.5);
                        sweep_add(sums[size], results);
                        compare_free(results, SWEEP_ROUTES);
                }
                series->set(0);
                sweep_summarise(series, sizes[SWEEP_SIZES - 1],
                                cycles[SWEEP_SIZES - 1] / cycles[0]);
        }
        sweep_print(plan, series, sums);
        for (unsigned size = 0; size < SWEEP_SIZES; size++)
                compare_free(sums[size], SWEEP_ROUTES);
}

void sweep_crowd(const struct sweep_plan *plan) {
        static const struct sweep_series series = {
                .name = "mounts",
                .title = "More mounts in the namespace",
                .column = "mounts",
                .sizes = {0, 1000, 10000},
                .quick_sizes = {0, 10, 100},
                .set = sandbox_crowd,
                .figure = "mounts in the namespace",
        };

        sweep_series(plan, &series);
}

void sweep_slaves(const struct sweep_plan *plan) {
        static const struct sweep_series series = {
                .name = "namespaces",
                .title = "More namespaces that receive the mounts, as slaves",
                .column = "namespaces",
                .sizes = {0, 1, 16},
                .quick_sizes = {0, 1, 2},
                .set = sandbox_enslave,
                .figure = "namespaces that receive the mounts",
        };

        sweep_series(plan, &series);
}

/* ---- live leases ---- */

static unsigned long sweep_kernel_memory(void) {
        char line[256];
        unsigned long sum = 0;
        FILE *info = fopen("/proc/meminfo", "re");

        if (!info)
                err(EXIT_FAILURE, "/proc/meminfo");
        while (fgets(line, sizeof(line), info))
                if (strncmp(line, "Slab:", 5) == 0 || strncmp(line, "Percpu:", 7) == 0)
                        sum += strtoul(strchr(line, ':') + 1, NULL, 10);
        fclose(info);
        return sum;
}

struct sweep_hold {
        struct mountat *mountat;
        unsigned count;
        int *roots;
        unsigned n_superblocks; /* of procfs, all different */
        dev_t *superblocks;     /* room for one of each lease */
};

static void sweep_count_superblock(struct sweep_hold *hold, int root) {
        struct stat stat;

        if (fstatat(root, "proc", &stat, 0) < 0)
                err(EXIT_FAILURE, "proc");
        for (unsigned i = 0; i < hold->n_superblocks; i++)
                if (hold->superblocks[i] == stat.st_dev)
                        return;
        hold->superblocks[hold->n_superblocks++] = stat.st_dev;
}

static void sweep_hold_until(struct sweep_hold *hold, unsigned count) {
        for (; hold->count < count; hold->count++) {
                uint64_t lease;

                if (mountat_mount_root(hold->mountat, hold->roots[hold->count],
                                       MOUNTAT_PROC | MOUNTAT_SYSFS, &lease) < 0)
                        errx(EXIT_FAILURE, "lease %u: %s", hold->count,
                             mountat_error_text(hold->mountat));
                sweep_count_superblock(hold, hold->roots[hold->count]);
        }
}

static void sweep_raise_descriptors(void) {
        struct rlimit limit;

        if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
                err(EXIT_FAILURE, "RLIMIT_NOFILE");
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
}

struct sweep_level {
        unsigned leases;
        unsigned long rss, anonymous, shared, kernel;
        struct compare_result next[SWEEP_ROUTES];
};

static void sweep_measure_level(const struct sweep_plan *plan, struct service *service,
                                struct sweep_level *level) {
        const struct compare_plan compare = {
                .rounds = plan->quick ? 2 : 60,
                .block = plan->quick ? 2 : 8,
                .warm_up = 2,
                .pause = SWEEP_PAUSE,
        };

        compare_run(sweep_routes, SWEEP_ROUTES, &compare, service, plan->root, plan->path,
                    level->next);
        level->rss = service_memory(service, "VmRSS");
        level->anonymous = service_memory(service, "RssAnon");
        level->shared = service_memory(service, "RssShmem");
        level->kernel = sweep_kernel_memory();
}

/* KiB as bytes per unit. */
static double sweep_per(unsigned long now, unsigned long before, unsigned units) {
        return ((double)now - (double)before) * 1024 / units;
}

static void sweep_print_levels(struct sweep_level *levels, unsigned n, unsigned superblocks) {
        static const char *const columns[] = {"leases",     "RSS KiB",       "anon KiB",
                                              "state KiB",  "bytes a lease", "kernel KiB a mount",
                                              "next mount", "next unmount",  "next cycle",
                                              "x direct"};
        struct table *table = table_new("leases", "Leases that live, of two mounts each");

        for (unsigned i = 0; i < sizeof(columns) / sizeof(columns[0]); i++)
                table_column(table, columns[i]);
        for (unsigned i = 0; i < n; i++) {
                struct sweep_level *level = &levels[i];
                double cycle = compare_microseconds(&level->next[1], COMPARE_CYCLE, 0.5);

                table_number(table, level->leases, 0);
                table_number(table, (double)level->rss, 0);
                table_number(table, (double)level->anonymous, 0);
                table_number(table, (double)level->shared, 0);
                if (level->leases > 0) {
                        table_number(table, sweep_per(level->rss, levels->rss, level->leases), 0);
                        table_number(table,
                                     sweep_per(level->kernel, levels->kernel, level->leases * 2) /
                                             1024,
                                     2);
                } else {
                        table_nothing(table);
                        table_nothing(table);
                }
                table_number(table, compare_microseconds(&level->next[1], COMPARE_MOUNT, 0.5), 1);
                table_number(table, compare_microseconds(&level->next[1], COMPARE_UNMOUNT, 0.5), 1);
                table_number(table, cycle, 1);
                table_number(table,
                             cycle / compare_microseconds(&level->next[0], COMPARE_CYCLE, 0.5), 2);
        }
        table_note(table,
                   "Superblocks of procfs, of all leases: %u. Kernel memory is Slab and Percpu of "
                   "/proc/meminfo, client's sockets and directories and whatever else the machine "
                   "does included.",
                   superblocks);
        report_table(table);
}

void sweep_leases(const struct sweep_plan *plan) {
        enum { N = 4 };
        static const unsigned all_sizes[N] = {0, 1000, 4000, 8000},
                              quick_sizes[N] = {0, 10, 40, 80};
        const unsigned *sizes = plan->quick ? quick_sizes : all_sizes;
        const unsigned most = sizes[N - 1];
        struct sweep_hold hold = {.mountat = mountat_new()};
        struct service service = service_listen(NULL);
        struct sweep_level levels[N] = {0};

        sweep_raise_descriptors();
        service_start(&service, (const char *const[]){
                                        "--max-connections=64", "--max-connections-per-user=64",
                                        "--max-mounts=16384", "--max-mounts-per-user=16384", NULL});
        hold.roots = calloc(most, sizeof(hold.roots[0]));
        hold.superblocks = calloc(most, sizeof(hold.superblocks[0]));
        if (!hold.mountat || !hold.roots || !hold.superblocks ||
            mountat_connect(hold.mountat, service.path) < 0)
                errx(EXIT_FAILURE, "a connection for many leases");
        for (unsigned i = 0; i < most; i++)
                hold.roots[i] = sandbox_make_root(1000 + i);

        for (unsigned i = 0; i < N; i++) {
                levels[i].leases = sizes[i];
                sweep_hold_until(&hold, levels[i].leases);
                sweep_measure_level(plan, &service, &levels[i]);
        }
        sweep_print_levels(levels, N, hold.n_superblocks);
        report_figure("RSS of the idle daemon", "KiB", (double)levels->rss);
        report_figure("RSS of a lease", "bytes", sweep_per(levels[N - 1].rss, levels->rss, most));
        report_figure("superblocks of procfs", "", hold.n_superblocks);

        mountat_free(hold.mountat);
        service_stop(&service);
        for (unsigned i = 0; i < most; i++)
                close(hold.roots[i]);
        for (unsigned i = 0; i < N; i++)
                compare_free(levels[i].next, SWEEP_ROUTES);
        free(hold.roots);
        free(hold.superblocks);
}

/* ---- cold starts ---- */

static uint64_t sweep_start_once(void) {
        struct service service = service_listen(NULL);
        struct mountat *mountat = mountat_new();
        uint64_t start, end;

        service.pid = fork();
        if (service.pid < 0 || !mountat)
                err(EXIT_FAILURE, "fork");
        if (service.pid == 0)
                service_activate(&service);
        usleep(20000); /* until it is waiting */

        start = samples_now();
        if (mountat_connect(mountat, service.path) < 0 || mountat_hello(mountat, NULL, NULL) < 0)
                errx(EXIT_FAILURE, "cold start: %s", mountat_error_text(mountat));
        end = samples_now();
        mountat_free(mountat);
        service_stop(&service);
        return end - start;
}

void sweep_starts(const struct sweep_plan *plan) {
        struct table *table =
                table_new("start", "From connect to the first reply, socket-activated");
        struct samples all = {0};

        for (unsigned run = 0; run < plan->runs; run++) {
                struct samples starts = {0};

                for (unsigned i = 0; i < (plan->quick ? 1 : 10); i++)
                        samples_add(&starts, sweep_start_once());
                samples_append(&all, &starts);
                report_figure("cold start", "ms", (double)samples_quantile(&starts, 0.5) / 1e6);
                samples_free(&starts);
        }
        table_column(table, "starts");
        table_column(table, "p50 ms");
        table_column(table, "p95 ms");
        table_column(table, "max ms");
        table_number(table, (double)all.count, 0);
        table_number(table, (double)samples_quantile(&all, 0.5) / 1e6, 2);
        table_number(table, (double)samples_quantile(&all, 0.95) / 1e6, 2);
        table_number(table, (double)samples_quantile(&all, 1) / 1e6, 2);
        report_table(table);
        samples_free(&all);
}
