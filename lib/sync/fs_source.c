/* SPDX-License-Identifier: Apache-2.0 */
/* Small questions to the database: its clock, a group's state, reports, pruning. */
#include "sync/fs_source.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "sync/fs_member.h"
#include "sync/fs_source_image.h"

#define PRUNE_STEP                                                                                 \
    2000 /* rows removed in one statement: short locks, small write sets on Galera                 \
          */

/* --- clock -------------------------------------------------------------------------------------
 */

static apr_status_t take_clock(void *baton, const fs_slice_t *values, unsigned count,
                               fs_result_t *result)
{
    fs_clock_sample_t *sample = baton;

    sample->received = fs_time_mono();
    if (count == 1 && fs_source_number(&values[0], &sample->remote) == 0)
        return APR_SUCCESS;
    return fs_result_set(result, APR_EGENERAL, "FS0377",
                         "the database gave no time when it was asked for it");
}

apr_status_t fs_source_clock(fs_sql_t *sql, fs_clock_sample_t *sample, fs_result_t *result)
{
    apr_status_t status = fs_sql_connect(sql, result);

    memset(sample, 0, sizeof(*sample));
    if (status)
        return status;
    sample->sent = fs_time_mono();
    /* SYSDATE is when it is evaluated; NOW would be when the statement began. */
    status = fs_sql_rows(sql, take_clock, sample, result,
                         "SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01 00:00:00', SYSDATE(6))");
    if (!status && !sample->received)
        return fs_result_set(result, APR_EGENERAL, "FS0377",
                             "the database gave no time when it was asked for it");
    return status;
}

/* --- manifest ----------------------------------------------------------------------------------
 */

/* Columns of the one statement that reads a group whole, so that one snapshot covers all of it. */
enum {
    M_GROUP,
    M_VERSION,
    M_ACTIVE,
    M_EPOCH,
    M_STATE,
    M_PINNED,
    M_REASON,
    M_ACTIVATION,
    M_GRID,
    M_INTERVAL,
    M_LEAD,
    M_IMAGE_VERSION, /* this and the following NULL: no image */
    M_DATASET,
    M_DIGEST,
    M_BYTES,
    M_ROWS,
    M_COUNT
};

#define MANIFEST_STATEMENT                                                                         \
    "SELECT s.group_name, s.version, s.active_version, s.epoch, s.state, s.pinned_version, "       \
    "s.reason, s.activation_us, s.grid_us, s.interval_us, s.lead_us, i.version, i.dataset, "       \
    "i.digest, i.bytes, i.row_count FROM farmsync.sync_us s LEFT JOIN farmsync.image i "                     \
    "ON i.group_name = s.group_name AND i.version IN (s.active_version, s.version) "               \
    "WHERE s.group_name = %s"

static apr_status_t bad_row(fs_result_t *result, const char *what)
{
    return fs_result_set(result, APR_EINVAL, "FS0372",
                         "the farm's tables hold something impossible (%s); were they changed by "
                         "hand?",
                         what);
}

static apr_status_t take_group(fs_manifest_t *manifest, const fs_slice_t *values,
                               fs_result_t *result)
{
    const fs_slice_t *group = &values[M_GROUP], *state = &values[M_STATE];

    if (!group->data || group->length >= sizeof(manifest->group) || !state->data ||
        fs_group_state_parse(state->data, state->length, &manifest->state) ||
        fs_source_number(&values[M_VERSION], &manifest->staged.version) ||
        fs_source_number(&values[M_ACTIVE], &manifest->active.version) ||
        fs_source_number(&values[M_EPOCH], &manifest->epoch) ||
        fs_source_number(&values[M_PINNED], &manifest->pinned_version) ||
        fs_source_number(&values[M_ACTIVATION], &manifest->activation_time) ||
        fs_source_number(&values[M_GRID], &manifest->grid) ||
        fs_source_number(&values[M_INTERVAL], &manifest->interval) ||
        fs_source_number(&values[M_LEAD], &manifest->min_lead) || manifest->interval < 1)
        return bad_row(result, "farmsync.sync");
    memcpy(manifest->group, group->data, group->length);
    if (values[M_REASON].data)
        fs_text_fit(manifest->reason, sizeof(manifest->reason), values[M_REASON].data,
                    values[M_REASON].length);
    return APR_SUCCESS;
}

static apr_status_t take_image(fs_manifest_t *manifest, const fs_slice_t *values,
                               fs_result_t *result)
{
    const fs_slice_t *name = &values[M_DATASET], *hex = &values[M_DIGEST];
    fs_manifest_version_t *version;
    int64_t number, bytes, rows;
    char text[FS_DIGEST_HEX_SIZE];
    fs_digest_t digest;

    if (fs_source_number(&values[M_IMAGE_VERSION], &number) ||
        fs_source_number(&values[M_BYTES], &bytes) || fs_source_number(&values[M_ROWS], &rows) ||
        !name->data || !hex->data || hex->length != sizeof(text) - 1 || bytes < 0 || rows < 0)
        return bad_row(result, "farmsync.image");
    memcpy(text, hex->data, sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    version = number == manifest->active.version ? &manifest->active : &manifest->staged;
    if (fs_digest_parse(&digest, text) ||
        fs_manifest_add_dataset(version, name->data, name->length, &digest, (uint64_t)bytes,
                                (uint64_t)rows))
        return bad_row(result, "farmsync.image");
    return APR_SUCCESS;
}

/* One row an image; the group's own values are in each. */
static apr_status_t take_manifest(void *baton, const fs_slice_t *values, unsigned count,
                                  fs_result_t *result)
{
    fs_manifest_t **manifest = baton;
    apr_status_t status = APR_SUCCESS;

    if (count != M_COUNT)
        return bad_row(result, "farmsync.sync_us");
    if (!*manifest) {
        *manifest = calloc(1, sizeof(**manifest));
        status = *manifest
                     ? take_group(*manifest, values, result)
                     : fs_result_set(result, APR_ENOMEM, "FS0378", "no memory for a manifest");
    }
    if (!status && values[M_IMAGE_VERSION].data)
        status = take_image(*manifest, values, result);
    return status;
}

apr_status_t fs_source_manifest(fs_sql_t *sql, const char *group, fs_manifest_t **manifest,
                                fs_result_t *result)
{
    apr_status_t status = fs_sql_connect(sql, result);

    *manifest = NULL;
    if (status)
        return status;
    status = fs_sql_rows(sql, take_manifest, manifest, result, MANIFEST_STATEMENT, group);
    if (!status && !*manifest)
        status = fs_result_set(result, APR_ENOENT, "FS0370",
                               "the database has no group '%s' in farmsync.sync; see FarmSyncGroup "
                               "and farmsync.add_dataset_with",
                               group);
    if (status) {
        fs_manifest_free(*manifest);
        *manifest = NULL;
        return status;
    }
    if ((*manifest)->staged.version == (*manifest)->active.version)
        (*manifest)->staged = (*manifest)->active;
    return APR_SUCCESS;
}

/* --- members and pruning -----------------------------------------------------------------------
 */

apr_status_t fs_source_report(fs_sql_t *sql, const fs_member_t *members, unsigned count,
                              fs_result_t *result)
{
    apr_status_t status = fs_sql_connect(sql, result);
    json_t *list;
    char *text;

    if (status)
        return status;
    list = json_array();
    for (unsigned i = 0; i < count; i++)
        json_array_append_new(list, fs_member_json(&members[i]));
    text = json_dumps(list, JSON_COMPACT);
    json_decref(list);
    if (!text)
        return fs_result_set(result, APR_ENOMEM, "FS0378", "no memory to report %u members", count);
    status = fs_sql_run(sql, NULL, result, "CALL farmsync.report_members(%s)", text);
    free(text);
    return status;
}

typedef struct decided_t {
    fs_decision_t decision;
    char detail[FS_DETAIL_SIZE];
} decided_t;

/* Row (outcome, detail) of procedure decide. */
static apr_status_t take_decision(void *baton, const fs_slice_t *values, unsigned count,
                                  fs_result_t *result)
{
    static const struct {
        const char *name;
        fs_decision_t decision;
    } outcomes[] = {{"wait", FS_DECISION_WAIT},       {"go", FS_DECISION_GO},
                    {"put off", FS_DECISION_PUT_OFF}, {"activated", FS_DECISION_LIMIT},
                    {"held", FS_DECISION_LIMIT},      {"lost", FS_DECISION_LOST}};
    decided_t *decided = baton;

    for (unsigned i = 0; count == 2 && i < sizeof(outcomes) / sizeof(outcomes[0]); i++) {
        if (!fs_source_is_text(&values[0], outcomes[i].name))
            continue;
        decided->decision = outcomes[i].decision;
        if (values[1].data)
            fs_text_fit(decided->detail, sizeof(decided->detail), values[1].data, values[1].length);
        return APR_SUCCESS;
    }
    return fs_result_set(result, APR_EGENERAL, "FS0379",
                         "procedure farmsync.decide answered with something unknown; install the "
                         "SQL files of this version of farmsync");
}

apr_status_t fs_source_decide(fs_sql_t *sql, const char *group, int64_t epoch, const char *who,
                              fs_decision_t *decision, fs_result_t *result)
{
    decided_t decided = {.decision = FS_DECISION_LOST};
    apr_status_t status = fs_sql_connect(sql, result);

    *decision = FS_DECISION_LOST;
    if (status)
        return status;
    status = fs_sql_rows(sql, take_decision, &decided, result, "CALL farmsync.decide(%s, %d, %s)",
                         group, epoch, who);
    if (status && fs_sql_error(sql) != FS_SQL_CONFLICT)
        return status;
    fs_result_clear(result);
    if (!status) {
        *decision = decided.decision;
        memcpy(result->detail, decided.detail, sizeof(result->detail));
    }
    return APR_SUCCESS;
}

static apr_status_t take_left(void *baton, const fs_slice_t *values, unsigned count,
                              fs_result_t *result)
{
    (void)result;
    if (count >= 1)
        fs_source_number(&values[0], baton);
    return APR_SUCCESS;
}

apr_status_t fs_source_prune(fs_sql_t *sql, const char *group, int64_t *left, fs_result_t *result)
{
    apr_status_t status = fs_sql_connect(sql, result);

    *left = 0;
    if (status)
        return status;
    return fs_sql_rows(sql, take_left, left, result, "CALL farmsync.prune(%s, %d)", group,
                       (int64_t)PRUNE_STEP);
}
