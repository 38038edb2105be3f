/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Text for people: UTF-8, printable, cut between characters. File names are bytes, and a single bad
 * one must not garble a log, break a JSON document or cost a bus connection. A character is what
 * sd-bus accepts as one: no surrogates, no noncharacters. Pure, on any thread.
 */

#include <stddef.h>

/*
 * Writes `source` to `buffer` of `size` bytes (at least 1). Control characters, line separators,
 * bidirectional marks, backslashes and invalid bytes become \xNN; a text that doesn't fit is cut
 * before a character or an escape. Always NUL-terminated. Returns `buffer`.
 */
char *text_escape(char *buffer, size_t size, const char *source);

#define TEXT_CUT "..."

/* As text_escape(), to `size` bytes (at least 4); a cut text ends in TEXT_CUT. */
char *text_abridge(char *buffer, size_t size, const char *source);

/*
 * The length of the longest prefix of `text`, at most `max` bytes, that is valid UTF-8: it ends
 * between characters, and before the first invalid byte, such as half a character at the end of a
 * text cut by bytes.
 */
size_t text_cut(const char *text, size_t max);
