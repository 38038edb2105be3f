/* SPDX-License-Identifier: Apache-2.0 */

/* Two lists, built at start and only read afterwards. */

#include "daemon/policy.h"

#include "common/file_system.h"
#include "common/protocol.h"
#include "common/text.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct policy_build_directory {
        uid_t uid;
        size_t length;
        char *path;
};

struct policy_users {
        size_t count;
        uid_t *uids;
};

struct policy {
        size_t n_build_directories;
        struct policy_build_directory *build_directories;
        struct policy_users writable_proc, join;
        uid_t distrusted_owner;
};

struct policy *policy_new(void) {
        struct policy *policy = calloc(1, sizeof(*policy));

        if (policy)
                policy_distrust_owner(policy, -1);
        return policy;
}

struct policy *policy_free(struct policy *policy) {
        if (!policy)
                return NULL;
        for (size_t i = 0; i < policy->n_build_directories; i++)
                free(policy->build_directories[i].path);
        free(policy->build_directories);
        free(policy->writable_proc.uids);
        free(policy->join.uids);
        free(policy);
        return NULL;
}

static bool policy_is_text(const char *path) {
        return !path[text_cut(path, SIZE_MAX)];
}

/* As the kernel writes paths: each component after one slash, and neither empty nor dots. */
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
        if (!policy_is_canonical(path, length) || !policy_is_text(path))
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

bool policy_next_build_directory(const struct policy *policy, size_t *cursor, const char **path,
                                 uid_t *uid) {
        if (*cursor >= policy->n_build_directories)
                return false;
        *path = policy->build_directories[*cursor].path;
        *uid = policy->build_directories[*cursor].uid;
        ++*cursor;
        return true;
}

static int policy_users_add(struct policy_users *users, uid_t uid) {
        uid_t *grown = reallocarray(users->uids, users->count + 1, sizeof(*grown));

        if (!grown)
                return -ENOMEM;
        users->uids = grown;
        grown[users->count++] = uid;
        return 0;
}

static bool policy_users_have(const struct policy_users *users, uid_t uid) {
        for (size_t i = 0; i < users->count; i++)
                if (users->uids[i] == uid)
                        return true;
        return false;
}

int policy_add_writable_proc(struct policy *policy, uid_t uid) {
        return policy_users_add(&policy->writable_proc, uid);
}

bool policy_allows_writable_proc(const struct policy *policy, uid_t uid) {
        return policy_users_have(&policy->writable_proc, uid);
}

int policy_add_join(struct policy *policy, uid_t uid) {
        return policy_users_add(&policy->join, uid);
}

bool policy_allows_join(const struct policy *policy, uid_t uid) {
        return policy_users_have(&policy->join, uid);
}

bool policy_joins(const struct policy *policy) {
        return policy->join.count > 0;
}

void policy_distrust_owner(struct policy *policy, uid_t uid) {
        policy->distrusted_owner = uid;
}

static bool policy_is_open(const struct policy_build_directory *directory,
                           const struct subject *subject) {
        return directory->uid == POLICY_ANY_USER || directory->uid == subject->uid;
}

/* Whether the path continues with `next` after a build directory that is open to the subject. */
static bool policy_has_build_directory(const struct policy *policy, const struct subject *subject,
                                       const char *path, char next) {
        for (size_t i = 0; i < policy->n_build_directories; i++) {
                const struct policy_build_directory *directory = &policy->build_directories[i];

                if (policy_is_open(directory, subject) &&
                    strncmp(path, directory->path, directory->length) == 0 &&
                    path[directory->length] == next)
                        return true;
        }
        return false;
}

bool policy_is_local(uint64_t magic) {
        static const char *const local[] = {"ext4",    "xfs",  "btrfs", "tmpfs",
                                            "overlay", "f2fs", "zfs",   "bcachefs"};
        const char *name = target_file_system(magic);

        for (size_t i = 0; name && i < sizeof(local) / sizeof(local[0]); i++)
                if (strcmp(local[i], name) == 0)
                        return true;
        return false;
}

static bool policy_is_named(const char *path, uint32_t file_system) {
        const char *slash = strrchr(path, '/');

        return slash && strcmp(slash + 1, file_system_directory(file_system)) == 0;
}

/* ---- refusals ---- */

/* Shows the bytes at fault as numbers, since they would garble the text. */
static struct verdict policy_refuse_name(const char *path) {
        struct verdict verdict = verdict_refuse(STATUS_WRONG_NAME, STATUS_NO_TARGET);
        const unsigned char *bad = (const unsigned char *)path + text_cut(path, SIZE_MAX);
        char bytes[16];
        size_t used;

        if (!*bad)
                return verdict;
        used = snprintf(bytes, sizeof(bytes), "%02x", *bad);
        for (int i = 1; i < 4 && (bad[i] & 0xc0) == 0x80; i++)
                used += snprintf(bytes + used, sizeof(bytes) - used, " %02x", bad[i]);
        snprintf(verdict.text, sizeof(verdict.text),
                 "the directory's path is not UTF-8 text at byte %zu (%s), and a mount there would "
                 "break systemctl list-units for everybody: rename that directory",
                 (size_t)(bad - (const unsigned char *)path) + 1, bytes);
        return verdict;
}

/*
 * The first build directory open to the subject, and the number of others if there is room for it.
 */
static void policy_name_build_directories(const struct policy *policy,
                                          const struct subject *subject, char *text, size_t size) {
        unsigned others = 0;

        text[0] = '\0';
        for (size_t i = 0; i < policy->n_build_directories; i++) {
                const struct policy_build_directory *directory = &policy->build_directories[i];

                if (!policy_is_open(directory, subject))
                        continue;
                if (text[0])
                        others++;
                else
                        text_abridge(text, size, directory->path);
        }
        if (others > 0)
                snprintf(text + strlen(text), size - strlen(text), " or %u more", others);
}

static struct verdict policy_refuse_place(const struct policy *policy,
                                          const struct subject *subject, const char *path,
                                          const char *otherwise) {
        struct verdict verdict = verdict_refuse(STATUS_NOT_AUTHORISED, STATUS_NO_TARGET);
        char place[56], directories[56];

        policy_name_build_directories(policy, subject, directories, sizeof(directories));
        text_abridge(place, sizeof(place), path);
        if (directories[0])
                snprintf(verdict.text, sizeof(verdict.text),
                         "%s is %s, and not below %s: see --build-directory in mountatd(8)", place,
                         otherwise, directories);
        else
                snprintf(
                        verdict.text, sizeof(verdict.text),
                        "%s is %s, and no build directory is open to you: see --build-directory in "
                        "mountatd(8)",
                        place, otherwise);
        return verdict;
}

static struct verdict policy_refuse_file_system(uint64_t magic) {
        struct verdict verdict = verdict_refuse(STATUS_UNSUPPORTED_FILE_SYSTEM, STATUS_NO_TARGET);
        char number[24];

        snprintf(number, sizeof(number), "type 0x%" PRIx64, magic);
        snprintf(verdict.text, sizeof(verdict.text),
                 "the directory is on %s: mountatd only mounts onto ext4, xfs, btrfs, tmpfs, "
                 "overlayfs, f2fs, zfs and bcachefs, or below a build directory: see "
                 "--build-directory in mountatd(8)",
                 target_file_system(magic) ?: number);
        return verdict;
}

static struct verdict policy_judge_owner(const struct policy *policy, const struct subject *subject,
                                         const struct target_facts *facts) {
        bool administrator = subject->trust == TRUST_ADMINISTRATOR;
        char owner[48];

        /*
         * A user's own file system needs the administrator's permission, like another user's
         * directory.
         */
        if (facts->magic == FUSE_SUPER_MAGIC && !administrator)
                return policy_refuse_place(policy, subject, facts->path, "on FUSE");
        if (!policy_is_local(facts->magic))
                return policy_refuse_file_system(facts->magic);
        if (facts->type == TARGET_HIDDEN)
                return policy_refuse_place(policy, subject, facts->path, "hidden from mountatd");
        if (administrator)
                return VERDICT_OK;
        if (facts->owner == policy->distrusted_owner)
                return policy_refuse_place(policy, subject, facts->path,
                                           "owned by an unmapped uid");
        if (facts->owner == subject->uid)
                return VERDICT_OK;
        snprintf(owner, sizeof(owner), "owned by uid %u, not %u", facts->owner, subject->uid);
        return policy_refuse_place(policy, subject, facts->path, owner);
}

/* All checks but that of the directory's name. `opened`: it is a build directory. */
static struct verdict policy_judge_place(const struct policy *policy, const struct subject *subject,
                                         const struct target_facts *facts, bool opened) {
        if (facts->foreign)
                return verdict_refuse(STATUS_FOREIGN_NAMESPACE, STATUS_NO_TARGET);
        if (opened || policy_has_build_directory(policy, subject, facts->path, '/'))
                return VERDICT_OK;
        return policy_judge_owner(policy, subject, facts);
}

struct verdict policy_judge(const struct policy *policy, const struct subject *subject,
                            uint32_t file_system, const struct target_facts *facts) {
        if (facts->type == TARGET_OTHER)
                return verdict_refuse(STATUS_NOT_A_DIRECTORY, STATUS_NO_TARGET);
        if (facts->deleted)
                return verdict_refuse(STATUS_TARGET_VANISHED, STATUS_NO_TARGET);
        if (facts->mount_root)
                return verdict_refuse(STATUS_ALREADY_MOUNTED, STATUS_NO_TARGET);
        if (!policy_is_named(facts->path, file_system) || !policy_is_text(facts->path))
                return policy_refuse_name(facts->path);
        return policy_judge_place(policy, subject, facts, false);
}

struct verdict policy_judge_check(const struct policy *policy, const struct subject *subject,
                                  uint32_t file_system, const struct target_facts *facts) {
        bool opened = policy_has_build_directory(policy, subject, facts->path, '\0');
        bool named = false;

        for (uint32_t i = PROTOCOL_PROC; i <= PROTOCOL_DEV; i++)
                named = named || policy_is_named(facts->path, i);
        if (named && !opened)
                return policy_judge(policy, subject, file_system, facts);
        if (facts->type == TARGET_OTHER)
                return verdict_refuse(STATUS_NOT_A_DIRECTORY, STATUS_NO_TARGET);
        if (facts->deleted)
                return verdict_refuse(STATUS_TARGET_VANISHED, STATUS_NO_TARGET);
        if (!policy_is_text(facts->path))
                return policy_refuse_name(facts->path);
        return policy_judge_place(policy, subject, facts, opened);
}
