/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A mapped file of fixed size that all request processes of a host share, with a lock in it that
 * outlives the death of its holder. Not for users of the library.
 *
 * A file of an earlier boot is made anew: who held its lock then can't be told from one who does.
 */
#ifndef FS_REUSE_FILE_H
#define FS_REUSE_FILE_H

#include <pthread.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/fs_result.h"

#define FS_REUSE_FILE_HEAD 256 /* bytes before what is the user's */

typedef struct fs_reuse_file_t {
    void *base; /* of the mapping; what is the user's begins FS_REUSE_FILE_HEAD further on */
    uint64_t size;
    dev_t device;
    ino_t inode;
} fs_reuse_file_t;

/*
 * Makes `path` (mode 0600) of `size` bytes with its space reserved, zeroed, unless it is one with
 * this magic, of 8 characters; whoever does so at the same time (fs_once.h). Errors: FS1711.
 */
apr_status_t fs_reuse_file_prepare(const char *path, const char *magic, uint64_t size, uint32_t uid,
                                   uint32_t gid, fs_result_t *result);
/* Maps it, whatever its size is. Errors: FS1711. */
apr_status_t fs_reuse_file_open(fs_reuse_file_t *file, const char *path, const char *magic,
                                fs_result_t *result);
void fs_reuse_file_close(fs_reuse_file_t *file);

/* 1 if `path` is still the file that is mapped. */
int fs_reuse_file_current(const fs_reuse_file_t *file, const char *path);

static inline void *fs_reuse_file_own(const fs_reuse_file_t *file)
{
    return (uint8_t *)file->base + FS_REUSE_FILE_HEAD;
}

/* 0 if the lock was taken. What its last holder was doing may be half done. */
int fs_reuse_file_lock(const fs_reuse_file_t *file);
void fs_reuse_file_unlock(const fs_reuse_file_t *file);

#endif
