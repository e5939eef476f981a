/* SPDX-License-Identifier: Apache-2.0 */
#include "session_release.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "session/fs_session_mix.h"

typedef struct release_t {
    fs_keyed_t keyed;
    uint64_t told; /* servers, as bits */
} release_t;

apr_status_t fs_releases_init(fs_releases_t *releases)
{
    return fs_key_table_init(&releases->table);
}

void fs_releases_end(fs_releases_t *releases)
{
    fs_keyed_t *keyed;

    while ((keyed = fs_key_table_any(&releases->table))) {
        fs_key_table_remove(&releases->table, keyed);
        free(keyed);
    }
    fs_key_table_end(&releases->table);
}

static release_t *find(const fs_releases_t *releases, const fs_session_key_t *key)
{
    return (release_t *)fs_key_table_find(&releases->table, key);
}

void fs_release_begin(fs_releases_t *releases, const fs_session_key_t *key)
{
    release_t *release = find(releases, key);

    if (release) {
        release->told = 0;
        return;
    }
    release = calloc(1, sizeof(*release));
    if (!release)
        return;
    release->keyed.key = *key;
    fs_key_table_add(&releases->table, &release->keyed);
}

void fs_release_end(fs_releases_t *releases, const fs_session_key_t *key)
{
    release_t *release = find(releases, key);

    if (!release)
        return;
    fs_key_table_remove(&releases->table, &release->keyed);
    free(release);
}

void fs_release_told(fs_releases_t *releases, const fs_session_key_t *key, unsigned server)
{
    release_t *release = find(releases, key);

    if (release)
        release->told |= UINT64_C(1) << server;
}

int fs_release_is_told(const fs_releases_t *releases, const fs_session_key_t *key, unsigned server)
{
    const release_t *release = find(releases, key);

    return !release || release->told >> server & 1;
}

static unsigned place_of(const fs_session_key_t *key)
{
    return (unsigned)(fs_session_mix_load(key->bytes) % FS_DISCLAIMED_COUNT);
}

/* Where a host stands among those who were told of this session, else who was told first. */
static unsigned host_place(const fs_disclaimed_t *disclaimed, unsigned at, const char *to)
{
    unsigned first = 0;

    for (unsigned i = 0; i < FS_DISCLAIMED_HOSTS; i++) {
        if (!strcmp(disclaimed->ids[at].to[i], to))
            return i;
        if (disclaimed->ids[at].until[i] < disclaimed->ids[at].until[first])
            first = i;
    }
    return first;
}

void fs_disclaimed_add(fs_disclaimed_t *disclaimed, const fs_session_key_t *key, const char *to,
                       fs_usec_t until)
{
    unsigned at = place_of(key), host;

    if (fs_session_key_compare(&disclaimed->ids[at].key, key) != 0)
        memset(&disclaimed->ids[at], 0, sizeof(disclaimed->ids[at]));
    disclaimed->ids[at].key = *key;
    host = host_place(disclaimed, at, to);
    disclaimed->ids[at].until[host] = until;
    snprintf(disclaimed->ids[at].to[host], FS_SESSION_NAME_SIZE, "%s", to);
}

void fs_disclaimed_drop(fs_disclaimed_t *disclaimed, const fs_session_key_t *key, const char *to)
{
    unsigned at = place_of(key), host = host_place(disclaimed, at, to);

    if (!fs_session_key_compare(&disclaimed->ids[at].key, key) &&
        !strcmp(disclaimed->ids[at].to[host], to))
        disclaimed->ids[at].until[host] = 0;
}

unsigned fs_disclaimed_to(const fs_disclaimed_t *disclaimed, const fs_session_key_t *key,
                          fs_usec_t now, char to[FS_DISCLAIMED_HOSTS][FS_SESSION_NAME_SIZE])
{
    unsigned at = place_of(key), count = 0;

    if (fs_session_key_compare(&disclaimed->ids[at].key, key) != 0)
        return 0;
    for (unsigned i = 0; i < FS_DISCLAIMED_HOSTS; i++)
        if (disclaimed->ids[at].until[i] > now)
            memcpy(to[count++], disclaimed->ids[at].to[i], FS_SESSION_NAME_SIZE);
    return count;
}
