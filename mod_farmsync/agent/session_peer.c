/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What this host asks and tells other hosts of sessions. Questions to one host that come together
 * go together: a batch is on its way at a time, the next one takes all that came meanwhile.
 */
#include "session.h"

#include <stdlib.h>
#include <string.h>

#include "backplane.h"

#define AT_ONCE       4 /* batches to one host */
#define BATCH         128
#define LATE_LIMIT_MS 3000
#define SILENT_FOR    (5 * FS_USEC_PER_SEC)    /* after a question that wasn't answered */
#define REST          (200 * FS_USEC_PER_MSEC) /* before one that didn't answer is asked again */
#define WAY_MS        150 /* there and back, beyond what requests are waited for */

typedef struct question_t {
    STAILQ_ENTRY(question_t) link;
    fs_fetch_t *fetch; /* referenced */
    unsigned round;
    int has_version;
    fs_session_stamp_t version; /* of what is here */
} question_t;

struct fs_asked_peer_t {
    LIST_ENTRY(fs_asked_peer_t) link;
    char name[FS_SESSION_NAME_SIZE];
    unsigned batches; /* on their way */
    fs_usec_t failed; /* when it didn't answer; 0: it did the last time */
    STAILQ_HEAD(, question_t) questions;
};

typedef struct batch_t {
    fs_work_t work;
    struct fs_asked_peer_t *peer;
    unsigned count;
    question_t *questions[BATCH];
} batch_t;

/*
 * How long a host is given for handing a session over: what it waits for requests that are at it,
 * if that leaves enough of the visitor's time for taking it when the host turns out to stand still.
 */
unsigned fs_session_handover_ms(const fs_sessions_t *sessions)
{
    unsigned most = sessions->config->timeout_ms * 3 / 5;
    unsigned wanted = sessions->config->flush_ms + WAY_MS;

    return wanted < most ? wanted : most;
}

/* --- handing over ------------------------------------------------------------------------------
 */

static apr_status_t write_questions(const batch_t *batch, fs_session_batch_writer_t *writer,
                                    fs_result_t *result)
{
    fs_session_batch_t head = {.kind = FS_SESSION_BATCH_HANDOVER};
    apr_status_t status = fs_session_batch_begin(writer, &head, result);

    for (unsigned i = 0; i < batch->count && !status; i++) {
        const question_t *question = batch->questions[i];
        fs_session_item_t item = {.key = *fs_fetch_key(question->fetch)};

        if (question->has_version) {
            item.parts = FS_SESSION_PART_VERSION;
            item.version = question->version;
        }

        status = fs_session_batch_add(writer, &item, result);
    }
    return status;
}

/* The lock is held. `reader` NULL: there was no answer. */
static void tell_fetches(fs_sessions_t *sessions, batch_t *batch, fs_session_batch_reader_t *reader)
{
    for (unsigned i = 0; i < batch->count; i++) {
        question_t *question = batch->questions[i];
        fs_session_item_t item;
        int good = reader && fs_session_batch_next(reader, &item) &&
                   !fs_session_key_compare(&item.key, fs_fetch_key(question->fetch));

        fs_fetch_said(sessions, question->fetch, question->round, batch->peer->name,
                      good ? &item : NULL);
        fs_fetch_drop(question->fetch);
        free(question);
    }
    batch->count = 0;
}

static apr_status_t ask(fs_sessions_t *sessions, const char *peer,
                        const fs_session_batch_writer_t *writer, const char *path,
                        fs_session_batch_kind_t kind, unsigned timeout, fs_http_client_t *http,
                        fs_http_answer_t *answer, fs_session_batch_reader_t *reader,
                        fs_result_t *result)
{
    char url[FS_PEER_URL_SIZE];

    if (!fs_peers_address(sessions->agent, peer, url, NULL))
        return fs_result_set(result, APR_NOTFOUND, "FS1360",
                             "it isn't known how to reach %s: give it FarmSyncListen, or name it "
                             "with FarmSyncPeer",
                             peer);
    return fs_session_exchange(http, url, path, writer, kind, timeout, answer, reader, result);
}

/* The lock is held. All that wait for this host, up to a batch. */
static void fill(batch_t *batch)
{
    question_t *question;

    while (batch->count < BATCH && (question = STAILQ_FIRST(&batch->peer->questions))) {
        STAILQ_REMOVE_HEAD(&batch->peer->questions, link);
        batch->questions[batch->count++] = question;
    }
}

static void ask_run(fs_sessions_t *sessions, fs_work_t *work, fs_http_client_t *http,
                    apr_pool_t *pool)
{
    batch_t *batch = (batch_t *)work;
    unsigned timeout = fs_session_handover_ms(sessions);

    pthread_mutex_lock(&sessions->lock);
    for (fill(batch); batch->count; fill(batch)) {
        fs_session_batch_writer_t writer;
        fs_session_batch_reader_t reader;
        fs_http_answer_t answer;
        fs_result_t result;
        apr_status_t status;

        pthread_mutex_unlock(&sessions->lock);
        status = write_questions(batch, &writer, &result);
        if (!status)
            status = ask(sessions, batch->peer->name, &writer, "/v1/sessions/handover",
                         FS_SESSION_BATCH_HANDED, timeout, http, &answer, &reader, &result);
        free(writer.bytes);
        if (status)
            fs_log(FS_LOG_DEBUG, "FS1361", "%s was asked to hand sessions over, in vain: %s",
                   batch->peer->name, result.detail);
        pthread_mutex_lock(&sessions->lock);
        batch->peer->failed = status ? fs_session_clock() : 0;
        tell_fetches(sessions, batch, status ? NULL : &reader);
        while (status && STAILQ_FIRST(&batch->peer->questions)) { /* it won't answer these either */
            fill(batch);
            tell_fetches(sessions, batch, NULL);
        }
        if (!status)
            fs_http_answer_clear(&answer);
    }
    batch->peer->batches--;
    pthread_mutex_unlock(&sessions->lock);
    free(batch);
}

static struct fs_asked_peer_t *find_peer(fs_sessions_t *sessions, const char *name)
{
    struct fs_asked_peer_t *peer;

    LIST_FOREACH(peer, &sessions->peers, link)
    if (!strcmp(peer->name, name))
        return peer;
    peer = calloc(1, sizeof(*peer));
    if (!peer)
        return NULL;
    snprintf(peer->name, sizeof(peer->name), "%s", name);
    STAILQ_INIT(&peer->questions);
    LIST_INSERT_HEAD(&sessions->peers, peer, link);
    return peer;
}

int fs_peer_ask(fs_sessions_t *sessions, fs_fetch_t *fetch, unsigned round, const char *name)
{
    struct fs_asked_peer_t *peer = find_peer(sessions, name);
    question_t *question;
    batch_t *batch;

    if (!peer || (peer->failed && fs_session_clock() - peer->failed < REST))
        return 0;
    question = calloc(1, sizeof(*question));
    if (!question)
        return 0;
    question->fetch = fetch;
    question->round = round;
    question->has_version = fs_fetch_version(fetch, &question->version);
    fs_fetch_hold(fetch);
    STAILQ_INSERT_TAIL(&peer->questions, question, link);
    batch = peer->batches < AT_ONCE ? calloc(1, sizeof(*batch)) : NULL;
    if (!batch)
        return 1; /* one that is on its way takes it along, or the deadline ends it */
    batch->peer = peer;
    batch->work.run = ask_run;
    peer->batches++;
    fs_work_add(sessions, &batch->work);
    return 1;
}

int fs_peer_answers(fs_sessions_t *sessions, const char *name)
{
    const struct fs_asked_peer_t *peer = find_peer(sessions, name);
    fs_peer_state_t state;

    if (peer && peer->failed && fs_session_clock() - peer->failed < SILENT_FOR)
        return 0;
    return fs_peers_address(sessions->agent, name, NULL, &state) && state == FS_PEER_ALIVE;
}

unsigned fs_peer_names(fs_sessions_t *sessions, char (*names)[FS_SESSION_NAME_SIZE], unsigned room)
{
    fs_peer_name_t *peers = calloc(room, sizeof(*peers));
    unsigned all = peers ? fs_peers_list(sessions->agent, peers, room) : 0, count = 0;

    for (unsigned i = 0; i < all; i++)
        if (peers[i].state != FS_PEER_DEAD && strlen(peers[i].name) < FS_SESSION_NAME_SIZE)
            snprintf(names[count++], FS_SESSION_NAME_SIZE, "%s", peers[i].name);
    free(peers);
    return count;
}

/* --- late changes ------------------------------------------------------------------------------
 */

typedef struct late_t {
    fs_work_t work;
    fs_session_key_t key;
    char owner[FS_SESSION_NAME_SIZE];
} late_t;

static apr_status_t write_late(const fs_sealed_t *sealed, fs_session_batch_writer_t *writer,
                               fs_result_t *result)
{
    fs_session_batch_t head = {.kind = FS_SESSION_BATCH_LATE};
    fs_session_item_t item = {.key = sealed->label.key,
                              .flags = sealed->flags & ~(unsigned)FS_SESSION_ITEM_URGENT,
                              .parts = FS_SESSION_PART_VERSION | FS_SESSION_PART_EXPIRES |
                                       FS_SESSION_PART_SEALED,
                              .version = sealed->label.version,
                              .expires = sealed->label.expires,
                              .sealed = sealed->bytes,
                              .sealed_length = (uint32_t)sealed->length};
    apr_status_t status = fs_session_batch_begin(writer, &head, result);

    return status ? status : fs_session_batch_add(writer, &item, result);
}

/* The bank gets it in any case; this only spares the owner's visitors the wait. */
static void late_run(fs_sessions_t *sessions, fs_work_t *work, fs_http_client_t *http,
                     apr_pool_t *pool)
{
    late_t *late = (late_t *)work;
    fs_session_batch_writer_t writer = {.bytes = NULL};
    fs_session_batch_reader_t reader;
    fs_http_answer_t answer;
    fs_sealed_t *sealed;
    fs_result_t result;
    apr_status_t status = fs_copy_read(sessions, &late->key, pool, &sealed, NULL, &result);

    if (!status)
        status = write_late(sealed, &writer, &result);
    if (!status)
        status = ask(sessions, late->owner, &writer, "/v1/sessions/late", FS_SESSION_BATCH_OFFERED,
                     LATE_LIMIT_MS, http, &answer, &reader, &result);
    if (!status)
        fs_http_answer_clear(&answer);
    else if (status != APR_NOTFOUND)
        fs_log(FS_LOG_DEBUG, "FS1362", "%s was not told of late changes: %s", late->owner,
               result.detail);
    fs_sealed_drop(sealed);
    free(writer.bytes);
    free(late);
}

void fs_peer_tell_late(fs_sessions_t *sessions, const fs_session_key_t *key, const char *owner)
{
    late_t *late = calloc(1, sizeof(*late));

    if (!late)
        return;
    late->key = *key;
    snprintf(late->owner, sizeof(late->owner), "%s", owner);
    late->work.run = late_run;
    fs_work_add(sessions, &late->work);
}
