/* SPDX-License-Identifier: Apache-2.0 */

#include "daemon/superblock.h"

#include "common/fd.h"
#include "daemon/kernel.h"

#include <stdio.h>
#include <sys/mount.h>

static int superblock_configure(int context, const struct superblock_recipe *recipe,
                                const char *source) {
        int r = kernel_fsconfig(context, FSCONFIG_SET_STRING, "source", source);

        for (int i = 0; r == 0 && i < SUPERBLOCK_OPTIONS_MAX && recipe->options[i].key; i++) {
                const struct superblock_option *option = &recipe->options[i];

                r = kernel_fsconfig(context,
                                    option->value ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG,
                                    option->key, option->value);
        }
        return r < 0 ? r : kernel_fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL);
}

static struct verdict superblock_fail(int error, const char *text) {
        struct verdict verdict = verdict_host_failed(error, STATUS_NO_TARGET);

        if (text[0])
                snprintf(verdict.text, sizeof(verdict.text), "%s", text);
        return verdict;
}

struct verdict superblock_make(const struct superblock_recipe *recipe, const char *source,
                               int *fd) {
        FD_AUTO int context = kernel_fsopen(recipe->file_system);
        char text[sizeof(((struct verdict *)NULL)->text)] = "";
        int r;

        if (context < 0)
                return verdict_host_failed(context, STATUS_NO_TARGET);
        r = superblock_configure(context, recipe, source);
        if (r == 0)
                r = kernel_fsmount(context, recipe->attributes);
        if (r < 0) {
                kernel_fscontext_message(context, text, sizeof(text));
                return superblock_fail(r, text);
        }
        *fd = r;
        return VERDICT_OK;
}
