/* SPDX-License-Identifier: Apache-2.0 */
/* What request processes share for reuse: bodies, names that changed, known pages; damage, death.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "fs_test.h"
#include "reuse/fs_reuse_names.h"
#include "reuse/fs_reuse_pages.h"
#include "reuse/fs_reuse_store.h"

#define SIZE  (4u << 20)
#define LARGE 100000

static char *directory, path[512];
static fs_reuse_store_t *store;
static fs_result_t result;
static uint64_t here, elsewhere;

static void setup(void)
{
    directory = fs_test_mkdir();
    snprintf(path, sizeof(path), "%s/bodies", directory);
    ck_assert_int_eq(fs_reuse_store_prepare(path, SIZE, (uint32_t)-1, (uint32_t)-1, &result),
                     APR_SUCCESS);
    ck_assert_int_eq(fs_reuse_store_open(&store, path, &result), APR_SUCCESS);
    here = fs_reuse_origin("https://a:443");
    elsewhere = fs_reuse_origin("https://b:443");
}

static void teardown(void)
{
    fs_reuse_store_close(store);
    fs_test_rmdir(directory);
}

/* The body with this number: `length` bytes that no other has. */
static uint8_t *make_body(unsigned number, size_t length)
{
    uint8_t *body = malloc(length);

    for (size_t i = 0; i < length; i++)
        body[i] = (uint8_t)(number * 31 + i * 7 + i / 251);
    memcpy(body, &number, length < sizeof(number) ? length : sizeof(number));
    return body;
}

static int put(unsigned number, size_t length)
{
    uint8_t *body = make_body(number, length);
    int done = fs_reuse_store_put(store, here, body, length);

    free(body);
    return done;
}

/* Whether it is there; if so, that it is right. */
static int have(uint64_t origin, unsigned number, size_t length)
{
    uint8_t *body = make_body(number, length), *got;
    fs_digest_t digest;
    size_t got_length = 0;
    int found;

    fs_digest_of(&digest, body, length);
    got = fs_reuse_store_get(store, origin, &digest, &got_length);
    found = got != NULL;
    if (found) {
        ck_assert_uint_eq(got_length, length);
        ck_assert_mem_eq(got, body, length);
    }
    free(got);
    free(body);
    return found;
}

START_TEST(what_is_put_in_comes_out)
{
    fs_reuse_totals_t totals;

    ck_assert(!have(here, 1, LARGE));
    ck_assert(put(1, LARGE) && put(2, 1) && put(1, LARGE));
    ck_assert(have(here, 1, LARGE) && have(here, 2, 1));
    ck_assert(!have(elsewhere, 1, LARGE));
    fs_reuse_store_totals(store, &totals);
    ck_assert_uint_eq(totals.bodies, 2);
    ck_assert_uint_eq(totals.bytes, LARGE + 1);
    ck_assert(!put(3, 0));
    ck_assert(!put(3, SIZE / 3));
}
END_TEST

START_TEST(the_oldest_goes_but_what_is_used_stays)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < 200; i++) {
        ck_assert(put(i, LARGE));
        ck_assert(have(here, i, LARGE));
        ck_assert_msg(have(here, 0, LARGE), "after %u", i);
    }
    ck_assert(!have(here, 1, LARGE));
    for (unsigned i = 100; i < 200; i++)
        kept += (unsigned)have(here, i, LARGE);
    ck_assert_uint_ge(kept, 15);
    ck_assert_uint_le(kept, SIZE / LARGE);
}
END_TEST

START_TEST(more_bodies_than_slots)
{
    for (unsigned i = 0; i < 20000; i++)
        ck_assert(put(i, 8) && have(here, i, 8));
}
END_TEST

START_TEST(is_kept_over_a_restart)
{
    ck_assert(put(1, LARGE));
    fs_reuse_store_close(store);
    ck_assert_int_eq(fs_reuse_store_prepare(path, SIZE, (uint32_t)-1, (uint32_t)-1, &result),
                     APR_SUCCESS);
    ck_assert_int_eq(fs_reuse_store_open(&store, path, &result), APR_SUCCESS);
    ck_assert(have(here, 1, LARGE));
    /* Another size is another store; who has the old one open goes on with it. */
    ck_assert_int_eq(fs_reuse_store_prepare(path, 2 * SIZE, (uint32_t)-1, (uint32_t)-1, &result),
                     APR_SUCCESS);
    ck_assert(have(here, 1, LARGE));
    fs_reuse_store_close(store);
    ck_assert_int_eq(fs_reuse_store_open(&store, path, &result), APR_SUCCESS);
    ck_assert(!have(here, 1, LARGE));
}
END_TEST

START_TEST(damage_gives_nothing_wrong)
{
    int fd = open(path, O_RDWR);

    for (unsigned i = 0; i < 30; i++)
        ck_assert(put(i, LARGE));
    srand(7);
    for (unsigned round = 0; round < 200; round++) {
        uint64_t noise = ((uint64_t)rand() << 32) ^ (uint64_t)rand();

        /* Not the first page: head and lock are checked, or not damaged by anybody's data. */
        ck_assert_int_eq(pwrite(fd, &noise, 8, 4096 + rand() % (SIZE - 5000)), 8);
        for (unsigned i = 0; i < 30; i++)
            have(here, i, LARGE);
        put(100 + round, LARGE);
    }
    close(fd);
}
END_TEST

START_TEST(what_isnt_a_store_is_replaced)
{
    FILE *file;

    fs_reuse_store_close(store);
    file = fopen(path, "w");
    fputs("something else", file);
    fclose(file);
    ck_assert_int_ne(fs_reuse_store_open(&store, path, &result), APR_SUCCESS);
    ck_assert_str_eq(result.problem, "FS1711");
    ck_assert_int_eq(fs_reuse_store_prepare(path, SIZE, (uint32_t)-1, (uint32_t)-1, &result),
                     APR_SUCCESS);
    ck_assert_int_eq(fs_reuse_store_open(&store, path, &result), APR_SUCCESS);
    ck_assert(put(1, 10));
    ck_assert_int_ne(
        fs_reuse_store_prepare("/nowhere/bodies", SIZE, (uint32_t)-1, (uint32_t)-1, &result),
        APR_SUCCESS);
    ck_assert_str_eq(result.problem, "FS1711");
}
END_TEST

static void write_for_ever(unsigned first)
{
    fs_reuse_store_t *mine;

    if (fs_reuse_store_open(&mine, path, &result) != APR_SUCCESS)
        _exit(1);
    store = mine;
    for (unsigned i = 0;; i = (i + 1) % 1000)
        put(first + i, 1000 + i);
}

/* Processes that are killed at any moment: nobody waits for their lock, nothing is wrong. */
START_TEST(sudden_death)
{
    unsigned good = 0;

    for (unsigned round = 0; round < 60; round++) {
        pid_t child = fork();

        if (!child)
            write_for_ever(round * 100000);
        while (!have(here, round * 100000, 1000))
            ;
        for (unsigned i = 0; i < 20; i++)
            good += (unsigned)have(here, round * 100000 + i, 1000 + i);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        ck_assert(put(round, 500) && have(here, round, 500));
    }
    ck_assert_uint_gt(good, 0);
}
END_TEST

/* --- names --------------------------------------------------------------------------------------
 */

static uint64_t number(const fs_reuse_names_t *names, const char *name)
{
    return fs_reuse_names_number(names, name, strlen(name));
}

static void invalidate(fs_reuse_names_t *names, const char *name)
{
    fs_reuse_names_invalidate(names, name, strlen(name));
}

START_TEST(names_that_changed)
{
    fs_reuse_names_t *writer, *reader;
    char where[600];
    uint64_t begun;

    snprintf(where, sizeof(where), "%s/names", directory);
    ck_assert_int_ne(fs_reuse_names_open_reader(&reader, where, &result), APR_SUCCESS);
    ck_assert_int_eq(fs_reuse_names_open_writer(&writer, where, &result), APR_SUCCESS);
    ck_assert_int_eq(fs_reuse_names_open_reader(&reader, where, &result), APR_SUCCESS);
    begun = fs_reuse_names_sequence(reader);
    ck_assert_uint_le(number(reader, "prices/sku-1"), begun);
    invalidate(writer, "prices/sku-2");
    ck_assert_uint_le(number(reader, "prices/sku-1"), begun);
    ck_assert_uint_gt(number(reader, "prices/sku-2"), begun);
    ck_assert_uint_gt(number(reader, "prices/sku-2/image"), begun);
    ck_assert_uint_le(number(reader, "prices/sku-22"), begun);
    ck_assert_uint_le(number(reader, "prices"), begun);
    begun = fs_reuse_names_sequence(reader);
    ck_assert_uint_le(number(reader, "prices/sku-2"), begun);
    invalidate(writer, "prices");
    ck_assert_uint_gt(number(reader, "prices/sku-1"), begun);
    /* A writer that starts may have missed something. */
    begun = fs_reuse_names_sequence(reader);
    fs_reuse_names_close(writer);
    ck_assert_int_eq(fs_reuse_names_open_writer(&writer, where, &result), APR_SUCCESS);
    ck_assert_uint_gt(number(reader, "other"), begun);
    ck_assert(fs_reuse_names_current(reader, where));
    fs_reuse_names_close(writer);
    fs_reuse_names_close(reader);
}
END_TEST

/* However many names: one that was invalidated is never taken for unchanged. */
START_TEST(more_names_than_slots)
{
    fs_reuse_names_t *writer;
    char where[600], name[32];
    uint64_t *begun = malloc(300000 * sizeof(*begun));

    snprintf(where, sizeof(where), "%s/names", directory);
    ck_assert_int_eq(fs_reuse_names_open_writer(&writer, where, &result), APR_SUCCESS);
    for (unsigned i = 0; i < 300000; i++) {
        begun[i] = fs_reuse_names_sequence(writer);
        snprintf(name, sizeof(name), "n%u", i);
        invalidate(writer, name);
        ck_assert_uint_gt(number(writer, name), begun[i]);
        ck_assert_uint_le(number(writer, name), fs_reuse_names_sequence(writer));
    }
    for (unsigned i = 0; i < 300000; i++) {
        snprintf(name, sizeof(name), "n%u", i);
        ck_assert_uint_gt(number(writer, name), begun[i]);
    }
    free(begun);
    fs_reuse_names_close(writer);
}
END_TEST

START_TEST(names_have_a_form)
{
    static const char *const good[] = {"a", "prices/sku-1", "a/b/c", "cart:17", "a%2Fb"};
    static const char *const bad[] = {"", "/", "/a", "a/", "a//b", "a b", "a,b", "a\x7f", "\x80"};
    char longest[FS_REUSE_NAME_LIMIT + 2];

    for (unsigned i = 0; i < sizeof(good) / sizeof(*good); i++)
        ck_assert_msg(fs_reuse_name_ok(good[i], strlen(good[i])), "%s", good[i]);
    for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        ck_assert_msg(!fs_reuse_name_ok(bad[i], strlen(bad[i])), "%s", bad[i]);
    memset(longest, 'x', sizeof(longest));
    ck_assert(fs_reuse_name_ok(longest, FS_REUSE_NAME_LIMIT));
    ck_assert(!fs_reuse_name_ok(longest, FS_REUSE_NAME_LIMIT + 1));
}
END_TEST

/* --- pages --------------------------------------------------------------------------------------
 */

static fs_reuse_known_t make_known(unsigned number)
{
    fs_reuse_known_t known = {.sequence = number, .data = number * 3, .asked = number * 5};

    fs_digest_of(&known.page, &number, sizeof(number));
    snprintf(known.vary, sizeof(known.vary), "cookie%u", number);
    snprintf(known.depends, sizeof(known.depends), "name%u", number);
    return known;
}

static int knows(fs_reuse_pages_t *pages, unsigned number)
{
    fs_reuse_known_t known = make_known(number), found;

    if (!fs_reuse_pages_find(pages, &known.page, &found))
        return 0;
    ck_assert_mem_eq(&found, &known, sizeof(known));
    return 1;
}

START_TEST(pages_that_are_known)
{
    fs_reuse_pages_t *pages;
    fs_reuse_known_t known;
    char where[600];
    unsigned kept = 0;

    snprintf(where, sizeof(where), "%s/pages", directory);
    ck_assert_int_eq(fs_reuse_pages_prepare(where, (uint32_t)-1, (uint32_t)-1, &result),
                     APR_SUCCESS);
    ck_assert_int_eq(fs_reuse_pages_open(&pages, where, &result), APR_SUCCESS);
    ck_assert(!knows(pages, 1));
    for (unsigned i = 1; i < 20000; i++) {
        known = make_known(i);
        fs_reuse_pages_put(pages, &known);
        ck_assert(knows(pages, i));
    }
    for (unsigned i = 1; i < 20000; i++)
        kept += (unsigned)knows(pages, i);
    ck_assert_uint_gt(kept, 7000);
    fs_reuse_pages_close(pages);
    ck_assert_int_ne(fs_reuse_pages_open(&pages, path, &result), APR_SUCCESS);
    ck_assert_str_eq(result.problem, "FS1711");
}
END_TEST

static Suite *reuse_store_suite(void)
{
    Suite *suite = suite_create("reuse_store");
    TCase *all = tcase_create("all");

    tcase_add_checked_fixture(all, setup, teardown);
    tcase_add_test(all, what_is_put_in_comes_out);
    tcase_add_test(all, the_oldest_goes_but_what_is_used_stays);
    tcase_add_test(all, more_bodies_than_slots);
    tcase_add_test(all, is_kept_over_a_restart);
    tcase_add_test(all, damage_gives_nothing_wrong);
    tcase_add_test(all, what_isnt_a_store_is_replaced);
    tcase_add_test(all, sudden_death);
    tcase_add_test(all, names_that_changed);
    tcase_add_test(all, more_names_than_slots);
    tcase_add_test(all, names_have_a_form);
    tcase_add_test(all, pages_that_are_known);
    tcase_set_timeout(all, 60);
    suite_add_tcase(suite, all);
    return suite;
}

FS_TEST_MAIN(reuse_store_suite)
