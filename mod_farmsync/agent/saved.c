/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What outlives the agent: the last good manifest of each group, and how far farm time was from the
 * wall clock. Both only matter for a start with everything central down. Damaged files are as good
 * as none.
 */
#include "agent.h"

#include <jansson.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs_file.h"
#include "sync/fs_farm_clock.h"

#define CLOCK_LIMIT 4096

static void path_of(const fs_agent_t *agent, const char *kind, const char *group, const char *end,
                    char path[PATH_MAX])
{
    snprintf(path, PATH_MAX, "%s/%s%s%s", agent->config.state_dir, kind, group, end);
}

apr_status_t fs_saved_manifest_write(fs_agent_t *agent, const fs_manifest_t *manifest,
                                     fs_result_t *result)
{
    char path[PATH_MAX];
    size_t length;
    char *json = fs_manifest_print(manifest, &length);
    apr_status_t status;

    if (!json)
        return fs_result_set(result, APR_ENOMEM, "FS0621", "out of memory");
    path_of(agent, "manifest-", manifest->group, ".json", path);
    status = fs_file_write(path, json, length, result);
    free(json);
    return status;
}

apr_status_t fs_saved_manifest_read(fs_agent_t *agent, const char *group, fs_manifest_t **manifest,
                                    fs_usec_t *confirmed_wall, fs_result_t *result)
{
    char path[PATH_MAX], *json;
    struct stat info;
    size_t length;
    apr_status_t status;

    path_of(agent, "manifest-", group, ".json", path);
    status = fs_file_read(path, FS_MANIFEST_MAX_BYTES, &json, &length, result);
    if (status)
        return status;
    status = fs_manifest_parse(manifest, json, length, result);
    free(json);
    if (status)
        return status;
    *confirmed_wall =
        stat(path, &info) ? 0 : info.st_mtim.tv_sec * FS_USEC_PER_SEC + info.st_mtim.tv_nsec / 1000;
    return APR_SUCCESS;
}

void fs_saved_manifest_confirm(fs_agent_t *agent, const char *group)
{
    char path[PATH_MAX];

    path_of(agent, "manifest-", group, ".json", path);
    /* Only tells people how old the data is; a failure would show again when the file is written.
     */
    (void)utimensat(AT_FDCWD, path, NULL, 0);
}

apr_status_t fs_saved_clock_write(fs_agent_t *agent, const fs_control_clock_t *clock,
                                  fs_result_t *result)
{
    fs_usec_t wall = fs_time_wall(), mono = fs_time_mono();
    char path[PATH_MAX], *text;
    json_t *json =
        json_pack("{s:I, s:I, s:s}", "farm_minus_wall", (json_int_t)(mono + clock->offset - wall),
                  "wall", (json_int_t)wall, "source", clock->source);
    apr_status_t status;

    text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    if (!text)
        return fs_result_set(result, APR_ENOMEM, "FS0621", "out of memory");
    path_of(agent, "clock", "", ".json", path);
    status = fs_file_write(path, text, strlen(text), result);
    free(text);
    return status;
}

int fs_saved_clock_read(fs_agent_t *agent, fs_control_clock_t *clock)
{
    char path[PATH_MAX], *text;
    size_t length;
    fs_result_t result;
    json_int_t apart;
    const char *source;
    json_t *json;
    int good;

    path_of(agent, "clock", "", ".json", path);
    if (fs_file_read(path, CLOCK_LIMIT, &text, &length, &result))
        return 0;
    json = json_loadb(text, length, 0, NULL);
    free(text);
    good = json && !json_unpack(json, "{s:I, s:s}", "farm_minus_wall", &apart, "source", &source) &&
           apart > -FS_USEC_PER_SEC * 86400 * 36600 && apart < FS_USEC_PER_SEC * 86400 * 36600;
    if (good) {
        memset(clock, 0, sizeof(*clock));
        clock->state = FS_CLOCK_GUESSED;
        clock->drift_ppm = FS_CLOCK_DRIFT_PPM;
        clock->measured = fs_time_mono();
        clock->offset = fs_time_wall() + apart - clock->measured;
        fs_text_fit(clock->source, sizeof(clock->source), source, strlen(source));
    }
    json_decref(json);
    return good;
}

void fs_saved_accept_path(const fs_agent_t *agent, const char *group, char *path, size_t size)
{
    snprintf(path, size, "%s/accept-%s", agent->config.state_dir, group);
}

int fs_saved_accept(fs_agent_t *agent, const char *group)
{
    char path[PATH_MAX];

    fs_saved_accept_path(agent, group, path, sizeof(path));
    return !unlink(path);
}
