/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fs_peek STATEDIR: what the agent published, as one JSON object, as a child would read it: the
 * clock, the groups with what is served now, and each view with what its images hold. With --key
 * DATASET KEY COLUMN also the value that a request would get from each group that has such a
 * dataset.
 */
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control/fs_control.h"

typedef struct question_t {
    const char *dataset; /* NULL: none */
    const char *key;
    const char *column;
} question_t;

static json_t *clock_json(const fs_control_t *control, fs_usec_t *farm, int *known)
{
    fs_control_clock_t clock = {0};
    fs_usec_t bound = 0;

    *known =
        fs_control_clock(control, &clock) && fs_control_now(&clock, fs_time_mono(), farm, &bound);
    return json_pack("{s:i, s:I, s:I, s:I, s:s, s:I}", "state", (int)clock.state, "offset",
                     (json_int_t)clock.offset, "bound", (json_int_t)bound, "farm",
                     (json_int_t)*farm, "source", clock.source, "age",
                     (json_int_t)(fs_time_mono() - clock.measured));
}

/* The value that `question` asks for in an image, JSON null if there is none. */
static json_t *answer(const fs_image_t *image, const question_t *question)
{
    fs_slice_t key = {question->key, (uint32_t)strlen(question->key)}, value;
    int column = fs_image_column(image, question->column, strlen(question->column));
    fs_row_t row;

    if (column < 0 || !fs_image_find(image, &key, 1, &row))
        return json_null();
    value = fs_row_value(&row, (unsigned)column);
    return value.data ? json_stringn(value.data, value.length) : json_null();
}

static json_t *dataset_json(const char *state_dir, const fs_view_dataset_t *dataset,
                            const question_t *question)
{
    char hex[FS_DIGEST_HEX_SIZE], path[PATH_MAX];
    json_t *json = json_object();
    fs_image_t *image;
    fs_result_t result;

    fs_digest_hex(&dataset->digest, hex);
    json_object_set_new(json, "digest", json_string(hex));
    snprintf(path, sizeof(path), "%s/images/%s.fsi", state_dir, hex);
    if (fs_image_open(&image, path, &result)) {
        json_object_set_new(json, "problem", json_string(result.detail));
        return json;
    }
    json_object_set_new(json, "rows", json_integer((json_int_t)fs_image_rows(image)));
    if (question->dataset && !strcmp(question->dataset, dataset->name))
        json_object_set_new(json, "value", answer(image, question));
    fs_image_close(image);
    return json;
}

static json_t *view_json(const char *state_dir, uint64_t id, const question_t *question)
{
    json_t *json = json_object(), *datasets = json_object();
    fs_view_info_t *view;
    fs_result_t result;

    json_object_set_new(json, "id", json_integer((json_int_t)id));
    json_object_set_new(json, "datasets", datasets);
    if (fs_view_read(state_dir, id, &view, &result)) {
        json_object_set_new(json, "problem", json_string(result.detail));
        return json;
    }
    json_object_set_new(json, "version", json_integer(view->version));
    for (unsigned i = 0; i < view->dataset_count; i++)
        json_object_set_new(datasets, view->datasets[i].name,
                            dataset_json(state_dir, &view->datasets[i], question));
    fs_view_free(view);
    return json;
}

static json_t *group_json(const fs_control_t *control, const char *state_dir, unsigned index,
                          const fs_control_group_t *group, fs_usec_t farm, int known,
                          const question_t *question)
{
    fs_marks_group_t *marks = fs_control_marks(control, index);
    fs_choice_t choice = fs_control_choose(group, farm, known, marks ? marks->floor : 0);
    json_t *json = json_pack(
        "{s:i, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:s}", "state",
        (int)group->state, "pinned", (int)group->pinned, "epoch", (json_int_t)group->epoch,
        "active_version", (json_int_t)group->active_version, "staged_version",
        (json_int_t)group->staged_version, "active_view", (json_int_t)group->active_view,
        "staged_view", (json_int_t)group->staged_view, "activation_time",
        (json_int_t)group->activation_time, "interval", (json_int_t)group->interval, "heard_age",
        (json_int_t)(fs_time_mono() - group->heard), "stale_after", (json_int_t)group->stale_after,
        "data_time", (json_int_t)group->data_time, "retrieved", (json_int_t)group->retrieved,
        "problem", group->problem, "detail", group->detail);

    json_object_set_new(json, "serves",
                        json_pack("{s:I, s:I, s:b}", "view", (json_int_t)choice.view, "version",
                                  (json_int_t)choice.version, "stale", choice.stale));
    if (group->active_view)
        json_object_set_new(json, "active", view_json(state_dir, group->active_view, question));
    if (group->staged_view)
        json_object_set_new(json, "staged", view_json(state_dir, group->staged_view, question));
    return json;
}

static json_t *page_json(const fs_control_t *control, const char *state_dir,
                         const question_t *question)
{
    fs_usec_t farm = 0;
    int known = 0;
    json_t *json = json_object(), *groups = json_object();
    fs_control_group_t group;

    json_object_set_new(json, "clock", clock_json(control, &farm, &known));
    json_object_set_new(json, "beat_age",
                        json_integer(fs_time_mono() - fs_control_beaten(control)));
    json_object_set_new(json, "groups", groups);
    for (unsigned i = 0; i < FS_CONTROL_GROUPS; i++)
        if (fs_control_group_at(control, i, &group) >= 0)
            json_object_set_new(groups, group.name,
                                group_json(control, state_dir, i, &group, farm, known, question));
    return json;
}

int main(int argc, char **argv)
{
    question_t question = {0};
    fs_control_t *control;
    fs_result_t result;
    json_t *json;

    if (argc == 6 && !strcmp(argv[2], "--key")) {
        question.dataset = argv[3];
        question.key = argv[4];
        question.column = argv[5];
    } else if (argc != 2) {
        fprintf(stderr, "Usage: fs_peek STATEDIR [--key DATASET KEY COLUMN]\n");
        return 2;
    }
    fs_time_init();
    if (fs_control_open_reader(&control, argv[1], &result)) {
        fprintf(stderr, "%s\n", result.detail);
        return 1;
    }
    json = fs_control_attached(control) ? page_json(control, argv[1], &question) : json_null();
    json_dumpf(json, stdout, JSON_INDENT(1) | JSON_ENCODE_ANY);
    puts("");
    json_decref(json);
    fs_control_close(control);
    return 0;
}
