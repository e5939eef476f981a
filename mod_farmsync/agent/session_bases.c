/* SPDX-License-Identifier: Apache-2.0 */
#include "session_bases.h"

#include <stdlib.h>
#include <string.h>

#include "session/fs_session_mix.h"

#define WAYS  4 /* sessions that share a place */
#define HELD  8 /* servers that one session is on: k, and some that were */
#define LEAST 1024u

typedef struct held_t {
    uint32_t era; /* of the server; 0: nothing is noted */
    uint32_t server;
    fs_session_stamp_t version;
} held_t;

typedef struct note_t {
    fs_session_key_t key;
    uint32_t used; /* 0: free; else when it was written last */
    held_t held[HELD];
} note_t;

struct fs_bases_t {
    note_t *notes;
    uint64_t mask; /* of places */
    uint32_t clock;
    unsigned servers;
    uint32_t *eras; /* of the servers, from 1 */
};

fs_bases_t *fs_bases_make(uint32_t sessions, unsigned servers)
{
    fs_bases_t *bases = calloc(1, sizeof(*bases));
    uint64_t places = LEAST;

    if (!bases)
        return NULL;
    while (places * WAYS < sessions)
        places *= 2;
    bases->mask = places - 1;
    bases->servers = servers;
    bases->notes = calloc(places * WAYS, sizeof(note_t));
    bases->eras = malloc((servers + 1) * sizeof(*bases->eras));
    if (!bases->notes || !bases->eras) {
        fs_bases_free(bases);
        return NULL;
    }
    for (unsigned i = 0; i < servers; i++)
        bases->eras[i] = 1;
    return bases;
}

void fs_bases_free(fs_bases_t *bases)
{
    if (!bases)
        return;
    free(bases->notes);
    free(bases->eras);
    free(bases);
}

static note_t *place_of(const fs_bases_t *bases, const fs_session_key_t *key)
{
    return &bases->notes[(fs_session_mix_load(key->bytes) & bases->mask) * WAYS];
}

static note_t *find(const fs_bases_t *bases, const fs_session_key_t *key)
{
    note_t *place = place_of(bases, key);

    for (unsigned i = 0; i < WAYS; i++)
        if (place[i].used && !fs_session_key_compare(&place[i].key, key))
            return &place[i];
    return NULL;
}

const fs_session_stamp_t *fs_bases_get(const fs_bases_t *bases, const fs_session_key_t *key,
                                       unsigned server)
{
    const note_t *note = find(bases, key);

    for (unsigned i = 0; note && i < HELD; i++)
        if (note->held[i].server == server && note->held[i].era == bases->eras[server])
            return &note->held[i].version;
    return NULL;
}

/* The session's note: a new one takes the place of the one that was written the longest ago. */
static note_t *find_or_make(fs_bases_t *bases, const fs_session_key_t *key)
{
    note_t *place = place_of(bases, key), *note = find(bases, key);

    if (note)
        return note;
    note = &place[0];
    for (unsigned i = 1; i < WAYS; i++)
        if (!place[i].used ||
            (note->used && bases->clock - place[i].used > bases->clock - note->used))
            note = &place[i];
    memset(note, 0, sizeof(*note));
    note->key = *key;
    return note;
}

void fs_bases_set(fs_bases_t *bases, const fs_session_key_t *key, unsigned server,
                  const fs_session_stamp_t *version)
{
    note_t *note = find_or_make(bases, key);
    held_t *held = NULL;

    bases->clock += bases->clock == UINT32_MAX ? 2 : 1;
    note->used = bases->clock;
    for (unsigned i = 0; i < HELD && !held; i++)
        if (note->held[i].era && note->held[i].server == server)
            held = &note->held[i];
    for (unsigned i = 0; i < HELD && !held; i++)
        if (!note->held[i].era || note->held[i].era != bases->eras[note->held[i].server])
            held = &note->held[i];
    if (!held)
        held = &note->held[bases->clock % HELD];
    held->era = bases->eras[server];
    held->server = server;
    held->version = *version;
}

void fs_bases_forget(fs_bases_t *bases, const fs_session_key_t *key)
{
    note_t *note = find(bases, key);

    if (note)
        memset(note, 0, sizeof(*note));
}

void fs_bases_forget_server(fs_bases_t *bases, unsigned server)
{
    bases->eras[server]++;
}
