/* SPDX-License-Identifier: Apache-2.0 */
#include "session/fs_session_merge.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- order ---------------------------------------------------------------------------------------
 */

static int compare_bytes(const void *a, size_t a_length, const void *b, size_t b_length)
{
    size_t shorter = a_length < b_length ? a_length : b_length;
    int order = shorter ? memcmp(a, b, shorter) : 0;

    return order ? order : (a_length > b_length) - (a_length < b_length);
}

/*
 * What a key is: stamp first. Equal stamps are equal contents, for a writer stamps once; if a
 * broken one did not, all hosts still choose the same: a tombstone before a value, the greater
 * value.
 */
static int compare_contents(const fs_session_entry_t *a, const fs_session_entry_t *b)
{
    int order = fs_session_stamp_compare(&a->stamp, &b->stamp);

    if (order)
        return order;
    if (!a->value || !b->value)
        return (a->value == NULL) - (b->value == NULL);
    return compare_bytes(a->value, a->value_length, b->value, b->value_length);
}

static int compare_owners(const fs_session_owner_t *a, const fs_session_owner_t *b)
{
    if (a->epoch != b->epoch)
        return a->epoch < b->epoch ? -1 : 1;
    if (a->writer != b->writer)
        return a->writer < b->writer ? -1 : 1;
    return strcmp(a->name, b->name);
}

static int compare_targets(const fs_session_target_t *a, const fs_session_target_t *b)
{
    int order = fs_session_key_compare(&a->key, &b->key);

    if (!order)
        order = memcmp(a->seal, b->seal, sizeof(a->seal));
    return order ? order : (a->until > b->until) - (a->until < b->until);
}

/* --- one writer ----------------------------------------------------------------------------------
 */

void fs_session_renew(fs_session_record_t *record, const fs_session_writer_t *writer)
{
    if (record->version.epoch < record->owner.epoch)
        record->version.epoch = record->owner.epoch;
    record->version.sequence++;
    record->version.writer = writer->id;
}

/*
 * Where sequences go on from when a session begins or is taken over: a writer that does so twice,
 * the second time from an older copy, must not give out the same stamps again.
 */
static void start_sequence(fs_session_record_t *record, const fs_session_writer_t *writer)
{
    if (writer->now > 0 && record->version.sequence < (uint64_t)writer->now &&
        (uint64_t)writer->now < FS_SESSION_COUNT_LIMIT / 2)
        record->version.sequence = (uint64_t)writer->now;
}

static void use(fs_session_record_t *record, const fs_session_writer_t *writer)
{
    if (record->used < writer->now)
        record->used = writer->now;
}

void fs_session_begin(fs_session_record_t *record, const fs_session_writer_t *writer,
                      fs_usec_t ends, fs_usec_t idle)
{
    memset(record, 0, sizeof(*record));
    record->state = FS_SESSION_LIVE;
    record->owner.epoch = 1;
    record->owner.writer = writer->id;
    snprintf(record->owner.name, sizeof(record->owner.name), "%s", writer->name);
    record->version.epoch = 1;
    record->version.writer = writer->id;
    start_sequence(record, writer);
    record->created = record->used = writer->now;
    record->ends = ends;
    record->idle = idle;
}

static int compare_changes(const void *a, const void *b)
{
    const fs_session_change_t *x = *(const fs_session_change_t *const *)a;
    const fs_session_change_t *y = *(const fs_session_change_t *const *)b;
    int order = compare_bytes(x->key, x->key_length, y->key, y->key_length);

    return order ? order : (x > y) - (x < y); /* of one key, as they were given */
}

static const fs_session_change_t **sort_changes(const fs_session_change_t *changes, uint32_t *count,
                                                apr_pool_t *pool)
{
    const fs_session_change_t **sorted = apr_palloc(pool, (*count + 1) * sizeof(*sorted));
    uint32_t kept = 0;

    for (uint32_t i = 0; i < *count; i++)
        sorted[i] = &changes[i];
    if (*count > 1)
        qsort(sorted, *count, sizeof(*sorted), compare_changes);
    for (uint32_t i = 0; i < *count; i++)
        if (i + 1 == *count || compare_bytes(sorted[i]->key, sorted[i]->key_length,
                                             sorted[i + 1]->key, sorted[i + 1]->key_length))
            sorted[kept++] = sorted[i];
    *count = kept;
    return sorted;
}

static int compare_stamps(const void *a, const void *b)
{
    return fs_session_stamp_compare(a, b);
}

/* Raises the floor over the older half of the tombstones once they are too many, and drops them. */
static void fold(fs_session_record_t *record, apr_pool_t *pool)
{
    fs_session_stamp_t *stamps;
    uint32_t dead = 0, kept = 0;

    for (uint32_t i = 0; i < record->count; i++)
        dead += !record->entries[i].value;
    if (dead <= FS_SESSION_TOMBSTONES)
        return;
    stamps = apr_palloc(pool, dead * sizeof(*stamps));
    dead = 0;
    for (uint32_t i = 0; i < record->count; i++)
        if (!record->entries[i].value)
            stamps[dead++] = record->entries[i].stamp;
    qsort(stamps, dead, sizeof(*stamps), compare_stamps);
    if (fs_session_stamp_compare(&record->floor, &stamps[dead / 2]) < 0)
        record->floor = stamps[dead / 2];
    for (uint32_t i = 0; i < record->count; i++)
        if (record->entries[i].value ||
            fs_session_stamp_compare(&record->entries[i].stamp, &record->floor) > 0)
            record->entries[kept++] = record->entries[i];
    record->count = kept;
}

static void take_change(fs_session_record_t *record, const fs_session_change_t *change,
                        const fs_session_entry_t *old)
{
    fs_session_entry_t *entry = &record->entries[record->count];

    if (!change->value && (!old || !old->value)) {
        if (old) /* somebody else took it out before */
            record->entries[record->count++] = *old;
        return;
    }
    entry->key = change->key;
    entry->key_length = change->key_length;
    entry->value = change->value;
    entry->value_length = change->value ? change->value_length : 0;
    entry->stamp = record->version;
    record->count++;
}

static void apply_sorted(fs_session_record_t *record, const fs_session_change_t **changes,
                         uint32_t count, apr_pool_t *pool)
{
    const fs_session_entry_t *old = record->entries, *end = old + record->count;
    uint32_t at = 0;

    record->entries = apr_palloc(pool, (record->count + count + 1) * sizeof(*record->entries));
    record->count = 0;
    while (old < end || at < count) {
        int order = old == end    ? 1
                    : at == count ? -1
                                  : compare_bytes(old->key, old->key_length, changes[at]->key,
                                                  changes[at]->key_length);

        if (order < 0) {
            record->entries[record->count++] = *old++;
            continue;
        }
        take_change(record, changes[at++], order ? NULL : old);
        old += !order;
    }
}

static apr_status_t not_live(fs_result_t *result)
{
    return fs_result_set(result, APR_EINVAL, "FS1205",
                         "the session has ended or has another id; its change is not stored");
}

apr_status_t fs_session_apply(fs_session_record_t *record, const fs_session_change_t *changes,
                              uint32_t count, const fs_session_writer_t *writer, apr_pool_t *pool,
                              fs_result_t *result)
{
    fs_session_record_t next = *record;
    const fs_session_change_t **sorted;

    if (record->state != FS_SESSION_LIVE)
        return not_live(result);
    for (uint32_t i = 0; i < count; i++)
        if (!changes[i].key_length || changes[i].key_length > FS_SESSION_KEY_LIMIT)
            return fs_result_set(result, APR_EINVAL, "FS1203",
                                 "a session cannot be written: a key has %u bytes, not 1 to %d; "
                                 "store less in it",
                                 changes[i].key_length, FS_SESSION_KEY_LIMIT);
    sorted = sort_changes(changes, &count, pool);
    fs_session_renew(&next, writer);
    use(&next, writer);
    if (count) {
        apply_sorted(&next, sorted, count, pool);
        fold(&next, pool);
    }
    if (next.count > FS_SESSION_ENTRY_LIMIT || next.version.sequence >= FS_SESSION_COUNT_LIMIT)
        return fs_result_set(result, APR_ENOSPC, "FS1203",
                             "a session cannot be written: it has more than %d keys; store less "
                             "in it",
                             FS_SESSION_ENTRY_LIMIT);
    *record = next;
    return APR_SUCCESS;
}

uint32_t fs_session_differences(const fs_session_entry_t *before, uint32_t before_count,
                                const fs_session_entry_t *after, uint32_t after_count,
                                fs_session_change_t *changes)
{
    const fs_session_entry_t *before_end = before + before_count, *after_end = after + after_count;
    uint32_t n = 0;

    while (before < before_end || after < after_end) {
        int order = before == before_end ? 1
                    : after == after_end ? -1
                                         : fs_session_entry_compare_keys(before, after);
        const fs_session_entry_t *old = order <= 0 ? before++ : NULL;
        const fs_session_entry_t *now = order >= 0 ? after++ : NULL;
        const fs_session_entry_t *named = now ? now : old;
        const char *was = old ? old->value : NULL, *is = now ? now->value : NULL;

        if (!was && !is)
            continue;
        if (was && is && !compare_bytes(was, old->value_length, is, now->value_length))
            continue;
        changes[n].key = named->key;
        changes[n].key_length = named->key_length;
        changes[n].value = is;
        changes[n++].value_length = is ? now->value_length : 0;
    }
    return n;
}

apr_status_t fs_session_take_over(fs_session_record_t *record, const fs_session_writer_t *writer,
                                  fs_result_t *result)
{
    uint32_t epoch =
        record->owner.epoch > record->version.epoch ? record->owner.epoch : record->version.epoch;

    if (epoch >= FS_SESSION_EPOCH_LIMIT - 1 ||
        record->version.sequence >= FS_SESSION_COUNT_LIMIT - 2)
        return fs_result_set(result, APR_EINVAL, "FS1203",
                             "a session cannot be written: it was taken over too often; end it");
    record->owner.epoch = epoch + 1;
    record->owner.writer = writer->id;
    memset(record->owner.name, 0, sizeof(record->owner.name));
    snprintf(record->owner.name, sizeof(record->owner.name), "%s", writer->name);
    start_sequence(record, writer);
    fs_session_renew(record, writer);
    return APR_SUCCESS;
}

/* Only live records have entries, a floor; only aliases lead somewhere. */
static void set_state(fs_session_record_t *record, fs_session_state_t state)
{
    record->state = state;
    if (state != FS_SESSION_LIVE) {
        record->entries = NULL;
        record->count = 0;
        memset(&record->floor, 0, sizeof(record->floor));
    }
    if (state != FS_SESSION_ALIAS)
        memset(&record->target, 0, sizeof(record->target));
}

void fs_session_end(fs_session_record_t *record, const fs_session_writer_t *writer)
{
    fs_usec_t life = record->idle > FS_SESSION_ENDED_LIFE ? record->idle : FS_SESSION_ENDED_LIFE;

    fs_session_renew(record, writer);
    use(record, writer);
    if (!record->ends)
        record->ends = writer->now < INT64_MAX - life ? writer->now + life : INT64_MAX;
    set_state(record, FS_SESSION_ENDED);
}

apr_status_t fs_session_move(fs_session_record_t *record, fs_session_record_t *moved,
                             const fs_session_target_t *target, const fs_session_writer_t *writer,
                             fs_result_t *result)
{
    if (record->state != FS_SESSION_LIVE)
        return not_live(result);
    *moved = *record;
    fs_session_renew(moved, writer);
    use(moved, writer);
    record->version = moved->version;
    record->used = moved->used;
    set_state(record, FS_SESSION_ALIAS);
    record->target = *target;
    return APR_SUCCESS;
}

/* --- two copies ----------------------------------------------------------------------------------
 */

/* The greater of what two records say about a key; NULL stands for a key that isn't listed. */
static fs_session_entry_t join_entry(const fs_session_record_t *a, const fs_session_entry_t *in_a,
                                     const fs_session_record_t *b, const fs_session_entry_t *in_b)
{
    fs_session_entry_t x = in_a ? *in_a : *in_b, y = in_b ? *in_b : *in_a;

    if (!in_a) {
        x.value = NULL;
        x.stamp = a->floor;
    }
    if (!in_b) {
        y.value = NULL;
        y.stamp = b->floor;
    }
    x = compare_contents(&x, &y) < 0 ? y : x;
    if (!x.value)
        x.value_length = 0;
    return x;
}

static void join_entries(fs_session_record_t *out, const fs_session_record_t *a,
                         const fs_session_record_t *b, apr_pool_t *pool)
{
    uint32_t i = 0, j = 0;

    out->floor = fs_session_stamp_compare(&a->floor, &b->floor) < 0 ? b->floor : a->floor;
    out->entries = apr_palloc(pool, (a->count + b->count + 1) * sizeof(*out->entries));
    while (i < a->count || j < b->count) {
        int order = i == a->count   ? 1
                    : j == b->count ? -1
                                    : fs_session_entry_compare_keys(&a->entries[i], &b->entries[j]);
        const fs_session_entry_t *in_a = order <= 0 ? &a->entries[i++] : NULL;
        const fs_session_entry_t *in_b = order >= 0 ? &b->entries[j++] : NULL;
        fs_session_entry_t entry = join_entry(a, in_a, b, in_b);

        if (entry.value || fs_session_stamp_compare(&entry.stamp, &out->floor) != 0)
            out->entries[out->count++] = entry;
    }
}

static fs_usec_t sooner(fs_usec_t a, fs_usec_t b)
{
    return !a ? b : !b ? a : a < b ? a : b;
}

static fs_usec_t later(fs_usec_t a, fs_usec_t b)
{
    return a > b ? a : b;
}

static int same_entries(const fs_session_record_t *a, const fs_session_record_t *b)
{
    if (a->count != b->count)
        return 0;
    for (uint32_t i = 0; i < a->count; i++)
        if (fs_session_entry_compare_keys(&a->entries[i], &b->entries[i]) ||
            compare_contents(&a->entries[i], &b->entries[i]))
            return 0;
    return 1;
}

static int same_record(const fs_session_record_t *a, const fs_session_record_t *b)
{
    return a->state == b->state && !fs_session_stamp_compare(&a->version, &b->version) &&
           !compare_owners(&a->owner, &b->owner) && a->created == b->created &&
           a->ends == b->ends && a->used == b->used && a->idle == b->idle &&
           !compare_targets(&a->target, &b->target) &&
           !fs_session_stamp_compare(&a->floor, &b->floor) && same_entries(a, b);
}

int fs_session_merge(fs_session_record_t *out, const fs_session_record_t *a,
                     const fs_session_record_t *b, apr_pool_t *pool)
{
    memset(out, 0, sizeof(*out));
    out->version = fs_session_stamp_compare(&a->version, &b->version) < 0 ? b->version : a->version;
    out->owner = compare_owners(&a->owner, &b->owner) < 0 ? b->owner : a->owner;
    out->created = sooner(a->created, b->created);
    out->ends = sooner(a->ends, b->ends);
    out->used = later(a->used, b->used);
    out->idle = later(a->idle, b->idle);
    out->state = a->state > b->state ? a->state : b->state;
    if (out->state == FS_SESSION_LIVE)
        join_entries(out, a, b, pool);
    if (out->state == FS_SESSION_ALIAS)
        out->target = compare_targets(&a->target, &b->target) < 0 ? b->target : a->target;
    return (same_record(out, a) ? FS_SESSION_MERGED_SAME_A : 0) |
           (same_record(out, b) ? FS_SESSION_MERGED_SAME_B : 0);
}
