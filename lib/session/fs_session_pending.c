/* SPDX-License-Identifier: Apache-2.0 */
#include "session/fs_session_pending.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define BYTES (FS_SESSION_PENDING_SLOTS * sizeof(_Atomic uint16_t))

struct fs_session_pending_t {
    _Atomic uint16_t *slots;
};

apr_status_t fs_session_pending_open(fs_session_pending_t **pending, const char *path,
                                     fs_result_t *result)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600), error = 0;
    void *slots = MAP_FAILED;

    *pending = calloc(1, sizeof(**pending));
    if (fd < 0 || !*pending)
        error = fd < 0 ? errno : ENOMEM;
    else
        error = posix_fallocate(fd, 0, BYTES); /* so that a full disk is no SIGBUS later */
    if (!error) {
        slots = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        error = slots == MAP_FAILED ? errno : 0;
    }
    if (fd >= 0)
        close(fd);
    if (!error) {
        (*pending)->slots = slots;
        return APR_SUCCESS;
    }
    free(*pending);
    *pending = NULL;
    return fs_result_set(result, APR_FROM_OS_ERROR(error), "FS1216",
                         "cannot map %s: %s; check the directory's owner and free space", path,
                         strerror(error));
}

void fs_session_pending_close(fs_session_pending_t *pending)
{
    if (pending)
        munmap((void *)pending->slots, BYTES);
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
