/* SPDX-License-Identifier: Apache-2.0 */

#include "tests/real/bus_stage.h"

struct service bus_stage_start_service(void) {
        struct service service = service_start(
                &(struct service_plan){.name = "a", .start = SERVICE_LISTENS, .unnamed = true});

        system_bus_wait_for("org.mountat1");
        return service;
}

struct bus_stage bus_stage_open(void) {
        struct bus_stage stage;

        system_bus_prepare();
        stage.bus = system_bus_start();
        stage.service = bus_stage_start_service();
        stage.root = system_bus_connect(0);
        return stage;
}

void bus_stage_close(struct bus_stage *stage) {
        sd_bus_close_unref(stage->root);
        service_stop(&stage->service);
        world_kill(stage->bus);
}
