/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The directives of availability: reading, merging, and the tables that requests look into.
 *
 * A virtual host has the applications of the main server and its own; its own path wins. Of other
 * settings the inner one counts if it was said. A path belongs to one application: the one with the
 * longest prefix, as with ProxyPass and Alias, whatever the order in the file.
 */
#include "avail_settings.h"

#include <string.h>
#include <strings.h>

#include <apr_strings.h>
#include <http_core.h>

#include "avail/fs_notice.h"
#include "avail_condition.h"
#include "base/fs_name.h"
#include "module.h"
#include "settings.h"

#define DOCUMENT_LIMIT (256 * 1024)
#define RETRY_MAX      86400

fs_avail_settings_t *fs_avail_settings_create(apr_pool_t *pool)
{
    fs_avail_settings_t *settings = apr_pcalloc(pool, sizeof(*settings));

    settings->retry = FS_UNSET;
    settings->body = FS_UNSET;
    return settings;
}

/* The second array before the first, so that a search finds what is inner and later. */
static apr_array_header_t *joined(apr_pool_t *pool, const apr_array_header_t *base,
                                  const apr_array_header_t *add)
{
    const apr_array_header_t *first = add ? add : base;

    if (!first)
        return NULL;
    return add && base ? apr_array_append(pool, add, base) : apr_array_copy(pool, first);
}

fs_avail_settings_t *fs_avail_settings_merge(apr_pool_t *pool, const fs_avail_settings_t *base,
                                             const fs_avail_settings_t *add)
{
    fs_avail_settings_t *settings = fs_avail_settings_create(pool);

    settings->prefixes = joined(pool, base->prefixes, add->prefixes);
    settings->documents = joined(pool, base->documents, add->documents);
    settings->statuses = joined(pool, base->statuses, add->statuses);
    settings->bypasses = joined(pool, base->bypasses, add->bypasses);
    settings->language = add->language ? add->language : base->language;
    settings->retry = add->retry != FS_UNSET ? add->retry : base->retry;
    settings->body = add->body != FS_UNSET ? add->body : base->body;
    return settings;
}

static fs_avail_settings_t *settings_of(const server_rec *server)
{
    const fs_settings_t *settings = ap_get_module_config(server->module_config, &farmsync_module);

    return settings->avail;
}

const fs_avail_settings_t *fs_avail_settings(const server_rec *server)
{
    return settings_of(server);
}

/* --- reading ------------------------------------------------------------------------------------
 */

static void *push(cmd_parms *cmd, apr_array_header_t **array, int size)
{
    if (!*array)
        *array = apr_array_make(cmd->pool, 4, size);
    return apr_array_push(*array);
}

static const char *bad_name(cmd_parms *cmd, const char *number, const char *name)
{
    return apr_psprintf(cmd->pool,
                        "%s: %s \"%s\": a name has 1 to 64 letters, digits, '.', '_', ':' or '-'",
                        number, cmd->cmd->name, name);
}

/* A path as requests have it after decoding, its slash at the end taken off; NULL if it is none. */
static char *path_of(cmd_parms *cmd, const char *value)
{
    char *path = apr_pstrdup(cmd->pool, value);
    size_t length = strlen(path);

    if (*path != '/' || strpbrk(path, "?#%\\*") || strstr(path, "//") || strstr(path, "/./") ||
        strstr(path, "/../"))
        return NULL;
    if (path[length - 1] == '/')
        path[length - 1] = '\0';
    return path;
}

static const char *add_prefix(cmd_parms *cmd, const char *name, const char *value)
{
    fs_avail_settings_t *settings = settings_of(cmd->server);
    const char *path = path_of(cmd, value);
    fs_avail_prefix_t *prefix;

    if (!path)
        return apr_psprintf(cmd->pool,
                            "FS1530: FarmSyncApplication %s \"%s\": give a path that begins with "
                            "'/', decoded, without //, /./, /../ or a query; to match by other "
                            "things than the path, give the notice a condition",
                            name, value);
    for (int i = 0; settings->prefixes && i < settings->prefixes->nelts; i++) {
        prefix = &APR_ARRAY_IDX(settings->prefixes, i, fs_avail_prefix_t);
        if (!strcmp(prefix->path, path) && strcmp(prefix->application, name) != 0)
            return apr_psprintf(cmd->pool,
                                "FS1530: FarmSyncApplication %s \"%s\": this path belongs to %s "
                                "already; a path belongs to one application",
                                name, value, prefix->application);
    }
    prefix = push(cmd, &settings->prefixes, sizeof(*prefix));
    prefix->path = path;
    prefix->application = name;
    return NULL;
}

const char *fs_avail_add_application(cmd_parms *cmd, void *unused, int count,
                                     char *const arguments[])
{
    const char *error = ap_check_cmd_context(cmd, NOT_IN_DIR_CONTEXT);

    if (error)
        return error;
    if (!count || !fs_name_is_good(arguments[0]))
        return bad_name(cmd, "FS1530", count ? arguments[0] : "");
    if (count == 1)
        return add_prefix(cmd, arguments[0], "/");
    for (int i = 1; i < count && !error; i++)
        error = add_prefix(cmd, arguments[0], arguments[i]);
    return error;
}

const char *fs_avail_add_uses(cmd_parms *cmd, void *unused, const char *name, const char *other)
{
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    const char **pair;

    if (error)
        return error;
    if (!fs_name_is_good(name) || !fs_name_is_good(other))
        return bad_name(cmd, "FS1531", fs_name_is_good(name) ? other : name);
    pair = push(cmd, &settings_of(cmd->server)->uses, 2 * sizeof(*pair));
    pair[0] = name;
    pair[1] = other;
    return NULL;
}

/* The rest of the line, without the quotes around it. */
static const char *raw_argument(cmd_parms *cmd, const char *rest)
{
    const char *word = ap_getword_conf(cmd->pool, &rest);

    return *rest ? NULL : word;
}

const char *fs_avail_add_bypass(cmd_parms *cmd, void *unused, const char *rest)
{
    const char *error = ap_check_cmd_context(cmd, NOT_IN_DIR_CONTEXT);
    const char *expression = raw_argument(cmd, rest);
    fs_avail_bypass_t *bypass;
    ap_expr_info_t *info;

    if (error)
        return error;
    if (!expression || !*expression)
        return "FS1532: FarmSyncAvailable: give one expression, in quotes";
    info = ap_expr_parse_cmd(cmd, expression, AP_EXPR_FLAG_DONT_VARY, &error, NULL);
    if (error)
        return apr_psprintf(cmd->pool, "FS1532: FarmSyncAvailable: the expression is not one: %s",
                            error);
    bypass = push(cmd, &settings_of(cmd->server)->bypasses, sizeof(*bypass));
    bypass->expression = info;
    bypass->late = fs_avail_condition_is_late(expression);
    return NULL;
}

static const char *read_document(cmd_parms *cmd, fs_avail_document_t *document)
{
    char *path = ap_server_root_relative(cmd->pool, document->name), *text;
    apr_status_t status = APR_EBADPATH;
    apr_file_t *file = NULL;
    apr_finfo_t info;

    if (path)
        status = apr_file_open(&file, path, APR_FOPEN_READ, 0, cmd->temp_pool);
    if (!status)
        status = apr_file_info_get(&info, APR_FINFO_SIZE | APR_FINFO_TYPE, file);
    if (!status && (info.filetype != APR_REG || info.size > DOCUMENT_LIMIT))
        status = APR_EBADPATH;
    if (!status) {
        text = apr_pcalloc(cmd->pool, (apr_size_t)info.size + 1);
        status = apr_file_read_full(file, text, (apr_size_t)info.size, &document->length);
        document->text = text;
    }
    if (file)
        apr_file_close(file);
    if (!status)
        return NULL;
    return apr_psprintf(cmd->pool,
                        "FS1533: FarmSyncAvailDocument \"%s\" is not a file of at most %d KiB that "
                        "can be read (%pm): make it, or correct the path",
                        document->name, DOCUMENT_LIMIT / 1024, &status);
}

const char *fs_avail_add_document(cmd_parms *cmd, void *unused, int count, char *const arguments[])
{
    const char *error = ap_check_cmd_context(cmd, NOT_IN_DIR_CONTEXT);
    fs_avail_document_t document = {0};

    if (error)
        return error;
    for (int i = 1; i < count; i++) {
        if (!strncasecmp(arguments[i], "application=", 12))
            document.application = arguments[i] + 12;
        else if (!strncasecmp(arguments[i], "language=", 9))
            document.language = arguments[i] + 9;
        else
            error = arguments[i];
    }
    if (!count || error || (document.application && !fs_name_is_good(document.application)) ||
        (document.language && !*document.language))
        return "FS1533: FarmSyncAvailDocument: give a file (or the word ErrorDocument), and if "
               "need be application=NAME and language=TAG";
    document.name = arguments[0];
    if (strcasecmp(document.name, "ErrorDocument") != 0 && (error = read_document(cmd, &document)))
        return error;
    *(fs_avail_document_t *)push(cmd, &settings_of(cmd->server)->documents, sizeof(document)) =
        document;
    return NULL;
}

const char *fs_avail_add_status(cmd_parms *cmd, void *unused, int count, char *const arguments[])
{
    const char *error = ap_check_cmd_context(cmd, NOT_IN_DIR_CONTEXT);
    fs_avail_status_t status = {0};

    if (error)
        return error;
    if (count)
        status.status = (int)apr_atoi64(arguments[0]);
    if (status.status < 400 || status.status > 599 || strlen(arguments[0]) != 3 ||
        status.status == HTTP_UNAUTHORIZED || status.status == HTTP_PROXY_AUTHENTICATION_REQUIRED)
        return "FS1534: FarmSyncAvailStatus: give a status from 400 to 599, but not 401 or 407, "
               "and if need be the applications that it is for; search engines understand only "
               "503 as a pause";
    for (int i = 1; i < count || i == 1; i++) {
        status.application = i < count ? arguments[i] : NULL;
        if (status.application && !fs_name_is_good(status.application))
            return bad_name(cmd, "FS1534", status.application);
        *(fs_avail_status_t *)push(cmd, &settings_of(cmd->server)->statuses, sizeof(status)) =
            status;
    }
    return NULL;
}

const char *fs_avail_set_language(cmd_parms *cmd, void *unused, const char *value)
{
    const char *error = ap_check_cmd_context(cmd, NOT_IN_DIR_CONTEXT);

    if (error)
        return error;
    if (!*value || strlen(value) >= FS_NOTICE_LANGUAGE_SIZE ||
        strspn(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") !=
            strlen(value))
        return apr_psprintf(cmd->pool,
                            "FS1535: FarmSyncAvailLanguage \"%s\": give a tag such as en or pt-BR",
                            value);
    settings_of(cmd->server)->language = value;
    return NULL;
}

const char *fs_avail_set_retry(cmd_parms *cmd, void *unused, const char *value)
{
    const char *error = ap_check_cmd_context(cmd, NOT_IN_DIR_CONTEXT);
    char *end;
    apr_int64_t seconds = apr_strtoi64(value, &end, 10);

    if (error)
        return error;
    if (*end || seconds < 1 || seconds > RETRY_MAX)
        return apr_psprintf(cmd->pool, "FS1536: FarmSyncAvailRetry \"%s\": give 1 to %d seconds",
                            value, RETRY_MAX);
    settings_of(cmd->server)->retry = (int)seconds;
    return NULL;
}

/* A number of bytes, with K, M or G behind it if need be; -1 if it is none. */
static apr_off_t bytes_of(const char *value)
{
    char *end;
    apr_int64_t number = apr_strtoi64(value, &end, 10);
    int shift = *end == 'K' || *end == 'k'   ? 10
                : *end == 'M' || *end == 'm' ? 20
                : *end == 'G' || *end == 'g' ? 30
                                             : 0;

    if (end == value || number < 0 || number > (APR_INT64_C(1) << 32) || (shift && end[1]) ||
        (!shift && *end))
        return -1;
    return (apr_off_t)(number << shift);
}

const char *fs_avail_set_body(cmd_parms *cmd, void *unused, const char *value)
{
    const char *error = ap_check_cmd_context(cmd, NOT_IN_DIR_CONTEXT);
    apr_off_t bytes = bytes_of(value);

    if (error)
        return error;
    if (bytes < 0)
        return apr_psprintf(cmd->pool,
                            "FS1537: FarmSyncAvailBody \"%s\": give a number of bytes, as in 65536 "
                            "or 64K or 16M",
                            value);
    settings_of(cmd->server)->body = bytes;
    return NULL;
}

/* --- the whole ----------------------------------------------------------------------------------
 */

static int find_application(const apr_array_header_t *applications, const char *name)
{
    for (int i = 0; i < applications->nelts; i++) {
        if (!strcmp(APR_ARRAY_IDX(applications, i, fs_avail_application_t).name, name))
            return i;
    }
    return -1;
}

/* As find_application, by a table that serves while the configuration is completed. */
static int index_of(apr_hash_t *known, apr_array_header_t *applications, const char *name)
{
    int *index = apr_hash_get(known, name, APR_HASH_KEY_STRING);
    fs_avail_application_t *application;

    if (index)
        return *index;
    index = apr_palloc(applications->pool, sizeof(*index));
    *index = applications->nelts;
    application = apr_array_push(applications);
    application->name = name;
    application->uses = NULL;
    apr_hash_set(known, name, APR_HASH_KEY_STRING, index);
    return *index;
}

static int depth_of(const char *path)
{
    int depth = 0;

    for (; *path; path++)
        depth += *path == '/';
    return depth;
}

static void complete_server(apr_pool_t *pool, fs_avail_settings_t *settings, apr_hash_t *known,
                            apr_array_header_t *applications)
{
    settings->lookup = apr_hash_make(pool);
    settings->depth = 0;
    for (int i = 0; settings->prefixes && i < settings->prefixes->nelts; i++) {
        fs_avail_prefix_t *prefix = &APR_ARRAY_IDX(settings->prefixes, i, fs_avail_prefix_t);

        prefix->index = index_of(known, applications, prefix->application);
        if (depth_of(prefix->path) > settings->depth)
            settings->depth = depth_of(prefix->path);
        /* Of two with the same path the inner one, which comes first, stays. */
        if (!apr_hash_get(settings->lookup, prefix->path, APR_HASH_KEY_STRING))
            apr_hash_set(settings->lookup, prefix->path, APR_HASH_KEY_STRING, prefix);
    }
    settings->late_bypass = 0;
    for (int i = 0; settings->bypasses && i < settings->bypasses->nelts; i++)
        settings->late_bypass |= APR_ARRAY_IDX(settings->bypasses, i, fs_avail_bypass_t).late;
    if (settings->retry == FS_UNSET)
        settings->retry = FS_AVAIL_RETRY_DEFAULT;
    if (settings->body == FS_UNSET)
        settings->body = FS_AVAIL_BODY_DEFAULT;
}

void fs_avail_settings_complete(apr_pool_t *pool, server_rec *main_server)
{
    fs_avail_settings_t *main_settings = settings_of(main_server);
    apr_array_header_t *applications = apr_array_make(pool, 8, sizeof(fs_avail_application_t));
    apr_hash_t *known = apr_hash_make(pool);

    for (server_rec *server = main_server; server; server = server->next)
        complete_server(pool, settings_of(server), known, applications);
    for (int i = 0; main_settings->uses && i < main_settings->uses->nelts; i++) {
        const char **pair = (const char **)main_settings->uses->elts + 2 * i;
        fs_avail_application_t *application = &APR_ARRAY_IDX(
            applications, index_of(known, applications, pair[0]), fs_avail_application_t);

        if (!application->uses)
            application->uses = apr_array_make(pool, 2, sizeof(const char *));
        APR_ARRAY_PUSH(application->uses, const char *) = pair[1];
    }
    main_settings->applications = applications;
}

int fs_avail_application_count(const server_rec *main_server)
{
    return settings_of(main_server)->applications->nelts;
}

const fs_avail_application_t *fs_avail_application(const server_rec *main_server, int index)
{
    return &APR_ARRAY_IDX(settings_of(main_server)->applications, index, fs_avail_application_t);
}

int fs_avail_application_find(const server_rec *main_server, const char *name)
{
    return find_application(settings_of(main_server)->applications, name);
}

int fs_avail_settings_match(const fs_avail_settings_t *settings, const char *path)
{
    apr_ssize_t length = 0;
    int found = -1;

    if (*path != '/' || !apr_hash_count(settings->lookup))
        return -1;
    for (int depth = 0; depth <= settings->depth; depth++) {
        const fs_avail_prefix_t *prefix = apr_hash_get(settings->lookup, path, length);

        if (prefix)
            found = prefix->index;
        if (!path[length])
            break;
        length += 1 + (apr_ssize_t)strcspn(path + length + 1, "/");
    }
    return found;
}

int fs_avail_settings_status(const fs_avail_settings_t *settings, const char *application)
{
    int found = HTTP_SERVICE_UNAVAILABLE, named = 0;

    for (int i = settings->statuses ? settings->statuses->nelts - 1 : -1; i >= 0; i--) {
        const fs_avail_status_t *status = &APR_ARRAY_IDX(settings->statuses, i, fs_avail_status_t);

        if (status->application ? !strcmp(status->application, application) : !named) {
            found = status->status;
            named |= status->application != NULL;
        }
    }
    return found;
}

const fs_avail_document_t *fs_avail_settings_document(const fs_avail_settings_t *settings,
                                                      const char *application, const char *language)
{
    const fs_avail_document_t *found = NULL;
    int best = -1;

    for (int i = 0; settings->documents && i < settings->documents->nelts; i++) {
        const fs_avail_document_t *document =
            &APR_ARRAY_IDX(settings->documents, i, fs_avail_document_t);
        int score = (document->application ? 2 : 0) + (document->language ? 1 : 0);

        if (document->application && strcmp(document->application, application) != 0)
            continue;
        if (document->language && strcasecmp(document->language, language) != 0)
            continue;
        if (score > best) {
            found = document;
            best = score;
        }
    }
    return found;
}
