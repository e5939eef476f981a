/* SPDX-License-Identifier: Apache-2.0 */
/* The store's environment, transactions, and finding a visitor. */
#include "route/fs_route_store_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs_lmdb.h"

#define MAX_READERS 16384 /* threads of all processes of the host */
/* Addresses, not memory: the file is as large as what is in it. The same for all, or LMDB would
 * have to agree on it. */
#define MAP_BYTES (sizeof(size_t) > 4 ? (size_t)(UINT64_C(4) << 30) : (size_t)512 << 20)

static const char *const table_names[TABLES] = {"visitors", "homes", "servers", "names",
                                                "log",      "fresh", "nonces",  "meta"};

apr_status_t fs_route_store_failed(int error, const char *what, fs_result_t *result)
{
    apr_status_t status = error > 0 ? APR_FROM_OS_ERROR(error) : APR_EGENERAL;

    return fs_result_set(result, status, "FS1612", "cannot %s the store of visitors: %s; %s", what,
                         mdb_strerror(error), fs_lmdb_remedy(error));
}

int fs_route_refuse(fs_result_t *result, apr_status_t status)
{
    fs_result_clear(result);
    result->status = status;
    return REFUSED;
}

/* --- open and close ------------------------------------------------------------------------------
 */

int fs_route_env_open(MDB_env **env, MDB_dbi tables[TABLES], const char *dir, int make)
{
    const fs_lmdb_kind_t kind = {table_names, TABLES, MAX_READERS, MDB_NOSYNC | MDB_NORDAHEAD,
                                 MAP_BYTES};
    int fd = fs_lmdb_lock(dir), error;

    *env = NULL;
    if (fd < 0)
        return errno;
    error = fs_lmdb_open(env, tables, dir, &kind, make);
    close(fd);
    return error;
}

static void take_limits(fs_route_store_t *store, const fs_route_limits_t *limits)
{
    store->limits = *limits;
    if (!store->limits.unconfirmed)
        store->limits.unconfirmed = 10000;
    if (!store->limits.visitors)
        store->limits.visitors = 10000000;
    if (!store->limits.log)
        store->limits.log = 65536;
    if (!store->limits.nonces)
        store->limits.nonces = 100000;
}

/* Who wrote the file, and this server's number in it. */
static int begin_work(fs_route_store_t *store, MDB_txn *txn, void *baton, fs_result_t *result)
{
    int error = fs_lmdb_get_number(txn, store->tables[META], "writer", &store->writer);

    (void)baton;
    (void)result;
    if (error)
        return error;
    return fs_route_number(store, txn, store->self_name, 1, &store->self);
}

apr_status_t fs_route_store_open(fs_route_store_t **store, const char *dir, const char *self,
                                 const fs_route_limits_t *limits, fs_result_t *result)
{
    fs_route_store_t *made = calloc(1, sizeof(*made));
    apr_status_t status = APR_SUCCESS;
    int error = made && (made->here = fs_lmdb_mark()) ? 0 : ENOMEM;

    *store = NULL;
    if (!error) {
        snprintf(made->self_name, sizeof(made->self_name), "%s", self);
        take_limits(made, limits);
        error = fs_route_env_open(&made->env, made->tables, dir, 0);
    }
    if (error)
        status = fs_route_store_failed(error, "open", result);
    else
        status = fs_route_store_work(made, 1, begin_work, NULL, result);
    if (status != APR_SUCCESS) {
        fs_route_store_close(made);
        return status;
    }
    *store = made;
    return APR_SUCCESS;
}

void fs_route_store_close(fs_route_store_t *store)
{
    if (!store || (store->here && !*store->here))
        return;
    if (store->env)
        mdb_env_close(store->env);
    for (unsigned i = 0; i < NAME_BLOCKS; i++) {
        name_block_t *block = atomic_load(&store->names[i]);

        for (unsigned k = 0; block && k < NAME_BLOCK; k++)
            free(atomic_load(&(*block)[k]));
        free(block);
    }
    fs_lmdb_unmark(store->here);
    free(store);
}

/* --- transactions --------------------------------------------------------------------------------
 */

static int begin_txn(fs_route_store_t *store, int writes, MDB_txn **txn)
{
    int error = mdb_txn_begin(store->env, NULL, writes ? 0 : MDB_RDONLY, txn), dead;

    if (error != MDB_READERS_FULL || mdb_reader_check(store->env, &dead))
        return error;
    return mdb_txn_begin(store->env, NULL, writes ? 0 : MDB_RDONLY, txn);
}

apr_status_t fs_route_store_work(fs_route_store_t *store, int writes, fs_route_work_fn *work,
                                 void *baton, fs_result_t *result)
{
    fs_result_t local;
    MDB_txn *txn;
    int error;

    result = result ? result : &local;
    if (!*store->here)
        return fs_result_set(result, APR_EGENERAL, "FS1613",
                             "the store of visitors was opened before a fork; open it in each "
                             "process of its own (child_init)");
    error = begin_txn(store, writes, &txn);
    if (!error) {
        error = work(store, txn, baton, result);
        if (!error && writes)
            error = mdb_txn_commit(txn);
        else
            mdb_txn_abort(txn);
    }
    if (error == REFUSED)
        return result->status;
    if (error == MDB_NOTFOUND)
        return APR_NOTFOUND;
    if (error == MDB_BAD_VALSIZE)
        return fs_result_set(result, APR_EINVAL, "FS1617",
                             "a visitor's home or alternate isn't the name of a server: 1 to %d "
                             "bytes",
                             FS_ROUTE_NAME_SIZE - 1);
    if (error == MDB_MAP_FULL)
        error = ENOSPC;
    return error ? fs_route_store_failed(error, writes ? "write to" : "read", result) : APR_SUCCESS;
}

/* --- finding -------------------------------------------------------------------------------------
 */

int fs_route_visitor_compare(const fs_route_visitor_t *a, const fs_route_visitor_t *b)
{
    int order;

    if (a->generation != b->generation)
        return a->generation > b->generation ? 1 : -1;
    order = strcmp(a->primary, b->primary);
    return order ? order : strcmp(a->alternate, b->alternate);
}

typedef struct finding_t {
    const uint8_t *id;
    fs_route_visitor_t *visitor;
} finding_t;

static int find_work(fs_route_store_t *store, MDB_txn *txn, void *baton, fs_result_t *result)
{
    finding_t *finding = baton;
    slot_t slot;
    int error = fs_route_slot_get(store, txn, finding->id, &slot);

    (void)result;
    if (!error)
        fs_route_slot_show(store, txn, finding->id, &slot, finding->visitor);
    return error;
}

apr_status_t fs_route_store_find(fs_route_store_t *store, const uint8_t id[FS_ROUTE_ID_BYTES],
                                 fs_route_visitor_t *visitor, fs_result_t *result)
{
    finding_t finding = {id, visitor};

    return fs_route_store_work(store, 0, find_work, &finding, result);
}
