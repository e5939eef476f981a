/* SPDX-License-Identifier: Apache-2.0 */
/* A thread's copy of the table, and the decisions that are made on it. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "route/fs_route_page_internal.h"

#define SUSPECT_MOST (60 * FS_USEC_PER_SEC) /* a mark of an earlier boot is farther ahead */
#define CREDIT_SCALE 1024

/* What a thread has. */
typedef struct mine_t {
    fs_route_view_t view;
    uint64_t opened;              /* of the page that this is a copy of */
    fs_route_server_t *published; /* as the agent wrote it */
    fs_route_server_t *told;      /* what all processes know that this thread knows */
} mine_t;

static pthread_key_t mine_key;
static pthread_once_t mine_once = PTHREAD_ONCE_INIT;
static int mine_works;

static void free_mine(void *baton)
{
    mine_t *mine = baton;

    free(mine->view.table.servers);
    free(mine->view.names);
    free(mine->published);
    free(mine->told);
    free(mine);
}

static void make_key(void)
{
    mine_works = !pthread_key_create(&mine_key, free_mine);
}

static mine_t *get_mine(void)
{
    mine_t *mine;

    pthread_once(&mine_once, make_key);
    mine = mine_works ? pthread_getspecific(mine_key) : NULL;
    if (mine || !mine_works)
        return mine;
    mine = calloc(1, sizeof(*mine));
    if (mine && pthread_setspecific(mine_key, mine)) {
        free(mine);
        return NULL;
    }
    return mine;
}

static int resize(void **array, uint32_t room, size_t size)
{
    void *larger = realloc(*array, room * size);

    if (larger)
        *array = larger;
    return larger != NULL;
}

static int make_room(mine_t *mine, uint32_t count)
{
    uint32_t room = count < 16 ? 16 : count;

    if (count <= mine->view.room)
        return 1;
    if (!resize((void **)&mine->view.table.servers, room, sizeof(fs_route_server_t)) ||
        !resize((void **)&mine->published, room, sizeof(fs_route_server_t)) ||
        !resize((void **)&mine->told, room, sizeof(fs_route_server_t)) ||
        !resize((void **)&mine->view.names, room, FS_ROUTE_NAME_SIZE))
        return 0;
    mine->view.room = room;
    return 1;
}

/* Copies what was published; 0 if that isn't possible now. */
static int copy_table(const fs_route_page_t *page, mine_t *mine)
{
    const fs_route_servers_t *servers = page->servers;
    fs_route_view_t *view = &mine->view;
    fs_route_span_t span;
    fs_route_record_t record;

    if (!FS_LOAD(servers->span, &span) || span.count > FS_ROUTE_SERVERS ||
        span.self >= span.count || !make_room(mine, span.count))
        return 0;
    for (uint32_t i = 0; i < span.count; i++) {
        if (!FS_LOAD(servers->records[i], &record))
            return 0;
        record.name[FS_ROUTE_NAME_SIZE - 1] = '\0';
        mine->published[i] = record.server;
        memcpy(view->names[i], record.name, FS_ROUTE_NAME_SIZE);
    }
    view->table.count = span.count;
    view->table.self = span.self;
    view->table.coming = span.coming;
    return 1;
}

static int is_suspect(const fs_route_since_t *since, fs_usec_t now)
{
    fs_usec_t until = atomic_load_explicit(&since->suspected, memory_order_relaxed);

    return until > now && until - now <= SUSPECT_MOST;
}

/* Adds what was counted since. */
static void take_counts(const fs_route_page_t *page, mine_t *mine, fs_usec_t now)
{
    fs_route_table_t *table = &mine->view.table;

    for (uint32_t i = 0; i < table->count; i++) {
        const fs_route_since_t *since = &page->counts->since[i];
        fs_route_server_t *server = &table->servers[i];

        *server = mine->published[i];
        server->sent = atomic_load_explicit(&since->sent, memory_order_relaxed);
        server->given = atomic_load_explicit(&since->given, memory_order_relaxed);
        if (i != table->self && server->state > FS_ROUTE_SUSPECT && is_suspect(since, now))
            server->state = FS_ROUTE_SUSPECT;
        mine->told[i] = *server;
    }
}

fs_route_view_t *fs_route_page_view(fs_route_page_t *page, fs_usec_t now)
{
    uint64_t serial = fs_route_page_serial(page);
    uint64_t edition = atomic_load_explicit(&page->servers->edition, memory_order_acquire);
    mine_t *mine = edition ? get_mine() : NULL;

    if (!mine)
        return NULL;
    if (mine->opened != page->opened || mine->view.edition != edition) {
        mine->opened = 0;
        if (!copy_table(page, mine))
            return NULL;
        mine->opened = page->opened;
        mine->view.edition = edition;
    }
    mine->view.serial = serial;
    take_counts(page, mine, now);
    return &mine->view;
}

uint64_t fs_route_page_serial(const fs_route_page_t *page)
{
    return atomic_load_explicit(&page->servers->serial, memory_order_acquire);
}

uint32_t fs_route_view_find(const fs_route_view_t *view, const char *name)
{
    for (uint32_t i = 0; *name && i < view->table.count; i++)
        if (view->names[i][0] == name[0] && !strcmp(view->names[i], name))
            return i;
    return FS_ROUTE_NOBODY;
}

const char *fs_route_view_name(const fs_route_view_t *view, uint32_t number)
{
    return number < view->table.count ? view->names[number] : "";
}

int fs_route_page_where(const fs_route_page_t *page, uint32_t number, fs_route_where_t *where)
{
    if (number >= FS_ROUTE_SERVERS || !FS_LOAD(page->servers->where[number], where))
        return 0;
    where->url[FS_ROUTE_URL_SIZE - 1] = '\0';
    where->public_url[FS_ROUTE_URL_SIZE - 1] = '\0';
    where->rack[FS_ROUTE_RACK_SIZE - 1] = '\0';
    return where->url[0] != '\0';
}

int fs_route_page_entry(const fs_route_page_t *page, uint32_t number, fs_route_entry_t *entry)
{
    fs_route_span_t span;
    fs_route_record_t record;

    memset(entry, 0, sizeof(*entry));
    if (!FS_LOAD(page->servers->span, &span) || number >= span.count ||
        number >= FS_ROUTE_SERVERS || !FS_LOAD(page->servers->records[number], &record) ||
        !record.name[0])
        return 0;
    memcpy(entry->name, record.name, sizeof(entry->name) - 1);
    fs_route_page_where(page, number, &entry->where);
    entry->server = record.server;
    entry->server.sent = atomic_load(&page->counts->since[number].sent);
    entry->server.given = atomic_load(&page->counts->since[number].given);
    entry->alternates = record.alternates;
    entry->generation = record.generation;
    entry->status = record.status;
    return 1;
}

/* --- decisions -----------------------------------------------------------------------------------
 */

/* Tells the other processes what the arithmetic counted for a server in this thread's copy. */
static void tell(fs_route_page_t *page, fs_route_view_t *view, uint32_t number)
{
    mine_t *mine = (mine_t *)view; /* its first member */
    fs_route_since_t *since;
    fs_route_server_t *server, *told;
    uint64_t more;

    if (number >= view->table.count)
        return;
    since = &page->counts->since[number];
    server = &view->table.servers[number];
    told = &mine->told[number];
    more = server->sent - told->sent + (server->primaries - told->primaries);
    if (more)
        atomic_fetch_add(&since->sent, more);
    if (server->given != told->given)
        atomic_fetch_add(&since->given, server->given - told->given);
    *told = *server;
}

static fs_route_choice_t tell_choice(fs_route_page_t *page, fs_route_view_t *view,
                                     fs_route_choice_t choice)
{
    tell(page, view, view->table.self);
    if (choice.server != view->table.self)
        tell(page, view, choice.server);
    return choice;
}

fs_route_choice_t fs_route_page_assign(fs_route_page_t *page, fs_route_view_t *view,
                                       const fs_route_settings_t *settings, unsigned hops,
                                       uint64_t spread)
{
    return tell_choice(page, view, fs_route_assign(&view->table, settings, hops, spread));
}

fs_route_choice_t fs_route_page_request(fs_route_page_t *page, fs_route_view_t *view,
                                        const fs_route_settings_t *settings,
                                        const fs_route_home_t *home, unsigned hops, uint64_t spread)
{
    return tell_choice(page, view, fs_route_request(&view->table, settings, home, hops, spread));
}

uint32_t fs_route_page_alternate(fs_route_page_t *page, fs_route_view_t *view,
                                 const fs_route_settings_t *settings, uint32_t but, uint64_t spread)
{
    uint32_t alternate = fs_route_alternate(&view->table, settings, but, spread);

    tell(page, view, alternate);
    return alternate;
}

void fs_route_page_alternate_gone(fs_route_page_t *page, uint32_t alternate)
{
    _Atomic uint64_t *given;
    uint64_t now;

    if (alternate >= FS_ROUTE_SERVERS)
        return;
    given = &page->counts->since[alternate].given;
    now = atomic_load(given);
    while (now && !atomic_compare_exchange_weak(given, &now, now - 1))
        ;
}

uint32_t fs_route_page_next(fs_route_page_t *page, fs_route_view_t *view)
{
    double credit[FS_ROUTE_SERVERS], before[FS_ROUTE_SERVERS];
    uint32_t next;

    for (uint32_t i = 0; i < view->table.count; i++)
        credit[i] = before[i] =
            (double)atomic_load_explicit(&page->counts->since[i].credit, memory_order_relaxed) /
            CREDIT_SCALE;
    next = fs_route_next(&view->table, credit);
    if (next == FS_ROUTE_NOBODY)
        return next;
    for (uint32_t i = 0; i < view->table.count; i++)
        if (credit[i] < before[i] || credit[i] > before[i])
            atomic_fetch_add(&page->counts->since[i].credit,
                             (int64_t)((credit[i] - before[i]) * CREDIT_SCALE));
    view->table.servers[next].sent++;
    tell(page, view, next);
    return next;
}

void fs_route_page_sent(fs_route_page_t *page, uint32_t number)
{
    if (number < FS_ROUTE_SERVERS)
        atomic_fetch_add(&page->counts->since[number].sent, 1);
}

void fs_route_page_suspect(fs_route_page_t *page, uint32_t number, fs_usec_t until)
{
    if (number < FS_ROUTE_SERVERS)
        atomic_store(&page->counts->since[number].suspected, until);
}
