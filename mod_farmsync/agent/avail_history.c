/* SPDX-License-Identifier: Apache-2.0 */
/*
 * StateDir/notices.log: what was told, changed and taken back, by whom, one JSON object a line. For
 * people who ask afterwards; nothing is decided by it. When it has FS_AVAIL_HISTORY_LIMIT bytes it
 * becomes notices.log.1; of a flood of monitors some lines a second are written, and how many
 * weren't.
 */
#include "avail.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs_file.h"

#define FILE_NAME "notices.log"

static void path_of(const fs_agent_t *agent, const char *end, char path[PATH_MAX])
{
    snprintf(path, PATH_MAX, "%s/" FILE_NAME "%s", agent->config.state_dir, end);
}

static void set_text(json_t *object, const char *name, const char *value)
{
    json_t *text = value && *value ? json_string(value) : NULL;

    if (text)
        json_object_set_new(object, name, text);
}

static char *make_line(const char *act, const char *key, const fs_notice_t *notice,
                       const char *origin, const char *by, const char *why, fs_usec_t farm,
                       unsigned left_out)
{
    json_t *line = json_object();
    char when[FS_TIME_TEXT_SIZE], *json = NULL, *text;
    fs_result_t ignored;
    size_t length;

    set_text(line, "time", fs_time_format(farm, when));
    set_text(line, "act", act);
    set_text(line, "key", key);
    set_text(line, "server", origin);
    set_text(line, "by", by);
    set_text(line, "why", why);
    if (notice)
        json = fs_notice_print(notice, &length, &ignored);
    if (json)
        json_object_set_new(line, "notice", json_loads(json, 0, NULL));
    if (left_out)
        json_object_set_new(line, "left_out_before", json_integer(left_out));
    text = json_dumps(line, JSON_COMPACT);
    json_decref(line);
    free(json);
    return text;
}

static void append(const fs_agent_t *agent, const char *line)
{
    char path[PATH_MAX], former[PATH_MAX];
    size_t length = strlen(line);
    struct stat info;
    int fd;

    path_of(agent, "", path);
    path_of(agent, ".1", former);
    if (!stat(path, &info) && info.st_size + (off_t)length > FS_AVAIL_HISTORY_LIMIT)
        rename(path, former);
    fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
    if (fd < 0 || write(fd, line, length) != (ssize_t)length)
        fs_log(FS_LOG_WARNING, "FS1578", "cannot write %s: %s; the history of notices has a gap",
               path, strerror(errno));
    if (fd >= 0)
        close(fd);
}

/* Monitors that tell very much fill neither the disk nor what people want to read. history_lock is
 * held. */
static int is_too_much(fs_avail_agent_t *avail, const fs_notice_t *notice)
{
    if (!notice || notice->role != FS_NOTICE_MONITOR ||
        fs_avail_bucket_take(&avail->history_bucket, fs_time_mono()))
        return 0;
    avail->history_left_out++;
    return 1;
}

void fs_avail_remember(fs_agent_t *agent, const char *act, const char *key,
                       const fs_notice_t *notice, const char *origin, const char *by,
                       const char *why)
{
    fs_avail_agent_t *avail = agent->avail;
    char *text = NULL, *line;

    pthread_mutex_lock(&avail->history_lock);
    if (!is_too_much(avail, notice)) {
        text = make_line(act, key, notice, origin, by, why, fs_backplane_time(agent),
                         avail->history_left_out);
        avail->history_left_out = 0;
    }
    if (text && asprintf(&line, "%s\n", text) > 0) {
        append(agent, line);
        free(line);
    }
    pthread_mutex_unlock(&avail->history_lock);
    free(text);
}

/* Adds the lines of one file. What was cut short by a kill is left out. */
static void add_lines(json_t *list, const char *path)
{
    char *text, *rest, *line;
    fs_result_t ignored;
    size_t length;

    if (fs_file_read(path, FS_AVAIL_HISTORY_LIMIT + FS_NOTICE_BYTES, &text, &length, &ignored))
        return;
    rest = text;
    while ((line = strsep(&rest, "\n"))) {
        json_t *one = json_loads(line, JSON_REJECT_DUPLICATES, NULL);

        if (one)
            json_array_append_new(list, one);
    }
    free(text);
}

json_t *fs_avail_history(fs_agent_t *agent, unsigned most)
{
    json_t *list = json_array();
    char path[PATH_MAX];

    pthread_mutex_lock(&agent->avail->history_lock);
    path_of(agent, "", path);
    add_lines(list, path);
    if (json_array_size(list) < most) {
        json_t *newer = list;

        list = json_array();
        path_of(agent, ".1", path);
        add_lines(list, path);
        json_array_extend(list, newer);
        json_decref(newer);
    }
    pthread_mutex_unlock(&agent->avail->history_lock);
    while (json_array_size(list) > most)
        json_array_remove(list, 0);
    return list;
}
