/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of servers as the processes of one host share it.
 *
 *   route/servers  [ head | serial, edition | self, count | 512 x { numbers } | 512 x { texts } ]
 *                  the agent's to write
 *   route/counts   [ head | workers | 16 x { counters } | 512 x { sent, given, suspected, credit }
 * ] everybody's: atomic numbers
 *
 * A server's number is its index in the table, of this host only. Each record is a latch
 * (control/fs_page.h): readers see it whole, and a writer that is killed leaves what was there.
 *
 * serial    grows with what can change where a visitor with a home belongs: a server's state, its
 *           name, visitors that were given up. A request whose cookie was looked up under the same
 *           serial not long ago needs nothing else
 * edition   grows with each publication: a thread's copy of the table is older
 *
 * Between two statuses of a server each host counts itself what it has sent there (`sent`), in the
 * counts, so that all processes know; they come to 0 when the next status is published.
 */
#ifndef FS_ROUTE_PAGE_H
#define FS_ROUTE_PAGE_H

#include <sys/types.h>

#include "base/fs_result.h"
#include "base/fs_time.h"
#include "route/fs_route.h"

#define FS_ROUTE_DIR       "route" /* in StateDir */
#define FS_ROUTE_SERVERS   512
#define FS_ROUTE_URL_SIZE  256
#define FS_ROUTE_RACK_SIZE 64

typedef struct fs_route_page_t fs_route_page_t;

/* --- open ----------------------------------------------------------------------------------------
 */

/*
 * Makes StateDir/route and both files, or keeps those that are there if they are of this layout;
 * they become uid's and gid's (if this process is root's; (uid_t)-1: as it is). Before the agent
 * and the children open them, in httpd's parent or in an agent that runs alone; again at each
 * restart. Errors: FS1610.
 */
apr_status_t fs_route_page_prepare(const char *state_dir, uid_t uid, gid_t gid,
                                   fs_result_t *result);
/* Maps both. `writes`: for the agent; others map the table for reading only. Any number of
 * processes; any thread may use it. Errors: FS1611. */
apr_status_t fs_route_page_open(fs_route_page_t **page, const char *state_dir, int writes,
                                fs_result_t *result);
void fs_route_page_close(fs_route_page_t *page);

/* --- the agent's side (one thread at a time) -----------------------------------------------------
 */

/* Where a server is. */
typedef struct fs_route_where_t {
    char url[FS_ROUTE_URL_SIZE];        /* for the other servers, without a slash at the end */
    char public_url[FS_ROUTE_URL_SIZE]; /* for clients (redirects); "" if it has none */
    char rack[FS_ROUTE_RACK_SIZE];      /* its label; "": none. server.rack is its number */
} fs_route_where_t;

typedef struct fs_route_entry_t {
    char name[FS_ROUTE_NAME_SIZE]; /* "": nobody has this number; server.state is then
                                      FS_ROUTE_DEAD */
    fs_route_where_t where;
    fs_route_server_t server; /* `sent` and `given` are not looked at: they are in the counts */
    uint64_t alternates;      /* visitors that it stands by for, of all servers */
    uint64_t generation;      /* of its agent: grows with each start */
    uint64_t status;          /* differs from the last one when a new status has come: `sent` is 0
                                 again. Of this server: when `primaries` was counted again */
} fs_route_entry_t;

/*
 * Publishes the table: entries[i] is the server with number i; `self` this server's; `coming` as
 * fs_route_table_t's. The serial grows by itself if a name, a state, `self` or `count` changed. A
 * number whose name changed starts with counts of 0. At most FS_ROUTE_SERVERS; those beyond are
 * left out.
 */
void fs_route_page_publish(fs_route_page_t *page, const fs_route_entry_t *entries, uint32_t count,
                           uint32_t self, double coming);
/* Visitors who were home here were given up, or something else changed: look again. Any thread. */
void fs_route_page_bump(fs_route_page_t *page);
/* How many of this server's visitors have that alternate, as counted in the store. */
void fs_route_page_set_given(fs_route_page_t *page, uint32_t number, uint64_t given);

/* --- everybody's side ----------------------------------------------------------------------------
 */

uint64_t fs_route_page_serial(const fs_route_page_t *page);

/*
 * A thread's copy of the table, with what all processes of this host counted since. `table` is
 * ready for lib/route's arithmetic; a server that this host suspects has the state
 * FS_ROUTE_SUSPECT in it.
 */
typedef struct fs_route_view_t {
    uint64_t edition; /* 0: nothing has been published */
    uint64_t serial;  /* when it was copied */
    fs_route_table_t table;
    char (*names)[FS_ROUTE_NAME_SIZE];
    uint32_t room;
} fs_route_view_t;

/*
 * The calling thread's copy, as of now (mono time; for suspicions). It is freed with the thread.
 * NULL if no table was published yet, or memory is short. It stays valid until the thread calls
 * this again; with several pages in one process (tests), a thread has one copy for all.
 */
fs_route_view_t *fs_route_page_view(fs_route_page_t *page, fs_usec_t now);
/* The number of the server with that name; FS_ROUTE_NOBODY. */
uint32_t fs_route_view_find(const fs_route_view_t *view, const char *name);
const char *fs_route_view_name(const fs_route_view_t *view, uint32_t number); /* "" if none */
/* Copies where a server is; 0 if there is none with this number. */
int fs_route_page_where(const fs_route_page_t *page, uint32_t number, fs_route_where_t *where);
/* Copies all that is published of it (server.sent and .given as counted); 0 if there is none. For
 * status pages. */
int fs_route_page_entry(const fs_route_page_t *page, uint32_t number, fs_route_entry_t *entry);

/* fs_route_assign, fs_route_request and fs_route_alternate on a view of this page, which tell what
 * they counted to the other processes. */
fs_route_choice_t fs_route_page_assign(fs_route_page_t *page, fs_route_view_t *view,
                                       const fs_route_settings_t *settings, unsigned hops,
                                       uint64_t spread);
fs_route_choice_t fs_route_page_request(fs_route_page_t *page, fs_route_view_t *view,
                                        const fs_route_settings_t *settings,
                                        const fs_route_home_t *home, unsigned hops,
                                        uint64_t spread);
uint32_t fs_route_page_alternate(fs_route_page_t *page, fs_route_view_t *view,
                                 const fs_route_settings_t *settings, uint32_t but,
                                 uint64_t spread);
/* The visitor has another alternate, or none. */
void fs_route_page_alternate_gone(fs_route_page_t *page, uint32_t alternate);
/* fs_route_next with one credit for all processes of this host; counts it as sent there. */
uint32_t fs_route_page_next(fs_route_page_t *page, fs_route_view_t *view);

/* One more was sent to that server, by whatever else chose it. */
void fs_route_page_sent(fs_route_page_t *page, uint32_t number);

/* A connection to that server couldn't be made: this host takes it for suspect until then (mono
 * time), and looks again at whom it sent there. */
void fs_route_page_suspect(fs_route_page_t *page, uint32_t number, fs_usec_t until);

/* --- counters ------------------------------------------------------------------------------------
 */

typedef enum fs_route_count_t {
    FS_ROUTE_COUNT_HOME,           /* requests served at their home */
    FS_ROUTE_COUNT_PROXIED,        /* passed on to another server */
    FS_ROUTE_COUNT_REDIRECTED,     /* sent to another server */
    FS_ROUTE_COUNT_ADOPTED,        /* of another server's visitors, served here */
    FS_ROUTE_COUNT_BOUNCES_OUT,    /* new visitors sent on */
    FS_ROUTE_COUNT_BOUNCES_IN,     /* new visitors that another server had sent on */
    FS_ROUTE_COUNT_NEW,            /* visitors who got a home here */
    FS_ROUTE_COUNT_TAKEN_OVER,     /* this server was alternate and became home */
    FS_ROUTE_COUNT_RETURNED,       /* given back to the home they had before */
    FS_ROUTE_COUNT_REFUSED,        /* 503: all are full */
    FS_ROUTE_COUNT_COOKIE_FORGED,  /* the signature isn't the farm's */
    FS_ROUTE_COUNT_COOKIE_STALE,   /* an older home than the one that is known */
    FS_ROUTE_COUNT_COOKIE_EXPIRED, /* too old */
    FS_ROUTE_COUNT_COOKIE_UNKNOWN, /* a home that isn't in the table */
    FS_ROUTE_COUNT_TOKEN_FORGED,
    FS_ROUTE_COUNT_TOKEN_REPLAYED,
    FS_ROUTE_COUNT_TOKEN_EXPIRED,
    FS_ROUTE_COUNT_LOOPS, /* requests that had come round and were served here */
    FS_ROUTE_COUNTS
} fs_route_count_t;

/* Counts one. Any thread; threads don't wait for each other's cache line. */
void fs_route_count(fs_route_page_t *page, fs_route_count_t what);
void fs_route_count_more(fs_route_page_t *page, fs_route_count_t what, uint64_t more);
/* Since the file was made. */
uint64_t fs_route_counted(const fs_route_page_t *page, fs_route_count_t what);
/* "home", "proxied", "cookie_forged": for JSON and metrics. */
const char *fs_route_count_name(fs_route_count_t what);

/* --- this server's workers -----------------------------------------------------------------------
 */

/* 1 if the caller is to count httpd's busy workers now (mono time): one of all processes each
 * `every`. */
int fs_route_page_count_workers(fs_route_page_t *page, fs_usec_t now, fs_usec_t every);
void fs_route_page_set_workers(fs_route_page_t *page, uint32_t busy, uint32_t workers);
/* 0 if they weren't counted since `since` (mono time). */
int fs_route_page_workers(const fs_route_page_t *page, fs_usec_t since, uint32_t *busy,
                          uint32_t *workers);

#endif
