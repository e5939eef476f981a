/* SPDX-License-Identifier: Apache-2.0 */
#include "store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/fs_file.h"
#include "base/fs_log.h"
#include "daemon.h"
#include "image/fs_image.h"
#include "image/fs_image_format.h"

#define SUFFIX      ".fsi"
#define NAME_LENGTH (FS_DIGEST_HEX_SIZE - 1 + sizeof(SUFFIX) - 1)

typedef struct entry_t {
    fs_digest_t digest;
    uint64_t bytes; /* of a verified image */
    int verified;
    int held;          /* made during a hold that may not have ended */
    fs_usec_t unnamed; /* mono time since when nobody names it, 0 if somebody does */
} entry_t;

struct fs_store_t {
    char *dir;
    int lock_fd;
    pthread_mutex_t lock; /* guards everything below */
    entry_t *entries;     /* ordered by digest */
    unsigned count, room;
    unsigned holds;
};

static void path_of(const fs_store_t *store, const fs_digest_t *digest, char path[PATH_MAX])
{
    char hex[FS_DIGEST_HEX_SIZE];

    snprintf(path, PATH_MAX, "%s/%s%s", store->dir, fs_digest_hex(digest, hex), SUFFIX);
}

/* Place of `digest`, or where it would be put. Lock held. */
static unsigned place_of(const fs_store_t *store, const fs_digest_t *digest)
{
    unsigned low = 0, high = store->count;

    while (low < high) {
        unsigned middle = low + (high - low) / 2;

        if (memcmp(store->entries[middle].digest.bytes, digest->bytes, FS_DIGEST_BYTES) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static entry_t *find(const fs_store_t *store, const fs_digest_t *digest)
{
    unsigned place = place_of(store, digest);

    return place < store->count && fs_digest_equal(&store->entries[place].digest, digest)
               ? &store->entries[place]
               : NULL;
}

/* The entry of `digest`, made if there is none; NULL when out of memory. Lock held. */
static entry_t *find_or_add(fs_store_t *store, const fs_digest_t *digest)
{
    unsigned place = place_of(store, digest);
    entry_t *found = find(store, digest);

    if (found)
        return found;
    if (store->count == store->room) {
        unsigned room = store->room ? 2 * store->room : 64;
        entry_t *more = realloc(store->entries, room * sizeof(*more));

        if (!more)
            return NULL;
        store->entries = more;
        store->room = room;
    }
    memmove(&store->entries[place + 1], &store->entries[place],
            (store->count - place) * sizeof(*store->entries));
    memset(&store->entries[place], 0, sizeof(*store->entries));
    store->entries[place].digest = *digest;
    store->count++;
    return &store->entries[place];
}

static void forget(fs_store_t *store, const fs_digest_t *digest)
{
    unsigned place;

    pthread_mutex_lock(&store->lock);
    place = place_of(store, digest);
    if (find(store, digest)) {
        store->count--;
        memmove(&store->entries[place], &store->entries[place + 1],
                (store->count - place) * sizeof(*store->entries));
    }
    pthread_mutex_unlock(&store->lock);
}

/* "<64 hex>.fsi" gives its digest. */
static int is_image(const char *name, fs_digest_t *digest)
{
    char hex[FS_DIGEST_HEX_SIZE];

    if (strlen(name) != NAME_LENGTH || strcmp(name + FS_DIGEST_HEX_SIZE - 1, SUFFIX))
        return 0;
    memcpy(hex, name, sizeof(hex) - 1);
    hex[sizeof(hex) - 1] = '\0';
    return fs_digest_parse(digest, hex) == 0;
}

/* Notes image files that an earlier process left, so that those which nobody names are removed in
 * time, and images that a promotion which was rolled back built in vain. */
static void look_around(fs_store_t *store)
{
    DIR *dir = opendir(store->dir);
    struct dirent *file;
    fs_digest_t digest;

    if (!dir)
        return;
    while ((file = readdir(dir))) {
        if (!is_image(file->d_name, &digest))
            continue;
        pthread_mutex_lock(&store->lock);
        find_or_add(store, &digest);
        pthread_mutex_unlock(&store->lock);
    }
    closedir(dir);
}

/* At the start, with the directory locked, whatever isn't an image is a builder's that was killed.
 */
static void remove_leftovers(const fs_store_t *store)
{
    DIR *dir = opendir(store->dir);
    struct dirent *file;
    fs_digest_t digest;

    if (!dir)
        return;
    while ((file = readdir(dir)))
        if (!strncmp(file->d_name, FS_IMAGE_TEMPORARY, sizeof(FS_IMAGE_TEMPORARY) - 1) &&
            !is_image(file->d_name, &digest))
            unlinkat(dirfd(dir), file->d_name, 0);
    closedir(dir);
}

apr_status_t fs_store_open(fs_store_t **store, const char *dir, fs_result_t *result)
{
    fs_store_t *made;
    int lock_fd;
    apr_status_t status = fs_dir_make(dir, result);

    if (status == APR_SUCCESS)
        status = fs_dir_lock(dir, &lock_fd, result);
    if (status != APR_SUCCESS)
        return status;
    made = calloc(1, sizeof(*made));
    if (!made || !(made->dir = strdup(dir))) {
        free(made);
        close(lock_fd);
        return APR_ENOMEM;
    }
    made->lock_fd = lock_fd;
    pthread_mutex_init(&made->lock, NULL);
    remove_leftovers(made);
    *store = made;
    return APR_SUCCESS;
}

void fs_store_close(fs_store_t *store)
{
    if (!store)
        return;
    close(store->lock_fd);
    pthread_mutex_destroy(&store->lock);
    free(store->entries);
    free(store->dir);
    free(store);
}

const char *fs_store_dir(const fs_store_t *store)
{
    return store->dir;
}

int fs_store_has(fs_store_t *store, const fs_digest_t *digest)
{
    entry_t *found;
    int has;

    pthread_mutex_lock(&store->lock);
    found = find(store, digest);
    has = found && found->verified;
    pthread_mutex_unlock(&store->lock);
    return has;
}

apr_status_t fs_store_take(fs_store_t *store, const fs_digest_t *digest, fs_result_t *result)
{
    char path[PATH_MAX];
    struct stat info;
    fs_result_t cause;
    entry_t *entry;

    path_of(store, digest, path);
    if (stat(path, &info))
        return APR_ENOENT;
    fs_result_clear(&cause);
    if (fs_image_verify(path, digest, &cause) != APR_SUCCESS) {
        unlink(path);
        forget(store, digest);
        return fs_result_set(
            result, APR_EGENERAL, "FS0857",
            "image file %s was damaged and has been removed; it is built again (%s: %s)", path,
            cause.problem, cause.detail);
    }
    pthread_mutex_lock(&store->lock);
    entry = find_or_add(store, digest);
    if (entry) {
        entry->verified = 1;
        entry->bytes = (uint64_t)info.st_size;
        entry->unnamed = 0;
    }
    pthread_mutex_unlock(&store->lock);
    return entry ? APR_SUCCESS : APR_ENOMEM;
}

void fs_store_accept(fs_store_t *store, const fs_image_made_t *made)
{
    entry_t *entry;

    pthread_mutex_lock(&store->lock);
    entry = find_or_add(store, &made->digest);
    if (entry) {
        entry->verified = 1;
        entry->bytes = made->bytes;
        entry->held = store->holds > 0;
        entry->unnamed = 0;
    }
    pthread_mutex_unlock(&store->lock);
}

int fs_store_image(fs_store_t *store, const fs_digest_t *digest, uint64_t *size)
{
    char path[PATH_MAX];
    struct stat info;
    entry_t *found;
    int fd, verified;

    pthread_mutex_lock(&store->lock);
    found = find(store, digest);
    verified = found && found->verified;
    *size = verified ? found->bytes : 0;
    pthread_mutex_unlock(&store->lock);
    if (!verified)
        return -1;
    path_of(store, digest, path);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && (errno == EMFILE || errno == ENFILE))
        return -1; /* not the image's fault */
    if (fd < 0 || fstat(fd, &info) || (uint64_t)info.st_size != *size) {
        fs_log(
            FS_LOG_WARNING, "FS0859",
            "image file %s vanished or changed its size after it was verified; it is built again. "
            "Something else writes in ImageDir",
            path);
        forget(store, digest);
        if (fd >= 0)
            close(fd);
        return -1;
    }
    return fd;
}

void fs_store_hold(fs_store_t *store)
{
    pthread_mutex_lock(&store->lock);
    store->holds++;
    pthread_mutex_unlock(&store->lock);
}

void fs_store_release(fs_store_t *store)
{
    pthread_mutex_lock(&store->lock);
    store->holds--;
    /* However long the hold was: what was made in it is named by the next reading of the database.
     */
    for (unsigned i = 0; i < store->count; i++) {
        if (!store->entries[i].held)
            continue;
        store->entries[i].unnamed = 0;
        store->entries[i].held = store->holds > 0;
    }
    pthread_mutex_unlock(&store->lock);
}

/* Takes one image out of the index that may go, lock held for a moment only. */
static int take_one_unnamed(fs_store_t *store, fs_usec_t now, fs_digest_t *digest)
{
    int found = 0;

    pthread_mutex_lock(&store->lock);
    if (!store->holds) {
        for (unsigned i = 0; i < store->count && !found; i++) {
            if (store->entries[i].unnamed && store->entries[i].unnamed + FS_STORE_GRACE <= now) {
                *digest = store->entries[i].digest;
                found = 1;
            }
        }
    }
    pthread_mutex_unlock(&store->lock);
    if (found)
        forget(store, digest);
    return found;
}

void fs_store_tidy(fs_store_t *store, fs_usec_t now,
                   int (*named)(void *baton, const fs_digest_t *digest), void *baton)
{
    char path[PATH_MAX];
    fs_digest_t digest;

    look_around(store);
    pthread_mutex_lock(&store->lock);
    for (unsigned i = 0; i < store->count; i++) {
        entry_t *entry = &store->entries[i];

        if (named(baton, &entry->digest))
            entry->unnamed = 0;
        else if (!entry->unnamed)
            entry->unnamed = now;
    }
    pthread_mutex_unlock(&store->lock);
    while (take_one_unnamed(store, now, &digest)) {
        path_of(store, &digest, path);
        if (!unlink(path))
            fs_log(FS_LOG_INFO, "FS0858", "removed image %s, which no version names any more",
                   path);
    }
}

void fs_store_totals(fs_store_t *store, unsigned *images, uint64_t *bytes, uint64_t *disk_free)
{
    struct statvfs disk;

    *images = 0;
    *bytes = 0;
    pthread_mutex_lock(&store->lock);
    for (unsigned i = 0; i < store->count; i++) {
        *images += store->entries[i].verified ? 1 : 0;
        *bytes += store->entries[i].bytes;
    }
    pthread_mutex_unlock(&store->lock);
    *disk_free = statvfs(store->dir, &disk) ? 0 : (uint64_t)disk.f_bavail * disk.f_frsize;
}
