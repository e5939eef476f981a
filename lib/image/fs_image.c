/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening an image: in time that doesn't grow with the rows, everything that decides where a
 * look-up may go is proven. The places of the regions follow from four numbers, so they are
 * computed again and compared instead of being checked one by one.
 */
#include "image/fs_image_format.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

void fs_image_layout(fs_image_header_t *header)
{
    uint64_t buckets = fs_image_buckets(header->rows, header->row_bytes);
    uint64_t last = header->heap_bytes;

    header->place_width = (uint8_t)(last <= UINT32_MAX ? 4 : last < UINT64_C(1) << 40 ? 5 : 6);
    header->heap_place = fs_round_up(sizeof(*header) + header->schema_bytes, FS_IMAGE_REGION);
    header->order_place = header->heap_place + fs_round_up(last, FS_IMAGE_REGION);
    header->directory_place =
        fs_round_up(header->order_place + header->rows * header->place_width, FS_IMAGE_REGION);
    header->file_bytes =
        header->directory_place + fs_directory_bytes(buckets, header->wide) + FS_IMAGE_GUARD;
}

uint64_t fs_image_checksum(const fs_image_header_t *header, const void *schema)
{
    uint64_t sum = XXH3_64bits(header, offsetof(fs_image_header_t, checksum));

    return XXH3_64bits_withSeed(schema, header->schema_bytes, sum);
}

/* NULL, or what makes this no image of ours at all. */
static const char *foreign(const fs_image_header_t *header, uint64_t bytes)
{
    if (bytes < sizeof(*header) || memcmp(header->magic, FS_IMAGE_MAGIC, sizeof(header->magic)))
        return "it isn't a farmsync image";
    if (header->byte_order != FS_IMAGE_BYTE_ORDER)
        return "it was built on a machine with the other byte order";
    if (header->format != FS_IMAGE_FORMAT)
        return "it has another format version; run the same farmsync version everywhere";
    return NULL;
}

/* NULL, or what is inconsistent. `header` is at the start of `bytes` mapped bytes. */
static const char *inconsistent(const fs_image_header_t *header, uint64_t bytes)
{
    const uint8_t *base = (const uint8_t *)header;
    fs_image_header_t want = *header;

    if (header->file_bytes != bytes)
        return "its size isn't what its header says";
    if (header->schema_bytes > FS_IMAGE_SCHEMA_LIMIT ||
        header->schema_bytes > bytes - sizeof(*header) ||
        header->checksum != fs_image_checksum(header, base + sizeof(*header)))
        return "its header is damaged";
    if (header->rows > FS_IMAGE_MAX_ROWS || header->row_bytes > header->heap_bytes ||
        header->heap_bytes > bytes || header->heap_bytes % FS_IMAGE_UNIT || header->wide > 1 ||
        header->longest_probe > FS_IMAGE_BUCKET_ROWS)
        return "its header holds impossible numbers";
    fs_image_layout(&want);
    if (memcmp(&want, header, sizeof(want)))
        return "its regions aren't where its numbers put them";
    for (unsigned i = 0; i < FS_IMAGE_GUARD; i++)
        if (base[bytes - 1 - i])
            return "its end is damaged";
    return NULL;
}

static unsigned name_slot(const fs_image_t *image, const char *name, size_t length)
{
    return (unsigned)XXH3_64bits(name, length) & image->name_mask;
}

/* Tables that make columns quick to find. 0, or -1 without memory. */
static int index_columns(fs_image_t *image)
{
    unsigned size = 4, count = image->schema.column_count;
    uint16_t *stored_at = calloc(count, sizeof(*stored_at));

    while (size < 2 * count)
        size *= 2;
    image->stored_at = stored_at;
    image->names = calloc(size, sizeof(*image->names));
    image->name_mask = size - 1;
    if (!stored_at || !image->names)
        return -1;
    fs_schema_stored(&image->schema, stored_at);
    for (unsigned i = 0; i < count; i++) {
        const char *name = image->schema.columns[i].name;
        unsigned slot = name_slot(image, name, strlen(name));

        while (image->names[slot])
            slot = (slot + 1) & image->name_mask;
        image->names[slot] = (uint16_t)(i + 1);
    }
    return 0;
}

static void take_header(fs_image_t *image, const fs_image_header_t *header)
{
    image->heap = image->base + header->heap_place;
    image->directory = image->base + header->directory_place;
    image->order = image->base + header->order_place;
    image->seed = header->seed;
    image->rows = header->rows;
    image->row_bytes = header->row_bytes;
    image->buckets = fs_image_buckets(header->rows, header->row_bytes);
    image->heap_units = header->heap_bytes / FS_IMAGE_UNIT;
    image->version = header->version;
    image->wide = header->wide;
    image->small = header->heap_bytes <= FS_IMAGE_SMALL;
    image->longest_probe = (uint8_t)header->longest_probe;
    image->place_width = header->place_width;
    image->place_mask = (UINT64_C(1) << 8 * header->place_width) - 1;
    image->column_count = image->schema.column_count;
    image->key_count = (uint16_t)image->schema.key_count;
}

/* Checks the mapped bytes of `image` and fills in the rest of it. */
static apr_status_t examine(fs_image_t *image, const char *path, fs_result_t *result)
{
    const fs_image_header_t *header = (const fs_image_header_t *)image->base;
    const char *problem = foreign(header, image->bytes);

    if (problem)
        return fs_result_set(result, APR_EINVAL, "FS0112", "cannot use %s: %s", path, problem);
    problem = inconsistent(header, image->bytes);
    if (!problem &&
        fs_schema_read(&image->schema, image->base + sizeof(*header), (size_t)header->schema_bytes))
        problem = "its description of the columns makes no sense";
    if (problem)
        return fs_result_set(result, APR_EINVAL, "FS0113",
                             "cannot use %s: %s; remove it, it will be retrieved again", path,
                             problem);
    take_header(image, header);
    if (index_columns(image))
        return fs_result_set(result, APR_ENOMEM, "FS0111", "cannot open %s: out of memory", path);
    fs_image_index(image);
    return APR_SUCCESS;
}

/* Maps the file into `image`. errno says why when it returns -1. */
static int map_file(fs_image_t *image, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat info;
    void *base = MAP_FAILED;
    int error;

    if (fd < 0)
        return -1;
    if (!fstat(fd, &info) && !S_ISREG(info.st_mode))
        errno = EINVAL;
    else if (info.st_size == 0)
        errno = ENODATA;
    else
        base = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_SHARED, fd, 0);
    error = errno;
    close(fd);
    errno = error;
    if (base == MAP_FAILED)
        return -1;
    image->base = base;
    image->bytes = (uint64_t)info.st_size;
    image->mapped = 1;
    madvise(base, (size_t)info.st_size,
            MADV_HUGEPAGE); /* where the file system can: fewer TLB misses */
    return 0;
}

apr_status_t fs_image_open(fs_image_t **image, const char *path, fs_result_t *result)
{
    fs_image_t *opened = calloc(1, sizeof(*opened));
    apr_status_t status;

    *image = NULL;
    if (!opened)
        return fs_result_set(result, APR_ENOMEM, "FS0111", "cannot open %s: out of memory", path);
    if (map_file(opened, path)) {
        int error = errno;

        free(opened);
        if (error == ENODATA)
            return fs_result_set(result, APR_EINVAL, "FS0112", "cannot use %s: it is empty", path);
        return fs_result_set(result, APR_FROM_OS_ERROR(error), "FS0111", "cannot open %s: %s", path,
                             strerror(error));
    }
    status = examine(opened, path, result);
    if (status == APR_SUCCESS)
        *image = opened;
    else
        fs_image_close(opened);
    return status;
}

apr_status_t fs_image_attach(fs_image_t **image, const void *data, size_t bytes, const char *name,
                             fs_result_t *result)
{
    fs_image_t *opened = calloc(1, sizeof(*opened));
    apr_status_t status;

    *image = NULL;
    if (!opened)
        return fs_result_set(result, APR_ENOMEM, "FS0111", "cannot open %s: out of memory", name);
    opened->base = data;
    opened->bytes = bytes;
    status = examine(opened, name, result);
    if (status == APR_SUCCESS)
        *image = opened;
    else
        fs_image_close(opened);
    return status;
}

void fs_image_close(fs_image_t *image)
{
    if (!image)
        return;
    if (image->mapped)
        munmap((void *)(uintptr_t)image->base, (size_t)image->bytes);
    free((void *)(uintptr_t)image->stored_at);
    free((void *)(uintptr_t)image->index);
    free(image->names);
    free(image->schema.columns);
    free(image);
}

const fs_image_schema_t *fs_image_schema(const fs_image_t *image)
{
    return &image->schema;
}

int64_t fs_image_version(const fs_image_t *image)
{
    return image->version;
}

uint64_t fs_image_rows(const fs_image_t *image)
{
    return image->rows;
}

uint64_t fs_image_bytes(const fs_image_t *image)
{
    return image->bytes;
}

int fs_image_column(const fs_image_t *image, const char *name, size_t length)
{
    unsigned slot = name_slot(image, name, length);

    for (; image->names[slot]; slot = (slot + 1) & image->name_mask) {
        const char *have = image->schema.columns[image->names[slot] - 1].name;

        if (strlen(have) == length && !memcmp(have, name, length))
            return image->names[slot] - 1;
    }
    return -1;
}
