/* SPDX-License-Identifier: Apache-2.0 */
#include "plan.h"

#include <stdio.h>
#include <string.h>

#include "sync/fs_cycle.h"

#define FS_PLAN_AGAIN_LEAST (50 * FS_USEC_PER_MSEC)

/* --- whom to ask ------------------------------------------------------------------------------ */

/* FNV-1a: any spread will do, but it must be the same after each restart. */
static uint32_t hash_on(uint32_t hash, const char *text)
{
    for (; *text; text++)
        hash = (hash ^ (unsigned char)*text) * 16777619u;
    return hash;
}

/* How much the agent `name` likes the server at `url`. URLs may differ in one digit: mixed well. */
static uint32_t liking(const char *name, const char *url)
{
    uint32_t hash = hash_on(hash_on(2166136261u, name) * 16777619u, url);

    hash = (hash ^ hash >> 16) * 0x85ebca6bu;
    hash = (hash ^ hash >> 13) * 0xc2b2ae35u;
    return hash ^ hash >> 16;
}

void fs_servers_init(fs_servers_t *servers, unsigned count, char *const *urls, const char *name)
{
    memset(servers, 0, sizeof(*servers));
    servers->count = count < FS_SERVERS_MAX ? count : FS_SERVERS_MAX;
    servers->home_after = FS_SERVERS_HOME_MS * FS_USEC_PER_MSEC;
    for (unsigned i = 1; i < servers->count; i++)
        if (liking(name, urls[i]) > liking(name, urls[servers->home]))
            servers->home = i;
    servers->current = servers->count ? (int)servers->home : FS_SERVERS_SQL;
}

void fs_servers_worked(fs_servers_t *servers, unsigned index)
{
    if (index >= servers->count)
        return;
    servers->servers[index].failures = 0;
    servers->servers[index].retry_at = 0;
    if (servers->current == FS_SERVERS_SQL)
        servers->current = (int)index;
}

fs_usec_t fs_plan_backoff(unsigned failures, fs_usec_t first, fs_usec_t last, double chance)
{
    fs_usec_t wait = first;

    while (failures-- > 1 && wait < last)
        wait *= 2;
    if (wait > last)
        wait = last;
    return wait / 2 + (fs_usec_t)((double)(wait / 2) * chance);
}

void fs_servers_failed(fs_servers_t *servers, unsigned index, fs_usec_t now, double chance)
{
    fs_server_t *server;

    if (index >= servers->count)
        return;
    server = &servers->servers[index];
    if (server->failures < 1000)
        server->failures++;
    server->retry_at =
        now + fs_plan_backoff(server->failures, FS_SERVERS_RETRY_MS * FS_USEC_PER_MSEC,
                              FS_SERVERS_LAST_MS * FS_USEC_PER_MSEC, chance);
    if (index == servers->home)
        servers->home_at =
            now + servers->home_after + (fs_usec_t)((double)servers->home_after * chance);
    if (servers->current != (int)index)
        return;
    servers->current = FS_SERVERS_SQL;
    for (unsigned step = 1; step < servers->count; step++) {
        unsigned next = (index + step) % servers->count;

        if (servers->servers[next].retry_at <= now) {
            servers->current = (int)next;
            return;
        }
    }
}

int fs_servers_home(const fs_servers_t *servers, fs_usec_t now)
{
    return servers->count && servers->current != (int)servers->home && servers->home_at <= now
               ? (int)servers->home
               : -1;
}

int fs_servers_return(fs_servers_t *servers, fs_usec_t now)
{
    if (fs_servers_home(servers, now) < 0)
        return 0;
    servers->current = (int)servers->home;
    servers->home_at = 0;
    return 1;
}

int fs_servers_next(const fs_servers_t *servers, fs_usec_t now)
{
    int best = FS_SERVERS_SQL;

    if (servers->current != FS_SERVERS_SQL)
        return servers->current;
    for (unsigned i = 0; i < servers->count; i++)
        if (servers->servers[i].retry_at <= now &&
            (best == FS_SERVERS_SQL ||
             servers->servers[i].retry_at < servers->servers[best].retry_at))
            best = (int)i;
    return best;
}

/* --- whether to believe it -------------------------------------------------------------------- */

/* Whether the operator holds what is active back from what is staged, if that is another. */
static int pins_active(const fs_manifest_t *manifest)
{
    return manifest->pinned_version && manifest->pinned_version == manifest->active.version;
}

void fs_known_nothing(fs_known_t *known)
{
    memset(known, 0, sizeof(*known));
    known->epoch = -1;
}

void fs_known_from_manifest(fs_known_t *known, const fs_manifest_t *manifest)
{
    memset(known, 0, sizeof(*known));
    known->epoch = manifest->epoch;
    known->active_version = manifest->active.version;
    known->staged_version = manifest->staged.version;
    known->pinned = pins_active(manifest);
    known->waiting = manifest->state == FS_GROUP_WAITING;
    known->activation_time = manifest->activation_time;
    known->interval = manifest->interval;
    fs_manifest_version_digest(&manifest->active, known->active_digest);
    fs_manifest_version_digest(&manifest->staged, known->staged_digest);
}

void fs_known_from_record(fs_known_t *known, const fs_control_group_t *record)
{
    memset(known, 0, sizeof(*known));
    known->only_page = 1;
    known->epoch = record->epoch;
    known->active_version = record->active_version;
    known->staged_version = record->staged_version;
    known->pinned = record->pinned == FS_PIN_ACTIVE;
    known->waiting = record->undecided;
    known->activation_time = record->activation_time;
    known->interval = record->interval;
}

/* Whether `version` can't be what we know by the same number. */
static int differs(const char *known_digest, const fs_manifest_version_t *version)
{
    char digest[FS_DIGEST_HEX_SIZE];

    if (!known_digest[0])
        return 0;
    fs_manifest_version_digest(version, digest);
    return strcmp(known_digest, digest) != 0;
}

static fs_take_t take_at_same_epoch(const fs_known_t *known, const fs_manifest_t *got)
{
    if (got->active.version != known->active_version ||
        got->staged.version != known->staged_version ||
        differs(known->active_digest, &got->active) || differs(known->staged_digest, &got->staged))
        return FS_TAKE_CHANGED;
    return got->activation_time == known->activation_time && got->interval == known->interval
               ? FS_TAKE_SAME
               : FS_TAKE_NEW;
}

/* Right after an activation the database may still call the version before it active. */
static fs_take_t take_if_forwards(const fs_known_t *known, const fs_manifest_t *got, fs_usec_t farm,
                                  int farm_known)
{
    int64_t floor = known->active_version;

    if (!known->pinned && !known->waiting && farm_known && farm >= known->activation_time)
        floor = known->staged_version;
    if (got->staged.version < floor || got->active.version < known->active_version)
        return FS_TAKE_BACKWARDS;
    return FS_TAKE_NEW;
}

fs_take_t fs_plan_take(const fs_known_t *known, const fs_manifest_t *got, const char *group,
                       fs_usec_t farm, int farm_known)
{
    if (strcmp(got->group, group) != 0)
        return FS_TAKE_FOREIGN;
    if (got->interval <= 0 || got->epoch < 0 || got->active.version < 0 ||
        got->staged.version < got->active.version)
        return FS_TAKE_MALFORMED;
    if (known->epoch < 0)
        return FS_TAKE_NEW;
    if (got->epoch < known->epoch)
        return FS_TAKE_OLDER;
    if (got->epoch == known->epoch && !known->only_page)
        return take_at_same_epoch(known, got);
    return take_if_forwards(known, got, farm, farm_known);
}

/* --- what to publish -------------------------------------------------------------------------- */

static const fs_plan_view_t *find_view(const fs_plan_views_t *views,
                                       const fs_manifest_version_t *version)
{
    char digest[FS_DIGEST_HEX_SIZE];

    if (version->version <= 0)
        return NULL;
    fs_manifest_version_digest(version, digest);
    for (unsigned i = 0; i < views->count; i++)
        if (views->views[i].version == version->version && !strcmp(views->views[i].digest, digest))
            return &views->views[i];
    return NULL;
}

uint64_t fs_plan_view_of(const fs_plan_views_t *views, const fs_manifest_version_t *version)
{
    const fs_plan_view_t *view = find_view(views, version);

    return view ? view->id : 0;
}

static void forget(fs_plan_views_t *views, unsigned index)
{
    views->count--;
    memmove(&views->views[index], &views->views[index + 1],
            (views->count - index) * sizeof(views->views[0]));
}

void fs_plan_view_add(fs_plan_views_t *views, const fs_plan_view_t *view)
{
    unsigned oldest = 0;

    if (views->count == FS_PLAN_VIEWS) {
        for (unsigned i = 1; i < views->count; i++) {
            fs_usec_t a = views->views[i].retired, b = views->views[oldest].retired;

            if (a && (!b || a < b))
                oldest = i;
        }
        forget(views, oldest);
    }
    views->views[views->count++] = *view;
}

void fs_plan_view_drop(fs_plan_views_t *views, uint64_t id)
{
    for (unsigned i = 0; i < views->count; i++)
        if (views->views[i].id == id) {
            forget(views, i);
            return;
        }
}

void fs_plan_retire(fs_plan_views_t *views, const fs_manifest_t *manifest,
                    const fs_control_group_t *record, fs_usec_t mono)
{
    const fs_plan_view_t *active = find_view(views, &manifest->active);
    const fs_plan_view_t *staged = find_view(views, &manifest->staged);

    for (unsigned i = 0; i < views->count; i++) {
        fs_plan_view_t *view = &views->views[i];

        if (view == active || view == staged || view->id == record->active_view ||
            view->id == record->staged_view)
            view->retired = 0;
        else if (!view->retired)
            view->retired = mono;
    }
    for (unsigned i = views->count; i-- > 0;)
        if (views->views[i].retired && mono - views->views[i].retired > FS_PLAN_LINGERS)
            forget(views, i);
}

/* What can be served while the version in force is not here. */
static const fs_plan_view_t *find_fallback(const fs_plan_views_t *views,
                                           const fs_manifest_t *manifest,
                                           const fs_plan_moment_t *moment)
{
    const fs_plan_view_t *best = NULL;

    for (unsigned i = 0; i < views->count; i++) {
        const fs_plan_view_t *view = &views->views[i];

        if (view->version < manifest->active.version && view->version >= moment->floor &&
            (!best || view->version > best->version))
            best = view;
    }
    return best;
}

/* When the version that is published as active came into force, as far as this host saw it. */
static fs_usec_t data_time(const fs_control_group_t *last, int64_t version)
{
    if (last->active_version == version)
        return last->data_time;
    if (last->staged_version == version && last->stale_after != FS_PLAN_STALE_NOW)
        return last->activation_time;
    return 0;
}

static void compose_versions(fs_control_group_t *record, const fs_manifest_t *manifest,
                             const fs_plan_views_t *views, const fs_plan_moment_t *moment)
{
    const fs_plan_view_t *active = find_view(views, &manifest->active);
    const fs_plan_view_t *staged = find_view(views, &manifest->staged);
    int staged_serves = staged && moment->farm_known && manifest->state != FS_GROUP_WAITING &&
                        moment->farm >= manifest->activation_time;
    const fs_plan_view_t *fallback =
        active || staged_serves ? NULL : find_fallback(views, manifest, moment);

    record->active_version = fallback ? fallback->version : manifest->active.version;
    record->active_view = fallback ? fallback->id : active ? active->id : 0;
    record->staged_version = manifest->staged.version;
    record->staged_view = staged ? staged->id : 0;
    record->retrieved = staged ? staged->published : 0;
    record->stale_after = fallback ? FS_PLAN_STALE_NOW : moment->stale_after;
    if (manifest->pinned_version)
        record->pinned =
            record->active_version == manifest->pinned_version ? FS_PIN_ACTIVE : FS_PIN_STAGED;
}

void fs_plan_compose(fs_control_group_t *record, const fs_control_group_t *last,
                     const fs_manifest_t *manifest, const fs_plan_views_t *views,
                     const fs_plan_moment_t *moment)
{
    memset(record, 0, sizeof(*record));
    memcpy(record->name, manifest->group, sizeof(record->name));
    record->state = (uint8_t)manifest->state;
    record->undecided = manifest->state == FS_GROUP_WAITING;
    record->epoch = manifest->epoch;
    record->activation_time = manifest->activation_time;
    record->interval = manifest->interval;
    record->heard = moment->heard;
    compose_versions(record, manifest, views, moment);
    record->data_time = data_time(last, record->active_version);
    memcpy(record->problem, last->problem, sizeof(record->problem));
    memcpy(record->detail, last->detail, sizeof(record->detail));
    fs_text_fit(record->reason, sizeof(record->reason), manifest->reason,
                strnlen(manifest->reason, sizeof(manifest->reason)));
}

const fs_manifest_version_t *fs_plan_in_force(const fs_manifest_t *manifest, fs_usec_t farm,
                                              int farm_known)
{
    if (pins_active(manifest) || !farm_known)
        return &manifest->active;
    return fs_manifest_in_force(manifest, farm);
}

const fs_manifest_version_t *fs_plan_wanted(const fs_manifest_t *manifest,
                                            const fs_plan_views_t *views, fs_usec_t farm,
                                            int farm_known, int64_t failed)
{
    const fs_manifest_version_t *first = fs_plan_in_force(manifest, farm, farm_known);
    const fs_manifest_version_t *other =
        first == &manifest->active ? &manifest->staged : &manifest->active;
    int first_here = first->version <= 0 || find_view(views, first);

    if (!first_here && first->version != failed)
        return first;
    if (other->version <= 0 || other->version == first->version || other->version == failed ||
        find_view(views, other))
        return NULL;
    /* What has been replaced already is of use only while its successor can't be had. */
    return other == &manifest->active && first_here ? NULL : other;
}

fs_usec_t fs_plan_herd_delay(fs_usec_t left, double chance)
{
    fs_usec_t span = left / 10;

    if (left <= 10 * FS_USEC_PER_SEC)
        return 0;
    if (span > FS_PLAN_HERD)
        span = FS_PLAN_HERD;
    return (fs_usec_t)((double)span * chance);
}

fs_usec_t fs_plan_come_again(unsigned wait, fs_usec_t left, double chance)
{
    fs_usec_t span = (fs_usec_t)((double)wait * (double)FS_USEC_PER_SEC * (0.5 + chance));
    fs_usec_t most = (left > 0 ? left : FS_PLAN_PATIENCE) / 8;

    if (span > most)
        span = most;
    return span > FS_PLAN_AGAIN_LEAST ? span : FS_PLAN_AGAIN_LEAST;
}

int fs_plan_is_patient(fs_usec_t busy, fs_usec_t left, double chance)
{
    fs_usec_t most = left > FS_PLAN_PATIENCE ? left : FS_PLAN_PATIENCE;

    return (double)busy < (double)most * (0.5 + chance);
}

/* --- when to ask again ------------------------------------------------------------------------ */

/* From shortly before the plan's time on a server must hear often, or it has to call itself stale.
 */
static fs_usec_t waiting_pace(const fs_manifest_t *manifest, fs_usec_t farm)
{
    fs_usec_t notice = fs_cycle_notice(manifest);
    fs_usec_t wait = manifest->activation_time - notice / 2 - farm;

    if (wait > FS_PLAN_WAIT_MS * FS_USEC_PER_MSEC)
        return FS_PLAN_WAIT_MS * FS_USEC_PER_MSEC;
    return wait > notice / 6 ? wait : notice / 6;
}

unsigned fs_plan_wait_ms(const fs_manifest_t *manifest, fs_usec_t farm, int farm_known,
                         fs_usec_t promote_at)
{
    fs_usec_t wait = FS_PLAN_WAIT_MS * FS_USEC_PER_MSEC;

    if (!farm_known)
        return FS_PLAN_OVERDUE_MS;
    if (manifest->state == FS_GROUP_WAITING)
        wait = waiting_pace(manifest, farm);
    else if (farm >= manifest->activation_time || manifest->activation_time >= FS_CYCLE_UNDECIDED)
        wait = (manifest->state == FS_GROUP_HELD ? FS_PLAN_HELD_MS : FS_PLAN_OVERDUE_MS) *
               FS_USEC_PER_MSEC;
    if (promote_at - farm < wait)
        wait = promote_at - farm;
    if (wait < 0)
        wait = 0;
    return (unsigned)(wait / FS_USEC_PER_MSEC);
}

/* --- when to say it again --------------------------------------------------------------------- */

fs_say_t fs_plan_say(fs_repeat_t *repeat, const char *problem, fs_usec_t now)
{
    int same = !strcmp(repeat->problem, problem);

    if (!problem[0]) {
        if (same)
            return FS_SAY_NOTHING;
        repeat->problem[0] = '\0';
        return FS_SAY_OVER;
    }
    if (same && now - repeat->said < FS_PLAN_REPEAT)
        return FS_SAY_NOTHING;
    snprintf(repeat->problem, sizeof(repeat->problem), "%s", problem);
    repeat->said = now;
    return FS_SAY_PROBLEM;
}
