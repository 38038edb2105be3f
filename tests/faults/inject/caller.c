/* SPDX-License-Identifier: Apache-2.0 */

#include "tests/faults/inject/caller.h"

#include "tests/fixtures/system_bus.h"

#include <stdio.h>
#include <string.h>

enum {
        CALLER_PATIENCE_MS = 10000,
        CALLER_MOUNTS = 2, /* per lease */
};

static pid_t caller_bus;
static sd_bus *caller_alice, *caller_root;

bool caller_is_possible(void) {
        return system_bus_is_installed();
}

void caller_prepare(void) {
        if (caller_bus)
                return;
        system_bus_prepare();
        caller_bus = system_bus_start();
        caller_alice = system_bus_connect(USER_ALICE);
        caller_root = system_bus_connect(0);
}

void caller_finish(void) {
        if (!caller_bus)
                return;
        caller_alice = sd_bus_close_unref(caller_alice);
        caller_root = sd_bus_close_unref(caller_root);
        sandbox_kill(caller_bus);
        caller_bus = 0;
}

static bool caller_is_answered(void) {
        uint32_t leases;

        return sd_bus_get_property_trivial(caller_root, "org.mountat1", "/org/mountat1",
                                           "org.mountat1.Manager", "Leases", NULL, 'u',
                                           &leases) >= 0;
}

bool caller_await(const struct rig *rig) {
        int64_t deadline = sandbox_now_ms() + CALLER_PATIENCE_MS;

        while (service_is_running(&rig->service) && sandbox_now_ms() < deadline) {
                if (caller_is_answered())
                        return true;
                usleep(2000);
        }
        return false;
}

/* ---- calls ---- */

static struct outcome caller_read(sd_bus_message *reply, sd_bus_error *error) {
        struct outcome outcome = {.answer = reply ? ANSWER_REPLY : ANSWER_ERROR};

        if (!reply) {
                snprintf(outcome.error, sizeof(outcome.error), "%s", error->name);
                snprintf(outcome.reply.text, sizeof(outcome.reply.text), "%s", error->message);
                outcome.reply.error = sd_bus_error_get_errno(error);
        }
        sd_bus_error_free(error);
        return outcome;
}

static struct outcome caller_read_lease(struct rig *rig, sd_bus_message *reply,
                                        sd_bus_error *error) {
        struct outcome outcome = caller_read(reply, error);

        if (reply) {
                ck_assert_int_gt(sd_bus_message_read(reply, "t", &rig->lease), 0);
                rig->mounts = CALLER_MOUNTS;
                rig->kept = true;
        }
        sd_bus_message_unref(reply);
        return outcome;
}

struct outcome caller_mount(struct rig *rig) {
        sd_bus_error error = SD_BUS_ERROR_NULL;

        return caller_read_lease(rig,
                                 system_bus_call(caller_root, &error, "MountPath", "sas",
                                                 sandbox_path("root"), 2, "proc", "sysfs"),
                                 &error);
}

/*
 * A lease may be unmounted only in part; without an answer, the list shows whether it still exists.
 */
static struct outcome caller_read_end(struct rig *rig, sd_bus_message *reply, sd_bus_error *error) {
        struct outcome outcome = caller_read(reply, error);

        if (reply || !rig_find_remains(rig, 0, 0))
                rig->lease = 0;
        else
                rig->mounts = sandbox_count_mounts(0, rig->service.source);
        sd_bus_message_unref(reply);
        return outcome;
}

static struct outcome caller_unmount_as(struct rig *rig, sd_bus *bus) {
        sd_bus_error error = SD_BUS_ERROR_NULL;

        return caller_read_end(rig, system_bus_call(bus, &error, "Unmount", "t", rig->lease),
                               &error);
}

struct outcome caller_unmount(struct rig *rig) {
        return caller_unmount_as(rig, caller_alice);
}

struct outcome caller_tidy(struct rig *rig) {
        return caller_unmount_as(rig, caller_root);
}

struct outcome caller_unmount_path(struct rig *rig) {
        sd_bus_error error = SD_BUS_ERROR_NULL;

        return caller_read_end(
                rig, system_bus_call(caller_root, &error, "UnmountPath", "s", sandbox_path("root")),
                &error);
}

struct outcome caller_list(struct rig *rig) {
        sd_bus_error error = SD_BUS_ERROR_NULL;
        sd_bus_message *reply = system_bus_call(caller_root, &error, "ListLeases", "");
        struct outcome outcome = caller_read(reply, &error);

        if (reply) {
                ck_assert_int_gt(sd_bus_message_enter_container(reply, 'a', "(tuussast)"), 0);
                outcome.listed = sd_bus_message_enter_container(reply, 'r', "tuussast") > 0 &&
                                 sd_bus_message_read(reply, "t", &outcome.reply.lease) > 0 &&
                                 outcome.reply.lease == rig->lease;
        }
        sd_bus_message_unref(reply);
        return outcome;
}

const char *caller_find_fault(const struct rig *rig) {
        if (!caller_await(rig))
                return service_is_running(&rig->service) ? "the bus is left for good"
                                                         : "the daemon has ended";
        return rig_find_fault(rig);
}
