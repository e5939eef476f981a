/* SPDX-License-Identifier: Apache-2.0 */
/* Transactions over the bank's copies, how much is held, and what is remembered beside them. */
#include "bank_store.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "bank_internal.h"
#include "base/fs_lmdb.h"

/* A change copies pages of the trees, each for the first time in a transaction: of the deepest ones
 * that the limits allow, with splits, no more than these on the average. */
#define CHANGE_BYTES ((size_t)20 * 4096)
#define RESERVE_STEP (UINT64_C(16) << 20) /* at most at once */
#define SPEND_LIMIT  ((size_t)4 << 20)

apr_status_t fs_bank_failed(int error, fs_result_t *result)
{
    const char *remedy = error == ENOSPC || error == MDB_MAP_FULL
                             ? "free space for SessionDir, or raise SessionMemory"
                         : error < 0 ? "its file may be damaged: restart datasrv, which checks it"
                                     : "check SessionDir's owner and disk";

    return fs_result_set(result, error > 0 ? APR_FROM_OS_ERROR(error) : APR_EGENERAL, "FS1404",
                         "the session bank cannot be read or written: %s; %s", mdb_strerror(error),
                         remedy);
}
/* --- transactions --------------------------------------------------------------------------------
 */

int fs_bank_reserve(fs_bank_store_t *store, size_t ahead)
{
    MDB_envinfo info;
    uint64_t needed;
    unsigned flags;
    int fd, error = mdb_env_get_flags(store->env, &flags);

    if (error || !(flags & MDB_WRITEMAP) || (error = mdb_env_info(store->env, &info)))
        return error;
    needed = (uint64_t)(info.me_last_pgno + 1) * (uint64_t)sysconf(_SC_PAGESIZE) + ahead;
    if (needed <= store->reserved)
        return 0;
    if (needed > FS_BANK_FIRST_BYTES) /* in steps of an eighth of what there is */
        needed += needed / 8 < RESERVE_STEP ? needed / 8 : RESERVE_STEP;
    if (needed > info.me_mapsize)
        needed = info.me_mapsize;
    error = mdb_env_get_fd(store->env, &fd);
    if (!error && fallocate(fd, 0, 0, (off_t)needed))
        error = errno;
    if (!error)
        store->reserved = needed;
    return error;
}

/* LMDB has one writer, and who began is it; what a transaction adds is behind what was used when it
 * began. */
int fs_bank_claim(fs_bank_work_t *work, size_t bytes, size_t keep)
{
    int error = fs_bank_reserve(work->store, work->spent + CHANGE_BYTES + bytes + keep);

    if (!error)
        work->spent += CHANGE_BYTES + bytes;
    return error;
}

static int begin_txn(fs_bank_work_t *work)
{
    int error = mdb_txn_begin(work->store->env, NULL, work->writes ? 0 : MDB_RDONLY, &work->txn);

    if (error) {
        work->txn = NULL;
        return error;
    }
    if (work->writes)
        error = fs_bank_reserve(work->store, FS_BANK_LEAST_AHEAD);
    if (!error)
        error = fs_lmdb_get_number(work->txn, work->store->tables[BANK_META], "sequence",
                                   &work->sequence);
    if (error)
        fs_bank_abort(work);
    return error;
}

int fs_bank_begin(fs_bank_work_t *work, fs_bank_store_t *store, const fs_bank_leases_t *leases,
                  int writes, fs_usec_t now)
{
    memset(work, 0, sizeof(*work));
    work->store = store;
    work->leases = leases;
    work->now = now;
    work->writes = writes;
    return begin_txn(work);
}

int fs_bank_is_spent(const fs_bank_work_t *work)
{
    return work->spent > SPEND_LIMIT;
}

int fs_bank_step(fs_bank_work_t *work)
{
    int error = 0;

    if (work->writes && fs_bank_is_spent(work) && !(error = fs_bank_commit(work))) {
        work->spent = 0;
        error = begin_txn(work);
    }
    return error;
}

int fs_bank_commit(fs_bank_work_t *work)
{
    MDB_val key = {8, "sequence"}, value = {sizeof(work->sequence), &work->sequence};
    uint64_t before;
    int error = fs_lmdb_get_number(work->txn, work->store->tables[BANK_META], "sequence", &before);

    if (!error && before != work->sequence)
        error = mdb_put(work->txn, work->store->tables[BANK_META], &key, &value, 0);
    if (error) {
        fs_bank_abort(work);
        return error;
    }
    error = mdb_txn_commit(work->txn);
    work->txn = NULL;
    return error;
}

void fs_bank_abort(fs_bank_work_t *work)
{
    if (work->txn)
        mdb_txn_abort(work->txn);
    work->txn = NULL;
}
/* --- totals --------------------------------------------------------------------------------------
 */

int fs_bank_count(fs_bank_work_t *work, fs_bank_totals_t *totals)
{
    MDB_stat stat;

    memset(totals, 0, sizeof(*totals));
    for (fs_bank_table_t table = BANK_MAIN; table <= BANK_EXPIRY; table++) {
        int error = mdb_stat(work->txn, work->store->tables[table], &stat);

        if (error)
            return error;
        totals->bytes += (uint64_t)stat.ms_psize *
                         (stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages);
        if (table == BANK_MAIN)
            totals->sessions = stat.ms_entries;
        if (table == BANK_ASIDE)
            totals->aside = stat.ms_entries;
    }
    totals->sequence = work->sequence;
    totals->limit_bytes = work->store->limits.bytes;
    totals->limit_sessions = work->store->limits.sessions;
    totals->full = totals->bytes >= totals->limit_bytes ||
                   (totals->limit_sessions && totals->sessions >= totals->limit_sessions);
    return 0;
}

/* --- hosts and peers -----------------------------------------------------------------------------
 */

int fs_bank_put_host(fs_bank_work_t *work, const char *name, uint32_t lease_ms)
{
    MDB_val key = {strlen(name), (void *)name}, value = {sizeof(lease_ms), &lease_ms};

    return mdb_put(work->txn, work->store->tables[BANK_HOSTS], &key, &value, 0);
}

int fs_bank_each_host(fs_bank_work_t *work,
                      void (*see)(void *baton, const char *name, uint32_t lease_ms), void *baton)
{
    MDB_val name, value;
    MDB_cursor *cursor;
    int error = mdb_cursor_open(work->txn, work->store->tables[BANK_HOSTS], &cursor);

    if (error)
        return error;
    while (!(error = mdb_cursor_get(cursor, &name, &value, MDB_NEXT))) {
        char text[FS_SESSION_NAME_SIZE] = "";
        uint32_t lease;

        if (name.mv_size >= sizeof(text) || value.mv_size != sizeof(lease))
            continue;
        memcpy(text, name.mv_data, name.mv_size);
        memcpy(&lease, value.mv_data, sizeof(lease));
        see(baton, text, lease);
    }
    mdb_cursor_close(cursor);
    return error == MDB_NOTFOUND ? 0 : error;
}

static MDB_val mark_key(const char *peer, char room[FS_SESSION_NAME_SIZE + 5])
{
    MDB_val key = {0, room};

    memcpy(room, "peer ", 5);
    key.mv_size = 5 + strnlen(peer, FS_SESSION_NAME_SIZE - 1);
    memcpy(room + 5, peer, key.mv_size - 5);
    return key;
}

int fs_bank_get_mark(fs_bank_work_t *work, const char *peer, fs_bank_mark_t *mark)
{
    char room[FS_SESSION_NAME_SIZE + 5];
    MDB_val key = mark_key(peer, room), value;
    int error = mdb_get(work->txn, work->store->tables[BANK_META], &key, &value);

    if (!error && value.mv_size != sizeof(*mark))
        error = MDB_NOTFOUND;
    if (!error)
        memcpy(mark, value.mv_data, sizeof(*mark));
    return error;
}

int fs_bank_put_mark(fs_bank_work_t *work, const char *peer, const fs_bank_mark_t *mark)
{
    char room[FS_SESSION_NAME_SIZE + 5];
    MDB_val key = mark_key(peer, room), value = {sizeof(*mark), (void *)mark};

    return mdb_put(work->txn, work->store->tables[BANK_META], &key, &value, 0);
}
