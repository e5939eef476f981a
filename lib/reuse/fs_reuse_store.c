/* SPDX-License-Identifier: Apache-2.0 */
#define XXH_INLINE_ALL
#include "reuse/fs_reuse_store.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "reuse/fs_reuse_file.h"

#define MAGIC         "fsbodies"
#define SLOTS         8192 /* a power of two */
#define PROBES        8
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

/* What is ours of the file; the ring is behind it. */
typedef struct head_t {
    uint64_t end; /* position behind the newest body */
    uint64_t bodies;
    slot_t slots[SLOTS];
    seen_t seen[SLOTS];
} head_t;

#define RING_BEGIN (FS_REUSE_FILE_HEAD + sizeof(head_t))

struct fs_reuse_store_t {
    fs_reuse_file_t file;
    head_t *head;
    uint8_t *ring;
};

apr_status_t fs_reuse_store_prepare(const char *path, uint64_t size, uint32_t uid, uint32_t gid,
                                    fs_result_t *result)
{
    return fs_reuse_file_prepare(path, MAGIC, size, uid, gid, result);
}

apr_status_t fs_reuse_store_open(fs_reuse_store_t **made, const char *path, fs_result_t *result)
{
    fs_reuse_store_t *store = calloc(1, sizeof(*store));
    apr_status_t status;

    *made = NULL;
    if (!store)
        return fs_result_set(result, APR_ENOMEM, "FS1711", "there is no memory to map %s", path);
    status = fs_reuse_file_open(&store->file, path, MAGIC, result);
    if (status == APR_SUCCESS && store->file.size <= RING_BEGIN) {
        fs_reuse_file_close(&store->file);
        status = fs_result_set(result, APR_EINVAL, "FS1711",
                               "%s is too small for the pages that clients hold; remove it, and "
                               "restart httpd",
                               path);
    }
    if (status != APR_SUCCESS) {
        free(store);
        return status;
    }
    store->head = fs_reuse_file_own(&store->file);
    store->ring = (uint8_t *)store->file.base + RING_BEGIN;
    *made = store;
    return APR_SUCCESS;
}

void fs_reuse_store_close(fs_reuse_store_t *store)
{
    if (!store)
        return;
    fs_reuse_file_close(&store->file);
    free(store);
}

uint64_t fs_reuse_origin(const char *origin)
{
    return XXH3_64bits(origin, strlen(origin));
}

/* --- under the lock -----------------------------------------------------------------------------
 *
 * A holder that died left nothing half done that is visible: a slot is written whole after its
 * body, and what it leads to is compared with its digest.
 */

static uint64_t ring_of(const fs_reuse_store_t *store)
{
    return store->file.size - RING_BEGIN;
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
    if (fs_reuse_file_lock(&store->file))
        return 0;
    seen = was_seen(store, hash, length);
    fs_reuse_file_unlock(&store->file);
    if (seen)
        return 1;
    fs_digest_of(&digest, body, length);
    if (fs_reuse_file_lock(&store->file))
        return 0;
    if (!was_seen(store, hash, length)) {
        append(store, origin, &digest, hash, body, length);
        store->head->bodies++;
    }
    fs_reuse_file_unlock(&store->file);
    return 1;
}

/* A copy of a body as it is in the ring; `old` if it ought to be put in again. */
static void *copy_body(fs_reuse_store_t *store, uint64_t origin, const fs_digest_t *digest,
                       size_t *length, int *old)
{
    const slot_t *slot;
    void *body = NULL;

    if (fs_reuse_file_lock(&store->file))
        return NULL;
    slot = find(store, origin, digest);
    if (slot && (body = malloc(slot->place.length)) != NULL) {
        *length = slot->place.length;
        *old = is_old(store, &slot->place);
        ring_read(store, slot->place.position, body, *length);
    }
    fs_reuse_file_unlock(&store->file);
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
    if (old && fs_reuse_file_lock(&store->file) == 0) {
        append(store, origin, digest, XXH3_64bits_withSeed(body, *length, origin), body, *length);
        fs_reuse_file_unlock(&store->file);
    }
    return body;
}

void fs_reuse_store_totals(fs_reuse_store_t *store, fs_reuse_totals_t *totals)
{
    memset(totals, 0, sizeof(*totals));
    totals->size = ring_of(store);
    if (fs_reuse_file_lock(&store->file))
        return;
    totals->bodies = store->head->bodies;
    totals->bytes = store->head->end < totals->size ? store->head->end : totals->size;
    fs_reuse_file_unlock(&store->file);
}
