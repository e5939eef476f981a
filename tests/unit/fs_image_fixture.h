/* SPDX-License-Identifier: Apache-2.0 */
/* Small images for tests: a schema from a few words, rows from C strings. */
#ifndef FS_IMAGE_FIXTURE_H
#define FS_IMAGE_FIXTURE_H

#include <stdarg.h>
#include <string.h>

#include "fs_test.h"
#include "image/fs_image.h"

static fs_column_t fixture_columns[] = {
    {"note", FS_COLUMN_TEXT, 0}, {"sku", FS_COLUMN_TEXT, 2},       {"price", FS_COLUMN_DECIMAL, 0},
    {"land", FS_COLUMN_TEXT, 1}, {"picture", FS_COLUMN_BINARY, 0},
};
static const fs_image_schema_t fixture_schema = {"default", "prices", 5, 2, fixture_columns};

static inline fs_slice_t slice(const char *text)
{
    return (fs_slice_t){text, text ? (uint32_t)strlen(text) : 0};
}

/* Adds (note, sku, price, land, picture); NULL is SQL NULL. */
static inline apr_status_t fixture_add(fs_image_builder_t *builder, const char *note,
                                       const char *sku, const char *price, const char *land,
                                       const char *picture, fs_result_t *result)
{
    fs_slice_t values[] = {slice(note), slice(sku), slice(price), slice(land), slice(picture)};

    return fs_image_builder_add(builder, values, result);
}

static inline fs_image_builder_t *fixture_begin(const char *dir)
{
    fs_image_builder_t *builder;
    fs_result_t result;

    ck_assert_msg(fs_image_builder_create(&builder, dir, &fixture_schema, 7, &result) ==
                      APR_SUCCESS,
                  "%s", result.detail);
    return builder;
}

/* Row number `i` of a table whose rows all differ. */
static inline void fixture_add_number(fs_image_builder_t *builder, unsigned i, const char *note)
{
    static const char *const lands[] = {"de", "fr", "it"};
    char sku[32], price[32];
    fs_result_t result;

    snprintf(sku, sizeof(sku), "sku-%06u", i);
    snprintf(price, sizeof(price), "%u.%02u", i / 100, i % 100);
    ck_assert_msg(fixture_add(builder, i % 7 ? note : NULL, sku, price, lands[i % 3],
                              i % 5 ? "\x89PNG" : "", &result) == APR_SUCCESS,
                  "%s", result.detail);
}

static inline void fixture_path(const char *dir, const fs_image_made_t *made, char path[800])
{
    char hex[FS_DIGEST_HEX_SIZE];

    snprintf(path, 800, "%s/%s.fsi", dir, fs_digest_hex(&made->digest, hex));
}

static inline void fixture_finish(fs_image_builder_t *builder, const char *dir,
                                  fs_image_made_t *made, char path[800])
{
    fs_result_t result;

    ck_assert_msg(fs_image_builder_finish(builder, made, &result) == APR_SUCCESS, "%s",
                  result.detail);
    fixture_path(dir, made, path);
}

/* Builds `count` numbered rows in the order i * step mod count (step and count without common
 * factor). */
static inline void fixture_build(const char *dir, unsigned count, unsigned step,
                                 fs_image_made_t *made, char path[800])
{
    fs_image_builder_t *builder = fixture_begin(dir);

    for (unsigned i = 0; i < count; i++)
        fixture_add_number(builder, (unsigned)((uint64_t)i * step % count), "a note");
    fixture_finish(builder, dir, made, path);
}

static inline fs_image_t *fixture_open(const char *path)
{
    fs_image_t *image;
    fs_result_t result;

    ck_assert_msg(fs_image_open(&image, path, &result) == APR_SUCCESS, "%s", result.detail);
    return image;
}

static inline int fixture_find(const fs_image_t *image, const char *land, const char *sku,
                               fs_row_t *row)
{
    fs_slice_t key[] = {slice(land), slice(sku)};

    return fs_image_find(image, key, 2, row);
}

#define ck_assert_value(row, column, text)                                                         \
    do {                                                                                           \
        fs_slice_t value_ = fs_row_value(row, column);                                             \
        ck_assert_ptr_nonnull(value_.data);                                                        \
        ck_assert_uint_eq(value_.length, strlen(text));                                            \
        ck_assert_str_eq(value_.data, text);                                                       \
    } while (0)

#endif
