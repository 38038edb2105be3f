/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A client that speaks the protocol in bytes, so that it can say what no library would. A client is
 * its connection's descriptor; who it is was settled when it connected.
 */

#include "common/wire.h"
#include "tests/real/service.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Connects as `uid` from a process of root's, or as the process' own user. */
int client_connect(const struct service *service, uid_t uid);

/* Sends one datagram with any number of descriptors, and doesn't judge it. 0 or negative errno. */
int client_try_send(int client, const void *bytes, size_t size, const int *fds, size_t n_fds);
void client_send(int client, const void *bytes, size_t size, const int *fds, size_t n_fds);

/* The next reply; the test fails when there comes none. */
struct wire_reply client_receive(int client);

/*
 * Sends and receives: cookie and operation of the reply must be the request's. What is 0 of version
 * and cookie is filled in.
 */
struct wire_reply client_call(int client, struct wire_request *request, const int *fds,
                              size_t n_fds);

/* The daemon must close the connection, without a word. */
void client_expect_closed(int client);

/*
 * The reply must be that. A reply that isn't STATUS_OK must have a text of printable UTF-8 and no
 * lease.
 */
#define client_expect(reply, status, error, target)                                                \
        client_judge(reply, status, error, target, __FILE__, __LINE__)
void client_judge(struct wire_reply reply, uint32_t status, uint32_t error, uint32_t target,
                  const char *file, int line);

/* ---- requests that are in order ---- */

/* Must succeed. */
void client_hello(int client);

struct wire_reply client_mount(int client, uint32_t file_system, uint32_t options, int target);

/* One mount on `path`, opened as `uid`; it must succeed. Returns the lease. */
uint64_t client_hold(int client, uid_t uid, const char *path, uint32_t file_system,
                     uint32_t options);

/* Mounts proc and sys of that input root, opened as `uid`; returns the whole reply. */
struct wire_reply client_mount_root(int client, uid_t uid, const char *root);

/* The same; it must succeed. Returns the lease. */
uint64_t client_hold_root(int client, uid_t uid, const char *root);

struct wire_reply client_unmount(int client, uint64_t lease);
