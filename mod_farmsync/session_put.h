/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The acts on a stored session that a request can do, whether mod_session saves or an application
 * uses the resource. Each counts what it did; logging what failed is the caller's
 * (fs_session_complain).
 */
#ifndef FS_SESSION_PUT_H
#define FS_SESSION_PUT_H

#include "session_request.h"

/* Who acts, on what. */
typedef struct fs_session_act_t {
    const fs_session_host_t *host;
    request_rec *r;
    const fs_session_id_t *id; /* by which it is looked up again; NULL: a new one */
    const fs_session_rules_t *rules;
    apr_pool_t *pool;
    fs_usec_t now;
    fs_session_ahead_t ahead;
    fs_session_record_t record; /* what is there afterwards */
    int unsure; /* it isn't kept as it was to be: the visitor is to try again (503) */
    fs_result_t result;
} fs_session_act_t;

/* Applies changes; a session that was handed over meanwhile is fetched again, and save->key becomes
 * where it is. Status and errors as fs_session_store_save. */
apr_status_t fs_session_put(fs_session_act_t *act, fs_session_save_t *save);
/* Begins a session with the changes, under a new id. */
apr_status_t fs_session_put_new(fs_session_act_t *act, const fs_session_change_t *changes,
                                uint32_t count, fs_session_id_t *id);
/* As fs_session_put, and gives the session another id; save->key is the old one's. */
apr_status_t fs_session_put_moved(fs_session_act_t *act, fs_session_save_t *save,
                                  fs_session_id_t *id);
apr_status_t fs_session_put_end(fs_session_act_t *act, const fs_session_found_t *found);

/* Waits until as many copies are on the bank, as long as the rules say; else act->unsure. */
void fs_session_confirm(fs_session_act_t *act, const fs_session_key_t *key,
                        const fs_session_stamp_t *version, int copies);
/* The same for what isn't live any more: an alias, or a session that has ended. */
void fs_session_confirm_end(fs_session_act_t *act, const fs_session_key_t *key, int copies);
/* The copies of a login, a change of id, a logout. */
int fs_session_copies_of_act(const fs_session_rules_t *rules);

/* Counts what could not be stored, and logs it, if it isn't only that the session has ended. Where
 * copies were to be confirmed, or nobody could say where the session is, act->unsure. */
void fs_session_complain(fs_session_act_t *act, apr_status_t status);

#endif
