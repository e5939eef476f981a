/* SPDX-License-Identifier: Apache-2.0 */
/* How the module writes values: JSON, HTML, parts of a path. */
#include "fs_test.h"

#include <string.h>

#include <apr_general.h>

#include "../../mod_farmsync/text.h"
#include "base/fs_json_scan.h"

static apr_pool_t *pool;
static fs_text_t text;

static void begin(void)
{
    apr_initialize();
    apr_pool_create(&pool, NULL);
    fs_text_init(&text, pool);
}

static void end(void)
{
    apr_pool_destroy(pool);
    apr_terminate();
}

static const char *json_of(const char *data, size_t length, fs_column_type_t type)
{
    fs_slice_t value = {data, (uint32_t)length};

    fs_text_init(&text, pool);
    fs_text_json_value(&text, value, type);
    return text.data;
}

#define JSON_OF(literal, type) json_of(literal, sizeof(literal) - 1, type)

START_TEST(text_grows)
{
    char expected[100001];

    for (int i = 0; i < 10000; i++)
        fs_text_printf(&text, "%010d", i % 7);
    for (int i = 0; i < 10000; i++)
        snprintf(expected + (size_t)i * 10, 11, "%010d", i % 7);
    ck_assert_uint_eq(text.length, 100000);
    ck_assert_str_eq(text.data, expected);
    fs_text_add(&text, "", 0);
    ck_assert_uint_eq(text.length, 100000);
}
END_TEST

START_TEST(strings_are_escaped)
{
    ck_assert_str_eq(JSON_OF("a\"b\\c\n\r\t\x01\x7f\0z</", FS_COLUMN_TEXT),
                     "\"a\\\"b\\\\c\\n\\r\\t\\u0001\\u007f\\u0000z</\"");
    ck_assert_str_eq(JSON_OF("\xc3\xa4", FS_COLUMN_TEXT), "\"\xc3\xa4\"");
    ck_assert_str_eq(JSON_OF("2026-11-21", FS_COLUMN_TIME), "\"2026-11-21\"");
    ck_assert_str_eq(json_of(NULL, 0, FS_COLUMN_TEXT), "null");
    ck_assert_str_eq(JSON_OF("", FS_COLUMN_TEXT), "\"\"");
}
END_TEST

/* As it is to be written; its length. */
static size_t escape(unsigned char character, char out[8])
{
    static const char letters[] = {
        ['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't', ['"'] = '"', ['\\'] = '\\'};

    if (character < sizeof(letters) && letters[character])
        return (size_t)snprintf(out, 8, "\\%c", letters[character]);
    if (character < 0x20 || character == 0x7f)
        return (size_t)snprintf(out, 8, "\\u%04x", character);
    out[0] = (char)character;
    return 1;
}

/* It looks at eight at a time: each character at each place, between others. */
START_TEST(every_character_is_escaped_wherever_it_stands)
{
    static const char others[] = {0x1f, ' ', '!', '"', 'x', (char)0x80};
    char data[20], expected[2 + 8 * sizeof(data)];

    for (unsigned other = 0; other < sizeof(others); other++)
        for (unsigned character = 0; character < 256; character++)
            for (size_t place = 0; place < sizeof(data); place++) {
                size_t length = 1;

                memset(data, others[other], sizeof(data));
                data[place] = (char)character;
                expected[0] = '"';
                for (size_t i = 0; i < sizeof(data); i++)
                    length += escape((unsigned char)data[i], expected + length);
                memcpy(expected + length, "\"", 2);
                ck_assert_str_eq(json_of(data, sizeof(data), FS_COLUMN_TEXT), expected);
            }
}
END_TEST

START_TEST(numbers_keep_their_digits_and_what_is_none_is_a_string)
{
    static const char *const good[] = {"0",    "-1",   "10.50",  "123456789012345678901234567890.1",
                                       "1e10", "1E+5", "-0.5e-3"};
    static const char *const bad[] = {"007", "",   "-",  "1.",  ".5",  "1e",  "+1",
                                      "nan", "1 ", " 1", "0x1", "1,5", "1e+", "--1"};
    char quoted[64];

    for (unsigned i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        ck_assert_str_eq(json_of(good[i], strlen(good[i]), FS_COLUMN_DECIMAL), good[i]);
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        snprintf(quoted, sizeof(quoted), "\"%s\"", bad[i]);
        ck_assert_str_eq(json_of(bad[i], strlen(bad[i]), FS_COLUMN_INTEGER), quoted);
    }
}
END_TEST

START_TEST(json_is_kept_if_it_is_json)
{
    static const char *const good[] = {
        "{}",   "[]",   "null",           " {\"a\" : [1, -2.5e3, \"x\\u00e4\\n\"] } ",
        "\"\"", "true", "[[],{\"\":{}}]", "7"};
    static const char *const bad[] = {"",    "{",      "[1,]",  "{\"a\":}",   "{a:1}",
                                      "nul", "\"\n\"", "[1] 2", "\"\\x\"",    "\"\\u12\"",
                                      "'a'", "\"",     "]",     "{\"a\":1,}", "\"\\"};

    for (unsigned i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        ck_assert_msg(fs_json_is_value(good[i], strlen(good[i])), "%s", good[i]);
        ck_assert_str_eq(json_of(good[i], strlen(good[i]), FS_COLUMN_JSON), good[i]);
    }
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        ck_assert_msg(!fs_json_is_value(bad[i], strlen(bad[i])), "%s", bad[i]);
    ck_assert(!fs_json_is_value("1\0002", 3));
    ck_assert_str_eq(JSON_OF("[1,", FS_COLUMN_JSON), "\"[1,\"");
}
END_TEST

START_TEST(json_that_is_too_deep_is_a_string)
{
    char deep[4001];

    memset(deep, '[', 2000);
    memset(deep + 2000, ']', 2000);
    ck_assert(!fs_json_is_value(deep, 4000));
    ck_assert(fs_json_is_value(deep + 1950, 100));
}
END_TEST

START_TEST(binary_is_base64)
{
    ck_assert_str_eq(JSON_OF("\0\xff", FS_COLUMN_BINARY), "\"AP8=\"");
    ck_assert_str_eq(JSON_OF("", FS_COLUMN_BINARY), "\"\"");
    ck_assert_str_eq(JSON_OF("abc", FS_COLUMN_BINARY), "\"YWJj\"");
}
END_TEST

START_TEST(html_is_inert)
{
    fs_text_html(&text, "<a href=\"x\" b='y'>&amp;</a>");
    ck_assert_str_eq(text.data, "&lt;a href=&quot;x&quot; b=&#39;y&#39;&gt;&amp;amp;&lt;/a&gt;");
}
END_TEST

START_TEST(part_of_a_path_is_one_part)
{
    fs_text_part(&text, "a/b%c ?#\0\xff+x.y~z", 16);
    ck_assert_str_eq(text.data, "a%2Fb%25c%20%3F%23%00%FF%2Bx.y~z");
}
END_TEST

static Suite *text_suite(void)
{
    Suite *suite = suite_create("text");
    TCase *tcase = tcase_create("text");

    tcase_add_checked_fixture(tcase, begin, end);
    tcase_add_test(tcase, text_grows);
    tcase_add_test(tcase, strings_are_escaped);
    tcase_add_test(tcase, every_character_is_escaped_wherever_it_stands);
    tcase_add_test(tcase, numbers_keep_their_digits_and_what_is_none_is_a_string);
    tcase_add_test(tcase, json_is_kept_if_it_is_json);
    tcase_add_test(tcase, json_that_is_too_deep_is_a_string);
    tcase_add_test(tcase, binary_is_base64);
    tcase_add_test(tcase, html_is_inert);
    tcase_add_test(tcase, part_of_a_path_is_one_part);
    suite_add_tcase(suite, tcase);
    return suite;
}

FS_TEST_MAIN(text_suite)
