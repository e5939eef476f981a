/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a visitor of an application that is down gets.
 *
 * httpd closes a connection after a 503, before it looks whether it must. A refusal leaves no doubt
 * about where the next request begins, so the connection stays open: the answer goes through
 * httpd's filters with a status that keeps it, and a filter below them writes the one that is meant
 * into the status line. The log has the one that is meant, too. Over HTTP/2 there is no such rule,
 * and the status goes as it is.
 *
 * What the visitor is sending is read to its end before he is answered, up to FarmSyncAvailBody,
 * because who still sends doesn't read, and would see a reset instead of the answer. Whoever asks
 * first (Expect: 100-continue) is told at once, and needn't send.
 */
#ifndef FS_AVAIL_ANSWER_H
#define FS_AVAIL_ANSWER_H

#include <httpd.h>

#include "avail_settings.h"
#include "base/fs_time.h"

/* A notice as far as a visitor is concerned, in the request's memory. */
typedef struct fs_avail_refusal_t {
    const char *application; /* what the request is for */
    const char *notice;      /* key */
    const char *reason;
    const char *component; /* or NULL */
    const char *message;   /* or NULL */
    const char *language;  /* of the message; "*" any */
    const char *link;      /* or NULL */
    fs_usec_t now;         /* farm time */
    fs_usec_t start, end;  /* 0: not known */
} fs_avail_refusal_t;

/* Answers; returns what the hook is to return. */
int fs_avail_refuse(request_rec *r, const fs_avail_settings_t *settings,
                    const fs_avail_refusal_t *refusal);
/* Registers the filter and the hook log_transaction. */
void fs_avail_answer_register(void);

#endif
