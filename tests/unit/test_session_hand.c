/* SPDX-License-Identifier: Apache-2.0 */
/* The store's part when sessions change hands: released, taken, compared, forgotten. */
#include "fs_test_session_store.h"

/* Kept and sent, but neither read nor changed; the other host takes it, or it comes back. */
START_TEST(what_is_released_is_not_served_but_sent)
{
    fs_session_key_t key = key_of(1);
    fs_session_record_t record, copy;
    char to[FS_SESSION_NAME_SIZE];
    fs_session_stamp_t version;

    SAVED(1, "cart", "3", NOW);
    ck_assert_int_eq(fs_session_store_released(store, &key, to, &result), APR_NOTFOUND);
    ck_assert_int_eq(
        fs_session_store_release(store, &key, "web2:80", NOW + SEC, pool, &record, &result),
        APR_SUCCESS);
    version = record.version;
    ck_assert_str_eq(value_of(&record, "cart", pool), "3");
    ck_assert_int_eq(fs_session_store_released(store, &key, to, &result), APR_SUCCESS);
    ck_assert_str_eq(to, "web2:80");
    ck_assert_int_eq(read_record(1, NOW, &copy, NULL), APR_NOTFOUND);
    ck_assert_int_eq(save(1, "cart", "4", NOW), APR_NOTFOUND);
    ck_assert_uint_eq(count().dirty, 1);
    confirm_version(&key, &version, 2, NOW);
    ck_assert_int_eq(read_record(1, NOW, &copy, NULL), APR_NOTFOUND);
    ck_assert_int_eq(
        fs_session_store_adopt(store, &key, NULL, 0, seal, 7, 0, NOW, pool, &copy, &result),
        APR_EMISMATCH); /* it was given away since */
    ck_assert_int_eq(
        fs_session_store_adopt(store, &key, NULL, 0, seal, 7, NOW + SEC, NOW, pool, &copy, &result),
        APR_SUCCESS);
    ck_assert_str_eq(value_in(1, "cart", NOW), "3");
    ck_assert_int_eq(fs_session_store_released(store, &key, to, &result), APR_NOTFOUND);
    ck_assert_int_eq(fs_session_store_forget(store, &key, &copy.version, &result), APR_NOTFOUND);
    ck_assert_int_eq(forget(&key), APR_SUCCESS);
    ck_assert_int_eq(forget(&key), APR_NOTFOUND);
    ck_assert_uint_eq(count().sessions, 0);
    ck_assert_uint_eq(count().dirty, 0);
}
END_TEST

/* What changed after it was released isn't forgotten with what the other host got. */
START_TEST(a_late_change_of_a_released_session_is_not_forgotten)
{
    fs_session_change_t one = change("late", "1");
    fs_session_writer_t other = {99, "web2:80", NOW};
    fs_session_key_t key = key_of(1);
    fs_session_record_t record, copy;
    fs_session_stamp_t version;

    SAVED(1, "cart", "3", NOW);
    ck_assert_int_eq(
        fs_session_store_release(store, &key, "web2:80", NOW + SEC, pool, &record, &result),
        APR_SUCCESS);
    version = record.version;
    copy = record;
    ck_assert_int_eq(fs_session_apply(&copy, &one, 1, &other, pool, &result), APR_SUCCESS);
    ck_assert_int_eq(fs_session_store_merge(store, &key, &copy, seal, NOW, pool, &record, &result),
                     APR_SUCCESS);
    ck_assert_int_eq(read_record(1, NOW, &copy, NULL), APR_NOTFOUND);
    ck_assert_int_eq(fs_session_store_forget(store, &key, &version, &result), APR_NOTFOUND);
    ck_assert_int_eq(fs_session_store_end(store, &key, seal, NOW, pool, &result), APR_SUCCESS);
    ck_assert_int_eq(read_record(1, NOW, &copy, NULL), APR_SUCCESS); /* logout counts everywhere */
    ck_assert_int_eq(copy.state, FS_SESSION_ENDED);
}
END_TEST

START_TEST(who_takes_a_session_merges_all_copies_and_owns_the_result)
{
    fs_session_writer_t writers[2] = {{98, "web2:80", NOW}, {99, "web3:80", NOW}};
    fs_session_change_t one = change("a", "1"), two = change("b", "2");
    fs_session_record_t copies[2], record, again;
    fs_session_key_t key = key_of(1);
    fs_session_note_t note;

    SAVED(1, "base", "0", NOW);
    ck_assert_int_eq(read_record(1, NOW, &copies[0], NULL), APR_SUCCESS);
    copies[1] = copies[0];
    ck_assert_int_eq(fs_session_apply(&copies[0], &one, 1, &writers[0], pool, &result),
                     APR_SUCCESS);
    ck_assert_int_eq(fs_session_take_over(&copies[1], &writers[1], &result), APR_SUCCESS);
    ck_assert_int_eq(fs_session_apply(&copies[1], &two, 1, &writers[1], pool, &result),
                     APR_SUCCESS);
    ck_assert_int_eq(
        fs_session_store_adopt(store, &key, copies, 2, seal, 7, 0, NOW, pool, &record, &result),
        APR_SUCCESS);
    ck_assert_int_eq(read_record(1, NOW, &again, &note), APR_SUCCESS);
    ck_assert_uint_eq(note.checked, 7);
    ck_assert_str_eq(again.owner.name, "web1:80");
    ck_assert_uint_gt(again.owner.epoch, copies[1].owner.epoch);
    ck_assert_str_eq(value_of(&again, "a", pool), "1");
    ck_assert_str_eq(value_of(&again, "b", pool), "2");
    ck_assert_str_eq(value_of(&again, "base", pool), "0");
    key = key_of(9); /* nothing is here, and nothing came */
    ck_assert_int_eq(
        fs_session_store_adopt(store, &key, NULL, 0, seal, 7, 0, NOW, pool, &record, &result),
        APR_NOTFOUND);
}
END_TEST

/* The generation stays with a session through its changes and its new id. */
START_TEST(sessions_are_compared_by_generation)
{
    fs_session_target_t target = {.key = key_of(2), .until = NOW + 5 * SEC};
    fs_session_change_t one = change("user", "alice");
    fs_session_save_t at_login = {.key = key_of(1), .changes = &one, .count = 1};
    fs_session_key_t keys[3] = {key_of(1), key_of(5), key_of(3)};
    fs_session_record_t record;
    fs_session_note_t note;

    SAVED(1, "a", "1", NOW);
    SAVED(3, "a", "1", NOW);
    ck_assert_int_eq(read_record(1, NOW, &record, &note), APR_SUCCESS);
    ck_assert_uint_eq(note.checked, 0);
    ck_assert_int_eq(fs_session_store_checked(store, keys, 3, 42, &result), APR_SUCCESS);
    SAVED(1, "a", "2", NOW);
    ck_assert_int_eq(read_record(1, NOW, &record, &note), APR_SUCCESS);
    ck_assert_uint_eq(note.checked, 42);
    ck_assert_int_eq(fs_session_store_move(store, &at_login, &target, NOW, pool, &record, &result),
                     APR_SUCCESS);
    ck_assert_int_eq(read_record(2, NOW, &record, &note), APR_SUCCESS);
    ck_assert_uint_eq(note.checked, 42);
    ck_assert_int_eq(read_record(3, NOW, &record, &note), APR_SUCCESS);
    ck_assert_uint_eq(note.checked, 42);
}
END_TEST

/* If-Match, and a text that can't be merged. */
START_TEST(a_change_of_another_version_than_expected_is_refused)
{
    fs_session_change_t one = change("a", "2");
    fs_session_save_t again = {.key = key_of(1), .changes = &one, .count = 1};
    fs_session_record_t record;
    fs_session_stamp_t before;

    SAVED(1, "a", "1", NOW);
    ck_assert_int_eq(read_record(1, NOW, &record, NULL), APR_SUCCESS);
    before = record.version;
    again.expected = &before;
    ck_assert_int_eq(fs_session_store_save(store, &again, NOW, pool, &record, &result),
                     APR_SUCCESS);
    one.value = "3";
    ck_assert_int_eq(fs_session_store_save(store, &again, NOW, pool, &record, &result),
                     APR_EMISMATCH);
    ck_assert_str_eq(value_in(1, "a", NOW), "2");
}
END_TEST

START_TEST(a_session_without_a_value_can_be_ended_with_the_change)
{
    fs_session_change_t gone = change("a", NULL), other = change("b", "1");
    fs_session_save_t last = {.key = key_of(1), .changes = &gone, .count = 1, .end_if_empty = 1};
    fs_session_record_t record;

    SAVED(1, "a", "1", NOW);
    SAVED(1, "b", "1", NOW);
    ck_assert_int_eq(fs_session_store_save(store, &last, NOW, pool, &record, &result), APR_SUCCESS);
    ck_assert_int_eq(record.state, FS_SESSION_LIVE); /* another request had put something in */
    other.value = NULL;
    last.changes = &other;
    ck_assert_int_eq(fs_session_store_save(store, &last, NOW, pool, &record, &result), APR_SUCCESS);
    ck_assert_int_eq(read_record(1, NOW, &record, NULL), APR_SUCCESS);
    ck_assert_int_eq(record.state, FS_SESSION_ENDED);
}
END_TEST

static Suite *session_hand_suite(void)
{
    Suite *suite = suite_create("session hand");
    TCase *hand = tcase_create("hand");

    tcase_add_checked_fixture(hand, setup, teardown);
    tcase_add_test(hand, what_is_released_is_not_served_but_sent);
    tcase_add_test(hand, a_late_change_of_a_released_session_is_not_forgotten);
    tcase_add_test(hand, who_takes_a_session_merges_all_copies_and_owns_the_result);
    tcase_add_test(hand, sessions_are_compared_by_generation);
    tcase_add_test(hand, a_change_of_another_version_than_expected_is_refused);
    tcase_add_test(hand, a_session_without_a_value_can_be_ended_with_the_change);
    suite_add_tcase(suite, hand);
    return suite;
}

FS_TEST_MAIN(session_hand_suite)
