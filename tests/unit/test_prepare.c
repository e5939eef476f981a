/* SPDX-License-Identifier: Apache-2.0 */
/* Stores that httpd's parent and an agent that was started by hand prepare and open at the same
 * time. */
#include <apr_general.h>
#include <check.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs_test.h"
#include "route/fs_route_store.h"
#include "session/fs_session_store.h"
#include "session/fs_session_trust.h"
#include "session/fs_session_turn.h"

#define PROCESSES 8
#define ROUNDS    12
#define FILES     4

/* What a process had open: inodes of files in the directory; "": no more. */
typedef struct store_t {
    const char *files[FILES];
    int (*open)(const char *dir, char *problem);
} store_t;

static struct {
    int gate, opened;
    char problem[PROCESSES][512];
    ino_t inodes[PROCESSES][FILES];
} * shared;

static char *directory;

static void setup(void)
{
    apr_initialize();
    directory = fs_test_mkdir();
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(shared, MAP_FAILED);
}

static void teardown(void)
{
    munmap(shared, sizeof(*shared));
    fs_test_rmdir(directory);
}

static ino_t inode_in(const char *dir, const char *name)
{
    char path[PATH_MAX + 64];
    struct stat info;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return stat(path, &info) ? 0 : info.st_ino;
}

static int open_visitors(const char *dir, char *problem)
{
    fs_route_limits_t limits = {0};
    fs_route_store_t *store;
    fs_result_t result;
    int failed = fs_route_store_prepare(dir, (uid_t)-1, (gid_t)-1, 1, "boot", &result) ||
                 result.problem[0] || fs_route_store_open(&store, dir, "web1", &limits, &result);

    if (failed)
        snprintf(problem, 512, "%s: %.400s", result.problem, result.detail);
    return failed;
}

static int open_sessions(const char *dir, char *problem)
{
    fs_session_limits_t limits = {0};
    fs_session_store_t *store;
    fs_session_turns_t *turns;
    fs_session_trust_t *trust;
    fs_result_t result;
    int failed = fs_session_store_prepare(dir, (uid_t)-1, (gid_t)-1, 1, "boot", &result) ||
                 result.problem[0] ||
                 fs_session_store_open(&store, dir, "web1", &limits, &result) ||
                 fs_session_turns_open(&turns, dir, &result) ||
                 fs_session_trust_open(&trust, dir, 0, &result);

    if (failed)
        snprintf(problem, 512, "%s: %.400s", result.problem, result.detail);
    return failed;
}

static const store_t stores[] = {
    {{"data.mdb", "", "", ""}, open_visitors},
    {{"data.mdb", "pending", "turns", "trust"}, open_sessions},
};

static void open_one(const store_t *store, const char *dir, unsigned number)
{
    while (!__atomic_load_n(&shared->gate, __ATOMIC_ACQUIRE))
        ;
    store->open(dir, shared->problem[number]);
    for (unsigned i = 0; i < FILES && store->files[i][0]; i++)
        shared->inodes[number][i] = inode_in(dir, store->files[i]);
    __atomic_fetch_add(&shared->opened, 1, __ATOMIC_ACQ_REL);
    while (__atomic_load_n(&shared->opened, __ATOMIC_ACQUIRE) < PROCESSES)
        usleep(1000);
    _exit(0);
}

/* All prepare and open it at the same moment, and keep it open until the last one has. */
static void open_at_once(const store_t *store, const char *dir)
{
    pid_t children[PROCESSES];

    memset(shared, 0, sizeof(*shared));
    for (unsigned i = 0; i < PROCESSES; i++) {
        children[i] = fork();
        if (!children[i])
            open_one(store, dir, i);
    }
    __atomic_store_n(&shared->gate, 1, __ATOMIC_RELEASE);
    for (unsigned i = 0; i < PROCESSES; i++)
        waitpid(children[i], NULL, 0);
    for (unsigned i = 0; i < PROCESSES; i++) {
        ck_assert_str_eq(shared->problem[i], "");
        for (unsigned j = 0; j < FILES && store->files[j][0]; j++)
            ck_assert_msg(shared->inodes[i][j] &&
                              shared->inodes[i][j] == inode_in(dir, store->files[j]),
                          "process %u has another %s", i, store->files[j]);
    }
}

START_TEST(all_have_the_same)
{
    const store_t *store = &stores[_i];
    char dir[PATH_MAX];
    ino_t first;

    for (unsigned round = 0; round < ROUNDS; round++) {
        snprintf(dir, sizeof(dir), "%s/%u", directory, round);
        open_at_once(store, dir);
        first = inode_in(dir, "data.mdb");
        open_at_once(store, dir); /* one that was there */
        ck_assert_uint_eq(inode_in(dir, "data.mdb"), first);
    }
}
END_TEST

static Suite *prepare_suite(void)
{
    Suite *suite = suite_create("prepare");
    TCase *tests = tcase_create("prepare");

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, all_have_the_same, 0, sizeof(stores) / sizeof(*stores));
    tcase_set_timeout(tests, 120);
    suite_add_tcase(suite, tests);
    return suite;
}

FS_TEST_MAIN(prepare_suite)
