/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Logging through a callback: the library knows neither httpd's log nor datasrv's.
 *
 * Every message that an operator can see starts with its number, "FS0123: ", and says what failed,
 * for which key or peer, and what to do. A number is used for one message and never again;
 * doc/messages.md lists them all (checked by tests/check_messages.sh).
 * Set the callback before any thread starts. The callback must be callable from any thread.
 */
#ifndef FS_LOG_H
#define FS_LOG_H

#include "base/fs_result.h"
#include "base/fs_time.h"

typedef enum fs_log_level_t {
    FS_LOG_ERROR,   /* something was refused or failed */
    FS_LOG_WARNING, /* degraded, but working */
    FS_LOG_NOTICE,  /* a change of state */
    FS_LOG_INFO,    /* a normal event of the cycle */
    FS_LOG_DEBUG    /* each exchange */
} fs_log_level_t;

typedef void fs_log_fn(void *baton, fs_log_level_t level, const char *message);

/* Sends messages of `level` and more important to `fn`; NULL goes back to stderr. */
void fs_log_set(fs_log_fn *fn, void *baton, fs_log_level_t level);
/* Reads "error", "warning", "notice", "info" or "debug". Returns 0, or -1 if it is none of these.
 */
int fs_log_parse_level(const char *name, fs_log_level_t *level);

/* Logs "NUMBER: text"; `number` is a literal such as "FS0123". */
void fs_log(fs_log_level_t level, const char *number, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/*
 * For what may happen many times a second while something stays broken: lets FS_LOG_GATE_FEW
 * messages of a kind through a minute. Returns NULL if this one is to be kept back, else what to
 * append to it: "", or how many were kept back before it. One thread at a time; all zero at the
 * beginning.
 */
#define FS_LOG_GATE_FEW  3
#define FS_LOG_GATE_SPAN (60 * FS_USEC_PER_SEC)
typedef struct fs_log_gate_t {
    fs_usec_t begun;
    unsigned passed;
    unsigned kept;
    char note[48];
} fs_log_gate_t;
const char *fs_log_gate(fs_log_gate_t *gate, fs_usec_t now);

/* Logs a result as it is. */
void fs_log_result(fs_log_level_t level, const fs_result_t *result);

#endif
