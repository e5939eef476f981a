/* SPDX-License-Identifier: Apache-2.0 */
#include "session_rest.h"

#include <string.h>

#include <apr_strings.h>
#include <http_core.h>
#include <http_protocol.h>
#include <http_request.h>

#include "place.h"
#include "session_json.h"
#include "session_module.h"
#include "session_put.h"

#define HANDLER   "farmsync-session"
#define PUT_TRIES 32

/* One request. */
typedef struct rest_t {
    fs_session_act_t act;
    fs_session_id_t id;
    fs_session_rules_t rules;
    fs_session_found_t found;
    fs_session_change_t *changes; /* of the body, sorted by key */
    uint32_t count;
} rest_t;

/* --- answers ------------------------------------------------------------------------------------
 */

static int say(rest_t *rest, int status, const char *type, const char *body)
{
    request_rec *r = rest->act.r;

    apr_table_setn(r->headers_out, "Cache-Control", "no-store");
    r->status = status;
    ap_set_content_type(r, type);
    ap_set_content_length(r, (apr_off_t)strlen(body));
    if (!r->header_only)
        ap_rputs(body, r);
    return OK;
}

static int refuse(rest_t *rest, int status, const char *format, ...)
{
    apr_pool_t *pool = rest->act.pool;
    va_list arguments;
    char *problem;
    fs_text_t text;

    va_start(arguments, format);
    problem = apr_pvsprintf(pool, format, arguments);
    va_end(arguments);
    fs_text_init(&text, pool);
    fs_text_puts(&text, "{\"problem\":");
    fs_text_json_string(&text, problem);
    fs_text_puts(&text, "}\n");
    if (status == HTTP_SERVICE_UNAVAILABLE)
        apr_table_setn(rest->act.r->headers_out, "Retry-After", "1");
    return say(rest, status, "application/json", text.data);
}

static const char *etag_of(const fs_session_stamp_t *version, apr_pool_t *pool)
{
    return apr_psprintf(pool, "\"%x.%" APR_UINT64_T_HEX_FMT ".%" APR_UINT64_T_HEX_FMT "\"",
                        version->epoch, version->sequence, version->writer);
}

static int answer(rest_t *rest, int status, const fs_session_stamp_t *version,
                  const fs_session_entry_t *entries, uint32_t count, const char *new_id)
{
    request_rec *r = rest->act.r;
    fs_text_t text;

    fs_text_init(&text, rest->act.pool);
    if (new_id)
        fs_text_printf(&text, "{\"id\":\"%s\",\"session\":", new_id);
    fs_session_json_write(&text, entries, count);
    fs_text_puts(&text, new_id ? "}\n" : "\n");
    apr_table_setn(r->headers_out, "ETag", etag_of(version, r->pool));
    return say(rest, status, "application/json", text.data);
}

static uint32_t live_entries(fs_session_record_t *record)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < record->count; i++)
        if (record->entries[i].value)
            record->entries[kept++] = record->entries[i];
    return kept;
}

/* What is there after an act; if that isn't where it was to be, it is to be tried again. */
static int answer_record(rest_t *rest, int status, const char *new_id)
{
    fs_session_record_t *record = &rest->act.record;

    if (rest->act.unsure)
        return refuse(rest, HTTP_SERVICE_UNAVAILABLE, "%s: %s", rest->act.result.problem,
                      rest->act.result.detail);
    return answer(rest, status, &record->version, record->entries, live_entries(record), new_id);
}

static int answer_failure(rest_t *rest, apr_status_t status)
{
    const char *problem = rest->act.result.problem, *detail = rest->act.result.detail;

    fs_session_complain(&rest->act, status);
    if (rest->act.unsure && status == APR_NOTFOUND)
        return refuse(rest, HTTP_SERVICE_UNAVAILABLE, "%s: %s", rest->act.result.problem,
                      rest->act.result.detail);
    if (status == APR_NOTFOUND || !strcmp(problem, "FS1205"))
        return refuse(rest, HTTP_NOT_FOUND, "there is no such session any more");
    if (!strcmp(problem, "FS1213"))
        return refuse(rest, HTTP_INSUFFICIENT_STORAGE, "%s: %s", problem, detail);
    if (!strcmp(problem, "FS1214") || !strcmp(problem, "FS1203"))
        return refuse(rest, HTTP_REQUEST_ENTITY_TOO_LARGE, "%s: %s", problem, detail);
    return refuse(rest, HTTP_INTERNAL_SERVER_ERROR, "%s: %s", problem, detail);
}

/* --- what is asked ------------------------------------------------------------------------------
 */

static const char *if_match(const rest_t *rest)
{
    const char *value = apr_table_get(rest->act.r->headers_in, "If-Match");

    return value && strcmp(value, "*") ? value : NULL;
}

/* ETags have no quotes or commas inside: one that stands in the list with its quotes is in it. */
static int matches(const rest_t *rest)
{
    const char *list = if_match(rest);

    return !list || strstr(list, etag_of(&rest->found.version, rest->act.pool));
}

/* 0: it is here; else the answer is given. */
static int find(rest_t *rest, const char *text, int *given)
{
    *given = OK;
    if (fs_session_id_read(&rest->id, rest->act.host->keys, text, strlen(text), NULL)) {
        fs_session_counters_add(rest->act.host->counters, FS_SESSION_FOREIGN);
        *given = refuse(rest, HTTP_NOT_FOUND, "this is no id of a session of this farm");
        return -1;
    }
    rest->act.id = &rest->id;
    fs_session_find(rest->act.host, &rest->id, &rest->rules, 1, rest->act.pool, &rest->found);
    if (rest->found.what == FS_SESSION_FOUND_UNANSWERED)
        *given = refuse(rest, HTTP_SERVICE_UNAVAILABLE, "nobody could say in time what it is");
    else if (rest->found.what != FS_SESSION_FOUND_LIVE)
        *given = refuse(rest, HTTP_NOT_FOUND, "there is no such session");
    else if (rest->found.count == 1 && !strcmp(rest->found.entries[0].key, FS_SESSION_OPAQUE_KEY))
        *given = refuse(rest, HTTP_CONFLICT, "another module encrypts this session");
    else if (!matches(rest))
        *given = refuse(rest, HTTP_PRECONDITION_FAILED, "it was changed meanwhile");
    else
        return 0;
    return -1;
}

/* The body, at most as much as a session may be. */
static int read_body(rest_t *rest, int *given)
{
    request_rec *r = rest->act.r;
    apr_size_t limit = (apr_size_t)rest->act.host->farm->session_bytes * 2, length = 0;
    fs_text_t text;
    char buffer[8192];
    const char *problem;
    long got;

    fs_text_init(&text, r->pool);
    *given = ap_setup_client_block(r, REQUEST_CHUNKED_DECHUNK);
    if (*given != OK)
        return -1;
    if (ap_should_client_block(r))
        while ((got = ap_get_client_block(r, buffer, sizeof(buffer))) != 0) {
            if (got < 0) {
                *given = HTTP_BAD_REQUEST;
                return -1;
            }
            length += (apr_size_t)got;
            if (length > limit) {
                *given = refuse(rest, HTTP_REQUEST_ENTITY_TOO_LARGE, "the body is too long");
                return -1;
            }
            fs_text_add(&text, buffer, (apr_size_t)got);
        }
    if (!text.length)
        return 0;
    problem = fs_session_json_read(text.data, text.length, &rest->changes, &rest->count, r->pool);
    if (!problem)
        return 0;
    *given = refuse(rest, HTTP_BAD_REQUEST, "the body can't be used: %s", problem);
    return -1;
}

/* --- the acts -----------------------------------------------------------------------------------
 */

static fs_session_save_t save_of(rest_t *rest, const fs_session_change_t *changes, uint32_t count)
{
    fs_session_save_t save = {
        .key = rest->found.key, .changes = changes, .count = count, .urgent = rest->rules.ack > 0};

    return save;
}

static int changed(rest_t *rest, const fs_session_save_t *save, apr_status_t status)
{
    if (status == APR_EMISMATCH)
        return refuse(rest, if_match(rest) ? HTTP_PRECONDITION_FAILED : HTTP_CONFLICT,
                      "it was changed meanwhile");
    if (status != APR_SUCCESS)
        return answer_failure(rest, status);
    fs_session_confirm(&rest->act, &save->key, &rest->act.record.version, rest->rules.ack);
    return answer_record(rest, HTTP_OK, NULL);
}

static int patch(rest_t *rest)
{
    fs_session_save_t save = save_of(rest, rest->changes, rest->count);

    if (if_match(rest))
        save.expected = &rest->found.version;
    return changed(rest, &save, fs_session_put(&rest->act, &save));
}

/* What makes exactly the entries of the body of those that are there. */
static uint32_t replacing(const rest_t *rest, fs_session_change_t **changes)
{
    uint32_t wanted = 0;
    fs_session_entry_t *after = apr_pcalloc(rest->act.pool, (rest->count + 1) * sizeof(*after));

    for (uint32_t i = 0; i < rest->count; i++) {
        const fs_session_change_t *change = &rest->changes[i];

        if (!change->value)
            continue;
        after[wanted].key = change->key;
        after[wanted].key_length = change->key_length;
        after[wanted].value = change->value;
        after[wanted++].value_length = change->value_length;
    }
    *changes = apr_palloc(rest->act.pool, (rest->found.count + wanted + 1) * sizeof(**changes));
    return fs_session_differences(rest->found.entries, rest->found.count, after, wanted, *changes);
}

static int put(rest_t *rest)
{
    apr_status_t status = APR_EMISMATCH;
    fs_session_save_t save;

    for (unsigned tries = 0; status == APR_EMISMATCH && tries < PUT_TRIES; tries++) {
        fs_session_change_t *changes;
        uint32_t count = replacing(rest, &changes);

        save = save_of(rest, changes, count);
        save.expected = &rest->found.version;
        status = fs_session_put(&rest->act, &save);
        if (status != APR_EMISMATCH || if_match(rest))
            break;
        fs_session_found_done(rest->act.host, &rest->found);
        fs_session_find(rest->act.host, &rest->id, &rest->rules, 0, rest->act.pool, &rest->found);
        if (rest->found.what != FS_SESSION_FOUND_LIVE)
            status = APR_NOTFOUND;
        rest->act.unsure = rest->found.what == FS_SESSION_FOUND_UNANSWERED;
    }
    return changed(rest, &save, status);
}

static int made(rest_t *rest, apr_status_t status, const fs_session_id_t *id, const char *rest_path)
{
    request_rec *r = rest->act.r;
    apr_size_t length = strlen(r->uri) - strlen(rest_path);

    if (status != APR_SUCCESS)
        return answer_failure(rest, status);
    fs_session_confirm(&rest->act, &id->key, &rest->act.record.version,
                       fs_session_copies_of_act(&rest->rules));
    while (length && r->uri[length - 1] == '/')
        length--;
    apr_table_setn(r->headers_out, "Location",
                   apr_psprintf(r->pool, "%.*s/%s", (int)length, r->uri, id->text));
    return answer_record(rest, HTTP_CREATED, apr_pstrdup(r->pool, id->text));
}

static int begin(rest_t *rest)
{
    fs_session_id_t id;
    apr_status_t status = fs_session_put_new(&rest->act, rest->changes, rest->count, &id);

    return made(rest, status, &id, "");
}

static int renew(rest_t *rest, const char *rest_path)
{
    fs_session_save_t save = save_of(rest, rest->changes, rest->count);
    fs_session_id_t id;
    apr_status_t status = fs_session_put_moved(&rest->act, &save, &id);

    if (status == APR_SUCCESS)
        fs_session_confirm_end(&rest->act, &save.key, fs_session_copies_of_act(&rest->rules));
    return made(rest, status, &id, rest_path);
}

/* With If-Match everything is taken out of just that version, which ends it. */
static apr_status_t end_version(rest_t *rest)
{
    fs_session_change_t *changes;
    fs_session_save_t save;

    rest->count = 0;
    save = save_of(rest, NULL, replacing(rest, &changes));
    save.changes = changes;
    save.expected = &rest->found.version;
    save.end_if_empty = 1;
    return fs_session_put(&rest->act, &save);
}

static int end(rest_t *rest)
{
    apr_status_t status =
        if_match(rest) ? end_version(rest) : fs_session_put_end(&rest->act, &rest->found);

    if (status == APR_EMISMATCH)
        return refuse(rest, HTTP_PRECONDITION_FAILED, "it was changed meanwhile");
    if (status != APR_SUCCESS)
        return answer_failure(rest, status);
    fs_session_confirm_end(&rest->act, &rest->found.key, fs_session_copies_of_act(&rest->rules));
    return rest->act.unsure ? answer_record(rest, HTTP_NO_CONTENT, NULL) : HTTP_NO_CONTENT;
}

/* --- the handler --------------------------------------------------------------------------------
 */

static int act_on(rest_t *rest, const char *path)
{
    request_rec *r = rest->act.r;
    int given;

    if (find(rest, path, &given))
        return given;
    switch (r->method_number) {
    case M_GET:
        return answer(rest, HTTP_OK, &rest->found.version, rest->found.entries, rest->found.count,
                      NULL);
    case M_DELETE:
        return end(rest);
    case M_PUT:
    case M_PATCH:
    case M_POST:
        if (read_body(rest, &given))
            return given;
        return r->method_number == M_PUT     ? put(rest)
               : r->method_number == M_PATCH ? patch(rest)
                                             : renew(rest, path);
    default:
        ap_allow_methods(r, REPLACE_ALLOW, "GET", "HEAD", "PUT", "PATCH", "POST", "DELETE", NULL);
        return HTTP_METHOD_NOT_ALLOWED;
    }
}

int fs_session_rest(request_rec *r)
{
    const fs_session_host_t *host = fs_session_host();
    rest_t *rest;
    const char *path;
    int given;

    if (!r->handler || strcmp(r->handler, HANDLER) != 0)
        return DECLINED;
    if (!host)
        return HTTP_SERVICE_UNAVAILABLE;
    rest = apr_pcalloc(r->pool, sizeof(*rest));
    rest->act.host = host;
    rest->act.r = r;
    rest->act.rules = &rest->rules;
    rest->act.pool = r->pool;
    rest->act.now = fs_session_now();
    fs_session_rules_of(&rest->rules, r);
    path = fs_place_rest(r);
    if (*path) {
        given = act_on(rest, path);
        fs_session_found_done(host, &rest->found);
        return given;
    }
    if (r->method_number != M_POST) {
        ap_allow_methods(r, REPLACE_ALLOW, "POST", NULL);
        return HTTP_METHOD_NOT_ALLOWED;
    }
    return read_body(rest, &given) ? given : begin(rest);
}
