/* SPDX-License-Identifier: Apache-2.0 */
/* What the image's measurements share: rows, random numbers, output. */
#include "bench_image.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

FILE *bench_json;

void bench_fail(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

void bench_say(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    fflush(stdout);
}

/* One figure, "PREFIX_NAME": VALUE. */
void bench_note(const char *prefix, const char *name, double value)
{
    static int begun;

    if (bench_json)
        fprintf(bench_json, "%s\n \"%s_%s\": %.4f", begun++ ? "," : "{", prefix, name, value);
}

double bench_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static int compare_times(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static uint64_t random_state = UINT64_C(0x9E3779B97F4A7C15);

uint32_t bench_random(uint32_t limit)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(((random_state >> 32) * limit) >> 32);
}

/* A random permutation of 0..count-1. */
uint32_t *bench_shuffled(unsigned count)
{
    uint32_t *numbers = malloc(count * sizeof(*numbers));

    for (unsigned i = 0; i < count; i++) {
        uint32_t j = bench_random(i + 1);

        numbers[i] = numbers[j];
        numbers[j] = i;
    }
    return numbers;
}

/* A random cycle through all of 0..count-1. */
uint32_t *bench_cycle(unsigned count)
{
    uint32_t *way = bench_shuffled(count), *next = malloc(count * sizeof(*next));

    for (unsigned i = 0; i < count; i++)
        next[way[i]] = way[(i + 1) % count];
    free(way);
    return next;
}

void bench_key(char out[BENCH_KEY + 1], unsigned number)
{
    snprintf(out, BENCH_KEY + 1, "price:sku:%09u", number % 1000000000u);
}

void bench_value(const bench_rows_t *rows, unsigned number, char out[BENCH_VALUE + 1])
{
    bench_key(out, rows->next[number]);
    snprintf(out + BENCH_KEY, BENCH_VALUE + 1 - BENCH_KEY, "%08u.%02u in stock: %06u, a short note",
             number, number % 100, number % 1000000u);
    for (size_t used = strlen(out); used < BENCH_VALUE; used++)
        out[used] = '.';
    out[BENCH_VALUE] = '\0';
}

static fs_column_t columns[] = {
    {"sku", FS_COLUMN_TEXT, 1},
    {"next", FS_COLUMN_TEXT, 0},
    {"price", FS_COLUMN_DECIMAL, 0},
    {"note", FS_COLUMN_TEXT, 0},
};
static const fs_image_schema_t bench_schema = {"default", "prices", 4, 1, columns};

void bench_must(apr_status_t status, const fs_result_t *result)
{
    if (status != APR_SUCCESS)
        bench_fail("%s: %s", result->problem, result->detail);
}

apr_status_t bench_add_row(fs_image_builder_t *builder, const bench_rows_t *rows, unsigned number,
                           const char *note, fs_result_t *result)
{
    char key[BENCH_KEY + 1], value[BENCH_VALUE + 1];
    uint32_t length = BENCH_VALUE - BENCH_KEY - 11;

    bench_key(key, number);
    bench_value(rows, number, value);
    fs_slice_t values[] = {{key, BENCH_KEY},
                           {value, BENCH_KEY},
                           {value + BENCH_KEY, 11},
                           {note ? note : value + BENCH_KEY + 11, length}};
    return fs_image_builder_add(builder, values, result);
}

/* Builds and opens the image; its path is "<dir>/<digest>.fsi". */
fs_image_t *bench_build(const bench_rows_t *rows, double *seconds, char path[512])
{
    fs_image_builder_t *builder;
    fs_image_made_t made;
    fs_image_t *image;
    fs_result_t result;
    char hex[FS_DIGEST_HEX_SIZE];
    double start = bench_now();

    bench_must(fs_image_builder_create(&builder, rows->dir, &bench_schema, 1, &result), &result);
    for (unsigned i = 0; i < rows->count; i++)
        bench_must(bench_add_row(builder, rows, i, NULL, &result), &result);
    bench_must(fs_image_builder_finish(builder, &made, &result), &result);
    *seconds = (bench_now() - start) / 1e9;
    snprintf(path, 512, "%s/%s.fsi", rows->dir, fs_digest_hex(&made.digest, hex));
    bench_must(fs_image_open(&image, path, &result), &result);
    return image;
}

double bench_middle(double *values, unsigned count)
{
    qsort(values, count, sizeof(*values), compare_times);
    return values[count / 2];
}
