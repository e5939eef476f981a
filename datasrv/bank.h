/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The session bank of this data server: the store, what is known of hosts, and two threads that
 * work for the HTTP thread, which never waits for the disk.
 *
 *   HTTP thread ──▶ writer: offers and takes; all that wait are one transaction (group commit)
 *               ──▶ reader: comparisons, lists, copies that are only read
 *   peers (bank_peers.h) ──▶ writer, behind whatever hosts want
 *
 * A finished job goes back to the HTTP thread, or to the thread that waits for it.
 */
#ifndef FS_DATASRV_BANK_H
#define FS_DATASRV_BANK_H

#include <stdatomic.h>
#include <sys/queue.h>

#include "bank_hosts.h"
#include "bank_store.h"
#include "bell.h"
#include "board.h"
#include "net/fs_http_server.h"
#include "session/fs_session_bank.h"

#define FS_BANK_PEERS       32
#define FS_BANK_QUEUE_BYTES (64 << 20) /* of requests that wait; beyond that: come again */

typedef struct fs_bank_peer_setting_t {
    char *url, *name, *rack; /* rack NULL: none */
} fs_bank_peer_setting_t;

/* Borrowed for as long as the bank is there. */
typedef struct fs_bank_setup_t {
    const char *dir, *name, *rack;
    fs_bank_limits_t limits;
    unsigned copies;
    const fs_bank_peer_setting_t *peers;
    unsigned peer_count;
    fs_board_t *board; /* farm time */
} fs_bank_setup_t;

/* Counted since the start; any thread. */
typedef struct fs_bank_counts_t {
    atomic_ullong stored, merges, granted, refused, full, expired, asked, copied, busy, failed;
} fs_bank_counts_t;

/* What a job is to do with its batch. */
typedef enum fs_bank_task_t {
    FS_BANK_OFFERS,
    FS_BANK_TAKES,
    FS_BANK_COMPARES,
    FS_BANK_DIGEST,
    FS_BANK_BUCKETS,
    FS_BANK_CHANGES
} fs_bank_task_t;

typedef struct fs_bank_t fs_bank_t;

typedef struct fs_bank_job_t {
    STAILQ_ENTRY(fs_bank_job_t) link;
    fs_bank_task_t task;
    int patient; /* let others go first */
    fs_usec_t since;
    char origin[FS_SESSION_NAME_SIZE];
    uint8_t *body; /* malloc'ed */
    size_t length;
    fs_session_batch_reader_t reader; /* of the body */
    fs_session_batch_writer_t answer; /* bytes NULL: it failed */
    fs_result_t problem;              /* then */
    fs_http_call_t *call;             /* HTTP thread's; NULL: gone, or it was none */
    fs_bell_t *done;                  /* of who waits, if it isn't the HTTP thread */
    fs_bank_t *bank;
} fs_bank_job_t;

struct fs_bank_t {
    fs_bank_setup_t setup;
    fs_bank_store_t *store;
    fs_bank_hosts_t *hosts;
    fs_bank_leases_t leases;
    fs_session_bank_t *ranks; /* server 0 is this one, then the peers */
    apr_pool_t *pool;
    uint64_t boot;
    fs_http_server_t *server;
    fs_bank_counts_t counts;
    atomic_int full;
    struct fs_bank_threads_t *threads;
};

/* Opens the store; before threads. A warning about it is logged here. Errors: as
 * fs_bank_store_open; FS1240. */
apr_status_t fs_bank_create(fs_bank_t **bank, const fs_bank_setup_t *setup, fs_result_t *result);
/* Starts the threads, for the HTTP server that answers. FS0812. */
apr_status_t fs_bank_start(fs_bank_t *bank, fs_http_server_t *server, fs_result_t *result);
/* Ends them and closes the store; NULL is fine. HTTP thread, before its server is destroyed. */
void fs_bank_destroy(fs_bank_t *bank);

/* Gives a job to its thread, which owns it from then on. APR_EAGAIN: too many wait, the job stays
 * the caller's. Any thread. */
apr_status_t fs_bank_submit(fs_bank_t *bank, fs_bank_job_t *job);
void fs_bank_job_free(fs_bank_job_t *job);

/* The head of an answer, as things stand now. Any thread. */
fs_session_batch_t fs_bank_head(fs_bank_t *bank, fs_session_batch_kind_t kind);
/* A host's lease is to be remembered. Any thread. */
void fs_bank_keep_host(fs_bank_t *bank, const char *name, uint32_t lease_ms);
/* How much is held, as of a moment ago. Any thread. */
void fs_bank_totals(fs_bank_t *bank, fs_bank_totals_t *totals);
/* Which servers keep a key: 1 if `server` (0: this one, n: peer n - 1) is among them. `usable` as
 * fs_session_bank_choose. */
int fs_bank_ranks(const fs_bank_t *bank, const fs_session_key_t *key, unsigned server,
                  const uint8_t *usable);

/* bank_queue.c: the threads, for bank.c. 0, or -1: no memory, no thread. */
int fs_bank_queues_create(fs_bank_t *bank);
int fs_bank_queues_start(fs_bank_t *bank);
/* Ends the threads; who waits for a job gets no answer. If they weren't created, that is fine. */
void fs_bank_queues_end(fs_bank_t *bank);
void fs_bank_note_totals(fs_bank_t *bank, const fs_bank_totals_t *totals);

/* bank_work.c: does a job within the work of its thread. 0 or an error of LMDB. */
int fs_bank_job_do(fs_bank_job_t *job, fs_bank_work_t *work);
/* An answer that all that was offered found no room. */
void fs_bank_job_full(fs_bank_job_t *job);

#endif
