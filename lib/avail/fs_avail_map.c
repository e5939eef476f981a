/* SPDX-License-Identifier: Apache-2.0 */
/* What both sides of a publication need of its files. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "avail/fs_avail_internal.h"

#define FS_AVAIL_LAYOUT 1u
#define LISTED_MAX      64 /* publications; there are never many more than FS_AVAIL_KEEP */

static void fill_head(fs_page_head_t *head, const char *magic, uint32_t record_bytes, size_t size)
{
    memset(head, 0, sizeof(*head));
    memcpy(head->magic, magic, sizeof(head->magic));
    head->layout = FS_AVAIL_LAYOUT;
    head->group_bytes = record_bytes;
    head->size = size;
}

void fs_avail_head_page(fs_page_head_t *head)
{
    fill_head(head, "FSAVAIL\n", 0, sizeof(fs_avail_page_t));
}

void fs_avail_head_marks(fs_page_head_t *head)
{
    fill_head(head, "FSAVMRK\n", sizeof(fs_avail_record_t), sizeof(fs_avail_marks_page_t));
}

int fs_avail_path(char *path, size_t size, const char *state_dir, const char *name)
{
    return snprintf(path, size, "%s/%s", state_dir, name) < (int)size;
}

int fs_avail_path_of(char *path, size_t size, const char *state_dir, uint64_t generation)
{
    return snprintf(path, size, "%s/" FS_AVAIL_DIR "/%" PRIu64, state_dir, generation) < (int)size;
}

/* The number that is a file's whole name, or 0. */
static uint64_t number_of(const char *name)
{
    char *end, again[24];
    uint64_t number;

    errno = 0;
    number = strtoull(name, &end, 10);
    snprintf(again, sizeof(again), "%" PRIu64, number);
    return errno || *end || strcmp(name, again) != 0 ? 0 : number;
}

static int ascending(const void *a, const void *b)
{
    uint64_t one = *(const uint64_t *)a, other = *(const uint64_t *)b;

    return (one > other) - (one < other);
}

uint64_t *fs_avail_list(const char *state_dir, unsigned *count)
{
    uint64_t *found = calloc(LISTED_MAX, sizeof(*found)), number;
    char path[PATH_MAX];
    struct dirent *entry;
    DIR *dir = NULL;

    *count = 0;
    if (found && fs_avail_path(path, sizeof(path), state_dir, FS_AVAIL_DIR))
        dir = opendir(path);
    while (dir && *count < LISTED_MAX && (entry = readdir(dir))) {
        number = number_of(entry->d_name);
        if (number)
            found[(*count)++] = number;
    }
    if (dir)
        closedir(dir);
    if (*count)
        qsort(found, *count, sizeof(*found), ascending);
    return found;
}

static int write_all(int fd, const char *text, size_t length)
{
    while (length) {
        ssize_t written = write(fd, text, length);

        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return -1;
        text += written;
        length -= (size_t)written;
    }
    return 0;
}

/*
 * Not synced to the disk, because an operator waits for the answer: what a power cut leaves of a
 * publication is noticed by its digest, and the agent keeps the notices themselves elsewhere.
 */
apr_status_t fs_avail_put(const char *path, const char *text, size_t length)
{
    char temporary[PATH_MAX];
    int fd, error = 0;

    if (snprintf(temporary, sizeof(temporary), "%s.XXXXXX", path) >= PATH_MAX)
        return APR_ENAMETOOLONG;
    fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0)
        return APR_FROM_OS_ERROR(errno);
    if (fchmod(fd, 0640) || write_all(fd, text, length))
        error = errno ? errno : EIO;
    if (close(fd) && !error)
        error = errno;
    if (!error && rename(temporary, path))
        error = errno;
    if (error)
        unlink(temporary);
    return error ? APR_FROM_OS_ERROR(error) : APR_SUCCESS;
}
