/* SPDX-License-Identifier: Apache-2.0 */

/*
 * mountatctl mount: mounts with a kept lease, which outlives this process. The directories are
 * opened here, with the user's own rights, and their descriptors sent.
 */

#include "client/command.h"
#include "client/session.h"

#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

/* Says what else the user can do about a refusal: over D-Bus, or without a kept lease. */
static void mount_advise(const struct session *session) {
        if (mountat_error_status(session->mountat) == MOUNTAT_STATUS_NOT_AUTHORISED)
                warnx("an administrator can mount there over D-Bus: see MountPath in "
                      "org.mountat1(5)");
        if (mountat_error_status(session->mountat) == MOUNTAT_STATUS_FOREIGN_NAMESPACE)
                warnx("in a container, mounts can't outlive their connection: use mountatctl run "
                      "or mountatctl hold");
}

int command_mount(const struct arguments *arguments) {
        SESSION_AUTO struct session session = SESSION_NONE;

        if (session_connect(&session, arguments) < 0)
                return COMMAND_FAILED;
        session.flags |= MOUNTAT_KEEP;
        if (session_mount(&session, arguments->operands[0]) < 0) {
                mount_advise(&session);
                return COMMAND_FAILED;
        }
        if (arguments->quiet)
                return 0;
        printf("%016" PRIx64 "\n", session.lease);
        if (fflush(stdout) == 0)
                return 0;
        warn("cannot write to standard output: lease %016" PRIx64 " stays mounted", session.lease);
        return COMMAND_FAILED;
}
