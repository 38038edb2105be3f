/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Calls of org.mountat1.Manager, mountatd's interface on the system bus. The functions print errors
 * to standard error; a negative return value only says that there was one.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-bus.h>

/* Connects; close it with sd_bus_flush_close_unref(). */
int manager_open(sd_bus **bus);

/* Creates a call of the method `member`, to append arguments to. */
int manager_prepare(sd_bus *bus, sd_bus_message **call, const char *member);

/* Sends the call and waits for the reply, long enough for an administrator to type a password.
 * `what` begins the error message, such as "cannot list leases", and is escaped. */
int manager_call(sd_bus *bus, sd_bus_message *call, const char *what, sd_bus_message **reply);

/* Gets all properties: `*reply` is positioned at an a{sv}. */
int manager_get_all(sd_bus *bus, sd_bus_message **reply);

/* Reads an array of strings into `text`, separated by commas. */
int manager_read_strings(sd_bus_message *reply, char *text, size_t size);

int manager_unmount(sd_bus *bus, uint64_t lease);

/* One lease of a list. Its strings point into the message. */
struct manager_lease {
        uint64_t lease;
        uint32_t uid;
        uint32_t pid;
        const char *place; /* escaped */
        const char *origin;
        char file_systems[128]; /* separated by commas */
        uint64_t age;           /* seconds */
        bool elsewhere;         /* not in mountatd's mount namespace but, as in a container, in */
        uint64_t namespace;     /* the one with this inode; 0 if unknown */
};

enum manager_scope {
        MANAGER_OWN, /* the leases that the caller may see anyway */
        MANAGER_ALL, /* all, if an administrator consents; polkit asks */
};

/* Requests the list, from a daemon older than 0.2 too. Then manager_next() returns 1 for each
 * lease, 0 at the end, and a negative errno after printing an error. */
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
