/* SPDX-License-Identifier: Apache-2.0 */
/* What visitors carry: cookie and token come back as they were made, and nobody else makes them. */
#include <string.h>

#include "fs_test.h"
#include "route/fs_route_cookie.h"
#include "route/fs_route_token.h"

#define NOW (1700000000 * FS_USEC_PER_SEC)

static const char first_secret[] = "first secret of the farm, long enough";
static const char second_secret[] = "second secret of the farm, as long";
static fs_route_keys_t *keys, *rotated, *foreign;

static void set_up(void)
{
    const fs_route_secret_t first = {first_secret, sizeof(first_secret)};
    const fs_route_secret_t second = {second_secret, sizeof(second_secret)};
    const fs_route_secret_t both[] = {second, first};
    fs_result_t result;

    ck_assert_int_eq(fs_route_keys_make(&keys, &first, 1, &result), APR_SUCCESS);
    ck_assert_int_eq(fs_route_keys_make(&rotated, both, 2, &result), APR_SUCCESS);
    ck_assert_int_eq(fs_route_keys_make(&foreign, &second, 1, &result), APR_SUCCESS);
}

static void tear_down(void)
{
    fs_route_keys_free(keys);
    fs_route_keys_free(rotated);
    fs_route_keys_free(foreign);
}

static fs_route_cookie_t a_cookie(const char *primary, const char *alternate)
{
    fs_route_cookie_t cookie = {{{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 255}}, 7, 0, "", ""};

    cookie.made = fs_route_cookie_minutes(NOW);
    strcpy(cookie.primary, primary);
    strcpy(cookie.alternate, alternate);
    return cookie;
}

static int read_text(const fs_route_keys_t *with, const char *text, fs_route_cookie_t *cookie)
{
    return fs_route_cookie_read(with, text, fs_route_cookie_signed(text, strlen(text)), cookie);
}

START_TEST(a_cookie_comes_back_as_it_was_made)
{
    static const char longest[] =
        "s234567890123456789012345678901234567890123456789012345678901234";
    const char *const names[][2] = {{"web1", "web2"},     {"web1:80", ""},    {"a", "b"},
                                    {longest, longest},   {"web10", "web-2"}, {"w.example", "x.y"},
                                    {"name:8080", "n:1"}, {"abc", "abcd"}};

    ck_assert_uint_eq(strlen(longest), FS_ROUTE_NAME_SIZE - 1);
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        fs_route_cookie_t made = a_cookie(names[i][0], names[i][1]), read;
        char text[FS_ROUTE_COOKIE_SIZE];

        ck_assert_int_eq(fs_route_cookie_write(keys, &made, text), 0);
        ck_assert_uint_lt(strlen(text), sizeof(text));
        ck_assert_int_eq(read_text(keys, text, &read), 0);
        ck_assert_mem_eq(made.id.bytes, read.id.bytes, sizeof(made.id.bytes));
        ck_assert_uint_eq(read.generation, 7);
        ck_assert_int_eq(fs_route_cookie_made(&read), NOW / 60000000 * 60000000);
        ck_assert_str_eq(read.primary, names[i][0]);
        ck_assert_str_eq(read.alternate, names[i][1]);
    }
}
END_TEST

START_TEST(balancers_find_the_home_behind_the_dot)
{
    fs_route_cookie_t made = a_cookie("web1.example", "web2"), read;
    char text[FS_ROUTE_COOKIE_SIZE];

    fs_route_cookie_write(keys, &made, text);
    ck_assert_str_eq(strchr(text, '.'), ".web1.example");
    strcpy(strchr(text, '.'), ".web9"); /* it says nothing to us */
    ck_assert_int_eq(read_text(keys, text, &read), 0);
    ck_assert_str_eq(read.primary, "web1.example");
}
END_TEST

/* Every single character counts, and there is no second spelling of a text. */
START_TEST(a_cookie_that_was_changed_is_nobodys)
{
    fs_route_cookie_t made, read;
    char text[FS_ROUTE_COOKIE_SIZE], changed[FS_ROUTE_COOKIE_SIZE];
    size_t length;

    for (unsigned extra = 0; extra < 3; extra++) { /* each way that a last group can end */
        made = a_cookie(extra == 0 ? "web1" : extra == 1 ? "web11" : "web111", "web2");
        fs_route_cookie_write(keys, &made, text);
        length = fs_route_cookie_signed(text, strlen(text));
        for (size_t i = 0; i < length; i++)
            for (const char *other = "AZaz09-_.=+/ "; *other; other++) {
                strcpy(changed, text);
                if (changed[i] == *other)
                    continue;
                changed[i] = *other;
                ck_assert_int_ne(fs_route_cookie_read(keys, changed, length, &read), 0);
            }
        for (size_t i = 0; i < length; i++)
            ck_assert_int_ne(fs_route_cookie_read(keys, text, i, &read), 0);
    }
}
END_TEST

START_TEST(both_keys_of_a_rotation_are_accepted)
{
    fs_route_cookie_t made = a_cookie("web1", "web2"), read;
    char old[FS_ROUTE_COOKIE_SIZE], new[FS_ROUTE_COOKIE_SIZE];

    fs_route_cookie_write(keys, &made, old);
    fs_route_cookie_write(rotated, &made, new);
    ck_assert_int_eq(read_text(rotated, old, &read), 0);
    ck_assert_int_eq(read_text(rotated, new, &read), 0);
    ck_assert_int_ne(read_text(keys, new, &read), 0);
    ck_assert_int_ne(read_text(foreign, old, &read), 0);
    ck_assert_uint_ne(fs_route_keys_epoch(keys), fs_route_keys_epoch(rotated));
}
END_TEST

START_TEST(a_visitor_has_one_id_on_all_servers)
{
    fs_route_keys_t *elsewhere;
    const fs_route_secret_t first = {first_secret, sizeof(first_secret)};
    fs_route_id_t a, b;
    fs_result_t result;

    fs_route_keys_make(&elsewhere, &first, 1, &result);
    ck_assert_int_eq(fs_route_id_of(&a, keys, 0, "anna", 4), 0);
    ck_assert_int_eq(fs_route_id_of(&b, elsewhere, 0, "anna", 4), 0);
    ck_assert_mem_eq(a.bytes, b.bytes, sizeof(a.bytes));
    ck_assert_int_eq(fs_route_id_of(&b, rotated, 1, "anna", 4), 0); /* known by the old key */
    ck_assert_mem_eq(a.bytes, b.bytes, sizeof(a.bytes));
    fs_route_id_of(&b, keys, 0, "annb", 4);
    ck_assert_mem_ne(a.bytes, b.bytes, sizeof(a.bytes));
    fs_route_id_of(&b, foreign, 0, "anna", 4);
    ck_assert_mem_ne(a.bytes, b.bytes, sizeof(a.bytes));
    ck_assert_int_ne(fs_route_id_of(&b, keys, 1, "anna", 4), 0);
    fs_route_keys_free(elsewhere);
}
END_TEST

static fs_route_token_t a_token(fs_usec_t expires)
{
    fs_route_token_t token = {.generation = 9, .hops = 1, .flags = FS_ROUTE_TOKEN_GONE};

    token.expires = expires;
    memset(token.id.bytes, 0xa5, sizeof(token.id.bytes));
    strcpy(token.from, "web1");
    strcpy(token.to, "web2");
    strcpy(token.primary, "web3");
    strcpy(token.address, "2001:db8::1");
    return token;
}

START_TEST(no_two_tokens_are_the_same)
{
    fs_route_token_kind_t kind = _i ? FS_ROUTE_TOKEN_PROXY : FS_ROUTE_TOKEN_REDIRECT;
    static char texts[300][FS_ROUTE_TOKEN_SIZE];
    fs_route_token_t made = a_token(NOW);

    for (unsigned i = 0; i < 300; i++) {
        ck_assert_int_eq(fs_route_token_write(keys, kind, &made, texts[i]), 0);
        for (unsigned k = 0; k < i; k++)
            ck_assert_str_ne(texts[i], texts[k]);
    }
}
END_TEST

START_TEST(a_token_comes_back_as_it_was_made)
{
    fs_route_token_t made = a_token(NOW + FS_ROUTE_REDIRECT_SPAN), read;
    char text[FS_ROUTE_TOKEN_SIZE];

    ck_assert_int_eq(fs_route_token_write(keys, FS_ROUTE_TOKEN_REDIRECT, &made, text), 0);
    ck_assert_int_eq(
        fs_route_token_read(keys, FS_ROUTE_TOKEN_REDIRECT, text, strlen(text), NOW, &read),
        FS_ROUTE_TOKEN_GOOD);
    ck_assert_mem_eq(made.id.bytes, read.id.bytes, sizeof(read.id.bytes));
    ck_assert_mem_eq(made.nonce, read.nonce, sizeof(read.nonce));
    ck_assert_uint_eq(read.generation, 9);
    ck_assert_uint_eq(read.hops, 1);
    ck_assert_uint_eq(read.flags, FS_ROUTE_TOKEN_GONE);
    ck_assert_str_eq(read.from, "web1");
    ck_assert_str_eq(read.to, "web2");
    ck_assert_str_eq(read.primary, "web3");
    ck_assert_str_eq(read.alternate, "");
    ck_assert_str_eq(read.address, "2001:db8::1");
}
END_TEST

START_TEST(a_token_counts_for_its_kind_and_its_time)
{
    fs_route_token_t made = a_token(NOW + FS_ROUTE_REDIRECT_SPAN), read;
    char text[FS_ROUTE_TOKEN_SIZE], cookie_text[FS_ROUTE_COOKIE_SIZE];
    fs_route_cookie_t cookie = a_cookie("web1", "web2");
    size_t length;

    fs_route_token_write(keys, FS_ROUTE_TOKEN_REDIRECT, &made, text);
    length = strlen(text);
    ck_assert_int_eq(fs_route_token_read(keys, FS_ROUTE_TOKEN_PROXY, text, length, NOW, &read),
                     FS_ROUTE_TOKEN_FORGED);
    ck_assert_int_eq(
        fs_route_token_read(foreign, FS_ROUTE_TOKEN_REDIRECT, text, length, NOW, &read),
        FS_ROUTE_TOKEN_FORGED);
    ck_assert_int_eq(
        fs_route_token_read(keys, FS_ROUTE_TOKEN_REDIRECT, text, length, made.expires + 1, &read),
        FS_ROUTE_TOKEN_EXPIRED);
    ck_assert_uint_eq(read.hops, 1);
    ck_assert_int_eq(fs_route_token_read(keys, FS_ROUTE_TOKEN_REDIRECT, text, length,
                                         NOW - 3600 * FS_USEC_PER_SEC, &read),
                     FS_ROUTE_TOKEN_EXPIRED);
    ck_assert_int_ne(fs_route_cookie_read(keys, text, length, &cookie), 0);
    cookie = a_cookie("web1", "web2");
    fs_route_cookie_write(keys, &cookie, cookie_text);
    length = fs_route_cookie_signed(cookie_text, strlen(cookie_text));
    ck_assert_int_eq(
        fs_route_token_read(keys, FS_ROUTE_TOKEN_REDIRECT, cookie_text, length, NOW, &read),
        FS_ROUTE_TOKEN_FORGED);
}
END_TEST

START_TEST(two_tokens_are_never_the_same)
{
    fs_route_token_t made = a_token(NOW);
    char a[FS_ROUTE_TOKEN_SIZE], b[FS_ROUTE_TOKEN_SIZE];

    fs_route_token_write(keys, FS_ROUTE_TOKEN_REDIRECT, &made, a);
    fs_route_token_write(keys, FS_ROUTE_TOKEN_REDIRECT, &made, b);
    ck_assert_str_ne(a, b);
}
END_TEST

/* A name will stand in headers: what can't isn't taken even with a good signature. */
START_TEST(a_signed_name_with_a_line_end_is_refused)
{
    fs_route_cookie_t made = a_cookie("web1\r\nX: y", ""), read;
    char text[FS_ROUTE_COOKIE_SIZE];

    fs_route_cookie_write(keys, &made, text);
    ck_assert_int_ne(read_text(keys, text, &read), 0);
    made = a_cookie("", "");
    fs_route_cookie_write(keys, &made, text);
    ck_assert_int_ne(read_text(keys, text, &read), 0);
}
END_TEST

START_TEST(a_farm_without_a_good_key_is_told_so)
{
    const fs_route_secret_t weak = {"weak", 4};
    fs_route_keys_t *made;
    fs_result_t result;

    ck_assert_int_ne(fs_route_keys_make(&made, &weak, 1, &result), APR_SUCCESS);
    ck_assert_str_eq(result.problem, "FS1602");
    ck_assert_ptr_null(made);
    ck_assert_int_ne(fs_route_keys_make(&made, &weak, 0, &result), APR_SUCCESS);
}
END_TEST

static Suite *suite(void)
{
    Suite *made = suite_create("cookie and token of routing");
    TCase *tests = tcase_create("signed");

    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_add_test(tests, a_cookie_comes_back_as_it_was_made);
    tcase_add_test(tests, balancers_find_the_home_behind_the_dot);
    tcase_add_test(tests, a_cookie_that_was_changed_is_nobodys);
    tcase_add_test(tests, both_keys_of_a_rotation_are_accepted);
    tcase_add_test(tests, a_visitor_has_one_id_on_all_servers);
    tcase_add_test(tests, a_token_comes_back_as_it_was_made);
    tcase_add_loop_test(tests, no_two_tokens_are_the_same, 0, 2);
    tcase_add_test(tests, a_token_counts_for_its_kind_and_its_time);
    tcase_add_test(tests, two_tokens_are_never_the_same);
    tcase_add_test(tests, a_signed_name_with_a_line_end_is_refused);
    tcase_add_test(tests, a_farm_without_a_good_key_is_told_so);
    suite_add_tcase(made, tests);
    return made;
}

FS_TEST_MAIN(suite)
