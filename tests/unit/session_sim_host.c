/* SPDX-License-Identifier: Apache-2.0 */
/* The simulated hosts, but for how they take a session. */
#include "session_sim.h"

/* --- the store -----------------------------------------------------------------------------------
 */

unsigned sim_targets(const host_t *host, unsigned chosen[SERVERS])
{
    uint8_t usable[SERVERS];

    for (unsigned i = 0; i < SERVERS; i++)
        usable[i] = (uint8_t)host->vouching.servers[i].up;
    return fs_session_bank_choose(sim.bank, &sim.key, COPIES, usable, chosen);
}

/* Another content, or another owner: all servers are to be told. */
void sim_now_has(host_t *host, copy_t *record)
{
    if (host->own && record && !fs_session_stamp_compare(&host->own->version, &record->version))
        return;
    host->own = record;
    memset(host->told, 0, sizeof(host->told));
}

static void let_go(host_t *host, const char *owner)
{
    if (!strcmp(host->released, owner))
        return;
    snprintf(host->released, sizeof(host->released), "%s", owner);
    memset(host->told, 0, sizeof(host->told));
    host->taking_generation = 0; /* what was granted before is void */
    sim_say("h%d lets go to %s", (int)(host - world.hosts), owner);
    sim.let_go++;
}

static void forget(host_t *host)
{
    host->own = NULL;
    host->released[0] = '\0';
    host->checked = 0;
    memset(host->known, 0, sizeof(host->known));
    memset(host->told, 0, sizeof(host->told));
}

/* May it be served, or could it if it weren't released? */
static int is_trusted(const host_t *host)
{
    const fs_session_trusted_t *trusted = &host->vouching.trusted;

    return world.now < trusted->until &&
           (trusted->alone || (host->checked && host->checked == trusted->generation));
}

int sim_allows(const host_t *host)
{
    return host->own && !host->released[0] && is_trusted(host);
}

/* --- handing over, letting go --------------------------------------------------------------------
 */

static void hear_hand(unsigned self, const message_t *asked)
{
    host_t *host = &world.hosts[self];
    fs_session_taking_t taking = {.candidates = host->candidates,
                                  .candidate_count = host->candidate_count};
    fs_session_mine_t mine = {.there = host->own != NULL,
                              .released = host->released,
                              .doubt = host->own && !is_trusted(host),
                              .taking = host->taking,
                              .rank = fs_session_take_rank(&taking),
                              .asker_version = asked->has_base ? &asked->base : NULL,
                              .turn = 1,
                              .asked = world.now};
    message_t answer = sim_message(HANDED, self, asked->from);

    answer.round = asked->round;
    if (host->own)
        mine.version = host->own->version;
    switch (fs_session_hand_over(&mine, sim_names[asked->from], world.now)) {
    case FS_SESSION_HAND_GIVE:
        let_go(host, sim_names[asked->from]);
        host->taking_generation = 0; /* what was heard until now is void */
        answer.what = FS_SESSION_SAID_GAVE;
        answer.copy = host->own;
        sim.handed++;
        break;
    case FS_SESSION_HAND_NAME:
        answer.what = FS_SESSION_SAID_NAMED;
        memcpy(answer.name, host->released, sizeof(answer.name));
        answer.copy = host->own;
        break;
    case FS_SESSION_HAND_TAKING:
        answer.what = FS_SESSION_SAID_TAKING;
        answer.flag = (int)mine.rank;
        answer.copy = host->own;
        break;
    case FS_SESSION_HAND_NONE:
    case FS_SESSION_HAND_WAIT:
        answer.what = FS_SESSION_SAID_NONE;
        answer.copy = host->own;
        if (host->own) {
            let_go(host, sim_names[asked->from]);
            host->taking_generation = 0;
        }
        host->told_none[asked->from] = world.now;
        break;
    }
    sim_send(&answer);
}

/* What this host did before it let the session go comes to who has it. */
static void hear_late(unsigned self, const message_t *message)
{
    host_t *host = &world.hosts[self];

    if (host->own)
        sim_now_has(host, sim_merge(self, host->own, message->copy));
}

static void tell_late(unsigned self)
{
    host_t *host = &world.hosts[self];
    message_t late = sim_message(LATE, self, sim_node_of(host->released));

    late.copy = host->own;
    if (late.to < HOSTS && late.to != self)
        sim_send(&late);
}

/* As fs_session_keep says. */
static void act_on(unsigned self, unsigned server, const fs_session_hold_t *held)
{
    host_t *host = &world.hosts[self];

    switch (fs_session_keep(sim_names[self], held, &host->own->version,
                            host->known[server] ? &host->base[server] : NULL)) {
    case FS_SESSION_KEEP:
        break;
    case FS_SESSION_LET_GO:
        let_go(host, held->owner);
        tell_late(self);
        break;
    case FS_SESSION_FETCH:
        host->checked = 0;
        sim_take(self);
        break;
    }
}

/* --- to the bank ---------------------------------------------------------------------------------
 */

int sim_in_flight(const host_t *host, unsigned server)
{
    return host->offered[server] && world.now - host->offered[server] < TIMEOUT / 3;
}

static void hear_offered(unsigned self, const message_t *answer)
{
    host_t *host = &world.hosts[self];
    unsigned server = answer->from - HOSTS;
    fs_session_hold_t held = answer->hold;

    host->offered[server] = 0;
    if (!host->own)
        return;
    if (answer->what == FS_SESSION_MERGE) {
        copy_t *before = host->own;

        host->known[server] = 1;
        host->base[server] = answer->copy->version;
        sim_now_has(host, sim_merge(self, host->own, answer->copy));
        if (host->released[0] && before != host->own)
            tell_late(self);
    } else {
        host->known[server] = 1;
        host->base[server] = answer->base;
        if (!fs_session_stamp_compare(&answer->base, &host->own->version) &&
            (!host->released[0] || strcmp(answer->hold.owner, sim_names[self]) != 0))
            host->told[server] = 1;
    }
    held.granted = 0; /* an answer to an offer doesn't say that */
    if (!host->released[0])
        act_on(self, server, &held);
}

/* What a server said before this host lost it counts no more: it may have returned empty since. */
static unsigned copies_of(const host_t *host)
{
    unsigned copies = 0;

    for (unsigned i = 0; i < SERVERS; i++)
        copies += host->own && host->known[i] && host->vouching.servers[i].up &&
                  !fs_session_stamp_compare(&host->base[i], &host->own->version);
    return copies;
}

static void send_offers(unsigned self)
{
    host_t *host = &world.hosts[self];
    unsigned targets[SERVERS], count = sim_targets(host, targets), told = 0, wanted = 0;

    for (unsigned i = 0; i < SERVERS; i++) {
        message_t offer = sim_message(OFFER, self, HOSTS + i);
        int is_target = 0;

        for (unsigned j = 0; j < count; j++)
            is_target |= targets[j] == i;
        is_target |= host->pass[i] != 0;
        wanted += (unsigned)is_target;
        told += (unsigned)(is_target && host->told[i]);
        if (!is_target || host->told[i] || sim_in_flight(host, i) ||
            (host->taking && !host->released[0]))
            continue;
        host->offered[i] = world.now;
        offer.copy = host->own;
        offer.has_base = host->known[i];
        offer.base = host->base[i];
        snprintf(offer.name, sizeof(offer.name), "%s",
                 host->released[0] ? host->released : sim_names[self]);
        sim_send(&offer);
    }
    if (copies_of(host) >= COPIES) {
        sim_note_confirmed(host->own, !host->released[0]);
        if (host->released[0] && told == wanted)
            forget(host);
    }
}

static void hear_renewed(unsigned self, const message_t *answer)
{
    host_t *host = &world.hosts[self];
    unsigned server = answer->from - HOSTS;

    fs_session_vouch_answered(&host->vouching, server, answer->time);
    if (answer->flag && !host->pass[server]) {
        host->pass[server] = answer->left;
        host->told[server] = 0;
        host->known[server] = 0;
    } else if (!answer->flag) {
        host->pass[server] = 0;
    }
    if (host->own && !host->released[0] && answer->name[0])
        let_go(host, answer->name); /* somebody who can't reach this host wants it */
    else if (host->own && !host->released[0] && answer->hold.held &&
             strcmp(answer->hold.owner, sim_names[self]) != 0)
        act_on(self, server, &answer->hold);
}

static void renew(unsigned self)
{
    host_t *host = &world.hosts[self];

    for (unsigned i = 0; i < SERVERS; i++) {
        message_t message = sim_message(RENEW, self, HOSTS + i);

        if (world.now - host->renewed[i] < LEASE / 3)
            continue;
        host->renewed[i] = world.now;
        message.time = world.now;
        message.left = host->pass[i];
        message.flag = host->pass[i] && (!host->own || host->told[i]);
        if (message.flag) /* if that gets lost, or came too late, it is wanted again */
            host->pass[i] = 0;
        fs_session_vouch_sent(&host->vouching, i, world.now);
        sim_send(&message);
    }
    fs_session_vouching_step(&host->vouching, world.now);
}

static void compare(unsigned self)
{
    host_t *host = &world.hosts[self];
    unsigned targets[SERVERS], count;

    if (!host->own || host->released[0] || host->checked == host->vouching.trusted.generation ||
        (host->comparing == host->vouching.trusted.generation &&
         world.now - host->compared_at < TIMEOUT / 3))
        return;
    count = sim_targets(host, targets);
    host->comparing = host->vouching.trusted.generation;
    host->compared_at = world.now;
    host->compared = 0;
    for (unsigned i = 0; i < count; i++) {
        message_t message = sim_message(CHECK, self, HOSTS + targets[i]);

        host->compared |= 1u << targets[i];
        message.generation = host->comparing;
        sim_send(&message);
    }
}

static void hear_checked(unsigned self, const message_t *answer)
{
    host_t *host = &world.hosts[self];
    unsigned server = answer->from - HOSTS;

    if (!host->own || host->released[0] || answer->generation != host->comparing ||
        !(host->compared >> server & 1))
        return;
    host->compared &= ~(1u << server);
    act_on(self, server, &answer->hold);
    if (!host->compared && !host->released[0] && !host->taking)
        host->checked = host->comparing;
}

/* --- life ----------------------------------------------------------------------------------------
 */

void sim_begin_host(unsigned self)
{
    host_t *host = &world.hosts[self];

    memset(host, 0, sizeof(*host));
    host->writer = chance(&world.seed) | 1;
    host->vouching.lease = LEASE;
    host->vouching.count = SERVERS;
    host->vouching.trusted.generation = (uint64_t)world.now + 1;
    host->lives = 1;
    world.life[self]++;
}

void sim_serve(unsigned self)
{
    host_t *host = &world.hosts[self];
    fs_session_writer_t writer = sim_writer(self);
    fs_session_record_t record = *host->own;
    fs_session_change_t one;

    sim_check_served(self, host->own);
    if (record.state != FS_SESSION_LIVE)
        return;
    sim.served++;
    if (!below(&world.seed, 150) && world.now < CHAOS) {
        fs_session_end(&record, &writer);
        world.ended = 1;
        world.ended_by = (int)self;
        world.ended_life = world.life[self];
        sim_say("%s ends it", sim_names[self]);
    } else if (world.made_count < CHANGES) {
        one = change(apr_psprintf(sim.pool, "c%u", world.made_count), "x");
        sim_say("%s serves %s, makes c%u", sim_names[self], sim_stamp(&host->own->version),
                world.made_count);
        world.made[world.made_count++] = (made_t){self, world.life[self], 0, 0};
        PROMISE(!fs_session_apply(&record, &one, 1, &writer, sim.pool, NULL), "run %u: not applied",
                sim.run);
    }
    sim_now_has(host, sim_keep(&record));
}

void sim_visit(unsigned self)
{
    host_t *host = &world.hosts[self];

    if (!sim_is_well(self))
        return;
    if (sim_allows(host)) {
        sim_serve(self);
        return;
    }
    host->visitors++;
    sim_take(self);
}

void sim_tell_host(unsigned self, const message_t *message)
{
    switch (message->kind) {
    case TAKEN:
        sim_hear_taken(self, message);
        break;
    case OFFERED:
        hear_offered(self, message);
        break;
    case RENEWED:
        hear_renewed(self, message);
        break;
    case CHECKED:
        hear_checked(self, message);
        break;
    case HAND:
        hear_hand(self, message);
        break;
    case HANDED:
        sim_hear_handed(self, message);
        break;
    case LATE:
        hear_late(self, message);
        break;
    default:
        ck_abort();
    }
}

void sim_step_host(unsigned self)
{
    renew(self);
    compare(self);
    sim_step_taking(self);
    if (world.hosts[self].own)
        send_offers(self);
}
