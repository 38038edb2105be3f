/* SPDX-License-Identifier: Apache-2.0 */

/* mountatctl list: prints the daemon's records of the leases that the user may see. */

#include "client/command.h"
#include "client/manager.h"

#include <err.h>
#include <inttypes.h>
#include <stdio.h>

static const struct table_column list_columns[] = {
        {"lease", "LEASE", TABLE_STRING},
        {"uid", "UID", TABLE_NUMBER},
        {"pid", "PID", TABLE_NUMBER},
        {"origin", "ORIGIN", TABLE_STRING},
        {"age", "SECONDS", TABLE_NUMBER},
        {"file_systems", "MOUNTED", TABLE_LIST},
        {"mount_namespace", "NAMESPACE", TABLE_NUMBER},
        {"place", "BELOW", TABLE_STRING},
};

static int list_add(struct table *table, const struct manager_lease *lease) {
        int r = table_add(table, "%016" PRIx64, lease->lease);

        if (r == 0)
                r = table_add(table, "%" PRIu32, lease->uid);
        if (r == 0)
                r = table_add(table, "%" PRIu32, lease->pid);
        if (r == 0)
                r = table_add(table, "%s", lease->origin);
        if (r == 0)
                r = table_add(table, "%" PRIu64, lease->age);
        if (r == 0)
                r = table_add(table, "%s", lease->file_systems);
        if (r == 0)
                r = lease->elsewhere ? table_add(table, "%" PRIu64, lease->namespace)
                                     : table_add(table, TABLE_NONE);
        if (r == 0)
                r = table_add(table, "%s", lease->place);
        return r;
}

int command_list(const struct arguments *arguments) {
        MANAGER_BUS_AUTO sd_bus *bus = NULL;
        MANAGER_MESSAGE_AUTO sd_bus_message *reply = NULL;
        TABLE_AUTO struct table table = {.columns = list_columns,
                                         .n_columns =
                                                 sizeof(list_columns) / sizeof(list_columns[0])};
        struct manager_lease lease;
        size_t count = 0;
        int r;

        if (manager_open(&bus) < 0 ||
            manager_list(bus, arguments->all ? MANAGER_ALL : MANAGER_OWN, &reply) < 0)
                return COMMAND_FAILED;
        while ((r = manager_next(reply, &lease)) > 0) {
                if (list_add(&table, &lease) < 0) {
                        warnx("cannot list the leases: out of memory");
                        return COMMAND_FAILED;
                }
                count++;
        }
        if (r < 0)
                return COMMAND_FAILED;

        if (arguments->quiet)
                return 0;
        if (table_print(&table, arguments->format, arguments->legend) < 0) {
                warnx("cannot list the leases: out of memory");
                return COMMAND_FAILED;
        }
        if (arguments->format == TABLE_TEXT && arguments->legend)
                printf("\n%zu leases.\n", count);
        return 0;
}
