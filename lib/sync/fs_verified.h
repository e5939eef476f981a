/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which image files were read and found right, so that they need not be read again as long as the
 * file is still the same: size, modification time, inode. Bounded; the oldest is forgotten. One
 * thread. Private to lib/sync.
 */
#ifndef FS_VERIFIED_H
#define FS_VERIFIED_H

#include <sys/stat.h>

#include "base/fs_digest.h"
#include "sync/fs_retrieve.h"

typedef struct fs_verified_file_t {
    fs_digest_t digest;
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec modified;
} fs_verified_file_t;

typedef struct fs_verified_t {
    unsigned count, next;
    fs_verified_file_t files[FS_RETRIEVE_REMEMBER];
} fs_verified_t;

/* Whether the file `info` describes was found to have `digest`. */
int fs_verified_has(const fs_verified_t *verified, const fs_digest_t *digest,
                    const struct stat *info);
void fs_verified_add(fs_verified_t *verified, const fs_digest_t *digest, const struct stat *info);

#endif
