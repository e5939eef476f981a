/* SPDX-License-Identifier: Apache-2.0 */
#include "sync/fs_verified.h"

static fs_verified_file_t *seek(const fs_verified_t *verified, const fs_digest_t *digest)
{
    for (unsigned i = 0; i < verified->count; i++) {
        if (fs_digest_equal(&verified->files[i].digest, digest))
            return (fs_verified_file_t *)&verified->files[i];
    }
    return NULL;
}

int fs_verified_has(const fs_verified_t *verified, const fs_digest_t *digest,
                    const struct stat *info)
{
    const fs_verified_file_t *file = seek(verified, digest);

    return file && file->device == info->st_dev && file->inode == info->st_ino &&
           file->size == info->st_size && file->modified.tv_sec == info->st_mtim.tv_sec &&
           file->modified.tv_nsec == info->st_mtim.tv_nsec;
}

void fs_verified_add(fs_verified_t *verified, const fs_digest_t *digest, const struct stat *info)
{
    fs_verified_file_t *file = seek(verified, digest);

    if (!file) {
        file = &verified->files[verified->next];
        verified->next = (verified->next + 1) % FS_RETRIEVE_REMEMBER;
        if (verified->count < FS_RETRIEVE_REMEMBER)
            verified->count++;
    }
    file->digest = *digest;
    file->device = info->st_dev;
    file->inode = info->st_ino;
    file->size = info->st_size;
    file->modified = info->st_mtim;
}
