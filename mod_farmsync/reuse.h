/* SPDX-License-Identifier: Apache-2.0 */
/*
 * FarmSyncReuse: no byte is sent twice to a client that holds it.
 *
 *   reuse_settings   directives and their merging
 *   reuse_request    what a conditional request says, in a form that everybody understands
 *   reuse_status     its part of the status page
 *   reuse_tag        the filter that gives a page its check value, and 304 to who holds the page
 *
 * The filter stands after those that make the page (SSI, PHP) and before those that compress it, so
 * that a page has one check value however it is sent.
 */
#ifndef FS_MOD_REUSE_H
#define FS_MOD_REUSE_H

#include <httpd.h>

#include <http_config.h>
#include <util_filter.h>

#include "reuse/fs_reuse_tag.h"

/* Of a place in the configuration. FS_UNSET where nothing was said. */
typedef struct fs_reuse_place_t {
    int on;
    apr_off_t limit; /* bytes of a page */
    int wait_ms;     /* for the rest of a page that isn't all there */
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

/* Rows of the table of directives. */
#define FS_REUSE_COMMANDS                                                                          \
    AP_INIT_FLAG("FarmSyncReuse", fs_reuse_set_on, NULL, RSRC_CONF | ACCESS_CONF,                  \
                 "On: pages get a check value, and who holds one is told so; default Off"),        \
        AP_INIT_TAKE1("FarmSyncReuseLimit", fs_reuse_set_limit, NULL, RSRC_CONF | ACCESS_CONF,     \
                      "largest page that is kept back until it is complete; default 512K"),        \
        AP_INIT_TAKE1("FarmSyncReuseWait", fs_reuse_set_wait, NULL, RSRC_CONF | ACCESS_CONF,       \
                      "how long a page may be kept back while nothing more of it comes, in "       \
                      "milliseconds; default 20")

/* What is counted, of all processes of this server since it was started. */
typedef struct fs_reuse_counts_t {
    apr_uint64_t tagged;   /* pages that got a check value */
    apr_uint64_t held;     /* 304 by the filter */
    apr_uint64_t spared;   /* bytes that weren't sent for that */
    apr_uint64_t streamed; /* pages left alone because they came in pieces */
    apr_uint64_t large;    /* ... because they were above the limit */
} fs_reuse_counts_t;

/* Registers hooks and the filter. */
void fs_reuse_register(void);
void fs_reuse_status_register(void);
/* 0 if nothing is counted: the module isn't configured. */
int fs_reuse_counts(fs_reuse_counts_t *counts);
/* The key of check values, read before the children are there. */
const fs_reuse_key_t *fs_reuse_key(void);

/* The filter's name, and what it does. */
#define FS_REUSE_FILTER "FARMSYNC_REUSE"
apr_status_t fs_reuse_filter(ap_filter_t *filter, apr_bucket_brigade *brigade);
/* fixups: lets handlers and filters know of tags without what compression added to them. */
int fs_reuse_fixup(request_rec *r);

typedef enum fs_reuse_count_t {
    FS_REUSE_TAGGED,
    FS_REUSE_HELD,
    FS_REUSE_SPARED,
    FS_REUSE_STREAMED,
    FS_REUSE_LARGE,
    FS_REUSE_COUNTS
} fs_reuse_count_t;
void fs_reuse_count(fs_reuse_count_t what, apr_uint64_t by);

#endif
