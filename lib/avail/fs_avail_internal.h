/* SPDX-License-Identifier: Apache-2.0 */
/* The files of fs_avail_page.h, byte by byte; internal to lib/avail. */
#ifndef FS_AVAIL_INTERNAL_H
#define FS_AVAIL_INTERNAL_H

#include <stdio.h>

#include "avail/fs_avail_page.h"
#include "control/fs_page.h"

#define FS_AVAIL_PAGE_FILE     "availability"
#define FS_AVAIL_MARKS_FILE    "availability-marks"
#define FS_AVAIL_DIR           "notices"
#define FS_AVAIL_ASK_FILE      FS_AVAIL_DIR "/ask"
#define FS_AVAIL_ANSWER_FILE   FS_AVAIL_DIR "/answer"
#define FS_AVAIL_PROBLEMS_FILE FS_AVAIL_DIR "/problems"
#define FS_AVAIL_SMALL_LIMIT   (64 * 1024) /* of ask, answer and problems */

typedef struct fs_avail_page_t {
    fs_page_head_t head;
    _Atomic uint64_t generation; /* the file in notices/ that counts; 0: none */
    _Atomic uint32_t asked;      /* ticket of the condition in the file ask; 0: never one */
} fs_avail_page_t;

/* A record belongs to the application whose name has this hash; 64 bits, so nobody else's. */
typedef struct fs_avail_record_t {
    _Atomic uint64_t name; /* 0: free */
    fs_avail_marks_t marks;
    uint64_t reserved[3]; /* to the end of the cache line */
} fs_avail_record_t;

typedef struct fs_avail_marks_page_t {
    fs_page_head_t head;
    _Atomic uint32_t answered; /* the ticket that was answered last; a futex */
    uint32_t reserved[5];
    fs_avail_record_t records[FS_AVAIL_MARKS];
} fs_avail_marks_page_t;

struct fs_avail_reader_t {
    char *state_dir;
    _Atomic(fs_mapping_t *) page;
    _Atomic(fs_mapping_t *) marks;
    fs_avail_marks_t private_marks; /* of those for whom there is no record */
};

/* What files of ours begin with. */
void fs_avail_head_page(fs_page_head_t *head);
void fs_avail_head_marks(fs_page_head_t *head);

/* Writes the path of a file below the state directory; 0 if it is too long. */
int fs_avail_path(char *path, size_t size, const char *state_dir, const char *name);
int fs_avail_path_of(char *path, size_t size, const char *state_dir, uint64_t generation);
/* The numbers of the publications that are there, ascending, malloc'ed; NULL and 0 if none. */
uint64_t *fs_avail_list(const char *state_dir, unsigned *count);
/* Writes a small file whole; no more is promised than that readers see it whole or not at all. */
apr_status_t fs_avail_put(const char *path, const char *text, size_t length);

/* Appends a notice to a publication's text. */
void fs_avail_print(FILE *out, const fs_notice_t *notice);
extern const char fs_avail_first_line[];

#endif
