/*
 * replay - runs a fuzz target over its corpus as an ordinary test.
 *
 * The corpus is what fuzzing has taught us; a compiler without libFuzzer (gcc) and a sanitizer
 * build must be able to repeat the lesson in milliseconds. Usage: replay_NAME DIR|FILE...
 * One thread. Prints one TAP line per file; an input that breaks the target aborts the process
 * after its name was printed.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include <dirent.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* The target; returns 0, or -1 for an input that the corpus should not keep. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned played;

/* Reads the whole file into an exactly sized heap block, so that a sanitizer sees an overrun. */
static uint8_t *read_whole(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        return NULL;
    }
    uint8_t *data = NULL;
    struct stat st;
    if (fstat(fileno(file), &st) == 0 && st.st_size >= 0) {
        size_t want = (size_t)st.st_size;
        data = malloc(want > 0 ? want : 1);
        if (data != NULL && fread(data, 1, want, file) != want) {
            free(data);
            data = NULL;
        }
        *size = want;
    }
    fclose(file);
    return data;
}

static bool replay_file(const char *path)
{
    size_t size = 0;
    uint8_t *data = read_whole(path, &size);
    if (data == NULL) {
        fprintf(stderr, "cannot read %s\n", path);
        return false;
    }
    printf("# %s\n", path);
    fflush(stdout);
    (void)LLVMFuzzerTestOneInput(data, size);
    free(data);
    played++;
    printf("ok %u - %s\n", played, path);
    return true;
}

static bool replay_dir(const char *dir)
{
    struct dirent **entries = NULL;
    int n = scandir(dir, &entries, NULL, alphasort);
    if (n < 0) {
        fprintf(stderr, "cannot list %s\n", dir);
        return false;
    }
    bool good = true;
    for (int i = 0; i < n; i++) {
        char path[4096];
        int len = snprintf(path, sizeof path, "%s/%s", dir, entries[i]->d_name);
        bool fits = len > 0 && (size_t)len < sizeof path;
        if (entries[i]->d_name[0] != '.') {
            good = fits && replay_file(path) && good;
        }
        free(entries[i]);
    }
    free(entries);
    return good;
}

int main(int argc, char **argv)
{
    bool good = argc > 1;
    for (int i = 1; i < argc; i++) {
        struct stat st;
        bool is_dir = stat(argv[i], &st) == 0 && S_ISDIR(st.st_mode);
        good = (is_dir ? replay_dir(argv[i]) : replay_file(argv[i])) && good;
    }
    if (played == 0) {
        fprintf(stderr, "no input was replayed\n");
        return EXIT_FAILURE;
    }
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
