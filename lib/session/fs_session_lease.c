/* SPDX-License-Identifier: Apache-2.0 */
#include "session/fs_session_lease.h"

/* --- a bank server's side ------------------------------------------------------------------------
 */

fs_usec_t fs_session_lease_left(const fs_session_lease_t *lease, fs_usec_t started,
                                fs_usec_t presumed, fs_usec_t now)
{
    fs_usec_t from = lease->heard > started ? lease->heard : started;
    fs_usec_t length = lease->length > 0 ? lease->length : presumed;

    if (length > FS_SESSION_TRUST_LIMIT)
        length = FS_SESSION_TRUST_LIMIT;
    return from + length > now ? from + length - now : 0;
}

/* --- a host's side -------------------------------------------------------------------------------
 */

void fs_session_vouch_sent(fs_session_vouching_t *vouching, unsigned server, fs_usec_t now)
{
    if (!vouching->servers[server].tried)
        vouching->servers[server].tried = now;
}

void fs_session_vouch_answered(fs_session_vouching_t *vouching, unsigned server, fs_usec_t sent)
{
    fs_session_vouch_t *vouch = &vouching->servers[server];

    if (sent > vouch->sent)
        vouch->sent = sent;
    if (vouch->tried && vouch->tried <= sent)
        vouch->tried = 0;
    vouch->refused = 0;
}

void fs_session_vouch_refused(fs_session_vouching_t *vouching, unsigned server, fs_usec_t sent)
{
    vouching->servers[server].refused = sent;
}

/* This process stood still: what it sent before that was perhaps answered, it has not looked. */
static void wake(fs_session_vouching_t *vouching, fs_usec_t now)
{
    vouching->trusted.generation++;
    for (unsigned i = 0; i < vouching->count; i++)
        if (vouching->servers[i].tried)
            vouching->servers[i].tried = now;
}

static int is_in_vain(const fs_session_vouch_t *vouch, fs_usec_t lease, fs_usec_t now)
{
    return vouch->tried && now - vouch->tried >= lease;
}

/* Was each server asked for a whole lease, in vain? */
static int asked_in_vain(const fs_session_vouching_t *vouching, fs_usec_t now)
{
    for (unsigned i = 0; i < vouching->count; i++)
        if (!is_in_vain(&vouching->servers[i], vouching->lease, now))
            return 0;
    return 1;
}

/* Is it known of each server whether it is there? */
static int has_returned(const fs_session_vouching_t *vouching, fs_usec_t now)
{
    for (unsigned i = 0; i < vouching->count; i++) {
        const fs_session_vouch_t *vouch = &vouching->servers[i];
        int refuses = vouch->tried && vouch->refused >= vouch->tried;

        if (!vouch->answers && !refuses && !is_in_vain(vouch, vouching->lease, now))
            return 0;
    }
    return 1;
}

/* Says who answers; returns how many. */
static unsigned look_who_answers(fs_session_vouching_t *vouching, fs_usec_t now)
{
    unsigned count = 0;

    for (unsigned i = 0; i < vouching->count; i++) {
        fs_session_vouch_t *vouch = &vouching->servers[i];

        vouch->answers = vouch->sent && vouch->sent + vouching->lease > now;
        count += (unsigned)vouch->answers;
    }
    return count;
}

/* The network is back, or this host has begun. What was sent before the question that is answered
 * now may have been lost with all else, and says nothing about who doesn't answer. */
static void begin_return(fs_session_vouching_t *vouching)
{
    fs_usec_t since = 0;

    for (unsigned i = 0; i < vouching->count; i++)
        if (vouching->servers[i].answers && vouching->servers[i].sent > since)
            since = vouching->servers[i].sent;
    for (unsigned i = 0; i < vouching->count; i++)
        if (vouching->servers[i].tried < since)
            vouching->servers[i].tried = 0;
    vouching->returning = 1;
}

static int is_any_up(const fs_session_vouching_t *vouching)
{
    for (unsigned i = 0; i < vouching->count; i++)
        if (vouching->servers[i].up)
            return 1;
    return 0;
}

void fs_session_vouching_step(fs_session_vouching_t *vouching, fs_usec_t now)
{
    fs_session_trusted_t *trusted = &vouching->trusted;
    fs_usec_t until = INT64_MAX;
    unsigned up = 0, answer;

    if (vouching->stepped && now - vouching->stepped > vouching->lease / 2)
        wake(vouching, now);
    vouching->stepped = now;
    vouching->changed = 0;
    answer = look_who_answers(vouching, now);
    if (!answer)
        vouching->returning = 0;
    else if (!vouching->returning && !is_any_up(vouching))
        begin_return(vouching);
    if (vouching->returning && has_returned(vouching, now))
        vouching->returning = 0;
    for (unsigned i = 0; i < vouching->count; i++) {
        fs_session_vouch_t *vouch = &vouching->servers[i];
        int is_up = vouch->answers && !vouching->returning;

        vouching->changed |= is_up != vouch->up;
        vouch->up = is_up;
        up += (unsigned)is_up;
        if (is_up && vouch->sent + vouching->lease < until)
            until = vouch->sent + vouching->lease;
    }
    if (vouching->changed || (trusted->alone && answer))
        trusted->generation++;
    trusted->alone =
        !answer && !vouching->parted && (trusted->alone || asked_in_vain(vouching, now));
    trusted->until = up ? until : trusted->alone ? now + vouching->lease : 0;
}

int fs_session_parted(const fs_session_others_t *others)
{
    int most = 2 * (others->answer + 1) > others->known + 1;

    return others->with_bank || !(most || others->bank_ended || others->ordered);
}
