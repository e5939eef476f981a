/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a server says of itself to the others: the record of kind "route" whose key is its name.
 *
 *   {"url":"http://10.0.0.1:80","public":"","rack":"a","capacity":10000,"primaries":4321,
 *    "alternates":4290,"busy":31,"workers":400,"shed":0,"drain":false,"ready":true,
 *    "since":1795262400000000,"sequence":99321,"digest":"0f3a...","generation":"17c9..."}
 *
 * and the operator's order of kind "route-order", whose key is the server that it is about, kept
 * until it is taken back (removed):
 *
 *   {"order":"drain","who":"anna","at":1795262400000000}
 *
 * Fields that aren't known are passed over, so that a farm can be updated server by server.
 */
#ifndef FS_AGENT_ROUTE_RECORD_H
#define FS_AGENT_ROUTE_RECORD_H

#include "agent_config_route.h"
#include "base/fs_time.h"

#define FS_ROUTE_KIND       "route"
#define FS_ROUTE_ORDER_KIND "route-order"
#define FS_ROUTE_WHO_SIZE   129

typedef struct fs_routing_record_t {
    char url[FS_ROUTE_URL_SIZE];
    char public_url[FS_ROUTE_URL_SIZE];
    char rack[FS_ROUTE_RACK_SIZE];
    uint32_t capacity;
    uint64_t primaries, alternates;
    uint32_t busy, workers; /* workers 0: not known */
    uint32_t shed;          /* eighths of its visitors: fs_route_shed */
    int draining;
    int ready;       /* it has compared with the others since it was away */
    fs_usec_t since; /* farm time since when it is ready; 0: it isn't */
    /* Of the visitors that it is home to: how many changes it has made, the digest of them all, and
     * the life of its store that the sequence belongs to. */
    uint64_t sequence, digest, generation;
} fs_routing_record_t;

/* The JSON, malloc'ed; NULL when memory is short. */
char *fs_routing_record_print(const fs_routing_record_t *record);
/* 0, or -1 if it isn't one; *field is then what is wrong. */
int fs_routing_record_parse(fs_routing_record_t *record, const void *json, size_t length,
                            const char **field);

/*
 * Whether `now` differs from `told` by so much that nobody should wait for a second to hear it:
 * more than 2 % of the capacity, or anything that isn't a number of visitors or workers.
 */
#define FS_ROUTING_NEWS_SHARE 0.02
int fs_routing_record_is_news(const fs_routing_record_t *told, const fs_routing_record_t *now);
/* Whether there is any difference. */
int fs_routing_record_differs(const fs_routing_record_t *told, const fs_routing_record_t *now);

typedef struct fs_routing_order_t {
    char who[FS_ROUTE_WHO_SIZE];
    fs_usec_t at; /* farm time */
} fs_routing_order_t;

char *fs_routing_order_print(const fs_routing_order_t *order);
int fs_routing_order_parse(fs_routing_order_t *order, const void *json, size_t length);

#endif
