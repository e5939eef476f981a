/* SPDX-License-Identifier: Apache-2.0 */
#include "avail_state.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>

#include "avail.h"
#include "avail_condition.h"
#include "avail_settings.h"
#include "base/fs_log.h"
#include "module.h"

#define SLOTS     8
#define OPEN      (UINT64_C(1) << 63)
#define BUSY      (UINT64_C(1) << 62)
#define NOT_QUIET UINT64_MAX
#define EDGE      (2 * FS_USEC_PER_SEC) /* before a window's start, requests look for themselves */
#define PIN_TRIES 4

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
    _Atomic int late;
    fs_usec_t told; /* the snapshot, by its moment, whose changes the helper has logged */
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
    fs_avail_snapshot_destroy(snapshot);
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
    snapshot = fs_avail_snapshot_make(fs_avail_now());
    if (snapshot) {
        install(snapshot, pin);
        return;
    }
    atomic_store(&self.failed, generation);
    if (!pin_current(pin))
        pin->snapshot = NULL;
}

void fs_avail_unpin(fs_avail_pin_t *pin)
{
    if (!pin->snapshot)
        return;
    if (pin->slot < 0)
        fs_avail_snapshot_destroy((fs_avail_snapshot_t *)pin->snapshot);
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
    pool = fs_avail_condition_pool();
    if (pool) {
        fs_avail_answer(self.reader, ticket, fs_avail_condition_compile(pool, condition, &info));
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
        for (int i = 0; i < self.applications && pin.snapshot->made != self.told; i++)
            tell_change(&pin.snapshot->plans[i], fs_avail_application(self.child->server, i)->name);
        self.told = pin.snapshot->made;
    }
    fs_avail_unpin(&pin);
}

void fs_avail_child_init(const fs_child_t *child, apr_pool_t *pchild)
{
    fs_result_t result;

    self.child = child;
    if (fs_avail_open_reader(&self.reader, child->settings->state_dir, &result)) {
        ap_log_error(APLOG_MARK, APLOG_CRIT, result.status, child->server, "%s: %s", result.problem,
                     result.detail);
        return;
    }
    fs_avail_snapshot_init(child->server, self.reader, pchild);
    self.applications = fs_avail_application_count(child->server);
}
