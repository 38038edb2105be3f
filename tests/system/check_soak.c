/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Nothing grows: sixteen clients go through cycles of mounting and unmounting, some of which end
 * with a refusal, with a lease that the client never releases, or with the connection. The real
 * daemon is measured after the first tenth and at the end, without connections.
 *
 * MOUNTATD_SOAK=200000 runs that many cycles instead of a few thousand: more than sixteen runners
 * do in a day, at an action every seven seconds each.
 */

#include "common/fd.h"
#include "daemon/state.h"
#include "tests/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
        CLIENTS = 16,
        CYCLES_DEFAULT = 9600,
        RSS_SLACK = 512, /* KiB */
        /* Objects: the kernel frees in batches, and other processes use it as well. */
        SLAB_SLACK_MAX = 4000,
        REMEASURES = 30,
};

struct runner {
        const struct service *service;
        unsigned index;
        unsigned cycles;
};

/* ---- clients ---- */

static void be_refused(int client, const char *root) {
        FD_AUTO int directory = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);

        client_expect(client_mount(client, PROTOCOL_PROC, 0, directory), STATUS_WRONG_NAME, 0, 0);
}

/* The kernel detaches a departed client's mounts only a moment after the connection ends. */
static uint64_t hold_again(int client, const char *root) {
        struct wire_reply reply;

        do
                reply = client_mount_root(client, USER_ALICE, root);
        while (reply.status == STATUS_ALREADY_MOUNTED && usleep(500) == 0);
        client_expect(reply, STATUS_OK, 0, STATUS_NO_TARGET);
        return reply.lease;
}

static void run(void *argument) {
        const struct runner *runner = argument;
        const char *root = sandbox_path("root%u", runner->index);
        int client = client_connect(runner->service, USER_ALICE);

        for (unsigned i = 0; i < runner->cycles; i++) {
                uint64_t lease = hold_again(client, root);

                if (i % 13 == 12) {
                        close(client); /* with the lease */
                        client = client_connect(runner->service, USER_ALICE);
                        continue;
                }
                if (i % 7 == 6)
                        be_refused(client, root);
                client_expect(client_unmount(client, lease), STATUS_OK, 0, STATUS_NO_TARGET);
                if (i % 5 == 4)
                        client_hello(client);
        }
        close(client);
}

static void run_all(const struct service *service, unsigned cycles) {
        struct runner runners[CLIENTS];
        pid_t pids[CLIENTS];

        for (unsigned i = 0; i < CLIENTS; i++) {
                runners[i] = (struct runner){service, i, cycles / CLIENTS};
                pids[i] = sandbox_spawn(USER_ALICE, run, &runners[i]);
        }
        for (unsigned i = 0; i < CLIENTS; i++)
                sandbox_join(pids[i]);
}

/* ---- measurements ---- */

struct measure {
        unsigned rss; /* KiB */
        unsigned fds;
        unsigned threads;
        unsigned mounts;
        unsigned records;
        unsigned slab_mounts; /* objects of the kernel's */
        unsigned slab_files;
        unsigned slab_sockets;
        unsigned cycles; /* so far */
};

/* The number after the name that begins a line. */
static unsigned read_number(const char *path, const char *name) {
        FILE *file = fopen(path, "re");
        size_t length = strlen(name);
        unsigned number = 0;
        char line[512];

        while (file && fgets(line, sizeof(line), file))
                if (strncmp(line, name, length) == 0)
                        number = strtoul(line + length, NULL, 10);
        if (file)
                fclose(file);
        return number;
}

/* A slab cache merged with others of its size has no line of its own. */
static unsigned count_objects(const char *cache) {
        char text[64];
        unsigned objects;

        snprintf(text, sizeof(text), "%s ", cache);
        objects = read_number("/proc/slabinfo", text);
        if (objects == 0) {
                snprintf(text, sizeof(text), "/sys/kernel/slab/%s/objects", cache);
                objects = read_number(text, "");
        }
        ck_assert_msg(objects > 0, "how many objects are in %s can't be seen", cache);
        return objects;
}

static unsigned count_records(const struct service *service) {
        struct record record;
        unsigned used = 0;
        char path[256];
        FILE *file;

        snprintf(path, sizeof(path), "%s/" SERVICE_STATE, service->runtime);
        file = fopen(path, "re");
        ck_assert_ptr_nonnull(file);
        fseek(file, STATE_HEADER_SIZE, SEEK_SET);
        while (fread(&record, sizeof(record), 1, file) == 1)
                used += record.state != RECORD_FREE;
        fclose(file);
        return used;
}

static struct measure measure(const struct service *service, unsigned cycles) {
        char status[64];

        snprintf(status, sizeof(status), "/proc/%d/status", service->pid);
        sandbox_wait_for(service_count_fds(service) == service->fds);
        service_await_rest(service);
        sleep(1); /* for RCU, and other late frees */
        return (struct measure){
                .rss = read_number(status, "VmRSS:"),
                .fds = service_count_fds(service),
                .threads = service_count_threads(service),
                .mounts = sandbox_count_mounts(0, service->source),
                .records = count_records(service),
                .slab_mounts = count_objects("mnt_cache"),
                .slab_files = count_objects("filp"),
                .slab_sockets = count_objects("sock_inode_cache"),
                .cycles = cycles,
        };
}

static void print(const char *when, const struct measure *measure) {
        printf("%s: %u KiB resident, %u descriptors, %u threads, %u mounts, %u records; in the "
               "kernel %u mounts, %u files, %u sockets\n",
               when, measure->rss, measure->fds, measure->threads, measure->mounts,
               measure->records, measure->slab_mounts, measure->slab_files, measure->slab_sockets);
        fflush(stdout);
}

/* One object leaked per cycle would be twice as much, for any number of cycles. */
static unsigned slab_slack(const struct measure *first, const struct measure *last) {
        unsigned half = (last->cycles - first->cycles) / 2;

        return half < SLAB_SLACK_MAX ? half : SLAB_SLACK_MAX;
}

/* The kernel's objects are the whole machine's, so others' come and go; a leaked one stays. */
static bool kernel_is_flat(const struct measure *first, const struct measure *last) {
        unsigned slack = slab_slack(first, last);

        return last->slab_mounts <= first->slab_mounts + slack &&
               last->slab_files <= first->slab_files + slack &&
               last->slab_sockets <= first->slab_sockets + slack;
}

static void expect_flat(const struct measure *first, const struct measure *last) {
        ck_assert_uint_eq(last->fds, first->fds);
        ck_assert_uint_eq(last->mounts, 0);
        ck_assert_uint_eq(last->records, 0);
        ck_assert(kernel_is_flat(first, last));
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* they keep freed memory */
        ck_assert_uint_le(last->rss, first->rss + RSS_SLACK);
#endif
}

SANDBOX_TEST(nothing_grows) {
        const char *given = getenv("MOUNTATD_SOAK");
        unsigned cycles = given ? strtoul(given, NULL, 10) : CYCLES_DEFAULT;
        struct service service = service_start_with("soak", "--log-level=err");
        struct measure first, last;
        int64_t begin = sandbox_now_ms();
        char name[16];

        for (unsigned i = 0; i < CLIENTS; i++) {
                snprintf(name, sizeof(name), "root%u", i);
                sandbox_make_root(USER_ALICE, name);
        }
        run_all(&service, cycles / 10);
        first = measure(&service, cycles / 10);
        print("first", &first);
        run_all(&service, cycles - cycles / 10);
        last = measure(&service, cycles);
        for (unsigned i = 0; i < REMEASURES && !kernel_is_flat(&first, &last); i++)
                last = measure(&service, cycles);
        print("last", &last);
        printf("%u cycles of %u clients in %.1f s\n", cycles, CLIENTS,
               (sandbox_now_ms() - begin) / 1000.0);
        expect_flat(&first, &last);
        service_stop(&service);
}

int main(void) {
        TCase *tests = tcase_create("soak");

        tcase_add_test(tests, nothing_grows);
        return sandbox_run(tests);
}
