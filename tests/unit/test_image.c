/* SPDX-License-Identifier: Apache-2.0 */
/* The dataset image: building, opening, looking up, and refusing what is damaged. */
#include "fs_image_fixture.h"

#include <dirent.h>
#include <sys/resource.h>
#include <signal.h>

#include "base/fs_file.h"
#include "image/fs_image_format.h"

static char *dir;

static void setup(void)
{
    dir = fs_test_mkdir();
}

static void teardown(void)
{
    fs_test_rmdir(dir);
}

static unsigned files_in_dir(void)
{
    DIR *open_dir = opendir(dir);
    unsigned count = 0;

    while (readdir(open_dir))
        count++;
    closedir(open_dir);
    return count - 2;
}

START_TEST(every_row_is_found_with_its_values)
{
    fs_image_made_t made;
    char path[800], sku[32];
    fs_image_t *image;
    fs_row_t row;

    fixture_build(dir, 5000, 1, &made, path);
    image = fixture_open(path);
    ck_assert_uint_eq(fs_image_rows(image), 5000);
    ck_assert_uint_eq(fs_image_bytes(image), made.bytes);
    ck_assert_int_eq(fs_image_version(image), 7);
    for (unsigned i = 0; i < 5000; i++) {
        static const char *const lands[] = {"de", "fr", "it"};

        snprintf(sku, sizeof(sku), "sku-%06u", i);
        ck_assert(fixture_find(image, lands[i % 3], sku, &row));
        ck_assert_value(&row, 1, sku);
        ck_assert_value(&row, 3, lands[i % 3]);
        if (i % 7)
            ck_assert_value(&row, 0, "a note");
        else
            ck_assert_ptr_null(fs_row_value(&row, 0).data);
        ck_assert_value(&row, 4, i % 5 ? "\x89PNG" : "");
        ck_assert(!fixture_find(image, lands[(i + 1) % 3], sku, &row));
    }
    ck_assert_ptr_null(fs_row_value(&row, 5).data);
    fs_image_close(image);
    ck_assert_uint_eq(files_in_dir(), 1);
}
END_TEST

START_TEST(schema_comes_back_whole)
{
    fs_image_made_t made;
    char path[800];
    fs_image_t *image;
    const fs_image_schema_t *schema;

    fixture_build(dir, 1, 1, &made, path);
    image = fixture_open(path);
    schema = fs_image_schema(image);
    ck_assert_str_eq(schema->group, "default");
    ck_assert_str_eq(schema->dataset, "prices");
    ck_assert_uint_eq(schema->column_count, 5);
    ck_assert_uint_eq(schema->key_count, 2);
    for (unsigned i = 0; i < 5; i++) {
        const char *name = fixture_columns[i].name;

        ck_assert_str_eq(schema->columns[i].name, name);
        ck_assert_int_eq(schema->columns[i].type, fixture_columns[i].type);
        ck_assert_int_eq(schema->columns[i].key, fixture_columns[i].key);
        ck_assert_int_eq(fs_image_column(image, name, strlen(name)), (int)i);
    }
    ck_assert_int_eq(fs_image_column(image, "pric", 4), -1);
    ck_assert_int_eq(fs_image_column(image, "prices", 6), -1);
    ck_assert_int_eq(fs_image_column(image, "", 0), -1);
    fs_image_close(image);
}
END_TEST

START_TEST(same_rows_in_any_order_give_the_same_file)
{
    static const unsigned steps[] = {1, 7, 3331, 4999};
    fs_image_made_t first, made;
    char path[800];

    fixture_build(dir, 5000, 4999, &first, path);
    for (unsigned i = 0; i < 4; i++) {
        fixture_build(dir, 5000, steps[i], &made, path);
        ck_assert(fs_digest_equal(&first.digest, &made.digest));
        ck_assert_uint_eq(first.bytes, made.bytes);
    }
    ck_assert_uint_eq(files_in_dir(), 1);
    fixture_build(dir, 4999, 1, &made, path);
    ck_assert(!fs_digest_equal(&first.digest, &made.digest));
}
END_TEST

/* Whoever changes a byte of the format must mean it: the format version goes up with this digest.
 */
START_TEST(format_is_what_it_was)
{
    fs_image_made_t made;
    char path[800], hex[FS_DIGEST_HEX_SIZE];

    fixture_build(dir, 100, 1, &made, path);
    ck_assert_str_eq(fs_digest_hex(&made.digest, hex),
                     "4f7a63a4484e3cbf6d72e1e769cf578acaed911c4076ea8939070e1410db1bd3");
}
END_TEST

START_TEST(empty_dataset_is_an_image)
{
    fs_image_made_t made;
    char path[800];
    fs_image_t *image;
    fs_result_t result;
    fs_row_t row;
    fs_slice_t key = slice("");

    fixture_finish(fixture_begin(dir), dir, &made, path);
    ck_assert_uint_eq(made.rows, 0);
    ck_assert_int_eq(fs_image_verify(path, &made.digest, &result), APR_SUCCESS);
    image = fixture_open(path);
    ck_assert(!fixture_find(image, "de", "x", &row));
    ck_assert(!fs_image_at(image, 0, &row));
    ck_assert_uint_eq(fs_image_seek(image, &key, 1), 0);
    fs_image_close(image);
}
END_TEST

/* Keys that a careless order or a careless hash would mix up, in key order. */
static const fs_slice_t hard_keys[][2] = {
    {{"", 0}, {"", 0}},          {{"", 0}, {"\0", 1}},        {{"", 0}, {"a", 1}},
    {{"\0", 1}, {"", 0}},        {{"\0", 1}, {"x", 1}},       {{"\0\0", 2}, {"", 0}},
    {{"\1", 1}, {"", 0}},        {{"\1\0", 2}, {"", 0}},      {{"\1\1", 2}, {"", 0}},
    {{"\2", 1}, {"", 0}},        {{"a", 1}, {"", 0}},         {{"a", 1}, {"\0y", 2}},
    {{"a", 1}, {"bc", 2}},       {{"a\0", 2}, {"", 0}},       {{"a\0", 2}, {"x", 1}},
    {{"a\1", 2}, {"", 0}},       {{"ab", 2}, {"c", 1}},       {{"abcdefgh", 8}, {"", 0}},
    {{"abcdefgh", 8}, {"1", 1}}, {{"abcdefghi", 9}, {"", 0}}, {{"\xc3\xa9", 2}, {"", 0}},
};
#define HARD_KEYS (sizeof(hard_keys) / sizeof(hard_keys[0]))

START_TEST(rows_come_in_key_order)
{
    fs_image_builder_t *builder = fixture_begin(dir);
    fs_image_made_t made;
    fs_result_t result;
    fs_image_t *image;
    char path[800];
    fs_row_t row;

    for (unsigned i = 0; i < HARD_KEYS; i++) {
        unsigned j = i * 5 % HARD_KEYS;
        fs_slice_t values[] = {slice(NULL), hard_keys[j][1], slice("1"), hard_keys[j][0],
                               slice("")};

        ck_assert_int_eq(fs_image_builder_add(builder, values, &result), APR_SUCCESS);
    }
    fixture_finish(builder, dir, &made, path);
    ck_assert_int_eq(fs_image_verify(path, &made.digest, &result), APR_SUCCESS);
    image = fixture_open(path);
    for (unsigned i = 0; i < HARD_KEYS; i++) {
        const fs_slice_t *key = hard_keys[i];

        ck_assert(fs_image_at(image, i, &row));
        ck_assert_uint_eq(fs_row_value(&row, 3).length, key[0].length);
        ck_assert_mem_eq(fs_row_value(&row, 3).data, key[0].data, key[0].length);
        ck_assert_uint_eq(fs_row_value(&row, 1).length, key[1].length);
        ck_assert_mem_eq(fs_row_value(&row, 1).data, key[1].data, key[1].length);
        ck_assert_uint_eq(fs_image_seek(image, key, 2), i);
        ck_assert(fs_image_find(image, key, 2, &row));
        ck_assert_uint_eq(fs_row_value(&row, 1).length, key[1].length);
    }
    ck_assert_uint_eq(fs_image_seek(image, hard_keys[3], 1), 3);
    ck_assert_uint_eq(fs_image_seek(image, hard_keys[11], 1), 10);
    ck_assert_uint_eq(fs_image_seek(image, NULL, 0), 0);
    fs_image_close(image);
}
END_TEST

START_TEST(long_shared_prefixes_are_ordered)
{
    fs_image_builder_t *builder = fixture_begin(dir);
    fs_image_made_t made;
    fs_result_t result;
    fs_image_t *image;
    char path[800], sku[2001];
    fs_row_t row;

    for (unsigned i = 0; i < 300; i++) {
        unsigned n = i * 7 % 300;

        memset(sku, 'k', 2000);
        snprintf(sku + 1000 + n, 8, "%03u", 300 - n);
        ck_assert_int_eq(fixture_add(builder, NULL, sku, NULL, n % 2 ? "de" : "fr", NULL, &result),
                         APR_SUCCESS);
    }
    fixture_finish(builder, dir, &made, path);
    ck_assert_int_eq(fs_image_verify(path, &made.digest, &result), APR_SUCCESS);
    image = fixture_open(path);
    ck_assert(fs_image_at(image, 0, &row));
    ck_assert_value(&row, 3, "de");
    fs_image_close(image);
}
END_TEST

START_TEST(batch_finds_what_single_look_ups_find)
{
    enum { COUNT = 1000 };
    static char text[COUNT][32];
    static fs_slice_t keys[COUNT][2];
    static fs_row_t rows[COUNT];
    fs_image_made_t made;
    char path[800];
    fs_image_t *image;
    unsigned found = 0;

    fixture_build(dir, 1500, 1, &made, path);
    image = fixture_open(path);
    for (unsigned i = 0; i < COUNT; i++) {
        snprintf(text[i], sizeof(text[i]), "sku-%06u", i * 3);
        keys[i][0] = slice("de");
        keys[i][1] = slice(text[i]);
    }
    for (unsigned count = 0; count < COUNT; count += count < 40 ? 1 : 97) {
        unsigned expected = 0;

        found = fs_image_find_batch(image, keys[0], 2, count, rows);
        for (unsigned i = 0; i < count; i++) {
            fs_row_t row;
            int there = fs_image_find(image, keys[i], 2, &row);

            expected += (unsigned)there;
            ck_assert_ptr_eq(rows[i].data, there ? row.data : NULL);
            if (there)
                ck_assert_value(&rows[i], 1, text[i]);
        }
        ck_assert_uint_eq(found, expected);
    }
    rows[0].data = path;
    ck_assert_uint_eq(fs_image_find_batch(image, keys[0], 1, 1, rows), 0);
    ck_assert_ptr_null(rows[0].data);
    ck_assert(!fs_image_find(image, keys[0], 1, rows));
    fs_image_close(image);
}
END_TEST

START_TEST(rows_of_every_size_come_back)
{
    static const uint32_t sizes[] = {
        0,   1,     7,     8,     240,   248,   249,   250,     251,    255,
        256, 65525, 65526, 65527, 65535, 65536, 70000, 1000000, 300000, FS_IMAGE_MAX_ROW - 12};
    char *big = malloc(FS_IMAGE_MAX_ROW);
    fs_image_builder_t *builder = fixture_begin(dir);
    fs_image_made_t made;
    fs_result_t result;
    fs_image_t *image;
    char path[800], sku[32];
    fs_row_t row;

    memset(big, 'x', FS_IMAGE_MAX_ROW);
    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        snprintf(sku, sizeof(sku), "%08u", i);
        fs_slice_t values[] = {{big, sizes[i]}, slice(sku), slice("1"), slice("de"), slice("\xff")};

        ck_assert_int_eq(fs_image_builder_add(builder, values, &result), APR_SUCCESS);
    }
    fixture_finish(builder, dir, &made, path);
    ck_assert_int_eq(fs_image_verify(path, &made.digest, &result), APR_SUCCESS);
    image = fixture_open(path);
    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        fs_slice_t value;

        snprintf(sku, sizeof(sku), "%08u", i);
        ck_assert(fixture_find(image, "de", sku, &row));
        value = fs_row_value(&row, 0);
        ck_assert_ptr_nonnull(value.data);
        ck_assert_uint_eq(value.length, sizes[i]);
        ck_assert_mem_eq(value.data, big, sizes[i]);
        ck_assert_int_eq(value.data[sizes[i]], 0);
        ck_assert_value(&row, 4, "\xff");
    }
    fs_image_close(image);
    free(big);
}
END_TEST

START_TEST(many_columns_and_sixteen_keys)
{
    enum { COLUMNS = FS_IMAGE_MAX_COLUMNS };
    fs_column_t *columns = calloc(COLUMNS, sizeof(*columns));
    fs_slice_t *values = calloc(COLUMNS, sizeof(*values)), key[16];
    fs_image_schema_t schema = {"g", "wide", COLUMNS, 16, columns};
    fs_image_builder_t *builder;
    fs_image_made_t made;
    fs_result_t result;
    fs_image_t *image;
    char path[800];
    fs_row_t row;

    for (unsigned i = 0; i < COLUMNS; i++) {
        snprintf(columns[i].name, sizeof(columns[i].name), "column_%u", i);
        values[i] = slice(columns[i].name);
        if (i % 60 == 7 && i / 60 < 16) {
            columns[i].key = 16 - (int)(i / 60);
            key[15 - i / 60] = values[i];
        }
    }
    ck_assert_int_eq(fs_image_builder_create(&builder, dir, &schema, 1, &result), APR_SUCCESS);
    ck_assert_int_eq(fs_image_builder_add(builder, values, &result), APR_SUCCESS);
    fixture_finish(builder, dir, &made, path);
    ck_assert_int_eq(fs_image_verify(path, &made.digest, &result), APR_SUCCESS);
    image = fixture_open(path);
    ck_assert(fs_image_find(image, key, 16, &row));
    for (unsigned i = 0; i < COLUMNS; i++) {
        ck_assert_value(&row, i, columns[i].name);
        ck_assert_int_eq(fs_image_column(image, columns[i].name, strlen(columns[i].name)), (int)i);
    }
    fs_image_close(image);
    free(columns);
    free(values);
}
END_TEST

/* --- what the builder refuses ------------------------------------------------------------------
 */

START_TEST(bad_rows_are_refused_by_name)
{
    fs_image_builder_t *builder;
    fs_result_t result;
    char *big = malloc(FS_IMAGE_MAX_ROW + 1);
    struct {
        fs_slice_t note, sku, land;
        const char *problem, *mention;
    } bad[] = {
        {slice(""), slice(NULL), slice("de"), "FS0103", "sku"},
        {slice(""), slice("x1"), slice(NULL), "FS0103", "land"},
        {slice("\xc3("), slice("x1"), slice("de"), "FS0105", "de/x1"},
        {slice("\xed\xa0\x80"), slice("x1"), slice("de"), "FS0105", "note"},
        {slice("\xf4\x90\x80\x80"), slice("x1"), slice("de"), "FS0105", "note"},
        {slice("12345678\xe2\x82"), slice("x1"), slice("de"), "FS0105", "note"},
        {{big, FS_IMAGE_MAX_ROW}, slice("x1"), slice("de"), "FS0104", "de/x1"},
        {slice(""), {big, FS_IMAGE_MAX_KEY - 1}, slice("de"), "FS0104", "de/xxx"},
    };

    memset(big, 'x', FS_IMAGE_MAX_ROW);
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        fs_slice_t values[] = {bad[i].note, bad[i].sku, slice("1"), bad[i].land, slice(NULL)};

        builder = fixture_begin(dir);
        ck_assert_int_ne(fs_image_builder_add(builder, values, &result), APR_SUCCESS);
        ck_assert_str_eq(result.problem, bad[i].problem);
        ck_assert_msg(strstr(result.detail, bad[i].mention) != NULL, "%s", result.detail);
        fs_image_builder_cancel(builder);
    }
    ck_assert_uint_eq(files_in_dir(), 0);
    free(big);
}
END_TEST

START_TEST(two_rows_with_one_key_are_refused)
{
    for (unsigned twins = 2; twins < 200; twins += 66) {
        fs_image_builder_t *builder = fixture_begin(dir);
        fs_image_made_t made;
        fs_result_t result;

        for (unsigned i = 0; i < 1000; i++)
            fixture_add_number(builder, i, "x");
        for (unsigned i = 1; i < twins; i++)
            fixture_add_number(builder, 123, "y");
        ck_assert_int_ne(fs_image_builder_finish(builder, &made, &result), APR_SUCCESS);
        ck_assert_str_eq(result.problem, "FS0106");
        ck_assert_ptr_nonnull(strstr(result.detail, "de/sku-000123"));
        ck_assert_uint_eq(files_in_dir(), 0);
    }
}
END_TEST

START_TEST(bad_schemas_are_refused)
{
    fs_column_t columns[3] = {{"a", FS_COLUMN_TEXT, 1}, {"b", FS_COLUMN_TEXT, 2}, {"c", 0, 0}};
    const fs_image_schema_t good = {"g", "d", 3, 2, columns};
    fs_image_builder_t *builder;
    fs_result_t result;

    for (unsigned i = 0; i < 10; i++) {
        fs_image_schema_t schema = good;
        fs_column_t copy[3];

        memcpy(copy, columns, sizeof(copy));
        schema.columns = copy;
        switch (i) {
        case 0:
            schema.column_count = 0;
            break;
        case 1:
            schema.column_count = FS_IMAGE_MAX_COLUMNS + 1;
            break;
        case 2:
            schema.key_count = 0;
            break;
        case 3:
            schema.key_count = 1;
            break;
        case 4:
            schema.key_count = 17;
            break;
        case 5:
            copy[1].key = 1;
            break;
        case 6:
            copy[1].key = -3;
            break;
        case 7:
            copy[2].name[0] = 'a';
            break;
        case 8:
            copy[2].name[0] = '\0';
            break;
        case 9:
            copy[2].type = (fs_column_type_t)7;
            break;
        }
        ck_assert_int_ne(fs_image_builder_create(&builder, dir, &schema, 1, &result), APR_SUCCESS);
        ck_assert_str_eq(result.problem, "FS0101");
        ck_assert_ptr_null(builder);
    }
    ck_assert_uint_eq(files_in_dir(), 0);
}
END_TEST

START_TEST(full_disk_leaves_nothing_behind)
{
    struct rlimit limit, before;
    fs_image_made_t made;
    fs_result_t result;
    fs_image_builder_t *builder;

    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before);
    for (rlim_t allowed = 0; allowed < 1700000; allowed += 170000) {
        apr_status_t status = APR_SUCCESS;
        char note[1000];

        limit = before;
        limit.rlim_cur = allowed;
        setrlimit(RLIMIT_FSIZE, &limit);
        builder = fixture_begin(dir);
        memset(note, 'n', sizeof(note) - 1);
        note[sizeof(note) - 1] = '\0';
        for (unsigned i = 0; i < 2000 && status == APR_SUCCESS; i++) {
            char sku[16];

            snprintf(sku, sizeof(sku), "%u", i);
            status = fixture_add(builder, note, sku, "1", "de", "", &result);
        }
        if (status == APR_SUCCESS)
            status = fs_image_builder_finish(builder, &made, &result);
        else
            fs_image_builder_cancel(builder);
        setrlimit(RLIMIT_FSIZE, &before);
        ck_assert_int_ne(status, APR_SUCCESS);
        ck_assert_str_eq(result.problem, "FS0102");
        ck_assert_uint_eq(files_in_dir(), 0);
    }
    ck_assert_int_ne(fs_image_builder_create(&builder, "/nonexistent", &fixture_schema, 1, &result),
                     APR_SUCCESS);
    ck_assert_str_eq(result.problem, "FS0102");
}
END_TEST

/* Without a sync: these files come and go by the thousand. */
static void write_plain(const char *path, const void *data, size_t length)
{
    FILE *file = fopen(path, "w");

    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(data, 1, length, file), length);
    ck_assert_int_eq(fclose(file), 0);
}

/* --- damaged and hostile files -----------------------------------------------------------------
 */

/* Does everything that can be done with an image; only a sanitizer or a signal can object. */
static void exercise(const fs_image_t *image)
{
    fs_slice_t keys[32];
    fs_row_t row, rows[2];
    uint64_t rows_count = fs_image_rows(image);
    unsigned columns = fs_image_schema(image)->column_count;

    for (uint64_t i = 0; i < rows_count && i < 300; i++) {
        if (!fs_image_at(image, i, &row))
            continue;
        for (unsigned c = 0; c < columns; c++) {
            fs_slice_t value = fs_row_value(&row, c);
            int key = fs_image_schema(image)->columns[c].key;

            if (key)
                keys[key - 1] = keys[fs_image_schema(image)->key_count + (unsigned)key - 1] = value;
            if (value.data)
                XXH3_64bits(value.data, strlen(value.data) + value.length);
        }
        fs_image_find(image, keys, fs_image_schema(image)->key_count, &row);
        fs_image_find_batch(image, keys, fs_image_schema(image)->key_count, 2, rows);
        fs_image_seek(image, keys, 1);
    }
}

START_TEST(one_altered_bit_is_never_accepted)
{
    fs_image_made_t made;
    char path[800], *data;
    size_t length;
    fs_result_t result;
    unsigned refused_by_open = 0, refused_without_digest = 0;
    size_t head;

    fixture_build(dir, 40, 1, &made, path);
    ck_assert_int_eq(fs_file_read(path, 1 << 20, &data, &length, &result), APR_SUCCESS);
    head = sizeof(fs_image_header_t) + ((const fs_image_header_t *)data)->schema_bytes;
    for (size_t i = 0; i < length; i++) {
        fs_image_t *image;

        data[i] ^= (char)(1 << i % 8);
        write_plain(path, data, length);
        ck_assert_int_ne(fs_image_verify(path, &made.digest, &result), APR_SUCCESS);
        refused_without_digest += fs_image_verify(path, NULL, &result) != APR_SUCCESS;
        if (fs_image_open(&image, path, &result) == APR_SUCCESS) {
            ck_assert_uint_ge(i, head);
            ck_assert_uint_lt(i, length - FS_IMAGE_GUARD);
            exercise(image);
            fs_image_close(image);
        } else {
            refused_by_open++;
        }
        data[i] ^= (char)(1 << i % 8);
    }
    ck_assert_uint_ge(refused_by_open, sizeof(fs_image_header_t));
    ck_assert_uint_gt(refused_without_digest, refused_by_open);
    free(data);
}
END_TEST

START_TEST(any_shorter_file_is_refused)
{
    fs_image_made_t made;
    char path[800], *data;
    size_t length;
    fs_result_t result;
    fs_image_t *image;

    fixture_build(dir, 10, 1, &made, path);
    ck_assert_int_eq(fs_file_read(path, 1 << 20, &data, &length, &result), APR_SUCCESS);
    for (size_t i = 0; i < length; i++) {
        write_plain(path, data, i);
        ck_assert_int_ne(fs_image_open(&image, path, &result), APR_SUCCESS);
        ck_assert(!strcmp(result.problem, "FS0112") || !strcmp(result.problem, "FS0113"));
        ck_assert_ptr_null(image);
    }
    free(data);
    ck_assert_int_eq(fs_image_open(&image, dir, &result), APR_EINVAL);
    ck_assert(APR_STATUS_IS_ENOENT(fs_image_open(&image, "/nonexistent.fsi", &result)));
    ck_assert_str_eq(result.problem, "FS0111");
}
END_TEST

/* A hostile file has a right checksum. Puts random numbers where numbers are, and reads. */
START_TEST(hostile_numbers_crash_nobody)
{
    static const uint64_t nasty[] = {0,     1,          7,          255,
                                     65535, UINT32_MAX, UINT64_MAX, UINT64_C(1) << 63};
    fs_image_made_t made;
    char path[800], *data;
    size_t length;
    fs_result_t result;
    unsigned opened = 0, seed = 1;

    fixture_build(dir, 40, 1, &made, path);
    ck_assert_int_eq(fs_file_read(path, 1 << 20, &data, &length, &result), APR_SUCCESS);
    for (unsigned round = 0; round < 20000; round++) {
        char *copy = malloc(length);
        fs_image_header_t *header = (fs_image_header_t *)copy;
        fs_image_t *image;

        memcpy(copy, data, length);
        for (unsigned i = 0; i < 1 + round % 5; i++) {
            size_t at, width = (size_t)1 << rand_r(&seed) % 4;
            uint64_t number = nasty[rand_r(&seed) % 8];

            at = (size_t)rand_r(&seed) % (length - 8);
            if (round % 4 == 0)
                at = 16 + 8 * ((size_t)rand_r(&seed) % 12);
            if (round % 3 == 0)
                number = (uint64_t)rand_r(&seed) % 1000;
            memcpy(copy + at, &number, width);
        }
        if (header->schema_bytes < length - sizeof(*header))
            header->checksum = fs_image_checksum(header, copy + sizeof(*header));
        /* memory of just this size: a sanitizer sees each byte too far */
        if (fs_image_attach(&image, copy, length, "hostile", &result) == APR_SUCCESS) {
            opened++;
            exercise(image);
            fs_image_problem(image);
            fs_image_close(image);
        }
        free(copy);
    }
    ck_assert_uint_gt(opened, 100);
    free(data);
}
END_TEST

static Suite *image_suite(void)
{
    Suite *suite = suite_create("image");
    TCase *tcase = tcase_create("image");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, every_row_is_found_with_its_values);
    tcase_add_test(tcase, schema_comes_back_whole);
    tcase_add_test(tcase, same_rows_in_any_order_give_the_same_file);
    tcase_add_test(tcase, format_is_what_it_was);
    tcase_add_test(tcase, empty_dataset_is_an_image);
    tcase_add_test(tcase, rows_come_in_key_order);
    tcase_add_test(tcase, long_shared_prefixes_are_ordered);
    tcase_add_test(tcase, batch_finds_what_single_look_ups_find);
    tcase_add_test(tcase, rows_of_every_size_come_back);
    tcase_add_test(tcase, many_columns_and_sixteen_keys);
    tcase_add_test(tcase, bad_rows_are_refused_by_name);
    tcase_add_test(tcase, two_rows_with_one_key_are_refused);
    tcase_add_test(tcase, bad_schemas_are_refused);
    tcase_add_test(tcase, full_disk_leaves_nothing_behind);
    tcase_add_test(tcase, one_altered_bit_is_never_accepted);
    tcase_add_test(tcase, any_shorter_file_is_refused);
    tcase_add_test(tcase, hostile_numbers_crash_nobody);
    suite_add_tcase(suite, tcase);
    return suite;
}

FS_TEST_MAIN(image_suite)
