/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Text that a person reads: UTF-8, printable, cut between characters. Names of files are bytes,
 * and a single bad one must not garble a log, break a JSON document or cost a bus connection.
 * What is a character is what sd-bus takes for one: no surrogates, no noncharacters.
 * Pure, on any thread.
 */

#include <stddef.h>

/*
 * Writes `source` to `buffer` of `size` bytes (at least 1). Control characters, separators of
 * lines, marks of bidirectional text, backslashes and bytes that are of no character become \xNN;
 * what doesn't fit is cut before a character or an escape. Always NUL-terminated. Returns `buffer`.
 */
char *text_escape(char *buffer, size_t size, const char *source);

#define TEXT_CUT "..."

/* As text_escape(), to `size` bytes (at least 4); a text that is cut ends in TEXT_CUT. */
char *text_abridge(char *buffer, size_t size, const char *source);

/*
 * The length of the longest prefix of `text` of at most `max` bytes that is UTF-8: it ends between
 * characters, and before the first byte that belongs to none, such as half a character at the end
 * of a text that was cut by bytes.
 */
size_t text_cut(const char *text, size_t max);
