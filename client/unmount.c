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
#include "client/flag.h"
#include "client/manager.h"
#include "client/session.h"
#include "common/fd.h"
#include "common/file_system.h"
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
#include <sys/stat.h>

enum {
        UNMOUNT_LEASE_DIGITS = 16,
        UNMOUNT_LEASES_MAX = 64, /* below one directory: there are proc, sys and dev */
};

/*
 * Hexadecimal with "0x" or with 16 digits, as list prints it; else decimal, as busctl prints it. No
 * decimal id has 16 digits, except those of mountatd 0.1.
 */
static bool unmount_is_lease(const char *text, uint64_t *lease) {
        bool hexadecimal = strncmp(text, "0x", 2) == 0 || strlen(text) == UNMOUNT_LEASE_DIGITS;
        char *end;

        if (text[strspn(text, "0123456789abcdefx")] != '\0' || text[0] == '\0')
                return false;
        errno = 0;
        *lease = strtoull(text, &end, hexadecimal ? 16 : 10);
        return errno == 0 && *end == '\0';
}

/* The kernel's path of the directory `fd`, escaped as in the daemon's list. */
static int unmount_place(int fd, char *place, size_t size) {
        char link[32], name[PATH_MAX];
        ssize_t length;

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

/* Whether a file system of the lease is mounted in the directory `fd`. Asks the kernel only. */
static bool unmount_is_seen(int fd, const struct manager_lease *lease) {
        for (uint32_t i = FLAG_FIRST; i <= FLAG_LAST; i++) {
                struct statx statx_of_mount;

                if (strstr(lease->file_systems, file_system_name(i)) &&
                    statx(fd, file_system_directory(i),
                          AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC, 0,
                          &statx_of_mount) == 0 &&
                    (statx_of_mount.stx_attributes & STATX_ATTR_MOUNT_ROOT))
                        return true;
        }
        return false;
}

/* What the list has for a place. */
struct unmount_found {
        uint64_t leases[UNMOUNT_LEASES_MAX];
        size_t count;
        bool cut;    /* also leases with a truncated path that may match */
        bool unseen; /* also a lease whose mounts this process doesn't see there */
};

/*
 * Finds leases in mountatd's mount namespace, by the path `place` of the directory `fd`. In another
 * namespace, as in a container or with PrivateTmp=, the same path may be another directory: without
 * the mounts, or with those of a lease in that namespace.
 */
static int unmount_find(sd_bus *bus, int fd, const char *place, struct unmount_found *found) {
        MANAGER_MESSAGE_AUTO sd_bus_message *reply = NULL;
        struct manager_lease lease;
        struct stat here = {0};
        bool taken = false;
        int r = manager_list(bus, MANAGER_OWN, &reply);

        stat("/proc/self/ns/mnt", &here);
        *found = (struct unmount_found){0};
        while (r >= 0 && (r = manager_next(reply, &lease)) > 0)
                if (lease.elsewhere)
                        taken |= lease.namespace == here.st_ino && strcmp(lease.place, place) == 0;
                else if (strcmp(lease.place, place) != 0)
                        found->cut |= unmount_is_cut(lease.place, place);
                else if (!unmount_is_seen(fd, &lease))
                        found->unseen = true;
                else if (found->count < UNMOUNT_LEASES_MAX)
                        found->leases[found->count++] = lease.lease;
        if (taken)
                *found = (struct unmount_found){.unseen = true};
        return r;
}

static const char *unmount_explain(const struct unmount_found *found) {
        if (found->unseen)
                return "the mounts of the lease with this path aren't seen from here, as in "
                       "another mount namespace: give the lease's number, as printed by "
                       "mountatctl list";
        if (found->cut)
                return "the path is too long for mountatctl list: give the lease's number";
        return "you have no lease there: see mountatctl list";
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
        FD_AUTO int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        char escaped[4 * PATH_MAX], place[4 * PATH_MAX];
        struct unmount_found found;
        int r = fd < 0 ? -errno : unmount_place(fd, place, sizeof(place));

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
        r = unmount_find(unmount->bus, fd, place, &found);
        if (r < 0)
                return r;
        if (found.count == 0) {
                warnx("cannot unmount below %s: %s", escaped, unmount_explain(&found));
                return -ENOENT;
        }
        for (size_t i = 0; i < found.count; i++)
                if (unmount_lease(unmount, found.leases[i]) < 0)
                        r = -ECANCELED;
        return r;
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
