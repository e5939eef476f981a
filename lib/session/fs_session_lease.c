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
}

/* This process stood still: what it sent before that was perhaps answered, it has not looked. */
static void wake(fs_session_vouching_t *vouching, fs_usec_t now)
{
    vouching->trusted.generation++;
    for (unsigned i = 0; i < vouching->count; i++)
        if (vouching->servers[i].tried)
            vouching->servers[i].tried = now;
}

/* Was each server that isn't up asked for a whole lease, in vain? */
static int asked_in_vain(const fs_session_vouching_t *vouching, fs_usec_t now)
{
    for (unsigned i = 0; i < vouching->count; i++)
        if (!vouching->servers[i].tried || now - vouching->servers[i].tried < vouching->lease)
            return 0;
    return 1;
}

void fs_session_vouching_step(fs_session_vouching_t *vouching, fs_usec_t now)
{
    fs_session_trusted_t *trusted = &vouching->trusted;
    fs_usec_t until = INT64_MAX;
    unsigned up = 0;

    if (vouching->stepped && now - vouching->stepped > vouching->lease / 2)
        wake(vouching, now);
    vouching->stepped = now;
    vouching->changed = 0;
    for (unsigned i = 0; i < vouching->count; i++) {
        fs_session_vouch_t *vouch = &vouching->servers[i];
        int is_up = vouch->sent && vouch->sent + vouching->lease > now;

        vouching->changed |= is_up != vouch->up;
        vouch->up = is_up;
        up += (unsigned)is_up;
        if (is_up && vouch->sent + vouching->lease < until)
            until = vouch->sent + vouching->lease;
    }
    if (vouching->changed || (trusted->alone && up))
        trusted->generation++;
    trusted->alone = !up && !vouching->parted && (trusted->alone || asked_in_vain(vouching, now));
    trusted->until = up ? until : trusted->alone ? now + vouching->lease : 0;
}

int fs_session_parted(const fs_session_others_t *others)
{
    int most = 2 * (others->answer + 1) > others->known + 1;

    return others->with_bank || !(most || others->bank_ended || others->ordered);
}
