/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looking up. One hash, one entry of the directory (which the caches hold), then the bucket, whose
 * cache lines are asked for all at once: they arrive in the time of one. The fingerprints, compared
 * eight at a time, tell which row to compare. A small image, which the caches hold as a whole, has
 * an index of its rows instead (fs_image_index.c): there the steps themselves are what takes time.
 *
 * What nearly all rows and buckets have in common is asked by branches, which the processor
 * foretells, not computed from what was just read, for which it would have to wait.
 *
 * Every step is held inside the bucket, the bucket inside the heap, and the rows of a bucket are no
 * more than opening allowed.
 */
#include "image/fs_image_format.h"

#define ALWAYS_INLINE  __attribute__((always_inline)) static inline
#define LINE           64u
#define PREFETCH_LINES 8u /* of a bucket; few are longer */
#define BATCH          16u

/* What is wanted of a row: the whole of it, or where `row` is NULL a value. */
typedef struct answer_t {
    fs_row_t *row;
    unsigned stored;
    fs_slice_t value;
} answer_t;

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

ALWAYS_INLINE int row_has_key(const uint8_t *row, const fs_row_shape_t *shape,
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

static inline range_t bucket_range(const fs_image_t *image, uint64_t hash)
{
    uint64_t from, to;
    range_t range = {image->heap, 0};

    fs_directory_load(image, fs_hash_bucket(hash, image->buckets), &from, &to);
    if (from <= to && to <= image->heap_units) {
        range.at += from * FS_IMAGE_UNIT;
        range.room = (to - from) * FS_IMAGE_UNIT;
    }
    return range;
}

/*
 * Asks for a bucket's lines; one line too many harms nobody, a branch that can't be foretold does.
 * An image that the cache holds anyway is spared it. Without the empty asm, gcc takes a function
 * that only prefetches for one without effect, and leaves the call out.
 */
static inline void prefetch_range(const fs_image_t *image, const range_t *range)
{
    __asm__ volatile("");
    if (image->small)
        return;
    for (unsigned i = 0; i < PREFETCH_LINES; i++)
        __builtin_prefetch(range->at + i * LINE);
}

/* One bit in the top of each of eight bytes that may equal `byte`; those that do are all there. */
static inline uint64_t match_bytes(uint64_t eight, uint8_t byte)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    uint64_t differ = eight ^ (ones * byte);

    return (differ - ones) & ~differ & (ones << 7);
}

/* Answers from the row if it is whole and has the key. */
ALWAYS_INLINE int answer_row_as(const fs_image_t *image, const uint8_t *row, uint64_t room,
                                uint32_t code, const fs_slice_t *key, unsigned key_count,
                                answer_t *answer)
{
    fs_row_shape_t shape;

    if (!fs_row_parse_as(row, room, code, image->column_count, &shape) ||
        !row_has_key(row, &shape, key, key_count))
        return 0;
    if (answer->row)
        *answer->row = fs_row_make(image, row, &shape);
    else
        answer->value = fs_row_stored(row, &shape, answer->stored);
    return 1;
}

/* Rows below 256 bytes get code of their own, in which the width of their offsets is a constant. */
ALWAYS_INLINE int answer_row(const fs_image_t *image, const uint8_t *row, uint64_t room,
                             const fs_slice_t *key, unsigned key_count, answer_t *answer)
{
    if (__builtin_expect(row[0] == 0, 1))
        return answer_row_as(image, row, room, 0, key, key_count, answer);
    return answer_row_as(image, row, room, row[0], key, key_count, answer);
}

ALWAYS_INLINE int find_in_range(const fs_image_t *image, range_t range, uint64_t hash,
                                const fs_slice_t *key, unsigned key_count, answer_t *answer)
{
    fs_bucket_t bucket;

    if (!fs_bucket_parse(range.at, range.room, image->longest_probe, &bucket))
        return 0;
    for (unsigned first = 0; first < bucket.rows; first += 8) {
        uint64_t match = match_bytes(fs_load64(bucket.data + FS_IMAGE_BUCKET_HEAD + first),
                                     fs_hash_fingerprint(hash));

        for (; match; match &= match - 1) {
            unsigned index = first + (unsigned)__builtin_ctzll(match) / 8;
            uint64_t offset;

            if (index >= bucket.rows)
                break;
            offset = fs_bucket_offset(&bucket, index);
            if (offset < bucket.room && answer_row(image, bucket.data + offset,
                                                   bucket.room - offset, key, key_count, answer))
                return 1;
        }
    }
    return 0;
}

/* When the index was made, each place was seen to be in the heap, and its end was left free. */
ALWAYS_INLINE int find_in_index(const fs_image_t *image, uint64_t hash, const fs_slice_t *key,
                                unsigned key_count, answer_t *answer)
{
    const uint32_t *slot = image->index + fs_hash_bucket(hash, image->index_slots);
    const uint32_t *end = slot + FS_INDEX_PROBES;

    for (; slot < end && *slot; slot++) {
        uint64_t place = *slot & FS_INDEX_PLACE;

        __builtin_prefetch(image->heap + place + LINE);
        if (*slot >> FS_INDEX_PLACE_BITS == fs_index_tag(hash) &&
            answer_row(image, image->heap + place, image->heap_units * FS_IMAGE_UNIT - place, key,
                       key_count, answer))
            return 1;
    }
    return 0;
}

ALWAYS_INLINE int find_for(const fs_image_t *image, const fs_slice_t *key, unsigned key_count,
                           answer_t *answer)
{
    uint64_t hash = fs_key_hash(key, key_count, image->seed);
    range_t range;

    if (image->index)
        return find_in_index(image, hash, key, key_count, answer);
    range = bucket_range(image, hash);
    prefetch_range(image, &range);
    return find_in_range(image, range, hash, key, key_count, answer);
}

int fs_image_find(const fs_image_t *image, const fs_slice_t *key, unsigned key_count, fs_row_t *row)
{
    answer_t answer = {row, 0, {NULL, 0}};

    if (key_count != image->key_count)
        return 0;
    /* most keys have one column: a constant lets the compiler drop the loops over columns */
    return key_count == 1 ? find_for(image, key, 1, &answer)
                          : find_for(image, key, key_count, &answer);
}

__attribute__((flatten)) fs_slice_t fs_image_value(const fs_image_t *image, fs_slice_t key, unsigned column)
{
    answer_t answer = {NULL, 0, {NULL, 0}};

    if (column >= image->column_count || image->key_count != 1)
        return answer.value;
    answer.stored = image->stored_at[column];
    find_for(image, &key, 1, &answer);
    return answer.value;
}

/* Asks for the lines in which the first row with the right fingerprint begins. */
static inline void prefetch_row(const fs_image_t *image, const range_t *range, uint64_t hash)
{
    fs_bucket_t bucket;
    uint64_t match;

    __asm__ volatile(""); /* see prefetch_range */
    if (!fs_bucket_parse(range->at, range->room, image->longest_probe, &bucket))
        return;
    match = match_bytes(fs_load64(bucket.data + FS_IMAGE_BUCKET_HEAD), fs_hash_fingerprint(hash));
    if (match) {
        uint64_t offset = fs_bucket_offset(&bucket, (unsigned)__builtin_ctzll(match) / 8);

        __builtin_prefetch(bucket.data + offset);
        __builtin_prefetch(bucket.data + offset + LINE);
    }
}

/*
 * Up to BATCH keys in four steps, each of which asks for what the next one reads: hashes,
 * directory, heads of the buckets, rows. Knowing the row, it needn't ask for whole buckets as a
 * single look-up.
 */
static unsigned find_some(const fs_image_t *image, const fs_slice_t *keys, unsigned key_count,
                          unsigned count, fs_row_t *rows)
{
    uint64_t hashes[BATCH];
    range_t ranges[BATCH];
    unsigned found = 0;

    for (unsigned i = 0; i < count; i++) {
        uint64_t bucket;

        hashes[i] = fs_key_hash(keys + (size_t)i * key_count, key_count, image->seed);
        bucket = fs_hash_bucket(hashes[i], image->buckets);
        __builtin_prefetch(
            image->directory +
            (image->wide ? bucket * 8 : bucket / FS_IMAGE_BLOCK_BUCKETS * FS_IMAGE_BLOCK_BYTES));
    }
    for (unsigned i = 0; i < count; i++) {
        ranges[i] = bucket_range(image, hashes[i]);
        __builtin_prefetch(ranges[i].at);
    }
    for (unsigned i = 0; i < count; i++)
        prefetch_row(image, &ranges[i], hashes[i]);
    for (unsigned i = 0; i < count; i++) {
        answer_t answer = {&rows[i], 0, {NULL, 0}};

        if (find_in_range(image, ranges[i], hashes[i], keys + (size_t)i * key_count, key_count,
                          &answer))
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
    fs_row_shape_t shape = fs_row_shape(row);

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
    uint64_t heap_bytes = image->heap_units * FS_IMAGE_UNIT, at;
    fs_row_shape_t shape;

    if (place >= image->rows)
        return 0;
    at = fs_load64(image->order + place * image->place_width) & image->place_mask;
    if (at >= heap_bytes ||
        !fs_row_parse(image->heap + at, heap_bytes - at, image->column_count, &shape))
        return 0;
    *row = fs_row_make(image, image->heap + at, &shape);
    return 1;
}

/* Is the row at `place` before `key`? A damaged row counts as not before, so that the search ends.
 */
static int row_is_before(const fs_image_t *image, uint64_t place, const fs_slice_t *key,
                         unsigned key_count)
{
    fs_slice_t have[FS_IMAGE_MAX_KEYS];
    fs_row_shape_t shape;
    fs_row_t row;

    if (!fs_image_at(image, place, &row))
        return 0;
    shape = fs_row_shape(&row);
    for (unsigned i = 0; i < key_count; i++)
        have[i] = fs_row_stored((const uint8_t *)row.data, &shape, i);
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
