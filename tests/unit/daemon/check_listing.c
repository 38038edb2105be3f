/* SPDX-License-Identifier: Apache-2.0 */

/* How long a place is told: the users' choice of it costs a listing a bounded number of bytes. */

#include "daemon/listing.h"
#include "tests/fixtures/suite.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

static void expect(const char *path, size_t places, const char *expected) {
        char *place = listing_escape(path, places);

        ck_assert_str_eq(place, expected);
        free(place);
}

START_TEST(tells_a_place_of_the_greatest_length_whole) {
        char path[LISTING_PLACE_MAX + 1];

        memset(path, 'a', LISTING_PLACE_MAX);
        path[LISTING_PLACE_MAX] = '\0';
        expect(path, 0, path);
        expect(path, LISTING_PLACES_MAX - LISTING_PLACE_MAX, path);
        expect("/srv/a\xff", 0, "/srv/a\\xff");
}
END_TEST

START_TEST(cuts_a_longer_one_between_escapes) {
        char path[PATH_MAX], expected[LISTING_PLACE_MAX + 1] = "";

        memset(path, '\1', sizeof(path));
        path[sizeof(path) - 1] = '\0';
        while (strlen(expected) + 4 + strlen(LISTING_CUT) <= LISTING_PLACE_MAX)
                strcat(expected, "\\x01");
        expect(path, 0, strcat(expected, LISTING_CUT));
}
END_TEST

START_TEST(tells_no_more_than_is_left_of_all) {
        expect("/srv/root", LISTING_PLACES_MAX - 9, "/srv/root");
        expect("/srv/root", LISTING_PLACES_MAX - 8, "/srv/...");
        expect("/srv/root", LISTING_PLACES_MAX, "...");
        expect("/srv/root", LISTING_PLACES_MAX + 1000, "...");
        expect("/a", LISTING_PLACES_MAX + 1000, "/a");
}
END_TEST

int main(void) {
        return SUITE_RUN("listing", tells_a_place_of_the_greatest_length_whole,
                         cuts_a_longer_one_between_escapes, tells_no_more_than_is_left_of_all);
}
