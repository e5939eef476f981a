/* SPDX-License-Identifier: Apache-2.0 */
/* The store: what many processes write at once, what happens when they are killed, when it is full.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include "fs_test_session_store.h"

/* --- one process ---------------------------------------------------------------------------------
 */

START_TEST(what_is_saved_is_read)
{
    fs_session_record_t record;
    fs_session_note_t note;

    ck_assert_ptr_null(value_in(1, "a", NOW));
    SAVED(1, "a", "1", NOW);
    SAVED(1, "b", "2", NOW);
    SAVED(2, "a", "other", NOW);
    reopen(&limits);
    ck_assert_str_eq(value_in(1, "a", NOW), "1");
    ck_assert_str_eq(value_in(1, "b", NOW), "2");
    ck_assert_str_eq(value_in(2, "a", NOW), "other");
    ck_assert_int_eq(read_record(1, NOW, &record, &note), APR_SUCCESS);
    ck_assert_str_eq(record.owner.name, "web1:80");
    ck_assert_mem_eq(note.seal, seal, sizeof(seal));
    ck_assert_uint_eq(note.version.sequence, NOW + 2);
    ck_assert_uint_eq(count().sessions, 2);
    ck_assert_ptr_null(value_in(1, "a", NOW + 60 * SEC));
}
END_TEST

START_TEST(an_unknown_session_is_not_made_by_chance)
{
    fs_session_change_t one = change("a", "1");
    fs_session_save_t only = {key_of(1), &one, 1, NULL, NULL, 0};
    fs_session_record_t record;

    ck_assert_int_eq(fs_session_store_save(store, &only, NOW, pool, &record, &result),
                     APR_NOTFOUND);
    ck_assert_uint_eq(count().sessions, 0);
}
END_TEST

static int look_within(void *baton, const fs_session_key_t *key, const fs_session_note_t *note,
                       const void *bytes, size_t length)
{
    (void)key;
    (void)note;
    ck_assert_int_ne(read_record(2, NOW, baton, NULL), APR_SUCCESS);
    ck_assert_int_eq(fs_session_record_decode(baton, bytes, length, pool, &result), APR_SUCCESS);
    return 0;
}

START_TEST(a_look_within_a_look_is_refused_and_harms_nothing)
{
    fs_session_key_t key = key_of(1);
    fs_session_record_t record;

    SAVED(1, "a", "1", NOW);
    SAVED(2, "a", "2", NOW);
    for (unsigned i = 0; i < 3; i++) {
        ck_assert_int_eq(fs_session_store_look(store, &key, look_within, &record, &result),
                         APR_SUCCESS);
        ck_assert_str_eq(value_of(&record, "a", pool), "1");
        ck_assert_str_eq(value_in(2, "a", NOW), "2");
    }
}
END_TEST

START_TEST(sessions_expire_in_small_steps)
{
    unsigned removed, total = 0;

    for (uint64_t i = 0; i < 100; i++)
        SAVED(i, "a", "1", NOW + (fs_usec_t)i);
    SAVED(5, "a", "2", NOW + 30 * SEC);
    ck_assert_int_eq(fs_session_store_expire(store, NOW + 59 * SEC, 10, &removed, &result),
                     APR_SUCCESS);
    ck_assert_uint_eq(removed, 0);
    for (unsigned i = 0; i < 10; i++) {
        ck_assert_int_eq(fs_session_store_expire(store, NOW + 61 * SEC, 10, &removed, &result),
                         APR_SUCCESS);
        ck_assert_uint_le(removed, 10);
        total += removed;
    }
    ck_assert_uint_eq(total, 99);
    ck_assert_uint_eq(count().dirty, 1);
    ck_assert_str_eq(value_in(5, "a", NOW + 61 * SEC), "2");
    fs_session_store_expire(store, NOW + 91 * SEC, 10, &removed, &result);
    ck_assert_uint_eq(removed, 1);
    ck_assert_uint_eq(count().sessions, 0);
    ck_assert_uint_eq(count().dirty, 0);
}
END_TEST

START_TEST(an_expired_session_begins_anew)
{
    SAVED(1, "a", "1", NOW);
    confirm(1, NOW);
    SAVED(1, "b", "2", NOW + 100 * SEC);
    ck_assert_ptr_null(value_in(1, "a", NOW + 100 * SEC));
    ck_assert_str_eq(value_in(1, "b", NOW + 100 * SEC), "2");
    ck_assert_uint_eq(count().safe, 0);
    ck_assert_uint_eq(count().dirty, 1);
}
END_TEST

/* --- login and logout ----------------------------------------------------------------------------
 */

START_TEST(an_old_id_leads_to_the_new_one)
{
    fs_session_change_t login = change("user", "alice");
    fs_session_save_t at_login = {key_of(1), &login, 1, NULL, NULL, 0};
    fs_session_target_t target = {key_of(2), {9}, NOW + 10 * SEC};
    fs_session_record_t record;
    fs_session_note_t note;

    SAVED(1, "cart", "3", NOW);
    ck_assert_int_eq(fs_session_store_move(store, &at_login, &target, NOW, pool, &record, &result),
                     APR_SUCCESS);
    ck_assert_str_eq(value_of(&record, "user", pool), "alice");
    SAVED(1, "late", "kept", NOW + SEC); /* a parallel request with the old cookie */
    ck_assert_int_eq(read_record(1, NOW + SEC, &record, NULL), APR_SUCCESS);
    ck_assert_int_eq(record.state, FS_SESSION_ALIAS);
    ck_assert_str_eq(value_in(2, "late", NOW + SEC), "kept");
    ck_assert_str_eq(value_in(2, "cart", NOW + SEC), "3");
    ck_assert_int_eq(read_record(2, NOW, &record, &note), APR_SUCCESS);
    ck_assert_mem_eq(note.seal, target.seal, sizeof(target.seal));
    ck_assert_int_eq(read_record(1, NOW + 10 * SEC, &record, NULL), APR_NOTFOUND);
}
END_TEST

/* Another host worked on under the old id while this one logged the visitor in. */
START_TEST(a_copy_of_the_old_id_goes_to_the_new_one)
{
    fs_session_writer_t other = {99, "web2:80", NOW};
    fs_session_change_t login = change("user", "alice"), there = change("there", "2");
    fs_session_save_t at_login = {key_of(1), &login, 1, NULL, NULL, 0};
    fs_session_target_t target = {key_of(2), {9}, NOW + 10 * SEC};
    fs_session_key_t old = key_of(1), moved = key_of(2);
    fs_session_record_t copy, record;
    fs_session_note_t note;

    SAVED(1, "cart", "3", NOW);
    ck_assert_int_eq(read_record(1, NOW, &copy, NULL), APR_SUCCESS);
    ck_assert_int_eq(fs_session_apply(&copy, &there, 1, &other, pool, &result), APR_SUCCESS);
    ck_assert_int_eq(fs_session_store_move(store, &at_login, &target, NOW, pool, &record, &result),
                     APR_SUCCESS);
    ck_assert_int_eq(fs_session_store_merge(store, &old, &copy, seal, NOW, pool, &record, &result),
                     APR_SUCCESS);
    ck_assert_str_eq(value_in(2, "there", NOW), "2");
    ck_assert_str_eq(value_in(2, "user", NOW), "alice");
    ck_assert_int_eq(read_record(2, NOW, &record, &note), APR_SUCCESS);
    ck_assert_mem_eq(note.seal, target.seal, sizeof(target.seal));
    ck_assert_int_eq(read_record(1, NOW, &record, NULL), APR_SUCCESS);
    ck_assert_int_eq(record.state, FS_SESSION_ALIAS);
    ck_assert_int_eq(forget(&moved), APR_SUCCESS);
    ck_assert_int_eq(fs_session_store_merge(store, &old, &copy, seal, NOW, pool, &record, &result),
                     APR_SUCCESS);
    ck_assert_int_eq(record.state, FS_SESSION_ALIAS);
    ck_assert_uint_eq(count().sessions, 1);
}
END_TEST

START_TEST(an_ended_session_takes_nothing)
{
    fs_session_record_t stale, record;
    fs_session_key_t key = key_of(1);

    SAVED(1, "user", "alice", NOW);
    ck_assert_int_eq(read_record(1, NOW, &stale, NULL), APR_SUCCESS);
    ck_assert_int_eq(fs_session_store_end(store, &key, seal, NOW, pool, &result), APR_SUCCESS);
    ck_assert_int_ne(save(1, "late", "lost", NOW), APR_SUCCESS);
    ck_assert_str_eq(result.problem, "FS1205");
    ck_assert_int_eq(fs_session_store_merge(store, &key, &stale, seal, NOW, pool, &record, &result),
                     APR_SUCCESS);
    ck_assert_int_eq(record.state, FS_SESSION_ENDED);
    key = key_of(77); /* known elsewhere only */
    ck_assert_int_eq(fs_session_store_end(store, &key, seal, NOW, pool, &result), APR_SUCCESS);
    ck_assert_int_eq(read_record(77, NOW, &record, NULL), APR_SUCCESS);
    ck_assert_int_eq(record.state, FS_SESSION_ENDED);
}
END_TEST

/* A fork from elsewhere: both sides' changes are there, under a version of their own. */
START_TEST(a_copy_from_elsewhere_is_merged)
{
    fs_session_writer_t other = {99, "web2:80", NOW};
    fs_session_change_t one = change("there", "2");
    fs_session_record_t copy, record, again;
    fs_session_key_t key = key_of(1);

    SAVED(1, "base", "0", NOW);
    ck_assert_int_eq(read_record(1, NOW, &copy, NULL), APR_SUCCESS);
    SAVED(1, "here", "1", NOW);
    ck_assert_int_eq(fs_session_take_over(&copy, &other, &result), APR_SUCCESS);
    ck_assert_int_eq(fs_session_apply(&copy, &one, 1, &other, pool, &result), APR_SUCCESS);
    ck_assert_int_eq(fs_session_store_merge(store, &key, &copy, seal, NOW, pool, &record, &result),
                     APR_SUCCESS);
    ck_assert_str_eq(value_in(1, "here", NOW), "1");
    ck_assert_str_eq(value_in(1, "there", NOW), "2");
    ck_assert_str_eq(record.owner.name, "web2:80");
    ck_assert_int_gt(fs_session_stamp_compare(&record.version, &copy.version), 0);
    ck_assert_int_eq(fs_session_store_merge(store, &key, &copy, seal, NOW, pool, &again, &result),
                     APR_SUCCESS);
    ck_assert_int_eq(fs_session_stamp_compare(&record.version, &again.version), 0);
}
END_TEST

/* --- to the bank ---------------------------------------------------------------------------------
 */

static int note_key(void *baton, const fs_session_key_t *key, const fs_session_note_t *note,
                    const void *bytes, size_t length)
{
    *(fs_session_key_t *)baton = *key;
    return 0;
}

/* How many are to be sent now; `*last` the last of them, `*next` when to ask again. */
static unsigned due(fs_usec_t now, fs_session_key_t *last, fs_usec_t *next)
{
    unsigned shown;

    ck_assert_int_eq(fs_session_store_due(store, now, 100, note_key, last, &shown, next, &result),
                     APR_SUCCESS);
    return shown;
}

/* As the source document has it: sent once all pending updates are done, or at the flush time. */
START_TEST(a_copy_waits_for_pending_updates)
{
    fs_session_key_t key = key_of(1), last;
    fs_usec_t next;

    ck_assert_uint_eq(due(NOW, &last, &next), 0);
    ck_assert_int_eq(next, INT64_MAX);
    fs_session_store_begin(store, &key);
    fs_session_store_begin(store, &key);
    SAVED(1, "a", "1", NOW);
    fs_session_store_done(store, &key);
    ck_assert_uint_eq(due(NOW, &last, &next), 0);
    ck_assert_int_eq(next, NOW + SEC);
    SAVED(1, "b", "2", NOW + SEC / 2);
    fs_session_store_done(store, &key);
    ck_assert_uint_eq(due(NOW + SEC / 2, &last, &next), 1);
    ck_assert_int_eq(fs_session_key_compare(&last, &key), 0);
    fs_session_store_begin(store, &key); /* of a process that is killed */
    ck_assert_uint_eq(due(NOW + SEC - 1, &last, &next), 0);
    ck_assert_uint_eq(due(NOW + SEC, &last, &next), 1);
    ck_assert_uint_eq(due(NOW + SEC, &last, &next), 1);
    confirm(1, NOW + SEC);
    ck_assert_uint_eq(due(NOW + 2 * SEC, &last, &next), 0);
    SAVED(1, "a", "2", NOW + 3 * SEC); /* what the killed one left is forgotten */
    ck_assert_uint_eq(due(NOW + 3 * SEC, &last, &next), 1);
}
END_TEST

START_TEST(what_changed_on_the_way_is_sent_again)
{
    fs_session_key_t key = key_of(1), last;
    fs_session_record_t record;
    fs_session_note_t sent, note;
    fs_usec_t next;

    SAVED(1, "a", "1", NOW);
    ck_assert_int_eq(read_record(1, NOW, &record, &sent), APR_SUCCESS);
    SAVED(1, "a", "2", NOW + SEC);
    confirm_version(&key, &sent.version, 2, NOW + SEC);
    ck_assert_int_eq(read_record(1, NOW, &record, &note), APR_SUCCESS);
    ck_assert_uint_eq(note.copies, 0);
    ck_assert_int_eq(note.dirty_since, NOW + SEC);
    confirm_version(&key, &note.version, 1, NOW + SEC);
    ck_assert_uint_eq(due(NOW + SEC, &last, &next), 1);
    confirm(1, NOW + 2 * SEC);
    ck_assert_uint_eq(count().safe, 1);
    ck_assert_uint_eq(count().dirty, 0);
}
END_TEST

START_TEST(sessions_are_listed_in_parts)
{
    fs_session_key_t last = {{0}}, before;
    unsigned shown, total = 0;

    for (uint64_t i = 0; i < 25; i++)
        SAVED(i, "a", "1", NOW);
    do {
        before = last;
        ck_assert_int_eq(fs_session_store_each(store, total ? &before : NULL, 10, note_key, &last,
                                               &shown, &result),
                         APR_SUCCESS);
        if (total && shown)
            ck_assert_int_gt(fs_session_key_compare(&last, &before), 0);
        total += shown;
    } while (shown);
    ck_assert_uint_eq(total, 25);
}
END_TEST

/* --- limits --------------------------------------------------------------------------------------
 */

START_TEST(what_is_not_safe_is_never_thrown_out)
{
    fs_session_limits_t few = limits;

    few.sessions = 3;
    reopen(&few);
    for (uint64_t i = 0; i < 3; i++)
        SAVED(i, "a", "1", NOW + (fs_usec_t)i);
    ck_assert_int_eq(save(3, "a", "1", NOW), APR_ENOSPC);
    ck_assert_str_eq(result.problem, "FS1213");
    SAVED(0, "b", "2", NOW); /* one that is there goes on */
    confirm(2, NOW + 5);
    confirm(1, NOW + 6);
    SAVED(3, "a", "1", NOW + 7);
    ck_assert_ptr_null(value_in(2, "a", NOW)); /* safe for the longest */
    ck_assert_str_eq(value_in(1, "a", NOW), "1");
    confirm(3, NOW + 8);
    SAVED(4, "a", "1", NOW + 61 * SEC); /* 0 has expired: no safe one need go */
    ck_assert_ptr_null(value_in(0, "a", NOW));
    ck_assert_str_eq(value_in(3, "a", NOW), "1");
    ck_assert_uint_eq(count().sessions, 3);
    ck_assert_int_eq(save(5, "a", "1", NOW + 61 * SEC), APR_SUCCESS);
}
END_TEST

START_TEST(a_session_that_is_too_large_is_refused)
{
    fs_session_limits_t small = limits;
    char *large = apr_palloc(pool, 5001);

    memset(large, 'x', 5000);
    large[5000] = '\0';
    small.session_bytes = 4000;
    reopen(&small);
    SAVED(1, "a", "1", NOW);
    ck_assert_int_eq(save(1, "b", large, NOW), APR_ENOSPC);
    ck_assert_str_eq(result.problem, "FS1214");
    ck_assert_str_eq(value_in(1, "a", NOW), "1");
    ck_assert_ptr_null(value_in(1, "b", NOW));
}
END_TEST

START_TEST(bytes_are_limited_too)
{
    fs_session_limits_t small = limits;
    char *large = apr_pcalloc(pool, 20001);
    unsigned stored = 0;

    memset(large, 'x', 20000);
    small.store_bytes = 1 << 20;
    reopen(&small);
    while (stored < 100 && save(stored, "a", large, NOW) == APR_SUCCESS)
        stored++;
    ck_assert_str_eq(result.problem, "FS1213");
    ck_assert_uint_gt(stored, 30);
    ck_assert_uint_le(count().bytes, 1 << 20);
    confirm(0, NOW);
    SAVED(stored, "a", large, NOW);
    ck_assert_ptr_null(value_in(0, "a", NOW));
}
END_TEST

/* The file grows from 64 MiB, under a process that has it open and reads. */
START_TEST(the_map_grows)
{
    fs_session_limits_t large = limits;
    char *value = apr_pcalloc(pool, 200001);
    apr_pool_t *round;
    pid_t child;
    int state;

    memset(value, 'x', 200000);
    large.store_bytes = UINT64_C(1) << 30;
    reopen(&large);
    SAVED(1000, "a", "1", NOW);
    child = fork();
    ck_assert_int_ge(child, 0);
    if (!child) {
        fs_session_store_t *own = open_store(&large);

        for (uint64_t i = 0; i < 400; i++) {
            apr_pool_create(&round, NULL);
            pool = round;
            if (save_in(own, i, "a", value, NOW) != APR_SUCCESS)
                _exit(1);
            apr_pool_destroy(round);
        }
        fs_session_store_close(own);
        _exit(0);
    }
    ck_assert_int_eq(waitpid(child, &state, 0), child);
    ck_assert_int_eq(state, 0);
    ck_assert_str_eq(value_in(399, "a", NOW), value);
    SAVED(1000, "a", "2", NOW);
    ck_assert_uint_gt(count().bytes, 64 << 20);
}
END_TEST

/* --- many processes ------------------------------------------------------------------------------
 */

static void wait_all(pid_t *children, unsigned number)
{
    for (unsigned i = 0; i < number; i++) {
        int state;

        ck_assert_int_eq(waitpid(children[i], &state, 0), children[i]);
        ck_assert_int_eq(state, 0);
    }
}

START_TEST(eight_processes_lose_no_change)
{
    pid_t children[8];

    SAVED(1, "a", "1", NOW);
    for (unsigned c = 0; c < 8; c++) {
        children[c] = fork();
        ck_assert_int_ge(children[c], 0);
        if (!children[c]) {
            fs_session_store_t *own = open_store(&limits);

            for (unsigned i = 0; i < 50; i++)
                if (save_in(own, 1, apr_psprintf(pool, "c%u-%u", c, i), "x", NOW))
                    _exit(1);
            fs_session_store_close(own);
            _exit(0);
        }
    }
    wait_all(children, 8);
    for (unsigned c = 0; c < 8; c++)
        for (unsigned i = 0; i < 50; i++)
            ck_assert_pstr_eq(value_in(1, apr_psprintf(pool, "c%u-%u", c, i), NOW), "x");
}
END_TEST

/* Saves a rising number, and tells each one that is saved through the pipe, until it is killed. */
static void save_until_killed(unsigned writer, int fd)
{
    fs_session_store_t *own = open_store(&limits);
    apr_pool_t *round;

    for (unsigned i = 1;; i++) {
        apr_pool_create(&round, NULL);
        pool = round;
        if (save_in(own, 1, apr_psprintf(pool, "w%u", writer), apr_psprintf(pool, "%u", i), NOW) ||
            write(fd, &i, sizeof(i)) != (ssize_t)sizeof(i))
            _exit(1);
        apr_pool_destroy(round);
    }
}

/* kill -9 at any moment: what was saved is there, nobody waits for the dead, the store is whole. */
START_TEST(killed_processes_lose_nothing)
{
    uint64_t seed = 1;

    SAVED(1, "a", "1", NOW);
    for (unsigned run = 0; run < 60; run++) {
        unsigned acknowledged[2] = {0}, number;
        pid_t children[2];
        int pipes[2][2], state;

        for (unsigned c = 0; c < 2; c++) {
            ck_assert_int_eq(pipe(pipes[c]), 0);
            children[c] = fork();
            ck_assert_int_ge(children[c], 0);
            if (!children[c])
                save_until_killed(c, pipes[c][1]);
            close(pipes[c][1]);
        }
        for (unsigned c = 0; c < 2; c++) {
            unsigned wanted = 1 + below(&seed, 40);

            while (acknowledged[c] < wanted &&
                   read(pipes[c][0], &number, sizeof(number)) == (ssize_t)sizeof(number))
                acknowledged[c] = number;
            ck_assert_int_eq(kill(children[c], SIGKILL), 0);
            ck_assert_int_eq(waitpid(children[c], &state, 0), children[c]);
            ck_assert(WIFSIGNALED(state));
            while (read(pipes[c][0], &number, sizeof(number)) == (ssize_t)sizeof(number))
                acknowledged[c] = number;
            close(pipes[c][0]);
        }
        SAVED(1, "a", apr_psprintf(pool, "%u", run), NOW);
        for (unsigned c = 0; c < 2; c++) {
            const char *value = value_in(1, apr_psprintf(pool, "w%u", c), NOW);

            ck_assert_ptr_nonnull(value);
            ck_assert_int_ge(atoi(value), (int)acknowledged[c]);
            ck_assert_int_le(atoi(value), (int)acknowledged[c] + 1);
        }
    }
    fs_session_store_close(store);
    prepare();
    ck_assert_str_eq(result.problem, "");
    store = open_store(&limits);
}
END_TEST

START_TEST(a_store_is_not_used_after_a_fork)
{
    pid_t child = fork();
    int state;

    ck_assert_int_ge(child, 0);
    if (!child) {
        apr_status_t status = save(1, "a", "1", NOW);

        fs_session_store_close(store);
        _exit(status != APR_SUCCESS && !strcmp(result.problem, "FS1212") ? 0 : 1);
    }
    ck_assert_int_eq(waitpid(child, &state, 0), child);
    ck_assert_int_eq(state, 0);
    SAVED(1, "a", "1", NOW);
}
END_TEST

/* --- damage --------------------------------------------------------------------------------------
 */

#define FILLED (160 << 10) /* bytes that fill(500) uses at least; the rest of the file is empty */

static void fill(unsigned number)
{
    for (uint64_t i = 0; i < number; i++)
        SAVED(i, "key", "some value that takes some room in the store's pages", NOW);
}

static void scribble(uint64_t seed)
{
    char *path = apr_pstrcat(pool, directory, "/data.mdb", NULL);
    int fd = open(path, O_RDWR);

    ck_assert_int_ge(fd, 0);
    for (unsigned i = 0; i < 200; i++) {
        uint64_t junk[8] = {chance(&seed), chance(&seed), chance(&seed)};

        ck_assert_int_gt(pwrite(fd, junk, sizeof(junk), (off_t)below(&seed, FILLED)), 0);
    }
    close(fd);
}

/* Promise 12. Whatever the file has become: a clear message, a store that works, and no crash. */
START_TEST(a_damaged_store_is_replaced)
{
    for (uint64_t seed = 0; seed < 12; seed++) {
        char *path = apr_pstrcat(pool, directory, "/data.mdb", NULL);

        fill(500);
        fs_session_store_close(store);
        if (seed % 3 == 0)
            ck_assert_int_eq(truncate(path, (off_t)(seed * 7000)), 0);
        else
            scribble(seed);
        prepare();
        ck_assert_str_eq(result.problem, "FS1211");
        ck_assert_ptr_nonnull(strstr(result.detail, "damaged"));
        store = open_store(&limits);
        ck_assert_uint_eq(count().sessions, 0);
    }
}
END_TEST

START_TEST(a_store_of_another_boot_is_set_aside_unless_settled)
{
    fs_session_writer_t before = fs_session_store_writer(store, NOW);

    SAVED(1, "a", "1", NOW);
    fs_session_store_close(store);
    ck_assert_int_eq(fs_session_store_settle(directory, NULL, &result), APR_SUCCESS);
    ck_assert_int_eq(
        fs_session_store_prepare(directory, (uid_t)-1, (gid_t)-1, 1, "next boot", &result),
        APR_SUCCESS);
    ck_assert_str_eq(result.problem, "");
    store = open_store(&limits);
    ck_assert_str_eq(value_in(1, "a", NOW), "1");
    ck_assert_uint_eq(fs_session_store_writer(store, NOW).id, before.id);
    fs_session_store_close(store);
    ck_assert_int_eq(
        fs_session_store_prepare(directory, (uid_t)-1, (gid_t)-1, 1, "yet another", &result),
        APR_SUCCESS);
    ck_assert_str_eq(result.problem, "FS1215");
    store = open_store(&limits);
    ck_assert_ptr_null(value_in(1, "a", NOW));
    ck_assert_uint_ne(fs_session_store_writer(store, NOW).id, before.id);
}
END_TEST

/* A graceful restart prepares while children write. */
START_TEST(preparing_again_disturbs_nobody)
{
    SAVED(1, "a", "1", NOW);
    ck_assert_int_eq(fs_session_store_prepare(directory, (uid_t)-1, (gid_t)-1, 0, NULL, &result),
                     APR_SUCCESS);
    SAVED(1, "b", "2", NOW);
    reopen(&limits);
    ck_assert_str_eq(value_in(1, "a", NOW), "1");
    ck_assert_str_eq(value_in(1, "b", NOW), "2");
}
END_TEST

/* root's httpd makes what its children, who are another user, can open. */
START_TEST(a_store_is_made_for_another_user)
{
    const uid_t nobody = 65534;
    pid_t child;
    int state;

    if (geteuid() != 0)
        return;
    fs_session_store_close(store);
    store = NULL;
    fs_test_rmdir(directory);
    directory = fs_test_mkdir();
    ck_assert_msg(fs_session_store_prepare(directory, nobody, nobody, 1, NULL, &result) ==
                      APR_SUCCESS,
                  "%s", result.detail);
    child = fork();
    ck_assert_int_ge(child, 0);
    if (!child) {
        if (setgid(nobody) || setuid(nobody))
            _exit(2);
        store = open_store(&limits);
        _exit(save(1, "a", "1", NOW) == APR_SUCCESS ? 0 : 1);
    }
    ck_assert_int_eq(waitpid(child, &state, 0), child);
    ck_assert_int_eq(state, 0);
    store = open_store(&limits);
    ck_assert_str_eq(value_in(1, "a", NOW), "1");
}
END_TEST

START_TEST(what_is_no_store_is_told)
{
    fs_session_store_t *none;

    ck_assert_int_ne(fs_session_store_open(&none, "/nonexistent/sessions", "w", &limits, &result),
                     APR_SUCCESS);
    ck_assert_str_eq(result.problem, "FS1210");
    ck_assert_ptr_null(none);
}
END_TEST

static Suite *session_store_suite(void)
{
    Suite *suite = suite_create("session store");
    TCase *one = tcase_create("one"), *bank = tcase_create("bank"), *full = tcase_create("limits");
    TCase *many = tcase_create("processes"), *damage = tcase_create("damage");
    TCase *all[] = {one, bank, full, many, damage};

    for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++) {
        tcase_add_checked_fixture(all[i], setup, teardown);
        tcase_set_timeout(all[i], 240);
        suite_add_tcase(suite, all[i]);
    }
    tcase_add_test(one, what_is_saved_is_read);
    tcase_add_test(one, an_unknown_session_is_not_made_by_chance);
    tcase_add_test(one, a_look_within_a_look_is_refused_and_harms_nothing);
    tcase_add_test(one, sessions_expire_in_small_steps);
    tcase_add_test(one, an_expired_session_begins_anew);
    tcase_add_test(one, an_old_id_leads_to_the_new_one);
    tcase_add_test(one, a_copy_of_the_old_id_goes_to_the_new_one);
    tcase_add_test(one, an_ended_session_takes_nothing);
    tcase_add_test(one, a_copy_from_elsewhere_is_merged);
    tcase_add_test(bank, a_copy_waits_for_pending_updates);
    tcase_add_test(bank, what_changed_on_the_way_is_sent_again);
    tcase_add_test(bank, sessions_are_listed_in_parts);
    tcase_add_test(full, what_is_not_safe_is_never_thrown_out);
    tcase_add_test(full, a_session_that_is_too_large_is_refused);
    tcase_add_test(full, bytes_are_limited_too);
    tcase_add_test(full, the_map_grows);
    tcase_add_test(many, eight_processes_lose_no_change);
    tcase_add_test(many, killed_processes_lose_nothing);
    tcase_add_test(many, a_store_is_not_used_after_a_fork);
    tcase_add_test(damage, a_damaged_store_is_replaced);
    tcase_add_test(damage, a_store_of_another_boot_is_set_aside_unless_settled);
    tcase_add_test(damage, preparing_again_disturbs_nobody);
    tcase_add_test(damage, a_store_is_made_for_another_user);
    tcase_add_test(damage, what_is_no_store_is_told);
    return suite;
}

FS_TEST_MAIN(session_store_suite)
