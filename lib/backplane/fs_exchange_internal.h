/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the exchange share.
 *
 *   fs_exchange.c        peers, who lives, own changes, what others are told of it
 *   fs_exchange_send.c   which request goes out next, and when
 *   fs_exchange_serve.c  requests that came in
 *   fs_exchange_take.c   answers that came in, and those that didn't
 *   fs_exchange_intake.c what both of them bring
 *   fs_exchange_compare.c  the course of a comparison
 *   fs_exchange_save.c   the snapshot
 *
 * Each peer has two lanes with at most one request each under way: operators' records in the first,
 * everything else in the second. In the second the order is: members' records, a comparison,
 * monitors' records, a ping.
 */
#ifndef FS_EXCHANGE_INTERNAL_H
#define FS_EXCHANGE_INTERNAL_H

#include "backplane/fs_map_internal.h"
#include "backplane/fs_message.h"
#include "backplane/fs_replay.h"

enum { FS_LANE_URGENT, FS_LANE_OTHER, FS_LANES };

#define FS_COMPARE_LIST 2304 /* entries that an answer can hold */

/* A comparison with one peer, from the first digest until there is no difference. */
typedef struct fs_compare_t {
    int running;
    int asked; /* COMPARE was answered: what is listed is to be brought */
    int more;  /* not all that differs was in the answer */
    int moved; /* something was taken on one of the sides in this round */
    unsigned bring_count, bring_at;
    unsigned want_count, want_at;
    uint64_t *bring; /* key hashes; FS_COMPARE_LIST of each in one piece, while it runs */
    uint64_t *want;
} fs_compare_t;

typedef struct fs_flight_t {
    uint64_t id; /* 0: none under way. Also its sequence */
    unsigned type;
    uint64_t to[FS_PRIORITIES]; /* PUSH from the log: places that will be confirmed; else 0 */
    unsigned listed;            /* PUSH or FETCH of a comparison: how many of its list */
    fs_usec_t sent;
} fs_flight_t;

typedef struct fs_peer_t {
    char name[FS_MEMBER_SIZE];  /* "" not known yet */
    char url[FS_PEER_URL_SIZE]; /* "" not known: it only speaks to us */
    int configured;
    int self;  /* it turned out to be this server */
    int alias; /* another address of a peer that is listed under its name, too */
    uint64_t generation;
    fs_replay_t replay;
    fs_usec_t added;
    fs_usec_t heard;   /* mono; 0 never in this life of ours */
    fs_usec_t contact; /* mono: the last whole exchange, whoever began it */
    fs_usec_t tried;   /* mono: the last request sent */
    fs_usec_t retry_at;
    unsigned failures;
    int was_dead;
    unsigned flags;          /* FS_MESSAGE_PARTIAL, _HELD, as it said last */
    uint64_t digest;         /* as it said last */
    fs_usec_t differs_since; /* mono; 0: equal, or never heard of */
    fs_usec_t same_at;
    fs_usec_t compare_at; /* mono; 0: nothing asks for one */
    fs_usec_t compared;   /* mono: the last one that ended without a difference */
    fs_usec_t skew;
    int synced;                    /* since this start: compared to the end, */
    int tried_sync;                /* ... or found out that it can't be */
    uint64_t place[FS_PRIORITIES]; /* confirmed */
    uint64_t refused_from[FS_PRIORITIES], refused_to[FS_PRIORITIES];
    fs_flight_t flights[FS_LANES];
    fs_compare_t compare;
    double tokens; /* of messages that it may still send */
    fs_usec_t tokens_at;
    uint64_t sent, received;
    char problem[128];
} fs_peer_t;

struct fs_exchange_t {
    fs_exchange_settings_t set;
    char name[FS_MEMBER_SIZE];
    char url[FS_PEER_URL_SIZE];
    uint64_t generation;
    fs_map_t *map;
    fs_exchange_state_t state;
    fs_usec_t started;  /* mono; 0 before the first moment */
    fs_usec_t last;     /* mono: when it was called last */
    int held;           /* this life began with held records, and nothing has been decided */
    fs_usec_t released; /* mono: they were believed; said to others for a while more */
    uint64_t sequence;
    uint64_t random;
    unsigned next_peer; /* whose turn it is */
    unsigned peer_count;
    fs_peer_t *peers[FS_EXCHANGE_PEERS];
    fs_exchange_info_t info;
};

/* --- fs_exchange.c ---------------------------------------------------------------------------- */

/* Before anything else in each call that has a moment: what time has brought. */
void fs_exchange_pass(fs_exchange_t *exchange, fs_moment_t now);
fs_peer_t *fs_exchange_named(const fs_exchange_t *exchange, const char *name);
/* A peer by name that wasn't known; NULL if there is no room. */
fs_peer_t *fs_exchange_new_peer(fs_exchange_t *exchange, const char *name, const char *url);
fs_peer_state_t fs_peer_state(const fs_exchange_t *exchange, const fs_peer_t *peer,
                              fs_moment_t now);
/* Whether requests go to it: it has an address, and is neither this server nor listed twice. */
int fs_peer_is_asked(const fs_exchange_t *exchange, const fs_peer_t *peer, fs_moment_t now);
uint64_t fs_exchange_random(fs_exchange_t *exchange, uint64_t below);
/* Asks for a comparison with `peer` at `at`, unless one is due before. */
void fs_peer_compare_at(fs_peer_t *peer, fs_usec_t at);
void fs_peer_end_compare(fs_peer_t *peer);
/* A comparison with `peer` has ended without a difference, or can't be had. */
void fs_exchange_synced(fs_exchange_t *exchange, fs_peer_t *peer, int whole, fs_moment_t now);
/* The head of a message to `peer` (NULL: to whoever `to` is). */
void fs_exchange_head(fs_exchange_t *exchange, fs_moment_t now, const char *to, uint64_t known,
                      unsigned type, uint64_t sequence, fs_message_t *message);

/* --- fs_exchange_intake.c --------------------------------------------------------------------- */

/* A message's clocks against ours. FS_REFUSED_CAUSES: they are right. */
fs_refused_t fs_message_clock(const fs_message_t *message, fs_moment_t now);
/* The peer has started again since it was heard of. */
void fs_peer_begin_life(fs_peer_t *peer, uint64_t generation);
/* What the head of a message says of its sender, once it is believed. */
void fs_exchange_heard(fs_exchange_t *exchange, fs_peer_t *peer, const fs_message_t *message,
                       fs_moment_t now);

/* What became of the records of a message. */
typedef struct fs_intake_t {
    unsigned taken;
    unsigned refused;
    fs_refused_t cause;
    int learned; /* from somebody else than the author: 1; an operator's: 2 */
    int malformed;
} fs_intake_t;

/* "u16 n · n records". What came before a malformed one counts: each record stands for itself.
 * Those that may have missed what is new here are told. */
void fs_exchange_take_records(fs_exchange_t *exchange, fs_peer_t *sender, fs_message_t *message,
                              fs_moment_t now, fs_intake_t *intake);

/* --- fs_exchange_compare.c -------------------------------------------------------------------- */

/* The answers to COMPARE and FETCH. Return 0, or -1 if they are malformed. */
int fs_compare_answered(fs_exchange_t *exchange, fs_peer_t *peer, fs_message_t *message,
                        fs_moment_t now);
int fs_compare_fetched(fs_exchange_t *exchange, fs_peer_t *peer, fs_message_t *message,
                       fs_moment_t now);
/* Goes on with the next round, or ends, if this one is done. */
void fs_compare_end_round(fs_exchange_t *exchange, fs_peer_t *peer, fs_moment_t now);

#endif
