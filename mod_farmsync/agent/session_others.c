/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When no bank server answers: is the bank away for everybody, or is this host cut off, and others
 * take its sessions meanwhile? All hosts are asked, as long as it lasts, by a hand-over of nothing,
 * whose answer says whether the bank answers there.
 */
#include "session.h"

#include <stdlib.h>
#include <string.h>

#include "backplane.h"

#define FRESH_LEASES 2 /* an answer counts for so long */

struct fs_other_t {
    LIST_ENTRY(fs_other_t) link;
    char name[FS_SESSION_NAME_SIZE];
    int asking, with_bank;
    fs_usec_t answered; /* when a question was sent that was answered; 0 none was */
};

typedef struct asking_t {
    fs_work_t work;
    struct fs_other_t *other;
} asking_t;

static struct fs_other_t *find_other(fs_sessions_t *sessions, const char *name)
{
    struct fs_other_t *other;

    LIST_FOREACH(other, &sessions->others, link)
    if (!strcmp(other->name, name))
        return other;
    other = calloc(1, sizeof(*other));
    if (!other)
        return NULL;
    snprintf(other->name, sizeof(other->name), "%s", name);
    LIST_INSERT_HEAD(&sessions->others, other, link);
    return other;
}

static int bank_answers(const fs_sessions_t *sessions)
{
    for (unsigned i = 0; i < sessions->count; i++)
        if (sessions->vouching.servers[i].up)
            return 1;
    return !sessions->count;
}

/* The machines answer that nobody listens there: nobody can have the bank. A lease from then on,
 * for it may have been started since. */
static int bank_ended(const fs_sessions_t *sessions, fs_usec_t now)
{
    for (unsigned i = 0; i < sessions->count; i++)
        if (!sessions->vouching.servers[i].refused ||
            now - sessions->vouching.servers[i].refused >= sessions->vouching.lease)
            return 0;
    return sessions->count != 0;
}

static void count_others(fs_sessions_t *sessions, fs_usec_t now, fs_session_others_t *others)
{
    static fs_peer_name_t peers[FS_PEERS_MAX]; /* under the lock */
    unsigned count = fs_peers_list(sessions->agent, peers, FS_PEERS_MAX);

    memset(others, 0, sizeof(*others));
    others->known = count + fs_peers_nameless(sessions->agent);
    for (unsigned i = 0; i < count; i++) {
        const struct fs_other_t *other = find_other(sessions, peers[i].name);
        int answers = other && other->answered &&
                      now - other->answered < FRESH_LEASES * sessions->vouching.lease;

        others->answer += answers != 0;
        others->with_bank += answers && other->with_bank;
    }
    others->bank_ended = bank_ended(sessions, now);
    others->ordered = sessions->alone_ordered;
}

void fs_others_look(fs_sessions_t *sessions, fs_usec_t now)
{
    fs_session_others_t others;

    /* Nobody was asked as long as the bank answered. */
    sessions->vouching.parted = sessions->others_missing = sessions->count != 0;
    if (bank_answers(sessions)) {
        sessions->alone_ordered = 0;
        return;
    }
    count_others(sessions, now, &others);
    sessions->vouching.parted = fs_session_parted(&others);
    sessions->others_missing = others.answer < others.known;
}

static void ask_run(fs_sessions_t *sessions, fs_work_t *work, fs_http_client_t *http,
                    apr_pool_t *pool)
{
    asking_t *asking = (asking_t *)work;
    fs_session_batch_t head = {.kind = FS_SESSION_BATCH_HANDOVER};
    fs_session_batch_writer_t writer;
    fs_session_batch_reader_t reader;
    char url[FS_PEER_URL_SIZE];
    fs_http_answer_t answer;
    fs_result_t result;
    fs_usec_t sent = fs_session_clock();
    apr_status_t status = fs_session_batch_begin(&writer, &head, &result);

    if (!status && !fs_peers_address(sessions->agent, asking->other->name, url, NULL))
        status = APR_NOTFOUND;
    if (!status)
        status = fs_session_exchange(http, url, "/v1/sessions/handover", &writer,
                                     FS_SESSION_BATCH_HANDED, sessions->config->lease_ms, &answer,
                                     &reader, &result);
    free(writer.bytes);
    pthread_mutex_lock(&sessions->lock);
    asking->other->asking = 0;
    if (!status || APR_STATUS_IS_ECONNREFUSED(status)) {
        asking->other->answered = sent;
        asking->other->with_bank = !status && reader.head.flags & FS_SESSION_BATCH_IN_SYNC;
        fs_up_step(sessions);
    }
    pthread_mutex_unlock(&sessions->lock);
    if (!status)
        fs_http_answer_clear(&answer);
    free(asking);
}

void fs_others_ask(fs_sessions_t *sessions)
{
    static fs_peer_name_t peers[FS_PEERS_MAX]; /* under the lock */
    unsigned count;

    if (bank_answers(sessions))
        return;
    count = fs_peers_list(sessions->agent, peers, FS_PEERS_MAX);
    for (unsigned i = 0; i < count; i++) {
        struct fs_other_t *other = find_other(sessions, peers[i].name);
        asking_t *asking = other && !other->asking ? calloc(1, sizeof(*asking)) : NULL;

        if (!asking)
            continue;
        other->asking = 1;
        asking->other = other;
        asking->work.run = ask_run;
        fs_work_add(sessions, &asking->work);
    }
}

apr_status_t fs_others_order_alone(fs_sessions_t *sessions, fs_result_t *result)
{
    fs_session_others_t others;
    const char *who = NULL;

    pthread_mutex_lock(&sessions->lock);
    count_others(sessions, fs_session_clock(), &others);
    if (bank_answers(sessions))
        who = "a server of the session bank answers this host";
    else if (others.with_bank)
        who = "another host answers, and has the session bank";
    else
        sessions->alone_ordered = 1;
    fs_up_step(sessions);
    pthread_mutex_unlock(&sessions->lock);
    if (who)
        return fs_result_set(result, APR_EBUSY, "FS1376",
                             "%s: this host needn't work on alone, and would with copies that are "
                             "behind; mend the network between it and the bank",
                             who);
    fs_log(FS_LOG_WARNING, "FS1377",
           "as the operator has ordered, this host works on with the sessions that it has, until a "
           "server of the session bank answers");
    return APR_SUCCESS;
}
