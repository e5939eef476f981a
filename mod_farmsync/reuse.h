/* SPDX-License-Identifier: Apache-2.0 */
/*
 * FarmSyncReuse: no byte is sent twice to a client that holds it.
 *
 *   reuse_settings   directives and their merging
 *   reuse_request    what a conditional request says, in a form that everybody understands
 *   reuse_status     its part of the status page
 *   reuse_page       the filter that keeps a page back until it is complete
 *   reuse_tag        its check value, and 304 to who holds the page
 *   reuse_known      304 before the page is made, while nothing has changed that it depends on
 *   reuse_mirror     "use what you have" for clients that can't send validators
 *   reuse_digest     Content-Digest and Repr-Digest
 *   reuse_difference its difference against another page that the client holds
 *
 * The filter stands after those that make the page (SSI, PHP) and before those that compress it, so
 * that a page has one check value however it is sent.
 */
#ifndef FS_MOD_REUSE_H
#define FS_MOD_REUSE_H

#include <httpd.h>

#include <http_config.h>
#include <util_filter.h>

#include "reuse/fs_reuse_store.h"
#include "reuse/fs_reuse_sum.h"
#include "reuse/fs_reuse_tag.h"

#define FS_REUSE_STORE_DEFAULT (UINT64_C(64) << 20) /* bytes */

#define FS_REUSE_MIRROR_END 1000000

/* Of a place in the configuration. FS_UNSET where nothing was said. */
typedef struct fs_reuse_place_t {
    int on;
    apr_off_t limit; /* bytes of a page */
    int wait_ms;     /* for the rest of a page that isn't all there */
    int differences;
    int mirror;        /* 0: none; carried at each so many changes, or FS_REUSE_MIRROR_END */
    const char *match; /* pattern of the URLs that a page is a dictionary for; NULL unset */
} fs_reuse_place_t;

void fs_reuse_create_place(fs_reuse_place_t *place);
void fs_reuse_merge_place(fs_reuse_place_t *place, const fs_reuse_place_t *outer,
                          const fs_reuse_place_t *inner);
/* What holds for a request, defaults filled in; 0 if reuse is off there. */
int fs_reuse_place(const request_rec *r, fs_reuse_place_t *place);
void fs_reuse_fill_place(fs_reuse_place_t *place);

const char *fs_reuse_set_on(cmd_parms *cmd, void *config, int value);
const char *fs_reuse_set_limit(cmd_parms *cmd, void *config, const char *value);
const char *fs_reuse_set_wait(cmd_parms *cmd, void *config, const char *value);
const char *fs_reuse_set_differences(cmd_parms *cmd, void *config, int value);
const char *fs_reuse_set_match(cmd_parms *cmd, void *config, const char *value);
const char *fs_reuse_set_mirror(cmd_parms *cmd, void *config, const char *value);
const char *fs_reuse_set_store(cmd_parms *cmd, void *unused, const char *value);

/* Rows of the table of directives. */
#define FS_REUSE_COMMANDS                                                                          \
    AP_INIT_FLAG("FarmSyncReuse", fs_reuse_set_on, NULL, RSRC_CONF | ACCESS_CONF,                  \
                 "On: pages get a check value, and who holds one is told so; default Off"),        \
        AP_INIT_TAKE1("FarmSyncReuseLimit", fs_reuse_set_limit, NULL, RSRC_CONF | ACCESS_CONF,     \
                      "largest page that is kept back until it is complete; default 512K"),        \
        AP_INIT_TAKE1("FarmSyncReuseWait", fs_reuse_set_wait, NULL, RSRC_CONF | ACCESS_CONF,       \
                      "how long a page may be kept back while nothing more of it comes, in "       \
                      "milliseconds; default 20"),                                                 \
        AP_INIT_FLAG("FarmSyncReuseDifferences", fs_reuse_set_differences, NULL,                   \
                     RSRC_CONF | ACCESS_CONF,                                                      \
                     "Off: no differences between pages here; default On, over TLS"),              \
        AP_INIT_TAKE1("FarmSyncReuseMirror", fs_reuse_set_mirror, NULL, RSRC_CONF | ACCESS_CONF,   \
                      "what clients were last sent is noted, and carried to their alternate: "     \
                      "change (or On), a number of changes, end; default Off"),                    \
        AP_INIT_TAKE1("FarmSyncReuseMatch", fs_reuse_set_match, NULL, RSRC_CONF | ACCESS_CONF,     \
                      "pattern of the URLs that a page helps to send; default its own"),           \
        AP_INIT_TAKE1("FarmSyncReuseStore", fs_reuse_set_store, NULL, RSRC_CONF,                   \
                      "memory for the pages that clients hold; default 64M, 0: no differences")

/* What is counted, of all processes of this server since it was started. */
typedef enum fs_reuse_count_t {
    FS_REUSE_TAGGED,     /* pages that got a check value */
    FS_REUSE_HELD,       /* 304 by the filter */
    FS_REUSE_EARLY,      /* 304 before the page was made */
    FS_REUSE_DIFFERED,   /* pages sent as a difference */
    FS_REUSE_SPARED,     /* bytes that weren't sent for these */
    FS_REUSE_STREAMED,   /* pages left alone because they came in pieces */
    FS_REUSE_LARGE,      /* ... because they were above the limit */
    FS_REUSE_MIRRORED,   /* answers "use what you have" by a mirror */
    FS_REUSE_DICTIONARY, /* dictionaries that clients named and this server hasn't */
    FS_REUSE_REMAPPED,   /* files that were replaced under a process, which maps them anew */
    FS_REUSE_COUNTS
} fs_reuse_count_t;

/* Registers hooks and the filter. */
void fs_reuse_register(void);
void fs_reuse_status_register(void);

void fs_reuse_count(fs_reuse_count_t what, apr_uint64_t by);
/* 0 if nothing is counted: reuse is nowhere on. */
int fs_reuse_counts(apr_uint64_t counts[FS_REUSE_COUNTS]);
/* The key of check values, read before the children are there; NULL if there is none. */
fs_reuse_key_t *fs_reuse_key(void);
/* The pages that clients hold; NULL: no differences. */
fs_reuse_store_t *fs_reuse_store(void);

/* fixups: lets handlers and filters know of tags without what compression added to them. */
int fs_reuse_fixup(request_rec *r);

/* --- the filter ---------------------------------------------------------------------------------
 */

#define FS_REUSE_FILTER "FARMSYNC_REUSE"
apr_status_t fs_reuse_filter(ap_filter_t *filter, apr_bucket_brigade *brigade);

/* A page that is being kept back. */
typedef struct fs_reuse_page_t {
    fs_reuse_place_t place;
    apr_bucket_brigade *kept;
    apr_off_t length;
    apr_interval_time_t waited;
    fs_reuse_sum_t *sum; /* NULL: it isn't to get a check value */
    int tags;            /* the check value is to go out as ETag */
    int mirrors;         /* it is for a mirror, or the client says what it has */
    const char *depends; /* what its maker says it depends on; NULL: nothing was said */
    int differs;         /* it may be sent as a difference, and be one's base from now on */
    const char *body;    /* what clients will hold, once it is whole; length as above */
} fs_reuse_page_t;

int fs_reuse_may_be_stored(request_rec *r);
/* A header of the response, whichever table it is in. */
const char *fs_reuse_header(const request_rec *r, const char *name);
/* What was kept back (NULL: nothing) goes out, then `brigade` and all that comes. */
apr_status_t fs_reuse_let_go(ap_filter_t *filter, apr_bucket_brigade *kept,
                             apr_bucket_brigade *brigade);
/* Takes out the filters that would compress, and says in Vary what they would have said. */
void fs_reuse_take_compressors_out(ap_filter_t *filter);

/* Whether the page is to get a check value. */
int fs_reuse_wants_tag(const request_rec *r);
/* The page is whole: gives it its check value. 1 if the answer has become a 304 without it. */
int fs_reuse_tag(ap_filter_t *filter, fs_reuse_page_t *page);

/* --- known pages ---------------------------------------------------------------------------------
 */

void fs_reuse_known_prepare(server_rec *server, apr_pool_t *pool, apr_uid_t uid, apr_gid_t gid);
void fs_reuse_known_child_init(apr_pool_t *pchild, server_rec *server);
/* Notes when the making of a page begins: before anything that it depends on is looked at. */
void fs_reuse_known_begin(request_rec *r);
/* A dataset is being read for this request. */
void fs_reuse_known_read(request_rec *r, const char *dataset, apr_size_t length);
/* What the response's FarmSync-Depends says, which is taken out of it. */
const char *fs_reuse_known_take(request_rec *r);
/* Remembers what a page with this tag depends on. */
void fs_reuse_known_put(request_rec *r, const fs_reuse_page_t *page, const char *tag);
/* Handler, before all others: 304 if the client holds a known page that is unchanged. */
int fs_reuse_known_handler(request_rec *r);

/* --- digests -------------------------------------------------------------------------------------
 */

#define FS_REUSE_DIGEST_FILTER "FARMSYNC_REUSE_DIGEST"
int fs_reuse_wants_digest(const request_rec *r);
apr_status_t fs_reuse_digest_filter(ap_filter_t *filter, apr_bucket_brigade *brigade);

/* --- mirrors -------------------------------------------------------------------------------------
 */

/* optional_fn_retrieve: mod_session's functions, and routing's. */
void fs_reuse_mirror_functions(void);
void fs_reuse_mirror_prepare(server_rec *server, apr_pool_t *pool, apr_uid_t uid, apr_gid_t gid);
void fs_reuse_mirror_child_init(apr_pool_t *pchild, server_rec *server);
/* header_parser, after routing's: a visitor's mirror follows him, and goes to his alternate,
 * whatever he asks for. */
int fs_reuse_mirror_move(request_rec *r);
/* Whether the page's check value is wanted for a mirror, or for what the client says it has. */
int fs_reuse_wants_mirror(const request_rec *r, const fs_reuse_place_t *place);
/* Notes what the client is sent. 1 if it says that it has just that, and so is to use it. */
int fs_reuse_mirror(request_rec *r, const fs_reuse_page_t *page, const char *tag);

/* Whether the page may be sent as a difference, or be the base of one. */
int fs_reuse_wants_difference(request_rec *r, const fs_reuse_place_t *place);
/* The page is whole: replaces it by a difference if the client can use one. */
void fs_reuse_differ(ap_filter_t *filter, fs_reuse_page_t *page);

/* Comes after mod_headers: keeps a page for later if it may be kept at all. Its context is the
 * page. */
#define FS_REUSE_KEEP_FILTER "FARMSYNC_REUSE_KEEP"
apr_status_t fs_reuse_keep_filter(ap_filter_t *filter, apr_bucket_brigade *brigade);

#endif
