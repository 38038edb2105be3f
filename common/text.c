/* SPDX-License-Identifier: Apache-2.0 */

/*
 * UTF-8 as in RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF; and, as in sd-bus
 * and systemd, no noncharacters.
 */

#include "common/text.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* Unicode's section 23.7: U+FDD0 to U+FDEF, and the last two of each plane. */
static bool text_is_noncharacter(uint32_t code) {
        return (code >= 0xfdd0 && code <= 0xfdef) || (code & 0xfffe) == 0xfffe;
}

/* The length in bytes of the character at `text`; 0: not a character. A NUL ends any sequence. */
static size_t text_character(const char *text, uint32_t *code) {
        static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
        const uint8_t *p = (const uint8_t *)text;
        size_t length = p[0] < 0x80   ? 1
                        : p[0] < 0xc2 ? 0
                        : p[0] < 0xe0 ? 2
                        : p[0] < 0xf0 ? 3
                        : p[0] < 0xf5 ? 4
                                      : 0;

        *code = length == 1 ? p[0] : p[0] & (0x7f >> length);
        for (size_t i = 1; i < length; i++) {
                if ((p[i] & 0xc0) != 0x80)
                        return 0;
                *code = *code << 6 | (p[i] & 0x3f);
        }
        if (*code < least[length] || *code > 0x10ffff || (*code >= 0xd800 && *code <= 0xdfff) ||
            text_is_noncharacter(*code))
                return 0;
        return length;
}

/*
 * Excludes what a terminal would act on (C0, DEL, C1), what would break or reverse a line (line
 * separators, bidirectional marks), and the escape's own backslash.
 */
static bool text_is_plain(uint32_t code) {
        return code >= 0x20 && code != '\\' && !(code >= 0x7f && code <= 0x9f) && code != 0x061c &&
               code != 0x200e && code != 0x200f && !(code >= 0x2028 && code <= 0x202e) &&
               !(code >= 0x2066 && code <= 0x2069);
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

/*
 * Returns the number of bytes written, without the final NUL. `*source` advances to what didn't
 * fit.
 */
static size_t text_fill(char *buffer, size_t size, const char **source) {
        size_t used = 0;

        while (**source) {
                uint32_t code;
                size_t length = text_character(*source, &code), taken = length;
                char piece[4];
                const char *from = *source;

                if (length == 0 || !text_is_plain(code)) {
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
        uint32_t code;

        while (text[used]) {
                size_t length = text_character(text + used, &code);

                if (length == 0 || used + length > max)
                        break;
                used += length;
        }
        return used;
}
