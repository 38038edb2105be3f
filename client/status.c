/* SPDX-License-Identifier: Apache-2.0 */

/* mountatctl status: prints the properties of the running daemon. */

#include "client/command.h"
#include "client/manager.h"
#include "common/text.h"

#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const struct table_column status_columns[] = {
        {"Version", "Version", TABLE_STRING},
        {"Features", "Features", TABLE_LIST},
        {"Leases", "Leases", TABLE_NUMBER},
        {"Connections", "Connections", TABLE_NUMBER},
        {"MountsTotal", "Mounts since start", TABLE_NUMBER},
        {"FailuresTotal", "Requests refused or failed", TABLE_NUMBER},
        {"MaxConnections", "Max connections", TABLE_NUMBER},
        {"MaxConnectionsPerUser", "Max connections per user", TABLE_NUMBER},
        {"MaxNamespacesPerUser", "Max namespaces per user", TABLE_NUMBER},
        {"MaxMounts", "Max mounts", TABLE_NUMBER},
        {"MaxMountsPerUser", "Max mounts per user", TABLE_NUMBER},
        {"MaxTargets", "Max targets per request", TABLE_NUMBER},
        {"BuildDirectories", "Build directories", TABLE_STRING},
};

enum {
        STATUS_COLUMNS = sizeof(status_columns) / sizeof(status_columns[0]),
        STATUS_SIZE = 8192, /* bytes of a value, truncated to that */
};

struct status_values {
        char text[STATUS_COLUMNS][STATUS_SIZE];
};

/*
 * As seen by this process, whose mount namespace may not be the daemon's. The daemon looks for
 * links only when it starts, and nothing can be mounted below a path with one.
 */
static const char *status_of_directory(const char *path, char *text, size_t size) {
        char real[PATH_MAX], escaped[PATH_MAX];
        struct stat stat;

        if (!realpath(path, real))
                return errno == ENOENT ? " (missing)" : "";
        if (strcmp(real, path) != 0) {
                snprintf(text, size, " (a link to %s)",
                         text_abridge(escaped, sizeof(escaped), real));
                return text;
        }
        return lstat(path, &stat) < 0 || S_ISDIR(stat.st_mode) ? "" : " (not a directory)";
}

static int status_read_directories(sd_bus_message *reply, char *text, size_t size) {
        int r = sd_bus_message_enter_container(reply, 'a', "(su)");
        const char *path;
        size_t used = 0;
        uint32_t uid;

        snprintf(text, size, "none");
        while (r >= 0 && (r = sd_bus_message_read(reply, "(su)", &path, &uid)) > 0) {
                char escaped[PATH_MAX], state[PATH_MAX + 16], user[16] = "";

                if (uid != UINT32_MAX)
                        snprintf(user, sizeof(user), ":%" PRIu32, uid);
                if (used < size)
                        used += snprintf(text + used, size - used, "%s%s%s%s", used ? ", " : "",
                                         text_abridge(escaped, sizeof(escaped), path), user,
                                         status_of_directory(path, state, sizeof(state)));
        }
        return r < 0 ? r : sd_bus_message_exit_container(reply);
}

static int status_read_value(sd_bus_message *reply, const char *type, char *text, size_t size) {
        const char *string;
        uint64_t wide;
        uint32_t narrow;
        int r;

        switch (type[0]) {
        case 's':
                r = sd_bus_message_read(reply, "s", &string);
                if (r >= 0)
                        text_escape(text, size, string);
                return r;
        case 't':
                r = sd_bus_message_read(reply, "t", &wide);
                snprintf(text, size, "%" PRIu64, wide);
                return r;
        case 'u':
                r = sd_bus_message_read(reply, "u", &narrow);
                snprintf(text, size, "%" PRIu32, narrow);
                return r;
        case 'a':
                if (strcmp(type, "a(su)") == 0)
                        return status_read_directories(reply, text, size);
                return manager_read_strings(reply, text, size);
        default:
                return -EBADMSG;
        }
}

static int status_read_property(sd_bus_message *reply, struct status_values *values) {
        const char *name, *type;
        int r = sd_bus_message_read(reply, "s", &name);

        if (r < 0)
                return r;
        for (size_t i = 0; i < STATUS_COLUMNS; i++) {
                if (strcmp(name, status_columns[i].key) != 0)
                        continue;
                r = sd_bus_message_peek_type(reply, NULL, &type);
                if (r >= 0)
                        r = sd_bus_message_enter_container(reply, 'v', type);
                if (r >= 0)
                        r = status_read_value(reply, type, values->text[i],
                                              sizeof(values->text[i]));
                return r < 0 ? r : sd_bus_message_exit_container(reply);
        }
        return sd_bus_message_skip(reply, "v");
}

static int status_read(sd_bus_message *reply, struct status_values *values) {
        int r = sd_bus_message_enter_container(reply, 'a', "{sv}");

        while (r >= 0 && (r = sd_bus_message_enter_container(reply, 'e', "sv")) > 0) {
                r = status_read_property(reply, values);
                if (r >= 0)
                        r = sd_bus_message_exit_container(reply);
        }
        return r;
}

int command_status(const struct arguments *arguments) {
        MANAGER_BUS_AUTO sd_bus *bus = NULL;
        MANAGER_MESSAGE_AUTO sd_bus_message *reply = NULL;
        TABLE_AUTO struct table table = {.columns = status_columns, .n_columns = STATUS_COLUMNS};
        struct status_values values = {0};
        int r;

        if (manager_open(&bus) < 0 || manager_get_all(bus, &reply) < 0)
                return COMMAND_FAILED;
        r = status_read(reply, &values);
        for (size_t i = 0; r >= 0 && i < STATUS_COLUMNS; i++)
                r = table_add(&table, "%s", values.text[i][0] ? values.text[i] : TABLE_NONE);
        if (r >= 0)
                r = table_print_record(&table, arguments->format);
        if (r < 0)
                warnx("cannot print the status: %s", strerrordesc_np(-r));
        return r < 0 ? COMMAND_FAILED : 0;
}
