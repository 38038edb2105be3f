/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What a test against the real kernel stands on: a mount namespace of its own, a directory in it
 * that goes when the namespace goes, unprivileged users, and a look at the mount table.
 *
 * Check forks each test, so a namespace dies with its test, however that ends. Processes that a
 * test starts are in its process group, which Check kills when the test is over.
 */

#include <check.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <unistd.h>

#include "tests/skip.h"

enum {
        WORLD_ALICE = 60001,
        WORLD_BOB = 60002,
        WORLD_DAEMON = 60003, /* who runs the daemon where root doesn't */
        WORLD_GROUP = 60100,  /* of the socket; Alice and Bob are in it */
        WORLD_MALLORY = 60004,
        WORLD_PATIENCE_MS = 30000, /* for what must come, but has no time by which it must */
};

/*
 * A test that needs root, as START_TEST and END_TEST in one. Its name is counted as skipped without
 * root.
 */
#define WORLD_TEST(name)                                                                           \
        static void name##_body(void);                                                             \
        START_TEST(name) {                                                                         \
                if (geteuid() != 0)                                                                \
                        test_skip_report(#name, "mounting needs root");                            \
                else                                                                               \
                        name##_body();                                                             \
        }                                                                                          \
        END_TEST static void name##_body(void)

/* Runs the tests, each in a world of its own; main() returns what this returns. */
int world_run(TCase *tests);

/* A path below the world's directory; the buffer is used again after many further calls. */
const char *world_path(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Where a log of that name goes: printed at the end if this test fails. */
void world_log_path(char *path, size_t size, const char *name);

/* Waits until it is so, and fails the test if that never happens. */
#define world_wait_for(condition)                                                                  \
        do {                                                                                       \
                int64_t world_deadline = world_now_ms() + WORLD_PATIENCE_MS;                       \
                                                                                                   \
                while (!(condition)) {                                                             \
                        ck_assert_msg(world_now_ms() < world_deadline, "it never happened: %s",    \
                                      #condition);                                                 \
                        usleep(2000);                                                              \
                }                                                                                  \
        } while (0)

int64_t world_now_ms(void);

/* A directory of `uid`, below the world's. Returns its path. */
const char *world_make_directory(uid_t uid, mode_t mode, const char *path);

/* An input root of mode 0700 with empty proc and sys, all of `uid`. Returns its path. */
const char *world_make_root(uid_t uid, const char *name);

/* ---- users ---- */

/* For good, without capabilities. For processes that were forked for it. */
void world_become(uid_t uid);

/*
 * For a while, in the effective ids, which is what open(2), mkdir(2), rmdir(2) and connect(2) judge
 * by: the effective capabilities are empty meanwhile. Then back to root.
 */
void world_borrow(uid_t uid);
void world_return(void);

/* Forks a process that is `uid` for good and calls `act`; its asserts count. */
pid_t world_spawn(uid_t uid, void (*act)(void *argument), void *argument);

/* Waits for such a process, which must succeed. */
void world_join(pid_t pid);

/* Both. */
void world_run_as(uid_t uid, void (*act)(void *argument), void *argument);

/* An O_PATH descriptor of the directory, opened as `uid`. */
int world_open(uid_t uid, const char *path);

/* rmdir(2) as `uid`: 0 or a negative errno. */
int world_rmdir(uid_t uid, const char *path);

/* Ends a process that the test has started, by its pid, and reaps it. */
void world_kill(pid_t pid);

/* ---- the mount table ---- */

struct world_mount {
        char path[256];
        char options[256]; /* of the mount */
        char type[64];
        char source[256];
        char super[512]; /* options of the superblock */
};

/* What is mounted on `path`, topmost, as process `pid` sees it (0: this one). */
bool world_find_mount(pid_t pid, const char *path, struct world_mount *mount);

/* The number of mounts of that source, as process `pid` sees them (0: this one). */
unsigned world_count_mounts(pid_t pid, const char *source);

/* Whether the comma-separated `options` contain `option`. */
bool world_has_option(const char *options, const char *option);
