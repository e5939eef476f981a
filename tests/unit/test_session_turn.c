/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Turns of a session over processes and threads: one at a time, first come first served, nobody
 * waits for the dead. And the trust page: what is in doubt is asked for.
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs_test.h"
#include "fs_test_session.h"
#include "session/fs_session_trust.h"
#include "session/fs_session_turn.h"

#define LONG      (60 * SEC)
#define PROCESSES 8
#define ROUNDS    50

static fs_result_t result;
static char *directory;
static fs_session_turns_t *turns;

/* What the processes of a test share. */
typedef struct shared_t {
    _Atomic int number; /* changed without a lock but the turn */
    _Atomic int ready;
    int order[64];
} shared_t;
static shared_t *shared;

static fs_session_turns_t *open_turns(void)
{
    fs_session_turns_t *opened;

    ck_assert_msg(fs_session_turns_open(&opened, directory, &result) == APR_SUCCESS, "%s",
                  result.detail);
    return opened;
}

static void setup(void)
{
    directory = fs_test_mkdir();
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    turns = open_turns();
}

static void teardown(void)
{
    fs_session_turns_close(turns);
    munmap(shared, sizeof(*shared));
    fs_test_rmdir(directory);
}

static void wait_until(int (*condition)(void))
{
    fs_usec_t limit = fs_time_mono() + LONG;

    while (!condition() && fs_time_mono() < limit)
        usleep(1000);
    ck_assert(condition());
}

static void collect(pid_t pid)
{
    int state;

    ck_assert_int_eq(waitpid(pid, &state, 0), pid);
    ck_assert(WIFEXITED(state) && !WEXITSTATUS(state));
}

/* --- one at a time -------------------------------------------------------------------------------
 */

static void increment(fs_session_turns_t *with, const fs_session_key_t *key)
{
    fs_session_turn_t turn;

    for (unsigned i = 0; i < ROUNDS; i++) {
        int before;

        if (fs_session_turn_take(with, key, LONG, &turn, NULL))
            _exit(1);
        before = shared->number;
        if (i % 8 == 0)
            usleep(100);
        shared->number = before + 1;
        fs_session_turn_leave(with, &turn);
    }
}

START_TEST(increments_of_many_processes_are_not_lost)
{
    fs_session_key_t key = key_of(1);
    pid_t pids[PROCESSES];

    for (unsigned i = 0; i < PROCESSES; i++)
        if (!(pids[i] = fork())) {
            increment(open_turns(), &key);
            _exit(0);
        }
    for (unsigned i = 0; i < PROCESSES; i++)
        collect(pids[i]);
    ck_assert_int_eq(shared->number, PROCESSES * ROUNDS);
    ck_assert_uint_eq(fs_session_turn_count(turns, &key), 0);
}
END_TEST

static void *increment_in_thread(void *key)
{
    increment(turns, key);
    return NULL;
}

START_TEST(increments_of_many_threads_are_not_lost)
{
    fs_session_key_t key = key_of(1);
    pthread_t threads[PROCESSES];

    for (unsigned i = 0; i < PROCESSES; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, increment_in_thread, &key), 0);
    for (unsigned i = 0; i < PROCESSES; i++)
        pthread_join(threads[i], NULL);
    ck_assert_int_eq(shared->number, PROCESSES * ROUNDS);
}
END_TEST

/* --- first come, first served --------------------------------------------------------------------
 */

static fs_session_key_t wanted;
static unsigned wanted_count;

static int all_wait(void)
{
    return fs_session_turn_count(turns, &wanted) == wanted_count;
}

static pid_t stand_in_line(int number)
{
    pid_t pid = fork();
    fs_session_turn_t turn;
    fs_session_turns_t *own;

    if (pid)
        return pid;
    own = open_turns();
    if (fs_session_turn_take(own, &wanted, LONG, &turn, NULL))
        _exit(1);
    shared->order[shared->number++] = number;
    fs_session_turn_leave(own, &turn);
    _exit(0);
}

START_TEST(first_come_first_served)
{
    fs_session_key_t other = key_of(2);
    fs_session_turn_t mine, another;
    pid_t pids[6];

    wanted = key_of(1);
    ck_assert_int_eq(fs_session_turn_take(turns, &wanted, LONG, &mine, &result), APR_SUCCESS);
    for (int i = 0; i < 6; i++) {
        pids[i] = stand_in_line(i);
        wanted_count = (unsigned)i + 2;
        wait_until(all_wait);
    }
    /* Who wants another session waits for nobody. */
    ck_assert_int_eq(fs_session_turn_take(turns, &other, 0, &another, &result), APR_SUCCESS);
    fs_session_turn_leave(turns, &another);
    ck_assert_int_eq(shared->number, 0);
    fs_session_turn_leave(turns, &mine);
    for (int i = 0; i < 6; i++)
        collect(pids[i]);
    for (int i = 0; i < 6; i++)
        ck_assert_int_eq(shared->order[i], i);
}
END_TEST

START_TEST(waiting_ends)
{
    fs_session_turn_t mine, late;

    wanted = key_of(1);
    ck_assert_int_eq(fs_session_turn_take(turns, &wanted, 0, &mine, &result), APR_SUCCESS);
    ck_assert(APR_STATUS_IS_TIMEUP(
        fs_session_turn_take(turns, &wanted, 30 * FS_USEC_PER_MSEC, &late, &result)));
    ck_assert_str_eq(result.problem, "FS1262");
    fs_session_turn_leave(turns, &late); /* it has none */
    ck_assert_uint_eq(fs_session_turn_count(turns, &wanted), 1);
    fs_session_turn_leave(turns, &mine);
    fs_session_turn_leave(turns, &mine);
    ck_assert_int_eq(fs_session_turn_take(turns, &wanted, 0, &late, &result), APR_SUCCESS);
    fs_session_turn_leave(turns, &late);
}
END_TEST

/* --- the dead ------------------------------------------------------------------------------------
 */

static int holder_is_ready(void)
{
    return shared->ready;
}

/* A process that takes the turn, or waits for it, until it is killed. */
static pid_t stay(void)
{
    pid_t pid = fork();
    fs_session_turn_t turn;
    fs_session_turns_t *own;

    if (pid)
        return pid;
    own = open_turns();
    if (!fs_session_turn_take(own, &wanted, LONG, &turn, NULL))
        shared->ready = 1;
    for (;;)
        pause();
}

static void end_process(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

START_TEST(nobody_waits_for_the_dead)
{
    fs_session_turn_t mine;
    pid_t holder, waiter;

    wanted = key_of(1);
    holder = stay();
    wait_until(holder_is_ready);
    waiter = stay();
    wanted_count = 2;
    wait_until(all_wait);
    end_process(waiter);
    ck_assert(APR_STATUS_IS_TIMEUP(
        fs_session_turn_take(turns, &wanted, 50 * FS_USEC_PER_MSEC, &mine, &result)));
    end_process(holder);
    ck_assert_int_eq(fs_session_turn_take(turns, &wanted, LONG, &mine, &result), APR_SUCCESS);
    ck_assert_uint_eq(fs_session_turn_count(turns, &wanted), 1);
    fs_session_turn_leave(turns, &mine);
}
END_TEST

/* A new process gets the dead one's number, and with it nothing that it held. */
START_TEST(a_new_process_inherits_nothing)
{
    fs_session_turns_t *next;
    pid_t holder;

    wanted = key_of(1);
    holder = stay();
    wait_until(holder_is_ready);
    end_process(holder);
    ck_assert_uint_eq(fs_session_turn_count(turns, &wanted), 1);
    next = open_turns();
    ck_assert_uint_eq(fs_session_turn_count(turns, &wanted), 0);
    fs_session_turns_close(next);
}
END_TEST

START_TEST(killed_in_the_middle_again_and_again)
{
    uint64_t seed = 5;

    wanted = key_of(1);
    for (unsigned round = 0; round < 60; round++) {
        fs_session_turn_t mine;
        pid_t pid = fork();

        if (!pid) {
            fs_session_turns_t *own = open_turns();

            for (;;)
                increment(own, &wanted);
        }
        usleep(below(&seed, 3000));
        end_process(pid);
        ck_assert_int_eq(fs_session_turn_take(turns, &wanted, LONG, &mine, &result), APR_SUCCESS);
        fs_session_turn_leave(turns, &mine);
    }
}
END_TEST

/* Whatever stands in the file: nobody crashes, waits for ever, or gets a turn that another has. */
START_TEST(a_damaged_table_harms_nobody)
{
    char path[300];
    uint64_t seed = 3;

    snprintf(path, sizeof(path), "%s/turns", directory);
    for (unsigned round = 0; round < 6; round++) {
        int fd = open(path, O_RDWR);
        fs_session_turn_t mine, other;
        fs_session_turns_t *opened;
        uint64_t word;

        for (unsigned i = 0; i < 65536; i++) {
            word = round % 2 ? chance(&seed) : chance(&seed) % 4;
            ck_assert_int_eq(write(fd, &word, 8), 8);
        }
        close(fd);
        opened = open_turns();
        wanted = key_of(round);
        if (!fs_session_turn_take(opened, &wanted, 100 * FS_USEC_PER_MSEC, &mine, &result)) {
            ck_assert_int_ne(fs_session_turn_take(opened, &wanted, 0, &other, &result),
                             APR_SUCCESS);
            fs_session_turn_leave(opened, &mine);
        }
        fs_session_turns_close(opened);
    }
}
END_TEST

/* --- trust ---------------------------------------------------------------------------------------
 */

START_TEST(only_what_was_compared_in_this_generation_is_trusted)
{
    fs_session_trust_t *agent, *child;
    fs_session_trusted_t page, first;
    fs_usec_t now = fs_session_trust_clock();

    ck_assert_int_eq(fs_session_trust_open(&child, directory, 0, &result), APR_SUCCESS);
    ck_assert(!fs_session_trust_allows(child, 0, now)); /* no agent was there yet */
    ck_assert_int_eq(fs_session_trust_open(&agent, directory, 1, &result), APR_SUCCESS);
    fs_session_trust_read(child, &page);
    ck_assert(!fs_session_trust_allows(child, page.generation, now));
    first = page;
    page.until = now + SEC;
    fs_session_trust_write(agent, &page);
    ck_assert(fs_session_trust_allows(child, page.generation, now));
    ck_assert(!fs_session_trust_allows(child, page.generation, now + SEC));
    ck_assert(!fs_session_trust_allows(child, page.generation - 1, now));
    ck_assert(!fs_session_trust_allows(child, 0, now));
    page.generation++;
    fs_session_trust_write(agent, &page);
    ck_assert(!fs_session_trust_allows(child, first.generation, now));
    page.alone = 1;
    fs_session_trust_write(agent, &page);
    ck_assert(fs_session_trust_allows(child, 0, now));
    ck_assert(!fs_session_trust_allows(child, 0, now + SEC)); /* the agent stands still */
    fs_session_trust_close(agent);
    ck_assert_int_eq(fs_session_trust_open(&agent, directory, 1, &result), APR_SUCCESS);
    fs_session_trust_read(child, &page);
    ck_assert_uint_gt(page.generation, first.generation + 1);
    ck_assert(!fs_session_trust_allows(child, page.generation, now));
    fs_session_trust_close(agent);
    fs_session_trust_close(child);
}
END_TEST

START_TEST(a_page_of_another_boot_is_not_believed)
{
    fs_session_trust_t *agent;
    fs_session_trusted_t page;
    fs_usec_t now = fs_session_trust_clock();

    ck_assert_int_eq(fs_session_trust_open(&agent, directory, 1, &result), APR_SUCCESS);
    fs_session_trust_read(agent, &page);
    page.until = now + FS_SESSION_TRUST_LIMIT + 1;
    fs_session_trust_write(agent, &page);
    ck_assert(!fs_session_trust_allows(agent, page.generation, now));
    page.until = INT64_MAX;
    fs_session_trust_write(agent, &page);
    ck_assert(!fs_session_trust_allows(agent, page.generation, now));
    fs_session_trust_close(agent);
}
END_TEST

/* An agent that has begun hasn't looked at what is here of a former life of the server. */
START_TEST(without_the_agent_only_what_it_has_seen_is_worked_on_with)
{
    fs_session_trust_t *agent, *child;
    fs_session_trusted_t page;
    uint64_t former, seen;
    char path[PATH_MAX];

    ck_assert_int_eq(fs_session_trust_open(&agent, directory, 1, &result), APR_SUCCESS);
    fs_session_trust_read(agent, &page);
    former = page.generation;
    fs_session_trust_close(agent);
    snprintf(path, sizeof(path), "%s/trust", directory);
    ck_assert_int_eq(unlink(path), 0);

    ck_assert_int_eq(fs_session_trust_open(&child, directory, 0, &result), APR_SUCCESS);
    ck_assert(!fs_session_trust_remembers(child, former));
    ck_assert(!fs_session_trust_remembers(child, 0));
    ck_assert_int_eq(fs_session_trust_open(&agent, directory, 1, &result), APR_SUCCESS);
    ck_assert(!fs_session_trust_remembers(child, former));
    ck_assert(!fs_session_trust_remembers(child, 0));
    fs_session_trust_read(agent, &page);
    seen = page.generation;
    ck_assert(fs_session_trust_remembers(child, seen));
    page.alone = 1;
    fs_session_trust_write(agent, &page);
    ck_assert(fs_session_trust_remembers(child, former));
    fs_session_trust_close(agent); /* and another one begins */
    ck_assert_int_eq(fs_session_trust_open(&agent, directory, 1, &result), APR_SUCCESS);
    ck_assert(fs_session_trust_remembers(child, seen));
    ck_assert(!fs_session_trust_remembers(child, former));
    fs_session_trust_close(agent);
    fs_session_trust_close(child);
}
END_TEST

static Suite *session_turn_suite(void)
{
    Suite *suite = suite_create("session turn");
    TCase *turn = tcase_create("turn"), *trust = tcase_create("trust");

    tcase_add_checked_fixture(turn, setup, teardown);
    tcase_add_checked_fixture(trust, setup, teardown);
    tcase_set_timeout(turn, 120);
    tcase_add_test(turn, increments_of_many_processes_are_not_lost);
    tcase_add_test(turn, increments_of_many_threads_are_not_lost);
    tcase_add_test(turn, first_come_first_served);
    tcase_add_test(turn, waiting_ends);
    tcase_add_test(turn, nobody_waits_for_the_dead);
    tcase_add_test(turn, a_new_process_inherits_nothing);
    tcase_add_test(turn, killed_in_the_middle_again_and_again);
    tcase_add_test(turn, a_damaged_table_harms_nobody);
    tcase_add_test(trust, only_what_was_compared_in_this_generation_is_trusted);
    tcase_add_test(trust, a_page_of_another_boot_is_not_believed);
    tcase_add_test(trust, without_the_agent_only_what_it_has_seen_is_worked_on_with);
    suite_add_tcase(suite, turn);
    suite_add_tcase(suite, trust);
    return suite;
}

FS_TEST_MAIN(session_turn_suite)
