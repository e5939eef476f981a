/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request wants a session that this host doesn't have, or that is in doubt. What is to be done
 * next is decided by fs_session_take.h; here are the questions, the answers, and those who wait.
 * Parallel requests for one session share one fetch.
 *
 *   begin -> round: all candidates at once -> answers -> step -+-> wait, ask a host, round again
 *                                                              +-> finish (a worker) -> answer
 *
 *   session_fetch.c begin, timers; _ask.c questions and answers; _step.c; _end.c finish;
 *   _waiter.c answer
 */
#ifndef FS_AGENT_SESSION_FETCH_H
#define FS_AGENT_SESSION_FETCH_H

#include "session.h"

#define FS_FETCH_CANDIDATES 16
#define FS_FETCH_COPIES     64

typedef struct fs_waiter_t {
    struct fs_waiter_t *next;
    fs_sessions_t *sessions;
    fs_http_call_t *call; /* NULL: the client has left */
    fs_usec_t until;
    int status;
} fs_waiter_t;

/* What somebody has of it. */
typedef struct fs_found_t {
    int server; /* -1: a host */
    fs_session_item_t item;
    uint8_t *bytes; /* NULL: the same as what is here */
} fs_found_t;

struct fs_fetch_t {
    fs_keyed_t keyed;
    fs_work_t work;
    fs_sessions_t *sessions;
    unsigned references;
    unsigned round;
    uint64_t generation; /* in which the candidates were asked */
    uint8_t seal[FS_SESSION_SEAL_BYTES];
    int here;
    int held; /* a copy that this host holds ahead for another is among those that were found */
    char released[FS_SESSION_NAME_SIZE]; /* to whom this host has released it; "": nobody */
    fs_usec_t released_until;            /* as the store has it: another one with each release */
    fs_session_stamp_t version;          /* here */
    fs_usec_t deadline;
    fs_usec_t saying; /* since when a question waits for what is being said; 0 none does */
    fs_usec_t at;     /* to be looked at again */
    int again;        /* at `at`: another round */
    fs_session_next_t next;
    int finishing;
    unsigned candidate_count;
    unsigned servers[FS_FETCH_CANDIDATES];
    fs_session_candidate_t candidates[FS_FETCH_CANDIDATES];
    unsigned peer_count, peer_room;
    fs_session_peer_t *peers;
    int asked_all;
    int nameless; /* there are peers that could not be asked yet: this agent has just started */
    char former[FS_SESSION_NAME_SIZE]; /* who was asked because the copies name him; "" nobody */
    unsigned found_count;
    fs_found_t found[FS_FETCH_COPIES];
    fs_waiter_t *waiters;
};

/* What is here of it when a round begins. */
typedef struct fs_here_t {
    int is;
    fs_session_note_t note;
    char released[FS_SESSION_NAME_SIZE];
    int held;               /* and it isn't here */
    fs_session_item_t copy; /* `held`: its bytes are malloc'ed */
} fs_here_t;

/* --- those who wait ------------------------------------------------------------------------------
 */

/* Answers with an HTTP status; the lock is held. */
void fs_waiter_release(fs_sessions_t *sessions, fs_waiter_t *waiter, int status);
void fs_waiter_gone(void *baton, fs_http_call_t *call);
/* Answers who hasn't waited. Loop's thread. */
void fs_waiter_answer_now(fs_http_call_t *call, int status);

/* --- what is here; no lock -----------------------------------------------------------------------
 */

void fs_fetch_look_here(fs_sessions_t *sessions, const fs_session_key_t *key, fs_here_t *here);
void fs_fetch_forget_here(fs_here_t *here);

/* --- the rest; the lock is held ------------------------------------------------------------------
 */

void fs_fetch_note_here(fs_fetch_t *fetch, const fs_here_t *here);
void fs_fetch_look_again_at(fs_fetch_t *fetch, fs_usec_t at);

/* `from`: who said that he let it go; `wanted`: the bank is to tell its owner. */
void fs_fetch_ask_round(fs_fetch_t *fetch, const char *from, int wanted);
void fs_fetch_ask_peer(fs_fetch_t *fetch, const char *name);
void fs_fetch_ask_all_peers(fs_fetch_t *fetch);
int fs_fetch_somebody_answered(const fs_fetch_t *fetch);

void fs_fetch_keep_found(fs_fetch_t *fetch, int server, const fs_session_item_t *item);
void fs_fetch_forget_found(fs_fetch_t *fetch);

/* Does what is to be done now. */
void fs_fetch_step(fs_fetch_t *fetch);
/* Has a worker do what fetch->next says, and answer those who wait. */
void fs_fetch_finish(fs_fetch_t *fetch);

#endif
