/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stands in for the agent in tests of the module: builds images with lib/image and publishes them
 * with lib/control, as the agent would, from a few lines of text on its standard input.
 *
 *   fs_publish STATEDIR < script        each command answers "ok ..." or "error ..." in one line
 *
 *   dataset NAME KEYS COLUMN:TYPE,...   describes a dataset; the first KEYS columns are its key
 *   row NAME VALUE|VALUE|...            a row of the next image of it; \N is NULL, \xHH a byte
 *   version GROUP VERSION               builds all described datasets, publishes them as a view:
 * "ok ID" group GROUP ACTIVE AVIEW STAGED SVIEW AT_MS [STALE_MS [pinned]] AT_MS, STALE_MS: farm
 * time from now; 0 for STALE: never problem GROUP NUMBER TEXT           the group's latest
 * difficulty clock none | guessed | measured     offset of farm time: +1 hour, bound 250 us beat
 * the agent is alive now                                 "ok FARM_TIME_US"
 */
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control/fs_control.h"

#define OFFSET       (3600 * FS_USEC_PER_SEC)
#define BOUND        250
#define MAX_COLUMNS  32
#define MAX_ROWS     65536
#define MAX_DATASETS 32
#define LINE_SIZE    (1 << 20)

typedef struct dataset_t {
    fs_image_schema_t schema;
    fs_column_t columns[MAX_COLUMNS];
    char **rows; /* as they were given */
    unsigned row_count;
} dataset_t;

static dataset_t datasets[MAX_DATASETS];
static unsigned dataset_count;
static fs_control_t *control;
static const char *state_dir;
static fs_result_t result;

static fs_usec_t farm_now(void)
{
    return fs_time_mono() + OFFSET;
}

static void answer_result(apr_status_t status)
{
    if (status == APR_SUCCESS)
        puts("ok");
    else
        printf("error %s: %s\n", result.problem, result.detail);
}

static dataset_t *find_dataset(const char *name)
{
    for (unsigned i = 0; i < dataset_count; i++) {
        if (!strcmp(datasets[i].schema.dataset, name))
            return &datasets[i];
    }
    return NULL;
}

static fs_column_type_t type_of(const char *name)
{
    static const char *const names[] = {"text", "integer", "decimal", "float",
                                        "time", "json",    "binary"};

    for (int i = 0; i < 7; i++) {
        if (!strcmp(names[i], name))
            return (fs_column_type_t)i;
    }
    return FS_COLUMN_TEXT;
}

static void describe(char *arguments)
{
    char *name = strtok(arguments, " "), *keys = strtok(NULL, " "), *column;
    dataset_t *dataset = name ? find_dataset(name) : NULL;

    if (!keys || (!dataset && dataset_count == MAX_DATASETS)) {
        puts("error dataset NAME KEYS COLUMN:TYPE,...");
        return;
    }
    if (!dataset)
        dataset = &datasets[dataset_count++];
    memset(dataset, 0, sizeof(*dataset));
    snprintf(dataset->schema.dataset, FS_IMAGE_NAME_SIZE, "%s", name);
    dataset->schema.columns = dataset->columns;
    dataset->schema.key_count = (unsigned)strtoul(keys, NULL, 10);
    dataset->rows = calloc(MAX_ROWS, sizeof(*dataset->rows));
    while ((column = strtok(NULL, ",")) && dataset->schema.column_count < MAX_COLUMNS) {
        unsigned place = dataset->schema.column_count++;
        char *type = strchr(column, ':');

        if (type)
            *type++ = '\0';
        snprintf(dataset->columns[place].name, FS_IMAGE_NAME_SIZE, "%s", column);
        dataset->columns[place].type = type_of(type ? type : "text");
        dataset->columns[place].key = place < dataset->schema.key_count ? (int)place + 1 : 0;
    }
    puts("ok");
}

static void keep_row(char *arguments)
{
    char *rest = strchr(arguments, ' ');
    dataset_t *dataset;

    if (rest)
        *rest++ = '\0';
    dataset = find_dataset(arguments);
    if (!rest || !dataset || dataset->row_count == MAX_ROWS) {
        puts("error row NAME VALUE|VALUE|... of a dataset that was described");
        return;
    }
    dataset->rows[dataset->row_count++] = strdup(rest);
    puts("ok");
}

/* Decodes a value where it lies. */
static fs_slice_t value_of(char *text)
{
    fs_slice_t value = {text, 0};
    char *out = text;

    if (!strcmp(text, "\\N"))
        return (fs_slice_t){NULL, 0};
    for (char *in = text; *in; in++) {
        unsigned byte;

        if (in[0] == '\\' && in[1] == 'x' && sscanf(in + 2, "%2x", &byte) == 1) {
            *out++ = (char)byte;
            in += 3;
        } else {
            *out++ = *in;
        }
    }
    value.length = (uint32_t)(out - text);
    return value;
}

static apr_status_t add_row(fs_image_builder_t *builder, const dataset_t *dataset, char *row)
{
    fs_slice_t values[MAX_COLUMNS] = {{0}};

    for (unsigned i = 0; i < dataset->schema.column_count && row; i++)
        values[i] = value_of(strsep(&row, "|"));
    return fs_image_builder_add(builder, values, &result);
}

static apr_status_t build(dataset_t *dataset, const char *group, int64_t version,
                          fs_digest_t *digest)
{
    char dir[PATH_MAX];
    fs_image_builder_t *builder;
    fs_image_made_t made;
    apr_status_t status;

    snprintf(dataset->schema.group, FS_IMAGE_NAME_SIZE, "%s", group);
    snprintf(dir, sizeof(dir), "%s/images", state_dir);
    status = fs_image_builder_create(&builder, dir, &dataset->schema, version, &result);
    if (status != APR_SUCCESS)
        return status;
    for (unsigned i = 0; i < dataset->row_count; i++) {
        if (status == APR_SUCCESS)
            status = add_row(builder, dataset, dataset->rows[i]);
        free(dataset->rows[i]);
    }
    dataset->row_count = 0;
    if (status != APR_SUCCESS) {
        fs_image_builder_cancel(builder);
        return status;
    }
    status = fs_image_builder_finish(builder, &made, &result);
    *digest = made.digest;
    return status;
}

static void publish(char *arguments)
{
    fs_view_dataset_t parts[MAX_DATASETS];
    fs_view_info_t view = {.dataset_count = dataset_count, .datasets = parts};
    char *group = strtok(arguments, " "), *version = strtok(NULL, " ");
    apr_status_t status = APR_SUCCESS;
    uint64_t id;

    if (!version) {
        puts("error version GROUP VERSION");
        return;
    }
    snprintf(view.group, sizeof(view.group), "%s", group);
    view.version = strtoll(version, NULL, 10);
    for (unsigned i = 0; i < dataset_count && status == APR_SUCCESS; i++) {
        memcpy(parts[i].name, datasets[i].schema.dataset, FS_IMAGE_NAME_SIZE);
        status = build(&datasets[i], group, view.version, &parts[i].digest);
    }
    if (status == APR_SUCCESS)
        status = fs_view_write(control, &view, &id, &result);
    if (status == APR_SUCCESS)
        printf("ok %" PRIu64 "\n", id);
    else
        answer_result(status);
}

static int64_t number(char *text)
{
    return text ? strtoll(text, NULL, 10) : 0;
}

static void set_group(char *arguments)
{
    char *name = strtok(arguments, " ");
    fs_control_group_t group = {.epoch = 1, .interval = 10 * FS_USEC_PER_SEC};
    fs_usec_t now = farm_now(), stale;

    if (!name) {
        puts("error group GROUP ACTIVE AVIEW STAGED SVIEW AT_MS [STALE_MS [pinned]]");
        return;
    }
    snprintf(group.name, sizeof(group.name), "%s", name);
    group.active_version = number(strtok(NULL, " "));
    group.active_view = (uint64_t)number(strtok(NULL, " "));
    group.staged_version = number(strtok(NULL, " "));
    group.staged_view = (uint64_t)number(strtok(NULL, " "));
    group.activation_time = now + number(strtok(NULL, " ")) * FS_USEC_PER_MSEC;
    stale = number(strtok(NULL, " "));
    group.stale_after = stale ? now + stale * FS_USEC_PER_MSEC : 0;
    group.pinned = strtok(NULL, " ") != NULL;
    group.heard = fs_time_mono();
    group.data_time = now;
    group.retrieved = now;
    fs_control_beat(control);
    if (fs_control_set_group(control, &group, &result) == APR_SUCCESS)
        printf("ok %" PRId64 "\n", group.activation_time);
    else
        answer_result(APR_EGENERAL);
}

static void set_problem(char *arguments)
{
    char *name = strtok(arguments, " "), *problem = strtok(NULL, " "), *detail = strtok(NULL, "");
    fs_control_group_t group;

    if (!detail || fs_control_group(control, name, &group) < 0) {
        puts("error problem GROUP NUMBER TEXT of a group that was set");
        return;
    }
    snprintf(group.problem, sizeof(group.problem), "%s", problem);
    snprintf(group.detail, sizeof(group.detail), "%s", detail);
    answer_result(fs_control_set_group(control, &group, &result));
}

static void set_clock(const char *state)
{
    fs_control_clock_t clock = {
        .drift_ppm = 200, .offset = OFFSET, .bound = BOUND, .source = "fs_publish"};

    clock.measured = fs_time_mono();
    clock.state = !strcmp(state, "measured")  ? FS_CLOCK_MEASURED
                  : !strcmp(state, "guessed") ? FS_CLOCK_GUESSED
                                              : FS_CLOCK_NONE;
    fs_control_set_clock(control, &clock);
    puts("ok");
}

static void obey(char *line)
{
    char *arguments = strchr(line, ' ');

    if (arguments)
        *arguments++ = '\0';
    else
        arguments = line + strlen(line);
    if (!strcmp(line, "dataset"))
        describe(arguments);
    else if (!strcmp(line, "row"))
        keep_row(arguments);
    else if (!strcmp(line, "version"))
        publish(arguments);
    else if (!strcmp(line, "group"))
        set_group(arguments);
    else if (!strcmp(line, "problem"))
        set_problem(arguments);
    else if (!strcmp(line, "clock"))
        set_clock(arguments);
    else if (!strcmp(line, "beat"))
        fs_control_beat(control), puts("ok");
    else if (!strcmp(line, "now"))
        printf("ok %" PRId64 "\n", farm_now());
    else
        puts("error what?");
}

int main(int argc, char **argv)
{
    static char line[LINE_SIZE];

    if (argc != 2) {
        fprintf(stderr, "usage: fs_publish STATEDIR < script\n");
        return 2;
    }
    state_dir = argv[1];
    if (fs_control_open_writer(&control, state_dir, &result) != APR_SUCCESS) {
        fprintf(stderr, "%s: %s\n", result.problem, result.detail);
        return 1;
    }
    fs_control_set_agent(control, "fs_publish", getpid());
    setvbuf(stdout, NULL, _IOLBF, 0);
    while (fgets(line, sizeof(line), stdin)) {
        line[strcspn(line, "\n")] = '\0';
        if (line[0] && line[0] != '#')
            obey(line);
    }
    for (unsigned i = 0; i < dataset_count; i++)
        free(datasets[i].rows);
    fs_control_close(control);
    return 0;
}
