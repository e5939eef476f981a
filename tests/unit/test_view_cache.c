/* SPDX-License-Identifier: Apache-2.0 */
/* The views a process has mapped: pinned by many threads while others come and go. */
#include "fs_test.h"

#include <inttypes.h>
#include <pthread.h>
#include <string.h>

#include "base/fs_file.h"
#include "control/fs_view_cache.h"

static char *dir;
static fs_control_t *writer;
static fs_view_cache_t *cache;
static fs_result_t result;

static void open_cache(void)
{
    dir = fs_test_mkdir();
    ck_assert_int_eq(fs_control_open_writer(&writer, dir, &result), APR_SUCCESS);
    cache = fs_view_cache_create(dir);
    ck_assert_ptr_nonnull(cache);
}

static void close_cache(void)
{
    fs_view_cache_destroy(cache);
    fs_control_close(writer);
    fs_test_rmdir(dir);
}

/* An image of one row: key "k", value = the version as text. */
static void make_image(const char *group, const char *dataset, int64_t version, fs_digest_t *digest)
{
    fs_column_t columns[2] = {{.name = "id", .key = 1}, {.name = "value"}};
    fs_image_schema_t schema = {.column_count = 2, .key_count = 1, .columns = columns};
    fs_image_builder_t *builder;
    fs_image_made_t made;
    char path[512], text[32];
    fs_slice_t values[2] = {{"k", 1}, {text, 0}};

    snprintf(schema.group, sizeof(schema.group), "%s", group);
    snprintf(schema.dataset, sizeof(schema.dataset), "%s", dataset);
    snprintf(path, sizeof(path), "%s/images", dir);
    values[1].length = (uint32_t)snprintf(text, sizeof(text), "%" PRId64, version);
    ck_assert_int_eq(fs_image_builder_create(&builder, path, &schema, version, &result),
                     APR_SUCCESS);
    ck_assert_int_eq(fs_image_builder_add(builder, values, &result), APR_SUCCESS);
    ck_assert_int_eq(fs_image_builder_finish(builder, &made, &result), APR_SUCCESS);
    *digest = made.digest;
}

/* Publishes version V of group "default" with datasets "a" and "b". */
static uint64_t publish(int64_t version)
{
    fs_view_dataset_t datasets[2] = {{.name = "a"}, {.name = "b"}};
    fs_view_info_t view = {
        .group = "default", .version = version, .dataset_count = 2, .datasets = datasets};
    uint64_t id;

    make_image("default", "a", version, &datasets[0].digest);
    make_image("default", "b", version, &datasets[1].digest);
    ck_assert_int_eq(fs_view_write(writer, &view, &id, &result), APR_SUCCESS);
    return id;
}

static int64_t value_in(const fs_view_t *view, const char *dataset)
{
    const fs_image_t *image = fs_view_image(view, dataset, strlen(dataset));
    fs_slice_t key = {"k", 1};
    fs_row_t row;

    return image && fs_image_find(image, &key, 1, &row)
               ? strtoll(fs_row_value(&row, 1).data, NULL, 10)
               : -1;
}

static unsigned mapped(void)
{
    unsigned pins;

    return fs_view_cache_count(cache, &pins);
}

START_TEST(pinned_view_is_read_and_shared)
{
    uint64_t id = publish(42);
    fs_view_pin_t one, other;

    ck_assert_int_eq(fs_view_cache_pin(cache, id, &one, &result), APR_SUCCESS);
    ck_assert_int_eq(fs_view_cache_pin(cache, id, &other, &result), APR_SUCCESS);
    ck_assert_ptr_eq(one.view, other.view);
    ck_assert_int_eq(one.view->version, 42);
    ck_assert_str_eq(one.view->group, "default");
    ck_assert_int_eq(value_in(one.view, "a"), 42);
    ck_assert_int_eq(value_in(one.view, "b"), 42);
    ck_assert_ptr_null(fs_view_image(one.view, "c", 1));
    ck_assert_ptr_null(fs_view_image(one.view, "ab", 2));
    ck_assert_ptr_nonnull(fs_view_image(one.view, "abc", 1));
    ck_assert_ptr_null(fs_view_image(one.view, "", 0));
    ck_assert_ptr_eq(fs_view_digest(one.view, one.view->images[1]), &one.view->datasets[1].digest);
    fs_view_cache_unpin(cache, &one);
    fs_view_cache_unpin(cache, &other);
    fs_view_cache_unpin(cache, &other); /* of nothing: harmless */
    ck_assert_uint_eq(mapped(), 1);
}
END_TEST

START_TEST(dropped_view_goes_with_its_last_pin)
{
    uint64_t old = publish(1), new = publish(2);
    fs_view_pin_t one, other, late;

    ck_assert_int_eq(fs_view_cache_pin(cache, old, &one, &result), APR_SUCCESS);
    ck_assert_int_eq(fs_view_cache_pin(cache, old, &other, &result), APR_SUCCESS);
    fs_view_cache_keep(cache, &new, 1);
    ck_assert_int_eq(value_in(one.view, "a"), 1); /* still there for who has it */
    ck_assert_uint_eq(mapped(), 1);
    ck_assert_int_eq(fs_view_cache_pin(cache, old, &late, &result), APR_SUCCESS);
    ck_assert_ptr_ne(late.view, one.view); /* closed to others: a new mapping */
    fs_view_cache_unpin(cache, &one);
    ck_assert_uint_eq(mapped(), 2);
    fs_view_cache_unpin(cache, &other);
    ck_assert_uint_eq(mapped(), 1);
    fs_view_cache_unpin(cache, &late);
    fs_view_cache_keep(cache, &new, 1);
    ck_assert_uint_eq(mapped(), 0);
}
END_TEST

START_TEST(kept_views_stay)
{
    uint64_t ids[2] = {publish(1), publish(2)};
    fs_view_pin_t pin;

    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(fs_view_cache_pin(cache, ids[i], &pin, &result), APR_SUCCESS);
        fs_view_cache_unpin(cache, &pin);
    }
    fs_view_cache_keep(cache, ids, 2);
    ck_assert_uint_eq(mapped(), 2);
    fs_view_cache_keep(cache, ids + 1, 1);
    ck_assert_uint_eq(mapped(), 1);
}
END_TEST

START_TEST(more_views_than_slots_get_copies_of_their_own)
{
    static fs_view_pin_t pins[FS_VIEW_SLOTS + 2];
    uint64_t id = 0;

    for (int i = 0; i < FS_VIEW_SLOTS + 2; i++) {
        id = publish(i + 1);
        ck_assert_int_eq(fs_view_cache_pin(cache, id, &pins[i], &result), APR_SUCCESS);
        ck_assert_int_eq(pins[i].slot, i < FS_VIEW_SLOTS ? i : -1);
        ck_assert_int_eq(value_in(pins[i].view, "b"), i + 1);
    }
    for (int i = 0; i < FS_VIEW_SLOTS + 2; i++)
        fs_view_cache_unpin(cache, &pins[i]);
    fs_view_cache_keep(cache, &id, 1);
    ck_assert_uint_eq(mapped(), 0);
}
END_TEST

START_TEST(view_that_cannot_be_mapped_says_why_and_leaves_nothing)
{
    fs_view_dataset_t dataset = {.name = "a"};
    fs_view_info_t view = {
        .group = "default", .version = 3, .dataset_count = 1, .datasets = &dataset};
    char path[512], hex[FS_DIGEST_HEX_SIZE];
    fs_view_pin_t pin;
    uint64_t id;

    ck_assert_int_ne(fs_view_cache_pin(cache, 0, &pin, &result), APR_SUCCESS);
    ck_assert(APR_STATUS_IS_ENOENT(fs_view_cache_pin(cache, 4711, &pin, &result)));
    ck_assert_int_ne(fs_view_cache_pin(cache, 4711, &pin, &result), APR_SUCCESS);
    ck_assert_str_eq(result.problem, "FS0509"); /* not tried again at once */
    ck_assert_ptr_null(pin.view);
    fs_time_sleep_until(fs_time_mono() + FS_VIEW_RETRY);
    ck_assert_int_ne(fs_view_cache_pin(cache, 4711, &pin, &result), APR_SUCCESS);
    ck_assert_str_eq(result.problem, "FS0509"); /* tried, but the reason was given */
    ck_assert_ptr_nonnull(strstr(result.detail, "still"));
    ck_assert(APR_STATUS_IS_ENOENT(result.status));

    make_image("other", "a", 3, &dataset.digest); /* an image of another group */
    ck_assert_int_eq(fs_view_write(writer, &view, &id, &result), APR_SUCCESS);
    ck_assert_int_ne(fs_view_cache_pin(cache, id, &pin, &result), APR_SUCCESS);
    ck_assert_str_eq(result.problem, "FS0508");
    ck_assert_ptr_nonnull(strstr(result.detail, "other"));

    make_image("default", "a", 3, &dataset.digest);
    ck_assert_int_eq(fs_view_write(writer, &view, &id, &result), APR_SUCCESS);
    snprintf(path, sizeof(path), "%s/images/%s.fsi", dir, fs_digest_hex(&dataset.digest, hex));
    ck_assert_int_eq(truncate(path, 100), 0); /* cut short after it was published */
    ck_assert_int_ne(fs_view_cache_pin(cache, id, &pin, &result), APR_SUCCESS);
    ck_assert_ptr_nonnull(strstr(result.detail, hex));
    ck_assert_uint_eq(mapped(), 0);
}
END_TEST

/* Threads pin whatever is current while it is replaced all the time. */
#define THREADS  4
#define VERSIONS 300

static _Atomic uint64_t current;
static _Atomic int done;
static _Atomic long pinned, wrong;

static void *pin_all_the_time(void *unused)
{
    while (!atomic_load(&done)) {
        fs_view_pin_t pin;
        fs_result_t why;
        uint64_t id = atomic_load(&current);

        if (fs_view_cache_pin(cache, id, &pin, &why) != APR_SUCCESS) {
            atomic_fetch_add(&wrong, 1);
            continue;
        }
        if (pin.view->id != id || value_in(pin.view, "a") != pin.view->version ||
            value_in(pin.view, "b") != pin.view->version)
            atomic_fetch_add(&wrong, 1);
        fs_view_cache_unpin(cache, &pin);
        atomic_fetch_add(&pinned, 1);
    }
    return unused;
}

START_TEST(threads_always_read_the_view_they_pinned)
{
    pthread_t threads[THREADS];
    unsigned pins;

    atomic_store(&current, publish(1));
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, pin_all_the_time, NULL);
    for (int64_t version = 2; version <= VERSIONS || atomic_load(&pinned) < 1000; version++) {
        uint64_t id = publish(version);

        atomic_store(&current, id);
        fs_view_cache_keep(cache, &id, 1);
    }
    atomic_store(&done, 1);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    ck_assert_int_eq(atomic_load(&wrong), 0);
    fs_view_cache_keep(cache, NULL, 0);
    ck_assert_uint_eq(fs_view_cache_count(cache, &pins), 0);
    ck_assert_uint_eq(pins, 0);
}
END_TEST

static Suite *view_cache_suite(void)
{
    Suite *suite = suite_create("view cache");
    TCase *tcase = tcase_create("view cache");

    tcase_add_checked_fixture(tcase, open_cache, close_cache);
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, pinned_view_is_read_and_shared);
    tcase_add_test(tcase, dropped_view_goes_with_its_last_pin);
    tcase_add_test(tcase, kept_views_stay);
    tcase_add_test(tcase, more_views_than_slots_get_copies_of_their_own);
    tcase_add_test(tcase, view_that_cannot_be_mapped_says_why_and_leaves_nothing);
    tcase_add_test(tcase, threads_always_read_the_view_they_pinned);
    suite_add_tcase(suite, tcase);
    return suite;
}

FS_TEST_MAIN(view_cache_suite)
