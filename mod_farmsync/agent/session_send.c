/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sender of one bank server: offers what is queued for it, in batches over one connection that
 * is kept. What the server doesn't take, since it holds something that this host hasn't seen, comes
 * back, is merged, and offered again.
 */
#include "session.h"

#include <stdlib.h>
#include <string.h>

#define BATCH_ITEMS 512
#define TIMEOUT_MS  3000

apr_status_t fs_session_exchange(fs_http_client_t *http, const char *base_url, const char *path,
                                 const fs_session_batch_writer_t *writer,
                                 fs_session_batch_kind_t kind, unsigned timeout_ms,
                                 fs_http_answer_t *answer, fs_session_batch_reader_t *reader,
                                 fs_result_t *result)
{
    char url[512];
    apr_status_t status;

    snprintf(url, sizeof(url), "%s%s", base_url, path);
    status = fs_http_exchange(http, "POST", url, writer->bytes, writer->length,
                              FS_SESSION_BATCH_LIMIT, timeout_ms, answer, result);
    if (status)
        return status;
    if (answer->status == 200)
        status = fs_session_batch_read(reader, kind, answer->body, answer->length, result);
    else
        status = fs_result_set(result, APR_EGENERAL, "FS1353", "%s answered status %d: %.200s", url,
                               answer->status, answer->body ? answer->body : "");
    if (status)
        fs_http_answer_clear(answer);
    return status;
}

void fs_send_wake(fs_bank_server_t *server)
{
    pthread_cond_signal(&server->send_due);
}

/* --- one batch ---------------------------------------------------------------------------------
 */

typedef struct sending_t {
    fs_bank_server_t *server;
    unsigned count;
    fs_sealed_t *sealed[BATCH_ITEMS];
    int has_base[BATCH_ITEMS];
    fs_session_stamp_t bases[BATCH_ITEMS];
    fs_session_confirmed_t confirmed[BATCH_ITEMS];
    fs_settled_t settled; /* of these */
} sending_t;

/* The lock is held. */
static void look_up_bases(sending_t *sending)
{
    fs_sessions_t *sessions = sending->server->sessions;

    for (unsigned i = 0; i < sending->count; i++) {
        const fs_session_stamp_t *base =
            fs_bases_get(sessions->bases, &sending->sealed[i]->label.key, sending->server->index);

        sending->has_base[i] = base != NULL;
        if (base)
            sending->bases[i] = *base;
    }
}

static apr_status_t write_offer(const sending_t *sending, fs_session_batch_writer_t *writer,
                                fs_result_t *result)
{
    fs_session_batch_t head = {.kind = FS_SESSION_BATCH_OFFER};
    apr_status_t status = fs_session_batch_begin(writer, &head, result);

    for (unsigned i = 0; i < sending->count && !status; i++) {
        const fs_sealed_t *sealed = sending->sealed[i];
        fs_session_item_t item = {.key = sealed->label.key,
                                  .flags = sealed->flags,
                                  .parts = FS_SESSION_PART_VERSION | FS_SESSION_PART_EXPIRES |
                                           FS_SESSION_PART_SEALED,
                                  .version = sealed->label.version,
                                  .expires = sealed->label.expires,
                                  .sealed = sealed->bytes,
                                  .sealed_length = (uint32_t)sealed->length};

        if (sending->has_base[i]) {
            item.parts |= FS_SESSION_PART_BASE;
            item.base = sending->bases[i];
        }
        if (sealed->owner[0]) {
            item.parts |= FS_SESSION_PART_OWNER;
            memcpy(item.owner, sealed->owner, sizeof(item.owner));
        }
        status = fs_session_batch_add(writer, &item, result);
    }
    return status;
}

/* The lock is held. */
static void answer(sending_t *sending, const fs_session_key_t *key,
                   const fs_session_stamp_t *version, fs_answer_t what)
{
    fs_bank_server_t *server = sending->server;
    fs_sessions_t *sessions = server->sessions;
    fs_flight_t *flight = fs_flights_answer(&sessions->flights, key, server->index, version, what,
                                            fs_session_clock());

    if (flight)
        fs_copy_settle(sessions, flight, &sending->settled);
}

/* --- what came back ----------------------------------------------------------------------------
 */

/*
 * The server holds something that isn't in this host's copy, as far as is known: it is merged, and
 * the result offered. 0 if that can't be done now.
 */
static int merge(fs_bank_server_t *server, const fs_session_item_t *item, const char *released_to,
                 apr_pool_t *pool)
{
    fs_sessions_t *sessions = server->sessions;
    fs_session_record_t copy, merged;
    fs_session_note_t note;
    fs_sealed_t *sealed;
    fs_result_t result;
    apr_status_t status = fs_copy_read(sessions, &item->key, pool, &sealed, &note, &result);

    if (status == APR_NOTFOUND)
        return 0;
    fs_sealed_drop(sealed);
    if (!status)
        status = fs_copy_open(item, note.seal, pool, &copy, &result);
    if (!status)
        status = fs_session_store_merge(sessions->store, &item->key, &copy, NULL,
                                        fs_sessions_farm(sessions), pool, &merged, &result);
    if (status) {
        const char *kept = fs_log_gate(&server->gate, fs_time_mono());

        if (kept)
            fs_log(FS_LOG_ERROR, "FS1354",
                   "a copy that bank server %s holds can't be merged (%s: %s)%s",
                   server->config->name, result.problem, result.detail, kept);
        return 0;
    }
    if (merged.state == FS_SESSION_ALIAS && copy.state == FS_SESSION_LIVE) {
        /* What it holds belongs to where the alias leads, which may be on another host. */
        fs_fetch_quietly(sessions, &merged.target.key, merged.target.seal);
        return 0;
    }
    pthread_mutex_lock(&sessions->lock);
    fs_bases_set(sessions->bases, &item->key, server->index, &item->version);
    server->merged++;
    pthread_mutex_unlock(&sessions->lock);
    fs_copy_send_now(sessions, &item->key, 1, pool);
    if (released_to[0]) /* he went on without what was changed here */
        fs_peer_tell_late(sessions, &item->key, released_to);
    return 1;
}

/* Another host owns it, as this bank server knows. */
static void look_at_owner(fs_bank_server_t *server, const fs_session_item_t *item,
                          const fs_sealed_t *sealed, const fs_session_stamp_t *base,
                          apr_pool_t *pool)
{
    fs_sessions_t *sessions = server->sessions;
    const char *self = sessions->agent->config.server;
    fs_session_hold_t held = {.held = 1};

    if (!(item->parts & FS_SESSION_PART_OWNER) || sealed->owner[0] || !strcmp(item->owner, self))
        return;
    held.version = item->parts & FS_SESSION_PART_VERSION ? item->version : sealed->label.version;
    memcpy(held.owner, item->owner, sizeof(held.owner));
    if (fs_session_keep(self, &held, &sealed->label.version, base) != FS_SESSION_LET_GO ||
        !fs_copy_let_go(sessions, &sealed->label.key, item->owner, &sealed->label.version, pool))
        return;
    fs_log(FS_LOG_INFO, "FS1355",
           "%s has taken a session of this host meanwhile; what was changed here is sent to it",
           item->owner);
    fs_peer_tell_late(sessions, &sealed->label.key, item->owner);
}

/* The lock is held. Whether the server knows by this answer whose the session is now. */
static int was_said(const sending_t *sending, unsigned i, const fs_session_item_t *item)
{
    fs_sessions_t *sessions = sending->server->sessions;
    const fs_sealed_t *sealed = sending->sealed[i];
    const fs_flight_t *flight = fs_flight_find(&sessions->flights, &sealed->label.key);

    if (sealed->owner[0] && (!(item->parts & FS_SESSION_PART_OWNER) ||
                             strcmp(item->owner, sessions->agent->config.server) != 0))
        fs_release_told(&sessions->releases, &sealed->label.key, sending->server->index);
    return !flight || !strcmp(flight->copy->owner, sealed->owner);
}

static void one_came_back(sending_t *sending, unsigned i, const fs_session_item_t *item,
                          apr_pool_t *pool)
{
    fs_bank_server_t *server = sending->server;
    fs_sessions_t *sessions = server->sessions;
    const fs_sealed_t *sealed = sending->sealed[i];
    const fs_session_stamp_t *version = &sealed->label.version;
    fs_answer_t what = FS_ANSWER_REFUSED;

    look_at_owner(server, item, sealed, sending->has_base[i] ? &sending->bases[i] : NULL, pool);
    if (item->what == FS_SESSION_WHAT_MERGE && item->parts & FS_SESSION_PART_SEALED &&
        merge(server, item, sealed->owner, pool))
        what = FS_ANSWER_AGAIN;
    pthread_mutex_lock(&sessions->lock);
    if (item->what == FS_SESSION_WHAT_STORED || item->what == FS_SESSION_WHAT_HAVE) {
        fs_bases_set(sessions->bases, &sealed->label.key, server->index, version);
        server->confirmed++;
        what = was_said(sending, i, item) ? FS_ANSWER_CONFIRMED : FS_ANSWER_AGAIN;
    } else if (item->what == FS_SESSION_WHAT_FULL) {
        what = FS_ANSWER_FULL;
    }
    if (what == FS_ANSWER_REFUSED)
        server->refused++;
    answer(sending, &sealed->label.key, version, what);
    pthread_mutex_unlock(&sessions->lock);
}

/* One has no room: whoever comes next in rank is to have it. */
static void go_on_to_next(sending_t *sending, const fs_session_key_t *key, apr_pool_t *pool)
{
    fs_log_gate_t *gate = &sending->server->gate;
    const char *kept = fs_log_gate(gate, fs_time_mono());

    if (kept)
        fs_log(FS_LOG_WARNING, "FS1356",
               "bank server %s is full: its sessions go to the next in rank; raise its limits or "
               "add a bank server%s",
               sending->server->config->name, kept);
    fs_copy_send_now(sending->server->sessions, key, 0, pool);
}

static void batch_came_back(sending_t *sending, fs_session_batch_reader_t *reader, apr_pool_t *pool)
{
    fs_session_item_t item;

    for (unsigned i = 0; i < sending->count; i++) {
        if (!fs_session_batch_next(reader, &item) ||
            fs_session_key_compare(&item.key, &sending->sealed[i]->label.key)) {
            pthread_mutex_lock(&sending->server->sessions->lock);
            answer(sending, &sending->sealed[i]->label.key, &sending->sealed[i]->label.version,
                   FS_ANSWER_REFUSED);
            pthread_mutex_unlock(&sending->server->sessions->lock);
            continue;
        }
        if (item.what != FS_SESSION_WHAT_STORED && item.what != FS_SESSION_WHAT_HAVE)
            fs_copy_settled(sending->server->sessions,
                            &sending->settled); /* this may take a while */
        one_came_back(sending, i, &item, pool);
        if (item.what == FS_SESSION_WHAT_FULL)
            go_on_to_next(sending, &item.key, pool);
    }
}

static void batch_failed(sending_t *sending, const fs_result_t *result)
{
    fs_bank_server_t *server = sending->server;
    const char *kept;

    if (fs_agent_stopping(server->sessions->agent))
        return;
    kept = fs_log_gate(&server->gate, fs_time_mono());
    if (kept)
        fs_log(FS_LOG_WARNING, "FS1357", "bank server %s was not reached with %u sessions: %s%s",
               server->config->name, sending->count, result->detail, kept);
    pthread_mutex_lock(&server->sessions->lock);
    for (unsigned i = 0; i < sending->count; i++)
        answer(sending, &sending->sealed[i]->label.key, &sending->sealed[i]->label.version,
               FS_ANSWER_FAILED);
    pthread_mutex_unlock(&server->sessions->lock);
}

static void send_batch(sending_t *sending, apr_pool_t *pool)
{
    fs_bank_server_t *server = sending->server;
    fs_session_batch_writer_t writer;
    fs_session_batch_reader_t reader;
    fs_http_answer_t came;
    fs_result_t result;
    apr_status_t status = write_offer(sending, &writer, &result);

    if (!status)
        status = fs_session_exchange(server->send_http, server->config->url, "/v1/sessions/offer",
                                     &writer, FS_SESSION_BATCH_OFFERED, TIMEOUT_MS, &came, &reader,
                                     &result);
    free(writer.bytes);
    if (status) {
        batch_failed(sending, &result);
    } else {
        batch_came_back(sending, &reader, pool);
        fs_http_answer_clear(&came);
    }
    fs_copy_settled(server->sessions, &sending->settled);
}

/* --- the thread --------------------------------------------------------------------------------
 */

/* Waits until something is to be sent; takes it. 0: the agent is to stop. */
static int next_batch(sending_t *sending)
{
    fs_bank_server_t *server = sending->server;
    fs_sessions_t *sessions = server->sessions;

    pthread_mutex_lock(&sessions->lock);
    while (!fs_agent_stopping(sessions->agent)) {
        sending->count = fs_flights_next(&sessions->flights, server->index, sending->sealed,
                                         BATCH_ITEMS, FS_SESSION_BATCH_FILL);
        if (sending->count)
            break;
        fs_agent_cond_wait(&server->send_due, &sessions->lock, FS_USEC_PER_SEC);
    }
    look_up_bases(sending);
    pthread_mutex_unlock(&sessions->lock);
    return sending->count && !fs_agent_stopping(sessions->agent);
}

void *fs_send_run(void *baton)
{
    fs_bank_server_t *server = baton;
    sending_t *sending = calloc(1, sizeof(*sending));
    apr_pool_t *pool;

    if (!sending)
        return NULL;
    apr_pool_create(&pool, NULL);
    sending->server = server;
    sending->settled.confirmed = sending->confirmed;
    while (next_batch(sending)) {
        send_batch(sending, pool);
        pthread_mutex_lock(&server->sessions->lock);
        for (unsigned i = 0; i < sending->count; i++)
            fs_sealed_drop(sending->sealed[i]);
        sending->count = 0;
        pthread_mutex_unlock(&server->sessions->lock);
        apr_pool_clear(pool);
    }
    apr_pool_destroy(pool);
    free(sending);
    return NULL;
}
