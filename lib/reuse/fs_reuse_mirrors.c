/* SPDX-License-Identifier: Apache-2.0 */
#include "reuse/fs_reuse_mirrors.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reuse/fs_reuse_file.h"

#define MAGIC  "fsmirro1"
#define PROBES 8
#define BITS   64
#define WORDS  (FS_REUSE_MIRRORS / BITS)

typedef struct slot_t {
    int used;
    uint8_t id[FS_REUSE_CLIENT_BYTES];
    uint32_t generation;
    uint32_t each;
    uint32_t changes; /* since it was carried */
    int open;         /* the home that wrote it has a later one */
    int told;         /* the alternate knows that what it has is outdated */
    uint64_t version;
    uint64_t carried; /* the version that `to` has; 0 none */
    fs_usec_t seen;
    char to[FS_REUSE_SERVER_SIZE];
    fs_reuse_mirror_t mirror;
} slot_t;

typedef struct table_t {
    _Atomic uint64_t changed[WORDS]; /* a bit for each slot of which something is to be carried */
    slot_t slots[FS_REUSE_MIRRORS];
} table_t;

#define SIZE (FS_REUSE_FILE_HEAD + sizeof(table_t))

struct fs_reuse_mirrors_t {
    fs_reuse_file_t file;
    table_t *table;
};

apr_status_t fs_reuse_mirrors_prepare(const char *path, uint32_t uid, uint32_t gid,
                                      fs_result_t *result)
{
    return fs_reuse_file_prepare(path, MAGIC, SIZE, uid, gid, result);
}

apr_status_t fs_reuse_mirrors_open(fs_reuse_mirrors_t **made, const char *path, fs_result_t *result)
{
    fs_reuse_mirrors_t *mirrors = calloc(1, sizeof(*mirrors));
    apr_status_t status;

    *made = NULL;
    if (!mirrors)
        return fs_result_set(result, APR_ENOMEM, "FS1711", "there is no memory to map %s", path);
    status = fs_reuse_file_open(&mirrors->file, path, MAGIC, result);
    if (status == APR_SUCCESS && mirrors->file.size != SIZE) {
        fs_reuse_file_close(&mirrors->file);
        status = fs_result_set(result, APR_EINVAL, "FS1711",
                               "%s is of another farmsync; remove it, and restart httpd", path);
    }
    if (status != APR_SUCCESS) {
        free(mirrors);
        return status;
    }
    mirrors->table = fs_reuse_file_own(&mirrors->file);
    *made = mirrors;
    return APR_SUCCESS;
}

int fs_reuse_mirrors_current(const fs_reuse_mirrors_t *mirrors, const char *path)
{
    return fs_reuse_file_current(&mirrors->file, path);
}

void fs_reuse_mirrors_close(fs_reuse_mirrors_t *mirrors)
{
    if (!mirrors)
        return;
    fs_reuse_file_close(&mirrors->file);
    free(mirrors);
}

/* --- slots; the lock is held --------------------------------------------------------------------
 */

static unsigned place_of(const uint8_t id[FS_REUSE_CLIENT_BYTES], unsigned probe)
{
    uint32_t start; /* an id is random, or a hash */

    memcpy(&start, id, sizeof(start));
    return (start + probe) % FS_REUSE_MIRRORS;
}

static slot_t *find(table_t *table, const uint8_t id[FS_REUSE_CLIENT_BYTES])
{
    for (unsigned probe = 0; probe < PROBES; probe++) {
        slot_t *slot = &table->slots[place_of(id, probe)];

        if (slot->used && !memcmp(slot->id, id, FS_REUSE_CLIENT_BYTES))
            return slot;
    }
    return NULL;
}

static void set_changed(table_t *table, const slot_t *slot, int changed)
{
    unsigned place = (unsigned)(slot - table->slots);
    uint64_t bit = UINT64_C(1) << place % BITS;

    if (changed)
        atomic_fetch_or(&table->changed[place / BITS], bit);
    else
        atomic_fetch_and(&table->changed[place / BITS], ~bit);
}

/* The client's slot, a free one, or that of the client that wasn't seen for longest. */
static slot_t *find_or_make(table_t *table, const uint8_t id[FS_REUSE_CLIENT_BYTES])
{
    slot_t *slot = find(table, id);

    if (slot)
        return slot;
    for (unsigned probe = 0; probe < PROBES; probe++) {
        slot_t *other = &table->slots[place_of(id, probe)];

        if (!slot || (slot->used && (!other->used || other->seen < slot->seen)))
            slot = other;
    }
    set_changed(table, slot, 0);
    memset(slot, 0, sizeof(*slot));
    memcpy(slot->id, id, FS_REUSE_CLIENT_BYTES);
    return slot;
}

/* A process that died in the middle of a change leaves a slot that isn't used. */
static void begin_change(slot_t *slot)
{
    slot->used = 0;
    atomic_signal_fence(memory_order_seq_cst);
}

static void end_change(slot_t *slot)
{
    atomic_signal_fence(memory_order_seq_cst);
    slot->used = 1;
}

/* --- the client's home --------------------------------------------------------------------------
 */

/* Written here, or carried here, since the client was last somewhere else. */
static int counts(const slot_t *slot, uint32_t generation)
{
    return !slot->open && slot->mirror.count <= FS_REUSE_MIRROR_PAGES &&
           (slot->generation == generation || slot->generation + 1 == generation);
}

int fs_reuse_mirrors_get(fs_reuse_mirrors_t *mirrors, const fs_reuse_client_t *client,
                         fs_reuse_mirror_t *mirror)
{
    const slot_t *slot;
    int found;

    mirror->count = 0;
    if (fs_reuse_file_lock(&mirrors->file))
        return 0;
    slot = find(mirrors->table, client->id);
    found = slot && counts(slot, client->generation);
    if (found)
        *mirror = slot->mirror;
    fs_reuse_file_unlock(&mirrors->file);
    return found;
}

/* Greater than all before, also of one that was forgotten in between. */
static uint64_t next_version(uint64_t version)
{
    uint64_t now = (uint64_t)fs_time_wall();

    return now > version ? now : version + 1;
}

/*
 * Who is to have it. What another alternate has, if anything, is of an older
 * generation. But of a client that isn't known here (any more) its alternate may have a mirror of
 * this one.
 */
static void note_client(slot_t *slot, const fs_reuse_client_t *client, int known)
{
    const char *alternate = client->alternate ? client->alternate : "";

    if (strncmp(slot->to, alternate, sizeof(slot->to)) != 0) {
        snprintf(slot->to, sizeof(slot->to), "%s", alternate);
        slot->carried = 0;
        slot->told = known;
    }
}

/* What it says counts in this generation. */
static void begin_generation(slot_t *slot, uint32_t generation)
{
    slot->generation = generation;
    slot->version = next_version(slot->version);
    slot->changes++;
}

void fs_reuse_mirrors_put(fs_reuse_mirrors_t *mirrors, const fs_reuse_client_t *client,
                          const char *url, const char *tag, fs_usec_t now)
{
    slot_t *slot;
    int known, fresh;

    if (fs_reuse_file_lock(&mirrors->file))
        return;
    slot = find_or_make(mirrors->table, client->id);
    known = slot->used;
    fresh = !known || !counts(slot, client->generation);
    begin_change(slot);
    if (fresh)
        slot->mirror.count = 0;
    slot->open = 0;
    slot->seen = now;
    slot->each = client->each;
    note_client(slot, client, known);
    if (fs_reuse_mirror_put(&slot->mirror, url, tag) || slot->generation != client->generation)
        begin_generation(slot, client->generation);
    set_changed(mirrors->table, slot, slot->to[0] && slot->version != slot->carried);
    end_change(slot);
    fs_reuse_file_unlock(&mirrors->file);
}

void fs_reuse_mirrors_move(fs_reuse_mirrors_t *mirrors, const fs_reuse_client_t *client)
{
    slot_t *slot;

    if (fs_reuse_file_lock(&mirrors->file))
        return;
    slot = find(mirrors->table, client->id);
    if (slot && counts(slot, client->generation)) {
        begin_change(slot);
        note_client(slot, client, 1);
        if (slot->generation != client->generation)
            begin_generation(slot, client->generation);
        set_changed(mirrors->table, slot, slot->to[0] && slot->version != slot->carried);
        end_change(slot);
    }
    fs_reuse_file_unlock(&mirrors->file);
}

/* --- the agent ----------------------------------------------------------------------------------
 */

static int is_due(const slot_t *slot, fs_usec_t now, int all)
{
    return all || now - slot->seen >= FS_REUSE_END_AFTER ||
           (slot->each && slot->changes >= slot->each);
}

/* 1 if something is to be carried now. */
static int fill_carry(const slot_t *slot, fs_usec_t now, int all, fs_reuse_carry_t *carry)
{
    int due = is_due(slot, now, all);

    if (!due && slot->told)
        return 0;
    memset(carry, 0, sizeof(*carry));
    memcpy(carry->id, slot->id, sizeof(carry->id));
    memcpy(carry->to, slot->to, sizeof(carry->to));
    carry->generation = slot->generation;
    carry->version = slot->version;
    carry->open = !due;
    if (due && slot->mirror.count <= FS_REUSE_MIRROR_PAGES)
        carry->mirror = slot->mirror;
    return 1;
}

unsigned fs_reuse_mirrors_due(fs_reuse_mirrors_t *mirrors, fs_usec_t now, int all,
                              fs_reuse_carry_t *carries, unsigned room, unsigned *at)
{
    table_t *table = mirrors->table;
    unsigned count = 0;

    while (*at < FS_REUSE_MIRRORS && count < room) {
        uint64_t bits = atomic_load_explicit(&table->changed[*at / BITS], memory_order_relaxed);
        const slot_t *slot;

        bits >>= *at % BITS;
        if (!bits) {
            *at += BITS - *at % BITS;
            continue;
        }
        *at += (unsigned)__builtin_ctzll(bits);
        if (fs_reuse_file_lock(&mirrors->file))
            return count;
        slot = &table->slots[(*at)++];
        if (slot->used)
            count += (unsigned)fill_carry(slot, now, all, &carries[count]);
        else
            set_changed(table, slot, 0);
        fs_reuse_file_unlock(&mirrors->file);
    }
    return count;
}

void fs_reuse_mirrors_carried(fs_reuse_mirrors_t *mirrors, const fs_reuse_carry_t *carry)
{
    slot_t *slot;

    if (fs_reuse_file_lock(&mirrors->file))
        return;
    slot = find(mirrors->table, carry->id);
    if (slot && !strncmp(slot->to, carry->to, sizeof(slot->to))) {
        slot->told = carry->open;
        if (!carry->open) {
            slot->carried = carry->version;
            slot->changes = slot->version != carry->version;
        }
        set_changed(mirrors->table, slot, slot->version != slot->carried);
    }
    fs_reuse_file_unlock(&mirrors->file);
}

static int is_news(const slot_t *slot, const fs_reuse_carry_t *carry)
{
    if (!slot->used)
        return 1;
    if (slot->generation != carry->generation)
        return carry->generation > slot->generation;
    return carry->version > slot->version ||
           (carry->version == slot->version && slot->open && !carry->open);
}

int fs_reuse_mirrors_take(fs_reuse_mirrors_t *mirrors, const fs_reuse_carry_t *carry, fs_usec_t now)
{
    slot_t *slot;
    int news;

    if (fs_reuse_file_lock(&mirrors->file))
        return 0;
    slot = find_or_make(mirrors->table, carry->id);
    news = is_news(slot, carry);
    if (news) {
        begin_change(slot);
        slot->generation = carry->generation;
        slot->version = slot->carried = carry->version;
        slot->open = carry->open;
        slot->changes = 0;
        slot->told = 0;
        slot->to[0] = '\0';
        slot->seen = now;
        slot->mirror = carry->mirror;
        set_changed(mirrors->table, slot, 0);
        end_change(slot);
    }
    fs_reuse_file_unlock(&mirrors->file);
    return news;
}
