/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When a bank server that started, or was cut off, may say again that it knows of a session or that
 * there is none. Pure logic; times are the bank server's clock that never steps. One thread at a
 * time.
 *
 * Its partners are the hosts and the other bank servers. A partner that lives must have made one
 * pass: it brought everything that it has and that this server ranks for and lacks. A partner whose
 * lease ran out and that is heard again must make a new one: in the meantime it may have counted
 * this server as down. Nobody who is gone is waited for.
 */
#ifndef FS_SESSION_RESYNC_H
#define FS_SESSION_RESYNC_H

#include "base/fs_time.h"
#include "session/fs_session_record.h"

#define FS_SESSION_PARTNERS 1024

typedef enum fs_session_partner_state_t {
    FS_SESSION_PARTNER_NAMED = 1, /* configured, or another one named it; never heard */
    FS_SESSION_PARTNER_BEHIND,    /* it lives, its pass isn't done */
    FS_SESSION_PARTNER_DONE,
    FS_SESSION_PARTNER_GONE
} fs_session_partner_state_t;

typedef struct fs_session_partner_t {
    char name[FS_SESSION_NAME_SIZE];
    fs_session_partner_state_t state;
    fs_usec_t since;  /* named or last heard */
    fs_usec_t behind; /* since when a pass is missing */
    fs_usec_t lease;
} fs_session_partner_t;

typedef struct fs_session_resync_t {
    fs_usec_t started;
    fs_usec_t settle; /* for so long after the start nobody is taken for gone: the longest lease */
    fs_usec_t stepped;
    int overflow; /* a partner found no place: never in sync */
    unsigned count;
    fs_session_partner_t partners[FS_SESSION_PARTNERS];
} fs_session_resync_t;

void fs_session_resync_start(fs_session_resync_t *resync, fs_usec_t settle, fs_usec_t now);

/* A partner is known to exist; it may be dead. More than FS_SESSION_PARTNERS are ignored, and then
 * the server is never in sync: returns 0. */
int fs_session_resync_named(fs_session_resync_t *resync, const char *name, fs_usec_t now);

/* A signed request or answer of a partner came; `lease` 0: as before. Returns 0 if it must make a
 * pass (tell it so in the answer). */
int fs_session_resync_heard(fs_session_resync_t *resync, const char *name, fs_usec_t lease,
                            fs_usec_t now);

/* A partner's pass is done; one that began before it last went doesn't count: the caller passes
 * when it `began`. */
void fs_session_resync_done(fs_session_resync_t *resync, const char *name, fs_usec_t began,
                            fs_usec_t now);

/* Call it at least each third of a lease, and before an answer: finds out who is gone. A step that
 * comes later than `settle` after the one before finds that this server itself stood still: all
 * must make a new pass. */
void fs_session_resync_step(fs_session_resync_t *resync, fs_usec_t now);

/* Is a "there is no such session" of this server the truth? */
int fs_session_resync_in_sync(const fs_session_resync_t *resync, fs_usec_t now);

#endif
