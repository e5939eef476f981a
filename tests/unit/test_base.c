/* SPDX-License-Identifier: Apache-2.0 */
#include "fs_test.h"

#include <string.h>
#include <sys/stat.h>

#include "base/fs_base64url.h"
#include "base/fs_digest.h"
#include "base/fs_file.h"
#include "base/fs_log.h"
#include "base/fs_mac.h"
#include "base/fs_time.h"

START_TEST(digest_is_sha256_and_reads_back)
{
    fs_digest_t digest, again;
    char hex[FS_DIGEST_HEX_SIZE];

    fs_digest_of(&digest, "abc", 3);
    ck_assert_str_eq(fs_digest_hex(&digest, hex),
                     "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    ck_assert_int_eq(fs_digest_parse(&again, hex), 0);
    ck_assert(fs_digest_equal(&digest, &again));
    ck_assert(!fs_digest_is_zero(&digest));
}
END_TEST

START_TEST(digest_in_pieces_is_the_same)
{
    fs_digest_t whole, pieces;
    fs_digest_sum_t *sum = fs_digest_begin();

    fs_digest_of(&whole, "abcdef", 6);
    fs_digest_add(sum, "ab", 2);
    fs_digest_add(sum, "cdef", 4);
    fs_digest_end(sum, &pieces);
    ck_assert(fs_digest_equal(&whole, &pieces));
}
END_TEST

START_TEST(digest_text_that_is_none_is_refused)
{
    static const char *const bad[] = {
        "", "ba78", "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD",
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad0",
        "ga7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"};
    fs_digest_t digest;

    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        ck_assert_int_eq(fs_digest_parse(&digest, bad[i]), -1);
}
END_TEST

START_TEST(time_is_written_in_utc)
{
    char text[FS_TIME_TEXT_SIZE];

    ck_assert_str_eq(fs_time_format(0, text), "1970-01-01T00:00:00.000000Z");
    ck_assert_str_eq(fs_time_format(INT64_C(1790000000123456), text),
                     "2026-09-21T14:13:20.123456Z");
    ck_assert_str_eq(fs_time_format(-1, text), "1969-12-31T23:59:59.999999Z");
    ck_assert_str_eq(fs_time_format(INT64_MAX, text), "out of range");
}
END_TEST

START_TEST(file_is_written_whole_and_read_back)
{
    char *dir = fs_test_mkdir(), path[256], *data;
    size_t length;
    fs_result_t result;

    snprintf(path, sizeof(path), "%s/a/b", dir);
    ck_assert_int_eq(fs_dir_make(path, &result), APR_SUCCESS);
    ck_assert_int_eq(fs_dir_make(path, &result), APR_SUCCESS);
    snprintf(path, sizeof(path), "%s/a/b/file", dir);
    ck_assert_int_eq(fs_file_write(path, "hello", 5, &result), APR_SUCCESS);
    ck_assert_int_eq(fs_file_read(path, 5, &data, &length, &result), APR_SUCCESS);
    ck_assert_uint_eq(length, 5);
    ck_assert_str_eq(data, "hello");
    free(data);
    ck_assert_int_ne(fs_file_read(path, 4, &data, &length, &result), APR_SUCCESS);
    ck_assert_str_eq(result.problem, "FS0012");
    fs_test_rmdir(dir);
}
END_TEST

START_TEST(file_that_is_not_there_says_so)
{
    char *data;
    size_t length;
    fs_result_t result;

    ck_assert(APR_STATUS_IS_ENOENT(fs_file_read("/nonexistent/file", 9, &data, &length, &result)));
    ck_assert_str_eq(result.problem, "FS0011");
    ck_assert_ptr_nonnull(strstr(result.detail, "/nonexistent/file"));
    ck_assert_int_ne(fs_file_write("/nonexistent/file", "", 0, &result), APR_SUCCESS);
    ck_assert_str_eq(result.problem, "FS0010");
}
END_TEST

static char last_line[256];

static void keep_line(void *baton, fs_log_level_t level, const char *message)
{
    (void)baton;
    (void)level;
    snprintf(last_line, sizeof(last_line), "%s", message);
}

START_TEST(log_has_number_and_level)
{
    fs_log_level_t level;

    fs_log_set(keep_line, NULL, FS_LOG_WARNING);
    fs_log(FS_LOG_NOTICE, "FS0002", "hidden");
    ck_assert_str_eq(last_line, "");
    fs_log(FS_LOG_ERROR, "FS0002", "seen %d", 7);
    ck_assert_str_eq(last_line, "FS0002: seen 7");
    fs_log_set(NULL, NULL, FS_LOG_NOTICE);
    ck_assert_int_eq(fs_log_parse_level("debug", &level), 0);
    ck_assert_int_eq(level, FS_LOG_DEBUG);
    ck_assert_int_eq(fs_log_parse_level("loud", &level), -1);
}
END_TEST

START_TEST(log_gate_lets_few_of_a_kind_through)
{
    fs_log_gate_t gate = {0};
    fs_usec_t now = 7 * FS_USEC_PER_SEC;
    const char *note;

    for (int i = 0; i < 1000; i++, now += FS_USEC_PER_SEC / 100) {
        note = fs_log_gate(&gate, now);
        ck_assert_int_eq(note != NULL, i < FS_LOG_GATE_FEW);
        if (note)
            ck_assert_str_eq(note, "");
    }
    now += FS_LOG_GATE_SPAN;
    note = fs_log_gate(&gate, now);
    ck_assert_str_eq(note, " (997 more like this were not logged)");
    ck_assert_str_eq(fs_log_gate(&gate, now), "");
}
END_TEST

/* RFC 4231, test case 1; a key is as good with zeros behind it. */
START_TEST(mac_is_hmac_sha256)
{
    static const uint8_t wanted[FS_MAC_BYTES] = {0xb0, 0x34, 0x4c, 0x61, 0xd8, 0xdb, 0x38, 0x53,
                                                 0x5c, 0xa8, 0xaf, 0xce, 0xaf, 0x0b, 0xf1, 0x2b,
                                                 0x88, 0x1d, 0xc2, 0x00, 0xc9, 0x83, 0x3d, 0xa7,
                                                 0x26, 0xe9, 0x37, 0x6c, 0x2e, 0x32, 0xcf, 0xf7};
    uint8_t key[FS_MAC_BYTES] = {0}, out[FS_MAC_BYTES];
    fs_mac_t mac;

    memset(key, 0x0b, 20);
    ck_assert_int_eq(fs_mac_derive(key, 20, "Hi There", out), 0);
    ck_assert_mem_eq(out, wanted, sizeof(out));
    ck_assert_int_eq(fs_mac_begin(&mac, key), 0);
    for (int i = 0; i < 2; i++) {
        memset(out, 0, sizeof(out));
        ck_assert_int_eq(fs_mac_of(&mac, "Hi There", 8, out), 0);
        ck_assert_mem_eq(out, wanted, sizeof(out));
    }
    fs_mac_drop(&mac);
    fs_mac_drop(&mac);
}
END_TEST

START_TEST(base64url_has_one_spelling)
{
    static const char *const bad[] = {"A", "AB", "QQ=", "QQ==", "QQ+/", "Q Q", "AAB", "AAAAA"};
    const uint8_t bytes[] = {0xfb, 0xff, 0x00, 'A', 0x80};
    uint8_t back[8];
    char text[8];

    for (size_t length = 0; length <= sizeof(bytes); length++) {
        size_t written = (size_t)(fs_base64url_write(bytes, length, text) - text);

        ck_assert_uint_eq(written, FS_BASE64URL_LENGTH(length));
        ck_assert_uint_eq(fs_base64url_read(text, written, back, length), length);
        ck_assert_mem_eq(back, bytes, length);
        if (length)
            ck_assert_uint_eq(fs_base64url_read(text, written, back, length - 1), 0);
    }
    ck_assert_mem_eq(text, "-_8AQYA", 7);
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        ck_assert_uint_eq(fs_base64url_read(bad[i], strlen(bad[i]), back, sizeof(back)), 0);
}
END_TEST

static Suite *base_suite(void)
{
    Suite *suite = suite_create("base");
    TCase *tcase = tcase_create("base");

    tcase_add_test(tcase, digest_is_sha256_and_reads_back);
    tcase_add_test(tcase, digest_in_pieces_is_the_same);
    tcase_add_test(tcase, digest_text_that_is_none_is_refused);
    tcase_add_test(tcase, mac_is_hmac_sha256);
    tcase_add_test(tcase, base64url_has_one_spelling);
    tcase_add_test(tcase, time_is_written_in_utc);
    tcase_add_test(tcase, file_is_written_whole_and_read_back);
    tcase_add_test(tcase, file_that_is_not_there_says_so);
    tcase_add_test(tcase, log_has_number_and_level);
    tcase_add_test(tcase, log_gate_lets_few_of_a_kind_through);
    suite_add_tcase(suite, tcase);
    return suite;
}

FS_TEST_MAIN(base_suite)
