/* SPDX-License-Identifier: Apache-2.0 */
/* What an Apache user would take instead of an image, each in its fastest usual way. */
#include "bench_image.h"

#include <apr_hash.h>
#include <apr_strings.h>
#include <apr_file_info.h>
#include <apr_file_io.h>
#include <apr_thread_mutex.h>
#include <cdb.h>
#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- tinycdb: mapped, no copy -------------------------------------------------------------------
 */

static void *cdb_store_open(const bench_rows_t *rows)
{
    struct cdb *store = malloc(sizeof(*store));
    struct cdb_make make;
    char path[512], key[BENCH_KEY + 1], value[BENCH_VALUE + 1];
    int fd;

    snprintf(path, sizeof(path), "%s/cdb", rows->dir);
    fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    cdb_make_start(&make, fd);
    for (unsigned i = 0; i < rows->count; i++) {
        bench_key(key, i);
        bench_value(rows, i, value);
        if (cdb_make_add(&make, key, BENCH_KEY, value, BENCH_VALUE))
            bench_fail("cdb: cannot add");
    }
    if (cdb_make_finish(&make) || cdb_init(store, fd))
        bench_fail("cdb: cannot finish");
    return store;
}

static const char *cdb_store_get(void *store, const char *key)
{
    struct cdb *cdb = store;

    if (cdb_find(cdb, key, BENCH_KEY) <= 0)
        return NULL;
    return cdb_get(cdb, cdb_datalen(cdb), cdb_datapos(cdb));
}

static void cdb_store_close(void *store)
{
    int fd = cdb_fileno((struct cdb *)store);

    cdb_free(store);
    close(fd);
    free(store);
}

/* --- LMDB: one read transaction held, no copy ---------------------------------------------------
 */

typedef struct lmdb_store_t {
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
} lmdb_store_t;

static void lmdb_fill(lmdb_store_t *store, const bench_rows_t *rows)
{
    char key[BENCH_KEY + 1], value[BENCH_VALUE + 1];
    int bad = mdb_txn_begin(store->env, NULL, 0, &store->txn) ||
              mdb_dbi_open(store->txn, NULL, 0, &store->dbi);

    for (unsigned i = 0; i < rows->count && !bad; i++) {
        MDB_val k = {BENCH_KEY, key}, v = {BENCH_VALUE, value};

        bench_key(key, i);
        bench_value(rows, i, value);
        bad = mdb_put(store->txn, store->dbi, &k, &v, MDB_APPEND);
    }
    if (bad || mdb_txn_commit(store->txn))
        bench_fail("LMDB: cannot fill");
}

static void *lmdb_store_open(const bench_rows_t *rows)
{
    lmdb_store_t *store = calloc(1, sizeof(*store));
    char path[512];

    snprintf(path, sizeof(path), "%s/lmdb-%u", rows->dir, rows->count);
    if (mdb_env_create(&store->env) || mdb_env_set_mapsize(store->env, (size_t)1 << 30) ||
        mdb_env_open(store->env, path, MDB_NOSUBDIR | MDB_NOSYNC, 0600))
        bench_fail("LMDB: cannot open %s", path);
    lmdb_fill(store, rows);
    if (mdb_txn_begin(store->env, NULL, MDB_RDONLY, &store->txn))
        bench_fail("LMDB: cannot read");
    return store;
}

static const char *lmdb_store_get(void *store, const char *key)
{
    lmdb_store_t *lmdb = store;
    MDB_val k = {BENCH_KEY, (void *)(uintptr_t)key}, v;

    return mdb_get(lmdb->txn, lmdb->dbi, &k, &v) ? NULL : v.mv_data;
}

static void lmdb_store_close(void *store)
{
    lmdb_store_t *lmdb = store;

    mdb_txn_abort(lmdb->txn);
    mdb_env_close(lmdb->env);
    free(lmdb);
}

/* --- apr_hash: a copy in every process ----------------------------------------------------------
 */

typedef struct hash_store_t {
    apr_pool_t *pool, *request;
    apr_hash_t *hash;
    apr_thread_mutex_t *mutex;
    const char *path;
    apr_time_t changed;
    unsigned answers;
} hash_store_t;

static void *hash_store_open(const bench_rows_t *rows)
{
    apr_pool_t *pool;
    hash_store_t *store;
    apr_finfo_t info;
    apr_file_t *file;

    if (apr_pool_create(&pool, NULL))
        bench_fail("apr_hash: no pool");
    store = apr_pcalloc(pool, sizeof(*store));
    store->pool = pool;
    store->hash = apr_hash_make(pool);
    store->path = apr_psprintf(pool, "%s/map", rows->dir);
    if (apr_pool_create(&store->request, pool) ||
        apr_thread_mutex_create(&store->mutex, APR_THREAD_MUTEX_DEFAULT, pool) ||
        apr_file_open(&file, store->path, APR_FOPEN_WRITE | APR_FOPEN_CREATE, APR_OS_DEFAULT,
                      pool) ||
        apr_stat(&info, store->path, APR_FINFO_MIN, pool))
        bench_fail("apr_hash: cannot make %s", store->path);
    store->changed = info.mtime;
    for (unsigned i = 0; i < rows->count; i++) {
        char *key = apr_palloc(pool, BENCH_KEY + 1), *value = apr_palloc(pool, BENCH_VALUE + 1);

        bench_key(key, i);
        bench_value(rows, i, value);
        apr_hash_set(store->hash, key, BENCH_KEY, value);
    }
    return store;
}

static const char *hash_store_get(void *store, const char *key)
{
    return apr_hash_get(((hash_store_t *)store)->hash, key, BENCH_KEY);
}

static void hash_store_close(void *store)
{
    apr_pool_destroy(((hash_store_t *)store)->pool);
}

/*
 * A hit of RewriteMap dbm: for each look-up mod_rewrite asks the file's time, takes a lock, looks
 * in its cache and copies the value to the request's pool (modules/mappers/mod_rewrite.c,
 * lookup_map).
 */
static const char *rewrite_store_get(void *data, const char *key)
{
    hash_store_t *store = data;
    apr_finfo_t info;
    const char *value;

    if (++store->answers % 100 == 0)
        apr_pool_clear(store->request);
    if (apr_stat(&info, store->path, APR_FINFO_MIN, store->request) || info.mtime != store->changed)
        return NULL;
    apr_thread_mutex_lock(store->mutex);
    value = apr_hash_get(store->hash, key, BENCH_KEY);
    if (value)
        value = apr_pstrdup(store->request, value);
    apr_thread_mutex_unlock(store->mutex);
    return value;
}

/* --- memcached over a unix socket ---------------------------------------------------------------
 */

typedef struct memcached_store_t {
    pid_t pid;
    int fd;
    char answer[4096];
} memcached_store_t;

static void send_all(int fd, const char *data, size_t length)
{
    while (length) {
        ssize_t done = write(fd, data, length);

        if (done <= 0 && errno != EINTR)
            bench_fail("memcached: cannot send");
        if (done > 0) {
            data += done;
            length -= (size_t)done;
        }
    }
}

static void memcached_connect(memcached_store_t *store, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    store->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    for (int tries = 0; connect(store->fd, (struct sockaddr *)&address, sizeof(address)); tries++) {
        if (tries == 500)
            bench_fail("memcached: doesn't answer on %s", path);
        usleep(10000);
    }
}

static const char *memcached_store_get(void *data, const char *key)
{
    memcached_store_t *store = data;
    char question[BENCH_KEY + 8];
    size_t used = 0;
    char *line;

    memcpy(question, "get ", 4);
    memcpy(question + 4, key, BENCH_KEY);
    memcpy(question + 4 + BENCH_KEY, "\r\n", 2);
    send_all(store->fd, question, BENCH_KEY + 6);
    do {
        ssize_t got = read(store->fd, store->answer + used, sizeof(store->answer) - 1 - used);

        if (got <= 0)
            bench_fail("memcached: ended");
        used += (size_t)got;
    } while (used < 5 || memcmp(store->answer + used - 5, "END\r\n", 5));
    line = memchr(store->answer, '\n', used);
    return line && line + 1 < store->answer + used ? line + 1 : NULL;
}

static void memcached_fill(memcached_store_t *store, const bench_rows_t *rows)
{
    char line[256], key[BENCH_KEY + 1], value[BENCH_VALUE + 1];

    for (unsigned i = 0; i < rows->count; i++) {
        bench_key(key, i);
        bench_value(rows, i, value);
        send_all(store->fd, line,
                 (size_t)snprintf(line, sizeof(line), "set %s 0 0 %d noreply\r\n%s\r\n", key,
                                  BENCH_VALUE, value));
    }
    bench_key(key, rows->count - 1);
    if (!memcached_store_get(store, key))
        bench_fail("memcached: lost the last key");
}

static void *memcached_store_open(const bench_rows_t *rows)
{
    memcached_store_t *store = calloc(1, sizeof(*store));
    char path[100];

    snprintf(path, sizeof(path), "%s/memcached", rows->dir);
    store->pid = fork();
    if (store->pid == 0) {
        execlp("memcached", "memcached", "-s", path, "-m", "1024", "-t", "1", "-u", "root", NULL);
        _exit(127);
    }
    if (store->pid < 0)
        bench_fail("memcached: cannot start");
    memcached_connect(store, path);
    memcached_fill(store, rows);
    return store;
}

static void memcached_store_close(void *data)
{
    memcached_store_t *store = data;

    close(store->fd);
    kill(store->pid, SIGTERM);
    waitpid(store->pid, NULL, 0);
    free(store);
}

const bench_store_t bench_stores[] = {
    {"tinycdb", "tinycdb", cdb_store_open, cdb_store_get, cdb_store_close, 200000, 0},
    {"LMDB", "lmdb", lmdb_store_open, lmdb_store_get, lmdb_store_close, 200000, 0},
    {"apr_hash", "apr_hash", hash_store_open, hash_store_get, hash_store_close, 200000, 0},
    {"RewriteMap dbm (hit)", "rewritemap", hash_store_open, rewrite_store_get, hash_store_close,
     100000, 0},
    {"memcached (socket)", "memcached", memcached_store_open, memcached_store_get,
     memcached_store_close, 5000, 1},
    {NULL, NULL, NULL, NULL, NULL, 0, 0},
};
