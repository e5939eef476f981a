/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mirrors of clients that are known by their affinity cookie (farmsync_visitor) and not by a
 * session: one mapped file a host, shared by request processes and the agent, of fixed size. A new
 * client takes the place of one that wasn't seen for long.
 *
 * A mirror is used by the client's home. The agent carries it to the client's alternate: at each
 * change, at each n changes, or at the end (nothing was asked for a while, or this server stops).
 * A client that says "I have what you sent me last" must never be told so by an older mirror. So
 *
 *   open        before the first change that isn't carried at once, the alternate is told that
 *               what it has is outdated until more comes; also if it is not known here whether it
 *               has anything, for this file may be new, or the client was forgotten
 *   generation  of the client's home (+1 with each move): a mirror counts in the one that it was
 *               written in and in the next: not at a server that was home once, and is again
 *
 * Of two the later one holds, by generation and then by version, which only grows.
 *
 * Any number of processes and threads; a lock in the file is held while one entry is copied, and
 * outlives the death of its holder. `now` is fs_time_mono.
 */
#ifndef FS_REUSE_MIRRORS_H
#define FS_REUSE_MIRRORS_H

#include "base/fs_result.h"
#include "base/fs_time.h"
#include "reuse/fs_reuse_mirror.h"

#define FS_REUSE_MIRRORS      16384
#define FS_REUSE_CLIENT_BYTES 12
#define FS_REUSE_SERVER_SIZE  65                     /* a server's name and a NUL */
#define FS_REUSE_AT_END       0                      /* how often a mirror is carried */
#define FS_REUSE_END_AFTER    (10 * FS_USEC_PER_SEC) /* without a request */

typedef struct fs_reuse_mirrors_t fs_reuse_mirrors_t;

/* Makes the file unless it is there. Errors: FS1711. */
apr_status_t fs_reuse_mirrors_prepare(const char *path, uint32_t uid, uint32_t gid,
                                      fs_result_t *result);
/* Maps it. Errors: FS1711. */
apr_status_t fs_reuse_mirrors_open(fs_reuse_mirrors_t **mirrors, const char *path,
                                   fs_result_t *result);
/*
 * 1 if `path` is still the file that is mapped. Who asks one that isn't may be told what was true
 * once: everybody looks before each use.
 */
int fs_reuse_mirrors_current(const fs_reuse_mirrors_t *mirrors, const char *path);
void fs_reuse_mirrors_close(fs_reuse_mirrors_t *mirrors);

/* --- the client's home ------------------------------------------------------------------------ */

typedef struct fs_reuse_client_t {
    uint8_t id[FS_REUSE_CLIENT_BYTES];
    uint32_t generation;
    const char *alternate; /* NULL: there is no other server */
    unsigned each;         /* so many changes; FS_REUSE_AT_END */
} fs_reuse_client_t;

/* The client's mirror; 0 if there is none that counts (it is empty then). */
int fs_reuse_mirrors_get(fs_reuse_mirrors_t *mirrors, const fs_reuse_client_t *client,
                         fs_reuse_mirror_t *mirror);
/* Notes that the client was sent, or holds, the page now. */
void fs_reuse_mirrors_put(fs_reuse_mirrors_t *mirrors, const fs_reuse_client_t *client,
                          const char *url, const char *tag, fs_usec_t now);
/*
 * The client's home, or his alternate, is another one from this request on, whatever it asks for:
 * the mirror goes on, and to that one. (`each` doesn't matter.)
 */
void fs_reuse_mirrors_move(fs_reuse_mirrors_t *mirrors, const fs_reuse_client_t *client);

/* --- the agent -------------------------------------------------------------------------------- */

/* A mirror on its way. */
typedef struct fs_reuse_carry_t {
    uint8_t id[FS_REUSE_CLIENT_BYTES];
    uint32_t generation;
    uint64_t version;
    int open; /* no mirror: what the other has is outdated */
    char to[FS_REUSE_SERVER_SIZE];
    fs_reuse_mirror_t mirror;
} fs_reuse_carry_t;

/*
 * Up to `room` mirrors that are to be carried now, from place `*at` on (0 at the beginning), which
 * moves on; FS_REUSE_MIRRORS: that is all. `all`: this server stops. They are shown again until
 * fs_reuse_mirrors_carried says that the alternate has them.
 */
unsigned fs_reuse_mirrors_due(fs_reuse_mirrors_t *mirrors, fs_usec_t now, int all,
                              fs_reuse_carry_t *carries, unsigned room, unsigned *at);
void fs_reuse_mirrors_carried(fs_reuse_mirrors_t *mirrors, const fs_reuse_carry_t *carry);
/* One that came from the client's home. 1 if it was news. */
int fs_reuse_mirrors_take(fs_reuse_mirrors_t *mirrors, const fs_reuse_carry_t *carry,
                          fs_usec_t now);

/* --- on the wire ------------------------------------------------------------------------------ */

#define FS_REUSE_CARRY_MOST  128 /* in one message */
#define FS_REUSE_CARRY_BYTES (8 + FS_REUSE_CARRY_MOST * (26 + FS_REUSE_MIRROR_PAGES * 12))

/* Writes `count` of them (at most FS_REUSE_CARRY_MOST); returns the bytes written. */
size_t fs_reuse_carry_write(const fs_reuse_carry_t *carries, unsigned count,
                            uint8_t bytes[FS_REUSE_CARRY_BYTES]);
/* Reads what another server wrote; `to` stays empty. How many, or -1 if it isn't such a message. */
int fs_reuse_carry_read(const void *bytes, size_t length,
                        fs_reuse_carry_t carries[FS_REUSE_CARRY_MOST]);

#endif
