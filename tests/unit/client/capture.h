/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What a part of mountatctl prints and returns, called in a process of its own. One at a time,
 * whose result stays until the next.
 */

#include <stddef.h>
#include <sys/types.h>

enum {
        CAPTURE_MAX = 16384, /* bytes of a stream; one that prints more fails its test */
};

struct captured {
        pid_t pid;
        int input;                /* the writing end of its standard input */
        int streams[2];           /* the reading ends of its output and errors */
        char output[CAPTURE_MAX]; /* what it has printed */
        char errors[CAPTURE_MAX]; /* with the name mountatctl before each message */
        size_t lengths[2];
};

extern struct captured captured;

/*
 * Starts `act` as the process mountatctl, whose exit status is what `act` returns. Its standard
 * input is a pipe, open until capture_end() or until the test closes captured.input with
 * fd_close().
 */
void capture_start(int (*act)(const void *argument), const void *argument);

/* Waits until it has printed `text` to standard output; fails if it ends before that. */
void capture_await(const char *text);

/* Waits until it has ended, with its input open: for one that ends by itself. */
void capture_await_end(void);

/* Ends its input, and waits for its end; its exit status. */
int capture_end(void);

/* Both, with nothing on standard input. */
int capture(int (*act)(const void *argument), const void *argument);

/* It has said `part` on standard error. */
void expect_errors(const char *part);
