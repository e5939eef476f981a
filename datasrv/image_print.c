/* SPDX-License-Identifier: Apache-2.0 */
#include "image_print.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <string.h>

#include "base/fs_json_scan.h"

#define PIECE_BYTES 3072 /* of what is written as base64 at once: threes */

static const char *const type_names[] = {"text", "integer", "decimal", "float",
                                         "time", "json",    "binary"};
static const char hex_digits[] = "0123456789ABCDEF";

unsigned image_row_key(const fs_row_t *row, fs_slice_t *key)
{
    const fs_image_schema_t *schema = fs_image_schema(row->image);

    for (unsigned i = 0; i < schema->column_count; i++) {
        int place = schema->columns[i].key;

        if (!place)
            continue;
        key[place - 1] = fs_row_value(row, i);
        if (!key[place - 1].data)
            key[place - 1] = (fs_slice_t){"", 0};
    }
    return schema->key_count;
}

/* Text for a terminal: control characters and backslashes are escaped, so are bytes of binary
 * values. */
static void print_plain(FILE *out, fs_slice_t value, int binary)
{
    if (!value.data)
        fputs("\\N", out);
    for (uint32_t i = 0; i < value.length && value.data; i++) {
        unsigned char c = (unsigned char)value.data[i];

        if (c == '\\')
            fputs("\\\\", out);
        else if (c < ' ' || c == 127 || (binary && c > 127))
            fprintf(out, "\\x%c%c", hex_digits[c >> 4], hex_digits[c & 15]);
        else
            putc(c, out);
    }
}

void image_print_info(FILE *out, const fs_image_t *image)
{
    const fs_image_schema_t *schema = fs_image_schema(image);

    fprintf(out,
            "dataset\t%s\ngroup\t%s\nversion\t%" PRId64 "\nrows\t%" PRIu64 "\nbytes\t%" PRIu64 "\n",
            schema->dataset, schema->group, fs_image_version(image), fs_image_rows(image),
            fs_image_bytes(image));
    for (unsigned i = 0; i < schema->column_count; i++) {
        const fs_column_t *column = &schema->columns[i];

        fprintf(out, "column\t%s\t%s", column->name, type_names[column->type]);
        if (column->key)
            fprintf(out, "\tkey %d", column->key);
        putc('\n', out);
    }
}

void image_print_key(FILE *out, const fs_row_t *row, const char *before, const char *after)
{
    fs_slice_t key[FS_IMAGE_MAX_KEYS];
    unsigned count = image_row_key(row, key);

    fputs(before, out);
    for (unsigned i = 0; i < count; i++) {
        if (i)
            putc('\t', out);
        print_plain(out, key[i], 0);
    }
    fputs(after, out);
}

void image_print_row(FILE *out, const fs_row_t *row)
{
    const fs_image_schema_t *schema = fs_image_schema(row->image);

    for (unsigned i = 0; i < schema->column_count; i++) {
        fprintf(out, "%s\t", schema->columns[i].name);
        print_plain(out, fs_row_value(row, i), schema->columns[i].type == FS_COLUMN_BINARY);
        putc('\n', out);
    }
}

/* --- JSON ---------------------------------------------------------------------------------------
 */

/* RFC 8259: control characters, quote and backslash are escaped; the rest is UTF-8 already. */
static void print_json_string(FILE *out, const char *data, uint32_t length)
{
    putc('"', out);
    for (uint32_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)data[i];

        if (c == '"' || c == '\\')
            fprintf(out, "\\%c", c);
        else if (c < ' ')
            fprintf(out, "\\u00%c%c", hex_digits[c >> 4], hex_digits[c & 15]);
        else
            putc(c, out);
    }
    putc('"', out);
}

static void print_base64(FILE *out, fs_slice_t value)
{
    unsigned char text[PIECE_BYTES / 3 * 4 + 1];

    putc('"', out);
    for (uint32_t i = 0; i < value.length; i += PIECE_BYTES) {
        uint32_t left = value.length - i;

        EVP_EncodeBlock(text, (const unsigned char *)value.data + i,
                        left < PIECE_BYTES ? (int)left : PIECE_BYTES);
        fputs((const char *)text, out);
    }
    putc('"', out);
}

static int is_number(fs_column_type_t type, fs_slice_t value)
{
    return (type == FS_COLUMN_INTEGER || type == FS_COLUMN_DECIMAL || type == FS_COLUMN_FLOAT) &&
           fs_json_is_number(value.data, value.length);
}

static void print_json_value(FILE *out, fs_column_type_t type, fs_slice_t value)
{
    if (!value.data)
        fputs("null", out);
    else if (type == FS_COLUMN_BINARY)
        print_base64(out, value);
    else if (is_number(type, value) || (type == FS_COLUMN_JSON && value.length))
        fwrite(value.data, 1, value.length, out);
    else
        print_json_string(out, value.data, value.length);
}

void image_print_json(FILE *out, const fs_row_t *row)
{
    const fs_image_schema_t *schema = fs_image_schema(row->image);

    for (unsigned i = 0; i < schema->column_count; i++) {
        const fs_column_t *column = &schema->columns[i];

        putc(i ? ',' : '{', out);
        print_json_string(out, column->name, (uint32_t)strlen(column->name));
        putc(':', out);
        print_json_value(out, column->type, fs_row_value(row, i));
    }
    fputs("}\n", out);
}

/* --- SQL ----------------------------------------------------------------------------------------
 */

static void print_identifier(FILE *out, const char *name)
{
    putc('`', out);
    for (; *name; name++) {
        if (*name == '`')
            putc('`', out);
        putc(*name, out);
    }
    putc('`', out);
}

/* For values without a backslash: what that means depends on sql_mode, so those are written in hex.
 */
static void print_sql_string(FILE *out, fs_slice_t value)
{
    putc('\'', out);
    for (uint32_t i = 0; i < value.length; i++) {
        if (value.data[i] == '\'')
            putc('\'', out);
        putc(value.data[i], out);
    }
    putc('\'', out);
}

static void print_sql_hex(FILE *out, fs_slice_t value, int binary)
{
    fputs(binary ? "X'" : "CONVERT(X'", out);
    for (uint32_t i = 0; i < value.length; i++) {
        unsigned char c = (unsigned char)value.data[i];

        putc(hex_digits[c >> 4], out);
        putc(hex_digits[c & 15], out);
    }
    fputs(binary ? "'" : "' USING utf8mb4)", out);
}

static void print_sql_value(FILE *out, fs_column_type_t type, fs_slice_t value)
{
    if (!value.data)
        fputs("NULL", out);
    else if (is_number(type, value))
        fwrite(value.data, 1, value.length, out);
    else if (type == FS_COLUMN_BINARY || memchr(value.data, '\\', value.length) ||
             memchr(value.data, 0, value.length) || memchr(value.data, '\n', value.length) ||
             memchr(value.data, '\r', value.length))
        print_sql_hex(out, value, type == FS_COLUMN_BINARY);
    else
        print_sql_string(out, value);
}

void image_print_sql(FILE *out, const fs_row_t *row)
{
    const fs_image_schema_t *schema = fs_image_schema(row->image);

    fputs("INSERT INTO ", out);
    print_identifier(out, schema->dataset);
    for (unsigned i = 0; i < schema->column_count; i++) {
        fputs(i ? "," : " (", out);
        print_identifier(out, schema->columns[i].name);
    }
    for (unsigned i = 0; i < schema->column_count; i++) {
        fputs(i ? "," : ") VALUES (", out);
        print_sql_value(out, schema->columns[i].type, fs_row_value(row, i));
    }
    fputs(");\n", out);
}

/* --- diff ---------------------------------------------------------------------------------------
 */

static int equal(fs_slice_t a, fs_slice_t b)
{
    if (!a.data || !b.data)
        return !a.data && !b.data;
    return a.length == b.length && !memcmp(a.data, b.data, a.length);
}

int image_print_changes(FILE *out, const fs_row_t *before, const fs_row_t *after)
{
    const fs_image_schema_t *schema = fs_image_schema(before->image);
    int different = 0;

    for (unsigned i = 0; i < schema->column_count; i++) {
        fs_slice_t old = fs_row_value(before, i), new = fs_row_value(after, i);
        int binary = schema->columns[i].type == FS_COLUMN_BINARY;

        if (equal(old, new))
            continue;
        if (!different++)
            image_print_key(out, before, "~ ", "\n");
        fprintf(out, "    %s: ", schema->columns[i].name);
        print_plain(out, old, binary);
        fputs(" -> ", out);
        print_plain(out, new, binary);
        putc('\n', out);
    }
    return different != 0;
}
