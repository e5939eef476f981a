/* SPDX-License-Identifier: Apache-2.0 */
/*
 * "Use what you have" for clients that can't send validators: devices and small programs. They say
 * FarmSync-Have, and are told so if their mirror, or the check value that they send, is that of the
 * page as it is now.
 *
 * A client that has a home (FarmSyncRoute) is known by its affinity cookie, which only the farm can
 * sign: its mirror is in a file of this host, and the agent carries it to the client's alternate
 * (fs_reuse_mirrors.h). Else the mirror is an entry of the client's session (mod_session), so it
 * goes wherever the session goes, its copies included. A client without either is served by check
 * values alone. Who never says FarmSync-Have has no mirror.
 */
#include "reuse.h"

#include <stdatomic.h>
#include <string.h>

#include <apr_strings.h>
#include <http_core.h>
#include <mod_session.h>

#include "module.h"
#include "parts.h"
#include "reuse/fs_reuse_mirrors.h"
#include "settings.h"
#include "view.h"

#define HAVE       "FarmSync-Have"
#define USE        "FarmSync-Use"
#define ENTRY      "farmsync-mirror"
#define LOOK_AGAIN FS_USEC_PER_SEC /* for a file that can't be had */

static APR_OPTIONAL_FN_TYPE(ap_session_load) * session_load;
static APR_OPTIONAL_FN_TYPE(ap_session_get) * session_get;
static APR_OPTIONAL_FN_TYPE(ap_session_set) * session_set;
static APR_OPTIONAL_FN_TYPE(farmsync_visitor) * visitor_of;
/* Each child's own; NULL: no places with mirrors, or the file can't be had. One that was replaced
 * stays mapped: other threads may be reading there. */
static _Atomic(fs_reuse_mirrors_t *) mirrors;
static const char *mirrors_path;   /* NULL: no places with mirrors */
static _Atomic int64_t look_again; /* mono */

void fs_reuse_mirror_functions(void)
{
    session_load = APR_RETRIEVE_OPTIONAL_FN(ap_session_load);
    session_get = APR_RETRIEVE_OPTIONAL_FN(ap_session_get);
    session_set = APR_RETRIEVE_OPTIONAL_FN(ap_session_set);
    visitor_of = APR_RETRIEVE_OPTIONAL_FN(farmsync_visitor);
}

static const char *path_of(server_rec *server, apr_pool_t *pool)
{
    return apr_pstrcat(pool, fs_settings(server)->state_dir, "/reuse-mirrors", NULL);
}

static void complain(server_rec *server, const fs_result_t *result)
{
    ap_log_error(APLOG_MARK, APLOG_WARNING, result->status, server, "%s: %s", result->problem,
                 result->detail);
}

/* Whether any virtual host has a place with a mirror. */
static int used_anywhere(server_rec *server)
{
    for (; server; server = server->next) {
        const fs_settings_t *settings =
            ap_get_module_config(server->module_config, &farmsync_module);

        if (settings->reuse_mirrors)
            return 1;
    }
    return 0;
}

void fs_reuse_mirror_prepare(server_rec *server, apr_pool_t *pool, apr_uid_t uid, apr_gid_t gid)
{
    fs_result_t result;

    if (fs_settings(server)->state_dir && used_anywhere(server) &&
        fs_reuse_mirrors_prepare(path_of(server, pool), uid, gid, &result))
        complain(server, &result);
}

/* The parent prepared it; a process that starts later may find that it was removed. */
static fs_reuse_mirrors_t *make_and_map(server_rec *server)
{
    fs_reuse_mirrors_t *mapped = NULL;
    fs_result_t result;

    if (fs_reuse_mirrors_prepare(mirrors_path, (uint32_t)-1, (uint32_t)-1, &result) ||
        fs_reuse_mirrors_open(&mapped, mirrors_path, &result))
        complain(server, &result);
    return mapped;
}

void fs_reuse_mirror_child_init(apr_pool_t *pchild, server_rec *server)
{
    mirrors_path = used_anywhere(server) ? path_of(server, pchild) : NULL;
    atomic_store(&mirrors, mirrors_path ? make_and_map(server) : NULL);
}

/*
 * What holds now. In a file that was replaced, by an operator or at a restart with another release,
 * stands what clients were sent once: other processes note elsewhere what they send them.
 */
static fs_reuse_mirrors_t *current_mirrors(server_rec *server)
{
    fs_reuse_mirrors_t *mapped = atomic_load(&mirrors);
    fs_usec_t now;
    int64_t look;

    if (!mirrors_path || (mapped && fs_reuse_mirrors_current(mapped, mirrors_path)))
        return mapped;
    now = fs_time_mono();
    look = atomic_load(&look_again);
    if (now < look || !atomic_compare_exchange_strong(&look_again, &look, now + LOOK_AGAIN))
        return NULL; /* another thread is at it, or it failed a moment ago */
    mapped = make_and_map(server);
    atomic_store(&mirrors, mapped);
    if (!mapped)
        return NULL;
    atomic_store(&look_again, 0);
    fs_reuse_count(FS_REUSE_REMAPPED, 1);
    ap_log_error(APLOG_MARK, APLOG_INFO, 0, server,
                 "FS1713: %s is another file than before: this process reads that one now",
                 mirrors_path);
    return mapped;
}

int fs_reuse_wants_mirror(const request_rec *r, const fs_reuse_place_t *place)
{
    return place->mirror || apr_table_get(r->headers_in, HAVE) != NULL;
}

/* Where a client's mirror is kept, and what it says. */
typedef struct kept_t {
    fs_reuse_mirrors_t *mirrors; /* by visitor; NULL: by its session, or nowhere */
    fs_reuse_client_t client;    /* by visitor */
    session_rec *session;        /* NULL: it has none, or none but for a mirror */
    int begun;                   /* there is a mirror */
    fs_reuse_mirror_t mirror;
} kept_t;

static fs_reuse_client_t client_of(const farmsync_visitor_t *visitor)
{
    fs_reuse_client_t client = {.generation = visitor->generation, .alternate = visitor->alternate};

    memcpy(client.id, visitor->id, sizeof(client.id));
    return client;
}

int fs_reuse_mirror_move(request_rec *r)
{
    farmsync_visitor_t visitor;
    fs_reuse_mirrors_t *mapped;

    if (mirrors_path && visitor_of && visitor_of(r, &visitor) && visitor.here && visitor.moved &&
        (mapped = current_mirrors(r->server)) != NULL) {
        fs_reuse_client_t client = client_of(&visitor);

        fs_reuse_mirrors_move(mapped, &client);
    }
    return DECLINED;
}

/* The visitor, if this server is his home; another one's is kept there. */
static int read_visitor(request_rec *r, const fs_reuse_place_t *place, kept_t *kept)
{
    farmsync_visitor_t visitor;

    if (!mirrors_path || !visitor_of || !visitor_of(r, &visitor) || !visitor.here)
        return 0;
    kept->mirrors = current_mirrors(r->server);
    if (!kept->mirrors)
        return 1; /* not by its session: what that says may be older than what was here */
    kept->client = client_of(&visitor);
    kept->client.each = place->mirror == FS_REUSE_MIRROR_END ? FS_REUSE_AT_END : place->mirror;
    kept->begun = fs_reuse_mirrors_get(kept->mirrors, &kept->client, &kept->mirror);
    return 1;
}

/* A session that begins for nothing but a mirror isn't worth it: anonymous visitors have none. */
static void read_session(request_rec *r, kept_t *kept)
{
    session_rec *session = NULL;
    const char *text = NULL;

    if (!session_load || !session_get || !session_set || session_load(r, &session) != APR_SUCCESS ||
        !session)
        return;
    session_get(r, session, ENTRY, &text);
    fs_reuse_mirror_read(&kept->mirror, text);
    kept->begun = text != NULL;
    if (!apr_is_empty_table(session->entries))
        kept->session = session;
}

static void read_mirror(request_rec *r, const fs_reuse_place_t *place, kept_t *kept)
{
    memset(kept, 0, sizeof(*kept));
    if (place->mirror && !read_visitor(r, place, kept))
        read_session(r, kept);
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

static void write_mirror(request_rec *r, kept_t *kept, const char *url, const char *tag)
{
    char text[FS_REUSE_MIRROR_SIZE];

    if (kept->mirrors) {
        fs_reuse_mirrors_put(kept->mirrors, &kept->client, url, tag, fs_time_mono());
        return;
    }
    if (!kept->session || !fs_reuse_mirror_put(&kept->mirror, url, tag))
        return;
    fs_reuse_mirror_write(&kept->mirror, text);
    session_set(r, kept->session, ENTRY, apr_pstrdup(r->pool, text));
}

int fs_reuse_mirror(request_rec *r, const fs_reuse_page_t *page, const char *tag)
{
    const char *said = apr_table_get(r->headers_in, HAVE);
    const char *url = fs_view_first_request(r)->unparsed_uri;
    int by_crc = 0, use = 0;
    uint32_t crc = 0;
    kept_t kept;

    read_mirror(r, &page->place, &kept);
    if (said && fs_reuse_have(said, &by_crc, &crc))
        use = by_crc ? has_crc(page, crc) : fs_reuse_mirror_holds(&kept.mirror, url, tag);
    /* Who asks for the head or for a part of it doesn't have it afterwards. */
    if ((said || kept.begun) && !r->header_only && !apr_table_get(r->headers_in, "Range"))
        write_mirror(r, &kept, url, tag);
    if (use)
        apr_table_setn(r->headers_out, USE, "?1");
    if (use && !by_crc)
        fs_reuse_count(FS_REUSE_MIRRORED, 1);
    return use;
}
