/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which server is home to a visitor, and which one stands by for it: arithmetic on a table of
 * servers, without a clock, a network or a lock. farmsync-sim runs the same code under a simulated
 * farm.
 *
 * What counts is a server's ratio: visitors it is home to (primaries), divided by how many it can
 * be home to (capacity). A server knows its own number exactly and those of the others as of their
 * last status; what it has sent to somebody since then it counts itself (`sent`), so that it
 * doesn't send everybody to the one that was lowest a second ago.
 *
 * - A new visitor stays where it arrived if that server is willing: below `slack` times the farm's
 *   mean ratio, and not busy. Else it is bounced to the server with the lowest ratio, at most
 *   `bounces` times; who gets it with no bounce left keeps it.
 * - The alternate is the server that would have the lowest ratio if it had to take over all of this
 *   server's visitors that it stands by for (`given`). So those of a server that dies spread over
 *   the others in proportion to the room that they have.
 *
 * A table belongs to one thread at a time. Functions allocate nothing.
 */
#ifndef FS_ROUTE_H
#define FS_ROUTE_H

#include <stdint.h>

#define FS_ROUTE_NAME_SIZE 65
#define FS_ROUTE_NOBODY    UINT32_MAX
#define FS_ROUTE_ID_BYTES  12

/* Who a visitor is: random, or made of what he is known by. */
typedef struct fs_route_id_t {
    uint8_t bytes[FS_ROUTE_ID_BYTES];
} fs_route_id_t;

typedef enum fs_route_state_t {
    FS_ROUTE_DEAD = 0, /* not heard of for long: its visitors go to their alternates */
    FS_ROUTE_SUSPECT,  /* not heard of: gets nobody new; its visitors go to their alternates */
    FS_ROUTE_DRAINING, /* by the operator: gets nobody new, its visitors leave as they come */
    FS_ROUTE_ALIVE
} fs_route_state_t;

typedef struct fs_route_server_t {
    uint32_t capacity;  /* visitors; 0: it is nobody's home (a front before the farm) */
    uint32_t rack;      /* number of its rack; 0: none is known */
    uint64_t primaries; /* visitors it is home to, as of its last status */
    uint32_t busy;      /* of its workers, as of its last status */
    uint32_t workers;   /* 0: not known, its busy workers don't count */
    uint8_t state;      /* fs_route_state_t */
    uint8_t shed;       /* eighths of its visitors who go to their alternates, as it has been over
                           its limit for long (fs_route_shed_t) */
    double ramp;        /* 0 < ramp <= 1: share of its capacity that counts for new visitors, so
                           that a server that returned isn't run over */
    uint64_t sent;      /* by this server since then, minus what it took from there */
    uint64_t given;     /* visitors of this server that it stands by for */
} fs_route_server_t;

typedef struct fs_route_settings_t {
    double slack;     /* >= 1; 1.05 */
    double busy;      /* 0 < busy <= 1, share of capacity and of workers; 0.8 */
    unsigned bounces; /* a new visitor, at most; 1 */
    int full_refuses; /* when all are above `busy`: 503 instead of serving */
} fs_route_settings_t;

typedef struct fs_route_table_t {
    fs_route_server_t *servers;
    uint32_t count;
    uint32_t self; /* index of the server whose table this is */
    double coming; /* visitors who presumably came to the others since their last status (their
                      rate before it, by the time since); 0: not known. Else a server that counts
                      itself exactly always finds itself above a mean that is old */
} fs_route_table_t;

typedef enum fs_route_act_t {
    FS_ROUTE_SERVE = 1, /* here: this server is, or becomes, its home */
    FS_ROUTE_SEND,      /* to `server` */
    FS_ROUTE_REFUSE     /* 503: all are full, or nobody is there and this one is nobody's home */
} fs_route_act_t;

typedef struct fs_route_choice_t {
    fs_route_act_t act;
    uint32_t server; /* of FS_ROUTE_SEND */
    int moved;       /* the visitor's home changes, so the cookie and the others must hear of it */
} fs_route_choice_t;

/* What a visitor's cookie says; FS_ROUTE_NOBODY where it says nothing, or a server not known here.
 */
typedef struct fs_route_home_t {
    uint32_t primary;
    uint32_t alternate;
} fs_route_home_t;

/* primaries + sent by capacity; 0 capacity counts as 1. */
double fs_route_ratio(const fs_route_server_t *server);
/* Above `busy` of its capacity or of its workers, or has been for long: nobody new. */
int fs_route_is_busy(const fs_route_server_t *server, double busy);
/* The farm's mean ratio: visitors of all that are not dead, and those that are coming, by capacity.
 */
double fs_route_mean(const fs_route_table_t *table);
/* Whether this server would be home to one more. */
int fs_route_is_willing(const fs_route_table_t *table, const fs_route_settings_t *settings);

/*
 * The server with the lowest ratio that may get a new visitor, but not `but` (or
 * FS_ROUTE_NOBODY). Those that aren't busy come first. Of equal ones the greatest capacity, and of
 * these the one that comes first after `spread`, any number of the visitor's. FS_ROUTE_NOBODY if
 * there is none.
 */
uint32_t fs_route_lowest(const fs_route_table_t *table, const fs_route_settings_t *settings,
                         uint32_t but, uint64_t spread);

/*
 * Where a visitor without a home belongs, who arrived here after `hops` bounces. On
 * FS_ROUTE_SERVE and FS_ROUTE_SEND the numbers in the table are counted already.
 */
fs_route_choice_t fs_route_assign(const fs_route_table_t *table,
                                  const fs_route_settings_t *settings, unsigned hops,
                                  uint64_t spread);

/*
 * Whom this server names as alternate of a visitor that it is home to; counts it in `given`.
 * Another rack if there is one; `but` (or FS_ROUTE_NOBODY), which somebody just found gone, only if
 * there is nobody else. FS_ROUTE_NOBODY: it is alone.
 */
uint32_t fs_route_alternate(const fs_route_table_t *table, const fs_route_settings_t *settings,
                            uint32_t but, uint64_t spread);
/* The visitor left, or has another alternate: takes it out of `given`. */
void fs_route_alternate_gone(const fs_route_table_t *table, uint32_t alternate);

/*
 * Where a request of a visitor with a home belongs, that arrived here after `hops` servers had
 * sent it on. A home that is gone, drained or, for him (`shed`), over its limit is left for the
 * alternate, and if that is gone too the visitor counts as new. A request that has come `hops` >
 * bounces is served here.
 */
fs_route_choice_t fs_route_request(const fs_route_table_t *table,
                                   const fs_route_settings_t *settings, const fs_route_home_t *home,
                                   unsigned hops, uint64_t spread);

/*
 * Weighted round robin over all that may get new visitors, for farms whose balancer sends everybody
 * to one door: smooth, in proportion to capacity. `credit` has a number for each server, all 0 at
 * first, and belongs to the caller. FS_ROUTE_NOBODY if there is none.
 */
uint32_t fs_route_next(const fs_route_table_t *table, double *credit);

/*
 * When a server sheds visitors. A burst of busy workers moves nobody: who is at his limit for
 * FS_ROUTE_SHED_SPAN gives an eighth of his visitors to their alternates, and one eighth more after
 * each further span; who has been below three quarters of the limit for as long, none any more.
 */
typedef struct fs_route_shed_t {
    uint8_t shed;
    int64_t at_limit; /* since when, microseconds; 0: it isn't */
    int64_t below;    /* likewise */
} fs_route_shed_t;
#define FS_ROUTE_SHED_ALL  8
#define FS_ROUTE_SHED_SPAN (5 * (int64_t)1000000)

/* What was counted just now (`workers` 0: not known). Returns what is to be shed. */
uint8_t fs_route_shed(fs_route_shed_t *shed, uint32_t busy, uint32_t workers, double limit,
                      int64_t now);

/* The share of its capacity that a server may fill `since` microseconds after it returned, when it
 * is to be whole again after `span`; 1 if span is 0. */
double fs_route_ramp(int64_t since, int64_t span);

#endif
