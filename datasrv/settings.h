/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration file of datasrv: one "Name value" a line, '#' starts a comment, a value with
 * blanks at its ends is put in double quotes. Names are read without regard to case, as httpd reads
 * directives. Every error names the file, the line and the remedy; nothing is guessed.
 * datasrv.conf.sample shows every setting with its default.
 */
#ifndef FS_DATASRV_SETTINGS_H
#define FS_DATASRV_SETTINGS_H

#include "base/fs_log.h"
#include "base/fs_result.h"
#include "image/fs_image.h"

#define FS_SETTINGS_GROUPS   64
#define FS_DEFAULT_LISTEN    "127.0.0.1:4470"
#define FS_DEFAULT_IMAGE_DIR "/var/lib/farmsync/images"
#define FS_SETTINGS_PEERS    32
#define FS_DEFAULT_PID_FILE  "/run/farmsync/datasrv.pid"

/* Another bank server. */
typedef struct fs_settings_peer_t {
    char *url;  /* http://10.0.0.6:4470 */
    char *name; /* what hosts call it: HOST:PORT of the URL unless they give it another */
    char *rack; /* NULL: none */
} fs_settings_peer_t;

/* Strings are malloc'ed; NULL where the file doesn't say and there is no default. */
typedef struct fs_settings_t {
    char *file;     /* the configuration file itself */
    char *listen;   /* ADDRESS:PORT */
    char *name;     /* of this data server in farmsync.member */
    char *database; /* MySQL option file */
    char *image_dir;
    char *key_file;
    char *log_file; /* NULL: stderr */
    char *pid_file;
    char *tls_certificate_file;
    char *tls_key_file;
    char *client_ca_file;
    char *session_dir;       /* default: "sessions" in ImageDir */
    char *session_name;      /* what hosts call this bank server; default: `listen` */
    char *session_rack;      /* NULL: none */
    unsigned session_memory; /* MiB */
    unsigned session_limit;  /* 0: none */
    unsigned session_copies; /* that the farm keeps of each session */
    unsigned session_sync;   /* each commit is on the disk before it is confirmed */
    unsigned peer_count;
    fs_settings_peer_t peers[FS_SETTINGS_PEERS];
    fs_log_level_t log_level;
    unsigned keep_images; /* superseded versions of a group whose images are kept */
    unsigned max_connections;
    unsigned max_transfers; /* images and deltas that are sent at once */
    unsigned idle_timeout;  /* seconds */
    unsigned group_count;   /* 0: every group that farmsync.sync has */
    char groups[FS_SETTINGS_GROUPS][FS_IMAGE_NAME_SIZE];
} fs_settings_t;

/*
 * Reads and checks a configuration file. Errors: FS0011 (cannot read), FS0801 unknown setting,
 * FS0802 bad value, FS0803 given twice, FS0804 missing, FS0805 settings that need each other.
 */
apr_status_t fs_settings_read(fs_settings_t **settings, const char *file, fs_result_t *result);
void fs_settings_free(fs_settings_t *settings);

/* Calls `changed` with the name of each setting that differs and is only read at a start. */
void fs_settings_need_restart(const fs_settings_t *before, const fs_settings_t *after,
                              void (*changed)(const char *setting));

#endif
