/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The ledger's file: a page for the header, then one fixed record per lease, mapped by the daemon,
 * in the machine's own byte order. Storing to it costs no syscall, and what was stored outlives a
 * killed process. It is also the lock: an instance whose recorded process lives refuses a second
 * one. (A file lock would not do: a thread that is stuck in the kernel keeps a killed process's
 * descriptors open, locks included.)
 */

#include "common/protocol.h"
#include "daemon/instance.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
        RECORD_HEADER_SIZE = 4096,
        RECORD_CAPACITY_MAX = 65536,
};

struct record_header {
        char magic[8];
        uint32_t record_size;
        uint32_t capacity;
        struct instance instance;
};

enum record_state {
        RECORD_FREE = 0,
        RECORD_ATTACHING = 1, /* the mounts exist, and may or may not be attached yet */
        RECORD_LIVE = 2,
        RECORD_RELEASING = 3, /* the mounts may or may not be detached yet */
};

/* How a lease was asked for. */
enum record_origin {
        RECORD_SOCKET = 0, /* held by a connection */
        RECORD_BUS = 1,    /* kept by the ledger alone */
};

/* The lower bits of a lease's id are the index of its record. */
#define RECORD_INDEX(lease) ((uint32_t)((lease) & (RECORD_CAPACITY_MAX - 1)))

struct record {
        uint64_t lease;
        uint64_t granted;           /* microseconds of CLOCK_BOOTTIME */
        uint64_t writer_start_time; /* of the instance that attaches, as in struct instance */
        int32_t writer_pid;
        uint32_t state;
        uint32_t uid; /* the client's */
        int32_t pid;  /* the client's, 0 if it is in a pid namespace that we can't see */
        uint32_t count;
        uint32_t origin;                            /* enum record_origin */
        uint8_t file_systems[PROTOCOL_TARGETS_MAX]; /* PROTOCOL_PROC, PROTOCOL_SYSFS */
        uint64_t mounts[PROTOCOL_TARGETS_MAX];      /* ids, unique where the kernel has such */
};

struct record_file {
        int directory;
        size_t size;
        uint32_t capacity; /* as judged: the header's can change under a foreign hand */
        struct record_header *header;
        struct record *records;
};

/*
 * Takes over `directory`/ledger, with room for at least `capacity` records: those that a dead
 * predecessor of this boot left are in it, each at its index, all others are free. -EBUSY: the
 * process `*pid` runs with it. -EAGAIN: another one is starting at this moment. The blocks are
 * allocated, so no store can fail later. On the main thread; blocks as a local file system does.
 */
int record_open(const char *directory, uint32_t capacity, struct record_file *file, int32_t *pid);

/*
 * Opens what a dead predecessor of this boot left, in place, to change states alone. -ENOENT:
 * nothing that could be of use. -EBUSY and -EAGAIN as above.
 */
int record_open_left(const char *directory, struct record_file *file, int32_t *pid);

/* Unmaps a file of record_open_left(). */
void record_close_left(struct record_file *file);

/* Whether the record, which lies at `index`, can have been written by a mountatd. */
bool record_is_sane(const struct record *record, uint32_t index);

/* Unmaps; removes the file unless a record is in use. */
void record_close(struct record_file *file);

/* Sets the state last: a reader after our death sees either no lease, or all that was written. */
void record_set_state(struct record *record, enum record_state state);
