/* SPDX-License-Identifier: Apache-2.0 */
#include "fs_test.h"

#include <string.h>
#include <sys/stat.h>

#include "base/fs_file.h"
#include "net/fs_key.h"

#define SECRET_A "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define SECRET_B "ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100"

static apr_status_t parse(fs_keyring_t *ring, const char *text, fs_result_t *result)
{
    return fs_keyring_parse(ring, "farm.key", text, strlen(text), result);
}

START_TEST(key_file_gives_the_first_two_keys)
{
    fs_keyring_t ring;
    fs_result_t result;

    ck_assert_int_eq(parse(&ring,
                           "# farm key\n\n  new " SECRET_A "  # since May\r\n\told\t" SECRET_B
                           "\nolder " SECRET_A,
                           &result),
                     APR_SUCCESS);
    ck_assert_uint_eq(ring.count, 2);
    ck_assert_str_eq(ring.keys[0].id, "new");
    ck_assert_uint_eq(ring.keys[0].length, 32);
    ck_assert_uint_eq(ring.keys[0].secret[31], 0x1f);
    ck_assert_str_eq(ring.keys[1].id, "old");
    ck_assert_uint_eq(ring.keys[1].secret[0], 0xff);
}
END_TEST

START_TEST(key_file_errors_name_the_line)
{
    static const struct {
        const char *text;
        const char *said;
    } bad[] = {{"", "holds no key"},
               {"# only this\n", "holds no key"},
               {"\nid\n", "line 2"},
               {"id abcd\n", "64 to 128"},
               {"id " SECRET_A "0\n", "even"},
               {"id " SECRET_A "0g\n", "no hex digit"},
               {"id " SECRET_A " more\n", "nothing else"},
               {"i.d " SECRET_A "\n", "letters"},
               {"a-name-that-is-longer-than-thirty-2 " SECRET_A "\n", "1 to 32"},
               {"id " SECRET_A SECRET_A "00\n", "64 to 128"},
               {"id " SECRET_A "\nid " SECRET_B "\n", "line 2"}};
    fs_keyring_t ring;
    fs_result_t result;

    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_int_ne(parse(&ring, bad[i].text, &result), APR_SUCCESS);
        ck_assert_str_eq(result.problem, "FS0203");
        ck_assert_msg(strstr(result.detail, bad[i].said), "%s", result.detail);
        ck_assert_msg(!strstr(result.detail, "0001020304"), "a secret in a message");
    }
}
END_TEST

START_TEST(key_file_open_to_everybody_is_refused)
{
    char *dir = fs_test_mkdir(), path[256];
    const char text[] = "id " SECRET_A "\n";
    fs_keyring_t ring;
    fs_result_t result;

    snprintf(path, sizeof(path), "%s/key", dir);
    ck_assert_int_ne(fs_keyring_read(&ring, path, &result), APR_SUCCESS);
    ck_assert_str_eq(result.problem, "FS0201");
    ck_assert_int_eq(fs_file_write(path, text, strlen(text), &result), APR_SUCCESS);
    ck_assert_int_eq(fs_keyring_read(&ring, path, &result), APR_SUCCESS);
    ck_assert_uint_eq(ring.count, 1);
    ck_assert_int_eq(chmod(path, 0644), 0);
    ck_assert_int_ne(fs_keyring_read(&ring, path, &result), APR_SUCCESS);
    ck_assert_str_eq(result.problem, "FS0202");
    ck_assert_uint_eq(ring.count, 0);
    fs_test_rmdir(dir);
}
END_TEST

static fs_keyring_t make_ring(const char *text)
{
    fs_keyring_t ring;

    ck_assert_int_eq(parse(&ring, text, NULL), APR_SUCCESS);
    return ring;
}

/* The construction is public (fs_key.h); this MAC was computed independently with Python's hmac. */
START_TEST(answer_signature_is_the_documented_hmac)
{
    fs_keyring_t ring = make_ring("k1 " SECRET_A);
    char header[FS_AUTH_SIZE];

    fs_auth_sign_answer(&ring, 200, "0123456789abcdef0123456789abcdef", "hello", 5, header);
    ck_assert_str_eq(header,
                     "key=k1, nonce=0123456789abcdef0123456789abcdef, "
                     "mac=b16984064d6dddbd41fb47e0ad0406f9e3045ca11c5a467522b1450f1bd232ad");
}
END_TEST

START_TEST(request_signature_is_the_documented_hmac)
{
    fs_keyring_t ring = make_ring("k1 " SECRET_A);
    char nonce[FS_NONCE_SIZE], origin[FS_ORIGIN_SIZE];
    fs_result_t result;

    ck_assert_int_eq(fs_auth_check_request(
                         &ring,
                         "key=k1, origin=web1.example:80, time=1790000000000000, "
                         "nonce=0123456789abcdef0123456789abcdef, "
                         "mac=d96780a90ad17e6e27c8af68c36371a756a4200f70ea6baf23322b6ff25356f0",
                         "PUT", "/v1/members/web1?x=1", "{}", 2, nonce, origin, &result),
                     APR_SUCCESS);
    ck_assert_str_eq(origin, "web1.example:80");
    ck_assert_str_eq(nonce, "0123456789abcdef0123456789abcdef");
}
END_TEST

START_TEST(request_is_accepted_as_signed_and_not_otherwise)
{
    fs_keyring_t ring = make_ring("k1 " SECRET_A "\nk2 " SECRET_B);
    fs_keyring_t rotated = make_ring("k2 " SECRET_B "\nk1 " SECRET_A);
    fs_keyring_t other_secret = make_ring("k1 " SECRET_B), other_name = make_ring("k3 " SECRET_A);
    char header[FS_AUTH_SIZE], sent[FS_NONCE_SIZE], nonce[FS_NONCE_SIZE], origin[FS_ORIGIN_SIZE];
    fs_result_t result;

    fs_auth_sign_request(&ring, "web1", "GET", "/a?b", "x", 1, sent, header);
    ck_assert_int_eq(
        fs_auth_check_request(&rotated, header, "GET", "/a?b", "x", 1, nonce, origin, &result),
        APR_SUCCESS);
    ck_assert_str_eq(nonce, sent);
    ck_assert_int_ne(
        fs_auth_check_request(&ring, header, "PUT", "/a?b", "x", 1, nonce, origin, &result),
        APR_SUCCESS);
    ck_assert_str_eq(result.problem, "FS0212");
    ck_assert_str_eq(origin, "");
    ck_assert_int_ne(
        fs_auth_check_request(&ring, header, "GET", "/a?c", "x", 1, nonce, origin, &result),
        APR_SUCCESS);
    ck_assert_int_ne(
        fs_auth_check_request(&ring, header, "GET", "/a?b", "y", 1, nonce, origin, &result),
        APR_SUCCESS);
    ck_assert_int_ne(
        fs_auth_check_request(&other_secret, header, "GET", "/a?b", "x", 1, nonce, origin, &result),
        APR_SUCCESS);
    ck_assert_str_eq(result.problem, "FS0212");
    ck_assert_int_ne(
        fs_auth_check_request(&other_name, header, "GET", "/a?b", "x", 1, nonce, origin, &result),
        APR_SUCCESS);
    ck_assert_str_eq(result.problem, "FS0211");
    memcpy(strstr(header, "origin=web1"), "origin=web2", 11);
    ck_assert_int_ne(
        fs_auth_check_request(&ring, header, "GET", "/a?b", "x", 1, nonce, origin, &result),
        APR_SUCCESS);
}
END_TEST

START_TEST(answer_is_bound_to_its_request)
{
    fs_keyring_t ring = make_ring("k1 " SECRET_A);
    char header[FS_AUTH_SIZE];
    const char *nonce = "0123456789abcdef0123456789abcdef";
    fs_result_t result;

    fs_auth_sign_answer(&ring, 200, nonce, "x", 1, header);
    ck_assert_int_eq(fs_auth_check_answer(&ring, header, 200, nonce, "x", 1, &result), APR_SUCCESS);
    ck_assert_int_ne(fs_auth_check_answer(&ring, header, 404, nonce, "x", 1, &result), APR_SUCCESS);
    ck_assert_int_ne(fs_auth_check_answer(&ring, header, 200, nonce, "y", 1, &result), APR_SUCCESS);
    ck_assert_int_ne(fs_auth_check_answer(&ring, header, 200, "1123456789abcdef0123456789abcdef",
                                          "x", 1, &result),
                     APR_SUCCESS);
    ck_assert_str_eq(result.problem, "FS0213");
}
END_TEST

START_TEST(malformed_headers_are_refused)
{
#define NONCE "nonce=0123456789abcdef0123456789abcdef"
#define MAC   "mac=" SECRET_A
    static const char *const bad[] = {
        "",
        ",",
        "key",
        "key=",
        "key=k1, " NONCE,
        "key=k1, " NONCE ", " MAC "0",
        "key=k1, " NONCE "0, " MAC,
        "key=k1, key=k1, " NONCE ", " MAC,
        "key=k1, " NONCE ", " MAC ", origin=web1",
        "key=k1, " NONCE ", " MAC ", extra=1",
        "key=k 1, " NONCE ", " MAC,
        "key=\"k1\", " NONCE ", " MAC,
        "key=k1, nonce=0123456789ABCDEF0123456789ABCDEF, " MAC,
    };
    static const char *const bad_requests[] = {
        "key=k1, " NONCE ", " MAC,
        "key=k1, origin=w, time=-1, " NONCE ", " MAC,
        "key=k1, origin=w, time=99999999999999999999, " NONCE ", " MAC,
        "key=k1, origin=w=x, time=1, " NONCE ", " MAC,
        "key=k1, origin=\xc3\xa9, time=1, " NONCE ", " MAC,
    };
    fs_auth_t auth;
    fs_result_t result;

    ck_assert_int_eq(fs_auth_parse(&auth, "key=k1," NONCE " ,\t" MAC, 0, &result), APR_SUCCESS);
    ck_assert_int_ne(fs_auth_parse(&auth, NULL, 0, &result), APR_SUCCESS);
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_msg(fs_auth_parse(&auth, bad[i], 0, &result) != APR_SUCCESS, "%s", bad[i]);
        ck_assert_str_eq(result.problem, "FS0210");
    }
    for (unsigned i = 0; i < sizeof(bad_requests) / sizeof(bad_requests[0]); i++)
        ck_assert_msg(fs_auth_parse(&auth, bad_requests[i], 1, &result) != APR_SUCCESS, "%s",
                      bad_requests[i]);
}
END_TEST

START_TEST(origin_that_could_change_the_header_is_not_signed)
{
    fs_keyring_t ring = make_ring("k1 " SECRET_A);
    char header[FS_AUTH_SIZE], nonce[FS_NONCE_SIZE];

    fs_auth_sign_request(&ring, "web1, key=x", "GET", "/", NULL, 0, nonce, header);
    ck_assert_str_eq(header, "");
    ck_assert(!fs_auth_is_origin(""));
    ck_assert(!fs_auth_is_origin("a\nb"));
    ck_assert(fs_auth_is_origin("[2001:db8::1]:443"));
}
END_TEST

static Suite *suite(void)
{
    Suite *suite = suite_create("net-key");
    TCase *one = tcase_create("key");

    tcase_add_test(one, key_file_gives_the_first_two_keys);
    tcase_add_test(one, key_file_errors_name_the_line);
    tcase_add_test(one, key_file_open_to_everybody_is_refused);
    tcase_add_test(one, answer_signature_is_the_documented_hmac);
    tcase_add_test(one, request_signature_is_the_documented_hmac);
    tcase_add_test(one, request_is_accepted_as_signed_and_not_otherwise);
    tcase_add_test(one, answer_is_bound_to_its_request);
    tcase_add_test(one, malformed_headers_are_refused);
    tcase_add_test(one, origin_that_could_change_the_header_is_not_signed);
    suite_add_tcase(suite, one);
    return suite;
}

FS_TEST_MAIN(suite)
