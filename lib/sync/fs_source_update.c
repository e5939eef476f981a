/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The next image from an earlier one: what it costs the database and this host grows with the rows
 * that changed, but for one copy of the file.
 *
 * farmsync.image says which images earlier versions had; the newest of those that is in the
 * directory, and is read through before it is believed unless that was done, is the base W of
 * version V:
 *
 *   put      rows with  W < fs_from <= V < fs_to
 *   removed  keys of rows with  fs_from <= W < fs_to <= V  that no put row has
 *
 * Keys are compared byte by byte as well, because the image does: to the table's collation 'A' and
 * 'a' may be one key.
 *
 * Rows of versions that nobody can ask for are pruned, after their rows of farmsync.image: so if
 * W's is still there when all was read, nothing was missing.
 */
#include "sync/fs_source_update.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fs_log.h"
#include "sync/fs_retrieve.h"

#define MAX_BASES 16 /* earlier images that are looked for */

typedef struct base_t {
    int64_t version;
    fs_digest_t digest;
    int64_t bytes;
} base_t;

typedef struct bases_t {
    unsigned count;
    base_t all[MAX_BASES]; /* the newest first */
} bases_t;

static apr_status_t take_base(void *baton, const fs_slice_t *values, unsigned count,
                              fs_result_t *result)
{
    bases_t *bases = baton;
    base_t *base = &bases->all[bases->count];
    char hex[FS_DIGEST_HEX_SIZE] = "";

    (void)result;
    if (bases->count == MAX_BASES || count != 3 || !values[1].data ||
        values[1].length != sizeof(hex) - 1 || fs_source_number(&values[0], &base->version) ||
        fs_source_number(&values[2], &base->bytes))
        return APR_SUCCESS;
    memcpy(hex, values[1].data, sizeof(hex) - 1);
    if (fs_digest_parse(&base->digest, hex) == 0)
        bases->count++;
    return APR_SUCCESS;
}

static int same_columns(const fs_image_schema_t *a, const fs_image_schema_t *b)
{
    if (strcmp(a->group, b->group) != 0 || strcmp(a->dataset, b->dataset) != 0 ||
        a->column_count != b->column_count || a->key_count != b->key_count)
        return 0;
    for (unsigned i = 0; i < a->column_count; i++) {
        if (strcmp(a->columns[i].name, b->columns[i].name) != 0 ||
            a->columns[i].type != b->columns[i].type || a->columns[i].key != b->columns[i].key)
            return 0;
    }
    return 1;
}

static int is_verified(const fs_source_job_t *job, const fs_digest_t *digest)
{
    return job->images && job->images->is_verified &&
           job->images->is_verified(job->images->baton, digest);
}

/* Whether the file is that image, undamaged, and looks like the one to be made. */
static int is_sound(const fs_source_job_t *job, const base_t *base, const char *path)
{
    struct stat info;
    fs_image_t *image;
    int same;

    if (stat(path, &info) || info.st_size != base->bytes ||
        (!is_verified(job, &base->digest) && fs_image_verify(path, &base->digest, NULL)) ||
        fs_image_open(&image, path, NULL))
        return 0;
    same = same_columns(fs_image_schema(image), &job->schema);
    fs_image_close(image);
    return same;
}

/* The newest earlier image that is here; `path` is its file. APR_ENOENT: none. */
static apr_status_t find_base(const fs_source_job_t *job, base_t *base, char path[PATH_MAX],
                              fs_result_t *result)
{
    bases_t bases = {0};
    apr_status_t status =
        fs_sql_rows(job->sql, take_base, &bases, result,
                    "SELECT version, digest, bytes FROM farmsync.image WHERE group_name = %s AND "
                    "dataset = %s AND version < %d ORDER BY version DESC LIMIT %d",
                    job->group, job->dataset, job->version, (int64_t)MAX_BASES);

    if (status)
        return status;
    for (unsigned i = 0; i < bases.count; i++) {
        if (fs_images_path(path, PATH_MAX, job->dir, &bases.all[i].digest) == 0 &&
            is_sound(job, &bases.all[i], path)) {
            *base = bases.all[i];
            return APR_SUCCESS;
        }
    }
    return APR_ENOENT;
}

/* --- what changed -------------------------------------------------------------------------------
 */

static apr_status_t take_removed(void *baton, const fs_slice_t *values, unsigned count,
                                 fs_result_t *result)
{
    fs_source_job_t *job = baton;

    if (count != job->schema.key_count)
        return fs_result_set(result, APR_EINVAL, "FS0373", "its keys have %u columns, not %u",
                             count, job->schema.key_count);
    job->removed++;
    return fs_image_builder_remove(job->builder, values, result);
}

/* Column names of the key in SQL; malloc'ed pieces of one statement. */
typedef struct key_sql_t {
    char *list; /* d.`a`,d.`b` */
    char *same; /* n.`a` = d.`a` AND CAST(n.`a` AS BINARY) = CAST(d.`a` AS BINARY) AND ... */
} key_sql_t;

static void quote(char *out, const char *name)
{
    *out++ = '`';
    for (; *name; name++) {
        if (*name == '`')
            *out++ = '`';
        *out++ = *name;
    }
    *out++ = '`';
    *out = '\0';
}

static int write_key_sql(const fs_image_schema_t *schema, key_sql_t *sql)
{
    char name[2 * FS_IMAGE_NAME_SIZE + 3];
    size_t room = schema->key_count * (4 * sizeof(name) + 80) + 1, listed = 0, compared = 0;

    sql->list = malloc(room);
    sql->same = malloc(room);
    if (!sql->list || !sql->same)
        return -1;
    for (unsigned place = 1; place <= schema->key_count; place++) {
        for (unsigned i = 0; i < schema->column_count; i++) {
            if (schema->columns[i].key != (int)place)
                continue;
            quote(name, schema->columns[i].name);
            listed += (size_t)snprintf(sql->list + listed, room - listed, "%sd.%s",
                                       listed ? "," : "", name);
            compared +=
                (size_t)snprintf(sql->same + compared, room - compared,
                                 "%sn.%s = d.%s AND CAST(n.%s AS BINARY) = CAST(d.%s AS BINARY)",
                                 compared ? " AND " : "", name, name, name, name);
        }
    }
    return 0;
}

static apr_status_t stream_removed(fs_source_job_t *job, const base_t *base, fs_result_t *result)
{
    key_sql_t key = {NULL, NULL};
    apr_status_t status;

    if (write_key_sql(&job->schema, &key))
        status = fs_result_set(result, APR_ENOMEM, "FS0378", "no memory for the key's columns");
    else
        status = fs_sql_rows(job->sql, take_removed, job, result,
                             "SELECT %r FROM farmsync.%i AS d WHERE d.fs_to > %d AND d.fs_to <= %d "
                             "AND d.fs_from <= %d AND NOT EXISTS (SELECT 1 FROM farmsync.%i AS n "
                             "WHERE %r AND n.fs_from > %d AND n.fs_from <= %d AND n.fs_to > %d)",
                             key.list, job->table, base->version, job->version, base->version,
                             job->table, key.same, base->version, job->version, job->version);
    free(key.list);
    free(key.same);
    return status;
}

static apr_status_t take_put(void *baton, const fs_slice_t *values, unsigned count,
                             fs_result_t *result)
{
    fs_source_job_t *job = baton;

    job->put++;
    return fs_source_take_row(job, values, count, result);
}

static apr_status_t stream_put(fs_source_job_t *job, const base_t *base, fs_result_t *result)
{
    char *list = fs_source_column_list(&job->schema);
    apr_status_t status;

    if (!list)
        return fs_result_set(result, APR_ENOMEM, "FS0378", "no memory for its columns");
    status = fs_sql_rows(job->sql, take_put, job, result,
                         "SELECT %r FROM farmsync.%i WHERE fs_from > %d AND fs_from <= %d AND "
                         "fs_to > %d",
                         list, job->table, base->version, job->version, job->version);
    free(list);
    return status;
}

/* Whether what the base was made of was still there when all was read. */
static apr_status_t check_base(fs_source_job_t *job, const base_t *base, fs_result_t *result)
{
    char hex[FS_DIGEST_HEX_SIZE];
    bases_t bases = {0};
    apr_status_t status =
        fs_sql_rows(job->sql, take_base, &bases, result,
                    "SELECT version, digest, bytes FROM farmsync.image WHERE group_name = %s AND "
                    "dataset = %s AND version = %d AND digest = %s",
                    job->group, job->dataset, base->version, fs_digest_hex(&base->digest, hex));

    if (status || bases.count)
        return status;
    return fs_result_set(result, APR_EGENERAL, "FS0381",
                         "version %lld, from which it was made, was pruned meanwhile",
                         (long long)base->version);
}

static apr_status_t stream_changes(fs_source_job_t *job, const base_t *base, fs_result_t *result)
{
    apr_status_t status = stream_removed(job, base, result);

    if (!status)
        status = stream_put(job, base, result);
    return status ? status : check_base(job, base, result);
}

apr_status_t fs_source_update(fs_source_job_t *job, fs_image_made_t *made, fs_result_t *result)
{
    char path[PATH_MAX];
    base_t base;
    apr_status_t status = find_base(job, &base, path, result);

    if (status)
        return status;
    job->base = base.version;
    status = fs_image_builder_update(&job->builder, job->dir, path, job->since, result);
    if (status)
        return status;
    status = stream_changes(job, &base, result);
    if (status) {
        fs_image_builder_cancel(job->builder);
        return status;
    }
    if (job->promised_known)
        fs_image_builder_expect(job->builder, &job->promised);
    status = fs_image_builder_finish(job->builder, made, result);
    if (!status)
        fs_log(FS_LOG_DEBUG, "FS0382",
               "dataset '%s': image of version %lld made from that of version %lld: %llu rows put, "
               "%llu removed",
               job->dataset, (long long)job->version, (long long)base.version,
               (unsigned long long)job->put, (unsigned long long)job->removed);
    return status;
}
