/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bytes of StateDir/control and StateDir/marks; internal to lib/control.
 *
 *   control:  [ fs_control_page_t: head | generation, beat, next view | agent | clock | groups ]
 *   marks:    [ fs_marks_page_t:   head | 16 x { name, counters } ]
 *
 * A record that readers must see whole is a latch: two copies and a sequence number whose lowest
 * bit says which copy is current. The writer fills the other copy and then counts up. Readers copy
 * the current one and look whether the number stayed; the writer would have to publish twice
 * meanwhile to disturb them. Unlike a seqlock with one copy, a writer that is killed half way
 * leaves the current copy as it was, so that no reader is ever left without one. All words are
 * atomics, which keeps this free of data races by the letter of C11, not only by the habits of a
 * processor.
 */
#ifndef FS_PAGE_H
#define FS_PAGE_H

#include <stdatomic.h>
#include <sys/types.h>

#include "control/fs_control.h"

#define FS_PAGE_LAYOUT   1u
#define FS_BOOT_ID_SIZE  40
#define FS_SERVER_SIZE   128
#define FS_WORDS(type)   ((sizeof(type) + sizeof(uint64_t) - 1) / sizeof(uint64_t))
#define FS_LATCH_RETRIES 64

/* A latch for a struct of the given type. */
#define FS_LATCH(type)                                                                             \
    struct {                                                                                       \
        _Atomic uint64_t sequence;                                                                 \
        _Atomic uint64_t words[2 * FS_WORDS(type)];                                                \
    }

typedef struct fs_page_head_t {
    char magic[8];
    uint32_t layout;
    uint32_t groups;
    uint32_t group_bytes; /* sizes of the records, so that a change of a struct is a new layout */
    uint32_t clock_bytes;
    uint64_t size;
} fs_page_head_t;

typedef struct fs_agent_record_t {
    char server[FS_SERVER_SIZE];
    char boot_id[FS_BOOT_ID_SIZE];
    int64_t pid;
} fs_agent_record_t;

typedef struct fs_control_page_t {
    fs_page_head_t head;
    _Atomic uint32_t generation; /* the futex */
    uint32_t reserved;
    _Atomic int64_t beat;
    _Atomic uint64_t next_view;
    FS_LATCH(fs_agent_record_t) agent;
    FS_LATCH(fs_control_clock_t) clock;
    FS_LATCH(fs_control_group_t) groups[FS_CONTROL_GROUPS];
} fs_control_page_t;

typedef struct fs_marks_record_t {
    char name[128];         /* whose marks these are; the agent's to write */
    fs_marks_group_t group; /* cache lines of its own; what each request counts is in the first */
} fs_marks_record_t;

typedef struct fs_marks_page_t {
    fs_page_head_t head;
    uint8_t reserved[32];
    fs_marks_record_t records[FS_CONTROL_GROUPS];
} fs_marks_page_t;

/* A mapped file. Replaced ones are kept until fs_control_close, because threads may read them. */
typedef struct fs_mapping_t {
    void *base;
    size_t size;
    dev_t device;
    ino_t inode;
    struct fs_mapping_t *older;
} fs_mapping_t;

struct fs_control_t {
    char *state_dir;
    int writer;
    _Atomic(fs_mapping_t *) page;
    _Atomic(fs_mapping_t *) marks;
    fs_marks_page_t *private_marks; /* used while the file can't be */
    atomic_flag refreshing;
    _Atomic uint32_t unattached; /* what waiters wait on while there is no page */
};

/* The files of a state directory. */
#define FS_CONTROL_FILE "control"
#define FS_MARKS_FILE   "marks"
#define FS_VIEWS_DIR    "views"
#define FS_IMAGES_DIR   "images"

/* Fills in what a file of ours begins with. */
void fs_page_head_control(fs_page_head_t *head);
void fs_page_head_marks(fs_page_head_t *head);

/*
 * Maps `state_dir/name` if it begins with `expected` and has its size. Returns NULL and fills
 * `result` (APR_ENOENT when it isn't there) with problem `problem` otherwise.
 */
fs_mapping_t *fs_page_map(const char *state_dir, const char *name, const fs_page_head_t *expected,
                          int writable, const char *problem, fs_result_t *result);
/*
 * Makes a zeroed file with this head, its space reserved, and puts it in its place, unless there is
 * one by now: somebody else may do so at the same time (base/fs_once.h).
 */
apr_status_t fs_page_create(const char *state_dir, const char *name, const fs_page_head_t *head,
                            fs_result_t *result);
/* 1 if `state_dir/name` is still the file that is mapped. */
int fs_page_is_current(const char *state_dir, const char *name, const fs_mapping_t *mapping);
void fs_page_unmap_all(fs_mapping_t *mapping);

/* Publishes `bytes` of `data`; one writer at a time. */
void fs_latch_store(_Atomic uint64_t *sequence, _Atomic uint64_t *words, size_t word_count,
                    const void *data, size_t bytes);
/* Copies the current `bytes` whole; 0 if the writer was faster FS_LATCH_RETRIES times. */
int fs_latch_load(const _Atomic uint64_t *sequence, const _Atomic uint64_t *words,
                  size_t word_count, void *data, size_t bytes);

#define FS_STORE(latch, data)                                                                      \
    fs_latch_store(&(latch).sequence, (latch).words, FS_WORDS(*(data)), data, sizeof(*(data)))
#define FS_LOAD(latch, data)                                                                       \
    fs_latch_load(&(latch).sequence, (latch).words, FS_WORDS(*(data)), data, sizeof(*(data)))

/* The page that is mapped now, or NULL. */
static inline fs_control_page_t *fs_control_page(const fs_control_t *control)
{
    fs_mapping_t *mapping = atomic_load_explicit(&control->page, memory_order_acquire);

    return mapping ? mapping->base : NULL;
}

fs_marks_page_t *fs_control_marks_page(const fs_control_t *control);

#endif
