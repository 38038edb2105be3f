/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* (being written elsewhere: this is its interface) */

#include "common/protocol.h"
#include "daemon/instance.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
        STATE_HEADER_SIZE = 4096,
        STATE_RECORDS_MAX = 65536,
};

enum record_state {
        RECORD_FREE = 0,
        RECORD_ATTACHING = 1, /* the mounts exist, and may or may not be attached yet */
        RECORD_LIVE = 2,
        RECORD_RELEASING = 3, /* the mounts may or may not be detached yet */
};

/* The lower bits of a lease's id are the index of its record. */
#define RECORD_INDEX(lease) ((uint32_t)((lease) & (STATE_RECORDS_MAX - 1)))

struct record {
        uint64_t lease;
        uint64_t granted;           /* microseconds of CLOCK_BOOTTIME */
        uint64_t writer_start_time; /* of the instance that attaches, as in struct instance */
        uint64_t namespace;
        int32_t writer_pid;
        uint32_t state; /* enum record_state */
        uint32_t uid;   /* the client's */
        int32_t pid;    /* the client's, 0 if it is in a pid namespace that we can't see */
        uint32_t count;
        uint32_t kept; /* 1: held by the daemon for its user, not by a connection */
        uint8_t file_systems[PROTOCOL_TARGETS_MAX];
        uint64_t mounts[PROTOCOL_TARGETS_MAX];
};

struct state_header {
        char magic[8];
        uint32_t record_size;
        uint32_t capacity;
        struct instance instance;
};

struct state_found {
        int32_t pid;
        char set_aside[64];
};

struct state {
        int directory;
        size_t size;
        uint32_t capacity;
        uint32_t used;
        struct state_header *header;
        struct record *records;
};

int state_open(const char *directory, uint32_t capacity, struct state *state,
               struct state_found *found);
int state_open_left(const char *directory, struct state *state, struct state_found *found);
void state_close_left(struct state *state);
void state_close(struct state *state);
bool record_is_sane(const struct record *record, uint32_t index);
void record_set_state(struct record *record, enum record_state state);
