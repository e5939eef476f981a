/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making a delta: walk the buckets of both images. Where both have the same seed and number of
 * buckets, a bucket whose bytes are equal holds no change; rows of the others are looked up in the
 * other image.
 */
#include "image/fs_delta_format.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include "image/fs_image_write.h"

#define LEVEL        6
#define BUFFER_BYTES (128u * 1024)

/* Rows that changed, by their place in their image's heap. */
typedef struct found_t {
    const fs_row_t *rows;
    size_t count, capacity;
} found_t;

typedef struct maker_t {
    fs_image_t *old, *new;
    found_t removed, put;
    fs_image_file_t file;
    ZSTD_CStream *zstd;
    uint64_t raw_bytes;
    int error;    /* errno of the first failed write */
    uint8_t *row; /* a removed key as a row */
    uint8_t buffer[BUFFER_BYTES];
} maker_t;

static int found_add(found_t *found, const fs_row_t *row)
{
    fs_row_t *rows = (fs_row_t *)(uintptr_t)found->rows;

    if (found->count == found->capacity) {
        size_t capacity = found->capacity ? 2 * found->capacity : 256;

        rows = realloc(rows, capacity * sizeof(*rows));
        if (!rows)
            return -1;
        found->rows = rows;
        found->capacity = capacity;
    }
    rows[found->count++] = *row;
    return 0;
}

static int same_schema(const fs_image_t *a, const fs_image_t *b)
{
    uint8_t *bytes = malloc(2 * (size_t)FS_IMAGE_SCHEMA_LIMIT);
    size_t length;
    int same;

    if (!bytes)
        return 0;
    length = fs_schema_write(&a->schema, bytes);
    same = fs_schema_write(&b->schema, bytes + FS_IMAGE_SCHEMA_LIMIT) == length &&
           !memcmp(bytes, bytes + FS_IMAGE_SCHEMA_LIMIT, length);
    free(bytes);
    return same;
}

/* --- finding the changes ------------------------------------------------------------------------
 */

typedef struct span_t {
    const uint8_t *data;
    uint64_t bytes;
} span_t;

/* A bucket's bytes; none if the directory makes no sense. */
static span_t bucket_span(const fs_image_t *image, uint64_t number)
{
    uint64_t from, to;

    fs_directory_load(image, number, &from, &to);
    if (from > to || to > image->heap_units)
        return (span_t){NULL, 0};
    return (span_t){image->heap + from * FS_IMAGE_UNIT, (to - from) * FS_IMAGE_UNIT};
}

/*
 * Compares a row of one image with the row of the same key in the other. Adds it to `missing` if
 * there is none, to `different` (unless NULL) if that has other bytes.
 */
static int compare_row(const fs_image_t *image, const fs_image_t *other, const uint8_t *at,
                       const fs_row_shape_t *shape, found_t *missing, found_t *different)
{
    fs_slice_t key[FS_IMAGE_MAX_KEYS];
    fs_row_t row = fs_row_make(image, at, shape), twin;

    if (!fs_row_key(at, shape, image->key_count, key))
        return 0;
    if (!fs_image_find(other, key, image->key_count, &twin))
        return found_add(missing, &row);
    if (different && (row.opaque[0] != twin.opaque[0] || row.opaque[1] != twin.opaque[1] ||
                      memcmp(row.data, twin.data, (size_t)fs_row_bytes(shape))))
        return found_add(different, &row);
    return 0;
}

static int compare_bucket(const fs_image_t *image, const fs_image_t *other, span_t span,
                          found_t *missing, found_t *different)
{
    fs_bucket_t bucket;

    if (!span.bytes || !fs_bucket_parse(span.data, span.bytes, image->longest_probe, &bucket))
        return 0;
    for (unsigned i = 0; i < bucket.rows; i++) {
        const uint8_t *row;
        fs_row_shape_t shape;

        if (fs_bucket_row(&bucket, i, image->column_count, &row, &shape) &&
            compare_row(image, other, row, &shape, missing, different))
            return -1;
    }
    return 0;
}

static int find_changes(maker_t *maker)
{
    const fs_image_t *old = maker->old, *new = maker->new;
    int alike = old->seed == new->seed && old->buckets == new->buckets;
    uint64_t most = old->buckets > new->buckets ? old->buckets : new->buckets;
    int bad = 0;

    for (uint64_t i = 0; i < most && !bad; i++) {
        span_t before = i < old->buckets ? bucket_span(old, i) : (span_t){NULL, 0};
        span_t after = i < new->buckets ? bucket_span(new, i) : (span_t){NULL, 0};

        if (alike && before.bytes == after.bytes &&
            (!before.bytes || !memcmp(before.data, after.data, (size_t)before.bytes)))
            continue;
        bad = compare_bucket(old, new, before, &maker->removed, NULL) ||
              compare_bucket(new, old, after, &maker->put, &maker->put);
    }
    return bad ? -1 : 0;
}

static int compare_keys(const void *a, const void *b)
{
    const fs_row_t *rows[2] = {a, b};
    fs_slice_t keys[2][FS_IMAGE_MAX_KEYS];
    unsigned count = rows[0]->image->key_count;

    for (int i = 0; i < 2; i++) {
        fs_row_shape_t shape = fs_row_shape(rows[i]);

        fs_row_key((const uint8_t *)rows[i]->data, &shape, count, keys[i]);
    }
    return fs_key_compare(keys[0], keys[1], count);
}

static void sort_by_key(found_t *found)
{
    if (found->count > 1)
        qsort((void *)(uintptr_t)found->rows, found->count, sizeof(fs_row_t), compare_keys);
}

/* --- writing ------------------------------------------------------------------------------------
 */

static void write_out(maker_t *maker, size_t length)
{
    const uint8_t *from = maker->buffer;

    while (length && !maker->error) {
        ssize_t done = write(maker->file.fd, from, length);

        if (done < 0 && errno != EINTR)
            maker->error = errno;
        if (done > 0) {
            from += done;
            length -= (size_t)done;
        }
    }
}

static void compress(maker_t *maker, const void *data, size_t length, ZSTD_EndDirective end)
{
    ZSTD_inBuffer in = {data, length, 0};
    size_t left;

    maker->raw_bytes += length;
    do {
        ZSTD_outBuffer out = {maker->buffer, BUFFER_BYTES, 0};

        left = ZSTD_compressStream2(maker->zstd, &out, &in, end);
        if (ZSTD_isError(left)) {
            maker->error = ENOMEM;
            return;
        }
        write_out(maker, out.pos);
    } while (end == ZSTD_e_end ? left != 0 : in.pos < in.size);
}

static void put_record(maker_t *maker, const void *row, uint32_t length)
{
    compress(maker, &length, sizeof(length), ZSTD_e_continue);
    compress(maker, row, length, ZSTD_e_continue);
}

/* Writes a row's key columns as a row of their own. */
static void put_key(maker_t *maker, const fs_row_t *row)
{
    fs_row_shape_t shape = fs_row_shape(row);
    fs_slice_t key[FS_IMAGE_MAX_KEYS];
    unsigned count = row->image->key_count;
    uint8_t *table = maker->row + FS_IMAGE_ROW_HEAD, *values = table + 2 * (size_t)count;
    uint16_t end = 0;

    fs_row_key((const uint8_t *)row->data, &shape, count, key);
    maker->row[0] = 1;
    for (unsigned i = 0; i < count; i++) {
        memcpy(values + end, key[i].data, key[i].length + 1);
        end = (uint16_t)(end + key[i].length + 1);
        memcpy(table + 2 * (size_t)i, &end, sizeof(end));
    }
    put_record(maker, maker->row, (uint32_t)(values - maker->row) + end);
}

static void write_records(maker_t *maker)
{
    for (size_t i = 0; i < maker->removed.count; i++)
        put_key(maker, &maker->removed.rows[i]);
    for (size_t i = 0; i < maker->put.count; i++) {
        fs_row_shape_t shape = fs_row_shape(&maker->put.rows[i]);

        put_record(maker, maker->put.rows[i].data, (uint32_t)fs_row_bytes(&shape));
    }
    compress(maker, NULL, 0, ZSTD_e_end);
}

static apr_status_t write_header(maker_t *maker, const fs_delta_info_t *info, fs_result_t *result)
{
    fs_delta_header_t header = {.byte_order = FS_DELTA_BYTE_ORDER,
                                .format = FS_DELTA_FORMAT,
                                .version = maker->new->version,
                                .removed_rows = maker->removed.count,
                                .put_rows = maker->put.count,
                                .raw_bytes = maker->raw_bytes};

    memcpy(header.magic, FS_DELTA_MAGIC, sizeof(header.magic));
    memcpy(header.old_digest, info->old_digest.bytes, FS_DIGEST_BYTES);
    memcpy(header.new_digest, info->new_digest.bytes, FS_DIGEST_BYTES);
    if (!maker->error && pwrite(maker->file.fd, &header, sizeof(header), 0) != sizeof(header))
        maker->error = errno ? errno : EIO;
    return maker->error ? fs_image_file_failed(&maker->file, maker->error, result) : APR_SUCCESS;
}

/* Gives the finished file its name. */
static apr_status_t give_name(maker_t *maker, const char *path, uint64_t *bytes,
                              fs_result_t *result)
{
    off_t end = lseek(maker->file.fd, 0, SEEK_END);

    if (end < 0 || fchmod(maker->file.fd, 0640) || fsync(maker->file.fd) ||
        rename(maker->file.path, path))
        return fs_image_file_failed(&maker->file, errno, result);
    *bytes = (uint64_t)end;
    close(maker->file.fd);
    maker->file.fd = -1;
    return APR_SUCCESS;
}

static apr_status_t write_delta(maker_t *maker, const char *path, fs_delta_info_t *info,
                                fs_result_t *result)
{
    char dir[4096];
    const char *slash = strrchr(path, '/');
    apr_status_t status;

    snprintf(dir, sizeof(dir), "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".");
    status = fs_image_file_create(&maker->file, dir, result);
    if (status != APR_SUCCESS)
        return status;
    maker->zstd = ZSTD_createCStream();
    maker->row = malloc(FS_IMAGE_ROW_HEAD + 3 * FS_IMAGE_MAX_KEYS + FS_IMAGE_MAX_KEY);
    if (!maker->zstd || !maker->row)
        return fs_image_file_failed(&maker->file, ENOMEM, result);
    ZSTD_CCtx_setParameter(maker->zstd, ZSTD_c_compressionLevel, LEVEL);
    ZSTD_CCtx_setParameter(maker->zstd, ZSTD_c_windowLog, FS_DELTA_WINDOW_LOG);
    ZSTD_CCtx_setParameter(maker->zstd, ZSTD_c_checksumFlag, 1);
    if (lseek(maker->file.fd, sizeof(fs_delta_header_t), SEEK_SET) < 0)
        return fs_image_file_failed(&maker->file, errno, result);
    write_records(maker);
    info->removed_rows = maker->removed.count;
    info->put_rows = maker->put.count;
    info->raw_bytes = maker->raw_bytes;
    status = write_header(maker, info, result);
    return status ? status : give_name(maker, path, &info->file_bytes, result);
}

static apr_status_t make(maker_t *maker, const char *path, fs_delta_info_t *info,
                         fs_result_t *result)
{
    if (!same_schema(maker->old, maker->new))
        return fs_result_set(result, APR_EINVAL, "FS0120",
                             "there is no delta between images of dataset %s whose columns differ; "
                             "serve the whole image",
                             maker->new->schema.dataset);
    if (find_changes(maker))
        return fs_result_set(result, APR_ENOMEM, "FS0102", "cannot write %s: out of memory", path);
    sort_by_key(&maker->removed);
    sort_by_key(&maker->put);
    return write_delta(maker, path, info, result);
}

apr_status_t fs_delta_make(const char *old_path, const char *new_path, const char *delta_path,
                           fs_delta_info_t *info, fs_result_t *result)
{
    maker_t *maker = calloc(1, sizeof(*maker));
    fs_delta_info_t unwanted;
    apr_status_t status;

    if (!maker)
        return fs_result_set(result, APR_ENOMEM, "FS0102", "cannot write %s: out of memory",
                             delta_path);
    info = info ? info : &unwanted;
    memset(info, 0, sizeof(*info));
    maker->file.fd = -1;
    status = fs_image_open(&maker->old, old_path, result);
    if (status == APR_SUCCESS)
        status = fs_image_open(&maker->new, new_path, result);
    if (status == APR_SUCCESS)
        status = fs_delta_digest(old_path, &info->old_digest, result);
    if (status == APR_SUCCESS)
        status = fs_delta_digest(new_path, &info->new_digest, result);
    if (status == APR_SUCCESS)
        status = make(maker, delta_path, info, result);
    ZSTD_freeCStream(maker->zstd);
    fs_image_file_drop(&maker->file);
    free((void *)(uintptr_t)maker->removed.rows);
    free((void *)(uintptr_t)maker->put.rows);
    free(maker->row);
    fs_image_close(maker->old);
    fs_image_close(maker->new);
    free(maker);
    return status;
}
