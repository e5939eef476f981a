/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Retrieval by delta over a transport that loses, cuts, alters and lies. Whatever comes, the image
 * that the manifest promises is there in the end, as long as one server has it; and never another.
 */
#include "fs_test.h"

#include <dirent.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fs_file.h"
#include "base/fs_log.h"
#include "image/fs_delta.h"
#include "sync/fs_retrieve.h"

#define ROWS 400

static char *remote_dir, *images_dir, *delta_path, *foreign_path;

/* The rows of version `version`: each changes a few of the one before. */
static fs_image_made_t make_image(const char *dir, const char *dataset, int version)
{
    fs_column_t columns[2] = {{"sku", FS_COLUMN_TEXT, 1}, {"price", FS_COLUMN_DECIMAL, 0}};
    fs_image_schema_t schema = {.column_count = 2, .key_count = 1, .columns = columns};
    fs_image_builder_t *builder;
    fs_image_made_t made;
    fs_result_t result;

    snprintf(schema.group, sizeof(schema.group), "default");
    snprintf(schema.dataset, sizeof(schema.dataset), "%s", dataset);
    ck_assert_int_eq(fs_image_builder_create(&builder, dir, &schema, version, &result),
                     APR_SUCCESS);
    for (int i = 0; i < ROWS; i++) {
        char key[16], value[32];
        fs_slice_t values[2];

        snprintf(key, sizeof(key), "sku-%d", i + (i < 5 ? version * 1000 : 0));
        snprintf(value, sizeof(value), "%d.99", i < 20 ? i + version : i);
        values[0] = (fs_slice_t){key, (uint32_t)strlen(key)};
        values[1] = (fs_slice_t){value, (uint32_t)strlen(value)};
        ck_assert_int_eq(fs_image_builder_add(builder, values, &result), APR_SUCCESS);
    }
    ck_assert_int_eq(fs_image_builder_finish(builder, &made, &result), APR_SUCCESS);
    return made;
}

/* --- the transport ------------------------------------------------------------------------------
 */

typedef enum behaviour_t {
    GOOD,    /* gives the delta */
    IGNORE,  /* gives the image, whatever was asked for */
    DOWN,    /* no answer */
    CUT,     /* the delta breaks off after `at` bytes of each transfer */
    FLIP,    /* alters byte `at` of the delta */
    SHORT,   /* says that the delta is complete after `at` bytes */
    FOREIGN, /* gives a delta between other images */
    GARBAGE, /* begins like a delta */
    MIXED,   /* continues a delta with bytes of the image */
    LONG,    /* sends rubbish until it is stopped */
    BUSY,    /* says to come again */
    BEHAVIOURS
} behaviour_t;

typedef struct server_t {
    behaviour_t behaviour; /* when asked for a delta */
    behaviour_t image;     /* GOOD, DOWN, BUSY or CUT when asked for the image */
    uint64_t at;
    unsigned deltas, images; /* how often it was asked for which */
    uint64_t last_from;
} server_t;

#define SERVERS 2
static server_t servers[SERVERS];
static const char *const addresses[SERVERS] = {"http://ds0", "http://ds1"};
static fs_image_made_t old, new, older;
static uint64_t delta_bytes;
static char asked_from[FS_DIGEST_HEX_SIZE];

static char *read_file(const char *path, size_t *length)
{
    fs_result_t result;
    char *data;

    ck_assert_int_eq(fs_file_read(path, 1 << 30, &data, length, &result), APR_SUCCESS);
    return data;
}

static apr_status_t put(FILE *file, uint64_t from, const char *data, uint64_t length)
{
    ck_assert_int_eq(ftruncate(fileno(file), (off_t)from), 0);
    fseek(file, (long)from, SEEK_SET);
    fwrite(data, 1, length, file);
    return APR_SUCCESS;
}

static apr_status_t fails(fs_result_t *result, const char *problem)
{
    return fs_result_set(result, APR_ECONNRESET, problem, "it broke");
}

static apr_status_t give_image(server_t *server, FILE *file, uint64_t from, const char *hex,
                               fs_result_t *result)
{
    char path[512], *data;
    size_t length, until;

    snprintf(path, sizeof(path), "%s/%.64s.fsi", remote_dir, hex);
    data = read_file(path, &length);
    until = server->image == CUT && from + server->at < length ? from + server->at : length;
    put(file, from, data + from, until - from);
    free(data);
    return until < length ? fails(result, "FS0221") : APR_SUCCESS;
}

static apr_status_t give_delta(server_t *server, FILE *file, uint64_t from, uint64_t limit,
                               fs_result_t *result)
{
    size_t length, until;
    char *data = read_file(server->behaviour == FOREIGN ? foreign_path : delta_path, &length);
    apr_status_t status = APR_SUCCESS;

    if (from >= length) {
        free(data);
        return fs_result_set(result, APR_EOF, "FS0223", "answered 416");
    }
    until = length;
    if ((server->behaviour == CUT || server->behaviour == SHORT) && from + server->at < length)
        until = from + server->at;
    if (server->behaviour == CUT && until < length)
        status = fails(result, "FS0221");
    if (server->behaviour == FLIP)
        data[server->at % length] ^= 4;
    if (server->behaviour == GARBAGE)
        memset(data + 8, 'x', length - 8);
    if (server->behaviour == MIXED)
        memset(data + length / 2, 'i', length - length / 2);
    put(file, from, data + from, until - from);
    if (server->behaviour == LONG) {
        for (uint64_t i = length; i <= limit; i++)
            fputc('x', file);
        status = fails(result, "FS0222");
    }
    free(data);
    return status;
}

static apr_status_t fake_download(void *baton, const char *url, FILE *file, uint64_t from,
                                  uint64_t limit, unsigned *wait, fs_result_t *result)
{
    server_t *server = &servers[url[strlen("http://ds")] - '0'];
    const char *hex = strrchr(url, '/') + 1, *question = strchr(url, '?');
    behaviour_t behaviour = question ? server->behaviour : server->image;

    if (question) {
        server->deltas++;
        ck_assert_int_eq(strncmp(question, "?from=", 6), 0);
        snprintf(asked_from, sizeof(asked_from), "%s", question + 6);
    } else {
        server->images++;
    }
    server->last_from = from;
    if (behaviour == BUSY) {
        *wait = 1;
        return fs_result_set(result, APR_EGENERAL, "FS0223", "answered 503");
    }
    if (behaviour == DOWN)
        return fs_result_set(result, APR_ECONNREFUSED, "FS0221", "no answer");
    if (!question)
        return give_image(server, file, from, hex, result);
    if (behaviour == IGNORE)
        return give_image(server, file, 0, hex, result);
    return give_delta(server, file, from, limit, result);
}

static const fs_retrieve_means_t means = {.download = fake_download, .apply = fs_delta_apply};

/* --- what every test begins and ends with ------------------------------------------------------
 */

static fs_retrieve_t *retrieve;
static fs_manifest_version_t version;
static fs_retrieve_count_t count;
static fs_result_t result;
static unsigned warnings;

static void count_log(void *baton, fs_log_level_t level, const char *message)
{
    warnings += level == FS_LOG_WARNING && strncmp(message, "FS0383: ", 8) == 0 &&
                strstr(message, "prices") != NULL;
}

static char *path_in(const char *dir, const fs_image_made_t *image)
{
    static char path[512];

    ck_assert_int_eq(fs_images_path(path, sizeof(path), dir, &image->digest), 0);
    return path;
}

static void make_delta(const fs_image_made_t *from, const fs_image_made_t *to, char **path,
                       const char *name)
{
    char *old_path = strdup(path_in(remote_dir, from));

    ck_assert_int_gt(asprintf(path, "%s/%s", remote_dir, name), 0);
    ck_assert_int_eq(fs_delta_make(old_path, path_in(remote_dir, to), *path, NULL, &result),
                     APR_SUCCESS);
    free(old_path);
}

static void behave(unsigned which, behaviour_t behaviour, behaviour_t image, uint64_t at)
{
    servers[which] = (server_t){.behaviour = behaviour, .image = image, .at = at};
}

static void begin_again(void)
{
    fs_retrieve_destroy(retrieve);
    unlink(path_in(images_dir, &new));
    ck_assert_int_eq(fs_retrieve_create(&retrieve, images_dir, &result), APR_SUCCESS);
    memset(&count, 0, sizeof(count));
    warnings = 0;
}

static void begin(void)
{
    char *base = fs_test_mkdir();
    struct stat info;

    fs_log_set(count_log, NULL, FS_LOG_WARNING);
    ck_assert_int_gt(asprintf(&remote_dir, "%s/remote", base), 0);
    ck_assert_int_gt(asprintf(&images_dir, "%s/images", base), 0);
    free(base);
    ck_assert_int_eq(fs_dir_make(remote_dir, &result), APR_SUCCESS);
    older = make_image(remote_dir, "prices", 5);
    old = make_image(remote_dir, "prices", 6);
    new = make_image(remote_dir, "prices", 7);
    make_delta(&old, &new, &delta_path, "good");
    make_delta(&older, &new, &foreign_path, "foreign");
    ck_assert_int_eq(stat(delta_path, &info), 0);
    delta_bytes = (uint64_t)info.st_size;
    ck_assert_uint_lt(delta_bytes, new.bytes / 4);
    ck_assert_int_eq(fs_retrieve_create(&retrieve, images_dir, &result), APR_SUCCESS);
    make_image(images_dir, "prices", 5);
    make_image(images_dir, "prices", 6);
    make_image(images_dir, "shipping", 9);
    version = (fs_manifest_version_t){7, 0, NULL};
    ck_assert_int_eq(fs_manifest_add_dataset(&version, "prices", 6, &new.digest, new.bytes, ROWS),
                     APR_SUCCESS);
    behave(0, GOOD, GOOD, 0);
    behave(1, GOOD, GOOD, 0);
    memset(&count, 0, sizeof(count));
    warnings = 0;
}

static void end(void)
{
    char *base = strndup(images_dir, strlen(images_dir) - strlen("/images"));

    fs_retrieve_destroy(retrieve);
    free(version.datasets);
    free(delta_path);
    free(foreign_path);
    free(remote_dir);
    free(images_dir);
    fs_test_rmdir(base);
}

static apr_status_t bring(void)
{
    fs_result_clear(&result);
    return fs_retrieve_version(retrieve, &means, addresses, SERVERS, "default", &version, &count,
                               &result);
}

/* Files whose name begins with `prefix`. */
static unsigned files(const char *prefix)
{
    DIR *stream = opendir(images_dir);
    const struct dirent *entry;
    unsigned found = 0;

    while ((entry = readdir(stream)) != NULL)
        found += strncmp(entry->d_name, prefix, strlen(prefix)) == 0;
    closedir(stream);
    return found;
}

static void expect_image(void)
{
    ck_assert_int_eq(fs_image_verify(path_in(images_dir, &new), &new.digest, &result), APR_SUCCESS);
    ck_assert_uint_eq(files(".part-"), 0);
    ck_assert_uint_eq(count.transferred, 1);
}

/* --- tests --------------------------------------------------------------------------------------
 */

START_TEST(delta_from_the_newest_image_is_enough)
{
    char hex[FS_DIGEST_HEX_SIZE];

    ck_assert_int_eq(bring(), APR_SUCCESS);
    expect_image();
    ck_assert_str_eq(asked_from, fs_digest_hex(&old.digest, hex));
    ck_assert_uint_eq(count.deltas, 1);
    ck_assert_uint_eq(count.bytes, delta_bytes);
    ck_assert_uint_eq(count.delta_bytes, delta_bytes);
    ck_assert_uint_eq(count.spoilt + warnings, 0);
    ck_assert_uint_eq(servers[0].images + servers[1].images + servers[1].deltas, 0);
    ck_assert_int_eq(bring(), APR_SUCCESS);
    ck_assert_uint_eq(count.present, 1);
}
END_TEST

START_TEST(damaged_old_image_is_not_built_upon)
{
    char hex[FS_DIGEST_HEX_SIZE];

    ck_assert_int_eq(truncate(path_in(images_dir, &old), (off_t)old.bytes - 1), 0);
    behave(0, FOREIGN, GOOD, 0); /* the delta from the one before */
    ck_assert_int_eq(bring(), APR_SUCCESS);
    ck_assert_str_eq(asked_from, fs_digest_hex(&older.digest, hex));
    ck_assert_uint_eq(count.deltas, 1);
    expect_image();
}
END_TEST

START_TEST(without_an_old_image_or_means_the_image_is_asked_for)
{
    fs_retrieve_means_t without = means;

    without.apply = NULL;
    ck_assert_int_eq(fs_retrieve_version(retrieve, &without, addresses, SERVERS, "default",
                                         &version, &count, &result),
                     APR_SUCCESS);
    ck_assert_uint_eq(servers[0].deltas, 0);
    expect_image();
    begin_again();
    unlink(path_in(images_dir, &old));
    unlink(path_in(images_dir, &older));
    ck_assert_int_eq(bring(), APR_SUCCESS);
    ck_assert_uint_eq(servers[0].deltas, 0);
    ck_assert_uint_eq(servers[0].images, 2);
}
END_TEST

START_TEST(server_that_ignores_from_gives_the_image)
{
    behave(0, IGNORE, DOWN, 0);
    behave(1, DOWN, DOWN, 0);
    ck_assert_int_eq(bring(), APR_SUCCESS);
    expect_image();
    ck_assert_uint_eq(count.deltas + count.spoilt + warnings, 0);
    ck_assert_uint_eq(servers[0].deltas, 1);
    ck_assert_uint_eq(servers[0].images, 0);
}
END_TEST

/* A delta that was begun somewhere where it isn't any more: what comes instead isn't mixed in. */
START_TEST(image_takes_the_place_of_a_delta_that_was_begun)
{
    for (uint64_t at = 1; at < delta_bytes; at += 17) {
        behave(0, CUT, DOWN, at);
        behave(1, IGNORE, DOWN, 0);
        ck_assert_int_eq(bring(), APR_SUCCESS);
        expect_image();
        ck_assert_uint_ge(count.bytes, new.bytes);
        ck_assert_uint_eq(count.deltas + count.spoilt + warnings, 0);
        begin_again();
    }
}
END_TEST

/* A break at each place: no byte comes twice. */
START_TEST(broken_delta_is_continued)
{
    for (uint64_t at = 1; at <= delta_bytes; at += at < 150 ? 1 : 13) {
        behave(0, CUT, DOWN, at);
        behave(1, GOOD, DOWN, 0);
        ck_assert_int_eq(bring(), APR_SUCCESS);
        expect_image();
        ck_assert_uint_eq(count.bytes, delta_bytes);
        ck_assert_uint_eq(count.spoilt + warnings, 0);
        begin_again();
    }
}
END_TEST

START_TEST(broken_delta_is_continued_next_time)
{
    behave(0, CUT, DOWN, delta_bytes - 1);
    behave(1, DOWN, DOWN, 0);
    servers[0].at = 1;
    while (bring() != APR_SUCCESS) {
        ck_assert_str_eq(result.problem, "FS0350");
        ck_assert_uint_eq(files(".part-"), 1);
        ck_assert_uint_lt(count.bytes, delta_bytes);
    }
    expect_image();
    ck_assert_uint_eq(count.bytes, delta_bytes);
}
END_TEST

/* Killed after the last byte, before it was used: the server has nothing more. */
START_TEST(complete_delta_of_an_earlier_process_is_used)
{
    char path[512], hex[FS_DIGEST_HEX_SIZE], from[FS_DIGEST_HEX_SIZE], *data;
    size_t length;

    data = read_file(delta_path, &length);
    snprintf(path, sizeof(path), "%s/.part-%s-%s", images_dir, fs_digest_hex(&new.digest, hex),
             fs_digest_hex(&old.digest, from));
    ck_assert_int_eq(fs_file_write(path, data, length, &result), APR_SUCCESS);
    free(data);
    ck_assert_int_eq(bring(), APR_SUCCESS);
    ck_assert_uint_eq(count.bytes, 0);
    ck_assert_uint_eq(count.deltas, 1);
    expect_image();
}
END_TEST

/* An altered byte anywhere: said, counted, and the image taken whole. */
START_TEST(altered_delta_is_replaced_by_the_image)
{
    for (uint64_t at = 8; at < delta_bytes; at++) {
        behave(0, FLIP, GOOD, at);
        ck_assert_int_eq(bring(), APR_SUCCESS);
        expect_image();
        if (count.deltas) { /* a field that nothing depends on: the digest is right all the same */
            ck_assert_uint_eq(count.spoilt, 0);
        } else {
            ck_assert_uint_eq(count.spoilt, 1);
            ck_assert_uint_eq(warnings, 1);
            ck_assert_uint_eq(servers[0].images, 1);
        }
        begin_again();
    }
}
END_TEST

START_TEST(useless_deltas_are_replaced_by_the_image)
{
    static const behaviour_t lies[] = {FOREIGN, GARBAGE, MIXED, SHORT};

    for (unsigned i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        behave(0, lies[i], GOOD, 60);
        ck_assert_int_eq(bring(), APR_SUCCESS);
        expect_image();
        ck_assert_uint_eq(count.spoilt, 1);
        ck_assert_uint_eq(warnings, 1);
        ck_assert_uint_eq(count.deltas, 0);
        begin_again();
    }
}
END_TEST

START_TEST(endless_delta_is_not_taken)
{
    behave(0, LONG, GOOD, 0);
    behave(1, LONG, GOOD, 0);
    ck_assert_int_eq(bring(), APR_SUCCESS);
    ck_assert_int_eq(fs_image_verify(path_in(images_dir, &new), &new.digest, &result), APR_SUCCESS);
    ck_assert_uint_eq(count.deltas, 0);
}
END_TEST

/* --- busy servers -------------------------------------------------------------------------------
 */

START_TEST(busy_server_is_no_failure)
{
    behave(0, BUSY, BUSY, 0);
    behave(1, DOWN, DOWN, 0);
    ck_assert(APR_STATUS_IS_EBUSY(bring()));
    ck_assert_str_eq(result.problem, "FS0384");
    ck_assert_uint_eq(count.wait, 1);
    ck_assert_uint_eq(count.busy, 1);
    ck_assert_uint_eq(servers[0].deltas, 1); /* and not for the image on top of that */
    ck_assert_uint_eq(servers[0].images, 0);
    behave(0, GOOD, GOOD, 0);
    ck_assert_int_eq(bring(), APR_SUCCESS);
    expect_image();
}
END_TEST

START_TEST(other_server_helps_out_for_a_busy_one)
{
    behave(0, BUSY, BUSY, 0);
    ck_assert_int_eq(bring(), APR_SUCCESS);
    expect_image();
    ck_assert_uint_eq(count.deltas, 1);
}
END_TEST

static unsigned builds;

static apr_status_t fake_build(void *baton, const char *group, const char *dataset, int64_t number,
                               const char *dir, fs_image_made_t *made, fs_result_t *why)
{
    builds++;
    *made = make_image(dir, dataset, (int)number);
    return APR_SUCCESS;
}

START_TEST(database_is_asked_only_when_patience_is_over)
{
    fs_retrieve_means_t all = means;

    builds = 0;
    all.build = fake_build;
    behave(0, BUSY, BUSY, 0);
    behave(1, BUSY, BUSY, 0);
    ck_assert(APR_STATUS_IS_EBUSY(fs_retrieve_version(retrieve, &all, addresses, SERVERS, "default",
                                                      &version, &count, &result)));
    ck_assert_uint_eq(builds, 0);
    all.impatient = 1;
    ck_assert_int_eq(fs_retrieve_version(retrieve, &all, addresses, SERVERS, "default", &version,
                                         &count, &result),
                     APR_SUCCESS);
    ck_assert_uint_eq(builds, 1);
    ck_assert_uint_eq(count.built, 1);
}
END_TEST

/* --- cleaning, and anything ---------------------------------------------------------------------
 */

START_TEST(cleaning_knows_parts_of_deltas)
{
    fs_digest_t keep[2] = {old.digest, new.digest};

    behave(0, CUT, DOWN, 10);
    behave(1, DOWN, DOWN, 0);
    servers[0].at = delta_bytes / 70 + 1;
    ck_assert_int_ne(bring(), APR_SUCCESS);
    ck_assert_uint_eq(files(".part-"), 1);
    fs_images_clean(images_dir, keep, 2, 0, 0);
    ck_assert_uint_eq(files(".part-"), 1);
    fs_images_clean(images_dir, keep + 1, 1, 0, 0);
    ck_assert_uint_eq(files(".part-"), 0);
}
END_TEST

/* When an image was in use last. Images were made now. */
static fs_usec_t used_at(const fs_image_made_t *image)
{
    struct stat info;

    ck_assert_int_eq(stat(path_in(images_dir, image), &info), 0);
    return (fs_usec_t)info.st_atim.tv_sec * FS_USEC_PER_SEC;
}

static int is_among(const fs_digest_t *digests, unsigned among, const fs_image_made_t *image)
{
    for (unsigned i = 0; i < among; i++)
        if (fs_digest_equal(&digests[i], &image->digest))
            return 1;
    return 0;
}

/* A roll-back finds the images of the versions before; what nobody can want goes. */
START_TEST(images_that_were_in_use_last_are_spared)
{
    const fs_usec_t now = fs_time_wall() + 1000 * FS_USEC_PER_SEC;
    fs_image_made_t prices[6], other;
    fs_digest_t spared[8], none[1];
    unsigned found;

    other = make_image(images_dir, "gone", 1); /* its dataset was dropped */
    for (int i = 0; i < 6; i++) {
        prices[i] = make_image(images_dir, "made", 10 + i);
        /* Each is in use for a while; this is what an agent calls every few seconds. */
        fs_images_spare(images_dir, &prices[i].digest, 1, UINT64_MAX, now + i * FS_USEC_PER_SEC,
                        spared, 8);
        ck_assert_int_eq(used_at(&prices[i]),
                         (now + i * FS_USEC_PER_SEC) / FS_USEC_PER_SEC * FS_USEC_PER_SEC);
    }
    /* Rolled back to the second: it is in use again, later than all others. */
    found = fs_images_spare(images_dir, &prices[1].digest, 1, UINT64_MAX,
                            now + 10 * FS_USEC_PER_SEC, spared, 8);
    ck_assert_uint_eq(found, FS_IMAGES_SPARED);
    ck_assert(is_among(spared, found, &prices[5]));
    ck_assert(is_among(spared, found, &prices[4]));
    ck_assert(is_among(spared, found, &prices[3]));
    found = fs_images_spare(images_dir, &prices[5].digest, 1, UINT64_MAX,
                            now + 11 * FS_USEC_PER_SEC, spared, 8);
    ck_assert_uint_eq(found, FS_IMAGES_SPARED);
    ck_assert(is_among(spared, found, &prices[1]));
    ck_assert(!is_among(spared, found, &other));
    ck_assert(!is_among(spared, found, &prices[5]));

    /* Only while the disk has room for one more set of what is in use, and the caller for digests.
     */
    ck_assert_uint_eq(
        fs_images_spare(images_dir, &prices[5].digest, 1, prices[5].bytes - 1, now, spared, 8), 0);
    ck_assert_uint_eq(
        fs_images_spare(images_dir, &prices[5].digest, 1, prices[5].bytes, now, spared, 2), 2);
    ck_assert_uint_eq(fs_images_spare(images_dir, none, 0, UINT64_MAX, now, spared, 8), 0);
    ck_assert_uint_eq(fs_images_spare("/nonexistent", none, 0, UINT64_MAX, now, spared, 8), 0);
}
END_TEST

START_TEST(random_faults_never_publish_anything_wrong)
{
    unsigned seed = 7, by_delta = 0;

    for (int run = 0; run < 300; run++) {
        for (int call = 0; call < 1 + run % 3; call++) {
            for (unsigned s = 0; s < SERVERS; s++)
                behave(s, (behaviour_t)(rand_r(&seed) % BEHAVIOURS), rand_r(&seed) % 2 ? CUT : DOWN,
                       1 + (uint64_t)rand_r(&seed) % delta_bytes);
            if (bring() == APR_SUCCESS)
                ck_assert_int_eq(fs_image_verify(path_in(images_dir, &new), &new.digest, &result),
                                 APR_SUCCESS);
        }
        behave(0, (behaviour_t)(rand_r(&seed) % BUSY), GOOD, 50);
        behave(1, GOOD, GOOD, 0);
        ck_assert_msg(bring() == APR_SUCCESS, "run %d: %s %s", run, result.problem, result.detail);
        ck_assert_int_eq(fs_image_verify(path_in(images_dir, &new), &new.digest, &result),
                         APR_SUCCESS);
        by_delta += count.deltas > 0;
        begin_again();
        fs_images_clean(images_dir, &old.digest, 1, 0, 0);
    }
    ck_assert_uint_gt(by_delta, 20);
}
END_TEST

static Suite *delta_suite(void)
{
    Suite *suite = suite_create("retrieve_delta");
    TCase *tcase = tcase_create("delta");

    tcase_set_timeout(tcase, 120);
    tcase_add_checked_fixture(tcase, begin, end);
    tcase_add_test(tcase, delta_from_the_newest_image_is_enough);
    tcase_add_test(tcase, damaged_old_image_is_not_built_upon);
    tcase_add_test(tcase, without_an_old_image_or_means_the_image_is_asked_for);
    tcase_add_test(tcase, server_that_ignores_from_gives_the_image);
    tcase_add_test(tcase, image_takes_the_place_of_a_delta_that_was_begun);
    tcase_add_test(tcase, broken_delta_is_continued);
    tcase_add_test(tcase, broken_delta_is_continued_next_time);
    tcase_add_test(tcase, complete_delta_of_an_earlier_process_is_used);
    tcase_add_test(tcase, altered_delta_is_replaced_by_the_image);
    tcase_add_test(tcase, useless_deltas_are_replaced_by_the_image);
    tcase_add_test(tcase, endless_delta_is_not_taken);
    tcase_add_test(tcase, busy_server_is_no_failure);
    tcase_add_test(tcase, other_server_helps_out_for_a_busy_one);
    tcase_add_test(tcase, database_is_asked_only_when_patience_is_over);
    tcase_add_test(tcase, cleaning_knows_parts_of_deltas);
    tcase_add_test(tcase, images_that_were_in_use_last_are_spared);
    tcase_add_test(tcase, random_faults_never_publish_anything_wrong);
    suite_add_tcase(suite, tcase);
    return suite;
}

FS_TEST_MAIN(delta_suite)
