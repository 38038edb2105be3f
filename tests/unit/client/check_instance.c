/* SPDX-License-Identifier: Apache-2.0 */

/* Whether and how often an instance is asked to enter, and what is made of its answer. */

#include "client/instance.h"

#include "common/fd.h"
#include "tests/test.h"
#include "tests/unit/client/scripted.h"

#include <errno.h>
#include <string.h>

enum { ABLE = PROTOCOL_FEATURE_ENTER | PROTOCOL_FEATURE_KEEP };

static struct channel channel = CHANNEL_CLOSED;
static struct instance instance;
static struct wire_reply reply; /* what the caller was told before, and is told now */

#define start(steps) start_all(steps, N_ELEMENTS(steps))

static void start_all(const struct step (*steps)[STEPS_MAX], size_t n) {
        scripted_follow_all(steps, n);
        channel.deadline = channel_after(10000);
        ck_assert_int_eq(channel_connect(&channel, scripted.path), 0);
        reply = (struct wire_reply){
                .operation = PROTOCOL_MOUNT,
                .status = STATUS_FOREIGN_NAMESPACE,
                .target = 0,
                .text = "it is elsewhere",
        };
}

/* And that nothing more is asked. */
static void end(void) {
        channel_free(&channel);
        expect_end_of_peer();
}

static int hello(void) {
        struct wire_request request = {.operation = PROTOCOL_HELLO};

        return instance_hello(&instance, &channel, &request, &reply);
}

static int enter(void) {
        return instance_enter(&instance, &channel, &reply);
}

/* ---- hello ---- */

START_TEST(its_features_are_known_once_greeted) {
        static const struct step steps[][STEPS_MAX] = {{
                {PROTOCOL_HELLO, GREET(ABLE)},
                {PROTOCOL_HELLO, GREET(0)},
        }};

        start(steps);
        ck_assert_int_eq(hello(), 0);
        ck_assert(instance.greeted);
        ck_assert_uint_eq(instance.features, ABLE);
        ck_assert_str_eq(reply.text, "mountatd 0.3.0");
        ck_assert_int_eq(hello(), 0);
        ck_assert_uint_eq(instance.features, 0);
        ck_assert(!instance_is_inside(&instance));
        end();
}
END_TEST

START_TEST(a_refused_hello_tells_nothing_of_it) {
        static const struct step steps[][STEPS_MAX] = {{
                {PROTOCOL_HELLO, .reply = {.status = STATUS_LIMIT_EXCEEDED, .flags = ABLE}},
        }};

        start(steps);
        ck_assert_int_eq(hello(), 0);
        ck_assert_uint_eq(reply.status, STATUS_LIMIT_EXCEEDED);
        ck_assert(!instance.greeted);
        ck_assert_uint_eq(instance.features, 0);
        end();
}
END_TEST

START_TEST(one_that_dies_of_hello_is_not_greeted) {
        static const struct step steps[][STEPS_MAX] = {{{PROTOCOL_HELLO, DIE}}};

        start(steps);
        ck_assert_int_eq(hello(), -ECONNRESET);
        ck_assert(!instance.greeted);
        end();
}
END_TEST

/* ---- features ---- */

enum { ALL = PROTOCOL_FEATURE_KEEP | PROTOCOL_FEATURE_DEV | PROTOCOL_FEATURE_CHECK };

static const struct {
        uint32_t has, takes, lacks;
        int error;
        int status;
        const char *text;
} features[] = {
        {ALL, ALL, 0},
        {0, 0, 0},
        {0, PROTOCOL_FEATURE_KEEP, PROTOCOL_FEATURE_KEEP, ENOSYS, MOUNTAT_STATUS_UNKNOWN_OPERATION,
         "can't keep mounts beyond a connection"},
        {PROTOCOL_FEATURE_KEEP, PROTOCOL_FEATURE_CHECK, PROTOCOL_FEATURE_CHECK, ENOSYS,
         MOUNTAT_STATUS_UNKNOWN_OPERATION, "can't check directories without mounting"},
        {PROTOCOL_FEATURE_KEEP, PROTOCOL_FEATURE_KEEP | PROTOCOL_FEATURE_DEV, PROTOCOL_FEATURE_DEV,
         EOPNOTSUPP, MOUNTAT_STATUS_UNSUPPORTED_FILE_SYSTEM, "can't mount a /dev"},
        /* The first that matters to an administrator is enough. */
        {0, ALL, ALL, ENOSYS, MOUNTAT_STATUS_UNKNOWN_OPERATION,
         "can't keep mounts beyond a connection"},
        /* It knows of dev and has none: it says why itself. */
        {PROTOCOL_FEATURE_CHECK, PROTOCOL_FEATURE_CHECK | PROTOCOL_FEATURE_DEV, 0},
        {PROTOCOL_FEATURE_CHECK, ALL, PROTOCOL_FEATURE_KEEP, ENOSYS,
         MOUNTAT_STATUS_UNKNOWN_OPERATION, "can't keep mounts beyond a connection"},
};

START_TEST(what_it_lacks_is_named_with_its_version) {
        struct failure failure;

        instance.features = features[_i].has;
        ck_assert_uint_eq(instance_lacks(&instance, features[_i].takes), features[_i].lacks);
        if (!features[_i].lacks)
                return;
        ck_assert_int_eq(
                instance_explain_lack(&instance, features[_i].takes, "mountatd\n0.1", &failure),
                -features[_i].error);
        ck_assert_int_eq(failure.status, features[_i].status);
        ck_assert_uint_eq(failure.target, MOUNTAT_NO_TARGET);
        ck_assert_ptr_eq(strstr(failure.text, "mountatd\\x0a0.1 can't "), failure.text);
        ck_assert_ptr_nonnull(strstr(failure.text, features[_i].text));
        ck_assert_ptr_nonnull(strstr(failure.text, "upgrade it and restart its service"));
}
END_TEST

/* ---- entering ---- */

START_TEST(one_that_can_is_greeted_and_enters_once) {
        static const struct step steps[][STEPS_MAX] = {{
                {PROTOCOL_HELLO, GREET(ABLE)},
                {PROTOCOL_ENTER},
        }};

        start(steps);
        ck_assert_int_eq(enter(), 1);
        ck_assert(instance.greeted && instance.entered && instance_is_inside(&instance));

        reply = (struct wire_reply){.status = STATUS_FOREIGN_NAMESPACE, .text = "a detached tree"};
        ck_assert_int_eq(enter(), 0);
        ck_assert_str_eq(reply.text, "a detached tree");
        ck_assert_int_ge(channel.fd, 0);
        end();
}
END_TEST

START_TEST(one_that_was_greeted_is_not_greeted_again) {
        static const struct step steps[][STEPS_MAX] = {{
                {PROTOCOL_HELLO, GREET(ABLE)},
                {PROTOCOL_ENTER},
        }};

        start(steps);
        ck_assert_int_eq(hello(), 0);
        ck_assert_int_eq(enter(), 1);
        end();
}
END_TEST

/* What the caller was told before, and what an older daemon doesn't know to say. */
static const struct {
        struct wire_reply before;
        const char *text; /* NULL: that of the status */
} advices[] = {
        {{.status = STATUS_FOREIGN_NAMESPACE, .text = "it is elsewhere"}, NULL},
        {{.status = STATUS_FOREIGN_NAMESPACE}, NULL},
        {{.status = STATUS_FOREIGN_NAMESPACE, .text = "see --join"}, "see --join"},
        {{.status = STATUS_NO_SUCH_LEASE, .text = "unknown"}, "unknown"},
        {{.status = STATUS_OK}, ""},
};

START_TEST(one_that_cannot_is_not_asked_and_what_to_do_is_told) {
        static const struct step steps[][STEPS_MAX] = {
                {{PROTOCOL_HELLO, GREET(ABLE & ~PROTOCOL_FEATURE_ENTER)}}};

        start(steps);
        reply = advices[_i].before;
        for (int i = 0; i < 2; i++) {
                ck_assert_int_eq(enter(), 0);
                ck_assert_uint_eq(reply.status, advices[_i].before.status);
                ck_assert_str_eq(reply.text, advices[_i].text
                                                     ? advices[_i].text
                                                     : status_sentence(STATUS_FOREIGN_NAMESPACE));
        }
        ck_assert_ptr_nonnull(strstr(status_sentence(STATUS_FOREIGN_NAMESPACE), "--join"));
        ck_assert(!instance.entered && !instance_is_inside(&instance));
        end();
}
END_TEST

/* A moment later the host may be less busy: that takes another connection. */
static bool passes(uint32_t status) {
        return status == STATUS_HOST_FAILED || status == STATUS_LIMIT_EXCEEDED ||
               status == STATUS_SHUTTING_DOWN;
}

START_TEST(a_refusal_is_the_answer_for_good_unless_it_passes) {
        const struct wire_reply refusal = {.status = (uint32_t)_i, .target = 1, .text = "no"};
        const struct step steps[][STEPS_MAX] = {{
                {PROTOCOL_HELLO, GREET(ABLE)},
                {PROTOCOL_ENTER, .reply = refusal},
        }};

        ck_assert_int_eq(instance_is_passing(refusal.status), passes(refusal.status));
        start(steps);
        ck_assert_int_eq(enter(), 0);
        for (int i = 0; i < 2; i++) {
                ck_assert_uint_eq(reply.status, refusal.status);
                ck_assert_uint_eq(reply.operation, PROTOCOL_ENTER);
                ck_assert_uint_eq(reply.target, STATUS_NO_TARGET); /* a namespace is none */
                ck_assert_str_eq(reply.text, "no");
                ck_assert(instance.entered && !instance_is_inside(&instance));
                reply = (struct wire_reply){0};
                ck_assert_int_eq(enter(), 0);
        }
        ck_assert_int_eq(channel.fd < 0, passes(refusal.status));
        end();
}
END_TEST

START_TEST(success_does_not_pass) {
        ck_assert(!instance_is_passing(STATUS_OK));
        ck_assert(!instance_is_passing(STATUS_MAX));
        ck_assert(!instance_is_passing(UINT32_MAX));
}
END_TEST

START_TEST(a_refused_greeting_is_the_answer) {
        static const struct step steps[][STEPS_MAX] = {
                {{PROTOCOL_HELLO, .reply = {.status = STATUS_SHUTTING_DOWN, .text = "soon"}}}};

        start(steps);
        ck_assert_int_eq(enter(), 0);
        ck_assert_uint_eq(reply.status, STATUS_SHUTTING_DOWN);
        ck_assert_str_eq(reply.text, "soon");
        ck_assert(!instance.entered);
        end();
}
END_TEST

/* A connection too many, say, which is told at any time. */
static void refuses_the_connection(int connection) {
        struct wire_request request = peer_receive_only(connection);

        peer_answer(connection, &request, (struct wire_reply){.flags = ABLE});
        request = peer_receive_only(connection);
        peer_check(request.operation == PROTOCOL_ENTER);
        peer_send(connection, &(struct wire_reply){.status = STATUS_LIMIT_EXCEEDED});
}

START_TEST(a_refused_connection_is_no_answer_to_enter) {
        scripted_start(refuses_the_connection);
        channel.deadline = channel_after(10000);
        ck_assert_int_eq(channel_connect(&channel, scripted.path), 0);
        ck_assert_int_eq(enter(), 0);
        ck_assert_uint_eq(reply.operation, PROTOCOL_UNASKED);
        ck_assert_uint_eq(reply.status, STATUS_LIMIT_EXCEEDED);
        ck_assert(!instance.entered);
        ck_assert_int_lt(channel.fd, 0);
        channel_free(&channel);
}
END_TEST

static const struct step deaths[][1][STEPS_MAX] = {
        {{{PROTOCOL_HELLO, DIE}}},
        {{{PROTOCOL_HELLO, GREET(ABLE)}, {PROTOCOL_ENTER, DIE}}},
};

START_TEST(one_that_dies_on_the_way_has_not_entered) {
        start(deaths[_i]);
        ck_assert_int_eq(enter(), -ECONNRESET);
        ck_assert(!instance.entered);
        ck_assert_int_lt(channel.fd, 0);
        end();
}
END_TEST

/* ---- what this process has ---- */

START_TEST(a_shortage_of_descriptors_sends_nothing_and_is_told) {
        static const struct step steps[][STEPS_MAX] = {{
                {PROTOCOL_HELLO, GREET(ABLE)},
                {PROTOCOL_ENTER},
        }};
        const int *filled;

        start(steps);
        ck_assert_int_eq(hello(), 0);
        reply.text[0] = '\0';
        filled = descriptors_leave(1, scripted.root);
        ck_assert_int_eq(enter(), -EMFILE);
        ck_assert(!instance.entered);
        ck_assert_int_ge(channel.fd, 0);
        descriptors_give_back(filled);
        ck_assert_int_eq(enter(), 1);
        end();
}
END_TEST

START_TEST(without_a_mount_namespace_to_show_it_says_how_to) {
        static const struct step steps[][STEPS_MAX] = {{{PROTOCOL_HELLO, GREET(ABLE)}}};

        if (!cover_proc((const char *const[]){"pid", NULL}))
                test_skip("impossible here: there is no mount namespace to be had");
        start(steps);
        for (int i = 0; i < 2; i++) {
                ck_assert_int_eq(enter(), 0);
                ck_assert_uint_eq(reply.status, STATUS_FOREIGN_NAMESPACE);
                ck_assert_ptr_nonnull(strstr(reply.text, "/proc/self/ns/mnt: No such file"));
                ck_assert_ptr_nonnull(strstr(reply.text, "mount a procfs on /proc"));
        }
        ck_assert(!instance.entered);
        reply = (struct wire_reply){.status = STATUS_NO_SUCH_LEASE, .text = "unknown"};
        ck_assert_int_eq(enter(), 0); /* that isn't why */
        ck_assert_str_eq(reply.text, "unknown");
        uncover_proc();
        end();
}
END_TEST

int main(void) {
        Suite *suite = suite_create("instance");
        TCase *tests = scripted_case(suite, "instance");

        tcase_add_test(tests, its_features_are_known_once_greeted);
        tcase_add_test(tests, a_refused_hello_tells_nothing_of_it);
        tcase_add_test(tests, one_that_dies_of_hello_is_not_greeted);

        tcase_add_loop_test(tests, what_it_lacks_is_named_with_its_version, 0,
                            N_ELEMENTS(features));

        tcase_add_test(tests, one_that_can_is_greeted_and_enters_once);
        tcase_add_test(tests, one_that_was_greeted_is_not_greeted_again);
        tcase_add_loop_test(tests, one_that_cannot_is_not_asked_and_what_to_do_is_told, 0,
                            N_ELEMENTS(advices));
        tcase_add_loop_test(tests, a_refusal_is_the_answer_for_good_unless_it_passes, STATUS_OK + 1,
                            STATUS_MAX + 1);
        tcase_add_test(tests, success_does_not_pass);
        tcase_add_test(tests, a_refused_greeting_is_the_answer);
        tcase_add_test(tests, a_refused_connection_is_no_answer_to_enter);
        tcase_add_loop_test(tests, one_that_dies_on_the_way_has_not_entered, 0, N_ELEMENTS(deaths));

        tcase_add_test(tests, a_shortage_of_descriptors_sends_nothing_and_is_told);
        tcase_add_test(tests, without_a_mount_namespace_to_show_it_says_how_to);
        return suite_run_all(suite);
}
