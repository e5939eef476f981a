/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A group's manifest as it is published inside the process: immutable, shared by reference, with
 * the JSON that agents get printed once, not once per agent.
 */
#ifndef FS_DATASRV_PUBLISHED_H
#define FS_DATASRV_PUBLISHED_H

#include <stdatomic.h>

#include "sync/fs_manifest.h"

typedef struct fs_published_t {
    atomic_uint references;
    fs_manifest_t *manifest;
    char *json;
    size_t length;
    fs_usec_t asked; /* mono: the database had this then; set before it is shared, 0 unknown */
} fs_published_t;

/* Takes ownership of `manifest`; one reference belongs to the caller. NULL when out of memory. */
fs_published_t *fs_published_make(fs_manifest_t *manifest);
fs_published_t *fs_published_hold(fs_published_t *published); /* any thread; NULL is fine */
void fs_published_drop(fs_published_t *published);            /* any thread; NULL is fine */

/* Whether one of its versions names this image. */
int fs_published_names(const fs_published_t *published, const fs_digest_t *digest);

/* The versions whose images are wanted: the one in force at `now` first (now 0: not known). */
unsigned fs_published_versions(const fs_published_t *published, fs_usec_t now,
                               const fs_manifest_version_t *versions[2]);

#endif
