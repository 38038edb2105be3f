/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A refused enter costs the daemon a line in its log. So it is sent only when needed, only if hello
 * says that it may succeed, and at most once per connection.
 */

#include "client/instance.h"

#include "client/mountat.h"
#include "client/namespaces.h"
#include "common/fd.h"
#include "common/text.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int instance_hello(struct instance *instance, struct channel *channel, struct wire_request *hello,
                   struct wire_reply *reply) {
        int result = channel_exchange(channel, hello, NULL, reply);

        if (result < 0 || reply->status != STATUS_OK)
                return result;
        instance->greeted = true;
        instance->features = reply->flags;
        return 0;
}

uint32_t instance_lacks(const struct instance *instance, uint32_t features) {
        uint32_t lacks = features & ~instance->features;

        return instance->features & PROTOCOL_FEATURE_CHECK ? lacks & ~PROTOCOL_FEATURE_DEV : lacks;
}

static const struct {
        uint32_t feature;
        enum mountat_status status;
        const char *what;
} instance_lacking[] = {
        {PROTOCOL_FEATURE_KEEP, MOUNTAT_STATUS_UNKNOWN_OPERATION,
         "keep mounts beyond a connection"},
        {PROTOCOL_FEATURE_CHECK, MOUNTAT_STATUS_UNKNOWN_OPERATION,
         "check directories without mounting"},
        {PROTOCOL_FEATURE_DEV, MOUNTAT_STATUS_UNSUPPORTED_FILE_SYSTEM, "mount a /dev"},
};

int instance_explain_lack(const struct instance *instance, uint32_t features, const char *version,
                          struct failure *failure) {
        uint32_t lacks = instance_lacks(instance, features);
        char escaped[PROTOCOL_TEXT_MAX];
        size_t i = 0;

        while (!(lacks & instance_lacking[i].feature))
                i++;
        return failure_status(
                failure, instance_lacking[i].status, MOUNTAT_NO_TARGET,
                "%s can't %s: mountatd 0.2 or later is needed: upgrade it and restart its service",
                text_escape(escaped, sizeof(escaped), version), instance_lacking[i].what);
}

bool instance_is_inside(const struct instance *instance) {
        return instance->entered && instance->entering.status == STATUS_OK;
}

bool instance_is_passing(uint32_t status) {
        return status == STATUS_HOST_FAILED || status == STATUS_LIMIT_EXCEEDED ||
               status == STATUS_SHUTTING_DOWN;
}

/* A daemon too old for enter doesn't mention --join: use the text of this version. */
static int instance_advise(struct wire_reply *reply) {
        if (reply->status == STATUS_FOREIGN_NAMESPACE && !strstr(reply->text, "--join"))
                snprintf(reply->text, sizeof(reply->text), "%s", status_sentence(reply->status));
        return 0;
}

/* A shortage of this process, which may be over soon, is returned to the caller. */
static int instance_explain_namespaces(int error, struct wire_reply *reply) {
        if (error == -EMFILE || error == -ENFILE || error == -ENOMEM)
                return error;
        if (reply->status == STATUS_FOREIGN_NAMESPACE)
                snprintf(reply->text, sizeof(reply->text),
                         "cannot hand your mount namespace to mountatd: cannot open "
                         "/proc/self/ns/mnt: %s: mount a procfs on /proc",
                         strerrordesc_np(-error));
        return 0;
}

static int instance_take_answer(struct instance *instance, struct channel *channel,
                                struct wire_reply *reply) {
        if (reply->operation != PROTOCOL_ENTER)
                return 0;
        reply->target = STATUS_NO_TARGET;
        instance->entered = true;
        instance->entering = *reply;
        if (instance_is_passing(reply->status))
                channel_close(channel,
                              "was closed because mountatd could not enter this mount namespace");
        return reply->status == STATUS_OK;
}

static int instance_send_namespaces(struct instance *instance, struct channel *channel,
                                    struct wire_reply *reply) {
        struct wire_request request;
        int fds[NAMESPACES_MAX];
        int result = namespaces_open(&request, fds);

        if (result < 0)
                return instance_explain_namespaces(result, reply);
        result = channel_exchange(channel, &request, fds, reply);
        for (uint32_t i = 0; i < request.n_targets; i++)
                fd_close(fds[i]);
        return result < 0 ? result : instance_take_answer(instance, channel, reply);
}

int instance_enter(struct instance *instance, struct channel *channel, struct wire_reply *reply) {
        if (instance->entered) {
                if (!instance_is_inside(instance))
                        *reply = instance->entering;
                return 0;
        }
        if (!instance->greeted) {
                struct wire_request hello = {.operation = PROTOCOL_HELLO};
                struct wire_reply greeting;
                int result = instance_hello(instance, channel, &hello, &greeting);

                if (result < 0)
                        return result;
                if (greeting.status != STATUS_OK) {
                        *reply = greeting;
                        return 0;
                }
        }
        return instance->features & PROTOCOL_FEATURE_ENTER
                       ? instance_send_namespaces(instance, channel, reply)
                       : instance_advise(reply);
}
