/* SPDX-License-Identifier: Apache-2.0 */
/* A store in a directory of its own for each test, and calls of it in one line. */
#ifndef FS_TEST_SESSION_STORE_H
#define FS_TEST_SESSION_STORE_H

#include "fs_test.h"
#include "fs_test_session.h"
#include "session/fs_session_store.h"

static apr_pool_t *pool;
static fs_result_t result;
static char *directory;
static fs_session_store_t *store;
static const uint8_t seal[FS_SESSION_SEAL_BYTES] = {7};

static const fs_session_limits_t limits = {0, 1 << 20, UINT64_C(256) << 20, SEC};

static inline void prepare(void)
{
    ck_assert_msg(fs_session_store_prepare(directory, (uid_t)-1, (gid_t)-1, 1, NULL, &result) ==
                      APR_SUCCESS,
                  "%s", result.detail);
}

static inline fs_session_store_t *open_store(const fs_session_limits_t *with)
{
    fs_session_store_t *opened;

    ck_assert_msg(fs_session_store_open(&opened, directory, "web1:80", with, &result) ==
                      APR_SUCCESS,
                  "%s", result.detail);
    return opened;
}

static inline void setup(void)
{
    apr_initialize();
    apr_pool_create(&pool, NULL);
    directory = fs_test_mkdir();
    prepare();
    ck_assert_str_eq(result.problem, "");
    store = open_store(&limits);
}

static inline void teardown(void)
{
    fs_session_store_close(store);
    fs_test_rmdir(directory);
    apr_pool_destroy(pool);
    apr_terminate();
}

static inline void reopen(const fs_session_limits_t *with)
{
    fs_session_store_close(store);
    store = open_store(with);
}

static inline apr_status_t save_in(fs_session_store_t *in, uint64_t number, const char *key,
                                   const char *value, fs_usec_t now)
{
    fs_session_writer_t writer = fs_session_store_writer(in, now);
    fs_session_change_t one = change(key, value);
    fs_session_record_t fresh, record;
    fs_session_save_t save = {key_of(number), &one, 1, &fresh, seal, 0};

    fs_session_begin(&fresh, &writer, 0, 60 * SEC);
    return fs_session_store_save(in, &save, now, pool, &record, &result);
}

static inline apr_status_t save(uint64_t number, const char *key, const char *value, fs_usec_t now)
{
    return save_in(store, number, key, value, now);
}

#define SAVED(...) ck_assert_msg(save(__VA_ARGS__) == APR_SUCCESS, "%s", result.detail)

static inline apr_status_t read_record(uint64_t number, fs_usec_t now, fs_session_record_t *record,
                                       fs_session_note_t *note)
{
    fs_session_key_t key = key_of(number);

    return fs_session_store_read(store, &key, now, pool, record, note, &result);
}

/* A value, or NULL if it or the session isn't there. */
static inline const char *value_in(uint64_t number, const char *key, fs_usec_t now)
{
    fs_session_record_t record;
    apr_status_t status = read_record(number, now, &record, NULL);

    ck_assert(status == APR_SUCCESS || status == APR_NOTFOUND);
    return status == APR_SUCCESS ? value_of(&record, key, pool) : NULL;
}

/* Says that so many of two copies of that version are on the bank. */
static inline void confirm_version(const fs_session_key_t *key, const fs_session_stamp_t *version,
                                   uint32_t copies, fs_usec_t now)
{
    fs_session_confirmed_t confirmed = {*key, *version, copies};

    ck_assert_int_eq(fs_session_store_confirm(store, &confirmed, 1, 2, now, &result), APR_SUCCESS);
}

static inline void confirm(uint64_t number, fs_usec_t now)
{
    fs_session_key_t key = key_of(number);
    fs_session_record_t record;
    fs_session_note_t note;

    ck_assert_int_eq(read_record(number, now, &record, &note), APR_SUCCESS);
    confirm_version(&key, &note.version, 2, now);
}

static inline fs_session_counts_t count(void)
{
    fs_session_counts_t counts;

    ck_assert_int_eq(fs_session_store_count(store, &counts, &result), APR_SUCCESS);
    return counts;
}

/* A host's part in a session that it handed over ends. */
static inline apr_status_t forget(const fs_session_key_t *key)
{
    fs_session_record_t record;
    apr_status_t status =
        fs_session_store_release(store, key, "web2:80", NOW + SEC, pool, &record, &result);

    return status == APR_SUCCESS ? fs_session_store_forget(store, key, &record.version, &result)
                                 : status;
}

#endif
