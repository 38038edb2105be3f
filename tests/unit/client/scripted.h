/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The fixture of libmountat's tests: a connection, an empty root directory, and a scripted peer, a
 * child process that acts as the daemon on a real socket but mounts nothing. After each test,
 * checks that no descriptor leaked.
 */

#include "common/fdpass.h"
#include "common/wire.h"
#include "tests/fixtures/skip.h"
#include "tests/fixtures/suite.h"

#include <check.h>
#include <mountat.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define N_ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))

/* The id of the scripts' lease. */
#define SCRIPTED_LEASE UINT64_C(0x1234567890)

enum {
        SCRIPTED_SHORT = 100, /* milliseconds: a timeout that expires */
        /* Shorter than the wait for another timeout, and longer than any busy machine needs. */
        SCRIPTED_LONG = MOUNTAT_TIMEOUT_DEFAULT / 2,
        /* The current daemon's features that the library uses. */
        SCRIPTED_FEATURES = PROTOCOL_FEATURE_KEEP | PROTOCOL_FEATURE_DEV | PROTOCOL_FEATURE_CHECK,
};

struct scripted {
        char dir[64];
        char path[100]; /* of the socket */
        int listener;
        int root; /* O_PATH */
        pid_t peer;
        unsigned descriptors; /* how many are open in between */
        struct mountat *mountat;
        bool isolated;
};

extern struct scripted scripted;

/* Adds a case to `suite`, for suite_run_all(), whose tests have the fixture. */
TCase *scripted_case(Suite *suite, const char *name);

/*
 * For main(), where there are MOUNT_TESTs: a mount namespace of the program's own. Without
 * privileges by way of a user namespace, where that is allowed.
 */
void scripted_isolate(void);

#define MOUNT_TEST(name)                                                                           \
        static void name##_body(void);                                                             \
        START_TEST(name) {                                                                         \
                if (!scripted.isolated)                                                            \
                        test_skip_report(#name, "there is no mount namespace to be had");          \
                else                                                                               \
                        name##_body();                                                             \
        }                                                                                          \
        END_TEST static void name##_body(void)

/*
 * Covers /proc with an empty one, in a mount namespace of the test's own, but for the namespaces'
 * files in /proc/self/ns that are named. False: there is none to be had.
 */
bool cover_proc(const char *const *names);
void uncover_proc(void);

/* A tmpfs on that directory below the root, or none any more. */
void mount_on(const char *name);
void unmount_from(const char *name);

/* Serves one connection after the other with `script`, as long as that returns. */
void scripted_start(void (*script)(int connection));
void scripted_start_and_connect(void (*script)(int connection));
void scripted_kill(void);

/* Kills the peer and closes its socket: connecting fails until scripted_listen(). */
void scripted_stop(void);
void scripted_listen(void);

/*
 * For scripts. A failed check ends the peer, so that the client's call fails too. So does a hang-up
 * of the client, unless the function returns false for it.
 */
void peer_check(bool fact);
bool peer_try_receive(int connection, struct wire_request *request, struct fdpass_set *set);
struct wire_request peer_receive(int connection, struct fdpass_set *set);
struct wire_request peer_receive_only(int connection); /* closes the descriptors */
void peer_send(int connection, const struct wire_reply *reply);
void peer_answer(int connection, const struct wire_request *request, struct wire_reply reply);

/* Whole scripts. */
void peer_obliging(int connection);         /* grants every request */
void peer_silent(int connection);           /* never answers */
void peer_fails_to_unmount(int connection); /* STATUS_HOST_FAILED with EIO; grants the rest */

/*
 * A script as a list for each connection: the expected requests, and their answers. The peer fails
 * on another request, and on a hang-up before the end of a list. It exits after the last
 * connection.
 */
enum { STEPS_MAX = 12 };

struct step {
        uint16_t operation; /* the expected request; 0: none any more */
        enum {
                ANSWER,
                DIE,    /* without an answer */
                IGNORE, /* the request */
                CLOSE,  /* without waiting for a request */
        } act;
        struct wire_reply reply;
};

#define FOREIGN .reply = {.status = STATUS_FOREIGN_NAMESPACE, .text = "it is elsewhere"}
#define GRANT .reply = {.lease = SCRIPTED_LEASE}
#define GREET(bits) .reply = {.flags = (bits), .text = "mountatd 0.3.0"}

#define scripted_follow(plan) scripted_follow_all(plan, N_ELEMENTS(plan))
void scripted_follow_all(const struct step (*plan)[STEPS_MAX], size_t n);

/* Another check of each request; NULL: none. */
extern void (*scripted_check)(const struct wire_request *request, const struct fdpass_set *set,
                              const struct step *step);

/* For tests. */
int64_t now(void); /* milliseconds */
void expect_failure(int result, int error, int status);
void expect_client_failure(int result, int error);
void expect_text(const char *part);
void expect_closed(
        const char *why); /* the last call failed and closed the connection for that reason */
void expect_short(int64_t since);
void wait_for_hang_up(void);
void expect_end(void);           /* the client hangs up, and all checks of the peer passed */
void expect_end_of_peer(void);   /* the same, if the client has hung up */
bool is_there(const char *name); /* below the root */
void make_mountpoints(void);
int mount_root(uint32_t flags); /* checks that a failure doesn't write the lease */
