/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The slots of the bank's store: what is held of a session, and the index of their ends. All within
 * a transaction, by its thread; 0 or an error of LMDB or the system, after which the work must be
 * aborted.
 */
#ifndef FS_DATASRV_BANK_SLOT_H
#define FS_DATASRV_BANK_SLOT_H

#include "bank_internal.h"

#define FS_BANK_STATES  (FS_SESSION_ITEM_ENDED | FS_SESSION_ITEM_ALIAS)
#define FS_BANK_GRANTED 0x80 /* in a slot's flags: fs_session_hold_t */
/* What stands before the owner's name and the sealed copy. */
typedef struct fs_bank_slot_t {
    fs_session_stamp_t version;
    fs_usec_t expires;
    fs_usec_t indexed; /* in EXPIRY; 0 in ASIDE */
    uint64_t sequence; /* of its latest change */
    uint8_t flags;     /* FS_BANK_STATES, FS_BANK_GRANTED */
    uint8_t owner;     /* length of its name */
    uint8_t zero[6];
} fs_bank_slot_t;

#define FS_BANK_TIME_BYTES (8 + FS_SESSION_KEY_BYTES)

/* A session as it is held: both copies. What it points to is in the store's pages, and moves with
 * the next change. */
typedef struct fs_bank_held_t {
    fs_session_hold_t hold;
    fs_bank_slot_t slot, aside_slot; /* slot.indexed 0: nothing is there, not even an expired one */
    char aside_owner[FS_SESSION_NAME_SIZE];
    const uint8_t *sealed, *aside_sealed;
    size_t length, aside_length;
} fs_bank_held_t;

/* 1: a slot that ends then counts as nothing. While the farm's time is unknown nothing expires. */
static inline int fs_bank_has_expired(const fs_bank_work_t *work, fs_usec_t expires)
{
    return work->now && expires <= work->now;
}

/* Reads a slot's parts out of a value. 0, or MDB_CORRUPTED. */
int fs_bank_slot_read(const MDB_val *value, fs_bank_slot_t *slot, char owner[FS_SESSION_NAME_SIZE],
                      const uint8_t **sealed, size_t *length);
/* Writes one as it is, without the index. The copy must not be in the store's own pages: those may
 * move. ENOSPC. */
int fs_bank_slot_put(fs_bank_work_t *work, fs_bank_table_t table, const fs_session_key_t *key,
                     fs_bank_slot_t *slot, const char *owner, const void *sealed, size_t length);

/* What is held of a key; what has expired counts as nothing, and nothing is no error. */
int fs_bank_held_find(fs_bank_work_t *work, const fs_session_key_t *key, fs_bank_held_t *held);
/* Another copy in the place of what `held` is, with the owner that `held` says: a change, which
 * gets the next number. As fs_bank_slot_put. */
int fs_bank_held_put(fs_bank_work_t *work, const fs_session_key_t *key, const fs_bank_held_t *held,
                     fs_bank_slot_t *slot, const void *sealed, size_t length);
/* The same copy with another owner. */
int fs_bank_held_put_owner(fs_bank_work_t *work, const fs_session_key_t *key,
                           const fs_bank_held_t *held);
/* *room: a copy so long may be put in the place of what is held; expired ones make way for it. */
int fs_bank_held_room(fs_bank_work_t *work, const fs_bank_held_t *held, size_t length, int *room);

/* No error if there is none. */
int fs_bank_aside_remove(fs_bank_work_t *work, const fs_session_key_t *key);

#endif
