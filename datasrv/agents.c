/* SPDX-License-Identifier: Apache-2.0 */
#include "agents.h"

#include <ctype.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define URL_SIZE   300
#define TRIES_MOST 8
#define ANSWER_MAX (16u << 20) /* all notices of a farm */
#define TRY_LEAST  200         /* ms */
#define TRY_MOST   5000
#define CONNECT_MS 500

struct fs_agents_t {
    pthread_mutex_t lock; /* all below */
    fs_agents_settings_t settings;
    fs_keyring_t ring;
    unsigned ring_changes;
    int stopping;
    unsigned count;
    char (*urls)[URL_SIZE];
    char last[URL_SIZE]; /* answered last */
};

fs_agents_t *fs_agents_create(const fs_agents_settings_t *settings)
{
    fs_agents_t *agents = calloc(1, sizeof(*agents));

    if (!agents)
        return NULL;
    pthread_mutex_init(&agents->lock, NULL);
    agents->settings = *settings;
    agents->ring = *settings->ring;
    agents->settings.ring = &agents->ring;
    agents->ring_changes = 1;
    return agents;
}

void fs_agents_destroy(fs_agents_t *agents)
{
    if (!agents)
        return;
    pthread_mutex_destroy(&agents->lock);
    free(agents->urls);
    free(agents);
}

void fs_agents_set_ring(fs_agents_t *agents, const fs_keyring_t *ring)
{
    pthread_mutex_lock(&agents->lock);
    agents->ring = *ring;
    agents->ring_changes++;
    pthread_mutex_unlock(&agents->lock);
}

/* --- addresses -------------------------------------------------------------------------------- */

typedef struct list_t {
    unsigned count;
    char (*urls)[URL_SIZE];
} list_t;

/* fs_sql_row_fn */
static apr_status_t keep_url(void *baton, const fs_slice_t *values, unsigned count,
                             fs_result_t *result)
{
    list_t *list = baton;

    if (list->count < FS_AGENTS_MAX && values[0].data && values[0].length < URL_SIZE)
        snprintf(list->urls[list->count++], URL_SIZE, "%.*s", (int)values[0].length,
                 (const char *)values[0].data);
    return APR_SUCCESS;
}

apr_status_t fs_agents_read(fs_agents_t *agents, fs_sql_t *sql, fs_result_t *result)
{
    list_t list = {.urls = calloc(FS_AGENTS_MAX, URL_SIZE)};
    apr_status_t status;
    void *former;

    if (!list.urls)
        return fs_result_set(result, APR_ENOMEM, "FS0881", "out of memory");
    status = fs_sql_rows(sql, keep_url, &list, result,
                         "SELECT DISTINCT listen FROM farmsync.member WHERE kind = 'agent' AND "
                         "listen <> '' AND seen > UTC_TIMESTAMP(6) - INTERVAL 15 SECOND LIMIT %d",
                         (int64_t)FS_AGENTS_MAX);
    if (status != APR_SUCCESS || !list.count) { /* what was known before is better than nothing */
        free(list.urls);
        return status;
    }
    pthread_mutex_lock(&agents->lock);
    former = agents->urls;
    agents->urls = list.urls;
    agents->count = list.count;
    pthread_mutex_unlock(&agents->lock);
    free(former);
    return APR_SUCCESS;
}

char *fs_agents_json(fs_agents_t *agents)
{
    json_t *list = json_array(), *root = json_pack("{s:o}", "members", list);
    char *text;

    pthread_mutex_lock(&agents->lock);
    for (unsigned i = 0; i < agents->count && root; i++)
        json_array_append_new(list, json_pack("{s:s}", "listen", agents->urls[i]));
    pthread_mutex_unlock(&agents->lock);
    text = root ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
    return text;
}

/* Whom to ask in the try-th place; 0 if there are no more. They are tried from `start` on. */
static int whom(fs_agents_t *agents, unsigned start, unsigned try, char url[URL_SIZE])
{
    int found = 0;

    pthread_mutex_lock(&agents->lock);
    if (!try && agents->last[0]) {
        memcpy(url, agents->last, URL_SIZE);
        found = 1;
    } else if (try <= agents->count && agents->count) {
        memcpy(url, agents->urls[(start + try) % agents->count], URL_SIZE);
        found = 1;
    }
    pthread_mutex_unlock(&agents->lock);
    return found;
}

static void note_last(fs_agents_t *agents, const char url[URL_SIZE])
{
    pthread_mutex_lock(&agents->lock);
    memcpy(agents->last, url, URL_SIZE);
    pthread_mutex_unlock(&agents->lock);
}

void fs_agents_stop(fs_agents_t *agents)
{
    pthread_mutex_lock(&agents->lock);
    agents->stopping = 1;
    pthread_mutex_unlock(&agents->lock);
}

static int is_stopping(fs_agents_t *agents)
{
    int stopping;

    pthread_mutex_lock(&agents->lock);
    stopping = agents->stopping;
    pthread_mutex_unlock(&agents->lock);
    return stopping;
}

/* --- asking ----------------------------------------------------------------------------------- */

void fs_agents_asker_clear(fs_agents_asker_t *asker)
{
    if (asker->client)
        fs_http_client_destroy(asker->client);
    asker->client = NULL;
}

/* A client with the key of now. */
static int renew_client(fs_agents_asker_t *asker)
{
    fs_agents_t *agents = asker->agents;
    fs_http_settings_t http = {0};
    fs_keyring_t ring;

    pthread_mutex_lock(&agents->lock);
    ring = agents->ring;
    if (asker->client && asker->ring_changes == agents->ring_changes) {
        pthread_mutex_unlock(&agents->lock);
        return 1;
    }
    asker->ring_changes = agents->ring_changes;
    pthread_mutex_unlock(&agents->lock);
    fs_agents_asker_clear(asker);
    http.ring = &ring;
    http.origin = agents->settings.origin;
    http.ca_file = agents->settings.ca_file;
    http.cert_file = agents->settings.cert_file;
    http.key_file = agents->settings.key_file;
    http.connect_timeout_ms = CONNECT_MS;
    asker->client = fs_http_client_create(&http);
    return asker->client != NULL;
}

static unsigned bounded_ms(fs_usec_t left)
{
    fs_usec_t ms = left / FS_USEC_PER_MSEC;

    return ms > TRY_MOST ? TRY_MOST : ms < TRY_LEAST ? TRY_LEAST : (unsigned)ms;
}

apr_status_t fs_agents_ask(fs_agents_asker_t *asker, const char *method, const char *path,
                           const void *body, size_t length, fs_usec_t until,
                           fs_http_answer_t *answer, fs_result_t *result)
{
    apr_status_t status = fs_result_set(
        result, APR_NOTFOUND, "FS0881",
        "no agent is known that could be told: web servers need FarmSyncListen, and to have "
        "reported to this database");
    unsigned start = (unsigned)(fs_time_mono() & 0xffff);
    char url[URL_SIZE], whole[URL_SIZE + 1200];

    memset(answer, 0, sizeof(*answer));
    if (!renew_client(asker))
        return fs_result_set(result, APR_ENOMEM, "FS0881", "out of memory");
    for (unsigned try = 0; try < TRIES_MOST && whom(asker->agents, start, try, url); try++) {
        if (fs_time_mono() >= until || is_stopping(asker->agents))
            break;
        fs_http_answer_clear(answer);
        snprintf(whole, sizeof(whole), "%s%s", url, path);
        status = fs_http_exchange(asker->client, method, whole, body, length, ANSWER_MAX,
                                  bounded_ms(until - fs_time_mono()), answer, result);
        if (status == APR_SUCCESS && answer->status < 500) {
            note_last(asker->agents, url);
            break;
        }
    }
    return status;
}

/* --- URLs ------------------------------------------------------------------------------------- */

int fs_agents_add_part(char *path, size_t size, const char *part)
{
    size_t begin = strlen(path), end = begin;

    for (; *part; part++) {
        int plain = isalnum((unsigned char)*part) || strchr("-._~", *part);

        if (end + 4 > size) {
            path[begin] = '\0';
            return 0;
        }
        end +=
            (size_t)snprintf(path + end, size - end, plain ? "%c" : "%%%02X", (unsigned char)*part);
    }
    return 1;
}

int fs_agents_add_query(char *path, size_t size, const char *name, const char *value)
{
    size_t begin = strlen(path);
    int added = snprintf(path + begin, size - begin, "%c%s=", strchr(path, '?') ? '&' : '?', name);

    if (added < 0 || begin + (size_t)added >= size || !fs_agents_add_part(path, size, value)) {
        path[begin] = '\0';
        return 0;
    }
    return 1;
}
