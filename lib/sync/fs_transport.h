/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The real means of retrieval: libcurl for transfers, SQL for building. In libfs_source, so that
 * fs_retrieve itself needs neither.
 */
#ifndef FS_TRANSPORT_H
#define FS_TRANSPORT_H

#include "net/fs_http_client.h"
#include "net/fs_sql.h"
#include "sync/fs_retrieve.h"

#define FS_TRANSPORT_STALL_MS 10000 /* a transfer that brings nothing for so long is broken off */

/* Owned by the caller, with what it points to, as long as the means are used. */
typedef struct fs_transport_t {
    fs_http_client_t *http;   /* NULL: no data server is asked */
    fs_sql_t *sql;            /* NULL: nothing is built from SQL; connected when it is needed */
    unsigned stall_ms;        /* 0: FS_TRANSPORT_STALL_MS */
    const volatile int *stop; /* not NULL and set: stop soon; pair it with fs_http_client_abort */
} fs_transport_t;

/* Fills `means` so that they use `transport`. */
void fs_transport_means(fs_transport_t *transport, fs_retrieve_means_t *means);

#endif
