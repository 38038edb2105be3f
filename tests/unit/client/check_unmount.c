/* SPDX-License-Identifier: Apache-2.0 */

/*
 * mountatctl unmount: telling a lease's number from a directory, and when it uses the socket, when
 * the bus. Includes the module to call its static functions.
 */

#include "client/unmount.c"
#include "tests/test.h"
#include "tests/unit/client/ctl_command.h"

#include <sys/stat.h>

/* ---- a number or a directory ---- */

START_TEST(tells_numbers_from_directories) {
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
                {"1000000000000000", 0x1000000000000000}, /* 16 digits: hexadecimal */

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

START_TEST(place_is_the_kernels_path_escaped) {
        char place[1024], expected[256];
        int fd;

        snprintf(expected, sizeof(expected), "%s/root", scripted.dir);
        ck_assert_int_eq(unmount_place(scripted.root, place, sizeof(place)), 0);
        ck_assert_str_eq(place, expected);

        ck_assert_int_eq(mkdirat(scripted.root, "a\n", 0755), 0);
        fd = openat(scripted.root, "a\n", O_PATH | O_DIRECTORY | O_CLOEXEC);
        snprintf(expected, sizeof(expected), "%s/root/a\\x0a", scripted.dir);
        ck_assert_int_eq(unmount_place(fd, place, sizeof(place)), 0);
        ck_assert_str_eq(place, expected);
        fd_close(fd);

        ck_assert_int_eq(unmount_place(-1, place, sizeof(place)), -ENOENT);
}
END_TEST

START_TEST(truncated_place_may_match) {
        static const struct {
                const char *listed, *place;
                bool cut;
        } cases[] = {
                {"/srv/aaaa...", "/srv/aaaabbbbb", true},
                {"/srv/aaaa...", "/srv/aaaa....", true},
                {"...", "/srv", true},
                {"/srv/aaaa...", "/srv/aaaa...", false}, /* a name that ends so */
                {"/srv/aaaa...", "/srv/aaaabbb", false}, /* would have fitted */
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

/* The user has one lease. */
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

/* Unmounts lease 1; the error for others has their number. */
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

START_TEST(own_lease_needs_no_bus) {
        ctl_script(having_one);
        expect_silence(CTL(command_unmount, "0000001234567890"));
        expect_silence(CTL(command_unmount, "78187493520"));
}
END_TEST

START_TEST(asks_on_the_bus_for_leases_of_others) {
        ctl_script(having_one);
        bus_peer_start(unmount_first);
        expect_silence(CTL(command_unmount, "1"));
        ck_assert_int_eq(CTL(command_unmount, "2"), COMMAND_FAILED);
        expect_errors("cannot unmount lease 0000000000000002: no 2");
}
END_TEST

START_TEST(reports_the_sockets_answer_without_a_bus) {
        ctl_script(having_one);
        ck_assert_int_eq(CTL(command_unmount, "0000000000000001"), COMMAND_FAILED);
        expect_errors("cannot unmount lease 0000000000000001: no-such-lease");
        expect_errors("system bus");
}
END_TEST

START_TEST(the_bus_is_enough_without_the_socket) {
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

/* The lease was found, so the bus has nothing to add. */
START_TEST(does_not_ask_the_bus_after_a_host_failure) {
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

/* Lists `leases`, and unmounts lease 1. */
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
        n_leases = 0;
        snprintf(root_path, sizeof(root_path), "%s/root", scripted.dir);
        ctl_script(having_one);
}

MOUNT_TEST(unmounts_all_leases_below_a_directory) {
        start_both();
        make_mountpoints();
        mount_on("proc");
        add_lease(SCRIPTED_LEASE, root_path);
        add_lease(1, root_path);
        add_lease(2, "/");
        add_lease(3, "/srv/root");
        bus_peer_start(list_or_unmount);
        expect_silence(CTL(command_unmount, "root"));
        unmount_from("proc");
}

MOUNT_TEST(goes_on_after_a_failure) {
        start_both();
        make_mountpoints();
        mount_on("proc");
        add_lease(7, root_path);
        add_lease(8, root_path);
        add_lease(1, root_path);
        bus_peer_start(list_or_unmount);
        ck_assert_int_eq(CTL(command_unmount, "./root/"), COMMAND_FAILED);
        expect_errors("cannot unmount lease 0000000000000007: no 7");
        expect_errors("cannot unmount lease 0000000000000008: no 8");
        ck_assert_ptr_null(strstr(captured.errors, "0000000000000001"));
        unmount_from("proc");
}

START_TEST(ignores_the_same_path_in_a_container) {
        start_both();
        add_lease(1, root_path)->elsewhere = true;
        bus_peer_start(list_or_unmount);
        ck_assert_int_eq(CTL(command_unmount, "root"), COMMAND_FAILED);
        expect_errors("below root: ");
        expect_errors("mountatctl list");
}
END_TEST

static void expect_unseen(void) {
        ck_assert_int_eq(CTL(command_unmount, "root"), COMMAND_FAILED);
        expect_errors("below root: ");
        expect_errors("aren't seen from here");
        expect_errors("give the lease's number");
}

/* The lease is on another directory of that path: unmount_first() would release it. */
MOUNT_TEST(refuses_a_directory_without_the_mounts) {
        start_both();
        add_lease(1, root_path);
        strcpy(add_lease(1, root_path)->file_systems, "sysfs,dev");
        bus_peer_start(list_or_unmount);
        expect_unseen();
        make_mountpoints();
        expect_unseen();

        n_leases = 0;
        strcpy(add_lease(1, root_path)->file_systems, "sysfs,dev");
        bus_peer_start(list_or_unmount);
        mount_on("proc");
        expect_unseen();
        mount_on("sys");
        expect_silence(CTL(command_unmount, "root"));
        unmount_from("sys");
        unmount_from("proc");
}

/* Like the mounts in a container on the same path as one outside. */
MOUNT_TEST(refuses_mounts_of_another_lease_in_this_namespace) {
        struct manager_lease *inside;
        struct stat here;

        start_both();
        make_mountpoints();
        mount_on("proc");
        ck_assert_int_eq(stat("/proc/self/ns/mnt", &here), 0);
        add_lease(1, root_path);
        inside = add_lease(2, root_path);
        inside->elsewhere = true;
        inside->namespace = here.st_ino;
        bus_peer_start(list_or_unmount);
        expect_unseen();

        inside->namespace ++;
        bus_peer_start(list_or_unmount);
        expect_silence(CTL(command_unmount, "root"));
        unmount_from("proc");
}

START_TEST(asks_for_the_number_of_a_truncated_place) {
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

/* Only a broken daemon lists more leases than there are file systems. */
MOUNT_TEST(bounds_the_list) {
        start_both();
        make_mountpoints();
        mount_on("proc");
        for (size_t i = 0; i < N_ELEMENTS(leases); i++)
                add_lease(1, root_path);
        bus_peer_start(list_or_unmount);
        expect_silence(CTL(command_unmount, "root"));
        unmount_from("proc");
}

START_TEST(refuses_what_is_no_directory) {
        start_both();
        ck_assert_int_eq(CTL(command_unmount, "a\x1b"), COMMAND_FAILED);
        expect_errors("below a\\x1b: No such file or directory");
        ck_assert_int_eq(CTL(command_unmount, "socket"), COMMAND_FAILED);
        expect_errors("below socket: Not a directory");
}
END_TEST

START_TEST(needs_a_bus_for_a_directory) {
        start_both();
        ck_assert_int_eq(CTL(command_unmount, "root"), COMMAND_FAILED);
        expect_errors("system bus");
        expect_errors("give the lease's number");
}
END_TEST

int main(void) {
        Suite *suite = suite_create("unmount");
        TCase *tests = scripted_case(suite, "unmount");

        scripted_isolate();
        tcase_add_test(tests, tells_numbers_from_directories);
        tcase_add_test(tests, place_is_the_kernels_path_escaped);
        tcase_add_test(tests, truncated_place_may_match);
        tcase_add_test(tests, own_lease_needs_no_bus);
        tcase_add_test(tests, asks_on_the_bus_for_leases_of_others);
        tcase_add_test(tests, reports_the_sockets_answer_without_a_bus);
        tcase_add_test(tests, the_bus_is_enough_without_the_socket);
        tcase_add_test(tests, does_not_ask_the_bus_after_a_host_failure);
        tcase_add_test(tests, unmounts_all_leases_below_a_directory);
        tcase_add_test(tests, goes_on_after_a_failure);
        tcase_add_test(tests, ignores_the_same_path_in_a_container);
        tcase_add_test(tests, refuses_a_directory_without_the_mounts);
        tcase_add_test(tests, refuses_mounts_of_another_lease_in_this_namespace);
        tcase_add_test(tests, asks_for_the_number_of_a_truncated_place);
        tcase_add_test(tests, bounds_the_list);
        tcase_add_test(tests, refuses_what_is_no_directory);
        tcase_add_test(tests, needs_a_bus_for_a_directory);
        return suite_run_all(suite);
}
