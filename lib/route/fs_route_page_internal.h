/* SPDX-License-Identifier: Apache-2.0 */
/* The two files of fs_route_page.h, byte by byte. Not for users of the library. */
#ifndef FS_ROUTE_PAGE_INTERNAL_H
#define FS_ROUTE_PAGE_INTERNAL_H

#include "control/fs_page.h"
#include "route/fs_route_page.h"

#define FS_ROUTE_STRIPES 16

/* An entry without its texts: what each decision needs. */
typedef struct fs_route_record_t {
    char name[FS_ROUTE_NAME_SIZE];
    fs_route_server_t server;
    uint64_t alternates;
    uint64_t generation;
    uint64_t status;
} fs_route_record_t;

typedef struct fs_route_span_t {
    uint32_t count;
    uint32_t self;
    double coming;
} fs_route_span_t;

typedef struct fs_route_servers_t {
    fs_page_head_t head;
    _Atomic uint64_t serial;
    _Atomic uint64_t edition;
    FS_LATCH(fs_route_span_t) span;
    FS_LATCH(fs_route_record_t) records[FS_ROUTE_SERVERS];
    FS_LATCH(fs_route_where_t) where[FS_ROUTE_SERVERS];
} fs_route_servers_t;

/* Of whoever has the same stripe: cache lines of its own. */
typedef struct fs_route_stripe_t {
    _Alignas(64) _Atomic uint64_t counted[FS_ROUTE_COUNTS];
} fs_route_stripe_t;

typedef struct fs_route_since_t {
    _Atomic uint64_t sent;
    _Atomic uint64_t given;
    _Atomic int64_t suspected; /* until then, mono */
    _Atomic int64_t credit;    /* of round robin, in 1/1024 visitors */
} fs_route_since_t;

typedef struct fs_route_counts_t {
    fs_page_head_t head;
    _Atomic int64_t workers_counted; /* mono */
    _Atomic uint64_t workers;        /* busy << 32 | all */
    fs_route_stripe_t stripes[FS_ROUTE_STRIPES];
    fs_route_since_t since[FS_ROUTE_SERVERS];
} fs_route_counts_t;

struct fs_route_page_t {
    fs_mapping_t *servers_map;
    fs_mapping_t *counts_map;
    fs_route_servers_t *servers;
    fs_route_counts_t *counts;
    int writes;
    uint64_t opened; /* of all that this process opened: whose copy a thread has */
};

#endif
