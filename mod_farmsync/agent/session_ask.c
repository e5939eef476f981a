/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The asker of one bank server: renews this host's lease there, takes sessions, and compares. It
 * has a connection of its own, so that a long batch of copies delays no visitor and no renewal.
 */
#include "session.h"

#include <stdlib.h>
#include <string.h>

#define KEYS_MOST   4096
#define WANTED_MOST 256

void fs_ask_wake(fs_bank_server_t *server)
{
    pthread_cond_signal(&server->ask_due);
}

static unsigned timeout_ms(const fs_bank_server_t *server)
{
    unsigned lease = server->sessions->config->lease_ms;

    return lease < 100 ? 100 : lease;
}

/* --- renewal -----------------------------------------------------------------------------------
 */

/* The lock is held. */
static void fill_renewal(fs_bank_server_t *server, fs_session_batch_t *head)
{
    memset(head, 0, sizeof(*head));
    head->kind = FS_SESSION_BATCH_RENEW;
    head->lease = server->sessions->config->lease_ms;
    head->copies = server->sessions->config->copies;
    head->instance = server->instance;
    head->boot = server->boot;
    head->mark = server->mark;
    if (server->pass_done && server->pass_done == server->boot) {
        head->flags = FS_SESSION_BATCH_PASS;
        head->sequence = server->pass_sequence;
    }
    snprintf(head->name, sizeof(head->name), "%s", server->config->name);
}

/* The lock is held. What the server held is gone, or may be. */
static void look_at_instance(fs_bank_server_t *server, const fs_session_batch_t *head)
{
    fs_sessions_t *sessions = server->sessions;

    if (server->known && server->instance != head->instance)
        fs_log(FS_LOG_NOTICE, "FS1358",
               "bank server %s has begun anew: it is brought what it is to keep",
               server->config->name);
    if (!server->known || server->instance != head->instance || server->boot != head->boot)
        fs_bases_forget_server(sessions->bases, server->index);
    server->known = 1;
    server->instance = head->instance;
    server->boot = head->boot;
}

/* The lock is held. It wants to be brought what this host has; what begins from now on counts. */
static void look_at_pass(fs_bank_server_t *server, const fs_session_batch_t *head, int told)
{
    if (!(head->flags & FS_SESSION_BATCH_PASS)) {
        server->pass_wanted = 0;
        return;
    }
    if (server->pass_wanted == head->boot || (server->pass_done == head->boot && !told))
        return;
    server->pass_wanted = head->boot;
    server->pass_done = 0;
    server->pass_sequence = head->sequence;
    fs_compare_want(server->sessions, 0);
    server->pass_walk = server->sessions->walk_wanted;
}

typedef struct heard_t {
    unsigned taken_count, wanted_count;
    fs_session_key_t taken[KEYS_MOST];
    fs_session_item_t wanted[WANTED_MOST];
} heard_t;

static void read_renewed(fs_session_batch_reader_t *reader, heard_t *heard)
{
    fs_session_item_t item;

    while (fs_session_batch_next(reader, &item)) {
        if (!(item.flags & FS_SESSION_ITEM_WANTED)) {
            if (heard->taken_count < KEYS_MOST)
                heard->taken[heard->taken_count++] = item.key;
        } else if (heard->wanted_count < WANTED_MOST && item.parts & FS_SESSION_PART_OWNER) {
            heard->wanted[heard->wanted_count++] = item;
        }
    }
}

/*
 * Sessions that others have taken are in doubt until they were asked for. What a host wants that
 * can't reach this one is released to it, and the bank told.
 */
static void act_on(fs_bank_server_t *server, heard_t *heard)
{
    fs_sessions_t *sessions = server->sessions;
    fs_result_t result;
    apr_pool_t *pool;

    if (heard->taken_count &&
        fs_session_store_checked(sessions->store, heard->taken, heard->taken_count, 0, &result))
        fs_log_result(FS_LOG_ERROR, &result);
    if (!heard->wanted_count)
        return;
    apr_pool_create(&pool, NULL);
    for (unsigned i = 0; i < heard->wanted_count; i++)
        fs_copy_yield(sessions, &heard->wanted[i].key, heard->wanted[i].owner, pool);
    apr_pool_destroy(pool);
}

static void renewed(fs_bank_server_t *server, fs_session_batch_reader_t *reader, int told,
                    fs_usec_t sent)
{
    fs_sessions_t *sessions = server->sessions;
    const fs_session_batch_t *head = &reader->head;
    heard_t *heard = reader->left ? calloc(1, sizeof(*heard)) : NULL; /* nearly always nothing */

    if (heard) {
        read_renewed(reader, heard);
        act_on(server, heard);
    }
    free(heard);
    pthread_mutex_lock(&sessions->lock);
    look_at_instance(server, head);
    server->mark = head->mark;
    server->in_sync = head->flags & FS_SESSION_BATCH_IN_SYNC ? 1 : 0;
    server->full = head->flags & FS_SESSION_BATCH_FULL ? 1 : 0;
    look_at_pass(server, head, told);
    if (head->flags & FS_SESSION_BATCH_ALL)
        fs_compare_want(sessions, 1);
    server->failures = 0;
    server->heard = fs_session_clock();
    fs_up_answered(sessions, server->index, sent);
    pthread_mutex_unlock(&sessions->lock);
}

static void renew(fs_bank_server_t *server)
{
    fs_sessions_t *sessions = server->sessions;
    fs_session_batch_t head;
    fs_session_batch_writer_t writer;
    fs_session_batch_reader_t reader;
    fs_http_answer_t answer;
    fs_result_t result;
    fs_usec_t sent;
    apr_status_t status;

    pthread_mutex_lock(&sessions->lock);
    fill_renewal(server, &head);
    server->renewed = sent = fs_session_clock();
    fs_up_sent(sessions, server->index, sent);
    pthread_mutex_unlock(&sessions->lock);
    status = fs_session_batch_begin(&writer, &head, &result);
    if (!status)
        status = fs_session_exchange(server->ask_http, server->config->url, "/v1/sessions/renew",
                                     &writer, FS_SESSION_BATCH_RENEWED, timeout_ms(server), &answer,
                                     &reader, &result);
    free(writer.bytes);
    if (!status) {
        renewed(server, &reader, head.flags & FS_SESSION_BATCH_PASS, sent);
        fs_http_answer_clear(&answer);
    }
    if (fs_agent_stopping(sessions->agent))
        return;
    pthread_mutex_lock(&sessions->lock);
    if (status) {
        server->failures++;
        fs_up_failed(sessions, server->index, APR_STATUS_IS_ECONNREFUSED(status) ? sent : 0);
    }
    fs_agent_trouble(&server->trouble, FS_LOG_WARNING, status ? &result : NULL, "FS1359",
                     "bank server %s answers again", server->config->name);
    pthread_mutex_unlock(&sessions->lock);
}

/* --- taking ------------------------------------------------------------------------------------
 */

typedef struct taking_t {
    unsigned count;
    fs_ask_t *asks[FS_SESSION_ASK_BATCH];
} taking_t;

/* The lock is held. */
static void take_asks(fs_bank_server_t *server, taking_t *taking)
{
    fs_ask_t *ask;

    taking->count = 0;
    while (taking->count < FS_SESSION_ASK_BATCH && (ask = STAILQ_FIRST(&server->asks))) {
        STAILQ_REMOVE_HEAD(&server->asks, link);
        if (fs_fetch_wants(ask))
            taking->asks[taking->count++] = ask;
        else
            fs_fetch_heard(server->sessions, server->index, ask, NULL, NULL, NULL);
    }
}

static apr_status_t write_take(const taking_t *taking, fs_session_batch_writer_t *writer,
                               fs_result_t *result)
{
    fs_session_batch_t head = {.kind = FS_SESSION_BATCH_TAKE};
    apr_status_t status = fs_session_batch_begin(writer, &head, result);

    for (unsigned i = 0; i < taking->count && !status; i++) {
        const fs_ask_t *ask = taking->asks[i];
        fs_session_item_t item = {.key = *fs_fetch_key(ask->fetch),
                                  .flags = ask->wanted ? FS_SESSION_ITEM_WANTED : 0};

        if (ask->has_version) {
            item.parts |= FS_SESSION_PART_VERSION;
            item.version = ask->version;
        }
        if (ask->from[0]) {
            item.parts |= FS_SESSION_PART_OWNER;
            memcpy(item.owner, ask->from, sizeof(item.owner));
        }
        status = fs_session_batch_add(writer, &item, result);
    }
    return status;
}

/* The lock is held. `reader` NULL: there was no answer. Behind an item may stand another one of the
 * same key: a copy that the server keeps aside, to be merged too. */
static void tell_fetches(fs_bank_server_t *server, taking_t *taking,
                         fs_session_batch_reader_t *reader)
{
    fs_session_item_t item, aside;
    int more = reader && fs_session_batch_next(reader, &item);

    for (unsigned i = 0; i < taking->count; i++) {
        const fs_session_key_t *key = fs_fetch_key(taking->asks[i]->fetch);
        const fs_session_item_t *first = NULL, *second = NULL;
        fs_session_item_t said;

        if (more && !fs_session_key_compare(&item.key, key)) {
            said = item;
            first = &said;
            more = fs_session_batch_next(reader, &item);
            if (more && !fs_session_key_compare(&item.key, key)) {
                aside = item;
                second = &aside;
                more = fs_session_batch_next(reader, &item);
            }
        }
        fs_fetch_heard(server->sessions, server->index, taking->asks[i],
                       reader ? &reader->head : NULL, first, second);
    }
}

static void take(fs_bank_server_t *server, taking_t *taking)
{
    fs_sessions_t *sessions = server->sessions;
    fs_session_batch_writer_t writer;
    fs_session_batch_reader_t reader;
    fs_http_answer_t answer;
    fs_result_t result;
    apr_status_t status = write_take(taking, &writer, &result);

    if (!status)
        status = fs_session_exchange(server->ask_http, server->config->url, "/v1/sessions/take",
                                     &writer, FS_SESSION_BATCH_TAKEN, timeout_ms(server), &answer,
                                     &reader, &result);
    free(writer.bytes);
    pthread_mutex_lock(&sessions->lock);
    tell_fetches(server, taking, status ? NULL : &reader);
    pthread_mutex_unlock(&sessions->lock);
    if (!status)
        fs_http_answer_clear(&answer);
}

/* --- comparing ---------------------------------------------------------------------------------
 */

static void compare(fs_bank_server_t *server, fs_compare_t *what)
{
    fs_session_batch_writer_t writer;
    fs_session_batch_reader_t reader;
    fs_http_answer_t answer;
    fs_result_t result;
    apr_status_t status = fs_compare_write(what, server->index, &writer, &result);

    if (!status)
        status = fs_session_exchange(server->ask_http, server->config->url, "/v1/sessions/versions",
                                     &writer, FS_SESSION_BATCH_DIFFERING, timeout_ms(server) * 2,
                                     &answer, &reader, &result);
    free(writer.bytes);
    fs_compare_heard(server->sessions, what, server->index, status ? NULL : &reader);
    if (!status)
        fs_http_answer_clear(&answer);
}

/* --- the thread --------------------------------------------------------------------------------
 */

/* The lock is held. How long until the next renewal. */
static fs_usec_t until_renewal(const fs_bank_server_t *server)
{
    fs_usec_t third = server->sessions->config->lease_ms * FS_USEC_PER_MSEC / 3;

    return server->renewed ? server->renewed + third - fs_session_clock() : 0;
}

/* A server that doesn't answer keeps nobody waiting. The lock is held. */
static void refuse_asks(fs_bank_server_t *server, taking_t *taking)
{
    fs_compare_t *what = server->compare;

    if (server->failures) {
        take_asks(server, taking);
        tell_fetches(server, taking, NULL);
        server->compare = NULL;
        if (what) {
            pthread_mutex_unlock(&server->sessions->lock);
            fs_compare_heard(server->sessions, what, server->index, NULL);
            pthread_mutex_lock(&server->sessions->lock);
        }
    }
}

void *fs_ask_run(void *baton)
{
    fs_bank_server_t *server = baton;
    fs_sessions_t *sessions = server->sessions;
    taking_t *taking = calloc(1, sizeof(*taking));

    pthread_mutex_lock(&sessions->lock);
    while (taking && !fs_agent_stopping(sessions->agent)) {
        fs_usec_t wait = until_renewal(server);
        fs_compare_t *what;

        refuse_asks(server, taking);
        take_asks(server, taking);
        what = taking->count || wait <= 0 ? NULL : server->compare;
        if (wait > 0 && !taking->count && !what) {
            fs_agent_cond_wait(&server->ask_due, &sessions->lock, wait);
            continue;
        }
        if (what)
            server->compare = NULL;
        pthread_mutex_unlock(&sessions->lock);
        if (wait <= 0)
            renew(server);
        if (taking->count)
            take(server, taking);
        if (what)
            compare(server, what);
        pthread_mutex_lock(&sessions->lock);
    }
    pthread_mutex_unlock(&sessions->lock);
    free(taking);
    return NULL;
}
