/* SPDX-License-Identifier: Apache-2.0 */

/* Lists of leases as messages, over the fake kernel. Includes the module, for its internals. */

#include "daemon/manager_list.c"

#include "tests/test.h"
#include "tests/unit/daemon/fake_context.h"

/* ---- places: users choose them, and a list has a bounded number of bytes ---- */

static void expect(const char *path, size_t spent, const char *expected) {
        char place[MANAGER_LIST_PLACE_MAX + 1];

        ck_assert_str_eq(manager_list_name(place, path, spent), expected);
}

START_TEST(longest_place_is_not_cut) {
        char path[MANAGER_LIST_PLACE_MAX + 1];

        memset(path, 'a', MANAGER_LIST_PLACE_MAX);
        path[MANAGER_LIST_PLACE_MAX] = '\0';
        expect(path, 0, path);
        expect(path, MANAGER_LIST_PLACES_MAX - MANAGER_LIST_PLACE_MAX, path);
        expect("/srv/a\xff", 0, "/srv/a\\xff");
}
END_TEST

START_TEST(longer_place_is_cut_between_escapes) {
        char path[PATH_MAX], expected[MANAGER_LIST_PLACE_MAX + 1] = "";

        memset(path, '\1', sizeof(path));
        path[sizeof(path) - 1] = '\0';
        while (strlen(expected) + 4 + strlen(TEXT_CUT) <= MANAGER_LIST_PLACE_MAX)
                strcat(expected, "\\x01");
        expect(path, 0, strcat(expected, TEXT_CUT));
}
END_TEST

START_TEST(place_takes_no_more_than_is_left) {
        expect("/srv/root", MANAGER_LIST_PLACES_MAX - 9, "/srv/root");
        expect("/srv/root", MANAGER_LIST_PLACES_MAX - 8, "/srv/...");
        expect("/srv/root", MANAGER_LIST_PLACES_MAX, "...");
        expect("/srv/root", MANAGER_LIST_PLACES_MAX + 1000, "...");
        expect("/a", MANAGER_LIST_PLACES_MAX + 1000, "/a");
}
END_TEST

/* ---- leases ---- */

static struct fake_context fake;
static sd_bus *nowhere;

/* A lease of the user's on that directory; returns its id. */
static uint64_t grant(struct holder *holder, int directory) {
        struct target_facts facts;
        struct lease_orders orders = {
                .keep = holder->subject.uid == 1001,
                .count = 1,
                .orders = {{.kind = TEMPLATE_PROC,
                            .file_system = PROTOCOL_PROC,
                            .target = directory,
                            .facts = &facts}},
        };
        uint64_t id = 0;

        ck_assert_int_eq(target_inspect(directory, fake.context.proc, FAKE_ALL_FEATURES, &facts),
                         0);
        ck_assert_uint_eq(lease_grant(fake.context.leases, holder, &orders, &id).status, STATUS_OK);
        return id;
}

/* On a bus that never connects: a message needs one. */
static sd_bus_message *list_for(const struct subject *subject, enum manager_list_form form) {
        sd_bus_message *call = NULL, *reply = NULL;

        ck_assert_int_ge(sd_bus_message_new_method_call(nowhere, &call, NULL, "/", NULL, "X"), 0);
        ck_assert_int_ge(sd_bus_message_seal(call, 1, 0), 0);
        ck_assert_int_ge(sd_bus_message_new_method_return(call, &reply), 0);
        ck_assert_int_ge(manager_list_append(&fake.context, subject, form, reply), 0);
        ck_assert_int_ge(sd_bus_message_seal(reply, 2, 0), 0);
        ck_assert_int_ge(sd_bus_message_rewind(reply, true), 0);
        sd_bus_message_unref(call);
        return reply;
}

struct expected {
        uint64_t lease;
        uint32_t uid;
        const char *place, *origin;
};

static void expect_list(const struct subject *subject, enum manager_list_form form,
                        const struct expected *expected, unsigned count) {
        sd_bus_message *reply = list_for(subject, form);
        bool extended = form == MANAGER_LIST_EXTENDED;

        ck_assert_int_gt(sd_bus_message_enter_container(
                                 reply, 'a', extended ? "(tuussasta{sv})" : "(tuussast)"),
                         0);
        for (unsigned i = 0; i < count; i++) {
                const char *place, *origin, *name;
                uint64_t lease, age;
                uint32_t uid, pid;

                ck_assert_int_gt(sd_bus_message_enter_container(
                                         reply, 'r', extended ? "tuussasta{sv}" : "tuussast"),
                                 0);
                ck_assert_int_gt(
                        sd_bus_message_read(reply, "tuuss", &lease, &uid, &pid, &place, &origin),
                        0);
                ck_assert_uint_eq(lease, expected[i].lease);
                ck_assert_uint_eq(uid, expected[i].uid);
                ck_assert_uint_eq(pid, 1);
                ck_assert_str_eq(place, expected[i].place);
                ck_assert_str_eq(origin, expected[i].origin);
                ck_assert_int_gt(sd_bus_message_enter_container(reply, 'a', "s"), 0);
                ck_assert_int_gt(sd_bus_message_read(reply, "s", &name), 0);
                ck_assert_str_eq(name, "proc");
                ck_assert_int_eq(sd_bus_message_read(reply, "s", &name), 0);
                ck_assert_int_ge(sd_bus_message_exit_container(reply), 0);
                ck_assert_int_gt(sd_bus_message_read(reply, "t", &age), 0);
                if (extended) { /* at home: the dictionary is empty */
                        ck_assert_int_gt(sd_bus_message_enter_container(reply, 'a', "{sv}"), 0);
                        ck_assert_int_gt(sd_bus_message_at_end(reply, false), 0);
                        ck_assert_int_ge(sd_bus_message_exit_container(reply), 0);
                }
                ck_assert_int_ge(sd_bus_message_exit_container(reply), 0);
        }
        ck_assert_int_gt(sd_bus_message_at_end(reply, false), 0);
        sd_bus_message_unref(reply);
}

START_TEST(lists_what_the_subject_may_see) {
        struct holder alice = holder_of(1000), bob = holder_of(1001), root = holder_of(0);
        struct expected expected[2] = {{0, 1000, "/a", "socket"}, {0, 1001, "/b", "kept"}};
        int directories[2];
        unsigned descriptors;

        ck_assert_int_ge(sd_bus_new(&nowhere), 0);
        ck_assert_int_ge(sd_bus_set_address(nowhere, "unix:path=/dev/null/nowhere"), 0);
        ck_assert_int_ge(sd_bus_set_watch_bind(nowhere, true), 0);
        sd_bus_start(nowhere);
        directories[0] = fake_directory(&(struct fake_directory){.path = "/a/proc", .owner = 1000});
        directories[1] = fake_directory(&(struct fake_directory){.path = "/b/proc", .owner = 1001});
        fake_context_start(&fake, FAKE_ALL_FEATURES);
        expect_list(&alice.subject, MANAGER_LIST_FIXED, NULL, 0);
        expected[0].lease = grant(&alice, directories[0]);
        expected[1].lease = grant(&bob, directories[1]);

        descriptors = descriptors_count();
        root.subject.trust = TRUST_ADMINISTRATOR;
        for (enum manager_list_form form = MANAGER_LIST_FIXED; form <= MANAGER_LIST_EXTENDED;
             form++) {
                expect_list(&alice.subject, form, &expected[0], 1);
                expect_list(&bob.subject, form, &expected[1], 1);
                expect_list(&root.subject, form, expected, 2);
        }
        root.subject.trust = TRUST_USER;
        expect_list(&root.subject, MANAGER_LIST_FIXED, NULL, 0);
        ck_assert_uint_eq(descriptors_count(), descriptors);

        ck_assert_int_eq(lease_release_held(fake.context.leases, &alice), 0);
        ck_assert_int_eq(lease_release_held(fake.context.leases, leases_kept(fake.context.leases)),
                         0);
        fake_context_end(&fake);
        fd_close(directories[0]);
        fd_close(directories[1]);
        sd_bus_close_unref(nowhere);
}
END_TEST

int main(void) {
        return SUITE_RUN("manager_list", longest_place_is_not_cut,
                         longer_place_is_cut_between_escapes, place_takes_no_more_than_is_left,
                         lists_what_the_subject_may_see);
}
