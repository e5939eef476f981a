/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Retrieval over a transport that loses, cuts and alters, without a network. Proves promise 6: an
 * image that is cut short, altered or foreign never gets its final name.
 */
#include "fs_test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/fs_file.h"
#include "base/fs_log.h"
#include "sync/fs_retrieve.h"

/* --- images to be retrieved --------------------------------------------------------------------
 */

static char *remote_dir, *images_dir;

/* Builds an image of `rows` rows into `dir`. */
static fs_image_made_t make_image(const char *dir, const char *group, const char *dataset, int rows,
                                  const char *value)
{
    fs_column_t columns[2] = {{"sku", FS_COLUMN_TEXT, 1}, {"price", FS_COLUMN_DECIMAL, 0}};
    fs_image_schema_t schema = {.column_count = 2, .key_count = 1, .columns = columns};
    fs_image_builder_t *builder;
    fs_image_made_t made;
    fs_result_t result;

    snprintf(schema.group, sizeof(schema.group), "%s", group);
    snprintf(schema.dataset, sizeof(schema.dataset), "%s", dataset);
    ck_assert_int_eq(fs_image_builder_create(&builder, dir, &schema, 1, &result), APR_SUCCESS);
    for (int i = 0; i < rows; i++) {
        char key[16];
        fs_slice_t values[2];

        snprintf(key, sizeof(key), "sku-%d", i);
        values[0] = (fs_slice_t){key, (uint32_t)strlen(key)};
        values[1] = (fs_slice_t){value, (uint32_t)strlen(value)};
        ck_assert_int_eq(fs_image_builder_add(builder, values, &result), APR_SUCCESS);
    }
    ck_assert_int_eq(fs_image_builder_finish(builder, &made, &result), APR_SUCCESS);
    return made;
}

static fs_manifest_version_t version_of(const char *dataset, const fs_image_made_t *made)
{
    fs_manifest_version_t version = {7, 0, NULL};

    ck_assert_int_eq(fs_manifest_add_dataset(&version, dataset, strlen(dataset), &made->digest,
                                             made->bytes, made->rows),
                     APR_SUCCESS);
    return version;
}

/* --- the transport ------------------------------------------------------------------------------
 */

typedef enum behaviour_t {
    GOOD,
    MISSING,  /* 404 */
    DOWN,     /* no answer */
    CUT,      /* breaks off after `at` bytes of this transfer */
    FLIP,     /* alters the byte at `at` of the file */
    SHORT,    /* says it is complete after `at` bytes */
    LONG,     /* sends one byte more than the file has */
    RESTART,  /* ignores the range and begins again */
    FULL,     /* this host's disk is full after `at` bytes */
    FAULT,    /* this host's disk has an error after `at` bytes */
    CUT_FLIP, /* alters byte `flip` and breaks off after `at` bytes */
    STOP      /* the agent is told to stop after `at` bytes */
} behaviour_t;

typedef struct server_t {
    behaviour_t behaviour;
    uint64_t at;
    uint64_t flip;
    unsigned asked;
    uint64_t last_from;
} server_t;

#define SERVERS 3
static server_t servers[SERVERS];
static const char *const addresses[SERVERS] = {"http://ds0", "http://ds1", "http://ds2"};
static int stop_now;
static const char *build_value; /* what the rows of a built image hold */
static unsigned builds;

static char *read_remote(const char *hex, size_t *length)
{
    char path[512], *data;

    snprintf(path, sizeof(path), "%s/%s.fsi", remote_dir, hex);
    if (fs_file_read(path, 1 << 30, &data, length, NULL))
        return NULL;
    return data;
}

static apr_status_t broken(fs_result_t *result)
{
    return fs_result_set(result, APR_ECONNRESET, "FS0221", "the connection broke");
}

static apr_status_t fake_download(void *baton, const char *url, FILE *file, uint64_t from,
                                  uint64_t limit, unsigned *wait, fs_result_t *result)
{
    server_t *server = &servers[url[strlen("http://ds")] - '0'];
    const char *hex = strrchr(url, '/') + 1;
    uint64_t until;
    size_t length;
    char *data;

    (void)baton;
    ck_assert_int_eq(strncmp(url + strlen("http://ds0"), "/v1/images/", 11), 0);
    server->asked++;
    server->last_from = from;
    if (server->behaviour == DOWN)
        return fs_result_set(result, APR_ECONNREFUSED, "FS0221", "no answer");
    data = server->behaviour == MISSING ? NULL : read_remote(hex, &length);
    if (!data)
        return fs_result_set(result, APR_ENOENT, "FS0223", "answered 404");
    if (server->behaviour == RESTART)
        from = 0;
    ck_assert_uint_le(from, length);
    ck_assert_int_eq(ftruncate(fileno(file), (off_t)from), 0);
    fseek(file, (long)from, SEEK_SET);
    until = length;
    if (server->behaviour != GOOD && server->behaviour != FLIP && server->behaviour != RESTART &&
        server->behaviour != LONG && from + server->at < until)
        until = from + server->at;
    if (server->behaviour == FLIP && server->at < length)
        data[server->at] ^= 4;
    if (server->behaviour == CUT_FLIP && server->flip < length)
        data[server->flip] ^= 4;
    fwrite(data + from, 1, until - from, file);
    if (server->behaviour == LONG)
        fputc('x', file);
    free(data);
    ck_assert(server->behaviour == LONG || until <= limit);
    switch (server->behaviour) {
    case CUT:
    case CUT_FLIP:
        return until < length ? broken(result) : APR_SUCCESS;
    case FULL:
        return fs_result_set(result, APR_ENOSPC, "FS0224", "disk full");
    case FAULT:
        return fs_result_set(result, APR_FROM_OS_ERROR(EIO), "FS0224", "disk error");
    case STOP:
        stop_now = 1;
        return broken(result);
    default:
        return APR_SUCCESS;
    }
}

static apr_status_t fake_build(void *baton, const char *group, const char *dataset, int64_t version,
                               const char *dir, fs_image_made_t *made, fs_result_t *result)
{
    (void)baton;
    (void)version;
    builds++;
    if (!build_value)
        return fs_result_set(result, APR_EGENERAL, "FS0304", "no database can be reached");
    *made = make_image(dir, group, dataset, 20, build_value);
    return APR_SUCCESS;
}

static int fake_stopped(void *baton)
{
    (void)baton;
    return stop_now;
}

static const fs_retrieve_means_t no_database = {.download = fake_download, .stopped = fake_stopped};
static const fs_retrieve_means_t all_means = {
    .download = fake_download, .build = fake_build, .stopped = fake_stopped};

static void behave(unsigned which, behaviour_t behaviour, uint64_t at)
{
    memset(&servers[which], 0, sizeof(servers[which]));
    servers[which].behaviour = behaviour;
    servers[which].at = at;
}

/* --- what every test begins and ends with ------------------------------------------------------
 */

static fs_retrieve_t *retrieve;
static fs_image_made_t made;
static fs_manifest_version_t version;
static fs_retrieve_count_t count;
static fs_result_t result;

static void no_log(void *baton, fs_log_level_t level, const char *message)
{
    (void)baton;
    (void)level;
    (void)message;
}

static void begin(void)
{
    char *base = fs_test_mkdir();

    fs_log_set(no_log, NULL, FS_LOG_ERROR);
    ck_assert_int_gt(asprintf(&remote_dir, "%s/remote", base), 0);
    ck_assert_int_gt(asprintf(&images_dir, "%s/images", base), 0);
    free(base);
    ck_assert_int_eq(fs_dir_make(remote_dir, &result), APR_SUCCESS);
    ck_assert_int_eq(fs_retrieve_create(&retrieve, images_dir, &result), APR_SUCCESS);
    for (unsigned i = 0; i < SERVERS; i++)
        behave(i, GOOD, 0);
    stop_now = 0;
    builds = 0;
    build_value = NULL;
    memset(&count, 0, sizeof(count));
    made = make_image(remote_dir, "default", "prices", 20, "9.99");
    version = version_of("prices", &made);
}

static void end(void)
{
    char *base = strndup(images_dir, strlen(images_dir) - strlen("/images"));

    fs_retrieve_destroy(retrieve);
    free(version.datasets);
    free(remote_dir);
    free(images_dir);
    fs_test_rmdir(base);
}

static apr_status_t bring(const fs_retrieve_means_t *means)
{
    fs_result_clear(&result);
    return fs_retrieve_version(retrieve, means, addresses, SERVERS, "default", &version, &count,
                               &result);
}

static void path_of(const fs_image_made_t *image, char path[512])
{
    ck_assert_int_eq(fs_images_path(path, 512, images_dir, &image->digest), 0);
}

static int is_here(const fs_image_made_t *image)
{
    char path[512];

    path_of(image, path);
    return access(path, F_OK) == 0;
}

/* Puts the image into the directory as somebody else would. */
static int link_here(const fs_image_made_t *image)
{
    char from[512], to[512];

    ck_assert_int_eq(fs_images_path(from, sizeof(from), remote_dir, &image->digest), 0);
    path_of(image, to);
    return link(from, to);
}

static void unlink_here(const fs_image_made_t *image)
{
    char path[512];

    path_of(image, path);
    ck_assert_int_eq(unlink(path), 0);
}

/* Every file with a final name is what its name says; returns how many there are, parts apart. */
static unsigned check_directory(unsigned *parts)
{
    DIR *stream = opendir(images_dir);
    const struct dirent *entry;
    unsigned images = 0;

    *parts = 0;
    while ((entry = readdir(stream)) != NULL) {
        char path[1024], hex[FS_DIGEST_HEX_SIZE];
        fs_digest_t digest;

        if (strncmp(entry->d_name, ".part-", 6) == 0)
            ++*parts;
        if (!strstr(entry->d_name, ".fsi"))
            continue;
        images++;
        snprintf(hex, sizeof(hex), "%.64s", entry->d_name);
        ck_assert_int_eq(fs_digest_parse(&digest, hex), 0);
        snprintf(path, sizeof(path), "%s/%s", images_dir, entry->d_name);
        ck_assert_int_eq(fs_image_verify(path, &digest, NULL), APR_SUCCESS);
    }
    closedir(stream);
    return images;
}

/* Removes what was retrieved, so that a loop can begin again; the memory of verified files stays.
 */
static void forget(void)
{
    char path[512];

    path_of(&made, path);
    unlink(path);
    memset(&count, 0, sizeof(count));
}

static void expect_nothing(const char *problem)
{
    unsigned parts;

    ck_assert_str_eq(result.problem, problem);
    ck_assert_uint_eq(check_directory(&parts), 0);
}

/* --- transfers ----------------------------------------------------------------------------------
 */

START_TEST(image_is_fetched_once)
{
    unsigned parts;

    ck_assert_int_eq(fs_retrieve_have(retrieve, "default", &version, &result), 0);
    ck_assert_str_eq(result.problem, "FS0357");
    ck_assert_int_eq(bring(&no_database), APR_SUCCESS);
    ck_assert_uint_eq(count.transferred, 1);
    ck_assert_uint_eq(count.bytes, made.bytes);
    ck_assert_uint_eq(check_directory(&parts), 1);
    ck_assert_uint_eq(parts, 0);
    ck_assert_int_eq(fs_retrieve_have(retrieve, "default", &version, &result), 1);
    ck_assert_int_eq(bring(&no_database), APR_SUCCESS);
    ck_assert_uint_eq(count.present, 1);
    ck_assert_uint_eq(servers[0].asked, 1);
    ck_assert_uint_eq(servers[1].asked, 0);
}
END_TEST

START_TEST(next_server_is_asked_and_remembered)
{
    behave(0, DOWN, 0);
    behave(1, MISSING, 0);
    ck_assert_int_eq(bring(&no_database), APR_SUCCESS);
    ck_assert_uint_eq(servers[0].asked, 1);
    ck_assert_uint_eq(servers[1].asked, 1);
    ck_assert_uint_eq(servers[2].asked, 1);
    forget();
    ck_assert_int_eq(bring(&no_database), APR_SUCCESS);
    ck_assert_uint_eq(servers[0].asked, 1);
    ck_assert_uint_eq(servers[2].asked, 2);
}
END_TEST

/* A break at each place: the next server goes on where it was, and no byte comes twice. */
START_TEST(broken_transfer_is_resumed_elsewhere)
{
    unsigned parts;

    for (uint64_t at = 0; at < made.bytes; at += at < 300 || at > made.bytes - 80 ? 1 : 97) {
        behave(0, CUT, at);
        behave(1, GOOD, 0);
        ck_assert_int_eq(bring(&no_database), APR_SUCCESS);
        ck_assert_uint_eq(servers[1].last_from, at);
        ck_assert_uint_eq(count.bytes, made.bytes);
        ck_assert_uint_eq(count.resumed, at ? 1 : 0);
        ck_assert_uint_eq(check_directory(&parts), 1);
        ck_assert_uint_eq(parts, 0);
        fs_retrieve_destroy(retrieve); /* the preferred server must not carry over */
        ck_assert_int_eq(fs_retrieve_create(&retrieve, images_dir, &result), APR_SUCCESS);
        forget();
    }
}
END_TEST

/* One server that breaks each time still gives an image, over several calls, piece by piece. */
START_TEST(one_bad_line_is_enough)
{
    unsigned calls = 0;

    behave(0, CUT, made.bytes / 10 + 1);
    behave(1, DOWN, 0);
    behave(2, DOWN, 0);
    while (bring(&no_database) != APR_SUCCESS) {
        expect_nothing("FS0350");
        ck_assert_uint_lt(++calls, 10);
    }
    ck_assert_uint_gt(calls, 0);
    ck_assert_uint_eq(count.bytes, made.bytes);
}
END_TEST

START_TEST(server_that_knows_no_range_begins_again)
{
    behave(0, CUT, 100);
    behave(1, RESTART, 0);
    ck_assert_int_eq(bring(&no_database), APR_SUCCESS);
    ck_assert_uint_eq(servers[1].last_from, 100);
    ck_assert(is_here(&made));
}
END_TEST

/* An altered byte anywhere: thrown away, taken from zero from the next, the liar not asked again.
 */
START_TEST(altered_image_is_taken_from_elsewhere)
{
    unsigned parts;

    for (uint64_t at = 0; at < made.bytes; at += at < 200 || at > made.bytes - 80 ? 1 : 61) {
        behave(0, FLIP, at);
        behave(1, GOOD, 0);
        ck_assert_int_eq(bring(&no_database), APR_SUCCESS);
        ck_assert_uint_eq(count.rejected, 1);
        ck_assert_uint_eq(servers[0].asked, 1);
        ck_assert_uint_eq(servers[1].last_from, 0);
        ck_assert_uint_eq(check_directory(&parts), 1);
        fs_retrieve_destroy(retrieve);
        ck_assert_int_eq(fs_retrieve_create(&retrieve, images_dir, &result), APR_SUCCESS);
        forget();
    }
}
END_TEST

START_TEST(image_that_only_liars_have_is_never_published)
{
    static const behaviour_t lies[] = {FLIP, SHORT, LONG};

    for (unsigned i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        for (unsigned s = 0; s < SERVERS; s++)
            behave(s, lies[i], 50 + s);
        ck_assert_int_ne(bring(&no_database), APR_SUCCESS);
        expect_nothing("FS0350");
        ck_assert_ptr_nonnull(strstr(result.detail, "prices"));
        ck_assert_ptr_nonnull(strstr(result.detail, "http://ds1"));
        for (unsigned s = 0; s < SERVERS; s++)
            ck_assert_uint_eq(servers[s].asked, 1);
    }
}
END_TEST

/* A liar who breaks off spoils what an honest server completes: then it is taken whole. */
START_TEST(spoilt_part_is_taken_again_from_zero)
{
    behave(0, CUT_FLIP, 200);
    servers[0].flip = 150;
    behave(2, DOWN, 0);
    ck_assert_int_eq(bring(&no_database), APR_SUCCESS);
    ck_assert_uint_eq(count.rejected, 1);
    ck_assert(is_here(&made));
}
END_TEST

START_TEST(foreign_image_is_refused)
{
    fs_image_made_t other = make_image(remote_dir, "other", "prices", 20, "9.99");
    fs_image_made_t twin = make_image(remote_dir, "default", "shipping", 20, "9.99");
    const fs_image_made_t *foreign[] = {&other, &twin};

    for (unsigned i = 0; i < 2; i++) {
        unsigned parts;

        version.datasets[0].digest = foreign[i]->digest;
        version.datasets[0].bytes = foreign[i]->bytes;
        ck_assert_int_eq(bring(&no_database), APR_EMISMATCH);
        ck_assert_str_eq(result.problem, "FS0351");
        ck_assert_uint_eq(check_directory(&parts), 0);
        ck_assert_uint_eq(parts, 0);
        /* Not even when it is there, verified, for a group that may have it. */
        ck_assert_int_ne(link_here(foreign[i]), -1);
        ck_assert_int_eq(bring(&no_database), APR_EMISMATCH);
        ck_assert_int_eq(fs_retrieve_have(retrieve, "default", &version, &result), 0);
        ck_assert_str_eq(result.problem, "FS0351");
        ck_assert(is_here(foreign[i]));
        unlink_here(foreign[i]);
    }
}
END_TEST

START_TEST(full_disk_keeps_the_old_and_leaves_no_part)
{
    fs_image_made_t old = make_image(images_dir, "default", "prices", 5, "1.00");
    unsigned parts;

    for (uint64_t at = 0; at <= 200; at += 50) {
        behave(0, FULL, at);
        ck_assert_int_eq(bring(&all_means), APR_ENOSPC);
        ck_assert_str_eq(result.problem, "FS0352");
        ck_assert_uint_eq(check_directory(&parts), 1);
        ck_assert_uint_eq(parts, 0);
        ck_assert(is_here(&old));
        ck_assert_uint_eq(servers[1].asked, 0);
        ck_assert_uint_eq(builds, 0);
    }
    behave(0, GOOD, 0);
    ck_assert_int_eq(bring(&all_means), APR_SUCCESS);
}
END_TEST

START_TEST(faulty_disk_is_named)
{
    behave(0, FAULT, 10);
    ck_assert_int_eq(bring(&all_means), APR_FROM_OS_ERROR(EIO));
    expect_nothing("FS0356");
    ck_assert_ptr_nonnull(strstr(result.detail, "disk error"));
    ck_assert_uint_eq(servers[1].asked, 0);
}
END_TEST

START_TEST(image_larger_than_the_disk_is_not_begun)
{
    version.datasets[0].bytes = UINT64_C(1) << 60;
    ck_assert_int_eq(bring(&no_database), APR_ENOSPC);
    expect_nothing("FS0352");
    ck_assert_uint_eq(servers[0].asked, 0);
}
END_TEST

START_TEST(stopped_transfer_is_continued_next_time)
{
    behave(0, STOP, 120);
    ck_assert(APR_STATUS_IS_EINTR(bring(&all_means)));
    expect_nothing("FS0354");
    ck_assert_uint_eq(servers[1].asked, 0);
    ck_assert_uint_eq(builds, 0);
    stop_now = 0;
    behave(0, GOOD, 0);
    ck_assert_int_eq(bring(&all_means), APR_SUCCESS);
    ck_assert_uint_eq(servers[0].last_from, 120);
}
END_TEST

static void write_part(const void *data, size_t length)
{
    char path[512], hex[FS_DIGEST_HEX_SIZE];

    snprintf(path, sizeof(path), "%s/.part-%s", images_dir, fs_digest_hex(&made.digest, hex));
    ck_assert_int_eq(fs_file_write(path, data, length, &result), APR_SUCCESS);
}

START_TEST(part_of_an_earlier_process_is_used_or_thrown_away)
{
    char hex[FS_DIGEST_HEX_SIZE];
    size_t length;
    char *data = read_remote(fs_digest_hex(&made.digest, hex), &length);
    char *longer = calloc(1, length + 10);

    write_part(data, length); /* whole: nobody needs to be asked */
    ck_assert_int_eq(bring(&no_database), APR_SUCCESS);
    ck_assert_uint_eq(servers[0].asked, 0);
    forget();
    write_part(longer, length + 10);
    ck_assert_int_eq(bring(&no_database), APR_SUCCESS);
    ck_assert_uint_eq(servers[0].last_from, 0);
    forget();
    write_part(longer, length); /* as long as promised, but rubbish */
    ck_assert_int_eq(bring(&no_database), APR_SUCCESS);
    ck_assert_uint_eq(count.rejected, 1);
    forget();
    write_part(longer, length / 2); /* rubbish that is then completed */
    ck_assert_int_eq(bring(&no_database), APR_SUCCESS);
    ck_assert_uint_eq(count.rejected, 1);
    free(data);
    free(longer);
}
END_TEST

START_TEST(part_that_another_process_fills_is_left_alone)
{
    char path[512], hex[FS_DIGEST_HEX_SIZE];
    int fd;

    snprintf(path, sizeof(path), "%s/.part-%s", images_dir, fs_digest_hex(&made.digest, hex));
    fd = open(path, O_RDWR | O_CREAT, 0640);
    ck_assert_int_eq(flock(fd, LOCK_EX | LOCK_NB), 0);
    ck_assert_int_eq(write(fd, "abc", 3), 3);
    ck_assert(APR_STATUS_IS_EBUSY(bring(&all_means)));
    expect_nothing("FS0353");
    ck_assert_uint_eq(servers[0].asked, 0);
    ck_assert_uint_eq(fs_images_clean(images_dir, NULL, 0, 0, 0), 0);
    ck_assert_int_eq(lseek(fd, 0, SEEK_END), 3);
    ck_assert_int_eq(access(path, F_OK), 0);
    close(fd);
    ck_assert_int_eq(bring(&all_means), APR_SUCCESS);
}
END_TEST

/* --- what is there ------------------------------------------------------------------------------
 */

/* Changes a value, which only a look at every byte finds. */
static void alter_image(int keep_time)
{
    struct timespec times[2] = {{1000, 0}, {1000, 0}};
    char path[512], *data, *value;
    struct stat info;
    size_t length;
    int fd;

    path_of(&made, path);
    ck_assert_int_eq(fs_file_read(path, 1 << 30, &data, &length, &result), APR_SUCCESS);
    value = memmem(data, length, "9.99", 4);
    ck_assert_ptr_nonnull(value);
    fd = open(path, O_WRONLY);
    ck_assert_int_eq(fstat(fd, &info), 0);
    ck_assert_int_eq(pwrite(fd, "9.98", 4, value - data), 4);
    if (keep_time) {
        times[0] = info.st_atim;
        times[1] = info.st_mtim;
    }
    ck_assert_int_eq(futimens(fd, times), 0);
    close(fd);
    free(data);
}

/* A file that looks untouched isn't read again; one that was touched is, and is fetched anew. */
START_TEST(verified_image_is_not_read_again)
{
    unsigned parts;

    ck_assert_int_eq(bring(&no_database), APR_SUCCESS);
    alter_image(1);
    ck_assert_int_eq(bring(&no_database), APR_SUCCESS);
    ck_assert_uint_eq(count.present, 1);
    alter_image(0);
    ck_assert_int_eq(fs_retrieve_have(retrieve, "default", &version, &result), 0);
    ck_assert_str_eq(result.problem, "FS0358");
    ck_assert_int_eq(bring(&no_database), APR_SUCCESS);
    ck_assert_uint_eq(count.rejected, 1);
    ck_assert_uint_eq(count.transferred, 2);
    ck_assert_uint_eq(check_directory(&parts), 1);
}
END_TEST

static unsigned lines;

static void count_line(void *baton, fs_log_level_t level, const char *message)
{
    lines += strncmp(message, "FS0358: ", 8) == 0;
}

START_TEST(image_cut_on_disk_is_fetched_anew)
{
    char path[512];
    unsigned parts, times = 0;

    path_of(&made, path);
    lines = 0;
    fs_log_set(count_line, NULL, FS_LOG_WARNING);
    for (uint64_t length = 0; length < made.bytes; length += 131) {
        ck_assert_int_eq(bring(&no_database), APR_SUCCESS);
        ck_assert_int_eq(truncate(path, (off_t)length), 0);
        ck_assert_int_eq(bring(&no_database), APR_SUCCESS);
        ck_assert_uint_eq(check_directory(&parts), 1);
        times++;
    }
    fs_log_set(NULL, NULL, FS_LOG_NOTICE);
    /* A disk that damages all that is written must not fill the log, too. */
    ck_assert_uint_gt(times, FS_LOG_GATE_FEW);
    ck_assert_uint_eq(lines, FS_LOG_GATE_FEW);
    ck_assert_uint_eq(count.rejected, times);
}
END_TEST

START_TEST(many_images_go_on_when_one_cannot_be_had)
{
    fs_image_made_t shipping = make_image(remote_dir, "default", "shipping", 3, "1");
    fs_image_made_t nowhere = shipping;
    unsigned parts;

    nowhere.digest.bytes[0] ^= 1;
    fs_manifest_add_dataset(&version, "a", 1, &nowhere.digest, 100, 1);
    fs_manifest_add_dataset(&version, "shipping", 8, &shipping.digest, shipping.bytes, 3);
    ck_assert_int_ne(bring(&no_database), APR_SUCCESS);
    ck_assert_str_eq(result.problem, "FS0350");
    ck_assert_ptr_nonnull(strstr(result.detail, "'a'"));
    ck_assert_uint_eq(check_directory(&parts), 2);
    ck_assert_int_eq(fs_retrieve_have(retrieve, "default", &version, &result), 0);
    ck_assert_str_eq(result.problem, "FS0357");
}
END_TEST

/* --- from SQL ------------------------------------------------------------------------------------
 */

START_TEST(image_is_built_when_no_server_has_it)
{
    for (unsigned s = 0; s < SERVERS; s++)
        behave(s, s == 1 ? DOWN : MISSING, 0);
    ck_assert_int_ne(bring(&all_means), APR_SUCCESS); /* no database either */
    expect_nothing("FS0350");
    ck_assert_ptr_nonnull(strstr(result.detail, "FS0304"));
    build_value = "9.99";
    ck_assert_int_eq(bring(&all_means), APR_SUCCESS);
    ck_assert_uint_eq(count.built, 1);
    ck_assert(is_here(&made));
}
END_TEST

START_TEST(image_is_built_without_any_server)
{
    build_value = "9.99";
    ck_assert_int_eq(
        fs_retrieve_version(retrieve, &all_means, NULL, 0, "default", &version, &count, &result),
        APR_SUCCESS);
    ck_assert_uint_eq(count.built, 1);
}
END_TEST

START_TEST(built_image_that_differs_is_not_taken)
{
    for (unsigned s = 0; s < SERVERS; s++)
        behave(s, MISSING, 0);
    build_value = "9.98";
    ck_assert_int_ne(bring(&all_means), APR_SUCCESS);
    ck_assert_str_eq(result.problem, "FS0355");
    ck_assert(!is_here(&made));
}
END_TEST

/* --- cleaning ------------------------------------------------------------------------------------
 */

static void touch(const char *name, time_t seconds)
{
    char path[512];
    struct timespec times[2] = {{seconds, 0}, {seconds, 0}};

    snprintf(path, sizeof(path), "%s/%s", images_dir, name);
    ck_assert_int_eq(fs_file_write(path, "x", 1, &result), APR_SUCCESS);
    ck_assert_int_eq(utimensat(AT_FDCWD, path, times, 0), 0);
}

static int has(const char *name)
{
    char path[512];

    snprintf(path, sizeof(path), "%s/%s", images_dir, name);
    return access(path, F_OK) == 0;
}

#define HEX_63 "000000000000000000000000000000000000000000000000000000000000000"

START_TEST(cleaning_keeps_what_is_needed)
{
    const fs_usec_t now = 10000 * FS_USEC_PER_SEC;
    fs_image_made_t gone = make_image(images_dir, "default", "prices", 4, "1");
    fs_digest_t keep[2] = {made.digest, {{0}}};

    ck_assert_int_eq(bring(&no_database), APR_SUCCESS);
    keep[1].bytes[31] = 0x0a;
    touch(HEX_63 "1.fsi", 9000);
    touch(".part-" HEX_63 "2", 9000);
    touch(".part-" HEX_63 "a", 9000); /* will be continued */
    touch(".leftover", 9000);
    touch(".fresh", 9990);
    touch("README", 1);
    ck_assert_uint_eq(fs_images_clean(images_dir, keep, 2, now, 100 * FS_USEC_PER_SEC), 4);
    ck_assert(is_here(&made));
    ck_assert(!is_here(&gone));
    ck_assert(!has(HEX_63 "1.fsi"));
    ck_assert(!has(".part-" HEX_63 "2"));
    ck_assert(has(".part-" HEX_63 "a"));
    ck_assert(!has(".leftover"));
    ck_assert(has(".fresh"));
    ck_assert(has("README"));
    ck_assert_uint_eq(fs_images_clean("/nonexistent", keep, 2, now, 0), 0);
}
END_TEST

START_TEST(directory_that_cannot_be_made_is_named)
{
    fs_retrieve_t *other;

    ck_assert_int_ne(fs_retrieve_create(&other, "/proc/nowhere/images", &result), APR_SUCCESS);
    ck_assert_ptr_nonnull(strstr(result.detail, "/proc/nowhere"));
    ck_assert_ptr_null(other);
}
END_TEST

/* --- anything may happen
 * -------------------------------------------------------------------------- */

/*
 * Seeded: every server does something at random in each call. Whatever happens, nothing wrong is
 * ever published, and as soon as one server is good the image is there.
 */
START_TEST(random_faults_never_publish_anything_wrong)
{
    unsigned seed = 42, parts, successes = 0;

    for (int run = 0; run < 400; run++) {
        int calls = 1 + rand_r(&seed) % 3;

        for (int call = 0; call < calls; call++) {
            for (unsigned s = 0; s < SERVERS; s++) {
                behave(s, (behaviour_t)(rand_r(&seed) % (STOP + 1)),
                       (uint64_t)rand_r(&seed) % made.bytes);
                servers[s].flip = (uint64_t)rand_r(&seed) % made.bytes;
            }
            stop_now = 0;
            successes += bring(&no_database) == APR_SUCCESS;
            ck_assert_uint_le(check_directory(&parts), 1);
        }
        stop_now = 0;
        for (unsigned s = 0; s < SERVERS; s++)
            behave(s, s == 2 ? GOOD : (behaviour_t)(rand_r(&seed) % FULL), 7);
        ck_assert_msg(bring(&no_database) == APR_SUCCESS, "run %d: %s %s", run, result.problem,
                      result.detail);
        ck_assert_uint_eq(check_directory(&parts), 1);
        ck_assert_uint_eq(parts, 0);
        forget();
    }
    ck_assert_uint_gt(successes, 50);
}
END_TEST

static Suite *retrieve_suite(void)
{
    Suite *suite = suite_create("retrieve");
    TCase *tcase = tcase_create("retrieve");

    tcase_set_timeout(tcase, 120);
    tcase_add_checked_fixture(tcase, begin, end);
    tcase_add_test(tcase, image_is_fetched_once);
    tcase_add_test(tcase, next_server_is_asked_and_remembered);
    tcase_add_test(tcase, broken_transfer_is_resumed_elsewhere);
    tcase_add_test(tcase, one_bad_line_is_enough);
    tcase_add_test(tcase, server_that_knows_no_range_begins_again);
    tcase_add_test(tcase, altered_image_is_taken_from_elsewhere);
    tcase_add_test(tcase, image_that_only_liars_have_is_never_published);
    tcase_add_test(tcase, spoilt_part_is_taken_again_from_zero);
    tcase_add_test(tcase, foreign_image_is_refused);
    tcase_add_test(tcase, full_disk_keeps_the_old_and_leaves_no_part);
    tcase_add_test(tcase, faulty_disk_is_named);
    tcase_add_test(tcase, image_larger_than_the_disk_is_not_begun);
    tcase_add_test(tcase, stopped_transfer_is_continued_next_time);
    tcase_add_test(tcase, part_of_an_earlier_process_is_used_or_thrown_away);
    tcase_add_test(tcase, part_that_another_process_fills_is_left_alone);
    tcase_add_test(tcase, verified_image_is_not_read_again);
    tcase_add_test(tcase, image_cut_on_disk_is_fetched_anew);
    tcase_add_test(tcase, many_images_go_on_when_one_cannot_be_had);
    tcase_add_test(tcase, image_is_built_when_no_server_has_it);
    tcase_add_test(tcase, image_is_built_without_any_server);
    tcase_add_test(tcase, built_image_that_differs_is_not_taken);
    tcase_add_test(tcase, cleaning_keeps_what_is_needed);
    tcase_add_test(tcase, directory_that_cannot_be_made_is_named);
    tcase_add_test(tcase, random_faults_never_publish_anything_wrong);
    suite_add_tcase(suite, tcase);
    return suite;
}

FS_TEST_MAIN(retrieve_suite)
