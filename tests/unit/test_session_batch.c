/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Batches of sessions: what is written is read again as it was; what is damaged is refused whole;
 * nothing is read beyond the end.
 */
#include <stdint.h>

#include "session/fs_session_batch.h"

#include "fs_test.h"
#include "fs_test_session.h"

static const unsigned demanded[FS_SESSION_BATCH_KINDS] = {
    [FS_SESSION_BATCH_OFFER] = 67,  [FS_SESSION_BATCH_OFFERED] = 0, [FS_SESSION_BATCH_VERSIONS] = 1,
    [FS_SESSION_BATCH_DIGEST] = 64, [FS_SESSION_BATCH_LIST] = 3,    [FS_SESSION_BATCH_STATE] = 8,
    [FS_SESSION_BATCH_LATE] = 67,   [FS_SESSION_BATCH_AHEAD] = 67};
static const unsigned allowed[FS_SESSION_BATCH_KINDS] = {
    [FS_SESSION_BATCH_OFFER] = 79,   [FS_SESSION_BATCH_OFFERED] = 91,
    [FS_SESSION_BATCH_TAKE] = 9,     [FS_SESSION_BATCH_TAKEN] = 91,
    [FS_SESSION_BATCH_VERSIONS] = 1, [FS_SESSION_BATCH_DIFFERING] = 9,
    [FS_SESSION_BATCH_RENEWED] = 8,  [FS_SESSION_BATCH_SCAN] = 64,
    [FS_SESSION_BATCH_DIGEST] = 64,  [FS_SESSION_BATCH_LIST] = 11,
    [FS_SESSION_BATCH_STATE] = 24,   [FS_SESSION_BATCH_HANDED] = 123,
    [FS_SESSION_BATCH_LATE] = 71,    [FS_SESSION_BATCH_AHEAD] = 67};
static const fs_session_what_t outcome[FS_SESSION_BATCH_KINDS] = {
    [FS_SESSION_BATCH_OFFERED] = FS_SESSION_WHAT_MERGE,
    [FS_SESSION_BATCH_TAKEN] = FS_SESSION_WHAT_OWNED,
    [FS_SESSION_BATCH_DIFFERING] = FS_SESSION_WHAT_DIFFERS,
    [FS_SESSION_BATCH_HANDED] = FS_SESSION_WHAT_GRANTED};

static fs_session_stamp_t some_stamp(uint64_t *seed)
{
    fs_session_stamp_t stamp = {below(seed, FS_SESSION_EPOCH_LIMIT),
                                chance(seed) % FS_SESSION_COUNT_LIMIT, chance(seed)};

    return stamp;
}

static void some_name(char name[FS_SESSION_NAME_SIZE], uint64_t *seed)
{
    unsigned length = below(seed, FS_SESSION_NAME_SIZE);

    memset(name, 'a' + (int)below(seed, 26), length);
    name[length] = '\0';
}

static void some_item(fs_session_item_t *item, fs_session_batch_kind_t kind, uint64_t *seed)
{
    static uint8_t sealed[2000];

    memset(item, 0, sizeof(*item));
    item->key = key_of(chance(seed));
    item->what = outcome[kind];
    item->flags = below(seed, FS_SESSION_ITEM_FLAGS + 1);
    item->parts = demanded[kind] | ((unsigned)chance(seed) & allowed[kind]);
    if (item->parts & FS_SESSION_PART_VERSION)
        item->version = some_stamp(seed);
    if (item->parts & FS_SESSION_PART_EXPIRES)
        item->expires = (fs_usec_t)(chance(seed) >> 1);
    if (item->parts & FS_SESSION_PART_BASE)
        item->base = some_stamp(seed);
    if (item->parts & FS_SESSION_PART_OWNER)
        some_name(item->owner, seed);
    if (item->parts & FS_SESSION_PART_LEASE)
        item->lease = (uint32_t)chance(seed);
    if (item->parts & FS_SESSION_PART_BASES)
        item->base_count = below(seed, FS_SESSION_BATCH_BASES + 1);
    for (uint32_t i = 0; i < item->base_count; i++) {
        some_name(item->bases[i].name, seed);
        item->bases[i].version = some_stamp(seed);
    }
    if (item->parts & FS_SESSION_PART_SEALED) {
        item->sealed_length = below(seed, sizeof(sealed));
        for (uint32_t i = 0; i < item->sealed_length; i++)
            sealed[i] = (uint8_t)(i * 7);
        item->sealed = sealed;
    }
}

static void assert_same_item(const fs_session_item_t *a, const fs_session_item_t *b)
{
    ck_assert_mem_eq(&a->key, &b->key, sizeof(a->key));
    ck_assert_int_eq(a->what, b->what);
    ck_assert_uint_eq(a->flags, b->flags);
    ck_assert_uint_eq(a->parts, b->parts);
    ck_assert_int_eq(fs_session_stamp_compare(&a->version, &b->version), 0);
    ck_assert_int_eq(fs_session_stamp_compare(&a->base, &b->base), 0);
    ck_assert_int_eq(a->expires, b->expires);
    ck_assert_str_eq(a->owner, b->owner);
    ck_assert_uint_eq(a->lease, b->lease);
    ck_assert_uint_eq(a->base_count, b->base_count);
    for (uint32_t i = 0; i < a->base_count; i++) {
        ck_assert_str_eq(a->bases[i].name, b->bases[i].name);
        ck_assert(!fs_session_stamp_compare(&a->bases[i].version, &b->bases[i].version));
    }
    ck_assert_uint_eq(a->sealed_length, b->sealed_length);
    if (a->sealed_length)
        ck_assert_mem_eq(a->sealed, b->sealed, a->sealed_length);
}

/* A batch of `kind` with `count` items, seeded; `keep` gets the items. */
static void write_batch(fs_session_batch_writer_t *writer, fs_session_batch_kind_t kind,
                        unsigned count, uint64_t *seed, fs_session_item_t *keep)
{
    fs_session_batch_t head = {.kind = kind, .flags = below(seed, 32), .lease = below(seed, 60000)};

    head.copies = (uint32_t)chance(seed);
    head.instance = chance(seed);
    head.boot = chance(seed);
    head.sequence = chance(seed);
    head.mark = chance(seed);
    some_name(head.name, seed);
    ck_assert_int_eq(fs_session_batch_begin(writer, &head, NULL), APR_SUCCESS);
    for (unsigned i = 0; i < count; i++) {
        some_item(&keep[i], kind, seed);
        ck_assert_int_eq(fs_session_batch_add(writer, &keep[i], NULL), APR_SUCCESS);
    }
}

START_TEST(what_is_written_is_read)
{
    fs_session_batch_kind_t kind = (fs_session_batch_kind_t)_i;
    uint64_t seed = (uint64_t)_i;

    for (unsigned count = 0; count < 20; count++) {
        fs_session_item_t kept[20], item;
        fs_session_batch_writer_t writer;
        fs_session_batch_reader_t reader;
        unsigned seen = 0;

        write_batch(&writer, kind, count, &seed, kept);
        ck_assert_int_eq(fs_session_batch_read(&reader, kind, writer.bytes, writer.length, NULL),
                         APR_SUCCESS);
        ck_assert_uint_eq(reader.head.count, count);
        while (fs_session_batch_next(&reader, &item)) {
            /* sealed bytes of all items begin alike, so kept ones may share them */
            assert_same_item(&kept[seen], &item);
            seen++;
        }
        ck_assert_uint_eq(seen, count);
        free(writer.bytes);
    }
}
END_TEST

START_TEST(each_cut_is_refused)
{
    fs_session_batch_kind_t kind = (fs_session_batch_kind_t)_i;
    uint64_t seed = (uint64_t)_i + 100;
    fs_session_item_t kept[3];
    fs_session_batch_writer_t writer;
    fs_session_batch_reader_t reader;
    fs_result_t result;

    write_batch(&writer, kind, 3, &seed, kept);
    for (size_t length = 0; length < writer.length; length++) {
        uint8_t *exact = malloc(length ? length : 1); /* a sanitizer sees an overrun */

        memcpy(exact, writer.bytes, length);
        ck_assert_int_ne(fs_session_batch_read(&reader, kind, exact, length, &result), APR_SUCCESS);
        ck_assert_str_eq(result.problem, "FS1290");
        ck_assert_int_eq(fs_session_batch_next(&reader, &kept[0]), 0);
        free(exact);
    }
    free(writer.bytes);
}
END_TEST

START_TEST(another_kind_is_refused)
{
    for (int other = FS_SESSION_BATCH_OFFER; other < FS_SESSION_BATCH_KINDS; other++) {
        uint64_t seed = 5;
        fs_session_item_t kept[1];
        fs_session_batch_writer_t writer;
        fs_session_batch_reader_t reader;

        write_batch(&writer, (fs_session_batch_kind_t)_i, 0, &seed, kept);
        ck_assert_int_eq(fs_session_batch_read(&reader, (fs_session_batch_kind_t)other,
                                               writer.bytes, writer.length, NULL) == APR_SUCCESS,
                         other == _i);
        free(writer.bytes);
    }
}
END_TEST

/* An offer whose bytes are changed one by one is refused or reads as something that is written the
 * same; never anything else. */
START_TEST(no_change_of_a_byte_escapes)
{
    uint64_t seed = 9;
    fs_session_item_t kept[2], item;
    fs_session_batch_writer_t writer, again;
    fs_session_batch_reader_t reader;

    write_batch(&writer, FS_SESSION_BATCH_OFFER, 2, &seed, kept);
    for (size_t i = 0; i < writer.length; i++)
        for (int bit = 0; bit < 8; bit++) {
            writer.bytes[i] ^= (uint8_t)(1 << bit);
            if (!fs_session_batch_read(&reader, FS_SESSION_BATCH_OFFER, writer.bytes, writer.length,
                                       NULL)) {
                ck_assert_int_eq(fs_session_batch_begin(&again, &reader.head, NULL), 0);
                while (fs_session_batch_next(&reader, &item))
                    ck_assert_int_eq(fs_session_batch_add(&again, &item, NULL), 0);
                ck_assert_uint_eq(again.length, writer.length);
                ck_assert_mem_eq(again.bytes, writer.bytes, writer.length);
                free(again.bytes);
            }
            writer.bytes[i] ^= (uint8_t)(1 << bit);
        }
    free(writer.bytes);
}
END_TEST

START_TEST(limits_are_kept)
{
    fs_session_batch_t head = {.kind = FS_SESSION_BATCH_OFFER};
    uint8_t *much = calloc(1, FS_SESSION_SEALED_LIMIT + 1);
    fs_session_item_t item = {.parts = 67, .sealed = much};
    fs_session_batch_writer_t writer;
    fs_result_t result;

    ck_assert_int_eq(fs_session_batch_begin(&writer, &head, NULL), APR_SUCCESS);
    item.sealed_length = FS_SESSION_SEALED_LIMIT + 1;
    ck_assert_int_eq(fs_session_batch_add(&writer, &item, &result), APR_EINVAL);
    ck_assert_str_eq(result.problem, "FS1291");
    item.sealed_length = FS_SESSION_SEALED_LIMIT; /* the largest copy always has room in a batch */
    ck_assert_int_eq(fs_session_batch_add(&writer, &item, NULL), APR_SUCCESS);
    ck_assert(fs_session_batch_filled(&writer));
    ck_assert_int_eq(fs_session_batch_add(&writer, &item, NULL), APR_ENOSPC);
    ck_assert_uint_eq(writer.count, 1);
    free(writer.bytes);

    ck_assert_int_eq(fs_session_batch_begin(&writer, &head, NULL), APR_SUCCESS);
    item.sealed_length = 0;
    for (unsigned i = 0; i < FS_SESSION_BATCH_ITEMS; i++)
        ck_assert_int_eq(fs_session_batch_add(&writer, &item, NULL), APR_SUCCESS);
    ck_assert_int_eq(fs_session_batch_add(&writer, &item, NULL), APR_ENOSPC);
    free(writer.bytes);
    free(much);
}
END_TEST

START_TEST(what_a_kind_has_not_is_refused)
{
    fs_session_batch_t head = {.kind = FS_SESSION_BATCH_OFFER, .lease = FS_SESSION_LEASE_LIMIT + 1};
    fs_session_item_t item = {.parts = 3};
    fs_session_batch_writer_t writer;

    ck_assert_int_eq(fs_session_batch_begin(&writer, &head, NULL), APR_EINVAL);
    head.lease = 0;
    ck_assert_int_eq(fs_session_batch_begin(&writer, &head, NULL), APR_SUCCESS);
    ck_assert_int_eq(fs_session_batch_add(&writer, &item, NULL), APR_EINVAL); /* no copy */
    item.parts = 67 | FS_SESSION_PART_LEASE;
    ck_assert_int_eq(fs_session_batch_add(&writer, &item, NULL), APR_EINVAL);
    item.parts = 67;
    item.what = FS_SESSION_WHAT_GRANTED;
    ck_assert_int_eq(fs_session_batch_add(&writer, &item, NULL), APR_EINVAL);
    item.what = FS_SESSION_WHAT_NONE;
    item.flags = FS_SESSION_ITEM_FLAGS + 1;
    ck_assert_int_eq(fs_session_batch_add(&writer, &item, NULL), APR_EINVAL);
    item.flags = 0;
    item.version.sequence = FS_SESSION_COUNT_LIMIT;
    ck_assert_int_eq(fs_session_batch_add(&writer, &item, NULL), APR_EINVAL);
    item.version.sequence = 0;
    ck_assert_int_eq(fs_session_batch_add(&writer, &item, NULL), APR_SUCCESS);
    free(writer.bytes);
}
END_TEST

static Suite *batch_suite(void)
{
    Suite *suite = suite_create("session_batch");
    TCase *cases = tcase_create("batch");

    tcase_add_loop_test(cases, what_is_written_is_read, FS_SESSION_BATCH_OFFER,
                        FS_SESSION_BATCH_KINDS);
    tcase_add_loop_test(cases, each_cut_is_refused, FS_SESSION_BATCH_OFFER, FS_SESSION_BATCH_KINDS);
    tcase_add_loop_test(cases, another_kind_is_refused, FS_SESSION_BATCH_OFFER,
                        FS_SESSION_BATCH_KINDS);
    tcase_add_test(cases, no_change_of_a_byte_escapes);
    tcase_add_test(cases, limits_are_kept);
    tcase_add_test(cases, what_a_kind_has_not_is_refused);
    tcase_set_timeout(cases, 60);
    suite_add_tcase(suite, cases);
    return suite;
}

FS_TEST_MAIN(batch_suite)
