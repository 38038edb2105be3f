/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The fixture of libmountat's tests: a connection, an empty root directory, and a scripted peer, a
 * child process that plays the daemon on a real socket and mounts nothing. After each test no
 * descriptor may be open that wasn't before.
 */

#include "common/fdpass.h"
#include "common/wire.h"

#include <check.h>
#include <mountat.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define N_ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))

/* What the scripts call their lease. */
#define SCRIPTED_LEASE UINT64_C(0x1234567890)

enum {
        SCRIPTED_SHORT = 100, /* milliseconds: a timeout that is waited for */
        /* Of a daemon of today, as far as the library asks for them. */
        SCRIPTED_FEATURES = PROTOCOL_FEATURE_KEEP | PROTOCOL_FEATURE_DEV | PROTOCOL_FEATURE_CHECK,
};

struct scripted {
        char dir[64];
        char path[100]; /* of the socket */
        int listener;
        int root; /* O_PATH */
        pid_t peer;
        int descriptors;
        struct mountat *mountat;
};

extern struct scripted scripted;

/* A case of `suite` whose tests have the fixture. */
TCase *scripted_case(Suite *suite, const char *name);

/* Runs the suite; the exit status. */
int scripted_run(Suite *suite);

/* Serves each connection in turn with `script`, for as long as that returns. */
void scripted_start(void (*script)(int connection));
void scripted_start_and_connect(void (*script)(int connection));
void scripted_kill(void);

/* The peer is gone, and the socket with it: connecting is refused until scripted_listen(). */
void scripted_stop(void);
void scripted_listen(void);

/*
 * For scripts. A check that fails ends the peer, so that the client's call fails too; so does the
 * client's hanging up, or else it is false.
 */
void peer_check(bool fact);
bool peer_try_receive(int connection, struct wire_request *request, struct fdpass_set *set);
struct wire_request peer_receive(int connection, struct fdpass_set *set);
struct wire_request peer_receive_only(int connection); /* closes what came along */
void peer_send(int connection, const struct wire_reply *reply);
void peer_answer(int connection, const struct wire_request *request, struct wire_reply reply);

/* Whole scripts. */
void peer_obliging(int connection); /* grants whatever is asked */
void peer_silent(int connection);   /* never answers */

/* For tests. */
int64_t now(void); /* milliseconds */
int count_descriptors(void);
void expect_failure(int result, int error, int status);
void expect_client_failure(int result, int error);
void expect_text(const char *part);
void expect_closed(const char *why); /* after a call that failed so */
void expect_short(int64_t since);
void wait_for_hang_up(void);
void expect_end(void);           /* the client hangs up, and no check of the peer's failed */
bool is_there(const char *name); /* below the root */
void make_mountpoints(void);
int mount_root(uint32_t flags); /* checks that a failure leaves the lease alone */
