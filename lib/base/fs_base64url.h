/* SPDX-License-Identifier: Apache-2.0 */
/* base64url without padding (RFC 4648 §5): bytes as text that fits cookies, tags and URLs. */
#ifndef FS_BASE64URL_H
#define FS_BASE64URL_H

#include <stddef.h>
#include <stdint.h>

/* Characters for so many bytes, without a NUL. */
#define FS_BASE64URL_LENGTH(bytes) (((bytes)*4 + 2) / 3)

/* Writes FS_BASE64URL_LENGTH(length) characters; returns where they end. No NUL. */
char *fs_base64url_write(const uint8_t *data, size_t length, char *text);

/* How many bytes a text means; 0 if it has other characters, isn't in its only spelling, or means
 * more than `room` bytes. */
size_t fs_base64url_read(const char *text, size_t length, uint8_t *data, size_t room);

#endif
