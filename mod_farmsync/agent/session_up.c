/* SPDX-License-Identifier: Apache-2.0 */
/* Which bank servers count, and what the trust page says because of that. sessions->lock is held.
 */
#include "session.h"

#include <string.h>

/* Of those that were never heard, or are missing, how long each is. */
static void note_missing(fs_sessions_t *sessions, unsigned i, fs_usec_t now)
{
    fs_bank_server_t *server = &sessions->servers[i];

    if (sessions->vouching.servers[i].up)
        server->missing = 0;
    else if (!server->missing)
        server->missing = now;
}

/* Where changes go, and where sessions belong. Returns whether either is another than before. */
static int choose_usable(fs_sessions_t *sessions, fs_usec_t now)
{
    int changed = 0;

    sessions->walk_again = 0;
    for (unsigned i = 0; i < sessions->count; i++) {
        const fs_bank_server_t *server = &sessions->servers[i];
        uint8_t up = sessions->vouching.servers[i].up && !server->drained;
        uint8_t chosen = !server->drained && (up || now - server->missing < FS_SESSION_GRACE);

        if (chosen && !up &&
            (!sessions->walk_again || server->missing + FS_SESSION_GRACE < sessions->walk_again))
            sessions->walk_again = server->missing + FS_SESSION_GRACE;
        changed |= up != sessions->up[i] || chosen != sessions->chosen[i];
        sessions->up[i] = up;
        sessions->chosen[i] = chosen;
    }
    return changed;
}

static void say(fs_sessions_t *sessions, const fs_session_trusted_t *before)
{
    const fs_session_trusted_t *now = &sessions->vouching.trusted;

    if (now->alone && !before->alone && sessions->count)
        fs_log(FS_LOG_ERROR, "FS1350",
               "no server of the session bank answers: sessions are kept on this host only until "
               "one does; see why %s doesn't answer",
               sessions->servers[0].config->url);
    else if (before->alone && !now->alone && sessions->count)
        fs_log(FS_LOG_NOTICE, "FS1351",
               "the session bank answers again: everything that has changed is sent to it");
}

void fs_up_step(fs_sessions_t *sessions)
{
    fs_session_trusted_t before = sessions->vouching.trusted;
    fs_usec_t now = fs_session_clock();

    fs_others_look(sessions, now);
    fs_session_vouching_step(&sessions->vouching, now);
    for (unsigned i = 0; i < sessions->count; i++)
        note_missing(sessions, i, now);
    fs_session_trust_write(sessions->trust, &sessions->vouching.trusted);
    say(sessions, &before);
    if (sessions->vouching.trusted.generation != before.generation)
        fs_compare_want(sessions, 0);
    if (!choose_usable(sessions, now))
        return;
    fs_compare_want(sessions, 1);
    sessions->retarget = 1;
    fs_sessions_nudge(sessions);
}

void fs_up_sent(fs_sessions_t *sessions, unsigned server, fs_usec_t now)
{
    fs_session_vouch_sent(&sessions->vouching, server, now);
}

void fs_up_answered(fs_sessions_t *sessions, unsigned server, fs_usec_t sent)
{
    fs_session_vouch_answered(&sessions->vouching, server, sent);
    fs_up_step(sessions);
}

void fs_up_failed(fs_sessions_t *sessions, unsigned server, fs_usec_t refused)
{
    fs_session_vouch_refused(&sessions->vouching, server, refused);
    fs_up_step(sessions);
}

unsigned fs_up_targets(fs_sessions_t *sessions, const fs_session_key_t *key, unsigned *servers)
{
    return fs_session_bank_choose(sessions->bank, key, sessions->config->copies, sessions->up,
                                  servers);
}

unsigned fs_up_places(fs_sessions_t *sessions, const fs_session_key_t *key, unsigned *servers)
{
    return fs_session_bank_choose(sessions->bank, key, sessions->config->copies, sessions->chosen,
                                  servers);
}
