/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The order matters: shrinking the bounding set and setting securebits need CAP_SETPCAP, which the
 * next step drops. Under CapabilityBoundingSet= the process starts without CAP_SETPCAP; systemd has
 * then done these steps, as far as it has settings for them.
 */

#include "daemon/privilege.h"

#include "common/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/securebits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/prctl.h>

enum {
        /* The most that a unit can set with systemd 252. */
        PRIVILEGE_SECUREBITS_UNIT = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP |
                                    SECBIT_NO_SETUID_FIXUP_LOCKED,
        PRIVILEGE_SECUREBITS_FULL = PRIVILEGE_SECUREBITS_UNIT | SECBIT_KEEP_CAPS_LOCKED |
                                    SECBIT_NO_CAP_AMBIENT_RAISE |
                                    SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED,
};

static bool privilege_joins; /* set by privilege_drop() */

static unsigned long long privilege_mask(void) {
        return 1ULL << CAP_SYS_ADMIN | (privilege_joins ? 1ULL << CAP_SYS_CHROOT : 0);
}

static int privilege_drop_bounding(void) {
        for (cap_value_t cap = 0; CAP_IS_SUPPORTED(cap); cap++)
                if (!(privilege_mask() & 1ULL << cap) && cap_get_bound(cap) > 0 &&
                    cap_drop_bound(cap) < 0)
                        return -errno;
        return 0;
}

static int privilege_set_capabilities(void) {
        static const cap_value_t kept[] = {CAP_SYS_ADMIN, CAP_SYS_CHROOT};
        const int count = privilege_joins ? 2 : 1;
        cap_t caps = cap_init();
        int r = 0;

        if (!caps)
                return -errno;
        if (cap_set_flag(caps, CAP_PERMITTED, count, kept, CAP_SET) < 0 ||
            cap_set_flag(caps, CAP_EFFECTIVE, count, kept, CAP_SET) < 0 || cap_set_proc(caps) < 0)
                r = -errno;
        cap_free(caps);
        return r;
}

int privilege_drop(bool join, const char **step) {
        int r;

        privilege_joins = join;

        *step = "cannot drop the bounding set";
        r = privilege_drop_bounding();
        if (r < 0 && r != -EPERM)
                return r;

        *step = "cannot lock the securebits";
        if (cap_set_secbits(PRIVILEGE_SECUREBITS_FULL) < 0 && errno != EPERM)
                return -errno;

        *step = "cannot clear the ambient set";
        if (cap_reset_ambient() < 0 && errno != EPERM)
                return -errno;

        *step = join ? "cannot keep CAP_SYS_ADMIN and CAP_SYS_CHROOT (--join needs both)"
                     : "cannot keep CAP_SYS_ADMIN (was mountatd started with it?)";
        r = privilege_set_capabilities();
        if (r < 0)
                return r;

        *step = "cannot set no_new_privs";
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                return -errno;
        return 0;
}

/* Compares "NAME:\thex" lines of a status file; NULL: all are as required. */
static const char *privilege_judge_status(FILE *status) {
        const struct {
                const char *name, *what;
                unsigned long long value;
        } lines[] = {
                {"CapInh", "the inheritable set is not empty", 0},
                {"CapPrm",
                 privilege_joins ? "the permitted set is not just CAP_SYS_ADMIN and CAP_SYS_CHROOT"
                                 : "the permitted set is not just CAP_SYS_ADMIN",
                 privilege_mask()},
                {"CapEff",
                 privilege_joins ? "the effective set is not just CAP_SYS_ADMIN and CAP_SYS_CHROOT"
                                 : "the effective set is not just CAP_SYS_ADMIN",
                 privilege_mask()},
                {"CapBnd",
                 privilege_joins ? "the bounding set is not just CAP_SYS_ADMIN and CAP_SYS_CHROOT"
                                 : "the bounding set is not just CAP_SYS_ADMIN",
                 privilege_mask()},
                {"CapAmb", "the ambient set is not empty", 0},
                {"NoNewPrivs", "no_new_privs is not set", 1},
        };
        enum { N_LINES = sizeof(lines) / sizeof(lines[0]) };
        char line[256], name[32];
        unsigned long long value;
        unsigned seen = 0;

        while (fgets(line, sizeof(line), status)) {
                if (sscanf(line, "%31[A-Za-z]: %llx", name, &value) != 2)
                        continue;
                for (unsigned i = 0; i < N_LINES; i++) {
                        if (strcmp(name, lines[i].name) != 0)
                                continue;
                        if (value != lines[i].value)
                                return lines[i].what;
                        seen++;
                }
        }
        return seen == N_LINES ? NULL : "/proc/self/task/*/status lacks capability lines";
}

static int privilege_check_thread(int tasks, const char *tid, const char **what) {
        char path[NAME_MAX + sizeof("/status")];
        FD_AUTO int fd = -EBADF;
        FILE *status;

        snprintf(path, sizeof(path), "%s/status", tid);
        fd = openat(tasks, path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        status = fdopen(fd, "r");
        if (!status)
                return -errno;
        fd_take(&fd);
        *what = privilege_judge_status(status);
        fclose(status);
        return *what ? -EPERM : 0;
}

int privilege_check(const char **what) {
        unsigned securebits = cap_get_secbits();
        struct dirent *entry;
        DIR *tasks;
        int r = 0;

        /* Inherited by every thread that is made after privilege_drop(). */
        *what = "the securebits are not locked: start mountatd with CAP_SETPCAP, or with "
                "SecureBits=noroot noroot-locked no-setuid-fixup no-setuid-fixup-locked";
        if (securebits != PRIVILEGE_SECUREBITS_FULL && securebits != PRIVILEGE_SECUREBITS_UNIT)
                return -EPERM;

        *what = "cannot read /proc/self/task (is procfs mounted on /proc?)";
        tasks = opendir("/proc/self/task");
        if (!tasks)
                return -errno;
        while (r == 0 && (errno = 0, entry = readdir(tasks)))
                if (entry->d_name[0] != '.')
                        r = privilege_check_thread(dirfd(tasks), entry->d_name, what);
        if (r == 0 && errno)
                r = -errno; /* an incomplete list proves nothing about the other threads */
        closedir(tasks);
        return r;
}
