/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Leases: how long who may go on without asking. Pure logic; clocks are arguments.
 *
 * A host renews at every bank server that it counts as up, each third of its lease. The bank server
 * counts the lease from when it heard the renewal, the host from when it sent it, so a host stops
 * trusting its own copies before any bank server gives them to somebody else. Only spans of time
 * are compared, never clocks of two hosts.
 */
#ifndef FS_SESSION_LEASE_H
#define FS_SESSION_LEASE_H

#include "session/fs_session_bank.h"
#include "session/fs_session_trust.h"

/* --- a bank server's side ------------------------------------------------------------------------
 */

/* What a bank server knows of a host's lease. */
typedef struct fs_session_lease_t {
    fs_usec_t heard;  /* its own clock, which never steps, when the request was answered; 0: not
                         since it started */
    fs_usec_t length; /* as the host said; 0: it never did */
} fs_session_lease_t;

/*
 * How long a host's lease still runs; 0: it has run out. Who was not heard since the bank server
 * started may have a lease from before: it runs from `started`, for `presumed` (what who asks has)
 * if its length isn't known.
 */
fs_usec_t fs_session_lease_left(const fs_session_lease_t *lease, fs_usec_t started,
                                fs_usec_t presumed, fs_usec_t now);

/* --- a host's side -------------------------------------------------------------------------------
 */

/* A bank server as the agent sees it. */
typedef struct fs_session_vouch_t {
    fs_usec_t sent;    /* when the last renewal that was answered was sent; 0: none was */
    fs_usec_t tried;   /* when the first one was sent that is still to be answered; 0: none is */
    fs_usec_t refused; /* when the last one was sent, if nobody listened there; else 0 */
    int answers;       /* set by fs_session_vouching_step: it answered less than a lease ago */
    int up;            /* set by fs_session_vouching_step */
} fs_session_vouch_t;

/* All of them; zero is the beginning, then `lease`, `count` and `trusted.generation` are set. */
typedef struct fs_session_vouching_t {
    fs_usec_t lease;
    unsigned count;
    fs_session_vouch_t servers[FS_SESSION_BANK_LIMIT];
    fs_usec_t stepped;            /* when the last step was */
    int returning;                /* some answer after none did, the others are waited for */
    int parted;                   /* set before a step: fs_session_parted */
    fs_session_trusted_t trusted; /* for the trust page */
    int changed;                  /* the last step changed which servers are up */
} fs_session_vouching_t;

/* A renewal is sent to a server, and answered, or its machine says that nobody listens there:
 * `sent` is what fs_session_vouch_sent was told, or 0 if one came to nothing that wasn't refused.
 * All times are CLOCK_BOOTTIME. */
void fs_session_vouch_sent(fs_session_vouching_t *vouching, unsigned server, fs_usec_t now);
void fs_session_vouch_answered(fs_session_vouching_t *vouching, unsigned server, fs_usec_t sent);
void fs_session_vouch_refused(fs_session_vouching_t *vouching, unsigned server, fs_usec_t sent);

/*
 * Called at least each third of the lease and after each answer. Says who is up, and what the trust
 * page holds from now on:
 *
 * - A server is up for one lease from a renewal that it answered. But when one answers after none
 *   did, nobody is up until each has answered, or refused, or was asked for one lease from then on
 * in vain: this host may have been cut off, and others took its sessions from servers that it
 * doesn't hear yet, while the first one that it hears never had them.
 * - `until` is the soonest end of the leases of those who are up.
 * - When a server goes or comes, or a step came later than half a lease after the one before (this
 *   process stood still), the generation rises: what this host has is compared with those who are
 *   up.
 * - When none is up although one lease was spent on asking, the host is alone, lease by lease,
 *   unless it is parted from other hosts: then nothing is trusted.
 */
void fs_session_vouching_step(fs_session_vouching_t *vouching, fs_usec_t now);

/* The other hosts as this one sees them while no bank server answers it. */
typedef struct fs_session_others_t {
    unsigned known;
    unsigned answer;    /* ... or where they ran nobody listens any more */
    unsigned with_bank; /* answer, and say that a bank server answers them */
    int bank_ended;     /* where the bank servers ran nobody listens any more */
    int ordered;        /* an operator says that nobody else can have the bank */
} fs_session_others_t;

/*
 * Could others take this host's sessions from the bank while it trusts them? Not if the machines of
 * all bank servers say that there is none any more, nor if most hosts answer, and none of them has
 * the bank: that is taken to be away, for the rest of them, too. Where neither can be found out
 * (the other one of two hosts is switched off, and the bank with it), an operator has to say it.
 * Who says that he has the bank is believed more than all that.
 */
int fs_session_parted(const fs_session_others_t *others);

#endif
