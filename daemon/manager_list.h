/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The replies to ListLeases() and ListLeasesEx(), org.mountat1(5). On any thread. */

#include "daemon/request.h"

struct sd_bus_message;

enum manager_list_form {
        MANAGER_LIST_FIXED,    /* ListLeases() */
        MANAGER_LIST_EXTENDED, /* ListLeasesEx(): with a dictionary per lease */
};

/*
 * Appends the leases that the subject may see: an administrator all of them, others their own.
 * Negative errno. Blocks on no file system.
 */
int manager_list_append(const struct context *context, const struct subject *subject,
                        enum manager_list_form form, struct sd_bus_message *reply);
