/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The promotion, as a client of sql/procedures.sql, in one transaction:
 *
 *   START TRANSACTION
 *   CALL promote          compare-and-swap on epoch, then active := staged, staged := production
 *   build and enter the image of each dataset that changed
 *   CALL promote_done     COMMIT
 *
 * What an error means:
 *   conflict              somebody else was faster; nothing is left of this try: LOST
 *   connection            nobody knows, not even whether the COMMIT was done: an error; ask again
 *   this host's disk      rolled back and not recorded; another promoter may do better: an error
 *   statement or a row    every promoter would fail alike: recorded with promote_failed: REFUSED.
 *                         The transaction is rolled back to where it has the group's row and
 *                         nothing else, so that no other promoter does the same work in between
 * An image that was built for a version that was rolled back stays in `dir` under its digest, which
 * does no harm; fs_images_clean removes it.
 */
#include "sync/fs_source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs_log.h"
#include "sync/fs_source_image.h"

#define REASON_SIZE  500 /* sync.reason takes 512 characters */
#define RECORD_TRIES 10  /* each waits for a lock for 2 s at most */

typedef char name_t[FS_IMAGE_NAME_SIZE];

typedef struct promotion_t {
    fs_sql_t *sql;
    const char *group;
    int64_t epoch;
    const char *who;
    const char *dir;
    const fs_source_images_t *images;
    fs_promotion_t outcome;
    int64_t version;  /* the new one */
    int told;         /* the procedure gave its row */
    name_t *datasets; /* that have no image of the new version yet */
    unsigned count;
} promotion_t;

/* What a failed step means, see above. */
typedef enum verdict_t { VERDICT_DONE, VERDICT_LOST, VERDICT_ERROR, VERDICT_REFUSED } verdict_t;

static verdict_t sql_verdict(const promotion_t *promotion)
{
    switch (fs_sql_error(promotion->sql)) {
    case FS_SQL_CONFLICT:
        return VERDICT_LOST;
    case FS_SQL_REFUSED:
        return VERDICT_REFUSED;
    default:
        return VERDICT_ERROR;
    }
}

int fs_source_is_text(const fs_slice_t *value, const char *text)
{
    return value->data && value->length == strlen(text) &&
           memcmp(value->data, text, value->length) == 0;
}

/* Row (outcome, version, rows_changed) of procedure promote. */
static apr_status_t take_outcome(void *baton, const fs_slice_t *values, unsigned count,
                                 fs_result_t *result)
{
    promotion_t *promotion = baton;

    promotion->told = 1;
    promotion->outcome = FS_PROMOTION_LOST;
    if (count >= 2 && fs_source_is_text(&values[0], "unchanged"))
        promotion->outcome = FS_PROMOTION_UNCHANGED;
    else if (count >= 2 && fs_source_is_text(&values[0], "returned"))
        promotion->outcome = FS_PROMOTION_RETURNED;
    else if (count >= 2 && fs_source_is_text(&values[0], "staged") &&
             fs_source_number(&values[1], &promotion->version) == 0)
        promotion->outcome = FS_PROMOTION_STAGED;
    else if (count < 2 || !fs_source_is_text(&values[0], "lost"))
        return fs_result_set(result, APR_EGENERAL, "FS0374",
                             "procedure farmsync.promote answered with something unknown; install "
                             "the SQL files of this version of farmsync");
    return APR_SUCCESS;
}

static verdict_t call_promote(promotion_t *promotion, fs_result_t *result)
{
    if (fs_sql_run(promotion->sql, NULL, result, "START TRANSACTION") ||
        fs_sql_rows(promotion->sql, take_outcome, promotion, result,
                    "CALL farmsync.promote(%s, %d, %s)", promotion->group, promotion->epoch,
                    promotion->who))
        return sql_verdict(promotion);
    if (promotion->told)
        return VERDICT_DONE;
    fs_result_set(
        result, APR_EGENERAL, "FS0374",
        "procedure farmsync.promote gave no answer; install the SQL files of this version "
        "of farmsync");
    return VERDICT_ERROR;
}

static apr_status_t take_dataset(void *baton, const fs_slice_t *values, unsigned count,
                                 fs_result_t *result)
{
    promotion_t *promotion = baton;
    name_t *grown;

    if (count != 1 || !values[0].data || values[0].length >= sizeof(name_t))
        return fs_result_set(result, APR_EINVAL, "FS0372",
                             "the farm's tables hold something impossible (a name in "
                             "farmsync.dataset); were they changed by hand?");
    grown = realloc(promotion->datasets, (promotion->count + 1) * sizeof(*grown));
    if (!grown)
        return fs_result_set(result, APR_ENOMEM, "FS0378", "no memory for the list of datasets");
    promotion->datasets = grown;
    memcpy(grown[promotion->count], values[0].data, values[0].length);
    grown[promotion->count++][values[0].length] = '\0';
    return APR_SUCCESS;
}

static verdict_t list_changed(promotion_t *promotion, fs_result_t *result)
{
    if (fs_sql_rows(promotion->sql, take_dataset, promotion, result,
                    "SELECT d.name FROM farmsync.dataset d LEFT JOIN farmsync.image i ON "
                    "i.group_name = d.group_name AND i.dataset = d.name AND i.version = %d "
                    "WHERE d.group_name = %s AND d.dropped = 0 AND i.dataset IS NULL",
                    promotion->version, promotion->group))
        return sql_verdict(promotion);
    return VERDICT_DONE;
}

static verdict_t add_image(promotion_t *promotion, const char *dataset, fs_result_t *result)
{
    char hex[FS_DIGEST_HEX_SIZE];
    fs_build_failure_t failure;
    fs_image_made_t made;

    if (fs_source_build_image(promotion->sql, promotion->group, dataset, promotion->version,
                              promotion->dir, promotion->images, &made, &failure, result)) {
        if (failure == FS_BUILD_SQL)
            return sql_verdict(promotion);
        return failure == FS_BUILD_DATA ? VERDICT_REFUSED : VERDICT_ERROR;
    }
    if (fs_sql_run(promotion->sql, NULL, result,
                   "CALL farmsync.promote_image(%s, %d, %s, %s, %d, %d)", promotion->group,
                   promotion->version, dataset, fs_digest_hex(&made.digest, hex),
                   (int64_t)made.bytes, (int64_t)made.rows))
        return sql_verdict(promotion);
    return VERDICT_DONE;
}

static verdict_t add_images(promotion_t *promotion, fs_result_t *result)
{
    verdict_t verdict = list_changed(promotion, result);

    for (unsigned i = 0; i < promotion->count && verdict == VERDICT_DONE; i++)
        verdict = add_image(promotion, promotion->datasets[i], result);
    if (verdict == VERDICT_DONE &&
        fs_sql_run(promotion->sql, NULL, result, "CALL farmsync.promote_done(%s, %d, %s)",
                   promotion->group, promotion->version, promotion->who))
        verdict = sql_verdict(promotion);
    return verdict;
}

/* The transaction up to its COMMIT. */
static verdict_t attempt(promotion_t *promotion, fs_result_t *result)
{
    verdict_t verdict = call_promote(promotion, result);

    if (verdict == VERDICT_DONE && promotion->outcome == FS_PROMOTION_LOST)
        return VERDICT_LOST;
    if (verdict == VERDICT_DONE && promotion->outcome == FS_PROMOTION_STAGED)
        verdict = add_images(promotion, result);
    if (verdict == VERDICT_DONE && fs_sql_run(promotion->sql, NULL, result, "COMMIT"))
        verdict = sql_verdict(promotion);
    return verdict;
}

/* Leaves no transaction behind, not even one that cannot be ended. */
static void roll_back(promotion_t *promotion)
{
    if (fs_sql_peer(promotion->sql)[0] && fs_sql_run(promotion->sql, NULL, NULL, "ROLLBACK"))
        fs_sql_disconnect(promotion->sql);
}

/* Leaves the transaction with nothing but the lock of the group's row, or none at all. */
static void roll_back_work(promotion_t *promotion)
{
    if (fs_sql_peer(promotion->sql)[0] &&
        fs_sql_run(promotion->sql, NULL, NULL, "ROLLBACK TO SAVEPOINT farmsync_refused"))
        roll_back(promotion);
}

/* What history says: the procedures' own sentence without the way that it came. */
static void write_reason(const fs_result_t *result, char reason[REASON_SIZE])
{
    static const char signal[] = "error 1644 (45000): ";
    const char *own = strstr(result->detail, signal);
    char text[FS_DETAIL_SIZE + FS_PROBLEM_SIZE + 2];

    if (own)
        snprintf(text, sizeof(text), "%s", own + sizeof(signal) - 1);
    else
        snprintf(text, sizeof(text), "%s: %s", result->problem, result->detail);
    fs_text_fit(reason, REASON_SIZE, text, strlen(text));
}

/*
 * Where the promotion's connection had to be closed, its transaction is in the way until the server
 * has rolled it back, which may take longer than one wait for a lock. An epoch that has passed is
 * left alone by the procedure, so that trying again does no harm.
 */
static apr_status_t call_promote_failed(promotion_t *promotion, const char *reason,
                                        fs_result_t *why)
{
    apr_status_t status;
    unsigned tries = 0;

    do {
        status = fs_sql_connect(promotion->sql, why);
        if (!status)
            status = fs_sql_run(promotion->sql, NULL, why,
                                "CALL farmsync.promote_failed(%s, %d, %s, %s)", promotion->group,
                                promotion->epoch, promotion->who, reason);
    } while (status && ++tries < RECORD_TRIES && sql_verdict(promotion) == VERDICT_LOST);
    return status;
}

/* Enters the reason into history and lets the cycle go on. Changes the outcome. */
static apr_status_t record_refusal(promotion_t *promotion, fs_result_t *result)
{
    char reason[REASON_SIZE];
    apr_status_t status;
    fs_result_t why;

    write_reason(result, reason);
    promotion->outcome = FS_PROMOTION_REFUSED;
    status = call_promote_failed(promotion, reason, &why);
    if (!status)
        return APR_SUCCESS;
    if (sql_verdict(promotion) == VERDICT_LOST) {
        promotion->outcome = FS_PROMOTION_LOST;
        return APR_SUCCESS;
    }
    fs_log(FS_LOG_ERROR, "FS0376",
           "the promotion of group '%s' was refused (%s) and that could not be recorded: %s: %s",
           promotion->group, reason, why.problem, why.detail);
    roll_back(promotion);
    return status;
}

apr_status_t fs_source_promote(fs_sql_t *sql, const char *group, int64_t epoch, const char *who,
                               const char *dir, fs_promotion_t *outcome, fs_result_t *result)
{
    return fs_source_promote_known(sql, group, epoch, who, dir, NULL, outcome, result);
}

apr_status_t fs_source_promote_known(fs_sql_t *sql, const char *group, int64_t epoch,
                                     const char *who, const char *dir,
                                     const fs_source_images_t *images, fs_promotion_t *outcome,
                                     fs_result_t *result)
{
    promotion_t promotion = {.sql = sql,
                             .group = group,
                             .epoch = epoch,
                             .who = who,
                             .dir = dir,
                             .images = images,
                             .outcome = FS_PROMOTION_LOST};
    fs_result_t own;
    apr_status_t status;
    verdict_t verdict;

    *outcome = FS_PROMOTION_LOST;
    if (!result)
        result = &own;
    fs_result_clear(result);
    status = fs_sql_connect(sql, result);
    if (status)
        return status;
    verdict = attempt(&promotion, result);
    free(promotion.datasets);
    if (verdict == VERDICT_REFUSED)
        roll_back_work(&promotion);
    else if (verdict != VERDICT_DONE)
        roll_back(&promotion);
    if (verdict == VERDICT_REFUSED)
        status = record_refusal(&promotion, result);
    else if (verdict == VERDICT_ERROR)
        status = result->status ? result->status : APR_EGENERAL;
    else if (verdict == VERDICT_LOST)
        fs_result_clear(result);
    if (!status && verdict != VERDICT_LOST)
        *outcome = promotion.outcome;
    return status;
}
