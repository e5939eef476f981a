/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stands in for the agent in tests of routing in the module: publishes tables of servers.
 *
 *   fs_route_table STATEDIR < script    each command answers "ok ..." or "error ..." in one line
 *
 *   server NAME URL PUBLIC RACK CAPACITY PRIMARIES STATE BUSY WORKERS
 *                     one of the next table; - for what isn't there; STATE: dead, suspect,
 *                     draining or alive
 *   publish SELF      publishes them; SELF is the number of this server, from 0
 *   visitor ID        24 hex digits: "ok PRIMARY ALTERNATE GENERATION CONFIRMED FORMER" or "ok -"
 *   count NAME        of what the request processes counted: "ok N"
 */
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "route/fs_route_page.h"
#include "route/fs_route_store.h"

#define LINE_SIZE 2048

static fs_route_entry_t entries[FS_ROUTE_SERVERS];
static uint32_t count;
static fs_route_page_t *page;
static fs_route_store_t *store;
static fs_result_t result;

static const char *unless_none(const char *text)
{
    return strcmp(text, "-") ? text : "";
}

static int state_of(const char *name)
{
    static const char *const names[] = {"dead", "suspect", "draining", "alive"};

    for (int i = 0; i < 4; i++)
        if (!strcmp(names[i], name))
            return i;
    return -1;
}

static void add_server(const char *line)
{
    fs_route_entry_t *entry = &entries[count];
    char name[FS_ROUTE_NAME_SIZE], url[256], open[256], rack[64], state[16];
    static uint64_t status;
    int found;

    memset(entry, 0, sizeof(*entry));
    found = sscanf(
        line, "%64s %255s %255s %63s %" SCNu32 " %" SCNu64 " %15s %" SCNu32 " %" SCNu32 " %" SCNu8,
        name, url, open, rack, &entry->server.capacity, &entry->server.primaries, state,
        &entry->server.busy, &entry->server.workers, &entry->server.shed);
    if (found != 10 || state_of(state) < 0) {
        puts("error ten values are needed");
        return;
    }
    strcpy(entry->name, name);
    strcpy(entry->where.url, unless_none(url));
    strcpy(entry->where.public_url, unless_none(open));
    strcpy(entry->where.rack, unless_none(rack));
    for (const char *at = unless_none(rack); *at; at++)
        entry->server.rack = entry->server.rack * 31 + (unsigned char)*at;
    entry->server.state = (uint8_t)state_of(state);
    entry->server.ramp = 1;
    entry->status = ++status;
    count++;
    puts("ok");
}

static void publish(const char *line)
{
    fs_route_page_publish(page, entries, count, (uint32_t)strtoul(line, NULL, 10), 0);
    count = 0;
    puts("ok");
}

static void tell_visitor(const char *text)
{
    fs_route_visitor_t visitor;
    uint8_t id[FS_ROUTE_ID_BYTES];
    apr_status_t status;

    for (size_t i = 0; i < sizeof(id); i++)
        sscanf(text + 2 * i, "%2hhx", &id[i]);
    status = fs_route_store_find(store, id, &visitor, &result);
    if (status == APR_NOTFOUND)
        puts("ok -");
    else if (status != APR_SUCCESS)
        printf("error %s: %s\n", result.problem, result.detail);
    else
        printf("ok %s %s %" PRIu32 " %d %s\n", visitor.primary,
               *visitor.alternate ? visitor.alternate : "-", visitor.generation, visitor.confirmed,
               *visitor.former ? visitor.former : "-");
}

static void tell_count(const char *name)
{
    for (int what = 0; what < FS_ROUTE_COUNTS; what++)
        if (!strcmp(fs_route_count_name((fs_route_count_t)what), name)) {
            printf("ok %" PRIu64 "\n", fs_route_counted(page, (fs_route_count_t)what));
            return;
        }
    puts("error there is no such count");
}

static void run(char *line)
{
    char *rest = strchr(line, ' ');

    line[strcspn(line, "\n")] = '\0';
    rest = rest ? rest + 1 : line + strlen(line);
    if (!strncmp(line, "server ", 7) && count < FS_ROUTE_SERVERS)
        add_server(rest);
    else if (!strncmp(line, "publish ", 8))
        publish(rest);
    else if (!strncmp(line, "visitor ", 8) && strlen(rest) == 2 * FS_ROUTE_ID_BYTES)
        tell_visitor(rest);
    else if (!strncmp(line, "count ", 6))
        tell_count(rest);
    else
        puts("error there is no such command");
    fflush(stdout);
}

int main(int argc, char **argv)
{
    const fs_route_limits_t limits = {0};
    char line[LINE_SIZE], dir[PATH_MAX];

    if (argc != 2 || snprintf(dir, sizeof(dir), "%s/" FS_ROUTE_STORE_DIR, argv[1]) >= PATH_MAX) {
        fprintf(stderr, "usage: fs_route_table STATEDIR\n");
        return 2;
    }
    fs_time_init();
    if (fs_route_page_open(&page, argv[1], 1, &result) != APR_SUCCESS ||
        fs_route_store_open(&store, dir, "tool", &limits, &result) != APR_SUCCESS) {
        fprintf(stderr, "%s: %s\n", result.problem, result.detail);
        return 1;
    }
    while (fgets(line, sizeof(line), stdin))
        run(line);
    fs_route_store_close(store);
    fs_route_page_close(page);
    return 0;
}
