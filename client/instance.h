/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What is known about the daemon instance at the other end of a channel: its features, and whether
 * it has entered our mount namespace. Valid for one connection of the channel.
 */

#include "client/channel.h"
#include "client/failure.h"

#include <stdbool.h>
#include <stdint.h>

/* Zeroed for each new connection. */
struct instance {
        bool greeted;
        uint32_t features;          /* PROTOCOL_FEATURE_*, once greeted */
        bool entered;               /* it has answered enter */
        struct wire_reply entering; /* that answer */
};

/* As channel_exchange(), of a hello. */
int instance_hello(struct instance *instance, struct channel *channel, struct wire_request *hello,
                   struct wire_reply *reply);

/*
 * Which of `features` (PROTOCOL_FEATURE_*) the daemon lacks. One that knows /dev, as all since 0.2,
 * and has none to offer lacks nothing: it refuses the mount with the reason.
 */
uint32_t instance_lacks(const struct instance *instance, uint32_t features);

/*
 * Reports one feature that it lacks, with `version`, the text of its hello: -ENOSYS, or -EOPNOTSUPP
 * for a file system.
 */
int instance_explain_lack(const struct instance *instance, uint32_t features, const char *version,
                          struct failure *failure);

/* Whether it has entered our mount namespace. */
bool instance_is_inside(const struct instance *instance);

/*
 * Asks it to enter our namespaces, if it can and wasn't asked before; it refuses if it has granted
 * anything on this connection. Returns 1 if it entered just now. Returns 0 if not: `*reply` is its
 * refusal, or unchanged except that a foreign-namespace gets a text that says what to do; the
 * channel is closed if a new connection might succeed. Returns a negative errno as
 * channel_exchange(), or -EMFILE, -ENFILE or -ENOMEM with nothing sent.
 */
int instance_enter(struct instance *instance, struct channel *channel, struct wire_reply *reply);

/* Whether a request refused with that status might succeed a moment later. */
bool instance_is_passing(uint32_t status);
