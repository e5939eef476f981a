/* SPDX-License-Identifier: Apache-2.0 */
/* A member's row as JSON: what PUT /v1/members/NAME carries and procedure report_members takes. */
#include "sync/fs_source.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "sync/fs_json_field.h"
#include "sync/fs_member.h"

json_t *fs_member_json(const fs_member_t *member)
{
    int known = member->clock_bound >= 0;
    char address[sizeof(member->address)], source[sizeof(member->clock_source)],
        problem[sizeof(member->problem)], listen[sizeof(member->listen)];

    fs_text_fit(address, sizeof(address), member->address, strlen(member->address));
    fs_text_fit(source, sizeof(source), member->clock_source, strlen(member->clock_source));
    fs_text_fit(problem, sizeof(problem), member->problem, strlen(member->problem));
    fs_text_fit(listen, sizeof(listen), member->listen, strlen(member->listen));
    return json_pack(
        "{s:s,s:s,s:s,s:s,s:I,s:I,s:s,s:s,s:o,s:o,s:s,s:s,s:s}", "name", member->name, "kind",
        member->kind, "group", member->group, "address", address, "version_active",
        (json_int_t)member->version_active, "version_staged", (json_int_t)member->version_staged,
        "digest", member->digest, "digest_staged", member->digest_staged, "clock_offset_us",
        known ? json_integer((json_int_t)member->clock_offset) : json_null(), "clock_bound_us",
        known ? json_integer((json_int_t)member->clock_bound) : json_null(), "clock_source", source,
        "problem", problem, "listen", listen);
}

char *fs_member_print(const fs_member_t *member, size_t *length)
{
    json_t *root = fs_member_json(member);
    char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;

    json_decref(root);
    *length = text ? strlen(text) : 0;
    return text;
}

static int digest_is_fit(const char *hex)
{
    fs_digest_t digest;

    return !*hex || (strlen(hex) == FS_DIGEST_HEX_SIZE - 1 && fs_digest_parse(&digest, hex) == 0);
}

static int kind_is_fit(const char *kind)
{
    return strcmp(kind, "agent") == 0 || strcmp(kind, "datasrv") == 0;
}

/* 0, or -1 with the cursor at the field that is wrong. */
static int parse_fields(fs_member_t *member, fs_json_cursor_t *cursor)
{
    if (fs_json_text(cursor, "name", 0, member->name, sizeof(member->name)) ||
        fs_json_text(cursor, "kind", 0, member->kind, sizeof(member->kind)) ||
        !kind_is_fit(member->kind) ||
        fs_json_text(cursor, "group", 0, member->group, sizeof(member->group)) ||
        fs_json_text(cursor, "address", 1, member->address, sizeof(member->address)) ||
        fs_json_integer(cursor, "version_active", 0, INT64_MAX, &member->version_active) ||
        fs_json_integer(cursor, "version_staged", 0, INT64_MAX, &member->version_staged) ||
        fs_json_text(cursor, "digest", 1, member->digest, sizeof(member->digest)) ||
        !digest_is_fit(member->digest) ||
        (json_object_get(cursor->object, "digest_staged") &&
         fs_json_text(cursor, "digest_staged", 1, member->digest_staged,
                      sizeof(member->digest_staged))) ||
        !digest_is_fit(member->digest_staged) ||
        fs_json_integer_or_null(cursor, "clock_offset_us", INT64_MIN, INT64_MAX, 0,
                                &member->clock_offset) ||
        fs_json_integer_or_null(cursor, "clock_bound_us", 0, INT64_MAX, -1, &member->clock_bound) ||
        fs_json_text(cursor, "clock_source", 1, member->clock_source,
                     sizeof(member->clock_source)) ||
        fs_json_text(cursor, "problem", 1, member->problem, sizeof(member->problem)) ||
        (json_object_get(cursor->object, "listen") &&
         fs_json_text(cursor, "listen", 1, member->listen, sizeof(member->listen))))
        return -1;
    return 0;
}

apr_status_t fs_member_parse(fs_member_t *member, const char *json, size_t length,
                             fs_result_t *result)
{
    json_error_t error;
    json_t *root = json_loadb(json, length, JSON_REJECT_DUPLICATES, &error);
    fs_json_cursor_t cursor = {root, NULL};
    apr_status_t status = APR_SUCCESS;

    memset(member, 0, sizeof(*member));
    if (!root)
        return fs_result_set(result, APR_EINVAL, "FS0375",
                             "member report refused: it is not JSON: %s", error.text);
    if (parse_fields(member, &cursor))
        status = fs_result_set(result, APR_EINVAL, "FS0375",
                               "member report refused: field '%s' is missing or out of range",
                               cursor.field);
    json_decref(root);
    return status;
}
