/* SPDX-License-Identifier: Apache-2.0 */
#include "sync/fs_part.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Whether `path` still is the file behind `fd`: its last holder may have renamed or removed it. */
static int still_there(int fd, const char *path)
{
    struct stat held, named;

    return fstat(fd, &held) == 0 && stat(path, &named) == 0 && held.st_dev == named.st_dev &&
           held.st_ino == named.st_ino;
}

static apr_status_t cannot_open(const fs_part_t *part, fs_result_t *result)
{
    apr_status_t status = APR_FROM_OS_ERROR(errno);

    return fs_result_set(result, status, "FS0356",
                         "cannot use %s: %s; check the directory's owner and free space",
                         part->path, strerror(errno));
}

/*
 * What comes is written in aligned pieces of 2 MiB, as images that are built here are (see
 * image/fs_image_write.h): file systems with large folios then keep it in huge pages. Without
 * memory for that it goes without.
 */
#define PIECE_BYTES (2u * 1024 * 1024)

static void write_in_large_pieces(fs_part_t *part)
{
    part->buffer = malloc(PIECE_BYTES);
    if (part->buffer)
        setvbuf(part->file, part->buffer, _IOFBF, PIECE_BYTES);
}

static void close_file(fs_part_t *part)
{
    fclose(part->file);
    free(part->buffer);
    part->file = NULL;
    part->buffer = NULL;
}

/* Opens and locks part->path. */
static apr_status_t open_locked(fs_part_t *part, fs_result_t *result)
{
    int fd;

    for (;;) {
        fd = open(part->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
        if (fd < 0)
            return cannot_open(part, result);
        if (flock(fd, LOCK_EX | LOCK_NB)) {
            close(fd);
            return fs_result_set(
                result, APR_EBUSY, "FS0353",
                "%s is being filled by another process; it will be asked for again", part->path);
        }
        if (still_there(fd, part->path))
            break;
        close(fd);
    }
    part->file = fdopen(fd, "r+");
    if (part->file) {
        write_in_large_pieces(part);
        return APR_SUCCESS;
    }
    close(fd);
    errno = ENOMEM;
    return cannot_open(part, result);
}

apr_status_t fs_part_open(fs_part_t *part, const char *dir, const fs_digest_t *digest,
                          fs_result_t *result)
{
    char hex[FS_DIGEST_HEX_SIZE];

    part->file = NULL;
    if (snprintf(part->path, sizeof(part->path), "%s/" FS_PART_PREFIX "%s", dir,
                 fs_digest_hex(digest, hex)) >= (int)sizeof(part->path)) {
        errno = ENAMETOOLONG;
        return cannot_open(part, result);
    }
    return open_locked(part, result);
}

apr_status_t fs_part_open_delta(fs_part_t *part, const char *dir, const fs_digest_t *digest,
                                const fs_digest_t *from, fs_result_t *result)
{
    char hex[FS_DIGEST_HEX_SIZE], old[FS_DIGEST_HEX_SIZE];

    part->file = NULL;
    if (snprintf(part->path, sizeof(part->path), "%s/" FS_PART_PREFIX "%s-%s", dir,
                 fs_digest_hex(digest, hex), fs_digest_hex(from, old)) >= (int)sizeof(part->path)) {
        errno = ENAMETOOLONG;
        return cannot_open(part, result);
    }
    return open_locked(part, result);
}

int fs_part_adopt(fs_part_t *part, fs_part_t *delta)
{
    fflush(delta->file);
    if (rename(delta->path, part->path))
        return errno;
    close_file(part);
    part->file = delta->file;
    part->buffer = delta->buffer;
    delta->file = NULL;
    delta->buffer = NULL;
    return 0;
}

uint64_t fs_part_size(fs_part_t *part)
{
    struct stat info;

    fflush(part->file);
    return fstat(fileno(part->file), &info) == 0 ? (uint64_t)info.st_size : 0;
}

int fs_part_empty(fs_part_t *part)
{
    fflush(part->file);
    clearerr(part->file);
    rewind(part->file);
    return ftruncate(fileno(part->file), 0) ? errno : 0;
}

int fs_part_finish(fs_part_t *part, const char *final_path)
{
    if (fflush(part->file) || fsync(fileno(part->file)) || rename(part->path, final_path))
        return errno;
    return 0;
}

void fs_part_close(fs_part_t *part, int drop)
{
    if (!part->file)
        return;
    if (drop)
        unlink(part->path);
    close_file(part);
}
