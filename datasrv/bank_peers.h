/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A thread for what bank servers have to do with each other:
 *
 *   each second        asks every peer how it is and which hosts live there
 *   after the start,   brings this server up to date from every peer that lives: what changed there
 *   or a break         since this one last had all of it; of another instance, what digests show
 *                      to be different
 *   a peer is dead     copies what it kept and whose owner is gone, too, to the next in rank
 *
 * What hosts want goes first: copies are stored when nobody else waits.
 */
#ifndef FS_DATASRV_BANK_PEERS_H
#define FS_DATASRV_BANK_PEERS_H

#include "bank.h"
#include "net/fs_key.h"

typedef struct fs_bank_peers_t fs_bank_peers_t;

/* Strings are borrowed. */
typedef struct fs_bank_peers_setup_t {
    fs_bank_t *bank;
    const fs_keyring_t *ring;                   /* copied */
    const char *ca_file, *cert_file, *key_file; /* NULL: none */
} fs_bank_peers_setup_t;

/* Without peers *peers is NULL. FS0812. */
apr_status_t fs_bank_peers_start(fs_bank_peers_t **peers, const fs_bank_peers_setup_t *setup,
                                 fs_result_t *result);
/* Another key for the requests to come. Any thread; NULL is fine. */
void fs_bank_peers_set_ring(fs_bank_peers_t *peers, const fs_keyring_t *ring);
/* Ends the thread. Before the bank is destroyed; NULL is fine. */
void fs_bank_peers_stop(fs_bank_peers_t *peers);

typedef struct fs_bank_peer_facts_t {
    char name[FS_SESSION_NAME_SIZE];
    int up, done;        /* it answers; this server has all that it has */
    fs_usec_t heard;     /* mono; 0: never */
    uint64_t received;   /* copies from it */
    uint64_t sent;       /* to it, in the place of a dead one */
    fs_result_t problem; /* why it is down */
} fs_bank_peer_facts_t;
/* Any thread; returns how many. NULL: none. */
unsigned fs_bank_peers_facts(fs_bank_peers_t *peers, fs_bank_peer_facts_t facts[FS_BANK_PEERS]);

#endif
