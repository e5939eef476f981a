/* SPDX-License-Identifier: Apache-2.0 */
/* Copies on their way to the bank: what is sealed, to whom it goes, when it counts as safe. */
#include "session.h"

#include <apr_strings.h>
#include <stdlib.h>
#include <string.h>

/* --- sealing ---------------------------------------------------------------------------------- */

static apr_status_t name_owner(fs_sessions_t *sessions, const fs_session_note_t *note,
                               fs_sealed_t *sealed, fs_result_t *result)
{
    apr_status_t status = APR_SUCCESS;

    if (note->released)
        status =
            fs_session_store_released(sessions->store, &sealed->label.key, sealed->owner, result);
    return status == APR_NOTFOUND ? APR_SUCCESS : status;
}

apr_status_t fs_copy_seal(fs_sessions_t *sessions, const fs_session_key_t *key,
                          const fs_session_note_t *note, const void *bytes, size_t length,
                          apr_pool_t *pool, fs_sealed_t **sealed, fs_result_t *result)
{
    fs_session_label_t label = {*key, note->version, note->expires};
    fs_session_record_t record;
    const uint8_t *text;
    size_t text_length;
    apr_status_t status = fs_session_record_decode(&record, bytes, length, pool, result);

    *sealed = NULL;
    if (!status)
        status =
            fs_session_seal(note->seal, &label, bytes, length, pool, &text, &text_length, result);
    if (status)
        return status;
    *sealed = fs_sealed_make(&label, text, text_length);
    if (!*sealed)
        return fs_result_set(result, APR_ENOMEM, "FS0621", "out of memory");
    if (record.state == FS_SESSION_ENDED)
        (*sealed)->flags = FS_SESSION_ITEM_ENDED;
    if (record.state == FS_SESSION_ALIAS)
        (*sealed)->flags = FS_SESSION_ITEM_ALIAS;
    status = name_owner(sessions, note, *sealed, result);
    if (!status)
        return APR_SUCCESS;
    fs_sealed_drop(*sealed);
    *sealed = NULL;
    return status;
}

typedef struct look_t {
    apr_pool_t *pool;
    fs_session_note_t note;
    void *bytes;
    size_t length;
} look_t;

static int keep_look(void *baton, const fs_session_key_t *key, const fs_session_note_t *note,
                     const void *bytes, size_t length)
{
    look_t *look = baton;

    look->note = *note;
    look->bytes = apr_pmemdup(look->pool, bytes, length);
    look->length = length;
    return 0;
}

apr_status_t fs_copy_read(fs_sessions_t *sessions, const fs_session_key_t *key, apr_pool_t *pool,
                          fs_sealed_t **sealed, fs_session_note_t *note, fs_result_t *result)
{
    look_t look = {.pool = pool};
    apr_status_t status = fs_session_store_look(sessions->store, key, keep_look, &look, result);

    *sealed = NULL;
    if (status)
        return status;
    if (look.note.expires <= fs_sessions_farm(sessions))
        return APR_NOTFOUND;
    if (note)
        *note = look.note;
    return fs_copy_seal(sessions, key, &look.note, look.bytes, look.length, pool, sealed, result);
}

apr_status_t fs_copy_open(const fs_session_item_t *item, const uint8_t *seal, apr_pool_t *pool,
                          fs_session_record_t *record, fs_result_t *result)
{
    fs_session_label_t label = {item->key, item->version, item->expires};
    const uint8_t *bytes;
    size_t length;
    apr_status_t status = fs_session_unseal(seal, &label, item->sealed, item->sealed_length, pool,
                                            &bytes, &length, result);

    return status ? status : fs_session_record_decode(record, bytes, length, pool, result);
}

/* --- to whom ---------------------------------------------------------------------------------- */

static int is_full(const fs_flight_t *flight, unsigned server)
{
    for (unsigned i = 0; flight && i < flight->count; i++)
        if (flight->targets[i].server == server)
            return flight->targets[i].state == FS_TARGET_FULL;
    return 0;
}

/* Those who have room, in the order of their rank. The lock is held. */
static unsigned choose_targets(fs_sessions_t *sessions, const fs_session_key_t *key,
                               const fs_flight_t *flight, unsigned *servers)
{
    unsigned ranked[FS_AGENT_BANK_MAX], count = 0;
    unsigned all =
        fs_session_bank_choose(sessions->bank, key, FS_AGENT_BANK_MAX, sessions->up, ranked);

    for (unsigned i = 0; i < all && count < sessions->config->copies; i++)
        if (!is_full(flight, ranked[i]))
            servers[count++] = ranked[i];
    return count;
}

/* Who is known to have it need not be sent it. The lock is held. */
static void note_known(fs_sessions_t *sessions, fs_flight_t *flight)
{
    for (unsigned i = 0; i < flight->count; i++) {
        unsigned server = flight->targets[i].server;
        const fs_session_stamp_t *held = fs_bases_get(sessions->bases, &flight->keyed.key, server);

        if (held && !fs_session_stamp_compare(held, &flight->copy->label.version) &&
            (!flight->copy->owner[0] ||
             fs_release_is_told(&sessions->releases, &flight->keyed.key, server)))
            fs_flight_confirmed(&sessions->flights, flight, server, held);
    }
}

/* The lock is held. */
static void wake_senders(fs_sessions_t *sessions, const unsigned *servers, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        fs_send_wake(&sessions->servers[servers[i]]);
}

static void send_to(fs_sessions_t *sessions, fs_sealed_t *sealed, const unsigned *servers,
                    unsigned count, int low, int urgent)
{
    fs_flight_t *flight = fs_flight_put(&sessions->flights, sealed, servers, count, low, urgent);
    fs_session_confirmed_t confirmed;
    fs_settled_t settled = {&confirmed, 0};

    if (!flight)
        return;
    note_known(sessions, flight);
    wake_senders(sessions, servers, count);
    fs_copy_settle(sessions, flight, &settled);
    if (!settled.count)
        return;
    pthread_mutex_unlock(&sessions->lock);
    fs_copy_settled(sessions, &settled);
    pthread_mutex_lock(&sessions->lock);
}

void fs_copy_send(fs_sessions_t *sessions, fs_sealed_t *sealed, int urgent)
{
    unsigned servers[FS_AGENT_BANK_MAX];
    unsigned count =
        choose_targets(sessions, &sealed->label.key,
                       fs_flight_find(&sessions->flights, &sealed->label.key), servers);

    if (urgent)
        sealed->flags |= FS_SESSION_ITEM_URGENT;
    if (count || fs_flight_find(&sessions->flights, &sealed->label.key))
        send_to(sessions, sealed, servers, count, 0, urgent);
    else
        fs_sealed_drop(sealed);
}

void fs_copy_send_low(fs_sessions_t *sessions, fs_sealed_t *sealed, unsigned server)
{
    send_to(sessions, sealed, &server, 1, 1, 0);
}

void fs_copy_send_now(fs_sessions_t *sessions, const fs_session_key_t *key, int urgent,
                      apr_pool_t *pool)
{
    fs_sealed_t *sealed;
    fs_result_t result;
    apr_status_t status = fs_copy_read(sessions, key, pool, &sealed, NULL, &result);

    if (status) {
        if (status != APR_NOTFOUND)
            fs_log_result(FS_LOG_WARNING, &result);
        return;
    }
    pthread_mutex_lock(&sessions->lock);
    fs_copy_send(sessions, sealed, urgent);
    pthread_mutex_unlock(&sessions->lock);
}

/* --- when it is safe -------------------------------------------------------------------------- */

/* On how many of those it belongs to a version is known to be. The lock is held. */
static unsigned count_copies(fs_sessions_t *sessions, const fs_flight_t *flight,
                             const fs_session_stamp_t *version)
{
    unsigned servers[FS_AGENT_BANK_MAX], copies = 0;
    unsigned count = choose_targets(sessions, &flight->keyed.key, flight, servers);

    for (unsigned i = 0; i < count; i++) {
        const fs_session_stamp_t *held =
            fs_bases_get(sessions->bases, &flight->keyed.key, servers[i]);

        copies += held && !fs_session_stamp_compare(held, version);
    }
    return copies;
}

/* The lock is held. Notes that the store is to be told. */
static void settle_later(fs_sessions_t *sessions, fs_flight_t *flight, fs_settled_t *settled)
{
    fs_session_confirmed_t *confirmed = &settled->confirmed[settled->count++];

    confirmed->key = flight->keyed.key;
    confirmed->version = flight->copy->label.version;
    confirmed->copies = count_copies(sessions, flight, &confirmed->version);
    flight->confirming = 1;
}

void fs_copy_settle(fs_sessions_t *sessions, fs_flight_t *flight, fs_settled_t *settled)
{
    fs_ack_look(sessions, &flight->keyed.key);
    if (flight->confirming || !fs_flight_is_done(flight))
        return;
    if (fs_flight_wanted(flight))
        settle_later(sessions, flight, settled);
    else if (!fs_flight_full_again(&sessions->flights, flight, fs_session_clock()))
        fs_flight_remove(&sessions->flights, flight); /* nobody is there: it stays dirty */
}

/* The lock is held. The store has been told, or couldn't be; what came to its end since goes into
 * `again`. */
static void has_settled(fs_sessions_t *sessions, const fs_session_confirmed_t *confirmed, int told,
                        fs_settled_t *again)
{
    fs_flight_t *flight = fs_flight_find(&sessions->flights, &confirmed->key);
    int same;

    if (!flight)
        return;
    same = !fs_session_stamp_compare(&flight->copy->label.version, &confirmed->version);
    flight->confirming = 0;
    if (told && same && flight->copy->owner[0]) /* another host has it */
        fs_copy_leaves(sessions, &confirmed->key);
    if (!same)
        fs_copy_settle(sessions, flight, again);
    else if (fs_flight_is_done(flight))
        fs_flight_remove(&sessions->flights, flight);
}

/* The lock is held. Leaves those out that are to go to somebody else, too, since. */
static void keep_done(fs_sessions_t *sessions, fs_settled_t *settled)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < settled->count; i++) {
        fs_session_confirmed_t confirmed = settled->confirmed[i];
        fs_flight_t *flight = fs_flight_find(&sessions->flights, &confirmed.key);

        if (flight && !fs_flight_is_done(flight))
            flight->confirming = 0;
        else
            settled->confirmed[kept++] = confirmed;
    }
    settled->count = kept;
}

void fs_copy_settled(fs_sessions_t *sessions, fs_settled_t *settled)
{
    while (settled->count) {
        fs_settled_t again = {settled->confirmed, 0}; /* written behind what is read */
        fs_result_t result;
        apr_status_t status;

        pthread_mutex_lock(&sessions->lock);
        keep_done(sessions, settled);
        pthread_mutex_unlock(&sessions->lock);
        status = fs_session_store_confirm(sessions->store, settled->confirmed, settled->count, 1,
                                          fs_sessions_farm(sessions), &result);
        if (status && status != APR_NOTFOUND)
            fs_log_result(FS_LOG_ERROR, &result);
        pthread_mutex_lock(&sessions->lock);
        for (unsigned i = 0; i < settled->count; i++) {
            fs_session_confirmed_t confirmed = settled->confirmed[i];

            has_settled(sessions, &confirmed, !status, &again);
        }
        pthread_mutex_unlock(&sessions->lock);
        settled->count = again.count;
    }
}

/* --- other servers are up now ------------------------------------------------------------------
 */

typedef struct keys_t {
    fs_session_key_t *keys;
    unsigned count;
} keys_t;

static void list_key(void *baton, fs_keyed_t *keyed)
{
    keys_t *keys = baton;

    keys->keys[keys->count++] = keyed->key;
}

void fs_copy_retarget(fs_sessions_t *sessions)
{
    keys_t keys = {calloc(sessions->flights.table.count + 1, sizeof(*keys.keys)), 0};

    sessions->retarget = 0;
    if (!keys.keys)
        return;
    fs_key_table_each(&sessions->flights.table, list_key, &keys);
    for (unsigned i = 0; i < keys.count; i++) {
        fs_flight_t *flight = fs_flight_find(&sessions->flights, &keys.keys[i]);

        if (!flight)
            continue;
        flight->copy->references++;
        fs_copy_send(sessions, flight->copy, 0);
    }
    free(keys.keys);
}
