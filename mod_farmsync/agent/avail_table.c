/* SPDX-License-Identifier: Apache-2.0 */
#include "avail_table.h"

#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct fs_avail_table_t {
    void *root; /* of tsearch: a balanced tree of entries by key */
    unsigned count;
};

static int by_key(const void *one, const void *other)
{
    return strcmp(((const fs_avail_entry_t *)one)->key, ((const fs_avail_entry_t *)other)->key);
}

static void free_entry(void *entry)
{
    free(((fs_avail_entry_t *)entry)->notice);
    free(entry);
}

fs_avail_table_t *fs_avail_table_create(void)
{
    return calloc(1, sizeof(fs_avail_table_t));
}

void fs_avail_table_destroy(fs_avail_table_t *table)
{
    if (table)
        tdestroy(table->root, free_entry);
    free(table);
}

fs_avail_entry_t *fs_avail_table_get(const fs_avail_table_t *table, const char *key)
{
    fs_avail_entry_t sought;
    void *found;

    snprintf(sought.key, sizeof(sought.key), "%s", key);
    found = tfind(&sought, &table->root, by_key);
    return found ? *(fs_avail_entry_t **)found : NULL;
}

static fs_avail_entry_t *add_entry(fs_avail_table_t *table, const char *key)
{
    fs_avail_entry_t *entry = calloc(1, sizeof(*entry));

    if (!entry)
        return NULL;
    snprintf(entry->key, sizeof(entry->key), "%s", key);
    if (!tsearch(entry, &table->root, by_key)) {
        free(entry);
        return NULL;
    }
    table->count++;
    return entry;
}

fs_avail_entry_t *fs_avail_table_put(fs_avail_table_t *table, const char *key, fs_notice_t *notice,
                                     const char *origin)
{
    fs_avail_entry_t *entry = fs_avail_table_get(table, key);

    if (!entry)
        entry = add_entry(table, key);
    if (!entry) {
        free(notice);
        return NULL;
    }
    free(entry->notice);
    entry->notice = notice;
    snprintf(entry->origin, sizeof(entry->origin), "%s", origin);
    return entry;
}

int fs_avail_table_remove(fs_avail_table_t *table, const char *key)
{
    fs_avail_entry_t *entry = fs_avail_table_get(table, key);

    if (!entry)
        return 0;
    tdelete(entry, &table->root, by_key);
    free_entry(entry);
    table->count--;
    return 1;
}

unsigned fs_avail_table_count(const fs_avail_table_t *table)
{
    return table->count;
}

/* --- all of them ------------------------------------------------------------------------------ */

typedef struct list_t {
    fs_avail_entry_t **entries;
    unsigned count;
} list_t;

static void list_one(const void *node, VISIT which, void *baton)
{
    list_t *list = baton;

    if (which == postorder || which == leaf)
        list->entries[list->count++] = *(fs_avail_entry_t *const *)node;
}

fs_avail_entry_t **fs_avail_table_list(const fs_avail_table_t *table, unsigned *count)
{
    list_t list = {.entries = table->count ? calloc(table->count, sizeof(*list.entries)) : NULL};

    if (list.entries)
        twalk_r(table->root, list_one, &list);
    *count = list.count;
    return list.entries;
}

/* --- weighing --------------------------------------------------------------------------------- */

fs_avail_entry_t **fs_avail_table_weigh(fs_avail_table_t *table, unsigned servers, unsigned percent,
                                        fs_usec_t farm, unsigned *count, unsigned *left_out)
{
    fs_avail_entry_t **entries = fs_avail_table_list(table, count);
    fs_avail_item_t *items = entries ? calloc(*count, sizeof(*items)) : NULL;
    unsigned limited = 0;

    *left_out = 0;
    if (!items) {
        free(entries);
        *count = 0;
        return NULL;
    }
    /* The others need no place in the order. */
    for (unsigned i = 0; i < *count; i++) {
        entries[i]->heeded = 1;
        if (fs_avail_is_limited(entries[i]->notice))
            items[limited++] = (fs_avail_item_t){.notice = entries[i]->notice, .baton = entries[i]};
    }
    *left_out = fs_avail_share(items, limited, servers, percent, farm);
    for (unsigned i = 0; i < limited; i++)
        ((fs_avail_entry_t *)items[i].baton)->heeded = items[i].heeded;
    free(items);
    return entries;
}
