/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file, the same for all processes:
 *
 *   head      a magic number
 *   shards    64, each: a lock, the next ticket, 256 places in queues
 *
 * A process is known by a number: it holds a lock on that byte of the file (an open file
 * description lock), which the kernel releases when it dies, however that is. So a number whose
 * byte is not locked belongs to a dead process, and who gets a number first clears what its last
 * holder left.
 *
 * A session's places are all in the shard of its key; the one with the lowest ticket is next.
 * Nothing else is stored, so there is nothing that a process could leave half changed: whoever
 * finds the shard's lock held by a dead process just takes it.
 */
#include "session/fs_session_turn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "session/fs_session_map.h"

#define MAGIC      UINT64_C(0x31736e7275547366) /* "fsTurns1" */
#define SHARDS     64
#define PLACES     (FS_SESSION_TURN_ENTRIES / SHARDS)
#define LOCK_SPINS 100
#define LOCK_LIMIT (2 * FS_USEC_PER_SEC) /* for a shard, which is held for a microsecond */

enum { FREE, WAITING, HOLDING };

typedef struct place_t {
    fs_session_key_t key;
    _Atomic uint64_t ticket;
    _Atomic uint32_t process; /* number + 1 */
    _Atomic uint32_t state;   /* waiters sleep on it */
} place_t;

typedef struct shard_t {
    _Atomic uint32_t lock; /* number + 1 of the process that holds it */
    _Atomic uint32_t waiting;
    _Atomic uint64_t ticket;
    place_t places[PLACES];
} shard_t;

typedef struct table_t {
    _Atomic uint64_t magic;
    shard_t shards[SHARDS];
} table_t;

struct fs_session_turns_t {
    table_t *table;
    int fd;
    uint32_t process; /* number + 1 */
};

/* --- processes -----------------------------------------------------------------------------------
 */

static struct flock byte_of(uint32_t process)
{
    struct flock lock = {
        .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = process - 1, .l_len = 1};

    return lock;
}

/* Not for this process itself, whose own lock doesn't conflict. */
static int is_alive(const fs_session_turns_t *turns, uint32_t process)
{
    struct flock lock;

    if (process == turns->process)
        return 1;
    if (!process || process > FS_SESSION_TURN_PROCESSES)
        return 0;
    lock = byte_of(process);
    return fcntl(turns->fd, F_OFD_GETLK, &lock) || lock.l_type != F_UNLCK;
}

static int get_number(fs_session_turns_t *turns)
{
    for (uint32_t process = 1; process <= FS_SESSION_TURN_PROCESSES; process++) {
        struct flock lock = byte_of(process);

        if (!fcntl(turns->fd, F_OFD_SETLK, &lock)) {
            turns->process = process;
            return 0;
        }
        if (errno != EAGAIN && errno != EACCES)
            return errno;
    }
    return EMFILE;
}

/* --- the lock of a shard -------------------------------------------------------------------------
 */

static void sleep_on(_Atomic uint32_t *word, uint32_t value, fs_usec_t wait)
{
    struct timespec time = {.tv_sec = wait / FS_USEC_PER_SEC,
                            .tv_nsec = wait % FS_USEC_PER_SEC * 1000};

    syscall(SYS_futex, word, FUTEX_WAIT, value, &time, NULL, 0);
}

static void wake_all(_Atomic uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static int lock_shard(fs_session_turns_t *turns, shard_t *shard)
{
    fs_usec_t limit = 0;

    for (unsigned spin = 0;; spin++) {
        uint32_t holder = 0;

        if (atomic_compare_exchange_strong(&shard->lock, &holder, turns->process))
            return 0;
        if (spin < LOCK_SPINS)
            continue;
        if (!limit)
            limit = fs_time_mono() + LOCK_LIMIT;
        if (fs_time_mono() >= limit)
            return -1;
        if (!is_alive(turns, holder) &&
            atomic_compare_exchange_strong(&shard->lock, &holder, turns->process))
            return 0;
        atomic_fetch_add(&shard->waiting, 1);
        sleep_on(&shard->lock, holder, FS_USEC_PER_MSEC);
        atomic_fetch_sub(&shard->waiting, 1);
    }
}

static void unlock_shard(shard_t *shard)
{
    atomic_store(&shard->lock, 0);
    if (atomic_load(&shard->waiting))
        wake_all(&shard->lock);
}

/* --- queues; the shard is locked -----------------------------------------------------------------
 */

static shard_t *shard_of(const fs_session_turns_t *turns, const fs_session_key_t *key)
{
    return &turns->table->shards[key->bytes[0] % SHARDS];
}

static int is_in_queue(const place_t *place, const fs_session_key_t *key)
{
    uint32_t state = atomic_load(&place->state);

    return (state == WAITING || state == HOLDING) && !fs_session_key_compare(&place->key, key);
}

/* If nobody has the turn, gives it to the one with the lowest ticket; places of the dead are
 * cleared first if `check`.
 */
static void pass_on(fs_session_turns_t *turns, shard_t *shard, const fs_session_key_t *key,
                    int check)
{
    place_t *first = NULL;
    int held = 0;

    for (unsigned i = 0; i < PLACES; i++) {
        place_t *place = &shard->places[i];

        if (!is_in_queue(place, key))
            continue;
        if (check && !is_alive(turns, atomic_load(&place->process)))
            atomic_store(&place->state, FREE);
        else if (atomic_load(&place->state) == HOLDING)
            held = 1;
        else if (!first || atomic_load(&place->ticket) < atomic_load(&first->ticket))
            first = place;
    }
    if (first && !held) {
        atomic_store(&first->state, HOLDING);
        wake_all(&first->state);
    }
}

static place_t *find_free(fs_session_turns_t *turns, shard_t *shard)
{
    for (unsigned pass = 0; pass < 2; pass++)
        for (unsigned i = 0; i < PLACES; i++) {
            place_t *place = &shard->places[i];
            uint32_t state = atomic_load(&place->state);

            if ((state != WAITING && state != HOLDING) ||
                (pass && !is_alive(turns, atomic_load(&place->process))))
                return place;
        }
    return NULL;
}

/* --- clearing ------------------------------------------------------------------------------------
 */

/* Takes out whatever stands under this process's number. */
static void clear_number(fs_session_turns_t *turns, int locked_before)
{
    for (unsigned i = 0; i < SHARDS; i++) {
        shard_t *shard = &turns->table->shards[i];
        uint32_t mine = turns->process;

        if (locked_before)
            atomic_compare_exchange_strong(&shard->lock, &mine, 0);
        for (unsigned j = 0; j < PLACES; j++) {
            place_t *place = &shard->places[j];
            fs_session_key_t key;

            if (atomic_load(&place->process) != turns->process ||
                atomic_load(&place->state) == FREE || lock_shard(turns, shard))
                continue;
            key = place->key;
            atomic_store(&place->state, FREE);
            pass_on(turns, shard, &key, 0);
            unlock_shard(shard);
        }
    }
}

/* --- open and close ------------------------------------------------------------------------------
 */

apr_status_t fs_session_turns_open(fs_session_turns_t **turns, const char *dir, fs_result_t *result)
{
    fs_session_turns_t *made = calloc(1, sizeof(*made));
    char path[PATH_MAX];
    void *map = NULL;
    apr_status_t status = made ? APR_SUCCESS : APR_ENOMEM;

    *turns = NULL;
    snprintf(path, sizeof(path), "%s/turns", dir);
    if (made)
        status = fs_session_map_open(&map, sizeof(table_t), path, &made->fd, result);
    if (status != APR_SUCCESS) {
        free(made);
        return status;
    }
    made->table = map;
    if (get_number(made)) {
        fs_session_turns_close(made);
        return fs_result_set(result, APR_ENOSPC, "FS1261",
                             "cannot use %s: more than %d processes have it open, or its file "
                             "system has no locks; run fewer, or put the state directory on a "
                             "local disk",
                             path, FS_SESSION_TURN_PROCESSES);
    }
    clear_number(made, 1);
    atomic_store(&made->table->magic, MAGIC);
    *turns = made;
    return APR_SUCCESS;
}

void fs_session_turns_close(fs_session_turns_t *turns)
{
    if (!turns)
        return;
    if (turns->process)
        clear_number(turns, 0);
    fs_session_map_close(turns->table, sizeof(table_t));
    close(turns->fd);
    free(turns);
}

/* --- turns ---------------------------------------------------------------------------------------
 */

static place_t *place_of(fs_session_turns_t *turns, const fs_session_turn_t *turn, shard_t **shard)
{
    if (!turn->entry || turn->entry > FS_SESSION_TURN_ENTRIES)
        return NULL;
    *shard = &turns->table->shards[(turn->entry - 1) / PLACES];
    return &(*shard)->places[(turn->entry - 1) % PLACES];
}

static apr_status_t not_served(fs_result_t *result)
{
    return fs_result_set(result, APR_ENOSPC, "FS1263",
                         "the table of turns is full, or damaged: %d requests hold or wait for a "
                         "session; see what keeps them",
                         PLACES);
}

static apr_status_t line_up(fs_session_turns_t *turns, const fs_session_key_t *key,
                            fs_session_turn_t *turn, fs_result_t *result)
{
    shard_t *shard = shard_of(turns, key);
    place_t *place;

    if (lock_shard(turns, shard))
        return not_served(result);
    place = find_free(turns, shard);
    if (place) {
        atomic_store(&place->state, FREE);
        place->key = *key;
        turn->ticket = atomic_fetch_add(&shard->ticket, 1);
        turn->entry = (uint32_t)((size_t)(shard - turns->table->shards) * PLACES +
                                 (size_t)(place - shard->places) + 1);
        atomic_store(&place->ticket, turn->ticket);
        atomic_store(&place->process, turns->process);
        atomic_store(&place->state, WAITING);
        pass_on(turns, shard, key, 0);
    }
    unlock_shard(shard);
    return place ? APR_SUCCESS : not_served(result);
}

apr_status_t fs_session_turn_take(fs_session_turns_t *turns, const fs_session_key_t *key,
                                  fs_usec_t wait, fs_session_turn_t *turn, fs_result_t *result)
{
    fs_usec_t limit = fs_time_mono() + wait, now;
    apr_status_t status;
    shard_t *shard;
    place_t *place;

    memset(turn, 0, sizeof(*turn));
    status = line_up(turns, key, turn, result);
    if (status != APR_SUCCESS)
        return status;
    shard = shard_of(turns, key);
    place = &shard->places[(turn->entry - 1) % PLACES];
    while (atomic_load(&place->state) == WAITING && (now = fs_time_mono()) < limit) {
        fs_usec_t step = limit - now < FS_SESSION_TURN_STEP ? limit - now : FS_SESSION_TURN_STEP;

        sleep_on(&place->state, WAITING, step);
        if (atomic_load(&place->state) == WAITING && !lock_shard(turns, shard)) {
            pass_on(turns, shard, key, 1);
            unlock_shard(shard);
        }
    }
    if (atomic_load(&place->state) == HOLDING)
        return APR_SUCCESS;
    fs_session_turn_leave(turns, turn);
    return fs_result_set(result, APR_TIMEUP, "FS1262",
                         "a session's turn did not come within %lld ms: another request holds it; "
                         "see what that does, or raise the limit",
                         (long long)(wait / FS_USEC_PER_MSEC));
}

void fs_session_turn_leave(fs_session_turns_t *turns, fs_session_turn_t *turn)
{
    shard_t *shard;
    place_t *place = place_of(turns, turn, &shard);

    turn->entry = 0;
    if (!place || lock_shard(turns, shard))
        return;
    if (atomic_load(&place->ticket) == turn->ticket &&
        atomic_load(&place->process) == turns->process) {
        fs_session_key_t key = place->key;

        atomic_store(&place->state, FREE);
        pass_on(turns, shard, &key, 0);
    }
    unlock_shard(shard);
}

unsigned fs_session_turn_count(fs_session_turns_t *turns, const fs_session_key_t *key)
{
    shard_t *shard = shard_of(turns, key);
    unsigned count = 0;

    for (unsigned i = 0; i < PLACES; i++)
        count += (unsigned)is_in_queue(&shard->places[i], key);
    return count;
}
