/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the peers' thread share. All of it is that thread's but what `lock` guards. */
#ifndef FS_DATASRV_BANK_PEERS_INTERNAL_H
#define FS_DATASRV_BANK_PEERS_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "bank_peers.h"
#include "net/fs_http_client.h"

#define BANK_PEER_TIMEOUT_MS 10000
#define BANK_FETCH_KEYS      200 /* copies asked for at once */

typedef struct fs_bank_peer_t {
    const fs_bank_peer_setting_t *setting;
    fs_bank_peer_facts_t facts; /* guarded by lock for writing, and for reading elsewhere */
    fs_usec_t next_poll, down_since;
    int said_down;
    uint64_t instance, sequence; /* as of the latest poll */
    fs_bank_mark_t mark;         /* known to be here if nothing is amiss until */
    fs_usec_t marked;            /* this is old enough; 0: none */
} fs_bank_peer_t;

struct fs_bank_peers_t {
    fs_bank_t *bank;
    fs_bank_peers_setup_t setup;
    char origin[FS_SESSION_NAME_SIZE];
    pthread_t thread;
    int running;
    fs_bell_t bell, stored; /* to end; a job is done */
    atomic_int stop;
    fs_http_client_t *client;
    fs_usec_t covered;    /* mono: when the place of the dead was last looked after */
    uint64_t covered_for; /* a bit for each that was dead then */
    uint64_t asked;       /* by hosts, when last looked */
    pthread_mutex_t lock; /* guards client's place, ring, ring_changed and facts */
    fs_keyring_t ring;
    int ring_changed;
    unsigned count;
    fs_bank_peer_t peers[FS_BANK_PEERS];
};

/* bank_poll.c: */
/* Makes the client anew, with the latest key. 0: out of memory. */
int fs_bank_connect(fs_bank_peers_t *peers);
/* One exchange; the caller frees *answer (malloc'ed bytes, which `reader` uses) on success. */
apr_status_t fs_bank_ask(fs_bank_peers_t *peers, const fs_bank_peer_t *peer, const char *resource,
                         const fs_session_batch_writer_t *body, fs_session_batch_kind_t kind,
                         unsigned timeout_ms, fs_session_batch_reader_t *reader, char **answer,
                         fs_result_t *result);
/* Polls the peers that are due; called between the steps of whatever takes long. Returns 0 when the
 * thread is to end. */
int fs_bank_poll(fs_bank_peers_t *peers);
/* Lets hosts go first: pauses for as long as the step took that began at `since`, if they are busy.
 */
void fs_bank_yield(fs_bank_peers_t *peers, fs_usec_t since);

/* bank_pull.c: brings this server up to date from a peer. Returns 1 if that is done. */
int fs_bank_pull(fs_bank_peers_t *peers, fs_bank_peer_t *peer);
/* bank_cover.c: in the place of those who are dead. */
void fs_bank_cover(fs_bank_peers_t *peers);

#endif
