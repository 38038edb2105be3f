/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What is known of the instance of the daemon that a channel leads to: its features, and whether it
 * is in our mount namespace. Nothing of it outlives the channel's connection.
 */

#include "client/channel.h"

#include <stdbool.h>
#include <stdint.h>

/* Zeroed for each new connection. */
struct instance {
        bool greeted;
        uint32_t features;          /* PROTOCOL_FEATURE_*, once greeted */
        bool entered;               /* it was asked to enter, once; */
        struct wire_reply entering; /* and that is what it answered */
};

/* As channel_exchange(), of a hello. */
int instance_hello(struct instance *instance, struct channel *channel, struct wire_request *hello,
                   struct wire_reply *reply);

/* Whether it is in our mount namespace because it was asked to. */
bool instance_is_inside(const struct instance *instance);

/*
 * Has it enter our namespaces, if it can and was never asked to; it must have granted nothing on
 * this connection, or it would refuse. 1: it has just done so. 0: it hasn't, and `*reply` is its
 * refusal, or else what it was before; if that is a foreign-namespace, with a text that says what
 * to do. The channel is closed if another connection may have more luck. Else negative as
 * channel_exchange(), and -EMFILE, -ENFILE or -ENOMEM, with nothing sent.
 */
int instance_enter(struct instance *instance, struct channel *channel, struct wire_reply *reply);

/* Whether what was refused with that status could be granted a moment later. */
bool instance_is_passing(uint32_t status);
