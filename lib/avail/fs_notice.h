/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A notice: what somebody tells the farm about the availability of an application.
 *
 *   an operator     "shop is down until 14:30, planned"              role operator
 *   a monitor       "shop does not answer on web3"                   role monitor
 *
 * On the backplane a notice is a record of kind "notice" whose key is APPLICATION/ID and whose
 * value is the notice as JSON of at most FS_NOTICE_BYTES. A later notice with the same key replaces
 * the earlier one; notices with different ids stand side by side and are merged by
 * fs_notice_compare. To take a notice back, remove its record.
 *
 * A fs_notice_t doesn't own its texts: whoever makes one says how long they live. One that comes
 * from fs_notice_parse is a single block with all its texts, to be given to free(). NULL stands for
 * whatever was not said. All functions may be called from any thread.
 */
#ifndef FS_NOTICE_H
#define FS_NOTICE_H

#include <stddef.h>

#include "avail/fs_window.h"
#include "base/fs_result.h"
#include "base/fs_time.h"

#define FS_NOTICE_KIND          "notice"
#define FS_NOTICE_BYTES         4096 /* of the JSON: what a record of the backplane holds */
#define FS_NOTICE_NAME_SIZE     65   /* of an application, an id, a server, a component */
#define FS_NOTICE_REASON_SIZE   33
#define FS_NOTICE_LANGUAGE_SIZE 36
#define FS_NOTICE_TEXT_SIZE     1025 /* of a message or a condition */
#define FS_NOTICE_WHO_SIZE      129
#define FS_NOTICE_LINK_SIZE     513
#define FS_NOTICE_MESSAGES      8
#define FS_NOTICE_SERVERS       32
#define FS_NOTICE_KEY_SIZE      (2 * FS_NOTICE_NAME_SIZE)
#define FS_NOTICE_EVERY         "*"                        /* application: all; language: any */

/*
 * down      requests are refused, where the condition holds if there is one
 * up        requests are served, whatever notices behind this one say: an operator overrules his
 *           monitors, or lets testers through with a condition
 * degraded  requests are served; expressions, logs and status pages say so
 */
typedef enum fs_notice_state_t {
    FS_NOTICE_DOWN,
    FS_NOTICE_UP,
    FS_NOTICE_DEGRADED
} fs_notice_state_t;

typedef enum fs_notice_role_t { FS_NOTICE_MONITOR, FS_NOTICE_OPERATOR } fs_notice_role_t;

typedef struct fs_notice_message_t {
    const char *language; /* RFC 5646, as in "de" or "pt-BR"; "*" for any */
    const char *text;     /* UTF-8, plain text, may have several lines */
} fs_notice_message_t;

typedef struct fs_notice_t {
    const char *application; /* [A-Za-z0-9._:-]{1,64}, or "*" */
    const char *id;          /* the same characters; NULL: the role's name */
    fs_notice_state_t state;
    fs_notice_role_t role;
    const char *reason;    /* unknown, planned, outage, testing or an own one: [a-z0-9_-]{1,32};
                              NULL: unknown */
    const char *component; /* what failed, if that is known; characters of a name */
    unsigned message_count;
    fs_notice_message_t messages[FS_NOTICE_MESSAGES];
    fs_window_t window;
    const char *condition; /* an expression of httpd; NULL: every request */
    unsigned server_count; /* 0: the whole farm */
    const char *servers[FS_NOTICE_SERVERS];
    const char *who;  /* who told, for people */
    const char *link; /* http(s): where visitors find more, or NULL */
    fs_usec_t time;   /* farm time when it was told */
} fs_notice_t;

/*
 * Reads the JSON object of a notice. `strict` is for what people and tools tell: a field that isn't
 * known is refused, because a misspelt "condition" would refuse everybody. Records of the backplane
 * are read without it, so that farms can be updated server by server.
 *
 *   {"application":"shop","state":"down","reason":"planned",
 *    "message":"Back soon"  or  "messages":{"en":"Back soon","de":"Gleich zurück"},
 *    "from":"2026-11-21T14:00:00Z","until":"2026-11-21T14:30:00+00:00",
 *    "weekly":{"days":["sun"],"start":"02:00","end":"04:00","zone":"CET-1CEST,M3.5.0,M10.5.0/3"},
 *    "condition":"%{REQUEST_METHOD} != 'GET'","servers":["web1"],
 *    "id":"db-move","component":"db1","link":"https://status.example.org/",
 *    "who":"anna","role":"operator","time":"2026-11-21T13:55:02.117Z"}
 *
 * Only application and state are required. Times are RFC 3339 text or null. Errors: FS1500 (names
 * the field and what may stand there); APR_ENOMEM.
 */
apr_status_t fs_notice_parse(fs_notice_t **notice, const char *json, size_t length, int strict,
                             fs_result_t *result);
/*
 * Writes the JSON, malloc'ed; NULL and FS1500 if the notice isn't valid, FS1501 if it takes more
 * than FS_NOTICE_BYTES.
 */
char *fs_notice_print(const fs_notice_t *notice, size_t *length, fs_result_t *result);
/* All rules for what a notice may hold, by whatever way it came. Errors: FS1500. */
apr_status_t fs_notice_check(const fs_notice_t *notice, fs_result_t *result);

/* "shop/db-move": the key of its record. `notice` must be valid. */
void fs_notice_key(const fs_notice_t *notice, char key[FS_NOTICE_KEY_SIZE]);
const char *fs_notice_id(const fs_notice_t *notice);
const char *fs_notice_reason(const fs_notice_t *notice);
const char *fs_notice_state_name(fs_notice_state_t state);
const char *fs_notice_role_name(fs_notice_role_t role);
int fs_notice_state_parse(const char *name, fs_notice_state_t *state);
int fs_notice_role_parse(const char *name, fs_notice_role_t *role);

/* 1 if the notice is meant for this server; 1 if it is about this application ("*" is about all).
 */
int fs_notice_for_server(const fs_notice_t *notice, const char *server);
int fs_notice_about(const fs_notice_t *notice, const char *application);

/*
 * The order in which the notices of an application that are in force are asked, for qsort of
 * fs_notice_t *: operators before monitors, then what was told later before what was told earlier,
 * then by key. It is total, so that all servers agree. The first whose condition holds (or that has
 * none) and that isn't "degraded" decides; it is the one that visitors are shown.
 */
int fs_notice_compare(const fs_notice_t *one, const fs_notice_t *other);

/*
 * What visitors who prefer the given languages are to read: `accept` is an Accept-Language header
 * or NULL. Falls back to `preset` (the site's language, may be NULL), then "*", then the first
 * one. NULL if there is no message at all. *language gets the message's language ("*" if any).
 */
const char *fs_notice_message(const fs_notice_t *notice, const char *accept, const char *preset,
                              const char **language);

/* Reads RFC 3339 text, "2026-11-21T14:30:00.5+01:00"; 0, or -1 if it is none. */
int fs_notice_time_parse(const char *text, fs_usec_t *time);

#endif
