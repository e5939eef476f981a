/* SPDX-License-Identifier: Apache-2.0 */
#include "control/fs_view_file.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs_file.h"
#include "control/fs_page.h"

#define FIRST_LINE "farmsync-view 1"

static int view_path(char path[PATH_MAX], const char *state_dir, uint64_t id)
{
    return snprintf(path, PATH_MAX, "%s/" FS_VIEWS_DIR "/%" PRIu64, state_dir, id) < PATH_MAX;
}

/* A name that can stand in a line, and be part of what people read. */
static int is_name(const char *name)
{
    size_t length = strnlen(name, FS_IMAGE_NAME_SIZE);

    if (!length || length >= FS_IMAGE_NAME_SIZE)
        return 0;
    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f)
            return 0;
    }
    return 1;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const fs_view_dataset_t *)a)->name, ((const fs_view_dataset_t *)b)->name);
}

/* --- writing ------------------------------------------------------------------------------------
 */

static apr_status_t check_view(const fs_control_t *control, const fs_view_info_t *view,
                               fs_result_t *result)
{
    char path[PATH_MAX], hex[FS_DIGEST_HEX_SIZE];

    if (!is_name(view->group) || view->version <= 0 || view->dataset_count > FS_CONTROL_DATASETS)
        return fs_result_set(result, APR_EINVAL, "FS0503",
                             "version %" PRId64 " of group %.64s with %u datasets cannot be "
                             "published: a version is 1 or more and has at most %d datasets",
                             view->version, view->group, view->dataset_count, FS_CONTROL_DATASETS);
    for (unsigned i = 0; i < view->dataset_count; i++) {
        const fs_view_dataset_t *dataset = &view->datasets[i];

        if (!is_name(dataset->name))
            return fs_result_set(result, APR_EINVAL, "FS0503",
                                 "dataset %u of group %s has no usable name", i, view->group);
        fs_digest_hex(&dataset->digest, hex);
        if (snprintf(path, sizeof(path), "%s/" FS_IMAGES_DIR "/%s.fsi", control->state_dir, hex) >=
                PATH_MAX ||
            access(path, R_OK))
            return fs_result_set(result, APR_FROM_OS_ERROR(errno), "FS0503",
                                 "the image of dataset %s, %s.fsi, cannot be read: %s",
                                 dataset->name, hex, strerror(errno));
    }
    return APR_SUCCESS;
}

static char *view_text(const fs_view_info_t *view, const fs_view_dataset_t *datasets,
                       size_t *length)
{
    char *text = NULL, hex[FS_DIGEST_HEX_SIZE];
    fs_digest_t digest;
    FILE *out = open_memstream(&text, length);

    if (!out)
        return NULL;
    fprintf(out, FIRST_LINE "\ngroup %s\nversion %" PRId64 "\n", view->group, view->version);
    for (unsigned i = 0; i < view->dataset_count; i++)
        fprintf(out, "dataset %s %s\n", fs_digest_hex(&datasets[i].digest, hex), datasets[i].name);
    if (!fflush(out)) {
        fs_digest_of(&digest, text, *length);
        fprintf(out, "end %s\n", fs_digest_hex(&digest, hex));
    }
    if (ferror(out) | fclose(out)) {
        free(text);
        return NULL;
    }
    return text;
}

apr_status_t fs_view_write(fs_control_t *control, const fs_view_info_t *view, uint64_t *id,
                           fs_result_t *result)
{
    fs_view_dataset_t *sorted;
    char path[PATH_MAX], *text;
    size_t length;
    apr_status_t status = check_view(control, view, result);

    *id = 0;
    if (status != APR_SUCCESS)
        return status;
    sorted = calloc(view->dataset_count + 1, sizeof(*sorted));
    if (!sorted)
        return fs_result_set(result, APR_ENOMEM, "FS0503", "out of memory");
    if (view->dataset_count)
        memcpy(sorted, view->datasets, view->dataset_count * sizeof(*sorted));
    qsort(sorted, view->dataset_count, sizeof(*sorted), by_name);
    for (unsigned i = 1; i < view->dataset_count && status == APR_SUCCESS; i++) {
        if (!by_name(&sorted[i - 1], &sorted[i]))
            status = fs_result_set(result, APR_EINVAL, "FS0503",
                                   "dataset %s is twice in version %" PRId64 " of group %s",
                                   sorted[i].name, view->version, view->group);
    }
    text = status == APR_SUCCESS ? view_text(view, sorted, &length) : NULL;
    free(sorted);
    if (status != APR_SUCCESS)
        return status;
    if (!text)
        return fs_result_set(result, APR_ENOMEM, "FS0503", "out of memory");
    *id = atomic_fetch_add(&fs_control_page(control)->next_view, 1);
    status = view_path(path, control->state_dir, *id)
                 ? fs_file_write(path, text, length, result)
                 : fs_result_set(result, APR_ENAMETOOLONG, "FS0503", "path too long");
    free(text);
    if (status != APR_SUCCESS)
        *id = 0;
    return status;
}

/* --- listing ------------------------------------------------------------------------------------
 */

/* The id that is a file's whole name, or 0. */
static uint64_t id_of_name(const char *name)
{
    char *end, again[24];
    uint64_t id;

    errno = 0;
    id = strtoull(name, &end, 10);
    snprintf(again, sizeof(again), "%" PRIu64, id);
    return errno || *end || strcmp(name, again) != 0 ? 0 : id;
}

static int by_id(const void *a, const void *b)
{
    uint64_t one = *(const uint64_t *)a, other = *(const uint64_t *)b;

    return (one > other) - (one < other);
}

apr_status_t fs_view_list(fs_control_t *control, uint64_t **ids, unsigned *count,
                          fs_result_t *result)
{
    char path[PATH_MAX];
    struct dirent *entry;
    unsigned room = 16;
    DIR *dir;

    *count = 0;
    *ids = NULL;
    if (snprintf(path, sizeof(path), "%s/" FS_VIEWS_DIR, control->state_dir) >= PATH_MAX ||
        !(dir = opendir(path)))
        return fs_result_set(result, APR_FROM_OS_ERROR(errno), "FS0507", "cannot list %s: %s", path,
                             strerror(errno));
    *ids = malloc(room * sizeof(**ids));
    while (*ids && (entry = readdir(dir))) {
        uint64_t id = id_of_name(entry->d_name);

        if (id && *count == room) {
            uint64_t *more = realloc(*ids, (room *= 2) * sizeof(**ids));

            if (!more)
                free(*ids);
            *ids = more;
        }
        if (id && *ids)
            (*ids)[(*count)++] = id;
    }
    closedir(dir);
    if (!*ids) {
        *count = 0;
        return fs_result_set(result, APR_ENOMEM, "FS0507", "out of memory");
    }
    qsort(*ids, *count, sizeof(**ids), by_id);
    return APR_SUCCESS;
}

void fs_view_remove(fs_control_t *control, uint64_t id)
{
    char path[PATH_MAX];

    if (view_path(path, control->state_dir, id))
        unlink(path);
}

/* --- reading ------------------------------------------------------------------------------------
 */

/* The next line, its NUL in place of the newline, or NULL if there is no whole line. */
static char *next_line(char **rest)
{
    char *line = *rest, *end = strchr(line, '\n');

    if (!end)
        return NULL;
    *end = '\0';
    *rest = end + 1;
    return line;
}

/* What follows `word` and a space, or NULL. */
static char *after_word(char *line, const char *word)
{
    size_t length = strlen(word);

    if (!line || strncmp(line, word, length) != 0 || line[length] != ' ')
        return NULL;
    return line + length + 1;
}

/* The last line is the digest of all before it; cuts it off. */
static int check_end(char *text, size_t length)
{
    fs_digest_t promised, digest;
    const size_t tail = strlen("end ") + FS_DIGEST_HEX_SIZE; /* the newline counts as the NUL */
    char *end;

    if (length < tail || strlen(text) != length || text[length - 1] != '\n')
        return 0;
    text[length - 1] = '\0';
    end = text + length - tail;
    if (strncmp(end, "end ", 4) != 0 || fs_digest_parse(&promised, end + 4))
        return 0;
    fs_digest_of(&digest, text, (size_t)(end - text));
    *end = '\0';
    return fs_digest_equal(&promised, &digest);
}

static int parse_dataset(fs_view_info_t *view, char *line)
{
    fs_view_dataset_t *dataset = &view->datasets[view->dataset_count];
    char *text = after_word(line, "dataset");

    if (!text || strlen(text) <= FS_DIGEST_HEX_SIZE || text[FS_DIGEST_HEX_SIZE - 1] != ' ')
        return 0;
    text[FS_DIGEST_HEX_SIZE - 1] = '\0';
    if (fs_digest_parse(&dataset->digest, text) || !is_name(text + FS_DIGEST_HEX_SIZE))
        return 0;
    strcpy(dataset->name, text + FS_DIGEST_HEX_SIZE); /* is_name: fits */
    if (view->dataset_count && by_name(dataset - 1, dataset) >= 0)
        return 0;
    view->dataset_count++;
    return 1;
}

static int parse_view(fs_view_info_t *view, char *text)
{
    char *line = next_line(&text), *value, *end;

    if (!line || strcmp(line, FIRST_LINE) != 0)
        return 0;
    value = after_word(next_line(&text), "group");
    if (!value || !is_name(value))
        return 0;
    strcpy(view->group, value); /* is_name: fits */
    value = after_word(next_line(&text), "version");
    errno = 0;
    if (!value || (view->version = strtoll(value, &end, 10)) <= 0 || errno || *end)
        return 0;
    while (*text) {
        line = next_line(&text);
        if (!line || view->dataset_count == FS_CONTROL_DATASETS || !parse_dataset(view, line))
            return 0;
    }
    return 1;
}

apr_status_t fs_view_read(const char *state_dir, uint64_t id, fs_view_info_t **view,
                          fs_result_t *result)
{
    fs_view_info_t *made;
    char path[PATH_MAX], *text;
    size_t length;
    apr_status_t status;
    int good;

    *view = NULL;
    if (!view_path(path, state_dir, id))
        return fs_result_set(result, APR_ENAMETOOLONG, "FS0505", "%s: path too long", state_dir);
    status = fs_file_read(path, FS_VIEW_FILE_LIMIT, &text, &length, result);
    if (status != APR_SUCCESS)
        return status;
    made = calloc(1, sizeof(*made));
    if (made)
        made->datasets = calloc(FS_CONTROL_DATASETS, sizeof(*made->datasets));
    if (!made || !made->datasets) {
        free(text);
        fs_view_free(made);
        return fs_result_set(result, APR_ENOMEM, "FS0505", "out of memory");
    }
    made->id = id;
    good = check_end(text, length) && parse_view(made, text);
    free(text);
    if (!good) {
        fs_view_free(made);
        return fs_result_set(result, APR_EGENERAL, "FS0505",
                             "%s is damaged; the agent publishes the version anew when it is "
                             "restarted",
                             path);
    }
    *view = made;
    return APR_SUCCESS;
}

void fs_view_free(fs_view_info_t *view)
{
    if (view)
        free(view->datasets);
    free(view);
}
