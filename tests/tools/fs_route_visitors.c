/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stands in for the request processes in tests of routing in the agent: visitors come and go.
 *
 *   fs_route_visitors STATEDIR SERVER < script   each command answers "ok ..." or "error ..."
 *
 *   come COUNT ALTERNATE       visitors who are at home here from now on: "ok ID" of the last one
 *   leave COUNT SERVER         so many of those here are at home at that server from now on
 *   take COUNT SERVER          so many of that server's are at home here from now on: it is dead
 *   digests                    "ok NAME:COUNT:DIGEST ..." of every server's visitors, sorted by
 * name workers BUSY ALL           what httpd's workers do, as counted now
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "route/fs_route_page.h"
#include "route/fs_route_store.h"

#define LINE_SIZE 256

static fs_route_page_t *page;
static fs_route_store_t *store;
static const char *self;
static fs_result_t result;

static int say(apr_status_t status)
{
    if (status)
        printf("error %s %s\n", result.problem, result.detail);
    return status != APR_SUCCESS;
}

static void come(unsigned count, const char *alternate)
{
    fs_route_visitor_t visitor = {
        .primary = self, .alternate = alternate, .former = "", .generation = 1, .confirmed = 1};

    for (unsigned i = 0; i < count; i++) {
        if (getentropy(visitor.id, sizeof(visitor.id)) ||
            say(fs_route_store_claim(store, &visitor, fs_time_wall(), NULL, &result)))
            return;
    }
    printf("ok ");
    for (unsigned i = 0; i < FS_ROUTE_ID_BYTES; i++)
        printf("%02x", visitor.id[i]);
    printf("\n");
}

typedef struct leaving_t {
    uint8_t (*ids)[FS_ROUTE_ID_BYTES];
    uint32_t *generations;
    unsigned count;
} leaving_t;

static int collect(void *baton, const fs_route_visitor_t *visitor)
{
    leaving_t *leaving = baton;

    memcpy(leaving->ids[leaving->count], visitor->id, FS_ROUTE_ID_BYTES);
    leaving->generations[leaving->count++] = visitor->generation;
    return 0;
}

/* So many of those at home at `from` are at home at `to` from now on. */
static void move(unsigned count, const char *from, const char *to)
{
    leaving_t leaving = {calloc(count, FS_ROUTE_ID_BYTES), calloc(count, sizeof(uint32_t)), 0};

    if (!leaving.ids || !leaving.generations ||
        say(fs_route_store_each(store, from, NULL, count, 1, collect, &leaving, &result)))
        return;
    for (unsigned i = 0; i < leaving.count; i++) {
        fs_route_visitor_t visitor = {.primary = to,
                                      .alternate = strcmp(to, self) != 0 ? self : "",
                                      .former = strcmp(to, self) != 0 ? "" : from,
                                      .generation = leaving.generations[i] + 1,
                                      .confirmed = 1};

        memcpy(visitor.id, leaving.ids[i], sizeof(visitor.id));
        if (say(fs_route_store_claim(store, &visitor, fs_time_wall(), NULL, &result)))
            return;
    }
    free(leaving.ids);
    free(leaving.generations);
    printf("ok %u\n", leaving.count);
}

typedef struct digests_t {
    char *lines[FS_ROUTE_SERVERS];
    unsigned count;
} digests_t;

static int show_digest(void *baton, const char *server, const fs_route_total_t *total)
{
    digests_t *digests = baton;

    if (total->primaries > total->unconfirmed &&
        asprintf(&digests->lines[digests->count], "%s:%" PRIu64 ":%016" PRIx64, server,
                 total->primaries - total->unconfirmed, total->digest) > 0)
        digests->count++;
    return digests->count == FS_ROUTE_SERVERS;
}

static int by_text(const void *one, const void *other)
{
    return strcmp(*(char *const *)one, *(char *const *)other);
}

static void digests(void)
{
    digests_t all = {.count = 0};

    if (say(fs_route_store_totals(store, show_digest, &all, &result)))
        return;
    qsort(all.lines, all.count, sizeof(all.lines[0]), by_text);
    printf("ok");
    for (unsigned i = 0; i < all.count; i++) {
        printf(" %s", all.lines[i]);
        free(all.lines[i]);
    }
    printf("\n");
}

static void workers(unsigned busy, unsigned all)
{
    fs_route_page_count_workers(page, fs_time_mono(), 0);
    fs_route_page_set_workers(page, busy, all);
    printf("ok\n");
}

static void do_line(char *line)
{
    char server[FS_ROUTE_NAME_SIZE];
    unsigned one, two;

    if (sscanf(line, "come %u %64s", &one, server) == 2)
        come(one, server);
    else if (sscanf(line, "leave %u %64s", &one, server) == 2)
        move(one, self, server);
    else if (sscanf(line, "take %u %64s", &one, server) == 2)
        move(one, server, self);
    else if (!strncmp(line, "digests", 7))
        digests();
    else if (sscanf(line, "workers %u %u", &one, &two) == 2)
        workers(one, two);
    else
        printf("error what is this? %s", line);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    static const fs_route_limits_t limits;
    char line[LINE_SIZE], path[4096];

    if (argc != 3) {
        fputs("Usage: fs_route_visitors STATEDIR SERVER < script\n", stderr);
        return 2;
    }
    self = argv[2];
    snprintf(path, sizeof(path), "%s/" FS_ROUTE_STORE_DIR, argv[1]);
    if (say(fs_route_page_open(&page, argv[1], 0, &result)) ||
        say(fs_route_store_open(&store, path, self, &limits, &result)))
        return 1;
    while (fgets(line, sizeof(line), stdin))
        do_line(line);
    fs_route_store_close(store);
    fs_route_page_close(page);
    return 0;
}
