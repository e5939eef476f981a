/* SPDX-License-Identifier: Apache-2.0 */
/* What is written about groups and members, and read again: the manifest, a member's report. */
#include "fs_test.h"

#include <stdint.h>
#include <string.h>

#include "sync/fs_manifest.h"
#include "sync/fs_source.h"

#define EPOCH_US INT64_C(1790000000000000) /* some day in 2026 */

/* --- manifest ----------------------------------------------------------------------------------
 */

#define DIGEST_A "00000000000000000000000000000000000000000000000000000000000000aa"
#define DIGEST_B "00000000000000000000000000000000000000000000000000000000000000bb"
#define HEAD                                                                                       \
    "{\"group\":\"default\",\"epoch\":17,\"version\":12,\"active_version\":11,"                    \
    "\"activation_time\":1790000000000000,\"interval\":600000000,\"min_lead\":5000000,"            \
    "\"state\":\"running\",\"pinned_version\":null,\"reason\":\"\","
#define DATASET(name, digest)                                                                      \
    "{\"name\":\"" name "\",\"digest\":\"" digest "\",\"bytes\":12,\"rows\":3}"
#define GOOD                                                                                       \
    HEAD "\"versions\":[{\"version\":11,\"datasets\":[" DATASET(                                   \
        "prices", DIGEST_A) "]},"                                                                  \
                            "{\"version\":12,\"datasets\":[" DATASET(                              \
                                "prices", DIGEST_B) "," DATASET("a\\u00e4", DIGEST_A) "]}]}"

static fs_manifest_t *parse(const char *json)
{
    fs_manifest_t *manifest;
    fs_result_t result;

    ck_assert_int_eq(fs_manifest_parse(&manifest, json, strlen(json), &result), APR_SUCCESS);
    return manifest;
}

START_TEST(manifest_is_read)
{
    fs_manifest_t *manifest = parse(GOOD);

    ck_assert_str_eq(manifest->group, "default");
    ck_assert_int_eq(manifest->epoch, 17);
    ck_assert_int_eq(manifest->active.version, 11);
    ck_assert_int_eq(manifest->staged.version, 12);
    ck_assert_int_eq(manifest->activation_time, EPOCH_US);
    ck_assert_int_eq(manifest->interval, 600 * FS_USEC_PER_SEC);
    ck_assert_int_eq(manifest->min_lead, 5 * FS_USEC_PER_SEC);
    ck_assert_int_eq(manifest->pinned_version, 0);
    ck_assert_uint_eq(manifest->staged.dataset_count, 2);
    ck_assert_str_eq(manifest->staged.datasets[0].name, "a\xc3\xa4"); /* ordered by name */
    ck_assert_str_eq(manifest->staged.datasets[1].name, "prices");
    ck_assert_uint_eq(manifest->staged.datasets[1].rows, 3);
    ck_assert_ptr_eq(fs_manifest_in_force(manifest, EPOCH_US - 1), &manifest->active);
    ck_assert_ptr_eq(fs_manifest_in_force(manifest, EPOCH_US), &manifest->staged);
    fs_manifest_free(manifest);
}
END_TEST

/* What is printed reads back the same, whatever state it is in. */
START_TEST(manifest_prints_as_it_reads)
{
    fs_manifest_t *manifest = parse(GOOD), *again;
    size_t length, length_again;
    char *text, *text_again;

    manifest->pinned_version = 11;
    manifest->state = FS_GROUP_FAILED;
    strcpy(manifest->reason, "FS0104: \"row\" too l\xc3\xb6ng\nand\xe2\x82"); /* cut elsewhere */
    text = fs_manifest_print(manifest, &length);
    ck_assert_uint_eq(length, strlen(text));
    again = parse(text);
    ck_assert_int_eq(again->pinned_version, 11);
    ck_assert_int_eq(again->state, FS_GROUP_FAILED);
    ck_assert_str_eq(again->reason, "FS0104: \"row\" too l\xc3\xb6ng and?\?");
    text_again = fs_manifest_print(again, &length_again);
    ck_assert_str_eq(text, text_again);
    free(text);
    free(text_again);
    fs_manifest_free(manifest);
    fs_manifest_free(again);
}
END_TEST

START_TEST(manifest_with_nothing_staged_has_one_version)
{
    fs_manifest_t *manifest = parse(
        "{\"group\":\"g\",\"epoch\":1,\"version\":4,\"active_version\":4,"
        "\"activation_time\":5,\"interval\":1,\"min_lead\":0,\"state\":\"held\","
        "\"pinned_version\":4,\"reason\":\"\",\"versions\":[{\"version\":4,\"datasets\":[" DATASET(
            "p", DIGEST_A) "]}]}");

    ck_assert_ptr_eq(manifest->active.datasets, manifest->staged.datasets);
    ck_assert_uint_eq(fs_manifest_in_force(manifest, 9)->dataset_count, 1);
    fs_manifest_free(manifest);
}
END_TEST

START_TEST(manifest_of_a_new_group_has_no_version)
{
    fs_manifest_t *manifest =
        parse("{\"group\":\"g\",\"epoch\":0,\"version\":0,\"active_version\":0,"
              "\"activation_time\":5,\"interval\":1,\"min_lead\":0,\"state\":\"running\","
              "\"pinned_version\":null,\"reason\":\"\",\"versions\":[]}");
    char hex[FS_DIGEST_HEX_SIZE];

    ck_assert_uint_eq(manifest->active.dataset_count, 0);
    fs_manifest_version_digest(&manifest->active, hex);
    ck_assert_str_eq(hex, "");
    fs_manifest_free(manifest);
}
END_TEST

/* The good manifest with one thing replaced. */
static void refuses_with(const char *what, const char *by)
{
    const char *place = strstr(GOOD, what);
    fs_manifest_t *manifest = (fs_manifest_t *)&place;
    fs_result_t result;
    char *json;

    ck_assert_ptr_nonnull(place);
    ck_assert_int_gt(
        asprintf(&json, "%.*s%s%s", (int)(place - GOOD), GOOD, by, place + strlen(what)), 0);
    ck_assert_msg(fs_manifest_parse(&manifest, json, strlen(json), &result) != APR_SUCCESS,
                  "taken: %s", json);
    ck_assert_str_eq(result.problem, "FS0360");
    ck_assert_ptr_null(manifest);
    free(json);
}

START_TEST(manifest_that_is_wrong_is_refused)
{
    static const char *const wrong[][2] = {
        {"\"group\":\"default\",", ""},
        {"\"default\"", "\"\""},
        {"\"default\"", "\"a\\nb\""},
        {"\"default\"", "\"a\\u0000b\""},
        {"\"default\"", "\"12345678901234567890123456789012345678901234567890123456789012345\""},
        {"\"epoch\":17", "\"epoch\":-1"},
        {"\"epoch\":17", "\"epoch\":17.5"},
        {"\"epoch\":17", "\"epoch\":\"17\""},
        {"\"epoch\":17", "\"epoch\":17,\"epoch\":18"},
        {"\"epoch\":17", "\"epoch\":99999999999999999999"},
        {"\"version\":12,", "\"version\":-12,"},
        {"\"version\":12,", "\"version\":13,"},
        {"\"interval\":600000000", "\"interval\":0"},
        {"\"min_lead\":5000000", "\"min_lead\":-1"},
        {"1790000000000000", "9223372036854775807"},
        {"\"running\"", "\"runnin\""},
        {"\"running\"", "7"},
        {"\"pinned_version\":null", "\"pinned_version\":0"},
        {"\"pinned_version\":null,", ""},
        {"\"reason\":\"\"", "\"reason\":null"},
        {"\"versions\":[", "\"versions\":[7,"},
        {"\"versions\":", "\"version_s\":"},
        {"\"versions\":[", "\"versions\":[],\"more\":["},
        {"\"versions\":[", "\"versions\":[{\"version\":11,\"datasets\":[]},"},
        {"{\"version\":11,\"datasets\"", "{\"version\":12,\"datasets\""},
        {"{\"version\":11,\"datasets\"", "{\"version\":10,\"datasets\""},
        {"\"datasets\":[", "\"datasets\":[null,"},
        {"\"a\\u00e4\"", "\"prices\""},
        {"\"bytes\":12", "\"bytes\":-12"},
        {"\"rows\":3", "\"rows\":null"},
        {DIGEST_B, "0000000000000000000000000000000000000000000000000000000000000bb"},
        {DIGEST_B, DIGEST_B "0"},
        {DIGEST_B, "00000000000000000000000000000000000000000000000000000000000000BB"},
        {"}]}]}", "}]}]"},
        {"}]}]}", "}]}]} x"},
    };

    for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        refuses_with(wrong[i][0], wrong[i][1]);
}
END_TEST

START_TEST(manifest_cut_anywhere_is_refused)
{
    fs_manifest_t *manifest;
    fs_result_t result;

    for (size_t length = 0; length < strlen(GOOD); length++) {
        char *part = malloc(length ? length : 1); /* so that a sanitizer sees reading beyond */

        memcpy(part, GOOD, length);
        ck_assert_int_ne(fs_manifest_parse(&manifest, part, length, &result), APR_SUCCESS);
        free(part);
    }
}
END_TEST

START_TEST(manifest_beyond_its_limits_is_refused)
{
    char *big = malloc(FS_MANIFEST_MAX_BYTES + 2);
    fs_manifest_version_t version = {1, 0, NULL};
    fs_digest_t digest = {{0}};
    fs_manifest_t *manifest;
    fs_result_t result;
    char name[16];

    memset(big, ' ', FS_MANIFEST_MAX_BYTES + 1);
    ck_assert_int_ne(fs_manifest_parse(&manifest, big, FS_MANIFEST_MAX_BYTES + 1, &result),
                     APR_SUCCESS);
    free(big);
    for (int i = 0; i < FS_MANIFEST_MAX_DATASETS; i++) {
        snprintf(name, sizeof(name), "d%d", i * 7 % FS_MANIFEST_MAX_DATASETS);
        ck_assert_int_eq(fs_manifest_add_dataset(&version, name, strlen(name), &digest, 1, 1),
                         APR_SUCCESS);
    }
    ck_assert_int_eq(fs_manifest_add_dataset(&version, "z", 1, &digest, 1, 1), APR_ENOSPC);
    for (unsigned i = 1; i < version.dataset_count; i++)
        ck_assert_int_lt(strcmp(version.datasets[i - 1].name, version.datasets[i].name), 0);
    free(version.datasets);
}
END_TEST

/* A manifest as large as it may be still fits the limit of its text. */
START_TEST(largest_manifest_can_be_sent)
{
    fs_manifest_t manifest = {.group = "default",
                              .activation_time = EPOCH_US,
                              .grid = EPOCH_US,
                              .interval = 1,
                              .min_lead = 1};
    fs_digest_t digest = {{0}};
    char name[FS_IMAGE_NAME_SIZE];
    size_t length;
    char *text;

    manifest.active.version = INT64_MAX - 1;
    manifest.staged.version = INT64_MAX;
    for (int i = 0; i < FS_MANIFEST_MAX_DATASETS; i++) {
        memset(name, '"', sizeof(name)); /* two bytes each in JSON */
        snprintf(name + 60, 5, "%04d", i);
        fs_manifest_add_dataset(&manifest.active, name, 64, &digest, INT64_MAX, INT64_MAX);
        fs_manifest_add_dataset(&manifest.staged, name, 64, &digest, INT64_MAX, INT64_MAX);
    }
    text = fs_manifest_print(&manifest, &length);
    ck_assert_uint_le(length, FS_MANIFEST_MAX_BYTES);
    fs_manifest_free(parse(text));
    free(text);
    free(manifest.active.datasets);
    free(manifest.staged.datasets);
}
END_TEST

START_TEST(version_digest_tells_contents_apart)
{
    fs_manifest_t *manifest = parse(GOOD);
    char first[FS_DIGEST_HEX_SIZE], other[FS_DIGEST_HEX_SIZE];

    fs_manifest_version_digest(&manifest->active, first);
    fs_manifest_version_digest(&manifest->staged, other);
    ck_assert_uint_eq(strlen(first), 64);
    ck_assert_str_ne(first, other);
    manifest->active.datasets[0].digest.bytes[0] ^= 1;
    fs_manifest_version_digest(&manifest->active, other);
    ck_assert_str_ne(first, other);
    fs_manifest_free(manifest);
}
END_TEST

START_TEST(text_is_made_fit_for_people)
{
    char out[8];

    fs_text_fit(out, sizeof(out), "short", 5);
    ck_assert_str_eq(out, "short");
    fs_text_fit(out, sizeof(out), "abcdefghi", 9);
    ck_assert_str_eq(out, "abcdefg");
    fs_text_fit(out, sizeof(out), "abcdef\xc3\xa4", 8); /* a character isn't cut */
    ck_assert_str_eq(out, "abcdef");
    fs_text_fit(out, sizeof(out), "a\nb\x7f\x01", 5);
    ck_assert_str_eq(out, "a b  ");
    fs_text_fit(out, sizeof(out), "\xc3(\xff\xed\xa0\x80", 6); /* cut, never valid, a surrogate */
    ck_assert_str_eq(out, "?(?\?\?\?");
    fs_text_fit(out, sizeof(out), "\xf0\x9f\x90\x98", 4);
    ck_assert_str_eq(out, "\xf0\x9f\x90\x98");
    fs_text_fit(out, sizeof(out), "\xf0\x9f\x90", 3);
    ck_assert_str_eq(out, "?\?\?");
    fs_text_fit(out, 1, "abc", 3);
    ck_assert_str_eq(out, "");
}
END_TEST

/* --- member ------------------------------------------------------------------------------------
 */

static fs_member_t some_member(void)
{
    fs_member_t member = {.name = "web1",
                          .kind = "agent",
                          .group = "default",
                          .address = "10.0.0.1:4480",
                          .version_active = 11,
                          .version_staged = 12,
                          .digest = DIGEST_A,
                          .clock_offset = -3600000000,
                          .clock_bound = 55,
                          .clock_source = "http://ds1:4470",
                          .problem = "FS0350: \"quoted\" and \xc3\xa4"};

    return member;
}

START_TEST(member_prints_as_it_reads)
{
    fs_member_t member = some_member(), again;
    size_t length;
    char *text = fs_member_print(&member, &length);
    fs_result_t result;

    ck_assert_int_eq(fs_member_parse(&again, text, length, &result), APR_SUCCESS);
    ck_assert_str_eq(again.name, member.name);
    ck_assert_str_eq(again.kind, member.kind);
    ck_assert_str_eq(again.group, member.group);
    ck_assert_str_eq(again.address, member.address);
    ck_assert_int_eq(again.version_active, 11);
    ck_assert_int_eq(again.version_staged, 12);
    ck_assert_str_eq(again.digest, member.digest);
    ck_assert_int_eq(again.clock_offset, member.clock_offset);
    ck_assert_int_eq(again.clock_bound, 55);
    ck_assert_str_eq(again.clock_source, member.clock_source);
    ck_assert_str_eq(again.problem, member.problem);
    free(text);
}
END_TEST

START_TEST(member_without_a_clock_says_null)
{
    fs_member_t member = some_member(), again;
    fs_result_t result;
    size_t length;
    char *text;

    member.clock_bound = -1;
    member.digest[0] = '\0';
    text = fs_member_print(&member, &length);
    ck_assert_ptr_nonnull(strstr(text, "\"clock_bound_us\":null"));
    ck_assert_int_eq(fs_member_parse(&again, text, length, &result), APR_SUCCESS);
    ck_assert_int_eq(again.clock_bound, -1);
    free(text);
}
END_TEST

/* A message that was cut inside a character must not lose the whole report. */
START_TEST(member_with_a_cut_problem_is_still_reported)
{
    fs_member_t member = some_member(), again;
    fs_result_t result;
    size_t length;
    char *text;

    strcpy(member.problem, "FS0305: near '\n\xe2\x82");
    text = fs_member_print(&member, &length);
    ck_assert_ptr_nonnull(text);
    ck_assert_int_eq(fs_member_parse(&again, text, length, &result), APR_SUCCESS);
    ck_assert_str_eq(again.problem, "FS0305: near ' ?\?");
    free(text);
}
END_TEST

START_TEST(member_that_is_wrong_is_refused)
{
    static const char *const wrong[][2] = {
        {"\"web1\"", "\"\""},
        {"\"web1\"", "\"a\\tb\""},
        {"\"web1\"", "17"},
        {"\"agent\"", "\"agents\""},
        {"\"agent\"", "\"root\""},
        {"\"group\"", "\"gruop\""},
        {":11", ":-11"},
        {":12", ":\"12\""},
        {DIGEST_A, "aa"},
        {DIGEST_A, "zz" DIGEST_A},
        {":55", ":-55"},
        {":55", ":5.5"},
        {"\"FS0350", "7,\"x\":\"FS0"},
        {"}", ""},
    };
    fs_member_t member = some_member(), again;
    size_t length;
    char *text = fs_member_print(&member, &length);

    for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        const char *place = strstr(text, wrong[i][0]);
        fs_result_t result;
        char *json;

        ck_assert_msg(place != NULL, "%s in %s", wrong[i][0], text);
        ck_assert_int_gt(asprintf(&json, "%.*s%s%s", (int)(place - text), text, wrong[i][1],
                                  place + strlen(wrong[i][0])),
                         0);
        ck_assert_msg(fs_member_parse(&again, json, strlen(json), &result) != APR_SUCCESS,
                      "taken: %s", json);
        ck_assert_str_eq(result.problem, "FS0375");
        free(json);
    }
    free(text);
}
END_TEST

/* --- all ---------------------------------------------------------------------------------------
 */

static TCase *manifest_tests(void)
{
    TCase *tcase = tcase_create("manifest");

    tcase_add_test(tcase, manifest_is_read);
    tcase_add_test(tcase, manifest_prints_as_it_reads);
    tcase_add_test(tcase, manifest_with_nothing_staged_has_one_version);
    tcase_add_test(tcase, manifest_of_a_new_group_has_no_version);
    tcase_add_test(tcase, manifest_that_is_wrong_is_refused);
    tcase_add_test(tcase, manifest_cut_anywhere_is_refused);
    tcase_add_test(tcase, manifest_beyond_its_limits_is_refused);
    tcase_add_test(tcase, largest_manifest_can_be_sent);
    tcase_add_test(tcase, version_digest_tells_contents_apart);
    tcase_add_test(tcase, text_is_made_fit_for_people);
    return tcase;
}

static TCase *member_tests(void)
{
    TCase *tcase = tcase_create("member");

    tcase_add_test(tcase, member_prints_as_it_reads);
    tcase_add_test(tcase, member_without_a_clock_says_null);
    tcase_add_test(tcase, member_with_a_cut_problem_is_still_reported);
    tcase_add_test(tcase, member_that_is_wrong_is_refused);
    return tcase;
}

static Suite *manifest_suite(void)
{
    Suite *suite = suite_create("manifest");

    suite_add_tcase(suite, manifest_tests());
    suite_add_tcase(suite, member_tests());
    return suite;
}

FS_TEST_MAIN(manifest_suite)
