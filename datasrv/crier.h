/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is said of availability through this data server, passed on to an agent, which tells the
 * farm:
 *
 *   the crier   orders in farmsync.notice (app_down, app_up): a thread with a database connection
 *   the relay   /v1/notices over HTTP: a thread with none, so that it works without the database
 *
 * Of the data servers of a farm one at a time has an order (notice_take), for FS_CRIER_TAKES_S
 * seconds; agents refuse what it passes on later than that, when another one may have it.
 */
#ifndef FS_DATASRV_CRIER_H
#define FS_DATASRV_CRIER_H

#include "agents.h"
#include "net/fs_http_server.h"
#include "worker.h"

#define FS_CRIER_TAKES_S 10

/* --- the crier -------------------------------------------------------------------------------- */

typedef struct fs_crier_t fs_crier_t;

/* All owned by the caller and outliving the crier. Errors: FS0302 and others of fs_sql_create,
 * FS0812 no thread. */
apr_status_t fs_crier_start(fs_crier_t **crier, const fs_worker_shared_t *shared,
                            fs_agents_t *agents, fs_result_t *result);
/* Asks the thread to end after what it is at. */
void fs_crier_stop(fs_crier_t *crier);
/* Waits until it has ended, at most until mono time `until`. 0 if it hasn't. */
int fs_crier_join(fs_crier_t *crier, fs_usec_t until);

/* --- the relay -------------------------------------------------------------------------------- */

typedef struct fs_relay_t fs_relay_t;

/* Starts its thread. FS0812. */
apr_status_t fs_relay_start(fs_relay_t **relay, fs_agents_t *agents, fs_result_t *result);
/* Before it is asked anything: the server whose calls it answers. */
void fs_relay_set_server(fs_relay_t *relay, fs_http_server_t *server);
/* Ends the thread; what waits is not answered. After the server's loop has ended. */
void fs_relay_stop(fs_relay_t *relay);
/* GET, POST, DELETE /v1/notices...: passes the call on. The loop's thread. */
void fs_relay_pass(fs_relay_t *relay, fs_http_call_t *call, const char *method, const char *path);

#endif
