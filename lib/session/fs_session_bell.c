/* SPDX-License-Identifier: Apache-2.0 */
#include "session/fs_session_bell.h"

#include <limits.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "session/fs_session_map.h"

#define HUSHED  1u
#define CHANGED 2u
#define URGENT  4u

struct fs_session_bell_t {
    _Atomic uint32_t *word;
};

apr_status_t fs_session_bell_open(fs_session_bell_t **bell, const char *dir, fs_result_t *result)
{
    char path[PATH_MAX];
    void *map;
    apr_status_t status;

    *bell = NULL;
    snprintf(path, sizeof(path), "%s/bell", dir);
    status = fs_session_map_open(&map, sizeof(uint32_t), path, NULL, result);
    if (status != APR_SUCCESS)
        return status;
    *bell = calloc(1, sizeof(**bell));
    if (!*bell) {
        fs_session_map_close(map, sizeof(uint32_t));
        return APR_ENOMEM;
    }
    (*bell)->word = map;
    return APR_SUCCESS;
}

void fs_session_bell_close(fs_session_bell_t *bell)
{
    if (bell)
        fs_session_map_close((void *)bell->word, sizeof(uint32_t));
    free(bell);
}

void fs_session_bell_ring(fs_session_bell_t *bell, int urgent)
{
    uint32_t enough = urgent ? URGENT : HUSHED | CHANGED | URGENT;

    if (atomic_load(bell->word) & enough)
        return;
    atomic_fetch_or(bell->word, urgent ? URGENT : CHANGED);
    syscall(SYS_futex, bell->word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

void fs_session_bell_hear(fs_session_bell_t *bell)
{
    atomic_store(bell->word, 0);
}

void fs_session_bell_hush(fs_session_bell_t *bell)
{
    atomic_fetch_or(bell->word, HUSHED);
}

void fs_session_bell_wait(fs_session_bell_t *bell, fs_usec_t span)
{
    uint32_t seen = atomic_load(bell->word);
    struct timespec timeout = {.tv_sec = (time_t)(span / FS_USEC_PER_SEC),
                               .tv_nsec = (long)(span % FS_USEC_PER_SEC * 1000)};

    if (span > 0 && !(seen & (CHANGED | URGENT)))
        syscall(SYS_futex, bell->word, FUTEX_WAIT, seen, &timeout, NULL, 0);
}
