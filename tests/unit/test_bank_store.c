/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The session bank's store under a simulated clock: what it takes, keeps, gives and forgets, what a
 * power cut or damage does to it, and what is known of hosts. Processes are in
 * tests/farm/test_bank.py.
 */
#include <fcntl.h>

#include "datasrv/bank_hosts.h"
#include "datasrv/bank_store.h"

#include "fs_test.h"
#include "fs_test_session.h"

#define BOOT "boot-1"

static char *dir;
static fs_bank_store_t *store;
static fs_usec_t lease_left; /* of whoever owns something */
static unsigned moves;

static fs_usec_t left_of(void *baton, const char *owner, const char *taker)
{
    (void)baton, (void)owner, (void)taker;
    return lease_left;
}

static void moved(void *baton, const fs_session_key_t *key, const char *from, const char *to)
{
    (void)baton, (void)key, (void)from, (void)to;
    moves++;
}

static void wanted(void *baton, const fs_session_key_t *key, const char *owner, const char *taker)
{
    (void)baton, (void)key, (void)owner, (void)taker;
}

static const fs_bank_leases_t leases = {NULL, left_of, moved, wanted};

static fs_result_t open_bank(const char *boot, uint64_t sessions, int sync)
{
    fs_bank_limits_t limits = {16 << 20, sessions, sync};
    fs_result_t result;

    fs_result_clear(&result);
    ck_assert_int_eq(fs_bank_store_open(&store, dir, &limits, boot, &result), APR_SUCCESS);
    return result;
}

/* As the power cut or the kill would leave it: not synced, not marked as closed. */
static void lose_power(void)
{
    char copy[1200], path[512];

    snprintf(path, sizeof(path), "%s/boot", dir);
    snprintf(copy, sizeof(copy), "cp %s %s.kept", path, path);
    ck_assert_int_eq(system(copy), 0);
    fs_bank_store_close(store);
    snprintf(copy, sizeof(copy), "mv %s.kept %s", path, path);
    ck_assert_int_eq(system(copy), 0);
    store = NULL;
}

static void set_up(void)
{
    dir = fs_test_mkdir();
    lease_left = 0;
    moves = 0;
    open_bank(BOOT, 0, 0);
}

static void tear_down(void)
{
    fs_bank_store_close(store);
    fs_test_rmdir(dir);
}

static fs_session_stamp_t version(uint64_t sequence)
{
    fs_session_stamp_t stamp = {1, sequence, 7};

    return stamp;
}

static fs_session_item_t copy_of(unsigned key, uint64_t sequence, const char *text)
{
    fs_session_item_t item = {.key = key_of(key)};

    item.parts = FS_SESSION_PART_VERSION | FS_SESSION_PART_EXPIRES | FS_SESSION_PART_SEALED;
    item.version = version(sequence);
    item.expires = NOW + 100 * SEC;
    item.sealed = (const uint8_t *)text;
    item.sealed_length = (uint32_t)strlen(text);
    return item;
}

static fs_session_what_t offer_at(const char *origin, const fs_session_item_t *item, fs_usec_t now)
{
    fs_session_item_t answer;
    fs_bank_work_t work;

    ck_assert_int_eq(fs_bank_begin(&work, store, &leases, 1, now), 0);
    ck_assert_int_eq(fs_bank_offer(&work, origin, item, FS_SESSION_BATCH_LIMIT, &answer), 0);
    ck_assert_int_eq(fs_bank_commit(&work), 0);
    return answer.what;
}

static fs_session_what_t offer(const char *origin, fs_session_item_t item)
{
    return offer_at(origin, &item, NOW);
}

/* The text that is held; "" if none is. */
static const char *held_at(unsigned key, fs_usec_t now)
{
    static char text[64];
    fs_session_item_t asked = {.key = key_of(key), .flags = FS_SESSION_ITEM_PEEK}, copy, aside;
    fs_bank_work_t work;

    ck_assert_int_eq(fs_bank_begin(&work, store, &leases, 0, now), 0);
    ck_assert_int_eq(fs_bank_take(&work, "", &asked, FS_SESSION_BATCH_LIMIT, &copy, &aside), 0);
    snprintf(text, sizeof(text), "%.*s",
             copy.parts & FS_SESSION_PART_SEALED ? (int)copy.sealed_length : 0,
             copy.parts & FS_SESSION_PART_SEALED ? (const char *)copy.sealed : "");
    fs_bank_abort(&work);
    return text;
}

static unsigned expire(fs_usec_t now)
{
    fs_bank_work_t work;
    unsigned removed = 0;
    int more = 1;

    while (more) {
        ck_assert_int_eq(fs_bank_begin(&work, store, &leases, 1, now), 0);
        ck_assert_int_eq(fs_bank_expire(&work, 1000, &more), 0);
        removed += (unsigned)work.removed;
        ck_assert_int_eq(fs_bank_commit(&work), 0);
    }
    return removed;
}

static fs_bank_totals_t count(void)
{
    fs_bank_totals_t totals;
    fs_bank_work_t work;

    ck_assert_int_eq(fs_bank_begin(&work, store, NULL, 0, NOW), 0);
    ck_assert_int_eq(fs_bank_count(&work, &totals), 0);
    fs_bank_abort(&work);
    return totals;
}

/* --- time ----------------------------------------------------------------------------------------
 */

START_TEST(what_is_over_is_unknown_and_then_removed)
{
    offer("web1", copy_of(1, 1, "one"));
    ck_assert_str_eq(held_at(1, NOW + 99 * SEC), "one");
    ck_assert_str_eq(held_at(1, NOW + 100 * SEC), "");
    ck_assert_uint_eq(expire(NOW + 99 * SEC), 0);
    ck_assert_uint_eq(expire(NOW + 100 * SEC), 1);
    ck_assert_uint_eq(count().sessions, 0);
}
END_TEST

/* While farm time isn't known nothing is thrown away. */
START_TEST(without_farm_time_nothing_expires)
{
    offer("web1", copy_of(1, 1, "one"));
    ck_assert_uint_eq(expire(0), 0);
    ck_assert_str_eq(held_at(1, 0), "one");
}
END_TEST

START_TEST(a_use_puts_the_end_off)
{
    fs_session_item_t later = copy_of(1, 2, "two");

    offer("web1", copy_of(1, 1, "one"));
    later.parts |= FS_SESSION_PART_BASE;
    later.base = version(1);
    later.expires = NOW + 500 * SEC;
    ck_assert_int_eq(offer("web1", later), FS_SESSION_WHAT_STORED);
    ck_assert_uint_eq(expire(NOW + 200 * SEC), 0);
    ck_assert_str_eq(held_at(1, NOW + 200 * SEC), "two");
    ck_assert_uint_eq(expire(NOW + 500 * SEC), 1);
}
END_TEST

START_TEST(an_end_that_comes_sooner_counts)
{
    fs_session_item_t sooner = copy_of(1, 2, "two");

    offer("web1", copy_of(1, 1, "one"));
    sooner.parts |= FS_SESSION_PART_BASE;
    sooner.base = version(1);
    sooner.expires = NOW + 10 * SEC;
    ck_assert_int_eq(offer("web1", sooner), FS_SESSION_WHAT_STORED);
    ck_assert_uint_eq(expire(NOW + 10 * SEC), 1);
    ck_assert_uint_eq(expire(NOW + 1000 * SEC), 0);
}
END_TEST

START_TEST(expired_ones_make_room)
{
    fs_session_item_t brief = copy_of(1, 1, "one");

    fs_bank_store_close(store);
    open_bank(BOOT, 2, 0);
    brief.expires = NOW + SEC;
    ck_assert_int_eq(offer("web1", brief), FS_SESSION_WHAT_STORED);
    ck_assert_int_eq(offer("web1", copy_of(2, 1, "two")), FS_SESSION_WHAT_STORED);
    ck_assert_int_eq(offer("web1", copy_of(3, 1, "three")), FS_SESSION_WHAT_FULL);
    brief = copy_of(3, 1, "three");
    ck_assert_int_eq(offer_at("web1", &brief, NOW + 2 * SEC), FS_SESSION_WHAT_STORED);
    ck_assert_str_eq(held_at(2, NOW + 2 * SEC), "two");
}
END_TEST

/* 16 MiB of copies of 1 KiB: then it is full, and what it has can still change and go. */
START_TEST(bytes_are_limited)
{
    char text[1025];
    unsigned stored = 0;
    fs_session_item_t item;

    memset(text, 'x', sizeof(text) - 1);
    text[1024] = '\0';
    for (unsigned i = 0; i < 20000; i++)
        stored += offer("web1", copy_of(i, 1, text)) == FS_SESSION_WHAT_STORED;
    ck_assert_uint_gt(stored, 5000);
    ck_assert_uint_lt(stored, 16384);
    ck_assert_uint_eq(count().sessions, stored);
    ck_assert_int_eq(count().full, 1);
    item = copy_of(0, 2, text);
    item.parts |= FS_SESSION_PART_BASE;
    item.base = version(1);
    ck_assert_int_eq(offer("web1", item), FS_SESSION_WHAT_STORED);
    ck_assert_uint_eq(expire(NOW + 1000 * SEC), stored);
    ck_assert_uint_eq(count().sessions, 0);
    ck_assert_int_eq(count().full, 0);
}
END_TEST

/* --- power and damage ----------------------------------------------------------------------------
 */

START_TEST(it_is_used_again_in_the_same_boot)
{
    uint64_t instance = fs_bank_store_instance(store);

    offer("web1", copy_of(1, 1, "one"));
    lose_power(); /* of the process only */
    ck_assert_str_eq(open_bank(BOOT, 0, 0).problem, "");
    ck_assert_str_eq(held_at(1, NOW), "one");
    ck_assert_uint_eq(fs_bank_store_instance(store), instance);
}
END_TEST

START_TEST(after_a_power_cut_it_begins_empty)
{
    uint64_t instance = fs_bank_store_instance(store);

    offer("web1", copy_of(1, 1, "one"));
    lose_power();
    ck_assert_str_eq(open_bank("boot-2", 0, 0).problem, "FS1403");
    ck_assert_str_eq(held_at(1, NOW), "");
    ck_assert_uint_ne(fs_bank_store_instance(store), instance);
}
END_TEST

START_TEST(closed_it_outlives_a_reboot)
{
    offer("web1", copy_of(1, 1, "one"));
    fs_bank_store_close(store);
    ck_assert_str_eq(open_bank("boot-2", 0, 0).problem, "");
    ck_assert_str_eq(held_at(1, NOW), "one");
}
END_TEST

START_TEST(synced_it_outlives_a_power_cut)
{
    fs_bank_store_close(store);
    open_bank(BOOT, 0, 1);
    offer("web1", copy_of(1, 1, "one"));
    lose_power();
    ck_assert_str_eq(open_bank("boot-2", 0, 1).problem, "");
    ck_assert_str_eq(held_at(1, NOW), "one");
}
END_TEST

/* Whatever a page is overwritten with, this process doesn't die of it. */
START_TEST(a_damaged_one_is_set_aside)
{
    char path[512], rubbish[4096];
    int fd;

    for (unsigned i = 0; i < 2000; i++)
        offer("web1", copy_of(i, 1, "some text"));
    fs_bank_store_close(store);
    memset(rubbish, 0xA5, sizeof(rubbish));
    snprintf(path, sizeof(path), "%s/data.mdb", dir);
    fd = open(path, O_WRONLY);
    ck_assert_int_ge(fd, 0);
    for (unsigned page = 2; page < 200; page++)
        ck_assert_int_eq(pwrite(fd, rubbish, sizeof(rubbish), page * 4096), sizeof(rubbish));
    close(fd);
    ck_assert_str_eq(open_bank(BOOT, 0, 0).problem, "FS1402");
    ck_assert_int_eq(offer("web1", copy_of(1, 1, "one")), FS_SESSION_WHAT_STORED);
}
END_TEST

START_TEST(nobody_else_opens_it)
{
    fs_bank_limits_t limits = {16 << 20, 0, 0};
    fs_bank_store_t *second;
    fs_result_t result;

    ck_assert_int_ne(fs_bank_store_open(&second, dir, &limits, BOOT, &result), APR_SUCCESS);
    ck_assert_str_eq(result.problem, "FS1401");
}
END_TEST

/* --- lists ---------------------------------------------------------------------------------------
 */

static int see(void *baton, const fs_session_item_t *label)
{
    (void)label;
    ++*(unsigned *)baton;
    return 0;
}

START_TEST(a_scan_shows_each_once_and_only_what_changed)
{
    fs_session_key_t last, *after = NULL;
    unsigned shown = 0, looks = 0;
    fs_bank_work_t work;
    uint64_t since;
    int more = 1;

    for (unsigned i = 0; i < 100; i++)
        offer("web1", copy_of(i, 1, "x"));
    for (; more; looks++, after = &last) {
        ck_assert_int_eq(fs_bank_begin(&work, store, NULL, 0, NOW), 0);
        ck_assert_int_eq(fs_bank_scan(&work, after, 0, 7, see, &shown, &last, &more), 0);
        since = work.sequence;
        fs_bank_abort(&work);
    }
    ck_assert_uint_eq(shown, 100);
    ck_assert_uint_eq(looks, 15);
    offer("web1", copy_of(1000, 1, "x"));
    shown = 0;
    ck_assert_int_eq(fs_bank_begin(&work, store, NULL, 0, NOW), 0);
    ck_assert_int_eq(fs_bank_scan(&work, NULL, since, 1000, see, &shown, &last, &more), 0);
    fs_bank_abort(&work);
    ck_assert_uint_eq(shown, 1);
}
END_TEST

/* An answer that has no room for a copy refuses, and changes nothing. */
START_TEST(what_cannot_be_answered_is_not_done)
{
    fs_session_item_t asked = {.key = key_of(1)}, copy, aside;
    fs_bank_work_t work;

    offer("web1", copy_of(1, 1, "one"));
    ck_assert_int_eq(fs_bank_begin(&work, store, &leases, 1, NOW), 0);
    ck_assert_int_eq(fs_bank_take(&work, "web2", &asked, 2, &copy, &aside), 0);
    ck_assert_int_eq(copy.what, FS_SESSION_WHAT_REFUSED);
    ck_assert_int_eq(fs_bank_take(&work, "web2", &asked, 3, &copy, &aside), 0);
    ck_assert_int_eq(copy.what, FS_SESSION_WHAT_GRANTED);
    ck_assert_uint_eq(moves, 1);
    ck_assert_int_eq(fs_bank_commit(&work), 0);
}
END_TEST

/* --- hosts ---------------------------------------------------------------------------------------
 */

static fs_session_batch_t renew(fs_bank_hosts_t *hosts, const char *name, uint64_t boot,
                                uint64_t mark, unsigned flags, uint64_t sequence, fs_usec_t now)
{
    fs_session_batch_t asked = {.lease = 1000, .flags = flags, .boot = boot}, answer = {0};
    int lease;

    asked.mark = mark;
    asked.sequence = sequence;
    ck_assert_int_eq(fs_bank_hosts_renew(hosts, name, &asked, 1, now, &answer, &lease), 1);
    return answer;
}

START_TEST(who_lost_sessions_hears_of_each_once)
{
    fs_bank_hosts_t *hosts = fs_bank_hosts_create(NOW);
    fs_session_batch_t head = {.kind = FS_SESSION_BATCH_RENEWED}, first, answer;
    fs_session_key_t key = key_of(5);
    fs_session_batch_writer_t writer;

    first = renew(hosts, "web1", 0, 0, 0, 0, NOW);
    ck_assert_uint_ne(first.flags & FS_SESSION_BATCH_ALL, 0); /* of another process */
    fs_bank_hosts_moved(hosts, &key, "web1", "web2");
    answer = renew(hosts, "web1", 1, first.mark, 0, 0, NOW + SEC / 2);
    ck_assert_uint_eq(answer.flags & FS_SESSION_BATCH_ALL, 0);
    ck_assert_uint_eq(answer.mark, first.mark + 1);
    ck_assert_int_eq(fs_session_batch_begin(&writer, &head, NULL), 0);
    ck_assert_int_eq(fs_bank_hosts_taken(hosts, "web1", first.mark, NOW, &writer), 0);
    ck_assert_uint_eq(writer.count, 1);
    ck_assert_int_eq(fs_bank_hosts_taken(hosts, "web1", answer.mark, NOW, &writer), 0);
    ck_assert_uint_eq(writer.count, 1);
    free(writer.bytes);
    for (unsigned i = 0; i <= FS_BANK_TAKEN; i++)
        fs_bank_hosts_moved(hosts, &key, "web1", "web2");
    answer = renew(hosts, "web1", 1, answer.mark, 0, 0, NOW + SEC / 2);
    ck_assert_uint_ne(answer.flags & FS_SESSION_BATCH_ALL, 0); /* more than can be named */
    fs_bank_hosts_destroy(hosts);
}
END_TEST

/* A pass that began before the host was silent doesn't count. */
START_TEST(who_was_silent_makes_a_new_pass)
{
    fs_bank_hosts_t *hosts = fs_bank_hosts_create(NOW);
    fs_session_batch_t first, answer;
    fs_bank_sync_t sync;

    first = renew(hosts, "web1", 0, 0, 0, 0, NOW);
    ck_assert_uint_ne(first.flags & FS_SESSION_BATCH_PASS, 0);
    answer = renew(hosts, "web1", 1, 0, FS_SESSION_BATCH_PASS, first.sequence, NOW + SEC / 2);
    ck_assert_uint_eq(answer.flags & FS_SESSION_BATCH_PASS, 0);
    answer = renew(hosts, "web1", 1, 0, FS_SESSION_BATCH_PASS, first.sequence, NOW + 5 * SEC / 2);
    ck_assert_uint_ne(answer.flags & FS_SESSION_BATCH_PASS, 0);
    fs_bank_hosts_sync(hosts, NOW + 5 * SEC / 2, &sync);
    ck_assert_int_eq(sync.in_sync, 0);
    ck_assert_str_eq(sync.waits_for, "web1");
    answer = renew(hosts, "web1", 1, 0, FS_SESSION_BATCH_PASS, answer.sequence, NOW + 3 * SEC);
    fs_bank_hosts_sync(hosts, NOW + 3 * SEC, &sync);
    ck_assert_int_eq(sync.in_sync, 1);
    ck_assert_uint_eq(sync.behind, 0);
    fs_bank_hosts_destroy(hosts);
}
END_TEST

START_TEST(hosts_are_bounded)
{
    fs_bank_hosts_t *hosts = fs_bank_hosts_create(NOW);
    fs_session_batch_t asked = {.lease = 1000}, answer = {0};
    char name[16];
    int lease;

    for (unsigned i = 0; i < FS_BANK_HOSTS; i++) {
        snprintf(name, sizeof(name), "web%u", i);
        ck_assert_int_eq(fs_bank_hosts_renew(hosts, name, &asked, 1, NOW, &answer, &lease), 1);
    }
    ck_assert_int_eq(fs_bank_hosts_renew(hosts, "more", &asked, 1, NOW, &answer, &lease), 0);
    ck_assert_int_eq(
        fs_bank_hosts_renew(hosts, "more", &asked, 1, NOW + 90000 * SEC, &answer, &lease), 1);
    fs_bank_hosts_destroy(hosts);
}
END_TEST

static Suite *bank_suite(void)
{
    Suite *suite = suite_create("bank_store");
    TCase *cases = tcase_create("store"), *hosts = tcase_create("hosts");

    tcase_add_checked_fixture(cases, set_up, tear_down);
    tcase_add_test(cases, what_is_over_is_unknown_and_then_removed);
    tcase_add_test(cases, without_farm_time_nothing_expires);
    tcase_add_test(cases, a_use_puts_the_end_off);
    tcase_add_test(cases, an_end_that_comes_sooner_counts);
    tcase_add_test(cases, expired_ones_make_room);
    tcase_add_test(cases, bytes_are_limited);
    tcase_add_test(cases, it_is_used_again_in_the_same_boot);
    tcase_add_test(cases, after_a_power_cut_it_begins_empty);
    tcase_add_test(cases, closed_it_outlives_a_reboot);
    tcase_add_test(cases, synced_it_outlives_a_power_cut);
    tcase_add_test(cases, a_damaged_one_is_set_aside);
    tcase_add_test(cases, nobody_else_opens_it);
    tcase_add_test(cases, a_scan_shows_each_once_and_only_what_changed);
    tcase_add_test(cases, what_cannot_be_answered_is_not_done);
    tcase_set_timeout(cases, 60);
    tcase_add_test(hosts, who_lost_sessions_hears_of_each_once);
    tcase_add_test(hosts, who_was_silent_makes_a_new_pass);
    tcase_add_test(hosts, hosts_are_bounded);
    suite_add_tcase(suite, cases);
    suite_add_tcase(suite, hosts);
    return suite;
}

FS_TEST_MAIN(bank_suite)
