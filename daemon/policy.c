/* SPDX-License-Identifier: Apache-2.0 */

/* Two lists that are built at start and only read afterwards. */

#include "daemon/policy.h"

#include "common/protocol.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct policy_build_directory {
        uid_t uid;
        size_t length;
        char *path;
};

struct policy {
        size_t n_build_directories;
        size_t n_writable_proc;
        struct policy_build_directory *build_directories;
        uid_t *writable_proc;
};

struct policy *policy_new(void) {
        return calloc(1, sizeof(struct policy));
}

struct policy *policy_free(struct policy *policy) {
        if (!policy)
                return NULL;
        for (size_t i = 0; i < policy->n_build_directories; i++)
                free(policy->build_directories[i].path);
        free(policy->build_directories);
        free(policy->writable_proc);
        free(policy);
        return NULL;
}

/* As the kernel spells paths: components that are neither empty nor dots, each behind a slash. */
static bool policy_is_canonical(const char *path, size_t length) {
        if (length < 2)
                return false;

        for (size_t start = 0; start < length;) {
                const char *name = path + start + 1;
                const char *slash = memchr(name, '/', length - start - 1);
                size_t n = slash ? (size_t)(slash - name) : length - start - 1;

                if (path[start] != '/' || n == 0 || (n == 1 && name[0] == '.') ||
                    (n == 2 && name[0] == '.' && name[1] == '.'))
                        return false;
                start += 1 + n;
        }
        return true;
}

int policy_add_build_directory(struct policy *policy, const char *path, uid_t uid) {
        size_t length = strlen(path);
        struct policy_build_directory *grown;
        char *copy;

        if (length > 1 && path[length - 1] == '/')
                length--;
        if (!policy_is_canonical(path, length))
                return -EINVAL;

        grown = reallocarray(policy->build_directories, policy->n_build_directories + 1,
                             sizeof(*grown));
        if (!grown)
                return -ENOMEM;
        policy->build_directories = grown;
        copy = strndup(path, length);
        if (!copy)
                return -ENOMEM;
        grown[policy->n_build_directories++] =
                (struct policy_build_directory){.uid = uid, .length = length, .path = copy};
        return 0;
}

int policy_add_writable_proc(struct policy *policy, uid_t uid) {
        uid_t *grown =
                reallocarray(policy->writable_proc, policy->n_writable_proc + 1, sizeof(*grown));

        if (!grown)
                return -ENOMEM;
        policy->writable_proc = grown;
        grown[policy->n_writable_proc++] = uid;
        return 0;
}

bool policy_allows_writable_proc(const struct policy *policy, uid_t uid) {
        for (size_t i = 0; i < policy->n_writable_proc; i++)
                if (policy->writable_proc[i] == uid)
                        return true;
        return false;
}

/* Whether the path goes on with `next` behind a build directory that is open to the subject. */
static bool policy_has_build_directory(const struct policy *policy, const struct subject *subject,
                                       const char *path, char next) {
        for (size_t i = 0; i < policy->n_build_directories; i++) {
                const struct policy_build_directory *directory = &policy->build_directories[i];

                if ((directory->uid == POLICY_ANY_USER || directory->uid == subject->uid) &&
                    strncmp(path, directory->path, directory->length) == 0 &&
                    path[directory->length] == next)
                        return true;
        }
        return false;
}

bool policy_is_build_directory(const struct policy *policy, const struct subject *subject,
                               const char *path) {
        return policy_has_build_directory(policy, subject, path, '\0');
}

bool policy_is_local(uint64_t magic) {
        static const uint32_t local[] = {
                0x0000ef53, /* ext2, ext3, ext4 */
                0x58465342, /* xfs */
                0x9123683e, /* btrfs */
                0x01021994, /* tmpfs */
                0x794c7630, /* overlayfs */
                0xf2f52010, /* f2fs */
                0x2fc12fc1, /* zfs */
                0xca451a4e, /* bcachefs */
        };

        for (size_t i = 0; i < sizeof(local) / sizeof(local[0]); i++)
                if (local[i] == (uint32_t)magic)
                        return true;
        return false;
}

static bool policy_is_named(const char *path, uint32_t file_system) {
        const char *slash = strrchr(path, '/');

        return slash && strcmp(slash + 1, file_system == PROTOCOL_PROC ? "proc" : "sys") == 0;
}

enum status policy_judge(const struct policy *policy, const struct subject *subject,
                         uint32_t file_system, const struct target_facts *facts) {
        if (facts->type == TARGET_OTHER)
                return STATUS_NOT_A_DIRECTORY;
        if (facts->deleted)
                return STATUS_TARGET_VANISHED;
        if (facts->mount_root)
                return STATUS_ALREADY_MOUNTED;
        if (!policy_is_named(facts->path, file_system))
                return STATUS_WRONG_NAME;
        if (facts->foreign)
                return STATUS_FOREIGN_NAMESPACE;
        if (policy_has_build_directory(policy, subject, facts->path, '/'))
                return STATUS_OK;
        if (!policy_is_local(facts->magic))
                return STATUS_UNSUPPORTED_FILE_SYSTEM;
        if (facts->type != TARGET_DIRECTORY)
                return STATUS_NOT_AUTHORISED;
        if (subject->trust != TRUST_ADMINISTRATOR && facts->owner != subject->uid)
                return STATUS_NOT_AUTHORISED;
        return STATUS_OK;
}
