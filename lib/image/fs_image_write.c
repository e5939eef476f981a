/* SPDX-License-Identifier: Apache-2.0 */
#include "image/fs_image_write.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "images are built on little endian machines only; others would make different bytes"
#endif

#define STREAM_BYTES (2u * 1024 * 1024)

apr_status_t fs_image_file_failed(const fs_image_file_t *file, int error, fs_result_t *result)
{
    return fs_result_set(result, APR_FROM_OS_ERROR(error), "FS0102",
                         "cannot write %s: %s; check the directory's owner and free space",
                         file->path, strerror(error));
}

apr_status_t fs_image_file_create(fs_image_file_t *file, const char *dir, fs_result_t *result)
{
    file->fd = -1;
    if (snprintf(file->path, sizeof(file->path), "%s/" FS_IMAGE_TEMPORARY "XXXXXX", dir) >=
        (int)sizeof(file->path))
        return fs_image_file_failed(file, ENAMETOOLONG, result);
    file->fd = mkostemp(file->path, O_CLOEXEC);
    return file->fd < 0 ? fs_image_file_failed(file, errno, result) : APR_SUCCESS;
}

void fs_image_file_drop(fs_image_file_t *file)
{
    if (file->fd < 0)
        return;
    close(file->fd);
    unlink(file->path);
    file->fd = -1;
}

int fs_stream_open(fs_stream_t *stream, const fs_image_file_t *file)
{
    stream->file = file;
    stream->place = 0;
    stream->used = 0;
    stream->error = 0;
    stream->buffer = malloc(STREAM_BYTES);
    return stream->buffer ? 0 : -1;
}

static void write_out(fs_stream_t *stream, const uint8_t *data, size_t length)
{
    while (length && !stream->error) {
        ssize_t done = pwrite(stream->file->fd, data, length, (off_t)stream->place);

        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0) {
            stream->error = errno;
            return;
        }
        stream->place += (uint64_t)done;
        data += done;
        length -= (size_t)done;
    }
}

static void write_buffer(fs_stream_t *stream)
{
    write_out(stream, stream->buffer, stream->used);
    stream->used = 0;
}

void fs_stream_put(fs_stream_t *stream, const void *data, size_t length)
{
    const uint8_t *from = data;

    while (length) {
        /* up to the next multiple of the buffer's size in the file */
        size_t room = STREAM_BYTES - (size_t)(fs_stream_place(stream) % STREAM_BYTES);
        size_t part = length < room ? length : room;

        memcpy(stream->buffer + stream->used, from, part);
        stream->used += part;
        from += part;
        length -= part;
        if (part == room)
            write_buffer(stream);
    }
}

void fs_stream_zero(fs_stream_t *stream, size_t length)
{
    static const uint8_t zeros[FS_IMAGE_REGION];

    for (; length > sizeof(zeros); length -= sizeof(zeros))
        fs_stream_put(stream, zeros, sizeof(zeros));
    fs_stream_put(stream, zeros, length);
}

void fs_stream_zero_to(fs_stream_t *stream, uint64_t place)
{
    fs_stream_zero(stream, (size_t)(place - fs_stream_place(stream)));
}

uint64_t fs_stream_place(const fs_stream_t *stream)
{
    return stream->place + stream->used;
}

apr_status_t fs_stream_flush(fs_stream_t *stream, fs_result_t *result)
{
    write_buffer(stream);
    return stream->error ? fs_image_file_failed(stream->file, stream->error, result) : APR_SUCCESS;
}

void fs_stream_free(fs_stream_t *stream)
{
    free(stream->buffer);
    stream->buffer = NULL;
}

static apr_status_t write_header(const fs_image_file_t *file, const fs_image_header_t *header,
                                 fs_result_t *result)
{
    ssize_t done = pwrite(file->fd, header, sizeof(*header), 0);

    if (done == (ssize_t)sizeof(*header))
        return APR_SUCCESS;
    return fs_image_file_failed(file, done < 0 ? errno : EIO, result);
}

static apr_status_t digest_file(const fs_image_file_t *file, uint64_t bytes, fs_digest_t *digest,
                                fs_result_t *result)
{
    void *base = mmap(NULL, (size_t)bytes, PROT_READ, MAP_SHARED, file->fd, 0);

#ifdef SYNC_FILE_RANGE_WRITE
    sync_file_range(file->fd, 0, 0, SYNC_FILE_RANGE_WRITE); /* the disk writes while we read */
#endif
    if (base == MAP_FAILED)
        return fs_image_file_failed(file, errno, result);
    madvise(base, (size_t)bytes, MADV_SEQUENTIAL);
    fs_digest_of(digest, base, (size_t)bytes);
    munmap(base, (size_t)bytes);
    return APR_SUCCESS;
}

static int sync_dir(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), bad;

    if (fd < 0)
        return -1;
    bad = fsync(fd);
    close(fd);
    return bad;
}

/* Gives the finished file its name. The sync comes before the rename: a name means a whole file. */
static apr_status_t give_name(fs_image_file_t *file, const char *dir, const fs_digest_t *digest,
                              fs_result_t *result)
{
    char path[sizeof(file->path)], hex[FS_DIGEST_HEX_SIZE];
    int error = 0;

    if (snprintf(path, sizeof(path), "%s/%s.fsi", dir, fs_digest_hex(digest, hex)) >=
        (int)sizeof(path))
        error = ENAMETOOLONG;
    else if (fchmod(file->fd, 0640) || fsync(file->fd) || rename(file->path, path))
        error = errno;
    if (error)
        return fs_image_file_failed(file, error, result);
    close(file->fd);
    file->fd = -1;
    if (sync_dir(dir))
        return fs_image_file_failed(file, errno, result);
    return APR_SUCCESS;
}

static apr_status_t check_expected(const fs_digest_t *expected, const fs_digest_t *digest,
                                   fs_result_t *result)
{
    char want[FS_DIGEST_HEX_SIZE], have[FS_DIGEST_HEX_SIZE];

    if (!expected || fs_digest_equal(expected, digest))
        return APR_SUCCESS;
    return fs_result_set(
        result, APR_EINVAL, "FS0109",
        "the image that was built has the digest %.16s..., not the %.16s... that was "
        "promised; it isn't used",
        fs_digest_hex(digest, have), fs_digest_hex(expected, want));
}

apr_status_t fs_image_file_finish(fs_image_file_t *file, fs_image_header_t *header,
                                  const void *schema, const char *dir, const fs_digest_t *expected,
                                  fs_image_made_t *made, fs_result_t *result)
{
    apr_status_t status;

    memcpy(header->magic, FS_IMAGE_MAGIC, sizeof(header->magic));
    header->byte_order = FS_IMAGE_BYTE_ORDER;
    header->format = FS_IMAGE_FORMAT;
    header->checksum = fs_image_checksum(header, schema);
    status = write_header(file, header, result);
    if (status == APR_SUCCESS)
        status = digest_file(file, header->file_bytes, &made->digest, result);
    if (status == APR_SUCCESS)
        status = check_expected(expected, &made->digest, result);
    if (status == APR_SUCCESS)
        status = give_name(file, dir, &made->digest, result);
    fs_image_file_drop(file);
    made->bytes = header->file_bytes;
    made->rows = header->rows;
    return status;
}
