/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The notices that concern this server, as the agent publishes them for the request processes.
 *
 *   StateDir/availability          mapped: [ head | generation | asked ]      the agent's to write
 *   StateDir/availability-marks    mapped: [ head | answered | counters ]     the children's
 *   StateDir/notices/<generation>  immutable text, written whole, then renamed
 *   StateDir/notices/ask, answer   a condition that is to be checked, and what httpd says of it
 *   StateDir/notices/problems      which notices httpd couldn't use, written by a child
 *
 * Publishing is: write the file, then store its number into `generation`. A process may be killed
 * at any point: readers see the notices before or those after. The files outlive the agent, so that
 * what was told last still counts when it is gone, and windows begin and end by the clock. A file
 * that is damaged is not taken: readers keep what they had, or go back to the newest whole one.
 * Old files are kept until the number is FS_AVAIL_KEEP further on.
 *
 * No JSON here: httpd's processes also run modules that bring another JSON library whose functions
 * have the same names.
 */
#ifndef FS_AVAIL_PAGE_H
#define FS_AVAIL_PAGE_H

#include <stdatomic.h>
#include <stdint.h>

#include "avail/fs_notice.h"
#include "control/fs_control.h"

#define FS_AVAIL_NOTICES    10000 /* in one publication; operators' come first */
#define FS_AVAIL_FILE_LIMIT (16 * 1024 * 1024)
#define FS_AVAIL_KEEP       4

/* --- the agent's side (one thread at a time) -------------------------------------------------- */

typedef struct fs_avail_writer_t fs_avail_writer_t;

/*
 * Makes or maps the files. `server` is this server's name. `control` may be NULL; else its waiters
 * (the children's helpers) are woken when something is published, so that they have read it before
 * the next request. Errors: FS1505.
 */
apr_status_t fs_avail_open_writer(fs_avail_writer_t **writer, const char *state_dir,
                                  const char *server, fs_control_t *control, fs_result_t *result);
void fs_avail_close_writer(fs_avail_writer_t *writer);

/*
 * A publication: begin, add every notice that the farm has, in any order, commit. What isn't for
 * this server, or can never be in force again after `farm`, is left out. The notice's texts are
 * copied. A commit that finds nothing changed publishes nothing. After a failure the former
 * publication counts. Errors: FS1506 (the files), FS1507 (APR_ENOSPC: published, but more than
 * FS_AVAIL_NOTICES or FS_AVAIL_FILE_LIMIT, so that some monitors' notices were left out).
 */
void fs_avail_begin(fs_avail_writer_t *writer, fs_usec_t farm);
apr_status_t fs_avail_add(fs_avail_writer_t *writer, const fs_notice_t *notice,
                          fs_result_t *result);
apr_status_t fs_avail_commit(fs_avail_writer_t *writer, fs_result_t *result);
/*
 * From the next publication on, requests with the header FarmSync-Probe: TOKEN pass whatever is
 * told: with it the agent looks at an application that is down. Letters and digits, at most
 * FS_AVAIL_PROBE_MAX; "" for none. It is never shown.
 */
#define FS_AVAIL_PROBE_MAX 64
void fs_avail_set_probe(fs_avail_writer_t *writer, const char *token);
/* The number of the publication that counts, 0 if there never was one. */
uint64_t fs_avail_published(const fs_avail_writer_t *writer);

/*
 * Has a request process of this host compile a condition, because only httpd with its modules can.
 * Waits at most `timeout` for the answer. APR_SUCCESS: it compiles. APR_EINVAL, FS1508: it doesn't,
 * with httpd's own words. APR_TIMEUP, FS1509: no request process answered (httpd isn't running, or
 * without mod_farmsync); whoever told the notice must be refused then too, or say that he wants it
 * unchecked.
 */
apr_status_t fs_avail_check(fs_avail_writer_t *writer, const char *condition, fs_usec_t timeout,
                            fs_result_t *result);
/*
 * What the request processes of this host could not use of the present publication: one line each,
 * "KEY: what is wrong". malloc'ed; "" if nothing.
 */
char *fs_avail_problems(const fs_avail_writer_t *writer);

/* --- the request processes' side (any thread, no lock, no wait) ------------------------------- */

typedef struct fs_avail_reader_t fs_avail_reader_t;

/* As the control page: a page that isn't there yet is no error. Errors: FS1510 out of memory. */
apr_status_t fs_avail_open_reader(fs_avail_reader_t **reader, const char *state_dir,
                                  fs_result_t *result);
void fs_avail_close_reader(fs_avail_reader_t *reader);
/* Maps the page if it isn't mapped, or was replaced. Called by one thread, each second. */
void fs_avail_refresh(fs_avail_reader_t *reader);
/* One atomic load: changes with each publication; 0: there never was one. */
uint64_t fs_avail_generation(const fs_avail_reader_t *reader);

/* The notices of one publication, in the order of fs_notice_compare; free with fs_avail_free. */
typedef struct fs_avail_t {
    uint64_t generation;
    uint64_t asked_for; /* differs if that one was damaged and this is an older one */
    unsigned count;
    fs_notice_t *notices;
    const char *probe; /* requests that carry it pass; NULL: none */
    char *text;        /* what they point into */
} fs_avail_t;

/*
 * Reads what is published now (untrusted: checked). If it can't be read, the newest older one that
 * can; then `result` still says why. Errors: FS1511 damaged, FS1512 cannot be read.
 */
apr_status_t fs_avail_read(const fs_avail_reader_t *reader, fs_avail_t **avail,
                           fs_result_t *result);
void fs_avail_free(fs_avail_t *avail);
/* The text of a publication, for tools and tests; takes `text` over on success. Errors: FS1511. */
apr_status_t fs_avail_parse(fs_avail_t **avail, char *text, size_t length, fs_result_t *result);

/* A condition that waits to be checked, malloc'ed, or NULL; and what is wrong with it, or NULL. */
char *fs_avail_asked(const fs_avail_reader_t *reader, uint32_t *ticket);
void fs_avail_answer(const fs_avail_reader_t *reader, uint32_t ticket, const char *problem);
/* Tells the agent what couldn't be used of a publication: lines as fs_avail_problems gives them. */
void fs_avail_set_problems(const fs_avail_reader_t *reader, uint64_t generation,
                           const char *problems);

/* Counters of an application on this host, shared by all request processes, kept over restarts. */
typedef struct fs_avail_marks_t {
    _Atomic uint64_t refused; /* requests that were refused */
    _Atomic uint64_t passed;  /* that were let through although a notice was in force */
    _Atomic int64_t told;     /* farm time of the last change that was logged */
    _Atomic int64_t state;    /* what was logged: 0 up, else the notice's state + 1 */
} fs_avail_marks_t;
#define FS_AVAIL_MARKS 4096 /* applications; those beyond share one record of the process */

/* The record of an application; never NULL. Takes a free one for a new name. */
fs_avail_marks_t *fs_avail_marks(const fs_avail_reader_t *reader, const char *application);

#endif
