/* SPDX-License-Identifier: Apache-2.0 */

/* A place is changed only by the thread that has it at hand: STOCK_BUSY. */

#include "daemon/stock.h"

#include "common/fd.h"

enum stock_state {
        STOCK_EMPTY,
        STOCK_BUSY,
        STOCK_FILLED,
};

void stock_init(struct stock *stock) {
        for (unsigned i = 0; i < STOCK_PLACES; i++) {
                atomic_init(&stock->places[i].state, STOCK_EMPTY);
                stock->places[i].fd = -EBADF;
        }
}

void stock_clear(struct stock *stock) {
        uint64_t id;
        int fd;

        while (stock_take(stock, &fd, &id))
                fd_close(fd);
}

/* A place that was in the state `from`, now this thread's; NULL if there is none. */
static struct stock_place *stock_grab(struct stock *stock, enum stock_state from) {
        for (unsigned i = 0; i < STOCK_PLACES; i++) {
                int expected = from;

                if (atomic_compare_exchange_strong(&stock->places[i].state, &expected, STOCK_BUSY))
                        return &stock->places[i];
        }
        return NULL;
}

bool stock_take(struct stock *stock, int *fd, uint64_t *id) {
        struct stock_place *place = stock_grab(stock, STOCK_FILLED);

        if (!place)
                return false;
        *fd = fd_take(&place->fd);
        *id = place->id;
        atomic_store(&place->state, STOCK_EMPTY);
        return true;
}

bool stock_put(struct stock *stock, int fd, uint64_t id) {
        struct stock_place *place = stock_grab(stock, STOCK_EMPTY);

        if (!place)
                return false;
        place->fd = fd;
        place->id = id;
        atomic_store(&place->state, STOCK_FILLED);
        return true;
}

bool stock_is_full(struct stock *stock) {
        for (unsigned i = 0; i < STOCK_PLACES; i++)
                if (atomic_load(&stock->places[i].state) == STOCK_EMPTY)
                        return false;
        return true;
}
