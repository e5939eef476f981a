/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All servers come to know the same of their visitors: a simulated farm with a simulated clock and
 * a network that loses, delays, reorders and is cut in two. The stores are real.
 */
#include <string.h>
#include <sys/queue.h>

#include "fs_test.h"
#include "route/fs_route_share.h"

#define SECOND   FS_USEC_PER_SEC
#define MSEC     FS_USEC_PER_MSEC
#define IDLE     (1800 * SECOND)
#define FARM     (INT64_C(1800000000) * SECOND)
#define SERVERS  5
#define VISITORS 400
#define STEP     (10 * MSEC)
#define TIMEOUT  SECOND
#define DEAD     (3 * SECOND) /* nothing is heard for so long */

static const char *const names[SERVERS] = {"web1", "web2", "web3", "web4", "web5"};

/* What is on its way: a request or an answer. */
typedef struct parcel_t {
    TAILQ_ENTRY(parcel_t) link;
    fs_usec_t due;
    unsigned from, to;
    unsigned life; /* of the one who asked */
    int answer;
    fs_route_share_request_t request;
    size_t length;
    uint8_t *bytes; /* NULL: no answer */
} parcel_t;

typedef struct server_t {
    char *dir;
    int up;
    unsigned life;
    fs_usec_t since;
    fs_route_store_t *store;
    fs_route_share_t *share;
    fs_usec_t heard[SERVERS];
    fs_route_peer_status_t said[SERVERS];
} server_t;

typedef struct farm_t {
    fs_usec_t now; /* mono */
    uint64_t random;
    unsigned loss; /* percent */
    fs_usec_t delay;
    unsigned side[SERVERS]; /* who has another one isn't reached */
    server_t servers[SERVERS];
    fs_route_share_settings_t settings;
    uint64_t generation[VISITORS];
    unsigned served_elsewhere;
    TAILQ_HEAD(, parcel_t) parcels;
} farm_t;

static uint64_t dice(farm_t *farm, uint64_t sides)
{
    farm->random ^= farm->random << 13;
    farm->random ^= farm->random >> 7;
    farm->random ^= farm->random << 17;
    return farm->random % sides;
}

static fs_moment_t moment(const farm_t *farm)
{
    return (fs_moment_t){farm->now, FARM + farm->now};
}

/* --- servers -------------------------------------------------------------------------------------
 */

static void start(farm_t *farm, unsigned index, int wipe)
{
    static const fs_route_limits_t limits = {.log = 200};
    server_t *server = &farm->servers[index];
    fs_result_t result;

    if (wipe && server->dir) {
        fs_test_rmdir(server->dir);
        server->dir = NULL;
    }
    if (!server->dir) {
        server->dir = fs_test_mkdir();
        ck_assert_int_eq(fs_route_store_prepare(server->dir, (uid_t)-1, (gid_t)-1, 1, "b", &result),
                         0);
    }
    ck_assert_int_eq(
        fs_route_store_open(&server->store, server->dir, names[index], &limits, &result), 0);
    farm->settings.self = names[index];
    server->share = fs_route_share_create(server->store, &farm->settings, moment(farm));
    memset(server->heard, 0, sizeof(server->heard));
    if (wipe)
        memset(server->said, 0, sizeof(server->said)); /* else they are as old as they are */
    server->since = farm->now;
    server->up = 1;
    server->life++;
}

static void stop(farm_t *farm, unsigned index)
{
    server_t *server = &farm->servers[index];

    fs_route_share_destroy(server->share);
    fs_route_store_close(server->store);
    server->up = 0;
}

static farm_t *begin(uint64_t seed)
{
    farm_t *farm = calloc(1, sizeof(*farm));

    farm->random = seed * 0x9e3779b97f4a7c15 + 1;
    farm->now = 1000 * SECOND;
    farm->delay = 20 * MSEC;
    farm->settings = (fs_route_share_settings_t){
        .idle = IDLE, .return_policy = FS_ROUTE_RETURN_NEVER, .return_rate = 50};
    TAILQ_INIT(&farm->parcels);
    for (unsigned i = 0; i < SERVERS; i++)
        start(farm, i, 0);
    return farm;
}

static void drop_parcel(farm_t *farm, parcel_t *parcel)
{
    TAILQ_REMOVE(&farm->parcels, parcel, link);
    free(parcel->bytes);
    free(parcel);
}

static void end(farm_t *farm)
{
    while (!TAILQ_EMPTY(&farm->parcels))
        drop_parcel(farm, TAILQ_FIRST(&farm->parcels));
    for (unsigned i = 0; i < SERVERS; i++) {
        if (farm->servers[i].up)
            stop(farm, i);
        fs_test_rmdir(farm->servers[i].dir);
    }
    free(farm);
}

static fs_route_total_t total(farm_t *farm, unsigned at, unsigned of)
{
    fs_route_total_t is;

    ck_assert_int_eq(fs_route_store_total(farm->servers[at].store, names[of], &is, NULL), 0);
    return is;
}

/* --- the network ---------------------------------------------------------------------------------
 */

static int reaches(const farm_t *farm, unsigned from, unsigned to)
{
    return farm->servers[from].up && farm->servers[to].up && farm->side[from] == farm->side[to];
}

static void put_parcel(farm_t *farm, const parcel_t *like, unsigned from, unsigned to, int answer,
                       const void *bytes, size_t length)
{
    parcel_t *parcel = calloc(1, sizeof(*parcel));
    int lost = !reaches(farm, from, to) || dice(farm, 100) < farm->loss;

    parcel->request = like->request;
    parcel->life = like->life;
    parcel->from = lost ? to : from;
    parcel->to = lost ? from : to;
    parcel->answer = answer || lost;
    if (lost && answer) { /* whoever asked hears nothing */
        parcel->from = from;
        parcel->to = to;
    }
    parcel->due = farm->now + (lost ? TIMEOUT : 1 + (fs_usec_t)dice(farm, (uint64_t)farm->delay));
    if (!lost && bytes) {
        parcel->bytes = malloc(length + 1);
        memcpy(parcel->bytes, bytes, length);
        parcel->length = length;
    }
    TAILQ_INSERT_TAIL(&farm->parcels, parcel, link);
}

static unsigned index_of(const char *name)
{
    for (unsigned i = 0; i < SERVERS; i++)
        if (!strcmp(names[i], name))
            return i;
    ck_abort_msg("%s", name);
    return 0;
}

static void send_all(farm_t *farm, unsigned index)
{
    server_t *server = &farm->servers[index];
    parcel_t parcel;

    memset(&parcel, 0, sizeof(parcel));
    parcel.life = server->life;
    while (fs_route_share_next(server->share, moment(farm), &parcel.request))
        put_parcel(farm, &parcel, index, index_of(parcel.request.peer), 0, parcel.request.body,
                   parcel.request.length);
}

static void arrive(farm_t *farm, parcel_t *parcel)
{
    static uint8_t out[FS_ROUTE_DELTA_LIMIT];
    server_t *to = &farm->servers[parcel->to];
    fs_route_share_request_t *request = &parcel->request;
    fs_result_t result;
    size_t length = 0;

    if (parcel->answer && (!to->up || to->life != parcel->life))
        return;
    if (!to->up) { /* died meanwhile: whoever asked waits in vain */
        put_parcel(farm, parcel, parcel->to, parcel->from, 1, NULL, 0);
        return;
    }
    if (parcel->answer) {
        fs_route_share_answer(to->share, moment(farm), request->id, parcel->bytes, parcel->length,
                              &result);
        return;
    }
    if (request->asks)
        length = fs_route_share_page(to->store, names[parcel->to], request->of,
                                     request->goes_on ? request->after : NULL, out, &result);
    else
        length = fs_route_share_serve(to->share, moment(farm), names[parcel->from], parcel->bytes,
                                      parcel->length, out, &result);
    ck_assert_msg(length, "%s", result.detail);
    put_parcel(farm, parcel, parcel->to, parcel->from, 1, out, length);
}

static void deliver(farm_t *farm)
{
    parcel_t *parcel, *next;

    for (parcel = TAILQ_FIRST(&farm->parcels); parcel; parcel = next) {
        if (parcel->due <= farm->now)
            arrive(farm, parcel);
        next = TAILQ_NEXT(parcel, link);
        if (parcel->due <= farm->now)
            drop_parcel(farm, parcel);
    }
}

/* Each says each second how far it is, as over the backplane. */
static void say(farm_t *farm, unsigned from)
{
    fs_route_total_t own = total(farm, from, from);

    for (unsigned i = 0; i < SERVERS; i++) {
        server_t *server = &farm->servers[i];

        if (i == from || !reaches(farm, from, i) || dice(farm, 100) < farm->loss)
            continue;
        server->heard[from] = farm->now;
        if (!dice(farm, 3)) /* it is heard before what it says comes */
            continue;
        server->said[from] =
            (fs_route_peer_status_t){.generation = own.generation,
                                     .sequence = own.sequence,
                                     .digest = own.digest,
                                     .ready = fs_route_share_ready(farm->servers[from].share)};
    }
}

static void look(farm_t *farm, unsigned index)
{
    server_t *server = &farm->servers[index];
    fs_route_peer_status_t peers[SERVERS];
    unsigned count = 0;

    for (unsigned i = 0; i < SERVERS; i++) {
        fs_usec_t heard = server->heard[i] ? server->heard[i] : server->since;

        if (i == index)
            continue;
        peers[count] = server->said[i];
        peers[count].name = names[i];
        peers[count].dead = farm->now - heard > DEAD;
        peers[count].reachable = server->heard[i] && !peers[count].dead;
        peers[count].serves = peers[count].ready && peers[count].reachable;
        count++;
    }
    fs_route_share_peers(server->share, moment(farm), peers, count);
    ck_assert_int_eq(fs_route_share_tick(server->share, moment(farm), NULL), 0);
}

static void run(farm_t *farm, fs_usec_t span)
{
    for (fs_usec_t until = farm->now + span; farm->now < until; farm->now += STEP) {
        deliver(farm);
        for (unsigned i = 0; i < SERVERS; i++) {
            if (!farm->servers[i].up)
                continue;
            if ((farm->now / STEP + i) % (SECOND / STEP) == 0)
                say(farm, i);
            if ((farm->now / STEP + i) % 20 == 0)
                look(farm, i);
            send_all(farm, i);
        }
    }
}

/* --- visitors ------------------------------------------------------------------------------------
 */

static void id_of(unsigned visitor, uint8_t id[FS_ROUTE_ID_BYTES])
{
    memset(id, 0, FS_ROUTE_ID_BYTES);
    snprintf((char *)id, FS_ROUTE_ID_BYTES, "v%06u", visitor);
}

static int is_served(const farm_t *farm, unsigned at, const char *home)
{
    unsigned index = index_of(home);

    return index == at ||
           (farm->servers[at].heard[index] && farm->now - farm->servers[at].heard[index] <= DEAD);
}

/* A request of a visitor arrives at a server, which may become its home. */
static void request(farm_t *farm, unsigned visitor, unsigned at)
{
    server_t *server = &farm->servers[at];
    fs_route_visitor_t is, want = {.primary = names[at],
                                   .alternate = names[(at + 1 + dice(farm, SERVERS - 1)) % SERVERS],
                                   .former = "",
                                   .generation = 1,
                                   .confirmed = 1};
    fs_usec_t now = moment(farm).farm;

    if (!server->up || !fs_route_share_ready(server->share))
        return;
    id_of(visitor, want.id);
    if (!fs_route_store_find(server->store, want.id, &is, NULL)) {
        if (!strcmp(is.primary, names[at])) {
            fs_route_store_seen(server->store, want.id, now, IDLE, &is, NULL);
            if (dice(farm, 10))
                return; /* else it gets another alternate */
        } else if (is_served(farm, at, is.primary)) {
            farm->served_elsewhere++;
            return;
        } else {
            want.former = is.primary;
        }
        want.generation = is.generation + 1;
    }
    /* The cookie is known, whatever the servers know. */
    if (want.generation <= farm->generation[visitor])
        want.generation = (uint32_t)farm->generation[visitor] + 1;
    if (!fs_route_store_claim(server->store, &want, now, NULL, NULL))
        farm->generation[visitor] = want.generation;
}

static void requests(farm_t *farm, unsigned count, fs_usec_t span)
{
    for (unsigned i = 0; i < count; i++) {
        request(farm, (unsigned)dice(farm, VISITORS), (unsigned)dice(farm, SERVERS));
        run(farm, span / count);
    }
}

/* --- the same state ------------------------------------------------------------------------------
 */

typedef struct dump_t {
    fs_route_visitor_t visitors[SERVERS * VISITORS];
    unsigned count;
} dump_t;

static int dump_one(void *baton, const fs_route_visitor_t *visitor)
{
    dump_t *dump = baton;

    dump->visitors[dump->count++] = *visitor;
    return 0;
}

static void dump_all(farm_t *farm, unsigned at, dump_t *dump)
{
    dump->count = 0;
    for (unsigned i = 0; i < SERVERS; i++)
        fs_route_store_each(farm->servers[at].store, names[i], NULL, VISITORS, 0, dump_one, dump,
                            NULL);
}

/* "" or where two differ. */
static const char *difference(farm_t *farm)
{
    static dump_t first, other;
    static char text[200];
    int have = 0;

    for (unsigned i = 0; i < SERVERS; i++) {
        if (!farm->servers[i].up)
            continue;
        dump_all(farm, i, have ? &other : &first);
        for (unsigned k = 0; have && k < first.count && k < other.count; k++) {
            const fs_route_visitor_t *a = &first.visitors[k], *b = &other.visitors[k];

            if (memcmp(a->id, b->id, sizeof(a->id)) || fs_route_visitor_compare(a, b)) {
                snprintf(text, sizeof(text), "%s: %s %s/%s/%u against %s %s/%s/%u", names[i],
                         (const char *)a->id, a->primary, a->alternate, a->generation,
                         (const char *)b->id, b->primary, b->alternate, b->generation);
                return text;
            }
        }
        if (have && first.count != other.count) {
            snprintf(text, sizeof(text), "%s: %u against %u visitors", names[i], first.count,
                     other.count);
            return text;
        }
        have = 1;
    }
    return "";
}

/* Waits in simulated time until all know the same. */
static void assert_same(farm_t *farm, fs_usec_t span)
{
    fs_usec_t until = farm->now + span;
    const char *why = difference(farm);

    while (why[0] && farm->now < until) {
        run(farm, SECOND / 2);
        why = difference(farm);
    }
    ck_assert_msg(!why[0], "%s", why);
    for (unsigned at = 0; at < SERVERS; at++)
        for (unsigned of = 0; of < SERVERS; of++)
            if (farm->servers[at].up && farm->servers[of].up)
                ck_assert_uint_eq(total(farm, at, of).digest, total(farm, of, of).digest);
}

/* --- tests ---------------------------------------------------------------------------------------
 */

START_TEST(changes_reach_all_at_once)
{
    farm_t *farm = begin(1);
    fs_route_share_info_t info;
    fs_usec_t began;

    run(farm, 3 * SECOND);
    for (unsigned i = 0; i < SERVERS; i++)
        ck_assert(fs_route_share_ready(farm->servers[i].share));
    requests(farm, 300, 3 * SECOND);
    began = farm->now;
    request(farm, 7, 2);
    while (difference(farm)[0])
        run(farm, STEP);
    ck_assert_int_le(farm->now - began, 200 * MSEC);
    fs_route_share_info(farm->servers[0].share, &info);
    ck_assert_uint_gt(info.told, 0);
    ck_assert_uint_gt(info.heard, 0);
    ck_assert_uint_eq(info.healed, 0);
    end(farm);
}
END_TEST

START_TEST(losses_delays_and_reordering_end_in_one_state)
{
    farm_t *farm = begin((uint64_t)_i + 2);

    farm->loss = 30;
    farm->delay = 500 * MSEC;
    run(farm, 5 * SECOND);
    requests(farm, 800, 40 * SECOND);
    farm->loss = 0;
    assert_same(farm, 60 * SECOND);
    end(farm);
}
END_TEST

START_TEST(a_log_that_is_too_short_is_made_up_for_by_a_copy)
{
    farm_t *farm = begin(11);
    fs_route_share_info_t info;

    run(farm, 3 * SECOND);
    farm->side[4] = 1;
    for (unsigned i = 0; i < 300; i++) /* the log holds 200 */
        request(farm, i, 0);
    run(farm, 6 * SECOND);
    farm->side[4] = 0;
    assert_same(farm, 30 * SECOND);
    fs_route_share_info(farm->servers[4].share, &info);
    ck_assert_uint_gt(info.copies, 0);
    ck_assert_uint_eq(total(farm, 4, 0).primaries, 300);
    end(farm);
}
END_TEST

/* Both sides take over the other one's visitors; the later statement holds everywhere. */
START_TEST(a_partition_heals)
{
    farm_t *farm = begin((uint64_t)_i + 20);

    run(farm, 3 * SECOND);
    requests(farm, 400, 10 * SECOND);
    assert_same(farm, 20 * SECOND);
    farm->side[0] = farm->side[1] = 1;
    run(farm, 2 * DEAD);
    requests(farm, 800, 20 * SECOND);
    ck_assert_str_ne(difference(farm), "");
    farm->side[0] = farm->side[1] = 0;
    requests(farm, 100, 5 * SECOND);
    assert_same(farm, 120 * SECOND);
    end(farm);
}
END_TEST

/* Whatever happens, in whatever order. */
START_TEST(a_farm_in_trouble_comes_to_one_state)
{
    farm_t *farm = begin((uint64_t)_i + 40);

    farm->loss = 5;
    farm->delay = 200 * MSEC;
    run(farm, 3 * SECOND);
    for (int round = 0; round < 8; round++) {
        unsigned who = (unsigned)dice(farm, SERVERS);

        requests(farm, 100, 5 * SECOND);
        switch (dice(farm, 4)) {
        case 0:
            farm->side[who] ^= 1;
            break;
        case 1:
            if (farm->servers[who].up)
                stop(farm, who);
            else
                start(farm, who, 0);
            break;
        case 2:
            if (!farm->servers[who].up)
                start(farm, who, 1); /* its disk was lost */
            break;
        default:
            farm->loss = (unsigned)dice(farm, 40);
        }
    }
    farm->loss = 0;
    memset(farm->side, 0, sizeof(farm->side));
    for (unsigned i = 0; i < SERVERS; i++)
        if (!farm->servers[i].up)
            start(farm, i, 0);
    run(farm, 10 * SECOND);
    assert_same(farm, 180 * SECOND);
    end(farm);
}
END_TEST

/* Nobody is home at two servers: a server that returns knows of it before it is ready. */
START_TEST(a_returning_server_gives_up_whom_others_took_over)
{
    farm_t *farm = begin(60);
    unsigned taken = 0;
    fs_route_visitor_t is;

    run(farm, 3 * SECOND);
    for (unsigned i = 0; i < 100; i++)
        request(farm, i, 0);
    assert_same(farm, 10 * SECOND);
    stop(farm, 0);
    run(farm, 2 * DEAD);
    for (unsigned i = 0; i < 60; i++)
        request(farm, i, 1 + i % 3);
    run(farm, 2 * SECOND);
    stop(farm, 2); /* one of those who took over dies as well */
    run(farm, 2 * DEAD);
    start(farm, 0, 0);
    ck_assert_uint_eq(total(farm, 0, 0).primaries, 100);
    while (!fs_route_share_ready(farm->servers[0].share)) {
        run(farm, STEP);
        ck_assert_int_lt(farm->now - farm->servers[0].since, 20 * SECOND);
    }
    for (unsigned i = 0; i < 60; i++) {
        uint8_t id[FS_ROUTE_ID_BYTES];

        id_of(i, id);
        ck_assert_int_eq(fs_route_store_find(farm->servers[0].store, id, &is, NULL), 0);
        taken += !strcmp(is.primary, names[1 + i % 3]);
    }
    ck_assert_uint_eq(taken, 60);
    ck_assert_uint_eq(total(farm, 0, 0).primaries, 40);
    end(farm);
}
END_TEST

/* What it had heard of the others before it was killed may be lost: then it doesn't know of them at
 * once. */
START_TEST(who_has_not_heard_of_the_others_yet_is_not_ready)
{
    farm_t *farm = begin(61);
    fs_route_share_t *share;

    run(farm, 3 * SECOND);
    request(farm, 0, 0);
    run(farm, SECOND);
    stop(farm, 0);
    start(farm, 0, 0);
    share = farm->servers[0].share;
    for (unsigned i = 0; i < 29; i++, farm->now += SECOND) {
        fs_route_share_partial(share, moment(farm), 1);
        fs_route_share_peers(share, moment(farm), NULL, 0);
        ck_assert_int_eq(fs_route_share_ready(share), 0);
    }
    fs_route_share_partial(share, moment(farm), 0);
    look(farm, 0); /* there they are, and not compared with yet */
    ck_assert_int_eq(fs_route_share_ready(share), 0);
    run(farm, 10 * SECOND);
    ck_assert_int_eq(fs_route_share_ready(share), 1);
    end(farm);
}
END_TEST

/* Nobody ever answers: it goes on all the same. */
START_TEST(who_hears_of_nobody_is_ready_in_time)
{
    farm_t *farm = begin(62);
    fs_route_share_t *share = farm->servers[0].share;
    fs_route_share_info_t info;

    fs_route_share_partial(share, moment(farm), 1);
    farm->now += 31 * SECOND;
    fs_route_share_peers(share, moment(farm), NULL, 0);
    fs_route_share_info(share, &info);
    ck_assert(fs_route_share_ready(share) && info.late);
    end(farm);
}
END_TEST

/* Not by their cookies alone: the others know whose they are. */
START_TEST(a_lost_store_is_filled_by_the_others)
{
    farm_t *farm = begin((uint64_t)_i + 65);

    run(farm, 3 * SECOND);
    for (unsigned i = 0; i < 100; i++)
        request(farm, i, i % SERVERS);
    assert_same(farm, 10 * SECOND);
    for (unsigned i = 0; i <= (unsigned)_i; i++) { /* one; or two at the same time */
        stop(farm, i);
        start(farm, i, 1);
        ck_assert_uint_eq(total(farm, i, i).primaries, 0);
    }
    run(farm, 5 * SECOND);
    for (unsigned i = 0; i < SERVERS; i++)
        ck_assert_uint_eq(total(farm, i, i).primaries, 100 / SERVERS);
    assert_same(farm, 10 * SECOND);
    end(farm);
}
END_TEST

/* 40 visitors of the first server were taken over by the second one; the first one starts again,
 * with this policy. */
static farm_t *begin_with_taken_over(uint64_t seed, fs_route_return_t policy)
{
    farm_t *farm = begin(seed);

    farm->settings.return_policy = policy;
    farm->settings.return_rate = 5;
    for (unsigned i = 0; i < SERVERS; i++) {
        stop(farm, i);
        start(farm, i, 0);
    }
    run(farm, 3 * SECOND);
    for (unsigned i = 0; i < 40; i++)
        request(farm, i, 0);
    assert_same(farm, 10 * SECOND);
    stop(farm, 0);
    run(farm, 2 * DEAD);
    for (unsigned i = 0; i < 40; i++)
        request(farm, i, 1);
    assert_same(farm, 10 * SECOND);
    start(farm, 0, 0);
    return farm;
}

START_TEST(idle_visitors_return_little_by_little)
{
    farm_t *farm = begin_with_taken_over(70, FS_ROUTE_RETURN_IDLE);
    fs_route_share_info_t info;
    unsigned before;

    run(farm, 20 * SECOND);
    ck_assert_uint_eq(total(farm, 0, 0).primaries, 0); /* they were seen a moment ago */
    run(farm, IDLE / 4 - 18 * SECOND);
    before = (unsigned)total(farm, 0, 0).primaries;
    run(farm, 4 * SECOND);
    ck_assert_uint_ge(total(farm, 0, 0).primaries, before + 10);
    ck_assert_uint_le(total(farm, 0, 0).primaries, before + 25);
    run(farm, 20 * SECOND);
    ck_assert_uint_eq(total(farm, 0, 0).primaries, 40);
    fs_route_share_info(farm->servers[1].share, &info);
    ck_assert_uint_eq(info.returned, 40);
    assert_same(farm, 10 * SECOND);
    end(farm);
}
END_TEST

/* `never`: they stay where they were taken over; `all`: they go back although they were just seen.
 */
START_TEST(visitors_return_by_policy)
{
    int all = _i == 1;
    farm_t *farm =
        begin_with_taken_over(71 + (uint64_t)_i, all ? FS_ROUTE_RETURN_ALL : FS_ROUTE_RETURN_NEVER);

    run(farm, all ? 4 * SECOND : IDLE / 2);
    if (all)
        ck_assert_uint_le(total(farm, 0, 0).primaries, 25);
    else
        ck_assert_uint_eq(total(farm, 0, 0).primaries, 0);
    run(farm, 12 * SECOND);
    ck_assert_uint_eq(total(farm, 0, 0).primaries, all ? 40 : 0);
    assert_same(farm, 10 * SECOND);
    end(farm);
}
END_TEST

START_TEST(who_is_idle_or_gone_is_forgotten_everywhere)
{
    farm_t *farm = begin(80);

    run(farm, 3 * SECOND);
    for (unsigned i = 0; i < 50; i++)
        request(farm, i, i % 2);
    assert_same(farm, 10 * SECOND);
    stop(farm, 0);
    for (fs_usec_t ran = 0; ran < IDLE + 150 * SECOND; ran += 60 * SECOND) {
        request(farm, 51, 3);
        run(farm, 60 * SECOND);
    }
    assert_same(farm, 10 * SECOND);
    ck_assert_uint_eq(total(farm, 3, 0).primaries, 0);
    ck_assert_uint_eq(total(farm, 3, 1).primaries, 0);
    ck_assert_uint_eq(total(farm, 2, 3).primaries, 1);
    end(farm);
}
END_TEST

static void plant(farm_t *farm, unsigned at, const fs_route_visitor_t *said)
{
    fs_route_news_t news = {.from = "web9", .visitors = (fs_route_visitor_t *)said, .count = 1};

    ck_assert_int_eq(
        fs_route_store_merge(farm->servers[at].store, &news, FARM, NULL, NULL, NULL, NULL), 0);
}

/* A server knows of a visitor of its own that no log tells of. */
START_TEST(digests_find_what_was_lost)
{
    farm_t *farm = begin(90);
    fs_route_visitor_t is, said = {.primary = "web3", .alternate = "web4", .generation = 5};
    fs_route_share_info_t info;
    unsigned healed = 0;

    run(farm, 3 * SECOND);
    request(farm, 1, 0);
    assert_same(farm, 10 * SECOND);
    id_of(1, said.id);
    plant(farm, 2, &said);
    ck_assert_str_ne(difference(farm), "");
    run(farm, 15 * SECOND);
    ck_assert_str_eq(difference(farm), "");
    ck_assert_int_eq(fs_route_store_find(farm->servers[0].store, said.id, &is, NULL), 0);
    ck_assert_str_eq(is.primary, "web3");
    for (unsigned i = 0; i < SERVERS; i++) {
        fs_route_share_info(farm->servers[i].share, &info);
        healed += (unsigned)info.healed;
    }
    ck_assert_uint_gt(healed, 0);
    end(farm);
}
END_TEST

START_TEST(who_says_what_is_old_is_reminded)
{
    farm_t *farm = begin(91);
    fs_route_visitor_t is, said = {.primary = "web3", .alternate = "web4", .generation = 9};
    fs_route_share_info_t info;

    run(farm, 3 * SECOND);
    id_of(1, said.id);
    for (unsigned i = 0; i < SERVERS; i++)
        if (i != 1)
            plant(farm, i, &said);
    request(farm, 1, 1);
    run(farm, SECOND);
    ck_assert_int_eq(fs_route_store_find(farm->servers[1].store, said.id, &is, NULL), 0);
    ck_assert_str_eq(is.primary, "web3");
    fs_route_share_info(farm->servers[0].share, &info);
    ck_assert_uint_eq(info.reminded, 1);
    fs_route_share_info(farm->servers[1].share, &info);
    ck_assert_uint_eq(info.given, 1);
    ck_assert_uint_eq(info.healed, 0);
    assert_same(farm, SECOND);
    end(farm);
}
END_TEST

static unsigned knowing(farm_t *farm, unsigned of)
{
    unsigned count = 0;

    for (unsigned i = 0; i < SERVERS; i++)
        count += farm->servers[i].up && i != of && total(farm, i, of).primaries;
    return count;
}

static uint64_t copies(farm_t *farm, unsigned at)
{
    fs_route_share_info_t info;

    fs_route_share_info(farm->servers[at].share, &info);
    return info.copies;
}

/* The last word of a server that dies reaches some only: they tell the others. */
START_TEST(what_a_dead_server_said_last_is_known_to_all)
{
    farm_t *farm = begin(200 + (uint64_t)_i);
    uint64_t before = 0, after = 0;
    parcel_t *parcel, *next;

    run(farm, 3 * SECOND);
    request(farm, 1, 0);
    while (!knowing(farm, 0))
        run(farm, STEP);
    stop(farm, 0);
    for (parcel = TAILQ_FIRST(&farm->parcels); parcel; parcel = next) {
        next = TAILQ_NEXT(parcel, link);
        if (!parcel->from && !parcel->answer)
            drop_parcel(farm, parcel);
    }
    run(farm, 15 * SECOND);
    ck_assert_uint_eq(knowing(farm, 0), SERVERS - 1);
    ck_assert_str_eq(difference(farm), "");
    for (unsigned i = 2; i < SERVERS; i++)
        before += copies(farm, i);
    stop(farm, 1); /* of which all know the same: nobody copies anything */
    run(farm, 15 * SECOND);
    for (unsigned i = 2; i < SERVERS; i++)
        after += copies(farm, i);
    ck_assert_uint_eq(after, before);
    end(farm);
}
END_TEST

/* --- messages ------------------------------------------------------------------------------------
 */

START_TEST(what_is_written_is_read)
{
    fs_route_visitor_t visitors[FS_ROUTE_DELTA_VISITORS];
    static char text[2 * FS_ROUTE_DELTA_VISITORS][FS_ROUTE_NAME_SIZE];
    static uint8_t out[FS_ROUTE_DELTA_LIMIT];
    fs_route_delta_t delta = {.kind = FS_ROUTE_DELTA_CHANGES,
                              .from = "web1",
                              .of = "",
                              .generation = 7,
                              .first = 3,
                              .last = 900,
                              .count = FS_ROUTE_DELTA_VISITORS,
                              .visitors = visitors};
    fs_route_delta_t read;
    size_t length;

    for (unsigned i = 0; i < FS_ROUTE_DELTA_VISITORS; i++) {
        for (unsigned k = 2 * i; k < 2 * i + 2; k++) {
            memset(text[k], 'x', sizeof(text[k]) - 1);
            snprintf(text[k], sizeof(text[k]), "%060u", k);
        }
        visitors[i] = (fs_route_visitor_t){
            .primary = text[2 * i], .alternate = text[2 * i + 1], .generation = i};
        id_of(i, visitors[i].id);
    }
    visitors[3].primary = visitors[3].alternate = "";
    length = fs_route_delta_write(&delta, out);
    ck_assert_uint_le(length, sizeof(out));
    ck_assert_int_eq(fs_route_delta_read(&read, out, length), 0);
    ck_assert_uint_eq(read.last, 900);
    ck_assert_str_eq(read.from, "web1");
    ck_assert_uint_eq(read.count, delta.count);
    ck_assert_str_eq(read.visitors[500].alternate, text[1001]);
    ck_assert_str_eq(read.visitors[3].primary, "");
    ck_assert_uint_eq(read.visitors[17].generation, 17);
    fs_route_delta_clear(&read);
    /* Every cut, and every bit of the head, is either refused or harmless. */
    for (size_t cut = 0; cut < length; cut += cut < 200 ? 1 : 97)
        ck_assert_int_ne(fs_route_delta_read(&read, out, cut), 0);
    delta.kind = FS_ROUTE_DELTA_PAGE;
    length = fs_route_delta_write(&delta, out);
    ck_assert_int_ne(fs_route_delta_read(&read, out, length), 0); /* of nobody */
}
END_TEST

START_TEST(who_says_it_is_another_is_refused)
{
    farm_t *farm = begin(95);
    static uint8_t out[FS_ROUTE_DELTA_LIMIT], in[FS_ROUTE_DELTA_LIMIT];
    fs_route_delta_t delta = {
        .kind = FS_ROUTE_DELTA_CHANGES, .from = "web2", .of = "", .generation = 1};
    size_t length = fs_route_delta_write(&delta, in);
    fs_route_share_t *share = farm->servers[0].share;
    fs_result_t result;

    ck_assert_uint_eq(fs_route_share_serve(share, moment(farm), "web3", in, length, out, &result),
                      0);
    ck_assert_str_eq(result.problem, "FS1618");
    ck_assert_uint_eq(
        fs_route_share_serve(share, moment(farm), "web2", in, length - 1, out, &result), 0);
    ck_assert_uint_gt(fs_route_share_serve(share, moment(farm), "web2", in, length, out, &result),
                      0);
    delta.from = "web1"; /* oneself */
    length = fs_route_delta_write(&delta, in);
    ck_assert_uint_eq(fs_route_share_serve(share, moment(farm), "web1", in, length, out, &result),
                      0);
    end(farm);
}
END_TEST

/* Changes of web2, `first` to `last` of its log, told to web1: one visitor, or that it is gone. The
 * answer's end of the log. */
static uint64_t hear(farm_t *farm, uint64_t first, uint64_t last, const char *primary)
{
    static uint8_t out[FS_ROUTE_DELTA_LIMIT], in[FS_ROUTE_DELTA_LIMIT];
    fs_route_visitor_t visitor = {.primary = primary, .alternate = *primary ? "web3" : ""};
    fs_route_delta_t answer, delta = {.kind = FS_ROUTE_DELTA_CHANGES,
                                      .from = "web2",
                                      .of = "",
                                      .generation = total(farm, 1, 1).generation,
                                      .first = first,
                                      .last = last,
                                      .count = 1,
                                      .visitors = &visitor};
    fs_result_t result;
    size_t length;

    visitor.generation = *primary != '\0';
    id_of(1, visitor.id);
    length = fs_route_delta_write(&delta, in);
    length = fs_route_share_serve(farm->servers[0].share, moment(farm), "web2", in, length, out,
                                  &result);
    ck_assert_int_eq(fs_route_delta_read(&answer, out, length), 0);
    ck_assert_int_eq(answer.kind, FS_ROUTE_DELTA_HEARD);
    last = answer.last;
    fs_route_delta_clear(&answer);
    return last;
}

/* A message that was held up, or is sent once more, is of a time before what is known. */
START_TEST(changes_are_merged_in_their_order_and_once)
{
    farm_t *farm = begin(96);

    run(farm, 3 * SECOND);
    ck_assert_uint_eq(hear(farm, 0, 2, "web2"), 2);
    ck_assert_uint_eq(hear(farm, 2, 4, ""), 4);
    ck_assert_uint_eq(total(farm, 0, 1).primaries, 0);
    ck_assert_uint_eq(hear(farm, 0, 2, "web2"), 4);
    ck_assert_uint_eq(total(farm, 0, 1).primaries, 0);
    ck_assert_uint_eq(hear(farm, 5, 6, "web2"), 4); /* something is missing before it */
    ck_assert_uint_eq(total(farm, 0, 1).primaries, 0);
    ck_assert_uint_eq(hear(farm, 3, 6, "web2"), 6); /* some of it is known */
    ck_assert_uint_eq(total(farm, 0, 1).primaries, 1);
    ck_assert_uint_eq(hear(farm, 2, 4, ""), 6);
    ck_assert_uint_eq(total(farm, 0, 1).primaries, 1);
    end(farm);
}
END_TEST

static Suite *share_suite(void)
{
    Suite *suite = suite_create("route share");
    TCase *tests = tcase_create("share");

    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, changes_reach_all_at_once);
    tcase_add_loop_test(tests, losses_delays_and_reordering_end_in_one_state, 0, 4);
    tcase_add_test(tests, a_log_that_is_too_short_is_made_up_for_by_a_copy);
    tcase_add_loop_test(tests, a_partition_heals, 0, 4);
    tcase_add_loop_test(tests, a_farm_in_trouble_comes_to_one_state, 0, 12);
    tcase_add_test(tests, a_returning_server_gives_up_whom_others_took_over);
    tcase_add_test(tests, who_has_not_heard_of_the_others_yet_is_not_ready);
    tcase_add_test(tests, who_hears_of_nobody_is_ready_in_time);
    tcase_add_loop_test(tests, a_lost_store_is_filled_by_the_others, 0, 2);
    tcase_add_test(tests, idle_visitors_return_little_by_little);
    tcase_add_loop_test(tests, visitors_return_by_policy, 0, 2);
    tcase_add_test(tests, who_is_idle_or_gone_is_forgotten_everywhere);
    tcase_add_test(tests, digests_find_what_was_lost);
    tcase_add_test(tests, who_says_what_is_old_is_reminded);
    tcase_add_test(tests, what_is_written_is_read);
    tcase_add_test(tests, who_says_it_is_another_is_refused);
    tcase_add_test(tests, changes_are_merged_in_their_order_and_once);
    tcase_add_loop_test(tests, what_a_dead_server_said_last_is_known_to_all, 0, 5);
    suite_add_tcase(suite, tests);
    return suite;
}

FS_TEST_MAIN(share_suite)
