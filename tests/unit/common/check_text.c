/* SPDX-License-Identifier: Apache-2.0 */

#include "common/text.h"
#include "tests/test.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

static const struct {
        const char *source;
        const char *escaped;
} escapes[] = {
        {"", ""},
        {"/srv/root/proc", "/srv/root/proc"},
        {"a b~!\"'%s", "a b~!\"'%s"},
        {"\\", "\\x5c"},
        {"\n", "\\x0a"},
        {"\x1b[31m", "\\x1b[31m"},
        {"\x01\x1f\x7f", "\\x01\\x1f\\x7f"},
        {"\xc3\xa9", "\xc3\xa9"},                 /* two bytes */
        {"\xe2\x82\xac", "\xe2\x82\xac"},         /* three */
        {"\xf0\x9f\x9a\xa7", "\xf0\x9f\x9a\xa7"}, /* four */
        {"\xc2\x80", "\\xc2\\x80"},               /* C1, the first and the last */
        {"\xc2\x9f", "\\xc2\\x9f"},
        {"\xc2\xa0", "\xc2\xa0"},                     /* the first beyond C1 */
        {"\xff\xfe", "\\xff\\xfe"},                   /* never in UTF-8 */
        {"\x80", "\\x80"},                            /* continuation without a start */
        {"\xc3", "\\xc3"},                            /* cut: two */
        {"\xe2\x82", "\\xe2\\x82"},                   /* cut: three */
        {"\xf0\x9f\x9a", "\\xf0\\x9f\\x9a"},          /* cut: four */
        {"\xc3(", "\\xc3("},                          /* the second byte is no continuation */
        {"\xe2\x82(", "\\xe2\\x82("},                 /* the third */
        {"\xc0\xaf", "\\xc0\\xaf"},                   /* overlong slash */
        {"\xc1\xbf", "\\xc1\\xbf"},                   /* overlong, the last */
        {"\xe0\x9f\xbf", "\\xe0\\x9f\\xbf"},          /* overlong in three */
        {"\xe0\xa0\x80", "\xe0\xa0\x80"},             /* U+0800, the first of three */
        {"\xf0\x8f\xbf\xbf", "\\xf0\\x8f\\xbf\\xbf"}, /* overlong in four */
        {"\xf0\x90\x80\x80", "\xf0\x90\x80\x80"},     /* U+10000, the first of four */
        {"\xed\xa0\x80", "\\xed\\xa0\\x80"},          /* surrogate, the first */
        {"\xed\x9f\xbf", "\xed\x9f\xbf"},             /* U+D7FF, before it */
        {"\xee\x80\x80", "\xee\x80\x80"},             /* U+E000, behind them */
        {"\xf4\x8f\xbf\xbd", "\xf4\x8f\xbf\xbd"},     /* U+10FFFD, the last of all */
        {"\xf4\x8f\xbf\xbf", "\\xf4\\x8f\\xbf\\xbf"}, /* U+10FFFF, a noncharacter */
        {"\xef\xbf\xbe", "\\xef\\xbf\\xbe"},          /* U+FFFE */
        {"\xef\xb7\x90", "\\xef\\xb7\\x90"},          /* U+FDD0 */
        {"\xef\xb7\xaf", "\\xef\\xb7\\xaf"},          /* U+FDEF */
        {"\xef\xb7\xb0", "\xef\xb7\xb0"},             /* U+FDF0 */
        {"\xd8\x9c", "\\xd8\\x9c"},                   /* Arabic letter mark */
        {"\xe2\x80\x8e\xe2\x80\x8f", "\\xe2\\x80\\x8e\\xe2\\x80\\x8f"},
        {"\xe2\x80\xa8", "\\xe2\\x80\\xa8"}, /* line separator, */
        {"\xe2\x80\xa9", "\\xe2\\x80\\xa9"}, /* of paragraphs, */
        {"\xe2\x80\xae", "\\xe2\\x80\\xae"}, /* right-to-left override, */
        {"\xe2\x80\xa7", "\xe2\x80\xa7"},    /* and their neighbours */
        {"\xe2\x80\xaf", "\xe2\x80\xaf"},
        {"\xe2\x81\xa6", "\\xe2\\x81\\xa6"}, /* isolates */
        {"\xe2\x81\xa9", "\\xe2\\x81\\xa9"},
        {"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"},        /* beyond it */
        {"\xf5\x80\x80\x80", "\\xf5\\x80\\x80\\x80"},        /* far beyond it */
        {"a\xff\xc3\xa9\n\xe2", "a\\xff\xc3\xa9\\x0a\\xe2"}, /* a good one amid bad ones */
};

START_TEST(escapes_what_no_terminal_or_document_can_bear) {
        char buffer[64];

        for (size_t i = 0; i < sizeof(escapes) / sizeof(escapes[0]); i++) {
                ck_assert_ptr_eq(text_escape(buffer, sizeof(buffer), escapes[i].source), buffer);
                ck_assert_msg(strcmp(buffer, escapes[i].escaped) == 0, "row %zu: '%s'", i, buffer);
        }
}
END_TEST

START_TEST(escapes_every_control_byte_and_no_other_ascii) {
        for (unsigned byte = 1; byte < 0x80; byte++) {
                char source[2] = {(char)byte, '\0'}, buffer[8], wanted[8];

                if (byte < 0x20 || byte == 0x7f || byte == '\\')
                        snprintf(wanted, sizeof(wanted), "\\x%02x", byte);
                else
                        snprintf(wanted, sizeof(wanted), "%c", byte);
                ck_assert_str_eq(text_escape(buffer, sizeof(buffer), source), wanted);
        }
}
END_TEST

static const struct {
        size_t size;
        const char *source;
        const char *escaped;
} tight[] = {
        {1, "abc", ""},
        {2, "abc", "a"},
        {4, "abc", "abc"},
        {3, "abc", "ab"},
        {2, "\xc3\xa9", ""}, /* no half character */
        {3, "\xc3\xa9", "\xc3\xa9"},
        {4, "\n", ""}, /* no half escape */
        {5, "\n", "\\x0a"},
        {5, "\xf0\x9f\x9a\xa7", "\xf0\x9f\x9a\xa7"},
        {4, "\xf0\x9f\x9a\xa7", ""},
        {5, "a\nb", "a"}, /* a cut drops everything after it */
};

START_TEST(cuts_before_what_does_not_fit) {
        for (size_t i = 0; i < sizeof(tight) / sizeof(tight[0]); i++) {
                char buffer[16];

                memset(buffer, '#', sizeof(buffer));
                text_escape(buffer, tight[i].size, tight[i].source);
                ck_assert_msg(strcmp(buffer, tight[i].escaped) == 0, "row %zu: '%s'", i, buffer);
                for (size_t j = tight[i].size; j < sizeof(buffer); j++)
                        ck_assert_msg(buffer[j] == '#', "row %zu wrote beyond its size", i);
        }
}
END_TEST

static const struct {
        const char *text;
        size_t max;
        size_t length;
} cuts[] = {
        {"", 0, 0},
        {"", 216, 0},
        {"abc", 0, 0},
        {"abc", 2, 2},
        {"abc", 3, 3},
        {"abc", 4, 3},
        {"\xc3\xa9", 1, 0},
        {"\xc3\xa9", 2, 2},
        {"a\xe2\x82\xac", 2, 1},
        {"a\xe2\x82\xac", 3, 1},
        {"a\xe2\x82\xac", 4, 4},
        {"\xf0\x9f\x9a\xa7z", 3, 0},
        {"\xf0\x9f\x9a\xa7z", 4, 4},
        {"ab\xe2\x82", 4, 2}, /* already cut within a character */
        {"ab\xe2", 4, 2},
        {"ab\xff"
         "cd",
         5, 2},
};

START_TEST(cuts_between_characters) {
        for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
                size_t length = text_cut(cuts[i].text, cuts[i].max);

                ck_assert_msg(length == cuts[i].length, "row %zu: %zu", i, length);
        }
}
END_TEST

static const struct {
        const char *text;
        size_t size;
        const char *abridged;
} abridgements[] = {
        {"", 4, ""},
        {"abc", 4, "abc"},
        {"abcd", 4, "..."},
        {"abcd", 5, "abcd"},
        {"abcde", 5, "a..."},
        {"\n", 5, "\\x0a"},
        {"\n\n", 8, "\\x0a..."},
        {"\n\n", 8 + 1, "\\x0a\\x0a"},
        {"a\xc3\xa4"
         "bcd",
         6, "a..."},
        {"a\xc3\xa4"
         "bcd",
         7,
         "a\xc3\xa4"
         "bcd"},
};

START_TEST(says_where_it_cuts) {
        for (size_t i = 0; i < sizeof(abridgements) / sizeof(abridgements[0]); i++) {
                char buffer[16];

                text_abridge(buffer, abridgements[i].size, abridgements[i].text);
                ck_assert_msg(strcmp(buffer, abridgements[i].abridged) == 0, "row %zu: %s", i,
                              buffer);
        }
}
END_TEST

/* As UTF-8 encodes numbers of up to 21 bits, characters or not. */
static void encode(uint32_t code, char text[5]) {
        unsigned length = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;

        memset(text, 0, 5);
        for (unsigned i = length; i-- > 1; code >>= 6)
                text[i] = (char)(0x80 | (code & 0x3f));
        text[0] = (char)(length == 1 ? code : (0xf00 >> length & 0xf0) | code);
}

/* A difference would cost everybody the list of leases. */
START_TEST(takes_for_text_what_sd_bus_takes) {
        sd_bus_message *message = NULL;
        sd_bus *bus = NULL;
        int ends[2];
        char text[5];

        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
        ck_assert_int_ge(sd_bus_new(&bus), 0);
        ck_assert_int_ge(sd_bus_set_fd(bus, ends[0], ends[0]), 0);
        ck_assert_int_ge(sd_bus_start(bus), 0);
        for (uint32_t code = 1, n = 0; code < 0x200000; code += test_stride(), n++) {
                bool good, taken;

                if (n % 0x100 == 0) { /* its body grows by copying */
                        sd_bus_message_unref(message);
                        ck_assert_int_ge(sd_bus_message_new(bus, &message, SD_BUS_MESSAGE_SIGNAL),
                                         0);
                }
                encode(code, text);
                good = sd_bus_message_append_basic(message, 's', text) >= 0;
                taken = text_cut(text, SIZE_MAX) == strlen(text);
                ck_assert_msg(taken == good, "U+%04X: %d", code, taken);
        }
        sd_bus_message_unref(message);
        sd_bus_close_unref(bus);
        close(ends[1]);
}
END_TEST

int main(void) {
        return SUITE_RUN("text", escapes_what_no_terminal_or_document_can_bear,
                         escapes_every_control_byte_and_no_other_ascii,
                         cuts_before_what_does_not_fit, cuts_between_characters, says_where_it_cuts,
                         takes_for_text_what_sd_bus_takes);
}
