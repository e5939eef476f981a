/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Applying a delta. Its frame is decompressed piece by piece and never beyond the bytes that the
 * header promises, which in turn may not be more than what makes sense for the promised image: a
 * small file that unfolds into gigabytes is refused before it does.
 */
#include "image/fs_delta_format.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include "image/fs_image_format.h"

#define ROW_ROOM (FS_IMAGE_MAX_ROW + 5u * FS_IMAGE_MAX_COLUMNS + 16u) /* a row with its offsets */

typedef struct reader_t {
    const char *path;
    const uint8_t *base; /* the mapped file */
    uint64_t bytes;
    fs_delta_header_t header;
    ZSTD_DStream *zstd;
    ZSTD_inBuffer in;
    uint64_t given; /* bytes that came out of the frame */
    int ended;      /* the frame is complete and its checksum right */
    uint8_t *row;
    size_t row_capacity;
} reader_t;

static apr_status_t damaged(const reader_t *reader, const char *what, fs_result_t *result)
{
    return fs_result_set(result, APR_EINVAL, "FS0121",
                         "cannot use delta %s: %s; the whole image is retrieved instead",
                         reader->path, what);
}

apr_status_t fs_delta_digest(const char *path, fs_digest_t *digest, fs_result_t *result)
{
    const char *name = strrchr(path, '/');
    char hex[FS_DIGEST_HEX_SIZE];
    fs_image_t *image;
    apr_status_t status;

    name = name ? name + 1 : path;
    snprintf(hex, sizeof(hex), "%s", name);
    if (strlen(name) == FS_DIGEST_HEX_SIZE - 1 + 4 &&
        !strcmp(name + FS_DIGEST_HEX_SIZE - 1, ".fsi") && !fs_digest_parse(digest, hex))
        return APR_SUCCESS;
    status = fs_image_open(&image, path, result);
    if (status == APR_SUCCESS)
        fs_digest_of(digest, image->base, (size_t)image->bytes);
    fs_image_close(status ? NULL : image);
    return status;
}

static apr_status_t map_delta(reader_t *reader, fs_result_t *result)
{
    int fd = open(reader->path, O_RDONLY | O_CLOEXEC), error = 0;
    struct stat info = {.st_size = 0};
    void *base = MAP_FAILED;

    if (fd < 0 || fstat(fd, &info))
        error = errno;
    else if (info.st_size > (off_t)sizeof(reader->header))
        base = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED && !error && info.st_size > (off_t)sizeof(reader->header))
        error = errno;
    if (fd >= 0)
        close(fd);
    if (error)
        return fs_result_set(result, APR_FROM_OS_ERROR(error), "FS0111", "cannot open %s: %s",
                             reader->path, strerror(error));
    if (base == MAP_FAILED)
        return damaged(reader, "it is cut short", result);
    reader->base = base;
    reader->bytes = (uint64_t)info.st_size;
    memcpy(&reader->header, base, sizeof(reader->header));
    if (memcmp(reader->header.magic, FS_DELTA_MAGIC, sizeof(reader->header.magic)) ||
        reader->header.byte_order != FS_DELTA_BYTE_ORDER ||
        reader->header.format != FS_DELTA_FORMAT)
        return damaged(reader, "it isn't a farmsync delta of this version", result);
    return APR_SUCCESS;
}

static void unmap_delta(reader_t *reader)
{
    if (reader->base)
        munmap((void *)(uintptr_t)reader->base, (size_t)reader->bytes);
}

apr_status_t fs_delta_read(const char *delta_path, fs_delta_info_t *info, fs_result_t *result)
{
    reader_t reader = {.path = delta_path};
    apr_status_t status = map_delta(&reader, result);

    memset(info, 0, sizeof(*info));
    if (status == APR_SUCCESS) {
        memcpy(info->old_digest.bytes, reader.header.old_digest, FS_DIGEST_BYTES);
        memcpy(info->new_digest.bytes, reader.header.new_digest, FS_DIGEST_BYTES);
        info->put_rows = reader.header.put_rows;
        info->removed_rows = reader.header.removed_rows;
        info->raw_bytes = reader.header.raw_bytes;
        info->file_bytes = reader.bytes;
    }
    unmap_delta(&reader);
    return status;
}

/* Takes exactly `length` bytes out of the frame. */
static apr_status_t take(reader_t *reader, void *data, size_t length, fs_result_t *result)
{
    ZSTD_outBuffer out = {data, length, 0};

    if (length > reader->header.raw_bytes - reader->given)
        return damaged(reader, "its records are longer than its header says", result);
    while (out.pos < out.size) {
        size_t before = out.pos, used = reader->in.pos, left;

        if (reader->ended)
            return damaged(reader, "it ends too early", result);
        left = ZSTD_decompressStream(reader->zstd, &out, &reader->in);
        if (ZSTD_isError(left))
            return damaged(reader, ZSTD_getErrorName(left), result);
        reader->ended = left == 0;
        if (left && out.pos == before && reader->in.pos == used)
            return damaged(reader, "it ends too early", result);
    }
    reader->given += length;
    return APR_SUCCESS;
}

/* Takes a record into reader->row; `guard` zero bytes follow it. */
static apr_status_t take_row(reader_t *reader, uint32_t *length, fs_result_t *result)
{
    apr_status_t status = take(reader, length, sizeof(*length), result);

    if (status != APR_SUCCESS)
        return status;
    if (*length < FS_IMAGE_ROW_HEAD + 1 || *length > ROW_ROOM)
        return damaged(reader, "a row has an impossible length", result);
    if (*length + FS_IMAGE_GUARD > reader->row_capacity) {
        size_t capacity = 2 * ((size_t)*length + FS_IMAGE_GUARD);
        uint8_t *bigger = realloc(reader->row, capacity);

        if (!bigger)
            return damaged(reader, "out of memory", result);
        reader->row = bigger;
        reader->row_capacity = capacity;
    }
    memset(reader->row + *length, 0, FS_IMAGE_GUARD);
    return take(reader, reader->row, *length, result);
}

static apr_status_t take_removals(reader_t *reader, fs_image_builder_t *builder,
                                  const fs_image_schema_t *schema, fs_result_t *result)
{
    apr_status_t status = APR_SUCCESS;

    for (uint64_t i = 0; i < reader->header.removed_rows && status == APR_SUCCESS; i++) {
        fs_slice_t key[FS_IMAGE_MAX_KEYS];
        fs_row_shape_t shape;
        uint32_t length;

        status = take_row(reader, &length, result);
        if (status == APR_SUCCESS &&
            (!fs_row_parse(reader->row, length, schema->key_count, &shape) ||
             !fs_row_key(reader->row, &shape, schema->key_count, key)))
            status = damaged(reader, "a removed key makes no sense", result);
        if (status == APR_SUCCESS)
            status = fs_image_builder_remove(builder, key, result);
    }
    return status;
}

static apr_status_t take_puts(reader_t *reader, fs_image_builder_t *builder,
                              const fs_image_schema_t *schema, fs_result_t *result)
{
    uint16_t stored_at[FS_IMAGE_MAX_COLUMNS];
    apr_status_t status = APR_SUCCESS;

    fs_schema_stored(schema, stored_at);
    for (uint64_t i = 0; i < reader->header.put_rows && status == APR_SUCCESS; i++) {
        fs_slice_t values[FS_IMAGE_MAX_COLUMNS];
        fs_row_shape_t shape = {0};
        uint32_t length;

        status = take_row(reader, &length, result);
        if (status == APR_SUCCESS &&
            !fs_row_parse(reader->row, length, schema->column_count, &shape))
            status = damaged(reader, "a row makes no sense", result);
        for (unsigned c = 0; c < schema->column_count && status == APR_SUCCESS; c++)
            values[c] = fs_row_stored(reader->row, &shape, stored_at[c]);
        if (status == APR_SUCCESS)
            status = fs_image_builder_add(builder, values, result);
    }
    return status;
}

/* Checks the header against the old image and the promise. */
static apr_status_t check_header(const reader_t *reader, const char *old_path, uint64_t old_bytes,
                                 const fs_digest_t *digest, uint64_t bytes, fs_result_t *result)
{
    char have[FS_DIGEST_HEX_SIZE], want[FS_DIGEST_HEX_SIZE];
    fs_digest_t old_digest, other;
    apr_status_t status = fs_delta_digest(old_path, &old_digest, result);

    if (status != APR_SUCCESS)
        return status;
    memcpy(other.bytes, reader->header.old_digest, FS_DIGEST_BYTES);
    if (memcmp(reader->header.new_digest, digest->bytes, FS_DIGEST_BYTES) ||
        !fs_digest_equal(&old_digest, &other))
        return fs_result_set(result, APR_EINVAL, "FS0122",
                             "delta %s starts from image %.16s..., not from %.16s..., or leads to "
                             "another one than asked for; the whole image is retrieved instead",
                             reader->path, fs_digest_hex(&other, have),
                             fs_digest_hex(&old_digest, want));
    /* each row is in the new image, each removed key in the old one, with a length of 4 bytes more
     */
    if (reader->header.raw_bytes > 2 * (bytes + old_bytes))
        return damaged(reader, "it would unfold into more than the images hold", result);
    return APR_SUCCESS;
}

/* After the last record the frame must end, with a right checksum, and the file with it. */
static apr_status_t take_end(reader_t *reader, fs_result_t *result)
{
    uint8_t more;
    ZSTD_outBuffer out = {&more, 1, 0};

    if (!reader->ended)
        reader->ended = ZSTD_decompressStream(reader->zstd, &out, &reader->in) == 0;
    if (!reader->ended || out.pos || reader->in.pos != reader->in.size ||
        reader->given != reader->header.raw_bytes)
        return damaged(reader, "it doesn't end where its header says", result);
    return APR_SUCCESS;
}

static apr_status_t unfold(reader_t *reader, fs_image_builder_t *builder,
                           const fs_image_schema_t *schema, fs_result_t *result)
{
    apr_status_t status;

    reader->zstd = ZSTD_createDStream();
    if (!reader->zstd)
        return damaged(reader, "out of memory", result);
    ZSTD_DCtx_setParameter(reader->zstd, ZSTD_d_windowLogMax, FS_DELTA_WINDOW_LOG);
    reader->in = (ZSTD_inBuffer){reader->base + sizeof(reader->header),
                                 (size_t)(reader->bytes - sizeof(reader->header)), 0};
    status = take_removals(reader, builder, schema, result);
    if (status == APR_SUCCESS)
        status = take_puts(reader, builder, schema, result);
    if (status == APR_SUCCESS)
        status = take_end(reader, result);
    ZSTD_freeDStream(reader->zstd);
    free(reader->row);
    return status;
}

apr_status_t fs_delta_apply(const char *old_path, const char *delta_path, const char *dir,
                            const fs_digest_t *digest, uint64_t bytes, fs_image_made_t *made,
                            fs_result_t *result)
{
    reader_t reader = {.path = delta_path};
    fs_image_builder_t *builder = NULL;
    fs_image_t *old = NULL;
    apr_status_t status = map_delta(&reader, result);

    memset(made, 0, sizeof(*made));
    if (status == APR_SUCCESS)
        status = fs_image_open(&old, old_path, result);
    if (status == APR_SUCCESS)
        status = check_header(&reader, old_path, old->bytes, digest, bytes, result);
    if (status == APR_SUCCESS)
        status = fs_image_builder_update(&builder, dir, old_path, reader.header.version, result);
    if (status == APR_SUCCESS)
        status = unfold(&reader, builder, &old->schema, result);
    if (status == APR_SUCCESS) {
        fs_image_builder_expect(builder, digest);
        status = fs_image_builder_finish(builder, made, result);
    } else {
        fs_image_builder_cancel(builder);
    }
    fs_image_close(old);
    unmap_delta(&reader);
    return status;
}
