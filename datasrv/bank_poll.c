/* SPDX-License-Identifier: Apache-2.0 */
/* Asking other bank servers: exchanges, and how each is, each second. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bank_peers_internal.h"
#include "base/fs_log.h"

#define POLL_EVERY      FS_USEC_PER_SEC
#define POLL_SHARE      5 /* a peer that doesn't answer takes at most so much of the time: 1/n */
#define POLL_TIMEOUT_MS 1000
#define CONNECT_MS      500
#define PEER_LEASE      (6 * FS_USEC_PER_SEC)  /* after which it counts as gone */
#define MARK_AFTER      (60 * FS_USEC_PER_SEC) /* what hosts send to several servers is there then */
#define PAUSE_LIMIT     (200 * FS_USEC_PER_MSEC)

/* --- asking --------------------------------------------------------------------------------------
 */

int fs_bank_connect(fs_bank_peers_t *peers)
{
    fs_http_settings_t settings = {
        .origin = peers->origin,
        .ca_file = peers->setup.ca_file,
        .cert_file = peers->setup.cert_file,
        .key_file = peers->setup.key_file,
        .connect_timeout_ms = CONNECT_MS,
    };
    fs_keyring_t ring;

    pthread_mutex_lock(&peers->lock);
    ring = peers->ring;
    peers->ring_changed = 0;
    settings.ring = &ring;
    fs_http_client_destroy(peers->client);
    peers->client = fs_http_client_create(&settings);
    pthread_mutex_unlock(&peers->lock);
    return peers->client != NULL;
}

apr_status_t fs_bank_ask(fs_bank_peers_t *peers, const fs_bank_peer_t *peer, const char *resource,
                         const fs_session_batch_writer_t *body, fs_session_batch_kind_t kind,
                         unsigned timeout_ms, fs_session_batch_reader_t *reader, char **answer,
                         fs_result_t *result)
{
    fs_http_answer_t got = {0};
    char url[512];
    apr_status_t status;

    *answer = NULL;
    snprintf(url, sizeof(url), "%s/v1/sessions/%s", peer->setting->url, resource);
    status = fs_http_exchange(peers->client, "POST", url, body->bytes, body->length,
                              FS_SESSION_BATCH_LIMIT, timeout_ms, &got, result);
    if (status == APR_SUCCESS && got.status != 200)
        status = fs_result_set(result, APR_EGENERAL, "FS1420", "%s answers %d: %.300s", url,
                               got.status, got.body ? got.body : "");
    if (status == APR_SUCCESS)
        status = fs_session_batch_read(reader, kind, got.body, got.length, result);
    if (status == APR_SUCCESS) {
        *answer = got.body;
        got.body = NULL;
    }
    fs_http_answer_clear(&got);
    return status;
}

/* --- polls ---------------------------------------------------------------------------------------
 */

static void went(fs_bank_peers_t *peers, fs_bank_peer_t *peer, const fs_result_t *why,
                 fs_usec_t took, fs_usec_t now)
{
    pthread_mutex_lock(&peers->lock);
    peer->facts.problem = *why;
    peer->facts.up = 0;
    peer->facts.done = 0;
    pthread_mutex_unlock(&peers->lock);
    peer->marked = 0;
    peer->next_poll = now + (POLL_SHARE * took > POLL_EVERY ? POLL_SHARE * took : POLL_EVERY);
    if (!peer->down_since)
        peer->down_since = now;
    if (!peer->said_down)
        fs_log(FS_LOG_WARNING, "FS1420", "bank server %s doesn't answer: %s", peer->setting->name,
               why->detail);
    peer->said_down = 1;
}

static void came(fs_bank_peers_t *peers, fs_bank_peer_t *peer, const fs_session_batch_t *head,
                 fs_usec_t now)
{
    if (!peer->facts.up)
        fs_log(FS_LOG_NOTICE, "FS1421", "bank server %s answers", peer->setting->name);
    if (head->name[0] && strcmp(head->name, peer->setting->name) != 0 && !peer->facts.up)
        fs_log(FS_LOG_WARNING, "FS1411",
               "the bank server at %s calls itself %s, here it is Peer %s; make its SessionName "
               "the same everywhere",
               peer->setting->url, head->name, peer->setting->name);
    peer->instance = head->instance;
    peer->sequence = head->sequence;
    peer->down_since = 0;
    peer->said_down = 0;
    peer->next_poll = now + POLL_EVERY;
    pthread_mutex_lock(&peers->lock);
    peer->facts.up = 1;
    peer->facts.heard = now;
    fs_result_clear(&peer->facts.problem);
    pthread_mutex_unlock(&peers->lock);
}

/* What the peer had a minute ago is here, if this server was in sync with it all the time. */
static void keep_mark(fs_bank_peers_t *peers, fs_bank_peer_t *peer, fs_usec_t now)
{
    fs_bank_work_t work;

    if (peer->marked && now < peer->marked)
        return;
    if (peer->marked && peer->mark.instance == peer->instance &&
        !fs_bank_begin(&work, peers->bank->store, NULL, 1, 0)) {
        if (!fs_bank_put_mark(&work, peer->setting->name, &peer->mark))
            fs_bank_commit(&work);
        fs_bank_abort(&work);
    }
    peer->mark = (fs_bank_mark_t){peer->instance, peer->sequence};
    peer->marked = now + MARK_AFTER;
}

static void poll_peer(fs_bank_peers_t *peers, fs_bank_peer_t *peer)
{
    fs_session_batch_t head = {.kind = FS_SESSION_BATCH_STATE};
    fs_session_batch_writer_t body;
    fs_session_batch_reader_t reader;
    fs_session_item_t item;
    fs_usec_t asked = fs_time_mono();
    fs_result_t result;
    char *answer;
    int done;

    fs_result_clear(&result);
    if (fs_session_batch_begin(&body, &head, &result) == APR_SUCCESS &&
        fs_bank_ask(peers, peer, "state", &body, FS_SESSION_BATCH_STATE, POLL_TIMEOUT_MS, &reader,
                    &answer, &result) == APR_SUCCESS) {
        fs_usec_t now = fs_time_mono();

        came(peers, peer, &reader.head, now);
        while (fs_session_batch_next(&reader, &item))
            fs_bank_hosts_named(peers->bank->hosts, item.owner, now);
        done = fs_bank_hosts_peer_heard(peers->bank->hosts, peer->setting->name, PEER_LEASE, now);
        pthread_mutex_lock(&peers->lock);
        peer->facts.done = done;
        pthread_mutex_unlock(&peers->lock);
        if (done)
            keep_mark(peers, peer, now);
        else
            peer->marked = 0;
        free(answer);
    } else {
        went(peers, peer, &result, fs_time_mono() - asked, fs_time_mono());
    }
    free(body.bytes);
}

int fs_bank_poll(fs_bank_peers_t *peers)
{
    int changed;

    pthread_mutex_lock(&peers->lock);
    changed = peers->ring_changed;
    pthread_mutex_unlock(&peers->lock);
    if ((changed || !peers->client) && !fs_bank_connect(peers))
        return !atomic_load(&peers->stop);
    for (unsigned i = 0; i < peers->count && !atomic_load(&peers->stop); i++)
        if (fs_time_mono() >= peers->peers[i].next_poll)
            poll_peer(peers, &peers->peers[i]);
    return !atomic_load(&peers->stop);
}

void fs_bank_yield(fs_bank_peers_t *peers, fs_usec_t since)
{
    uint64_t asked = peers->bank->counts.asked;
    fs_usec_t now = fs_time_mono(), took = now - since;

    if (asked != peers->asked)
        fs_bell_wait(&peers->bell, now + (took < PAUSE_LIMIT ? took : PAUSE_LIMIT));
    peers->asked = asked;
}
