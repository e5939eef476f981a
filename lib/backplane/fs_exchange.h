/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is to be told what now: the exchange of the replicated map between the servers of a farm, as
 * a state machine. It reads no clock, opens no connection and starts no thread: whoever drives it
 * hands in time and messages, and gets messages to send. So a test can run a hundred servers of it
 * for days, with loss, delay, duplication, cuts, restarts and wrong clocks, in a second.
 *
 * All messages are a request and its answer.
 *
 *   PUSH      records that this server has put, to every known peer at once. Each peer has a place
 * in this server's own log, one a priority; what it has not confirmed stays before that place,
 * however long it is away and however often a record changes meanwhile: the queue of a peer is
 * never longer than the log, which is never longer than the map. Operators' records go in a lane of
 * their own, so that they wait for nothing. COMPARE   digests of the 256 buckets; answered with
 * what is in those that differ. Both sides then bring the other what it lacks (PUSH, FETCH), until
 * there is no difference. Periodically, one peer after the other; and soon, when something was
 * learned from somebody else than its author, when another server says that it can't reach a peer,
 * and when a message's digest of the whole shows a difference for a while. FETCH     records by
 * their hashes. PING      says that this server is here, and what its digest is, if nothing else
 * was said.
 *
 * Each message carries who sends it and to whom, the sender's generation and a sequence number
 * (replays are refused, as is what an earlier generation said), its hybrid clock and its plain
 * clock (refused if more than five minutes off), whether it is itself up to date, the digest of its
 * whole state, and the names of those that it can't reach. Transport proves that it comes from the
 * farm.
 *
 * A server that starts compares with several others ("syncing") before it says that it is up to
 * date; an answer of one that isn't either is "partial" and counts only if nobody better answers.
 * Each server judges for itself who lives: alive, suspect, dead, by when it heard of him. A
 * restarted server has a new generation; if the others know a higher one already (its state was
 * lost, or its clock is behind), it takes one above that.
 *
 * One thread at a time.
 */
#ifndef FS_EXCHANGE_H
#define FS_EXCHANGE_H

#include "backplane/fs_backplane.h"

#define FS_MESSAGE_LIMIT     (64u * 1024)
#define FS_EXCHANGE_PEERS    512 /* that are kept, dead ones included */
#define FS_PEER_URL_SIZE     288
#define FS_UNREACHABLE_LIMIT 16 /* names in a message */

typedef struct fs_exchange_t fs_exchange_t;

/* Times in microseconds; 0 takes the default. */
typedef struct fs_exchange_settings_t {
    const char *name; /* of this server */
    const char *url;  /* where the others reach it; tells one's own address among the peers */
    uint64_t generation;
    uint64_t seed;       /* of the spreading in time */
    fs_usec_t beat;      /* a peer that was told nothing for so long is sent a PING: 1 s */
    fs_usec_t compare;   /* between two COMPAREs that nothing asked for: 5 s */
    fs_usec_t suspect;   /* silent for so long: 3 s */
    fs_usec_t dead;      /* ... 10 s */
    fs_usec_t forget;    /* dead and not configured for so long: no longer a peer: 1 day */
    fs_usec_t timeout;   /* of a request: 1 s */
    fs_usec_t patience;  /* a start waits for its first answer: 5 s */
    unsigned references; /* that a start asks: 3 */
    unsigned rate;       /* messages a second that are taken from one peer: 500 */
} fs_exchange_settings_t;

/* The map stays the caller's, and is changed only by way of the exchange or with `fs_exchange_put`.
 */
fs_exchange_t *fs_exchange_create(const fs_exchange_settings_t *settings, fs_map_t *map);
void fs_exchange_destroy(fs_exchange_t *exchange);
/* Where the others reach this server, if that is known only now. */
void fs_exchange_set_url(fs_exchange_t *exchange, const char *url);

/* --- time ------------------------------------------------------------------------------------- */

/* What is now: mono counts spans, farm stamps. */
typedef struct fs_moment_t {
    fs_usec_t mono;
    fs_usec_t farm;
} fs_moment_t;

/* --- peers ------------------------------------------------------------------------------------ */

typedef enum fs_peer_state_t {
    FS_PEER_UNKNOWN, /* not heard of yet */
    FS_PEER_ALIVE,
    FS_PEER_SUSPECT,
    FS_PEER_DEAD
} fs_peer_state_t;

/*
 * A peer by address (its name is learned when it answers) or by name and address. `configured`: it
 * is never forgotten. One's own address or name is passed over. Errors: FS1472 too many peers.
 */
apr_status_t fs_exchange_add_peer(fs_exchange_t *exchange, const char *name, const char *url,
                                  int configured, fs_result_t *result);

/* Why messages were refused; also of single records in them. */
typedef enum fs_refused_t {
    FS_REFUSED_MALFORMED, /* cut, of another version, or no message at all */
    FS_REFUSED_OVERSIZED,
    FS_REFUSED_FOREIGN, /* signature wrong or of another farm; sender isn't who signed; not for us
                         */
    FS_REFUSED_RETIRED, /* signed with a key that is no longer in the key file */
    FS_REFUSED_REPLAYED,
    FS_REFUSED_GENERATION, /* of an earlier life of the sender */
    FS_REFUSED_FUTURE,     /* its clock, or a record's stamp, is more than 5 minutes ahead */
    FS_REFUSED_PAST,       /* its clock is more than 5 minutes behind */
    FS_REFUSED_RATE,
    FS_REFUSED_FULL, /* a record for which there is no room */
    FS_REFUSED_CAUSES
} fs_refused_t;
const char *fs_refused_name(fs_refused_t cause); /* "malformed", ... */

typedef struct fs_peer_info_t {
    char name[FS_MEMBER_SIZE]; /* "" not known yet */
    char url[FS_PEER_URL_SIZE];
    fs_peer_state_t state;
    uint64_t generation;
    fs_usec_t heard;   /* mono; 0 never */
    fs_usec_t same_at; /* mono: when the digests were last known to be equal; 0 never */
    int same;          /* digest equal, as far as is known */
    int partial;       /* it says that it isn't up to date */
    int configured;
    fs_usec_t skew;          /* its clock minus ours, as of its last message */
    unsigned waiting;        /* own records that it has not confirmed */
    unsigned failures;       /* in a row */
    char problem[128];       /* why the last request failed; "" it didn't */
    uint64_t sent, received; /* messages */
} fs_peer_info_t;

/* Peers stand at places from 0 on, in no order; some places are this server itself, or another
 * address of one that stands elsewhere. Both return 1, or 0 if no other server is meant. */
unsigned fs_exchange_peer_count(const fs_exchange_t *exchange);
int fs_exchange_peer(const fs_exchange_t *exchange, unsigned index, fs_moment_t now,
                     fs_peer_info_t *info);
int fs_exchange_find_peer(const fs_exchange_t *exchange, const char *name, fs_moment_t now,
                          fs_peer_info_t *info);

typedef enum fs_exchange_state_t {
    FS_EXCHANGE_SYNCING, /* started, and not up to date as far as is known */
    FS_EXCHANGE_READY,
    FS_EXCHANGE_ALONE /* nobody answered: works on with what it has */
} fs_exchange_state_t;

typedef struct fs_exchange_info_t {
    fs_exchange_state_t state;
    uint64_t generation;
    uint64_t refused[FS_REFUSED_CAUSES];
    uint64_t taken;            /* records that others brought */
    uint64_t compared;         /* COMPAREs that found a difference */
    unsigned held;             /* records */
    unsigned others_with_name; /* times that somebody else with this server's name was met */
} fs_exchange_info_t;
void fs_exchange_info(const fs_exchange_t *exchange, fs_exchange_info_t *info);
/* A message was refused before it came here (signature, size). `peer` may be "". */
void fs_exchange_refused(fs_exchange_t *exchange, fs_refused_t cause, const char *peer);

/* --- changes of this server's own ------------------------------------------------------------- */

/* As fs_map_put and fs_map_remove (`value` NULL); goes out at once with the next fs_exchange_next.
 */
apr_status_t fs_exchange_put(fs_exchange_t *exchange, fs_moment_t now, const char *kind,
                             const char *key, const void *value, size_t length,
                             fs_priority_t priority, fs_usec_t expires, fs_result_t *result);
/*
 * Whether `peer` (its index) has confirmed everything of `priority` that this server had put when
 * `place` was taken.
 */
uint64_t fs_exchange_place(const fs_exchange_t *exchange, fs_priority_t priority);
int fs_exchange_has_confirmed(const fs_exchange_t *exchange, unsigned peer, fs_priority_t priority,
                              uint64_t place);

/* --- driving it ------------------------------------------------------------------------------- */

/* A request to be sent. `id` names it when it is over. */
typedef struct fs_request_t {
    uint64_t id;
    char url[FS_PEER_URL_SIZE];
    char name[FS_MEMBER_SIZE]; /* "" not known */
    fs_usec_t timeout;
    size_t length;
    uint8_t bytes[FS_MESSAGE_LIMIT];
} fs_request_t;

/*
 * The next request that is to be sent now; 0 if there is none. Call it until it gives none: after
 * each change, each message, and when fs_exchange_due says.
 */
int fs_exchange_next(fs_exchange_t *exchange, fs_moment_t now, fs_request_t *request);
/* Mono time at which to call it again if nothing happens before. */
fs_usec_t fs_exchange_due(const fs_exchange_t *exchange, fs_moment_t now);
/* The answer to a request came. */
void fs_exchange_answered(fs_exchange_t *exchange, fs_moment_t now, uint64_t id, const void *bytes,
                          size_t length);
/* None came. `why` for people. */
void fs_exchange_failed(fs_exchange_t *exchange, fs_moment_t now, uint64_t id, const char *why);
/*
 * A request of somebody's came; `signer` is who signed it ("" where nothing is signed). Writes the
 * answer to `out`; returns its length, 0 if the request is refused without a word (fs_refused_t in
 * *cause).
 */
size_t fs_exchange_serve(fs_exchange_t *exchange, fs_moment_t now, const char *signer,
                         const void *bytes, size_t length, uint8_t out[FS_MESSAGE_LIMIT],
                         fs_refused_t *cause);

/* --- the snapshot ----------------------------------------------------------------------------- */

/*
 * Everything that outlives the process, in malloc'ed bytes: records, peers with their generations
 * and sequences, clock, generation; with a checksum. NULL when memory is short.
 */
uint8_t *fs_exchange_save(const fs_exchange_t *exchange, fs_moment_t now, size_t *length);
/*
 * Takes a snapshot into an exchange that is new: whatever is older than the longest outage allows
 * is held. Errors: FS1473 damaged or of another version; then nothing was taken.
 */
apr_status_t fs_exchange_load(fs_exchange_t *exchange, fs_moment_t now, const void *bytes,
                              size_t length, fs_result_t *result);
/* The generation that a start is to have: above the snapshot's, and not below the clock,
 * so that two servers that were given the same name differ.
 */
uint64_t fs_exchange_generation(const void *bytes, size_t length, fs_usec_t now);

#endif
