/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looking up. One hash, one entry of the directory (which the caches hold), then the row.
 *
 * A bucket's rows lie side by side and the directory tells where the bucket ends, so all its cache
 * lines are asked for at once: passing over a neighbour costs no second wait for memory. Rows of
 * other keys are told apart by fingerprint before a key is compared. Every step is held inside the
 * bucket, the bucket inside the heap, and the number of steps below the longest probe that opening
 * allowed.
 */
#include "image/fs_image_format.h"

#define LINE          64u
#define PREFETCH_MOST 4u /* cache lines of a bucket asked for ahead */
#define BATCH         16u

/* Where a key's row can be. */
typedef struct range_t {
    const uint8_t *at;
    uint64_t room;
} range_t;

static inline int bytes_equal(const char *a, const char *b, size_t length)
{
    if (length >= 8) {
        size_t i = 0;

        for (; i + 8 < length; i += 8)
            if (fs_load64(a + i) != fs_load64(b + i))
                return 0;
        return fs_load64(a + length - 8) == fs_load64(b + length - 8);
    }
    if (length >= 4)
        return fs_load32(a) == fs_load32(b) &&
               fs_load32(a + length - 4) == fs_load32(b + length - 4);
    for (size_t i = 0; i < length; i++)
        if (a[i] != b[i])
            return 0;
    return 1;
}

static inline int row_has_key(const uint8_t *row, const fs_row_shape_t *shape,
                              const fs_slice_t *key, unsigned count)
{
    const char *values = (const char *)row + shape->table;
    uint32_t start = 0;

    for (unsigned i = 0; i < count; i++) {
        uint32_t end = fs_row_end(row, shape->code, i);

        if (end > shape->total || (uint64_t)end != (uint64_t)start + key[i].length + 1 ||
            !bytes_equal(values + start, key[i].data, key[i].length))
            return 0;
        start = end;
    }
    return 1;
}

static inline void fill_row(const fs_image_t *image, const uint8_t *at, const fs_row_shape_t *shape,
                            fs_row_t *row)
{
    row->image = image;
    row->data = (const char *)at;
    row->opaque[0] = (uint64_t)shape->table << 8 | shape->code;
    row->opaque[1] = shape->total;
}

static inline range_t bucket_range(const fs_image_t *image, uint64_t hash)
{
    uint64_t bucket = fs_hash_bucket(hash, image->buckets);
    uint64_t from = fs_place_load(image->directory, image->wide, bucket);
    uint64_t to = fs_place_load(image->directory, image->wide, bucket + 1);
    uint64_t units = image->heap_bytes / FS_IMAGE_UNIT;
    range_t range = {image->heap, 0};

    if (from <= to && to <= units) {
        range.at += from * FS_IMAGE_UNIT;
        range.room = (to - from) * FS_IMAGE_UNIT;
    }
    return range;
}

static inline void prefetch_range(const range_t *range)
{
    for (unsigned i = 0; i < PREFETCH_MOST && i * LINE < range->room; i++)
        __builtin_prefetch(range->at + i * LINE);
}

static inline int find_in_range(const fs_image_t *image, range_t range, uint64_t hash,
                                const fs_slice_t *key, unsigned key_count, fs_row_t *row)
{
    const uint16_t want = fs_hash_fingerprint(hash);

    for (unsigned probe = 0; probe < image->longest_probe && range.room >= FS_IMAGE_UNIT; probe++) {
        fs_row_shape_t shape;
        uint16_t head;
        uint64_t step;

        if (!fs_row_parse(range.at, range.room, image->column_count, &shape))
            return 0;
        memcpy(&head, range.at, sizeof(head));
        if ((head & ~FS_IMAGE_WIDTH_BITS) == want &&
            row_has_key(range.at, &shape, key, key_count)) {
            fill_row(image, range.at, &shape, row);
            return 1;
        }
        step = fs_round_up(fs_row_bytes(&shape), FS_IMAGE_UNIT);
        range.at += step;
        range.room -= step;
    }
    return 0;
}

int fs_image_find(const fs_image_t *image, const fs_slice_t *key, unsigned key_count, fs_row_t *row)
{
    uint64_t hash;
    range_t range;

    if (key_count != image->key_count)
        return 0;
    hash = fs_key_hash(key, key_count, image->seed);
    range = bucket_range(image, hash);
    prefetch_range(&range);
    return find_in_range(image, range, hash, key, key_count, row);
}

/* Up to BATCH keys: hash all and ask for the directory, ask for the rows, compare. */
static unsigned find_some(const fs_image_t *image, const fs_slice_t *keys, unsigned key_count,
                          unsigned count, fs_row_t *rows)
{
    uint64_t hashes[BATCH];
    range_t ranges[BATCH];
    unsigned found = 0;

    for (unsigned i = 0; i < count; i++) {
        hashes[i] = fs_key_hash(keys + (size_t)i * key_count, key_count, image->seed);
        __builtin_prefetch(image->directory +
                           fs_hash_bucket(hashes[i], image->buckets) * (image->wide ? 8u : 4u));
    }
    for (unsigned i = 0; i < count; i++) {
        ranges[i] = bucket_range(image, hashes[i]);
        prefetch_range(&ranges[i]);
    }
    for (unsigned i = 0; i < count; i++) {
        if (find_in_range(image, ranges[i], hashes[i], keys + (size_t)i * key_count, key_count,
                          &rows[i]))
            found++;
        else
            rows[i].data = NULL;
    }
    return found;
}

unsigned fs_image_find_batch(const fs_image_t *image, const fs_slice_t *keys, unsigned key_count,
                             unsigned count, fs_row_t *rows)
{
    unsigned found = 0;

    for (unsigned done = 0; done < count; done += BATCH) {
        unsigned some = count - done < BATCH ? count - done : BATCH;

        if (key_count == image->key_count)
            found +=
                find_some(image, keys + (size_t)done * key_count, key_count, some, rows + done);
        else
            for (unsigned i = 0; i < some; i++)
                rows[done + i].data = NULL;
    }
    return found;
}

fs_slice_t fs_row_value(const fs_row_t *row, unsigned column)
{
    fs_row_shape_t shape = {(uint32_t)(row->opaque[0] & 0xFF), (uint32_t)(row->opaque[0] >> 8),
                            (uint32_t)row->opaque[1]};

    if (column >= row->image->column_count)
        return (fs_slice_t){NULL, 0};
    return fs_row_stored((const uint8_t *)row->data, &shape, row->image->stored_at[column]);
}

int fs_row_key(const uint8_t *row, const fs_row_shape_t *shape, unsigned key_count, fs_slice_t *key)
{
    for (unsigned i = 0; i < key_count; i++) {
        key[i] = fs_row_stored(row, shape, i);
        if (!key[i].data)
            return 0;
    }
    return 1;
}

int fs_key_compare(const fs_slice_t *a, const fs_slice_t *b, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        uint32_t shared = a[i].length < b[i].length ? a[i].length : b[i].length;
        int order = shared ? memcmp(a[i].data, b[i].data, shared) : 0;

        if (order)
            return order;
        if (a[i].length != b[i].length)
            return a[i].length < b[i].length ? -1 : 1;
    }
    return 0;
}

char *fs_key_text(const fs_slice_t *key, unsigned count, char *out, size_t size)
{
    size_t used = 0;

    for (unsigned i = 0; i < count; i++) {
        for (uint32_t j = 0; j < key[i].length && used + 2 < size; j++) {
            char c = key[i].data[j];

            out[used++] = (unsigned char)c < ' ' || c == 127 ? '.' : c;
        }
        if (i + 1 < count && used + 2 < size)
            out[used++] = '/';
    }
    out[used] = '\0';
    return out;
}

int fs_image_at(const fs_image_t *image, uint64_t place, fs_row_t *row)
{
    fs_row_shape_t shape;
    uint64_t unit, units = image->heap_bytes / FS_IMAGE_UNIT;

    if (place >= image->rows)
        return 0;
    unit = fs_place_load(image->order, image->wide, place);
    if (unit >= units || !fs_row_parse(image->heap + unit * FS_IMAGE_UNIT,
                                       (units - unit) * FS_IMAGE_UNIT, image->column_count, &shape))
        return 0;
    fill_row(image, image->heap + unit * FS_IMAGE_UNIT, &shape, row);
    return 1;
}

/* Is the row at `place` before `key`? A damaged row counts as not before, so that the search ends.
 */
static int row_is_before(const fs_image_t *image, uint64_t place, const fs_slice_t *key,
                         unsigned key_count)
{
    fs_slice_t have[FS_IMAGE_MAX_KEYS];
    fs_row_t row;

    if (!fs_image_at(image, place, &row))
        return 0;
    for (unsigned i = 0; i < key_count; i++) {
        fs_row_shape_t shape = {(uint32_t)(row.opaque[0] & 0xFF), (uint32_t)(row.opaque[0] >> 8),
                                (uint32_t)row.opaque[1]};

        have[i] = fs_row_stored((const uint8_t *)row.data, &shape, i);
    }
    return fs_key_compare(have, key, key_count) < 0;
}

uint64_t fs_image_seek(const fs_image_t *image, const fs_slice_t *key, unsigned key_count)
{
    uint64_t low = 0, high = image->rows;

    if (key_count > image->key_count)
        key_count = image->key_count;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;

        if (row_is_before(image, middle, key, key_count))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}
