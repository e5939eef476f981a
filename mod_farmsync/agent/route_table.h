/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The servers of the farm as this agent judges them: what each says of itself (route_record.h), how
 * the backplane hears it, what the operator ordered → state, ramp and number, as the request
 * processes get them. Decisions only: no clock, no network, no lock.
 *
 *   dead      nothing was heard of it for long, or nothing at all
 *   suspect   nothing was heard of it for a moment
 *   starting  it is heard, but says that it hasn't compared its visitors with the others yet, or
 *             hasn't said anything since it was dead: what it said before may have been overtaken.
 *             For requests this is as suspect
 *   draining  by the operator's order, or because it says so itself
 *   ramping   alive; came back not long ago
 *   alive
 *
 * This server has number 0. A number stays a server's as long as it is in the table; it leaves when
 * its record has expired and it isn't heard either, or for another one when the table is full.
 */
#ifndef FS_AGENT_ROUTE_TABLE_H
#define FS_AGENT_ROUTE_TABLE_H

#include "backplane/fs_exchange.h"
#include "route/fs_route_page.h"
#include "route_record.h"

typedef enum fs_routing_state_t {
    FS_ROUTING_DEAD,
    FS_ROUTING_SUSPECT,
    FS_ROUTING_STARTING,
    FS_ROUTING_DRAINING,
    FS_ROUTING_RAMPING,
    FS_ROUTING_ALIVE
} fs_routing_state_t;
const char *fs_routing_state_name(fs_routing_state_t state);

typedef struct fs_routing_server_t {
    char name[FS_ROUTE_NAME_SIZE]; /* "": this number is free */
    fs_routing_record_t said;
    int has_said;
    uint64_t life; /* of the agent that said it: its record's stamp */
    uint64_t statuses;
    fs_usec_t told; /* mono: when the last status came */
    double rate;    /* visitors that came to it, a second, as of its last statuses */

    fs_peer_state_t peer;
    fs_usec_t heard; /* mono; 0 never */
    char agent[FS_PEER_URL_SIZE];
    int was_dead; /* and has said nothing since */

    int ordered; /* it is to be empty */
    fs_routing_order_t order;

    fs_routing_state_t state;
    double ramp;
} fs_routing_server_t;

typedef struct fs_routing_table_t {
    fs_routing_server_t servers[FS_ROUTE_SERVERS];
    uint32_t count;       /* highest number + 1 */
    fs_usec_t awake;      /* mono: since when this process runs without standing still */
    fs_usec_t believe;    /* mono: until then, who wasn't heard since counts as what it said */
    unsigned passed_over; /* servers for which there was no room */
} fs_routing_table_t;

/* Who isn't heard yet after a start of this agent is believed for so long, or for as long as it
 * stood still: it heard nobody then, and that says nothing about them. */
#define FS_ROUTING_PATIENCE (5 * FS_USEC_PER_SEC)

/* NULL when memory is short. free() it. */
fs_routing_table_t *fs_routing_table_create(const char *own, fs_usec_t mono);
/* This process stood still for `span`, until now. */
void fs_routing_table_wake(fs_routing_table_t *table, fs_usec_t mono, fs_usec_t span);
/* NULL if it isn't in the table. */
fs_routing_server_t *fs_routing_table_find(fs_routing_table_t *table, const char *name);

/*
 * A server said this (`life`: its agent's generation). `news` 0: it was restored from disk, which
 * is no sign of life. Returns its entry; NULL: there are too many servers.
 */
fs_routing_server_t *fs_routing_table_say(fs_routing_table_t *table, const char *name,
                                          const fs_routing_record_t *said, uint64_t life, int news,
                                          fs_usec_t mono);
/* What it said has expired. */
void fs_routing_table_forget(fs_routing_table_t *table, const char *name);
/* The operator's order; NULL: there is none any more. As fs_routing_table_say. */
fs_routing_server_t *fs_routing_table_order(fs_routing_table_t *table, const char *name,
                                            const fs_routing_order_t *order);
/* How the backplane hears a server. */
void fs_routing_table_hear(fs_routing_table_t *table, const char *name, const char *agent,
                           fs_peer_state_t state, fs_usec_t heard);

/*
 * Judges all as of now and removes who is gone. `span`: of a ramp. `old`, unless NULL, gets the
 * states before: FS_ROUTE_SERVERS of them. Returns 1 if a state, or who there is, has changed.
 */
int fs_routing_table_judge(fs_routing_table_t *table, fs_usec_t mono, fs_usec_t farm,
                           fs_usec_t span, fs_routing_state_t *old);

/* Visitors who presumably came to the others since their last statuses. */
double fs_routing_table_coming(const fs_routing_table_t *table, fs_usec_t mono);
/* The table as the request processes get it; `entries` has room for table->count. */
void fs_routing_table_entries(const fs_routing_table_t *table, fs_route_entry_t *entries);

/*
 * The line that HAProxy's agent-check gets of server 0, with its line feed: how much room it has
 * left, by its ramp, and what state it is in. `maint`: its operator took everything on it down.
 */
#define FS_ROUTING_LINE_SIZE 64
void fs_routing_check_line(const fs_routing_server_t *own, int maint, uint64_t primaries,
                           char line[FS_ROUTING_LINE_SIZE]);

#endif
