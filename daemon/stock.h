/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Detached mounts that were made before somebody asked for them: a few places, no lock. Any thread,
 * but for stock_init() and stock_clear(); nothing here blocks.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum {
        STOCK_PLACES = 4, /* of each kind; as many requests at once find one */
};

struct stock {
        struct stock_place {
                atomic_int state;
                int fd; /* owned, like the id there for whoever set the state */
                uint64_t id;
        } places[STOCK_PLACES];
};

void stock_init(struct stock *stock);

/* Closes what is left, which ends those mounts. When no other thread uses it any more. */
void stock_clear(struct stock *stock);

/* A mount, the caller's from now on, and its id. False: none is left. */
bool stock_take(struct stock *stock, int *fd, uint64_t *id);

/* False: no room was found, and `fd` stays the caller's. */
bool stock_put(struct stock *stock, int fd, uint64_t id);

/* As far as can be told while others take and put. */
bool stock_is_full(struct stock *stock);
