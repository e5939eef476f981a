/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of a delta; see doc/image-format.md. */
#ifndef FS_DELTA_FORMAT_H
#define FS_DELTA_FORMAT_H

#include "image/fs_delta.h"

#define FS_DELTA_MAGIC      "FSDELTA\n"
#define FS_DELTA_BYTE_ORDER 0x01020304u
#define FS_DELTA_FORMAT     1u
#define FS_DELTA_WINDOW_LOG 23 /* zstd's window: 8 MiB on either side */

typedef struct fs_delta_header_t {
    char magic[8];
    uint32_t byte_order;
    uint32_t format;
    uint8_t old_digest[FS_DIGEST_BYTES];
    uint8_t new_digest[FS_DIGEST_BYTES];
    int64_t version; /* of the new image */
    uint64_t removed_rows;
    uint64_t put_rows;
    uint64_t raw_bytes;
} fs_delta_header_t;

_Static_assert(sizeof(fs_delta_header_t) == 112, "the header is part of the file format");

/* Before each record of the frame: u32 bytes of the row that follows, as it lies in an image. A
 * removed key is a row of the key columns alone. */

/* The digest of an image: from its name, else from its bytes. */
apr_status_t fs_delta_digest(const char *path, fs_digest_t *digest, fs_result_t *result);

#endif
