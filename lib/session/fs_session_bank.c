/* SPDX-License-Identifier: Apache-2.0 */
#include "session/fs_session_bank.h"

#include <string.h>

#include "base/fs_digest.h"
#include "session/fs_session_mix.h"

typedef struct place_t {
    uint64_t name; /* hash */
    unsigned rack; /* number */
} place_t;

struct fs_session_bank_t {
    unsigned count;
    place_t *places;
};

static uint64_t score(const place_t *place, const fs_session_key_t *key)
{
    return fs_session_mix(fs_session_mix(place->name ^ fs_session_mix_load(key->bytes)) +
                          fs_session_mix_load(key->bytes + 8));
}

/* The rack's number: that of the first server in it. */
static unsigned find_rack(const fs_session_server_t *servers, unsigned at)
{
    const char *rack = servers[at].rack;

    for (unsigned i = 0; rack && *rack && i < at; i++)
        if (servers[i].rack && !strcmp(servers[i].rack, rack))
            return i;
    return at;
}

apr_status_t fs_session_bank_make(fs_session_bank_t **bank, const fs_session_server_t *servers,
                                  unsigned count, apr_pool_t *pool, fs_result_t *result)
{
    if (count > FS_SESSION_BANK_LIMIT)
        return fs_result_set(result, APR_EINVAL, "FS1240",
                             "the session bank has %u servers, at most %d are possible; list fewer",
                             count, FS_SESSION_BANK_LIMIT);
    *bank = apr_pcalloc(pool, sizeof(**bank));
    (*bank)->count = count;
    (*bank)->places = apr_pcalloc(pool, (count + 1) * sizeof(place_t));
    for (unsigned i = 0; i < count; i++) {
        fs_digest_t digest;

        for (unsigned j = 0; j < i; j++)
            if (!strcmp(servers[i].name, servers[j].name))
                return fs_result_set(result, APR_EINVAL, "FS1240",
                                     "the session bank lists the server %s twice; remove one",
                                     servers[i].name);
        fs_digest_of(&digest, servers[i].name, strlen(servers[i].name));
        (*bank)->places[i].name = fs_session_mix_load(digest.bytes);
        (*bank)->places[i].rack = find_rack(servers, i);
    }
    return APR_SUCCESS;
}

/* Less crowded rack first, then the higher score, then the name: never a tie. */
static int is_better(const place_t *a, uint64_t a_score, const place_t *b, uint64_t b_score,
                     const unsigned *in_rack)
{
    if (in_rack[a->rack] != in_rack[b->rack])
        return in_rack[a->rack] < in_rack[b->rack];
    return a_score != b_score ? a_score > b_score : a->name > b->name;
}

unsigned fs_session_bank_choose(const fs_session_bank_t *bank, const fs_session_key_t *key,
                                unsigned wanted, const uint8_t *usable, unsigned *chosen)
{
    uint64_t scores[FS_SESSION_BANK_LIMIT];
    unsigned in_rack[FS_SESSION_BANK_LIMIT] = {0}, count;
    uint8_t left[FS_SESSION_BANK_LIMIT];

    for (unsigned i = 0; i < bank->count; i++) {
        scores[i] = score(&bank->places[i], key);
        left[i] = !usable || usable[i];
    }
    for (count = 0; count < wanted; count++) {
        unsigned best = bank->count;

        for (unsigned i = 0; i < bank->count; i++)
            if (left[i] &&
                (best == bank->count || is_better(&bank->places[i], scores[i], &bank->places[best],
                                                  scores[best], in_rack)))
                best = i;
        if (best == bank->count)
            break;
        left[best] = 0;
        in_rack[bank->places[best].rack]++;
        chosen[count] = best;
    }
    return count;
}
