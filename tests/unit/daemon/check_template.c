/* SPDX-License-Identifier: Apache-2.0 */

#include "daemon/stock.h"

#include "common/fd.h"
#include "daemon/mount.h"
#include "tests/fixtures/descriptors.h"
#include "tests/fixtures/suite.h"
#include "tests/unit/daemon/fake_kernel.h"

#include <fcntl.h>
#include <pthread.h>

static struct stock stock;

static int open_something(void) {
        int fd = open("/", O_PATH | O_CLOEXEC);

        ck_assert_int_ge(fd, 0);
        return fd;
}

START_TEST(gives_what_was_put_and_no_more) {
        uint64_t id, sum = 0;
        int fd;

        stock_init(&stock);
        ck_assert(!stock_take(&stock, &fd, &id));
        for (unsigned i = 1; i <= STOCK_PLACES; i++) {
                ck_assert(!stock_is_full(&stock));
                ck_assert(stock_put(&stock, 1000 + (int)i, i));
        }
        ck_assert(stock_is_full(&stock));
        ck_assert(!stock_put(&stock, 99, 99));
        for (unsigned i = 1; i <= STOCK_PLACES; i++) {
                ck_assert(stock_take(&stock, &fd, &id));
                ck_assert_int_eq(fd, 1000 + (int)id);
                sum += id;
        }
        ck_assert_uint_eq(sum, STOCK_PLACES * (STOCK_PLACES + 1) / 2);
        ck_assert(!stock_take(&stock, &fd, &id));
}
END_TEST

START_TEST(closes_what_is_left) {
        unsigned before = descriptors_count();

        stock_init(&stock);
        ck_assert(stock_put(&stock, open_something(), 1));
        ck_assert(stock_put(&stock, open_something(), 2));
        stock_clear(&stock);
        ck_assert_uint_eq(descriptors_count(), before);
        stock_clear(&stock);
}
END_TEST

enum { THREADS = 4, ROUNDS = 20000 };

/* Takes and puts back: a descriptor and its id stay together, and none is given out twice. */
static void *trade(void *argument) {
        for (unsigned i = 0; i < ROUNDS; i++) {
                uint64_t id;
                int fd;

                if (!stock_take(&stock, &fd, &id))
                        continue;
                if (fd != 1000 + (int)id)
                        return argument;
                while (!stock_put(&stock, fd, id))
                        continue; /* the free place was elsewhere whenever it looked */
        }
        return NULL;
}

START_TEST(threads_trade_without_mixing_anything_up) {
        pthread_t threads[THREADS];
        unsigned left = 0;
        uint64_t id;
        int fd;

        stock_init(&stock);
        for (unsigned i = 0; i < STOCK_PLACES; i++)
                ck_assert(stock_put(&stock, 1000 + (int)i, i));
        for (unsigned i = 0; i < THREADS; i++)
                ck_assert_int_eq(pthread_create(&threads[i], NULL, trade, &stock), 0);
        for (unsigned i = 0; i < THREADS; i++) {
                void *result;

                ck_assert_int_eq(pthread_join(threads[i], &result), 0);
                ck_assert_ptr_null(result);
        }
        while (stock_take(&stock, &fd, &id))
                left |= 1U << id;
        ck_assert_uint_eq(left, (1U << STOCK_PLACES) - 1);
}
END_TEST

START_TEST(stocked_mount_is_given_with_its_id) {
        struct mount_templates *templates;
        unsigned before = descriptors_count();
        char text[256];

        fake_features(FAKE_ALL_FEATURES);
        ck_assert_int_eq(mount_templates_new("x", &templates, text, sizeof(text)), 0);
        mount_restock(templates);
        fake_calls_reset();
        for (unsigned i = 0; i < STOCK_PLACES + 1; i++) {
                uint64_t id, asked;
                FD_AUTO int fd = mount_obtain(templates, MOUNT_PROC, &id, text, sizeof(text));

                ck_assert_int_ge(fd, 0);
                ck_assert_uint_eq(fake_calls(FAKE_OPEN_TREE), i == STOCK_PLACES);
                ck_assert_int_eq(mount_identify(FAKE_ALL_FEATURES, fd, &asked), 0);
                ck_assert_uint_eq(id, asked);
        }
        mount_templates_free(templates);
        ck_assert_uint_eq(descriptors_count(), before);
}
END_TEST

START_TEST(stock_that_can_not_be_made_is_no_failure) {
        struct mount_templates *templates;
        unsigned before = descriptors_count();
        char text[256];

        fake_features(FAKE_ALL_FEATURES);
        ck_assert_int_eq(mount_templates_new("x", &templates, text, sizeof(text)), 0);
        for (unsigned n = 1; n <= 4; n++) {
                uint64_t id;

                fake_calls_reset();
                fake_fail(n % 2 ? FAKE_OPEN_TREE : FAKE_STATX, n, 1, EMFILE);
                mount_restock(templates);
                fd_close(mount_obtain(templates, MOUNT_SYSFS, &id, text, sizeof(text)));
        }
        mount_templates_free(templates);
        ck_assert_uint_eq(descriptors_count(), before);
}
END_TEST

int main(void) {
        return SUITE_RUN("stock", gives_what_was_put_and_no_more, closes_what_is_left,
                         threads_trade_without_mixing_anything_up,
                         stocked_mount_is_given_with_its_id,
                         stock_that_can_not_be_made_is_no_failure);
}
