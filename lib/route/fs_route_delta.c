/* SPDX-License-Identifier: Apache-2.0 */
#include "route/fs_route_delta.h"

#include <stdlib.h>
#include <string.h>

#include "backplane/fs_bytes.h"

#define MAGIC         "FSRV"
#define VERSION       1
#define NAME_MOST     (FS_ROUTE_NAME_SIZE - 1)
#define NAMES_MOST    (2 * FS_ROUTE_DELTA_VISITORS)
#define VISITOR_BYTES (FS_ROUTE_ID_BYTES + 4 + 2 + 2)

_Static_assert(64 + 2 * (FS_ROUTE_NAME_SIZE + 2) + NAMES_MOST * (FS_ROUTE_NAME_SIZE + 2) +
                       FS_ROUTE_DELTA_VISITORS * VISITOR_BYTES <=
                   FS_ROUTE_DELTA_LIMIT,
               "the longest message fits");

/* --- writing -------------------------------------------------------------------------------------
 */

typedef struct names_t {
    const char *names[NAMES_MOST];
    unsigned count;
} names_t;

/* The number of a name, from 1 on; 0 of "". Most come from a store, where each is there once. */
static unsigned number_of(names_t *names, const char *name)
{
    if (!name[0])
        return 0;
    for (unsigned i = 0; i < names->count; i++)
        if (names->names[i] == name || !strcmp(names->names[i], name))
            return i + 1;
    names->names[names->count++] = name;
    return names->count;
}

size_t fs_route_delta_write(const fs_route_delta_t *delta, uint8_t out[FS_ROUTE_DELTA_LIMIT])
{
    names_t names = {.count = 0};
    unsigned numbers[FS_ROUTE_DELTA_VISITORS][2];
    uint8_t *at = out;

    memcpy(at, MAGIC, 4);
    at = fs_bytes_put(at + 4, VERSION, 1);
    at = fs_bytes_put(at, delta->kind, 1);
    at = fs_bytes_put(at, delta->more ? 1 : 0, 2);
    at = fs_bytes_put(at, delta->generation, 8);
    at = fs_bytes_put(at, delta->first, 8);
    at = fs_bytes_put(at, delta->last, 8);
    at = fs_bytes_put_text(at, delta->from);
    at = fs_bytes_put_text(at, delta->of);
    for (unsigned i = 0; i < delta->count; i++) {
        numbers[i][0] = number_of(&names, delta->visitors[i].primary);
        numbers[i][1] = number_of(&names, delta->visitors[i].alternate);
    }
    at = fs_bytes_put(at, names.count, 2);
    for (unsigned i = 0; i < names.count; i++)
        at = fs_bytes_put_text(at, names.names[i]);
    at = fs_bytes_put(at, delta->count, 2);
    for (unsigned i = 0; i < delta->count; i++) {
        memcpy(at, delta->visitors[i].id, FS_ROUTE_ID_BYTES);
        at = fs_bytes_put(at + FS_ROUTE_ID_BYTES, delta->visitors[i].generation, 4);
        at = fs_bytes_put(at, numbers[i][0], 2);
        at = fs_bytes_put(at, numbers[i][1], 2);
    }
    return (size_t)(at - out);
}

/* --- reading -------------------------------------------------------------------------------------
 */

/* A server's name, or "" if that is allowed. */
static const char *get_name(fs_bytes_t *bytes, int may_be_empty)
{
    const char *name = fs_bytes_get_text(bytes, NAME_MOST);

    if (!name[0] && !may_be_empty)
        bytes->bad = 1;
    for (const unsigned char *c = (const unsigned char *)name; *c; c++)
        if (*c <= 0x20 || *c == 0x7f)
            bytes->bad = 1;
    return name;
}

static void get_head(fs_bytes_t *bytes, fs_route_delta_t *delta)
{
    unsigned kind, flags;

    if (bytes->end - bytes->at < 4 || memcmp(bytes->at, MAGIC, 4) != 0) {
        bytes->bad = 1;
        return;
    }
    bytes->at += 4;
    if (fs_bytes_get(bytes, 1) != VERSION)
        bytes->bad = 1;
    kind = (unsigned)fs_bytes_get(bytes, 1);
    flags = (unsigned)fs_bytes_get(bytes, 2);
    if (kind < FS_ROUTE_DELTA_CHANGES || kind > FS_ROUTE_DELTA_HEARD || flags > 1)
        bytes->bad = 1;
    delta->kind = (fs_route_delta_kind_t)kind;
    delta->more = flags != 0;
    delta->generation = fs_bytes_get(bytes, 8);
    delta->first = fs_bytes_get(bytes, 8);
    delta->last = fs_bytes_get(bytes, 8);
    delta->from = get_name(bytes, 0);
    delta->of = get_name(bytes, kind != FS_ROUTE_DELTA_PAGE);
    if (delta->first > delta->last || (kind != FS_ROUTE_DELTA_PAGE && delta->of[0]))
        bytes->bad = 1;
}

static unsigned get_names(fs_bytes_t *bytes, const char *names[NAMES_MOST + 1])
{
    unsigned count = (unsigned)fs_bytes_get(bytes, 2);

    names[0] = "";
    if (count > NAMES_MOST)
        bytes->bad = 1;
    for (unsigned i = 1; !bytes->bad && i <= count; i++)
        names[i] = get_name(bytes, 0);
    return bytes->bad ? 0 : count;
}

static void get_visitor(fs_bytes_t *bytes, const char *const *names, unsigned name_count,
                        fs_route_visitor_t *visitor)
{
    unsigned primary, alternate;

    if (bytes->end - bytes->at < VISITOR_BYTES) {
        bytes->bad = 1;
        return;
    }
    memcpy(visitor->id, bytes->at, FS_ROUTE_ID_BYTES);
    bytes->at += FS_ROUTE_ID_BYTES;
    visitor->generation = (uint32_t)fs_bytes_get(bytes, 4);
    primary = (unsigned)fs_bytes_get(bytes, 2);
    alternate = (unsigned)fs_bytes_get(bytes, 2);
    if (primary > name_count || alternate > name_count || (!primary && alternate)) {
        bytes->bad = 1;
        return;
    }
    visitor->primary = names[primary];
    visitor->alternate = names[alternate];
    visitor->former = "";
    visitor->confirmed = 1;
}

/* Of which kinds a visitor may be gone, and in which order they have to be. */
static int visitors_fit(const fs_route_delta_t *delta)
{
    if (delta->count && delta->kind == FS_ROUTE_DELTA_HEARD)
        return 0;
    for (unsigned i = 0; i < delta->count; i++) {
        const fs_route_visitor_t *visitor = &delta->visitors[i];

        if (!visitor->primary[0] && delta->kind != FS_ROUTE_DELTA_CHANGES)
            return 0;
        if (delta->kind == FS_ROUTE_DELTA_PAGE &&
            (strcmp(visitor->primary, delta->of) != 0 ||
             (i && memcmp(delta->visitors[i - 1].id, visitor->id, FS_ROUTE_ID_BYTES) >= 0)))
            return 0;
    }
    return delta->kind != FS_ROUTE_DELTA_PAGE || delta->count || !delta->more;
}

int fs_route_delta_read(fs_route_delta_t *delta, const void *whole, size_t length)
{
    fs_bytes_t bytes = {whole, (const uint8_t *)whole + length, length > FS_ROUTE_DELTA_LIMIT};
    const char *names[NAMES_MOST + 1];
    unsigned name_count;

    memset(delta, 0, sizeof(*delta));
    get_head(&bytes, delta);
    name_count = get_names(&bytes, names);
    delta->count = (unsigned)fs_bytes_get(&bytes, 2);
    if (bytes.bad || delta->count > FS_ROUTE_DELTA_VISITORS)
        return -1;
    delta->visitors = calloc(delta->count + 1, sizeof(*delta->visitors));
    for (unsigned i = 0; delta->visitors && !bytes.bad && i < delta->count; i++)
        get_visitor(&bytes, names, name_count, &delta->visitors[i]);
    if (delta->visitors && !bytes.bad && bytes.at == bytes.end && visitors_fit(delta))
        return 0;
    fs_route_delta_clear(delta);
    return -1;
}

void fs_route_delta_clear(fs_route_delta_t *delta)
{
    free(delta->visitors);
    delta->visitors = NULL;
    delta->count = 0;
}
