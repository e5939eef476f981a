/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of fs_route_share.h share. Not for users of the library. */
#ifndef FS_ROUTE_SHARE_INTERNAL_H
#define FS_ROUTE_SHARE_INTERNAL_H

#include "route/fs_route_share.h"

#define FS_SHARE_PEERS   1024 /* names that were heard of, dead ones included */
#define FS_SHARE_REMINDS 1024 /* visitors that one peer is to be reminded of, at most */

/* Another server. */
typedef struct fs_share_peer_t {
    char name[FS_ROUTE_NAME_SIZE];
    int known; /* among those that there are */
    int dead, reachable, serves, ready;
    int self; /* this server, whose store was lost: others are asked for its visitors */
    uint64_t generation, sequence, digest; /* as it said */
    int heard;                             /* it said something since this server began */
    int tells;                             /* it told where its log ends since then: */
    uint64_t end;                          /* there. What it says of itself may be older */
    fs_usec_t gone_since;                  /* mono, dead or not there; 0: it isn't */

    /* Telling it. */
    uint64_t telling; /* request under way; 0 none */
    int knows;        /* `told` is what it answered */
    uint64_t told;    /* of the own log */
    uint64_t sent;    /* what is under way goes up to there */
    unsigned sent_reminds;
    fs_usec_t tell_at; /* mono: not before */
    unsigned failures;
    uint8_t (*reminds)[FS_ROUTE_ID_BYTES];
    unsigned remind_count;

    /* Copying its visitors; from itself, or from another one if it is dead. */
    int wants_copy;
    int heals;        /* because digests differed */
    uint64_t copying; /* request under way; 0 none */
    int copies;       /* pages were asked for, not all have come */
    char source[FS_ROUTE_NAME_SIZE];
    int whole; /* what isn't in it isn't there: its source is home to them all, and ready */
    int goes_on;
    uint8_t after[FS_ROUTE_ID_BYTES];
    uint64_t copy_generation, copy_sequence;
    fs_usec_t copy_at; /* mono: not before */
    unsigned copy_failures;
    fs_usec_t differs_since; /* mono, since when digests differ, or its log doesn't come; 0 */
    int compared;            /* since this server began */

    /* It is dead: each of the others is asked how far it has heard its log. */
    unsigned asked; /* so many of them */
    int behind;     /* the one that is asked has heard more: its visitors are copied from there */

    uint8_t return_after[FS_ROUTE_ID_BYTES]; /* where giving back goes on */
} fs_share_peer_t;

struct fs_route_share_t {
    fs_route_store_t *store;
    fs_route_share_settings_t settings;
    char self[FS_ROUTE_NAME_SIZE];
    fs_share_peer_t *peers;
    unsigned count;
    unsigned turn; /* whose turn it is to be asked or told */
    uint64_t ids;
    fs_usec_t began; /* mono: comparing */
    int partial;     /* `peers` may not be all that there are */
    int ready;
    int late;                      /* ready because it took too long */
    uint64_t generation, sequence; /* of the own log, as looked up last */
    fs_usec_t ticked;              /* mono */
    fs_route_swept_t swept;
    fs_route_share_info_t info;
    uint8_t body[FS_ROUTE_DELTA_LIMIT];
};

fs_share_peer_t *fs_share_find(fs_route_share_t *share, const char *name);
/* Makes it if it isn't there. NULL: there are too many. */
fs_share_peer_t *fs_share_peer(fs_route_share_t *share, const char *name);

/* fs_route_share_copy.c: asking */
int fs_share_copy_next(fs_route_share_t *share, fs_share_peer_t *peer, fs_moment_t now,
                       fs_route_share_request_t *request);
apr_status_t fs_share_copy_answer(fs_route_share_t *share, fs_share_peer_t *peer, fs_moment_t now,
                                  const void *bytes, size_t length, fs_result_t *result);
/* What a peer said of itself is compared with what is known here. */
apr_status_t fs_share_compare(fs_route_share_t *share, fs_share_peer_t *peer, fs_moment_t now,
                              fs_result_t *result);
/* It was dead, and isn't any more. */
void fs_share_back(fs_share_peer_t *peer);
void fs_share_judge_ready(fs_route_share_t *share, fs_moment_t now);

/* fs_route_share_tell.c: telling, and being told */
int fs_share_tell_next(fs_route_share_t *share, fs_share_peer_t *peer, fs_moment_t now,
                       fs_route_share_request_t *request);
void fs_share_tell_answer(fs_route_share_t *share, fs_share_peer_t *peer, fs_moment_t now,
                          const void *bytes, size_t length);
/* Merges what a peer said; reminds it of what it should know. */
apr_status_t fs_share_merge(fs_route_share_t *share, fs_share_peer_t *peer, fs_moment_t now,
                            const fs_route_news_t *news, fs_result_t *result);

#endif
