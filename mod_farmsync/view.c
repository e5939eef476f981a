/* SPDX-License-Identifier: Apache-2.0 */
#include "view.h"

#include <inttypes.h>
#include <string.h>

#include <apr_strings.h>

#include "child.h"
#include "module.h"
#include "request.h"

#define STALE_LOG_REST (10 * FS_USEC_PER_SEC)

/* What a request has pinned, in the order of FarmSyncGroup. */
typedef struct request_pins_t {
    const fs_child_t *child;
    int count;
    fs_pin_t *pins[1]; /* one for each group; NULL until used */
} request_pins_t;

request_rec *fs_view_first_request(request_rec *r)
{
    while (r->prev || r->main)
        r = r->prev ? r->prev : r->main;
    return r;
}

static void count_request(const fs_child_t *child, const fs_pin_t *pin)
{
    fs_marks_group_t *marks =
        pin->index < 0 ? NULL : fs_control_marks(child->control, (unsigned)pin->index);

    if (!marks)
        return;
    atomic_fetch_add_explicit(&marks->requests, 1, memory_order_relaxed);
    if (pin->lookups)
        atomic_fetch_add_explicit(&marks->lookups, pin->lookups, memory_order_relaxed);
    if (pin->misses)
        atomic_fetch_add_explicit(&marks->misses, pin->misses, memory_order_relaxed);
    if (pin->refused || !pin->pin.view)
        atomic_fetch_add_explicit(&marks->refused, 1, memory_order_relaxed);
}

static apr_status_t release_pins(void *data)
{
    request_pins_t *all = data;

    for (int i = 0; i < all->count; i++) {
        if (!all->pins[i])
            continue;
        count_request(all->child, all->pins[i]);
        fs_view_cache_unpin(all->child->cache, &all->pins[i]->pin);
        all->pins[i] = NULL;
    }
    return APR_SUCCESS;
}

static request_pins_t *pins_of(request_rec *first)
{
    fs_request_t *request = fs_request_make(first);
    request_pins_t *all = request->pins;
    const fs_child_t *child = fs_child();
    int count;

    if (all || !child)
        return all;
    count = child->settings->groups->nelts;
    all = apr_pcalloc(first->pool, sizeof(*all) + (apr_size_t)count * sizeof(all->pins[0]));
    all->child = child;
    all->count = count;
    request->pins = all;
    apr_pool_cleanup_register(first->pool, all, release_pins, apr_pool_cleanup_null);
    return all;
}

/* Says so when a group becomes stale and when it is current again, once for all processes here. */
static void tell_staleness(request_rec *r, const fs_pin_t *pin, fs_marks_group_t *marks,
                           fs_usec_t mono)
{
    int64_t told = atomic_load_explicit(&marks->stale_told, memory_order_relaxed);

    if (told > mono) /* of an earlier boot */
        told = atomic_compare_exchange_strong(&marks->stale_told, &told, 0) ? 0 : told;
    if (pin->stale && !told) {
        if (atomic_compare_exchange_strong(&marks->stale_told, &told, mono))
            ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, r,
                          "FS0651: group %s is stale here: version %" PRId64 " is the newest that "
                          "this server has, and a newer one may be in force; see "
                          "farmsync-status for the reason",
                          pin->group, pin->version);
    } else if (!pin->stale && told && mono - told > STALE_LOG_REST) {
        if (atomic_compare_exchange_strong(&marks->stale_told, &told, 0))
            ap_log_rerror(APLOG_MARK, APLOG_NOTICE, 0, r,
                          "FS0652: group %s is current again: version %" PRId64, pin->group,
                          pin->version);
    }
}

/*
 * Maps what was chosen. If it cannot be had: when the agent has published something else in
 * between, that; else, if it was the staged version, the one before it, which is then stale.
 */
static void map_choice(request_rec *r, const fs_child_t *child, fs_pin_t *pin,
                       fs_control_group_t *group, fs_usec_t farm, int known, int64_t floor)
{
    fs_result_t result;

    for (int attempt = 0; attempt < 3; attempt++) {
        fs_choice_t choice = fs_control_choose(group, farm, known, floor);
        fs_control_group_t again;

        pin->version = choice.version;
        pin->stale = choice.stale;
        if (!choice.view ||
            fs_view_cache_pin(child->cache, choice.view, &pin->pin, &result) == APR_SUCCESS)
            return;
        if (strcmp(result.problem, "FS0509") != 0)
            ap_log_rerror(APLOG_MARK, APLOG_ERR, result.status, r, "%s: %s", result.problem,
                          result.detail);
        if (fs_control_group(child->control, group->name, &again) >= 0 &&
            (again.active_view != group->active_view || again.staged_view != group->staged_view) &&
            attempt == 0)
            *group = again;
        else if (choice.view == group->staged_view && choice.view != group->active_view)
            group->staged_view = 0;
        else
            break;
    }
    pin->version = 0;
    pin->stale = 1;
}

static void choose_and_map(request_rec *r, const fs_child_t *child, fs_pin_t *pin)
{
    fs_usec_t mono = fs_time_mono(), farm, bound;
    fs_control_clock_t clock;
    fs_control_group_t group;
    fs_marks_group_t *marks;
    int known;

    /* The helper thread finds a new page within a second; who needs data now looks for himself. */
    if (!fs_control_attached(child->control))
        fs_control_refresh(child->control);
    fs_control_clock(child->control, &clock);
    known = fs_control_now(&clock, mono, &farm, &bound) && clock.state == FS_CLOCK_MEASURED;
    pin->index = fs_control_group(child->control, pin->group, &group);
    if (pin->index < 0)
        return;
    marks = fs_control_marks(child->control, (unsigned)pin->index);
    map_choice(r, child, pin, &group, farm, known,
               atomic_load_explicit(&marks->floor, memory_order_relaxed));
    if (pin->pin.view)
        fs_marks_served(marks, &group, pin->version, farm, bound);
    tell_staleness(r, pin, marks, mono);
}

/* Says which version the response is made from; it goes out with errors too. */
static void set_version_header(request_rec *first, const fs_pin_t *pin)
{
    apr_table_mergen(first->err_headers_out, "FarmSync-Version",
                     apr_psprintf(first->pool, "%s=%" PRId64, pin->group, pin->version));
}

fs_pin_t *fs_view_pin(request_rec *r, int group)
{
    request_rec *first = fs_view_first_request(r);
    request_pins_t *all = pins_of(first);
    fs_pin_t *pin;

    if (!all || group >= all->count)
        return NULL;
    if (all->pins[group])
        return all->pins[group];
    pin = apr_pcalloc(first->pool, sizeof(*pin));
    pin->group = fs_settings_group(all->child->settings, group);
    choose_and_map(r, all->child, pin);
    all->pins[group] = pin;
    if (pin->pin.view && fs_settings_version_header(r))
        set_version_header(first, pin);
    return pin;
}
