/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A mapped file of fixed size that all request processes of a host share, with a lock in it that
 * outlives the death of its holder; and how a file is made that others may have mapped. Not for
 * users of the library.
 *
 * A file of an earlier boot is made anew: who held its lock then can't be told from one who does.
 */
#ifndef FS_REUSE_FILE_H
#define FS_REUSE_FILE_H

#include <pthread.h>
#include <stdint.h>

#include "base/fs_result.h"

#define FS_REUSE_FILE_HEAD 256 /* bytes before what is the user's */

typedef struct fs_reuse_file_t {
    void *base; /* of the mapping; what is the user's begins FS_REUSE_FILE_HEAD further on */
    uint64_t size;
} fs_reuse_file_t;

/*
 * Makes `path` (mode 0600) of `size` bytes with its space reserved, zeroed, unless it is one with
 * this magic, of 8 characters. Errors: FS1711.
 */
apr_status_t fs_reuse_file_prepare(const char *path, const char *magic, uint64_t size, uint32_t uid,
                                   uint32_t gid, fs_result_t *result);
/* Maps it, whatever its size is. Errors: FS1711. */
apr_status_t fs_reuse_file_open(fs_reuse_file_t *file, const char *path, const char *magic,
                                fs_result_t *result);
void fs_reuse_file_close(fs_reuse_file_t *file);

/*
 * Makes a file beside `path`, which old processes may still have mapped, has `fill` write into it
 * (0 or an error of the system), and puts it in its place. The open file, or -1 with errno set.
 */
typedef int fs_reuse_fill_fn(int fd, void *baton);
int fs_reuse_file_make(const char *path, fs_reuse_fill_fn *fill, void *baton, uint32_t uid,
                       uint32_t gid);

static inline void *fs_reuse_file_own(const fs_reuse_file_t *file)
{
    return (uint8_t *)file->base + FS_REUSE_FILE_HEAD;
}

/* 0 if the lock was taken. What its last holder was doing may be half done. */
int fs_reuse_file_lock(const fs_reuse_file_t *file);
void fs_reuse_file_unlock(const fs_reuse_file_t *file);

#endif
