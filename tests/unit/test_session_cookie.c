/* SPDX-License-Identifier: Apache-2.0 */
/* The session cookie: found in what visitors send, safe in what they get. */
#include <string.h>

#include <apr_general.h>

#include "fs_test.h"
#include "session_cookie.h"

static apr_pool_t *pool;

static void set_up(void)
{
    apr_initialize();
    apr_pool_create(&pool, NULL);
}

static void tear_down(void)
{
    apr_pool_destroy(pool);
    apr_terminate();
}

/* All values of the cookie "s", with a bar between them. */
static const char *values_in(const char *header)
{
    static char found[256];
    const char *at = header, *value;
    size_t length;

    found[0] = '\0';
    while (fs_cookie_next(&at, "s", &value, &length)) {
        ck_assert_uint_lt(strlen(found) + length + 2, sizeof(found));
        strncat(found, value, length);
        strcat(found, "|");
    }
    return found;
}

START_TEST(cookies_are_found_by_their_whole_name)
{
    ck_assert_str_eq(values_in("s=1"), "1|");
    ck_assert_str_eq(values_in("a=0; s=1; b=2"), "1|");
    ck_assert_str_eq(values_in("s=1; s=2,s=3"), "1|2|3|");
    ck_assert_str_eq(values_in(" s = 1 ;s=\"2\""), "1|2|");
    ck_assert_str_eq(values_in("s=;s=\"\""), "||");
    ck_assert_str_eq(values_in("s=a=b"), "a=b|");
    ck_assert_str_eq(values_in("s=\""), "\"|");
    ck_assert_str_eq(values_in("ss=1; xs=2; S=3; s; ;=; s1"), "");
    ck_assert_str_eq(values_in(""), "");
}
END_TEST

static const char *sent(const char *name, const char *attributes, int tls)
{
    fs_cookie_t cookie;
    const char *problem = fs_cookie_make(&cookie, name, attributes, pool);

    ck_assert_msg(!problem, "%s", problem);
    return fs_cookie_text(&cookie, "ID", tls, pool);
}

START_TEST(what_is_left_out_is_added_as_is_safe)
{
    ck_assert_str_eq(sent("s", NULL, 0), "s=ID; Path=/; HttpOnly; SameSite=Lax");
    ck_assert_str_eq(sent("s", "", 1), "s=ID; Path=/; HttpOnly; SameSite=Lax; Secure");
    ck_assert_str_eq(sent("s", "path=/a;secure; samesite=Strict ; httponly", 1),
                     "s=ID; path=/a; secure; samesite=Strict; httponly");
    ck_assert_str_eq(sent("s", "!HttpOnly;!Secure", 1), "s=ID; Path=/; SameSite=Lax");
    ck_assert_str_eq(sent("s", "SameSite=None", 0),
                     "s=ID; SameSite=None; Path=/; HttpOnly; Secure");
    ck_assert_str_eq(sent("__Host-s", NULL, 0),
                     "__Host-s=ID; Path=/; HttpOnly; SameSite=Lax; Secure");
}
END_TEST

START_TEST(a_cookie_is_taken_back_where_it_was_set)
{
    fs_cookie_t cookie;

    ck_assert_ptr_null(fs_cookie_make(&cookie, "s", "Path=/a; Domain=d.example; Max-Age=60", pool));
    ck_assert_int_eq(cookie.lasts, 1);
    ck_assert_str_eq(fs_cookie_text(&cookie, NULL, 0, pool),
                     "s=; Path=/a; Domain=d.example; HttpOnly; SameSite=Lax; Max-Age=0; "
                     "Expires=Thu, 01 Jan 1970 00:00:00 GMT");
    ck_assert_ptr_null(fs_cookie_make(&cookie, "s", NULL, pool));
    ck_assert_int_eq(cookie.lasts, 0);
}
END_TEST

START_TEST(contradictions_are_refused)
{
    static const struct {
        const char *name, *attributes;
    } bad[] = {{"", NULL},
               {"a b", NULL},
               {"a=b", NULL},
               {"s", "Path=/;PATH=/a"},
               {"s", "!Secure;SameSite=none"},
               {"s", "!Path=/"},
               {"s", "a b"},
               {"s", "X=\r\nSet-Cookie: y"},
               {"__Host-s", "Path=/a"},
               {"__Host-s", "Domain=d.example"},
               {"__Secure-s", "!Secure"}};

    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        fs_cookie_t cookie;

        ck_assert_msg(fs_cookie_make(&cookie, bad[i].name, bad[i].attributes, pool) != NULL,
                      "%s %s", bad[i].name, bad[i].attributes);
    }
}
END_TEST

static Suite *cookie_suite(void)
{
    Suite *suite = suite_create("session cookie");
    TCase *all = tcase_create("cookie");

    tcase_add_checked_fixture(all, set_up, tear_down);
    tcase_add_test(all, cookies_are_found_by_their_whole_name);
    tcase_add_test(all, what_is_left_out_is_added_as_is_safe);
    tcase_add_test(all, a_cookie_is_taken_back_where_it_was_set);
    tcase_add_test(all, contradictions_are_refused);
    suite_add_tcase(suite, all);
    return suite;
}

FS_TEST_MAIN(cookie_suite)
