/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Runs a part of mountatctl in a process of its own and captures what it prints. One at a time; the
 * result stays until the next.
 */

#include <stddef.h>
#include <sys/types.h>

enum {
        CAPTURE_MAX = 16384, /* bytes per stream; more fail the test */
};

struct captured {
        pid_t pid;
        int input;                /* the writing end of its standard input */
        int streams[2];           /* the reading ends of its output and errors */
        char output[CAPTURE_MAX]; /* so far */
        char errors[CAPTURE_MAX]; /* each message begins with "mountatctl: " */
        size_t lengths[2];
};

extern struct captured captured;

/*
 * Starts a process that exits with what `act` returns. Its standard input is a pipe, open until
 * capture_end().
 */
void capture_start(int (*act)(const void *argument), const void *argument);

/* Wait until it has printed `text` to standard output or error; fail the test if it exits before.
 */
void capture_await(const char *text);
void capture_await_errors(const char *text);

/* Waits until it exits by itself, with its input open. */
void capture_await_end(void);

/* Closes its input and waits for it; returns its exit status. */
int capture_end(void);

/* Start and end, with empty input. */
int capture(int (*act)(const void *argument), const void *argument);

/* It has printed `part` to standard error. */
void expect_errors(const char *part);
