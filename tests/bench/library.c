/* SPDX-License-Identifier: Apache-2.0 */

/* Through the daemon on one connection, with libmountat, like a runner. */

#include "client/mountat.h"
#include "tests/bench/route.h"

#include <err.h>
#include <stdlib.h>

struct library {
        struct mountat *mountat;
        uint64_t lease;
};

static void library_must(const struct library *library, int result) {
        if (result < 0)
                errx(EXIT_FAILURE, "mountatd: %s", mountat_error_text(library->mountat));
}

static void library_begin(struct route_user *user) {
        struct library *library = calloc(1, sizeof(*library));

        if (!library || !(library->mountat = mountat_new()))
                err(EXIT_FAILURE, "mountatd");
        library_must(library, mountat_connect(library->mountat, user->service->path));
        library_must(library, mountat_hello(library->mountat, NULL, NULL));
        user->state = library;
}

static void library_end(struct route_user *user) {
        struct library *library = user->state;

        mountat_free(library->mountat);
        free(library);
}

static void library_mount_these(struct route_user *user, uint32_t flags) {
        struct library *library = user->state;

        library_must(library,
                     mountat_mount_root(library->mountat, user->root, flags, &library->lease));
}

static void library_mount(struct route_user *user) {
        library_mount_these(user, MOUNTAT_PROC | MOUNTAT_SYSFS);
}

static void library_mount_dev(struct route_user *user) {
        library_mount_these(user, MOUNTAT_PROC | MOUNTAT_SYSFS | MOUNTAT_DEV);
}

static void library_unmount(struct route_user *user) {
        struct library *library = user->state;

        library_must(library, mountat_unmount(library->mountat, library->lease));
}

const struct route route_mountatd = {
        .name = "mountatd",
        .what = "libmountat on one connection",
        .stride = 1,
        .begin = library_begin,
        .end = library_end,
        .mount = library_mount,
        .unmount = library_unmount,
};

const struct route route_dev = {
        .name = "mountatd, dev",
        .what = "the same with a dev as well",
        .stride = 1,
        .begin = library_begin,
        .end = library_end,
        .mount = library_mount_dev,
        .unmount = library_unmount,
};

static void library_hello(struct route_user *user) {
        struct library *library = user->state;

        library_must(library, mountat_hello(library->mountat, NULL, NULL));
}

const struct route route_hello = {
        .name = "hello",
        .what = "one round trip to mountatd and back that mounts nothing",
        .stride = 1,
        .begin = library_begin,
        .end = library_end,
        .mount = library_hello,
};

/* Connects each time, like a client with a single action. */
static void library_connect(struct route_user *user) {
        library_begin(user);
        library_end(user);
}

const struct route route_connect = {
        .name = "connect",
        .what = "a connection of its own, the first reply on it, and its end",
        .stride = 1,
        .mount = library_connect,
};

/* The same with the mounts: the cost of an action for a runner that reconnects for each. */
static void library_connect_and_mount(struct route_user *user) {
        library_begin(user);
        library_mount(user);
}

static void library_unmount_and_leave(struct route_user *user) {
        library_unmount(user);
        library_end(user);
}

const struct route route_anew = {
        .name = "mountatd, anew",
        .what = "the same as mountatd, on a connection each time",
        .stride = 1,
        .mount = library_connect_and_mount,
        .unmount = library_unmount_and_leave,
};
