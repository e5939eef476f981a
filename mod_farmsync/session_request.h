/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The session of a request: found once for a main request, all of its subrequests and internal
 * redirects, and kept in its request_config.
 *
 *   load    cookie → id → store (→ agent) → the record's entries as mod_session wants them
 *   save    what the request changed, relative to what it loaded, is merged into what is there now
 *   finish  when the response begins: what the application asked for, what mod_session didn't save,
 *           the note of use; lets go of the turn
 *
 * A request is handled by one thread at a time.
 */
#ifndef FS_SESSION_REQUEST_H
#define FS_SESSION_REQUEST_H

#include <mod_session.h>

#include "session/fs_session_turn.h"
#include "session_host.h"

/* What is known of a session that somebody asked for by an id. */
typedef struct fs_session_found_t {
    enum {
        FS_SESSION_FOUND_NONE,      /* nobody has it */
        FS_SESSION_FOUND_LIVE,      /* here */
        FS_SESSION_FOUND_UNANSWERED /* nobody could say in time */
    } what;
    fs_session_key_t key; /* of the session itself, behind aliases */
    int pending;          /* live: counted as pending at that key, until fs_session_found_done */
    uint8_t seal[FS_SESSION_SEAL_BYTES];
    int by_alias;
    fs_session_stamp_t version;
    fs_usec_t created, used, idle, ends;
    fs_usec_t at; /* when it was looked up */
    /* Sorted by key; keys and values end with a NUL, too. */
    fs_session_entry_t *entries;
    uint32_t count;
} fs_session_found_t;

/* How a place looks at sessions, defaults filled in. */
typedef struct fs_session_rules_t {
    fs_usec_t idle;     /* a session that begins here ends so long after its last use */
    fs_usec_t strict;   /* one that wasn't used for so long isn't shown here; 0: nothing was said */
    fs_usec_t lifetime; /* 0: no limit */
    fs_usec_t refresh;  /* a use is noted after so long at the latest */
    fs_usec_t alias;
    int ack, timeout_ms, lock_ms;
    int exclusive, refuse_unknown;
} fs_session_rules_t;
void fs_session_rules_of(fs_session_rules_t *rules, const request_rec *r);

/*
 * Looks a session up, here and, where that doesn't settle it, through the agent, for timeout_ms
 * at most. `counts` 0: this isn't the request's first look. Results are the pool's.
 */
void fs_session_find(const fs_session_host_t *host, const fs_session_id_t *id,
                     const fs_session_rules_t *rules, int counts, apr_pool_t *pool,
                     fs_session_found_t *found);

/* Whoever looked it up won't change it any more. */
void fs_session_found_done(const fs_session_host_t *host, fs_session_found_t *found);

typedef struct fs_session_request_t {
    const fs_session_host_t *host; /* NULL: this process has no sessions */
    request_rec *first;            /* all of it lives in first->pool */
    const fs_cookie_t *cookie;
    fs_session_rules_t rules;
    session_rec *z;
    int has_id; /* the visitor sent an id of this farm */
    fs_session_id_t id;
    fs_session_found_t found; /* as loaded, or as it was saved last */
    int opaque;               /* stored as the one text that another module made of it */
    int decoded;
    int spared;                 /* z says `written`, so that mod_session doesn't */
    int ended;                  /* by this request: nothing more is stored */
    int wished;                 /* what the application asked for is done */
    int noted;                  /* its use is noted */
    fs_session_found_t pending; /* whose pending count this request holds */
    fs_session_turn_t turn;
    int late;   /* its turn didn't come in time */
    int unsure; /* a change isn't kept as it was to be: the answer is to be 503 */
    int finished;
    const request_rec *marked; /* whose headers say that the response depends on the session */
    struct fs_session_request_t *next; /* of another cookie */
} fs_session_request_t;

/* The session of the request, looked up if it wasn't; NULL: sessions aren't ours here. */
fs_session_request_t *fs_session_load(request_rec *r);
/* Those that were looked up, as a list; NULL: none. */
fs_session_request_t *fs_session_loaded(request_rec *r);
/* mod_session saves another record than it was given (it couldn't decode that): the session counts
 * as not found. */
void fs_session_replace(fs_session_request_t *session, session_rec *z);
/* A record was decoded: of a text of another module, what the request's changes are relative to. */
void fs_session_decoded(request_rec *r, session_rec *z);
/* Is mod_session's Session on for this request, and its URL included? */
int fs_session_is_on(const request_rec *r);

/* Stores what z holds now. What can't be stored is logged and counted; session->unsure. */
void fs_session_save(request_rec *r, fs_session_request_t *session);
/* Tells mod_session that it needn't save at the end of this request, where fs_session_finish does.
 */
void fs_session_spare(request_rec *r, fs_session_request_t *session);
/* Before the response begins: stores what isn't yet. */
void fs_session_finish(request_rec *r, fs_session_request_t *session);
/* After it: what was changed too late for a cookie, in a session that has one. */
void fs_session_finish_late(request_rec *r, fs_session_request_t *session);
/* The request won't change the session any more. */
void fs_session_let_go(fs_session_request_t *session);

/* Waits for the session's turn, as long as the rules say; 0 if it didn't come, which is logged. */
int fs_session_take_turn(fs_session_request_t *session, const fs_session_key_t *key);
/* Puts the entries into a record of mod_session. */
void fs_session_fill(session_rec *z, const fs_session_found_t *found);

/* An entry of this name is what another module (mod_session_crypto) made of all entries. */
#define FS_SESSION_OPAQUE_KEY "farmsync:encoded"

#endif
