/* What fuzz targets share: an invariant that does not hold ends the run. */
#ifndef FUZZ_H
#define FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FUZZ_MUST(condition)                                                                       \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                        \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

enum { FUZZ_MEMORY = 64 << 20 }; /* what one input may make the library take */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
