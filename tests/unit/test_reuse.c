/* SPDX-License-Identifier: Apache-2.0 */
/* Check values by the rules of RFC 9110, and differences by those of RFC 9842. */
#include <stdlib.h>
#include <zstd.h>

#include "fs_test.h"
#include "reuse/fs_reuse_dictionary.h"
#include "reuse/fs_reuse_mirror.h"
#include "reuse/fs_reuse_sum.h"
#include "reuse/fs_reuse_tag.h"

static fs_result_t result;

static void make_tag(const char *secret, const char *page, size_t piece, char *tag)
{
    fs_reuse_key_t *key;
    fs_reuse_sum_t *sum;
    size_t length = strlen(page);

    ck_assert_int_eq(fs_reuse_key_make(&key, secret, strlen(secret), &result), APR_SUCCESS);
    sum = fs_reuse_sum_begin(key);
    for (size_t at = 0; at < length; at += piece)
        fs_reuse_sum_add(sum, page + at, piece < length - at ? piece : length - at);
    ck_assert_int_eq(fs_reuse_sum_end(sum, tag), 0);
    fs_reuse_key_free(key);
}

START_TEST(tags_follow_bytes_and_key)
{
    char a[FS_REUSE_TAG_SIZE], b[FS_REUSE_TAG_SIZE];

    make_tag("a secret of the farm", "some page", 100, a);
    ck_assert_uint_eq(strlen(a), FS_REUSE_TAG_SIZE - 1);
    ck_assert(a[0] == '"' && a[FS_REUSE_TAG_SIZE - 2] == '"');
    ck_assert_uint_eq(strcspn(a + 1, "\"+/="), FS_REUSE_TAG_SIZE - 3);
    make_tag("a secret of the farm", "some page", 1, b);
    ck_assert_str_eq(a, b);
    /* As every farmsync makes it: AES-256 of GMAC, computed by other means. */
    ck_assert_str_eq(a, "\"1Qq1x-iRnnxjmkDUqOlqsA\"");
    make_tag("a secret of the farm", "some pagf", 1, b);
    ck_assert_str_ne(a, b);
    make_tag("a secret of the farn", "some page", 1, b);
    ck_assert_str_ne(a, b);
}
END_TEST

/* What one sum leaves behind in its contexts is nothing to the next one. */
START_TEST(sums_that_are_made_at_once_and_one_after_the_other)
{
    static const char secret[] = "a secret of the farm";
    char wanted[2][FS_REUSE_TAG_SIZE], tag[FS_REUSE_TAG_SIZE];
    static const char *const pages[2] = {"one page", "another, which is longer than one block"};
    fs_reuse_sum_t *sums[2];
    fs_reuse_key_t *key;

    for (int i = 0; i < 2; i++)
        make_tag(secret, pages[i], 100, wanted[i]);
    ck_assert_int_eq(fs_reuse_key_make(&key, secret, strlen(secret), &result), APR_SUCCESS);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 2; i++)
            sums[i] = fs_reuse_sum_begin(key);
        for (size_t at = 0; pages[0][at]; at++)
            for (int i = 0; i < 2; i++)
                fs_reuse_sum_add(sums[i], pages[i] + at, 1);
        if (round == 1) {
            fs_reuse_sum_drop(sums[0]);
        } else {
            ck_assert_int_eq(fs_reuse_sum_end(sums[0], tag), 0);
            ck_assert_str_eq(tag, wanted[0]);
        }
        fs_reuse_sum_add(sums[1], pages[1] + 8, strlen(pages[1]) - 8);
        ck_assert_int_eq(fs_reuse_sum_end(sums[1], tag), 0);
        ck_assert_str_eq(tag, wanted[1]);
    }
    ck_assert_int_eq(fs_reuse_sum_end(fs_reuse_sum_begin(key), tag), 0);
    fs_reuse_key_free(key);
    make_tag(secret, "", 1, wanted[0]);
    ck_assert_str_eq(tag, wanted[0]);
}
END_TEST

START_TEST(keys_and_sums_that_fail)
{
    fs_reuse_key_t *key;
    char tag[FS_REUSE_TAG_SIZE];

    ck_assert_int_eq(fs_reuse_key_make(&key, "short", 5, &result), APR_EINVAL);
    ck_assert_str_eq(result.problem, "FS1700");
    ck_assert_ptr_null(key);
    fs_reuse_key_free(NULL);
    fs_reuse_sum_add(NULL, "x", 1);
    fs_reuse_sum_drop(NULL);
    ck_assert_int_eq(fs_reuse_sum_end(NULL, tag), -1);
}
END_TEST

static const struct {
    const char *field;
    fs_reuse_match_t match;
    const char *held;
} fields[] = {
    {"\"abc\"", FS_REUSE_SAME, "\"abc\""},
    {"W/\"abc\"", FS_REUSE_SAME, "W/\"abc\""},
    {"\"abc-gzip\"", FS_REUSE_SAME, "\"abc-gzip\""},
    {"W/\"abc-br\"", FS_REUSE_SAME, "W/\"abc-br\""},
    {"\"abc-zstd\"", FS_REUSE_SAME, "\"abc-zstd\""},
    {" \"x\" , \"abc\"\t", FS_REUSE_SAME, "\"abc\""},
    {"\"x\",,\"abc\",", FS_REUSE_SAME, "\"abc\""},
    {"\"a,b\", \"abc\"", FS_REUSE_SAME, "\"abc\""},
    {"*", FS_REUSE_ANY, NULL},
    {" * ", FS_REUSE_ANY, NULL},
    {"", FS_REUSE_DIFFERENT, NULL},
    {"\"abd\"", FS_REUSE_DIFFERENT, NULL},
    {"\"ab\"", FS_REUSE_DIFFERENT, NULL},
    {"\"abcd\"", FS_REUSE_DIFFERENT, NULL},
    {"\"abc-gzi\"", FS_REUSE_DIFFERENT, NULL},
    {"\"abc-gzip-br\"", FS_REUSE_DIFFERENT, NULL},
    {"\"-gzip\"", FS_REUSE_DIFFERENT, NULL},
    {"\"ABC\"", FS_REUSE_DIFFERENT, NULL},
    {"\"x, abc\"", FS_REUSE_DIFFERENT, NULL},
    /* No lists of tags, so nothing the client holds. */
    {"abc", FS_REUSE_DIFFERENT, NULL},
    {"\"abc", FS_REUSE_DIFFERENT, NULL},
    {"\"abc\" \"x\"", FS_REUSE_DIFFERENT, NULL},
    {"w/\"abc\"", FS_REUSE_DIFFERENT, NULL},
    {"W/ \"abc\"", FS_REUSE_DIFFERENT, NULL},
    {"*, \"abc\"", FS_REUSE_DIFFERENT, NULL},
    {"\"abc\", x", FS_REUSE_DIFFERENT, NULL},
    {"\"a bc\", \"abc\"", FS_REUSE_DIFFERENT, NULL},
};

START_TEST(if_none_match)
{
    const char *held = NULL;
    size_t length = 0;

    ck_assert_int_eq(fs_reuse_match(fields[_i].field, "\"abc\"", &held, &length), fields[_i].match);
    ck_assert_int_eq(fs_reuse_match(fields[_i].field, "\"abc\"", NULL, NULL), fields[_i].match);
    if (fields[_i].held) {
        ck_assert_uint_eq(length, strlen(fields[_i].held));
        ck_assert_mem_eq(held, fields[_i].held, length);
    }
}
END_TEST

START_TEST(suffixes_are_taken_away)
{
    static const char *const pairs[][2] = {
        {"\"a-gzip\"", "\"a\""},    {"W/\"a-br\" , \"b\"", "W/\"a\",\"b\""},
        {",\"a-zstd\",,", "\"a\""}, {"\"-gzip\"", ""},
        {"\"a\" , \"b\"", ""},      {"*", ""},
        {"\"a-gzip", ""},           {"", ""},
    };
    char out[64];

    for (unsigned i = 0; i < sizeof(pairs) / sizeof(*pairs); i++) {
        ck_assert_uint_eq(fs_reuse_plain(pairs[i][0], out), *pairs[i][1] ? 1 : 0);
        ck_assert_str_eq(out, pairs[i][1]);
    }
}
END_TEST

START_TEST(available_dictionary)
{
    /* The example of RFC 9842 §2.2. */
    static const char good[] = ":pZGm1Av0IEBKARczz7exkNYsZb8LzaMrV7J32a2fFG4=:";
    static const char *const bad[] = {
        "",
        "::",
        "pZGm1Av0IEBKARczz7exkNYsZb8LzaMrV7J32a2fFG4=",
        ":pZGm1Av0IEBKARczz7exkNYsZb8LzaMrV7J32a2fFG4:",
        ":pZGm1Av0IEBKARczz7exkNYsZb8LzaMrV7J32a2fFG4=",
        ":pZGm1Av0IEBKARczz7exkNYsZb8LzaMrV7J32a2fFG==:",
        ":pZGm1Av0IEBKARczz7exkNYsZb8LzaMrV7J32a2fFG4=:;a",
        ":pZGm1Av0IEBKARczz7exkNYsZb8LzaMrV7J32a2f!G4=:",
        ":pZGm1Av0IEBKARczz7exkNYsZb8LzaMrV7J32a2f-G4=:",
        ":pZGm1Av0IEBKARczz7exkNYs=b8LzaMrV7J32a2f0G4=:",
        ":pZGm1Av0IEBKARczz7exkNYs b8LzaMrV7J32a2f0G4=:",
    };
    char hex[FS_DIGEST_HEX_SIZE], spaced[80];
    fs_digest_t digest;

    ck_assert_int_eq(fs_reuse_available(good, &digest), 0);
    ck_assert_str_eq(fs_digest_hex(&digest, hex),
                     "a591a6d40bf420404a011733cfb7b190d62c65bf0bcda32b57b277d9ad9f146e");
    snprintf(spaced, sizeof(spaced), " %s\t", good);
    ck_assert_int_eq(fs_reuse_available(spaced, &digest), 0);
    for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        ck_assert_msg(fs_reuse_available(bad[i], &digest) == -1, "%s", bad[i]);
}
END_TEST

START_TEST(accept_encoding)
{
    static const char *const yes[] = {"dcz", "gzip, br, dcb, dcz", "DCZ;q=0.5", "gzip,dcz ;q=1",
                                      "dcz; q=0.001"};
    static const char *const no[] = {"",          "*",           "gzip",         "dczx",
                                     "xdcz",      "dcz;q=0",     "dcz;q=0.000",  "gzip;dcz",
                                     "dcz-1, dc", "dcz ; q=0.0", "gzip, *;q=1.0"};

    for (unsigned i = 0; i < sizeof(yes) / sizeof(*yes); i++)
        ck_assert_msg(fs_reuse_accepts_dcz(yes[i]), "%s", yes[i]);
    for (unsigned i = 0; i < sizeof(no) / sizeof(*no); i++)
        ck_assert_msg(!fs_reuse_accepts_dcz(no[i]), "%s", no[i]);
}
END_TEST

/* Text of some variety, the same for the same seed. */
static char *make_page(size_t length, unsigned seed)
{
    char *page = malloc(length + 1);

    for (size_t i = 0; i < length; i++) {
        seed = seed * 1103515245 + 12345;
        page[i] = (char)('a' + (seed >> 16) % 26);
    }
    page[length] = 0;
    return page;
}

/* As a client does it. */
static char *decode(const uint8_t *coded, size_t length, const char *dictionary, size_t held,
                    size_t *page_length)
{
    ZSTD_DCtx *context = ZSTD_createDCtx();
    size_t room =
        (size_t)ZSTD_getFrameContentSize(coded + FS_REUSE_DCZ_HEAD, length - FS_REUSE_DCZ_HEAD);
    char *page = malloc(room + 1);

    ck_assert_uint_gt(length, FS_REUSE_DCZ_HEAD);
    /* The limit that clients have. */
    ck_assert(!ZSTD_isError(ZSTD_DCtx_setParameter(context, ZSTD_d_windowLogMax, 23)));
    ck_assert(!ZSTD_isError(ZSTD_DCtx_refPrefix(context, dictionary, held)));
    *page_length = ZSTD_decompressDCtx(context, page, room, coded + FS_REUSE_DCZ_HEAD,
                                       length - FS_REUSE_DCZ_HEAD);
    ck_assert(!ZSTD_isError(*page_length));
    ZSTD_freeDCtx(context);
    return page;
}

START_TEST(differences)
{
    static const size_t lengths[] = {0, 1, 1000, 30000, 300000, 3000000};
    static const uint8_t magic[8] = {0x5e, 0x2a, 0x4d, 0x18, 0x20, 0, 0, 0};
    size_t length = lengths[_i], made, got;
    char *old = make_page(length, 1), *page = make_page(length, 1), *decoded;
    fs_reuse_coder_t *coder = fs_reuse_coder_create(3);
    fs_digest_t digest;
    void *coded;

    if (length > 500)
        memcpy(page + length / 2, "CHANGED", 7);
    fs_digest_of(&digest, old, length);
    ck_assert_int_eq(
        fs_reuse_dcz(coder, old, length, &digest, page, length, SIZE_MAX, &coded, &made, &result),
        APR_SUCCESS);
    ck_assert_mem_eq(coded, magic, sizeof(magic));
    ck_assert_mem_eq((uint8_t *)coded + 8, digest.bytes, sizeof(digest.bytes));
    decoded = decode(coded, made, old, length, &got);
    ck_assert_uint_eq(got, length);
    if (length)
        ck_assert_mem_eq(decoded, page, length);
    if (length >= 30000)
        ck_assert_uint_lt(made, 200 + length / 100);
    free(decoded);
    free(coded);
    /* Nothing is sent that isn't worth it. */
    ck_assert_int_eq(
        fs_reuse_dcz(coder, old, length, &digest, page, length, made, &coded, &made, &result),
        APR_EMISMATCH);
    fs_reuse_coder_destroy(coder);
    free(old);
    free(page);
}
END_TEST

START_TEST(dictionaries_have_a_limit)
{
    fs_reuse_coder_t *coder = fs_reuse_coder_create(3);
    fs_digest_t digest = {{0}};
    void *coded;
    size_t made;

    ck_assert_int_eq(fs_reuse_dcz(coder, "x", FS_REUSE_DICTIONARY_MAX + 1, &digest, "y", 1,
                                  SIZE_MAX, &coded, &made, &result),
                     APR_EINVAL);
    ck_assert_str_eq(result.problem, "FS1710");
    fs_reuse_coder_destroy(coder);
    fs_reuse_coder_destroy(NULL);
}
END_TEST

/* --- mirrors
 * --------------------------------------------------------------------------------------
 */

START_TEST(mirrors)
{
    fs_reuse_mirror_t mirror, again;
    char text[FS_REUSE_MIRROR_SIZE], second[FS_REUSE_MIRROR_SIZE], url[16];

    fs_reuse_mirror_read(&mirror, NULL);
    ck_assert_uint_eq(mirror.count, 0);
    ck_assert(!fs_reuse_mirror_holds(&mirror, "/0", "t"));
    for (unsigned i = 0; i < 40; i++) {
        snprintf(url, sizeof(url), "/%u", i);
        ck_assert(fs_reuse_mirror_put(&mirror, url, "t"));
        ck_assert(!fs_reuse_mirror_put(&mirror, url, "t"));
        ck_assert(fs_reuse_mirror_holds(&mirror, url, "t"));
        ck_assert(!fs_reuse_mirror_holds(&mirror, url, "u"));
    }
    ck_assert_uint_eq(mirror.count, FS_REUSE_MIRROR_PAGES);
    ck_assert(!fs_reuse_mirror_holds(&mirror, "/7", "t"));
    ck_assert(fs_reuse_mirror_holds(&mirror, "/8", "t"));
    ck_assert(fs_reuse_mirror_put(&mirror, "/8", "u"));
    ck_assert(!fs_reuse_mirror_holds(&mirror, "/8", "t"));
    ck_assert_uint_eq(mirror.count, FS_REUSE_MIRROR_PAGES);
    fs_reuse_mirror_write(&mirror, text);
    ck_assert_uint_eq(strlen(text), FS_REUSE_MIRROR_SIZE - 1);
    fs_reuse_mirror_read(&again, text);
    fs_reuse_mirror_write(&again, second);
    ck_assert_str_eq(second, text);
    ck_assert(fs_reuse_mirror_holds(&again, "/8", "u") &&
              fs_reuse_mirror_holds(&again, "/39", "t"));
    text[100] = '+';
    fs_reuse_mirror_read(&again, text);
    ck_assert_uint_eq(again.count, 0);
    fs_reuse_mirror_read(&again, "short");
    ck_assert_uint_eq(again.count, 0);
}
END_TEST

START_TEST(what_clients_say_they_have)
{
    static const char *const yes[] = {"?1", " ?1\t", "?1;crc32c=e3069283", "?1;crc32c=E3069283 "};
    static const char *const no[] = {"",
                                     "?0",
                                     "1",
                                     "?1x",
                                     "?1;crc32c=e306928",
                                     "?1;crc=e3069283",
                                     "?1 ?1",
                                     "?1;crc32c=e306928g",
                                     "?1;crc32c=e30692833"};
    static const uint8_t zeros[32];
    uint8_t rising[32];
    int has_crc;
    uint32_t crc;

    for (unsigned i = 0; i < 32; i++)
        rising[i] = (uint8_t)i;
    for (unsigned i = 0; i < sizeof(yes) / sizeof(*yes); i++) {
        ck_assert_msg(fs_reuse_have(yes[i], &has_crc, &crc), "%s", yes[i]);
        ck_assert_int_eq(has_crc, i >= 2);
        ck_assert(!has_crc || crc == 0xe3069283);
    }
    for (unsigned i = 0; i < sizeof(no) / sizeof(*no); i++)
        ck_assert_msg(!fs_reuse_have(no[i], &has_crc, &crc), "%s", no[i]);
    /* The check value of CRC-32C. */
    ck_assert_uint_eq(fs_reuse_crc32c(0, "123456789", 9), 0xe3069283);
    ck_assert_uint_eq(fs_reuse_crc32c(fs_reuse_crc32c(0, "1234", 4), "56789", 5), 0xe3069283);
    /* RFC 3720, appendix B.4: 32 bytes of zeros, and 0 to 31. */
    ck_assert_uint_eq(fs_reuse_crc32c(0, zeros, 32), 0x8a9136aa);
    for (unsigned i = 0; i < 32; i++)
        ck_assert_uint_eq(fs_reuse_crc32c(fs_reuse_crc32c(0, rising, i), rising + i, 32 - i),
                          0x46dd794e);
}
END_TEST

static Suite *reuse_suite(void)
{
    Suite *suite = suite_create("reuse");
    TCase *tags = tcase_create("tags"), *dictionary = tcase_create("dictionary");

    tcase_add_test(tags, tags_follow_bytes_and_key);
    tcase_add_test(tags, sums_that_are_made_at_once_and_one_after_the_other);
    tcase_add_test(tags, keys_and_sums_that_fail);
    tcase_add_loop_test(tags, if_none_match, 0, (int)(sizeof(fields) / sizeof(*fields)));
    tcase_add_test(tags, suffixes_are_taken_away);
    tcase_add_test(tags, mirrors);
    tcase_add_test(tags, what_clients_say_they_have);
    tcase_add_test(dictionary, available_dictionary);
    tcase_add_test(dictionary, accept_encoding);
    tcase_add_loop_test(dictionary, differences, 0, 6);
    tcase_add_test(dictionary, dictionaries_have_a_limit);
    tcase_set_timeout(dictionary, 60);
    suite_add_tcase(suite, tags);
    suite_add_tcase(suite, dictionary);
    return suite;
}

FS_TEST_MAIN(reuse_suite)
