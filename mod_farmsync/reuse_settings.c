/* SPDX-License-Identifier: Apache-2.0 */
#include "reuse.h"

#include <stdlib.h>
#include <string.h>

#include <apr_lib.h>
#include <apr_strings.h>
#include <util_time.h>

#include "module.h"
#include "settings.h"

#define LIMIT_DEFAULT (512 << 10)
#define LIMIT_MOST    (64 << 20)
#define WAIT_DEFAULT  20
#define WAIT_MOST     10000
#define CHANGES_MOST  1000

void fs_reuse_create_place(fs_reuse_place_t *place)
{
    *place = (fs_reuse_place_t){FS_UNSET, FS_UNSET, FS_UNSET, FS_UNSET, FS_UNSET, NULL};
}

void fs_reuse_merge_place(fs_reuse_place_t *place, const fs_reuse_place_t *outer,
                          const fs_reuse_place_t *inner)
{
    place->on = inner->on != FS_UNSET ? inner->on : outer->on;
    place->limit = inner->limit != FS_UNSET ? inner->limit : outer->limit;
    place->wait_ms = inner->wait_ms != FS_UNSET ? inner->wait_ms : outer->wait_ms;
    place->differences = inner->differences != FS_UNSET ? inner->differences : outer->differences;
    place->mirror = inner->mirror != FS_UNSET ? inner->mirror : outer->mirror;
    place->match = inner->match ? inner->match : outer->match;
}

void fs_reuse_fill_place(fs_reuse_place_t *place)
{
    if (place->on == FS_UNSET)
        place->on = 0;
    if (place->limit == FS_UNSET)
        place->limit = LIMIT_DEFAULT;
    if (place->wait_ms == FS_UNSET)
        place->wait_ms = WAIT_DEFAULT;
    if (place->differences == FS_UNSET)
        place->differences = 1;
    if (place->mirror == FS_UNSET)
        place->mirror = 0;
}

int fs_reuse_place(const request_rec *r, fs_reuse_place_t *place)
{
    const fs_place_t *said = ap_get_module_config(r->per_dir_config, &farmsync_module);

    if (said->reuse.on != 1)
        return 0;
    *place = said->reuse;
    fs_reuse_fill_place(place);
    return 1;
}

const char *fs_reuse_set_on(cmd_parms *cmd, void *config, int value)
{
    if (value)
        ((fs_settings_t *)ap_get_module_config(cmd->server->module_config, &farmsync_module))
            ->reuse_used = 1;
    ((fs_place_t *)config)->reuse.on = value;
    return NULL;
}

/* "300000", "512K", "2M", "1G" → bytes; -1 if it is no size up to `most`. */
static apr_off_t read_size(const char *value, apr_off_t most)
{
    static const char units[] = "KMG";
    apr_off_t size;
    char *end;
    int shift = 0;

    if (apr_strtoff(&size, value, &end, 10) != APR_SUCCESS || end == value || size < 0)
        return -1;
    if (*end) {
        const char *unit = strchr(units, apr_toupper(*end));

        if (!unit || end[1])
            return -1;
        shift = 10 * (int)(unit - units + 1);
    }
    return size > most >> shift ? -1 : size << shift;
}

const char *fs_reuse_set_limit(cmd_parms *cmd, void *config, const char *value)
{
    apr_off_t limit = read_size(value, LIMIT_MOST);

    if (limit < 1)
        return apr_psprintf(cmd->pool,
                            "FS1701: FarmSyncReuseLimit \"%s\": give the size of a page, 1 to %d "
                            "bytes, as in 300000, 512K or 2M",
                            value, LIMIT_MOST);
    ((fs_place_t *)config)->reuse.limit = limit;
    return NULL;
}

const char *fs_reuse_set_store(cmd_parms *cmd, void *unused, const char *value)
{
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);
    apr_off_t size = read_size(value, (apr_off_t)FS_REUSE_STORE_MOST);

    if (error)
        return error;
    if (size && size < (apr_off_t)FS_REUSE_STORE_LEAST)
        return apr_psprintf(cmd->pool,
                            "FS1704: FarmSyncReuseStore \"%s\": give 0, or the size of a file of "
                            "1M to 64G",
                            value);
    ((fs_settings_t *)ap_get_module_config(cmd->server->module_config, &farmsync_module))
        ->reuse_store = size;
    return NULL;
}

const char *fs_reuse_set_differences(cmd_parms *cmd, void *config, int value)
{
    ((fs_place_t *)config)->reuse.differences = value;
    return NULL;
}

const char *fs_reuse_set_mirror(cmd_parms *cmd, void *config, const char *value)
{
    fs_settings_t *settings = ap_get_module_config(cmd->server->module_config, &farmsync_module);
    int *mirror = &((fs_place_t *)config)->reuse.mirror;
    char *end;
    long changes = strtol(value, &end, 10);

    if (!strcasecmp(value, "Off"))
        *mirror = 0;
    else if (!strcasecmp(value, "On") || !strcasecmp(value, "change"))
        *mirror = 1;
    else if (!strcasecmp(value, "end"))
        *mirror = FS_REUSE_MIRROR_END;
    else if (*value && !*end && changes >= 1 && changes <= CHANGES_MOST)
        *mirror = (int)changes;
    else
        return apr_psprintf(cmd->pool,
                            "FS1706: FarmSyncReuseMirror \"%s\": give change (or On), a number of "
                            "changes from 1 to %d, end, or Off",
                            value, CHANGES_MOST);
    if (*mirror)
        settings->reuse_mirrors = 1;
    return NULL;
}

/* A string of RFC 8941, as it stands between quotes; a pattern without a host, as the RFC wants. */
const char *fs_reuse_set_match(cmd_parms *cmd, void *config, const char *value)
{
    const char *bad = value;

    while (*bad > 0x20 && *bad < 0x7f && !strchr("\"\\()", *bad))
        bad++;
    if (value[0] != '/' || *bad)
        return apr_psprintf(cmd->pool,
                            "FS1705: FarmSyncReuseMatch \"%s\": give a path that begins with '/', "
                            "in which '*' stands for anything, without blanks, quotes, backslashes "
                            "and parentheses",
                            value);
    ((fs_place_t *)config)->reuse.match = value;
    return NULL;
}

const char *fs_reuse_set_wait(cmd_parms *cmd, void *config, const char *value)
{
    apr_interval_time_t wait;

    if (ap_timeout_parameter_parse(value, &wait, "ms") != APR_SUCCESS || wait < 0 ||
        wait > WAIT_MOST * 1000)
        return apr_psprintf(cmd->pool,
                            "FS1702: FarmSyncReuseWait \"%s\": give 0 to %d milliseconds; 0 never "
                            "keeps a page back that isn't all there",
                            value, WAIT_MOST);
    ((fs_place_t *)config)->reuse.wait_ms = (int)(wait / 1000);
    return NULL;
}
