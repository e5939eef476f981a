/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lib/sync's source by hand and for tests/farm/test_source.py: what datasrv and agents do with the
 * database, one step at a time. Results go to stdout, one a line, fields separated by a tab.
 *
 *   fs_promote manifest OPTION_FILE GROUP
 *   fs_promote once     OPTION_FILE GROUP WHO DIR          outcome, or problem and detail
 *   fs_promote race     OPTION_FILE GROUP WHO DIR          until stdin ends: epoch, outcome,
 * problem fs_promote build    OPTION_FILE GROUP DATASET VERSION DIR     digest, bytes, rows
 *   fs_promote dump     IMAGE                              a line per row: values in hex, or NULL
 *   fs_promote clock    OPTION_FILE                        farm time, round trip in microseconds
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs_log.h"
#include "base/fs_time.h"
#include "sync/fs_source.h"

#define RACE_PAUSE_US 4000 /* between two looks at the group */

static fs_result_t result;

static int complain(void)
{
    printf("%s\t%s\n", result.problem, result.detail);
    return EXIT_FAILURE;
}

static fs_sql_t *open_database(const char *option_file)
{
    fs_sql_t *sql;

    if (fs_sql_create(&sql, option_file, &result) || fs_sql_connect(sql, &result))
        exit(complain());
    fs_sql_set_read_timeout(sql, 120);
    return sql;
}

static const char *outcome_name(fs_promotion_t outcome)
{
    static const char *const names[] = {"staged", "unchanged", "lost", "refused", "returned"};

    return names[outcome];
}

static int manifest_command(char **args)
{
    fs_sql_t *sql = open_database(args[0]);
    fs_manifest_t *manifest;
    size_t length;
    char *text;

    if (fs_source_manifest(sql, args[1], &manifest, &result))
        return complain();
    text = fs_manifest_print(manifest, &length);
    puts(text);
    free(text);
    fs_manifest_free(manifest);
    fs_sql_destroy(sql);
    return EXIT_SUCCESS;
}

/* Prints "epoch outcome problem detail". */
static void promote(fs_sql_t *sql, char **args, int64_t epoch)
{
    fs_promotion_t outcome;
    apr_status_t status;

    fs_result_clear(&result);
    status = fs_source_promote(sql, args[1], epoch, args[2], args[3], &outcome, &result);
    printf("%" PRId64 "\t%s\t%s\t%s\n", epoch, status ? "error" : outcome_name(outcome),
           result.problem, result.detail);
    fflush(stdout);
}

static int once_command(char **args)
{
    fs_sql_t *sql = open_database(args[0]);
    fs_manifest_t *manifest;

    if (fs_source_manifest(sql, args[1], &manifest, &result))
        return complain();
    promote(sql, args, manifest->epoch);
    fs_manifest_free(manifest);
    fs_sql_destroy(sql);
    return EXIT_SUCCESS;
}

static int stdin_has_ended(void)
{
    struct pollfd in = {0, POLLIN, 0};

    return poll(&in, 1, 0) > 0;
}

/* As datasrv does, but in a hurry: promotes whenever the group is due by the measured farm clock.
 */
static void race(fs_sql_t *sql, char **args)
{
    fs_farm_clock_t clock;
    int64_t tried = -1;

    fs_farm_clock_init(&clock);
    while (!stdin_has_ended()) {
        fs_usec_t now = fs_time_mono(), offset, bound;
        fs_clock_sample_t sample;
        fs_manifest_t *manifest;

        if (fs_source_clock(sql, &sample, &result) ||
            fs_source_manifest(sql, args[1], &manifest, &result)) {
            fprintf(stderr, "%s: %s\n", result.problem, result.detail);
            fs_time_sleep_until(now + 100 * RACE_PAUSE_US);
            continue;
        }
        fs_farm_clock_add(&clock, fs_sql_peer(sql), &sample);
        if (manifest->epoch != tried &&
            fs_farm_clock_read(&clock, fs_time_mono(), &offset, &bound) &&
            fs_time_mono() + offset >= manifest->activation_time + bound) {
            tried = manifest->epoch;
            promote(sql, args, tried);
        } else {
            fs_time_sleep_until(now + RACE_PAUSE_US);
        }
        fs_manifest_free(manifest);
    }
}

static int race_command(char **args)
{
    fs_sql_t *sql = open_database(args[0]);

    puts("ready");
    fflush(stdout);
    race(sql, args);
    fs_sql_destroy(sql);
    return EXIT_SUCCESS;
}

static int build_command(char **args)
{
    fs_sql_t *sql = open_database(args[0]);
    char hex[FS_DIGEST_HEX_SIZE], *end;
    fs_image_made_t made;
    int64_t version;

    errno = 0;
    version = strtoll(args[3], &end, 10);
    if (errno || *end)
        return EXIT_FAILURE;
    if (fs_source_build(sql, args[1], args[2], version, args[4], &made, &result))
        return complain();
    printf("%s\t%" PRIu64 "\t%" PRIu64 "\n", fs_digest_hex(&made.digest, hex), made.bytes,
           made.rows);
    fs_sql_destroy(sql);
    return EXIT_SUCCESS;
}

static void print_value(fs_slice_t value)
{
    if (!value.data)
        fputs("NULL", stdout);
    for (uint32_t i = 0; i < value.length; i++)
        printf("%02x", (unsigned char)value.data[i]);
}

static int dump_command(char **args)
{
    fs_image_t *image;
    fs_row_t row;

    if (fs_image_verify(args[0], NULL, &result) || fs_image_open(&image, args[0], &result))
        return complain();
    for (uint64_t place = 0; fs_image_at(image, place, &row); place++) {
        for (unsigned c = 0; c < fs_image_schema(image)->column_count; c++) {
            if (c)
                putchar('\t');
            print_value(fs_row_value(&row, c));
        }
        putchar('\n');
    }
    fs_image_close(image);
    return EXIT_SUCCESS;
}

static int clock_command(char **args)
{
    fs_sql_t *sql = open_database(args[0]);
    fs_clock_sample_t sample;

    if (fs_source_clock(sql, &sample, &result))
        return complain();
    printf("%" PRId64 "\t%" PRId64 "\n", sample.remote, sample.received - sample.sent);
    fs_sql_destroy(sql);
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int args;
        int (*run)(char **args);
    } commands[] = {{"manifest", 2, manifest_command}, {"once", 4, once_command},
                    {"race", 4, race_command},         {"build", 5, build_command},
                    {"dump", 1, dump_command},         {"clock", 1, clock_command}};

    fs_time_init();
    fs_log_set(NULL, NULL, FS_LOG_DEBUG);
    fs_sql_global_init();
    for (unsigned i = 0; argc > 1 && i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strcmp(argv[1], commands[i].name) == 0 && argc == commands[i].args + 2)
            return commands[i].run(argv + 2);
    }
    fprintf(stderr, "usage: fs_promote manifest|once|race|build|dump|clock ARGUMENT...\n");
    return 2;
}
