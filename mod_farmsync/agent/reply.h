/* SPDX-License-Identifier: Apache-2.0 */
/* Answers in JSON, of all parts. */
#ifndef FS_AGENT_REPLY_H
#define FS_AGENT_REPLY_H

#include <jansson.h>

#include "backplane.h"
#include "net/fs_http_server.h"

/* Answers 200, and takes `body` over; NULL: out of memory, 503. Loop's thread. */
void fs_reply_json(fs_http_call_t *call, json_t *body);

/* Adds who has not confirmed what was told: names, or URLs of those that never answered. */
void fs_reply_add_missed(json_t *missed, const fs_told_t *told);

#endif
