/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Made at home, wherever the thread is: for the mount namespace of a container with a user
 * namespace, the kernel refuses any file system that is partly masked there (mount_too_revealing()
 * in fs/namespace.c).
 */

#include "daemon/superblock.h"

#include "common/fd.h"
#include "common/protocol.h"
#include "daemon/kernel.h"
#include "daemon/namespaces.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>

/* A superblock being made. */
struct superblock {
        const struct superblock_recipe *recipe;
        const char *source;
        int pid_namespace; /* to be shown by the file system; -EBADF: none */
        int result;        /* its root, or a negative errno */
        char text[sizeof(((struct verdict *)NULL)->text)];
};

static int superblock_configure(int context, const struct superblock *superblock) {
        const struct superblock_recipe *recipe = superblock->recipe;
        int r = kernel_fsconfig(context, FSCONFIG_SET_STRING, "source", superblock->source);

        for (int i = 0; r == 0 && i < SUPERBLOCK_OPTIONS_MAX && recipe->options[i].key; i++) {
                const struct superblock_option *option = &recipe->options[i];

                r = kernel_fsconfig(context,
                                    option->value ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG,
                                    option->key, option->value);
        }
        if (r == 0 && superblock->pid_namespace >= 0)
                r = kernel_fsconfig_fd(context, "pidns", superblock->pid_namespace);
        return r < 0 ? r : kernel_fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL);
}

static void superblock_make_one(void *argument) {
        struct superblock *superblock = argument;
        FD_AUTO int context = kernel_fsopen(superblock->recipe->file_system);
        int r = context;

        if (r >= 0)
                r = superblock_configure(context, superblock);
        if (r == 0)
                r = kernel_fsmount(context, superblock->recipe->attributes);
        if (r < 0 && context >= 0)
                kernel_fscontext_message(context, superblock->text, sizeof(superblock->text));
        superblock->result = r;
}

static struct verdict superblock_judge(const struct superblock *superblock) {
        struct verdict verdict;

        if (superblock->result >= 0)
                return VERDICT_OK;
        verdict = verdict_host_failed(superblock->result, STATUS_NO_TARGET);
        if (superblock->text[0])
                snprintf(verdict.text, sizeof(verdict.text), "%s", superblock->text);
        return verdict;
}

static struct verdict superblock_lacks(const char *text) {
        return verdict_explain(STATUS_FOREIGN_NAMESPACE, STATUS_NO_TARGET, text);
}

/*
 * Before Linux 6.17 a procfs can't be given a pid namespace: it shows that of the process that
 * makes it. A process of ours in there would be exposed to the container's ptrace(2) for a moment:
 * so there is none.
 */
static struct verdict superblock_make_proc(struct superblock *superblock,
                                           const struct namespaces *namespaces) {
        if (namespaces->fds[PROTOCOL_NAMESPACE_PID] < 0)
                return superblock_lacks("a procfs needs your pid namespace: send it with enter");
        if (!namespaces->ours[PROTOCOL_NAMESPACE_PID])
                superblock->pid_namespace = namespaces->fds[PROTOCOL_NAMESPACE_PID];
        superblock_make_one(superblock);
        if (superblock->result != -EINVAL || superblock->pid_namespace < 0)
                return superblock_judge(superblock);
        return strstr(superblock->text, "Unknown parameter")
                       ? superblock_lacks(
                                 "a procfs for another pid namespace needs Linux 6.17: share "
                                 "mountatd's, for example with hostPID or a shared process "
                                 "namespace")
                       : superblock_lacks(superblock->text);
}

static struct verdict superblock_make_sysfs(struct superblock *superblock,
                                            const struct namespaces *namespaces) {
        int r = 0;

        if (namespaces->fds[PROTOCOL_NAMESPACE_NETWORK] < 0)
                return superblock_lacks("a sysfs needs your network namespace: send it with enter");
        if (namespaces->ours[PROTOCOL_NAMESPACE_NETWORK])
                superblock_make_one(superblock);
        else
                r = namespaces_run_in_network(namespaces, superblock_make_one, superblock);
        return r < 0 ? verdict_host_failed(r, STATUS_NO_TARGET) : superblock_judge(superblock);
}

/* At home. */
static struct verdict superblock_make_for(struct superblock *superblock,
                                          const struct namespaces *namespaces) {
        if (namespaces && strcmp(superblock->recipe->file_system, "proc") == 0)
                return superblock_make_proc(superblock, namespaces);
        if (namespaces && strcmp(superblock->recipe->file_system, "sysfs") == 0)
                return superblock_make_sysfs(superblock, namespaces);
        superblock_make_one(superblock);
        return superblock_judge(superblock);
}

struct verdict superblock_make(const struct superblock_recipe *recipe, const char *source,
                               const struct namespaces *namespaces, int *fd) {
        struct superblock superblock = {recipe, source, -EBADF, -ECHILD, ""};
        uint64_t place = namespaces_here();
        int r = namespaces_go(0);
        struct verdict verdict = r < 0 ? verdict_host_failed(r, STATUS_NO_TARGET)
                                       : superblock_make_for(&superblock, namespaces);

        r = namespaces_go(place);
        if (verdict.status != STATUS_OK)
                return verdict;
        if (r < 0) {
                fd_close(superblock.result);
                return verdict_host_failed(r, STATUS_NO_TARGET);
        }
        *fd = superblock.result;
        return VERDICT_OK;
}
