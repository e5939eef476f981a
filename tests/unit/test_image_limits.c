/* SPDX-License-Identifier: Apache-2.0 */
/* The dataset image: quick look-ups of small images, the largest numbers, and a builder's death. */
#include "fs_image_fixture.h"

#include <dirent.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fs_file.h"
#include "image/fs_image_format.h"
#include "image/fs_image_table.h"

/* A sanitizer takes memory of its own, which a limit would hit. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED
#endif
#endif
#if !defined(__SANITIZE_ADDRESS__) && !defined(SANITIZED)
#define OWN_MEMORY
#endif

static char *dir;

static void setup(void)
{
    dir = fs_test_mkdir();
}

static void teardown(void)
{
    fs_test_rmdir(dir);
}

static fs_column_t simple_columns[] = {
    {"note", FS_COLUMN_TEXT, 0}, {"id", FS_COLUMN_TEXT, 1}, {"data", FS_COLUMN_BINARY, 0}};
static const fs_image_schema_t simple_schema = {"default", "simple", 3, 1, simple_columns};

static fs_image_builder_t *simple_begin(void)
{
    fs_image_builder_t *builder;
    fs_result_t result;

    ck_assert_int_eq(fs_image_builder_create(&builder, dir, &simple_schema, 1, &result),
                     APR_SUCCESS);
    return builder;
}

static void simple_add(fs_image_builder_t *builder, fs_slice_t note, const char *id,
                       fs_slice_t data)
{
    fs_slice_t values[] = {note, slice(id), data};
    fs_result_t result;

    ck_assert_msg(fs_image_builder_add(builder, values, &result) == APR_SUCCESS, "%s",
                  result.detail);
}

/* --- quick look-ups -----------------------------------------------------------------------------
 */

/* The value through fs_image_value is the one through fs_image_find, and through a batch. */
static void check_value(const fs_image_t *image, const char *id, unsigned column)
{
    fs_slice_t key = slice(id), value = fs_image_value(image, key, column), other = {NULL, 0};
    fs_row_t row, batch;
    int there = fs_image_find(image, &key, 1, &row);

    if (there)
        other = fs_row_value(&row, column);
    ck_assert_ptr_eq(value.data, other.data);
    ck_assert_uint_eq(value.length, other.length);
    ck_assert_uint_eq(fs_image_find_batch(image, &key, 1, 1, &batch), (unsigned)there);
    ck_assert_ptr_eq(batch.data, there ? row.data : NULL);
}

/* With an index (few rows), without (many), and with rows of each width. */
START_TEST(value_is_what_find_gives)
{
    static const unsigned counts[] = {1,    2, 40, 1000, FS_INDEX_MOST_ROWS, FS_INDEX_MOST_ROWS + 1,
                                      20000};
    static char long_note[70000];

    memset(long_note, 'x', sizeof(long_note));
    for (unsigned c = 0; c < sizeof(counts) / sizeof(counts[0]); c++) {
        fs_image_builder_t *builder = simple_begin();
        fs_image_made_t made;
        fs_image_t *image;
        char path[800], id[32];

        for (unsigned i = 0; i < counts[c]; i++) {
            fs_slice_t note = {long_note, i == 7 ? 70000 : i % 11 == 5 && c < 3 ? 300 : i % 20};

            if (i % 13 == 3)
                note.data = NULL;
            snprintf(id, sizeof(id), "%u", i);
            simple_add(builder, note, id, slice("data"));
        }
        fixture_finish(builder, dir, &made, path);
        image = fixture_open(path);
        ck_assert_int_eq(image->index != NULL, counts[c] <= FS_INDEX_MOST_ROWS);
        for (unsigned i = 0; i < counts[c] + 50; i++) {
            snprintf(id, sizeof(id), "%u", i);
            for (unsigned column = 0; column < 4; column++)
                check_value(image, id, column);
        }
        check_value(image, "", 0);
        ck_assert_str_eq(fs_image_value(image, slice("0"), 1).data, "0");
        fs_image_close(image);
        unlink(path);
    }
}
END_TEST

START_TEST(value_needs_a_key_of_one_column)
{
    fs_image_made_t made;
    char path[800];
    fs_image_t *image;

    fixture_build(dir, 10, 1, &made, path);
    image = fixture_open(path);
    ck_assert_ptr_null(fs_image_value(image, slice("de"), 0).data);
    fs_image_close(image);
}
END_TEST

/* Replaces an entry of the order in the file. */
static void set_order(const char *path, uint64_t number, uint64_t place)
{
    fs_image_header_t header;
    FILE *file = fopen(path, "r+");

    ck_assert_uint_eq(fread(&header, sizeof(header), 1, file), 1);
    ck_assert_int_eq(
        fseek(file, (long)(header.order_place + number * header.place_width), SEEK_SET), 0);
    ck_assert_uint_eq(fwrite(&place, header.place_width, 1, file), 1);
    ck_assert_int_eq(fclose(file), 0);
}

/* The index is made of the order: verifying mustn't believe the order because of the index. */
START_TEST(order_that_leads_into_a_value_is_refused)
{
    static const char copy[] = "\0\2\4\6b\0x\0y"; /* the row b: three ends, then its values */
    fs_image_builder_t *builder = simple_begin();
    fs_slice_t key = slice("b");
    fs_image_made_t made;
    fs_image_t *image;
    fs_result_t result;
    fs_row_t row, copied;
    char path[800];

    simple_add(builder, slice("x"), "a", (fs_slice_t){copy, sizeof(copy)});
    simple_add(builder, slice("x"), "b", slice("y"));
    fixture_finish(builder, dir, &made, path);
    ck_assert_int_eq(fs_image_verify(path, NULL, &result), APR_SUCCESS);
    image = fixture_open(path);
    ck_assert(fs_image_find(image, &key, 1, &row));
    ck_assert_mem_eq(row.data, copy, sizeof(copy));
    set_order(path, 1,
              (uint64_t)((const uint8_t *)fs_image_value(image, slice("a"), 2).data - image->heap));
    fs_image_close(image);

    image = fixture_open(path);
    ck_assert(fs_image_at(image, 1, &copied));
    ck_assert_mem_eq(copied.data, copy, sizeof(copy));
    fs_image_close(image);
    ck_assert_int_ne(fs_image_verify(path, NULL, &result), APR_SUCCESS);
    ck_assert_str_eq(result.problem, "FS0113");
}
END_TEST

/* An order that names one row again and again gives no index, and look-ups still find all rows. */
START_TEST(index_of_a_damaged_order_is_not_used)
{
    fs_image_builder_t *builder = simple_begin();
    fs_image_made_t made;
    fs_image_t *image;
    fs_row_t row;
    char path[800], id[32];

    for (unsigned i = 0; i < 100; i++) {
        snprintf(id, sizeof(id), "%u", i);
        simple_add(builder, slice("n"), id, slice("d"));
    }
    fixture_finish(builder, dir, &made, path);
    image = fixture_open(path);
    ck_assert_ptr_nonnull(image->index);
    ck_assert(fs_image_at(image, 0, &row));
    for (unsigned i = 0; i < 100; i++)
        set_order(path, i, (uint64_t)((const uint8_t *)row.data - image->heap));
    fs_image_close(image);
    image = fixture_open(path);
    ck_assert_ptr_null(image->index);
    for (unsigned i = 0; i < 100; i++) {
        snprintf(id, sizeof(id), "%u", i);
        ck_assert_ptr_nonnull(fs_image_value(image, slice(id), 2).data);
    }
    fs_image_close(image);
}
END_TEST

/* --- large numbers ------------------------------------------------------------------------------
 */

static fs_image_header_t layout(uint64_t rows, uint64_t row_bytes, uint64_t heap_bytes, int wide)
{
    fs_image_header_t header = {.rows = rows, .row_bytes = row_bytes, .schema_bytes = 100};

    header.heap_bytes = heap_bytes;
    header.wide = (uint8_t)wide;
    fs_image_layout(&header);
    return header;
}

/* 2^31 rows, of few bytes and of many: nothing overflows, regions follow each other. */
START_TEST(most_rows_have_a_place)
{
    static const uint64_t row_sizes[] = {3, 100, 4096, 65536};

    for (unsigned i = 0; i < sizeof(row_sizes) / sizeof(row_sizes[0]); i++) {
        uint64_t rows = FS_IMAGE_MAX_ROWS, bytes = rows * row_sizes[i];
        uint64_t buckets = fs_image_buckets(rows, bytes), heap = fs_round_up(bytes + 4 * rows, 16);
        fs_image_header_t header = layout(rows, bytes, heap, 1);

        ck_assert_uint_ge(buckets, rows / FS_IMAGE_BUCKET_MEAN);
        ck_assert_uint_le(buckets, rows + rows / 8);
        ck_assert_uint_lt(fs_hash_bucket(UINT64_MAX, buckets), buckets);
        ck_assert_uint_eq(fs_hash_bucket(0, buckets), 0);
        ck_assert_uint_ge(UINT64_C(1) << 8 * header.place_width, heap);
        ck_assert_uint_ge(header.order_place, header.heap_place + heap);
        ck_assert_uint_ge(header.directory_place, header.order_place + rows * header.place_width);
        ck_assert_uint_eq(header.file_bytes,
                          header.directory_place + 8 * (buckets + 1) + FS_IMAGE_GUARD);
    }
}
END_TEST

START_TEST(places_grow_with_the_heap)
{
    ck_assert_uint_eq(layout(10, 100, UINT32_MAX - 15, 0).place_width, 4);
    ck_assert_uint_eq(layout(10, 100, UINT64_C(1) << 32, 0).place_width, 5);
    ck_assert_uint_eq(layout(10, 100, (UINT64_C(1) << 40) - 16, 0).place_width, 5);
    ck_assert_uint_eq(layout(10, 100, UINT64_C(1) << 40, 0).place_width, 6);
}
END_TEST

/* Headers that say more rows than there may be are refused, with a right checksum, too. */
START_TEST(too_many_rows_are_refused)
{
    fs_image_made_t made;
    fs_image_t *image;
    fs_result_t result;
    fs_image_header_t *header;
    char path[800], *data;
    size_t length;

    fixture_build(dir, 10, 1, &made, path);
    ck_assert_int_eq(fs_file_read(path, 1 << 20, &data, &length, &result), APR_SUCCESS);
    header = (fs_image_header_t *)data;
    for (unsigned i = 0; i < 2; i++) {
        header->rows = FS_IMAGE_MAX_ROWS + i;
        header->checksum = fs_image_checksum(header, data + sizeof(*header));
        ck_assert_int_ne(fs_image_attach(&image, data, length, "many", &result), APR_SUCCESS);
        ck_assert_ptr_nonnull(
            strstr(result.detail, i ? "impossible numbers" : "regions aren't where"));
    }
    free(data);
}
END_TEST

/* The largest rows until the file is beyond 4 GiB: places are wider, nothing else is different.
 * Takes 9 GB of disk for half a minute, so FARMSYNC_TEST_LONG=1 asks for it. */
START_TEST(files_beyond_four_gigabytes)
{
    enum { ROWS = 270 };
    const char *wanted = getenv("FARMSYNC_TEST_LONG");
    fs_image_builder_t *builder;
    fs_image_made_t made, again;
    fs_image_t *image;
    fs_result_t result;
    fs_row_t row;
    char path[800], id[32], *big;
    fs_slice_t small = slice("small");

    if (!wanted || strcmp(wanted, "1") != 0)
        return;
    big = malloc(FS_IMAGE_MAX_ROW);
    memset(big, 'x', FS_IMAGE_MAX_ROW);
    builder = simple_begin();
    for (unsigned i = 0; i < ROWS; i++) {
        snprintf(id, sizeof(id), "%03u", i);
        memcpy(big, id, 3);
        simple_add(builder, slice(NULL), id, (fs_slice_t){big, FS_IMAGE_MAX_ROW - 16});
    }
    fixture_finish(builder, dir, &made, path);
    ck_assert_uint_gt(made.bytes, UINT64_C(1) << 32);
    ck_assert_int_eq(fs_image_verify(path, &made.digest, &result), APR_SUCCESS);
    image = fixture_open(path);
    ck_assert_uint_eq(image->place_width, 5);
    for (unsigned i = 0; i < ROWS; i++) {
        snprintf(id, sizeof(id), "%03u", i);
        ck_assert_mem_eq(fs_image_value(image, slice(id), 2).data, id, 3);
        ck_assert(fs_image_at(image, i, &row));
        ck_assert_str_eq(fs_row_value(&row, 1).data, id);
    }
    fs_image_close(image);
    ck_assert_int_eq(fs_image_builder_update(&builder, dir, path, 2, &result), APR_SUCCESS);
    simple_add(builder, small, "zzz", small);
    ck_assert_int_eq(fs_image_builder_finish(builder, &again, &result), APR_SUCCESS);
    ck_assert_uint_eq(again.rows, ROWS + 1);
    fixture_path(dir, &again, path);
    image = fixture_open(path);
    ck_assert_str_eq(fs_image_value(image, slice("zzz"), 0).data, "small");
    fs_image_close(image);
    free(big);
}
END_TEST

/* The smallest rows that there are: a key of one byte and nothing else. */
START_TEST(rows_of_one_byte)
{
    static fs_column_t columns[] = {{"k", FS_COLUMN_BINARY, 1}};
    static const fs_image_schema_t schema = {"g", "bytes", 1, 1, columns};
    fs_image_builder_t *builder;
    fs_image_made_t made;
    fs_image_t *image;
    fs_result_t result;
    fs_row_t row;
    char path[800];

    ck_assert_int_eq(fs_image_builder_create(&builder, dir, &schema, 1, &result), APR_SUCCESS);
    for (unsigned i = 0; i < 256; i++) {
        char byte = (char)(i * 37);

        ck_assert_int_eq(fs_image_builder_add(builder, &(fs_slice_t){&byte, 1}, &result),
                         APR_SUCCESS);
    }
    fixture_finish(builder, dir, &made, path);
    ck_assert_int_eq(fs_image_verify(path, &made.digest, &result), APR_SUCCESS);
    image = fixture_open(path);
    for (unsigned i = 0; i < 256; i++) {
        char byte = (char)i;
        fs_slice_t value = fs_image_value(image, (fs_slice_t){&byte, 1}, 0);

        ck_assert_uint_eq(value.length, 1);
        ck_assert_int_eq(*value.data, byte);
        ck_assert(fs_image_at(image, i, &row));
        ck_assert_int_eq(*fs_row_value(&row, 0).data, byte);
    }
    fs_image_close(image);
}
END_TEST

#ifdef OWN_MEMORY

/* Builds rows of 500 bytes with so much memory allowed; the child's exit status is 0 if it went. */
static void build_in(rlim_t bytes, unsigned rows)
{
    static char note[500];
    struct rlimit limit = {bytes, bytes};
    fs_image_builder_t *builder;
    fs_image_made_t made;
    fs_result_t result;
    char id[32];

    memset(note, 'n', sizeof(note));
    setrlimit(RLIMIT_DATA, &limit);
    if (fs_image_builder_create(&builder, dir, &simple_schema, 1, &result))
        _exit(1);
    for (unsigned i = 0; i < rows; i++) {
        fs_slice_t values[] = {{note, sizeof(note)}, {id, 0}, slice("data")};

        values[1].length = (uint32_t)snprintf(id, sizeof(id), "%u", i);
        if (fs_image_builder_add(builder, values, &result))
            _exit(2);
    }
    _exit(fs_image_builder_finish(builder, &made, &result) ? 3 : 0);
}

/* 100 MB of rows with memory of 64 bytes a row and 16 MiB for all else. */
START_TEST(building_takes_little_memory_a_row)
{
    enum { ROWS = 200000 };
    pid_t pid = fork();
    int status;

    if (pid == 0)
        build_in((16u << 20) + 64u * ROWS, ROWS);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
}
END_TEST

#endif

/* --- a builder that dies ------------------------------------------------------------------------
 */

/* Builds images without end, until the timer kills the process. No assertions: they would write to
 * the test's own pipe. */
static void build_until_killed(unsigned microseconds)
{
    struct itimerval when = {{0, 0}, {0, (suseconds_t)microseconds}};
    fs_image_builder_t *builder;
    fs_image_made_t made;
    fs_result_t result;
    char id[32];

    signal(SIGALRM, SIG_DFL);
    setitimer(ITIMER_REAL, &when, NULL);
    for (unsigned count = 1001;; count++) {
        if (fs_image_builder_create(&builder, dir, &simple_schema, 1, &result))
            return;
        for (unsigned i = 0; i < count; i++) {
            fs_slice_t values[] = {slice("note"), {id, 0}, slice("data")};

            values[1].length = (uint32_t)snprintf(id, sizeof(id), "%u", i);
            if (fs_image_builder_add(builder, values, &result))
                return;
        }
        if (fs_image_builder_finish(builder, &made, &result))
            return;
    }
}

/* What a killed builder leaves is no image or a whole one; the rest has names that cleaning knows.
 */
START_TEST(kill_leaves_no_half_image)
{
    unsigned images = 0, unfinished = 0;
    struct dirent *entry;
    fs_result_t result;
    DIR *listing;

    for (unsigned i = 0; i < 60; i++) {
        pid_t pid = fork();
        int status;

        if (pid == 0) {
            build_until_killed(1000 + 731 * i);
            _exit(0);
        }
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM);
    }
    listing = opendir(dir);
    while ((entry = readdir(listing)) != NULL) {
        char path[1200];

        snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
        if (strstr(entry->d_name, ".fsi")) {
            images++;
            ck_assert_msg(fs_image_verify(path, NULL, &result) == APR_SUCCESS, "%s", result.detail);
        } else if (entry->d_name[1] && strcmp(entry->d_name, "..") != 0) {
            unfinished++;
            ck_assert_int_eq(strncmp(entry->d_name, FS_IMAGE_TEMPORARY, 5), 0);
        }
    }
    closedir(listing);
    ck_assert_uint_gt(images, 0);
    ck_assert_uint_gt(unfinished, 0);
}
END_TEST

static Suite *limits_suite(void)
{
    Suite *suite = suite_create("image limits");
    TCase *tcase = tcase_create("image limits");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 300);
    tcase_add_test(tcase, value_is_what_find_gives);
    tcase_add_test(tcase, value_needs_a_key_of_one_column);
    tcase_add_test(tcase, order_that_leads_into_a_value_is_refused);
    tcase_add_test(tcase, index_of_a_damaged_order_is_not_used);
    tcase_add_test(tcase, most_rows_have_a_place);
    tcase_add_test(tcase, places_grow_with_the_heap);
    tcase_add_test(tcase, too_many_rows_are_refused);
    tcase_add_test(tcase, files_beyond_four_gigabytes);
    tcase_add_test(tcase, rows_of_one_byte);
#ifdef OWN_MEMORY
    tcase_add_test(tcase, building_takes_little_memory_a_row);
#endif
    tcase_add_test(tcase, kill_leaves_no_half_image);
    suite_add_tcase(suite, tcase);
    return suite;
}

FS_TEST_MAIN(limits_suite)
