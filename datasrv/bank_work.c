/* SPDX-License-Identifier: Apache-2.0 */
/* What the bank's threads do with a batch, within a transaction. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bank.h"
#include "session/fs_session_digest.h"

#define CHUNK       5000 /* labels looked at in a row */
#define ITEM_ROOM   160  /* an item without a copy needs no more */
#define BUCKET_BITS (FS_SESSION_BUCKETS / 8)

/* How many bytes of copies still fit if `left` items more are to find their place. */
static size_t room_in(const fs_session_batch_writer_t *writer, uint32_t left)
{
    size_t taken = writer->length + (size_t)left * ITEM_ROOM + 2 * (size_t)ITEM_ROOM;

    return taken < FS_SESSION_BATCH_LIMIT ? FS_SESSION_BATCH_LIMIT - taken : 0;
}

static int begin_answer(fs_bank_job_t *job, const fs_bank_work_t *work,
                        fs_session_batch_kind_t kind)
{
    fs_session_batch_t head = fs_bank_head(job->bank, kind);

    head.sequence = work->sequence;
    free(job->answer.bytes);
    return fs_session_batch_begin(&job->answer, &head, NULL) == APR_SUCCESS ? 0 : ENOMEM;
}

static int add(fs_bank_job_t *job, const fs_session_item_t *item)
{
    return fs_session_batch_add(&job->answer, item, NULL) == APR_SUCCESS ? 0 : ENOMEM;
}

static int do_offers(fs_bank_job_t *job, fs_bank_work_t *work)
{
    fs_session_batch_reader_t reader = job->reader;
    fs_session_item_t item, answer;
    int error = begin_answer(job, work, FS_SESSION_BATCH_OFFERED);

    while (!error && fs_session_batch_next(&reader, &item) && !(error = fs_bank_step(work))) {
        error =
            fs_bank_offer(work, job->origin, &item, room_in(&job->answer, reader.left), &answer);
        if (!error)
            error = add(job, &answer);
    }
    return error;
}

static int do_takes(fs_bank_job_t *job, fs_bank_work_t *work)
{
    fs_session_batch_reader_t reader = job->reader;
    fs_session_item_t item, answer, aside;
    int error = begin_answer(job, work, FS_SESSION_BATCH_TAKEN);

    while (!error && fs_session_batch_next(&reader, &item) && !(error = fs_bank_step(work))) {
        error = fs_bank_take(work, job->origin, &item, room_in(&job->answer, reader.left), &answer,
                             &aside);
        if (!error)
            error = add(job, &answer);
        if (!error && aside.parts && job->answer.count + reader.left < FS_SESSION_BATCH_ITEMS)
            error = add(job, &aside);
    }
    return error;
}

static int do_compares(fs_bank_job_t *job, fs_bank_work_t *work)
{
    fs_session_batch_reader_t reader = job->reader;
    fs_session_item_t item, answer;
    int differs, error = begin_answer(job, work, FS_SESSION_BATCH_DIFFERING);

    while (!error && fs_session_batch_next(&reader, &item)) {
        error = fs_bank_compare(work, job->origin, &item, &answer, &differs);
        if (!error && differs)
            error = add(job, &answer);
    }
    return error;
}

/* --- scans ---------------------------------------------------------------------------------------
 */

typedef struct scan_t {
    fs_bank_job_t *job;
    int server; /* only what this one keeps, too; -1: all */
    const uint8_t *buckets;
    fs_session_digest_t *digest;
    int full;
} scan_t;

/* The server that a name belongs to; -1 if it is none. */
static int server_named(const fs_bank_t *bank, const char *name)
{
    if (!strcmp(name, bank->setup.name))
        return 0;
    for (unsigned i = 0; i < bank->setup.peer_count; i++)
        if (!strcmp(name, bank->setup.peers[i].name))
            return (int)i + 1;
    return -1;
}

static int see_label(void *baton, const fs_session_item_t *label)
{
    scan_t *scan = baton;
    unsigned bucket = fs_session_bucket(&label->key);

    if (scan->buckets && !(scan->buckets[bucket / 8] & 1 << bucket % 8))
        return 0;
    if (scan->server >= 0 &&
        !fs_bank_ranks(scan->job->bank, &label->key, (unsigned)scan->server, NULL))
        return 0;
    if (scan->digest) {
        fs_session_digest_flip(scan->digest, &label->key, &label->version);
        return 0;
    }
    scan->full = fs_session_batch_filled(&scan->job->answer) || add(scan->job, label);
    return scan->full;
}

static int scan_all(scan_t *scan, fs_bank_work_t *work, const fs_session_key_t *after,
                    uint64_t since)
{
    fs_session_key_t last;
    int more = 1, error = 0;

    if (after)
        last = *after;
    while (!error && more && !scan->full) {
        error = fs_bank_scan(work, after, since, CHUNK, see_label, scan, &last, &more);
        after = &last;
    }
    return error;
}

static int read_buckets(const fs_session_item_t *item, uint8_t buckets[BUCKET_BITS])
{
    memset(buckets, 0, BUCKET_BITS);
    for (uint32_t i = 0; i + 1 < item->sealed_length; i += 2) {
        unsigned bucket = item->sealed[i] | (unsigned)item->sealed[i + 1] << 8;

        if (bucket < FS_SESSION_BUCKETS)
            buckets[bucket / 8] |= (uint8_t)(1 << bucket % 8);
    }
    return item->sealed_length > 0;
}

static int do_digest(fs_bank_job_t *job, fs_bank_work_t *work)
{
    fs_session_item_t item = {.parts = FS_SESSION_PART_SEALED};
    fs_session_digest_t *digest = calloc(1, sizeof(*digest));
    uint8_t *bytes = malloc(FS_SESSION_DIGEST_BYTES);
    scan_t scan = {.job = job, .server = server_named(job->bank, job->reader.head.name)};
    int error = digest && bytes ? begin_answer(job, work, FS_SESSION_BATCH_DIGEST) : ENOMEM;

    scan.digest = digest;
    if (!error)
        error = scan_all(&scan, work, NULL, 0);
    if (!error) {
        fs_session_digest_write(digest, bytes);
        item.sealed = bytes;
        item.sealed_length = FS_SESSION_DIGEST_BYTES;
        error = add(job, &item);
    }
    free(bytes);
    free(digest);
    return error;
}

/* The first item of the request says after which key, and in which buckets. Key 0: from the first.
 */
static int do_list(fs_bank_job_t *job, fs_bank_work_t *work)
{
    static const fs_session_key_t none;
    fs_session_batch_reader_t reader = job->reader;
    scan_t scan = {.job = job, .server = server_named(job->bank, job->reader.head.name)};
    uint8_t buckets[BUCKET_BITS];
    fs_session_item_t item = {.parts = 0};
    const fs_session_key_t *after = NULL;
    int error = begin_answer(job, work, FS_SESSION_BATCH_LIST);

    if (fs_session_batch_next(&reader, &item) && memcmp(&item.key, &none, sizeof(none)) != 0)
        after = &item.key;
    if (job->task == FS_BANK_BUCKETS && read_buckets(&item, buckets))
        scan.buckets = buckets;
    if (!error)
        error = scan_all(&scan, work, after,
                         job->task == FS_BANK_CHANGES ? job->reader.head.sequence : 0);
    if (!error && scan.full)
        fs_session_batch_flag(&job->answer, FS_SESSION_BATCH_MORE);
    return error;
}

int fs_bank_job_do(fs_bank_job_t *job, fs_bank_work_t *work)
{
    switch (job->task) {
    case FS_BANK_OFFERS:
        return do_offers(job, work);
    case FS_BANK_TAKES:
        return do_takes(job, work);
    case FS_BANK_COMPARES:
        return do_compares(job, work);
    case FS_BANK_DIGEST:
        return do_digest(job, work);
    case FS_BANK_BUCKETS:
    case FS_BANK_CHANGES:
        return do_list(job, work);
    }
    return EINVAL;
}

void fs_bank_job_full(fs_bank_job_t *job)
{
    fs_session_batch_t head = fs_bank_head(job->bank, FS_SESSION_BATCH_OFFERED);
    fs_session_batch_reader_t reader = job->reader;
    fs_session_item_t item, answer = {.what = FS_SESSION_WHAT_FULL};

    head.flags |= FS_SESSION_BATCH_FULL;
    free(job->answer.bytes);
    if (fs_session_batch_begin(&job->answer, &head, NULL) != APR_SUCCESS)
        return;
    while (fs_session_batch_next(&reader, &item)) {
        answer.key = item.key;
        if (add(job, &answer)) {
            free(job->answer.bytes);
            job->answer.bytes = NULL;
            return;
        }
    }
}
