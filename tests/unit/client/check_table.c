/* SPDX-License-Identifier: Apache-2.0 */

#include "client/table.h"

#include "common/text.h"
#include "tests/test.h"
#include "tests/unit/client/capture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define N_ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))

static const struct table_column columns[] = {
        {"name", "NAME", TABLE_STRING},
        {"count", "COUNT", TABLE_NUMBER},
        {"kinds", "KINDS", TABLE_LIST},
        {"last", "LAST", TABLE_STRING},
};

enum {
        COLUMNS = sizeof(columns) / sizeof(columns[0]),
        CELLS_MAX = 12,
};

struct print {
        enum table_format format;
        int titles;
        int (*act)(const struct table *table, const struct print *print);
        const char *cells[CELLS_MAX]; /* NULL-terminated */
};

static int print_table(const struct table *table, const struct print *print) {
        return table_print(table, print->format, print->titles);
}

static int print_record(const struct table *table, const struct print *print) {
        table_print_record(table, print->format);
        return 0;
}

static int print_cells(const void *argument) {
        const struct print *print = argument;
        TABLE_AUTO struct table table = {.columns = columns, .n_columns = COLUMNS};

        for (size_t i = 0; i < CELLS_MAX && print->cells[i]; i++)
                if (table_add(&table, "%s", print->cells[i]) < 0)
                        return ENOMEM;
        return -print->act(&table, print);
}

static void expect(struct print print, const char *output) {
        ck_assert_int_eq(capture(print_cells, &print), 0);
        ck_assert_str_eq(captured.output, output);
        ck_assert_str_eq(captured.errors, "");
}

#define TWO_ROWS                                                                                   \
        { "a", "12345678", "proc,sysfs", "x", "longer", TABLE_NONE, "", "yyyyyy" }

/* ---- text ---- */

START_TEST(columns_are_as_wide_as_their_widest_cell) {
        expect((struct print){TABLE_TEXT, 1, print_table, TWO_ROWS},
               "NAME      COUNT KINDS      LAST\n"
               "a      12345678 proc,sysfs x\n"
               "longer        -            yyyyyy\n");
}
END_TEST

START_TEST(hidden_titles_have_no_width) {
        expect((struct print){TABLE_TEXT, 0, print_table, {"a", "1", "b", "c"}}, "a 1 b c\n");
        expect((struct print){TABLE_TEXT, 1, print_table, {"a", "1", "b", "c"}},
               "NAME COUNT KINDS LAST\n"
               "a        1 b     c\n");
}
END_TEST

START_TEST(empty_table_has_titles) {
        expect((struct print){TABLE_TEXT, 1, print_table, {NULL}}, "NAME COUNT KINDS LAST\n");
        expect((struct print){TABLE_TEXT, 0, print_table, {NULL}}, "");
}
END_TEST

START_TEST(widths_count_characters) {
        expect((struct print){TABLE_TEXT,
                              0,
                              print_table,
                              {"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", "1", "k", "l", "four", "2",
                               "k", "l"}},
               "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80  1 k l\n"
               "four 2 k l\n");
}
END_TEST

START_TEST(a_record_is_a_line_for_each_cell) {
        expect((struct print){TABLE_TEXT, 0, print_record, {"a b", "1", "", "c"}}, " NAME: a b\n"
                                                                                   "COUNT: 1\n"
                                                                                   "KINDS: \n"
                                                                                   " LAST: c\n");
}
END_TEST

/* ---- JSON ---- */

START_TEST(json_is_an_array_of_objects) {
        expect((struct print){TABLE_JSON_SHORT, 1, print_table, TWO_ROWS},
               "[{\"name\":\"a\",\"count\":12345678,\"kinds\":[\"proc\",\"sysfs\"],"
               "\"last\":\"x\"},"
               "{\"name\":\"longer\",\"count\":null,\"kinds\":[],\"last\":\"yyyyyy\"}]\n");
        expect((struct print){TABLE_JSON_PRETTY, 1, print_table, TWO_ROWS},
               "[\n\t{\n\t\t\"name\": \"a\",\n\t\t\"count\": 12345678,\n"
               "\t\t\"kinds\": [\"proc\",\"sysfs\"],\n\t\t\"last\": \"x\"\n\t},\n"
               "\t{\n\t\t\"name\": \"longer\",\n\t\t\"count\": null,\n"
               "\t\t\"kinds\": [],\n\t\t\"last\": \"yyyyyy\"\n\t}\n]\n");
}
END_TEST

START_TEST(empty_table_is_an_empty_array) {
        expect((struct print){TABLE_JSON_SHORT, 1, print_table, {NULL}}, "[]\n");
        expect((struct print){TABLE_JSON_PRETTY, 1, print_table, {NULL}}, "[]\n");
}
END_TEST

START_TEST(a_record_is_one_object) {
        expect((struct print){TABLE_JSON_SHORT, 0, print_record, {"a", "1", "x", "c"}},
               "{\"name\":\"a\",\"count\":1,\"kinds\":[\"x\"],\"last\":\"c\"}\n");
        expect((struct print){TABLE_JSON_PRETTY, 0, print_record, {"a", "1", "x", "c"}},
               "{\n\t\"name\": \"a\",\n\t\"count\": 1,\n\t\"kinds\": [\"x\"],\n"
               "\t\"last\": \"c\"\n}\n");
}
END_TEST

START_TEST(missing_values_are_null_or_an_empty_list) {
        expect((struct print){TABLE_TEXT, 0, print_record, {"a", TABLE_NONE, TABLE_NONE, "-"}},
               " NAME: a\nCOUNT: -\nKINDS: -\n LAST: -\n");
        expect(
                (struct print){
                        TABLE_JSON_SHORT, 0, print_record, {"a", TABLE_NONE, TABLE_NONE, "-"}},
                "{\"name\":\"a\",\"count\":null,\"kinds\":[],\"last\":\"-\"}\n");
}
END_TEST

START_TEST(numbers_have_64_bits) {
        expect(
                (struct print){
                        TABLE_JSON_SHORT, 0, print_table, {"", "18446744073709551615", "", ""}},
                "[{\"name\":\"\",\"count\":18446744073709551615,\"kinds\":[],\"last\":\"\"}]\n");
}
END_TEST

/* RFC 8259, section 7; also in lists. */
START_TEST(json_strings_are_escaped) {
        expect(
                (struct print){
                        TABLE_JSON_SHORT, 0, print_table, {"\"\\", "0", "\t,\"", "a\x1f/\x7f\n"}},
                "[{\"name\":\"\\\"\\\\\",\"count\":0,\"kinds\":[\"\\u0009\",\"\\\"\"],"
                "\"last\":\"a\\u001f/\x7f\\u000a\"}]\n");
}
END_TEST

/* Cells are escaped before they get here. */
START_TEST(escaped_cells_stay_escaped) {
        char name[64];

        text_escape(name, sizeof(name), "\x1b[2J\xe2\x80\xae\xff");
        expect((struct print){TABLE_JSON_SHORT, 0, print_record, {name, "0", "", ""}},
               "{\"name\":\"\\\\x1b[2J\\\\xe2\\\\x80\\\\xae\\\\xff\",\"count\":0,\"kinds\":[],"
               "\"last\":\"\"}\n");
        expect((struct print){TABLE_TEXT, 0, print_table, {name, "0", "", ""}},
               "\\x1b[2J\\xe2\\x80\\xae\\xff 0  \n");
}
END_TEST

/* ---- all ---- */

START_TEST(copies_formatted_cells) {
        TABLE_AUTO struct table table = {.columns = columns, .n_columns = COLUMNS};
        char text[] = "before";

        ck_assert_int_eq(table_add(&table, "%s %d", text, 7), 0);
        text[0] = '\0';
        ck_assert_int_eq(table_add(&table, TABLE_NONE), 0);
        ck_assert_uint_eq(table.n_cells, 2);
        ck_assert_str_eq(table.cells[0], "before 7");
        ck_assert_str_eq(table.cells[1], "-");
}
END_TEST

int main(void) {
        return SUITE_RUN(
                "table", columns_are_as_wide_as_their_widest_cell, hidden_titles_have_no_width,
                empty_table_has_titles, widths_count_characters, a_record_is_a_line_for_each_cell,
                json_is_an_array_of_objects, empty_table_is_an_empty_array, a_record_is_one_object,
                missing_values_are_null_or_an_empty_list, numbers_have_64_bits,
                json_strings_are_escaped, escaped_cells_stay_escaped, copies_formatted_cells);
}
