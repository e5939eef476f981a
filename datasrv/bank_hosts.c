/* SPDX-License-Identifier: Apache-2.0 */
#include "bank_hosts.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "session/fs_session_lease.h"
#include "session/fs_session_resync.h"

#define DEFAULT_LEASE (300 * FS_USEC_PER_MSEC)  /* presumed of who never said */
#define FORGET_AFTER  (86400 * FS_USEC_PER_SEC) /* of silence, if its place is needed */

typedef struct taken_t {
    fs_session_key_t key;
    char by[FS_SESSION_NAME_SIZE];
} taken_t;

typedef struct wanted_t {
    fs_session_key_t key;
    char by[FS_SESSION_NAME_SIZE];
    fs_usec_t until;
} wanted_t;

typedef struct host_t {
    char name[FS_SESSION_NAME_SIZE];
    fs_session_lease_t lease;
    fs_usec_t last;   /* heard, or loaded */
    uint64_t mark;    /* how many sessions were taken from it */
    taken_t *taken;   /* ring of the last FS_BANK_TAKEN; NULL: none was */
    wanted_t *wanted; /* FS_BANK_WANTED; NULL: none was */
} host_t;

struct fs_bank_hosts_t {
    pthread_mutex_t lock; /* guards everything below */
    fs_usec_t started;
    unsigned count;
    host_t hosts[FS_BANK_HOSTS];
    fs_session_resync_t resync;
};

static void forget(host_t *host)
{
    free(host->taken);
    free(host->wanted);
    memset(host, 0, sizeof(*host));
}

fs_bank_hosts_t *fs_bank_hosts_create(fs_usec_t now)
{
    fs_bank_hosts_t *hosts = calloc(1, sizeof(*hosts));

    if (!hosts)
        return NULL;
    pthread_mutex_init(&hosts->lock, NULL);
    hosts->started = now;
    fs_session_resync_start(&hosts->resync, FS_BANK_SETTLE, now);
    return hosts;
}

void fs_bank_hosts_destroy(fs_bank_hosts_t *hosts)
{
    if (!hosts)
        return;
    for (unsigned i = 0; i < hosts->count; i++)
        forget(&hosts->hosts[i]);
    pthread_mutex_destroy(&hosts->lock);
    free(hosts);
}

/* Lock held, as for everything static here. */
static host_t *find(fs_bank_hosts_t *hosts, const char *name)
{
    for (unsigned i = 0; i < hosts->count; i++)
        if (!strcmp(hosts->hosts[i].name, name))
            return &hosts->hosts[i];
    return NULL;
}

static host_t *find_or_add(fs_bank_hosts_t *hosts, const char *name, fs_usec_t now)
{
    host_t *host = find(hosts, name);

    if (host)
        return host;
    if (hosts->count < FS_BANK_HOSTS)
        host = &hosts->hosts[hosts->count++];
    for (unsigned i = 0; !host && i < hosts->count; i++)
        if (now - hosts->hosts[i].last > FORGET_AFTER)
            host = &hosts->hosts[i];
    if (!host)
        return NULL;
    forget(host);
    snprintf(host->name, sizeof(host->name), "%s", name);
    host->last = now;
    return host;
}

/* Nobody is taken for gone before the longest lease is over. */
static void take_length(fs_bank_hosts_t *hosts, host_t *host, uint32_t lease_ms)
{
    host->lease.length = (fs_usec_t)lease_ms * FS_USEC_PER_MSEC;
    if (hosts->resync.settle < host->lease.length)
        hosts->resync.settle = host->lease.length;
}

void fs_bank_hosts_known(fs_bank_hosts_t *hosts, const char *name, uint32_t lease_ms, fs_usec_t now)
{
    host_t *host;

    if (!name[0] || !lease_ms || lease_ms > FS_SESSION_LEASE_LIMIT)
        return;
    pthread_mutex_lock(&hosts->lock);
    host = find_or_add(hosts, name, now);
    if (host)
        take_length(hosts, host, lease_ms);
    fs_session_resync_named(&hosts->resync, name, now);
    pthread_mutex_unlock(&hosts->lock);
}

static int heard(fs_bank_hosts_t *hosts, host_t *host, fs_usec_t now)
{
    host->lease.heard = host->last = now;
    return fs_session_resync_heard(&hosts->resync, host->name, host->lease.length, now);
}

void fs_bank_hosts_heard(fs_bank_hosts_t *hosts, const char *name, fs_usec_t now)
{
    host_t *host;

    pthread_mutex_lock(&hosts->lock);
    host = find(hosts, name);
    if (host)
        heard(hosts, host, now);
    pthread_mutex_unlock(&hosts->lock);
}

int fs_bank_hosts_renew(fs_bank_hosts_t *hosts, const char *name, const fs_session_batch_t *asked,
                        uint64_t boot, fs_usec_t now, fs_session_batch_t *answer, int *lease)
{
    const uint32_t length = asked->lease ? asked->lease : DEFAULT_LEASE;
    int known = asked->boot == boot, done;
    host_t *host;

    *lease = 0;
    pthread_mutex_lock(&hosts->lock);
    host = find_or_add(hosts, name, now);
    if (host) {
        *lease = host->lease.length != (fs_usec_t)length * FS_USEC_PER_MSEC;
        take_length(hosts, host, length);
        done = heard(hosts, host, now);
        if (known && asked->flags & FS_SESSION_BATCH_PASS && asked->sequence <= (uint64_t)now) {
            fs_session_resync_done(&hosts->resync, name, (fs_usec_t)asked->sequence, now);
            done = fs_session_resync_heard(&hosts->resync, name, 0, now);
        }
        answer->mark = host->mark;
        answer->sequence = (uint64_t)now;
        answer->flags |= done ? 0 : FS_SESSION_BATCH_PASS;
        if (!known || asked->mark > host->mark || host->mark - asked->mark > FS_BANK_TAKEN)
            answer->flags |= FS_SESSION_BATCH_ALL;
    }
    pthread_mutex_unlock(&hosts->lock);
    return host != NULL;
}

static apr_status_t add_wanted(const host_t *host, fs_usec_t now, fs_session_batch_writer_t *writer)
{
    fs_session_item_t item = {.parts = FS_SESSION_PART_OWNER, .flags = FS_SESSION_ITEM_WANTED};
    apr_status_t status = APR_SUCCESS;

    for (unsigned i = 0; host->wanted && i < FS_BANK_WANTED && status == APR_SUCCESS; i++) {
        if (host->wanted[i].until <= now)
            continue;
        item.key = host->wanted[i].key;
        memcpy(item.owner, host->wanted[i].by, sizeof(item.owner));
        status = fs_session_batch_add(writer, &item, NULL);
    }
    return status;
}

apr_status_t fs_bank_hosts_taken(fs_bank_hosts_t *hosts, const char *name, uint64_t mark,
                                 fs_usec_t now, fs_session_batch_writer_t *writer)
{
    fs_session_item_t item = {.parts = FS_SESSION_PART_OWNER};
    apr_status_t status = APR_SUCCESS;
    host_t *host;

    pthread_mutex_lock(&hosts->lock);
    host = find(hosts, name);
    for (; host && host->taken && mark < host->mark && status == APR_SUCCESS; mark++) {
        const taken_t *taken = &host->taken[mark % FS_BANK_TAKEN];

        item.key = taken->key;
        memcpy(item.owner, taken->by, sizeof(item.owner));
        status = fs_session_batch_add(writer, &item, NULL);
    }
    if (host && status == APR_SUCCESS)
        status = add_wanted(host, now, writer);
    pthread_mutex_unlock(&hosts->lock);
    return status;
}

fs_usec_t fs_bank_hosts_left(void *baton, const char *owner, const char *taker)
{
    fs_bank_hosts_t *hosts = baton;
    fs_usec_t now = fs_time_mono(), left = 0;
    const host_t *host, *asks;

    pthread_mutex_lock(&hosts->lock);
    host = find(hosts, owner);
    asks = find(hosts, taker);
    if (host)
        left = fs_session_lease_left(&host->lease, hosts->started,
                                     asks && asks->lease.length ? asks->lease.length
                                                                : DEFAULT_LEASE * FS_USEC_PER_MSEC,
                                     now);
    pthread_mutex_unlock(&hosts->lock);
    return left;
}

void fs_bank_hosts_moved(void *baton, const fs_session_key_t *key, const char *from, const char *to)
{
    fs_bank_hosts_t *hosts = baton;
    host_t *host;

    pthread_mutex_lock(&hosts->lock);
    host = find(hosts, from);
    for (unsigned i = 0; host && host->wanted && i < FS_BANK_WANTED; i++)
        if (!fs_session_key_compare(&host->wanted[i].key, key))
            host->wanted[i].until = 0; /* it was let go */
    if (host && !host->taken)
        host->taken = calloc(FS_BANK_TAKEN, sizeof(*host->taken));
    if (host && host->taken) {
        taken_t *taken = &host->taken[host->mark % FS_BANK_TAKEN];

        taken->key = *key;
        snprintf(taken->by, sizeof(taken->by), "%s", to);
        host->mark++;
    } else if (host) {
        host->mark += FS_BANK_TAKEN + 1; /* no memory to say which: it compares all */
    }
    pthread_mutex_unlock(&hosts->lock);
}

/* The one that is in the list already, or the one that was wanted for the longest. */
static wanted_t *place_for(host_t *host, const fs_session_key_t *key)
{
    wanted_t *place = host->wanted;

    for (unsigned i = 0; i < FS_BANK_WANTED; i++) {
        if (!fs_session_key_compare(&host->wanted[i].key, key))
            return &host->wanted[i];
        if (host->wanted[i].until < place->until)
            place = &host->wanted[i];
    }
    return place;
}

void fs_bank_hosts_wanted(void *baton, const fs_session_key_t *key, const char *owner,
                          const char *taker)
{
    fs_bank_hosts_t *hosts = baton;
    host_t *host;

    pthread_mutex_lock(&hosts->lock);
    host = find(hosts, owner);
    if (host && !host->wanted)
        host->wanted = calloc(FS_BANK_WANTED, sizeof(*host->wanted));
    if (host && host->wanted) {
        wanted_t *wanted = place_for(host, key);

        wanted->key = *key;
        wanted->until = fs_time_mono() + FS_BANK_WANTED_FOR;
        snprintf(wanted->by, sizeof(wanted->by), "%s", taker);
    }
    pthread_mutex_unlock(&hosts->lock);
}

apr_status_t fs_bank_hosts_state(fs_bank_hosts_t *hosts, fs_usec_t now,
                                 fs_session_batch_writer_t *writer)
{
    fs_session_item_t item = {.parts = FS_SESSION_PART_OWNER | FS_SESSION_PART_LEASE};
    apr_status_t status = APR_SUCCESS;

    pthread_mutex_lock(&hosts->lock);
    for (unsigned i = 0; i < hosts->count && status == APR_SUCCESS; i++) {
        const host_t *host = &hosts->hosts[i];
        fs_usec_t left = host->lease.heard + host->lease.length - now;

        if (!host->lease.heard || left <= 0)
            continue;
        memcpy(item.owner, host->name, sizeof(item.owner));
        item.lease = (uint32_t)(left / FS_USEC_PER_MSEC);
        status = fs_session_batch_add(writer, &item, NULL);
    }
    pthread_mutex_unlock(&hosts->lock);
    return status;
}

int fs_bank_hosts_gone(fs_bank_hosts_t *hosts, const char *name, fs_usec_t silent, fs_usec_t now)
{
    const host_t *host;
    int gone;

    pthread_mutex_lock(&hosts->lock);
    host = find(hosts, name);
    gone = now - (host ? host->last : hosts->started) >= silent;
    pthread_mutex_unlock(&hosts->lock);
    return gone;
}

/* --- partners ------------------------------------------------------------------------------------
 */

void fs_bank_hosts_named(fs_bank_hosts_t *hosts, const char *name, fs_usec_t now)
{
    pthread_mutex_lock(&hosts->lock);
    fs_session_resync_named(&hosts->resync, name, now);
    pthread_mutex_unlock(&hosts->lock);
}

void fs_bank_hosts_peer_named(fs_bank_hosts_t *hosts, const char *peer, fs_usec_t now)
{
    char name[FS_SESSION_NAME_SIZE];

    snprintf(name, sizeof(name), FS_BANK_PEER_PREFIX "%.63s", peer);
    fs_bank_hosts_named(hosts, name, now);
}

int fs_bank_hosts_peer_heard(fs_bank_hosts_t *hosts, const char *peer, fs_usec_t lease,
                             fs_usec_t now)
{
    char name[FS_SESSION_NAME_SIZE];
    int done;

    snprintf(name, sizeof(name), FS_BANK_PEER_PREFIX "%.63s", peer);
    pthread_mutex_lock(&hosts->lock);
    done = fs_session_resync_heard(&hosts->resync, name, lease, now);
    pthread_mutex_unlock(&hosts->lock);
    return done;
}

void fs_bank_hosts_peer_done(fs_bank_hosts_t *hosts, const char *peer, fs_usec_t began,
                             fs_usec_t now)
{
    char name[FS_SESSION_NAME_SIZE];

    snprintf(name, sizeof(name), FS_BANK_PEER_PREFIX "%.63s", peer);
    pthread_mutex_lock(&hosts->lock);
    fs_session_resync_done(&hosts->resync, name, began, now);
    pthread_mutex_unlock(&hosts->lock);
}

void fs_bank_hosts_sync(fs_bank_hosts_t *hosts, fs_usec_t now, fs_bank_sync_t *sync)
{
    memset(sync, 0, sizeof(*sync));
    pthread_mutex_lock(&hosts->lock);
    fs_session_resync_step(&hosts->resync, now);
    sync->in_sync = fs_session_resync_in_sync(&hosts->resync, now);
    for (unsigned i = 0; i < hosts->count; i++)
        if (hosts->hosts[i].lease.heard &&
            now - hosts->hosts[i].lease.heard < hosts->hosts[i].lease.length)
            sync->hosts++;
    for (unsigned i = 0; i < hosts->resync.count; i++) {
        const fs_session_partner_t *partner = &hosts->resync.partners[i];

        if (partner->state != FS_SESSION_PARTNER_BEHIND &&
            partner->state != FS_SESSION_PARTNER_NAMED)
            continue;
        if (!sync->behind++ || partner->since < sync->behind_since) {
            sync->behind_since = partner->behind ? partner->behind : partner->since;
            snprintf(sync->waits_for, sizeof(sync->waits_for), "%s", partner->name);
        }
    }
    pthread_mutex_unlock(&hosts->lock);
}
