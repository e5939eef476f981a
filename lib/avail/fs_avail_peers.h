/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How this server stands with the others of the farm, as its agent tells the status page: a small
 * file, StateDir/notices/peers, written whole whenever something changes and at least each
 * FS_AVAIL_PEERS_FRESH.
 *
 *   farmsync-peers 1
 *   self STATE RECORDS WRITTEN          mono time, microseconds
 *   peer NAME STATE HEARD SAME          HEARD: mono time, 0 never; SAME: yes, no or unknown
 */
#ifndef FS_AVAIL_PEERS_H
#define FS_AVAIL_PEERS_H

#include "base/fs_result.h"
#include "base/fs_time.h"

#define FS_AVAIL_PEERS       256
#define FS_AVAIL_PEERS_FRESH (5 * FS_USEC_PER_SEC)
#define FS_AVAIL_WORD_SIZE   17

typedef struct fs_avail_peer_t {
    char name[65];
    char state[FS_AVAIL_WORD_SIZE]; /* alive, suspect, dead */
    fs_usec_t heard;                /* mono time when it was last heard of; 0 never */
    int same;                       /* 1: it has the same records; 0: not; -1 unknown */
} fs_avail_peer_t;

typedef struct fs_avail_peers_t {
    char state[FS_AVAIL_WORD_SIZE]; /* of this server: ready, syncing, alone */
    int64_t records;                /* that it holds */
    fs_usec_t written;              /* mono time */
    unsigned count;
    fs_avail_peer_t peers[FS_AVAIL_PEERS];
} fs_avail_peers_t;

/* Errors: FS1506. Any thread, one at a time. */
apr_status_t fs_avail_write_peers(const char *state_dir, const fs_avail_peers_t *peers,
                                  fs_result_t *result);
/* Untrusted: checked. 0, or -1 if there is none or it can't be read. Any thread. */
int fs_avail_read_peers(const char *state_dir, fs_avail_peers_t *peers);
/* The same from text, which is changed. */
int fs_avail_parse_peers(char *text, fs_avail_peers_t *peers);

#endif
