/* SPDX-License-Identifier: Apache-2.0 */
#include "session_counters.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_BYTES 8192
#define STRIPES    32

/* Each processor counts for itself: what all of them write to costs each the time that the cache
 * line takes from one to the other. */
struct fs_session_counters_t {
    struct {
        _Alignas(64) _Atomic uint64_t values[FS_SESSION_COUNTERS];
    } stripes[STRIPES];
};
_Static_assert(sizeof(struct fs_session_counters_t) <= FILE_BYTES, "the file holds all counters");

static fs_session_counters_t own; /* of a process that can't map the file */

static const struct {
    const char *name, *help;
} texts[FS_SESSION_COUNTERS] = {
    [FS_SESSION_HITS] = {"hits", "Requests whose session was here."},
    [FS_SESSION_FETCHED] = {"fetched", "Requests whose session came from elsewhere, or was "
                                       "compared with the bank."},
    [FS_SESSION_UNKNOWN] = {"unknown", "Requests with the id of a session that nobody knows."},
    [FS_SESSION_FOREIGN] = {"foreign", "Requests with an id that isn't of this farm."},
    [FS_SESSION_UNANSWERED] = {"unanswered", "Requests whose session nobody could bring in time."},
    [FS_SESSION_UNVERIFIED] = {"unverified",
                               "Requests served from here because the agent could not be asked."},
    [FS_SESSION_CREATED] = {"created", "Sessions that began."},
    [FS_SESSION_SAVED] = {"saved", "Changes of sessions stored."},
    [FS_SESSION_MOVED] = {"moved", "Changes of id, at login and logout."},
    [FS_SESSION_ENDED_COUNT] = {"ended", "Sessions ended by a request."},
    [FS_SESSION_FULL] = {"full", "Changes refused because the store is full."},
    [FS_SESSION_TOO_LARGE] = {"too_large", "Changes refused because of the session's size."},
    [FS_SESSION_DROPPED] = {"dropped", "Changes of sessions that had ended meanwhile."},
    [FS_SESSION_FAILED] = {"failed", "Changes lost because the store failed."},
    [FS_SESSION_UNCONFIRMED] = {"unconfirmed",
                                "Changes without the copies that were asked for: 503."},
    [FS_SESSION_TURNS] = {"turns", "Requests that had their session to themselves."},
    [FS_SESSION_TURNS_LATE] = {"turns_late", "Requests that waited for their turn in vain."}};

fs_session_counters_t *fs_session_counters_open(const char *dir, fs_result_t *result)
{
    fs_session_counters_t *counters = MAP_FAILED;
    char path[PATH_MAX];
    struct stat info;
    int fd, error = 0;

    fs_result_clear(result);
    snprintf(path, sizeof(path), "%s/counts", dir);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    /* Several processes may make it at once: a file only ever grows to its one size. */
    if (fd < 0 || fstat(fd, &info) || (info.st_size < FILE_BYTES && ftruncate(fd, FILE_BYTES)))
        error = errno;
    if (!error)
        counters = mmap(NULL, FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (!error && counters == MAP_FAILED)
        error = errno;
    if (fd >= 0)
        close(fd);
    if (!error)
        return counters;
    fs_result_set(result, APR_FROM_OS_ERROR(error), "FS1308",
                  "cannot map %s: %s; sessions are counted in each process alone: check the "
                  "directory's owner and disk",
                  path, strerror(error));
    return &own;
}

void fs_session_counters_add(fs_session_counters_t *counters, fs_session_count_t which)
{
    unsigned stripe = (unsigned)sched_getcpu() % STRIPES;

    atomic_fetch_add_explicit(&counters->stripes[stripe].values[which], 1, memory_order_relaxed);
}

uint64_t fs_session_counters_get(const fs_session_counters_t *counters, fs_session_count_t which)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < STRIPES; i++)
        sum += atomic_load_explicit(&counters->stripes[i].values[which], memory_order_relaxed);
    return sum;
}

const char *fs_session_counters_name(fs_session_count_t which)
{
    return texts[which].name;
}

const char *fs_session_counters_help(fs_session_count_t which)
{
    return texts[which].help;
}
