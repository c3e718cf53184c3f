/* Runs a fuzz target over the files of a folder: the corpus is part of every ordinary test run. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { INPUT_BYTES_MAX = 1 << 22 };

static int
replay_file(const char *folder, const char *name)
{
    char path[4096];
    uint8_t *data = malloc(INPUT_BYTES_MAX);
    FILE *file;
    size_t n;

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    file = fopen(path, "rb");
    if (file == NULL || data == NULL) {
        printf("not ok - %s cannot be read\n", path);
        return 1;
    }
    n = fread(data, 1, INPUT_BYTES_MAX, file);
    fclose(file);
    LLVMFuzzerTestOneInput(data, n);
    free(data);
    printf("ok - %s\n", name);
    return 0;
}

int
main(int argc, char **argv)
{
    struct dirent **entries;
    int failed = 0, n = 0, found;

    found = argc == 2 ? scandir(argv[1], &entries, NULL, alphasort) : -1;
    if (found < 0) {
        fprintf(stderr, "usage: replay FOLDER\n");
        return 2;
    }
    for (int i = 0; i < found; i++) {
        if (entries[i]->d_name[0] != '.') {
            failed += replay_file(argv[1], entries[i]->d_name);
            n++;
        }
        free(entries[i]);
    }
    free(entries);
    printf("1..%d\n", n);
    return n == 0 || failed != 0;
}
