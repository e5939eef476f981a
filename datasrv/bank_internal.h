/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the bank's store share. */
#ifndef FS_DATASRV_BANK_INTERNAL_H
#define FS_DATASRV_BANK_INTERNAL_H

#include "bank_store.h"

#define FS_BANK_FORMAT 1

typedef enum fs_bank_table_t {
    BANK_MAIN,
    BANK_ASIDE,
    BANK_EXPIRY,
    BANK_HOSTS,
    BANK_META,
    BANK_TABLES
} fs_bank_table_t;

struct fs_bank_store_t {
    MDB_env *env;
    MDB_dbi tables[BANK_TABLES];
    fs_bank_limits_t limits;
    uint64_t instance;
    uint64_t reserved; /* bytes of the file that have space; under the write lock */
    int lock_fd;
    char *dir;
};

/* Makes sure that the file has space for `ahead` bytes behind what is used. Who calls it is the
 * only one who writes. 0 or an error: ENOSPC. */
int fs_bank_reserve(fs_bank_store_t *store, size_t ahead);

#define FS_BANK_FIRST_BYTES (UINT64_C(1) << 20) /* reserved at first */
#define FS_BANK_LEAST_AHEAD ((size_t)512 << 10) /* for what isn't a copy */

/* Before a change that may use so many bytes more of the file, with `keep` left behind them. 0 or
 * an error: ENOSPC. */
int fs_bank_claim(fs_bank_work_t *work, size_t bytes, size_t keep);
/* 1: this transaction has used what one may. */
int fs_bank_is_spent(const fs_bank_work_t *work);

#endif
