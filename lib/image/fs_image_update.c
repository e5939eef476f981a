/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The next version of an image from the one before it and some changes, in the time of copying.
 *
 * Both are sorted by hash with the same seed, so one walk over the old buckets merges them: a
 * bucket without a change is copied as it is, unless the number of buckets changed, which makes
 * every row be put again. While walking, a list of pieces remembers which old places went where;
 * the order is then the old order, each place looked up in that list, with the added rows let in
 * where they belong.
 */
#include "image/fs_image_builder.h"

#include <errno.h>
#include <stdlib.h>

#define PLACE_GONE UINT64_MAX

/* Old places from `from` on, up to the next piece's, went to `to` and onwards. */
typedef struct piece_t {
    uint64_t from, to;
} piece_t;

/* A row that the old image doesn't have. */
typedef struct addition_t {
    uint64_t before; /* place in the old order of the row that follows it */
    uint64_t place;  /* in the new heap */
    size_t entry;
} addition_t;

typedef struct update_t {
    fs_image_builder_t *builder;
    const fs_image_t *old;
    const fs_rows_t *rows;
    fs_table_t table;
    size_t next; /* entry that hasn't been written */
    piece_t *pieces;
    size_t piece_count, piece_most;
    int copying; /* the last piece goes on */
    addition_t *additions;
    size_t addition_count;
    size_t next_addition; /* that hasn't been written */
    uint64_t nowhere;     /* place of a row that only a damaged old image brings about */
    uint64_t rows_after, bytes_after;
} update_t;

static apr_status_t old_is_damaged(const fs_image_builder_t *builder, fs_result_t *result)
{
    return fs_result_set(
        result, APR_EINVAL, "FS0113",
        "cannot use the old image of dataset %s: its rows are damaged; remove it, it "
        "will be retrieved again",
        builder->schema.dataset);
}

/* --- what changes -------------------------------------------------------------------------------
 */

/* Counts the rows and bytes that there will be, and collects the additions. */
static apr_status_t weigh_changes(update_t *update, fs_result_t *result)
{
    fs_image_builder_t *builder = update->builder;

    update->rows_after = update->old->rows;
    update->bytes_after = update->old->row_bytes;
    update->additions = malloc((builder->count + 1) * sizeof(*update->additions));
    if (!update->additions)
        return fs_image_file_failed(&builder->temporary, ENOMEM, result);
    for (size_t i = 0; i < builder->count; i++) {
        fs_slice_t key[FS_IMAGE_MAX_KEYS];
        uint64_t place = builder->entries[i].place;
        size_t length = fs_builder_read(builder, update->rows, place, key);
        fs_row_t row;

        if (fs_image_find(update->old, key, builder->schema.key_count, &row)) {
            fs_row_shape_t shape = fs_row_shape(&row);

            update->rows_after--;
            update->bytes_after -= fs_row_bytes(&shape);
        } else if (!(place & FS_ENTRY_REMOVED)) {
            addition_t *addition = &update->additions[update->addition_count++];

            addition->before = fs_image_seek(update->old, key, builder->schema.key_count);
            addition->place = 0;
            addition->entry = i;
        }
        if (!(place & FS_ENTRY_REMOVED)) {
            update->rows_after++;
            update->bytes_after += length;
        }
    }
    return APR_SUCCESS;
}

static int compare_additions(const void *a, const void *b, void *baton)
{
    const addition_t *one = a, *other = b;
    const update_t *update = baton;
    const fs_image_builder_t *builder = update->builder;
    fs_slice_t keys[2][FS_IMAGE_MAX_KEYS];

    if (one->before != other->before)
        return one->before < other->before ? -1 : 1;
    fs_builder_read(builder, update->rows, builder->entries[one->entry].place, keys[0]);
    fs_builder_read(builder, update->rows, builder->entries[other->entry].place, keys[1]);
    return fs_key_compare(keys[0], keys[1], builder->schema.key_count);
}

/* --- walking the old buckets --------------------------------------------------------------------
 */

static piece_t *begin_piece(update_t *update, uint64_t from)
{
    piece_t *piece = &update->pieces[update->piece_count++];

    piece->from = from;
    piece->to = PLACE_GONE;
    update->copying = 0;
    return piece;
}

/* Where to note the place of a change that replaces no row. */
static uint64_t *addition_place(update_t *update, size_t entry)
{
    addition_t *addition = &update->additions[update->next_addition];

    if (update->next_addition == update->addition_count || addition->entry != entry)
        return &update->nowhere;
    update->next_addition++;
    return &addition->place;
}

/* Puts the next change; a removal only goes by. `place` is NULL unless it replaces a row. */
static void put_change(update_t *update, uint64_t *place)
{
    size_t entry = update->next++;
    uint64_t at = update->builder->entries[entry].place;
    fs_slice_t key[FS_IMAGE_MAX_KEYS];
    size_t length = fs_builder_read(update->builder, update->rows, at, key);

    if (!(at & FS_ENTRY_REMOVED))
        fs_table_put(&update->table, update->builder->entries[entry].word, update->rows->data + at,
                     length, place ? place : addition_place(update, entry));
}

/* Puts changes that come before an old row, then that row or the change that takes its place. */
static void merge_row(update_t *update, const uint8_t *row, const fs_row_shape_t *shape)
{
    fs_image_builder_t *builder = update->builder;
    fs_slice_t key[FS_IMAGE_MAX_KEYS], changed[FS_IMAGE_MAX_KEYS];
    piece_t *piece = begin_piece(update, (uint64_t)(row - update->old->heap));
    uint64_t hash;

    if (!fs_row_key(row, shape, builder->schema.key_count, key))
        return; /* damaged: the row is lost, and the new image's digest shows it */
    hash = fs_key_hash(key, builder->schema.key_count, update->old->seed);
    while (update->next < builder->count && builder->entries[update->next].word <= hash) {
        int order = -1;

        if (builder->entries[update->next].word == hash) {
            fs_builder_read(builder, update->rows, builder->entries[update->next].place, changed);
            order = fs_key_compare(changed, key, builder->schema.key_count);
        }
        if (order > 0)
            break;
        put_change(update, order ? NULL : &piece->to);
        if (order == 0)
            return;
    }
    fs_table_put(&update->table, hash, row, (size_t)fs_row_bytes(shape), &piece->to);
}

static apr_status_t merge_bucket(update_t *update, const uint8_t *data, uint64_t room,
                                 fs_result_t *result)
{
    fs_bucket_t bucket;

    if (!fs_bucket_parse(data, room, update->old->longest_probe, &bucket) ||
        bucket.rows >= update->piece_most - update->piece_count)
        return old_is_damaged(update->builder, result);
    for (unsigned i = 0; i < bucket.rows; i++) {
        const uint8_t *row;
        fs_row_shape_t shape;

        if (!fs_bucket_row(&bucket, i, update->old->column_count, &row, &shape))
            return old_is_damaged(update->builder, result);
        merge_row(update, row, &shape);
    }
    return APR_SUCCESS;
}

/* Copies bucket `number`, which has no change. */
static void copy_bucket(update_t *update, uint64_t number, uint64_t from, uint64_t units)
{
    uint64_t place = from * FS_IMAGE_UNIT;

    fs_table_copy(&update->table, number, update->old->heap + place, units);
    if (!update->copying && units) {
        piece_t *piece = begin_piece(update, place);

        piece->to = fs_table_heap(&update->table) - units * FS_IMAGE_UNIT;
        update->copying = 1;
    }
}

/* Is the next change in bucket `number` of the old table? */
static int has_change(const update_t *update, uint64_t number)
{
    return update->next < update->builder->count &&
           fs_hash_bucket(update->builder->entries[update->next].word, update->old->buckets) <=
               number;
}

static apr_status_t merge_rows(update_t *update, fs_result_t *result)
{
    int same_buckets = update->table.buckets == update->old->buckets;
    apr_status_t status = APR_SUCCESS;
    uint64_t end = 0;

    for (uint64_t i = 0; i < update->old->buckets && status == APR_SUCCESS; i++) {
        uint64_t from, to;

        fs_directory_load(update->old, i, &from, &to);
        if (from != end || to < from || to > update->old->heap_units)
            return old_is_damaged(update->builder, result);
        end = to;
        if (same_buckets && !has_change(update, i)) {
            copy_bucket(update, i, from, to - from);
            continue;
        }
        update->copying = 0;
        if (from != to)
            status = merge_bucket(update, update->old->heap + from * FS_IMAGE_UNIT,
                                  (to - from) * FS_IMAGE_UNIT, result);
        while (has_change(update, i))
            put_change(update, NULL);
    }
    return status ? status : fs_table_end_rows(&update->table, result);
}

/* --- the order ----------------------------------------------------------------------------------
 */

/* Where the row at an old place went; PLACE_GONE if it was removed. */
static uint64_t new_place(const update_t *update, uint64_t old)
{
    size_t low = 0, high = update->piece_count;

    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;

        if (update->pieces[middle].from <= old)
            low = middle;
        else
            high = middle;
    }
    if (!update->piece_count || update->pieces[low].to == PLACE_GONE)
        return PLACE_GONE;
    return update->pieces[low].to + (old - update->pieces[low].from);
}

static void write_order(update_t *update)
{
    const fs_image_t *old = update->old;
    const addition_t *addition = update->additions, *end = addition + update->addition_count;

    for (uint64_t i = 0; i <= old->rows; i++) {
        for (; addition < end && addition->before == i; addition++)
            fs_table_order(&update->table, addition->place);
        if (i < old->rows) {
            uint64_t place =
                new_place(update, fs_load64(old->order + i * old->place_width) & old->place_mask);

            if (place != PLACE_GONE)
                fs_table_order(&update->table, place);
        }
    }
}

/* --- all of it ----------------------------------------------------------------------------------
 */

/* Room for all pieces, which must not move: one for a row of a changed bucket, one for a run. */
static apr_status_t reserve_pieces(update_t *update, fs_result_t *result)
{
    uint64_t most = update->old->rows + update->old->buckets + 2;
    uint64_t changed = (update->builder->count + 2) * (uint64_t)(FS_IMAGE_BUCKET_ROWS + 1);

    if (update->table.buckets == update->old->buckets && changed < most)
        most = changed;
    update->piece_most = (size_t)most;
    update->pieces = malloc((size_t)most * sizeof(*update->pieces));
    return update->pieces ? APR_SUCCESS
                          : fs_image_file_failed(&update->builder->temporary, ENOMEM, result);
}

static apr_status_t write_table(update_t *update, const fs_image_file_t *file,
                                fs_image_header_t *header, int *unfit, fs_result_t *result)
{
    apr_status_t status =
        fs_table_open(&update->table, file, header, update->builder->schema_data, result);

    if (status == APR_SUCCESS)
        status = reserve_pieces(update, result);
    if (status == APR_SUCCESS)
        status = merge_rows(update, result);
    if (status == APR_SUCCESS && !update->table.crowded) {
        qsort_r(update->additions, update->addition_count, sizeof(*update->additions),
                compare_additions, update);
        write_order(update);
        if (!fs_table_has_order(&update->table))
            status = old_is_damaged(update->builder, result);
        else
            status = fs_table_finish(&update->table, result);
    }
    *unfit = update->table.crowded;
    fs_table_free(&update->table);
    free(update->pieces);
    return status;
}

static apr_status_t write_image(update_t *update, int *unfit, fs_image_made_t *made,
                                fs_result_t *result)
{
    fs_image_builder_t *builder = update->builder;
    fs_image_file_t file = {.fd = -1};
    fs_image_header_t header = {.rows = update->rows_after,
                                .version = builder->version,
                                .seed = update->old->seed,
                                .row_bytes = update->bytes_after,
                                .schema_bytes = builder->schema_bytes};
    apr_status_t status = fs_image_file_create(&file, builder->dir, result);

    if (status == APR_SUCCESS)
        status = write_table(update, &file, &header, unfit, result);
    if (status == APR_SUCCESS && !*unfit)
        return fs_image_file_finish(&file, &header, builder->schema_data, builder->dir,
                                    builder->expected, made, result);
    fs_image_file_drop(&file);
    return status;
}

apr_status_t fs_builder_update(fs_image_builder_t *builder, const fs_rows_t *rows, int *unfit,
                               fs_image_made_t *made, fs_result_t *result)
{
    update_t update = {.builder = builder, .old = builder->old, .rows = rows};
    uint64_t first_seed = fs_image_seed(builder->schema_data, builder->schema_bytes, 0);
    apr_status_t status =
        fs_builder_sort(builder, rows, builder->old->seed, builder->old->buckets, unfit, result);

    if (status == APR_SUCCESS && builder->old->seed != first_seed)
        *unfit = 1;
    if (status != APR_SUCCESS || *unfit)
        return status;
    status = weigh_changes(&update, result);
    if (status == APR_SUCCESS && update.rows_after > FS_IMAGE_MAX_ROWS)
        *unfit = 1; /* the full build says so */
    if (status == APR_SUCCESS && !*unfit)
        status = write_image(&update, unfit, made, result);
    free(update.additions);
    return status;
}

/* Is a key named by one of the changes, which lie in hash order? */
static int is_changed(const fs_image_builder_t *builder, const fs_rows_t *rows, size_t count,
                      const fs_slice_t *key)
{
    uint64_t hash = fs_key_hash(key, builder->schema.key_count, builder->old->seed);
    size_t low = 0, high = count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (builder->entries[middle].word < hash)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < count && builder->entries[low].word == hash; low++) {
        fs_slice_t changed[FS_IMAGE_MAX_KEYS];

        fs_builder_read(builder, rows, builder->entries[low].place, changed);
        if (!fs_key_compare(changed, key, builder->schema.key_count))
            return 1;
    }
    return 0;
}

/* Forgets the entries of removals, and counts the bytes of the others again. */
static void drop_removals(fs_image_builder_t *builder, const fs_rows_t *rows)
{
    size_t kept = 0;

    builder->row_bytes = 0;
    for (size_t i = 0; i < builder->count; i++) {
        fs_slice_t key[FS_IMAGE_MAX_KEYS];

        if (builder->entries[i].place & FS_ENTRY_REMOVED)
            continue;
        builder->entries[kept++] = builder->entries[i];
        builder->row_bytes += fs_builder_read(builder, rows, builder->entries[i].place, key);
    }
    builder->count = kept;
}

apr_status_t fs_builder_absorb(fs_image_builder_t *builder, fs_rows_t *rows, fs_result_t *result)
{
    size_t changes = builder->count; /* in hash order, as fs_builder_update left them */
    apr_status_t status = APR_SUCCESS;

    for (uint64_t i = 0; i < builder->old->rows && status == APR_SUCCESS; i++) {
        fs_slice_t key[FS_IMAGE_MAX_KEYS];
        fs_row_shape_t shape;
        fs_row_t row;

        if (!fs_image_at(builder->old, i, &row))
            return old_is_damaged(builder, result);
        shape = fs_row_shape(&row);
        if (!fs_row_key((const uint8_t *)row.data, &shape, builder->schema.key_count, key))
            return old_is_damaged(builder, result);
        if (!is_changed(builder, rows, changes, key))
            status = fs_builder_append(builder, (const uint8_t *)row.data,
                                       (size_t)fs_row_bytes(&shape), 0, result);
    }
    fs_builder_unmap(rows);
    if (status == APR_SUCCESS)
        status = fs_builder_map(builder, rows, result);
    if (status == APR_SUCCESS)
        drop_removals(builder, rows);
    return status;
}
