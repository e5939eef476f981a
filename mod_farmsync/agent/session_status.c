/* SPDX-License-Identifier: Apache-2.0 */
/* How sessions are, as JSON: numbers, bank servers, one session without its values. */
#include <inttypes.h>
#include <string.h>

#include "session_admin.h"

#define USER_SUFFIX "-user" /* mod_auth_form keeps "<AuthName>-user" in the session */

static json_t *bank_server_json(fs_sessions_t *sessions, unsigned i, fs_usec_t now)
{
    const fs_bank_server_t *server = &sessions->servers[i];
    int up = sessions->vouching.servers[i].up;
    const char *state = server->drained ? "draining" : up ? "up" : "down";
    const char *problem = server->trouble.now.problem[0] ? server->trouble.now.detail : NULL;

    return json_pack(
        "{s:s, s:s, s:s?, s:s, s:b, s:b, s:I, s:I, s:o, s:s?}", "name", server->config->name, "url",
        server->config->url, "rack", server->config->rack, "state", state, "in_sync",
        server->in_sync, "full", server->full, "waiting", (json_int_t)sessions->flights.waiting[i],
        "confirmed", (json_int_t)server->confirmed, "last_heard_ms",
        server->heard ? json_integer((now - server->heard) / FS_USEC_PER_MSEC) : json_null(),
        "problem", problem);
}

/* The lock is held. Sessions that aren't where they belong, `dirty` of them because they changed.
 */
static uint64_t count_unprotected(const fs_sessions_t *sessions, uint64_t held, uint64_t dirty)
{
    uint64_t behind = dirty;

    if (!sessions->count)
        return 0;
    for (unsigned i = 0; i < sessions->count; i++)
        behind += sessions->flights.low_waiting[i];
    if (behind < sessions->flights.table.count)
        behind = sessions->flights.table.count; /* safe, and on its way to yet another */
    if (!behind && held && (sessions->walking || sessions->walk_wanted > sessions->walk_done))
        behind = 1; /* it isn't known yet */
    return behind;
}

/* Of sessions that are held ahead at alternates; null where routing is off. The lock is held. */
static json_t *ahead_json(const fs_sessions_t *sessions, uint64_t held, uint64_t bytes)
{
    const fs_ahead_counts_t *ahead = &sessions->ahead;

    if (!sessions->held)
        return json_null();
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "carried", (json_int_t)ahead->carried,
                     "failed", (json_int_t)ahead->failed, "took", (json_int_t)ahead->took, "served",
                     (json_int_t)ahead->served, "held", (json_int_t)held, "held_bytes",
                     (json_int_t)bytes);
}

json_t *fs_session_status_json(fs_sessions_t *sessions, fs_result_t *result)
{
    fs_session_counts_t counts;
    uint64_t held = 0, held_bytes = 0;
    fs_usec_t now = fs_session_clock(), farm = fs_sessions_farm(sessions), oldest;
    json_t *bank, *json;

    if (fs_session_store_count(sessions->store, &counts, result))
        return NULL;
    if (sessions->held && fs_session_held_count(sessions->held, &held, &held_bytes, result))
        return NULL;
    oldest = counts.oldest_dirty && farm > counts.oldest_dirty ? farm - counts.oldest_dirty : 0;
    bank = json_array();
    pthread_mutex_lock(&sessions->lock);
    for (unsigned i = 0; i < sessions->count; i++)
        json_array_append_new(bank, bank_server_json(sessions, i, now));
    json = json_pack(
        "{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:i, s:b, s:b, s:o, s:o}", "server",
        sessions->agent->config.server, "sessions", (json_int_t)counts.sessions, "unprotected",
        (json_int_t)count_unprotected(sessions, counts.sessions, counts.dirty),
        "oldest_unprotected_ms", (json_int_t)(oldest / FS_USEC_PER_MSEC), "bytes",
        (json_int_t)counts.bytes, "limit_sessions", (json_int_t)sessions->config->sessions,
        "limit_bytes", (json_int_t)sessions->config->store_bytes, "copies",
        (int)sessions->config->copies, "alone", sessions->count && sessions->vouching.trusted.alone,
        "draining", sessions->draining, "ahead", ahead_json(sessions, held, held_bytes), "bank",
        bank);
    pthread_mutex_unlock(&sessions->lock);
    return json;
}

/* --- one session --------------------------------------------------------------------------------
 */

const fs_session_entry_t *fs_session_user(const fs_session_record_t *record)
{
    const uint32_t suffix = sizeof(USER_SUFFIX) - 1;

    for (uint32_t i = 0; record->state == FS_SESSION_LIVE && i < record->count; i++) {
        const fs_session_entry_t *entry = &record->entries[i];

        if (entry->value && entry->key_length > suffix &&
            !memcmp(entry->key + entry->key_length - suffix, USER_SUFFIX, suffix))
            return entry;
    }
    return NULL;
}

static json_t *seconds(fs_usec_t time)
{
    return time && time != INT64_MAX ? json_integer(time / FS_USEC_PER_SEC) : json_null();
}

static json_t *user_json(const fs_session_record_t *record)
{
    const fs_session_entry_t *user = fs_session_user(record);
    json_t *text = user ? json_stringn(user->value, user->value_length) : NULL;

    return text ? text : json_null();
}

void fs_session_key_text(const fs_session_key_t *key, char text[FS_SESSION_KEY_TEXT])
{
    for (unsigned i = 0; i < FS_SESSION_KEY_BYTES; i++)
        snprintf(text + 2 * i, 3, "%02x", key->bytes[i]);
}

json_t *fs_session_one_json(const fs_session_key_t *key, const fs_session_note_t *note,
                            const fs_session_record_t *record, size_t length)
{
    static const char *const states[] = {"none", "live", "alias", "ended"};
    char text[FS_SESSION_KEY_TEXT], version[80];
    unsigned entries = 0;

    for (uint32_t i = 0; record->state == FS_SESSION_LIVE && i < record->count; i++)
        entries += record->entries[i].value != NULL;
    fs_session_key_text(key, text);
    snprintf(version, sizeof(version), "%" PRIu32 ".%" PRIu64 ".%016" PRIx64, note->version.epoch,
             note->version.sequence, note->version.writer);
    return json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:I, s:I, s:I, s:s, s:b, s:I, s:o, s:b}",
                     "key", text, "state", states[record->state], "owner", record->owner.name,
                     "created", seconds(record->created), "used", seconds(record->used), "ends",
                     seconds(record->ends), "idle_s", (json_int_t)(record->idle / FS_USEC_PER_SEC),
                     "bytes", (json_int_t)length, "entries", (json_int_t)entries, "version",
                     version, "protected", !note->dirty_since, "copies", (json_int_t)note->copies,
                     "user", user_json(record), "released", note->released != 0);
}
