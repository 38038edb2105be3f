/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The level and the rate limit are the only state, both atomic: losing a count to a race costs a
 * line, a lock here could cost a worker.
 */

/* CODE_FILE would always be this file, with the path of the build. */
#define SD_JOURNAL_SUPPRESS_LOCATION

#include "daemon/log.h"

#include "common/text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <systemd/sd-journal.h>
#include <time.h>
#include <unistd.h>

enum {
        LOG_FIELDS_MAX = 11,
        LOG_FIELD_SIZE = 1024,
        LOG_WINDOW_SECONDS = 10,
        LOG_WINDOW_LINES = 50,
};

/* Never changed, never reused: people's searches depend on them. */
static const char *const log_message_ids[] = {
        [LOG_EVENT_GRANTED] = "4ad3524f4fa34901aba5cc3e70163276",
        [LOG_EVENT_REFUSED] = "883ca9fb454741ad95521eb5dbeb3573",
        [LOG_EVENT_HOST_FAILED] = "a057c7bcc4a44a459a86d32ce816b41c",
        [LOG_EVENT_NO_REQUEST] = "0bf74731d06f4f85bfcca3f077cb4724",
        [LOG_EVENT_STUCK] = "02c73de15dc7457ead163266ae76c702",
        [LOG_EVENT_LEASES_LEFT] = "6f1d7738b3c14ca5880af479d1408e06",
        [LOG_EVENT_OUT_OF_REACH] = "a4be7b1d818743ecafe5e05f02953ffb",
        [LOG_EVENT_MOUNTS_LEFT] = "0e0452e0217a469a8be58aff0e38009e",
        [LOG_EVENT_STATE_SET_ASIDE] = "99811c07ead34c2386ca01b03ba9a375",
        [LOG_EVENT_NOT_SERVING] = "dc1c82a57c43452cb1a63aa5c687175b",
        [LOG_EVENT_RUNS_ALREADY] = "021b73f6f0634afab91a83c7e817764a",
        [LOG_EVENT_STOPPING] = "686014ed0ac9439897f04785e11f3e2a",
        [LOG_EVENT_RESTARTING] = "0c1b127d70a2449e911a240f24603b9b",
        [LOG_EVENT_IDLE] = "00438c7828fb4c6691375816e3f88a38",
        [LOG_EVENT_NO_BUS] = "4e97efd2a758477eb79e509751c1e1f1",
};

static atomic_int log_max_level = LOG_INFO;
static atomic_bool log_to_journal;

/* systemd.exec(5): JOURNAL_STREAM is device:inode of the stream when it is the journal's. */
static bool log_stderr_is_journal(void) {
        const char *stream = secure_getenv("JOURNAL_STREAM");
        unsigned long long device, inode;
        struct stat stat;

        return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
               fstat(STDERR_FILENO, &stat) == 0 && stat.st_dev == device && stat.st_ino == inode;
}

void log_open(int level) {
        log_to_journal = log_stderr_is_journal();
        log_set_level(level);
}

int log_level(void) {
        return atomic_load_explicit(&log_max_level, memory_order_relaxed);
}

void log_set_level(int level) {
        atomic_store_explicit(&log_max_level, level, memory_order_relaxed);
}

static const char *const log_names[] = {
        [LOG_EMERG] = "emerg", [LOG_ALERT] = "alert",     [LOG_CRIT] = "crit",
        [LOG_ERR] = "err",     [LOG_WARNING] = "warning", [LOG_NOTICE] = "notice",
        [LOG_INFO] = "info",   [LOG_DEBUG] = "debug",
};

int log_level_from_name(const char *name) {
        for (int i = LOG_EMERG; i <= LOG_DEBUG; i++)
                if (strcmp(name, log_names[i]) == 0)
                        return i;
        return -EINVAL;
}

const char *log_level_name(int level) {
        return log_names[level];
}

const char *log_target(void) {
        return atomic_load(&log_to_journal) ? "journal" : "console";
}

int log_set_target(const char *name) {
        if (strcmp(name, "journal") == 0)
                atomic_store(&log_to_journal, true);
        else if (strcmp(name, "console") == 0)
                atomic_store(&log_to_journal, false);
        else if (strcmp(name, "auto") == 0)
                atomic_store(&log_to_journal, log_stderr_is_journal());
        else
                return -EINVAL;
        return 0;
}

struct log_fields {
        int count;
        struct iovec vectors[LOG_FIELDS_MAX];
        char bytes[LOG_FIELDS_MAX][LOG_FIELD_SIZE];
};

static void __attribute__((format(printf, 2, 3)))
log_field(struct log_fields *fields, const char *format, ...) {
        char *field = fields->bytes[fields->count];
        va_list arguments;

        va_start(arguments, format);
        vsnprintf(field, LOG_FIELD_SIZE, format, arguments);
        va_end(arguments);
        fields->vectors[fields->count++] =
                (struct iovec){.iov_base = field, .iov_len = strlen(field)};
}

/* "uid 1000 (pid 4711): mount: refused: /srv/root/proc: No such file or directory" */
static void log_sentence(char *line, size_t size, const struct log_subject *subject,
                         const char *message, const char *target) {
        char peer[48] = "";
        const char *operation = subject->operation ?: "";
        const char *error =
                subject->error ? strerrordesc_np(-subject->error) ?: "unknown error" : "";

        if (subject->has_peer)
                snprintf(peer, sizeof(peer), "uid %u (pid %d): ", subject->uid, subject->pid);
        snprintf(line, size, "%s%s%s%s%s%s%s%s", peer, operation, *operation ? ": " : "", message,
                 *target ? ": " : "", target, *error ? ": " : "", error);
}

static void log_journal(int priority, const struct log_subject *subject, const char *line,
                        const char *target) {
        struct log_fields fields;

        fields.count = 0;
        log_field(&fields, "MESSAGE=%s", line);
        log_field(&fields, "PRIORITY=%d", priority);
        log_field(&fields, "SYSLOG_IDENTIFIER=%s", program_invocation_short_name);
        if (subject->event != LOG_EVENT_NONE)
                log_field(&fields, "MESSAGE_ID=%s", log_message_ids[subject->event]);
        if (subject->operation)
                log_field(&fields, "MOUNTAT_OPERATION=%s", subject->operation);
        if (subject->lease)
                log_field(&fields, "MOUNTAT_LEASE=%016llx", (unsigned long long)subject->lease);
        if (subject->has_peer) {
                log_field(&fields, "MOUNTAT_PEER_UID=%u", subject->uid);
                log_field(&fields, "MOUNTAT_PEER_PID=%d", subject->pid);
        }
        if (*target)
                log_field(&fields, "MOUNTAT_TARGET=%s", target);
        if (subject->error)
                log_field(&fields, "ERRNO=%d", -subject->error);
        sd_journal_sendv(fields.vectors, fields.count);
}

static void log_line(int priority, const struct log_subject *subject, const char *message) {
        char line[LOG_FIELD_SIZE], target[LOG_FIELD_SIZE / 2] = "";

        if (subject->target)
                text_escape(target, sizeof(target), subject->target);
        log_sentence(line, sizeof(line), subject, message, target);

        if (log_to_journal)
                log_journal(priority, subject, line, target);
        else
                fprintf(stderr, "%s: %s\n", program_invocation_short_name, line);
}

static void __attribute__((format(printf, 3, 0)))
log_writev(int priority, const struct log_subject *subject, const char *format, va_list arguments) {
        static const struct log_subject nobody;
        char message[LOG_FIELD_SIZE / 2];

        if (priority > log_level())
                return;
        vsnprintf(message, sizeof(message), format, arguments);
        log_line(priority, subject ?: &nobody, message);
}

void log_write(int priority, const struct log_subject *subject, const char *format, ...) {
        va_list arguments;

        va_start(arguments, format);
        log_writev(priority, subject, format, arguments);
        va_end(arguments);
}

struct log_budget {
        atomic_long window_start, lines, suppressed;
};

/* Whether one more line may be written in this window. */
static bool log_admit(struct log_budget *budget) {
        struct timespec now;
        long start = atomic_load(&budget->window_start), missed;

        clock_gettime(CLOCK_MONOTONIC, &now);
        if (now.tv_sec - start >= LOG_WINDOW_SECONDS &&
            atomic_compare_exchange_strong(&budget->window_start, &start, now.tv_sec)) {
                atomic_store(&budget->lines, 0);
                missed = atomic_exchange(&budget->suppressed, 0);
                if (missed > 0)
                        log_write(LOG_NOTICE, NULL, "%ld lines about clients were left out",
                                  missed);
        }
        if (atomic_fetch_add(&budget->lines, 1) < LOG_WINDOW_LINES)
                return true;
        atomic_fetch_add(&budget->suppressed, 1);
        return false;
}

void log_write_limited(int priority, const struct log_subject *subject, const char *format, ...) {
        /* Apart, so that nobody's mistakes hide what the host does wrong. */
        static struct log_budget clients, host;
        va_list arguments;

        if (priority > log_level() || !log_admit(priority <= LOG_WARNING ? &host : &clients))
                return;
        va_start(arguments, format);
        log_writev(priority, subject, format, arguments);
        va_end(arguments);
}
