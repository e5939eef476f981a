/* SPDX-License-Identifier: Apache-2.0 */
/* Single decisions about ownership; test_session_ownership.c has whole farms. */
#include "fs_test.h"
#include "fs_test_session.h"
#include "session/fs_session_lease.h"
#include "session/fs_session_resync.h"
#include "session/fs_session_take.h"

#define MS FS_USEC_PER_MSEC

static fs_session_candidate_t candidates[2];
static fs_session_peer_t peers[2];

static fs_session_taking_t taking_of(unsigned peer_count)
{
    fs_session_taking_t taking = {.self = "web1",
                                  .deadline = 500 * MS,
                                  .candidates = candidates,
                                  .candidate_count = 2,
                                  .peers = peers,
                                  .peer_count = peer_count};

    return taking;
}

static fs_session_candidate_t heard(fs_session_heard_t what, int in_sync, const char *owner)
{
    fs_session_candidate_t candidate = {.heard = what, .in_sync = in_sync, .up = 1};

    snprintf(candidate.owner, sizeof(candidate.owner), "%s", owner);
    return candidate;
}

static fs_session_peer_t said(const char *name, fs_session_said_t what, const char *named)
{
    fs_session_peer_t peer = {.said = what, .rank = FS_SESSION_NO_RANK};

    snprintf(peer.name, sizeof(peer.name), "%s", name);
    snprintf(peer.named, sizeof(peer.named), "%s", named);
    return peer;
}

static fs_session_step_t step_of(const fs_session_taking_t *taking)
{
    return fs_session_take_next(taking, 10 * MS).step;
}

START_TEST(what_the_bank_grants_is_taken)
{
    fs_session_taking_t taking = taking_of(0);

    candidates[0] = heard(FS_SESSION_HEARD_GRANTED, 1, "");
    candidates[1] = heard(FS_SESSION_HEARD_NOTHING, 0, "");
    ck_assert_int_eq(step_of(&taking), FS_SESSION_STEP_WAIT);
    candidates[1] = heard(FS_SESSION_HEARD_GRANTED, 1, "");
    ck_assert_int_eq(step_of(&taking), FS_SESSION_STEP_ADOPT);
    taking.stale = 1;
    ck_assert_int_eq(step_of(&taking), FS_SESSION_STEP_TAKE);
}
END_TEST

/* It may have given the session to another before it fell silent. */
START_TEST(a_silent_candidate_is_asked_again_until_it_is_down)
{
    fs_session_taking_t taking = taking_of(0);

    candidates[0] = heard(FS_SESSION_HEARD_GRANTED, 1, "");
    candidates[1] = heard(FS_SESSION_HEARD_FAILED, 0, "");
    ck_assert_int_eq(step_of(&taking), FS_SESSION_STEP_TAKE);
    candidates[1].up = 0;
    ck_assert_int_eq(step_of(&taking), FS_SESSION_STEP_ADOPT);
}
END_TEST

START_TEST(a_living_owner_is_asked)
{
    fs_session_taking_t taking = taking_of(0);
    fs_session_next_t next;

    candidates[0] = heard(FS_SESSION_HEARD_GRANTED, 1, "");
    candidates[1] = heard(FS_SESSION_HEARD_OWNED, 1, "web2");
    candidates[1].until = 300 * MS;
    next = fs_session_take_next(&taking, 10 * MS);
    ck_assert_int_eq(next.step, FS_SESSION_STEP_ASK);
    ck_assert_str_eq(next.whom, "web2");
    taking.peer_count = 1;
    peers[0] = said("web2", FS_SESSION_SAID_GAVE, "");
    ck_assert_int_eq(step_of(&taking), FS_SESSION_STEP_ADOPT);
    peers[0] = said("web2", FS_SESSION_SAID_NONE, "");
    next = fs_session_take_next(&taking, 10 * MS);
    ck_assert_int_eq(next.step, FS_SESSION_STEP_TAKE);
    ck_assert_str_eq(next.whom, "web2");
    peers[0] = said("web2", FS_SESSION_SAID_FAILED, "");
    next = fs_session_take_next(&taking, 10 * MS);
    ck_assert_int_eq(next.step, FS_SESSION_STEP_TAKE);
    ck_assert_int_eq(next.wanted, 1);
    ck_assert_int_gt(next.at, 10 * MS);
    ck_assert_int_eq(fs_session_take_next(&taking, 500 * MS).step, FS_SESSION_STEP_GIVE_UP);
}
END_TEST

/* The owner let this very host have it: no round after round. */
START_TEST(what_was_released_to_who_asks_is_his)
{
    fs_session_taking_t taking = taking_of(1);
    fs_session_mine_t mine = {.there = 1, .released = "web1", .turn = 1};
    const fs_session_stamp_t older = {4, 9, 9}, newer = {6, 1, 1};

    candidates[0] = candidates[1] = heard(FS_SESSION_HEARD_GRANTED, 0, "");
    taking.asked_all = 1;
    peers[0] = said("web2", FS_SESSION_SAID_NAMED, "web1");
    ck_assert_int_eq(step_of(&taking), FS_SESSION_STEP_ADOPT);
    ck_assert_int_eq(fs_session_hand_over(&mine, "web1", 0), FS_SESSION_HAND_GIVE);
    ck_assert_int_eq(fs_session_hand_over(&mine, "web3", 0), FS_SESSION_HAND_NAME);
    mine.taking = 1; /* he has asked before what he was given came to him */
    ck_assert_int_eq(fs_session_hand_over(&mine, "web1", 0), FS_SESSION_HAND_GIVE);
    ck_assert_int_eq(fs_session_hand_over(&mine, "web3", 0), FS_SESSION_HAND_TAKING);
    mine.version = (fs_session_stamp_t){5, 1, 1};
    mine.asker_version = &older;
    ck_assert_int_eq(fs_session_hand_over(&mine, "web1", 0), FS_SESSION_HAND_GIVE);
    mine.asker_version = &newer; /* he had it, and gives it back: that is on its way */
    ck_assert_int_eq(fs_session_hand_over(&mine, "web1", 0), FS_SESSION_HAND_TAKING);
    /* He had it, and was cut off since: this says nothing about who has it now. */
    mine.taking = 0;
    ck_assert_int_eq(fs_session_hand_over(&mine, "web1", 0), FS_SESSION_HAND_NONE);
    mine.asker_version = &mine.version;
    ck_assert_int_eq(fs_session_hand_over(&mine, "web1", 0), FS_SESSION_HAND_GIVE);
    /* It was let go in doubt, or the lease has run out since: another one may have taken it. */
    mine.doubt = 1;
    ck_assert_int_eq(fs_session_hand_over(&mine, "web1", 0), FS_SESSION_HAND_NONE);
    mine.taking = 1;
    ck_assert_int_eq(fs_session_hand_over(&mine, "web1", 0), FS_SESSION_HAND_NONE);
}
END_TEST

/* Two hosts that give one session to each other again and again: the bank doesn't know better. */
START_TEST(who_released_it_waits_for_whom_he_gave_it)
{
    fs_session_taking_t taking = taking_of(1);
    char told[2][FS_SESSION_NAME_SIZE] = {"web2", "web3"};

    candidates[0] = candidates[1] = heard(FS_SESSION_HEARD_GRANTED, 1, "");
    taking.released = "web2";
    peers[0] = said("web2", FS_SESSION_SAID_TAKING, "");
    ck_assert_int_eq(step_of(&taking), FS_SESSION_STEP_TAKE);
    peers[0].has = 1;
    peers[0].rank = 1;
    ck_assert_int_eq(step_of(&taking), FS_SESSION_STEP_TAKE);
    peers[0] = said("web2", FS_SESSION_SAID_GAVE, "");
    ck_assert_int_eq(step_of(&taking), FS_SESSION_STEP_ADOPT);
    /* The same for all whom it told that it has nothing. */
    taking.released = "";
    taking.told = told;
    taking.told_count = 2;
    peers[0] = said("web2", FS_SESSION_SAID_NONE, "");
    ck_assert_int_eq(step_of(&taking), FS_SESSION_STEP_ASK);
    taking.peer_count = 2;
    peers[1] = said("web3", FS_SESSION_SAID_TAKING, "");
    ck_assert_int_eq(step_of(&taking), FS_SESSION_STEP_TAKE);
    peers[1] = said("web3", FS_SESSION_SAID_NONE, "");
    ck_assert_int_eq(step_of(&taking), FS_SESSION_STEP_ADOPT);
}
END_TEST

static fs_session_hold_t held(const char *owner, uint32_t epoch, uint64_t sequence, uint64_t writer)
{
    fs_session_hold_t hold = {.held = 1, .version = {epoch, sequence, writer}};

    snprintf(hold.owner, sizeof(hold.owner), "%s", owner);
    return hold;
}

/* A bank server gave the session away; another one has a later copy of who had it before. */
START_TEST(a_later_copy_doesnt_take_a_session_from_whom_it_was_granted_to)
{
    fs_session_hold_t hold = held("web1", 2, 4, 1), theirs = held("web1", 2, 5, 1);

    ck_assert_int_eq(fs_session_hold_take(&hold, 0, "web2", ""), FS_SESSION_GRANTED);
    ck_assert_int_eq(fs_session_hold_copy(&hold, &theirs), FS_SESSION_COPIED);
    ck_assert_str_eq(hold.owner, "web2");
    theirs = held("web3", 3, 1, 3); /* but one that somebody else took over since */
    ck_assert_int_eq(fs_session_hold_copy(&hold, &theirs), FS_SESSION_COPY_ASIDE);
    ck_assert_str_eq(hold.owner, "web3");
}
END_TEST

/* One that had lost its memory is another one, whatever its name. Of three, the latest two stay. */
START_TEST(copies_that_are_apart_are_kept)
{
    fs_session_hold_t hold = held("web1", 3, 5, 1), theirs = held("web1", 3, 7, 2);

    ck_assert_int_eq(fs_session_hold_copy(&hold, &theirs), FS_SESSION_COPY_ASIDE);
    ck_assert_uint_eq(hold.aside_version.sequence, 5);
    theirs = held("web2", 3, 9, 3);
    ck_assert_int_eq(fs_session_hold_copy(&hold, &theirs), FS_SESSION_COPY_ASIDE);
    ck_assert_uint_eq(hold.aside_version.sequence, 7);
    theirs = held("web3", 3, 6, 4);
    ck_assert_int_eq(fs_session_hold_copy(&hold, &theirs), FS_SESSION_COPY_IGNORED);
    theirs = held("web3", 3, 8, 4);
    ck_assert_int_eq(fs_session_hold_copy(&hold, &theirs), FS_SESSION_COPY_ASIDE_THEIRS);
    ck_assert_uint_eq(hold.version.sequence, 9);
    ck_assert_uint_eq(hold.aside_version.sequence, 8);
}
END_TEST

/* A host let the session go, forgot it, and took an old copy over while it was cut off: it is at
 * the epoch that it had before. */
START_TEST(a_line_that_was_broken_off_is_not_one)
{
    fs_session_hold_t hold = held("web1", 3, 450002, 1), theirs = held("web1", 3, 1220008, 1);

    ck_assert_int_eq(fs_session_hold_copy(&hold, &theirs), FS_SESSION_COPY_ASIDE);
    ck_assert_uint_eq(hold.aside_version.sequence, 450002);
    theirs = held("web1", 3, 1220015, 1); /* this one goes on, and takes nobody's place */
    snprintf(hold.owner, sizeof(hold.owner), "web2");
    hold.granted = 1;
    ck_assert_int_eq(fs_session_hold_copy(&hold, &theirs), FS_SESSION_COPIED);
    ck_assert_uint_eq(hold.aside_version.sequence, 450002);
    ck_assert_str_eq(hold.owner, "web2");
}
END_TEST

/* It took the session over, and stood still before the bank heard of that: who was given it then
 * takes the same epoch. */
START_TEST(who_stood_still_after_he_took_over_lets_go)
{
    fs_session_hold_t hold = held("web2", 9, 4, 1);
    fs_session_stamp_t own = {10, 1, 3};

    ck_assert_int_eq(fs_session_keep("web1", &hold, &own, NULL), FS_SESSION_KEEP);
    hold.granted = 1;
    ck_assert_int_eq(fs_session_keep("web1", &hold, &own, NULL), FS_SESSION_LET_GO);
    own.epoch = 11; /* web2 handed it on to this one */
    ck_assert_int_eq(fs_session_keep("web1", &hold, &own, NULL), FS_SESSION_KEEP);
}
END_TEST

/* A copy that has to be merged first says nothing of what became of the grant. */
START_TEST(a_copy_that_is_not_taken_leaves_a_grant_open)
{
    fs_session_hold_t hold = held("web1", 9, 4, 1);
    fs_session_offering_t offering = {.origin = "web2", .owner = "web2", .version = {10, 1, 2}};
    int fenced;

    ck_assert_int_eq(fs_session_hold_take(&hold, 0, "web2", ""), FS_SESSION_GRANTED);
    ck_assert_int_eq(fs_session_hold_offer(&hold, 1, &offering, &fenced), FS_SESSION_MERGE);
    ck_assert_int_eq(hold.granted, 1);
    offering.base = &hold.version;
    ck_assert_int_eq(fs_session_hold_offer(&hold, 1, &offering, &fenced), FS_SESSION_TAKE);
    ck_assert_int_eq(hold.granted, 0);
}
END_TEST

/* It returned old, or isn't where the session belongs, and takes for the owner who was that before.
 */
START_TEST(of_two_that_take_it_whom_the_later_epoch_names_goes_on)
{
    fs_session_taking_t taking = taking_of(1);

    candidates[0] = heard(FS_SESSION_HEARD_GRANTED, 1, "");
    candidates[1] = heard(FS_SESSION_HEARD_OWNED, 0, "web2");
    candidates[0].epoch = 2;
    candidates[1].epoch = 5;
    ck_assert_uint_gt(fs_session_take_rank(&taking), 1);
    peers[0] = said("web2", FS_SESSION_SAID_TAKING, "");
    peers[0].rank = 1;
    ck_assert_int_eq(step_of(&taking), FS_SESSION_STEP_TAKE);
    candidates[0].epoch = 5;
    ck_assert_int_eq(step_of(&taking), FS_SESSION_STEP_ADOPT);
    /* It gave it to both: the rival, who had said that he has nothing, too. */
    peers[0].rank = 0;
    ck_assert_int_eq(step_of(&taking), FS_SESSION_STEP_TAKE);
}
END_TEST

/* It took the session over, stood still before the bank heard of it, and was fenced. */
START_TEST(who_was_fenced_doesnt_get_a_session_back_by_its_epoch)
{
    fs_session_hold_t hold = held("web1", 5, 1, 1);
    fs_session_offering_t offering = {
        .origin = "web1", .owner = "web1", .base = &hold.version, .version = {6, 1, 1}};
    int fenced;

    ck_assert_int_eq(fs_session_hold_take(&hold, 0, "web2", ""), FS_SESSION_GRANTED);
    ck_assert_int_eq(fs_session_hold_offer(&hold, SEC, &offering, &fenced), FS_SESSION_TAKE);
    ck_assert_int_eq(fenced, 1);
    ck_assert_str_eq(hold.owner, "web2");
    offering.origin = offering.owner = "web3"; /* to whom web2 gave it */
    offering.version = (fs_session_stamp_t){8, 1, 3};
    ck_assert_int_eq(fs_session_hold_offer(&hold, SEC, &offering, &fenced), FS_SESSION_TAKE);
    ck_assert_int_eq(fenced, 0);
    ck_assert_str_eq(hold.owner, "web3");
}
END_TEST

START_TEST(servers_that_are_behind_are_enough_with_all_hosts)
{
    fs_session_taking_t taking = taking_of(0);

    candidates[0] = candidates[1] = heard(FS_SESSION_HEARD_GRANTED, 0, "");
    ck_assert_int_eq(step_of(&taking), FS_SESSION_STEP_ASK_ALL);
    taking.asked_all = 1;
    taking.peer_count = 1;
    peers[0] = said("web2", FS_SESSION_SAID_NONE, "");
    ck_assert_int_eq(step_of(&taking), FS_SESSION_STEP_ADOPT);
    peers[0] = said("web2", FS_SESSION_SAID_FAILED, "");
    ck_assert_int_eq(step_of(&taking), FS_SESSION_STEP_TAKE);
    peers[0] = said("web2", FS_SESSION_SAID_NONE, "");
    candidates[0] = candidates[1] = heard(FS_SESSION_HEARD_UNKNOWN, 0, "");
    ck_assert_int_eq(step_of(&taking), FS_SESSION_STEP_TAKE); /* "unknown" needs who is in sync */
    candidates[0].in_sync = candidates[1].in_sync = 1;
    ck_assert_int_eq(step_of(&taking), FS_SESSION_STEP_UNKNOWN);
}
END_TEST

/* Of two one goes on, whoever looks. */
START_TEST(two_that_take_at_once_dont_wait_for_each_other)
{
    fs_session_taking_t one = taking_of(1), two = taking_of(1);
    fs_session_step_t first, second;

    two.self = "web2";
    candidates[0] = candidates[1] = heard(FS_SESSION_HEARD_GRANTED, 1, "");
    peers[0] = said("web2", FS_SESSION_SAID_TAKING, "");
    first = step_of(&one);
    candidates[0] = candidates[1] = heard(FS_SESSION_HEARD_OWNED, 1, "web1");
    peers[0] = said("web1", FS_SESSION_SAID_TAKING, "");
    second = step_of(&two);
    ck_assert_int_eq(first, FS_SESSION_STEP_ADOPT);
    ck_assert_int_eq(second, FS_SESSION_STEP_TAKE);
}
END_TEST

/* While another request has the session for itself, nobody else gets it. */
START_TEST(no_hand_over_without_the_turn)
{
    fs_session_mine_t mine = {.there = 1, .released = "", .patience = 100 * MS, .pending = 1};

    ck_assert_int_eq(fs_session_hand_over(&mine, "web2", 99 * MS), FS_SESSION_HAND_WAIT);
    ck_assert_int_eq(fs_session_hand_over(&mine, "web2", 100 * MS), FS_SESSION_HAND_TAKING);
    mine.turn = 1;
    ck_assert_int_eq(fs_session_hand_over(&mine, "web2", 100 * MS), FS_SESSION_HAND_GIVE);
    mine.doubt = 1;
    ck_assert_int_eq(fs_session_hand_over(&mine, "web2", 100 * MS), FS_SESSION_HAND_NONE);
}
END_TEST

/* The bank gave the session; who had it before named another, whom the bank doesn't hear. */
START_TEST(who_is_named_is_asked_though_the_bank_gave_it)
{
    fs_session_taking_t taking = taking_of(1);
    fs_session_next_t next;

    candidates[0] = candidates[1] = heard(FS_SESSION_HEARD_GRANTED, 1, "web3");
    peers[0] = said("web2", FS_SESSION_SAID_NAMED, "web3");
    next = fs_session_take_next(&taking, 10 * MS);
    ck_assert_int_eq(next.step, FS_SESSION_STEP_ASK);
    ck_assert_str_eq(next.whom, "web3");
    taking.peer_count = 2;
    peers[1] = said("web3", FS_SESSION_SAID_FAILED, "");
    ck_assert_int_eq(step_of(&taking), FS_SESSION_STEP_ADOPT);
    peers[1] = said("web3", FS_SESSION_SAID_NONE, "");
    ck_assert_int_eq(step_of(&taking), FS_SESSION_STEP_ADOPT);
}
END_TEST

/* The bank is away for everybody, or only for this host. */
START_TEST(a_host_that_is_cut_off_trusts_nothing)
{
    fs_session_vouching_t vouching = {.lease = 300 * MS, .count = 1};

    ck_assert_int_eq(fs_session_parted(&(fs_session_others_t){0, 0, 0, 0, 0}), 0);
    ck_assert_int_eq(fs_session_parted(&(fs_session_others_t){1, 0, 0, 0, 0}), 1);
    ck_assert_int_eq(fs_session_parted(&(fs_session_others_t){1, 1, 0, 0, 0}), 0);
    ck_assert_int_eq(fs_session_parted(&(fs_session_others_t){2, 2, 2, 0, 0}), 1);
    ck_assert_int_eq(fs_session_parted(&(fs_session_others_t){2, 1, 0, 0, 0}), 0);
    ck_assert_int_eq(fs_session_parted(&(fs_session_others_t){2, 1, 1, 0, 0}), 1);
    ck_assert_int_eq(fs_session_parted(&(fs_session_others_t){3, 2, 0, 0, 0}), 0);
    ck_assert_int_eq(fs_session_parted(&(fs_session_others_t){3, 1, 0, 0, 0}), 1);
    /* Nobody listens where the bank was; an operator says so; but who has it has it. */
    ck_assert_int_eq(fs_session_parted(&(fs_session_others_t){1, 0, 0, 1, 0}), 0);
    ck_assert_int_eq(fs_session_parted(&(fs_session_others_t){1, 0, 0, 0, 1}), 0);
    ck_assert_int_eq(fs_session_parted(&(fs_session_others_t){2, 1, 1, 1, 1}), 1);
    vouching.parted = 1;
    fs_session_vouch_sent(&vouching, 0, 10 * MS);
    fs_session_vouching_step(&vouching, 100 * MS);
    fs_session_vouching_step(&vouching, 200 * MS);
    fs_session_vouching_step(&vouching, 310 * MS);
    ck_assert_int_eq(vouching.trusted.alone, 0);
    ck_assert_int_eq(vouching.trusted.until, 0);
    vouching.parted = 0;
    fs_session_vouching_step(&vouching, 400 * MS);
    ck_assert_int_eq(vouching.trusted.alone, 1);
    vouching.parted = 1;
    fs_session_vouching_step(&vouching, 500 * MS);
    ck_assert_int_eq(vouching.trusted.alone, 0);
    ck_assert_int_eq(vouching.trusted.until, 0);
}
END_TEST

static void ask_all(fs_session_vouching_t *vouching, fs_usec_t now)
{
    for (unsigned i = 0; i < vouching->count; i++)
        fs_session_vouch_sent(vouching, i, now);
    fs_session_vouching_step(vouching, now);
}

static void answer(fs_session_vouching_t *vouching, unsigned server, fs_usec_t sent, fs_usec_t now)
{
    fs_session_vouch_answered(vouching, server, sent);
    fs_session_vouching_step(vouching, now);
}

static unsigned count_up(const fs_session_vouching_t *vouching)
{
    unsigned up = 0;

    for (unsigned i = 0; i < vouching->count; i++)
        up += (unsigned)vouching->servers[i].up;
    return up;
}

/* A host that was cut off, of three servers: what it has is compared with all that are there. */
static fs_session_vouching_t cut_off(void)
{
    fs_session_vouching_t vouching = {.lease = 300 * MS, .count = 3, .parted = 1};

    ask_all(&vouching, 10 * MS);
    for (unsigned i = 0; i < 3; i++)
        answer(&vouching, i, 10 * MS, 11 * MS);
    ck_assert_uint_eq(count_up(&vouching), 3);
    for (fs_usec_t now = 110 * MS; now <= 1010 * MS; now += 100 * MS)
        ask_all(&vouching, now);
    ck_assert_uint_eq(count_up(&vouching), 0);
    ck_assert_int_eq(vouching.trusted.until, 0);
    return vouching;
}

START_TEST(a_host_that_returns_waits_for_all_servers)
{
    fs_session_vouching_t vouching = cut_off();
    uint64_t generation = vouching.trusted.generation;

    answer(&vouching, 2, 1010 * MS, 1012 * MS);
    ck_assert_uint_eq(count_up(&vouching), 0);
    ck_assert_int_eq(vouching.trusted.until, 0);
    /* What was lost with all else proves nothing about the others. */
    ask_all(&vouching, 1110 * MS);
    ck_assert_uint_eq(count_up(&vouching), 0);
    answer(&vouching, 2, 1110 * MS, 1111 * MS);
    answer(&vouching, 0, 1110 * MS, 1150 * MS);
    ck_assert_uint_eq(count_up(&vouching), 0);
    answer(&vouching, 1, 1110 * MS, 1151 * MS);
    ck_assert_uint_eq(count_up(&vouching), 3);
    ck_assert_int_eq(vouching.trusted.until, 1410 * MS);
    ck_assert_uint_gt(vouching.trusted.generation, generation);
}
END_TEST

START_TEST(a_server_that_is_gone_is_waited_for_no_longer_than_a_lease)
{
    fs_session_vouching_t vouching = cut_off();

    for (fs_usec_t now = 1110 * MS; now < 1510 * MS; now += 100 * MS) {
        ask_all(&vouching, now);
        answer(&vouching, 0, now, now + MS);
        answer(&vouching, 1, now, now + MS);
        ck_assert_uint_eq(count_up(&vouching), 0);
    }
    ask_all(&vouching, 1510 * MS);
    ck_assert_uint_eq(count_up(&vouching), 2);
}
END_TEST

START_TEST(a_server_that_refuses_isnt_waited_for)
{
    fs_session_vouching_t vouching = cut_off();

    fs_session_vouch_refused(&vouching, 2, 1010 * MS);
    answer(&vouching, 0, 1110 * MS, 1111 * MS);
    answer(&vouching, 1, 1110 * MS, 1111 * MS);
    ck_assert_uint_eq(count_up(&vouching), 0); /* it may have come back since */
    fs_session_vouch_sent(&vouching, 2, 1112 * MS);
    fs_session_vouch_refused(&vouching, 2, 1112 * MS);
    fs_session_vouching_step(&vouching, 1113 * MS);
    ck_assert_uint_eq(count_up(&vouching), 2);
}
END_TEST

static Suite *session_take_suite(void)
{
    Suite *suite = suite_create("session take");
    TCase *take = tcase_create("take");

    tcase_add_test(take, what_the_bank_grants_is_taken);
    tcase_add_test(take, a_silent_candidate_is_asked_again_until_it_is_down);
    tcase_add_test(take, a_host_that_returns_waits_for_all_servers);
    tcase_add_test(take, a_server_that_is_gone_is_waited_for_no_longer_than_a_lease);
    tcase_add_test(take, a_server_that_refuses_isnt_waited_for);
    tcase_add_test(take, a_living_owner_is_asked);
    tcase_add_test(take, what_was_released_to_who_asks_is_his);
    tcase_add_test(take, servers_that_are_behind_are_enough_with_all_hosts);
    tcase_add_test(take, two_that_take_at_once_dont_wait_for_each_other);
    tcase_add_test(take, no_hand_over_without_the_turn);
    tcase_add_test(take, who_is_named_is_asked_though_the_bank_gave_it);
    tcase_add_test(take, a_host_that_is_cut_off_trusts_nothing);
    tcase_add_test(take, who_released_it_waits_for_whom_he_gave_it);
    tcase_add_test(take, a_later_copy_doesnt_take_a_session_from_whom_it_was_granted_to);
    tcase_add_test(take, copies_that_are_apart_are_kept);
    tcase_add_test(take, a_line_that_was_broken_off_is_not_one);
    tcase_add_test(take, who_stood_still_after_he_took_over_lets_go);
    tcase_add_test(take, a_copy_that_is_not_taken_leaves_a_grant_open);
    tcase_add_test(take, of_two_that_take_it_whom_the_later_epoch_names_goes_on);
    tcase_add_test(take, who_was_fenced_doesnt_get_a_session_back_by_its_epoch);
    suite_add_tcase(suite, take);
    return suite;
}

FS_TEST_MAIN(session_take_suite)
