/* SPDX-License-Identifier: Apache-2.0 */
#include "session_change.h"

#include <stdlib.h>
#include <string.h>

#include "session_request.h"

#define EXPIRY      "expiry"
#define USER_ENDING "-" MOD_SESSION_USER

typedef struct numbered_t {
    fs_session_entry_t entry;
    int number; /* in the table: qsort isn't stable */
} numbered_t;

static int compare(const void *a, const void *b)
{
    const numbered_t *left = a, *right = b;
    int order = fs_session_entry_compare_keys(&left->entry, &right->entry);

    return order ? order : left->number - right->number;
}

static int is_entry(const char *key)
{
    return *key && strcmp(key, EXPIRY) != 0 && strcmp(key, FS_SESSION_OPAQUE_KEY) != 0;
}

static int collect(const apr_table_t *table, numbered_t *all)
{
    const apr_array_header_t *elements = apr_table_elts(table);
    int count = 0;

    for (int i = 0; i < elements->nelts; i++) {
        const apr_table_entry_t *element = &APR_ARRAY_IDX(elements, i, apr_table_entry_t);
        numbered_t *one = &all[count];

        if (!element->key || !element->val || !is_entry(element->key))
            continue;
        memset(one, 0, sizeof(*one));
        one->entry.key = element->key;
        one->entry.key_length = (uint32_t)strlen(element->key);
        one->entry.value = element->val;
        one->entry.value_length = (uint32_t)strlen(element->val);
        one->number = count++;
    }
    return count;
}

uint32_t fs_session_entries(const apr_table_t *table, fs_session_entry_t **entries,
                            apr_pool_t *pool)
{
    size_t room = (size_t)apr_table_elts(table)->nelts + 1;
    numbered_t *all = apr_palloc(pool, room * sizeof(*all));
    int count = collect(table, all), sorted = 1;
    uint32_t kept = 0;

    for (int i = 1; i < count && sorted; i++)
        sorted = compare(&all[i - 1], &all[i]) < 0;
    if (!sorted)
        qsort(all, (size_t)count, sizeof(*all), compare);
    *entries = apr_palloc(pool, room * sizeof(**entries));
    for (int i = 0; i < count; i++)
        if (!kept || fs_session_entry_compare_keys(&(*entries)[kept - 1], &all[i].entry))
            (*entries)[kept++] = all[i].entry;
    return kept;
}

static int ends_in_user(const fs_session_change_t *change)
{
    size_t length = sizeof(USER_ENDING) - 1;

    return change->key_length >= length &&
           !memcmp(change->key + change->key_length - length, USER_ENDING, length);
}

void fs_session_delta(fs_session_delta_t *delta, const fs_session_entry_t *before,
                      uint32_t before_count, const apr_table_t *table, apr_pool_t *pool)
{
    delta->after_count = fs_session_entries(table, &delta->after, pool);
    delta->changes =
        apr_palloc(pool, (before_count + delta->after_count + 1) * sizeof(*delta->changes));
    delta->count = fs_session_differences(before, before_count, delta->after, delta->after_count,
                                          delta->changes);
    delta->privilege = 0;
    for (uint32_t i = 0; i < delta->count; i++)
        delta->privilege |= ends_in_user(&delta->changes[i]);
}

void fs_session_change_table(apr_table_t *table, const fs_session_delta_t *delta)
{
    for (uint32_t i = 0; i < delta->count; i++) {
        const fs_session_change_t *change = &delta->changes[i];

        if (change->value)
            apr_table_setn(table, change->key, change->value);
        else
            apr_table_unset(table, change->key);
    }
}
