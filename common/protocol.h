/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The wire protocol, version 1: its numbers, in one place.
 *
 * A SOCK_SEQPACKET Unix socket carries one message per datagram. Requests have one directory file
 * descriptor per target in a single SCM_RIGHTS message; replies have none. All integers are
 * little-endian. `wire.h` turns the bytes into structs; doc/protocol.md shows the layout.
 */

#define PROTOCOL_MAGIC "MNTA"
#define PROTOCOL_SOCKET_DEFAULT "/run/mountatd/socket"
#define PROTOCOL_SOCKET_VARIABLE "MOUNTATD_SOCKET"

enum {
        PROTOCOL_VERSION = 1,
        PROTOCOL_TARGETS_MAX = 16,
        PROTOCOL_TEXT_MAX = 216, /* bytes of UTF-8 that may follow a reply */
        PROTOCOL_REPLY_BIT = 0x8000,
};

enum protocol_operation {
        PROTOCOL_UNASKED = 0, /* only in replies: the connection is refused */
        PROTOCOL_HELLO = 1,
        PROTOCOL_MOUNT = 2,
        PROTOCOL_UNMOUNT = 3,
        PROTOCOL_ADOPT = 4, /* a dead instance's lease; the targets are the mounts' roots */
        PROTOCOL_ENTER = 5, /* the client's namespaces; the targets are those, by kind */
};

/*
 * In place of a file system in the targets of enter: each at most once, the mount namespace always.
 */
enum protocol_namespace {
        PROTOCOL_NAMESPACE_MOUNT = 1,
        PROTOCOL_NAMESPACE_PID = 2,     /* whose processes a procfs shows */
        PROTOCOL_NAMESPACE_NETWORK = 3, /* whose interfaces a sysfs shows */
};

enum protocol_file_system {
        PROTOCOL_PROC = 1,
        PROTOCOL_SYSFS = 2,
        PROTOCOL_DEV = 3,
};

enum protocol_option {
        PROTOCOL_READ_ONLY = 1 << 0,
        PROTOCOL_PIDS_ONLY = 1 << 1, /* only procfs: subset=pid */
};

/* In the flags of a mount, at most one. Other requests have none. */
enum protocol_flag {
        PROTOCOL_KEEP = 1 << 0,  /* the lease is the user's and outlives the connection */
        PROTOCOL_CHECK = 1 << 1, /* checked like a mount, without mounting: no lease */
};

/* In the flags of hello's reply. */
enum protocol_feature {
        PROTOCOL_FEATURE_CLONES = 1 << 0,
        PROTOCOL_FEATURE_STATMOUNT = 1 << 1,
        PROTOCOL_FEATURE_UNIQUE_IDS = 1 << 2,
        PROTOCOL_FEATURE_PIDS_ONLY = 1 << 3,
        PROTOCOL_FEATURE_ADOPT = 1 << 4,
        PROTOCOL_FEATURE_ENTER = 1 << 5, /* for this client's user */
        PROTOCOL_FEATURE_KEEP = 1 << 6,
        PROTOCOL_FEATURE_DEV = 1 << 7,
        PROTOCOL_FEATURE_CHECK = 1 << 8,
};
