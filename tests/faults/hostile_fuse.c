/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A file system that blocks its callers: every name below it is a directory, except those that
 * begin with "stall", whose lookup or creation never returns, and those that begin with "file",
 * which are files whose flush takes as long. Meanwhile the caller holds the kernel's lock on the
 * parent directory. Data written to a file whose name begins with "dirty" stays in the kernel's
 * cache: the process that drops the last reference waits for the write-back, out of reach of any
 * signal.
 *
 *     hostile_fuse MOUNTPOINT [MILLISECONDS [OPTION]...]
 *
 * OPTIONs are mount options (-oallow_other), and --forgetful: attributes aren't cached, and asking
 * for them, or for statistics, blocks as well; --uncached: neither are names, so each component of
 * a path asks the server.
 *
 * Standard output gets a byte once it is mounted, and one per blocked call. A byte on standard
 * input releases all blocked calls, and ends the blocking; end of file ends the program. With
 * MILLISECONDS other than 0, each call is released after that time. Unprivileged: fusermount3(1)
 * mounts.
 */

#define FUSE_USE_VERSION 314

#include <errno.h>
#include <fuse_lowlevel.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum {
        HOSTILE_NAMES_MAX = 1024,
        HOSTILE_WAITING_MAX = 1024,
        HOSTILE_OPTIONS_MAX = 4,
        HOSTILE_DIRTY_SIZE = 4096, /* a page, so that writing doesn't read it first */
};

enum hostile_question {
        HOSTILE_ANYTHING, /* answered with an error, or none */
        HOSTILE_GETATTR,
        HOSTILE_STATFS,
};

struct hostile_waiting {
        fuse_req_t request;
        uint64_t since;
        enum hostile_question question;
        fuse_ino_t inode;
        int error; /* the eventual answer to HOSTILE_ANYTHING */
};

static struct {
        struct {
                fuse_ino_t parent;
                bool file;
                bool dirty;
                char name[32];
        } names[HOSTILE_NAMES_MAX]; /* the inode is the index + 2 */
        size_t n_names;
        struct hostile_waiting waiting[HOSTILE_WAITING_MAX];
        size_t n_waiting;
        uint64_t patience; /* milliseconds, 0: for ever */
        bool tame;
        double attr_timeout;  /* 0: forgetful */
        double entry_timeout; /* 0: uncached */
} hostile = {.attr_timeout = 3600, .entry_timeout = 3600};

static uint64_t hostile_now(void) {
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void hostile_report(void) {
        if (write(STDOUT_FILENO, "", 1) != 1)
                _exit(EXIT_FAILURE);
}

static struct stat hostile_stat(fuse_ino_t inode) {
        bool dirty = inode > 1 && hostile.names[inode - 2].dirty;
        bool file = dirty || (inode > 1 && hostile.names[inode - 2].file);

        return (struct stat){
                .st_size = dirty ? HOSTILE_DIRTY_SIZE : 0,
                .st_ino = inode,
                .st_mode = file ? S_IFREG | 0666 : S_IFDIR | 0777,
                .st_nlink = 1,
                .st_uid = getuid(),
                .st_gid = getgid(),
        };
}

static void hostile_answer(const struct hostile_waiting *waiting) {
        const struct statvfs statistics = {.f_bsize = 4096, .f_namemax = 255};
        const struct stat stat = hostile_stat(waiting->inode);

        if (waiting->question == HOSTILE_GETATTR)
                fuse_reply_attr(waiting->request, &stat, hostile.attr_timeout);
        else if (waiting->question == HOSTILE_STATFS)
                fuse_reply_statfs(waiting->request, &statistics);
        else
                fuse_reply_err(waiting->request, waiting->error);
}

static void hostile_keep_waiting(struct hostile_waiting waiting) {
        if (hostile.tame || hostile.n_waiting == HOSTILE_WAITING_MAX) {
                hostile_answer(&waiting);
                return;
        }
        waiting.since = hostile_now();
        hostile.waiting[hostile.n_waiting++] = waiting;
        if (!hostile.patience)
                hostile_report();
}

/* Releases the calls that have waited for `patience`, or all if it is 0. */
static void hostile_let_go(uint64_t patience) {
        uint64_t now = hostile_now();
        size_t kept = 0;

        for (size_t i = 0; i < hostile.n_waiting; i++)
                if (now - hostile.waiting[i].since >= patience)
                        hostile_answer(&hostile.waiting[i]);
                else
                        hostile.waiting[kept++] = hostile.waiting[i];
        hostile.n_waiting = kept;
}

static bool hostile_is_stalling(const char *name) {
        return strncmp(name, "stall", strlen("stall")) == 0;
}

static void hostile_lookup(fuse_req_t request, fuse_ino_t parent, const char *name) {
        struct fuse_entry_param entry = {.attr_timeout = hostile.attr_timeout,
                                         .entry_timeout = hostile.entry_timeout};
        size_t i = 0;

        if (hostile_is_stalling(name)) {
                hostile_keep_waiting((struct hostile_waiting){.request = request, .error = ENOENT});
                return;
        }
        while (i < hostile.n_names &&
               (hostile.names[i].parent != parent || strcmp(hostile.names[i].name, name) != 0))
                i++;
        if (i == HOSTILE_NAMES_MAX || strlen(name) >= sizeof(hostile.names[i].name)) {
                fuse_reply_err(request, ENOSPC);
                return;
        }
        if (i == hostile.n_names) {
                hostile.names[i].parent = parent;
                hostile.names[i].file = strncmp(name, "file", strlen("file")) == 0;
                hostile.names[i].dirty = strncmp(name, "dirty", strlen("dirty")) == 0;
                strcpy(hostile.names[i].name, name);
                hostile.n_names++;
        }
        entry.ino = i + 2;
        entry.attr = hostile_stat(entry.ino);
        fuse_reply_entry(request, &entry);
}

static void hostile_mkdir(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode) {
        (void)parent;
        (void)name;
        (void)mode;
        hostile_keep_waiting((struct hostile_waiting){.request = request, .error = EROFS});
}

static void hostile_getattr(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *info) {
        const struct hostile_waiting waiting = {
                .request = request,
                .question = HOSTILE_GETATTR,
                .inode = inode,
        };

        (void)info;
        if (hostile.attr_timeout > 0)
                hostile_answer(&waiting);
        else
                hostile_keep_waiting(waiting);
}

static void hostile_statfs(fuse_req_t request, fuse_ino_t inode) {
        const struct hostile_waiting waiting = {
                .request = request,
                .question = HOSTILE_STATFS,
                .inode = inode,
        };

        if (hostile.attr_timeout > 0)
                hostile_answer(&waiting);
        else
                hostile_keep_waiting(waiting);
}

static void hostile_open(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *info) {
        (void)inode;
        fuse_reply_open(request, info);
}

static void hostile_flush(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *info) {
        (void)info;
        if (hostile.names[inode - 2].dirty)
                fuse_reply_err(request, 0);
        else
                hostile_keep_waiting((struct hostile_waiting){.request = request});
}

static void hostile_init(void *unused, struct fuse_conn_info *connection) {
        (void)unused;
        connection->want |= connection->capable & FUSE_CAP_WRITEBACK_CACHE;
}

static void hostile_read(fuse_req_t request, fuse_ino_t inode, size_t size, off_t offset,
                         struct fuse_file_info *info) {
        static const char zeros[HOSTILE_DIRTY_SIZE];

        (void)inode;
        (void)info;
        fuse_reply_buf(request, zeros, offset == 0 && size >= sizeof(zeros) ? sizeof(zeros) : 0);
}

/* Size and times, which are in the kernel's cache. */
static void hostile_setattr(fuse_req_t request, fuse_ino_t inode, struct stat *stat, int mask,
                            struct fuse_file_info *info) {
        (void)stat;
        (void)mask;
        (void)info;
        hostile_answer(&(struct hostile_waiting){
                .request = request, .question = HOSTILE_GETATTR, .inode = inode});
}

static void hostile_write(fuse_req_t request, fuse_ino_t inode, const char *bytes, size_t size,
                          off_t offset, struct fuse_file_info *info) {
        (void)inode;
        (void)bytes;
        (void)size;
        (void)offset;
        (void)info;
        hostile_keep_waiting((struct hostile_waiting){.request = request, .error = EIO});
}

static const struct fuse_lowlevel_ops hostile_operations = {
        .init = hostile_init,
        .read = hostile_read,
        .setattr = hostile_setattr,
        .write = hostile_write,
        .lookup = hostile_lookup,
        .mkdir = hostile_mkdir,
        .getattr = hostile_getattr,
        .statfs = hostile_statfs,
        .open = hostile_open,
        .flush = hostile_flush,
};

static void hostile_obey(void) {
        char line[64];

        if (read(STDIN_FILENO, line, sizeof(line)) <= 0)
                _exit(EXIT_SUCCESS); /* the kernel fails all blocked calls */
        hostile.tame = true;
        hostile_let_go(0);
}

static void hostile_serve(struct fuse_session *session) {
        struct fuse_buf buffer = {0};
        struct pollfd fds[] = {
                {.fd = fuse_session_fd(session), .events = POLLIN},
                {.fd = STDIN_FILENO, .events = POLLIN},
        };

        while (!fuse_session_exited(session)) {
                if (poll(fds, 2, hostile.patience ? 5 : -1) < 0)
                        return;
                if (hostile.patience)
                        hostile_let_go(hostile.patience);
                if (fds[1].revents)
                        hostile_obey();
                if (fds[0].revents && fuse_session_receive_buf(session, &buffer) > 0)
                        fuse_session_process_buf(session, &buffer);
        }
}

int main(int argc, char **argv) {
        char *options[HOSTILE_OPTIONS_MAX + 2] = {argv[0]};
        struct fuse_args args = FUSE_ARGS_INIT(1, options);
        struct fuse_session *session;

        if (argc < 2 || argc > 3 + HOSTILE_OPTIONS_MAX)
                return EXIT_FAILURE;
        for (int i = 3; i < argc; i++)
                if (strcmp(argv[i], "--forgetful") == 0)
                        hostile.attr_timeout = 0;
                else if (strcmp(argv[i], "--uncached") == 0)
                        hostile.entry_timeout = 0;
                else
                        options[args.argc++] = argv[i];
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        hostile.patience = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
        session = fuse_session_new(&args, &hostile_operations, sizeof(hostile_operations), NULL);
        if (!session || fuse_session_mount(session, argv[1]) < 0)
                return EXIT_FAILURE;
        hostile_report();
        hostile_serve(session);
        return EXIT_SUCCESS;
}
