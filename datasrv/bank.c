/* SPDX-License-Identifier: Apache-2.0 */
#include "bank.h"

#include <stdlib.h>
#include <string.h>

#include <apr_general.h>
#include <openssl/rand.h>

#include "base/fs_log.h"

/* --- life ----------------------------------------------------------------------------------------
 */

static void know_host(void *baton, const char *name, uint32_t lease_ms)
{
    fs_bank_hosts_known(baton, name, lease_ms, fs_time_mono());
}

/* What the store remembers of hosts and how much it holds. */
static apr_status_t read_store(fs_bank_t *bank, fs_result_t *result)
{
    fs_bank_totals_t totals;
    fs_bank_work_t work;
    int error = fs_bank_begin(&work, bank->store, NULL, 0, 0);

    if (!error)
        error = fs_bank_each_host(&work, know_host, bank->hosts);
    if (!error)
        error = fs_bank_count(&work, &totals);
    if (!error)
        fs_bank_note_totals(bank, &totals);
    fs_bank_abort(&work);
    return error ? fs_bank_failed(error, result) : APR_SUCCESS;
}

static apr_status_t make_ranks(fs_bank_t *bank, fs_result_t *result)
{
    fs_session_server_t servers[FS_BANK_PEERS + 1] = {{bank->setup.name, bank->setup.rack}};

    for (unsigned i = 0; i < bank->setup.peer_count; i++) {
        servers[i + 1].name = bank->setup.peers[i].name;
        servers[i + 1].rack = bank->setup.peers[i].rack;
    }
    return fs_session_bank_make(&bank->ranks, servers, bank->setup.peer_count + 1, bank->pool,
                                result);
}

static apr_status_t fill(fs_bank_t *bank, fs_result_t *result)
{
    apr_status_t status;

    bank->hosts = fs_bank_hosts_create(fs_time_mono());
    if (!bank->hosts || fs_bank_queues_create(bank) ||
        apr_pool_create(&bank->pool, NULL) != APR_SUCCESS)
        return APR_ENOMEM;
    bank->leases = (fs_bank_leases_t){bank->hosts, fs_bank_hosts_left, fs_bank_hosts_moved,
                                      fs_bank_hosts_wanted};
    while (!bank->boot)
        if (RAND_bytes((unsigned char *)&bank->boot, sizeof(bank->boot)) != 1)
            return APR_EGENERAL;
    status = make_ranks(bank, result);
    return status == APR_SUCCESS ? read_store(bank, result) : status;
}

apr_status_t fs_bank_create(fs_bank_t **bank, const fs_bank_setup_t *setup, fs_result_t *result)
{
    fs_bank_t *made = calloc(1, sizeof(*made));
    apr_status_t status;

    *bank = NULL;
    if (!made)
        return APR_ENOMEM;
    apr_initialize();
    made->setup = *setup;
    status = fs_bank_store_open(&made->store, setup->dir, &setup->limits, NULL, result);
    if (status == APR_SUCCESS && result->problem[0])
        fs_log_result(FS_LOG_WARNING, result);
    if (status == APR_SUCCESS)
        status = fill(made, result);
    if (status == APR_SUCCESS)
        *bank = made;
    else
        fs_bank_destroy(made);
    return status;
}

apr_status_t fs_bank_start(fs_bank_t *bank, fs_http_server_t *server, fs_result_t *result)
{
    bank->server = server;
    if (!fs_bank_queues_start(bank))
        return APR_SUCCESS;
    return fs_result_set(result, APR_EGENERAL, "FS0812",
                         "cannot start a thread for the session bank: out of memory or processes");
}

void fs_bank_destroy(fs_bank_t *bank)
{
    if (!bank)
        return;
    fs_bank_queues_end(bank);
    fs_bank_store_close(bank->store);
    fs_bank_hosts_destroy(bank->hosts);
    if (bank->pool)
        apr_pool_destroy(bank->pool);
    free(bank);
}

/* --- what others ask -----------------------------------------------------------------------------
 */

fs_session_batch_t fs_bank_head(fs_bank_t *bank, fs_session_batch_kind_t kind)
{
    fs_session_batch_t head = {.kind = kind, .boot = bank->boot};
    fs_bank_sync_t sync;

    fs_bank_hosts_sync(bank->hosts, fs_time_mono(), &sync);
    head.instance = fs_bank_store_instance(bank->store);
    head.flags |= sync.in_sync ? FS_SESSION_BATCH_IN_SYNC : 0;
    head.flags |= atomic_load(&bank->full) ? FS_SESSION_BATCH_FULL : 0;
    return head;
}

int fs_bank_ranks(const fs_bank_t *bank, const fs_session_key_t *key, unsigned server,
                  const uint8_t *usable)
{
    unsigned chosen[FS_BANK_PEERS + 1];
    unsigned count = fs_session_bank_choose(bank->ranks, key, bank->setup.copies, usable, chosen);

    for (unsigned i = 0; i < count; i++)
        if (chosen[i] == server)
            return 1;
    return 0;
}
