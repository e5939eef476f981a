/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Retrieval (Fig. 5 of the data synchronization source): the images that a version names, brought
 * whole and verified into one directory, ahead of their activation.
 *
 *   images/<hex>.fsi     a whole image. It got this name by rename, after it was verified
 *   images/.part-<hex>   a transfer under way or broken off; locked (flock) by whoever fills it
 *   images/.part-<hex>-<old hex>   the same of a delta
 *
 * For each image, the first of these that works:
 *   1. it is there: nothing. What was verified once is remembered by size, mtime and inode, so that
 *      publishing again reads nothing again; a file that is damaged is removed and fetched anew
 *   2. an older image of the dataset is there: a delta from it, `<base>/v1/images/<hex>?from=<old>`
 *      (fs_retrieve_delta.c)
 *   3. a transfer, `<base>/v1/images/<hex>`, from each data server in turn. A transfer that broke
 *      is continued from where it ended, by Range, on the next server; bytes that turn out to be
 *      wrong are thrown away and taken from zero elsewhere
 *   4. the same image from SQL
 * Whatever comes is accepted only if the whole file has the digest the manifest promised and its
 * header names the expected group and dataset. Nothing here touches an image that is in use: names
 * are digests, so that an image is never written over.
 *
 * How to transfer and how to build are functions given by the caller, so that tests drive this with
 * a lossy transport and no network; fs_transport.h has the real ones. Blocking; one thread at a
 * time for one fs_retrieve_t. Two processes may share the directory (an old and a new agent during
 * a graceful restart): each part is filled by one at a time.
 */
#ifndef FS_RETRIEVE_H
#define FS_RETRIEVE_H

#include <stdio.h>

#include "base/fs_result.h"
#include "image/fs_image.h"
#include "sync/fs_manifest.h"

#define FS_RETRIEVE_ROUNDS 4 /* how often one server is asked for one image in one call */
#define FS_RETRIEVE_REMEMBER                                                                       \
    1024                          /* verified images remembered; beyond that they are read again   \
                                   */
#define FS_RETRIEVE_URL_SIZE 1024 /* of "<base>/v1/images/<hex>" */

/* How images come. All functions may block; all are called from the thread that called in. */
typedef struct fs_retrieve_means_t {
    void *baton;
    /*
     * GETs `url` into `file` from byte `from` on, at most `limit` bytes of file in all, as
     * fs_http_download does: what came before a failure stays in the file. A full disk is
     * APR_ENOSPC (or EDQUOT, EFBIG, or FS0224); APR_EOF: there is nothing from `from` on. *wait:
     * seconds after which the server wants to be asked again, when it said so. NULL: no data
     * server is asked.
     */
    apr_status_t (*download)(void *baton, const char *url, FILE *file, uint64_t from,
                             uint64_t limit, unsigned *wait, fs_result_t *result);
    /* fs_delta_apply. NULL: no deltas are asked for. */
    apr_status_t (*apply)(const char *old_path, const char *delta_path, const char *dir,
                          const fs_digest_t *digest, uint64_t bytes, fs_image_made_t *made,
                          fs_result_t *result);
    /* Builds the image from SQL into `dir`, as fs_source_build does. NULL: no database. */
    apr_status_t (*build)(void *baton, const char *group, const char *dataset, int64_t version,
                          const char *dir, fs_image_made_t *made, fs_result_t *result);
    /* Not 0: stop as soon as possible (shutdown). May be NULL. */
    int (*stopped)(void *baton);
    /* Data servers that ask to be asked again are treated as if they had failed. */
    int impatient;
} fs_retrieve_means_t;

/* What one call did; for the log and the metrics. Added to, never cleared. */
typedef struct fs_retrieve_count_t {
    uint64_t present;     /* images that were there */
    uint64_t transferred; /* images that came from a data server */
    uint64_t built;       /* images that were built from SQL */
    uint64_t bytes;       /* received from data servers, thrown away ones included */
    uint64_t resumed;     /* transfers continued after a break */
    uint64_t rejected;    /* files that weren't what was promised */
    uint64_t deltas;      /* of the transferred ones, those that came as a delta ... */
    uint64_t delta_bytes; /* ... of so many bytes */
    uint64_t spoilt;      /* deltas that were of no use: the image was taken whole */
    uint64_t busy;        /* answers that said to come again */
    unsigned wait;        /* seconds after which to ask again, with FS0384; set, not added to */
} fs_retrieve_count_t;

typedef struct fs_retrieve_t fs_retrieve_t;

/* `dir` is made if it isn't there (FS0013). malloc'ed; free with fs_retrieve_destroy. */
apr_status_t fs_retrieve_create(fs_retrieve_t **retrieve, const char *dir, fs_result_t *result);
void fs_retrieve_destroy(fs_retrieve_t *retrieve);

/*
 * Brings every image of `version` of `group` into the directory. `servers` are base URLs
 * ("http://ds1:4470"), asked in this order, the one that answered last first. APR_SUCCESS: all are
 * there and verified. Otherwise as many as could be had are there, and `result` tells of the first
 * that could not:
 *   FS0350  no data server had it and it could not be built (each one's cause is named)
 *   FS0351  the image has the promised digest but is of another group or dataset (APR_EMISMATCH)
 *   FS0352  no room on disk: the part was removed (APR_ENOSPC)
 *   FS0353  somebody else is filling the part just now (APR_EBUSY): ask again
 *   FS0354  stopped (APR_EINTR); what was received is kept for the next time
 *   FS0355  built from SQL, but the digest differs from the manifest's
 *   FS0356  the directory cannot be used
 *   FS0384  a data server will have it in a moment (APR_EBUSY): ask again after count->wait
 * `count` may be NULL.
 */
apr_status_t fs_retrieve_version(fs_retrieve_t *retrieve, const fs_retrieve_means_t *means,
                                 const char *const *servers, unsigned server_count,
                                 const char *group, const fs_manifest_version_t *version,
                                 fs_retrieve_count_t *count, fs_result_t *result);

/*
 * Whether every image of `version` is in the directory, verified and of `group`: what an agent asks
 * before it publishes without a network (a cold start). Reads what it hasn't verified before. 1 or
 * 0; on 0 `result` names what is missing (FS0357) or damaged (FS0358).
 */
int fs_retrieve_have(fs_retrieve_t *retrieve, const char *group,
                     const fs_manifest_version_t *version, fs_result_t *result);

/*
 * Removes from directory `dir` images that are not among the `count` digests of `keep`, parts that
 * nobody fills and that aren't kept, and leftovers of builders that haven't been touched for
 * `leftover_age` microseconds of wall time before `wall_now`. Never a part in progress. Returns how
 * many files were removed. A file that can't be removed is logged (FS0359) and left. Any thread,
 * any process.
 */
unsigned fs_images_clean(const char *dir, const fs_digest_t *keep, unsigned count,
                         fs_usec_t wall_now, fs_usec_t leftover_age);

#define FS_IMAGES_LEFTOVER_AGE (FS_USEC_PER_SEC * 3600)

/*
 * What fs_images_clean is to keep beside what is in use, so that a roll-back transfers nothing: of
 * each dataset in use the FS_IMAGES_SPARED images that were in use last. None when the disk has no
 * room for as much as is in use (`disk_free` bytes; 0 lets go of all). To be called with the
 * `count` digests in use every few seconds, for it notes that they are, in the files' atime. Writes
 * up to `room` digests to `spared` and returns how many. Any thread, any process.
 */
#define FS_IMAGES_SPARED 3
unsigned fs_images_spare(const char *dir, const fs_digest_t *used, unsigned count,
                         uint64_t disk_free, fs_usec_t wall_now, fs_digest_t *spared,
                         unsigned room);

/* Writes "<dir>/<hex>.fsi". Returns 0, or -1 if it doesn't fit into `size`. */
int fs_images_path(char *out, size_t size, const char *dir, const fs_digest_t *digest);

/* Calls `see` for each file in `dir` that is named as an image is, in any order; it may remove it. */
void fs_images_each(const char *dir, void (*see)(void *baton, const fs_digest_t *digest),
                    void *baton);

#endif
