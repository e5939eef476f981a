/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An image from SQL: the rows of one version stream from the version table into the builder; or,
 * when an earlier image of the dataset is at hand, only the rows that changed since
 * (fs_source_update.c). Both give the same bytes.
 *
 * The image carries the version in which its content first appeared. That must be the same for
 * every builder at any time, or the digests would differ; so it is kept in farmsync.image.since.
 * While a promotion builds there is no row yet: then it is the version that is being made.
 */
#include "sync/fs_source.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs_log.h"
#include "sync/fs_source_update.h"

typedef fs_source_job_t build_t;

int fs_source_number(const fs_slice_t *value, int64_t *number)
{
    char text[24], *end;

    if (!value->data || value->length == 0 || value->length >= sizeof(text))
        return -1;
    memcpy(text, value->data, value->length);
    text[value->length] = '\0';
    errno = 0;
    *number = strtoll(text, &end, 10);
    return errno || *end ? -1 : 0;
}

/* Row of farmsync.dataset: the columns. */
static apr_status_t take_description(void *baton, const fs_slice_t *values, unsigned count,
                                     fs_result_t *result)
{
    build_t *build = baton;
    apr_status_t status = APR_EINVAL;

    if (count == 1 && values[0].data && !build->described)
        status = fs_source_columns(&build->schema, build->dataset, values[0].data, values[0].length,
                                   result);
    else
        fs_result_set(result, status, "FS0373",
                      "dataset '%s': its description in farmsync.dataset cannot be used; drop the "
                      "dataset and add it again",
                      build->dataset);
    build->refused = status != APR_SUCCESS;
    build->described = 1;
    return status;
}

static apr_status_t describe(build_t *build, fs_result_t *result)
{
    apr_status_t status;

    status =
        fs_sql_rows(build->sql, take_description, build, result,
                    "SELECT `columns` FROM farmsync.dataset WHERE name = %s AND group_name = %s",
                    build->dataset, build->group);
    if (status || build->described)
        return status;
    build->refused = 1;
    return fs_result_set(result, APR_ENOENT, "FS0371",
                         "group '%s' has no dataset '%s' in farmsync.dataset", build->group,
                         build->dataset);
}

static apr_status_t take_since(void *baton, const fs_slice_t *values, unsigned count,
                               fs_result_t *result)
{
    build_t *build = baton;
    char hex[FS_DIGEST_HEX_SIZE] = "";

    (void)result;
    if (count >= 1)
        fs_source_number(&values[0], &build->since);
    if (count >= 2 && values[1].data && values[1].length == sizeof(hex) - 1) {
        memcpy(hex, values[1].data, sizeof(hex) - 1);
        build->promised_known = fs_digest_parse(&build->promised, hex) == 0;
    }
    return APR_SUCCESS;
}

static apr_status_t find_since(build_t *build, fs_result_t *result)
{
    build->since = build->version;
    return fs_sql_rows(
        build->sql, take_since, build, result,
        "SELECT since, digest FROM farmsync.image WHERE group_name = %s AND version = %d "
        "AND dataset = %s",
        build->group, build->version, build->dataset);
}

apr_status_t fs_source_take_row(void *baton, const fs_slice_t *values, unsigned count,
                                fs_result_t *result)
{
    build_t *build = baton;
    apr_status_t status;

    if (count == build->schema.column_count)
        status = fs_image_builder_add(build->builder, values, result);
    else
        status = fs_result_set(result, APR_EINVAL, "FS0373", "its rows have %u columns, not %u",
                               count, build->schema.column_count);
    build->refused = status != APR_SUCCESS;
    return status;
}

static apr_status_t stream(build_t *build, fs_result_t *result)
{
    char *list = fs_source_column_list(&build->schema);
    apr_status_t status;

    if (!list) {
        build->refused = 1;
        return fs_result_set(result, APR_ENOMEM, "FS0378", "no memory for its columns");
    }
    status = fs_sql_rows(build->sql, fs_source_take_row, build, result,
                         "SELECT %r FROM farmsync.%i WHERE fs_from <= %d AND fs_to > %d", list,
                         build->table, build->version, build->version);
    free(list);
    return status;
}

static apr_status_t make_whole(build_t *build, fs_image_made_t *made, fs_result_t *result)
{
    apr_status_t status =
        fs_image_builder_create(&build->builder, build->dir, &build->schema, build->since, result);

    if (status) {
        build->refused = 1;
        return status;
    }
    status = stream(build, result);
    if (status) {
        fs_image_builder_cancel(build->builder);
        return status;
    }
    status = fs_image_builder_finish(build->builder, made, result);
    build->refused = status != APR_SUCCESS;
    return status;
}

/*
 * From an earlier image if there is one. What goes wrong with that, but for the connection, the
 * disk and the rows themselves, is no reason not to build it whole.
 */
static apr_status_t make_image(build_t *build, fs_image_made_t *made, fs_result_t *result)
{
    apr_status_t status = fs_source_update(build, made, result);

    if (status == APR_SUCCESS || build->refused)
        return status;
    if (!APR_STATUS_IS_ENOENT(status)) {
        if (!build->base || fs_sql_error(build->sql) == FS_SQL_LOST ||
            fs_sql_error(build->sql) == FS_SQL_CONFLICT)
            return status;
        if (APR_STATUS_IS_ENOSPC(status) || status == APR_FROM_OS_ERROR(EDQUOT)) {
            build->refused = 1; /* as it would be when built whole */
            return status;
        }
        fs_log(FS_LOG_WARNING, "FS0380",
               "dataset '%s': its image of version %lld could not be made from an earlier one and "
               "is built whole: %s: %s",
               build->dataset, (long long)build->version, result->problem, result->detail);
    }
    fs_result_clear(result);
    return make_whole(build, made, result);
}

static fs_build_failure_t failure_of(const build_t *build, const fs_result_t *result)
{
    if (!build->refused)
        return FS_BUILD_SQL;
    if (strcmp(result->problem, "FS0102") == 0 || strcmp(result->problem, "FS0378") == 0)
        return FS_BUILD_HERE;
    return FS_BUILD_DATA;
}

/* People look for the dataset first; the builder's own messages begin with it. */
static void name_dataset(const build_t *build, fs_result_t *result)
{
    fs_result_t plain = *result;

    if (strncmp(plain.detail, "dataset ", 8) != 0)
        fs_result_set(result, plain.status, plain.problem, "dataset '%s': %s", build->dataset,
                      plain.detail);
}

static apr_status_t run(build_t *build, fs_image_made_t *made, fs_result_t *result)
{
    apr_status_t status = describe(build, result);

    if (status)
        return status;
    snprintf(build->schema.group, sizeof(build->schema.group), "%s", build->group);
    snprintf(build->schema.dataset, sizeof(build->schema.dataset), "%s", build->dataset);
    snprintf(build->table, sizeof(build->table), FS_SOURCE_TABLE "%s", build->dataset);
    status = find_since(build, result);
    return status ? status : make_image(build, made, result);
}

apr_status_t fs_source_build_image(fs_sql_t *sql, const char *group, const char *dataset,
                                   int64_t version, const char *dir,
                                   const fs_source_images_t *images, fs_image_made_t *made,
                                   fs_build_failure_t *failure, fs_result_t *result)
{
    build_t build = {.sql = sql,
                     .group = group,
                     .dataset = dataset,
                     .version = version,
                     .dir = dir,
                     .images = images};
    fs_result_t own;
    apr_status_t status;

    if (!result)
        result = &own;
    fs_result_clear(result);
    status = run(&build, made, result);
    free(build.schema.columns);
    if (status) {
        *failure = failure_of(&build, result);
        name_dataset(&build, result);
    } else if (images && images->made) {
        images->made(images->baton, made);
    }
    return status;
}

apr_status_t fs_source_build_known(fs_sql_t *sql, const char *group, const char *dataset,
                                   int64_t version, const char *dir,
                                   const fs_source_images_t *images, fs_image_made_t *made,
                                   fs_result_t *result)
{
    fs_build_failure_t failure;
    apr_status_t status = fs_sql_connect(sql, result);

    if (status)
        return status;
    return fs_source_build_image(sql, group, dataset, version, dir, images, made, &failure, result);
}

apr_status_t fs_source_build(fs_sql_t *sql, const char *group, const char *dataset, int64_t version,
                             const char *dir, fs_image_made_t *made, fs_result_t *result)
{
    return fs_source_build_known(sql, group, dataset, version, dir, NULL, made, result);
}
