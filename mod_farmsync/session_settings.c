/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The directives of mod_session_farmsync: reading, defaults, merging, and what configtest can find.
 *
 * FS_UNSET or NULL means that nothing was said; a merge takes the inner value if it was said, so
 * that saying the default explicitly overrides an outer setting.
 */
#include "session_settings.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>
#include <apr_uri.h>
#include <http_core.h>
#include <util_time.h>

#include "session/fs_session_record.h"
#include "session_module.h"
#include "text.h"

#define BANK_MAX       64
#define LABEL_MAX      64
#define MIB            (INT64_C(1) << 20)
#define GIB            (INT64_C(1) << 30)
#define SESSION_BYTES  MIB
#define SEALED_LIMIT   (4 * MIB - 8192) /* what a bank server takes, less what sealing adds */
#define STORE_BYTES    GIB
#define COPIES_DEFAULT 2
#define FLUSH_DEFAULT  200
#define LEASE_DEFAULT  300

void *fs_session_create_farm(apr_pool_t *pool, server_rec *server)
{
    fs_session_farm_t *farm = apr_pcalloc(pool, sizeof(*farm));

    farm->copies = farm->flush_ms = farm->lease_ms = FS_UNSET;
    farm->session_bytes = farm->sessions = farm->store_bytes = FS_UNSET;
    return farm;
}

/* A virtual host has nothing of its own but whether it uses sessions. */
void *fs_session_merge_farm(apr_pool_t *pool, void *base, void *add)
{
    fs_session_farm_t *farm = apr_pmemdup(pool, base, sizeof(*farm));
    const fs_session_farm_t *inner = add;

    farm->used |= inner->used;
    if (inner->longest_ms > farm->longest_ms)
        farm->longest_ms = inner->longest_ms;
    return farm;
}

void *fs_session_create_place(apr_pool_t *pool, char *path)
{
    fs_session_place_t *place = apr_pcalloc(pool, sizeof(*place));

    place->cookie = NULL;
    place->ack = FS_UNSET;
    place->lock = FS_UNSET;
    place->lock_ms = FS_UNSET;
    place->timeout_ms = FS_UNSET;
    place->on_unknown = FS_UNSET;
    place->idle_s = FS_UNSET;
    place->lifetime_s = FS_UNSET;
    place->alias_s = FS_UNSET;
    return place;
}

int fs_session_or(int value, int otherwise)
{
    return value != FS_UNSET ? value : otherwise;
}

void *fs_session_merge_place(apr_pool_t *pool, void *base, void *add)
{
    const fs_session_place_t *outer = base, *inner = add;
    fs_session_place_t *place = apr_palloc(pool, sizeof(*place));

    place->cookie = inner->cookie ? inner->cookie : outer->cookie;
    place->ack = fs_session_or(inner->ack, outer->ack);
    place->lock = fs_session_or(inner->lock, outer->lock);
    place->lock_ms = fs_session_or(inner->lock_ms, outer->lock_ms);
    place->timeout_ms = fs_session_or(inner->timeout_ms, outer->timeout_ms);
    place->on_unknown = fs_session_or(inner->on_unknown, outer->on_unknown);
    place->idle_s = fs_session_or(inner->idle_s, outer->idle_s);
    place->lifetime_s = fs_session_or(inner->lifetime_s, outer->lifetime_s);
    place->alias_s = fs_session_or(inner->alias_s, outer->alias_s);
    return place;
}

fs_session_farm_t *fs_session_farm(const server_rec *main_server)
{
    return ap_get_module_config(main_server->module_config, &session_farmsync_module);
}

const fs_session_place_t *fs_session_place(const request_rec *r)
{
    return ap_get_module_config(r->per_dir_config, &session_farmsync_module);
}

const fs_session_place_t *fs_session_main_place(const server_rec *main_server)
{
    return ap_get_module_config(main_server->lookup_defaults, &session_farmsync_module);
}

/* --- reading: places ----------------------------------------------------------------------------
 */

static const char *set_cookie_name(cmd_parms *cmd, void *config, const char *arguments)
{
    const char *name = ap_getword_conf(cmd->pool, &arguments);
    fs_cookie_t *cookie = apr_palloc(cmd->pool, sizeof(*cookie));
    const char *problem;

    if (*arguments == '"' || *arguments == '\'')
        arguments = ap_getword_conf(cmd->pool, &arguments);
    problem = fs_cookie_make(cookie, name, arguments, cmd->pool);
    if (problem)
        return apr_psprintf(cmd->pool,
                            "FS1300: %s \"%s\": %s; give a name and, if need be, attributes as in "
                            "session Path=/app;SameSite=Strict",
                            cmd->cmd->name, name, problem);
    ((fs_session_place_t *)config)->cookie = cookie;
    fs_session_farm(cmd->server)->used = 1;
    return NULL;
}

/* A whole number or a time, in some place of a struct. */
typedef struct number_t {
    size_t offset;
    int least, most;
    const char *unit; /* "ms", "s" or NULL: a plain number */
} number_t;

static const char *read_number(cmd_parms *cmd, const number_t *number, const char *text, int *value)
{
    apr_interval_time_t span;
    apr_int64_t given;
    char *end;

    if (number->unit) {
        if (ap_timeout_parameter_parse(text, &span, number->unit) != APR_SUCCESS)
            span = -1;
        given = span / (!strcmp(number->unit, "s") ? APR_USEC_PER_SEC : 1000);
        if (span < 0)
            given = -1;
    } else {
        errno = 0;
        given = strtoll(text, &end, 10);
        if (errno || end == text || *end)
            given = -1;
    }
    if (given < number->least || given > number->most)
        return apr_psprintf(cmd->pool, "FS1301: %s \"%s\": give %d to %d%s%s", cmd->cmd->name, text,
                            number->least, number->most, number->unit ? " " : "",
                            number->unit ? number->unit : "");
    *value = (int)given;
    return NULL;
}

static int *number_in(void *config, const number_t *number)
{
    return (int *)((char *)config + number->offset);
}

static const char *set_place_number(cmd_parms *cmd, void *config, const char *text)
{
    const number_t *number = cmd->info;

    return read_number(cmd, number, text, number_in(config, number));
}

#define PLACE(field, least, most, unit)                                                            \
    ((void *)&(const number_t){offsetof(fs_session_place_t, field), least, most, unit})
#define FARM(field, least, most, unit)                                                             \
    ((void *)&(const number_t){offsetof(fs_session_farm_t, field), least, most, unit})

static const char *set_timeout(cmd_parms *cmd, void *config, const char *text)
{
    fs_session_farm_t *farm = fs_session_farm(cmd->server);
    fs_session_place_t *place = config;
    const char *problem = set_place_number(cmd, config, text);

    if (!problem && place->timeout_ms > farm->longest_ms)
        farm->longest_ms = place->timeout_ms;
    return problem;
}

static const char *set_lock(cmd_parms *cmd, void *config, const char *how, const char *limit)
{
    static const number_t number = {offsetof(fs_session_place_t, lock_ms), 1, 600000, "ms"};
    fs_session_place_t *place = config;

    if (!strcasecmp(how, "exclusive")) {
        place->lock = FS_SESSION_LOCK_EXCLUSIVE;
        return limit ? read_number(cmd, &number, limit, &place->lock_ms) : NULL;
    }
    if (strcasecmp(how, "none") || limit)
        return apr_psprintf(cmd->pool,
                            "FS1302: %s \"%s\": give none, or exclusive and how long a request may "
                            "wait for its turn, as in exclusive 10s",
                            cmd->cmd->name, how);
    place->lock = FS_SESSION_LOCK_NONE;
    return NULL;
}

static const char *set_on_unknown(cmd_parms *cmd, void *config, const char *value)
{
    fs_session_place_t *place = config;

    if (!strcasecmp(value, "new"))
        place->on_unknown = FS_SESSION_UNKNOWN_NEW;
    else if (!strcmp(value, "503"))
        place->on_unknown = FS_SESSION_UNKNOWN_503;
    else
        return apr_psprintf(cmd->pool, "FS1303: %s \"%s\": give new or 503", cmd->cmd->name, value);
    return NULL;
}

/* --- reading: the whole server ------------------------------------------------------------------
 */

static const char *set_farm_number(cmd_parms *cmd, void *unused, const char *text)
{
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    const number_t *number = cmd->info;

    return error ? error
                 : read_number(cmd, number, text, number_in(fs_session_farm(cmd->server), number));
}

/* Bytes or a count, with k, M or G behind it. */
typedef struct size_rule_t {
    size_t offset;
    apr_int64_t least, most;
} size_rule_t;

#define SIZE(field, least, most)                                                                   \
    ((void *)&(const size_rule_t){offsetof(fs_session_farm_t, field), least, most})

static const char *set_size(cmd_parms *cmd, void *unused, const char *text)
{
    static const char units[] = "kMG";
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY), *unit;
    const size_rule_t *rule = cmd->info;
    apr_int64_t given;
    char *end;

    if (error)
        return error;
    errno = 0;
    given = strtoll(text, &end, 10);
    unit = *end ? strchr(units, *end == 'K' ? 'k' : *end) : NULL;
    if (errno || end == text || (*end && (!unit || end[1])) || given < 0 || given > INT32_MAX)
        given = -1;
    else if (unit)
        given <<= 10 * (unit - units + 1);
    if (given < rule->least || given > rule->most)
        return apr_psprintf(cmd->pool,
                            "FS1304: %s \"%s\": give %" APR_INT64_T_FMT " to %" APR_INT64_T_FMT
                            ", as in 64k, 8M or 2G",
                            cmd->cmd->name, text, rule->least, rule->most);
    *(apr_int64_t *)((char *)fs_session_farm(cmd->server) + rule->offset) = given;
    return NULL;
}

static int is_label(const char *text)
{
    if (!*text || strlen(text) > LABEL_MAX)
        return 0;
    for (; *text; text++)
        if (*text <= ' ' || *text > '~' || strchr(",=\"\\", *text))
            return 0;
    return 1;
}

/* A server's name unless it is given: host:port of its URL. NULL if the URL isn't one. */
static const char *name_of(const char *url, apr_pool_t *pool)
{
    apr_uri_t uri;

    if (apr_uri_parse(pool, url, &uri) != APR_SUCCESS || !uri.hostname || !uri.scheme ||
        (strcmp(uri.scheme, "http") && strcmp(uri.scheme, "https")) || uri.user || uri.query ||
        uri.fragment || strlen(url) > 255 || strpbrk(url, " \t\r\n\"") ||
        (uri.path && strcmp(uri.path, "/")))
        return NULL;
    return apr_psprintf(pool, strchr(uri.hostname, ':') ? "[%s]:%d" : "%s:%d", uri.hostname,
                        uri.port ? uri.port : apr_uri_port_of_scheme(uri.scheme));
}

static const char *read_option(fs_session_bank_server_t *server, const char *word)
{
    const char *value = strchr(word, '=');

    if (!value || !is_label(value + 1))
        return "options are name=NAME and rack=RACK, each of 1 to 64 characters";
    if (!strncasecmp(word, "name=", 5))
        server->name = value + 1;
    else if (!strncasecmp(word, "rack=", 5))
        server->rack = value + 1;
    else
        return "there are the options name=NAME and rack=RACK";
    return NULL;
}

static const char *check_server(const fs_session_farm_t *farm,
                                const fs_session_bank_server_t *server)
{
    if (!server->name || !is_label(server->name))
        return "give it as http://host:port or https://host:port";
    if (farm->bank->nelts == BANK_MAX)
        return "a bank has at most 64 servers";
    for (int i = 0; i < farm->bank->nelts; i++)
        if (!strcmp(APR_ARRAY_IDX(farm->bank, i, fs_session_bank_server_t).name, server->name))
            return "two servers have this name";
    return NULL;
}

static const char *add_bank(cmd_parms *cmd, void *unused, const char *arguments)
{
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    const char *url = ap_getword_conf(cmd->pool, &arguments);
    fs_session_bank_server_t server = {url, name_of(url, cmd->pool), NULL};
    fs_session_farm_t *farm = fs_session_farm(cmd->server);
    const char *problem = server.name ? NULL : "give it as http://host:port or https://host:port";

    if (error)
        return error;
    if (!farm->bank)
        farm->bank = apr_array_make(cmd->pool, 4, sizeof(server));
    while (!problem && *arguments)
        problem = read_option(&server, ap_getword_conf(cmd->pool, &arguments));
    if (!problem)
        problem = check_server(farm, &server);
    if (problem)
        return apr_psprintf(cmd->pool, "FS1305: %s \"%s\": %s", cmd->cmd->name, url, problem);
    APR_ARRAY_PUSH(farm->bank, fs_session_bank_server_t) = server;
    return NULL;
}

#define ANYWHERE (RSRC_CONF | ACCESS_CONF)

const command_rec fs_session_commands[] = {
    AP_INIT_RAW_ARGS("SessionFarmSyncCookieName", set_cookie_name, NULL, ANYWHERE,
                     "name of the session cookie, and its attributes"),
    AP_INIT_TAKE1("SessionFarmSyncAck", set_place_number, PLACE(ack, 0, 2, NULL), ANYWHERE,
                  "how many copies of a change are waited for: 0 (default), 1 or 2"),
    AP_INIT_TAKE12("SessionFarmSyncLock", set_lock, NULL, ANYWHERE,
                   "none (default), or exclusive: one request of a session at a time"),
    AP_INIT_TAKE1("SessionFarmSyncTimeout", set_timeout, PLACE(timeout_ms, 1, 60000, "ms"),
                  ANYWHERE, "how long a request may wait for other servers; default 500 ms"),
    AP_INIT_TAKE1("SessionFarmSyncOnUnknown", set_on_unknown, NULL, ANYWHERE,
                  "what a visitor gets if nobody could say in time what his session is: 503 "
                  "(default), or new"),
    AP_INIT_TAKE1("SessionFarmSyncIdle", set_place_number, PLACE(idle_s, 1, 31536000, "s"),
                  ANYWHERE,
                  "seconds after its last use that a session ends; default SessionMaxAge, or 1800"),
    AP_INIT_TAKE1("SessionFarmSyncLifetime", set_place_number, PLACE(lifetime_s, 0, 315360000, "s"),
                  ANYWHERE, "seconds after its begin that a session ends; default 0: never"),
    AP_INIT_TAKE1("SessionFarmSyncAlias", set_place_number, PLACE(alias_s, 0, 300, "s"), ANYWHERE,
                  "seconds that the old id leads to the new one after a login; default 10"),
    AP_INIT_RAW_ARGS("SessionFarmSyncBank", add_bank, NULL, RSRC_CONF,
                     "a server of the bank: URL [name=NAME] [rack=RACK]"),
    AP_INIT_TAKE1("SessionFarmSyncCopies", set_farm_number, FARM(copies, 1, 8, NULL), RSRC_CONF,
                  "how many servers of the bank keep each session; default 2"),
    AP_INIT_TAKE1("SessionFarmSyncFlush", set_farm_number, FARM(flush_ms, 1, 60000, "ms"),
                  RSRC_CONF, "a change is sent to the bank after this time at the latest; 200 ms"),
    AP_INIT_TAKE1("SessionFarmSyncLease", set_farm_number, FARM(lease_ms, 50, 60000, "ms"),
                  RSRC_CONF, "how long a silent server keeps its sessions; default 300 ms"),
    AP_INIT_TAKE1("SessionFarmSyncMaxSize", set_size, SIZE(session_bytes, 1024, SEALED_LIMIT),
                  RSRC_CONF, "bytes of one session; default 1M"),
    AP_INIT_TAKE1("SessionFarmSyncMaxSessions", set_size, SIZE(sessions, 0, INT64_MAX), RSRC_CONF,
                  "sessions on this server; default 0: as many as SessionFarmSyncMemory holds"),
    AP_INIT_TAKE1("SessionFarmSyncMemory", set_size, SIZE(store_bytes, MIB, INT64_MAX), RSRC_CONF,
                  "bytes of all sessions on this server; default 1G"),
    {NULL}};

/* --- the whole ----------------------------------------------------------------------------------
 */

static void add_data_servers(fs_session_farm_t *farm, apr_pool_t *pool)
{
    const apr_array_header_t *urls = farm->host->data_servers;

    farm->bank = apr_array_make(pool, 4, sizeof(fs_session_bank_server_t));
    for (int i = 0; i < urls->nelts && i < BANK_MAX; i++) {
        const char *url = APR_ARRAY_IDX(urls, i, const char *);
        fs_session_bank_server_t server = {url, name_of(url, pool), NULL};

        if (!check_server(farm, &server))
            APR_ARRAY_PUSH(farm->bank, fs_session_bank_server_t) = server;
    }
}

static void fill_in(int *value, int otherwise)
{
    *value = fs_session_or(*value, otherwise);
}

static void fill_in_size(apr_int64_t *value, apr_int64_t otherwise)
{
    if (*value == FS_UNSET)
        *value = otherwise;
}

const char *fs_session_complete(apr_pool_t *pool, server_rec *main_server)
{
    APR_OPTIONAL_FN_TYPE(farmsync_host) *host_of = APR_RETRIEVE_OPTIONAL_FN(farmsync_host);
    fs_session_farm_t *farm = fs_session_farm(main_server);

    for (server_rec *server = main_server->next; server; server = server->next) {
        const fs_session_farm_t *other = fs_session_farm(server);

        farm->used |= other->used;
        if (other->longest_ms > farm->longest_ms)
            farm->longest_ms = other->longest_ms;
    }
    if (!farm->used)
        return NULL;
    if (!host_of)
        return "FS1306: mod_session_farmsync needs mod_farmsync: load farmsync_module, too";
    farm->host = host_of(main_server, pool);
    if (!farm->host->key_file)
        return "FS1307: sessions need FarmSyncKeyFile: name a file, readable by httpd's user only, "
               "with a line \"k1 HEX\" whose HEX is 64 random hex digits, the same on all servers "
               "of the farm";
    if (!farm->host->state_dir) /* mod_farmsync says so */
        return NULL;
    farm->store_dir = apr_pstrcat(pool, farm->host->state_dir, "/sessions", NULL);
    if (!farm->bank)
        add_data_servers(farm, pool);
    fill_in(&farm->copies, COPIES_DEFAULT);
    fill_in(&farm->flush_ms, FLUSH_DEFAULT);
    fill_in(&farm->lease_ms, LEASE_DEFAULT);
    fill_in_size(&farm->session_bytes, SESSION_BYTES);
    fill_in_size(&farm->sessions, 0);
    fill_in_size(&farm->store_bytes, STORE_BYTES);
    if (farm->longest_ms < FS_SESSION_TIMEOUT_DEFAULT)
        farm->longest_ms = FS_SESSION_TIMEOUT_DEFAULT;
    return NULL;
}

/* --- for the agent
 * ------------------------------------------------------------------------------------
 */

static void json_server(fs_text_t *text, const fs_session_bank_server_t *server)
{
    fs_text_puts(text, "{\"url\": ");
    fs_text_json_string(text, server->url);
    fs_text_puts(text, ", \"name\": ");
    fs_text_json_string(text, server->name);
    fs_text_puts(text, ", \"rack\": ");
    if (server->rack)
        fs_text_json_string(text, server->rack);
    else
        fs_text_puts(text, "null");
    fs_text_puts(text, "}");
}

const char *fs_session_agent_json(apr_pool_t *pool, const fs_session_farm_t *farm)
{
    fs_text_t text;

    fs_text_init(&text, pool);
    fs_text_puts(&text, "{\"bank\": [");
    for (int i = 0; i < farm->bank->nelts; i++) {
        fs_text_puts(&text, i ? ", " : "");
        json_server(&text, &APR_ARRAY_IDX(farm->bank, i, fs_session_bank_server_t));
    }
    fs_text_printf(&text,
                   "], \"copies\": %d, \"flush_ms\": %d, \"lease_ms\": %d, \"timeout_ms\": %d, "
                   "\"sessions\": %lld, \"session_bytes\": %lld, \"store_bytes\": %lld}",
                   farm->copies, farm->flush_ms, farm->lease_ms, farm->longest_ms,
                   (long long)farm->sessions, (long long)farm->session_bytes,
                   (long long)farm->store_bytes);
    return text.data;
}
