/* SPDX-License-Identifier: Apache-2.0 */
/* The store of visitors. */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "fs_test.h"
#include "route/fs_route_store.h"

#define SECOND FS_USEC_PER_SEC
#define NOW    (INT64_C(1800000000) * SECOND)
#define IDLE   (1800 * SECOND)

static char *dir;

static void setup(void)
{
    fs_result_t result;

    dir = fs_test_mkdir();
    ck_assert_int_eq(fs_route_store_prepare(dir, (uid_t)-1, (gid_t)-1, 1, "boot1", &result), 0);
    ck_assert_str_eq(result.problem, "");
}

static void teardown(void)
{
    fs_test_rmdir(dir);
}

static fs_route_store_t *open_as(const char *name, const fs_route_limits_t *limits)
{
    static const fs_route_limits_t none;
    fs_route_store_t *store;
    fs_result_t result;

    ck_assert_msg(!fs_route_store_open(&store, dir, name, limits ? limits : &none, &result), "%s",
                  result.detail);
    return store;
}

static fs_route_visitor_t visitor(unsigned number, const char *primary, const char *alternate,
                                  uint32_t generation, int confirmed)
{
    fs_route_visitor_t made = {.primary = primary,
                               .alternate = alternate,
                               .former = "",
                               .generation = generation,
                               .confirmed = confirmed};

    snprintf((char *)made.id, sizeof(made.id), "v%08u", number);
    return made;
}

static void claim(fs_route_store_t *store, unsigned number, const char *primary,
                  const char *alternate, uint32_t generation, int confirmed, fs_usec_t now)
{
    fs_route_visitor_t made = visitor(number, primary, alternate, generation, confirmed);
    fs_result_t result;

    ck_assert_int_eq(fs_route_store_claim(store, &made, now, NULL, &result), 0);
}

static fs_route_total_t total(fs_route_store_t *store, const char *server)
{
    fs_route_total_t is;

    ck_assert_int_eq(fs_route_store_total(store, server, &is, NULL), 0);
    return is;
}

static int is_known(fs_route_store_t *store, unsigned number, fs_route_visitor_t *is)
{
    fs_route_visitor_t made = visitor(number, "", "", 0, 0);

    return fs_route_store_find(store, made.id, is, NULL) == APR_SUCCESS;
}

/* --- claims --------------------------------------------------------------------------------------
 */

START_TEST(a_visitor_is_known_and_confirmed_when_it_returns)
{
    fs_route_store_t *store = open_as("web1", NULL);
    fs_route_visitor_t made = visitor(1, "web1", "web2", 1, 0), is;
    fs_result_t result;

    ck_assert(!is_known(store, 1, &is));
    ck_assert_int_eq(fs_route_store_claim(store, &made, NOW, &is, &result), 0);
    ck_assert(is_known(store, 1, &is));
    ck_assert_str_eq(is.primary, "web1");
    ck_assert_str_eq(is.alternate, "web2");
    ck_assert_str_eq(is.former, "");
    ck_assert_uint_eq(is.generation, 1);
    ck_assert(!is.confirmed);
    ck_assert_int_eq(is.seen, NOW);
    ck_assert_uint_eq(total(store, "web1").unconfirmed, 1);
    ck_assert_uint_eq(total(store, "web1").digest, 0);
    ck_assert_uint_eq(total(store, "web1").sequence, 0);
    ck_assert_int_eq(fs_route_store_seen(store, made.id, NOW + SECOND, IDLE, &is, &result), 0);
    ck_assert(is.confirmed);
    ck_assert_uint_eq(total(store, "web1").primaries, 1);
    ck_assert_uint_eq(total(store, "web1").unconfirmed, 0);
    ck_assert_uint_ne(total(store, "web1").digest, 0);
    ck_assert_uint_eq(total(store, "web1").sequence, 1);
    ck_assert_uint_eq(total(store, "web2").alternates, 1);
    ck_assert_uint_eq(total(store, "web1").given, 0);
    ck_assert_uint_eq(total(store, "web2").given, 1);
    made = visitor(2, "", "", 0, 0);
    ck_assert_int_eq(fs_route_store_seen(store, made.id, NOW, IDLE, &is, &result), APR_NOTFOUND);
    fs_route_store_close(store);
}
END_TEST

START_TEST(seen_is_written_now_and_then)
{
    fs_route_store_t *store = open_as("web1", NULL);
    fs_route_visitor_t is;
    fs_usec_t due = NOW + IDLE / 8;

    claim(store, 1, "web1", "web2", 1, 1, NOW);
    is = visitor(1, "", "", 0, 0);
    ck_assert_int_eq(fs_route_store_seen(store, is.id, due - SECOND, IDLE, &is, NULL), 0);
    ck_assert_int_eq(is.seen, NOW);
    ck_assert_int_eq(fs_route_store_seen(store, is.id, due, IDLE, &is, NULL), 0);
    ck_assert_int_eq(is.seen, due);
    /* A clock that was set back leaves it as it was. */
    ck_assert_int_eq(fs_route_store_seen(store, is.id, NOW - IDLE, IDLE, &is, NULL), 0);
    ck_assert_int_eq(is.seen, due);
    ck_assert_uint_eq(total(store, "web1").sequence, 1);
    fs_route_store_close(store);
}
END_TEST

START_TEST(the_later_statement_holds)
{
    fs_route_store_t *store = open_as("web1", NULL);
    fs_route_visitor_t made, is;
    fs_result_t result;

    claim(store, 1, "web1", "web2", 3, 1, NOW);
    made = visitor(1, "web9", "web1", 2, 1);
    ck_assert_int_eq(fs_route_store_claim(store, &made, NOW, &is, &result), APR_EMISMATCH);
    ck_assert_str_eq(result.problem, "");
    ck_assert_str_eq(is.primary, "web1");
    ck_assert_uint_eq(is.generation, 3);
    made = visitor(1, "web0", "web9", 3, 1);
    ck_assert_int_eq(fs_route_store_claim(store, &made, NOW, &is, &result), APR_EMISMATCH);
    made = visitor(1, "web1", "web0", 3, 1);
    ck_assert_int_eq(fs_route_store_claim(store, &made, NOW, &is, &result), APR_EMISMATCH);
    made = visitor(1, "web2", "web3", 4, 1);
    made.former = "web1";
    ck_assert_int_eq(fs_route_store_claim(store, &made, NOW, &is, &result), 0);
    ck_assert(is_known(store, 1, &is));
    ck_assert_str_eq(is.primary, "web2");
    ck_assert_str_eq(is.former, "web1");
    ck_assert_uint_eq(total(store, "web1").primaries, 0);
    ck_assert_uint_eq(total(store, "web1").digest, 0);
    ck_assert_uint_eq(total(store, "web2").primaries, 1);
    ck_assert_uint_eq(total(store, "web2").alternates, 0);
    ck_assert_uint_eq(total(store, "web3").alternates, 1);
    ck_assert_uint_eq(total(store, "web3").given, 0);
    /* The same again changes nothing. */
    ck_assert_int_eq(fs_route_store_claim(store, &made, NOW, &is, &result), 0);
    ck_assert_uint_eq(total(store, "web2").primaries, 1);
    fs_route_store_close(store);
}
END_TEST

START_TEST(names_that_are_none_are_refused)
{
    fs_route_store_t *store = open_as("web1", NULL);
    char name[FS_ROUTE_NAME_SIZE + 1];
    fs_route_visitor_t made = visitor(1, name, "", 1, 1), is;
    fs_result_t result;

    memset(name, 'x', sizeof(name));
    name[FS_ROUTE_NAME_SIZE] = '\0';
    ck_assert_int_ne(fs_route_store_claim(store, &made, NOW, NULL, &result), 0);
    ck_assert_str_eq(result.problem, "FS1617");
    made.primary = "";
    ck_assert_int_ne(fs_route_store_claim(store, &made, NOW, NULL, &result), 0);
    ck_assert_str_eq(result.problem, "FS1617");
    name[FS_ROUTE_NAME_SIZE - 1] = '\0';
    made.primary = name;
    ck_assert_int_eq(fs_route_store_claim(store, &made, NOW, NULL, &result), 0);
    ck_assert(is_known(store, 1, &is));
    ck_assert_str_eq(is.primary, name);
    fs_route_store_close(store);
}
END_TEST

START_TEST(who_came_once_is_bounded_and_forgotten)
{
    fs_route_limits_t limits = {.unconfirmed = 10};
    fs_route_store_t *store = open_as("web1", &limits);
    fs_route_swept_t swept = {.next = {0}};
    fs_route_visitor_t made = visitor(11, "web1", "", 1, 0), is;
    fs_result_t result;

    for (unsigned i = 0; i < 10; i++)
        claim(store, i, "web1", "web2", 1, 0, NOW + i * SECOND);
    ck_assert_int_eq(fs_route_store_claim(store, &made, NOW, NULL, &result), APR_ENOSPC);
    ck_assert_str_eq(result.problem, "FS1616");
    /* With its cookie it is taken. */
    made.confirmed = 1;
    ck_assert_int_eq(fs_route_store_claim(store, &made, NOW, NULL, &result), 0);
    is = visitor(0, "", "", 0, 0);
    ck_assert_int_eq(fs_route_store_seen(store, is.id, NOW + 50 * SECOND, IDLE, &is, NULL), 0);
    /* The first five are forgotten, but for the one that returned. */
    ck_assert_int_eq(fs_route_store_sweep(store, NOW + 65 * SECOND, IDLE, 1000, &swept, &result),
                     0);
    ck_assert_uint_eq(swept.unconfirmed, 4);
    ck_assert_uint_eq(swept.idle, 0);
    ck_assert(is_known(store, 0, &is) && !is_known(store, 1, &is) && is_known(store, 5, &is));
    ck_assert_uint_eq(total(store, "web1").unconfirmed, 5);
    ck_assert_uint_eq(total(store, "web1").primaries, 7);
    /* Nobody was told of any but the two. */
    ck_assert_uint_eq(total(store, "web1").sequence, 2);
    fs_route_store_close(store);
}
END_TEST

START_TEST(idle_visitors_are_forgotten_bit_by_bit)
{
    fs_route_store_t *store = open_as("web1", NULL);
    fs_route_swept_t swept = {.next = {0}};
    unsigned forgotten = 0;

    for (unsigned i = 0; i < 100; i++)
        claim(store, i, "web1", "web2", 1, 1, i % 2 ? NOW : NOW - IDLE - SECOND);
    claim(store, 100, "web2", "web1", 1, 1, NOW - 2 * IDLE);
    for (unsigned i = 0; i < 10; i++) {
        ck_assert_int_eq(fs_route_store_sweep(store, NOW, IDLE, 10, &swept, NULL), 0);
        ck_assert_uint_eq(swept.idle, 5);
        forgotten += swept.idle;
    }
    ck_assert_uint_eq(forgotten, 50);
    ck_assert_uint_eq(total(store, "web1").primaries, 50);
    ck_assert_uint_eq(total(store, "web2").primaries, 1);
    /* The others are told: 101 claims and 50 that are gone. */
    ck_assert_uint_eq(total(store, "web1").sequence, 151);
    ck_assert_int_eq(fs_route_store_sweep(store, NOW + IDLE + SECOND, IDLE, 1000, &swept, NULL), 0);
    ck_assert_int_eq(fs_route_store_sweep(store, NOW + IDLE + SECOND, IDLE, 1000, &swept, NULL), 0);
    ck_assert_uint_eq(total(store, "web1").primaries, 0);
    ck_assert_uint_eq(total(store, "web1").digest, 0);
    ck_assert_uint_eq(total(store, "web2").alternates, 0);
    fs_route_store_close(store);
}
END_TEST

START_TEST(a_token_counts_once)
{
    fs_route_limits_t limits = {.nonces = 3};
    fs_route_store_t *store = open_as("web1", &limits);
    uint8_t nonce[FS_ROUTE_NONCE_BYTES] = {1};
    fs_route_swept_t swept = {.next = {0}};

    ck_assert_int_eq(fs_route_store_nonce(store, nonce, NOW + 10 * SECOND, NOW, NULL), 0);
    ck_assert_int_eq(fs_route_store_nonce(store, nonce, NOW + 10 * SECOND, NOW, NULL), APR_EEXIST);
    for (uint8_t i = 2; i < 5; i++) {
        nonce[0] = i;
        ck_assert_int_eq(fs_route_store_nonce(store, nonce, NOW + 11 * SECOND, NOW, NULL), 0);
    }
    /* There is room for three: the one that expires first went. */
    nonce[0] = 4;
    ck_assert_int_eq(fs_route_store_nonce(store, nonce, NOW + 11 * SECOND, NOW, NULL), APR_EEXIST);
    nonce[0] = 1;
    ck_assert_int_eq(fs_route_store_nonce(store, nonce, NOW + 10 * SECOND, NOW, NULL), 0);
    ck_assert_int_eq(fs_route_store_sweep(store, NOW + 12 * SECOND, IDLE, 10, &swept, NULL), 0);
    ck_assert_uint_eq(swept.nonces, 3);
    fs_route_store_close(store);
}
END_TEST

/* --- the log and merging -------------------------------------------------------------------------
 */

typedef struct heard_t {
    fs_route_visitor_t visitors[FS_ROUTE_NEWS_MOST];
    unsigned count;
} heard_t;

static int hear(void *baton, const fs_route_visitor_t *visitor)
{
    heard_t *heard = baton;

    heard->visitors[heard->count++] = *visitor;
    return 0;
}

START_TEST(the_log_tells_what_changed)
{
    fs_route_limits_t limits = {.log = 8};
    fs_route_store_t *store = open_as("web1", &limits);
    heard_t heard = {.count = 0};
    fs_route_swept_t swept = {.next = {0}};
    uint64_t to;

    claim(store, 1, "web1", "web2", 1, 1, NOW);
    claim(store, 2, "web1", "web2", 1, 0, NOW);
    claim(store, 3, "web1", "web2", 1, 1, NOW - 2 * IDLE);
    ck_assert_int_eq(fs_route_store_sweep(store, NOW, IDLE, 10, &swept, NULL), 0);
    ck_assert_int_eq(fs_route_store_changes(store, 0, 100, hear, &heard, &to, NULL), 0);
    ck_assert_uint_eq(to, 3);
    ck_assert_uint_eq(heard.count, 3);
    ck_assert_str_eq(heard.visitors[0].primary, "web1");
    ck_assert_str_eq(heard.visitors[1].primary, "");
    ck_assert_str_eq(heard.visitors[2].primary, "");
    heard.count = 0;
    ck_assert_int_eq(fs_route_store_changes(store, 0, 1, hear, &heard, &to, NULL), 0);
    ck_assert_uint_eq(to, 1);
    ck_assert_uint_eq(heard.count, 1);
    ck_assert_int_eq(fs_route_store_changes(store, 3, 100, hear, &heard, &to, NULL), 0);
    ck_assert_uint_eq(to, 3);
    for (unsigned i = 10; i < 20; i++)
        claim(store, i, "web1", "web2", 1, 1, NOW);
    ck_assert_uint_eq(total(store, "web1").sequence, 13);
    ck_assert_int_eq(fs_route_store_changes(store, 3, 100, hear, &heard, &to, NULL), APR_EGENERAL);
    ck_assert_int_eq(fs_route_store_changes(store, 99, 100, hear, &heard, &to, NULL), APR_EGENERAL);
    heard.count = 0;
    ck_assert_int_eq(fs_route_store_changes(store, 5, 100, hear, &heard, &to, NULL), 0);
    ck_assert_uint_eq(heard.count, 8);
    ck_assert_uint_eq(to, 13);
    fs_route_store_close(store);
}
END_TEST

START_TEST(who_came_once_is_told_to_nobody)
{
    fs_route_store_t *store = open_as("web1", NULL);
    heard_t heard = {.count = 0};
    fs_route_swept_t swept = {.next = {0}};
    uint64_t to;

    claim(store, 1, "web1", "web2", 1, 1, NOW - 2 * IDLE);
    ck_assert_int_eq(fs_route_store_sweep(store, NOW, IDLE, 10, &swept, NULL), 0);
    claim(store, 1, "web1", "web2", 1, 0, NOW);
    claim(store, 2, "web1", "web2", 1, 0, NOW);
    claim(store, 3, "web1", "web2", 1, 1, NOW);
    /* Not by the log, in which the first one is from before, */
    ck_assert_int_eq(fs_route_store_changes(store, 0, 100, hear, &heard, &to, NULL), 0);
    ck_assert_uint_eq(heard.count, 3);
    ck_assert_str_eq(heard.visitors[0].primary, "");
    ck_assert_str_eq(heard.visitors[1].primary, "");
    ck_assert_str_eq(heard.visitors[2].primary, "web1");
    /* nor by a copy. */
    heard.count = 0;
    ck_assert_int_eq(fs_route_store_each(store, "web1", NULL, 100, 0, hear, &heard, NULL), 0);
    ck_assert_uint_eq(heard.count, 1);
    heard.count = 0;
    ck_assert_int_eq(fs_route_store_each(store, "web1", NULL, 100, 1, hear, &heard, NULL), 0);
    ck_assert_uint_eq(heard.count, 3);
    fs_route_store_close(store);
}
END_TEST

static fs_route_merged_t merge(fs_route_store_t *store, const fs_route_news_t *news, heard_t *older)
{
    fs_route_merged_t merged;
    fs_result_t result;

    ck_assert_msg(
        !fs_route_store_merge(store, news, NOW, older ? hear : NULL, older, &merged, &result), "%s",
        result.detail);
    return merged;
}

START_TEST(what_others_say_is_merged)
{
    fs_route_store_t *store = open_as("web1", NULL);
    fs_route_visitor_t said[4] = {
        visitor(1, "web2", "web3", 1, 1), visitor(2, "web2", "web1", 4, 1),
        visitor(3, "web2", "web3", 1, 1), visitor(4, "web1", "web2", 6, 1)};
    fs_route_news_t news = {
        .from = "web2", .visitors = said, .count = 4, .generation = 77, .sequence = 12};
    heard_t older = {.count = 0};
    fs_route_merged_t merged;
    fs_route_visitor_t is;

    claim(store, 2, "web1", "web2", 3, 1, NOW);
    claim(store, 3, "web1", "web2", 2, 1, NOW);
    merged = merge(store, &news, &older);
    ck_assert_uint_eq(merged.taken, 3);
    ck_assert_uint_eq(merged.given, 1);
    ck_assert_uint_eq(merged.gotten, 1);
    ck_assert_uint_eq(merged.older, 1);
    ck_assert_uint_eq(older.count, 1);
    ck_assert_str_eq(older.visitors[0].primary, "web1");
    ck_assert(is_known(store, 4, &is));
    ck_assert_int_eq(is.seen, NOW);
    ck_assert_uint_eq(total(store, "web2").primaries, 2);
    ck_assert_uint_eq(total(store, "web2").generation, 77);
    ck_assert_uint_eq(total(store, "web2").sequence, 12);
    /* Nobody is told what was heard from others. */
    ck_assert_uint_eq(total(store, "web1").sequence, 2);
    merged = merge(store, &news, NULL);
    ck_assert_uint_eq(merged.taken, 0);
    /* web2 gives one up, and one that isn't its own. */
    said[0].primary = said[2].primary = "";
    news.count = 3;
    merged = merge(store, &news, NULL);
    ck_assert_uint_eq(merged.removed, 1);
    ck_assert(!is_known(store, 1, &is) && is_known(store, 3, &is));
    fs_route_store_close(store);
}
END_TEST

START_TEST(a_full_copy_removes_what_is_not_in_it)
{
    fs_route_store_t *store = open_as("web1", NULL);
    fs_route_visitor_t said[10], is;
    fs_route_news_t news = {.from = "web2", .visitors = said, .count = 10};
    fs_route_merged_t merged;

    for (unsigned i = 0; i < 10; i++)
        said[i] = visitor(i, "web2", "web3", 1, 1);
    merge(store, &news, NULL);
    claim(store, 20, "web1", "web2", 1, 1, NOW);
    /* The first page goes up to 4 and lacks 3; 7 is beyond it. */
    said[3] = said[4];
    news.count = 4;
    news.whole = 1;
    news.upto = said[4].id;
    merged = merge(store, &news, NULL);
    ck_assert_uint_eq(merged.removed, 1);
    ck_assert(!is_known(store, 3, &is) && is_known(store, 7, &is));
    /* The second goes on behind 4 and has only 6. */
    news.visitors = &said[6];
    news.count = 1;
    news.after = said[4].id;
    news.upto = NULL;
    merged = merge(store, &news, NULL);
    ck_assert_uint_eq(merged.removed, 4);
    ck_assert(is_known(store, 4, &is) && is_known(store, 6, &is) && !is_known(store, 9, &is));
    ck_assert(is_known(store, 20, &is));
    /* Nobody can say who isn't home here. */
    news = (fs_route_news_t){.from = "web2", .of = "web1", .whole = 1};
    merge(store, &news, NULL);
    ck_assert(is_known(store, 20, &is));
    fs_route_store_close(store);
}
END_TEST

START_TEST(two_that_know_the_same_have_the_same_digest)
{
    fs_route_store_t *one = open_as("web1", NULL), *two;
    char *first = dir;
    fs_route_visitor_t said[3] = {visitor(1, "web1", "web2", 1, 1), visitor(2, "web1", "", 2, 1),
                                  visitor(3, "web1", "web3", 1, 1)};
    fs_route_news_t news = {.from = "web1", .visitors = said, .count = 3};
    fs_result_t result;

    for (unsigned i = 0; i < 3; i++)
        ck_assert_int_eq(fs_route_store_claim(one, &said[i], NOW, NULL, NULL), 0);
    dir = fs_test_mkdir();
    ck_assert_int_eq(fs_route_store_prepare(dir, (uid_t)-1, (gid_t)-1, 1, "boot1", &result), 0);
    two = open_as("web9", NULL);
    claim(two, 3, "web7", "web9", 0, 1, NOW); /* other numbers of the same names */
    merge(two, &news, NULL);
    ck_assert_uint_ne(total(one, "web1").digest, 0);
    ck_assert_uint_eq(total(one, "web1").digest, total(two, "web1").digest);
    ck_assert_uint_eq(total(two, "web7").digest, 0);
    claim(one, 2, "web1", "web9", 3, 1, NOW);
    ck_assert_uint_ne(total(one, "web1").digest, total(two, "web1").digest);
    fs_route_store_close(one);
    fs_route_store_close(two);
    fs_test_rmdir(first);
}
END_TEST

START_TEST(who_was_taken_over_is_given_back_when_idle)
{
    fs_route_store_t *store = open_as("web2", NULL);
    uint8_t after[FS_ROUTE_ID_BYTES] = {0};
    fs_route_visitor_t made, is;
    unsigned returned, sum = 0;

    for (unsigned i = 0; i < 20; i++) {
        made = visitor(i, "web2", "web3", 2, 1);
        made.former = i % 2 ? "web1" : "";
        ck_assert_int_eq(
            fs_route_store_claim(store, &made, i < 10 ? NOW - 600 * SECOND : NOW, NULL, NULL), 0);
    }
    for (int i = 0; i < 4; i++) {
        ck_assert_int_eq(fs_route_store_return(store, "web1", NOW - 300 * SECOND, 3, after,
                                               &returned, NOW, NULL),
                         0);
        ck_assert_uint_le(returned, 3);
        sum += returned;
    }
    ck_assert_uint_eq(sum, 5);
    ck_assert(is_known(store, 1, &is));
    ck_assert_str_eq(is.primary, "web1");
    ck_assert_str_eq(is.alternate, "web2");
    ck_assert_str_eq(is.former, "");
    ck_assert_uint_eq(is.generation, 3);
    ck_assert(is_known(store, 11, &is));
    ck_assert_str_eq(is.primary, "web2");
    ck_assert_uint_eq(total(store, "web1").primaries, 5);
    /* Nobody knows of a web8. */
    ck_assert_int_eq(fs_route_store_return(store, "web8", NOW, 3, after, &returned, NOW, NULL), 0);
    ck_assert_uint_eq(returned, 0);
    ck_assert_int_eq(fs_route_store_forget(store, "web1", 3, &returned, NULL), 0);
    ck_assert_uint_eq(returned, 3);
    ck_assert_uint_eq(total(store, "web1").primaries, 2);
    fs_route_store_close(store);
}
END_TEST

/* --- the file ------------------------------------------------------------------------------------
 */

static void write_at(const char *name, off_t at, const char *bytes)
{
    char path[512];
    int fd;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    fd = open(path, O_RDWR);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(pwrite(fd, bytes, strlen(bytes), at), (ssize_t)strlen(bytes));
    close(fd);
}

static void prepare(int first, const char *boot, const char *problem)
{
    fs_result_t result;

    ck_assert_int_eq(fs_route_store_prepare(dir, (uid_t)-1, (gid_t)-1, first, boot, &result), 0);
    ck_assert_str_eq(result.problem, problem);
}

START_TEST(visitors_outlive_a_restart_but_not_an_unclean_boot)
{
    fs_route_store_t *store = open_as("web1", NULL);
    fs_route_visitor_t is;
    uint64_t generation = total(store, "web1").generation;

    claim(store, 1, "web1", "web2", 1, 1, NOW);
    fs_route_store_close(store);
    prepare(1, "boot1", "");
    store = open_as("web1", NULL);
    ck_assert(is_known(store, 1, &is));
    ck_assert_uint_eq(total(store, "web1").generation, generation);
    fs_route_store_close(store);
    ck_assert_int_eq(fs_route_store_settle(dir, "boot1", NULL), 0);
    prepare(1, "boot2", "");
    store = open_as("web1", NULL);
    ck_assert(is_known(store, 1, &is));
    fs_route_store_close(store);
    prepare(1, "boot3", "FS1615");
    store = open_as("web1", NULL);
    ck_assert(!is_known(store, 1, &is));
    ck_assert_uint_ne(total(store, "web1").generation, generation);
    fs_route_store_close(store);
}
END_TEST

START_TEST(a_damaged_store_is_set_aside)
{
    fs_route_store_t *store = open_as("web1", NULL);
    fs_route_visitor_t is;
    char path[512], junk[4096];
    struct stat info;

    for (unsigned i = 0; i < 2000; i++)
        claim(store, i, "web1", "web2", 1, 1, NOW);
    fs_route_store_close(store);
    memset(junk, 0x5a, sizeof(junk) - 1);
    junk[sizeof(junk) - 1] = '\0';
    snprintf(path, sizeof(path), "%s/data.mdb", dir);
    ck_assert_int_eq(stat(path, &info), 0);
    for (off_t at = 8192; at < info.st_size; at += 4096)
        write_at("data.mdb", at, junk);
    prepare(1, "boot1", "FS1614");
    snprintf(path, sizeof(path), "%s/damaged/data.mdb", dir);
    ck_assert_int_eq(stat(path, &info), 0);
    store = open_as("web1", NULL);
    ck_assert(!is_known(store, 1, &is));
    claim(store, 1, "web1", "web2", 1, 1, NOW);
    fs_route_store_close(store);
}
END_TEST

START_TEST(a_store_of_before_a_fork_refuses)
{
    fs_route_store_t *store = open_as("web1", NULL);
    fs_route_visitor_t made = visitor(1, "web1", "", 1, 1);
    fs_result_t result;
    int state;
    pid_t child = fork();

    if (child == 0) {
        fs_route_store_claim(store, &made, NOW, NULL, &result);
        fs_route_store_close(store);
        _exit(strcmp(result.problem, "FS1613") ? 1 : 0);
    }
    waitpid(child, &state, 0);
    ck_assert_int_eq(state, 0);
    fs_route_store_close(store);
}
END_TEST

#define THREADS 4
#define EACH    500

typedef struct writer_t {
    fs_route_store_t *store;
    unsigned from;
} writer_t;

static void *write_some(void *baton)
{
    const writer_t *writer = baton;

    for (unsigned i = 0; i < EACH; i++) {
        fs_route_visitor_t is,
            made = visitor(writer->from + i, "web1", i % 2 ? "web2" : "web3", 1, 0);

        fs_route_store_claim(writer->store, &made, NOW, NULL, NULL);
        fs_route_store_seen(writer->store, made.id, NOW, IDLE, &is, NULL);
        fs_route_store_find(writer->store, made.id, &is, NULL);
    }
    return NULL;
}

static void write_in_threads(unsigned from)
{
    fs_route_limits_t limits = {.unconfirmed = 0};
    fs_route_store_t *store;
    pthread_t threads[THREADS];
    writer_t writers[THREADS];

    if (fs_route_store_open(&store, dir, "web1", &limits, NULL))
        _exit(2);
    for (unsigned i = 0; i < THREADS; i++) {
        writers[i] = (writer_t){store, from + i * EACH};
        pthread_create(&threads[i], NULL, write_some, &writers[i]);
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    fs_route_store_close(store);
    _exit(0);
}

START_TEST(several_processes_with_threads)
{
    fs_route_store_t *store;
    fs_route_total_t is;
    pid_t children[3];
    int state;

    for (unsigned i = 0; i < 3; i++)
        if (!(children[i] = fork()))
            write_in_threads(i * THREADS * EACH);
    for (unsigned i = 0; i < 3; i++) {
        waitpid(children[i], &state, 0);
        ck_assert_int_eq(state, 0);
    }
    store = open_as("web1", NULL);
    is = total(store, "web1");
    ck_assert_uint_eq(is.primaries, 3 * THREADS * EACH);
    ck_assert_uint_eq(is.unconfirmed, 0);
    ck_assert_uint_eq(is.sequence, 3 * THREADS * EACH);
    ck_assert_uint_eq(total(store, "web2").alternates, 3 * THREADS * EACH / 2);
    fs_route_store_close(store);
}
END_TEST

/* Killed at any moment, the counts agree with what is there, and the next one can write. */
START_TEST(a_killed_writer_leaves_the_last_commit)
{
    fs_route_limits_t none = {.unconfirmed = 0};
    heard_t heard = {.count = 0};

    for (unsigned round = 0; round < 5; round++) {
        fs_route_store_t *store;
        fs_route_total_t is;
        uint64_t before;
        pid_t child;

        store = open_as("web1", NULL);
        before = total(store, "web1").primaries;
        child = fork();
        if (child == 0) {
            fs_route_store_t *own;

            if (fs_route_store_open(&own, dir, "web1", &none, NULL))
                _exit(2);
            for (unsigned i = 0;; i++)
                claim(own, round * 100000 + i, "web1", "web2", 1, 1, NOW);
        }
        while (total(store, "web1").primaries < before + 20)
            usleep(100);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        /* What it had just committed may be seen only once somebody writes again. */
        is = total(store, "web1");
        claim(store, 90000000 + round, "web1", "web2", 1, 1, NOW);
        ck_assert_uint_ge(total(store, "web1").primaries, is.primaries + 1);
        ck_assert_uint_le(total(store, "web1").primaries, is.primaries + 2);
        is = total(store, "web1");
        ck_assert_uint_eq(is.primaries, is.sequence);
        ck_assert_uint_eq(is.primaries, total(store, "web2").alternates);
        heard.count = 0;
        ck_assert_int_eq(
            fs_route_store_each(store, "web1", NULL, FS_ROUTE_NEWS_MOST, 1, hear, &heard, NULL), 0);
        ck_assert_uint_eq(heard.count,
                          is.primaries < FS_ROUTE_NEWS_MOST ? is.primaries : FS_ROUTE_NEWS_MOST);
        fs_route_store_close(store);
    }
}
END_TEST

static Suite *store_suite(void)
{
    Suite *suite = suite_create("route store");
    TCase *tests = tcase_create("store");

    tcase_set_timeout(tests, 120);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, a_visitor_is_known_and_confirmed_when_it_returns);
    tcase_add_test(tests, seen_is_written_now_and_then);
    tcase_add_test(tests, the_later_statement_holds);
    tcase_add_test(tests, names_that_are_none_are_refused);
    tcase_add_test(tests, who_came_once_is_bounded_and_forgotten);
    tcase_add_test(tests, idle_visitors_are_forgotten_bit_by_bit);
    tcase_add_test(tests, a_token_counts_once);
    tcase_add_test(tests, the_log_tells_what_changed);
    tcase_add_test(tests, who_came_once_is_told_to_nobody);
    tcase_add_test(tests, what_others_say_is_merged);
    tcase_add_test(tests, a_full_copy_removes_what_is_not_in_it);
    tcase_add_test(tests, two_that_know_the_same_have_the_same_digest);
    tcase_add_test(tests, who_was_taken_over_is_given_back_when_idle);
    tcase_add_test(tests, visitors_outlive_a_restart_but_not_an_unclean_boot);
    tcase_add_test(tests, a_damaged_store_is_set_aside);
    tcase_add_test(tests, a_store_of_before_a_fork_refuses);
    tcase_add_test(tests, several_processes_with_threads);
    tcase_add_test(tests, a_killed_writer_leaves_the_last_commit);
    suite_add_tcase(suite, tests);
    return suite;
}

FS_TEST_MAIN(store_suite)
