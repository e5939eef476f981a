/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What servers tell each other of their visitors, in bytes: 20 a visitor, names of servers once a
 * message. Numbers are little endian.
 *
 *   "FSRV" | version 1 | kind | flags: bit 0 `more` | 0 | generation 8 | first 8 | last 8
 *   from: length, text, NUL | of: the same | count 2 | names: length, text, NUL
 *   count 2 | { id 12 | generation 4 | primary 2 | alternate 2 }: 0 none, else the name's index + 1
 */
#ifndef FS_ROUTE_DELTA_H
#define FS_ROUTE_DELTA_H

#include <stddef.h>

#include "route/fs_route_store.h"

#define FS_ROUTE_DELTA_VISITORS 512
#define FS_ROUTE_DELTA_LIMIT    (96u * 1024) /* whatever the names */
_Static_assert(FS_ROUTE_DELTA_VISITORS <= FS_ROUTE_NEWS_MOST, "a message is merged at once");

typedef enum fs_route_delta_kind_t {
    /* From the log of `from`, behind `first` up to `last`; primary "": not its visitor any more.
     * `more`: the log doesn't reach back to what you have: ask for a copy. */
    FS_ROUTE_DELTA_CHANGES = 1,
    /* What `from` knows of visitors that whoever is told takes for others'. */
    FS_ROUTE_DELTA_TOLD,
    /* A page of a copy of the visitors of `of`, in the order of their ids; `last` is where the log
     * of `of` is, as far as `from` has heard it. `more`: there are further pages. */
    FS_ROUTE_DELTA_PAGE,
    /* The answer to the first two: of your log (`generation`) I have everything up to `last`.
     * `more`: I'm copying; later. */
    FS_ROUTE_DELTA_HEARD
} fs_route_delta_kind_t;

typedef struct fs_route_delta_t {
    fs_route_delta_kind_t kind;
    const char *from;
    const char *of; /* "" but in pages */
    uint64_t generation;
    uint64_t first;
    uint64_t last;
    int more;
    unsigned count; /* at most FS_ROUTE_DELTA_VISITORS */
    fs_route_visitor_t *visitors;
} fs_route_delta_t;

/* Writes it to `out`; returns how many bytes. */
size_t fs_route_delta_write(const fs_route_delta_t *delta, uint8_t out[FS_ROUTE_DELTA_LIMIT]);
/*
 * Reads and checks everything. Names point into `bytes`; `visitors` is malloc'ed:
 * fs_route_delta_clear. 0, or -1: it is no such message, or memory is short.
 */
int fs_route_delta_read(fs_route_delta_t *delta, const void *bytes, size_t length);
void fs_route_delta_clear(fs_route_delta_t *delta);

#endif
