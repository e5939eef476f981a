/* SPDX-License-Identifier: Apache-2.0 */
/* The directives of availability: which URLs are which application, and how one says that it is
 * down. All of them also per virtual host. */
#ifndef FS_AVAIL_SETTINGS_H
#define FS_AVAIL_SETTINGS_H

#include <ap_expr.h>
#include <apr_hash.h>
#include <http_config.h>
#include <httpd.h>

#define FS_AVAIL_RETRY_DEFAULT 60                      /* seconds */
#define FS_AVAIL_BODY_DEFAULT  (APR_INT64_C(16) << 20) /* bytes */

typedef struct fs_avail_prefix_t {
    const char *path; /* without a slash at its end; "" is everything */
    const char *application;
    int index; /* of the application, once the configuration is complete */
} fs_avail_prefix_t;

typedef struct fs_avail_document_t {
    const char *application; /* NULL: all */
    const char *language;    /* NULL: any */
    const char *name;        /* as it was given */
    const char *text;        /* HTML; NULL: httpd's ErrorDocument answers */
    apr_size_t length;
} fs_avail_document_t;

typedef struct fs_avail_status_t {
    const char *application; /* NULL: all */
    int status;
} fs_avail_status_t;

typedef struct fs_avail_bypass_t {
    const ap_expr_info_t *expression;
    int late; /* it asks for what is known only at fixups */
} fs_avail_bypass_t;

typedef struct fs_avail_application_t {
    const char *name;
    apr_array_header_t *uses; /* of const char *, what it can't do without; NULL: nothing */
} fs_avail_application_t;

/* Of a server. Arrays are NULL where nothing was said. */
typedef struct fs_avail_settings_t {
    apr_array_header_t *prefixes;  /* of fs_avail_prefix_t */
    apr_array_header_t *documents; /* of fs_avail_document_t; the inner server's first */
    apr_array_header_t *statuses;  /* of fs_avail_status_t */
    apr_array_header_t *bypasses;  /* of fs_avail_bypass_t */
    const char *language;
    int retry;                        /* seconds; FS_UNSET */
    apr_off_t body;                   /* bytes; FS_UNSET */
    int late_bypass;                  /* one of the bypasses is late; when complete */
    apr_hash_t *lookup;               /* path -> fs_avail_prefix_t, when complete */
    int depth;                        /* of the longest path, in segments */
    apr_array_header_t *uses;         /* of the whole server: pairs of const char * */
    apr_array_header_t *applications; /* of the whole server: fs_avail_application_t */
} fs_avail_settings_t;

fs_avail_settings_t *fs_avail_settings_create(apr_pool_t *pool);
fs_avail_settings_t *fs_avail_settings_merge(apr_pool_t *pool, const fs_avail_settings_t *base,
                                             const fs_avail_settings_t *add);
/* Makes the look-up tables of all servers, once the configuration was read whole. */
void fs_avail_settings_complete(apr_pool_t *pool, server_rec *main_server);

/* The settings of a server; the applications of all of them. */
const fs_avail_settings_t *fs_avail_settings(const server_rec *server);
const fs_avail_application_t *fs_avail_application(const server_rec *main_server, int index);
int fs_avail_application_count(const server_rec *main_server);
/* Index of the application with this name, -1 if there is none. */
int fs_avail_application_find(const server_rec *main_server, const char *name);
/* Index of the application that a path belongs to (the longest prefix counts), -1 if to none. */
int fs_avail_settings_match(const fs_avail_settings_t *settings, const char *path);

/* What holds for an application. */
int fs_avail_settings_status(const fs_avail_settings_t *settings, const char *application);
const fs_avail_document_t *fs_avail_settings_document(const fs_avail_settings_t *settings,
                                                      const char *application,
                                                      const char *language);

const char *fs_avail_add_application(cmd_parms *cmd, void *unused, int count,
                                     char *const arguments[]);
const char *fs_avail_add_uses(cmd_parms *cmd, void *unused, const char *name, const char *other);
const char *fs_avail_add_bypass(cmd_parms *cmd, void *unused, const char *expression);
const char *fs_avail_add_document(cmd_parms *cmd, void *unused, int count, char *const arguments[]);
const char *fs_avail_add_status(cmd_parms *cmd, void *unused, int count, char *const arguments[]);
const char *fs_avail_set_language(cmd_parms *cmd, void *unused, const char *value);
const char *fs_avail_set_retry(cmd_parms *cmd, void *unused, const char *value);
const char *fs_avail_set_body(cmd_parms *cmd, void *unused, const char *value);

/* Rows of the table of directives. */
#define FS_AVAIL_COMMANDS                                                                          \
    AP_INIT_TAKE_ARGV("FarmSyncApplication", fs_avail_add_application, NULL, RSRC_CONF,            \
                      "name of an application and the paths that it begins with; default /"),      \
        AP_INIT_ITERATE2("FarmSyncApplicationUses", fs_avail_add_uses, NULL, RSRC_CONF,            \
                         "name of an application and what it can't do without"),                   \
        AP_INIT_RAW_ARGS("FarmSyncAvailable", fs_avail_add_bypass, NULL, RSRC_CONF,                \
                         "expression: requests for which it holds are never refused"),             \
        AP_INIT_TAKE_ARGV("FarmSyncAvailDocument", fs_avail_add_document, NULL, RSRC_CONF,         \
                          "HTML file that says that an application is down, or ErrorDocument; "    \
                          "application=NAME language=TAG"),                                        \
        AP_INIT_TAKE_ARGV("FarmSyncAvailStatus", fs_avail_add_status, NULL, RSRC_CONF,             \
                          "status of a refusal, default 503, and for which applications"),         \
        AP_INIT_TAKE1("FarmSyncAvailLanguage", fs_avail_set_language, NULL, RSRC_CONF,             \
                      "language of refusals if the visitor wants none of those there are"),        \
        AP_INIT_TAKE1("FarmSyncAvailRetry", fs_avail_set_retry, NULL, RSRC_CONF,                   \
                      "Retry-After of a refusal whose end isn't known, in seconds; default 60"),   \
        AP_INIT_TAKE1("FarmSyncAvailBody", fs_avail_set_body, NULL, RSRC_CONF,                     \
                      "how much of a refused request's body is read, in bytes; default 16M")

#endif
