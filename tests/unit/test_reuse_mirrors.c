/* SPDX-License-Identifier: Apache-2.0 */
/* Mirrors of clients with an affinity cookie: two servers that carry them, moves, bounds, death. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "fs_test.h"
#include "reuse/fs_reuse_mirrors.h"

static char *directory;
static fs_reuse_mirrors_t *here, *there; /* the home's, the alternate's */
static fs_result_t result;
static fs_reuse_carry_t carries[FS_REUSE_CARRY_MOST];

static fs_reuse_mirrors_t *open_one(const char *name)
{
    fs_reuse_mirrors_t *mirrors;
    char path[512];

    snprintf(path, sizeof(path), "%s/%s", directory, name);
    ck_assert_int_eq(fs_reuse_mirrors_prepare(path, (uint32_t)-1, (uint32_t)-1, &result), 0);
    ck_assert_int_eq(fs_reuse_mirrors_open(&mirrors, path, &result), 0);
    return mirrors;
}

static void setup(void)
{
    directory = fs_test_mkdir();
    here = open_one("here");
    there = open_one("there");
}

static void teardown(void)
{
    fs_reuse_mirrors_close(here);
    fs_reuse_mirrors_close(there);
    fs_test_rmdir(directory);
}

static fs_reuse_client_t client_of(unsigned number, uint32_t generation, unsigned each)
{
    fs_reuse_client_t client = {{0}, generation, "web2", each};

    memcpy(client.id, &number, sizeof(number));
    return client;
}

static int holds(fs_reuse_mirrors_t *mirrors, const fs_reuse_client_t *client, const char *url,
                 const char *tag)
{
    fs_reuse_mirror_t mirror;

    fs_reuse_mirrors_get(mirrors, client, &mirror);
    return fs_reuse_mirror_holds(&mirror, url, tag);
}

/* Carries what is due, by the bytes that go over the wire. How many. */
static unsigned carry(fs_usec_t now, int all)
{
    static fs_reuse_carry_t came[FS_REUSE_CARRY_MOST];
    static uint8_t bytes[FS_REUSE_CARRY_BYTES];
    unsigned at = 0, total = 0;

    while (at < FS_REUSE_MIRRORS) {
        unsigned count = fs_reuse_mirrors_due(here, now, all, carries, FS_REUSE_CARRY_MOST, &at);
        size_t length = fs_reuse_carry_write(carries, count, bytes);

        ck_assert_int_eq(fs_reuse_carry_read(bytes, length, came), count);
        for (unsigned i = 0; i < count; i++) {
            ck_assert_str_eq(carries[i].to, "web2");
            ck_assert(fs_reuse_mirrors_take(there, &came[i], now));
            ck_assert(!fs_reuse_mirrors_take(there, &came[i], now));
            fs_reuse_mirrors_carried(here, &carries[i]);
        }
        total += count;
    }
    return total;
}

START_TEST(at_each_change)
{
    fs_reuse_client_t client = client_of(1, 7, 1), moved = client_of(1, 8, 1);

    ck_assert(!holds(here, &client, "/a", "1"));
    fs_reuse_mirrors_put(here, &client, "/a", "1", 1000);
    ck_assert(holds(here, &client, "/a", "1"));
    ck_assert_uint_eq(carry(1000, 0), 1);
    ck_assert_uint_eq(carry(1000, 0), 0);
    ck_assert(holds(there, &moved, "/a", "1"));
    fs_reuse_mirrors_put(here, &client, "/a", "1", 2000);
    ck_assert_uint_eq(carry(2000, 0), 0);
    fs_reuse_mirrors_put(here, &client, "/a", "2", 3000);
    ck_assert(!holds(here, &client, "/a", "1"));
    ck_assert_uint_eq(carry(3000, 0), 1);
    ck_assert(holds(there, &moved, "/a", "2") && !holds(there, &moved, "/a", "1"));
    ck_assert(!holds(there, &(fs_reuse_client_t){{9}, 8, NULL, 1}, "/a", "2"));
}
END_TEST

START_TEST(each_n_changes_the_alternate_knows_that_it_is_behind)
{
    fs_reuse_client_t client = client_of(1, 7, 3), moved = client_of(1, 8, 3);

    fs_reuse_mirrors_put(here, &client, "/a", "1", 1000);
    ck_assert_uint_eq(carry(1000, 0), 1); /* should it have anything: that is outdated */
    ck_assert(carries[0].open && !carries[0].mirror.count);
    fs_reuse_mirrors_put(here, &client, "/b", "1", 1000);
    ck_assert_uint_eq(carry(1000, 0), 0);
    fs_reuse_mirrors_put(here, &client, "/c", "1", 1000);
    ck_assert_uint_eq(carry(1000, 0), 1);
    ck_assert(holds(there, &moved, "/a", "1"));
    fs_reuse_mirrors_put(here, &client, "/a", "2", 1000);
    ck_assert_uint_eq(carry(1000, 0), 1); /* only that it is outdated */
    ck_assert(carries[0].open && !carries[0].mirror.count);
    ck_assert(!holds(there, &moved, "/a", "1") && !holds(there, &moved, "/c", "1"));
    fs_reuse_mirrors_put(here, &client, "/b", "2", 1000);
    ck_assert_uint_eq(carry(1000, 0), 0);
    fs_reuse_mirrors_put(here, &client, "/c", "2", 1000);
    ck_assert_uint_eq(carry(1000, 0), 1);
    ck_assert(holds(there, &moved, "/a", "2") && holds(there, &moved, "/c", "2"));
}
END_TEST

START_TEST(at_the_end)
{
    fs_reuse_client_t client = client_of(1, 7, FS_REUSE_AT_END);
    fs_reuse_client_t moved = client_of(1, 8, FS_REUSE_AT_END);

    fs_reuse_mirrors_put(here, &client, "/a", "1", 1000);
    ck_assert_uint_eq(carry(1000, 0), 1);
    ck_assert(carries[0].open);
    ck_assert_uint_eq(carry(FS_REUSE_END_AFTER, 0), 0);
    ck_assert_uint_eq(carry(1000 + FS_REUSE_END_AFTER, 0), 1);
    ck_assert(holds(there, &moved, "/a", "1"));
    fs_reuse_mirrors_put(here, &client, "/a", "2", 2000 + FS_REUSE_END_AFTER);
    ck_assert_uint_eq(carry(2000 + FS_REUSE_END_AFTER, 0), 1);
    ck_assert(!holds(there, &moved, "/a", "1"));
    ck_assert_uint_eq(carry(2000 + FS_REUSE_END_AFTER, 0), 0);
    ck_assert_uint_eq(carry(2000 + FS_REUSE_END_AFTER, 1), 1); /* this server stops */
    ck_assert(holds(there, &moved, "/a", "2"));
}
END_TEST

/* The alternate has a mirror of a client that is forgotten here, as when the file was removed. */
START_TEST(who_forgot_a_client_tells_his_alternate)
{
    fs_reuse_client_t client = client_of(1, 7, FS_REUSE_AT_END);
    fs_reuse_client_t moved = client_of(1, 8, FS_REUSE_AT_END);
    char path[600];

    fs_reuse_mirrors_put(here, &client, "/a", "1", 1000);
    carry(1000, 1);
    ck_assert(holds(there, &moved, "/a", "1"));
    snprintf(path, sizeof(path), "%s/here", directory);
    ck_assert_int_eq(unlink(path), 0);
    ck_assert(!fs_reuse_mirrors_current(here, path));
    fs_reuse_mirrors_close(here);
    here = open_one("here");
    ck_assert(fs_reuse_mirrors_current(here, path));
    fs_reuse_mirrors_put(here, &client, "/a", "2", 2000);
    ck_assert_uint_eq(carry(2000, 0), 1);
    ck_assert(!holds(there, &moved, "/a", "1"));
}
END_TEST

START_TEST(who_was_home_once_says_nothing)
{
    fs_reuse_client_t client = client_of(1, 7, 1), elsewhere = client_of(1, 8, 1);
    fs_reuse_client_t back = client_of(1, 9, 1);

    fs_reuse_mirrors_put(here, &client, "/a", "1", 1000);
    carry(1000, 0);
    fs_reuse_mirrors_put(there, &elsewhere, "/a", "2", 2000);
    ck_assert(holds(there, &elsewhere, "/a", "2"));
    ck_assert(!holds(here, &back, "/a", "1"));
    fs_reuse_mirrors_put(here, &back, "/b", "1", 3000);
    ck_assert(!holds(here, &back, "/a", "1") && holds(here, &back, "/b", "1"));
    /* What the first home sends too late isn't taken; nor is anything by who has no mirror. */
    ck_assert(fs_reuse_mirrors_take(there, &(fs_reuse_carry_t){{1}, 9, 1, 0, "", {0}}, 3000));
    ck_assert(!fs_reuse_mirrors_take(there, &(fs_reuse_carry_t){{1}, 8, 99, 0, "", {0}}, 3000));
}
END_TEST

START_TEST(another_alternate_gets_it_whole)
{
    fs_reuse_client_t client = client_of(1, 7, 3);
    unsigned at = 0;

    for (unsigned i = 0; i < 3; i++)
        fs_reuse_mirrors_put(here, &client, "/a", (const char *[]){"1", "2", "3"}[i], 1000);
    carry(1000, 0);
    client.alternate = "web3";
    client.generation = 8;
    client.each = 1;
    fs_reuse_mirrors_put(here, &client, "/a", "3", 2000);
    ck_assert_uint_eq(fs_reuse_mirrors_due(here, 2000, 0, carries, 1, &at), 1);
    ck_assert_str_eq(carries[0].to, "web3");
    ck_assert(!carries[0].open && carries[0].mirror.count == 1);
    client.alternate = NULL;
    fs_reuse_mirrors_put(here, &client, "/a", "4", 2000);
    at = 0;
    ck_assert_uint_eq(fs_reuse_mirrors_due(here, 2000, 1, carries, 1, &at), 0);
}
END_TEST

/* ... also if he asks for nothing that has a mirror, and however often it is another one. */
START_TEST(another_alternate_gets_it_without_a_page)
{
    fs_reuse_client_t client = client_of(1, 7, 1), unknown = client_of(2, 7, 1);
    unsigned at = 0;

    fs_reuse_mirrors_put(here, &client, "/a", "1", 1000);
    carry(1000, 0);
    for (client.generation = 8; client.generation < 12; client.generation++) {
        client.alternate = client.generation % 2 ? "web3" : "web4";
        fs_reuse_mirrors_move(here, &client);
        ck_assert(holds(here, &client, "/a", "1"));
        at = 0;
        ck_assert_uint_eq(fs_reuse_mirrors_due(here, 1000, 0, carries, 9, &at), 1);
        ck_assert_str_eq(carries[0].to, client.alternate);
        ck_assert(!carries[0].open && carries[0].mirror.count == 1);
        ck_assert_uint_eq(carries[0].generation, client.generation);
        fs_reuse_mirrors_carried(here, &carries[0]);
    }
    /* One that doesn't count isn't revived, and one that isn't there not made. */
    client.generation += 2;
    fs_reuse_mirrors_move(here, &client);
    ck_assert(!holds(here, &client, "/a", "1"));
    fs_reuse_mirrors_move(here, &unknown);
    at = 0;
    ck_assert_uint_eq(fs_reuse_mirrors_due(here, 1000, 1, carries, 9, &at), 0);
}
END_TEST

START_TEST(a_change_while_it_is_carried_isnt_lost)
{
    fs_reuse_client_t client = client_of(1, 7, 1), moved = client_of(1, 8, 1);
    unsigned at = 0;

    fs_reuse_mirrors_put(here, &client, "/a", "1", 1000);
    ck_assert_uint_eq(fs_reuse_mirrors_due(here, 1000, 0, carries, 9, &at), 1);
    fs_reuse_mirrors_put(here, &client, "/a", "2", 1000);
    fs_reuse_mirrors_take(there, &carries[0], 1000);
    fs_reuse_mirrors_carried(here, &carries[0]);
    ck_assert_uint_eq(carry(1000, 0), 1);
    ck_assert(holds(there, &moved, "/a", "2"));
}
END_TEST

START_TEST(the_file_is_bounded)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < 3 * FS_REUSE_MIRRORS; i++) {
        fs_reuse_client_t client = client_of(i * 2654435761u, 1, 1);

        fs_reuse_mirrors_put(here, &client, "/a", "1", 1000 + i);
        ck_assert(holds(here, &client, "/a", "1"));
    }
    for (unsigned i = 0; i < 3 * FS_REUSE_MIRRORS; i++) {
        fs_reuse_client_t client = client_of(i * 2654435761u, 1, 1);

        kept += (unsigned)holds(here, &client, "/a", "1");
    }
    ck_assert_uint_le(kept, FS_REUSE_MIRRORS);
    ck_assert_uint_ge(kept, FS_REUSE_MIRRORS / 2);
    ck_assert_uint_eq(carry(5000000, 0), kept);
}
END_TEST

START_TEST(processes_that_die_leave_nothing_wrong)
{
    for (unsigned round = 0; round < 20; round++) {
        pid_t child = fork();

        if (!child) {
            for (unsigned i = 0;; i++) {
                char tag[16];
                fs_reuse_client_t client = client_of(i % 50, 1, 1);

                snprintf(tag, sizeof(tag), "%u", i % 50);
                fs_reuse_mirrors_put(here, &client, "/a", tag, 1000);
            }
        }
        usleep(2000);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        for (unsigned i = 0; i < 50; i++) {
            fs_reuse_client_t client = client_of(i, 1, 1);
            fs_reuse_mirror_t mirror;
            char tag[16];

            snprintf(tag, sizeof(tag), "%u", i);
            if (fs_reuse_mirrors_get(here, &client, &mirror) && mirror.count)
                ck_assert(fs_reuse_mirror_holds(&mirror, "/a", tag));
        }
    }
}
END_TEST

START_TEST(messages_that_are_none)
{
    static uint8_t bytes[FS_REUSE_CARRY_BYTES + 1];
    static fs_reuse_carry_t one;
    size_t length;

    one.mirror.count = 2;
    length = fs_reuse_carry_write(&one, 1, bytes);
    ck_assert_int_eq(fs_reuse_carry_read(bytes, length, carries), 1);
    for (size_t i = 0; i < length; i++)
        ck_assert_int_eq(fs_reuse_carry_read(bytes, i, carries), i == 8 ? 0 : -1);
    bytes[8 + 25] = FS_REUSE_MIRROR_PAGES + 1;
    ck_assert_int_eq(fs_reuse_carry_read(bytes, sizeof(bytes), carries), -1);
    bytes[8 + 25] = 0;
    bytes[8 + 24] = 2;
    ck_assert_int_eq(fs_reuse_carry_read(bytes, 8 + 26, carries), -1);
    memset(bytes + 8, 0, sizeof(bytes) - 8);
    ck_assert_int_eq(fs_reuse_carry_read(bytes, 8 + 26 * FS_REUSE_CARRY_MOST, carries),
                     FS_REUSE_CARRY_MOST);
    ck_assert_int_eq(fs_reuse_carry_read(bytes, 8 + 26 * (FS_REUSE_CARRY_MOST + 1), carries), -1);
    bytes[0] = 'x';
    ck_assert_int_eq(fs_reuse_carry_read(bytes, 8, carries), -1);
}
END_TEST

static Suite *mirrors_suite(void)
{
    Suite *suite = suite_create("reuse_mirrors");
    TCase *tests = tcase_create("mirrors");

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, at_each_change);
    tcase_add_test(tests, each_n_changes_the_alternate_knows_that_it_is_behind);
    tcase_add_test(tests, at_the_end);
    tcase_add_test(tests, who_forgot_a_client_tells_his_alternate);
    tcase_add_test(tests, who_was_home_once_says_nothing);
    tcase_add_test(tests, another_alternate_gets_it_whole);
    tcase_add_test(tests, another_alternate_gets_it_without_a_page);
    tcase_add_test(tests, a_change_while_it_is_carried_isnt_lost);
    tcase_add_test(tests, the_file_is_bounded);
    tcase_add_test(tests, processes_that_die_leave_nothing_wrong);
    tcase_add_test(tests, messages_that_are_none);
    tcase_set_timeout(tests, 60);
    suite_add_tcase(suite, tests);
    return suite;
}

FS_TEST_MAIN(mirrors_suite)
