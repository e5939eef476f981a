/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A delta from anybody, applied to a small image: refused, leaving nothing behind. An input that
 * begins with 0 is the compressed frame as it is; else two bytes count removals and rows, and the
 * rest are the records, to be compressed here. The header is always made to fit the image.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

#include "image/fs_delta_format.h"

#define MOST (64u * 1024)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char dir[512], old_path[700], delta_path[600], out_dir[600];
static fs_digest_t old_digest;

static void clean_up(void)
{
    unlink(old_path);
    unlink(delta_path);
    rmdir(out_dir);
    rmdir(dir);
}

static void build_old(void)
{
    fs_column_t columns[] = {
        {"id", FS_COLUMN_TEXT, 1}, {"a", FS_COLUMN_TEXT, 0}, {"b", FS_COLUMN_BINARY, 0}};
    fs_image_schema_t schema = {"g", "d", 3, 1, columns};
    fs_image_builder_t *builder;
    fs_image_made_t made;
    fs_result_t result;
    char key[2] = "A", hex[FS_DIGEST_HEX_SIZE];

    if (fs_image_builder_create(&builder, dir, &schema, 1, &result))
        abort();
    for (int i = 0; i < 20; i++, key[0]++) {
        fs_slice_t values[] = {{key, 1}, {"text", 4}, {i % 2 ? "" : NULL, 0}};

        if (fs_image_builder_add(builder, values, &result))
            abort();
    }
    if (fs_image_builder_finish(builder, &made, &result))
        abort();
    old_digest = made.digest;
    snprintf(old_path, sizeof(old_path), "%s/%s.fsi", dir, fs_digest_hex(&made.digest, hex));
}

static void set_up(void)
{
    const char *base = getenv("TMPDIR");

    if (dir[0])
        return;
    snprintf(dir, sizeof(dir), "%s/farmsync-fuzz-XXXXXX", base ? base : "/tmp");
    if (!mkdtemp(dir))
        abort();
    snprintf(delta_path, sizeof(delta_path), "%s/delta", dir);
    snprintf(out_dir, sizeof(out_dir), "%s/out-XXXXXX", dir);
    if (!mkdtemp(out_dir))
        abort();
    build_old();
    atexit(clean_up);
}

static void write_delta(const fs_delta_header_t *header, const void *frame, size_t length)
{
    FILE *file = fopen(delta_path, "wb");

    if (!file || fwrite(header, sizeof(*header), 1, file) != 1 ||
        fwrite(frame, 1, length, file) != length || fclose(file))
        abort();
}

static void check_nothing_left(void)
{
    DIR *listing = opendir(out_dir);
    const struct dirent *entry;

    while ((entry = readdir(listing)) != NULL)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            abort();
    closedir(listing);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t frame[MOST + 1024];
    fs_delta_header_t header = {
        .byte_order = FS_DELTA_BYTE_ORDER, .format = FS_DELTA_FORMAT, .version = 2};
    fs_digest_t promised = {{1}};
    fs_image_made_t made;
    fs_result_t result;

    if (size < 3 || size > MOST)
        return 0;
    set_up();
    memcpy(header.magic, FS_DELTA_MAGIC, sizeof(header.magic));
    memcpy(header.old_digest, old_digest.bytes, FS_DIGEST_BYTES);
    memcpy(header.new_digest, promised.bytes, FS_DIGEST_BYTES);
    header.removed_rows = data[1];
    header.put_rows = data[2];
    header.raw_bytes = size - 3;
    if (data[0]) {
        size_t packed = ZSTD_compress(frame, sizeof(frame), data + 3, size - 3, 1);

        if (ZSTD_isError(packed))
            abort();
        write_delta(&header, frame, packed);
    } else {
        write_delta(&header, data + 3, size - 3);
    }
    if (fs_delta_apply(old_path, delta_path, out_dir, &promised, MOST, &made, &result) ==
        APR_SUCCESS)
        abort();
    check_nothing_left();
    return 0;
}
