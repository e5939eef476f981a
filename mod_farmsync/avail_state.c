/* SPDX-License-Identifier: Apache-2.0 */
#include "avail_state.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>

#include "avail.h"
#include "avail_settings.h"
#include "base/fs_log.h"
#include "module.h"

#define SLOTS      8
#define OPEN       (UINT64_C(1) << 63)
#define BUSY       (UINT64_C(1) << 62)
#define NOT_QUIET  UINT64_MAX
#define EDGE       (2 * FS_USEC_PER_SEC) /* before a window's start, requests look for themselves */
#define PIN_TRIES  4
#define TEXT_LIMIT 8192 /* of the list of what can't be used */

typedef struct slot_t {
    _Atomic uint64_t state;
    fs_avail_snapshot_t *snapshot;
} slot_t;

static struct {
    const fs_child_t *child;
    fs_avail_reader_t *reader;
    int applications;
    slot_t slots[SLOTS];
    _Atomic int current;    /* slot of the newest snapshot; -1 none */
    _Atomic uint64_t quiet; /* the publication in which nothing is in force, NOT_QUIET none */
    _Atomic fs_usec_t quiet_until; /* mono; INT64_MAX for ever */
    _Atomic uint64_t failed;       /* the publication that couldn't be read a moment ago */
    _Atomic uint64_t said;         /* the one about which that was logged */
    apr_hash_t *concerned;         /* name in a notice -> indexes of applications, as int array */
    apr_array_header_t *everyone;
    _Atomic int late;
} self = {.current = -1};

fs_usec_t fs_avail_now(void)
{
    fs_control_clock_t clock;
    fs_usec_t farm, bound;

    if (fs_control_clock(self.child->control, &clock) &&
        fs_control_now(&clock, fs_time_mono(), &farm, &bound))
        return farm;
    return fs_time_wall();
}

int fs_avail_quiet(void)
{
    if (!self.applications)
        return 1;
    if (fs_avail_generation(self.reader) != atomic_load_explicit(&self.quiet, memory_order_relaxed))
        return 0;
    return atomic_load_explicit(&self.quiet_until, memory_order_relaxed) == INT64_MAX ||
           fs_time_mono() < atomic_load_explicit(&self.quiet_until, memory_order_relaxed);
}

fs_avail_reader_t *fs_avail_reader(void)
{
    return self.reader;
}

int fs_avail_any_late(void)
{
    return atomic_load_explicit(&self.late, memory_order_relaxed);
}

/* --- making a snapshot --------------------------------------------------------------------------
 */

/* Compiles a condition into `pool`; what is wrong with it, or NULL. */
static const char *compile(apr_pool_t *pool, const char *condition, ap_expr_info_t **info)
{
    *info = apr_pcalloc(pool, sizeof(**info));
    (*info)->filename = "notice";
    (*info)->module_index = APLOG_MODULE_INDEX;
    (*info)->flags = AP_EXPR_FLAG_DONT_VARY | AP_EXPR_FLAG_RESTRICTED;
    return ap_expr_parse(pool, pool, *info, condition, NULL);
}

/* A pool that shares nothing with others, so that any thread may make and destroy it. */
static apr_pool_t *own_pool(void)
{
    apr_allocator_t *allocator;
    apr_pool_t *pool;

    if (apr_allocator_create(&allocator))
        return NULL;
    if (apr_pool_create_unmanaged_ex(&pool, NULL, allocator)) {
        apr_allocator_destroy(allocator);
        return NULL;
    }
    apr_allocator_owner_set(allocator, pool);
    return pool;
}

static void destroy(fs_avail_snapshot_t *snapshot)
{
    if (!snapshot)
        return;
    fs_avail_free(snapshot->avail);
    apr_pool_destroy(snapshot->pool);
}

/* The applications that a notice is about, or that can't do without what it is about. */
static const apr_array_header_t *concerned(const fs_notice_t *notice)
{
    if (!strcmp(notice->application, FS_NOTICE_EVERY))
        return self.everyone;
    return apr_hash_get(self.concerned, notice->application, APR_HASH_KEY_STRING);
}

static void make_plan(fs_avail_snapshot_t *snapshot, const fs_avail_rule_t *rule)
{
    const apr_array_header_t *indexes = concerned(rule->notice);

    for (int i = 0; indexes && i < indexes->nelts; i++) {
        int index = APR_ARRAY_IDX(indexes, i, int);
        fs_avail_plan_t *plan = &snapshot->plans[index];

        if (plan->count && plan->rules[plan->count - 1] == rule)
            continue; /* about the application and about what it uses */
        if (plan->count == plan->room) {
            int room = plan->room ? 2 * plan->room : 4;
            const fs_avail_rule_t **rules =
                apr_palloc(snapshot->pool, (apr_size_t)room * sizeof(*rules));

            if (plan->count)
                memcpy(rules, plan->rules, (apr_size_t)plan->count * sizeof(*rules));
            plan->rules = rules;
            plan->room = room;
        }
        if (!plan->marks)
            plan->marks =
                fs_avail_marks(self.reader, fs_avail_application(self.child->server, index)->name);
        plan->rules[plan->count++] = rule;
        snapshot->any = 1;
        snapshot->late |= rule->late;
    }
}

/* Looks at one notice; 1 if it is in force and can be used, with `rule` filled in. */
static int make_rule(fs_avail_snapshot_t *snapshot, const fs_notice_t *notice,
                     fs_avail_rule_t *rule)
{
    ap_expr_info_t *condition = NULL;
    fs_window_at_t at;
    const char *problem =
        notice->condition ? compile(snapshot->pool, notice->condition, &condition) : NULL;

    if (problem) {
        snapshot->unusable[snapshot->unusable_count++] =
            (fs_avail_unusable_t){notice, apr_pstrdup(snapshot->pool, problem)};
        return 0;
    }
    fs_window_at(&notice->window, snapshot->made, &at);
    if (at.change < snapshot->change)
        snapshot->change = at.change;
    *rule = (fs_avail_rule_t){notice, condition, condition && fs_avail_is_late(notice->condition),
                              at.start, at.end};
    return at.in_force;
}

static void make_plans(fs_avail_snapshot_t *snapshot)
{
    const fs_avail_t *avail = snapshot->avail;
    apr_size_t count = avail->count;
    fs_avail_rule_t *rules = apr_pcalloc(snapshot->pool, (count + 1) * sizeof(*rules));
    int in_force = 0;

    snapshot->unusable = apr_pcalloc(snapshot->pool, (count + 1) * sizeof(*snapshot->unusable));
    snapshot->plans =
        apr_pcalloc(snapshot->pool, (apr_size_t)(self.applications + 1) * sizeof(*snapshot->plans));
    for (unsigned i = 0; i < avail->count; i++)
        in_force += make_rule(snapshot, &avail->notices[i], &rules[in_force]);
    for (int i = 0; i < in_force; i++)
        make_plan(snapshot, &rules[i]);
}

/* Tells the agent, and once for all processes the log, what can't be used. */
static void tell_unusable(const fs_avail_snapshot_t *snapshot)
{
    fs_avail_marks_t *mark = fs_avail_marks(self.reader, "");
    uint64_t generation = snapshot->avail->generation;
    int64_t told = atomic_load(&mark->told);
    const char *list = "";

    if (!snapshot->unusable_count || told == (int64_t)generation ||
        !atomic_compare_exchange_strong(&mark->told, &told, (int64_t)generation))
        return;
    for (int i = 0; i < snapshot->unusable_count; i++) {
        const fs_avail_unusable_t *unusable = &snapshot->unusable[i];
        char key[FS_NOTICE_KEY_SIZE];

        fs_notice_key(unusable->notice, key);
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, self.child->server,
                     "FS1521: notice %s has no effect on this server: httpd doesn't understand its "
                     "condition \"%s\": %s; load the module that it needs, or tell it anew",
                     key, unusable->notice->condition, unusable->problem);
        if (strlen(list) < TEXT_LIMIT)
            list = apr_pstrcat(snapshot->pool, list, key, ": ", unusable->problem, "\n", NULL);
    }
    fs_avail_set_problems(self.reader, generation, list);
}

/* Makes the snapshot of now; NULL if nothing could be read, which is told once. */
static fs_avail_snapshot_t *make_snapshot(void)
{
    uint64_t generation = fs_avail_generation(self.reader);
    fs_avail_snapshot_t *snapshot;
    fs_result_t result;
    fs_avail_t *avail;
    apr_pool_t *pool;

    if (fs_avail_read(self.reader, &avail, &result)) {
        atomic_store(&self.failed, generation);
        if (atomic_exchange(&self.said, generation) != generation)
            ap_log_error(APLOG_MARK, APLOG_ERR, result.status, self.child->server, "%s: %s",
                         result.problem, result.detail);
        return NULL;
    }
    pool = own_pool();
    if (!pool) {
        fs_avail_free(avail);
        return NULL;
    }
    if (avail->generation != avail->asked_for &&
        atomic_exchange(&self.said, avail->asked_for) != avail->asked_for)
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, self.child->server,
                     "%s: %s; the notices of publication %" PRIu64 " stay in force", result.problem,
                     result.detail, avail->generation);
    snapshot = apr_pcalloc(pool, sizeof(*snapshot));
    snapshot->pool = pool;
    snapshot->avail = avail;
    snapshot->made = fs_avail_now();
    snapshot->change = INT64_MAX;
    make_plans(snapshot);
    tell_unusable(snapshot);
    return snapshot;
}

/* --- slots --------------------------------------------------------------------------------------
 */

/* Takes a pin away, or the slot's being open; whoever leaves nothing frees the snapshot. */
static void leave(slot_t *slot, uint64_t what)
{
    uint64_t expected = 0;
    fs_avail_snapshot_t *snapshot;

    if (atomic_fetch_sub(&slot->state, what) != what ||
        !atomic_compare_exchange_strong(&slot->state, &expected, BUSY))
        return;
    snapshot = slot->snapshot;
    slot->snapshot = NULL;
    atomic_fetch_sub(&slot->state, BUSY);
    destroy(snapshot);
}

/* Puts a snapshot into a free slot, pinned once; -1 if all are taken. */
static int place(fs_avail_snapshot_t *snapshot)
{
    for (int i = 0; i < SLOTS; i++) {
        uint64_t expected = 0;

        if (!atomic_compare_exchange_strong(&self.slots[i].state, &expected, BUSY))
            continue;
        self.slots[i].snapshot = snapshot;
        atomic_fetch_add(&self.slots[i].state, OPEN - BUSY + 1);
        return i;
    }
    return -1;
}

/* What requests look at first. The publication is named, so that an older one can't hide it. */
static void note_quiet(const fs_avail_snapshot_t *snapshot)
{
    fs_usec_t until = INT64_MAX;

    if (snapshot->any) {
        atomic_store(&self.quiet, NOT_QUIET);
        return;
    }
    if (snapshot->change != INT64_MAX)
        until = fs_time_mono() + (snapshot->change - fs_avail_now()) - EDGE;
    atomic_store(&self.quiet_until, until);
    atomic_store(&self.quiet, snapshot->avail->asked_for);
}

static void install(fs_avail_snapshot_t *snapshot, fs_avail_pin_t *pin)
{
    int before;

    pin->snapshot = snapshot;
    pin->slot = place(snapshot);
    atomic_store(&self.late, snapshot->late);
    note_quiet(snapshot);
    if (pin->slot < 0)
        return;
    before = atomic_exchange(&self.current, pin->slot);
    if (before >= 0)
        leave(&self.slots[before], OPEN);
}

static int pin_current(fs_avail_pin_t *pin)
{
    pin->slot = atomic_load(&self.current);
    pin->snapshot = NULL;
    if (pin->slot < 0)
        return 0;
    if (atomic_fetch_add(&self.slots[pin->slot].state, 1) & OPEN) {
        pin->snapshot = self.slots[pin->slot].snapshot;
        return 1;
    }
    leave(&self.slots[pin->slot], 1);
    return 0;
}

/* It was made of the publication that counts, and no window began or ended since. */
static int holds(const fs_avail_snapshot_t *snapshot)
{
    uint64_t generation = fs_avail_generation(self.reader);
    fs_usec_t now;

    if (snapshot->avail->asked_for != generation && atomic_load(&self.failed) != generation)
        return 0;
    if (snapshot->change == INT64_MAX)
        return 1;
    now = fs_avail_now();
    return now >= snapshot->made && now < snapshot->change;
}

void fs_avail_pin(fs_avail_pin_t *pin)
{
    uint64_t generation = fs_avail_generation(self.reader);
    fs_avail_snapshot_t *snapshot;

    for (int tries = 0; tries < PIN_TRIES; tries++) {
        if (!pin_current(pin)) {
            if (atomic_load(&self.current) >= 0)
                continue; /* it was replaced meanwhile */
            if (atomic_load(&self.failed) && atomic_load(&self.failed) == generation)
                return; /* nothing was ever read, and the helper tries each second */
            break;
        }
        if (holds(pin->snapshot))
            return;
        fs_avail_unpin(pin);
        break;
    }
    snapshot = make_snapshot();
    if (snapshot)
        install(snapshot, pin);
    else if (!pin_current(pin))
        pin->snapshot = NULL;
}

void fs_avail_unpin(fs_avail_pin_t *pin)
{
    if (!pin->snapshot)
        return;
    if (pin->slot < 0)
        destroy((fs_avail_snapshot_t *)pin->snapshot);
    else
        leave(&self.slots[pin->slot], 1);
    pin->snapshot = NULL;
}

/* --- telling ------------------------------------------------------------------------------------
 */

const fs_avail_rule_t *fs_avail_decisive(const fs_avail_plan_t *plan)
{
    const fs_avail_rule_t *degraded = NULL;

    for (int i = 0; i < plan->count; i++) {
        const fs_avail_rule_t *rule = plan->rules[i];

        if (rule->condition)
            continue;
        if (rule->notice->state == FS_NOTICE_DOWN)
            return rule;
        if (rule->notice->state == FS_NOTICE_UP)
            break;
        if (!degraded)
            degraded = rule;
    }
    return degraded;
}

const char *fs_avail_state(const char *application)
{
    const fs_avail_rule_t *rule = NULL;
    fs_avail_pin_t pin;
    const char *state;
    int index;

    if (!self.applications)
        return "";
    index = fs_avail_application_find(self.child->server, application);
    if (index < 0)
        return "";
    if (fs_avail_quiet())
        return "up";
    fs_avail_pin(&pin);
    if (pin.snapshot)
        rule = fs_avail_decisive(&pin.snapshot->plans[index]);
    state = rule ? fs_notice_state_name(rule->notice->state) : "up";
    fs_avail_unpin(&pin);
    return state;
}

const char *fs_avail_trouble(apr_pool_t *pool)
{
    const char *trouble = NULL;
    fs_avail_pin_t pin;

    if (!self.applications)
        return NULL;
    fs_avail_pin(&pin);
    if (!pin.snapshot)
        trouble = "the notices can't be read";
    else if (pin.snapshot->avail->generation != fs_avail_generation(self.reader))
        trouble = apr_psprintf(pool,
                               "publication %" PRIu64 " of the notices is damaged; those of "
                               "publication %" PRIu64 " stay in force",
                               fs_avail_generation(self.reader), pin.snapshot->avail->generation);
    fs_avail_unpin(&pin);
    return trouble;
}

static const char *end_text(const fs_avail_rule_t *rule, char text[FS_TIME_TEXT_SIZE])
{
    return rule->end ? fs_time_format(rule->end, text) : "further notice";
}

/* Logs what changed for an application, once for all processes of this host. */
static void tell_change(const fs_avail_plan_t *plan, const char *name)
{
    const fs_avail_rule_t *rule = fs_avail_decisive(plan);
    fs_avail_marks_t *marks = fs_avail_marks(self.reader, name);
    int64_t state = rule ? (int64_t)rule->notice->state + 1 : 0, told = atomic_load(&marks->state);
    char text[FS_TIME_TEXT_SIZE];

    if (state == told || !atomic_compare_exchange_strong(&marks->state, &told, state))
        return;
    atomic_store(&marks->told, fs_avail_now());
    if (rule)
        ap_log_error(APLOG_MARK, APLOG_NOTICE, 0, self.child->server,
                     "FS1522: application %s is %s here (%s) until %s: notice %s/%s of %s %s", name,
                     fs_notice_state_name(rule->notice->state), fs_notice_reason(rule->notice),
                     end_text(rule, text), rule->notice->application, fs_notice_id(rule->notice),
                     fs_notice_role_name(rule->notice->role),
                     rule->notice->who ? rule->notice->who : "unnamed");
    else
        ap_log_error(APLOG_MARK, APLOG_NOTICE, 0, self.child->server,
                     "FS1523: application %s is up here again", name);
}

/* --- the helper's part --------------------------------------------------------------------------
 */

static void answer_asked(void)
{
    ap_expr_info_t *info;
    apr_pool_t *pool;
    uint32_t ticket;
    char *condition = fs_avail_asked(self.reader, &ticket);

    if (!condition)
        return;
    pool = own_pool();
    if (pool) {
        fs_avail_answer(self.reader, ticket, compile(pool, condition, &info));
        apr_pool_destroy(pool);
    }
    free(condition);
}

void fs_avail_follow(void)
{
    fs_avail_pin_t pin;

    if (!self.reader)
        return;
    fs_avail_refresh(self.reader);
    answer_asked();
    if (!self.applications)
        return;
    /* What couldn't be read a second ago is tried again. */
    atomic_store(&self.failed, 0);
    fs_avail_pin(&pin);
    if (pin.snapshot) {
        note_quiet(pin.snapshot);
        for (int i = 0; i < self.applications; i++)
            tell_change(&pin.snapshot->plans[i], fs_avail_application(self.child->server, i)->name);
    }
    fs_avail_unpin(&pin);
}

static void add_concerned(apr_pool_t *pool, const char *name, int index)
{
    apr_array_header_t *indexes = apr_hash_get(self.concerned, name, APR_HASH_KEY_STRING);

    if (!indexes) {
        indexes = apr_array_make(pool, 1, sizeof(int));
        apr_hash_set(self.concerned, name, APR_HASH_KEY_STRING, indexes);
    }
    APR_ARRAY_PUSH(indexes, int) = index;
}

void fs_avail_child_init(const fs_child_t *child, apr_pool_t *pchild)
{
    int count = fs_avail_application_count(child->server);
    fs_result_t result;

    self.child = child;
    self.concerned = apr_hash_make(pchild);
    self.everyone = apr_array_make(pchild, count + 1, sizeof(int));
    for (int i = 0; i < count; i++) {
        const fs_avail_application_t *application = fs_avail_application(child->server, i);

        APR_ARRAY_PUSH(self.everyone, int) = i;
        add_concerned(pchild, application->name, i);
        for (int j = 0; application->uses && j < application->uses->nelts; j++)
            add_concerned(pchild, APR_ARRAY_IDX(application->uses, j, const char *), i);
    }
    if (fs_avail_open_reader(&self.reader, child->settings->state_dir, &result)) {
        ap_log_error(APLOG_MARK, APLOG_CRIT, result.status, child->server, "%s: %s", result.problem,
                     result.detail);
        return;
    }
    self.applications = count;
}
