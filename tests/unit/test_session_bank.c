/* SPDX-License-Identifier: Apache-2.0 */
/* The bank: who keeps a session, and that what is kept there can be neither read nor altered. */
#include <apr_strings.h>

#include "fs_test.h"
#include "fs_test_session.h"
#include "session/fs_session_bank.h"
#include "session/fs_session_digest.h"
#include "session/fs_session_seal.h"

#define KEYS 3000

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

/* `racks` 0: without labels. */
static fs_session_bank_t *make_bank(unsigned count, unsigned racks)
{
    fs_session_server_t servers[64];
    fs_session_bank_t *bank;

    for (unsigned i = 0; i < count; i++) {
        servers[i].name = apr_psprintf(pool, "ds%u", i);
        servers[i].rack = racks ? apr_psprintf(pool, "rack%u", i % racks) : NULL;
    }
    ck_assert_int_eq(fs_session_bank_make(&bank, servers, count, pool, &result), APR_SUCCESS);
    return bank;
}

static int is_in(unsigned server, const unsigned *chosen, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (chosen[i] == server)
            return 1;
    return 0;
}

START_TEST(sessions_are_spread_evenly)
{
    fs_session_bank_t *bank = make_bank(10, 0);
    unsigned first[10] = {0}, second[10] = {0}, chosen[2];

    for (uint64_t i = 0; i < 10 * KEYS; i++) {
        fs_session_key_t key = key_of(i);

        ck_assert_uint_eq(fs_session_bank_choose(bank, &key, 2, NULL, chosen), 2);
        ck_assert_uint_ne(chosen[0], chosen[1]);
        first[chosen[0]]++;
        if (chosen[0] == 0)
            second[chosen[1]]++;
    }
    for (unsigned i = 0; i < 10; i++) {
        ck_assert_uint_ge(first[i], KEYS * 9 / 10);
        ck_assert_uint_le(first[i], KEYS * 11 / 10);
        if (i) /* one's neighbours are all others */
            ck_assert_uint_ge(second[i], KEYS / 9 * 7 / 10);
    }
}
END_TEST

START_TEST(copies_are_in_different_racks)
{
    fs_session_bank_t *bank = make_bank(9, 3);

    for (uint64_t i = 0; i < KEYS; i++) {
        fs_session_key_t key = key_of(i);
        unsigned chosen[9], count = fs_session_bank_choose(bank, &key, 20, NULL, chosen);

        ck_assert_uint_eq(count, 9);
        for (unsigned j = 0; j < 9; j += 3) {
            ck_assert_uint_ne(chosen[j] % 3, chosen[j + 1] % 3);
            ck_assert_uint_ne(chosen[j] % 3, chosen[j + 2] % 3);
            ck_assert_uint_ne(chosen[j + 1] % 3, chosen[j + 2] % 3);
        }
    }
}
END_TEST

/* When a server goes, exactly its sessions move, each by one copy; when it returns, they move back.
 */
START_TEST(no_session_moves_that_need_not)
{
    static const unsigned racks[] = {0, 2, 3, 5};

    for (unsigned r = 0; r < 4; r++)
        for (unsigned wanted = 1; wanted <= 3; wanted++) {
            fs_session_bank_t *bank = make_bank(10, racks[r]);
            unsigned moved = 0, takers[10] = {0};
            uint8_t usable[10];

            memset(usable, 1, sizeof(usable));
            usable[4] = 0;
            for (uint64_t i = 0; i < KEYS; i++) {
                fs_session_key_t key = key_of(i);
                unsigned before[3], after[3], fresh = 0;

                fs_session_bank_choose(bank, &key, wanted, NULL, before);
                ck_assert_uint_eq(fs_session_bank_choose(bank, &key, wanted, usable, after),
                                  wanted);
                for (unsigned j = 0; j < wanted; j++)
                    if (!is_in(after[j], before, wanted)) {
                        fresh++;
                        takers[after[j]]++;
                    }
                ck_assert_uint_eq(fresh, is_in(4, before, wanted));
                moved += fresh;
            }
            ck_assert_uint_ge(moved, wanted * KEYS / 10 * 8 / 10);
            ck_assert_uint_le(moved, wanted * KEYS / 10 * 12 / 10);
            for (unsigned i = 0; i < 10; i++)
                if (i != 4 && racks[r] == 0)
                    ck_assert_uint_ge(takers[i], moved / 9 / 2);
        }
}
END_TEST

/* The list's order says nothing, and more servers are the same as one that becomes usable. */
START_TEST(the_choice_follows_names)
{
    fs_session_server_t servers[3] = {{"ds2", NULL}, {"ds0", NULL}, {"ds1", NULL}};
    fs_session_bank_t *sorted = make_bank(4, 0), *shuffled;
    static const unsigned as[] = {2, 0, 1};
    uint8_t usable[4] = {1, 1, 1, 0};

    ck_assert_int_eq(fs_session_bank_make(&shuffled, servers, 3, pool, &result), APR_SUCCESS);
    for (uint64_t i = 0; i < KEYS; i++) {
        fs_session_key_t key = key_of(i);
        unsigned a[3], b[3];

        ck_assert_uint_eq(fs_session_bank_choose(sorted, &key, 4, usable, a), 3);
        ck_assert_uint_eq(fs_session_bank_choose(shuffled, &key, 4, NULL, b), 3);
        for (unsigned j = 0; j < 3; j++)
            ck_assert_uint_eq(a[j], as[b[j]]);
    }
    servers[2].name = "ds2";
    ck_assert_int_eq(fs_session_bank_make(&shuffled, servers, 3, pool, &result), APR_EINVAL);
    ck_assert_str_eq(result.problem, "FS1240");
    ck_assert_int_eq(
        fs_session_bank_make(&shuffled, servers, FS_SESSION_BANK_LIMIT + 1, pool, &result),
        APR_EINVAL);
}
END_TEST

/* --- seal ----------------------------------------------------------------------------------------
 */

static const uint8_t seal_key[FS_SESSION_SEAL_BYTES] = {1, 2, 3};
static const char plain[] = "what a visitor has in the cart";

static fs_session_label_t make_label(void)
{
    fs_session_label_t label = {key_of(1), {3, 42, 7}, NOW};

    return label;
}

START_TEST(what_is_sealed_opens_again)
{
    fs_session_label_t label = make_label();
    const uint8_t *sealed, *again, *opened;
    size_t length, opened_length;

    for (size_t n = 0; n < sizeof(plain); n++) {
        ck_assert_int_eq(
            fs_session_seal(seal_key, &label, plain, n, pool, &sealed, &length, &result),
            APR_SUCCESS);
        ck_assert_uint_eq(length, n + FS_SESSION_SEAL_OVERHEAD);
        ck_assert_int_eq(fs_session_unseal(seal_key, &label, sealed, length, pool, &opened,
                                           &opened_length, &result),
                         APR_SUCCESS);
        ck_assert_uint_eq(opened_length, n);
        ck_assert_int_eq(memcmp(opened, plain, n), 0);
    }
    ck_assert_ptr_null(memmem(sealed, length, "visitor", 7));
    fs_session_seal(seal_key, &label, plain, sizeof(plain) - 1, pool, &again, &length, &result);
    ck_assert_mem_ne(sealed, again, length);
}
END_TEST

START_TEST(what_was_altered_is_refused)
{
    fs_session_label_t label = make_label(), other;
    uint8_t other_key[FS_SESSION_SEAL_BYTES] = {1, 2, 4};
    const uint8_t *sealed, *opened;
    size_t length, n;

    fs_session_seal(seal_key, &label, plain, sizeof(plain), pool, &sealed, &length, &result);
#define REFUSED(key_, label_, bytes_, length_)                                                     \
    do {                                                                                           \
        ck_assert_int_eq(                                                                          \
            fs_session_unseal(key_, label_, bytes_, length_, pool, &opened, &n, &result),          \
            APR_EINVAL);                                                                           \
        ck_assert_str_eq(result.problem, "FS1251");                                                \
    } while (0)
    for (size_t i = 0; i < length * 8; i++) {
        uint8_t *bent = apr_pmemdup(pool, sealed, length);

        bent[i / 8] ^= (uint8_t)(1u << i % 8);
        REFUSED(seal_key, &label, bent, length);
    }
    for (size_t cut = 0; cut < length; cut++)
        REFUSED(seal_key, &label, sealed, cut);
    REFUSED(other_key, &label, sealed, length);
    other = label;
    other.version.epoch++;
    REFUSED(seal_key, &other, sealed, length);
    other = label;
    other.version.sequence--;
    REFUSED(seal_key, &other, sealed, length);
    other = label;
    other.version.writer++;
    REFUSED(seal_key, &other, sealed, length);
    other = label;
    other.expires++;
    REFUSED(seal_key, &other, sealed, length);
    other = label;
    other.key.bytes[15] ^= 1;
    REFUSED(seal_key, &other, sealed, length);
}
END_TEST

/* --- digest --------------------------------------------------------------------------------------
 */

/* A server that returns with old memory: of 100,000 sessions, only the buckets that differ are
 * listed. */
START_TEST(digests_tell_what_differs)
{
    static fs_session_digest_t mine, theirs, read;
    static uint8_t bytes[FS_SESSION_DIGEST_BYTES];
    static uint8_t expected[FS_SESSION_BUCKETS];
    uint16_t differing[FS_SESSION_BUCKETS];
    unsigned count;

    for (uint64_t i = 0; i < 100000; i++) {
        fs_session_key_t key = key_of(i);
        fs_session_stamp_t now = {1 + (i % 997 == 0), 5 + (i % 1009 == 0), 7 + (i % 1013 == 0)};
        fs_session_stamp_t then = {1, 5, 7};

        fs_session_digest_flip(&mine, &key, &now);
        if (i % 1019) /* it never had that one */
            fs_session_digest_flip(&theirs, &key, &then);
        if (!(i % 1019) || fs_session_stamp_compare(&now, &then))
            expected[fs_session_bucket(&key)] = 1;
    }
    fs_session_digest_write(&theirs, bytes);
    ck_assert_int_eq(fs_session_digest_read(&read, bytes, sizeof(bytes), &result), APR_SUCCESS);
    ck_assert_int_eq(fs_session_digest_read(&read, bytes, sizeof(bytes) - 1, &result), APR_EINVAL);
    count = fs_session_digest_differences(&mine, &read, differing);
    for (unsigned i = 0; i < count; i++) {
        ck_assert_uint_eq(expected[differing[i]], 1);
        expected[differing[i]] = 0;
    }
    for (unsigned i = 0; i < FS_SESSION_BUCKETS; i++)
        ck_assert_uint_eq(expected[i], 0);
    for (uint64_t i = 0; i < 100000; i++) { /* as one session after another is brought up to date */
        fs_session_key_t key = key_of(i);
        fs_session_stamp_t now = {1 + (i % 997 == 0), 5 + (i % 1009 == 0), 7 + (i % 1013 == 0)};
        fs_session_stamp_t then = {1, 5, 7};

        if (i % 1019)
            fs_session_digest_flip(&theirs, &key, &then);
        fs_session_digest_flip(&theirs, &key, &now);
    }
    ck_assert_uint_eq(fs_session_digest_differences(&mine, &theirs, differing), 0);
}
END_TEST

static Suite *session_bank_suite(void)
{
    Suite *suite = suite_create("session bank");
    TCase *choice = tcase_create("choice"), *seal = tcase_create("seal");
    TCase *digest = tcase_create("digest");
    TCase *all[] = {choice, seal, digest};

    for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++) {
        tcase_add_checked_fixture(all[i], setup, teardown);
        tcase_set_timeout(all[i], 120);
        suite_add_tcase(suite, all[i]);
    }
    tcase_add_test(choice, sessions_are_spread_evenly);
    tcase_add_test(choice, copies_are_in_different_racks);
    tcase_add_test(choice, no_session_moves_that_need_not);
    tcase_add_test(choice, the_choice_follows_names);
    tcase_add_test(seal, what_is_sealed_opens_again);
    tcase_add_test(seal, what_was_altered_is_refused);
    tcase_add_test(digest, digests_tell_what_differs);
    return suite;
}

FS_TEST_MAIN(session_bank_suite)
