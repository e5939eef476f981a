/* SPDX-License-Identifier: Apache-2.0 */
/*
 * "Use what you have" for clients that can't send validators: devices and small programs. They say
 * FarmSync-Have, and are told so if the mirror in their session, or the check value that they send,
 * is that of the page as it is now.
 *
 * The mirror is an entry of the client's session (mod_session), so it goes wherever the session
 * goes, its copies included. A client without a session has none, and is served by check values
 * alone.
 */
#include "reuse.h"

#include <string.h>

#include <apr_strings.h>
#include <http_core.h>
#include <mod_session.h>

#include "module.h"
#include "reuse/fs_reuse_mirror.h"
#include "view.h"

#define HAVE  "FarmSync-Have"
#define USE   "FarmSync-Use"
#define ENTRY "farmsync-mirror"

static APR_OPTIONAL_FN_TYPE(ap_session_load) * session_load;
static APR_OPTIONAL_FN_TYPE(ap_session_get) * session_get;
static APR_OPTIONAL_FN_TYPE(ap_session_set) * session_set;

void fs_reuse_mirror_functions(void)
{
    session_load = APR_RETRIEVE_OPTIONAL_FN(ap_session_load);
    session_get = APR_RETRIEVE_OPTIONAL_FN(ap_session_get);
    session_set = APR_RETRIEVE_OPTIONAL_FN(ap_session_set);
}

int fs_reuse_wants_mirror(const request_rec *r, const fs_reuse_place_t *place)
{
    return place->mirror || apr_table_get(r->headers_in, HAVE) != NULL;
}

/* The client's session, and the mirror in it; NULL if it has none. */
static session_rec *read_mirror(request_rec *r, const fs_reuse_place_t *place,
                                fs_reuse_mirror_t *mirror)
{
    session_rec *session = NULL;
    const char *text = NULL;

    mirror->count = 0;
    if (!place->mirror || !session_load || !session_get || !session_set ||
        session_load(r, &session) != APR_SUCCESS || !session)
        return NULL;
    session_get(r, session, ENTRY, &text);
    fs_reuse_mirror_read(mirror, text);
    return session;
}

/* Whether the client's own check value is that of the page. */
static int has_crc(const fs_reuse_page_t *page, uint32_t crc)
{
    uint32_t now = 0;

    for (apr_bucket *bucket = APR_BRIGADE_FIRST(page->kept);
         bucket != APR_BRIGADE_SENTINEL(page->kept); bucket = APR_BUCKET_NEXT(bucket)) {
        const char *bytes;
        apr_size_t length;

        if (APR_BUCKET_IS_METADATA(bucket))
            continue;
        if (apr_bucket_read(bucket, &bytes, &length, APR_BLOCK_READ) != APR_SUCCESS)
            return 0;
        now = fs_reuse_crc32c(now, bytes, length);
    }
    return now == crc;
}

/* A session that begins for nothing but a mirror isn't worth it: anonymous visitors have none. */
static void write_mirror(request_rec *r, session_rec *session, fs_reuse_mirror_t *mirror,
                         const char *url, const char *tag)
{
    char text[FS_REUSE_MIRROR_SIZE];

    if (!session || apr_is_empty_table(session->entries) || !fs_reuse_mirror_put(mirror, url, tag))
        return;
    fs_reuse_mirror_write(mirror, text);
    session_set(r, session, ENTRY, apr_pstrdup(r->pool, text));
}

int fs_reuse_mirror(request_rec *r, const fs_reuse_page_t *page, const char *tag)
{
    const char *said = apr_table_get(r->headers_in, HAVE);
    const char *url = fs_view_first_request(r)->unparsed_uri;
    fs_reuse_mirror_t mirror;
    session_rec *session = read_mirror(r, &page->place, &mirror);
    int by_crc = 0, use = 0;
    uint32_t crc = 0;

    if (said && fs_reuse_have(said, &by_crc, &crc))
        use = by_crc ? has_crc(page, crc) : fs_reuse_mirror_holds(&mirror, url, tag);
    write_mirror(r, session, &mirror, url, tag);
    if (use)
        apr_table_setn(r->headers_out, USE, "?1");
    return use;
}
