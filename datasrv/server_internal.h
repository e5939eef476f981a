/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of the program, for who runs it (server.c) and who puts them together
 * (server_parts.c). */
#ifndef FS_DATASRV_SERVER_INTERNAL_H
#define FS_DATASRV_SERVER_INTERNAL_H

#include "bank_peers.h"
#include "follower.h"
#include "scribe.h"
#include "service.h"
#include "settings.h"

#define FS_SERVER_ADDRESS_SIZE 128

typedef struct fs_server_t {
    fs_settings_t *settings; /* as read at the start: what others hold pointers into */
    fs_keyring_t ring;       /* as of the latest reload; HTTP thread */
    fs_board_t *board;
    fs_store_t *store;
    fs_deltas_t *deltas;
    fs_bank_t *bank; /* NULL: it could not be opened */
    fs_bank_peers_t *bank_peers;
    fs_bank_peer_setting_t peers[FS_SETTINGS_PEERS];
    fs_agents_t *agents;
    fs_relay_t *relay;
    fs_crier_t *crier;
    fs_roster_t *roster;
    fs_overview_t *overview;
    fs_groups_t *groups;
    fs_follower_t *follower;
    fs_scribe_t *scribe;
    fs_bell_t changed, looked;
    fs_service_t service;
    fs_http_server_t *http;
    struct event *on_stop[2], *on_reload, *watchdog;
    char address[FS_SERVER_ADDRESS_SIZE];
    int pid_fd, ready_fd;
} fs_server_t;

/* Makes the parts; the settings and the key are read. Errors: those of the parts. */
apr_status_t fs_server_make(fs_server_t *server, fs_result_t *result);
/* Starts their threads. */
apr_status_t fs_server_start(fs_server_t *server, fs_result_t *result);
/* Frees what was made; the threads that read the database have ended. */
void fs_server_free(fs_server_t *server);

#endif
