/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A simulated clock and network for who owns a session: three hosts, three bank servers, one
 * session and its visitors. What decides is what the product decides with; the rest is as simple as
 * can be. test_session_ownership.c says what is promised.
 *
 * One world at a time, begun by sim_begin from sim.run, its seed. It is used like this: sim_tick
 * again and again; sim_harm and sim_visit in between.
 */
#ifndef SESSION_SIM_H
#define SESSION_SIM_H

#include "fs_test.h"
#include "fs_test_session.h"
#include "session/fs_session_lease.h"
#include "session/fs_session_resync.h"
#include "session/fs_session_take.h"

#define HOSTS   3
#define SERVERS 3
#define NODES   (HOSTS + SERVERS)
#define COPIES  2

#define MS      FS_USEC_PER_MSEC
#define TICK    (10 * MS)
#define LEASE   (300 * MS)
#define TIMEOUT (500 * MS)
#define CHAOS   (2500 * MS)
#define LONGEST 5   /* ticks that a message travels */
#define RING    8   /* more than that */
#define LINE    128 /* messages that arrive in one tick */
#define CHANGES 256
#define GATHER  24

/* Check's own assertions write to a file each time: too slow for millions. */
#define PROMISE(condition, ...)                                                                    \
    do {                                                                                           \
        if (!(condition))                                                                          \
            ck_abort_msg(__VA_ARGS__);                                                             \
    } while (0)

typedef const fs_session_record_t copy_t;

typedef enum kind_t {
    TAKE,
    TAKEN,
    OFFER,
    OFFERED,
    RENEW,
    RENEWED,
    CHECK,
    CHECKED,
    HAND,
    HANDED,
    LATE,
    HELLO,
    PULL,
    PULLED
} kind_t;

typedef struct message_t {
    kind_t kind;
    unsigned from, to;
    unsigned round;
    int what, flag, has_base;
    fs_usec_t time, left;
    fs_session_stamp_t base;
    uint64_t generation;
    fs_session_hold_t hold;
    char name[FS_SESSION_NAME_SIZE];
    copy_t *copy, *aside;
} message_t;

typedef struct host_t {
    uint64_t writer;
    int lives;
    /* The store: one session. */
    copy_t *own; /* NULL: it isn't here */
    char released[FS_SESSION_NAME_SIZE];
    uint64_t checked;
    /* What the servers are known to hold of it. */
    int known[SERVERS], told[SERVERS]; /* told: the present owner and version */
    fs_session_stamp_t base[SERVERS];
    fs_usec_t offered[SERVERS];
    /* The trust page and the leases. */
    fs_session_vouching_t vouching;
    fs_usec_t renewed[SERVERS];
    fs_usec_t pass[SERVERS]; /* that a server wants: its time when it said so; 0: none */
    /* Comparing. */
    uint64_t comparing;
    unsigned compared; /* servers, as bits, that have not answered */
    fs_usec_t compared_at;
    /* Taking. */
    int taking, again;
    unsigned round, candidate_count, peer_count, copy_count;
    unsigned servers[SERVERS];
    fs_session_candidate_t candidates[SERVERS];
    fs_session_peer_t peers[HOSTS];
    int asked_all;
    fs_usec_t deadline, asked;
    uint64_t taking_generation;
    fs_session_next_t next;
    copy_t *copies[GATHER];
    unsigned copy_from[GATHER];
    unsigned visitors;          /* that wait for it */
    fs_usec_t told_none[HOSTS]; /* when it told them last that it has nothing */
} host_t;

typedef struct server_t {
    fs_session_hold_t hold;
    copy_t *copy, *aside;
    fs_session_hold_t old_hold; /* of some time ago */
    copy_t *old_copy, *old_aside;
    fs_usec_t started;
    fs_session_lease_t leases[HOSTS];
    fs_session_resync_t resync;
    fs_usec_t greeted;
    char wanted[FS_SESSION_NAME_SIZE];
} server_t;

/* What a request changed. */
typedef struct made_t {
    unsigned host;
    int life;
    int confirmed;
    int seen; /* by its owner: what a host that was fenced brings late, the owner gets to know later
               */
} made_t;

typedef struct world_t {
    uint64_t seed;
    fs_usec_t now;
    uint32_t loss; /* of 1000 messages */
    int lossy, partitions, may_pause, may_die, servers_fail;
    int blocked[NODES][NODES];
    fs_usec_t paused[NODES]; /* until */
    fs_usec_t dead[NODES];
    int life[HOSTS];
    host_t hosts[HOSTS];
    server_t servers[SERVERS];
    message_t ring[RING][LINE];
    unsigned ring_count[RING];
    made_t made[CHANGES];
    unsigned made_count;
    int ended, ended_by, ended_life, ended_confirmed, ended_seen;
    unsigned given_up;
} world_t;

typedef struct sim_t {
    apr_pool_t *pool; /* cleared after each run */
    fs_session_bank_t *bank;
    fs_session_key_t key;
    unsigned run;
    int told;                                            /* sim_say prints */
    unsigned served, confirmed, handed, adopted, let_go; /* in all runs */
} sim_t;

extern const char *const sim_names[NODES];
extern sim_t sim;
extern world_t world;

/* --- the world (session_sim.c) -------------------------------------------------------------------
 */

void sim_begin(void);
void sim_tick(void);
/* A fault, by chance; and the end of all of them. */
void sim_harm(void);
void sim_heal(void);

int sim_is_well(unsigned node);
unsigned sim_node_of(const char *name);
message_t sim_message(kind_t kind, unsigned from, unsigned to);
void sim_send(message_t *message);
fs_session_writer_t sim_writer(unsigned host);
copy_t *sim_keep(const fs_session_record_t *record);
copy_t *sim_merge(unsigned host, copy_t *a, copy_t *b);
int sim_contains(copy_t *record, unsigned change);
/* k bank servers have it: it must never be lost. */
void sim_note_confirmed(copy_t *record, int by_owner);
void sim_check_served(unsigned host, copy_t *record);
/* For who looks for the cause of a failure. */
const char *sim_stamp(const fs_session_stamp_t *stamp);
__attribute__((format(printf, 1, 2))) void sim_say(const char *format, ...);

/* --- bank servers (session_sim_server.c) ---------------------------------------------------------
 */

void sim_begin_server(server_t *server);
void sim_tell_server(unsigned self, const message_t *message);
void sim_step_server(unsigned self);

/* --- hosts (session_sim_host.c) ------------------------------------------------------------------
 */

void sim_begin_host(unsigned self);
void sim_tell_host(unsigned self, const message_t *message);
void sim_step_host(unsigned self);
/* A request comes. */
void sim_visit(unsigned self);

int sim_allows(const host_t *host);
void sim_now_has(host_t *host, copy_t *record);
unsigned sim_targets(const host_t *host, unsigned chosen[SERVERS]);
int sim_in_flight(const host_t *host, unsigned server);
void sim_serve(unsigned self);

/* --- taking (session_sim_take.c) -----------------------------------------------------------------
 */

void sim_take(unsigned self);
void sim_step_taking(unsigned self);
void sim_hear_taken(unsigned self, const message_t *answer);
void sim_hear_handed(unsigned self, const message_t *answer);

#endif
