/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Leases outlive the daemon: a real one is killed or restarted, and libmountat, as an unprivileged
 * user, adopts its leases from the next one. Others try to adopt them too, in bytes.
 */

#include "common/fd.h"
#include "tests/test.h"

#include <errno.h>
#include <fcntl.h>
#include <mountat.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#ifndef STATX_MNT_ID_UNIQUE /* Linux 6.8; an older one gives the id that it reuses */
#define STATX_MNT_ID_UNIQUE 0x4000U
#endif

#define N_ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))

enum {
        ADOPT_TIMEOUT = 4, /* seconds, as in the options below */
        BOTH = MOUNTAT_PROC | MOUNTAT_SYSFS,
};

static const struct service_plan plan = {
        .name = "adopt",
        .start = SERVICE_LISTENS,
        .options = {"--adopt-timeout=4"},
};

/* As ExecStartPre= and ExecStopPost= of the unit. */
static void sweep(void) {
        static const struct service_plan sweeper = {
                .name = "adopt",
                .start = SERVICE_BARE,
                .options = {"--sweep"},
        };
        struct service service = service_spawn(&sweeper);

        ck_assert_int_eq(service_wait(&service), 0);
}

static void end(struct service *service, int signal) {
        int status;

        ck_assert_int_eq(kill(service->pid, signal), 0);
        status = service_wait(service);
        ck_assert_msg(signal == SIGKILL ? WIFSIGNALED(status) : status == 0,
                      "the daemon ended with 0x%x", status);
}

/* As systemd does, after a crash and on a restart. */
static void replace(struct service *service, int signal) {
        end(service, signal);
        sweep();
        *service = service_spawn(&plan);
}

/* 0: not mounted on. */
static uint64_t mount_id(const char *path) {
        struct statx stat;

        ck_assert_int_eq(statx(AT_FDCWD, path, 0, STATX_MNT_ID | STATX_MNT_ID_UNIQUE, &stat), 0);
        return stat.stx_attributes & STATX_ATTR_MOUNT_ROOT ? stat.stx_mnt_id : 0;
}

/* ---- the library, as Alice ---- */

struct holder {
        struct mountat *mountat;
        const char *root;
        const char *paths[2]; /* proc and sys */
        uint64_t ids[2];
        uint64_t lease;
};

static struct holder holder_open(const struct service *service, mode_t mode) {
        struct holder holder = {
                .mountat = mountat_new(),
                .root = sandbox_make_root(USER_ALICE, "root"),
                .paths = {sandbox_path("root/proc"), sandbox_path("root/sys")},
        };

        ck_assert_int_eq(chmod(holder.root, mode), 0);
        sandbox_borrow(USER_ALICE);
        ck_assert_int_eq(mountat_connect(holder.mountat, service->socket), 0);
        sandbox_return();
        return holder;
}

static void holder_note_ids(struct holder *holder) {
        for (int i = 0; i < 2; i++) {
                holder->ids[i] = mount_id(holder->paths[i]);
                ck_assert_uint_ne(holder->ids[i], 0);
        }
}

static void holder_mount_root(struct holder *holder) {
        FD_AUTO int root = sandbox_open(USER_ALICE, holder->root);

        sandbox_borrow(USER_ALICE);
        ck_assert_int_eq(mountat_mount_root(holder->mountat, root, BOTH, &holder->lease), 0);
        sandbox_return();
        holder_note_ids(holder);
}

/* sys first: not the library's own order. */
static void holder_mount_targets(struct holder *holder) {
        struct mountat_target targets[] = {
                {.fd = sandbox_open(USER_ALICE, holder->paths[1]),
                 .file_system = MOUNTAT_FILE_SYSTEM_SYSFS},
                {.fd = sandbox_open(USER_ALICE, holder->paths[0]),
                 .file_system = MOUNTAT_FILE_SYSTEM_PROC},
        };

        sandbox_borrow(USER_ALICE);
        ck_assert_int_eq(mountat_mount(holder->mountat, targets, 2, &holder->lease), 0);
        sandbox_return();
        for (int i = 0; i < 2; i++)
                close(targets[i].fd);
        holder_note_ids(holder);
}

static void holder_expect_same(const struct holder *holder) {
        for (int i = 0; i < 2; i++)
                ck_assert_uint_eq(mount_id(holder->paths[i]), holder->ids[i]);
}

static void holder_expect_bare(const struct holder *holder) {
        for (int i = 0; i < 2; i++)
                ck_assert_uint_eq(mount_id(holder->paths[i]), 0);
}

static bool holder_is_bare(const struct holder *holder) {
        return mount_id(holder->paths[0]) == 0 && mount_id(holder->paths[1]) == 0;
}

static void holder_recover(const struct holder *holder, int expected) {
        int result;

        sandbox_borrow(USER_ALICE);
        result = mountat_recover(holder->mountat);
        sandbox_return();
        ck_assert_msg(result == expected, "%d: %s", result, mountat_error_text(holder->mountat));
}

static void holder_unmount(const struct holder *holder, int expected) {
        int result;

        sandbox_borrow(USER_ALICE);
        result = mountat_unmount(holder->mountat, holder->lease);
        sandbox_return();
        ck_assert_msg(result == expected, "%d: %s", result, mountat_error_text(holder->mountat));
}

static void sleep_past_adoption(void) {
        usleep(ADOPT_TIMEOUT * 1000000 + 500000);
}

static void (*const mounters[])(struct holder *holder) = {holder_mount_root, holder_mount_targets};
static const int deaths[] = {SIGKILL, SIGUSR1};

SANDBOX_TEST(a_restart_is_not_to_be_noticed) {
        for (size_t i = 0; i < N_ELEMENTS(deaths) * N_ELEMENTS(mounters); i++) {
                struct service service = service_spawn(&plan);
                struct holder holder = holder_open(&service, 0700);

                mounters[i % N_ELEMENTS(mounters)](&holder);
                replace(&service, deaths[i / N_ELEMENTS(mounters)]);
                holder_expect_same(&holder);
                holder_recover(&holder, 0);
                holder_recover(&holder, 0);
                sleep_past_adoption();
                holder_expect_same(&holder);

                replace(&service, SIGKILL); /* once more, noticed by the call itself */
                holder_unmount(&holder, 0);
                holder_expect_bare(&holder);
                mountat_free(holder.mountat);
                service_stop(&service);
                ck_assert_int_eq(rmdir(holder.paths[0]), 0);
                ck_assert_int_eq(rmdir(holder.paths[1]), 0);
                ck_assert_int_eq(rmdir(holder.root), 0);
        }
}

SANDBOX_TEST(an_adopted_lease_ends_with_its_connection) {
        struct service service = service_spawn(&plan);
        struct holder holder = holder_open(&service, 0700);

        holder_mount_root(&holder);
        replace(&service, SIGKILL);
        holder_recover(&holder, 0);
        mountat_free(holder.mountat);
        sandbox_wait_for(holder_is_bare(&holder));
        service_stop(&service);
}

SANDBOX_TEST(what_nobody_adopts_is_released_after_the_timeout) {
        struct service service = service_spawn(&plan);
        struct holder holder = holder_open(&service, 0755);
        int64_t start;

        holder_mount_root(&holder);
        start = sandbox_now_ms();
        replace(&service, SIGKILL);
        holder_expect_same(&holder);
        sandbox_wait_for(holder_is_bare(&holder));
        ck_assert_int_ge(sandbox_now_ms() - start, ADOPT_TIMEOUT * 1000 - 100);
        holder_recover(&holder, -ENOENT);
        holder_unmount(&holder, -ENOENT);
        ck_assert_ptr_nonnull(strstr(mountat_error_text(holder.mountat), "was lost"));
        mountat_free(holder.mountat);
        service_stop(&service);
}

SANDBOX_TEST(a_lease_behind_a_closed_door_is_lost) {
        struct service service = service_spawn(&plan);
        struct holder holder = holder_open(&service, 0755);

        holder_mount_targets(&holder);
        replace(&service, SIGKILL);
        ck_assert_int_eq(chown(holder.root, 0, 0), 0);
        ck_assert_int_eq(chmod(holder.root, 0700), 0);
        holder_recover(&holder, -ENOENT);
        ck_assert_ptr_nonnull(strstr(mountat_error_text(holder.mountat), strerror(EACCES)));
        ck_assert_int_eq(chmod(holder.root, 0755), 0);
        sandbox_wait_for(holder_is_bare(&holder));
        mountat_free(holder.mountat);
        service_stop(&service);
}

struct sleeper {
        const struct service *service;
        const char *root;
        int told; /* a pipe: mounted */
        int end;  /* likewise: unmount */
};

/* Makes no call between mounting and unmounting. */
static void sleep_with_a_keeper(void *argument) {
        const struct sleeper *sleeper = argument;
        struct mountat *mountat = mountat_new();
        FD_AUTO int root = open(sleeper->root, O_PATH | O_DIRECTORY | O_CLOEXEC);
        uint64_t lease;
        char byte = 0;

        ck_assert_int_eq(mountat_connect(mountat, sleeper->service->socket), 0);
        ck_assert_int_eq(mountat_keep(mountat), 0);
        ck_assert_int_eq(mountat_mount_root(mountat, root, BOTH, &lease), 0);
        ck_assert_int_eq(write(sleeper->told, &byte, 1), 1);
        ck_assert_int_eq(read(sleeper->end, &byte, 1), 1);
        ck_assert_int_eq(mountat_unmount(mountat, lease), 0);
        mountat_free(mountat);
}

SANDBOX_TEST(a_keeper_keeps_the_leases_of_who_sleeps) {
        struct service service = service_spawn(&plan);
        const char *root = sandbox_make_root(USER_ALICE, "root"), *proc = sandbox_path("root/proc");
        struct sleeper sleeper = {.service = &service, .root = root};
        int told[2], ending[2];
        uint64_t id;
        char byte = 0;
        pid_t pid;

        ck_assert_int_eq(pipe2(told, O_CLOEXEC), 0);
        ck_assert_int_eq(pipe2(ending, O_CLOEXEC), 0);
        sleeper.told = told[1];
        sleeper.end = ending[0];
        pid = sandbox_spawn(USER_ALICE, sleep_with_a_keeper, &sleeper);
        ck_assert_int_eq(read(told[0], &byte, 1), 1);
        id = mount_id(proc);
        for (size_t i = 0; i < N_ELEMENTS(deaths); i++) {
                replace(&service, deaths[i]);
                sleep_past_adoption();
                ck_assert_uint_eq(mount_id(proc), id);
        }
        ck_assert_int_eq(write(ending[1], &byte, 1), 1);
        sandbox_join(pid);
        ck_assert_uint_eq(mount_id(proc), 0);
        service_stop(&service);
}

SANDBOX_TEST(a_stop_releases_also_what_nobody_has_adopted_yet) {
        struct service service = service_spawn(&plan);
        struct holder holder = holder_open(&service, 0755);

        holder_mount_root(&holder);
        replace(&service, SIGKILL);
        holder_expect_same(&holder);
        service_stop(&service); /* nothing is mounted after that */
        mountat_free(holder.mountat);
}

SANDBOX_TEST(the_sweep_leaves_what_a_living_client_can_adopt) {
        struct service service = service_spawn(&plan);
        struct holder holder = holder_open(&service, 0700);

        holder_mount_root(&holder);
        end(&service, SIGKILL);
        for (int i = 0; i < 2; i++) {
                sweep();
                holder_expect_same(&holder);
        }
        service = service_spawn(&plan);
        holder_unmount(&holder, 0);
        mountat_free(holder.mountat);
        service_stop(&service);
}

static void mount_and_die(void *argument) {
        const struct sleeper *sleeper = argument;
        struct mountat *mountat = mountat_new();
        FD_AUTO int root = open(sleeper->root, O_PATH | O_DIRECTORY | O_CLOEXEC);
        uint64_t lease;
        char byte = 0;

        ck_assert_int_eq(mountat_connect(mountat, sleeper->service->socket), 0);
        ck_assert_int_eq(mountat_mount_root(mountat, root, BOTH, &lease), 0);
        ck_assert_int_eq(write(sleeper->told, &byte, 1), 1);
        pause();
}

SANDBOX_TEST(the_sweep_reaches_what_a_dead_client_had_below_a_closed_root) {
        struct service service = service_spawn(&plan);
        const char *root = sandbox_make_root(USER_ALICE, "root");
        struct sleeper sleeper = {.service = &service, .root = root};
        int told[2];
        char byte;
        pid_t pid;

        ck_assert_int_eq(pipe2(told, O_CLOEXEC), 0);
        sleeper.told = told[1];
        pid = sandbox_spawn(USER_ALICE, mount_and_die, &sleeper);
        ck_assert_int_eq(read(told[0], &byte, 1), 1);
        end(&service, SIGKILL);
        sandbox_kill(pid);
        ck_assert_uint_eq(sandbox_count_mounts(0, service.source), 2);
        sweep();
        ck_assert_uint_eq(sandbox_count_mounts(0, service.source), 0);
        service = service_spawn(&plan);
        service_stop(&service);
}

/* ---- mountatctl ---- */

struct command {
        const struct service *service;
        const char *root;
        const char *timeout; /* seconds */
        int input;           /* its end of pipes */
        int output;          /* both streams */
};

static void hold(void *argument) {
        const struct command *command = argument;
        const char *binary = getenv("MOUNTATCTL_BINARY") ?: MOUNTATCTL_BINARY;

        dup2(command->input, STDIN_FILENO);
        dup2(command->output, STDOUT_FILENO);
        dup2(command->output, STDERR_FILENO);
        execl(binary, "mountatctl", "hold", "--timeout", command->timeout, "--socket",
              command->service->socket, command->root, NULL);
        _exit(127);
}

/* Reads its output until a line contains `text`. */
static void expect_line(FILE *output, const char *text) {
        char line[512];

        ck_assert_ptr_nonnull(fgets(line, sizeof(line), output));
        ck_assert_msg(strstr(line, text) != NULL, "no '%s' in: %s", text, line);
}

static pid_t start_hold(struct command *command, int *input, FILE **output) {
        int in[2], out[2];
        pid_t pid;

        ck_assert_int_eq(pipe2(in, O_CLOEXEC), 0);
        ck_assert_int_eq(pipe2(out, O_CLOEXEC), 0);
        command->input = in[0];
        command->output = out[1];
        pid = sandbox_spawn(USER_ALICE, hold, command);
        close(in[0]);
        close(out[1]);
        *input = in[1];
        *output = fdopen(out[0], "re");
        expect_line(*output, "mounted proc and sys");
        return pid;
}

SANDBOX_TEST(mountatctl_holds_through_restarts_and_tells_the_first) {
        struct service service = service_spawn(&plan);
        struct command command = {
                .service = &service,
                .root = sandbox_make_root(USER_ALICE, "root"),
                .timeout = "30",
        };
        const char *proc = sandbox_path("root/proc");
        char line[512];
        FILE *output;
        uint64_t id;
        pid_t pid;
        int input;

        pid = start_hold(&command, &input, &output);
        id = mount_id(proc);
        for (size_t i = 0; i < N_ELEMENTS(deaths); i++) {
                replace(&service, deaths[i]);
                if (i == 0)
                        expect_line(output, "restarted");
                sleep_past_adoption();
                ck_assert_uint_eq(mount_id(proc), id);
        }
        close(input);
        sandbox_join(pid);
        ck_assert_ptr_null(fgets(line, sizeof(line), output));
        fclose(output);
        ck_assert_uint_eq(mount_id(proc), 0);
        service_stop(&service);
}

SANDBOX_TEST(mountatctl_gives_up_a_daemon_that_stays_away) {
        struct service service = service_start(&plan);
        struct command command = {
                .service = &service,
                .root = sandbox_make_root(USER_ALICE, "root"),
                .timeout = "3",
        };
        FILE *output;
        pid_t pid;
        int input, status;

        pid = start_hold(&command, &input, &output);
        end(&service, SIGKILL);
        expect_line(output, "is mountatd stopped?");
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 1);
        close(input);
        fclose(output);
        sweep();
        ck_assert_uint_eq(sandbox_count_mounts(0, service.source), 0);
}

/* ---- others' attempts ---- */

static uint32_t try_adopt(int client, uint64_t lease, const int *fds, uint32_t n) {
        struct wire_request request = {
                .operation = PROTOCOL_ADOPT,
                .lease = lease,
                .n_targets = n,
        };

        for (uint32_t i = 0; i < n; i++)
                request.targets[i].file_system = i == 0 ? PROTOCOL_PROC : PROTOCOL_SYSFS;
        return client_call(client, &request, fds, n).status;
}

SANDBOX_TEST(a_lease_is_adopted_by_who_had_it_with_its_mounts_and_once) {
        struct service service = service_spawn(&plan);
        const char *root = sandbox_make_root(USER_ALICE, "root");
        int below_proc = sandbox_open(USER_ALICE, sandbox_path("root/proc"));
        int below_sys = sandbox_open(USER_ALICE, sandbox_path("root/sys"));
        int alice = client_connect(&service, USER_ALICE), again, bob;
        int proc, sys, inside, host, labelled, labelled_proc;
        uint64_t lease;

        ck_assert_int_eq(chmod(root, 0755), 0);
        lease = client_hold_root(alice, USER_ALICE, root);
        sandbox_make_directory(USER_ALICE, 0755, "forged");
        sandbox_make_directory(USER_ALICE, 0755, "forged/proc");
        sandbox_make_directory(USER_ALICE, 0755, "forged/sys");
        ck_assert_int_eq(mount(service.source, sandbox_path("forged/proc"), "tmpfs", 0, NULL), 0);
        ck_assert_int_eq(mount(service.source, sandbox_path("forged/sys"), "proc", 0, NULL), 0);
        proc = sandbox_open(USER_ALICE, sandbox_path("root/proc"));
        sys = sandbox_open(USER_ALICE, sandbox_path("root/sys"));
        inside = sandbox_open(USER_ALICE, sandbox_path("root/sys/kernel"));
        host = sandbox_open(USER_ALICE, "/proc");
        labelled = sandbox_open(USER_ALICE, sandbox_path("forged/proc"));
        labelled_proc = sandbox_open(USER_ALICE, sandbox_path("forged/sys"));

        /* While its own connection holds it, nobody can adopt it. */
        again = client_connect(&service, USER_ALICE);
        ck_assert_uint_eq(try_adopt(again, lease, (int[]){proc, sys}, 2), STATUS_NO_SUCH_LEASE);
        ck_assert_uint_eq(try_adopt(alice, lease, (int[]){proc, sys}, 2), STATUS_NO_SUCH_LEASE);
        close(again);

        end(&service, SIGKILL);
        close(alice);
        service = service_spawn(&plan);
        alice = client_connect(&service, USER_ALICE);
        bob = client_connect(&service, USER_BOB);

        const struct attempt {
                const char *what;
                int client;
                uint64_t lease;
                uint32_t n;
                int fds[3];
                uint32_t status;
        } attempts[] = {
                {"another user's", bob, lease, 2, {proc, sys}, STATUS_NO_SUCH_LEASE},
                {"made up", alice, lease ^ UINT64_C(1) << 40, 2, {proc, sys}, STATUS_NO_SUCH_LEASE},
                {"another record", alice, lease ^ 1, 2, {proc, sys}, STATUS_NO_SUCH_LEASE},
                {"zero", alice, 0, 2, {proc, sys}, STATUS_NO_SUCH_LEASE},
                {"all ones", alice, UINT64_MAX, 2, {proc, sys}, STATUS_NO_SUCH_LEASE},
                {"another order", alice, lease, 2, {sys, proc}, STATUS_NO_SUCH_LEASE},
                {"one twice", alice, lease, 2, {proc, proc}, STATUS_NO_SUCH_LEASE},
                {"one too few", alice, lease, 1, {proc}, STATUS_NO_SUCH_LEASE},
                {"one too many", alice, lease, 3, {proc, sys, proc}, STATUS_NO_SUCH_LEASE},
                {"the host's /proc", alice, lease, 2, {host, sys}, STATUS_NO_SUCH_LEASE},
                {"no mount's root", alice, lease, 2, {proc, inside}, STATUS_NO_SUCH_LEASE},
                {"below the mounts",
                 alice,
                 lease,
                 2,
                 {below_proc, below_sys},
                 STATUS_NO_SUCH_LEASE},
                {"a label", alice, lease, 2, {labelled, sys}, STATUS_NO_SUCH_LEASE},
                {"a label on procfs", alice, lease, 2, {labelled_proc, sys}, STATUS_NO_SUCH_LEASE},
                {"the right one", alice, lease, 2, {proc, sys}, STATUS_OK},
                {"twice", alice, lease, 2, {proc, sys}, STATUS_NO_SUCH_LEASE},
        };

        for (size_t i = 0; i < N_ELEMENTS(attempts); i++) {
                const struct attempt *attempt = &attempts[i];
                uint32_t status =
                        try_adopt(attempt->client, attempt->lease, attempt->fds, attempt->n);

                ck_assert_msg(status == attempt->status, "%s: status %u", attempt->what, status);
        }

        /* The mounts that were sent and refused are still there. */
        ck_assert_uint_ne(mount_id(sandbox_path("forged/proc")), 0);
        client_expect(client_unmount(bob, lease), STATUS_NO_SUCH_LEASE, 0, STATUS_NO_TARGET);
        ck_assert_uint_eq(client_unmount(alice, lease).status, STATUS_OK);
        ck_assert_uint_eq(try_adopt(alice, lease, (int[]){proc, sys}, 2), STATUS_NO_SUCH_LEASE);

        ck_assert_int_eq(umount2(sandbox_path("forged/proc"), MNT_DETACH), 0);
        ck_assert_int_eq(umount2(sandbox_path("forged/sys"), MNT_DETACH), 0);
        service_stop(&service);
}

static void send_adopt(int client, uint64_t lease, const int *fds) {
        struct wire_request request = {
                .version = PROTOCOL_VERSION,
                .operation = PROTOCOL_ADOPT,
                .cookie = 1,
                .lease = lease,
                .n_targets = 2,
                .targets = {{.file_system = PROTOCOL_PROC}, {.file_system = PROTOCOL_SYSFS}},
        };
        uint8_t bytes[WIRE_REQUEST_MAX];

        client_send(client, bytes, wire_encode_request(&request, bytes), fds, 2);
}

/*
 * While no daemon runs, a client times out and reconnects: the socket that the service manager
 * keeps queues connections that the client has closed.
 */
SANDBOX_TEST(a_client_that_tried_in_vain_before_still_adopts) {
        const struct service_plan inherits = {
                .name = "adopt",
                .start = SERVICE_INHERITS,
                .listener = service_listen("adopt"),
        };
        const char *root = sandbox_make_root(USER_ALICE, "root");
        struct service service = service_spawn(&inherits);
        int alice = client_connect(&service, USER_ALICE), fds[2];
        uint64_t lease, id;

        ck_assert_int_eq(chmod(root, 0755), 0);
        lease = client_hold_root(alice, USER_ALICE, root);
        fds[0] = sandbox_open(USER_ALICE, sandbox_path("root/proc"));
        fds[1] = sandbox_open(USER_ALICE, sandbox_path("root/sys"));
        id = mount_id(sandbox_path("root/proc"));
        end(&service, SIGUSR1);
        close(alice);

        for (int i = 0; i < 3; i++) {
                alice = client_connect(&service, USER_ALICE);
                send_adopt(alice, lease, fds);
                if (i < 2)
                        close(alice);
        }
        service = service_spawn(&inherits);
        client_expect(client_receive(alice), STATUS_OK, 0, STATUS_NO_TARGET);
        ck_assert_uint_eq(mount_id(sandbox_path("root/proc")), id);
        ck_assert_uint_eq(client_unmount(alice, lease).status, STATUS_OK);
        close(alice);
        close(fds[0]);
        close(fds[1]);
        service_stop(&service);
}

/* A user's own mounts, with the daemon's label and named proc and sys, which block every query. */
struct forgery {
        struct hostile fuses[2];
        int roots[2];
        int below; /* a directory called proc in the first one */
};

static struct forgery forgery_make(const struct service *service, unsigned traits) {
        struct forgery forgery = {
                .fuses = {hostile_start_as(0, "forged/proc", traits, service->source),
                          hostile_start_as(0, "forged/sys", traits, service->source)},
        };

        for (int i = 0; i < 2; i++) {
                struct sandbox_mount mount;

                ck_assert(sandbox_find_mount(0, forgery.fuses[i].path, &mount));
                ck_assert_str_eq(mount.source, service->source);
                forgery.roots[i] = hostile_open(&forgery.fuses[i], "", O_PATH | O_DIRECTORY);
        }
        forgery.below = hostile_open(&forgery.fuses[0], "proc", O_PATH | O_DIRECTORY);
        hostile_block(&forgery.fuses[0], "", HOSTILE_STAT);
        hostile_block(&forgery.fuses[1], "", HOSTILE_STATFS);
        return forgery;
}

static void forgery_end(struct forgery *forgery) {
        close(forgery->below);
        for (int i = 0; i < 2; i++) {
                close(forgery->roots[i]);
                hostile_end(&forgery->fuses[i]);
                ck_assert_int_eq(rmdir(forgery->fuses[i].path), 0);
        }
}

/* Any thread of the daemon that asks them anything blocks. */
static void forgery_expect_unasked(const struct forgery *forgery) {
        for (int i = 0; i < 2; i++)
                ck_assert(!hostile_is_awaited(&forgery->fuses[i]));
}

/* With forged mounts instead of the lease's, or in place of one of them. */
static void forgery_expect_refused(const struct forgery *forgery, int client, uint64_t lease,
                                   const int *mounts) {
        const int *roots = forgery->roots;
        const int offers[][2] = {
                {roots[0], roots[1]},        {roots[1], roots[0]},  {roots[0], roots[0]},
                {roots[0], mounts[1]},       {mounts[0], roots[1]}, {mounts[0], roots[0]},
                {forgery->below, mounts[1]},
        };

        for (size_t i = 0; i < N_ELEMENTS(offers); i++) {
                uint32_t status = try_adopt(client, lease, offers[i], 2);

                ck_assert_msg(status == STATUS_NO_SUCH_LEASE, "offer %zu: status %u", i, status);
        }
        forgery_expect_unasked(forgery);
}

static void try_forgery(const struct service_plan *own, unsigned traits, const char *root) {
        struct service service = service_spawn(own);
        int client = client_connect(&service, HOSTILE_USER);
        uint64_t lease = client_hold_root(client, HOSTILE_USER, root);
        int mounts[] = {
                sandbox_open(HOSTILE_USER, sandbox_path("root/proc")),
                sandbox_open(HOSTILE_USER, sandbox_path("root/sys")),
        };
        struct forgery forgery = forgery_make(&service, traits);

        end(&service, SIGKILL);
        close(client);
        sweep();
        service = service_spawn(own);
        client = client_connect(&service, HOSTILE_USER);
        client_hello(client);
        forgery_expect_refused(&forgery, client, lease, mounts);
        ck_assert_uint_eq(sandbox_count_mounts(0, service.source), 4);

        ck_assert_uint_eq(try_adopt(client, lease, mounts, 2), STATUS_OK);
        ck_assert_uint_eq(client_unmount(client, lease).status, STATUS_OK);
        ck_assert_uint_eq(sandbox_count_mounts(0, service.source), 2);

        close(mounts[0]);
        close(mounts[1]);
        close(client);
        service_await_rest(&service);
        forgery_expect_unasked(&forgery);
        forgery_end(&forgery);
        service_stop(&service);
}

HOSTILE_TEST(a_lease_is_not_adopted_with_a_fuse_that_is_named_mountatd) {
        static const unsigned traits[] = {HOSTILE_FORGETFUL, HOSTILE_FORGETFUL | HOSTILE_SHARED};
        static const int denied[] = {0, CALL_STATMOUNT};
        const char *root = sandbox_make_root(HOSTILE_USER, "root");

        sandbox_make_directory(HOSTILE_USER, 0755, "forged");
        for (size_t i = 0; i < N_ELEMENTS(traits) * N_ELEMENTS(denied); i++) {
                struct service_plan own = plan;

                own.denied[0] = denied[i / N_ELEMENTS(traits)];
                try_forgery(&own, traits[i % N_ELEMENTS(traits)], root);
        }
}

/* ---- the rounds ---- */

enum {
        ROUNDS_DEFAULT = 200, /* MOUNTATD_KILLS in the environment */
        ROUNDS_SEED = 20240607,
        ROUNDS_CLIENTS = 4,
        ROUNDS_HELD = 3,
        ROUNDS_CALL_TIMEOUT = 20000, /* milliseconds */
};

/* A client's counters, in memory shared with the test. */
struct tally {
        unsigned cycles;
        unsigned calls;
        unsigned slow;     /* calls of more than 10 ms: during a restart */
        unsigned in_doubt; /* mounts that may have been granted to nobody */
        unsigned lost;
        unsigned failed; /* for other reasons */
        unsigned moved;  /* held mounts that were replaced in the end */
        unsigned roots;  /* in use so far */
        unsigned held;
        unsigned generation;
        int64_t longest; /* call, milliseconds */
        char text[160];  /* the last failure's */
};

struct rounds {
        volatile bool stop;  /* stop cycling, and keep what is held */
        volatile bool leave; /* unmount that */
        volatile unsigned ready;
        const struct service *service;
        struct tally tallies[ROUNDS_CLIENTS];
};

struct runner {
        struct rounds *rounds;
        unsigned index;
        struct tally *tally;
        struct mountat *mountat;
};

static mode_t runner_mode(unsigned index) {
        return index % 2 ? 0700 : 0755;
}

static uid_t runner_uid(unsigned index) {
        return index < ROUNDS_CLIENTS / 2 ? USER_ALICE : USER_BOB;
}

/* Each root is used until a mount in it is in doubt. */
static void runner_make_root(const struct runner *runner, char *path, size_t size) {
        snprintf(path, size, "%s/%u-%u", sandbox_path("runner%u", runner->index),
                 runner->tally->generation, runner->tally->roots++);
        if (mkdir(path, 0700) < 0 || chmod(path, runner_mode(runner->index)) < 0)
                _exit(100);
}

static int runner_account(const struct runner *runner, int64_t start, int result) {
        struct tally *tally = runner->tally;
        int64_t spent = sandbox_now_ms() - start;

        tally->calls++;
        tally->slow += spent > 10;
        if (spent > tally->longest)
                tally->longest = spent;
        if (result == 0)
                return 0;
        snprintf(tally->text, sizeof(tally->text), "%d: %s", result,
                 mountat_error_text(runner->mountat));
        if (result == -EBUSY)
                tally->in_doubt++;
        else if (result == -ENOENT)
                tally->lost++;
        else
                tally->failed++;
        return result;
}

static int runner_mount(const struct runner *runner, const char *path, uint64_t *lease) {
        FD_AUTO int root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        int64_t start = sandbox_now_ms();

        return runner_account(
                runner, start,
                mountat_mount_root(runner->mountat, root, BOTH | MOUNTAT_CREATE, lease));
}

static int runner_unmount(const struct runner *runner, uint64_t lease) {
        int64_t start = sandbox_now_ms();

        return runner_account(runner, start, mountat_unmount(runner->mountat, lease));
}

static uint64_t runner_mount_id(const char *root) {
        char path[256];

        snprintf(path, sizeof(path), "%s/proc", root);
        return mount_id(path);
}

static void runner_cycle(const struct runner *runner) {
        char path[200];
        uint64_t lease;

        runner_make_root(runner, path, sizeof(path));
        while (!runner->rounds->stop) {
                if (runner_mount(runner, path, &lease) < 0) {
                        runner_make_root(runner, path, sizeof(path));
                        continue;
                }
                if (runner_unmount(runner, lease) < 0)
                        runner_make_root(runner, path, sizeof(path));
                runner->tally->cycles++;
        }
}

static void run(void *argument) {
        struct runner *runner = argument;
        struct tally *tally = runner->tally;
        char held[ROUNDS_HELD][200];
        uint64_t leases[ROUNDS_HELD], ids[ROUNDS_HELD];

        runner->mountat = mountat_new();
        mountat_set_timeout(runner->mountat, ROUNDS_CALL_TIMEOUT);
        /* The library doesn't retry the first connection. */
        while (mountat_connect(runner->mountat, runner->rounds->service->socket) < 0)
                usleep(1000);
        if (runner->index == 0 && mountat_keep(runner->mountat) < 0)
                _exit(101);

        tally->held = 0;
        while (tally->held < ROUNDS_HELD) {
                runner_make_root(runner, held[tally->held], sizeof(held[0]));
                if (runner_mount(runner, held[tally->held], &leases[tally->held]) < 0)
                        continue;
                ids[tally->held] = runner_mount_id(held[tally->held]);
                tally->held++;
        }
        runner_cycle(runner);

        runner_account(runner, sandbox_now_ms(), mountat_recover(runner->mountat));
        __atomic_add_fetch(&runner->rounds->ready, 1, __ATOMIC_SEQ_CST);
        while (!runner->rounds->leave)
                usleep(1000);
        for (unsigned i = 0; i < tally->held; i++) {
                tally->moved += runner_mount_id(held[i]) != ids[i];
                runner_unmount(runner, leases[i]);
        }
        mountat_free(runner->mountat);
}

static pid_t start_runner(struct rounds *rounds, unsigned index) {
        struct runner runner = {
                .rounds = rounds,
                .index = index,
                .tally = &rounds->tallies[index],
        };

        runner.tally->generation++;
        runner.tally->roots = 0;
        return sandbox_spawn(runner_uid(index), run, &runner);
}

static void report(const struct rounds *rounds, unsigned kills, unsigned restarts,
                   unsigned clients_killed, int64_t spent, unsigned left) {
        struct tally sum = {0};

        for (unsigned i = 0; i < ROUNDS_CLIENTS; i++) {
                const struct tally *tally = &rounds->tallies[i];

                sum.cycles += tally->cycles;
                sum.calls += tally->calls;
                sum.slow += tally->slow;
                sum.in_doubt += tally->in_doubt;
                sum.lost += tally->lost;
                sum.failed += tally->failed;
                sum.moved += tally->moved;
                if (tally->longest > sum.longest)
                        sum.longest = tally->longest;
                if (tally->text[0])
                        printf("client %u: %s\n", i, tally->text);
        }
        printf("%u kills and %u restarts of the daemon, %u kills of clients, in %.1f s: %u cycles, "
               "%u calls, %u of them over 10 ms, the longest %lld ms; %u mounts in doubt, %u "
               "leases "
               "lost, %u calls failed, %u held mounts replaced; left at the end: %u\n",
               kills, restarts, clients_killed, spent / 1000.0, sum.cycles, sum.calls, sum.slow,
               (long long)sum.longest, sum.in_doubt, sum.lost, sum.failed, sum.moved, left);
        fflush(stdout);
        ck_assert_uint_eq(sum.lost, 0);
        ck_assert_uint_eq(sum.failed, 0);
        ck_assert_uint_eq(sum.moved, 0);
        ck_assert_uint_eq(left, 0);
        ck_assert_uint_gt(sum.cycles, 0);
}

/*
 * How many times slower this build is, from the environment. A call gives up, rightly, after losing
 * eight instances: every fourth lives until it has answered.
 */
static unsigned runner_slowness(void) {
        const char *multiplier = getenv("CK_TIMEOUT_MULTIPLIER");

        return multiplier ? strtoul(multiplier, NULL, 10) ?: 1 : 1;
}

static void await_answer(const struct service *service) {
        FD_AUTO int client = client_connect(service, USER_ALICE);

        client_hello(client);
}

SANDBOX_TEST(kills_and_restarts_under_load_leave_nothing_behind) {
        const char *given = getenv("MOUNTATD_KILLS");
        unsigned slowness = runner_slowness();
        unsigned n = given ? strtoul(given, NULL, 10) : ROUNDS_DEFAULT / slowness;
        struct service service = service_spawn(&plan);
        unsigned kills = 0, restarts = 0, clients_killed = 0;
        struct drand48_data random;
        struct rounds *rounds;
        pid_t pids[ROUNDS_CLIENTS];
        int64_t start = sandbox_now_ms();

        rounds = mmap(NULL, sizeof(*rounds), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
                      0);
        ck_assert_ptr_ne(rounds, MAP_FAILED);
        rounds->service = &service;
        for (unsigned i = 0; i < ROUNDS_CLIENTS; i++) {
                char name[32];

                snprintf(name, sizeof(name), "runner%u", i);
                sandbox_make_directory(runner_uid(i), runner_mode(i), name);
                pids[i] = start_runner(rounds, i);
        }

        srand48_r(ROUNDS_SEED, &random);
        for (unsigned i = 0; i < n; i++) {
                long pause, how, victim;

                lrand48_r(&random, &pause);
                lrand48_r(&random, &how);
                lrand48_r(&random, &victim);
                usleep(pause % (60000 * slowness));
                if (how % 10 == 0) {
                        sandbox_kill(pids[victim % ROUNDS_CLIENTS]);
                        clients_killed++;
                }
                if (how % 3 == 0)
                        restarts++;
                else
                        kills++;
                if (i % 4 == 3)
                        await_answer(&service);
                replace(&service, how % 3 == 0 ? SIGUSR1 : SIGKILL);
                if (how % 10 == 0)
                        pids[victim % ROUNDS_CLIENTS] =
                                start_runner(rounds, victim % ROUNDS_CLIENTS);
        }

        rounds->stop = true;
        sandbox_wait_for(rounds->ready == ROUNDS_CLIENTS);
        sleep_past_adoption();
        rounds->leave = true;
        for (unsigned i = 0; i < ROUNDS_CLIENTS; i++)
                sandbox_join(pids[i]);
        /* As on systemctl stop: the daemon itself, then ExecStopPost= with root's rights. */
        end(&service, SIGTERM);
        printf("before the last sweep: %u\n", sandbox_count_mounts(0, service.source));
        sweep();
        report(rounds, kills, restarts, clients_killed, sandbox_now_ms() - start,
               sandbox_count_mounts(0, service.source));
}

int main(void) {
        TCase *tests = tcase_create("adopt");

        tcase_add_test(tests, a_restart_is_not_to_be_noticed);
        tcase_add_test(tests, an_adopted_lease_ends_with_its_connection);
        tcase_add_test(tests, what_nobody_adopts_is_released_after_the_timeout);
        tcase_add_test(tests, a_lease_behind_a_closed_door_is_lost);
        tcase_add_test(tests, a_keeper_keeps_the_leases_of_who_sleeps);
        tcase_add_test(tests, a_stop_releases_also_what_nobody_has_adopted_yet);
        tcase_add_test(tests, the_sweep_leaves_what_a_living_client_can_adopt);
        tcase_add_test(tests, the_sweep_reaches_what_a_dead_client_had_below_a_closed_root);
        tcase_add_test(tests, mountatctl_holds_through_restarts_and_tells_the_first);
        tcase_add_test(tests, mountatctl_gives_up_a_daemon_that_stays_away);
        tcase_add_test(tests, a_lease_is_adopted_by_who_had_it_with_its_mounts_and_once);
        tcase_add_test(tests, a_client_that_tried_in_vain_before_still_adopts);
        tcase_add_test(tests, a_lease_is_not_adopted_with_a_fuse_that_is_named_mountatd);
        tcase_add_test(tests, kills_and_restarts_under_load_leave_nothing_behind);
        return sandbox_run(tests);
}
