/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What hosts, bank servers and other hosts tell each other of sessions: batches, in one binary form
 * for requests and answers. doc/datasrv.md says which batch goes where.
 *
 *   head   "FSB" 1 · kind 1 byte · flags 1 byte · length of the name 1 byte · 0
 *          items u32 · lease u32 (ms) · copies u32 · 0 u32
 *          instance u64 · boot u64 · sequence u64 · mark u64 · name
 *   item   key 16 bytes · what 1 byte · flags 1 byte · parts u16, then the parts that these bits
 *          name, in the order of their bits
 *
 * Numbers are little endian. Each kind demands some parts of its items, allows some more and
 * refuses the others; a batch is checked whole before anything of it is used, so that nothing is
 * half done because of a damaged one. It has one encoding.
 *
 * Any thread, each writer and reader in one at a time.
 */
#ifndef FS_SESSION_BATCH_H
#define FS_SESSION_BATCH_H

#include "session/fs_session_seal.h"

#define FS_SESSION_BATCH_LIMIT  (4 << 20)   /* bytes of a batch: body limit of all its resources */
#define FS_SESSION_BATCH_FILL   (256 << 10) /* who sends many begins another batch after so many */
#define FS_SESSION_BATCH_ITEMS  4096
#define FS_SESSION_SEALED_LIMIT (FS_SESSION_BATCH_LIMIT - 4096) /* bytes of a sealed copy */
#define FS_SESSION_BATCH_BASES  16    /* bank servers whose versions an item names */
#define FS_SESSION_LEASE_LIMIT  60000 /* ms */
#define FS_SESSION_BATCH_TYPE   "application/vnd.farmsync.sessions"

/* What bank servers' resources are asked (a) and answer (b), and agents' (c, d). */
typedef enum fs_session_batch_kind_t {
    FS_SESSION_BATCH_OFFER = 1, /* a /v1/sessions/offer */
    FS_SESSION_BATCH_OFFERED,   /* b an item for each that was offered, in their order */
    FS_SESSION_BATCH_TAKE,      /* a /v1/sessions/take; c /v1/sessions/fetch (peers) */
    FS_SESSION_BATCH_TAKEN,     /* b, d an item for each that was asked, in their order; behind one
                                   there may be a second copy of the same key, to be merged */
    FS_SESSION_BATCH_VERSIONS,  /* a /v1/sessions/versions: what the asker has */
    FS_SESSION_BATCH_DIFFERING, /* b those not held in just this version, or owned by others */
    FS_SESSION_BATCH_RENEW,     /* a /v1/sessions/renew */
    FS_SESSION_BATCH_RENEWED,   /* b keys that were taken away from the asker since `mark` */
    FS_SESSION_BATCH_SCAN,      /* a /v1/sessions/digest, /bucket, /changes; an item: after it */
    FS_SESSION_BATCH_DIGEST,    /* b one item, whose bytes are a digest (fs_session_digest.h) */
    FS_SESSION_BATCH_LIST,      /* b labels without copies */
    FS_SESSION_BATCH_STATE,     /* a (without items), b /v1/sessions/state: hosts that live */
    FS_SESSION_BATCH_HANDOVER,  /* c /v1/sessions/handover: give these to the signer */
    FS_SESSION_BATCH_HANDED,    /* d an item for each that was asked, in their order */
    FS_SESSION_BATCH_LATE,      /* c /v1/sessions/late: merge these, you own them; d OFFERED */
    FS_SESSION_BATCH_AHEAD,     /* c /v1/sessions/ahead: hold these for the signer; d OFFERED */
    FS_SESSION_BATCH_KINDS
} fs_session_batch_kind_t;

/* Flags of a batch. */
/* Answers: what is unknown here, no bank server missed here. HANDED: the bank answers here. */
#define FS_SESSION_BATCH_IN_SYNC 1
#define FS_SESSION_BATCH_PASS    2 /* RENEWED: bring what you have; RENEW: that is done for `boot` */
#define FS_SESSION_BATCH_ALL     4  /* RENEWED: keys since `mark` aren't known: compare all */
#define FS_SESSION_BATCH_MORE    8  /* LIST: ask again, after its last key */
#define FS_SESSION_BATCH_FULL    16 /* answers: nothing new is taken here */
#define FS_SESSION_BATCH_FLAGS   31

typedef struct fs_session_batch_t {
    fs_session_batch_kind_t kind;
    unsigned flags;
    uint32_t count;    /* items */
    uint32_t lease;    /* RENEW: ms for which the asker trusts itself after it was heard */
    uint32_t copies;   /* RENEW: how many the farm keeps of each session */
    uint64_t instance; /* of a bank server's data: another one began empty */
    uint64_t boot;     /* of a bank server's process: `mark` counts anew with it */
    /* Of the latest change of the data. SCAN: only what changed after it. RENEWED: the bank
     * server's clock; RENEW with PASS: that of an answer that came before the pass began. */
    uint64_t sequence;
    uint64_t mark; /* RENEW, RENEWED: how many keys were taken away from the asker so far */
    char name[FS_SESSION_NAME_SIZE]; /* RENEW: what the asker calls this bank server; SCAN: of which
                                        only what this one keeps too; "" none */
} fs_session_batch_t;

/* What became of an item. */
typedef enum fs_session_what_t {
    FS_SESSION_WHAT_NONE = 0,  /* requests, LIST, ... */
    FS_SESSION_WHAT_STORED,    /* OFFERED: taken and confirmed */
    FS_SESSION_WHAT_HAVE,      /* OFFERED: was held already, confirmed */
    FS_SESSION_WHAT_MERGE,     /* OFFERED: not taken, here is what is held */
    FS_SESSION_WHAT_FULL,      /* OFFERED: no room: offer it to the next in rank */
    FS_SESSION_WHAT_TOO_LARGE, /* OFFERED: no server takes so large a copy */
    FS_SESSION_WHAT_REFUSED,   /* not done and not confirmed: the server can't just now, or the key
                                  or its times can't be right */
    FS_SESSION_WHAT_GRANTED,   /* TAKEN, HANDED: the asker owns it, here is what is held; TAKEN:
                                  `owner` had it, and was not heard for longer than its lease */
    FS_SESSION_WHAT_OWNED,     /* TAKEN: `owner` lives for `lease` more; here is what is held */
    FS_SESSION_WHAT_UNKNOWN,   /* TAKEN, HANDED, DIFFERING: nothing is held */
    FS_SESSION_WHAT_DIFFERS,   /* DIFFERING: another version is held, or another owns it */
    FS_SESSION_WHAT_TAKING, /* HANDED: the one that was asked takes it itself; `lease` is the rank
                               of the best bank server that granted it */
    FS_SESSION_WHATS
} fs_session_what_t;

/* Flags of an item. */
#define FS_SESSION_ITEM_ENDED    1  /* of the copy's state: it is a tombstone */
#define FS_SESSION_ITEM_ALIAS    2  /* of the copy's state: it leads to another key */
#define FS_SESSION_ITEM_URGENT   4  /* OFFER: somebody waits for the confirmation */
#define FS_SESSION_ITEM_RELEASED 8  /* OFFER: the signer lets the session go, nobody owns it */
#define FS_SESSION_ITEM_PEEK     16 /* TAKE: only to read, the owner stays */
#define FS_SESSION_ITEM_COPY     32 /* OFFER: from another bank server; it isn't the owner */
#define FS_SESSION_ITEM_FENCED   64 /* OFFERED: `owner` took it from the signer */
#define FS_SESSION_ITEM_GRANTED  64 /* DIFFERING: `owner` was given it since `version` was stored */
/* TAKE: the owner doesn't answer the asker, tell him; RENEWED: `owner` wants it and can't reach
 * this host. */
#define FS_SESSION_ITEM_WANTED 128
#define FS_SESSION_ITEM_FLAGS  255

/* Parts of an item. */
#define FS_SESSION_PART_VERSION 1
#define FS_SESSION_PART_EXPIRES 2
#define FS_SESSION_PART_BASE    4  /* OFFER: of the held version that is in the copy */
#define FS_SESSION_PART_OWNER   8  /* a name: u8 length, text */
#define FS_SESSION_PART_LEASE   16 /* u32 ms that are left */
#define FS_SESSION_PART_BASES   32 /* u8 count, each: u8 length, name of a bank server, version */
#define FS_SESSION_PART_SEALED  64 /* u32 length, bytes */
#define FS_SESSION_PARTS        127

typedef struct fs_session_base_t {
    char name[FS_SESSION_NAME_SIZE];
    fs_session_stamp_t version;
} fs_session_base_t;

typedef struct fs_session_item_t {
    fs_session_key_t key;
    fs_session_what_t what;
    unsigned flags;
    unsigned parts; /* which of the following count */
    fs_session_stamp_t version, base;
    fs_usec_t expires; /* farm time; INT64_MAX: never */
    /* Who owns it. OFFER: as the signer knows it, itself if it isn't given; TAKE: who handed it
     * over to the signer, so that the bank grants it if that one still owns it there. */
    char owner[FS_SESSION_NAME_SIZE];
    uint32_t lease;
    uint32_t base_count;
    fs_session_base_t bases[FS_SESSION_BATCH_BASES];
    const uint8_t *sealed; /* borrowed: of a reader, from its bytes */
    uint32_t sealed_length;
} fs_session_item_t;

/* --- write ---------------------------------------------------------------------------------------
 */

typedef struct fs_session_batch_writer_t {
    uint8_t *bytes; /* malloc'ed; the caller frees it, whatever became of the batch */
    size_t length, room;
    fs_session_batch_kind_t kind;
    uint32_t count;
} fs_session_batch_writer_t;

/* Begins a batch; head->count is not used. Errors of both: FS1291 a part is outside its limits
 * (then nothing is added), APR_ENOMEM. */
apr_status_t fs_session_batch_begin(fs_session_batch_writer_t *writer,
                                    const fs_session_batch_t *head, fs_result_t *result);
/* APR_ENOSPC without a message: the batch would be longer than FS_SESSION_BATCH_LIMIT or
 * FS_SESSION_BATCH_ITEMS; nothing is added, it goes into the next one. */
apr_status_t fs_session_batch_add(fs_session_batch_writer_t *writer, const fs_session_item_t *item,
                                  fs_result_t *result);
/* Sets flags of a batch that was begun. */
void fs_session_batch_flag(fs_session_batch_writer_t *writer, unsigned flags);
/* Whether what was added is enough for one batch. */
int fs_session_batch_filled(const fs_session_batch_writer_t *writer);

/* --- read ----------------------------------------------------------------------------------------
 */

typedef struct fs_session_batch_reader_t {
    fs_session_batch_t head;
    const uint8_t *at, *end;
    uint32_t left;
} fs_session_batch_reader_t;

/* Checks all of a batch, of which `kind` is expected. The bytes stay the caller's, for as long as
 * items are used. Errors: FS1290 damaged, of another kind, or of another farmsync. */
apr_status_t fs_session_batch_read(fs_session_batch_reader_t *reader, fs_session_batch_kind_t kind,
                                   const void *bytes, size_t length, fs_result_t *result);
/* The next item; 0 after the last one. */
int fs_session_batch_next(fs_session_batch_reader_t *reader, fs_session_item_t *item);

#endif
