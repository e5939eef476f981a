/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "bank_peers_internal.h"

#define LOOK_EVERY (FS_USEC_PER_SEC / 4) /* whether a peer is due, or anything is to do */

static void *run(void *baton)
{
    fs_bank_peers_t *peers = baton;

    while (fs_bank_poll(peers)) {
        int busy = 0;

        for (unsigned i = 0; i < peers->count && !atomic_load(&peers->stop); i++)
            if (peers->peers[i].facts.up && !peers->peers[i].facts.done)
                busy |= fs_bank_pull(peers, &peers->peers[i]);
        if (!busy && !atomic_load(&peers->stop))
            fs_bank_cover(peers);
        fs_bell_wait(&peers->bell, fs_time_mono() + LOOK_EVERY);
    }
    return NULL;
}

static void destroy(fs_bank_peers_t *peers)
{
    fs_http_client_destroy(peers->client);
    fs_bell_destroy(&peers->bell);
    fs_bell_destroy(&peers->stored);
    pthread_mutex_destroy(&peers->lock);
    free(peers);
}

apr_status_t fs_bank_peers_start(fs_bank_peers_t **peers, const fs_bank_peers_setup_t *setup,
                                 fs_result_t *result)
{
    fs_bank_t *bank = setup->bank;
    fs_bank_peers_t *made;

    *peers = NULL;
    if (!bank->setup.peer_count)
        return APR_SUCCESS;
    made = calloc(1, sizeof(*made));
    if (!made)
        return APR_ENOMEM;
    made->bank = bank;
    made->setup = *setup;
    made->ring = *setup->ring;
    made->count = bank->setup.peer_count;
    snprintf(made->origin, sizeof(made->origin), FS_BANK_PEER_PREFIX "%.63s", bank->setup.name);
    for (unsigned i = 0; i < made->count; i++) {
        made->peers[i].setting = &bank->setup.peers[i];
        snprintf(made->peers[i].facts.name, sizeof(made->peers[i].facts.name), "%s",
                 bank->setup.peers[i].name);
        fs_bank_hosts_peer_named(bank->hosts, bank->setup.peers[i].name, fs_time_mono());
    }
    pthread_mutex_init(&made->lock, NULL);
    fs_bell_init(&made->bell);
    fs_bell_init(&made->stored);
    fs_http_global_init();
    made->running = fs_bank_connect(made) && !pthread_create(&made->thread, NULL, run, made);
    if (!made->running) {
        destroy(made);
        return fs_result_set(result, APR_EGENERAL, "FS0812",
                             "cannot start a thread for the other bank servers: out of memory or "
                             "processes");
    }
    *peers = made;
    return APR_SUCCESS;
}

void fs_bank_peers_set_ring(fs_bank_peers_t *peers, const fs_keyring_t *ring)
{
    if (!peers)
        return;
    pthread_mutex_lock(&peers->lock);
    peers->ring = *ring;
    peers->ring_changed = 1;
    pthread_mutex_unlock(&peers->lock);
}

void fs_bank_peers_stop(fs_bank_peers_t *peers)
{
    if (!peers)
        return;
    atomic_store(&peers->stop, 1);
    fs_bell_ring(&peers->bell);
    pthread_mutex_lock(&peers->lock);
    if (peers->client)
        fs_http_client_abort(peers->client);
    pthread_mutex_unlock(&peers->lock);
    pthread_join(peers->thread, NULL);
    destroy(peers);
}

unsigned fs_bank_peers_facts(fs_bank_peers_t *peers, fs_bank_peer_facts_t facts[FS_BANK_PEERS])
{
    unsigned count = peers ? peers->count : 0;

    if (!count)
        return 0;
    pthread_mutex_lock(&peers->lock);
    for (unsigned i = 0; i < count; i++)
        facts[i] = peers->peers[i].facts;
    pthread_mutex_unlock(&peers->lock);
    return count;
}
