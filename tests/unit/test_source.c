/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The database as source, with a database that is made up here: this program defines fs_sql's
 * functions itself, so that each statement of a promotion can fail in each way.
 * tests/farm/test_source.py does the same against real servers.
 */
#include "fs_test.h"

#include <stdarg.h>
#include <string.h>

#include "base/fs_file.h"
#include "base/fs_log.h"
#include "net/fs_sql_format.h"
#include "sync/fs_source.h"
#include "sync/fs_source_image.h"

/* --- the made-up database ----------------------------------------------------------------------
 */

#define MAX_VALUES     16
#define MAX_STATEMENTS 64

typedef struct row_t {
    unsigned count;
    fs_slice_t values[MAX_VALUES];
} row_t;

struct fs_sql_t {
    int connected;
    fs_sql_error_t error;
    int fail_at; /* number of the statement that fails, -1 none */
    int fail_on; /* and all after it */
    fs_sql_error_t fail_with;
    const char *fail_text;
    int closes_when_ended;   /* a row function that refuses costs the connection */
    const char *outcome;     /* what procedure promote answers */
    const char *datasets[3]; /* that lack an image */
    const char *columns;     /* of farmsync.dataset */
    const char *since;
    const row_t *rows; /* of the version table, the manifest or whatever is asked */
    unsigned row_count;
    unsigned statement_count;
    char *statements[MAX_STATEMENTS];
};

static fs_sql_t db;
static char *dir;
static fs_result_t result;

#define TEXT(s)                                                                                    \
    {                                                                                              \
        s, sizeof(s) - 1                                                                           \
    }
#define SQL_NULL                                                                                   \
    {                                                                                              \
        NULL, 0                                                                                    \
    }

fs_sql_error_t fs_sql_error(const fs_sql_t *sql)
{
    return sql->error;
}

const char *fs_sql_peer(const fs_sql_t *sql)
{
    return sql->connected ? "db:3306" : "";
}

apr_status_t fs_sql_connect(fs_sql_t *sql, fs_result_t *why)
{
    (void)why;
    sql->connected = 1;
    return APR_SUCCESS;
}

void fs_sql_disconnect(fs_sql_t *sql)
{
    sql->connected = 0;
}

/* Notes the statement; fails if it is its turn. */
static apr_status_t note(fs_sql_t *sql, fs_result_t *why, const char *format, va_list args)
{
    size_t length;
    char *statement = fs_sql_format(&length, format, args);
    unsigned number = sql->statement_count;

    ck_assert_ptr_nonnull(statement);
    ck_assert_uint_lt(number, MAX_STATEMENTS);
    ck_assert_msg(sql->connected, "without a connection: %s", statement);
    sql->statements[sql->statement_count++] = statement;
    sql->error = FS_SQL_OK;
    if ((int)number != sql->fail_at && !(sql->fail_on && (int)number > sql->fail_at))
        return APR_SUCCESS;
    sql->error = sql->fail_with;
    if (sql->error == FS_SQL_LOST)
        sql->connected = 0;
    return fs_result_set(why, APR_EGENERAL, "FS0305", "%s", sql->fail_text);
}

apr_status_t fs_sql_run(fs_sql_t *sql, uint64_t *affected, fs_result_t *why, const char *format,
                        ...)
{
    apr_status_t status;
    va_list args;

    (void)affected;
    va_start(args, format);
    status = note(sql, why, format, args);
    va_end(args);
    return status;
}

static int is(const char *statement, const char *beginning)
{
    return strncmp(statement, beginning, strlen(beginning)) == 0;
}

static row_t one_value(const char *text)
{
    row_t row = {1, {{text, (uint32_t)strlen(text)}}};

    return row;
}

/* The rows that answer `statement`. */
static unsigned answer(const fs_sql_t *sql, const char *statement, row_t rows[3], const row_t **all)
{
    unsigned count = 0;

    *all = rows;
    if (is(statement, "CALL farmsync.promote(")) {
        rows[0] = one_value(sql->outcome);
        rows[0].values[1] = (fs_slice_t)TEXT("5");
        rows[0].values[2] = (fs_slice_t)TEXT("17");
        rows[0].count = 3;
        return 1;
    }
    if (is(statement, "SELECT d.name")) {
        for (; count < 3 && sql->datasets[count]; count++)
            rows[count] = one_value(sql->datasets[count]);
        return count;
    }
    if (is(statement, "SELECT `columns`") || is(statement, "SELECT since")) {
        const char *text = statement[7] == '`' ? sql->columns : sql->since;

        if (text)
            rows[0] = one_value(text);
        return text != NULL;
    }
    *all = sql->rows;
    return sql->row_count;
}

apr_status_t fs_sql_rows(fs_sql_t *sql, fs_sql_row_fn *fn, void *baton, fs_result_t *why,
                         const char *format, ...)
{
    const row_t *all;
    apr_status_t status;
    unsigned count;
    row_t rows[3];
    va_list args;

    va_start(args, format);
    status = note(sql, why, format, args);
    va_end(args);
    if (status)
        return status;
    count = answer(sql, sql->statements[sql->statement_count - 1], rows, &all);
    for (unsigned i = 0; i < count && !status; i++)
        status = fn(baton, all[i].values, all[i].count, why);
    if (status && sql->closes_when_ended) {
        sql->error = FS_SQL_LOST;
        sql->connected = 0;
    }
    return status;
}

static void forget_statements(void)
{
    for (unsigned i = 0; i < db.statement_count; i++)
        free(db.statements[i]);
    db.statement_count = 0;
}

/* The number of the first statement that begins so, -1 if none did. */
static int said(const char *beginning)
{
    for (unsigned i = 0; i < db.statement_count; i++) {
        if (is(db.statements[i], beginning))
            return (int)i;
    }
    return -1;
}

/* --- what tests begin with ----------------------------------------------------------------------
 */

#define COLUMNS                                                                                    \
    "[{\"name\":\"sku\",\"type\":\"text\",\"key\":1},{\"name\":\"price\",\"type\":\"decimal\","    \
    "\"key\":0}]"

static const row_t good_rows[] = {
    {2, {TEXT("sku-2"), TEXT("9.99")}},
    {2, {TEXT("sku-1"), SQL_NULL}},
};
static const row_t bad_rows[] = {
    {2, {TEXT("sku-2"), TEXT("9.99")}},
    {2, {TEXT("sku-2"), TEXT("1.00")}}, /* the key is there twice */
};

static void no_log(void *baton, fs_log_level_t level, const char *message)
{
    (void)baton;
    (void)level;
    (void)message;
}

static void begin(void)
{
    fs_log_set(no_log, NULL, FS_LOG_ERROR);
    dir = fs_test_mkdir();
    memset(&db, 0, sizeof(db));
    db.connected = 1;
    db.fail_at = -1;
    db.fail_text = "database db:3306: error 1234";
    db.outcome = "staged";
    db.datasets[0] = "prices";
    db.datasets[1] = "ship`ping";
    db.columns = COLUMNS;
    db.rows = good_rows;
    db.row_count = 2;
}

static void end(void)
{
    forget_statements();
    fs_test_rmdir(dir);
}

static apr_status_t promote(fs_promotion_t *outcome)
{
    fs_result_clear(&result);
    return fs_source_promote(&db, "default", 17, "ds1", dir, outcome, &result);
}

/* --- columns and values
 * --------------------------------------------------------------------------- */

#define ALL_TYPES                                                                                  \
    "[{\"name\":\"t\",\"type\":\"text\",\"key\":2},{\"name\":\"i\",\"type\":\"integer\","          \
    "\"key\":1},{\"name\":\"d\",\"type\":\"decimal\",\"key\":0},{\"name\":\"f\","                  \
    "\"type\":\"float\",\"key\":0},{\"name\":\"z\",\"type\":\"time\",\"key\":0},{\"name\":\"j\","  \
    "\"type\":\"json\",\"key\":0},{\"name\":\"b\",\"type\":\"binary\",\"key\":0}]"

static const row_t typed_rows[] = {
    {7,
     {TEXT("gr\xc3\xbc\xc3\x9f \xf0\x9f\x90\x98"), TEXT("-9223372036854775808"),
      TEXT("00012345678901234567890.1230"), TEXT("-1.5e300"), TEXT("0000-00-00 00:00:00.000000"),
      TEXT("{\"a\": [1, null]}"), TEXT("\0\xff\n'\0")}},
    {7, {TEXT(""), TEXT("18446744073709551615"), SQL_NULL, SQL_NULL, SQL_NULL, SQL_NULL, SQL_NULL}},
    {7, {TEXT(" x "), TEXT("0"), TEXT("0"), TEXT("0"), TEXT("838:59:59"), TEXT("null"), TEXT("")}},
};

/* What the database says goes into the image byte for byte, NULL as NULL, with its type. */
START_TEST(every_type_goes_through)
{
    fs_image_made_t made;
    fs_image_t *image;
    char path[512], hex[FS_DIGEST_HEX_SIZE];

    db.columns = ALL_TYPES;
    db.rows = typed_rows;
    db.row_count = 3;
    ck_assert_int_eq(fs_source_build(&db, "default", "prices", 5, dir, &made, &result),
                     APR_SUCCESS);
    ck_assert_uint_eq(made.rows, 3);
    snprintf(path, sizeof(path), "%s/%s.fsi", dir, fs_digest_hex(&made.digest, hex));
    ck_assert_int_eq(fs_image_open(&image, path, &result), APR_SUCCESS);
    ck_assert_str_eq(fs_image_schema(image)->group, "default");
    ck_assert_str_eq(fs_image_schema(image)->dataset, "prices");
    ck_assert_uint_eq(fs_image_schema(image)->key_count, 2);
    for (unsigned c = 0; c < 7; c++)
        ck_assert_int_eq(fs_image_schema(image)->columns[c].type, c);
    for (unsigned r = 0; r < 3; r++) {
        fs_slice_t key[2] = {typed_rows[r].values[1], typed_rows[r].values[0]};
        fs_row_t row;

        ck_assert_int_eq(fs_image_find(image, key, 2, &row), 1);
        for (unsigned c = 0; c < 7; c++) {
            const fs_slice_t *want = &typed_rows[r].values[c];
            fs_slice_t have = fs_row_value(&row, c);

            ck_assert_int_eq(have.data == NULL, want->data == NULL);
            ck_assert_uint_eq(have.length, want->length);
            if (want->data)
                ck_assert_mem_eq(have.data, want->data, want->length);
        }
    }
    fs_image_close(image);
}
END_TEST

START_TEST(statement_names_columns_and_rows_of_the_version)
{
    fs_image_made_t made;

    db.columns = "[{\"name\":\"a`b%s\",\"type\":\"text\",\"key\":1},"
                 "{\"name\":\"select\",\"type\":\"text\",\"key\":0}]";
    ck_assert_int_eq(fs_source_build(&db, "o'group", "pri`ces", 5, dir, &made, &result),
                     APR_SUCCESS);
    ck_assert_int_ge(said("SELECT `columns` FROM farmsync.dataset WHERE name = 'pri`ces' AND "
                          "group_name = 'o''group'"),
                     0);
    ck_assert_int_ge(said("SELECT `a``b%s`,`select` FROM farmsync.`data_pri``ces` WHERE "
                          "fs_from <= 5 AND fs_to > 5"),
                     0);
}
END_TEST

/* Two builders at different times give one digest: the version inside is when the content appeared.
 */
START_TEST(digest_depends_on_the_content_only)
{
    fs_image_made_t first, again, other;
    row_t turned[2] = {good_rows[1], good_rows[0]};

    ck_assert_int_eq(fs_source_build(&db, "default", "prices", 5, dir, &first, &result),
                     APR_SUCCESS);
    db.since = "5";
    db.rows = turned; /* the database gives rows in any order */
    ck_assert_int_eq(fs_source_build(&db, "default", "prices", 9, dir, &again, &result),
                     APR_SUCCESS);
    ck_assert(fs_digest_equal(&first.digest, &again.digest));
    db.since = "6";
    ck_assert_int_eq(fs_source_build(&db, "default", "prices", 9, dir, &other, &result),
                     APR_SUCCESS);
    ck_assert(!fs_digest_equal(&first.digest, &other.digest));
}
END_TEST

START_TEST(dataset_that_cannot_be_described_is_refused)
{
    static const char *const wrong[] = {
        "",
        "{}",
        "[]",
        "[7]",
        "[{\"name\":\"a\",\"type\":\"text\"}]",
        "[{\"name\":\"\",\"type\":\"text\",\"key\":1}]",
        "[{\"name\":\"a\",\"type\":\"varchar\",\"key\":1}]",
        "[{\"name\":\"a\",\"type\":\"text\",\"key\":99}]",
        "[{\"name\":\"a\",\"type\":\"text\",\"key\":1},{\"name\":\"b\",\"type\":7,\"key\":0}]",
    };
    fs_image_made_t made;

    for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        db.columns = wrong[i];
        ck_assert_int_ne(fs_source_build(&db, "default", "prices", 5, dir, &made, &result),
                         APR_SUCCESS);
        ck_assert_str_eq(result.problem, "FS0373");
        ck_assert_ptr_nonnull(strstr(result.detail, "'prices'"));
    }
    db.columns = NULL;
    ck_assert_int_ne(fs_source_build(&db, "default", "prices", 5, dir, &made, &result),
                     APR_SUCCESS);
    ck_assert_str_eq(result.problem, "FS0371");
    db.columns = "[{\"name\":\"a\",\"type\":\"text\",\"key\":0},"
                 "{\"name\":\"b\",\"type\":\"text\",\"key\":0}]"; /* no key */
    ck_assert_int_ne(fs_source_build(&db, "default", "prices", 5, dir, &made, &result),
                     APR_SUCCESS);
    ck_assert_str_eq(result.problem, "FS0101");
}
END_TEST

/* --- promotion
 * ------------------------------------------------------------------------------------- */

START_TEST(promotion_builds_what_changed_before_the_commit)
{
    fs_promotion_t outcome;

    ck_assert_int_eq(promote(&outcome), APR_SUCCESS);
    ck_assert_int_eq(outcome, FS_PROMOTION_STAGED);
    ck_assert_int_eq(said("START TRANSACTION"), 0);
    ck_assert_int_eq(said("CALL farmsync.promote('default', 17, 'ds1')"), 1);
    ck_assert_int_gt(said("CALL farmsync.promote_image('default', 5, 'prices', '"), 1);
    ck_assert_int_gt(said("CALL farmsync.promote_image('default', 5, 'ship`ping', '"), 1);
    ck_assert_int_eq(said("CALL farmsync.promote_done('default', 5, 'ds1')"),
                     (int)db.statement_count - 2);
    ck_assert_int_eq(said("COMMIT"), (int)db.statement_count - 1);
}
END_TEST

START_TEST(promotion_that_changes_nothing_builds_nothing)
{
    fs_promotion_t outcome;

    db.outcome = "unchanged";
    ck_assert_int_eq(promote(&outcome), APR_SUCCESS);
    ck_assert_int_eq(outcome, FS_PROMOTION_UNCHANGED);
    ck_assert_int_eq(said("COMMIT"), 2);
    ck_assert_uint_eq(db.statement_count, 3);
}
END_TEST

/* An ordered roll-back: its images are entered already, whoever has them. */
START_TEST(promotion_that_rolls_back_builds_nothing)
{
    fs_promotion_t outcome;

    db.outcome = "returned";
    ck_assert_int_eq(promote(&outcome), APR_SUCCESS);
    ck_assert_int_eq(outcome, FS_PROMOTION_RETURNED);
    ck_assert_int_eq(said("COMMIT"), 2);
    ck_assert_uint_eq(db.statement_count, 3);
}
END_TEST

START_TEST(promotion_that_is_lost_does_nothing)
{
    fs_promotion_t outcome;

    db.outcome = "lost";
    ck_assert_int_eq(promote(&outcome), APR_SUCCESS);
    ck_assert_int_eq(outcome, FS_PROMOTION_LOST);
    ck_assert_int_eq(said("ROLLBACK"), 2);
    ck_assert_uint_eq(db.statement_count, 3);
    ck_assert_str_eq(result.problem, "");
}
END_TEST

START_TEST(promotion_with_an_unknown_answer_is_an_error)
{
    fs_promotion_t outcome;

    db.outcome = "sideways";
    ck_assert_int_ne(promote(&outcome), APR_SUCCESS);
    ck_assert_str_eq(result.problem, "FS0374");
    ck_assert_int_eq(said("COMMIT"), -1);
    ck_assert_int_eq(said("CALL farmsync.promote_failed"), -1);
}
END_TEST

/* How many statements a promotion has that goes well. */
static unsigned promotion_length(void)
{
    fs_promotion_t outcome;
    unsigned length;

    ck_assert_int_eq(promote(&outcome), APR_SUCCESS);
    length = db.statement_count;
    forget_statements();
    return length;
}

/* Somebody else was faster, noticed at whatever statement, the COMMIT included. */
START_TEST(conflict_at_any_statement_is_a_lost_race)
{
    unsigned length = promotion_length();

    for (unsigned at = 0; at < length; at++) {
        fs_promotion_t outcome;

        db.fail_at = (int)at;
        db.fail_with = FS_SQL_CONFLICT;
        ck_assert_int_eq(promote(&outcome), APR_SUCCESS);
        ck_assert_int_eq(outcome, FS_PROMOTION_LOST);
        ck_assert_int_eq(said("ROLLBACK"), (int)at + 1);
        ck_assert_int_eq(said("CALL farmsync.promote_failed"), -1);
        forget_statements();
    }
}
END_TEST

/* A connection that breaks says nothing about the data: nothing is recorded, the caller asks again.
 */
START_TEST(lost_connection_at_any_statement_is_an_error)
{
    unsigned length = promotion_length();

    for (unsigned at = 0; at < length; at++) {
        fs_promotion_t outcome;

        db.fail_at = (int)at;
        db.fail_with = FS_SQL_LOST;
        ck_assert_int_ne(promote(&outcome), APR_SUCCESS);
        ck_assert_int_eq(outcome, FS_PROMOTION_LOST);
        ck_assert_str_eq(result.problem, "FS0305");
        ck_assert_uint_eq(db.statement_count, at + 1); /* nothing more, not in autocommit either */
        forget_statements();
    }
}
END_TEST

START_TEST(refused_statement_is_recorded)
{
    unsigned length = promotion_length();

    for (unsigned at = 1; at < length; at++) {
        fs_promotion_t outcome;

        db.fail_at = (int)at;
        db.fail_with = FS_SQL_REFUSED;
        db.fail_text = "database db: error 1142: it isn't allowed";
        ck_assert_int_eq(promote(&outcome), APR_SUCCESS);
        ck_assert_int_eq(outcome, FS_PROMOTION_REFUSED);
        ck_assert_int_eq(said("ROLLBACK TO SAVEPOINT farmsync_refused"), (int)at + 1);
        ck_assert_int_eq(said("CALL farmsync.promote_failed('default', 17, 'ds1', '"), (int)at + 2);
        ck_assert_ptr_nonnull(strstr(db.statements[at + 2], "FS0305: "));
        ck_assert_ptr_nonnull(strstr(db.statements[at + 2], "it isn''t allowed"));
        ck_assert_str_eq(result.problem, "FS0305");
        forget_statements();
    }
}
END_TEST

/* Names dataset and key, in the history as in the result. */
START_TEST(row_that_cannot_be_encoded_refuses_the_promotion_whole)
{
    fs_promotion_t outcome;

    for (int closes = 0; closes < 2; closes++) {
        db.closes_when_ended = closes;
        db.rows = bad_rows;
        ck_assert_int_eq(promote(&outcome), APR_SUCCESS);
        ck_assert_int_eq(outcome, FS_PROMOTION_REFUSED);
        ck_assert_str_eq(result.problem, "FS0106");
        ck_assert_int_eq(said("COMMIT"), -1);
        ck_assert_int_eq(said("CALL farmsync.promote_image"), -1);
        ck_assert_int_eq(said("CALL farmsync.promote_failed"), (int)db.statement_count - 1);
        ck_assert_ptr_nonnull(strstr(db.statements[db.statement_count - 1], "prices"));
        ck_assert_ptr_nonnull(strstr(db.statements[db.statement_count - 1], "sku-2"));
        forget_statements();
    }
}
END_TEST

/* As above, but the row itself is refused while others are still to come, and the connection goes.
 */
START_TEST(row_that_is_refused_in_the_stream_is_recorded_on_a_new_connection)
{
    static const row_t rows[] = {{2, {SQL_NULL, TEXT("1")}}, {2, {TEXT("x"), TEXT("1")}}};
    fs_promotion_t outcome;

    db.closes_when_ended = 1;
    db.rows = rows;
    ck_assert_int_eq(promote(&outcome), APR_SUCCESS);
    ck_assert_int_eq(outcome, FS_PROMOTION_REFUSED);
    ck_assert_str_eq(result.problem, "FS0103");
    ck_assert_int_eq(said("ROLLBACK"), -1); /* the connection took the transaction with it */
    ck_assert_int_eq(said("CALL farmsync.promote_failed"), (int)db.statement_count - 1);
}
END_TEST

/* Another promoter's disk may have room: not refused, not recorded. */
START_TEST(full_disk_here_is_not_recorded)
{
    fs_promotion_t outcome;
    char *here = dir;

    dir = "/proc/nowhere";
    ck_assert_int_ne(promote(&outcome), APR_SUCCESS);
    dir = here;
    ck_assert_str_eq(result.problem, "FS0102");
    ck_assert_int_eq(said("CALL farmsync.promote_failed"), -1);
    ck_assert_int_eq(said("ROLLBACK"), (int)db.statement_count - 1);
}
END_TEST

START_TEST(refusal_that_somebody_else_was_faster_with_is_lost)
{
    fs_promotion_t outcome;

    db.rows = bad_rows;
    db.fail_at =
        8; /* START, promote, list, columns, since, bases, rows, ROLLBACK, promote_failed */
    db.fail_on = 1;
    db.fail_with = FS_SQL_CONFLICT;
    ck_assert_int_eq(promote(&outcome), APR_SUCCESS);
    ck_assert_int_eq(said("CALL farmsync.promote_failed"), 8);
    ck_assert_int_eq(outcome, FS_PROMOTION_LOST);
    /* Its own transaction was in the way, on the connection that it had to close: not any more. */
    forget_statements();
    db.fail_on = 0;
    ck_assert_int_eq(promote(&outcome), APR_SUCCESS);
    ck_assert_int_eq(outcome, FS_PROMOTION_REFUSED);
    forget_statements();
    db.fail_with = FS_SQL_LOST;
    ck_assert_int_ne(promote(&outcome), APR_SUCCESS);
}
END_TEST

START_TEST(reason_fits_its_column)
{
    fs_promotion_t outcome;
    char text[900];
    const char *reason;

    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    memcpy(text + 488, "\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac", 9);
    db.fail_at = 1;
    db.fail_with = FS_SQL_REFUSED;
    db.fail_text = text;
    ck_assert_int_eq(promote(&outcome), APR_SUCCESS);
    reason = strstr(db.statements[3], "FS0305");
    ck_assert_ptr_nonnull(reason);
    ck_assert_uint_le(strlen(reason), 499 + strlen("')"));
    ck_assert_str_eq(reason + strlen(reason) - 3, "\xac')"); /* ends with a whole character */
}
END_TEST

/* --- manifest, clock, members
 * ----------------------------------------------------------------------- */

#define HEX_A "00000000000000000000000000000000000000000000000000000000000000aa"
#define GROUP_VALUES                                                                               \
    TEXT("default"), TEXT("12"), TEXT("11"), TEXT("17"), TEXT("failed"), TEXT("0"),                \
        TEXT("FS0104: because"), TEXT("1790000000000000"), TEXT("1790000000000000"),                 \
        TEXT("600000000"), TEXT("2000000")

static const row_t manifest_rows[] = {
    {16, {GROUP_VALUES, TEXT("12"), TEXT("z"), TEXT(HEX_A), TEXT("100"), TEXT("3")}},
    {16, {GROUP_VALUES, TEXT("12"), TEXT("a"), TEXT(HEX_A), TEXT("100"), TEXT("3")}},
    {16, {GROUP_VALUES, TEXT("11"), TEXT("z"), TEXT(HEX_A), TEXT("90"), TEXT("2")}},
};

START_TEST(manifest_comes_from_one_statement)
{
    fs_manifest_t *manifest;

    db.rows = manifest_rows;
    db.row_count = 3;
    ck_assert_int_eq(fs_source_manifest(&db, "default", &manifest, &result), APR_SUCCESS);
    ck_assert_uint_eq(db.statement_count, 1);
    ck_assert_int_eq(manifest->epoch, 17);
    ck_assert_int_eq(manifest->state, FS_GROUP_FAILED);
    ck_assert_str_eq(manifest->reason, "FS0104: because");
    ck_assert_int_eq(manifest->staged.version, 12);
    ck_assert_uint_eq(manifest->staged.dataset_count, 2);
    ck_assert_str_eq(manifest->staged.datasets[0].name, "a");
    ck_assert_uint_eq(manifest->active.dataset_count, 1);
    ck_assert_uint_eq(manifest->active.datasets[0].bytes, 90);
    fs_manifest_free(manifest);
}
END_TEST

START_TEST(manifest_of_a_group_without_images_is_empty)
{
    static const row_t rows[] = {
        {16,
         {TEXT("g"), TEXT("0"), TEXT("0"), TEXT("1"), TEXT("running"), TEXT("0"), TEXT(""),
          TEXT("1790000000000000"), TEXT("1790000000000000"), TEXT("1000000"), TEXT("500000"), SQL_NULL, SQL_NULL, SQL_NULL,
          SQL_NULL, SQL_NULL}}};
    fs_manifest_t *manifest;

    db.rows = rows;
    db.row_count = 1;
    ck_assert_int_eq(fs_source_manifest(&db, "g", &manifest, &result), APR_SUCCESS);
    ck_assert_uint_eq(manifest->active.dataset_count, 0);
    fs_manifest_free(manifest);
    db.row_count = 0;
    ck_assert_int_ne(fs_source_manifest(&db, "g", &manifest, &result), APR_SUCCESS);
    ck_assert_str_eq(result.problem, "FS0370");
    ck_assert_ptr_null(manifest);
}
END_TEST

/* One value of the good rows replaced: refused, and nothing is leaked (sanitizers look). */
START_TEST(manifest_that_makes_no_sense_is_refused)
{
    for (unsigned value = 0; value < 16; value++) {
        row_t rows[3] = {manifest_rows[0], manifest_rows[1], manifest_rows[2]};
        fs_manifest_t *manifest;

        if (value == 6) /* any text is a reason */
            continue;
        rows[value < 11 ? 0 : 2].values[value] =
            value == 12 ? (fs_slice_t)TEXT("") : (fs_slice_t)TEXT("x");
        if (value == 0)
            rows[0].values[0] = (fs_slice_t)SQL_NULL;
        db.rows = rows;
        db.row_count = 3;
        ck_assert_msg(fs_source_manifest(&db, "default", &manifest, &result) != APR_SUCCESS,
                      "value %u", value);
        ck_assert_str_eq(result.problem, "FS0372");
    }
}
END_TEST

START_TEST(clock_is_asked_once)
{
    static const row_t rows[] = {{1, {TEXT("1790000000000123")}}};
    fs_clock_sample_t sample;
    fs_usec_t before = fs_time_mono();

    db.rows = rows;
    db.row_count = 1;
    ck_assert_int_eq(fs_source_clock(&db, &sample, &result), APR_SUCCESS);
    ck_assert_int_eq(sample.remote, INT64_C(1790000000000123));
    ck_assert_int_ge(sample.sent, before);
    ck_assert_int_ge(sample.received, sample.sent);
    ck_assert_int_eq(sample.remote_bound, 0);
    db.row_count = 0;
    ck_assert_int_ne(fs_source_clock(&db, &sample, &result), APR_SUCCESS);
    ck_assert_str_eq(result.problem, "FS0377");
}
END_TEST

START_TEST(members_are_reported_in_one_statement)
{
    fs_member_t members[2] = {
        {.name = "web'1", .kind = "agent", .group = "default", .clock_bound = -1},
        {.name = "ds\\1", .kind = "datasrv", .group = "default", .problem = "it's\nbad\xff"}};

    ck_assert_int_eq(fs_source_report(&db, members, 2, &result), APR_SUCCESS);
    ck_assert_uint_eq(db.statement_count, 1);
    ck_assert_int_eq(said("CALL farmsync.report_members('[{\"name\":\"web''1\",\"kind\":\"agent\""),
                     0);
    ck_assert_ptr_nonnull(strstr(db.statements[0], "ds\\\\\\\\1")); /* JSON's and SQL's escapes */
    ck_assert_ptr_nonnull(strstr(db.statements[0], "it''s bad?"));
}
END_TEST

START_TEST(pruning_says_what_is_left)
{
    static const row_t rows[] = {{1, {TEXT("4000")}}};
    int64_t left;

    db.rows = rows;
    db.row_count = 1;
    ck_assert_int_eq(fs_source_prune(&db, "default", &left, &result), APR_SUCCESS);
    ck_assert_int_eq(left, 4000);
}
END_TEST

static Suite *source_suite(void)
{
    Suite *suite = suite_create("source");
    TCase *tcase = tcase_create("source");

    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, begin, end);
    tcase_add_test(tcase, every_type_goes_through);
    tcase_add_test(tcase, statement_names_columns_and_rows_of_the_version);
    tcase_add_test(tcase, digest_depends_on_the_content_only);
    tcase_add_test(tcase, dataset_that_cannot_be_described_is_refused);
    tcase_add_test(tcase, promotion_builds_what_changed_before_the_commit);
    tcase_add_test(tcase, promotion_that_changes_nothing_builds_nothing);
    tcase_add_test(tcase, promotion_that_rolls_back_builds_nothing);
    tcase_add_test(tcase, promotion_that_is_lost_does_nothing);
    tcase_add_test(tcase, promotion_with_an_unknown_answer_is_an_error);
    tcase_add_test(tcase, conflict_at_any_statement_is_a_lost_race);
    tcase_add_test(tcase, lost_connection_at_any_statement_is_an_error);
    tcase_add_test(tcase, refused_statement_is_recorded);
    tcase_add_test(tcase, row_that_cannot_be_encoded_refuses_the_promotion_whole);
    tcase_add_test(tcase, row_that_is_refused_in_the_stream_is_recorded_on_a_new_connection);
    tcase_add_test(tcase, full_disk_here_is_not_recorded);
    tcase_add_test(tcase, refusal_that_somebody_else_was_faster_with_is_lost);
    tcase_add_test(tcase, reason_fits_its_column);
    tcase_add_test(tcase, manifest_comes_from_one_statement);
    tcase_add_test(tcase, manifest_of_a_group_without_images_is_empty);
    tcase_add_test(tcase, manifest_that_makes_no_sense_is_refused);
    tcase_add_test(tcase, clock_is_asked_once);
    tcase_add_test(tcase, members_are_reported_in_one_statement);
    tcase_add_test(tcase, pruning_says_what_is_left);
    suite_add_tcase(suite, tcase);
    return suite;
}

FS_TEST_MAIN(source_suite)
