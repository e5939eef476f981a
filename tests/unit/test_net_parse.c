/* SPDX-License-Identifier: Apache-2.0 */
#include "fs_test.h"

#include <string.h>

#include "net/fs_http_parse.h"

static char text[20000];

static int parse(fs_http_head_t *head, const char *source)
{
    snprintf(text, sizeof(text), "%s", source);
    return fs_http_parse_head(head, text, strlen(text));
}

START_TEST(head_is_read)
{
    fs_http_head_t head;

    ck_assert_int_eq(parse(&head, "PUT /v1/a%20b?x=1 HTTP/1.1\r\nHost: a\r\nX-A:\t b c \r\n"
                                  "content-length: 12\r\nExpect: 100-continue\r\n\r\n"),
                     0);
    ck_assert_str_eq(head.method, "PUT");
    ck_assert_str_eq(head.target, "/v1/a%20b?x=1");
    ck_assert_str_eq(fs_http_head_field(&head, "x-a"), "b c");
    ck_assert_ptr_null(fs_http_head_field(&head, "x-b"));
    ck_assert_uint_eq(head.content_length, 12);
    ck_assert(head.keep_alive && head.expects_continue);
    ck_assert_int_eq(parse(&head, "GET http://host:80/a HTTP/1.1\r\nConnection: x, Close\r\n\r\n"),
                     0);
    ck_assert_str_eq(head.target, "/a");
    ck_assert(!head.keep_alive);
    ck_assert_int_eq(parse(&head, "GET / HTTP/1.0\r\n\r\n"), 0);
    ck_assert(!head.keep_alive);
    ck_assert_int_eq(parse(&head, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"), 0);
    ck_assert(head.keep_alive);
}
END_TEST

START_TEST(heads_that_two_readers_could_take_differently_are_refused)
{
    static const struct {
        int status;
        const char *source;
    } bad[] = {{400, ""},
               {400, "\r\n\r\n"},
               {400, "GET /\r\n\r\n"},
               {400, "GET  / HTTP/1.1\r\n\r\n"},
               {505, "GET / HTTP/1.1 \r\n\r\n"},
               {400, "GET / http/1.1\r\n\r\n"},
               {505, "GET / HTTP/2.0\r\n\r\n"},
               {505, "GET / HTTP/1.10\r\n\r\n"},
               {400, "G@T / HTTP/1.1\r\n\r\n"},
               {400, "GET a HTTP/1.1\r\n\r\n"},
               {400, "GET * HTTP/1.1\r\n\r\n"},
               {400, "GET /a#b HTTP/1.1\r\n\r\n"},
               {400, "GET /\xc3\xa9 HTTP/1.1\r\n\r\n"},
               {400, "GET http://host HTTP/1.1\r\n\r\n"},
               {400, "GET / HTTP/1.1\nHost: a\n\n"},
               {400, "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n"},
               {400, "GET / HTTP/1.1\r\nHost : a\r\n\r\n"},
               {400, "GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n"},
               {400, "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"},
               {400, "GET / HTTP/1.1\r\nHost\r\n\r\n"},
               {400, "GET / HTTP/1.1\r\n: a\r\n\r\n"},
               {400, "GET / HTTP/1.1\r\nX: a\x01\r\n\r\n"},
               {400, "GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n"},
               {400, "GET / HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\n"},
               {400, "GET / HTTP/1.1\r\nContent-Length: +1\r\n\r\n"},
               {400, "GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n"},
               {400, "GET / HTTP/1.1\r\nContent-Length: 0x1\r\n\r\n"},
               {400, "GET / HTTP/1.1\r\nContent-Length:\r\n\r\n"},
               {400, "GET / HTTP/1.1\r\nContent-Length: 18446744073709551616\r\n\r\n"},
               {411, "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"},
               {411, "GET / HTTP/1.1\r\nTransfer-Encoding: identity\r\nContent-Length: 1\r\n\r\n"},
               {417, "GET / HTTP/1.1\r\nExpect: miracles\r\n\r\n"}};
    fs_http_head_t head;

    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        ck_assert_msg(parse(&head, bad[i].source) == bad[i].status, "%s", bad[i].source);
}
END_TEST

START_TEST(nul_and_field_count_are_refused)
{
    fs_http_head_t head;
    char source[4096] = "GET / HTTP/1.1\r\n";

    memcpy(text, "GET / HTTP/1.1\r\nX: a\0b\r\n\r\n", 27);
    ck_assert_int_eq(fs_http_parse_head(&head, text, 26), 400);
    for (int i = 0; i < FS_HTTP_MAX_FIELDS; i++)
        strcat(source, "X: y\r\n");
    strcat(source, "\r\n");
    ck_assert_int_eq(parse(&head, source), 0);
    strcpy(strstr(source, "\r\n\r\n"), "\r\nX: y\r\n\r\n");
    ck_assert_int_eq(parse(&head, source), 431);
}
END_TEST

START_TEST(query_is_split_and_decoded)
{
    fs_http_field_t params[FS_HTTP_MAX_PARAMS];
    char query[] = "a=1&b=x%20y%2B+z&&c&d=", bad[] = "a=%zz", cut[] = "a=%4", nul[] = "a=%00";
    char many[200] = "";

    ck_assert_int_eq(fs_http_parse_query(query, params), 4);
    ck_assert_str_eq(params[1].name, "b");
    ck_assert_str_eq(params[1].value, "x y+ z");
    ck_assert_str_eq(params[2].name, "c");
    ck_assert_str_eq(params[3].value, "");
    ck_assert_int_eq(fs_http_parse_query(bad, params), -1);
    ck_assert_int_eq(fs_http_parse_query(cut, params), -1);
    ck_assert_int_eq(fs_http_parse_query(nul, params), -1);
    for (int i = 0; i <= FS_HTTP_MAX_PARAMS; i++)
        strcat(many, "a=&");
    ck_assert_int_eq(fs_http_parse_query(many, params), -1);
}
END_TEST

START_TEST(range_follows_rfc_9110)
{
    static const struct {
        const char *value;
        int result;
        uint64_t first, last;
    } cases[] = {{"bytes=0-0", 1, 0, 0},
                 {"bytes=5-", 1, 5, 9},
                 {"bytes=5-100", 1, 5, 9},
                 {"bytes=-3", 1, 7, 9},
                 {"bytes=-100", 1, 0, 9},
                 {"bytes=9-9", 1, 9, 9},
                 {"bytes=10-", -1, 0, 0},
                 {"bytes=-0", -1, 0, 0},
                 {"bytes=5-4", 0, 0, 0},
                 {"bytes=0-1,3-4", 0, 0, 0},
                 {"bytes=-", 0, 0, 0},
                 {"bytes=", 0, 0, 0},
                 {"bytes=a-b", 0, 0, 0},
                 {"lines=1-2", 0, 0, 0},
                 {"bytes=--1", 0, 0, 0},
                 {"bytes=0-18446744073709551615", 1, 0, 9},
                 {"bytes=99999999999999999999-", 0, 0, 0}};
    uint64_t first, last;

    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        first = last = 0;
        ck_assert_msg(fs_http_parse_range(cases[i].value, 10, &first, &last) == cases[i].result,
                      "%s", cases[i].value);
        if (cases[i].result == 1) {
            ck_assert_uint_eq(first, cases[i].first);
            ck_assert_uint_eq(last, cases[i].last);
        }
    }
    ck_assert_int_eq(fs_http_parse_range(NULL, 10, &first, &last), 0);
    ck_assert_int_eq(fs_http_parse_range("bytes=0-", 0, &first, &last), -1);
}
END_TEST

START_TEST(etags_are_compared_weakly)
{
    ck_assert(fs_http_etag_matches("\"a\"", "\"a\""));
    ck_assert(fs_http_etag_matches("\"b\", W/\"a\"", "\"a\""));
    ck_assert(fs_http_etag_matches("*", "\"a\""));
    ck_assert(!fs_http_etag_matches("\"ab\"", "\"a\""));
    ck_assert(!fs_http_etag_matches("a", "\"a\""));
    ck_assert(!fs_http_etag_matches("\"a", "\"a\""));
    ck_assert(!fs_http_etag_matches("", "\"a\""));
}
END_TEST

START_TEST(listen_addresses_are_read)
{
    char host[64];
    unsigned port;

    ck_assert_int_eq(fs_http_parse_listen("10.0.0.1:4470", host, sizeof(host), &port), 0);
    ck_assert_str_eq(host, "10.0.0.1");
    ck_assert_uint_eq(port, 4470);
    ck_assert_int_eq(fs_http_parse_listen("[::1]:0", host, sizeof(host), &port), 0);
    ck_assert_str_eq(host, "::1");
    ck_assert_int_eq(fs_http_parse_listen("::1:80", host, sizeof(host), &port), -1);
    ck_assert_int_eq(fs_http_parse_listen(":80", host, sizeof(host), &port), -1);
    ck_assert_int_eq(fs_http_parse_listen("[]:80", host, sizeof(host), &port), -1);
    ck_assert_int_eq(fs_http_parse_listen("a:65536", host, sizeof(host), &port), -1);
    ck_assert_int_eq(fs_http_parse_listen("a:", host, sizeof(host), &port), -1);
    ck_assert_int_eq(fs_http_parse_listen("a", host, sizeof(host), &port), -1);
}
END_TEST

static Suite *suite(void)
{
    Suite *suite = suite_create("net-parse");
    TCase *one = tcase_create("parse");

    tcase_add_test(one, head_is_read);
    tcase_add_test(one, heads_that_two_readers_could_take_differently_are_refused);
    tcase_add_test(one, nul_and_field_count_are_refused);
    tcase_add_test(one, query_is_split_and_decoded);
    tcase_add_test(one, range_follows_rfc_9110);
    tcase_add_test(one, etags_are_compared_weakly);
    tcase_add_test(one, listen_addresses_are_read);
    suite_add_tcase(suite, one);
    return suite;
}

FS_TEST_MAIN(suite)
