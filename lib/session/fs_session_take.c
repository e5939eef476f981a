/* SPDX-License-Identifier: Apache-2.0 */
#include "session/fs_session_take.h"

#include <string.h>

#define NAMED_HOPS 4    /* a session that is handed on while it is being asked for */
#define LINE_GAP   1000 /* saves, or microseconds: see same_line */
#define BEHIND     64   /* on the rank of a candidate that missed a take-over */

static int same(const char *a, const char *b)
{
    return !strcmp(a, b);
}

static void name(char to[FS_SESSION_NAME_SIZE], const char *from)
{
    size_t length = strnlen(from, FS_SESSION_NAME_SIZE - 1);

    memmove(to, from, length);
    memset(to + length, 0, FS_SESSION_NAME_SIZE - length);
}

/* --- a bank server -------------------------------------------------------------------------------
 */

fs_session_granted_t fs_session_hold_take(fs_session_hold_t *hold, fs_usec_t left,
                                          const char *taker, const char *from)
{
    if (!hold->held)
        return FS_SESSION_UNKNOWN;
    if (hold->owner[0] && !same(hold->owner, taker) && !same(hold->owner, from) && left > 0)
        return FS_SESSION_OWNED;
    hold->granted |= !same(hold->owner, taker);
    name(hold->owner, taker);
    return FS_SESSION_GRANTED;
}

/* Does what the host says of the owner count here? */
static int claim_counts(const fs_session_hold_t *hold, fs_usec_t left,
                        const fs_session_offering_t *offering, fs_session_offered_t answer)
{
    if (!hold->held || !hold->owner[0] || same(hold->owner, offering->origin))
        return 1;
    if (answer == FS_SESSION_MERGE)
        return 0;
    /* It took it over since, and perhaps handed it on. To whom the session was granted takes the
     * next epoch; who has that one already took the session over before, and was fenced since. */
    if (offering->version.epoch > hold->version.epoch + (hold->granted ? 1 : 0))
        return 1;
    return left <= 0 && same(offering->owner, offering->origin);
}

fs_session_offered_t fs_session_hold_offer(fs_session_hold_t *hold, fs_usec_t left,
                                           const fs_session_offering_t *offering, int *fenced)
{
    const fs_session_stamp_t *base = offering->base;
    fs_session_offered_t answer;

    if (hold->aside && base && !fs_session_stamp_compare(base, &hold->aside_version)) {
        hold->aside = 0;
        base = NULL;
    }
    answer = hold->aside
                 ? FS_SESSION_MERGE
                 : fs_session_offer(hold->held ? &hold->version : NULL, base, &offering->version);
    if (claim_counts(hold, left, offering, answer)) {
        if (answer != FS_SESSION_MERGE || !same(hold->owner, offering->owner))
            hold->granted = !same(offering->owner, offering->origin);
        name(hold->owner, offering->owner);
    }
    if (answer == FS_SESSION_TAKE) {
        hold->held = 1;
        hold->version = offering->version;
    }
    *fenced = same(offering->owner, offering->origin) && !same(hold->owner, offering->origin);
    return answer;
}

/*
 * Did one store write both, while it owned the session without a break, so that the later one has
 * all of the earlier one? A host that let the session go may take an old copy over again, and
 * arrive at the same epoch. But a sequence begins with the farm time of the take-over, in
 * microseconds, and is raised by one with each save: two lines are apart by the time between their
 * take-overs. Copies of one line that many saves lie between are taken for two, and merged.
 */
static int same_line(const fs_session_stamp_t *a, const fs_session_stamp_t *b)
{
    uint64_t gap =
        a->sequence > b->sequence ? a->sequence - b->sequence : b->sequence - a->sequence;

    return a->epoch == b->epoch && a->writer == b->writer && gap < LINE_GAP;
}

/* Of more than two that are apart the latest two are kept. */
static int goes_aside(fs_session_hold_t *hold, const fs_session_stamp_t *version)
{
    if (hold->aside && fs_session_stamp_compare(version, &hold->aside_version) <= 0)
        return 0;
    hold->aside = 1;
    hold->aside_version = *version;
    return 1;
}

fs_session_copied_t fs_session_hold_copy(fs_session_hold_t *hold, const fs_session_hold_t *theirs)
{
    fs_session_stamp_t ours = hold->version;
    int order = hold->held ? fs_session_stamp_compare(&ours, &theirs->version) : -1;
    int apart = hold->held && !same_line(&ours, &theirs->version);

    if (!order)
        return FS_SESSION_COPY_IGNORED;
    if (order > 0)
        return apart && goes_aside(hold, &theirs->version) ? FS_SESSION_COPY_ASIDE_THEIRS
                                                           : FS_SESSION_COPY_IGNORED;
    hold->held = 1;
    hold->version = theirs->version;
    if (!hold->granted || !same_line(&ours, &theirs->version)) {
        name(hold->owner, theirs->owner);
        hold->granted = 0;
    }
    return apart && goes_aside(hold, &ours) ? FS_SESSION_COPY_ASIDE : FS_SESSION_COPIED;
}

/* --- who wants a session -------------------------------------------------------------------------
 */

/* One that holds an older epoch than another missed a take-over: it takes for the owner who was
 * that long ago. It may be in sync nevertheless: because the session doesn't belong there. */
static unsigned rank_of(const fs_session_taking_t *taking, unsigned candidate)
{
    for (unsigned i = 0; i < taking->candidate_count; i++)
        if (taking->candidates[i].epoch > taking->candidates[candidate].epoch)
            return candidate + BEHIND;
    return candidate;
}

unsigned fs_session_take_rank(const fs_session_taking_t *taking)
{
    unsigned best = FS_SESSION_NO_RANK;

    for (unsigned i = 0; i < taking->candidate_count; i++)
        if (taking->candidates[i].heard == FS_SESSION_HEARD_GRANTED && rank_of(taking, i) < best)
            best = rank_of(taking, i);
    return best;
}

static fs_session_next_t next_step(fs_session_step_t step, const char *whom, fs_usec_t at)
{
    fs_session_next_t next = {.step = step, .at = at};

    name(next.whom, whom);
    return next;
}

static const fs_session_peer_t *find_peer(const fs_session_taking_t *taking, const char *whom)
{
    for (unsigned i = 0; i < taking->peer_count; i++)
        if (same(taking->peers[i].name, whom))
            return &taking->peers[i];
    return NULL;
}

/* The owner doesn't answer: until its lease has run out the bank may reach it. */
static fs_session_next_t wait_for_lease(fs_usec_t until, fs_usec_t now)
{
    fs_usec_t retry = now + FS_SESSION_RETRY;
    fs_session_next_t next = next_step(FS_SESSION_STEP_TAKE, "",
                                       until <= now    ? now
                                       : until < retry ? until
                                                       : retry);

    next.wanted = until > now;
    return next;
}

/*
 * Two take it at once: who has the better candidate's grant goes on; the other asks him later. The
 * candidate at `rank` says that it is the rival's; he may be asking it again, and not know that
 * now. If both were granted it by the same, one was too late: both ask again.
 */
static int rival_is_better(const fs_session_taking_t *taking, const fs_session_peer_t *rival,
                           unsigned rank)
{
    unsigned mine = fs_session_take_rank(taking);

    rank = rival->rank < rank ? rival->rank : rank;
    if (rank == mine && rival->has != taking->own)
        return rival->has;
    return rank < mine ||
           (rank == mine && (mine != FS_SESSION_NO_RANK || strcmp(rival->name, taking->self) < 0));
}

/* What to do about a living owner that the candidate at `rank` (or a host) named. ADOPT: nothing is
 * left to do about it. */
static fs_session_next_t settle_owner(const fs_session_taking_t *taking, const char *owner,
                                      unsigned rank, fs_usec_t until, fs_usec_t now)
{
    const char *whom = owner;

    for (unsigned hop = 0; hop < NAMED_HOPS; hop++) {
        const fs_session_peer_t *peer = find_peer(taking, whom);

        if (!peer)
            return next_step(FS_SESSION_STEP_ASK, whom, now);
        switch (peer->said) {
        case FS_SESSION_SAID_GAVE:
            return next_step(FS_SESSION_STEP_ADOPT, "", now);
        case FS_SESSION_SAID_NOTHING:
            return next_step(FS_SESSION_STEP_WAIT, "", taking->deadline);
        case FS_SESSION_SAID_FAILED:
            return wait_for_lease(whom == owner ? until : now + FS_SESSION_RETRY, now);
        case FS_SESSION_SAID_TAKING:
            return rival_is_better(taking, peer, rank)
                       ? next_step(FS_SESSION_STEP_TAKE, "", now + FS_SESSION_RETRY)
                       : next_step(FS_SESSION_STEP_ADOPT, "", now);
        case FS_SESSION_SAID_NAMED:
            if (same(peer->named, taking->self)) /* and what it had came with that */
                return next_step(FS_SESSION_STEP_ADOPT, "", now);
            whom = peer->named;
            break;
        case FS_SESSION_SAID_NONE:
        default:
            return next_step(FS_SESSION_STEP_TAKE, owner, now);
        }
    }
    return next_step(FS_SESSION_STEP_TAKE, "", now + FS_SESSION_RETRY);
}

/* A host that this one let have it: the bank may not know that yet, and still take this host for
 * the owner. */
static fs_session_next_t settle_taker(const fs_session_taking_t *taking, const char *whom,
                                      int released, fs_usec_t now)
{
    const fs_session_peer_t *peer = find_peer(taking, whom);

    if (peer && (peer->said == FS_SESSION_SAID_NONE || peer->said == FS_SESSION_SAID_FAILED))
        return next_step(FS_SESSION_STEP_ADOPT, "", now); /* the bank decides */
    /* It is his: a copy may be on its way to him. If he gave it back, he says GAVE. */
    if (released && peer && peer->said == FS_SESSION_SAID_TAKING)
        return next_step(FS_SESSION_STEP_TAKE, "", now + FS_SESSION_RETRY);
    return settle_owner(taking, whom, FS_SESSION_NO_RANK, now, now);
}

static fs_session_next_t settle_takers(const fs_session_taking_t *taking, fs_usec_t now)
{
    fs_session_next_t next = next_step(FS_SESSION_STEP_ADOPT, "", now);

    if (taking->released && taking->released[0] && !same(taking->released, taking->self))
        next = settle_taker(taking, taking->released, 1, now);
    for (unsigned i = 0; i < taking->told_count && next.step == FS_SESSION_STEP_ADOPT; i++)
        if (!same(taking->told[i], taking->self))
            next = settle_taker(taking, taking->told[i], 1, now);
    return next;
}

/* Those that the bank names, the best candidate's first. */
static fs_session_next_t settle_owners(const fs_session_taking_t *taking, fs_usec_t now)
{
    fs_session_next_t takers = settle_takers(taking, now);

    if (takers.step != FS_SESSION_STEP_ADOPT)
        return takers;
    for (unsigned i = 0; i < taking->candidate_count; i++) {
        const fs_session_candidate_t *candidate = &taking->candidates[i];
        fs_session_next_t next;

        if (candidate->heard != FS_SESSION_HEARD_OWNED || same(candidate->owner, taking->self))
            continue;
        next = settle_owner(taking, candidate->owner, rank_of(taking, i), candidate->until, now);
        if (next.step != FS_SESSION_STEP_ADOPT)
            return next;
    }
    return next_step(FS_SESSION_STEP_ADOPT, "", now);
}

/* Whom hosts that were asked named, though the bank doesn't know of him, or hears nothing of him.
 */
static fs_session_next_t settle_named(const fs_session_taking_t *taking, fs_usec_t now)
{
    fs_session_next_t next = next_step(FS_SESSION_STEP_ADOPT, "", now);

    for (unsigned i = 0; i < taking->peer_count && next.step == FS_SESSION_STEP_ADOPT; i++)
        if (taking->peers[i].said == FS_SESSION_SAID_NAMED &&
            !same(taking->peers[i].named, taking->self))
            next = settle_taker(taking, taking->peers[i].named, 0, now);
    return next;
}

/* One that takes it, too, and has nothing, is in the same position; if only one has something, he
 * goes on. */
static int may_have_it(const fs_session_peer_t *peer)
{
    return peer->said == FS_SESSION_SAID_TAKING && peer->has;
}

/* What the bank says isn't enough: all living peers are asked. ADOPT: nothing is left to do about
 * them, and none of them `failed` to answer or some did. */
static fs_session_next_t settle_peers(const fs_session_taking_t *taking, fs_usec_t now, int *failed)
{
    int waiting = 0;

    *failed = taking->missing;
    if (!taking->asked_all)
        return next_step(FS_SESSION_STEP_ASK_ALL, "", now);
    for (unsigned i = 0; i < taking->peer_count; i++) {
        const fs_session_peer_t *peer = &taking->peers[i];

        if (peer->said == FS_SESSION_SAID_NAMED || may_have_it(peer)) {
            fs_session_next_t next = settle_owner(taking, peer->name, FS_SESSION_NO_RANK, now, now);

            if (next.step != FS_SESSION_STEP_ADOPT)
                return next;
        }
        waiting += peer->said == FS_SESSION_SAID_NOTHING;
        *failed += peer->said == FS_SESSION_SAID_FAILED;
    }
    return waiting ? next_step(FS_SESSION_STEP_WAIT, "", taking->deadline)
                   : next_step(FS_SESSION_STEP_ADOPT, "", now);
}

/* Nobody that was asked at the bank holds it: perhaps a host has one that is younger than that. */
static fs_session_next_t settle_unknown(const fs_session_taking_t *taking, int all_in_sync,
                                        fs_usec_t now)
{
    int failed;
    fs_session_next_t next = settle_peers(taking, now, &failed);

    if (next.step != FS_SESSION_STEP_ADOPT || (!failed && taking->own))
        return next; /* ADOPT: nobody else has it */
    if (all_in_sync && !failed)
        return next_step(FS_SESSION_STEP_UNKNOWN, "", now);
    return next_step(FS_SESSION_STEP_TAKE, "", now + FS_SESSION_RETRY);
}

/*
 * Only bank servers that may have missed something hold it. Who could have brought it to them is
 * asked himself; what they hold and what the peers have together is all there is, if everybody
 * answered.
 */
static fs_session_next_t settle_behind(const fs_session_taking_t *taking, int silent, fs_usec_t now)
{
    int failed;
    fs_session_next_t next = settle_peers(taking, now, &failed);

    if (next.step == FS_SESSION_STEP_ADOPT && (failed || silent))
        return next_step(FS_SESSION_STEP_TAKE, "", now + FS_SESSION_RETRY);
    return next;
}

static int somebody_gave(const fs_session_taking_t *taking)
{
    for (unsigned i = 0; i < taking->peer_count; i++)
        if (taking->peers[i].said == FS_SESSION_SAID_GAVE)
            return 1;
    return 0;
}

static fs_session_next_t next_of(const fs_session_taking_t *taking, fs_usec_t now)
{
    unsigned silent = 0, in_sync = 0, unknown = 0, known = 0, unheard = 0;
    fs_session_next_t next;

    for (unsigned i = 0; i < taking->candidate_count; i++) {
        const fs_session_candidate_t *candidate = &taking->candidates[i];

        if (candidate->heard == FS_SESSION_HEARD_NOTHING)
            return next_step(FS_SESSION_STEP_WAIT, "", taking->deadline);
        silent += candidate->heard == FS_SESSION_HEARD_FAILED;
        unheard += candidate->heard == FS_SESSION_HEARD_FAILED && candidate->up;
        unknown += candidate->heard == FS_SESSION_HEARD_UNKNOWN;
        known += candidate->heard >= FS_SESSION_HEARD_GRANTED;
        in_sync += candidate->heard != FS_SESSION_HEARD_FAILED && candidate->in_sync;
    }
    if (taking->stale)
        return next_step(FS_SESSION_STEP_TAKE, "", now);
    next = settle_owners(taking, now);
    if (next.step == FS_SESSION_STEP_ADOPT)
        next = settle_named(taking, now);
    if (next.step != FS_SESSION_STEP_ADOPT || somebody_gave(taking))
        return next;
    if (unheard)
        return next_step(FS_SESSION_STEP_TAKE, "", now + FS_SESSION_RETRY);
    if (known && in_sync)
        return next;
    if (known)
        return settle_behind(taking, silent != 0, now);
    return settle_unknown(taking, unknown && !silent && in_sync == unknown, now);
}

fs_session_next_t fs_session_take_next(const fs_session_taking_t *taking, fs_usec_t now)
{
    fs_session_next_t next = next_of(taking, now);

    if (next.step == FS_SESSION_STEP_ADOPT || next.step == FS_SESSION_STEP_UNKNOWN)
        return next;
    if (now >= taking->deadline || next.at > taking->deadline)
        return next_step(FS_SESSION_STEP_GIVE_UP, "", now);
    return next;
}

/* --- who has it ----------------------------------------------------------------------------------
 */

/* Has the asker not had what he was given yet? Else he has had it, and may be giving it back. */
static int is_news(const fs_session_mine_t *mine)
{
    return !mine->asker_version ||
           fs_session_stamp_compare(mine->asker_version, &mine->version) <= 0;
}

fs_session_hand_t fs_session_hand_over(const fs_session_mine_t *mine, const char *asker,
                                       fs_usec_t now)
{
    /* Again, for the answer was lost; unless others may have taken it since. */
    if (mine->there && same(mine->released, asker) && is_news(mine))
        return mine->doubt ? FS_SESSION_HAND_NONE : FS_SESSION_HAND_GIVE;
    if (mine->taking && (!mine->there || mine->released[0] || mine->doubt))
        return FS_SESSION_HAND_TAKING;
    /* Who has had it learns nothing from it: another one may have it since. */
    if (!mine->there || same(mine->released, asker))
        return FS_SESSION_HAND_NONE;
    if (mine->released[0])
        return FS_SESSION_HAND_NAME;
    /* Who was told a moment ago that it may be served is at it, though it is in doubt by now. */
    if ((mine->pending || !mine->turn) && now - mine->asked < mine->patience)
        return FS_SESSION_HAND_WAIT;
    if (mine->doubt)
        return FS_SESSION_HAND_NONE;
    /* Who holds the turn would save over what the asker did meanwhile. */
    return mine->turn ? FS_SESSION_HAND_GIVE : FS_SESSION_HAND_TAKING;
}

fs_session_keeping_t fs_session_keep(const char *self, const fs_session_hold_t *held,
                                     const fs_session_stamp_t *own, const fs_session_stamp_t *base)
{
    /* To whom the session was granted takes the next epoch. */
    if (!held->held || held->version.epoch + (held->granted ? 1 : 0) < own->epoch)
        return FS_SESSION_KEEP;
    if (held->owner[0] && !same(held->owner, self))
        return FS_SESSION_LET_GO;
    if (fs_session_stamp_compare(&held->version, own) <= 0 ||
        (base && !fs_session_stamp_compare(&held->version, base)))
        return FS_SESSION_KEEP;
    return FS_SESSION_FETCH;
}
