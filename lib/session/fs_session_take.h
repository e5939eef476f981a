/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who owns a session, and how it changes hands. Pure logic: clocks and what others said are
 * arguments, nothing is allocated; any thread.
 *
 * Each bank server that keeps a session remembers its owner: the host that took it last. A host
 * that gets a request for a session that it doesn't have asks all k candidates to give it the
 * session (take). A bank server does so, by compare and swap, if nobody owns it, or the owner let
 * it go or doesn't live any more (its lease there has run out). If a living owner is named, that is
 * asked to hand the session over. Who was cut off learns from the next answer about the session
 * that another owns it: he lets it go, and what he has of it is merged into the other's.
 *
 * Names of hosts are as FarmSyncServer gives them; "" is nobody. `left` is what is left of the
 * owner's lease at this bank server (fs_session_lease_left).
 */
#ifndef FS_SESSION_TAKE_H
#define FS_SESSION_TAKE_H

#include "session/fs_session_offer.h"

/* --- a bank server -------------------------------------------------------------------------------
 */

/* What a bank server knows of a session beside the sealed copy. It changes in the same transaction
 * as that. Zero: it holds nothing. */
typedef struct fs_session_hold_t {
    int held;
    int granted; /* `owner` was given the session since this version was stored: what it makes of it
                    has not come yet */
    int aside;   /* a second copy is held: fs_session_hold_copy */
    fs_session_stamp_t version;
    fs_session_stamp_t aside_version;
    char owner[FS_SESSION_NAME_SIZE];
} fs_session_hold_t;

typedef enum fs_session_granted_t {
    FS_SESSION_UNKNOWN = 1, /* nothing is held */
    FS_SESSION_GRANTED,     /* hold->owner is the taker now; the copy goes with the answer */
    FS_SESSION_OWNED        /* hold->owner has it and lives; the copy goes with the answer too */
} fs_session_granted_t;

/* A host wants the session. `from` has told it that it let the session go ("": nobody did). */
fs_session_granted_t fs_session_hold_take(fs_session_hold_t *hold, fs_usec_t left,
                                          const char *taker, const char *from);

/* What a host offers. */
typedef struct fs_session_offering_t {
    const char *origin;             /* who offers, as the request was signed */
    const char *owner;              /* who owns it as far as that host knows: itself, or another */
    const fs_session_stamp_t *base; /* see fs_session_offer.h; NULL: none */
    fs_session_stamp_t version;
} fs_session_offering_t;

/*
 * TAKE: store the copy that was offered, hold->version is its version already; HAVE, MERGE: see
 * fs_session_offer.h. MERGE with hold->aside: answer with the copy aside instead of the held one;
 * if it was set and isn't any more: drop the copy aside, the host has merged it. Whatever the
 * answer, hold->owner is up to date, and the answer to the host names it. `fenced`: the host says
 * that it owns the session, but another does.
 */
fs_session_offered_t fs_session_hold_offer(fs_session_hold_t *hold, fs_usec_t left,
                                           const fs_session_offering_t *offering, int *fenced);

typedef enum fs_session_copied_t {
    FS_SESSION_COPIED = 1,        /* store it instead of what is held */
    FS_SESSION_COPY_ASIDE,        /* move what is held aside, then store it */
    FS_SESSION_COPY_ASIDE_THEIRS, /* keep what is held, store theirs aside */
    FS_SESSION_COPY_IGNORED
} fs_session_copied_t;

/*
 * A bank server brings another one a copy (resync). The later version wins. But if they are not of
 * one line (two hosts owned them, or one that had lost its memory or let the session go in between)
 * it may be that neither is contained in the other, and only a host can merge them: then the
 * earlier one is kept aside, and given to who takes the session or offers it, until an offer says
 * that it was merged. The owner comes with the copy, unless that is only a later one of the same
 * line, and the session was granted here since. `hold` becomes what is held then.
 */
fs_session_copied_t fs_session_hold_copy(fs_session_hold_t *hold, const fs_session_hold_t *theirs);

/* --- who wants a session -------------------------------------------------------------------------
 */

/* What a candidate (a bank server that is to keep the session) said. */
typedef enum fs_session_heard_t {
    FS_SESSION_HEARD_NOTHING = 0, /* the question is on its way */
    FS_SESSION_HEARD_FAILED,      /* no answer, and none is waited for any more */
    FS_SESSION_HEARD_UNKNOWN,
    FS_SESSION_HEARD_GRANTED,
    FS_SESSION_HEARD_OWNED
} fs_session_heard_t;

typedef struct fs_session_candidate_t {
    fs_session_heard_t heard;
    int up; /* this host has a lease there (fs_session_lease.h) at the moment: if it FAILED,
               somebody else may have had an answer, so it is asked again until it answers or counts
               as down */
    int in_sync;
    uint32_t epoch;                   /* GRANTED, OWNED: of what is held there */
    char owner[FS_SESSION_NAME_SIZE]; /* OWNED */
    fs_usec_t until; /* OWNED: when the owner's lease has run out there, by the taker's clock */
} fs_session_candidate_t;

/* What another host's agent said when it was asked to hand the session over. */
typedef enum fs_session_said_t {
    FS_SESSION_SAID_NOTHING = 0, /* it is being asked */
    FS_SESSION_SAID_FAILED,      /* no answer */
    FS_SESSION_SAID_NONE,        /* it doesn't have it */
    FS_SESSION_SAID_GAVE,        /* the copy came with the answer */
    FS_SESSION_SAID_NAMED,       /* it let another one have it: `named`; its copy came too */
    FS_SESSION_SAID_TAKING       /* it is taking it itself: `rank`, `has` */
} fs_session_said_t;

typedef struct fs_session_peer_t {
    char name[FS_SESSION_NAME_SIZE];
    fs_session_said_t said;
    char named[FS_SESSION_NAME_SIZE];
    int has;       /* TAKING: what it has came with the answer */
    unsigned rank; /* TAKING: of the best candidate that granted it; FS_SESSION_NO_RANK: none */
} fs_session_peer_t;

#define FS_SESSION_NO_RANK 255u
#define FS_SESSION_RETRY   (20 * FS_USEC_PER_MSEC) /* until a rival has what it takes */

/* Everything that one host heard about one session that it wants. */
typedef struct fs_session_taking_t {
    const char *self;
    const char *released; /* to whom this host has released what it has; NULL, "": nobody */
    /* Hosts that it told lately that it has nothing, and that have not said so to this one since:
     * they may be taking it because of that, whatever they ask meanwhile. */
    const char (*told)[FS_SESSION_NAME_SIZE];
    unsigned told_count;
    fs_usec_t deadline;                       /* SessionFarmSyncTimeout from the request on */
    const fs_session_candidate_t *candidates; /* in the order of their rank */
    unsigned candidate_count;
    const fs_session_peer_t *peers; /* that were asked */
    unsigned peer_count;
    int asked_all; /* all living peers are among them */
    int missing;   /* there are hosts that can't be asked, and may have it */
    int own;       /* this host has it, in doubt, and hasn't released it */
    int stale;     /* the generation (fs_session_trust.h) rose since the candidates were asked: what
                      they     granted may have been granted to another one since */
} fs_session_taking_t;

typedef enum fs_session_step_t {
    FS_SESSION_STEP_WAIT = 1, /* for answers, until `at` at the latest */
    FS_SESSION_STEP_ASK,      /* ask host `whom` to hand it over */
    FS_SESSION_STEP_ASK_ALL,  /* ask all living peers that were not asked */
    FS_SESSION_STEP_TAKE,  /* at `at`, ask the candidates again: forget what they and the peers said
                              (but keep copies that came); `whom` ("" or a host) has let it go;
                              `wanted`: its owner doesn't answer, the bank is to tell it */
    FS_SESSION_STEP_ADOPT, /* merge all copies that came; the session is this host's */
    FS_SESSION_STEP_UNKNOWN, /* there is no such session */
    FS_SESSION_STEP_GIVE_UP  /* nobody could say: a new session, or 503, as is configured */
} fs_session_step_t;

typedef struct fs_session_next_t {
    fs_session_step_t step;
    char whom[FS_SESSION_NAME_SIZE];
    fs_usec_t at;
    int wanted;
} fs_session_next_t;

/* What to do now. */
fs_session_next_t fs_session_take_next(const fs_session_taking_t *taking, fs_usec_t now);

/* The best rank at which the candidates granted it, or FS_SESSION_NO_RANK: what this host says to a
 * rival (FS_SESSION_SAID_TAKING). Those that hold an older epoch than another come last. */
unsigned fs_session_take_rank(const fs_session_taking_t *taking);

/* --- who has it ----------------------------------------------------------------------------------
 */

/* A session at a host that is asked to hand it over. */
typedef struct fs_session_mine_t {
    int there;
    const char *released; /* to whom; "": it isn't */
    int doubt;            /* it may not be served, or not if it weren't released: the bank may have
                             given it to another one */
    int taking;           /* this host is taking it */
    unsigned rank;        /* fs_session_take_rank */
    fs_session_stamp_t version;              /* of what is there */
    const fs_session_stamp_t *asker_version; /* of what the asker has of it; NULL: nothing */
    unsigned pending;                        /* requests that may still change it */
    int turn;                                /* the agent got its turn, or there is no queue */
    fs_usec_t asked;                         /* when the question came */
    fs_usec_t patience; /* how long pending requests are waited for: the flush time and a bit */
} fs_session_mine_t;

typedef enum fs_session_hand_t {
    FS_SESSION_HAND_WAIT = 1, /* look again when a request is done or at asked + patience */
    /* Release it to `asker` and answer GAVE with it. If it is being taken: whatever was heard for
     * that is void, ask anew. */
    FS_SESSION_HAND_GIVE,
    FS_SESSION_HAND_NAME,   /* answer NAMED with `released` */
    FS_SESSION_HAND_TAKING, /* answer TAKING with `rank`, and with what is there: not now, ask again
                             */
    FS_SESSION_HAND_NONE    /* answer NONE; if it is there, release it to `asker` nevertheless and
                               answer with what is there: the bank says whose it is. If it is being
                               taken: as with GIVE */
} fs_session_hand_t;
fs_session_hand_t fs_session_hand_over(const fs_session_mine_t *mine, const char *asker,
                                       fs_usec_t now);

/* After a comparison or an offer: what becomes of this host's copy. */
typedef enum fs_session_keeping_t {
    FS_SESSION_KEEP = 1, /* nobody else took it: it is checked */
    FS_SESSION_LET_GO, /* `owner` has it: release it to that, send what the bank doesn't have of it
                          (merged), tell that host (late), then forget it */
    FS_SESSION_FETCH   /* the bank's is nobody's, and newer than anything seen here: take it */
} fs_session_keeping_t;

/*
 * What one bank server said about a session of this host (`self`): `held` and its owner there;
 * `own` is this host's present version, `base` what the server was last known to hold (NULL:
 * nothing is known). An answer may have been on its way for long: what was held before this host
 * took the session over says nothing, unless it was granted to another host since: this one may
 * have taken it over and stood still before the bank heard of that.
 */
fs_session_keeping_t fs_session_keep(const char *self, const fs_session_hold_t *held,
                                     const fs_session_stamp_t *own, const fs_session_stamp_t *base);

#endif
