/* SPDX-License-Identifier: Apache-2.0 */

/* The only state is the destination, which is atomic. */

/* CODE_FILE would always be this file, with the build's path. */
#define SD_JOURNAL_SUPPRESS_LOCATION

#include "daemon/log_line.h"

#include "common/text.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

enum {
        /* A message, a target, and the rest of a sentence: nothing is cut twice. */
        LOG_LINE_SENTENCE_SIZE = LOG_MESSAGE_SIZE + LOG_TARGET_SIZE + 256,
        LOG_LINE_FIELDS_MAX = 11,
        LOG_LINE_FIELD_SIZE = LOG_LINE_SENTENCE_SIZE + 32, /* and the field's name */
};

/* Never changed, never reused: administrators' searches depend on them. */
static const char *const log_line_message_ids[] = {
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
        [LOG_EVENT_LINES_LOST] = "7bd8b3f2cd4c468bbe2abc8f62debc8d",
};

static atomic_bool log_line_journal;

/*
 * systemd.exec(5): if standard error is connected to the journal, JOURNAL_STREAM has the
 * device:inode of the stream.
 */
static bool log_line_stderr_is_journal(void) {
        const char *stream = secure_getenv("JOURNAL_STREAM");
        unsigned long long device, inode;
        struct stat stat;

        return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
               fstat(STDERR_FILENO, &stat) == 0 && stat.st_dev == device && stat.st_ino == inode;
}

const char *log_target(void) {
        return atomic_load(&log_line_journal) ? "journal" : "console";
}

int log_set_target(const char *name) {
        if (strcmp(name, "journal") == 0)
                atomic_store(&log_line_journal, true);
        else if (strcmp(name, "console") == 0)
                atomic_store(&log_line_journal, false);
        else if (strcmp(name, "auto") == 0)
                atomic_store(&log_line_journal, log_line_stderr_is_journal());
        else
                return -EINVAL;
        return 0;
}

void log_line_compose(struct log_line *line, const struct log_subject *subject, const char *format,
                      va_list arguments) {
        int length = vsnprintf(line->message, sizeof(line->message), format, arguments);

        if (length >= (int)sizeof(line->message))
                line->message[text_cut(line->message, sizeof(line->message) - 1)] = '\0';
        line->target[0] = '\0';
        line->subject = subject ? *subject : (struct log_subject){0};
        if (line->subject.target)
                text_escape(line->target, sizeof(line->target), line->subject.target);
        line->subject.target = NULL;
}

/* "uid 1000 (pid 4711): mount: refused: /srv/root/proc: No such file or directory" */
static void log_line_sentence(const struct log_line *line, char *sentence, size_t size) {
        const struct log_subject *subject = &line->subject;
        char peer[48] = "";
        const char *operation = subject->operation ?: "";
        const char *error =
                subject->error ? strerrordesc_np(-subject->error) ?: "unknown error" : "";

        if (subject->has_peer)
                snprintf(peer, sizeof(peer), "uid %u (pid %d): ", subject->uid, subject->pid);
        snprintf(sentence, size, "%s%s%s%s%s%s%s%s", peer, operation, *operation ? ": " : "",
                 line->message, *line->target ? ": " : "", line->target, *error ? ": " : "", error);
}

struct log_line_fields {
        int count;
        struct iovec vectors[LOG_LINE_FIELDS_MAX];
        char bytes[LOG_LINE_FIELDS_MAX][LOG_LINE_FIELD_SIZE];
};

static void __attribute__((format(printf, 2, 3)))
log_line_field(struct log_line_fields *fields, const char *format, ...) {
        char *field = fields->bytes[fields->count];
        va_list arguments;

        va_start(arguments, format);
        vsnprintf(field, LOG_LINE_FIELD_SIZE, format, arguments);
        va_end(arguments);
        fields->vectors[fields->count++] =
                (struct iovec){.iov_base = field, .iov_len = strlen(field)};
}

static void log_line_to_journal(const struct log_line *line, const char *sentence) {
        const struct log_subject *subject = &line->subject;
        struct log_line_fields fields;

        fields.count = 0;
        log_line_field(&fields, "MESSAGE=%s", sentence);
        log_line_field(&fields, "PRIORITY=%d", line->priority);
        log_line_field(&fields, "SYSLOG_IDENTIFIER=%s", program_invocation_short_name);
        if (subject->event != LOG_EVENT_NONE)
                log_line_field(&fields, "MESSAGE_ID=%s", log_line_message_ids[subject->event]);
        if (subject->operation)
                log_line_field(&fields, "MOUNTAT_OPERATION=%s", subject->operation);
        if (subject->lease)
                log_line_field(&fields, "MOUNTAT_LEASE=%016llx",
                               (unsigned long long)subject->lease);
        if (subject->has_peer) {
                log_line_field(&fields, "MOUNTAT_PEER_UID=%u", subject->uid);
                log_line_field(&fields, "MOUNTAT_PEER_PID=%d", subject->pid);
        }
        if (*line->target)
                log_line_field(&fields, "MOUNTAT_TARGET=%s", line->target);
        if (subject->error)
                log_line_field(&fields, "ERRNO=%d", -subject->error);
        sd_journal_sendv(fields.vectors, fields.count);
}

/*
 * In one call, since a write of less than PIPE_BUF bytes is atomic: no other process's output gets
 * in between. Another process that shares the file may have made it non-blocking.
 */
static void log_line_to_stderr(const char *text, size_t length) {
        while (length > 0) {
                ssize_t written = write(STDERR_FILENO, text, length);

                if (written > 0) {
                        text += written;
                        length -= written;
                } else if (written == 0 || (errno != EAGAIN && errno != EINTR)) {
                        return;
                } else if (errno == EAGAIN) {
                        struct pollfd room = {.fd = STDERR_FILENO, .events = POLLOUT};

                        if (poll(&room, 1, -1) < 0 && errno != EINTR)
                                return;
                }
        }
}

void log_line_write(const struct log_line *line) {
        char sentence[LOG_LINE_SENTENCE_SIZE], text[LOG_LINE_SENTENCE_SIZE + NAME_MAX + 3];

        log_line_sentence(line, sentence, sizeof(sentence));
        if (atomic_load(&log_line_journal))
                log_line_to_journal(line, sentence);
        else
                log_line_to_stderr(text, snprintf(text, sizeof(text), "%.*s: %s\n", NAME_MAX,
                                                  program_invocation_short_name, sentence));
}
