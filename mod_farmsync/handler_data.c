/* SPDX-License-Identifier: Apache-2.0 */
/*
 *   GET /farmsync/data                          the datasets
 *   GET /farmsync/data/DATASET                  its rows, in key order: ?limit= ?after= ?prefix=
 *   GET /farmsync/data/DATASET/KEY              a row as JSON
 *   GET /farmsync/data/DATASET/KEY/COLUMN       one value as it is
 *   GET /farmsync/data/DATASET?key=KEY          the row, and
 *   GET /farmsync/data/DATASET?key=KEY&column=  the value, of a key that a URL's path can't carry:
 *                                               the empty one, ".", "..", or one with a slash
 *
 * ETags are strong and made from the answer's bytes, so that an unchanged row keeps its ETag over
 * versions and servers. Errors are application/problem+json (RFC 9457).
 */
#include "handler_data.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>
#include <http_core.h>
#include <http_protocol.h>
#include <http_request.h>
#include <util_script.h>

#include "child.h"
#include "data.h"
#include "module.h"
#include "place.h"

#define LIMIT_DEFAULT   100
#define LIMIT_MAX       1000
#define LIST_BYTES_MAX  (8u * 1024 * 1024)
#define ETAG_HEX_DIGITS 32

/* --- answering ----------------------------------------------------------------------------------
 */

static int problem(request_rec *r, int status, const char *title, const char *detail)
{
    fs_text_t text;

    if (r->main) /* an SSI include: let the page show its own error */
        return status;
    fs_text_init(&text, r->pool);
    fs_text_puts(&text, "{\"title\":");
    fs_text_json_string(&text, title);
    fs_text_printf(&text, ",\"status\":%d,\"detail\":", status);
    fs_text_json_string(&text, detail);
    fs_text_puts(&text, "}\n");
    if (status == HTTP_SERVICE_UNAVAILABLE)
        apr_table_setn(r->err_headers_out, "Retry-After", "1");
    r->status = status;
    ap_set_content_type(r, "application/problem+json");
    ap_set_content_length(r, (apr_off_t)text.length);
    ap_rwrite(text.data, (int)text.length, r);
    return OK;
}

static int not_found(request_rec *r, fs_data_status_t status)
{
    switch (status) {
    case FS_DATA_NO_DATASET:
        return problem(
            r, HTTP_NOT_FOUND, "No such dataset",
            "this server has no dataset of that name in force; the list is one level up");
    case FS_DATA_NO_COLUMN:
        return problem(r, HTTP_NOT_FOUND, "No such column", "the dataset has no such column");
    case FS_DATA_BAD_PATH:
        return problem(r, HTTP_NOT_FOUND, "No such key",
                       "give as many key parts as the dataset has key columns, each "
                       "percent-encoded, and then at most a column");
    case FS_DATA_UNAVAILABLE:
        return problem(r, HTTP_SERVICE_UNAVAILABLE, "No data",
                       "this server has no version of the data yet; see farmsync-status");
    case FS_DATA_STALE:
        return problem(r, HTTP_SERVICE_UNAVAILABLE, "Stale data",
                       "a newer version than this server has may be in force, and FarmSyncOnStale "
                       "is refuse; see farmsync-status");
    case FS_DATA_NO_ROW:
    case FS_DATA_FOUND:
        break;
    }
    return problem(r, HTTP_NOT_FOUND, "No such row", "the dataset has no row with this key");
}

/*
 * mod_deflate and its like append to the ETag ("abc-gzip") what they did to the body, so that a
 * client's If-None-Match would never match ours.
 */
static void strip_encodings(request_rec *r)
{
    static const char *const endings[] = {"-gzip\"", "-br\"", "-zstd\"", "-deflate\""};
    const char *sent = apr_table_get(r->headers_in, "If-None-Match");
    char *match = sent ? apr_pstrdup(r->pool, sent) : NULL;

    if (!match)
        return;
    for (unsigned i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
        char *at;

        while ((at = strstr(match, endings[i]))) {
            *at = '"';
            memmove(at + 1, at + strlen(endings[i]), strlen(at + strlen(endings[i])) + 1);
        }
    }
    apr_table_setn(r->headers_in, "If-None-Match", match);
}

static int answer(request_rec *r, const char *type, const char *body, apr_size_t length)
{
    char hex[FS_DIGEST_HEX_SIZE];
    fs_digest_t digest;
    int status;

    fs_digest_of(&digest, body, length);
    fs_digest_hex(&digest, hex);
    apr_table_setn(r->headers_out, "ETag", apr_psprintf(r->pool, "\"%.*s\"", ETAG_HEX_DIGITS, hex));
    apr_table_setn(r->headers_out, "Cache-Control", "no-cache");
    apr_table_setn(r->headers_out, "X-Content-Type-Options", "nosniff");
    ap_set_content_type(r, type);
    strip_encodings(r);
    status = ap_meets_conditions(r);
    if (status != OK)
        return status;
    ap_set_content_length(r, (apr_off_t)length);
    if (!r->header_only)
        ap_rwrite(body, (int)length, r);
    return OK;
}

static int answer_json(request_rec *r, fs_text_t *text)
{
    fs_text_puts(text, "\n");
    return answer(r, "application/json", text->data, text->length);
}

/* --- one row, one value -------------------------------------------------------------------------
 */

static const char *media_type(fs_column_type_t type)
{
    if (type == FS_COLUMN_BINARY)
        return "application/octet-stream";
    return type == FS_COLUMN_JSON ? "application/json" : "text/plain; charset=utf-8";
}

static int send_found(request_rec *r, const fs_data_t *data)
{
    fs_text_t text;

    if (data->column >= 0) {
        const fs_column_t *column = &fs_image_schema(data->image)->columns[data->column];

        if (!data->value.data)
            return HTTP_NO_CONTENT;
        return answer(r, media_type(column->type), data->value.data, data->value.length);
    }
    fs_text_init(&text, r->pool);
    fs_data_row_json(&text, data->image, &data->row);
    return answer_json(r, &text);
}

/* --- the rows of a dataset ----------------------------------------------------------------------
 */

/* What a list is asked for. */
typedef struct list_t {
    unsigned limit;
    fs_slice_t after[FS_DATA_PARTS];
    int after_count; /* 0: from the beginning */
    fs_slice_t prefix[FS_DATA_PARTS];
    int prefix_count; /* 0: all; the last part is the beginning of a key value */
} list_t;

/* Column of each part of the key. */
static unsigned key_columns(const fs_image_schema_t *schema, unsigned columns[FS_IMAGE_MAX_KEYS])
{
    for (unsigned i = 0; i < schema->column_count; i++) {
        if (schema->columns[i].key > 0)
            columns[schema->columns[i].key - 1] = i;
    }
    return schema->key_count;
}

/* Nothing after the sign means all; but the key of a row may be the empty text (`whole_key`). */
static int key_path(apr_table_t *arguments, request_rec *r, const char *name, int key_count,
                    int whole_key, fs_slice_t parts[FS_DATA_PARTS], int *count)
{
    const char *value = apr_table_get(arguments, name);

    *count = 0;
    if (!value || (!*value && !(whole_key && key_count == 1)))
        return 1;
    *count = fs_data_split(r->pool, value, parts);
    return *count > 0 && *count <= key_count;
}

/* Reads the query; NULL, or what is wrong with it. */
static const char *read_query(request_rec *r, int key_count, list_t *list)
{
    apr_table_t *arguments;
    const char *limit;
    char *end;

    memset(list, 0, sizeof(*list));
    list->limit = LIMIT_DEFAULT;
    ap_args_to_table(r, &arguments);
    limit = apr_table_get(arguments, "limit");
    if (limit) {
        apr_int64_t number = apr_strtoi64(limit, &end, 10);

        if (!*limit || *end || number < 1 || number > LIMIT_MAX)
            return "limit is a number from 1 to 1000";
        list->limit = (unsigned)number;
    }
    if (!key_path(arguments, r, "after", key_count, 1, list->after, &list->after_count) ||
        (list->after_count && list->after_count != key_count))
        return "after is the whole key of a row, its parts percent-encoded and joined by slashes; "
               "take it from \"next\"";
    if (!key_path(arguments, r, "prefix", key_count, 0, list->prefix, &list->prefix_count))
        return "prefix is the beginning of a key, its parts percent-encoded and joined by slashes";
    return NULL;
}

static int same(fs_slice_t a, fs_slice_t b)
{
    return a.length == b.length && !memcmp(a.data, b.data, a.length);
}

/* The row's key begins with the prefix. */
static int has_prefix(const list_t *list, const fs_row_t *row, const unsigned *columns)
{
    for (int i = 0; i < list->prefix_count; i++) {
        fs_slice_t value = fs_row_value(row, columns[i]);

        if (i + 1 < list->prefix_count
                ? !same(value, list->prefix[i])
                : value.length < list->prefix[i].length ||
                      memcmp(value.data, list->prefix[i].data, list->prefix[i].length) != 0)
            return 0;
    }
    return 1;
}

static int has_key(const fs_row_t *row, const fs_slice_t *key, const unsigned *columns,
                   unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (!same(fs_row_value(row, columns[i]), key[i]))
            return 0;
    }
    return 1;
}

/* Where the list begins. */
static uint64_t first_place(const fs_image_t *image, const list_t *list, const unsigned *columns)
{
    uint64_t place = 0, past;
    fs_row_t row;

    if (list->prefix_count)
        place = fs_image_seek(image, list->prefix, (unsigned)list->prefix_count);
    if (!list->after_count)
        return place;
    past = fs_image_seek(image, list->after, (unsigned)list->after_count);
    if (fs_image_at(image, past, &row) &&
        has_key(&row, list->after, columns, (unsigned)list->after_count))
        past++;
    return past > place ? past : place;
}

static void add_key(fs_text_t *text, request_rec *r, const fs_row_t *row, const unsigned *columns,
                    unsigned count)
{
    fs_text_t path;

    fs_text_init(&path, r->pool);
    for (unsigned i = 0; i < count; i++) {
        fs_slice_t value = fs_row_value(row, columns[i]);

        fs_text_puts(&path, i ? "/" : "");
        fs_text_part(&path, value.data, value.length);
    }
    fs_text_json(text, path.data, path.length);
}

static int send_list(request_rec *r, const fs_data_t *data)
{
    const fs_image_schema_t *schema = fs_image_schema(data->image);
    unsigned columns[FS_IMAGE_MAX_KEYS], count = key_columns(schema, columns), sent = 0;
    fs_row_t row, last;
    list_t list;
    const char *wrong = read_query(r, (int)count, &list);
    uint64_t place;
    fs_text_t text;

    if (wrong)
        return problem(r, HTTP_BAD_REQUEST, "Bad query", wrong);
    fs_text_init(&text, r->pool);
    fs_text_puts(&text, "{\"dataset\":");
    fs_text_json_string(&text, schema->dataset);
    fs_text_puts(&text, ",\"group\":");
    fs_text_json_string(&text, schema->group);
    fs_text_printf(&text, ",\"version\":%" PRId64 ",\"total\":%" PRIu64 ",\"rows\":[",
                   data->pin->version, fs_image_rows(data->image));
    place = first_place(data->image, &list, columns);
    while (sent < list.limit && text.length < LIST_BYTES_MAX &&
           fs_image_at(data->image, place, &row) && has_prefix(&list, &row, columns)) {
        fs_text_puts(&text, sent++ ? ",\n" : "\n");
        fs_data_row_json(&text, data->image, &row);
        last = row;
        place++;
    }
    fs_text_puts(&text, "],\"next\":");
    if (sent && fs_image_at(data->image, place, &row) && has_prefix(&list, &row, columns))
        add_key(&text, r, &last, columns, count);
    else
        fs_text_puts(&text, "null");
    fs_text_puts(&text, "}");
    return answer_json(r, &text);
}

/* --- the datasets -------------------------------------------------------------------------------
 */

static void add_columns(fs_text_t *text, const fs_image_schema_t *schema)
{
    static const char *const types[] = {"text", "integer", "decimal", "float",
                                        "time", "json",    "binary"};

    for (unsigned i = 0; i < schema->column_count; i++) {
        const fs_column_t *column = &schema->columns[i];

        fs_text_puts(text, i ? "," : "");
        fs_text_puts(text, "{\"name\":");
        fs_text_json_string(text, column->name);
        fs_text_printf(text, ",\"type\":\"%s\",\"key\":%d}",
                       column->type <= FS_COLUMN_BINARY ? types[column->type] : "text",
                       column->key);
    }
}

static void add_dataset(fs_text_t *text, const fs_pin_t *pin, const fs_image_t *image)
{
    const fs_image_schema_t *schema = fs_image_schema(image);

    fs_text_puts(text, "\n{\"name\":");
    fs_text_json_string(text, schema->dataset);
    fs_text_puts(text, ",\"group\":");
    fs_text_json_string(text, schema->group);
    fs_text_printf(
        text, ",\"version\":%" PRId64 ",\"rows\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"columns\":[",
        pin->version, fs_image_rows(image), fs_image_bytes(image));
    add_columns(text, schema);
    fs_text_puts(text, "]}");
}

static int send_datasets(request_rec *r)
{
    const fs_child_t *child = fs_child();
    fs_data_status_t worst = FS_DATA_UNAVAILABLE;
    fs_data_t data = {0};
    fs_text_t text;
    int count = 0, served = 0;

    fs_text_init(&text, r->pool);
    fs_text_puts(&text, "{\"datasets\":[");
    for (int i = 0; child && i < child->settings->groups->nelts; i++) {
        fs_data_status_t status = fs_data_group(r, i, &data);

        if (status != FS_DATA_FOUND) {
            worst = status;
            continue;
        }
        served++;
        for (unsigned j = 0; j < data.pin->pin.view->dataset_count; j++) {
            fs_text_puts(&text, count++ ? "," : "");
            add_dataset(&text, data.pin, data.pin->pin.view->images[j]);
        }
    }
    if (!served)
        return not_found(r, worst);
    fs_text_puts(&text, "]}");
    return answer_json(r, &text);
}

/*
 * Allow is written by hand: httpd's own list would name TRACE, which is not ours to promise, and
 * httpd's own page would be HTML.
 */
static int not_allowed(request_rec *r)
{
    apr_table_setn(r->err_headers_out, "Allow", "GET, HEAD");
    if (r->method_number != M_OPTIONS)
        return problem(r, HTTP_METHOD_NOT_ALLOWED, "Method not allowed",
                       "data is read here, with GET or HEAD; it is changed in the database");
    ap_set_content_length(r, 0);
    return OK;
}

/*
 * DATASET?key=KEY[&column=COLUMN]: puts what follows the dataset's name into `parts` and returns
 * how many there are then; 0: no key is asked for; -1: it isn't one.
 */
static int key_in_query(request_rec *r, fs_slice_t parts[FS_DATA_PARTS])
{
    fs_slice_t key[FS_DATA_PARTS];
    apr_table_t *arguments;
    const char *value, *column;
    int count;

    ap_args_to_table(r, &arguments);
    value = apr_table_get(arguments, "key");
    column = apr_table_get(arguments, "column");
    if (!value)
        return column ? -1 : 0;
    count = fs_data_split(r->pool, value, key);
    if (count < 0 || 1 + count + (column != NULL) > FS_DATA_PARTS ||
        apr_table_get(arguments, "limit") || apr_table_get(arguments, "after") ||
        apr_table_get(arguments, "prefix"))
        return -1;
    memcpy(parts + 1, key, (apr_size_t)count * sizeof(*key));
    count++;
    if (column) {
        parts[count].data = column;
        parts[count].length = (uint32_t)strlen(column);
        count++;
    }
    return count;
}

int fs_handler_data(request_rec *r)
{
    fs_slice_t parts[FS_DATA_PARTS];
    const char *path;
    fs_data_t data;
    int count;

    if (!r->handler || strcmp(r->handler, "farmsync-data") != 0)
        return DECLINED;
    if (r->method_number != M_GET)
        return not_allowed(r);
    path = fs_place_rest(r);
    if (!*path)
        return send_datasets(r);
    count = fs_data_split(r->pool, path, parts);
    if (count < 0)
        return not_found(r, FS_DATA_BAD_PATH);
    if (count == 1) {
        fs_slice_t dataset = parts[0];

        count = key_in_query(r, parts);
        if (!count) {
            if (fs_data_dataset(r, dataset.data, dataset.length, &data) != FS_DATA_FOUND)
                return not_found(r, data.status);
            return send_list(r, &data);
        }
        if (count < 0)
            return problem(r, HTTP_BAD_REQUEST, "Bad query",
                           "key is a row's key, its parts percent-encoded and joined by slashes; "
                           "it goes with column and with nothing else");
    }
    if (fs_data_find(r, parts, count, &data) != FS_DATA_FOUND)
        return not_found(r, data.status);
    return send_found(r, &data);
}
