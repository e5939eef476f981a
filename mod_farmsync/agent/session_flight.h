/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is on its way to the bank: for each session that is being sent, its newest copy and how far
 * each bank server has got with it.
 *
 *   target   IDLE ──► QUEUED ──► SENT ──► IDLE (confirmed)
 *                       ▲         │
 *                       └─ LATER ◄┘ (refused, or no answer)
 *
 * A session that changes again replaces the copy that waits, so that a slow server gets the newest
 * only; while an older one is being sent to it, the newer one follows. Servers wait for nobody:
 * each has queues of its own, one for changes and one for what it missed (low), which comes second.
 *
 * Pure logic; one thread at a time (the caller's lock).
 */
#ifndef FS_AGENT_SESSION_FLIGHT_H
#define FS_AGENT_SESSION_FLIGHT_H

#include <sys/queue.h>

#include "session/fs_session_batch.h"
#include "session_table.h"

#define FS_FLIGHT_TARGETS 12
#define FS_FLIGHT_AGAIN   (100 * FS_USEC_PER_MSEC) /* until a server that failed is tried again */
#define FS_FLIGHT_LATEST  (2 * FS_USEC_PER_SEC)

/* A copy as it is sent, shared by all who send it. */
typedef struct fs_sealed_t {
    unsigned references;
    fs_session_label_t label;
    unsigned flags;                   /* FS_SESSION_ITEM_ENDED, _ALIAS, _URGENT */
    char owner[FS_SESSION_NAME_SIZE]; /* to whom it was released; "": it is this host's */
    size_t length;
    uint8_t bytes[];
} fs_sealed_t;

fs_sealed_t *fs_sealed_make(const fs_session_label_t *label, const void *bytes, size_t length);
void fs_sealed_drop(fs_sealed_t *sealed);

typedef enum fs_target_state_t {
    FS_TARGET_IDLE,
    FS_TARGET_QUEUED,
    FS_TARGET_SENT,
    FS_TARGET_LATER,
    FS_TARGET_FULL /* it has no room: another one has it instead */
} fs_target_state_t;

typedef struct fs_target_t {
    TAILQ_ENTRY(fs_target_t) link; /* QUEUED */
    struct fs_flight_t *flight;
    unsigned server;
    fs_target_state_t state;
    int wanted; /* 0: it is only waited for, because it was sent to this one already */
    int low;
    int confirmed;
    fs_session_stamp_t version; /* confirmed */
    unsigned tries;
    fs_usec_t later;
} fs_target_t;

typedef struct fs_flight_t {
    fs_keyed_t keyed;
    fs_sealed_t *copy;
    int confirming; /* all have it, and the store is being told */
    unsigned count;
    fs_target_t targets[FS_FLIGHT_TARGETS];
} fs_flight_t;

typedef TAILQ_HEAD(fs_targets_t, fs_target_t) fs_targets_t;

typedef struct fs_flights_t {
    fs_key_table_t table;
    size_t bytes; /* of all copies */
    unsigned servers;
    fs_targets_t *live, *low; /* of each server */
    unsigned *waiting;        /* of each server: targets that aren't settled */
    unsigned *low_waiting;    /* those of them that it missed */
} fs_flights_t;

apr_status_t fs_flights_init(fs_flights_t *flights, unsigned servers);
void fs_flights_end(fs_flights_t *flights);

fs_flight_t *fs_flight_find(const fs_flights_t *flights, const fs_session_key_t *key);

/*
 * `sealed` (taken over) is the newest copy, to be on `servers`. `low`: these servers missed it;
 * what is on its way to others goes on. `urgent`: before all that waits. NULL when memory is short
 * (then nothing changed and `sealed` is dropped).
 */
fs_flight_t *fs_flight_put(fs_flights_t *flights, fs_sealed_t *sealed, const unsigned *servers,
                           unsigned count, int low, int urgent);

/* Is anything queued for a server? */
int fs_flights_has_next(const fs_flights_t *flights, unsigned server);
/* The next copies for a server, at most `room` and about `bytes`; the caller drops them. Returns
 * how many. They count as sent. */
unsigned fs_flights_next(fs_flights_t *flights, unsigned server, fs_sealed_t **sealed,
                         unsigned room, size_t bytes);

typedef enum fs_answer_t {
    FS_ANSWER_CONFIRMED, /* it has this version */
    FS_ANSWER_AGAIN,     /* send the newest copy now */
    FS_ANSWER_FAILED,    /* no answer: soon again */
    FS_ANSWER_REFUSED,   /* not now: later and later */
    FS_ANSWER_FULL
} fs_answer_t;
/* What became of `version` at a server. Returns the flight, NULL if it isn't under way any more. */
fs_flight_t *fs_flights_answer(fs_flights_t *flights, const fs_session_key_t *key, unsigned server,
                               const fs_session_stamp_t *version, fs_answer_t answer,
                               fs_usec_t now);

/* The server is known to have this version. */
void fs_flight_confirmed(fs_flights_t *flights, fs_flight_t *flight, unsigned server,
                         const fs_session_stamp_t *version);
/* How many of those that are wanted have `version` or a later one. */
unsigned fs_flight_copies(const fs_flight_t *flight, const fs_session_stamp_t *version);
/* How many are wanted. */
unsigned fs_flight_wanted(const fs_flight_t *flight);
/* 1 if all that are wanted have the newest copy; also if none is wanted. */
int fs_flight_is_done(const fs_flight_t *flight);
/* Those that were full are tried again later, as nobody else is there. Returns whether there are
 * any. */
int fs_flight_full_again(fs_flights_t *flights, fs_flight_t *flight, fs_usec_t now);
void fs_flight_remove(fs_flights_t *flights, fs_flight_t *flight);

/* Queues what is to be tried again by now; returns when to call it again, INT64_MAX never. */
fs_usec_t fs_flights_again(fs_flights_t *flights, fs_usec_t now);

#endif
