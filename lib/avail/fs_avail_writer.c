/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's side of a publication. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "avail/fs_avail_internal.h"
#include "base/fs_digest.h"
#include "base/fs_file.h"
#include "base/fs_log.h"

#define WAKE_AGAIN (5 * FS_USEC_PER_MSEC)

/* A notice that is to be published: its place in `text`, and what the order goes by. */
typedef struct entry_t {
    fs_notice_role_t role;
    fs_usec_t time;
    char key[FS_NOTICE_KEY_SIZE];
    size_t offset, length;
} entry_t;

struct fs_avail_writer_t {
    char *state_dir;
    char *server;
    fs_control_t *control;
    fs_mapping_t *page;
    fs_mapping_t *marks;
    uint64_t next;
    fs_digest_t digest; /* of what is published */
    fs_usec_t farm;     /* of the publication in the making */
    entry_t *entries;
    unsigned count, room;
    char *text; /* of open_memstream */
    size_t length;
    FILE *out;
    uint32_t ticket;
    char probe[FS_AVAIL_PROBE_MAX + 1];
};

static fs_avail_page_t *page_of(const fs_avail_writer_t *writer)
{
    return writer->page->base;
}

/* --- opening -------------------------------------------------------------------------------------
 */

static fs_mapping_t *map_or_make(const char *state_dir, const char *name,
                                 const fs_page_head_t *head, fs_result_t *result)
{
    fs_result_t why;
    fs_mapping_t *mapping = fs_page_map(state_dir, name, head, 1, "FS1505", &why);

    if (mapping)
        return mapping;
    if (!APR_STATUS_IS_ENOENT(why.status))
        fs_log(FS_LOG_NOTICE, "FS1504", "%s/%s is made anew: %s", state_dir, name, why.detail);
    if (fs_page_create(state_dir, name, head, &why)) {
        fs_result_set(result, why.status, "FS1505", "%.1000s", why.detail);
        return NULL;
    }
    return fs_page_map(state_dir, name, head, 1, "FS1505", result);
}

static void digest_of_published(fs_avail_writer_t *writer)
{
    char path[PATH_MAX], *text;
    fs_result_t ignored;
    size_t length;

    if (!fs_avail_path_of(path, sizeof(path), writer->state_dir, fs_avail_published(writer)) ||
        fs_file_read(path, FS_AVAIL_FILE_LIMIT, &text, &length, &ignored))
        return;
    fs_digest_of(&writer->digest, text, length);
    free(text);
}

/* Numbers are never used twice on a host, even if the page was deleted in between. */
static void settle_generation(fs_avail_writer_t *writer)
{
    fs_avail_page_t *page = page_of(writer);
    unsigned count;
    uint64_t *found = fs_avail_list(writer->state_dir, &count);

    writer->next = (uint64_t)(fs_time_wall() / FS_USEC_PER_MSEC);
    if (count && !atomic_load(&page->generation))
        atomic_store(&page->generation, found[count - 1]);
    if (count && found[count - 1] >= writer->next)
        writer->next = found[count - 1] + 1;
    if (atomic_load(&page->generation) >= writer->next)
        writer->next = atomic_load(&page->generation) + 1;
    free(found);
    digest_of_published(writer);
}

static apr_status_t attach(fs_avail_writer_t *writer, fs_result_t *result)
{
    char path[PATH_MAX];
    fs_page_head_t head;
    fs_result_t why;

    if (!fs_avail_path(path, sizeof(path), writer->state_dir, FS_AVAIL_DIR))
        return fs_result_set(result, APR_ENAMETOOLONG, "FS1505", "%s: path too long",
                             writer->state_dir);
    if (fs_dir_make(path, &why))
        return fs_result_set(result, why.status, "FS1505", "%.1000s", why.detail);
    fs_avail_head_marks(&head);
    writer->marks = map_or_make(writer->state_dir, FS_AVAIL_MARKS_FILE, &head, result);
    if (!writer->marks)
        return result->status;
    fs_avail_head_page(&head);
    writer->page = map_or_make(writer->state_dir, FS_AVAIL_PAGE_FILE, &head, result);
    if (!writer->page)
        return result->status;
    writer->ticket = atomic_load(&page_of(writer)->asked);
    settle_generation(writer);
    return APR_SUCCESS;
}

apr_status_t fs_avail_open_writer(fs_avail_writer_t **writer, const char *state_dir,
                                  const char *server, fs_control_t *control, fs_result_t *result)
{
    fs_avail_writer_t *made = calloc(1, sizeof(*made));
    apr_status_t status;

    *writer = NULL;
    if (made) {
        made->state_dir = strdup(state_dir);
        made->server = strdup(server);
        made->control = control;
    }
    if (made && made->state_dir && made->server)
        status = attach(made, result);
    else
        status = fs_result_set(result, APR_ENOMEM, "FS1505", "out of memory");
    if (status)
        fs_avail_close_writer(made);
    else
        *writer = made;
    return status;
}

/* Lets go of a publication in the making. */
static void forget(fs_avail_writer_t *writer)
{
    if (writer->out)
        fclose(writer->out);
    free(writer->text);
    writer->out = NULL;
    writer->text = NULL;
    writer->length = 0;
    writer->count = 0;
}

void fs_avail_close_writer(fs_avail_writer_t *writer)
{
    if (!writer)
        return;
    forget(writer);
    fs_page_unmap_all(writer->page);
    fs_page_unmap_all(writer->marks);
    free(writer->entries);
    free(writer->server);
    free(writer->state_dir);
    free(writer);
}

uint64_t fs_avail_published(const fs_avail_writer_t *writer)
{
    return atomic_load(&page_of(writer)->generation);
}

void fs_avail_set_probe(fs_avail_writer_t *writer, const char *token)
{
    snprintf(writer->probe, sizeof(writer->probe), "%s", token);
}

/* --- publishing ----------------------------------------------------------------------------------
 */

void fs_avail_begin(fs_avail_writer_t *writer, fs_usec_t farm)
{
    forget(writer);
    writer->farm = farm;
    writer->out = open_memstream(&writer->text, &writer->length);
}

static apr_status_t no_memory(fs_result_t *result)
{
    return fs_result_set(result, APR_ENOMEM, "FS1506",
                         "the notices can't be published: out of memory");
}

apr_status_t fs_avail_add(fs_avail_writer_t *writer, const fs_notice_t *notice, fs_result_t *result)
{
    apr_status_t status = fs_notice_check(notice, result);
    entry_t *entry;

    if (status)
        return status;
    if (!fs_notice_for_server(notice, writer->server) ||
        !fs_window_pending(&notice->window, writer->farm))
        return APR_SUCCESS;
    if (writer->count == writer->room) {
        unsigned room = writer->room ? 2 * writer->room : 64;
        entry_t *more = realloc(writer->entries, room * sizeof(*more));

        if (!more)
            return no_memory(result);
        writer->entries = more;
        writer->room = room;
    }
    if (!writer->out || fflush(writer->out))
        return no_memory(result);
    entry = &writer->entries[writer->count];
    entry->role = notice->role;
    entry->time = notice->time;
    fs_notice_key(notice, entry->key);
    entry->offset = writer->length;
    fs_avail_print(writer->out, notice);
    if (fflush(writer->out))
        return no_memory(result);
    entry->length = writer->length - entry->offset;
    writer->count++;
    return APR_SUCCESS;
}

/* Operators' first, then what was told last, so that the rest is what may be left out. */
static int by_weight(const void *a, const void *b)
{
    const entry_t *one = a, *other = b;

    if (one->role != other->role)
        return one->role > other->role ? -1 : 1;
    if (one->time != other->time)
        return one->time > other->time ? -1 : 1;
    return strcmp(one->key, other->key);
}

/* The text of the publication, malloc'ed; *left is how many had no room. */
static char *compose(fs_avail_writer_t *writer, size_t *length, unsigned *left)
{
    const size_t tail = strlen("end \n") + FS_DIGEST_HEX_SIZE - 1;
    char *text = NULL, hex[FS_DIGEST_HEX_SIZE];
    FILE *out = open_memstream(&text, length);
    unsigned taken = 0;
    fs_digest_t digest;
    size_t size;

    if (!out)
        return NULL;
    fprintf(out, "%s\n", fs_avail_first_line);
    if (writer->probe[0])
        fprintf(out, "probe %s\n", writer->probe);
    fflush(out);
    size = *length;
    for (unsigned i = 0; i < writer->count && taken < FS_AVAIL_NOTICES; i++) {
        const entry_t *entry = &writer->entries[i];

        if (size + entry->length + tail > FS_AVAIL_FILE_LIMIT)
            break;
        fwrite(writer->text + entry->offset, 1, entry->length, out);
        size += entry->length;
        taken++;
    }
    *left = writer->count - taken;
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

static void remove_old(const fs_avail_writer_t *writer)
{
    char path[PATH_MAX];
    unsigned count;
    uint64_t *found = fs_avail_list(writer->state_dir, &count),
             published = fs_avail_published(writer);

    for (unsigned i = 0; i + FS_AVAIL_KEEP < count; i++) {
        if (found[i] != published &&
            fs_avail_path_of(path, sizeof(path), writer->state_dir, found[i]))
            unlink(path);
    }
    free(found);
}

static apr_status_t publish(fs_avail_writer_t *writer, const char *text, size_t length,
                            fs_result_t *result)
{
    char path[PATH_MAX];
    fs_digest_t digest;
    apr_status_t status;

    fs_digest_of(&digest, text, length);
    if (fs_avail_published(writer) && fs_digest_equal(&digest, &writer->digest))
        return APR_SUCCESS;
    status = fs_avail_path_of(path, sizeof(path), writer->state_dir, writer->next)
                 ? fs_avail_put(path, text, length)
                 : APR_ENAMETOOLONG;
    if (status)
        return fs_result_set(result, status, "FS1506",
                             "the notices can't be published in %s/" FS_AVAIL_DIR
                             ": %s; the former ones stay in force",
                             writer->state_dir, strerror(status));
    atomic_store(&page_of(writer)->generation, writer->next++);
    writer->digest = digest;
    if (writer->control)
        fs_control_wake(writer->control);
    remove_old(writer);
    return APR_SUCCESS;
}

apr_status_t fs_avail_commit(fs_avail_writer_t *writer, fs_result_t *result)
{
    size_t length;
    unsigned left;
    apr_status_t status;
    char *text;

    if (!writer->out || fflush(writer->out))
        return no_memory(result);
    if (writer->count)
        qsort(writer->entries, writer->count, sizeof(*writer->entries), by_weight);
    text = compose(writer, &length, &left);
    forget(writer);
    if (!text)
        return no_memory(result);
    status = publish(writer, text, length, result);
    free(text);
    if (!status && left)
        status = fs_result_set(result, APR_ENOSPC, "FS1507",
                               "%u notices of monitors were left out: at most %d notices or %d MiB "
                               "can be in force on a server; take old ones back",
                               left, FS_AVAIL_NOTICES, FS_AVAIL_FILE_LIMIT / (1024 * 1024));
    return status;
}

/* --- conditions ----------------------------------------------------------------------------------
 */

static apr_status_t ask(fs_avail_writer_t *writer, const char *condition)
{
    char path[PATH_MAX], text[FS_NOTICE_TEXT_SIZE + 32];
    int length;

    if (!++writer->ticket)
        writer->ticket = 1;
    length = snprintf(text, sizeof(text), "%" PRIu32 "\n%s", writer->ticket, condition);
    if (length >= (int)sizeof(text) ||
        !fs_avail_path(path, sizeof(path), writer->state_dir, FS_AVAIL_ASK_FILE))
        return APR_ENAMETOOLONG;
    return fs_avail_put(path, text, (size_t)length);
}

/* Waits for the answer, waking the helpers again: they may have been between look and wait. */
static int answered(const fs_avail_writer_t *writer, fs_usec_t deadline)
{
    fs_avail_marks_page_t *marks = writer->marks->base;
    const struct timespec span = {.tv_nsec = WAKE_AGAIN * 1000};
    uint32_t seen;

    while ((seen = atomic_load(&marks->answered)) != writer->ticket) {
        if (fs_time_mono() >= deadline)
            return 0;
        if (writer->control)
            fs_control_wake(writer->control);
        syscall(SYS_futex, &marks->answered, FUTEX_WAIT, seen, &span, NULL, 0);
    }
    return 1;
}

/* APR_TIMEUP: that was no answer to this question. */
static apr_status_t read_answer(const fs_avail_writer_t *writer, fs_result_t *result)
{
    char path[PATH_MAX], *text, *problem;
    apr_status_t status = APR_SUCCESS;
    fs_result_t ignored;
    size_t length;

    if (!fs_avail_path(path, sizeof(path), writer->state_dir, FS_AVAIL_ANSWER_FILE) ||
        fs_file_read(path, FS_AVAIL_SMALL_LIMIT, &text, &length, &ignored))
        return fs_result_set(result, APR_TIMEUP, "FS1509",
                             "the condition could not be checked: httpd's answer can't be read");
    problem = strchr(text, '\n');
    if (strtoul(text, NULL, 10) != writer->ticket || !problem)
        status = fs_result_set(result, APR_TIMEUP, "FS1509",
                               "the condition could not be checked: httpd's answer is damaged");
    else if (problem[1])
        status = fs_result_set(result, APR_EINVAL, "FS1508",
                               "httpd doesn't understand the condition: %.800s; see its manual on "
                               "expressions",
                               problem + 1);
    free(text);
    return status;
}

apr_status_t fs_avail_check(fs_avail_writer_t *writer, const char *condition, fs_usec_t timeout,
                            fs_result_t *result)
{
    apr_status_t status = ask(writer, condition);
    fs_usec_t deadline;

    if (status)
        return fs_result_set(result, status, "FS1506",
                             "the condition can't be given to httpd to check, in %s/" FS_AVAIL_DIR
                             ": %s",
                             writer->state_dir, strerror(status));
    deadline = fs_time_mono() + timeout;
    atomic_store_explicit(&page_of(writer)->asked, writer->ticket, memory_order_release);
    while (answered(writer, deadline)) {
        status = read_answer(writer, result);
        if (!APR_STATUS_IS_TIMEUP(status) || fs_time_mono() >= deadline)
            return status;
        /* A process that was slow to answer the question before has just put that in its place. */
        atomic_store(&((fs_avail_marks_page_t *)writer->marks->base)->answered, 0);
    }
    return fs_result_set(result, APR_TIMEUP, "FS1509",
                         "the condition could not be checked, because no process of httpd on "
                         "this host answered in %d ms: start httpd, or tell it where httpd runs",
                         (int)(timeout / FS_USEC_PER_MSEC));
}

char *fs_avail_problems(const fs_avail_writer_t *writer)
{
    char path[PATH_MAX], *text, *line;
    fs_result_t ignored;
    size_t length;

    if (!fs_avail_path(path, sizeof(path), writer->state_dir, FS_AVAIL_PROBLEMS_FILE) ||
        fs_file_read(path, FS_AVAIL_SMALL_LIMIT, &text, &length, &ignored))
        return strdup("");
    line = strchr(text, '\n');
    if (!line || strtoull(text, NULL, 10) != fs_avail_published(writer)) {
        free(text);
        return strdup("");
    }
    memmove(text, line + 1, strlen(line + 1) + 1);
    return text;
}
