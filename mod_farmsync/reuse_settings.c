/* SPDX-License-Identifier: Apache-2.0 */
#include "reuse.h"

#include <apr_strings.h>
#include <util_time.h>

#include "module.h"
#include "settings.h"

#define LIMIT_DEFAULT (512 << 10)
#define LIMIT_MOST    (64 << 20)
#define WAIT_DEFAULT  20
#define WAIT_MOST     10000

void fs_reuse_create_place(fs_reuse_place_t *place)
{
    *place = (fs_reuse_place_t){FS_UNSET, FS_UNSET, FS_UNSET};
}

void fs_reuse_merge_place(fs_reuse_place_t *place, const fs_reuse_place_t *outer,
                          const fs_reuse_place_t *inner)
{
    place->on = inner->on != FS_UNSET ? inner->on : outer->on;
    place->limit = inner->limit != FS_UNSET ? inner->limit : outer->limit;
    place->wait_ms = inner->wait_ms != FS_UNSET ? inner->wait_ms : outer->wait_ms;
}

void fs_reuse_fill_place(fs_reuse_place_t *place)
{
    if (place->on == FS_UNSET)
        place->on = 0;
    if (place->limit == FS_UNSET)
        place->limit = LIMIT_DEFAULT;
    if (place->wait_ms == FS_UNSET)
        place->wait_ms = WAIT_DEFAULT;
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
    ((fs_place_t *)config)->reuse.on = value;
    return NULL;
}

const char *fs_reuse_set_limit(cmd_parms *cmd, void *config, const char *value)
{
    fs_place_t *place = config;
    apr_off_t limit;
    char *end;
    int shift = 0;

    if (apr_strtoff(&limit, value, &end, 10) != APR_SUCCESS || end == value)
        limit = -1;
    else if (*end == 'K' || *end == 'k')
        shift = 10;
    else if (*end == 'M' || *end == 'm')
        shift = 20;
    if (limit < 1 || end[shift != 0] || limit > LIMIT_MOST >> shift)
        return apr_psprintf(cmd->pool,
                            "FS1701: FarmSyncReuseLimit \"%s\": give the size of a page, 1 to %d "
                            "bytes, as in 300000, 512K or 2M",
                            value, LIMIT_MOST);
    place->reuse.limit = limit << shift;
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
