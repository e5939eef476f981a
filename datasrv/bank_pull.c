/* SPDX-License-Identifier: Apache-2.0 */
/* Bringing this bank server up to date from another one. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bank_peers_internal.h"
#include "base/fs_log.h"
#include "session/fs_session_digest.h"

typedef struct pull_t {
    fs_bank_peers_t *peers;
    fs_bank_peer_t *peer;
    unsigned server; /* the peer's number in the ranks */
    fs_session_key_t wanted[BANK_FETCH_KEYS];
    unsigned count;
    uint64_t copied;
    uint8_t buckets[2 * FS_SESSION_BUCKETS];
    size_t bucket_bytes;
    fs_result_t result;
} pull_t;

/* --- storing -------------------------------------------------------------------------------------
 */

/* Gives a batch of copies to the writer and waits for it. */
static int store(pull_t *pull, fs_session_batch_writer_t *offers)
{
    fs_bank_peers_t *peers = pull->peers;
    fs_bank_job_t *job = calloc(1, sizeof(*job));
    int good;

    if (!job)
        return 0;
    job->task = FS_BANK_OFFERS;
    job->patient = 1;
    job->done = &peers->stored;
    job->body = offers->bytes;
    job->length = offers->length;
    offers->bytes = NULL;
    snprintf(job->origin, sizeof(job->origin), "%s", peers->origin);
    good = fs_session_batch_read(&job->reader, FS_SESSION_BATCH_OFFER, job->body, job->length,
                                 &pull->result) == APR_SUCCESS &&
           fs_bank_submit(peers->bank, job) == APR_SUCCESS;
    if (good) {
        while (!fs_bell_wait(&peers->stored, fs_time_mono() + FS_USEC_PER_SEC))
            ;
        good = job->answer.bytes != NULL;
        if (!good)
            pull->result = job->problem;
    }
    fs_bank_job_free(job);
    return good;
}

/* What the peer gave becomes an offer of copies. Those for which its answer had no room stay
 * wanted. */
static int store_taken(pull_t *pull, fs_session_batch_reader_t *reader)
{
    fs_session_batch_t head = {.kind = FS_SESSION_BATCH_OFFER};
    fs_session_batch_writer_t offers;
    fs_session_item_t item;
    unsigned left = 0, stored = 0;
    int good = fs_session_batch_begin(&offers, &head, &pull->result) == APR_SUCCESS;

    while (good && fs_session_batch_next(reader, &item)) {
        if (item.what == FS_SESSION_WHAT_REFUSED && left < BANK_FETCH_KEYS)
            pull->wanted[left++] = item.key;
        if (!(item.parts & FS_SESSION_PART_SEALED))
            continue;
        item.what = FS_SESSION_WHAT_NONE;
        item.flags =
            (item.flags & (FS_SESSION_ITEM_ENDED | FS_SESSION_ITEM_ALIAS)) | FS_SESSION_ITEM_COPY;
        item.parts &= ~(unsigned)FS_SESSION_PART_LEASE;
        good = fs_session_batch_add(&offers, &item, &pull->result) == APR_SUCCESS;
        stored++;
    }
    if (good && stored)
        good = store(pull, &offers);
    free(offers.bytes);
    pull->count = stored ? left : 0; /* no room for a single one: there is none to come */
    pull->copied += stored;
    pthread_mutex_lock(&pull->peers->lock);
    pull->peer->facts.received += stored;
    pthread_mutex_unlock(&pull->peers->lock);
    return good;
}

/* Fetches what is wanted. */
static int fetch(pull_t *pull)
{
    fs_bank_peers_t *peers = pull->peers;

    while (pull->count) {
        fs_session_batch_t head = {.kind = FS_SESSION_BATCH_TAKE};
        fs_session_item_t item = {.flags = FS_SESSION_ITEM_PEEK};
        fs_session_batch_reader_t reader;
        fs_session_batch_writer_t body;
        fs_usec_t began = fs_time_mono();
        char *answer;
        int good = fs_session_batch_begin(&body, &head, &pull->result) == APR_SUCCESS;

        for (unsigned i = 0; good && i < pull->count; i++) {
            item.key = pull->wanted[i];
            good = fs_session_batch_add(&body, &item, &pull->result) == APR_SUCCESS;
        }
        good = good &&
               fs_bank_ask(peers, pull->peer, "take", &body, FS_SESSION_BATCH_TAKEN,
                           BANK_PEER_TIMEOUT_MS, &reader, &answer, &pull->result) == APR_SUCCESS;
        free(body.bytes);
        if (!good)
            return 0;
        good = store_taken(pull, &reader);
        free(answer);
        if (!good)
            return 0;
        fs_bank_yield(peers, began);
        if (!fs_bank_poll(peers))
            return 0;
    }
    return 1;
}

/* --- finding out ---------------------------------------------------------------------------------
 */

/* Looks through a list of the peer's: what is missing here is fetched. `last` is its last key. */
static int take_list(pull_t *pull, fs_session_batch_reader_t *reader, fs_session_key_t *last)
{
    fs_bank_t *bank = pull->peers->bank;
    fs_session_item_t label;

    while (reader->left) {
        fs_bank_work_t work;
        int wants = 0;
        int error = fs_bank_begin(&work, bank->store, NULL, 0, 0);

        while (!error && pull->count < BANK_FETCH_KEYS && fs_session_batch_next(reader, &label)) {
            *last = label.key;
            if (!fs_bank_ranks(bank, &label.key, 0, NULL))
                continue;
            error = fs_bank_wants(&work, &label, &wants);
            if (!error && wants)
                pull->wanted[pull->count++] = label.key;
        }
        fs_bank_abort(&work); /* before waiting: an old reader keeps pages from being used again */
        if (error) {
            fs_bank_failed(error, &pull->result);
            return 0;
        }
        if (pull->count == BANK_FETCH_KEYS && !fetch(pull))
            return 0;
    }
    return 1;
}

static int ask_scan(pull_t *pull, const char *resource, uint64_t since,
                    const fs_session_key_t *after, fs_session_batch_kind_t kind,
                    fs_session_batch_reader_t *reader, char **answer)
{
    fs_session_batch_t head = {.kind = FS_SESSION_BATCH_SCAN, .sequence = since};
    fs_session_item_t item = {.key = *after};
    fs_session_batch_writer_t body;
    int good;

    snprintf(head.name, sizeof(head.name), "%s", pull->peers->bank->setup.name);
    if (pull->bucket_bytes) {
        item.parts = FS_SESSION_PART_SEALED;
        item.sealed = pull->buckets;
        item.sealed_length = (uint32_t)pull->bucket_bytes;
    }
    good = fs_session_batch_begin(&body, &head, &pull->result) == APR_SUCCESS &&
           fs_session_batch_add(&body, &item, &pull->result) == APR_SUCCESS &&
           fs_bank_ask(pull->peers, pull->peer, resource, &body, kind, BANK_PEER_TIMEOUT_MS, reader,
                       answer, &pull->result) == APR_SUCCESS;
    free(body.bytes);
    return good;
}

static int pull_lists(pull_t *pull, const char *resource, uint64_t since)
{
    fs_session_key_t after = {{0}};
    int more = 1;

    while (more) {
        fs_session_batch_reader_t reader;
        char *answer;
        int good;

        if (!ask_scan(pull, resource, since, &after, FS_SESSION_BATCH_LIST, &reader, &answer))
            return 0;
        more = (reader.head.flags & FS_SESSION_BATCH_MORE) != 0 && reader.head.count > 0;
        good = take_list(pull, &reader, &after);
        free(answer);
        if (!good || !fs_bank_poll(pull->peers))
            return 0;
    }
    return fetch(pull);
}

static int see_label(void *baton, const fs_session_item_t *label)
{
    void **both = baton;
    pull_t *pull = both[0];

    if (fs_bank_ranks(pull->peers->bank, &label->key, 0, NULL) &&
        fs_bank_ranks(pull->peers->bank, &label->key, pull->server, NULL))
        fs_session_digest_flip(both[1], &label->key, &label->version);
    return 0;
}

/* The digest of what both are to keep. */
static int own_digest(pull_t *pull, fs_session_digest_t *digest)
{
    void *both[2] = {pull, digest};
    fs_session_key_t last, *after = NULL;
    int more = 1, error = 0;

    memset(digest, 0, sizeof(*digest));
    while (more && !error) {
        fs_bank_work_t work;

        error = fs_bank_begin(&work, pull->peers->bank->store, NULL, 0,
                              fs_board_farm_time(pull->peers->bank->setup.board));
        if (!error)
            error = fs_bank_scan(&work, after, 0, 5000, see_label, both, &last, &more);
        fs_bank_abort(&work);
        after = &last;
    }
    if (error)
        fs_bank_failed(error, &pull->result);
    return !error;
}

/* Writes the buckets that differ. */
static int compare_digests(pull_t *pull, fs_session_digest_t *ours, fs_session_digest_t *theirs)
{
    static const fs_session_key_t first;
    fs_session_batch_reader_t reader;
    uint16_t differing[FS_SESSION_BUCKETS];
    fs_session_item_t item;
    unsigned count;
    char *answer;
    int good;

    if (!own_digest(pull, ours) ||
        !ask_scan(pull, "digest", 0, &first, FS_SESSION_BATCH_DIGEST, &reader, &answer))
        return 0;
    good = fs_session_batch_next(&reader, &item) &&
           fs_session_digest_read(theirs, item.sealed, item.sealed_length, &pull->result) ==
               APR_SUCCESS;
    free(answer);
    if (!good)
        return 0;
    count = fs_session_digest_differences(ours, theirs, differing);
    for (unsigned i = 0; i < count; i++) {
        pull->buckets[2 * i] = (uint8_t)differing[i];
        pull->buckets[2 * i + 1] = (uint8_t)(differing[i] >> 8);
    }
    pull->bucket_bytes = 2 * (size_t)count;
    return 1;
}

static int pull_by_digest(pull_t *pull)
{
    fs_session_digest_t *digests = calloc(2, sizeof(*digests));
    int good = digests && compare_digests(pull, &digests[0], &digests[1]);

    free(digests);
    return good && (!pull->bucket_bytes || pull_lists(pull, "bucket", 0));
}

/* --- a pass --------------------------------------------------------------------------------------
 */

static int known_mark(pull_t *pull, fs_bank_mark_t *mark)
{
    fs_bank_work_t work;
    int error = fs_bank_begin(&work, pull->peers->bank->store, NULL, 0, 0);

    if (!error)
        error = fs_bank_get_mark(&work, pull->peer->setting->name, mark);
    fs_bank_abort(&work);
    return !error && mark->instance == pull->peer->instance &&
           mark->sequence <= pull->peer->sequence;
}

static void put_mark(pull_t *pull, const fs_bank_mark_t *mark)
{
    fs_bank_work_t work;

    if (!fs_bank_begin(&work, pull->peers->bank->store, NULL, 1, 0)) {
        if (!fs_bank_put_mark(&work, pull->peer->setting->name, mark))
            fs_bank_commit(&work);
        fs_bank_abort(&work);
    }
}

int fs_bank_pull(fs_bank_peers_t *peers, fs_bank_peer_t *peer)
{
    fs_bank_mark_t now_there = {peer->instance, peer->sequence}, mark;
    fs_usec_t began = peer->facts.heard;
    pull_t *pull = calloc(1, sizeof(*pull));
    int by_changes, good;

    if (!pull)
        return 0;
    pull->peers = peers;
    pull->peer = peer;
    pull->server = (unsigned)(peer - peers->peers) + 1;
    by_changes = known_mark(pull, &mark);
    good = by_changes ? pull_lists(pull, "changes", mark.sequence) : pull_by_digest(pull);
    peers->bank->counts.copied += pull->copied;
    if (good) {
        put_mark(pull, &now_there);
        fs_bank_hosts_peer_done(peers->bank->hosts, peer->setting->name, began, fs_time_mono());
        fs_log(FS_LOG_NOTICE, "FS1422",
               "up to date with bank server %s by %s: %" PRIu64 " copies came", peer->setting->name,
               by_changes ? "its changes" : "digests", pull->copied);
    } else if (!atomic_load(&peers->stop)) {
        fs_log(FS_LOG_WARNING, "FS1423",
               "cannot be brought up to date from bank server %s: %s; trying again",
               peer->setting->name, pull->result.detail);
    }
    pthread_mutex_lock(&peers->lock);
    peer->facts.done = good;
    pthread_mutex_unlock(&peers->lock);
    free(pull);
    return good;
}
