/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 304 before a page is made. A page says what it depends on (FarmSync-Depends), datasets that were
 * read for it are added, and with its check value that is remembered for all processes of this
 * host. A client that comes with that check value is told at once that it holds the page, if
 *
 * - no name was invalidated since the making of the page began,
 * - the rows and datasets it depends on are in this request's version what they were in that one,
 * - the fields of the request that Vary names, and the user, are the same.
 *
 * The names' numbers come from the agent; while that is silent, nothing is known.
 */
#include "reuse.h"

#include <stdatomic.h>
#include <string.h>

#include <apr_strings.h>
#include <http_core.h>
#include <http_protocol.h>

#include "base/fs_digest.h"
#include "child.h"
#include "data.h"
#include "module.h"
#include "reuse/fs_reuse_names.h"
#include "reuse/fs_reuse_pages.h"
#include "settings.h"
#include "view.h"

#define DEPENDS      "FarmSync-Depends"
#define NOTE         "farmsync-reuse"
#define SILENT_AFTER (3 * FS_USEC_PER_SEC)
#define LOOK_AGAIN   FS_USEC_PER_SEC
#define TAGS         8 /* of a request that are looked up */

typedef struct request_t {
    uint64_t begun;           /* sequence of names */
    int looking;              /* reading for ourselves, which isn't noted */
    apr_array_header_t *read; /* of const char *, datasets */
} request_t;

/* Each child's own. Names that were replaced stay mapped: other threads may be reading there. */
static _Atomic(fs_reuse_names_t *) names;
static fs_reuse_pages_t *pages;
static const char *names_path;
static _Atomic int64_t look_again; /* mono, when to see whether the file is still the same */
static _Atomic int names_lost;

static const char *path_of(server_rec *server, apr_pool_t *pool, const char *name)
{
    return apr_pstrcat(pool, fs_settings(server)->state_dir, "/", name, NULL);
}

static void complain(server_rec *server, const fs_result_t *result)
{
    ap_log_error(APLOG_MARK, APLOG_WARNING, result->status, server, "%s: %s", result->problem,
                 result->detail);
}

void fs_reuse_known_prepare(server_rec *server, apr_pool_t *pool, apr_uid_t uid, apr_gid_t gid)
{
    fs_result_t result;

    if (!fs_settings(server)->state_dir)
        return;
    if (fs_reuse_pages_prepare(path_of(server, pool, "reuse-pages"), uid, gid, &result))
        complain(server, &result);
    if (fs_reuse_names_prepare(path_of(server, pool, "reuse-names"), uid, gid, &result))
        complain(server, &result);
}

/* The parent prepared both; a process that starts later may find that they were removed. */
void fs_reuse_known_child_init(apr_pool_t *pchild, server_rec *server)
{
    const char *pages_path = path_of(server, pchild, "reuse-pages");
    fs_reuse_names_t *mapped = NULL;
    fs_result_t result;

    pages = NULL;
    names_path = path_of(server, pchild, "reuse-names");
    fs_reuse_known_prepare(server, pchild, (apr_uid_t)-1, (apr_gid_t)-1);
    if (fs_reuse_names_open_reader(&mapped, names_path, &result) ||
        fs_reuse_pages_open(&pages, pages_path, &result))
        complain(server, &result);
    atomic_store(&names, mapped);
}

/* The names that are to be read, if their file was replaced or removed; the agent makes it again.
 */
static void follow_names(const fs_child_t *child)
{
    fs_reuse_names_t *mapped = atomic_load(&names);
    fs_result_t result;

    if (mapped && fs_reuse_names_current(mapped, names_path)) {
        atomic_store(&names_lost, 0);
        return;
    }
    atomic_store(&names_lost, 1);
    if (fs_reuse_names_open_reader(&mapped, names_path, &result) != APR_SUCCESS)
        return;
    atomic_store(&names, mapped);
    atomic_store(&names_lost, 0);
    fs_reuse_count(FS_REUSE_REMAPPED, 1);
    ap_log_error(APLOG_MARK, APLOG_INFO, 0, child->server,
                 "FS1713: %s is another file than before: this process reads that one now",
                 names_path);
}

/* Whether the agent that runs is the one that writes what this process reads. */
static int names_are_told(const fs_child_t *child)
{
    const fs_reuse_names_t *mapped = atomic_load(&names);
    char server[128];

    return mapped && !atomic_load(&names_lost) &&
           fs_reuse_names_writer(mapped) ==
               fs_control_agent(child->control, server, sizeof(server));
}

/* Whether what was invalidated is heard of here. */
static int is_informed(void)
{
    const fs_child_t *child = fs_child();
    fs_usec_t now = fs_time_mono(), beaten;
    int64_t look = atomic_load_explicit(&look_again, memory_order_relaxed);

    if (!child || !pages)
        return 0;
    if (now >= look && atomic_compare_exchange_strong(&look_again, &look, now + LOOK_AGAIN))
        follow_names(child);
    beaten = fs_control_beaten(child->control);
    return beaten && now - beaten < SILENT_AFTER && names_are_told(child);
}

static request_t *request_of(request_rec *r)
{
    void *found = NULL;

    apr_pool_userdata_get(&found, NOTE, fs_view_first_request(r)->pool);
    return found;
}

void fs_reuse_known_begin(request_rec *r)
{
    const fs_reuse_names_t *mapped = atomic_load(&names);
    request_rec *first = fs_view_first_request(r);
    request_t *request;

    if (!mapped || request_of(r))
        return;
    request = apr_pcalloc(first->pool, sizeof(*request));
    request->begun = fs_reuse_names_sequence(mapped);
    request->read = apr_array_make(first->pool, 4, sizeof(const char *));
    apr_pool_userdata_setn(request, NOTE, NULL, first->pool);
}

void fs_reuse_known_read(request_rec *r, const char *dataset, apr_size_t length)
{
    request_t *request;

    if (!atomic_load(&names))
        return;
    /* Expressions may read before the request knows its place. */
    fs_reuse_known_begin(r);
    request = request_of(r);
    if (request->looking)
        return;
    for (int i = 0; i < request->read->nelts; i++) {
        const char *name = APR_ARRAY_IDX(request->read, i, const char *);

        if (!strncmp(name, dataset, length) && !name[length])
            return;
    }
    APR_ARRAY_PUSH(request->read, const char *) =
        apr_pstrmemdup(request->read->pool, dataset, length);
}

const char *fs_reuse_known_take(request_rec *r)
{
    const char *said = fs_reuse_header(r, DEPENDS);

    if (said) {
        said = apr_pstrdup(r->pool, said);
        apr_table_unset(r->headers_out, DEPENDS);
        apr_table_unset(r->err_headers_out, DEPENDS);
    }
    return said;
}

/* --- what a page depends on ---------------------------------------------------------------------
 */

/* The next word of a list with blanks or commas between; NULL if there is none. */
static const char *next_word(const char *at, size_t *length)
{
    at += strspn(at, " \t,");
    *length = strcspn(at, " \t,");
    return *length ? at : NULL;
}

/* Writes words that can be names, and the datasets that were read. 0 if there is no room, or one is
 * none. */
static int write_depends(request_rec *r, const char *said, char *out)
{
    const request_t *request = request_of(r);
    size_t used = 0, length;

    *out = 0;
    for (const char *at = said; (at = next_word(at, &length)) != NULL; at += length) {
        if (!fs_reuse_name_ok(at, length) || used + length + 2 > FS_REUSE_DEPENDS_LIMIT)
            return 0;
        used += (size_t)apr_snprintf(out + used, FS_REUSE_DEPENDS_LIMIT - used, "%.*s ",
                                     (int)length, at);
    }
    for (int i = 0; request && i < request->read->nelts; i++) {
        const char *name = APR_ARRAY_IDX(request->read, i, const char *);

        if (used + strlen(name) + 2 > FS_REUSE_DEPENDS_LIMIT)
            return 0;
        used += (size_t)apr_snprintf(out + used, FS_REUSE_DEPENDS_LIMIT - used, "%s ", name);
    }
    return 1;
}

static void add(fs_digest_sum_t *sum, const void *bytes, size_t length)
{
    fs_digest_add(sum, &length, sizeof(length));
    fs_digest_add(sum, bytes, length);
}

static uint64_t end(fs_digest_sum_t *sum)
{
    fs_digest_t digest;
    uint64_t number;

    fs_digest_end(sum, &digest);
    memcpy(&number, digest.bytes, sizeof(number));
    return number;
}

/* A row's values, or one. */
static void add_row(fs_digest_sum_t *sum, const fs_data_t *data)
{
    if (data->column >= 0) {
        add(sum, data->value.data, data->value.data ? data->value.length : 0);
        return;
    }
    for (unsigned i = 0; i < fs_image_schema(data->image)->column_count; i++) {
        fs_slice_t value = fs_row_value(&data->row, i);

        add(sum, value.data, value.data ? value.length : 0);
        add(sum, "", value.data == NULL);
    }
}

/* What a name is in the data that this request sees: a dataset's digest, or a row's values; nothing
 * if it is no dataset's. */
static void add_data(request_rec *r, fs_digest_sum_t *sum, const char *name)
{
    const char *slash = strchr(name, '/');
    fs_data_t data;
    fs_data_status_t status =
        fs_data_dataset(r, name, slash ? (size_t)(slash - name) : strlen(name), &data);

    if (status == FS_DATA_FOUND && slash)
        status = fs_data_get(r, name, &data);
    add(sum, &status, sizeof(status));
    if (status != FS_DATA_FOUND)
        return;
    if (slash)
        add_row(sum, &data);
    else
        add(sum, fs_view_digest(data.pin->pin.view, data.image)->bytes, FS_DIGEST_BYTES);
}

static uint64_t data_now(request_rec *r, const char *depends)
{
    fs_digest_sum_t *sum = fs_digest_begin();
    request_t *request = request_of(r);
    char name[FS_REUSE_NAME_LIMIT + 1];
    size_t length;

    if (request)
        request->looking = 1;
    for (const char *at = depends; (at = next_word(at, &length)) != NULL; at += length) {
        apr_cpystrn(name, at, length < sizeof(name) ? length + 1 : sizeof(name));
        add_data(r, sum, name);
    }
    if (request)
        request->looking = 0;
    return end(sum);
}

static int names_changed(const char *depends, uint64_t since)
{
    const fs_reuse_names_t *mapped = atomic_load(&names);
    size_t length;

    for (const char *at = depends; (at = next_word(at, &length)) != NULL; at += length)
        if (fs_reuse_names_number(mapped, at, length) > since)
            return 1;
    /* What was said by nobody by name, but may have been missed. */
    return fs_reuse_names_number(mapped, "", 0) > since;
}

/* --- which page it is ---------------------------------------------------------------------------
 */

static void page_of(request_rec *r, const char *opaque, size_t length, fs_digest_t *page)
{
    const request_rec *first = fs_view_first_request(r);
    fs_digest_sum_t *sum = fs_digest_begin();
    const char *where =
        apr_psprintf(r->pool, "%s://%s:%u", ap_http_scheme(r), r->hostname ? r->hostname : "",
                     (unsigned)ap_get_server_port(r));

    add(sum, where, strlen(where));
    add(sum, first->unparsed_uri, strlen(first->unparsed_uri));
    add(sum, opaque, length);
    fs_digest_end(sum, page);
}

/* The fields of the response's Vary that differ by visitor and page. 0 if it can't be known. */
static int write_vary(request_rec *r, char out[FS_REUSE_VARY_LIMIT])
{
    const char *lists[] = {apr_table_get(r->headers_out, "Vary"),
                           apr_table_get(r->err_headers_out, "Vary")};
    size_t used = 0, length;

    *out = 0;
    for (unsigned i = 0; i < 2; i++) {
        for (const char *at = lists[i] ? lists[i] : ""; (at = next_word(at, &length)) != NULL;
             at += length) {
            if (*at == '*' || used + length + 2 > FS_REUSE_VARY_LIMIT)
                return 0;
            if ((length == 15 && !strncasecmp(at, "Accept-Encoding", length)) ||
                (length == 20 && !strncasecmp(at, "Available-Dictionary", length)))
                continue;
            used += (size_t)apr_snprintf(out + used, FS_REUSE_VARY_LIMIT - used, "%.*s,",
                                         (int)length, at);
        }
    }
    return 1;
}

/* What this request says in these fields, and who it is. */
static uint64_t asked_now(request_rec *r, const char *vary)
{
    fs_digest_sum_t *sum = fs_digest_begin();
    size_t length;

    for (const char *at = vary; (at = next_word(at, &length)) != NULL; at += length) {
        const char *value = apr_table_get(r->headers_in, apr_pstrmemdup(r->pool, at, length));

        add(sum, value ? value : "", value ? strlen(value) : 0);
    }
    add(sum, r->user ? r->user : "", r->user ? strlen(r->user) : 0);
    return end(sum);
}

/* --- remembering and finding
 * ----------------------------------------------------------------------
 */

void fs_reuse_known_put(request_rec *r, const fs_reuse_page_t *page, const char *tag)
{
    const request_t *request = request_of(r);
    const char *control = fs_reuse_header(r, "Cache-Control");
    fs_reuse_known_t known;

    memset(&known, 0, sizeof(known));
    if (!request || !is_informed() || !write_depends(r, page->depends, known.depends) ||
        !write_vary(r, known.vary) || (control && strlen(control) >= sizeof(known.control)))
        return;
    page_of(r, tag + 1, strlen(tag) - 2, &known.page);
    known.sequence = request->begun;
    known.data = data_now(r, known.depends);
    known.asked = asked_now(r, known.vary);
    apr_cpystrn(known.control, control ? control : "", sizeof(known.control));
    fs_reuse_pages_put(pages, &known);
}

static int is_unchanged(request_rec *r, const fs_reuse_known_t *known)
{
    return !names_changed(known->depends, known->sequence) &&
           asked_now(r, known->vary) == known->asked && data_now(r, known->depends) == known->data;
}

/* The known page that the client holds; its tag, plain. NULL if there is none. */
static const char *find_held(request_rec *r, const char *field, fs_reuse_known_t *known)
{
    const char *opaque, *at = field;
    fs_digest_t page;
    size_t length;

    for (unsigned i = 0; i < TAGS && (at = fs_reuse_next(at, &opaque, &length)) != NULL; i++) {
        page_of(r, opaque, length, &page);
        if (fs_reuse_pages_find(pages, &page, known) && is_unchanged(r, known))
            return apr_psprintf(r->pool, "\"%.*s\"", (int)length, opaque);
    }
    return NULL;
}

int fs_reuse_known_handler(request_rec *r)
{
    const char *field, *tag, *held = NULL;
    fs_reuse_place_t place;
    fs_reuse_known_t known;
    size_t length = 0;

    if (r->main || r->status != HTTP_OK || r->method_number != M_GET || !pages ||
        !fs_reuse_place(r, &place) ||
        (field = apr_table_get(r->headers_in, "If-None-Match")) == NULL || !is_informed() ||
        (tag = find_held(r, field, &known)) == NULL)
        return DECLINED;
    fs_reuse_match(field, tag, &held, &length);
    apr_table_setn(r->headers_out, "ETag", apr_pstrmemdup(r->pool, held, length));
    apr_table_setn(r->headers_out, "Vary",
                   apr_pstrcat(r->pool, known.vary, "Accept-Encoding", NULL));
    if (*known.control)
        apr_table_setn(r->headers_out, "Cache-Control", apr_pstrdup(r->pool, known.control));
    fs_reuse_count(FS_REUSE_EARLY, 1);
    return HTTP_NOT_MODIFIED;
}
