/* SPDX-License-Identifier: Apache-2.0 */

/*
 * mountatctl unmount: releases a lease given by its number, or the leases below a directory. The
 * directory is resolved here and compared with the daemon's list, so it may be one that the daemon
 * couldn't search.
 *
 * The socket comes first: it releases the user's own kept leases without polkit or a bus. All other
 * leases take D-Bus, and maybe an administrator's consent.
 */

#include "client/command.h"
#include "client/manager.h"
#include "client/session.h"
#include "common/fd.h"
#include "common/text.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
        UNMOUNT_LEASE_DIGITS = 16,
        UNMOUNT_LEASES_MAX = 64, /* below one directory: there are proc, sys and dev */
};

/* Hexadecimal with "0x" or with 16 digits, as list prints it; else decimal, as busctl prints it. */
static bool unmount_is_lease(const char *text, uint64_t *lease) {
        bool hexadecimal = strncmp(text, "0x", 2) == 0 || strlen(text) == UNMOUNT_LEASE_DIGITS;
        char *end;

        if (text[strspn(text, "0123456789abcdefx")] != '\0' || text[0] == '\0')
                return false;
        errno = 0;
        *lease = strtoull(text, &end, hexadecimal ? 16 : 10);
        return errno == 0 && *end == '\0';
}

/* The kernel's path of the directory, escaped as in the daemon's list. */
static int unmount_place(const char *path, char *place, size_t size) {
        FD_AUTO int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        char link[32], name[PATH_MAX];
        ssize_t length;

        if (fd < 0)
                return -errno;
        snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        length = readlink(link, name, sizeof(name) - 1);
        if (length < 0)
                return -errno;
        name[length] = '\0';
        text_escape(place, size, name);
        return 0;
}

/* Whether `listed` may be `place`, truncated as in org.mountat1(5). */
static bool unmount_is_cut(const char *listed, const char *place) {
        static const char cut[] = "...";
        size_t length = strlen(listed), kept = length - strlen(cut);

        return length >= strlen(cut) && strcmp(listed + kept, cut) == 0 && strlen(place) > length &&
               strncmp(listed, place, kept) == 0;
}

/*
 * Finds leases in mountatd's mount namespace; in a container the same path is another directory.
 * `*cut` counts leases with a truncated path that may match.
 */
static int unmount_find(sd_bus *bus, const char *place, uint64_t *leases, unsigned *cut) {
        MANAGER_MESSAGE_AUTO sd_bus_message *reply = NULL;
        struct manager_lease lease;
        int count = 0, r = manager_list(bus, MANAGER_OWN, &reply);

        *cut = 0;
        while (r >= 0 && (r = manager_next(reply, &lease)) > 0)
                if (lease.elsewhere)
                        continue;
                else if (strcmp(lease.place, place) == 0 && count < UNMOUNT_LEASES_MAX)
                        leases[count++] = lease.lease;
                else if (unmount_is_cut(lease.place, place))
                        ++*cut;
        return r < 0 ? r : count;
}

struct unmount {
        struct session session;
        int connected; /* 0, or the negative errno of connecting to the socket */
        sd_bus *bus;   /* NULL: not connected yet */
};

static void unmount_close(struct unmount *unmount) {
        session_close(&unmount->session);
        manager_cleanup_bus(&unmount->bus);
}

static int unmount_lease(struct unmount *unmount, uint64_t lease) {
        struct mountat *mountat = unmount->session.mountat;
        int r = unmount->connected;
        char what[64];

        if (r == 0)
                r = mountat_unmount(mountat, lease);
        if (r == 0)
                return 0;
        snprintf(what, sizeof(what), "cannot unmount lease %016" PRIx64, lease);
        if (mountat_error_status(mountat) == MOUNTAT_STATUS_HOST_FAILED ||
            (!unmount->bus && manager_open(&unmount->bus) < 0)) {
                session_complain(&unmount->session, what);
                return r;
        }
        return manager_unmount(unmount->bus, lease);
}

static int unmount_below(struct unmount *unmount, const char *path) {
        char escaped[4 * PATH_MAX], place[4 * PATH_MAX];
        uint64_t leases[UNMOUNT_LEASES_MAX];
        int count, r = unmount_place(path, place, sizeof(place));
        unsigned cut;

        text_escape(escaped, sizeof(escaped), path);
        if (r < 0) {
                warnx("cannot unmount below %s: %s", escaped, strerrordesc_np(-r));
                return r;
        }
        r = manager_open(&unmount->bus);
        if (r < 0) {
                warnx("cannot look up the leases below %s: give the lease's number, as printed by "
                      "mountatctl mount",
                      escaped);
                return r;
        }
        count = unmount_find(unmount->bus, place, leases, &cut);
        if (count == 0) {
                warnx("cannot unmount below %s: %s", escaped,
                      cut > 0 ? "the path is too long for mountatctl list: give the lease's number"
                              : "you have no lease there: see mountatctl list");
                return -ENOENT;
        }
        for (int i = 0; i < count; i++)
                if (unmount_lease(unmount, leases[i]) < 0)
                        r = -ECANCELED;
        return count < 0 ? count : r;
}

int command_unmount(const struct arguments *arguments) {
        __attribute__((cleanup(unmount_close))) struct unmount unmount = {.session = SESSION_NONE};
        const char *operand = arguments->operands[0];
        uint64_t lease;
        int r;

        unmount.connected = session_open(&unmount.session, arguments);
        if (!unmount.session.mountat) {
                warnx("out of memory");
                return COMMAND_FAILED;
        }
        if (unmount_is_lease(operand, &lease))
                r = unmount_lease(&unmount, lease);
        else
                r = unmount_below(&unmount, operand);
        return r < 0 ? COMMAND_FAILED : 0;
}
