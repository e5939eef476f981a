/* SPDX-License-Identifier: Apache-2.0 */
/* Which bank servers the operator took out of use, in StateDir/sessions/drained, a name a line: it
 * stays so when the agent is started anew. */
#include <stdlib.h>
#include <string.h>

#include "base/fs_file.h"
#include "session_admin.h"

#define LIMIT 65536

static void path_of(const fs_sessions_t *sessions, char *path, size_t size)
{
    snprintf(path, size, "%s/drained", sessions->dir);
}

static int set_drained(fs_sessions_t *sessions, const char *name, int drained)
{
    for (unsigned i = 0; i < sessions->count; i++)
        if (!strcmp(sessions->servers[i].config->name, name)) {
            sessions->servers[i].drained = drained;
            return 1;
        }
    return 0;
}

void fs_session_drain_load(fs_sessions_t *sessions)
{
    char path[sizeof(sessions->dir) + 16], *text, *rest;
    fs_result_t result;
    size_t length;

    path_of(sessions, path, sizeof(path));
    if (fs_file_read(path, LIMIT, &text, &length, &result)) {
        if (!APR_STATUS_IS_ENOENT(result.status))
            fs_log_result(FS_LOG_WARNING, &result);
        return;
    }
    for (char *name = strtok_r(text, "\n", &rest); name; name = strtok_r(NULL, "\n", &rest))
        if (set_drained(sessions, name, 1))
            fs_log(FS_LOG_NOTICE, "FS1366",
                   "bank server %s is drained, as the operator has ordered: farmsyncctl sessions "
                   "undrain --server %s takes that back",
                   name, name);
    free(text);
}

static void save(fs_sessions_t *sessions)
{
    char path[sizeof(sessions->dir) + 16], *text;
    size_t length = 0;
    fs_result_t result;

    path_of(sessions, path, sizeof(path));
    text = calloc(FS_AGENT_BANK_MAX, FS_SESSION_NAME_SIZE + 2);
    if (!text)
        return;
    for (unsigned i = 0; i < sessions->count; i++)
        if (sessions->servers[i].drained)
            length += (size_t)snprintf(text + length, FS_SESSION_NAME_SIZE + 2, "%s\n",
                                       sessions->servers[i].config->name);
    if (fs_file_write(path, text, length, &result))
        fs_log_result(FS_LOG_ERROR, &result);
    free(text);
}

int fs_session_drain(fs_sessions_t *sessions, const char *server, int drain)
{
    int found;

    pthread_mutex_lock(&sessions->lock);
    if (server) {
        found = set_drained(sessions, server, drain);
        fs_up_step(sessions);
    } else {
        found = 1;
        sessions->draining = drain;
    }
    pthread_mutex_unlock(&sessions->lock);
    if (!found)
        return 0;
    fs_log(FS_LOG_NOTICE, drain ? "FS1367" : "FS1368", "%s is %s", server ? server : "this host",
           drain ? "drained: its sessions are brought to safety" : "used for sessions again");
    if (server)
        save(sessions);
    fs_sessions_nudge(sessions);
    return 1;
}
