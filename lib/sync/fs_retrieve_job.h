/* SPDX-License-Identifier: Apache-2.0 */
/* One image that is being brought; shared by the files of retrieval. Private to lib/sync. */
#ifndef FS_RETRIEVE_JOB_H
#define FS_RETRIEVE_JOB_H

#include <limits.h>

#include "base/fs_log.h"
#include "sync/fs_part.h"
#include "sync/fs_retrieve.h"
#include "sync/fs_verified.h"

/* An image in the directory from which another may be made. */
typedef struct fs_held_t {
    fs_digest_t digest;
    char group[FS_IMAGE_NAME_SIZE], dataset[FS_IMAGE_NAME_SIZE];
    int64_t version;
} fs_held_t;

struct fs_retrieve_t {
    char *dir;
    char preferred[FS_RETRIEVE_URL_SIZE]; /* base URL of the server that gave the last image */
    fs_verified_t verified;
    fs_log_gate_t damaged, spoilt; /* FS0358, FS0383 */
    /* Of one call: what was in the directory when it was first asked for. */
    fs_held_t *held;
    unsigned held_count;
    int held_known;
};

typedef struct fs_job_t {
    fs_retrieve_t *retrieve;
    const fs_retrieve_means_t *means;
    const char *const *servers;
    unsigned server_count;
    const char *group;
    int64_t version;
    const fs_manifest_dataset_t *dataset;
    fs_retrieve_count_t *count;
    fs_result_t *result;
    char hex[FS_DIGEST_HEX_SIZE];
    char path[PATH_MAX];   /* of the whole image */
    unsigned char *is_out; /* per server: not worth asking again for this image */
    unsigned char *hangs;  /* per server: let a transfer time out, isn't asked again for this
                              version */
    unsigned wait;         /* seconds after which a busy server may be asked again, 0 none is */
    int sole;              /* the server all bytes of the part came from, -1 several or unknown */
    int unmixed;           /* bytes of several servers didn't fit together: take all from one */
    char causes[FS_DETAIL_SIZE / 2];
} fs_job_t;

/* What this host couldn't do; no server can help. */
apr_status_t fs_job_not_here(const fs_job_t *job, apr_status_t status, const char *what);
int fs_job_stopped(const fs_job_t *job);
apr_status_t fs_job_stop(const fs_job_t *job);
/* FS0352 if the rest of the image has no room on the disk. */
apr_status_t fs_job_check_room(const fs_job_t *job, uint64_t have);
/* Whether the image at `path` is of the expected group and dataset. FS0351. */
apr_status_t fs_job_check_owner(const fs_job_t *job, const char *path);
/* The `n`th server to ask, -1 if it isn't to be asked now. */
int fs_job_server(const fs_job_t *job, unsigned n);
/*
 * Asks server `which` for `path` of it, into the part from where that ends. Counts, and notes who
 * is busy, hangs or brought nothing. Returns what means->download did; *have is what the part had
 * before, *now what it has.
 */
apr_status_t fs_job_download(fs_job_t *job, fs_part_t *part, unsigned which, const char *path,
                             uint64_t *have, uint64_t *now, fs_result_t *why);
/*
 * What the transfer of (a piece of) the image itself from server `which` has come to; APR_EAGAIN:
 * try on.
 */
apr_status_t fs_job_judge(fs_job_t *job, fs_part_t *part, unsigned which, uint64_t now,
                          apr_status_t status);

/*
 * Tries to make the image from one that is here and a delta (fs_retrieve_delta.c). `image` is its
 * part, open and empty. APR_EAGAIN: it is to be had whole; what a server sent instead of a delta
 * is in `image` then.
 */
apr_status_t fs_job_use_delta(fs_job_t *job, fs_part_t *image);
/* Forgets what was seen in the directory. */
void fs_retrieve_forget_held(fs_retrieve_t *retrieve);

#endif
