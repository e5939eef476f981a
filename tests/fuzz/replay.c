/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gives each file of a corpus to a fuzz target, so that make check replays without a fuzzer what
 * one has found. The corpus is $srcdir/tests/fuzz/corpus/FS_FUZZ_CORPUS, or the files that are
 * named.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay(const char *path)
{
    FILE *file = fopen(path, "rb");
    uint8_t *data;
    long size;

    if (!file || fseek(file, 0, SEEK_END) || (size = ftell(file)) < 0) {
        perror(path);
        exit(EXIT_FAILURE);
    }
    rewind(file);
    data = malloc(size ? (size_t)size : 1); /* no byte more, so that a sanitizer sees an overrun */
    if (!data || fread(data, 1, (size_t)size, file) != (size_t)size) {
        perror(path);
        exit(EXIT_FAILURE);
    }
    fclose(file);
    LLVMFuzzerTestOneInput(data, (size_t)size);
    free(data);
    return 1;
}

int main(int argc, char **argv)
{
    const char *source = getenv("srcdir");
    const struct dirent *entry;
    char path[4096];
    int count = 0;
    DIR *corpus;

    for (int i = 1; i < argc; i++)
        count += replay(argv[i]);
    if (argc > 1)
        return EXIT_SUCCESS;
    snprintf(path, sizeof(path), "%s/tests/fuzz/corpus/" FS_FUZZ_CORPUS, source ? source : ".");
    corpus = opendir(path);
    if (!corpus) {
        perror(path);
        return EXIT_FAILURE;
    }
    while ((entry = readdir(corpus)) != NULL) {
        char name[sizeof(path) + 260];

        snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
        if (entry->d_name[0] != '.')
            count += replay(name);
    }
    closedir(corpus);
    printf("%s: %d files replayed\n", path, count);
    return count ? EXIT_SUCCESS : EXIT_FAILURE;
}
