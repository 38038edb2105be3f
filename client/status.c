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
        STATUS_TEXT_MAX = 4 * PATH_MAX, /* of one escaped string */
};

struct status_values {
        char *text[STATUS_COLUMNS]; /* owned; NULL if the daemon has no such property */
};

static void status_free(struct status_values *values) {
        for (size_t i = 0; i < STATUS_COLUMNS; i++)
                free(values->text[i]);
}

/*
 * As seen by this process, whose mount namespace may not be the daemon's: hence "here". The daemon
 * looks for links only when it starts, and nothing can be mounted below a path with one.
 */
static void status_write_state(FILE *out, const char *path) {
        char real[PATH_MAX], escaped[STATUS_TEXT_MAX];
        struct stat stat;

        if (!realpath(path, real))
                fputs(errno == ENOENT ? " (missing here)" : "", out);
        else if (strcmp(real, path) != 0)
                fprintf(out, " (here a link to %s)", text_escape(escaped, sizeof(escaped), real));
        else if (lstat(path, &stat) == 0 && !S_ISDIR(stat.st_mode))
                fputs(" (here not a directory)", out);
}

static int status_write_directories(FILE *out, sd_bus_message *reply) {
        int r = sd_bus_message_enter_container(reply, 'a', "(su)");
        char escaped[STATUS_TEXT_MAX];
        const char *path, *separator = "";
        uint32_t uid;

        while (r >= 0 && (r = sd_bus_message_read(reply, "(su)", &path, &uid)) > 0) {
                fprintf(out, "%s%s", separator, text_escape(escaped, sizeof(escaped), path));
                if (uid != UINT32_MAX)
                        fprintf(out, ":%" PRIu32, uid);
                status_write_state(out, path);
                separator = ", ";
        }
        if (!*separator)
                fputs("none", out);
        return r < 0 ? r : sd_bus_message_exit_container(reply);
}

static int status_write_value(FILE *out, sd_bus_message *reply, const char *type) {
        char text[STATUS_TEXT_MAX] = "";
        const char *string;
        uint64_t wide;
        uint32_t narrow;
        int r;

        switch (type[0]) {
        case 's':
                r = sd_bus_message_read(reply, "s", &string);
                if (r >= 0)
                        fputs(text_escape(text, sizeof(text), string), out);
                return r;
        case 't':
                r = sd_bus_message_read(reply, "t", &wide);
                if (r >= 0)
                        fprintf(out, "%" PRIu64, wide);
                return r;
        case 'u':
                r = sd_bus_message_read(reply, "u", &narrow);
                if (r >= 0)
                        fprintf(out, "%" PRIu32, narrow);
                return r;
        case 'a':
                if (strcmp(type, "a(su)") == 0)
                        return status_write_directories(out, reply);
                r = manager_read_strings(reply, text, sizeof(text));
                fputs(text, out);
                return r;
        default:
                return -EBADMSG;
        }
}

/* Reads a variant into a new string. */
static int status_read_variant(sd_bus_message *reply, char **text) {
        const char *type;
        size_t size;
        FILE *out;
        int r = sd_bus_message_peek_type(reply, NULL, &type);

        if (r >= 0)
                r = sd_bus_message_enter_container(reply, 'v', type);
        if (r < 0)
                return r;
        free(*text);
        *text = NULL;
        out = open_memstream(text, &size);
        if (!out)
                return -ENOMEM;
        r = status_write_value(out, reply, type);
        if (fclose(out) != 0)
                return -ENOMEM;
        return r < 0 ? r : sd_bus_message_exit_container(reply);
}

static int status_read_property(sd_bus_message *reply, struct status_values *values) {
        const char *name;
        int r = sd_bus_message_read(reply, "s", &name);

        if (r < 0)
                return r;
        for (size_t i = 0; i < STATUS_COLUMNS; i++)
                if (strcmp(name, status_columns[i].key) == 0)
                        return status_read_variant(reply, &values->text[i]);
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
        __attribute__((cleanup(status_free))) struct status_values values = {0};
        int r;

        if (manager_open(&bus) < 0 || manager_get_all(bus, &reply) < 0)
                return COMMAND_FAILED;
        r = status_read(reply, &values);
        for (size_t i = 0; r >= 0 && i < STATUS_COLUMNS; i++)
                r = table_add(&table, "%s", values.text[i] ?: TABLE_NONE);
        if (r < 0) {
                warnx("cannot read mountatd's status: %s", strerrordesc_np(-r));
                return COMMAND_FAILED;
        }
        if (!arguments->quiet)
                table_print_record(&table, arguments->format);
        return 0;
}
