/* SPDX-License-Identifier: Apache-2.0 */
#include "health.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "sync/fs_cycle.h"

#define SILENT_AFTER (5 * FS_USEC_PER_SEC) /* the database thread hears from it each 250 ms */
#define LATE_AFTER   (5 * FS_USEC_PER_SEC) /* after an activation by which it should be promoted */

static void look_at_database(fs_service_t *service, fs_health_t *health)
{
    fs_database_facts_t database;
    fs_usec_t silent;

    fs_board_database(service->board, &database);
    silent = fs_time_mono() - (database.answered ? database.answered : service->started);
    if (!database.up && database.problem.problem[0])
        fs_health_find(health, 1, "", "FS0830", "the database is away for %lld s: %s: %s",
                       (long long)(silent / FS_USEC_PER_SEC), database.problem.problem,
                       database.problem.detail);
    else if (!database.up || silent > SILENT_AFTER)
        fs_health_find(health, 1, "", "FS0845", "the database has not answered for %lld s",
                       (long long)(silent / FS_USEC_PER_SEC));
    if (!fs_board_farm_time(service->board))
        fs_health_find(health, 1, "", "FS0832", "farm time isn't known here yet");
}

static void look_at_group(fs_health_t *health, const fs_group_facts_t *facts,
                          const fs_published_t *published, fs_usec_t now)
{
    const fs_manifest_t *manifest;

    if (facts->image_problem.problem[0])
        fs_health_find(health, 1, facts->name, facts->image_problem.problem, "%s",
                       facts->image_problem.detail);
    else if (facts->images_missing)
        fs_health_find(health, 0, facts->name, "FS0846", "%u images are still being made here",
                       facts->images_missing);
    if (facts->promotion_problem.problem[0])
        fs_health_find(health, 0, facts->name, facts->promotion_problem.problem, "%s",
                       facts->promotion_problem.detail);
    if (!published)
        return;
    manifest = published->manifest;
    if (manifest->pinned_version)
        fs_health_find(health, 0, facts->name, "FS0891", "nothing is promoted: %s",
                       manifest->reason);
    else if (manifest->state == FS_GROUP_FAILED)
        fs_health_find(health, 0, facts->name, "FS0847",
                       "the last promotion was refused, the farm stays on version %lld: %s",
                       (long long)manifest->staged.version, manifest->reason);
    else if (manifest->state == FS_GROUP_WAITING && manifest->reason[0])
        fs_health_find(health, 0, facts->name, "FS0876", "the activation is put off: %s",
                       manifest->reason);
    else if (manifest->state == FS_GROUP_RUNNING && now > manifest->activation_time + LATE_AFTER)
        fs_health_find(health, 0, facts->name, "FS0848",
                       "nobody has promoted it for %lld s after its activation%s",
                       (long long)((now - manifest->activation_time) / FS_USEC_PER_SEC),
                       facts->promoting ? "; a promotion is under way here" : "");
}

fs_health_t *fs_health_look(fs_service_t *service)
{
    fs_health_t *health = calloc(1, sizeof(*health));
    fs_group_facts_t facts[FS_BOARD_GROUPS];
    fs_published_t *published[FS_BOARD_GROUPS];
    fs_usec_t now = fs_board_farm_time(service->board);
    unsigned count;

    if (!health)
        return NULL;
    health->ok = 1;
    look_at_database(service, health);
    fs_bank_find(service, health);
    count = fs_board_groups(service->board, facts, published);
    for (unsigned i = 0; i < count; i++) {
        look_at_group(health, &facts[i], published[i], now);
        fs_published_drop(published[i]);
    }
    return health;
}

/* Adds a finding to "problems" or "warnings". Text that isn't UTF-8 is left out rather than the
 * finding. */
static void add_finding(json_t *answer, const fs_finding_t *finding)
{
    json_t *list = json_object_get(answer, finding->failing ? "problems" : "warnings");
    json_t *item = json_object();

    json_object_set_new(item, "problem", json_string(finding->what.problem));
    if (finding->group[0])
        json_object_set_new(item, "group", json_string(finding->group));
    json_object_set_new(item, "detail", json_string(finding->what.detail));
    json_array_append_new(list, item);
}

void fs_service_health(void *baton, fs_http_call_t *call)
{
    fs_service_t *service = baton;
    fs_health_t *health = fs_health_look(service);
    json_t *answer = json_object();
    char *text;
    int status;

    if (!health) {
        json_decref(answer);
        fs_http_call_answer(call, 503, NULL, NULL, 0);
        return;
    }
    status = health->ok ? 200 : 503;
    json_object_set_new(answer, "status", json_string(health->ok ? "ok" : "failing"));
    json_object_set_new(answer, "name", json_string(service->name));
    json_object_set_new(answer, "problems", json_array());
    json_object_set_new(answer, "warnings", json_array());
    for (unsigned i = 0; i < health->count; i++)
        add_finding(answer, &health->findings[i]);
    text = json_dumps(answer, JSON_INDENT(2));
    service->counts.pages++;
    fs_http_call_set_header(call, "Cache-Control", "no-store");
    fs_http_call_answer(call, status, "application/json", text, text ? strlen(text) : 0);
    free(text);
    json_decref(answer);
    free(health);
}
