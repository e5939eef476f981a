/* SPDX-License-Identifier: Apache-2.0 */
/* Files that whoever comes first makes, however many come at once, and whoever dies meanwhile. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fs_once.h"
#include "control/fs_page.h"
#include "fs_test.h"
#include "reuse/fs_reuse_mirrors.h"
#include "reuse/fs_reuse_names.h"

#define PROCESSES 12
#define ROUNDS    40
#define GOOD      "good"

typedef ino_t user_fn(const char *path);

/* What all processes see. */
static struct {
    int gate;
    ino_t inodes[PROCESSES];
} * shared;

static char *directory, path[600];

static void setup(void)
{
    directory = fs_test_mkdir();
    snprintf(path, sizeof(path), "%s/file", directory);
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(shared, MAP_FAILED);
}

static void teardown(void)
{
    munmap(shared, sizeof(*shared));
    fs_test_rmdir(directory);
}

static ino_t inode_at(const char *where)
{
    struct stat info;

    return stat(where, &info) ? 0 : info.st_ino;
}

static ino_t inode_of(int fd)
{
    struct stat info;

    return fd < 0 || fstat(fd, &info) ? 0 : info.st_ino;
}

static void write_file(const char *text)
{
    FILE *file = fopen(path, "w");

    ck_assert_ptr_nonnull(file);
    fputs(text, file);
    fclose(file);
}

/* All begin at the same moment. Whether all of them have the file that is there afterwards. */
static void run_all(user_fn *use)
{
    pid_t children[PROCESSES];

    memset(shared, 0, sizeof(*shared));
    for (unsigned i = 0; i < PROCESSES; i++) {
        children[i] = fork();
        if (!children[i]) {
            while (!__atomic_load_n(&shared->gate, __ATOMIC_ACQUIRE))
                ;
            shared->inodes[i] = use(path);
            _exit(0);
        }
    }
    __atomic_store_n(&shared->gate, 1, __ATOMIC_RELEASE);
    for (unsigned i = 0; i < PROCESSES; i++)
        waitpid(children[i], NULL, 0);
    ck_assert_uint_ne(inode_at(path), 0);
    for (unsigned i = 0; i < PROCESSES; i++)
        ck_assert_uint_eq(shared->inodes[i], inode_at(path));
}

/* --- any file ------------------------------------------------------------------------------------
 */

static int is_good(int fd, void *unused)
{
    char text[8] = "";

    return pread(fd, text, sizeof(text) - 1, 0) > 0 && !strcmp(text, GOOD);
}

static int fill(int fd, void *unused)
{
    usleep((unsigned)getpid() % 3 * 1000);
    return write(fd, GOOD, strlen(GOOD)) < 0 ? errno : 0;
}

static int fill_for_ever(int fd, void *unused)
{
    __atomic_store_n(&shared->gate, 1, __ATOMIC_RELEASE);
    while (shared->gate)
        pause();
    return 0;
}

static int cannot_fill(int fd, void *unused)
{
    return ENOSPC;
}

static fs_once_t once = {is_good, fill, NULL, 0640, (uid_t)-1, (gid_t)-1};

static ino_t use_once(const char *where)
{
    return inode_of(fs_once_open(where, &once));
}

START_TEST(all_have_the_same)
{
    for (unsigned round = 0; round < ROUNDS; round++) {
        ino_t before;

        run_all(use_once);
        before = inode_at(path);
        run_all(use_once);
        ck_assert_uint_eq(inode_at(path), before); /* a good one isn't replaced */
        write_file("bad");
        run_all(use_once); /* a bad one is, once */
        unlink(path);
    }
}
END_TEST

START_TEST(who_is_killed_while_making_stops_nobody)
{
    fs_once_t slow = {is_good, fill_for_ever, NULL, 0640, (uid_t)-1, (gid_t)-1};
    pid_t child = fork();

    if (!child) {
        fs_once_open(path, &slow);
        _exit(0);
    }
    while (!__atomic_load_n(&shared->gate, __ATOMIC_ACQUIRE))
        usleep(1000);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    ck_assert_uint_eq(inode_at(path), 0);
    run_all(use_once);
}
END_TEST

START_TEST(what_cannot_be_made)
{
    fs_once_t full = {is_good, cannot_fill, NULL, 0640, (uid_t)-1, (gid_t)-1};
    char other[700];
    struct stat info;

    ck_assert_int_eq(fs_once_open(path, &full), -1);
    ck_assert_int_eq(errno, ENOSPC);
    ck_assert_uint_eq(inode_at(path), 0);
    ck_assert_int_eq(stat(directory, &info), 0);
    ck_assert_uint_eq(info.st_nlink, 2);
    snprintf(other, sizeof(other), "%s/nowhere/file", directory);
    ck_assert_int_eq(fs_once_open(other, &once), -1);
    ck_assert_int_eq(errno, ENOENT);
    /* What a link points to isn't touched; the link is replaced. */
    write_file("elsewhere");
    snprintf(other, sizeof(other), "%s/link", directory);
    ck_assert_int_eq(symlink(path, other), 0);
    ck_assert_int_ge(fs_once_open(other, &once), 0);
    ck_assert_int_eq(lstat(other, &info), 0);
    ck_assert(S_ISREG(info.st_mode) && (info.st_mode & 07777) == 0640);
    ck_assert_int_eq(stat(path, &info), 0);
    ck_assert_int_eq(info.st_size, strlen("elsewhere"));
}
END_TEST

/* --- the files that several parts make -----------------------------------------------------------
 */

static ino_t prepare_names(const char *where)
{
    fs_result_t result;

    return fs_reuse_names_prepare(where, (uint32_t)-1, (uint32_t)-1, &result) ? 0 : inode_at(where);
}

/* httpd prepares, agents open for writing. */
static ino_t open_names(const char *where)
{
    fs_reuse_names_t *names;
    fs_result_t result;
    ino_t inode;

    if (getpid() % 2)
        return prepare_names(where);
    if (fs_reuse_names_open_writer(&names, where, &result))
        return 0;
    /* The one that is mapped. */
    inode = fs_reuse_names_current(names, where) ? inode_at(where) : 0;
    return inode;
}

static ino_t prepare_mirrors(const char *where)
{
    fs_reuse_mirrors_t *mirrors;
    fs_result_t result;

    if (fs_reuse_mirrors_prepare(where, (uint32_t)-1, (uint32_t)-1, &result) ||
        fs_reuse_mirrors_open(&mirrors, where, &result))
        return 0;
    return fs_reuse_mirrors_current(mirrors, where) ? inode_at(where) : 0;
}

static ino_t make_page(const char *where)
{
    fs_page_head_t head;
    fs_result_t result;
    int fd;

    fs_page_head_control(&head);
    if (fs_page_create(directory, "file", &head, &result))
        return 0;
    fd = open(where, O_RDONLY);
    return inode_of(fd);
}

START_TEST(names_mirrors_and_pages)
{
    static user_fn *const users[] = {open_names, prepare_mirrors, make_page};

    for (unsigned i = 0; i < sizeof(users) / sizeof(*users); i++)
        for (unsigned round = 0; round < ROUNDS / 4; round++) {
            run_all(users[i]);
            write_file("another release's");
            run_all(users[i]);
            unlink(path);
        }
}
END_TEST

/* The writer notices that its file was removed or replaced, and readers of either miss nothing. */
START_TEST(names_that_are_removed_in_use)
{
    fs_reuse_names_t *writer, *former, *reader;
    fs_result_t result;
    uint64_t begun;
    int anew;

    ck_assert_int_eq(fs_reuse_names_open_writer(&writer, path, &result), APR_SUCCESS);
    ck_assert_int_eq(fs_reuse_names_open_reader(&former, path, &result), APR_SUCCESS);
    for (unsigned i = 0; i < 1000; i++)
        fs_reuse_names_invalidate(writer, "a", 1);
    ck_assert_int_eq(fs_reuse_names_follow(writer, path, &anew, &result), APR_SUCCESS);
    ck_assert(!anew);
    begun = fs_reuse_names_sequence(former);
    ck_assert_uint_le(fs_reuse_names_number(former, "b", 1), begun);
    for (unsigned replaced = 0; replaced < 2; replaced++) {
        ck_assert_int_eq(unlink(path), 0);
        if (replaced)
            ck_assert_uint_ne(prepare_names(path), 0);
        ck_assert(!fs_reuse_names_current(former, path));
        ck_assert_int_eq(fs_reuse_names_follow(writer, path, &anew, &result), APR_SUCCESS);
        ck_assert(anew && fs_reuse_names_current(writer, path));
        /* Of what was read in the former file nothing counts, there and here. */
        ck_assert_int_eq(fs_reuse_names_writer(former), 0);
        ck_assert_uint_gt(fs_reuse_names_number(former, "b", 1), begun);
        ck_assert_int_eq(fs_reuse_names_open_reader(&reader, path, &result), APR_SUCCESS);
        ck_assert_uint_gt(fs_reuse_names_number(reader, "b", 1), begun);
        ck_assert_int_eq(fs_reuse_names_writer(reader), getpid());
        begun = fs_reuse_names_sequence(reader);
        ck_assert_uint_le(fs_reuse_names_number(reader, "b", 1), begun);
        fs_reuse_names_invalidate(writer, "b", 1);
        ck_assert_uint_gt(fs_reuse_names_number(reader, "b", 1), begun);
        begun = fs_reuse_names_sequence(reader);
        fs_reuse_names_close(former);
        former = reader;
    }
    fs_reuse_names_close(former);
    fs_reuse_names_close(writer);
}
END_TEST

static Suite *once_suite(void)
{
    Suite *suite = suite_create("once");
    TCase *tests = tcase_create("once");

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, all_have_the_same);
    tcase_add_test(tests, who_is_killed_while_making_stops_nobody);
    tcase_add_test(tests, what_cannot_be_made);
    tcase_add_test(tests, names_mirrors_and_pages);
    tcase_add_test(tests, names_that_are_removed_in_use);
    tcase_set_timeout(tests, 60);
    suite_add_tcase(suite, tests);
    return suite;
}

FS_TEST_MAIN(once_suite)
