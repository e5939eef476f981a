/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Order matters: the writer stores generation and `alone` before `until`, a reader loads `until`
 * first. So whoever sees a new `until` sees at least the generation that belongs to it, and an old
 * `until` with a newer generation only makes him ask.
 */
#include "session/fs_session_trust.h"

#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "session/fs_session_map.h"

#define MAGIC UINT64_C(0x3274737572547366) /* "fsTrust2" */

typedef struct page_t {
    _Atomic uint64_t magic;
    _Atomic uint64_t generation;
    _Atomic uint32_t alone;
    uint32_t reserved;
    _Atomic int64_t until;
    _Atomic uint64_t first; /* generation of the first agent since the page was made */
} page_t;

struct fs_session_trust_t {
    page_t *page;
};

fs_usec_t fs_session_trust_clock(void)
{
    struct timespec time;

    clock_gettime(CLOCK_BOOTTIME, &time);
    return (fs_usec_t)time.tv_sec * FS_USEC_PER_SEC + time.tv_nsec / 1000;
}

/* A wall clock that was set back doesn't matter: the page's own number counts if it is higher. */
static void begin(page_t *page)
{
    uint64_t before = atomic_load(&page->magic) == MAGIC ? atomic_load(&page->generation) : 0;
    uint64_t wall = (uint64_t)fs_time_wall();
    uint64_t generation = (before > wall && before < UINT64_MAX / 2 ? before : wall) + 1;

    atomic_store(&page->until, 0);
    atomic_store(&page->alone, 0);
    if (!before)
        atomic_store(&page->first, generation);
    atomic_store(&page->generation, generation);
    atomic_store(&page->magic, MAGIC);
}

apr_status_t fs_session_trust_open(fs_session_trust_t **trust, const char *dir, int writes,
                                   fs_result_t *result)
{
    char path[PATH_MAX];
    void *map;
    apr_status_t status;

    *trust = NULL;
    snprintf(path, sizeof(path), "%s/trust", dir);
    status = fs_session_map_open(&map, sizeof(page_t), path, NULL, result);
    if (status != APR_SUCCESS)
        return status;
    *trust = calloc(1, sizeof(**trust));
    if (!*trust) {
        fs_session_map_close(map, sizeof(page_t));
        return APR_ENOMEM;
    }
    (*trust)->page = map;
    if (writes)
        begin(map);
    return APR_SUCCESS;
}

void fs_session_trust_close(fs_session_trust_t *trust)
{
    if (trust)
        fs_session_map_close(trust->page, sizeof(page_t));
    free(trust);
}

void fs_session_trust_write(fs_session_trust_t *trust, const fs_session_trusted_t *trusted)
{
    page_t *page = trust->page;
    uint64_t generation = atomic_load_explicit(&page->generation, memory_order_relaxed);

    if (trusted->generation > generation)
        generation = trusted->generation;
    atomic_store(&page->generation, generation);
    atomic_store(&page->alone, trusted->alone ? 1 : 0);
    atomic_store(&page->until, trusted->until);
}

void fs_session_trust_read(const fs_session_trust_t *trust, fs_session_trusted_t *trusted)
{
    page_t *page = trust->page;

    trusted->until = atomic_load(&page->until);
    trusted->alone = atomic_load(&page->alone) == 1;
    trusted->generation = atomic_load(&page->generation);
    if (atomic_load_explicit(&page->magic, memory_order_relaxed) != MAGIC || trusted->until < 0)
        trusted->until = 0;
}

int fs_session_trust_remembers(const fs_session_trust_t *trust, uint64_t checked)
{
    uint64_t first = atomic_load(&trust->page->first);
    fs_session_trusted_t trusted;

    fs_session_trust_read(trust, &trusted);
    return trusted.alone || (first && checked >= first);
}

int fs_session_trust_allows(const fs_session_trust_t *trust, uint64_t checked, fs_usec_t now)
{
    fs_session_trusted_t trusted;

    fs_session_trust_read(trust, &trusted);
    return now < trusted.until && trusted.until - now <= FS_SESSION_TRUST_LIMIT &&
           (trusted.alone || (checked && checked == trusted.generation));
}
