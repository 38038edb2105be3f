/* SPDX-License-Identifier: Apache-2.0 */

/* One table of names and sentences. Pure, on any thread. */

#include "common/status.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

static const struct {
        const char *name;
        const char *sentence;
} status_table[STATUS_MAX] = {
        [STATUS_OK] = {"ok", "done"},
        [STATUS_MALFORMED] = {"malformed",
                              "the request's length or fields don't follow the protocol: "
                              "see doc/protocol.md"},
        [STATUS_UNSUPPORTED_VERSION] = {"unsupported-version",
                                        "this mountatd speaks only version 1 of the protocol"},
        [STATUS_UNKNOWN_OPERATION] = {"unknown-operation",
                                      "this mountatd has no such operation: send hello to get its "
                                      "features"},
        [STATUS_WRONG_FD_COUNT] = {"wrong-fd-count",
                                   "send exactly one directory file descriptor per target, and "
                                   "none with other operations"},
        [STATUS_NOT_A_DIRECTORY] = {"not-a-directory", "the target is not a directory"},
        [STATUS_NOT_AUTHORISED] = {"not-authorised",
                                   "the directory is neither owned by you nor below a build "
                                   "directory that is open to you: see --build-directory in "
                                   "mountatd(8)"},
        [STATUS_WRONG_NAME] = {"wrong-name",
                               "a target must be named proc (for procfs), sys (for sysfs) or dev"},
        [STATUS_ALREADY_MOUNTED] = {"already-mounted",
                                    "something is already mounted on the directory"},
        [STATUS_FOREIGN_NAMESPACE] = {"foreign-namespace",
                                      "the directory is in another mount namespace than mountatd, "
                                      "or in a detached tree: run client and daemon in one mount "
                                      "namespace; for containers, see --join in mountatd(8)"},
        [STATUS_LIMIT_EXCEEDED] = {"limit-exceeded",
                                   "a limit of mountatd is reached: release leases or close "
                                   "connections, or raise the limit"},
        [STATUS_NO_SUCH_LEASE] = {"no-such-lease",
                                  "no such lease is held by this connection or kept for this user"},
        [STATUS_HOST_FAILED] = {"host-failed", "the host refused"},
        [STATUS_SHUTTING_DOWN] = {"shutting-down", "mountatd is stopping: connect again"},
        [STATUS_TARGET_VANISHED] = {"target-vanished", "the directory has been removed"},
        [STATUS_UNSUPPORTED_FILE_SYSTEM] =
                {"unsupported-file-system",
                 "mountatd mounts only proc, sysfs and dev, and only onto local file systems or "
                 "below a build directory"},
};

const char *status_name(uint32_t status) {
        return status < STATUS_MAX ? status_table[status].name : "unknown-status";
}

const char *status_sentence(uint32_t status) {
        return status < STATUS_MAX ? status_table[status].sentence : "unknown status";
}

struct verdict verdict_refuse(enum status status, uint32_t target) {
        return (struct verdict){.status = status, .target = target};
}

struct verdict verdict_explain(enum status status, uint32_t target, const char *text) {
        struct verdict verdict = verdict_refuse(status, target);

        snprintf(verdict.text, sizeof(verdict.text), "%s", text);
        return verdict;
}

struct verdict verdict_host_failed(int error, uint32_t target) {
        struct verdict verdict = {.status = STATUS_HOST_FAILED, .error = -error, .target = target};

        snprintf(verdict.text, sizeof(verdict.text), "the host refused: %s",
                 strerrordesc_np(-error) ?: "unknown error");
        return verdict;
}
