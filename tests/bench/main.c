/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The cost of a mount and an unmount through mountatd, beside all other ways. Built and run by
 * tests/bench/run.
 */

#include "client/mountat.h"
#include "tests/bench/bus.h"
#include "tests/bench/compare.h"
#include "tests/bench/report.h"
#include "tests/bench/sandbox.h"
#include "tests/bench/sweep.h"

#include <err.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

struct options {
        bool quick;
        bool json;
        unsigned runs;
        const char *samples; /* directory for the samples */
        const char *against; /* another mountatd */
};

enum { MAIN_PAUSES = 3, MAIN_AGAINST = 3, MAIN_JOINED = 2 };

/* The routes available here; the legend explains the others. */
struct routes {
        unsigned count;
        const struct route *list[COMPARE_ROUTES_MAX];
        struct table *legend;
};

/* ---- the machine ---- */

/* The first line of the command's output. */
static void main_ask(struct table *table, const char *what, const char *command) {
        char line[256] = "";
        FILE *pipe = popen(command, "r");

        if (pipe) {
                if (!fgets(line, sizeof(line), pipe))
                        line[0] = '\0';
                pclose(pipe);
        }
        line[strcspn(line, "\n")] = '\0';
        table_text(table, "%s", what);
        if (line[0])
                table_text(table, "%s", line);
        else
                table_nothing(table);
}

static void main_report_machine(const struct options *options, struct service *service) {
        struct table *table = table_new("machine", "The machine");
        struct mountat *mountat = mountat_new();
        const char *version = "";
        struct utsname name;

        uname(&name);
        table_column(table, "what");
        table_column(table, "which");
        if (mountat_connect(mountat, service->path) < 0 ||
            mountat_hello(mountat, &version, NULL) < 0)
                errx(EXIT_FAILURE, "%s", mountat_error_text(mountat));
        table_text(table, "daemon");
        table_text(table, "%s", version);
        mountat_free(mountat);
        table_text(table, "kernel");
        table_text(table, "%s %s %s", name.sysname, name.release, name.machine);
        main_ask(table, "processor", "sed -n 's/^model name.*: //p' /proc/cpuinfo");
        table_text(table, "processors");
        table_text(table, "%ld", sysconf(_SC_NPROCESSORS_ONLN));
        main_ask(table, "load before", "cut -d' ' -f1-3 /proc/loadavg");
        main_ask(table, "mount(8)", "mount --version 2>&1");
        main_ask(table, "unshare(1)", "unshare --version 2>&1");
        main_ask(table, "bwrap", "bwrap --version 2>/dev/null");
        main_ask(table, "dbus-daemon", "dbus-daemon --version 2>/dev/null");
        main_ask(table, "systemd", "systemctl --version 2>/dev/null");
        table_text(table, "runs");
        table_text(table, "%u%s", options->runs,
                   options->quick
                           ? ", --quick: so little of everything that no figure means a thing"
                           : "");
        report_table(table);
}

/* ---- routes side by side ---- */

/* Another mountatd, and the routes through it, with the same indices as ours. */
static struct service main_against;
static const struct route *const main_ours[MAIN_AGAINST] = {&route_mountatd, &route_hello,
                                                            &route_connect};
static struct route main_theirs[MAIN_AGAINST];

/* The same from a mount namespace that isn't the daemon's. */
static struct service main_elsewhere;
static const struct route *const main_home[MAIN_JOINED] = {&route_mountatd, &route_anew};
static struct route main_joined[MAIN_JOINED];

static void main_add(struct routes *routes, const struct route *route) {
        const char *missing = route->missing ? route->missing() : NULL;

        table_text(routes->legend, "%s", route->name);
        if (missing)
                table_text(routes->legend, "not here: %s", missing);
        else
                table_text(routes->legend, "%s", route->what);
        if (!missing)
                routes->list[routes->count++] = route;
}

static struct routes main_choose_routes(const struct options *options) {
        static const struct route *const all[] = {
                &route_direct,  &route_direct_child, &route_mountatd, &route_dev,
                &route_anew,    &main_joined[0],     &main_joined[1], &route_hello,
                &route_connect, &route_mountatctl,   &route_mount8,   &route_bwrap,
                &route_unshare, &route_bus,          &route_systemd};
        static const char *const joined[MAIN_JOINED] = {"mountatd, joined",
                                                        "mountatd, joined anew"};
        static const char *const names[MAIN_AGAINST] = {"against", "against: hello",
                                                        "against: connect"};
        struct routes routes = {.legend = table_new("routes", "The ways that are compared")};

        for (unsigned i = 0; i < MAIN_JOINED; i++) {
                main_joined[i] = *main_home[i];
                main_joined[i].name = joined[i];
                main_joined[i].what = "the same in a container, whose mount namespace it enters";
                main_joined[i].service = &main_elsewhere;
        }
        table_column(routes.legend, "route");
        table_column(routes.legend, "what it does");
        for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++)
                main_add(&routes, all[i]);
        for (unsigned i = 0; options->against && i < MAIN_AGAINST; i++) {
                main_theirs[i] = *main_ours[i];
                main_theirs[i].name = names[i];
                main_theirs[i].what = options->against;
                main_theirs[i].service = &main_against;
                main_add(&routes, &main_theirs[i]);
        }
        return routes;
}

static const char *const main_steps[COMPARE_STEPS] = {"mount", "unmount", "cycle"};

static void main_write_samples(const struct options *options, const struct route *route,
                               unsigned pause, const struct compare_result *result) {
        for (int step = 0; options->samples && step < COMPARE_STEPS; step++) {
                const struct samples *samples = &result->steps[step];
                char path[512];
                FILE *file;

                if (samples->count == 0)
                        continue;
                snprintf(path, sizeof(path), "%s/%s.%s.%u", options->samples, route->name,
                         main_steps[step], pause);
                file = fopen(path, "we");
                if (!file)
                        err(EXIT_FAILURE, "%s", path);
                for (size_t i = 0; i < samples->count; i++)
                        fprintf(file, "%.3f\n", (double)samples->values[i] / 1000);
                fclose(file);
        }
}

/* The table's row for one route and one step. */
static void main_row(struct table *table, const struct route *route, int step,
                     struct compare_result *result, struct compare_result *direct) {
        static const double quantiles[] = {0.5, 0.95, 0.99, 1};
        double base = compare_microseconds(direct, step, 0.5);

        if (result->steps[step].count == 0)
                return;
        table_text(table, "%s", route->name);
        table_text(table, "%s", main_steps[step]);
        for (unsigned i = 0; i < sizeof(quantiles) / sizeof(quantiles[0]); i++)
                table_number(table, compare_microseconds(result, step, quantiles[i]), 1);
        table_number(table, compare_microseconds(result, step, 0.5) / base, 2);
        if (step == COMPARE_CYCLE) {
                table_number(table, result->cpu, 1);
                table_number(table, result->service_cpu, 1);
        } else {
                table_nothing(table);
                table_nothing(table);
        }
        if (step == COMPARE_CYCLE && route->others_cpu)
                table_number(table, result->others_cpu, 1);
        else
                table_nothing(table);
        table_number(table, (double)result->steps[step].count, 0);
}

static const unsigned main_pauses[MAIN_PAUSES] = {150, 2000, 0};

static void main_report_pause(const struct options *options, const struct routes *routes,
                              unsigned pause, struct compare_result *sums) {
        static const char *const names[] = {"pause_150", "pause_2000", "pause_0"};
        static const char *const titles[] = {
                "With 150 us between the steps, for an action",
                "With 2 ms between the steps, for an action",
                "Without pauses",
        };
        static const char *const columns[] = {"route",      "step",      "p50",      "p95",
                                              "p99",        "max",       "x direct", "cpu here",
                                              "cpu daemon", "cpu other", "samples"};
        unsigned which = pause == 150 ? 0 : pause == 2000 ? 1 : 2;
        struct table *table = table_new(names[which], titles[which]);

        for (unsigned i = 0; i < sizeof(columns) / sizeof(columns[0]); i++)
                table_column(table, columns[i]);
        for (int step = 0; step < COMPARE_STEPS; step++)
                for (unsigned i = 0; i < routes->count; i++)
                        main_row(table, routes->list[i], step, &sums[i], &sums[0]);
        table_note(table, "Microseconds. Processor time is that of a cycle: here, of this program "
                          "and those that it starts; of the daemon; of another that the route's "
                          "line above names. What the kernel does elsewhere isn't in it.");
        report_table(table);
        for (unsigned i = 0; i < routes->count; i++)
                main_write_samples(options, routes->list[i], pause, &sums[i]);
}

static struct compare_result *main_result(const struct routes *routes,
                                          struct compare_result *results,
                                          const struct route *route) {
        for (unsigned i = 0; i < routes->count; i++)
                if (routes->list[i] == route)
                        return &results[i];
        return NULL;
}

/* Compares with the other, earlier mountatd. */
static void main_summarise_against(const struct routes *routes, unsigned pause,
                                   struct compare_result *results) {
        static const struct {
                unsigned pause, route;
                bool cpu; /* processor time as well */
        } figures[] = {{0, 0, true}, {150, 0, true}, {2000, 0, true}, {150, 2, false}};

        for (unsigned i = 0; i < sizeof(figures) / sizeof(figures[0]); i++) {
                struct compare_result *ours, *theirs;
                char name[96];

                if (figures[i].pause != pause)
                        continue;
                ours = main_result(routes, results, main_ours[figures[i].route]);
                theirs = main_result(routes, results, &main_theirs[figures[i].route]);
                snprintf(name, sizeof(name), "%s to the other daemon's, %u us of pause",
                         main_ours[figures[i].route]->name, pause);
                report_figure(name, "x",
                              compare_microseconds(ours, COMPARE_CYCLE, 0.5) /
                                      compare_microseconds(theirs, COMPARE_CYCLE, 0.5));
                if (!figures[i].cpu)
                        continue;
                snprintf(name, sizeof(name),
                         "processor time of the daemon to the other's, %u us of pause", pause);
                report_figure(name, "x", ours->service_cpu / theirs->service_cpu);
        }
}

/* Each figure is a ratio within one run. */
static void main_summarise(const struct routes *routes, unsigned pause,
                           struct compare_result *results) {
        static const struct {
                unsigned pause;
                enum compare_step step;
                const char *name;
        } figures[] = {
                {150, COMPARE_CYCLE, "cycle to direct, 150 us of pause"},
                {150, COMPARE_MOUNT, "mount to direct, 150 us of pause"},
                {150, COMPARE_UNMOUNT, "unmount to direct, 150 us of pause"},
                {2000, COMPARE_CYCLE, "cycle to direct, 2 ms of pause"},
                {2000, COMPARE_MOUNT, "mount to direct, 2 ms of pause"},
                {2000, COMPARE_UNMOUNT, "unmount to direct, 2 ms of pause"},
                {0, COMPARE_CYCLE, "cycle to direct, no pauses"},
        };
        struct compare_result *daemon = main_result(routes, results, &route_mountatd);
        struct compare_result *mount8 = main_result(routes, results, &route_mount8);

        for (unsigned i = 0; i < sizeof(figures) / sizeof(figures[0]); i++)
                if (figures[i].pause == pause)
                        report_figure(figures[i].name, "x",
                                      compare_microseconds(daemon, figures[i].step, 0.5) /
                                              compare_microseconds(results, figures[i].step, 0.5));
        if (mount8 && pause == 150)
                report_figure("cycle of mount(8) and umount(8) to the daemon's", "x",
                              compare_microseconds(mount8, COMPARE_CYCLE, 0.5) /
                                      compare_microseconds(daemon, COMPARE_CYCLE, 0.5));
}

/* The cost of additional requests, relative to that without them. */
static void main_summarise_more(const struct routes *routes, struct compare_result *results) {
        static const struct {
                const char *name;
                const struct route *route, *base;
                enum compare_step step;
        } figures[] = {
                {"mount with a dev to without", &route_dev, &route_mountatd, COMPARE_MOUNT},
                {"unmount with a dev to without", &route_dev, &route_mountatd, COMPARE_UNMOUNT},
                {"cycle in a container to one at home", &main_joined[0], &route_mountatd,
                 COMPARE_CYCLE},
                {"cycle in a container to one at home, connecting anew", &main_joined[1],
                 &route_anew, COMPARE_CYCLE},
        };

        for (unsigned i = 0; i < sizeof(figures) / sizeof(figures[0]); i++)
                report_figure(
                        figures[i].name, "x",
                        compare_microseconds(main_result(routes, results, figures[i].route),
                                             figures[i].step, 0.5) /
                                compare_microseconds(main_result(routes, results, figures[i].base),
                                                     figures[i].step, 0.5));
}

static void main_merge(struct compare_result *sum, struct compare_result *result, unsigned runs) {
        for (int step = 0; step < COMPARE_STEPS; step++)
                samples_append(&sum->steps[step], &result->steps[step]);
        sum->cpu += result->cpu / runs;
        sum->service_cpu += result->service_cpu / runs;
        sum->others_cpu += result->others_cpu / runs;
}

static void main_compare(const struct options *options, const struct routes *routes,
                         const struct sweep_plan *plan) {
        struct compare_result sums[MAIN_PAUSES][COMPARE_ROUTES_MAX] = {0};
        struct compare_result results[COMPARE_ROUTES_MAX];

        for (unsigned run = 0; run < options->runs; run++)
                for (unsigned pause = 0; pause < MAIN_PAUSES; pause++) {
                        const struct compare_plan compare = {
                                .rounds = options->quick              ? 2
                                          : main_pauses[pause] > 1000 ? 40
                                                                      : 120,
                                .block = options->quick ? 2 : 8,
                                .warm_up = 2,
                                .pause = main_pauses[pause],
                        };

                        compare_run(routes->list, routes->count, &compare, plan->service,
                                    plan->root, plan->path, results);
                        main_summarise(routes, main_pauses[pause], results);
                        if (main_pauses[pause] == 150)
                                main_summarise_more(routes, results);
                        if (options->against)
                                main_summarise_against(routes, main_pauses[pause], results);
                        for (unsigned i = 0; i < routes->count; i++)
                                main_merge(&sums[pause][i], &results[i], options->runs);
                        compare_free(results, routes->count);
                }
        for (unsigned pause = 0; pause < MAIN_PAUSES; pause++) {
                main_report_pause(options, routes, main_pauses[pause], sums[pause]);
                compare_free(sums[pause], routes->count);
        }
}

/* ---- the whole ---- */

static void main_run(const struct options *options) {
        struct routes routes;
        struct service service;
        struct sweep_plan plan = {
                .quick = options->quick, .runs = options->runs, .service = &service};
        char *path;

        sandbox_enter();
        bus_start();
        routes = main_choose_routes(options);
        service = service_listen(NULL);
        service_start(&service, NULL);
        main_elsewhere = service_listen(NULL);
        main_elsewhere.elsewhere = true;
        service_start(&main_elsewhere, (const char *const[]){"--join=0", NULL});
        if (options->against) {
                main_against = service_listen(options->against);
                service_start(&main_against, NULL);
                plan.against = &main_against;
        }
        plan.root = sandbox_make_root(0);
        plan.path = path = sandbox_path("root-0");

        report_begin(options->json ? REPORT_JSON : REPORT_TEXT);
        main_report_machine(options, &service);
        report_table(routes.legend);
        main_compare(options, &routes, &plan);
        sweep_crowd(&plan);
        sweep_slaves(&plan);
        sweep_clients(&plan);
        sweep_leases(&plan);
        sweep_starts(&plan);
        report_end();

        if (sandbox_is_covered(plan.root))
                errx(EXIT_FAILURE, "something is still mounted");
        if (options->against)
                service_stop(&main_against);
        service_stop(&main_elsewhere);
        service_stop(&service);
        bus_stop();
        free(path);
        sandbox_leave();
}

static void main_usage(FILE *file) {
        fputs("usage: benchmark [--quick] [--json] [--runs=N] [--samples=DIRECTORY] "
              "[--against=MOUNTATD]\n"
              "\n"
              "  --quick              little of everything, to see that it runs\n"
              "  --json               one JSON object instead of tables\n"
              "  --runs=N             how many runs the medians are taken of (3)\n"
              "  --samples=DIRECTORY  write what was measured, a file for each route and step\n"
              "  --against=MOUNTATD   one more route: another mountatd, such as that of before\n",
              file);
}

int main(int argc, char **argv) {
        static const struct option table[] = {
                {"quick", no_argument, NULL, 'q'},
                {"json", no_argument, NULL, 'j'},
                {"runs", required_argument, NULL, 'r'},
                {"samples", required_argument, NULL, 's'},
                {"against", required_argument, NULL, 'a'},
                {"help", no_argument, NULL, 'h'},
                {NULL, 0, NULL, 0},
        };
        struct options options = {.runs = 3};
        int option;

        while ((option = getopt_long(argc, argv, "", table, NULL)) >= 0)
                switch (option) {
                case 'q':
                        options.quick = true;
                        break;
                case 'j':
                        options.json = true;
                        break;
                case 'r':
                        options.runs = (unsigned)atoi(optarg);
                        break;
                case 's':
                        options.samples = optarg;
                        break;
                case 'a':
                        options.against = optarg;
                        break;
                case 'h':
                        main_usage(stdout);
                        return EXIT_SUCCESS;
                default:
                        main_usage(stderr);
                        return 2;
                }
        if (optind < argc || options.runs < 1 || options.runs > 64) {
                main_usage(stderr);
                return 2;
        }
        main_run(&options);
        return EXIT_SUCCESS;
}
