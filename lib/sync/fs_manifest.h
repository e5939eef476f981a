/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a group's row in farmsync.sync says, with the images of its versions: the one description
 * that datasrv serves, agents keep on disk, and both take from SQL. JSON on the wire and on disk.
 *
 * {"group":"default","epoch":17,"version":12,"active_version":11,
 *  "activation_time":1790000000000000,"grid":1790000000000000,"interval":600000000,
 *  "min_lead":5000000,
 *  "state":"running","pinned_version":null,"reason":"",
 *  "versions":[{"version":11,"datasets":[{"name":"prices","digest":"<64
 * hex>","bytes":12,"rows":3}]},
 *              {"version":12,"datasets":[...]}]}
 *
 * All times are farm time in microseconds. `grid` may be missing: then it is activation_time.
 * `versions` holds active_version and, if it differs,
 * version (the staged one). Allocated with malloc; free with fs_manifest_free. Any thread.
 */
#ifndef FS_MANIFEST_H
#define FS_MANIFEST_H

#include "base/fs_digest.h"
#include "base/fs_result.h"
#include "base/fs_time.h"
#include "image/fs_image.h"

#define FS_MANIFEST_MAX_DATASETS 256
#define FS_MANIFEST_MAX_BYTES    (256u * 1024)

typedef enum fs_group_state_t {
    FS_GROUP_RUNNING, /* promotes each cycle */
    FS_GROUP_HELD,    /* hold(): nothing is promoted until resume() */
    FS_GROUP_FAILED, /* the last promotion was refused; `reason` says why; tried again next cycle */
    FS_GROUP_WAITING /* the staged version waits for servers to be ready: activation_time is a plan
                        that no server may act on */
} fs_group_state_t;

typedef struct fs_manifest_dataset_t {
    char name[FS_IMAGE_NAME_SIZE];
    fs_digest_t digest;
    uint64_t bytes;
    uint64_t rows;
} fs_manifest_dataset_t;

typedef struct fs_manifest_version_t {
    int64_t version; /* 0: nothing was ever promoted */
    unsigned dataset_count;
    fs_manifest_dataset_t *datasets; /* ordered by name */
} fs_manifest_version_t;

typedef struct fs_manifest_t {
    char group[FS_IMAGE_NAME_SIZE];
    int64_t epoch;
    fs_usec_t activation_time;
    fs_usec_t grid; /* a moment of the grid that activations are kept on */
    fs_usec_t interval;
    fs_usec_t min_lead;
    fs_group_state_t state;
    int64_t pinned_version; /* 0: not pinned */
    char reason[512]; /* why the last promotion was refused, or what is waited for; else empty */
    fs_manifest_version_t active;
    /* staged.version == active.version: nothing is staged, and `datasets` is the same array */
    fs_manifest_version_t staged;
} fs_manifest_t;

/* Errors: FS0360 not JSON or a field missing or out of range (named). */
apr_status_t fs_manifest_parse(fs_manifest_t **manifest, const char *json, size_t length,
                               fs_result_t *result);
/* malloc'ed JSON text with a NUL; the caller frees. */
char *fs_manifest_print(const fs_manifest_t *manifest, size_t *length);
void fs_manifest_free(fs_manifest_t *manifest);

/*
 * Adds a dataset to a version of a manifest that is being made, in its place by name. `name` need
 * not be terminated. APR_EINVAL: a name that is empty, too long or has control characters;
 * APR_EEXIST: it is there already; APR_ENOSPC: FS_MANIFEST_MAX_DATASETS reached; APR_ENOMEM.
 */
apr_status_t fs_manifest_add_dataset(fs_manifest_version_t *version, const char *name,
                                     size_t name_length, const fs_digest_t *digest, uint64_t bytes,
                                     uint64_t rows);

/* The version that is in force at farm time `now`: active before activation_time and while the
 * group waits, staged from then on. */
const fs_manifest_version_t *fs_manifest_in_force(const fs_manifest_t *manifest, fs_usec_t now);

/*
 * Hex digest over a version's dataset names and image digests: what a member reports, so that two
 * servers can be seen to hold the same. "" for version 0.
 */
void fs_manifest_version_digest(const fs_manifest_version_t *version, char hex[FS_DIGEST_HEX_SIZE]);

/* The text of a state, as in JSON and SQL. */
const char *fs_group_state_name(fs_group_state_t state);
/* Reads it back; 0, or -1 if it is none. `text` need not be terminated. */
int fs_group_state_parse(const char *text, size_t length, fs_group_state_t *state);

/*
 * Copies text into a fixed field so that JSON and a log line can carry it: whole UTF-8 characters
 * only, what doesn't fit is cut, control characters become spaces and bytes that aren't UTF-8 '?'.
 * Always terminated; `size` > 0.
 */
void fs_text_fit(char *out, size_t size, const char *text, size_t length);

#endif
