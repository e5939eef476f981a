/* SPDX-License-Identifier: Apache-2.0 */
#include "reuse/fs_reuse_pages.h"

#include <stdlib.h>
#include <string.h>

#include "reuse/fs_reuse_file.h"

#define MAGIC  "fspages1"
#define SLOTS  8192
#define PROBES 4

typedef struct table_t {
    uint64_t turn; /* which of the probes is given away next */
    fs_reuse_known_t slots[SLOTS];
} table_t;

#define SIZE (FS_REUSE_FILE_HEAD + sizeof(table_t))

struct fs_reuse_pages_t {
    fs_reuse_file_t file;
    table_t *table;
};

apr_status_t fs_reuse_pages_prepare(const char *path, uint32_t uid, uint32_t gid,
                                    fs_result_t *result)
{
    return fs_reuse_file_prepare(path, MAGIC, SIZE, uid, gid, result);
}

apr_status_t fs_reuse_pages_open(fs_reuse_pages_t **made, const char *path, fs_result_t *result)
{
    fs_reuse_pages_t *pages = calloc(1, sizeof(*pages));
    apr_status_t status;

    *made = NULL;
    if (!pages)
        return fs_result_set(result, APR_ENOMEM, "FS1711", "there is no memory to map %s", path);
    status = fs_reuse_file_open(&pages->file, path, MAGIC, result);
    if (status == APR_SUCCESS && pages->file.size != SIZE) {
        fs_reuse_file_close(&pages->file);
        status = fs_result_set(result, APR_EINVAL, "FS1711",
                               "%s is of another farmsync; remove it, and restart httpd", path);
    }
    if (status != APR_SUCCESS) {
        free(pages);
        return status;
    }
    pages->table = fs_reuse_file_own(&pages->file);
    *made = pages;
    return APR_SUCCESS;
}

void fs_reuse_pages_close(fs_reuse_pages_t *pages)
{
    if (!pages)
        return;
    fs_reuse_file_close(&pages->file);
    free(pages);
}

static fs_reuse_known_t *slot_at(const fs_reuse_pages_t *pages, const fs_digest_t *page,
                                 unsigned probe)
{
    uint64_t start;

    memcpy(&start, page->bytes, sizeof(start));
    return &pages->table->slots[(start + probe) % SLOTS];
}

static fs_reuse_known_t *find(const fs_reuse_pages_t *pages, const fs_digest_t *page)
{
    for (unsigned probe = 0; probe < PROBES; probe++) {
        fs_reuse_known_t *slot = slot_at(pages, page, probe);

        if (fs_digest_equal(&slot->page, page))
            return slot;
    }
    return NULL;
}

static fs_reuse_known_t *choose(const fs_reuse_pages_t *pages, const fs_digest_t *page)
{
    fs_reuse_known_t *slot = find(pages, page);

    for (unsigned probe = 0; !slot && probe < PROBES; probe++)
        if (fs_digest_is_zero(&slot_at(pages, page, probe)->page))
            slot = slot_at(pages, page, probe);
    return slot ? slot : slot_at(pages, page, (unsigned)(pages->table->turn++ % PROBES));
}

void fs_reuse_pages_put(fs_reuse_pages_t *pages, const fs_reuse_known_t *known)
{
    fs_reuse_known_t *slot;

    if (fs_reuse_file_lock(&pages->file))
        return;
    slot = choose(pages, &known->page);
    /* Nobody finds it until it is whole, should this process die in between. */
    memset(&slot->page, 0, sizeof(slot->page));
    slot->sequence = known->sequence;
    slot->data = known->data;
    slot->asked = known->asked;
    memcpy(slot->vary, known->vary, sizeof(slot->vary));
    memcpy(slot->depends, known->depends, sizeof(slot->depends));
    memcpy(slot->control, known->control, sizeof(slot->control));
    slot->page = known->page;
    fs_reuse_file_unlock(&pages->file);
}

int fs_reuse_pages_find(fs_reuse_pages_t *pages, const fs_digest_t *page, fs_reuse_known_t *known)
{
    const fs_reuse_known_t *slot;

    if (fs_reuse_file_lock(&pages->file))
        return 0;
    slot = find(pages, page);
    if (slot)
        *known = *slot;
    fs_reuse_file_unlock(&pages->file);
    if (!slot)
        return 0;
    known->vary[sizeof(known->vary) - 1] = 0;
    known->depends[sizeof(known->depends) - 1] = 0;
    known->control[sizeof(known->control) - 1] = 0;
    return 1;
}
