/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of datasrv that hold and decide; what they do together is in
 * tests/farm/test_datasrv.py. */
#include "fs_test.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "base/fs_file.h"
#include "base/fs_name.h"
#include "datasrv/board.h"
#include "datasrv/daemon.h"
#include "datasrv/roster.h"
#include "datasrv/settings.h"
#include "datasrv/store.h"

static fs_member_t make_member(const char *name, const char *group, int64_t version)
{
    fs_member_t member = {.version_active = version};

    snprintf(member.name, sizeof(member.name), "%s", name);
    snprintf(member.group, sizeof(member.group), "%s", group);
    return member;
}

static void put(fs_roster_t *roster, const char *name, const char *group, int64_t version)
{
    fs_member_t member = make_member(name, group, version);

    ck_assert_int_eq(fs_roster_put(roster, &member), 1);
}

START_TEST(roster_keeps_the_newest_word_of_each)
{
    fs_roster_t *roster = fs_roster_create();
    fs_member_t *taken;

    put(roster, "web2", "a", 1);
    put(roster, "web1", "b", 2);
    put(roster, "web1", "a", 3);
    put(roster, "web2", "a", 4);
    ck_assert_uint_eq(fs_roster_take(roster, &taken), 3);
    ck_assert_str_eq(taken[0].name, "web1");
    ck_assert_int_eq(taken[0].version_active, 3);
    ck_assert_int_eq(taken[1].version_active, 2);
    ck_assert_int_eq(taken[2].version_active, 4);
    free(taken);
    ck_assert_uint_eq(fs_roster_take(roster, &taken), 0);
    ck_assert_ptr_null(taken);
    fs_roster_destroy(roster);
}
END_TEST

/* web1 at 10.0.0.1 and another one that calls itself web1, too. */
START_TEST(roster_tells_servers_of_one_name)
{
    fs_roster_t *roster = fs_roster_create();
    fs_member_t member = {.name = "web1", .group = "a", .address = "10.0.0.1:80"};
    fs_member_t *taken;

    fs_roster_put(roster, &member);
    fs_roster_put(roster, &member);
    ck_assert_uint_eq(fs_roster_take(roster, &taken), 1);
    ck_assert_str_eq(taken[0].problem, "");
    free(taken);
    fs_roster_put(roster, &member);
    snprintf(member.address, sizeof(member.address), "10.0.0.2:80");
    fs_roster_put(roster, &member);
    ck_assert_uint_eq(fs_roster_take(roster, &taken), 1);
    ck_assert_ptr_nonnull(strstr(taken[0].problem, "10.0.0.1:80 and 10.0.0.2:80"));
    free(taken);
    fs_roster_destroy(roster);
}
END_TEST

/* What could not be written isn't lost, and doesn't put newer word out. */
START_TEST(roster_takes_back_what_could_not_be_written)
{
    fs_roster_t *roster = fs_roster_create();
    fs_member_t *taken;
    unsigned count;

    put(roster, "web1", "a", 1);
    put(roster, "web2", "a", 1);
    count = fs_roster_take(roster, &taken);
    put(roster, "web1", "a", 2);
    fs_roster_give_back(roster, taken, count);
    ck_assert_uint_eq(fs_roster_take(roster, &taken), 2);
    ck_assert_int_eq(taken[0].version_active, 2);
    ck_assert_int_eq(taken[1].version_active, 1);
    free(taken);
    fs_roster_destroy(roster);
}
END_TEST

START_TEST(roster_is_bounded)
{
    fs_roster_t *roster = fs_roster_create();
    fs_member_t member;
    char name[16];

    for (unsigned i = 0; i < FS_ROSTER_MEMBERS; i++) {
        snprintf(name, sizeof(name), "web%u", i * 7919 % FS_ROSTER_MEMBERS);
        put(roster, name, "a", 1);
    }
    member = make_member("one-more", "a", 1);
    ck_assert_int_eq(fs_roster_put(roster, &member), 0);
    put(roster, "web0", "a", 2); /* who is known may always speak */
    fs_roster_destroy(roster);
}
END_TEST

static void name_image(fs_digest_t *digest, unsigned number)
{
    memset(digest, 0, sizeof(*digest));
    memcpy(digest->bytes, &number, sizeof(number));
}

static void fill_version(fs_manifest_version_t *version, int64_t number)
{
    version->version = number;
    version->dataset_count = 1;
    version->datasets = calloc(1, sizeof(*version->datasets));
    snprintf(version->datasets[0].name, sizeof(version->datasets[0].name), "prices");
    name_image(&version->datasets[0].digest, (unsigned)number);
}

/* A manifest whose version N has the image N. */
static fs_published_t *make_published(int64_t active, int64_t staged)
{
    fs_manifest_t *manifest = calloc(1, sizeof(*manifest));

    snprintf(manifest->group, sizeof(manifest->group), "g");
    manifest->epoch = staged;
    manifest->interval = FS_USEC_PER_SEC;
    manifest->activation_time = 1000;
    fill_version(&manifest->active, active);
    if (staged != active)
        fill_version(&manifest->staged, staged);
    else
        manifest->staged = manifest->active; /* as fs_manifest.h has it */
    return fs_published_make(manifest);
}

static int names(fs_board_t *board, unsigned image, int kept)
{
    fs_digest_t digest;

    name_image(&digest, image);
    return fs_board_names(board, &digest, kept);
}

START_TEST(board_keeps_images_of_superseded_versions)
{
    fs_board_t *board = fs_board_create(2);

    ck_assert(fs_board_add(board, "g"));
    ck_assert(!fs_board_complete(board));
    fs_board_set_listed(board);
    ck_assert(
        !fs_board_complete(board)); /* nothing may be removed before every manifest is known */
    for (int64_t version = 1; version <= 6; version++)
        fs_board_publish(board, "g", make_published(version, version + 1));
    ck_assert(fs_board_complete(board));
    /* 6 and 7 are current; 5 and 4 are kept, each with its successor; 3 and older are not. */
    for (unsigned image = 1; image <= 8; image++) {
        ck_assert_int_eq(names(board, image, 0), image == 6 || image == 7);
        ck_assert_int_eq(names(board, image, 1), image >= 4 && image <= 7);
    }
    fs_board_destroy(board);
}
END_TEST

START_TEST(board_forgets_a_group)
{
    fs_board_t *board = fs_board_create(0);
    fs_published_t *published;

    ck_assert(fs_board_add(board, "g"));
    fs_board_publish(board, "g", make_published(1, 2));
    ck_assert(fs_board_group(board, "g", &published));
    ck_assert_ptr_nonnull(published);
    fs_board_remove(board, "g");
    ck_assert(!names(board, 1, 1));
    ck_assert_int_eq(published->manifest->active.version, 1); /* a reference outlives it */
    fs_published_drop(published);
    ck_assert(!fs_board_group(board, "g", &published));
    ck_assert_ptr_null(published);
    fs_board_publish(board, "g", make_published(1, 1)); /* dropped, not leaked */
    fs_board_destroy(board);
}
END_TEST

/* Before the activation the active version's images come first, after it the staged one's. */
START_TEST(version_in_force_comes_first)
{
    fs_published_t *published = make_published(1, 2), *same = make_published(3, 3),
                   *none = make_published(0, 0);
    const fs_manifest_version_t *versions[2];

    ck_assert_uint_eq(fs_published_versions(published, 999, versions), 2);
    ck_assert_int_eq(versions[0]->version, 1);
    ck_assert_uint_eq(fs_published_versions(published, 1000, versions), 2);
    ck_assert_int_eq(versions[0]->version, 2);
    ck_assert_uint_eq(fs_published_versions(published, 0, versions), 2);
    ck_assert_int_eq(versions[0]->version, 1);
    for (fs_usec_t now = 999; now <= 1000; now++) {
        ck_assert_uint_eq(fs_published_versions(same, now, versions), 1);
        ck_assert_uint_eq(versions[0]->dataset_count, 1);
    }
    ck_assert_uint_eq(fs_published_versions(none, 1000, versions), 0);
    fs_published_drop(published);
    fs_published_drop(same);
    fs_published_drop(none);
}
END_TEST

START_TEST(database_changes_are_told_once)
{
    fs_board_t *board = fs_board_create(0);
    fs_database_facts_t facts;
    fs_result_t why;

    fs_result_set(&why, APR_EGENERAL, "FS0304", "no host answers");
    ck_assert_int_eq(fs_board_database_away(board, &why), 1); /* at the start, too */
    ck_assert_int_eq(fs_board_database_away(board, &why), 0);
    ck_assert_int_eq(fs_board_database_up(board), 1);
    ck_assert_int_eq(fs_board_database_up(board), 0);
    ck_assert_int_eq(fs_board_database_away(board, &why), 1);
    fs_board_database(board, &facts);
    ck_assert_int_eq(facts.up, 0);
    ck_assert_str_eq(facts.problem.problem, "FS0304");
    fs_board_destroy(board);
}
END_TEST

START_TEST(settings_take_every_form_of_a_line)
{
    static const char text[] = "# a comment\n\n  database\t /etc/my.cnf  \r\n"
                               "NAME \" ds.1 \"\nGroup a b\nGroup c\nLogLevel debug\nKeepImages 0";
    static const char good[] = "Database /etc/my.cnf\nListen [::1]:99\n";
    char *dir = fs_test_mkdir(), *path;
    fs_settings_t *settings = NULL;
    fs_result_t result;

    ck_assert_int_gt(asprintf(&path, "%s/conf", dir), 0);
    ck_assert_int_eq(fs_file_write(path, text, sizeof(text) - 1, &result), APR_SUCCESS);
    ck_assert_int_ne(fs_settings_read(&settings, path, &result), APR_SUCCESS);
    ck_assert_str_eq(result.problem, "FS0802"); /* a name with blanks, which the quotes kept */
    ck_assert_int_eq(fs_file_write(path, text, strstr(text, "NAME") - text, &result), APR_SUCCESS);
    ck_assert_int_eq(fs_settings_read(&settings, path, &result), APR_SUCCESS);
    ck_assert_str_eq(settings->database, "/etc/my.cnf");
    ck_assert_str_eq(settings->listen, FS_DEFAULT_LISTEN);
    ck_assert_uint_eq(settings->group_count, 0);
    fs_settings_free(settings);
    ck_assert_int_eq(fs_file_write(path, good, sizeof(good) - 1, &result), APR_SUCCESS);
    ck_assert_int_eq(fs_settings_read(&settings, path, &result), APR_SUCCESS);
    ck_assert(fs_name_is_good(settings->name)); /* made of the host's name and the port */
    ck_assert_str_eq(strrchr(settings->name, ':'), ":99");
    fs_settings_free(settings);
    free(path);
    fs_test_rmdir(dir);
}
END_TEST

/* An image file as far as the store looks at one, taken in as made here. */
static void make_image(fs_store_t *store, const char *text, char path[256], fs_digest_t *digest)
{
    fs_image_made_t made = {.bytes = strlen(text)};
    char hex[FS_DIGEST_HEX_SIZE];
    fs_result_t result;

    fs_digest_of(&made.digest, text, made.bytes);
    *digest = made.digest;
    snprintf(path, 256, "%s/%s.fsi", fs_store_dir(store), fs_digest_hex(digest, hex));
    ck_assert_int_eq(fs_file_write(path, text, made.bytes, &result), APR_SUCCESS);
    fs_store_accept(store, &made);
}

static int nobody_names_it(void *baton, const fs_digest_t *digest)
{
    (void)baton;
    (void)digest;
    return 0;
}

START_TEST(store_removes_old_images_though_promotions_follow_closely)
{
    char *dir = fs_test_mkdir(), old[256], fresh[256];
    fs_store_t *store;
    fs_digest_t digest;
    fs_result_t result;

    ck_assert_int_eq(fs_store_open(&store, dir, &result), APR_SUCCESS);
    make_image(store, "old", old, &digest);
    for (fs_usec_t now = 1; now < 2 * FS_STORE_GRACE; now += FS_USEC_PER_SEC) {
        fs_store_tidy(store, now, nobody_names_it, NULL);
        fs_store_hold(store);
        make_image(store, "made again in each cycle", fresh, &digest);
        fs_store_release(store);
    }
    ck_assert_int_ne(access(old, F_OK), 0);
    ck_assert_int_eq(access(fresh, F_OK), 0);
    fs_store_close(store);
    fs_test_rmdir(dir);
}
END_TEST

START_TEST(store_keeps_what_a_long_promotion_made)
{
    char *dir = fs_test_mkdir(), path[256];
    fs_store_t *store;
    fs_digest_t digest;
    fs_result_t result;

    ck_assert_int_eq(fs_store_open(&store, dir, &result), APR_SUCCESS);
    fs_store_hold(store);
    make_image(store, "made", path, &digest);
    fs_store_tidy(store, 1, nobody_names_it, NULL);
    fs_store_tidy(store, 5 * FS_STORE_GRACE, nobody_names_it, NULL); /* held: nothing goes */
    fs_store_release(store);
    fs_store_tidy(store, 6 * FS_STORE_GRACE, nobody_names_it, NULL);
    ck_assert_int_eq(access(path, F_OK), 0);
    fs_store_tidy(store, 7 * FS_STORE_GRACE, nobody_names_it, NULL);
    ck_assert_int_ne(access(path, F_OK), 0);
    fs_store_close(store);
    fs_test_rmdir(dir);
}
END_TEST

/* --- the pid file -------------------------------------------------------------------------------
 */

/* How often this process had it and wasn't the only one, or the file wasn't its own. */
static int take_turns(const char *path, int *holders)
{
    int wrong = 0, fd;
    fs_result_t result;

    for (unsigned i = 0; i < 2000; i++) {
        char text[32] = "", own[32];
        FILE *file;

        if (fs_pid_file_take(path, &fd, &result) != APR_SUCCESS)
            continue;
        wrong += __atomic_fetch_add(holders, 1, __ATOMIC_SEQ_CST) != 0;
        snprintf(own, sizeof(own), "%d\n", (int)getpid());
        file = fopen(path, "r");
        wrong += !file || !fgets(text, sizeof(text), file) || strcmp(text, own) != 0;
        if (file)
            fclose(file);
        __atomic_fetch_sub(holders, 1, __ATOMIC_SEQ_CST);
        fs_pid_file_remove(path, fd);
    }
    return wrong != 0;
}

START_TEST(pid_file_has_one_owner_while_others_end)
{
    char *dir = fs_test_mkdir(), path[600];
    int *holders =
        mmap(NULL, sizeof(*holders), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t children[4];
    int status;

    snprintf(path, sizeof(path), "%s/datasrv.pid", dir);
    ck_assert_ptr_ne(holders, MAP_FAILED);
    for (unsigned i = 0; i < 4; i++) {
        children[i] = fork();
        if (!children[i])
            _exit(take_turns(path, holders));
    }
    for (unsigned i = 0; i < 4; i++) {
        ck_assert_int_eq(waitpid(children[i], &status, 0), children[i]);
        ck_assert_int_eq(status, 0);
    }
    munmap(holders, sizeof(*holders));
    fs_test_rmdir(dir);
}
END_TEST

static Suite *suite(void)
{
    Suite *all = suite_create("datasrv");
    TCase *tests = tcase_create("parts");

    tcase_add_test(tests, roster_keeps_the_newest_word_of_each);
    tcase_add_test(tests, roster_tells_servers_of_one_name);
    tcase_add_test(tests, roster_takes_back_what_could_not_be_written);
    tcase_add_test(tests, roster_is_bounded);
    tcase_add_test(tests, board_keeps_images_of_superseded_versions);
    tcase_add_test(tests, board_forgets_a_group);
    tcase_add_test(tests, version_in_force_comes_first);
    tcase_add_test(tests, database_changes_are_told_once);
    tcase_add_test(tests, settings_take_every_form_of_a_line);
    tcase_add_test(tests, store_removes_old_images_though_promotions_follow_closely);
    tcase_add_test(tests, store_keeps_what_a_long_promotion_made);
    tcase_add_test(tests, pid_file_has_one_owner_while_others_end);
    suite_add_tcase(all, tests);
    return all;
}

FS_TEST_MAIN(suite)
