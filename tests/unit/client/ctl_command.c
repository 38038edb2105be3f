/* SPDX-License-Identifier: Apache-2.0 */

#include "tests/unit/client/ctl_command.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

enum {
        WORDS_MAX = 16,
        ACCEPTED = ARGUMENTS_CONNECTION | ARGUMENTS_MOUNT | ARGUMENTS_OUTPUT | ARGUMENTS_SCOPE |
                   ARGUMENTS_COMMAND,
};

static void (*ctl_peer)(int connection);

struct ctl_call {
        ctl_act *act;
        const char *const *words;
};

static int ctl_call(const void *argument) {
        const struct ctl_call *call = argument;
        static char *words[WORDS_MAX];
        struct arguments arguments;
        int n = 0;

        words[n++] = (char *)"command";
        for (const char *const *word = call->words; *word && n < WORDS_MAX - 1; word++)
                words[n++] = (char *)*word;
        if (chdir(scripted.dir) < 0 || setenv("MOUNTATD_SOCKET", scripted.path, 1) < 0 ||
            arguments_parse(&arguments, ACCEPTED, n, words) < 0)
                return COMMAND_MISUSED;
        return call->act(&arguments);
}

void ctl_command_start(ctl_act *act, const char *const *words) {
        struct ctl_call call = {act, words};

        bus_peer_set_address();
        if (ctl_peer && scripted.listener >= 0) {
                scripted_kill(); /* that of the last command */
                scripted_start(ctl_peer);
        }
        capture_start(ctl_call, &call);
}

int ctl_command(ctl_act *act, const char *const *words) {
        ctl_command_start(act, words);
        return capture_end();
}

int ctl_to_full_device(ctl_act *act, const struct arguments *arguments) {
        int full = open("/dev/full", O_WRONLY | O_CLOEXEC);

        if (full < 0 || dup2(full, STDOUT_FILENO) < 0)
                abort();
        return act(arguments);
}

void ctl_script(void (*script)(int connection)) {
        ctl_peer = script;
}
