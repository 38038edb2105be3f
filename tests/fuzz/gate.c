/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The whole gate: two clients send what the input says, bytes and descriptors, over real sockets;
 * peer.h serves them over the fake kernel, which fails, and whose mount table changes, when the
 * input says so. After each request the replies must be well-formed; in the end, once everybody has
 * left, nothing may be left: no mount, lease, record or descriptor.
 */

#include "daemon/lease.h"
#include "daemon/log.h"
#include "daemon/peer.h"
#include "daemon/sweep.h"
#include "tests/fuzz/script.h"
#include "tests/unit/daemon/fake_gate.h"

#include <sys/socket.h>
#include <sys/syslog.h>
#include <sys/uio.h>

enum {
        CLIENTS = 2,
        DIRECTORIES = 16,
        LEFT = 2, /* directories, one lease's */
        STEPS_MAX = 64,
        LEASES_MAX = 16, /* that the input can name */
        FDS_MAX = 20,
};

struct client {
        int socket;
        struct peer *peer;
        bool lost; /* one of its requests is held to have lost its worker */
};

struct stage {
        struct script script;
        struct fake_gate fake;
        struct instance self;
        unsigned features;
        int directories[DIRECTORIES];
        struct client clients[CLIENTS];
        uint64_t leases[LEASES_MAX];
        unsigned n_leases;
};

static void open_directories(struct stage *stage) {
        const uid_t own = getuid(), other = own + 1;
        const struct fake_directory directories[DIRECTORIES] = {
                {.path = "/left/proc", .owner = own},
                {.path = "/left/sys", .owner = own},
                {.path = "/a/proc", .owner = own},
                {.path = "/a/sys", .owner = own},
                {.path = "/b/proc", .owner = own},
                {.path = "/b/sys", .owner = own},
                {.path = "/c/proc", .owner = other},
                {.path = "/open/proc", .owner = other, .magic = FAKE_FUSE},
                {.path = "/open/x/proc", .magic = FAKE_FUSE, .flags = FAKE_IS_HIDDEN},
                {.path = "/d/proc", .owner = own, .flags = FAKE_IS_FILE},
                {.path = "/e/proc", .owner = own, .flags = FAKE_IS_DELETED},
                {.path = "/f/proc", .owner = own, .flags = FAKE_IS_FOREIGN},
                {.path = "/g/proc", .owner = own, .flags = FAKE_IS_ROOT},
                {.path = "/h/proc", .owner = own, .flags = FAKE_VANISHES},
                {.path = "/i/proc", .owner = own, .magic = FAKE_FUSE},
                {.path = "/j/home", .owner = own},
        };

        for (unsigned i = 0; i < DIRECTORIES; i++)
                stage->directories[i] = fake_directory(&directories[i]);
}

static void connect_client(struct stage *stage, struct client *client) {
        int sockets[2];

        ck_assert_int_eq(
                socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sockets), 0);
        client->socket = sockets[0];
        client->lost = false;
        ck_assert_int_eq(peer_new(sockets[1], &stage->fake.gate, &client->peer), 0);
}

/* As the crew does when a connection ends. */
static void close_client(struct stage *stage, struct client *client) {
        if (client->lost)
                ledger_regain_worker(stage->fake.gate.ledger, peer_owner(client->peer));
        peer_close(client->peer);
        client->peer = peer_free(client->peer);
        client->socket = fd_close(client->socket);
}

/* ---- what a client says ---- */

static uint64_t choose_lease(struct stage *stage) {
        unsigned choice = script_byte(&stage->script);

        if (choice == 0)
                return 0;
        if (choice == 1)
                return 0xabcdef0000000000; /* the one that was left */
        if (stage->n_leases > 0 && choice < 128)
                return stage->leases[choice % stage->n_leases];
        return choice * 0x0101010101010101U;
}

static size_t write_request(struct stage *stage, uint8_t *bytes, size_t size) {
        struct script *script = &stage->script;
        struct wire_request request = {.version = PROTOCOL_VERSION};

        if (script_choose(script, 8) == 7) {
                size_t length = script_choose(script, size + 1 < 256 ? size + 1 : 256);

                script_read(script, bytes, length);
                return length;
        }
        request.operation = script_choose(script, 6);
        request.cookie = script_byte(script);
        request.lease = choose_lease(stage);
        request.n_targets = script_choose(script, PROTOCOL_TARGETS_MAX + 1);
        for (unsigned i = 0; i < request.n_targets; i++) {
                uint8_t target = script_byte(script);

                request.targets[i] = (struct wire_target){
                        .file_system = 1 + target % 2 + (target >= 0xf8),
                        .options = target >> 1 & 3,
                };
        }
        return wire_encode_request(&request, bytes);
}

/* A directory, or the root of what is mounted on it. */
static int open_choice(struct stage *stage) {
        unsigned choice = script_choose(&stage->script, 2 * DIRECTORIES);
        int directory = stage->directories[choice % DIRECTORIES];

        if (choice >= DIRECTORIES && fake_mount_on(directory))
                return fake_open_mount(directory);
        return dup(directory);
}

static void say(struct stage *stage, struct client *client) {
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
        } control = {0};
        uint8_t bytes[WIRE_REQUEST_MAX + 16];
        struct iovec vector = {.iov_base = bytes};
        struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
        int fds[FDS_MAX];
        unsigned count;

        vector.iov_len = write_request(stage, bytes, sizeof(bytes));
        count = script_choose(&stage->script, FDS_MAX + 1);
        for (unsigned i = 0; i < count; i++)
                fds[i] = open_choice(stage);
        if (count > 0) {
                message.msg_control = control.bytes;
                message.msg_controllen = CMSG_SPACE(count * sizeof(int));
                *CMSG_FIRSTHDR(&message) = (struct cmsghdr){
                        .cmsg_level = SOL_SOCKET,
                        .cmsg_type = SCM_RIGHTS,
                        .cmsg_len = CMSG_LEN(count * sizeof(int)),
                };
                memcpy(CMSG_DATA(CMSG_FIRSTHDR(&message)), fds, count * sizeof(int));
        }
        sendmsg(client->socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
        for (unsigned i = 0; i < count; i++)
                close(fds[i]);
}

/* ---- what it hears ---- */

static void hear(struct stage *stage, const struct wire_reply *reply) {
        ck_assert_uint_lt(reply->status, STATUS_MAX);
        ck_assert(reply->error == 0 || reply->status == STATUS_HOST_FAILED);
        ck_assert(reply->target == STATUS_NO_TARGET || reply->target < PROTOCOL_TARGETS_MAX);
        if (reply->status != STATUS_OK) {
                ck_assert_uint_eq(reply->lease, 0);
                ck_assert_uint_gt(strlen(reply->text), 0);
        } else if (reply->operation == PROTOCOL_MOUNT) {
                ck_assert_uint_ne(reply->lease, 0);
                stage->leases[stage->n_leases++ % LEASES_MAX] = reply->lease;
                if (stage->n_leases > LEASES_MAX)
                        stage->n_leases = LEASES_MAX;
        }
}

static void hear_all(struct stage *stage, struct client *client) {
        uint8_t bytes[WIRE_REPLY_MAX];
        struct wire_reply reply;
        ssize_t size;

        while ((size = recv(client->socket, bytes, sizeof(bytes), MSG_TRUNC | MSG_DONTWAIT)) > 0) {
                ck_assert_uint_le(size, sizeof(bytes));
                ck_assert_int_eq(wire_decode_reply(bytes, size, &reply), 0);
                hear(stage, &reply);
        }
}

static void serve(struct stage *stage, struct client *client) {
        enum peer_progress progress = peer_serve(client->peer);

        hear_all(stage, client);
        if (progress == PEER_ENDED) {
                close_client(stage, client);
                connect_client(stage, client);
        }
        ck_assert(fake_is_in_root());
}

/* ---- what happens meanwhile ---- */

/*
 * ENOENT and EINVAL are no failures but the truth about a mount, so the fake kernel tells that lie
 * of move_mount alone, where the daemon acts on nothing but the target.
 */
static void order_failure(struct stage *stage) {
        static const int errors[] = {ENOMEM, EMFILE, ENOSPC, EINTR, EPERM, EACCES, ENOSYS, EIO};
        static const int truths[] = {ENOENT, EINVAL, ENOTDIR};
        enum fake_call kind = script_choose(&stage->script, FAKE_ANY + 1);
        unsigned n = 1 + script_choose(&stage->script, 16);
        unsigned choice = script_choose(&stage->script, 64);

        fake_calls_reset();
        if (choice < 8)
                fake_fail(FAKE_MOVE_MOUNT, n, 1, truths[choice % 3]);
        else
                fake_fail(kind, n, 1 + choice % 3, errors[choice % 8]);
}

static void disturb_mounts(struct stage *stage) {
        unsigned choice = script_byte(&stage->script);
        int directory = stage->directories[choice % DIRECTORIES];

        if (choice & 0x80)
                fake_cover(directory);
        else if (fake_mount_on(directory))
                fake_uncover(directory);
}

/* A worker that serves the client is lost, and returns. */
static void lose_or_regain(struct stage *stage, struct client *client) {
        struct ledger *ledger = stage->fake.gate.ledger;

        if (client->lost)
                ledger_regain_worker(ledger, peer_owner(client->peer));
        else
                ledger_lose_worker(ledger, peer_owner(client->peer));
        client->lost = !client->lost;
}

static void abandon(struct stage *stage, struct client *client) {
        peer_abandon(client->peer);
        hear_all(stage, client);
        peer_serve(client->peer); /* the request that was stuck comes to its end */
        close_client(stage, client);
        connect_client(stage, client);
}

static void sweep(struct stage *stage) {
        unsigned choice = script_byte(&stage->script);

        sweep_ledger(stage->fake.gate.ledger, stage->fake.gate.templates, &stage->self,
                     choice % (SWEEP_FINALLY + 1), choice & 0x80 ? SWEEP_PATIENTLY : SWEEP_QUICKLY);
}

static void hang_up(struct stage *stage, struct client *client) {
        shutdown(client->socket, SHUT_WR);
        while (peer_serve(client->peer) == PEER_GOES_ON)
                hear_all(stage, client);
        close_client(stage, client);
        connect_client(stage, client);
}

static void step(struct stage *stage) {
        unsigned choice = script_byte(&stage->script);
        struct client *client = &stage->clients[choice / 128];

        switch (choice % 16) {
        case 8:
        case 9:
                order_failure(stage);
                break;
        case 10:
                disturb_mounts(stage);
                break;
        case 11:
                lose_or_regain(stage, client);
                break;
        case 12:
                abandon(stage, client);
                break;
        case 13:
                sweep(stage);
                break;
        case 14:
                hang_up(stage, client);
                break;
        case 15:
                say(stage, client); /* and one more before it is served */
                break;
        default:
                say(stage, client);
                serve(stage, client);
        }
}

/* ---- the whole ---- */

static void begin(struct stage *stage, unsigned flags) {
        struct record left;

        log_set_level(LOG_EMERG);
        stage->features = flags & 1 ? 0 : FAKE_ALL_FEATURES;
        ck_assert_int_eq(instance_self(&stage->self), 0);
        open_directories(stage);
        left = fake_gate_left(stage->features, 0, getuid(), RECORD_LIVE + (flags & 2) / 2,
                              stage->directories, LEFT);
        fake_gate_start_after(&stage->fake, stage->features, &fake_gate_limits, &left, 1);
        ck_assert_int_eq(policy_add_build_directory(stage->fake.policy, "/open", POLICY_ANY_USER),
                         0);
        if (flags & 4)
                ck_assert_int_eq(policy_add_writable_proc(stage->fake.policy, getuid()), 0);
        mount_restock(stage->fake.gate.templates); /* as it is after every request */
        stage->fake.descriptors = descriptors_count();
        for (unsigned i = 0; i < CLIENTS; i++)
                connect_client(stage, &stage->clients[i]);
}

static void end(struct stage *stage) {
        struct request_gate *gate = &stage->fake.gate;

        for (unsigned i = 0; i < CLIENTS; i++)
                close_client(stage, &stage->clients[i]);
        fake_calls_reset(); /* whatever was refused is tried again, and now succeeds */
        mount_restock(gate->templates);
        lease_release_all(gate->templates, gate->ledger, ledger_orphans(gate->ledger));
        for (unsigned i = 0; i < DIRECTORIES; i++)
                while (fake_strangers() > 0 && fake_mount_on(stage->directories[i]) &&
                       strcmp(fake_mount_on(stage->directories[i])->options, "stranger") == 0)
                        fake_uncover(stage->directories[i]);
        sweep_ledger(gate->ledger, gate->templates, &stage->self, SWEEP_FINALLY, SWEEP_PATIENTLY);
        fake_gate_end(&stage->fake);
        for (unsigned i = 0; i < DIRECTORIES; i++)
                fd_close(stage->directories[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct stage stage = {.script = {data, size}};
        unsigned before = descriptors_count();

        begin(&stage, script_byte(&stage.script));
        for (unsigned i = 0; i < STEPS_MAX && script_goes_on(&stage.script); i++)
                step(&stage);
        end(&stage);
        fake_forget();
        ck_assert_uint_eq(descriptors_count(), before);
        return 0;
}
