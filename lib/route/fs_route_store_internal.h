/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the store share. Not for users of the library. */
#ifndef FS_ROUTE_STORE_INTERNAL_H
#define FS_ROUTE_STORE_INTERNAL_H

#include <lmdb.h>
#include <stdatomic.h>

#include "route/fs_route_store.h"

typedef enum table_t { VISITORS, HOMES, SERVERS, NAMES, LOG, FRESH, NONCES, META, TABLES } table_t;

/* Names of servers by their numbers in this file, read once. A number is never used again. */
#define NAME_BLOCKS 1024
#define NAME_BLOCK  1024
typedef _Atomic(char *) name_block_t[NAME_BLOCK];

struct fs_route_store_t {
    MDB_env *env;
    MDB_dbi tables[TABLES];
    fs_route_limits_t limits;
    char self_name[FS_ROUTE_NAME_SIZE];
    uint32_t self;   /* its number */
    uint64_t writer; /* of this file: the generation of its log */
    _Atomic(name_block_t *) names[NAME_BLOCKS];
    int *here; /* 1 in the process that opened it; the kernel wipes it in a forked child */
};

/* A visitor, in VISITORS. Servers by number; 0: none. */
typedef struct slot_t {
    uint32_t primary;
    uint32_t alternate;
    uint32_t former;
    uint32_t generation;
    uint32_t seen; /* seconds; of one that isn't confirmed: when it came */
    uint32_t confirmed;
} slot_t;

/* A server, in SERVERS; its name is behind it. */
typedef struct row_t {
    fs_route_total_t total;
    uint64_t hash; /* of its name */
} row_t;
#define ROW_MOST (sizeof(row_t) + FS_ROUTE_NAME_SIZE)

#define HOME_KEY_BYTES (4 + FS_ROUTE_ID_BYTES) /* big endian, so that LMDB sorts */
#define TIME_KEY_BYTES (4 + FS_ROUTE_ID_BYTES)
_Static_assert(FS_ROUTE_NONCE_BYTES == FS_ROUTE_ID_BYTES, "keys of FRESH and NONCES are alike");

/* --- fs_route_store.c ----------------------------------------------------------------------------
 */

/* Opens LMDB's environment and tables. Returns 0 or an error. */
int fs_route_env_open(MDB_env **env, MDB_dbi tables[TABLES], const char *dir, int make);
apr_status_t fs_route_store_failed(int error, const char *what, fs_result_t *result);

/* Returned by work functions beside LMDB's and the system's errors: the status is in result. */
#define REFUSED 1000000

/* Does something in a transaction: returns 0, an error of LMDB or the system, or REFUSED. */
typedef int fs_route_work_fn(fs_route_store_t *store, MDB_txn *txn, void *baton,
                             fs_result_t *result);
apr_status_t fs_route_store_work(fs_route_store_t *store, int writes, fs_route_work_fn *work,
                                 void *baton, fs_result_t *result);
/* Sets a status without a message; returns REFUSED. */
int fs_route_refuse(fs_result_t *result, apr_status_t status);

/* --- fs_route_store_slot.c -----------------------------------------------------------------------
 */

uint32_t fs_route_seconds(fs_usec_t time);
void fs_route_pair_key(uint8_t key[HOME_KEY_BYTES], uint32_t number,
                       const uint8_t id[FS_ROUTE_ID_BYTES]);
uint32_t fs_route_pair_number(const void *key);

/* The number of a server in this file. MDB_NOTFOUND; `make`: gives it one. "" is 0. */
int fs_route_number(fs_route_store_t *store, MDB_txn *txn, const char *name, int make,
                    uint32_t *number);
/* Its name; "" if there is none. The store's memory. */
const char *fs_route_name(fs_route_store_t *store, MDB_txn *txn, uint32_t number);

int fs_route_row_get(const fs_route_store_t *store, MDB_txn *txn, uint32_t number, row_t *row);
int fs_route_row_put(const fs_route_store_t *store, MDB_txn *txn, uint32_t number,
                     const row_t *row);

int fs_route_slot_get(const fs_route_store_t *store, MDB_txn *txn,
                      const uint8_t id[FS_ROUTE_ID_BYTES], slot_t *slot);
/*
 * Makes `slot` what is known of a visitor and keeps counts and indexes in step. `old` is what
 * stands there, NULL: nothing; `slot` NULL: removes it. `tell`: the others are to hear of it.
 */
int fs_route_slot_put(fs_route_store_t *store, MDB_txn *txn, const uint8_t id[FS_ROUTE_ID_BYTES],
                      const slot_t *old, const slot_t *slot, int tell);
/* Shows a slot by names. */
void fs_route_slot_show(fs_route_store_t *store, MDB_txn *txn, const uint8_t id[FS_ROUTE_ID_BYTES],
                        const slot_t *slot, fs_route_visitor_t *visitor);
/* Makes a slot of a statement. */
int fs_route_slot_make(fs_route_store_t *store, MDB_txn *txn, const fs_route_visitor_t *visitor,
                       fs_usec_t seen, slot_t *slot);
/* The last sequence of the log; 0: it is empty. `first` may be NULL. */
int fs_route_log_range(const fs_route_store_t *store, MDB_txn *txn, uint64_t *first,
                       uint64_t *last);
/* How many there are in a table. */
int fs_route_entries(const fs_route_store_t *store, MDB_txn *txn, table_t table, uint64_t *count);
/* 0, or REFUSED with FS1616. */
int fs_route_check_room(fs_route_store_t *store, MDB_txn *txn, int unconfirmed,
                        fs_result_t *result);

#endif
