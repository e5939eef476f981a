/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making and checking a store of this host before anybody uses it.
 *
 * A process of its own (fs_apart.h) walks through the whole store; if it dies, the store is
 * damaged. And as nothing is synced, the file is worth nothing after the host went down: the file
 * `boot` (fs_boot.h) says in which boot of the host the store was opened, and whether it was
 * settled.
 */
#ifndef FS_LMDB_PREPARE_H
#define FS_LMDB_PREPARE_H

#include <lmdb.h>
#include <sys/types.h>

#include "base/fs_result.h"

#define FS_LMDB_TABLES 16 /* that a store has at the most */

/* What a store is. The functions return 0, or an error of LMDB or the system. */
typedef struct fs_lmdb_store_t {
    const char *name;           /* "the session store", in messages */
    const char *instead;        /* where what was in it comes from when it is lost */
    const char *damaged, *lost; /* numbers of the messages: is damaged; the host went down */
    unsigned meta;              /* the table that says who writes */
    /* Opens it with its tables; `make`: what isn't there is made. */
    int (*open)(MDB_env **env, MDB_dbi *tables, const char *dir, int make);
    int (*reserve)(MDB_env *env);                      /* makes room in a new one; NULL: nothing */
    int (*check)(MDB_env *env, const MDB_dbi *tables); /* reads all of it */
    void (*clear)(const char *dir); /* what beside it ended with its processes; NULL: nothing */
    /* Says that it can't be opened, made, checked ... (`what`) and what to do. */
    apr_status_t (*failed)(int error, const char *what, fs_result_t *result);
} fs_lmdb_store_t;

/*
 * Before those who use it are there, or at the same time as they do it themselves: makes the store
 * or checks the one that is there, in a process that runs as uid and gid (if this one is root's;
 * (uid_t)-1: as it is). A damaged one, or one of a host that went down without fs_lmdb_settle, is
 * set aside and a new one made; then the status is success and result->problem is the warning; else
 * it is "". `first`: check every page, unless somebody uses the store by now. `boot`: as
 * fs_boot_name. `result` may be NULL. Errors: the store's, FS0013, FS0014.
 */
apr_status_t fs_lmdb_prepare(const fs_lmdb_store_t *store, const char *dir, uid_t uid, gid_t gid,
                             int first, const char *boot, fs_result_t *result);
/* If nobody uses it any more: what is in it stays good when the host goes down. */
apr_status_t fs_lmdb_settle(const fs_lmdb_store_t *store, const char *dir, const char *boot,
                            fs_result_t *result);

#endif
