/* SPDX-License-Identifier: Apache-2.0 */
/* The next version of an image from the one before: by changes, and by a delta. */
#include "fs_image_fixture.h"

#include <dirent.h>
#include <sys/stat.h>
#include <zstd.h>

#include "base/fs_file.h"
#include "image/fs_delta_format.h"

#define MOST 6000

static char *dir;
static unsigned seed = 1;

/* What a dataset should hold: row i is there if notes[i] is. */
static char *notes[2][MOST];

static void setup(void)
{
    dir = fs_test_mkdir();
}

static void teardown(void)
{
    for (unsigned i = 0; i < MOST; i++) {
        free(notes[0][i]);
        free(notes[1][i]);
        notes[0][i] = notes[1][i] = NULL;
    }
    fs_test_rmdir(dir);
}

static void set_note(char **note, unsigned length)
{
    free(*note);
    *note = malloc(length + 1);
    for (unsigned i = 0; i < length; i++)
        (*note)[i] = (char)('a' + rand_r(&seed) % 26);
    (*note)[length] = '\0';
}

static void fill(char **note, unsigned count, unsigned longest)
{
    for (unsigned i = 0; i < count; i++)
        set_note(&note[i], 1 + (unsigned)rand_r(&seed) % longest);
}

/* The second state: each row of the first stays, goes or changes, and `added` others come. */
static void change(unsigned count, unsigned changed, unsigned removed, unsigned added)
{
    for (unsigned i = 0; i < count; i++)
        if (notes[0][i]) {
            set_note(&notes[1][i], 0);
            free(notes[1][i]);
            notes[1][i] = strdup(notes[0][i]);
        }
    for (unsigned i = 0; i < changed; i++)
        set_note(&notes[1][(unsigned)rand_r(&seed) % count], (unsigned)rand_r(&seed) % 60);
    for (unsigned i = 0; i < removed; i++) {
        unsigned at = (unsigned)rand_r(&seed) % count;

        free(notes[1][at]);
        notes[1][at] = NULL;
    }
    for (unsigned i = count; i < count + added; i++)
        set_note(&notes[1][i], (unsigned)rand_r(&seed) % 60);
}

static void full_build(char **note, int64_t version, fs_image_made_t *made, char path[800])
{
    fs_image_builder_t *builder;
    fs_result_t result;

    ck_assert_int_eq(fs_image_builder_create(&builder, dir, &fixture_schema, version, &result),
                     APR_SUCCESS);
    for (unsigned i = 0; i < MOST; i++)
        if (note[i])
            fixture_add_number(builder, i, note[i]);
    fixture_finish(builder, dir, made, path);
}

static void remove_number(fs_image_builder_t *builder, unsigned i)
{
    static const char *const lands[] = {"de", "fr", "it"};
    char sku[32];
    fs_result_t result;

    snprintf(sku, sizeof(sku), "sku-%06u", i);
    fs_slice_t key[] = {slice(lands[i % 3]), slice(sku)};

    ck_assert_int_eq(fs_image_builder_remove(builder, key, &result), APR_SUCCESS);
}

/* Builds the second state from the first one's image. */
static void update_build(const char *old_path, fs_image_made_t *made, char path[800])
{
    fs_image_builder_t *builder;
    fs_result_t result;

    ck_assert_int_eq(fs_image_builder_update(&builder, dir, old_path, 8, &result), APR_SUCCESS);
    for (unsigned i = MOST; i-- > 0;) {
        if (notes[1][i] && (!notes[0][i] || strcmp(notes[0][i], notes[1][i])))
            fixture_add_number(builder, i, notes[1][i]);
        else if (!notes[1][i] && (notes[0][i] || i % 10 == 0))
            remove_number(builder, i);
    }
    fixture_finish(builder, dir, made, path);
}

static const struct {
    unsigned count, longest, changed, removed, added;
} cases[] = {
    {5000, 30, 0, 0, 0},      {5000, 30, 1, 0, 0},     {5000, 30, 0, 1, 0},
    {5000, 30, 0, 0, 1},      {5000, 30, 20, 20, 20},  {5000, 30, 9000, 0, 0},
    {5000, 30, 500, 0, 999},  {5000, 30, 0, 20000, 0}, {1, 30, 1, 0, 0},
    {1, 30, 0, 1, 0},         {0, 30, 0, 0, 5},        {10, 30, 3, 3, 3},
    {300, 20000, 20, 20, 20}, {100, 30, 0, 0, 4000},   {40, 30, 40, 40, 0},
};

START_TEST(update_is_the_full_build_byte_for_byte)
{
    fs_image_made_t old, full, updated;
    char old_path[800], path[800];
    fs_result_t result;

    fill(notes[0], cases[_i].count, cases[_i].longest);
    change(cases[_i].count, cases[_i].count ? cases[_i].changed : 0,
           cases[_i].count ? cases[_i].removed : 0, cases[_i].added);
    full_build(notes[0], 7, &old, old_path);
    update_build(old_path, &updated, path);
    ck_assert_int_eq(fs_image_verify(path, &updated.digest, &result), APR_SUCCESS);
    full_build(notes[1], 8, &full, path);
    ck_assert_uint_eq(updated.rows, full.rows);
    ck_assert_uint_eq(updated.bytes, full.bytes);
    ck_assert(fs_digest_equal(&updated.digest, &full.digest));
}
END_TEST

START_TEST(delta_leads_to_the_new_image)
{
    fs_image_made_t old, full, made;
    char old_path[800], path[800], delta_path[820], other[600];
    fs_delta_info_t info, read;
    fs_result_t result;

    fill(notes[0], cases[_i].count, cases[_i].longest);
    change(cases[_i].count, cases[_i].count ? cases[_i].changed : 0,
           cases[_i].count ? cases[_i].removed : 0, cases[_i].added);
    full_build(notes[0], 7, &old, old_path);
    full_build(notes[1], 8, &full, path);
    snprintf(delta_path, sizeof(delta_path), "%s/delta", dir);
    ck_assert_msg(fs_delta_make(old_path, path, delta_path, &info, &result) == APR_SUCCESS, "%s",
                  result.detail);
    ck_assert_int_eq(fs_delta_read(delta_path, &read, &result), APR_SUCCESS);
    ck_assert_mem_eq(&info, &read, sizeof(info));
    snprintf(other, sizeof(other), "%s/host", dir);
    ck_assert_int_eq(mkdir(other, 0700), 0);
    ck_assert_msg(fs_delta_apply(old_path, delta_path, other, &full.digest, full.bytes, &made,
                                 &result) == APR_SUCCESS,
                  "%s", result.detail);
    ck_assert_mem_eq(&made, &full, sizeof(made));
    fixture_path(other, &made, path);
    ck_assert_int_eq(fs_image_verify(path, &full.digest, &result), APR_SUCCESS);
}
END_TEST

START_TEST(delta_is_as_small_as_the_changes)
{
    fs_image_made_t old, full;
    char old_path[800], path[800], delta_path[820];
    fs_delta_info_t info;
    fs_result_t result;

    fill(notes[0], 5000, 60);
    change(5000, 50, 0, 0);
    full_build(notes[0], 7, &old, old_path);
    full_build(notes[1], 8, &full, path);
    snprintf(delta_path, sizeof(delta_path), "%s/delta", dir);
    ck_assert_int_eq(fs_delta_make(old_path, path, delta_path, &info, &result), APR_SUCCESS);
    ck_assert_uint_le(info.put_rows, 50);
    ck_assert_uint_eq(info.removed_rows, 0);
    ck_assert_uint_le(info.file_bytes, 50 * 100 + 200);
}
END_TEST

START_TEST(one_key_may_change_once)
{
    fs_image_builder_t *builder;
    fs_image_made_t made;
    char path[800];
    fs_result_t result;

    fixture_build(dir, 100, 1, &made, path);
    ck_assert_int_eq(fs_image_builder_update(&builder, dir, path, 8, &result), APR_SUCCESS);
    fixture_add_number(builder, 5, "x");
    remove_number(builder, 5);
    ck_assert_int_ne(fs_image_builder_finish(builder, &made, &result), APR_SUCCESS);
    ck_assert_str_eq(result.problem, "FS0106");
}
END_TEST

START_TEST(unexpected_image_gets_no_name)
{
    fs_image_builder_t *builder = fixture_begin(dir);
    fs_image_made_t made;
    fs_digest_t digest = {{1}};
    fs_result_t result;
    DIR *listing;

    fixture_add_number(builder, 1, "x");
    fs_image_builder_expect(builder, &digest);
    ck_assert_int_ne(fs_image_builder_finish(builder, &made, &result), APR_SUCCESS);
    ck_assert_str_eq(result.problem, "FS0109");
    listing = opendir(dir);
    for (struct dirent *entry; (entry = readdir(listing));)
        ck_assert(entry->d_name[0] == '.' && strncmp(entry->d_name, ".tmp", 4));
    closedir(listing);
}
END_TEST

/* --- hostile deltas ----------------------------------------------------------------------------
 */

typedef struct scene_t {
    fs_image_made_t old, full;
    char old_path[800], path[800], delta_path[820], host[600];
    char *delta;
    size_t length;
} scene_t;

static void set_scene(scene_t *scene)
{
    fs_result_t result;

    fill(notes[0], 300, 30);
    change(300, 20, 20, 20);
    full_build(notes[0], 7, &scene->old, scene->old_path);
    full_build(notes[1], 8, &scene->full, scene->path);
    snprintf(scene->delta_path, sizeof(scene->delta_path), "%s/delta", dir);
    snprintf(scene->host, sizeof(scene->host), "%s/host", dir);
    ck_assert_int_eq(mkdir(scene->host, 0700), 0);
    ck_assert_int_eq(fs_delta_make(scene->old_path, scene->path, scene->delta_path, NULL, &result),
                     APR_SUCCESS);
    ck_assert_int_eq(
        fs_file_read(scene->delta_path, 1 << 20, &scene->delta, &scene->length, &result),
        APR_SUCCESS);
}

static void write_plain(const char *path, const void *data, size_t length)
{
    FILE *file = fopen(path, "w");

    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(data, 1, length, file), length);
    ck_assert_int_eq(fclose(file), 0);
}

/* Applies `data`; nothing may be left in the host's folder but a right image. Returns the status.
 */
static apr_status_t try_delta(const scene_t *scene, const void *data, size_t length,
                              fs_result_t *result)
{
    fs_image_made_t made;
    apr_status_t status;
    DIR *listing;
    unsigned left = 0;

    write_plain(scene->delta_path, data, length);
    fs_result_clear(result);
    status = fs_delta_apply(scene->old_path, scene->delta_path, scene->host, &scene->full.digest,
                            scene->full.bytes, &made, result);
    listing = opendir(scene->host);
    for (struct dirent *entry; (entry = readdir(listing));)
        left += strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..");
    closedir(listing);
    ck_assert_uint_eq(left, status == APR_SUCCESS);
    if (status == APR_SUCCESS) {
        char path[800], hex[FS_DIGEST_HEX_SIZE];

        ck_assert(fs_digest_equal(&made.digest, &scene->full.digest));
        snprintf(path, sizeof(path), "%s/%s.fsi", scene->host, fs_digest_hex(&made.digest, hex));
        unlink(path);
    }
    return status;
}

START_TEST(altered_and_cut_deltas_are_refused)
{
    scene_t scene;
    fs_result_t result;
    unsigned accepted = 0;

    set_scene(&scene);
    ck_assert_int_eq(try_delta(&scene, scene.delta, scene.length, &result), APR_SUCCESS);
    for (size_t i = 0; i < scene.length; i += 3) {
        ck_assert_int_ne(try_delta(&scene, scene.delta, i, &result), APR_SUCCESS);
        scene.delta[i] ^= (char)(1 << i % 8);
        accepted += try_delta(&scene, scene.delta, scene.length, &result) == APR_SUCCESS;
        scene.delta[i] ^= (char)(1 << i % 8);
    }
    ck_assert_uint_le(accepted, 4); /* bits of zstd's frame header that mean nothing here */
    free(scene.delta);
}
END_TEST

/* A delta of given records with a right frame. */
static size_t craft(const scene_t *scene, const void *raw, size_t length, uint64_t removed,
                    uint64_t put, uint64_t raw_bytes, char *out, size_t size)
{
    fs_delta_header_t header;
    size_t packed;

    memcpy(&header, scene->delta, sizeof(header));
    header.removed_rows = removed;
    header.put_rows = put;
    header.raw_bytes = raw_bytes;
    memcpy(out, &header, sizeof(header));
    packed = ZSTD_compress(out + sizeof(header), size - sizeof(header), raw, length, 1);
    ck_assert(!ZSTD_isError(packed));
    return sizeof(header) + packed;
}

START_TEST(hostile_records_are_refused)
{
    static const uint32_t lengths[] = {0, 1, 2, 5, 100, 1000, UINT32_MAX, 17000000, 16777300};
    enum { RAW = 4096 };
    scene_t scene;
    fs_result_t result;
    char raw[RAW], out[2 * RAW + 1000];

    set_scene(&scene);
    for (unsigned i = 0; i < 3000; i++) {
        uint32_t length = lengths[(unsigned)rand_r(&seed) % 9];
        size_t size = (size_t)rand_r(&seed) % RAW;

        for (unsigned j = 0; j < RAW; j++)
            raw[j] = (char)(rand_r(&seed) % (i % 3 ? 12 : 256));
        memcpy(raw, &length, sizeof(length));
        size = craft(&scene, raw, size, i % 4, i % 7 + 1, i % 11 ? size : RAW, out, sizeof(out));
        ck_assert_int_ne(try_delta(&scene, out, size, &result), APR_SUCCESS);
    }
    free(scene.delta);
}
END_TEST

START_TEST(bombs_are_refused_before_they_unfold)
{
    enum { RAW = 64 << 20 };
    scene_t scene;
    fs_result_t result;
    char *raw = calloc(1, RAW), *out = malloc(1 << 20);
    size_t size;

    set_scene(&scene);
    size = craft(&scene, raw, RAW, 0, 1, RAW, out, 1 << 20);
    ck_assert_int_ne(try_delta(&scene, out, size, &result), APR_SUCCESS);
    ck_assert_str_eq(result.problem, "FS0121");
    ck_assert_ptr_nonnull(strstr(result.detail, "unfold"));
    /* the header doesn't admit it: no more is taken than it says */
    *(uint32_t *)raw = 16000000;
    size = craft(&scene, raw, RAW, 0, 1, 1000, out, 1 << 20);
    ck_assert_int_ne(try_delta(&scene, out, size, &result), APR_SUCCESS);
    ck_assert_ptr_nonnull(strstr(result.detail, "longer than its header says"));
    free(raw);
    free(out);
    free(scene.delta);
}
END_TEST

START_TEST(foreign_deltas_are_refused)
{
    scene_t scene;
    fs_image_made_t made;
    fs_result_t result;
    fs_digest_t other = {{7}};
    fs_column_t columns[5];
    fs_image_schema_t schema = fixture_schema;
    fs_image_builder_t *builder;
    char path[800];

    set_scene(&scene);
    ck_assert_int_ne(fs_delta_apply(scene.path, scene.delta_path, scene.host, &scene.full.digest,
                                    scene.full.bytes, &made, &result),
                     APR_SUCCESS);
    ck_assert_str_eq(result.problem, "FS0122");
    ck_assert_int_ne(fs_delta_apply(scene.old_path, scene.delta_path, scene.host, &other,
                                    scene.full.bytes, &made, &result),
                     APR_SUCCESS);
    ck_assert_str_eq(result.problem, "FS0122");
    ck_assert_int_ne(fs_delta_apply(scene.old_path, scene.path, scene.host, &scene.full.digest,
                                    scene.full.bytes, &made, &result),
                     APR_SUCCESS);
    ck_assert_str_eq(result.problem, "FS0121");
    memcpy(columns, fixture_columns, sizeof(columns));
    columns[0].type = FS_COLUMN_BINARY;
    schema.columns = columns;
    ck_assert_int_eq(fs_image_builder_create(&builder, dir, &schema, 1, &result), APR_SUCCESS);
    fixture_finish(builder, dir, &made, path);
    ck_assert_int_ne(fs_delta_make(scene.old_path, path, scene.delta_path, NULL, &result),
                     APR_SUCCESS);
    ck_assert_str_eq(result.problem, "FS0120");
    free(scene.delta);
}
END_TEST

static Suite *delta_suite(void)
{
    Suite *suite = suite_create("image delta");
    TCase *tcase = tcase_create("image delta");
    int count = sizeof(cases) / sizeof(cases[0]);

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, update_is_the_full_build_byte_for_byte, 0, count);
    tcase_add_loop_test(tcase, delta_leads_to_the_new_image, 0, count);
    tcase_add_test(tcase, delta_is_as_small_as_the_changes);
    tcase_add_test(tcase, one_key_may_change_once);
    tcase_add_test(tcase, unexpected_image_gets_no_name);
    tcase_add_test(tcase, altered_and_cut_deltas_are_refused);
    tcase_add_test(tcase, hostile_records_are_refused);
    tcase_add_test(tcase, bombs_are_refused_before_they_unfold);
    tcase_add_test(tcase, foreign_deltas_are_refused);
    suite_add_tcase(suite, tcase);
    return suite;
}

FS_TEST_MAIN(delta_suite)
