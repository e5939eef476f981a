/* SPDX-License-Identifier: Apache-2.0 */
/* The answers to single items: what a host or another bank server offers, takes or compares. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bank_slot.h"

/* --- answers -------------------------------------------------------------------------------------
 */

static void begin_answer(fs_session_item_t *answer, const fs_session_key_t *key)
{
    answer->key = *key;
    answer->what = FS_SESSION_WHAT_REFUSED;
    answer->flags = answer->parts = 0;
}

static void give(fs_session_item_t *answer, const fs_bank_slot_t *slot, const uint8_t *sealed,
                 size_t length)
{
    answer->parts |= FS_SESSION_PART_VERSION | FS_SESSION_PART_EXPIRES | FS_SESSION_PART_SEALED;
    answer->version = slot->version;
    answer->expires = slot->expires;
    answer->flags |= slot->flags & FS_BANK_STATES;
    answer->sealed = sealed;
    answer->sealed_length = (uint32_t)length;
}

/* Another owner than who asks, and what is left of its lease. */
static void name_owner(fs_session_item_t *answer, const char *owner, const char *origin,
                       fs_usec_t left)
{
    if (!owner[0] || !strcmp(owner, origin))
        return;
    answer->parts |= FS_SESSION_PART_OWNER | FS_SESSION_PART_LEASE;
    memcpy(answer->owner, owner, sizeof(answer->owner));
    answer->lease = (uint32_t)(left > 0 ? (left + FS_USEC_PER_MSEC - 1) / FS_USEC_PER_MSEC : 0);
}

static fs_usec_t lease_of(const fs_bank_work_t *work, const char *owner, const char *taker)
{
    return owner[0] && strcmp(owner, taker) != 0
               ? work->leases->left(work->leases->baton, owner, taker)
               : 0;
}

static void tell_moved(const fs_bank_work_t *work, const fs_session_key_t *key, const char *from,
                       const char *to)
{
    if (from[0] && strcmp(from, to) != 0)
        work->leases->moved(work->leases->baton, key, from, to);
}

/* --- offers --------------------------------------------------------------------------------------
 */

static int store_offered(fs_bank_work_t *work, const fs_session_item_t *item,
                         const fs_bank_held_t *held, fs_session_item_t *answer)
{
    fs_bank_slot_t slot = {.version = item->version, .expires = item->expires};
    int room = 0, error = fs_bank_held_room(work, held, item->sealed_length, &room);

    if (error || !room) {
        answer->what = FS_SESSION_WHAT_FULL;
        return error;
    }
    slot.flags = (uint8_t)(item->flags & FS_BANK_STATES);
    answer->what = FS_SESSION_WHAT_STORED;
    work->stored++;
    if (held->slot.indexed && fs_bank_has_expired(work, held->slot.expires))
        error = fs_bank_aside_remove(work, &item->key);
    if (error)
        return error;
    return fs_bank_held_put(work, &item->key, held, &slot, item->sealed, item->sealed_length);
}

/* Answers with what the host is to merge. */
static void ask_to_merge(fs_bank_work_t *work, const fs_bank_held_t *held,
                         fs_session_item_t *answer)
{
    answer->what = FS_SESSION_WHAT_MERGE;
    work->merges++;
    if (held->hold.aside)
        give(answer, &held->aside_slot, held->aside_sealed, held->aside_length);
    else
        give(answer, &held->slot, held->sealed, held->length);
}

/* States only go forward: who offers a copy of one that has ended merges first. */
static int goes_back(const fs_bank_held_t *held, const fs_session_item_t *item)
{
    unsigned now = held->slot.flags & FS_BANK_STATES, then = item->flags & FS_BANK_STATES;

    return held->hold.held && now > 0 && !(then & FS_SESSION_ITEM_ENDED) &&
           (then == 0 || now & FS_SESSION_ITEM_ENDED);
}

/* The later copy wins; what only a host can merge with it goes aside. */
static int replace(fs_bank_work_t *work, const fs_session_item_t *item, const fs_bank_held_t *was,
                   const fs_bank_held_t *held, int aside, fs_session_item_t *answer)
{
    fs_bank_slot_t slot = was->slot;
    uint8_t *copy = malloc(was->length + 1); /* storing moves what `was` points to */
    int error;

    if (!copy)
        return ENOMEM;
    if (was->length)
        memcpy(copy, was->sealed, was->length);
    error = store_offered(work, item, held, answer);
    slot.indexed = 0;
    if (!error && answer->what == FS_SESSION_WHAT_STORED && aside)
        error = fs_bank_slot_put(work, BANK_ASIDE, &item->key, &slot, was->hold.owner, copy,
                                 was->length);
    if (!error && answer->what == FS_SESSION_WHAT_STORED)
        tell_moved(work, &item->key, was->hold.owner, held->hold.owner);
    free(copy);
    return error;
}

/* From another bank server. */
static int offer_copy(fs_bank_work_t *work, const fs_session_item_t *item, fs_bank_held_t *held,
                      fs_session_item_t *answer)
{
    fs_session_hold_t theirs = {.held = 1, .version = item->version};
    fs_bank_slot_t slot = {.version = item->version, .expires = item->expires};
    const fs_bank_held_t was = *held;
    fs_session_copied_t copied;

    answer->what = FS_SESSION_WHAT_HAVE;
    if (item->parts & FS_SESSION_PART_OWNER)
        memcpy(theirs.owner, item->owner, sizeof(theirs.owner));
    if (goes_back(held, item))
        return 0;
    copied = fs_session_hold_copy(&held->hold, &theirs);
    if (copied == FS_SESSION_COPY_IGNORED)
        return 0;
    if (copied != FS_SESSION_COPY_ASIDE_THEIRS)
        return replace(work, item, &was, held, copied == FS_SESSION_COPY_ASIDE, answer);
    answer->what = FS_SESSION_WHAT_STORED;
    slot.flags = (uint8_t)(item->flags & FS_BANK_STATES);
    return fs_bank_slot_put(work, BANK_ASIDE, &item->key, &slot, theirs.owner, item->sealed,
                            item->sealed_length);
}

int fs_bank_offer(fs_bank_work_t *work, const char *origin, const fs_session_item_t *item,
                  size_t room, fs_session_item_t *answer)
{
    fs_session_offering_t offering = {.origin = origin, .version = item->version};
    char before[FS_SESSION_NAME_SIZE];
    fs_session_offered_t what;
    int fenced = 0, had_aside;
    fs_usec_t left;
    fs_bank_held_t held;
    int error = fs_bank_held_find(work, &item->key, &held);

    begin_answer(answer, &item->key);
    if (error)
        return error;
    if (item->flags & FS_SESSION_ITEM_COPY)
        return offer_copy(work, item, &held, answer);
    if (held.length > room || held.aside_length > room)
        return 0;
    offering.owner = item->flags & FS_SESSION_ITEM_RELEASED ? ""
                     : item->parts & FS_SESSION_PART_OWNER  ? item->owner
                                                            : origin;
    if (item->parts & FS_SESSION_PART_BASE && !goes_back(&held, item))
        offering.base = &item->base;
    memcpy(before, held.hold.owner, sizeof(before));
    had_aside = held.hold.aside;
    left = lease_of(work, before, origin);
    what = fs_session_hold_offer(&held.hold, left, &offering, &fenced);
    if (had_aside && !held.hold.aside)
        error = fs_bank_aside_remove(work, &item->key);
    if (!error && what == FS_SESSION_TAKE)
        error = store_offered(work, item, &held, answer);
    else if (!error && strcmp(before, held.hold.owner) != 0)
        error = fs_bank_held_put_owner(work, &item->key, &held);
    if (error || answer->what == FS_SESSION_WHAT_FULL)
        return error;
    if (what == FS_SESSION_HAVE)
        answer->what = FS_SESSION_WHAT_HAVE;
    tell_moved(work, &item->key, before, held.hold.owner);
    if (what == FS_SESSION_MERGE) {
        /* fs_bank_held_put_owner may have moved what `held` points to */
        error = fs_bank_held_find(work, &item->key, &held);
        ask_to_merge(work, &held, answer);
    }
    name_owner(answer, held.hold.owner, origin, left);
    answer->flags |= fenced ? FS_SESSION_ITEM_FENCED : 0;
    return error;
}

/* --- taking --------------------------------------------------------------------------------------
 */

static void note_take(fs_bank_work_t *work, const fs_session_item_t *item, const char *origin,
                      const fs_bank_held_t *held, fs_session_granted_t granted)
{
    if (granted == FS_SESSION_GRANTED)
        work->granted++;
    else if (granted == FS_SESSION_OWNED && !(item->flags & FS_SESSION_ITEM_PEEK))
        work->refused++;
    if (granted == FS_SESSION_OWNED && item->flags & FS_SESSION_ITEM_WANTED)
        work->leases->wanted(work->leases->baton, &item->key, held->hold.owner, origin);
}

/* Both copies, but not the one that who asks has already. */
static void give_held(fs_session_item_t *answer, fs_session_item_t *aside,
                      const fs_session_item_t *item, const fs_bank_held_t *held)
{
    if (!(item->parts & FS_SESSION_PART_VERSION) ||
        fs_session_stamp_compare(&item->version, &held->slot.version) != 0)
        give(answer, &held->slot, held->sealed, held->length);
    if (held->hold.aside)
        give(aside, &held->aside_slot, held->aside_sealed, held->aside_length);
}

int fs_bank_take(fs_bank_work_t *work, const char *origin, const fs_session_item_t *item,
                 size_t room, fs_session_item_t *answer, fs_session_item_t *aside)
{
    const char *from = item->parts & FS_SESSION_PART_OWNER ? item->owner : "";
    fs_session_granted_t granted = FS_SESSION_OWNED;
    char before[FS_SESSION_NAME_SIZE];
    fs_usec_t left;
    fs_bank_held_t held;
    int error = fs_bank_held_find(work, &item->key, &held);

    begin_answer(answer, &item->key);
    begin_answer(aside, &item->key);
    if (error || held.length + held.aside_length > room)
        return error;
    memcpy(before, held.hold.owner, sizeof(before));
    left = lease_of(work, before, origin);
    if (!held.hold.held)
        granted = FS_SESSION_UNKNOWN;
    else if (!(item->flags & FS_SESSION_ITEM_PEEK))
        granted = fs_session_hold_take(&held.hold, left, origin, from);
    if (strcmp(before, held.hold.owner) != 0) {
        error = fs_bank_held_put_owner(work, &item->key, &held);
        if (!error)
            error = fs_bank_held_find(work, &item->key, &held); /* where it is now */
        if (error)
            return error;
        tell_moved(work, &item->key, before, origin);
    }
    answer->what = granted == FS_SESSION_UNKNOWN   ? FS_SESSION_WHAT_UNKNOWN
                   : granted == FS_SESSION_GRANTED ? FS_SESSION_WHAT_GRANTED
                                                   : FS_SESSION_WHAT_OWNED;
    aside->what = answer->what;
    note_take(work, item, origin, &held, granted);
    if (granted == FS_SESSION_UNKNOWN)
        return 0;
    give_held(answer, aside, item, &held);
    if (granted == FS_SESSION_GRANTED && strcmp(before, from) != 0)
        name_owner(answer, before, origin, 0); /* he may only not be heard here */
    else
        name_owner(answer, held.hold.owner, item->flags & FS_SESSION_ITEM_PEEK ? "" : origin, left);
    return 0;
}

int fs_bank_compare(fs_bank_work_t *work, const char *origin, const fs_session_item_t *item,
                    fs_session_item_t *answer, int *differs)
{
    fs_bank_held_t held;
    int error = fs_bank_held_find(work, &item->key, &held);

    *differs = 0;
    begin_answer(answer, &item->key);
    if (error)
        return error;
    if (!held.hold.held) {
        answer->what = FS_SESSION_WHAT_UNKNOWN;
        *differs = 1;
        return 0;
    }
    answer->what = FS_SESSION_WHAT_DIFFERS;
    answer->flags = held.slot.flags & FS_BANK_STATES;
    answer->version = held.slot.version;
    answer->parts = FS_SESSION_PART_VERSION;
    if (held.hold.owner[0]) {
        answer->parts |= FS_SESSION_PART_OWNER;
        memcpy(answer->owner, held.hold.owner, sizeof(answer->owner));
        answer->flags |= held.hold.granted ? FS_SESSION_ITEM_GRANTED : 0;
    }
    *differs = fs_session_stamp_compare(&item->version, &held.slot.version) != 0 ||
               held.hold.aside ||
               (strncmp(origin, FS_BANK_PEER_PREFIX, strlen(FS_BANK_PEER_PREFIX)) != 0 &&
                strcmp(held.hold.owner, origin) != 0);
    return 0;
}

int fs_bank_wants(fs_bank_work_t *work, const fs_session_item_t *label, int *wants)
{
    fs_session_hold_t theirs = {.held = 1, .version = label->version};
    fs_bank_held_t held;
    int error = fs_bank_held_find(work, &label->key, &held);

    if (label->parts & FS_SESSION_PART_OWNER)
        memcpy(theirs.owner, label->owner, sizeof(theirs.owner));
    *wants = !error && !goes_back(&held, label) &&
             !(held.hold.aside &&
               !fs_session_stamp_compare(&held.hold.aside_version, &label->version)) &&
             fs_session_hold_copy(&held.hold, &theirs) != FS_SESSION_COPY_IGNORED;
    return error;
}
