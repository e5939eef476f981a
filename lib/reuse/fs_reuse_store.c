/* SPDX-License-Identifier: Apache-2.0 */
#define XXH_INLINE_ALL
#include "reuse/fs_reuse_store.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define MAGIC         "fsreuse1"
#define SLOTS         8192 /* a power of two */
#define PROBES        8
#define RING_ALIGN    64
#define LARGEST_SHARE 4

/* Where a body is; length 0: nowhere. */
typedef struct place_t {
    uint64_t position; /* of its first byte; grows for ever, the place is position % ring */
    uint64_t length;
} place_t;

typedef struct slot_t {
    place_t place;
    uint64_t origin;
    fs_digest_t digest;
} slot_t;

/* By a fast hash of origin and body: most pages are put in again and again, and a digest each time
 * would cost more than all the rest. */
typedef struct seen_t {
    place_t place;
    uint64_t hash;
} seen_t;

typedef struct head_t {
    char magic[8];
    uint64_t size; /* of the file */
    uint64_t ring; /* bytes */
    pthread_mutex_t lock;
    uint64_t end; /* position behind the newest body */
    uint64_t bodies;
    slot_t slots[SLOTS];
    seen_t seen[SLOTS];
} head_t;

struct fs_reuse_store_t {
    head_t *head;
    uint8_t *ring;
    uint64_t size;
};

static uint64_t ring_begin(void)
{
    return (sizeof(head_t) + RING_ALIGN - 1) / RING_ALIGN * RING_ALIGN;
}

static apr_status_t failed(fs_result_t *result, const char *what, const char *path, int error)
{
    char text[128];

    return fs_result_set(result, APR_FROM_OS_ERROR(error), "FS1711",
                         "cannot %s %s for the bodies that clients hold: %s; check the "
                         "directory's owner and free space",
                         what, path, strerror_r(error, text, sizeof(text)));
}

static int is_store(int fd, uint64_t size)
{
    struct stat info;
    head_t head;

    return fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && (uint64_t)info.st_size == size &&
           pread(fd, &head, sizeof(head), 0) == (ssize_t)sizeof(head) &&
           !memcmp(head.magic, MAGIC, sizeof(head.magic)) && head.size == size &&
           head.ring == size - ring_begin();
}

static int lock_init(pthread_mutex_t *lock)
{
    pthread_mutexattr_t attributes;
    int error = pthread_mutexattr_init(&attributes);

    if (error)
        return error;
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    error = pthread_mutex_init(lock, &attributes);
    pthread_mutexattr_destroy(&attributes);
    return error;
}

/* Writes a new store into fd; 0 or an error of the system. */
static int fill(int fd, uint64_t size)
{
    int error = posix_fallocate(fd, 0, (off_t)size);
    head_t *head;

    if (error)
        return error;
    head = mmap(NULL, sizeof(*head), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (head == MAP_FAILED)
        return errno;
    head->size = size;
    head->ring = size - ring_begin();
    error = lock_init(&head->lock);
    memcpy(head->magic, MAGIC, sizeof(head->magic));
    munmap(head, sizeof(*head));
    return error;
}

/* A new file beside the old one, which old processes may still have mapped. */
static apr_status_t make(const char *path, uint64_t size, uint32_t uid, uint32_t gid,
                         fs_result_t *result)
{
    char *new_path = malloc(strlen(path) + 8);
    apr_status_t status = APR_SUCCESS;
    int fd, error = 0;

    if (!new_path)
        return failed(result, "make", path, ENOMEM);
    sprintf(new_path, "%s.XXXXXX", path);
    fd = mkstemp(new_path);
    if (fd < 0) {
        status = failed(result, "make", path, errno);
        free(new_path);
        return status;
    }
    error = fill(fd, size);
    if (!error && fchown(fd, uid, gid))
        error = errno;
    if (!error && rename(new_path, path))
        error = errno;
    if (error) {
        status = failed(result, "make", path, error);
        unlink(new_path);
    }
    close(fd);
    free(new_path);
    return status;
}

apr_status_t fs_reuse_store_prepare(const char *path, uint64_t size, uint32_t uid, uint32_t gid,
                                    fs_result_t *result)
{
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW), good;

    if (fd < 0)
        return make(path, size, uid, gid, result);
    good = is_store(fd, size);
    close(fd);
    return good ? APR_SUCCESS : make(path, size, uid, gid, result);
}

apr_status_t fs_reuse_store_open(fs_reuse_store_t **made, const char *path, fs_result_t *result)
{
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW), error = 0;
    fs_reuse_store_t *store = NULL;
    struct stat info;
    void *base;

    *made = NULL;
    if (fd < 0)
        return failed(result, "open", path, errno);
    if (fstat(fd, &info) || (uint64_t)info.st_size < FS_REUSE_STORE_LEAST ||
        !is_store(fd, (uint64_t)info.st_size))
        error = EINVAL;
    else if (!(store = calloc(1, sizeof(*store))))
        error = ENOMEM;
    base = error ? MAP_FAILED
                 : mmap(NULL, (size_t)info.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (!error && base == MAP_FAILED)
        error = errno;
    close(fd);
    if (error) {
        free(store);
        return failed(result, "map", path, error);
    }
    store->head = base;
    store->ring = (uint8_t *)base + ring_begin();
    store->size = (uint64_t)info.st_size;
    *made = store;
    return APR_SUCCESS;
}

void fs_reuse_store_close(fs_reuse_store_t *store)
{
    if (!store)
        return;
    munmap(store->head, store->size);
    free(store);
}

uint64_t fs_reuse_origin(const char *origin)
{
    return XXH3_64bits(origin, strlen(origin));
}

/* --- under the lock -----------------------------------------------------------------------------
 */

/* 0 if the lock was taken. A holder that died left nothing half done that is visible: a slot is
 * written whole after its body, and read with a digest. */
static int lock(fs_reuse_store_t *store)
{
    int error = pthread_mutex_lock(&store->head->lock);

    if (error == EOWNERDEAD)
        error = pthread_mutex_consistent(&store->head->lock);
    return error;
}

static void unlock(fs_reuse_store_t *store)
{
    pthread_mutex_unlock(&store->head->lock);
}

/* The ring's length comes from the file: it was compared with the file's size when that was mapped.
 */
static uint64_t ring_of(const fs_reuse_store_t *store)
{
    return store->size - ring_begin();
}

/* Whether a body is still in the ring, by numbers that may be anything. */
static int is_there(const fs_reuse_store_t *store, const place_t *place)
{
    uint64_t end = store->head->end, ring = ring_of(store);

    return place->length && place->length <= ring && place->position <= end &&
           place->length <= end - place->position && end - place->position <= ring;
}

/* In the older half, and so run over before long. */
static int is_old(const fs_reuse_store_t *store, const place_t *place)
{
    return store->head->end - place->position > ring_of(store) / 2;
}

/* How much of a body at `position` lies before the ring's end; the rest is at its beginning. */
static size_t before_end(const fs_reuse_store_t *store, uint64_t position, size_t length)
{
    uint64_t left = ring_of(store) - position % ring_of(store);

    return length < left ? length : (size_t)left;
}

static void ring_write(fs_reuse_store_t *store, uint64_t position, const uint8_t *from,
                       size_t length)
{
    size_t first = before_end(store, position, length);

    memcpy(store->ring + position % ring_of(store), from, first);
    memcpy(store->ring, from + first, length - first);
}

static void ring_read(const fs_reuse_store_t *store, uint64_t position, uint8_t *to, size_t length)
{
    size_t first = before_end(store, position, length);

    memcpy(to, store->ring + position % ring_of(store), first);
    memcpy(to + first, store->ring, length - first);
}

static slot_t *slot_at(fs_reuse_store_t *store, const fs_digest_t *digest, unsigned probe)
{
    uint64_t start;

    memcpy(&start, digest->bytes, sizeof(start));
    return &store->head->slots[(start + probe) % SLOTS];
}

static slot_t *find(fs_reuse_store_t *store, uint64_t origin, const fs_digest_t *digest)
{
    for (unsigned probe = 0; probe < PROBES; probe++) {
        slot_t *slot = slot_at(store, digest, probe);

        if (slot->origin == origin && fs_digest_equal(&slot->digest, digest) &&
            is_there(store, &slot->place))
            return slot;
    }
    return NULL;
}

/* The slot for a new body: its own, a free one, or that of the oldest body. */
static slot_t *choose_slot(fs_reuse_store_t *store, uint64_t origin, const fs_digest_t *digest)
{
    slot_t *oldest = find(store, origin, digest);

    for (unsigned probe = 0; !oldest && probe < PROBES; probe++) {
        slot_t *slot = slot_at(store, digest, probe);

        if (!is_there(store, &slot->place))
            oldest = slot;
    }
    if (oldest)
        return oldest;
    oldest = slot_at(store, digest, 0);
    for (unsigned probe = 1; probe < PROBES; probe++) {
        slot_t *slot = slot_at(store, digest, probe);

        if (slot->place.position < oldest->place.position)
            oldest = slot;
    }
    return oldest;
}

static seen_t *seen_at(fs_reuse_store_t *store, uint64_t hash)
{
    return &store->head->seen[hash % SLOTS];
}

static void append(fs_reuse_store_t *store, uint64_t origin, const fs_digest_t *digest,
                   uint64_t hash, const void *body, size_t length)
{
    slot_t *slot = choose_slot(store, origin, digest);
    place_t place = {store->head->end, length};

    slot->place.length = 0;
    store->head->end += length; /* forgets what is run over, before it is */
    ring_write(store, place.position, body, length);
    slot->origin = origin;
    slot->digest = *digest;
    slot->place = place;
    *seen_at(store, hash) = (seen_t){place, hash};
}

/* --- the interface ------------------------------------------------------------------------------
 */

/* Whether a body was put in not long ago, so that nothing is to be done. */
static int was_seen(fs_reuse_store_t *store, uint64_t hash, size_t length)
{
    const seen_t *seen = seen_at(store, hash);

    return seen->hash == hash && seen->place.length == length && is_there(store, &seen->place) &&
           !is_old(store, &seen->place);
}

int fs_reuse_store_put(fs_reuse_store_t *store, uint64_t origin, const void *body, size_t length)
{
    fs_digest_t digest;
    uint64_t hash;
    int seen;

    if (!length || length > ring_of(store) / LARGEST_SHARE)
        return 0;
    hash = XXH3_64bits_withSeed(body, length, origin);
    if (lock(store))
        return 0;
    seen = was_seen(store, hash, length);
    unlock(store);
    if (seen)
        return 1;
    fs_digest_of(&digest, body, length);
    if (lock(store))
        return 0;
    if (!was_seen(store, hash, length)) {
        append(store, origin, &digest, hash, body, length);
        store->head->bodies++;
    }
    unlock(store);
    return 1;
}

/* A copy of a body as it is in the ring; `old` if it ought to be put in again. */
static void *copy_body(fs_reuse_store_t *store, uint64_t origin, const fs_digest_t *digest,
                       size_t *length, int *old)
{
    const slot_t *slot;
    void *body = NULL;

    if (lock(store))
        return NULL;
    slot = find(store, origin, digest);
    if (slot && (body = malloc(slot->place.length)) != NULL) {
        *length = slot->place.length;
        *old = is_old(store, &slot->place);
        ring_read(store, slot->place.position, body, *length);
    }
    unlock(store);
    return body;
}

void *fs_reuse_store_get(fs_reuse_store_t *store, uint64_t origin, const fs_digest_t *digest,
                         size_t *length)
{
    fs_digest_t found;
    int old = 0;
    void *body = copy_body(store, origin, digest, length, &old);

    if (!body)
        return NULL;
    fs_digest_of(&found, body, *length);
    if (!fs_digest_equal(&found, digest)) {
        free(body);
        return NULL;
    }
    if (old && lock(store) == 0) {
        append(store, origin, digest, XXH3_64bits_withSeed(body, *length, origin), body, *length);
        unlock(store);
    }
    return body;
}

void fs_reuse_store_totals(fs_reuse_store_t *store, fs_reuse_totals_t *totals)
{
    memset(totals, 0, sizeof(*totals));
    totals->size = ring_of(store);
    if (lock(store))
        return;
    totals->bodies = store->head->bodies;
    totals->bytes = store->head->end < totals->size ? store->head->end : totals->size;
    unlock(store);
}
