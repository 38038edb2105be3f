/* SPDX-License-Identifier: Apache-2.0 */

/* Single-threaded, like all of mountatctl. */

#include "client/manager.h"

#include "common/text.h"

#include <err.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define MANAGER_NAME "org.mountat1"
#define MANAGER_PATH "/org/mountat1"
#define MANAGER_INTERFACE "org.mountat1.Manager"
#define MANAGER_ERROR "org.mountat1.Error."

/* Long enough for an administrator to type a password. */
#define MANAGER_TIMEOUT (150 * (uint64_t)1000000)

static int manager_fail(const char *what, int error) {
        warnx("%s: %s", what, strerrordesc_np(-error) ?: "unknown error");
        return error;
}

int manager_open(sd_bus **bus) {
        int r = sd_bus_open_system(bus);

        if (r >= 0)
                r = sd_bus_set_allow_interactive_authorization(*bus, true);
        return r < 0 ? manager_fail("cannot connect to the system bus", r) : 0;
}

int manager_prepare(sd_bus *bus, sd_bus_message **call, const char *member) {
        int r = sd_bus_message_new_method_call(bus, call, MANAGER_NAME, MANAGER_PATH,
                                               MANAGER_INTERFACE, member);

        return r < 0 ? manager_fail("cannot create a D-Bus message", r) : 0;
}

static void manager_complain(const char *what, const sd_bus_error *error) {
        char text[1024];

        if (sd_bus_error_has_name(error, SD_BUS_ERROR_SERVICE_UNKNOWN) ||
            sd_bus_error_has_name(error, SD_BUS_ERROR_NAME_HAS_NO_OWNER))
                warnx("%s: mountatd is not on the system bus: see systemctl status mountatd", what);
        else if (sd_bus_error_has_name(error, SD_BUS_ERROR_ACCESS_DENIED))
                warnx("%s: the system bus denies the call: only root and members of mountatd's "
                      "group may make it",
                      what);
        else
                warnx("%s: %s", what,
                      text_escape(text, sizeof(text),
                                  error->message ?: error->name ?: "unknown error"));
}

static int manager_send(sd_bus *bus, sd_bus_message *call, const char *what,
                        sd_bus_message **reply) {
        sd_bus_error error = SD_BUS_ERROR_NULL;
        int r = sd_bus_call(bus, call, MANAGER_TIMEOUT, &error, reply);

        if (r < 0)
                manager_complain(what, &error);
        sd_bus_error_free(&error);
        return r < 0 ? r : 0;
}

int manager_call(sd_bus *bus, sd_bus_message *call, const char *what, sd_bus_message **reply) {
        return manager_send(bus, call, what, reply);
}

int manager_get_all(sd_bus *bus, sd_bus_message **reply) {
        MANAGER_MESSAGE_AUTO sd_bus_message *call = NULL;
        int r = sd_bus_message_new_method_call(bus, &call, MANAGER_NAME, MANAGER_PATH,
                                               "org.freedesktop.DBus.Properties", "GetAll");

        if (r >= 0)
                r = sd_bus_message_append(call, "s", MANAGER_INTERFACE);
        if (r < 0)
                return manager_fail("cannot create a D-Bus message", r);
        return manager_send(bus, call, "cannot query mountatd", reply);
}

int manager_unmount(sd_bus *bus, uint64_t lease) {
        MANAGER_MESSAGE_AUTO sd_bus_message *call = NULL, *reply = NULL;
        char what[64];
        int r = manager_prepare(bus, &call, "Unmount");

        snprintf(what, sizeof(what), "cannot unmount lease %016llx", (unsigned long long)lease);
        if (r < 0)
                return r;
        r = sd_bus_message_append(call, "t", lease);
        return r < 0 ? manager_fail(what, r) : manager_call(bus, call, what, &reply);
}

#define MANAGER_LEASE "tuussast"
#define MANAGER_LEASE_EX MANAGER_LEASE "a{sv}"

static int manager_ask_list(sd_bus *bus, const char *member, enum manager_scope scope,
                            sd_bus_error *error, sd_bus_message **reply) {
        MANAGER_MESSAGE_AUTO sd_bus_message *call = NULL;
        int r = manager_prepare(bus, &call, member);

        /* No password dialog for one's own list, which shell completion requests too. */
        if (r == 0)
                r = sd_bus_message_set_allow_interactive_authorization(call, scope == MANAGER_ALL);
        return r < 0 ? r : sd_bus_call(bus, call, MANAGER_TIMEOUT, error, reply);
}

int manager_list(sd_bus *bus, enum manager_scope scope, sd_bus_message **reply) {
        sd_bus_error error = SD_BUS_ERROR_NULL;
        bool extended = true;
        int r = manager_ask_list(bus, "ListLeasesEx", scope, &error, reply);

        /* Before 0.2, neither the daemon nor its bus policy knows ListLeasesEx(). */
        if (sd_bus_error_has_name(&error, SD_BUS_ERROR_UNKNOWN_METHOD) ||
            sd_bus_error_has_name(&error, SD_BUS_ERROR_ACCESS_DENIED)) {
                sd_bus_error_free(&error);
                extended = false;
                r = manager_ask_list(bus, "ListLeases", scope, &error, reply);
        }
        if (sd_bus_error_is_set(&error))
                manager_complain("cannot list the leases", &error);
        sd_bus_error_free(&error);
        if (r < 0)
                return r;
        r = sd_bus_message_enter_container(
                *reply, 'a', extended ? "(" MANAGER_LEASE_EX ")" : "(" MANAGER_LEASE ")");
        return r < 0 ? manager_fail("cannot read mountatd's list of leases", r) : 0;
}

int manager_read_strings(sd_bus_message *reply, char *text, size_t size) {
        int r = sd_bus_message_enter_container(reply, 'a', "s");
        const char *string;
        size_t used = 0;

        text[0] = '\0';
        while (r >= 0 && (r = sd_bus_message_read(reply, "s", &string)) > 0)
                if (used < size)
                        used += snprintf(text + used, size - used, "%s%s", used ? "," : "", string);
        return r < 0 ? r : sd_bus_message_exit_container(reply);
}

/* Skips unknown keys, which a later version of the daemon may send. */
static int manager_read_rest(sd_bus_message *reply, struct manager_lease *lease) {
        int r = sd_bus_message_enter_container(reply, 'a', "{sv}");
        const char *key;

        while (r >= 0 && (r = sd_bus_message_enter_container(reply, 'e', "sv")) > 0) {
                r = sd_bus_message_read(reply, "s", &key);
                if (r >= 0 && strcmp(key, "MountNamespace") == 0) {
                        lease->elsewhere = true;
                        r = sd_bus_message_read(reply, "v", "t", &lease->namespace);
                } else if (r >= 0)
                        r = sd_bus_message_skip(reply, "v");
                if (r >= 0)
                        r = sd_bus_message_exit_container(reply);
        }
        return r < 0 ? r : sd_bus_message_exit_container(reply);
}

int manager_next(sd_bus_message *reply, struct manager_lease *lease) {
        const char *contents;
        int r = sd_bus_message_peek_type(reply, NULL, &contents);
        bool extended = r > 0 && strcmp(contents, MANAGER_LEASE_EX) == 0;

        if (r == 0)
                return 0;
        *lease = (struct manager_lease){0};
        if (r >= 0)
                r = sd_bus_message_enter_container(reply, 'r',
                                                   extended ? MANAGER_LEASE_EX : MANAGER_LEASE);
        if (r >= 0)
                r = sd_bus_message_read(reply, "tuuss", &lease->lease, &lease->uid, &lease->pid,
                                        &lease->place, &lease->origin);
        if (r >= 0)
                r = manager_read_strings(reply, lease->file_systems, sizeof(lease->file_systems));
        if (r >= 0)
                r = sd_bus_message_read(reply, "t", &lease->age);
        if (r >= 0 && extended)
                r = manager_read_rest(reply, lease);
        if (r >= 0)
                r = sd_bus_message_exit_container(reply);
        return r < 0 ? manager_fail("cannot read mountatd's list of leases", r) : 1;
}
