/*
 * Stands in for libFuzzer: runs the target on the files named, and on all files of folders named,
 * so that every corpus is an ordinary test with any compiler. An empty input always runs first.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int run_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (f == NULL) {
        perror(path);
        return 1;
    }
    uint8_t *data = NULL;
    size_t size = 0;
    size_t cap = 0;
    size_t got;
    do {
        if (size == cap) {
            cap = cap * 2 + 4096;
            uint8_t *grown = realloc(data, cap);
            if (grown == NULL) {
                break;
            }
            data = grown;
        }
        got = fread(data + size, 1, cap - size, f);
        size += got;
    } while (got > 0);
    fclose(f);
    /* A block of the exact size: a read past it is seen by the sanitizer. */
    uint8_t *exact = realloc(data, size > 0 ? size : 1);
    LLVMFuzzerTestOneInput(exact != NULL ? exact : data, size);
    free(exact != NULL ? exact : data);
    return 0;
}

static int run_path(const char *path, int *files)
{
    DIR *dir = opendir(path);
    if (dir == NULL) {
        (*files)++;
        return run_file(path);
    }
    int rc = 0;
    const struct dirent *entry;
    while ((entry = readdir(dir)) != NULL) {
        char name[4096];
        if (entry->d_name[0] != '.') {
            snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
            rc |= run_file(name);
            (*files)++;
        }
    }
    closedir(dir);
    return rc;
}

int main(int argc, char **argv)
{
    int rc = 0;
    int files = 0;
    LLVMFuzzerTestOneInput((const uint8_t *) "", 0);
    for (int i = 1; i < argc; i++) {
        rc |= run_path(argv[i], &files);
    }
    printf("fuzz: %d inputs\n", files);
    return files > 0 ? rc : 1;
}
