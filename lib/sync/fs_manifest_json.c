/* SPDX-License-Identifier: Apache-2.0 */
/* The manifest as JSON text. What is read may come from anybody: each field is checked and named.
 */
#include "sync/fs_manifest.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "sync/fs_json_field.h"

#define YEAR_10000 (INT64_C(253402300800) * FS_USEC_PER_SEC)

static apr_status_t refuse(fs_result_t *result, const char *what, const char *why)
{
    return fs_result_set(result, APR_EINVAL, "FS0360",
                         "manifest refused: %s %s; is the other side another version of farmsync?",
                         what, why);
}

static apr_status_t bad_field(fs_result_t *result, const fs_json_cursor_t *cursor)
{
    char what[80];

    snprintf(what, sizeof(what), "field '%s'", cursor->field);
    return refuse(result, what, "is missing or out of range");
}

static apr_status_t parse_dataset(fs_manifest_version_t *version, const json_t *json,
                                  fs_result_t *result)
{
    fs_json_cursor_t cursor = {json, NULL};
    char name[FS_IMAGE_NAME_SIZE], hex[FS_DIGEST_HEX_SIZE];
    int64_t bytes, rows;
    fs_digest_t digest;

    if (fs_json_text(&cursor, "name", 0, name, sizeof(name)) ||
        fs_json_integer(&cursor, "bytes", 0, INT64_MAX, &bytes) ||
        fs_json_integer(&cursor, "rows", 0, INT64_MAX, &rows) ||
        fs_json_text(&cursor, "digest", 0, hex, sizeof(hex)) || strlen(hex) != sizeof(hex) - 1 ||
        fs_digest_parse(&digest, hex))
        return bad_field(result, &cursor);
    switch (fs_manifest_add_dataset(version, name, strlen(name), &digest, (uint64_t)bytes,
                                    (uint64_t)rows)) {
    case APR_SUCCESS:
        return APR_SUCCESS;
    case APR_EEXIST:
        return refuse(result, "a dataset", "is there twice");
    case APR_ENOSPC:
        return refuse(result, "a version", "has more datasets than are allowed");
    default:
        return refuse(result, "a dataset", "cannot be kept");
    }
}

/* One element of `versions`: it must be the active or the staged one, and not be there twice. */
static apr_status_t parse_version(fs_manifest_t *manifest, const json_t *json, unsigned *seen,
                                  fs_result_t *result)
{
    fs_json_cursor_t cursor = {json, NULL};
    const json_t *datasets = json_object_get(json, "datasets");
    fs_manifest_version_t *version;
    int64_t number;
    unsigned bit;

    if (fs_json_integer(&cursor, "version", 1, INT64_MAX, &number))
        return bad_field(result, &cursor);
    version = number == manifest->active.version ? &manifest->active : &manifest->staged;
    bit = version == &manifest->active ? 1 : 2;
    if (number != version->version || *seen & bit)
        return refuse(result, "field 'versions'", "has a version that doesn't belong there");
    *seen |= bit;
    if (!json_is_array(datasets))
        return refuse(result, "field 'datasets'", "is missing or no array");
    for (size_t i = 0; i < json_array_size(datasets); i++) {
        apr_status_t status = parse_dataset(version, json_array_get(datasets, i), result);

        if (status)
            return status;
    }
    return APR_SUCCESS;
}

static apr_status_t parse_versions(fs_manifest_t *manifest, const json_t *json, fs_result_t *result)
{
    const json_t *versions = json_object_get(json, "versions");
    unsigned seen = 0, wanted = manifest->active.version ? 1 : 0;

    if (!json_is_array(versions))
        return refuse(result, "field 'versions'", "is missing or no array");
    if (manifest->staged.version && manifest->staged.version != manifest->active.version)
        wanted |= 2;
    for (size_t i = 0; i < json_array_size(versions); i++) {
        apr_status_t status = parse_version(manifest, json_array_get(versions, i), &seen, result);

        if (status)
            return status;
    }
    if (seen != wanted)
        return refuse(result, "field 'versions'", "lacks the active or the staged version");
    if (manifest->staged.version == manifest->active.version)
        manifest->staged = manifest->active;
    return APR_SUCCESS;
}

static apr_status_t parse_group(fs_manifest_t *manifest, const json_t *json, fs_result_t *result)
{
    fs_json_cursor_t cursor = {json, NULL};
    const char *text;
    size_t length;

    if (fs_json_text(&cursor, "group", 0, manifest->group, sizeof(manifest->group)) ||
        fs_json_integer(&cursor, "epoch", 0, INT64_MAX, &manifest->epoch) ||
        fs_json_integer(&cursor, "version", 0, INT64_MAX, &manifest->staged.version) ||
        fs_json_integer(&cursor, "active_version", 0, INT64_MAX, &manifest->active.version) ||
        fs_json_integer(&cursor, "activation_time", 0, YEAR_10000, &manifest->activation_time) ||
        fs_json_integer(&cursor, "interval", 1, YEAR_10000, &manifest->interval) ||
        fs_json_integer(&cursor, "min_lead", 0, YEAR_10000, &manifest->min_lead) ||
        fs_json_integer_or_null(&cursor, "pinned_version", 1, INT64_MAX, 0,
                                &manifest->pinned_version) ||
        fs_json_string(&cursor, "state", &text, &length) ||
        fs_group_state_parse(text, length, &manifest->state) ||
        fs_json_text(&cursor, "reason", 1, manifest->reason, sizeof(manifest->reason)))
        return bad_field(result, &cursor);
    manifest->grid = manifest->activation_time;
    if (json_object_get(json, "grid") &&
        fs_json_integer(&cursor, "grid", 0, YEAR_10000, &manifest->grid))
        return bad_field(result, &cursor);
    return APR_SUCCESS;
}

apr_status_t fs_manifest_parse(fs_manifest_t **manifest, const char *json, size_t length,
                               fs_result_t *result)
{
    json_error_t error;
    json_t *root;
    apr_status_t status;

    *manifest = NULL;
    if (length > FS_MANIFEST_MAX_BYTES)
        return refuse(result, "the text", "is larger than a manifest may be");
    root = json_loadb(json, length, JSON_REJECT_DUPLICATES, &error);
    if (!root)
        return refuse(result, "the text is not JSON:", error.text);
    *manifest = calloc(1, sizeof(**manifest));
    if (!*manifest)
        status = refuse(result, "there is", "no memory for it");
    else if (!(status = parse_group(*manifest, root, result)))
        status = parse_versions(*manifest, root, result);
    json_decref(root);
    if (status) {
        fs_manifest_free(*manifest);
        *manifest = NULL;
    }
    return status;
}

static json_t *version_json(const fs_manifest_version_t *version)
{
    json_t *datasets = json_array();

    for (unsigned i = 0; i < version->dataset_count; i++) {
        const fs_manifest_dataset_t *dataset = &version->datasets[i];
        char hex[FS_DIGEST_HEX_SIZE];

        json_array_append_new(datasets, json_pack("{s:s,s:s,s:I,s:I}", "name", dataset->name,
                                                  "digest", fs_digest_hex(&dataset->digest, hex),
                                                  "bytes", (json_int_t)dataset->bytes, "rows",
                                                  (json_int_t)dataset->rows));
    }
    return json_pack("{s:I,s:o}", "version", (json_int_t)version->version, "datasets", datasets);
}

char *fs_manifest_print(const fs_manifest_t *manifest, size_t *length)
{
    json_t *versions = json_array(), *root;
    char *text = NULL, reason[sizeof(manifest->reason)];

    fs_text_fit(reason, sizeof(reason), manifest->reason, strlen(manifest->reason));
    if (manifest->active.version)
        json_array_append_new(versions, version_json(&manifest->active));
    if (manifest->staged.version && manifest->staged.version != manifest->active.version)
        json_array_append_new(versions, version_json(&manifest->staged));
    root = json_pack(
        "{s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:s,s:o,s:s,s:o}", "group", manifest->group, "epoch",
        (json_int_t)manifest->epoch, "version", (json_int_t)manifest->staged.version,
        "active_version", (json_int_t)manifest->active.version, "activation_time",
        (json_int_t)manifest->activation_time, "grid", (json_int_t)manifest->grid, "interval",
        (json_int_t)manifest->interval, "min_lead", (json_int_t)manifest->min_lead, "state",
        fs_group_state_name(manifest->state), "pinned_version",
        manifest->pinned_version ? json_integer(manifest->pinned_version) : json_null(), "reason",
        reason, "versions", versions);
    if (root)
        text = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    *length = text ? strlen(text) : 0;
    return text;
}
