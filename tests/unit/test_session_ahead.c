/* SPDX-License-Identifier: Apache-2.0 */
/* What is carried to alternates, and when; what is held for others. */
#include <sys/stat.h>

#include "fs_test_session_store.h"
#include "session/fs_session_held.h"

static fs_session_carried_t due[64];
static fs_session_note_t notes[64];
static unsigned due_count;
static fs_usec_t next;

static int note_due(void *baton, const fs_session_key_t *key, const fs_session_note_t *note,
                    const void *bytes, size_t length)
{
    due[due_count] = (fs_session_carried_t){*key, note->version, 0};
    notes[due_count++] = *note;
    return 0;
}

/* How many are to be carried now. */
static unsigned look(fs_usec_t now, int all)
{
    unsigned shown;

    due_count = 0;
    ck_assert_int_eq(
        fs_session_store_ahead(store, now, all, 64, note_due, NULL, &shown, &next, &result),
        APR_SUCCESS);
    ck_assert_uint_eq(shown, due_count);
    return due_count;
}

static void carried(void)
{
    ck_assert_int_eq(fs_session_store_carried(store, due, due_count, &result), APR_SUCCESS);
}

static void change_it(uint64_t number, const char *value, const char *alternate, uint32_t each,
                      fs_usec_t now)
{
    fs_session_ahead_t ahead = {alternate ? fs_session_server_hash(alternate) : 0, each};
    fs_session_writer_t writer = fs_session_store_writer(store, now);
    fs_session_change_t one = change("n", value);
    fs_session_record_t fresh, record;
    fs_session_save_t save = {.key = key_of(number),
                              .changes = &one,
                              .count = 1,
                              .fresh = &fresh,
                              .seal = seal,
                              .ahead = &ahead};

    fs_session_begin(&fresh, &writer, 0, 60 * SEC);
    ck_assert_int_eq(fs_session_store_save(store, &save, now, pool, &record, &result), APR_SUCCESS);
}

START_TEST(at_each_change)
{
    ck_assert_uint_eq(look(NOW, 0), 0);
    SAVED(9, "a", "1", NOW); /* nobody is its alternate */
    change_it(1, "1", "web2", 1, NOW);
    ck_assert_uint_eq(look(NOW, 0), 1);
    ck_assert(notes[0].alternate == fs_session_server_hash("web2") && notes[0].each == 1);
    ck_assert_uint_eq(look(NOW, 0), 1); /* until it was carried */
    change_it(1, "2", "web2", 1, NOW + 1);
    carried(); /* what was carried isn't what is there */
    ck_assert_uint_eq(look(NOW + 1, 0), 1);
    carried();
    ck_assert_uint_eq(look(NOW + 60 * SEC, 0), 0);
    ck_assert(next == INT64_MAX);
    SAVED(1, "a", "2", NOW + 2); /* by somebody who says nothing of it */
    ck_assert_uint_eq(look(NOW + 2, 0), 1);
    ck_assert_uint_eq(look(NOW, 1), 1);
}
END_TEST

START_TEST(each_n_changes_or_at_the_end)
{
    change_it(1, "1", "web2", 3, NOW); /* this server has nothing of it yet */
    ck_assert_uint_eq(look(NOW, 0), 1);
    carried();
    change_it(1, "2", "web2", 3, NOW + 1 * SEC);
    change_it(1, "3", "web2", 3, NOW + 2 * SEC);
    ck_assert_uint_eq(look(NOW + 2 * SEC, 0), 0);
    ck_assert(next == NOW + 1 * SEC + FS_SESSION_END_AFTER);
    ck_assert_uint_eq(look(NOW + 2 * SEC, 1), 1);
    /* Early in the index, for it has changed since. */
    ck_assert_uint_eq(look(NOW + 1 * SEC + FS_SESSION_END_AFTER, 0), 0);
    ck_assert(next == NOW + 2 * SEC + FS_SESSION_END_AFTER);
    ck_assert_uint_eq(look(NOW + 2 * SEC + FS_SESSION_END_AFTER, 0), 1);
    carried();
    for (unsigned i = 0; i < 3; i++) {
        ck_assert_uint_eq(look(NOW + 20 * SEC, 0), 0);
        change_it(1, (const char *[]){"4", "5", "6"}[i], "web2", 3, NOW + 20 * SEC);
    }
    ck_assert_uint_eq(look(NOW + 20 * SEC, 0), 1);
}
END_TEST

START_TEST(at_the_end)
{
    fs_session_key_t key = key_of(1);

    change_it(1, "1", "web2", 0, NOW);
    ck_assert_uint_eq(look(NOW + FS_SESSION_END_AFTER - 1, 0), 0);
    ck_assert_uint_eq(look(NOW + FS_SESSION_END_AFTER, 0), 1);
    carried();
    change_it(1, "2", "web2", 0, NOW + 20 * SEC);
    ck_assert_uint_eq(look(NOW + 20 * SEC, 0), 0);
    /* Logout: nobody is to find the session alive there. */
    ck_assert_int_eq(fs_session_store_end(store, &key, seal, NOW + 20 * SEC, pool, &result),
                     APR_SUCCESS);
    ck_assert_uint_eq(look(NOW + 20 * SEC, 0), 1);
}
END_TEST

START_TEST(another_alternate_gets_it_and_none_gets_nothing)
{
    fs_session_ahead_t ahead = {fs_session_server_hash("web3"), 1};
    fs_session_key_t key = key_of(1), missing = key_of(2);

    change_it(1, "1", "web2", 1, NOW);
    look(NOW, 0);
    carried();
    ck_assert_int_eq(fs_session_store_alternate(store, &key, &ahead, NOW, &result), APR_SUCCESS);
    ck_assert_uint_eq(look(NOW, 0), 1);
    ck_assert(notes[0].alternate == ahead.alternate);
    carried();
    ck_assert_int_eq(fs_session_store_alternate(store, &key, &ahead, NOW, &result), APR_SUCCESS);
    ck_assert_uint_eq(look(NOW, 0), 0);
    ck_assert_int_eq(fs_session_store_alternate(store, &missing, &ahead, NOW, &result),
                     APR_NOTFOUND);
    change_it(1, "2", NULL, 1, NOW);
    ck_assert_uint_eq(look(NOW, 1), 0);
}
END_TEST

START_TEST(who_cant_be_reached_is_tried_later)
{
    change_it(1, "1", "web2", 1, NOW);
    look(NOW, 0);
    due[0].again = NOW + SEC;
    carried();
    ck_assert_uint_eq(look(NOW, 0), 0);
    ck_assert(next == NOW + SEC);
    ck_assert_uint_eq(look(NOW + SEC, 0), 1);
    ck_assert_int_eq(forget(&due[0].key), APR_SUCCESS); /* another host has it: nothing is left */
    ck_assert_uint_eq(look(NOW + 60 * SEC, 1), 0);
}
END_TEST

/* --- held for others ----------------------------------------------------------------------------
 */

static fs_session_held_t *held;
static char held_path[512];

static void open_held(const char *boot, uint64_t sessions, uint64_t bytes)
{
    fs_session_held_close(held);
    ck_assert_msg(fs_session_held_open(&held, held_path, boot, sessions, bytes, &result) ==
                      APR_SUCCESS,
                  "%s", result.detail);
}

static void held_setup(void)
{
    setup();
    snprintf(held_path, sizeof(held_path), "%s/held", directory);
    held = NULL;
    open_held("boot1", 1000, 16 << 20);
}

static void held_teardown(void)
{
    fs_session_held_close(held);
    teardown();
}

static fs_session_what_t hold(uint64_t number, uint64_t sequence, const char *bytes,
                              uint32_t length, fs_usec_t expires, fs_usec_t now)
{
    fs_session_item_t item = {.key = key_of(number),
                              .version = {.epoch = 1, .sequence = sequence},
                              .expires = expires,
                              .sealed = (const uint8_t *)bytes,
                              .sealed_length = length};
    fs_session_what_t outcome;

    ck_assert_msg(fs_session_held_put(held, &item, 1, "web1", now, &outcome, &result) ==
                      APR_SUCCESS,
                  "%s", result.detail);
    return outcome;
}

static int holds(uint64_t number, const char *bytes, fs_usec_t now)
{
    fs_session_key_t key = key_of(number);
    fs_session_item_t item;
    apr_status_t status = fs_session_held_get(held, &key, now, pool, &item, &result);

    ck_assert(status == APR_SUCCESS || status == APR_NOTFOUND);
    if (status)
        return 0;
    ck_assert_str_eq(item.owner, "web1");
    return item.sealed_length == strlen(bytes) && !memcmp(item.sealed, bytes, strlen(bytes));
}

START_TEST(the_newest_copy_is_held)
{
    fs_session_key_t key = key_of(1);
    fs_session_stamp_t version = {.epoch = 1, .sequence = 4};

    ck_assert_int_eq(hold(1, 5, "five", 4, NOW + SEC, NOW), FS_SESSION_WHAT_STORED);
    ck_assert_int_eq(hold(1, 5, "five", 4, NOW + SEC, NOW), FS_SESSION_WHAT_HAVE);
    ck_assert_int_eq(hold(1, 4, "four", 4, NOW + SEC, NOW), FS_SESSION_WHAT_HAVE);
    ck_assert(holds(1, "five", NOW) && !holds(2, "five", NOW));
    ck_assert_int_eq(hold(1, 6, "six", 3, NOW + 2 * SEC, NOW), FS_SESSION_WHAT_STORED);
    ck_assert(holds(1, "six", NOW + SEC) && !holds(1, "six", NOW + 2 * SEC));
    ck_assert_int_eq(fs_session_held_drop(held, &key, &version, &result), APR_SUCCESS);
    ck_assert(holds(1, "six", NOW));
    version.epoch = 2;
    ck_assert_int_eq(fs_session_held_drop(held, &key, &version, &result), APR_SUCCESS);
    ck_assert(!holds(1, "six", NOW));
    ck_assert_int_eq(fs_session_held_drop(held, &key, &version, &result), APR_SUCCESS);
}
END_TEST

START_TEST(what_is_held_is_bounded_and_ends)
{
    static char bytes[64 << 10];
    uint64_t sessions, size;

    for (unsigned i = 0; i < 3000; i++) {
        ck_assert_int_eq(hold(i, 1, "x", 1, NOW + SEC + i, NOW + i), FS_SESSION_WHAT_STORED);
        ck_assert(holds(i, "x", NOW));
    }
    ck_assert_int_eq(fs_session_held_count(held, &sessions, &size, &result), APR_SUCCESS);
    ck_assert_uint_eq(sessions, 1000);
    ck_assert(!holds(1999, "x", NOW) && holds(2000, "x", NOW));
    ck_assert_int_eq(fs_session_held_expire(held, NOW + SEC + 2499, 2000, &result), APR_SUCCESS);
    ck_assert_int_eq(fs_session_held_count(held, &sessions, &size, &result), APR_SUCCESS);
    ck_assert_uint_eq(sessions, 500);
    for (unsigned i = 0; i < 1000; i++) {
        ck_assert_int_eq(hold(i, 2, bytes, sizeof(bytes), NOW + SEC, NOW + 9000 + i),
                         FS_SESSION_WHAT_STORED);
        ck_assert_int_eq(fs_session_held_count(held, &sessions, &size, &result), APR_SUCCESS);
        ck_assert_uint_le(size, 16 << 20);
    }
    ck_assert_uint_ge(sessions, 150);
    open_held("boot1", 1000, 128 << 10);
    ck_assert_int_eq(hold(1, 9, bytes, sizeof(bytes), NOW + SEC, NOW), FS_SESSION_WHAT_TOO_LARGE);
}
END_TEST

START_TEST(it_outlives_the_agent_but_not_the_host)
{
    hold(1, 5, "five", 4, NOW + SEC, NOW);
    open_held("boot1", 1000, 16 << 20);
    ck_assert(holds(1, "five", NOW));
    open_held("boot2", 1000, 16 << 20);
    ck_assert(!holds(1, "five", NOW));
    hold(1, 5, "five", 4, NOW + SEC, NOW);
    open_held("boot2", 1000, 16 << 20);
    ck_assert(holds(1, "five", NOW));
}
END_TEST

static Suite *session_ahead_suite(void)
{
    Suite *suite = suite_create("session ahead");
    TCase *carrying = tcase_create("carrying"), *holding = tcase_create("holding");

    tcase_add_checked_fixture(carrying, setup, teardown);
    tcase_add_test(carrying, at_each_change);
    tcase_add_test(carrying, each_n_changes_or_at_the_end);
    tcase_add_test(carrying, at_the_end);
    tcase_add_test(carrying, another_alternate_gets_it_and_none_gets_nothing);
    tcase_add_test(carrying, who_cant_be_reached_is_tried_later);
    tcase_add_checked_fixture(holding, held_setup, held_teardown);
    tcase_add_test(holding, the_newest_copy_is_held);
    tcase_add_test(holding, what_is_held_is_bounded_and_ends);
    tcase_add_test(holding, it_outlives_the_agent_but_not_the_host);
    tcase_set_timeout(holding, 60);
    suite_add_tcase(suite, carrying);
    suite_add_tcase(suite, holding);
    return suite;
}

FS_TEST_MAIN(session_ahead_suite)
