/* SPDX-License-Identifier: Apache-2.0 */
/* The request processes' side of a publication: nothing here waits. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "avail/fs_avail_internal.h"
#include "base/fs_file.h"

#define READ_TRIES 3 /* an old publication may be removed while it is being opened */

static fs_avail_page_t *page_of(const fs_avail_reader_t *reader)
{
    fs_mapping_t *mapping = atomic_load_explicit(&reader->page, memory_order_acquire);

    return mapping ? mapping->base : NULL;
}

static fs_avail_marks_page_t *marks_of(const fs_avail_reader_t *reader)
{
    fs_mapping_t *mapping = atomic_load_explicit(&reader->marks, memory_order_acquire);

    return mapping ? mapping->base : NULL;
}

/* Maps the file if it isn't mapped or was replaced; older mappings stay, threads may read them. */
static void refresh_one(fs_avail_reader_t *reader, _Atomic(fs_mapping_t *) *where, const char *name,
                        const fs_page_head_t *head, int writable)
{
    fs_mapping_t *now = atomic_load(where), *mapping;
    fs_result_t ignored;

    if (now && fs_page_is_current(reader->state_dir, name, now))
        return;
    mapping = fs_page_map(reader->state_dir, name, head, writable, "FS1512", &ignored);
    if (!mapping)
        return;
    mapping->older = now;
    atomic_store_explicit(where, mapping, memory_order_release);
}

void fs_avail_refresh(fs_avail_reader_t *reader)
{
    fs_page_head_t head;

    fs_avail_head_marks(&head);
    refresh_one(reader, &reader->marks, FS_AVAIL_MARKS_FILE, &head, 1);
    fs_avail_head_page(&head);
    refresh_one(reader, &reader->page, FS_AVAIL_PAGE_FILE, &head, 0);
}

apr_status_t fs_avail_open_reader(fs_avail_reader_t **reader, const char *state_dir,
                                  fs_result_t *result)
{
    fs_avail_reader_t *made = calloc(1, sizeof(*made));

    *reader = NULL;
    if (made)
        made->state_dir = strdup(state_dir);
    if (!made || !made->state_dir) {
        free(made);
        return fs_result_set(result, APR_ENOMEM, "FS1510", "out of memory");
    }
    fs_avail_refresh(made);
    *reader = made;
    return APR_SUCCESS;
}

void fs_avail_close_reader(fs_avail_reader_t *reader)
{
    if (!reader)
        return;
    fs_page_unmap_all(atomic_load(&reader->page));
    fs_page_unmap_all(atomic_load(&reader->marks));
    free(reader->state_dir);
    free(reader);
}

uint64_t fs_avail_generation(const fs_avail_reader_t *reader)
{
    const fs_avail_page_t *page = page_of(reader);

    return page ? atomic_load_explicit(&page->generation, memory_order_acquire) : 0;
}

/* --- reading a publication ----------------------------------------------------------------------
 */

static apr_status_t read_one(const char *state_dir, uint64_t generation, fs_avail_t **avail,
                             fs_result_t *result)
{
    char path[PATH_MAX], *text;
    fs_result_t why;
    size_t length;
    apr_status_t status;

    *avail = NULL;
    fs_result_clear(&why);
    if (!fs_avail_path_of(path, sizeof(path), state_dir, generation))
        return fs_result_set(result, APR_ENAMETOOLONG, "FS1512", "%s: path too long", state_dir);
    status = fs_file_read(path, FS_AVAIL_FILE_LIMIT, &text, &length, &why);
    if (status)
        return fs_result_set(result, status, "FS1512", "published notices can't be read: %.900s",
                             why.detail);
    status = fs_avail_parse(avail, text, length, &why);
    if (status) {
        free(text);
        return fs_result_set(result, status, "FS1511", "%s: %.800s", path, why.detail);
    }
    (*avail)->generation = generation;
    return APR_SUCCESS;
}

/* The newest publication before `generation` that is whole. */
static apr_status_t read_older(const char *state_dir, uint64_t generation, fs_avail_t **avail)
{
    unsigned count;
    uint64_t *found = fs_avail_list(state_dir, &count);
    fs_result_t ignored;
    apr_status_t status = APR_ENOENT;

    while (count-- && status) {
        if (found[count] < generation)
            status = read_one(state_dir, found[count], avail, &ignored);
    }
    free(found);
    return status;
}

apr_status_t fs_avail_read(const fs_avail_reader_t *reader, fs_avail_t **avail, fs_result_t *result)
{
    uint64_t generation = 0;
    apr_status_t status = APR_SUCCESS;

    fs_result_clear(result);
    for (int tries = 0; tries < READ_TRIES; tries++) {
        generation = fs_avail_generation(reader);
        if (!generation) {
            *avail = calloc(1, sizeof(**avail));
            return *avail ? APR_SUCCESS
                          : fs_result_set(result, APR_ENOMEM, "FS1510", "out of memory");
        }
        status = read_one(reader->state_dir, generation, avail, result);
        if (!APR_STATUS_IS_ENOENT(status) || fs_avail_generation(reader) == generation)
            break;
    }
    if (status)
        status = read_older(reader->state_dir, generation, avail);
    if (!status)
        (*avail)->asked_for = generation;
    return status ? result->status : APR_SUCCESS;
}

/* --- what children tell the agent ---------------------------------------------------------------
 */

char *fs_avail_asked(const fs_avail_reader_t *reader, uint32_t *ticket)
{
    const fs_avail_page_t *page = page_of(reader);
    const fs_avail_marks_page_t *marks = marks_of(reader);
    char path[PATH_MAX], *text, *line;
    fs_result_t ignored;
    size_t length;

    *ticket = page ? atomic_load_explicit(&page->asked, memory_order_acquire) : 0;
    if (!*ticket || !marks || atomic_load(&marks->answered) == *ticket ||
        !fs_avail_path(path, sizeof(path), reader->state_dir, FS_AVAIL_ASK_FILE) ||
        fs_file_read(path, FS_AVAIL_SMALL_LIMIT, &text, &length, &ignored))
        return NULL;
    line = strchr(text, '\n');
    if (!line || strtoul(text, NULL, 10) != *ticket) {
        free(text);
        return NULL;
    }
    memmove(text, line + 1, strlen(line + 1) + 1);
    return text;
}

void fs_avail_answer(const fs_avail_reader_t *reader, uint32_t ticket, const char *problem)
{
    fs_avail_marks_page_t *marks = marks_of(reader);
    char path[PATH_MAX], text[FS_DETAIL_SIZE];
    int length = snprintf(text, sizeof(text), "%" PRIu32 "\n%s", ticket, problem ? problem : "");

    if (length >= (int)sizeof(text))
        length = (int)sizeof(text) - 1;
    if (!marks || !fs_avail_path(path, sizeof(path), reader->state_dir, FS_AVAIL_ANSWER_FILE) ||
        fs_avail_put(path, text, (size_t)length))
        return;
    atomic_store(&marks->answered, ticket);
    syscall(SYS_futex, &marks->answered, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

void fs_avail_set_problems(const fs_avail_reader_t *reader, uint64_t generation,
                           const char *problems)
{
    char path[PATH_MAX], *text;
    int length;

    if (!fs_avail_path(path, sizeof(path), reader->state_dir, FS_AVAIL_PROBLEMS_FILE))
        return;
    length = asprintf(&text, "%" PRIu64 "\n%s", generation, problems);
    if (length < 0)
        return;
    fs_avail_put(path, text, (size_t)length);
    free(text);
}

/* FNV-1a; 0 stands for a free record. */
static uint64_t hash_of(const char *name)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    for (; *name; name++)
        hash = (hash ^ (unsigned char)*name) * UINT64_C(0x100000001b3);
    return hash ? hash : 1;
}

fs_avail_marks_t *fs_avail_marks(const fs_avail_reader_t *reader, const char *application)
{
    fs_avail_marks_page_t *marks = marks_of(reader);
    uint64_t hash = hash_of(application);

    for (unsigned i = 0; marks && i < FS_AVAIL_MARKS; i++) {
        fs_avail_record_t *record = &marks->records[(hash + i) % FS_AVAIL_MARKS];
        uint64_t owner = atomic_load(&record->name);

        if (owner == hash ||
            (!owner &&
             (atomic_compare_exchange_strong(&record->name, &owner, hash) || owner == hash)))
            return &record->marks;
    }
    return (fs_avail_marks_t *)&reader->private_marks;
}
