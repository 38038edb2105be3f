/* SPDX-License-Identifier: Apache-2.0 */

#include "tests/real/stage.h"

#include "common/fd.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum {
        STAGE_CYCLES = 300,
        STAGE_SETTLE_MS = 300, /* in which the connection that started the daemon is gone */
};

static struct stage stage_make(const char *notify, const char *option, int denied) {
        struct stage stage;
        char build[128];

        snprintf(build, sizeof(build), "--build-directory=%s",
                 world_make_directory(0, 0755, "build"));
        stage.service = service_start(&(struct service_plan){
                .name = "survival",
                .notify = notify,
                .options = {build, option},
                .denied = {denied},
        });
        usleep(STAGE_SETTLE_MS * 1000);
        stage.threads = service_count_threads(&stage.service);
        stage.fds = service_count_fds(&stage.service);
        return stage;
}

struct stage stage_new(const char *notify, const char *option) {
        return stage_make(notify, option, 0);
}

struct stage stage_new_without(int call) {
        return stage_make(NULL, NULL, call);
}

unsigned stage_count_lost(const struct stage *stage) {
        return service_count_threads(&stage->service) - stage->threads;
}

void stage_expect_as_before(const struct stage *stage) {
        world_wait_for(stage_count_lost(stage) == 0);
        world_wait_for(service_count_fds(&stage->service) == stage->fds);
        world_wait_for(world_count_mounts(0, stage->service.source) == 0);
}

static int stage_compare(const void *a, const void *b) {
        const unsigned *x = a, *y = b;

        return (*x > *y) - (*x < *y);
}

static unsigned stage_now_us(void) {
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return now.tv_sec * 1000000U + now.tv_nsec / 1000;
}

struct stage_latency stage_measure(const struct stage *stage, const char *root) {
        unsigned spent[STAGE_CYCLES];

        for (unsigned i = 0; i < STAGE_CYCLES; i++) {
                unsigned start = stage_now_us();
                FD_AUTO int client = client_connect(&stage->service, WORLD_ALICE);
                uint64_t lease = client_hold_root(client, WORLD_ALICE, root);

                client_expect(client_unmount(client, lease), STATUS_OK, 0, STATUS_NO_TARGET);
                spent[i] = stage_now_us() - start;
        }
        qsort(spent, STAGE_CYCLES, sizeof(spent[0]), stage_compare);
        return (struct stage_latency){
                spent[STAGE_CYCLES / 2],
                spent[STAGE_CYCLES * 99 / 100],
                spent[STAGE_CYCLES - 1],
        };
}

void stage_print(const char *what, struct stage_latency latency) {
        fprintf(stderr, "%-36s mount+unmount p50 %6u us  p99 %6u us  max %6u us\n", what,
                latency.p50, latency.p99, latency.max);
}
