/* SPDX-License-Identifier: Apache-2.0 */
#include "board.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct entry_t {
    fs_group_facts_t facts;
    fs_published_t *current; /* NULL until the database was read */
    fs_published_t **former; /* [former_count], the newest last */
    unsigned former_count;
} entry_t;

struct fs_board_t {
    pthread_mutex_t lock; /* guards everything below */
    fs_farm_clock_t clock;
    fs_database_facts_t database;
    unsigned keep;
    int listed;
    unsigned count;
    entry_t *entries[FS_BOARD_GROUPS]; /* ordered by name */
};

fs_board_t *fs_board_create(unsigned keep_versions)
{
    fs_board_t *board = calloc(1, sizeof(*board));

    if (!board)
        return NULL;
    pthread_mutex_init(&board->lock, NULL);
    fs_farm_clock_init(&board->clock);
    board->keep = keep_versions;
    return board;
}

static void entry_free(entry_t *entry)
{
    fs_published_drop(entry->current);
    for (unsigned i = 0; i < entry->former_count; i++)
        fs_published_drop(entry->former[i]);
    free(entry->former);
    free(entry);
}

void fs_board_destroy(fs_board_t *board)
{
    if (!board)
        return;
    for (unsigned i = 0; i < board->count; i++)
        entry_free(board->entries[i]);
    pthread_mutex_destroy(&board->lock);
    free(board);
}

void fs_board_set_keep(fs_board_t *board, unsigned keep_versions)
{
    pthread_mutex_lock(&board->lock);
    board->keep = keep_versions;
    pthread_mutex_unlock(&board->lock);
}

/* --- farm time ---------------------------------------------------------------------------------
 */

void fs_board_set_clock(fs_board_t *board, const fs_farm_clock_t *clock)
{
    pthread_mutex_lock(&board->lock);
    board->clock = *clock;
    pthread_mutex_unlock(&board->lock);
}

int fs_board_clock(fs_board_t *board, fs_usec_t now, fs_usec_t *offset, fs_usec_t *bound,
                   char source[64])
{
    int known;

    pthread_mutex_lock(&board->lock);
    known = fs_farm_clock_read(&board->clock, now, offset, bound);
    if (source)
        snprintf(source, 64, "%s", known ? board->clock.source : "");
    pthread_mutex_unlock(&board->lock);
    return known;
}

fs_usec_t fs_board_farm_time(fs_board_t *board)
{
    fs_usec_t now = fs_time_mono(), offset, bound;

    return fs_board_clock(board, now, &offset, &bound, NULL) ? now + offset : 0;
}

/* --- the database ------------------------------------------------------------------------------
 */

void fs_board_database_answered(fs_board_t *board)
{
    pthread_mutex_lock(&board->lock);
    board->database.answered = fs_time_mono();
    pthread_mutex_unlock(&board->lock);
}

void fs_board_database_polled(fs_board_t *board, fs_usec_t asked)
{
    pthread_mutex_lock(&board->lock);
    board->database.polled = asked;
    pthread_mutex_unlock(&board->lock);
}

int fs_board_database_up(fs_board_t *board)
{
    int changed;

    pthread_mutex_lock(&board->lock);
    changed = !board->database.up;
    board->database.up = 1;
    board->database.ever_up = 1;
    board->database.connects++;
    board->database.answered = fs_time_mono();
    fs_result_clear(&board->database.problem);
    pthread_mutex_unlock(&board->lock);
    return changed;
}

int fs_board_database_away(fs_board_t *board, const fs_result_t *why)
{
    int changed;

    pthread_mutex_lock(&board->lock);
    changed = board->database.up || !board->database.failures;
    board->database.up = 0;
    board->database.failures++;
    board->database.problem = *why;
    pthread_mutex_unlock(&board->lock);
    return changed;
}

void fs_board_database(fs_board_t *board, fs_database_facts_t *facts)
{
    pthread_mutex_lock(&board->lock);
    *facts = board->database;
    pthread_mutex_unlock(&board->lock);
}

/* --- groups ------------------------------------------------------------------------------------
 */

/* Index of the group, or -1 with *place where it would be put. Lock held. */
static int index_of(const fs_board_t *board, const char *group, unsigned *place)
{
    unsigned i = 0;

    while (i < board->count && strcmp(board->entries[i]->facts.name, group) < 0)
        i++;
    if (place)
        *place = i;
    return i < board->count && !strcmp(board->entries[i]->facts.name, group) ? (int)i : -1;
}

int fs_board_add(fs_board_t *board, const char *group)
{
    unsigned place;
    int added = 1;

    pthread_mutex_lock(&board->lock);
    if (index_of(board, group, &place) < 0) {
        entry_t *entry = board->count < FS_BOARD_GROUPS ? calloc(1, sizeof(*entry)) : NULL;

        if (entry) {
            snprintf(entry->facts.name, sizeof(entry->facts.name), "%s", group);
            memmove(&board->entries[place + 1], &board->entries[place],
                    (board->count - place) * sizeof(*board->entries));
            board->entries[place] = entry;
            board->count++;
        }
        added = entry != NULL;
    }
    pthread_mutex_unlock(&board->lock);
    return added;
}

void fs_board_remove(fs_board_t *board, const char *group)
{
    unsigned place;

    pthread_mutex_lock(&board->lock);
    if (index_of(board, group, &place) >= 0) {
        entry_free(board->entries[place]);
        board->count--;
        memmove(&board->entries[place], &board->entries[place + 1],
                (board->count - place) * sizeof(*board->entries));
    }
    pthread_mutex_unlock(&board->lock);
}

void fs_board_set_listed(fs_board_t *board)
{
    pthread_mutex_lock(&board->lock);
    board->listed = 1;
    pthread_mutex_unlock(&board->lock);
}

int fs_board_listed(fs_board_t *board)
{
    int listed;

    pthread_mutex_lock(&board->lock);
    listed = board->listed;
    pthread_mutex_unlock(&board->lock);
    return listed;
}

static int has_version(const fs_published_t *published, int64_t version)
{
    return published->manifest->active.version == version ||
           published->manifest->staged.version == version;
}

/* The newest `keep` former manifests stay, each with a version that the ones after it lack. Lock
 * held. */
static void keep_former(fs_board_t *board, entry_t *entry, fs_published_t *former)
{
    fs_published_t **more;

    if (!board->keep || !former || former->manifest->active.version <= 0 ||
        has_version(entry->current, former->manifest->active.version)) {
        fs_published_drop(former);
    } else if ((more = realloc(entry->former, (entry->former_count + 1) * sizeof(*more)))) {
        entry->former = more;
        entry->former[entry->former_count++] = former;
    } else {
        fs_published_drop(former);
    }
    while (entry->former_count > board->keep) {
        fs_published_drop(entry->former[0]);
        entry->former_count--;
        memmove(&entry->former[0], &entry->former[1], entry->former_count * sizeof(*entry->former));
    }
}

void fs_board_publish(fs_board_t *board, const char *group, fs_published_t *published)
{
    int index;

    pthread_mutex_lock(&board->lock);
    index = index_of(board, group, NULL);
    if (index >= 0) {
        entry_t *entry = board->entries[index];
        fs_published_t *former = entry->current;

        entry->current = published;
        keep_former(board, entry, former);
    } else {
        fs_published_drop(published);
    }
    pthread_mutex_unlock(&board->lock);
}

int fs_board_group(fs_board_t *board, const char *group, fs_published_t **published)
{
    int index;

    pthread_mutex_lock(&board->lock);
    index = index_of(board, group, NULL);
    *published = index >= 0 ? fs_published_hold(board->entries[index]->current) : NULL;
    pthread_mutex_unlock(&board->lock);
    return index >= 0;
}

void fs_board_set_facts(fs_board_t *board, const fs_group_facts_t *facts)
{
    int index;

    pthread_mutex_lock(&board->lock);
    index = index_of(board, facts->name, NULL);
    if (index >= 0)
        board->entries[index]->facts = *facts;
    pthread_mutex_unlock(&board->lock);
}

unsigned fs_board_groups(fs_board_t *board, fs_group_facts_t facts[FS_BOARD_GROUPS],
                         fs_published_t *published[FS_BOARD_GROUPS])
{
    unsigned count;

    pthread_mutex_lock(&board->lock);
    count = board->count;
    for (unsigned i = 0; i < count; i++) {
        facts[i] = board->entries[i]->facts;
        published[i] = fs_published_hold(board->entries[i]->current);
    }
    pthread_mutex_unlock(&board->lock);
    return count;
}

static int entry_names(const entry_t *entry, const fs_digest_t *digest, int kept)
{
    if (entry->current && fs_published_names(entry->current, digest))
        return 1;
    for (unsigned i = 0; kept && i < entry->former_count; i++)
        if (fs_published_names(entry->former[i], digest))
            return 1;
    return 0;
}

int fs_board_names(fs_board_t *board, const fs_digest_t *digest, int kept)
{
    int names = 0;

    pthread_mutex_lock(&board->lock);
    for (unsigned i = 0; i < board->count && !names; i++)
        names = entry_names(board->entries[i], digest, kept);
    pthread_mutex_unlock(&board->lock);
    return names;
}

int fs_board_complete(fs_board_t *board)
{
    int complete;

    pthread_mutex_lock(&board->lock);
    complete = board->listed && board->count > 0;
    for (unsigned i = 0; i < board->count && complete; i++)
        complete = board->entries[i]->current != NULL;
    pthread_mutex_unlock(&board->lock);
    return complete;
}
