/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bodies that clients may hold, kept once for each distinct content, as dictionaries for what these
 * clients ask next. One mapped file of fixed size that all request processes of a host share:
 *
 *   head | index: slots | ring of bodies
 *
 * A body is appended to the ring; what it runs over is thereby forgotten, so the oldest goes first
 * and nothing grows. A body that is used while it is in the older half is appended again. A slot
 * holds the place of its body as a position that only grows, and so tells by itself whether the
 * body is still there.
 *
 * A body belongs to an origin (scheme, host and port): it is a dictionary for nobody else. Whoever
 * takes one out gets a copy, of which the digest has been checked: a file that was damaged, or that
 * a process died in while writing, gives nothing wrong.
 *
 * Any number of processes and threads; a lock in the file is held while bytes are copied, and
 * outlives the death of its holder.
 */
#ifndef FS_REUSE_STORE_H
#define FS_REUSE_STORE_H

#include "base/fs_digest.h"
#include "base/fs_result.h"

#define FS_REUSE_STORE_LEAST (UINT64_C(1) << 20) /* bytes */
#define FS_REUSE_STORE_MOST  (UINT64_C(64) << 30)

typedef struct fs_reuse_store_t fs_reuse_store_t;

typedef struct fs_reuse_totals_t {
    uint64_t bodies; /* that were put in, since the file was made */
    uint64_t bytes;  /* of the ring that are used */
    uint64_t size;   /* of the ring */
} fs_reuse_totals_t;

/*
 * Makes `path` (mode 0600, of this user), with its space reserved, if it isn't there or isn't a
 * store of this size; else leaves it as it is. `uid` and `gid` (uint32_t)-1: as they are. Before
 * the request processes are there. Errors: FS1711.
 */
apr_status_t fs_reuse_store_prepare(const char *path, uint64_t size, uint32_t uid, uint32_t gid,
                                    fs_result_t *result);
/* Maps it. The caller closes. Errors: FS1711. */
apr_status_t fs_reuse_store_open(fs_reuse_store_t **store, const char *path, fs_result_t *result);
void fs_reuse_store_close(fs_reuse_store_t *store);

/* A number for an origin, "https://host:port". */
uint64_t fs_reuse_origin(const char *origin);

/*
 * Puts a body in unless it is there already. 1 if it is in the store now, 0 if it is too large
 * (above a quarter of the ring) or the lock can't be had.
 */
int fs_reuse_store_put(fs_reuse_store_t *store, uint64_t origin, const void *body, size_t length);

/* A copy of the body with this digest, malloc'ed, or NULL if the origin has none. */
void *fs_reuse_store_get(fs_reuse_store_t *store, uint64_t origin, const fs_digest_t *digest,
                         size_t *length);

void fs_reuse_store_totals(fs_reuse_store_t *store, fs_reuse_totals_t *totals);

#endif
