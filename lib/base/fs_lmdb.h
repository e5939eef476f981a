/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the stores that are LMDB environments (data.mdb and lock.mdb in a directory of its own) have
 * in common: opening them with their tables, checking them, setting them aside.
 *
 * LMDB trusts its pages: one that was damaged from outside can make it read anywhere. So a store
 * that others may have written to is checked in a process of its own (fs_apart.h) before it is
 * used; and one that isn't synced is worth nothing after the host went down (fs_boot.h).
 *
 * What returns int returns 0, or an error of LMDB (negative) or the system. Any thread.
 */
#ifndef FS_LMDB_H
#define FS_LMDB_H

#include <lmdb.h>
#include <stdint.h>

typedef struct fs_lmdb_kind_t {
    const char *const *tables; /* their names */
    unsigned count;            /* of tables */
    unsigned readers;          /* at the same time, of all processes; 0: LMDB's own number */
    unsigned flags;            /* of mdb_env_open */
    size_t map;                /* bytes; 0: as they are in the file */
} fs_lmdb_kind_t;

/* Opens it with its tables, which go into `tables` in the order of their names; `make`: makes what
 * isn't there, but not the directory. *env is NULL after an error; it is closed with
 * mdb_env_close. */
int fs_lmdb_open(MDB_env **env, MDB_dbi *tables, const char *dir, const fs_lmdb_kind_t *kind,
                 int make);

/* 1 if the file system of a directory is known to keep a promise of fallocate, however full it is.
 * Only then may a file be mapped for writing (MDB_WRITEMAP): a page without space on the disk would
 * be answered with SIGBUS. */
int fs_lmdb_promises_space(const char *dir);

/* A number under a name. MDB_NOTFOUND; MDB_CORRUPTED if it is something else. */
int fs_lmdb_get_number(MDB_txn *txn, MDB_dbi table, const char *name, uint64_t *number);
/* Puts one there unless there is one already. */
int fs_lmdb_give_number(MDB_txn *txn, MDB_dbi table, const char *name, uint64_t number);
/* The same, a random one but 0. EIO: libcrypto has none. */
int fs_lmdb_give_random(MDB_txn *txn, MDB_dbi table, const char *name);

/* 1 if an entry of table number `table` is as it may be. */
typedef int fs_lmdb_good_fn(void *baton, unsigned table, const MDB_val *key, const MDB_val *value);
/* Reads all there is. MDB_CORRUPTED: an entry isn't good. */
int fs_lmdb_check(MDB_env *env, const MDB_dbi *tables, unsigned count, fs_lmdb_good_fn *good,
                  void *baton);
/* 1 if an error of opening or checking says that the file is damaged, 0: that it can't be used
 * now. */
int fs_lmdb_is_damage(int error);
/* What to do about an error, for the user who runs httpd. */
const char *fs_lmdb_remedy(int error);

/* LMDB isn't for a process that was forked from the one that opened the environment. The mark is 1
 * in the process that makes it, 0 in all that are forked from it. NULL: no memory. */
int *fs_lmdb_mark(void);
void fs_lmdb_unmark(int *mark); /* NULL is fine */

/*
 * Locks the directory against others who open a store there or take it away, until the descriptor
 * is closed; -1 with errno.
 */
int fs_lmdb_lock(const char *dir);
/* 1 if there is a store in the directory. */
int fs_lmdb_is_there(const char *dir);
/*
 * 1 if another process has the store open, 0 if none has or there is no store: who prepares or
 * settles one must know. By the lock that LMDB holds on lock.mdb in each process that has it open,
 * which ends with the process. Not for a process that has the store open itself.
 */
int fs_lmdb_in_use(const char *dir);
/* Moves the store to DIR/damaged, in the place of an earlier one, for people to look at; where that
 * can't be done, removes it. The directory stays, for the user who runs httpd may not be able to
 * make it again. */
void fs_lmdb_set_aside(const char *dir);
/* Removes it. What isn't there is no error. */
int fs_lmdb_remove(const char *dir);

#endif
