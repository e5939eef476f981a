/* SPDX-License-Identifier: Apache-2.0 */
/* A simulated host that wants a session. */
#include "session_sim.h"

static void ask_round(unsigned self, const char *from, int wanted)
{
    host_t *host = &world.hosts[self];
    const char *whom = apr_pstrdup(sim.pool, from); /* it may be in host->next */
    unsigned places[SERVERS], targets[SERVERS], count, extra;

    host->round++;
    host->asked_all = 0;
    host->peer_count = 0;
    host->asked = world.now;
    host->taking_generation = host->vouching.trusted.generation;
    count = fs_session_bank_choose(sim.bank, &sim.key, COPIES, NULL, places);
    extra = sim_targets(host, targets);
    for (unsigned i = 0; i < extra; i++)
        if (targets[i] != places[0] && targets[i] != places[1])
            places[count++] = targets[i];
    host->candidate_count = count;
    /* What this host said of the owner before must not arrive after the question. */
    host->again = 0;
    for (unsigned i = 0; i < count; i++)
        host->again |= sim_in_flight(host, places[i]) ||
                       (host->own && host->released[0] && !host->told[places[i]] &&
                        host->vouching.servers[places[i]].up);
    if (host->again) {
        host->next = (fs_session_next_t){.step = FS_SESSION_STEP_TAKE, .at = world.now + TICK};
        snprintf(host->next.whom, sizeof(host->next.whom), "%s", whom);
        host->next.wanted = wanted;
        host->candidate_count = 0;
        return;
    }
    for (unsigned i = 0; i < count; i++) {
        message_t take = sim_message(TAKE, self, HOSTS + places[i]);

        host->servers[i] = places[i];
        memset(&host->candidates[i], 0, sizeof(host->candidates[i]));
        take.round = host->round;
        take.flag = wanted;
        snprintf(take.name, sizeof(take.name), "%s", whom);
        sim_send(&take);
    }
}

static void ask_peer(unsigned self, const char *name)
{
    host_t *host = &world.hosts[self];
    message_t hand = sim_message(HAND, self, sim_node_of(name));

    for (unsigned i = 0; i < host->peer_count; i++)
        if (!strcmp(host->peers[i].name, name))
            return;
    memset(&host->peers[host->peer_count], 0, sizeof(*host->peers));
    snprintf(host->peers[host->peer_count++].name, FS_SESSION_NAME_SIZE, "%s", name);
    hand.round = host->round;
    hand.has_base = host->own != NULL;
    if (host->own)
        hand.base = host->own->version;
    host->asked = world.now;
    sim_send(&hand);
}

static void gather(host_t *host, unsigned from, copy_t *copy)
{
    if (!copy)
        return;
    PROMISE(host->copy_count < GATHER, "run %u: no room", sim.run);
    host->copy_from[host->copy_count] = from;
    host->copies[host->copy_count++] = copy;
    if (host->copy_count == GATHER) /* many rounds: only the last ones say anything new */
        host->copy_count = GATHER / 2;
}

/* As fs_session_store_adopt. */
static void adopt(unsigned self)
{
    host_t *host = &world.hosts[self];
    fs_session_writer_t writer = sim_writer(self);
    copy_t *all = host->own;
    fs_session_record_t record;
    int is_new = !host->own;

    for (unsigned i = 0; i < host->copy_count; i++)
        all = sim_merge(self, all, host->copies[i]);
    if (!all)
        return;
    record = *all;
    if (is_new)
        memset(host->known, 0, sizeof(host->known));
    for (unsigned i = 0; i < host->copy_count; i++)
        if (host->copy_from[i] >= HOSTS) {
            host->known[host->copy_from[i] - HOSTS] = 1;
            host->base[host->copy_from[i] - HOSTS] = host->copies[i]->version;
        }
    if (record.state != FS_SESSION_LIVE)
        fs_session_renew(&record, &writer);
    else
        PROMISE(!fs_session_take_over(&record, &writer, NULL), "run %u: not taken over", sim.run);
    host->released[0] = '\0';
    sim_now_has(host, sim_keep(&record));
    sim_say("%s adopts %s", sim_names[self], sim_stamp(&record.version));
    host->checked = host->taking_generation;
    sim.adopted++;
}

static void end_taking(unsigned self)
{
    host_t *host = &world.hosts[self];
    unsigned visitors = host->visitors;

    host->taking = 0;
    host->visitors = 0;
    host->copy_count = 0;
    for (; visitors && sim_allows(host); visitors--)
        sim_serve(self);
}

static unsigned list_told(const host_t *host, char (*told)[FS_SESSION_NAME_SIZE])
{
    unsigned count = 0;

    for (unsigned i = 0; i < HOSTS && !host->own; i++)
        if (host->told_none[i] && world.now - host->told_none[i] < TIMEOUT)
            snprintf(told[count++], FS_SESSION_NAME_SIZE, "%s", sim_names[i]);
    return count;
}

static void step_taking(unsigned self)
{
    static const char *const steps[] = {"",     "wait",  "ask",     "ask all",
                                        "take", "adopt", "unknown", "give up"};
    host_t *host = &world.hosts[self];
    char told[HOSTS][FS_SESSION_NAME_SIZE];
    fs_session_taking_t taking = {.self = sim_names[self],
                                  .released = host->released,
                                  .told = told,
                                  .told_count = list_told(host, told),
                                  .deadline = host->deadline,
                                  .candidates = host->candidates,
                                  .peers = host->peers};

    while (host->taking && !host->again) {
        taking.candidate_count = host->candidate_count;
        for (unsigned i = 0; i < host->candidate_count; i++)
            host->candidates[i].up = host->vouching.servers[host->servers[i]].up;
        taking.peer_count = host->peer_count;
        taking.asked_all = host->asked_all;
        taking.own = host->own && !host->released[0];
        taking.stale = host->taking_generation != host->vouching.trusted.generation;
        host->next = fs_session_take_next(&taking, world.now);
        if (host->next.step != FS_SESSION_STEP_WAIT)
            sim_say("%s: step %s %s", sim_names[self], steps[host->next.step], host->next.whom);
        switch (host->next.step) {
        case FS_SESSION_STEP_WAIT:
            return;
        case FS_SESSION_STEP_ASK:
            ask_peer(self, host->next.whom);
            break;
        case FS_SESSION_STEP_ASK_ALL:
            host->asked_all = 1;
            for (unsigned i = 0; i < HOSTS; i++)
                if (i != self && sim_is_well(i))
                    ask_peer(self, sim_names[i]);
            break;
        case FS_SESSION_STEP_TAKE:
            host->again = 1;
            break;
        case FS_SESSION_STEP_ADOPT:
            adopt(self);
            end_taking(self);
            break;
        case FS_SESSION_STEP_GIVE_UP:
            world.given_up++;
            end_taking(self);
            break;
        case FS_SESSION_STEP_UNKNOWN:
            end_taking(self);
            break;
        }
    }
}

/* Who has not answered in time is taken for unable to. */
void sim_step_taking(unsigned self)
{
    host_t *host = &world.hosts[self];

    if (host->taking && host->again && world.now >= host->next.at) {
        ask_round(self, host->next.whom, host->next.wanted);
    } else if (host->taking && !host->again && world.now - host->asked > TIMEOUT / 3) {
        for (unsigned i = 0; i < host->candidate_count; i++)
            if (!host->candidates[i].heard)
                host->candidates[i].heard = FS_SESSION_HEARD_FAILED;
        for (unsigned i = 0; i < host->peer_count; i++)
            if (!host->peers[i].said)
                host->peers[i].said = FS_SESSION_SAID_FAILED;
    }
    if (host->taking)
        step_taking(self);
}

void sim_take(unsigned self)
{
    host_t *host = &world.hosts[self];

    if (host->taking)
        return;
    host->taking = 1;
    host->copy_count = 0;
    host->deadline = world.now + TIMEOUT;
    ask_round(self, "", 0);
}

void sim_hear_taken(unsigned self, const message_t *answer)
{
    host_t *host = &world.hosts[self];

    for (unsigned i = 0; i < host->candidate_count; i++) {
        fs_session_candidate_t *candidate = &host->candidates[i];

        if (!host->taking || host->again || answer->round != host->round ||
            HOSTS + host->servers[i] != answer->from || candidate->heard)
            continue;
        candidate->heard = answer->what == FS_SESSION_UNKNOWN   ? FS_SESSION_HEARD_UNKNOWN
                           : answer->what == FS_SESSION_GRANTED ? FS_SESSION_HEARD_GRANTED
                                                                : FS_SESSION_HEARD_OWNED;
        candidate->in_sync = answer->flag;
        candidate->epoch = answer->hold.version.epoch;
        candidate->until = world.now + answer->left;
        memcpy(candidate->owner, answer->hold.owner, sizeof(candidate->owner));
        gather(host, answer->from, answer->copy);
        gather(host, self, answer->aside);
        step_taking(self);
        return;
    }
}

void sim_hear_handed(unsigned self, const message_t *answer)
{
    host_t *host = &world.hosts[self];

    for (unsigned i = 0; i < host->peer_count && host->taking; i++) {
        fs_session_peer_t *peer = &host->peers[i];

        if (strcmp(peer->name, sim_names[answer->from]) != 0)
            continue;
        gather(host, self, answer->copy);
        if (host->again || answer->round != host->round)
            return;
        peer->said = (fs_session_said_t)answer->what;
        if (peer->said == FS_SESSION_SAID_NONE) /* and isn't taking it: nothing that he was told */
            host->told_none[answer->from] = 0;
        peer->rank = (unsigned)answer->flag;
        peer->has = answer->copy != NULL;
        memcpy(peer->named, answer->name, sizeof(peer->named));
        step_taking(self);
        return;
    }
}
