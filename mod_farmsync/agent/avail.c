/* SPDX-License-Identifier: Apache-2.0 */
#include "avail.h"

#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "parts.h"

#define FIRST_WAIT (3 * FS_USEC_PER_SEC) /* for the others, before nothing is published */
#define LOOK_EVERY (2 * FS_USEC_PER_SEC) /* beginnings, ends and peers change what is heeded */
#define GATHER_FOR (5 * FS_USEC_PER_MSEC)
/* A publication that took long is followed by a rest of so many times that. */
#define REST_FACTOR  9
#define SERVERS_MOST 512

/* --- what the map says --------------------------------------------------------------------------
 */

fs_usec_t fs_avail_expires(const fs_notice_t *notice)
{
    return notice->window.until ? notice->window.until + FS_AVAIL_EXPIRES_LATE : 0;
}

fs_usec_t fs_avail_since(fs_avail_agent_t *avail, const char *key, fs_usec_t farm)
{
    const fs_avail_entry_t *entry;
    fs_usec_t since = 0;
    fs_window_at_t at;

    pthread_mutex_lock(&avail->lock);
    entry = fs_avail_table_get(avail->table, key);
    if (entry) {
        fs_window_at(&entry->notice->window, farm, &at);
        since = at.in_force ? entry->notice->window.from : 0;
    }
    pthread_mutex_unlock(&avail->lock);
    return since;
}

/* A monitor that only says again what it said. */
static int is_renewal(const fs_avail_entry_t *entry, const fs_notice_t *notice)
{
    return entry && notice->role == FS_NOTICE_MONITOR && entry->notice->role == FS_NOTICE_MONITOR &&
           entry->notice->state == notice->state &&
           entry->notice->window.from == notice->window.from;
}

/*
 * Takes one record over, which is entered into the history if it is `new`. Returns 1 if what an
 * operator said has changed. avail->lock is held.
 */
static int take_record(fs_agent_t *agent, const fs_record_t *record, int new)
{
    fs_avail_agent_t *avail = agent->avail;
    fs_avail_entry_t *entry = fs_avail_table_get(avail->table, record->key);
    int was_operators = entry && entry->notice->role == FS_NOTICE_OPERATOR;
    fs_notice_t *notice = NULL;
    fs_result_t result;
    int is_operators;

    if (!record->removed && (fs_notice_parse(&notice, record->value, record->length, 0, &result) ||
                             !fs_avail_is_sound(notice, record->key))) {
        fs_log(FS_LOG_WARNING, "FS1574",
               "the notice %s from %s isn't heeded: %s; it may be of another release of farmsync",
               record->key, record->stamp.origin,
               notice ? "its key isn't that of its application, id and role" : result.detail);
        free(notice);
        notice = NULL;
    }
    if (!notice) {
        if (entry && new)
            fs_avail_remember(agent, "over", record->key, entry->notice, record->stamp.origin, "",
                              "");
        return fs_avail_table_remove(avail->table, record->key) && was_operators;
    }
    is_operators = notice->role == FS_NOTICE_OPERATOR;
    if (new && !is_renewal(entry, notice))
        fs_avail_remember(agent, entry ? "changed" : "told", record->key, notice,
                          record->stamp.origin, notice->who ? notice->who : "", "");
    fs_avail_table_put(avail->table, record->key, notice, record->stamp.origin);
    return is_operators || was_operators;
}

/* --- publication --------------------------------------------------------------------------------
 */

static unsigned farm_size(fs_agent_t *agent)
{
    static const unsigned most = SERVERS_MOST;
    fs_peer_name_t *peers = malloc(most * sizeof(*peers));
    unsigned count = peers ? fs_peers_list(agent, peers, most) : 0;

    free(peers);
    return count + 1;
}

static apr_status_t publish_entries(fs_agent_t *agent, fs_avail_entry_t **entries, unsigned count,
                                    fs_usec_t farm, fs_result_t *result)
{
    fs_avail_writer_t *writer = agent->avail->writer;
    apr_status_t status = APR_SUCCESS;

    fs_avail_begin(writer, farm);
    for (unsigned i = 0; i < count && !status; i++)
        if (entries[i]->heeded && fs_notice_for_server(entries[i]->notice, agent->config.server))
            status = fs_avail_add(writer, entries[i]->notice, result);
    return status ? status : fs_avail_commit(writer, result);
}

static void say_left_out(fs_avail_agent_t *avail, unsigned left_out, unsigned servers,
                         unsigned percent)
{
    if (left_out > avail->left_out)
        fs_log(
            FS_LOG_WARNING, "FS1575",
            "%u notices of monitors aren't heeded: they may take an application down on %u of %u "
            "servers at most. Look whether what all servers use is broken, or the monitors are",
            left_out, fs_avail_allowed(servers, percent), servers);
    else if (avail->left_out && !left_out)
        fs_log(FS_LOG_NOTICE, "FS1576", "all notices of monitors are heeded again");
    avail->left_out = left_out;
}

/* Publishes what the table has. avail->lock is held. */
static void publish(fs_agent_t *agent)
{
    fs_avail_agent_t *avail = agent->avail;
    fs_usec_t began = fs_time_mono(), farm = fs_backplane_time(agent);
    unsigned servers = farm_size(agent), count, left_out;
    fs_avail_entry_t **entries = fs_avail_table_weigh(
        avail->table, servers, agent->config.monitor_share, farm, &count, &left_out);
    fs_result_t result;
    apr_status_t status = publish_entries(agent, entries, count, farm, &result);

    free(entries);
    avail->dirty = status && status != APR_ENOSPC;
    avail->cost = fs_time_mono() - began;
    say_left_out(avail, left_out, servers, agent->config.monitor_share);
    fs_agent_trouble(&avail->publishing, FS_LOG_ERROR, status ? &result : NULL, "FS1577",
                     "notices are published again");
}

/* fs_backplane_changed_fn */
static void on_change(void *baton, const fs_record_t *records, unsigned count)
{
    fs_agent_t *agent = baton;
    fs_avail_agent_t *avail = agent->avail;
    int at_once = 0;

    pthread_mutex_lock(&avail->lock);
    for (unsigned i = 0; i < count; i++)
        at_once |= take_record(agent, &records[i], 1);
    avail->dirty = 1;
    if (at_once)
        publish(agent);
    else
        pthread_cond_signal(&avail->due);
    pthread_mutex_unlock(&avail->lock);
}

/* fs_map_each_fn: what was restored from disk. */
static int take_restored(void *baton, const fs_record_t *record)
{
    take_record(baton, record, 0);
    return 0;
}

/* Publishes what monitors said, and what time changes. */
static void *run(void *baton)
{
    fs_agent_t *agent = baton;
    fs_avail_agent_t *avail = agent->avail;

    pthread_mutex_lock(&avail->lock);
    while (!fs_agent_stopping(agent)) {
        fs_usec_t rest = REST_FACTOR * avail->cost;

        if (!avail->dirty)
            fs_agent_cond_wait(&avail->due, &avail->lock, LOOK_EVERY > rest ? LOOK_EVERY : rest);
        if (avail->dirty) {
            pthread_mutex_unlock(&avail->lock);
            fs_agent_sleep(agent, rest > GATHER_FOR ? rest : GATHER_FOR);
            pthread_mutex_lock(&avail->lock);
        }
        /* What was published by the agent before this one counts until the others had a say. */
        if (fs_avail_table_count(avail->table) || fs_time_mono() >= avail->first)
            publish(agent);
    }
    pthread_mutex_unlock(&avail->lock);
    return NULL;
}

/* --- the part ------------------------------------------------------------------------------------
 */

/* Whose process the parent is says who started httpd. */
static int parent_is_own_user(void)
{
    char path[64];
    struct stat info;

    snprintf(path, sizeof(path), "/proc/%ld", (long)getppid());
    return !stat(path, &info) && info.st_uid == getuid();
}

static void make_probe(char probe[FS_AVAIL_PROBE_SIZE])
{
    unsigned char random[(FS_AVAIL_PROBE_SIZE - 1) / 2];

    if (RAND_bytes(random, sizeof(random)) != 1)
        return; /* "": no check gets by */
    for (unsigned i = 0; i < sizeof(random); i++)
        snprintf(probe + 2 * i, 3, "%02x", random[i]);
}

static apr_status_t make_parts(fs_agent_t *agent, fs_result_t *result)
{
    fs_avail_agent_t *avail = agent->avail = calloc(1, sizeof(*avail));
    apr_status_t status;

    if (avail)
        avail->table = fs_avail_table_create();
    if (!avail || !avail->table)
        return fs_result_set(result, APR_ENOMEM, "FS0621", "out of memory");
    pthread_mutex_init(&avail->lock, NULL);
    pthread_mutex_init(&avail->tasks_lock, NULL);
    pthread_mutex_init(&avail->history_lock, NULL);
    fs_agent_cond_init(&avail->due);
    fs_agent_cond_init(&avail->tasks_due);
    avail->own_is_operator = parent_is_own_user();
    make_probe(avail->probe);
    status = fs_avail_open_writer(&avail->writer, agent->config.state_dir, agent->config.server,
                                  agent->control, result);
    if (!status)
        status = fs_avail_open_writer(&avail->checker, agent->config.state_dir,
                                      agent->config.server, agent->control, result);
    /* Without it an application that was down once could never be seen to work again. */
    if (!status && fs_monitors_look_by_http(agent))
        fs_avail_set_probe(avail->writer, avail->probe);
    return status;
}

apr_status_t fs_avail_open(fs_agent_t *agent, fs_result_t *result)
{
    apr_status_t status = make_parts(agent, result);

    if (!status)
        status = fs_backplane_watch(agent, FS_NOTICE_KIND, on_change, agent, result);
    if (!status)
        status = fs_avail_routes(agent, result);
    if (status)
        return status;
    fs_monitors_open(agent);
    return APR_SUCCESS;
}

apr_status_t fs_avail_start(fs_agent_t *agent, fs_result_t *result)
{
    fs_avail_agent_t *avail = agent->avail;
    apr_status_t status;

    avail->first = fs_time_mono() + FIRST_WAIT;
    pthread_mutex_lock(&avail->lock);
    fs_backplane_each(agent, FS_NOTICE_KIND, take_restored, agent);
    if (fs_avail_table_count(avail->table))
        publish(agent);
    pthread_mutex_unlock(&avail->lock);
    status = fs_agent_start_thread(&avail->thread, run, agent, result);
    avail->started = !status;
    if (!status)
        status = fs_avail_start_checks(agent, result);
    return status ? status : fs_monitors_start(agent, result);
}

void fs_avail_wake(fs_agent_t *agent)
{
    fs_avail_agent_t *avail = agent->avail;

    if (!avail)
        return;
    pthread_mutex_lock(&avail->tasks_lock);
    pthread_cond_broadcast(&avail->tasks_due);
    pthread_mutex_unlock(&avail->tasks_lock);
    /* The publisher may hold its lock for long; it looks at its condition with a limit. */
    if (!pthread_mutex_trylock(&avail->lock)) {
        pthread_cond_broadcast(&avail->due);
        pthread_mutex_unlock(&avail->lock);
    }
}

int fs_avail_join(fs_agent_t *agent)
{
    fs_avail_agent_t *avail = agent->avail;

    if (!avail)
        return 1;
    if (avail->started && !avail->joined)
        avail->joined = !pthread_tryjoin_np(avail->thread, NULL);
    if (avail->check_started && !avail->check_joined)
        avail->check_joined = !pthread_tryjoin_np(avail->check_thread, NULL);
    return (!avail->started || avail->joined) && (!avail->check_started || avail->check_joined) &&
           fs_monitors_join(agent);
}
