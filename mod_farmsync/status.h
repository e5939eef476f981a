/* SPDX-License-Identifier: Apache-2.0 */
/* Who tells the facts. */
#ifndef FS_STATUS_H
#define FS_STATUS_H

#include <httpd.h>

#include "facts.h"
#include "text.h"

/*
 * SetHandler farmsync-status: HTML; ?json; ?metrics (Prometheus text format 0.0.4); below it
 * /health: 200 or 503 and one line of text.
 */
int fs_handler_status(request_rec *r);
/* A section of /server-status, ?auto included: optional hook status_hook. */
int fs_status_server_status(request_rec *r, int flags);
/* apachectl -t -D DUMP_FARMSYNC: hook test_config. */
void fs_status_dump(apr_pool_t *pconf, server_rec *server);

void fs_status_json(fs_text_t *text, const fs_facts_t *facts);
void fs_status_metrics(fs_text_t *text, const fs_facts_t *facts);

/* Version of mod_farmsync. */
extern const char fs_status_release[];

#endif
