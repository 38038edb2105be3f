/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The state file: who runs, and one fixed record per lease, mapped by the daemon, in the machine's
 * own byte order. Storing to it costs no system call, and what was stored outlives a killed
 * process. It is also the lock: an instance whose recorded process lives refuses a second one. (A
 * file lock would not do: a thread that is stuck in the kernel keeps a killed process's descriptors
 * open, locks included.)
 *
 * Nothing that is found is dropped in silence: what earlier versions left is taken over, and a file
 * that isn't understood, or has mounts of an instance in another mount namespace, which can't be
 * seen from here, is kept beside the new one. In `directory` there may be
 *
 *     state                      the file
 *     state.new                  half a take-over: in nobody's way
 *     ledger                     what 0.1 calls it, until it has been taken over
 *     state.unknown-1, -2, …     set aside, also ledger.unknown-N
 *
 * All on the main thread; state_open() and state_open_left() before system calls are confined. They
 * block as a local file system does.
 */

#include "common/protocol.h"
#include "daemon/instance.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum {
        STATE_HEADER_SIZE = 4096,
        STATE_RECORDS_MAX = 65536,
        STATE_SET_ASIDE_MAX = 8, /* files of a name that are kept since they weren't understood */
};

/* The magic, the version and the instance stay where they are in every version. */
struct state_header {
        char magic[8]; /* "MNTSTATE", without a NUL */
        uint32_t version;
        uint32_t record_size;
        uint32_t capacity;
        uint32_t pid_namespace; /* its inode in nsfs, in which the pids here are; 0: not known */
        struct instance instance;
};

enum record_state {
        RECORD_FREE = 0,
        RECORD_ATTACHING = 1, /* the mounts exist, and may or may not be attached yet */
        RECORD_LIVE = 2,
        RECORD_RELEASING = 3, /* the mounts may or may not be detached yet */
};

enum { RECORD_MOUNTED_MAX = 16 * PROTOCOL_TARGETS_MAX }; /* of a lease's, more than any can have */

/* The lower bits of a lease's id are the index of its record. */
#define RECORD_INDEX(lease) ((uint32_t)((lease) & (STATE_RECORDS_MAX - 1)))

struct record {
        uint64_t lease;
        uint64_t granted;           /* microseconds of CLOCK_BOOTTIME */
        uint64_t writer_start_time; /* of the instance that attaches, as in struct instance */
        uint64_t mount_namespace;   /* its id, kernel_mount_namespace_id(); 0: the daemon's own */
        uint64_t namespace_inode;   /* of that, for people; 0: the daemon's own, or not known */
        int32_t writer_pid;
        uint32_t state; /* enum record_state */
        uint32_t uid;   /* the client's */
        int32_t pid;    /* the client's, 0 if it is in a pid namespace that we can't see */
        uint32_t count;
        uint16_t kept;    /* 1: for its user, by the daemon; 0: held by a connection */
        uint16_t mounted; /* how many mounts the kernel holds for it: what is charged */
        uint8_t file_systems[PROTOCOL_TARGETS_MAX]; /* the protocol's */
        uint64_t mounts[PROTOCOL_TARGETS_MAX];      /* ids, unique where the kernel has such */
};

struct state {
        int directory;
        ino_t inode; /* of the file */
        size_t size;
        uint32_t capacity; /* as judged: the header's can change under a foreign hand */
        uint32_t used;     /* records from here on were never written: not to be read, which would
                            * take memory */
        struct state_header *header;
        struct record *records;
};

/* What was found, for the caller to log. Zeroed by him, and filled in also where the call fails. */
struct state_found {
        int32_t pid;  /* with -EBUSY: of the process that runs with the file */
        bool foreign; /* with -ENOENT of state_open_left(): an instance elsewhere has left a file */
        uint32_t damaged;   /* records that no mountatd can have written: they are left out */
        char set_aside[64]; /* the names, ", " between them, that files which aren't taken over have
                             * now; "": none */
};

/*
 * Takes over the state file in `directory`, with room for at least `capacity` records, of
 * STATE_RECORDS_MAX at most: those that a dead predecessor of this boot left are in it, each at its
 * index, all others are free. A file of an earlier boot is replaced, since its mounts are gone.
 * What isn't understood or is no regular file is set aside, and so is what has records of a
 * predecessor's own mount namespace that is another than ours; its records of clients' namespaces
 * are taken over all the same, of ours as of the daemon's own, unless its pid namespace is another
 * as well, where it may be alive. STATE_SET_ASIDE_MAX of a name are kept, the first ones and the
 * last. The blocks are allocated, so no store can fail later.
 *
 * -EXDEV: as instance_self() has it. -EBUSY: a process runs with it, also one of 0.1 or of a
 * version that isn't understood. -EAGAIN: another one is starting at this moment. Then nothing is
 * changed. What else fails, fails for good: that a file can't be read doesn't make it one that
 * isn't understood.
 *
 * Where both `state` and `ledger` are of this boot and understood, the one whose instance started
 * later wins, and `state` if they are of one. A `state` that loses has records that 0.1, started
 * after it, knew nothing of: it is set aside, unless it has none.
 */
int state_open(const char *directory, uint32_t capacity, struct state *state,
               struct state_found *found);

/*
 * Opens what a dead predecessor of this boot left, in place, to change states alone; what an
 * earlier version left becomes a file of this one first. Nobody can take over before
 * state_close_left(). -ENOENT: nothing that could be of use; what would be set aside, or is of an
 * instance in another mount namespace, stays where it is, for state_open(). -EBUSY and -EAGAIN as
 * above.
 */
int state_open_left(const char *directory, struct state *state, struct state_found *found);

/* Unmaps what state_open_left() gave, and lets others take over. */
void state_close_left(struct state *state);

/* Unmaps; removes the file unless a record is in use, or it was set aside by another instance. */
void state_close(struct state *state);

/* Whether the record, which lies at `index`, can have been written by a mountatd. */
bool record_is_sane(const struct record *record, uint32_t index);

/* Sets the state last: a reader after our death sees either no lease, or all that was written. */
void record_set_state(struct record *record, enum record_state state);
