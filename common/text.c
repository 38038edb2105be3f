/* SPDX-License-Identifier: Apache-2.0 */

/* UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, nothing above U+10FFFF. */

#include "common/text.h"

#include <stdint.h>
#include <string.h>

/* The length in bytes of the character at `text`, 0 if it is none. A NUL ends every sequence. */
static size_t text_character(const char *text) {
        const uint8_t *p = (const uint8_t *)text;
        size_t length = p[0] < 0x80   ? 1
                        : p[0] < 0xc2 ? 0
                        : p[0] < 0xe0 ? 2
                        : p[0] < 0xf0 ? 3
                        : p[0] < 0xf5 ? 4
                                      : 0;

        for (size_t i = 1; i < length; i++)
                if ((p[i] & 0xc0) != 0x80)
                        return 0;

        if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
            (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
                return 0;
        return length;
}

/* C0, DEL and, in two bytes, C1: what a terminal would act on. The escape's own sign as well. */
static int text_is_plain(const char *text, size_t length) {
        const uint8_t *p = (const uint8_t *)text;

        if (length == 1)
                return p[0] >= 0x20 && p[0] != 0x7f && p[0] != '\\';
        return length != 2 || p[0] != 0xc2 || p[1] >= 0xa0;
}

/* "\xNN", without printf(3): a listing of leases can have millions of these. */
static size_t text_name_byte(char piece[4], uint8_t byte) {
        static const char digits[] = "0123456789abcdef";

        piece[0] = '\\';
        piece[1] = 'x';
        piece[2] = digits[byte >> 4];
        piece[3] = digits[byte & 15];
        return 4;
}

/* Returns how many bytes were written, the final NUL not among them. `*source` moves to what didn't
 * fit. */
static size_t text_fill(char *buffer, size_t size, const char **source) {
        size_t used = 0;

        while (**source) {
                size_t length = text_character(*source), taken = length;
                char piece[4];
                const char *from = *source;

                if (length == 0 || !text_is_plain(*source, length)) {
                        length = text_name_byte(piece, **source);
                        from = piece;
                        taken = 1;
                }
                if (used + length >= size)
                        break;
                memcpy(buffer + used, from, length);
                used += length;
                *source += taken;
        }
        buffer[used] = '\0';
        return used;
}

char *text_escape(char *buffer, size_t size, const char *source) {
        text_fill(buffer, size, &source);
        return buffer;
}

char *text_abridge(char *buffer, size_t size, const char *source) {
        const char *rest = source;

        text_fill(buffer, size, &rest);
        if (*rest) {
                size_t used = text_fill(buffer, size - strlen(TEXT_CUT), &source);

                memcpy(buffer + used, TEXT_CUT, sizeof(TEXT_CUT));
        }
        return buffer;
}

size_t text_cut(const char *text, size_t max) {
        size_t used = 0;

        while (text[used]) {
                size_t length = text_character(text + used);

                if (length == 0 || used + length > max)
                        break;
                used += length;
        }
        return used;
}
