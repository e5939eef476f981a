/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Until when a request process may serve the host's sessions without asking: a page that the agent
 * writes and all request processes map and read with a few atomic loads.
 *
 * - until: CLOCK_BOOTTIME in microseconds, which also counts while the host sleeps. The agent sets
 *   it to the end of its leases at the bank (fs_session_lease.h).
 * - generation: raised whenever somebody else may have taken sessions of this host. A session that
 *   was compared with the bank in this generation (note.checked) is served; one that was not is in
 *   doubt: ask the agent first.
 * - alone: no bank server answers, so everybody works on with what he has, still only until
 *   `until`, which the agent goes on raising. When the bank is back the generation rises.
 *
 * One process writes at a time (the agent holds its own lock for that); any number of threads and
 * processes read. A page that a process was killed in, or one that holds anything, only makes
 * children ask.
 */
#ifndef FS_SESSION_TRUST_H
#define FS_SESSION_TRUST_H

#include <stdint.h>

#include "base/fs_result.h"
#include "base/fs_time.h"

/* A page that promises more than this is not believed. */
#define FS_SESSION_TRUST_LIMIT (60 * FS_USEC_PER_SEC)

typedef struct fs_session_trust_t fs_session_trust_t;

typedef struct fs_session_trusted_t {
    fs_usec_t until; /* CLOCK_BOOTTIME; 0: nothing is trusted */
    uint64_t generation;
    int alone;
} fs_session_trusted_t;

/* CLOCK_BOOTTIME in microseconds; any thread. */
fs_usec_t fs_session_trust_clock(void);

/*
 * Maps `dir`/trust, which is made (mode 0600) if it isn't there; `dir` is the store's. `writes`:
 * the agent, which begins with nothing trusted and a generation above all before. Errors: FS1216.
 */
apr_status_t fs_session_trust_open(fs_session_trust_t **trust, const char *dir, int writes,
                                   fs_result_t *result);
void fs_session_trust_close(fs_session_trust_t *trust);

/* The agent's: what is trusted from now on. Generations only rise: a lower one is not taken. */
void fs_session_trust_write(fs_session_trust_t *trust, const fs_session_trusted_t *trusted);
void fs_session_trust_read(const fs_session_trust_t *trust, fs_session_trusted_t *trusted);

/* May a session that was compared with the bank in generation `checked` be served at `now`
 * (fs_session_trust_clock)? */
int fs_session_trust_allows(const fs_session_trust_t *trust, uint64_t checked, fs_usec_t now);

/*
 * May it be worked on with while there is no agent? Only if it was compared, or made, since the
 * page was made: what is older is from a former life of the server, and others may have it since;
 * nor does an agent that has just begun, and listens to nobody yet, vouch for it. Or if the last
 * agent said that this host is alone.
 */
int fs_session_trust_remembers(const fs_session_trust_t *trust, uint64_t checked);

#endif
