/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent's part in sessions: what its files share. doc/sessions.md explains the whole.
 *
 *   keeper     looks what has changed (bell), seals it, queues it; timers     session.c
 *   per bank server:
 *     sender   sends batches of changed sessions, merges what comes back      session_send.c
 *     asker    renews the lease, takes, compares                              session_ask.c
 *   alternates carries sessions to the alternates of their visitors           session_alternate.c
 *   workers    whatever waits for other hosts or for requests, some threads   session_work.c
 *   listeners' loop: handlers only look, queue and answer                     session_listen.c, ...
 *
 * So a bank server that is slow or stands still delays nothing but itself.
 *
 * One lock for all that is in memory; it is never held across network, LMDB or libcrypto. Times are
 * fs_session_trust_clock (CLOCK_BOOTTIME) unless they say farm.
 */
#ifndef FS_AGENT_SESSION_H
#define FS_AGENT_SESSION_H

#include "agent.h"
#include "net/fs_http_server.h"
#include "session/fs_session_ask.h"
#include "session/fs_session_bank.h"
#include "session/fs_session_batch.h"
#include "session/fs_session_bell.h"
#include "session/fs_session_lease.h"
#include "session/fs_session_store.h"
#include "session/fs_session_take.h"
#include "session/fs_session_turn.h"
#include "session_ahead.h"
#include "session_bases.h"
#include "session_flight.h"
#include "session_pace.h"
#include "session_release.h"
#include "session_unknown.h"

#define FS_SESSION_ASK_BATCH   512 /* sessions in one question to a bank server */
#define FS_SESSION_WALK_BATCH  1024
#define FS_SESSION_FLIGHTS     4096 /* sessions on their way at once */
#define FS_SESSION_FLIGHT_SIZE (64u << 20)
#define FS_SESSION_WORKERS     16
/* A bank server that is missing for less than this may be restarting: its sessions aren't copied to
 * the next in rank yet. What changes is, at once. */
#define FS_SESSION_GRACE (2 * FS_USEC_PER_SEC)

typedef struct fs_sessions_t fs_sessions_t;
typedef struct fs_fetch_t fs_fetch_t;

/* A question about one session to one bank server (take). */
typedef struct fs_ask_t {
    STAILQ_ENTRY(fs_ask_t) link;
    fs_fetch_t *fetch; /* referenced */
    unsigned round;    /* of the fetch: answers of an older one don't count */
    int has_version, wanted;
    fs_session_stamp_t version;
    char from[FS_SESSION_NAME_SIZE];
} fs_ask_t;

/* Sessions that are compared with the bank at once; see session_compare.c. */
typedef struct fs_compare_t fs_compare_t;

typedef struct fs_bank_server_t {
    fs_sessions_t *sessions;
    unsigned index;
    const fs_agent_bank_server_t *config;
    pthread_t sender, asker;
    int running; /* both threads were started and aren't joined: bits 1 sender, 2 asker */
    fs_http_client_t *send_http, *ask_http;
    pthread_cond_t send_due, ask_due;

    /* sessions->lock */
    int drained;       /* by the operator: nothing new goes there */
    unsigned failures; /* renewals in a row that weren't answered */
    fs_usec_t renewed; /* when the last renewal was sent */
    fs_usec_t heard;   /* when it answered last; 0 never */
    fs_usec_t missing; /* since when it isn't up; 0: it is */
    int known;         /* it has answered: instance and boot count */
    uint64_t instance, boot, mark;
    int in_sync, full;
    uint64_t pass_wanted;   /* boot for which it wants a pass; 0: none */
    uint64_t pass_done;     /* boot for which it is done: said with each renewal */
    uint64_t pass_sequence; /* of the answer before the pass began */
    uint64_t pass_walk;     /* the walk that must be complete for that */
    STAILQ_HEAD(, fs_ask_t) asks;
    fs_compare_t *compare; /* to be asked of this server */
    uint64_t confirmed, refused, merged;
    fs_trouble_t trouble; /* asker's thread; `now` under the lock */
    fs_log_gate_t gate;   /* sender's thread */
} fs_bank_server_t;

/* Something for a worker. */
typedef struct fs_work_t {
    STAILQ_ENTRY(fs_work_t) link;
    void (*run)(fs_sessions_t *sessions, struct fs_work_t *work, fs_http_client_t *http,
                apr_pool_t *pool);
} fs_work_t;

typedef struct fs_session_worker_t {
    fs_sessions_t *sessions;
    pthread_t thread;
    fs_http_client_t *http;
} fs_session_worker_t;

/* A session that waits for being forgotten here, as another host has it. */
typedef struct fs_leaving_t {
    STAILQ_ENTRY(fs_leaving_t) link;
    fs_session_key_t key;
    fs_usec_t at;
} fs_leaving_t;

struct fs_sessions_t {
    fs_agent_t *agent;
    const fs_agent_sessions_t *config;
    char dir[4096];
    fs_session_store_t *store;
    fs_session_turns_t *turns;
    fs_session_bell_t *bell;
    fs_session_trust_t *trust;
    fs_session_bank_t *bank;
    unsigned count; /* of bank servers */
    fs_bank_server_t servers[FS_AGENT_BANK_MAX];
    fs_usec_t started;
    pthread_t keeper;
    int keeper_runs;
    fs_session_held_t *held; /* NULL: routing is off */
    fs_alternates_t *alternates;
    fs_pace_t pace;   /* keeper's */
    unsigned resting; /* that it met last time; keeper's */

    pthread_mutex_t lock; /* all below */
    fs_session_vouching_t vouching;
    uint8_t up[FS_AGENT_BANK_MAX];     /* answers, and isn't drained: where changes go */
    uint8_t chosen[FS_AGENT_BANK_MAX]; /* up, or missing for a moment: where sessions belong */
    int retarget; /* these have changed: what is on its way is to be looked at again */
    fs_flights_t flights;
    fs_bases_t *bases;
    fs_unknown_t unknown;
    fs_releases_t releases;
    fs_disclaimed_t disclaimed;
    fs_key_table_t fetches;
    fs_usec_t fetch_at; /* when the soonest of them wants to be looked at; INT64_MAX none */
    STAILQ_HEAD(, fs_leaving_t) leaving;
    struct fs_ack_t *acks;
    fs_ahead_counts_t ahead;
    LIST_HEAD(, fs_asked_peer_t) peers;
    LIST_HEAD(, fs_other_t) others;
    int others_missing; /* no bank server answers, and some of the others don't, either */
    int alone_ordered;  /* an operator says that nobody has the bank; until a server answers */

    /* The walk over all sessions; session_compare.c. */
    uint64_t walk;        /* number of the one that runs or was the last */
    uint64_t walk_done;   /* number of the last one that came to its end */
    uint64_t walk_wanted; /* one with this number or a later one is wanted */
    uint64_t walk_generation;
    int walk_all_wanted, walk_all; /* what was compared in this generation, too */
    int walking;
    fs_usec_t walk_again; /* when a missing server counts as gone; 0: none is */
    fs_session_key_t walk_after;
    int walk_begun;
    fs_compare_t *comparing;

    int draining; /* this host: everything is sent at once */

    /* Workers. */
    pthread_mutex_t work_lock;
    pthread_cond_t work_due;
    STAILQ_HEAD(, fs_work_t) work;
    unsigned worker_count, idle_workers;
    unsigned work_count;
    fs_session_worker_t workers[FS_SESSION_WORKERS];
    fs_trouble_t store_trouble; /* keeper's */
};

static inline fs_usec_t fs_session_clock(void)
{
    return fs_session_trust_clock();
}

/* --- session.c -------------------------------------------------------------------------------- */

apr_status_t fs_sessions_open(fs_agent_t *agent, fs_result_t *result);
apr_status_t fs_sessions_start(fs_agent_t *agent, fs_result_t *result);
void fs_sessions_wake(fs_agent_t *agent);
int fs_sessions_join(fs_agent_t *agent);
/* Farm time now; the wall clock while that isn't known. */
fs_usec_t fs_sessions_farm(const fs_sessions_t *sessions);
/* Makes the keeper look now. Any thread. */
void fs_sessions_nudge(fs_sessions_t *sessions);

/* --- session_up.c: which bank servers count ----------------------------------------------------
 */

/* The lock is held. A renewal is sent, is answered, or failed (`refused`: when it was sent, if
 * nobody listened there, else 0); drained is another. Publishes. */
void fs_up_sent(fs_sessions_t *sessions, unsigned server, fs_usec_t now);
void fs_up_answered(fs_sessions_t *sessions, unsigned server, fs_usec_t sent);
void fs_up_failed(fs_sessions_t *sessions, unsigned server, fs_usec_t refused);
void fs_up_step(fs_sessions_t *sessions);
/* The servers that a change goes to; and those that a session belongs to. The lock is held. */
unsigned fs_up_targets(fs_sessions_t *sessions, const fs_session_key_t *key, unsigned *servers);
unsigned fs_up_places(fs_sessions_t *sessions, const fs_session_key_t *key, unsigned *servers);

/* --- session_copy.c: what is sent --------------------------------------------------------------
 */

/* Seals a session as it is now. APR_NOTFOUND: it isn't here. No lock. */
apr_status_t fs_copy_read(fs_sessions_t *sessions, const fs_session_key_t *key, apr_pool_t *pool,
                          fs_sealed_t **sealed, fs_session_note_t *note, fs_result_t *result);
/* The same of what a look at the store shows. */
apr_status_t fs_copy_seal(fs_sessions_t *sessions, const fs_session_key_t *key,
                          const fs_session_note_t *note, const void *bytes, size_t length,
                          apr_pool_t *pool, fs_sealed_t **sealed, fs_result_t *result);
/* Sends a copy (taken over) to whom it goes. The lock is held. */
void fs_copy_send(fs_sessions_t *sessions, fs_sealed_t *sealed, int urgent);
/* Sends a copy (taken over) to `server`, behind what is urgent. The lock is held. */
void fs_copy_send_low(fs_sessions_t *sessions, fs_sealed_t *sealed, unsigned server);
/* Sends a session as it is now; for whoever has just changed it. No lock. */
void fs_copy_send_now(fs_sessions_t *sessions, const fs_session_key_t *key, int urgent,
                      apr_pool_t *pool);
/* Opens a copy from elsewhere with its session's seal key. */
apr_status_t fs_copy_open(const fs_session_item_t *item, const uint8_t *seal, apr_pool_t *pool,
                          fs_session_record_t *record, fs_result_t *result);
/* Flights that came to their end, of which the store isn't told yet. */
typedef struct fs_settled_t {
    fs_session_confirmed_t *confirmed; /* there is room for those that may come */
    unsigned count;
} fs_settled_t;
/* A flight may have come to its end: tells whoever waits, and notes it for the store. The lock is
 * held. */
void fs_copy_settle(fs_sessions_t *sessions, fs_flight_t *flight, fs_settled_t *settled);
/* Tells the store of all of them at once; none is left. No lock. */
void fs_copy_settled(fs_sessions_t *sessions, fs_settled_t *settled);
/* Looks at all flights again, as other servers are up now. The lock is held, and released for a
 * while. */
void fs_copy_retarget(fs_sessions_t *sessions);

/* --- session_collect.c: what has changed ------------------------------------------------------ */

/* Queues what has changed; returns when to look again at the latest. Keeper's. */
fs_usec_t fs_copy_collect(fs_sessions_t *sessions, apr_pool_t *pool);

/* --- session_leave.c: what another host has --------------------------------------------------- */

/* It is forgotten a little later. The lock is held. */
void fs_copy_leaves(fs_sessions_t *sessions, const fs_session_key_t *key);
/* It was released just now: the bank is told, and it is forgotten when all is safe. No lock. */
void fs_copy_released(fs_sessions_t *sessions, const fs_session_key_t *key, apr_pool_t *pool);
/* Lets a session go that was of this version when another host was found to have it: unless it has
 * changed, or come back, since. Returns whether it is let go. No lock. */
int fs_copy_let_go(fs_sessions_t *sessions, const fs_session_key_t *key, const char *owner,
                   const fs_session_stamp_t *version, apr_pool_t *pool);
/* Lets a session go to a host that wants it, and tells the bank. No lock. */
void fs_copy_yield(fs_sessions_t *sessions, const fs_session_key_t *key, const char *owner,
                   apr_pool_t *pool);
/* Forgets what another host has, when it is safe. Keeper's. */
void fs_copy_forget_leaving(fs_sessions_t *sessions);

void *fs_send_run(void *server);
void *fs_ask_run(void *server);
/* The lock is held. */
void fs_send_wake(fs_bank_server_t *server);
void fs_ask_wake(fs_bank_server_t *server);

/* --- session_fetch.c ---------------------------------------------------------------------------
 */

/* A request waits: `call` is answered within `wait`. Loop's thread. */
void fs_fetch_request(fs_sessions_t *sessions, fs_http_call_t *call, const fs_session_key_t *key,
                      const uint8_t *seal, fs_usec_t wait);
/* The same for the agent itself; nobody is told. */
void fs_fetch_quietly(fs_sessions_t *sessions, const fs_session_key_t *key, const uint8_t *seal);
/* What a bank server said; `item` NULL: nothing; `aside` NULL: there is no second copy. The lock is
 * held. Drops the ask. */
void fs_fetch_heard(fs_sessions_t *sessions, unsigned server, fs_ask_t *ask,
                    const fs_session_batch_t *head, const fs_session_item_t *item,
                    const fs_session_item_t *aside);
/* Whether the answer is still wanted. The lock is held. */
int fs_fetch_wants(const fs_ask_t *ask);
/* What a host said that was asked to hand over; `item` NULL: nothing. The lock is held. */
void fs_fetch_said(fs_sessions_t *sessions, fs_fetch_t *fetch, unsigned round, const char *peer,
                   const fs_session_item_t *item);
/* The lock is held. */
void fs_fetch_hold(fs_fetch_t *fetch);
void fs_fetch_drop(fs_fetch_t *fetch);
const fs_session_key_t *fs_fetch_key(const fs_fetch_t *fetch);
/* Of what is here, as it was when the round began; 0: nothing is. The lock is held. */
int fs_fetch_version(const fs_fetch_t *fetch, fs_session_stamp_t *version);
/* Whether this host is just taking the session; `rank` then. The lock is held. */
int fs_fetch_is_taking(fs_sessions_t *sessions, const fs_session_key_t *key, unsigned *rank);
/* It is given to another host: what was heard of it is void, and it is asked for anew. Returns 0 if
 * it is too late for that: it is this host's in a moment. The lock is held. */
int fs_fetch_void(fs_sessions_t *sessions, const fs_session_key_t *key);
/* Timers of all fetches. Keeper's. */
fs_usec_t fs_fetch_step_all(fs_sessions_t *sessions);

/* --- session_peer.c: other hosts ---------------------------------------------------------------
 */

unsigned fs_session_handover_ms(const fs_sessions_t *sessions);
/* Asks a host to hand a session over. 0: it didn't answer just now, and isn't asked. The lock is
 * held. */
int fs_peer_ask(fs_sessions_t *sessions, fs_fetch_t *fetch, unsigned round, const char *peer);
/* Whether a host lives, as far as is known, and answered the last question. The lock is held. */
int fs_peer_answers(fs_sessions_t *sessions, const char *name);
/* Names of the hosts that live and can be asked. */
unsigned fs_peer_names(fs_sessions_t *sessions, char (*names)[FS_SESSION_NAME_SIZE], unsigned room);
/* Tells the owner of what was changed here before it was let go. No lock. */
void fs_peer_tell_late(fs_sessions_t *sessions, const fs_session_key_t *key, const char *owner);

/* --- session_others.c: is only the bank away? ---------------------------------------------------
 */

/* Notes how the others are as long as no bank server answers. The lock is held. */
void fs_others_look(fs_sessions_t *sessions, fs_usec_t now);
/* Asks all hosts whether they have the bank, if no bank server answers. Keeper's; the lock is held.
 */
void fs_others_ask(fs_sessions_t *sessions);
/* An operator says that no other host has the bank. Refused if one, or a bank server, answers and
 * says otherwise: FS1376. No lock. */
apr_status_t fs_others_order_alone(fs_sessions_t *sessions, fs_result_t *result);

/* --- session_owner.c: asked by other hosts ------------------------------------------------------
 */

void fs_owner_handover(void *agent, fs_http_call_t *call);
void fs_owner_late(void *agent, fs_http_call_t *call);

/* --- session_ack.c ------------------------------------------------------------------------------
 */

void fs_ack_request(fs_sessions_t *sessions, fs_http_call_t *call, const fs_session_key_t *key,
                    const fs_session_stamp_t *version, unsigned copies, fs_usec_t wait);
/* Something was confirmed, or others are up. The lock is held. */
void fs_ack_look(fs_sessions_t *sessions, const fs_session_key_t *key);
/* Its alternate has this version. The lock is held. */
void fs_ack_carried(fs_sessions_t *sessions, const fs_session_key_t *key,
                    const fs_session_stamp_t *version);
/* Deadlines. Keeper's; the lock is held. Returns the next one. */
fs_usec_t fs_ack_step(fs_sessions_t *sessions, fs_usec_t now);

/* --- session_compare.c --------------------------------------------------------------------------
 */

/* Sessions are to be compared with the bank: those that weren't in this generation, and with
 * servers that want a pass; `all`: all, as they belong elsewhere now. The lock is held. */
void fs_compare_want(fs_sessions_t *sessions, int all);
/* Goes on with the walk. Keeper's. Returns when to call it again. */
fs_usec_t fs_compare_step(fs_sessions_t *sessions, apr_pool_t *pool);
/* Writes what this server is asked into a batch; what it said. Asker's. */
apr_status_t fs_compare_write(fs_compare_t *compare, unsigned server,
                              fs_session_batch_writer_t *writer, fs_result_t *result);
void fs_compare_heard(fs_sessions_t *sessions, fs_compare_t *compare, unsigned server,
                      fs_session_batch_reader_t *reader); /* NULL: no answer */

/* --- session_work.c -----------------------------------------------------------------------------
 */

/* Has a worker do it soon. Any thread. */
void fs_work_add(fs_sessions_t *sessions, fs_work_t *work);
void fs_work_wake(fs_sessions_t *sessions);
int fs_work_join(fs_sessions_t *sessions);

/* --- session_listen.c ---------------------------------------------------------------------------
 */

/* The agents' routes of sessions. */
apr_status_t fs_session_listen_open(fs_sessions_t *sessions, fs_result_t *result);

/* --- an exchange --------------------------------------------------------------------------------
 */

/* POSTs a batch and reads the answer, whose bytes are answer->body. Any thread, one per client. */
apr_status_t fs_session_exchange(fs_http_client_t *http, const char *base_url, const char *path,
                                 const fs_session_batch_writer_t *writer,
                                 fs_session_batch_kind_t kind, unsigned timeout_ms,
                                 fs_http_answer_t *answer, fs_session_batch_reader_t *reader,
                                 fs_result_t *result);

#endif
