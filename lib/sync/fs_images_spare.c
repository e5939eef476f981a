/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images that nobody names any more and that stay nevertheless: of each dataset those that were in
 * use last, so that a roll-back finds them. Nothing is remembered in the process: when an image was
 * in use is noted in its atime (the mtime says whether it is untouched since it was verified), and
 * whose it is stands in its header. So a restart forgets nothing.
 */
#include "sync/fs_retrieve.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct seen_t {
    fs_digest_t digest;
    int used;
    fs_usec_t last; /* wall time when it was in use */
    uint64_t bytes;
    char group[FS_IMAGE_NAME_SIZE], dataset[FS_IMAGE_NAME_SIZE];
} seen_t;

typedef struct looking_t {
    const char *dir;
    const fs_digest_t *used;
    unsigned used_count;
    fs_usec_t now;
    unsigned count, room;
    seen_t *all;
} looking_t;

static fs_usec_t time_of(const struct timespec *time)
{
    return (fs_usec_t)time->tv_sec * FS_USEC_PER_SEC + time->tv_nsec / 1000;
}

static int is_used(const looking_t *looking, const fs_digest_t *digest)
{
    for (unsigned i = 0; i < looking->used_count; i++)
        if (fs_digest_equal(&looking->used[i], digest))
            return 1;
    return 0;
}

/* Whose image it is; 0 if that can't be told. */
static int describe(const char *path, seen_t *seen)
{
    const fs_image_schema_t *schema;
    fs_image_t *image;

    if (fs_image_open(&image, path, NULL))
        return 0;
    schema = fs_image_schema(image);
    memcpy(seen->group, schema->group, sizeof(seen->group));
    memcpy(seen->dataset, schema->dataset, sizeof(seen->dataset));
    fs_image_close(image);
    return 1;
}

static void note_use(const char *path, fs_usec_t now)
{
    const struct timespec times[2] = {{now / FS_USEC_PER_SEC, (long)(now % FS_USEC_PER_SEC * 1000)},
                                      {0, UTIME_OMIT}};

    /* If it can't be noted, the image counts as used when it was made. */
    (void)utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW);
}

static void look_at(void *baton, const fs_digest_t *digest)
{
    looking_t *looking = baton;
    seen_t seen = {.digest = *digest, .used = is_used(looking, digest)}, *grown;
    char path[PATH_MAX];
    struct stat info;
    fs_usec_t made;

    if (fs_images_path(path, sizeof(path), looking->dir, digest) || lstat(path, &info) ||
        !S_ISREG(info.st_mode) || !describe(path, &seen))
        return;
    made = time_of(&info.st_mtim);
    seen.last = time_of(&info.st_atim) > made ? time_of(&info.st_atim) : made;
    seen.bytes = (uint64_t)info.st_size;
    if (seen.used)
        note_use(path, looking->now);
    if (looking->count == looking->room) {
        looking->room = looking->room ? 2 * looking->room : 64;
        grown = realloc(looking->all, looking->room * sizeof(*grown));
        if (!grown) {
            looking->room = looking->count;
            return;
        }
        looking->all = grown;
    }
    looking->all[looking->count++] = seen;
}

static int same_dataset(const seen_t *a, const seen_t *b)
{
    return strcmp(a->group, b->group) == 0 && strcmp(a->dataset, b->dataset) == 0;
}

/* Dataset by dataset: what is in use, then what was, the last first. */
static int compare(const void *left, const void *right)
{
    const seen_t *a = left, *b = right;
    int order = strcmp(a->group, b->group);

    if (!order)
        order = strcmp(a->dataset, b->dataset);
    if (!order)
        order = b->used - a->used;
    if (!order)
        order = (b->last > a->last) - (b->last < a->last);
    return order ? order : memcmp(a->digest.bytes, b->digest.bytes, sizeof(a->digest.bytes));
}

static unsigned choose(const looking_t *looking, fs_digest_t *spared, unsigned room)
{
    unsigned found = 0, of_this = 0;
    int in_use = 0;

    for (unsigned i = 0; i < looking->count; i++) {
        const seen_t *seen = &looking->all[i];

        if (!i || !same_dataset(seen, seen - 1))
            in_use = seen->used, of_this = 0;
        if (!seen->used && in_use && of_this++ < FS_IMAGES_SPARED && found < room)
            spared[found++] = seen->digest;
    }
    return found;
}

unsigned fs_images_spare(const char *dir, const fs_digest_t *used, unsigned count,
                         uint64_t disk_free, fs_usec_t wall_now, fs_digest_t *spared, unsigned room)
{
    looking_t looking = {
        .dir = dir, .used = used, .used_count = count, .now = wall_now, .all = NULL};
    unsigned found = 0;
    uint64_t bytes = 0;

    fs_images_each(dir, look_at, &looking);
    for (unsigned i = 0; i < looking.count; i++)
        bytes += looking.all[i].used ? looking.all[i].bytes : 0;
    if (looking.count && disk_free >= bytes) {
        qsort(looking.all, looking.count, sizeof(*looking.all), compare);
        found = choose(&looking, spared, room);
    }
    free(looking.all);
    return found;
}
