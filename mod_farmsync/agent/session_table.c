/* SPDX-License-Identifier: Apache-2.0 */
#include "session_table.h"

#include <stdlib.h>

#include "session/fs_session_mix.h"

#define HEADS_BEGIN 256u

apr_status_t fs_key_table_init(fs_key_table_t *table)
{
    table->heads = calloc(HEADS_BEGIN, sizeof(*table->heads));
    table->mask = HEADS_BEGIN - 1;
    table->count = 0;
    return table->heads ? APR_SUCCESS : APR_ENOMEM;
}

void fs_key_table_end(fs_key_table_t *table)
{
    free(table->heads);
    table->heads = NULL;
}

static fs_keyed_t **head_of(const fs_key_table_t *table, const fs_session_key_t *key)
{
    return &table->heads[fs_session_mix_load(key->bytes) & table->mask];
}

fs_keyed_t *fs_key_table_find(const fs_key_table_t *table, const fs_session_key_t *key)
{
    fs_keyed_t *keyed = *head_of(table, key);

    while (keyed && fs_session_key_compare(&keyed->key, key))
        keyed = keyed->next;
    return keyed;
}

/* Without memory for more heads the chains grow instead. */
static void grow(fs_key_table_t *table)
{
    fs_key_table_t larger = {.mask = table->mask * 2 + 1, .count = table->count};

    larger.heads = calloc((size_t)larger.mask + 1, sizeof(*larger.heads));
    if (!larger.heads)
        return;
    for (uint32_t i = 0; i <= table->mask; i++) {
        fs_keyed_t *next;

        for (fs_keyed_t *keyed = table->heads[i]; keyed; keyed = next) {
            fs_keyed_t **head = head_of(&larger, &keyed->key);

            next = keyed->next;
            keyed->next = *head;
            *head = keyed;
        }
    }
    free(table->heads);
    *table = larger;
}

void fs_key_table_add(fs_key_table_t *table, fs_keyed_t *keyed)
{
    fs_keyed_t **head;

    if (table->count > table->mask && table->mask < UINT32_MAX / 2)
        grow(table);
    head = head_of(table, &keyed->key);
    keyed->next = *head;
    *head = keyed;
    table->count++;
}

void fs_key_table_remove(fs_key_table_t *table, const fs_keyed_t *keyed)
{
    fs_keyed_t **at = head_of(table, &keyed->key);

    while (*at && *at != keyed)
        at = &(*at)->next;
    if (!*at)
        return;
    *at = keyed->next;
    table->count--;
}

fs_keyed_t *fs_key_table_any(const fs_key_table_t *table)
{
    for (uint32_t i = 0; table->count && i <= table->mask; i++)
        if (table->heads[i])
            return table->heads[i];
    return NULL;
}

void fs_key_table_each(const fs_key_table_t *table, void (*look)(void *baton, fs_keyed_t *keyed),
                       void *baton)
{
    for (uint32_t i = 0; i <= table->mask; i++) {
        fs_keyed_t *next;

        for (fs_keyed_t *keyed = table->heads[i]; keyed; keyed = next) {
            next = keyed->next;
            look(baton, keyed);
        }
    }
}
