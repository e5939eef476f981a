/* SPDX-License-Identifier: Apache-2.0 */
#include "session/fs_session_resync.h"

#include <stdio.h>
#include <string.h>

void fs_session_resync_start(fs_session_resync_t *resync, fs_usec_t settle, fs_usec_t now)
{
    memset(resync, 0, sizeof(*resync));
    resync->started = resync->stepped = now;
    resync->settle = settle;
}

static fs_session_partner_t *find(fs_session_resync_t *resync, const char *name)
{
    for (unsigned i = 0; i < resync->count; i++)
        if (!strcmp(resync->partners[i].name, name))
            return &resync->partners[i];
    return NULL;
}

/* Finds or adds it; who is gone makes room, and would be new if it came again. */
static fs_session_partner_t *partner_of(fs_session_resync_t *resync, const char *name,
                                        fs_usec_t now)
{
    fs_session_partner_t *partner = find(resync, name);

    if (partner)
        return partner;
    for (unsigned i = 0; !partner && i < resync->count; i++)
        if (resync->partners[i].state == FS_SESSION_PARTNER_GONE)
            partner = &resync->partners[i];
    if (resync->count < FS_SESSION_PARTNERS)
        partner = &resync->partners[resync->count++];
    if (!partner) {
        resync->overflow = 1;
        return NULL;
    }
    memset(partner, 0, sizeof(*partner));
    snprintf(partner->name, sizeof(partner->name), "%s", name);
    partner->state = FS_SESSION_PARTNER_NAMED;
    partner->since = now;
    return partner;
}

int fs_session_resync_named(fs_session_resync_t *resync, const char *name, fs_usec_t now)
{
    return partner_of(resync, name, now) != NULL;
}

int fs_session_resync_heard(fs_session_resync_t *resync, const char *name, fs_usec_t lease,
                            fs_usec_t now)
{
    fs_session_partner_t *partner;

    fs_session_resync_step(resync, now);
    partner = partner_of(resync, name, now);
    if (!partner)
        return 0;
    partner->since = now;
    if (lease > 0)
        partner->lease = lease;
    if (partner->state == FS_SESSION_PARTNER_NAMED || partner->state == FS_SESSION_PARTNER_GONE) {
        partner->state = FS_SESSION_PARTNER_BEHIND;
        partner->behind = now;
    }
    return partner->state == FS_SESSION_PARTNER_DONE;
}

void fs_session_resync_done(fs_session_resync_t *resync, const char *name, fs_usec_t began,
                            fs_usec_t now)
{
    fs_session_partner_t *partner;

    fs_session_resync_heard(resync, name, 0, now);
    partner = find(resync, name);
    if (partner && partner->state == FS_SESSION_PARTNER_BEHIND && began >= partner->behind)
        partner->state = FS_SESSION_PARTNER_DONE;
}

/* What came in while this server stood still was answered by nobody. */
static void wake(fs_session_resync_t *resync, fs_usec_t now)
{
    resync->started = now;
    for (unsigned i = 0; i < resync->count; i++)
        if (resync->partners[i].state != FS_SESSION_PARTNER_GONE) {
            resync->partners[i].state = FS_SESSION_PARTNER_NAMED;
            resync->partners[i].since = now;
        }
}

void fs_session_resync_step(fs_session_resync_t *resync, fs_usec_t now)
{
    if (now - resync->stepped > resync->settle)
        wake(resync, now);
    resync->stepped = now;
    for (unsigned i = 0; i < resync->count; i++) {
        fs_session_partner_t *partner = &resync->partners[i];
        fs_usec_t patience = partner->state == FS_SESSION_PARTNER_NAMED || !partner->lease
                                 ? resync->settle
                                 : partner->lease;

        if (now - partner->since >= patience)
            partner->state = FS_SESSION_PARTNER_GONE;
    }
}

int fs_session_resync_in_sync(const fs_session_resync_t *resync, fs_usec_t now)
{
    unsigned done = 0;

    if (resync->overflow || now - resync->started < resync->settle ||
        now - resync->stepped > resync->settle)
        return 0;
    for (unsigned i = 0; i < resync->count; i++) {
        if (resync->partners[i].state == FS_SESSION_PARTNER_NAMED ||
            resync->partners[i].state == FS_SESSION_PARTNER_BEHIND)
            return 0;
        done += resync->partners[i].state == FS_SESSION_PARTNER_DONE;
    }
    return done > 0;
}
