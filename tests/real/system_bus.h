/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A system bus of the test's own: a real dbus-daemon with the bus policy that is installed, in the
 * test's mount namespace, where Alice and Bob are in the group mountat and Mallory isn't. Daemons
 * and programs that the test starts find it by DBUS_SYSTEM_BUS_ADDRESS.
 */

#include "tests/real/world.h"

#include <systemd/sd-bus.h>

/* Whether there is a dbus-daemon to start. */
bool system_bus_is_installed(void);

/* Gives the users their names. Once, before the first bus. */
void system_bus_prepare(void);

/* Starts it; returns its pid. The address stays the same for all of the test. */
pid_t system_bus_start(void);

/* A connection of `uid`. Close it with sd_bus_close_unref(). */
sd_bus *system_bus_connect(uid_t uid);

/* Whether somebody has that name. */
bool system_bus_has(const char *name);

/* Waits until somebody has it. */
void system_bus_wait_for(const char *name);

/* ---- calls to org.mountat1.Manager ---- */

/* Mounts a procfs on that directory, which it must be able to. */
uint64_t system_bus_mount_one(sd_bus *bus, int proc);

/* A call of that method, yet to be sent; owned. */
sd_bus_message *system_bus_message(sd_bus *bus, const char *member, const char *types,
                                   va_list arguments);

/* Calls; returns the reply, or NULL with the error in `*error`. */
sd_bus_message *system_bus_call(sd_bus *bus, sd_bus_error *error, const char *member,
                                const char *types, ...);

/* The call must fail with org.mountat1.Error.`name` (or with `name` if it has a dot), and a
 * sentence. */
#define system_bus_expect(bus, name, ...)                                                          \
        do {                                                                                       \
                sd_bus_error expected = SD_BUS_ERROR_NULL;                                         \
                                                                                                   \
                ck_assert_ptr_null(system_bus_call(bus, &expected, __VA_ARGS__));                  \
                system_bus_judge(&expected, name);                                                 \
                sd_bus_error_free(&expected);                                                      \
        } while (0)
void system_bus_judge(const sd_bus_error *error, const char *name);

/* MountPath of proc and sysfs; it must succeed. Returns the lease. */
uint64_t system_bus_mount_path(sd_bus *bus, const char *root);

/* Mount of proc and sysfs, with descriptors that `uid` opens; NULL or the reply. */
sd_bus_message *system_bus_mount(sd_bus *bus, sd_bus_error *error, uid_t uid, const char *root);

/* The same; it must succeed. */
uint64_t system_bus_hold(sd_bus *bus, uid_t uid, const char *root);

/* Unmount; it must succeed. */
void system_bus_unmount(sd_bus *bus, uint64_t lease);

struct system_bus_lease {
        uint64_t lease;
        uint32_t uid;
        uint32_t pid;
        char place[2048];
        char origin[16];
        unsigned file_systems;
        uint64_t age;
};

/* How many leases ListLeases shows; the first `max` of them. */
unsigned system_bus_list(sd_bus *bus, struct system_bus_lease *leases, unsigned max);

/* A property that is a number. */
uint64_t system_bus_number(sd_bus *bus, const char *property);

/* ---- polkit ---- */

/*
 * A program that answers for polkit: yes to `action`, no to all others; with `challenge`, "an
 * administrator could be asked" unless interaction is allowed, to which he says yes. It writes what
 * it is asked to polkit.log below the world.
 */
pid_t system_bus_start_polkit(const char *action, bool challenge);

/*
 * The distribution's own, which knows the actions that are installed with the daemon, and one rule:
 * a function's body in JavaScript, of `action` and `subject`. 0: there is none on this machine.
 */
pid_t system_bus_start_real_polkit(const char *rule);
