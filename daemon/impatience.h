/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Short shrift for what a client's descriptors make us wait for. The last close(2) of a TCP socket
 * takes as long as its SO_LINGER says, and closing a connection closes what was sent on it and
 * never received. A signal ends such waits, but for those that nothing can end: a FUSE server's.
 */

/*
 * Around one call: from a moment on, the calling thread is signalled (SIGUSR2, without effect)
 * until the end. Any thread; calls are restarted where they can be. Where the host refuses a timer,
 * nothing happens.
 */
void impatience_begin(void);
void impatience_end(void);

/* Before a thread ends. */
void impatience_forget(void);
