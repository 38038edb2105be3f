/* SPDX-License-Identifier: Apache-2.0 */

/*
 * mountatctl unmount: what is taken for a lease's number and what for a directory, and when the
 * socket is asked, when the bus.
 */

#include "client/unmount.c"
#include "tests/test.h"
#include "tests/unit/client/ctl_command.h"

#include <sys/stat.h>

/* ---- a number or a directory ---- */

START_TEST(numbers_are_16_hexadecimal_digits_or_decimal) {
        static const struct {
                const char *text;
                uint64_t lease; /* 0: a directory */
        } cases[] = {
                {"0000001234567890", 0x1234567890},
                {"ffffffffffffffff", UINT64_MAX},
                {"0x1f", 0x1f},
                {"0xffffffffffffffff", UINT64_MAX},
                {"1", 1},
                {"78187493520", 0x1234567890},
                {"18446744073709551615", UINT64_MAX},
                {"1000000000000000", 0x1000000000000000}, /* 16 of them */

                {"18446744073709551616", 0},
                {"0x10000000000000000", 0},
                {"", 0},
                {"x", 0},
                {"0x", 0},
                {"0xx1", 0},
                {"1f", 0},
                {"abc", 0},
                {"FFFFFFFFFFFFFFFF", 0},
                {"000000123456789g", 0},
                {"00000012345678x0", 0},
                {"-1", 0},
                {"+1", 0},
                {" 1", 0},
                {"1 ", 0},
                {"./1", 0},
                {"/srv/1", 0},
        };

        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                uint64_t lease = 0;
                bool is_lease = unmount_is_lease(cases[i].text, &lease);

                ck_assert_msg(is_lease == (cases[i].lease != 0), "\"%s\"", cases[i].text);
                if (is_lease)
                        ck_assert_uint_eq(lease, cases[i].lease);
        }
}
END_TEST

/* ---- the place of a directory ---- */

START_TEST(a_place_is_the_kernels_name_escaped) {
        char path[256], place[1024], expected[256];
        unsigned before = descriptors_count();

        snprintf(path, sizeof(path), "%s/root/../root/.", scripted.dir);
        snprintf(expected, sizeof(expected), "%s/root", scripted.dir);
        ck_assert_int_eq(unmount_place(path, place, sizeof(place)), 0);
        ck_assert_str_eq(place, expected);

        ck_assert_int_eq(mkdirat(scripted.root, "a\n", 0755), 0);
        snprintf(path, sizeof(path), "%s/root/a\n", scripted.dir);
        snprintf(expected, sizeof(expected), "%s/root/a\\x0a", scripted.dir);
        ck_assert_int_eq(unmount_place(path, place, sizeof(place)), 0);
        ck_assert_str_eq(place, expected);

        ck_assert_int_eq(unmount_place("/nowhere/at/all", place, sizeof(place)), -ENOENT);
        ck_assert_int_eq(unmount_place("/dev/null", place, sizeof(place)), -ENOTDIR);
        ck_assert_uint_eq(descriptors_count(), before);
}
END_TEST

START_TEST(a_place_that_is_cut_may_be_the_one) {
        static const struct {
                const char *listed, *place;
                bool cut;
        } cases[] = {
                {"/srv/aaaa...", "/srv/aaaabbbbb", true},
                {"/srv/aaaa...", "/srv/aaaa....", true},
                {"...", "/srv", true},
                {"/srv/aaaa...", "/srv/aaaa...", false}, /* the name itself */
                {"/srv/aaaa...", "/srv/aaaabbb", false}, /* would have had room */
                {"/srv/aaaa...", "/srv/aaabbbbbb", false},
                {"/srv/aaaa", "/srv/aaaabbbbb", false},
                {"..", "/srv", false},
                {"", "/srv", false},
        };

        for (size_t i = 0; i < N_ELEMENTS(cases); i++)
                ck_assert_msg(unmount_is_cut(cases[i].listed, cases[i].place) == cases[i].cut,
                              "%s %s", cases[i].listed, cases[i].place);
}
END_TEST

/* ---- by number ---- */

/* Has one lease of the user's. */
static void having_one(int connection) {
        for (;;) {
                struct wire_request request = peer_receive_only(connection);

                peer_check(request.operation == PROTOCOL_UNMOUNT);
                peer_answer(connection, &request,
                            (struct wire_reply){.status = request.lease == SCRIPTED_LEASE
                                                                  ? STATUS_OK
                                                                  : STATUS_NO_SUCH_LEASE});
        }
}

static void failing(int connection) {
        for (;;) {
                struct wire_request request = peer_receive_only(connection);

                peer_answer(connection, &request,
                            (struct wire_reply){.status = STATUS_HOST_FAILED, .error = EIO});
        }
}

/* Unmounts no lease but 1, and says of which it was asked. */
static int unmount_first(sd_bus_message *call) {
        uint64_t lease = 0;

        peer_check(sd_bus_message_is_method_call(call, "org.mountat1.Manager", "Unmount"));
        peer_check(sd_bus_message_read(call, "t", &lease) > 0);
        return lease == 1 ? sd_bus_reply_method_return(call, "")
                          : sd_bus_reply_method_errorf(call, "org.mountat1.Error.NoSuchLease",
                                                       "no %llu", (unsigned long long)lease);
}

static void expect_silence(int status) {
        ck_assert_str_eq(captured.errors, "");
        ck_assert_str_eq(captured.output, "");
        ck_assert_int_eq(status, 0);
}

START_TEST(ones_own_lease_takes_no_bus) {
        ctl_script(having_one);
        expect_silence(CTL(command_unmount, "0000001234567890"));
        expect_silence(CTL(command_unmount, "78187493520"));
}
END_TEST

START_TEST(anothers_lease_is_asked_for_on_the_bus) {
        ctl_script(having_one);
        bus_peer_start(unmount_first);
        expect_silence(CTL(command_unmount, "1"));
        ck_assert_int_eq(CTL(command_unmount, "2"), COMMAND_FAILED);
        expect_errors("cannot unmount lease 0000000000000002: no 2");
}
END_TEST

START_TEST(without_a_bus_the_sockets_answer_is_told) {
        ctl_script(having_one);
        ck_assert_int_eq(CTL(command_unmount, "0000000000000001"), COMMAND_FAILED);
        expect_errors("cannot unmount lease 0000000000000001: no-such-lease");
        expect_errors("system bus");
}
END_TEST

START_TEST(without_the_socket_the_bus_is_enough) {
        scripted_stop();
        unlink(scripted.path);
        bus_peer_start(unmount_first);
        expect_silence(CTL(command_unmount, "1"));
        bus_peer_stop();
        ck_assert_int_eq(CTL(command_unmount, "1"), COMMAND_FAILED);
        expect_errors("mountatd.socket");
        expect_errors("system bus");
}
END_TEST

/* The lease was found: nobody else is asked for it. */
START_TEST(an_unmount_that_the_host_refuses_ends_there) {
        ctl_script(failing);
        bus_peer_start(unmount_first);
        ck_assert_int_eq(CTL(command_unmount, "1"), COMMAND_FAILED);
        expect_errors("host-failed");
        ck_assert_ptr_null(strstr(captured.errors, "bus"));
}
END_TEST

/* ---- by directory ---- */

static struct manager_lease leases[UNMOUNT_LEASES_MAX + 2];
static size_t n_leases;
static char root_path[128];

/* The leases, and it unmounts the first one. */
static int list_or_unmount(sd_bus_message *call) {
        return sd_bus_message_is_method_call(call, NULL, "ListLeasesEx")
                       ? bus_peer_reply_leases(call, leases, n_leases)
                       : unmount_first(call);
}

static struct manager_lease *add_lease(uint64_t lease, const char *place) {
        leases[n_leases] = (struct manager_lease){
                .lease = lease, .place = place, .origin = "kept", .file_systems = "proc"};
        return &leases[n_leases++];
}

static void start_both(void) {
        snprintf(root_path, sizeof(root_path), "%s/root", scripted.dir);
        ctl_script(having_one);
}

START_TEST(all_leases_below_a_directory_are_unmounted) {
        start_both();
        add_lease(SCRIPTED_LEASE, root_path);
        add_lease(1, root_path);
        add_lease(2, "/");
        add_lease(3, "/srv/root");
        bus_peer_start(list_or_unmount);
        expect_silence(CTL(command_unmount, "root"));
}
END_TEST

START_TEST(one_that_fails_leaves_no_other_out) {
        start_both();
        add_lease(7, root_path);
        add_lease(8, root_path);
        add_lease(1, root_path);
        bus_peer_start(list_or_unmount);
        ck_assert_int_eq(CTL(command_unmount, "./root/"), COMMAND_FAILED);
        expect_errors("cannot unmount lease 0000000000000007: no 7");
        expect_errors("cannot unmount lease 0000000000000008: no 8");
        ck_assert_ptr_null(strstr(captured.errors, "0000000000000001"));
}
END_TEST

START_TEST(a_place_of_that_name_in_a_container_is_another) {
        start_both();
        add_lease(1, root_path)->elsewhere = true;
        bus_peer_start(list_or_unmount);
        ck_assert_int_eq(CTL(command_unmount, "root"), COMMAND_FAILED);
        expect_errors("below root: there is no lease of yours");
}
END_TEST

START_TEST(a_place_that_is_cut_is_asked_for_by_number) {
        char cut[128];

        start_both();
        snprintf(cut, sizeof(cut), "%.*s...", (int)strlen(root_path) - 5, root_path);
        add_lease(1, cut);
        bus_peer_start(list_or_unmount);
        ck_assert_int_eq(CTL(command_unmount, "root"), COMMAND_FAILED);
        expect_errors("too long");
        expect_errors("number");
}
END_TEST

/* More than there are file systems come from a broken daemon, and overflow nothing. */
START_TEST(a_list_without_end_is_bounded) {
        start_both();
        for (size_t i = 0; i < N_ELEMENTS(leases); i++)
                add_lease(1, root_path);
        bus_peer_start(list_or_unmount);
        expect_silence(CTL(command_unmount, "root"));
}
END_TEST

START_TEST(what_is_no_directory_is_named) {
        start_both();
        ck_assert_int_eq(CTL(command_unmount, "a\x1b"), COMMAND_FAILED);
        expect_errors("below a\\x1b: No such file or directory");
        ck_assert_int_eq(CTL(command_unmount, "socket"), COMMAND_FAILED);
        expect_errors("below socket: Not a directory");
}
END_TEST

START_TEST(without_a_bus_a_directory_has_no_leases) {
        start_both();
        ck_assert_int_eq(CTL(command_unmount, "root"), COMMAND_FAILED);
        expect_errors("system bus");
        expect_errors("give the lease's number");
}
END_TEST

int main(void) {
        Suite *suite = suite_create("unmount");
        TCase *tests = scripted_case(suite, "unmount");

        tcase_add_test(tests, numbers_are_16_hexadecimal_digits_or_decimal);
        tcase_add_test(tests, a_place_is_the_kernels_name_escaped);
        tcase_add_test(tests, a_place_that_is_cut_may_be_the_one);
        tcase_add_test(tests, ones_own_lease_takes_no_bus);
        tcase_add_test(tests, anothers_lease_is_asked_for_on_the_bus);
        tcase_add_test(tests, without_a_bus_the_sockets_answer_is_told);
        tcase_add_test(tests, without_the_socket_the_bus_is_enough);
        tcase_add_test(tests, an_unmount_that_the_host_refuses_ends_there);
        tcase_add_test(tests, all_leases_below_a_directory_are_unmounted);
        tcase_add_test(tests, one_that_fails_leaves_no_other_out);
        tcase_add_test(tests, a_place_of_that_name_in_a_container_is_another);
        tcase_add_test(tests, a_place_that_is_cut_is_asked_for_by_number);
        tcase_add_test(tests, a_list_without_end_is_bounded);
        tcase_add_test(tests, what_is_no_directory_is_named);
        tcase_add_test(tests, without_a_bus_a_directory_has_no_leases);
        return suite_run_all(suite);
}
