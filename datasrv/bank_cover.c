/* SPDX-License-Identifier: Apache-2.0 */
/*
 * In the place of a dead bank server. Hosts copy their sessions to the next in rank by themselves;
 * those of hosts that are gone are copied by the first of the remaining servers that keep them.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "bank_peers_internal.h"
#include "base/fs_log.h"

#define DEAD_AFTER  (5 * FS_USEC_PER_SEC)  /* a short break is none */
#define GONE_AFTER  (5 * FS_USEC_PER_SEC)  /* of silence: the owner doesn't see to it */
#define COVER_EVERY (10 * FS_USEC_PER_SEC) /* while one is dead: hosts may go later */
#define CHUNK       1000

typedef struct cover_t {
    fs_bank_peers_t *peers;
    uint8_t usable[FS_BANK_PEERS + 1];
    fs_usec_t now;
    struct {
        fs_session_key_t key;
        unsigned server;
        fs_session_stamp_t version;
    } found[CHUNK];
    unsigned count;
    uint64_t sent;
} cover_t;

/* Whether this server is to see to a session, and then to whom it goes: 0 for nobody. */
static unsigned next_in_rank(const cover_t *cover, const fs_session_key_t *key)
{
    const fs_bank_t *bank = cover->peers->bank;
    unsigned kept[FS_BANK_PEERS + 1], now[FS_BANK_PEERS + 1], count, others, first = UINT32_MAX;

    count = fs_session_bank_choose(bank->ranks, key, bank->setup.copies, NULL, kept);
    for (unsigned i = 0; i < count && first == UINT32_MAX; i++)
        if (cover->usable[kept[i]])
            first = kept[i];
    if (first != 0)
        return 0;
    others = fs_session_bank_choose(bank->ranks, key, bank->setup.copies, cover->usable, now);
    for (unsigned i = 0; i < others; i++) {
        int had = 0;

        for (unsigned j = 0; j < count; j++)
            had |= kept[j] == now[i];
        if (!had)
            return now[i];
    }
    return 0;
}

static int see_label(void *baton, const fs_session_item_t *label)
{
    cover_t *cover = baton;
    unsigned server = next_in_rank(cover, &label->key);

    if (server && (!label->owner[0] || fs_bank_hosts_gone(cover->peers->bank->hosts, label->owner,
                                                          GONE_AFTER, cover->now))) {
        cover->found[cover->count].key = label->key;
        cover->found[cover->count].version = label->version;
        cover->found[cover->count++].server = server;
    }
    return 0;
}

/* Those of `server` that it doesn't have in this version are left in `missing`. */
static int ask_missing(cover_t *cover, unsigned server, fs_session_key_t *missing, unsigned *count,
                       fs_result_t *result)
{
    fs_session_batch_t head = {.kind = FS_SESSION_BATCH_VERSIONS};
    fs_session_item_t item = {.parts = FS_SESSION_PART_VERSION};
    fs_session_batch_reader_t reader;
    fs_session_batch_writer_t body;
    char *answer;
    int good = fs_session_batch_begin(&body, &head, result) == APR_SUCCESS;

    for (unsigned i = 0; good && i < cover->count; i++) {
        item.key = cover->found[i].key;
        item.version = cover->found[i].version;
        if (cover->found[i].server == server)
            good = fs_session_batch_add(&body, &item, result) == APR_SUCCESS;
    }
    *count = 0;
    good = good && body.count &&
           fs_bank_ask(cover->peers, &cover->peers->peers[server - 1], "versions", &body,
                       FS_SESSION_BATCH_DIFFERING, BANK_PEER_TIMEOUT_MS, &reader, &answer,
                       result) == APR_SUCCESS;
    free(body.bytes);
    if (!good)
        return 0;
    while (fs_session_batch_next(&reader, &item))
        missing[(*count)++] = item.key;
    free(answer);
    return 1;
}

/* Adds the copy of a key to a batch. */
static int add_copy(fs_bank_work_t *work, const fs_session_key_t *key,
                    fs_session_batch_writer_t *body)
{
    fs_session_item_t asked = {.key = *key, .flags = FS_SESSION_ITEM_PEEK}, copy, aside;

    if (fs_bank_take(work, "", &asked, FS_SESSION_BATCH_LIMIT, &copy, &aside))
        return 0;
    if (!(copy.parts & FS_SESSION_PART_SEALED))
        return 1;
    copy.what = FS_SESSION_WHAT_NONE;
    copy.flags |= FS_SESSION_ITEM_COPY;
    copy.parts &= ~(unsigned)FS_SESSION_PART_LEASE;
    return fs_session_batch_add(body, &copy, NULL) == APR_SUCCESS;
}

static int send_copies(cover_t *cover, unsigned server, const fs_session_key_t *keys,
                       unsigned count, fs_result_t *result)
{
    fs_session_batch_t head = {.kind = FS_SESSION_BATCH_OFFER};
    fs_bank_t *bank = cover->peers->bank;
    unsigned done = 0;

    while (done < count) {
        fs_session_batch_reader_t reader;
        fs_session_batch_writer_t body;
        fs_usec_t began = fs_time_mono();
        fs_bank_work_t work;
        char *answer;
        int good = fs_session_batch_begin(&body, &head, result) == APR_SUCCESS &&
                   !fs_bank_begin(&work, bank->store, &bank->leases, 0, 0);

        while (good && done < count && !fs_session_batch_filled(&body) &&
               add_copy(&work, &keys[done], &body))
            done++;
        if (good)
            fs_bank_abort(&work);
        good = good && body.count &&
               fs_bank_ask(cover->peers, &cover->peers->peers[server - 1], "offer", &body,
                           FS_SESSION_BATCH_OFFERED, BANK_PEER_TIMEOUT_MS, &reader, &answer,
                           result) == APR_SUCCESS;
        free(body.bytes);
        if (!good)
            return 0;
        cover->sent += reader.head.count;
        pthread_mutex_lock(&cover->peers->lock);
        cover->peers->peers[server - 1].facts.sent += reader.head.count;
        pthread_mutex_unlock(&cover->peers->lock);
        free(answer);
        fs_bank_yield(cover->peers, began);
    }
    return 1;
}

static int send_found(cover_t *cover)
{
    fs_session_key_t *missing = calloc(CHUNK, sizeof(*missing));
    fs_result_t result;
    int good = missing != NULL;

    fs_result_clear(&result);
    for (unsigned server = 1; good && server <= cover->peers->count; server++) {
        unsigned wanted = 0, count;

        for (unsigned i = 0; i < cover->count; i++)
            wanted += cover->found[i].server == server;
        if (wanted)
            good = ask_missing(cover, server, missing, &count, &result) &&
                   send_copies(cover, server, missing, count, &result);
    }
    if (!good)
        fs_log(FS_LOG_WARNING, "FS1424",
               "sessions of a dead bank server cannot be copied to the next in rank: %s; trying "
               "again",
               result.detail);
    free(missing);
    return good;
}

static int cover_all(cover_t *cover)
{
    fs_bank_t *bank = cover->peers->bank;
    fs_session_key_t last, *after = NULL;
    int more = 1, error = 0;

    while (more && !error) {
        fs_bank_work_t work;

        cover->count = 0;
        cover->now = fs_time_mono();
        error = fs_bank_begin(&work, bank->store, &bank->leases, 0,
                              fs_board_farm_time(bank->setup.board));
        if (!error)
            error = fs_bank_scan(&work, after, 0, CHUNK, see_label, cover, &last, &more);
        fs_bank_abort(&work);
        after = &last;
        if (!error && cover->count && !send_found(cover))
            return 0;
        if (!fs_bank_poll(cover->peers))
            return 0;
    }
    return !error;
}

void fs_bank_cover(fs_bank_peers_t *peers)
{
    fs_usec_t now = fs_time_mono();
    uint64_t dead = 0;
    cover_t *cover;

    for (unsigned i = 0; i < peers->count; i++)
        if (peers->peers[i].down_since && now - peers->peers[i].down_since > DEAD_AFTER)
            dead |= UINT64_C(1) << i;
    if (!dead || (dead == peers->covered_for && now - peers->covered < COVER_EVERY) ||
        !(cover = calloc(1, sizeof(*cover)))) {
        peers->covered_for = dead ? peers->covered_for : 0;
        return;
    }
    cover->peers = peers;
    cover->usable[0] = 1;
    for (unsigned i = 0; i < peers->count; i++)
        cover->usable[i + 1] = !(dead & UINT64_C(1) << i);
    if (cover_all(cover)) {
        peers->covered_for = dead;
        peers->covered = fs_time_mono();
        if (cover->sent)
            fs_log(FS_LOG_NOTICE, "FS1425",
                   "%" PRIu64 " sessions of hosts that are gone were copied in the place of a dead "
                   "bank server",
                   cover->sent);
    }
    free(cover);
}
