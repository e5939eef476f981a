/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A store whose disk is full: a clear refusal and never a signal, though the store's file is mapped
 * for writing. In a small file system of its own (needs root); and processes that are killed at any
 * moment in the middle of everything that writes.
 */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs_test_session_store.h"

#define VALUE 3000

static const fs_session_limits_t small = {0, 64 << 10, UINT64_C(256) << 20, SEC};

/* --- a full disk ---------------------------------------------------------------------------------
 */

/* Fills the disk up to `left` bytes. */
static int fill_disk(const char *dir, off_t left)
{
    char path[400];
    struct statvfs space;
    int fd;

    snprintf(path, sizeof(path), "%s/filler", dir);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || statvfs(dir, &space))
        return -1;
    if ((off_t)(space.f_bavail * space.f_bsize) > left &&
        fallocate(fd, 0, 0, (off_t)(space.f_bavail * space.f_bsize) - left))
        return -1;
    close(fd);
    return 0;
}

/* Saves sessions until one is refused; returns how many. */
static uint64_t save_until_refused(const char *value)
{
    uint64_t saved = 0;
    apr_pool_t *all = pool;

    result.problem[0] = '\0';
    for (;; saved++) {
        apr_status_t status;

        apr_pool_create(&pool, all);
        status = save(saved, "a", value, NOW);
        apr_pool_destroy(pool);
        pool = all;
        if (status != APR_SUCCESS)
            break;
    }
    return saved;
}

#define NEED(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s; %s %s\n", __FILE__, __LINE__, #condition, result.problem,  \
                    result.detail);                                                                \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

static void use_a_full_disk(const char *dir)
{
    char value[VALUE + 1];
    uint64_t saved, again;

    memset(value, 'x', VALUE);
    value[VALUE] = '\0';
    directory = (char *)dir;
    NEED(!fs_session_store_prepare(dir, (uid_t)-1, (gid_t)-1, 1, NULL, &result));
    NEED(!fs_session_store_open(&store, dir, "web1:80", &small, &result));
    NEED(!fill_disk(dir, 12 << 20));
    saved = save_until_refused(value);
    NEED(saved > 100);
    NEED(!strcmp(result.problem, "FS1210") && strstr(result.detail, "free space"));
    NEED(value_in(saved - 1, "a", NOW)); /* reading goes on */
    for (uint64_t i = 0; i < saved; i++)
        NEED(value_in(i, "a", NOW));
    /* Somebody makes space: it goes on where it stood. */
    unlink(apr_pstrcat(pool, dir, "/filler", NULL));
    NEED(!save(saved, "a", value, NOW));
    NEED(!fill_disk(dir, 0));
    /* What is safe makes place for what is new, as long as the reserve lasts. */
    for (uint64_t i = 0; i < 100; i++)
        confirm(i, NOW);
    again = count().sessions;
    for (uint64_t i = 0; i < 50; i++)
        NEED(!save(100000 + i, "a", value, NOW));
    NEED(count().sessions <= again + 50);
    fs_session_store_close(store);
    NEED(!fs_session_store_prepare(dir, (uid_t)-1, (gid_t)-1, 1, NULL, &result));
    NEED(!result.problem[0]);
}

START_TEST(a_full_disk_is_told_and_never_a_signal)
{
    char *dir = fs_test_mkdir();
    pid_t child = fork();
    int state;

    ck_assert_int_ge(child, 0);
    if (!child) {
        if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
            mount("tmpfs", dir, "tmpfs", 0, "size=48m"))
            _exit(77);
        use_a_full_disk(dir);
        _exit(0);
    }
    ck_assert_int_eq(waitpid(child, &state, 0), child);
    fs_test_rmdir(dir);
    if (WIFEXITED(state) && WEXITSTATUS(state) == 77)
        return; /* not root */
    ck_assert_msg(WIFEXITED(state) && !WEXITSTATUS(state), "state %d", state);
}
END_TEST

/* --- killed --------------------------------------------------------------------------------------
 */

/* What the processes of a run have been told is stored. */
typedef struct told_t {
    _Atomic unsigned saves[4][16];
} told_t;

/* One of four that save, or the agent, which confirms, releases, takes back and lets expire. */
static void write_until_killed(told_t *told, unsigned who, uint64_t seed)
{
    fs_session_store_t *own = open_store(&small);
    char text[VALUE + 32];

    for (unsigned i = 1;; i++) {
        unsigned number = below(&seed, 16);
        const char *name = apr_psprintf(pool, "w%u", who);

        memset(text, 'x', sizeof(text));
        text[snprintf(text, sizeof(text), "%u.", told->saves[who][number] + 1)] = 'x';
        text[32 + below(&seed, VALUE)] = '\0';
        switch (save_in(own, number, name, text, NOW)) {
        case APR_SUCCESS:
            told->saves[who][number]++;
            break;
        case APR_NOTFOUND: /* released */
            break;
        default:
            _exit(1);
        }
        apr_pool_clear(pool);
    }
}

static int collect_due(void *baton, const fs_session_key_t *key, const fs_session_note_t *note,
                       const void *bytes, size_t length)
{
    fs_session_confirmed_t *confirmed = baton;

    confirmed->key = *key;
    confirmed->version = note->version;
    confirmed->copies = 2;
    return 1;
}

static void be_the_agent(uint64_t seed)
{
    fs_session_store_t *own = open_store(&small);

    for (;;) {
        fs_session_key_t key = key_of(below(&seed, 16));
        fs_session_confirmed_t confirmed;
        fs_session_record_t record;
        unsigned shown, removed;
        fs_usec_t next;

        if (fs_session_store_due(own, NOW + 10 * SEC, 1, collect_due, &confirmed, &shown, &next,
                                 &result))
            _exit(1);
        if (shown && fs_session_store_confirm(own, &confirmed, 1, 2, NOW, &result))
            _exit(1);
        fs_session_store_release(own, &key, "web2:80", NOW + SEC, pool, &record, NULL);
        fs_session_store_adopt(own, &key, NULL, 0, seal, 1, NOW + SEC, NOW, pool, &record, &result);
        if (fs_session_store_expire(own, NOW, 10, &removed, &result))
            _exit(1);
        apr_pool_clear(pool);
    }
}

/* Promise: the death of any process at any moment leaves what was said to be stored. */
START_TEST(killed_in_the_middle_of_anything)
{
    unsigned rounds = getenv("FARMSYNC_TEST_LONG") ? 2000 : 40;
    told_t *told =
        mmap(NULL, sizeof(*told), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    uint64_t seed = 11;

    for (unsigned round = 0; round < rounds; round++) {
        pid_t pids[5];

        for (unsigned who = 0; who < 5; who++) {
            pids[who] = fork();
            ck_assert_int_ge(pids[who], 0);
            if (!pids[who]) {
                apr_pool_create(&pool, NULL);
                if (who < 4)
                    write_until_killed(told, who, seed + who);
                be_the_agent(seed);
            }
        }
        usleep(2000 + below(&seed, 20000));
        for (unsigned who = 0; who < 5; who++) {
            int state;

            kill(pids[who], SIGKILL);
            ck_assert_int_eq(waitpid(pids[who], &state, 0), pids[who]);
            ck_assert_msg(WIFSIGNALED(state) && WTERMSIG(state) == SIGKILL, "state %d", state);
        }
        for (uint64_t number = 0; number < 16; number++)
            for (unsigned who = 0; who < 4; who++) {
                fs_session_key_t key = key_of(number);
                fs_session_record_t record;
                const char *value;

                if (!told->saves[who][number])
                    continue;
                if (fs_session_store_adopt(store, &key, NULL, 0, seal, 1, NOW + SEC, NOW, pool,
                                           &record, &result) == APR_EMISMATCH)
                    fs_session_store_adopt(store, &key, NULL, 0, seal, 1, 0, NOW, pool, &record,
                                           &result);
                value = value_in(number, apr_psprintf(pool, "w%u", who), NOW);
                ck_assert_ptr_nonnull(value);
                ck_assert_int_ge(atoi(value), (int)told->saves[who][number]);
                ck_assert_int_le(atoi(value), (int)told->saves[who][number] + 1);
                told->saves[who][number] = (unsigned)atoi(value);
            }
        apr_pool_clear(pool);
    }
    fs_session_store_close(store);
    prepare();
    ck_assert_str_eq(result.problem, "");
    store = open_store(&limits);
    munmap(told, sizeof(*told));
}
END_TEST

static Suite *session_disk_suite(void)
{
    Suite *suite = suite_create("session disk");
    TCase *disk = tcase_create("disk");

    tcase_add_checked_fixture(disk, setup, teardown);
    tcase_set_timeout(disk, 600);
    tcase_add_test(disk, a_full_disk_is_told_and_never_a_signal);
    tcase_add_test(disk, killed_in_the_middle_of_anything);
    suite_add_tcase(suite, disk);
    return suite;
}

FS_TEST_MAIN(session_disk_suite)
