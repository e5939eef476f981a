/* SPDX-License-Identifier: Apache-2.0 */
/* The course of a comparison, for who began it: what differs, and what is to be done about it. */
#include <stdlib.h>
#include <string.h>

#include "backplane/fs_exchange_internal.h"

/* --- what differs -------------------------------------------------------------------------------
 */

typedef struct fs_difference_t {
    uint64_t hash;
    unsigned priority;
    int bring, want;
} fs_difference_t;

typedef struct fs_bucket_t {
    const fs_message_entry_t *theirs;
    unsigned count;
    fs_difference_t *differences;
    unsigned *difference_count;
} fs_bucket_t;

static void add_difference(fs_bucket_t *bucket, uint64_t hash, unsigned priority, int bring,
                           int want)
{
    if (*bucket->difference_count < 2 * FS_COMPARE_LIST)
        bucket->differences[(*bucket->difference_count)++] =
            (fs_difference_t){hash, priority, bring, want};
}

/* A record of ours against what they listed: theirs is newer, ours is, or they haven't got it. */
static int compare_own(void *baton, const fs_record_t *record)
{
    fs_bucket_t *bucket = baton;
    uint64_t hash = fs_record_key_hash(record->kind, record->key);

    for (unsigned i = 0; i < bucket->count; i++) {
        const fs_message_entry_t *entry = &bucket->theirs[i];
        int by;

        if (entry->hash != hash)
            continue;
        if (entry->fingerprint == fs_record_fingerprint(record))
            return 0;
        by = fs_hlc_compare(&entry->when, &record->stamp.when);
        add_difference(bucket, hash, (unsigned)record->priority, by <= 0, by >= 0);
        return 0;
    }
    add_difference(bucket, hash, (unsigned)record->priority, 1, 0);
    return 0;
}

static void compare_bucket(const fs_map_t *map, unsigned number, fs_bucket_t *bucket)
{
    fs_map_each_in(map, number, compare_own, bucket);
    for (unsigned i = 0; i < bucket->count; i++) {
        const fs_entry_t *entry = fs_map_entry(map, bucket->theirs[i].hash, NULL, NULL);

        if (!entry || entry->record.held) /* held ones are confirmed by fetching them */
            add_difference(bucket, bucket->theirs[i].hash, bucket->theirs[i].priority, 0, 1);
    }
}

/* Into the two lists, what operators said first. */
static void make_lists(fs_compare_t *compare, const fs_difference_t *differences, unsigned count)
{
    for (unsigned p = 0; p <= FS_PRIORITIES; p++)
        for (unsigned i = 0; i < count; i++) {
            const fs_difference_t *one = &differences[i];

            if ((one->priority < FS_PRIORITIES ? one->priority : FS_PRIORITIES) != p)
                continue;
            if (one->bring && compare->bring_count < FS_COMPARE_LIST)
                compare->bring[compare->bring_count++] = one->hash;
            else if (one->bring)
                compare->more = 1;
            if (one->want && compare->want_count < FS_COMPARE_LIST)
                compare->want[compare->want_count++] = one->hash;
            else if (one->want)
                compare->more = 1;
        }
}

/* Reads the buckets. Returns how many differences, -1 if they are malformed. */
static int read_buckets(const fs_map_t *map, fs_bytes_t *body, unsigned buckets,
                        fs_difference_t *differences, fs_message_entry_t *entries)
{
    unsigned found = 0;

    for (unsigned b = 0; b < buckets; b++) {
        unsigned number = (unsigned)fs_bytes_get(body, 1);
        fs_bucket_t bucket = {.theirs = entries,
                              .count = (unsigned)fs_bytes_get(body, 2),
                              .differences = differences,
                              .difference_count = &found};

        if (bucket.count > FS_COMPARE_LIST)
            return -1;
        for (unsigned i = 0; i < bucket.count; i++) {
            fs_message_get_entry(body, &entries[i]);
            if (entries[i].hash >> 56 != number)
                return -1;
        }
        if (body->bad)
            return -1;
        compare_bucket(map, number, &bucket);
    }
    return (int)found;
}

static int list_differences(const fs_map_t *map, fs_compare_t *compare, fs_bytes_t *body,
                            unsigned buckets)
{
    fs_difference_t *differences = malloc(2 * FS_COMPARE_LIST * sizeof(*differences));
    fs_message_entry_t *entries = malloc(FS_COMPARE_LIST * sizeof(*entries));
    int count = -1;

    if (!compare->bring)
        compare->bring = malloc(2 * FS_COMPARE_LIST * sizeof(uint64_t));
    compare->bring_count = compare->bring_at = compare->want_count = compare->want_at = 0;
    if (differences && entries && compare->bring) {
        compare->want = compare->bring + FS_COMPARE_LIST;
        count = read_buckets(map, body, buckets, differences, entries);
    }
    if (count > 0)
        make_lists(compare, differences, (unsigned)count);
    free(differences);
    free(entries);
    return count < 0 ? -1 : 0;
}

/* --- the course of a comparison -----------------------------------------------------------------
 */

static void end_comparison(fs_exchange_t *exchange, fs_peer_t *peer, fs_moment_t now)
{
    fs_peer_end_compare(peer);
    fs_exchange_synced(exchange, peer, 1, now);
}

/* All of a round is done: another one if there may be something more, and this one did something.
 */
void fs_compare_end_round(fs_exchange_t *exchange, fs_peer_t *peer, fs_moment_t now)
{
    fs_compare_t *compare = &peer->compare;

    if (!compare->running || !compare->asked || compare->bring_at < compare->bring_count ||
        compare->want_at < compare->want_count)
        return;
    if (compare->moved)
        compare->asked = 0;
    else
        end_comparison(exchange, peer, now);
}

int fs_compare_answered(fs_exchange_t *exchange, fs_peer_t *peer, fs_message_t *message,
                        fs_moment_t now)
{
    unsigned same = (unsigned)fs_bytes_get(&message->body, 1);
    unsigned more = (unsigned)fs_bytes_get(&message->body, 1);
    unsigned buckets = (unsigned)fs_bytes_get(&message->body, 2);

    if (message->body.bad || !peer->compare.running)
        return message->body.bad ? -1 : 0;
    if (same) {
        end_comparison(exchange, peer, now);
        return 0;
    }
    peer->compare.more = (int)more;
    if (list_differences(exchange->map, &peer->compare, &message->body, buckets))
        return -1;
    peer->compare.asked = 1;
    exchange->info.compared++;
    fs_compare_end_round(exchange, peer, now);
    return 0;
}

int fs_compare_fetched(fs_exchange_t *exchange, fs_peer_t *peer, fs_message_t *message,
                       fs_moment_t now)
{
    unsigned done = (unsigned)fs_bytes_get(&message->body, 2);
    fs_intake_t intake;

    fs_exchange_take_records(exchange, peer, message, now, &intake);
    if (intake.malformed || message->body.bad || !peer->compare.running)
        return peer->compare.running ? -1 : 0;
    if (!done || done > peer->compare.want_count - peer->compare.want_at)
        return -1;
    peer->compare.want_at += done;
    peer->compare.moved |= intake.taken > 0;
    return 0;
}
