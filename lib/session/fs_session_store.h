/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sessions of a host: an LMDB environment in a directory, shared by all processes.
 *
 *   data.mdb  main     key → note and record      expiry  time, key → nothing
 *             dirty    since, key → nothing       safe    since, key → nothing
 *             meta     "writer" → the store's random number
 *             released key → host
 *            ahead    due, key → nothing
 *   lock.mdb  LMDB's lock and readers; pending  counters (fs_session_pending.h); bell  rung after
 *   each change (fs_session_bell.h); boot  see below
 *
 * A reader waits for nobody. Writers come one after the other, and hold no lock across anything but
 * the page cache. The death of any process at any moment leaves the last committed state (LMDB
 * copies what it changes; its lock is released when its holder dies). The death of the host does
 * not: nothing is synced to disk, for the bank has what matters. So after an unclean boot the store
 * is set aside.
 *
 * A session is dirty from a change until its copies are confirmed (fs_session_store_confirm), then
 * it is safe. When the store is full, expired sessions go first, then those that have been safe for
 * the longest; what isn't safe is never thrown away: a new session is refused.
 *
 * Open a store once in each process, after fork(); a store that was open at a fork refuses to work
 * in the child. Any number of threads may use it. Times are farm time in microseconds. What is
 * returned is the pool's. Errors of all functions: FS1210 (LMDB or the disk), FS1212 (open before a
 * fork), and those that they name.
 */
#ifndef FS_SESSION_STORE_H
#define FS_SESSION_STORE_H

#include <sys/types.h>

#include "session/fs_session_merge.h"

typedef struct fs_session_limits_t {
    uint64_t sessions;    /* on this host, tombstones included; 0: no limit */
    size_t session_bytes; /* of one record, encoded; 0: FS_SESSION_RECORD_LIMIT */
    uint64_t store_bytes; /* of all; 0: 1 GiB. At least 1 MiB */
    fs_usec_t flush;      /* a changed session is sent after this time at the latest */
} fs_session_limits_t;

typedef struct fs_session_store_t fs_session_store_t;

/* --- open ----------------------------------------------------------------------------------------
 */

/*
 * Before httpd's children are there: makes the store or checks the one that is there, in a process
 * of its own which runs as uid and gid (if this one is root's; (uid_t)-1: as it is), so that a
 * damaged file can crash nobody. A damaged store, or one of a host that went down without
 * fs_session_store_settle, is moved to `dir`/damaged and a new one made; then the status is success
 * and result->problem is FS1211 or FS1215, a warning; else it is "". `first`: nobody uses the store
 * yet: check every page; 0 at a graceful restart. `boot` names this boot of the host; NULL: as the
 * kernel says.
 */
apr_status_t fs_session_store_prepare(const char *dir, uid_t uid, gid_t gid, int first,
                                      const char *boot, fs_result_t *result);

/* When all processes have closed the store: syncs it, so that it is used after a reboot too. */
apr_status_t fs_session_store_settle(const char *dir, const char *boot, fs_result_t *result);

/* `name` is the host's, as owner. The caller closes it; in a forked child that does nothing. */
apr_status_t fs_session_store_open(fs_session_store_t **store, const char *dir, const char *name,
                                   const fs_session_limits_t *limits, fs_result_t *result);
void fs_session_store_close(fs_session_store_t *store);

/* Who writes through this store: for fs_session_begin and its like. */
fs_session_writer_t fs_session_store_writer(const fs_session_store_t *store, fs_usec_t now);

/* --- one session ---------------------------------------------------------------------------------
 */

/* What a store knows of a session beside its record. */
typedef struct fs_session_note_t {
    fs_session_stamp_t version;
    fs_usec_t expires;
    fs_usec_t dirty_since; /* 0: all its copies are confirmed */
    fs_usec_t released;    /* until when it is another host's; 0: it is this host's */
    uint64_t checked;      /* the generation in which it was compared with the bank; 0: never
                              (fs_session_trust.h) */
    uint32_t copies;       /* of this version, confirmed */
    uint32_t each;         /* changes after which its alternate gets a copy; 0: at the end */
    fs_usec_t ahead;       /* when it gets one (or a little later); 0: it has this version */
    uint64_t alternate;    /* fs_session_server_hash of that server's name; 0: there is none */
    uint8_t seal[FS_SESSION_SEAL_BYTES];
} fs_session_note_t;

/* Called with an encoded record in the map of the store, valid until it returns. It must not call
 * the store. Returns 0 to go on, else to stop. */
typedef int fs_session_look_fn(void *baton, const fs_session_key_t *key,
                               const fs_session_note_t *note, const void *bytes, size_t length);

/* Shows a session without a copy, even an expired one. APR_NOTFOUND without a message if unknown.
 */
apr_status_t fs_session_store_look(fs_session_store_t *store, const fs_session_key_t *key,
                                   fs_session_look_fn *look, void *baton, fs_result_t *result);

/* Copies and decodes a session. `note` may be NULL. APR_NOTFOUND without a message if it is
 * unknown, has expired or is released to another host; FS1204 if its record is damaged. */
apr_status_t fs_session_store_read(fs_session_store_t *store, const fs_session_key_t *key,
                                   fs_usec_t now, apr_pool_t *pool, fs_session_record_t *record,
                                   fs_session_note_t *note, fs_result_t *result);

/* Who is to hold copies of the visitor's session ahead, as routing says. */
typedef struct fs_session_ahead_t {
    uint64_t alternate; /* as in the note */
    uint32_t each;
} fs_session_ahead_t;
/* Never 0. */
uint64_t fs_session_server_hash(const char *name);
#define FS_SESSION_END_AFTER (10 * FS_USEC_PER_SEC) /* without a change */

typedef struct fs_session_save_t {
    fs_session_key_t key;
    const fs_session_change_t *changes;
    uint32_t count;
    const fs_session_record_t *fresh; /* what it begins as if it isn't there; NULL: APR_NOTFOUND */
    const uint8_t *seal;              /* with `fresh` */
    uint64_t checked;                 /* with `fresh`: the trust page's generation */
    int urgent;                       /* send it at once, whatever is pending */
    int end_if_empty;                 /* end it, urgently, if no entry has a value afterwards */
    const fs_session_ahead_t *ahead;  /* NULL: as it was */
    const fs_session_stamp_t *expected; /* NULL; else the version (behind aliases) that it must
                                           have, or APR_EMISMATCH and nothing is changed */
} fs_session_save_t;

/*
 * Applies what a request changed to what is there now; through an alias, to where it leads.
 * `record` becomes what is there afterwards. APR_NOTFOUND without a message: it is unknown or
 * released to another host: fetch it and save again. Errors: FS1203, FS1205 ended, FS1213 full
 * (APR_ENOSPC), FS1214 too large (APR_ENOSPC).
 */
apr_status_t fs_session_store_save(fs_session_store_t *store, const fs_session_save_t *save,
                                   fs_usec_t now, apr_pool_t *pool, fs_session_record_t *record,
                                   fs_result_t *result);

/*
 * Merges a copy from elsewhere into what is there, or stores it as it is. A live copy of what is an
 * alias here is merged into where that leads; if that isn't here, `record` is the alias, and the
 * copy belongs to who has its target. Errors as saving.
 */
apr_status_t fs_session_store_merge(fs_session_store_t *store, const fs_session_key_t *key,
                                    const fs_session_record_t *copy, const uint8_t *seal,
                                    fs_usec_t now, apr_pool_t *pool, fs_session_record_t *record,
                                    fs_result_t *result);

/* Login: applies the changes, moves the session to target->key and leaves an alias until
 * target->until. `save->fresh` is not used. Errors as saving; APR_NOTFOUND. */
apr_status_t fs_session_store_move(fs_session_store_t *store, const fs_session_save_t *save,
                                   const fs_session_target_t *target, fs_usec_t now,
                                   apr_pool_t *pool, fs_session_record_t *record,
                                   fs_result_t *result);

/* Ends a session, known here or not; what remains is remembered and sent. Errors: FS1213. */
apr_status_t fs_session_store_end(fs_session_store_t *store, const fs_session_key_t *key,
                                  const uint8_t *seal, fs_usec_t now, apr_pool_t *pool,
                                  fs_result_t *result);

/*
 * Another host has it from now on: `to` gets `record`. It is not served any more (reading and
 * saving say APR_NOTFOUND), but kept and sent to the bank as before, until it is forgotten or,
 * after `until` and once it is safe, when room is needed or it expires. Releasing it again changes
 * `to`. APR_NOTFOUND: it isn't here.
 */
apr_status_t fs_session_store_release(fs_session_store_t *store, const fs_session_key_t *key,
                                      const char *to, fs_usec_t until, apr_pool_t *pool,
                                      fs_session_record_t *record, fs_result_t *result);

/* To whom it is released. APR_NOTFOUND: it isn't here, or it is this host's. */
apr_status_t fs_session_store_released(fs_session_store_t *store, const fs_session_key_t *key,
                                       char to[FS_SESSION_NAME_SIZE], fs_result_t *result);

/* Forgets a released session if it is still of this version: the other host or the bank has it.
 * APR_NOTFOUND: it isn't here, isn't released, or has changed. */
apr_status_t fs_session_store_forget(fs_session_store_t *store, const fs_session_key_t *key,
                                     const fs_session_stamp_t *version, fs_result_t *result);

/*
 * This host takes a session: merges `count` copies (and what is here, released or not), becomes the
 * owner in an epoch above all of them if the result is live (even if it was the owner before:
 * another one may have had it in between), and stores that as compared in generation `checked` and
 * due for the bank at once. `record` becomes what is there; an alias says where it leads.
 * `released` is what its note said when it was asked for (0: it wasn't here, or not released):
 * APR_EMISMATCH without a message if it is another by now, for then it was given away since. Errors
 * as saving; APR_NOTFOUND: nothing is here and nothing came.
 */
apr_status_t fs_session_store_adopt(fs_session_store_t *store, const fs_session_key_t *key,
                                    const fs_session_record_t *copies, uint32_t count,
                                    const uint8_t *seal, uint64_t checked, fs_usec_t released,
                                    fs_usec_t now, apr_pool_t *pool, fs_session_record_t *record,
                                    fs_result_t *result);

/* A request that may change the session begins and is done, so that its copy is sent once for all.
 */
void fs_session_store_begin(fs_session_store_t *store, const fs_session_key_t *key);
void fs_session_store_done(fs_session_store_t *store, const fs_session_key_t *key);
/* How many there are, or more (fs_session_pending.h). */
unsigned fs_session_store_pending(const fs_session_store_t *store, const fs_session_key_t *key);

/* --- the agent's ---------------------------------------------------------------------------------
 */

/* `copies` of a version are on the bank, `wanted` are to be. If it is still the present one and
 * they are enough, the session is safe. */
typedef struct fs_session_confirmed_t {
    fs_session_key_t key;
    fs_session_stamp_t version;
    uint32_t copies;
} fs_session_confirmed_t;
/* In as few transactions as will do. Of several those that aren't here are passed over; of one
 * APR_NOTFOUND says so. */
apr_status_t fs_session_store_confirm(fs_session_store_t *store,
                                      const fs_session_confirmed_t *confirmed, unsigned count,
                                      uint32_t wanted, fs_usec_t now, fs_result_t *result);

/* They were compared with the bank in `generation`; those that aren't here are
 * passed over. */
apr_status_t fs_session_store_checked(fs_session_store_t *store, const fs_session_key_t *keys,
                                      unsigned count, uint64_t generation, fs_result_t *result);

/* Shows sessions that are to be sent now, oldest change first, at most `limit`. `shown` how many;
 * `next` when to ask again if nothing else happens (INT64_MAX: never). */
apr_status_t fs_session_store_due(fs_session_store_t *store, fs_usec_t now, unsigned limit,
                                  fs_session_look_fn *look, void *baton, unsigned *shown,
                                  fs_usec_t *next, fs_result_t *result);

/*
 * Shows sessions that are to be carried to their alternates now: at least note->each changes were
 * made, or none for FS_SESSION_END_AFTER, or it isn't live any more; `all`: every one that has
 * changed. At most `limit`, and they are shown again until fs_session_store_carried. As above.
 */
apr_status_t fs_session_store_ahead(fs_session_store_t *store, fs_usec_t now, int all,
                                    unsigned limit, fs_session_look_fn *look, void *baton,
                                    unsigned *shown, fs_usec_t *next, fs_result_t *result);
/* The alternates have these versions; or, with `again` not 0, they couldn't be reached and are to
 * be tried then. Those that aren't here or have changed are passed over. */
typedef struct fs_session_carried_t {
    fs_session_key_t key;
    fs_session_stamp_t version;
    fs_usec_t again;
} fs_session_carried_t;
apr_status_t fs_session_store_carried(fs_session_store_t *store,
                                      const fs_session_carried_t *carried, unsigned count,
                                      fs_result_t *result);

/* The visitor's alternate has changed: it gets a copy. APR_NOTFOUND: the session isn't here. */
apr_status_t fs_session_store_alternate(fs_session_store_t *store, const fs_session_key_t *key,
                                        const fs_session_ahead_t *ahead, fs_usec_t now,
                                        fs_result_t *result);

/* Shows sessions in the order of their keys, those after `after` (NULL: from the first), at most
 * `limit`: call it again with the last one shown, so that no reader is kept open for long. */
apr_status_t fs_session_store_each(fs_session_store_t *store, const fs_session_key_t *after,
                                   unsigned limit, fs_session_look_fn *look, void *baton,
                                   unsigned *shown, fs_result_t *result);

/* Forgets expired sessions, at most `limit` looked at; `removed` of them. Also frees what killed
 * readers held. Call it every second or so. */
apr_status_t fs_session_store_expire(fs_session_store_t *store, fs_usec_t now, unsigned limit,
                                     unsigned *removed, fs_result_t *result);

typedef struct fs_session_counts_t {
    uint64_t sessions; /* tombstones and aliases included */
    uint64_t dirty;
    uint64_t safe;
    uint64_t bytes;
    fs_usec_t oldest_dirty; /* since when the first one waits; 0: none does */
} fs_session_counts_t;
apr_status_t fs_session_store_count(fs_session_store_t *store, fs_session_counts_t *counts,
                                    fs_result_t *result);

#endif
