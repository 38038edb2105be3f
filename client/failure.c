/* SPDX-License-Identifier: Apache-2.0 */

/* The status to errno table of libmountat(3). Pure, on any thread. */

#include "client/failure.h"

#include "client/mountat.h"
#include "common/text.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#define FAILURE_SAME(name)                                                                         \
        static_assert((int)MOUNTAT_##name == (int)name, "mountat.h repeats common/status.h")

FAILURE_SAME(STATUS_OK);
FAILURE_SAME(STATUS_MALFORMED);
FAILURE_SAME(STATUS_UNSUPPORTED_VERSION);
FAILURE_SAME(STATUS_UNKNOWN_OPERATION);
FAILURE_SAME(STATUS_WRONG_FD_COUNT);
FAILURE_SAME(STATUS_NOT_A_DIRECTORY);
FAILURE_SAME(STATUS_NOT_AUTHORISED);
FAILURE_SAME(STATUS_WRONG_NAME);
FAILURE_SAME(STATUS_ALREADY_MOUNTED);
FAILURE_SAME(STATUS_FOREIGN_NAMESPACE);
FAILURE_SAME(STATUS_LIMIT_EXCEEDED);
FAILURE_SAME(STATUS_NO_SUCH_LEASE);
FAILURE_SAME(STATUS_HOST_FAILED);
FAILURE_SAME(STATUS_SHUTTING_DOWN);
FAILURE_SAME(STATUS_TARGET_VANISHED);
FAILURE_SAME(STATUS_UNSUPPORTED_FILE_SYSTEM);
static_assert(MOUNTAT_NO_TARGET == STATUS_NO_TARGET, "mountat.h repeats common/status.h");

static const int failure_errnos[] = {
        [STATUS_MALFORMED] = EINVAL,
        [STATUS_UNSUPPORTED_VERSION] = EPROTONOSUPPORT,
        [STATUS_UNKNOWN_OPERATION] = ENOSYS,
        [STATUS_WRONG_FD_COUNT] = EINVAL,
        [STATUS_NOT_A_DIRECTORY] = ENOTDIR,
        [STATUS_NOT_AUTHORISED] = EPERM,
        [STATUS_WRONG_NAME] = EINVAL,
        [STATUS_ALREADY_MOUNTED] = EBUSY,
        [STATUS_FOREIGN_NAMESPACE] = EXDEV,
        [STATUS_LIMIT_EXCEEDED] = EDQUOT,
        [STATUS_NO_SUCH_LEASE] = ENOENT,
        [STATUS_HOST_FAILED] = EIO, /* if the reply has no valid errno */
        [STATUS_SHUTTING_DOWN] = ESHUTDOWN,
        [STATUS_TARGET_VANISHED] = ESTALE,
        [STATUS_UNSUPPORTED_FILE_SYSTEM] = EOPNOTSUPP,
};

static_assert(sizeof(failure_errnos) / sizeof(failure_errnos[0]) == STATUS_MAX,
              "each status has its errno");

/* The kernel's largest errno, include/linux/err.h. */
#define FAILURE_ERRNO_MAX 4095U

static int failure_errno(uint32_t status, uint32_t host_error) {
        if (status >= STATUS_MAX)
                return EPROTO;
        if (status == STATUS_HOST_FAILED && host_error > 0 && host_error <= FAILURE_ERRNO_MAX)
                return (int)host_error;
        return failure_errnos[status];
}

void failure_clear(struct failure *failure) {
        failure->status = MOUNTAT_STATUS_OK;
        failure->error = 0;
        failure->target = MOUNTAT_NO_TARGET;
        failure->text[0] = '\0';
}

__attribute__((format(printf, 2, 0))) static void
failure_print(struct failure *failure, const char *format, va_list arguments) {
        vsnprintf(failure->text, sizeof(failure->text), format, arguments);
}

int failure_client(struct failure *failure, int error, uint32_t target, const char *format, ...) {
        va_list arguments;

        va_start(arguments, format);
        failure_print(failure, format, arguments);
        va_end(arguments);
        failure->status = MOUNTAT_STATUS_CLIENT_FAILED;
        failure->error = error;
        failure->target = target;
        return -error;
}

int failure_status(struct failure *failure, uint32_t status, uint32_t target, const char *format,
                   ...) {
        va_list arguments;

        va_start(arguments, format);
        failure_print(failure, format, arguments);
        va_end(arguments);
        failure->status = (int32_t)status;
        failure->error = failure_errno(status, 0);
        failure->target = target;
        return -failure->error;
}

int failure_reply(struct failure *failure, const struct wire_reply *reply, uint32_t n_targets) {
        failure->status = reply->status <= INT32_MAX ? (int32_t)reply->status : INT32_MAX;
        failure->error = failure_errno(reply->status, reply->error);
        failure->target = reply->target < n_targets ? reply->target : MOUNTAT_NO_TARGET;
        text_escape(failure->text, sizeof(failure->text),
                    reply->text[0] ? reply->text : status_sentence(reply->status));
        return -failure->error;
}

const char *failure_name(const struct failure *failure) {
        return failure->status == MOUNTAT_STATUS_CLIENT_FAILED ? "client-failed"
                                                               : status_name(failure->status);
}
