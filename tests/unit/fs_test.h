/* SPDX-License-Identifier: Apache-2.0 */
/* What every unit test program shares: one suite, one main, a scratch directory. */
#ifndef FS_TEST_H
#define FS_TEST_H

#include <check.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* A new directory below TMPDIR; remove it with fs_test_rmdir. */
static inline char *fs_test_mkdir(void)
{
    const char *base = getenv("TMPDIR");
    char *path = NULL;

    ck_assert_int_gt(asprintf(&path, "%s/farmsync-unit-XXXXXX", base ? base : "/tmp"), 0);
    ck_assert_ptr_nonnull(mkdtemp(path));
    return path;
}

static inline int fs_test_remove_one(const char *path, const struct stat *info, int type,
                                     struct FTW *where)
{
    (void)info;
    (void)type;
    (void)where;
    return remove(path);
}

static inline void fs_test_rmdir(char *path)
{
    nftw(path, fs_test_remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(path);
}

/* main() of a test program: runs `suite` and prints Check's closing line. A limit is for what
 * hangs; Check's own, 4 s, is none for a sanitizer on a busy machine. */
#define FS_TEST_MAIN(suite_function)                                                               \
    int main(void)                                                                                 \
    {                                                                                              \
        SRunner *runner;                                                                           \
        int failed;                                                                                \
                                                                                                   \
        setenv("CK_DEFAULT_TIMEOUT", "120", 0);                                                    \
        runner = srunner_create(suite_function());                                                 \
        srunner_run_all(runner, CK_NORMAL);                                                        \
        failed = srunner_ntests_failed(runner);                                                    \
        srunner_free(runner);                                                                      \
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;                                               \
    }

#endif
