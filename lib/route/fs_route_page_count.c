/* SPDX-License-Identifier: Apache-2.0 */
/* Counters, and httpd's workers. */
#include "route/fs_route_page_internal.h"

static const char *const names[FS_ROUTE_COUNTS] = {
    [FS_ROUTE_COUNT_HOME] = "home",
    [FS_ROUTE_COUNT_PROXIED] = "proxied",
    [FS_ROUTE_COUNT_REDIRECTED] = "redirected",
    [FS_ROUTE_COUNT_ADOPTED] = "adopted",
    [FS_ROUTE_COUNT_BOUNCES_OUT] = "bounces_out",
    [FS_ROUTE_COUNT_BOUNCES_IN] = "bounces_in",
    [FS_ROUTE_COUNT_NEW] = "new",
    [FS_ROUTE_COUNT_TAKEN_OVER] = "taken_over",
    [FS_ROUTE_COUNT_RETURNED] = "returned",
    [FS_ROUTE_COUNT_REFUSED] = "refused",
    [FS_ROUTE_COUNT_COOKIE_FORGED] = "cookie_forged",
    [FS_ROUTE_COUNT_COOKIE_STALE] = "cookie_stale",
    [FS_ROUTE_COUNT_COOKIE_EXPIRED] = "cookie_expired",
    [FS_ROUTE_COUNT_COOKIE_UNKNOWN] = "cookie_unknown",
    [FS_ROUTE_COUNT_TOKEN_FORGED] = "token_forged",
    [FS_ROUTE_COUNT_TOKEN_REPLAYED] = "token_replayed",
    [FS_ROUTE_COUNT_TOKEN_EXPIRED] = "token_expired",
    [FS_ROUTE_COUNT_LOOPS] = "loops",
};

/* Threads go round the stripes as they come. */
static unsigned own_stripe(void)
{
    static _Atomic unsigned threads;
    static _Thread_local unsigned own;

    if (!own)
        own = atomic_fetch_add(&threads, 1) % FS_ROUTE_STRIPES + 1;
    return own - 1;
}

void fs_route_count_more(fs_route_page_t *page, fs_route_count_t what, uint64_t more)
{
    if ((unsigned)what < FS_ROUTE_COUNTS)
        atomic_fetch_add_explicit(&page->counts->stripes[own_stripe()].counted[what], more,
                                  memory_order_relaxed);
}

void fs_route_count(fs_route_page_t *page, fs_route_count_t what)
{
    fs_route_count_more(page, what, 1);
}

uint64_t fs_route_counted(const fs_route_page_t *page, fs_route_count_t what)
{
    uint64_t sum = 0;

    for (unsigned i = 0; (unsigned)what < FS_ROUTE_COUNTS && i < FS_ROUTE_STRIPES; i++)
        sum += atomic_load_explicit(&page->counts->stripes[i].counted[what], memory_order_relaxed);
    return sum;
}

const char *fs_route_count_name(fs_route_count_t what)
{
    return (unsigned)what < FS_ROUTE_COUNTS ? names[what] : "";
}

/* --- workers -------------------------------------------------------------------------------------
 */

int fs_route_page_count_workers(fs_route_page_t *page, fs_usec_t now, fs_usec_t every)
{
    int64_t counted = atomic_load(&page->counts->workers_counted);

    /* One that is ahead is of an earlier boot. */
    return (counted > now || now - counted >= every) &&
           atomic_compare_exchange_strong(&page->counts->workers_counted, &counted, now);
}

void fs_route_page_set_workers(fs_route_page_t *page, uint32_t busy, uint32_t workers)
{
    atomic_store(&page->counts->workers, (uint64_t)busy << 32 | workers);
}

int fs_route_page_workers(const fs_route_page_t *page, fs_usec_t since, uint32_t *busy,
                          uint32_t *workers)
{
    uint64_t both = atomic_load(&page->counts->workers);

    *busy = (uint32_t)(both >> 32);
    *workers = (uint32_t)both;
    return atomic_load(&page->counts->workers_counted) >= since && *workers;
}
