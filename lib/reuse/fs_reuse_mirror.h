/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a client was last sent: the check values of its last pages by URL, as a short text that is
 * kept in the client's session. The page that was used last stands first; the last one goes when
 * there is no more room.
 *
 * A mirror predicts what a client holds, and only counts when the client says that it still does.
 * It is made of hashes: of 96 bits a page, so that two pages are taken for one once in 2^64.
 *
 * Any thread; a mirror by one at a time.
 */
#ifndef FS_REUSE_MIRROR_H
#define FS_REUSE_MIRROR_H

#include <stddef.h>
#include <stdint.h>

#define FS_REUSE_MIRROR_PAGES 32
#define FS_REUSE_MIRROR_SIZE  (FS_REUSE_MIRROR_PAGES * 16 + 1) /* as text, with a NUL */

typedef struct fs_reuse_held_t {
    uint32_t url;
    uint64_t tag;
} fs_reuse_held_t;

typedef struct fs_reuse_mirror_t {
    unsigned count;
    fs_reuse_held_t pages[FS_REUSE_MIRROR_PAGES];
} fs_reuse_mirror_t;

/* A text that isn't one, or NULL, is an empty mirror. */
void fs_reuse_mirror_read(fs_reuse_mirror_t *mirror, const char *text);
void fs_reuse_mirror_write(const fs_reuse_mirror_t *mirror, char text[FS_REUSE_MIRROR_SIZE]);

/* Whether the client was last sent the page with this tag at this URL. */
int fs_reuse_mirror_holds(const fs_reuse_mirror_t *mirror, const char *url, const char *tag);
/* Notes that it was sent, or holds, it now. 1 if that changed the mirror's content, 0 if it was
 * known. */
int fs_reuse_mirror_put(fs_reuse_mirror_t *mirror, const char *url, const char *tag);

/* CRC-32C (RFC 9260, appendix A) of more bytes; begin with 0. */
uint32_t fs_reuse_crc32c(uint32_t crc, const void *bytes, size_t length);

/*
 * Reads FarmSync-Have: "?1" or "?0", with or without ";crc32c=" and 8 hex digits (the client's own
 * check value of its copy). 1 if the client says that it holds a page; `*has_crc` 1 if it says
 * what.
 */
int fs_reuse_have(const char *field, int *has_crc, uint32_t *crc);

#endif
