/* SPDX-License-Identifier: Apache-2.0 */
#include "control/fs_view_cache.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/fs_page.h"

/* --- a view -------------------------------------------------------------------------------------
 */

static apr_status_t open_image(fs_view_t *view, unsigned place, const char *state_dir,
                               fs_result_t *result)
{
    const fs_view_dataset_t *dataset = &view->datasets[place];
    const fs_image_schema_t *schema;
    char path[PATH_MAX], hex[FS_DIGEST_HEX_SIZE];
    apr_status_t status;

    if (snprintf(path, sizeof(path), "%s/" FS_IMAGES_DIR "/%s.fsi", state_dir,
                 fs_digest_hex(&dataset->digest, hex)) >= PATH_MAX)
        return fs_result_set(result, APR_ENAMETOOLONG, "FS0508", "%s: path too long", state_dir);
    status = fs_image_open(&view->images[place], path, result);
    if (status != APR_SUCCESS)
        return status;
    schema = fs_image_schema(view->images[place]);
    if (strcmp(schema->dataset, dataset->name) != 0 || strcmp(schema->group, view->group) != 0)
        return fs_result_set(result, APR_EGENERAL, "FS0508",
                             "%s holds dataset %s of group %s, but %s of group %s was published "
                             "with it; restart the agent, which retrieves it again",
                             path, schema->dataset, schema->group, dataset->name, view->group);
    return APR_SUCCESS;
}

static apr_status_t open_images(fs_view_t *view, const char *state_dir, fs_result_t *result)
{
    for (unsigned i = 0; i < view->dataset_count; i++) {
        apr_status_t status = open_image(view, i, state_dir, result);

        if (status != APR_SUCCESS)
            return status;
    }
    return APR_SUCCESS;
}

static void close_view(fs_view_t *view)
{
    if (!view)
        return;
    for (unsigned i = 0; i < view->dataset_count; i++) {
        if (view->images[i])
            fs_image_close(view->images[i]);
    }
    free(view->images);
    free(view->datasets);
    free(view);
}

/* Opens a published view and its images; each image must be the named dataset of this group. */
static apr_status_t open_view(fs_view_t **view, const char *state_dir, uint64_t id,
                              fs_result_t *result)
{
    fs_view_info_t *info;
    fs_view_t *made;
    apr_status_t status = fs_view_read(state_dir, id, &info, result);

    *view = NULL;
    if (status != APR_SUCCESS)
        return status;
    made = calloc(1, sizeof(*made));
    if (made)
        made->images = calloc(info->dataset_count + 1, sizeof(*made->images));
    if (!made || !made->images) {
        free(made);
        fs_view_free(info);
        return fs_result_set(result, APR_ENOMEM, "FS0508", "out of memory");
    }
    made->id = id;
    made->version = info->version;
    memcpy(made->group, info->group, sizeof(made->group));
    made->dataset_count = info->dataset_count;
    made->datasets = info->datasets; /* taken over */
    info->datasets = NULL;
    fs_view_free(info);
    status = open_images(made, state_dir, result);
    if (status != APR_SUCCESS) {
        close_view(made);
        return status;
    }
    *view = made;
    return APR_SUCCESS;
}

const fs_image_t *fs_view_image(const fs_view_t *view, const char *name, size_t length)
{
    unsigned low = 0, high = view->dataset_count;

    while (low < high) {
        unsigned middle = low + (high - low) / 2;
        const char *here = view->datasets[middle].name;
        int order = strncmp(here, name, length);

        if (!order && here[length])
            order = 1;
        if (!order)
            return view->images[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

const fs_digest_t *fs_view_digest(const fs_view_t *view, const fs_image_t *image)
{
    for (unsigned i = 0; i < view->dataset_count; i++) {
        if (view->images[i] == image)
            return &view->datasets[i].digest;
    }
    return NULL;
}

/* --- the cache ----------------------------------------------------------------------------------
 */

/* The state word: one of these, or none for a free slot, and the pins in the low bits. */
#define OPEN   (UINT64_C(1) << 62)
#define CLOSED (UINT64_C(1) << 61)
#define BUSY   (UINT64_C(1) << 60) /* being filled or emptied by one thread */
#define PINS   (BUSY - 1)

#define SAID 16

typedef struct slot_t {
    _Atomic uint64_t state;
    _Atomic uint64_t id;
    fs_view_t *view;     /* written while BUSY, read while pinned */
    uint64_t padding[5]; /* a cache line each: slots are counted by different threads */
} slot_t;

struct fs_view_cache_t {
    slot_t slots[FS_VIEW_SLOTS];
    char *state_dir;
    _Atomic uint64_t failed_id;
    _Atomic int64_t failed_at; /* mono time */
    struct {
        _Atomic uint64_t id;
        _Atomic int64_t at; /* mono time */
    } said[SAID];           /* why a view can't be mapped was told; by its id's last digits */
};

fs_view_cache_t *fs_view_cache_create(const char *state_dir)
{
    fs_view_cache_t *cache = calloc(1, sizeof(*cache));

    if (cache && !(cache->state_dir = strdup(state_dir))) {
        free(cache);
        return NULL;
    }
    return cache;
}

/* Unmaps a closed slot that nobody has pinned; one of those who try does it. */
static void reclaim(slot_t *slot)
{
    uint64_t expected = CLOSED;
    fs_view_t *view;

    if (!atomic_compare_exchange_strong(&slot->state, &expected, BUSY))
        return;
    view = slot->view;
    slot->view = NULL;
    atomic_store(&slot->id, 0);
    atomic_store(&slot->state, 0);
    close_view(view);
}

static void close_slot(slot_t *slot)
{
    uint64_t state = atomic_load(&slot->state);

    while (state & OPEN) {
        if (atomic_compare_exchange_weak(&slot->state, &state, CLOSED | (state & PINS))) {
            reclaim(slot);
            return;
        }
    }
}

static void unpin_slot(slot_t *slot)
{
    if (atomic_fetch_sub(&slot->state, 1) - 1 == CLOSED)
        reclaim(slot);
}

/* Counts one up if the slot is open and still has that id. */
static int pin_slot(slot_t *slot, uint64_t id)
{
    uint64_t state = atomic_load(&slot->state);

    while (state & OPEN) {
        if (!atomic_compare_exchange_weak(&slot->state, &state, state + 1))
            continue;
        if (atomic_load(&slot->id) == id)
            return 1;
        unpin_slot(slot); /* it was emptied and filled again in between */
        return 0;
    }
    return 0;
}

static int find_and_pin(fs_view_cache_t *cache, uint64_t id, fs_view_pin_t *pin)
{
    for (int i = 0; i < FS_VIEW_SLOTS; i++) {
        if (atomic_load_explicit(&cache->slots[i].id, memory_order_relaxed) == id &&
            pin_slot(&cache->slots[i], id)) {
            pin->view = cache->slots[i].view;
            pin->slot = i;
            return 1;
        }
    }
    return 0;
}

/* Puts a view that was mapped just now into a free slot, pinned. */
static void insert(fs_view_cache_t *cache, fs_view_t *view, fs_view_pin_t *pin)
{
    pin->view = view;
    pin->slot = -1;
    for (int i = 0; i < FS_VIEW_SLOTS; i++) {
        slot_t *slot = &cache->slots[i];
        uint64_t expected = 0;

        if (atomic_load_explicit(&slot->state, memory_order_relaxed) ||
            !atomic_compare_exchange_strong(&slot->state, &expected, BUSY))
            continue;
        slot->view = view;
        atomic_store(&slot->id, view->id);
        atomic_store(&slot->state, OPEN | 1);
        pin->slot = i;
        return;
    }
}

static int failed_just_now(fs_view_cache_t *cache, uint64_t id)
{
    return atomic_load(&cache->failed_id) == id &&
           fs_time_mono() - atomic_load(&cache->failed_at) < FS_VIEW_RETRY;
}

/* Whether the reason was told within the last minute; if not, it counts as told now. */
static int said_already(fs_view_cache_t *cache, uint64_t id)
{
    fs_usec_t now = fs_time_mono();
    unsigned which = (unsigned)(id % SAID);

    if (atomic_load(&cache->said[which].id) == id &&
        now - atomic_load(&cache->said[which].at) < FS_VIEW_SAY_AGAIN)
        return 1;
    atomic_store(&cache->said[which].at, now);
    atomic_store(&cache->said[which].id, id);
    return 0;
}

apr_status_t fs_view_cache_pin(fs_view_cache_t *cache, uint64_t id, fs_view_pin_t *pin,
                               fs_result_t *result)
{
    fs_view_t *view;
    apr_status_t status;

    pin->view = NULL;
    pin->slot = -1;
    if (id && find_and_pin(cache, id, pin))
        return APR_SUCCESS;
    if (!id || failed_just_now(cache, id))
        return fs_result_set(result, APR_EGENERAL, "FS0509",
                             "view %" PRIu64 " could not be mapped a moment ago", id);
    status = open_view(&view, cache->state_dir, id, result);
    if (status != APR_SUCCESS) {
        atomic_store(&cache->failed_at, fs_time_mono());
        atomic_store(&cache->failed_id, id);
        if (said_already(cache, id))
            (void)fs_result_set(result, status, "FS0509",
                                "view %" PRIu64 " still can't be mapped; the reason was said", id);
        return status;
    }
    if (find_and_pin(cache, id, pin)) /* another thread was faster */
        close_view(view);
    else
        insert(cache, view, pin);
    return APR_SUCCESS;
}

void fs_view_cache_unpin(fs_view_cache_t *cache, fs_view_pin_t *pin)
{
    if (!pin->view)
        return;
    if (pin->slot >= 0)
        unpin_slot(&cache->slots[pin->slot]);
    else
        close_view((fs_view_t *)pin->view);
    pin->view = NULL;
}

void fs_view_cache_keep(fs_view_cache_t *cache, const uint64_t *ids, unsigned count)
{
    for (int i = 0; i < FS_VIEW_SLOTS; i++) {
        uint64_t id = atomic_load(&cache->slots[i].id);
        unsigned j = 0;

        while (j < count && ids[j] != id)
            j++;
        if (id && j == count)
            close_slot(&cache->slots[i]);
    }
}

unsigned fs_view_cache_count(const fs_view_cache_t *cache, unsigned *pins)
{
    unsigned count = 0;

    *pins = 0;
    for (int i = 0; i < FS_VIEW_SLOTS; i++) {
        uint64_t state = atomic_load(&cache->slots[i].state);

        count += (state & (OPEN | CLOSED)) != 0;
        *pins += (unsigned)(state & PINS);
    }
    return count;
}

void fs_view_cache_destroy(fs_view_cache_t *cache)
{
    if (!cache)
        return;
    fs_view_cache_keep(cache, NULL, 0);
    free(cache->state_dir);
    free(cache);
}
