/* SPDX-License-Identifier: Apache-2.0 */
/* What bench_image measures: stores that answer a key, each behind the same three functions. */
#ifndef BENCH_IMAGE_H
#define BENCH_IMAGE_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "image/fs_image.h"

#define BENCH_KEY 19 /* bytes of a key, "price:sku:000000000" */
#define BENCH_VALUE                                                                                \
    64 /* bytes of a row's other columns, of which the first BENCH_KEY are a key                   \
        */

/* The rows: number i has key bench_key(i) and names the row that a dependent chain reads next. */
typedef struct bench_rows_t {
    unsigned count;
    uint32_t *next; /* a random cycle through all rows */
    const char *dir;
} bench_rows_t;

void bench_key(char out[BENCH_KEY + 1], unsigned number);
/* Writes the 64 bytes that follow the key of row `number`. */
void bench_value(const bench_rows_t *rows, unsigned number, char out[BENCH_VALUE + 1]);

typedef struct bench_store_t {
    const char *name;
    const char *word; /* the name as one word */
    void *(*open)(const bench_rows_t *rows);
    /* Where the value of `key` begins, NULL if it isn't found; valid until the next call. */
    const char *(*get)(void *store, const char *key);
    void (*close)(void *store);
    unsigned look_ups; /* at most so many a round, for slow ones */
    int waits;         /* another process answers: processor time says nothing */
} bench_store_t;

extern const bench_store_t bench_stores[]; /* ends with a NULL name; the image isn't one of them */

/* Ends the measurement with a message. */
void bench_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
void bench_must(apr_status_t status, const fs_result_t *result);
void bench_say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* One figure for the JSON file, if there is one: "PREFIX_NAME": VALUE. */
void bench_note(const char *prefix, const char *name, double value);
extern FILE *bench_json;

double bench_now(void); /* nanoseconds */
double bench_middle(double *values, unsigned count);
uint32_t bench_random(uint32_t limit);
uint32_t *bench_shuffled(unsigned count);
uint32_t *bench_cycle(unsigned count);

apr_status_t bench_add_row(fs_image_builder_t *builder, const bench_rows_t *rows, unsigned number,
                           const char *note, fs_result_t *result);
/* Builds and opens the image; its path is "<dir>/<digest>.fsi". */
fs_image_t *bench_build(const bench_rows_t *rows, double *seconds, char path[512]);

/* Changes one row in a thousand of the image: the next image, the delta, and the image from it. */
void bench_changes(const char *prefix, const bench_rows_t *rows, const char *old_path,
                   double build_seconds);
/* Makes and applies the delta between two images. */
void bench_delta(const char *dir, const char *old_path, const char *new_path);

#endif
