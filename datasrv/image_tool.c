/* SPDX-License-Identifier: Apache-2.0 */
/*
 * farmsync-image: what is in an image, for people and for scripts.
 *
 * Exit status: 0 done, 1 no such row, or the images differ, 2 it couldn't be done.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image_print.h"

#include "base/fs_digest.h"
#include "image/fs_image.h"

enum { EXIT_DONE = 0, EXIT_DIFFERENT = 1, EXIT_TROUBLE = 2 };

typedef struct command_t {
    const char *name;
    int least, most; /* arguments, without the command */
    int (*run)(int argc, char **argv);
} command_t;

static const char usage[] =
    "usage: farmsync-image COMMAND\n"
    "  info FILE                   dataset, version, rows and columns\n"
    "  list FILE [KEY...]          keys in order; those that begin with KEY...\n"
    "  get FILE KEY... [--json]    one row, a value for each key column\n"
    "  verify FILE                 checks every byte; the digest too if the file is named by it\n"
    "  dump FILE [--json|--sql]    all rows in key order, as JSON lines or as SQL statements\n"
    "  diff OLD NEW                rows added (+), removed (-) and changed (~)\n";

static int trouble(const fs_result_t *result)
{
    fprintf(stderr, "farmsync-image: %s: %s\n", result->problem, result->detail);
    return EXIT_TROUBLE;
}

static int refuse(const char *problem, const char *text)
{
    fprintf(stderr, "farmsync-image: %s: %s\n", problem, text);
    return EXIT_TROUBLE;
}

/* NULL after saying why. */
static fs_image_t *open_image(const char *path)
{
    fs_image_t *image;
    fs_result_t result;

    if (fs_image_open(&image, path, &result) != APR_SUCCESS)
        trouble(&result);
    return image;
}

/* Closes and tells whether everything could be written. */
static int finish(fs_image_t *image, int status)
{
    fs_image_close(image);
    if (fflush(stdout) || ferror(stdout))
        return refuse("FS0943", "cannot write the output; is the disk full?");
    return status;
}

/* Takes an option out of the arguments; 1 if it was there. */
static int take_option(int *argc, char **argv, const char *name)
{
    for (int i = 0; i < *argc; i++) {
        if (strcmp(argv[i], name) != 0)
            continue;
        memmove(argv + i, argv + i + 1, (size_t)(*argc - i - 1) * sizeof(*argv));
        --*argc;
        return 1;
    }
    return 0;
}

static void take_key(fs_slice_t *key, int count, char **argv)
{
    for (int i = 0; i < count; i++)
        key[i] = (fs_slice_t){argv[i], (uint32_t)strlen(argv[i])};
}

static int run_info(int argc, char **argv)
{
    fs_image_t *image = open_image(argv[0]);

    (void)argc;
    if (!image)
        return EXIT_TROUBLE;
    image_print_info(stdout, image);
    return finish(image, EXIT_DONE);
}

/* Does the row's key begin with these values? */
static int row_begins_with(const fs_row_t *row, const fs_slice_t *key, unsigned count)
{
    fs_slice_t have[FS_IMAGE_MAX_KEYS];

    image_row_key(row, have);
    for (unsigned i = 0; i < count; i++)
        if (have[i].length != key[i].length || memcmp(have[i].data, key[i].data, key[i].length))
            return 0;
    return 1;
}

static int run_list(int argc, char **argv)
{
    fs_image_t *image = open_image(argv[0]);
    fs_slice_t key[FS_IMAGE_MAX_KEYS];
    fs_row_t row;
    unsigned count = (unsigned)argc - 1;

    if (!image)
        return EXIT_TROUBLE;
    if (count > fs_image_schema(image)->key_count) {
        fs_image_close(image);
        return refuse("FS0941", "more key values than the dataset has key columns; see info");
    }
    take_key(key, (int)count, argv + 1);
    for (uint64_t i = fs_image_seek(image, key, count);
         fs_image_at(image, i, &row) && row_begins_with(&row, key, count); i++)
        image_print_key(stdout, &row, "", "\n");
    return finish(image, EXIT_DONE);
}

static int run_get(int argc, char **argv)
{
    int json = take_option(&argc, argv, "--json");
    fs_image_t *image = open_image(argv[0]);
    fs_slice_t key[FS_IMAGE_MAX_KEYS];
    fs_row_t row;

    if (!image)
        return EXIT_TROUBLE;
    if (argc - 1 != (int)fs_image_schema(image)->key_count) {
        fs_image_close(image);
        return refuse("FS0941", "give one value for each key column; see info");
    }
    take_key(key, argc - 1, argv + 1);
    if (!fs_image_find(image, key, (unsigned)argc - 1, &row)) {
        fs_image_close(image);
        refuse("FS0940", "there is no row with this key");
        return EXIT_DIFFERENT;
    }
    if (json)
        image_print_json(stdout, &row);
    else
        image_print_row(stdout, &row);
    return finish(image, EXIT_DONE);
}

/* The digest that a file's name promises; NULL if it is named otherwise. */
static const fs_digest_t *promised(const char *path, fs_digest_t *digest)
{
    const char *slash = strrchr(path, '/');
    char hex[FS_DIGEST_HEX_SIZE];

    path = slash ? slash + 1 : path;
    snprintf(hex, sizeof(hex), "%s", path);
    return strlen(path) >= FS_DIGEST_HEX_SIZE - 1 && !fs_digest_parse(digest, hex) ? digest : NULL;
}

static int run_verify(int argc, char **argv)
{
    fs_digest_t digest;
    const fs_digest_t *expected = promised(argv[0], &digest);
    fs_result_t result;

    (void)argc;
    if (fs_image_verify(argv[0], expected, &result) != APR_SUCCESS)
        return trouble(&result);
    printf("%s: sound%s\n", argv[0], expected ? ", and what its name says" : "");
    return finish(NULL, EXIT_DONE);
}

static int run_dump(int argc, char **argv)
{
    int sql = take_option(&argc, argv, "--sql");
    int json = take_option(&argc, argv, "--json");
    fs_image_t *image;
    fs_row_t row;

    if (argc != 1 || (sql && json)) {
        fputs(usage, stderr);
        return EXIT_TROUBLE;
    }
    image = open_image(argv[0]);
    if (!image)
        return EXIT_TROUBLE;
    for (uint64_t i = 0; fs_image_at(image, i, &row); i++) {
        if (sql)
            image_print_sql(stdout, &row);
        else
            image_print_json(stdout, &row);
    }
    return finish(image, EXIT_DONE);
}

/* --- diff ---------------------------------------------------------------------------------------
 */

static int same_columns(const fs_image_t *a, const fs_image_t *b)
{
    const fs_image_schema_t *one = fs_image_schema(a), *other = fs_image_schema(b);

    if (one->column_count != other->column_count || one->key_count != other->key_count)
        return 0;
    for (unsigned i = 0; i < one->column_count; i++)
        if (strcmp(one->columns[i].name, other->columns[i].name) != 0 ||
            one->columns[i].key != other->columns[i].key)
            return 0;
    return 1;
}

static int compare_keys(const fs_row_t *a, const fs_row_t *b)
{
    fs_slice_t one[FS_IMAGE_MAX_KEYS], other[FS_IMAGE_MAX_KEYS];
    unsigned count = image_row_key(a, one);

    image_row_key(b, other);
    for (unsigned i = 0; i < count; i++) {
        uint32_t shared = one[i].length < other[i].length ? one[i].length : other[i].length;
        int order = memcmp(one[i].data, other[i].data, shared);

        if (order || one[i].length != other[i].length)
            return order ? order : one[i].length < other[i].length ? -1 : 1;
    }
    return 0;
}

/* Walks both in key order; returns how many rows differ. */
static uint64_t compare_images(const fs_image_t *old, const fs_image_t *new)
{
    uint64_t i = 0, j = 0, different = 0;
    fs_row_t before, after;
    int has_before = fs_image_at(old, 0, &before), has_after = fs_image_at(new, 0, &after);

    while (has_before || has_after) {
        int order = !has_before ? 1 : !has_after ? -1 : compare_keys(&before, &after);

        if (order < 0)
            image_print_key(stdout, &before, "- ", "\n");
        else if (order > 0)
            image_print_key(stdout, &after, "+ ", "\n");
        different += order ? 1 : (uint64_t)image_print_changes(stdout, &before, &after);
        if (order <= 0)
            has_before = fs_image_at(old, ++i, &before);
        if (order >= 0)
            has_after = fs_image_at(new, ++j, &after);
    }
    return different;
}

static int run_diff(int argc, char **argv)
{
    fs_image_t *old = open_image(argv[0]), *new = old ? open_image(argv[1]) : NULL;
    int status = EXIT_TROUBLE;

    (void)argc;
    if (old && new) {
        if (same_columns(old, new))
            status = compare_images(old, new) ? EXIT_DIFFERENT : EXIT_DONE;
        else
            refuse("FS0942",
                   "the two images have other columns or another key; compare their info");
    }
    fs_image_close(new);
    return finish(old, status);
}

static const command_t commands[] = {
    {"info", 1, 1, run_info},
    {"list", 1, 1 + FS_IMAGE_MAX_KEYS, run_list},
    {"get", 2, 2 + FS_IMAGE_MAX_KEYS, run_get},
    {"verify", 1, 1, run_verify},
    {"dump", 1, 3, run_dump},
    {"diff", 2, 2, run_diff},
};

int main(int argc, char **argv)
{
    for (size_t i = 0; argc > 1 && i < sizeof(commands) / sizeof(commands[0]); i++)
        if (!strcmp(argv[1], commands[i].name) && argc - 2 >= commands[i].least &&
            argc - 2 <= commands[i].most)
            return commands[i].run(argc - 2, argv + 2);
    if (argc == 2 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))) {
        fputs(usage, stdout);
        return EXIT_DONE;
    }
    fputs(usage, stderr);
    return EXIT_TROUBLE;
}
