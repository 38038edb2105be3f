/* SPDX-License-Identifier: Apache-2.0 */

/* What is judged of a call before anything of it is kept, and what a place is called in a list. */

#include "common/text.h"
#include "daemon/method.h"
#include "tests/fixtures/suite.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* ---- arguments ---- */

START_TEST(takes_absolute_paths_without_dots_alone) {
        static const char *const good[] = {"/",      "/srv",  "/srv/root/", "/srv/..no", "/...",
                                           "/a/b..", "/a/.b", "/a/./b",     "//a"};
        static const char *const bad[] = {"",         "srv",     ".",        "..",
                                          "/..",      "/a/..",   "/../a",    "/a/../b",
                                          "/a//../b", "/a/b/..", "/..a/../b"};

        for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
                ck_assert_msg(!method_path_fault(good[i]), "%s", good[i]);
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
                ck_assert_msg(method_path_fault(bad[i]) != NULL, "%s", bad[i]);
}
END_TEST

START_TEST(takes_paths_that_the_kernel_would_take) {
        static char path[32 * 1024 * 1024];

        memset(path, 'a', sizeof(path) - 1);
        path[0] = '/';
        ck_assert_ptr_nonnull(strstr(method_path_fault(path), "too long"));
        path[PATH_MAX] = '\0';
        ck_assert_ptr_nonnull(method_path_fault(path));
        path[PATH_MAX - 1] = '\0';
        ck_assert_ptr_null(method_path_fault(path));
}
END_TEST

START_TEST(knows_two_file_systems) {
        ck_assert_uint_eq(method_file_system("proc"), PROTOCOL_PROC);
        ck_assert_uint_eq(method_file_system("sysfs"), PROTOCOL_SYSFS);
        ck_assert_uint_eq(method_file_system("sys"), 0);
        ck_assert_uint_eq(method_file_system(""), 0);
        ck_assert_uint_eq(method_file_system("tmpfs"), 0);
}
END_TEST

/* As on the socket. */
START_TEST(judges_requests_as_the_decoder_does) {
        struct wire_request wire = {.operation = PROTOCOL_MOUNT,
                                    .flags = PROTOCOL_KEEP,
                                    .n_targets = 1,
                                    .targets = {{.file_system = PROTOCOL_PROC}}};

        ck_assert_int_eq(method_judge_request(&wire).status, STATUS_OK);
        ck_assert_uint_eq(wire.flags, PROTOCOL_KEEP);
        wire.targets[0].file_system = 0;
        ck_assert_int_eq(method_judge_request(&wire).status, STATUS_UNSUPPORTED_FILE_SYSTEM);
        wire.n_targets = 0;
        ck_assert_int_eq(method_judge_request(&wire).status, STATUS_MALFORMED);
        wire = (struct wire_request){.operation = PROTOCOL_UNMOUNT, .lease = UINT64_MAX};
        ck_assert_int_eq(method_judge_request(&wire).status, STATUS_OK);
        ck_assert_uint_eq(wire.lease, UINT64_MAX);
}
END_TEST

/* ---- how long a place is: the users' choice of it costs a list a bounded number of bytes ---- */

static void expect(const char *path, size_t spent, const char *expected) {
        char *place = method_name_place(path, spent);

        ck_assert_str_eq(place, expected);
        free(place);
}

START_TEST(tells_a_place_of_the_greatest_length_whole) {
        char path[METHOD_PLACE_MAX + 1];

        memset(path, 'a', METHOD_PLACE_MAX);
        path[METHOD_PLACE_MAX] = '\0';
        expect(path, 0, path);
        expect(path, METHOD_PLACES_MAX - METHOD_PLACE_MAX, path);
        expect("/srv/a\xff", 0, "/srv/a\\xff");
}
END_TEST

START_TEST(cuts_a_longer_one_between_escapes) {
        char path[PATH_MAX], expected[METHOD_PLACE_MAX + 1] = "";

        memset(path, '\1', sizeof(path));
        path[sizeof(path) - 1] = '\0';
        while (strlen(expected) + 4 + strlen(TEXT_CUT) <= METHOD_PLACE_MAX)
                strcat(expected, "\\x01");
        expect(path, 0, strcat(expected, TEXT_CUT));
}
END_TEST

START_TEST(tells_no_more_than_is_left_of_all) {
        expect("/srv/root", METHOD_PLACES_MAX - 9, "/srv/root");
        expect("/srv/root", METHOD_PLACES_MAX - 8, "/srv/...");
        expect("/srv/root", METHOD_PLACES_MAX, "...");
        expect("/srv/root", METHOD_PLACES_MAX + 1000, "...");
        expect("/a", METHOD_PLACES_MAX + 1000, "/a");
}
END_TEST

int main(void) {
        return SUITE_RUN("method", takes_absolute_paths_without_dots_alone,
                         takes_paths_that_the_kernel_would_take, knows_two_file_systems,
                         judges_requests_as_the_decoder_does,
                         tells_a_place_of_the_greatest_length_whole,
                         cuts_a_longer_one_between_escapes, tells_no_more_than_is_left_of_all);
}
