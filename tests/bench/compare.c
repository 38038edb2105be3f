/* SPDX-License-Identifier: Apache-2.0 */

#include "tests/bench/compare.h"

#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>

static void compare_pause(unsigned microseconds) {
        const struct timespec time = {.tv_sec = microseconds / 1000000,
                                      .tv_nsec = microseconds % 1000000 * 1000};

        if (microseconds > 0)
                clock_nanosleep(CLOCK_MONOTONIC, 0, &time, NULL);
}

/* Of children that have exited. */
static uint64_t compare_children_cpu(void) {
        struct rusage usage;

        getrusage(RUSAGE_CHILDREN, &usage);
        return ((uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
                usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) *
               1000;
}

struct compare_time {
        uint64_t wall;
        uint64_t cpu;
};

static void compare_step(void (*act)(struct route_user *), struct route_user *user,
                         struct compare_time *spent) {
        uint64_t cpu = samples_cpu(), start = samples_now();

        act(user);
        spent->wall = samples_now() - start;
        spent->cpu = samples_cpu() - cpu;
}

static void compare_cycle(const struct route *route, struct route_user *user, unsigned pause,
                          struct compare_result *result) {
        struct compare_time mount, unmount = {0};

        compare_step(route->mount, user, &mount);
        compare_pause(pause);
        if (route->unmount) {
                compare_step(route->unmount, user, &unmount);
                compare_pause(pause);
        }
        if (!result)
                return;
        if (route->unmount) {
                samples_add(&result->steps[COMPARE_MOUNT], mount.wall);
                samples_add(&result->steps[COMPARE_UNMOUNT], unmount.wall);
        }
        samples_add(&result->steps[COMPARE_CYCLE], mount.wall + unmount.wall);
        result->cpu += (double)(mount.cpu + unmount.cpu);
}

static void compare_block(const struct route *route, struct route_user *user,
                          const struct compare_plan *plan, struct compare_result *result) {
        unsigned block = route->stride > 1 ? 1 : plan->block;
        uint64_t children, service, others;

        for (unsigned i = 0; i < plan->warm_up; i++)
                compare_cycle(route, user, plan->pause, NULL);
        children = compare_children_cpu();
        service = user->service ? service_cpu(user->service) : 0;
        others = route->others_cpu ? route->others_cpu() : 0;
        for (unsigned i = 0; i < block; i++)
                compare_cycle(route, user, plan->pause, result);
        result->cpu += (double)(compare_children_cpu() - children);
        if (user->service)
                result->service_cpu += (double)(service_cpu(user->service) - service);
        if (route->others_cpu)
                result->others_cpu += (double)(route->others_cpu() - others);
}

static void compare_shuffle(unsigned *order, size_t count) {
        for (size_t i = count; i > 1; i--) {
                size_t j = (size_t)random() % i;
                unsigned other = order[j];

                order[j] = order[i - 1];
                order[i - 1] = other;
        }
}

static void compare_average(struct compare_result *result) {
        double cycles = (double)result->steps[COMPARE_CYCLE].count;

        if (cycles > 0) {
                result->cpu /= cycles * 1000;
                result->service_cpu /= cycles * 1000;
                result->others_cpu /= cycles * 1000;
        }
}

void compare_run(const struct route *const *routes, size_t count, const struct compare_plan *plan,
                 struct service *service, int root, const char *path,
                 struct compare_result *results) {
        struct route_user users[COMPARE_ROUTES_MAX];
        unsigned order[COMPARE_ROUTES_MAX];

        prctl(PR_SET_TIMERSLACK, 1);
        for (size_t i = 0; i < count; i++) {
                users[i] = (struct route_user){
                        .root = root, .path = path, .service = routes[i]->service ?: service};
                results[i] = (struct compare_result){0};
                order[i] = i;
                if (routes[i]->begin)
                        routes[i]->begin(&users[i]);
        }
        for (unsigned round = 0; round < plan->rounds; round++) {
                compare_shuffle(order, count);
                for (size_t i = 0; i < count; i++)
                        if (round % routes[order[i]]->stride == 0)
                                compare_block(routes[order[i]], &users[order[i]], plan,
                                              &results[order[i]]);
        }
        for (size_t i = 0; i < count; i++) {
                if (routes[i]->end)
                        routes[i]->end(&users[i]);
                compare_average(&results[i]);
        }
}

void compare_free(struct compare_result *results, size_t count) {
        for (size_t i = 0; i < count; i++)
                for (int step = 0; step < COMPARE_STEPS; step++)
                        samples_free(&results[i].steps[step]);
}

double compare_microseconds(struct compare_result *result, enum compare_step step, double q) {
        return (double)samples_quantile(&result->steps[step], q) / 1000;
}
