/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions as pure logic: ids, records, and that merging loses nothing whatever the order. */
#include "fs_test.h"
#include "fs_test_session.h"

static apr_pool_t *pool;
static fs_result_t result;

static void setup(void)
{
    apr_initialize();
    apr_pool_create(&pool, NULL);
}

static void teardown(void)
{
    apr_pool_destroy(pool);
    apr_terminate();
}

/* --- ids -----------------------------------------------------------------------------------------
 */

static const fs_session_secret_t old_secret = {"the farm's older secret of 32 by", 32};
static const fs_session_secret_t new_secret = {"the farm's newer secret of 32 by", 32};

static fs_session_keys_t *make_keys(const fs_session_secret_t *first,
                                    const fs_session_secret_t *second)
{
    fs_session_secret_t secrets[2] = {*first, second ? *second : *first};
    fs_session_keys_t *keys;

    ck_assert_int_eq(fs_session_keys_make(&keys, secrets, second ? 2 : 1, &result), APR_SUCCESS);
    return keys;
}

START_TEST(an_id_is_read_again)
{
    fs_session_keys_t *keys = make_keys(&new_secret, NULL);
    uint8_t seal[FS_SESSION_SEAL_BYTES], again[FS_SESSION_SEAL_BYTES];
    fs_session_id_t made, read;

    ck_assert_int_eq(fs_session_id_make(&made, keys, &result), APR_SUCCESS);
    ck_assert_uint_eq(strlen(made.text), FS_SESSION_ID_LENGTH);
    ck_assert_uint_eq(strspn(made.text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                        "0123456789-_"),
                      FS_SESSION_ID_LENGTH);
    ck_assert_int_eq(fs_session_id_read(&read, keys, made.text, strlen(made.text), &result),
                     APR_SUCCESS);
    ck_assert_str_eq(read.text, made.text);
    ck_assert_int_eq(fs_session_key_compare(&read.key, &made.key), 0);
    ck_assert_int_eq(fs_session_id_seal_key(&made, keys, seal, &result), APR_SUCCESS);
    ck_assert_int_eq(fs_session_id_seal_key(&read, keys, again, &result), APR_SUCCESS);
    ck_assert_mem_eq(seal, again, sizeof(seal));
    ck_assert_mem_ne(seal, made.key.bytes, sizeof(made.key));
    fs_session_keys_free(keys);
}
END_TEST

START_TEST(a_foreign_id_is_refused)
{
    fs_session_keys_t *keys = make_keys(&new_secret, NULL);
    fs_session_keys_t *foreign = make_keys(&old_secret, NULL);
    fs_session_id_t made, read;

    ck_assert_int_eq(fs_session_id_make(&made, keys, &result), APR_SUCCESS);
    ck_assert_int_eq(fs_session_id_read(&read, foreign, made.text, strlen(made.text), &result),
                     APR_EINVAL);
    ck_assert_str_eq(result.problem, "FS1201");
    for (size_t i = 0; i < FS_SESSION_ID_LENGTH; i++) {
        fs_session_id_t bent = made;

        bent.text[i] = bent.text[i] == 'A' ? 'B' : 'A';
        ck_assert_int_ne(fs_session_id_read(&read, keys, bent.text, strlen(bent.text), &result),
                         APR_SUCCESS);
        bent.text[i] = '=';
        ck_assert_int_ne(fs_session_id_read(&read, keys, bent.text, strlen(bent.text), &result),
                         APR_SUCCESS);
    }
    for (size_t length = 0; length < FS_SESSION_ID_LENGTH; length++)
        ck_assert_int_ne(fs_session_id_read(&read, keys, made.text, length, &result), APR_SUCCESS);
    ck_assert_int_ne(fs_session_id_read(&read, keys, made.text, strlen(made.text) + 1, &result),
                     APR_SUCCESS);
    fs_session_keys_free(foreign);
    fs_session_keys_free(keys);
}
END_TEST

/* A session made before the rotation has the same key and seal key during it. */
START_TEST(an_id_survives_rotation)
{
    fs_session_keys_t *before = make_keys(&old_secret, NULL);
    fs_session_keys_t *during = make_keys(&new_secret, &old_secret);
    fs_session_keys_t *after = make_keys(&new_secret, NULL);
    uint8_t seal[FS_SESSION_SEAL_BYTES], again[FS_SESSION_SEAL_BYTES];
    fs_session_id_t made, read;

    ck_assert_int_eq(fs_session_id_make(&made, before, &result), APR_SUCCESS);
    ck_assert_int_eq(fs_session_id_seal_key(&made, before, seal, &result), APR_SUCCESS);
    ck_assert_int_eq(fs_session_id_read(&read, during, made.text, strlen(made.text), &result),
                     APR_SUCCESS);
    ck_assert_uint_eq(read.secret, 1);
    ck_assert_int_eq(fs_session_key_compare(&read.key, &made.key), 0);
    ck_assert_int_eq(fs_session_id_seal_key(&read, during, again, &result), APR_SUCCESS);
    ck_assert_mem_eq(seal, again, sizeof(seal));
    ck_assert_int_ne(fs_session_id_read(&read, after, made.text, strlen(made.text), &result),
                     APR_SUCCESS);
    fs_session_keys_free(before);
    fs_session_keys_free(during);
    fs_session_keys_free(after);
}
END_TEST

START_TEST(a_short_secret_is_refused)
{
    fs_session_secret_t secret = {"short", 5};
    fs_session_keys_t *keys;

    ck_assert_int_eq(fs_session_keys_make(&keys, &secret, 1, &result), APR_EINVAL);
    ck_assert_str_eq(result.problem, "FS1200");
    ck_assert_int_eq(fs_session_keys_make(&keys, NULL, 0, &result), APR_EINVAL);
    ck_assert_ptr_null(keys);
}
END_TEST

/* --- random records ------------------------------------------------------------------------------
 */

static fs_session_writer_t writer_of(uint64_t id)
{
    static const char *names[] = {"web0:80", "web1:80", "web2:80", "web3:80", "web4:80"};
    fs_session_writer_t writer = {id, names[id % 5], NOW};

    return writer;
}

static void change_at_random(fs_session_record_t *record, uint64_t *seed, fs_usec_t now)
{
    fs_session_writer_t writer = writer_of(1 + below(seed, 4));
    fs_session_change_t changes[4];
    uint32_t count = below(seed, 4);

    writer.now = now;
    for (uint32_t i = 0; i < count; i++)
        changes[i] = change(apr_psprintf(pool, "k%u", below(seed, 12)),
                            below(seed, 3) ? apr_psprintf(pool, "v%u", below(seed, 5)) : NULL);
    if (record->state != FS_SESSION_LIVE)
        return;
    ck_assert_int_eq(fs_session_apply(record, changes, count, &writer, pool, &result), APR_SUCCESS);
    if (!below(seed, 4))
        ck_assert_int_eq(fs_session_take_over(record, &writer, &result), APR_SUCCESS);
    if (!below(seed, 8)) /* as folding does */
        for (uint32_t i = 0; i < record->count; i++)
            if (!record->entries[i].value &&
                fs_session_stamp_compare(&record->floor, &record->entries[i].stamp) < 0) {
                fs_session_stamp_t floor = record->entries[i].stamp;
                uint32_t kept = 0;

                record->floor = floor;
                for (uint32_t j = 0; j < record->count; j++)
                    if (record->entries[j].value ||
                        fs_session_stamp_compare(&record->entries[j].stamp, &floor) > 0)
                        record->entries[kept++] = record->entries[j];
                record->count = kept;
                break;
            }
}

static void end_at_random(fs_session_record_t *record, uint64_t *seed)
{
    fs_session_writer_t writer = writer_of(1 + below(seed, 4));
    fs_session_target_t target = {key_of(below(seed, 3)), {0}, NOW + 10 * SEC};
    fs_session_record_t moved;

    if (!below(seed, 10))
        fs_session_end(record, &writer);
    else if (!below(seed, 10) && record->state == FS_SESSION_LIVE)
        ck_assert_int_eq(fs_session_move(record, &moved, &target, &writer, &result), APR_SUCCESS);
}

/* Three copies that were forked from one another and changed on. */
static void forks(fs_session_record_t copies[3], uint64_t seed)
{
    fs_session_writer_t writer = writer_of(1);

    fs_session_begin(&copies[0], &writer, below(&seed, 2) ? NOW + 3600 * SEC : 0, 600 * SEC);
    copies[1] = copies[2] = copies[0];
    for (unsigned step = 0; step < 12; step++) {
        unsigned at = below(&seed, 3), from = below(&seed, 3);

        if (!below(&seed, 5)) {
            copies[at] = copies[from];
            copies[at].entries = apr_pmemdup(pool, copies[from].entries,
                                             copies[from].count * sizeof(fs_session_entry_t));
        }
        change_at_random(&copies[at], &seed, NOW + step * SEC);
    }
    for (unsigned i = 0; i < 3; i++)
        end_at_random(&copies[i], &seed);
}

static void check_same(const fs_session_record_t *a, const fs_session_record_t *b)
{
    const uint8_t *x, *y;
    size_t x_length, y_length;

    ck_assert_msg(fs_session_record_encode(a, pool, &x, &x_length, &result) == APR_SUCCESS, "%s",
                  result.detail);
    ck_assert_int_eq(fs_session_record_encode(b, pool, &y, &y_length, &result), APR_SUCCESS);
    ck_assert_uint_eq(x_length, y_length);
    ck_assert_mem_eq(x, y, x_length);
}

/* --- record --------------------------------------------------------------------------------------
 */

START_TEST(a_record_reads_back_the_same)
{
    for (uint64_t seed = 0; seed < 2000; seed++) {
        fs_session_record_t copies[3], again;
        const uint8_t *bytes, *second;
        size_t length, second_length;

        forks(copies, seed);
        ck_assert_int_eq(fs_session_record_encode(&copies[0], pool, &bytes, &length, &result),
                         APR_SUCCESS);
        ck_assert_msg(fs_session_record_decode(&again, bytes, length, pool, &result) == APR_SUCCESS,
                      "seed %d: %s", (int)seed, result.detail);
        ck_assert_int_eq(again.used, copies[0].used);
        ck_assert_str_eq(again.owner.name, copies[0].owner.name);
        ck_assert_int_eq(fs_session_record_encode(&again, pool, &second, &second_length, &result),
                         APR_SUCCESS);
        ck_assert_uint_eq(second_length, length);
        ck_assert_mem_eq(second, bytes, length);
        apr_pool_clear(pool);
    }
}
END_TEST

/* Promise 12: cut short or altered, it is refused or it is a record; nothing is read beyond its
 * end. */
START_TEST(a_damaged_record_is_refused)
{
    uint64_t seed = 7;

    for (unsigned run = 0; run < 300; run++) {
        fs_session_record_t copies[3], read;
        const uint8_t *bytes;
        size_t length;

        forks(copies, run);
        ck_assert_int_eq(fs_session_record_encode(&copies[0], pool, &bytes, &length, &result),
                         APR_SUCCESS);
        for (size_t cut = 0; cut < length; cut++) {
            void *part = malloc(cut ? cut : 1);

            memcpy(part, bytes, cut);
            ck_assert_int_eq(fs_session_record_decode(&read, part, cut, pool, &result), APR_EINVAL);
            ck_assert_str_eq(result.problem, "FS1204");
            ck_assert_uint_eq(read.count, 0);
            free(part);
        }
        for (unsigned flip = 0; flip < 60; flip++) {
            uint8_t *bent = apr_pmemdup(pool, bytes, length);
            const uint8_t *again;
            size_t again_length;

            bent[below(&seed, (uint32_t)length)] ^= (uint8_t)(1u << below(&seed, 8));
            if (fs_session_record_decode(&read, bent, length, pool, &result))
                continue;
            ck_assert_int_eq(fs_session_record_encode(&read, pool, &again, &again_length, &result),
                             APR_SUCCESS);
            ck_assert_uint_eq(again_length, length);
            ck_assert_mem_eq(again, bent, length);
        }
        apr_pool_clear(pool);
    }
}
END_TEST

START_TEST(expiry_is_the_sooner_of_both)
{
    fs_session_writer_t writer = writer_of(1);
    fs_session_record_t record;

    fs_session_begin(&record, &writer, NOW + 100 * SEC, 60 * SEC);
    ck_assert_int_eq(fs_session_record_expires(&record), NOW + 60 * SEC);
    writer.now += 50 * SEC;
    ck_assert_int_eq(fs_session_apply(&record, NULL, 0, &writer, pool, &result), APR_SUCCESS);
    ck_assert_int_eq(fs_session_record_expires(&record), NOW + 100 * SEC);
    record.ends = record.idle = 0;
    ck_assert_int_eq(fs_session_record_expires(&record), INT64_MAX);
    fs_session_end(&record, &writer);
    ck_assert_int_eq(fs_session_record_expires(&record), NOW + 50 * SEC + FS_SESSION_ENDED_LIFE);
}
END_TEST

/* --- changes -------------------------------------------------------------------------------------
 */

/* Two frames of a page read the same session; each saves what it changed; both changes are there.
 */
START_TEST(parallel_changes_are_all_kept)
{
    fs_session_writer_t writer = writer_of(1);
    fs_session_change_t first[] = {change("cart", "3"), change("old", "x")};
    fs_session_change_t frame_a[] = {change("a", "1"), change("old", NULL)};
    fs_session_change_t frame_b[] = {change("b", "2"), change("cart", "4"), change("cart", "5")};
    fs_session_record_t record;

    fs_session_begin(&record, &writer, 0, 60 * SEC);
    ck_assert_int_eq(fs_session_apply(&record, first, 2, &writer, pool, &result), APR_SUCCESS);
    ck_assert_int_eq(fs_session_apply(&record, frame_a, 2, &writer, pool, &result), APR_SUCCESS);
    ck_assert_int_eq(fs_session_apply(&record, frame_b, 3, &writer, pool, &result), APR_SUCCESS);
    ck_assert_str_eq(value_of(&record, "a", pool), "1");
    ck_assert_str_eq(value_of(&record, "b", pool), "2");
    ck_assert_str_eq(value_of(&record, "cart", pool), "5");
    ck_assert_ptr_null(value_of(&record, "old", pool));
    ck_assert_uint_eq(record.version.sequence, NOW + 3);
    fs_session_end(&record, &writer);
    ck_assert_int_eq(fs_session_apply(&record, first, 2, &writer, pool, &result), APR_EINVAL);
    ck_assert_str_eq(result.problem, "FS1205");
}
END_TEST

START_TEST(differences_make_the_one_of_the_other)
{
    for (uint64_t seed = 0; seed < 1000; seed++) {
        fs_session_record_t copies[3], made;
        fs_session_change_t changes[64];
        fs_session_writer_t writer = writer_of(2);
        uint32_t count;

        forks(copies, seed);
        if (copies[0].state != FS_SESSION_LIVE || copies[1].state != FS_SESSION_LIVE)
            continue;
        count = fs_session_differences(copies[0].entries, copies[0].count, copies[1].entries,
                                       copies[1].count, changes);
        made = copies[0];
        ck_assert_int_eq(fs_session_apply(&made, changes, count, &writer, pool, &result),
                         APR_SUCCESS);
        count = fs_session_differences(made.entries, made.count, copies[1].entries, copies[1].count,
                                       changes);
        ck_assert_uint_eq(count, 0);
        apr_pool_clear(pool);
    }
}
END_TEST

/* A form token a page: keys come and go, the record stays small, and old copies bring none back. */
START_TEST(tombstones_are_folded)
{
    fs_session_writer_t writer = writer_of(1);
    fs_session_record_t record, early, merged;

    fs_session_begin(&record, &writer, 0, 60 * SEC);
    for (unsigned i = 0; i < 10000; i++) {
        char *key = apr_psprintf(pool, "token%u", i);
        fs_session_change_t set = change(key, "t"), unset = change(key, NULL);

        ck_assert_int_eq(fs_session_apply(&record, &set, 1, &writer, pool, &result), APR_SUCCESS);
        if (i == 20)
            early = record;
        ck_assert_int_eq(fs_session_apply(&record, &unset, 1, &writer, pool, &result), APR_SUCCESS);
        ck_assert_uint_le(record.count, FS_SESSION_TOMBSTONES + 1);
    }
    fs_session_merge(&merged, &early, &record, pool);
    ck_assert_ptr_null(value_of(&merged, "token20", pool));
    check_same(&merged, &record);
}
END_TEST

START_TEST(too_many_keys_are_refused)
{
    fs_session_writer_t writer = writer_of(1);
    fs_session_change_t *changes =
        apr_palloc(pool, (FS_SESSION_ENTRY_LIMIT + 1) * sizeof(*changes));
    fs_session_record_t record, before;

    for (unsigned i = 0; i <= FS_SESSION_ENTRY_LIMIT; i++)
        changes[i] = change(apr_psprintf(pool, "key%u", i), "");
    fs_session_begin(&record, &writer, 0, 0);
    before = record;
    ck_assert_int_eq(
        fs_session_apply(&record, changes, FS_SESSION_ENTRY_LIMIT + 1, &writer, pool, &result),
        APR_ENOSPC);
    check_same(&record, &before);
    ck_assert_int_eq(
        fs_session_apply(&record, changes, FS_SESSION_ENTRY_LIMIT, &writer, pool, &result),
        APR_SUCCESS);
    ck_assert_str_eq(value_of(&record, "key4000", pool), "");
    changes[0].key_length = 0;
    ck_assert_int_eq(fs_session_apply(&record, changes, 1, &writer, pool, &result), APR_EINVAL);
}
END_TEST

/* --- merging -------------------------------------------------------------------------------------
 */

START_TEST(merging_is_a_join)
{
    for (uint64_t seed = 0; seed < 10000; seed++) {
        fs_session_record_t c[3], ab, ba, bc, ab_c, a_bc, aa, again;

        forks(c, seed);
        fs_session_merge(&ab, &c[0], &c[1], pool);
        fs_session_merge(&ba, &c[1], &c[0], pool);
        check_same(&ab, &ba);
        fs_session_merge(&bc, &c[1], &c[2], pool);
        fs_session_merge(&ab_c, &ab, &c[2], pool);
        fs_session_merge(&a_bc, &c[0], &bc, pool);
        check_same(&ab_c, &a_bc);
        ck_assert_int_eq(fs_session_merge(&aa, &c[0], &c[0], pool),
                         FS_SESSION_MERGED_SAME_A | FS_SESSION_MERGED_SAME_B);
        check_same(&aa, &c[0]);
        ck_assert(fs_session_merge(&again, &ab, &c[0], pool) & FS_SESSION_MERGED_SAME_A);
        check_same(&again, &ab);
        apr_pool_clear(pool);
    }
}
END_TEST

/* A partition: both sides work on, each on its own keys; afterwards every change is there. */
START_TEST(forked_copies_lose_nothing)
{
    for (uint64_t seed = 0; seed < 2000; seed++) {
        fs_session_writer_t sides[2] = {writer_of(1), writer_of(2)};
        fs_session_record_t copies[2], merged;
        const char *last[2][8] = {{NULL}};
        uint64_t random = seed;

        fs_session_begin(&copies[0], &sides[0], 0, 60 * SEC);
        copies[1] = copies[0];
        ck_assert_int_eq(fs_session_take_over(&copies[1], &sides[1], &result), APR_SUCCESS);
        for (unsigned step = 0; step < 40; step++) {
            unsigned side = below(&random, 2), number = below(&random, 8);
            const char *value = below(&random, 4) ? apr_psprintf(pool, "%u", step) : NULL;
            fs_session_change_t one = change(apr_psprintf(pool, "s%uk%u", side, number), value);

            last[side][number] = value;
            ck_assert_int_eq(fs_session_apply(&copies[side], &one, 1, &sides[side], pool, &result),
                             APR_SUCCESS);
        }
        fs_session_merge(&merged, &copies[0], &copies[1], pool);
        ck_assert_uint_eq(merged.owner.writer, 2);
        for (unsigned side = 0; side < 2; side++)
            for (unsigned number = 0; number < 8; number++) {
                const char *is =
                    value_of(&merged, apr_psprintf(pool, "s%uk%u", side, number), pool);

                ck_assert_pstr_eq(is, last[side][number]);
            }
        apr_pool_clear(pool);
    }
}
END_TEST

/* Logged out on one side of a partition: no copy brings it back. */
START_TEST(an_ended_session_stays_ended)
{
    fs_session_writer_t here = writer_of(1), there = writer_of(2);
    fs_session_change_t login = change("user", "alice");
    fs_session_record_t ended, stale, merged, back;

    fs_session_begin(&ended, &here, 0, 60 * SEC);
    stale = ended;
    fs_session_end(&ended, &here);
    for (unsigned i = 0; i < 5; i++)
        ck_assert_int_eq(fs_session_take_over(&stale, &there, &result), APR_SUCCESS);
    ck_assert_int_eq(fs_session_apply(&stale, &login, 1, &there, pool, &result), APR_SUCCESS);
    ck_assert_int_eq(fs_session_merge(&merged, &ended, &stale, pool), 0);
    ck_assert_int_eq(merged.state, FS_SESSION_ENDED);
    ck_assert_uint_eq(merged.count, 0);
    fs_session_renew(&merged, &here);
    ck_assert_int_gt(fs_session_stamp_compare(&merged.version, &stale.version), 0);
    ck_assert_int_eq(fs_session_merge(&back, &merged, &stale, pool), FS_SESSION_MERGED_SAME_A);
}
END_TEST

START_TEST(a_moved_session_leads_on)
{
    fs_session_writer_t writer = writer_of(1);
    fs_session_change_t login = change("user", "alice");
    fs_session_target_t target = {key_of(5), {1, 2, 3}, NOW + 10 * SEC};
    fs_session_record_t record, moved, other;

    fs_session_begin(&record, &writer, 0, 60 * SEC);
    ck_assert_int_eq(fs_session_apply(&record, &login, 1, &writer, pool, &result), APR_SUCCESS);
    ck_assert_int_eq(fs_session_move(&record, &moved, &target, &writer, &result), APR_SUCCESS);
    ck_assert_int_eq(record.state, FS_SESSION_ALIAS);
    ck_assert_uint_eq(record.count, 0);
    ck_assert_str_eq(value_of(&moved, "user", pool), "alice");
    ck_assert_int_eq(fs_session_record_expires(&record), NOW + 10 * SEC);
    ck_assert_int_eq(fs_session_move(&record, &other, &target, &writer, &result), APR_EINVAL);
    check_same(&record, &record);
}
END_TEST

static Suite *session_suite(void)
{
    Suite *suite = suite_create("session");
    TCase *ids = tcase_create("id"), *records = tcase_create("record");
    TCase *changes = tcase_create("change"), *merges = tcase_create("merge");
    TCase *all[] = {ids, records, changes, merges};

    for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++) {
        tcase_add_checked_fixture(all[i], setup, teardown);
        tcase_set_timeout(all[i], 120);
        suite_add_tcase(suite, all[i]);
    }
    tcase_add_test(ids, an_id_is_read_again);
    tcase_add_test(ids, a_foreign_id_is_refused);
    tcase_add_test(ids, an_id_survives_rotation);
    tcase_add_test(ids, a_short_secret_is_refused);
    tcase_add_test(records, a_record_reads_back_the_same);
    tcase_add_test(records, a_damaged_record_is_refused);
    tcase_add_test(records, expiry_is_the_sooner_of_both);
    tcase_add_test(changes, parallel_changes_are_all_kept);
    tcase_add_test(changes, differences_make_the_one_of_the_other);
    tcase_add_test(changes, tombstones_are_folded);
    tcase_add_test(changes, too_many_keys_are_refused);
    tcase_add_test(merges, merging_is_a_join);
    tcase_add_test(merges, forked_copies_lose_nothing);
    tcase_add_test(merges, an_ended_session_stays_ended);
    tcase_add_test(merges, a_moved_session_leads_on);
    return suite;
}

FS_TEST_MAIN(session_suite)
