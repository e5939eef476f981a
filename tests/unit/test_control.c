/* SPDX-License-Identifier: Apache-2.0 */
/* The control page, the choice of a version, published views and marks. */
#include "fs_test.h"

#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/fs_file.h"
#include "base/fs_log.h"
#include "control/fs_page.h"

static char *dir;
static fs_control_t *writer, *reader;
static fs_result_t result;

static void quiet(void *baton, fs_log_level_t level, const char *message)
{
    (void)baton;
    (void)level;
    (void)message;
}

static void open_both(void)
{
    fs_log_set(quiet, NULL, FS_LOG_ERROR);
    dir = fs_test_mkdir();
    ck_assert_int_eq(fs_control_open_writer(&writer, dir, &result), APR_SUCCESS);
    ck_assert_int_eq(fs_control_open_reader(&reader, dir, &result), APR_SUCCESS);
}

static void close_both(void)
{
    fs_control_close(reader);
    fs_control_close(writer);
    reader = writer = NULL;
    fs_test_rmdir(dir);
}

static void path_in(char path[512], const char *name)
{
    snprintf(path, 512, "%s/%s", dir, name);
}

static void set_group(const char *name, int64_t active, int64_t staged)
{
    fs_control_group_t group = {.active_version = active,
                                .staged_version = staged,
                                .active_view = (uint64_t)active,
                                .staged_view = (uint64_t)staged};

    snprintf(group.name, sizeof(group.name), "%s", name);
    ck_assert_int_eq(fs_control_set_group(writer, &group, &result), APR_SUCCESS);
}

/* --- the choice ---------------------------------------------------------------------------------
 */

/* Version 41 active (view 1), 42 staged (view 2), activation at 1000, stale from 2000. */
static fs_control_group_t plan(void)
{
    fs_control_group_t group = {.name = "default",
                                .active_version = 41,
                                .staged_version = 42,
                                .active_view = 1,
                                .staged_view = 2,
                                .activation_time = 1000,
                                .stale_after = 2000};
    return group;
}

static void expect(fs_control_group_t group, fs_usec_t farm, int known, int64_t floor,
                   uint64_t view, int64_t version, int stale)
{
    fs_choice_t choice = fs_control_choose(&group, farm, known, floor);

    ck_assert_uint_eq(choice.view, view);
    ck_assert_int_eq(choice.version, version);
    ck_assert_int_eq(choice.stale, stale);
}

START_TEST(choice_is_a_comparison_with_the_activation_time)
{
    expect(plan(), 999, 1, 0, 1, 41, 0);
    expect(plan(), 1000, 1, 0, 2, 42, 0);
    expect(plan(), 1999, 1, 42, 2, 42, 0);
}
END_TEST

START_TEST(choice_never_goes_below_what_the_host_has_served)
{
    expect(plan(), 990, 1, 42, 2, 42, 0); /* the clock was corrected backwards */
    expect(plan(), 990, 1, 41, 1, 41, 0);
    expect(plan(), 0, 0, 42, 2, 42, 1); /* restarted without a clock */
}
END_TEST

START_TEST(choice_of_a_floor_that_is_not_at_hand)
{
    fs_control_group_t group = plan();

    group.staged_view = 0; /* 42 was served and its file was lost */
    expect(group, 990, 1, 42, 1, 41, 1);
    expect(group, 1500, 1, 42, 1, 41, 1);
    /* A database that was set back: versions that are no more bind nobody. */
    expect(plan(), 990, 1, 100, 1, 41, 0);
    expect(plan(), 1000, 1, 100, 2, 42, 0);
}
END_TEST

START_TEST(choice_says_stale_when_something_newer_may_be_in_force)
{
    fs_control_group_t group = plan();

    expect(plan(), 2000, 1, 0, 2, 42, 1);
    group.stale_after = 0;
    expect(group, 9000, 1, 0, 2, 42, 0);
    group.staged_view = 0; /* not retrieved in time */
    expect(group, 999, 1, 0, 1, 41, 0);
    expect(group, 1000, 1, 0, 1, 41, 1);
}
END_TEST

START_TEST(choice_without_a_clock_keeps_to_the_active_version)
{
    expect(plan(), 5000, 0, 0, 1, 41, 1);
    expect(plan(), 5000, 0, 41, 1, 41, 1);
}
END_TEST

START_TEST(choice_when_nothing_is_here)
{
    fs_control_group_t group = plan();

    group.active_view = 0;
    expect(group, 999, 1, 0, 0, 0, 1); /* 42 is here, but not in force yet */
    expect(group, 1000, 1, 0, 2, 42, 0);
    group.staged_view = 0;
    expect(group, 1000, 1, 0, 0, 0, 1);
    memset(&group, 0, sizeof(group)); /* nothing was ever promoted */
    expect(group, 1000, 1, 0, 0, 0, 0);
    group.staged_version = 1; /* the first version waits for its time */
    group.staged_view = 5;
    group.activation_time = 1000;
    expect(group, 999, 1, 0, 0, 0, 0);
    expect(group, 999, 0, 0, 0, 0, 0);
    expect(group, 1000, 1, 0, 5, 1, 0);
}
END_TEST

START_TEST(choice_with_nothing_staged)
{
    fs_control_group_t group = plan();

    group.staged_version = 41;
    group.staged_view = 1;
    expect(group, 999, 1, 41, 1, 41, 0);
    expect(group, 1500, 1, 41, 1, 41, 0);
    group.staged_view = 0; /* an agent may leave it out: same version */
    expect(group, 1500, 1, 41, 1, 41, 0);
}
END_TEST

START_TEST(choice_of_a_pinned_group_is_the_operators)
{
    fs_control_group_t group = plan();

    group.pinned = FS_PIN_ACTIVE;
    expect(group, 999, 1, 0, 1, 41, 0);
    expect(group, 1999, 1, 42, 1, 41, 0);
    expect(group, 5000, 0, 42, 1, 41, 0);
    expect(group, 2000, 1, 42, 1, 41, 1); /* not heard for long: it may be pinned no more */
    group.active_view = 0;
    expect(group, 1999, 1, 42, 0, 0, 1);
}
END_TEST

START_TEST(choice_of_a_pinned_staged_version_waits_for_its_time)
{
    fs_control_group_t group = plan();

    group.pinned = FS_PIN_STAGED;
    expect(group, 999, 1, 0, 1, 41, 0);
    expect(group, 1000, 1, 0, 2, 42, 0);
    expect(group, 1999, 1, 42, 2, 42, 0);
    expect(group, 999, 0, 0, 1, 41, 1);
    group.staged_view = 0; /* was away when it was rolled back to */
    expect(group, 1000, 1, 0, 1, 41, 1);
}
END_TEST

START_TEST(farm_time_and_its_bound)
{
    fs_control_clock_t clock = {.state = FS_CLOCK_MEASURED,
                                .drift_ppm = 200,
                                .offset = 500,
                                .bound = 30,
                                .measured = 1000000};
    fs_usec_t farm, bound;

    ck_assert(fs_control_now(&clock, 1000000, &farm, &bound));
    ck_assert_int_eq(farm, 1000500);
    ck_assert_int_eq(bound, 30);
    ck_assert(fs_control_now(&clock, 11500000, &farm, &bound));
    ck_assert_int_eq(bound, 30 + 2100);
    ck_assert(fs_control_now(&clock, 1000001, &farm, &bound));
    ck_assert_int_eq(bound, 30 + 1);                          /* rounded up */
    ck_assert(fs_control_now(&clock, 500000, &farm, &bound)); /* another thread's older reading */
    ck_assert_int_eq(bound, 30 + 100);
    clock.state = FS_CLOCK_GUESSED;
    ck_assert(fs_control_now(&clock, 7, &farm, &bound));
    ck_assert_int_eq(farm, 507);
    ck_assert_int_eq(bound, INT64_MAX);
    clock.state = FS_CLOCK_NONE;
    ck_assert(!fs_control_now(&clock, 7, &farm, &bound));
    clock.state = 99;
    ck_assert(!fs_control_now(&clock, 7, &farm, &bound));
}
END_TEST

/* --- the page -----------------------------------------------------------------------------------
 */

START_TEST(page_carries_clock_group_and_agent)
{
    fs_control_clock_t clock = {.state = FS_CLOCK_MEASURED, .offset = -77, .source = "db1"}, seen;
    fs_control_group_t group;
    char server[FS_SERVER_SIZE];

    ck_assert(fs_control_attached(reader));
    ck_assert_int_eq(fs_control_group(reader, "default", &group), -1);
    ck_assert(fs_control_clock(reader, &seen));
    ck_assert_int_eq(seen.state, FS_CLOCK_NONE);
    ck_assert_int_eq(fs_control_agent(reader, server, sizeof(server)), 0);

    fs_control_set_clock(writer, &clock);
    fs_control_set_agent(writer, "web1", 4711);
    set_group("default", 41, 42);
    set_group("default_2", 1, 1);
    ck_assert(fs_control_clock(reader, &seen));
    ck_assert_int_eq(seen.offset, -77);
    ck_assert_str_eq(seen.source, "db1");
    ck_assert_int_eq(fs_control_agent(reader, server, sizeof(server)), 4711);
    ck_assert_str_eq(server, "web1");
    ck_assert_int_ge(fs_control_beaten(reader), 1);
    ck_assert_int_eq(fs_control_group(reader, "default", &group), 0);
    ck_assert_int_eq(group.staged_version, 42);
    ck_assert_int_eq(fs_control_group(reader, "default_2", &group), 1);
    ck_assert_int_eq(fs_control_group(reader, "default_", &group), -1);
    ck_assert_int_eq(fs_control_group(reader, "", &group), -1);
    ck_assert_int_eq(fs_control_group_at(reader, FS_CONTROL_GROUPS, &group), -1);
}
END_TEST

START_TEST(page_has_room_for_its_groups_and_says_when_full)
{
    const char *kept[] = {"g3", "g5"};
    fs_control_group_t group = {.name = "one-too-many"};
    char name[16];

    for (int i = 0; i < FS_CONTROL_GROUPS; i++) {
        snprintf(name, sizeof(name), "g%d", i);
        set_group(name, i + 1, i + 1);
    }
    ck_assert_int_ne(fs_control_set_group(writer, &group, &result), APR_SUCCESS);
    ck_assert_str_eq(result.problem, "FS0502");
    ck_assert_ptr_nonnull(strstr(result.detail, "one-too-many"));
    fs_control_keep_groups(writer, kept, 2);
    ck_assert_int_eq(fs_control_group(reader, "g4", &group), -1);
    ck_assert_int_eq(fs_control_group(reader, "g5", &group), 5);
    set_group("one-too-many", 1, 1);
    ck_assert_int_ge(fs_control_group(reader, "one-too-many", &group), 0);
    memset(group.name, 'x', sizeof(group.name)); /* no end of the name */
    ck_assert_int_ne(fs_control_set_group(writer, &group, &result), APR_SUCCESS);
}
END_TEST

START_TEST(generation_changes_with_what_matters_only)
{
    fs_control_group_t group = plan();
    fs_control_clock_t clock = {.state = FS_CLOCK_MEASURED};
    uint32_t before;

    fs_control_set_group(writer, &group, &result);
    fs_control_set_clock(writer, &clock);
    before = fs_control_generation(reader);
    fs_control_beat(writer);
    group.heard = 99;
    group.stale_after = 9999;
    fs_control_set_group(writer, &group, &result);
    clock.offset = 5;
    fs_control_set_clock(writer, &clock);
    ck_assert_uint_eq(fs_control_generation(reader), before);
    ck_assert_int_eq(fs_control_group(reader, "default", &group), 0);
    ck_assert_int_eq(group.heard, 99);
    group.staged_view = 7;
    fs_control_set_group(writer, &group, &result);
    ck_assert_uint_ne(fs_control_generation(reader), before);
}
END_TEST

START_TEST(waiter_in_another_process_wakes)
{
    uint32_t seen = fs_control_generation(reader);
    fs_usec_t begin = fs_time_mono();
    pid_t child = fork();
    int status;

    ck_assert_int_ge(child, 0);
    if (child == 0) {
        while (fs_control_generation(reader) == seen &&
               fs_time_mono() - begin < 20 * FS_USEC_PER_SEC)
            fs_control_wait(reader, seen, 20 * FS_USEC_PER_SEC);
        _exit(fs_control_generation(reader) == seen);
    }
    set_group("default", 1, 1);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), 0);
}
END_TEST

START_TEST(reader_without_a_page_waits_and_attaches)
{
    char path[512];
    fs_control_t *early;
    fs_control_group_t group;
    fs_control_clock_t clock;

    path_in(path, "elsewhere");
    ck_assert_int_eq(fs_control_open_reader(&early, path, &result), APR_SUCCESS);
    ck_assert(!fs_control_attached(early));
    ck_assert(APR_STATUS_IS_ENOENT(fs_control_diagnose(early, &result)));
    ck_assert_str_eq(result.problem, "FS0504");
    ck_assert_int_eq(fs_control_group(early, "default", &group), -1);
    ck_assert(!fs_control_clock(early, &clock));
    fs_control_wait(early, fs_control_generation(early), 1000);
    ck_assert_ptr_nonnull(fs_control_marks(early, 0)); /* private ones */
    atomic_fetch_add(&fs_control_marks(early, 0)->requests, 1);

    fs_control_close(writer);
    ck_assert_int_eq(fs_control_open_writer(&writer, path, &result), APR_SUCCESS);
    set_group("default", 3, 4);
    fs_control_refresh(early);
    ck_assert(fs_control_attached(early));
    ck_assert_int_eq(fs_control_group(early, "default", &group), 0);
    ck_assert_int_eq(fs_control_diagnose(early, &result), APR_SUCCESS);
    ck_assert_uint_eq(fs_control_marks(early, 0)->requests, 0); /* the shared ones */
    fs_control_close(early);
}
END_TEST

START_TEST(page_survives_the_agent_and_boot_resets_the_clock)
{
    fs_control_clock_t clock = {.state = FS_CLOCK_MEASURED, .offset = 9};
    fs_control_group_t group = plan();
    fs_agent_record_t agent;

    group.heard = 123;
    fs_control_set_agent(writer, "web1", 1);
    fs_control_set_clock(writer, &clock);
    fs_control_set_group(writer, &group, &result);
    fs_control_close(writer);
    ck_assert_int_eq(fs_control_open_writer(&writer, dir, &result), APR_SUCCESS);
    fs_control_clock(reader, &clock);
    ck_assert_int_eq(clock.state, FS_CLOCK_MEASURED);
    ck_assert_int_eq(fs_control_group(reader, "default", &group), 0);
    ck_assert_int_eq(group.heard, 123);

    ck_assert(FS_LOAD(fs_control_page(writer)->agent, &agent));
    agent.boot_id[0] = agent.boot_id[0] == 'x' ? 'y' : 'x';
    FS_STORE(fs_control_page(writer)->agent, &agent);
    fs_control_close(writer);
    ck_assert_int_eq(fs_control_open_writer(&writer, dir, &result), APR_SUCCESS);
    fs_control_clock(reader, &clock);
    ck_assert_int_eq(clock.state, FS_CLOCK_NONE);
    ck_assert_int_eq(fs_control_group(reader, "default", &group), 0);
    ck_assert_int_eq(group.heard, 0);
    ck_assert_int_eq(group.staged_version, 42);
    ck_assert_int_eq(fs_control_beaten(reader), 0);
}
END_TEST

/* Damages a file of the state directory by writing to, or cutting, a copy put in its place. */
static void replace_file(const char *name, const void *data, size_t length)
{
    char path[512];

    path_in(path, name);
    ck_assert_int_eq(fs_file_write(path, data, length, &result), APR_SUCCESS);
}

START_TEST(replaced_page_is_mapped_anew_and_a_damaged_one_is_not)
{
    static const char *const bad[] = {"", "FSCTL", "not a page at all"};
    fs_control_group_t group;
    char path[512], *data;
    size_t length;

    set_group("default", 41, 42);
    path_in(path, FS_CONTROL_FILE);
    ck_assert_int_eq(fs_file_read(path, 1 << 20, &data, &length, &result), APR_SUCCESS);
    for (unsigned i = 0; i < 3; i++) {
        fs_control_t *late;

        replace_file(FS_CONTROL_FILE, bad[i], strlen(bad[i]));
        fs_control_refresh(reader); /* goes on with what it has */
        ck_assert_int_eq(fs_control_group(reader, "default", &group), 0);
        ck_assert_int_eq(fs_control_open_reader(&late, dir, &result), APR_SUCCESS);
        ck_assert(!fs_control_attached(late));
        ck_assert_int_ne(fs_control_diagnose(late, &result), APR_SUCCESS);
        fs_control_close(late);
    }
    ((fs_page_head_t *)data)->layout++; /* another release's page of the same size */
    replace_file(FS_CONTROL_FILE, data, length);
    fs_control_refresh(reader);
    ck_assert_int_eq(fs_control_group(reader, "default", &group), 0);
    free(data);

    fs_control_close(writer); /* the agent comes back and makes it anew */
    ck_assert_int_eq(fs_control_open_writer(&writer, dir, &result), APR_SUCCESS);
    set_group("default", 50, 51);
    ck_assert_int_eq(fs_control_group(reader, "default", &group), 0);
    ck_assert_int_eq(group.active_version, 41); /* the old page, until refreshed */
    fs_control_refresh(reader);
    ck_assert_int_eq(fs_control_group(reader, "default", &group), 0);
    ck_assert_int_eq(group.active_version, 50);
}
END_TEST

START_TEST(group_text_without_an_end_is_cut_off)
{
    fs_control_group_t group;

    memset(&group, 'x', sizeof(group));
    FS_STORE(fs_control_page(writer)->groups[0], &group);
    ck_assert_int_eq(fs_control_group_at(reader, 0, &group), 0);
    ck_assert_uint_eq(strlen(group.name), sizeof(group.name) - 1);
    ck_assert_uint_eq(strlen(group.problem), sizeof(group.problem) - 1);
    ck_assert_uint_eq(strlen(group.detail), sizeof(group.detail) - 1);
}
END_TEST

START_TEST(writer_killed_half_way_leaves_the_record)
{
    fs_control_group_t group = plan();
    fs_control_page_t *page = fs_control_page(writer);
    uint64_t now;

    fs_control_set_group(writer, &group, &result);
    now = atomic_load(&page->groups[0].sequence);
    for (size_t i = 0; i < FS_WORDS(group) / 2; i++) /* half of the other copy */
        atomic_store(&page->groups[0].words[((now + 1) & 1) * FS_WORDS(group) + i], ~UINT64_C(0));
    ck_assert_int_eq(fs_control_group(reader, "default", &group), 0);
    ck_assert_int_eq(group.staged_version, 42);
    set_group("default", 43, 44);
    ck_assert_int_eq(fs_control_group(reader, "default", &group), 0);
    ck_assert_int_eq(group.staged_version, 44);
}
END_TEST

static atomic_int stop_readers;
static atomic_int torn;
static atomic_long reads;

static void *read_all_the_time(void *unused)
{
    fs_control_group_t group;

    (void)unused;
    while (!atomic_load(&stop_readers)) {
        if (fs_control_group_at(reader, 0, &group) < 0)
            continue;
        atomic_fetch_add(&reads, 1);
        if (group.staged_version != group.active_version + 1 ||
            group.activation_time != group.active_version ||
            group.detail[0] != (char)('a' + group.active_version % 26) ||
            group.detail[254] != group.detail[0])
            atomic_fetch_add(&torn, 1);
    }
    return NULL;
}

START_TEST(records_are_always_read_whole)
{
    pthread_t threads[3];
    fs_control_group_t group = plan();

    atomic_store(&stop_readers, 0);
    for (int i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, read_all_the_time, NULL);
    for (int64_t v = 0; v < 20000 || atomic_load(&reads) < 1000; v++) {
        group.active_version = v;
        group.staged_version = v + 1;
        group.activation_time = v;
        memset(group.detail, (char)('a' + v % 26), sizeof(group.detail) - 1);
        FS_STORE(fs_control_page(writer)->groups[0], &group);
    }
    atomic_store(&stop_readers, 1);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    ck_assert_int_eq(atomic_load(&torn), 0);
}
END_TEST

/* --- marks --------------------------------------------------------------------------------------
 */

START_TEST(marks_are_shared_by_children_and_survive_the_page)
{
    fs_control_t *other;
    char path[512];

    set_group("first", 1, 1);
    set_group("default", 41, 42);
    ck_assert_int_eq(fs_control_open_reader(&other, dir, &result), APR_SUCCESS);
    atomic_fetch_add(&fs_control_marks(other, 1)->requests, 5);
    ck_assert_uint_eq(fs_control_marks(reader, 1)->requests, 5);
    ck_assert_ptr_null(fs_control_marks(reader, FS_CONTROL_GROUPS));
    fs_control_close(other);

    /* The page is lost; the group finds its marks again although it now comes first. */
    fs_control_close(writer);
    path_in(path, FS_CONTROL_FILE);
    unlink(path);
    ck_assert_int_eq(fs_control_open_writer(&writer, dir, &result), APR_SUCCESS);
    set_group("default", 41, 42);
    set_group("other", 1, 1);
    fs_control_refresh(reader);
    fs_control_group_t group;
    int index = fs_control_group(reader, "default", &group);
    ck_assert_int_eq(index, 1);
    ck_assert_uint_eq(fs_control_marks(reader, (unsigned)index)->requests, 5);
    index = fs_control_group(reader, "other", &group);
    ck_assert_uint_eq(fs_control_marks(reader, (unsigned)index)->requests, 0);
}
END_TEST

START_TEST(marks_of_a_new_group_begin_at_zero)
{
    static const char *const none[] = {"gone"};
    fs_control_group_t group;
    char name[16];

    for (int i = 0; i < FS_CONTROL_GROUPS; i++) {
        snprintf(name, sizeof(name), "g%d", i);
        set_group(name, 1, 1);
        atomic_store(&fs_control_marks(reader, (unsigned)i)->floor, 99);
    }
    fs_control_keep_groups(writer, none, 0);
    set_group("g7", 1, 1);
    set_group("new", 1, 1);
    ck_assert_int_eq(fs_control_group(reader, "g7", &group), 7);
    ck_assert_int_eq(fs_control_marks(reader, 7)->floor, 99);
    int index = fs_control_group(reader, "new", &group);
    ck_assert_int_eq(fs_control_marks(reader, (unsigned)index)->floor, 0);
}
END_TEST

START_TEST(damaged_marks_fall_back_to_private_memory)
{
    char path[512];
    fs_control_t *other;

    path_in(path, FS_MARKS_FILE);
    ck_assert_int_eq(truncate(path, 100), 0);
    ck_assert_int_eq(fs_control_open_reader(&other, dir, &result), APR_SUCCESS);
    ck_assert_ptr_nonnull(fs_control_marks(other, 3));
    atomic_fetch_add(&fs_control_marks(other, 3)->misses, 1);
    fs_control_close(other);
    unlink(path);
    ck_assert_int_eq(fs_control_open_reader(&other, dir, &result), APR_SUCCESS);
    ck_assert_ptr_nonnull(fs_control_marks(other, 3));
    fs_control_close(other);
}
END_TEST

START_TEST(marks_tell_the_switch_as_it_was_served)
{
    fs_control_group_t group = plan();
    fs_marks_group_t *marks = fs_control_marks(reader, 0);
    const fs_usec_t far = 100 * FS_USEC_PER_SEC;

    group.activation_time = far;
    fs_marks_served(marks, &group, 41, 10, 3);
    ck_assert_int_eq(marks->floor, 41);
    ck_assert_int_eq(marks->first_new, 10);
    ck_assert_int_eq(marks->first_new_bound, 3);
    fs_marks_served(marks, &group, 41, 20, 4); /* long before the switch: not worth a write */
    ck_assert_int_eq(marks->last_old, 0);
    fs_marks_served(marks, &group, 41, far - 5, 600);
    fs_marks_served(marks, &group, 41, far - 9, 700);
    ck_assert_int_eq(marks->last_old, far - 5);
    ck_assert_int_eq(marks->last_old_bound, 600);
    fs_marks_served(marks, &group, 42, far + 3, 50);
    fs_marks_served(marks, &group, 42, far + 1, 60);
    ck_assert_int_eq(marks->floor, 42);
    ck_assert_int_eq(marks->first_new, far + 3);
    ck_assert_int_eq(marks->first_new_bound, 50);    /* of that moment, whatever was known later */
    fs_marks_served(marks, &group, 41, far + 4, 80); /* a late one is told */
    ck_assert_int_eq(marks->floor, 42);
    ck_assert_int_eq(marks->last_old, far + 4);
    ck_assert_int_eq(marks->last_old_bound, 80);
}
END_TEST

/* --- views --------------------------------------------------------------------------------------
 */

static void make_image(const char *seed, fs_view_dataset_t *dataset, const char *name)
{
    char hex[FS_DIGEST_HEX_SIZE], file[256];

    memset(dataset, 0, sizeof(*dataset));
    snprintf(dataset->name, sizeof(dataset->name), "%s", name);
    fs_digest_of(&dataset->digest, seed, strlen(seed));
    snprintf(file, sizeof(file), FS_IMAGES_DIR "/%s.fsi", fs_digest_hex(&dataset->digest, hex));
    replace_file(file, "", 0);
}

static fs_view_dataset_t two[2];

static fs_view_info_t two_datasets(void)
{
    fs_view_info_t view = {.group = "default", .version = 42, .dataset_count = 2, .datasets = two};

    make_image("one", &two[0], "prices");
    make_image("two", &two[1], "Größen und mehr");
    return view;
}

START_TEST(view_is_written_and_read_back)
{
    fs_view_info_t view = two_datasets(), *again;
    uint64_t id, next, *ids;
    unsigned count;

    ck_assert_int_eq(fs_view_write(writer, &view, &id, &result), APR_SUCCESS);
    ck_assert_int_eq(fs_view_read(dir, id, &again, &result), APR_SUCCESS);
    ck_assert_uint_eq(again->id, id);
    ck_assert_str_eq(again->group, "default");
    ck_assert_int_eq(again->version, 42);
    ck_assert_uint_eq(again->dataset_count, 2);
    ck_assert_str_eq(again->datasets[0].name, "Größen und mehr");
    ck_assert_str_eq(again->datasets[1].name, "prices");
    ck_assert(fs_digest_equal(&again->datasets[1].digest, &two[0].digest));
    fs_view_free(again);
    view.dataset_count = 0;
    ck_assert_int_eq(fs_view_write(writer, &view, &next, &result), APR_SUCCESS);
    ck_assert_uint_gt(next, id);
    ck_assert_int_eq(fs_view_read(dir, next, &again, &result), APR_SUCCESS);
    fs_view_free(again);
    ck_assert_int_eq(fs_view_list(writer, &ids, &count, &result), APR_SUCCESS);
    ck_assert_uint_eq(count, 2);
    ck_assert_uint_eq(ids[0], id);
    free(ids);
    fs_view_remove(writer, id);
    ck_assert(APR_STATUS_IS_ENOENT(fs_view_read(dir, id, &again, &result)));
}
END_TEST

START_TEST(view_that_cannot_be_is_not_written)
{
    fs_view_info_t view = two_datasets();
    uint64_t id, *ids;
    unsigned count;

    fs_digest_of(&two[0].digest, "no such image", 5);
    ck_assert_int_ne(fs_view_write(writer, &view, &id, &result), APR_SUCCESS);
    ck_assert_str_eq(result.problem, "FS0503");
    view = two_datasets();
    view.version = 0;
    ck_assert_int_ne(fs_view_write(writer, &view, &id, &result), APR_SUCCESS);
    view = two_datasets();
    two[1] = two[0];
    ck_assert_int_ne(fs_view_write(writer, &view, &id, &result), APR_SUCCESS);
    view = two_datasets();
    strcpy(two[0].name, "two\nlines");
    ck_assert_int_ne(fs_view_write(writer, &view, &id, &result), APR_SUCCESS);
    ck_assert_uint_eq(id, 0);
    ck_assert_int_eq(fs_view_list(writer, &ids, &count, &result), APR_SUCCESS);
    ck_assert_uint_eq(count, 0);
    free(ids);
}
END_TEST

/* Every cut and every flipped bit of a view file is noticed. */
START_TEST(view_that_is_damaged_is_refused)
{
    fs_view_info_t view = two_datasets(), *again;
    char name[64], path[512], *data;
    size_t length;
    uint64_t id;

    ck_assert_int_eq(fs_view_write(writer, &view, &id, &result), APR_SUCCESS);
    snprintf(name, sizeof(name), FS_VIEWS_DIR "/%llu", (unsigned long long)id);
    path_in(path, name);
    ck_assert_int_eq(fs_file_read(path, 4096, &data, &length, &result), APR_SUCCESS);
    for (size_t i = 0; i < length; i += 3) {
        replace_file(name, data, i);
        ck_assert_int_ne(fs_view_read(dir, id, &again, &result), APR_SUCCESS);
        ck_assert_str_eq(result.problem, "FS0505");
        data[i] ^= 4;
        replace_file(name, data, length);
        ck_assert_int_ne(fs_view_read(dir, id, &again, &result), APR_SUCCESS);
        data[i] ^= 4;
    }
    replace_file(name, data, length);
    ck_assert_int_eq(fs_view_read(dir, id, &again, &result), APR_SUCCESS);
    fs_view_free(again);
    free(data);
}
END_TEST

START_TEST(view_ids_are_never_used_twice)
{
    fs_view_info_t view = two_datasets();
    uint64_t first, second;
    char path[512];

    ck_assert_int_eq(fs_view_write(writer, &view, &first, &result), APR_SUCCESS);
    fs_control_close(writer);
    path_in(path, FS_CONTROL_FILE);
    unlink(path);
    ck_assert_int_eq(fs_control_open_writer(&writer, dir, &result), APR_SUCCESS);
    ck_assert_int_eq(fs_view_write(writer, &view, &second, &result), APR_SUCCESS);
    ck_assert_uint_gt(second, first);
}
END_TEST

START_TEST(writer_names_what_it_cannot_make)
{
    fs_control_t *none;
    char path[512];

    replace_file("plain", "x", 1);
    path_in(path, "plain");
    ck_assert_int_ne(fs_control_open_writer(&none, path, &result), APR_SUCCESS);
    ck_assert_ptr_null(none);
    ck_assert_ptr_nonnull(strstr(result.detail, path));
}
END_TEST

static Suite *control_suite(void)
{
    Suite *suite = suite_create("control");
    TCase *choice = tcase_create("choice");
    TCase *page = tcase_create("page");

    tcase_add_test(choice, choice_is_a_comparison_with_the_activation_time);
    tcase_add_test(choice, choice_never_goes_below_what_the_host_has_served);
    tcase_add_test(choice, choice_of_a_floor_that_is_not_at_hand);
    tcase_add_test(choice, choice_says_stale_when_something_newer_may_be_in_force);
    tcase_add_test(choice, choice_without_a_clock_keeps_to_the_active_version);
    tcase_add_test(choice, choice_when_nothing_is_here);
    tcase_add_test(choice, choice_with_nothing_staged);
    tcase_add_test(choice, choice_of_a_pinned_group_is_the_operators);
    tcase_add_test(choice, choice_of_a_pinned_staged_version_waits_for_its_time);
    tcase_add_test(choice, farm_time_and_its_bound);
    suite_add_tcase(suite, choice);

    tcase_add_checked_fixture(page, open_both, close_both);
    tcase_set_timeout(page, 60);
    tcase_add_test(page, page_carries_clock_group_and_agent);
    tcase_add_test(page, page_has_room_for_its_groups_and_says_when_full);
    tcase_add_test(page, generation_changes_with_what_matters_only);
    tcase_add_test(page, waiter_in_another_process_wakes);
    tcase_add_test(page, reader_without_a_page_waits_and_attaches);
    tcase_add_test(page, page_survives_the_agent_and_boot_resets_the_clock);
    tcase_add_test(page, replaced_page_is_mapped_anew_and_a_damaged_one_is_not);
    tcase_add_test(page, group_text_without_an_end_is_cut_off);
    tcase_add_test(page, writer_killed_half_way_leaves_the_record);
    tcase_add_test(page, records_are_always_read_whole);
    tcase_add_test(page, marks_are_shared_by_children_and_survive_the_page);
    tcase_add_test(page, marks_of_a_new_group_begin_at_zero);
    tcase_add_test(page, damaged_marks_fall_back_to_private_memory);
    tcase_add_test(page, marks_tell_the_switch_as_it_was_served);
    tcase_add_test(page, view_is_written_and_read_back);
    tcase_add_test(page, view_that_cannot_be_is_not_written);
    tcase_add_test(page, view_that_is_damaged_is_refused);
    tcase_add_test(page, view_ids_are_never_used_twice);
    tcase_add_test(page, writer_names_what_it_cannot_make);
    suite_add_tcase(suite, page);
    return suite;
}

FS_TEST_MAIN(control_suite)
