/* SPDX-License-Identifier: Apache-2.0 */
/* Makes DIR/old.fsi, DIR/new.fsi and DIR/other.fsi, small images for test_image_tool.sh. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image/fs_image.h"

static const char *const old_rows[][4] = {
    {"de", "sku-1", "1.50", "it's \\ good"},
    {"de", "sku-2", "007", "\"quoted\"\n"},
    {"fr", "sku-1", "-2e3", NULL},
    {"it", "sku-9", "3", ""},
};
static const char *const new_rows[][4] = {
    {"de", "sku-1", "1.75", "it's \\ good"},
    {"fr", "sku-1", "-2e3", NULL},
    {"fr", "sku-7", "4", "new"},
    {"it", "sku-9", "3", ""},
};

static void build(const char *dir, const char *name, const char *const rows[][4], unsigned columns)
{
    fs_column_t all[] = {{"land", FS_COLUMN_TEXT, 1},
                         {"sku", FS_COLUMN_TEXT, 2},
                         {"price", FS_COLUMN_DECIMAL, 0},
                         {"no`te", FS_COLUMN_TEXT, 0},
                         {"picture", FS_COLUMN_BINARY, 0}};
    fs_image_schema_t schema = {"default", "prices", columns, 2, all};
    char path[1100], made_path[1100], hex[FS_DIGEST_HEX_SIZE];
    fs_image_builder_t *builder;
    fs_image_made_t made;
    fs_result_t result;
    apr_status_t status = fs_image_builder_create(&builder, dir, &schema, 7, &result);

    for (unsigned i = 0; i < 4 && status == APR_SUCCESS; i++) {
        fs_slice_t values[5];

        for (unsigned j = 0; j < 4; j++)
            values[j] = (fs_slice_t){rows[i][j], rows[i][j] ? (uint32_t)strlen(rows[i][j]) : 0};
        values[4] = (fs_slice_t){"\x89PNG\0", i + 1};
        status = fs_image_builder_add(builder, values, &result);
    }
    if (status == APR_SUCCESS)
        status = fs_image_builder_finish(builder, &made, &result);
    snprintf(made_path, sizeof(made_path), "%s/%s.fsi", dir, fs_digest_hex(&made.digest, hex));
    snprintf(path, sizeof(path), "%s/%s.fsi", dir, name);
    if (status != APR_SUCCESS || rename(made_path, path)) {
        fprintf(stderr, "cannot make %s: %s\n", path, status ? result.detail : "rename");
        exit(EXIT_FAILURE);
    }
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return EXIT_FAILURE;
    build(argv[1], "old", old_rows, 5);
    build(argv[1], "new", new_rows, 5);
    build(argv[1], "other", old_rows, 4);
    return EXIT_SUCCESS;
}
