/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * org.mountat1.Manager, mountatd's face on the system bus, for the commands that speak to it there.
 * Failures are told on standard error here; what is returned says only that there was one.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-bus.h>

/* Connects; close it with sd_bus_flush_close_unref(). */
int manager_open(sd_bus **bus);

/* A call of that method, for arguments to be appended. */
int manager_prepare(sd_bus *bus, sd_bus_message **call, const char *member);

/* Sends it, and waits, as long as an administrator needs to type a password. `what` was to be done,
 * in escaped words. */
int manager_call(sd_bus *bus, sd_bus_message *call, const char *what, sd_bus_message **reply);

/* All properties: `*reply` is at an a{sv}. */
int manager_get_all(sd_bus *bus, sd_bus_message **reply);

/* Reads an array of strings into one, separated by commas. */
int manager_read_strings(sd_bus_message *reply, char *text, size_t size);

int manager_unmount(sd_bus *bus, uint64_t lease);

/* One lease of a list. Strings are the message's. */
struct manager_lease {
        uint64_t lease;
        uint32_t uid;
        uint32_t pid;
        const char *place; /* escaped */
        const char *origin;
        char file_systems[128]; /* separated by commas */
        uint64_t age;           /* seconds */
        bool elsewhere;         /* in a mount namespace of its own, as a container has one, with */
        uint64_t namespace;     /* that inode, 0 if it isn't known */
};

enum manager_scope {
        MANAGER_OWN, /* and what the caller may see anyway */
        MANAGER_ALL, /* if an administrator, who is asked, consents */
};

/* Asks, also a daemon that has no more than ListLeases(); then manager_next() gives one after the
 * other: 1, 0 at the end, negative: told. */
int manager_list(sd_bus *bus, enum manager_scope scope, sd_bus_message **reply);
int manager_next(sd_bus_message *reply, struct manager_lease *lease);

static inline void manager_cleanup_bus(sd_bus **bus) {
        sd_bus_flush_close_unref(*bus);
}

static inline void manager_cleanup_message(sd_bus_message **message) {
        sd_bus_message_unref(*message);
}

#define MANAGER_BUS_AUTO __attribute__((cleanup(manager_cleanup_bus)))
#define MANAGER_MESSAGE_AUTO __attribute__((cleanup(manager_cleanup_message)))
