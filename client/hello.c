/* SPDX-License-Identifier: Apache-2.0 */

/* mountatctl hello: prints the daemon's version and features, one per line. */

#include "client/command.h"
#include "client/session.h"

#include <errno.h>
#include <stdio.h>

static const struct {
        uint32_t bit;
        const char *name;
} hello_features[] = {
        {MOUNTAT_FEATURE_CLONES, "clones"},
        {MOUNTAT_FEATURE_STATMOUNT, "statmount"},
        {MOUNTAT_FEATURE_UNIQUE_IDS, "unique-ids"},
        {MOUNTAT_FEATURE_PIDS_ONLY, "pids-only"},
        {MOUNTAT_FEATURE_ADOPT, "adopt"},
        {MOUNTAT_FEATURE_ENTER, "enter"},
        {MOUNTAT_FEATURE_KEEP, "keep"},
        {MOUNTAT_FEATURE_DEV, "dev"},
        {MOUNTAT_FEATURE_CHECK, "check"},
};

static void hello_print(const char *version, uint32_t features) {
        printf("%s\n", version);
        for (size_t i = 0; i < sizeof(hello_features) / sizeof(hello_features[0]); i++) {
                if (features & hello_features[i].bit)
                        printf("%s\n", hello_features[i].name);
                features &= ~hello_features[i].bit;
        }
        if (features)
                printf("unknown 0x%x\n", features);
}

int command_hello(const struct arguments *arguments) {
        SESSION_AUTO struct session session = SESSION_NONE;
        const char *version;
        uint32_t features;

        if (session_connect(&session, arguments) < 0)
                return COMMAND_FAILED;
        if (mountat_hello(session.mountat, &version, &features) < 0) {
                session_complain(&session, "cannot ask mountatd for its version");
                return COMMAND_FAILED;
        }

        if (!arguments->quiet)
                hello_print(version, features);
        return 0;
}
