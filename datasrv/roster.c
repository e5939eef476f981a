/* SPDX-License-Identifier: Apache-2.0 */
#include "roster.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct fs_roster_t {
    pthread_mutex_t lock; /* guards everything below */
    unsigned count;
    fs_member_t *members[FS_ROSTER_MEMBERS]; /* ordered by name, then group */
};

fs_roster_t *fs_roster_create(void)
{
    fs_roster_t *roster = calloc(1, sizeof(*roster));

    if (roster)
        pthread_mutex_init(&roster->lock, NULL);
    return roster;
}

void fs_roster_destroy(fs_roster_t *roster)
{
    if (!roster)
        return;
    for (unsigned i = 0; i < roster->count; i++)
        free(roster->members[i]);
    pthread_mutex_destroy(&roster->lock);
    free(roster);
}

static int compare(const fs_member_t *a, const fs_member_t *b)
{
    int order = strcmp(a->name, b->name);

    return order ? order : strcmp(a->group, b->group);
}

/* First place whose member is not before `member`. Lock held. */
static unsigned place_of(const fs_roster_t *roster, const fs_member_t *member)
{
    unsigned low = 0, high = roster->count;

    while (low < high) {
        unsigned middle = low + (high - low) / 2;

        if (compare(roster->members[middle], member) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Two servers of one name would take turns in one row of the farm: said where people look. */
static void tell_namesake(fs_member_t *member, const char *other)
{
    if (other[0] && member->address[0] && strcmp(other, member->address) != 0)
        snprintf(
            member->problem, sizeof(member->problem),
            "FS0899: two servers report by this name, %.80s and %.80s; give each a FarmSyncServer "
            "of its own",
            other, member->address);
}

/* Lock held. `newer`: replaces what is there. */
static int put(fs_roster_t *roster, const fs_member_t *member, int newer)
{
    unsigned place = place_of(roster, member);
    fs_member_t *made;

    if (place < roster->count && !compare(roster->members[place], member)) {
        if (newer) {
            fs_member_t before = *roster->members[place];

            *roster->members[place] = *member;
            tell_namesake(roster->members[place], before.address);
        }
        return 1;
    }
    if (roster->count == FS_ROSTER_MEMBERS || !(made = malloc(sizeof(*made))))
        return 0;
    *made = *member;
    memmove(&roster->members[place + 1], &roster->members[place],
            (roster->count - place) * sizeof(roster->members[0]));
    roster->members[place] = made;
    roster->count++;
    return 1;
}

int fs_roster_put(fs_roster_t *roster, const fs_member_t *member)
{
    int done;

    pthread_mutex_lock(&roster->lock);
    done = put(roster, member, 1);
    pthread_mutex_unlock(&roster->lock);
    return done;
}

unsigned fs_roster_take(fs_roster_t *roster, fs_member_t **members)
{
    unsigned count;

    pthread_mutex_lock(&roster->lock);
    count = roster->count;
    *members = count ? malloc(count * sizeof(**members)) : NULL;
    if (!*members)
        count = 0;
    for (unsigned i = 0; i < count; i++) {
        (*members)[i] = *roster->members[i];
        free(roster->members[i]);
    }
    if (count)
        roster->count = 0;
    pthread_mutex_unlock(&roster->lock);
    return count;
}

void fs_roster_give_back(fs_roster_t *roster, fs_member_t *members, unsigned count)
{
    pthread_mutex_lock(&roster->lock);
    for (unsigned i = 0; i < count; i++)
        put(roster, &members[i], 0);
    pthread_mutex_unlock(&roster->lock);
    free(members);
}
