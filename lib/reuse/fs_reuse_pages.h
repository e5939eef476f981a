/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pages of which it is known what they depend on, so that who holds one can be told that it is
 * unchanged before anything is done to make it. One mapped file a host, shared by all request
 * processes, of fixed size: a new page takes the place of another.
 *
 * Any number of processes and threads; a lock in the file is held while one entry is copied, and
 * outlives the death of its holder.
 */
#ifndef FS_REUSE_PAGES_H
#define FS_REUSE_PAGES_H

#include "base/fs_digest.h"
#include "base/fs_result.h"

#define FS_REUSE_VARY_LIMIT    128
#define FS_REUSE_DEPENDS_LIMIT 512
#define FS_REUSE_CONTROL_LIMIT 192

/* Texts end with a NUL. */
typedef struct fs_reuse_known_t {
    fs_digest_t page;                     /* of origin, URL and check value */
    uint64_t sequence;                    /* of names, when its making began (fs_reuse_names.h) */
    uint64_t data;                        /* a hash of what it saw of datasets */
    uint64_t asked;                       /* a hash of the request's fields that `vary` names */
    char vary[FS_REUSE_VARY_LIMIT];       /* fields, with commas */
    char depends[FS_REUSE_DEPENDS_LIMIT]; /* names, with blanks */
    char control[FS_REUSE_CONTROL_LIMIT]; /* its Cache-Control */
} fs_reuse_known_t;

typedef struct fs_reuse_pages_t fs_reuse_pages_t;

/* As fs_reuse_store_prepare and _open. Errors: FS1711. */
apr_status_t fs_reuse_pages_prepare(const char *path, uint32_t uid, uint32_t gid,
                                    fs_result_t *result);
apr_status_t fs_reuse_pages_open(fs_reuse_pages_t **pages, const char *path, fs_result_t *result);
void fs_reuse_pages_close(fs_reuse_pages_t *pages);

void fs_reuse_pages_put(fs_reuse_pages_t *pages, const fs_reuse_known_t *known);
/* 1 if there is one for this page. */
int fs_reuse_pages_find(fs_reuse_pages_t *pages, const fs_digest_t *page, fs_reuse_known_t *known);

#endif
