/* SPDX-License-Identifier: Apache-2.0 */
#include "session_put.h"

#include <string.h>

#include "session_alternate.h"
#include "session_ask.h"
#include "session_module.h"
#include "session_say.h"

#define STORE_TRIES 4

/* --- storing ------------------------------------------------------------------------------------
 */

static int find_again(fs_session_act_t *act, fs_session_save_t *save, fs_session_found_t *found)
{
    if (save->fresh || !act->id)
        return 0;
    fs_session_found_done(act->host, found);
    fs_session_find(act->host, act->id, act->rules, 0, act->pool, found);
    save->key = found->key;
    return found->what == FS_SESSION_FOUND_LIVE;
}

static apr_status_t put(fs_session_act_t *act, fs_session_save_t *save,
                        const fs_session_target_t *target)
{
    apr_status_t status = APR_NOTFOUND;
    fs_session_found_t found = {0};
    int moved;

    if (fs_session_alternate_of(act->r, act->host, &act->ahead, &moved))
        save->ahead = &act->ahead;
    for (unsigned tries = 0; tries < STORE_TRIES; tries++) {
        fs_result_clear(&act->result);
        status = target ? fs_session_store_move(act->host->store, save, target, act->now, act->pool,
                                                &act->record, &act->result)
                        : fs_session_store_save(act->host->store, save, act->now, act->pool,
                                                &act->record, &act->result);
        if (status != APR_NOTFOUND || !find_again(act, save, &found))
            break;
    }
    if (status == APR_NOTFOUND && found.what != FS_SESSION_FOUND_NONE)
        act->unsure = 1; /* another host has taken it, and nobody could bring it back in time */
    fs_session_found_done(act->host, &found);
    return status;
}

apr_status_t fs_session_put(fs_session_act_t *act, fs_session_save_t *save)
{
    apr_status_t status = put(act, save, NULL);

    if (status == APR_SUCCESS)
        fs_session_counters_add(act->host->counters, act->record.state == FS_SESSION_ENDED
                                                         ? FS_SESSION_ENDED_COUNT
                                                         : FS_SESSION_SAVED);
    return status;
}

static apr_status_t new_id(fs_session_act_t *act, fs_session_id_t *id, uint8_t *seal)
{
    apr_status_t status = fs_session_id_make(id, act->host->keys, &act->result);

    if (status == APR_SUCCESS)
        status = fs_session_id_seal_key(id, act->host->keys, seal, &act->result);
    return status;
}

apr_status_t fs_session_put_new(fs_session_act_t *act, const fs_session_change_t *changes,
                                uint32_t count, fs_session_id_t *id)
{
    const fs_session_rules_t *rules = act->rules;
    fs_session_writer_t writer = fs_session_store_writer(act->host->store, act->now);
    fs_session_save_t save = {.changes = changes, .count = count, .urgent = 1};
    uint8_t seal[FS_SESSION_SEAL_BYTES];
    fs_session_trusted_t trusted = {0};
    fs_session_record_t fresh;
    apr_status_t status = new_id(act, id, seal);

    if (status != APR_SUCCESS)
        return status;
    fs_session_begin(&fresh, &writer, rules->lifetime ? act->now + rules->lifetime : 0,
                     rules->idle);
    if (act->host->trust)
        fs_session_trust_read(act->host->trust, &trusted);
    save.key = id->key;
    save.fresh = &fresh;
    save.seal = seal;
    save.checked = trusted.generation;
    status = put(act, &save, NULL);
    if (status == APR_SUCCESS)
        fs_session_counters_add(act->host->counters, FS_SESSION_CREATED);
    return status;
}

apr_status_t fs_session_put_moved(fs_session_act_t *act, fs_session_save_t *save,
                                  fs_session_id_t *id)
{
    fs_session_target_t target = {.until = act->now + act->rules->alias};
    apr_status_t status = new_id(act, id, target.seal);

    if (status != APR_SUCCESS)
        return status;
    target.key = id->key;
    save->urgent = 1;
    status = put(act, save, &target);
    if (status == APR_SUCCESS)
        fs_session_counters_add(act->host->counters, FS_SESSION_MOVED);
    return status;
}

apr_status_t fs_session_put_end(fs_session_act_t *act, const fs_session_found_t *found)
{
    uint8_t seal[FS_SESSION_SEAL_BYTES];
    apr_status_t status = APR_SUCCESS;

    if (found->by_alias)
        memcpy(seal, found->seal, sizeof(seal));
    else
        status = fs_session_id_seal_key(act->id, act->host->keys, seal, &act->result);
    if (status == APR_SUCCESS)
        status = fs_session_store_end(act->host->store, &found->key, seal, act->now, act->pool,
                                      &act->result);
    if (status == APR_SUCCESS)
        fs_session_counters_add(act->host->counters, FS_SESSION_ENDED_COUNT);
    return status;
}

/* --- copies -------------------------------------------------------------------------------------
 */

int fs_session_copies_of_act(const fs_session_rules_t *rules)
{
    return rules->ack > 1 ? rules->ack : 1;
}

void fs_session_confirm(fs_session_act_t *act, const fs_session_key_t *key,
                        const fs_session_stamp_t *version, int copies)
{
    const fs_session_host_t *host = act->host;

    if (!copies || !host->farm->bank->nelts)
        return;
    if (fs_session_ack(host, key, version, copies, act->rules->timeout_ms) == FS_SESSION_YES)
        return;
    fs_result_set(
        &act->result, APR_TIMEUP, "FS1310",
        "a change of a session didn't get the copies (%d) that it was to have on the bank "
        "within %d ms, so its visitor is told to try again; see farmsync-agent's messages "
        "and the bank servers",
        copies, act->rules->timeout_ms);
    act->unsure = 1;
    fs_session_say(host, act->r, FS_SESSION_UNCONFIRMED, APLOG_WARNING, &act->result);
}

static int look_for_version(void *baton, const fs_session_key_t *key, const fs_session_note_t *note,
                            const void *bytes, size_t length)
{
    *(fs_session_stamp_t *)baton = note->version;
    return 0;
}

void fs_session_confirm_end(fs_session_act_t *act, const fs_session_key_t *key, int copies)
{
    fs_session_stamp_t version;

    if (copies && act->host->farm->bank->nelts &&
        fs_session_store_look(act->host->store, key, look_for_version, &version, NULL) ==
            APR_SUCCESS)
        fs_session_confirm(act, key, &version, copies);
}

/* --- what failed --------------------------------------------------------------------------------
 */

void fs_session_complain(fs_session_act_t *act, apr_status_t status)
{
    const char *problem = act->result.problem;

    if (act->unsure) {
        fs_result_set(
            &act->result, APR_TIMEUP, "FS1313",
            "a change of a session wasn't stored: another server took the session "
            "meanwhile, and nobody could bring it back in time, so its visitor is told to "
            "try again");
        fs_session_say(act->host, act->r, FS_SESSION_UNCONFIRMED, APLOG_WARNING, &act->result);
        return;
    }
    if (status == APR_NOTFOUND || !strcmp(problem, "FS1205")) {
        /* It has ended, or nobody has it any more: that isn't undone by a late change. */
        fs_session_counters_add(act->host->counters, FS_SESSION_DROPPED);
        return;
    }
    act->unsure = act->rules->ack > 0;
    fs_session_say(act->host, act->r,
                   !strcmp(problem, "FS1213")                                 ? FS_SESSION_FULL
                   : !strcmp(problem, "FS1214") || !strcmp(problem, "FS1203") ? FS_SESSION_TOO_LARGE
                                                                              : FS_SESSION_FAILED,
                   APLOG_ERR, &act->result);
}
