/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A farm whose versions wait for servers to be ready, under a simulated clock and network that
 * loses, delays and is partitioned exactly around a decision. The servers' decisions are the real
 * ones (fs_plan_*, fs_cycle_*, fs_control_choose), the database's are ready_model.h, which
 * test_sql_ready.py keeps equal to the SQL. What data servers and the follower of an agent do is
 * modelled here after datasrv/waiters.c and mod_farmsync/agent/follow.c.
 *
 * The stated bound (doc/cycle.md): no two servers that don't call themselves stale differ for
 * longer than the sum of their clock bounds. A server that refuses when it is stale doesn't answer
 * then, so among such servers nobody ever sees a difference that lasts longer.
 */
#include "fs_test.h"

#include <stdlib.h>
#include <string.h>

#include "control/fs_control.h"
#include "plan.h"
#include "ready_model.h"
#include "sync/fs_cycle.h"

#define SEC FS_USEC_PER_SEC
#define MS  FS_USEC_PER_MSEC
#define T0  (INT64_C(1790000000) * SEC)

#define AGENTS   5
#define DATASRVS 2
#define DATABASE (AGENTS + DATASRVS)
#define NODES    (DATABASE + 1)
#define STEP     (5 * MS)
#define LENGTH   (100 * SEC)
#define QUIET    (35 * SEC) /* at the end nothing is cut any more */
#define BOUND    (3 * MS)   /* of each server's clock */
#define EVENTS   512
#define VERSIONS 64
#define RUNS     400

/* --- chance, clock and network ---------------------------------------------------------------- */

typedef enum message_t {
    ASK,    /* agent to data server or database: epoch, wait */
    ANSWER, /* status, manifest */
    REPORT, /* agent to data server or database */
    WRITE,  /* data server to database: what its agents told */
    PROMOTE,
    DECIDE,
    DONE, /* the database's answer to these two */
    POLL  /* data server to database */
} message_t;

typedef struct told_t {
    int known;
    int64_t staged; /* version that is there and verified */
} told_t;

typedef struct event_t {
    fs_usec_t at;
    int from, to;
    message_t what;
    int64_t number; /* epoch, or which question is answered */
    fs_usec_t wait; /* of ASK; of ANSWER the status */
    fs_manifest_t *manifest;
    told_t told[AGENTS];
} event_t;

typedef struct agent_t {
    fs_usec_t error; /* of its clock */
    double jitter;
    fs_manifest_t *manifest;
    fs_known_t known;
    fs_plan_views_t views;
    fs_control_group_t record;
    fs_usec_t heard, confirmed;
    int64_t floor;
    int server; /* node that it asks */
    int heard_from;
    int64_t asking; /* number of the open question, 0 none */
    fs_usec_t asked, deadline, ask_at, report_at, act_at;
    unsigned failures;
    int64_t fetching; /* version */
    fs_usec_t fetched_at;
    int64_t serves; /* of the last step */
    int stale;
} agent_t;

typedef struct waiter_t {
    int64_t question;
    int64_t epoch;
    fs_usec_t until; /* 0: nobody waits */
} waiter_t;

typedef struct datasrv_t {
    fs_manifest_t *manifest;
    fs_usec_t polled; /* asked then, of the latest answer */
    fs_usec_t polling, poll_at, write_at, act_at;
    unsigned failures;
    waiter_t waiters[AGENTS];
    told_t told[AGENTS];
} datasrv_t;

typedef struct farm_t {
    uint64_t random;
    fs_usec_t now;
    double loss;
    fs_usec_t delay;  /* at most */
    fs_usec_t slow;   /* retrieval takes so long at most */
    int64_t question; /* counts */
    unsigned event_count;
    event_t events[EVENTS];
    agent_t agents[AGENTS];
    datasrv_t datasrvs[DATASRVS];

    /* the database */
    fs_manifest_t *manifest;
    ready_row_t row;
    ready_member_t members[AGENTS];
    int64_t member_staged[AGENTS];
    fs_usec_t orders[VERSIONS]; /* activation time of each version that was decided */
    fs_usec_t resume_at;

    /* the partition */
    fs_usec_t cut_from, cut_until;
    uint8_t cut[NODES][NODES];

    /* what was seen */
    fs_usec_t decided[VERSIONS];
    unsigned decisions, put_off, limits, doubts;
    fs_usec_t differ[AGENTS][AGENTS]; /* since when two that aren't stale do; 0 they don't */
    fs_usec_t longest;
} farm_t;

static double chance(farm_t *farm)
{
    uint64_t z = (farm->random += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (double)((z ^ (z >> 31)) >> 11) / 9007199254740992.0;
}

static fs_usec_t between(farm_t *farm, fs_usec_t least, fs_usec_t most)
{
    return least + (fs_usec_t)((double)(most - least) * chance(farm));
}

static int is_cut(const farm_t *farm, int a, int b)
{
    return farm->now >= farm->cut_from && farm->now < farm->cut_until && farm->cut[a][b];
}

static fs_manifest_t *copy_of(const fs_manifest_t *manifest)
{
    fs_manifest_t *copy = malloc(sizeof(*copy));

    *copy = *manifest;
    copy->active.datasets = malloc(sizeof(*copy->active.datasets));
    *copy->active.datasets = *manifest->active.datasets;
    if (manifest->staged.datasets == manifest->active.datasets) {
        copy->staged.datasets = copy->active.datasets;
    } else {
        copy->staged.datasets = malloc(sizeof(*copy->staged.datasets));
        *copy->staged.datasets = *manifest->staged.datasets;
    }
    return copy;
}

static event_t *post(farm_t *farm, int from, int to, message_t what, int64_t number)
{
    static event_t lost;
    event_t *event;

    if (is_cut(farm, from, to) || chance(farm) < farm->loss) {
        fs_manifest_free(lost.manifest);
        memset(&lost, 0, sizeof(lost));
        return &lost;
    }
    if (farm->event_count == EVENTS)
        ck_abort_msg("too many messages are under way");
    event = &farm->events[farm->event_count++];
    memset(event, 0, sizeof(*event));
    event->at = farm->now + between(farm, MS, farm->delay);
    event->from = from;
    event->to = to;
    event->what = what;
    event->number = number;
    return event;
}

/* --- the database ----------------------------------------------------------------------------- */

static void version_of(fs_manifest_version_t *version, int64_t number)
{
    char text[32];

    version->version = number;
    version->dataset_count = 1;
    version->datasets = calloc(1, sizeof(*version->datasets));
    strcpy(version->datasets->name, "prices");
    snprintf(text, sizeof(text), "%lld", (long long)number);
    fs_digest_of(&version->datasets->digest, text, strlen(text));
}

/* What sync_us says of the row. */
static void show_row(farm_t *farm)
{
    fs_manifest_t *m = farm->manifest;

    m->epoch++;
    switch (farm->row.state) {
    case READY_WAITING:
        m->state = FS_GROUP_WAITING;
        m->activation_time = farm->row.planned;
        break;
    case READY_STATE_HELD:
        m->state = FS_GROUP_HELD;
        m->activation_time = FS_CYCLE_UNDECIDED;
        break;
    case READY_RUNNING:
        m->state = FS_GROUP_RUNNING;
        m->activation_time = farm->row.activation;
        break;
    }
}

static void promote(farm_t *farm, int64_t epoch)
{
    fs_manifest_t *m = farm->manifest;
    fs_usec_t lead = fs_cycle_lead(m->interval, m->min_lead), next;

    if (epoch != m->epoch || m->state != FS_GROUP_RUNNING || farm->now < m->activation_time)
        return;
    if (m->active.datasets != m->staged.datasets) {
        free(m->active.datasets);
        m->active = m->staged;
    }
    next = fs_cycle_next(m->grid, m->interval, lead, farm->now);
    if (chance(farm) < 0.8) {
        version_of(&m->staged, m->active.version + 1);
        ck_assert_int_lt(m->staged.version, VERSIONS);
        ready_stage(&farm->row, next, farm->now);
    } else {
        farm->row.activation = next;
    }
    show_row(farm);
}

static void decide(farm_t *farm, int64_t epoch)
{
    fs_manifest_t *m = farm->manifest;
    ready_outcome_t outcome;

    if (epoch != m->epoch || m->state != FS_GROUP_WAITING)
        return;
    for (int i = 0; i < AGENTS; i++)
        farm->members[i].lacks = farm->member_staged[i] != m->staged.version;
    outcome = ready_decide(&farm->row, farm->members, AGENTS, farm->now);
    if (outcome == READY_WAIT)
        return;
    farm->decisions++;
    farm->put_off += outcome == READY_PUT_OFF;
    farm->limits += outcome == READY_ACTIVATED || outcome == READY_HELD;
    show_row(farm);
    if (m->state == FS_GROUP_RUNNING) {
        farm->orders[m->staged.version] = m->activation_time;
        farm->decided[m->staged.version] = farm->now;
    } else if (m->state == FS_GROUP_HELD) {
        farm->resume_at = farm->now + between(farm, SEC, 6 * SEC);
    }
}

static void database_hears(farm_t *farm, event_t *event)
{
    event_t *answer;

    switch (event->what) {
    case ASK:
    case POLL:
        answer = post(farm, DATABASE, event->from, ANSWER, event->number);
        answer->wait = 200;
        answer->manifest = copy_of(farm->manifest);
        break;
    case REPORT:
    case WRITE:
        for (int i = 0; i < AGENTS; i++)
            if (event->told[i].known) {
                farm->members[i].seen = farm->now;
                farm->member_staged[i] = event->told[i].staged;
            }
        break;
    case PROMOTE:
        promote(farm, event->number);
        post(farm, DATABASE, event->from, DONE, 0);
        break;
    case DECIDE:
        decide(farm, event->number);
        post(farm, DATABASE, event->from, DONE, 0);
        break;
    default:
        break;
    }
}

/* --- data servers ----------------------------------------------------------------------------- */

/* As datasrv/waiters.c. */
static void answer_agent(farm_t *farm, int d, int agent, int64_t question, int64_t epoch)
{
    datasrv_t *ds = &farm->datasrvs[d];
    event_t *answer = post(farm, AGENTS + d, agent, ANSWER, question);
    fs_usec_t age = farm->now - ds->polled;
    fs_usec_t within = ds->manifest && ds->manifest->state == FS_GROUP_WAITING
                           ? FS_CYCLE_CONFIRMED
                           : 2 * FS_USEC_PER_SEC;

    if (!ds->manifest) {
        answer->wait = 503;
    } else if (ds->manifest->epoch != epoch) {
        answer->wait = age <= within ? 200 : 203;
        answer->manifest = copy_of(ds->manifest);
    } else {
        answer->wait = age <= within ? 304 : age <= 2 * FS_USEC_PER_SEC ? 203 : 503;
    }
}

static void datasrv_hears(farm_t *farm, int d, event_t *event)
{
    datasrv_t *ds = &farm->datasrvs[d];

    switch (event->what) {
    case ASK:
        ds->waiters[event->from] =
            (waiter_t){event->number >> 32, event->number & 0xffffffff, farm->now + event->wait};
        if (!event->wait || !ds->manifest || ds->manifest->epoch != (event->number & 0xffffffff)) {
            ds->waiters[event->from].until = 0;
            answer_agent(farm, d, event->from, event->number >> 32, event->number & 0xffffffff);
        }
        break;
    case ANSWER:
        if (event->number != ds->polling)
            break;
        ds->polled = ds->polling;
        ds->polling = 0;
        if (!ds->manifest || event->manifest->epoch > ds->manifest->epoch) {
            fs_manifest_free(ds->manifest);
            ds->manifest = event->manifest;
            event->manifest = NULL;
            ds->failures = 0;
            ds->act_at = 0;
        }
        break;
    case REPORT:
        for (int i = 0; i < AGENTS; i++)
            if (event->told[i].known)
                ds->told[i] = event->told[i];
        break;
    case DONE:
        ds->poll_at = 0;
        break;
    default:
        break;
    }
}

static void datasrv_acts(farm_t *farm, int d)
{
    datasrv_t *ds = &farm->datasrvs[d];
    int waiting = ds->manifest->state == FS_GROUP_WAITING;
    fs_usec_t at = waiting ? fs_cycle_decide_at(ds->manifest, FS_PROMOTER_DATASRV, 0)
                           : fs_cycle_promote_at(ds->manifest, FS_PROMOTER_DATASRV, 0);

    if (farm->now - BOUND < at || farm->now < ds->act_at) /* `at` may be never */
        return;
    post(farm, AGENTS + d, DATABASE, waiting ? DECIDE : PROMOTE, ds->manifest->epoch);
    ds->act_at = farm->now + (waiting ? FS_CYCLE_DECIDE_PACE
                                      : fs_cycle_retry(ds->manifest, ds->failures++, chance(farm)));
}

static void datasrv_goes_on(farm_t *farm, int d)
{
    datasrv_t *ds = &farm->datasrvs[d];

    for (int i = 0; i < AGENTS; i++) {
        waiter_t *waiter = &ds->waiters[i];

        if (waiter->until && (farm->now >= waiter->until || ds->manifest->epoch != waiter->epoch)) {
            waiter->until = 0;
            answer_agent(farm, d, i, waiter->question, waiter->epoch);
        }
    }
    if (ds->polling && farm->now - ds->polling > 3 * SEC)
        ds->polling = 0;
    if (!ds->polling && farm->now >= ds->poll_at) {
        ds->polling = farm->now;
        ds->poll_at = farm->now + 250 * MS;
        post(farm, AGENTS + d, DATABASE, POLL, ds->polling);
    }
    if (farm->now >= ds->write_at) {
        event_t *event = post(farm, AGENTS + d, DATABASE, WRITE, 0);

        memcpy(event->told, ds->told, sizeof(ds->told));
        memset(ds->told, 0, sizeof(ds->told));
        ds->write_at = farm->now + SEC;
    }
    if (ds->manifest)
        datasrv_acts(farm, d);
}

/* --- agents ----------------------------------------------------------------------------------- */

static fs_usec_t farm_time(const farm_t *farm, const agent_t *agent)
{
    return farm->now + agent->error;
}

/* As fs_group_publish. */
static void publish(farm_t *farm, agent_t *agent)
{
    fs_plan_moment_t moment = {.heard = agent->heard,
                               .farm = farm_time(farm, agent),
                               .farm_known = 1,
                               .floor = agent->floor};
    fs_control_group_t last = agent->record;
    fs_usec_t heard = agent->manifest->state == FS_GROUP_WAITING ? agent->confirmed : agent->heard;

    moment.stale_after =
        fs_cycle_stale_after(agent->manifest, heard ? moment.farm - (farm->now - heard) : 0);
    fs_plan_compose(&agent->record, &last, agent->manifest, &agent->views, &moment);
}

static int is_here(const agent_t *agent, const fs_manifest_version_t *version)
{
    return fs_plan_view_of(&agent->views, version) != 0;
}

static void want(farm_t *farm, agent_t *agent)
{
    const fs_manifest_version_t *wanted =
        fs_plan_wanted(agent->manifest, &agent->views, farm_time(farm, agent), 1, 0);

    if (!wanted || agent->fetching == wanted->version)
        return;
    agent->fetching = wanted->version;
    agent->fetched_at = farm->now + between(farm, 100 * MS, chance(farm) < 0.2 ? farm->slow : SEC);
}

static void fetched(farm_t *farm, agent_t *agent)
{
    fs_manifest_version_t *version = agent->manifest->active.version == agent->fetching
                                         ? &agent->manifest->active
                                         : &agent->manifest->staged;
    fs_plan_view_t view = {.id = (uint64_t)agent->fetching, .version = agent->fetching};

    if (version->version == agent->fetching && !is_here(agent, version)) {
        fs_manifest_version_digest(version, view.digest);
        fs_plan_view_add(&agent->views, &view);
        agent->report_at = farm->now;
    }
    agent->fetching = 0;
    publish(farm, agent);
    fs_plan_retire(&agent->views, agent->manifest, &agent->record, farm->now);
    want(farm, agent);
}

/* As fs_group_take. Returns 1 if it can be relied on. */
static int take(farm_t *farm, agent_t *agent, fs_manifest_t *manifest, fs_usec_t asked)
{
    fs_take_t taken =
        fs_plan_take(&agent->known, manifest, "default", farm_time(farm, agent) - BOUND, 1);

    if (taken == FS_TAKE_NEW) {
        fs_manifest_free(agent->manifest);
        agent->manifest = copy_of(manifest);
        fs_known_from_manifest(&agent->known, agent->manifest);
        agent->jitter = chance(farm);
        agent->failures = 0;
        agent->act_at = 0;
        want(farm, agent);
        agent->report_at = farm->now;
    }
    if (taken != FS_TAKE_NEW && taken != FS_TAKE_SAME)
        return 0;
    if (asked || taken == FS_TAKE_SAME)
        agent->heard = farm->now;
    if (asked > agent->confirmed)
        agent->confirmed = asked;
    publish(farm, agent);
    return 1;
}

static void next_server(farm_t *farm, agent_t *agent)
{
    agent->server = agent->server == DATABASE ? AGENTS : agent->server + 1;
    agent->heard_from = -1;
    agent->ask_at = farm->now + 20 * MS;
}

static void agent_hears(farm_t *farm, agent_t *agent, const event_t *event)
{
    int good = 0;

    if (event->what != ANSWER || event->number != agent->asking)
        return;
    agent->asking = 0;
    agent->ask_at = farm->now + 20 * MS;
    if (event->manifest) {
        good = take(farm, agent, event->manifest, event->wait == 200 ? agent->asked : 0);
    } else if (event->wait == 304 || event->wait == 203) {
        agent->heard = farm->now;
        if (event->wait == 304)
            agent->confirmed = agent->asked;
        publish(farm, agent);
        good = 1;
    }
    if (!good)
        next_server(farm, agent);
    else
        agent->heard_from = agent->server;
    if (good && agent->server == DATABASE) { /* goes on asking there for a while */
        agent->ask_at = farm->now + 500 * MS;
        if (chance(farm) < 0.1)
            next_server(farm, agent);
    }
}

static fs_usec_t act_at(const agent_t *agent, int *waiting)
{
    fs_promoter_t who = agent->server == DATABASE ? FS_PROMOTER_LONE_AGENT : FS_PROMOTER_AGENT;

    *waiting = agent->manifest->state == FS_GROUP_WAITING;
    return *waiting ? fs_cycle_decide_at(agent->manifest, who, agent->jitter)
                    : fs_cycle_promote_at(agent->manifest, who, agent->jitter);
}

static void agent_asks(farm_t *farm, int a)
{
    agent_t *agent = &farm->agents[a];
    fs_usec_t wait = 0, at;
    event_t *event;
    int waiting;

    if (agent->heard_from == agent->server && agent->server != DATABASE) {
        at = act_at(agent, &waiting);
        wait = fs_plan_wait_ms(agent->manifest, farm_time(farm, agent), 1, at) * MS;
    }
    agent->asking = ++farm->question;
    agent->asked = farm->now;
    agent->deadline = farm->now + wait + 2500 * MS;
    event = post(farm, a, agent->server, ASK,
                 agent->server == DATABASE ? agent->asking
                                           : (agent->asking << 32 | agent->known.epoch));
    event->wait = wait;
}

static void agent_goes_on(farm_t *farm, int a)
{
    agent_t *agent = &farm->agents[a];
    int waiting;
    fs_usec_t at = act_at(agent, &waiting);

    if (at != FS_CYCLE_NEVER && farm_time(farm, agent) >= at && farm->now >= agent->act_at) {
        post(farm, a, DATABASE, waiting ? DECIDE : PROMOTE, agent->known.epoch);
        agent->act_at =
            farm->now + fs_cycle_retry(agent->manifest, agent->failures++, chance(farm));
    }
    if (agent->fetching && farm->now >= agent->fetched_at)
        fetched(farm, agent);
    if (agent->asking && farm->now >= agent->deadline) {
        agent->asking = 0;
        next_server(farm, agent);
    }
    if (!agent->asking && farm->now >= agent->ask_at)
        agent_asks(farm, a);
    if (farm->now >= agent->report_at) {
        event_t *event = post(farm, a, agent->server, REPORT, 0);

        event->told[a].known = 1;
        event->told[a].staged = agent->record.staged_view ? agent->record.staged_version : 0;
        agent->report_at = farm->now + SEC;
    }
}

/* --- what visitors see ------------------------------------------------------------------------ */

static void serve(farm_t *farm, int a)
{
    agent_t *agent = &farm->agents[a];
    fs_choice_t choice = fs_control_choose(&agent->record, farm_time(farm, agent), 1, agent->floor);

    /* Check writes down each assertion that it passes; there are millions. */
    if (choice.version < agent->serves)
        ck_abort_msg("agent %d goes back from %lld to %lld", a, (long long)agent->serves,
                     (long long)choice.version);
    if (choice.version > 1 &&
        (!farm->orders[choice.version] || farm->now < farm->orders[choice.version] - BOUND))
        ck_abort_msg("agent %d serves %lld without an order", a, (long long)choice.version);
    farm->doubts += choice.stale && !agent->stale;
    agent->serves = choice.version;
    agent->stale = choice.stale;
    if (choice.version > agent->floor)
        agent->floor = choice.version;
}

static void compare(farm_t *farm)
{
    for (int a = 0; a < AGENTS; a++)
        for (int b = 0; b < a; b++) {
            const agent_t *one = &farm->agents[a], *other = &farm->agents[b];
            fs_usec_t *since = &farm->differ[a][b];

            if (one->stale || other->stale || one->serves == other->serves) {
                *since = 0;
                continue;
            }
            if (!*since)
                *since = farm->now;
            if (farm->now - *since > farm->longest)
                farm->longest = farm->now - *since;
        }
}

/* --- a run ------------------------------------------------------------------------------------ */

static void deliver(farm_t *farm)
{
    for (unsigned i = 0; i < farm->event_count;) {
        event_t event = farm->events[i];

        if (event.at > farm->now) {
            i++;
            continue;
        }
        farm->events[i] = farm->events[--farm->event_count];
        if (is_cut(farm, event.from, event.to))
            ;
        else if (event.to == DATABASE)
            database_hears(farm, &event);
        else if (event.to >= AGENTS)
            datasrv_hears(farm, event.to - AGENTS, &event);
        else
            agent_hears(farm, &farm->agents[event.to], &event);
        fs_manifest_free(event.manifest);
    }
}

static void lay_out(farm_t *farm, uint64_t seed)
{
    fs_manifest_t *m = calloc(1, sizeof(*m));

    memset(farm, 0, sizeof(*farm));
    farm->random = seed * 7919 + 1;
    farm->now = T0;
    farm->loss = chance(farm) < 0.5 ? 0 : 0.1 * chance(farm);
    farm->delay = between(farm, 5 * MS, 300 * MS);
    farm->slow = between(farm, SEC, 20 * SEC);
    farm->manifest = m;
    strcpy(m->group, "default");
    m->epoch = 1;
    m->grid = T0;
    m->interval = between(farm, 8, 20) * SEC;
    m->min_lead = between(farm, SEC, 4 * SEC);
    version_of(&m->active, 1);
    m->staged = m->active;
    m->activation_time = T0 + SEC;
    farm->row.activation = m->activation_time;
    farm->row.percent = chance(farm) < 0.6 ? 100 : 60;
    farm->row.hold = chance(farm) < 0.4;
    farm->row.limit = between(farm, 0, 15) * SEC;
    farm->row.interval = m->interval;
    farm->row.min_lead = m->min_lead;
    for (int d = 0; d < DATASRVS; d++)
        farm->datasrvs[d].manifest = copy_of(m);
    for (int a = 0; a < AGENTS; a++) {
        agent_t *agent = &farm->agents[a];

        agent->error = between(farm, -BOUND, BOUND);
        agent->server = AGENTS + a % DATASRVS;
        agent->heard_from = -1;
        agent->manifest = copy_of(m);
        fs_known_from_manifest(&agent->known, m);
        agent->heard = agent->confirmed = T0;
        agent->fetching = 1;
        agent->ask_at = T0 + between(farm, 0, SEC);
        fetched(farm, agent);
        farm->members[a].seen = T0;
    }
}

/* Cuts some of the connections, most often some servers from everything. */
static void cut(farm_t *farm, fs_usec_t from, fs_usec_t until)
{
    int kind = (int)(4 * chance(farm));

    farm->cut_from = from;
    farm->cut_until = until;
    for (int a = 0; a < NODES; a++)
        for (int b = 0; b < a; b++) {
            int one = kind == 0 ? chance(farm) < 0.5 : 0;

            if (kind == 2 && b >= AGENTS && a == DATABASE)
                one = chance(farm) < 0.6; /* data servers from the database */
            if (kind == 3 && a == DATABASE)
                one = 1; /* everybody from the database */
            farm->cut[a][b] = farm->cut[b][a] = (uint8_t)one;
        }
    for (int a = 0; kind && kind < 3 && a < AGENTS; a++)
        if (chance(farm) < 0.4)
            for (int b = 0; b < NODES; b++)
                farm->cut[a][b] = farm->cut[b][a] = (uint8_t)(kind == 1 || b == DATABASE);
}

static void clear(farm_t *farm)
{
    for (unsigned i = 0; i < farm->event_count; i++)
        fs_manifest_free(farm->events[i].manifest);
    for (int a = 0; a < AGENTS; a++)
        fs_manifest_free(farm->agents[a].manifest);
    for (int d = 0; d < DATASRVS; d++)
        fs_manifest_free(farm->datasrvs[d].manifest);
    fs_manifest_free(farm->manifest);
}

static void step(farm_t *farm)
{
    deliver(farm);
    if (farm->resume_at && farm->now >= farm->resume_at) {
        farm->resume_at = 0;
        ready_again(&farm->row, farm->now);
        show_row(farm);
    }
    for (int d = 0; d < DATASRVS; d++)
        datasrv_goes_on(farm, d);
    for (int a = 0; a < AGENTS; a++)
        agent_goes_on(farm, a);
    for (int a = 0; a < AGENTS; a++)
        serve(farm, a);
    compare(farm);
    farm->now += STEP;
}

/* `cut_at` 0: no partition. Leaves the farm for the caller to look at and to clear. */
static void run(farm_t *farm, uint64_t seed, fs_usec_t cut_at, fs_usec_t cut_for)
{
    lay_out(farm, seed);
    if (cut_at)
        cut(farm, cut_at, cut_at + cut_for);
    while (farm->now < T0 + LENGTH)
        step(farm);
}

/* Long after everything is connected again. */
static void all_is_well(const farm_t *farm, int seed)
{
    int64_t right = fs_manifest_in_force(farm->manifest, farm->now - SEC)->version;

    for (int a = 0; a < AGENTS; a++) {
        const agent_t *agent = &farm->agents[a];

        /* Still retrieves what was activated at the limit; or messages were lost again. */
        if (agent->fetching || (agent->stale && farm->loss > 0))
            continue;
        ck_assert_msg(agent->serves >= right, "seed %d: agent %d serves %lld, right is %lld", seed,
                      a, (long long)agent->serves, (long long)right);
        ck_assert_msg(!agent->stale, "seed %d: agent %d is stale", seed, a);
    }
}

/* --- tests ------------------------------------------------------------------------------------ */

static farm_t farm;

/* Nothing is cut: nobody is in doubt once it runs, and versions do become active. */
START_TEST(farm_without_faults_goes_together)
{
    for (uint64_t seed = 1; seed <= 40; seed++) {
        lay_out(&farm, seed);
        farm.loss = 0;
        farm.slow = SEC;
        while (farm.now < T0 + LENGTH)
            step(&farm);
        ck_assert_msg(farm.doubts == 0, "seed %d: %u doubts", (int)seed, farm.doubts);
        ck_assert_uint_eq(farm.put_off, 0);
        ck_assert_int_gt(farm.agents[0].serves, 2);
        ck_assert_int_le(farm.longest, 2 * BOUND + STEP);
        clear(&farm);
    }
}
END_TEST

/* Some servers take long, so that activations are put off: those that wait are not in doubt. */
START_TEST(nobody_is_in_doubt_while_others_are_waited_for)
{
    unsigned put_off = 0;

    for (uint64_t seed = 1; seed <= 40; seed++) {
        lay_out(&farm, seed);
        farm.loss = 0;
        farm.delay = 100 * MS;
        farm.slow = 40 * SEC;
        farm.row.percent = 100;
        farm.row.limit = 90 * SEC;
        while (farm.now < T0 + LENGTH)
            step(&farm);
        ck_assert_msg(farm.doubts == 0, "seed %d: %u doubts", (int)seed, farm.doubts);
        ck_assert_int_le(farm.longest, 2 * BOUND + STEP);
        put_off += farm.put_off;
        clear(&farm);
    }
    ck_assert_uint_gt(put_off, 40);
}
END_TEST

/*
 * The same seed is run twice: once to learn when something is decided, then with a partition from a
 * moment around that on.
 */
START_TEST(partition_around_the_decision)
{
    unsigned doubts = 0, put_off = 0, limits = 0, cut_off = 0;
    fs_usec_t longest = 0;

    for (uint64_t seed = 1; seed <= RUNS; seed++) {
        fs_usec_t decided, from, span;
        int64_t version;

        run(&farm, seed, 0, 0);
        version = 2 + (int64_t)(2 * chance(&farm));
        decided = farm.decided[version] ? farm.decided[version] : farm.decided[2];
        from = decided + between(&farm, -4 * SEC, SEC);
        span = between(&farm, SEC, 30 * SEC);
        clear(&farm);
        if (!decided)
            continue;
        if (from + span > T0 + LENGTH - QUIET)
            span = T0 + LENGTH - QUIET - from;
        cut_off++;
        run(&farm, seed, from, span);
        doubts += farm.doubts > 0;
        put_off += farm.put_off > 0;
        limits += farm.limits > 0;
        if (farm.longest > longest)
            longest = farm.longest;
        ck_assert_msg(farm.longest <= 2 * BOUND + STEP,
                      "seed %d: two servers differ for %lld ms without knowing", (int)seed,
                      (long long)(farm.longest / MS));
        all_is_well(&farm, (int)seed);
        clear(&farm);
    }
    /* The test is worth something only if all that did happen. */
    ck_assert_uint_ge(cut_off, 200);
    ck_assert_uint_gt(doubts, cut_off / 4);
    ck_assert_uint_gt(put_off, cut_off / 4);
    ck_assert_uint_gt(limits, cut_off / 10);
}
END_TEST

static Suite *suite(void)
{
    Suite *suite = suite_create("ready");
    TCase *tcase = tcase_create("simulation");

    tcase_set_timeout(tcase, 300);
    tcase_add_test(tcase, farm_without_faults_goes_together);
    tcase_add_test(tcase, nobody_is_in_doubt_while_others_are_waited_for);
    tcase_add_test(tcase, partition_around_the_decision);
    suite_add_tcase(suite, tcase);
    return suite;
}

FS_TEST_MAIN(suite)
