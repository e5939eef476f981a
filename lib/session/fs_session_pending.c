/* SPDX-License-Identifier: Apache-2.0 */
#include "session/fs_session_pending.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "session/fs_session_map.h"

#define BYTES (FS_SESSION_PENDING_SLOTS * sizeof(_Atomic uint16_t))

struct fs_session_pending_t {
    _Atomic uint16_t *slots;
};

apr_status_t fs_session_pending_open(fs_session_pending_t **pending, const char *path,
                                     fs_result_t *result)
{
    void *slots;
    apr_status_t status = fs_session_map_open(&slots, BYTES, path, NULL, result);

    *pending = status == APR_SUCCESS ? calloc(1, sizeof(**pending)) : NULL;
    if (*pending)
        (*pending)->slots = slots;
    else if (status == APR_SUCCESS) {
        fs_session_map_close(slots, BYTES);
        status = APR_ENOMEM;
    }
    return status;
}

void fs_session_pending_close(fs_session_pending_t *pending)
{
    if (pending)
        fs_session_map_close((void *)pending->slots, BYTES);
    free(pending);
}

static _Atomic uint16_t *slot_of(const fs_session_pending_t *pending, const fs_session_key_t *key)
{
    return &pending->slots[key->bytes[0] | key->bytes[1] << 8];
}

void fs_session_pending_begin(fs_session_pending_t *pending, const fs_session_key_t *key)
{
    _Atomic uint16_t *slot = slot_of(pending, key);
    uint16_t count = atomic_load_explicit(slot, memory_order_relaxed);

    while (count < UINT16_MAX && !atomic_compare_exchange_weak(slot, &count, count + 1))
        ;
}

void fs_session_pending_done(fs_session_pending_t *pending, const fs_session_key_t *key)
{
    _Atomic uint16_t *slot = slot_of(pending, key);
    uint16_t count = atomic_load_explicit(slot, memory_order_relaxed);

    while (count && !atomic_compare_exchange_weak(slot, &count, count - 1))
        ;
}

void fs_session_pending_forget(fs_session_pending_t *pending, const fs_session_key_t *key)
{
    atomic_store(slot_of(pending, key), 0);
}

unsigned fs_session_pending_count(const fs_session_pending_t *pending, const fs_session_key_t *key)
{
    return atomic_load(slot_of(pending, key));
}
