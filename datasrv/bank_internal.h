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
    char boot[64];
};

/* What stands before the owner's name and the sealed copy. */
typedef struct fs_bank_slot_t {
    fs_session_stamp_t version;
    fs_usec_t expires;
    fs_usec_t indexed; /* in EXPIRY; 0 in ASIDE */
    uint64_t sequence; /* of its latest change */
    uint8_t flags;     /* ENDED, ALIAS, 0x80: granted (fs_session_hold_t) */
    uint8_t owner;     /* length of its name */
    uint8_t zero[6];
} fs_bank_slot_t;

#define FS_BANK_TIME_BYTES (8 + FS_SESSION_KEY_BYTES)

/* The environment with its tables; `make`: also makes what isn't there. 0 or an error. */
int fs_bank_env_open(MDB_env **env, MDB_dbi tables[BANK_TABLES], const char *dir, size_t map,
                     int make, int sync);

/* Makes sure that the file has space for `ahead` bytes behind what is used. Who calls it is the
 * only one who writes. 0 or an error: ENOSPC. */
int fs_bank_reserve(fs_bank_store_t *store, size_t ahead);

/* Reads a slot's parts out of a value. 0, or MDB_CORRUPTED. */
int fs_bank_slot_read(const MDB_val *value, fs_bank_slot_t *slot, char owner[FS_SESSION_NAME_SIZE],
                      const uint8_t **sealed, size_t *length);

#endif
