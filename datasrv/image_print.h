/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of an image as text, JSON and SQL, for farmsync-image. */
#ifndef IMAGE_PRINT_H
#define IMAGE_PRINT_H

#include <stdio.h>

#include "image/fs_image.h"

/* The row's key values in key order (FS_IMAGE_MAX_KEYS slices); returns how many. */
unsigned image_row_key(const fs_row_t *row, fs_slice_t *key);

void image_print_info(FILE *out, const fs_image_t *image);
/* The key as one line, values separated by tabs, strange bytes as \xHH. */
void image_print_key(FILE *out, const fs_row_t *row, const char *before, const char *after);
/* A line for each column: name, tab, value; \N is NULL. */
void image_print_row(FILE *out, const fs_row_t *row);
/* One line: a JSON object. Numbers that JSON can't write so are strings, binary values are base64.
 */
void image_print_json(FILE *out, const fs_row_t *row);
/* One line: INSERT INTO `dataset` ... */
void image_print_sql(FILE *out, const fs_row_t *row);
/* "~ KEY", then a line for each column that differs; 1 if any does. The same columns in both. */
int image_print_changes(FILE *out, const fs_row_t *before, const fs_row_t *after);

#endif
