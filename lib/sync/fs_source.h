/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The database as source: reading a group's state, promoting it, building its images.
 * Used by datasrv, and by agents when no datasrv answers. One connection, one thread at a time.
 * Each function connects first if there is no connection (FS0304). The SQL behind it is in sql/;
 * the contract of names is in the head of sql/procedures.sql.
 */
#ifndef FS_SOURCE_H
#define FS_SOURCE_H

#include "base/fs_result.h"
#include "net/fs_sql.h"
#include "sync/fs_farm_clock.h"
#include "sync/fs_manifest.h"

/* Asks the database for its clock once. Errors: as fs_sql_run. */
apr_status_t fs_source_clock(fs_sql_t *sql, fs_clock_sample_t *sample, fs_result_t *result);

/* Reads the group's row and the images of its versions in one snapshot. FS0370: no such group. */
apr_status_t fs_source_manifest(fs_sql_t *sql, const char *group, fs_manifest_t **manifest,
                                fs_result_t *result);

/*
 * Builds the image of `dataset` at `version` into `dir` (see fs_image_builder_finish for its name).
 * Deterministic: the digest is that of every other builder, at any time. Errors: FS0371 no such
 * dataset in the group, FS0373 its description cannot be used, those of fs_sql and of the builder
 * (with the dataset's name in front).
 */
apr_status_t fs_source_build(fs_sql_t *sql, const char *group, const char *dataset, int64_t version,
                             const char *dir, fs_image_made_t *made, fs_result_t *result);

/*
 * What a process knows of the images in its directory, so that none is read through twice: whether
 * it has verified one, and that one was made, whose digest is that of what was written. Either may
 * be NULL. Called in the thread that builds.
 */
typedef struct fs_source_images_t {
    void *baton;
    int (*is_verified)(void *baton, const fs_digest_t *digest);
    void (*made)(void *baton, const fs_image_made_t *made);
} fs_source_images_t;

/* As fs_source_build; `images` may be NULL. */
apr_status_t fs_source_build_known(fs_sql_t *sql, const char *group, const char *dataset,
                                   int64_t version, const char *dir,
                                   const fs_source_images_t *images, fs_image_made_t *made,
                                   fs_result_t *result);

typedef enum fs_promotion_t {
    FS_PROMOTION_STAGED,    /* production had changed: a new version is staged */
    FS_PROMOTION_UNCHANGED, /* the cycle went on, the version stayed */
    FS_PROMOTION_LOST,      /* not due, held, or somebody else was first: nothing was done here */
    FS_PROMOTION_REFUSED,   /* it failed and was recorded as such in history; the cycle went on */
    FS_PROMOTION_RETURNED   /* an ordered roll-back was done: an old content is staged anew */
} fs_promotion_t;

/*
 * Promotes `group` if it is due and its epoch is still `epoch`: in one transaction active :=
 * staged, staged := production, next activation time, history, and the images of what changed,
 * built into `dir` before the commit, so that a row that cannot be encoded stops the promotion
 * whole. APR_SUCCESS with *outcome, also for REFUSED (then `result` holds the reason that history
 * got); another status when the database could not be reached, or when this host could not write an
 * image (disk full): then nothing was recorded and another promoter may do better.
 */
apr_status_t fs_source_promote(fs_sql_t *sql, const char *group, int64_t epoch, const char *who,
                               const char *dir, fs_promotion_t *outcome, fs_result_t *result);

/* The same; `images` may be NULL. What is made for a promotion that is not done is made known, too.
 */
apr_status_t fs_source_promote_known(fs_sql_t *sql, const char *group, int64_t epoch,
                                     const char *who, const char *dir,
                                     const fs_source_images_t *images, fs_promotion_t *outcome,
                                     fs_result_t *result);

typedef enum fs_decision_t {
    FS_DECISION_WAIT,    /* servers aren't ready yet and there is time: nothing was changed */
    FS_DECISION_GO,      /* it will be in force at its activation time, which is an order now */
    FS_DECISION_PUT_OFF, /* to a later time, because servers aren't ready */
    FS_DECISION_LIMIT,   /* servers still aren't ready, and what is to be done then was done */
    FS_DECISION_LOST     /* another epoch: somebody else was first, or nothing waits */
} fs_decision_t;

/*
 * Has the database decide about the version of `group` that waits, if its epoch is still `epoch`.
 * `result` then says in its detail who is ready and who isn't, with problem "". Errors: those of
 * fs_sql, FS0379 the procedure answered with something unknown.
 */
apr_status_t fs_source_decide(fs_sql_t *sql, const char *group, int64_t epoch, const char *who,
                              fs_decision_t *decision, fs_result_t *result);

/* Removes rows of versions that nobody can ask for any more, a small step at a time; *left > 0:
 * call again. */
apr_status_t fs_source_prune(fs_sql_t *sql, const char *group, int64_t *left, fs_result_t *result);

/* What an agent or datasrv tells of itself; one row of farmsync.member per name and group. */
typedef struct fs_member_t {
    char name[FS_IMAGE_NAME_SIZE];
    char kind[8]; /* "agent" or "datasrv" */
    char group[FS_IMAGE_NAME_SIZE];
    char address[128];
    int64_t version_active;          /* in force here now; 0 none */
    int64_t version_staged;          /* retrieved and verified; 0 none */
    char digest[FS_DIGEST_HEX_SIZE]; /* over the in-force version's dataset names and digests */
    char digest_staged[FS_DIGEST_HEX_SIZE]; /* over those of version_staged; "" if there is none */
    fs_usec_t clock_offset;          /* farm - this host's wall clock */
    fs_usec_t clock_bound;           /* -1 unknown */
    char clock_source[64];
    char problem[256]; /* "FS0123: ..." or "" */
    char listen[288];  /* base URL at which other agents and datasrv reach an agent; "" none */
} fs_member_t;

/* JSON object of a member, as PUT /v1/members/NAME carries it; malloc'ed. FS0375 bad field. */
char *fs_member_print(const fs_member_t *member, size_t *length);
apr_status_t fs_member_parse(fs_member_t *member, const char *json, size_t length,
                             fs_result_t *result);
/* Writes many members with one statement (CALL farmsync.report_members(json array)). */
apr_status_t fs_source_report(fs_sql_t *sql, const fs_member_t *members, unsigned count,
                              fs_result_t *result);

#endif
