/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Carries this host's sessions to the alternates of their visitors (POST /v1/sessions/ahead), as
 * the store says that they are due: beside the bank, and when there is none, too. One thread; a
 * batch is on its way to each server at a time, so that one that is slow or away delays nobody
 * else. What wasn't confirmed stays due.
 */
#include <apr_strings.h>
#include <stdlib.h>
#include <string.h>

#include "backplane.h"
#include "net/fs_http_fan.h"
#include "parts.h"
#include "route.h"
#include "session.h"
#include "session_ahead.h"

#define PATH        "/v1/sessions/ahead"
#define BATCH       256
#define LOOK_MOST   2048 /* sessions in one look at what is due */
#define TIMEOUT_MS  2000
#define LAST_MS     500             /* for what is carried when this agent ends */
#define REST        FS_USEC_PER_SEC /* for a server that didn't answer, or isn't known */
#define NAMES_EVERY FS_USEC_PER_SEC
#define NAMES_SOON  (50 * FS_USEC_PER_MSEC)  /* when one is met that isn't known */
#define SLOW        (150 * FS_USEC_PER_MSEC) /* from then on nobody waits for its answer */
#define WAIT_MOST   FS_USEC_PER_SEC

typedef struct due_t {
    fs_session_key_t key;
    fs_session_note_t note;
    const void *bytes; /* the pool's */
    size_t length;
} due_t;

typedef struct target_t {
    uint64_t hash;
    char url[FS_PEER_URL_SIZE];
    char name[FS_MEMBER_SIZE];
    int busy;
    /* Written with the lock held. */
    int fails;       /* it didn't take the last batch */
    fs_usec_t began; /* of the batch that is on its way; 0: none is */
    fs_usec_t rests; /* until when */
    unsigned count;  /* due, or in the batch that is on its way */
    size_t bytes;
    due_t due[BATCH];
    fs_session_carried_t sent[BATCH];
} target_t;

struct fs_alternates_t {
    fs_sessions_t *sessions;
    fs_http_fan_t *fan;
    pthread_t thread;
    int runs;
    fs_usec_t named; /* when the servers' names were read; written with the lock held */
    int unknown;     /* there is an alternate of which no name is known */
    unsigned target_count;
    target_t *targets[FS_PEERS_MAX]; /* their number is changed with the lock held */
    unsigned postponed_count;
    fs_session_carried_t postponed[LOOK_MOST];
    apr_pool_t *pool;
    unsigned arrived; /* batches, in the last run of the fan */
    int all;
    fs_log_gate_t gate;
};

/* --- servers ------------------------------------------------------------------------------------
 */

static target_t *find_target(const fs_alternates_t *alternates, uint64_t hash)
{
    for (unsigned i = 0; i < alternates->target_count; i++)
        if (alternates->targets[i]->hash == hash)
            return alternates->targets[i];
    return NULL;
}

static void note_server(fs_alternates_t *alternates, const fs_peer_name_t *peer)
{
    uint64_t hash = fs_session_server_hash(peer->name);
    target_t *target = find_target(alternates, hash);

    if (!target && alternates->target_count < FS_PEERS_MAX &&
        (target = calloc(1, sizeof(*target)))) {
        target->hash = hash;
        snprintf(target->name, sizeof(target->name), "%s", peer->name);
        pthread_mutex_lock(&alternates->sessions->lock);
        alternates->targets[alternates->target_count++] = target;
        pthread_mutex_unlock(&alternates->sessions->lock);
    }
    if (target)
        snprintf(target->url, sizeof(target->url), "%s", peer->url);
}

static void read_names(fs_alternates_t *alternates)
{
    fs_usec_t now = fs_session_clock();
    fs_peer_name_t *peers;
    unsigned count;

    if (alternates->named &&
        now - alternates->named < (alternates->unknown ? NAMES_SOON : NAMES_EVERY))
        return;
    alternates->unknown = 0;
    peers = calloc(FS_PEERS_MAX, sizeof(*peers));
    count = peers ? fs_peers_list(alternates->sessions->agent, peers, FS_PEERS_MAX) : 0;
    for (unsigned i = 0; i < count; i++)
        note_server(alternates, &peers[i]);
    free(peers);
    pthread_mutex_lock(&alternates->sessions->lock);
    alternates->named = now;
    pthread_mutex_unlock(&alternates->sessions->lock);
}

static int is_slow(const target_t *target)
{
    return target->began && fs_session_clock() - target->began > SLOW;
}

int fs_alternates_answers(const fs_sessions_t *sessions, uint64_t alternate, int patient)
{
    const fs_alternates_t *alternates = sessions->alternates;
    const target_t *target = alternates ? find_target(alternates, alternate) : NULL;

    if (alternates && !target) /* one that was heard of since is met with the next look */
        return fs_session_clock() - alternates->named > NAMES_SOON;
    return target && !target->fails && (patient || !is_slow(target));
}

/* --- what is due --------------------------------------------------------------------------------
 */

static void postpone(fs_alternates_t *alternates, const fs_session_key_t *key,
                     const fs_session_stamp_t *version, fs_usec_t span)
{
    fs_session_carried_t *later = &alternates->postponed[alternates->postponed_count++];

    later->key = *key;
    later->version = *version;
    later->again = fs_sessions_farm(alternates->sessions) + span;
}

static int gather_one(void *baton, const fs_session_key_t *key, const fs_session_note_t *note,
                      const void *bytes, size_t length)
{
    fs_alternates_t *alternates = baton;
    target_t *target = find_target(alternates, note->alternate);

    if (!target) {
        alternates->unknown = 1;
        postpone(alternates, key, &note->version, NAMES_SOON);
    } else if (target->rests > fs_session_clock() || is_slow(target)) {
        postpone(alternates, key, &note->version, REST);
    } else if (!target->busy && target->count < BATCH && target->bytes < FS_SESSION_BATCH_FILL) {
        due_t *due = &target->due[target->count++];

        due->key = *key;
        due->note = *note;
        due->bytes = apr_pmemdup(alternates->pool, bytes, length);
        due->length = length;
        target->bytes += length;
    }
    return alternates->postponed_count == LOOK_MOST;
}

static void write_carried(fs_alternates_t *alternates, const fs_session_carried_t *carried,
                          unsigned count)
{
    fs_result_t result;

    if (count && fs_session_store_carried(alternates->sessions->store, carried, count, &result))
        fs_log_result(FS_LOG_ERROR, &result);
}

/* Returns when to look again, from now. */
static fs_usec_t gather(fs_alternates_t *alternates)
{
    fs_sessions_t *sessions = alternates->sessions;
    fs_usec_t farm = fs_sessions_farm(sessions), next = INT64_MAX;
    unsigned shown;
    fs_result_t result;
    int all;

    pthread_mutex_lock(&sessions->lock);
    all = alternates->all || sessions->draining;
    pthread_mutex_unlock(&sessions->lock);
    all = all ||
          fs_route_drains(sessions->agent); /* their visitors go there with their next request */
    alternates->postponed_count = 0;
    if (fs_session_store_ahead(sessions->store, farm, all, LOOK_MOST, gather_one, alternates,
                               &shown, &next, &result))
        return WAIT_MOST; /* the keeper says what is wrong with the store */
    if (!alternates->all)
        write_carried(alternates, alternates->postponed, alternates->postponed_count);
    return next == INT64_MAX || next - farm > WAIT_MOST ? WAIT_MOST
           : next > farm                                ? next - farm
                                                        : FS_USEC_PER_MSEC;
}

/* --- a batch ------------------------------------------------------------------------------------
 */

static apr_status_t add(fs_alternates_t *alternates, target_t *target, unsigned i,
                        fs_session_batch_writer_t *writer, fs_result_t *result)
{
    const due_t *due = &target->due[i];
    fs_sealed_t *sealed;
    apr_status_t status = fs_copy_seal(alternates->sessions, &due->key, &due->note, due->bytes,
                                       due->length, alternates->pool, &sealed, result);
    fs_session_item_t item = {.key = due->key,
                              .parts = FS_SESSION_PART_VERSION | FS_SESSION_PART_EXPIRES |
                                       FS_SESSION_PART_SEALED};

    if (status)
        return status;
    item.flags = sealed->flags;
    item.version = sealed->label.version;
    item.expires = sealed->label.expires;
    item.sealed = sealed->bytes;
    item.sealed_length = (uint32_t)sealed->length;
    status = fs_session_batch_add(writer, &item, result);
    fs_sealed_drop(sealed);
    return status;
}

/* Writes what fits; what can't be sealed is said by the keeper, and isn't carried. */
static void write_batch(fs_alternates_t *alternates, target_t *target,
                        fs_session_batch_writer_t *writer)
{
    fs_session_batch_t head = {.kind = FS_SESSION_BATCH_AHEAD};
    fs_result_t result;
    unsigned sent = 0;
    apr_status_t status = fs_session_batch_begin(writer, &head, &result);

    for (unsigned i = 0; i < target->count && !status; i++) {
        status = add(alternates, target, i, writer, &result);
        if (!status) {
            target->sent[sent].key = target->due[i].key;
            target->sent[sent].version = target->due[i].note.version;
            target->sent[sent++].again = 0;
        } else if (status != APR_ENOSPC) {
            fs_log_result(FS_LOG_ERROR, &result);
            postpone(alternates, &target->due[i].key, &target->due[i].note.version, REST);
            status = APR_SUCCESS;
        }
    }
    target->count = sent;
}

static void start(fs_alternates_t *alternates, unsigned number, unsigned timeout_ms)
{
    target_t *target = alternates->targets[number];
    fs_session_batch_writer_t writer;
    char url[FS_PEER_URL_SIZE + sizeof(PATH)];
    fs_http_fan_request_t request = {.id = number,
                                     .method = "POST",
                                     .url = url,
                                     .content_type = FS_SESSION_BATCH_TYPE,
                                     .limit = FS_SESSION_BATCH_LIMIT,
                                     .timeout_ms = timeout_ms};
    fs_result_t result;

    alternates->postponed_count = 0;
    write_batch(alternates, target, &writer);
    write_carried(alternates, alternates->postponed, alternates->postponed_count);
    snprintf(url, sizeof(url), "%s%s", target->url, PATH);
    request.body = writer.bytes;
    request.length = writer.length;
    target->busy =
        target->count && fs_http_fan_start(alternates->fan, &request, &result) == APR_SUCCESS;
    if (!target->busy)
        target->count = 0;
    free(writer.bytes);
    pthread_mutex_lock(&alternates->sessions->lock);
    target->began = target->busy ? fs_session_clock() : 0;
    pthread_mutex_unlock(&alternates->sessions->lock);
}

/* What the other one holds now. Returns how many. */
static unsigned confirm(fs_alternates_t *alternates, target_t *target,
                        fs_session_batch_reader_t *reader)
{
    fs_sessions_t *sessions = alternates->sessions;
    fs_session_item_t item;
    unsigned good = 0;

    for (unsigned i = 0; i < target->count && fs_session_batch_next(reader, &item); i++) {
        if (fs_session_key_compare(&item.key, &target->sent[i].key))
            break;
        if (item.what == FS_SESSION_WHAT_STORED || item.what == FS_SESSION_WHAT_HAVE ||
            item.what == FS_SESSION_WHAT_TOO_LARGE)
            target->sent[good++] = target->sent[i];
    }
    /* Counted first: who sees in the store that it was carried may ask for the count. */
    pthread_mutex_lock(&sessions->lock);
    sessions->ahead.carried += good;
    pthread_mutex_unlock(&sessions->lock);
    write_carried(alternates, target->sent, good);
    pthread_mutex_lock(&sessions->lock);
    for (unsigned i = 0; i < good; i++)
        fs_ack_carried(sessions, &target->sent[i].key, &target->sent[i].version);
    pthread_mutex_unlock(&sessions->lock);
    return good;
}

static void arrived(void *baton, uint64_t id, apr_status_t status, const fs_http_answer_t *answer,
                    const fs_result_t *result)
{
    fs_alternates_t *alternates = baton;
    fs_sessions_t *sessions = alternates->sessions;
    target_t *target = alternates->targets[id];
    fs_session_batch_reader_t reader;
    fs_result_t damaged;
    const char *kept = NULL;
    unsigned good = 0;
    int read = status == APR_SUCCESS && answer->status == 200 &&
               !fs_session_batch_read(&reader, FS_SESSION_BATCH_OFFERED, answer->body,
                                      answer->length, &damaged);

    if (read)
        good = confirm(alternates, target, &reader);
    else
        kept = fs_log_gate(&alternates->gate, fs_time_mono());
    if (kept && !fs_agent_stopping(sessions->agent))
        fs_log(
            FS_LOG_WARNING, "FS1381",
            "%s didn't take %u sessions of which it is the alternate (%s): they are sent again%s",
            target->name, target->count,
            status                  ? result->detail
            : answer->status == 404 ? "it takes no part in routing"
                                    : "see its agent's messages",
            kept);
    pthread_mutex_lock(&sessions->lock);
    target->began = 0;
    target->fails = !good;
    target->rests = good ? 0 : fs_session_clock() + REST;
    sessions->ahead.failed += target->count - good;
    pthread_mutex_unlock(&sessions->lock);
    if (!good)
        fs_sessions_nudge(sessions); /* who waits for it waits no more */
    target->busy = 0;
    target->count = 0;
    target->bytes = 0;
    alternates->arrived++;
}

static fs_usec_t carry(fs_alternates_t *alternates, unsigned timeout_ms)
{
    fs_usec_t next;

    read_names(alternates);
    next = gather(alternates);
    for (unsigned i = 0; i < alternates->target_count; i++)
        if (alternates->targets[i]->count && !alternates->targets[i]->busy)
            start(alternates, i, timeout_ms);
    apr_pool_clear(alternates->pool);
    return next;
}

/* --- the thread ---------------------------------------------------------------------------------
 */

/* What is to be carried at the end goes before this agent does. */
static void carry_last(fs_alternates_t *alternates)
{
    fs_usec_t until = fs_time_mono() + LAST_MS * FS_USEC_PER_MSEC;

    alternates->all = 1;
    do {
        alternates->arrived = 0;
        carry(alternates, LAST_MS);
        if (fs_http_fan_count(alternates->fan))
            fs_http_fan_run(alternates->fan, LAST_MS, arrived, alternates);
    } while ((alternates->arrived || fs_http_fan_count(alternates->fan)) && fs_time_mono() < until);
}

static void *carry_run(void *baton)
{
    fs_alternates_t *alternates = baton;

    while (!fs_agent_stopping(alternates->sessions->agent)) {
        fs_usec_t wait = carry(alternates, TIMEOUT_MS);

        fs_http_fan_run(alternates->fan, (unsigned)(wait / FS_USEC_PER_MSEC), arrived, alternates);
    }
    carry_last(alternates);
    return NULL;
}

apr_status_t fs_alternates_open(fs_sessions_t *sessions, fs_result_t *result)
{
    fs_agent_t *agent = sessions->agent;
    fs_http_settings_t settings = {.ring = agent->ring.count ? &agent->ring : NULL,
                                   .origin = agent->config.server,
                                   .ca_file = agent->config.ca_file,
                                   .cert_file = agent->config.cert_file,
                                   .connect_timeout_ms = 1000};
    fs_alternates_t *alternates;

    if (!agent->config.route.enabled)
        return APR_SUCCESS;
    alternates = calloc(1, sizeof(*alternates));
    if (!alternates || !(alternates->fan = fs_http_fan_create(&settings)) ||
        apr_pool_create(&alternates->pool, NULL))
        return fs_result_set(result, APR_ENOMEM, "FS0621", "out of memory");
    alternates->sessions = sessions;
    sessions->alternates = alternates;
    return APR_SUCCESS;
}

apr_status_t fs_alternates_start(fs_sessions_t *sessions, fs_result_t *result)
{
    fs_alternates_t *alternates = sessions->alternates;
    apr_status_t status;

    if (!alternates)
        return APR_SUCCESS;
    status = fs_agent_start_thread(&alternates->thread, carry_run, alternates, result);
    alternates->runs = !status;
    return status;
}

void fs_alternates_wake(fs_sessions_t *sessions)
{
    if (sessions->alternates)
        fs_http_fan_wake(sessions->alternates->fan);
}

int fs_alternates_join(fs_sessions_t *sessions)
{
    fs_alternates_t *alternates = sessions->alternates;

    if (alternates && alternates->runs && !pthread_tryjoin_np(alternates->thread, NULL))
        alternates->runs = 0;
    return !alternates || !alternates->runs;
}
