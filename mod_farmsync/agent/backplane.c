/* SPDX-License-Identifier: Apache-2.0 */
#include "backplane.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backplane_internal.h"
#include "listen.h"
#include "parts.h"

#define MESSAGE_TYPE "application/vnd.farmsync.exchange"
#define SUSPECT_MS   3000 /* where nothing is configured; as lib/backplane's */

static _Thread_local int delivering;

fs_usec_t fs_backplane_time(fs_agent_t *agent)
{
    fs_usec_t farm;

    return fs_agent_farm(agent, &farm, NULL, NULL) ? farm : fs_time_wall();
}

fs_moment_t fs_backplane_now(const fs_backplane_t *backplane)
{
    return (fs_moment_t){.mono = fs_time_mono(), .farm = fs_backplane_time(backplane->agent)};
}

int fs_backplane_ending(const fs_backplane_t *backplane)
{
    return __atomic_load_n(&backplane->ending, __ATOMIC_ACQUIRE);
}

void fs_backplane_ring(fs_backplane_t *backplane)
{
    if (backplane->fan)
        fs_http_fan_wake(backplane->fan);
}

/* --- reading ------------------------------------------------------------------------------------
 */

static fs_record_t *copy_record(const fs_record_t *record)
{
    size_t kind = strlen(record->kind) + 1, key = strlen(record->key) + 1;
    fs_record_t *copy = malloc(sizeof(*copy) + kind + key + record->length + 1);
    char *at;

    if (!copy)
        return NULL;
    at = (char *)(copy + 1);
    *copy = *record;
    copy->kind = memcpy(at, record->kind, kind);
    copy->key = memcpy(at + kind, record->key, key);
    copy->value = at + kind + key;
    if (record->length)
        memcpy(at + kind + key, record->value, record->length);
    at[kind + key + record->length] = '\0';
    return copy;
}

fs_record_t *fs_backplane_get(fs_agent_t *agent, const char *kind, const char *key)
{
    fs_backplane_t *backplane = agent->backplane;
    fs_record_t record, *copy = NULL;

    pthread_mutex_lock(&backplane->lock);
    if (fs_map_get(backplane->map, kind, key, &record) && !record.removed)
        copy = copy_record(&record);
    pthread_mutex_unlock(&backplane->lock);
    return copy;
}

typedef struct fs_living_t {
    fs_map_each_fn *fn;
    void *baton;
} fs_living_t;

static int each_living(void *baton, const fs_record_t *record)
{
    const fs_living_t *living = baton;

    return record->removed ? 0 : living->fn(living->baton, record);
}

int fs_backplane_each(fs_agent_t *agent, const char *kind, fs_map_each_fn *fn, void *baton)
{
    fs_backplane_t *backplane = agent->backplane;
    fs_living_t living = {fn, baton};
    int ended;

    pthread_mutex_lock(&backplane->lock);
    ended = fs_map_each(backplane->map, kind, each_living, &living);
    pthread_mutex_unlock(&backplane->lock);
    return ended;
}

/* --- changes ------------------------------------------------------------------------------------
 */

apr_status_t fs_backplane_watch(fs_agent_t *agent, const char *kind, fs_backplane_changed_fn *fn,
                                void *baton, fs_result_t *result)
{
    fs_backplane_t *backplane = agent->backplane;

    if (backplane->watcher_count == FS_BACKPLANE_WATCHERS)
        return fs_result_set(result, APR_ENOSPC, "FS1476",
                             "more than %d parts of the agent watch the backplane; report it",
                             FS_BACKPLANE_WATCHERS);
    backplane->watchers[backplane->watcher_count++] = (fs_watcher_t){kind, fn, baton};
    return APR_SUCCESS;
}

static int is_watched(const fs_backplane_t *backplane, const char *kind)
{
    for (unsigned i = 0; i < backplane->watcher_count; i++)
        if (!strcmp(backplane->watchers[i].kind, kind))
            return 1;
    return 0;
}

/* The lock is held: called by the map. */
static void changed(void *baton, const fs_record_t *record, const fs_record_t *before)
{
    fs_backplane_t *backplane = baton;
    fs_change_t *change;

    fs_backplane_dirty(backplane, record);
    if (!strcmp(record->kind, "member"))
        fs_peers_learn(backplane, record);
    if (!is_watched(backplane, record->kind))
        return;
    change = malloc(sizeof(*change));
    if (change)
        change->record = copy_record(record);
    if (!change || !change->record) {
        free(change);
        fs_log(FS_LOG_ERROR, "FS0621", "out of memory");
        return;
    }
    STAILQ_INSERT_TAIL(&backplane->changes, change, link);
}

/* Tells a watcher those of its kind. */
static void tell_watcher(const fs_watcher_t *watcher, const fs_record_t *records,
                         const unsigned *of_kind, unsigned count)
{
    fs_record_t *own = malloc(count * sizeof(*own));

    if (!own) {
        fs_log(FS_LOG_ERROR, "FS0621", "out of memory");
        return;
    }
    for (unsigned i = 0; i < count; i++)
        own[i] = records[of_kind[i]];
    watcher->fn(watcher->baton, own, count);
    free(own);
}

static void tell_watchers(const fs_backplane_t *backplane, const fs_record_t *records,
                          unsigned *of_kind, unsigned count)
{
    for (unsigned w = 0; w < backplane->watcher_count; w++) {
        unsigned found = 0;

        for (unsigned i = 0; i < count; i++)
            if (!strcmp(records[i].kind, backplane->watchers[w].kind))
                of_kind[found++] = i;
        if (found)
            tell_watcher(&backplane->watchers[w], records, of_kind, found);
    }
}

/* Tells what is in the list, and frees it. */
static void deliver_list(const fs_backplane_t *backplane, fs_changes_t *changes)
{
    unsigned count = 0, i = 0;
    fs_record_t *records;
    unsigned *of_kind;
    fs_change_t *change, *next;

    STAILQ_FOREACH(change, changes, link)
    count++;
    records = malloc(count * sizeof(*records));
    of_kind = malloc(count * sizeof(*of_kind));
    if (records && of_kind) {
        STAILQ_FOREACH(change, changes, link)
        records[i++] = *change->record;
        tell_watchers(backplane, records, of_kind, count);
    } else {
        fs_log(FS_LOG_ERROR, "FS0621", "out of memory");
    }
    free(records);
    free(of_kind);
    for (change = STAILQ_FIRST(changes); change; change = next) {
        next = STAILQ_NEXT(change, link);
        free(change->record);
        free(change);
    }
}

void fs_backplane_deliver(fs_backplane_t *backplane)
{
    fs_changes_t changes;

    if (delivering) /* a watcher changed something: whoever called it goes on with that */
        return;
    delivering = 1;
    pthread_mutex_lock(&backplane->telling);
    for (;;) {
        STAILQ_INIT(&changes);
        pthread_mutex_lock(&backplane->lock);
        STAILQ_CONCAT(&changes, &backplane->changes);
        pthread_mutex_unlock(&backplane->lock);
        if (STAILQ_EMPTY(&changes))
            break;
        deliver_list(backplane, &changes);
    }
    pthread_mutex_unlock(&backplane->telling);
    delivering = 0;
}

/* --- the thread that sends ----------------------------------------------------------------------
 */

static void begin_request(fs_backplane_t *backplane, const fs_request_t *request)
{
    char url[FS_PEER_URL_SIZE + sizeof(FS_LISTEN_EXCHANGE)];
    fs_http_fan_request_t begun = {.id = request->id,
                                   .method = "POST",
                                   .url = url,
                                   .content_type = MESSAGE_TYPE,
                                   .body = request->bytes,
                                   .length = request->length,
                                   .limit = FS_MESSAGE_LIMIT,
                                   .timeout_ms = (unsigned)(request->timeout / FS_USEC_PER_MSEC)};
    fs_result_t result;

    snprintf(url, sizeof(url), "%s" FS_LISTEN_EXCHANGE, request->url);
    if (!fs_http_fan_start(backplane->fan, &begun, &result))
        return;
    pthread_mutex_lock(&backplane->lock);
    fs_exchange_failed(backplane->exchange, fs_backplane_now(backplane), request->id,
                       result.detail);
    pthread_mutex_unlock(&backplane->lock);
}

static void on_done(void *baton, uint64_t id, apr_status_t status, const fs_http_answer_t *answer,
                    const fs_result_t *result)
{
    fs_backplane_t *backplane = baton;
    fs_moment_t now = fs_backplane_now(backplane);
    char why[64];

    pthread_mutex_lock(&backplane->lock);
    if (status) {
        if (!strcmp(result->problem, "FS0220"))
            fs_exchange_refused(backplane->exchange, FS_REFUSED_FOREIGN, "");
        fs_exchange_failed(backplane->exchange, now, id, result->detail);
    } else if (answer->status != 200) {
        snprintf(why, sizeof(why), "it answered status %d", answer->status);
        fs_exchange_failed(backplane->exchange, now, id, why);
    } else {
        fs_exchange_answered(backplane->exchange, now, id, answer->body, answer->length);
    }
    pthread_mutex_unlock(&backplane->lock);
    fs_backplane_deliver(backplane);
}

static void send_all(fs_backplane_t *backplane, fs_request_t *request)
{
    for (;;) {
        int more;

        pthread_mutex_lock(&backplane->lock);
        more = fs_exchange_next(backplane->exchange, fs_backplane_now(backplane), request);
        pthread_mutex_unlock(&backplane->lock);
        if (!more)
            break;
        begin_request(backplane, request);
    }
    fs_backplane_deliver(backplane); /* what has expired */
}

/*
 * A pass of the exchange that comes late, by half of the time after which peers are suspected, says
 * that this process didn't run, and excuses those who weren't heard meanwhile. So there must be one
 * more often than that, also when there is nothing to do.
 */
static fs_usec_t pass_every(const fs_backplane_t *backplane)
{
    unsigned suspect_ms = backplane->agent->config.suspect_ms;

    return (suspect_ms ? suspect_ms : SUSPECT_MS) * FS_USEC_PER_MSEC / 4;
}

static unsigned wait_ms(fs_backplane_t *backplane)
{
    fs_moment_t now = fs_backplane_now(backplane);
    fs_usec_t due, tickets, pass = now.mono + pass_every(backplane);

    pthread_mutex_lock(&backplane->lock);
    due = fs_exchange_due(backplane->exchange, now);
    tickets = fs_tickets_due(backplane);
    pthread_mutex_unlock(&backplane->lock);
    if (tickets < due)
        due = tickets;
    if (pass < due)
        due = pass;
    return due <= now.mono ? 0 : (unsigned)((due - now.mono) / FS_USEC_PER_MSEC + 1);
}

/* Once a minute what was refused, and somebody with this server's name. */
static void say_refused(fs_backplane_t *backplane)
{
    fs_exchange_info_t info;
    fs_usec_t now = fs_time_mono();
    unsigned names;

    if (backplane->said_at && now - backplane->said_at < 60 * FS_USEC_PER_SEC)
        return;
    pthread_mutex_lock(&backplane->lock);
    fs_exchange_info(backplane->exchange, &info);
    pthread_mutex_unlock(&backplane->lock);
    for (unsigned c = 0; c < FS_REFUSED_CAUSES; c++) {
        if (info.refused[c] == backplane->said[c])
            continue;
        backplane->said_at = now;
        fs_log(FS_LOG_WARNING, "FS1477",
               "backplane: %llu messages or records were refused (%s) since the last time this was "
               "said; GET /v1/backplane on agent.sock counts them by cause and peer",
               (unsigned long long)(info.refused[c] - backplane->said[c]),
               fs_refused_name((fs_refused_t)c));
        backplane->said[c] = info.refused[c];
    }
    names = info.others_with_name;
    if (names != backplane->said_names)
        fs_log(FS_LOG_ERROR, "FS1478",
               "backplane: another server calls itself %s, too: give each its own FarmSyncServer",
               backplane->agent->config.server);
    backplane->said_names = names;
}

static void *run(void *baton)
{
    fs_backplane_t *backplane = baton;
    fs_request_t *request = malloc(sizeof(*request));

    while (request && !fs_backplane_ending(backplane)) {
        pthread_mutex_lock(&backplane->lock);
        fs_peers_tell_own(backplane);
        pthread_mutex_unlock(&backplane->lock);
        if (backplane->url[0])
            send_all(backplane, request);
        fs_tickets_judge(backplane, 0);
        say_refused(backplane);
        fs_http_fan_run(backplane->fan, backplane->url[0] ? wait_ms(backplane) : 100, on_done,
                        backplane);
    }
    fs_tickets_judge(backplane, 1);
    free(request);
    return NULL;
}

/* --- life ---------------------------------------------------------------------------------------
 */

static fs_backplane_t *make(fs_agent_t *agent)
{
    fs_http_settings_t http = {.ring = agent->ring.count ? &agent->ring : NULL,
                               .origin = agent->config.server,
                               .ca_file = agent->config.ca_file,
                               .cert_file = agent->config.cert_file,
                               .connect_timeout_ms = 1000};
    fs_backplane_t *backplane = calloc(1, sizeof(*backplane));

    if (!backplane)
        return NULL;
    backplane->agent = agent;
    pthread_mutex_init(&backplane->lock, NULL);
    pthread_mutex_init(&backplane->telling, NULL);
    fs_agent_cond_init(&backplane->dirty);
    STAILQ_INIT(&backplane->changes);
    LIST_INIT(&backplane->tickets);
    backplane->fan = fs_http_fan_create(&http);
    backplane->peers_http = fs_agent_client(agent);
    return backplane->fan && backplane->peers_http ? backplane : NULL;
}

apr_status_t fs_backplane_open(fs_agent_t *agent, fs_result_t *result)
{
    fs_backplane_t *backplane = make(agent);
    apr_status_t status;

    agent->backplane = backplane;
    if (!backplane)
        return fs_result_set(result, APR_ENOMEM, "FS0621", "out of memory");
    status = fs_backplane_restore(backplane, result);
    if (status)
        return status;
    fs_map_watch(backplane->map, changed, backplane);
    return fs_backplane_add_routes(agent, result);
}

apr_status_t fs_backplane_start(fs_agent_t *agent, fs_result_t *result)
{
    fs_backplane_t *backplane = agent->backplane;
    apr_status_t status = fs_peers_begin(backplane, result);

    if (!status)
        status = fs_agent_start_thread(&backplane->keeper, fs_backplane_keep, backplane, result);
    backplane->keeper_started = !status;
    if (!status)
        status = fs_agent_start_thread(&backplane->thread, run, backplane, result);
    backplane->started = !status;
    if (!status)
        status = fs_agent_start_thread(&backplane->finder, fs_peers_find, backplane, result);
    backplane->finder_started = !status;
    return status;
}

void fs_backplane_wake(fs_agent_t *agent)
{
    fs_backplane_t *backplane = agent->backplane;

    if (!backplane)
        return;
    __atomic_store_n(&backplane->ending, 1, __ATOMIC_RELEASE);
    fs_backplane_ring(backplane);
    fs_http_client_abort(backplane->peers_http);
    pthread_mutex_lock(&backplane->lock);
    pthread_cond_broadcast(&backplane->dirty);
    pthread_mutex_unlock(&backplane->lock);
}

static int join_one(pthread_t thread, int started, int *joined)
{
    if (started && !*joined)
        *joined = !pthread_tryjoin_np(thread, NULL);
    return !started || *joined;
}

int fs_backplane_join(fs_agent_t *agent)
{
    fs_backplane_t *backplane = agent->backplane;
    int all;

    if (!backplane)
        return 1;
    all = join_one(backplane->thread, backplane->started, &backplane->joined);
    all &= join_one(backplane->finder, backplane->finder_started, &backplane->finder_joined);
    return all & join_one(backplane->keeper, backplane->keeper_started, &backplane->keeper_joined);
}
