/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a visitor belongs, by lib/route's arithmetic, and who must learn of it: the store, from
 * which the agent tells the other servers.
 */
#include <inttypes.h>
#include <string.h>

#include <apr_strings.h>

#include "avail_state.h"
#include "module.h"
#include "route.h"

#define TRIES 4 /* of following what others said meanwhile */

/* Any number that differs from visitor to visitor. */
static uint64_t spread_of(const fs_routing_visit_t *visit)
{
    uint64_t spread;

    memcpy(&spread, visit->id.bytes, sizeof(spread));
    return spread;
}

static int is_me(const char *name)
{
    return !strcmp(name, fs_routing_host()->self);
}

static fs_usec_t idle_span(void)
{
    return fs_routing_host()->routing->idle_s * FS_USEC_PER_SEC;
}

/* --- the choice ---------------------------------------------------------------------------------
 */

/* The rules as they are here: where nothing can be sent on, whoever comes stays. */
static void rules_of(const fs_routing_visit_t *visit, fs_route_settings_t *rules, unsigned *hops)
{
    *rules = fs_routing_host()->routing->rules;
    *hops = visit->hops;
    if (fs_routing_can_send(visit))
        return;
    rules->bounces = 0;
    *hops = 1;
}

/* Who came back after a long time goes where he was if that server would take anybody new. */
static int is_taken_back(const fs_route_view_t *view, uint32_t number,
                         const fs_route_settings_t *rules)
{
    fs_route_table_t table = view->table;

    table.self = number;
    return number < table.count && fs_route_is_willing(&table, rules);
}

static fs_route_choice_t choose_new(fs_route_view_t *view, const fs_routing_visit_t *visit,
                                    const fs_route_settings_t *rules, unsigned hops)
{
    const fs_routing_host_t *host = fs_routing_host();
    uint32_t next;

    if (!host->routing->robin || hops)
        return fs_route_page_assign(host->page, view, rules, hops, spread_of(visit));
    next = fs_route_page_next(host->page, view);
    if (next == FS_ROUTE_NOBODY ||
        (rules->full_refuses && fs_route_is_busy(&view->table.servers[next], rules->busy)))
        return fs_route_page_assign(host->page, view, rules, hops, spread_of(visit));
    if (next == view->table.self)
        return (fs_route_choice_t){FS_ROUTE_SERVE, next, 1};
    return (fs_route_choice_t){FS_ROUTE_SEND, next, 1};
}

/* The server that sent him found that his home can't be reached: it knows better. */
static int is_gone(const fs_route_view_t *view, const fs_routing_visit_t *visit, uint32_t primary)
{
    return visit->token && visit->token->flags & FS_ROUTE_TOKEN_GONE &&
           !strcmp(visit->token->primary, visit->home.primary) && primary < view->table.count &&
           primary != view->table.self && view->table.servers[primary].state > FS_ROUTE_SUSPECT;
}

static fs_route_choice_t choose_home(fs_route_view_t *view, const fs_routing_visit_t *visit,
                                     const fs_route_home_t *home, const fs_route_settings_t *rules,
                                     unsigned hops)
{
    fs_route_page_t *page = fs_routing_host()->page;
    fs_route_choice_t choice;
    uint8_t state;

    if (!is_gone(view, visit, home->primary))
        return fs_route_page_request(page, view, rules, home, hops, spread_of(visit));
    state = view->table.servers[home->primary].state;
    view->table.servers[home->primary].state = FS_ROUTE_SUSPECT;
    choice = fs_route_page_request(page, view, rules, home, hops, spread_of(visit));
    view->table.servers[home->primary].state = state;
    return choice;
}

static fs_route_choice_t choose(fs_route_view_t *view, const fs_routing_visit_t *visit)
{
    fs_route_home_t home = {fs_route_view_find(view, visit->home.primary),
                            fs_route_view_find(view, visit->home.alternate)};
    fs_route_settings_t rules;
    unsigned hops;

    rules_of(visit, &rules, &hops);
    if (!visit->home.generation || (visit->expired && !is_taken_back(view, home.primary, &rules)))
        return choose_new(view, visit, &rules, hops);
    if (home.primary == FS_ROUTE_NOBODY && visit->known_by == FS_ROUTING_COOKIE)
        fs_routing_count(FS_ROUTE_COUNT_COOKIE_UNKNOWN);
    return choose_home(view, visit, &home, &rules, hops);
}

/* --- telling the store --------------------------------------------------------------------------
 */

/* What the store is told. What it answers is in `is`. */
static apr_status_t claim(request_rec *r, const fs_routing_visit_t *visit, const char *former,
                          int confirmed, fs_route_visitor_t *is)
{
    fs_route_visitor_t visitor = {.primary = visit->home.primary,
                                  .alternate = visit->home.alternate,
                                  .former = former,
                                  .generation = visit->home.generation,
                                  .confirmed = confirmed};
    fs_result_t result;
    apr_status_t status;

    memcpy(visitor.id, visit->id.bytes, sizeof(visitor.id));
    status = fs_route_store_claim(fs_routing_host()->store, &visitor, fs_avail_now(), is, &result);
    if (status != APR_SUCCESS && status != APR_EMISMATCH && status != APR_ENOSPC)
        fs_routing_say(r, &result);
    return status;
}

static void set_alternate(fs_routing_visit_t *visit, fs_route_view_t *view, uint32_t number)
{
    const char *name = number == FS_ROUTE_NOBODY ? "" : fs_route_view_name(view, number);

    apr_cpystrn(visit->home.alternate, name, sizeof(visit->home.alternate));
}

static void count_new_home(const fs_routing_visit_t *visit, const fs_routing_home_t *before)
{
    fs_route_count_t what = FS_ROUTE_COUNT_NEW;

    if (before->generation && !visit->expired)
        what = is_me(before->alternate) ? FS_ROUTE_COUNT_TAKEN_OVER : FS_ROUTE_COUNT_ADOPTED;
    else if (visit->hops)
        fs_routing_count(FS_ROUTE_COUNT_BOUNCES_IN);
    fs_routing_count(what);
    if (visit->hops > fs_routing_host()->routing->rules.bounces)
        fs_routing_count(FS_ROUTE_COUNT_LOOPS);
}

static const char *what_of(const fs_routing_visit_t *visit, const fs_routing_home_t *before)
{
    if (!before->generation || visit->expired)
        return "new";
    return is_me(before->alternate) ? "taken-over" : "adopted";
}

static const char *state_name(const fs_route_view_t *view, const char *name)
{
    static const char *const names[] = {"dead", "suspect", "draining", "alive"};
    uint32_t number = fs_route_view_find(view, name);

    return number < view->table.count ? names[view->table.servers[number].state & 3] : "unknown";
}

static const char *why_moved(const fs_routing_visit_t *visit, const fs_routing_home_t *before,
                             const fs_route_view_t *view)
{
    uint32_t number = fs_route_view_find(view, before->primary);

    if (visit->expired)
        return "his cookie is old, and nobody knows him";
    if (is_gone(view, visit, number))
        return "another server can't reach his home";
    if (number >= view->table.count || view->table.servers[number].state != FS_ROUTE_ALIVE)
        return "his home doesn't serve";
    if (view->table.servers[number].shed)
        return "his home is over its limit";
    if (!fs_routing_can_send(visit))
        return "nothing is sent on from here";
    if (visit->hops > fs_routing_host()->routing->rules.bounces)
        return "the request was sent on too often";
    return "no connection to his home could be made";
}

static void tell_move(const request_rec *r, const fs_routing_visit_t *visit,
                      const fs_routing_home_t *before, const fs_route_view_t *view)
{
    if (!APLOGrdebug(r) || !before->generation)
        return;
    ap_log_rerror(APLOG_MARK, APLOG_DEBUG, 0, r,
                  "FS1655: visitor %s is %s: %s; home was %s (%s), alternate %s (%s), generation "
                  "%" PRIu32 ", sent on %u times",
                  fs_routing_id_text(r, visit), visit->what, why_moved(visit, before, view),
                  before->primary, state_name(view, before->primary), before->alternate,
                  state_name(view, before->alternate), before->generation, visit->hops);
}

/* This server is his home from now on. 0: somebody else said later that it is another one. */
static int move_here(request_rec *r, fs_routing_visit_t *visit, fs_route_view_t *view)
{
    const fs_routing_host_t *host = fs_routing_host();
    fs_routing_home_t before = visit->home;
    uint32_t primary = fs_route_view_find(view, before.primary);
    uint32_t gone = is_gone(view, visit, primary) ? primary : FS_ROUTE_NOBODY;
    int back = !before.generation || visit->expired || is_me(before.primary);
    fs_route_visitor_t is;

    visit->home.generation++;
    apr_cpystrn(visit->home.primary, host->self, sizeof(visit->home.primary));
    set_alternate(
        visit, view,
        fs_route_page_alternate(host->page, view, &host->routing->rules, gone, spread_of(visit)));
    if (claim(r, visit, back ? "" : before.primary, before.generation != 0, &is) == APR_EMISMATCH) {
        fs_routing_visit_follow(visit, &is);
        return 0;
    }
    visit->what = what_of(visit, &before);
    tell_move(r, visit, &before, view);
    count_new_home(visit, &before);
    visit->here = visit->moved = visit->decided = 1;
    return 1;
}

/* His alternate is gone for good: another one is to hold what he has. */
static int needs_alternate(const fs_routing_visit_t *visit, const fs_route_view_t *view)
{
    uint32_t number = fs_route_view_find(view, visit->home.alternate);

    if (!*visit->home.alternate || number >= view->table.count)
        return view->table.count > 1;
    return view->table.servers[number].state == FS_ROUTE_DEAD ||
           view->table.servers[number].state == FS_ROUTE_DRAINING;
}

static int choose_alternate(request_rec *r, fs_routing_visit_t *visit, fs_route_view_t *view)
{
    const fs_routing_host_t *host = fs_routing_host();
    uint32_t before = fs_route_view_find(view, visit->home.alternate);
    uint32_t number = fs_route_page_alternate(host->page, view, &host->routing->rules,
                                              FS_ROUTE_NOBODY, spread_of(visit));
    fs_route_visitor_t is;

    if (number == FS_ROUTE_NOBODY)
        return 1;
    if (before != FS_ROUTE_NOBODY)
        fs_route_page_alternate_gone(host->page, before);
    set_alternate(visit, view, number);
    visit->home.generation++;
    if (claim(r, visit, "", 1, &is) != APR_EMISMATCH) {
        visit->moved = 1;
        return 1;
    }
    fs_routing_visit_follow(visit, &is);
    return 0;
}

/* This server is his home already. 0: somebody else says that it isn't any more. */
static int stay_here(request_rec *r, fs_routing_visit_t *visit, fs_route_view_t *view)
{
    fs_route_store_t *store = fs_routing_host()->store;
    fs_route_visitor_t is;
    fs_result_t result;
    apr_status_t status = APR_NOTFOUND;

    if (visit->stored)
        status =
            fs_route_store_seen(store, visit->id.bytes, fs_avail_now(), idle_span(), &is, &result);
    if (status == APR_SUCCESS && !is_me(is.primary)) {
        fs_routing_visit_follow(visit, &is);
        return 0;
    }
    if (status == APR_NOTFOUND) {
        if (claim(r, visit, "", 1, &is) == APR_EMISMATCH) {
            fs_routing_visit_follow(visit, &is);
            return 0;
        }
    } else if (status != APR_SUCCESS) {
        fs_routing_say(r, &result);
    }
    visit->here = visit->decided = 1;
    visit->what = "home";
    fs_routing_count(FS_ROUTE_COUNT_HOME);
    return !needs_alternate(visit, view) || choose_alternate(r, visit, view);
}

/* --- the plan -----------------------------------------------------------------------------------
 */

static void add_target(fs_routing_plan_t *plan, const fs_route_view_t *view, uint32_t number,
                       int takes)
{
    plan->to[plan->count].number = number;
    plan->to[plan->count].takes = takes;
    apr_cpystrn(plan->to[plan->count].name, fs_route_view_name(view, number), FS_ROUTE_NAME_SIZE);
    plan->count++;
}

/* His home, and if no connection can be made his alternate. */
static void plan_targets(const fs_routing_visit_t *visit, const fs_route_view_t *view,
                         const fs_route_choice_t *choice, fs_routing_plan_t *plan)
{
    uint32_t alternate = fs_route_view_find(view, visit->home.alternate);
    int has_home = visit->home.generation && !visit->expired;

    add_target(plan, view, choice->server, has_home && choice->moved);
    if (has_home && !choice->moved && alternate < view->table.count &&
        alternate != view->table.self && alternate != choice->server &&
        view->table.servers[alternate].state == FS_ROUTE_ALIVE)
        add_target(plan, view, alternate, 1);
}

void fs_routing_decide(request_rec *r, fs_routing_visit_t *visit, fs_routing_plan_t *plan)
{
    fs_route_view_t *view = fs_route_page_view(fs_routing_host()->page, fs_time_mono());

    *plan = (fs_routing_plan_t){.act = FS_ROUTE_SERVE};
    for (int tries = 0; view && tries < TRIES; tries++) {
        fs_route_choice_t choice = choose(view, visit);

        plan->act = choice.act;
        if (choice.act == FS_ROUTE_SEND) {
            plan_targets(visit, view, &choice, plan);
            return;
        }
        if (choice.act == FS_ROUTE_REFUSE ||
            (choice.moved || visit->expired ? move_here(r, visit, view)
                                            : stay_here(r, visit, view)))
            return;
    }
    plan->act = FS_ROUTE_SERVE; /* others change it faster than it can be read */
}

void fs_routing_adopt(request_rec *r, fs_routing_visit_t *visit)
{
    fs_route_view_t *view = fs_route_page_view(fs_routing_host()->page, fs_time_mono());

    for (int tries = 0; view && tries < TRIES; tries++)
        if (move_here(r, visit, view))
            return;
}

/* --- for a balancer -----------------------------------------------------------------------------
 */

static int is_up(const fs_route_view_t *view, const char *name)
{
    uint32_t number = fs_route_view_find(view, name);

    return number < view->table.count && view->table.servers[number].state == FS_ROUTE_ALIVE;
}

void fs_routing_observe(request_rec *r, fs_routing_visit_t *visit)
{
    const fs_route_view_t *view = fs_route_page_view(fs_routing_host()->page, fs_time_mono());
    fs_routing_home_t *home = &visit->home;
    char primary[FS_ROUTE_NAME_SIZE];

    fs_routing_visit_find(r, visit);
    if (!home->generation || visit->expired || !view)
        return;
    visit->decided = 1;
    visit->here = is_me(home->primary);
    if (is_up(view, home->primary) || !is_up(view, home->alternate))
        return;
    memcpy(primary, home->primary, sizeof(primary));
    memcpy(home->primary, home->alternate, sizeof(primary));
    memcpy(home->alternate, primary, sizeof(primary));
    visit->moved = 1;
}
