/* SPDX-License-Identifier: Apache-2.0 */
#include "avail_snapshot.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>

#include <apr_hash.h>
#include <apr_strings.h>

#include "avail_condition.h"
#include "avail_settings.h"
#include "module.h"

#define TEXT_LIMIT 8192 /* of the list of what can't be used */

/* Set once, before the first snapshot. */
static struct {
    server_rec *server;
    const fs_avail_reader_t *reader;
    int applications;
    apr_hash_t *concerned; /* name in a notice -> indexes of applications, an array of int */
    apr_array_header_t *everyone;
    _Atomic uint64_t said; /* the publication that was last logged as damaged */
} self;

static void add_concerned(apr_pool_t *pool, const char *name, int index)
{
    apr_array_header_t *indexes = apr_hash_get(self.concerned, name, APR_HASH_KEY_STRING);

    if (!indexes) {
        indexes = apr_array_make(pool, 1, sizeof(int));
        apr_hash_set(self.concerned, name, APR_HASH_KEY_STRING, indexes);
    }
    APR_ARRAY_PUSH(indexes, int) = index;
}

void fs_avail_snapshot_init(server_rec *main_server, const fs_avail_reader_t *reader,
                            apr_pool_t *pool)
{
    self.server = main_server;
    self.reader = reader;
    self.applications = fs_avail_application_count(main_server);
    self.concerned = apr_hash_make(pool);
    self.everyone = apr_array_make(pool, self.applications + 1, sizeof(int));
    for (int i = 0; i < self.applications; i++) {
        const fs_avail_application_t *application = fs_avail_application(main_server, i);

        APR_ARRAY_PUSH(self.everyone, int) = i;
        add_concerned(pool, application->name, i);
        for (int j = 0; application->uses && j < application->uses->nelts; j++)
            add_concerned(pool, APR_ARRAY_IDX(application->uses, j, const char *), i);
    }
}

void fs_avail_snapshot_destroy(fs_avail_snapshot_t *snapshot)
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
                fs_avail_marks(self.reader, fs_avail_application(self.server, index)->name);
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
        notice->condition
            ? fs_avail_condition_compile(snapshot->pool, notice->condition, &condition)
            : NULL;

    if (problem) {
        snapshot->unusable[snapshot->unusable_count++] =
            (fs_avail_unusable_t){notice, apr_pstrdup(snapshot->pool, problem)};
        return 0;
    }
    fs_window_at(&notice->window, snapshot->made, &at);
    if (at.change < snapshot->change)
        snapshot->change = at.change;
    *rule = (fs_avail_rule_t){notice, condition,
                              condition && fs_avail_condition_is_late(notice->condition), at.start,
                              at.end};
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
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, self.server,
                     "FS1521: notice %s has no effect on this server: httpd doesn't understand its "
                     "condition \"%s\": %s; load the module that it needs, or tell it anew",
                     key, unusable->notice->condition, unusable->problem);
        if (strlen(list) < TEXT_LIMIT)
            list = apr_pstrcat(snapshot->pool, list, key, ": ", unusable->problem, "\n", NULL);
    }
    fs_avail_set_problems(self.reader, generation, list);
}

fs_avail_snapshot_t *fs_avail_snapshot_make(fs_usec_t now)
{
    uint64_t generation = fs_avail_generation(self.reader);
    fs_avail_snapshot_t *snapshot;
    fs_result_t result;
    fs_avail_t *avail;
    apr_pool_t *pool;

    if (fs_avail_read(self.reader, &avail, &result)) {
        if (atomic_exchange(&self.said, generation) != generation)
            ap_log_error(APLOG_MARK, APLOG_ERR, result.status, self.server, "%s: %s",
                         result.problem, result.detail);
        return NULL;
    }
    pool = fs_avail_condition_pool();
    if (!pool) {
        fs_avail_free(avail);
        return NULL;
    }
    if (avail->generation != avail->asked_for &&
        atomic_exchange(&self.said, avail->asked_for) != avail->asked_for)
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, self.server,
                     "%s: %s; the notices of publication %" PRIu64 " stay in force", result.problem,
                     result.detail, avail->generation);
    snapshot = apr_pcalloc(pool, sizeof(*snapshot));
    snapshot->pool = pool;
    snapshot->avail = avail;
    snapshot->made = now;
    snapshot->change = INT64_MAX;
    make_plans(snapshot);
    tell_unusable(snapshot);
    return snapshot;
}
