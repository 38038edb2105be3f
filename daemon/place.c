/* SPDX-License-Identifier: Apache-2.0 */

/* The rights to go there are the daemon's, that is, anybody's: it has no CAP_DAC_*. */

#include "daemon/place.h"

#include "common/protocol.h"
#include "daemon/kernel.h"
#include "daemon/stall.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static struct verdict place_refuse(enum status status, uint32_t index, const char *text) {
        struct verdict verdict = verdict_refuse(status, index);

        snprintf(verdict.text, sizeof(verdict.text), "%s", text);
        return verdict;
}

static struct verdict place_judge(int error, uint32_t index) {
        switch (error) {
        case -ENOENT:
                return place_refuse(STATUS_TARGET_VANISHED, index, "there is no such directory");
        case -ELOOP:
                return place_refuse(STATUS_NOT_A_DIRECTORY, index,
                                    "there is a symbolic link in the path, and none is followed: "
                                    "give the path behind it");
        case -ENOTDIR:
                return place_refuse(STATUS_NOT_A_DIRECTORY, index, "it is not a directory");
        case -EACCES:
                return place_refuse(STATUS_NOT_AUTHORISED, index,
                                    "mountatd has no right to go there itself: use mountatctl, "
                                    "which opens the directory and sends it");
        default:
                return verdict_host_failed(error, index);
        }
}

/* Whether ".." is in the path: one that begins with /srv/ci/ must not lead out of there, since the
 * rules of administrators for polkit compare it as a text. */
static bool place_climbs(const char *path) {
        for (const char *at = strstr(path, "/.."); at; at = strstr(at + 1, "/.."))
                if (at[3] == '/' || at[3] == '\0')
                        return true;
        return false;
}

static const char *place_fault(const char *path) {
        if (path[0] != '/')
                return "give an absolute path";
        if (strlen(path) >= PATH_MAX)
                return "the path is too long";
        return place_climbs(path) ? "give a path without \"..\"" : NULL;
}

int place_open(const char *path, struct verdict *verdict) {
        const char *fault = place_fault(path);
        int fd;

        if (fault) {
                *verdict = place_refuse(STATUS_MALFORMED, STATUS_NO_TARGET, fault);
                return -EINVAL;
        }
        stall_begin();
        fd = kernel_open_place(path, 0);
        stall_end();
        if (fd < 0)
                *verdict = place_judge(fd, STATUS_NO_TARGET);
        return fd;
}

int place_open_target(int root, uint32_t file_system, uint32_t index, struct verdict *verdict) {
        int fd;

        stall_begin();
        fd = kernel_open_below(root, file_system == PROTOCOL_PROC ? "proc" : "sys");
        stall_end();
        if (fd < 0)
                *verdict = place_judge(fd, index);
        return fd;
}
