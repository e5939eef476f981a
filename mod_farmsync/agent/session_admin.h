/* SPDX-License-Identifier: Apache-2.0 */
/* What farmsyncctl asks of sessions; JSON without ids and values, see doc/agent.md. */
#ifndef FS_AGENT_SESSION_ADMIN_H
#define FS_AGENT_SESSION_ADMIN_H

#include <jansson.h>

#include "session.h"

#define FS_SESSION_KEY_TEXT (2 * FS_SESSION_KEY_BYTES + 1)

/* session_admin.c: adds the routes. */
apr_status_t fs_session_admin_open(fs_sessions_t *sessions, fs_result_t *result);

/* session_status.c. NULL with a result if the store can't be read. */
json_t *fs_session_status_json(fs_sessions_t *sessions, fs_result_t *result);
json_t *fs_session_one_json(const fs_session_key_t *key, const fs_session_note_t *note,
                            const fs_session_record_t *record, size_t length);
void fs_session_key_text(const fs_session_key_t *key, char text[FS_SESSION_KEY_TEXT]);
/* The entry that names who is logged in; NULL: nobody is. */
const fs_session_entry_t *fs_session_user(const fs_session_record_t *record);

/* session_drain.c. Reads who was drained before; drains or undrains; 0: there is no such server. */
void fs_session_drain_load(fs_sessions_t *sessions);
int fs_session_drain(fs_sessions_t *sessions, const char *server, int drain);

#endif
