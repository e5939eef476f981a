/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whom there is: FarmSyncPeer, the records that each member keeps of itself on the backplane, and
 * farmsync.member, by way of a data server or, while none answers, in SQL. One of these ways is
 * enough. A thread asks, as all of it may take long; it also tells httpd's children how the
 * backplane is (StateDir/notices/peers).
 */
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "avail/fs_avail_peers.h"
#include "backplane_internal.h"
#include "base/fs_file.h"
#include "listen.h"

#define LOOK_EVERY   (15 * FS_USEC_PER_SEC)
#define LOOK_FIRST   (1 * FS_USEC_PER_SEC) /* while nobody answers, and at first */
#define TELL_EVERY   (2 * FS_USEC_PER_SEC)
#define STEP         (250 * FS_USEC_PER_MSEC)
#define TIMEOUT_MS   2000
#define ANSWER_LIMIT (256u * 1024)
#define MEMBER_FOR   (3 * 24 * 3600 * FS_USEC_PER_SEC) /* a member that isn't heard of any more */
#define MEMBER_RENEW (MEMBER_FOR / 2)

/* --- records of members -------------------------------------------------------------------------
 */

static void add_peer(fs_backplane_t *backplane, const char *name, const char *url, int configured)
{
    fs_result_t result;

    if (strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0)
        return;
    if (fs_exchange_add_peer(backplane->exchange, name, url, configured, &result))
        fs_log_result(FS_LOG_WARNING, &result);
}

void fs_peers_learn(fs_backplane_t *backplane, const fs_record_t *record)
{
    json_t *json;
    const char *url;

    if (record->removed || !strcmp(record->key, backplane->agent->config.server))
        return;
    json = json_loadb(record->value, record->length, 0, NULL);
    url = json_string_value(json_object_get(json, "url"));
    if (url && url[0])
        add_peer(backplane, record->key, url, 0);
    json_decref(json);
}

/* What a member says of itself; room for more is what JSON is for. */
static char *own_value(const fs_backplane_t *backplane)
{
    const fs_agent_config_t *config = &backplane->agent->config;
    json_t *json = json_pack("{s:s, s:s, s:s}", "url", backplane->url, "address",
                             config->address ? config->address : "", "version", FARMSYNC_VERSION);
    char *text = json ? json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS) : NULL;

    json_decref(json);
    return text;
}

void fs_peers_tell_own(fs_backplane_t *backplane)
{
    const char *name = backplane->agent->config.server;
    fs_moment_t now = fs_backplane_now(backplane);
    fs_record_t record;
    fs_result_t result;
    char *value;

    if (!backplane->url[0])
        return;
    if (fs_map_get(backplane->map, "member", name, &record) && !record.removed &&
        record.expires > now.farm + MEMBER_RENEW && backplane->told_own)
        return;
    value = own_value(backplane);
    if (!value)
        return;
    if (!fs_map_get(backplane->map, "member", name, &record) || record.removed ||
        record.expires <= now.farm + MEMBER_RENEW || record.length != strlen(value) ||
        memcmp(record.value, value, record.length) != 0) {
        if (fs_exchange_put(backplane->exchange, now, "member", name, value, strlen(value),
                            FS_PRIORITY_MEMBER, now.farm + MEMBER_FOR, &result))
            fs_log_result(FS_LOG_WARNING, &result);
    }
    backplane->told_own = 1;
    free(value);
}

static int learn_one(void *baton, const fs_record_t *record)
{
    fs_peers_learn(baton, record);
    return 0;
}

apr_status_t fs_peers_begin(fs_backplane_t *backplane, fs_result_t *result)
{
    const fs_agent_config_t *config = &backplane->agent->config;

    snprintf(backplane->url, sizeof(backplane->url), "%s", fs_listen_url(backplane->agent));
    pthread_mutex_lock(&backplane->lock);
    fs_exchange_set_url(backplane->exchange, backplane->url);
    for (unsigned i = 0; i < config->peer_count; i++)
        add_peer(backplane, "", config->peers[i], 1);
    fs_map_each(backplane->map, "member", learn_one, backplane);
    fs_peers_tell_own(backplane);
    pthread_mutex_unlock(&backplane->lock);
    return APR_SUCCESS;
}

/* --- farmsync.member ----------------------------------------------------------------------------
 */

static void take_member(fs_backplane_t *backplane, const char *name, const char *url)
{
    pthread_mutex_lock(&backplane->lock);
    add_peer(backplane, name, url, 0);
    pthread_mutex_unlock(&backplane->lock);
}

static apr_status_t take_row(void *baton, const fs_slice_t *values, unsigned count,
                             fs_result_t *result)
{
    char name[FS_MEMBER_SIZE], url[FS_PEER_URL_SIZE];

    if (count != 2 || !values[0].data || !values[1].data || values[0].length >= sizeof(name) ||
        values[1].length >= sizeof(url))
        return APR_SUCCESS;
    memcpy(name, values[0].data, values[0].length);
    name[values[0].length] = '\0';
    memcpy(url, values[1].data, values[1].length);
    url[values[1].length] = '\0';
    take_member(baton, name, url);
    return APR_SUCCESS;
}

static int ask_sql(fs_backplane_t *backplane)
{
    fs_result_t result;
    fs_sql_t *sql = fs_agent_sql_begin(&backplane->agent->sql, &result);
    apr_status_t status;

    if (!sql)
        return 0;
    status = fs_sql_rows(sql, take_row, backplane, &result,
                         "SELECT DISTINCT name, listen FROM farmsync.member WHERE kind = 'agent' "
                         "AND listen <> '' AND seen > UTC_TIMESTAMP(6) - INTERVAL 1 DAY LIMIT %d",
                         (int64_t)FS_EXCHANGE_PEERS);
    fs_agent_sql_end(&backplane->agent->sql);
    return !status;
}

static int take_list(fs_backplane_t *backplane, const char *body, size_t length)
{
    json_t *root = json_loadb(body, length, 0, NULL), *member;
    json_t *list = json_object_get(root, "members");
    size_t i;

    json_array_foreach(list, i, member)
    {
        const char *name = json_string_value(json_object_get(member, "name"));
        const char *url = json_string_value(json_object_get(member, "listen"));

        if (url)
            take_member(backplane, name ? name : "", url);
    }
    json_decref(root);
    return list != NULL;
}

/* GET /v1/members of the data server that is being asked now. */
static int ask_server(fs_backplane_t *backplane)
{
    const fs_agent_t *agent = backplane->agent;
    int index = fs_agent_server(backplane->agent), found = 0;
    fs_http_answer_t answer;
    fs_result_t result;
    char url[512];

    if (index < 0)
        return 0;
    snprintf(url, sizeof(url), "%s/v1/members", agent->config.servers[index]);
    if (fs_http_exchange(backplane->peers_http, "GET", url, NULL, 0, ANSWER_LIMIT, TIMEOUT_MS,
                         &answer, &result))
        return 0;
    if (answer.status == 200)
        found = take_list(backplane, answer.body, answer.length);
    fs_http_answer_clear(&answer);
    return found;
}

/* --- what the children are told -----------------------------------------------------------------
 */

static void describe(fs_backplane_t *backplane, fs_avail_peers_t *peers)
{
    static const char *const states[] = {"syncing", "ready", "alone"};
    static const char *const peer_states[] = {"unknown", "alive", "suspect", "dead"};
    fs_moment_t now = fs_backplane_now(backplane);
    fs_exchange_info_t info;

    memset(peers, 0, sizeof(*peers));
    pthread_mutex_lock(&backplane->lock);
    fs_exchange_info(backplane->exchange, &info);
    snprintf(peers->state, sizeof(peers->state), "%s", states[info.state]);
    peers->records = fs_map_count(backplane->map);
    peers->written = now.mono;
    for (unsigned i = 0;
         i < fs_exchange_peer_count(backplane->exchange) && peers->count < FS_AVAIL_PEERS; i++) {
        fs_avail_peer_t *peer = &peers->peers[peers->count];
        fs_peer_info_t one;

        if (!fs_exchange_peer(backplane->exchange, i, now, &one) || !one.name[0])
            continue;
        memcpy(peer->name, one.name, sizeof(peer->name));
        snprintf(peer->state, sizeof(peer->state), "%s", peer_states[one.state]);
        peer->heard = one.heard;
        peer->same = one.heard ? one.same : -1;
        peers->count++;
    }
    pthread_mutex_unlock(&backplane->lock);
}

static void tell_children(fs_backplane_t *backplane)
{
    fs_avail_peers_t *peers = malloc(sizeof(*peers));
    char directory[PATH_MAX];
    fs_result_t result;

    if (!peers)
        return;
    describe(backplane, peers);
    snprintf(directory, sizeof(directory), "%s/notices", backplane->agent->config.state_dir);
    if (fs_dir_make(directory, &result) ||
        fs_avail_write_peers(backplane->agent->config.state_dir, peers, &result))
        fs_log_result(FS_LOG_DEBUG, &result);
    free(peers);
}

/* --- the thread ---------------------------------------------------------------------------------
 */

/* Where all start at once the others are not in the list yet: a young agent looks more often. */
static fs_usec_t look_again(fs_usec_t age)
{
    fs_usec_t quarter = age / 4;

    return quarter < LOOK_FIRST ? LOOK_FIRST : (quarter < LOOK_EVERY ? quarter : LOOK_EVERY);
}

void *fs_peers_find(void *baton)
{
    fs_backplane_t *backplane = baton;
    fs_usec_t began = fs_time_mono(), look_at = 0, tell_at = 0;

    while (!fs_backplane_ending(backplane)) {
        fs_usec_t now = fs_time_mono();

        if (backplane->url[0] && now >= look_at)
            look_at = now + (ask_server(backplane) || ask_sql(backplane) ? look_again(now - began)
                                                                         : LOOK_FIRST);
        if (backplane->url[0] && now >= tell_at) {
            tell_children(backplane);
            tell_at = now + TELL_EVERY;
        }
        fs_agent_sleep(backplane->agent, STEP);
        if (fs_agent_stopping(backplane->agent))
            break;
    }
    fs_sql_thread_end();
    return NULL;
}
