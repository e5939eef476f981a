/* SPDX-License-Identifier: Apache-2.0 */
#include "self.h"

#include <apr_strings.h>
#include <stdio.h>
#include <string.h>

static int all_here(fs_store_t *store, const fs_manifest_version_t *version)
{
    if (version->version <= 0)
        return 0;
    for (unsigned i = 0; i < version->dataset_count; i++)
        if (!fs_store_has(store, &version->datasets[i].digest))
            return 0;
    return 1;
}

static void fill_versions(fs_member_t *member, const fs_published_t *published, fs_store_t *store,
                          fs_usec_t now)
{
    const fs_manifest_t *manifest = published->manifest;
    const fs_manifest_version_t *in_force = fs_manifest_in_force(manifest, now);
    const fs_manifest_version_t *staged = &manifest->staged;

    member->version_active = all_here(store, in_force) ? in_force->version : 0;
    member->version_staged = all_here(store, staged) ? staged->version : 0;
    if (member->version_active)
        fs_manifest_version_digest(in_force, member->digest);
}

/* "FS0855: ..." as far as it fits, cut between characters: JSON takes whole UTF-8 only. */
static void fill_problem(fs_member_t *member, const fs_result_t *problem)
{
    char text[FS_PROBLEM_SIZE + FS_DETAIL_SIZE + 2];
    size_t end;

    if (!problem->problem[0])
        return;
    snprintf(text, sizeof(text), "%s: %s", problem->problem, problem->detail);
    apr_cpystrn(member->problem, text, sizeof(member->problem));
    end = strlen(member->problem);
    if (end + 1 < sizeof(member->problem))
        return;
    while (end && ((unsigned char)member->problem[end - 1] & 0xc0) == 0x80)
        end--;
    if (end && (unsigned char)member->problem[end - 1] >= 0xc0)
        end--;
    member->problem[end] = '\0';
}

static void fill(fs_member_t *member, const fs_group_facts_t *facts,
                 const fs_published_t *published, const fs_worker_shared_t *shared,
                 const char *address)
{
    const fs_result_t *problem =
        facts->image_problem.problem[0] ? &facts->image_problem : &facts->promotion_problem;
    fs_usec_t now = fs_time_mono(), offset = 0;

    memset(member, 0, sizeof(*member));
    snprintf(member->name, sizeof(member->name), "%s", shared->who);
    snprintf(member->kind, sizeof(member->kind), "datasrv");
    memcpy(member->group, facts->name, sizeof(member->group));
    snprintf(member->address, sizeof(member->address), "%s", address);
    if (fs_board_clock(shared->board, now, &offset, &member->clock_bound, member->clock_source))
        member->clock_offset = now + offset - fs_time_wall();
    else
        member->clock_bound = -1;
    if (published)
        fill_versions(member, published, shared->store, now + offset);
    fill_problem(member, problem);
}

/* FNV-1a over what makes a row worth writing before its time. */
static uint64_t mix(uint64_t sum, const void *data, size_t length)
{
    const unsigned char *bytes = data;

    for (size_t i = 0; i < length; i++)
        sum = (sum ^ bytes[i]) * UINT64_C(1099511628211);
    return sum;
}

void fs_self_report(fs_self_t *self, const fs_worker_shared_t *shared, const char *address,
                    fs_roster_t *roster)
{
    fs_group_facts_t facts[FS_BOARD_GROUPS];
    fs_published_t *published[FS_BOARD_GROUPS];
    fs_member_t members[FS_BOARD_GROUPS];
    unsigned count = fs_board_groups(shared->board, facts, published);
    uint64_t sum = UINT64_C(14695981039346656037);
    fs_usec_t now = fs_time_mono();

    for (unsigned i = 0; i < count; i++) {
        fill(&members[i], &facts[i], published[i], shared, address);
        fs_published_drop(published[i]);
        sum = mix(sum, &members[i].version_active, sizeof(members[i].version_active));
        sum = mix(sum, &members[i].version_staged, sizeof(members[i].version_staged));
        sum = mix(sum, facts[i].name, strlen(facts[i].name));
        sum = mix(sum, members[i].problem, strnlen(members[i].problem, FS_PROBLEM_SIZE - 1));
    }
    if (sum == self->said && self->reported && now < self->reported + FS_SELF_EVERY)
        return;
    for (unsigned i = 0; i < count; i++)
        fs_roster_put(roster, &members[i]);
    self->said = sum;
    self->reported = now;
}
