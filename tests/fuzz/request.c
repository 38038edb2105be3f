/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The table of operations: two clients send bytes and descriptors from the input over real sockets;
 * the requests are decoded and served over the fake kernel, which fails, and whose mount table
 * changes, as the input says. Each reply must be well-formed; after both clients have left, nothing
 * may remain: no mount, lease, record or descriptor.
 */

#include "daemon/request.h"
#include "daemon/log.h"
#include "daemon/sweep.h"
#include "tests/fuzz/script.h"
#include "tests/unit/daemon/fake_context.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/syslog.h>
#include <sys/uio.h>

enum {
        CLIENTS = 2,
        DIRECTORIES = 17,
        LEFT = 2, /* directories of one lease */
        STEPS_MAX = 64,
        LEASES_MAX = 16, /* that the input can name */
        FDS_MAX = 20,
};

struct client {
        int socket;
        int served; /* the daemon's end */
        struct holder holder;
};

struct fuzz {
        struct script script;
        struct fake_context fake;
        struct instance self;
        unsigned features;
        int directories[DIRECTORIES];
        struct client clients[CLIENTS];
        uint64_t leases[LEASES_MAX];
        unsigned n_leases;
};

static void open_directories(struct fuzz *fuzz) {
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
                {.path = "/open", .owner = other, .magic = FAKE_FUSE, .flags = FAKE_IS_ROOT},
        };

        for (unsigned i = 0; i < DIRECTORIES; i++)
                fuzz->directories[i] = fake_directory(&directories[i]);
}

static void connect_client(struct client *client) {
        int sockets[2];

        ck_assert_int_eq(
                socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sockets), 0);
        *client = (struct client){
                .socket = sockets[0],
                .served = sockets[1],
                .holder.subject = {.uid = getuid(), .pid = 1},
        };
}

/* As its thread does when a connection ends. */
static void close_client(struct fuzz *fuzz, struct client *client) {
        struct leases *leases = fuzz->fake.context.leases;

        leases_abandon(leases, &client->holder);
        lease_release_held(leases, &client->holder);
        ck_assert(LIST_EMPTY(&client->holder.leases));
        client->served = fd_close(client->served);
        client->socket = fd_close(client->socket);
}

/* ---- sending ---- */

static uint64_t choose_lease(struct fuzz *fuzz) {
        unsigned choice = script_byte(&fuzz->script);

        if (choice == 0)
                return 0;
        if (choice == 1)
                return 0xabcdef0000000000; /* the lease that was left */
        if (fuzz->n_leases > 0 && choice < 128)
                return fuzz->leases[choice % fuzz->n_leases];
        return choice * 0x0101010101010101U;
}

static size_t write_request(struct fuzz *fuzz, uint8_t *bytes, size_t size) {
        struct script *script = &fuzz->script;
        struct wire_request request = {.version = PROTOCOL_VERSION};

        if (script_choose(script, 8) == 7) {
                size_t length = script_choose(script, size + 1 < 256 ? size + 1 : 256);

                script_read(script, bytes, length);
                return length;
        }
        request.operation = script_choose(script, 6);
        request.flags = script_choose(script, 4) & script_byte(script); /* often none */
        request.cookie = script_byte(script);
        request.lease = choose_lease(fuzz);
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

/* A directory, or the root of the mount on it. */
static int open_choice(struct fuzz *fuzz) {
        unsigned choice = script_choose(&fuzz->script, 2 * DIRECTORIES);
        int directory = fuzz->directories[choice % DIRECTORIES];

        if (choice >= DIRECTORIES && fake_mount_on(directory))
                return fake_open_mount(directory);
        return dup(directory);
}

static void say(struct fuzz *fuzz, struct client *client) {
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
        } control = {0};
        uint8_t bytes[WIRE_REQUEST_MAX + 16];
        struct iovec vector = {.iov_base = bytes};
        struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
        int fds[FDS_MAX];
        unsigned count;

        vector.iov_len = write_request(fuzz, bytes, sizeof(bytes));
        count = script_choose(&fuzz->script, FDS_MAX + 1);
        for (unsigned i = 0; i < count; i++)
                fds[i] = open_choice(fuzz);
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

/* ---- receiving ---- */

static void check_reply(const struct wire_request *request, const struct wire_reply *reply) {
        bool mounted = request->operation == PROTOCOL_MOUNT && !(request->flags & PROTOCOL_CHECK);

        ck_assert_uint_lt(reply->status, STATUS_MAX);
        ck_assert_uint_eq(reply->operation, request->operation);
        ck_assert_uint_eq(reply->cookie, request->cookie);
        ck_assert(reply->error == 0 || reply->status == STATUS_HOST_FAILED);
        ck_assert(reply->target == STATUS_NO_TARGET || reply->target < PROTOCOL_TARGETS_MAX);
        if (reply->status != STATUS_OK) {
                ck_assert_uint_eq(reply->lease, 0);
                ck_assert_uint_gt(strlen(reply->text), 0);
        } else
                ck_assert((reply->lease != 0) == (mounted || request->operation == PROTOCOL_ADOPT));
}

static void remember(struct fuzz *fuzz, uint64_t lease) {
        if (lease == 0)
                return;
        fuzz->leases[fuzz->n_leases++ % LEASES_MAX] = lease;
        if (fuzz->n_leases > LEASES_MAX)
                fuzz->n_leases = LEASES_MAX;
}

/* The reply received is the one that was meant. */
static void hear(struct client *client, const struct wire_reply *meant) {
        uint8_t bytes[WIRE_REPLY_MAX];
        struct wire_reply reply;
        ssize_t size = recv(client->socket, bytes, sizeof(bytes), MSG_TRUNC | MSG_DONTWAIT);

        ck_assert_int_gt(size, 0);
        ck_assert_uint_le(size, sizeof(bytes));
        ck_assert_int_eq(wire_decode_reply(bytes, size, &reply), 0);
        ck_assert_uint_eq(reply.status, meant->status);
        ck_assert_uint_eq(reply.lease, meant->lease);
        ck_assert_str_eq(reply.text, meant->text);
}

static void answer(struct fuzz *fuzz, struct client *client, struct request *request, bool lost) {
        struct context *context = &fuzz->fake.context;
        uint8_t bytes[WIRE_REPLY_MAX];

        request_serve(context, &client->holder, request);
        check_reply(&request->wire, &request->reply);
        if (lost)
                request_take_back(context, &client->holder, request);
        else {
                size_t size = wire_encode_reply(&request->reply, bytes);

                ck_assert_int_eq(fdpass_send(client->served, bytes, size, NULL, 0), 0);
                hear(client, &request->reply);
                remember(fuzz, request->reply.lease);
        }
        request_finish(context, request);
}

enum outcome {
        NOTHING_CAME,
        WENT_ON,
        ENDED,
};

/* Like a connection's thread, but without blocking. */
static enum outcome serve_one(struct fuzz *fuzz, struct client *client, bool lost) {
        uint8_t bytes[WIRE_REQUEST_MAX];
        struct request request;
        ssize_t size = fdpass_receive(client->served, bytes, sizeof(bytes), &request.fds);
        bool served =
                size > 0 && wire_decode_request(bytes, size, &request.wire, &request.decoded) == 0;

        if (served)
                answer(fuzz, client, &request, lost);
        fdpass_set_close(&request.fds);
        ck_assert(fake_is_in_root());
        if (size == -EAGAIN)
                return NOTHING_CAME;
        return served && !lost ? WENT_ON : ENDED;
}

static void serve(struct fuzz *fuzz, struct client *client, bool lost) {
        if (serve_one(fuzz, client, lost) == ENDED) {
                close_client(fuzz, client);
                connect_client(client);
        }
}

/* ---- other events ---- */

/*
 * ENOENT and EINVAL aren't failures but facts about a mount. So the fake kernel lies with them only
 * in move_mount, where the daemon acts only on the target.
 */
static void order_failure(struct fuzz *fuzz) {
        static const int errors[] = {ENOMEM, EMFILE, ENOSPC, EINTR, EPERM, EACCES, ENOSYS, EIO};
        static const int truths[] = {ENOENT, EINVAL, ENOTDIR};
        enum fake_call kind = script_choose(&fuzz->script, FAKE_ANY + 1);
        unsigned n = 1 + script_choose(&fuzz->script, 16);
        unsigned choice = script_choose(&fuzz->script, 64);

        fake_calls_reset();
        if (choice < 8)
                fake_fail(FAKE_MOVE_MOUNT, n, 1, truths[choice % 3]);
        else
                fake_fail(kind, n, 1 + choice % 3, errors[choice % 8]);
}

static void disturb_mounts(struct fuzz *fuzz) {
        unsigned choice = script_byte(&fuzz->script);
        int directory = fuzz->directories[choice % DIRECTORIES];

        if (choice & 0x80)
                fake_cover(directory);
        else if (fake_mount_on(directory))
                fake_uncover(directory);
}

/* The client has left while its thread was stuck: a lease granted now has no holder. */
static void abandon(struct fuzz *fuzz, struct client *client) {
        struct leases *leases = fuzz->fake.context.leases;

        leases_abandon(leases, &client->holder);
        lease_release_held(leases, &client->holder);
        serve_one(fuzz, client, false);
        close_client(fuzz, client);
        connect_client(client);
}

static void sweep(struct fuzz *fuzz) {
        struct leases *leases = fuzz->fake.context.leases;
        unsigned choice = script_byte(&fuzz->script);
        enum sweep_patience patience = choice & 0x80 ? SWEEP_PATIENTLY : SWEEP_QUICKLY;

        if (choice & 0x40)
                sweep_keep(leases, patience);
        else
                sweep_leases(leases, &fuzz->self, choice % (SWEEP_FINALLY + 1), patience);
}

static void hang_up(struct fuzz *fuzz, struct client *client) {
        shutdown(client->socket, SHUT_WR);
        while (serve_one(fuzz, client, false) == WENT_ON)
                continue;
        close_client(fuzz, client);
        connect_client(client);
}

/* No new mounts; at most once per input, since it is permanent. */
static void stop(struct fuzz *fuzz) {
        if (script_choose(&fuzz->script, 4) == 0)
                leases_stop(fuzz->fake.context.leases);
        fuzz->fake.context.stopping = script_choose(&fuzz->script, 2);
}

static void step(struct fuzz *fuzz) {
        unsigned choice = script_byte(&fuzz->script);
        struct client *client = &fuzz->clients[choice / 128];

        switch (choice % 16) {
        case 8:
        case 9:
                order_failure(fuzz);
                break;
        case 10:
                disturb_mounts(fuzz);
                break;
        case 11:
                say(fuzz, client);
                serve(fuzz, client, true); /* its reply is lost */
                break;
        case 12:
                abandon(fuzz, client);
                break;
        case 13:
                sweep(fuzz);
                break;
        case 14:
                hang_up(fuzz, client);
                break;
        case 15:
                if (choice == 0xff)
                        stop(fuzz);
                else
                        say(fuzz, client); /* another request before this one is served */
                break;
        default:
                say(fuzz, client);
                serve(fuzz, client, false);
        }
}

/* ---- an input ---- */

static void begin(struct fuzz *fuzz, unsigned flags) {
        struct record left;

        log_set_level(LOG_EMERG);
        fuzz->features = flags & 1 ? 0 : FAKE_ALL_FEATURES;
        ck_assert_int_eq(instance_self(&fuzz->self), 0);
        open_directories(fuzz);
        left = fake_context_left(fuzz->features, 0, getuid(), RECORD_LIVE + (flags & 2) / 2,
                                 fuzz->directories, LEFT);
        left.kept = flags & 8 ? 1 : 0;
        fake_context_start_as(
                &fuzz->fake,
                &(struct fake_setup){.features = fuzz->features, .left = &left, .n_left = 1});
        ck_assert_int_eq(policy_add_build_directory(fuzz->fake.policy, "/open", POLICY_ANY_USER),
                         0);
        if (flags & 4)
                ck_assert_int_eq(policy_add_writable_proc(fuzz->fake.policy, getuid()), 0);
        templates_replenish(fuzz->fake.context.templates); /* as after every request */
        fuzz->fake.descriptors = descriptors_count();
        for (unsigned i = 0; i < CLIENTS; i++)
                connect_client(&fuzz->clients[i]);
}

static void uncover_all(struct fuzz *fuzz) {
        for (unsigned i = 0; i < DIRECTORIES; i++)
                while (fake_strangers() > 0 && fake_mount_on(fuzz->directories[i]) &&
                       strcmp(fake_mount_on(fuzz->directories[i])->options, "stranger") == 0)
                        fake_uncover(fuzz->directories[i]);
}

static void end(struct fuzz *fuzz) {
        struct leases *leases = fuzz->fake.context.leases;

        for (unsigned i = 0; i < CLIENTS; i++)
                close_client(fuzz, &fuzz->clients[i]);
        fake_calls_reset(); /* failed releases are retried, and now succeed */
        templates_replenish(fuzz->fake.context.templates);
        ck_assert_int_eq(lease_release_held(leases, leases_kept(leases)), 0);
        ck_assert_int_eq(lease_release_held(leases, leases_orphans(leases)), 0);
        uncover_all(fuzz);
        sweep_leases(leases, &fuzz->self, SWEEP_FINALLY, SWEEP_PATIENTLY);
        fake_context_end(&fuzz->fake);
        for (unsigned i = 0; i < DIRECTORIES; i++)
                fd_close(fuzz->directories[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct fuzz fuzz = {.script = {data, size}};
        unsigned before;

        fake_context_prepare();
        before = descriptors_count();
        begin(&fuzz, script_byte(&fuzz.script));
        for (unsigned i = 0; i < STEPS_MAX && script_goes_on(&fuzz.script); i++)
                step(&fuzz);
        end(&fuzz);
        fake_forget();
        ck_assert_uint_eq(descriptors_count(), before);
        return 0;
}
