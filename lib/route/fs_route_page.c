/* SPDX-License-Identifier: Apache-2.0 */
/* The files, and what the agent writes to them. */
#include "route/fs_route_page_internal.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs_file.h"

#define SERVERS_FILE "servers"
#define COUNTS_FILE  "counts"

static void make_head(fs_page_head_t *head, const char *magic, uint32_t record, size_t size)
{
    memset(head, 0, sizeof(*head));
    memcpy(head->magic, magic, sizeof(head->magic));
    head->layout = FS_PAGE_LAYOUT;
    head->groups = FS_ROUTE_SERVERS;
    head->group_bytes = record;
    head->clock_bytes = FS_ROUTE_COUNTS;
    head->size = size;
}

static void head_servers(fs_page_head_t *head)
{
    make_head(head, "FSRTE\r\n\x1a", sizeof(fs_route_record_t), sizeof(fs_route_servers_t));
}

static void head_counts(fs_page_head_t *head)
{
    make_head(head, "FSRTC\r\n\x1a", sizeof(fs_route_since_t), sizeof(fs_route_counts_t));
}

static apr_status_t path_of(char path[PATH_MAX], const char *dir, const char *name,
                            const char *number, fs_result_t *result)
{
    if (snprintf(path, PATH_MAX, "%s/%s", dir, name) < PATH_MAX)
        return APR_SUCCESS;
    return fs_result_set(result, APR_ENAMETOOLONG, number, "%s: path too long", dir);
}

/* --- opening -------------------------------------------------------------------------------------
 */

static apr_status_t hand_over(const char *path, uid_t uid, gid_t gid, fs_result_t *result)
{
    if (geteuid() != 0 || uid == (uid_t)-1 || !lchown(path, uid, gid))
        return APR_SUCCESS;
    return fs_result_set(result, APR_FROM_OS_ERROR(errno), "FS1610",
                         "cannot give %s to httpd's user: %s; check the state directory", path,
                         strerror(errno));
}

/* Keeps the file if it is one of this release, else makes it. */
static apr_status_t prepare_file(const char *dir, const char *name, const fs_page_head_t *head,
                                 uid_t uid, gid_t gid, fs_result_t *result)
{
    fs_result_t ignored;
    fs_mapping_t *there = fs_page_map(dir, name, head, 1, "FS1611", &ignored);
    char path[PATH_MAX];
    apr_status_t status = APR_SUCCESS;

    if (!there)
        status = fs_page_create(dir, name, head, result);
    fs_page_unmap_all(there);
    if (status == APR_SUCCESS)
        status = path_of(path, dir, name, "FS1610", result);
    return status == APR_SUCCESS ? hand_over(path, uid, gid, result) : status;
}

apr_status_t fs_route_page_prepare(const char *state_dir, uid_t uid, gid_t gid, fs_result_t *result)
{
    char dir[PATH_MAX];
    fs_page_head_t head;
    fs_result_t why;
    apr_status_t status = path_of(dir, state_dir, FS_ROUTE_DIR, "FS1610", &why);

    if (status == APR_SUCCESS)
        status = fs_dir_make(dir, &why);
    if (status == APR_SUCCESS)
        status = hand_over(dir, uid, gid, &why);
    head_servers(&head);
    if (status == APR_SUCCESS)
        status = prepare_file(dir, SERVERS_FILE, &head, uid, gid, &why);
    head_counts(&head);
    if (status == APR_SUCCESS)
        status = prepare_file(dir, COUNTS_FILE, &head, uid, gid, &why);
    if (status == APR_SUCCESS)
        return status;
    return fs_result_set(result, status, "FS1610", "the table of servers can't be made: %.900s",
                         why.detail);
}

apr_status_t fs_route_page_open(fs_route_page_t **page, const char *state_dir, int writes,
                                fs_result_t *result)
{
    static _Atomic uint64_t opened;
    fs_route_page_t *made = calloc(1, sizeof(*made));
    char dir[PATH_MAX];
    fs_page_head_t head;
    apr_status_t status;

    *page = NULL;
    if (!made)
        return fs_result_set(result, APR_ENOMEM, "FS1611", "out of memory");
    status = path_of(dir, state_dir, FS_ROUTE_DIR, "FS1611", result);
    if (status != APR_SUCCESS) {
        free(made);
        return status;
    }
    made->writes = writes;
    made->opened = atomic_fetch_add(&opened, 1) + 1;
    head_servers(&head);
    made->servers_map = fs_page_map(dir, SERVERS_FILE, &head, writes, "FS1611", result);
    head_counts(&head);
    if (made->servers_map)
        made->counts_map = fs_page_map(dir, COUNTS_FILE, &head, 1, "FS1611", result);
    if (!made->counts_map) {
        fs_route_page_close(made);
        return result ? result->status : APR_EGENERAL;
    }
    made->servers = made->servers_map->base;
    made->counts = made->counts_map->base;
    *page = made;
    return APR_SUCCESS;
}

void fs_route_page_close(fs_route_page_t *page)
{
    if (!page)
        return;
    fs_page_unmap_all(page->servers_map);
    fs_page_unmap_all(page->counts_map);
    free(page);
}

/* --- the agent's side ----------------------------------------------------------------------------
 */

static void count_from_nothing(fs_route_since_t *since)
{
    atomic_store(&since->sent, 0);
    atomic_store(&since->given, 0);
    atomic_store(&since->suspected, 0);
    atomic_store(&since->credit, 0);
}

static void fill_record(fs_route_record_t *record, const fs_route_entry_t *entry)
{
    memset(record, 0, sizeof(*record));
    memcpy(record->name, entry->name, strnlen(entry->name, sizeof(record->name) - 1));
    record->server = entry->server;
    record->server.sent = record->server.given = 0;
    if (!record->name[0])
        record->server.state = FS_ROUTE_DEAD;
    record->alternates = entry->alternates;
    record->generation = entry->generation;
    record->status = entry->status;
}

/* Publishes one server; 1 if where a visitor belongs may have changed by it. */
static int publish_one(fs_route_page_t *page, uint32_t number, const fs_route_entry_t *entry,
                       int known)
{
    fs_route_servers_t *servers = page->servers;
    fs_route_since_t *since = &page->counts->since[number];
    fs_route_where_t where;
    fs_route_record_t record, before;
    int other;

    known = known && FS_LOAD(servers->records[number], &before);
    fill_record(&record, entry);
    other = !known || strcmp(before.name, record.name) != 0;
    if (!FS_LOAD(servers->where[number], &where) || memcmp(&where, &entry->where, sizeof(where)))
        FS_STORE(servers->where[number], &entry->where);
    FS_STORE(servers->records[number], &record);
    if (other)
        count_from_nothing(since);
    else if (before.status != record.status)
        atomic_store(&since->sent, 0);
    return other || before.server.state != record.server.state ||
           before.server.shed != record.server.shed;
}

void fs_route_page_publish(fs_route_page_t *page, const fs_route_entry_t *entries, uint32_t count,
                           uint32_t self, double coming)
{
    fs_route_span_t span, before = {0, 0, 0};
    int changed;

    count = count < FS_ROUTE_SERVERS ? count : FS_ROUTE_SERVERS;
    memset(&span, 0, sizeof(span));
    span.count = count;
    span.self = self;
    span.coming = coming;
    if (!FS_LOAD(page->servers->span, &before))
        before.count = 0;
    changed = before.count != count || before.self != self;
    for (uint32_t i = 0; i < count; i++)
        changed |= publish_one(page, i, &entries[i], i < before.count);
    FS_STORE(page->servers->span, &span);
    atomic_fetch_add(&page->servers->edition, 1);
    if (changed)
        fs_route_page_bump(page);
}

void fs_route_page_bump(fs_route_page_t *page)
{
    atomic_fetch_add(&page->servers->serial, 1);
}

void fs_route_page_set_given(fs_route_page_t *page, uint32_t number, uint64_t given)
{
    if (number < FS_ROUTE_SERVERS)
        atomic_store(&page->counts->since[number].given, given);
}
