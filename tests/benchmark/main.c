#include "tests/benchmark/compare.h"
#include "tests/benchmark/scene.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static struct service against;
static void b(struct route_user *u) { u->service = &against; route_mountatd.begin(u); }
int main(int argc, char **argv) {
        struct route other = route_mountatd; other.begin = b; other.name = "against";
        const struct route *routes[] = {&route_direct, &route_direct_child, &route_mountatd, &route_hello, &other};
        enum {N = sizeof(routes)/sizeof(routes[0])};
        struct compare_result results[N];
        unsigned pauses[] = {0, 150, 2000};
        struct service service;
        unsigned rounds = argc > 1 ? atoi(argv[1]) : 100, block = argc > 2 ? atoi(argv[2]) : 8;
        scene_enter();
        service = service_listen(NULL);
        service_start(&service, NULL); against = service_listen(getenv("AGAINST")); service_start(&against, NULL);
        int root = scene_make_root(0);
        char *path = scene_path("root-0");
        for (int p = 0; p < 3; p++) {
                struct compare_plan plan = {.rounds = rounds / (p == 2 ? 4 : 1), .block = block, .warm_up = 2, .pause = pauses[p]};
                compare_run(routes, N, &plan, &service, root, path, results);
                for (int i = 0; i < N; i++) {
                        printf("%5u %-15s", pauses[p], routes[i]->name);
                        for (int s = 0; s < COMPARE_STEPS; s++) {
                                double b = compare_microseconds(&results[0], s, .5);
                                double v = compare_microseconds(&results[i], s, .5);
                                printf(" | %6.1f %6.1f %6.1f %5.2f", v, compare_microseconds(&results[i], s, .95), compare_microseconds(&results[i], s, .99), v / b);
                        }
                        printf(" | cpu %.1f %.1f\n", results[i].cpu, results[i].service_cpu);
                }
        }
        service_stop(&service); service_stop(&against);
        scene_leave();
}
