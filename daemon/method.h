/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the methods of org.mountat1.Manager do, from copies of what was sent; D-Bus isn't known
 * here.
 *
 * Input roots are named by their paths, for callers whom root or an administrator vouches for:
 * others open their directories themselves, and send them over the socket. No link is followed.
 */

#include "daemon/request.h"

#include <stddef.h>

enum {
        METHOD_PLACE_MAX = 1024,              /* bytes of one place in a list */
        METHOD_PLACES_MAX = 16 * 1024 * 1024, /* of all; beyond, each is TEXT_CUT alone */
};

struct method_lease {
        struct record record;
        char *place; /* the directory above its first mount, escaped; "": unknown; owned */
};

/*
 * All leases at one moment. Places are the users' to choose, and a control character is four bytes
 * here: what is long is cut, so that every list fits a message of D-Bus (32 MiB on the system bus,
 * else the bus drops the connection), and nobody can make one that an administrator doesn't get.
 */
struct method_list {
        size_t count;
        size_t room;
        size_t places; /* bytes of all places */
        struct method_lease *leases;
};

/* One call's share: zero-initialised but for who asks, and what for. */
struct method_task {
        struct context *context; /* borrowed */
        struct holder holder;    /* the caller */
        char *root;              /* the path of an input root; NULL: none is named; owned */
        struct request request;  /* its `wire` is what is asked for, its `reply` what came of it */
        struct method_list list;
};

/* What is wrong with the path of an input root, in words for a person; NULL: nothing. Pure. */
const char *method_path_fault(const char *path);

/* PROTOCOL_PROC for "proc", PROTOCOL_SYSFS for "sysfs", 0 for any other name. Pure. */
uint32_t method_file_system(const char *name);

/* What the decoder for the socket's bytes says of that request of version 1. Pure. */
struct verdict method_judge_request(struct wire_request *wire);

/*
 * What the place is called in a list in which places take up `spent` bytes so far. The caller owns
 * it. NULL: out of memory.
 */
char *method_name_place(const char *path, size_t spent);

/* ---- the methods: in an isolated thread, as request_serve() ---- */

void method_mount_path(struct method_task *task);
void method_take_back(struct method_task *task); /* a mount of which nobody could be told */
void method_unmount_path(struct method_task *task);
void method_unmount(struct method_task *task);

/* Fills in the list: of all leases for an administrator, else of the caller's. Doesn't block on any
 * file system. */
void method_list_leases(struct method_task *task);

/* Frees what the task owns. Any thread. */
void method_task_clear(struct method_task *task);
